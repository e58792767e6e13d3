"""A relay's drops move to another relay, live: nothing is lost, nothing doubled, and what is left
tells nothing."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path
from typing import Any

import pytest

from amanat.config import MovingConfig
from amanat.drill.process import free_port
from amanat.protocol import wire
from amanat.protocol.cells import HANDSHAKE_CELL, LARGE_CELL, MESSAGE_CELL
from amanat.protocol.drops import Drop, derive_drop, token_hash
from amanat.protocol.moving import open_certificate, open_order
from amanat.region.mover import Mover, Report
from relays import Peer, RelayProcess, append, in_loop, read, read_all, run_in_loop

SOURCE_REGION, REGION = "IR", "DE"


def cell(rng: random.Random, size: int = MESSAGE_CELL) -> bytes:
    return rng.randbytes(size)


class Two:
    """A relay whose drops go to another."""

    def __init__(self, directory: Path, **settings: Any) -> None:  # noqa: ANN401
        self.source = RelayProcess(
            directory / "source", port=free_port(), region=SOURCE_REGION, buckets=2, **settings
        )
        address = self.source.home.address(self.source.home.config.port)
        self.destination = RelayProcess(
            directory / "destination",
            port=free_port(),
            region=REGION,
            moving=MovingConfig(sources=(str(address),)),
        )

    def __enter__(self) -> Two:
        self.source.start()
        self.destination.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.source.kill()
        self.destination.kill()

    def mover(self, **settings: Any) -> Mover:  # noqa: ANN401
        return Mover(self.source.home.directory, clock=time.time, patience_s=60, **settings)

    async def move(self, *, is_resumed: bool = False, **settings: Any) -> Report:  # noqa: ANN401
        mover = self.mover(**settings)
        try:
            to = None if is_resumed else self.destination.address
            return await mover.move(to, is_resumed=is_resumed)
        finally:
            mover.close()


def make(number: int) -> Drop:
    return derive_drop(number.to_bytes(32, "big"), purpose=b"test", region=SOURCE_REGION)


async def create(peer: Peer, relay: RelayProcess, drop: Drop) -> wire.Reply:
    return await peer.ask(
        wire.Create(
            1,
            relay.home.bucket_key,
            drop.drop_id,
            token_hash(drop.drop_id, drop.append_token),
            token_hash(drop.drop_id, drop.read_token),
            14,
        )
    )


@in_loop
async def test_all_drops_move_and_nothing_is_left(tmp_path: Path) -> None:
    rng = random.Random(1)
    with Two(tmp_path) as two:
        peer = await Peer.connect(two.source.address)
        held: dict[Drop, list[bytes]] = {}
        for drop in [make(number) for number in range(20)]:
            assert await create(peer, two.source, drop) == wire.Created(1, 0)
            held[drop] = []
        held[two.source.bucket(0)] = []
        for _ in range(400):
            drop = rng.choice([one for one in held if one != make(3)])
            size = rng.choices([MESSAGE_CELL, HANDSHAKE_CELL, LARGE_CELL], [90, 8, 2])[0]
            held[drop].append(cell(rng, size))
            reply = await peer.ask(append(drop, held[drop][-1], 1))
            assert isinstance(reply, wire.Appended), reply
        before = {drop: (await peer.ask(read(drop, 2**40, number=2))).before for drop in held}  # type: ignore[union-attr]
        report = await two.move()
        assert (report.drops, report.cells) == (22, 400)  # one bucket holds nothing
        order, statement, certificate = open_certificate(Path(report.certificate).read_bytes())
        assert (statement.cells, order.regions, order.region) == (400, [SOURCE_REGION], REGION)
        there = await Peer.connect(two.destination.address)
        for drop, cells in held.items():
            moved = await peer.ask(read(drop, number=3))
            assert isinstance(moved, wire.Moved)
            assert open_order(moved.order) == order
            assert await read_all(there, drop) == cells
            assert (await there.ask(read(drop, 2**40, number=4))).before == before[drop]  # type: ignore[union-attr]
            again = await there.ask(append(drop, cells[0], 5)) if cells else None
            assert again is None or (isinstance(again, wire.Appended) and again.seq == 1)
            assert isinstance(await there.ask(append(drop, cell(rng), 6)), wire.Appended)
            assert isinstance(await peer.ask(append(drop, cell(rng), 6)), wire.Moved)
        # A drop of the region that has moved is made there now.
        assert isinstance(await create(peer, two.source, make(100)), wire.Moved)
        assert await create(there, two.source, make(100)) == wire.Created(1, 0)
        files = b"".join(one.read_bytes() for one in two.source.home.directory.iterdir())
        assert not any(one[100:140] in files for cells in held.values() for one in cells)
        await there.hang_up()
    _ = asyncio, pytest, run_in_loop
