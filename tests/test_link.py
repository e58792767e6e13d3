"""How a relay is found: at the first of its places where its key answers, and at no place that
nobody with the right to do so has named."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from amanat import link
from amanat.errors import NotPublic, RelayKeyChanged, RelayUnreachable
from amanat.link import connect, find
from amanat.protocol.descriptor import NamedAddress
from amanat.protocol.places import Place
from relays import RelayProcess, in_loop


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayProcess]:
    with RelayProcess(tmp_path_factory.mktemp("one") / "relay", tls="pinned") as running:
        yield running


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayProcess]:
    with RelayProcess(tmp_path_factory.mktemp("another") / "relay", tls="pinned") as running:
        yield running


@pytest.fixture
def dead() -> Place:
    """A place where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
    return Place("127.0.0.1", port)


@in_loop
async def test_the_places_of_a_relay_are_tried_in_turn(relay: RelayProcess, dead: Place) -> None:
    (there,) = relay.address.places
    found = await connect(
        NamedAddress.of(relay.address.key, dead, Place("nowhere.invalid", 1), there)
    )
    assert (found.place, found.missed) == (there, (dead, Place("nowhere.invalid", 1)))
    assert (await found.describe(relay.address.key)).region == "DE"
    await found.closed()


@in_loop
async def test_where_another_key_answers_the_next_place_is_tried_and_it_is_told(
    relay: RelayProcess, stranger: RelayProcess
) -> None:
    places = (*stranger.address.places, *relay.address.places)
    found = await connect(NamedAddress.of(relay.address.key, *places))
    assert found.place == relay.address.places[0]
    assert found.strangers == stranger.address.places
    await found.closed()


@in_loop
async def test_another_key_is_told_if_the_relay_is_found_nowhere(
    stranger: RelayProcess, dead: Place
) -> None:
    for places in ((dead, *stranger.address.places), (*stranger.address.places, dead)):
        with pytest.raises(RelayKeyChanged):
            await connect(NamedAddress.of(bytes(32), *places))


@in_loop
async def test_a_place_of_a_private_network_is_not_called_on_unless_it_was_named(
    relay: RelayProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    (there,) = relay.address.places
    called: list[Place] = []

    async def dial(_key: bytes, place: Place, _ips: list[str], _source: str) -> link.Link:
        called.append(place)
        raise RelayUnreachable

    monkeypatch.setattr(link, "dial", dial)
    for host in ("127.0.0.1", "localhost", "10.0.0.1", "::1", "0.0.0.0"):  # noqa: S104  # called
        with pytest.raises(NotPublic):
            await find(
                relay.address.key,
                [Place(host, there.port)],
                may_be_private=lambda _place: False,
            )
    assert not called
    with pytest.raises(RelayUnreachable):
        await find(relay.address.key, [there], may_be_private=lambda place: place == there)
    assert called == [there]


@in_loop
async def test_a_name_is_asked_for_once_and_dialled_as_it_was_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = iter([["8.8.8.8", "8.8.4.4"], ["127.0.0.1"]])
    dialled: list[list[str]] = []

    async def resolve(_place: Place) -> list[str]:
        return next(answers)

    async def dial(_key: bytes, place: Place, ips: list[str], _source: str) -> link.Link:
        dialled.append(ips)
        raise RelayUnreachable(place.name)

    monkeypatch.setattr(link, "resolve", resolve)
    monkeypatch.setattr(link, "dial", dial)
    places = [Place("rebinding.example", 443)]
    for refusal in (RelayUnreachable, NotPublic):
        with pytest.raises(RelayUnreachable) as raised:
            await find(bytes(32), places, may_be_private=lambda _place: False)
        assert type(raised.value) is refusal
    assert dialled == [["8.8.8.8", "8.8.4.4"]]


@in_loop
async def test_all_ip_addresses_of_a_place_are_tried(relay: RelayProcess) -> None:
    (there,) = relay.address.places
    found = await link.dial(relay.address.key, there, ["127.9.9.9", "127.0.0.1"])
    await found.closed()


@in_loop
@pytest.mark.long
async def test_a_relay_is_found_by_what_it_prints_for_any_host_it_takes(tmp_path: Path) -> None:
    for number, host in enumerate(("::1", "[::1]", "LocalHost")):
        with RelayProcess(tmp_path / f"{number}", tls="pinned", host=host) as running:
            found = await connect(running.address)
            await found.closed()


@in_loop
@pytest.mark.parametrize("answers", [True, False])
async def test_whoever_stops_waiting_for_a_link_leaves_none_behind(answers: bool) -> None:
    called: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter, str]]
    called = asyncio.get_running_loop().create_future()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = (await reader.readuntil(b"\r\n\r\n")).decode()
        called.set_result((reader, writer, asked))

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    place = Place("127.0.0.1", server.sockets[0].getsockname()[1], "off")
    calling = asyncio.create_task(connect(NamedAddress.of(bytes(32), place)))
    reader, writer, asked = await called
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    if answers:
        (key,) = re.findall(r"(?i)sec-websocket-key: (\S+)", asked)
        proved = hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11")  # noqa: S324  # RFC 6455, 4.2.2
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Accept: " + base64.b64encode(proved.digest()) + b"\r\n\r\n"
        )
    assert await reader.read() == b""  # it hung up, and sends nothing more
    writer.close()
    server.close()
