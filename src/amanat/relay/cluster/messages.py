"""A message of a drop: one change of it, with the record of the drop after the change.

The record is in a header, so that a scan reads it without the cells. A proof, which only the
relay's own processes can make, binds record and cells to the drop and to the predecessor: a message
that a node has changed, or has put in another place, is not taken for one of ours.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import TYPE_CHECKING, Annotated, Self, TypeAlias

import msgspec

from amanat.errors import StoreDamaged
from amanat.protocol import codec
from amanat.protocol.cells import CELL_SIZES, LABEL_BYTES
from amanat.protocol.drops import DROP_ID_BYTES, HASH_BYTES, expand
from amanat.protocol.ledger import MAX_ENTRY_BYTES
from amanat.relay.store.wrapping import KEY_BYTES, WRAP_BYTES

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from amanat.relay.cluster.engine import Message

GENERATION_BYTES = 16
"""Length of the name of a generation of roots, in bytes."""
MAX_CELLS = 4096
"""Most cells in one message."""
MAX_KEYS = 64
"""Most keys in one message: those of each day that a drop may hold."""
MAX_ENTRIES = 200
"""Most entries in one message of a journal. The engine takes a thousand messages in one batch."""

_RECORD = "Amanat-Record"
_PROOF = "Amanat-Proof"

DropId: TypeAlias = Annotated[
    bytes, msgspec.Meta(min_length=DROP_ID_BYTES, max_length=DROP_ID_BYTES)
]
Hash: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=HASH_BYTES, max_length=HASH_BYTES)]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=2**62)]
Day: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=10**8)]
Generation: TypeAlias = Annotated[
    bytes, msgspec.Meta(min_length=GENERATION_BYTES, max_length=GENERATION_BYTES)
]


class Kept(codec.Record, frozen=True):
    """The record of a drop in the cluster."""

    drop_id: DropId
    append_hash: Hash
    read_hash: Hash
    retention_days: Annotated[int, msgspec.Meta(ge=1, le=366)]
    bucket: bool
    head: Count
    digest: Hash
    cells: Count
    bytes: Count
    last_day: Day
    oldest_day: Day | None
    state: Annotated[int, msgspec.Meta(ge=0, le=2)]
    move: Count
    bound: Count
    generation: Generation
    """The roots by which new keys of the drop are wrapped."""
    is_ended: bool
    """Whether the drop has ended. Such a message waits to be purged."""


class WrappedKey(codec.Record, frozen=True, gc=False):
    """The key of a drop and day, wrapped by a root."""

    day: Day
    last_day: Day
    generation: Generation
    wrapped: Annotated[
        bytes,
        msgspec.Meta(min_length=KEY_BYTES + WRAP_BYTES, max_length=KEY_BYTES + WRAP_BYTES),
    ]


class Resting(codec.Record, frozen=True, gc=False):
    """A cell as it rests."""

    day: Day
    label: Annotated[bytes, msgspec.Meta(min_length=LABEL_BYTES, max_length=LABEL_BYTES)]
    before: Hash
    """The drop's digest before the cell."""
    wrapped: Annotated[
        bytes,
        msgspec.Meta(
            min_length=min(CELL_SIZES) + WRAP_BYTES, max_length=max(CELL_SIZES) + WRAP_BYTES
        ),
    ]


class Change(codec.Record, frozen=True):
    """The body of a message."""

    keys: Annotated[list[WrappedKey], msgspec.Meta(max_length=MAX_KEYS)]
    """The keys of the days of these cells; without cells, keys that replace those of their days."""
    cells: Annotated[list[Resting], msgspec.Meta(max_length=MAX_CELLS)]
    """The last of them has the record's head as its seq."""


class Journal(codec.Record, frozen=True):
    """The body of a message of a journal: the entries of the changes that were made with it."""

    entries: Annotated[
        list[Annotated[bytes, msgspec.Meta(max_length=MAX_ENTRY_BYTES)]],
        msgspec.Meta(max_length=MAX_ENTRIES),
    ]
    gate: Count
    """The number of the last move by which this shard's drops go; 0 if there was none. A
    process that creates a drop after that knows the move."""


_kept = codec.decoder_of(Kept)
_journal = codec.decoder_of(Journal)
_change = codec.decoder_of(Change)


def decode_kept(data: bytes) -> Kept:
    """The record in some bytes. Raises StoreDamaged."""
    return codec.decode(_kept, data, StoreDamaged)


def decode_change(data: bytes) -> Change:
    """The change in some bytes. Raises StoreDamaged."""
    return codec.decode(_change, data, StoreDamaged)


def decode_journal(data: bytes) -> Journal:
    """The body of a journal's message. Raises StoreDamaged."""
    return codec.decode(_journal, data, StoreDamaged)


class Sealer:
    """Makes and checks proofs."""

    def __init__(self, key: bytes) -> None:
        """`key` is known to the relay's processes alone."""
        self._key = key

    @classmethod
    def of(cls, identity: Ed25519PrivateKey) -> Self:
        """That of the relay with this key."""
        return cls(expand(identity.private_bytes_raw(), b"amanat cluster messages"))

    def headers(self, subject: str, before: int, record: bytes, body: bytes) -> dict[str, str]:
        """The headers of a message. One of a journal has no record."""
        return {
            _RECORD: base64.b64encode(record).decode(),
            _PROOF: base64.b64encode(self._proof(subject, before, record, body)).decode(),
        }

    def _proof(self, subject: str, before: int, record: bytes, body: bytes) -> bytes:
        mac = hmac.new(self._key, digestmod="sha256")
        for part in (subject.encode(), b"%d" % before, record):
            mac.update(len(part).to_bytes(4, "big") + part)
        mac.update(body)
        return mac.digest()

    def open(self, message: Message) -> tuple[Kept, Change]:
        """The record and the change in a message. Raises StoreDamaged unless this relay wrote it as
        it is."""
        record = self._checked(message)
        return decode_kept(record), decode_change(message.body)

    def open_journal(self, message: Message) -> Journal:
        """A message of a journal. Raises StoreDamaged unless this relay wrote it as it is."""
        self._checked(message)
        return decode_journal(message.body)

    def proves(self, message: Message) -> bool:
        """Whether this relay wrote the message as it is."""
        try:
            self._checked(message)
        except StoreDamaged:
            return False
        return True

    def _checked(self, message: Message) -> bytes:
        try:
            record = base64.b64decode(message.headers[_RECORD], validate=True)
            proof = base64.b64decode(message.headers[_PROOF], validate=True)
        except (KeyError, binascii.Error, ValueError):
            raise StoreDamaged("a message without a record") from None
        wanted = self._proof(message.subject, message.before, record, message.body)
        if not hmac.compare_digest(proof, wanted):
            raise StoreDamaged("a message is not as the relay wrote it")
        return record


def record_in(message: Message) -> Kept:
    """The record of a message whose body was not read, without its proof: enough to find drops,
    never to change one. Raises StoreDamaged."""
    try:
        record = base64.b64decode(message.headers[_RECORD], validate=True)
    except (KeyError, binascii.Error, ValueError):
        raise StoreDamaged("a message without a record") from None
    return decode_kept(record)
