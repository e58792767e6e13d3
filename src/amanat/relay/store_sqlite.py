"""Drops in SQLite: `drops.sqlite` with the cells, and apart from it `keys.sqlite` with what opens
them.

A cell rests under AES-256-GCM, with a key of its drop and UTC day. To destroy a day of a drop is to
destroy 32 bytes. What a crash leaves:

- A key is durable before the first cell under it is, so there is never a cell without its key...
- ... except while an expiry runs: keys go first. Such a cell has ended, and no read asks for it.
- A staged batch is one transaction: after a crash all of it is there, or nothing.

Three connections: the writer of each file, and one reader of both. SQLite lets the reader go on
while the writer commits in another thread.
"""

# ruff: noqa: D102  # drops.Store says what each method is

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from amanat.errors import DiskFull, RelayBusy, StoreDamaged, StoreTooNew
from amanat.protocol.cells import LABEL_BYTES
from amanat.relay.drops import NOBODYS, DropRecord, HeldCell

if TYPE_CHECKING:
    from pathlib import Path

VERSION = 1
"""Version of both files' layout, in `PRAGMA user_version`."""
PAGE_BYTES = 8192
"""Seven wrapped message cells fill a page of this size to 95 %; of 4096 bytes, three to 80 %."""
CACHE_KIB = 64 * 1024
"""Memory for the pages of each connection, in KiB: the newest labels of many buckets."""
BUSY_TIMEOUT_MS = 5000
"""How long emptying the WAL waits for a read to finish, in milliseconds; a read takes a few."""
DISK_RETRY_S = 30.0
"""Seconds after which a client may try again when the disk was full: a person must make room."""
SEQ_BITS = 40
"""A cell's `place` is its drop's number and its seq in one integer, which makes it the row's
position in the table: a drop's cells lie together and in order."""
NONCE_BYTES = 12
KEY_BYTES = 32

_SEQ_MASK = (1 << SEQ_BITS) - 1

_DROPS = """
CREATE TABLE "drop" (
    number INTEGER PRIMARY KEY AUTOINCREMENT,  -- never given twice
    drop_id BLOB NOT NULL UNIQUE,
    append_hash BLOB NOT NULL,
    read_hash BLOB NOT NULL,
    retention_days INTEGER NOT NULL,
    bucket INTEGER NOT NULL,                   -- 1: the relay's own, never ends
    head INTEGER NOT NULL,
    digest BLOB NOT NULL,
    cells INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    last_day INTEGER NOT NULL,                 -- UTC days since 1970
    oldest_day INTEGER                         -- NULL: no cell is kept
) STRICT;
CREATE TABLE cell (
    place INTEGER PRIMARY KEY,                 -- drop number << 40 | seq
    label BLOB NOT NULL,
    before BLOB NOT NULL,                      -- digest before the cell
    day INTEGER NOT NULL,
    wrapped BLOB NOT NULL                      -- nonce || AES-256-GCM(cell)
) STRICT;
CREATE UNIQUE INDEX cell_label ON cell (place >> 40, label);
"""

_KEYS = """
CREATE TABLE shred_key (
    number INTEGER NOT NULL,                   -- of the drop
    day INTEGER NOT NULL,
    last_day INTEGER NOT NULL,                 -- on which the cells under it are still kept
    key BLOB NOT NULL,
    PRIMARY KEY (number, day)
) STRICT, WITHOUT ROWID;
"""

_DROP_COLUMNS = (
    "drop_id, append_hash, read_hash, retention_days, bucket, head, digest, cells, bytes, last_day,"
    " oldest_day, number"
)
_NOBODYS_ROW = (b"", NOBODYS.append_hash, NOBODYS.read_hash, 0, 0, 0, b"", 0, 0, 0, None, 0)


