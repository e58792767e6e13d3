"""Campaigns that a relay survives, against real processes.

Short here, and longer in `make soak`: see `figures.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
import resource
import socket
import sqlite3
import subprocess
from collections import Counter, deque
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import picows
import pytest

from amanat.config import RelayLimits
from amanat.errors import BY_CODE, PeerError
from amanat.protocol import wire
from amanat.protocol.cells import LARGE_CELL, MESSAGE_CELL
from amanat.protocol.drops import (
    MESSAGE_RETENTION_DAYS,
    Drop,
    derive_bucket,
    derive_drop,
    first_digest,
    next_digest,
    token_hash,
)
from amanat.relay.clock import JUMP_PATIENCE_S, Clock
from amanat.relay.connection import HIGH_WATER_BYTES
from amanat.relay.drops import DAY_S, Drops
from amanat.relay.store import SqliteStore
from amanat.relay.store.schema import CACHE_KIB
from damage import changed_at
from figures import SOAK, report, rounds
from relays import REGION, Peer, RelayProcess, append, follow, read, read_all, run_in_loop

PATIENCE_S = 100 * max(1.0, SOAK)
"""Seconds for one campaign, enough on a busy machine; this is no measure of speed."""
MOST_CONNECTIONS = 10_000
WINDOW = 20
"""Appends of one connection under way at once."""

pytestmark = [pytest.mark.e2e, pytest.mark.campaign, pytest.mark.timeout(PATIENCE_S + 20)]


def run(campaign: Coroutine[Any, Any, None]) -> None:
    run_in_loop(campaign, PATIENCE_S)


def cell(size: int = MESSAGE_CELL) -> bytes:
    return os.urandom(size)


def resident(relay: RelayProcess) -> int:
    """Bytes of memory that the relay uses."""
    status = Path(f"/proc/{relay.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def rests(relay: RelayProcess) -> str:
    """A hash over all contents of the store."""
    whole = hashlib.sha256()
    for name, tables in (("drops", ("drop", "cell")), ("keys", ("shred_key",))):
        uri = f"file:{relay.directory.path / name}.sqlite?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as database:
            for table in tables:
                for row in database.execute(f'SELECT * FROM "{table}" ORDER BY 1, 2'):  # noqa: S608  # constant
                    whole.update(repr(row).encode())
    return whole.hexdigest()


class Account:
    """The cells sent to one drop and the relay's answers, over all lives of the relay."""

    def __init__(self, drop: Drop) -> None:
        self.drop = drop
        self.pending: dict[bytes, None] = {}
        """Cells that were sent and not acknowledged, in order."""
        self.recent: deque[bytes] = deque(maxlen=1000)
        """The newest acknowledged."""
        self.places: dict[bytes, tuple[int, bytes]] = {}
        """The seq and the digest after each acknowledged cell."""
        self.told: list[bytes] = []
        """The cells that followers got, in order."""
        self.digest = first_digest(drop.drop_id)
        """The digest after the last of these cells."""
        self.resent = 0
        self.wrong: list[str] = []

    def acknowledge(self, data: bytes, reply: wire.Reply) -> None:
        if not isinstance(reply, wire.Appended):
            self.wrong.append(f"not appended: {reply}")
            return
        place = (reply.seq, reply.digest)
        self.pending.pop(data, None)
        self.recent.append(data)
        if self.places.setdefault(data, place) != place:
            self.wrong.append(f"{place} after {self.places[data]}")

    def take(self, reply: wire.Reply) -> None:
        if not isinstance(reply, wire.Cells):
            self.wrong.append(f"not cells: {reply}")
        elif (reply.first, reply.before) != (len(self.told) + 1, self.digest):
            self.wrong.append(f"{reply.first} after {len(self.told)}, or another digest")
        else:
            for data in reply.cells:
                self.told.append(data)
                self.digest = next_digest(self.digest, data)

    async def close(self, peer: Peer) -> None:
        """Retry the appends without an answer; then each cell must be where the relay said it
        was."""
        for data in tuple(self.pending):
            self.acknowledge(data, await peer.ask(append(self.drop, data)))
        held = await read_all(peer, self.drop)
        assert self.wrong == []
        assert held[: len(self.told)] == self.told
        digest, places = first_digest(self.drop.drop_id), dict(self.places)
        for seq, data in enumerate(held, start=1):
            digest = next_digest(digest, data)
            assert places.pop(data) == (seq, digest)
        assert places == {}


