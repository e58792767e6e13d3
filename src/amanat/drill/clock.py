"""The simulated world's clock: it jumps to the next moment at which anything is due."""

from __future__ import annotations

import asyncio
import selectors

EPOCH_MS = 1_600_000_000_000
"""When the world begins, in Unix milliseconds: long ago, so that code that reads the real clock
instead of the world's stumbles over it."""


class Loop(asyncio.SelectorEventLoop):
    """An event loop in which nobody ever waits: the clock jumps instead."""

    def __init__(self) -> None:
        self._jumps = _Jumps()
        super().__init__(self._jumps)

    def time(self) -> float:
        return self._jumps.seconds


class _Jumps(selectors.SelectSelector):
    seconds = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("everybody waits for ever")
        self.seconds += max(timeout, 0)
        return super().select(0)
