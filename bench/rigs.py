"""Relays for benches: on either store, with wide limits, and a load of many requests at once."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import load
import servers
from cluster import Rest, cluster, rest_on
from machine import cpu_s, resident_kib, spread

from amanat.config import ClusterConfig, RelayConfig, RelayLimits
from amanat.drill import process
from amanat.protocol import wire
from amanat.relay.cluster import open_cluster
from amanat.relay.directory import RelayDirectory
from amanat.relay.drops import Drops
from amanat.relay.store import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from amanat.drill.xmpp import Line
    from amanat.protocol.drops import Drop
    from amanat.relay.cluster.nodes import LocalCluster

CONNECTIONS = 20
WINDOW = 50
"""Requests of one connection that are under way."""
WIDE = RelayLimits(
    cells_per_drop=10_000_000,
    bytes_per_drop=2**40,
    bytes_total=2**50,
    drops=2**24,
    connections=12_000,
    handshakes=1_000,
    requests_in_flight_total=100_000,
    waits_total=50_000,
)


class Rig(NamedTuple):
    """A relay's directory, made for a bench, and the cluster below it, if there is one."""

    root: Path
    made: RelayDirectory
    nodes: LocalCluster | None

    @property
    def kind(self) -> str:
        """The name of its store."""
        return "cluster" if self.nodes else "embedded"

    def node_kib(self) -> float:
        """Memory of one node, at the median."""
        assert self.nodes is not None
        return spread(resident_kib(one.pid) for one in self.nodes.processes.values())[1]

    def nodes_cpu_s(self) -> float:
        """Seconds of processor time that all nodes have had."""
        return sum(cpu_s(one.pid) for one in self.nodes.processes.values()) if self.nodes else 0.0

    def disk_bytes(self) -> float:
        """Bytes on the disk of one machine: the relay's, or a node's."""
        if self.nodes is None:
            return _on_disk(self.made.path)
        return spread(_on_disk(self.nodes.home(node)) for node in self.nodes.nodes)[1]

    @contextlib.contextmanager
    def running(self) -> Iterator[tuple[servers.Server, float]]:
        """The relay as a process, and the seconds that it took to start."""
        began = time.perf_counter()
        config = self.made.config
        with servers.running(
            "amanat", self.root, tls=config.tls != "off", buckets=config.buckets
        ) as server:
            yield server, time.perf_counter() - began


@contextlib.contextmanager
def rules_of(made: RelayDirectory) -> Iterator[Drops]:
    """A relay's rules on its store, in this process."""
    store = open_cluster(made) if made.config.store else SqliteStore(made.path)
    with contextlib.closing(store):
        yield Drops(
            store,
            region=servers.REGION,
            bucket_key=made.bucket_key,
            limits=made.config.limits,
        )


def _on_disk(directory: Path) -> int:
    """Bytes that the files below a directory take; a file that ends meanwhile has none."""
    blocks = 0
    for path in directory.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            blocks += path.stat().st_blocks
    return 512 * blocks


@contextlib.contextmanager
def rig(store: str, *, buckets: int = 1, tls: str = "off") -> Iterator[Rig]:
    """A fresh relay on a store: embedded or cluster."""
    with contextlib.ExitStack() as held:
        root = Path(held.enter_context(tempfile.TemporaryDirectory(dir=Path.cwd())))
        nodes: LocalCluster | None = None
        rest: Rest = {"store": "", "cluster": ClusterConfig()}
        if store == "cluster":
            nodes = held.enter_context(cluster())
            rest = rest_on(nodes, root / "login")
        made = RelayDirectory.create(
            root / "relay",
            RelayConfig(
                region=servers.REGION,
                operator="bench",
                host="127.0.0.1",
                port=process.free_port(),
                tls=tls,
                buckets=buckets,
                **rest,
                limits=WIDE,
            ),
        )
        yield Rig(root, made, nodes)


class Asker:
    """A connection that asks again for each answer, and counts them."""

    def __init__(
        self, line: Line, drops: list[Drop], ask: Callable[[int, Drop], wire.Request], tag: int
    ) -> None:
        self.answered = 0
        self.running = True
        self.done = asyncio.Event()
        self._line, self._ask, self._tag = line, ask, tag
        self._drops = itertools.cycle(drops)
        self._sent = self._open = 0
        self._rest = b""
        line.give_to(self._hear)
        self._send(WINDOW)

    def _send(self, count: int) -> None:
        asked = [self._ask(self._sent + n, next(self._drops)) for n in range(count)]
        self._sent += count
        self._open += count
        frames = [load.websocket_frame(wire.encode(one)) for one in asked]
        self._line.transport.write(b"".join(frames))

    def _hear(self, data: bytes) -> None:
        payloads, self._rest = load.split_frames(self._rest + data, self._line)
        for payload in payloads:
            assert payload[1] == self._tag, payload[:80]
        self.answered += len(payloads)
        self._open -= len(payloads)
        if self.running and payloads:
            self._send(len(payloads))
        elif not self._open:
            self.done.set()


class Load(NamedTuple):
    """The result of a load."""

    answered: int
    rate: float
    """Answers a second, until the last one came."""
    cpu_s: float
    """Seconds of the relay's processor time for each."""


async def answers(
    server: servers.Server,
    drops: list[Drop],
    ask: Callable[[int, Drop], wire.Request],
    tag: int,
    seconds: float,
) -> Load:
    """Ask for so many seconds. Each connection has drops of its own."""
    plan = load.Plan("growth", server.port, tls=server.tls, pairs=[], drops=[])
    lines = [await load.open_websocket(plan) for _ in range(CONNECTIONS)]
    cpu, began = server.cpu_s(), time.perf_counter()
    askers = [
        Asker(line, drops[number::CONNECTIONS] or drops, ask, tag)
        for number, line in enumerate(lines)
    ]
    await asyncio.sleep(seconds)
    for one in askers:
        one.running = False
    async with asyncio.timeout(load.LAST_S):
        for one in askers:
            await one.done.wait()
    took, answered = time.perf_counter() - began, sum(one.answered for one in askers)
    for line in lines:
        line.transport.close()
    return Load(answered, answered / took, (server.cpu_s() - cpu) / answered)
