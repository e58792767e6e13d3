"""Drops in SQLite: `drops.sqlite` with the cells and the ledger, and apart from it `keys.sqlite`
with what opens the cells.

A cell rests under AES-256-GCM, with a key of its drop and UTC day. To destroy a day of a drop is to
destroy 32 bytes. What a crash leaves:

- A key is durable before the first cell under it is, so there is never a cell without its key...
- ... except while an expiry runs: keys go first. Such a cell has ended, and no read asks for it.
- A staged batch is one transaction: after a crash all of it is there, or nothing.
- So is an entry of the ledger with what it tells of. Only of a drop that is in the middle of its
  expiry has the ledger not heard yet; the drop's row has kept count.

Four connections: the writer of each file, one reader of both, and the *emptier*, which in a thread
of its own brings what was committed from SQLite's log (the WAL) to its place in `drops.sqlite`.
SQLite lets the reader go on while the writer commits in another thread, and both while the log is
emptied.
"""

# ruff: noqa: D102  # drops.Store says what each method is

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from amanat.errors import DiskFull, RelayBusy, StoreDamaged, StoreTooNew
from amanat.protocol.cells import LABEL_BYTES
from amanat.protocol.drops import HASH_BYTES
from amanat.protocol.ledger import (
    Entry,
    Erased,
    Expired,
    decode_entry,
    drop_hash,
    encode_entry,
)
from amanat.protocol.moving import HERE, ShredKey, WrappedCell
from amanat.protocol.tlog import TILE_WIDTH
from amanat.relay.drops import NOBODYS, DropRecord, HeldCell, MoveRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from amanat.relay.arrivals import Arrived

VERSION = 4
"""Version of both files' layout, in `PRAGMA user_version`."""
PAGE_BYTES = 8192
"""Seven wrapped message cells fill a page of this size to 95 %; of 4096 bytes, three to 80 %."""
CACHE_KIB = 64 * 1024
"""Memory for the pages of each connection, in KiB: the newest labels of many buckets."""
BUSY_TIMEOUT_MS = 5000
"""How long emptying the WAL waits for a read to finish, in milliseconds; a read takes a few."""
DISK_RETRY_S = 30.0
"""Seconds after which a client may try again when the disk was full: a person must make room."""
EMPTY_ROWS = 500
"""Changed rows after which the log is emptied: if each was committed alone, it is 8 MB long."""
LOG_PAGES = 8000
"""Pages in the log from which on the writer waits until it is empty, so that it is begun anew: of
64 MB, and seldom waited for."""
SEQ_BITS = 40
"""A cell's `place` is its drop's number and its seq in one integer, which makes it the row's
position in the table: a drop's cells lie together and in order."""
ERASE_DROPS = 100
"""Most drops whose cells end in one commit: some milliseconds, in which appends wait."""
FIND_DROPS = 900
"""Drops looked for in one statement: SQLite has been built with as few as 999 parameters."""
NONCE_BYTES = 12
WRAP_BYTES = NONCE_BYTES + 16
"""By how much a wrapped cell is longer than the cell, in bytes: nonce and tag."""
KEY_BYTES = 32
DAY_CHARS = 8
"""Digits of a UTC day in text: a move's days have no more."""

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
    oldest_day INTEGER,                        -- NULL: no cell is kept
    ended_cells INTEGER NOT NULL DEFAULT 0,    -- erased, and not in the ledger yet
    ended_bytes INTEGER NOT NULL DEFAULT 0,
    state INTEGER NOT NULL DEFAULT 0,          -- 0: here, 1: arriving, 2: gone
    move INTEGER NOT NULL DEFAULT 0,           -- number of the last move it took part in
    bound INTEGER NOT NULL DEFAULT 0           -- number its cells are bound to; 0: its own
) STRICT;
CREATE INDEX drop_due ON "drop" (oldest_day + retention_days) WHERE oldest_day IS NOT NULL;
CREATE TABLE cell (
    place INTEGER PRIMARY KEY,                 -- drop number << 40 | seq
    label BLOB NOT NULL,
    before BLOB NOT NULL,                      -- digest before the cell
    day INTEGER NOT NULL,
    wrapped BLOB NOT NULL                      -- nonce || AES-256-GCM(cell)
) STRICT;
CREATE UNIQUE INDEX cell_label ON cell (place >> 40, label);
"""

_MOVES = """
CREATE INDEX drop_move ON "drop" (move, state) WHERE move > 0;
CREATE TABLE move (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    move BLOB NOT NULL UNIQUE,
    signed BLOB NOT NULL,                      -- the order, by the source
    is_source INTEGER NOT NULL,
    access BLOB NOT NULL,
    first_entry INTEGER NOT NULL,
    is_closed INTEGER NOT NULL DEFAULT 0
) STRICT;
"""

_LEDGER = """
CREATE TABLE entry (
    place INTEGER PRIMARY KEY,                 -- from 0, without gaps
    entry BLOB NOT NULL
) STRICT;
CREATE TABLE tile_hash (
    level INTEGER NOT NULL,                    -- of 256^level entries, from 1
    place INTEGER NOT NULL,
    hash BLOB NOT NULL,
    PRIMARY KEY (level, place)
) STRICT, WITHOUT ROWID;
CREATE TABLE checkpoint (
    number INTEGER PRIMARY KEY CHECK (number = 0),
    note BLOB NOT NULL
) STRICT;
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

