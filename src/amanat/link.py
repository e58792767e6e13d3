"""A live connection to a relay: one WebSocket, many requests in flight.

The shell around protocol/wire.py, for a client or a hop that asks a relay. It keeps nothing that
has to survive: when a link ends, every request in flight fails with RelayUnreachable and its owner
asks again over the next one.

A link always reads everything that comes, so no request waits for the owner of another. The replies
that wait for a busy owner are bounded by its own requests: one answer for each, and the credit of
each Follow. The link disconnects from a relay that sends more. A request without an answer in time
fails alone. Pings notice that a relay is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol, TypeVar

import picows
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from amanat.errors import (
    BY_CODE,
    AmanatError,
    DropMoved,
    NotPublic,
    PeerError,
    ProxyAway,
    RelayKeyChanged,
    RelayUnreachable,
    Unavailable,
    UnexpectedReply,
    UnsupportedVersion,
)
from amanat.protocol import wire
from amanat.protocol.descriptor import open_descriptor
from amanat.protocol.places import Place, is_public

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Sequence

    from amanat.protocol.descriptor import Descriptor, NamedAddress

CONNECT_TIMEOUT_S = 10.0
"""Longest a connection may take to be ready, in seconds."""
REPLY_TIMEOUT_S = 30.0
"""Longest an answer may take, in seconds, beyond the wait in the request and the time for the bytes
ahead of it."""
SLOWEST_BYTES_S = 8 * 1024
"""Bytes a second of the slowest line that we allow for. It gives the time for the bytes ahead of an
answer: the requests that went out before it and the other answers that come meanwhile."""
AHEAD_BYTES = 2 * 1024 * 1024
"""Most bytes of other answers that may come ahead of one: a relay that is for ever busy with other
answers has not answered."""
MAX_IPS = 4
"""Most IP addresses of a place that we try: each has its share of the time."""
PING_S = 30.0
"""Idle seconds after which a ping asks whether the relay is still there."""
PONG_S = 15.0
"""Seconds the relay has to say anything: the ping waits behind what the owner sends at once."""
FOLLOW_BYTES = 512 * 1024
"""Credit of a Follow, in bytes of frames: two answers of the longest kind, so that one is on its
way while the owner takes the other."""
AT_ONCE = 64
"""Requests that an owner should have under way at once: pipelined, well below a relay's limits."""
GOODBYE_S = 1.0
"""How long we wait for a relay to take the end of a connection, in seconds. Every answer that we
wanted has come by then."""
RETRY_S = (0.2, 30.0)
"""First and longest pause between two attempts to reach a relay, in seconds."""

# A write to a connection that has just ended is no news: its requests fail, and their owners ask
# again.
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
    wire.Located,
)


class _Asked:
    """A request under way."""

    def __init__(self, latest: float, received: int) -> None:
        """`latest` is when an answer is overdue, by the loop's clock; `received` counts the bytes
        that had come when the request went out."""
        self.answer: asyncio.Future[wire.Reply] = asyncio.get_running_loop().create_future()
        self.latest, self.received = latest, received
        self.timer: asyncio.TimerHandle | None = None


class _Followed:
    """A Follow, and its replies that the owner has not taken yet."""

    def __init__(self) -> None:
        self.came: asyncio.Queue[tuple[wire.Reply, int] | None] = asyncio.Queue()
        """Replies and their bytes; None when the connection has ended."""
        self.credit = FOLLOW_BYTES
        self._is_over = False

    def take(self, reply: wire.Reply, size: int) -> bool:
        """Keep a reply; False if the relay had no right to send it."""
        is_last = not isinstance(reply, wire.Cells)
        if self._is_over or (self.credit <= 0 and not is_last):
            return False
        self._is_over = is_last
        self.credit -= size
        self.came.put_nowait((reply, size))
        return True


