"""An audit finds nothing in an honest relay, and every planted fault in another."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from amanat import cli
from amanat.config import RegisterConfig, RelayConfig, RelayLimits
from amanat.errors import BrokenLedger, BrokenReport
from amanat.protocol import tlog, wire
from amanat.protocol.cells import HANDSHAKE_CELL, LABEL_BYTES, LARGE_CELL, MESSAGE_CELL
from amanat.protocol.drops import Drop, derive_drop, token_hash
from amanat.protocol.ledger import decode_entry, drop_hash, origin
from amanat.region.audit import Audit, Fault, Report, free_pages, open_report, sign_report
from amanat.region.page import _LANGUAGES, page
from amanat.relay.directory import RelayDirectory
from amanat.relay.drops import DAY_S, Drops
from amanat.relay.ledger import Ledger, every_entry, replay
from amanat.relay.store import SqliteStore
from amanat.relay.store.bodies import DIRECTORY, LEAST_CELLS
from amanat.relay.store.schema import SEQ_BITS
from damage import changed_at
from relays import Peer, RelayProcess, append, in_loop
from test_moving import REGION, SOURCE_REGION, Two

NOW = time.time()
LIMITS = RelayLimits()


def make(number: int, region: str = REGION) -> Drop:
    return derive_drop(number.to_bytes(32, "big"), purpose=b"test", region=region)


def create(drop: Drop, access: bytes, days: int = 14) -> wire.Create:
    return wire.Create(
        0,
        access,
        drop.drop_id,
        token_hash(drop.drop_id, drop.append_token),
        token_hash(drop.drop_id, drop.read_token),
        days,
    )


@pytest.fixture(scope="module")
def three_months(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a relay that has run for three months, which no test changes."""
    return live(tmp_path_factory.mktemp("lived") / "relay", random.Random(1))


@pytest.fixture
def directory(three_months: Path, tmp_path: Path) -> Path:
    """The directory of a relay that has run for three months, and is stopped."""
    return Path(shutil.copytree(three_months, tmp_path / "relay"))


def live(directory: Path, rng: random.Random) -> Path:
    made = RelayDirectory.create(
        directory,
        RelayConfig(
            region=REGION,
            operator="سازمان",
            host="127.0.0.1",
            port=8443,
            register=RegisterConfig(countries=("FR",), processors=("who owns the machines",)),
        ),
    )
    with contextlib.closing(SqliteStore(directory)) as store:
        drops = Drops(store, region=REGION, bucket_key=made.bucket_key, limits=LIMITS)
        ledger = Ledger(store, made.identity)
        drops.open_buckets(2, now=NOW - 90 * DAY_S)
        for day in range(-90, 1):
            now = NOW + day * DAY_S
            requests: list[wire.Create | wire.Append] = []
            for _ in range(rng.randrange(3)):
                drop = make(rng.randrange(20))
                requests.append(create(drop, made.bucket_key))
            for _ in range(rng.randrange(12)):
                drop, size = make(rng.randrange(20)), rng.choice([MESSAGE_CELL, HANDSHAKE_CELL])
                requests.append(
                    wire.Append(0, drop.drop_id, drop.append_token, rng.randbytes(size))
                )
            if day % 10 == 0:  # a file, which goes into a body
                drop = make(rng.randrange(20))
                requests.append(create(drop, made.bucket_key))
                requests += [
                    wire.Append(0, drop.drop_id, drop.append_token, rng.randbytes(LARGE_CELL))
                    for _ in range(LEAST_CELLS)
                ]
            drops.write(requests, now=now)
            drops.commit()
            for _ in drops.expire(now=now):
                pass
            for _ in ledger.seal():
                pass
    return directory


def audit(directory: Path, older: bytes = b"") -> Report:
    return Audit(directory, now=NOW).run(older)


def test_each_language_has_words_for_each_fault() -> None:
    for words in _LANGUAGES:
        assert set(words.kinds) == set(Fault)


def kinds(report: Report) -> set[str]:
    return {one.kind for one in report.findings}


@contextlib.contextmanager
def database(directory: Path, name: str = "drops"):  # type: ignore[no-untyped-def]  # noqa: ANN201
    connection = sqlite3.connect(directory / f"{name}.sqlite", isolation_level=None)
    connection.execute("PRAGMA secure_delete = OFF")
    yield connection
    connection.close()


