"""The asyncio shell of a relay: sockets, threads and the clock around the rules in drops.py.

Writes of all connections queue up and are made durable together: what has come is staged as one
batch, committed in a thread while the loop goes on reading sockets, and only then answered.

A *reader* is a Read, which wants one answer, or a Follow, which wants them all. It is *live* when
it has been told everything committed: then new cells reach it from memory, encoded once for all
readers of the drop. Otherwise it is served from the store, a slice at a time, in turn with the
others. When its connection has no room it is *parked* until there is, and a Follow without credit
is not served until it has some: what waits for a slow reader waits in the store, not in memory.

No network address is ever asked for here, and what libraries would log of one is thrown away.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import hmac
import logging
import resource
import secrets
import signal
import socket
import time
import traceback
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from math import inf
from typing import TYPE_CHECKING, TypeAlias

import msgspec
import picows
import uvloop

from amanat.errors import (
    AmanatError,
    BadSetting,
    Draining,
    MalformedFrame,
    PeerError,
    PortTaken,
    RelayBusy,
)
from amanat.protocol import wire
from amanat.protocol.descriptor import Descriptor, Limits, Notice, parse_address, sign_descriptor
from amanat.protocol.moving import Abandon, Begin, Carry, Erase, Freeze, Release, Step, Thaw
from amanat.protocol.rounds import publish_at
from amanat.protocol.sealing import open_request, seal_answer
from amanat.relay.drops import BUSY_RETRY_S, Drops, refusal
from amanat.relay.home import Home, SealingKeys, interface, locked, read_notice
from amanat.relay.hop import Guest, Hop
from amanat.relay.ledger import Ledger
from amanat.relay.metrics import Metrics
from amanat.relay.moving import Moves
from amanat.relay.store_sqlite import SqliteStore, unwrap_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from amanat.protocol.descriptor import RelayAddress

HANDSHAKE_S = 10.0
"""Longest a connection may take to finish TLS, and again to ask for the WebSocket, in seconds."""
PING_S = 60.0
"""Idle seconds after which a client is asked whether it is still there. At least PONG_S."""
PONG_S = 60.0
"""Seconds it has to answer: on a slow line the question waits behind HIGH_WATER_BYTES of cells."""
BATCH_CELLS = 512
"""Most writes of one commit: staging them stops the loop for some milliseconds."""
BATCH_BYTES = 512 * 1024
"""Bytes of frames after which a commit takes no more: what lands in a drop is one frame for every
reader, and must stay well below wire.MAX_REPLY_BYTES."""
CARRY_BYTES = 4 * 1024 * 1024
"""The same of cells that a move brings, which nobody reads yet. Whoever writes to another drop
waits for about a tenth of a second; with smaller commits a move takes longer."""
HIGH_WATER_BYTES = 256 * 1024
"""Bytes that may wait for one connection's socket before it is given no more cells and its requests
are not read."""
TLS_BUFFER_BYTES = 4 * (16 * 1024 + 64)
"""What TLS keeps for each connection and direction, in bytes: four records, since the buffers of a
few hundred readers then stay in the processor's cache."""
EXPIRY_S = 3600
"""Seconds between two expiries: on the hour, so that one is right after midnight."""
CLOSE_S = 5.0
"""Longest that draining waits for clients to take their last answers, in seconds."""
DRAINING_RETRY_S = 10.0
"""Seconds after which a client may try again when the relay shuts down: a restart takes less."""
BACKLOG = 1024
"""Connections the system may hold for us while the loop is busy: everyone comes back at once after
a restart."""
JUMP_S = 3600.0
"""Seconds by which the clock may be put forward or back and is followed at once."""
JUMP_PATIENCE_S = 86_400.0
"""Seconds for which a clock that was put further is not: what it would end could not be had back,
and who runs the relay, or its time service, has a day to notice."""
FREEZE_S = 2.0
"""Longest that writers wait for frozen drops, in seconds: whoever moves these may have ended."""
SPARE_FILES = 64
"""Open files that are not connections: stores, their logs, listening sockets."""

SEALABLE = (
    wire.Describe | wire.Create | wire.Append | wire.Read | wire.Publish | wire.Page | wire.Consult
)
"""What may be in a sealed request."""

logger = logging.getLogger("amanat.relay")

Write: TypeAlias = wire.Create | wire.Append | wire.Move


