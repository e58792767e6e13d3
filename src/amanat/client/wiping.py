"""Wiping: a profile is destroyed, the key first.

Without the salt in the unlock file nobody can derive the key from the passphrase, and without the
entry in the system keyring nobody has it. A process that dies after this first step therefore
leaves nothing that can be read, and the next `wipe` removes the rest.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

from amanat.client import blobs, unlock_file, vault
from amanat.errors import NoProfile

if TYPE_CHECKING:
    from pathlib import Path

_VAULT = "vault.*"
_FILES = (_VAULT, "run.sock", "page.sock", "open.html", "page.lock", "lock")
"""The files of a profile, as patterns; the lock goes last. No other file is touched."""


def check_there(directory: Path) -> None:
    """Raise NoProfile if a directory holds no part of a profile."""
    if not any(directory.glob(_VAULT)):
        raise NoProfile(str(directory))


def wipe(directory: Path) -> bool:
    """Destroy the profile in `directory`, without its passphrase: the key first, then all files,
    and the directory if it is empty then.

    Returns whether the system keyring holds its key no longer; False means that the keyring did not
    answer, and that its key still opens copies of the profile. Raises NoProfile, ProfileInUse, or
    another error of `vault.naming_faults`; then some of it may be left, and a second call goes on.
    """
    check_there(directory)
    with vault.naming_faults(directory):
        lock = vault.take_lock(directory)
        try:
            is_forgotten = unlock_file.forget_entries(directory)
            for path in unlock_file.files(directory):
                _overwrite(path)
            shutil.rmtree(directory / blobs.DIRECTORY, ignore_errors=True)
            for pattern in _FILES:
                for path in directory.glob(pattern):
                    path.unlink(missing_ok=True)
            unlock_file.sync_directory(directory)
        finally:
            os.close(lock)
        with contextlib.suppress(OSError):  # something else is in it
            directory.rmdir()
    return is_forgotten


def _overwrite(path: Path) -> None:
    """Write zeros over the content of a file, and wait until the disk has them."""
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
        file.flush()
        os.fsync(file.fileno())
