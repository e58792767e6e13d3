"""How all drops of a relay move to another one (docs/protocol.md, section 18).

The *mover*, a program of the operator, works on both relays by *steps*. For each drop, it carries
cells while the drop lives on, freezes the drop at the source, and carries the last cells. The
source then releases the drop for good, and it lands at the destination. Two relays therefore never
take cells for one drop at the same time. If anything ends in between, the mover continues from the
state that the two relays report.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated, TypeAlias

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from amanat.errors import AmanatError, BrokenCertificate, BrokenMove
from amanat.protocol import codec, tlog
from amanat.protocol.descriptor import SIGNATURE_BYTES, RelayAddress, RelayKey
from amanat.protocol.drops import DROP_ID_BYTES, TOKEN_BYTES, expand, in_region
from amanat.protocol.ledger import Count, Hash, Hour, MovedIn, MovedOut

if TYPE_CHECKING:
    from collections.abc import Iterable

MOVE_ID_BYTES = 16
MAX_ORDER_BYTES = 1024
"""Longest signed order, in bytes."""
MAX_DROPS = 1000
"""Most drops in one step, so that its answer fits in a frame."""
MAX_KEYS = 400
"""Most days of a drop whose shred keys go into one part."""
MAX_REGIONS = 32
"""Most regions whose drops a relay can have taken in: each move adds one."""
STATEMENT_CONTEXT = b"amanat move statement 1\x00"
_ORDER_CONTEXT = b"amanat move order 1\x00"
_CERTIFICATE_CONTEXT = b"amanat move certificate 1\x00"

Region: TypeAlias = Annotated[str, msgspec.Meta(pattern="^[A-Z]{2}$")]
MoveId: TypeAlias = Annotated[
    bytes, msgspec.Meta(min_length=MOVE_ID_BYTES, max_length=MOVE_ID_BYTES)
]
DropId: TypeAlias = Annotated[
    bytes, msgspec.Meta(min_length=DROP_ID_BYTES, max_length=DROP_ID_BYTES)
]
Key: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Day: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=2**24)]


SignedOrder: TypeAlias = Annotated[bytes, msgspec.Meta(max_length=MAX_ORDER_BYTES)]


# The order of a move


class Order(codec.Record, frozen=True):
    """A relay's statement that all its drops move to another. Both relays act on it, and the source
    shows it to clients that ask for a drop that has gone.

    Raises ValueError, which decoding turns into the refusal of the record that holds it, if a relay
    would move to itself.
    """

    move: MoveId
    source: RelayKey
    to: RelayAddress
    """The destination, by its own word."""
    region: Region
    """The destination's region."""
    regions: Annotated[list[Region], msgspec.Meta(min_length=1, max_length=MAX_REGIONS)]
    """The regions of the drops that move: the source's own first, then those of drops that moved
    there."""
    token_hash: Hash
    """The hash of the token that permits steps of this move."""
    began: Hour

    def __post_init__(self) -> None:
        if self.to.key == self.source:
            raise ValueError("a relay does not move to itself")

    def covers(self, drop_id: bytes) -> bool:
        """Whether a drop with this id can be among those that move."""
        return any(in_region(drop_id, region) for region in self.regions)


_order = codec.decoder_of(Order)


def sign_order(order: Order, key: Ed25519PrivateKey) -> bytes:
    """`signature (64 bytes) || order`, signed by the source's key."""
    body = codec.encode(order)
    return key.sign(_ORDER_CONTEXT + body) + body


def open_order(signed: bytes) -> Order:
    """The order in signed bytes. Raises BrokenMove unless its source signed it."""
    if len(signed) > MAX_ORDER_BYTES:
        raise BrokenMove
    signature, body = signed[:SIGNATURE_BYTES], signed[SIGNATURE_BYTES:]
    order = codec.decode(_order, body, BrokenMove)
    _verify(order.source, signature, _ORDER_CONTEXT + body, BrokenMove)
    return order


def move_token(secret: bytes, move: bytes) -> bytes:
    """The 32-byte token of a move, derived from the 32-byte private key of the source, so that
    nobody need store it."""
    return expand(secret, b"amanat move token", move)


