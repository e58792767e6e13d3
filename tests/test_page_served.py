"""The page as it is served: by raw sockets, and in a browser."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import os
import re
import socket
import struct
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.async_playwright import Axe

from amanat import Client, Unlock
from amanat.client import feed
from pages import in_a_loop, opened, page_of, relay, shown_to, two_friends

if TYPE_CHECKING:
    from pathlib import Path

    from amanat.page.server import Server
    from relays import RelayProcess

__all__ = ["relay"]  # a fixture
pytestmark = pytest.mark.e2e
FIRST_LOAD_BYTES = 120 * 1024
"""The most that a browser loads before the page can be used, the heads of the answers included."""
IMPORTED = re.compile(r'^(?:import|export)\b[^;]*?"\./([a-z-]+\.js)"', re.MULTILINE)
"""The modules that load before another one runs."""
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script> \u202egnp.exe"


async def ask_raw(port: int, request: str) -> bytes:
    """The whole answer to a request as a program would write it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request.encode())
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    return answer


async def entered(server: Server) -> tuple[int, str, str]:
    """The port, the page's path and the cookie of a browser that has opened a link."""
    link = server.link()
    port, token = int(link.split(":")[2].split("/")[0]), link.partition("?")[2]
    answer = await ask_raw(port, f"GET /?{token} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n")
    head = answer.decode().partition("\r\n\r\n")[0]
    fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:])
    return port, fields["Refresh"].partition("url=")[2], fields["Set-Cookie"].partition(";")[0]


