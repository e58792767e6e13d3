"""The labels of cells, by which an append that comes again is recognised.

Labels are random. If each got its row in an index as it comes, a commit would change a page of the
index for almost each of its cells. So the index takes many labels of a drop at once, sorted. Until
then the drop's cells are *recent*, and their labels are kept in memory, and in the table of cells.
"""

# ruff: noqa: D102  # the protocols in records.py and beside it say what each method is

from __future__ import annotations

import itertools
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from amanat.protocol.cells import LABEL_BYTES
from amanat.relay.labels import Labels
from amanat.relay.store.faults import sqlite_errors
from amanat.relay.store.files import Files
from amanat.relay.store.schema import SEQ_BITS, SEQ_MASK

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from amanat.relay.records import DropRecord

INDEX_LABELS = 8192
"""Fewest recent labels of a drop that the index takes at once, in 10 ms. With fewer, it changes
more pages for each. With more, the first append to a drop after a start waits longer until they are
read."""
INDEX_SHARE = 8
"""The index takes no fewer than one in so many cells of a drop: it changes most of the drop's pages
each time."""
MOST_LABELS = 4_000_000
"""Recent labels that the store keeps in memory, about 27 bytes each: those of a thousand buckets.
Beyond them it forgets the drops that it has not used for longest."""
MOST_DROPS = 100_000
"""Drops whose recent labels the store keeps in memory, half a kilobyte each beside the labels."""
FEW_LABELS = 64
"""Recent labels that a drop may keep outside the index when it is forgotten: their cells are read
again in a tenth of a millisecond."""

INDEX = f"""
INSERT OR REPLACE INTO label (number, label, seq)
SELECT place >> {SEQ_BITS}, label, place & {SEQ_MASK} FROM cell
WHERE place > ? AND place <= ? ORDER BY label
"""  # noqa: S608  # constants
"""Enters the labels of cells after one place of a drop and up to another in the index. A source
that lies may have moved two cells with one label here; then the later one counts."""

HOLDS = f"""
SELECT 1 FROM json_each(?1) WHERE EXISTS (
    SELECT 1 FROM label WHERE number = ?2
    AND label = substr(?3, 1 + {LABEL_BYTES} * key, {LABEL_BYTES})
) LIMIT 1
"""  # noqa: S608  # constants
"""Looks for labels of a drop in the index. Its parameters are a JSON array of as many elements, the
drop's number, and the labels concatenated."""


class Recent(NamedTuple):
    """The labels of a drop that the index does not have."""

    indexed: int
    """The seq up to which it has them."""
    labels: Labels


