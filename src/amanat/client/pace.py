"""Pace: how many bytes may be under way to or from a relay at once.

A slow connection carries everything in order, so a text waits behind everything sent before. We
therefore keep only as many large cells under way as the connection has carried in about a second,
and a text said in between waits no longer than that.
"""

from __future__ import annotations

from math import inf

from amanat.protocol.cells import LARGE_CELL

AHEAD_S = 1.0
"""How long a word may wait behind the bytes under way, in seconds."""
LEAST_BYTES = LARGE_CELL + LARGE_CELL // 2
"""The bytes that may be under way on any connection: one large cell, or a wave of the smallest
ones."""
MOST_BYTES = 16 * LARGE_CELL
"""The bytes that may be under way on the fastest connection: 1 MiB in a tenth of a second is more
than most have."""


class Pace:
    """The pace of one connection in one direction."""

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._most = most
        self.window = LEAST_BYTES
        """The bytes that may be under way at once."""
        self.until = inf
        """Until when it counts, by the clock of its owner."""

    def fits(self, sizes: list[int]) -> int:
        """The number of these that may go now: at least one, if there is one."""
        total = 0
        for number, size in enumerate(sizes):
            total += size
            if number and total > self.window:
                return number
        return len(sizes)

    def took(self, size: int, seconds: float) -> None:
        """Adapt the window after so many bytes were under way for so long. It becomes as much as
        the connection takes in AHEAD_S, at most doubling. While there is time left it grows by at
        least a cell, because only more bytes show the capacity of a connection with a long
        delay."""
        fitting = int(size * AHEAD_S / max(seconds, 0.001))
        is_full = size > self.window - LARGE_CELL  # else the connection was not used to the full
        if is_full and seconds < AHEAD_S:
            fitting = max(fitting, self.window + LARGE_CELL)
        elif not is_full:
            fitting = max(fitting, self.window)
        self.window = max(LEAST_BYTES, min(fitting, 2 * self.window, self._most))
