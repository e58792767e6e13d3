"""Clients read each other's data in one encoding only, whatever the bytes are."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amanat.errors import InvalidCommit, InvalidMessage
from amanat.protocol import codec
from amanat.protocol.descriptor import NamedAddress
from amanat.protocol.identity import Address
from amanat.protocol.messages import (
    MAX_FRAGMENTS,
    Ack,
    Envelope,
    FileRef,
    Fragment,
    FragmentKind,
    Leave,
    Policy,
    decode_envelope,
    decode_policy,
    envelope_hash,
    piece_hash,
)
from client_decoders import ADDRESS, DECODERS, IDENTITY, RELAY, mutate, try_one

each = pytest.mark.parametrize("name", DECODERS)


@each
def test_sample_is_read_and_written_back(name: str) -> None:
    assert try_one(DECODERS[name], DECODERS[name].sample)


@each
def test_sample_cut_anywhere_is_refused(name: str) -> None:
    decoder = DECODERS[name]
    assert not any(try_one(decoder, decoder.sample[:size]) for size in range(len(decoder.sample)))


@each
@pytest.mark.parametrize("more", [b"\x00", b"\xc0", b"\x90", b"garbage"])
def test_bytes_behind_are_refused(name: str, more: bytes) -> None:
    assert not try_one(DECODERS[name], DECODERS[name].sample + more)


@each
@pytest.mark.parametrize("seed", range(3))
def test_mutants_are_refused_or_have_one_encoding(name: str, seed: int) -> None:
    rng = random.Random(f"{name} {seed}")
    for _ in range(500):
        try_one(DECODERS[name], mutate(DECODERS[name].sample, rng))


@settings(max_examples=200)
@given(st.binary(max_size=200), st.sampled_from(sorted(DECODERS)))
def test_random_bytes_are_refused_or_have_one_encoding(data: bytes, name: str) -> None:
    try_one(DECODERS[name], data)


def records(name: str) -> list[object]:
    """The fields of a sample."""
    fields = msgspec.msgpack.decode(DECODERS[name].sample)
    assert isinstance(fields, list)
    return fields


@pytest.mark.parametrize("name", sorted(set(DECODERS) - {"link"}))
def test_field_too_many_or_too_few_is_refused(name: str) -> None:
    fields = records(name)
    for other in ([*fields, None], [*fields, 1], fields[:-1]):
        assert not try_one(DECODERS[name], msgspec.msgpack.encode(other))


@pytest.mark.parametrize(
    "name", [name for name in sorted(DECODERS) if name != "link" and "of a backup" not in name]
)  # a record of a backup has fields of free texts and numbers
@pytest.mark.parametrize("value", [None, -1, 2**64 - 1, 1.5, "x" * 5000, [], {}, [[]], True])
def test_value_of_another_type_is_refused_in_every_field(name: str, value: object) -> None:
    fields = records(name)
    for index, kept in enumerate(fields):
        if not isinstance(value, type(kept)):
            other = [*fields[:index], value, *fields[index + 1 :]]
            assert not try_one(DECODERS[name], msgspec.msgpack.encode(other))


def test_what_a_repair_says_of_a_deleted_text_has_all_its_fields_or_is_refused() -> None:
    decoder = DECODERS["repair"]
    device, seq, *_ = records("repair")
    for deleted, good in (
        ([bytes(16), 7, 0], True),
        ([bytes(15), 7, 0], False),
        ([bytes(16), 0, 0], False),
        ([bytes(16), 7, -1], False),
        ([bytes(16), 7], False),
        ([], False),
    ):
        fields = [device, seq, b"", False, [bytes(32), bytes(32)], bytes(8), deleted]
        assert try_one(decoder, msgspec.msgpack.encode(fields)) is good


def test_deep_nesting_is_refused() -> None:
    for decoder in DECODERS.values():
        assert not try_one(decoder, b"\x91" * 100_000)


ENVELOPE = Envelope(bytes(16), 1, bytes(32), 1, 0, 1, b"", [], {})


@pytest.mark.parametrize(
    "changes",
    [
        {"id": bytes(15)},
        {"id": bytes(17)},
        {"seq": 0},
        {"seq": 2**53},
        {"previous": b""},
        {"clock": 0},
        {"clock": 2**53},
        {"sent_at": -1},
        {"sent_at": 2**53},
        {"kind": -1},
        {"kind": 65536},
        {"acks": [Ack(bytes(8), 1, bytes(8))] * 1025},
        {"acks": [Ack(bytes(7), 1, bytes(8))]},
        {"acks": [Ack(bytes(8), 0, bytes(8))]},
    ],
    ids=str,
)
def test_envelope_out_of_range_is_refused(changes: dict[str, object]) -> None:
    decode_envelope(codec.encode(ENVELOPE))
    with pytest.raises(InvalidMessage):
        decode_envelope(codec.encode(msgspec.structs.replace(ENVELOPE, **changes)))


def test_unknown_kinds_and_additions_are_read() -> None:
    later = msgspec.structs.replace(ENVELOPE, kind=999, more={"edits": b"x"})
    assert decode_envelope(codec.encode(later)) == later


def test_envelope_hash_tells_any_two_apart() -> None:
    other = msgspec.structs.replace(ENVELOPE, seq=2)
    hashes = {envelope_hash(codec.encode(one)) for one in (ENVELOPE, other)}
    assert len(hashes) == 2
    assert {len(one) for one in hashes} == {32}


@pytest.mark.parametrize(("direct", "admins"), [(0, 0), (1, 0), (3, 0), (2, 1), (1, 1)])
def test_policy_is_of_a_pair_or_of_a_group(direct: int, admins: int) -> None:
    policy = Policy([IDENTITY] * direct, "", [IDENTITY] * admins, RELAY, "IR")
    with pytest.raises(InvalidCommit):
        decode_policy(codec.encode(policy))


def test_an_address_that_no_relay_has_signed_is_in_no_record() -> None:
    named = NamedAddress.of(RELAY.key, *RELAY.places)
    for record, refusal in (
        (Policy([], "family", [IDENTITY], named, "IR"), InvalidCommit),
        (FileRef(named, "IR", bytes(32), 1, bytes(32)), InvalidMessage),
        (Address(named, "IR", ADDRESS.drop_id, ADDRESS.append_token), InvalidMessage),
    ):
        with pytest.raises(refusal):
            codec.decode(codec.decoder_of(type(record)), codec.encode(record), refusal)


def test_address_in_another_region_than_its_drop_is_refused() -> None:
    with pytest.raises(ValueError, match="region"):
        Address(RELAY, "DE", ADDRESS.drop_id, ADDRESS.append_token)


def test_fragment_is_one_of_its_pieces() -> None:
    pieces = [piece_hash(b"one"), piece_hash(b"two")]
    for index, data in ((0, b"two"), (1, b"one"), (2, b"two"), (0, b"")):
        with pytest.raises(ValueError, match="piece"):
            Fragment(FragmentKind.COMMIT, 0, pieces, index, data, bytes(64))


def test_fragments_of_one_whole_know_each_other() -> None:
    pieces = [piece_hash(b"one"), piece_hash(b"two")]
    first = Fragment(FragmentKind.COMMIT, 0, pieces, 0, b"one", bytes(64))
    assert first.whole == Fragment(FragmentKind.COMMIT, 0, pieces, 1, b"two", bytes(64)).whole
    for other in (
        Fragment(FragmentKind.COMMIT, 0, pieces[:1], 0, b"one", bytes(64)),
        Fragment(FragmentKind.COMMIT, 1, pieces, 0, b"one", bytes(64)),
        Fragment(FragmentKind.MESSAGE, 0, pieces, 0, b"one", bytes(64)),
    ):
        assert other.whole != first.whole


def test_too_many_fragments_are_refused() -> None:
    many = Fragment(
        FragmentKind.COMMIT, 0, [piece_hash(b"x")] * (MAX_FRAGMENTS + 1), 0, b"x", bytes(64)
    )
    assert not try_one(DECODERS["fragment"], codec.encode(many))


def test_leave_needs_a_whole_signature() -> None:
    assert not try_one(DECODERS["leave"], codec.encode(Leave(IDENTITY, bytes(16), bytes(63))))
