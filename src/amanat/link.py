"""A live connection to a relay: one WebSocket, many requests in flight.

The shell around protocol/wire.py, for whoever asks a relay: a client, or a hop. It keeps nothing
that has to survive: when a link ends, every request in flight fails with RelayUnreachable and its
owner asks again over the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar

import picows
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from amanat.errors import (
    BY_CODE,
    AmanatError,
    DropMoved,
    NotPublic,
    PeerError,
    RelayKeyChanged,
    RelayUnreachable,
    TrustError,
    Unavailable,
    UnexpectedReply,
    UnsupportedVersion,
)
from amanat.protocol import wire
from amanat.protocol.descriptor import open_descriptor
from amanat.protocol.places import Place, is_public

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from amanat.protocol.descriptor import Descriptor, RelayAddress

CONNECT_TIMEOUT_S = 10.0
"""Longest a connection may take to be ready, in seconds."""
REPLY_TIMEOUT_S = 30.0
"""Longest an answer may take beyond the wait that was asked for, in seconds."""
MAX_IPS = 4
"""Most IP addresses of a place that are tried: each has its share of the time."""
PING_S = 30.0
"""Idle seconds after which the relay is asked whether it is still there."""
BACKLOG = 8
"""Replies of one Follow that may wait to be processed; beyond, the socket is not read."""
AT_ONCE = 64
"""Requests that whoever asks should have under way at once: pipelined, well below a relay's
limits."""
RETRY_S = (0.2, 30.0)
"""First and longest pause between two attempts to reach a relay, in seconds."""

# A write to a connection that has just ended is no news: its requests fail and are asked again.
logging.getLogger("aiofastnet").setLevel(logging.ERROR)

R = TypeVar(
    "R",
    wire.Described,
    wire.Created,
    wire.Appended,
    wire.Cells,
    wire.Answer,
    wire.Consulted,
    wire.Moving,
)


class Link(picows.WSListener):
    """An open connection. Make one with `connect`."""

    at_once = AT_ONCE
    place: Place
    """Where the relay was found."""
    strangers: tuple[Place, ...] = ()
    """Where another key answered when it was looked for."""

    def __init__(self) -> None:
        self._transport: picows.WSTransport | None = None
        self._next = 1
        self._waiting: dict[int, asyncio.Future[wire.Reply]] = {}
        self._following: dict[int, asyncio.Queue[wire.Reply | None]] = {}
        self.is_open = False
        self.sent_bytes = 0
        self.received_bytes = 0

    # picows calls these

    def on_ws_connected(self, transport: picows.WSTransport) -> None:  # noqa: D102
        self._transport = transport
        self.is_open = True

    def on_ws_frame(  # noqa: D102
        self, transport: picows.WSTransport, frame: picows.WSFrame
    ) -> None:
        if frame.msg_type == picows.WSMsgType.CLOSE:
            transport.disconnect()
            return
        if frame.msg_type != picows.WSMsgType.BINARY or not frame.fin:
            return
        self.received_bytes += frame.payload_size
        try:
            reply = wire.decode_reply(frame.get_payload_as_bytes())
        except PeerError:
            transport.disconnect(graceful=False)  # a relay that talks nonsense is not talked to
            return
        queue = self._following.get(reply.id)
        if queue is not None:
            queue.put_nowait(reply)
            if queue.qsize() >= BACKLOG:
                transport.underlying_transport.pause_reading()
            return
        future = self._waiting.pop(reply.id, None)
        if future is not None and not future.done():
            future.set_result(reply)

    def pause_writing(self) -> None:
        """What waits for the line is bounded by what its owner asks at once."""

    def resume_writing(self) -> None:
        """As `pause_writing`."""

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:  # noqa: ARG002, D102
        self.is_open = False
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(RelayUnreachable("the connection ended"))
        self._waiting.clear()
        for queue in self._following.values():
            queue.put_nowait(None)

    # Its owner calls these

    async def request(self, request: wire.Request, answer: type[R]) -> R:
        """The relay's answer, of the kind it must have. Raises the error the relay names,
        UnexpectedReply or RelayUnreachable."""
        return expect(await self.ask(request), answer)

    async def describe(self, relay: bytes) -> Descriptor:
        """What the relay with this key says of itself. Raises as `request`, or BrokenDescriptor."""
        described = await self.request(wire.Describe(0, b""), wire.Described)
        return open_descriptor(described.descriptor, relay)

    async def catch_up(self, read: wire.Read) -> wire.Cells:
        """The cells that came meanwhile. Raises as `request`."""
        return await self.request(read, wire.Cells)

    async def ask(self, request: wire.Request) -> wire.Reply:
        """The relay's answer. Raises the error the relay names, or RelayUnreachable."""
        future: asyncio.Future[wire.Reply] = asyncio.get_running_loop().create_future()
        number = self._number()
        self._waiting[number] = future
        wait = request.wait if isinstance(request, wire.Read) else 0
        if isinstance(request, wire.Forward | wire.Sealed | wire.Cover):
            wait = wire.MAX_WAIT_S  # what is in it may be a Read
        try:
            self._send(request, number)
            async with asyncio.timeout(REPLY_TIMEOUT_S + wait):
                reply = await future
        except TimeoutError:
            self.close()
            raise RelayUnreachable("no answer") from None
        finally:
            self._waiting.pop(number, None)
        return unless_failed(reply)

    async def follow(
        self, drop_id: bytes, read_token: bytes, after: int
    ) -> AsyncGenerator[wire.Cells, None]:
        """The cells of a drop as they come. Ends with the error the relay names, or
        RelayUnreachable."""
        number = self._number()
        queue: asyncio.Queue[wire.Reply | None] = asyncio.Queue()
        self._following[number] = queue
        try:
            self._send(wire.Follow(0, drop_id, read_token, after), number)
            while (reply := await queue.get()) is not None:
                if queue.qsize() < BACKLOG:
                    self._resume()
                yield expect(unless_failed(reply), wire.Cells)
            raise RelayUnreachable("the connection ended")
        finally:
            del self._following[number]
            self._resume()
            with contextlib.suppress(RelayUnreachable):
                self._send(wire.Unfollow(0), number)

    def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.disconnect()

    async def closed(self) -> None:
        """End the connection, and wait until it has ended."""
        self.close()
        if self._transport is not None:
            await self._transport.wait_disconnected()

    def _resume(self) -> None:
        if self.is_open and self._transport is not None:
            self._transport.underlying_transport.resume_reading()

    def _number(self) -> int:
        self._next = self._next % (2**32 - 1) + 1
        return self._next

    def _send(self, request: wire.Request, number: int) -> None:
        if not self.is_open or self._transport is None:
            raise RelayUnreachable("the connection ended")
        frame = wire.encode(wire.with_id(request, number))
        self.sent_bytes += len(frame)
        self._transport.send(picows.WSMsgType.BINARY, frame)


