"""An audit of a relay on a cluster finds nothing in an honest one, and every planted fault."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from amanat.config import RelayConfig, RelayLimits
from amanat.errors import NoProfile, RelayBusy, StoreDamaged
from amanat.protocol import wire
from amanat.protocol.cells import LABEL_BYTES, MESSAGE_CELL
from amanat.protocol.drops import Drop
from amanat.protocol.ledger import Created, drop_hash
from amanat.region.audit import GRACE_S, Audit, Report
from amanat.relay.cluster import ClusterStore, open_cluster
from amanat.relay.cluster.engine import Engine
from amanat.relay.cluster.messages import Resting
from amanat.relay.cluster.scrub import opened
from amanat.relay.directory import RelayDirectory
from amanat.relay.drops import DAY_S, Drops
from amanat.relay.ledger import Ledger
from clusters import Cluster
from damage import changed_at
from test_audit import create, make
from test_cluster_scrub import flip

pytestmark = pytest.mark.e2e

NOW = time.time()
TODAY = int(NOW // DAY_S)
ENDED = int((NOW - GRACE_S) // DAY_S)
"""The newest day of which nothing may be left: shortly after midnight, not yet yesterday."""


class Lived(NamedTuple):
    """A relay that has run for some days, and has stopped."""

    directory: RelayDirectory
    cluster: Cluster
    drops: list[Drop]
    cells: list[bytes]

    @property
    def path(self) -> Path:
        return self.directory.path

    @property
    def other(self) -> Path:
        """Another directory of the relay."""
        return self.path.with_name("other")

    def audit(self, **options: Any) -> Report:  # noqa: ANN401  # whatever an audit takes
        options = {"keepers": [self.other], **options}
        return Audit(self.path, now=NOW, **options).run()

    def found(self) -> dict[str, list[str]]:
        return {one.kind: one.examples for one in self.audit().findings}

    @contextlib.contextmanager
    def store(self) -> Iterator[ClusterStore]:
        with contextlib.closing(open_cluster(self.directory)) as store:
            yield store

    def rules(self, store: ClusterStore) -> Drops:
        secret = self.directory.bucket_key
        return Drops(store, region="DE", bucket_key=secret, limits=RelayLimits())

    @contextlib.contextmanager
    def stream_of(self, drop: Drop) -> Iterator[tuple[Engine, str, str]]:
        """(a connection, the stream of a drop, its subject there)."""
        with opened(self.directory) as (engine, layout, _):
            shard = layout.shard(drop.drop_id)
            yield engine, layout.stream(shard), layout.subject(drop.drop_id)

    @contextlib.contextmanager
    def roots(self, path: Path) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(
            sqlite3.connect(path / "roots.sqlite", isolation_level=None)
        ) as roots:
            yield roots


@pytest.fixture
def lived(cluster: Cluster, tmp_path: Path) -> Lived:
    made = RelayDirectory.create(
        tmp_path / "relay",
        RelayConfig(
            region="DE", operator="test", host="127.0.0.1", port=8443, **cluster.settings(tmp_path)
        ),
    )
    drops = [make(number) for number in range(7)]
    chance = random.Random(1)
    cells = []
    with contextlib.closing(open_cluster(made)) as store:
        rules = Drops(store, region="DE", bucket_key=made.bucket_key, limits=RelayLimits())
        ledger = Ledger(store, made.identity)
        rules.open_buckets(2, now=NOW - 20 * DAY_S)
        rules.carry_out([create(drop, made.bucket_key) for drop in drops], now=NOW - 20 * DAY_S)
        for day in (-20, -3, 0):
            for drop in drops:
                cells.append(chance.randbytes(MESSAGE_CELL))
                request = wire.Append(0, drop.drop_id, drop.append_token, cells[-1])
                told = rules.carry_out([request], now=NOW + day * DAY_S).replies[0]
                assert isinstance(told, wire.Appended)
            for _ in rules.expire(now=NOW + day * DAY_S):
                pass
        for _ in ledger.seal():
            pass
    shutil.copytree(made.path, tmp_path / "other")
    return Lived(made, cluster, drops, cells[7:])


def test_an_honest_relay_has_no_finding_while_it_serves_and_afterwards(lived: Lived) -> None:
    told: list[tuple[int, int]] = []
    report = lived.audit(comparing=lambda *one: told.append(one))
    assert report.findings == []
    assert (report.drops, report.cells) == (9, 14)
    assert report.opened >= 14
    assert told[-1][0] == told[-1][1] > 0
    replicas = {one.name for one in report.files if one.kind == "replica"}
    assert len(replicas) == 4 * 3
    assert "DE-2/DE-drops-01" in replicas
    with lived.store() as store:
        rules = lived.rules(store)

        def go_on(*_: int) -> None:
            for drop in lived.drops:
                told = rules.carry_out([more(drop)], now=NOW).replies[0]
                assert isinstance(told, wire.Appended)

        assert lived.audit(progress=go_on, comparing=go_on).findings == []


def test_the_command_audits_a_cluster(lived: Lived, tmp_path: Path) -> None:
    login = tmp_path / "system.login"
    login.write_text(f"system\n{lived.cluster.password}\n")
    words = [sys.executable, "-m", "amanat", "--json", "region", "audit", str(lived.path)]
    words += ["--keeper", str(lived.other), "--system-login", str(login)]
    words += ["--out", str(tmp_path / "report")]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert json.loads(ran.stdout)["findings"] == []
    assert (tmp_path / "report" / "index.html").exists()
    plain = [sys.executable, "-m", "amanat", "region", "audit", "--verify"]
    assert (
        subprocess.run([*plain, tmp_path / "report" / "report.json"], check=False).returncode == 0
    )


# Faults of one drop


def foreign_drop(lived: Lived, _: Drop) -> Drop:
    return added(lived, make(99, "IR"), Created(drop_hash(make(99, "IR").drop_id), 0))


def not_in_ledger(lived: Lived, _: Drop) -> Drop:
    return added(lived, make(98))


def added(lived: Lived, drop: Drop, *entries: Created) -> Drop:
    with lived.store() as store:
        record = store.find(lived.drops[0].drop_id)
        record.drop_id, record.bound, record.oldest_day = drop.drop_id, 0, None
        record.head = record.cells = record.bytes = 0
        store.find(drop.drop_id)
        store.add(record)
        store.note(*entries)
        store.commit()
    return drop


def missing_drop(lived: Lived, drop: Drop) -> Drop:
    with lived.stream_of(drop) as (engine, stream, subject):
        engine.purge(stream, subject, below=2**40)
    return drop


def wrong_count(lived: Lived, drop: Drop) -> Drop:
    """A message in the middle is deleted on all nodes."""
    with lived.stream_of(drop) as (engine, stream, subject):
        place = engine.walk(stream, subject, after=0)[-2].place
        engine.api(f"STREAM.MSG.DELETE.{stream}", {"seq": place, "no_erase": True})
    return drop


def wrong_digest(lived: Lived, drop: Drop) -> Drop:
    with lived.store() as store:
        record = store.find(drop.drop_id)
        record.digest = bytes(32)
        store.save(record)
        store.commit()
    return drop


def does_not_open(lived: Lived, drop: Drop) -> Drop:
    with lived.store() as store:
        lived.rules(store).write([more(drop)], now=NOW)
        cells = store._staged[drop.drop_id].cells
        wrapped = cells[-1].wrapped
        other = changed_at(wrapped)
        cells[-1] = Resting(cells[-1].day, cells[-1].label, cells[-1].before, other)
        assert not any(store.commit())
    return drop


def overdue(lived: Lived, drop: Drop) -> Drop:
    """A cell of a day that ended is landed behind the rules' back."""
    with lived.store() as store:
        record = store.find(drop.drop_id)
        staged = store._stage(record)
        staged.cells.append(
            Resting(TODAY - 40, os.urandom(LABEL_BYTES), record.digest, bytes(1052))
        )
        record.head, record.cells = record.head + 1, record.cells + 1
        record.bytes, record.oldest_day = record.bytes + MESSAGE_CELL, TODAY - 40
        store.save(record)
        assert not any(store.commit())
    return drop


