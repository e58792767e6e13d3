"""Strict MessagePack: exactly one encoding of every value (docs/protocol.md, section 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

if TYPE_CHECKING:
    from amanat.errors import AmanatError

T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()


class Record(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Base of records encoded as a MessagePack array: all fields in order, and nothing else."""


def encode(value: msgspec.Struct) -> bytes:
    """The one encoding of a value."""
    return _encoder.encode(value)


def decode(decoder: msgspec.msgpack.Decoder[T], data: bytes, refusal: type[AmanatError]) -> T:
    """The value in `data`. Raises `refusal` for anything but the one encoding of a value.

    MessagePack can write one value in several ways. Accepting only ours leaves no room for hidden
    bits, and makes `encode(decode(x)) == x` a law.
    """
    try:
        value = decoder.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise refusal from None
    if _encoder.encode(value) != data:
        raise refusal
    return value


def decoder_of(kind: type[T]) -> msgspec.msgpack.Decoder[T]:
    """A decoder to hand to `decode`."""
    decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(kind)
    return decoder
