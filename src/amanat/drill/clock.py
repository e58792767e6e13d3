"""The simulated world's clock: it jumps to the next moment at which anything is due."""

from __future__ import annotations

import asyncio
import selectors
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from typing_extensions import TypeVarTuple, Unpack

    Args = TypeVarTuple("Args")

Value = TypeVar("Value")
EPOCH_MS = 1_600_000_000_000
"""When the world begins, in Unix milliseconds: long ago, so that code that reads the real clock
instead of the world's stumbles over it."""


class Loop(asyncio.SelectorEventLoop):
    """An event loop in which nobody ever waits: the clock jumps instead. While a thread works for
    somebody it goes as all clocks do, or hours would pass in a moment of that work."""

    def __init__(self) -> None:
        self._jumps = _Jumps()
        super().__init__(self._jumps)

    def time(self) -> float:
        return self._jumps.seconds

    def run_in_executor(
        self,
        executor: Executor | None,
        func: Callable[[Unpack[Args]], Value],
        *args: *Args,
    ) -> asyncio.Future[Value]:
        work = super().run_in_executor(executor, func, *args)
        self._jumps.threads += 1
        work.add_done_callback(self._jumps.end_thread)
        return work


class _Jumps(selectors.SelectSelector):
    seconds = 0.0
    threads = 0
    """Threads that work for somebody; the loop hears when one has ended."""

    def end_thread(self, _work: asyncio.Future[Value]) -> None:
        self.threads -= 1

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self.threads:
            began = time.monotonic()
            ready = super().select(timeout)
            self.seconds += time.monotonic() - began
            return ready
        if timeout is None:
            raise AssertionError("everybody waits for ever")
        self.seconds += max(timeout, 0)
        return super().select(0)
