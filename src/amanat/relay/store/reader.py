"""The store as a process other than the relay reads it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from amanat.errors import StoreDamaged
from amanat.protocol.ledger import decode_entry
from amanat.protocol.moving import ShredKey, WrappedCell
from amanat.protocol.tlog import TILE_WIDTH
from amanat.relay.store.bodies import REAL_SIZE, Bodies, has_ended
from amanat.relay.store.faults import sqlite_errors
from amanat.relay.store.pages import SqlitePages
from amanat.relay.store.rows import DROP_COLUMNS, drop_of, every_move, find_drop
from amanat.relay.store.schema import MOST_NUMBER, SEQ_BITS, SEQ_MASK, open_to_read
from amanat.relay.store.wrapping import WRAP_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from amanat.protocol.ledger import Entry
    from amanat.relay.records import DropRecord, MoveRecord
    from amanat.relay.store.bodies import Body, Reading


WRONG_LABELS = f"""
SELECT number FROM (
    SELECT number, (
        SELECT count(*) FROM main.cell
        WHERE place BETWEEN number << {SEQ_BITS} AND number << {SEQ_BITS} | indexed
    ) AS more FROM main."drop" WHERE indexed > 0
    UNION ALL SELECT number, -count(*) FROM main.label GROUP BY number
) GROUP BY number HAVING sum(more) <> 0
"""  # noqa: S608  # constant
"""Finds the drops of which the index has more labels, or fewer, than there are cells that are not
recent. It is one statement, as a relay may write meanwhile."""


class Counted(NamedTuple):
    """The cells that a drop really holds. `keyless` counts those of days whose key is destroyed."""

    cells: int
    bytes: int
    first: int
    last: int
    oldest_day: int | None
    keyless: int


class SqliteReader:
    """A store as a process other than the relay reads it. Reading changes nothing.

    Methods raise DiskFull or StoreDamaged.
    """

    def __init__(self, directory: Path) -> None:
        """Raises StoreTooNew, StoreTooOld or StoreDamaged."""
        self._bodies, self._drops = Bodies(directory), directory / "drops.sqlite"
        with sqlite_errors:
            self._reader = open_to_read(self._drops)
            self._reader.execute("ATTACH ? AS keys", (f"file:{directory / 'keys.sqlite'}?mode=ro",))

    def close(self) -> None:
        """Close the files."""
        self._reader.close()

    def entries(self, place: int) -> Iterator[Entry]:
        """The entries of the ledger, from an index on."""
        pages = SqlitePages(self._reader)
        while found := pages.entries(place, TILE_WIDTH):
            yield from map(decode_entry, found)
            place += len(found)

    def moves(self) -> list[MoveRecord]:
        """As `Store.moves`."""
        return every_move(self._reader)

    def look(self, drop_id: bytes) -> DropRecord:
        """As `Store.look`."""
        return find_drop(self._reader, drop_id)

    def total(self, *, state: int) -> tuple[int, int, int]:
        """(drops in a state, their cells, bytes of these)."""
        with sqlite_errors:
            row = self._reader.execute(
                'SELECT count(*), ifnull(sum(cells), 0), ifnull(sum(bytes), 0) FROM "drop"'
                " WHERE state = ?",
                (state,),
            ).fetchone()
        return row[0], row[1], row[2]

    def records(self, *, after: int, most: int) -> list[DropRecord]:
        """The first `most` drops with a number above `after`."""
        with sqlite_errors:
            rows = self._reader.execute(
                f'SELECT {DROP_COLUMNS} FROM main."drop" WHERE number > ?'  # noqa: S608  # constant
                " ORDER BY number LIMIT ?",
                (after, most),
            ).fetchall()
        return [drop_of(row) for row in rows]

    def checkpoint(self) -> bytes:
        """The signed note of the newest checkpoint, empty if there is none."""
        return SqlitePages(self._reader).checkpoint()

    @contextlib.contextmanager
    def moment(self) -> Iterator[None]:
        """See the store as it is now, unchanged until the end. Rows deleted meanwhile stay in the
        log."""
        with sqlite_errors:
            self._reader.execute("BEGIN")
        try:
            yield
        finally:
            self._reader.execute("COMMIT")

    def counted(self, *, after: int, most: int) -> list[tuple[DropRecord, Counted]]:
        """The first `most` drops with a number above `after`, each with the cells that it really
        holds."""
        with self.moment():
            return [
                (record, self._count(record)) for record in self.records(after=after, most=most)
            ]

    def counted_of(self, drop_id: bytes) -> tuple[DropRecord, Counted]:
        """A drop, or NOBODYS, with the cells that it really holds."""
        record = self.look(drop_id)
        return record, self._count(record)

    def _count(self, record: DropRecord) -> Counted:
        first = record.number << SEQ_BITS
        with sqlite_errors:
            keys = {
                day
                for (day,) in self._reader.execute(
                    "SELECT day FROM keys.shred_key WHERE number = ?", (record.number,)
                )
            }
            rows = self._reader.execute(
                f"SELECT day, count(*), sum({REAL_SIZE}), min(place), max(place)"  # noqa: S608  # constant
                " FROM main.cell WHERE place BETWEEN ? AND ? GROUP BY day",
                (first, first | SEQ_MASK),
            ).fetchall()
        cells = sum(row[1] for row in rows)
        return Counted(
            cells=cells,
            bytes=sum(row[2] for row in rows) - cells * WRAP_BYTES,
            first=min((row[3] & SEQ_MASK for row in rows), default=0),
            last=max((row[4] & SEQ_MASK for row in rows), default=0),
            oldest_day=min((row[0] for row in rows), default=None),
            keyless=sum(row[1] for row in rows if row[0] not in keys),
        )

    def strays(self) -> Iterator[tuple[str, str]]:
        """Cells, bodies, labels and keys that belong to no drop here or lack something: (kind of
        finding, the drop's number)."""
        for body in self._bodies:
            if self._is_stray(body):
                yield "cell-without-drop", f"drop {body.number}"
        with sqlite_errors:
            numbers = [
                number
                for (number,) in self._reader.execute('SELECT number FROM main."drop" ORDER BY 1')
            ]
            before = -1
            for number in [*numbers, MOST_NUMBER + 1]:
                between = (before + 1) << SEQ_BITS, (number << SEQ_BITS) - 1
                before = number
                if between[0] > between[1]:
                    continue
                for (place,) in self._reader.execute(
                    "SELECT place FROM main.cell WHERE place BETWEEN ? AND ?", between
                ):
                    yield "cell-without-drop", f"drop {place >> SEQ_BITS}"
            for (number,) in self._reader.execute(WRONG_LABELS):
                yield "wrong-labels", f"drop {number}"
            rows = self._reader.execute(
                'SELECT key.number, "drop".state, "drop".move FROM keys.shred_key AS key'
                ' LEFT JOIN main."drop" USING (number)'
                ' WHERE "drop".number IS NULL OR "drop".state = 2'
            )
            for number, state, move in rows.fetchall():
                yield (
                    ("key-without-drop" if state is None else f"key-left {move}"),
                    f"drop {number}",
                )

    def _is_stray(self, body: Body) -> bool:
        """Whether no row points into a body, although a commit has come since it was written."""
        log = self._drops.with_name(f"{self._drops.name}-wal")
        # Not the database while there is a log: the emptier also writes to it within a commit.
        last = log if log.exists() else self._drops
        if not self._bodies.is_before(body, last):
            return False
        # It may have ended, or had new cells, since it was listed.
        return has_ended(self._reader, body) and self._bodies.is_before(body, last)

    def link(self, drop: DropRecord, seq: int) -> tuple[bytes, WrappedCell, bytes] | None:
        """(the digest before a cell, the wrapped cell, the digest after it), all as stored; None if
        the cell is not there."""
        place = drop.number << SEQ_BITS | seq
        with sqlite_errors:
            rows = self._reader.execute(
                "SELECT before, day, wrapped FROM main.cell WHERE place IN (?, ?) ORDER BY place",
                (place, place + 1 if seq < drop.head else -1),
            ).fetchall()
        if not rows or (len(rows) == 1 and seq < drop.head):
            return None
        after = rows[1][0] if seq < drop.head else drop.digest
        before, day, wrapped = rows[0]
        with self._bodies.reading(drop.number) as reading:
            return before, WrappedCell(day, _whole_or_nothing(reading, day, wrapped)), after

    def keys(self, drop: DropRecord) -> list[ShredKey]:
        """The keys that open the cells of a drop."""
        with sqlite_errors:
            rows = self._reader.execute(
                "SELECT day, last_day, key FROM keys.shred_key WHERE number = ?", (drop.number,)
            ).fetchall()
        return [ShredKey(*row) for row in rows]

    def wrapped(
        self, drop: DropRecord, *, after: int, max_cells: int, max_bytes: int
    ) -> tuple[int, bytes, list[WrappedCell], list[ShredKey]]:
        """The first wrapped cells after a seq, up to the record's head: (the seq before the first,
        the digest there, the cells, the keys that open them)."""
        first = drop.number << SEQ_BITS
        before, digest = drop.head, drop.digest
        cells: list[WrappedCell] = []
        days: set[int] = set()
        with sqlite_errors:
            rows = self._reader.execute(
                "SELECT place, before, day, wrapped FROM main.cell"
                " WHERE place > ? AND place <= ? ORDER BY place LIMIT ?",
                (first | after, first | drop.head, max_cells),
            )
            with contextlib.closing(rows), self._bodies.reading(drop.number) as reading:
                for place, here, day, held in rows:
                    wrapped = _whole_or_nothing(reading, day, held)
                    max_bytes -= len(wrapped)
                    if cells and max_bytes < 0:
                        break
                    if not cells:
                        before, digest = (place & SEQ_MASK) - 1, here
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


def _whole_or_nothing(reading: Reading, day: int, wrapped: bytes) -> bytes:
    """The wrapped cell of a row; nothing, which no key opens, if its body does not have it. It may
    have ended since the row was read."""
    try:
        return reading.whole(day, wrapped)
    except StoreDamaged:
        return b""