def upgrade(port: int, path: str, cookie: str, connection: str) -> str:
    return (
        f"GET {path}live HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\n"
        f"Cookie: {cookie}\r\nConnection: {connection}\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )


@in_a_loop
async def test_files_are_served_with_a_policy_that_lets_nothing_in(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with two_friends(tmp_path, relay) as (alice, _), page_of(alice) as server:
        port, path, cookie = await entered(server)
        host = f"Host: 127.0.0.1:{port}\r\n"
        answer = await ask_raw(port, f"GET {path} HTTP/1.1\r\n{host}Cookie: {cookie}\r\n\r\n")
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert b"script-src 'self'" in head
        assert b"trusted-types 'none'" in head
        assert b"no-store" in head
        assert b"<chat-list>" in body
        asked = (
            f"GET {path} HTTP/1.1\r\n{host}Accept-Encoding: br, gzip\r\nCookie: {cookie}\r\n\r\n"
        )
        packed = (await ask_raw(port, asked)).partition(b"\r\n\r\n")[2]
        assert gzip.decompress(packed) == body
        for refused in (
            f"GET {path} HTTP/1.1\r\n{host}\r\n",
            f"GET {path} HTTP/1.1\r\nHost: evil.example\r\nCookie: {cookie}\r\n\r\n",
            f"GET {path}../errors.py HTTP/1.1\r\n{host}Cookie: {cookie}\r\n\r\n",
            f"GET {path}nothing.js HTTP/1.1\r\n{host}Cookie: {cookie}\r\n\r\n",
        ):
            assert (await ask_raw(port, refused)).split(b" ")[1] in (b"403", b"404", b"421")


@in_a_loop
async def test_a_first_load_is_small_and_nothing_runs_in_its_parts_alone(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with two_friends(tmp_path, relay) as (alice, _), page_of(alice) as server:
        port, path, cookie = await entered(server)
        given = f"Host: 127.0.0.1:{port}\r\nAccept-Encoding: gzip\r\nCookie: {cookie}\r\n\r\n"
        wanted, seen, size = {"index.html", "style.css", "words-en.js", "main.js"}, set[str](), 0
        while wanted:
            name = wanted.pop()
            seen.add(name)
            answer = await ask_raw(port, f"GET {path}{name} HTTP/1.1\r\n{given}")
            head, _, body = answer.partition(b"\r\n\r\n")
            size += len(answer)
            assert (b"Policy: sandbox; default-src 'none'" in head) == (name != "index.html")
            if name.endswith(".js"):
                wanted |= {*IMPORTED.findall(gzip.decompress(body).decode())} - seen
        assert {"talk.js", "dom.js"} < seen
        assert size <= FIRST_LOAD_BYTES


@pytest.mark.parametrize("connection", ["Upgrade", "keep-alive, Upgrade"])
@in_a_loop
async def test_every_browsers_handshake_is_understood(
    tmp_path: Path, relay: RelayProcess, connection: str
) -> None:
    """Firefox says more than *Upgrade*."""
    async with two_friends(tmp_path, relay) as (alice, _), page_of(alice) as server:
        port, path, cookie = await entered(server)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(upgrade(port, path, cookie, connection).encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 101")
        writer.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
@in_a_loop
async def test_another_user_of_the_machine_gets_nothing_even_with_the_cookie(
    tmp_path: Path, relay: RelayProcess
) -> None:
    program = (
        "import encodings.idna, os, socket, sys\n"
        "os.setgid(65534), os.setuid(65534)\n"  # nobody's
        "line = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
        "line.sendall(sys.stdin.buffer.read())\n"
        "line.settimeout(10)\n"
        "got = b''\n"
        "try:\n"
        "    while data := line.recv(4096): got += data\n"
        "except ConnectionError: pass\n"
        "print(len(got.partition(b'\\r\\n\\r\\n')[2]))\n"
    )
    async with two_friends(tmp_path, relay) as (alice, _), page_of(alice) as server:
        port, path, cookie = await entered(server)
        request = upgrade(port, path, cookie, "Upgrade").encode()
        ask = b'{"do": "begin", "id": 1}'
        frame = b"\x81" + bytes([0x80 | len(ask)]) + bytes(4) + ask
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-I", "-S", "-c", program, str(port)],
            input=request + frame,
            capture_output=True,
            timeout=30,
            check=True,
        )
        assert int(done.stdout) == 0


@in_a_loop
async def test_tabs_that_may_lack_something_are_hung_up_on_and_ask_again(
    tmp_path: Path, relay: RelayProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_friends(tmp_path, relay) as (alice, maryam), page_of(alice) as server:
        port, path, cookie = await entered(server)

        async def come() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(upgrade(port, path, cookie, "Upgrade").encode())
            await reader.readuntil(b"\r\n\r\n")
            return reader, writer

        reader, writer = await come()
        with monkeypatch.context() as full:
            full.setattr(feed, "MAX_EVENTS", 0)
            maryam.contact("alice").send("one")
            async with asyncio.timeout(30):
                await reader.read()  # to its end
        writer.close()
        reader, writer = await come()
        maryam.contact("alice").send("two")
        async with asyncio.timeout(30):
            await reader.readuntil(b'"two"')
        writer.close()


def part(opcode: int, payload: bytes, *, is_last: bool) -> bytes:
    """A frame of a browser (RFC 6455, section 5.2), masked with zeros."""
    first, size = opcode | (0x80 if is_last else 0), len(payload)
    is_short = size <= 125  # as the section says
    head = bytes([first, 0x80 | (size if is_short else 127)])
    head += b"" if is_short else struct.pack(">Q", size)
    return head + bytes(4) + payload


@pytest.mark.parametrize(
    ("parts", "is_answered"),
    [
        ([(1, b'{"do": "be', False), (0, b'gin", "id"', False), (0, b": 1}", True)], True),
        ([(1, b" " * 100_000, False)] + [(0, b" " * 100_000, False)] * 5, False),
        ([(0, b'{"do": "begin", "id": 1}', True)], False),
        ([(1, b'{"do": "be', False), (1, b'gin", "id": 1}', True)], False),
        ([(2, b'{"do": "begin", "id": 1}', True)], False),
    ],
    ids=["in parts", "without end", "no beginning", "two beginnings", "binary"],
)
@in_a_loop
async def test_an_ask_may_come_in_parts_but_only_up_to_its_bound(
    tmp_path: Path, relay: RelayProcess, parts: list[tuple[int, bytes, bool]], is_answered: bool
) -> None:
    async with two_friends(tmp_path, relay) as (alice, _), page_of(alice) as server:
        port, path, cookie = await entered(server)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(upgrade(port, path, cookie, "Upgrade").encode())
        await reader.readuntil(b"\r\n\r\n")
        for opcode, payload, is_last in parts:
            writer.write(part(opcode, payload, is_last=is_last))
        async with asyncio.timeout(10):
            if is_answered:
                assert b'"ok"' in await reader.readuntil(b'"ok"')
            else:
                with contextlib.suppress(ConnectionError):
                    assert b'"ok"' not in await reader.read()
        writer.close()


@in_a_loop
async def test_a_tab_that_reads_nothing_is_hung_up_on_and_nobody_waits_for_it(
    tmp_path: Path, relay: RelayProcess
) -> None:
    ask = b'{"do": "begin", "id": 1}'
    frame = b"\x81" + bytes([0x80 | len(ask)]) + bytes(4) + ask
    async with two_friends(tmp_path, relay) as (alice, maryam), page_of(alice) as server:
        port, path, cookie = await entered(server)
        deaf = socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(deaf, ("127.0.0.1", port))
        await loop.sock_sendall(deaf, upgrade(port, path, cookie, "Upgrade").encode())

        async def ask_on() -> None:
            while True:
                await loop.sock_sendall(deaf, frame * 100)

        async with asyncio.timeout(60):
            with pytest.raises(ConnectionError):
                await ask_on()
        deaf.close()
        maryam.contact("alice").send("one")
        async with asyncio.timeout(30):
            while not alice.chat("مریم").count():
                await alice.changed()


KEPT = """async () => [
  localStorage.length,
  sessionStorage.length,
  (await indexedDB.databases()).length,
  (await caches.keys()).length,
  document.cookie,
]"""
"""Everything that a browser keeps of the page, as far as scripts see."""


@pytest.mark.parametrize("language", ["en", "fa"])
@in_a_loop
async def test_two_people_talk_when_one_of_them_uses_the_page(
    tmp_path: Path, relay: RelayProcess, language: str
) -> None:
    async with shown_to(tmp_path, relay, language) as (alice, maryam, server, context):
        tab, console = await opened(context, server)
        assert await tab.get_attribute("html", "dir") == {"en": "ltr", "fa": "rtl"}[language]
        await tab.locator("chat-list a").click()
        maryam.contact("alice").send("سلام")
        await tab.get_by_role("log").get_by_text("سلام").wait_for()
        await tab.fill("textarea", "hello")
        await tab.keyboard.press("Enter")
        await tab.locator("article.own", has_text="hello").wait_for()
        async with asyncio.timeout(30):
            while "hello" not in [one.text for one in maryam.chat("alice").messages()]:
                await maryam.changed()
        maryam.contact("alice").send(HOSTILE)
        await tab.get_by_role("log").get_by_text("<img").wait_for()
        assert await tab.locator("chat-history img, chat-history script").count() == 0
        await tab.fill("textarea", "not yet")
        async with asyncio.timeout(30):
            while alice.chat("مریم").summary().draft != "not yet":
                await alice.changed()
        await tab.reload()
        await tab.locator("chat-list a", has_text="not yet").click()
        assert await tab.input_value("textarea") == "not yet"
        assert (await Axe().run(tab)).violations_count == 0
        assert await tab.evaluate(KEPT) == [0, 0, 0, 0, ""]
        assert console == []


@in_a_loop
async def test_up_prints_one_link_and_does_the_work_of_other_commands(
    tmp_path: Path, relay: RelayProcess
) -> None:
    profile, passphrase = tmp_path / "alice", "of a person who does not exist"
    client = await Client.create(
        profile, Unlock(passphrase=passphrase), name="alice", relay=str(relay.address)
    )
    await client.close()
    read, write = os.pipe()
    os.write(write, passphrase.encode())
    os.close(write)
    words = [sys.executable, "-m", "amanat", "--profile", str(profile), "--json"]
    up = await asyncio.create_subprocess_exec(
        *(*words, "--passphrase-fd", str(read), "up", "--no-open"),
        stdout=asyncio.subprocess.PIPE,
        pass_fds=[read],
    )
    os.close(read)
    assert up.stdout is not None
    async with asyncio.timeout(60):
        link = json.loads(await up.stdout.readline())["page"]
    port, token = int(link.split(":")[2].split("/")[0]), link.partition("?")[2]
    request = f"GET /?{token} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"
    assert (await ask_raw(port, request)).startswith(b"HTTP/1.1 200")
    assert (await ask_raw(port, request)).startswith(b"HTTP/1.1 403")
    status = await asyncio.create_subprocess_exec(*words, "status", stdout=asyncio.subprocess.PIPE)
    said, _ = await status.communicate()
    assert json.loads(said)["name"] == "alice"
    up.terminate()
    assert await up.wait() == 0
    assert not (profile / "open.html").exists()
