"""The relay's clock, which doubts large jumps."""

from __future__ import annotations

import time

JUMP_S = 3600.0
"""Largest jump of the system's clock that the relay follows at once, in seconds."""
JUMP_PATIENCE_S = 86_400.0
"""Seconds for which the relay doubts a larger jump. Cells that expire by a wrong clock are lost for
good, so the operator, or a time service, has a day to correct it."""


class Clock:
    """The time of day, in Unix seconds, although somebody may set it wrong while the relay runs.

    A clock that is set forward would expire cells too early; one that is set back would keep them
    too long. The relay therefore believes a large jump only after it has lasted.
    """

    def __init__(self, wall: float, running: float) -> None:
        """`running` grows evenly, from any start."""
        self._offset = wall - running
        self._doubted, self._since = self._offset, running
        """The offset that the system's clock shows instead, and the time since which it does."""

    def believe(self, wall: float, running: float) -> float:
        """The time to use when the system's clock says `wall`."""
        offset = wall - running
        if abs(offset - self._doubted) > JUMP_S:
            self._doubted, self._since = offset, running
        is_step = abs(offset - self._offset) <= JUMP_S
        if is_step or running - self._since >= JUMP_PATIENCE_S:
            self._offset = offset
        return running + self._offset

    def now(self) -> float:
        """The time to use now, in Unix seconds."""
        return self.believe(time.time(), _running())


def system_clock() -> Clock:
    """A clock that starts at the system's time."""
    return Clock(time.time(), _running())


def _running() -> float:
    """Seconds that have passed, also while the machine slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
