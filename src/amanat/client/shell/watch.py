"""The watch over our relays: their ledgers, their notices of a move, and where their drops went."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from amanat.errors import (
    DiskFull,
    LedgerRewritten,
    MoveAnnounced,
    MovedAway,
    NotInLedger,
    PeerError,
    TrustError,
    Unavailable,
)
from amanat.protocol import wire
from amanat.protocol.descriptor import open_descriptor
from amanat.protocol.moving import open_order

if TYPE_CHECKING:
    from amanat.client.routes import Routes
    from amanat.client.shell.exits import Exits
    from amanat.client.shell.runtime import Runtime


LEDGER_S = (60, 3600)
"""When the client checks the ledgers of our relays, in seconds: first this long after the start,
and then as often as the relays sign them."""


class Watch:
    """Watches the relays of one client."""

    def __init__(self, run: Runtime, routes: Routes, exits: Exits) -> None:
        self._now = run.now
        self._unit = run.unit
        self._spawn = run.spawn
        self._me = run.parts.me
        self._places = run.parts.places
        self._ledgers = run.parts.ledgers
        self._moves = run.parts.moves
        self._homes = run.parts.homes
        self._conversations = run.parts.conversations
        self._routes = routes
        self._exits = exits

    def begin(self) -> None:
        """Begin to watch."""
        self._spawn("ledgers", self._watch_ledgers())

    async def check_ledgers(self) -> None:
        """Check that our relays' ledgers continue from where they stood when we last looked, and
        warn the person if one does not. Leaves out relays that cannot be asked now, and all relays
        if requests are covered, because then nothing may leave out of turn."""
        for home in () if self._routes.period_s else tuple(self._me.homes):
            with contextlib.suppress(Unavailable, PeerError, TrustError):
                await self._check_ledger(home.relay)

    async def _check_ledger(self, relay: bytes) -> None:
        way = await self._routes.to(relay)
        described = await way.request(wire.Describe(0, b""), wire.Described)
        descriptor = open_descriptor(described.descriptor, relay)
        note = descriptor.checkpoint
        tiles = {}
        for tile in self._ledgers.wanted(relay, note):
            with contextlib.suppress(NotInLedger):
                consulted = await way.request(wire.Consult(0, tile.path), wire.Consulted)
                tiles[tile] = consulted.part
        with self._unit() as unit:
            self._places.learn(unit, descriptor.address)
            self._homes.learn_outbound(unit, relay, descriptor.outbound)
            if not self._ledgers.take(unit, relay, note, tiles):
                self._conversations.warnings.warn_of(unit, relay, LedgerRewritten.code)
            if descriptor.notice is not None:
                self._places.learn(unit, descriptor.notice.to)
            if self._moves.hear(unit, relay, descriptor.notice):
                self._conversations.warnings.warn_of(unit, relay, MoveAnnounced.code)

    def learn_move(self, relay: bytes, order: bytes) -> None:
        """Keep the destination to which drops of a relay have moved by its order."""
        with self._unit() as unit:
            self._moves.learn(unit, relay, order)
            to = open_order(order)
            self._places.learn(unit, to.to)
            if not self._homes.allows(relay, to.region):
                self._conversations.warnings.warn_of(unit, relay, MovedAway.code, to.region)
        self._exits.begin_following()

    async def _watch_ledgers(self) -> None:
        await asyncio.sleep(LEDGER_S[0])
        while True:
            with contextlib.suppress(DiskFull):
                await self.check_ledgers()
                self._routes.moved |= self._moves.destinations(now=self._now())
                await self._exits.follow_homes()
            await asyncio.sleep(LEDGER_S[1])
