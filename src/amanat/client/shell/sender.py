"""The sender: it brings the requests in the outbox to the relays, each lane separately."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from amanat.client.events import StatusChanged
from amanat.client.pace import Pace
from amanat.errors import DiskFull, PeerError, RelayUnreachable, TrustError, Unavailable
from amanat.link import AT_ONCE, RETRY_S
from amanat.protocol import wire

if TYPE_CHECKING:
    from amanat.client.routes import Routes
    from amanat.client.rules.sending import Lane
    from amanat.client.shell.pausing import Pausing
    from amanat.client.shell.runtime import Runtime


class Sender:
    """Sends for one client."""

    def __init__(self, run: Runtime, routes: Routes, pausing: Pausing) -> None:
        self._now = run.now
        self._unit = run.unit
        self._spawn = run.spawn
        self._tasks = run.tasks
        self._tell = run.tell
        self._sending = run.parts.sending
        self._routes = routes
        self._begin_due = run.begin_due
        self._tick_s = run.around.tick_s
        self._rest_after = pausing.rest_after
        self._outbox_changed: dict[Lane, asyncio.Event] = {}
        run.at_wake(self._begin)

    def _begin(self) -> None:
        """Start a task for each lane in which requests wait."""
        for lane in self._sending.lanes():
            self._outbox_changed.setdefault(lane, asyncio.Event()).set()
            if lane not in self._tasks:
                self._spawn(lane, self._send_to(lane))

    async def _send_to(self, lane: Lane) -> None:
        """Bring the requests in one lane to its relay, for ever. They leave in waves, each of no
        more bytes than the link carries in a second."""
        relay, changed, pace = lane.relay, self._outbox_changed[lane], Pace()
        while True:
            changed.clear()
            rows = self._sending.due(lane, AT_ONCE, now=self._now())
            if not rows:
                await self._until_due(lane, changed)
                continue
            try:
                link = await self._routes.to(relay)
            except (Unavailable, PeerError, TrustError) as error:
                self._fail_over(relay)
                await self._rest_after(error, relay, b"")
                continue
            if self._sending.note_reached(relay):
                self._tell(StatusChanged())
            at_once = AT_ONCE if lane.is_file else link.at_once
            wave = rows[:at_once]
            wave = wave[: pace.fits([len(row.request) for row in wave])]
            requests = [wire.decode_request(row.request) for row in wave]
            began = asyncio.get_running_loop().time()
            answers = await asyncio.gather(
                *(link.ask(request) for request in requests), return_exceptions=True
            )
            pace.took(
                sum(len(row.request) for row in wave), asyncio.get_running_loop().time() - began
            )
            try:
                with self._unit() as unit:
                    self._sending.settle(unit, wave, answers)
            except DiskFull:  # the rows stay; asked again, the relay still knows its answers
                await asyncio.sleep(self._tick_s())
            else:
                self._begin_due()
            if any(isinstance(answer, RelayUnreachable) for answer in answers):
                await asyncio.sleep(RETRY_S[0])

    def _fail_over(self, relay: bytes) -> None:
        """Note that a relay cannot be reached. After a while use the recipients' other addresses,
        unless these cannot be reached either."""
        if self._sending.note_missed(relay, now=self._now()):
            self._tell(StatusChanged())
        if self._sending.is_down(relay, now=self._now()):
            with self._unit() as unit:
                self._sending.fail_over(unit, relay)

    async def _until_due(self, lane: Lane, changed: asyncio.Event) -> None:
        due_at = self._sending.next_due(lane, now=self._now())
        delay = None if due_at is None else max(due_at - self._now(), 0) / 1000
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await changed.wait()
