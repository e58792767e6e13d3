"""Drops: their ids, capabilities and digests (docs/protocol.md, section 2).

A drop is an append-only, totally ordered, expiring sequence of cells. Anyone who knows a drop's
32-byte secret can derive its id and both of its capabilities; the relay sees only the id and
hashes of the capabilities.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import NamedTuple

from amanat.errors import BadArgument

SECRET_BYTES = 32
"""Length of the secret from which a drop is derived, in bytes."""
NONCE_BYTES = 16
"""The unguessable part of a drop id, in bytes: 128 bits, so that nobody can search for ids."""
REGION_TAG_BYTES = 8
"""The part of a drop id that binds its region, in bytes: 64 bits, so no stray passes by chance."""
DROP_ID_BYTES = NONCE_BYTES + REGION_TAG_BYTES
TOKEN_BYTES = 32
"""Length of an append or read token, in bytes."""
HASH_BYTES = 32
"""Length of a token hash and of a digest, in bytes (SHA-256)."""

MESSAGE_RETENTION_DAYS = 14
"""How long cells of buckets and file drops rest, in days."""
HANDSHAKE_RETENTION_DAYS = 30
"""How long cells of epoch drops rest, in days: a client away for a month can still follow."""
RETENTION_DAYS = (MESSAGE_RETENTION_DAYS, HANDSHAKE_RETENTION_DAYS)
"""The retentions with which a drop may be created: few, so that they tell little."""

_REGION = re.compile(r"[A-Z]{2}")


class Drop(NamedTuple):
    """A drop with both capabilities.

    `drop_id` is 24 bytes, `append_token` and `read_token` 32 bytes each.
    """

    drop_id: bytes
    append_token: bytes
    read_token: bytes


def check_region(region: str) -> str:
    """`region` itself, if it is a region name: two capital letters (ISO 3166-1 alpha-2, or a named
    set such as EU).

    Raises BadArgument otherwise.
    """
    if not _REGION.fullmatch(region):
        raise BadArgument(f"{region!r} is not a region: use two capital letters, such as IR or DE")
    return region


def region_tag(region: str, nonce: bytes) -> bytes:
    """The 8 bytes that bind a 16-byte nonce to a region; they look random to anyone who does not
    try the region."""
    return hashlib.sha256(b"amanat drop region" + region.encode() + nonce).digest()[
        :REGION_TAG_BYTES
    ]


def in_region(drop_id: bytes, region: str) -> bool:
    """Whether a 24-byte drop id was made for `region`. Anyone can check this, for any region."""
    nonce, tag = drop_id[:NONCE_BYTES], drop_id[NONCE_BYTES:]
    return len(drop_id) == DROP_ID_BYTES and hmac.compare_digest(tag, region_tag(region, nonce))


def expand(secret: bytes, purpose: bytes, context: bytes = b"") -> bytes:
    """32 bytes derived from a uniformly random 32-byte `secret`.

    HMAC-SHA-256 as a pseudorandom function: HKDF-Expand (RFC 5869, section 2.3) of one block, with
    `purpose || 0x00 || context` as its info.
    """
    return hmac.digest(secret, purpose + b"\x00" + context + b"\x01", "sha256")


def derive_drop(secret: bytes, *, purpose: bytes, region: str) -> Drop:
    """The drop that belongs to a 32-byte secret: same secret, purpose and region, same drop."""
    nonce = expand(secret, purpose + b" id")[:NONCE_BYTES]
    return Drop(
        drop_id=nonce + region_tag(region, nonce),
        append_token=expand(secret, purpose + b" append"),
        read_token=expand(secret, purpose + b" read"),
    )


def derive_bucket(bucket_key: bytes, index: int, *, region: str) -> Drop:
    """Bucket number `index` (from 0) of the relay with this 32-byte bucket key."""
    return derive_drop(
        expand(bucket_key, b"amanat bucket", index.to_bytes(4, "big")),
        purpose=b"amanat bucket drop",
        region=region,
    )


def token_hash(drop_id: bytes, token: bytes) -> bytes:
    """The 32-byte hash that the relay keeps in place of a token, different for every drop."""
    return hashlib.sha256(b"amanat token" + drop_id + token).digest()


def first_digest(drop_id: bytes) -> bytes:
    """The 32-byte digest of a drop that never held a cell."""
    return hashlib.sha256(b"amanat digest" + drop_id).digest()


def next_digest(digest: bytes, cell: bytes) -> bytes:
    """The digest after appending a cell (label and ciphertext) to a drop whose digest was
    `digest`."""
    return hashlib.sha256(digest + cell).digest()
