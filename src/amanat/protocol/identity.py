"""How people know each other: credentials, addresses, safety numbers
(docs/protocol.md, section 7).

A person is an Ed25519 identity key. No server vouches for it: people meet by invite and compare a
safety number. Each device has its own signature key, which is that of its MLS leaf. The credential
in that leaf is the identity key's signed word for the device, and says of which generation it is. A
profile that is restored begins a new generation, and no device of an earlier one comes in again
where the new one is (client/rights.py).
"""

from __future__ import annotations

import functools
import hashlib
import re
from typing import Annotated, TypeAlias

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from amanat.errors import BadArgument, InvalidCredential
from amanat.protocol import codec
from amanat.protocol.descriptor import RelayAddress  # msgspec reads it
from amanat.protocol.drops import in_region

MAX_ADDRESSES = 2
"""Most addresses of a person: home bucket and fallback bucket."""
NONCE_BYTES = 16
FIRST_GENERATION = 1
"""The generation of a profile that was never restored."""
MAX_GENERATION = 2**53 - 1
"""The highest generation, like that of all counts in the protocol: nobody restores as often."""
MAX_NAME_CHARS = 100
"""Longest name of a person or a group, in characters."""
SAFETY_GROUPS = 12
"""Groups of five digits in a safety number: 199 bits, and half of it read aloud is still 99."""
_SAFETY_ROUNDS = 5200
"""SHA-512 rounds of a safety number, which make the search for a look-alike key more expensive."""

Key: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Signature: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]
_UNFIT = (
    r"\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    r"\ufff9-\ufffb\U000e0000-\U000e007f"
)
"""The characters that no name holds: line breaks and other controls, marks of direction, invisible
characters. The joiners ZWNJ and ZWJ are not among them, because words and emoji need them."""
_BLANK = (
    r" \xa0\u034f\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200d\u202f\u205f\u2800\u3000"
    r"\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    r"\U000e0080-\U000e0fff"
)
"""The characters that cannot form a name alone: spaces, and those without a glyph of their own."""
NAME_PATTERN = rf"\A(?=[{_BLANK}]*[^{_BLANK}])[^{_UNFIT}]+\Z"
"""A name is one line with something visible in it. We list the characters rather than use Unicode's
tables, because these change, and members must judge a group's names alike in every version."""

Name: TypeAlias = Annotated[
    str, msgspec.Meta(min_length=1, max_length=MAX_NAME_CHARS, pattern=NAME_PATTERN)
]
Region: TypeAlias = Annotated[str, msgspec.Meta(pattern="^[A-Z]{2}$")]


class Address(codec.Record, frozen=True):
    """The destination of cells for a person: a bucket and the token to append to it.

    Raises ValueError, which decoding turns into the refusal of the record that holds it, unless the
    drop is of the region.
    """

    relay: RelayAddress
    region: Region
    drop_id: Annotated[bytes, msgspec.Meta(min_length=24, max_length=24)]
    append_token: Key

    def __post_init__(self) -> None:
        if not in_region(self.drop_id, self.region):
            raise ValueError("the drop is of another region")


Addresses: TypeAlias = Annotated[
    list[Address], msgspec.Meta(min_length=1, max_length=MAX_ADDRESSES)
]


class Credential(codec.Record, frozen=True):
    """The identity of an MLS BasicCredential (RFC 9420, section 5.3)."""

    version: Annotated[int, msgspec.Meta(ge=2, le=2)]
    identity: Key
    """The person's Ed25519 public key."""
    delivery: Key
    """The person's X25519 public key, from which pair chains start."""
    generation: Annotated[int, msgspec.Meta(ge=FIRST_GENERATION, le=MAX_GENERATION)]
    """One more for each time that the person's profile was restored."""
    signature: Signature
    """The identity's signature over `delivery`, the device's signature key and `generation`."""


class Leaf(codec.Record, frozen=True):
    """A leaf's data besides its credential, in the leaf extension EXT_LEAF."""

    nonce: Annotated[bytes, msgspec.Meta(min_length=NONCE_BYTES, max_length=NONCE_BYTES)]
    """Random, new with every KeyPackage. A leave statement names it, so nobody can use the
    statement against the same person in a later membership."""
    name: Name
    """The name that the person has chosen; nobody vouches for it."""
    addresses: Addresses


_SIGN_BIT = 1 << 255
_SMALL_ORDER = frozenset(
    int.from_bytes(bytes.fromhex(y), "little")
    for y in (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    )
)
"""The possible encodings of the y coordinates of the points of edwards25519 (RFC 8032, section 5.1)
whose order divides 8. Anyone who names such a point as their key can sign without a private key."""

