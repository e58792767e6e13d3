"""Cells: fixed sizes, one-time labels and keys, sealing (docs/protocol.md, section 3).

A cell is `label (16 bytes) || ciphertext`. Label and key come from a one-time secret *and* the
drop, so the same message deposited in two drops shares no byte, and no key ever seals two texts.
"""

from __future__ import annotations

from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from amanat.errors import InvalidCell, MessageTooLarge
from amanat.protocol.drops import expand

LABEL_BYTES = 16
"""Length of a one-time label, in bytes."""
MESSAGE_CELL = 1024
"""Bytes of a message cell: the smallest power of two that holds 99 % of the messages of real
traces with all overhead (measured by bench/cells.py)."""
HANDSHAKE_CELL = 16 * 1024
"""Bytes of a cell for Commits, knocks and Welcomes: a hybrid KeyPackage alone is about 3 KiB."""
LARGE_CELL = 64 * 1024
"""Bytes of a cell for file chunks and large handshakes."""
CELL_SIZES = (MESSAGE_CELL, HANDSHAKE_CELL, LARGE_CELL)
"""The only sizes of a cell, smallest first."""

_TAG_BYTES = 16
_LENGTH_BYTES = 4
CELL_OVERHEAD = LABEL_BYTES + _TAG_BYTES + _LENGTH_BYTES
"""Bytes of a cell that carry no payload."""
MAX_PAYLOAD = LARGE_CELL - CELL_OVERHEAD
"""The longest payload that one cell carries, in bytes."""

# Every key seals exactly one text, so the nonce may be constant (RFC 8439, section 2.8: a nonce
# must not repeat *for the same key*).
_NONCE = bytes(12)


class OneTime(NamedTuple):
    """A 16-byte label and the 32-byte key that goes with it, both good for one cell of one drop."""

    label: bytes
    key: bytes


def one_time(secret: bytes, *, region: str, drop_id: bytes) -> OneTime:
    """Label and key of the cell that a 32-byte one-time secret puts into a drop of a region."""
    return OneTime(
        label=label_of(secret, region=region, drop_id=drop_id),
        key=expand(secret, b"amanat cell key", region.encode() + drop_id),
    )


def label_of(secret: bytes, *, region: str, drop_id: bytes) -> bytes:
    """The label alone: people who expect thousands of cells derive the key of those that come."""
    return expand(secret, b"amanat cell label", region.encode() + drop_id)[:LABEL_BYTES]


def seal(
    once: OneTime, payload: bytes, *, region: str, drop_id: bytes, least: int = MESSAGE_CELL
) -> bytes:
    """The cell that carries `payload`, padded to the smallest cell size that holds it and is not
    below `least`.

    ChaCha20-Poly1305 (RFC 8439); region, drop and label are its associated data. Raises
    MessageTooLarge beyond MAX_PAYLOAD bytes.
    """
    fitting = (size for size in CELL_SIZES if len(payload) <= size - CELL_OVERHEAD)
    size = next((size for size in fitting if size >= least), None)
    if size is None:
        raise MessageTooLarge(f"{len(payload)} bytes; a cell holds {MAX_PAYLOAD}")
    plain = len(payload).to_bytes(_LENGTH_BYTES, "big") + payload
    plain = plain.ljust(size - LABEL_BYTES - _TAG_BYTES, b"\x00")
    sealed = ChaCha20Poly1305(once.key).encrypt(_NONCE, plain, _associated(once, region, drop_id))
    return once.label + sealed


def open_cell(once: OneTime, cell: bytes, *, region: str, drop_id: bytes) -> bytes:
    """The payload of a cell. Raises InvalidCell, with one answer for every reason."""
    if len(cell) not in CELL_SIZES or cell[:LABEL_BYTES] != once.label:
        raise InvalidCell
    try:
        plain = ChaCha20Poly1305(once.key).decrypt(
            _NONCE, memoryview(cell)[LABEL_BYTES:], _associated(once, region, drop_id)
        )
    except InvalidTag:
        raise InvalidCell from None
    length = int.from_bytes(plain[:_LENGTH_BYTES], "big")
    payload, padding = plain[_LENGTH_BYTES:][:length], plain[_LENGTH_BYTES + length :]
    if len(payload) != length or padding != bytes(len(padding)):
        raise InvalidCell
    return payload


def _associated(once: OneTime, region: str, drop_id: bytes) -> bytes:
    return region.encode() + drop_id + once.label
