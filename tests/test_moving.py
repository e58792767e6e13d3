"""A relay's drops move to another relay, live: nothing is lost, nothing doubled, and what is left
tells nothing."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Self

import pytest

from amanat.config import MovingConfig
from amanat.drill.process import free_port
from amanat.errors import DropMoved, Unavailable
from amanat.link import Link, connect
from amanat.protocol import moving, wire
from amanat.protocol.cells import HANDSHAKE_CELL, LARGE_CELL, MESSAGE_CELL
from amanat.protocol.descriptor import Notice
from amanat.protocol.drops import Drop, derive_drop, token_hash
from amanat.protocol.moving import open_certificate, open_order
from amanat.region import mover, notice
from amanat.region.mover import Mover, Report
from amanat.region.notice import DAY_S, LEAST_DAYS
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

    def __enter__(self) -> Self:
        self.source.start()
        self.destination.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.source.kill()
        self.destination.kill()

    @staticmethod
    def certificate(report: Report) -> bytes:
        return Path(report.certificate).read_bytes()

    def mover(self, **settings: Any) -> Mover:  # noqa: ANN401
        return Mover(self.source.home.directory, clock=time.time, patience_s=60, **settings)

    async def announce(self, days: int) -> Notice:
        """Tell people that all moves in so many days."""
        today = int(time.time() // DAY_S)
        return await notice.announce(
            self.source.home.directory,
            self.destination.address,
            on=today + days,
            reason="the law",
            now=(today + days - LEAST_DAYS) * DAY_S,
        )

    async def move(self, *, is_resumed: bool = False, **settings: Any) -> Report:  # noqa: ANN401
        mover = self.mover(**settings)
        to = None if is_resumed else self.destination.address
        try:
            if to is not None:
                await self.announce(0)
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
        order, statement, _ = open_certificate(two.certificate(report))
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


# Whatever ends in between


class Interruption(Exception):  # noqa: N818  # it is no error
    """The mover is ended."""


class Interrupter:
    """Ends something at random steps of a move."""

    def __init__(self, two: Two, rng: random.Random) -> None:
        self.points: list[str] = []
        self._two = two
        self._rng = rng
        self._left = rng.randrange(1, 15)
        self._one = asyncio.Lock()

    async def step(self, taken: Coroutine[Any, Any, Any], link: Link) -> Any:  # noqa: ANN401
        self._left -= 1
        if self._left > 0:
            return await taken
        self._left = self._rng.randrange(1, 15)
        task = asyncio.ensure_future(taken)
        task.add_done_callback(lambda one: one.cancelled() or one.exception())
        # Before it leaves, while it is under way, or after its answer.
        await asyncio.wait([task], timeout=self._rng.choice([0, 0.002, 0.005, 5]))
        task.add_done_callback(lambda one: one.cancelled() or one.exception())
        what = self._rng.choice(["source", "destination", "mover", "network"])
        self.points.append(what)
        if what in ("source", "destination"):
            await asyncio.shield(asyncio.create_task(self._restart(getattr(self._two, what))))
        elif what == "network":
            link.close()
        else:
            task.cancel()
            raise Interruption
        return await task

    async def _restart(self, relay: RelayProcess) -> None:
        async with self._one:
            relay.kill()
            await asyncio.to_thread(relay.start)


class Writer:
    """Somebody who writes to drops and follows them, and knows what was told to be on disk."""

    def __init__(self, two: Two, drops: list[Drop], rng: random.Random) -> None:
        self.told: dict[Drop, dict[int, bytes]] = {drop: {} for drop in drops}
        self._two = two
        self._rng = rng

    async def write(self, until: asyncio.Event) -> None:
        while not until.is_set():
            drop = self._rng.choice(list(self.told))
            mine = cell(self._rng)
            seq = await self._bring(append(drop, mine))
            assert self.told[drop].setdefault(seq, mine) == mine
            await asyncio.sleep(self._rng.uniform(0, 0.02))

    async def _bring(self, request: wire.Append) -> int:
        to = self._two.source.address
        while True:
            try:
                link = await connect(to)
                try:
                    return (await link.request(request, wire.Appended)).seq
                finally:
                    link.close()
            except DropMoved as moved:
                to = open_order(moved.order).destination
            except Unavailable:
                await asyncio.sleep(0.02)


@pytest.mark.e2e
@pytest.mark.parametrize("seed", range(4))
def test_interrupted_anywhere_it_comes_to_the_same_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    run_in_loop(interrupt(tmp_path, monkeypatch, random.Random(seed)), patience_s=200)


async def interrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: random.Random) -> None:
    monkeypatch.setattr(mover, "FIRST_DROPS", 1)
    monkeypatch.setattr(mover, "PAUSE_S", 0)
    with Two(tmp_path) as two:
        peer = await Peer.connect(two.source.address)
        drops = [make(number) for number in range(25)]
        for drop in drops:
            await create(peer, two.source, drop)
        writer = Writer(two, [*drops, two.source.bucket(0)], rng)
        for _ in range(250):
            drop = rng.choice(drops)
            mine = cell(rng, rng.choices([MESSAGE_CELL, LARGE_CELL], [90, 10])[0])
            reply = await peer.ask(append(drop, mine, 1))
            assert isinstance(reply, wire.Appended)
            writer.told[drop][reply.seq] = mine
        enough = asyncio.Event()
        writing = asyncio.create_task(writer.write(enough))
        interrupter = Interrupter(two, rng)
        ask = mover._Steps.ask

        async def step(self: mover._Steps, step: moving.Step) -> wire.Moving:
            answer: wire.Moving = await interrupter.step(ask(self, step), self._link)
            return answer

        monkeypatch.setattr(mover._Steps, "ask", step)
        report, is_resumed = None, False
        while report is None:
            try:
                report = await two.move(is_resumed=is_resumed)
            except Interruption:
                is_resumed = True
        enough.set()
        await writing
        assert len(interrupter.points) >= 25  # four times: a hundred in all
        _, statement, _ = open_certificate(two.certificate(report))
        assert statement.drops == 27
        there = await Peer.connect(two.destination.address)
        for drop, told in writer.told.items():
            found = await read_all(there, drop)
            assert len(set(found)) == len(found)
            assert dict(enumerate(found, 1)) == told
        peer = await Peer.connect(two.source.address)
        for drop in writer.told:
            assert isinstance(await peer.ask(read(drop, number=9)), wire.Moved)
        files = b"".join(one.read_bytes() for one in two.source.home.directory.iterdir())
        cells = [one for told in writer.told.values() for one in told.values()]
        assert not any(one[100:140] in files for one in cells)
