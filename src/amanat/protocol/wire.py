"""The frames between a client and a relay, strictly decoded (docs/protocol.md, section 5).

A frame is one binary WebSocket message: a MessagePack array `[verb, id, ...]`. Every frame has
exactly one encoding; both sides refuse anything else. Requests stand alone: none depends on an
earlier one of the same connection, so a client can seal each one and a hop can forward it.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from amanat.errors import FrameTooLarge, MalformedFrame
from amanat.protocol import codec
from amanat.protocol.cells import LARGE_CELL, MESSAGE_CELL
from amanat.protocol.descriptor import SIGNATURE_BYTES, RelayAddress, RelayKey
from amanat.protocol.drops import DROP_ID_BYTES, HASH_BYTES, TOKEN_BYTES
from amanat.protocol.ledger import MAX_ENTRY_BYTES
from amanat.protocol.moving import MAX_DROPS, MAX_ORDER_BYTES, MoveId, SignedOrder, Standing, Step
from amanat.protocol.places import MAX_PLACES, Place
from amanat.protocol.tlog import MAX_PATH_CHARS, TILE_WIDTH

PATH = "/amanat/1"
"""The WebSocket path; the number is the protocol's version."""
MAX_REQUEST_BYTES = LARGE_CELL + 2048
"""The longest frame that a relay reads, in bytes: a large cell, its envelope and a seal around
it."""
MAX_REPLY_BYTES = 1024 * 1024
"""The longest frame that a client reads, in bytes. It bounds how much a lying relay can make it
hold."""
MAX_CELLS = 900
"""Most cells in one reply: as many message cells as fit in MAX_REPLY_BYTES with some room."""
MAX_CELL_BYTES_PER_REPLY = MAX_REPLY_BYTES - 8 * MAX_CELLS - 2048
"""Most bytes of cells in one reply, leaving room for its envelope and a seal around it."""
READ_BYTES = 256 * 1024
"""Most bytes of cells in one answer to a read: a relay builds it in one go while others wait."""
MAX_WAIT_S = 180
"""Longest that a read may wait for a cell, in seconds. Each wait costs an answer to the reader, and
the relay waits this long for a reader that has silently gone."""
PAGE_CELLS = 20
"""Most message cells in a page: one cell of the middle size and some more, and over a day three
times as many as 32 people send."""
PAGE_BYTES = PAGE_CELLS * MESSAGE_CELL
"""Most bytes of cells in a page; every answer that can hold a page has the same length."""
MAX_CODE_CHARS = 64
MAX_PART_BYTES = TILE_WIDTH * (2 + MAX_ENTRY_BYTES)
"""The longest part of a ledger, in bytes: a bundle of the longest entries."""

RequestId: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
Seq: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
DropIdBytes: TypeAlias = Annotated[
    bytes, msgspec.Meta(min_length=DROP_ID_BYTES, max_length=DROP_ID_BYTES)
]
Token: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=TOKEN_BYTES, max_length=TOKEN_BYTES)]
Hash: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=HASH_BYTES, max_length=HASH_BYTES)]
Credit: TypeAlias = Annotated[int, msgspec.Meta(ge=1, lt=2**53)]
"""Bytes of answers, as frames, that a relay may send to a Follow."""
Cell: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=MESSAGE_CELL, max_length=LARGE_CELL)]


class _Frame(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    id: RequestId
    """Chosen by the client; a reply carries the id of its request."""


class Describe(_Frame, frozen=True, tag=1):
    """Ask for the relay's signed descriptor and, with access, its bucket key."""

    access: Annotated[bytes, msgspec.Meta(max_length=TOKEN_BYTES)]
    """The relay's access code, or empty for an open relay."""


class Create(_Frame, frozen=True, tag=2):
    """Create a drop. Idempotent: the answer to the same drop again is again Created."""

    access: Token
    """The relay's bucket key: only people with access create drops."""
    drop_id: DropIdBytes
    append_hash: Hash
    read_hash: Hash
    retention_days: Annotated[int, msgspec.Meta(ge=1, le=366)]


class Append(_Frame, frozen=True, tag=3):
    """Append a cell. Idempotent: the answer to the same cell again has the same seq."""

    drop_id: DropIdBytes
    append_token: Token
    cell: Cell


class Read(_Frame, frozen=True, tag=4):
    """Read the cells after `after`; wait up to `wait` seconds if there are none."""

    drop_id: DropIdBytes
    read_token: Token
    after: Seq
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_CELLS)]
    wait: Annotated[int, msgspec.Meta(ge=0, le=MAX_WAIT_S)]


class Follow(_Frame, frozen=True, tag=5):
    """Like Read, but the relay answers again and again as cells arrive, until Unfollow.

    Each answer with cells takes the bytes of its frame from the credit. The relay sends none while
    no credit is left, so the client decides for each Follow how much may wait for it.
    """

    drop_id: DropIdBytes
    read_token: Token
    after: Seq
    credit: Credit


class Unfollow(_Frame, frozen=True, tag=6):
    """End the Follow with this id. It has no answer."""


class Sealed(_Frame, frozen=True, tag=7):
    """A Describe, Create, Append, Read, Publish or Page, sealed to this relay
    (protocol/sealing.py)."""

    sealed: bytes


class Forward(_Frame, frozen=True, tag=8):
    """Ask a hop to hand a sealed request to another relay."""

    to: RelayKey
    """The key of that relay; the hop takes its places from the relay's own word."""
    sealed: bytes


class Inquire(_Frame, frozen=True, tag=9):
    """Ask a hop for the signed descriptor of another relay: nothing can be sealed without it."""

    to: RelayKey
    at: Annotated[tuple[Place, ...], msgspec.Meta(max_length=MAX_PLACES)]
    """The places where the hop may ask, if it does not find the relay at those that the relay
    itself names."""


