"""A client goes to relays through the proxy that its person has set, and never around it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from amanat import link, proxy
from amanat.client import routes
from amanat.client.sdk.client import Client
from amanat.client.vault import Unlock
from amanat.config import HopConfig
from amanat.errors import (
    BadArgument,
    HopAway,
    HopRefused,
    NotPublic,
    ProxyAway,
    RelayUnreachable,
    VaultDamaged,
)
from amanat.link import INTERNET, find
from amanat.protocol import codec
from amanat.protocol.descriptor import NamedAddress
from amanat.protocol.places import Place
from amanat.proxy import Proxied, decode_proxy, parse_proxy
from pages import in_a_loop
from proxies import HOST_UNREACHABLE, NOT_ALLOWED, Answer, Socks, answering, read_request
from relays import RelayProcess

KEY = Unlock(key=bytes(32))
NAME = "relay.example"
"""A name that no name server knows: only the proxies of these tests do."""
PUBLIC = Place("9.9.9.9", 443)
USER, PASSWORD = "somebody", "sesame-opens"
PATIENCE_S = 30

_watching: list[list[tuple[str, object]]] = []


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.connect"):
        about = arguments[1] if event == "socket.connect" else arguments[0]
        for calls in _watching:
            calls.append((event.removeprefix("socket."), about))


sys.addaudithook(_note)


@contextlib.contextmanager
def watched() -> Iterator[list[tuple[str, object]]]:
    """Everything that Python's own loop looks up or connects to meanwhile."""
    calls: list[tuple[str, object]] = []
    _watching.append(calls)
    try:
        yield calls
    finally:
        _watching.remove(calls)


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def nobody() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        return f"127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[RelayProcess]:
    with RelayProcess(tmp_path / "relay", tls="pinned", host=NAME, listen="127.0.0.1") as running:
        yield running


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():  # noqa: ASYNC110  # nothing tells of all of these
            await asyncio.sleep(0.05)


async def reach(network: Proxied, *places: Place, key: bytes = bytes(32)) -> link.Link:
    """A link to a relay, the places of which somebody else has named."""
    return await find(key, places, may_be_private=lambda _: False, network=network)


# The address that a person types


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("127.0.0.1:9050", "127.0.0.1:9050"),
        ("socks5://127.0.0.1:9050", "127.0.0.1:9050"),
        (" LocalHost:9050/", "localhost:9050"),
        ("[::1]:9050", "[::1]:9050"),
    ],
)
def test_a_proxy_is_read_as_people_write_it(text: str, name: str) -> None:
    assert parse_proxy(text).name == name


@pytest.mark.parametrize(
    "text",
    ["9050", "127.0.0.1", "http://127.0.0.1:8080", "127.0.0.1:0", f"{USER}:{PASSWORD}@127.0.0.1:1",
     f"socks5://{USER}:{PASSWORD}@127.0.0.1:1", "127.0.0.1:1/?tls=off", "a b:1"],
)  # fmt: skip
def test_an_address_that_is_none_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(BadArgument) as raised:
        parse_proxy(text)
    assert PASSWORD not in str(raised.value)


@pytest.mark.parametrize(
    "login", ["alone", ":", "user:", f":{PASSWORD}", f"user:{'x' * 256}", f"{'x' * 256}:y",
              f"نام:{PASSWORD}", f"user:{PASSWORD}\x00"],
)  # fmt: skip
def test_a_login_that_no_proxy_takes_is_refused_and_not_repeated(login: str) -> None:
    with pytest.raises(BadArgument) as raised:
        parse_proxy("127.0.0.1:9050", login)
    assert PASSWORD not in str(raised.value)