_PUT = f"""
INSERT INTO cell (place, label, before, day, wrapped)
SELECT value, substr(?2, 1 + {LABEL_BYTES} * key, {LABEL_BYTES}),
    substr(?3, 1 + {HASH_BYTES} * key, {HASH_BYTES}),
    CAST(substr(?4, 1 + {DAY_CHARS} * key, {DAY_CHARS}) AS INTEGER), substr(?6, 1 + ?5 * key, ?5)
FROM json_each(?1)
"""  # noqa: S608  # constants
"""Puts cells of one size: their places as a JSON array, and strung together labels, digests before,
days, and, after the size, the cells. One statement, since sqlite3 hands the interpreter to other
threads at each, and may wait for it for longer than a cell takes."""

_UPGRADES = {
    "drops.sqlite": [
        f"""
ALTER TABLE "drop" ADD COLUMN ended_cells INTEGER NOT NULL DEFAULT 0;
ALTER TABLE "drop" ADD COLUMN ended_bytes INTEGER NOT NULL DEFAULT 0;
CREATE INDEX drop_due ON "drop" (oldest_day + retention_days) WHERE oldest_day IS NOT NULL;
{_LEDGER}
""",
        f"""
ALTER TABLE "drop" ADD COLUMN state INTEGER NOT NULL DEFAULT 0;
ALTER TABLE "drop" ADD COLUMN move INTEGER NOT NULL DEFAULT 0;
ALTER TABLE "drop" ADD COLUMN bound INTEGER NOT NULL DEFAULT 0;
{_MOVES}
""",
        """
DROP INDEX drop_move;
CREATE INDEX drop_move ON "drop" (move, state) WHERE move > 0;
""",
    ],
    "keys.sqlite": ["", "", ""],
}
"""What makes each file of version 1, 2, ... one of the next version."""

_DROP_COLUMNS = (
    "drop_id, append_hash, read_hash, retention_days, bucket, head, digest, cells, bytes, last_day,"
    " oldest_day, number, ended_cells, ended_bytes, state, move, bound"
)
_NOBODYS_ROW = (b"", NOBODYS.append_hash, NOBODYS.read_hash, *(0, 0, 0), b"", *(0, 0, 0), None) + (
    0,
) * 6


