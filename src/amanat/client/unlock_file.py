"""The unlock file: what opens a vault, and how its key comes from it.

A vault is encrypted under a key of its own. The key is derived from a passphrase, rests in the
system keyring, or is kept by the program that opens the vault. The file `vault.json` says which of
these it is, with a salt or the name of the keyring's entry, and never holds the key itself. While a
key is being changed, the file names both (`vault.Vault.change_unlock`).
"""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import secrets
import unicodedata
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, assert_never

import keyring
import keyring.errors
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from amanat.errors import (
    BadArgument,
    NoMemory,
    NoProfile,
    VaultDamaged,
    VaultTooNew,
    WrongPassphrase,
)

if TYPE_CHECKING:
    from collections.abc import Callable

KEY_BYTES = 32
SALT_BYTES = 16
ARGON2_MEMORY_KIB = 256 * 1024
"""Memory of one passphrase guess, in KiB: about 2 s a guess on one core, and expensive in parallel
(RFC 9106, section 4, asks for at least 64 MiB if 2 GiB are too much)."""
MAX_ARGON2_MEMORY_KIB = 16 * ARGON2_MEMORY_KIB
"""The most memory that we take for a guess. A file that asks for more is not one of ours."""
ARGON2_PASSES = 3
ARGON2_LANES = 4
KEYRING_SERVICE = "amanat"

UNLOCK_FILE = "vault.json"
_DRAFT = ".new"
NEXT = "next"
"""The field of the unlock file with what opens the vault after a change that is not finished."""


class _Lock(StrEnum):
    """The way in which a vault is unlocked, as its unlock file says."""

    PASSPHRASE = "passphrase"  # noqa: S105  # the word for it
    KEYRING = "keyring"
    KEY = "key"
    """No key is kept; the program that opens the vault has it."""


class Unlock(NamedTuple):
    """The source of a vault's key: exactly one of a passphrase, the system keyring, or the key
    itself.

    `key` is for programs that keep the 32-byte key elsewhere.
    """

    passphrase: str | None = None
    keyring: bool = False
    key: bytes | None = None


class Change(NamedTuple):
    """A change of a vault's key: the key that opens it until then, and the new one with what the
    unlock file says of it."""

    old: bytes
    key: bytes
    settings: dict[str, Any]


def needs_passphrase(directory: Path) -> bool:
    """Whether the profile opens with a passphrase. Raises NoProfile or VaultDamaged."""
    return opens_with(directory) == _Lock.PASSPHRASE


def opens_with(directory: Path) -> str:
    """The secret that opens the profile: "passphrase", "keyring" or "key"; "passphrase" if either
    side of a change that has not ended is one. Raises NoProfile or VaultDamaged."""
    kinds = [str(one["unlock"]) for one, _ in choices(read_settings(directory))]
    return _Lock.PASSPHRASE.value if _Lock.PASSPHRASE in kinds else kinds[0]


def prepare_change(directory: Path, old: Unlock, new: Unlock) -> Change:
    """The keys for a change of the way in which an open vault is unlocked. It takes seconds, and
    may be called in another thread.

    Raises WrongPassphrase if `old` is not what unlocks the vault now, or BadArgument if `new` is no
    way to unlock one.
    """
    before = known_key(directory, read_settings(directory), old)
    return Change(before, *new_key(new))


def _prepared(passphrase: str) -> bytes:
    """A passphrase in the form in which it is used, however a keyboard has composed its letters:
    every space is the same, and the form is NFC, in UTF-8 (RFC 8265, OpaqueString: section 4.2.1).

    Characters that the profile disallows are accepted, because the set of them changes with
    Unicode's versions, and a vault that opened has to open again. Raises BadArgument if the
    passphrase is empty.
    """
    if not passphrase:
        raise BadArgument("an empty passphrase protects nothing")
    spaced = "".join(" " if unicodedata.category(one) == "Zs" else one for one in passphrase)
    try:
        return unicodedata.normalize("NFC", spaced).encode()
    except UnicodeEncodeError:
        raise BadArgument("the passphrase is not UTF-8 text") from None


def _argon2(passphrase: bytes, salt: bytes, settings: dict[str, int]) -> bytes:
    """The Argon2id hash of a passphrase (RFC 9106)."""
    if settings["memory_kib"] > MAX_ARGON2_MEMORY_KIB:
        raise ValueError
    return Argon2id(
        salt=salt,
        length=KEY_BYTES,
        iterations=settings["passes"],
        lanes=settings["lanes"],
        memory_cost=settings["memory_kib"],
    ).derive(passphrase)


def check(key: bytes) -> str:
    """A check value that tells a wrong key from a damaged database. It is no easier to guess
    against than the database."""
    return hmac.digest(key, b"amanat vault check", "sha256")[:8].hex()


