"""Offers: the groups that contacts ask us to join, and our answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amanat.client import vault
from amanat.client.rules import joining
from amanat.client.sdk.reading import pick, typed
from amanat.client.sdk.views import GroupOffer
from amanat.errors import UnknownConversation

if TYPE_CHECKING:
    from amanat.client.sdk.reading import Reading
    from amanat.client.shell.runtime import Runtime


class Offers:
    """The offers to one person."""

    def __init__(self, run: Runtime, reading: Reading) -> None:
        self._unit = run.unit
        self._conversations = run.parts.conversations
        self._begin_due = run.begin_due
        self._reading = reading

    @property
    def adds(self) -> str:
        """The client's behaviour when a contact adds us to a group: "join" it, or "ask" first."""
        return self._conversations.offers.adds

    def set_adds(self, adds: str) -> None:
        """Set this behaviour, for all adds from now on. Raises BadArgument."""
        with self._unit() as unit:
            self._conversations.offers.choose(unit, adds)

    def all(self) -> list[GroupOffer]:
        """The groups that contacts ask us to join, the oldest first."""
        names = {contact.identity: contact.name for contact in self._reading.contacts()}
        return [
            GroupOffer(
                vault.fingerprint(one.gid + one.by),
                one.gid,
                one.by,
                one.name,
                names.get(one.by, vault.fingerprint(one.by)),
                one.told_at,
                one.told_at + joining.WELCOME_LIFE_MS,
            )
            for one in self._conversations.offers.all()
        ]

    def _offer(self, name: str) -> GroupOffer:
        """The offer with an id, or with a group's name that is no id."""
        offers, wanted = self.all(), typed(name)
        found = [one for one in offers if one.id == wanted]
        named = [one for one in offers if typed(one.name) == wanted]
        return pick(found or named, name, UnknownConversation)

    def accept(self, offer: str) -> GroupOffer:
        """Accept the offer with this id, or with a group of this name. We are in the group once its
        Welcome was fetched. Raises UnknownConversation or AmbiguousName."""
        found = self._offer(offer)
        with self._unit() as unit:
            self._conversations.joining.accept_offer(unit, found.gid, found.by)
        self._begin_due()
        return found

    def decline(self, offer: str, *, is_blocked: bool = False) -> GroupOffer:
        """Decline an offer, and let the contact who made it take us out of the group. With
        `is_blocked`, block them instead and tell them nothing. Raises like `accept`."""
        found = self._offer(offer)
        with self._unit() as unit:
            if is_blocked:
                self._conversations.wishes.block(unit, found.by)
            else:
                self._conversations.joining.decline_offer(unit, found.gid, found.by)
        return found
