"""Addresses of relays that exist nowhere."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from amanat.protocol.descriptor import RelayAddress, Stay, sign_address
from amanat.protocol.places import Place

HERE = Place("relay.example", 1)


def key_of(number: int) -> Ed25519PrivateKey:
    """The private key of the relay with a number."""
    return Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)


def relay_at(*places: Place | Stay, number: int = 0, issued: int = 1) -> RelayAddress:
    """The signed address of the relay with a number."""
    stays = [one if isinstance(one, Stay) else Stay(one) for one in places or (HERE,)]
    return sign_address(stays, key_of(number), issued=issued)
