"""Credentials vouch for devices; safety numbers tell people apart."""

from __future__ import annotations

import os
import re

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from amanat.errors import InvalidCredential
from amanat.protocol import codec
from amanat.protocol.identity import (
    FIRST_GENERATION,
    MAX_GENERATION,
    Credential,
    check_credential,
    check_signature,
    issue_credential,
    leave_text,
    next_credential,
    safety_number,
)

KEY = Ed25519PrivateKey.generate()
IDENTITY = KEY.public_key().public_bytes_raw()
DELIVERY = X25519PrivateKey.generate().public_key().public_bytes_raw()
SIGNER = os.urandom(32)
ISSUED = issue_credential(KEY, delivery=DELIVERY, signer=SIGNER)

keys = st.binary(min_size=32, max_size=32)


def test_credential_is_good_for_its_device() -> None:
    credential = check_credential(ISSUED, signer=SIGNER)
    assert (credential.identity, credential.delivery) == (IDENTITY, DELIVERY)


def test_credential_is_not_good_for_another_device() -> None:
    with pytest.raises(InvalidCredential):
        check_credential(ISSUED, signer=os.urandom(32))


def test_flipping_any_bit_breaks_a_credential() -> None:
    for bit in range(len(ISSUED) * 8):
        broken = bytearray(ISSUED)
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(InvalidCredential):
            check_credential(bytes(broken), signer=SIGNER)


@pytest.mark.parametrize("low", [bytes(32), b"\x01" + bytes(31)])
def test_delivery_key_of_low_order_is_refused(low: bytes) -> None:
    with pytest.raises(InvalidCredential):
        check_credential(issue_credential(KEY, delivery=low, signer=SIGNER), signer=SIGNER)


@pytest.mark.parametrize("identity", [bytes(32), b"\xff" * 32])
def test_identity_that_is_no_key_is_refused(identity: bytes) -> None:
    made = codec.encode(Credential(2, identity, DELIVERY, 1, bytes(64)))
    with pytest.raises(InvalidCredential):
        check_credential(made, signer=SIGNER)


SMALL_ORDER = [
    bytes.fromhex(y)[:31] + bytes([bytes.fromhex(y)[31] | sign])
    for y in (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    )
    for sign in (0x00, 0x80)
]
"""Every encoding of a point whose order divides 8, canonical or not."""


@pytest.mark.parametrize("identity", SMALL_ORDER)
def test_identity_that_anybody_could_sign_for_is_refused(identity: bytes) -> None:
    for made_up in SMALL_ORDER:
        made = codec.encode(Credential(2, identity, DELIVERY, 1, made_up + bytes(32)))
        for number in range(16):  # such a signature holds for one text in a few
            with pytest.raises(InvalidCredential):
                check_credential(made, signer=bytes([number]) * 32)


@pytest.mark.parametrize("version", [1, 3])
def test_credential_of_another_version_is_refused(version: int) -> None:
    credential = check_credential(ISSUED, signer=SIGNER)
    other = codec.encode(Credential(version, IDENTITY, DELIVERY, 1, credential.signature))
    with pytest.raises(InvalidCredential):
        check_credential(other, signer=SIGNER)


def test_nobody_but_the_identity_sets_a_generation() -> None:
    issued = check_credential(ISSUED, signer=SIGNER)
    assert issued.generation == FIRST_GENERATION
    for generation in (FIRST_GENERATION + 1, MAX_GENERATION):
        higher = issue_credential(KEY, delivery=DELIVERY, signer=SIGNER, generation=generation)
        assert check_credential(higher, signer=SIGNER).generation == generation
        forged = structs.replace(issued, generation=generation)
        with pytest.raises(InvalidCredential):
            check_credential(codec.encode(forged), signer=SIGNER)


def test_restored_profile_is_of_the_next_generation_and_keeps_its_keys() -> None:
    before = check_credential(ISSUED, signer=SIGNER)
    after = check_credential(next_credential(KEY, ISSUED, signer=SIGNER), signer=SIGNER)
    assert after.generation == before.generation + 1
    assert (after.identity, after.delivery) == (before.identity, before.delivery)
    with pytest.raises(InvalidCredential):
        next_credential(KEY, ISSUED, signer=os.urandom(32))


@pytest.mark.parametrize("generation", [0, MAX_GENERATION + 1])
def test_generation_out_of_range_is_refused(generation: int) -> None:
    issued = issue_credential(KEY, delivery=DELIVERY, signer=SIGNER, generation=generation)
    with pytest.raises(InvalidCredential):
        check_credential(issued, signer=SIGNER)


def test_signature_over_other_text_is_refused() -> None:
    signature = KEY.sign(leave_text(b"g" * 16, b"n" * 16))
    check_signature(IDENTITY, signature, leave_text(b"g" * 16, b"n" * 16))
    for text in (leave_text(b"h" * 16, b"n" * 16), leave_text(b"g" * 16, b"m" * 16)):
        with pytest.raises(InvalidCredential):
            check_signature(IDENTITY, signature, text)


@settings(max_examples=20)
@given(keys, keys)
def test_both_sides_see_the_same_safety_number(one: bytes, other: bytes) -> None:
    number = safety_number(one, other)
    assert number == safety_number(other, one)
    assert re.fullmatch(r"\d{5}( \d{5}){11}", number)


def test_another_key_gives_another_number() -> None:
    others = [os.urandom(32) for _ in range(20)]
    assert len({safety_number(IDENTITY, other) for other in others}) == 20
