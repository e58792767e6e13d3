"""The SQLite store's own promises: files are made whole, damage is refused, a full disk is
survived, and ended cells leave nothing behind."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from amanat.config import RelayLimits
from amanat.errors import DiskFull, StoreDamaged, StoreTooNew, StoreTooOld
from amanat.protocol import wire
from amanat.protocol.cells import CELL_SIZES, LABEL_BYTES
from amanat.protocol.drops import Drop, derive_bucket, derive_drop, token_hash
from amanat.relay.drops import DAY_S, Drops
from amanat.relay.records import MOST_SEQ, DropRecord
from amanat.relay.store import SqliteStore, files, schema
from amanat.relay.store.bodies import CELL_BYTES, DIRECTORY, POINTER_BYTES

KEY = bytes(range(32))
BUCKET = derive_bucket(KEY, 0, region="DE")
EPOCH = derive_drop(KEY, purpose=b"epoch", region="DE")
NOW = 20_000 * DAY_S
FILES = ("drops.sqlite", "keys.sqlite")


def drops_in(store: SqliteStore) -> Drops:
    drops = Drops(store, region="DE", bucket_key=KEY, limits=RelayLimits())
    drops.open_buckets(1, now=NOW)
    return drops


def write(drops: Drops, cells: list[bytes], now: float = NOW) -> None:
    requests = [wire.Append(0, BUCKET.drop_id, BUCKET.append_token, cell) for cell in cells]
    written = drops.write(requests, now=now)
    assert not any(isinstance(reply, wire.Failed) for reply in written.replies)
    drops.commit()


def read(drops: Drops, after: int = 0, now: float = NOW) -> list[bytes]:
    request = wire.Read(0, BUCKET.drop_id, BUCKET.read_token, after, 900, 0)
    return drops.read(request, after=after, now=now).cells


def expire(drops: Drops, now: float) -> None:
    for _ in drops.expire(now=now):
        pass


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = SqliteStore(tmp_path)
    yield opened
    opened.close()


# Contents


def test_how_much_is_held_is_known_without_counting(tmp_path: Path, store: SqliteStore) -> None:
    drops = drops_in(store)
    create = wire.Create(0, KEY, EPOCH.drop_id, bytes(32), bytes(32), 14)
    drops.write([create], now=NOW)
    write(drops, [bytes([size % 255]) * size for size in CELL_SIZES])
    drops.write([wire.Append(0, BUCKET.drop_id, BUCKET.append_token, b"x" * 1024)], now=NOW)
    assert (store.count(), store.stored_bytes()) == (2, sum(CELL_SIZES) + 1024)
    store.rollback()
    assert (store.count(), store.stored_bytes()) == (2, sum(CELL_SIZES))
    again = SqliteStore(tmp_path)
    assert (again.count(), again.stored_bytes()) == (2, sum(CELL_SIZES))
    again.close()
    expire(drops, NOW + 200 * DAY_S)
    assert (store.count(), store.stored_bytes()) == (1, 0)
    with contextlib.closing(SqliteStore(tmp_path)) as later:
        assert (later.count(), later.stored_bytes(), later.bucket_bytes()) == (1, 0, 0)


def test_no_two_cells_rest_under_one_nonce(store: SqliteStore) -> None:
    drops = drops_in(store)
    for _ in range(2):  # each batch, too, goes on from the last
        write(drops, [os.urandom(CELL_SIZES[number % 5 == 0]) for number in range(30)])
    rows = store._reader.execute("SELECT substr(wrapped, 1, 12) FROM main.cell").fetchall()
    assert len(rows) == len(set(rows)) == 60


# Files


def test_every_column_of_a_drop_is_a_field_of_its_record(store: SqliteStore) -> None:
    columns = [column for _, column, *_ in store._writer.execute('PRAGMA table_info("drop")')]
    columns.remove("indexed")  # the store's own
    assert sorted(columns) == sorted(DropRecord.__struct_fields__)


def test_files_are_for_the_owner_only(tmp_path: Path, store: SqliteStore) -> None:
    write(drops_in(store), [os.urandom(1024)])
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_a_store_that_could_not_be_made_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "DROPS", "CREATE TABLE broken (")
    with pytest.raises(StoreDamaged):
        SqliteStore(tmp_path)
    assert not (tmp_path / "drops.sqlite").exists()
    monkeypatch.undo()
    SqliteStore(tmp_path).close()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)


@pytest.mark.parametrize("name", FILES)
def test_a_newer_store_is_refused_untouched(tmp_path: Path, name: str) -> None:
    SqliteStore(tmp_path).close()
    with sqlite3.connect(tmp_path / name) as connection:
        connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    connection.close()
    before = (tmp_path / name).read_bytes()
    with pytest.raises(StoreTooNew):
        SqliteStore(tmp_path)
    assert (tmp_path / name).read_bytes() == before


@pytest.mark.parametrize("name", FILES)
def test_a_store_from_before_the_first_release_is_refused_untouched_and_says_what_to_do(
    tmp_path: Path, name: str
) -> None:
    SqliteStore(tmp_path).close()
    with sqlite3.connect(tmp_path / name) as connection:
        connection.execute(f"PRAGMA user_version = {schema.BASE - 1}")
    connection.close()
    before = (tmp_path / name).read_bytes()
    with pytest.raises(StoreTooOld) as refused:
        SqliteStore(tmp_path)
    assert "`amanat relay init`" in refused.value.hint
    if name == "drops.sqlite":
        with pytest.raises(StoreTooOld):
            schema.open_to_read(tmp_path / name)
    assert (tmp_path / name).read_bytes() == before


def test_a_step_makes_an_older_store_like_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("new", "old"):
        (tmp_path / name).mkdir()
    SqliteStore(tmp_path / "old").close()
    steps = dict.fromkeys(FILES, ("CREATE TABLE more (one INTEGER) STRICT;\n",))
    monkeypatch.setattr(schema, "STEPS", steps)
    monkeypatch.setattr(schema, "VERSION", schema.BASE + 1)
    found = []
    for directory in (tmp_path / "new", tmp_path / "old"):
        SqliteStore(directory).close()
        for name in FILES:
            with contextlib.closing(sqlite3.connect(directory / name)) as store:
                tables = store.execute("SELECT name, sql FROM sqlite_master ORDER BY 1").fetchall()
                version = store.execute("PRAGMA user_version").fetchone()
                found.append((name, tables, version))
    assert found[:2] == found[2:]
    assert found[0][2] == (schema.BASE + 1,)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [b"", b"not a database" * 999, bytes(8192)])
def test_a_damaged_store_is_refused(tmp_path: Path, name: str, damage: bytes) -> None:
    SqliteStore(tmp_path).close()
    (tmp_path / name).write_bytes(damage)
    with pytest.raises(StoreDamaged):
        SqliteStore(tmp_path)


def test_cells_without_their_keys_are_refused(tmp_path: Path) -> None:
    SqliteStore(tmp_path).close()
    (tmp_path / "keys.sqlite").unlink()
    with pytest.raises(StoreDamaged):
        SqliteStore(tmp_path)


def test_a_changed_or_moved_cell_is_noticed(tmp_path: Path) -> None:
    cells = [os.urandom(1024) for _ in range(3)]
    store = SqliteStore(tmp_path)
    write(drops_in(store), cells)
    store.close()
    for change in (
        "UPDATE cell SET wrapped = zeroblob(1052)",
        "UPDATE cell SET wrapped = (SELECT max(wrapped) FROM cell)",
        "UPDATE cell SET day = day + 1",
    ):
        connection = sqlite3.connect(tmp_path / "drops.sqlite", isolation_level=None)
        connection.execute("CREATE TABLE backup AS SELECT * FROM cell")
        connection.execute(change)
        store = SqliteStore(tmp_path)
        with pytest.raises(StoreDamaged):
            read(drops_in(store))
        store.close()
        connection.executescript(
            "DELETE FROM cell; INSERT INTO cell SELECT * FROM backup; DROP TABLE backup"
        )
        connection.close()
    store = SqliteStore(tmp_path)
    assert read(drops_in(store)) == cells
    store.close()


# SQLite's log


class Late:
    """A thread that starts its work when it is told to."""

    def __init__(self) -> None:
        self.given: list[Callable[[], None]] = []

    def submit(self, work: Callable[[], None]) -> Future[None]:
        self.given.append(work)
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def run(self) -> None:
        while self.given:
            self.given.pop()()


def test_the_log_is_emptied_beside_the_writing_and_begun_anew(
    tmp_path: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = Late()
    monkeypatch.setattr(store, "_thread", late)
    monkeypatch.setattr(files, "EMPTY_ROWS", 5)
    monkeypatch.setattr(files, "LOG_PAGES", 100)
    drops = drops_in(store)
    cells = [os.urandom(1024) for _ in range(1000)]
    for first in range(0, len(cells), 10):
        requests = [
            wire.Append(0, BUCKET.drop_id, BUCKET.append_token, one) for one in cells[first:][:10]
        ]
        drops.write(requests, now=NOW)
        late.run()  # so there is always something in the log that came later
        drops.commit()
    assert (tmp_path / "drops.sqlite").stat().st_size > sum(map(len, cells))
    # Several times as much was written to it.
    assert (tmp_path / "drops.sqlite-wal").stat().st_size < 150 * schema.PAGE_BYTES
    assert [cell for after in range(0, 1000, 250) for cell in read(drops, after)[:250]] == cells


def test_a_deferred_batch_is_on_disk_when_the_next_commit_returns(
    tmp_path: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []

    def fsync(file: int) -> None:
        synced.append(Path(f"/proc/self/fd/{file}").readlink().name)

    def waits() -> int:
        (found,) = store._writer.execute("PRAGMA synchronous").fetchone()
        return int(found)

    monkeypatch.setattr(os, "fsync", fsync)
    drops = drops_in(store)
    write(drops, [os.urandom(1024)])
    store.commit()
    assert (synced, waits()) == ([], 2)  # SQLite waits by itself
    store.defer()
    assert waits() == 1
    write(drops, [os.urandom(1024)])
    assert (synced, waits()) == ([], 2)
    store.commit()
    assert synced == ["drops.sqlite-wal"]
    store.commit()
    assert len(synced) == 1
    store.defer()
    write(drops, [os.urandom(1024)])
    write(drops, [os.urandom(1024)])  # waits for everything in the log
    store.commit()
    assert len(synced) == 1
    store.defer()
    store.rollback()
    assert waits() == 2
    assert len(read(drops)) == 4


def test_a_commit_that_changes_nothing_waits_for_the_deferred_batch(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    drops = drops_in(store)
    cell = os.urandom(1024)
    store.defer()
    write(drops, [cell])
    write(drops, [cell])  # it is there already: SQLite writes nothing, and waits for nothing
    assert len(synced) == 1


def test_a_disk_that_fails_a_deferred_batch_fails_the_commit_that_waits_for_it(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(_: int) -> None:
        raise OSError(5, "Input/output error")

    drops = drops_in(store)
    store.defer()
    write(drops, [os.urandom(1024)])
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        for _ in range(2):
            with pytest.raises(DiskFull):
                drops.commit()
    drops.commit()


# A full disk


def allow_pages(connection: sqlite3.Connection, more: int) -> None:
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages + more}")


def test_a_full_disk_refuses_the_batch_and_loses_nothing(store: SqliteStore) -> None:
    drops = drops_in(store)
    kept = [os.urandom(1024) for _ in range(10)]
    write(drops, kept)
    allow_pages(store._writer, 5)
    cells = [os.urandom(1024) for _ in range(100)]
    with pytest.raises(DiskFull) as raised:
        write(drops, cells)
    assert raised.value.retry_after
    assert read(drops) == kept
    allow_pages(store._writer, 1000)
    write(drops, cells)
    assert read(drops) == kept + cells


def test_a_batch_that_failed_leaves_nothing_behind(store: SqliteStore) -> None:
    drops = drops_in(store)
    allow_pages(store._writer, 5)
    with pytest.raises(DiskFull):
        write(drops, [os.urandom(1024) for _ in range(100)])
    allow_pages(store._writer, 1000)
    cells = [os.urandom(1024) for _ in range(3)]
    write(drops, cells)
    assert read(drops) == cells


@pytest.mark.parametrize("connection", ["_writer", "_keys"])
@pytest.mark.parametrize(("setting", "value"), [("synchronous", 2), ("secure_delete", 1)])
def test_answers_and_erasures_outlive_the_power(
    store: SqliteStore, connection: str, setting: str, value: int
) -> None:
    assert getattr(store, connection).execute(f"PRAGMA {setting}").fetchone() == (value,)


def test_a_disk_too_full_for_the_keys_refuses_the_cells(store: SqliteStore) -> None:
    drops = drops_in(store)
    drops.open_buckets(300, now=NOW)
    requests = [
        wire.Append(0, bucket.drop_id, bucket.append_token, os.urandom(1024))
        for bucket in (derive_bucket(KEY, index, region="DE") for index in range(300))
    ]
    allow_pages(store._keys, 0)
    with pytest.raises(DiskFull):
        drops.write(requests, now=NOW)
    assert read(drops) == []
    allow_pages(store._keys, 1000)
    assert (
        drops.write(requests, now=NOW).replies[0] == drops.write(requests[:1], now=NOW).replies[0]
    )
    drops.commit()
    assert read(drops) == [requests[0].cell]


def test_keys_of_a_commit_that_failed_half_way_open_nothing_that_comes_later(
    store: SqliteStore,
) -> None:
    drops = drops_in(store)

    def begin(drop: Drop, now: float) -> wire.Append:
        hashes = token_hash(drop.drop_id, drop.append_token), bytes(32)
        append = wire.Append(0, drop.drop_id, drop.append_token, os.urandom(1024))
        drops.write([wire.Create(0, KEY, drop.drop_id, *hashes, 14), append], now=now)
        return append

    begin(EPOCH, NOW)
    store._keys.execute("COMMIT")
    store.rollback()
    other = derive_drop(KEY, purpose=b"other", region="DE")
    begin(other, NOW + DAY_S)
    drops.commit()
    (number, day), *more = store._keys.execute("SELECT number, day FROM shred_key").fetchall()
    assert (number, day, more) == (store.find(other.drop_id).number, NOW // DAY_S + 1, [])


def test_an_expiry_on_a_full_disk_goes_on_later(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    drops = drops_in(store)
    write(drops, [os.urandom(1024) for _ in range(5)])
    later = NOW + 20 * DAY_S

    def no_room(_: object) -> None:
        raise DiskFull

    with monkeypatch.context() as patch:
        patch.setattr(SqliteStore, "commit", no_room)
        with pytest.raises(DiskFull):
            expire(drops, later)
    write(drops, [os.urandom(1024)], now=later)
    expire(drops, later)
    assert len(read(drops, now=later)) == 1


# Erasure


def secrets_of(directory: Path) -> dict[str, list[bytes]]:
    """The secrets that must not outlive their cells, as a raw look into the files finds them."""
    found = {}
    for name, what, table in (
        ("drops.sqlite", "wrapped", "cell"),
        ("drops.sqlite", "label", "cell"),
        ("keys.sqlite", "key", "shred_key"),
    ):
        connection = sqlite3.connect(f"file:{directory / name}?mode=ro", uri=True)
        found[what] = [row[0] for row in connection.execute(f"SELECT {what} FROM {table}")]  # noqa: S608
        connection.close()
    found["wrapped"] = [one for one in found["wrapped"] if len(one) > POINTER_BYTES]
    for path in (directory / DIRECTORY).glob("*"):
        data = path.read_bytes()
        found["wrapped"] += [data[at:][:CELL_BYTES] for at in range(0, len(data), CELL_BYTES)]
    return found


def pieces(secret: bytes) -> Iterator[bytes]:
    """Pieces of a secret, long enough that none is found by chance, wherever pages cut it."""
    for start in range(0, max(1, len(secret) - 16), 4001):
        yield secret[start : start + 16]


def found_in(directory: Path, secrets: list[bytes]) -> int:
    """How many pieces of secrets are somewhere in the directory's files."""
    image = b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())
    return sum(piece in image for secret in secrets for piece in pieces(secret))


