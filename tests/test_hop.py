"""Real relays that hand requests to each other, and actions that nobody can make them take."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from addresses import key_of, relay_at
from amanat.client.sdk.client import Client
from amanat.client.vault import Unlock
from amanat.config import HopConfig, RelayLimits
from amanat.errors import BadSetting, BrokenSeal, FrameTooLarge, RelayBusy, RelayUnreachable
from amanat.protocol import sealing, wire
from amanat.protocol.cells import CELL_SIZES, HANDSHAKE_CELL, LARGE_CELL, MESSAGE_CELL
from amanat.protocol.descriptor import (
    SEALING_KEY_BYTES,
    Descriptor,
    NamedAddress,
    RelayAddress,
    open_descriptor,
    parse_address,
)
from amanat.protocol.drops import Drop
from amanat.protocol.places import Place, is_public
from amanat.protocol.rounds import HAND_ON, ROUND_S
from amanat.relay.directory import SEALING_PERIOD_S, SealingKeys
from amanat.relay.hop import NEW_ADDRESSES, NEW_DESTINATIONS, Guest, Hop, Rate, _Ready
from amanat.relay.known import MAX_KNOWN, Known
from relays import PATIENCE_S, Peer, RelayProcess, append, in_loop, read, run_in_loop

NOW = 1_800_000_000
numbers = itertools.count(1000)
"""Ids for requests that are not a test's subject."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayProcess]:
    with RelayProcess(tmp_path_factory.mktemp("home") / "relay", buckets=8) as running:
        yield running


@pytest.fixture(scope="module")
def hop(home: RelayProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayProcess]:
    listed = HopConfig(serve="listed", relays=(str(home.address),))
    with RelayProcess(tmp_path_factory.mktemp("hop") / "relay", hop=listed) as running:
        yield running


async def describe(peer: Peer, home: RelayProcess) -> Descriptor:
    described = await peer.ask(wire.Inquire(next(numbers), home.address.key, ()))
    assert isinstance(described, wire.Described), described
    assert described.bucket_key == b""
    return open_descriptor(described.descriptor, home.address.key)


async def ask(peer: Peer, home: RelayProcess, request: wire.Request, number: int = 7) -> wire.Reply:
    """The home relay's answer to a request that the hop hands to it."""
    to = (await describe(peer, home)).sealing
    sealed, key = sealing.seal_request(wire.encode(request), to=to, relay=home.address.key)
    answer = await peer.ask(wire.Forward(number, home.address.key, sealed))
    assert isinstance(answer, wire.Answer), answer
    return wire.decode_reply(sealing.open_answer(answer.sealed, key))


# The hop


@in_loop
async def test_every_sealed_verb_is_answered_through_the_hop(
    hop: RelayProcess, home: RelayProcess
) -> None:
    peer, bucket = await Peer.connect(hop.address), home.bucket(0)
    described = await ask(peer, home, wire.Describe(0, b""))
    assert isinstance(described, wire.Described)
    assert described.bucket_key == home.directory.bucket_key
    for seq, size in enumerate(CELL_SIZES, 1):
        appended = await ask(peer, home, append(bucket, os.urandom(size)))
        assert isinstance(appended, wire.Appended)
        assert appended.seq == seq
    cells = await ask(peer, home, read(bucket))
    assert isinstance(cells, wire.Cells)
    assert [len(cell) for cell in cells.cells] == list(CELL_SIZES)
    failed = await ask(peer, home, wire.Read(0, bucket.drop_id, bytes(32), 0, 1, 0))
    assert failed == wire.Failed(0, "no-such-drop")


