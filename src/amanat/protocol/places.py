"""The places where a relay can be reached today (docs/protocol.md, section 6).

A relay is its key. A *place* is a host, a port and how TLS is used there, and says nothing about
the machine that answers: a machine with the key is the relay, wherever it is.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated

import idna
import msgspec

from amanat.errors import BrokenAddress
from amanat.protocol import codec

MAX_PLACES = 4
"""Most places of a relay: a name, an IPv4 and an IPv6 address, and the place it moves to. A client
that finds none of them waits for each in turn."""
MAX_HOST_CHARS = 253
"""Longest host, in characters: that of a DNS name (RFC 1035, section 3.1)."""
MAX_HOSTS_CHARS = 256
"""Longest hosts of all places of a relay together, in characters: an invite with two addresses
still fits its link."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PLACE = re.compile(
    r"(?P<host>\[[^\[\]]*\]|[^\[\]:/]+):(?P<port>[0-9]{1,5})/(?:\?tls=(?P<tls>web|off))?"
)
_UNICAST = ipaddress.IPv6Network("2000::/3")
"""The IPv6 addresses of the public internet (RFC 4291, section 2.4) are in this network..."""
_EMBEDS_IPV4 = [ipaddress.IPv6Network(one) for one in ("2002::/16", "2001::/32")]
"""...but not in these, which lead to an IPv4 address, perhaps a private one (RFC 3056, 4380)."""
_NOBODYS = [ipaddress.ip_network(one) for one in ("192.0.0.0/24", "3fff::/20")]
"""Networks for protocols and for documentation (RFC 6890, RFC 9637): `is_global` takes parts of
them for public."""


class Place(codec.Record, frozen=True):
    """A host, a port and how TLS is used there.

    Raises ValueError, which decoding turns into the refusal of the record that holds it, unless
    `host` is in its one form (and without brackets), and for a place without TLS that is not on
    this machine.
    """

    host: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_HOST_CHARS)]
    port: Annotated[int, msgspec.Meta(ge=1, lt=2**16)]
    tls: Annotated[str, msgspec.Meta(pattern="^(pinned|web|off)$")] = "pinned"
    """`pinned`: the TLS certificate is the relay's key itself. `web`: an ordinary certificate,
    checked against the system's authorities. `off`: no TLS, for loopback and benchmarks."""

    def __post_init__(self) -> None:
        if one_form(self.host) != self.host:
            raise ValueError("not the one form of a host")
        if self.tls == "off" and not is_loopback(self.host):
            raise ValueError("without TLS only on this machine")

    @property
    def name(self) -> str:
        """HOST:PORT, as people read it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.name}/" + ("" if self.tls == "pinned" else f"?tls={self.tls}")


def one_form(host: str) -> str:
    """The one form of a host as a person may write it: an IP address in its shortest form, or a
    name in the ASCII letters of DNS, in lower case. Raises ValueError for anything else.

    A name with other letters becomes its form in DNS (UTS 46, RFC 5891). A text whose last label is
    a number is not a name: programs would take it for an IPv4 address in one of its odd forms.
    """
    host = host.removeprefix("[").removesuffix("]")
    if ":" in host:
        address = ipaddress.IPv6Address(host)
        if address.scope_id is not None:
            raise ValueError("an address that only this machine's network knows")
        return str(address.ipv4_mapped or address)
    name = host.lower().removesuffix(".")
    if not _NAME.fullmatch(name) or "xn--" in name:
        # The library's errors are ValueErrors.
        name = idna.encode(name, uts46=True, std3_rules=True).decode("ascii").removesuffix(".")
    if len(name) > MAX_HOST_CHARS:
        raise ValueError("too long for a name")
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        return str(ipaddress.IPv4Address(name))
    return name


def parse_place(text: str) -> Place:
    """The place in a text such as `relay.example:8443/`. Raises BrokenAddress."""
    match = _PLACE.fullmatch(text)
    if match is None or not 0 < int(match["port"]) < 2**16:
        raise BrokenAddress
    try:
        return Place(one_form(match["host"]), int(match["port"]), match["tls"] or "pinned")
    except ValueError as error:
        raise BrokenAddress(str(error)) from None


def is_loopback(host: str) -> bool:
    """Whether a host is this machine itself, by its name or address alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_private(host: str) -> bool:
    """Whether a host is this machine or in its network, by its name or address alone."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return is_loopback(host)
    return not is_public(host)


def is_public(ip: str) -> bool:
    """Whether an IP address is on the public internet: not of this machine or its network, and not
    of a translation that may lead there."""
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(str(address.ipv4_mapped))
        if address not in _UNICAST or any(address in network for network in _EMBEDS_IPV4):
            return False
    if any(address in network for network in _NOBODYS):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved
