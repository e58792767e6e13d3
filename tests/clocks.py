"""Clocks of single processes that are moved, for tests in which a machine's clock is wrong."""

from __future__ import annotations

import platform
import re
import struct
from pathlib import Path

import pytest

_PARTS, _PART_BYTES = 56, 56
"""Where the header of an ELF file says how many parts there are, and the size of one's header."""
_LOADED, _DYNAMIC = 1, 2
"""The kinds of part that are loaded, and that say where the tables are."""
_STRINGS, _SYMBOLS = 5, 6
"""The tags of the tables of names and symbols."""
_SYMBOL_BYTES = 24


def move_clock(pid: int, seconds: int) -> None:
    """Let a process see its clock this far ahead of the machine's, or behind it (below 0).

    A program reads the clock by a function that the system maps into each process, without asking
    the system. The copy of this process is written over: it asks the system, and adds to the
    answer. Clocks that only measure how much time passes stay as they are.
    """
    if platform.machine() != "x86_64":
        pytest.skip("the code that moves a clock is of another processor")
    code = (
        bytes.fromhex("b8e4000000 0f05")  # mov eax, SYS_clock_gettime; syscall
        + bytes.fromhex("85ff 750d")  # unless the clock is CLOCK_REALTIME, go to the end
        + bytes.fromhex("48b9")  # mov rcx, seconds
        + struct.pack("<q", seconds)
        + bytes.fromhex("48010e c3")  # add [rsi], rcx; ret
    )
    maps = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")
    mapped = re.search(r"^([0-9a-f]+)-([0-9a-f]+) .*\[vdso\]$", maps, re.MULTILINE)
    assert mapped is not None
    start, end = (int(one, 16) for one in mapped.groups())
    try:
        with Path(f"/proc/{pid}/mem").open("r+b", buffering=0) as memory:
            memory.seek(start)
            place = _place_of(b"__vdso_clock_gettime", memory.read(end - start))
            memory.seek(start + place)
            memory.write(code)
    except PermissionError:
        pytest.skip("only root may move the clock of a process")


def _place_of(name: bytes, elf: bytes) -> int:
    """Where a function is in a library."""
    (headers,), (count,) = struct.unpack_from("<Q", elf, 32), struct.unpack_from("<H", elf, _PARTS)
    parts = [
        struct.unpack_from("<IIQQ", elf, headers + _PART_BYTES * index) for index in range(count)
    ]
    base = next(address - offset for kind, _, offset, address in parts if kind == _LOADED)
    table = next(offset for kind, _, offset, _ in parts if kind == _DYNAMIC)
    tables = dict(struct.iter_unpack("<qQ", elf[table : table + 16 * ((len(elf) - table) // 16)]))
    strings, symbol = tables[_STRINGS] - base, tables[_SYMBOLS] - base
    while True:
        at, _, _, _, value, _ = struct.unpack_from("<IBBHQQ", elf, symbol)
        if elf[strings + at :].split(b"\0", 1)[0] == name:
            place: int = value - base
            return place
        symbol += _SYMBOL_BYTES
