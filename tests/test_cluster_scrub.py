"""`relay cluster scrub` finds each change on a node's disk while relays serve, and heals it from
the other nodes."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from amanat.errors import ScrubUnderWay
from amanat.protocol import wire
from amanat.protocol.cells import LABEL_BYTES, MESSAGE_CELL
from amanat.relay.cluster.engine import Engine, Message
from amanat.relay.cluster.nodes import Node
from amanat.relay.cluster.scrub import Scrubber, _gaps, opened
from amanat.relay.directory import RelayDirectory
from clusters import Cluster
from figures import report, rounds
from relays import Peer, RelayProcess, append, in_loop, read_all

pytestmark = pytest.mark.e2e

MESSAGES = 60
"""Messages with one cell each."""
FLIPS = 25
"""Bits that change at once, each in another message."""
BUSY = 4
"""The exit status of `relay-busy`: while streams choose their leaders."""
SCRIPT = Path(__file__).parent.parent / "deploy" / "three-nodes" / "rebuild-replica"


class Machines:
    """The machines of the nodes: the example's script runs there, and stops and starts nodes."""

    def __init__(self, cluster: Cluster, directory: Path) -> None:
        self.stopped: list[str] = []
        self._cluster = cluster
        self._asks, self._answers = directory / "asks", directory / "answers"
        for pipe in (self._asks, self._answers):
            os.mkfifo(pipe)
        self.program = directory / "at-node"
        ask = f"sh -c 'echo $0 $1 >{self._asks}; read done <{self._answers}'"
        self.program.write_text(
            f'asking() {{ {ask} "$1" "$2"; }}\n'
            f'STORE="{cluster.directory}/$1" STOP="asking stop $1" START="asking start $1"\n'
            f'shift\n. "{SCRIPT}"\n'
        )
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while words := self._asks.read_text().split():
            verb, name = words
            (node,) = (node for node in self._cluster.nodes if node.name == name)
            if verb == "stop":
                self.stopped.append(name)
            {"stop": self._cluster.stop, "start": self._cluster.start}[verb](node)
            self._answers.write_text("done\n")

    def close(self) -> None:
        self._asks.write_text("\n")
        self._thread.join()


@pytest.fixture
def machines(cluster: Cluster, tmp_path: Path) -> Iterator[Machines]:
    with contextlib.closing(Machines(cluster, tmp_path)) as made:
        yield made


@pytest.fixture
def relay(cluster: Cluster, tmp_path: Path) -> Iterator[RelayProcess]:
    with RelayProcess(tmp_path / "relay", **cluster.settings(tmp_path)) as made:
        yield made


def scrub(relay: RelayProcess, rebuild: str = "") -> tuple[int, list[dict[str, Any]], str]:
    """(exit status, findings, what it says besides) of the command."""
    ran = subprocess.run(
        [sys.executable, "-m", "amanat", "--json", "relay", "cluster", "scrub"]
        + [str(relay.directory.path)]
        + ["--rebuild", rebuild] * bool(rebuild),
        capture_output=True,
        text=True,
        check=False,
    )
    said = ran.stdout + ran.stderr
    if ran.returncode == BUSY:
        return BUSY, [], said
    assert ran.stdout, said
    return ran.returncode, json.loads(ran.stdout.splitlines()[0]), said


@in_loop
async def fill(relay: RelayProcess, cells: list[bytes]) -> None:
    peer = await Peer.connect(relay.address)
    for number, cell in enumerate(cells, 1):
        while True:  # a leader may change
            told = await peer.ask(append(relay.bucket(), cell, number))
            if isinstance(told, wire.Appended):
                break
            assert isinstance(told, wire.Failed)
            assert told.code == "relay-busy"


@in_loop
async def look(relay: RelayProcess, cells: list[bytes]) -> None:
    peer = await Peer.connect(relay.address)
    for _ in range(5):  # whatever replica is asked
        assert await read_all(peer, relay.bucket(), least=len(cells)) == cells


def some_cells(chance: random.Random, count: int = MESSAGES) -> list[bytes]:
    return [chance.randbytes(MESSAGE_CELL) for _ in range(count)]


def shard_of(relay: RelayProcess, home: Path) -> Path:
    """The directory of the stream with the relay's bucket on a node."""
    with opened(relay.directory) as (_, layout, _):
        name = layout.stream(layout.shard(relay.bucket().drop_id))
    (path,) = home.glob(f"jetstream/*/streams/{name}")
    return path


