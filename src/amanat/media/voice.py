"""Voice notes as they leave: the sound of a recording in a file of our own, and nothing else.

A browser writes more than sound into a recording: its name, numbers of its choice, in some formats
the time. So we take the packets of Opus (RFC 6716) out of the browser's file, and put them into a
new Ogg file (RFC 3533, RFC 7845) in which all else is the same for everybody. Nothing is decoded.
The bytes are the person's own recording, so this needs no child.
"""

from __future__ import annotations

import binascii
import struct
from typing import TYPE_CHECKING, NamedTuple

from amanat.errors import BadArgument, BrokenRecording, RecordingTooLong

if TYPE_CHECKING:
    from collections.abc import Iterator

TYPE = "audio/ogg"
"""The media type of a voice note."""
MAX_VOICE_S = 600
"""The longest voice note, in seconds: whoever has more to say sends a file, or two notes."""
MAX_RECORDING_BYTES = 16 * 1024 * 1024
"""The longest recording that is read, in bytes: ten minutes at 200 kb/s, of which a browser that
does as it is told needs an eighth."""
WAVEFORM_BYTES = 32
"""Length of a waveform: 64 levels from 0 to 15, two in each byte, the earlier one above."""

RATE = 48_000
"""Samples of a second: Opus counts so, whatever the microphone did."""
MAX_PACKET_SAMPLES = 5_760
"""The longest packet (RFC 6716, section 3.2.5): 120 ms."""
_PAGE_SAMPLES = RATE
"""The sound of a page: a player that seeks reads from the beginning of one."""
_MAX_SEGMENTS = 255
_SEGMENT_BYTES = 255
_PAGE = struct.Struct("<4sBBQIIIB")
"""The head of a page: its name, a version, flags, the samples up to its end, a number of the
stream, its own number, a checksum, and the number of its segments."""
_CONTINUES, _FIRST, _LAST = 1, 2, 4
_STREAM = 1
"""The number of the stream. Others draw one at random, which would tell two copies apart."""
_HEAD = struct.Struct("<8sBBHIhB")
"""The packet before all others: its name, a version, channels, samples to skip, the microphone's
rate, a gain, and how channels are laid out."""
_TAGS = b"OpusTags" + bytes(8)
"""The packet behind it: a program without a name, and no tags."""
_OPUS = b"A_OPUS"
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))

# Elements of WebM (RFC 9559, section 5), by their ids.
_SEGMENT, _CLUSTER, _TRACKS, _TRACK, _GROUP = 0x18538067, 0x1F43B675, 0x1654AE6B, 0xAE, 0xA0
_CODEC, _PRIVATE, _BLOCK, _SIMPLE_BLOCK = 0x86, 0x63A2, 0xA1, 0xA3
_WEBM = b"\x1a\x45\xdf\xa3"
_LACED = 0x06
"""The bits of a block's flags that say that it holds several packets, as no recorder writes it."""


class VoiceNote(NamedTuple):
    """A voice note as it leaves: Opus in Ogg."""

    data: bytes
    seconds: int
    """Its length; at least 1."""
    waveform: bytes
    """WAVEFORM_BYTES, or empty if nobody has computed it."""


def voice_note(recording: bytes, waveform: bytes = b"") -> VoiceNote:
    """A recording made anew for sending: Opus in WebM or Ogg, as browsers record it.

    Raises BrokenRecording, RecordingTooLong, or BadArgument for a waveform of another length.
    """
    if len(waveform) not in {0, WAVEFORM_BYTES}:
        raise BadArgument(f"a waveform has {WAVEFORM_BYTES} bytes")
    if len(recording) > MAX_RECORDING_BYTES:
        raise RecordingTooLong
    head, *packets = _of_webm(recording) if recording.startswith(_WEBM) else _of_ogg(recording)
    lengths = [_samples(packet) for packet in packets]
    seconds = round(sum(lengths) / RATE)
    if seconds > MAX_VOICE_S:
        raise RecordingTooLong
    if not packets:
        raise BrokenRecording("there is no sound in it")
    data = b"".join(_pages(_bare_head(head), list(zip(packets, lengths, strict=True))))
    return VoiceNote(data, max(seconds, 1), waveform)


def _bare_head(head: bytes) -> bytes:
    """The first packet, with nothing of the machine that has recorded."""
    if len(head) != _HEAD.size:  # longer ones lay out more than two channels
        raise BrokenRecording("its first packet is none of Opus")
    name, version, channels, skip, _, _, layout = _HEAD.unpack(head)
    if name != b"OpusHead" or version != 1 or channels not in {1, 2} or layout:
        raise BrokenRecording("its first packet is none of Opus")
    return _HEAD.pack(name, version, channels, min(skip, MAX_PACKET_SAMPLES), RATE, 0, layout)


