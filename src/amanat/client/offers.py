"""Offers: contacts' questions whether we want to join a group, until the person has said yes or no.

A contact may add us to a group. We decide whether we join it at once (`join`) or are asked first
(`ask`). Until we have answered, our client fetches nothing and sends nothing about it, and shows
the contact's name for the group. A refusal is a signed wish to leave, which the person who added us
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
    """The client's behaviour when a contact adds us to a group."""

    JOIN = "join"
    """We join it."""
    ASK = "ask"
    """The person decides."""


JOIN, ASK = Adds
MAX_OFFERS = 64
"""The most offers, and the most Welcomes not fetched yet, of one contact; more are dropped."""


class Offer(NamedTuple):
    """A contact asks us to join a group. `name` is their name for it; times are Unix
    milliseconds."""

    gid: bytes
    by: bytes
    name: str
    ref: bytes
    """The reference to the Welcome's file (FileRef)."""
    key_package: bytes
    """The reference of the KeyPackage that they used."""
    told_at: int


class Offers:
    """The offers of one vault."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._read = vault.read

    @property
    def adds(self) -> Adds:
        """The client's behaviour when a contact adds us to a group."""
        try:
            return Adds(self._vault.get("adds").decode())
        except KeyError:
            return JOIN

    def choose(self, unit: Unit, adds: str) -> None:
        """Set this behaviour, for all adds from now on. Raises BadArgument."""
        if adds not in set(Adds):
            raise BadArgument(f"adds are {JOIN} or {ASK}")
        unit.put("adds", adds.encode())

    def keep(self, unit: Unit, offer: Offer) -> bool:
        """Keep an offer, in place of an earlier one of that contact for that group. Returns False
        if they have made too many."""
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
        """The offers that wait for an answer, the oldest first."""
        rows = self._read.execute(
            "SELECT gid, inviter, name, ref, key_package, told_at FROM offer ORDER BY id"
        ).fetchall()
        return [Offer(*row) for row in rows]

    def take(self, unit: Unit, gid: bytes, by: bytes) -> Offer:
        """Take out an offer that the person answers now. Raises UnknownConversation."""
        found = [one for one in self.all() if (one.gid, one.by) == (gid, by)]
        if not found:
            raise UnknownConversation
        unit.db.execute("DELETE FROM offer WHERE gid = ? AND inviter = ?", (gid, by))
        return found[0]

    def forget_of(self, unit: Unit, by: bytes) -> None:
        """Forget the offers of somebody without an answer."""
        unit.db.execute("DELETE FROM offer WHERE inviter = ?", (by,))

    def expire(self, unit: Unit, *, told_before: int) -> list[Offer]:
        """Forget the offers whose Welcome no longer rests anywhere, and return them."""
        over = [one for one in self.all() if one.told_at < told_before]
        for one in over:
            self.take(unit, one.gid, one.by)
        return over
