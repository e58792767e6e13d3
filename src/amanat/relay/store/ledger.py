"""The ledger's tables."""

# ruff: noqa: D102  # the protocols in records.py and beside it say what each method is

from __future__ import annotations

from typing import TYPE_CHECKING

from amanat.protocol.ledger import encode_entry
from amanat.relay.store.faults import sqlite_errors
from amanat.relay.store.files import Files

if TYPE_CHECKING:
    from amanat.protocol.ledger import Entry


class LedgerTables(Files):
    """A `ledger.LedgerStore`."""

    def note(self, *entries: Entry) -> None:
        place = self._entries + self._staged_entries
        with sqlite_errors:
            self._begin(self._writer)
            self._writer.executemany(
                "INSERT INTO entry (place, entry) VALUES (?,?)",
                enumerate(map(encode_entry, entries), place),
            )
        self._staged_entries += len(entries)

    def keep_hash(self, level: int, index: int, value: bytes) -> None:
        with sqlite_errors:
            self._begin(self._writer)
            self._writer.execute(
                "INSERT INTO tile_hash (level, place, hash) VALUES (?,?,?)", (level, index, value)
            )

    def keep_checkpoint(self, note: bytes) -> None:
        with sqlite_errors:
            self._begin(self._writer)
            self._writer.execute("INSERT OR REPLACE INTO checkpoint VALUES (0, ?)", (note,))
