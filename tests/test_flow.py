"""One connection, many requests: none of them waits for the owner of another."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from amanat import link as links
from amanat.drill.network import Socket
from amanat.drill.world import World
from amanat.errors import NoSuchDrop, RelayUnreachable
from amanat.link import (
    AHEAD_BYTES,
    FOLLOW_BYTES,
    PING_S,
    PONG_S,
    REPLY_TIMEOUT_S,
    SLOWEST_BYTES_S,
    Link,
    connect,
)
from amanat.protocol import wire
from amanat.protocol.cells import LARGE_CELL, MESSAGE_CELL
from amanat.protocol.descriptor import NamedAddress
from amanat.protocol.drops import Drop, derive_bucket
from relays import RelayProcess, append, in_loop, read

MANY = 4 * FOLLOW_BYTES // LARGE_CELL
"""More large cells than a Follow gets before its owner takes any."""


async def follow(link: Link, drop: Drop, into: list[bytes], turn: asyncio.Event) -> None:
    """Take cells as they come, each after our turn."""
    async for cells in link.follow(drop.drop_id, drop.read_token, 0):
        into += cells.cells
        await turn.wait()


async def end(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110  # what is waited for has no event
        await asyncio.sleep(0.01)


def kept(link: Link) -> int:
    """Bytes of replies to Follows that nobody has taken yet."""
    queues = [cast("Any", each.came)._queue for each in link._followed.values()]
    return sum(came[1] for came in itertools.chain(*queues) if came is not None)


@pytest.mark.e2e
@pytest.mark.parametrize("tls", ["off", "pinned"])
def test_a_follower_who_takes_nothing_holds_up_nobody_else(tmp_path: Path, tls: str) -> None:
    @in_loop
    async def scenario(relay: RelayProcess) -> None:
        link = await connect(relay.address)
        writer = await connect(relay.address)
        full, quiet = relay.bucket(0), relay.bucket(1)
        never, at_once = asyncio.Event(), asyncio.Event()
        at_once.set()
        busy: list[bytes] = []
        idle: list[bytes] = []
        tasks = [
            asyncio.create_task(follow(link, full, busy, never)),
            asyncio.create_task(follow(link, quiet, idle, at_once)),
        ]
        cells = [os.urandom(LARGE_CELL) for _ in range(MANY)]
        words = [os.urandom(MESSAGE_CELL) for _ in range(MANY)]
        for cell, word in zip(cells, words, strict=True):
            await writer.request(append(full, cell), wire.Appended)
            await writer.request(append(quiet, word), wire.Appended)
            # An owner that does not take cells may be waiting for just this answer.
            await link.request(read(quiet), wire.Cells)
            await link.describe(relay.address.key)
            assert kept(link) <= FOLLOW_BYTES + wire.MAX_REPLY_BYTES
        await until(lambda: len(idle) == MANY)
        assert idle == words
        assert len(busy) < MANY // 2
        never.set()
        await until(lambda: len(busy) == MANY)
        assert busy == cells
        await end(*tasks)
        await link.closed()
        await writer.closed()

    with RelayProcess(tmp_path / "relay", tls=tls, buckets=2) as relay:
        scenario(relay)


async def open_link(world: World) -> tuple[Link, Socket, Drop]:
    """A link to the world's relay, its socket, and a bucket there."""
    address = world.relay.address
    named = NamedAddress.of(address.key, *address.places)
    link = await connect(named, world.network)
    bucket = derive_bucket(world.relay.bucket_key, 0, region=world.relay.region)
    return link, world.network.sockets[-1], bucket


async def seconds(world: World, link: Link, request: wire.Request) -> float:
    """After how long a request is given up."""
    began = world.loop.time()
    with pytest.raises(RelayUnreachable):
        await link.ask(request)
    return world.loop.time() - began


async def test_a_request_that_is_not_answered_fails_alone(world: World) -> None:
    link, _, bucket = await open_link(world)
    world.network.ignores = lambda request: isinstance(request, wire.Describe)
    waiting = asyncio.create_task(link.request(read(bucket, wait=120), wire.Cells))
    followed: list[bytes] = []
    turn = asyncio.Event()
    turn.set()
    following = asyncio.create_task(follow(link, bucket, followed, turn))
    assert await seconds(world, link, wire.Describe(0, b"")) >= REPLY_TIMEOUT_S
    assert link.is_open
    cell = os.urandom(MESSAGE_CELL)
    await link.request(append(bucket, cell), wire.Appended)
    assert (await waiting).cells == [cell]
    await asyncio.sleep(1)
    assert followed == [cell]
    await end(following)


async def test_an_answer_that_comes_late_is_nobody_elses(world: World) -> None:
    link, socket, bucket = await open_link(world)
    world.network.ignores = lambda request: isinstance(request, wire.Describe)
    await seconds(world, link, wire.Describe(0, b""))
    late = link._next
    asked = asyncio.create_task(link.ask(read(bucket._replace(drop_id=bytes(24)))))
    await asyncio.sleep(0)
    socket.deliver(wire.Created(late, 1))
    with pytest.raises(NoSuchDrop):
        await asked
    assert link.is_open


