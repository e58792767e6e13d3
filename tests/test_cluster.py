"""Relay processes share a cluster of three real nodes: a cell that one acknowledges, all have."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import random
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import picows
import pytest

from amanat.errors import RelayBusy
from amanat.protocol import wire
from amanat.protocol.cells import LABEL_BYTES, MESSAGE_CELL
from amanat.protocol.descriptor import NamedAddress, open_descriptor
from amanat.protocol.ledger import origin
from amanat.protocol.sealing import seal_request
from amanat.protocol.tlog import open_checkpoint
from amanat.relay import reading, server
from amanat.relay.cluster import ClusterStore, open_cluster
from amanat.relay.cluster.layout import Layout
from amanat.relay.directory import RelayDirectory
from amanat.relay.drops import Drops
from amanat.relay.records import DropRecord, Unmade
from clusters import Cluster
from figures import report, rounds, soak_alone
from relays import Peer, RelayProcess, append, follow, in_loop, read_all, run_in_loop

pytestmark = pytest.mark.e2e

DYING_PATIENCE_S = 100.0
"""Seconds after which a test of dying nodes stops waiting: the engine may need ten to choose new
leaders, several times in a row."""
KILLS = 10
"""Deaths of relay processes in one run of their campaign."""


@pytest.fixture
def two(tmp_path: Path, cluster: Cluster) -> Iterator[tuple[RelayProcess, RelayProcess]]:
    """Two processes of one relay, each with a directory of its own."""
    first = RelayProcess(tmp_path / "first", buckets=4, **cluster.settings(tmp_path, keepers=2))
    with first, first.twin(tmp_path / "second") as second:
        yield first, second


def cell(label: int = 0) -> bytes:
    if not label:
        return os.urandom(MESSAGE_CELL)
    return label.to_bytes(LABEL_BYTES, "big") + os.urandom(MESSAGE_CELL - LABEL_BYTES)


@in_loop
async def test_a_cell_that_one_process_takes_reaches_the_followers_of_all(
    two: tuple[RelayProcess, RelayProcess],
) -> None:
    bucket = two[0].bucket()
    peers = [await Peer.connect(relay.address) for relay in two]
    for peer in peers:
        peer.send(follow(bucket, number=1))
        assert isinstance(await peer.reply(1), wire.Cells)
    for number, peer in enumerate([*peers, *peers], 2):
        data = cell()
        appended = await peer.ask(append(bucket, data, number))
        assert isinstance(appended, wire.Appended)
        assert appended.seq == number - 1
        for other in peers:
            told = await other.reply(1)
            assert isinstance(told, wire.Cells)
            assert (told.first, told.cells) == (number - 1, [data])


@contextlib.asynccontextmanager
async def served(directory: RelayDirectory, store: ClusterStore) -> AsyncIterator[NamedAddress]:
    """The address of a relay in this process."""
    relay = server.Relay(directory, store)
    ready: asyncio.Future[NamedAddress] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(relay.serve(ready.set_result))
    yield await ready
    os.kill(os.getpid(), signal.SIGTERM)
    await serving


def follow_through(two: tuple[RelayProcess, RelayProcess], kind: type[ClusterStore]) -> None:
    """Have the first process take a cell that a follower at another one, with a store of this kind,
    is told."""
    directory, bucket = two[1].directory, two[0].bucket()

    async def live(store: ClusterStore) -> None:
        async with served(directory, store) as address:
            follower, sender = await Peer.connect(address), await Peer.connect(two[0].address)
            follower.send(follow(bucket, number=1))
            assert isinstance(await follower.reply(1), wire.Cells)
            data = cell()
            assert isinstance(await sender.ask(append(bucket, data)), wire.Appended)
            told = await follower.reply(1)
            assert isinstance(told, wire.Cells)
            assert told.cells == [data]

    with contextlib.closing(open_cluster(directory, kind)) as store:
        run_in_loop(live(store))


class Deaf(ClusterStore):
    """A store that hears of no cell in another process."""

    def hear_of(self, landed: object) -> None:
        """Hear of nothing."""


def test_a_cell_reaches_a_follower_although_its_notice_was_lost(
    two: tuple[RelayProcess, RelayProcess], cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "LOOK_S", 0.2)
    follow_through(two, Deaf)


class Lagging(ClusterStore):
    """A store whose replica at hand has stopped; only the leader knows more."""

    @functools.cached_property
    def first_seen(self) -> dict[bytes, DropRecord]:
        return {}

    def look(self, drop_id: bytes, *, at_least: int = 0, is_sure: bool = False) -> DropRecord:
        seen = self.first_seen.get(drop_id)
        if seen is not None and seen.head >= at_least:
            return seen
        found = super().look(drop_id, at_least=at_least, is_sure=is_sure)
        return self.first_seen.setdefault(drop_id, found) if at_least == 0 else found


def test_a_cell_reaches_a_follower_although_a_replica_lags_behind_its_notice(
    two: tuple[RelayProcess, RelayProcess],
) -> None:
    follow_through(two, Lagging)


def noted_reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Where each read of a relay in this process begins, from now on."""
    reads: list[int] = []
    of_store = Drops.read

    def read(self: Drops, request: wire.Follow, *, after: int, told: int, now: float) -> wire.Cells:
        reads.append(after)
        return of_store(self, request, after=after, told=told, now=now)

    monkeypatch.setattr(Drops, "read", read)
    return reads


