"""The steps of docs/operations.md for a cluster, while a relay serves: an upgrade, a node that is
replaced, a directory that is made again."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from amanat.config import RelayLimits
from amanat.protocol import wire
from amanat.protocol.cells import MESSAGE_CELL
from amanat.protocol.drops import derive_bucket
from amanat.relay.cluster.checking import Verdict, examine
from amanat.relay.cluster.nodes import START_S, free_ports
from amanat.relay.cluster.scrub import Found, Outcome, Scrubber, opened
from amanat.relay.drops import DAY_S, Drops
from clocks import move_clock
from clusters import Cluster
from relays import Peer, RelayProcess, append, in_loop, read_all, run_in_loop

pytestmark = pytest.mark.e2e

PATIENCE_S = 100.0
WRITERS = 8
DISK_BYTES = 48 * 1024 * 1024
"""The size of a small disk: an empty node takes little of it."""


@pytest.fixture
def relay(cluster: Cluster, tmp_path: Path) -> Iterator[RelayProcess]:
    with RelayProcess(tmp_path / "relay", **cluster.settings(tmp_path)) as made:
        yield made


def wait_for_check(relay: RelayProcess) -> None:
    """Repeat the check until all replicas are current."""
    until = time.monotonic() + START_S
    while True:
        found = examine(relay.directory, None, time.time)
        bad = [one for one in found if one.verdict in (Verdict.FAULT, Verdict.WARNING)]
        if not bad:
            return
        assert time.monotonic() < until, bad
        time.sleep(0.2)


def scrubbed(relay: RelayProcess) -> list[Found]:
    with opened(relay.directory) as place:
        return Scrubber(*place).run()


def under_load(relay: RelayProcess, work: Callable[[], None]) -> list[bytes]:
    """The cells that a client appends, one after the other, while something is done. Each is taken
    at its place, and all are there afterwards."""
    kept: list[bytes] = []

    async def live() -> None:
        peer = await Peer.connect(relay.address)
        bucket = relay.bucket()
        working = asyncio.create_task(asyncio.to_thread(work))
        while not working.done() or len(kept) < 20:
            cell = os.urandom(MESSAGE_CELL)
            # A client says the same until it is answered.
            while isinstance(reply := await peer.ask(append(bucket, cell)), wire.Failed):
                assert reply.code == "relay-busy"
                await asyncio.sleep(0.05)
            assert isinstance(reply, wire.Appended)
            kept.append(cell)
            assert reply.seq == len(kept)
        await working
        assert await read_all(peer, bucket, least=len(kept)) == kept

    run_in_loop(live(), PATIENCE_S)
    return kept


def test_an_upgrade_node_by_node_loses_nothing(cluster: Cluster, relay: RelayProcess) -> None:
    def upgrade() -> None:
        for node in cluster.nodes:
            wait_for_check(relay)
            cluster.stop(node)
            cluster.start(node)
        wait_for_check(relay)

    under_load(relay, upgrade)
    # The engine loses a message of a replica now and then as a node starts: never of two.
    assert {one.outcome for one in scrubbed(relay)} <= {Outcome.BAD}


def test_a_node_that_is_replaced_by_an_empty_one_is_filled_by_the_others(
    cluster: Cluster, relay: RelayProcess
) -> None:
    node = cluster.nodes[1]

    def replace() -> None:
        wait_for_check(relay)
        cluster.kill(node)
        shutil.rmtree(cluster.home(node))
        cluster.start(node)
        wait_for_check(relay)

    cells = under_load(relay, replace)
    assert scrubbed(relay) == []
    for other in cluster.nodes:
        if other != node:  # the new node alone has enough
            cluster.stop(other)
            cluster.start(other)
            wait_for_check(relay)
    look(relay, cells)


@in_loop
async def look(relay: RelayProcess, cells: list[bytes]) -> None:
    peer = await Peer.connect(relay.address)
    assert await read_all(peer, relay.bucket(), least=len(cells)) == cells


def test_relay_processes_that_start_again_in_turn_refuse_nothing(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Both listen on one port, and the system divides the callers among them."""
    (port,) = free_ports(1)
    settings = cluster.settings(tmp_path, keepers=2)
    first = RelayProcess(tmp_path / "first", port=port, buckets=WRITERS, **settings)
    with first, first.twin(tmp_path / "second") as second:
        told = [list[bytes]() for _ in range(WRITERS)]
        moved = 0

        def restart() -> None:
            for one in (first, second, first, second):
                assert one.drain() == 0
                one.start()

        async def write(number: int, working: asyncio.Future[None]) -> None:
            nonlocal moved
            peer, bucket, mine = (
                await Peer.connect(first.address),
                first.bucket(number),
                told[number],
            )
            while not working.done():
                cell = os.urandom(MESSAGE_CELL)
                peer.send(append(bucket, cell, 1))
                while (appended := await peer.reply_or_end(1)) is None:
                    assert peer.closed.result() == (1012, "draining")  # service restart
                    peer, moved = await Peer.connect(first.address), moved + 1
                    peer.send(append(bucket, cell, 1))
                assert isinstance(appended, wire.Appended), appended
                mine.append(cell)
                assert appended.seq == len(mine)

        async def live() -> None:
            peer = await Peer.connect(first.address)
            for number, mine in enumerate(told):  # both processes have the keys of this day then
                mine.append(bytes(MESSAGE_CELL))
                reply = await peer.ask(append(first.bucket(number), mine[0], 1))
                assert isinstance(reply, wire.Appended)
            working = asyncio.ensure_future(asyncio.to_thread(restart))
            await asyncio.gather(*(write(number, working) for number in range(WRITERS)))
            await working
            peer = await Peer.connect(first.address)
            for number, mine in enumerate(told):
                assert await read_all(peer, first.bucket(number), least=len(mine)) == mine

        run_in_loop(live(), PATIENCE_S)
        assert moved >= WRITERS


