"""The table of moves, and the drops that take part in one."""

# ruff: noqa: D102  # the protocols in records.py and beside it say what each method is

from __future__ import annotations

from typing import TYPE_CHECKING

from amanat.relay.store.faults import sqlite_errors
from amanat.relay.store.files import Files
from amanat.relay.store.rows import DROP_COLUMNS, drop_of, every_move

if TYPE_CHECKING:
    from collections.abc import Iterable

    from amanat.relay.records import DropRecord, MoveRecord


class MoveTable(Files):
    """The record of each move."""

    def moves(self) -> list[MoveRecord]:
        return every_move(self._writer)

    def has_new_moves(self) -> bool:
        return False

    def keep_move(self, record: MoveRecord) -> None:
        with sqlite_errors:
            self._begin(self._writer)
            self._writer.execute(
                "INSERT INTO move (move, signed, is_source, access, first_entry)"
                " VALUES (?,?,?,?,?)",
                (record.move, record.order, record.is_source, record.access, record.first_entry),
            )

    def close_move(self, record: MoveRecord) -> None:
        with sqlite_errors:
            self._begin(self._writer)
            self._writer.execute("UPDATE move SET is_closed = 1 WHERE number = ?", (record.number,))

    def forget_move(self, record: MoveRecord) -> None:
        with sqlite_errors:
            self._begin(self._writer)
            self._writer.execute("DELETE FROM move WHERE number = ?", (record.number,))

    def of_move(self, record: MoveRecord, state: int, *, after: int, most: int) -> list[DropRecord]:
        with sqlite_errors:
            rows = self._writer.execute(
                f'SELECT {DROP_COLUMNS} FROM "drop" WHERE move = ? AND state = ?'  # noqa: S608  # constant
                " AND number > ? ORDER BY number LIMIT ?",
                (record.number, state, after, most),
            ).fetchall()
        return [drop_of(row) for row in rows]

    def hold(self, drop_ids: Iterable[bytes]) -> None:
        """No other process changes drops."""

    def gone(self, record: MoveRecord, most: int) -> list[DropRecord]:
        with sqlite_errors:
            rows = self._writer.execute(
                f'SELECT {DROP_COLUMNS} FROM "drop" WHERE oldest_day IS NOT NULL'  # noqa: S608  # constant
                " AND state = 2 AND move = ? LIMIT ?",
                (record.number, most),
            ).fetchall()
        return [drop_of(row) for row in rows]

    def set_state(self, drops: Iterable[DropRecord], state: int, move: MoveRecord) -> None:
        numbers = ",".join([str(drop.number) for drop in drops])
        with sqlite_errors:
            self._begin(self._writer)
            self._writer.execute(
                'UPDATE "drop" SET state = ?, move = ?'
                " WHERE number IN (SELECT value FROM json_each(?))",
                (state, move.number, f"[{numbers}]"),
            )