class Sender(Peer):
    """Appends as long as answers come: pending cells first, then new ones, and old ones again."""

    account: Account
    chance: random.Random

    def begin(self, account: Account, chance: random.Random, again: list[bytes]) -> None:
        self.account, self.chance = account, chance
        self.sent: dict[int, bytes] = {}
        self.again = deque(again)
        for _ in range(WINDOW):
            self.more()

    def more(self) -> None:
        account = self.account
        if self.again:
            data = self.again.popleft()
            account.resent += 1
        elif account.recent and self.chance.random() < 0.05:
            data = self.chance.choice(account.recent)
            account.resent += 1
        else:
            data = cell()
            account.pending[data] = None
        self.append(data)

    def append(self, data: bytes) -> None:
        number = len(self.sent)
        self.sent[number] = data
        self.send(append(self.account.drop, data, number))

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:  # noqa: ARG002
        if frame.msg_type == picows.WSMsgType.BINARY:
            reply = wire.decode_reply(frame.get_payload_as_bytes())
            self.account.acknowledge(self.sent[reply.id], reply)
            self.more()


class Follower(Peer):
    """Follows a drop from where the last follower stopped."""

    account: Account

    def begin(self, account: Account) -> None:
        self.account = account
        self.send(follow(account.drop, len(account.told)))

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:  # noqa: ARG002
        if frame.msg_type == picows.WSMsgType.BINARY:
            self.account.take(wire.decode_reply(frame.get_payload_as_bytes()))


# Dying


def test_killed_at_random_under_load(tmp_path: Path) -> None:
    chance, kills = random.Random(1), rounds(10)

    async def campaign(relay: RelayProcess) -> None:
        accounts = [Account(relay.bucket(index)) for index in range(2)]
        for _ in range(kills):
            peers: list[Peer] = []
            answered = sum(len(one.places) for one in accounts)
            for account in accounts:
                follower = await Follower.connect(relay.address)
                follower.begin(account)
                senders = [await Sender.connect(relay.address) for _ in range(2)]
                pending = list(account.pending)
                for number, sender in enumerate(senders):
                    sender.begin(account, chance, pending[number::2])
                peers += [follower, *senders]
            # Now and then it dies before it has answered anything.
            hasty = chance.random() < 0.2
            while not hasty and sum(len(one.places) for one in accounts) == answered:  # noqa: ASYNC110  # callbacks
                await asyncio.sleep(0.01)
            await asyncio.sleep(chance.uniform(0, 0.3))
            await asyncio.to_thread(relay.kill)
            for peer in peers:
                await peer.closed
            await asyncio.to_thread(relay.start)
        peer = await Peer.connect(relay.address)
        unanswered = sum(len(one.pending) for one in accounts)
        for account in accounts:
            await account.close(peer)
        acknowledged = sum(len(one.places) for one in accounts)
        assert acknowledged > kills
        report(
            "killed at random",
            kills=kills,
            acknowledged=acknowledged - unanswered,
            unanswered_in_the_end=unanswered,
            sent_again=sum(one.resent for one in accounts),
            followed=sum(len(one.told) for one in accounts),
            lost=0,
        )

    with RelayProcess(tmp_path / "relay", buckets=2) as relay:
        run(campaign(relay))


