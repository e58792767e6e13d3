"""A relay's drops move to another relay, live: nothing is lost, nothing is doubled, and the source
keeps nothing that reveals anything."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Self

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from amanat.config import MovingConfig, RelayLimits
from amanat.drill.process import free_port
from amanat.errors import (
    BadArgument,
    BrokenCertificate,
    DropMoved,
    MoveUnderWay,
    NoticeRuns,
    Unavailable,
)
from amanat.link import Link, connect
from amanat.protocol import moving, wire
from amanat.protocol.cells import HANDSHAKE_CELL, LARGE_CELL, MESSAGE_CELL
from amanat.protocol.descriptor import MoveNotice, NamedAddress, Stay, open_descriptor, sign_address
from amanat.protocol.drops import RETENTION_DAYS, Drop, derive_drop, token_hash
from amanat.protocol.ledger import MovedIn, MovedOut, drop_hash
from amanat.protocol.moving import open_certificate, open_order
from amanat.protocol.places import Place
from amanat.region import mover, notice
from amanat.region.mover import Mover, Report
from amanat.region.notice import DAY_S, LEAST_DAYS
from amanat.relay.drops import Drops
from amanat.relay.records import MOST_SEQ, DropRecord
from amanat.relay.store import SqliteStore
from amanat.relay.store.bodies import DIRECTORY, REAL_SIZE
from amanat.relay.store.reader import SqliteReader
from amanat.relay.store.wrapping import KEY_BYTES, NONCE_BYTES, WRAP_BYTES, bound_to
from clusters import Cluster
from damage import changed_at
from figures import rounds
from relays import Peer, RelayProcess, append, in_loop, read, read_all, run_in_loop

SOURCE_REGION, REGION = "IR", "DE"


def cell(rng: random.Random, size: int = MESSAGE_CELL) -> bytes:
    return rng.randbytes(size)


def knows_its_total(relay: RelayProcess) -> None:
    """A store need not count what it holds, whatever came, went and died."""
    with contextlib.closing(sqlite3.connect(relay.directory.path / "drops.sqlite")) as store:
        (known,) = store.execute("SELECT drops, bytes, bucket_bytes FROM total")
        (counted,) = store.execute(
            'SELECT count(*), sum(bytes), sum(bytes) FILTER (WHERE bucket) FROM "drop"'
        )
        (held,) = store.execute(
            f"SELECT ifnull(sum({REAL_SIZE} - ?), 0) FROM cell",  # noqa: S608  # constant
            (WRAP_BYTES,),
        ).fetchone()
    assert known == counted
    assert known[1] == held


class Two:
    """A relay whose drops go to another."""

    def __init__(
        self,
        directory: Path,
        *,
        to_limits: RelayLimits | None = None,
        to_cluster: Cluster | None = None,
        **settings: Any,  # noqa: ANN401  # the source's
    ) -> None:
        self.source = RelayProcess(
            directory / "source",
            tls="pinned",
            port=free_port(),
            region=SOURCE_REGION,
            buckets=2,
            **settings,
        )
        address = self.source.directory.address(self.source.directory.config.port)
        self.destination = RelayProcess(
            directory / "destination",
            tls="pinned",
            port=free_port(),
            region=REGION,
            moving=MovingConfig(sources=(str(address),)),
            limits=to_limits or RelayLimits(),
            **(to_cluster.settings(directory) if to_cluster else {}),
        )

    def __enter__(self) -> Self:
        self.source.start()
        self.destination.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.source.kill()
        self.destination.kill()
        for relay in (self.source, self.destination):
            if not relay.directory.config.store:
                knows_its_total(relay)

    @staticmethod
    def certificate(report: Report) -> bytes:
        return Path(report.certificate).read_bytes()

    def mover(self, **settings: Any) -> Mover:  # noqa: ANN401
        settings = {"patience_s": 60, **settings}
        return Mover(self.source.directory.path, clock=time.time, **settings)

    async def peers(self) -> tuple[Peer, Peer]:
        """Connections to the source and to the destination."""
        return await Peer.connect(self.source.address), await Peer.connect(self.destination.address)

    async def announce(self, days: int) -> MoveNotice:
        """Announce a move in so many days."""
        today = int(time.time() // DAY_S)
        return await notice.announce(
            self.source.directory.path,
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


def creation(relay: RelayProcess, drop: Drop) -> wire.Create:
    return wire.Create(
        1,
        relay.directory.bucket_key,
        drop.drop_id,
        token_hash(drop.drop_id, drop.append_token),
        token_hash(drop.drop_id, drop.read_token),
        14,
    )


async def create(peer: Peer, relay: RelayProcess, drop: Drop) -> wire.Reply:
    return await peer.ask(creation(relay, drop))


@pytest.mark.long
@pytest.mark.parametrize("to", ["disk", "cluster"])
def test_all_drops_move_and_nothing_is_left(
    tmp_path: Path, request: pytest.FixtureRequest, to: str
) -> None:
    cluster: Cluster | None = request.getfixturevalue("cluster") if to == "cluster" else None
    run_in_loop(all_drops_move(Two(tmp_path, to_cluster=cluster)), 60)


async def all_drops_move(moving_two: Two) -> None:
    rng = random.Random(1)
    with moving_two as two:
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
        file, held[file] = make(20), [cell(rng, LARGE_CELL) for _ in range(30)]
        assert await create(peer, two.source, file) == wire.Created(1, 0)
        appends = [append(file, one, 10 + number) for number, one in enumerate(held[file])]
        replies = await asyncio.gather(*map(peer.ask, appends))
        assert [one.seq for one in replies if isinstance(one, wire.Appended)] == [*range(1, 31)]
        bodies = two.source.directory.path / DIRECTORY
        assert list(bodies.iterdir())
        before = {drop: (await peer.ask(read(drop, 2**40, number=2))).before for drop in held}  # type: ignore[union-attr]
        report = await two.move()
        assert (report.drops, report.cells) == (23, 430)  # one bucket holds nothing
        order, statement, _ = open_certificate(two.certificate(report))
        assert (statement.cells, order.regions, order.region) == (430, [SOURCE_REGION], REGION)
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
        # A new drop of the moved region is now made at the destination.
        assert isinstance(await create(peer, two.source, make(100)), wire.Moved)
        assert await create(there, two.source, make(100)) == wire.Created(1, 0)
        assert list(bodies.iterdir()) == []
        files = b"".join(one.read_bytes() for one in two.source.directory.path.glob("*.*"))
        assert not any(one[100:140] in files for cells in held.values() for one in cells)
        await there.hang_up()


@pytest.mark.long
@in_loop
async def test_a_destination_is_asked_no_more_at_once_than_it_takes(tmp_path: Path) -> None:
    rng = random.Random(2)
    with Two(tmp_path, to_limits=RelayLimits(requests_in_flight=4)) as two:
        peer = await Peer.connect(two.source.address)
        for _ in range(40):  # each is a frame
            reply = await peer.ask(append(two.source.bucket(), cell(rng, LARGE_CELL), 1))
            assert isinstance(reply, wire.Appended), reply
        assert (await two.move(patience_s=0)).cells == 40  # one refusal would have ended it


@pytest.mark.long
@in_loop
async def test_nothing_is_released_that_the_destination_may_still_forget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, ask = random.Random(3), mover._Steps.ask
    settled: list[bool] = []
    released = 0

    async def step(self: mover._Steps, step: moving.Step) -> wire.Moving:
        nonlocal released
        if isinstance(step, moving.Carry):
            settled.append(step.settles)
        elif isinstance(step, moving.Freeze) and not released:
            await peer.ask(append(drops[0], cell(rng), 2))  # which must still be carried
        elif isinstance(step, moving.Release):
            assert settled[-1]
            released = len(settled)
        return await ask(self, step)

    monkeypatch.setattr(mover._Steps, "ask", step)
    with Two(tmp_path) as two:
        peer = await Peer.connect(two.source.address)
        drops = [make(number) for number in range(3)]
        for drop in drops:
            await create(peer, two.source, drop)
            await peer.ask(append(drop, cell(rng), 1))
        await two.move()
    assert settled[:released] == [False, True, True]  # the cells, the settling, the late cell


# Processes that end during a move


class Interruption(Exception):  # noqa: N818  # it is no error
    """Ends the mover."""


class Interrupter:
    """Ends a process at random steps of a move."""

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
    """A person who writes to drops and follows them, and knows the acknowledged cells."""

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
                    await link.closed()
            except DropMoved as moved:
                there = open_order(moved.order).to
                to = NamedAddress.of(there.key, *there.places)
            except Unavailable:
                await asyncio.sleep(0.02)


@pytest.mark.e2e
@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(rounds(1, 8)))
def test_interrupted_anywhere_it_comes_to_the_same_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    run_in_loop(interrupt(tmp_path, monkeypatch, random.Random(seed)), patience_s=200)


async def interrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: random.Random) -> None:
    monkeypatch.setattr(mover, "FIRST_DROPS", 1)
    monkeypatch.setattr(mover, "PAUSE_S", 0)
    with Two(tmp_path) as two:
        peer = await Peer.connect(two.source.address)
        drops = [make(number) for number in range(rounds(10, 25))]
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
        assert len(interrupter.points) >= len(drops)
        _, statement, _ = open_certificate(two.certificate(report))
        assert statement.drops == len(drops) + 2
        there = await Peer.connect(two.destination.address)
        for drop, told in writer.told.items():
            found = await read_all(there, drop)
            assert len(set(found)) == len(found)
            assert dict(enumerate(found, 1)) == told
        peer = await Peer.connect(two.source.address)
        for drop in writer.told:
            assert isinstance(await peer.ask(read(drop, number=9)), wire.Moved)
        files = b"".join(one.read_bytes() for one in two.source.directory.path.iterdir())
        cells = [one for told in writer.told.values() for one in told.values()]
        assert not any(one[100:140] in files for one in cells)


# Steps, and the right to take them


def whole(
    record: DropRecord,
    before: int,
    digest: bytes,
    cells: list[moving.WrappedCell],
    keys: list[moving.ShredKey],
) -> moving.Part:
    """A part of a drop, with its first cells."""
    return moving.Part(
        drop_id=record.drop_id,
        append_hash=record.append_hash,
        read_hash=record.read_hash,
        retention_days=record.retention_days,
        bucket=record.bucket,
        bound=record.bound,
        last_day=record.last_day,
        is_first=True,
        before=before,
        digest=digest,
        keys=keys,
        cells=cells,
    )


class Scene:
    """Two relays between which a move has begun, step by step."""

    def __init__(self, two: Two) -> None:
        self.key = two.source.directory.identity
        self.move = bytes(range(16))
        self.token = moving.move_token(self.key.private_bytes_raw(), self.move)
        self.order = moving.Order(
            move=self.move,
            source=self.key.public_key().public_bytes_raw(),
            to=two.destination.signed,
            region=REGION,
            regions=[SOURCE_REGION],
            token_hash=moving.token_hash(self.token),
            began=1,
        )
        self.signed = moving.sign_order(self.order, self.key)
        self.access = two.source.directory.bucket_key

    async def begin(self, *peers: Peer) -> None:
        for peer in peers:
            assert await self.take(peer, moving.Begin(self.signed, self.access)) == []

    async def take(self, peer: Peer, step: moving.Step, token: bytes = b"") -> Any:  # noqa: ANN401
        reply = await peer.ask(wire.Move(77, self.move, token or self.token, step))
        return reply.drops if isinstance(reply, wire.Moving) else getattr(reply, "code", reply)


@pytest.mark.long
@in_loop
async def test_a_relay_that_is_not_the_source_moves_nothing(tmp_path: Path) -> None:
    with Two(tmp_path) as two:
        source, there = await two.peers()
        scene = Scene(two)
        begin = moving.Begin(scene.signed, scene.access)
        assert await scene.take(there, moving.Survey(b"")) == "move-refused"  # no such move
        assert await scene.take(there, begin, token=bytes(32)) == "move-refused"
        other = Ed25519PrivateKey.generate()
        forged = moving.sign_order(scene.order, other)
        assert await scene.take(there, moving.Begin(forged, scene.access)) == "broken-move"
        stranger = msgspec.structs.replace(
            scene.order, source=other.public_key().public_bytes_raw()
        )
        signed = moving.sign_order(stranger, other)
        assert await scene.take(there, moving.Begin(signed, scene.access)) == "move-refused"
        elsewhere = msgspec.structs.replace(scene.order, region="FR")
        signed = moving.sign_order(elsewhere, scene.key)
        assert await scene.take(there, moving.Begin(signed, scene.access)) == "move-refused"
        await scene.begin(source, there)
        again = msgspec.structs.replace(scene.order, regions=[SOURCE_REGION, "FR"])
        signed = moving.sign_order(again, scene.key)
        assert await scene.take(there, moving.Begin(signed, scene.access)) == "broken-move"
        assert await scene.take(there, moving.Survey(b""), token=bytes(32)) == "move-refused"
        # Each relay takes its own steps.
        own: list[moving.Step] = [
            *(moving.Freeze([]), moving.Release([]), moving.Erase(), moving.Thaw(), moving.End([]))
        ]
        theirs: list[moving.Step] = [
            *(moving.Survey(b""), moving.Carry([], settles=True), moving.Land([]), moving.State())
        ]
        assert {await scene.take(there, step) for step in own} == {"move-refused"}
        assert {await scene.take(source, step) for step in theirs} == {"move-refused"}


@pytest.mark.long
@in_loop
async def test_nobody_waits_behind_all_that_a_mover_asks_for(tmp_path: Path) -> None:
    with Two(tmp_path) as two:
        source, there = await two.peers()
        scene, bucket = Scene(two), two.destination.bucket()
        await scene.begin(source, there)
        last = 300
        for number in range(1, last + 1):
            there.send(wire.Move(number, scene.move, scene.token, moving.Survey(b"")))
        there.send(append(bucket, cell(random.Random(1)), last + 1))
        assert isinstance(await there.reply(last + 1), wire.Appended)
        assert there.replies[last].empty()  # though it was asked for before
        assert isinstance(await there.reply(last), wire.Moving)


def moved(relay: RelayProcess) -> list[MovedIn | MovedOut]:
    """The entries of a relay's ledger for drops that came or went."""
    reader = SqliteReader(relay.directory.path)
    entries = [one for one in reader.entries(0) if isinstance(one, MovedIn | MovedOut)]
    reader.close()
    return entries


