"""The page's server: files by HTTP, and one WebSocket for each tab, on loopback.

`doors` decides which requests are let in, and `house` what they are answered. The server hangs up
on a tab that does not take its frames; the tab comes back and asks again for what it shows.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import html
import re
import socket
from http import HTTPStatus
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import picows

from amanat.errors import BadArgument, MalformedFrame, PortTaken
from amanat.page.bringing import MAX_BRINGING, Bringer
from amanat.page.doors import (
    DOCUMENT_HEADERS,
    HEADERS,
    Bringing,
    Doors,
    Entrance,
    File,
    Live,
    Media,
    Refused,
)
from amanat.page.peers import Text, is_of_this_user
from amanat.page.protocol import MAX_ASK_BYTES, decode_ask, number_of
from amanat.page.telling import refusal, told

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from importlib.resources.abc import Traversable

    from amanat.page.house import House
    from amanat.page.protocol import Ask

MAX_TABS = 8
"""Tabs at once: each holds a socket and what waits for it."""
MAX_ASKS = 64
"""Asks of a tab that may be under way at once."""
MAX_WAITING_BYTES = 1024 * 1024
"""Bytes that may wait for a tab that does not take them."""
HANDSHAKE_S = 5.0
"""Seconds in which a request must be whole."""
_PING, _PONG = picows.WSMsgType.PING, picows.WSMsgType.PONG
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
WEB = resources.files("amanat.page").joinpath("web")
"""The page's files."""
_LANGUAGE = re.compile(r"words-([a-z]{2,3})\.js")
"""The name of a file with the words of a language, by the language's code (ISO 639)."""
_NO_LANGUAGES = b'<meta name="languages" content="">'
_OUTSIDE = re.compile(r'^  outside:\s+"([^"\\]+)",$', re.MULTILINE)
"""In such a file, the sentence for a link that no longer leads in."""


class Server:
    """The page of one profile, while `serving` lasts."""

    def __init__(self, house: House, doors: Doors, web: Traversable) -> None:
        self._house = house
        self._doors = doors
        self._tabs: set[_Tab] = set()
        self._bringers: set[Bringer] = set()
        self._files = _files(web)
        self._outside = _outside(self._files)

    def link(self) -> str:
        """A link for the person's browser, which works once and soon."""
        return self._doors.link(now=asyncio.get_running_loop().time())

    def tell(self, frames: list[bytes]) -> None:
        """Tell every tab."""
        for tab in tuple(self._tabs):
            for frame in frames:
                tab.tell(frame)

    def close(self) -> None:
        """Tell every tab that it is over."""
        self.tell([told("over")])
        self.hang_up()
        for one in tuple(self._bringers):
            one.hang_up()

    def hang_up(self) -> None:
        """Let every tab come back and ask for everything again."""
        for tab in tuple(self._tabs):
            tab.hang_up()

    # What a request is answered

    def accept(
        self, request: picows.WSUpgradeRequest
    ) -> picows.WSListener | picows.WSUpgradeResponseWithListener | None:
        """Answer a request: a file, or a tab's socket."""
        headers = request.headers
        if "upgrade" in (word.strip().lower() for word in headers.get("Connection", "").split(",")):
            # Firefox says "keep-alive, Upgrade", of which picows makes nothing.
            headers["Connection"] = "upgrade"
        method = (request.method or b"GET").decode("latin-1")
        target = request.path.decode("latin-1")
        match self._doors.knock(method, target, headers, now=asyncio.get_running_loop().time()):
            case Entrance(given, body):
                return _answer(200, body, given)
            case File(name):
                if name not in self._files:
                    return _answer(404, b"", HEADERS)
                kind, plain, packed = self._files[name]
                is_document = name.endswith(".html")
                given = DOCUMENT_HEADERS if is_document else HEADERS | {"Content-Type": kind}
                if "gzip" in headers.get("Accept-Encoding", ""):
                    return _answer(200, packed, given | {"Content-Encoding": "gzip"})
                return _answer(200, plain, given)
            case Live():
                if len(self._tabs) >= MAX_TABS:
                    return _answer(503, b"", HEADERS)
                return _Tab(self._house, self._tabs)
            case Bringing():
                if len(self._bringers) >= MAX_BRINGING:
                    return _answer(503, b"", HEADERS)
                return Bringer(self._house, self._bringers)
            case Media(ticket):
                part = self._house.media(ticket, headers.get("Range", ""))
                return (
                    _answer(part.status, part.body, part.headers)
                    if part
                    else _answer(404, b"", HEADERS)
                )
            case Refused(status):
                return _answer(status, self._outside, DOCUMENT_HEADERS)