OF_DROPS = {
    foreign_drop: "foreign-drop",
    not_in_ledger: "not-in-ledger",
    missing_drop: "missing-drop",
    wrong_count: "wrong-count",
    wrong_digest: "wrong-digest",
    does_not_open: "does-not-open",
    overdue: "overdue",
}


def test_faults_of_drops_are_found(lived: Lived) -> None:
    bad = {plant: plant(lived, drop) for plant, drop in zip(OF_DROPS, lived.drops, strict=True)}
    found = lived.found()
    for plant, kind in OF_DROPS.items():
        name = drop_hash(bad[plant].drop_id).hex()[:16]
        assert name in " ".join(found.get(kind, [])), (kind, found)


def more(drop: Drop) -> wire.Append:
    return wire.Append(0, drop.drop_id, drop.append_token, os.urandom(MESSAGE_CELL))


# Faults beside drops


def test_what_does_not_belong_beside_the_drops_is_found(lived: Lived) -> None:
    with lived.roots(lived.other) as roots:
        left = (bytes(16), TODAY - 3, bytes(32), bytes(32))
        roots.execute("INSERT INTO root VALUES (?, ?, ?, ?)", left)
    with lived.roots(lived.path) as roots:
        roots.execute("PRAGMA secure_delete = OFF")
        roots.execute("CREATE TABLE more (secret BLOB)")
        roots.execute("INSERT INTO more VALUES (randomblob(20000))")
        roots.execute("DROP TABLE more")
    (lived.path / "drops.sqlite").write_bytes(b"")  # from the time before the cluster
    with contextlib.closing(lived.cluster.engine()) as engine:
        engine.api("STREAM.CREATE.copy", {"name": "copy", "subjects": ["copy"], "storage": "file"})
        config = engine.api("STREAM.INFO.DE-drops-00")["config"]
        engine.api("STREAM.UPDATE.DE-drops-00", config | {"deny_delete": True})
    found = lived.found()
    days = ENDED - (TODAY - 3)
    assert found["root-left"] == [f"other, of a day that ended {days} days ago"]
    assert found["remains"][0].startswith("roots.sqlite, page")
    assert found["unknown-file"] == ["drops.sqlite"]
    told = " ".join(found["misplaced"])
    assert "stream copy in the relay's account is none of this relay" in told
    assert "deny_delete is True" in told