class SqliteStore:
    """A `drops.Store` in one directory, for one process."""

    def __init__(self, directory: Path) -> None:
        """Open the store, or make it. Raises StoreTooNew, StoreDamaged or DiskFull."""
        drops, keys = directory / "drops.sqlite", directory / "keys.sqlite"
        if drops.exists() and not keys.exists():
            raise StoreDamaged(f"{keys} is missing")
        with _errors:
            # Keys first: cells without a place for their keys would look like damage.
            for path, schema in ((keys, _KEYS), (drops, _DROPS + _MOVES + _LEDGER)):
                if not path.exists():
                    _make(path, schema)
            self._keys = _open(keys)
            self._writer = _open(drops)
            self._writer.execute("PRAGMA wal_autocheckpoint = 0")  # but the emptier
            self._emptier = _open(drops)
            self._reader = _open(drops)
            self._reader.execute("ATTACH ? AS keys", (str(keys),))
            self._drops, self._bytes, self._bucket_bytes = self._total()
            self.pages = SqlitePages(self._reader)
            self.staged_pages = SqlitePages(self._writer)
            self._entries = self.pages.size()
        self._staged_drops = self._staged_entries = 0
        self._staged_bytes = self._staged_bucket_bytes = 0
        # Counted from a random number, and not the seq: the seq of a batch that was rolled back is
        # given again.
        self._nonce = int.from_bytes(os.urandom(NONCE_BYTES), "big")
        # The keys that the staged batch uses, by drop number and day.
        self._wraps: dict[tuple[int, int], AESGCM] = {}
        self._log = drops.with_name(f"{drops.name}-wal")
        self._committed_rows = self._writer.total_changes
        self._emptied_rows = self._log_pages = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="emptier")
        self._emptying = self._thread.submit(self._empty)
        self._is_deferred = self._is_unsettled = False
        # A crash, or a full disk, between the two commits, keys first, leaves keys under numbers
        # that are given again; they are not those drops'.
        self._are_keys_ahead = True

    def close(self) -> None:
        """Let go of the files. What is staged is forgotten."""
        self._thread.shutdown()
        for connection in (self._emptier, self._reader, self._writer, self._keys):
            connection.close()

    def find(self, drop_id: bytes) -> DropRecord:
        return _find(self._writer, drop_id)

    def count(self) -> int:
        return self._drops + self._staged_drops

    def held_bytes(self) -> int:
        return self._bytes + self._staged_bytes

    def bucket_bytes(self) -> int:
        return self._bucket_bytes + self._staged_bucket_bytes

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
        seq = place & _SEQ_MASK
        cell = _unwrap(AESGCM(*keys), drop.bound, seq, wrapped) if keys else b""
        return HeldCell(seq, before, cell)

    def add(self, *drops: DropRecord) -> None:
        if not drops:
            return
        with _errors:
            self._begin(self._writer)
            (last,) = self._writer.execute(
                "SELECT ifnull(max(seq), 0) FROM sqlite_sequence WHERE name = 'drop'"
            ).fetchone()
            for number, drop in enumerate(drops, last + 1):
                drop.number, drop.bound = number, drop.bound or number
            self._writer.executemany(
                f'INSERT INTO "drop" ({_DROP_COLUMNS})'  # noqa: S608  # constant
                " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,0,0,?,?,?)",
                [(*_row(drop), drop.number, drop.state, drop.move, drop.bound) for drop in drops],
            )
            if self._are_keys_ahead:
                self._begin(self._keys)
                self._keys.execute("DELETE FROM shred_key WHERE number > ?", (last,))
                self._are_keys_ahead = False
        self._staged_drops += len(drops)

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
                    nonce + wrap.encrypt(nonce, held.cell, _bound(drop.bound, held.seq)),
                ),
            )
        if row.rowcount != 1:
            return False
        self._stage_bytes(drop, len(held.cell))
        return True

    def save(self, *drops: DropRecord) -> None:
        if not drops:
            return
        with _errors:
            self._begin(self._writer)
            self._writer.executemany(
                'UPDATE "drop" SET head = ?, digest = ?, cells = ?, bytes = ?, last_day = ?,'
                " oldest_day = ? WHERE number = ?",
                [(*_kept(drop), drop.number) for drop in drops],
            )

    def defer(self) -> None:
        with _errors:
            self._writer.execute("PRAGMA synchronous = NORMAL")
        self._is_deferred = True

    def commit(self) -> None:
        # A transaction that changed nothing is not written, and so not waited for.
        is_written = self._writer.total_changes != self._committed_rows
        with _errors:
            for connection in (self._keys, self._writer):
                if connection.in_transaction:
                    connection.execute("COMMIT")
        self._committed_rows = self._writer.total_changes
        if self._is_deferred:
            self._end_deferring()
            self._is_unsettled = self._is_unsettled or is_written
        else:
            if self._is_unsettled and not is_written:
                self._settle()
            self._is_unsettled = False
        self._empty_in_time()
        self._wraps.clear()
        self._drops += self._staged_drops
        self._bytes += self._staged_bytes
        self._bucket_bytes += self._staged_bucket_bytes
        self._entries += self._staged_entries
        self._staged_drops = self._staged_entries = 0
        self._staged_bytes = self._staged_bucket_bytes = 0

    def rollback(self) -> None:
        self._wraps.clear()
        self._staged_drops = self._staged_entries = 0
        self._staged_bytes = self._staged_bucket_bytes = 0
        with _errors:
            for connection in (self._writer, self._keys):
                # SQLite has rolled back by itself after some errors.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        self._committed_rows = self._writer.total_changes
        self._are_keys_ahead = True
        self._end_deferring()

    def _end_deferring(self) -> None:
        if self._is_deferred:
            with _errors:
                self._writer.execute("PRAGMA synchronous = FULL")
            self._is_deferred = False

    def _settle(self) -> None:
        log = os.open(self._log, os.O_RDONLY)
        try:
            os.fsync(log)
        except OSError as error:
            raise DiskFull(str(error.strerror), retry_after=DISK_RETRY_S) from None
        finally:
            os.close(log)

    def _empty_in_time(self) -> None:
        """Have the log emptied when it has become long; wait for it when it has become too long."""
        rows = self._writer.total_changes
        if rows - self._emptied_rows < EMPTY_ROWS or not self._emptying.done():
            return
        self._emptied_rows = rows
        if self._log_pages < LOG_PAGES:
            self._emptying = self._thread.submit(self._empty)
        else:
            self._empty()
            self._log_pages = 0

    def _empty(self) -> None:
        with contextlib.suppress(sqlite3.DatabaseError):  # the next one tries again
            _, self._log_pages, _ = self._emptier.execute(
                "PRAGMA wal_checkpoint(PASSIVE)"
            ).fetchone()

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
                    cell = _unwrap(openers[day], drop.bound, place & _SEQ_MASK, wrapped)
                    room -= len(cell)
                    if held and room < 0:
                        break
                    held.append(HeldCell(place & _SEQ_MASK, before, cell))
        return held

    def shred(self, today: int) -> None:
        with _errors:
            self._keys.execute("DELETE FROM shred_key WHERE last_day < ?", (today,))
        _empty_wal(self._keys)

    def erase(self, today: int, max_cells: int, *, hour: int) -> int:
        cells = erased = of_buckets = 0
        with _errors:
            self._begin(self._writer)
            # Many drops in one commit: most have few cells of a day.
            for _ in range(ERASE_DROPS):
                due = self._writer.execute(
                    'SELECT number, retention_days, bucket FROM "drop"'
                    " WHERE oldest_day + retention_days < ? AND oldest_day IS NOT NULL"
                    " AND state = 0 LIMIT 1",
                    (today,),
                ).fetchone()
                if due is None or cells >= max_cells:
                    break
                number, retention_days, is_bucket = due
                count, size = self._erase_of(
                    number, before=today - retention_days, max_cells=max_cells - cells
                )
                self._enter_expired(number, today, hour=hour)
                cells, erased = cells + count, erased + size
                of_buckets += size if is_bucket else 0
        self.commit()
        self._bytes -= erased
        self._bucket_bytes -= of_buckets
        return cells

    def _erase_of(self, number: int, *, before: int, max_cells: int) -> tuple[int, int]:
        """Delete the first cells of a drop, of days before this: (how many, their bytes)."""
        first = number << SEQ_BITS
        places = self._writer.execute(
            "SELECT place, length(wrapped) FROM cell WHERE place BETWEEN ? AND ? AND day < ?"
            " ORDER BY place LIMIT ?",
            (first, first | _SEQ_MASK, before, max_cells),
        ).fetchall()
        last = places[-1][0] if places else first
        erased = sum(size - WRAP_BYTES for _, size in places)
        self._writer.execute("DELETE FROM cell WHERE place BETWEEN ? AND ?", (first, last))
        self._writer.execute(
            'UPDATE "drop" SET cells = cells - ?1, bytes = bytes - ?2, oldest_day ='
            " (SELECT day FROM cell WHERE place > ?3 AND place <= ?4 ORDER BY place LIMIT 1),"
            " ended_cells = ended_cells + ?1, ended_bytes = ended_bytes + ?2"
            " WHERE number = ?5",
            (len(places), erased, last, first | _SEQ_MASK, number),
        )
        return len(places), erased

    def _enter_expired(self, number: int, today: int, *, hour: int) -> None:
        """Enter what has ended of a drop, if nothing more of it is to end now."""
        ended = self._writer.execute(
            'SELECT drop_id, ended_cells, ended_bytes FROM "drop" WHERE number = ?'
            " AND (oldest_day IS NULL OR oldest_day + retention_days >= ?)",
            (number, today),
        ).fetchone()
        if ended is None:
            return
        drop_id, cells, size = ended
        self.note(Expired(drop_hash(drop_id), hour, cells, size))
        self._writer.execute(
            'UPDATE "drop" SET ended_cells = 0, ended_bytes = 0 WHERE number = ?', (number,)
        )

    def end_drops(self, before_day: int, *, hour: int) -> None:
        with _errors:
            self._begin(self._writer)
            ended = self._writer.execute(
                'DELETE FROM "drop" WHERE (state = 2 OR state = 0 AND NOT bucket)'
                " AND oldest_day IS NULL AND last_day < ? RETURNING drop_id, state",
                (before_day,),
            ).fetchall()
            for drop_id, state in ended:
                if state == HERE:  # the ledger tells already that the others have gone
                    self.note(Erased(drop_hash(drop_id), hour, 0, 0))
        self.commit()
        self._drops -= len(ended)

    def scrub(self) -> None:
        self._emptying.result()
        _empty_wal(self._writer)

    def records(self) -> Iterator[DropRecord]:
        with _errors:
            rows = self._writer.execute(f'SELECT {_DROP_COLUMNS} FROM "drop"')  # noqa: S608  # constant
            for row in rows:
                yield _record(row)

    def moves(self) -> list[MoveRecord]:
        return _moves(self._writer)

    def keep_move(self, record: MoveRecord) -> None:
        with _errors:
            self._begin(self._writer)
            self._writer.execute(
                "INSERT INTO move (move, signed, is_source, access, first_entry)"
                " VALUES (?,?,?,?,?)",
                (record.move, record.order, record.is_source, record.access, record.first_entry),
            )

    def close_move(self, record: MoveRecord) -> None:
        with _errors:
            self._begin(self._writer)
            self._writer.execute("UPDATE move SET is_closed = 1 WHERE number = ?", (record.number,))

    def forget_move(self, record: MoveRecord) -> None:
        with _errors:
            self._begin(self._writer)
            self._writer.execute("DELETE FROM move WHERE number = ?", (record.number,))

    def of_move(self, record: MoveRecord, state: int, *, after: int, most: int) -> list[DropRecord]:
        with _errors:
            rows = self._writer.execute(
                f'SELECT {_DROP_COLUMNS} FROM "drop" WHERE move = ? AND state = ?'  # noqa: S608  # constant
                " AND number > ? ORDER BY number LIMIT ?",
                (record.number, state, after, most),
            ).fetchall()
        return [_record(row) for row in rows]

    def gone(self, record: MoveRecord, most: int) -> list[DropRecord]:
        with _errors:
            rows = self._writer.execute(
                f'SELECT {_DROP_COLUMNS} FROM "drop" WHERE oldest_day IS NOT NULL'  # noqa: S608  # constant
                " AND state = 2 AND move = ? LIMIT ?",
                (record.number, most),
            ).fetchall()
        return [_record(row) for row in rows]

    def put(self, arrived: Iterable[Arrived]) -> None:
        keys: list[tuple[int, int, int, bytes]] = []
        rows: dict[int, list[tuple[int, bytes, bytes, WrappedCell]]] = {}
        for one in arrived:
            number, first = one.drop.number, (one.drop.number << SEQ_BITS | one.after) + 1
            keys += [(number, key.day, key.last_day, key.key) for key in one.keys]
            more = 0
            for row in zip(itertools.count(first), one.labels, one.befores, one.cells):
                size = len(row[3].wrapped)
                rows.setdefault(size, []).append(row)
                more += size - WRAP_BYTES
            self._stage_bytes(one.drop, more)
        if keys:
            with _errors:
                self._begin(self._keys)
                self._keys.executemany(
                    "INSERT OR IGNORE INTO shred_key (number, day, last_day, key) VALUES (?,?,?,?)",
                    keys,
                )
        for size, same in rows.items():
            places, labels, befores, cells = zip(*same, strict=True)
            with _errors:
                self._begin(self._writer)
                self._writer.execute(
                    _PUT,
                    (
                        f"[{','.join(map(str, places))}]",
                        b"".join(labels),
                        b"".join(befores),
                        b"".join([b"%0*d" % (DAY_CHARS, cell.day) for cell in cells]),
                        size,
                        b"".join([cell.wrapped for cell in cells]),
                    ),
                )

    def find_all(self, drop_ids: Sequence[bytes]) -> dict[bytes, DropRecord]:
        found: dict[bytes, DropRecord] = {}
        for first in range(0, len(drop_ids), FIND_DROPS):
            some = drop_ids[first:][:FIND_DROPS]
            with _errors:
                rows = self._writer.execute(
                    f'SELECT {_DROP_COLUMNS} FROM "drop"'  # noqa: S608  # constants
                    f" WHERE drop_id IN ({','.join('?' * len(some))})",
                    some,
                ).fetchall()
            found |= {drop.drop_id: drop for drop in map(_record, rows)}
        return found

    def set_state(self, drops: Iterable[DropRecord], state: int, move: MoveRecord) -> None:
        numbers = ",".join([str(drop.number) for drop in drops])
        with _errors:
            self._begin(self._writer)
            self._writer.execute(
                'UPDATE "drop" SET state = ?, move = ?'
                " WHERE number IN (SELECT value FROM json_each(?))",
                (state, move.number, f"[{numbers}]"),
            )

    def cut(self, drop: DropRecord, upto: int) -> tuple[int, int]:
        first = drop.number << SEQ_BITS
        with _errors:
            self._begin(self._writer)
            sizes = self._writer.execute(
                "DELETE FROM cell WHERE place BETWEEN ? AND ? RETURNING length(wrapped)",
                (first, first | upto),
            ).fetchall()
        erased = sum(size for (size,) in sizes) - len(sizes) * WRAP_BYTES
        self._stage_bytes(drop, -erased)
        return len(sizes), erased

    def shred_drops(self, numbers: list[int]) -> None:
        with _errors:
            self._begin(self._keys)
            self._keys.executemany(
                "DELETE FROM shred_key WHERE number = ?", [(number,) for number in numbers]
            )

    def forget(self, drop: DropRecord) -> None:
        with _errors:
            self._begin(self._writer)
            self._writer.execute('DELETE FROM "drop" WHERE number = ?', (drop.number,))
        self._staged_drops -= 1

    def note(self, *entries: Entry) -> None:
        place = self._entries + self._staged_entries
        with _errors:
            self._begin(self._writer)
            self._writer.executemany(
                "INSERT INTO entry (place, entry) VALUES (?,?)",
                enumerate(map(encode_entry, entries), place),
            )
        self._staged_entries += len(entries)

    def keep_hash(self, level: int, index: int, value: bytes) -> None:
        with _errors:
            self._begin(self._writer)
            self._writer.execute(
                "INSERT INTO tile_hash (level, place, hash) VALUES (?,?,?)", (level, index, value)
            )

    def keep_checkpoint(self, note: bytes) -> None:
        with _errors:
            self._begin(self._writer)
            self._writer.execute("INSERT OR REPLACE INTO checkpoint VALUES (0, ?)", (note,))

    def _stage_bytes(self, drop: DropRecord, more: int) -> None:
        self._staged_bytes += more
        if drop.bucket:
            self._staged_bucket_bytes += more

    def _total(self) -> tuple[int, int, int]:
        drops, cells, of_buckets = self._writer.execute(
            "SELECT count(*), ifnull(sum(bytes), 0), ifnull(sum(bytes) FILTER (WHERE bucket), 0)"
            ' FROM "drop"'
        ).fetchone()
        return drops, cells, of_buckets

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