@pytest.mark.long
@in_loop
async def test_a_sealed_read_waits_and_is_told(hop: RelayProcess, home: RelayProcess) -> None:
    reader, writer = await Peer.connect(hop.address), await Peer.connect(home.address)
    bucket, cell = home.bucket(1), os.urandom(MESSAGE_CELL)
    waiting = asyncio.create_task(ask(reader, home, read(bucket, wait=60)))
    idle = await ask(reader, home, read(bucket, wait=1), number=8)
    assert isinstance(idle, wire.Cells)
    assert idle.cells == []
    assert not waiting.done()
    await writer.ask(append(bucket, cell))
    told = await waiting
    assert isinstance(told, wire.Cells)
    assert told.cells == [cell]


@in_loop
async def test_a_hop_answers_another_the_same_twice_and_not_under_one_key(
    hop: RelayProcess, home: RelayProcess
) -> None:
    peer, bucket = await Peer.connect(hop.address), home.bucket(2)
    to = (await describe(peer, home)).sealing
    frame = wire.encode(append(bucket, os.urandom(MESSAGE_CELL)))
    sealed, key = sealing.seal_request(frame, to=to, relay=home.address.key)
    answers = [await peer.ask(wire.Forward(number, home.address.key, sealed)) for number in (1, 2)]
    texts = {one.sealed for one in answers if isinstance(one, wire.Answer)}
    assert len(texts) == 2
    assert len({sealing.open_answer(one, key) for one in texts}) == 1


@in_loop
async def test_a_request_that_cannot_be_opened_is_refused_and_nothing_else_happens(
    hop: RelayProcess, home: RelayProcess
) -> None:
    peer, direct = await Peer.connect(hop.address), await Peer.connect(home.address)
    to, relay = (await describe(peer, home)).sealing, home.address.key
    good, _ = sealing.seal_request(wire.encode(wire.Describe(0, b"")), to=to, relay=relay)
    other, _ = sealing.seal_request(wire.encode(wire.Describe(0, b"")), to=to, relay=bytes(32))
    for bad in (b"", b"x" * 100, good[:-1], good + b"\x00", good[:-1] + b"\x00\x00", other):
        refused = wire.Forward(1, home.address.key, bad)
        assert await peer.ask_code(refused) == "broken-seal"
        assert await direct.ask_code(wire.Sealed(1, bad)) == "broken-seal"
    assert isinstance(await direct.ask(wire.Sealed(1, good)), wire.Answer)


@in_loop
@pytest.mark.parametrize("number", [0, 5])
async def test_only_what_stands_alone_can_be_sealed(home: RelayProcess, number: int) -> None:
    peer, bucket = await Peer.connect(home.address), home.bucket(3)
    described = await peer.ask(wire.Describe(1, b""))
    assert isinstance(described, wire.Described)
    to = open_descriptor(described.descriptor, home.address.key).sealing
    inner: list[bytes] = [
        wire.encode(one)
        for one in (
            wire.Follow(0, bucket.drop_id, bucket.read_token, 0, 1),
            wire.Unfollow(0),
            wire.Grant(0, 1),
            wire.Sealed(0, b""),
            wire.Forward(0, bytes(32), b""),
            wire.Inquire(0, bytes(32), ()),
            wire.Locate(0, bytes(32), None),
            wire.Describe(9, b""),
        )
    ]
    for frame in [*inner, b"junk", b""]:
        sealed, key = sealing.seal_request(frame, to=to, relay=home.address.key)
        answer = await peer.ask(wire.Sealed(number, sealed))
        assert isinstance(answer, wire.Answer)
        refused = wire.decode_reply(sealing.open_answer(answer.sealed, key))
        assert refused == wire.Failed(0, "malformed-frame")


@in_loop
async def test_a_hop_goes_to_its_list_and_nowhere_else(
    hop: RelayProcess, home: RelayProcess
) -> None:
    peer = await Peer.connect(hop.address)
    for number in range(3):
        known = relay_at(Place("127.0.0.1", 22), number=number)
        await peer.ask(wire.Locate(1, known.key, known))
    for to in (bytes(32), hop.address.key, *(relay_at(number=number).key for number in range(3))):
        assert await peer.ask_code(wire.Inquire(1, to, ())) == "hop-refused"
        assert await peer.ask_code(wire.Forward(1, to, b"x" * 9000)) == "hop-refused"
    direct = await Peer.connect(home.address)  # which is no hop
    assert await direct.ask_code(wire.Inquire(1, hop.address.key, ())) == "hop-refused"


