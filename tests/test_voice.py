"""Voice notes: nothing but sound leaves, and its length and waveform arrive with it."""

from __future__ import annotations

import contextlib
import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from amanat.drill.world import World
from amanat.errors import (
    BadArgument,
    BrokenRecording,
    FileCovered,
    InvalidMessage,
    NoFile,
    RecordingTooLong,
)
from amanat.media import voice
from amanat.media.voice import MAX_RECORDING_BYTES, RATE, voice_note
from amanat.protocol import codec, messages
from amanat.protocol.files import decode_file
from amanat.protocol.messages import Kind
from recordings import PLANTED, SILENCE, element, head, ogg, webm

WAVEFORM = bytes(range(0, 256, 8))
FRAMES = {0: 480, 3: 2880, 5: 960, 11: 2880, 12: 480, 13: 960, 16: 120, 19: 960, 31: 960}
"""The length of a frame in samples, of some of the configurations of RFC 6716, section 3.1."""


def of_samples(config: int, code: int, many: int, rest: bytes) -> tuple[bytes, int]:
    """A packet, and its length in samples."""
    frames = (1, 2, 2, many)[code]
    first = bytes((config << 3 | code,)) + (bytes((many,)) if code == 3 else b"")
    return first + rest, FRAMES[config] * frames


PACKETS = st.lists(
    st.builds(
        of_samples,
        st.sampled_from(sorted(FRAMES)),
        st.integers(0, 3),
        st.integers(1, 2),
        st.binary(max_size=700) | st.sampled_from([bytes(253), bytes(254), bytes(509)]),
    ),
    min_size=1,
    max_size=150,
)


def checksum(page: bytes) -> int:
    """The checksum of a page, bit by bit (RFC 3533, section 6)."""
    found = 0
    for byte in page:
        found ^= byte << 24
        for _ in range(8):
            found = (found << 1 ^ 0x04C11DB7 if found >> 31 else found << 1) & 0xFFFFFFFF
    return found


def read_ogg(data: bytes) -> tuple[list[bytes], list[tuple[int, int]]]:
    """The packets of an Ogg file, and the flags and the samples of each page."""
    packets, pages, rest, at = list[bytes](), list[tuple[int, int]](), b"", 0
    while at < len(data):
        magic, version, flags, done, stream, number, said, many = struct.unpack_from(
            "<4sBBQIIIB", data, at
        )
        sizes = data[at + 27 : at + 27 + many]
        end = at + 27 + many + sum(sizes)
        assert (magic, version, stream, number) == (b"OggS", 0, 1, len(pages))
        assert said == checksum(data[at : at + 22] + bytes(4) + data[at + 26 : end])
        at += 27 + many
        for size in sizes:
            rest, at = rest + data[at : at + size], at + size
            if size < 255:  # the last segment of a packet
                packets.append(rest)
                rest = b""
        assert not rest
        pages.append((flags, done))
    return packets, pages


@given(PACKETS, st.sampled_from([webm, ogg]))
def test_every_packet_leaves_as_it_was_in_a_file_that_can_be_sought(
    parts: list[tuple[bytes, int]], form: type
) -> None:
    made = voice_note(form([packet for packet, _ in parts]), WAVEFORM)
    (first, tags, *packets), pages = read_ogg(made.data)
    assert packets == [packet for packet, _ in parts]
    assert first == head(rate=RATE)
    assert tags == b"OpusTags" + bytes(8)
    samples = [samples for _, samples in parts]
    assert [flags for flags, _ in pages] == [2] + [0] * (len(pages) - 2) + [4]
    done = [done for _, done in pages]
    assert done[-1] == sum(samples)
    steps = [after - before for before, after in itertools.pairwise(done[1:])]
    assert all(0 < step < RATE + voice.MAX_PACKET_SAMPLES for step in steps)
    assert made.seconds == max(1, round(sum(samples) / RATE))
    assert made.waveform == WAVEFORM


def test_nothing_that_a_browser_wrote_stays_and_both_formats_leave_alike() -> None:
    packets = [SILENCE] * 60
    for recording in (webm(packets), ogg(packets)):
        assert all(one in recording for one in PLANTED)
        made = voice_note(recording).data
        assert not any(one in made for one in PLANTED)
        assert made == voice_note(webm(packets, first=head(rate=16_000))).data


BROKEN = {
    "nothing": b"",
    "words": b"this is no recording",
    "an Ogg file without sound": ogg([]),
    "a WebM file without sound": webm([]),
    "another codec": webm([SILENCE], codec=b"A_VORBIS"),
    "two tracks": webm([SILENCE], tracks=2),
    "no track": webm([SILENCE], tracks=0),
    "several packets in a block": webm([SILENCE], flags=0x86),
    "an element without an end": webm([SILENCE])[:-3],
    "an id alone": webm([SILENCE]) + b"\xa3",
    "an impossible id": webm([SILENCE]) + b"\x00\x01",
    "a block of nothing": webm([SILENCE]) + element(0xA3, b"\x81"),
    "no first packet": webm([SILENCE], first=b""),
    "six channels": webm([SILENCE], first=head(channels=6)),
    "a layout of its own": ogg([SILENCE], first=head(layout=1)),
    "an empty packet": ogg([SILENCE, b""]),
    "a packet of no frames": ogg([b"\xfb\x00"]),
    "a packet of more than 120 ms": webm([b"\xfb\x07"]),
    "a packet that is cut": webm([b"\xfb"]),
    "two streams": ogg([bytes(SILENCE) + bytes(255 * 200)] * 2, other=1),
    "half a page": ogg([SILENCE])[:-2],
    "half a head of a page": ogg([SILENCE]) + b"OggS",
}


