"""The table of cells."""

# ruff: noqa: D102  # the protocols in records.py and beside it say what each method is

from __future__ import annotations

import contextlib
import itertools
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from amanat.errors import StoreDamaged
from amanat.protocol.cells import LABEL_BYTES
from amanat.protocol.drops import HASH_BYTES
from amanat.relay.records import Run, StoredCell, Unmade
from amanat.relay.store.bodies import (
    CELL_BYTES,
    LEAST_CELLS,
    POINTER_BYTES,
    REAL_SIZE,
    Bodies,
    Body,
    has_ended,
    pointers,
)
from amanat.relay.store.faults import sqlite_errors
from amanat.relay.store.keys import KeyTable
from amanat.relay.store.labels import LabelTable
from amanat.relay.store.schema import SEQ_BITS, SEQ_MASK
from amanat.relay.store.wrapping import WRAP_BYTES, unwrap, wrap_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

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


class Rows(NamedTuple):
    """Rows of cells of one size, by their columns."""

    places: list[int]
    labels: list[bytes]
    befores: list[bytes]
    days: list[int]
    wrapped: list[bytes]

    def of(self, chosen: Sequence[int]) -> Rows:
        """Those of the rows that have these indices."""
        columns: tuple[list[Any], ...] = self
        return Rows(*([column[index] for index in chosen] for column in columns))


class RowsBySize(defaultdict[int, Rows]):
    """Rows by the size of the wrapped cell."""

    def __init__(self) -> None:
        super().__init__(lambda: Rows([], [], [], [], []))

    def add(
        self,
        first: int,
        labels: list[bytes],
        befores: list[bytes],
        days: list[int],
        wrapped: list[bytes],
    ) -> None:
        """Add cells that follow each other, starting with a place."""
        sizes = [len(cell) for cell in wrapped]
        for size in set(sizes):
            chosen, places = [one == size for one in sizes], range(first, first + len(wrapped))
            columns: tuple[list[Any], ...] = self[size]
            for column, more in zip(columns, (places, labels, befores, days, wrapped), strict=True):
                column.extend(itertools.compress(more, chosen))

    def take(self, more: Rows) -> None:
        """Add rows of one size."""
        columns: tuple[list[Any], ...] = self[len(more.wrapped[0])]
        added: tuple[list[Any], ...] = more
        for column, rows in zip(columns, added, strict=True):
            column.extend(rows)