class LabelTable(Files):
    """The index of labels, and the recent labels in memory."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._forget_labels()

    def _forget_labels(self) -> None:
        self._recent: OrderedDict[int, Recent] = OrderedDict()
        """By the drop's number; those that were used last are at the end."""
        self._held = 0
        """Labels in it."""
        self._long: dict[int, None] = {}
        """The drops in it of which the index is to take the labels."""

    def rollback(self) -> None:
        self._forget_labels()  # those of staged cells are among them
        super().rollback()

    def _recent_of(self, drop: DropRecord) -> Recent:
        """The recent labels of a drop, which are read if they are not in memory."""
        recent = self._recent.get(drop.number)
        if recent is not None:
            self._recent.move_to_end(drop.number)
            return recent
        first = drop.number << SEQ_BITS
        with sqlite_errors:
            (indexed,) = self._writer.execute(
                'SELECT indexed FROM "drop" WHERE number = ?', (drop.number,)
            ).fetchone()
            read = self._writer.execute(
                "SELECT label FROM cell WHERE place > ? AND place <= ? ORDER BY place",
                (first | indexed, first | drop.head),
            ).fetchall()
        labels = Labels()
        labels.begin(drop.head + 1 - len(read))
        labels.add(*itertools.chain.from_iterable(read))
        recent = self._recent[drop.number] = Recent(indexed, labels)
        self._held += len(labels)
        return recent

    def _add_labels(self, drop: DropRecord, labels: Sequence[bytes]) -> None:
        """Note the labels of the next cells of a drop."""
        recent = self._recent_of(drop).labels
        recent.add(*labels)
        self._held += len(labels)
        if _are_many(len(recent), drop):
            self._long[drop.number] = None

    def holds(self, drop: DropRecord, labels: Sequence[bytes]) -> bool:
        recent = self._recent_of(drop)
        if not recent.labels.isdisjoint(labels):
            return True
        if not recent.indexed:
            return False
        with sqlite_errors:
            found = self._writer.execute(
                HOLDS, (f"[{','.join('0' * len(labels))}]", drop.number, b"".join(labels))
            ).fetchone()
        return found is not None

    def _seq_of(self, drop: DropRecord, label: bytes) -> int | None:
        """The seq of the cell with a label; None if the drop has none."""
        seq = self._recent_of(drop).labels.get(label)
        if seq is not None:
            return seq
        with sqlite_errors:
            row = self._writer.execute(
                "SELECT seq FROM label WHERE number = ? AND label = ?", (drop.number, label)
            ).fetchone()
        return row[0] if row else None

    def _index_some(self) -> None:
        """Have the index take the recent labels of a drop that has many, and make room in memory.

        All staged cells are in the table by now. The index takes those of two drops at most, so
        that no commit waits for many.
        """
        if self._long:
            self._index(next(iter(self._long)))
        while self._held > MOST_LABELS or len(self._recent) > MOST_DROPS:
            oldest = next(iter(self._recent))
            if len(self._recent[oldest].labels) > FEW_LABELS:
                self._index(oldest)
                break
            self._forget_recent(oldest)

    def _index(self, number: int) -> None:
        """Have the index take all labels of a drop that are in memory."""
        indexed, labels = self._recent[number]
        self._enter(number, after=indexed, upto=labels.next - 1)
        self._forget_recent(number)

    def _enter(self, number: int, *, after: int, upto: int) -> None:
        """Enter the labels of a drop's cells after one seq and up to another in the index."""
        first = number << SEQ_BITS
        with sqlite_errors:
            self._begin(self._writer)
            self._writer.execute(INDEX, (first | after, first | upto))
            self._writer.execute('UPDATE "drop" SET indexed = ? WHERE number = ?', (upto, number))

    def _forget_recent(self, number: int) -> None:
        recent = self._recent.pop(number, None)
        self._long.pop(number, None)
        self._held -= len(recent.labels) if recent else 0

    def _index_arrived(self, drops: Iterable[DropRecord]) -> None:
        """Have the index take the labels of drops into which a move has put many cells."""
        known = {drop.number: drop for drop in drops}
        with sqlite_errors:
            found = self._writer.execute(
                'SELECT number, indexed FROM "drop"'
                " WHERE number IN (SELECT value FROM json_each(?))",
                (f"[{','.join(map(str, known))}]",),
            ).fetchall()
        for number, indexed in found:
            self._forget_recent(number)
            drop = known[number]
            if _are_many(min(drop.cells, drop.head - indexed), drop):
                self._enter(number, after=indexed, upto=drop.head)

    def _end_labels(self, number: int, upto: int) -> None:
        """Forget the labels of a drop's cells up to a seq, before these are deleted."""
        first = number << SEQ_BITS
        self._writer.execute(
            "DELETE FROM label WHERE number = ?1 AND label IN"
            " (SELECT label FROM cell WHERE place BETWEEN ?2 AND"
            ' min(?3, ?2 | (SELECT indexed FROM "drop" WHERE number = ?1)))',
            (number, first, first | upto),
        )
        recent = self._recent.get(number)
        if recent is not None:
            before = len(recent.labels)
            recent.labels.end(upto + 1)
            self._held -= before - len(recent.labels)


def _are_many(labels: int, drop: DropRecord) -> bool:
    """Whether a drop has so many recent labels that the index takes them."""
    return labels >= max(INDEX_LABELS, drop.cells // INDEX_SHARE)