@pytest.mark.parametrize("recording", BROKEN.values(), ids=BROKEN)
def test_what_is_no_recording_is_refused_by_name(recording: bytes) -> None:
    with pytest.raises(BrokenRecording):
        voice_note(recording)


def test_a_note_has_at_most_ten_minutes_and_at_least_a_second() -> None:
    fifty = [SILENCE] * 50
    assert voice_note(ogg([SILENCE])).seconds == 1
    assert voice_note(ogg(fifty * voice.MAX_VOICE_S)).seconds == voice.MAX_VOICE_S
    for recording in (ogg(fifty * (voice.MAX_VOICE_S + 1)), bytes(MAX_RECORDING_BYTES + 1)):
        with pytest.raises(RecordingTooLong):
            voice_note(recording)
    with pytest.raises(BadArgument):
        voice_note(ogg(fifty), bytes(31))
    assert voice.WAVEFORM_BYTES == messages.WAVEFORM_BYTES


@given(st.data(), st.sampled_from([webm, ogg]))
def test_any_bytes_are_a_recording_or_refused_by_name(draw: st.DataObject, form: type) -> None:
    data = bytearray(form([SILENCE, bytes(300), SILENCE]))
    for _ in range(draw.draw(st.integers(1, 4))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    with contextlib.suppress(BrokenRecording, RecordingTooLong):
        made = voice_note(bytes(data[: draw.draw(st.integers(0, len(data)))]))
        read_ogg(made.data)


@pytest.mark.long
async def test_a_voice_note_arrives_by_itself_with_its_length_and_its_waveform(
    world: World,
) -> None:
    alice, bob, carol = await world.friends("alice", "bob", "carol")
    note = voice_note(webm([SILENCE] * 50 * 19), WAVEFORM)
    chat = alice.client.chat(alice.gid("bob"))
    await chat.send_file(note, name="IMG_20261130.ogg")
    chat.set_timer(600)
    await chat.send_file(voice_note(ogg([SILENCE] * 300)), text="and this")
    await world.settle()
    await world.pass_time(5)
    first, second = [one for one in bob.messages("alice") if one.file]
    file = first.file
    assert file is not None
    assert (file.kind, file.seconds, file.waveform) == ("voice", 19, WAVEFORM.hex())
    assert (file.name, file.media_type, file.is_here) == ("", "audio/ogg", True)
    with file.open() as content:
        assert b"".join(content.chunks()) == note.data
    assert file.as_json()["waveform"] == WAVEFORM.hex()
    assert second.file is not None
    assert (second.file.seconds, second.file.waveform, second.text) == (6, "", "and this")
    assert second.expires_at is not None
    bob.client.chat("alice").forward_file(first.id, bob.gid("carol"))
    await world.settle()
    (passed,) = [one for one in carol.messages("bob") if one.file]
    assert passed.file is not None
    assert (passed.file.kind, passed.file.seconds) == ("voice", 19)
    assert (passed.file.waveform, passed.is_forwarded) == (WAVEFORM.hex(), True)
    alice.client.files.is_covered = lambda: True
    with pytest.raises(FileCovered):
        await chat.send_file(note)
    rules = alice.rules.conversations.sharing
    short = rules.file(first.gid, bytes.fromhex(first.id)).file
    assert short.cells == 1  # 20 seconds are one cell, as a text of one's own is


@pytest.mark.long
async def test_it_stays_known_that_a_voice_note_was_played_and_nobody_is_told(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    await alice.client.chat(alice.gid("bob")).send_file(voice_note(ogg([SILENCE] * 50)))
    await world.settle()
    await world.pass_time(5)
    (message,) = [one for one in bob.messages("alice") if one.file]
    assert message.file is not None
    assert not message.file.is_played
    before = len(world.relay.shelves[alice.bucket].cells)
    message.file.played()
    message.file.played()
    await world.settle()
    assert len(world.relay.shelves[alice.bucket].cells) == before
    await bob.sleep()
    bob.wake()
    (message,) = [one for one in bob.messages("alice") if one.file]
    assert message.file is not None
    assert message.file.as_json()["played"] is True
    alice.say("bob", "words")
    await world.settle()
    text = bob.messages("alice")[-1]
    with pytest.raises(NoFile):
        bob.client.files.played(text.gid, text.id)


@pytest.mark.long
async def test_a_voice_note_whose_announcement_lies_is_told_by_name_or_harms_nothing(
    world: World,
) -> None:
    alice, bob = await world.friends("alice", "bob")
    chat = alice.client.chat(alice.gid("bob"))
    await chat.send_file(voice_note(ogg([SILENCE] * 50), WAVEFORM))
    await world.settle()
    (own,) = [one for one in alice.messages("bob") if one.file]
    rules = alice.rules.conversations
    file = rules.sharing.file(own.gid, bytes.fromhex(own.id)).file
    lies: list[dict[str, object]] = [
        {"hint": bytes(31)},
        {"hint": bytes(33)},
        {"seconds": -1},
        {"kind": 5},
    ]
    for lie in lies:
        body = codec.encode(structs.replace(file, **lie))
        with pytest.raises(InvalidMessage):
            decode_file(body)
        with alice.client._run.unit() as unit, contextlib.suppress(InvalidMessage):
            rules.saying.do(unit, own.gid, Kind.FILE, body)
    long = codec.encode(structs.replace(file, seconds=messages.MAX_SECONDS))
    with alice.client._run.unit() as unit:
        rules.saying.do(unit, own.gid, Kind.FILE, long)
    alice.say("bob", "still here")
    await world.settle()
    await world.pass_time(5)
    found = [one.file for one in bob.messages("alice") if one.file]
    assert [one.seconds for one in found] == [1, messages.MAX_SECONDS]
    assert all(one.is_here for one in found)
    assert "still here" in bob.texts("alice")
    assert bob.warnings() == ["invalid-message"]
