"""The table of cells."""

# ruff: noqa: D102  # the protocols in records.py and beside it say what each method is

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from amanat.errors import StoreDamaged
from amanat.protocol.cells import LABEL_BYTES
from amanat.protocol.drops import HASH_BYTES
from amanat.relay.records import StoredCell
from amanat.relay.store.faults import sqlite_errors
from amanat.relay.store.keys import KeyTable
from amanat.relay.store.schema import SEQ_BITS, SEQ_MASK
from amanat.relay.store.wrapping import NONCE_BYTES, WRAP_BYTES, bound_to, unwrap

if TYPE_CHECKING:
    from collections.abc import Iterable

    from amanat.protocol.moving import WrappedCell
    from amanat.relay.arrivals import Arrived
    from amanat.relay.records import DropRecord

DAY_CHARS = 8
"""Digits of a UTC day in text: a move's days have no more."""

PUT = f"""
INSERT INTO cell (place, label, before, day, wrapped)
SELECT value, substr(?2, 1 + {LABEL_BYTES} * key, {LABEL_BYTES}),
    substr(?3, 1 + {HASH_BYTES} * key, {HASH_BYTES}),
    CAST(substr(?4, 1 + {DAY_CHARS} * key, {DAY_CHARS}) AS INTEGER), substr(?6, 1 + ?5 * key, ?5)
FROM json_each(?1)
"""  # noqa: S608  # constants
"""Puts cells of one size. Its parameters are their places as a JSON array, their labels, digests
before and days, each kind concatenated, the size, and the cells concatenated. It is one statement
because sqlite3 releases the interpreter at each, and may wait for it for longer than a cell
takes."""


class CellTable(KeyTable):
    """The cells, wrapped."""

    def labelled(self, drop: DropRecord, label: bytes) -> StoredCell | None:
        with sqlite_errors:
            row = self._writer.execute(
                "SELECT place, before, day, wrapped FROM cell WHERE place >> 32 = ? AND label = ?",
                (drop.number, label),
            ).fetchone()
            if row is None:
                return None
            place, before, day, wrapped = row
            keys = self._keys.execute(
                "SELECT key FROM shred_key WHERE number = ? AND day = ?", (drop.number, day)
            ).fetchone()
        seq = place & SEQ_MASK
        cell = unwrap(AESGCM(*keys), drop.bound, seq, wrapped) if keys else b""
        return StoredCell(seq, before, cell)

    def append(self, drop: DropRecord, stored: StoredCell, *, day: int) -> bool:
        place = drop.number << SEQ_BITS | stored.seq
        with sqlite_errors:
            self._begin(self._writer)
            wrap = self._wraps.get((drop.number, day)) or self._wrap(drop, day)
            self._nonce = (self._nonce + 1) % 2 ** (8 * NONCE_BYTES)
            nonce = self._nonce.to_bytes(NONCE_BYTES, "big")
            row = self._writer.execute(
                "INSERT INTO cell (place, label, before, day, wrapped) VALUES (?,?,?,?,?)"
                " ON CONFLICT (place >> 32, label) DO NOTHING",
                (
                    place,
                    stored.cell[:LABEL_BYTES],
                    stored.before,
                    day,
                    nonce + wrap.encrypt(nonce, stored.cell, bound_to(drop.bound, stored.seq)),
                ),
            )
        if row.rowcount != 1:
            return False
        self._stage_bytes(drop, len(stored.cell))
        return True

    def cells(
        self, drop: DropRecord, *, after: int, since_day: int, max_cells: int, max_bytes: int
    ) -> list[StoredCell]:
        first = drop.number << SEQ_BITS
        stored: list[StoredCell] = []
        room = max_bytes
        with sqlite_errors:
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
                    first + min(after, SEQ_MASK),
                    first + drop.head,
                    max(since_day, min(openers)),
                    max_cells,
                ),
            )
            # Closing the cursor ends the read transaction, which would block emptying the WAL.
            with contextlib.closing(rows):
                for place, before, day, wrapped in rows:
                    if day not in openers:
                        raise StoreDamaged("a cell's key is missing")
                    cell = unwrap(openers[day], drop.bound, place & SEQ_MASK, wrapped)
                    room -= len(cell)
                    if stored and room < 0:
                        break
                    stored.append(StoredCell(place & SEQ_MASK, before, cell))
        return stored

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
            with sqlite_errors:
                self._begin(self._keys)
                self._keys.executemany(
                    "INSERT OR IGNORE INTO shred_key (number, day, last_day, key) VALUES (?,?,?,?)",
                    keys,
                )
        for size, same in rows.items():
            places, labels, befores, cells = zip(*same, strict=True)
            with sqlite_errors:
                self._begin(self._writer)
                self._writer.execute(
                    PUT,
                    (
                        f"[{','.join(map(str, places))}]",
                        b"".join(labels),
                        b"".join(befores),
                        b"".join([b"%0*d" % (DAY_CHARS, cell.day) for cell in cells]),
                        size,
                        b"".join([cell.wrapped for cell in cells]),
                    ),
                )

    def cut(self, drop: DropRecord, upto: int) -> tuple[int, int]:
        first = drop.number << SEQ_BITS
        with sqlite_errors:
            self._begin(self._writer)
            sizes = self._writer.execute(
                "DELETE FROM cell WHERE place BETWEEN ? AND ? RETURNING length(wrapped)",
                (first, first | upto),
            ).fetchall()
        erased = sum(size for (size,) in sizes) - len(sizes) * WRAP_BYTES
        self._stage_bytes(drop, -erased)
        return len(sizes), erased
