"""A feed: the events for one program that takes them in its own time.

It is limited, so that a program that takes nothing more does not fill the memory. Beyond the limit
the program loses the waiting events, and gets Overrun last.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

from amanat.errors import Overrun

MAX_EVENTS = 10_000
"""The most events that wait to be taken: as many as happen in minutes of the busiest day."""

E = TypeVar("E")


class Feed(Generic[E]):
    """The events that were not taken yet."""

    def __init__(self) -> None:
        self._waiting: deque[E] = deque()
        self._is_overrun = False
        self._has_ended = False
        self._news = asyncio.Event()

    def put(self, event: E) -> None:
        """Add an event."""
        if self._is_overrun:
            return
        if len(self._waiting) >= MAX_EVENTS:
            self._is_overrun = True
            self._waiting.clear()
        else:
            self._waiting.append(event)
        self._news.set()

    def end(self) -> None:
        """End the feed after the waiting events."""
        self._has_ended = True
        self._news.set()

    async def get(self) -> E | None:
        """The oldest waiting event, or the next one; None at the end. Raises Overrun."""
        while not self._waiting:
            if self._is_overrun:
                raise Overrun
            if self._has_ended:
                return None
            self._news.clear()
            await self._news.wait()
        return self._waiting.popleft()
