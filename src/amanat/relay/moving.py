"""The rules of a move at either relay: the changes that a step makes, and when it is refused.

Like the rules in drops.py they are clockless. A mover may repeat every step. A relay's knowledge of
a move is durable, except for the frozen drops: after a crash none is frozen, and the mover freezes
them again.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Protocol, TypeAlias, assert_never

from amanat.errors import AmanatError, BrokenMove, MoveRefused, RelayBusy
from amanat.protocol import moving, wire
from amanat.protocol.drops import SECRET_BYTES
from amanat.protocol.ledger import Erased, MovedIn, MovedOut, drop_hash, hour_of
from amanat.protocol.moving import (
    ARRIVING,
    GONE,
    HERE,
    MAX_DROPS,
    Order,
    Standing,
    open_order,
    sign_statement,
    state_of,
)
from amanat.relay.arrivals import Arrivals, ArrivalStore, Unwrap
from amanat.relay.drops import DAY_S, Drops
from amanat.relay.ledger import Ledger
from amanat.relay.records import ALL_MADE, NOBODYS, DropRecord, MoveRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ERASE_CELLS = 2000
"""Cells erased in one step, which takes turns with appends."""
ERASE_DROPS = 500
"""Drops whose keys are destroyed in one step."""

Plain: TypeAlias = (
    moving.Survey
    | moving.Freeze
    | moving.Release
    | moving.Land
    | moving.Thaw
    | moving.Erase
    | moving.Abandon
    | moving.End
)
"""A step whose answer lists drops and holds no signature, and which brings no cells."""


class MoveStore(ArrivalStore, Protocol):
    """The storage of moves and of the drops that move."""

    def keep_move(self, record: MoveRecord) -> None:
        """Stage a new move."""

    def close_move(self, record: MoveRecord) -> None:
        """Stage that a drop has gone by this move."""

    def forget_move(self, record: MoveRecord) -> None:
        """Stage the deletion of a move."""

    def of_move(self, record: MoveRecord, state: int, *, after: int, most: int) -> list[DropRecord]:
        """The first drops of a move that are in a state and have a higher number, in the writer's
        view."""

    def hold(self, drop_ids: Iterable[bytes]) -> None:
        """From now on, refuse that one of these drops goes if it has changed since."""

    def gone(self, record: MoveRecord, most: int) -> list[DropRecord]:
        """Some drops that have gone and still hold cells, in the writer's view."""

    def set_state(self, drops: Iterable[DropRecord], state: int, move: MoveRecord) -> None:
        """Stage that drops are in a state by a move."""

    def shred_drops(self, drops: Sequence[DropRecord]) -> None:
        """Stage the destruction of all keys of these drops. It is durable before anything else
        staged is."""


