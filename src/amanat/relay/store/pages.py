"""The ledger's rows, read through one connection."""

# ruff: noqa: D102  # ledger.Pages says what each method is

from __future__ import annotations

from typing import TYPE_CHECKING

from amanat.relay.store.faults import sqlite_errors

if TYPE_CHECKING:
    import sqlite3


class SqlitePages:
    """The ledger's `Pages`, through one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def size(self) -> int:
        with sqlite_errors:
            found = self._connection.execute("SELECT ifnull(max(place) + 1, 0) FROM main.entry")
            return int(found.fetchone()[0])

    def entries(self, first: int, most: int) -> list[bytes]:
        with sqlite_errors:
            rows = self._connection.execute(
                "SELECT entry FROM main.entry WHERE place >= ? AND place < ? ORDER BY place",
                (first, first + most),
            )
            return [row[0] for row in rows.fetchall()]

    def full(self, level: int) -> int:
        with sqlite_errors:
            found = self._connection.execute(
                "SELECT ifnull(max(place) + 1, 0) FROM main.tile_hash WHERE level = ?", (level,)
            )
            return int(found.fetchone()[0])

    def hashes(self, level: int, first: int, most: int) -> list[bytes]:
        with sqlite_errors:
            rows = self._connection.execute(
                "SELECT hash FROM main.tile_hash"
                " WHERE level = ? AND place >= ? AND place < ? ORDER BY place",
                (level, first, first + most),
            )
            return [row[0] for row in rows.fetchall()]

    def checkpoint(self) -> bytes:
        with sqlite_errors:
            row = self._connection.execute("SELECT note FROM main.checkpoint").fetchone()
        return row[0] if row else b""