def arriving(
    rng: random.Random,
    drop: Drop,
    *,
    before: int = 0,
    bound: int = 1,
    days: int = 14,
    kept_days: int = 14,
) -> moving.Part:
    """A part of a drop with one cell of today, which opens."""
    key, nonce, day = (
        rng.randbytes(KEY_BYTES),
        rng.randbytes(NONCE_BYTES),
        int(time.time()) // DAY_S,
    )
    sealed = AESGCM(key).encrypt(nonce, cell(rng), bound_to(bound, before + 1))
    record = DropRecord(
        drop_id=drop.drop_id,
        append_hash=token_hash(drop.drop_id, drop.append_token),
        read_hash=token_hash(drop.drop_id, drop.read_token),
        retention_days=days,
        bucket=False,
        head=0,
        digest=bytes(32),
        cells=0,
        bytes=0,
        last_day=day,
        oldest_day=None,
        bound=bound,
    )
    cells, keys = (
        [moving.WrappedCell(day, nonce + sealed)],
        [moving.ShredKey(day, day + kept_days, key)],
    )
    return whole(record, before, bytes(32), cells, keys)


@in_loop
async def test_a_source_that_lies_about_numbers_and_seqs_harms_no_other_drop(
    tmp_path: Path,
) -> None:
    rng = random.Random(6)
    with Two(tmp_path) as two:
        source, there = await two.peers()
        scene, own, highest = Scene(two), two.destination.bucket(), 2**53 - 1
        assert isinstance(await there.ask(append(own, cell(rng), 1)), wire.Appended)
        await scene.begin(source, there)
        # At a relay that took these, cells would rest among those of drops with other numbers.
        for number, before in enumerate((MOST_SEQ, 2**40, highest - 1)):
            part = arriving(rng, make(10 + number), before=before)
            assert await scene.take(there, moving.Carry([part], settles=True)) == "broken-move"
        part = arriving(rng, make(20), before=MOST_SEQ - 1, bound=highest)
        (arrived,) = await scene.take(there, moving.Carry([part], settles=True))
        assert (arrived.state, arrived.head, arrived.cells) == (moving.ARRIVING, MOST_SEQ, 1)
        assert len(await read_all(there, own)) == 1
        assert isinstance(await there.ask(append(own, cell(rng), 9)), wire.Appended)


