"""Frames: each has one encoding, and all other bytes are refused by name."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amanat.errors import FrameTooLarge, MalformedFrame
from amanat.protocol import wire
from amanat.protocol.cells import CELL_SIZES, LARGE_CELL, MESSAGE_CELL

ids = st.integers(0, 2**32 - 1)
seqs = st.integers(0, 2**53 - 1)
drop_ids = st.binary(min_size=24, max_size=24)
tokens = st.binary(min_size=32, max_size=32)
cells = st.builds(
    lambda size, seed: (seed * size)[:size],
    st.sampled_from(CELL_SIZES),
    st.binary(min_size=1, max_size=8),
)
requests = st.one_of(
    st.builds(wire.Describe, ids, st.binary(max_size=32)),
    st.builds(wire.Create, ids, tokens, drop_ids, tokens, tokens, st.integers(1, 366)),
    st.builds(wire.Append, ids, drop_ids, tokens, cells),
    st.builds(
        wire.Read, ids, drop_ids, tokens, seqs, st.integers(1, 900), st.integers(0, wire.MAX_WAIT_S)
    ),
    st.builds(wire.Follow, ids, drop_ids, tokens, seqs, st.integers(1, 2**53 - 1)),
    st.builds(wire.Unfollow, ids),
    st.builds(wire.Grant, ids, st.integers(1, 2**53 - 1)),
)
replies = st.one_of(
    st.builds(wire.Described, ids, st.binary(max_size=300), st.binary(max_size=32)),
    st.builds(wire.Created, ids, seqs),
    st.builds(wire.Appended, ids, seqs, tokens),
    st.builds(wire.Cells, ids, seqs, tokens, st.lists(cells, max_size=4), seqs),
    st.builds(wire.Failed, ids, st.text(min_size=1, max_size=64), st.none() | st.floats(0, 86_400)),
)
ONE_OF_EACH: list[tuple[Callable[[bytes], wire.Request | wire.Reply], wire.Request | wire.Reply]]
ONE_OF_EACH = [
    (wire.decode_request, wire.Describe(0, bytes(32))),
    (wire.decode_request, wire.Create(1, bytes(32), bytes(24), bytes(32), bytes(32), 14)),
    (wire.decode_request, wire.Append(2**16, bytes(24), bytes(32), bytes(MESSAGE_CELL))),
    (wire.decode_request, wire.Read(3, bytes(24), bytes(32), 2**40, 900, wire.MAX_WAIT_S)),
    (wire.decode_request, wire.Follow(4, bytes(24), bytes(32), 0, 2**19)),
    (wire.decode_request, wire.Unfollow(5)),
    (wire.decode_request, wire.Grant(6, 2**18)),
    (wire.decode_request, wire.Introduce(7, bytes(32), bytes(64))),
    (wire.decode_reply, wire.Described(0, b"signed", bytes(32))),
    (wire.decode_reply, wire.Created(1, 7)),
    (wire.decode_reply, wire.Appended(2, 7, bytes(32))),
    (wire.decode_reply, wire.Cells(3, 1, bytes(32), [bytes(MESSAGE_CELL)], 1)),
    (wire.decode_reply, wire.Failed(4, "relay-busy", 5.0)),
    (wire.decode_reply, wire.Failed(5, "no-such-drop")),
]
each = pytest.mark.parametrize(("decode", "frame"), ONE_OF_EACH)


@given(requests)
def test_a_request_is_read_back(frame: wire.Request) -> None:
    assert wire.decode_request(wire.encode(frame)) == frame


@given(replies)
def test_a_reply_is_read_back(frame: wire.Reply) -> None:
    assert wire.decode_reply(wire.encode(frame)) == frame


@each
def test_a_frame_cut_anywhere_is_malformed(
    decode: Callable[[bytes], object], frame: wire.Request | wire.Reply
) -> None:
    data = wire.encode(frame)
    for length in range(len(data)):
        with pytest.raises(MalformedFrame):
            decode(data[:length])


@each
def test_bytes_behind_a_frame_are_malformed(
    decode: Callable[[bytes], object], frame: wire.Request | wire.Reply
) -> None:
    data = wire.encode(frame)
    for more in (b"\x00", b"\xc0", data):
        with pytest.raises(MalformedFrame):
            decode(data + more)


@each
def test_a_field_too_many_or_too_few_is_malformed(
    decode: Callable[[bytes], object], frame: wire.Request | wire.Reply
) -> None:
    fields = msgspec.msgpack.decode(wire.encode(frame))
    optional = 1 if isinstance(frame, wire.Failed) else 0
    for wrong in ([*fields, None], fields[: len(fields) - 1 - optional], [99, *fields[1:]], []):
        with pytest.raises(MalformedFrame):
            decode(msgspec.msgpack.encode(wrong))


@each
def test_a_flipped_bit_gives_another_frame_or_none(
    decode: Callable[[bytes], wire.Request | wire.Reply], frame: wire.Request | wire.Reply
) -> None:
    data = wire.encode(frame)
    for bit in range(min(len(data), 80) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            other = decode(bytes(changed))
        except MalformedFrame:
            continue
        assert other != frame
        assert wire.encode(other) == changed


@pytest.mark.parametrize(
    "data",
    [
        "9206cd0005",  # the id 5 in three bytes
        "dc00020605",  # the array's length in three bytes
        "9206d005",  # the id as a signed integer
        "9206ca40a00000",  # the id 5.0
        "920600c0",
        "c0",
        "a0",
        "80",
        "93",
        "91" * 2000,  # deep
    ],
)
def test_another_encoding_is_malformed(data: str) -> None:
    with pytest.raises(MalformedFrame):
        wire.decode_request(bytes.fromhex(data))


@given(st.binary(max_size=200))
def test_random_bytes_are_a_frame_or_malformed(data: bytes) -> None:
    for decode in (wire.decode_request, wire.decode_reply):
        try:
            frame = decode(data)
        except MalformedFrame:
            continue
        assert wire.encode(frame) == data


def test_a_frame_above_the_limit_is_not_looked_at() -> None:
    with pytest.raises(FrameTooLarge):
        wire.decode_request(bytes(wire.MAX_REQUEST_BYTES + 1))
    with pytest.raises(FrameTooLarge):
        wire.decode_reply(bytes(wire.MAX_REPLY_BYTES + 1))
    with pytest.raises(MalformedFrame):
        wire.decode_request(bytes(wire.MAX_REQUEST_BYTES))


def test_the_largest_frames_are_within_their_limits() -> None:
    append = wire.Append(2**32 - 1, bytes(24), bytes(32), bytes(LARGE_CELL))
    assert wire.decode_request(wire.encode(append)) == append
    for size in CELL_SIZES:
        count = min(wire.MAX_CELLS, wire.MAX_CELL_BYTES_PER_REPLY // size)
        cells = wire.Cells(2**32 - 1, 2**53 - 1, bytes(32), [bytes(size)] * count, 2**53 - 1)
        assert wire.decode_reply(wire.encode(cells)) == cells


@pytest.mark.parametrize(
    "frame",
    [
        wire.Append(0, bytes(23), bytes(32), bytes(MESSAGE_CELL)),
        wire.Append(0, bytes(24), bytes(31), bytes(MESSAGE_CELL)),
        wire.Append(0, bytes(24), bytes(32), bytes(MESSAGE_CELL - 1)),
        wire.Append(0, bytes(24), bytes(32), bytes(LARGE_CELL + 1)),
        wire.Append(2**32, bytes(24), bytes(32), bytes(MESSAGE_CELL)),
        wire.Append(-1, bytes(24), bytes(32), bytes(MESSAGE_CELL)),
        wire.Describe(0, bytes(33)),
        wire.Create(0, bytes(32), bytes(24), bytes(32), bytes(32), 0),
        wire.Create(0, bytes(32), bytes(24), bytes(32), bytes(32), 367),
        wire.Read(0, bytes(24), bytes(32), 2**53, 1, 0),
        wire.Read(0, bytes(24), bytes(32), 0, 0, 0),
        wire.Read(0, bytes(24), bytes(32), 0, 901, 0),
        wire.Read(0, bytes(24), bytes(32), 0, 1, wire.MAX_WAIT_S + 1),
    ],
)
def test_a_value_out_of_range_is_malformed(frame: wire.Request) -> None:
    with pytest.raises(MalformedFrame):
        wire.decode_request(wire.encode(frame))


def test_another_id_is_the_only_difference() -> None:
    follow = wire.Follow(1, bytes(24), bytes(32), 9, 2**19)
    assert wire.with_id(follow, 2) == wire.Follow(2, bytes(24), bytes(32), 9, 2**19)
