"""The asyncio shell of a relay: sockets, threads and the clock around the rules in drops.py.

Writes of all connections queue up and are made durable together: what has come is staged as one
batch, committed in a thread while the loop goes on reading sockets, and only then answered.

A *reader* is a Read, which wants one answer, or a Follow, which wants them all. It is *live* when
it has been told everything committed: then new cells reach it from memory, encoded once for all
readers of the drop. Otherwise it is *behind*, and is served from the store, a slice at a time, when
it is its connection's turn and that has room; a Follow without credit is *spent*, and not served
until it is granted more. So what waits for a slow reader waits in the store, not in memory.

Connections take turns (relay/connection.py), with their writes too. What many may want of at once
is divided by relay/shares.py.

No network address is ever asked for here, and what libraries would log of one is thrown away.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import hmac
import itertools
import logging
import resource
import secrets
import signal
import socket
import time
import traceback
from collections import OrderedDict, deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, assert_never

import picows
import uvloop

from amanat.errors import AmanatError, BadSetting, Draining, PortTaken, RelayBusy
from amanat.protocol import wire
from amanat.protocol.descriptor import Descriptor, Limits, Notice, parse_address, sign_descriptor
from amanat.protocol.moving import Abandon, Begin, Carry, Erase, Freeze, Release, Step, Thaw
from amanat.protocol.rounds import publish_at
from amanat.protocol.sealing import open_request
from amanat.relay.asking import Asking, Queue, Reader, Rooms, Writing
from amanat.relay.connection import DRAINING_RETRY_S, Asker, Connection, SharedFrame
from amanat.relay.drops import BUSY_RETRY_S, Drops
from amanat.relay.home import Home, SealingKeys, interface, locked, read_notice
from amanat.relay.hop import Guest, Hop
from amanat.relay.known import Known
from amanat.relay.ledger import Ledger
from amanat.relay.metrics import Metrics
from amanat.relay.moving import Moves
from amanat.relay.store import SqliteStore
from amanat.relay.store.wrapping import unwrap_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from amanat.protocol.descriptor import NamedAddress, RelayAddress

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
TURN_WRITES = 100
"""Writes that a connection has in a commit before it is the next one's turn: what lands in one drop
at once is one frame and lies together on the disk, so turns of 32 cost a seventh of the rate."""
CARRY_BYTES = 4 * 1024 * 1024
"""The same of cells that a move brings, which nobody reads yet. Whoever writes to another drop
waits for about a tenth of a second; with smaller commits a move takes longer."""
SLICE_S = 0.004
"""How long connections have turns before the loop looks at sockets again, in seconds."""
SPARE = 512
"""Writes that are taken as they come in one turn of the loop, before connections take turns."""
TLS_BUFFER_BYTES = 4 * (16 * 1024 + 64)
"""What TLS keeps for each connection and direction, in bytes: four records, since the buffers of a
few hundred readers then stay in the processor's cache."""
EXPIRY_S = 3600
"""Seconds between two expiries: on the hour, so that one is right after midnight."""
CLOSE_S = 5.0
"""Longest that draining waits for clients to take their last answers, in seconds."""
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

logger = logging.getLogger("amanat.relay")