@in_loop
@pytest.mark.long
async def test_a_hop_takes_a_place_from_the_relay_alone(tmp_path: Path) -> None:
    with RelayProcess(tmp_path / "home", tls="pinned") as home:
        (there,) = home.address.places
        listed = HopConfig(serve="listed", relays=(str(home.address),))
        with RelayProcess(tmp_path / "hop", hop=listed) as hop:
            peer = await Peer.connect(hop.address)
            await describe(peer, home)
            located = await peer.ask(wire.Locate(1, home.address.key, None))
            assert isinstance(located, wire.Located)
            assert located.address is not None
            assert located.address.places == (there,)
            forged = structs_of(located.address, Place("elsewhere.example", 443))
            peer.send(forged)
            assert (await peer.closed)[1] == "malformed-frame"
            peer = await Peer.connect(hop.address)
            assert await peer.ask(wire.Locate(1, home.address.key, None)) == located


def structs_of(address: RelayAddress, place: Place) -> bytes:
    """A Locate that brings an address whose relay has signed everything except the place."""
    stays = [[[place.host, place.port, place.tls], 0, 0]]
    forged = [address.key, address.issued + 1, stays, address.signature]
    return msgspec.msgpack.encode([16, 1, address.key, forged])


@in_loop
async def test_the_newest_word_of_a_relay_counts_and_any_relay_keeps_it(home: RelayProcess) -> None:
    """`home` is no hop."""
    peer, other = await Peer.connect(home.address), await Peer.connect(home.address)
    old, new = relay_at(), relay_at(Place("elsewhere.example", 1), issued=2)
    assert await peer.ask(wire.Locate(1, old.key, None)) == wire.Located(1, None)
    for brought, told in ((old, old), (new, new), (old, new), (None, new)):
        located = await peer.ask(wire.Locate(1, old.key, brought))
        assert isinstance(located, wire.Located)
        assert located.address is not None
        assert located.address.issued == told.issued
    assert (await other.ask(wire.Locate(2, old.key, None))) == wire.Located(2, new)
    peer.send(msgspec.msgpack.encode([16, 1, bytes(32), msgspec.to_builtins(new)]))
    assert (await peer.closed)[1] == "malformed-frame"


@in_loop
async def test_a_client_that_brings_many_addresses_is_slowed_down(home: RelayProcess) -> None:
    peer = await Peer.connect(home.address)
    codes = []
    for number in range(NEW_ADDRESSES[0] + 2):
        known = relay_at(number=100 + number)
        reply = await peer.ask(wire.Locate(number, known.key, known))
        codes.append(reply.code if isinstance(reply, wire.Failed) else "")
    assert codes == [""] * NEW_ADDRESSES[0] + ["relay-busy"] * 2


def test_what_a_relay_said_before_drives_out_nothing() -> None:
    known = Known()
    assert known.take(relay_at(issued=2))
    assert not known.take(relay_at(issued=2))
    assert not known.take(relay_at(issued=1))
    kept = known.get(relay_at().key)
    assert kept is not None
    assert kept.issued == 2


def test_only_so_many_addresses_are_kept_and_those_used_last() -> None:
    known = Known()
    for number in range(3):
        known.take(relay_at(number=number))
    for number in range(MAX_KNOWN - 2):
        known.get(relay_at(number=0).key)
        known.take(NamedAddress.of(number.to_bytes(32, "big")))
    assert known.get(relay_at(number=0).key) is not None
    assert known.get(relay_at(number=1).key) is None
    assert len(known._addresses) == MAX_KNOWN


