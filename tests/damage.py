"""Bytes that differ from good ones for certain: writing a fixed byte over another may not."""

from __future__ import annotations


def changed_at(data: bytes, at: int = -1) -> bytes:
    """The same bytes but one, which has one bit turned."""
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)