# A disk that fails


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory with little room: enough for the log of one checkpoint in each round."""
    directory = tmp_path / "relay"
    directory.mkdir()
    options = f"size={16 + 12 * rounds(3)}m"
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(directory)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root may mount a small disk")
    yield directory
    subprocess.run(["umount", str(directory)], check=True)  # noqa: S607


def fill(ballast: Path, room: int) -> None:
    """Leave so many bytes of room on the disk."""
    with ballast.open("wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while file.write(bytes(64 * 1024)):
                pass
        file.truncate(max(0, file.tell() - room))


def test_a_full_disk(small_disk: Path) -> None:
    chance, fulls = random.Random(2), rounds(3)

    async def campaign(relay: RelayProcess) -> None:
        account, ballast = Account(relay.bucket()), small_disk / "ballast"
        follower = await Follower.connect(relay.address)
        follower.begin(account)
        peer, refused = await Peer.connect(relay.address), 0
        for _ in range(fulls):
            fill(ballast, chance.randrange(2**21))
            while True:
                data = cell(LARGE_CELL)
                reply = await peer.ask(append(account.drop, data))
                if isinstance(reply, wire.Failed):
                    break
                account.acknowledge(data, reply)
            for _ in range(20):
                assert reply == wire.Failed(0, "disk-full", 30.0)
                refused += 1
                reply = await peer.ask(append(account.drop, data))
            assert len(await read_all(peer, account.drop)) == len(account.places)
            assert relay.process.is_alive()
            ballast.unlink()
            # The relay recovers by itself, and under the same connection.
            account.acknowledge(data, await peer.ask(append(account.drop, data)))
            await account.close(peer)
        assert refused == 20 * fulls
        report("full disk", fulls=fulls, refused=refused, kept=len(account.places), lost=0)

    with RelayProcess(small_disk) as relay:
        run(campaign(relay))


def test_writes_that_fail(tmp_path: Path) -> None:
    """Writes fail with EFBIG, which SQLite reports like EIO, at any offset of any of its files."""
    chance, failures = random.Random(3), rounds(8)

    async def campaign(relay: RelayProcess) -> None:
        assert relay.process.pid is not None
        account = Account(relay.bucket())
        peer, refused = await Peer.connect(relay.address), 0
        unlimited = resource.prlimit(relay.process.pid, resource.RLIMIT_FSIZE)
        for _ in range(failures):
            largest = max(path.stat().st_size for path in relay.directory.path.iterdir())
            limit = chance.randrange(largest + largest // 4)
            resource.prlimit(relay.process.pid, resource.RLIMIT_FSIZE, (limit, unlimited[1]))
            sent = {number: cell(chance.choice([MESSAGE_CELL, LARGE_CELL])) for number in range(80)}
            for number, data in sent.items():
                peer.send(append(account.drop, data, number))
            for number, data in sent.items():
                reply = await peer.reply(number)
                if isinstance(reply, wire.Failed):
                    assert reply == wire.Failed(number, "disk-full", 30.0)
                    account.pending[data] = None
                    refused += 1
                else:
                    account.acknowledge(data, reply)
            # The drop has the acknowledged cells, and no others.
            assert set(await read_all(peer, account.drop)) == set(account.places)
            resource.prlimit(relay.process.pid, resource.RLIMIT_FSIZE, unlimited)
            if chance.random() < 0.3:
                await asyncio.to_thread(relay.kill)
                await asyncio.to_thread(relay.start)
                peer = await Peer.connect(relay.address)
            await account.close(peer)
        assert refused
        report("failing writes", rounds=failures, refused=refused, kept=len(account.places), lost=0)

    with RelayProcess(tmp_path / "relay") as relay:
        run(campaign(relay))


# The clock


class Jumping:
    """The rules over a store for some weeks, with a clock that is set wrong now and then."""

    def __init__(self, directory: Path, chance: random.Random) -> None:
        self.directory, self.chance = directory, chance
        directory.mkdir()
        self.store = SqliteStore(directory)
        limits = RelayLimits(cells_per_drop=60)
        self.drops = Drops(self.store, region=REGION, bucket_key=bytes(32), limits=limits)
        self.start = 20_000.0 * DAY_S
        self.drops.open_buckets(1, now=self.start)
        self.bucket = derive_bucket(bytes(32), 0, region=REGION)
        self.clock = Clock(self.start, 0.0)
        self.passed = self.error = self.error_ends = 0.0
        self.jumps = 0
        self.written: list[tuple[float, bytes]] = []

    def wait(self) -> float:
        """Let a little time pass; the time that the relay then believes in."""
        chance = self.chance
        self.passed += chance.uniform(0, DAY_S / 3)
        if self.passed >= self.error_ends:
            self.error = 0.0
            if chance.random() < 0.3:
                self.error = chance.choice([-1, 1]) * 10 ** chance.uniform(4, 9)
                self.error_ends = self.passed + chance.uniform(0, JUMP_PATIENCE_S * 0.6)
                self.jumps += 1
        return self.clock.believe(self.start + self.passed + self.error, self.passed)

    def write(self, now: float) -> None:
        data = cell()
        (reply,) = self.drops.write([append(self.bucket, data)], now=now).replies
        self.drops.commit()
        if isinstance(reply, wire.Appended):
            self.written.append((self.passed, data))
        else:
            assert isinstance(reply, wire.Failed)
            assert reply.code == "drop-full"
            assert reply.retry_after is not None
            assert 0 < reply.retry_after <= DAY_S

    def expire(self, now: float) -> int:
        """Expire; the number of cells left, after a check that they are the right ones."""
        for _ in self.drops.expire(now=now):
            pass
        shown = self.drops.read(read(self.bucket), after=0, now=now).cells
        ages = {data: self.passed - at for at, data in self.written}
        young = [data for data, age in ages.items() if age < MESSAGE_RETENTION_DAYS * DAY_S]
        assert shown[-len(young) :] == young
        assert all(ages[data] <= (MESSAGE_RETENTION_DAYS + 1) * DAY_S for data in shown)
        assert self.store.stored_bytes() == len(shown) * MESSAGE_CELL
        with contextlib.closing(sqlite3.connect(self.directory / "keys.sqlite")) as keys:
            (first, count) = keys.execute("SELECT min(day), count(*) FROM shred_key").fetchone()
        assert 1 <= count <= MESSAGE_RETENTION_DAYS + 1
        assert first >= int((self.start + self.passed) // DAY_S) - MESSAGE_RETENTION_DAYS
        return len(shown)


def test_a_clock_that_jumps_both_ways(tmp_path: Path) -> None:
    """Nothing ends early, nothing rests for long, and each cell's key goes with its day."""
    histories, jumps, ended = rounds(6), 0, 0
    for seed in range(histories):
        relay = Jumping(tmp_path / str(seed), random.Random(seed))
        left = 0
        while relay.passed < 60 * DAY_S:
            now = relay.wait()
            relay.write(now)
            left = relay.expire(now)
        relay.store.close()
        jumps += relay.jumps
        ended += len(relay.written) - left
    assert jumps
    assert ended
    report("jumping clock", histories=histories, jumps=jumps, ended=ended, ended_early=0)


