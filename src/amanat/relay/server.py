"""A running relay from its start to its end: its parts, its sockets, and draining.

The parts that know asyncio surround the rules in drops.py: writing.py, reading.py, turns.py, and a
connection for each client (connection.py). shares.py divides scarce room among clients.

No code here asks for a network address, and quiet.py drops the log lines of libraries.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol, assert_never

import picows
import uvloop

from amanat.errors import AmanatError, ClusterUnready, Draining, RelayBusy
from amanat.protocol import wire
from amanat.protocol.descriptor import parse_address
from amanat.relay.asking import Asking, Reader, Rooms
from amanat.relay.clock import system_clock
from amanat.relay.connection import DRAINING_RETRY_S, Asker, Connection, Deputy
from amanat.relay.description import Description, Sealing
from amanat.relay.directory import RelayDirectory, SealingKeys, interface, locked
from amanat.relay.drops import BUSY_RETRY_S, Drops
from amanat.relay.hop import Guest, Hop
from amanat.relay.known import Known
from amanat.relay.ledger import Ledger, LedgerStore
from amanat.relay.memory import keep_memory
from amanat.relay.metrics import Metrics
from amanat.relay.moving import Moves, MoveStore
from amanat.relay.quiet import log_loop_error, scrub_logs
from amanat.relay.reading import Readers
from amanat.relay.sockets import BACKLOG, allow_files, bound, listen
from amanat.relay.store import SqliteStore
from amanat.relay.store.wrapping import unwrap_all
from amanat.relay.turns import Turns
from amanat.relay.writing import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from amanat.protocol.descriptor import NamedAddress
    from amanat.protocol.ledger import Entry
    from amanat.relay.records import Unmade

HANDSHAKE_S = 10.0
"""Longest a connection may take to finish TLS, and again to ask for the WebSocket, in seconds."""
PING_S = 60.0
"""Idle seconds after which the relay pings a client. At least PONG_S."""
PONG_S = 60.0
"""Seconds that the client has to answer: on a slow line the ping waits behind HIGH_WATER_BYTES of
cells."""
TLS_BUFFER_BYTES = 4 * (16 * 1024 + 64)
"""Bytes of TLS buffer for each connection and direction: four records, since the buffers of a few
hundred readers then stay in the processor's cache."""
SWITCH_S = 0.001
"""Seconds for which the loop keeps the interpreter while the thread that commits waits for it. The
thread needs it for a moment between two statements, and the disk rests meanwhile; Python's own
value is five times as long."""
EXPIRY_S = 3600
"""Seconds between two expiries. They are on the hour, so that one comes right after midnight."""
START_TRIES, START_PAUSE_S = 20, 1.0
"""Times that a relay starts while its cluster does not answer, and the seconds between. Nodes that
have all started again choose their leaders for ten seconds, several times in a row."""
LAST_CALLERS_S = 0.5
"""Seconds in which callers that a process has accepted before it stopped listening finish their
handshake."""
CLOSE_S = 5.0
"""Longest that draining waits for clients to take their last answers, in seconds."""
SPARE_FILES = 64
"""Open files that are not connections: stores, their logs, listening sockets."""

logger = logging.getLogger("amanat.relay")


def run(
    path: Path,
    *,
    ready: Callable[[NamedAddress], None] = lambda _: None,
    until_eof: int | None = None,
) -> None:
    """Run the relay in a directory until SIGTERM or SIGINT, or until the descriptor `until_eof`
    ends, which it does when the process at its other end dies. `ready` gets the relay's address.

    Raises NoProfile, BadSetting, PortTaken, ProfileInUse, StoreTooNew, StoreTooOld, StoreDamaged,
    DiskFull, or ClusterUnready if the cluster with its drops does not answer for long.
    """
    directory = RelayDirectory.open(path)
    scrub_logs()
    sys.setswitchinterval(SWITCH_S)
    keep_memory()
    is_ready = False

    def begin(address: NamedAddress) -> None:
        nonlocal is_ready
        is_ready = True
        ready(address)

    for left in range(START_TRIES - 1, -1, -1):
        try:
            with (
                opened(directory) as (store, sealing),
                asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
            ):
                runner.run(Relay(directory, store, sealing).serve(begin, until_eof))
                return
        except RelayBusy as busy:
            if is_ready:
                raise
            if not left:
                raise ClusterUnready(busy.detail) from None
            logger.info("the cluster does not answer yet")
            time.sleep(START_PAUSE_S)