def anywhere(place: Place) -> bool:  # noqa: ARG001  # whatever it is
    """That a place may be of this machine or its network, too: whoever asks has named it."""
    return True


async def connect(address: RelayAddress, *, may_be_private: Callable[[Place], bool]) -> Link:
    """A link to a relay at the first of its places where it answers.

    `may_be_private` says of which places whoever asks has named them: any other must be of the
    public internet, for nobody tells us whom to call on in our own network.

    Raises RelayUnreachable; NotPublic, if nothing but that is in the way; UnsupportedVersion when
    the relay does not know our version's path; or RelayKeyChanged when another key answers at one
    of the places and the relay at none.
    """
    failures: list[AmanatError] = []
    strangers: list[Place] = []
    for place in address.places:
        try:
            ips = await resolve(place)
            if not may_be_private(place) and not all(map(is_public, ips)):
                raise NotPublic(place.name)
            link = await dial(address.key, place, ips)
        except RelayKeyChanged as error:
            strangers.append(place)
            failures.append(error)
        except (RelayUnreachable, UnsupportedVersion) as error:
            failures.append(error)
        else:
            link.place, link.strangers = place, tuple(strangers)
            return link
    if not failures:
        raise RelayUnreachable("nobody has said where it is")
    # What the caller should know of first; of the same kind the first.
    raise max(failures, key=lambda error: (isinstance(error, TrustError), _is_telling(error)))


