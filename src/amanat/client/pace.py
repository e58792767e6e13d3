"""How many bytes may be under way to or from a relay at once.

A slow line carries everything in its order: what is said waits behind whatever was sent before.
So large cells are under way only as many as the line was seen to take in about a second, and a text
that is said in between waits no longer than that.
"""

from __future__ import annotations

from amanat.protocol.cells import LARGE_CELL

AHEAD_S = 1.0
"""How long a word may wait behind what is under way, in seconds."""
LEAST_BYTES = LARGE_CELL + LARGE_CELL // 2
"""Under way on any line: one large cell, or a wave of the smallest ones."""
MOST_BYTES = 16 * LARGE_CELL
"""Under way on the fastest line: 1 MiB in a tenth of a second is more than most have."""


class Pace:
    """The pace of one line in one direction."""

    def __init__(self) -> None:
        self.window = LEAST_BYTES
        """Bytes that may be under way at once."""

    def fits(self, sizes: list[int]) -> int:
        """How many of these may go now: one at least, if there is one."""
        total = 0
        for number, size in enumerate(sizes):
            total += size
            if number and total > self.window:
                return number
        return len(sizes)

    def took(self, size: int, seconds: float) -> None:
        """So many bytes were under way for so long: the window becomes what the line takes in
        AHEAD_S, and at most twice what it was. While there is time left it grows by a cell at
        least: of a line with a long way only more bytes tell what it takes."""
        fitting = int(size * AHEAD_S / max(seconds, 0.001))
        is_full = size > self.window - LARGE_CELL  # else the line was not asked for more
        if is_full and seconds < AHEAD_S:
            fitting = max(fitting, self.window + LARGE_CELL)
        elif not is_full:
            fitting = max(fitting, self.window)
        self.window = max(LEAST_BYTES, min(fitting, 2 * self.window, MOST_BYTES))