class Link(picows.WSListener):
    """An open connection. Make one with `connect`."""

    at_once = AT_ONCE
    place: Place
    """The place where `find` found the relay."""
    strangers: tuple[Place, ...] = ()
    """The places where another key answered during the search."""
    missed: tuple[Place, ...] = ()
    """The places where `find` looked before and the relay was not, including the strangers'."""
    is_around = False
    """Whether it goes around the proxy that is set, because the relay is on this machine."""

    def __init__(self) -> None:
        self._transport: picows.WSTransport | None = None
        self._next = 1
        self._asked: dict[int, _Asked] = {}
        self._unanswered_bytes = 0
        self._followed: dict[int, _Followed] = {}
        self._ended = asyncio.Event()
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
        transport.notify_user_specific_pong_received()  # a relay that says anything is there
        try:
            reply = wire.decode_reply(frame.get_payload_as_bytes())
        except PeerError:
            transport.disconnect(graceful=False)  # a relay that talks nonsense is not talked to
            return
        followed = self._followed.get(reply.id)
        if followed is not None:
            if not followed.take(reply, frame.payload_size):
                transport.disconnect(graceful=False)  # nor is one that sends more than it may
            return
        asked = self._asked.get(reply.id)
        if asked is not None and not asked.answer.done():
            asked.answer.set_result(reply)

    def pause_writing(self) -> None:
        """Do nothing: the number of requests that the owner has under way bounds the buffer."""

    def resume_writing(self) -> None:
        """Do nothing, as `pause_writing`."""

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:  # noqa: ARG002, D102
        self.is_open = False
        for asked in self._asked.values():
            if not asked.answer.done():
                asked.answer.set_exception(RelayUnreachable("the connection ended"))
        for followed in self._followed.values():
            followed.came.put_nowait(None)
        self._ended.set()

    # Its owner calls these

    @property
    def line(self) -> Link:
        """The connection that carries the requests: itself."""
        return self

    async def request(self, request: wire.Request, answer: type[R]) -> R:
        """The relay's answer, of the kind it must have. Raises the error that the relay names,
        UnexpectedReply or RelayUnreachable."""
        return expect(await self.ask(request), answer)

    async def describe(self, relay: bytes) -> Descriptor:
        """The descriptor of the relay with this key. Raises as `request`, or BrokenDescriptor."""
        described = await self.request(wire.Describe(0, b""), wire.Described)
        return open_descriptor(described.descriptor, relay)

    async def catch_up(self, read: wire.Read) -> wire.Cells:
        """The cells that came meanwhile. Raises as `request`."""
        return await self.request(read, wire.Cells)

    async def ask(self, request: wire.Request) -> wire.Reply:
        """The relay's answer. Raises the error that the relay names, or RelayUnreachable, even if
        only this answer did not come in time: then the other requests go on."""
        number, loop = self._number(), asyncio.get_running_loop()
        size = self._send(request, number)
        self._unanswered_bytes += size
        wait = request.wait if isinstance(request, wire.Read) else 0
        if isinstance(request, wire.Forward | wire.Sealed | wire.Cover):
            wait = wire.MAX_WAIT_S  # it may contain a Read
        patience = REPLY_TIMEOUT_S + wait + self._unanswered_bytes / SLOWEST_BYTES_S
        asked = _Asked(loop.time() + patience, self.received_bytes)
        asked.timer = loop.call_at(asked.latest, self._look_after, asked)
        self._asked[number] = asked
        reply = None
        try:
            reply = await asked.answer
        finally:
            asked.timer.cancel()
            del self._asked[number]
            self._unanswered_bytes -= size
            if reply is None and isinstance(request, wire.Read | wire.Forward | wire.Sealed):
                with contextlib.suppress(RelayUnreachable):
                    self._send(wire.Unfollow(0), number)  # nobody waits for it any longer
        return unless_failed(reply)

    def _look_after(self, asked: _Asked) -> None:
        """Fail a request whose answer is overdue, after allowing time for the bytes ahead of it."""
        if asked.answer.done():
            return
        loop = asyncio.get_running_loop()
        ahead = min(self.received_bytes - asked.received, AHEAD_BYTES)
        latest = asked.latest + ahead / SLOWEST_BYTES_S
        if loop.time() < latest:
            asked.timer = loop.call_at(latest, self._look_after, asked)
        else:
            asked.answer.set_exception(RelayUnreachable("no answer"))

    async def follow(
        self, drop_id: bytes, read_token: bytes, after: int
    ) -> AsyncGenerator[wire.Cells, None]:
        """The cells of a drop as they come. Ends with the error that the relay names, or
        RelayUnreachable."""
        number = self._number()
        followed = self._followed[number] = _Followed()
        taken = 0
        try:
            self._send(wire.Follow(0, drop_id, read_token, after, FOLLOW_BYTES), number)
            while (came := await followed.came.get()) is not None:
                reply, size = came
                yield expect(unless_failed(reply), wire.Cells)
                taken += size
                # Once we have taken everything, the relay has more than half of its credit left,
                # so the two sides never wait for each other.
                if taken >= FOLLOW_BYTES // 2:
                    followed.credit += taken
                    self._send(wire.Grant(0, taken), number)
                    taken = 0
            raise RelayUnreachable("the connection ended")
        finally:
            del self._followed[number]
            with contextlib.suppress(RelayUnreachable):
                self._send(wire.Unfollow(0), number)

    def introduce(self, word: wire.Introduce) -> None:
        """Say which relay asks. Raises RelayUnreachable."""
        self._send(word, 0)

    def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.disconnect()

    async def closed(self) -> None:
        """End the connection, and wait until it has ended."""
        self.close()
        if self._transport is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GOODBYE_S):
                    await self._ended.wait()
        await self.dropped()

    async def dropped(self) -> None:
        """End the connection without another word to the relay, and wait until it has ended."""
        if self._transport is not None:
            self._transport.disconnect(graceful=False)
            await self._ended.wait()

    def _number(self) -> int:
        """An id that no request under way has: a Follow may outlast all the others."""
        while True:
            self._next = self._next % (2**32 - 1) + 1
            if self._next not in self._asked and self._next not in self._followed:
                return self._next

    def _send(self, request: wire.Request, number: int) -> int:
        if not self.is_open or self._transport is None:
            raise RelayUnreachable("the connection ended")
        frame = wire.encode(wire.with_id(request, number))
        self.sent_bytes += len(frame)
        self._transport.send(picows.WSMsgType.BINARY, frame)
        return len(frame)


