"""The base of every part of a running client: the clock, the units of work and the tasks.

Every change is one unit of work of the vault. The requests that a unit puts into the outbox leave
only after it has committed."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from typing import TYPE_CHECKING

from amanat.client import profile
from amanat.client.feed import Feed
from amanat.errors import BadArgument, VaultDamaged
from amanat.proxy import Proxied, decode_proxy

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
        self.network = Proxied(
            around.network, decode_proxy(profile.read_proxy(parts.vault), VaultDamaged)
        )
        """The network of this client, through the person's proxy if there is one."""
        self.around = around._replace(network=self.network)
        self.now = around.now
        self.tasks: dict[object, asyncio.Task[None]] = {}
        """The running tasks, by purpose."""
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
        """Whether the client may send and read, which is so for as long as the agenda ticks."""
        return "ticks" in self.tasks

    def at_wake(self, waker: Callable[[], None]) -> None:
        """Register a function to call after each unit of work, once the client is started."""
        self._wakers.append(waker)

    def at_due(self, starter: Callable[[], None]) -> None:
        """Register a function that begins due work. All are called in this order whenever work may
        be due."""
        self._starters.append(starter)

    def begin_due(self) -> None:
        """Begin a task for everything that is due."""
        if self.is_started:
            for starter in self._starters:
                starter()

    def feed(self) -> Feed[Event]:
        """The events from this call on, for as long as the caller holds the feed."""
        feed: Feed[Event] = Feed()
        self._subscribers.add(feed)
        return feed

    async def stop(self) -> None:
        """Cancel all running tasks, and drop all connections."""
        tasks = list(self.tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.network.end()

    def end_feeds(self) -> None:
        """End all feeds."""
        for feed in self._subscribers:
            feed.end()

    @contextlib.contextmanager
    def unit(self) -> Iterator[Unit]:
        """A unit of work. Its events go to the subscribers once it has committed. Raises the error
        that has stopped the client, and BadArgument for words that cannot be encoded."""
        self.raise_failure()
        now = self.now()
        self.latest = max(self.latest, now)
        try:
            with self._vault.unit(now=now) as unit:
                yield unit
        except UnicodeEncodeError:  # half of a surrogate pair, which a program has cut
            raise BadArgument("a text holds half of a character") from None
        # Each once; events of different kinds about the same are equal as tuples.
        for _, event in dict.fromkeys((type(event), event) for event in unit.events):
            self.tell(event)
        self.wake()

    def tell(self, event: Event) -> None:
        """Send an event to all subscribers."""
        for feed in self._subscribers:
            feed.put(event)

    def wake(self) -> None:
        """Wake every waiting task, so that it looks again."""
        self._changed.set()
        self._changed = asyncio.Event()
        if self.is_started:
            for waker in self._wakers:
                waker()

    async def changed(self) -> None:
        """Wait until something may have changed, for one tick at most."""
        self.raise_failure()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.around.tick_s()):
                await self._changed.wait()

    def spawn(self, key: object, work: Coroutine[None, None, None]) -> None:
        """Run work in the background; an error in it stops the client."""

        async def guarded() -> None:
            try:
                await work
            except asyncio.CancelledError:
                raise
            except BaseException as error:  # noqa: BLE001  # handed to the user of the client
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
        """The error that has stopped the client, if there is one."""
        return self._failure

    def raise_failure(self) -> None:
        """Raise the error that has stopped the client, if there is one."""
        if self._failure is not None:
            raise self._failure