@pytest.fixture
def small(tmp_path: Path) -> Iterator[tuple[Cluster, Path]]:
    """A cluster, and the disk of its second node, which is small."""
    nodes = Cluster(tmp_path / "nodes", region="DE")
    disk = nodes.home(nodes.nodes[1])
    disk.mkdir()
    mount = ["/bin/mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        nodes.start()
        nodes.wait()
        yield nodes, disk
    finally:
        nodes.stop()
        subprocess.run(["/bin/umount", "--lazy", disk], check=False)


def test_a_full_disk_of_one_node_stops_nobody(small: tuple[Cluster, Path], tmp_path: Path) -> None:
    cluster, disk = small
    node = cluster.nodes[1]
    with RelayProcess(tmp_path / "relay", **cluster.settings(tmp_path)) as relay:
        filler = disk / "filler"

        def fill() -> None:
            wait_for_check(relay)
            with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while file.write(bytes(65_536)):
                    pass
            time.sleep(2)  # cells land, which the node cannot store

        cells = under_load(relay, fill)
        assert shutil.disk_usage(disk).free == 0
        found = scrubbed(relay)
        assert {one.node for one in found} == {node.name}
        filler.unlink()
        cluster.stop(node)
        cluster.start(node)
        wait_for_check(relay)
        assert {one.node for one in scrubbed(relay)} <= {node.name}
        look(relay, cells)


def test_a_directory_that_is_lost_is_made_again_from_another(
    cluster: Cluster, tmp_path: Path
) -> None:
    first = RelayProcess(tmp_path / "first", **cluster.settings(tmp_path, keepers=2))
    with contextlib.ExitStack() as running:
        running.enter_context(first)
        second = running.enter_context(first.twin(tmp_path / "second"))
        cells = under_load(second, lambda: None)
        second.kill()
        shutil.rmtree(second.directory.path)
        again = running.enter_context(first.twin(tmp_path / "again"))
        look(again, cells)
        first.kill()  # what it had asked for, it keeps
        look(again, cells)


CLOCKS_S = (5 * 3600, -7 * 3600, 0)
"""How far the clock of a node is ahead, one after the other; in the end it is right again."""


def skewed(relay: RelayProcess, cluster: Cluster, directory: Path) -> dict[str, int]:
    """By how many hours the check says that nodes are ahead, or behind (below 0)."""
    login = directory / "system.login"
    login.write_text(f"system\n{cluster.password}\n")
    found: dict[str, int] = {}
    for one in examine(relay.directory, login, time.time):
        told = re.search(r"clock of node (\S+) is (\d+) seconds (ahead|behind)", one.text)
        if told is not None:
            assert (one.check, one.verdict) == ("clock", Verdict.WARNING)
            found[told[1]] = round(int(told[2]) / 3600) * (1 if told[3] == "ahead" else -1)
    return found


def test_the_clock_of_a_node_that_jumps_by_hours_loses_nothing(
    cluster: Cluster, relay: RelayProcess, tmp_path: Path
) -> None:
    seen: list[dict[str, int]] = []

    def jump() -> None:
        for node, seconds in itertools.product(cluster.nodes, CLOCKS_S):
            move_clock(cluster.processes[node.name].pid, seconds)
            seen.append(skewed(relay, cluster, tmp_path))

    under_load(relay, jump)
    assert seen == [
        {node.name: seconds // 3600} if seconds else {}
        for node, seconds in itertools.product(cluster.nodes, CLOCKS_S)
    ]
    assert scrubbed(relay) == []


def test_cells_end_by_the_clock_of_the_relay_and_not_by_that_of_a_node(
    cluster: Cluster, tmp_path: Path
) -> None:
    now = time.time()
    buckets = [derive_bucket(bytes(32), index, region="DE") for index in range(4)]
    with contextlib.closing(cluster.store(tmp_path)) as store:
        drops = Drops(store, region="DE", bucket_key=bytes(32), limits=RelayLimits())
        drops.open_buckets(len(buckets), now=now)

        def put(day: int) -> None:
            cells = [append(bucket, os.urandom(MESSAGE_CELL)) for bucket in buckets]
            for reply in drops.carry_out(cells, now=now + day * DAY_S).replies:
                assert isinstance(reply, wire.Appended)
                assert reply.seq == day + 1

        def expire(day: int, left: int) -> None:
            for _ in drops.expire(now=now + day * DAY_S):
                pass
            assert store.stored_bytes() == left * len(buckets) * MESSAGE_CELL

        expire(0, 0)
        for day, node in enumerate(cluster.nodes):
            for seconds in CLOCKS_S[:-1]:
                move_clock(cluster.processes[node.name].pid, 24 * 20 * seconds)
            put(day)
            expire(day, day + 1)
        for day in range(3):
            expire(15 + day, 2 - day)
    for node in cluster.nodes:
        move_clock(cluster.processes[node.name].pid, 0)
