"""Drops read from the cluster."""

# ruff: noqa: D102  # the protocols in records.py and beside it say what each method is

from __future__ import annotations

import functools
from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from amanat.errors import RelayBusy, StoreDamaged
from amanat.protocol.drops import next_digest
from amanat.protocol.moving import ShredKey
from amanat.relay.cluster.engine import RETRY_S
from amanat.relay.cluster.known import Known, Memory
from amanat.relay.records import StoredCell
from amanat.relay.store.wrapping import unwrap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from amanat.relay.cluster.engine import Engine, Message
    from amanat.relay.cluster.layout import Layout
    from amanat.relay.cluster.messages import Change, Kept, Resting, Sealer
    from amanat.relay.cluster.processes import Processes
    from amanat.relay.cluster.roots import Roots
    from amanat.relay.records import DropRecord

MOST_TRIES = 3
"""Times that a drop is read from its beginning before the read is given up: other processes change
it meanwhile, but seldom."""


class Means(NamedTuple):
    """The parts that a store on a cluster works with."""

    engine: Engine
    layout: Layout
    roots: Roots
    sealer: Sealer
    processes: Processes


class Reading:
    """The committed drops, as far as this process has read them."""

    def __init__(self, means: Means) -> None:
        self._engine, self._layout, self._roots, self._sealer, self.processes = means
        self._memory = Memory()

    # Records

    def look(self, drop_id: bytes, *, at_least: int = 0, is_sure: bool = False) -> DropRecord:
        known = self._recent(drop_id, by_leader=False)
        for _ in range(MOST_TRIES):
            record = known.record()
            if record.head >= at_least:
                return record
            known = self._recent(drop_id, by_leader=True)
            record = known.record()
            if record.head >= at_least or not is_sure or self._is_last(known):
                return record
        raise RelayBusy("the drop changes all the time", retry_after=RETRY_S)

    def _is_last(self, known: Known) -> bool:
        """Whether this process knows all of a drop, at some moment after the call."""
        fence = self._layout.fence(self._layout.shard(known.drop_id))
        return self._engine.is_last(known.stream, known.subject, known.place, fence=fence)

    def _recent(self, drop_id: bytes, *, by_leader: bool) -> Known:
        """The drop as some replica, or the leader, has it now; never older than this process knew
        it. One request, whether there is such a drop or not."""
        known = self._at_hand(drop_id)
        with known.lock:
            message = self._engine.last(known.stream, known.subject, by_leader=by_leader)
            self._learn(known, message, by_leader=by_leader)
        return known

    def _recent_all(self, drop_ids: Sequence[bytes]) -> list[Known]:
        """Several drops that this process does not know, as the leaders have them."""
        drops = [self._unknown(drop_id) for drop_id in drop_ids]
        self._refresh(drops)
        return drops

    def _refresh(self, drops: Sequence[Known]) -> None:
        """Know these drops as the leaders have them."""
        asked = [(known.stream, known.subject) for known in drops]
        for known, message in zip(drops, self._engine.last_of(asked), strict=True):
            self._learn(known, message, by_leader=True)

    def _learn(self, known: Known, message: Message | None, *, by_leader: bool) -> None:
        """Know the last message of a drop. A replica may lag, or have lost some."""
        with known.lock:
            if by_leader and message is not None and message.place < known.place:
                raise RelayBusy("the cluster knows less than before", retry_after=RETRY_S)
            if message is not None and message.place > known.place:
                if not (known.is_whole and self._caught_up(known, message)):
                    kept, _ = self._opened_message(known, message)
                    known.forget()
                    known.kept, known.place = kept, message.place
                self._memory.put(known)
            elif message is None and known.place and by_leader:
                # It was purged: it had ended.
                known.forget()
                self._memory.forget(known.drop_id)

    def _caught_up(self, known: Known, last: Message) -> bool:
        """Apply the messages that came since. Returns whether all of them were there."""
        if last.before == known.place:
            messages = [last]
        else:
            messages = self._engine.walk(known.stream, known.subject, after=known.place)
        return all(
            known.advance(one.place, one.before, *self._opened_message(known, one))
            for one in messages
        )

    def _at_hand(self, drop_id: bytes) -> Known:
        """The drop as this process knows it, if it does."""
        return self._memory.get(drop_id) or self._unknown(drop_id)

    def _unknown(self, drop_id: bytes) -> Known:
        shard = self._layout.shard(drop_id)
        return Known(drop_id, self._layout.subject(drop_id), self._layout.stream(shard))

    def _whole(self, known: Known) -> Known:
        """Read the drop's messages from the beginning, unless they are known."""
        with known.lock:
            for tried in range(MOST_TRIES):
                if known.is_whole:
                    return known
                head = known.place
                known.forget()
                # A replica may have lost a message, so the leader is asked after the first time.
                messages = self._from_leader(known) if tried else self._from_replica(known)
                follows = all(
                    known.advance(one.place, one.before, *self._opened_message(known, one))
                    for one in messages
                )
                known.is_whole = follows and known.place >= head and not known.has_gap
            if not known.is_whole:
                known.forget()
                self._memory.forget(known.drop_id)
                raise StoreDamaged("a drop's messages do not follow each other")
        self._memory.trim()
        return known

    def _from_replica(self, known: Known) -> Iterable[Message]:
        return self._engine.walk(known.stream, known.subject, after=0)

    def _from_leader(self, known: Known) -> Iterator[Message]:
        after = 0
        while message := self._engine.next_by_leader(known.stream, known.subject, after):
            yield message
            after = message.place

    # Cells

    def cells(
        self, drop: DropRecord, *, after: int, since_day: int, max_cells: int, max_bytes: int
    ) -> list[StoredCell]:
        if not drop.cells or after >= drop.head:
            return []
        known = self._at_hand(drop.drop_id)
        with known.lock:
            self._whole(known)
            first = max(after + 1, drop.head - drop.cells + 1)
            places = known.pieces.places(first, drop.head, since_day=since_day)
        stored: list[StoredCell] = []
        room = max_bytes
        for message in self._messages(known, places, max_bytes):
            for day, cell in self._opened(known, message):
                if cell.seq < first or cell.seq > drop.head or day < since_day:
                    continue
                if not cell.cell:
                    if stored:
                        raise StoreDamaged("a cell's key is missing")
                    continue
                room -= len(cell.cell)
                if stored and (room < 0 or len(stored) >= max_cells):
                    return stored
                stored.append(cell)
        return stored

    def resting(
        self, drop: DropRecord, *, after: int, max_bytes: int
    ) -> Iterator[tuple[int, Resting, ShredKey]]:
        """The cells of a drop after a seq as they rest, up to the record's head, with their seqs
        and the keys that open them. Cells whose key is destroyed are left out."""
        for seq, cell, key in self.at_rest(drop, after=after, max_bytes=max_bytes):
            if found := key():
                yield seq, cell, found

    def at_rest(
        self, drop: DropRecord, *, after: int, max_bytes: int
    ) -> Iterator[tuple[int, Resting, Callable[[], ShredKey | None]]]:
        """All cells of a drop after a seq as they rest, up to the record's head, with their seqs
        and functions that give their keys, None if a key is destroyed."""
        known = self._at_hand(drop.drop_id)
        with known.lock:
            self._whole(known)
            first = max(after + 1, drop.head - drop.cells + 1)
            places = known.pieces.places(first, drop.head)
        for seq, cell, change in self._numbered(known, places, max_bytes):
            if first <= seq <= drop.head:
                yield seq, cell, functools.partial(self._shred_key, known, change, cell.day)

    def _shred_key(self, known: Known, change: Change, day: int) -> ShredKey | None:
        key = self._key(known, change, day)
        return None if key is None else ShredKey(day, *key)

    def _numbered(
        self, known: Known, places: Sequence[int], max_bytes: int
    ) -> Iterator[tuple[int, Resting, Change]]:
        """The cells of the messages at these places as they rest, with their seqs, and the change
        that brought each."""
        for message in self._messages(known, places, max_bytes):
            kept, change = self._opened_message(known, message)
            for seq, cell in enumerate(change.cells, kept.head - len(change.cells) + 1):
                yield seq, cell, change

    def _key(self, known: Known, change: Change, day: int) -> tuple[int, bytes] | None:
        """(last day, key) of a drop's day; None if the key is destroyed."""
        key = known.keys.get(day) or next((one for one in change.keys if one.day == day), None)
        secret = self._roots.unwrap(known.subject, key) if key else None
        return (key.last_day, secret) if key and secret else None

    def _messages(self, known: Known, places: Sequence[int], max_bytes: int) -> Iterator[Message]:
        """The messages at these places, a few at a time."""
        while places:
            found = {
                one.place: one
                for one in self._engine.walk(
                    known.stream,
                    known.subject,
                    after=places[0] - 1,
                    most=len(places),
                    most_bytes=2 * max_bytes,
                )
            }
            end = max(found, default=places[0])
            for place in places:
                if place > end:
                    break
                # A replica that lost a message passes over it in silence.
                message = found.get(place) or self._engine.at(known.stream, place)
                if message is None:
                    raise StoreDamaged("a message is missing")
                yield message
            places = places[bisect_right(places, end) :]

    def _opened(self, known: Known, message: Message) -> Iterator[tuple[int, StoredCell]]:
        """The cells of a message with their days; without their bytes if their key is destroyed.
        Checks that digests follow each other."""
        kept, change = self._opened_message(known, message)
        openers: dict[int, AESGCM | None] = {}
        first = kept.head - len(change.cells) + 1
        for index, cell in enumerate(change.cells):
            if cell.day not in openers:
                key = self._key(known, change, cell.day)
                openers[cell.day] = AESGCM(key[1]) if key else None
            opener = openers[cell.day]
            plain = b""
            if opener is not None:
                plain = unwrap(opener, kept.bound, first + index, cell.wrapped)
                after = (
                    change.cells[index + 1].before if index + 1 < len(change.cells) else kept.digest
                )
                if next_digest(cell.before, plain) != after:
                    raise StoreDamaged("a drop's digests do not follow each other")
            yield cell.day, StoredCell(first + index, cell.before, plain)

    def _opened_message(self, known: Known, message: Message) -> tuple[Kept, Change]:
        """As the sealer opens it; by the leader if a replica has changed it."""
        try:
            return self._sealer.open(message)
        except StoreDamaged:
            again = self._engine.at(known.stream, message.place)
            if again is None:
                raise
            return self._sealer.open(again)

    def _labelled(self, known: Known, label: bytes) -> StoredCell | None:
        seq = known.labels.get(label)
        if seq is None:
            return None
        message = self._engine.at(known.stream, known.pieces.at(seq).place)
        if message is None:
            self._memory.forget(known.drop_id)
            raise RelayBusy("the drop has changed", retry_after=RETRY_S)
        for _, cell in self._opened(known, message):
            if cell.seq == seq:
                return cell
        raise StoreDamaged("a cell is missing")
