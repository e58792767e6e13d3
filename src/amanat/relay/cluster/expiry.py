"""The expiry of cells and drops in the cluster."""

# ruff: noqa: D102  # the protocols in drops.py and beside it say what each method is

from __future__ import annotations

from typing import TYPE_CHECKING

from amanat.errors import StoreDamaged
from amanat.protocol.ledger import Erased, Expired, drop_hash
from amanat.protocol.moving import GONE, HERE
from amanat.relay.cluster.ledger import ClusterPages, TakingOver
from amanat.relay.cluster.messages import record_in
from amanat.relay.cluster.staging import Staging, Totals
from amanat.relay.store.wrapping import WRAP_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from amanat.relay.cluster.engine import Engine
    from amanat.relay.cluster.known import Known
    from amanat.relay.cluster.layout import Layout
    from amanat.relay.cluster.messages import Kept, Sealer
    from amanat.relay.cluster.roots import Roots
    from amanat.relay.drops import DropRecord

ERASE_DROPS = 100
"""Most drops whose cells expire in one commit."""
PAGE_BYTES = 2**20
"""Bytes of cells that an expiry reads at a time."""
END_TRIES = 8
"""Times that drops are ended while other processes write: those that are left end another day."""


class Expiry(Staging):
    """Erases cells and drops that have expired, and purges what no drop needs."""

    def __init__(self, engine: Engine, layout: Layout, roots: Roots, sealer: Sealer) -> None:
        super().__init__(engine, layout, roots, sealer)
        self._pages = ClusterPages(engine, layout)
        self._taking = TakingOver(engine, layout, sealer)
        self._due: list[bytes] | None = None
        """Drops that may have expired cells, by the scan of the expiry that is under way."""
        self._unneeded: set[bytes] = set()
        """Drops with messages that are not needed."""

    def scanned(self) -> Iterator[Kept]:
        """The record of each drop, those that have ended among them."""
        for shard in range(self._layout.shards):
            for message in self._engine.scan(self._layout.stream(shard), self._layout.drops(shard)):
                yield record_in(message)

    def records(self) -> Iterator[DropRecord]:
        for kept in self.scanned():
            if not kept.is_ended:
                yield self.find(kept.drop_id)

    def total(self) -> None:
        """Count drops and bytes."""
        totals = Totals()
        for kept in self.scanned():
            if not kept.is_ended:
                totals.add(kept)
        self._totals = totals

    def shred(self, today: int) -> None:
        self._roots.destroy(today)

    def erase(self, today: int, max_cells: int, *, hour: int) -> int:
        if self._due is None:
            self._due = [
                kept.drop_id
                for kept in self.scanned()
                if not kept.is_ended
                and kept.state == HERE
                and kept.oldest_day is not None
                and kept.oldest_day + kept.retention_days < today
            ]
        cells = 0
        while self._due and cells < max_cells and len(self._staged) < ERASE_DROPS:
            cells += self._erase_of(self._due.pop(), today, hour=hour)
        unmade = self.commit()
        self._due += unmade.refused
        if not self._due and not cells:
            self._due = None
        return cells

    def _erase_of(self, drop_id: bytes, today: int, *, hour: int) -> int:
        """Stage the end of a drop's expired cells. Returns how many. All of them end in one
        message, however many they are: no bytes move."""
        drop = self.find(drop_id)
        if not drop.drop_id or not drop.cells or drop.state != HERE:
            return 0
        known = self._whole(self._at_hand(drop_id))
        ended, size, day = self._ended(known, drop, today - drop.retention_days)
        if not ended:
            return 0
        drop.cells -= ended
        drop.bytes -= size
        drop.oldest_day = day
        self.save(drop)
        self.note(Expired(drop_hash(drop_id), hour, ended, size))
        self._unneeded.add(drop_id)
        return ended

    def _ended(self, known: Known, drop: DropRecord, before: int) -> tuple[int, int, int | None]:
        """(expired cells, their bytes, the day of the oldest other cell)."""
        first = drop.head - drop.cells + 1
        ended = size = 0
        places = [piece.place for piece in known.pieces]
        for seq, cell, _ in self._numbered(known, places, PAGE_BYTES):
            if seq < first:
                continue
            if cell.day >= before:
                return ended, size, cell.day
            ended += 1
            size += len(cell.wrapped) - WRAP_BYTES
        if ended != drop.cells:
            raise StoreDamaged("a drop holds another number of cells than its record says")
        return ended, size, None

    def cut(self, drop: DropRecord, upto: int) -> tuple[int, int]:
        known = self._whole(self._at_hand(drop.drop_id))
        first = drop.head - drop.cells + 1
        count = size = 0
        places = [piece.place for piece in known.pieces if piece.first <= upto]
        for seq, cell, _ in self._numbered(known, places, PAGE_BYTES):
            if first <= seq <= upto:
                count += 1
                size += len(cell.wrapped) - WRAP_BYTES
        self._unneeded.add(drop.drop_id)
        return count, size

    def end_drops(self, before_day: int, *, hour: int) -> None:
        # The replica that a scan reads may not know yet which drops have lost their last cells now.
        may_end = set(self._unneeded)
        for kept in self.scanned():
            if kept.is_ended:
                self._unneeded.add(kept.drop_id)
            elif _may_end(kept, before_day):
                may_end.add(kept.drop_id)
        for _ in range(END_TRIES):
            refused = set[bytes]()
            for drop_id in may_end:
                self._end(drop_id, before_day, hour=hour)
                if len(self._staged) >= ERASE_DROPS:
                    refused |= self.commit().refused
            # Another process has entered something in the ledger, or has changed the drop.
            may_end = refused | self.commit().refused
            if not may_end:
                break

    def _end(self, drop_id: bytes, before_day: int, *, hour: int) -> None:
        drop = self.find(drop_id)
        if not drop.drop_id or not _may_end(drop, before_day):
            return
        self.forget(drop)
        if drop.state == HERE:  # the ledger already tells that the others have gone
            self.note(Erased(drop_hash(drop_id), hour, 0, 0))
        self._unneeded.add(drop_id)

    def scrub(self) -> None:
        """Purge the messages that no drop needs. Disks lose them later; no key opens them until
        then."""
        for drop_id in tuple(self._unneeded):
            known = self._recent(drop_id, by_leader=True)
            if known.kept is not None:
                # Never the last message, and never one that came after it: a drop may be created
                # again.
                base = known.place + 1
                if not known.kept.is_ended:
                    base = self._whole(known).base or known.place
                self._engine.purge(known.stream, known.subject, below=base)
            if not known.is_here:
                self._memory.forget(drop_id)
            self._unneeded.discard(drop_id)
        self._taking.take_over()
        for shard, reached in enumerate(self._taking.reach()):
            # The last message of the journal stays: it is the predecessor of the next.
            self._engine.purge(
                self._layout.stream(shard), self._layout.journal(shard), below=reached
            )

    # The ledger

    @property
    def pages(self) -> ClusterPages:
        return self._pages

    @property
    def staged_pages(self) -> ClusterPages:
        """The ledger with everything that has been committed anywhere."""
        self._taking.take_over()
        return self._pages

    def keep_hash(self, level: int, index: int, value: bytes) -> None:
        self._pages.keep_hash(level, index, value)

    def keep_checkpoint(self, note: bytes) -> None:
        self._pages.keep_checkpoint(note)


def _may_end(drop: Kept | DropRecord, before_day: int) -> bool:
    """Whether a drop ends because nothing has come to it for long."""
    is_empty = drop.oldest_day is None and drop.last_day < before_day
    return is_empty and (drop.state == GONE or (drop.state == HERE and not drop.bucket))
