"""The wrapping of a stored cell: AES-256-GCM, with a key of its drop and UTC day, and bound to its
place."""

from __future__ import annotations

import itertools
import os
import struct
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from amanat.errors import StoreDamaged

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from amanat.protocol.moving import ShredKey, WrappedCell

NONCE_BYTES = 12
WRAP_BYTES = NONCE_BYTES + 16
"""The bytes by which a wrapped cell is longer than the cell: nonce and tag."""
KEY_BYTES = 32
NONCES = 1024
"""Nonces that are taken from the system at once."""


def nonces() -> Iterator[bytes]:
    """Random nonces, without end. To ask the system for each alone hands the interpreter to another
    thread each time, and a batch has hundreds of cells."""
    while True:
        some = os.urandom(NONCES * NONCE_BYTES)
        for start in range(0, len(some), NONCE_BYTES):
            yield some[start : start + NONCE_BYTES]


def nonces_from(first: int) -> Iterator[bytes]:
    """Nonces that count from a number, without end."""
    for number in itertools.count(first):
        yield (number % 2 ** (8 * NONCE_BYTES)).to_bytes(NONCE_BYTES, "big")


_PLACE = struct.Struct(">QQ")
"""The number of a drop and the seq of a cell in it, as a move tells them."""


def bound_to(number: int, seq: int) -> bytes:
    """A cell's associated data: it opens only where it was put."""
    return _PLACE.pack(number, seq)


def wrap_all(
    key: AESGCM, nonces: Iterable[bytes], cells: Sequence[bytes], number: int, *, first: int
) -> list[bytes]:
    """Cells as they rest in a drop, bound to its number, starting with a seq."""
    encrypt, bound = key.encrypt, _PLACE.pack
    return [
        nonce + encrypt(nonce, cell, bound(number, seq))
        # The nonces come last, so that none is taken without a cell.
        for cell, seq, nonce in zip(cells, itertools.count(first), nonces, strict=False)
    ]


def unwrap(opener: AESGCM, number: int, seq: int, wrapped: bytes) -> bytes:
    """The cell that rests wrapped at a place. Raises StoreDamaged."""
    try:
        return opener.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], bound_to(number, seq))
    except InvalidTag:
        raise StoreDamaged("a cell does not open") from None


def unwrap_all(
    cells: Sequence[WrappedCell], keys: Iterable[ShredKey], number: int, *, after: int
) -> list[bytes]:
    """The cells that rest wrapped in a drop, bound to its number, starting after a seq.

    Raises StoreDamaged.
    """
    openers = {one.day: AESGCM(one.key).decrypt for one in keys}
    try:
        return [
            openers[one.day](
                one.wrapped[:NONCE_BYTES], one.wrapped[NONCE_BYTES:], bound_to(number, seq)
            )
            for seq, one in enumerate(cells, after + 1)
        ]
    except (InvalidTag, KeyError, ValueError):
        raise StoreDamaged("a cell does not open") from None