@in_loop
async def test_a_listed_relay_that_moved_is_found_where_it_says_and_not_in_the_hops_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listed, moved = Place("10.0.0.1", 1), Place("8.8.8.8", 2)
    inside = Place("10.0.0.2", 3)
    signed = relay_at(listed, inside, moved)
    called: list[Place] = []

    async def dial(_key: bytes, place: Place, _ips: list[str], _source: str) -> None:
        called.append(place)
        raise RelayUnreachable

    monkeypatch.setattr("amanat.link.dial", dial)
    settings = HopConfig(serve="listed", relays=(str(NamedAddress.of(signed.key, listed)),))
    hop, guest = make_hop(settings), Guest()
    with pytest.raises(RelayUnreachable):
        await hop.inquire(signed.key, guest)
    assert called == [listed]
    hop.locate(signed.key, signed, guest)
    with pytest.raises(RelayUnreachable):  # the hop looks at once, for there is news
        await hop.inquire(signed.key, guest)
    assert called == [listed, listed, moved]


def make_hop(settings: HopConfig) -> Hop:
    return Hop(settings, key_of(200), Known(), clock=time.time)


@pytest.mark.long
@in_loop
async def test_destination_that_is_away_is_named_and_comes_back(tmp_path: Path) -> None:
    with RelayProcess(tmp_path / "home", port=free_port()) as home:
        listed = HopConfig(serve="listed", relays=(str(home.address),))
        with RelayProcess(tmp_path / "hop", hop=listed) as hop:
            peer = await Peer.connect(hop.address)
            await describe(peer, home)
            home.kill()
            refused = await peer.ask(wire.Inquire(1, home.address.key, ()))
            assert isinstance(refused, wire.Failed)
            assert refused.code == "relay-unreachable"
            home.start()
            while isinstance(refused, wire.Failed):
                await asyncio.sleep(refused.retry_after or 0)
                refused = await peer.ask(wire.Inquire(1, home.address.key, ()))


@in_loop
async def test_an_open_hop_knocks_at_no_door_of_its_own_network(
    tmp_path: Path, home: RelayProcess
) -> None:
    with RelayProcess(tmp_path / "hop", hop=HopConfig(serve="open")) as hop:
        peer = await Peer.connect(hop.address)
        hosts = ("127.0.0.1", "localhost", "10.0.0.1", "::1", "fc00::1")
        for number, host in enumerate(hosts):
            known = relay_at(Place(host, home.address.places[0].port), number=number)
            await peer.ask(wire.Locate(1, known.key, known))
            assert await peer.ask_code(wire.Inquire(1, known.key, ())) == "hop-refused"
        # A relay whose places nobody has named.
        assert await peer.ask_code(wire.Inquire(1, home.address.key, ())) == "relay-unreachable"


@in_loop
async def test_a_client_that_asks_for_many_relays_is_slowed_down(tmp_path: Path) -> None:
    with RelayProcess(tmp_path / "hop", hop=HopConfig(serve="open")) as hop:
        peer, codes = await Peer.connect(hop.address), []
        for number in range(NEW_DESTINATIONS[0] + 3):
            known = relay_at(Place("127.0.0.1", 1), number=number)
            await peer.ask(wire.Locate(1, known.key, known))
            codes.append(await peer.ask_code(wire.Inquire(1, known.key, ())))
        assert codes[-3:] == ["relay-busy"] * 3
        assert set(codes[:-3]) == {"hop-refused"}


@in_loop
async def test_open_hop_opens_few_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    async def dial(_key: bytes, _place: Place, ips: list[str], _source: str) -> None:
        tried.extend(ips)
        raise RelayBusy

    monkeypatch.setattr("amanat.link.dial", dial)
    settings = HopConfig(serve="open", destinations=4, new_destinations_per_minute=6)
    hop = make_hop(settings)
    busy = 0
    for number in range(1, 10):
        known = relay_at(Place("8.8.8.8", number), number=number)
        hop.locate(known.key, known, Guest())
        try:
            await hop.inquire(known.key, Guest())
        except RelayBusy:
            busy += 1
    assert tried == ["8.8.8.8"] * 6
    assert busy == 9
    assert len(hop._destinations) == 4


