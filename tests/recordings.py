"""Recordings as browsers write them, with everything that they write beside the sound."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SILENCE = b"\xf8\xff\xfe"
"""A packet of Opus: 20 ms in which nothing is heard."""
PLANTED = (b"planted browser 153.0", b"planted: 2026-11-30T12:00:00", b"\x7f\xcb\xbb\x3e")
"""The name of a program, a time, and a number that was drawn at random."""


def head(*, channels: int = 1, skip: int = 312, rate: int = 44_100, layout: int = 0) -> bytes:
    """The first packet of a stream."""
    return b"OpusHead" + struct.pack("<BBHIhB", 1, channels, skip, rate, 0, layout)


def webm(
    packets: Sequence[bytes],
    *,
    first: bytes | None = None,
    codec: bytes = b"A_OPUS",
    tracks: int = 1,
    flags: int = 0x80,
) -> bytes:
    """A WebM file whose segment and cluster have no length, as Chromium writes it."""
    program, time, number = PLANTED
    info = element(0x2AD7B1, (10**6).to_bytes(3, "big")) + element(0x4D80, program)
    info += element(0x5741, program) + element(0x7BA9, time) + element(0x4461, bytes(8))
    track = element(0xD7, b"\x01") + element(0x73C5, number) + element(0x86, codec)
    track += element(0x63A2, head() if first is None else first)
    opened = element(0x1A45DFA3, element(0x4282, b"webm"))
    opened += bytes.fromhex("18538067 01ffffffffffffff") + element(0x1549A966, info)
    opened += element(0x1654AE6B, element(0xAE, track) * tracks)
    opened += bytes.fromhex("1f43b675 01ffffffffffffff") + element(0xE7, b"\x00")
    blocks = (
        element(0xA3, b"\x81" + struct.pack(">hB", at % 1000, flags) + one)
        for at, one in enumerate(packets)
    )
    return opened + b"".join(blocks)


def element(name: int, body: bytes) -> bytes:
    """An element of EBML; its size takes four bytes."""
    size = (len(body) | 1 << 28).to_bytes(4, "big")
    return name.to_bytes(-(-name.bit_length() // 8), "big") + size + body


def ogg(packets: Sequence[bytes], *, first: bytes | None = None, other: int = 0) -> bytes:
    """An Ogg file with all segments of a page full, as Firefox writes it; with `other`, its last
    page is of another stream."""
    program, time, number = PLANTED
    tags = b"OpusTags" + struct.pack("<I", len(program)) + program
    tags += struct.pack("<II", 1, len(time)) + time
    stream = int.from_bytes(number, "little")
    made = _page(0, 2, stream, [head() if first is None else first], is_open=False)
    made += _page(1, 0, stream, [tags], is_open=False)
    segments = [one for packet in packets for one in _segments(packet)]
    pages = [segments[at : at + 255] for at in range(0, len(segments), 255)]
    is_open = False
    for at, page in enumerate(pages):
        last = at == len(pages) - 1
        flags = is_open | 4 * last
        is_open = len(page[-1]) == 255  # such a packet goes on
        made += _page(at + 2, flags, stream + other * last, page, is_open=True)
    return made


def _segments(packet: bytes) -> Iterator[bytes]:
    for at in range(0, len(packet) + 1, 255):
        yield packet[at : at + 255]


def _page(number: int, flags: int, stream: int, parts: list[bytes], *, is_open: bool) -> bytes:
    """A page with these segments, or with whole packets."""
    segments = parts if is_open else [one for packet in parts for one in _segments(packet)]
    sizes = bytes(len(one) for one in segments)
    fields = struct.pack("<4sBBQIIIB", b"OggS", 0, flags, 7, stream, number, 0, len(sizes))
    return fields + sizes + b"".join(segments)
