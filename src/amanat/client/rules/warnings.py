"""Warnings: the faults, and the lies, that a person has to know about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amanat.client.events import (
    Warned,
)
from amanat.client.vault import fingerprint
from amanat.errors import (
    BY_CODE,
    RelayDoubted,
    RelayLied,
    TrustError,
)

if TYPE_CHECKING:
    from amanat.client.unit import Unit

LIE_EVERY_MS = 3_600_000
"""How often we tell the person of the same lie of a relay, in milliseconds."""
MAX_WARNINGS = 1_000
"""The most warnings outside the Trust family kept for the person; the oldest go first."""


class Warnings:
    """The warnings of one vault."""

    def warn(
        self, unit: Unit, gid: bytes | None, code: str, detail: str, *, whom: bytes = b""
    ) -> None:
        """Keep a warning for the person. `whom` is the identity, or the key of the relay, that it
        is about.

        Warnings of one kind about one thing in one conversation are one row with a counter. Only
        different warnings can fill the table, and then those of the Trust family stay.
        """
        is_trust = issubclass(BY_CODE[code], TrustError)
        unit.db.execute(
            "INSERT INTO warning (at, code, gid, whom, detail, is_trust) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET at = excluded.at, detail = excluded.detail,"
            " many = many + 1",
            (unit.now, code, gid or b"", whom, detail, is_trust),
        )
        unit.db.execute(
            "DELETE FROM warning WHERE id IN (SELECT id FROM warning WHERE NOT is_trust"
            " ORDER BY at DESC, id DESC LIMIT -1 OFFSET ?)",
            (MAX_WARNINGS,),
        )
        unit.events.append(Warned(gid, code, detail))

    def warn_of(self, unit: Unit, relay: bytes, code: str, detail: str = "") -> None:
        """Keep a warning about a relay."""
        self.warn(unit, None, code, detail, whom=relay)

    def doubt_relay(
        self,
        unit: Unit,
        gid: bytes | None,
        who: bytes | None,
        *,
        how: str = "they were shown other cells than we",
    ) -> None:
        """Warn the person, not too often, that either a relay or somebody lies, because somebody
        says that the relay showed them something that it did not show us."""
        name = f"{fingerprint(who)}: " if who else ""
        self._tell_once(unit, gid, RelayDoubted.code, name + how, whom=who or b"")

    def report_lie(self, unit: Unit, gid: bytes | None, *, how: str) -> None:
        """Warn the person, not too often, that a relay does not show us something that it has told
        us itself."""
        self._tell_once(unit, gid, RelayLied.code, how)

    def _tell_once(
        self, unit: Unit, gid: bytes | None, code: str, detail: str, *, whom: bytes = b""
    ) -> None:
        if not unit.db.execute(
            "SELECT 1 FROM warning WHERE code = ? AND gid = ? AND whom = ? AND at > ?",
            (code, gid or b"", whom, unit.now - LIE_EVERY_MS),
        ).fetchone():
            self.warn(unit, gid, code, detail, whom=whom)
