"""The moves in which the relay takes part, and the drops that move."""

# ruff: noqa: D102  # the protocols in records.py and beside it say what each method is

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated

import msgspec

from amanat.errors import RelayBusy, StoreDamaged
from amanat.protocol import codec
from amanat.protocol.drops import RETENTION_DAYS
from amanat.protocol.moving import ARRIVING, GONE, MAX_ORDER_BYTES
from amanat.relay.cluster.engine import RETRY_S, Publish
from amanat.relay.cluster.expiry import Expiry
from amanat.relay.cluster.known import number_of
from amanat.relay.cluster.messages import Count, Generation, Journal, Resting
from amanat.relay.cluster.roots import own_generation
from amanat.relay.records import MoveRecord, Unmade
from amanat.relay.store.wrapping import WRAP_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from amanat.relay.arrivals import Arrived
    from amanat.relay.cluster.engine import Message
    from amanat.relay.cluster.messages import Kept
    from amanat.relay.cluster.reading import Means
    from amanat.relay.records import DropRecord


MOST_TRIES = 8
"""Times that a gate is tried to be shut while others create drops."""


class KeptMove(codec.Record, frozen=True):
    """The record of a move in the cluster. The move's id also names the generation of the keys that
    come by it."""

    move: Generation
    order: Annotated[bytes, msgspec.Meta(max_length=MAX_ORDER_BYTES)]
    is_source: bool
    access: Annotated[bytes, msgspec.Meta(max_length=64)]
    first_entry: Count
    is_closed: bool
    number: Count
    is_forgotten: bool


_decoder = codec.decoder_of(KeptMove)