@contextlib.contextmanager
def opened(directory: RelayDirectory) -> Iterator[tuple[RelayStore, Sealing | None]]:
    """The store that a relay's settings name, and the keys to which requests are sealed unless they
    are in the directory. The directory is locked if the store is in it. Raises as `run`."""
    if directory.config.store:
        from amanat.relay.cluster import (  # noqa: PLC0415  # its client loads slowly
            SharedSealingKeys,
            open_cluster,
        )

        with contextlib.closing(open_cluster(directory)) as cluster:
            yield cluster, SharedSealingKeys(cluster)
        return
    with locked(directory.path), contextlib.closing(SqliteStore(directory.path)) as store:
        yield store, None


class RelayStore(MoveStore, LedgerStore, Protocol):
    """Everything that a relay stores."""

    def rollback(self) -> None:
        """As of both."""

    def commit(self) -> Unmade:
        """As of both."""

    def note(self, *entries: Entry) -> None:
        """As of both."""


class Relay:
    """A running relay."""

    def __init__(
        self, directory: RelayDirectory, store: RelayStore, sealing: Sealing | None = None
    ) -> None:
        self.limits = directory.config.limits
        self.metrics = Metrics()
        self.connections: set[Connection] = set()
        self.draining = False
        self.errands: dict[Asking, None] = {}
        """Requests that the relay makes to other relays."""
        self.turns = Turns()
        self.askers: set[Asker] = set()
        """The connections, and `gone`."""
        self.rooms = Rooms(self.limits, self.askers)
        self._directory = directory
        self._clock = system_clock()
        now = self._clock.now
        self._drops = Drops(
            store,
            region=directory.config.region,
            bucket_key=directory.bucket_key,
            limits=self.limits,
        )
        self.ledger = Ledger(store, directory.identity)
        moves = Moves(
            store,
            self._drops,
            self.ledger,
            directory.identity,
            region=directory.config.region,
            most_drops=self.limits.drops,
            accepts=[parse_address(one).key for one in directory.config.moving.sources],
            unwrap=unwrap_all,
        )
        self.readers = Readers(self._drops, self.metrics, now=now)
        self.writer = Writer(
            self._drops,
            moves,
            self.readers,
            self.metrics,
            self.rooms.wait_bytes,
            store.processes,
            now=now,
        )
        self.hop = Hop(directory.config.hop, directory.identity, Known(), clock=now)
        self.description = Description(
            directory,
            self._drops,
            self.ledger,
            sealing or SealingKeys(directory.path, now=now()),
            is_hop=self.hop.is_served,
            now=now,
        )
        self._store = store
        self.metrics.stored_bytes.set_function(store.stored_bytes)
        self.metrics.bucket_bytes.set_function(store.bucket_bytes)
        self._telling = ThreadPoolExecutor(1, "tell") if store.waits else None
        self.gone = Asker(self)
        """Stands for clients that have gone; their last writes are still carried out."""
        self.askers.add(self.gone)
        self.numbers = itertools.count()
        """Numbers for these writes."""

    async def serve(
        self, ready: Callable[[NamedAddress], None], until_eof: int | None = None
    ) -> None:
        """Serve until a signal asks to stop, then drain."""
        config, loop = self._directory.config, asyncio.get_running_loop()
        loop.set_exception_handler(log_loop_error)
        sockets = self.limits.connections + self.limits.handshakes
        allow_files(sockets + SPARE_FILES)
        self._drops.open_buckets(config.buckets, now=self._clock.now())
        await self.writer.in_turns(self.ledger.seal(), "checkpoint")
        self._store.hear_of(
            lambda drop_id, head: loop.call_soon_threadsafe(self.readers.wake, drop_id, head)
        )
        if self._store.processes is not None:
            self._store.processes.take_over(
                lambda appends, send: loop.call_soon_threadsafe(self._take_over, appends, send)
            )
        tls = self._directory.tls()
        if config.metrics_port:
            await self.metrics.serve(bound("127.0.0.1", config.metrics_port))
        server = await picows.ws_create_server(
            self._welcome,
            sock=listen(interface(config), config.port, sockets, is_shared=self._store.waits),
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
        self.description.address = self._directory.signed_address(port, now=self._clock.now())
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        if until_eof is not None:
            loop.add_reader(until_eof, stop.set)
        async with asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(self.writer.run())
            expiring = tasks.create_task(self._expire())
            looking = tasks.create_task(self.readers.look_again()) if self.waits else None
            ready(self._directory.address(port))
            await stop.wait()
            if until_eof is not None:
                loop.remove_reader(until_eof)
            logger.info("draining")
            server.close()
            if self.waits:  # other processes take the next callers, so none has to be refused
                await asyncio.sleep(LAST_CALLERS_S)
            self.draining = True
            self.writer.end()
            await writing
            expiring.cancel()
            if looking is not None:
                looking.cancel()
        await self.writer.in_turns(self.ledger.seal(), "checkpoint")
        for errand in self.errands:
            errand.stop()
        await self._close_all()
        self.hop.close()
        self.readers.close()
        if self._telling is not None:
            self._telling.shutdown(cancel_futures=True)
        self.writer.close()

    async def _expire(self) -> None:
        while True:
            # Expired sealing keys end here, even if no client sends a request.
            self.description.rotate()
            await self.writer.in_turns(self._drops.expire(now=self._clock.now()), "expiry")
            await asyncio.sleep(EXPIRY_S - self._clock.now() % EXPIRY_S)
            # Only now: entries tell hours, and a checkpoint after a start would tell minutes.
            await self.writer.in_turns(self.ledger.seal(), "checkpoint")

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
                if isinstance(reader, Reader) and not self.waits:
                    draining = Draining(retry_after=DRAINING_RETRY_S)
                    connection.answer(reader, reader.refusal(draining))
            connection.close(picows.WSCloseCode.SERVICE_RESTART, Draining.code)
        closing = [asyncio.ensure_future(one.closed()) for one in self.connections]
        if closing:
            await asyncio.wait(closing, timeout=CLOSE_S)
        for connection in tuple(self.connections):
            connection.abort()

    @property
    def waits(self) -> bool:
        """Whether the store may wait for other machines, so that the loop does not ask it."""
        return self._store.waits

    async def tell_later(self, request: wire.Describe | wire.Consult, guest: Guest) -> wire.Reply:
        """As `tell`, with the newest checkpoint of all processes."""

        def tell() -> wire.Reply:
            self.ledger.refresh()
            return self.tell(request, guest)

        return await asyncio.get_running_loop().run_in_executor(self._telling, tell)

    def tell(self, request: wire.Describe | wire.Consult | wire.Locate, guest: Guest) -> wire.Reply:
        """The answer to a question about this relay, its ledger or another relay's address. Raises
        NotInLedger or RelayBusy."""
        if isinstance(request, wire.Locate):
            address = self.hop.locate(request.relay, request.known, guest)
            return wire.Located(request.id, address)
        if isinstance(request, wire.Consult):
            return wire.Consulted(request.id, self.ledger.part(request.path))
        if isinstance(request, wire.Describe):
            return self.description.describe(request)
        assert_never(request)

    # Requests under way

    def bequeath(self, asking: Asking) -> None:
        """Carry out a request although its client has gone."""
        was_queued = asking.place is asking.asker.writes
        self.rooms.pass_on(asking, self.gone, next(self.numbers))
        if was_queued:
            self.leave(asking)
            self.writer.put(asking, self.gone.writes)

    def _take_over(self, appends: list[bytes], send: Callable[[list[bytes]], None]) -> None:
        """Make the appends of another process."""
        if self.draining:
            send([])
            return
        for writing in Deputy(self, appends, send).writings:
            self.writer.write(writing)

    def leave(self, asking: Asking) -> None:
        """Take a request out of its table, and stop what it waits for."""
        if isinstance(asking, Reader):
            self.readers.leave(asking)
        else:
            self.writer.leave(asking)