def run(directory: Path, *, ready: Callable[[NamedAddress], None] = lambda _: None) -> None:
    """Run the relay in a directory until SIGTERM or SIGINT; `ready` is told its address.

    Raises NoProfile, BadSetting, PortTaken, ProfileInUse, StoreTooNew, StoreTooOld, StoreDamaged
    or DiskFull.
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
        self.draining = False
        self.askers: set[Asker] = set()
        """The connections, and those who have gone."""
        self.rooms = Rooms(self.limits, self.askers)
        self.gone = Asker(self)
        self.askers.add(self.gone)
        """Those who have gone, with what is carried out nevertheless."""
        self.numbers = itertools.count()
        """For what they left."""
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
        self._address: RelayAddress
        """Where it says that it is; known once it listens."""
        self.hop = Hop(home.config.hop, home.identity, Known(), clock=self._now)
        self.errands: dict[Asking, None] = {}
        """What is being asked of other relays."""
        self._described: tuple[int, bytes, Notice | None, bytes] = (0, b"", None, b"")
        self._queues: OrderedDict[Queue, None] = OrderedDict()
        """Those in which writes wait, in turn."""
        self._round: dict[Asking, None] = {}
        """Writes that wait for the end of the round."""
        self._due = Queue()
        """Those of rounds that are over."""
        # Steps of moves wait apart: nobody's writes wait behind all that a move brings.
        self._steps = Queue()
        self._held: dict[Writing, None] = {}
        """Writes that wait for frozen drops."""
        self._freeze: asyncio.TimerHandle | None = None
        self._work = asyncio.Event()
        # Held while anything is staged: commits and expiry take turns.
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._live: dict[bytes, dict[Reader, None]] = {}
        """By drop, readers that have been told everything."""
        self._line: deque[Connection] = deque()
        """Connections for which there is something to do, in turn."""
        self._is_serving = False
        self.spare = SPARE
        """How many requests may still be done as they come, in this turn of the loop."""
        self._outgoing: list[Connection] = []
        """Connections that something is to be sent to."""

    async def serve(self, ready: Callable[[NamedAddress], None]) -> None:
        """Serve until a signal asks to stop, then drain."""
        config, loop = self._home.config, asyncio.get_running_loop()
        loop.set_exception_handler(_log_loop_error)
        sockets = self.limits.connections + self.limits.handshakes
        _allow_files(sockets + SPARE_FILES)
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
        port = server.sockets[0].getsockname()[1]
        self._address = self._home.signed_address(port, now=self._now())
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        async with asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(self._write())
            expiring = tasks.create_task(self._expire())
            ready(self._home.address(port))
            await stop.wait()
            logger.info("draining")
            server.close()
            self.draining = True
            self._end_round()
            await writing
            expiring.cancel()
        await self._in_turns(self.ledger.seal(), "checkpoint")
        for errand in self.errands:
            errand.stop()
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
            for reader in tuple(connection.asked.values()):
                if isinstance(reader, Reader):
                    draining = Draining(retry_after=DRAINING_RETRY_S)
                    connection.answer(reader, reader.refusal(draining))
            connection.close(picows.WSCloseCode.SERVICE_RESTART, Draining.code)
        closing = [asyncio.ensure_future(one.closed()) for one in self.connections]
        if closing:
            await asyncio.wait(closing, timeout=CLOSE_S)
        for connection in tuple(self.connections):
            connection.abort()

    def tell(self, request: wire.Describe | wire.Consult | wire.Locate, guest: Guest) -> wire.Reply:
        """What the relay says of itself, or knows of where another is. Raises NotInLedger or
        RelayBusy."""
        if isinstance(request, wire.Locate):
            address = self.hop.locate(request.relay, request.known, guest)
            return wire.Located(request.id, address)
        if isinstance(request, wire.Consult):
            return wire.Consulted(request.id, self.ledger.part(request.path))
        if isinstance(request, wire.Describe):
            return self.describe(request)
        assert_never(request)

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
                address=self._address,
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

    def open(self, request: wire.Sealed) -> tuple[bytes, bytes]:
        """(the frame in a sealed request, the key of its answer). Raises BrokenSeal."""
        return open_request(request.sealed, self._sealing.privates, relay=self._key)

    def _rotate(self) -> None:
        try:
            self._sealing.rotate(now=self._now())
        except AmanatError as error:  # the old keys serve on, and the next hour tries again
            logger.error("rotation failed: %s", error.code)  # noqa: TRY400  # a trace says no more

    # Requests under way

    def bequeath(self, asking: Asking) -> None:
        """Who asked has gone: it is carried out nevertheless, for nobody."""
        was_queued = asking.place is asking.asker.writes
        self.rooms.pass_on(asking, self.gone, next(self.numbers))
        if was_queued:
            self.leave(asking)
            asking.rest(self.gone.writes)
            self._queues[self.gone.writes] = None

    def leave(self, asking: Asking) -> None:
        """Have it rest nowhere, and wait for nothing."""
        asking.stop()
        place = asking.place
        asking.rest(None)
        if place is None or place:
            return
        if isinstance(place, Queue):
            self._queues.pop(place, None)
        elif isinstance(asking, Reader) and self._live.get(asking.request.drop_id) is place:
            del self._live[asking.request.drop_id]

    # Turns

    def line_up(self, connection: Connection) -> None:
        """There is something to do for a connection, when its turn comes."""
        connection.is_in_line = True
        self._line.append(connection)
        self._serve_soon()

    def spend(self, many: int) -> None:
        """Something was done as it came."""
        self.spare -= many
        self._serve_soon()

    def _serve_soon(self) -> None:
        if not self._is_serving:
            self._is_serving = True
            asyncio.get_running_loop().call_soon(self._serve)

    def _serve(self) -> None:
        line, until = self._line, time.perf_counter() + SLICE_S
        while line:
            connection = line.popleft()
            if connection.take_turn():
                line.append(connection)
            else:
                connection.is_in_line = False
            if time.perf_counter() > until:
                break
        self.spare = SPARE
        self._is_serving = bool(line)
        if line:
            asyncio.get_running_loop().call_soon(self._serve)
        self._flush()

    def flush_soon(self, connection: Connection) -> None:
        """There is something to send. All of one turn of the loop is one write."""
        if not self._outgoing and not self._is_serving:
            asyncio.get_running_loop().call_soon(self._flush)
        self._outgoing.append(connection)

    def _flush(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        for connection in outgoing:
            connection.flush()

    # Writing

    def check_step(self, request: wire.Move) -> None:
        """Raises BrokenMove or MoveRefused unless whoever asks may take this step."""
        self._moves.check(request)

    def write(self, writing: Writing) -> None:
        """Carry out a write, when its turn comes."""
        queue = writing.asker.writes
        if isinstance(writing.request, wire.Move):
            queue = self._steps
        elif not queue.writes:
            self._queues[queue] = None
        if not queue.writes:
            self._work.set()
        queue.writes.append(writing)
        writing.place = queue

    def publish(self, writing: Writing) -> None:
        """Carry out an append when the round ends. What comes of one that is refused for its drop
        or token is clear at once, and told then all the same: it need not be kept."""
        if not self._round:
            now = self._now()
            asyncio.get_running_loop().call_later(publish_at(now) - now, self._end_round)
        writing.rest(self._round)
        request = writing.request
        if isinstance(request, wire.Append):
            writing.verdict = self._drops.judge(request)
        if writing.verdict is not None:
            writing.request = wire.Append(request.id, b"", b"", b"")
            self.rooms.wait_bytes.give_back(writing.asker, writing.size)
            writing.room, writing.size = None, 0

    def _end_round(self) -> None:
        writes = list(self._round)
        secrets.SystemRandom().shuffle(writes)  # their order, too, would tell who came when
        for writing in writes:
            writing.rest(self._due)
        if writes:
            self._queues[self._due] = None
        self._work.set()

    async def _write(self) -> None:
        while self._queues or self._steps or not self.draining:
            await self._work.wait()
            self._work.clear()
            while self._queues or self._steps:
                for next_batch in (self._next_writes, self._next_steps):
                    async with self._turn:
                        if batch := next_batch():
                            await self._commit(batch)

    def _next_writes(self) -> list[Writing]:
        batch: list[Writing] = []
        taken, queues, frozen = 0, self._queues, self._drops.frozen
        while queues and len(batch) < BATCH_CELLS and taken < BATCH_BYTES:
            queue, _ = queues.popitem(last=False)
            for _ in range(min(TURN_WRITES, len(queue.writes))):
                writing = queue.writes.popleft()
                writing.place = None
                request = writing.request
                if frozen and isinstance(request, wire.Append) and request.drop_id in frozen:
                    writing.rest(self._held)
                    continue
                batch.append(writing)
                taken += writing.size
                if taken >= BATCH_BYTES:
                    break
            if queue.writes:
                queues[queue] = None
        return batch

    def _next_steps(self) -> list[Writing]:
        """One step, or as many as only bring cells."""
        batch: list[Writing] = []
        taken, are_carries = 0, True
        while self._steps and are_carries and len(batch) < BATCH_CELLS and taken < CARRY_BYTES:
            first = self._steps.writes[0].request
            are_carries = isinstance(first, wire.Move) and isinstance(first.step, Carry)
            if batch and not are_carries:
                break
            writing = self._steps.writes.popleft()
            writing.place = None
            batch.append(writing)
            taken += writing.size
        return batch

    async def _commit(self, batch: Sequence[Writing]) -> None:
        started, loop = time.perf_counter(), asyncio.get_running_loop()
        requests = [writing.request for writing in batch if writing.verdict is None]
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
                answers = iter(replies)
                replies = [writing.verdict or next(answers) for writing in batch]
        except AmanatError as error:
            logger.error("commit failed: %s", error.code)  # noqa: TRY400  # a trace says no more
            replies, landed = [writing.refusal(error) for writing in batch], {}
        for step in steps:
            self._after(step.step)
        if steps:
            # The thread need not wait for this with the next ones.
            loop.call_soon(_answer, batch, replies)
        else:
            _answer(batch, replies)
        for drop_id, cells in landed.items():
            self._publish(drop_id, cells)
        self.metrics.waiting_writes.set(sum(map(len, self._queues)) + len(self._steps))
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
        for writing in reversed(tuple(self._held)):  # each was before all that is in its queue
            queue = writing.asker.writes
            writing.rest(None)
            queue.writes.appendleft(writing)
            writing.place = queue
            self._queues[queue] = None
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
            reader.rest(reader.asker.spent)  # until it is granted more
            return
        reader.rest(reader.asker.behind)
        reader.asker.go_on()

    def serve_reader(self, reader: Reader) -> None:
        """Tell a reader, which rests nowhere just now, what it has not been told."""
        connection, request = reader.asker, reader.request
        try:
            cells = self._drops.read(request, after=reader.after, now=self._now())
        except AmanatError as error:
            connection.answer(reader, reader.refusal(error))
            return
        self.metrics.delivered.inc(len(cells.cells))
        caught_up = cells.first + len(cells.cells) > cells.head
        if isinstance(request, wire.Read | wire.Page):
            if cells.cells or reader.patience <= 0 or reader.after > cells.head:
                connection.answer(reader, cells)
                return
        elif cells.cells or not reader.served:
            reader.credit -= connection.tell(reader, cells)
        reader.served = True
        reader.after = max(reader.after, cells.first + len(cells.cells) - 1)
        if caught_up:
            self._stay_live(reader)
        else:
            self.catch_up(reader)

    def _stay_live(self, reader: Reader) -> None:
        reader.rest(self._live.setdefault(reader.request.drop_id, {}))
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
                and reader.asker.has_room()
                and len(cells.cells) <= reader.limit
            ):
                reader.after = cells.head
                told += 1
                reader.credit -= reader.asker.share(frame, reader)
            else:
                self.catch_up(reader)
        self.metrics.delivered.inc(told * len(cells.cells))


def _answer(batch: Sequence[Writing], replies: Sequence[wire.Reply]) -> None:
    for writing, reply in zip(batch, replies, strict=True):
        writing.asker.answer(writing, reply)


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
