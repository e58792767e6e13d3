"""The sockets over which the page brings files: first an offer, then the bytes in pieces.

The page may be a window ahead of what the client has taken, so a file of any length needs no more
memory than that, and rests nowhere but in its blob. The client says how many bytes it has taken,
and at last what came of it. A page that hangs up gives the file up.
"""

from __future__ import annotations

import asyncio
import collections
from typing import TYPE_CHECKING

import msgspec
import picows

from amanat.errors import FileOverLimit, MalformedFrame
from amanat.page.peers import Text, is_of_this_user
from amanat.page.protocol import MAX_OFFER_BYTES, decode_offer
from amanat.page.telling import refusal
from amanat.protocol.messages import MAX_FILE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from amanat.page.house import House
    from amanat.page.protocol import Offer

MAX_BRINGING = 4
"""Files that pages may bring at once: each may fill its window."""
WINDOW_BYTES = 1024 * 1024
"""Bytes that may come before the client has taken those before them. The page knows it too."""
STEP_BYTES = 256 * 1024
"""How often the page is told how far the client has got, in bytes."""
_CONTROL = (picows.WSMsgType.PING, picows.WSMsgType.PONG)
_BYTES = (picows.WSMsgType.BINARY, picows.WSMsgType.CONTINUATION)


class Incoming:
    """The bytes of one file, in the order in which they come."""

    def __init__(self, size: int, taken: Callable[[int], None]) -> None:
        """`taken` is told how many of the `size` bytes were read."""
        self._to_come, self._size = size, size
        self._parts = collections.deque[bytes]()
        self._held = 0
        self._told = 0
        self._taken = taken
        self._more = asyncio.Event()

    def feed(self, data: bytes) -> bool:
        """Take the next bytes; whether they may come now."""
        if len(data) > self._to_come or self._held + len(data) > WINDOW_BYTES:
            return False
        if data:
            self._to_come -= len(data)
            self._held += len(data)
            self._parts.append(data)
            self._more.set()
        return True

    async def read(self, size: int, /) -> bytes:
        """Up to `size` bytes, once there are any; none at the end."""
        while not self._parts:
            if not self._to_come:
                return b""
            self._more.clear()
            await self._more.wait()
        part = self._parts.popleft()
        if len(part) > size:
            self._parts.appendleft(part[size:])
            part = part[:size]
        self._held -= len(part)
        done = self._size - self._to_come - self._held
        if done - self._told >= STEP_BYTES or done == self._size:
            self._told = done
            self._taken(done)
        return part


class Bringer(picows.WSListener):
    """The socket of one file."""

    def __init__(self, house: House, others: set[Bringer]) -> None:
        self._house = house
        self._others = others
        self._text = Text(MAX_OFFER_BYTES)
        self._incoming: Incoming | None = None
        self._sending: asyncio.Task[None] | None = None
        self._transport: picows.WSTransport | None = None

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        """The socket is open."""
        if not is_of_this_user(transport):
            transport.disconnect()
            return
        self._transport = transport
        self._others.add(self)

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:  # noqa: ARG002
        """The socket is closed."""
        self.hang_up()

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """A frame has come: a part of the offer, or of the file."""
        if self._transport is None or frame.msg_type in _CONTROL:
            return
        if self._incoming is not None:
            is_bytes = frame.msg_type in _BYTES
            if not is_bytes or not self._incoming.feed(frame.get_payload_as_bytes()):
                self.hang_up()
            return
        try:
            data = self._text.take(frame)
            if data is None:
                return
            offer = decode_offer(data)
        except MalformedFrame:
            transport.disconnect()
            return
        if offer.size > MAX_FILE_BYTES:
            self._end(refusal(0, FileOverLimit.code))
            return
        self._incoming = Incoming(offer.size, self._tell_taken)
        self._sending = asyncio.get_running_loop().create_task(self._send(offer, self._incoming))

    async def _send(self, offer: Offer, incoming: Incoming) -> None:
        try:
            self._end(await self._house.send_file(offer, incoming))
        finally:
            self.hang_up()  # also if the profile is closed meanwhile

    def _tell_taken(self, done: int) -> None:
        if self._transport is not None:
            self._transport.send(picows.WSMsgType.TEXT, msgspec.json.encode({"taken": done}))

    def _end(self, said: bytes) -> None:
        """Say what came of it, and hang up."""
        if self._transport is not None:
            self._transport.send(picows.WSMsgType.TEXT, said)
        self._sending = None
        self.hang_up()

    def hang_up(self) -> None:
        """End it; a file that is not whole is given up."""
        transport, self._transport = self._transport, None
        sending, self._sending = self._sending, None
        self._others.discard(self)
        if sending is not None:
            sending.cancel()
        if transport is not None:
            transport.disconnect()
