"""The relay as its peers meet it: a process behind a socket."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import os
import random
import resource
import signal
import socket
import ssl
import struct
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import picows
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from amanat.config import RelayConfig, RelayLimits
from amanat.errors import (
    BadSetting,
    NoProfile,
    PortTaken,
    ProfileExists,
    ProfileInUse,
    StoreDamaged,
)
from amanat.protocol import wire
from amanat.protocol.cells import LABEL_BYTES, LARGE_CELL, MESSAGE_CELL
from amanat.protocol.descriptor import open_descriptor, parse_address
from amanat.protocol.drops import derive_drop, first_digest, next_digest, token_hash
from amanat.relay import connection, server, sockets
from amanat.relay.clock import Clock
from amanat.relay.directory import RelayDirectory, interface
from amanat.relay.drops import DAY_S, Drops
from amanat.relay.frames import SharedFrame, websocket_head
from amanat.relay.store import SqliteStore
from clusters import Cluster
from damage import changed_at
from relays import (
    Peer,
    RelayProcess,
    append,
    follow,
    in_loop,
    read,
    read_all,
)

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module", params=["disk", "cluster"])
def relay(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RelayProcess]:
    """One relay for all tests that leave it as it was; each takes a bucket of its own. Every test
    runs to one on disk and to one on a cluster."""
    directory = tmp_path_factory.mktemp("shared")
    settings: dict[str, Any] = {}
    if request.param == "cluster":
        cluster: Cluster = request.getfixturevalue("running_cluster")
        cluster.wipe()
        settings = cluster.settings(directory)
    with RelayProcess(directory / "relay", buckets=20, **settings) as running:
        yield running
    if request.param == "cluster":
        cluster.wipe()


def cell(size: int = MESSAGE_CELL) -> bytes:
    return os.urandom(size)


def resident(relay: RelayProcess) -> int:
    """Bytes of memory that the relay uses."""
    status = Path(f"/proc/{relay.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


# Asking and being answered


@in_loop
async def test_every_verb_is_answered(relay: RelayProcess) -> None:
    peer = await Peer.connect(relay.address)
    described = await peer.ask(wire.Describe(1, b""))
    assert isinstance(described, wire.Described)
    descriptor = open_descriptor(described.descriptor, relay.address.key)
    assert (descriptor.region, descriptor.buckets, descriptor.access) == ("DE", 20, "open")
    assert descriptor.issued_at % 3600 == 0
    assert described.bucket_key == relay.directory.bucket_key

    drop = derive_drop(os.urandom(32), purpose=b"epoch", region="DE")
    append_hash, read_hash = (
        token_hash(drop.drop_id, token) for token in (drop.append_token, drop.read_token)
    )
    create = wire.Create(2, described.bucket_key, drop.drop_id, append_hash, read_hash, 30)
    assert await peer.ask(create) == wire.Created(2, 0)

    data = cell()
    before = first_digest(drop.drop_id)
    after = next_digest(before, data)
    assert await peer.ask(append(drop, data, 3)) == wire.Appended(3, 1, after)
    assert await peer.ask(create) == wire.Created(2, 1)
    assert await peer.ask(read(drop, number=4)) == wire.Cells(4, 1, before, [data], 1)
    assert await peer.ask(read(drop, 1, number=5)) == wire.Cells(5, 2, after, [], 1)


def test_every_verb_is_in_one_table_of_the_connection() -> None:
    tables = (
        *connection.INSTRUCTIONS,
        *connection.TELLINGS,
        *connection.WRITINGS,
        *connection.READINGS,
        *connection.ERRANDS,
        *(wire.Sealed, wire.Publish),
    )
    assert sorted(map(str, tables)) == sorted(map(str, get_args(wire.Request)))


@in_loop
async def test_writes_of_one_connection_are_done_in_order(relay: RelayProcess) -> None:
    peer, bucket = await Peer.connect(relay.address), relay.bucket(1)
    cells = [cell() for _ in range(400)]
    for number, data in enumerate(cells):
        peer.send(append(bucket, data, number))
    for number in range(400):
        reply = await peer.reply(number)
        assert isinstance(reply, wire.Appended)
        assert reply.seq == number + 1
    assert await read_all(peer, bucket) == cells


@in_loop
async def test_a_read_waits_for_a_cell_and_not_longer(relay: RelayProcess) -> None:
    reader, writer = await Peer.connect(relay.address), await Peer.connect(relay.address)
    bucket, data = relay.bucket(2), cell()
    reader.send(read(bucket, number=1, wait=60))
    reader.send(read(bucket, number=2, wait=60, limit=1))
    reader.send(read(bucket, number=3, wait=1))
    assert await reader.reply(3) == wire.Cells(3, 1, first_digest(bucket.drop_id), [], 0)
    writer.send(append(bucket, data, 1))
    writer.send(append(bucket, cell(), 2))
    for number in (1, 2):
        reply = await reader.reply(number)
        assert isinstance(reply, wire.Cells)
        assert reply.cells[0] == data
        assert len(reply.cells) <= 3 - number or number == 1
    # A reader behind or ahead of the relay has no reason to wait.
    assert await reader.ask(read(bucket, 0, number=4, wait=60))
    assert await reader.ask(read(bucket, 99, number=5, wait=60))


@in_loop
async def test_a_follower_is_told_what_was_and_what_comes(relay: RelayProcess) -> None:
    peer, bucket = await Peer.connect(relay.address), relay.bucket(3)
    cells = [cell() for _ in range(3)]
    await peer.ask(append(bucket, cells[0]))
    assert await peer.ask(follow(bucket, 0, 7)) == wire.Cells(
        7, 1, first_digest(bucket.drop_id), cells[:1], 1
    )
    empty = await peer.ask(follow(bucket, 1, 8))
    assert isinstance(empty, wire.Cells)
    assert (empty.first, empty.cells) == (2, [])
    await peer.ask(append(bucket, cells[1]))
    for number in (7, 8):
        reply = await peer.reply(number)
        assert isinstance(reply, wire.Cells)
        assert (reply.first, reply.before, reply.cells) == (2, empty.before, cells[1:2])
    peer.send(wire.Unfollow(7))
    await peer.ask(append(bucket, cells[2]))
    await peer.reply(8)
    assert peer.replies[7].empty()
    peer.send(wire.Unfollow(7))  # already ended: nothing happens
    assert await peer.ask(follow(bucket, 2, 7))


@in_loop
async def test_a_follow_is_sent_no_more_than_its_credit_and_a_frame(relay: RelayProcess) -> None:
    writer, peer = await Peer.connect(relay.address), await Peer.connect(relay.address)
    bucket, rng = relay.bucket(9), random.Random(9)
    cells = [cell(rng.choice((MESSAGE_CELL, MESSAGE_CELL, LARGE_CELL))) for _ in range(60)]
    for number, each in enumerate(cells[:20]):  # some before, from the store, ...
        await writer.ask(append(bucket, each, number))
    got: list[bytes] = []
    credit = rng.randint(1, 2 * LARGE_CELL)
    peer.send(follow(bucket, 0, 1, credit))
    while len(got) < len(cells):
        if credit > 0:
            reply = await peer.reply(1)
            assert isinstance(reply, wire.Cells)
            assert reply.first == len(got) + 1
            got += reply.cells
            credit -= len(wire.encode(reply))
        if credit > 0 and len(got) < 20:
            continue
        for each in cells[max(len(got), 20) :][:4]:  # ... and some live, while it may have none
            await writer.ask(append(bucket, each, 99))
        # Readers that are behind have waited, and all other requests of the connection were
        # answered meanwhile.
        assert isinstance(await peer.ask(wire.Describe(2, b"")), wire.Described)
        assert credit > 0 or peer.replies[1].empty()
        if credit <= 0 or rng.random() < 0.5:
            more = rng.randint(1, 2 * LARGE_CELL)
            peer.send(wire.Grant(1, more))
            credit += more
    assert got == cells


@in_loop
async def test_credit_for_what_is_not_followed_any_more_is_nothing(relay: RelayProcess) -> None:
    peer, bucket = await Peer.connect(relay.address), relay.bucket(10)
    peer.send(wire.Grant(1, 5))
    await peer.ask(follow(bucket, 0, 1))
    peer.send(wire.Unfollow(1))
    peer.send(wire.Grant(1, 5))
    peer.send(read(bucket, number=2, wait=60))
    peer.send(wire.Grant(2, 5))
    await peer.ask(append(bucket, cell(), 3))
    assert isinstance(await peer.reply(2), wire.Cells)
    assert peer.replies[1].empty()
    assert not peer.closed.done()


@in_loop
async def test_an_id_in_use_ends_the_connection(relay: RelayProcess) -> None:
    bucket = relay.bucket(4)
    publish = wire.Publish(1, bucket.drop_id, bucket.append_token, cell())
    for first in (follow(bucket, 0, 1), read(bucket, number=1, wait=60), publish):
        for again in (follow(bucket, 0, 1), read(bucket, number=1), wire.Describe(1, b"")):
            peer = await Peer.connect(relay.address)
            peer.send(first)
            await peer.ask(wire.Describe(2, b""))
            peer.send(again)
            assert await peer.closed == (1008, "id-in-use")


@pytest.mark.parametrize("tls", ["off", "pinned"])
def test_followers_that_read_slowly_or_leave_lose_nothing(tmp_path: Path, tls: str) -> None:
    @in_loop
    async def scenario(relay: RelayProcess) -> None:
        bucket = relay.bucket()
        cells = [cell(LARGE_CELL if n % 3 == 0 else MESSAGE_CELL) for n in range(600)]
        writer = await Peer.connect(relay.address)
        followers = [await Peer.connect(relay.address) for _ in range(6)]
        got: list[list[bytes]] = [[] for _ in followers]

        async def follower(number: int) -> None:
            peer = followers[number]
            peer.send(follow(bucket, 0, number))
            while len(got[number]) < len(cells):
                reply = await peer.reply(number)
                assert isinstance(reply, wire.Cells)
                assert reply.first == len(got[number]) + 1
                got[number] += reply.cells
                if number % 2 and len(got[number]) % 5 == 0:
                    # Not reading fills the socket's buffers, and then the relay's share.
                    peer.transport.underlying_transport.pause_reading()
                    await asyncio.sleep(0.05)
                    peer.transport.underlying_transport.resume_reading()
                if number == 5 and len(got[number]) > 100:
                    peer.transport.disconnect(graceful=False)
                    return

        following = [asyncio.create_task(follower(number)) for number in range(6)]
        for start in range(0, len(cells), 50):
            for number in range(start, start + 50):
                writer.send(append(bucket, cells[number], number))
            for number in range(start, start + 50):
                assert isinstance(await writer.reply(number), wire.Appended)
        await asyncio.gather(*following)
        assert all(one == cells for one in got[:5])

    with RelayProcess(tmp_path / "relay", tls=tls) as relay:
        scenario(relay)


@in_loop
async def test_a_follower_that_never_reads_costs_bounded_memory(relay: RelayProcess) -> None:
    bucket = relay.bucket(5)
    writer, deaf = await Peer.connect(relay.address), await Peer.connect(relay.address)
    for number in range(8):
        await deaf.ask(follow(bucket, 0, number))
    deaf.transport.underlying_transport.pause_reading()
    before = resident(relay)
    for number in range(600):
        await writer.ask(append(bucket, cell(LARGE_CELL), number))
    # 600 large cells for each of 8 follows would be 300 MiB.
    assert resident(relay) - before < 100 * 2**20


# Refusing


@in_loop
async def test_a_refusal_is_named_and_the_connection_goes_on(relay: RelayProcess) -> None:
    peer, bucket = await Peer.connect(relay.address), relay.bucket(6)
    stray = derive_drop(bytes(32), purpose=b"x", region="FR")
    unknown = derive_drop(bytes(32), purpose=b"x", region="DE")
    key = relay.directory.bucket_key
    data = cell()
    await peer.ask(append(bucket, data))
    refused: list[tuple[wire.Request, str]] = [
        (append(bucket, data + b"x"), "bad-cell"),
        (append(bucket, changed_at(data)), "label-taken"),
        (append(unknown, data), "no-such-drop"),
        (append(bucket._replace(append_token=bucket.read_token), data), "no-such-drop"),
        (read(unknown), "no-such-drop"),
        (read(bucket._replace(read_token=bucket.append_token)), "no-such-drop"),
        (follow(unknown), "no-such-drop"),
        (wire.Create(0, bytes(32), unknown.drop_id, bytes(32), bytes(32), 14), "no-access"),
        (wire.Create(0, key, stray.drop_id, bytes(32), bytes(32), 14), "wrong-region"),
        (wire.Create(0, key, unknown.drop_id, bytes(32), bytes(32), 15), "malformed-frame"),
        (wire.Create(0, key, bucket.drop_id, bytes(32), bytes(32), 14), "drop-conflict"),
    ]
    for request, code in refused:
        assert await peer.ask_code(request) == code
    assert len(await read_all(peer, bucket)) == 1
    assert not peer.closed.done()


@pytest.mark.parametrize(
    ("data", "code", "reason"),
    [
        (b"", 1008, "malformed-frame"),
        (b"\x00", 1008, "malformed-frame"),
        (wire.encode(wire.Unfollow(5))[:-1], 1008, "malformed-frame"),
        (wire.encode(wire.Unfollow(5)) + b"\x00", 1008, "malformed-frame"),
        (os.urandom(1000), 1008, "malformed-frame"),
        (bytes(wire.MAX_REQUEST_BYTES), 1008, "malformed-frame"),
        (bytes(wire.MAX_REQUEST_BYTES + 1), 1009, None),
    ],
)
@in_loop
async def test_bytes_that_are_no_frame_end_the_connection(
    relay: RelayProcess, data: bytes, code: int, reason: str | None
) -> None:
    peer = await Peer.connect(relay.address)
    peer.send(data)
    got = await peer.closed
    assert got[0] == code
    assert reason in (None, got[1])
    assert await (await Peer.connect(relay.address)).ask(wire.Describe(0, b""))


@in_loop
async def test_text_and_fragments_end_the_connection(relay: RelayProcess) -> None:
    for kind, is_whole in ((picows.WSMsgType.TEXT, True), (picows.WSMsgType.BINARY, False)):
        peer = await Peer.connect(relay.address)
        peer.transport.send(kind, wire.encode(wire.Unfollow(1)), fin=is_whole)
        assert await peer.closed == (1008, "malformed-frame")


@in_loop
async def test_another_path_is_not_found(relay: RelayProcess) -> None:
    for path in ("/", "/amanat/2", "/metrics"):
        with pytest.raises(picows.WSError):
            await Peer.connect(relay.address, path)


@in_loop
async def test_only_people_with_the_code_get_the_bucket_key(tmp_path: Path) -> None:
    with RelayProcess(tmp_path / "relay", access="code") as relay:
        peer = await Peer.connect(relay.address)
        for access, key in (
            (b"", b""),
            (bytes(32), b""),
            (relay.directory.access_code[:-1], b""),
            (relay.directory.access_code, relay.directory.bucket_key),
        ):
            reply = await peer.ask(wire.Describe(0, access))
            assert isinstance(reply, wire.Described)
            assert reply.bucket_key == key
            assert open_descriptor(reply.descriptor, relay.address.key).access == "code"
        drop = derive_drop(os.urandom(32), purpose=b"epoch", region="DE")
        for access in (bytes(32), relay.directory.access_code):
            create = wire.Create(1, access, drop.drop_id, bytes(32), bytes(32), 30)
            assert await peer.ask_code(create) == "no-access"
        create = wire.Create(1, relay.directory.bucket_key, drop.drop_id, bytes(32), bytes(32), 30)
        assert await peer.ask(create) == wire.Created(1, 0)


@pytest.mark.parametrize("access", ["open", "code"])
def test_codes_and_keys_are_compared_in_constant_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, access: str
) -> None:
    made = RelayDirectory.create(
        tmp_path / "relay", RelayConfig("DE", "test", "127.0.0.1", 0, tls="off", access=access)
    )
    compared: list[tuple[bytes, bytes]] = []
    compare = hmac.compare_digest

    def noted(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", noted)
    with contextlib.closing(SqliteStore(made.path)) as store:
        relay = server.Relay(made, store)
        relay.description.address = made.signed_address(1, now=0)  # as of one that listens
        for code in (b"", bytes(32), made.access_code):
            described = relay.description.describe(wire.Describe(0, code))
            assert compared.pop() == (code, made.access_code)
            assert bool(described.bucket_key) == (access == "open" or code == made.access_code)
        drops = Drops(store, region="DE", bucket_key=made.bucket_key, limits=made.config.limits)
        for key in (bytes(32), made.bucket_key):
            drops.write([wire.Create(0, key, bytes(24), bytes(32), bytes(32), 14)], now=0)
            assert (key, made.bucket_key) in compared


@in_loop
async def test_limits_are_named_and_nothing_is_lost(tmp_path: Path) -> None:
    settings = RelayLimits(connections=2, requests_in_flight=5, waits=2, cells_per_drop=30)
    with RelayProcess(tmp_path / "relay", limits=settings) as relay:
        bucket = relay.bucket()
        one, other = await Peer.connect(relay.address), await Peer.connect(relay.address)
        with pytest.raises(picows.WSError) as raised:
            await Peer.connect(relay.address)
        assert "503" in str(raised.value)

        for number in range(2):
            await one.ask(follow(bucket, 0, number))
        busy = wire.Failed(2, "relay-busy", 5.0)
        assert await one.ask(follow(bucket, 0, 2)) == busy
        assert await one.ask(read(bucket, number=2, wait=60)) == busy
        assert isinstance(await one.ask(read(bucket, number=2)), wire.Cells)

        # Many at once: each is in the drop or named as refused.
        sent = {number: cell() for number in range(100, 140)}
        for number, data in sent.items():
            other.send(append(bucket, data, number))
        replies = [await other.reply(number) for number in sent]
        taken = [reply for reply in replies if isinstance(reply, wire.Appended)]
        assert 0 < len(taken) < 40
        assert [sent[reply.id] for reply in taken] == await read_all(other, bucket)

        while len(taken) < 30:
            reply = await other.ask(append(bucket, cell()))
            assert isinstance(reply, wire.Appended)
            taken.append(reply)
        full = await other.ask(append(bucket, cell()))
        assert isinstance(full, wire.Failed)
        assert full.code == "drop-full"
        assert full.retry_after is not None

        one.transport.disconnect()
        await one.closed
        for _ in range(100):
            with contextlib.suppress(picows.WSError):
                assert await (await Peer.connect(relay.address)).ask(wire.Describe(0, b""))
                return
            await asyncio.sleep(0.02)
        raise AssertionError("its place was not given away")


@in_loop
async def test_waiting_readers_keep_nobody_from_asking_and_the_greediest_gives_way(
    tmp_path: Path,
) -> None:
    settings = RelayLimits(waits_total=3, requests_in_flight_total=4)
    with RelayProcess(tmp_path / "relay", limits=settings) as relay:
        bucket = relay.bucket()
        greedy, other = await Peer.connect(relay.address), await Peer.connect(relay.address)
        await greedy.ask(follow(bucket, 0, 1))
        for number in (2, 3):
            greedy.send(read(bucket, number=number, wait=60))
        busy = wire.Failed(4, "relay-busy", 5.0)
        assert await greedy.ask(read(bucket, number=4, wait=60)) == busy
        assert isinstance(await other.ask(follow(bucket, 0, 4)), wire.Cells)
        assert await greedy.reply(3) == wire.Failed(3, "relay-busy", 5.0)
        # Both would have two of three now, so neither is greedier.
        assert await other.ask(follow(bucket, 0, 5)) == wire.Failed(5, "relay-busy", 5.0)
        assert isinstance(await other.ask(append(bucket, cell(), 6)), wire.Appended)
        for peer, number in ((greedy, 1), (greedy, 2), (other, 4)):
            assert isinstance(await peer.reply(number), wire.Cells)


@in_loop
async def test_writes_that_wait_for_the_disk_are_bounded_and_named(tmp_path: Path) -> None:
    with RelayProcess(tmp_path / "relay", limits=RelayLimits(bytes_in_flight_total=2**20)) as relay:
        bucket = relay.bucket()
        peers = [await Peer.connect(relay.address) for _ in range(16)]
        sent = {
            (who, number): cell(LARGE_CELL) for who in range(len(peers)) for number in range(16)
        }
        relay.signal(signal.SIGSTOP)  # all of it comes at once
        for (who, number), data in sent.items():
            peers[who].send(append(bucket, data, number))
        relay.signal(signal.SIGCONT)
        replies = {(who, number): await peers[who].reply(number) for who, number in sent}
        refused = {key for key, reply in replies.items() if isinstance(reply, wire.Failed)}
        assert 0 < len(refused) < len(sent)
        for who, number in refused:
            assert replies[who, number] == wire.Failed(number, "relay-busy", 5.0)
            again = await peers[0].ask(append(bucket, sent[who, number]))
            assert isinstance(again, wire.Appended)
        assert sorted(await read_all(peers[0], bucket)) == sorted(sent.values())


@in_loop
async def test_questions_whose_answers_are_not_read_wait(relay: RelayProcess) -> None:
    asking = 20_000
    peer, other = await Peer.connect(relay.address), await Peer.connect(relay.address)
    peer.transport.underlying_transport.pause_reading()
    before = resident(relay)
    for number in range(asking):
        peer.send(wire.Describe(number, b""))
    for _ in range(20):
        assert isinstance(await other.ask(wire.Describe(0, b"")), wire.Described)
    # The answers to all of them would be 30 MB.
    assert resident(relay) - before < 10 * 2**20
    peer.transport.underlying_transport.resume_reading()
    for number in range(asking):
        reply = await peer.reply(number)
        # Questions to a store that others share are requests under way, of which few may be.
        is_busy = isinstance(reply, wire.Failed) and reply.code == "relay-busy"
        assert isinstance(reply, wire.Described) or (relay.directory.config.store and is_busy)


@in_loop
async def test_handshakes_that_come_to_nothing_are_bounded(tmp_path: Path) -> None:
    settings = RelayLimits(connections=2, handshakes=3)
    with RelayProcess(tmp_path / "relay", limits=settings) as relay:
        peer = await Peer.connect(relay.address)
        target = (relay.address.places[0].host, relay.address.places[0].port)
        silent = [await asyncio.open_connection(*target) for _ in range(4)]
        for _ in range(3):
            reader, writer = await asyncio.open_connection(*target)
            assert await reader.read() == b""
            writer.close()
        assert isinstance(await peer.ask(append(relay.bucket(), cell())), wire.Appended)
        for _, writer in silent:
            writer.close()
        for _ in range(100):
            with contextlib.suppress(picows.WSError, OSError):
                assert await (await Peer.connect(relay.address)).ask(wire.Describe(0, b""))
                return
            await asyncio.sleep(0.02)
        raise AssertionError("their places were not given away")


# The clock


def test_a_clock_that_was_set_far_is_believed_only_after_it_has_lasted() -> None:
    day, start = 86_400.0, 1_000_000.0
    for jump in (30 * day, -30 * day, 5_000.0):
        clock = Clock(start, 0)
        assert clock.believe(start + 10, 10) == start + 10
        assert clock.believe(start + 20 + jump, 20) == start + 20
        assert clock.believe(start + day + jump, day) == start + day
        assert clock.believe(start + day + 20 + jump, day + 20) == start + day + 20 + jump
        assert clock.believe(start + day + 30 + jump, day + 30) == start + day + 30 + jump


def test_a_clock_that_was_put_right_again_was_never_believed() -> None:
    day, start = 86_400.0, 1_000_000.0
    clock = Clock(start, 0)
    for times in range(10):
        at = times * day
        assert clock.believe(start + at, at) == start + at
        assert clock.believe(start + at + 90 * day, at + 1) == start + at + 1
        assert clock.believe(start + at - 90 * day, at + day - 1) == start + at + day - 1


def test_a_clock_is_followed_in_small_steps() -> None:
    clock = Clock(0, 0)
    for hours in range(100):
        assert clock.believe(2.0 * hours * 3600, hours * 3600) == 2.0 * hours * 3600


# TLS


@in_loop
async def test_the_certificate_has_the_key_of_the_address(tmp_path: Path) -> None:
    with RelayProcess(tmp_path / "relay", tls="pinned") as relay:
        peer = await Peer.connect(relay.address)
        assert peer.key == relay.address.key
        tls = peer.transport.underlying_transport.get_extra_info("ssl_object")
        assert tls.version() == "TLSv1.3"
        assert await peer.ask(wire.Describe(0, b""))
        old = ssl.create_default_context()
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with (
            socket.create_connection(
                (relay.address.places[0].host, relay.address.places[0].port)
            ) as plain,
            pytest.raises(OSError, match=r".*"),
        ):
            old.wrap_socket(plain)


@in_loop
async def test_an_ordinary_certificate_can_be_used(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "relay.example")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2100, 1, 1, tzinfo=UTC))
        .sign(key, hashes.SHA256())
    )
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (tmp_path / "web.pem").write_bytes(certificate.public_bytes(pem))
    (tmp_path / "web.key").write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()))
    with RelayProcess(
        tmp_path / "relay", tls="web", certificate="../web.pem", private_key="../web.key"
    ) as relay:
        peer = await Peer.connect(relay.address)
        reply = await peer.ask(wire.Describe(0, b""))
        assert isinstance(reply, wire.Described)
        assert open_descriptor(reply.descriptor, relay.address.key)
        assert "tls=web" in str(relay.address)


# Living and dying


@in_loop
async def test_draining_answers_what_came_and_refuses_what_comes(tmp_path: Path) -> None:
    with RelayProcess(tmp_path / "relay") as relay:
        bucket = relay.bucket()
        peer, waiting = await Peer.connect(relay.address), await Peer.connect(relay.address)
        waiting.send(read(bucket, number=1, wait=60))
        await waiting.ask(wire.Describe(2, b""))
        sent = {number: cell() for number in range(300)}
        for number, data in sent.items():
            peer.send(append(bucket, data, number))
        assert isinstance(await peer.reply(0), wire.Appended)
        relay.signal(signal.SIGTERM)
        first = await waiting.reply(1)
        assert isinstance(first, wire.Cells) or first == wire.Failed(1, "draining", 10.0)
        assert await peer.closed == (1012, "draining")
        # Requests still on their way get no answer: clients send them again elsewhere, or later.
        replies = [queue.get_nowait() for queue in peer.replies.values() if not queue.empty()]
        taken = [reply.id for reply in replies if isinstance(reply, wire.Appended)]
        assert {one.code for one in replies if isinstance(one, wire.Failed)} <= {"draining"}
        await asyncio.to_thread(relay.process.join)
        assert relay.process.exitcode == 0

        relay.start()
        peer = await Peer.connect(relay.address)
        assert await read_all(peer, bucket) == [sent[number] for number in [0, *taken]]
        assert await asyncio.to_thread(relay.drain) == 0


@in_loop
async def test_killing_the_relay_under_load_loses_no_acknowledged_cell(tmp_path: Path) -> None:
    with RelayProcess(tmp_path / "relay") as relay:
        bucket = relay.bucket()
        places: dict[bytes, tuple[int, bytes]] = {}
        pending: list[bytes] = []
        for life in range(5):
            peer = await Peer.connect(relay.address)
            # First come the requests that were not answered in the last life, then new cells.
            sent = dict(enumerate([*pending, *(cell() for _ in range(400))]))
            for number, data in sent.items():
                peer.send(append(bucket, data, number))
            pending = list(sent.values())
            for number in range(100 + 40 * life):
                reply = await peer.reply(number)
                assert isinstance(reply, wire.Appended)
                places[sent[number]] = (reply.seq, reply.digest)
                pending.remove(sent[number])
            await asyncio.to_thread(relay.kill)
            await peer.closed
            relay.start()
        peer = await Peer.connect(relay.address)
        for number, data in enumerate(pending):
            reply = await peer.ask(append(bucket, data, number))
            assert isinstance(reply, wire.Appended)
            places[data] = (reply.seq, reply.digest)
        held, digest = await read_all(peer, bucket), first_digest(bucket.drop_id)
        for seq, data in enumerate(held, start=1):
            digest = next_digest(digest, data)
            assert places.pop(data) == (seq, digest)
        assert not places


@in_loop
async def test_a_relay_that_starts_erases_what_ended_while_it_was_away(tmp_path: Path) -> None:
    relay = RelayProcess(tmp_path / "relay")
    bucket, ended = relay.bucket(), [cell() for _ in range(2500)]
    with contextlib.closing(SqliteStore(relay.directory.path)) as store:
        drops = Drops(
            store,
            region="DE",
            bucket_key=relay.directory.bucket_key,
            limits=relay.directory.config.limits,
        )
        past = time.time() - 16 * DAY_S
        drops.open_buckets(1, now=past)
        drops.write([append(bucket, data) for data in ended], now=past)
        drops.commit()
    with relay:
        peer, data = await Peer.connect(relay.address), cell()
        assert isinstance(await peer.ask(append(bucket, data)), wire.Appended)
        reply = await peer.ask(read(bucket))
        assert isinstance(reply, wire.Cells)
        assert (reply.first, reply.cells, reply.head) == (2501, [data], 2501)

        def is_left() -> bool:
            files = [path.read_bytes() for path in relay.directory.path.iterdir()]
            return any(one[:LABEL_BYTES] in file for one in ended for file in files)

        while await asyncio.to_thread(is_left):  # noqa: ASYNC110  # it is another process
            await asyncio.sleep(0.1)
        assert await peer.ask(read(bucket)) == reply


@in_loop
async def test_a_full_disk_is_named_and_survived(tmp_path: Path) -> None:
    with RelayProcess(tmp_path / "relay") as relay:
        bucket = relay.bucket()
        peer, kept = await Peer.connect(relay.address), []
        assert relay.process.pid is not None
        unlimited = resource.prlimit(relay.process.pid, resource.RLIMIT_FSIZE)
        # No file may grow beyond this; to the relay it looks like a disk without room.
        resource.prlimit(relay.process.pid, resource.RLIMIT_FSIZE, (600_000, unlimited[1]))
        while True:
            data = cell(LARGE_CELL)
            reply = await peer.ask(append(bucket, data))
            if not isinstance(reply, wire.Appended):
                break
            kept.append(data)
        assert reply == wire.Failed(0, "disk-full", 30.0)
        assert kept
        assert await read_all(peer, bucket) == kept
        resource.prlimit(relay.process.pid, resource.RLIMIT_FSIZE, unlimited)
        assert isinstance(await peer.ask(append(bucket, data)), wire.Appended)
        assert await read_all(peer, bucket) == [*kept, data]


def test_two_processes_do_not_share_a_directory(tmp_path: Path) -> None:
    with RelayProcess(tmp_path / "relay") as relay, pytest.raises(ProfileInUse):
        server.run(relay.directory.path)


# No trace of anybody


@pytest.mark.parametrize("tls", ["off", "pinned"])
def test_no_network_address_is_ever_written(tmp_path: Path, tls: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with RelayProcess(tmp_path / "relay", tls=tls, metrics_port=port, is_verbose=True) as relay:
        target = (relay.address.places[0].host, relay.address.places[0].port)

        def misbehave(*chunks: bytes, tls: bool = False, reset: bool = False) -> None:
            """Connect from an address of our own, send this, and go."""
            with socket.socket() as plain:
                plain.bind(("127.0.0.77", 0))
                plain.connect(target)
                plain.settimeout(0.2)
                if reset:
                    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
                    sock = plain
                    if tls:
                        context = ssl.create_default_context()
                        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                        sock = stack.enter_context(context.wrap_socket(plain))
                    for chunk in chunks:
                        sock.sendall(chunk)
                    if not reset:
                        sock.recv(1000)

        upgrade = (
            b"GET %b HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        for inside in (False, True) if tls == "pinned" else (False,):
            for chunks in (
                [],
                [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],  # the start of a TLS handshake
                [b"GET / HTTP/1.1\r\n\r\n"],
                [b"POST /amanat/1 HTTP/1.0\r\nX: " + b"x" * 20_000],
                [b"\xff" * 3000],
                [upgrade % b"/amanat/1", b"\x82\x85\x00\x00\x00\x00hello"],
                [upgrade % b"/amanat/1", b"\x82\xff" + b"\xff" * 20],
                [upgrade % b"/amanat/1", b"\xff\xff\xff\xff"],
                [upgrade % b"/amanat/1", b"\x81\x05hello"],
                [upgrade % b"/amanat/1"],
                [upgrade % b"/other"],
            ):
                for reset in (False, True):
                    misbehave(*chunks, tls=inside, reset=reset)

        @in_loop
        async def behave() -> None:
            peer = await Peer.connect(relay.address, local=("127.0.0.77", 0))
            await peer.ask(append(relay.bucket(), cell()))
            await peer.ask(follow(relay.bucket()))

        behave()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as page:
            metrics = page.read()
        assert relay.drain() == 0
    assert b"amanat_appended_cells_total 1.0" in metrics
    assert b'amanat_failed_requests_total{code="malformed-frame"}' in metrics
    written = {path: path.read_bytes() for path in relay.directory.path.iterdir()}
    written[relay.log] = relay.log.read_bytes()
    assert b"draining" in written[relay.log]
    for where, what in {**written, Path("metrics"): metrics}.items():
        assert b"127.0.0.77" not in what, where
        assert "peername" not in what.decode(errors="replace"), where


# Setting up


def test_a_relay_is_not_made_over_anything(tmp_path: Path) -> None:
    made = RelayDirectory.create(tmp_path / "relay", server_settings())
    with pytest.raises(ProfileExists):
        RelayDirectory.create(tmp_path / "relay", server_settings())
    assert RelayDirectory.open(tmp_path / "relay").bucket_key == made.bucket_key
    for path in (tmp_path / "relay").iterdir():
        assert path.stat().st_mode & 0o077 == 0
    assert (tmp_path / "relay").stat().st_mode & 0o077 == 0


def server_settings(
    *, region: str = "DE", host: str = "127.0.0.1", listen: str = "", tls: str = "pinned"
) -> RelayConfig:
    return RelayConfig(region, "test", host, 0, listen, tls, certificate="no.pem")


def test_a_directory_that_is_no_relay_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoProfile):
        RelayDirectory.open(tmp_path)
    with pytest.raises(BadSetting):
        RelayDirectory.create(tmp_path / "relay", server_settings(region="Germany"))
    assert not (tmp_path / "relay").exists()
    RelayDirectory.create(tmp_path / "relay", server_settings())
    for name in ("bucket.key", "access.code", "identity.pem"):
        whole = (tmp_path / "relay" / name).read_bytes()
        for damage in (b"", whole[:-9]):
            (tmp_path / "relay" / name).write_bytes(damage)
            with pytest.raises(StoreDamaged):
                RelayDirectory.open(tmp_path / "relay")
        (tmp_path / "relay" / name).write_bytes(whole)


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        (server_settings(), "127.0.0.1"),
        (server_settings(host="localhost"), "localhost"),
        (server_settings(host="relay.example"), ""),
        (server_settings(host="192.0.2.1"), ""),
        (server_settings(host="relay.example", listen="10.0.0.1"), "10.0.0.1"),
    ],
)
def test_only_loopback_is_taken_literally(listen: RelayConfig, expected: str) -> None:
    assert interface(listen) == expected


def test_settings_that_cannot_work_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadSetting):
        RelayDirectory.create(tmp_path / "off", server_settings(host="relay.example", tls="off"))
    web = RelayDirectory.create(tmp_path / "web", server_settings(tls="web"))
    with pytest.raises(BadSetting):
        web.tls()
    for host in ("a b", "127.1", "fe80::1%lo", ""):
        with pytest.raises(BadSetting):
            RelayDirectory.create(tmp_path / "host", server_settings(host=host))
    assert not (tmp_path / "host").exists()
    with pytest.raises(BadSetting):
        sockets.allow_files(2**40)


def test_a_port_that_is_taken_is_named_as_that(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        RelayDirectory.create(tmp_path / "relay", RelayConfig("DE", "test", "127.0.0.1", port))
        with pytest.raises(PortTaken, match=f"127.0.0.1:{port}"):
            server.run(tmp_path / "relay")
        settings = structs.replace(server_settings(), metrics_port=port)
        RelayDirectory.create(tmp_path / "measured", settings)
        with pytest.raises(PortTaken, match=f"127.0.0.1:{port}"):
            server.run(tmp_path / "measured")


@pytest.mark.parametrize(
    ("host", "shown"), [("::1", "[::1]"), ("Bücher.example.", "xn--bcher-kva.example")]
)
def test_an_address_is_printed_as_every_client_takes_it(
    tmp_path: Path, host: str, shown: str
) -> None:
    address = RelayDirectory.create(tmp_path / "relay", server_settings(host=host)).address(8443)
    assert str(address).startswith(f"amanat://{shown}:8443/#")
    assert parse_address(str(address)).places == address.places


# Encoding once


@given(
    st.integers(0, 2**32 - 1),
    st.builds(
        wire.Cells,
        st.just(0),
        st.integers(0, 2**53 - 1),
        st.binary(min_size=32, max_size=32),
        st.lists(st.just(bytes(MESSAGE_CELL)) | st.just(bytes(LARGE_CELL)), max_size=20),
        st.integers(0, 2**53 - 1),
    ),
)
def test_a_shared_frame_is_the_frame(number: int, cells: wire.Cells) -> None:
    whole = wire.encode(wire.Cells(number, cells.first, cells.before, cells.cells, cells.head))
    frame = SharedFrame(cells)
    for _ in range(2):
        message = websocket_head(len(whole)) + whole
        assert frame.message(number) == (message, len(whole))


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536, 1_000_000])
def test_the_head_of_a_message_is_as_the_rfc_says(size: int) -> None:
    head = websocket_head(size)
    assert head[0] == 0x82
    assert head[1] == (size if size < 126 else 126 if size < 65_536 else 127)
    assert int.from_bytes(head[2:], "big") == (size if size > 125 else 0)


def test_a_listener_hangs_up_on_callers_while_too_many_are_on_the_line() -> None:
    listener = sockets.listen("127.0.0.1", 0, 2)
    address = listener.getsockname()
    callers = [socket.create_connection(address) for _ in range(3)]
    accepted = [listener.accept()[0] for _ in range(2)]
    with pytest.raises(ConnectionAbortedError):
        listener.accept()
    assert callers[2].recv(1) == b""
    accepted[0].close()
    callers.append(socket.create_connection(address))
    accepted.append(listener.accept()[0])
    for one in (*callers, *accepted, listener):
        one.close()
