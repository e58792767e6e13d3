"""Which process appends to a drop that several of them write to.

Two changes of a drop at once get in each other's way: the engine refuses one, and its process makes
it again. So one of the processes, the drop's *lead*, appends for the others, which pass their
appends on to it. That is a courtesy, and no right: every process may change any drop at any time,
and does so if the lead does not answer. The predecessor alone decides about a change (decision
0039).
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PROCESS_BYTES = 8
"""Length of the name that a process gives itself when it starts, in bytes."""
LEAD_S = 60.0
"""Seconds for which a process takes another for a drop's lead. Then it makes a change of its own
and, if others still write to the drop, is refused once."""
MOST_DROPS = 20_000
"""Drops whose last writers a process remembers."""


class Leads:
    """The leads of drops, as far as a process knows them; any thread may call it."""

    def __init__(self, process: bytes) -> None:
        self._process = process
        self._lock = threading.Lock()
        self._writers: OrderedDict[bytes, bytes] = OrderedDict()
        """For each drop, the other process that was heard to write to it last."""
        self._leads: dict[bytes, tuple[bytes, float]] = {}
        """For each drop that another process leads, that process, and the moment after which it
        does so no longer."""

    def heard(self, drop_id: bytes, process: bytes) -> None:
        """Another process has written to a drop."""
        with self._lock:
            self._writers[drop_id] = process
            self._writers.move_to_end(drop_id)
            if len(self._writers) > MOST_DROPS:
                self._writers.popitem(last=False)

    def refused(self, drop_ids: Iterable[bytes], *, now: float) -> None:
        """Changes that we made of these drops were refused: another process was first. Of two that
        are in each other's way, both find the same one to be the lead, and of many drops each leads
        half. A drop that has a lead keeps it until `rested`."""
        with self._lock:
            for drop_id in drop_ids:
                other = self._writers.get(drop_id)
                if other is None or drop_id in self._leads:
                    continue
                if len(self._leads) == MOST_DROPS:
                    return
                if _rank(drop_id, other) < _rank(drop_id, self._process):
                    self._leads[drop_id] = other, now + LEAD_S

    def of(self, drop_id: bytes) -> bytes | None:
        """The process that leads a drop, if it is another one."""
        lead = self._leads.get(drop_id)
        return lead and lead[0]

    def rested(self, process: bytes, *, now: float) -> None:
        """Nothing is on its way to a process, so it no longer leads drops whose time is over. While
        something is, a lead stays: a later append must not overtake an earlier one."""
        self._forget(lambda lead, until: lead == process and until <= now)

    def gone(self, process: bytes) -> None:
        """A process does not answer, so it leads nothing."""
        self._forget(lambda lead, _: lead == process)

    def _forget(self, ends: Callable[[bytes, float], bool]) -> None:
        with self._lock:
            for drop_id in [one for one, lead in self._leads.items() if ends(*lead)]:
                del self._leads[drop_id]


def _rank(drop_id: bytes, process: bytes) -> bytes:
    return hashlib.sha256(b"amanat cluster lead" + drop_id + process).digest()