@in_loop
async def test_hop_holds_so_many_bytes_of_a_client_and_no_more(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        to = f"amanat://127.0.0.1:{silent.getsockname()[1]}/?tls=off#{'A' * 43}"
        listed, key = HopConfig(serve="listed", relays=(to,)), parse_address(to).key
        limits = RelayLimits(bytes_in_flight_total=2**20)
        with RelayProcess(tmp_path / "hop", hop=listed, limits=limits) as hop:
            greedy = await Peer.connect(hop.address)
            for number in range(2):
                greedy.send(wire.Forward(number, key, bytes(60_000)))
            # An eighth of it is two.
            assert await greedy.ask_code(wire.Forward(2, key, bytes(60_000))) == "relay-busy"
            others = [await Peer.connect(hop.address) for _ in range(16)]
            for other in others:
                other.send(wire.Forward(1, key, bytes(60_000)))
            assert await greedy.reply(1) == wire.Failed(1, "relay-busy", 5.0)
            for peer in (greedy, *others):
                await peer.ask(wire.Describe(9, b""))
                assert peer.replies[0].empty()
                assert peer is greedy or peer.replies[1].empty()


@pytest.mark.parametrize(
    "ip",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",  # noqa: S104  # nothing listens there
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "::1",
        "::",
        "fe80::1",
        "fc00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::1",
        "2001:0:7f00:1::1",
        "64:ff9b:1::1",
        "fec0::1",
        "192.0.0.8",
        "198.18.0.1",
        "::127.0.0.1",
        "fd00:ec2::254",
        "2001:db8::1",
        "2001:20::1",
        "3fff::1",
        "5f00::1",
        "fe80::1%eth0",
        "localhost",
    ],
)
def test_address_that_is_not_of_the_public_internet(ip: str) -> None:
    assert not is_public(ip)


@pytest.mark.parametrize("ip", ["8.8.8.8", "2606:4700::1", "::ffff:8.8.8.8"])
def test_address_of_the_public_internet(ip: str) -> None:
    assert is_public(ip)


def test_rate_counts_in_its_window() -> None:
    rate = Rate(2, 60.0)
    rate.take(now=0)
    rate.take(now=59)
    with pytest.raises(RelayBusy) as refused:
        rate.take(now=59)
    assert refused.value.retry_after == 1
    rate.take(now=60)


def test_list_of_a_hop_names_relays() -> None:
    with pytest.raises(BadSetting):
        Hop(
            HopConfig(serve="listed", relays=("relay.example:8443",)),
            key_of(200),
            Known(),
            clock=time.time,
        )


# Rounds


async def cover(peer: Peer, home: RelayProcess, request: wire.Request, number: int) -> wire.Reply:
    """The home relay's answer to a request that the hop hands on with its round."""
    to = (await describe(peer, home)).sealing
    sealed, key = sealing.seal_request(wire.encode(request), to=to, relay=home.address.key)
    answer = await peer.ask(wire.Cover(number, home.address.key, sealed))
    assert isinstance(answer, wire.Answer), answer
    return wire.decode_reply(sealing.open_answer(answer.sealed, key))


def publish(drop: Drop, cell: bytes) -> wire.Publish:
    return wire.Publish(0, drop.drop_id, drop.append_token, cell)


async def within_a_round(low: float, high: float) -> None:
    """Wait until between these shares of a round."""
    now = time.time()
    if not low <= now / ROUND_S % 1 <= high:
        await asyncio.sleep((low - now / ROUND_S) % 1 * ROUND_S + 0.05)


