"""The memory that a relay keeps for its next large cells."""

from __future__ import annotations

import ctypes

KEPT_BYTES = 64 * 1024 * 1024
"""Free bytes that the allocator keeps. A commit of files and what comes meanwhile are some MiB, and
to give them back after each commit and to get them again costs a tenth of the processor time."""
LONGEST_BYTES = 4 * 1024 * 1024
"""Bytes up to which a piece of memory comes from what is kept: an answer to a reader has a quarter
of a MiB, and what is written to a socket at once seldom more than one."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def keep_memory() -> None:
    """Have the allocator keep free memory. It is that of glibc; others are left as they are."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_MMAP_THRESHOLD, LONGEST_BYTES)
