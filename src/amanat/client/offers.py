"""Offers: being asked into a group, until the person has said yes or no.

A contact may add us to a group; whether we are in it at once (`join`) or are asked first (`ask`) is
ours to say. Until we have answered, our client fetches nothing and says nothing of it, and shows
what the contact calls the group. Saying no is a signed wish to leave, which whoever has added us
may commit.
"""

from __future__ import annotations

from enum import StrEnum, unique
from typing import TYPE_CHECKING, NamedTuple

from amanat.errors import BadArgument, UnknownConversation

if TYPE_CHECKING:
    from amanat.client.unit import Unit
    from amanat.client.vault import Vault


@unique
class Adds(StrEnum):
    """What happens when a contact adds us to a group."""

    JOIN = "join"
    """We are in it."""
    ASK = "ask"
    """The person is asked."""


JOIN, ASK = Adds
MAX_OFFERS = 64
"""Most offers, and most Welcomes not fetched yet, of one contact; more are dropped."""


class Offer(NamedTuple):
    """A contact asks us into a group. `name` is what they call it; times are Unix milliseconds."""

    gid: bytes
    by: bytes
    name: str
    ref: bytes
    """Where the Welcome rests (FileRef)."""
    key_package: bytes
    """The reference of the KeyPackage they used."""
    told_at: int


class Offers:
    """The offers of one vault."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._read = vault.read

    @property
    def adds(self) -> Adds:
        """What happens when a contact adds us to a group."""
        try:
            return Adds(self._vault.get("adds").decode())
        except KeyError:
            return JOIN

    def choose(self, unit: Unit, adds: str) -> None:
        """Say it, for all adds from now on. Raises BadArgument."""
        if adds not in set(Adds):
            raise BadArgument(f"adds are {JOIN} or {ASK}")
        unit.put("adds", adds.encode())

    def keep(self, unit: Unit, offer: Offer) -> bool:
        """Keep an offer, in the place of an earlier one of that contact into that group. False
        where they have made too many."""
        unit.db.execute("DELETE FROM offer WHERE gid = ? AND inviter = ?", (offer.gid, offer.by))
        (count,) = unit.db.execute(
            "SELECT count(*) FROM offer WHERE inviter = ?", (offer.by,)
        ).fetchone()
        if count >= MAX_OFFERS:
            return False
        unit.db.execute(
            "INSERT INTO offer (gid, inviter, name, ref, key_package, told_at)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            offer,
        )
        return True

    def all(self) -> list[Offer]:
        """Those that wait for an answer, the oldest first."""
        rows = self._read.execute(
            "SELECT gid, inviter, name, ref, key_package, told_at FROM offer ORDER BY id"
        ).fetchall()
        return [Offer(*row) for row in rows]

    def take(self, unit: Unit, gid: bytes, by: bytes) -> Offer:
        """An offer that is answered now. Raises UnknownConversation."""
        found = [one for one in self.all() if (one.gid, one.by) == (gid, by)]
        if not found:
            raise UnknownConversation
        unit.db.execute("DELETE FROM offer WHERE gid = ? AND inviter = ?", (gid, by))
        return found[0]

    def forget_of(self, unit: Unit, by: bytes) -> None:
        """Answer nothing of somebody's."""
        unit.db.execute("DELETE FROM offer WHERE inviter = ?", (by,))

    def expire(self, unit: Unit, *, told_before: int) -> list[Offer]:
        """Forget those whose Welcome no longer rests."""
        over = [one for one in self.all() if one.told_at < told_before]
        for one in over:
            self.take(unit, one.gid, one.by)
        return over
