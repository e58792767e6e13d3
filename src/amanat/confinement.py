"""A child gives up all that it can before it reads bytes that a stranger may have made.

A library in C++ or C reads them, and we assume that one day such bytes will take it over. So the
child takes limits before it loads the library (`limit`), and gives up files, sockets and processes
before it reads (`seal`). From then on it can compute, and read and write its three standard
descriptors. This module loads as little as it can: it is loaded for every picture.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import struct

from amanat.process import keep_memory_private

MEMORY_BYTES = 2**30
"""Most address space of a child, libraries included: a picture of the largest size that we read
takes half of it."""
LOADING_FILES = 16
"""Most files that a child may have open while its library loads."""
SEALED_FILES = 3
"""The same once it is sealed: the standard descriptors, which it has already."""
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
"""prctl(2)."""
_CREATE_RULESET, _RESTRICT_SELF, _ASK_VERSION = 444, 446, 1
"""landlock(7): its system calls, the same on every architecture, and the flag that asks the kernel
which version it has."""
_LANDLOCK = (
    (1, (1 << 13) - 1, 0, 0),
    (2, (1 << 14) - 1, 0, 0),
    (3, (1 << 15) - 1, 0, 0),
    (4, (1 << 15) - 1, 0b11, 0),
    (5, (1 << 16) - 1, 0b11, 0),
    (6, (1 << 16) - 1, 0b11, 0b11),
)
"""All that each version of Landlock can forbid, which we do: access to files, to TCP, and to other
processes by signals and abstract sockets. The other numbers of a version are its bits."""
_X86_64 = 0xC000003E
"""AUDIT_ARCH_X86_64. We name system calls by number, and have tried these numbers there alone: on
another machine a child has the limits and Landlock."""
_CALLS = (
    *(0, 1, 3),  # read, write, close
    *(7, 8),  # poll, lseek
    *(9, 10, 11, 12, 25, 28),  # mmap, mprotect, munmap, brk, mremap, madvise
    *(13, 14, 15, 131),  # rt_sigaction, rt_sigprocmask, rt_sigreturn, sigaltstack
    *(24, 202, 219),  # sched_yield, futex, restart_syscall
    *(39, 186),  # getpid, gettid
    *(60, 231),  # exit, exit_group
    *(98, 228),  # getrusage, clock_gettime
    318,  # getrandom
)
"""The system calls of x86-64 that a sealed child may make. Any other fails with EPERM."""
_LOAD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
"""Instructions of a filter: load a word, jump if it is equal, return."""
_NUMBER, _ARCHITECTURE = 0, 4
"""Places of words in seccomp_data."""
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
"""SECCOMP_RET_ALLOW, and SECCOMP_RET_ERRNO with the error."""


def limit(*, cpu_s: int) -> None:
    """Take limits: memory, so many seconds of processor time, files, and no core dump."""
    keep_memory_private()
    _at_most(resource.RLIMIT_AS, MEMORY_BYTES)
    _at_most(resource.RLIMIT_CPU, cpu_s)
    _at_most(resource.RLIMIT_NOFILE, LOADING_FILES)


def _at_most(what: int, most: int) -> None:
    """Set a limit, unless the person or the system has set a lower one."""
    _, hard = resource.getrlimit(what)
    least = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (least, least))


def seal() -> None:
    """Give up files, sockets and other processes, for good. Everything that the child will need
    has to be loaded. A kernel without Landlock or seccomp leaves the limits alone in force."""
    system = ctypes.CDLL(None, use_errno=True)
    system.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _take_landlock(system)
    _at_most(resource.RLIMIT_NOFILE, SEALED_FILES)
    # Not before: Python may keep what it has compiled while a library loads.
    _at_most(resource.RLIMIT_FSIZE, 0)
    if platform.machine() == "x86_64":
        _take_filter(system)


def _take_landlock(system: ctypes.CDLL) -> None:
    """Forbid, by a set of no rules, everything that the kernel's Landlock can forbid."""
    version = system.syscall(_CREATE_RULESET, None, 0, _ASK_VERSION)
    if version < 1:
        return
    _, *forbidden = [one for one in _LANDLOCK if one[0] <= version][-1]
    words = [word for word in forbidden if word]  # an older kernel knows a shorter record
    record = struct.pack(f"={len(words)}Q", *words)
    rules = system.syscall(_CREATE_RULESET, record, len(record), 0)
    if rules >= 0:
        system.syscall(_RESTRICT_SELF, rules, 0)
        os.close(rules)


class _Program(ctypes.Structure):
    """sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def _take_filter(system: ctypes.CDLL) -> None:
    """Allow `_CALLS` and no other system call."""

    def step(code: int, value: int, *, then: int = 0, otherwise: int = 0) -> bytes:
        return struct.pack("=HBBI", code, then, otherwise, value)

    left = len(_CALLS)
    steps = [
        step(_LOAD, _ARCHITECTURE),
        step(_IF_EQUAL, _X86_64, otherwise=left + 1),
        step(_LOAD, _NUMBER),
        *(step(_IF_EQUAL, call, then=left - at) for at, call in enumerate(_CALLS)),
        step(_RETURN, _REFUSE),
        step(_RETURN, _ALLOW),
    ]
    program = _Program(len(steps), b"".join(steps))
    system.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0)
