"""Requests sealed to one relay, which another hands over (docs/protocol.md, section 6).

The design is that of Oblivious HTTP (RFC 9458): the hop knows who asks but not the request, and the
home relay knows the request but not who asks. Requests use HPKE (RFC 9180) in its single-shot base
mode, with ML-KEM-768 and X25519 together; the answer is sealed under a key from the request.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from amanat.errors import BrokenSeal, FrameTooLarge
from amanat.protocol.cells import CELL_SIZES, MESSAGE_CELL

if TYPE_CHECKING:
    from collections.abc import Iterable

PRIVATE_KEY_BYTES = 96
"""Length of a private key for sealed requests, in bytes: an ML-KEM-768 seed and one of X25519."""
ENVELOPE_BYTES = 256
"""By how many bytes a padded frame may exceed its cells: ids, tokens, the answer key; in a reply,
the heads of 60 cells."""
ANSWER_KEY_BYTES = 32
_SALT_BYTES = 32
"""Salt of an answer: random, because a hop can hand over one request, and a relay answer it, more
than once."""
_MLKEM_SEED_BYTES, _MLKEM_PUBLIC_BYTES = 64, 1184
_END = b"\x80"
"""The mark between a frame and its padding (ISO/IEC 7816-4)."""
_SUITE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)
# Every answer has its own key, so the nonce may be constant (RFC 8439, section 2.8).
_NONCE = bytes(12)
_REQUEST, _ANSWER = b"amanat sealed request 1", b"amanat sealed answer 1"


def new_key() -> bytes:
    """A new private key of a relay."""
    return (
        MLKEM768PrivateKey.generate().private_bytes_raw()
        + X25519PrivateKey.generate().private_bytes_raw()
    )


def public_key(private: bytes) -> bytes:
    """The public key of a private one, SEALING_KEY_BYTES long."""
    mlkem, x25519 = _halves(private)
    return mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()


def read_private(private: bytes) -> hpke.MLKEM768X25519PrivateKey:
    """A private key, ready to open requests. It takes as long as to open one."""
    return hpke.MLKEM768X25519PrivateKey(*_halves(private))


def seal_request(frame: bytes, *, to: bytes, relay: bytes) -> tuple[bytes, bytes]:
    """(a frame sealed to the sealing key `to` of the relay whose key is `relay`, the answer key).

    Its length tells only for which of the cell sizes it has room. Raises BrokenSeal if `to` is no
    key, and FrameTooLarge.
    """
    answer_key = secrets.token_bytes(ANSWER_KEY_BYTES)
    plain = answer_key + frame + _END
    size = next((s for s in CELL_SIZES if len(plain) <= s + ENVELOPE_BYTES), None)
    if size is None:
        raise FrameTooLarge(f"{len(frame)} bytes")
    try:
        mlkem = MLKEM768PublicKey.from_public_bytes(to[:_MLKEM_PUBLIC_BYTES])
        x25519 = X25519PublicKey.from_public_bytes(to[_MLKEM_PUBLIC_BYTES:])
    except ValueError:
        raise BrokenSeal from None
    key = hpke.MLKEM768X25519PublicKey(mlkem, x25519)
    padded = plain.ljust(size + ENVELOPE_BYTES, b"\x00")
    return _SUITE.encrypt(padded, key, _REQUEST + relay), answer_key


def open_request(
    sealed: bytes, privates: Iterable[hpke.MLKEM768X25519PrivateKey], *, relay: bytes
) -> tuple[bytes, bytes]:
    """(the frame in a sealed request, the answer key). `privates` are private keys as
    `read_private` gives them. Raises BrokenSeal."""
    for key in privates:
        try:
            plain = _SUITE.decrypt(sealed, key, _REQUEST + relay)
        except (InvalidTag, ValueError):
            continue
        if len(plain) not in [size + ENVELOPE_BYTES for size in CELL_SIZES]:
            raise BrokenSeal
        return _without_padding(plain[ANSWER_KEY_BYTES:]), plain[:ANSWER_KEY_BYTES]
    raise BrokenSeal


def seal_answer(frame: bytes, answer_key: bytes, *, least: int = 1) -> bytes:
    """A reply sealed for the author of the request, padded to a multiple of the message cell, and
    to at least `least` of them: an answer without cells is then as long as one with that many."""
    plain = frame + _END
    cells = max(least, -(-(len(plain) - ENVELOPE_BYTES) // MESSAGE_CELL))
    salt = secrets.token_bytes(_SALT_BYTES)
    padded = plain.ljust(cells * MESSAGE_CELL + ENVELOPE_BYTES, b"\x00")
    return salt + _answer_cipher(answer_key, salt).encrypt(_NONCE, padded, None)


def open_answer(sealed: bytes, answer_key: bytes) -> bytes:
    """The reply in a sealed answer. Raises BrokenSeal."""
    salt, rest = sealed[:_SALT_BYTES], sealed[_SALT_BYTES:]
    try:
        plain = _answer_cipher(answer_key, salt).decrypt(_NONCE, rest, None)
    except InvalidTag:
        raise BrokenSeal from None
    if len(plain) < MESSAGE_CELL or len(plain) % MESSAGE_CELL != ENVELOPE_BYTES:
        raise BrokenSeal
    return _without_padding(plain)


def _answer_cipher(answer_key: bytes, salt: bytes) -> ChaCha20Poly1305:
    kdf = HKDF(hashes.SHA256(), ANSWER_KEY_BYTES, salt=salt, info=_ANSWER)
    return ChaCha20Poly1305(kdf.derive(answer_key))


def _halves(private: bytes) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
    return (
        MLKEM768PrivateKey.from_seed_bytes(private[:_MLKEM_SEED_BYTES]),
        X25519PrivateKey.from_private_bytes(private[_MLKEM_SEED_BYTES:]),
    )


def _without_padding(padded: bytes) -> bytes:
    frame = padded.rstrip(b"\x00")
    if not frame.endswith(_END):
        raise BrokenSeal
    return frame[:-1]
