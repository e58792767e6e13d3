"""The records that a hostile relay, hop or line observer writes, one a line.

The recorder that writes these is no part of this program: it is in `hostile/` of a clone, runs the
ordinary relay, and observes it from outside. It records every frame by its fields, so a new kind of
frame needs no change here.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from amanat.protocol import codec
from amanat.protocol.cells import LABEL_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from amanat.protocol import wire

Field: TypeAlias = int | float | str | None
SHORT_BYTES = 64
"""Bytes up to which a field is recorded whole: ids and tokens are, cells and seals are not."""
DIGEST_BYTES = 16
"""Bytes by which a cell or a seal is recognised: in two logs of one run no two collide."""


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=str.lower):
    at: int
    """Unix microseconds."""


class Opened(_Record, frozen=True):
    """A client has connected."""

    connection: int
    peer: str
    port: int


class Closed(_Record, frozen=True):
    """A connection has ended."""

    connection: int


class Frame(_Record, frozen=True):
    """A frame came in or goes out. The content of a sealed one is a frame with `is_sealed`."""

    connection: int
    peer: str
    port: int
    direction: Literal["in", "out"]
    verb: str
    id: int
    size: int
    """Bytes of the frame on the connection."""
    is_sealed: bool
    fields: dict[str, Field]


class Carried(_Record, frozen=True):
    """An ISP saw bytes of somebody's line, on the way to a relay ("up") or from it."""

    line: str
    port: int
    """The port of the relay."""
    direction: Literal["up", "down"]
    size: int


Record: TypeAlias = Opened | Closed | Frame | Carried

_decoder: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)


def encode(record: Record) -> bytes:
    """A record as one line."""
    return msgspec.json.encode(record) + b"\n"


def read(path: Path) -> Iterator[Record]:
    """The records of a log, in order. Raises msgspec.ValidationError for anything else."""
    with path.open("rb") as log:
        for line in log:
            yield _decoder.decode(line)


def fields(frame: wire.Request | wire.Reply) -> dict[str, Field]:
    """All fields of a frame, by name: for long bytes their number, their digest and their
    beginning; for a list its length; for a record its size in bytes."""
    found: dict[str, Field] = {}
    for name, value in msgspec.structs.asdict(frame).items():
        if name == "id":
            continue
        if isinstance(value, msgspec.Struct):
            value = codec.encode(value)  # noqa: PLW2901  # the same, as it was said
        if isinstance(value, list | tuple):
            found[f"{name} many"] = len(value)
        elif isinstance(value, bytes) and len(value) > SHORT_BYTES:
            found[f"{name} size"] = len(value)
            found[f"{name} digest"] = digest(value)
            found["label" if name == "cell" else f"{name} start"] = value[:LABEL_BYTES].hex()
        else:
            found[name] = value.hex() if isinstance(value, bytes) else value
    return found


def digest(data: bytes) -> str:
    """The digest by which bytes are recognised in another log."""
    return hashlib.sha256(data).hexdigest()[: 2 * DIGEST_BYTES]