class Network(Protocol):
    """The network over which we reach relays."""

    async def resolve(self, place: Place) -> list[str]:
        """The IP addresses of a place. Raises RelayUnreachable."""

    async def dial(self, key: bytes, place: Place, ips: Sequence[str]) -> Link:
        """A link to the relay with a key at a place, which has these addresses. Raises as
        `find`."""


class Internet:
    """The network that this machine is in."""

    def __init__(self, source: str = "") -> None:
        """`source` is our own address to connect from; if it is empty, the system chooses one."""
        self._source = source

    async def resolve(self, place: Place) -> list[str]:
        """The IP addresses of a place. Raises RelayUnreachable."""
        return await resolve(place)

    async def dial(self, key: bytes, place: Place, ips: Sequence[str]) -> Link:
        """A link to the relay with a key at a place, which has these addresses. Raises as
        `find`."""
        return await dial(key, place, ips, self._source)


INTERNET = Internet()


async def connect(address: NamedAddress, network: Network = INTERNET) -> Link:
    """A link to a relay that the caller has named, wherever it is. Raises as `find`."""
    return await find(
        address.key, address.places, may_be_private=lambda _place: True, network=network
    )


async def find(
    relay: bytes,
    places: Iterable[Place],
    *,
    may_be_private: Callable[[Place], bool],
    network: Network = INTERNET,
) -> Link:
    """A link to the relay with a key at the first of these places where it answers.

    `may_be_private` says whether the caller itself has named a place. Any other place must be on
    the public internet, because nobody else may direct us to a host in our own network.

    Raises RelayUnreachable; ProxyAway, if the person's proxy connects us to none of them;
    NotPublic, if only that prevents it; UnsupportedVersion if the relay does not know our version's
    path; or RelayKeyChanged if another key answers at one of the places and the relay at none.
    """
    failures: list[AmanatError] = []
    strangers: list[Place] = []
    missed: list[Place] = []
    for place in places:
        try:
            ips = await network.resolve(place)
            if not may_be_private(place) and not all(map(is_public, ips)):
                raise NotPublic(place.name)
            link = await network.dial(relay, place, ips)
        except RelayKeyChanged as error:
            strangers.append(place)
            failures.append(error)
        except ProxyAway as error:
            failures.append(error)
            continue  # nobody has looked there
        except (RelayUnreachable, UnsupportedVersion) as error:
            failures.append(error)
        else:
            link.place, link.strangers, link.missed = place, tuple(strangers), tuple(missed)
            return link
        missed.append(place)
    if not failures:
        raise RelayUnreachable("nobody has said where it is")
    # The failure that the caller should know of first; of several of one kind, the first.
    raise max(failures, key=_weight)