def token_hash(token: bytes) -> bytes:
    """The hash that stands for a token in the order."""
    return hashlib.sha256(b"amanat move token" + token).digest()


# Steps, and statements about drops


class Standing(codec.Record, frozen=True):
    """The standing of a drop at a relay."""

    drop_id: DropId
    state: Annotated[int, msgspec.Meta(ge=0, le=2)]
    """0: it is here; 1: it is arriving; 2: it has gone."""
    head: Count
    digest: Hash
    cells: Count
    bytes: Count


HERE, ARRIVING, GONE = range(3)
"""The states of a drop."""


class ShredKey(codec.Record, frozen=True, gc=False):
    """The key that opens the cells of one day of a drop."""

    day: Day
    last_day: Day
    """The last day on which the relay keeps those cells."""
    key: Key


class WrappedCell(codec.Record, frozen=True, gc=False):
    """A cell as the relay stores it, wrapped with a shred key."""

    day: Day
    wrapped: bytes


class Part(codec.Record, frozen=True):
    """A drop, and some of its cells in order."""

    drop_id: DropId
    append_hash: Hash
    read_hash: Hash
    retention_days: Annotated[int, msgspec.Meta(ge=1, le=366)]
    bucket: bool
    bound: Count
    """The number to which its cells are bound."""
    last_day: Day
    is_first: bool
    """Whether all cells before these have expired."""
    before: Count
    """The seq before the first of these cells, and the drop's digest there."""
    digest: Hash
    keys: Annotated[list[ShredKey], msgspec.Meta(max_length=MAX_KEYS)]
    cells: Annotated[list[WrappedCell], msgspec.Meta(max_length=MAX_DROPS)]


class _Step(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One step of a move. The mover may repeat any step; a repetition changes nothing."""


class Begin(_Step, frozen=True, tag=1):
    """To either relay: learn of the move. The answer has no standing."""

    order: SignedOrder
    access: Annotated[bytes, msgspec.Meta(max_length=TOKEN_BYTES)]
    """To the destination: the source's bucket key, which then also gives access there."""


class Survey(_Step, frozen=True, tag=2):
    """To the destination: say how drops of this move stand. The answer has the first of those after
    this one, in an order of the destination's choice; if `after` is empty, from the first on."""

    after: Annotated[bytes, msgspec.Meta(max_length=DROP_ID_BYTES)]


class Carry(_Step, frozen=True, tag=3):
    """To the destination: take cells of drops. The answer tells how these drops stand."""

    parts: Annotated[list[Part], msgspec.Meta(max_length=MAX_DROPS)]
    settles: bool
    """Whether the answer waits until the parts of this and earlier steps are on disk."""


class Freeze(_Step, frozen=True, tag=4):
    """To the source: let everyone who writes to these drops wait, for seconds. The answer tells how
    these drops stand."""

    drops: Annotated[list[DropId], msgspec.Meta(max_length=MAX_DROPS)]


class Release(_Step, frozen=True, tag=5):
    """To the source: let frozen drops go, for good, if they stand as they did when they were
    frozen."""

    drops: Annotated[list[Standing], msgspec.Meta(max_length=MAX_DROPS)]


class Land(_Step, frozen=True, tag=6):
    """To the destination: these drops are here from now on. They stand as they did at the
    source."""

    drops: Annotated[list[Standing], msgspec.Meta(max_length=MAX_DROPS)]


class Thaw(_Step, frozen=True, tag=7):
    """To the source: let nobody wait for frozen drops any longer."""


class State(_Step, frozen=True, tag=8):
    """To the destination: sign a statement of the drops that came. The answer contains it."""


class Erase(_Step, frozen=True, tag=9):
    """To the source: erase some cells of drops that have gone. The answer has one standing while
    more cells are left."""


class Abandon(_Step, frozen=True, tag=10):
    """To either relay: forget a move by which nothing has gone yet, and everything that has arrived
    by it."""


class End(_Step, frozen=True, tag=11):
    """To the source: erase frozen drops, except buckets, in which every cell has expired. The
    people who used them have gone on, or can create them again at the destination."""

    drops: Annotated[list[DropId], msgspec.Meta(max_length=MAX_DROPS)]


Step: TypeAlias = (
    Begin | Survey | Carry | Freeze | Release | Land | Thaw | State | Erase | Abandon | End
)


# The statements that both relays sign at the end


class Statement(codec.Record, frozen=True):
    """A relay's statement of the drops that moved."""

    order: SignedOrder
    """The order in its signed form."""
    drops: Count
    cells: Count
    bytes: Count
    root: Hash
    """The root (RFC 9162, section 2.1.1) over a leaf for each drop, sorted: its hash in a ledger,
    its digest, head, cells and bytes as it went."""
    landed: Hour
    """The hour in which the last of them landed."""


class Certificate(codec.Record, frozen=True):
    """A statement that both relays have signed, once the source has erased what it held."""

    statement: bytes
    destination_signature: Annotated[bytes, msgspec.Meta(max_length=SIGNATURE_BYTES)]
    erased: Hour
    source_signature: Annotated[bytes, msgspec.Meta(max_length=SIGNATURE_BYTES)]


_statement = codec.decoder_of(Statement)
_certificate = codec.decoder_of(Certificate)


def state_of(order: bytes, entries: Iterable[MovedIn] | Iterable[MovedOut]) -> Statement:
    """The statement of the drops that moved by a signed order, from entries of a ledger. The
    entries of both relays give the same statement, except for the hour."""
    leaves, cells, size, hour = [], 0, 0, 0
    for entry in entries:
        numbers = (entry.head, entry.cells, entry.bytes)
        leaves.append(
            entry.drop + entry.digest + b"".join(one.to_bytes(8, "big") for one in numbers)
        )
        cells, size, hour = cells + entry.cells, size + entry.bytes, max(hour, entry.hour)
    return Statement(order, len(leaves), cells, size, tlog.root_of(sorted(leaves)), hour)


def sign_statement(statement: Statement, key: Ed25519PrivateKey) -> tuple[bytes, bytes]:
    """(the statement, its signature)."""
    body = codec.encode(statement)
    return body, key.sign(STATEMENT_CONTEXT + body)


def open_statement(body: bytes, signature: bytes, order: Order) -> Statement:
    """The statement in some bytes. Raises BrokenMove unless it is about `order` and the destination
    of that order signed it."""
    statement = codec.decode(_statement, body, BrokenMove)
    _verify(order.to.key, signature, STATEMENT_CONTEXT + body, BrokenMove)
    if open_order(statement.order) != order:
        raise BrokenMove
    return statement


def certify(
    statement: bytes, destination_signature: bytes, *, erased: int, key: Ed25519PrivateKey
) -> bytes:
    """The certificate, with the source's signature over all of it; `erased` is an hour."""
    unsigned = Certificate(statement, destination_signature, erased, b"")
    signature = key.sign(_CERTIFICATE_CONTEXT + codec.encode(unsigned))
    return codec.encode(msgspec.structs.replace(unsigned, source_signature=signature))


def open_certificate(data: bytes) -> tuple[Order, Statement, Certificate]:
    """The parts of a certificate. Raises BrokenCertificate unless both relays signed it."""
    certificate = codec.decode(_certificate, data, BrokenCertificate)
    statement = codec.decode(_statement, certificate.statement, BrokenCertificate)
    try:
        order = open_order(statement.order)
    except BrokenMove:
        raise BrokenCertificate from None
    _verify(
        order.to.key,
        certificate.destination_signature,
        STATEMENT_CONTEXT + certificate.statement,
        BrokenCertificate,
    )
    unsigned = msgspec.structs.replace(certificate, source_signature=b"")
    _verify(
        order.source,
        certificate.source_signature,
        _CERTIFICATE_CONTEXT + codec.encode(unsigned),
        BrokenCertificate,
    )
    return order, statement, certificate


def _verify(key: bytes, signature: bytes, text: bytes, refusal: type[AmanatError]) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, text)
    except (InvalidSignature, ValueError):
        raise refusal from None
