"""The protections of a process before it knows a secret. This module loads nothing else."""

from __future__ import annotations

import ctypes
import os
import resource

EXIT_INTERRUPTED = 130
"""The exit status that a shell gives a process ended by Ctrl-C: 128 and the signal's number."""
_PR_SET_DUMPABLE = 4
"""prctl(2): with 0 there are no core dumps, and ptrace(2) and /proc/PID/mem are for root only."""


def keep_memory_private() -> None:
    """Prevent core dumps of this process, and keep the person's other processes out of its
    memory."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def hold_standard_descriptors() -> None:
    """Open /dev/null in the place of each standard descriptor that is closed. Otherwise a socket or
    a database that became one of them would be written to as if it were a terminal."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # as the lowest number that is free, which is this one
