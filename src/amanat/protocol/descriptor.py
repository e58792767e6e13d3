"""How a relay names and describes itself: its address and its signed descriptor
(docs/protocol.md, section 6)."""

from __future__ import annotations

import base64
import binascii
import functools
import re
from typing import TYPE_CHECKING, Annotated, Self, TypeAlias

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from amanat.errors import BrokenAddress, BrokenDescriptor
from amanat.protocol import codec
from amanat.protocol.drops import RETENTION_DAYS
from amanat.protocol.places import MAX_HOSTS_CHARS, MAX_PLACES, Place, parse_place

if TYPE_CHECKING:
    from collections.abc import Iterable

    from amanat.errors import AmanatError

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
_ADDRESS_CONTEXT = b"amanat relay address 1\x00"

RelayKey: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=KEY_BYTES, max_length=KEY_BYTES)]
Day: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=2**24)]
"""A UTC day since 1970."""


class Stay(codec.Record, frozen=True):
    """A relay's statement that it is at a place, and on which days."""

    place: Place
    since: Day = 0
    """The first day; 0: it is there already."""
    until: Day = 0
    """The last day; 0: no end is known."""

    def rank(self, day: int) -> int:
        """0 on a day on which the relay is there, 1 before, 2 after."""
        if self.until and day > self.until:
            return 2
        return int(day < self.since)


class RelayAddress(codec.Record, frozen=True, eq=False):
    """The key of a relay and the places where it can be reached, by its own signed word.

    A relay is its key: two addresses are equal if they are of one relay, wherever it is today.
    Raises ValueError, which decoding turns into the refusal of the record that holds it, unless the
    relay has signed it. It cannot name a place without TLS, so nobody can send others to one.
    """

    key: RelayKey
    """The relay's Ed25519 public key."""
    issued: Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
    """Unix seconds: of two addresses of a relay the later one counts."""
    stays: Annotated[tuple[Stay, ...], msgspec.Meta(max_length=MAX_PLACES)]
    """Its present and future places, in the order in which clients look for it. If there are none,
    it can be reached on its own machine only."""
    signature: Annotated[bytes, msgspec.Meta(max_length=SIGNATURE_BYTES)]

    def __post_init__(self) -> None:
        _check_places(self.places)
        if any(place.tls == "off" for place in self.places):
            raise ValueError("without TLS")
        if not _has_signed(self.key, _address_text(self), self.signature):
            raise ValueError("not signed by the relay")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RelayAddress) and other.key == self.key

    def __ne__(self, other: object) -> bool:  # a Struct has its own, which compares objects
        return not self == other

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def places(self) -> tuple[Place, ...]:
        """The places where clients look for it, in this order."""
        return tuple(stay.place for stay in self.stays)

    @property
    def name(self) -> str:
        """Its places, as people read them."""
        return ", ".join(place.name for place in self.places)

    def says_as(self, other: RelayAddress) -> bool:
        """Whether another address names the same relay and the same stays."""
        return (self.key, self.stays) == (other.key, other.stays)

    def __str__(self) -> str:
        return f"amanat://{','.join(map(str, self.places))}#{b64(self.key)}"


class NamedAddress(RelayAddress, frozen=True, eq=False):
    """A relay's address as a person has named it, or as we look for it. Nobody has signed it, and
    no record can hold it."""

    def __post_init__(self) -> None:
        _check_places(self.places)

    @classmethod
    def of(cls, key: bytes, *places: Place) -> Self:
        """The address of the relay with this key at these places."""
        return cls(key, 0, tuple(map(Stay, places)), b"")


class _AddressText(codec.Record, frozen=True):
    """The part of its address that a relay signs."""

    key: bytes
    issued: int
    stays: tuple[Stay, ...]


def _address_text(address: RelayAddress) -> bytes:
    text = _AddressText(address.key, address.issued, address.stays)
    return _ADDRESS_CONTEXT + codec.encode(text)


_addresses = codec.decoder_of(RelayAddress)


def decode_address(data: bytes, refusal: type[AmanatError]) -> RelayAddress:
    """The signed address in `data`. Raises `refusal` for anything else."""
    return codec.decode(_addresses, data, refusal)


