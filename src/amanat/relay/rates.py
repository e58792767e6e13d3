"""How much clients may do in a time: how many drops they create in a minute, and how many bytes of
files they get in a day.

The counts are in memory and belong to one process: they begin anew with each start.
"""

from __future__ import annotations

from typing import Protocol
from weakref import WeakKeyDictionary

from amanat.errors import RelayBusy

MINUTE_S = 60
"""Seconds in a minute."""
FIRST = 4
"""Drops that each client may create in a minute although others create all they can: a person who
changes a group and sends two pictures needs three."""
FIRST_SHARE = 2
"""One part in this many of a minute's creations is for these first ones alone. Strangers need a
connection for each FIRST of that part to keep others from creating any drop."""


class Creator(Protocol):
    """A client that creates drops."""

    speaks_for: int
    """The number of clients for which it counts."""

    def __hash__(self) -> int: ...


class Creations:
    """The drops that were created in the present minute, divided among the clients.

    Nobody takes a creation back, as `shares.Room` takes room back from the greediest. So the first
    creations of a client have a part of each minute to themselves: a client that creates few drops
    is not refused because others create many.
    """

    def __init__(self, each: int, most: int) -> None:
        """`each` is the most that one client may create in a minute, and `most` the most that all
        may."""
        self._each = each
        self._most = most
        self._minute = 0
        self._all = 0
        self._own: WeakKeyDictionary[Creator, int] = WeakKeyDictionary()
        """How many each client has created. One that has gone is forgotten, but counts in all."""

    def take(self, who: Creator, *, now: float) -> None:
        """Count a drop that a client creates. Raises RelayBusy until the next minute if that would
        be too many."""
        minute = int(now // MINUTE_S)
        if minute != self._minute:
            self._minute, self._all = minute, 0
            self._own.clear()
        own = self._own.get(who, 0)
        room = self._most
        if own >= FIRST * who.speaks_for:
            room -= self._most // FIRST_SHARE
        if own >= self._each * who.speaks_for or self._all >= room:
            raise RelayBusy(retry_after=MINUTE_S - now % MINUTE_S)
        self._own[who] = own + 1
        self._all += 1

    def give_back(self, who: Creator) -> None:
        """Count one drop less, because it was not created after all."""
        own = self._own.get(who, 0)
        if own:  # else the minute is over
            self._own[who] = own - 1
            self._all -= 1


class Served:
    """The bytes of files that were served in the present UTC day."""

    def __init__(self, most: int) -> None:
        """`most` is the most that may be served in a day; 0: there is no limit."""
        self._most = most
        self._day = 0
        self._bytes = 0

    def add(self, amount: int, *, day: int) -> None:
        """Count bytes that were served."""
        if day != self._day:
            self._day, self._bytes = day, 0
        self._bytes += amount

    def is_over(self, day: int) -> bool:
        """Whether no more may be served on this day."""
        return bool(self._most) and day == self._day and self._bytes >= self._most