@pytest.mark.long
@pytest.mark.parametrize("seed", range(6))
def test_an_honest_relay_has_no_finding(tmp_path: Path, seed: int) -> None:
    report = audit(live(tmp_path / "relay", random.Random(seed)))
    assert report.findings == []
    assert report.cells > 0
    assert report.opened > 0
    assert report.free_pages > 0
    assert (report.region, report.countries) == (REGION, [REGION, "FR"])
    with database(tmp_path / "relay") as store:
        (cells, size) = store.execute('SELECT sum(cells), sum(bytes) FROM "drop"').fetchone()
    assert (report.cells, report.bytes) == (cells, size)


def foreign(directory: Path) -> None:
    with database(directory) as store:
        store.execute(
            'UPDATE "drop" SET drop_id = ? WHERE number = 3', (make(7, SOURCE_REGION).drop_id,)
        )


def stray_cell(directory: Path) -> None:
    with database(directory) as store:
        store.execute(
            "INSERT INTO cell VALUES (?, ?, ?, 20000, ?)",
            (999 << SEQ_BITS | 1, bytes(16), bytes(32), bytes(1052)),
        )


def left_behind(directory: Path) -> None:
    with database(directory) as store:
        held = store.execute('SELECT number FROM "drop" WHERE cells > 0 LIMIT 1').fetchone()
        store.execute('UPDATE "drop" SET state = 2, move = 1 WHERE number = ?', held)


def not_entered(directory: Path) -> None:
    with database(directory) as store:
        store.execute(
            'INSERT INTO "drop" (drop_id, append_hash, read_hash, retention_days, bucket, head,'
            " digest, cells, bytes, last_day) VALUES (?, ?, ?, 14, 0, 0, ?, 0, 0, 20000)",
            (make(500).drop_id, bytes(32), bytes(32), bytes(32)),
        )


def entry_gone(directory: Path) -> None:
    with database(directory) as store:
        store.execute("DELETE FROM entry WHERE place = (SELECT max(place) FROM entry)")


def entry_edited(directory: Path) -> None:
    with database(directory) as store:
        store.execute(
            "UPDATE entry SET entry = (SELECT entry FROM entry WHERE place = 0) WHERE place = 1"
        )


def row_gone(directory: Path) -> None:
    with database(directory) as store:
        store.execute('DELETE FROM "drop" WHERE number = 1')
        store.execute("DELETE FROM cell WHERE place >> 32 = 1")


def cell_gone(directory: Path) -> None:
    with database(directory) as store:
        store.execute("DELETE FROM cell WHERE place = (SELECT max(place) FROM cell)")


def cell_swapped(directory: Path) -> None:
    with database(directory) as store:
        place, wrapped = store.execute(
            'SELECT place, wrapped FROM cell JOIN "drop" ON place = number << 32 | head LIMIT 1'
        ).fetchone()
        changed = changed_at(wrapped)
        store.execute("UPDATE cell SET wrapped = ? WHERE place = ?", (changed, place))


def digest_changed(directory: Path) -> None:
    with database(directory) as store:
        store.execute('UPDATE "drop" SET digest = ? WHERE cells > 0', (bytes(32),))


def key_gone(directory: Path) -> None:
    with database(directory, "keys") as store:
        store.execute("DELETE FROM shred_key WHERE day = (SELECT max(day) FROM shred_key)")


def key_stray(directory: Path) -> None:
    with database(directory, "keys") as store:
        store.execute("INSERT INTO shred_key VALUES (999, 20000, 20014, ?)", (bytes(32),))


def label_left(directory: Path) -> None:
    with database(directory) as store:
        store.execute("INSERT INTO label VALUES (1, ?, 1)", (bytes(16),))


def label_gone(directory: Path) -> None:
    with database(directory) as store:
        store.execute('UPDATE "drop" SET indexed = head')


def overdue(directory: Path) -> None:
    with database(directory) as store:
        held = store.execute(
            'SELECT number, oldest_day FROM "drop" WHERE cells > 0 LIMIT 1'
        ).fetchone()
        store.execute("UPDATE cell SET day = day - 40 WHERE place >> 32 = ? AND day = ?", held)


def file_added(directory: Path) -> None:
    (directory / "copy.sqlite").write_bytes(b"cells")


def page_used(directory: Path) -> None:
    path = directory / "drops.sqlite"
    with path.open("rb") as file:
        size = int.from_bytes(file.read(18)[16:], "big")
    number = max(number for number, _ in free_pages(path))
    with path.open("r+b") as file:
        file.seek((number - 1) * size + 100)
        file.write(os.urandom(64))


def the_body(directory: Path) -> Path:
    """The newest body."""
    return max((directory / DIRECTORY).iterdir(), key=lambda path: path.name.rpartition("-")[2])


