"""How a hop tells another relay which relay it is (docs/protocol.md, section 5, Introduce).

A hop asks for many people, so it gets more room than a stranger where the operator has listed it.
The introduction names the relay for which it is meant, so nobody can use it at another one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_CONTEXT = b"amanat hop 1\x00"


def introduce(identity: Ed25519PrivateKey, *, to: bytes) -> bytes:
    """The signature by which a hop shows the relay with the key `to` which relay it is."""
    return identity.sign(_CONTEXT + to)


def is_introduced(hop: bytes, signature: bytes, *, to: bytes) -> bool:
    """Whether the relay with the key `hop` has signed that it asks the relay with the key `to`."""
    try:
        Ed25519PublicKey.from_public_bytes(hop).verify(signature, _CONTEXT + to)
    except (InvalidSignature, ValueError):
        return False
    return True