# Peers that misbehave


def test_readers_that_never_read(tmp_path: Path) -> None:
    deaf_readers, cells = 10, rounds(400)

    async def campaign(relay: RelayProcess) -> None:
        account = Account(relay.bucket())
        follower = await Follower.connect(relay.address)
        follower.begin(account)
        deaf = [await Peer.connect(relay.address) for _ in range(deaf_readers)]
        for peer in deaf:
            for number in range(8):
                await peer.ask(follow(account.drop, 0, number))
            peer.transport.underlying_transport.pause_reading()
        writer, before = await Peer.connect(relay.address), resident(relay)
        for number in range(cells):
            data = cell(LARGE_CELL)
            account.acknowledge(data, await writer.ask(append(account.drop, data)))
            for peer in deaf:
                # It also asks, and hears no answer.
                peer.send(read(account.drop, number=100 + number))
        growth = resident(relay) - before
        while len(account.told) < cells:  # noqa: ASYNC110  # it is told by callbacks
            await asyncio.sleep(0.01)
        # Each peer costs the bytes that may wait, those being sent, and the allocator's overhead;
        # all together cost the pages of the store's writer and reader.
        assert growth < deaf_readers * 6 * HIGH_WATER_BYTES + 2 * CACHE_KIB * 1024 + 32 * 2**20
        # A peer that listens again has missed nothing.
        late = deaf[0]
        late.transport.underlying_transport.resume_reading()
        got: list[bytes] = []
        while len(got) < cells:
            reply = await late.reply(0)
            assert isinstance(reply, wire.Cells)
            assert reply.first == len(got) + 1
            got += reply.cells
        assert got == account.told
        await account.close(writer)
        report(
            "readers that never read",
            readers=deaf_readers,
            follows=8 * deaf_readers,
            mib_not_read=round(8 * deaf_readers * cells * LARGE_CELL / 2**20),
            mib_grown=round(growth / 2**20, 1),
        )

    with RelayProcess(tmp_path / "relay") as relay:
        run(campaign(relay))


async def refusal(relay: RelayProcess) -> tuple[int, bytes | None, str | None]:
    """The status, body and Retry-After with which a connection is refused."""
    with pytest.raises(picows.WSError) as raised:
        await Peer.connect(relay.address)
    error = raised.value
    assert isinstance(error, picows.WSInvalidStatusError)
    assert error.response is not None
    return error.response.status, error.raw_body, error.response.headers.get("Retry-After")