def new_key(unlock: Unlock) -> tuple[bytes, dict[str, Any]]:
    """A new key that an unlock gives, and what the unlock file says of it. Raises BadArgument."""
    if [unlock.passphrase is not None, unlock.keyring, unlock.key is not None].count(True) != 1:
        raise BadArgument("exactly one of passphrase, keyring and key")
    settings: dict[str, Any] = {"version": 1}
    if unlock.passphrase is not None:
        salt = secrets.token_bytes(SALT_BYTES)
        cost = {"memory_kib": ARGON2_MEMORY_KIB, "passes": ARGON2_PASSES, "lanes": ARGON2_LANES}
        key = _argon2(_prepared(unlock.passphrase), salt, cost)
        settings |= {"unlock": _Lock.PASSPHRASE, "salt": salt.hex(), "argon2id": cost}
    elif unlock.keyring:
        key = secrets.token_bytes(KEY_BYTES)
        entry = secrets.token_hex(8)
        _keyring(lambda: keyring.set_password(KEYRING_SERVICE, entry, key.hex()))
        settings |= {"unlock": _Lock.KEYRING, "entry": entry}
    else:
        key = unlock.key or b""
        if len(key) != KEY_BYTES:
            raise BadArgument(f"a vault key has {KEY_BYTES} bytes")
        settings |= {"unlock": _Lock.KEY}
    return key, settings | {"check": check(key)}


def known_key(directory: Path, settings: dict[str, Any], unlock: Unlock) -> bytes:
    """The key that an unlock gives, if it is the one of these settings. Raises WrongPassphrase."""
    try:
        lock = _Lock(settings["unlock"])
        match lock:
            case _Lock.PASSPHRASE:
                if not unlock.passphrase:
                    raise WrongPassphrase("this profile opens with a passphrase")
                passphrase, salt = _prepared(unlock.passphrase), bytes.fromhex(settings["salt"])
                key = _argon2(passphrase, salt, settings["argon2id"])
            case _Lock.KEYRING:
                entry = settings["entry"]
                stored = _keyring(lambda: keyring.get_password(KEYRING_SERVICE, entry))
                if stored is None:
                    raise WrongPassphrase("the system keyring does not hold this profile's key")
                key = bytes.fromhex(stored)
            case _Lock.KEY:
                key = unlock.key or b""
            case _:
                assert_never(lock)
        is_right = hmac.compare_digest(check(key), settings["check"])
    except (KeyError, TypeError, ValueError, OverflowError):
        raise VaultDamaged(str(directory / UNLOCK_FILE)) from None
    except MemoryError:
        raise NoMemory(str(directory)) from None
    if not is_right:
        raise WrongPassphrase
    return key


def read_settings(directory: Path) -> dict[str, Any]:
    """The content of the unlock file. Raises NoProfile, VaultDamaged or VaultTooNew."""
    try:
        settings = json.loads((directory / UNLOCK_FILE).read_bytes())
    except FileNotFoundError:
        raise NoProfile(str(directory)) from None
    except ValueError:
        raise VaultDamaged(str(directory / UNLOCK_FILE)) from None
    if not isinstance(settings, dict) or "unlock" not in settings:
        raise VaultDamaged(str(directory / UNLOCK_FILE))
    if settings.get("version") != 1:  # written by a newer program
        raise VaultTooNew(str(directory / UNLOCK_FILE))
    if not isinstance(settings.get(NEXT, {"unlock": ""}), dict) or "unlock" not in settings.get(
        NEXT, settings
    ):
        raise VaultDamaged(str(directory / UNLOCK_FILE))
    return settings


def choices(settings: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The settings that may be in force, each with the others: two if a change was not finished."""
    now = {name: value for name, value in settings.items() if name != NEXT}
    after = settings.get(NEXT)
    return [(now, {})] if after is None else [(now, after), (after, now)]


def settle(directory: Path, gone: dict[str, Any], kept: dict[str, Any]) -> None:
    """Let the unlock file say only what opens the vault, and take the other key from the
    keyring."""
    write_settings(directory, kept)
    forget_entry(gone)


def forget_entry(settings: dict[str, Any]) -> bool:
    """Take a vault's key out of the system keyring; returns whether it is not there now."""
    if settings["unlock"] != _Lock.KEYRING:
        return True
    entry = str(settings.get("entry"))
    with contextlib.suppress(keyring.errors.KeyringError):
        keyring.delete_password(KEYRING_SERVICE, entry)
    try:
        return keyring.get_password(KEYRING_SERVICE, entry) is None
    except keyring.errors.KeyringError:
        return False


def forget_entries(directory: Path) -> bool:
    """Take every key that may open a vault out of the system keyring; returns whether none is there
    now. A file that cannot be read names none."""
    try:
        settings = read_settings(directory)
    except (NoProfile, VaultDamaged, VaultTooNew):
        return True
    forgotten = [forget_entry(one) for one, _ in choices(settings)]
    return all(forgotten)


def files(directory: Path) -> list[Path]:
    """The unlock file, and the draft of one, where they are there."""
    path = directory / UNLOCK_FILE
    return [one for one in (path, path.with_suffix(_DRAFT)) if one.exists()]


def _keyring(call: Callable[[], Any]) -> Any:  # noqa: ANN401  # what keyring gives
    try:
        return call()
    except keyring.errors.KeyringError as error:
        raise BadArgument(f"the system keyring does not work here: {error}") from None


def write_settings(directory: Path, settings: dict[str, Any]) -> None:
    """Write the unlock file, durably."""
    write_durably(directory / UNLOCK_FILE, json.dumps(settings, indent=2).encode() + b"\n")
    sync_directory(directory)


def write_durably(path: Path, data: bytes) -> None:
    """Put a file in the place of another; after a crash either is there, and whole."""
    draft = path.with_suffix(_DRAFT)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(handle)
    except BaseException:
        draft.unlink()
        raise
    draft.rename(path)


def sync_directory(directory: Path) -> None:
    """Let the names in a directory outlive a crash."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
