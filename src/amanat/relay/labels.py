"""The labels of a drop's cells in memory. There are millions of them, and as objects of Python each
would take a hundred bytes.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from amanat.protocol.cells import LABEL_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MOST_FULL = 2 / 3
"""The share of a table's slots that may be taken: beyond it, looks take longer."""
_NO_SLOTS = array("I", [0])


class Labels:
    """The labels of consecutive cells. A label that is added again counts for the later cell."""

    __slots__ = ("_bytes", "_ended", "_first", "_slots")

    def __init__(self) -> None:
        self.begin(1)

    def begin(self, seq: int) -> None:
        """Forget all; the next cell is this one."""
        self._bytes = bytearray()
        self._first = seq
        """The seq of the first label in `_bytes`."""
        self._ended = 0
        """Labels at the beginning of `_bytes` whose cells have ended."""
        self._slots = _NO_SLOTS
        """Open addressing: 0, or the number of a label in `_bytes`, from 1 on. The hash is keyed,
        so nobody can choose labels that fall together."""

    def __len__(self) -> int:
        return len(self._bytes) // LABEL_BYTES - self._ended

    @property
    def next(self) -> int:
        """The seq of the next cell."""
        return self._first + len(self._bytes) // LABEL_BYTES

    def add(self, *labels: bytes) -> None:
        """Add the labels of the next cells."""
        before = len(self._bytes) // LABEL_BYTES
        self._bytes += b"".join(labels)
        if before + len(labels) > MOST_FULL * len(self._slots):
            self._rebuild()
        else:
            self._put(labels, before + 1)

    def get(self, label: bytes) -> int | None:
        """The seq of the last cell with a label."""
        last = len(self._slots) - 1
        slot, found = hash(label) & last, None
        while number := self._slots[slot]:
            start = (number - 1) * LABEL_BYTES
            if number > self._ended and self._bytes[start : start + LABEL_BYTES] == label:
                found = max(found or 0, self._first + number - 1)
            slot = (slot + 1) & last
        return found

    def isdisjoint(self, labels: Iterable[bytes]) -> bool:
        """Whether no cell has one of these labels."""
        slots, known, ended, last = self._slots, self._bytes, self._ended, len(self._slots) - 1
        for label in labels:
            slot = hash(label) & last
            while number := slots[slot]:
                end = number * LABEL_BYTES
                if known[end - LABEL_BYTES : end] == label and number > ended:
                    return False
                slot = (slot + 1) & last
        return True

    def end(self, first: int) -> None:
        """Forget the cells before this seq."""
        self._ended = max(self._ended, min(first - self._first, len(self._bytes) // LABEL_BYTES))
        if self._ended > len(self):
            self._rebuild()

    def _rebuild(self) -> None:
        """Make a table of the labels that are left, with room for as many more."""
        del self._bytes[: self._ended * LABEL_BYTES]
        self._first, self._ended = self._first + self._ended, 0
        known, size = bytes(self._bytes), 1
        while 2 * len(self) > MOST_FULL * size:
            size *= 2
        self._slots = array("I", bytes(4 * size))
        starts = range(0, len(known), LABEL_BYTES)
        self._put([known[start : start + LABEL_BYTES] for start in starts], 1)

    def _put(self, labels: Sequence[bytes], first: int) -> None:
        slots, last = self._slots, len(self._slots) - 1
        for number, label in enumerate(labels, first):
            slot = hash(label) & last
            while slots[slot]:
                slot = (slot + 1) & last
            slots[slot] = number