class _Tab(picows.WSListener):
    """The socket of one tab."""

    def __init__(self, house: House, tabs: set[_Tab]) -> None:
        self._house = house
        self._tabs = tabs
        self._asks: set[asyncio.Task[None]] = set()
        self._text = Text(MAX_ASK_BYTES)
        self._transport: picows.WSTransport | None = None

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        if not is_of_this_user(transport):
            transport.disconnect()
            return
        self._transport = transport
        self._tabs.add(self)
        self._house.tabs(len(self._tabs))

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:  # noqa: ARG002
        self._transport = None
        self._leave()

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if self._transport is None or frame.msg_type in (_PING, _PONG):
            return
        try:
            data = self._text.take(frame)
        except MalformedFrame:
            transport.disconnect()
            return
        if data is None:
            return
        try:
            ask = decode_ask(data)
        except MalformedFrame:
            number = number_of(data)
            if number is None:
                transport.disconnect()
            else:
                self.tell(refusal(number, BadArgument.code))
            return
        if len(self._asks) >= MAX_ASKS:
            self.hang_up()
            return
        attending = asyncio.get_running_loop().create_task(self._attend(ask))  # in their order
        self._asks.add(attending)
        attending.add_done_callback(self._asks.discard)

    async def _attend(self, ask: Ask) -> None:
        self.tell(await self._house.attend(ask))

    def tell(self, frame: bytes) -> None:
        """Say something, unless too much waits already."""
        transport = self._transport
        if transport is None:
            return
        transport.send(picows.WSMsgType.TEXT, frame)
        if transport.underlying_transport.get_write_buffer_size() > MAX_WAITING_BYTES:
            self.hang_up(is_deaf=True)

    def hang_up(self, *, is_deaf: bool = False) -> None:
        """End it; if the tab is deaf, without what still waits for it."""
        transport, self._transport = self._transport, None
        self._leave()
        if transport is not None:
            transport.disconnect(graceful=not is_deaf)

    def _leave(self) -> None:
        self._tabs.discard(self)
        self._house.tabs(len(self._tabs))


def _answer(
    status: int, body: bytes, headers: dict[str, str]
) -> picows.WSUpgradeResponseWithListener:
    if status < 300:  # noqa: PLR2004  # OK, or a part of it
        response = picows.WSUpgradeResponse.create_ok_response(body, headers)
        response.status = HTTPStatus(status)
    else:
        response = picows.WSUpgradeResponse.create_error_response(status, body, headers)
    return picows.WSUpgradeResponseWithListener(response, None)


def _files(web: Traversable) -> dict[str, tuple[str, bytes, bytes]]:
    """The page's files by name: their kind, their bytes, and these compressed. The first of them
    names the languages: the page offers those that have a file."""
    files = {one.name: one for one in web.iterdir() if Path(one.name).suffix in _KINDS}
    spoken = " ".join(sorted(code[1] for name in files if (code := _LANGUAGE.fullmatch(name))))
    found = {}
    for name, one in files.items():
        data = one.read_bytes()
        if name == "index.html":
            data = data.replace(_NO_LANGUAGES, _NO_LANGUAGES.replace(b'""', f'"{spoken}"'.encode()))
        found[name] = _KINDS[Path(name).suffix], data, gzip.compress(data)
    return found


def _outside(files: dict[str, tuple[str, bytes, bytes]]) -> bytes:
    """The answer to everybody who is not let in. One of them may be the person, with a link from
    before: it says so in every language, because nobody has told us theirs."""
    said = [
        f'<p lang="{code[1]}" dir="auto">{html.escape(found[1])}</p>'
        for name, (_, data, _) in sorted(files.items())
        if (code := _LANGUAGE.fullmatch(name)) and (found := _OUTSIDE.search(data.decode()))
    ]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Amanat</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><main><h1>Amanat</h1>'
        f"{''.join(said)}</main>"
    ).encode()


@contextlib.asynccontextmanager
async def serving(house: House, *, port: int, web: Traversable = WEB) -> AsyncIterator[Server]:
    """Serve the page of a profile on loopback, from the files in `web`; `port` 0 takes any. Raises
    PortTaken."""
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(("127.0.0.1", port))
    except OSError as error:
        bound.close()
        raise PortTaken(f"127.0.0.1:{port}: {error.strerror}") from None
    server = Server(house, Doors(bound.getsockname()[1]), web)
    house.tell, house.resync = server.tell, server.hang_up
    listening = await picows.ws_create_server(
        server.accept,
        sock=bound,
        max_frame_size=MAX_ASK_BYTES,
        websocket_handshake_timeout=HANDSHAKE_S,
    )
    try:
        yield server
    finally:
        server.close()
        listening.close()
