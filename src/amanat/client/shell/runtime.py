"""What every part of a running client stands on: the clock, the units of work and the tasks.

Every change is one unit of work of the vault; what a unit put into the outbox leaves only after it
has committed."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from typing import TYPE_CHECKING

from amanat.client.feed import Feed

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from amanat.client.events import Event
    from amanat.client.parts import Parts
    from amanat.client.surroundings import Surroundings
    from amanat.client.unit import Unit


class Runtime:
    """One client at work."""

    def __init__(self, parts: Parts, around: Surroundings) -> None:
        self.parts = parts
        self.around = around
        self.now = around.now
        self.tasks: dict[object, asyncio.Task[None]] = {}
        """What is under way, by what it is for."""
        self.latest = 0
        """The latest moment of a unit of work, in Unix milliseconds."""
        self._vault = parts.vault
        self._subscribers: weakref.WeakSet[Feed[Event]] = weakref.WeakSet()
        """A subscriber that drops its iterator is forgotten."""
        self._failure: BaseException | None = None
        self._changed = asyncio.Event()
        self._wakers: list[Callable[[], None]] = []
        self._starters: list[Callable[[], None]] = []

    @property
    def is_started(self) -> bool:
        """Whether anything may be sent and read: as long as the agenda ticks."""
        return "ticks" in self.tasks

    def at_wake(self, waker: Callable[[], None]) -> None:
        """Have this called after each unit of work, once the client is started."""
        self._wakers.append(waker)

    def at_due(self, starter: Callable[[], None]) -> None:
        """Have this called to begin what is due, whenever something may be; in this order."""
        self._starters.append(starter)

    def begin_due(self) -> None:
        """See that everything that is due has its task."""
        if self.is_started:
            for starter in self._starters:
                starter()

    def feed(self) -> Feed[Event]:
        """What happens from this call on, as long as the caller holds it."""
        feed: Feed[Event] = Feed()
        self._subscribers.add(feed)
        return feed

    async def stop(self) -> None:
        """Break off whatever is under way."""
        tasks = list(self.tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def end_feeds(self) -> None:
        """Nothing more will happen."""
        for feed in self._subscribers:
            feed.end()

    @contextlib.contextmanager
    def unit(self) -> Iterator[Unit]:
        """A unit of work; what it tells, it tells once it has committed. Raises what has stopped
        the client."""
        self.raise_failure()
        now = self.now()
        self.latest = max(self.latest, now)
        with self._vault.unit(now=now) as unit:
            yield unit
        # Each once; events of different kinds about the same are equal as tuples.
        for _, event in dict.fromkeys((type(event), event) for event in unit.events):
            self.tell(event)
        self.wake()

    def tell(self, event: Event) -> None:
        """Let all subscribers know."""
        for feed in self._subscribers:
            feed.put(event)

    def wake(self) -> None:
        """Let everybody who waits look again."""
        self._changed.set()
        self._changed = asyncio.Event()
        if self.is_started:
            for waker in self._wakers:
                waker()

    async def changed(self) -> None:
        """Wait until something may have changed, at most a tick."""
        self.raise_failure()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.around.tick_s()):
                await self._changed.wait()

    def spawn(self, key: object, work: Coroutine[None, None, None]) -> None:
        """Have work done in the background; an error of it stops the client."""

        async def guarded() -> None:
            try:
                await work
            except asyncio.CancelledError:
                raise
            except BaseException as error:  # noqa: BLE001  # handed to whoever uses the client
                self._failure = error
                self._changed.set()
                self.end_feeds()
            finally:
                self.tasks.pop(key, None)

        self.tasks[key] = task = asyncio.create_task(guarded())
        # If it is cancelled before it has begun, nobody else ends the work.
        task.add_done_callback(lambda _: work.close())

    @property
    def failure(self) -> BaseException | None:
        """What has stopped the client, if anything has."""
        return self._failure

    def raise_failure(self) -> None:
        """Raise what has stopped the client, if anything has."""
        if self._failure is not None:
            raise self._failure
