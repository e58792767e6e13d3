"""Two regions, each with three nodes and two relay processes on hosts of its own, while cables are
pulled, lines are bad and nodes die. The test checks all that people are told as one history.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import picows
import pytest

from amanat.config import RelayConfig
from amanat.protocol import wire
from amanat.protocol.cells import MESSAGE_CELL
from amanat.protocol.descriptor import RelayAddress, parse_address
from amanat.protocol.drops import Drop, derive_bucket
from amanat.relay.cluster.nodes import Kept, Node
from amanat.relay.directory import RelayDirectory
from certificates import Authority
from clusters import Cluster
from figures import report, rounds
from hosts import CUT, Host, Lan, Line, enter
from relays import Peer, append, follow, read, read_all, run_in_loop

pytestmark = pytest.mark.e2e

NODE_PORT, ROUTE_PORT = 4222, 6222
BAD_LINE = Line(delay_s=0.03, lost=0.02)
"""As from one continent to another, over a line that loses two frames of a hundred."""
FAULT_S = (2.0, 5.0)
"""Seconds that a fault lasts."""
QUIET_S = 1.0
"""Seconds from the end of a fault to the next one."""
WRITERS, PAUSE_S = 4, 0.05
"""People who write, and the seconds between two cells of one."""
PATIENCE_S = 100.0
"""Seconds after which nobody waits any longer for a cluster that is whole again."""
TLS = """
tls {{
  cert_file: "{certificate}"
  key_file: "{key}"
  ca_file: "{authority}"
  min_version: "1.3"
  handshake_first: true
}}
"""


class Nodes(Cluster):
    """A cluster whose nodes are hosts."""

    def __init__(self, directory: Path, region: str, hosts: Sequence[Host]) -> None:
        self._hosts = {f"{region}-{number}": host for number, host in enumerate(hosts, 1)}
        nodes = [
            Node(name, name[-1], host.address, NODE_PORT, ROUTE_PORT)
            for name, host in self._hosts.items()
        ]
        directory.mkdir()
        kept = Kept(region, os.urandom(16).hex(), nodes)
        (directory / "nodes.json").write_bytes(msgspec.json.encode(kept))
        super().__init__(directory, region=region)
        self.authority = Authority(directory)
        for node in self.nodes:
            certificate, key = self.authority.issue(node.name, node.host)
            tls = TLS.format(certificate=certificate, key=key, authority=self.authority.file)
            self.change(node, "jetstream {", f"{tls}jetstream {{")

    def _before(self, node: Node) -> list[str]:
        return self._hosts[node.name].within()

    def host(self, node: Node) -> Host:
        return self._hosts[node.name]


class Region:
    """A cluster and two relay processes. People are on the relays' host."""

    def __init__(self, directory: Path, name: str, lan: Lan) -> None:
        *nodes, self.home = lan.hosts
        self.name = name
        self.cluster = Nodes(directory, name, nodes)
        settings = self.cluster.settings(directory, keepers=2)
        config = RelayConfig(
            region=name,
            operator="test",
            host="127.0.0.1",
            port=0,
            tls="off",
            buckets=4,
            store=settings["store"],
            cluster=msgspec.structs.replace(
                settings["cluster"], authority=str(self.cluster.authority.file)
            ),
        )
        first = RelayDirectory.create(directory / "first", config)
        self.directories = [first.path, directory / "second"]
        shutil.copytree(first.path, self.directories[1])
        self.bucket_key = first.bucket_key
        self.addresses: list[RelayAddress] = []

    def bucket(self, number: int) -> Drop:
        return derive_bucket(self.bucket_key, number, region=self.name)

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        self.cluster.start()
        try:
            with contextlib.ExitStack() as running:
                for directory in self.directories:
                    self.addresses.append(running.enter_context(self._relay(directory)))
                yield
        finally:
            self.cluster.kill(*(n for n in self.cluster.nodes if n.name in self.cluster.processes))

    @contextlib.contextmanager
    def _relay(self, directory: Path) -> Iterator[RelayAddress]:
        words = [sys.executable, "-m", "amanat", "--json", "relay", "run", str(directory)]
        with subprocess.Popen(
            self.home.within(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            try:
                assert process.stdout is not None
                line = process.stdout.readline()
                assert b"address" in line, (line, process.stderr and process.stderr.read())
                yield parse_address(json.loads(line)["address"])
            finally:
                process.kill()


class Told(NamedTuple):
    """Somebody was told that a cell has a place in a bucket."""

    bucket: int
    seq: int
    cell: bytes


class Lines:
    """Somebody's connections to both relay processes."""

    def __init__(self, region: Region) -> None:
        self._region = region
        self._peers: dict[int, Peer] = {}

    async def to(self, index: int) -> Peer:
        """The one that is open, or a new one."""
        while index not in self._peers or self._peers[index].closed.done():
            with contextlib.suppress(OSError, picows.WSError):
                self._peers[index] = await Peer.connect(self._region.addresses[index])
        return self._peers[index]


class People:
    """People of one region, who write, read and follow through both processes until `over`."""

    def __init__(self, region: Region, seed: int) -> None:
        self._region = region
        self._chance = random.Random(f"{seed} {region.name}")
        self.over = threading.Event()
        self.told: list[Told] = []
        self.followed: dict[int, list[bytes]] = {0: [], 1: []}
        """By relay process, the cells of bucket 0 that a follower was shown."""
        self.waits: list[tuple[float, float]] = []
        """When somebody began to wait for a place, and when they had it."""
        self.lost = 0
        """Connections that ended."""

    def longest_s(self, began: float = 0, ended: float = math.inf) -> float:
        """The longest that somebody has waited who waited within a time."""
        return max(
            (until - since for since, until in self.waits if until > began and since < ended),
            default=0,
        )

    def live(self) -> None:
        """Do so, on the relays' host."""
        enter(self._region.home.name)
        run_in_loop(self._live(), 1_000)

    async def _live(self) -> None:
        following = [asyncio.create_task(self._follow(index)) for index in (0, 1)]
        await asyncio.gather(*(self._write(number) for number in range(WRITERS)))
        last = max(one.seq for one in self.told if one.bucket == 0)
        async with asyncio.timeout(PATIENCE_S):
            while any(  # noqa: ASYNC110  # nothing tells of it
                len(cells) < last for cells in self.followed.values()
            ):
                await asyncio.sleep(0.1)
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)
            await self._check()

    async def _write(self, number: int) -> None:
        bucket = number % 2
        drop, known = self._region.bucket(bucket), 0
        lines = Lines(self._region)
        while not self.over.is_set():
            cell, began = os.urandom(MESSAGE_CELL), time.monotonic()
            appended = await self._until_done(lines, append(drop, cell, 1))
            assert isinstance(appended, wire.Appended), appended
            self.waits.append((began, time.monotonic()))
            self.told.append(Told(bucket, appended.seq, cell))
            known = max(known, appended.seq)
            # No process shows people less than they have read through another.
            shown = await self._until_done(lines, read(drop, known, number=1))
            assert isinstance(shown, wire.Cells), shown
            assert shown.head >= known
            known = shown.head
            await asyncio.sleep(PAUSE_S)

    async def _until_done(self, lines: Lines, request: wire.Request) -> wire.Reply:
        """Ask until something other than "not now" is the answer, each time through any relay."""
        until = time.monotonic() + PATIENCE_S
        while True:
            peer = await lines.to(self._chance.randrange(2))
            peer.send(request)
            reply = await peer.reply_or_end(request.id)
            if reply is None:
                self.lost += 1
            elif not (isinstance(reply, wire.Failed) and reply.code == "relay-busy"):
                return reply
            assert time.monotonic() < until, "nothing for too long"
            await asyncio.sleep(0.05)

    async def _follow(self, index: int) -> None:
        shown, drop, lines = self.followed[index], self._region.bucket(0), Lines(self._region)
        while True:
            peer = await lines.to(index)
            peer.send(follow(drop, after=len(shown), number=1))
            while (reply := await peer.reply_or_end(1)) is not None:
                if isinstance(reply, wire.Failed):
                    assert reply.code == "relay-busy", reply
                    break
                assert isinstance(reply, wire.Cells)
                if reply.cells:
                    assert reply.first == len(shown) + 1  # no place is left out or shown again
                    shown += reply.cells
            self.lost += reply is None
            await asyncio.sleep(0.05)

    async def _check(self) -> None:
        for bucket in (0, 1):
            mine = {one.seq: one.cell for one in self.told if one.bucket == bucket}
            assert len(mine) == sum(one.bucket == bucket for one in self.told)  # no seq twice
            lines = Lines(self._region)
            found = [
                await read_all(await lines.to(index), self._region.bucket(bucket))
                for index in (0, 1)
            ]
            assert found[0] == found[1]
            assert len({*found[0]}) == len(found[0])
            assert {*mine} == {*range(1, len(found[0]) + 1)}
            assert found[0] == [mine[seq] for seq in sorted(mine)]
            if bucket == 0:
                assert all(cells == found[0] for cells in self.followed.values())


class Faults:
    """The faults that befall a region."""

    def __init__(self, region: Region, chance: random.Random) -> None:
        self._region, self._chance = region, chance

    def cut_node(self, lasts_s: float) -> None:
        """Pull the cable of a node."""
        self._line([self._region.cluster.host(self._node())], CUT, lasts_s)

    def bad_lines(self, lasts_s: float) -> None:
        """Make the lines of all nodes long and lossy."""
        self._line(
            [self._region.cluster.host(n) for n in self._region.cluster.nodes], BAD_LINE, lasts_s
        )

    def cut_relays(self, lasts_s: float) -> None:
        """Pull the cable between the relays and all nodes."""
        self._line([self._region.home], CUT, lasts_s)

    def cut_all(self, lasts_s: float) -> None:
        """Pull all cables of the region."""
        hosts = [self._region.cluster.host(node) for node in self._region.cluster.nodes]
        self._line([*hosts, self._region.home], CUT, lasts_s)

    def pause_node(self, lasts_s: float) -> None:
        """Let a node stand still."""
        process = self._region.cluster.processes[self._node().name]
        process.send_signal(signal.SIGSTOP)
        time.sleep(lasts_s)
        process.send_signal(signal.SIGCONT)

    def kill_node(self, lasts_s: float) -> None:
        """Kill a node, and start it again."""
        node = self._node()
        self._region.cluster.kill(node)
        time.sleep(lasts_s)
        self._region.cluster.start(node)

    def _node(self) -> Node:
        return self._chance.choice(self._region.cluster.nodes)

    @staticmethod
    def _line(hosts: Sequence[Host], line: Line, lasts_s: float) -> None:
        for host in hosts:
            host.line = line
        time.sleep(lasts_s)
        for host in hosts:
            host.line = Line()


FAULTS = (
    Faults.cut_node,
    Faults.bad_lines,
    Faults.cut_relays,
    Faults.pause_node,
    Faults.kill_node,
    Faults.cut_all,
)


@pytest.mark.campaign
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(rounds(1, 10)))
def test_whatever_happens_to_lines_and_nodes_there_is_one_history_and_the_other_region_goes_on(
    tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    stem = f"am{os.getpid() % 100_000}"
    with contextlib.ExitStack() as made:
        lans = [
            made.enter_context(Lan.of(f"{stem}{letter}", net, 4, random.Random(seed)))
            for net, letter in enumerate("ab", 1)
        ]
        regions = [
            Region(tmp_path / name, name, lan) for name, lan in zip(("DE", "IR"), lans, strict=True)
        ]
        for region in regions:
            made.enter_context(region.serving())
        people = [People(region, seed) for region in regions]
        threads = [Living(one) for one in people]
        for thread in threads:
            thread.start()
        struck = Faults(regions[0], chance)
        befell: dict[str, tuple[float, float]] = {}
        for fault in chance.sample(FAULTS, rounds(4, len(FAULTS))):
            time.sleep(QUIET_S)
            began = time.monotonic()
            fault(struck, chance.uniform(*FAULT_S))
            befell[fault.__name__] = began, time.monotonic()
        time.sleep(QUIET_S)
        for one in people:
            one.over.set()
        for thread in threads:
            thread.end()
    unharmed = people[1]
    assert unharmed.lost == 0
    report(
        "regions whose lines are cut",
        faults=len(befell),
        cells=len(people[0].told),
        longest_s=round(people[0].longest_s(), 1),
        longest_s_of_the_other=round(unharmed.longest_s(), 1),
    )
    for name, (began, ended) in befell.items():
        report(
            name, lasts=round(ended - began, 1), wait=round(people[0].longest_s(began, ended), 1)
        )


class Living(threading.Thread):
    """People who live in a thread of their own."""

    def __init__(self, people: People) -> None:
        super().__init__(daemon=True)
        self._people = people
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._people.live()
        except BaseException as error:  # noqa: BLE001  # whatever it is, the test is told
            self._error = error

    def end(self) -> None:
        self.join()
        if self._error is not None:
            raise self._error