def run(directory: Path, *, ready: Callable[[RelayAddress], None] = lambda _: None) -> None:
    """Run the relay in a directory until SIGTERM or SIGINT; `ready` is told its address.

    Raises NoProfile, BadSetting, PortTaken, ProfileInUse, StoreTooNew, StoreDamaged or DiskFull.
    """
    home = Home.open(directory)
    _scrub_logs()
    with (
        locked(directory),
        contextlib.closing(SqliteStore(directory)) as store,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(Relay(home, store).serve(ready))


class Relay:
    """A running relay."""

    def __init__(self, home: Home, store: SqliteStore) -> None:
        self.limits = home.config.limits
        self.metrics = Metrics()
        self.connections: set[Connection] = set()
        self.in_flight = 0
        self.readers = 0
        self.draining = False
        self._home = home
        self._clock = Clock(time.time(), _running())
        self._drops = Drops(
            store, region=home.config.region, bucket_key=home.bucket_key, limits=self.limits
        )
        self.ledger = Ledger(store, home.identity)
        self._moves = Moves(
            store,
            self._drops,
            self.ledger,
            home.identity,
            region=home.config.region,
            most_drops=self.limits.drops,
            accepts=[parse_address(one).key for one in home.config.moving.sources],
            unwrap=unwrap_all,
        )
        self._sealing = SealingKeys(home.directory, now=self._now())
        self._key = home.identity.public_key().public_bytes_raw()
        self.hop = Hop(
            home.config.hop,
            self._key,
            most_bytes=self.limits.bytes_in_flight_total,
            clock=self._now,
        )
        self.errands: set[asyncio.Task[None]] = set()
        """What is being asked of other relays."""
        self._described: tuple[int, bytes, Notice | None, bytes] = (0, b"", None, b"")
        self._queue: deque[tuple[Connection, Write, int]] = deque()
        # Steps of moves wait apart: nobody's writes wait behind all that a move brings.
        self._steps: deque[tuple[Connection, wire.Move, int]] = deque()
        self._queued_bytes = 0
        self._round: list[tuple[Connection, Write, int]] = []
        """Writes that wait for the end of the round."""
        self._held: list[tuple[Connection, Write, int]] = []
        """Writes that wait for frozen drops."""
        self._freeze: asyncio.TimerHandle | None = None
        self._work = asyncio.Event()
        # Held while anything is staged: commits and expiry take turns.
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._live: dict[bytes, set[Reader]] = {}
        self._behind: deque[Reader] = deque()

    async def serve(self, ready: Callable[[RelayAddress], None]) -> None:
        """Serve until a signal asks to stop, then drain."""
        config, loop = self._home.config, asyncio.get_running_loop()
        loop.set_exception_handler(_log_loop_error)
        sockets = self.limits.connections + self.limits.handshakes
        _allow_files(sockets + SPARE_FILES)
        self.ledger.begin(now=self._now())
        self._drops.open_buckets(config.buckets, now=self._now())
        await self._in_turns(self.ledger.seal(), "checkpoint")
        tls = self._home.tls()
        if config.metrics_port:
            await self.metrics.serve(_bound("127.0.0.1", config.metrics_port))
        server = await picows.ws_create_server(
            self._welcome,
            sock=_listen(interface(config), config.port, sockets),
            ssl=tls,
            ssl_handshake_timeout=HANDSHAKE_S if tls else None,
            ssl_incoming_bio_size=TLS_BUFFER_BYTES if tls else None,
            ssl_outgoing_bio_size=TLS_BUFFER_BYTES if tls else None,
            websocket_handshake_timeout=HANDSHAKE_S,
            enable_auto_ping=True,
            auto_ping_idle_timeout=PING_S,
            auto_ping_reply_timeout=PONG_S,
            max_frame_size=wire.MAX_REQUEST_BYTES,
            backlog=BACKLOG,
        )
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        async with asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(self._write())
            expiring = tasks.create_task(self._expire())
            ready(self._home.address(server.sockets[0].getsockname()[1]))
            await stop.wait()
            logger.info("draining")
            server.close()
            self.draining = True
            self._end_round()
            await writing
            expiring.cancel()
        await self._in_turns(self.ledger.seal(), "checkpoint")
        for errand in self.errands:
            errand.cancel()
        await self._close_all()
        self.hop.close()
        self._thread.shutdown()

    def _now(self) -> float:
        return self._clock.believe(time.time(), _running())

    # Connections

    def _welcome(
        self, request: picows.WSUpgradeRequest
    ) -> picows.WSListener | picows.WSUpgradeResponseWithListener | None:
        if request.path != wire.PATH.encode():
            return None
        error: AmanatError
        if self.draining:
            error = Draining(retry_after=DRAINING_RETRY_S)
        elif len(self.connections) >= self.limits.connections:
            error = RelayBusy(retry_after=BUSY_RETRY_S)
        else:
            return Connection(self)
        self.metrics.failed.labels(error.code).inc()
        return picows.WSUpgradeResponseWithListener(
            picows.WSUpgradeResponse.create_error_response(
                503, error.code.encode(), {"Retry-After": f"{error.retry_after:.0f}"}
            ),
            None,
        )

    async def _close_all(self) -> None:
        for connection in tuple(self.connections):
            for reader in tuple(connection.readers.values()):
                connection.end(reader)
                connection.refuse(reader.request, Draining(retry_after=DRAINING_RETRY_S))
            connection.close(picows.WSCloseCode.SERVICE_RESTART, Draining.code)
        closing = [asyncio.ensure_future(one.closed()) for one in self.connections]
        if closing:
            await asyncio.wait(closing, timeout=CLOSE_S)
        for connection in tuple(self.connections):
            connection.abort()

    def tell(self, request: wire.Describe | wire.Consult) -> wire.Reply:
        """What the relay says of itself. Raises NotInLedger."""
        if isinstance(request, wire.Consult):
            return wire.Consulted(request.id, self.ledger.part(request.path))
        return self.describe(request)

    def describe(self, request: wire.Describe) -> wire.Described:
        """The signed descriptor, and the bucket key for whoever has access."""
        home, config, hour = self._home, self._home.config, int(self._now()) // 3600
        checkpoint, notice = self.ledger.checkpoint, self._read_notice()
        if self._described[:3] != (hour, checkpoint, notice):
            descriptor = Descriptor(
                key=self._key,
                region=config.region,
                operator=config.operator,
                buckets=config.buckets,
                people_per_bucket=config.people_per_bucket,
                access=config.access,
                issued_at=hour * 3600,
                limits=Limits(
                    cells_per_drop=self.limits.cells_per_drop,
                    bytes_per_drop=self.limits.bytes_per_drop,
                    connections=self.limits.connections,
                    requests_in_flight=self.limits.requests_in_flight,
                ),
                sealing=self._sealing.public,
                is_hop=self.hop.is_served,
                checkpoint=checkpoint,
                notice=notice,
                outbound=config.outbound,
            )
            signed = sign_descriptor(descriptor, home.identity)
            self._described = (hour, checkpoint, notice, signed)
        invited = hmac.compare_digest(request.access, home.access_code)
        invited = invited or self._drops.admits(request.access)
        bucket_key = home.bucket_key if invited or config.access == "open" else b""
        return wire.Described(request.id, self._described[3], bucket_key)

    def _read_notice(self) -> Notice | None:
        try:
            return read_notice(self._home.directory)
        except AmanatError as error:
            logger.error("notice: %s", error.code)  # noqa: TRY400  # a trace says no more
            return None

    def open(self, request: wire.Sealed) -> tuple[wire.Request, bytes]:
        """(the request in a sealed one, with its id; the key of its answer).

        Raises BrokenSeal, MalformedFrame or FrameTooLarge.
        """
        frame, answer_key = open_request(request.sealed, self._sealing.privates, relay=self._key)
        inner = wire.decode_request(frame)
        # What is answered more than once, or goes on, cannot be sealed.
        if inner.id or not isinstance(inner, SEALABLE):
            raise MalformedFrame
        return wire.with_id(inner, request.id), answer_key

    def _rotate(self) -> None:
        try:
            self._sealing.rotate(now=self._now())
        except AmanatError as error:  # the old keys serve on, and the next hour tries again
            logger.error("rotation failed: %s", error.code)  # noqa: TRY400  # a trace says no more

    # Writing

    def check_step(self, request: wire.Move) -> None:
        """Raises BrokenMove or MoveRefused unless whoever asks may take this step."""
        self._moves.check(request)

    def write(self, connection: Connection, request: Write, frame_bytes: int) -> None:
        """Queue a write. Raises RelayBusy when too many bytes wait for the disk."""
        self._take(frame_bytes)
        if isinstance(request, wire.Move):
            self._steps.append((connection, request, frame_bytes))
        else:
            self._queue.append((connection, request, frame_bytes))
        self._work.set()

    def publish(self, connection: Connection, request: wire.Publish, frame_bytes: int) -> None:
        """Append when the round ends. Raises RelayBusy when too many bytes wait."""
        self._take(frame_bytes)
        if not self._round:
            now = self._now()
            asyncio.get_running_loop().call_later(publish_at(now) - now, self._end_round)
        append = wire.Append(request.id, request.drop_id, request.append_token, request.cell)
        self._round.append((connection, append, frame_bytes))

    def _end_round(self) -> None:
        writes, self._round = self._round, []
        secrets.SystemRandom().shuffle(writes)  # their order, too, would tell who came when
        self._queue.extend(writes)
        self._work.set()

    def _take(self, frame_bytes: int) -> None:
        if self._queued_bytes + frame_bytes > self.limits.bytes_in_flight_total:
            raise RelayBusy(retry_after=BUSY_RETRY_S)
        self._queued_bytes += frame_bytes

    async def _write(self) -> None:
        while self._queue or self._steps or not self.draining:
            await self._work.wait()
            self._work.clear()
            while self._queue or self._steps:
                for next_batch in (self._next_writes, self._next_steps):
                    async with self._turn:
                        if batch := next_batch():
                            await self._commit(batch)

    def _next_writes(self) -> list[tuple[Connection, Write]]:
        batch: list[tuple[Connection, Write]] = []
        taken = 0
        while self._queue and len(batch) < BATCH_CELLS and taken < BATCH_BYTES:
            connection, request, frame_bytes = self._queue[0]
            if isinstance(request, wire.Append) and request.drop_id in self._drops.frozen:
                self._held.append(self._queue.popleft())
                continue
            self._queue.popleft()
            batch.append((connection, request))
            taken += frame_bytes
        self._queued_bytes -= taken
        return batch

    def _next_steps(self) -> list[tuple[Connection, wire.Move]]:
        """One step, or as many as only bring cells."""
        batch: list[tuple[Connection, wire.Move]] = []
        taken = 0
        while self._steps and len(batch) < BATCH_CELLS and taken < CARRY_BYTES:
            connection, request, frame_bytes = self._steps[0]
            if batch and not all(isinstance(one.step, Carry) for one in (batch[0][1], request)):
                break
            self._steps.popleft()
            batch.append((connection, request))
            taken += frame_bytes
        self._queued_bytes -= taken
        return batch

    async def _commit(self, batch: Sequence[tuple[Connection, Write]]) -> None:
        started, loop = time.perf_counter(), asyncio.get_running_loop()
        requests = [request for _, request in batch]
        steps = [request for request in requests if isinstance(request, wire.Move)]
        replies: list[wire.Reply] = []
        landed: dict[bytes, wire.Cells] = {}
        try:
            if steps:
                if isinstance(steps[0].step, Begin | Erase):
                    self._thaw()  # who froze them has ended, and they can be read no longer
                # In the thread: opening what a move brings, or reading the ledger, takes longer
                # than the loop may stand still.
                take = functools.partial(self._moves.take, steps, now=self._now())
                replies = await loop.run_in_executor(self._thread, take)
                if isinstance(steps[0].step, Begin | Release | Abandon):
                    self._drops.know_moves()
            else:
                writes = [request for request in requests if not isinstance(request, wire.Move)]
                replies, landed = self._drops.write(writes, now=self._now())
                await loop.run_in_executor(self._thread, self._drops.commit)
        except AmanatError as error:
            logger.error("commit failed: %s", error.code)  # noqa: TRY400  # a trace says no more
            replies, landed = [refusal(request.id, error) for request in requests], {}
        for step in steps:
            self._after(step.step)
        connections = [connection for connection, _ in batch]
        if steps:
            # The thread need not wait for this with the next ones.
            loop.call_soon(_answer, connections, replies)
        else:
            _answer(connections, replies)
        for drop_id, cells in landed.items():
            self._publish(drop_id, cells)
        self.metrics.waiting_writes.set(len(self._queue) + len(self._steps))
        self.metrics.commit_seconds.observe(time.perf_counter() - started)

    def _after(self, step: Step) -> None:
        """Let writers wait for frozen drops, but not for long, or no longer."""
        if isinstance(step, Freeze):
            if self._freeze is not None:
                self._freeze.cancel()
            self._freeze = asyncio.get_running_loop().call_later(FREEZE_S, self._thaw)
        elif isinstance(step, Thaw):
            self._thaw()

    def _thaw(self) -> None:
        thawed = tuple(self._drops.frozen)
        self._drops.frozen.clear()
        self._queue.extendleft(reversed(self._held))
        self._held.clear()
        self._work.set()
        for drop_id in thawed:
            for reader in tuple(self._live.get(drop_id, ())):
                self.catch_up(reader)  # if the drop has gone, this tells it where

    async def _expire(self) -> None:
        while True:
            self._rotate()  # what must not be opened any more ends, whether anybody asks or not
            await self._in_turns(self._drops.expire(now=self._now()), "expiry")
            await asyncio.sleep(EXPIRY_S - self._now() % EXPIRY_S)
            # Not before: entries tell hours, and a checkpoint after a start would tell of minutes.
            await self._in_turns(self.ledger.seal(), "checkpoint")

    async def _in_turns(self, steps: Iterator[bool], what: str) -> None:
        """Take the steps of something long, by turns with commits. The next hour tries again what
        fails."""
        loop = asyncio.get_running_loop()
        try:
            more = True
            while more:
                async with self._turn:
                    more = await loop.run_in_executor(self._thread, next, steps, False)
        except AmanatError as error:
            logger.error("%s failed: %s", what, error.code)  # noqa: TRY400  # a trace says no more

    # Reading

    def catch_up(self, reader: Reader) -> None:
        """Serve a reader from the store, when its turn comes and its connection has room."""
        self.leave(reader)
        if reader.credit <= 0:
            return  # until it is granted more
        if not reader.connection.has_room():
            reader.connection.parked.append(reader)
            return
        self._behind.append(reader)
        if len(self._behind) == 1:
            asyncio.get_running_loop().call_soon(self._serve_next)

    def leave(self, reader: Reader) -> None:
        """Tell a reader of no more new cells."""
        if reader.timer is not None:
            reader.timer.cancel()
            reader.timer = None
        live = self._live.get(reader.request.drop_id, set())
        live.discard(reader)
        if not live:
            self._live.pop(reader.request.drop_id, None)

    def _serve_next(self) -> None:
        reader = self._behind.popleft()
        if self._behind:
            asyncio.get_running_loop().call_soon(self._serve_next)
        connection, request = reader.connection, reader.request
        if connection.readers.get(request.id) is not reader:
            return  # it ended while it waited for its turn
        if not connection.has_room():
            connection.parked.append(reader)
            return
        try:
            cells = self._drops.read(request, after=reader.after, now=self._now())
        except AmanatError as error:
            connection.end(reader)
            connection.refuse(request, error)
            return
        self.metrics.delivered.inc(len(cells.cells))
        caught_up = cells.first + len(cells.cells) > cells.head
        if isinstance(request, wire.Read | wire.Page):
            if cells.cells or reader.patience <= 0 or reader.after > cells.head:
                connection.end(reader)
                connection.reply(cells)
                return
        elif cells.cells or not reader.served:
            reader.credit -= connection.reply(cells)
        reader.served = True
        reader.after = max(reader.after, cells.first + len(cells.cells) - 1)
        if caught_up:
            self._stay_live(reader)
        else:
            self.catch_up(reader)

    def _stay_live(self, reader: Reader) -> None:
        self._live.setdefault(reader.request.drop_id, set()).add(reader)
        if isinstance(reader.request, wire.Read):
            reader.timer = asyncio.get_running_loop().call_later(
                reader.patience, self._out_of_patience, reader
            )

    def _out_of_patience(self, reader: Reader) -> None:
        reader.patience = 0
        self.catch_up(reader)

    def _publish(self, drop_id: bytes, cells: wire.Cells) -> None:
        self.metrics.appended.inc(len(cells.cells))
        self.metrics.appended_bytes.inc(sum(map(len, cells.cells)))
        if drop_id not in self._live:
            return
        frame, told = SharedFrame(cells), 0
        for reader in tuple(self._live[drop_id]):
            if reader.after >= cells.head:
                continue  # it read them from the store a moment ago
            if (
                reader.after + 1 == cells.first
                and reader.credit > 0
                and reader.connection.has_room()
                and len(cells.cells) <= reader.limit
            ):
                reader.after = cells.head
                told += 1
                if isinstance(reader.request, wire.Read):
                    reader.connection.end(reader)
                reader.credit -= reader.connection.share(frame, reader.request.id)
            else:
                self.catch_up(reader)
        self.metrics.delivered.inc(told * len(cells.cells))


def _answer(connections: Sequence[Connection], replies: Sequence[wire.Reply]) -> None:
    for connection, reply in zip(connections, replies, strict=True):
        connection.answer(reply)


class Clock:
    """The time of day, in Unix seconds, which somebody may set wrong while the relay runs.

    One that is put forward would end cells that people were promised; one that is put back would
    keep them for longer. So a large jump is believed only after it has lasted.
    """

    def __init__(self, wall: float, running: float) -> None:
        """`running` goes on evenly, from anywhere."""
        self._offset = wall - running
        self._doubted, self._since = self._offset, running
        """What the clock says instead, and since when."""

    def believe(self, wall: float, running: float) -> float:
        """The time to go by when the clock says `wall`."""
        offset = wall - running
        if abs(offset - self._doubted) > JUMP_S:
            self._doubted, self._since = offset, running
        is_step = abs(offset - self._offset) <= JUMP_S
        if is_step or running - self._since >= JUMP_PATIENCE_S:
            self._offset = offset
        return running + self._offset


def _running() -> float:
    """Seconds that have passed, also while the machine slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Reader:
    """A Read, Page or Follow that is not done, and how far it has come."""

    __slots__ = (
        *("after", "connection", "credit", "limit", "patience", "request", "served", "timer"),
    )

    def __init__(
        self, connection: Connection, request: wire.Read | wire.Follow | wire.Page
    ) -> None:
        self.connection = connection
        self.request = request
        self.after = request.after
        """Seq of the last cell it has been told."""
        self.limit, self.patience = wire.MAX_CELLS, 0
        """Most cells in one answer; seconds it waits if there are none."""
        if isinstance(request, wire.Read):
            self.limit, self.patience = request.limit, request.wait
        self.credit: float = request.credit if isinstance(request, wire.Follow) else inf
        """Bytes of frames that it may still be sent; the last of them may go beyond."""
        self.served = False
        """Whether it was answered before."""
        self.timer: asyncio.TimerHandle | None = None


class SharedFrame:
    """A Cells frame for many readers: encoded once, and one message for all who gave their request
    the same id."""

    def __init__(self, cells: wire.Cells) -> None:
        """`cells` has id 0: then the array's head, the tag and the id are a byte each."""
        self.cells = cells
        encoded = wire.encode(cells)
        self._start, self._rest = encoded[:2], memoryview(encoded)[3:]
        self._messages: dict[int, tuple[bytes, int]] = {}

    def message(self, request_id: int) -> tuple[bytes, int]:
        """(the WebSocket message with this id, how many bytes the frame in it has)."""
        found = self._messages.get(request_id)
        if found is None:
            start = self._start + msgspec.msgpack.encode(request_id)
            size = len(start) + len(self._rest)
            message = b"".join((_websocket_head(size), start, self._rest))
            found = self._messages[request_id] = message, size
        return found


class Connection(picows.WSListener):
    """One client's WebSocket."""

    def __init__(self, relay: Relay) -> None:
        self.readers: dict[int, Reader] = {}
        """By the id of their request."""
        self.parked: list[Reader] = []
        """Those that wait for room."""
        self._relay = relay
        self._websocket: picows.WSTransport | None = None
        self._in_flight = 0
        self._answer_keys: dict[int, tuple[bytes, int]] = {}
        """Of sealed requests, by their ids; and to how many message cells each is padded."""
        self._guest = Guest()
        self._out: list[bytes] = []
        self._out_bytes = 0

    # picows calls these

    def on_ws_connected(self, transport: picows.WSTransport) -> None:  # noqa: D102
        self._websocket = transport
        transport.underlying_transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        self._relay.connections.add(self)
        self._relay.metrics.connections.inc()

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:  # noqa: ARG002, D102
        self._websocket = None
        self._relay.connections.remove(self)
        self._relay.metrics.connections.dec()
        for reader in tuple(self.readers.values()):
            self.end(reader)
        # Its writes are committed all the same; the answers find nobody.
        self._relay.in_flight -= self._in_flight
        self._in_flight = 0

    def on_ws_frame(  # noqa: D102
        self, transport: picows.WSTransport, frame: picows.WSFrame
    ) -> None:
        if frame.msg_type == picows.WSMsgType.PONG:
            return
        if frame.msg_type == picows.WSMsgType.CLOSE:
            self.close(picows.WSCloseCode.OK, "")
            return
        if transport.is_close_frame_sent:
            return
        try:
            if frame.msg_type != picows.WSMsgType.BINARY or not frame.fin:
                raise MalformedFrame
            request = wire.decode_request(frame.get_payload_as_bytes())
        except PeerError as error:
            # There is no id to answer to.
            self._relay.metrics.failed.labels(error.code).inc()
            self.close(picows.WSCloseCode.POLICY_VIOLATION, error.code)
            return
        try:
            self._handle(request, frame.payload_size)
        except AmanatError as error:
            self.refuse(request, error)

    def pause_writing(self) -> None:
        """Read no more requests from a client that does not read its answers."""
        if self._websocket is not None:
            self._websocket.underlying_transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        if self._websocket is not None:
            self._websocket.underlying_transport.resume_reading()
            self._unpark()

    # Requests

    def _handle(self, request: wire.Request, frame_bytes: int) -> None:
        relay = self._relay
        if isinstance(request, wire.Unfollow | wire.Grant):
            self._instruct(request)
            return
        if relay.draining:
            raise Draining(retry_after=DRAINING_RETRY_S)
        # A hop brings those of all its clients over one connection.
        most = relay.limits.requests_in_flight if not isinstance(request, wire.Sealed) else inf
        if self._in_flight >= most or relay.in_flight >= relay.limits.requests_in_flight_total:
            raise RelayBusy(retry_after=BUSY_RETRY_S)
        if isinstance(request, wire.Sealed):
            if request.id in self._answer_keys or request.id in self.readers:
                raise MalformedFrame
            request, key = relay.open(request)
            least = wire.PAGE_CELLS if isinstance(request, wire.Page) else 1
            self._answer_keys[request.id] = key, least
        if isinstance(request, wire.Move):
            relay.check_step(request)
        if isinstance(request, wire.Append | wire.Create | wire.Move):
            relay.write(self, request, frame_bytes)
        elif isinstance(request, wire.Publish):
            relay.publish(self, request, frame_bytes)
        elif isinstance(request, wire.Describe | wire.Consult):
            if not self.has_room():
                raise RelayBusy(retry_after=BUSY_RETRY_S)  # the answer is much longer
            self.reply(relay.tell(request))
            return
        elif isinstance(request, wire.Forward | wire.Inquire | wire.Cover):
            errand = asyncio.ensure_future(self._ask_elsewhere(request))
            relay.errands.add(errand)
            errand.add_done_callback(relay.errands.discard)
        elif isinstance(request, wire.Read | wire.Follow | wire.Page):
            self._begin(request)
        self._in_flight += 1
        relay.in_flight += 1

    async def _ask_elsewhere(self, request: wire.Forward | wire.Inquire | wire.Cover) -> None:
        """Ask another relay on behalf of a client."""
        hop = self._relay.hop
        try:
            if isinstance(request, wire.Inquire):
                descriptor = await hop.inquire(request.to, self._guest)
                self.answer(wire.Described(request.id, descriptor, b""))
                return
            is_covered = isinstance(request, wire.Cover)
            sealed = await hop.forward(
                request.to, request.sealed, self._guest, is_covered=is_covered
            )
            if not self.has_room(len(sealed)):
                # It asks again; here nothing may pile up for somebody who does not read.
                raise RelayBusy(retry_after=BUSY_RETRY_S)
            self.answer(wire.Answer(request.id, sealed))
        except AmanatError as error:
            self.answer(refusal(request.id, error))

    def _begin(self, request: wire.Read | wire.Follow | wire.Page) -> None:
        if request.id in self.readers:
            raise MalformedFrame
        if self._relay.readers >= self._relay.limits.readers_total:
            raise RelayBusy(retry_after=BUSY_RETRY_S)
        if isinstance(request, wire.Follow):
            self._check_follows()
        reader = self.readers[request.id] = Reader(self, request)
        self._relay.readers += 1
        self._relay.metrics.followers.inc()
        self._relay.catch_up(reader)

    def _check_follows(self) -> None:
        follows = sum(isinstance(reader.request, wire.Follow) for reader in self.readers.values())
        if follows >= self._relay.limits.follows_per_connection:
            raise RelayBusy(retry_after=BUSY_RETRY_S)

    def _instruct(self, word: wire.Unfollow | wire.Grant) -> None:
        """End a reader, or give it credit, unless it has ended."""
        reader = self.readers.get(word.id)
        if reader is None:
            return
        if isinstance(word, wire.Unfollow):
            self.end(reader)
            return
        is_waiting = reader.credit <= 0
        reader.credit += word.credit
        if is_waiting and reader.credit > 0:
            self._relay.catch_up(reader)

    def end(self, reader: Reader) -> None:
        """A reader is done: let go of it."""
        del self.readers[reader.request.id]
        self._relay.leave(reader)
        self._relay.readers -= 1
        self._relay.metrics.followers.dec()
        self._settle()

    def answer(self, reply: wire.Reply) -> None:
        """The answer to a write."""
        if self._websocket is not None:
            self._settle()
            self.reply(reply)

    def _settle(self) -> None:
        self._in_flight -= 1
        self._relay.in_flight -= 1

    # Replies

    def refuse(self, request: wire.Request, error: AmanatError) -> None:
        """Answer with an error."""
        self.reply(refusal(request.id, error))

    def reply(self, reply: wire.Reply) -> int:
        """Send one frame; how many bytes it has."""
        if isinstance(reply, wire.Failed):
            self._relay.metrics.failed.labels(reply.code).inc()
        sealing = self._answer_keys.pop(reply.id, None)
        if sealing is not None:
            key, least = sealing
            frame = wire.encode(msgspec.structs.replace(reply, id=0))
            sealed = seal_answer(frame, key, least=least)
            reply = wire.Answer(reply.id, sealed)
        frame = wire.encode(reply)
        self.send(_websocket_head(len(frame)) + frame)
        return len(frame)

    def share(self, frame: SharedFrame, request_id: int) -> int:
        """Send cells that others are sent too; how many bytes their frame has."""
        if request_id in self._answer_keys:
            return self.reply(msgspec.structs.replace(frame.cells, id=request_id))
        message, size = frame.message(request_id)
        self.send(message)
        return size

    def send(self, message: bytes) -> None:
        """Send one WebSocket message. All messages of one turn of the loop are one write."""
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out.append(message)
        self._out_bytes += len(message)

    def has_room(self, frame_bytes: int = 0) -> bool:
        """Whether the client keeps up with what it is sent, and a frame more can be."""
        if self._websocket is None:
            return True  # nothing is kept for it
        waiting: int = self._websocket.underlying_transport.get_write_buffer_size()
        waiting += self._out_bytes
        return not waiting or waiting + frame_bytes <= HIGH_WATER_BYTES

    def _flush(self) -> None:
        out, self._out, self._out_bytes = self._out, [], 0
        if out and self._websocket is not None and not self._websocket.is_close_frame_sent:
            # Not `writelines`: under TLS each of its lines is a record of its own, or several.
            message = out[0] if len(out) == 1 else b"".join(out)
            self._websocket.underlying_transport.write(message)
        self._unpark()

    def _unpark(self) -> None:
        parked, self.parked = self.parked, []
        for reader in parked:
            self._relay.catch_up(reader)

    def close(self, code: picows.WSCloseCode, reason: str) -> None:
        """Send what there is to send, then close."""
        self._flush()
        if self._websocket is not None:
            self._websocket.send_close(code, reason.encode())
            self._websocket.disconnect()

    async def closed(self) -> None:
        """Wait until the client has taken everything, or is gone."""
        if self._websocket is not None:
            await self._websocket.wait_disconnected()

    def abort(self) -> None:
        """Close at once."""
        if self._websocket is not None:
            self._websocket.disconnect(graceful=False)


def _websocket_head(size: int) -> bytes:
    """The head of a whole binary message from a server (RFC 6455, section 5.2).

    Written here and not by picows because that makes one system call for each message.
    """
    if size < 126:  # noqa: PLR2004  # the RFC's
        return bytes((0x82, size))
    if size < 2**16:
        return b"\x82\x7e" + size.to_bytes(2, "big")
    return b"\x82\x7f" + size.to_bytes(8, "big")


class _Listener(socket.socket):
    """A listening socket that hangs up on callers while too many are on the line.

    Counted here because a connection exists, and costs, long before its WebSocket does.
    """

    def __init__(self, fileno: int, most: int) -> None:
        super().__init__(fileno=fileno)
        self._most = most
        self._accepted: set[socket.socket] = set()

    def accept(self) -> tuple[socket.socket, object]:
        connection, address = super().accept()
        if len(self._accepted) >= self._most:
            self._accepted = {one for one in self._accepted if one.fileno() >= 0}
            if len(self._accepted) >= self._most:
                connection.close()
                raise ConnectionAbortedError  # to the event loop: take the next
        self._accepted.add(connection)
        return connection, address


def _listen(host: str, port: int, most: int) -> _Listener:
    listener = _Listener(_bound(host, port).detach(), most)
    listener.setblocking(False)
    return listener


def _bound(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises PortTaken or BadSetting."""
    family = socket.AF_INET6 if ":" in host or not host else socket.AF_INET
    dual = not host and socket.has_dualstack_ipv6()
    if not host and not dual:
        family = socket.AF_INET
    try:
        return socket.create_server(
            (host, port), family=family, backlog=BACKLOG, dualstack_ipv6=dual
        )
    except OSError as error:
        where = f"{host or '*'}:{port}"
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(where) from None
        raise BadSetting(f"cannot listen on {where}: {error.strerror}") from None


def _allow_files(count: int) -> None:
    """Raise the process's limit of open files to what the settings need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise BadSetting(f"limits.connections needs {count} open files; the system allows {hard}")
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


class _Scrubbed(logging.Handler):
    """Passes on what kind of bug a library met and where; its own words may hold an address."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            _log_bug(record.exc_info[1])


def _scrub_logs() -> None:
    for name in ("asyncio", "aiofastnet", "picows"):
        library = logging.getLogger(name)
        library.setLevel(logging.ERROR)
        library.handlers = [_Scrubbed()]
        library.propagate = False


def _log_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:  # noqa: ARG001
    error = context.get("exception")
    # A connection that breaks, or never was TLS, is no news.
    if isinstance(error, BaseException) and not isinstance(error, OSError):
        _log_bug(error)


def _log_bug(error: BaseException) -> None:
    frames = traceback.extract_tb(error.__traceback__)
    where = f" in {frames[-1].name}, line {frames[-1].lineno}" if frames else ""
    logger.error("internal: %s%s", type(error).__name__, where)