def sign_address(stays: Iterable[Stay], key: Ed25519PrivateKey, *, issued: int) -> RelayAddress:
    """A relay's signed address. Raises ValueError for more than it may say, or a place without
    TLS."""
    public = key.public_key().public_bytes_raw()
    text = _AddressText(public, issued, tuple(stays))
    signature = key.sign(_ADDRESS_CONTEXT + codec.encode(text))
    return RelayAddress(public, issued, text.stays, signature)


@functools.lru_cache(maxsize=4096)  # pure, and the same few relays come in every record
def _has_signed(key: bytes, text: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, text)
    except (InvalidSignature, ValueError):
        return False
    return True


def _check_places(places: tuple[Place, ...]) -> None:
    """Raises ValueError for a place twice, too many, or hosts that are too long."""
    if len(set(places)) < len(places) or len(places) > MAX_PLACES:
        raise ValueError(f"a relay has at most {MAX_PLACES} places, all different")
    if sum(len(place.host) for place in places) > MAX_HOSTS_CHARS:
        raise ValueError(f"the hosts of a relay have at most {MAX_HOSTS_CHARS} characters together")


class Limits(msgspec.Struct, frozen=True):
    """The relay's limits, so that clients need not find them by failing."""

    cells_per_drop: int
    bytes_per_drop: int
    connections: int
    requests_in_flight: int


class MoveNotice(msgspec.Struct, frozen=True):
    """An operator's word that everything at a relay will move to another one."""

    to: RelayAddress
    """The destination, by its own word."""
    region: Annotated[str, msgspec.Meta(pattern="^[A-Z]{2}$")]
    """The destination's region."""
    on: Day
    """The first day on which something moves, in UTC days since 1970."""
    reason: Annotated[str, msgspec.Meta(max_length=MAX_REASON_CHARS)]

    @property
    def decide_by(self) -> int:
        """The last day on which a person can leave and have nothing there when the relay moves: by
        then, everything that came until this day has expired."""
        return self.on - max(RETENTION_DAYS) - 1


class Descriptor(msgspec.Struct, frozen=True):
    """A relay's signed statement about itself.

    Readers ignore unknown fields: later versions may add some.
    """

    key: RelayKey
    region: Annotated[str, msgspec.Meta(pattern="^[A-Z]{2}$")]
    operator: Annotated[str, msgspec.Meta(max_length=200)]
    buckets: Annotated[int, msgspec.Meta(ge=1, le=2**20)]
    people_per_bucket: Annotated[int, msgspec.Meta(ge=1, le=2**20)]
    access: Annotated[str, msgspec.Meta(pattern="^(open|code)$")]
    issued_at: Annotated[int, msgspec.Meta(ge=0)]
    """Unix seconds, rounded down to the hour."""
    limits: Limits
    address: RelayAddress
    """Its signed address: its present and future places."""
    sealing: Annotated[bytes, msgspec.Meta(max_length=SEALING_KEY_BYTES)] = b""
    """The public key to which clients seal requests (protocol/sealing.py); empty if the relay takes
    none."""
    is_hop: bool = False
    """Whether it forwards sealed requests to other relays, perhaps to a few only."""
    checkpoint: Annotated[bytes, msgspec.Meta(max_length=MAX_CHECKPOINT_BYTES)] = b""
    """The checkpoint of its ledger, as a note that it has signed (protocol/tlog.py); empty if it
    keeps none."""
    notice: MoveNotice | None = None
    """The move that its operator has announced."""
    outbound: Annotated[str, msgspec.Meta(pattern="^(deposit|hold)$")] = "deposit"
    """The place where the words of its people to people of other regions rest: with those people
    (`deposit`), or here (`hold`)."""


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


def parse_address(text: str) -> NamedAddress:
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
    try:
        if len(key) != KEY_BYTES:
            raise ValueError("the key is not whole")
        return NamedAddress.of(key, *places)
    except ValueError as error:
        raise BrokenAddress(str(error)) from None


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
    if descriptor.key != key or descriptor.address.key != key:
        raise BrokenDescriptor
    return descriptor