@in_loop
async def test_a_source_that_has_cells_rest_for_longer_is_refused(tmp_path: Path) -> None:
    rng = random.Random(7)
    with Two(tmp_path) as two:
        source, there = await two.peers()
        scene = Scene(two)
        await scene.begin(source, there)
        for number, (days, kept_days) in enumerate([(14, 15), (30, 400), (366, 366)]):
            part = arriving(rng, make(30 + number), days=days, kept_days=kept_days)
            assert await scene.take(there, moving.Carry([part], settles=True)) == "broken-move"
        part = arriving(rng, make(40), days=30, kept_days=30)
        (arrived,) = await scene.take(there, moving.Carry([part], settles=True))
        assert (arrived.state, arrived.cells) == (moving.ARRIVING, 1)


@pytest.mark.long
@in_loop
async def test_a_drop_goes_only_when_frozen_and_lands_only_as_it_was(tmp_path: Path) -> None:
    rng = random.Random(5)
    with Two(tmp_path) as two:
        source, there = await two.peers()
        scene, drop = Scene(two), two.source.bucket()
        assert isinstance(await source.ask(append(drop, cell(rng), 1)), wire.Appended)
        await scene.begin(source, there)
        nothing = moving.Standing(drop.drop_id, moving.HERE, 0, bytes(32), 0, 0)
        assert await scene.take(source, moving.Release([nothing])) == "relay-busy"
        (frozen,) = await scene.take(source, moving.Freeze([drop.drop_id]))
        assert (frozen.state, frozen.head, frozen.cells) == (moving.HERE, 1, 1)
        # A write waits, and is carried out if nobody goes on with the move.
        source.send(append(drop, cell(rng), 2))
        assert await scene.take(source, moving.Thaw()) == []
        waited = await source.reply(2)
        assert isinstance(waited, wire.Appended)
        reader = SqliteReader(two.source.directory.path)
        record = reader.look(drop.drop_id)
        found = reader.wrapped(record, after=0, max_cells=9, max_bytes=10**6)
        reader.close()
        cells = found[2]
        part = whole(record, *found)
        foreign = msgspec.structs.replace(part, drop_id=make(1).drop_id[::-1])
        assert await scene.take(there, moving.Carry([foreign], settles=True)) == "broken-move"
        broken = moving.WrappedCell(cells[0].day, changed_at(cells[0].wrapped))
        damaged = msgspec.structs.replace(part, cells=[broken, *cells[1:]])
        assert await scene.take(there, moving.Carry([damaged], settles=True)) == "broken-move"
        half = msgspec.structs.replace(part, cells=cells[:1])
        (arrived,) = await scene.take(there, moving.Carry([half], settles=True))
        assert (arrived.state, arrived.head, arrived.cells) == (moving.ARRIVING, 1, 1)
        assert await there.ask_code(append(drop, cell(rng), 3)) == "relay-busy"
        assert await there.ask_code(read(drop, number=4)) == "relay-busy"
        assert await there.ask_code(append(make(9), cell(rng), 5)) == "no-such-drop"
        standing = moving.Standing(
            drop.drop_id, moving.HERE, record.head, record.digest, record.cells, record.bytes
        )
        assert await scene.take(there, moving.Land([standing])) == "broken-move"
        # It stands so, but it is not frozen: a cell might come at any moment.
        assert await scene.take(source, moving.Release([standing])) == "relay-busy"
        (arrived,) = await scene.take(there, moving.Carry([part], settles=True))
        assert arrived.head == 1  # it came already; the mover sees which drop does not go on
        rest = msgspec.structs.replace(
            part, is_first=False, before=1, digest=arrived.digest, cells=cells[1:]
        )
        (arrived,) = await scene.take(there, moving.Carry([rest], settles=True))
        assert (arrived.head, arrived.digest) == (record.head, record.digest)
        fewer = msgspec.structs.replace(standing, digest=bytes(32))
        assert await scene.take(there, moving.Land([fewer])) == "broken-move"
        assert await scene.take(there, moving.Land([standing] * 2)) == []
        assert await scene.take(there, moving.Land([standing])) == []
        assert await scene.take(there, moving.Abandon()) == "broken-move"
        (again,) = await scene.take(source, moving.Freeze([drop.drop_id] * 2))
        # It is frozen again, but it does not stand as it did when this mover was told.
        assert await scene.take(source, moving.Release([frozen])) == "relay-busy"
        assert again == standing
        assert await scene.take(source, moving.Release([standing] * 2)) == []
        # A step that is repeated is entered once.
        assert [len(moved(relay)) for relay in (two.source, two.destination)] == [1, 1]
        assert len(await read_all(there, drop)) == 2


