"""The time that a relay goes by."""

from __future__ import annotations

import time

JUMP_S = 3600.0
"""Seconds by which the clock may be put forward or back and is followed at once."""
JUMP_PATIENCE_S = 86_400.0
"""Seconds for which a clock that was put further is not: what it would end could not be had back,
and who runs the relay, or its time service, has a day to notice."""


class Clock:
    """The time of day, in Unix seconds, which somebody may set wrong while the relay runs.

    One that is put forward would end cells that people were promised; one that is put back would
    keep them for longer. So a large jump is believed only after it has lasted.
    """

    def __init__(self, wall: float, running: float) -> None:
        """`running` goes on evenly, from anywhere."""
        self._offset = wall - running
        self._doubted, self._since = self._offset, running
        """What the clock says instead, and since when."""

    def believe(self, wall: float, running: float) -> float:
        """The time to go by when the clock says `wall`."""
        offset = wall - running
        if abs(offset - self._doubted) > JUMP_S:
            self._doubted, self._since = offset, running
        is_step = abs(offset - self._offset) <= JUMP_S
        if is_step or running - self._since >= JUMP_PATIENCE_S:
            self._offset = offset
        return running + self._offset

    def now(self) -> float:
        """The time to go by now, in Unix seconds."""
        return self.believe(time.time(), _running())


def system_clock() -> Clock:
    """A clock that begins with what the system says."""
    return Clock(time.time(), _running())


def _running() -> float:
    """Seconds that have passed, also while the machine slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