def test_a_kept_proxy_is_read_strictly_and_shows_no_password() -> None:
    made = parse_proxy("127.0.0.1:9050", f"{USER}:{PASSWORD}:more")
    assert (made.user, made.password) == (USER, f"{PASSWORD}:more")
    assert decode_proxy(codec.encode(made), VaultDamaged) == made
    assert decode_proxy(b"", VaultDamaged) is None
    with pytest.raises(VaultDamaged):
        decode_proxy(codec.encode(made) + b"\0", VaultDamaged)
    for text in (repr(made), str(made), f"{made}"):
        assert USER not in text
        assert PASSWORD not in text


# Through it


@pytest.mark.e2e
@in_a_loop
async def test_two_people_talk_through_a_proxy_that_alone_is_told_the_names(
    tmp_path: Path, relay: RelayProcess, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with Socks({NAME: "127.0.0.1"}, (USER.encode(), PASSWORD.encode())) as socks:
        with watched() as calls:
            people = [
                await Client.create(
                    tmp_path / name,
                    KEY,
                    name=name,
                    relay=str(relay.address),
                    proxy=socks.address,
                    proxy_login=f"{USER}:{PASSWORD}",
                )
                for name in ("alice", "bob")
            ]
            alice, bob = people
            for one in people:
                one.start()
            bob.accept(alice.invite())
            await until(lambda: bool(alice.contacts() and bob.contacts()))
            bob.chat("alice").send("سلام")
            gid = alice.conversation("bob").gid
            await until(lambda: [m.text for m in alice.chat(gid).messages()] == ["سلام"])
            for one in people:
                status = one.status()
                assert (status.proxy, status.is_proxy_away) == (socks.address, False)
                assert not status.away
                await one.close()
        ours = [about for event, about in calls if about != ("127.0.0.1", port_of(relay_at(relay)))]
        assert set(ours) == {("127.0.0.1", port_of(socks.address))}
    assert set(socks.asked) == {(NAME, port_of(relay_at(relay)))}
    assert PASSWORD not in caplog.text
    assert set(socks.logins) == {(USER.encode(), PASSWORD.encode())}
    kept = Client.open(tmp_path / "alice", KEY)
    assert (kept.hopping.proxy, kept.hopping.has_login) == (socks.address, True)
    await kept.close()


def relay_at(relay: RelayProcess) -> str:
    return relay.address.places[0].name


@pytest.mark.e2e
@in_a_loop
async def test_words_wait_while_the_proxy_is_away_and_leave_when_it_is_back(
    tmp_path: Path, relay: RelayProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "RETRY_S", (0.1, 0.2))
    socks = Socks({NAME: "127.0.0.1"})
    await socks.start()
    made = await Client.create(
        tmp_path / "alice", KEY, name="alice", relay=str(relay.address), proxy=socks.address
    )
    async with made as alice:
        await alice.caught_up()
        socks.stop()
        await until(lambda: alice.status().is_proxy_away)
        before = len(socks.asked)
        assert alice.status().away
        with watched() as calls:
            await asyncio.sleep(1)
        assert {about for _, about in calls} == {("127.0.0.1", port_of(socks.address))}
        await socks.start()
        await until(lambda: not alice.status().away)
        assert len(socks.asked) > before
        assert not alice.status().is_proxy_away
    socks.stop()


@pytest.mark.e2e
@in_a_loop
async def test_a_proxy_that_is_away_makes_nobody(tmp_path: Path, relay: RelayProcess) -> None:
    with watched() as calls, pytest.raises(ProxyAway) as raised:
        await Client.create(
            tmp_path / "alice", KEY, name="alice", relay=str(relay.address), proxy=nobody()
        )
    assert "amanat proxy" in raised.value.hint
    assert {event for event, _ in calls} == {"connect"}
    assert len(calls) == 1
    assert not (tmp_path / "alice").exists()


@pytest.mark.e2e
@in_a_loop
async def test_of_several_failures_the_proxy_s_is_told_and_nobody_counts_as_missed_by_it(
    tmp_path: Path,
) -> None:
    network = Proxied(INTERNET, parse_proxy(nobody()))
    beyond, dead = Place(NAME, 443), Place("127.0.0.1", port_of(nobody()))
    for places in ((beyond, dead), (dead, beyond)):
        with pytest.raises(ProxyAway):
            await find(bytes(32), places, may_be_private=lambda _: True, network=network)
    with RelayProcess(tmp_path / "relay", tls="pinned") as local:
        (there,), key = local.address.places, local.address.key
        found = await find(key, (beyond, there), may_be_private=lambda _: True, network=network)
        assert (found.place, found.missed) == (there, ())
        await found.closed()


@pytest.mark.e2e
@in_a_loop
async def test_a_relay_on_this_machine_is_reached_without_the_proxy_if_the_person_named_it(
    tmp_path: Path,
) -> None:
    with RelayProcess(tmp_path / "relay", tls="pinned") as local:
        dead = nobody()
        made = await Client.create(
            tmp_path / "alice", KEY, name="alice", relay=str(local.address), proxy=dead
        )
        async with made as alice:
            await alice.caught_up()
            assert not alice.status().away
        (there,) = local.address.places
        with watched() as calls, pytest.raises(NotPublic):
            await reach(Proxied(INTERNET, parse_proxy(dead)), there)
        assert not calls


@pytest.mark.e2e
@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "::1", "10.0.0.1"])
@in_a_loop
async def test_no_invite_has_us_call_on_our_own_network_whatever_proxy_is_set(host: str) -> None:
    async with Socks({}) as socks:
        network = Proxied(INTERNET, parse_proxy(socks.address))
        with watched() as calls, pytest.raises(NotPublic):
            await reach(network, Place(host, 443))
        assert not calls
    assert not socks.asked