class SqliteStore:
    """A `drops.Store` in one directory, for one process."""

    def __init__(self, directory: Path) -> None:
        """Open the store, or make it. Raises StoreTooNew, StoreDamaged or DiskFull."""
        drops, keys = directory / "drops.sqlite", directory / "keys.sqlite"
        if drops.exists() and not keys.exists():
            raise StoreDamaged(f"{keys} is missing")
        with _errors:
            # Keys first: cells without a place for their keys would look like damage.
            for path, schema in ((keys, _KEYS), (drops, _DROPS)):
                if not path.exists():
                    _make(path, schema)
            self._keys = _open(keys)
            self._writer = _open(drops)
            self._reader = _open(drops)
            self._reader.execute("ATTACH ? AS keys", (str(keys),))
            self._drops, self._bytes = self._total()
        self._staged_drops = self._staged_bytes = 0
        # Counted from a random number, and not the seq: the seq of a batch that was rolled back is
        # given again.
        self._nonce = int.from_bytes(os.urandom(NONCE_BYTES), "big")
        # The keys that the staged batch uses, by drop number and day.
        self._wraps: dict[tuple[int, int], AESGCM] = {}

    def close(self) -> None:
        """Let go of the files. What is staged is forgotten."""
        for connection in (self._reader, self._writer, self._keys):
            connection.close()

    def find(self, drop_id: bytes) -> DropRecord:
        return _find(self._writer, drop_id)

    def count(self) -> int:
        return self._drops + self._staged_drops

    def held_bytes(self) -> int:
        return self._bytes + self._staged_bytes

    def labelled(self, drop: DropRecord, label: bytes) -> HeldCell | None:
        with _errors:
            row = self._writer.execute(
                "SELECT place, before, day, wrapped FROM cell WHERE place >> 40 = ? AND label = ?",
                (drop.number, label),
            ).fetchone()
            if row is None:
                return None
            place, before, day, wrapped = row
            keys = self._keys.execute(
                "SELECT key FROM shred_key WHERE number = ? AND day = ?", (drop.number, day)
            ).fetchone()
        cell = _unwrap(AESGCM(*keys), place, wrapped) if keys else b""
        return HeldCell(place & _SEQ_MASK, before, cell)

    def add(self, drop: DropRecord) -> None:
        with _errors:
            self._begin(self._writer)
            number = self._writer.execute(
                f'INSERT INTO "drop" ({_DROP_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,NULL)',  # noqa: S608  # constant
                _row(drop),
            ).lastrowid
        assert number is not None  # noqa: S101  # an INSERT of one row
        drop.number = number
        self._staged_drops += 1

    def append(self, drop: DropRecord, held: HeldCell, *, day: int) -> bool:
        place = drop.number << SEQ_BITS | held.seq
        with _errors:
            self._begin(self._writer)
            wrap = self._wraps.get((drop.number, day)) or self._wrap(drop, day)
            self._nonce = (self._nonce + 1) % 2 ** (8 * NONCE_BYTES)
            nonce = self._nonce.to_bytes(NONCE_BYTES, "big")
            row = self._writer.execute(
                "INSERT INTO cell (place, label, before, day, wrapped) VALUES (?,?,?,?,?)"
                " ON CONFLICT (place >> 40, label) DO NOTHING",
                (
                    place,
                    held.cell[:LABEL_BYTES],
                    held.before,
                    day,
                    nonce + wrap.encrypt(nonce, held.cell, _bound(place)),
                ),
            )
        if row.rowcount != 1:
            return False
        self._staged_bytes += len(held.cell)
        return True

    def save(self, drop: DropRecord) -> None:
        with _errors:
            self._begin(self._writer)
            self._writer.execute(
                'UPDATE "drop" SET head = ?, digest = ?, cells = ?, bytes = ?, last_day = ?,'
                " oldest_day = ? WHERE number = ?",
                (
                    drop.head,
                    drop.digest,
                    drop.cells,
                    drop.bytes,
                    drop.last_day,
                    drop.oldest_day,
                    drop.number,
                ),
            )

    def commit(self) -> None:
        with _errors:
            for connection in (self._keys, self._writer):
                if connection.in_transaction:
                    connection.execute("COMMIT")
        self._wraps.clear()
        self._drops += self._staged_drops
        self._bytes += self._staged_bytes
        self._staged_drops = self._staged_bytes = 0

    def rollback(self) -> None:
        self._wraps.clear()
        self._staged_drops = self._staged_bytes = 0
        with _errors:
            for connection in (self._writer, self._keys):
                # SQLite has rolled back by itself after some errors.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def look(self, drop_id: bytes) -> DropRecord:
        return _find(self._reader, drop_id)

    def cells(
        self, drop: DropRecord, *, after: int, since_day: int, max_cells: int, max_bytes: int
    ) -> list[HeldCell]:
        first = drop.number << SEQ_BITS
        held: list[HeldCell] = []
        room = max_bytes
        with _errors:
            openers = {
                day: AESGCM(key)
                for day, key in self._reader.execute(
                    "SELECT day, key FROM keys.shred_key WHERE number = ?", (drop.number,)
                )
            }
            if not openers:
                return []
            rows = self._reader.execute(
                "SELECT place, before, day, wrapped FROM main.cell"
                " WHERE place > ? AND place <= ? AND day >= ? ORDER BY place LIMIT ?",
                (
                    first + min(after, _SEQ_MASK),
                    first + drop.head,
                    max(since_day, min(openers)),
                    max_cells,
                ),
            )
            # Closing ends the read transaction, which would keep the WAL from being emptied.
            with contextlib.closing(rows):
                for place, before, day, wrapped in rows:
                    if day not in openers:
                        raise StoreDamaged("a cell's key is missing")
                    cell = _unwrap(openers[day], place, wrapped)
                    room -= len(cell)
                    if held and room < 0:
                        break
                    held.append(HeldCell(place & _SEQ_MASK, before, cell))
        return held

    def shred(self, today: int) -> None:
        with _errors:
            self._keys.execute("DELETE FROM shred_key WHERE last_day < ?", (today,))
        _empty_wal(self._keys)

    def erase(self, today: int, max_cells: int) -> int:
        with _errors:
            row = self._writer.execute(
                'SELECT number, retention_days FROM "drop" WHERE oldest_day + retention_days < ?'
                " LIMIT 1",
                (today,),
            ).fetchone()
            if row is None:
                return 0
            number, retention_days = row
            first = number << SEQ_BITS
            self._begin(self._writer)
            places = self._writer.execute(
                "SELECT place, length(wrapped) FROM cell WHERE place BETWEEN ? AND ? AND day < ?"
                " ORDER BY place LIMIT ?",
                (first, first | _SEQ_MASK, today - retention_days, max_cells),
            ).fetchall()
            last = places[-1][0] if places else first
            erased = sum(size - NONCE_BYTES - 16 for _, size in places)
            self._writer.execute("DELETE FROM cell WHERE place BETWEEN ? AND ?", (first, last))
            self._writer.execute(
                'UPDATE "drop" SET cells = cells - ?, bytes = bytes - ?, oldest_day ='
                " (SELECT day FROM cell WHERE place > ? AND place <= ? ORDER BY place LIMIT 1)"
                " WHERE number = ?",
                (
                    len(places),
                    erased,
                    last,
                    first | _SEQ_MASK,
                    number,
                ),
            )
        self.commit()
        self._bytes -= erased
        return len(places)

    def end_drops(self, before_day: int) -> None:
        with _errors:
            ended = self._writer.execute(
                'DELETE FROM "drop" WHERE NOT bucket AND oldest_day IS NULL AND last_day < ?',
                (before_day,),
            )
        self._drops -= ended.rowcount

    def scrub(self) -> None:
        _empty_wal(self._writer)

    def _total(self) -> tuple[int, int]:
        drops, cells = self._writer.execute(
            'SELECT count(*), ifnull(sum(bytes), 0) FROM "drop"'
        ).fetchone()
        return drops, cells

    def _begin(self, connection: sqlite3.Connection) -> None:
        if not connection.in_transaction:
            connection.execute("BEGIN IMMEDIATE")

    def _wrap(self, drop: DropRecord, day: int) -> AESGCM:
        """The key of a drop and day, made now if this is the day's first cell."""
        row = self._keys.execute(
            "SELECT key FROM shred_key WHERE number = ? AND day = ?", (drop.number, day)
        ).fetchone()
        if row is None:
            row = (os.urandom(KEY_BYTES),)
            self._begin(self._keys)
            self._keys.execute(
                "INSERT INTO shred_key (number, day, last_day, key) VALUES (?,?,?,?)",
                (drop.number, day, day + drop.retention_days, *row),
            )
        wrap = self._wraps[drop.number, day] = AESGCM(row[0])
        return wrap