def body_gone(directory: Path) -> None:
    the_body(directory).unlink()


def body_changed(directory: Path) -> None:
    path = the_body(directory)
    path.write_bytes(bytes(path.stat().st_size))


def body_stray(directory: Path) -> None:
    path = directory / DIRECTORY / "999-20000"
    path.write_bytes(b"cells")
    os.utime(path, (0, 0))


def body_misnamed(directory: Path) -> None:
    (directory / DIRECTORY / "copy").write_bytes(b"cells")


PLANTED: dict[Callable[[Path], None], str] = {
    foreign: "foreign-drop",
    stray_cell: "cell-without-drop",
    left_behind: "leftover",
    not_entered: "not-in-ledger",
    entry_gone: "ledger",
    entry_edited: "ledger",
    row_gone: "missing-drop",
    cell_gone: "wrong-count",
    cell_swapped: "does-not-open",
    digest_changed: "wrong-digest",
    key_gone: "cell-without-key",
    key_stray: "key-without-drop",
    label_left: "wrong-labels",
    label_gone: "wrong-labels",
    overdue: "overdue",
    file_added: "unknown-file",
    page_used: "remains",
    body_gone: "does-not-open",
    body_changed: "does-not-open",
    body_stray: "cell-without-drop",
    body_misnamed: "unknown-file",
}


@pytest.mark.long
@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_planted_faults_are_found(directory: Path, plant: Callable[[Path], None]) -> None:
    plant(directory)
    assert PLANTED[plant] in kinds(audit(directory))


@pytest.mark.long
def test_files_of_either_retention_are_audited_to_the_day(tmp_path: Path) -> None:
    path, files, begun = tmp_path / "relay", {14: make(14), 30: make(30)}, NOW // DAY_S * DAY_S
    made = RelayDirectory.create(path, RelayConfig(REGION, "test", "127.0.0.1", 8443))

    def audited(days: int, *puts: wire.Create | wire.Append, expires: bool = True) -> Report:
        """The audit after some days."""
        now = begun + days * DAY_S
        with contextlib.closing(SqliteStore(path)) as store:
            drops = Drops(store, region=REGION, bucket_key=made.bucket_key, limits=LIMITS)
            replies = drops.write(puts, now=now).replies
            drops.commit()
            assert not any(isinstance(reply, wire.Failed) for reply in replies)
            if expires:
                for _ in drops.expire(now=now):
                    pass
            for _ in Ledger(store, made.identity).seal():
                pass
        return Audit(path, now=now + DAY_S / 2).run(b"")

    def ended() -> list[int]:
        """The cells of each file that have ended, by the ledger."""
        with contextlib.closing(SqliteStore(path)) as store:
            entries = map(decode_entry, every_entry(store.pages, store.pages.size()))
            accounts, wrong = replay(entries)
        told = [accounts[drop_hash(file.drop_id)] for file in files.values()]
        assert not wrong
        assert all(one.ended_bytes == one.ended * LARGE_CELL for one in told)
        return [one.ended for one in told]

    puts: list[wire.Create | wire.Append] = []
    for days, file in files.items():
        puts.append(create(file, made.bucket_key, days))
        puts += [
            wire.Append(0, file.drop_id, file.append_token, os.urandom(LARGE_CELL))
            for _ in range(5)
        ]
    report = audited(0, *puts)
    assert (report.findings, report.cells, report.bytes) == ([], 10, 10 * LARGE_CELL)
    for days, before, after in ((14, [0, 0], [5, 0]), (30, [5, 0], [5, 5])):
        last = audited(days)
        assert (last.findings, last.cells, ended()) == ([], 10 - sum(before), before)
        late = audited(days + 1, expires=False)
        assert ([one.kind for one in late.findings], ended()) == (["overdue"], before)
        gone = audited(days + 1)
        assert (gone.findings, gone.cells, ended()) == ([], 10 - sum(after), after)


@pytest.mark.long
def test_a_report_is_signed_and_any_edit_is_seen(directory: Path) -> None:
    relay = RelayDirectory.open(directory)
    report = audit(directory)
    signed = sign_report(report, relay)
    key = relay.identity.public_key().public_bytes_raw()
    assert open_report(signed) == open_report(signed, key) == report
    with pytest.raises(BrokenReport):
        open_report(signed, bytes(32))
    told = json.loads(signed)
    for field, value in [("cells", 0), ("region", "FR"), ("findings", []), ("operator", "x")]:
        if told["report"][field] == value:
            continue
        edited = {**told, "report": {**told["report"], field: value}}
        with pytest.raises(BrokenReport):
            open_report(json.dumps(edited).encode())
    for broken in (b"", b"{}", signed[:-9], signed.replace(b'"report"', b'"record"')):
        with pytest.raises(BrokenReport):
            open_report(broken)


