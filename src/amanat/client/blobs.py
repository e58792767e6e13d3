"""Blobs: encrypted files beside the vault, which hold the content of files.

A blob is a row of frames of one length, one for each cell of a file. Each frame is sealed under the
blob's own key, which is in the vault and nowhere else, so a frame can be read without the others
and a blob without its key is noise. A blob exists once the vault has its row, and no longer than
that: the row goes with the message in one unit of work, and with the row the key. The file itself
is removed a little later; one without a row was left by a process that died, and is removed at
start.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from amanat.client.unlock_file import sync_directory
from amanat.client.vault import naming_faults
from amanat.errors import BlobDamaged
from amanat.protocol.cells import MAX_PAYLOAD

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future
    from pathlib import Path

    from amanat.client.unit import Unit
    from amanat.client.vault import Vault

DIRECTORY = "vault.blobs"
"""The directory of the blobs, in that of the profile."""
ID_BYTES = 16
"""Length of a blob's name, in bytes: random, so that it tells nothing."""
KEY_BYTES = 32

_LENGTH_BYTES = 4
_TAG_BYTES = 16
FRAME_BYTES = _LENGTH_BYTES + MAX_PAYLOAD + _TAG_BYTES
"""Length of a frame on the disk, in bytes, whatever it holds."""
SYNC_FRAMES = 64
"""Written frames that go to the disk while more are written: 4 MiB. The disk takes about as long as
we do to seal them, and at the end it has only the last few left to take."""


class BlobName(NamedTuple):
    """The name of a blob and its key."""

    id: bytes
    key: bytes


class Blobs:
    """The blobs of one vault."""

    def __init__(self, vault: Vault) -> None:
        self._read = vault.read
        self._profile = vault.directory
        self._directory = vault.directory / DIRECTORY

    # In the vault

    @staticmethod
    def new() -> BlobName:
        """A name and a key for a new blob."""
        return BlobName(secrets.token_bytes(ID_BYTES), secrets.token_bytes(KEY_BYTES))

    @staticmethod
    def keep(unit: Unit, name: BlobName, size: int, *, is_own: bool) -> None:
        """Keep a blob: from now on it exists. `size` counts the bytes of the file's content."""
        unit.db.execute(
            "INSERT INTO blob (id, key, size, is_own, used_at) VALUES (?, ?, ?, ?, ?)",
            (name.id, name.key, size, is_own, unit.now),
        )

    def name(self, blob: bytes) -> BlobName | None:
        """A blob's name and key; None if there is no such blob any more."""
        row = self._read.execute("SELECT id, key FROM blob WHERE id = ?", (blob,)).fetchone()
        return BlobName(*row) if row else None

    @staticmethod
    def used(unit: Unit, blob: bytes) -> None:
        """Record that somebody has opened a blob."""
        unit.db.execute("UPDATE blob SET used_at = ? WHERE id = ?", (unit.now, blob))

    @staticmethod
    def resize(unit: Unit, blob: bytes, size: int) -> None:
        """Count a blob as so many bytes from now on."""
        unit.db.execute("UPDATE blob SET size = ? WHERE id = ?", (size, blob))

    @staticmethod
    def end(unit: Unit, blob: bytes) -> None:
        """End a blob."""
        unit.db.execute("DELETE FROM blob WHERE id = ?", (blob,))

    # On the disk

    def create(self, name: BlobName) -> Blob:
        """A new blob, to be written. Raises the errors of `naming_faults`."""
        with naming_faults(self._profile):
            path = self._path(name.id)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            return Blob(os.open(path, flags, 0o600), name.key, self._profile)

    def open(self, name: BlobName) -> Blob:
        """A blob, to be read. Raises BlobDamaged if its file is not there, or the errors of
        `naming_faults`."""
        try:
            with naming_faults(self._profile):
                flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
                return Blob(os.open(self._path(name.id), flags), name.key, self._profile)
        except FileNotFoundError:
            raise BlobDamaged from None

    def is_there(self, name: BlobName) -> bool:
        """Whether a blob's file is on the disk: a vault that was copied may be without."""
        return self._path(name.id).is_file()

    def sync(self, name: BlobName) -> None:
        """Make the place of a new blob durable, as `Blob.sync` does with its content."""
        with naming_faults(self._profile):
            for directory in (self._path(name.id).parent, self._directory, self._profile):
                sync_directory(directory)

    def discard(self, name: BlobName) -> None:
        """Remove the file of a blob that no vault keeps."""
        with contextlib.suppress(OSError):  # the next start removes it
            self._path(name.id).unlink(missing_ok=True)

    def gone(self) -> list[bytes]:
        """The blobs that have ended and whose files are still to be removed."""
        return [row[0] for row in self._read.all("SELECT id FROM blob_gone")]

    def remove(self, blob: bytes) -> bool:
        """Remove the file of a blob that has ended; returns whether it is there no longer."""
        try:
            self._path(blob).unlink(missing_ok=True)
        except OSError:
            return False
        return True

    @staticmethod
    def removed(unit: Unit, blobs: list[bytes]) -> None:
        """Record that the files of these blobs were removed."""
        unit.db.executemany("DELETE FROM blob_gone WHERE id = ?", [(one,) for one in blobs])

    def sweep(self) -> None:
        """Remove each file that is no blob of this vault."""
        known = {row[0] for row in self._read.execute("SELECT id FROM blob").fetchall()}
        for path in self._files():
            if path.name not in {one.hex() for one in known}:
                with contextlib.suppress(OSError):  # the next start removes it
                    path.unlink()

    def _files(self) -> Iterator[Path]:
        if self._directory.is_dir():
            yield from (path for path in self._directory.glob("*/*") if not path.is_dir())

    def _path(self, blob: bytes) -> Path:
        name = blob.hex()
        return self._directory / name[:2] / name