def _is_telling(error: AmanatError) -> bool:
    """Whether waiting does not help."""
    return isinstance(error, NotPublic | UnsupportedVersion)


async def resolve(place: Place) -> list[str]:
    """The IP addresses of a place. Raises RelayUnreachable.

    They are asked for once, and dialled as they are answered: who answers for a name may say
    something else the next time.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            found = await loop.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, TimeoutError) as error:
        raise RelayUnreachable(f"{place.name}, {type(error).__name__}") from None
    ips = list(dict.fromkeys(str(one[4][0]) for one in found))[:MAX_IPS]
    if not ips:
        raise RelayUnreachable(place.name)
    return ips


async def dial(key: bytes, place: Place, ips: Sequence[str]) -> Link:
    """A link to whoever has a key at a place, which has these IP addresses. Raises as `connect`."""
    failure = RelayUnreachable(place.name)
    for ip in ips:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S / len(ips)):
                transport, link = await _open(place, ip)
        except picows.WSInvalidStatusError as error:
            if error.response is not None and error.response.status == HTTPStatus.NOT_FOUND:
                raise UnsupportedVersion(place.name) from None
            raise RelayUnreachable(f"{place.name}, busy") from None
        except (OSError, TimeoutError, picows.WSError) as error:
            failure = RelayUnreachable(f"{place.name}, {type(error).__name__}")
            continue
        if place.tls == "pinned":
            tls = transport.underlying_transport.get_extra_info("ssl_object")
            if _key_of(tls.getpeercert(binary_form=True)) != key:
                transport.disconnect(graceful=False)
                raise RelayKeyChanged(place.name)
        if isinstance(link, Link):
            return link
        failure = RelayUnreachable(f"{place.name}, hung up")
    raise failure from None


async def _open(place: Place, ip: str) -> tuple[picows.WSTransport, picows.WSListener]:
    scheme, host = "ws" if place.tls == "off" else "wss", f"[{ip}]" if ":" in ip else ip
    return await picows.ws_connect(
        Link,
        f"{scheme}://{host}:{place.port}{wire.PATH}",
        ssl_context=_tls(place),
        websocket_handshake_timeout=CONNECT_TIMEOUT_S,
        enable_auto_ping=True,
        auto_ping_idle_timeout=PING_S,
        auto_ping_reply_timeout=PING_S,
        max_frame_size=wire.MAX_REPLY_BYTES + 16,
        extra_headers={"Host": place.name},
        max_redirects=0,
        # The name is what a certificate is for; it is not asked for once more.
        server_hostname=None if place.tls == "off" else place.host,
    )


def _tls(place: Place) -> ssl.SSLContext | None:
    if place.tls == "off":
        return None
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if place.tls == "pinned":
        # The address carries the key itself, which says more than any authority's signature.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _key_of(certificate: bytes | None) -> bytes:
    """The Ed25519 key of a DER certificate; empty for any other."""
    try:
        key = x509.load_der_x509_certificate(certificate or b"").public_key()
    except ValueError:
        return b""
    return key.public_bytes_raw() if isinstance(key, Ed25519PublicKey) else b""


def unless_failed(reply: wire.Reply) -> wire.Reply:
    """The reply, raising the error it names if it is a refusal, or DropMoved."""
    if isinstance(reply, wire.Moved):
        raise DropMoved(order=reply.order)
    if not isinstance(reply, wire.Failed):
        return reply
    kind = BY_CODE.get(reply.code, UnexpectedReply)
    if not issubclass(kind, PeerError | Unavailable):
        kind = UnexpectedReply  # a relay has no say in what is for the person to fix
    raise kind(retry_after=reply.retry_after)


def expect(reply: wire.Reply, answer: type[R]) -> R:
    """The reply, if it is of the kind it must have. Raises UnexpectedReply."""
    if not isinstance(reply, answer):
        raise UnexpectedReply
    return reply