@pytest.mark.long
def test_an_older_checkpoint_shows_a_ledger_that_was_written_anew(directory: Path) -> None:
    relay = RelayDirectory.open(directory)
    with database(directory) as store:
        (note,) = store.execute("SELECT note FROM checkpoint").fetchone()
    assert audit(directory, note).findings == []
    name = origin(relay.identity.public_key().public_bytes_raw())
    other = tlog.sign_checkpoint(tlog.Checkpoint(name, 3, bytes(32)), relay.identity)
    assert kinds(audit(directory, other)) == {"ledger"}
    longer = tlog.sign_checkpoint(tlog.Checkpoint(name, 10**6, bytes(32)), relay.identity)
    assert kinds(audit(directory, longer)) == {"ledger"}
    with pytest.raises(BrokenLedger):
        audit(directory, b"no checkpoint")


def test_the_page_says_it_in_both_languages_and_escapes(directory: Path) -> None:
    settings = directory / "relay.toml"
    settings.write_text(settings.read_text().replace("سازمان", "<b>سازمان</b>"))
    file_added(directory)
    html = page(audit(directory))
    assert "&lt;b&gt;سازمان&lt;/b&gt;" in html
    assert 'dir="rtl"' in html
    assert "copy.sqlite" in html
    assert "<script" not in html
    assert "http" not in html.replace('http-equiv="Content-Security-Policy"', "")


@pytest.mark.long
def test_the_command_reports_and_verifies(
    directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str | Path) -> tuple[int, dict[str, object]]:
        status = 0
        try:
            cli.main(["--json", "region", "audit", *map(str, arguments)])
        except SystemExit as ended:
            status = int(ended.code or 0)
        return status, json.loads(capsys.readouterr().out or "{}")

    out = tmp_path / "report"
    status, told = run(directory, "--out", out)
    assert (status, told["findings"]) == (0, [])
    assert 'dir="rtl"' in (out / "index.html").read_text()
    assert run("--verify", out / "report.json")[1] == told
    assert run(directory, "--out", out)[0] == 2
    file_added(directory)
    assert run(directory)[0] == 1
    (out / "report.json").write_text((out / "report.json").read_text().replace("DE", "FR"))
    assert run("--verify", out / "report.json")[0] == 3
    assert run()[0] == 2


@pytest.mark.e2e
def test_a_relay_that_serves_is_audited_without_a_false_alarm(tmp_path: Path) -> None:
    serve(tmp_path)


@in_loop
async def serve(tmp_path: Path) -> None:
    with RelayProcess(tmp_path / "relay", region=REGION) as relay:
        peer = await Peer.connect(relay.address)
        for number in itertools.count():
            drop = make(number % 50)
            if number < 50:
                await peer.ask(
                    wire.Create(
                        1,
                        relay.directory.bucket_key,
                        drop.drop_id,
                        token_hash(drop.drop_id, drop.append_token),
                        token_hash(drop.drop_id, drop.read_token),
                        14,
                    )
                )
            peer.send(append(drop, os.urandom(LABEL_BYTES) + bytes(MESSAGE_CELL - LABEL_BYTES), 2))
            if number % 40 == 0:
                report = Audit(relay.directory.path, now=time.time()).run()
                assert report.findings == []
            if number == 600:
                break


@pytest.mark.e2e
def test_both_relays_of_a_move_are_in_order_before_within_and_after_it(tmp_path: Path) -> None:
    move(tmp_path)


@in_loop
async def move(tmp_path: Path) -> None:
    rng = random.Random(3)
    with Two(tmp_path) as two:
        peer = await Peer.connect(two.source.address)
        for _ in range(50):
            await peer.ask(append(two.source.bucket(), rng.randbytes(MESSAGE_CELL), 1))
        homes = two.source.directory.path, two.destination.directory.path
        for directory in homes:
            assert Audit(directory, now=time.time()).run().findings == []
        await two.move()
        source, destination = (Audit(one, now=time.time()).run() for one in homes)
        assert source.findings == destination.findings == []
        assert (source.drops, source.cells, source.gone) == (0, 0, 2)
        assert (destination.drops, destination.cells, destination.guests) == (3, 50, 2)
        assert [one.direction for one in source.moves] == ["out"]
        assert source.moves[0].is_certified
        assert destination.moves[0].regions == [SOURCE_REGION]
