"""The cluster as a mover reads it, beside the processes of the relay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amanat.errors import StoreDamaged
from amanat.protocol.ledger import decode_entry
from amanat.protocol.moving import ShredKey, WrappedCell
from amanat.protocol.tlog import TILE_WIDTH
from amanat.relay.cluster.known import record_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from amanat.protocol.ledger import Entry
    from amanat.relay.cluster.store import ClusterStore
    from amanat.relay.records import DropRecord, MoveRecord


class ClusterReader:
    """A relay's drops, read by a program that is no process of the relay.

    Methods raise RelayBusy or StoreDamaged.
    """

    def __init__(self, store: ClusterStore) -> None:
        self._store = store
        self._records: list[DropRecord] = []
        """All drops by their numbers, as of the last time that somebody began with the first."""

    def close(self) -> None:
        """Leave the cluster."""
        self._store.close()

    def moves(self) -> list[MoveRecord]:
        """As `Store.moves`."""
        return self._store.moves()

    def look(self, drop_id: bytes) -> DropRecord:
        """As `Store.find`: as the leader has it."""
        drop = self._store.find(drop_id)
        self._store.rollback()
        return drop

    def entries(self, place: int) -> Iterator[Entry]:
        """The entries of the ledger, from an index on: those of all changes until now."""
        pages = self._store.staged_pages
        while found := pages.entries(place, TILE_WIDTH):
            yield from map(decode_entry, found)
            place += len(found)

    def total(self, *, state: int) -> tuple[int, int, int]:
        """(drops in a state, their cells, bytes of these)."""
        drops = [one for one in self._store.scanned() if not one.is_ended and one.state == state]
        return len(drops), sum(one.cells for one in drops), sum(one.bytes for one in drops)

    def records(self, *, after: int, most: int) -> list[DropRecord]:
        """The first `most` drops with a number above `after`."""
        if not after:
            self._records = sorted(
                (record_of(one) for one in self._store.scanned() if not one.is_ended),
                key=lambda one: one.number,
            )
        return [one for one in self._records if one.number > after][:most]

    def wrapped(
        self, drop: DropRecord, *, after: int, max_cells: int, max_bytes: int
    ) -> tuple[int, bytes, list[WrappedCell], list[ShredKey]]:
        """The first wrapped cells after a seq, up to the record's head: (the seq before the first,
        the digest there, the cells, the keys that open them)."""
        before, digest = drop.head, drop.digest
        cells: list[WrappedCell] = []
        keys: dict[int, ShredKey] = {}
        for seq, resting, key in self._store.resting(drop, after=after, max_bytes=max_bytes):
            max_bytes -= len(resting.wrapped)
            if cells and (max_bytes < 0 or len(cells) >= max_cells):
                break
            if not cells:
                before, digest = seq - 1, resting.before
            cells.append(WrappedCell(resting.day, resting.wrapped))
            keys[resting.day] = key
        if cells and before < after:
            raise StoreDamaged("a cell came twice")
        return before, digest, cells, list(keys.values())