def flip(chance: random.Random, path: Path, labels: list[bytes]) -> None:
    """Change a bit in each of some messages of a stream on a node's disk."""
    (block,) = path.glob("msgs/*.blk")
    data = bytearray(block.read_bytes())
    for label in labels:
        at = data.index(label) + chance.randrange(MESSAGE_CELL)
        data[at] ^= 1 << chance.randrange(8)
    block.write_bytes(data)


def planted(
    cluster: Cluster, relay: RelayProcess, node: Node, fault: Callable[[Path], None]
) -> None:
    """Change what a node has of the bucket's stream, while the node is stopped."""
    path = shard_of(relay, cluster.home(node))
    cluster.stop(node)
    fault(path)
    cluster.start(node)


def settled(relay: RelayProcess, rebuild: str = "") -> tuple[int, list[dict[str, Any]], str]:
    """As `scrub`, once all nodes can be read: one that has just started is away."""
    for _ in range(20):
        told = scrub(relay, rebuild)
        if told[0] != BUSY and not any(one["outcome"] == "unread" for one in told[1]):
            break
    return told


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(rounds(1, 40)))
def test_changed_bits_are_found_and_healed_from_the_other_nodes(
    cluster: Cluster, relay: RelayProcess, machines: Machines, seed: int
) -> None:
    chance = random.Random(seed)
    cells = some_cells(chance)
    fill(relay, cells)
    assert scrub(relay)[:2] == (0, [])
    node = chance.choice(cluster.nodes)
    labels = [cell[:LABEL_BYTES] for cell in chance.sample(cells, FLIPS)]
    planted(cluster, relay, node, lambda path: flip(chance, path, labels))
    status, found, _ = settled(relay)
    assert status == 1
    assert {(one["outcome"], one["node"]) for one in found} == {("bad", node.name)}
    assert sum(one["missing"] + one["changed"] for one in found) >= FLIPS
    assert "stop node" in found[0]["advice"]
    look(relay, cells)

    status, found, said = settled(relay, f"sh {machines.program}")
    assert status == 0, said
    assert {(one["outcome"], one["node"]) for one in found} == {("healed", node.name)}
    assert set(machines.stopped) == {node.name}
    assert scrub(relay)[:2] == (0, [])
    more = some_cells(chance, 5)
    fill(relay, more)
    look(relay, cells + more)
    report("bits flipped in a replica", flipped=FLIPS, found=FLIPS, healed=FLIPS)


