"""How all drops of a relay move to another one (docs/protocol.md, section 18).

The *mover*, a program of the operator, works on both relays by *steps*. For each drop it goes so:
cells are carried while the drop lives on; it is frozen at the source; its last cells are carried;
the source releases it, for good; it lands at the destination. So at no time do two relays take
cells for one drop, and whatever ends in between, the mover takes up what the two say.
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
"""Most days of a drop whose cells are kept, in one part."""
MAX_REGIONS = 32
"""Most regions whose drops a relay can have taken in: each move brings one."""
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


# What a move is


class Order(codec.Record, frozen=True):
    """That all drops of one relay are to go to another: what both act on, and what people's
    programs are shown who ask the one for a drop that is at the other.

    ValueError, on decoding the refusal of what holds it, where a relay would move to itself.
    """

    move: MoveId
    source: RelayKey
    to: RelayAddress
    """The destination, by its own word."""
    region: Region
    """Where it is."""
    regions: Annotated[list[Region], msgspec.Meta(min_length=1, max_length=MAX_REGIONS)]
    """Of the drops that move: the source's own first, then those of drops that moved there."""
    token_hash: Hash
    """Whoever shows the token of this hash may take steps of this move."""
    began: Hour

    def __post_init__(self) -> None:
        if self.to.key == self.source:
            raise ValueError("a relay does not move to itself")

    def covers(self, drop_id: bytes) -> bool:
        """Whether a drop with this id can be one of those that move."""
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
    """The 32-byte token of a move, from the 32-byte private key of the source: so it need not be
    kept anywhere."""
    return expand(secret, b"amanat move token", move)


def token_hash(token: bytes) -> bytes:
    """What stands for a token in the order."""
    return hashlib.sha256(b"amanat move token" + token).digest()


# Steps, and what is said of drops


class Standing(codec.Record, frozen=True):
    """How a drop stands at a relay."""

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
    """What opens the cells of one day of a drop."""

    day: Day
    last_day: Day
    """On which those cells are still kept."""
    key: Key


class WrappedCell(codec.Record, frozen=True, gc=False):
    """A cell as it rests."""

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
    """The number that its cells are bound to."""
    last_day: Day
    is_first: bool
    """Whether all cells before these have ended."""
    before: Count
    """Seq before the first of these cells, and the drop's digest there."""
    digest: Hash
    keys: Annotated[list[ShredKey], msgspec.Meta(max_length=MAX_KEYS)]
    cells: Annotated[list[WrappedCell], msgspec.Meta(max_length=MAX_DROPS)]


class _Step(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One step of a move. Each may be taken again, and then changes nothing."""


class Begin(_Step, frozen=True, tag=1):
    """To either: know of the move. Answered with no standing."""

    order: SignedOrder
    access: Annotated[bytes, msgspec.Meta(max_length=TOKEN_BYTES)]
    """To the destination: the source's bucket key. Who shows it has access there, too."""


class Survey(_Step, frozen=True, tag=2):
    """To the destination: how drops of this move stand, the first of those after this one in an
    order of its own; empty: from the first on."""

    after: Annotated[bytes, msgspec.Meta(max_length=DROP_ID_BYTES)]


class Carry(_Step, frozen=True, tag=3):
    """To the destination: cells of drops. Answered with how these stand."""

    parts: Annotated[list[Part], msgspec.Meta(max_length=MAX_DROPS)]
    settles: bool
    """Whether all that came by this and earlier ones is on disk when it is answered."""


class Freeze(_Step, frozen=True, tag=4):
    """To the source: let whoever writes to these drops wait, for seconds. Answered with how these
    stand."""

    drops: Annotated[list[DropId], msgspec.Meta(max_length=MAX_DROPS)]


class Release(_Step, frozen=True, tag=5):
    """To the source: let frozen drops go, for good."""

    drops: Annotated[list[DropId], msgspec.Meta(max_length=MAX_DROPS)]


class Land(_Step, frozen=True, tag=6):
    """To the destination: these drops are here now. They stand as they did at the source."""

    drops: Annotated[list[Standing], msgspec.Meta(max_length=MAX_DROPS)]


class Thaw(_Step, frozen=True, tag=7):
    """To the source: whoever waits for frozen drops need not wait any longer."""


class State(_Step, frozen=True, tag=8):
    """To the destination: sign what came. Answered with a signed statement."""


class Erase(_Step, frozen=True, tag=9):
    """To the source: erase some cells of drops that have gone. Answered with one standing while
    there are more."""


class Abandon(_Step, frozen=True, tag=10):
    """To either: forget a move by which nothing has gone yet, and what has arrived by it."""


class End(_Step, frozen=True, tag=11):
    """To the source: erase frozen drops in which everything has ended, buckets excepted. Whoever
    used them has gone on, or can make them again where all is then."""

    drops: Annotated[list[DropId], msgspec.Meta(max_length=MAX_DROPS)]


Step: TypeAlias = (
    Begin | Survey | Carry | Freeze | Release | Land | Thaw | State | Erase | Abandon | End
)


# What both sign in the end


class Statement(codec.Record, frozen=True):
    """What moved."""

    order: SignedOrder
    """As it was signed."""
    drops: Count
    cells: Count
    bytes: Count
    root: Hash
    """The root (RFC 9162, section 2.1.1) over a leaf for each drop, sorted: its hash in a ledger,
    its digest, head, cells and bytes as it went."""
    landed: Hour
    """When the last of them landed."""


class Certificate(codec.Record, frozen=True):
    """A statement that both relays have signed, once the source has erased what it held."""

    statement: bytes
    destination_signature: Annotated[bytes, msgspec.Meta(max_length=SIGNATURE_BYTES)]
    erased: Hour
    source_signature: Annotated[bytes, msgspec.Meta(max_length=SIGNATURE_BYTES)]


_statement = codec.decoder_of(Statement)
_certificate = codec.decoder_of(Certificate)


def state_of(order: bytes, entries: Iterable[MovedIn] | Iterable[MovedOut]) -> Statement:
    """What entries of a ledger say that has moved by a signed order. Those of both relays come to
    the same, but for the hour."""
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
    """The statement in some bytes. Raises BrokenMove unless the destination of `order` signed it,
    of this order."""
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
    """What a certificate says. Raises BrokenCertificate unless both relays signed it."""
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
