"""The seal around the words that processes of a relay say to each other. Somebody who holds a node
of the cluster could read them there.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from amanat.protocol.drops import expand
from amanat.relay.store.wrapping import NONCE_BYTES


class Secrecy:
    """Seals and opens words for one purpose, by AES-256-GCM."""

    def __init__(self, key: bytes, purpose: bytes) -> None:
        """`key` is known to the relay's processes alone."""
        self._cipher = AESGCM(expand(key, purpose))

    def seal(self, plain: bytes, *, bound: bytes = b"") -> bytes:
        """Some words, sealed; they open only with the same `bound`."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain, bound)

    def open(self, sealed: bytes, *, bound: bytes = b"") -> bytes | None:
        """The words; None if no process of this relay has sealed them so."""
        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound)
        except (InvalidTag, ValueError):
            return None
