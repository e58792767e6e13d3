"""The page's server: files by HTTP, and one WebSocket for each tab, on loopback.

`doors` decides which requests are let in, and `house` what they are answered. The server hangs up
on a tab that does not take its frames; the tab comes back and asks again for what it shows.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import re
import socket
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import picows

from amanat.errors import BadArgument, MalformedFrame, PortTaken
from amanat.page.doors import HEADERS, OUTSIDE, Doors, Entrance, File, Live, Refused
from amanat.page.protocol import MAX_ASK_BYTES, decode_ask, number_of, refusal, told

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


class Server:
    """The page of one profile, while `serving` lasts."""

    def __init__(self, house: House, doors: Doors, web: Traversable) -> None:
        self._house = house
        self._doors = doors
        self._tabs: set[_Tab] = set()
        self._files = _files(web)

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
                given = HEADERS | {"Content-Type": kind}
                if "gzip" in headers.get("Accept-Encoding", ""):
                    return _answer(200, packed, given | {"Content-Encoding": "gzip"})
                return _answer(200, plain, given)
            case Live():
                if len(self._tabs) >= MAX_TABS:
                    return _answer(503, b"", HEADERS)
                return _Tab(self._house, self._tabs)
            case Refused(status):
                return _answer(status, OUTSIDE, HEADERS | {"Content-Type": _KINDS[".html"]})


class _Tab(picows.WSListener):
    """The socket of one tab."""

    def __init__(self, house: House, tabs: set[_Tab]) -> None:
        self._house = house
        self._tabs = tabs
        self._asks: set[asyncio.Task[None]] = set()
        self._begun: bytes | None = None
        """The frames so far of an ask that comes in several."""
        self._transport: picows.WSTransport | None = None

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        line = transport.underlying_transport
        if not _is_of_this_user(line.get_extra_info("peername"), line.get_extra_info("sockname")):
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
        # Browsers send a long ask in several frames (RFC 6455, section 5.4).
        begun, self._begun = self._begun, None
        data = (begun or b"") + frame.get_payload_as_bytes()
        expected = picows.WSMsgType.TEXT if begun is None else picows.WSMsgType.CONTINUATION
        if frame.msg_type != expected or len(data) > MAX_ASK_BYTES:
            transport.disconnect()
            return
        if not frame.fin:
            self._begun = data
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
    if status == 200:  # noqa: PLR2004  # OK
        response = picows.WSUpgradeResponse.create_ok_response(body, headers)
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


def _is_of_this_user(peer: tuple[str, int], own: tuple[str, int]) -> bool:
    """Whether the process at the other end of a loopback connection is this user's, by the
    kernel's tables. A program may reach 127.0.0.1 through an IPv6 socket, which is in the second
    of them. True where there are no such tables (no Linux): the other doors hold."""
    is_asked = False
    for table, prefix in (("tcp", ""), ("tcp6", "0000000000000000FFFF0000")):
        wanted = [f"{prefix}0100007F:{port:04X}" for port in (peer[1], own[1])]
        with contextlib.suppress(FileNotFoundError), Path("/proc/net", table).open() as rows:
            is_asked = True
            for row in map(str.split, rows):
                if row[1:3] == wanted:
                    return int(row[7]) == os.getuid()
    return not is_asked


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
