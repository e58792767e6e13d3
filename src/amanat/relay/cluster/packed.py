"""The memory that a process has of the messages with a drop's cells. There are millions, and as
objects of Python a cell that came alone took half a kilobyte (bench/growth.py).
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


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