@pytest.mark.long
def test_nothing_is_left_of_what_has_ended(tmp_path: Path, store: SqliteStore) -> None:
    drops = drops_in(store)
    ended = [os.urandom(size) for size in CELL_SIZES for _ in range(20)]
    write(drops, ended)
    secrets = secrets_of(tmp_path)
    later = NOW + 10 * DAY_S
    kept = [os.urandom(1024) for _ in range(40)]
    write(drops, kept, now=later)

    # The search finds the secrets that are there, and never a cell in clear.
    assert all(found_in(tmp_path, found) >= len(found) for found in secrets.values())
    assert found_in(tmp_path, [cell[LABEL_BYTES:] for cell in ended + kept]) == 0

    expire(drops, later + 5 * DAY_S)
    assert len(secrets["wrapped"]) == len(ended)
    assert {what: found_in(tmp_path, found) for what, found in secrets.items()} == {
        "wrapped": 0,
        "label": 0,
        "key": 0,
    }
    assert read(drops, now=later + 5 * DAY_S) == kept
    assert found_in(tmp_path, [cell[:LABEL_BYTES] for cell in kept]) == len(kept)


def test_nothing_is_left_after_a_crash_in_the_middle_of_an_expiry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amanat.relay.drops.EXPIRY_SLICE", 7)
    (tmp_path / "0").mkdir()
    store = SqliteStore(tmp_path / "0")
    drops = drops_in(store)
    write(drops, [os.urandom(1024) for _ in range(50)])
    secrets = secrets_of(tmp_path / "0")
    later = NOW + 15 * DAY_S
    for life, _ in enumerate(drops.expire(now=later)):
        # Once the first step is done, no cell can be opened again, whatever happens next.
        assert found_in(tmp_path / "0", secrets["key"]) == 0
        revived = tmp_path / str(life + 1)
        revived.mkdir()
        for path in (tmp_path / "0").iterdir():
            if not path.name.endswith("-shm"):
                (revived / path.name).write_bytes(path.read_bytes())
        other = SqliteStore(revived)
        expire(drops_in(other), later)
        assert not any(found_in(revived, found) for found in secrets.values())
        other.close()
    store.close()


