"""The places of relays, as one client knows them. It keeps each that it learns, in a unit of
work."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from amanat.errors import DiskFull, RelayKeyChanged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from amanat.client.shell.runtime import Runtime
    from amanat.link import Link
    from amanat.protocol.descriptor import RelayAddress
    from amanat.protocol.places import Place


class KeptPlaces:
    """The places of relays that one client knows."""

    def __init__(self, run: Runtime) -> None:
        self.around = run.around
        self._now = run.now
        self._unit = run.unit
        self._places = run.parts.places
        self._conversations = run.parts.conversations
        self._strangers: set[tuple[bytes, Place]] = set()
        """The places where a key other than the relay's answers, as the person was told."""

    def where(self, relay: bytes) -> Sequence[Place]:
        """The places at which to look for a relay, in turn."""
        return self._places.where(relay, now=self._now())

    def is_named(self, relay: bytes) -> bool:
        """Whether the person has named a place of a relay."""
        return self._places.is_named(relay)

    def signed(self, relay: bytes) -> RelayAddress | None:
        """The newest relay address that a relay has signed."""
        return self._places.signed(relay)

    def found(self, relay: bytes, link: Link) -> None:
        """Keep the place where a relay was found, and warn the person of places where another key
        answers."""
        now = self._now()
        fresh = {(relay, place) for place in link.strangers} - self._strangers
        is_news = self._places.is_news(relay, link.place, now=now)
        with contextlib.suppress(DiskFull):  # the next link brings it again
            if fresh or is_news or link.missed:
                with self._unit() as unit:
                    self._places.found(unit, relay, link.place, link.missed)
                    for _, place in fresh:
                        self._conversations.warnings.warn_of(
                            unit, relay, RelayKeyChanged.code, place.name
                        )
            self._strangers |= fresh

    def learn(self, address: RelayAddress) -> None:
        """Keep a relay address if it is newer than ours."""
        with contextlib.suppress(DiskFull):  # the next contact brings it again
            if self._places.is_newer(address):
                with self._unit() as unit:
                    self._places.learn(unit, address)
