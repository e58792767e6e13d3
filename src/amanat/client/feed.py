"""A feed: what happens, for one program that takes it in its own time.

It has an end, so that a program that no longer takes anything does not fill the memory: then it
loses what waits, and is told so by Overrun as the last word.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

from amanat.errors import Overrun

MAX_EVENTS = 10_000
"""Most events that wait for whoever takes them: what happens in minutes of the busiest day."""

E = TypeVar("E")


class Feed(Generic[E]):
    """What has happened and was not taken yet."""

    def __init__(self) -> None:
        self._waiting: deque[E] = deque()
        self._is_overrun = False
        self._has_ended = False
        self._news = asyncio.Event()

    def put(self, event: E) -> None:
        """Add what has happened."""
        if self._is_overrun:
            return
        if len(self._waiting) >= MAX_EVENTS:
            self._is_overrun = True
            self._waiting.clear()
        else:
            self._waiting.append(event)
        self._news.set()

    def end(self) -> None:
        """Nothing more will happen."""
        self._has_ended = True
        self._news.set()

    async def get(self) -> E | None:
        """The oldest that waits, or the next; None at the end. Raises Overrun."""
        while not self._waiting:
            if self._is_overrun:
                raise Overrun
            if self._has_ended:
                return None
            self._news.clear()
            await self._news.wait()
        return self._waiting.popleft()