# A store in its later life


def numbered(tmp_path: Path, last: int) -> SqliteStore:
    """A store that has given a number to so many drops."""
    with contextlib.closing(SqliteStore(tmp_path)) as made:
        drops_in(made)
    with contextlib.closing(sqlite3.connect(tmp_path / "drops.sqlite")) as file, file:
        file.execute("UPDATE sqlite_sequence SET seq = ?", (last,))
    return SqliteStore(tmp_path)


def create(drop: Drop) -> wire.Create:
    append_hash, read_hash = (
        token_hash(drop.drop_id, drop.append_token),
        token_hash(drop.drop_id, drop.read_token),
    )
    return wire.Create(0, KEY, drop.drop_id, append_hash, read_hash, 14)


def append(drop: Drop, cell: bytes) -> wire.Append:
    return wire.Append(0, drop.drop_id, drop.append_token, cell)


@pytest.mark.parametrize("last", [2**23 - 2, 2**30, schema.MOST_NUMBER - 2])
def test_a_store_that_has_had_very_many_drops_makes_more(tmp_path: Path, last: int) -> None:
    some = [derive_drop(bytes([n]) * 32, purpose=b"epoch", region="DE") for n in range(2)]
    cells = [os.urandom(1024) for _ in some]
    with contextlib.closing(numbered(tmp_path, last)) as store:
        drops = drops_in(store)
        requests = [create(one) for one in some] + list(map(append, some, cells))
        for reply in drops.write(requests, now=NOW).replies:
            assert isinstance(reply, wire.Created | wire.Appended)
        drops.commit()
        assert [store.look(one.drop_id).number for one in some] == [last + 1, last + 2]
        for one, cell in zip(some, cells, strict=True):
            request = wire.Read(0, one.drop_id, one.read_token, 0, 900, 0)
            assert drops.read(request, after=0, now=NOW).cells == [cell]