class Moves:
    """The moves in which a relay takes part."""

    def __init__(
        self,
        store: MoveStore,
        drops: Drops,
        ledger: Ledger,
        key: Ed25519PrivateKey,
        *,
        region: str,
        most_drops: int,
        accepts: Iterable[bytes],
        unwrap: Unwrap,
    ) -> None:
        """`accepts` are the keys of relays whose drops may come here."""
        self._store = store
        self._drops = drops
        self._ledger = ledger
        self._key = key
        self._relay = key.public_key().public_bytes_raw()
        self._region = region
        self._most_drops = most_drops
        self._accepts = frozenset(accepts)
        self._unwrap = unwrap
        self._orders: dict[bytes, Order] = {}
        """Opened orders by their signed bytes: each step needs one, and a signature takes as long
        as ten cells."""

    def check(self, request: wire.Move) -> None:
        """Check that a client may take this step, before the relay does any work for it. Raises
        BrokenMove or MoveRefused."""
        if isinstance(request.step, moving.Begin):
            self._check_begin(request, request.step)
        else:
            self._known(request)

    def take(self, requests: Sequence[wire.Move], *, now: float) -> list[wire.Reply]:
        """Take one step, or several that bring cells, and commit them. Returns the answers.
        May be called in another thread.

        Raises BrokenMove, MoveRefused, RelayBusy, or the store's errors; nothing is changed then.
        """
        try:
            if isinstance(requests[0].step, moving.Carry):
                replies = self._carry(requests)
            else:
                replies = [self._step(request, now=now) for request in requests]
            if self._store.commit() != ALL_MADE:
                raise RelayBusy(retry_after=0.0)  # the mover repeats the step
        except AmanatError:
            self._store.rollback()
            raise
        return replies

    def _step(self, request: wire.Move, *, now: float) -> wire.Reply:
        step = request.step
        if isinstance(step, moving.Carry):
            return self._carry([request])[0]
        if isinstance(step, moving.Begin):
            self._begin(request, step)
            return wire.Moving(request.id, [])
        record, order = self._known(request)
        if record.is_source != isinstance(
            step, moving.Freeze | moving.Release | moving.Thaw | moving.Erase | moving.End
        ) and not isinstance(step, moving.Abandon):
            raise MoveRefused
        if isinstance(step, moving.State):
            statement, signature = self._state(record, order)
            return wire.Moving(request.id, [], statement, signature)
        return wire.Moving(request.id, self._take(record, order, step, now=now))

    def _take(self, record: MoveRecord, order: Order, step: Plain, *, now: float) -> list[Standing]:
        if isinstance(step, moving.Freeze):
            return self._freeze(step.drops)
        if isinstance(step, moving.Release):
            self._release(record, order, step.drops, now=now)
        elif isinstance(step, moving.End):
            self._end(step.drops, now=now)
        elif isinstance(step, moving.Land):
            self._land(record, order, step.drops, now=now)
        elif isinstance(step, moving.Survey):
            return self._survey(record, step.after)
        elif isinstance(step, moving.Erase):
            return self._erase(record, now=now)
        elif isinstance(step, moving.Abandon):
            self._abandon(record)
        elif not isinstance(step, moving.Thaw):  # the writer alone acts on it
            assert_never(step)
        return []

    # Either relay

    def _check_begin(self, request: wire.Move, step: moving.Begin) -> tuple[Order, bool]:
        order = open_order(step.order)
        if request.move != order.move or not _shows(request.token, order):
            raise MoveRefused
        is_source = order.source == self._relay
        if not is_source and (
            order.to.key != self._relay
            or order.source not in self._accepts
            or order.region != self._region
            or len(step.access) != SECRET_BYTES
        ):
            raise MoveRefused
        return order, is_source

    def _begin(self, request: wire.Move, step: moving.Begin) -> None:
        order, is_source = self._check_begin(request, step)
        for record in self._drops.moves.values():
            if record.move == order.move:
                if record.order != step.order:
                    raise BrokenMove
                return
        self._store.keep_move(
            MoveRecord(order.move, step.order, is_source, step.access, self._ledger.size)
        )

    def _known(self, request: wire.Move) -> tuple[MoveRecord, Order]:
        for record in self._drops.moves.values():
            if record.move == request.move:
                order = self._opened(record.order)
                if not _shows(request.token, order):
                    break
                return record, order
        raise MoveRefused

    def _opened(self, signed: bytes) -> Order:
        order = self._orders.get(signed)
        if order is None:
            order = self._orders[signed] = open_order(signed)
        return order

    def _abandon(self, record: MoveRecord) -> None:
        if record.is_source:
            if record.is_closed:
                raise BrokenMove
            self._store.forget_move(record)
            return
        if self._store.of_move(record, HERE, after=0, most=1):
            raise BrokenMove
        arriving = self._store.of_move(record, ARRIVING, after=0, most=MAX_DROPS)
        self._store.shred_drops(arriving)
        for drop in arriving:
            self._store.cut(drop, drop.head)
            self._store.forget(drop)
        if len(arriving) < MAX_DROPS:
            self._store.forget_move(record)
        else:
            raise RelayBusy(retry_after=0.0)

    # The destination

    def _survey(self, record: MoveRecord, after: bytes) -> list[Standing]:
        number = self._store.find(after).number
        found = [
            drop
            for state in (ARRIVING, HERE)
            for drop in self._store.of_move(record, state, after=number, most=MAX_DROPS)
        ]
        return [drop.standing() for drop in sorted(found, key=lambda one: one.number)[:MAX_DROPS]]

    def _carry(self, requests: Sequence[wire.Move]) -> list[wire.Reply]:
        steps = [one.step for one in requests if isinstance(one.step, moving.Carry)]
        if not any(step.settles for step in steps):
            self._store.defer()
        parts = [part for step in steps for part in step.parts]
        arrivals = Arrivals(
            self._store,
            [part.drop_id for part in parts],
            most_drops=self._most_drops,
            unwrap=self._unwrap,
        )
        replies: list[wire.Reply] = []
        for request, step in zip(requests, steps, strict=True):
            record, order = self._known(request)
            if record.is_source:
                raise MoveRefused
            standings = [arrivals.take(part, record, order) for part in step.parts]
            replies.append(wire.Moving(request.id, standings))
        arrivals.stage()
        return replies

    def _land(
        self, record: MoveRecord, order: Order, told: Sequence[Standing], *, now: float
    ) -> None:
        found = self._store.find_all([one.drop_id for one in told])
        landing: dict[bytes, DropRecord] = {}
        for one in told:
            drop = found.get(one.drop_id, NOBODYS)
            if drop.move != record.number or drop.state == GONE:
                raise BrokenMove
            if drop.state == ARRIVING:
                self._must_have_come(drop, one)
                landing[one.drop_id] = drop
        self._store.set_state(landing.values(), HERE, record)
        self._store.note(*(MovedIn(*_entry(one, order.source, now)) for one in landing.values()))

    def _must_have_come(self, drop: DropRecord, told: Standing) -> None:
        if (drop.head, drop.digest) != (told.head, told.digest) or drop.cells < told.cells:
            raise BrokenMove
        if drop.cells > told.cells:  # some have expired at the source since they came
            cells, size = self._store.cut(drop, drop.head - told.cells)
            drop.cells -= cells
            drop.bytes -= size
            drop.oldest_day = drop.oldest_day if drop.cells else None
            self._store.save(drop)
        if (drop.cells, drop.bytes) != (told.cells, told.bytes):
            raise BrokenMove

    def _state(self, record: MoveRecord, order: Order) -> tuple[bytes, bytes]:
        """The signed statement of the drops that came, from the ledger. Anyone who compares the
        roots thereby compares both relays' ledgers."""
        for drop in self._store.of_move(record, ARRIVING, after=0, most=MAX_DROPS):
            if drop.cells:
                raise BrokenMove
            self._store.forget(drop)  # it was erased at the source before it could go
        came = (
            entry
            for entry in self._ledger.since(record.first_entry)
            if isinstance(entry, MovedIn) and entry.relay == order.source
        )
        return sign_statement(state_of(record.order, came), self._key)

    # The source

    def _freeze(self, drops: Sequence[bytes]) -> list[Standing]:
        found = self._store.find_all(drops)
        here = [one for one, drop in found.items() if drop.state == HERE]
        self._drops.frozen.update(here)
        self._store.hold(here)
        return [drop.standing() for drop in found.values()]

    def _release(
        self, record: MoveRecord, order: Order, told: Sequence[Standing], *, now: float
    ) -> None:
        destination = order.to.key
        found = self._store.find_all([one.drop_id for one in told])
        going: dict[bytes, DropRecord] = {}
        for one in told:
            drop = found.get(one.drop_id, NOBODYS)
            if drop.state == GONE and drop.move == record.number:
                continue
            if not drop.drop_id or drop.state != HERE:
                raise BrokenMove
            self._must_be_frozen(one.drop_id)
            if drop.standing() != one:
                # It is frozen for another mover, or some of its cells have expired since.
                raise RelayBusy(retry_after=0.0)
            going[one.drop_id] = drop
        self._store.set_state(going.values(), GONE, record)
        self._store.note(*(MovedOut(*_entry(one, destination, now)) for one in going.values()))
        if not record.is_closed:
            self._store.close_move(record)

    def _must_be_frozen(self, drop_id: bytes) -> None:
        if drop_id not in self._drops.frozen:
            raise RelayBusy(retry_after=0.0)  # too late: the mover freezes it again

    def _end(self, drops: Sequence[bytes], *, now: float) -> None:
        for drop_id in drops:
            drop = self._store.find(drop_id)
            if not drop.drop_id:
                continue
            if drop.state != HERE or drop.bucket or drop.cells or not drop.head:
                raise BrokenMove
            self._must_be_frozen(drop_id)
            self._store.forget(drop)
            self._store.note(Erased(drop_hash(drop_id), hour_of(now), 0, 0))

    def _erase(self, record: MoveRecord, *, now: float) -> list[Standing]:
        """Erase cells of drops that have gone, their keys first. Returns the standing of one of
        those drops while there may be more."""
        gone = self._store.gone(record, ERASE_DROPS)
        if not gone:
            # Nothing is staged now, so the deleted rows can leave the files' logs.
            self._store.shred(int(now // DAY_S))
            self._store.scrub()
            return []
        self._store.shred_drops(gone)
        room = ERASE_CELLS
        for drop in gone:
            if room <= 0:
                break
            cells, size = self._store.cut(drop, min(drop.head, drop.head - drop.cells + room))
            drop.cells -= cells
            drop.bytes -= size
            drop.oldest_day = drop.oldest_day if drop.cells else None
            self._store.save(drop)
            room -= cells
        return [gone[0].standing()]


def _shows(token: bytes, order: Order) -> bool:
    return hmac.compare_digest(moving.token_hash(token), order.token_hash)


def _entry(
    drop: DropRecord, relay: bytes, now: float
) -> tuple[bytes, int, bytes, int, bytes, int, int]:
    return (
        drop_hash(drop.drop_id),
        hour_of(now),
        relay,
        drop.head,
        drop.digest,
        drop.cells,
        drop.bytes,
    )