class MoveTable(Expiry):
    """The record of each move, and the drops that take part in one."""

    def __init__(self, means: Means) -> None:
        super().__init__(means)
        region = means.layout.region
        self._moves: list[KeptMove] = []
        """Staged records of moves."""
        self._generations: dict[int, bytes] = {}
        """By the number of a move, the generation of the keys that come by it."""
        self._shut: set[int] = set()
        """The moves whose gates are shut in all shards."""
        self._held: dict[bytes, int] = {}
        """The last message of each drop that may go."""
        self._index: dict[int, list[tuple[int, bytes]]] = {}
        """By the number of a move, the numbers and ids of its drops, as scanned last."""
        self._name = f"{region}.state.move"
        self._ends = f"{region}.state.ended"
        self._are_moves_new = False
        means.engine.listen(f"{region}.moves", self._hear_of_move)
        self._newest = 0
        """The last message of any move."""
        self._places: dict[int, int] = {}
        """The last message of each move, by its number, as this process has read it: who closes a
        move and who abandons it name the same one, and only one of them is first."""

    # Moves

    def has_new_moves(self) -> bool:
        return self._are_moves_new

    def moves(self) -> list[MoveRecord]:
        self._are_moves_new = False
        kept = [decode_move(one.body) for one in self._messages_of_moves()]
        self._known_gate = max((one.number for one in kept if one.is_closed), default=0)
        self._generations = {one.number: one.move for one in kept}
        for generation in self.ended_generations():
            self._roots.destroy_generation(generation)  # another process did so meanwhile
        return [
            MoveRecord(
                move=one.move,
                order=one.order,
                is_source=one.is_source,
                access=one.access,
                first_entry=one.first_entry,
                is_closed=one.is_closed,
                number=one.number,
            )
            for one in sorted(kept, key=lambda one: one.number)
            if not one.is_forgotten
        ]

    def ended_generations(self) -> list[bytes]:
        """The generations whose roots every process must have destroyed."""
        found = self._engine.walk(self._layout.state, f"{self._ends}.*", after=0)
        return [message.body for message in found]

    def _messages_of_moves(self) -> list[Message]:
        # There are few moves, and a walk has all their messages: the newest of each counts.
        newest: dict[str, Message] = {}
        after = 0
        while message := self._engine.next_by_leader(self._layout.state, f"{self._name}.*", after):
            newest[message.subject] = message
            after = message.place
        self._newest = after
        self._places = {decode_move(one.body).number: one.place for one in newest.values()}
        return list(newest.values())

    def keep_move(self, record: MoveRecord) -> None:
        last = max((decode_move(one.body).number for one in self._messages_of_moves()), default=0)
        record.number = last + 1
        self._moves.append(_of(record))

    def close_move(self, record: MoveRecord) -> None:
        self._moves.append(msgspec.structs.replace(_of(record), is_closed=True))

    def forget_move(self, record: MoveRecord) -> None:
        self._moves.append(msgspec.structs.replace(_of(record), is_forgotten=True))

    def rollback(self) -> None:
        super().rollback()
        self._moves = []

    def commit(self) -> Unmade:
        # A move is closed before the first drop has gone: a crash in between opens nothing.
        moves = self._moves
        for move in moves:
            if not move.is_forgotten:
                self._publish_move(move)
        # Also if another process has closed the move, and died before it had shut all gates.
        for number in {
            one.record.move for one in self._staged.values() if one.record.state == GONE
        } - self._shut:
            self._shut_gates(number)
        unmade = super().commit()
        for move in moves:
            if move.is_forgotten and unmade == Unmade():
                self._publish_move(move)
        return unmade

    def _shut_gates(self, number: int) -> None:
        """Have everybody who creates a drop from now on know that drops go by a move."""
        for shard in range(self._layout.shards):
            for _ in range(MOST_TRIES):
                self._journals.pop(shard, None)
                place, gate = self._journal(shard)
                if gate >= number:
                    break
                message = self._journal_message(shard, place, codec.encode(Journal([], number)))
                self._engine.publish([[message]])
            else:
                raise RelayBusy("other processes create drops", retry_after=RETRY_S)
        self._shut.add(number)

    def _publish_move(self, move: KeptMove) -> None:
        subject = f"{self._name}.{move.move.hex()}"
        is_new = not (move.is_closed or move.is_forgotten)
        chain = f"{self._name}.*" if is_new else subject
        before = self._newest if is_new else self._places[move.number]
        message = Publish(subject, before, {}, codec.encode(move), chain)
        (outcome,) = self._engine.publish([[message]])
        if not isinstance(outcome, int):
            raise RelayBusy("another process changes the moves", retry_after=RETRY_S)
        self._engine.tell(f"{self._layout.region}.moves", b"")

    def _hear_of_move(self, _: str, __: bytes) -> None:
        self._are_moves_new = True

    # Drops

    def of_move(self, record: MoveRecord, state: int, *, after: int, most: int) -> list[DropRecord]:
        if not after or record.number not in self._index:
            self._index[record.number] = sorted(
                (number_of(kept.drop_id), kept.drop_id) for kept in self._of(record)
            )
        found: list[DropRecord] = []
        for number, drop_id in self._index[record.number]:
            if number > after and len(found) < most:
                drop = self.find(drop_id)
                if drop.state == state and drop.move == record.number:
                    found.append(drop)
        return found

    def _of(self, record: MoveRecord) -> Iterable[Kept]:
        return (kept for kept in self.scanned() if not kept.is_ended and kept.move == record.number)

    def gone(self, record: MoveRecord, most: int) -> list[DropRecord]:
        found: list[DropRecord] = []
        for kept in self._of(record):
            if kept.state == GONE and kept.oldest_day is not None and len(found) < most:
                drop = self.find(kept.drop_id)
                if drop.state == GONE and drop.oldest_day is not None:
                    found.append(drop)
        return found

    def add(self, *drops: DropRecord) -> None:
        super().add(*drops)
        for drop in drops:
            if drop.state == ARRIVING:
                self._staged[drop.drop_id].generation = self._generations[drop.move]

    def hold(self, drop_ids: Iterable[bytes]) -> None:
        for drop_id in drop_ids:
            known = self._memory.get(drop_id)
            if known is not None:
                self._held[drop_id] = known.place

    def set_state(self, drops: Iterable[DropRecord], state: int, move: MoveRecord) -> None:
        for drop in drops:
            drop.state, drop.move = state, move.number
            self.save(drop)
            if state == GONE:
                staged = self._staged[drop.drop_id]
                staged.before = self._held.pop(drop.drop_id, staged.before)

    def put(self, arrived: Iterable[Arrived]) -> None:
        for one in arrived:
            staged = self._stage(one.drop)
            for key in one.keys:
                staged.keys[key.day] = self._roots.wrap(
                    staged.known.subject, key.day, key.last_day, staged.generation, key.key
                )
            for label, before, cell in zip(one.labels, one.befores, one.cells, strict=False):
                staged.cells.append(Resting(cell.day, label, before, cell.wrapped))
                self._stage_bytes(one.drop, len(cell.wrapped) - WRAP_BYTES)

    def shred(self, today: int) -> None:
        super().shred(today)
        # A day ahead: a keeper that is away at midnight stops nobody.
        generation = own_generation(self._known_gate)
        for day in (today, today + 1):
            for retention in RETENTION_DAYS:
                with contextlib.suppress(RelayBusy):
                    self._roots.root(generation, day + retention)

    def scrub(self) -> None:
        super().scrub()
        if not self._known_gate:
            return  # no drop has gone
        gone, here = set[bytes](), set[bytes]()
        for kept in self.scanned():
            if not kept.is_ended:
                (gone if kept.state == GONE else here).add(kept.generation)
        # The roots of drops that have gone open nothing else: all drops of a relay go.
        for generation in gone - here:
            self._end_generation(generation)

    def _end_generation(self, generation: bytes) -> None:
        """Destroy the roots of a generation everywhere. A process that is away does so when it
        comes back."""
        subject = f"{self._ends}.{generation.hex()}"
        self._engine.publish([[Publish(subject, 0, {}, generation)]])
        self._roots.destroy_generation(generation)

    def shred_drops(self, drops: Sequence[DropRecord]) -> None:
        # The keys that came by a move have roots of their own. The roots of drops that have gone
        # from here end with the last of them: see `scrub`.
        for move in {drop.move for drop in drops if drop.state == ARRIVING}:
            self._end_generation(self._generations[move])


def _of(record: MoveRecord) -> KeptMove:
    return KeptMove(
        move=record.move,
        order=record.order,
        is_source=record.is_source,
        access=record.access,
        first_entry=record.first_entry,
        is_closed=record.is_closed,
        number=record.number,
        is_forgotten=False,
    )


def decode_move(data: bytes) -> KeptMove:
    """The record of a move in some bytes. Raises StoreDamaged."""
    return codec.decode(_decoder, data, StoreDamaged)