@pytest.mark.long
def test_requests_of_a_round_are_seen_together_and_in_another_order(
    hop: RelayProcess, home: RelayProcess
) -> None:
    async def look() -> None:
        bucket, watcher = home.bucket(5), await Peer.connect(home.address)
        peers = [await Peer.connect(hop.address) for _ in range(24)]
        cells = [os.urandom(MESSAGE_CELL) for _ in peers]
        waiting = asyncio.create_task(watcher.ask(read(bucket, wait=120)))
        # Early enough that all go with the same round.
        await within_a_round(0.05, 0.7)
        sent = []
        for peer, cell in zip(peers, cells, strict=True):
            sent.append(asyncio.create_task(cover(peer, home, publish(bucket, cell), 7)))
            await asyncio.sleep(0.02)
        nowhere = Drop(os.urandom(24), os.urandom(32), os.urandom(32))
        empty = publish(nowhere, os.urandom(MESSAGE_CELL))
        refused = asyncio.create_task(cover(peers[0], home, empty, 8))
        await asyncio.sleep(1)
        assert not any(task.done() for task in (waiting, refused, *sent))
        told = await waiting
        assert isinstance(told, wire.Cells)
        assert sorted(told.cells) == sorted(cells)
        assert told.cells != cells
        assert all(isinstance(one, wire.Appended) for one in await asyncio.gather(*sent))
        assert await refused == wire.Failed(0, "no-such-drop")

    run_in_loop(look(), patience_s=2 * PATIENCE_S + 2 * ROUND_S)


@in_loop
async def test_large_answers_that_come_together_wait_for_room_and_none_is_refused(
    hop: RelayProcess, home: RelayProcess
) -> None:
    peer, bucket = await Peer.connect(hop.address), home.bucket(4)
    to = (await describe(peer, home)).sealing
    for _ in range(4):
        await ask(peer, home, append(bucket, os.urandom(LARGE_CELL)))
    keys = []
    for number in range(1, 25):
        request = wire.encode(read(bucket))
        sealed, key = sealing.seal_request(request, to=to, relay=home.address.key)
        keys.append(key)
        peer.send(wire.Forward(number, home.address.key, sealed))
    for number, key in enumerate(keys, 1):
        answer = await peer.reply(number)
        assert isinstance(answer, wire.Answer), answer
        cells = wire.decode_reply(sealing.open_answer(answer.sealed, key))
        assert isinstance(cells, wire.Cells)
        assert len(cells.cells) == 4


@in_loop
async def test_every_answer_to_a_page_is_as_long(hop: RelayProcess, home: RelayProcess) -> None:
    peer, bucket = await Peer.connect(hop.address), home.bucket(6)
    to = (await describe(peer, home)).sealing
    lengths = set()

    async def page(drop: Drop, after: int = 0) -> wire.Reply:
        request = wire.encode(wire.Page(0, drop.drop_id, drop.read_token, after))
        sealed, key = sealing.seal_request(request, to=to, relay=home.address.key)
        answer = await peer.ask(wire.Forward(9, home.address.key, sealed))
        assert isinstance(answer, wire.Answer)
        lengths.add(len(answer.sealed))
        return wire.decode_reply(sealing.open_answer(answer.sealed, key))

    empty = await page(bucket)
    assert isinstance(empty, wire.Cells)
    assert empty.cells == []
    sizes = [MESSAGE_CELL] * 30 + [HANDSHAKE_CELL, MESSAGE_CELL] + [LARGE_CELL]
    for size in sizes:
        await ask(peer, home, append(bucket, os.urandom(size)))
    found: list[int] = []
    while len(found) < len(sizes) - 1:
        cells = await page(bucket, len(found))
        assert isinstance(cells, wire.Cells)
        assert cells.cells
        found += [len(cell) for cell in cells.cells]
    assert found == sizes[:-1]
    assert await page(bucket, len(found)) == wire.Failed(0, "cell-too-large")
    assert await page(bucket._replace(read_token=bytes(32))) == wire.Failed(0, "no-such-drop")
    assert len(lengths) == 1