class CellTable(KeyTable, LabelTable):
    """The cells, wrapped.

    Staged cells are in memory until the commit, which puts them into the table, all of one size by
    one statement. SQLite then works for the whole batch without the interpreter, in the thread that
    commits. They are wrapped before: the thread would wait for the interpreter. Many large ones go
    into a body.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._bodies = Bodies(directory)
        self._grown: dict[Body, int] = {}
        """The bodies that the staged batch has written to, with their sizes before."""
        self._ending: set[Body] = set()
        """The bodies that the staged batch may have left without a row."""
        self._forget_staged()
        self._end_bodies(self._bodies)

    def _forget_staged(self) -> None:
        self._landing = RowsBySize()
        self._staged: dict[int, list[Run]] = defaultdict(list)
        """The staged runs by their drop's number."""

    def commit(self) -> Unmade:
        self._insert(self._landing)
        self._index_some()
        self._forget_staged()
        unmade = super().commit()
        self._grown.clear()
        ending, self._ending = self._ending, set()
        self._end_bodies(ending)
        return unmade

    def rollback(self) -> None:
        self._forget_staged()
        self._ending.clear()
        super().rollback()
        for body, size in self._grown.items():
            self._bodies.cut(body, size)
        self._grown.clear()

    def _end_bodies(self, bodies: Iterable[Body]) -> None:
        """Remove those of these bodies that no row points to."""
        for body in bodies:
            if has_ended(self._writer, body):
                self._bodies.end(body)

    def _write_bodies(self, landing: RowsBySize) -> RowsBySize:
        """The rows with pointers in place of the cells that go into bodies, which this writes."""
        large = landing.get(CELL_BYTES)
        if large is None or len(large.places) < LEAST_CELLS:
            return landing
        laid = RowsBySize()
        laid.update((size, rows) for size, rows in landing.items() if size != CELL_BYTES)
        of: dict[Body, list[int]] = defaultdict(list)
        for index, (place, day) in enumerate(zip(large.places, large.days, strict=True)):
            of[Body(place >> SEQ_BITS, day)].append(index)
        for body, chosen in of.items():
            rows = large.of(chosen)
            if len(chosen) >= LEAST_CELLS:
                at = self._bodies.add(body, rows.wrapped)
                self._grown.setdefault(body, at)
                rows = rows._replace(wrapped=pointers(at, len(chosen)))
            laid.take(rows)
        return laid

    def _insert(self, landing: RowsBySize) -> None:
        for size, rows in self._write_bodies(landing).items():
            with sqlite_errors:
                self._begin(self._writer)
                self._writer.execute(
                    PUT,
                    (
                        f"[{','.join(map(str, rows.places))}]",
                        b"".join(rows.labels),
                        b"".join(rows.befores),
                        b"".join([b"%0*d" % (DAY_CHARS, day) for day in rows.days]),
                        size,
                        b"".join(rows.wrapped),
                    ),
                )

    def labelled(self, drop: DropRecord, label: bytes) -> StoredCell | None:
        seq = self._seq_of(drop, label)
        if seq is None:
            return None
        for first, befores, cells in self._staged.get(drop.number, ()):
            if first <= seq < first + len(cells):
                return StoredCell(seq, befores[seq - first], cells[seq - first])
        with sqlite_errors:
            row = self._writer.execute(
                "SELECT before, day, wrapped FROM cell WHERE place = ? AND label = ?",
                (drop.number << SEQ_BITS | seq, label),
            ).fetchone()
            if row is None:
                return None
            before, day, wrapped = row
            with self._bodies.reading(drop.number) as reading:
                wrapped = reading.whole(day, wrapped)
            keys = self._keys.execute(
                "SELECT key FROM shred_key WHERE number = ? AND day = ?", (drop.number, day)
            ).fetchone()
        cell = unwrap(AESGCM(*keys), drop.bound, seq, wrapped) if keys else b""
        return StoredCell(seq, before, cell)

    def append(self, drop: DropRecord, run: Run, *, day: int) -> None:
        with sqlite_errors:
            key = self._wraps.get((drop.number, day)) or self._wrap(drop, day)
        first, befores, cells = run
        labels = [cell[:LABEL_BYTES] for cell in cells]
        wrapped = wrap_all(key, self._nonces, cells, drop.bound, first=first)
        days = [day] * len(cells)
        self._landing.add(drop.number << SEQ_BITS | first, labels, befores, days, wrapped)
        self._staged[drop.number].append(run)
        self._add_labels(drop, labels)
        self._stage_bytes(drop, sum(map(len, cells)))

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
            with contextlib.closing(rows), self._bodies.reading(drop.number) as reading:
                for place, before, day, wrapped in rows:
                    if day not in openers:
                        raise StoreDamaged("a cell's key is missing")
                    whole = reading.whole(day, wrapped)
                    cell = unwrap(openers[day], drop.bound, place & SEQ_MASK, whole)
                    room -= len(cell)
                    if stored and room < 0:
                        break
                    stored.append(StoredCell(place & SEQ_MASK, before, cell))
        return stored

    def put(self, arrived: Sequence[Arrived]) -> None:
        keys: list[tuple[int, int, int, bytes]] = []
        rows = RowsBySize()
        for one in arrived:
            number, first = one.drop.number, (one.drop.number << SEQ_BITS | one.after) + 1
            keys += [(number, key.day, key.last_day, key.key) for key in one.keys]
            days = [cell.day for cell in one.cells]
            wrapped = [cell.wrapped for cell in one.cells]
            rows.add(first, one.labels, one.befores, days, wrapped)
            self._stage_bytes(one.drop, sum(map(len, wrapped)) - len(wrapped) * WRAP_BYTES)
        if keys:
            with sqlite_errors:
                self._begin(self._keys)
                self._keys.executemany(
                    "INSERT OR IGNORE INTO shred_key (number, day, last_day, key) VALUES (?,?,?,?)",
                    keys,
                )
        self._insert(rows)
        self._index_arrived(one.drop for one in arrived)

    def cut(self, drop: DropRecord, upto: int) -> tuple[int, int]:
        first = drop.number << SEQ_BITS
        with sqlite_errors:
            self._begin(self._writer)
            self._end_labels(drop.number, upto)
            ended = self._writer.execute(
                "DELETE FROM cell WHERE place BETWEEN ? AND ?"  # noqa: S608  # constant
                f" RETURNING day, {REAL_SIZE}, length(wrapped)",
                (first, first | upto),
            ).fetchall()
        self._leave_bodies(drop.number, ended)
        erased = sum(size for _, size, _ in ended) - len(ended) * WRAP_BYTES
        self._stage_bytes(drop, -erased)
        return len(ended), erased

    def _leave_bodies(self, number: int, ended: Iterable[tuple[int, int, int]]) -> None:
        """Note the bodies of a drop's rows that are to be deleted, of which the day, the size of
        the cell, and the length in the row are given."""
        self._ending |= {Body(number, day) for day, _, held in ended if held == POINTER_BYTES}
