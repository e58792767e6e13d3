"""The mover: brings all drops of a relay to another one, live (docs/protocol.md, section 18).

The mover is its own process beside the source, which keeps serving. It reads the source's files,
and both relays take the small steps that it asks for; it keeps no state itself. If the mover, a
relay or the connection between them ends, it asks both relays how their drops stand and goes on
from there.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self, TypeVar

from amanat.errors import (
    BadArgument,
    BrokenMove,
    MoveUnderWay,
    NoProfile,
    Unavailable,
)
from amanat.link import RETRY_S, Link, connect
from amanat.protocol import moving, wire
from amanat.protocol.cells import LARGE_CELL
from amanat.protocol.descriptor import NamedAddress
from amanat.protocol.ledger import MovedOut, hour_of
from amanat.protocol.moving import (
    ARRIVING,
    GONE,
    HERE,
    MAX_DROPS,
    MOVE_ID_BYTES,
    Order,
    Part,
    Standing,
    Statement,
    certify,
    move_token,
    open_order,
    open_statement,
    sign_order,
    state_of,
    token_hash,
)
from amanat.protocol.places import MAX_PLACES
from amanat.region import notice
from amanat.relay.directory import RelayDirectory, replace
from amanat.relay.store.reader import SqliteReader

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from amanat.protocol.ledger import Entry
    from amanat.protocol.moving import ShredKey, WrappedCell
    from amanat.relay.records import DropRecord, MoveRecord

T = TypeVar("T")

FRAME_BYTES = LARGE_CELL - 4096
"""Bytes of parts in one frame, if they are not one large cell: with the framing around the cells,
they must not be longer than a relay reads."""
PART_BYTES = 300
"""Most bytes of a part besides its cells and keys."""
KEY_BYTES = 60
"""Most bytes of a key in a part."""
WINDOW = 256
"""Frames under way at once: a few commits of the destination, which then never waits for more."""
PAUSE_S = 0.02
"""Seconds for which a drop should be frozen: the more go at once, the longer each waits."""
FIRST_DROPS = 8
"""Drops frozen at once in the first step; later, as many as take PAUSE_S."""
PATIENCE_S = 3600.0
"""Seconds for which a relay may be away before the mover gives up."""
RECORDS = 1000
"""Drops read from the source's files at a time."""
TELL_S = 0.2
"""Seconds between two reports of progress."""


class Done(NamedTuple):
    """The progress of a move."""

    phase: str
    """"copy", "switch" or "erase"."""
    drops: int
    drops_total: int
    bytes: int
    bytes_total: int


class Report(NamedTuple):
    """The outcome of a move; field names are the JSON keys. Pauses are those of a drop's writers in
    this run of the mover, in milliseconds."""

    move: str
    drops: int
    cells: int
    bytes: int
    longest_pause_ms: float
    p99_pause_ms: float
    seconds: float
    certificate: str
    """The path of the move certificate."""


class Reader(Protocol):
    """The source's store, read beside the relay."""

    def close(self) -> None:
        """Close it."""

    def moves(self) -> list[MoveRecord]:
        """The moves in which the relay takes or took part, in order."""

    def look(self, drop_id: bytes) -> DropRecord:
        """A drop as it is now, or NOBODYS."""

    def entries(self, place: int) -> Iterator[Entry]:
        """The entries of the ledger, from an index on."""

    def total(self, *, state: int) -> tuple[int, int, int]:
        """(drops in a state, their cells, bytes of these)."""

    def records(self, *, after: int, most: int) -> list[DropRecord]:
        """The first `most` drops with a number above `after`."""

    def wrapped(
        self, drop: DropRecord, *, after: int, max_cells: int, max_bytes: int
    ) -> tuple[int, bytes, list[WrappedCell], list[ShredKey]]:
        """The first wrapped cells after a seq, up to the record's head: (the seq before the first,
        the digest there, the cells, the keys that open them)."""