def _make(path: Path, schema: str) -> None:
    """Create a database whole or not at all."""
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    connection = sqlite3.connect(temporary, isolation_level=None)
    try:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(f"BEGIN; {schema} PRAGMA user_version = {VERSION}; COMMIT")
    finally:
        connection.close()
    temporary.rename(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _open(path: Path) -> sqlite3.Connection:
    # The writers are handed to the committing thread and back, never used by two at once.
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_MS / 1000
    )
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise StoreTooNew(f"{path} has version {version}; this is {VERSION}")
    if version < VERSION:
        raise StoreDamaged(f"{path} is not a store")
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "secure_delete = ON",
        "temp_store = MEMORY",  # no cell in a temporary file
        f"cache_size = -{CACHE_KIB}",
    ):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _empty_wal(connection: sqlite3.Connection) -> None:
    with _errors:
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise RelayBusy("another program reads the store and keeps deleted bytes in its log")


def _find(connection: sqlite3.Connection, drop_id: bytes) -> DropRecord:
    with _errors:
        row = connection.execute(
            f'SELECT {_DROP_COLUMNS} FROM main."drop" WHERE drop_id = ?',  # noqa: S608  # constant
            (drop_id,),
        ).fetchone()
    return DropRecord(*(row or _NOBODYS_ROW))


def _row(drop: DropRecord) -> tuple[object, ...]:
    return (
        drop.drop_id,
        drop.append_hash,
        drop.read_hash,
        drop.retention_days,
        drop.bucket,
        drop.head,
        drop.digest,
        drop.cells,
        drop.bytes,
        drop.last_day,
        drop.oldest_day,
    )


def _bound(place: int) -> bytes:
    """A cell's associated data: it opens only where it was put."""
    return place.to_bytes(8, "big")


def _unwrap(opener: AESGCM, place: int, wrapped: bytes) -> bytes:
    try:
        return opener.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], _bound(place))
    except InvalidTag:
        raise StoreDamaged("a cell does not open") from None


class _Errors:
    """SQLite's errors as ours. A class, since a generator would be felt on every append."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        if isinstance(error, sqlite3.DatabaseError):
            name = error.sqlite_errorname
            if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
                raise DiskFull(name, retry_after=DISK_RETRY_S) from None
            raise StoreDamaged(name) from None


_errors = _Errors()