@pytest.mark.long
@in_loop
async def test_cells_that_ended_at_the_source_meanwhile_end_at_the_destination(
    tmp_path: Path,
) -> None:
    rng = random.Random(6)
    with Two(tmp_path) as two:
        source, there = await two.peers()
        scene, drop = Scene(two), two.source.bucket()
        for _ in range(4):
            await source.ask(append(drop, cell(rng), 1))
        await scene.begin(source, there)
        reader = SqliteReader(two.source.directory.path)
        record = reader.look(drop.drop_id)
        found = reader.wrapped(record, after=0, max_cells=9, max_bytes=10**6)
        late = reader.wrapped(record, after=3, max_cells=9, max_bytes=10**6)
        reader.close()
        part = whole(record, found[0], found[1], found[2][:2], found[3])
        await scene.take(there, moving.Carry([part], settles=True))
        # The first three have ended: the carried cells begin after a gap, and say so.
        after = msgspec.structs.replace(
            part, is_first=True, before=late[0], digest=late[1], cells=late[2]
        )
        gap = msgspec.structs.replace(after, is_first=False)
        (arrived,) = await scene.take(there, moving.Carry([gap], settles=True))
        assert (arrived.head, arrived.cells) == (2, 2)
        (arrived,) = await scene.take(there, moving.Carry([after], settles=True))
        assert (arrived.head, arrived.cells, arrived.digest) == (4, 1, record.digest)
        standing = moving.Standing(drop.drop_id, moving.HERE, 4, record.digest, 1, MESSAGE_CELL)
        assert await scene.take(there, moving.Land([standing])) == []
        reply = await there.ask(read(drop, number=8))
        assert isinstance(reply, wire.Cells)
        assert (reply.first, len(reply.cells), reply.head) == (4, 1, 4)


