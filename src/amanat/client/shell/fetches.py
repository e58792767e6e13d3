"""The fetcher: Welcomes, help and held words, each read from where its sender says it rests."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from amanat.client.fetching import Fetch
from amanat.client.pace import Pace
from amanat.client.rules.sending import RETRY_MS
from amanat.errors import NoSuchDrop, PeerError, TrustError, Unavailable
from amanat.protocol import wire

if TYPE_CHECKING:
    from amanat.client.holding import HeldDrop
    from amanat.client.routes import Routes
    from amanat.client.rules.joining import AnnouncedWelcome
    from amanat.client.shell.pausing import Pausing
    from amanat.client.shell.runtime import Runtime
    from amanat.protocol.messages import FileRef


PATIENCE_S = 5.0
"""The longest that `caught_up` waits for a Welcome whose file is not there, in seconds. A contact
can announce one that never comes."""

FETCH_MS = (1_000, 30_000)
"""The first and the longest pause before the client reads again a drop in which a held word did not
come. Both are well within the time in which it does not ask for the word again
(holding.PATIENCE_MS)."""

MAX_FETCHES = 16
"""The most drops of held words read at once. A contact can name as many as they like."""


class HeldFetch(NamedTuple):
    """The task that reads a drop of held words."""

    drop_id: bytes


class _Later(NamedTuple):
    """The time of the next attempt, in Unix milliseconds, and the pause before it, in
    milliseconds."""

    due_at: int
    pause_ms: int


class Fetches:
    """Fetches for one client."""

    def __init__(self, run: Runtime, routes: Routes, pausing: Pausing) -> None:
        self._now = run.now
        self._unit = run.unit
        self._spawn = run.spawn
        self._tasks = run.tasks
        self._wake = run.wake
        self._conversations = run.parts.conversations
        self._comebacks = run.parts.conversations.comebacks
        self._asking = run.parts.conversations.asking
        self._places = run.parts.places
        self._routes = routes
        self._begin_due = run.begin_due
        self._tick_s = run.around.tick_s
        self._pausing = pausing
        self._put_off: set[bytes] = set()
        self._held_due: dict[bytes, _Later] = {}
        """The times at which to read again the drops in which held words did not come."""
        run.at_due(self._begin)

    def awaited(self) -> set[bytes]:
        """The Welcomes, and the drops of held words, that may arrive soon."""
        return {
            *(one.file.digest for one in self._conversations.joining.awaited()),
            *self._conversations.holding.places(),
        } - self._put_off

    def _begin(self) -> None:
        room = MAX_FETCHES - sum(isinstance(key, HeldFetch) for key in self._tasks)
        for drop_id in self._conversations.holding.places():
            later = self._held_due.get(drop_id)
            is_due = later is None or later.due_at <= self._now()
            if room > 0 and is_due and HeldFetch(drop_id) not in self._tasks:
                room -= 1
                self._spawn(HeldFetch(drop_id), self._fetch_held(drop_id))
        for one in self._conversations.joining.awaited():
            if ("fetch", one) not in self._tasks:
                self._spawn(("fetch", one), self._fetch_welcome(one))
        for gid, ref in self._asking.awaited():
            if ("help", gid) not in self._tasks:
                self._spawn(("help", gid), self._fetch_help(gid, ref))

    async def _fetch_welcome(self, one: AnnouncedWelcome) -> None:
        """Fetch an announced Welcome, and join by it."""
        pause = self._tick_s()
        while True:
            try:
                data = await self.fetch_file(one.file)
            except (Unavailable, NoSuchDrop) as error:  # its sender may still be sending
                await asyncio.sleep(error.retry_after or pause)
                pause = min(2 * pause, RETRY_MS[1] / 1000)
                if pause > PATIENCE_S:
                    self._put_off.add(one.file.digest)
                with self._unit() as unit:
                    self._conversations.joining.forget_welcomes(unit)
                if one not in self._conversations.joining.awaited():
                    return
                continue
            except (PeerError, TrustError):
                data = None
            break
        with self._unit() as unit:
            self._conversations.joining.join_from_file(unit, one, data)
        self._begin_due()

    async def _fetch_help(self, gid: bytes, ref: FileRef) -> None:
        """Fetch the answer of a contact, and act on it."""
        while (gid, ref) in self._asking.awaited():
            try:
                data = await self.fetch_file(ref)
            except (Unavailable, NoSuchDrop) as error:  # its sender may still be sending
                await asyncio.sleep(error.retry_after or self._tick_s())
                continue
            except (PeerError, TrustError):
                data = None
            with self._unit() as unit:
                self._comebacks.take(unit, gid, data)
        self._begin_due()

    async def _fetch_held(self, drop_id: bytes) -> None:
        """Read a drop in which others hold words for us, until we await none there. If an awaited
        word does not come, read the drop again later."""
        while place := self._conversations.holding.place(drop_id):
            request = wire.Read(
                0, drop_id, place.drop.read_token, place.read, wire.MAX_CELLS, int(PATIENCE_S)
            )
            try:
                link = await self._routes.to(place.relay)
                cells = await link.request(request, wire.Cells)
                with self._unit() as unit:
                    self._conversations.hearing.take_fetched(unit, place, cells)
            except (Unavailable, NoSuchDrop, PeerError, TrustError) as error:
                self._fetch_later(place, error)
                return
            if place.read >= cells.head and self._conversations.holding.place(drop_id):
                self._fetch_later(place, NoSuchDrop())
                return
        self._put_off.discard(drop_id)
        self._held_due.pop(drop_id, None)

    def _fetch_later(self, place: HeldDrop, error: Unavailable | PeerError | TrustError) -> None:
        """Postpone the reading of a drop whose held words we could not get. Their sender may still
        be sending, or the relay is away, and nobody knows for how long."""
        drop_id = place.drop.drop_id
        before = self._held_due.get(drop_id)
        pause = min(2 * before.pause_ms, FETCH_MS[1]) if before else FETCH_MS[0]
        wait = max(pause, int(1000 * (error.retry_after or 0)))
        self._held_due[drop_id] = _Later(self._now() + wait, pause)
        if not isinstance(error, NoSuchDrop) or pause > 1000 * PATIENCE_S:
            self._put_off.add(drop_id)
        if not isinstance(error, Unavailable | NoSuchDrop):
            self._pausing.note(error, place.relay, b"")
        self._wake()

    async def fetch_file(self, ref: FileRef) -> bytes:
        """The content of a file. Raises FileIncomplete, InvalidFile, or the error of its relay."""
        fetch, pace = Fetch(ref), Pace()
        with self._unit() as unit:
            self._places.learn(unit, ref.relay)
        link = await self._routes.to(ref.relay.key)
        while not fetch.is_whole:
            reads = fetch.reads(pace.window)
            began = asyncio.get_running_loop().time()
            answers = await asyncio.gather(
                *(link.catch_up(read) for read in reads), return_exceptions=True
            )
            for read, answer in zip(reads, answers, strict=True):
                if isinstance(answer, BaseException):
                    raise answer
                fetch.take(read, answer)
            if not reads[0].wait:
                came = sum(len(c) for a in answers if isinstance(a, wire.Cells) for c in a.cells)
                pace.took(came, asyncio.get_running_loop().time() - began)
        return fetch.data()