# Any private key can tell whether a public one is of low order (RFC 7748, section 6.1).
_PROBE = X25519PrivateKey.from_private_bytes(bytes(range(32)))

_credentials = codec.decoder_of(Credential)
_leaves = codec.decoder_of(Leaf)


def issue_credential(
    identity: Ed25519PrivateKey,
    *,
    delivery: bytes,
    signer: bytes,
    generation: int = FIRST_GENERATION,
) -> bytes:
    """The encoded credential of a device whose MLS signature key is `signer`."""
    return codec.encode(
        Credential(
            version=2,
            identity=identity.public_key().public_bytes_raw(),
            delivery=delivery,
            generation=generation,
            signature=identity.sign(_credential_text(delivery, signer, generation)),
        )
    )


@functools.lru_cache(maxsize=4096)  # pure, and every message checks the same members
def check_credential(data: bytes, *, signer: bytes) -> Credential:
    """The credential, if its identity signed it for the device key `signer`.

    Raises InvalidCredential.
    """
    credential = codec.decode(_credentials, data, InvalidCredential)
    try:
        _PROBE.exchange(X25519PublicKey.from_public_bytes(credential.delivery))
    except ValueError:
        raise InvalidCredential from None
    text = _credential_text(credential.delivery, signer, credential.generation)
    check_signature(credential.identity, credential.signature, text)
    return credential


def next_credential(identity: Ed25519PrivateKey, before: bytes, *, signer: bytes) -> bytes:
    """The credential of a restored profile, by that of the profile before it: of the next
    generation, so that the device before it is locked out of each conversation to which the
    restored one comes back.

    All keys stay: an external Commit replaces only a leaf with the same signature key. Raises
    InvalidCredential.
    """
    old = check_credential(before, signer=signer)
    return issue_credential(
        identity, delivery=old.delivery, signer=signer, generation=old.generation + 1
    )


def check_name(name: str) -> str:
    """A name without the spaces around it. Raises BadArgument for a text that is no name, and tells
    which character is unfit."""
    name = name.strip()
    if not 0 < len(name) <= MAX_NAME_CHARS:
        raise BadArgument(f"a name has 1 to {MAX_NAME_CHARS} characters")
    unfit = re.search(f"[{_UNFIT}]", name)
    if unfit is not None:
        raise BadArgument(f"a name is one line of visible text: not of U+{ord(unfit[0]):04X}")
    if not re.search(NAME_PATTERN, name):
        raise BadArgument("this name has no visible character")
    return name


def check_signature(identity: bytes, signature: bytes, text: bytes) -> None:
    """Raise InvalidCredential unless `signature` is the identity's own over `text`.

    A key of small order belongs to nobody.
    """
    if int.from_bytes(identity, "little") & ~_SIGN_BIT in _SMALL_ORDER:
        raise InvalidCredential
    try:
        Ed25519PublicKey.from_public_bytes(identity).verify(signature, text)
    except (InvalidSignature, ValueError):
        raise InvalidCredential from None


def decode_leaf(data: bytes) -> Leaf:
    """The data in a leaf's extension. Raises InvalidCredential."""
    return codec.decode(_leaves, data, InvalidCredential)


def leave_text(group: bytes, nonce: bytes) -> bytes:
    """The text that a person signs to leave a group, naming their leaf by its nonce."""
    return b"amanat leave 1\x00" + group + nonce


def vote_text(group: bytes, epoch: int, commit: bytes) -> bytes:
    """The text of a device's vote: that a Commit, named by its SHA-256, is the first rightful one
    that the device has read in the drop of an epoch."""
    return b"amanat vote 1\x00" + group + epoch.to_bytes(8, "big") + commit


def safety_number(one: bytes, other: bytes) -> str:
    """The number that two people compare: 12 groups of 5 digits, the same on both sides.

    `one` and `other` are their 32-byte identity keys, in either order.
    """
    low, high = sorted((one, other))
    digest = b"amanat safety number 1\x00" + low + high
    for _ in range(_SAFETY_ROUNDS):
        digest = hashlib.sha512(digest + low + high).digest()
    number = int.from_bytes(digest, "big")
    groups = []
    for _ in range(SAFETY_GROUPS):
        number, group = divmod(number, 100_000)
        groups.append(f"{group:05d}")
    return " ".join(groups)


def _credential_text(delivery: bytes, signer: bytes, generation: int) -> bytes:
    return b"amanat credential 2\x00" + delivery + signer + generation.to_bytes(8, "big")