@pytest.mark.e2e
@in_a_loop
async def test_a_proxy_that_is_set_ends_every_link_and_every_call_that_goes_around_it(
    tmp_path: Path,
) -> None:
    called = asyncio.Event()

    async def say_nothing(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        called.set()
        await asyncio.sleep(PATIENCE_S)

    with RelayProcess(tmp_path / "relay", tls="pinned") as local:
        network = Proxied(INTERNET)
        (there,) = local.address.places
        found = await network.dial(local.address.key, there, ["127.0.0.1"])
        async with answering(say_nothing) as silent:
            place = Place("127.0.0.1", port_of(silent))
            calling = asyncio.ensure_future(network.dial(bytes(32), place, ["127.0.0.1"]))
            await called.wait()
            network.go_through(parse_proxy(nobody()))
            network.go_through(parse_proxy(nobody()))
            began = time.monotonic()
            with pytest.raises(RelayUnreachable):
                await calling
            assert time.monotonic() - began < 1
            await until(lambda: not found.is_open)


@pytest.mark.e2e
@in_a_loop
async def test_a_hop_on_this_machine_hands_nothing_on_around_the_proxy(
    tmp_path: Path, relay: RelayProcess
) -> None:
    there = NamedAddress.of(relay.address.key, Place("127.0.0.1", relay.address.places[0].port))
    hops_on = HopConfig(serve="listed", relays=(str(there),))
    with RelayProcess(tmp_path / "hop", tls="pinned", name="hop", hop=hops_on) as local:
        async with Socks({NAME: "127.0.0.1"}) as socks:
            made = await Client.create(
                tmp_path / "alice",
                KEY,
                name="alice",
                relay=str(relay.address),
                proxy=socks.address,
            )
            with pytest.raises(HopRefused):
                await made.hopping.set_hop(str(local.address))
            await made.hopping.set_proxy("")
            await made.hopping.set_hop(str(local.address))  # it serves, but for the proxy
            async with made as alice:
                await alice.caught_up()
                await alice.hopping.set_proxy(socks.address)
                await until(lambda: alice.status().is_hop_away)
                with pytest.raises(HopAway, match="around the proxy"):
                    await alice._routes.to(relay.address.key)


# Proxies that do not do what they should


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take the client's methods, and choose none of them."""
    await reader.readexactly((await reader.readexactly(2))[1])
    writer.write(b"\5\0")
    await read_request(reader)


async def hang_up(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    pass


async def say_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(100)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await writer.drain()
    await asyncio.sleep(PATIENCE_S)


async def refuse_all_methods(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(100)
    writer.write(b"\5\xff")
    await writer.drain()
    await asyncio.sleep(PATIENCE_S)


async def ask_for_a_login(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(100)
    writer.write(b"\5\2")
    await writer.drain()
    await asyncio.sleep(PATIENCE_S)


async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await greet(reader, writer)
    writer.write(b"\5\0\0\1\1\1")
    await writer.drain()
    writer.close()
    await writer.wait_closed()


async def name_nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await greet(reader, writer)
    writer.write(b"\5\0\0\3\2\xff\xfe\0\0")
    await writer.drain()
    await asyncio.sleep(PATIENCE_S)


def reply(code: int) -> Answer:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        writer.write(bytes((5, code, 0, 1)) + bytes(6))
        await writer.drain()
        await asyncio.sleep(PATIENCE_S)

    return answer


async def say_nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read(100)
    await asyncio.sleep(PATIENCE_S)


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await greet(reader, writer)
    for byte in b"\5\0\0\3\xff" + bytes(257):
        writer.write(bytes((byte,)))
        await writer.drain()
        await asyncio.sleep(0.1)


async def never_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await greet(reader, writer)
    while True:
        writer.write(b"\5\0\0\1" + bytes(60_000))
        await writer.drain()


async def connect_and_drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await greet(reader, writer)
    writer.write(b"\5\0\0\1" + bytes(6) + b"\x16\x03\x03\x40\x00")
    while True:
        writer.write(b"\0")
        await writer.drain()
        await asyncio.sleep(0.1)


async def connect_and_reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await greet(reader, writer)
    writer.write(b"\5\0\0\1" + bytes(6))
    await writer.drain()
    held = writer.get_extra_info("socket")
    held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


HOSTILE: list[tuple[Answer, type[RelayUnreachable]]] = [
    (hang_up, ProxyAway),
    (say_http, ProxyAway),
    (refuse_all_methods, ProxyAway),
    (ask_for_a_login, ProxyAway),
    (cut, ProxyAway),
    (name_nonsense, ProxyAway),
    (reply(NOT_ALLOWED), ProxyAway),
    (reply(99), ProxyAway),
    (reply(HOST_UNREACHABLE), RelayUnreachable),
    (say_nothing, RelayUnreachable),
    (drip, RelayUnreachable),
    (never_end, RelayUnreachable),
    (connect_and_drip, RelayUnreachable),
    (connect_and_reset, RelayUnreachable),
]


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("answer", "error"), HOSTILE, ids=[f"{one.__name__}-{n}" for n, (one, _) in enumerate(HOSTILE)]
)
@in_a_loop
async def test_whatever_a_proxy_answers_nothing_goes_around_it_and_it_ends_in_time(
    answer: Answer, error: type[RelayUnreachable], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy, "CONNECT_TIMEOUT_S", 1.0)
    monkeypatch.setattr(link, "CONNECT_TIMEOUT_S", 1.0)
    async with answering(answer) as address:
        network = Proxied(INTERNET, parse_proxy(address))
        for place in (Place(NAME, 443), PUBLIC):
            began = time.monotonic()
            with watched() as calls, pytest.raises(RelayUnreachable) as raised:
                await reach(network, place)
            assert type(raised.value) is error
            assert time.monotonic() - began < 3
            assert calls == [("connect", ("127.0.0.1", port_of(address)))]
            assert network.is_away == (error is ProxyAway)


@pytest.mark.e2e
@in_a_loop
async def test_a_wrong_login_is_told_and_stands_in_no_text(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    asyncio.get_running_loop().set_debug(True)
    async with Socks({}, (USER.encode(), b"another")) as socks:
        network = Proxied(INTERNET, parse_proxy(socks.address, f"{USER}:{PASSWORD}"))
        with pytest.raises(ProxyAway) as raised:
            await reach(network, Place(NAME, 443))
    assert socks.logins == [(USER.encode(), PASSWORD.encode())]
    chain: BaseException | None = raised.value
    texts = [caplog.text, *capfd.readouterr()]
    while chain is not None:
        texts += [str(chain), repr(chain)]
        chain = chain.__cause__ or (None if chain.__suppress_context__ else chain.__context__)
    for text in texts:
        assert PASSWORD not in text
        assert USER not in text


# Commands


def command(said: list[bytes], profile: Path, *words: str, login: str = "") -> tuple[int, str]:
    """Run a command, with a login on the descriptor for which FD stands among its words; its exit
    status and its result. `said` gets everything that others could see of the process."""
    passphrase, given = os.pipe(), os.pipe()
    for (_, writing), text in ((passphrase, "correct horse"), (given, login)):
        os.write(writing, f"{text}\n".encode())
        os.close(writing)
    line = [sys.executable, "-m", "amanat", "--json", "--profile", str(profile)]
    line += ["--passphrase-fd", str(passphrase[0])]
    line += [str(given[0]) if word == "FD" else word for word in words]
    process = subprocess.Popen(
        line,
        pass_fds=(passphrase[0], given[0]),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONASYNCIODEBUG": "1"},
    )
    for name in ("cmdline", "environ"):
        said.append(Path(f"/proc/{process.pid}/{name}").read_bytes())  # noqa: PERF401  # in turn
    out, err = process.communicate()
    said.extend((out, err))
    for one in (passphrase[0], given[0]):
        os.close(one)
    return process.returncode, out.decode()


@pytest.mark.e2e
@in_a_loop
async def test_a_login_is_in_no_argument_environment_output_or_file(
    tmp_path: Path, relay: RelayProcess
) -> None:
    said: list[bytes] = []
    run = functools.partial(command, said, tmp_path / "alice")

    async def tell(*words: str, login: str = "") -> Any:  # noqa: ANN401  # any JSON
        status, out = await asyncio.to_thread(run, *words, login=login)
        assert status == 0, said
        return json.loads(out)

    async def fail(*words: str, login: str = "") -> tuple[int, str]:
        status, out = await asyncio.to_thread(run, *words, login=login)
        return status, json.loads(out)["error"]

    login = f"{USER}:{PASSWORD}"
    async with Socks({NAME: "127.0.0.1"}, (USER.encode(), PASSWORD.encode())) as socks:
        begin = ("init", "--name", "alice", "--relay", str(relay.address), "--proxy")
        assert await fail(*begin, socks.address) == (4, "proxy-away")
        await tell(*begin, socks.address, "--proxy-login-fd", "FD", login=login)
        shown = {"proxy": socks.address, "has_login": True}
        assert await tell("proxy") == shown
        status = await tell("status")
        assert (status["proxy"], status["is_proxy_away"]) == (socks.address, False)
        assert status["away"] == []
        asked = len(socks.asked)
        assert await tell("proxy", "--off") == {"proxy": "", "has_login": False}
        assert await tell("proxy", socks.address, "--login-fd", "FD", login=login) == shown
        assert len(socks.asked) == asked  # to set it calls nobody, before or after
        assert await tell("proxy", socks.address) == {**shown, "has_login": False}
        assert (await tell("--wait", "1", "status"))["is_proxy_away"]
        assert await fail("proxy", "--login-fd", "FD", login=login) == (2, "bad-argument")
    assert set(socks.logins) == {(USER.encode(), PASSWORD.encode())}
    for text in [*said, *contents(tmp_path)]:
        assert PASSWORD.encode() not in text
        assert USER.encode() not in text


def contents(root: Path) -> list[bytes]:
    """Everything in the files below a directory."""
    return [one.read_bytes() for one in root.rglob("*") if one.is_file()]
