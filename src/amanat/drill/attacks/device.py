"""Traces on a person's own machine.

Method: if the vault is unlocked, every page of it, including free pages and the write-ahead log, is
decrypted and searched for texts that had disappeared; if it is locked, passphrases are tried.
Source: forensics of Signal Desktop before 7.16, whose key lay beside its database.
Metric: disappeared texts that are found; seconds that one guess at a passphrase takes here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "device"
PAGE_BYTES = 4_096
RESERVED_BYTES = 80
"""The end of each page: its IV and its authentication code."""
SALT_BYTES, IV_BYTES = 16, 16
LOG_HEAD_BYTES, FRAME_HEAD_BYTES = 32, 24


def pages(directory: Path, key: bytes) -> Iterator[bytes]:
    """Every decrypted page of a vault's files, including free pages and those of the log.

    SQLCipher 4 with a raw 32-byte key: AES-256-CBC over each page, its IV in the last 80 bytes; the
    first page begins with 16 bytes of salt.
    """

    def decrypted(page: bytes) -> bytes:
        body, iv = page[:-RESERVED_BYTES], page[-RESERVED_BYTES:][:IV_BYTES]
        opened = Cipher(algorithms.AES256(key), modes.CBC(iv)).decryptor()
        return opened.update(body) + opened.finalize()

    file = (directory / "vault.db").read_bytes()
    yield decrypted(file[SALT_BYTES:PAGE_BYTES])
    for at in range(PAGE_BYTES, len(file), PAGE_BYTES):
        yield decrypted(file[at : at + PAGE_BYTES])
    log = directory / "vault.db-wal"
    frames = log.read_bytes()[LOG_HEAD_BYTES:] if log.exists() else b""
    for at in range(0, len(frames), FRAME_HEAD_BYTES + PAGE_BYTES):
        page = frames[at + FRAME_HEAD_BYTES :][:PAGE_BYTES]
        is_first = int.from_bytes(frames[at : at + 4], "big") == 1
        yield decrypted(page[SALT_BYTES:] if is_first else page)