def test_idle_connections_and_a_flood_of_them(tmp_path: Path) -> None:
    count = min(MOST_CONNECTIONS, rounds(1000))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        count = min(count, hard - 1000)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + 500), hard))
    flood = 200

    async def campaign(relay: RelayProcess) -> None:
        account = Account(relay.bucket())
        writer, follower = await Peer.connect(relay.address), await Follower.connect(relay.address)
        follower.begin(account)

        async def talk(messages: int) -> None:
            for _ in range(messages):
                data = cell()
                account.acknowledge(data, await writer.ask(append(account.drop, data)))

        await talk(20)
        before, left = resident(relay), count - 2
        while left:
            wave = min(left, 50)
            await asyncio.gather(*(Peer.connect(relay.address) for _ in range(wave)), talk(1))
            left -= wave
        each = (resident(relay) - before) / count
        assert await refusal(relay) == (503, b"relay-busy", "5")
        await talk(20)
        # These are more callers than may be in their handshake, and they then say nothing.
        target, callers = (relay.address.places[0].host, relay.address.places[0].port), []
        for _ in range(flood):
            callers.append(socket.create_connection(target))
            callers[-1].setblocking(False)
        await talk(20)
        hung_up = 0
        for caller in callers:
            with contextlib.suppress(BlockingIOError):
                hung_up += caller.recv(1) == b""
            caller.close()
        assert hung_up >= flood - 100
        await account.close(writer)
        assert len(account.told) == len(account.places)
        report(
            "idle connections",
            connections=count,
            tls=1,
            kib_each=round(each / 1024, 1),
            flood=flood,
            hung_up=hung_up,
        )

    limits = RelayLimits(connections=count, handshakes=100)
    with RelayProcess(tmp_path / "relay", tls="pinned", limits=limits) as relay:
        run(campaign(relay))
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_flood_of_creates(tmp_path: Path) -> None:
    most, flood = 300, rounds(2000)

    async def campaign(relay: RelayProcess) -> None:
        account, before = Account(relay.bucket()), derive_drop(bytes(32), purpose=b"x", region="DE")
        peer, flooding = await Peer.connect(relay.address), await Peer.connect(relay.address)

        def create(drop: Drop, number: int = 0) -> wire.Create:
            hashes = [token_hash(drop.drop_id, token) for token in drop[1:]]
            return wire.Create(
                number, relay.directory.bucket_key, drop.drop_id, hashes[0], hashes[1], 30
            )

        assert await peer.ask(create(before)) == wire.Created(0, 0)
        made = 2  # with the bucket
        for start in range(0, flood, 200):
            numbers = range(start, min(start + 200, flood))
            for number in numbers:
                drop = derive_drop(os.urandom(32), purpose=b"x", region="DE")
                flooding.send(create(drop, number))
            data = cell()
            account.acknowledge(data, await peer.ask(append(account.drop, data)))
            for number in numbers:
                reply = await flooding.reply(number)
                if reply == wire.Created(number, 0):
                    made += 1
                else:
                    assert reply == wire.Failed(number, "relay-busy", 3600.0)
        assert made == most
        # Existing drops are still used, and created again.
        assert await peer.ask(create(before)) == wire.Created(0, 0)
        assert isinstance(await peer.ask(append(before, cell())), wire.Appended)
        await account.close(peer)
        report("flood of creates", creates=flood, made=made - 2, refused=flood - made + 2)

    limits = RelayLimits(
        drops=most, drop_creations_per_minute=10**6, drop_creations_per_minute_total=10**6
    )
    with RelayProcess(tmp_path / "relay", limits=limits) as relay:
        run(campaign(relay))


# Meaningless bytes


def junk(chance: random.Random, frames: list[bytes]) -> bytes:
    """Random bytes, or a frame that was cut, prolonged, changed or made too long."""
    frame = chance.choice(frames)
    match chance.randrange(6):
        case 0:
            return chance.randbytes(chance.randrange(2000))
        case 1:
            return frame[: chance.randrange(len(frame))]
        case 2:
            return frame + chance.randbytes(chance.randint(1, 2000))
        case 3:
            return frame + bytes(chance.choice([wire.MAX_REQUEST_BYTES, 2**20]))
        case 4:
            changed = bytearray(frame)
            for _ in range(chance.randint(1, 4)):
                changed[chance.randrange(len(frame))] = chance.randrange(256)
            return bytes(changed)
    return frame


