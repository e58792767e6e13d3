"""The rules for cells that a move brings to a relay, before they land.

All parts of several steps are looked up and staged together: a statement for each cell, or for each
drop, would take longer than the cells do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from amanat.errors import BrokenMove, RelayBusy, StoreDamaged
from amanat.protocol.cells import CELL_SIZES, LABEL_BYTES
from amanat.protocol.drops import HASH_BYTES, RETENTION_DAYS, next_digest
from amanat.protocol.moving import (
    ARRIVING,
    HERE,
    Order,
    Part,
    ShredKey,
    Standing,
    WrappedCell,
)
from amanat.relay.drops import LANDING_RETRY_S
from amanat.relay.records import MOST_SEQ, DropRecord, MoveRecord, Store

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Arrived(NamedTuple):
    """Consecutive cells, wrapped as they rested at the source."""

    drop: DropRecord
    after: int
    """The seq before the first."""
    labels: list[bytes]
    befores: list[bytes]
    """The drop's digest before each."""
    cells: Sequence[WrappedCell]
    keys: Sequence[ShredKey]
    """The keys that open them."""


class ArrivalStore(Store, Protocol):
    """The store of arriving drops."""

    def find_all(self, drop_ids: Sequence[bytes]) -> dict[bytes, DropRecord]:
        """Fresh copies of those of these drops that exist, by their ids."""

    def put(self, arrived: Sequence[Arrived]) -> None:
        """Stage cells that have arrived. The records are saved separately."""

    def cut(self, drop: DropRecord, upto: int) -> tuple[int, int]:
        """Stage that the cells up to a seq are deleted: (how many, their bytes). The record is
        saved separately."""

    def forget(self, drop: DropRecord) -> None:
        """Stage the end of a drop that holds no cell."""


class Unwrap(Protocol):
    """Opens wrapped cells."""

    def __call__(
        self, cells: Sequence[WrappedCell], keys: Iterable[ShredKey], number: int, *, after: int
    ) -> list[bytes]:
        """The cells of a drop, bound to a number, starting after a seq. Raises StoreDamaged."""


class Arrivals:
    """The parts of the steps in one commit."""

    def __init__(
        self, store: ArrivalStore, drop_ids: Sequence[bytes], *, most_drops: int, unwrap: Unwrap
    ) -> None:
        """The steps bring cells of these drops."""
        self._store = store
        self._most_drops = most_drops
        self._unwrap = unwrap
        self._found = store.find_all(drop_ids)
        self._new: list[DropRecord] = []
        self._changed: dict[bytes, DropRecord] = {}
        self._arrived: list[Arrived] = []

    def take(self, part: Part, record: MoveRecord, order: Order) -> Standing:
        """Take the cells of a part that have not come yet. Returns the drop's standing after that.

        Raises BrokenMove or RelayBusy.
        """
        if not order.covers(part.drop_id) or not _keeps_to_limits(part):
            raise BrokenMove
        drop = self._found.get(part.drop_id)
        if drop is not None and drop.state == HERE:
            if drop.move != record.number:
                raise BrokenMove
            return drop.standing()
        if drop is None or drop.move != record.number:
            if not part.is_first:
                return Standing(part.drop_id, ARRIVING, 0, bytes(HASH_BYTES), 0, 0)
            drop = self._begin(part, record, drop)
        if part.before < drop.head:
            return drop.standing()  # it came already
        if part.is_first and part.before > drop.head:
            # The earlier cells have expired at the source meanwhile.
            self.stage()
            self._store.cut(drop, drop.head)
            drop.head, drop.digest = part.before, part.digest
            drop.cells = drop.bytes = 0
            drop.oldest_day = None
        elif part.before > drop.head:
            return drop.standing()  # earlier cells are missing: the mover sees it
        elif part.digest != drop.digest:
            raise BrokenMove
        self._open(part, drop)
        return drop.standing()

    def _begin(self, part: Part, record: MoveRecord, old: DropRecord | None) -> DropRecord:
        """The record of a drop that begins to arrive. `old` is its record from an earlier stay."""
        if old is not None and (old.cells or old.state == ARRIVING):
            raise BrokenMove
        if old is not None:
            self._store.forget(old)
        elif self._store.count() + len(self._new) >= self._most_drops:
            raise RelayBusy(retry_after=LANDING_RETRY_S)
        drop = self._found[part.drop_id] = DropRecord(
            drop_id=part.drop_id,
            append_hash=part.append_hash,
            read_hash=part.read_hash,
            retention_days=part.retention_days,
            bucket=part.bucket,
            head=part.before,
            digest=part.digest,
            cells=0,
            bytes=0,
            last_day=part.last_day,
            oldest_day=None,
            state=ARRIVING,
            move=record.number,
            bound=part.bound,
        )
        self._new.append(drop)
        return drop

    def _open(self, part: Part, drop: DropRecord) -> None:
        """Open the cells of a part. Raises BrokenMove for cells that do not open or have no allowed
        size."""
        try:
            cells = self._unwrap(part.cells, part.keys, drop.bound, after=drop.head)
        except StoreDamaged:
            raise BrokenMove from None
        after, digest, befores = drop.head, drop.digest, []
        for cell in cells:
            if len(cell) not in CELL_SIZES:
                raise BrokenMove
            befores.append(digest)
            digest = next_digest(digest, cell)
        labels = [cell[:LABEL_BYTES] for cell in cells]
        self._arrived.append(Arrived(drop, after, labels, befores, part.cells, part.keys))
        drop.head += len(cells)
        drop.digest = digest
        drop.bytes += sum(map(len, cells))
        if cells and drop.oldest_day is None:
            drop.oldest_day = part.cells[0].day
        drop.cells += len(cells)
        drop.last_day = part.last_day
        if drop.number:
            self._changed[drop.drop_id] = drop

    def stage(self) -> None:
        """Stage everything that came."""
        self._store.add(*self._new)
        self._store.save(*self._changed.values())
        self._store.put(self._arrived)
        self._new, self._changed, self._arrived = [], {}, []


def _keeps_to_limits(part: Part) -> bool:
    """Whether the drop could be ours: it numbers its cells, and ends them, as all drops do."""
    return (
        part.before + len(part.cells) <= MOST_SEQ
        and part.retention_days in RETENTION_DAYS
        and all(key.last_day <= key.day + part.retention_days for key in part.keys)
    )