def _reader(directory: RelayDirectory) -> Reader:
    if directory.config.store:
        from amanat.relay.cluster import (  # noqa: PLC0415  # its client loads slowly
            ClusterReader,
            open_cluster,
        )

        return ClusterReader(open_cluster(directory))
    if not (directory.path / "drops.sqlite").exists():
        raise NoProfile(f"{directory.path}: the relay has never run")
    return SqliteReader(directory.path)


class Mover:
    """One move of the relay in a directory."""

    def __init__(
        self,
        directory: Path,
        *,
        clock: Callable[[], float],
        rate: int = 0,
        progress: Callable[[Done], None] = lambda _: None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """`clock` tells Unix seconds; `rate` is in bytes a second; 0: as fast as both relays can.

        Raises NoProfile, BadSetting, StoreDamaged, StoreTooNew or StoreTooOld.
        """
        self._directory = RelayDirectory.open(directory)
        self._reader = _reader(self._directory)
        self._clock = clock
        self._rate = rate
        self._progress = progress
        self._patience_s = patience_s
        self._pauses: list[float] = []
        self._carried = 0
        self._began = time.monotonic()
        self._told = 0.0
        self._signed = b""
        self._to: NamedAddress | None = None
        """The destination, as the operator has named it this time."""
        self._arrived: dict[bytes, Standing] = {}
        """The standings of drops at the destination, as it last reported them."""
        self._most = 1
        """Frames that may be under way at once."""
        self._done = Done("copy", 0, 0, 0, 0)

    def close(self) -> None:
        """Close the source's files."""
        self._reader.close()

    def under_way(self) -> MoveRecord | None:
        """The move that has begun and has no certificate yet."""
        for record in self._reader.moves():
            if record.is_source and not self._certificate(record.move).exists():
                return record
        return None

    def _certificate(self, move: bytes) -> Path:
        return self._directory.path / f"move-{move.hex()}.certificate"

    async def move(self, to: NamedAddress | None, *, is_resumed: bool) -> Report:
        """Move everything to a relay, or go on with the move that is under way.

        Raises NoticeRuns, MoveUnderWay, BadArgument, MoveRefused, BrokenMove, BrokenDescriptor,
        RelayKeyChanged or, when its patience ends, RelayUnreachable or another error of a relay.
        """
        record, self._to = self.under_way(), to
        if record is not None and not is_resumed:
            raise MoveUnderWay
        if record is not None:
            self._signed = record.order
            if to is not None and open_order(record.order).to.key != to.key:
                raise BadArgument(f"the move under way goes to {open_order(record.order).to}")
        elif to is None or is_resumed:
            raise BadArgument("no move is under way")
        else:
            notice.check(self._directory.path, to, now=self._clock())
            self._signed = await self._order(to)
        certificate = await self._patiently(self._go)
        statement = moving.open_certificate(certificate)[1]
        order = open_order(self._signed)
        path = self._certificate(order.move)
        replace(path, certificate)
        pauses = sorted(self._pauses) or [0.0]
        return Report(
            order.move.hex(),
            statement.drops,
            statement.cells,
            statement.bytes,
            1000 * pauses[-1],
            1000 * pauses[int(0.99 * (len(pauses) - 1))],
            time.monotonic() - self._began,
            str(path),
        )

    async def abandon(self) -> None:
        """Undo the move that is under way, if no drop has gone by it. Raises BadArgument if there
        is none, or BrokenMove if a drop has gone."""
        record = self.under_way()
        if record is None:
            raise BadArgument("no move is under way")
        if record.is_closed:
            raise BrokenMove("drops have gone: go on with --resume")
        self._signed = record.order

        async def undo(source: _Steps, destination: _Steps) -> None:
            await source.take(moving.Begin(self._signed, b""))
            await destination.take(moving.Begin(self._signed, self._directory.bucket_key))
            await destination.take(moving.Abandon())
            await source.take(moving.Abandon())

        await self._patiently(undo)

    def _destination(self, order: Order) -> NamedAddress:
        """The destination's address: first the operator's places for it, then its own."""
        places = order.to.places
        if self._to is not None:
            places = (*self._to.places, *places)
        return NamedAddress.of(order.to.key, *tuple(dict.fromkeys(places))[:MAX_PLACES])

    async def _order(self, to: NamedAddress) -> bytes:
        """A new signed order."""
        link = await connect(to)
        try:
            described = await link.describe(to.key)
        finally:
            await link.closed()
        move, key = secrets.token_bytes(MOVE_ID_BYTES), self._directory.identity
        regions = [self._directory.config.region]
        for record in self._reader.moves():
            if not record.is_source:
                came = open_order(record.order).regions
                regions += [region for region in came if region not in regions]
        try:
            order = Order(
                move=move,
                source=key.public_key().public_bytes_raw(),
                to=described.address,
                region=described.region,
                regions=regions,
                token_hash=token_hash(move_token(key.private_bytes_raw(), move)),
                began=hour_of(self._clock()),
            )
        except ValueError as error:
            raise BadArgument(str(error)) from None
        return sign_order(order, key)

    async def _patiently(self, work: Callable[[_Steps, _Steps], Awaitable[T]]) -> T:
        """Do some work with both relays, again and again until neither is away or busy
        meanwhile."""
        order = open_order(self._signed)
        token = move_token(self._directory.identity.private_bytes_raw(), order.move)
        own = self._directory.address(self._directory.config.port)
        since, pause = time.monotonic(), RETRY_S[0]
        while True:
            links: list[Link] = []
            before = self._carried, len(self._pauses)
            try:
                links.append(await connect(own))
                links.append(await connect(self._destination(order)))
                source, destination = (_Steps(link, order.move, token) for link in links)
                return await work(source, destination)
            except Unavailable:
                if (self._carried, len(self._pauses)) != before:
                    since, pause = time.monotonic(), RETRY_S[0]
                if time.monotonic() - since > self._patience_s:
                    raise
                await asyncio.sleep(pause)
                pause = min(2 * pause, RETRY_S[1])
            finally:
                for link in links:
                    await link.closed()

    async def _go(self, source: _Steps, destination: _Steps) -> bytes:
        """Carry out the whole move, from its present state; returns its certificate."""
        order = open_order(self._signed)
        await source.take(moving.Begin(self._signed, b""))
        await destination.take(moving.Begin(self._signed, self._directory.bucket_key))
        self._most = await destination.window(order.to.key)
        self._arrived = await _survey(destination)
        gone, here = (self._reader.total(state=state) for state in (GONE, HERE))
        self._done = Done("copy", gone[0], gone[0] + here[0], 0, self._carried + here[2])
        await self._land_what_has_gone(destination)
        await self._copy(destination)
        while await self._switch(source, destination):
            pass
        answer = await destination.ask(moving.State())
        statement = open_statement(answer.statement, answer.signature, order)
        self._compare(statement, order)
        while await source.take(moving.Erase()):
            self._tell("erase")
        return certify(
            answer.statement,
            answer.signature,
            erased=hour_of(self._clock()),
            key=self._directory.identity,
        )

    def _compare(self, came: Statement, order: Order) -> None:
        """Raise BrokenMove unless the drops that came are those that went by the source's own
        ledger."""
        (record,) = [one for one in self._reader.moves() if one.move == order.move]
        went = state_of(
            self._signed,
            (
                entry
                for entry in self._reader.entries(record.first_entry)
                if isinstance(entry, MovedOut) and entry.relay == order.to.key
            ),
        )
        if (went.drops, went.cells, went.bytes, went.root) != (
            came.drops,
            came.cells,
            came.bytes,
            came.root,
        ):
            raise BrokenMove("the drops that came are not those that went")

    # Copying, while everything goes on

    async def _copy(self, destination: _Steps) -> None:
        """Carry the cells that the destination lacks, drop by drop."""
        held = (record for drops in self._drops() for record in drops if record.cells)
        await self._bring(destination, held, settles=False)
        # The mover releases nothing while the destination may still forget the cells that it has.
        await destination.take(moving.Carry([], settles=True))

    async def _bring(
        self, destination: _Steps, drops: Iterable[DropRecord], *, settles: bool
    ) -> None:
        """Bring the destination every cell of these drops that it lacks."""
        async with _Window(destination, self._arrived, self._most, settles=settles) as window:
            for record in drops:
                await self._carry(window, record)
                self._tell("switch" if settles else "copy")

    def _drops(self) -> Iterator[list[DropRecord]]:
        """The drops that are still at the source, in lists of some."""
        after = 0
        while found := self._reader.records(after=after, most=RECORDS):
            after = found[-1].number
            yield [record for record in found if record.state == HERE]

    async def _carry(self, window: _Window, record: DropRecord) -> None:
        """Put the cells of a drop that the destination lacks into the window, if it lacks any."""
        known = self._arrived.get(record.drop_id)
        after = known.head if known else 0
        is_new = known is None
        while is_new or after < record.head:
            room = FRAME_BYTES - window.size - PART_BYTES
            if room < FRAME_BYTES // 8:
                await window.send()
                room = FRAME_BYTES - PART_BYTES
            part = self._part(record, after, is_new=is_new, room=room)
            if part.cells and window.size and len(part.cells[0].wrapped) > room:
                await window.send()
                continue
            is_new = False
            after = part.before + len(part.cells)
            window.add(part)
            self._carried += sum(len(cell.wrapped) for cell in part.cells)
            await self._keep_to_rate()

    def _part(self, record: DropRecord, after: int, *, is_new: bool, room: int) -> Part:
        before, digest, cells, keys = self._reader.wrapped(
            record, after=after, max_cells=MAX_DROPS, max_bytes=room
        )
        return Part(
            drop_id=record.drop_id,
            append_hash=record.append_hash,
            read_hash=record.read_hash,
            retention_days=record.retention_days,
            bucket=record.bucket,
            bound=record.bound,
            last_day=record.last_day,
            is_first=is_new or after == 0 or before > after,
            before=before,
            digest=digest,
            keys=keys,
            cells=cells,
        )

    async def _keep_to_rate(self) -> None:
        if self._rate:
            ahead = self._carried / self._rate - (time.monotonic() - self._began)
            if ahead > 0:
                await asyncio.sleep(ahead)

    # Switching, a few drops at a time

    async def _land_what_has_gone(self, destination: _Steps) -> None:
        """Land drops that have gone: an earlier mover may have ended before they landed."""
        waiting = [one for one in self._arrived.values() if one.state == ARRIVING]
        gone = [self._reader.look(one.drop_id) for one in waiting]
        landing = [record.standing() for record in gone if record.state == GONE]
        for first in range(0, len(landing), MAX_DROPS):
            await destination.take(moving.Land(landing[first:][:MAX_DROPS]))

    async def _switch(self, source: _Steps, destination: _Steps) -> bool:
        """Let the drops that are at the source go. Returns whether there were any."""
        most, found = FIRST_DROPS, False
        for drops in self._drops():
            found = found or bool(drops)
            # Bring the cells written since the copy: the few that come from here on, until the
            # drops are frozen, take milliseconds.
            await self._bring(destination, [one for one in drops if one.cells], settles=True)
            done = 0
            while batch := drops[done:][:most]:
                pause = await self._let_go(source, destination, batch)
                done += len(batch)
                if len(batch) == most or pause > PAUSE_S:
                    change = min(max(PAUSE_S / pause, 0.5), 2)
                    most = min(max(int(most * change), 1), MAX_DROPS)
        return found

    async def _let_go(
        self, source: _Steps, destination: _Steps, drops: Sequence[DropRecord]
    ) -> float:
        """Freeze drops, carry their last cells, let them go and land. Returns the seconds for which
        writers waited. Drops in which every cell has expired, buckets excepted, end here."""
        began = time.monotonic()
        buckets = {record.drop_id for record in drops if record.bucket}
        frozen = await source.take(moving.Freeze([record.drop_id for record in drops]))
        ended = [
            one.drop_id
            for one in frozen
            if one.state == HERE
            and one.head
            and not one.cells
            and one.drop_id not in buckets
            # A drop that has come there in part lands and is cut: no half of it is left behind.
            and one.drop_id not in self._arrived
        ]
        if ended:
            await source.take(moving.End(ended))
        frozen = [one for one in frozen if one.drop_id not in ended]
        lacking = [
            one.drop_id
            for one in frozen
            if (known := self._arrived.get(one.drop_id)) is None or known.head < one.head
        ]
        await self._bring(destination, map(self._reader.look, lacking), settles=True)
        going = [one for one in frozen if one.state == HERE]
        for one in going:
            there = self._arrived[one.drop_id]
            if (there.head, there.digest) != (one.head, one.digest) or there.cells < one.cells:
                raise BrokenMove("a drop has not come as it went")
        await source.take(moving.Release(going))
        await destination.take(moving.Land(going))
        await source.take(moving.Thaw())
        pause = time.monotonic() - began
        self._pauses += [pause] * len(going)
        self._done = self._done._replace(drops=self._done.drops + len(going) + len(ended))
        self._tell("switch")
        return pause

    def _tell(self, phase: str) -> None:
        if time.monotonic() - self._told >= TELL_S:
            self._told = time.monotonic()
            self._progress(self._done._replace(phase=phase, bytes=self._carried))


class _Steps:
    """The steps of one move at one relay."""

    def __init__(self, link: Link, move: bytes, token: bytes) -> None:
        self._link = link
        self._move = move
        self._token = token

    async def ask(self, step: moving.Step) -> wire.Moving:
        return await self._link.request(wire.Move(0, self._move, self._token, step), wire.Moving)

    async def take(self, step: moving.Step) -> list[Standing]:
        return (await self.ask(step)).drops

    async def window(self, relay: bytes) -> int:
        """The number of steps that may be under way at once at this relay."""
        limits = (await self._link.describe(relay)).limits
        return max(min(WINDOW, limits.requests_in_flight // 2), 1)


class _Window:
    """Parts on their way, several frames at once."""

    def __init__(
        self, destination: _Steps, arrived: dict[bytes, Standing], most: int, *, settles: bool
    ) -> None:
        """`most` bounds the frames under way; `arrived` gets the standing of each drop."""
        self._destination = destination
        self._arrived = arrived
        self._most = most
        self._settles = settles
        self._parts: list[Part] = []
        self._under_way: list[asyncio.Task[list[Standing]]] = []
        self.size = 0
        """Bytes of the parts that wait until their frame is full."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if kind is None:
                await self.send()
                while self._under_way:
                    await self._hear()
        finally:
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)

    def add(self, part: Part) -> None:
        self._parts.append(part)
        self.size += PART_BYTES + KEY_BYTES * len(part.keys)
        self.size += sum(len(cell.wrapped) + 8 for cell in part.cells)

    async def send(self) -> None:
        """Send the waiting parts; wait while too many frames are on their way."""
        if not self._parts:
            return
        carry = moving.Carry(self._parts, self._settles)
        self._under_way.append(asyncio.create_task(self._destination.take(carry)))
        self._parts, self.size = [], 0
        if len(self._under_way) >= self._most:
            await self._hear()

    async def _hear(self) -> None:
        self._arrived.update((one.drop_id, one) for one in await self._under_way.pop(0))


async def _survey(destination: _Steps) -> dict[bytes, Standing]:
    """The standings of all drops that have come, by their ids."""
    found: dict[bytes, Standing] = {}
    after = b""
    while page := await destination.take(moving.Survey(after)):
        found |= {one.drop_id: one for one in page}
        after = page[-1].drop_id
    return found
