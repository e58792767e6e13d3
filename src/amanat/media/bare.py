"""Whether a picture file holds a picture and has no place in which anything else could stand.

The child is believed in nothing. A program looks by itself at what the child has made, before it
leaves: the blocks of a file can be checked without decoding a point of it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

MAX_SEGMENTS = 64
"""Most segments of a JPEG: a progressive one has some thirty."""
MAX_SEGMENT_BYTES = 2_048
"""Longest of them: all codes of a picture together."""
_START, _END, _SCAN = 0xD8, 0xD9, 0xDA
_FRAMES = frozenset({0xC0, 0xC2})
"""Segments with a JPEG's sides: baseline and progressive."""
_SEGMENTS = _FRAMES | {0xC4, 0xDB, 0xDD, _SCAN}
"""Segments of a JPEG that a picture needs: a frame, codes, quantities, an interval, scans. Metadata
stands in others: APP1 to APP15, and comments."""
_FRAME_BYTES = 6
"""The beginning of a frame: a byte, the height and the width."""
_JFIF = 0xE0
_JFIF_HEAD = b"JFIF\x00\x01\x01"
_JFIF_BYTES = 14
"""A JFIF segment without a thumbnail."""
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""A marker inside a scan: FF is followed by zero in coded points, and restarts belong to them."""
_SIDE = (1 << 14) - 1
"""A side of a WebP's picture, in bits."""
_ALPHA = 0x10
"""The flag of VP8X that says that there is transparency: the only one that a bare file has."""
_CHUNKS = ([b"VP8 "], [b"VP8L"], [b"VP8X", b"ALPH", b"VP8 "], [b"VP8X", b"VP8L"])
"""The chunks of a bare WebP."""


def is_bare(data: bytes, kind: str) -> bool:
    """Whether a file of a media type is whole and holds nothing but a picture."""
    return sides(data, kind) is not None


def sides(data: bytes, kind: str) -> tuple[int, int] | None:
    """Width and height of a picture, if its file holds nothing else."""
    return {"image/jpeg": _of_jpeg, "image/webp": _of_webp}[kind](data)


def _of_jpeg(data: bytes) -> tuple[int, int] | None:
    if data[:2] != bytes((0xFF, _START)):
        return None
    at, found = 2, list[tuple[int, int]]()
    for _ in range(MAX_SEGMENTS):
        if data[at : at + 3] == bytes((0xFF, _END)):  # and not a byte more
            return found[0] if len(found) == 1 else None
        marker, length = data[at + 1 : at + 2], int.from_bytes(data[at + 2 : at + 4], "big")
        body = data[at + 4 : at + 2 + length]
        if data[at : at + 1] != b"\xff" or len(body) != length - 2 or not _is_known(marker, body):
            return None
        at += 2 + length
        if marker[0] in _FRAMES and len(body) >= _FRAME_BYTES:
            found.append((int.from_bytes(body[3:5], "big"), int.from_bytes(body[1:3], "big")))
        if marker[0] == _SCAN:
            next_marker = _MARKER.search(data, at)
            if next_marker is None:
                return None
            at = next_marker.start()
    return None


def _is_known(marker: bytes, body: bytes) -> bool:
    if marker == bytes((_JFIF,)):
        return len(body) == _JFIF_BYTES and body.startswith(_JFIF_HEAD)
    return marker[0] in _SEGMENTS and len(body) <= MAX_SEGMENT_BYTES


def _of_webp(data: bytes) -> tuple[int, int] | None:
    is_riff = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    if not is_riff or int.from_bytes(data[4:8], "little") != len(data) - 8:
        return None
    chunks = list(itertools.islice(_chunks(data), max(map(len, _CHUNKS)) + 1))
    if [name for name, _ in chunks] not in _CHUNKS:
        return None
    name, body = chunks[-1]
    if name == b"VP8L":
        coded = int.from_bytes(body[1:5], "little")
        size = ((coded & _SIDE) + 1, (coded >> 14 & _SIDE) + 1)
    else:
        width, height = (int.from_bytes(body[at : at + 2], "little") for at in (6, 8))
        size = (width & _SIDE, height & _SIDE)
    if len(chunks) > 1:
        _, whole = chunks[0]
        wanted = bytes((_ALPHA, 0, 0, 0)) + b"".join(
            (side - 1).to_bytes(3, "little", signed=True) for side in size
        )
        if whole != wanted:
            return None
    return size


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a RIFF file; one that is not whole has the name of nothing."""
    at = 12
    while at < len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        body = data[at + 8 : at + 8 + length]
        padding = data[at + 8 + length : at + 8 + length + length % 2]
        if len(body) != length or padding != bytes(length % 2):
            yield b"", b""
            return
        yield data[at : at + 4], body
        at += 8 + length + length % 2
