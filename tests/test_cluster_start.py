"""A relay that starts while its cluster is not ready waits, and says so if it waits in vain."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from amanat.config import RelayLimits
from amanat.errors import ClusterUnready, RelayBusy, StoreDamaged
from amanat.protocol.descriptor import NamedAddress
from amanat.protocol.drops import derive_bucket
from amanat.relay import server
from amanat.relay.cluster import ClusterStore
from amanat.relay.cluster.nodes import START_S
from amanat.relay.drops import DAY_S, Drops
from amanat.relay.ledger import Ledger
from clusters import KEY, Cluster
from relays import RelayProcess

TRIES = 50
"""Looks at what the nodes agree on, one in a tenth of a second."""

pytestmark = pytest.mark.e2e

BUCKET_KEY = bytes(range(32))
NOW = 20_000 * DAY_S


class Silence:
    """A cluster that does not answer the first questions for all drops, as while it chooses the
    leaders that it needs for an answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
        self.left = times
        monkeypatch.setattr(server, "START_PAUSE_S", 0.0)
        answer = ClusterStore.total

        def total(store: ClusterStore) -> None:
            if self.left:
                self.left -= 1
                raise RelayBusy("the cluster does not answer", retry_after=1)
            answer(store)

        monkeypatch.setattr(ClusterStore, "total", total)


def test_a_relay_waits_for_a_cluster_that_is_not_ready(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = RelayProcess(tmp_path / "relay", buckets=2, **cluster.settings(tmp_path))
    silence = Silence(monkeypatch, 3)
    served: list[NamedAddress] = []

    def ready(address: NamedAddress) -> None:
        served.append(address)
        os.kill(os.getpid(), signal.SIGTERM)

    server.run(relay.directory.path, ready=ready)
    assert silence.left == 0
    assert len(served) == 1


def test_a_relay_whose_cluster_stays_silent_says_so(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = RelayProcess(tmp_path / "relay", **cluster.settings(tmp_path))
    silence = Silence(monkeypatch, 1000)
    with pytest.raises(ClusterUnready, match="does not answer"):
        server.run(relay.directory.path)
    assert silence.left == 1000 - server.START_TRIES


def test_a_relay_does_not_start_on_a_cluster_that_was_put_back(
    cluster: Cluster, tmp_path: Path
) -> None:
    def live(count: int) -> None:
        with contextlib.closing(cluster.store(tmp_path)) as store:
            ledger = Ledger(store, KEY)
            drops = Drops(store, region="DE", bucket_key=BUCKET_KEY, limits=RelayLimits())
            drops.open_buckets(count, now=NOW)
            for _ in range(TRIES):  # a replica may not have all entries yet
                for _ in ledger.seal():
                    pass
                ledger.refresh()
                if b"\n%d\n" % count in ledger.checkpoint:
                    return
                time.sleep(0.1)
            raise AssertionError(ledger.checkpoint)

    def copy(source: Path, target: Path) -> None:
        cluster.stop()
        for node in cluster.nodes:
            shutil.rmtree(target / node.name, ignore_errors=True)
            shutil.copytree(source / node.name, target / node.name)
        cluster.start()
        cluster.wait()

    live(2)
    copy(cluster.directory, tmp_path / "yesterday")
    live(5)
    copy(tmp_path / "yesterday", cluster.directory)
    until = time.monotonic() + START_S
    while True:
        try:
            with pytest.raises(StoreDamaged, match="its nodes were put back"):
                live(5)
            break
        except RelayBusy:  # while it chooses its leaders
            assert time.monotonic() < until
    (tmp_path / "roots.sqlite").unlink()  # a directory that has seen nothing
    live(5)


def test_all_buckets_are_created_although_a_journal_takes_only_some_at_once(
    cluster: Cluster, tmp_path: Path
) -> None:
    count = 450
    with contextlib.closing(cluster.store(tmp_path, shards=1)) as store:
        drops = Drops(store, region="DE", bucket_key=BUCKET_KEY, limits=RelayLimits())
        drops.open_buckets(count, now=NOW)
        wanted = [derive_bucket(BUCKET_KEY, one, region="DE").drop_id for one in range(count)]
        assert len(store.find_all(wanted)) == count
