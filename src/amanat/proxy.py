"""A SOCKS5 proxy (RFC 1928), and the network of a client that goes through one.

While a proxy is set, nothing goes around it: not while it is away, not when it refuses, and not a
name to a name server, because the proxy resolves the names of relays. The one exception is a place
on loopback, which never leaves this machine; nobody but the person can name one (`link.find`). A
relay there is no hop meanwhile, because it would hand requests on around the proxy.

The person's user name and password are in no address, no text of an error and no `repr`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import weakref
from typing import TYPE_CHECKING, Annotated

import msgspec
import python_socks
from python_socks.async_.asyncio import Proxy as Asked

from amanat.errors import AmanatError, BadArgument, BrokenAddress, ProxyAway, RelayUnreachable
from amanat.link import dial
from amanat.protocol import codec
from amanat.protocol.places import MAX_HOST_CHARS, is_loopback, parse_place

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from amanat.link import Link, Network
    from amanat.protocol.places import Place

CONNECT_TIMEOUT_S = 30.0
"""Longest that a proxy may take to connect us, in seconds: Tor first builds a circuit."""
MAX_LOGIN_CHARS = 255
"""Longest user name and longest password, in characters (RFC 1929, section 2)."""
SCHEME = "socks5://"
"""The scheme that programs write before the address of such a proxy. People may leave it out."""

_LOOPBACK = ("127.0.0.1", "::1")
"""The addresses of `localhost` (RFC 6761, section 6.3). No name server is asked for it."""
_RELAY_AWAY = {
    1: "general failure",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "too far",
}
"""The replies by which a proxy says that the relay cannot be reached (RFC 1928, section 6)."""
_LOGIN = re.compile(r"[\x20-\x7e]*")

_LoginText = Annotated[str, msgspec.Meta(max_length=MAX_LOGIN_CHARS, pattern=r"^[\x20-\x7e]*$")]


class Proxy(codec.Record, frozen=True):
    """A SOCKS5 proxy: its address, and the user name and password for it, or neither."""

    host: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_HOST_CHARS)]
    port: Annotated[int, msgspec.Meta(ge=1, lt=2**16)]
    user: _LoginText = ""
    password: _LoginText = ""

    @property
    def name(self) -> str:
        """HOST:PORT, as people read it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def __repr__(self) -> str:
        return f"Proxy({self.name})"


_DECODER = codec.decoder_of(Proxy)


def decode_proxy(data: bytes, refusal: type[AmanatError]) -> Proxy | None:
    """The proxy that was kept; None for no bytes."""
    return codec.decode(_DECODER, data, refusal) if data else None


def parse_proxy(address: str, login: str = "") -> Proxy:
    """The proxy at `HOST:PORT`, with a login such as `USER:PASSWORD` if it asks for one. Raises
    BadArgument, which repeats nothing of either."""
    try:
        place = parse_place(f"{address.strip().removeprefix(SCHEME).removesuffix('/')}/")
    except BrokenAddress:
        raise BadArgument("the address of a proxy is HOST:PORT, such as 127.0.0.1:9050") from None
    user, _, password = login.partition(":")
    if login and not (user and password):
        raise BadArgument("the login for a proxy is USER:PASSWORD")
    if max(len(user), len(password)) > MAX_LOGIN_CHARS or not _LOGIN.fullmatch(login):
        raise BadArgument(
            f"a proxy takes a user name and a password of at most {MAX_LOGIN_CHARS} ASCII"
            " characters each"
        )
    return Proxy(place.host, place.port, user, password)


class Proxied:
    """A network, or what lies behind a proxy while one is set."""

    def __init__(self, direct: Network, proxy: Proxy | None = None) -> None:
        self._direct = direct
        self._proxy = proxy
        self.is_away = False
        """Whether the proxy failed us at the last attempt."""
        self._dialling: set[asyncio.Timeout] = set()
        self._links: weakref.WeakSet[Link] = weakref.WeakSet()

    @property
    def proxy(self) -> Proxy | None:
        """The proxy that is set."""
        return self._proxy

    def go_through(self, proxy: Proxy | None) -> None:
        """Set a proxy, or none, and end everything that goes another way."""
        self._proxy, self.is_away = proxy, False
        now, dialling = asyncio.get_running_loop().time(), tuple(self._dialling)
        self._dialling.clear()
        for one in dialling:
            one.reschedule(now)
        for link in tuple(self._links):
            link.close()

    async def end(self) -> None:
        """Drop every connection, and wait until each has ended."""
        await asyncio.gather(*(link.dropped() for link in tuple(self._links)))

    async def resolve(self, place: Place) -> list[str]:
        """The IP addresses of a place. None for a name that the proxy is to resolve: where it leads
        is for the proxy to see. Raises RelayUnreachable."""
        if self._proxy is None:
            return await self._direct.resolve(place)
        if place.host == "localhost":
            return [*_LOOPBACK]
        return [place.host] if _is_ip(place.host) else []

    async def dial(self, key: bytes, place: Place, ips: Sequence[str]) -> Link:
        """A link to the relay with a key at a place. Raises ProxyAway, or as `link.find`."""
        proxy = self._proxy
        is_around = proxy is not None and is_loopback(place.host)
        limit = asyncio.timeout(None)  # ends it when another proxy is set meanwhile
        self._dialling.add(limit)
        try:
            async with limit:
                if proxy is None or is_around:
                    link = await self._direct.dial(key, place, ips)
                else:
                    link = await self._dial_through(proxy, key, place)
        except TimeoutError:
            raise RelayUnreachable(f"{place.name}, on another way") from None
        finally:
            self._dialling.discard(limit)
        if self._proxy is not proxy:  # it was done just before it could be ended
            link.close()
            raise RelayUnreachable(f"{place.name}, on another way")
        link.is_around = is_around
        self._links.add(link)
        return link

    async def _dial_through(self, proxy: Proxy, key: bytes, place: Place) -> Link:
        try:
            sock = await _connect(proxy, place)
        except ProxyAway:
            self.is_away = self._proxy is proxy
            raise
        self.is_away = False
        try:
            # The address of the proxy's machine stands for the place's: whatever a library below
            # does with it, it leads nowhere else.
            ip = str(sock.getpeername()[0])
        except OSError:  # it hung up at once
            sock.close()
            raise RelayUnreachable(f"{place.name}, through the proxy") from None
        return await dial(key, place, [ip], sock=sock)


async def _connect(proxy: Proxy, place: Place) -> socket.socket:
    """A socket that the proxy has connected to a place. Raises ProxyAway, or RelayUnreachable if
    only the relay is to blame."""
    asked = Asked(
        python_socks.ProxyType.SOCKS5,
        proxy.host,
        proxy.port,
        proxy.user or None,
        proxy.password or None,
        rdns=True,
    )
    try:
        return await asked.connect(place.host, place.port, timeout=CONNECT_TIMEOUT_S)
    except python_socks.ProxyTimeoutError:
        raise RelayUnreachable(f"{place.name}, no answer through the proxy") from None
    except python_socks.ProxyConnectionError:
        raise ProxyAway(proxy.name) from None
    except python_socks.ProxyError as error:
        why = _RELAY_AWAY.get(error.error_code or 0)
        if why is not None:
            raise RelayUnreachable(f"{place.name}, {why} through the proxy") from None
        raise ProxyAway(f"{proxy.name}, it refuses us") from None
    except (OSError, ValueError):
        raise ProxyAway(f"{proxy.name}, it broke off") from None


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
