"""The reader of our own buckets: it takes their cells one by one, and each page in a few units of
work."""

from __future__ import annotations

import asyncio
import contextlib
from enum import Enum, auto
from typing import TYPE_CHECKING, assert_never

from amanat.client.events import StatusChanged
from amanat.client.rules.chains import (
    FromClaim,
    FromHelper,
    FromInvite,
    FromKnock,
    FromLost,
    FromPair,
)
from amanat.errors import OldDevice, PeerError, RelayUnreachable, TrustError, Unavailable
from amanat.protocol import wire

if TYPE_CHECKING:
    from collections.abc import Sequence

    from amanat.client.profile import Home
    from amanat.client.routes import Routes
    from amanat.client.shell.pausing import Pausing
    from amanat.client.shell.runtime import Runtime
    from amanat.client.unit import Unit


CELLS_PER_UNIT = 64
"""The number of cells of a drop taken in one unit of work. Many share one fsync, and the loop never
stops for long."""


class _Last(Enum):
    """The outcome of our last request for a bucket of ours."""

    READ = auto()
    """It has been read to its end."""
    AWAY = auto()
    """Its relay could not be reached."""


class Buckets:
    """Reads the buckets of one client."""

    def __init__(self, run: Runtime, routes: Routes, pausing: Pausing) -> None:
        self._unit = run.unit
        self._spawn = run.spawn
        self._tasks = run.tasks
        self._wake = run.wake
        self._tell = run.tell
        self._changed = run.changed
        self._me = run.parts.me
        self._cursors = run.parts.cursors
        self._chains = run.parts.chains
        self._conversations = run.parts.conversations
        self._asking = run.parts.conversations.asking
        self._helping = run.parts.conversations.helping
        self._invites = run.parts.invites
        self._routes = routes
        self._begin_due = run.begin_due
        self._rest_after = pausing.rest_after
        self.is_read = asyncio.Event()
        """Whether our buckets have been read to their ends: at least one, and each other whose
        relay is not away."""
        self._buckets: dict[bytes, _Last] = {}
        run.at_due(self._begin_again)

    def begin(self) -> None:
        """Start a reader for each bucket of ours that has none."""
        for home in self._me.buckets:
            if ("bucket", home.bucket.drop_id) not in self._tasks:
                self._spawn(("bucket", home.bucket.drop_id), self._read_bucket(home))

    def forget(self, home: Home) -> None:
        """Stop reading a bucket."""
        task = self._tasks.get(("bucket", home.bucket.drop_id))
        if task is not None:
            task.cancel()

    def _begin_again(self) -> None:
        if self._cursors.again() is not None and "again" not in self._tasks:
            self._spawn("again", self._read_again())

    def is_away(self, home: Home) -> bool:
        """Whether the relay of a bucket of ours could not be reached when we last tried."""
        return self._buckets.get(home.bucket.drop_id) is _Last.AWAY

    def reached(self) -> list[Home]:
        """The homes, present and former, at which somebody can still reach us."""
        return [*self._me.homes, *(one for one in self._me.former if not self.is_away(one))]

    async def heard_of_former(self) -> None:
        """Wait until, for each former home, its bucket has been read or its relay is known to be
        away."""
        while any(home.bucket.drop_id not in self._buckets for home in self._me.former):
            await self._changed()

    async def _read_bucket(self, home: Home) -> None:
        """Follow a bucket of ours, for ever."""
        bucket = home.bucket
        while True:
            try:
                link = await self._routes.to(home.relay)
                after = self._cursors.read_from(bucket.drop_id)
                async with contextlib.aclosing(
                    link.follow(bucket.drop_id, bucket.read_token, after)
                ) as replies:
                    async for cells in replies:
                        await self._take_bucket(home, cells)
            except (Unavailable, PeerError, TrustError) as error:
                if isinstance(error, RelayUnreachable):
                    self._heard_of(home, _Last.AWAY)
                await self._rest_after(error, home.relay, bucket.drop_id)

    def _heard_of(self, home: Home, state: _Last) -> None:
        """Record that a bucket has been read to its end, or that its relay is away. We are caught
        up once one bucket has been read and none is pending."""
        drop_id = home.bucket.drop_id
        is_news = self._buckets.get(drop_id) != state
        self._buckets[drop_id] = state
        if is_news:
            self._tell(StatusChanged())
        states = [self._buckets.get(each.bucket.drop_id) for each in self._me.homes]
        if not self.is_read.is_set() and _Last.READ in states and None not in states:
            self.is_read.set()
            is_news = True
        if is_news:
            self._wake()

    async def _take_bucket(self, home: Home, cells: wire.Cells) -> None:
        bucket = home.bucket
        while True:
            # Cells from before a chain was known go first, because the engine reads a sender's
            # messages in their order, give or take a few.
            while self._cursors.again() is not None:
                await self._changed()
            if not self._chains.pass_over(bucket.drop_id, cells):
                with self._unit() as unit:
                    fresh = self._cursors.advance(unit, bucket.drop_id, cells, CELLS_PER_UNIT)
                    self._take(unit, fresh, home)
            read = self._cursors.read_from(bucket.drop_id)
            if read >= cells.head:
                self._heard_of(home, _Last.READ)
            if read >= cells.first + len(cells.cells) - 1:
                break
            await asyncio.sleep(0)
        self._begin_due()

    def _take(self, unit: Unit, cells: Sequence[bytes], home: Home) -> None:
        for arrival in self._chains.recognise(unit, cells, home):
            match arrival:
                case FromInvite(secret, payload):
                    self._invites.answer(unit, secret, payload)
                case FromKnock(secret, payload):
                    self._invites.welcome(unit, secret, payload)
                case FromLost(identity, payload):
                    self._helping.help(unit, identity, payload)
                case FromHelper(gid, identity, payload):
                    self._asking.answered(unit, gid, identity, payload)
                case FromClaim(number, payload, generation):
                    self._hear_claim(unit, number, payload, generation, home.bucket.drop_id)
                case FromPair(gid, signer, cell, is_past):
                    at = home.bucket.drop_id
                    self._conversations.addresses.arrived_at(unit, gid, signer, at)
                    self._conversations.hearing.take(unit, gid, signer, cell, is_past=is_past)
                case _:
                    assert_never(arrival)
        if self._cursors.refute_hearsay(unit, home.bucket.drop_id):
            self._conversations.warnings.doubt_relay(unit, None, None)

    def _hear_claim(
        self, unit: Unit, number: int, payload: bytes, generation: int, drop_id: bytes
    ) -> None:
        talk = self._conversations
        if generation < self._me.generation:
            if talk.claims.read_of_before(unit, number, drop_id):
                talk.warnings.warn(unit, None, OldDevice.code, "")
        elif talk.claims.read(unit, number, payload, drop_id):
            talk.astray.all_astray(unit)

    async def _read_again(self) -> None:
        """Look again at the cells that our bucket held before a chain was known."""
        while (after := self._cursors.again()) is not None:
            with self._unit() as unit:
                recent = self._cursors.recall(unit, after)
                for home, kept in recent or ():
                    self._take(unit, kept, home)
            if recent is not None:
                continue
            home = self._me.home
            drop_id, _, token = home.bucket
            request = wire.Read(0, drop_id, token, after, CELLS_PER_UNIT, 0)
            try:
                link = await self._routes.to(home.relay)
                cells = await link.catch_up(request)
            except (Unavailable, PeerError, TrustError) as error:
                await self._rest_after(error, home.relay, b"")
                continue
            if home != self._me.home:
                continue  # we have left it meanwhile
            with self._unit() as unit:
                self._cursors.took_again(unit, cells.first + len(cells.cells) - 1)
                self._take(unit, cells.cells, home)
        self._begin_due()
