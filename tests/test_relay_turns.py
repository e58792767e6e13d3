"""A client that asks a relay for much makes only itself wait, and ended requests leave nothing."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import os
import random
import shutil
import signal
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path

import msgspec
import picows
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from addresses import key_of
from amanat.config import HopConfig, RelayConfig, RelayLimits
from amanat.errors import BadSetting, BrokenSeal, RelayBusy
from amanat.link import Link
from amanat.protocol import sealing, wire
from amanat.protocol.cells import LARGE_CELL, MESSAGE_CELL
from amanat.protocol.descriptor import (
    RelayAddress,
    Stay,
    b64,
    open_descriptor,
    sign_address,
)
from amanat.protocol.drops import Drop, derive_bucket, derive_drop, token_hash
from amanat.protocol.introduction import introduce
from amanat.protocol.places import Place
from amanat.relay import server, writing
from amanat.relay.asking import Asking, Queue, Reader, Writing
from amanat.relay.connection import Asker, Connection
from amanat.relay.directory import SEALING_PERIOD_S, RelayDirectory
from amanat.relay.hop import NEW_ADDRESSES, Guest, Hop
from amanat.relay.shares import Room
from amanat.relay.store import SqliteStore
from relays import PATIENCE_S, Peer, RelayProcess, append, follow, read, read_all, run_in_loop

LIMITS = RelayLimits(
    connections=8,
    requests_in_flight=12,
    requests_in_flight_total=30,
    waits=6,
    waits_total=14,
    bytes_in_flight_total=2**20,
)
"""Limits so small that they are reached again and again."""
DEFAULTS = RelayLimits()
STEPS = 150
CELL = os.urandom(MESSAGE_CELL)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayProcess]:
    with RelayProcess(tmp_path_factory.mktemp("home") / "relay", buckets=2) as running:
        yield running


@contextlib.asynccontextmanager
async def served(
    directory: Path, limits: RelayLimits, hop: HopConfig
) -> AsyncIterator[tuple[server.Relay, RelayAddress]]:
    """A relay in this process, to look into."""
    settings = RelayConfig(
        "DE", "test", "127.0.0.1", 0, tls="off", buckets=2, limits=limits, hop=hop
    )
    made = RelayDirectory.create(directory, settings)
    with contextlib.closing(SqliteStore(directory)) as store:
        relay = server.Relay(made, store)
        ready: asyncio.Future[RelayAddress] = asyncio.get_running_loop().create_future()
        serving = asyncio.create_task(relay.serve(ready.set_result))
        try:
            yield relay, await ready
        finally:
            ready_ones = [one.ready for one in relay.hop._destinations.values()]
            os.kill(os.getpid(), signal.SIGTERM)
            await serving
            for one in ready_ones:
                if one is not None:
                    await one.link.closed()  # a process that ends need not wait for this


def tables(of: object) -> dict[str, object]:
    """Every table in which something could be left, with its contents."""
    kinds = (dict, set, list, deque, Queue)
    found = {name: value for name, value in vars(of).items() if isinstance(value, kinds)}
    return {name: value for name, value in found.items() if name != "held" and len(value)}


def check(relay: server.Relay) -> None:
    """Assert what must hold at any time."""
    askings = [asking for asker in relay.askers for asking in asker.asked.values()]
    assert all(asking.asker.asked[asking.number] is asking for asking in askings)
    for room in relay.rooms.all:
        assert room.taken == sum(asker.held[room.number] for asker in relay.askers)
        assert 0 <= room.taken <= room.most
        held = [asking for asking in askings if room.number in asking.rooms()]
        parts = [
            1 if room in (relay.rooms.requests, relay.rooms.waits) else asking.size
            for asking in held
        ]
        assert room.taken == sum(parts)
    assert relay.askers == {*relay.connections, relay.gone}


class History:
    """Peers that send random requests."""

    def __init__(
        self, seed: int, relay: server.Relay, at: RelayAddress, other: RelayProcess, to: bytes
    ) -> None:
        self.chance = random.Random(seed)
        self.relay, self.at, self.other = relay, at, other
        self.peers: list[Peer] = []
        self.next = 0
        self._to = to
        self._own = relay.description._sealing.public
        self._bucket_key = relay._directory.bucket_key

    def drop(self) -> Drop:
        bucket = derive_bucket(self._bucket_key, self.chance.randrange(2), region="DE")
        wrong = Drop(os.urandom(24), os.urandom(32), os.urandom(32))
        return self.chance.choice([bucket, bucket, wrong])

    def asked(self, number: int, *, wait: int = 60) -> list[wire.Request]:
        """One request of each kind that can be sealed."""
        drop, cell = self.drop(), os.urandom(self.chance.choice([MESSAGE_CELL, LARGE_CELL]))
        after = self.chance.choice([0, 0, 10_000])
        return [
            wire.Describe(number, b""),
            wire.Create(number, self._bucket_key, os.urandom(24), bytes(32), bytes(32), 14),
            append(drop, cell, number),
            read(drop, number=number),
            read(drop, after, number=number, wait=wait),
            wire.Page(number, drop.drop_id, drop.read_token, after),
            wire.Publish(number, drop.drop_id, drop.append_token, cell),
        ]

    def request(self, number: int) -> wire.Request:
        """A random request."""
        inner = wire.encode(self.chance.choice(self.asked(0)))
        here, _ = sealing.seal_request(inner, to=self._own, relay=self.relay.description._key)
        there = self.other.address
        # No request here makes the other relay wait.
        inner = wire.encode(self.chance.choice(self.asked(0, wait=1)[:-1]))
        away, _ = sealing.seal_request(inner, to=self._to, relay=there.key)
        return self.chance.choice(
            [
                *self.asked(number),
                follow(self.drop(), 0, number, self.chance.choice([100, 2**20])),
                wire.Consult(number, "checkpoint"),
                wire.Sealed(number, here),
                wire.Sealed(number, here),
                wire.Sealed(number, b"junk"),
                wire.Forward(number, there.key, away),
                wire.Cover(number, there.key, away),
                wire.Inquire(number, self.chance.choice([there.key, bytes(32)]), ()),
                wire.Locate(number, there.key, None),
            ]
        )

    async def step(self) -> None:
        chance = self.chance
        if not self.peers or chance.random() < 0.05:
            with contextlib.suppress(picows.WSError):
                self.peers.append(await Peer.connect(self.at))
            return
        peer, deed = chance.choice(self.peers), chance.random()
        if deed < 0.6:
            self.next += 1
            peer.send(self.request(self.next))
        elif deed < 0.65:
            peer.send(wire.Grant(max(0, self.next - chance.randrange(12)), 500))
        elif deed < 0.8:
            peer.send(wire.Unfollow(max(0, self.next - chance.randrange(12))))
        elif deed < 0.82:
            peer.send(self.request(max(0, self.next - chance.randrange(8))))
        elif deed < 0.86:
            peer.transport.disconnect(graceful=chance.random() < 0.5)
        elif deed < 0.88:
            self.relay.writer.end_round()
            self.relay.hop._hand_on()
        elif deed < 0.9:
            peer.transport.underlying_transport.pause_reading()
        else:
            await asyncio.sleep(chance.choice([0, 0.001, 0.01]))
        self.peers = [one for one in self.peers if not one.closed.done()]

    async def end(self) -> None:
        """Have all rounds end, and wait until nothing happens by itself any longer."""
        for _ in range(200):
            self.relay.writer.end_round()
            self.relay.hop._hand_on()
            await asyncio.sleep(0.02)
            if not any(tables(asker) for asker in self.relay.askers):
                return


@pytest.mark.e2e
@pytest.mark.parametrize("seed", range(6))
def test_after_any_history_every_table_is_empty(
    home: RelayProcess, tmp_path: Path, seed: int
) -> None:
    async def scenario() -> None:
        direct = await Peer.connect(home.address)
        described = await direct.ask(wire.Describe(1, b""))
        assert isinstance(described, wire.Described)
        to = open_descriptor(described.descriptor, home.address.key).sealing
        listed = HopConfig(serve="listed", relays=(str(home.address),))
        async with served(tmp_path / "relay", LIMITS, listed) as (relay, at):
            history = History(seed, relay, at, home, to)
            for _ in range(STEPS):
                await history.step()
                check(relay)
            for peer in history.peers:
                peer.transport.underlying_transport.resume_reading()
                for number in range(history.next + 1):
                    peer.send(wire.Unfollow(number))
            await history.end()
            check(relay)
            assert [tables(one) for one in relay.connections if tables(one)] == []
            for peer in history.peers:
                await peer.hang_up()
            await history.end()
            assert tables(relay) == {"askers": {relay.gone}}
            assert tables(relay.writer) == tables(relay.readers) == tables(relay.turns) == {}
            assert tables(relay.gone) == {}
            assert [room.taken for room in relay.rooms.all] == [0] * len(relay.rooms.all)
            assert not any(one.waiting for one in relay.hop._destinations.values())

    run_in_loop(scenario(), patience_s=60)


# Sealed answers to sealed requests


def sealed_to(relay: server.Relay, request: wire.Request) -> tuple[bytes, bytes]:
    """(a request sealed to the relay, the key of its answer)."""
    frame = wire.encode(request)
    known = relay.description
    return sealing.seal_request(frame, to=known._sealing.public, relay=known._key)


def run_served(
    directory: Path,
    scenario: Callable[[server.Relay, RelayAddress], Coroutine[None, None, None]],
    limits: RelayLimits | None = None,
    hop: HopConfig | None = None,
) -> None:
    async def main() -> None:
        async with served(directory, limits or RelayLimits(), hop or HopConfig()) as (relay, at):
            await scenario(relay, at)

    run_in_loop(main(), patience_s=60)


@pytest.mark.e2e
def test_a_key_that_a_relay_has_destroyed_opens_nothing_in_its_memory_either(
    tmp_path: Path,
) -> None:
    async def scenario(relay: server.Relay, at: RelayAddress) -> None:
        peer, known = await Peer.connect(at), relay.description
        sealed, _ = sealed_to(relay, wire.Describe(0, b""))
        clock = itertools.count(int(known._now()), SEALING_PERIOD_S)
        for number in (1, 2):
            known._now = functools.partial(float, next(clock))
            known.rotate()
            assert isinstance(await peer.ask(wire.Sealed(number, sealed)), wire.Answer)
        known._now = functools.partial(float, next(clock))
        known.rotate()
        assert await peer.ask(wire.Sealed(3, sealed)) == wire.Failed(3, BrokenSeal.code)

    run_served(tmp_path / "relay", scenario)


@pytest.mark.e2e
def test_a_hop_gets_no_answer_in_clear_by_asking_twice_under_one_id(tmp_path: Path) -> None:
    async def scenario(relay: server.Relay, at: RelayAddress) -> None:
        bucket = derive_bucket(relay._directory.bucket_key, 0, region="DE")
        for inner in (
            append(bucket, os.urandom(MESSAGE_CELL)),
            read(bucket, 10_000, wait=60),
            read(bucket),
            wire.Publish(0, bucket.drop_id, bucket.append_token, os.urandom(MESSAGE_CELL)),
        ):
            sealed, _ = sealed_to(relay, inner)
            for again in (
                wire.Sealed(7, sealed),
                wire.Describe(7, b""),
                read(bucket, number=7),
                append(bucket, b"x" * MESSAGE_CELL, 7),
            ):
                hop = await Peer.connect(at)
                hop.send(wire.Sealed(7, sealed))
                hop.send(again)
                assert await hop.closed == (1008, "id-in-use")
                relay.writer.end_round()
                told = [hop.replies[7].get_nowait() for _ in range(hop.replies[7].qsize())]
                assert all(isinstance(one, wire.Answer) for one in told)
        # The two cells that were written again and again are there once each.
        while relay.gone.asked:  # noqa: ASYNC110  # nobody is told
            await asyncio.sleep(0.01)
        assert len(await read_all(await Peer.connect(at), bucket)) == 2

    run_served(tmp_path / "relay", scenario)


@pytest.mark.e2e
def test_an_id_is_as_good_as_new_once_its_request_has_ended(tmp_path: Path) -> None:
    async def scenario(relay: server.Relay, at: RelayAddress) -> None:
        bucket = derive_bucket(relay._directory.bucket_key, 0, region="DE")
        peer = await Peer.connect(at)
        for number in range(200):
            sealed, _ = sealed_to(relay, read(bucket, wait=60))
            peer.send(wire.Sealed(number, sealed))
            peer.send(wire.Unfollow(number))
            assert isinstance(await peer.ask(wire.Describe(number, b"")), wire.Described)
        [connection] = relay.connections
        assert tables(connection) == {}

    run_served(tmp_path / "relay", scenario)


# One stranger


@pytest.mark.e2e
def test_a_flood_of_creations_stops_nobody_from_creating_a_few(tmp_path: Path) -> None:
    def create(relay: server.Relay, number: int) -> wire.Create:
        drop = derive_drop(os.urandom(32), purpose=b"x", region="DE")
        key = relay._directory.bucket_key
        return wire.Create(number, key, drop.drop_id, bytes(32), bytes(32), 14)

    async def flood(relay: server.Relay, peer: Peer) -> list[wire.Reply]:
        for number in range(20):
            peer.send(create(relay, number))
        return [await peer.reply(number) for number in range(20)]

    async def scenario(relay: server.Relay, at: RelayAddress) -> None:
        relay.writer._now = lambda: 1_800_000_015.0
        strangers = [await Peer.connect(at) for _ in range(5)]
        refused = 0
        for stranger in strangers:
            replies = await flood(relay, stranger)
            assert replies[0] == wire.Created(0, 0)
            refused += replies.count(wire.Failed(19, "relay-busy", 45.0))
        assert refused == 5
        assert relay.metrics.created._value.get() == 11 + 11 + 4 + 4 + 4
        # A hop is one connection, too, whoever asks through it.
        hop = await Peer.connect(at)
        answers = []
        for number in range(5):
            sealed, key = sealed_to(relay, create(relay, 0))
            answer = await hop.ask(wire.Sealed(number, sealed))
            assert isinstance(answer, wire.Answer)
            answers.append(wire.decode_reply(sealing.open_answer(answer.sealed, key)))
        assert answers == [wire.Created(0, 0)] * 4 + [wire.Failed(0, "relay-busy", 45.0)]
        # In the next minute everybody goes on.
        relay.writer._now = lambda: 1_800_000_060.0
        assert await strangers[0].ask(create(relay, 99)) == wire.Created(99, 0)

    limits = RelayLimits(drop_creations_per_minute=11, drop_creations_per_minute_total=46)
    run_served(tmp_path / "relay", scenario, limits)


@pytest.mark.e2e
def test_what_readers_are_handed_of_files_counts_for_each_of_them_and_then_files_wait(
    tmp_path: Path,
) -> None:
    async def scenario(relay: server.Relay, at: RelayAddress) -> None:
        relay.writer._now = relay.readers._now = lambda: 1_800_000_000.0
        file = derive_drop(os.urandom(32), purpose=b"x", region="DE")
        bucket = derive_bucket(relay._directory.bucket_key, 0, region="DE")
        appending, reading = [token_hash(file.drop_id, token) for token in file[1:]]
        peer, key = await Peer.connect(at), relay._directory.bucket_key
        create = wire.Create(0, key, file.drop_id, appending, reading, 30)
        assert await peer.ask(create) == wire.Created(0, 0)
        for number in (1, 2):
            await peer.ask(follow(file, 0, number, 2**40))
        await peer.ask(follow(bucket, 0, 3, 2**40))
        counted = relay.metrics.delivered_file_bytes._value

        async def put(drop: Drop, number: int) -> None:
            reply = await peer.ask(append(drop, os.urandom(LARGE_CELL), number))
            assert isinstance(reply, wire.Appended)

        for number in range(8):  # new cells reach both who wait for them
            await put(file, 10 + number)
            await put(bucket, 30 + number)
            for follower, cells in ((1, 1), (2, 1), (3, 1)):
                reply = await peer.reply(follower)
                assert isinstance(reply, wire.Cells)
                assert len(reply.cells) == cells
        assert counted.get() == 16 * LARGE_CELL
        whole = await peer.ask(read(file, number=50))
        assert isinstance(whole, wire.Cells)
        assert counted.get() == 20 * LARGE_CELL
        await put(file, 60)
        busy = wire.Failed(0, "relay-busy", 86_400 - 1_800_000_000 % 86_400)
        for number in (1, 2):  # those who waited for more learn it, too
            assert await peer.reply(number) == msgspec.structs.replace(busy, id=number)
        refused = await peer.ask(read(file, number=61))
        assert refused == msgspec.structs.replace(busy, id=61)
        await put(bucket, 70)
        assert isinstance(await peer.reply(3), wire.Cells)
        assert counted.get() == 20 * LARGE_CELL
        relay.writer._now = relay.readers._now = lambda: 1_800_086_400.0
        assert isinstance(await peer.ask(read(file, number=80)), wire.Cells)

    run_served(tmp_path / "relay", scenario, RelayLimits(bytes_out_per_day=20 * LARGE_CELL))


@pytest.mark.e2e
def test_reads_that_are_taken_back_cost_the_next_reader_nothing(tmp_path: Path) -> None:
    async def scenario(relay: server.Relay, at: RelayAddress) -> None:
        served_readers: list[int] = []
        serve = relay.readers.serve

        def counted(reader: Reader) -> None:
            served_readers.append(reader.number)
            serve(reader)

        relay.readers.serve = counted  # type: ignore[method-assign]
        stranger, other = await Peer.connect(at), await Peer.connect(at)
        # The frames go as one piece, so that all have come before the relay does anything.
        pairs = (wire.Read(1, os.urandom(24), bytes(32), 0, 1, 0), wire.Unfollow(1))
        for _ in range(2000):
            for one in pairs:
                stranger.send(one)
        bucket = derive_bucket(relay._directory.bucket_key, 0, region="DE")
        assert isinstance(await other.ask(read(bucket, number=2)), wire.Cells)
        await stranger.ask(wire.Describe(9, b""))
        # Reads that had their turn before they were withdrawn got answers; nothing is left of the
        # others.
        assert len(served_readers) == 1 + stranger.replies[1].qsize()
        assert [one for one in relay.connections if tables(one)] == []

    run_served(tmp_path / "relay", scenario)


@pytest.mark.e2e
def test_a_client_that_asks_once_does_not_wait_behind_one_that_asks_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Asker] = []
    tell = Connection.tell

    def noted(connection: Connection, asking: Asking, reply: wire.Reply) -> int:
        told.append(connection)
        return tell(connection, asking, reply)

    monkeypatch.setattr(Connection, "tell", noted)

    async def scenario(relay: server.Relay, at: RelayAddress) -> None:
        bucket = derive_bucket(relay._directory.bucket_key, 0, region="DE")
        other = await Peer.connect(at)
        [connection] = relay.connections
        strangers = [await Peer.connect(at) for _ in range(4)]
        sealed, _ = sealed_to(relay, wire.Describe(0, b""))
        for number in range(1, 501):
            for stranger in strangers:
                stranger.send(wire.Sealed(number, sealed))
        assert isinstance(await other.ask(read(bucket, number=1)), wire.Cells)
        assert told.index(connection) < 100
        told.clear()
        async with relay.writer._turn:  # nothing is written meanwhile
            for number in range(501, 1001):
                for stranger in strangers:
                    junk = wire.Append(number, bytes(24), bytes(32), bytes(MESSAGE_CELL))
                    stranger.send(junk)
            for stranger in strangers:
                await stranger.ask(wire.Describe(1001, b""))
            other.send(append(bucket, CELL, 2))
            await other.ask(wire.Describe(3, b""))
            assert relay.rooms.write_bytes.taken > 2 * writing.BATCH_CELLS * MESSAGE_CELL
            told.clear()
        assert isinstance(await other.reply(2), wire.Appended)
        assert told.index(connection) < writing.BATCH_CELLS

    run_served(tmp_path / "relay", scenario)


@pytest.mark.e2e
def test_cells_that_land_in_a_drop_at_once_fit_into_one_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many, commits = 40, []
    commit = writing.Writer._commit

    async def noted(writer: writing.Writer, batch: list[Writing]) -> None:
        commits.append(len(batch))
        await commit(writer, batch)

    monkeypatch.setattr(writing.Writer, "_commit", noted)

    async def scenario(relay: server.Relay, at: RelayAddress) -> None:
        bucket = derive_bucket(relay._directory.bucket_key, 0, region="DE")
        writer, reader = await Peer.connect(at), await Peer.connect(at)
        first = await reader.ask(follow(bucket, number=1))
        async with relay.writer._turn:  # nothing is written meanwhile
            for number in range(many):
                writer.send(append(bucket, os.urandom(LARGE_CELL), number))
            await writer.ask(wire.Describe(many, b""))
        heard = len(first.cells) if isinstance(first, wire.Cells) else 0
        while heard < many:  # a longer frame is refused as it is decoded
            told = await reader.reply(1)
            assert isinstance(told, wire.Cells)
            heard += len(told.cells)
        most = writing.BATCH_BYTES // LARGE_CELL
        assert commits == [most, many - most]  # more than there is room for in an answer

    run_served(tmp_path / "relay", scenario)


@pytest.mark.e2e
def test_a_client_that_asks_for_addresses_all_the_time_slows_down_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many, heard = 300, 0
    located = Hop.locate

    def noted(hop: Hop, relay: bytes, known: RelayAddress | None, guest: Guest) -> object:
        nonlocal heard
        heard += 1
        return located(hop, relay, known, guest)

    monkeypatch.setattr(Hop, "locate", noted)

    async def scenario(relay: server.Relay, at: RelayAddress) -> None:
        bucket = derive_bucket(relay._directory.bucket_key, 0, region="DE")
        other, strangers = await Peer.connect(at), [await Peer.connect(at) for _ in range(4)]
        for number in range(1, many + 1):
            for who, stranger in enumerate(strangers):
                key = Ed25519PrivateKey.from_private_bytes((number * 8 + who).to_bytes(32, "big"))
                known = sign_address([Stay(Place("relay.example", 1))], key, issued=1)
                stranger.send(wire.Locate(number, known.key, known))
                stranger.send(wire.Inquire(many + number, known.key, known.places))
        assert isinstance(await other.ask(read(bucket, number=1)), wire.Cells)
        assert heard < 2 * many  # of 4 * many: the other peer need not wait for all
        for stranger in strangers:
            await stranger.ask(wire.Describe(0, b""))
            replies = [await stranger.reply(number) for number in range(1, 2 * many + 1)]
            codes = Counter(one.code for one in replies if isinstance(one, wire.Failed))
            assert codes == {"relay-busy": many - NEW_ADDRESSES[0], "hop-refused": many}
        assert len(relay.hop._known._addresses) == len(strangers) * NEW_ADDRESSES[0]
        assert [one for one in relay.connections if tables(one)] == []

    run_served(tmp_path / "relay", scenario)


@pytest.mark.e2e
def test_a_cell_published_with_a_wrong_token_is_not_kept_and_refused_with_the_others(
    tmp_path: Path,
) -> None:
    async def scenario(relay: server.Relay, at: RelayAddress) -> None:
        peer, bucket = (
            await Peer.connect(at),
            derive_bucket(relay._directory.bucket_key, 0, region="DE"),
        )
        right = wire.Publish(1, bucket.drop_id, bucket.append_token, CELL)
        for number, wrong in enumerate(
            (
                wire.Publish(0, bucket.drop_id, bucket.read_token, bytes(LARGE_CELL)),
                wire.Publish(0, os.urandom(24), bucket.append_token, bytes(LARGE_CELL)),
            ),
            2,
        ):
            peer.send(wire.with_id(wrong, number))
        await peer.ask(wire.Describe(9, b""))
        assert (relay.rooms.waits.taken, relay.rooms.wait_bytes.taken) == (2, 0)
        peer.send(right)
        await peer.ask(wire.Describe(9, b""))
        assert relay.rooms.wait_bytes.taken == len(wire.encode(right))
        assert all(peer.replies[number].empty() for number in (1, 2, 3))
        relay.writer.end_round()
        assert isinstance(await peer.reply(1), wire.Appended)
        for number in (2, 3):
            # Nobody gets an answer earlier than those whose token was right.
            assert peer.replies[number].get_nowait() == wire.Failed(number, "no-such-drop")

    run_served(tmp_path / "relay", scenario)


@pytest.mark.e2e
def test_strangers_who_wait_for_the_round_keep_nobody_out(tmp_path: Path) -> None:
    limits = RelayLimits(requests_in_flight_total=1024, waits_total=512)

    async def scenario(relay: server.Relay, at: RelayAddress) -> None:
        bucket = derive_bucket(relay._directory.bucket_key, 0, region="DE")
        strangers = [await Peer.connect(at) for _ in range(5)]
        other = await Peer.connect(at)
        for number in range(1, 300):
            for stranger in strangers:
                junk = (os.urandom(24), os.urandom(32), bytes(MESSAGE_CELL))
                stranger.send(wire.Publish(number, *junk))
        for stranger in strangers:
            await stranger.ask(wire.Describe(0, b""))
        assert relay.rooms.waits.taken == limits.waits_total
        assert isinstance(await other.ask(append(bucket, CELL, 1)), wire.Appended)
        assert isinstance(await other.ask(read(bucket, number=2)), wire.Cells)
        for number in range(3, 3 + limits.waits_total // 6):
            assert isinstance(await other.ask(follow(bucket, 0, number)), wire.Cells)
        assert isinstance(await other.ask(wire.Describe(0, b"")), wire.Described)

    run_served(tmp_path / "relay", scenario, limits)


@pytest.mark.e2e
def test_strangers_who_wait_for_cells_keep_nobody_from_waiting(tmp_path: Path) -> None:
    limits = RelayLimits(requests_in_flight_total=1024, waits_total=512)

    async def scenario(relay: server.Relay, at: RelayAddress) -> None:
        bucket = derive_bucket(relay._directory.bucket_key, 0, region="DE")
        idle = derive_bucket(relay._directory.bucket_key, 1, region="DE")
        strangers = [await Peer.connect(at) for _ in range(5)]
        for number in range(1, 300):
            for stranger in strangers:
                stranger.send(read(idle, number=number, wait=180))
        for stranger in strangers:
            await stranger.ask(wire.Describe(0, b""))
        assert relay.rooms.waits.taken == limits.waits_total
        others = [await Peer.connect(at) for _ in range(20)]
        for other in others:
            for number in range(3):
                assert isinstance(await other.ask(follow(bucket, 0, number)), wire.Cells)
        await others[0].ask(append(bucket, CELL, 9))
        for other in others:
            for number in range(3):
                assert isinstance(await other.reply(number), wire.Cells)

    run_served(tmp_path / "relay", scenario, limits)


@pytest.mark.e2e
def test_many_people_wait_through_a_hop_that_is_listed_and_a_stranger_as_before(
    tmp_path: Path,
) -> None:
    donor = RelayDirectory.create(
        tmp_path / "donor", RelayConfig("FR", "hop", "127.0.0.1", 1, tls="off")
    )
    key, many = donor.address(1).key, 300
    stranger_key = key_of(7)

    async def fill(peer: Peer, idle: Drop) -> int:
        """Send as many waiting requests as possible; how many wait."""
        numbers = range(1, 2 * DEFAULTS.waits)
        for number in numbers:
            peer.send(read(idle, number=number, wait=180))
        await peer.ask(wire.Describe(0, b""))
        refused = [number for number in numbers if not peer.replies[number].empty()]
        for number in refused:
            reply = await peer.reply(number)
            assert isinstance(reply, wire.Failed)
            assert reply.code == "relay-busy"
        return len(numbers) - len(refused)

    async def scenario(relay: server.Relay, at: RelayAddress) -> None:
        idle = derive_bucket(relay._directory.bucket_key, 0, region="DE")
        listed = HopConfig(serve="listed", relays=(str(at),))
        hop = RelayProcess(tmp_path / "hop", hop=listed)
        for name in ("identity.pem", "certificate.pem"):
            shutil.copy(donor.path / name, hop.directory.path / name)
        with hop:
            assert hop.address.key == key
            people = [await Peer.connect(hop.address) for _ in range(many)]
            keys = []
            for person in people:
                sealed, answer_key = sealed_to(relay, read(idle, wait=180))
                keys.append(answer_key)
                person.send(wire.Forward(1, at.key, sealed))
            async with asyncio.timeout(PATIENCE_S):
                while relay.rooms.waits.taken < many:  # another process
                    assert all(person.replies[1].empty() for person in people)
                    await asyncio.sleep(0.01)
            # A peer that falsely claims to be the hop gets no more places than before.
            claims = [
                wire.Introduce(0, key, bytes(64)),
                wire.Introduce(0, key, introduce(stranger_key, to=at.key)),
                wire.Introduce(0, key, introduce(donor.identity, to=key)),
                wire.Introduce(
                    0,
                    stranger_key.public_key().public_bytes_raw(),
                    introduce(stranger_key, to=at.key),
                ),
            ]
            for claim in [None, *claims]:
                stranger = await Peer.connect(at)
                if claim is not None:
                    stranger.send(claim)
                assert await fill(stranger, idle) == DEFAULTS.waits
                await stranger.hang_up()
            one = await Peer.connect(at)
            assert isinstance(await one.ask(append(idle, CELL, 1)), wire.Appended)
            for person, answer_key in zip(people, keys, strict=True):
                answer = await person.reply(1)
                assert isinstance(answer, wire.Answer)
                frame = sealing.open_answer(answer.sealed, answer_key)
                assert isinstance(wire.decode_reply(frame), wire.Cells)

    by = f"amanat://hop.example:1/#{b64(key)}"
    run_served(tmp_path / "relay", scenario, hop=HopConfig(by=(by,)))


def test_the_hops_that_ask_are_named_by_addresses(tmp_path: Path) -> None:
    async def scenario(_relay: server.Relay, _at: RelayAddress) -> None:
        raise AssertionError("it runs")

    with pytest.raises(BadSetting, match=r"hop\.by"):
        run_served(tmp_path / "relay", scenario, hop=HopConfig(by=("hop.example",)))


@pytest.mark.e2e
def test_a_request_that_nobody_waits_for_waits_at_no_other_relay_either(tmp_path: Path) -> None:
    async def scenario(relay: server.Relay, at: RelayAddress) -> None:
        idle = derive_bucket(relay._directory.bucket_key, 0, region="DE")
        listed = HopConfig(serve="listed", relays=(str(at),))
        with RelayProcess(tmp_path / "hop", hop=listed) as hop:
            taken, gone = await Peer.connect(hop.address), await Peer.connect(hop.address)
            for number in range(1, 11):
                for peer in (taken, gone):
                    sealed, _ = sealed_to(relay, read(idle, wait=180))
                    peer.send(wire.Forward(number, at.key, sealed))
            while relay.rooms.waits.taken < 20:  # noqa: ASYNC110  # the other is another process
                await asyncio.sleep(0.01)
            for number in range(1, 11):
                taken.send(wire.Unfollow(number))
            await gone.hang_up()
            while relay.rooms.waits.taken:  # noqa: ASYNC110  # same
                await asyncio.sleep(0.01)
            assert isinstance(await taken.ask(wire.Describe(1, b"")), wire.Described)

    run_served(tmp_path / "relay", scenario)


@pytest.mark.e2e
def test_a_client_that_leaves_while_a_hop_connects_does_not_end_that_for_the_others(
    tmp_path: Path,
) -> None:
    async def scenario(relay: server.Relay, at: RelayAddress) -> None:
        listed = HopConfig(serve="listed", relays=(str(at),))
        with RelayProcess(tmp_path / "hop", hop=listed) as hop:
            for _ in range(5):
                gone, stays = await Peer.connect(hop.address), await Peer.connect(hop.address)
                hop.signal(signal.SIGSTOP)  # all of it comes at once
                gone.send(wire.Inquire(1, at.key, ()))
                stays.send(wire.Inquire(1, at.key, ()))
                gone.transport.disconnect(graceful=False)
                hop.signal(signal.SIGCONT)
                assert isinstance(await stays.reply(1), wire.Described)
            # The other relay got one connection, whoever asked first.
            assert len(relay.connections) == 1

    run_served(tmp_path / "relay", scenario)


def test_a_link_takes_no_id_that_is_in_use() -> None:
    link = Link()
    link._next = 2**32 - 3
    link._followed = {2**32 - 1: None, 1: None}  # type: ignore[dict-item]
    assert [link._number() for _ in range(3)] == [2**32 - 2, 2, 3]


# Shares


class Somebody:
    def __init__(self, speaks_for: int) -> None:
        self.speaks_for = speaks_for
        self.held = [0]


@given(
    st.integers(1, 40),
    st.integers(1, 20),
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(-4, 8), st.booleans()), min_size=1, max_size=120
    ),
)
def test_the_greediest_is_refused_and_never_the_newest(
    most: int, each: int, steps: list[tuple[int, int, bool]]
) -> None:
    everybody = [Somebody(1) for _ in range(5)] + [Somebody(4)]

    def relieve(who: Somebody) -> bool:
        room.give_back(who, 1)
        return True

    room: Room[Somebody] = Room(0, most, each, holders=everybody, relieve=relieve, retry_s=5.0)
    for index, amount, is_trusted in steps:
        who = everybody[index]
        had = who.held[0]
        if amount < 0:
            room.give_back(who, min(-amount, had))
        elif amount:
            if not is_trusted:
                room._trusted = 0
            is_refused = False
            try:
                room.take(who, amount)
            except RelayBusy:
                is_refused = True
            assert who.held[0] == (had if is_refused else had + amount)
            if is_refused and not is_trusted:
                # That peer would have had too much, or as much as the greediest has.
                asked = (had + amount) / who.speaks_for
                assert asked > each or asked >= max(
                    one.held[0] / one.speaks_for for one in everybody
                )
        assert room.taken == sum(one.held[0] for one in everybody)
        assert 0 <= room.taken <= most
        assert all(0 <= one.held[0] <= each * one.speaks_for for one in everybody)
