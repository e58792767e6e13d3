"""Visitors: people who have knocked on an invite of ours, until the person has answered.

Somebody who knocks is let in at once (`let-in`), or the person is asked first (`ask`). While a
visitor waits, they hear nothing, and the invite on which they knocked is used up. There is one
visitor of each identity: another knock of theirs takes the place of the earlier one, because they
wait for the answer to the last.
"""

from __future__ import annotations

from enum import StrEnum, unique
from typing import TYPE_CHECKING, NamedTuple

from amanat.client.events import Knocked
from amanat.errors import BadArgument, UnknownVisitor

if TYPE_CHECKING:
    from amanat.client.unit import Unit
    from amanat.client.vault import Vault


@unique
class Knocks(StrEnum):
    """The client's behaviour when somebody knocks on an invite of ours."""

    LET_IN = "let-in"
    """We let them in."""
    ASK = "ask"
    """The person decides."""


LET_IN, ASK = Knocks
MAX_VISITORS = 256
"""The most visitors with whom we still make invites. A visitor has used up an invite, so there are
never many more of them. Each takes up to one large cell (64 KiB) of the vault."""

_WAITING = "SELECT identity, invite, knock, knocked_at, until FROM visitor WHERE until > ?"


class Visitor(NamedTuple):
    """Somebody who waits for the person's answer. Times are Unix milliseconds."""

    identity: bytes
    id: str
    """The id of the invite on which they have knocked."""
    knock: bytes
    """Their knock, as they have encoded it."""
    knocked_at: int
    until: int
    """When they stop waiting, or their KeyPackage is out of date."""


class Visitors:
    """The visitors of one vault."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._read = vault.read

    @property
    def knocks(self) -> Knocks:
        """The client's behaviour when somebody knocks on an invite of ours."""
        try:
            return Knocks(self._vault.get("knocks").decode())
        except KeyError:
            return LET_IN

    def choose(self, unit: Unit, knocks: str) -> None:
        """Set this behaviour, for all knocks that come from now on. Raises BadArgument."""
        if knocks not in set(Knocks):
            raise BadArgument(f"knocks are {LET_IN} or {ASK}")
        unit.put("knocks", knocks.encode())

    def keep(self, unit: Unit, visitor: Visitor) -> None:
        """Keep a visitor until the person has answered."""
        self.forget(unit, visitor.identity)
        unit.db.execute(
            "INSERT INTO visitor (identity, invite, knock, knocked_at, until)"
            " VALUES (?, ?, ?, ?, ?)",
            visitor,
        )
        unit.events.append(Knocked(visitor.id))

    def all(self, *, now: int) -> list[Visitor]:
        """The visitors who still wait, the first to come first."""
        rows = self._read.execute(_WAITING + " ORDER BY id", (now,)).fetchall()
        return [Visitor(*row) for row in rows]

    def count(self, *, now: int) -> int:
        """The number of visitors who still wait."""
        row = self._read.execute("SELECT count(*) FROM visitor WHERE until > ?", (now,)).fetchone()
        return int(row[0])

    def find(self, identity: bytes, *, now: int) -> Visitor | None:
        """The visitor with an identity, if they still wait."""
        row = self._read.execute(_WAITING + " AND identity = ?", (now, identity)).fetchone()
        return None if row is None else Visitor(*row)

    def one(self, identity: bytes, *, now: int) -> Visitor:
        """The visitor with an identity. Raises UnknownVisitor."""
        visitor = self.find(identity, now=now)
        if visitor is None:
            raise UnknownVisitor
        return visitor

    def forget(self, unit: Unit, identity: bytes) -> None:
        """Let nobody with this identity wait any longer."""
        self._tell(
            unit,
            unit.db.execute(
                "DELETE FROM visitor WHERE identity = ? RETURNING invite", (identity,)
            ).fetchall(),
        )

    def expire(self, unit: Unit) -> None:
        """Forget the visitors who wait no longer."""
        self._tell(
            unit,
            unit.db.execute(
                "DELETE FROM visitor WHERE until <= ? RETURNING invite", (unit.now,)
            ).fetchall(),
        )

    def _tell(self, unit: Unit, gone: list[tuple[str]]) -> None:
        unit.events += [Knocked(id_) for (id_,) in gone]
