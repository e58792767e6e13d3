"""The expiry of cells and drops in the cluster."""

# ruff: noqa: D102  # the protocols in records.py and beside it say what each method is

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from amanat.errors import StoreDamaged
from amanat.protocol.ledger import Erased, Expired, drop_hash
from amanat.protocol.moving import HERE
from amanat.relay.cluster.agenda import Agenda, due_day
from amanat.relay.cluster.ledger import ClusterPages, TakingOver
from amanat.relay.cluster.messages import record_in
from amanat.relay.cluster.staging import Staging, Totals
from amanat.relay.drops import DROP_LIFE_DAYS
from amanat.relay.store.wrapping import WRAP_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from amanat.relay.cluster.known import Known
    from amanat.relay.cluster.messages import Kept
    from amanat.relay.cluster.reading import Means
    from amanat.relay.records import DropRecord

ERASE_DROPS = 100
"""Most drops whose cells expire in one commit."""
PAGE_BYTES = 2**20
"""Bytes of cells that an expiry reads at a time."""
END_TRIES = 8
"""Times that drops are ended while other processes write: those that are left end in the next
hour."""
DAY_HOURS = 24
"""Hours between two looks at every drop of a shard."""


class Expiry(Staging):
    """Erases cells and drops that have expired, and purges what no drop needs."""

    def __init__(self, means: Means) -> None:
        super().__init__(means)
        self._pages = ClusterPages(means.engine, means.layout, means.roots)
        self._taking = TakingOver(means.engine, means.layout, means.sealer)
        self._looked: dict[int, int] | None = None
        """The hour in which each shard was looked at last; None until the first hour."""
        self._taken: set[bytes] = set()
        """Drops that are due, by the expiry that is under way."""
        self._due: list[bytes] = []
        """Those of them that may have expired cells."""
        self._unneeded: set[bytes] = set()
        """Drops with messages that are not needed."""

    def scanned(self) -> Iterator[Kept]:
        """The record of each drop, those that have ended among them."""
        for shard in range(self._layout.shards):
            for page in self._scanned_in(shard):
                yield from page

    def _scanned_in(self, shard: int) -> Iterator[list[Kept]]:
        for page in self._engine.scan(self._layout.stream(shard), self._layout.drops(shard)):
            yield [record_in(message) for message in page]

    def records(self) -> Iterator[DropRecord]:
        for kept in self.scanned():
            if not kept.is_ended:
                yield self.find(kept.drop_id)

    def total(self) -> None:
        """Look at every drop, as a process that starts."""
        for shard in range(self._layout.shards):
            for _ in self._look_at(shard):
                pass

    def shred(self, today: int) -> None:
        self._roots.destroy(today)

    def find_due(self, today: int, *, hour: int) -> Iterator[None]:
        if self._looked is None:  # the process has just started
            self._looked = dict.fromkeys(range(self._layout.shards), hour)
        for shard in range(self._layout.shards):
            if self._is_turn(shard, self._looked.get(shard), hour):
                self._looked.pop(shard, None)  # if this look fails, the next one is in an hour
                yield from self._look_at(shard)
                self._looked[shard] = hour
        # Those that an expiry has taken, too, if it failed: nobody knows how far it came.
        self._taken |= self._take(today)
        self._due = list(self._taken)

    def _is_turn(self, shard: int, looked: int | None, hour: int) -> bool:
        """Whether a shard is to be looked at: once a day, each in its hour."""
        if looked is None or not looked <= hour < looked + DAY_HOURS:
            return True
        return looked != hour and hour % DAY_HOURS == shard * DAY_HOURS // self._layout.shards

    def _look_at(self, shard: int) -> Iterator[None]:
        """Look at every drop of a shard, in short steps, between which this process may change
        some. Otherwise it would never notice what others have stored or erased, either."""
        was, found = copy.copy(self._in_shards[shard]), Totals()
        agenda = self._agendas[shard] = Agenda()
        for page in self._scanned_in(shard):
            for kept in page:
                if kept.is_ended:
                    self._unneeded.add(kept.drop_id)
                    continue
                found.add(kept)
                day = due_day(kept)
                if day is not None:
                    agenda.note(kept.drop_id, day)
            yield
        for totals in (self._totals, self._in_shards[shard]):
            totals.correct(was, found)

    def _take(self, today: int) -> set[bytes]:
        return set().union(*(agenda.take(today) for agenda in self._agendas))

    def _note(self, drop_id: bytes, day: int) -> None:
        self._agendas[self._layout.shard(drop_id)].note(drop_id, day)

    def erase(self, today: int, max_cells: int, *, hour: int) -> int:
        cells = 0
        while self._due and cells < max_cells and len(self._staged) < ERASE_DROPS:
            cells += self._erase_of(self._due.pop(), today, hour=hour)
        unmade = self.commit()
        self._due += unmade.refused
        for drop_id in unmade.unknown:
            self._note(drop_id, today)
        return cells

    def _erase_of(self, drop_id: bytes, today: int, *, hour: int) -> int:
        """Stage the end of a drop's expired cells. Returns how many. All of them end in one
        message, however many they are: no bytes move."""
        drop = self.find(drop_id)
        day = due_day(drop) if drop.drop_id else None
        if day is None:
            return 0
        if day > today or not drop.cells:  # another process was first, or the drop itself is due
            self._note(drop_id, day)
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
        places = known.pieces.places(first, drop.head)
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
        places = known.pieces.places(first, upto)
        for seq, cell, _ in self._numbered(known, places, PAGE_BYTES):
            if first <= seq <= upto:
                count += 1
                size += len(cell.wrapped) - WRAP_BYTES
        self._unneeded.add(drop.drop_id)
        return count, size

    def end_drops(self, before_day: int, *, hour: int) -> None:
        today = before_day + DROP_LIFE_DAYS
        self._taken |= (may_end := self._take(today))
        for _ in range(END_TRIES):
            unmade = set[bytes]()
            for drop_id in may_end:
                self._end(drop_id, today, hour=hour)
                if len(self._staged) >= ERASE_DROPS:
                    unmade = unmade.union(*self.commit())
            # Another process has entered something in the ledger, or has changed the drop.
            may_end = unmade.union(*self.commit())
            if not may_end:
                break
        for drop_id in may_end:
            self._note(drop_id, today)
        self._taken = set()

    def _end(self, drop_id: bytes, today: int, *, hour: int) -> None:
        drop = self.find(drop_id)
        day = due_day(drop) if drop.drop_id else None
        if day is None:
            return
        if day > today or drop.cells:  # a cell has come
            self._note(drop_id, day)
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
