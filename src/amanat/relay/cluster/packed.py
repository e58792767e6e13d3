"""The memory that a process has of a drop's cells. There are millions of them, and as objects of
Python one that came alone took half a kilobyte (bench/growth.py).
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, NamedTuple

from amanat.protocol.cells import LABEL_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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

    def add(self, label: bytes) -> None:
        """Add the label of the next cell."""
        self._bytes += label
        number = len(self._bytes) // LABEL_BYTES
        if number > MOST_FULL * len(self._slots):
            self._rebuild()
        else:
            self._put(label, number)

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

    def __contains__(self, label: bytes) -> bool:
        return self.get(label) is not None

    def end(self, first: int) -> None:
        """Forget the cells before this seq."""
        self._ended = max(self._ended, min(first - self._first, len(self._bytes) // LABEL_BYTES))
        if self._ended > len(self):
            self._rebuild()

    def _rebuild(self) -> None:
        """Make a table of the labels that are left, with room for as many more."""
        del self._bytes[: self._ended * LABEL_BYTES]
        self._first, self._ended = self._first + self._ended, 0
        count, size = len(self), 1
        while 2 * count > MOST_FULL * size:
            size *= 2
        self._slots = array("I", bytes(4 * size))
        for number in range(1, count + 1):
            start = (number - 1) * LABEL_BYTES
            self._put(bytes(self._bytes[start : start + LABEL_BYTES]), number)

    def _put(self, label: bytes, number: int) -> None:
        last = len(self._slots) - 1
        slot = hash(label) & last
        while self._slots[slot]:
            slot = (slot + 1) & last
        self._slots[slot] = number


class Piece(NamedTuple):
    """A message with cells."""

    place: int
    first: int
    """The seq of its first cell."""
    last: int
    last_day: int
    """The day of its last cell."""


class Pieces:
    """The messages with the cells of a drop, in their order."""

    __slots__ = ("_numbers",)

    def __init__(self) -> None:
        self._numbers = array("Q")
        """The numbers of each piece, one piece after the other."""

    def __len__(self) -> int:
        return len(self._numbers) // _WIDTH

    def __getitem__(self, index: int) -> Piece:
        return Piece(*self._numbers[_WIDTH * index : _WIDTH * (index + 1)])

    def add(self, piece: Piece) -> None:
        """Add the next message."""
        self._numbers.extend(piece)

    def end(self, first: int) -> None:
        """Forget the messages without a cell of this seq or a later one."""
        if self._numbers and self._numbers[_LAST] < first:
            del self._numbers[: _WIDTH * self._index(first)]

    def at(self, seq: int) -> Piece:
        """The first message with a cell of this seq or a later one. There must be one."""
        return self[self._index(seq)]

    def places(self, first: int, last: int, *, since_day: int = 0) -> Sequence[int]:
        """The places of the messages with cells from the seq `first` to `last`, without those whose
        cells are all from before a day. Days never go back."""
        count = len(self)
        since = max(self._index(first), bisect_left(range(count), since_day, key=self._of(_DAY)))
        until = bisect_right(range(count), last, key=self._of(_FIRST))
        return self._numbers[_WIDTH * since : _WIDTH * until : _WIDTH]

    @property
    def has_gap(self) -> bool:
        """Whether a cell is missing between two others."""
        firsts, lasts = self._numbers[_FIRST::_WIDTH], self._numbers[_LAST::_WIDTH]
        return any(last + 1 != first for last, first in zip(lasts, firsts[1:], strict=False))

    def _index(self, seq: int) -> int:
        return bisect_left(range(len(self)), seq, key=self._of(_LAST))

    def _of(self, column: int) -> Callable[[int], int]:
        return lambda index: self._numbers[_WIDTH * index + column]


_WIDTH = len(Piece._fields)
_FIRST, _LAST, _DAY = (Piece._fields.index(one) for one in ("first", "last", "last_day"))
