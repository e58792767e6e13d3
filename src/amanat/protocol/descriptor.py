"""How a relay names and describes itself: its address and its signed descriptor
(docs/protocol.md, section 6)."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from amanat.errors import BrokenAddress, BrokenDescriptor
from amanat.protocol.drops import RETENTION_DAYS
from amanat.protocol.places import MAX_HOSTS_CHARS, MAX_PLACES, Place, parse_place

KEY_BYTES = 32
"""Length of a relay's Ed25519 public key, in bytes."""
SIGNATURE_BYTES = 64
SEALING_KEY_BYTES = 1216
"""Length of a public key for sealed requests, in bytes: ML-KEM-768 and X25519."""
MAX_ADDRESS_CHARS = 500
"""Longest relay address as a text: its places with the longest hosts, and its key."""
MAX_REASON_CHARS = 500
"""Longest reason that an operator gives for a move."""
MAX_CHECKPOINT_BYTES = 4096
"""Longest checkpoint in a descriptor: its own signature takes 200, each witness's less than 300."""
_CONTEXT = b"amanat relay descriptor 1\x00"
_ADDRESS = re.compile(r"amanat://(?P<places>[^#]+)#(?P<key>[A-Za-z0-9_-]{43})")


class RelayAddress(msgspec.Struct, frozen=True, eq=False):
    """The key of a relay and where it can be reached.

    A relay is its key: two addresses are equal if they are of one relay, wherever it is today.
    """

    key: bytes
    """The relay's 32-byte Ed25519 public key."""
    places: tuple[Place, ...]
    """One at least, in the order in which they are tried."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RelayAddress) and other.key == self.key

    def __ne__(self, other: object) -> bool:  # a Struct has one of its own, which compares objects
        return not self == other

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def name(self) -> str:
        """Where it is, as people read it."""
        return ", ".join(place.name for place in self.places)

    def __str__(self) -> str:
        return f"amanat://{','.join(map(str, self.places))}#{b64(self.key)}"


class Limits(msgspec.Struct, frozen=True):
    """What the relay allows, so that clients need not find out by failing."""

    cells_per_drop: int
    bytes_per_drop: int
    connections: int
    requests_in_flight: int


class Notice(msgspec.Struct, frozen=True):
    """That all that rests at a relay is to move to another one."""

    to: Annotated[str, msgspec.Meta(max_length=MAX_ADDRESS_CHARS)]
    """The address of that relay."""
    region: Annotated[str, msgspec.Meta(pattern="^[A-Z]{2}$")]
    """Where it is."""
    on: Annotated[int, msgspec.Meta(ge=0, lt=2**24)]
    """The first day on which something moves, in UTC days since 1970."""
    reason: Annotated[str, msgspec.Meta(max_length=MAX_REASON_CHARS)]

    @property
    def decide_by(self) -> int:
        """The last day on which who leaves has nothing left there when it moves: what came until
        then has ended."""
        return self.on - max(RETENTION_DAYS) - 1


class Descriptor(msgspec.Struct, frozen=True):
    """What a relay says of itself, under its signature.

    Unknown fields are ignored: later versions may add some.
    """

    key: Annotated[bytes, msgspec.Meta(min_length=KEY_BYTES, max_length=KEY_BYTES)]
    region: Annotated[str, msgspec.Meta(pattern="^[A-Z]{2}$")]
    operator: Annotated[str, msgspec.Meta(max_length=200)]
    buckets: Annotated[int, msgspec.Meta(ge=1, le=2**20)]
    people_per_bucket: Annotated[int, msgspec.Meta(ge=1, le=2**20)]
    access: Annotated[str, msgspec.Meta(pattern="^(open|code)$")]
    issued_at: Annotated[int, msgspec.Meta(ge=0)]
    """Unix seconds, rounded down to the hour."""
    limits: Limits
    sealing: Annotated[bytes, msgspec.Meta(max_length=SEALING_KEY_BYTES)] = b""
    """The public key to seal requests to (protocol/sealing.py); empty if it takes none."""
    is_hop: bool = False
    """Whether it forwards sealed requests to other relays, perhaps to a few only."""
    checkpoint: Annotated[bytes, msgspec.Meta(max_length=MAX_CHECKPOINT_BYTES)] = b""
    """How its ledger stands, as a note that it has signed (protocol/tlog.py); empty if it keeps
    none."""
    notice: Notice | None = None
    """The move that its operator has announced."""
    outbound: Annotated[str, msgspec.Meta(pattern="^(deposit|hold)$")] = "deposit"
    """Where what its people say to people of other regions rests: with those, or here (`hold`)."""


def b64(data: bytes) -> str:
    """Base64url without padding (RFC 4648, section 5)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    """The bytes of base64url text. Raises ValueError for anything but the one encoding of them."""
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise ValueError(str(error)) from None
    if b64(data) != text:
        raise ValueError("not canonical base64url")
    return data


def parse_address(text: str) -> RelayAddress:
    """The relay address in a text such as `amanat://relay.example:8443/#KEY`, with a comma between
    places if there are several.

    Raises BrokenAddress.
    """
    match = _ADDRESS.fullmatch(text.strip()) if len(text) <= MAX_ADDRESS_CHARS else None
    if match is None:
        raise BrokenAddress
    try:
        key = unb64(match["key"])
    except ValueError:
        raise BrokenAddress from None
    places = tuple(map(parse_place, match["places"].split(",")))
    if len(key) != KEY_BYTES or len(set(places)) < len(places) or len(places) > MAX_PLACES:
        raise BrokenAddress
    if sum(len(place.host) for place in places) > MAX_HOSTS_CHARS:
        raise BrokenAddress
    return RelayAddress(key, places)


def sign_descriptor(descriptor: Descriptor, key: Ed25519PrivateKey) -> bytes:
    """`signature (64 bytes) || MessagePack map`, signed by the relay's key."""
    body = msgspec.msgpack.encode(descriptor)
    return key.sign(_CONTEXT + body) + body


def open_descriptor(signed: bytes, key: bytes) -> Descriptor:
    """The descriptor in signed bytes. Raises BrokenDescriptor unless `key` signed it and it names
    `key`."""
    signature, body = signed[:SIGNATURE_BYTES], signed[SIGNATURE_BYTES:]
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, _CONTEXT + body)
        descriptor = msgspec.msgpack.decode(body, type=Descriptor)
    except (InvalidSignature, msgspec.DecodeError, ValueError):
        raise BrokenDescriptor from None
    if descriptor.key != key:
        raise BrokenDescriptor
    return descriptor
