"""Room that all clients share, and its division when there is too little.

Each holder has its own bound. When all room is taken, a holder that asks for more gets it from the
one that has most, as long as that one has more than the asker would have then. The relay therefore
refuses the greediest holder, and never the newest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from amanat.errors import RelayBusy

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

TRUST = 64
"""Refusals that rely on one look at the holders: a look for each would help a flood."""


class Holder(Protocol):
    """Somebody that has a share."""

    speaks_for: int
    """The number of clients for which it counts: it may have as much as that many."""
    held: list[int]
    """How much it has of each room, by the rooms' numbers."""


H = TypeVar("H", bound=Holder)


class Room(Generic[H]):
    """An amount of something, and the holders' parts of it."""

    def __init__(
        self,
        number: int,
        most: int,
        each: int,
        *,
        holders: Collection[H],
        relieve: Callable[[H], bool],
        retry_s: float,
    ) -> None:
        """`each` is the most that one holder may have. `relieve` takes something from a holder, by
        giving it back here, or returns False. A refused holder may ask again after `retry_s`
        seconds.
        """
        self.number, self.most, self.each = number, most, each
        self.taken = 0
        self._holders = holders
        self._relieve = relieve
        self._retry_s = retry_s
        self._top, self._trusted = 0.0, 0
        """The greediest holder's part for each client for which it counts, and how many refusals
        may still rely on that."""

    def take(self, who: H, amount: int) -> None:
        """Give a holder an amount. Raises RelayBusy."""
        held = who.held[self.number] + amount
        if held > self.each * who.speaks_for or self.taken + amount > self.most:
            self._make_room(who, amount)
        who.held[self.number] = held
        self.taken += amount

    def check(self, who: H) -> None:
        """Raise RelayBusy if a holder could not have one more."""
        if who.held[self.number] >= self.each * who.speaks_for or self.taken >= self.most:
            self._make_room(who, 1)

    def give_back(self, who: H, amount: int) -> None:
        """Take an amount back from a holder that no longer needs it."""
        who.held[self.number] -= amount
        self.taken -= amount

    def pass_on(self, who: H, to: H, amount: int) -> None:
        """Give one holder's amount to another."""
        who.held[self.number] -= amount
        to.held[self.number] += amount

    def _make_room(self, who: H, amount: int) -> None:
        held = who.held[self.number] + amount
        level = held / who.speaks_for
        if level > self.each:
            raise RelayBusy(retry_after=self._retry_s)
        while self.taken + amount > self.most:
            if level >= self._top and self._trusted:
                self._trusted -= 1
                raise RelayBusy(retry_after=self._retry_s)
            greediest = max(self._holders, key=self._level)
            self._top, self._trusted = self._level(greediest), TRUST
            if level >= self._top or not self._relieve(greediest):
                raise RelayBusy(retry_after=self._retry_s)

    def _level(self, one: H) -> float:
        return one.held[self.number] / one.speaks_for