@in_loop
async def test_a_hop_hands_on_in_an_order_drawn_by_lot(monkeypatch: pytest.MonkeyPatch) -> None:
    handed: list[bytes] = []

    class Ready:
        async def request(self, sealed: wire.Sealed, _answer: object) -> wire.Answer:
            handed.append(sealed.sealed)
            return wire.Answer(0, sealed.sealed)

    async def prove(self: Hop, _destination: object) -> _Ready:
        return _Ready(Ready(), b"", 0.0)  # type: ignore[arg-type]

    monkeypatch.setattr(Hop, "_prove", prove)
    now = HAND_ON * ROUND_S - 0.2
    settings = HopConfig(serve="open")
    hop = Hop(settings, key_of(200), Known(), clock=lambda: now)
    to, guest = bytes(32), Guest()
    sent = [bytes([number]) * 50 for number in range(64)]
    tasks = [asyncio.create_task(hop.forward(to, one, guest, is_covered=True)) for one in sent]
    await asyncio.sleep(0)
    assert handed == []
    assert await asyncio.gather(*tasks) == sent
    assert handed != sent
    assert sorted(handed) == sent


@pytest.mark.long
def test_a_relay_that_drains_carries_out_what_waits_for_the_round(tmp_path: Path) -> None:
    async def drain() -> None:
        with RelayProcess(tmp_path / "relay") as running:
            peer, bucket = await Peer.connect(running.address), running.bucket(0)
            await within_a_round(0, 0.8)
            one = publish(bucket, os.urandom(MESSAGE_CELL))
            waiting = asyncio.create_task(peer.ask(one))
            await asyncio.sleep(0.5)
            assert not waiting.done()
            assert await asyncio.to_thread(running.drain) == 0
            assert isinstance(await waiting, wire.Appended)

    run_in_loop(drain(), patience_s=PATIENCE_S + ROUND_S)


@pytest.mark.long
def test_a_hop_that_drains_says_goodbye_and_hands_on_nothing_early(
    home: RelayProcess, tmp_path: Path
) -> None:
    async def drain() -> None:
        listed = HopConfig(serve="listed", relays=(str(home.address),))
        with RelayProcess(tmp_path / "relay", hop=listed) as running:
            peer, bucket = await Peer.connect(running.address), home.bucket(7)
            await within_a_round(0, 0.7)
            one = publish(bucket, os.urandom(MESSAGE_CELL))
            waiting = asyncio.create_task(cover(peer, home, one, 7))
            await asyncio.sleep(0.5)
            assert await asyncio.to_thread(running.drain) == 0
            assert await peer.closed == (1012, "draining")
            assert not waiting.done()
            waiting.cancel()
            direct = await Peer.connect(home.address)
            cells = await direct.ask(read(bucket))
            assert isinstance(cells, wire.Cells)
            assert cells.cells == []

    run_in_loop(drain(), patience_s=PATIENCE_S + ROUND_S)


# The seal


def test_sizes_tell_no_more_than_the_size_of_a_cell() -> None:
    private = sealing.new_key()
    to = sealing.public_key(private)
    assert len(to) == SEALING_KEY_BYTES
    drop, key = Drop(bytes(24), bytes(32), bytes(32)), bytes(32)
    small = [
        wire.encode(one)
        for one in (
            append(drop, bytes(MESSAGE_CELL)),
            read(drop),
            wire.Describe(0, bytes(32)),
            wire.Create(0, bytes(32), bytes(24), bytes(32), bytes(32), 14),
        )
    ]
    sizes = {len(sealing.seal_request(frame, to=to, relay=key)[0]) for frame in small}
    assert len(sizes) == 1
    large, _ = sealing.seal_request(wire.encode(append(drop, bytes(LARGE_CELL))), to=to, relay=key)
    frame = wire.encode(wire.Forward(2**32 - 1, bytes(32), large))
    assert wire.decode_request(frame)
    with pytest.raises(FrameTooLarge):
        sealing.seal_request(bytes(LARGE_CELL + 300), to=to, relay=key)
    with pytest.raises(BrokenSeal):
        sealing.seal_request(b"", to=to[:-1], relay=key)


