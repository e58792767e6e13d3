"""The table of drops."""

# ruff: noqa: D102  # the protocols in records.py and beside it say what each method is

from __future__ import annotations

from typing import TYPE_CHECKING

from amanat.errors import RelayBusy
from amanat.relay.records import NOBODYS
from amanat.relay.store.faults import sqlite_errors
from amanat.relay.store.files import Files
from amanat.relay.store.rows import (
    ADD_DROP,
    DROP_COLUMNS,
    SAVE_DROP,
    changes_of,
    drop_of,
    find_drop,
    row_of,
)
from amanat.relay.store.schema import MOST_NUMBER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from amanat.relay.records import DropRecord

NUMBERED_RETRY_S = 86_400.0
"""Seconds after which a client may ask again for a new drop once the store has numbered all it can.
Only the operator helps, by moving the drops to a new relay."""
FIND_DROPS = 900
"""Drops that one statement looks for: some builds of SQLite allow only 999 parameters."""


class DropTable(Files):
    """The record of each drop."""

    def hear_of(self, landed: Callable[[bytes, int], object]) -> None:
        """There is no other process."""

    def prepare(self, drop_ids: Iterable[bytes]) -> None:
        """All drops are at hand."""

    def recall(self, drop_id: bytes) -> DropRecord:  # noqa: ARG002  # it costs as much to find it
        return NOBODYS

    def find(self, drop_id: bytes) -> DropRecord:
        return find_drop(self._writer, drop_id)

    def look(
        self,
        drop_id: bytes,
        *,
        at_least: int = 0,  # noqa: ARG002  # there is one replica, which knows all
        is_sure: bool = False,  # noqa: ARG002
    ) -> DropRecord:
        return find_drop(self._reader, drop_id)

    def find_all(self, drop_ids: Sequence[bytes]) -> dict[bytes, DropRecord]:
        found: dict[bytes, DropRecord] = {}
        for first in range(0, len(drop_ids), FIND_DROPS):
            some = drop_ids[first:][:FIND_DROPS]
            with sqlite_errors:
                rows = self._writer.execute(
                    f'SELECT {DROP_COLUMNS} FROM "drop"'  # noqa: S608  # constants
                    f" WHERE drop_id IN ({','.join('?' * len(some))})",
                    some,
                ).fetchall()
            found |= {drop.drop_id: drop for drop in map(drop_of, rows)}
        return found

    def add(self, *drops: DropRecord) -> None:
        if not drops:
            return
        with sqlite_errors:
            self._begin(self._writer)
            (last,) = self._writer.execute(
                "SELECT ifnull(max(seq), 0) FROM sqlite_sequence WHERE name = 'drop'"
            ).fetchone()
            if last + len(drops) > MOST_NUMBER:
                raise RelayBusy("it has numbered all drops", retry_after=NUMBERED_RETRY_S)
            for number, drop in enumerate(drops, last + 1):
                drop.number, drop.bound = number, drop.bound or number
            self._writer.executemany(ADD_DROP, [row_of(drop) for drop in drops])
            if self._are_keys_ahead:
                self._begin(self._keys)
                self._keys.execute("DELETE FROM shred_key WHERE number > ?", (last,))
                self._are_keys_ahead = False
        self._staged_drops += len(drops)

    def save(self, *drops: DropRecord) -> None:
        if not drops:
            return
        with sqlite_errors:
            self._begin(self._writer)
            self._writer.executemany(SAVE_DROP, [changes_of(drop) for drop in drops])

    def forget(self, drop: DropRecord) -> None:
        with sqlite_errors:
            self._begin(self._writer)
            self._writer.execute('DELETE FROM "drop" WHERE number = ?', (drop.number,))
        self._staged_drops -= 1

    def records(self) -> Iterator[DropRecord]:
        with sqlite_errors:
            rows = self._writer.execute(f'SELECT {DROP_COLUMNS} FROM "drop"')  # noqa: S608  # constant
            for row in rows:
                yield drop_of(row)