class Counted(NamedTuple):
    """What a drop really holds: `keyless` are cells of days whose key is destroyed."""

    cells: int
    bytes: int
    first: int
    last: int
    oldest_day: int | None
    keyless: int


class SqliteReader:
    """What rests in a store, for another process than the relay's; it changes nothing.

    Methods raise DiskFull or StoreDamaged.
    """

    def __init__(self, directory: Path) -> None:
        """Raises StoreTooNew or StoreDamaged."""
        with _errors:
            self._reader = _read_only(directory / "drops.sqlite")
            self._reader.execute("ATTACH ? AS keys", (f"file:{directory / 'keys.sqlite'}?mode=ro",))

    def close(self) -> None:
        """Let go of the files."""
        self._reader.close()

    def entries(self, place: int) -> Iterator[Entry]:
        """The ledger's from a place on."""
        pages = SqlitePages(self._reader)
        while found := pages.entries(place, TILE_WIDTH):
            yield from map(decode_entry, found)
            place += len(found)

    def moves(self) -> list[MoveRecord]:
        """As `Store.moves`."""
        return _moves(self._reader)

    def look(self, drop_id: bytes) -> DropRecord:
        """As `Store.look`."""
        return _find(self._reader, drop_id)

    def total(self, *, state: int) -> tuple[int, int, int]:
        """(drops in a state, their cells, bytes of these)."""
        with _errors:
            row = self._reader.execute(
                'SELECT count(*), ifnull(sum(cells), 0), ifnull(sum(bytes), 0) FROM "drop"'
                " WHERE state = ?",
                (state,),
            ).fetchone()
        return row[0], row[1], row[2]

    def records(self, *, after: int, most: int) -> list[DropRecord]:
        """The first drops of those with a higher number."""
        with _errors:
            rows = self._reader.execute(
                f'SELECT {_DROP_COLUMNS} FROM main."drop" WHERE number > ?'  # noqa: S608  # constant
                " ORDER BY number LIMIT ?",
                (after, most),
            ).fetchall()
        return [_record(row) for row in rows]

    def checkpoint(self) -> bytes:
        """The ledger's note that was signed last, empty if none was."""
        return SqlitePages(self._reader).checkpoint()

    @contextlib.contextmanager
    def moment(self) -> Iterator[None]:
        """See the store as it is now until the end. What it deletes meanwhile stays in its log."""
        with _errors:
            self._reader.execute("BEGIN")
        try:
            yield
        finally:
            self._reader.execute("COMMIT")

    def counted(self, *, after: int, most: int) -> list[tuple[DropRecord, Counted]]:
        """The first drops of those with a higher number, each with what it really holds."""
        with self.moment():
            return [
                (record, self._count(record)) for record in self.records(after=after, most=most)
            ]

    def counted_of(self, drop_id: bytes) -> tuple[DropRecord, Counted]:
        """A drop, or NOBODYS, with what it really holds."""
        record = self.look(drop_id)
        return record, self._count(record)

    def _count(self, record: DropRecord) -> Counted:
        first = record.number << SEQ_BITS
        with _errors:
            keys = {
                day
                for (day,) in self._reader.execute(
                    "SELECT day FROM keys.shred_key WHERE number = ?", (record.number,)
                )
            }
            rows = self._reader.execute(
                "SELECT day, count(*), sum(length(wrapped)), min(place), max(place) FROM main.cell"
                " WHERE place BETWEEN ? AND ? GROUP BY day",
                (first, first | _SEQ_MASK),
            ).fetchall()
        cells = sum(row[1] for row in rows)
        return Counted(
            cells=cells,
            bytes=sum(row[2] for row in rows) - cells * WRAP_BYTES,
            first=min((row[3] & _SEQ_MASK for row in rows), default=0),
            last=max((row[4] & _SEQ_MASK for row in rows), default=0),
            oldest_day=min((row[0] for row in rows), default=None),
            keyless=sum(row[1] for row in rows if row[0] not in keys),
        )

    def strays(self) -> Iterator[tuple[str, int]]:
        """What belongs to no drop that is here: a kind of finding, and the number of the drop."""
        with _errors:
            numbers = [
                number
                for (number,) in self._reader.execute('SELECT number FROM main."drop" ORDER BY 1')
            ]
            before = -1
            for number in [*numbers, (1 << 63 - SEQ_BITS) - 1]:
                between = (before + 1) << SEQ_BITS, (number << SEQ_BITS) - 1
                before = number
                if between[0] > between[1]:
                    continue
                for (place,) in self._reader.execute(
                    "SELECT place FROM main.cell WHERE place BETWEEN ? AND ?", between
                ):
                    yield "cell-without-drop", place >> SEQ_BITS
            rows = self._reader.execute(
                'SELECT key.number, "drop".state, "drop".move FROM keys.shred_key AS key'
                ' LEFT JOIN main."drop" USING (number)'
                ' WHERE "drop".number IS NULL OR "drop".state = 2'
            )
            for number, state, move in rows.fetchall():
                yield ("key-without-drop" if state is None else f"key-left {move}"), number

    def link(self, drop: DropRecord, seq: int) -> tuple[bytes, WrappedCell, bytes] | None:
        """A cell of a drop: the digest before it, the cell as it rests and the digest after it, as
        they are written down; None if it is not there."""
        place = drop.number << SEQ_BITS | seq
        with _errors:
            rows = self._reader.execute(
                "SELECT before, day, wrapped FROM main.cell WHERE place IN (?, ?) ORDER BY place",
                (place, place + 1 if seq < drop.head else -1),
            ).fetchall()
        if not rows or (len(rows) == 1 and seq < drop.head):
            return None
        after = rows[1][0] if seq < drop.head else drop.digest
        return rows[0][0], WrappedCell(rows[0][1], rows[0][2]), after

    def keys(self, drop: DropRecord) -> list[ShredKey]:
        """What opens the cells of a drop."""
        with _errors:
            rows = self._reader.execute(
                "SELECT day, last_day, key FROM keys.shred_key WHERE number = ?", (drop.number,)
            ).fetchall()
        return [ShredKey(*row) for row in rows]

    def wrapped(
        self, drop: DropRecord, *, after: int, max_cells: int, max_bytes: int
    ) -> tuple[int, bytes, list[WrappedCell], list[ShredKey]]:
        """The first cells after a seq, up to the record's head, as they rest: the seq before the
        first, the digest there, the cells and the keys that open them."""
        first = drop.number << SEQ_BITS
        before, digest = drop.head, drop.digest
        cells: list[WrappedCell] = []
        days: set[int] = set()
        with _errors:
            rows = self._reader.execute(
                "SELECT place, before, day, wrapped FROM main.cell"
                " WHERE place > ? AND place <= ? ORDER BY place LIMIT ?",
                (first | after, first | drop.head, max_cells),
            )
            with contextlib.closing(rows):
                for place, here, day, wrapped in rows:
                    max_bytes -= len(wrapped)
                    if cells and max_bytes < 0:
                        break
                    if not cells:
                        before, digest = (place & _SEQ_MASK) - 1, here
                    cells.append(WrappedCell(day, wrapped))
                    days.add(day)
            keys = [
                ShredKey(day, last, key)
                for day, last, key in self._reader.execute(
                    "SELECT day, last_day, key FROM keys.shred_key WHERE number = ?",
                    (drop.number,),
                )
                if day in days
            ]
        return before, digest, cells, keys