def test_a_truncated_file_is_found_and_healed(
    cluster: Cluster, relay: RelayProcess, machines: Machines
) -> None:
    cells = some_cells(random.Random(1))
    fill(relay, cells)

    def truncate(path: Path) -> None:
        (block,) = path.glob("msgs/*.blk")
        os.truncate(block, block.stat().st_size // 2)

    node = cluster.nodes[0]
    planted(cluster, relay, node, truncate)
    status, found, said = settled(relay, "false")
    assert status == 1
    assert "it is not rebuilt: false ended with status 1" in said
    assert {(one["outcome"], one["node"]) for one in found} == {("bad", node.name)}
    status, found, said = settled(relay, f"sh {machines.program}")
    assert status == 0, said
    assert "healed" in {one["outcome"] for one in found}
    assert scrub(relay)[:2] == (0, [])
    look(relay, cells)


@pytest.mark.parametrize("whole", [True, False], ids=["of the node", "of one stream"])
def test_yesterdays_copy_of_a_replica_loses_nothing(
    cluster: Cluster, relay: RelayProcess, machines: Machines, tmp_path: Path, *, whole: bool
) -> None:
    chance = random.Random(2)
    cells = some_cells(chance)
    fill(relay, cells)
    node = cluster.nodes[1]

    def place(path: Path) -> Path:
        return cluster.home(node) if whole else path

    planted(cluster, relay, node, lambda path: copied(place(path), tmp_path / "yesterday"))
    later = some_cells(chance)
    fill(relay, later)
    planted(cluster, relay, node, lambda path: copied(tmp_path / "yesterday", place(path)))
    # The engine brings a node up to date whose record of the others is as old as its streams.
    status, found, said = settled(relay, f"sh {machines.program}")
    assert status == 0, said
    assert {one["node"] for one in found} <= {node.name}
    assert scrub(relay)[:2] == (0, [])
    look(relay, cells + later)


def copied(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)


def test_a_node_that_is_away_is_named_and_nothing_is_rebuilt(
    cluster: Cluster, relay: RelayProcess, machines: Machines
) -> None:
    cells = some_cells(random.Random(3), 5)
    fill(relay, cells)
    node = cluster.nodes[2]
    cluster.stop(node)
    status, found, _ = scrub(relay, f"sh {machines.program}")
    assert status == 1
    assert {(one["outcome"], one["node"]) for one in found} == {("unread", node.name)}
    assert len(found) == 4  # the streams
    assert machines.stopped == []
    look(relay, cells)


def test_nothing_is_deleted_of_a_message_that_no_replica_has(
    cluster: Cluster, relay: RelayProcess, machines: Machines
) -> None:
    chance = random.Random(4)
    cells = some_cells(chance, 10)
    fill(relay, cells)
    paths = [shard_of(relay, cluster.home(node)) for node in cluster.nodes]
    cluster.stop()
    for path in paths:
        flip(chance, path, [cells[4][:LABEL_BYTES]])
    cluster.start()
    cluster.wait()
    status, found, said = settled(relay, f"sh {machines.program}")
    assert status == 5
    assert "store-damaged" in said
    assert {one["outcome"] for one in found} >= {"lost"}
    assert "delete nothing" in said
    assert machines.stopped == []


class Holed:
    """An engine at which some nodes lack a message each. If they lacked it on their disks, the
    engine might mend one of them before it is read."""

    def __init__(self, engine: Engine, lacking: dict[str, int]) -> None:
        self._engine, self._lacking = engine, lacking

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # whatever an engine has
        return getattr(self._engine, name)

    def read_replica(self, stream: str, node: str, hear: Callable[[Message], object]) -> None:
        lacking = self._lacking.get(node)
        self._engine.read_replica(
            stream, node, lambda message: message.place == lacking or hear(message)
        )


def test_no_replica_is_rebuilt_while_another_of_its_stream_is_bad(
    cluster: Cluster, relay: RelayProcess, machines: Machines
) -> None:
    cells = some_cells(random.Random(5), 10)
    fill(relay, cells)
    one, two, _ = (node.name for node in cluster.nodes)
    with opened(relay.directory) as (engine, layout, sealer):
        holed: Any = Holed(engine, {one: 2, two: 3})
        found = Scrubber(holed, layout, sealer).run(["sh", str(machines.program)])
    assert {(bad.outcome, bad.node) for bad in found} == {("bad", one), ("bad", two)}
    assert all("delete none" in bad.advice for bad in found)
    assert machines.stopped == []
    look(relay, cells)


def test_of_two_scrubs_one_goes_on(relay: RelayProcess) -> None:
    refused: list[ScrubUnderWay] = []

    def second(*_: int) -> None:
        if not refused:
            with opened(relay.directory) as place, pytest.raises(ScrubUnderWay) as caught:
                Scrubber(*place).run()
            refused.append(caught.value)

    with opened(relay.directory) as place:
        assert Scrubber(*place, second).run() == []
    assert refused
    with opened(relay.directory) as place:  # nothing is left of the first
        assert Scrubber(*place).run() == []


def test_a_message_that_all_have_lost_is_a_gap_and_one_that_was_purged_is_none() -> None:
    def chain(*places: tuple[int, int], subject: str = "one") -> list[Message]:
        return [Message(place, subject, before, {}, b"") for place, before in places]

    assert _gaps(chain((5, 3), (8, 5)), []) == []  # 3 was purged
    assert _gaps(chain((5, 3), (8, 6), (9, 8)), []) == [6]
    assert _gaps(chain((5, 3), (8, 6)), [6]) == []  # a replica has it otherwise
    assert _gaps(chain((5, 3), (8, 0)), []) == []  # the drop was created again
    assert _gaps(chain((5, 3)) + chain((8, 2), subject="two"), []) == []


def test_a_relay_without_a_cluster_is_refused(tmp_path: Path) -> None:
    with RelayProcess(tmp_path / "relay") as relay:
        ran = subprocess.run(
            [sys.executable, "-m", "amanat", "relay", "cluster", "scrub", relay.directory.path],
            capture_output=True,
            text=True,
            check=False,
        )
    assert ran.returncode == 2
    assert "store is empty" in ran.stderr
    assert RelayDirectory.open(relay.directory.path)