def test_answer_without_a_cell_is_as_long_as_one_with_one() -> None:
    cells = [
        wire.encode(wire.Cells(0, 1, bytes(32), [bytes(MESSAGE_CELL)] * many, 9))
        for many in range(3)
    ]
    one = wire.encode(wire.Appended(0, 1, bytes(32)))
    none_, single, two = (len(sealing.seal_answer(frame, bytes(32))) for frame in cells)
    assert none_ == single == len(sealing.seal_answer(one, bytes(32)))
    assert two == single + MESSAGE_CELL


def opened(sealed: bytes, keys: SealingKeys) -> bytes:
    """The frame in a sealed request."""
    privates = map(sealing.read_private, keys.privates)
    return sealing.open_request(sealed, privates, relay=bytes(32))[0]


def test_seal_opens_with_the_keys_of_this_week_and_the_last(tmp_path: Path) -> None:
    keys = SealingKeys(tmp_path, now=NOW)
    sealed, _ = sealing.seal_request(b"frame", to=keys.public, relay=bytes(32))
    first = keys.public
    assert SealingKeys(tmp_path, now=NOW).public == first
    later = SealingKeys(tmp_path, now=NOW + SEALING_PERIOD_S)
    assert later.public != first
    assert opened(sealed, later) == b"frame"
    old = keys.privates[0]
    assert old in (tmp_path / "sealing.keys").read_bytes()
    later.rotate(now=NOW + 2 * SEALING_PERIOD_S)
    assert old not in (tmp_path / "sealing.keys").read_bytes()
    with pytest.raises(BrokenSeal):
        opened(sealed, later)
    assert (tmp_path / "sealing.keys").stat().st_mode & 0o777 == 0o600


# All of it


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


@pytest.mark.e2e
def test_people_talk_over_two_real_relays_each_the_hop_of_the_other(tmp_path: Path) -> None:
    async def talk() -> None:
        ports = free_port(), free_port()
        relays = [
            RelayProcess(tmp_path / f"relay {port}", port=port, tls="pinned", name=name)
            for port, name in zip(ports, ("one", "another"), strict=True)
        ]
        addresses = [
            str(relay.directory.address(port)) for relay, port in zip(relays, ports, strict=True)
        ]
        for relay, other in zip(relays, reversed(addresses), strict=True):
            settings = relay.directory.path / "relay.toml"
            text = settings.read_text().replace('# serve = "off"', 'serve = "listed"')
            settings.write_text(text.replace("# relays = []", f'relays = ["{other}"]'))
        with relays[0], relays[1]:
            people = [
                await Client.create(
                    tmp_path / name,
                    Unlock(key=os.urandom(32)),
                    name=name,
                    relay=addresses[0],
                    fallback=addresses[1],
                )
                for name in ("alice", "bob")
            ]
            alice, bob = people
            async with alice, bob:
                bob.accept(alice.invite())
                while not (alice.contacts() and bob.contacts()):
                    await asyncio.wait([asyncio.create_task(p.changed()) for p in people])
                gid = alice.conversation("bob").gid
                alice.chat(gid).send("سلام")
                while not bob.chat(bob.conversation("alice").gid).messages():
                    await bob.changed()
                assert bob.chat(bob.conversation("alice").gid).messages()[0].text == "سلام"
                assert {p.status().transport for p in people} == {"hopped"}

    run_in_loop(talk(), patience_s=60)