class Cover(_Frame, frozen=True, tag=10):
    """Like Forward, but the hop hands it on late in the round, with all others in random order."""

    to: RelayKey
    sealed: bytes


class Publish(_Frame, frozen=True, tag=11):
    """Like Append, but the relay carries it out at the end of the round, with all others in random
    order."""

    drop_id: DropIdBytes
    append_token: Token
    cell: Cell


class Page(_Frame, frozen=True, tag=12):
    """Read at most PAGE_BYTES of cells after `after`, without waiting. If it is sealed, its answer
    has the same length whatever it contains."""

    drop_id: DropIdBytes
    read_token: Token
    after: Seq


class Consult(_Frame, frozen=True, tag=13):
    """Ask for a part of the relay's ledger."""

    path: Annotated[str, msgspec.Meta(max_length=MAX_PATH_CHARS)]
    """As in C2SP tlog-tiles (protocol/tlog.py)."""


class Move(_Frame, frozen=True, tag=14):
    """Take a step of a move (protocol/moving.py)."""

    move: MoveId
    token: Token
    step: Step


class Grant(_Frame, frozen=True, tag=15):
    """Give the Follow with this id more credit. It has no answer."""

    credit: Credit


class Locate(_Frame, frozen=True, tag=16):
    """Ask for the newest signed address of another relay, and bring the one that we know."""

    relay: RelayKey
    known: RelayAddress | None

    def __post_init__(self) -> None:
        if self.known is not None and self.known.key != self.relay:
            raise ValueError("another relay's")


class Introduce(_Frame, frozen=True, tag=17):
    """Say which relay asks, as a hop (protocol/introduction.py). It has no answer."""

    hop: RelayKey
    signature: Annotated[
        bytes, msgspec.Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)
    ]


class Described(_Frame, frozen=True, tag=1):
    """The signed descriptor and the 32-byte bucket key, which is empty without access."""

    descriptor: Annotated[bytes, msgspec.Meta(max_length=16 * 1024)]
    bucket_key: Annotated[bytes, msgspec.Meta(max_length=TOKEN_BYTES)]


class Created(_Frame, frozen=True, tag=2):
    """The drop exists; `head` is the seq of its last cell, 0 if it never held one."""

    head: Seq


class Appended(_Frame, frozen=True, tag=3):
    """The cell is on disk: its seq (from 1) and the drop's digest after it."""

    seq: Seq
    digest: Hash


class Cells(_Frame, frozen=True, tag=4):
    """Consecutive cells, the first with seq `first`.

    `before` is the drop's digest before the first, `head` the seq of the drop's last cell. With no
    cells, `first` is `head + 1` and `before` is the digest at the head. `first` is greater than
    `after + 1` only when the cells between have expired.
    """

    first: Seq
    before: Hash
    cells: Annotated[list[Cell], msgspec.Meta(max_length=MAX_CELLS)]
    head: Seq


class Failed(_Frame, frozen=True, tag=5):
    """The relay refuses the request: an error's code and, if waiting helps, seconds to wait."""

    code: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_CODE_CHARS)]
    retry_after: Annotated[float, msgspec.Meta(ge=0, le=86_400)] | None = None


class Answer(_Frame, frozen=True, tag=6):
    """The answer to a sealed request, sealed to the request's author."""

    sealed: bytes


class Consulted(_Frame, frozen=True, tag=7):
    """A part of the ledger."""

    part: Annotated[bytes, msgspec.Meta(max_length=MAX_PART_BYTES)]


class Moving(_Frame, frozen=True, tag=8):
    """The answer to a step of a move, which has been taken."""

    drops: Annotated[list[Standing], msgspec.Meta(max_length=MAX_DROPS)]
    statement: Annotated[bytes, msgspec.Meta(max_length=2 * MAX_ORDER_BYTES)] = b""
    signature: Annotated[bytes, msgspec.Meta(max_length=SIGNATURE_BYTES)] = b""


class Moved(_Frame, frozen=True, tag=9):
    """The drop is at another relay now: the signed order by which it went there."""

    order: SignedOrder


class Located(_Frame, frozen=True, tag=10):
    """The newest address signed by that relay, as far as this one knows; None if it knows none."""

    address: RelayAddress | None


Request: TypeAlias = (
    Describe
    | Create
    | Append
    | Read
    | Follow
    | Unfollow
    | Sealed
    | Forward
    | Inquire
    | Cover
    | Publish
    | Page
    | Consult
    | Move
    | Grant
    | Locate
    | Introduce
)
Reply: TypeAlias = (
    Described | Created | Appended | Cells | Failed | Answer | Consulted | Moving | Moved | Located
)

_requests: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_replies: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


def encode(frame: Request | Reply) -> bytes:
    """The one encoding of a frame."""
    return codec.encode(frame)


def with_id(request: Request, number: int) -> Request:
    """The same request under another id."""
    return msgspec.structs.replace(request, id=number)


def decode_request(data: bytes) -> Request:
    """The request in a frame. Raises FrameTooLarge or MalformedFrame."""
    if len(data) > MAX_REQUEST_BYTES:
        raise FrameTooLarge(f"{len(data)} bytes; the limit is {MAX_REQUEST_BYTES}")
    return codec.decode(_requests, data, MalformedFrame)


def decode_reply(data: bytes) -> Reply:
    """The reply in a frame. Raises FrameTooLarge or MalformedFrame."""
    if len(data) > MAX_REPLY_BYTES:
        raise FrameTooLarge(f"{len(data)} bytes; the limit is {MAX_REPLY_BYTES}")
    return codec.decode(_replies, data, MalformedFrame)
