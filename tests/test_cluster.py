"""Relay processes that share a cluster of three real nodes: what one acknowledges, all have."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from amanat.protocol import wire
from amanat.protocol.cells import LABEL_BYTES, MESSAGE_CELL
from clusters import Cluster
from relays import Peer, RelayProcess, append, follow, in_loop, read_all

pytestmark = pytest.mark.e2e


@pytest.fixture
def two(tmp_path: Path, cluster: Cluster) -> Iterator[tuple[RelayProcess, RelayProcess]]:
    """Two processes of one relay, each with a directory of its own."""
    first = RelayProcess(tmp_path / "first", buckets=4, **cluster.settings(tmp_path, keepers=2))
    with first, first.twin(tmp_path / "second") as second:
        yield first, second
    cluster.wipe()


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
        assert await read_all(peer, bucket) == ordered


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
    assert await read_all(other, bucket) == cells
    assert isinstance(await other.ask(append(bucket, cell())), wire.Appended)
    await asyncio.to_thread(first.start)
    again = await Peer.connect(first.address)
    assert len(await read_all(again, bucket)) == len(cells) + 1
