"""What stands in the ledger of a relay, strictly decoded (docs/protocol.md, section 17).

A ledger is a transparency log (protocol/tlog.py) with an entry for whatever begins, moves or ends
at a relay. An entry names a drop by a hash: who knows the drop's id finds its entries, nobody else
learns an id from them.
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
"""Seconds in an hour: entries tell time no finer, so that they tell less of who was awake when."""
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
    """A drop was made, and holds nothing."""


class _Moved(_Entry, frozen=True):
    relay: RelayKey
    """The other relay's."""
    head: Count
    """The drop's head then, and its digest there: both relays must say the same."""
    digest: Hash
    cells: Count
    """How many cells moved; those up to the head that did not had ended before."""
    bytes: Count


class MovedIn(_Moved, frozen=True, tag=2):
    """A drop came from another relay; from this one itself if it was here before the ledger was."""


class MovedOut(_Moved, frozen=True, tag=3):
    """A drop went to another relay."""


class Expired(_Entry, frozen=True, tag=4):
    """So many cells of a drop, the oldest it held, have ended and are erased."""

    cells: Count
    bytes: Count


class Erased(_Entry, frozen=True, tag=5):
    """A drop is gone, and with it the cells that it still held."""

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
    """What stands for a drop in a ledger."""
    return hashlib.sha256(b"amanat ledger drop" + drop_id).digest()


def hour_of(now: float) -> int:
    """The hour that an entry tells."""
    return int(now // HOUR_S)


def origin(relay_key: bytes) -> str:
    """The name of a relay's ledger, which stands in its checkpoints."""
    return f"amanat/ledger/{b64(relay_key)}"