def test_a_key_that_was_destroyed_too_early_is_found(lived: Lived) -> None:
    for path in (lived.path, lived.other):
        with lived.roots(path) as roots:
            roots.execute("DELETE FROM root WHERE last_day = ?", (TODAY + 14,))
    assert set(lived.found()) == {"cell-without-key", "does-not-open"}


def test_replicas_that_are_bad_or_away_are_found(lived: Lived) -> None:
    _, bad, away = lived.cluster.nodes
    drop = lived.drops[0]
    with lived.stream_of(drop) as (_, stream, _):
        (path,) = lived.cluster.home(bad).glob(f"jetstream/*/streams/{stream}")
    lived.cluster.stop(bad)
    flip(random.Random(1), path, [lived.cells[0][:LABEL_BYTES]])
    lived.cluster.start(bad)
    found: dict[str, list[str]] = {}
    for _ in range(20):  # a node that has just started is away, and leaders change
        with contextlib.suppress(RelayBusy):
            found = lived.found()
            if "unread-replica" not in found:
                break
    assert f"node {bad.name} lacks" in found["bad-replica"][0]
    lived.cluster.stop(away)
    assert f"node {away.name} is away" in lived.found()["unread-replica"][0]


def test_a_ledger_with_a_gap_is_found(lived: Lived) -> None:
    with contextlib.closing(lived.cluster.engine()) as engine:
        place = engine.walk("DE-ledger", "DE.ledger.entry.*", after=0)[0].place
        engine.api("STREAM.MSG.DELETE.DE-ledger", {"seq": place, "no_erase": True})
    assert "ledger" in lived.found()


def test_an_audit_creates_no_stream(lived: Lived) -> None:
    with contextlib.closing(lived.cluster.engine()) as engine:
        engine.api("STREAM.DELETE.DE-drops-00")
        with pytest.raises(StoreDamaged, match="DE-drops-00 does not exist"):
            lived.audit()
        assert "DE-drops-00" not in engine.api("STREAM.NAMES")["streams"]
    lived.cluster.wipe()
    with pytest.raises(NoProfile):
        lived.audit()