def test_a_store_that_has_numbered_all_drops_refuses_new_ones_and_keeps_the_others(
    tmp_path: Path,
) -> None:
    with contextlib.closing(numbered(tmp_path, schema.MOST_NUMBER)) as store:
        drops = drops_in(store)
        refused, appended = drops.write([create(EPOCH), append(BUCKET, b"x" * 1024)], now=NOW)[0]
        assert isinstance(refused, wire.Failed)
        assert refused.code == "relay-busy"
        assert isinstance(appended, wire.Appended)
        drops.commit()
        assert read(drops) == [b"x" * 1024]


def test_a_drop_that_has_had_as_many_cells_as_it_can_number_is_full(
    tmp_path: Path, store: SqliteStore
) -> None:
    drops = drops_in(store)
    write(drops, [b"a" * 1024])
    with contextlib.closing(sqlite3.connect(tmp_path / "drops.sqlite")) as file, file:
        file.execute('UPDATE "drop" SET head = ?', (MOST_SEQ - 1,))
    last, refused = drops.write([append(BUCKET, one * 1024) for one in (b"b", b"c")], now=NOW)[0]
    assert isinstance(last, wire.Appended)
    assert last.seq == MOST_SEQ
    assert isinstance(refused, wire.Failed)
    assert refused.code == "drop-full"
    drops.commit()
    assert read(drops, after=MOST_SEQ - 1) == [b"b" * 1024]