@in_loop
@pytest.mark.long
async def test_keys_of_a_crash_open_nothing_that_comes_later(tmp_path: Path) -> None:
    rng = random.Random(9)
    with Two(tmp_path) as two:
        # A relay that ends between its two commits keeps keys under numbers no drop has yet.
        two.destination.drain()
        keys = two.destination.directory.path / "keys.sqlite"
        with contextlib.closing(sqlite3.connect(keys)) as stale, stale:
            today = int(time.time() // DAY_S)
            stale.executemany(
                "INSERT INTO shred_key (number, day, last_day, key) VALUES (?, ?, ?, ?)",
                [(number, today, today + 14, rng.randbytes(32)) for number in range(2, 30)],
            )
        two.destination.start()
        peer = await Peer.connect(two.source.address)
        told = {}
        for drop in [make(number) for number in range(5)]:
            await create(peer, two.source, drop)
            told[drop] = cell(rng)
            await peer.ask(append(drop, told[drop], 1))
        await two.move()
        there = await Peer.connect(two.destination.address)
        for drop, mine in told.items():
            assert await read_all(there, drop) == [mine]


@pytest.mark.long
@in_loop
async def test_what_has_ended_at_the_source_ends_there(tmp_path: Path) -> None:
    rng = random.Random(8)
    two = Two(tmp_path)
    old, used, fresh = (make(number) for number in range(3))
    directory = two.source.directory.path
    with contextlib.closing(SqliteStore(directory)) as store:
        rules = Drops(
            store,
            region=SOURCE_REGION,
            bucket_key=two.source.directory.bucket_key,
            limits=two.source.directory.config.limits,
        )
        for days, drop in ((40, old), (3, used)):
            rules.write(
                [creation(two.source, drop), append(drop, cell(rng), 2)],
                now=time.time() - days * DAY_S,
            )
            rules.commit()
        for _ in rules.expire(now=time.time()):
            pass
    with two:
        peer = await Peer.connect(two.source.address)
        await create(peer, two.source, fresh)
        assert await scene_of(two, peer, moving.End([used.drop_id])) == "broken-move"
        assert await scene_of(two, peer, moving.End([fresh.drop_id])) == "broken-move"
        assert await scene_of(two, peer, moving.End([two.source.bucket().drop_id])) == "broken-move"
        assert await scene_of(two, peer, moving.End([old.drop_id])) == "relay-busy"
        assert await scene_of(two, peer, moving.Abandon()) == []
        report = await two.move()
        assert (report.drops, report.cells) == (4, 1)  # two buckets, the used drop, the new one
        there = await Peer.connect(two.destination.address)
        assert await there.ask_code(read(old, number=3)) == "no-such-drop"
        assert isinstance(await peer.ask(read(old, number=3)), wire.Moved)
        assert len(await read_all(there, used)) == 1
        # A person who still uses it makes it at the destination, led there by the source.
        assert isinstance(await peer.ask(creation(two.source, old)), wire.Moved)
        assert await create(there, two.source, old) == wire.Created(1, 0)
        reader = SqliteReader(directory)
        entries = [one for one in reader.entries(0) if one.drop == drop_hash(old.drop_id)]
        reader.close()
        assert [type(one).__name__ for one in entries] == ["Created", "Expired", "Erased"]


async def scene_of(two: Two, peer: Peer, step: moving.Step) -> Any:  # noqa: ANN401
    """The answer of a source to a step of a move that has just begun."""
    scene = Scene(two)
    await scene.begin(peer)
    return await scene.take(peer, step)


@in_loop
@pytest.mark.long
async def test_a_move_is_undone_while_nothing_has_gone(tmp_path: Path) -> None:
    rng = random.Random(7)
    with Two(tmp_path) as two:
        peer = await Peer.connect(two.source.address)
        mine = cell(rng)
        assert isinstance(await peer.ask(append(two.source.bucket(), mine, 1)), wire.Appended)
        there = await Peer.connect(two.destination.address)
        scene = Scene(two)
        await scene.begin(peer, there)
        with pytest.raises(MoveUnderWay):
            await two.move()
        mover = two.mover()
        await mover.abandon()
        assert mover.under_way() is None
        mover.close()
        assert await scene.take(there, moving.Survey(b"")) == "move-refused"
        assert await read_all(peer, two.source.bucket()) == [mine]
        with pytest.raises(BadArgument):
            await two.move(is_resumed=True)
        report = await two.move()
        assert report.cells == 1


@in_loop
@pytest.mark.long
async def test_drops_move_on_and_back_again(tmp_path: Path) -> None:
    rng = random.Random(8)
    with Two(tmp_path) as two:
        settings = two.destination.directory.config.moving
        file = two.source.directory.path / "relay.toml"
        text = file.read_text().replace(
            "# sources = []", f'sources = ["{two.destination.address}"]'
        )
        assert settings.sources
        file.write_text(text)
        two.source.kill()
        two.source.start()
        peer = await Peer.connect(two.source.address)
        drop, first, second = two.source.bucket(), cell(rng), cell(rng)
        await peer.ask(append(drop, first, 1))
        await two.move()
        there = await Peer.connect(two.destination.address)
        assert isinstance(await there.ask(append(drop, second, 1)), wire.Appended)
        two.source, two.destination = two.destination, two.source
        report = await two.move()
        order, _, _ = open_certificate(two.certificate(report))
        assert order.regions == [REGION, SOURCE_REGION]
        assert await read_all(peer, drop) == [first, second]
        assert isinstance(await there.ask(read(drop, number=9)), wire.Moved)
        assert await create(peer, two.destination, make(50)) == wire.Created(1, 0)


@in_loop
@pytest.mark.long
async def test_nothing_moves_before_its_day_and_people_are_told(tmp_path: Path) -> None:
    with Two(tmp_path) as two:
        announced = await two.announce(3)
        peer = await Peer.connect(two.source.address)
        described = await peer.ask(wire.Describe(1, b""))
        assert isinstance(described, wire.Described)
        key = two.source.address.key
        assert open_descriptor(described.descriptor, key).notice == announced
        assert announced.decide_by == announced.on - 31  # when all earlier cells have ended
        assert announced.on - announced.decide_by > max(RETENTION_DAYS)
        mover = two.mover()
        with pytest.raises(NoticeRuns):
            await mover.move(two.destination.address, is_resumed=False)
        with pytest.raises(NoticeRuns):  # another relay than people were told
            await mover.move(two.source.address, is_resumed=False)
        mover.close()
        with pytest.raises(BadArgument):
            await notice.announce(
                two.source.directory.path,
                two.destination.address,
                on=int(time.time() // DAY_S) + LEAST_DAYS - 1,
                reason="",
                now=time.time(),
            )


def test_a_certificate_is_of_both_relays_and_of_every_bit() -> None:
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    order = moving.Order(
        move=bytes(16),
        source=key.public_key().public_bytes_raw(),
        to=sign_address([Stay(Place("two.example", 8443))], other, issued=1),
        region=REGION,
        regions=[SOURCE_REGION],
        token_hash=bytes(32),
        began=1,
    )
    signed = moving.sign_order(order, key)
    statement, signature = moving.sign_statement(moving.state_of(signed, []), other)
    good = moving.certify(statement, signature, erased=3, key=key)
    assert open_certificate(good)[0] == order
    for place in range(len(good)):
        with pytest.raises(BrokenCertificate):
            open_certificate(changed_at(good, place))
    for key_of_neither in (other, Ed25519PrivateKey.generate()):
        with pytest.raises(BrokenCertificate):
            open_certificate(moving.certify(statement, signature, erased=3, key=key_of_neither))
    with pytest.raises(ValueError, match="itself"):
        msgspec.structs.replace(order, source=other.public_key().public_bytes_raw())
