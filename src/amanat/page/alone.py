"""When an open profile that nobody looks at is locked.

A tab locks the profile itself once nothing was done in any of them for as long as the person has
set. Where there is no tab, nobody does anything: so the time counts from the last one that closed.
"""

from __future__ import annotations


class Alone:
    """Since when no tab has been open. Times are seconds of any clock that runs evenly, also while
    the machine sleeps."""

    def __init__(self, *, now: float) -> None:
        self._since: float | None = now

    def tabs(self, many: int, *, now: float) -> None:
        """So many tabs are open now."""
        if many:
            self._since = None
        elif self._since is None:
            self._since = now

    def begin(self, *, now: float) -> None:
        """The profile was opened: if there is no tab, the time counts from now."""
        if self._since is not None:
            self._since = now

    def is_due(self, idle_s: float | None, *, now: float) -> bool:
        """Whether the profile is locked now, if it may stay open for so long; None: for ever."""
        return idle_s is not None and self._since is not None and now - self._since >= idle_s
