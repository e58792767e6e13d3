"""The keys that open the cells. To destroy a day of a drop is to destroy one of them."""

# ruff: noqa: D102  # the protocols in records.py and beside it say what each method is

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from amanat.relay.store.faults import sqlite_errors
from amanat.relay.store.files import Files
from amanat.relay.store.schema import empty_log
from amanat.relay.store.wrapping import KEY_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from amanat.relay.records import DropRecord


class KeyTable(Files):
    """The keys of drops and days."""

    def _wrap(self, drop: DropRecord, day: int) -> AESGCM:
        """The key of a drop and day; a new one for the day's first cell."""
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

    def shred(self, today: int) -> None:
        with sqlite_errors:
            self._keys.execute("DELETE FROM shred_key WHERE last_day < ?", (today,))
        empty_log(self._keys)

    def shred_drops(self, drops: Sequence[DropRecord]) -> None:
        with sqlite_errors:
            self._begin(self._keys)
            self._keys.executemany(
                "DELETE FROM shred_key WHERE number = ?", [(drop.number,) for drop in drops]
            )