def test_one_read_serves_all_followers_of_a_process(
    two: tuple[RelayProcess, RelayProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, bucket = two[1].directory, two[0].bucket()
    reads = noted_reads(monkeypatch)

    async def live(store: ClusterStore) -> None:
        async with served(directory, store) as address:
            followers = [await Peer.connect(address) for _ in range(30)]
            for number, peer in enumerate(followers, 1):
                peer.send(follow(bucket, number=number))
                assert isinstance(await peer.reply(number), wire.Cells)
            reads.clear()
            sender, data = await Peer.connect(two[0].address), cell()
            assert isinstance(await sender.ask(append(bucket, data)), wire.Appended)
            for number, peer in enumerate(followers, 1):
                told = await peer.reply(number)
                assert isinstance(told, wire.Cells)
                assert (told.id, told.first, told.cells) == (number, 1, [data])
            assert 1 <= len(reads) <= 3  # a turn of the loop may serve a part of them

    with contextlib.closing(open_cluster(directory)) as store:
        run_in_loop(live(store))


class Hearing(ClusterStore):
    """A store that notes the heads of which it hears."""

    @functools.cached_property
    def heads(self) -> list[int]:
        return []

    def hear_of(self, landed: Callable[[bytes, int], object]) -> None:
        def hear(drop_id: bytes, head: int) -> None:
            self.heads.append(head)
            landed(drop_id, head)

        super().hear_of(hear)


def test_the_process_that_takes_a_cell_reads_it_for_no_follower(
    two: tuple[RelayProcess, RelayProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, bucket = two[1].directory, two[0].bucket()
    reads = noted_reads(monkeypatch)

    async def live(store: Hearing) -> None:
        async with served(directory, store) as address:
            follower, sender = [await Peer.connect(address) for _ in range(2)]
            follower.send(follow(bucket, number=1))
            assert isinstance(await follower.reply(1), wire.Cells)
            for number in range(1, 21):
                data = cell()
                assert isinstance(await sender.ask(append(bucket, data, number)), wire.Appended)
                told = await follower.reply(1)
                assert isinstance(told, wire.Cells)
                assert (told.first, told.cells) == (number, [data])
            other = await Peer.connect(two[0].address)
            assert isinstance(await other.ask(append(bucket, cell())), wire.Appended)
            assert isinstance(await follower.reply(1), wire.Cells)
            # Notices come in their order, so those of its own cells had all come.
            assert store.heads == [21]
            assert reads == [0, 20]

    with contextlib.closing(open_cluster(directory, Hearing)) as store:
        assert isinstance(store, Hearing)
        run_in_loop(live(store))


class Halting(ClusterStore):
    """A store whose cluster stops answering once it has taken a batch with cells."""

    def commit(self) -> Unmade:
        has_cells = any(one.cells for one in self._staged.values())
        unmade = super().commit()
        if has_cells:
            raise RelayBusy(retry_after=1.0)
        return unmade


def test_a_follower_gets_the_cells_that_landed_in_a_batch_that_failed(
    two: tuple[RelayProcess, RelayProcess],
) -> None:
    directory, bucket = two[1].directory, two[0].bucket()

    async def live(store: ClusterStore) -> None:
        async with served(directory, store) as address:
            follower, sender = [await Peer.connect(address) for _ in range(2)]
            follower.send(follow(bucket, number=1))
            assert isinstance(await follower.reply(1), wire.Cells)
            data = cell()
            assert await sender.ask_code(append(bucket, data)) == "relay-busy"
            told = await follower.reply(1)
            assert isinstance(told, wire.Cells)
            assert told.cells == [data]

    with contextlib.closing(open_cluster(directory, Halting)) as store:
        run_in_loop(live(store))


@in_loop
async def test_a_cell_that_is_sent_again_through_another_process_keeps_its_place(
    two: tuple[RelayProcess, RelayProcess],
) -> None:
    bucket = two[0].bucket()
    peers = [await Peer.connect(relay.address) for relay in two]
    data = cell(7)
    first = await peers[0].ask(append(bucket, data))
    assert await peers[1].ask(append(bucket, cell(8))) != first
    assert await peers[1].ask(append(bucket, data)) == first
    assert await peers[1].ask_code(append(bucket, cell(7))) == "label-taken"


@in_loop
async def test_cells_that_come_to_all_processes_at_once_get_one_order(
    two: tuple[RelayProcess, RelayProcess],
) -> None:
    bucket = two[0].bucket()
    peers = [await Peer.connect(relay.address) for relay in (*two, *two)]
    sent = {peer: [cell() for _ in range(200)] for peer in peers}
    for peer, cells in sent.items():
        for number, data in enumerate(cells, 1):
            peer.send(append(bucket, data, number))
    seqs: dict[int, bytes] = {}
    for peer, cells in sent.items():
        for number, data in enumerate(cells, 1):
            reply = await peer.reply(number)
            while isinstance(reply, wire.Failed):
                assert reply.code == "relay-busy"
                reply = await peer.ask(append(bucket, data, number))
            assert isinstance(reply, wire.Appended)
            assert reply.seq not in seqs
            seqs[reply.seq] = data
    ordered = [seqs[seq] for seq in range(1, 801)]
    for peer in peers:
        assert await read_all(peer, bucket, least=len(ordered)) == ordered


@in_loop
async def test_a_process_that_dies_takes_nothing_with_it(
    two: tuple[RelayProcess, RelayProcess],
) -> None:
    first, second = two
    bucket = first.bucket()
    peer = await Peer.connect(first.address)
    cells = [cell() for _ in range(50)]
    for number, data in enumerate(cells):
        assert isinstance(await peer.ask(append(bucket, data, number)), wire.Appended)
    await asyncio.to_thread(first.kill)
    other = await Peer.connect(second.address)
    assert await read_all(other, bucket, least=len(cells)) == cells
    assert isinstance(await other.ask(append(bucket, cell())), wire.Appended)
    await asyncio.to_thread(first.start)
    again = await Peer.connect(first.address)
    assert len(await read_all(again, bucket, least=51)) == len(cells) + 1


@in_loop
async def test_all_processes_show_one_checkpoint_and_open_one_seal(
    two: tuple[RelayProcess, RelayProcess],
) -> None:
    peers = [await Peer.connect(relay.address) for relay in two]
    described = [await peer.ask(wire.Describe(1, b"")) for peer in (*peers, *peers)]
    signed = [
        open_descriptor(one.descriptor, two[0].address.key)
        for one in described
        if isinstance(one, wire.Described)
    ]
    assert len(signed) == 4
    assert len({one.sealing for one in signed}) == 1
    sizes = [open_checkpoint(one.checkpoint, origin(one.key), one.key).size for one in signed]
    assert sizes == sorted(sizes)  # whoever has seen one is shown no older one
    assert sizes[-1] == 4  # the buckets
    bucket = two[0].bucket()
    for peer in peers:
        frame = wire.encode(append(bucket, cell()))
        sealed, _ = seal_request(frame, to=signed[0].sealing, relay=signed[0].key)
        assert isinstance(await peer.ask(wire.Sealed(9, sealed)), wire.Answer)
    assert len(await read_all(peers[0], bucket, least=2)) == 2


NODES = {"one": slice(0, 1), "two": slice(0, 2), "all": slice(0, 3)}
"""The nodes that die at once."""


@pytest.mark.campaign
@pytest.mark.parametrize(
    ("dying", "seed"),
    [("one", seed) for seed in range(rounds(1, 50))]
    + [pytest.param("two", seed, marks=soak_alone) for seed in range(rounds(1, 20))]
    + [("all", seed) for seed in range(rounds(1, 20))],
)
def test_no_acknowledged_cell_is_lost_or_doubled_when_nodes_die(
    two: tuple[RelayProcess, RelayProcess], cluster: Cluster, dying: str, seed: int
) -> None:
    chance = random.Random(f"{seed} {dying}")
    bucket = two[0].bucket()
    nodes = chance.sample(cluster.nodes, 3)[NODES[dying]]
    kept: list[bytes] = []

    async def live() -> None:
        peers = [await Peer.connect(relay.address) for relay in two]
        killing = asyncio.create_task(die())
        number = 0
        while not killing.done() or number % 50:
            number += 1
            data, peer = cell(), chance.choice(peers)
            # A client says the same until it is answered.
            while True:
                reply = await peer.ask(append(bucket, data, number))
                if isinstance(reply, wire.Appended):
                    break
                assert isinstance(reply, wire.Failed)
                assert reply.code == "relay-busy"
                await asyncio.sleep(0.05)
                peer = chance.choice(peers)
            kept.append(data)
            assert reply.seq == len(kept)
        await killing
        for peer in peers:
            assert await read_all(peer, bucket, least=len(kept)) == kept
        report(f"{dying} of three nodes killed", times=1, cells=len(kept))

    async def die() -> None:
        await asyncio.sleep(chance.uniform(0.2, 1))
        await asyncio.to_thread(cluster.kill, *nodes)
        await asyncio.sleep(chance.uniform(0.2, 1))
        cluster.start(*nodes)
        await asyncio.sleep(1)

    run_in_loop(live(), DYING_PATIENCE_S)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(rounds(1, 10)))
def test_no_acknowledged_cell_is_lost_or_doubled_when_processes_die(
    two: tuple[RelayProcess, RelayProcess], seed: int
) -> None:
    chance = random.Random(seed)
    bucket = two[0].bucket()
    kept: list[bytes] = []

    async def live() -> None:
        peer = await connected()
        killing = asyncio.create_task(die())
        while not killing.done():
            data = cell()
            # A client says the same until it is answered.
            while True:
                peer.send(append(bucket, data, len(kept)))
                reply = await peer.reply_or_end(len(kept))
                if isinstance(reply, wire.Appended):
                    break
                if reply is None:
                    peer = await connected()
                else:
                    assert isinstance(reply, wire.Failed)
                    assert reply.code == "relay-busy"
                    await asyncio.sleep(0.05)
            kept.append(data)
            assert reply.seq == len(kept)
        await killing
        for relay in two:
            peer = await Peer.connect(relay.address)
            assert await read_all(peer, bucket, least=len(kept)) == kept
        report("processes on a cluster killed", kills=KILLS, cells=len(kept))

    async def connected() -> Peer:
        while True:
            with contextlib.suppress(OSError, picows.WSError):
                return await Peer.connect(chance.choice(two).address)
            await asyncio.sleep(0.02)

    async def die() -> None:
        for _ in range(KILLS):
            await asyncio.sleep(chance.uniform(0.1, 0.6))
            relay = chance.choice(two)
            await asyncio.to_thread(relay.kill)
            await asyncio.to_thread(relay.start)

    run_in_loop(live(), DYING_PATIENCE_S)


def test_no_cell_of_a_region_is_on_a_node_of_another_and_neither_needs_the_other(
    cluster: Cluster, tmp_path: Path
) -> None:
    (tmp_path / "nodes").mkdir()
    other = Cluster(tmp_path / "nodes", region="IR")
    other.start()
    try:
        other.wait()
        ours = RelayProcess(tmp_path / "ours", **cluster.settings(tmp_path))
        theirs = RelayProcess(
            tmp_path / "theirs", region="IR", **other.settings(tmp_path / "nodes")
        )
        with ours, theirs:
            run_in_loop(two_regions(ours, theirs, cluster, other))
    finally:
        other.stop()


async def two_regions(
    ours: RelayProcess, theirs: RelayProcess, cluster: Cluster, other: Cluster
) -> None:
    relays = {ours: cluster, theirs: other}
    for relay in relays:
        peer = await Peer.connect(relay.address)
        for number in range(30):
            assert isinstance(await peer.ask(append(relay.bucket(), cell(), number)), wire.Appended)
    for relay, nodes in relays.items():
        # The subject of a drop is its id.
        word = Layout(nodes.region, b"", 1, 3).subject(relay.bucket().drop_id).rsplit(".", 1)[1]
        for place in relays.values():
            there = [word.encode() in files_of(place.home(node)) for node in place.nodes]
            assert there == [place is nodes] * 3
    await asyncio.to_thread(other.kill)
    peer = await Peer.connect(ours.address)
    assert isinstance(await peer.ask(append(ours.bucket(), cell())), wire.Appended)


def files_of(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())