_WEIGHTS: dict[type[AmanatError], int] = {
    RelayKeyChanged: 4,
    UnsupportedVersion: 3,
    ProxyAway: 2,
    NotPublic: 0,
}


def _weight(error: AmanatError) -> int:
    """The weight of an error: the more the person can do about it, the higher. A place that we did
    not call weighs nothing."""
    return _WEIGHTS.get(type(error), 1)


async def resolve(place: Place) -> list[str]:
    """The IP addresses of a place. Raises RelayUnreachable.

    We ask for them once and dial those very addresses, because a name server may say something else
    the next time.
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


async def dial(
    key: bytes,
    place: Place,
    ips: Sequence[str],
    source: str = "",
    sock: socket.socket | None = None,
) -> Link:
    """A link to the relay with a key at a place, which has these IP addresses, from our own address
    `source` if one is given; or over a socket that somebody has connected to the place, which is
    no longer theirs. Raises as `find`."""
    failure = RelayUnreachable(place.name)
    for ip in ips:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S / len(ips)):
                transport, link = await _open(place, ip, sock or await _reach(ip, place, source))
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


async def _reach(ip: str, place: Place, source: str) -> socket.socket:
    """A socket that is connected to a place. Raises OSError."""
    sock = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET)
    try:
        sock.setblocking(False)
        if source:
            sock.bind((source, 0))
        await asyncio.get_running_loop().sock_connect(sock, (ip, place.port))
        sock.getpeername()  # picows would connect a socket anew from which the relay has hung up
    except BaseException:
        sock.close()
        raise
    return sock


async def _open(
    place: Place, ip: str, sock: socket.socket
) -> tuple[picows.WSTransport, picows.WSListener]:
    scheme, host = "ws" if place.tls == "off" else "wss", f"[{ip}]" if ":" in ip else ip
    try:
        return await picows.ws_connect(
            Link,
            f"{scheme}://{host}:{place.port}{wire.PATH}",
            ssl_context=_tls(place),
            socket_factory=lambda _url: sock,
            websocket_handshake_timeout=CONNECT_TIMEOUT_S,
            enable_auto_ping=True,
            auto_ping_idle_timeout=PING_S,
            auto_ping_reply_timeout=PONG_S,
            max_frame_size=wire.MAX_REPLY_BYTES + 16,
            extra_headers={"Host": place.name},
            max_redirects=0,
            # A certificate is for the name; nothing resolves the name again.
            server_hostname=None if place.tls == "off" else place.host,
        )
    except BaseException:
        # picows keeps a connection whose caller has given up, and would even make a link of it.
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        raise


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
    """The reply, unless it is a refusal. Raises the error that it names, or DropMoved."""
    if isinstance(reply, wire.Moved):
        raise DropMoved(order=reply.order)
    if not isinstance(reply, wire.Failed):
        return reply
    kind = BY_CODE.get(reply.code, UnexpectedReply)
    if not issubclass(kind, PeerError | Unavailable):
        kind = UnexpectedReply  # a relay has no say in what the person must fix
    raise kind(retry_after=reply.retry_after)


def expect(reply: wire.Reply, answer: type[R]) -> R:
    """The reply, if it is of the kind it must have. Raises UnexpectedReply."""
    if not isinstance(reply, answer):
        raise UnexpectedReply
    return reply
