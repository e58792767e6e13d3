"""A drop as one process knows it: its record, and where its cells lie.

It is built from the drop's messages alone, in their order, and each must name the one before it as
its predecessor. It may be old, and is never wrong: the engine refuses a change by anyone whose
knowledge is.
"""

from __future__ import annotations

import copy
import hashlib
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from amanat.relay.cluster.messages import Kept
from amanat.relay.cluster.packed import Piece, Pieces
from amanat.relay.labels import Labels
from amanat.relay.records import NOBODYS, DropRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from amanat.relay.cluster.messages import Change, Resting, WrappedKey

MOST_LABELS = 16_000_000
"""Labels that a process keeps in memory: two GiB if each cell came in a message of its own
(bench/growth.py). Beyond them it forgets the drops that it has not used for longest, and reads them
again when it needs them."""
TRIM_LOADS = 100
"""Drops that are read whole before all labels are counted again."""
MOST_DROPS = 200_000
"""Drops that a process keeps in memory."""
MOST_BOUND = 2**53 - 1
"""The highest number that a move tells (`protocol.moving.Part.bound`)."""


class Known:
    """The drop as its messages say, up to one of them."""

    def __init__(self, drop_id: bytes, subject: str, stream: str) -> None:
        self.drop_id = drop_id
        self.subject = subject
        self.stream = stream
        self.lock = threading.RLock()
        """Held while the drop's messages are read or applied."""
        self.forget()

    def forget(self) -> None:
        """Know nothing."""
        self.kept: Kept | None = None
        self.place = 0
        """The last message."""
        self.is_whole = False
        """Whether labels, pieces and keys are known, and not the record alone."""
        self.labels = Labels()
        """Those of the kept cells."""
        self.pieces = Pieces()
        self.keys: dict[int, WrappedKey] = {}
        """The key of each day."""

    @property
    def is_here(self) -> bool:
        """Whether there is such a drop."""
        return self.kept is not None and not self.kept.is_ended

    def record(self) -> DropRecord:
        """A fresh record, that of nobody's drop if there is none."""
        kept = self.kept
        return copy.copy(NOBODYS) if kept is None or kept.is_ended else record_of(kept)

    def advance(self, place: int, before: int, kept: Kept, change: Change) -> bool:
        """Apply the next message. Returns whether it follows the last one; to a drop of which
        nothing is known, any may be the first that is left."""
        if self.place and before != self.place:
            return False
        self.kept, self.place = kept, place
        for key in change.keys:
            self.keys[key.day] = key
        self._add(place, kept, change.cells)
        self._drop_ended(kept)
        return True

    @property
    def has_gap(self) -> bool:
        """Whether a message with kept cells is missing."""
        kept = self.kept
        if kept is None or not kept.cells:
            return False
        first = kept.head - kept.cells + 1
        return not self.pieces or self.pieces[0].first > first or self.pieces.has_gap

    def _add(self, place: int, kept: Kept, cells: Sequence[Resting]) -> None:
        if not cells:
            return
        first = kept.head - len(cells) + 1
        self.pieces.add(Piece(place, first, kept.head, cells[-1].day))
        if self.labels.next != first:  # its first message that is left, or one after a gap
            self.labels.begin(first)
        self.labels.add(*(cell.label for cell in cells))

    def _drop_ended(self, kept: Kept) -> None:
        first = kept.head - kept.cells + 1
        self.pieces.end(first)
        self.labels.end(first)
        if kept.oldest_day is None:
            self.keys = {}
        else:
            self.keys = {day: key for day, key in self.keys.items() if day >= kept.oldest_day}

    @property
    def base(self) -> int:
        """The place of the first message that the drop needs; 0 if that is its last one."""
        return self.pieces[0].place if self.pieces else 0


class Memory:
    """The drops that a process knows. Those that it has not used for longest go first."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, Known] = OrderedDict()
        self._lock = threading.Lock()
        self._loads = 0
        """Drops that were read whole since labels were counted."""

    def get(self, drop_id: bytes) -> Known | None:
        """The drop, if it is known."""
        with self._lock:
            known = self._known.get(drop_id)
            if known is not None:
                self._known.move_to_end(drop_id)
            return known

    def put(self, known: Known) -> None:
        """Keep a drop, and forget others if there are too many."""
        with self._lock:
            self._known[known.drop_id] = known
            while len(self._known) > MOST_DROPS:
                self._known.popitem(last=False)

    def forget(self, drop_id: bytes) -> None:
        """Forget a drop."""
        with self._lock:
            self._known.pop(drop_id, None)

    def trim(self) -> None:
        """Forget drops while there are too many labels; to be called for each drop that is read
        whole. It counts them now and then, because that looks at every drop."""
        with self._lock:
            self._loads += 1
            if self._loads < TRIM_LOADS:
                return
            self._loads = 0
            labels = sum(len(one.labels) for one in self._known.values())
            while labels > MOST_LABELS and len(self._known) > 1:
                _, gone = self._known.popitem(last=False)
                labels -= len(gone.labels)


def number_of(drop_id: bytes) -> int:
    """The number that stands for a drop in records: no two drops share one."""
    return int.from_bytes(hashlib.sha256(b"amanat drop number" + drop_id).digest()[:7], "big") + 1


def bound_of(drop_id: bytes) -> int:
    """The number to which the cells of a drop are bound. Two drops may share it; their keys
    differ."""
    return number_of(drop_id) % MOST_BOUND + 1


def record_of(kept: Kept) -> DropRecord:
    """The record in a message as the rules know it."""
    return DropRecord(
        drop_id=kept.drop_id,
        append_hash=kept.append_hash,
        read_hash=kept.read_hash,
        retention_days=kept.retention_days,
        bucket=kept.bucket,
        head=kept.head,
        digest=kept.digest,
        cells=kept.cells,
        bytes=kept.bytes,
        last_day=kept.last_day,
        oldest_day=kept.oldest_day,
        number=number_of(kept.drop_id),
        state=kept.state,
        move=kept.move,
        bound=kept.bound,
    )


def kept_of(record: DropRecord, *, generation: bytes, is_ended: bool = False) -> Kept:
    """The record as a message has it."""
    return Kept(
        drop_id=record.drop_id,
        append_hash=record.append_hash,
        read_hash=record.read_hash,
        retention_days=record.retention_days,
        bucket=record.bucket,
        head=record.head,
        digest=record.digest,
        cells=record.cells,
        bytes=record.bytes,
        last_day=record.last_day,
        oldest_day=record.oldest_day,
        state=record.state,
        move=record.move,
        bound=record.bound,
        generation=generation,
        is_ended=is_ended,
    )