class Blob:
    """The open file of a blob."""

    def __init__(self, handle: int, key: bytes, profile: Path) -> None:
        self._handle = handle
        self._sealing = ChaCha20Poly1305(key)
        self._profile = profile
        self._room = bytearray()
        """Room for sealed frames: new memory for each would cost as much as sealing them."""
        self._unsynced = 0
        self._thread: ThreadPoolExecutor | None = None
        self._syncing: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, first: int, *payloads: bytes) -> None:
        """Write frames that follow each other, from the number `first`. A frame never gets another
        payload: its number is its nonce. Raises the errors of `naming_faults`, such as DiskFull."""
        if len(self._room) < len(payloads) * FRAME_BYTES:
            self._room = bytearray(len(payloads) * FRAME_BYTES)
        sealed = memoryview(self._room)[: len(payloads) * FRAME_BYTES]
        for place, payload in enumerate(payloads):
            plain = len(payload).to_bytes(_LENGTH_BYTES, "big") + payload
            plain = plain.ljust(_LENGTH_BYTES + MAX_PAYLOAD, b"\x00")
            frame = sealed[place * FRAME_BYTES : (place + 1) * FRAME_BYTES]
            self._sealing.encrypt_into(_nonce(first + place), plain, None, frame)
        with naming_faults(self._profile):
            at, rest = first * FRAME_BYTES, sealed
            while rest:
                written = os.pwrite(self._handle, rest, at)
                at, rest = at + written, rest[written:]
        self._unsynced += len(payloads)
        if self._unsynced >= SYNC_FRAMES and (self._syncing is None or self._syncing.done()):
            self._wait()
            self._unsynced = 0
            self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="blob")
            self._syncing = self._thread.submit(os.fdatasync, self._handle)

    def read(self, number: int) -> bytes:
        """The payload of a frame. Raises BlobDamaged if it does not open, or the errors of
        `naming_faults`."""
        with naming_faults(self._profile):
            sealed = os.pread(self._handle, FRAME_BYTES, number * FRAME_BYTES)
        try:
            plain = self._sealing.decrypt(_nonce(number), sealed, None)
        except InvalidTag:
            raise BlobDamaged from None
        length = int.from_bytes(plain[:_LENGTH_BYTES], "big")
        return plain[_LENGTH_BYTES : _LENGTH_BYTES + length]

    def frames(self) -> int:
        """How many frames it has."""
        return os.fstat(self._handle).st_size // FRAME_BYTES

    def sync(self) -> None:
        """Wait until the disk has everything that was written. Raises the errors of
        `naming_faults`."""
        self._wait()
        with naming_faults(self._profile):
            os.fdatasync(self._handle)

    def _wait(self) -> None:
        """Wait until the thread has nothing to do. The system tells of a fault only once, so the
        fault that the thread has heard of is raised here."""
        syncing, self._syncing = self._syncing, None
        if syncing is not None:
            with naming_faults(self._profile):
                syncing.result()

    def close(self) -> None:
        """Close the file."""
        if self._thread is not None:
            self._thread.shutdown()
        os.close(self._handle)


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")