async def test_what_is_ahead_of_an_answer_is_waited_for(world: World) -> None:
    link, socket, bucket = await open_link(world)
    world.network.ignores = lambda _: True
    few = await seconds(world, link, append(bucket, bytes(MESSAGE_CELL)))
    assert REPLY_TIMEOUT_S <= few <= REPLY_TIMEOUT_S + 1
    assert await seconds(world, link, read(bucket, wait=100)) >= REPLY_TIMEOUT_S + 100
    files = [append(bucket, bytes(LARGE_CELL)) for _ in range(16)]
    sent = [asyncio.create_task(seconds(world, link, each)) for each in files]
    await asyncio.sleep(0)
    behind = await seconds(world, link, append(bucket, bytes(MESSAGE_CELL)))
    assert behind >= REPLY_TIMEOUT_S + 16 * LARGE_CELL / SLOWEST_BYTES_S
    first, *_, last = [await each for each in sent]
    assert first < last < behind
    # Data that come count in the same way, but a relay that is busy with others has not answered.
    world.network.ignores = lambda request: isinstance(request, wire.Describe)
    answers = asyncio.create_task(_talk(link, socket))
    slow = await seconds(world, link, wire.Describe(0, b""))
    assert slow >= REPLY_TIMEOUT_S + AHEAD_BYTES / SLOWEST_BYTES_S - 1
    assert slow < 2 * (REPLY_TIMEOUT_S + AHEAD_BYTES / SLOWEST_BYTES_S)
    await end(answers)


async def _talk(link: Link, socket: Socket) -> None:
    """Something comes all the time, as fast as the slowest line brings it."""
    reply = wire.Cells(2**32 - 1, 1, bytes(32), [bytes(LARGE_CELL)], 1)
    while link.is_open:
        socket.deliver(reply)
        await asyncio.sleep(LARGE_CELL / SLOWEST_BYTES_S)


@pytest.mark.long
@pytest.mark.parametrize(
    ("replies", "is_open"),
    [
        ([wire.Cells(2, 1, bytes(32), [bytes(MESSAGE_CELL)] * 400, 1)], True),
        ([wire.Cells(2, 1, bytes(32), [bytes(MESSAGE_CELL)] * 400, 1)] * 3, False),
        ([wire.Cells(2, 1, bytes(32), [], 0)] * (FOLLOW_BYTES // 32), False),
        ([wire.Cells(2, 1, bytes(32), [], 0), wire.Failed(2, "no-such-drop")], True),
        ([wire.Cells(2, 1, bytes(32), [], 0), *[wire.Failed(2, "no-such-drop")] * 2], False),
    ],
    ids=["credit", "more", "empty ones", "an end", "two ends"],
)
async def test_a_relay_that_sends_more_than_it_has_credit_for_is_not_talked_to(
    world: World, replies: list[wire.Reply], is_open: bool
) -> None:
    link, socket, bucket = await open_link(world)
    world.network.ignores = lambda _: True
    into: list[bytes] = []
    following = asyncio.create_task(follow(link, bucket, into, asyncio.Event()))
    await asyncio.sleep(0)
    # Nothing is taken: the consumer waits from the first of them on.
    for reply in replies:
        socket.deliver(msgspec.structs.replace(reply, id=link._next))
    await asyncio.sleep(1)
    assert link.is_open is is_open
    assert kept(link) <= FOLLOW_BYTES + wire.MAX_REPLY_BYTES
    await end(following)


async def test_a_follower_who_takes_all_is_sent_all_with_ever_new_credit(world: World) -> None:
    link, _, bucket = await open_link(world)
    cells = [os.urandom(LARGE_CELL) for _ in range(MANY)]
    for cell in cells:
        await link.request(append(bucket, cell), wire.Appended)
    into: list[bytes] = []
    turn = asyncio.Event()
    turn.set()
    following = asyncio.create_task(follow(link, bucket, into, turn))
    await asyncio.sleep(5)
    assert into == cells
    await end(following)


async def test_a_read_that_nobody_waits_for_any_more_is_ended_at_the_relay(world: World) -> None:
    link, _, bucket = await open_link(world)
    waiting = asyncio.create_task(link.ask(read(bucket, wait=120)))
    await asyncio.sleep(1)
    assert world.network._readers[bucket.drop_id]
    waiting.cancel()
    await asyncio.sleep(1)
    assert not world.network._readers[bucket.drop_id]


@pytest.mark.e2e
def test_a_relay_that_says_nothing_any_more_is_noticed_by_pings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert PING_S + PONG_S <= 60
    monkeypatch.setattr(links, "PING_S", 0.5)
    monkeypatch.setattr(links, "PONG_S", 0.5)

    @in_loop
    async def scenario(relay: RelayProcess) -> None:
        link = await connect(relay.address)
        waiting = asyncio.create_task(link.ask(read(relay.bucket(), wait=120)))
        await asyncio.sleep(3)
        assert link.is_open  # the relay only shows that it is alive
        relay.signal(signal.SIGSTOP)
        with pytest.raises(RelayUnreachable):
            await waiting
        assert not link.is_open
        await link.closed()

    with RelayProcess(tmp_path / "relay") as relay:
        scenario(relay)