def _samples(packet: bytes) -> int:
    """The length of a packet (RFC 6716, section 3.1), in samples."""
    if not packet:
        raise BrokenRecording("a packet is empty")
    config, code = packet[0] >> 3, packet[0] & 3
    if config < 12:  # noqa: PLR2004  # the ranges of the table
        frame = (480, 960, 1920, 2880)[config & 3]
    elif config < 16:  # noqa: PLR2004
        frame = (480, 960)[config & 1]
    else:
        frame = 120 << (config & 3)
    frames = (1, 2, 2, packet[1] & 0x3F if len(packet) > 1 else 0)[code]
    if not 0 < frame * frames <= MAX_PACKET_SAMPLES:
        raise BrokenRecording("a packet has an impossible length")
    return frame * frames


# Out of the browser's file


def _of_webm(data: bytes) -> Iterator[bytes]:
    """The first packet of the one track of a WebM file, and then the others."""
    head, tracks, at = b"", 0, 0
    packets = list[bytes]()
    while at < len(data):
        name, at = _number(data, at)
        size, at = _number(data, at, is_size=True)
        if name in {_SEGMENT, _CLUSTER, _TRACKS, _TRACK, _GROUP}:
            tracks += name == _TRACK
            continue  # what is in it follows; a recorder does not know how long that will be
        body, at = data[at : at + size], at + size
        if len(body) != size:
            raise BrokenRecording("its end is missing")
        if name == _CODEC and body != _OPUS:
            raise BrokenRecording("it is not Opus")
        if name == _PRIVATE:
            head = body
        if name in {_BLOCK, _SIMPLE_BLOCK}:
            _, begin = _number(body, 0)
            if len(body) <= begin + 2 or body[begin + 2] & _LACED:
                raise BrokenRecording("a block is not one packet")
            packets.append(body[begin + 3 :])
    if tracks != 1:
        raise BrokenRecording("it has not one track")
    yield head
    yield from packets


def _number(data: bytes, at: int, *, is_size: bool = False) -> tuple[int, int]:
    """An id, or a size, as EBML writes it (RFC 8794, section 4), and where it ends."""
    length = 9 - data[at].bit_length() if at < len(data) else 9
    number = int.from_bytes(data[at : at + length], "big")
    if length > 8 or at + length > len(data):  # noqa: PLR2004  # as long as it may be
        raise BrokenRecording("its end is missing")
    return number & ((1 << 7 * length) - 1) if is_size else number, at + length


def _of_ogg(data: bytes) -> Iterator[bytes]:
    """The first packet of the one stream of an Ogg file, and then those of sound."""
    at, stream, packets = 0, None, list[bytes]()
    rest = b""
    while at < len(data):
        if len(data) - at < _PAGE.size or data[at : at + 4] != b"OggS":
            raise BrokenRecording("it is neither WebM nor Ogg, or its end is missing")
        _, _, flags, _, this, _, _, many = _PAGE.unpack_from(data, at)
        if this != (stream := this if stream is None else stream) or bool(rest) != bool(
            flags & _CONTINUES
        ):
            raise BrokenRecording("its pages are not those of one stream")
        sizes, at = data[at + _PAGE.size : at + _PAGE.size + many], at + _PAGE.size + many
        for size in sizes:
            rest += data[at : at + size]
            at += size
            if size < _SEGMENT_BYTES:
                packets.append(rest)
                rest = b""
    if at != len(data) or rest or not packets:
        raise BrokenRecording("its end is missing")
    yield packets[0]
    yield from packets[2:]


# Into ours


def _pages(head: bytes, packets: list[tuple[bytes, int]]) -> Iterator[bytes]:
    """The pages of a file with these packets, of which each has so many samples."""
    yield _page(0, _FIRST, 0, [head])
    yield _page(1, 0, 0, [_TAGS])
    number, done, segments, begun = 2, 0, 0, 0
    on_page = list[bytes]()
    for packet, samples in packets:
        more = len(packet) // _SEGMENT_BYTES + 1
        if more > _MAX_SEGMENTS:
            raise BrokenRecording("a packet has an impossible length")
        if on_page and (segments + more > _MAX_SEGMENTS or done - begun >= _PAGE_SAMPLES):
            yield _page(number, 0, done, on_page)
            number, segments, begun = number + 1, 0, done
            on_page = []
        on_page.append(packet)
        segments, done = segments + more, done + samples
    yield _page(number, _LAST, done, on_page)


def _page(number: int, flags: int, done: int, packets: list[bytes]) -> bytes:
    sizes = b"".join(
        b"\xff" * (len(one) // _SEGMENT_BYTES) + bytes((len(one) % _SEGMENT_BYTES,))
        for one in packets
    )
    body = sizes + b"".join(packets)
    fields = (b"OggS", 0, flags, done, _STREAM, number)
    found = _checksum(_PAGE.pack(*fields, 0, len(sizes)) + body)
    return _PAGE.pack(*fields, found, len(sizes)) + body


def _checksum(page: bytes) -> int:
    """The checksum of Ogg: that of zlib with all bits the other way round, begun at zero and not
    inverted."""
    found = binascii.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(found.to_bytes(4, "little").translate(_REVERSED), "big")
