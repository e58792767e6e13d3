"""Pairs: secrets derived from two people's lasting keys, which nobody else can derive."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from amanat.errors import InvalidCell
from amanat.protocol.drops import expand
from amanat.protocol.labels import pair_secret

if TYPE_CHECKING:
    from amanat.client.profile import Me

_SALT_BYTES = 16


class Pairs:
    """The secrets of a person with each of the people they know, and with their own devices."""

    def __init__(self, me: Me) -> None:
        self._me = me
        self._pairs: dict[bytes, bytes] = {}

    def secret(self, delivery: bytes) -> bytes:
        """Our secret with the person who has this delivery key."""
        if delivery not in self._pairs:
            self._pairs[delivery] = pair_secret(self._me.delivery_key, delivery)
        return self._pairs[delivery]

    def asking(self, delivery: bytes, *, asker: bytes, helper: bytes) -> bytes:
        """The secret by which `asker` asks `helper` for help; one of them has this delivery key,
        the other is us."""
        return expand(self.secret(delivery), b"amanat way back", asker + helper)

    def claim(self, number: int, *, generation: int) -> bytes:
        """The secret by which our device of a generation, or a copy of it, claims a number. A
        restored profile has the same keys as the one before it, and is no copy of it."""
        count = self._me.signer + generation.to_bytes(8, "big") + number.to_bytes(8, "big")
        return expand(self._me.delivery_key, b"amanat claim", count)


def seal_asking(secret: bytes, payload: bytes) -> bytes:
    """A payload sealed under a key of this request alone. The labels for help are few, and are used
    again when cells have expired."""
    salt = secrets.token_bytes(_SALT_BYTES)
    key = expand(secret, b"amanat asking salt", salt)
    return salt + ChaCha20Poly1305(key).encrypt(bytes(12), payload, None)


def open_asking(secret: bytes, sealed: bytes) -> bytes:
    """The payload of a request for help. Raises InvalidCell."""
    key = expand(secret, b"amanat asking salt", sealed[:_SALT_BYTES])
    try:
        return ChaCha20Poly1305(key).decrypt(bytes(12), sealed[_SALT_BYTES:], None)
    except InvalidTag:
        raise InvalidCell from None