class SqlitePages:
    """The ledger's `Pages`, through one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def size(self) -> int:
        with _errors:
            found = self._connection.execute("SELECT ifnull(max(place) + 1, 0) FROM main.entry")
            return int(found.fetchone()[0])

    def entries(self, first: int, most: int) -> list[bytes]:
        with _errors:
            rows = self._connection.execute(
                "SELECT entry FROM main.entry WHERE place >= ? AND place < ? ORDER BY place",
                (first, first + most),
            )
            return [row[0] for row in rows.fetchall()]

    def full(self, level: int) -> int:
        with _errors:
            found = self._connection.execute(
                "SELECT ifnull(max(place) + 1, 0) FROM main.tile_hash WHERE level = ?", (level,)
            )
            return int(found.fetchone()[0])

    def hashes(self, level: int, first: int, most: int) -> list[bytes]:
        with _errors:
            rows = self._connection.execute(
                "SELECT hash FROM main.tile_hash"
                " WHERE level = ? AND place >= ? AND place < ? ORDER BY place",
                (level, first, first + most),
            )
            return [row[0] for row in rows.fetchall()]

    def checkpoint(self) -> bytes:
        with _errors:
            row = self._connection.execute("SELECT note FROM main.checkpoint").fetchone()
        return row[0] if row else b""


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
    if version < 1:
        raise StoreDamaged(f"{path} is not a store")
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "secure_delete = ON",
        "temp_store = MEMORY",  # no cell in a temporary file
        f"cache_size = -{CACHE_KIB}",
    ):
        connection.execute(f"PRAGMA {pragma}")
    if version < VERSION:
        upgrade = "".join(_UPGRADES[path.name][version - 1 :])
        connection.executescript(
            f"BEGIN IMMEDIATE; {upgrade} PRAGMA user_version = {VERSION}; COMMIT"
        )
    return connection


def _read_only(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != VERSION:
        connection.close()
        kind = StoreTooNew if version > VERSION else StoreDamaged
        raise kind(f"{path} has version {version}; this is {VERSION}")
    return connection


def _moves(connection: sqlite3.Connection) -> list[MoveRecord]:
    with _errors:
        rows = connection.execute(
            "SELECT move, signed, is_source, access, first_entry, is_closed, number"
            " FROM main.move ORDER BY number"
        ).fetchall()
    return [
        MoveRecord(move, order, bool(is_source), access, first, bool(is_closed), number)
        for move, order, is_source, access, first, is_closed, number in rows
    ]


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
    return _record(row or _NOBODYS_ROW)


def _record(row: tuple[Any, ...]) -> DropRecord:
    drop = DropRecord(*row)
    drop.bucket = bool(drop.bucket)
    drop.bound = drop.bound or drop.number
    return drop


def _row(drop: DropRecord) -> tuple[object, ...]:
    return (
        drop.drop_id,
        drop.append_hash,
        drop.read_hash,
        drop.retention_days,
        drop.bucket,
        *_kept(drop),
    )


def _kept(drop: DropRecord) -> tuple[object, ...]:
    """What changes as cells come and end."""
    return (
        drop.head,
        drop.digest,
        drop.cells,
        drop.bytes,
        drop.last_day,
        drop.oldest_day,
    )


def _bound(number: int, seq: int) -> bytes:
    """A cell's associated data: it opens only where it was put."""
    return (number << SEQ_BITS | seq).to_bytes(8, "big")


def unwrap_all(
    cells: Sequence[WrappedCell], keys: Iterable[ShredKey], number: int, *, after: int
) -> list[bytes]:
    """The cells that rest wrapped in a drop, from the one after a seq on, bound to its number.

    Raises StoreDamaged.
    """
    openers = {one.day: AESGCM(one.key).decrypt for one in keys}
    first = (number << SEQ_BITS | after) + 1
    try:
        return [
            openers[one.day](
                one.wrapped[:NONCE_BYTES], one.wrapped[NONCE_BYTES:], place.to_bytes(8, "big")
            )
            for place, one in enumerate(cells, first)
        ]
    except (InvalidTag, KeyError, ValueError):
        raise StoreDamaged("a cell does not open") from None


def _unwrap(opener: AESGCM, number: int, seq: int, wrapped: bytes) -> bytes:
    try:
        return opener.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], _bound(number, seq))
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