class Junk:
    """Sends junk, over one connection after another."""

    probe = wire.Describe(2**32 - 1, b"")
    """A request that a relay answers on any connection that still works."""

    def __init__(self, relay: RelayProcess, chance: random.Random) -> None:
        self.relay, self.chance = relay, chance
        self.closed: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()

    async def send(self, pieces: int, frames: list[bytes]) -> None:
        peer = await Peer.connect(self.relay.address)
        for _ in range(pieces):
            if not await self.survives(peer, junk(self.chance, frames)):
                self.count(peer)
                peer = await Peer.connect(self.relay.address)
        self.count(peer)

    async def survives(self, peer: Peer, data: bytes) -> bool:
        """Whether the connection survives these bytes."""
        match self.chance.randrange(20):
            case 0:
                peer.transport.send(picows.WSMsgType.TEXT, data)
            case 1:
                peer.transport.send(picows.WSMsgType.BINARY, data, fin=False)
            case 2:
                peer.transport.underlying_transport.write(data)
            case _:
                peer.send(data)
        peer.send(self.probe)
        answer = asyncio.ensure_future(peer.reply(self.probe.id))
        ends: list[asyncio.Future[Any]] = [answer, peer.closed]
        await asyncio.wait(ends, timeout=0.5, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return True
        answer.cancel()
        if not peer.closed.done():
            await peer.hang_up()  # the bytes were the beginning of an endless frame
        _, reason = await peer.closed
        self.closed[reason] += 1
        return False

    def count(self, peer: Peer) -> None:
        for queue in peer.replies.values():
            while not queue.empty():
                reply = queue.get_nowait()
                if isinstance(reply, wire.Failed):
                    assert issubclass(BY_CODE[reply.code], PeerError)
                    self.answered[reply.code] += 1


def test_junk_changes_nothing(tmp_path: Path) -> None:
    pieces = rounds(500)

    async def campaign(relay: RelayProcess) -> None:
        account = Account(relay.bucket())
        drop, stranger = account.drop, derive_drop(bytes(32), purpose=b"x", region="DE")
        other = derive_drop(bytes(32), purpose=b"x", region="FR")
        wrong = drop._replace(append_token=drop.read_token, read_token=drop.append_token)
        peer = await Peer.connect(relay.address)
        for size in [MESSAGE_CELL] * 30 + [LARGE_CELL]:
            data = cell(size)
            account.acknowledge(data, await peer.ask(append(drop, data)))
        before = rests(relay)

        # Known cells sent again get the same answers, and nothing is added.
        for data in account.places:
            account.acknowledge(data, await peer.ask(append(drop, data)))
            taken = append(drop, changed_at(data))
            assert await peer.ask_code(taken) == "label-taken"
        assert rests(relay) == before

        # A missing drop and a wrong token get the same answer.
        for kind in (stranger, other, wrong):
            for request in (append(kind, cell()), read(kind), follow(kind)):
                assert await peer.ask(request) == wire.Failed(0, "no-such-drop")
        assert rests(relay) == before

        seeds: list[wire.Request] = [
            append(stranger, cell()),
            append(other, cell(LARGE_CELL)),
            append(wrong, cell()),
            read(drop, 3),
            read(wrong, 3),
            follow(drop, 2),
            wire.Unfollow(1),
            wire.Describe(1, bytes(32)),
            wire.Create(1, bytes(32), stranger.drop_id, bytes(32), bytes(32), 14),
        ]
        sender = Junk(relay, random.Random(7))
        await sender.send(pieces, [wire.encode(seed) for seed in seeds])
        assert rests(relay) == before
        assert sender.closed["malformed-frame"]
        assert {"no-such-drop", "no-access", "bad-cell"} & set(sender.answered)
        await account.close(peer)
        report(
            "junk",
            pieces=pieces,
            connections_closed=sender.closed.total(),
            refused=sender.answered.total(),
            changed=0,
        )

    with RelayProcess(tmp_path / "relay") as relay:
        run(campaign(relay))
