"""The entries in the ledger of a relay, strictly decoded (docs/protocol.md, section 17).

A ledger is a transparency log (protocol/tlog.py) with an entry for everything that begins, moves or
ends at a relay. An entry names a drop by a hash: anyone who knows the drop's id finds its entries,
and nobody else learns an id from them.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, TypeAlias, cast

import msgspec

from amanat.errors import BrokenLedger
from amanat.protocol import codec
from amanat.protocol.descriptor import RelayKey, b64
from amanat.protocol.drops import HASH_BYTES

HOUR_S = 3600
"""Seconds in an hour. Entries tell time no finer, and so tell less about who was awake when."""
MAX_ENTRY_BYTES = 256
"""Longest entry, in bytes."""

Hash: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=HASH_BYTES, max_length=HASH_BYTES)]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
Hour: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]


class _Entry(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    drop: Hash
    """`drop_hash` of its id."""
    hour: Hour
    """Unix time, in whole hours."""


class Created(_Entry, frozen=True, tag=1):
    """A drop was created, and is empty."""


class _Moved(_Entry, frozen=True):
    relay: RelayKey
    """The key of the other relay."""
    head: Count
    """The drop's head then, and its digest there: both relays must say the same."""
    digest: Hash
    cells: Count
    """How many cells moved; the others up to the head had expired before."""
    bytes: Count


class MovedIn(_Moved, frozen=True, tag=2):
    """A drop came from another relay, or from this one itself if it is older than the ledger."""


class MovedOut(_Moved, frozen=True, tag=3):
    """A drop went to another relay."""


class Expired(_Entry, frozen=True, tag=4):
    """A number of cells of a drop, the oldest that it held, have expired and are erased."""

    cells: Count
    bytes: Count


class Erased(_Entry, frozen=True, tag=5):
    """A drop is erased, with the cells that it still held."""

    cells: Count
    bytes: Count


Entry: TypeAlias = Created | MovedIn | MovedOut | Expired | Erased

_entry = codec.decoder_of(cast("type[Entry]", Entry))


def encode_entry(entry: Entry) -> bytes:
    """The one encoding of an entry."""
    return codec.encode(entry)


def decode_entry(data: bytes) -> Entry:
    """The entry in some bytes. Raises BrokenLedger."""
    if len(data) > MAX_ENTRY_BYTES:
        raise BrokenLedger
    return codec.decode(_entry, data, BrokenLedger)


def drop_hash(drop_id: bytes) -> bytes:
    """The hash that stands for a drop in a ledger."""
    return hashlib.sha256(b"amanat ledger drop" + drop_id).digest()


def hour_of(now: float) -> int:
    """The hour for an entry made at the Unix time `now`."""
    return int(now // HOUR_S)


def origin(relay_key: bytes) -> str:
    """The name of a relay's ledger, which stands in its checkpoints."""
    return f"amanat/ledger/{b64(relay_key)}"
