"""The vault: a person's encrypted database, and the unit of work every change goes through.

One rule makes a client crash-safe: MLS state, plaintext, cursors and the outbox change in one
transaction (`Vault.unit`). Only after it has committed does anything go on the network, and a retry
sends the same bytes. A process that dies at any statement leaves the state before or after. When a
unit fails, the state in memory is ahead of the disk. Every holder of such state registers a
`forget`, by which it is dropped and read again.

Only one process has a profile open, because two would step the same MLS ratchets and fork. A file
lock keeps the second one out.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import sqlite3
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import sqlcipher3

from amanat.client import folding, schema, unlock_file
from amanat.client.unit import K, Memory, Reader, Unit, V
from amanat.client.unlock_file import Change
from amanat.client.unlock_file import Unlock as Unlock  # noqa: PLC0414  # named with a vault
from amanat.errors import (
    BY_ERRNO,
    AmanatError,
    BadArgument,
    DiskFailed,
    DiskFull,
    NoMemory,
    NoProfile,
    NotPermitted,
    ProfileExists,
    ProfileInUse,
    VaultDamaged,
    VaultTooNew,
    VaultTooOld,
    WrongPassphrase,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Driver: TypeAlias = Callable[..., sqlite3.Connection]
    """The factory of connections to a database, called as `sqlcipher3.connect` calls one."""

# The driver asks every value of other types than int, float, str and bytearray for adapters, which
# takes longer than to bind it. These types need none, and say so at once.
sqlcipher3.register_adapter(bytes, bytes)
sqlcipher3.register_adapter(bool, int)
sqlcipher3.register_adapter(type(None), {}.get)

_PROBE_BYTES = 8192
"""The bytes that we write to find out whether we can write into a directory: a page or two."""
_FILLING_KIB = 262_144
"""The most memory for the pages of a new vault while it is filled, in KiB: one that is restored has
some hundred megabytes, and a page that does not stay in memory is sealed and written many times."""
_DATABASE = "vault.db"
_LOCK = "lock"


class Vault:
    """An open vault, locked against other processes. `read` reads from it; only a `unit` writes."""

    def __init__(
        self,
        db: sqlite3.Connection,
        lock: int,
        directory: Path,
        driver: Driver = sqlcipher3.Connection,
        key: bytes = b"",
    ) -> None:
        self._db = db
        self._driver = driver
        self._key = key
        self.read = Reader(db)
        self.directory = directory
        self._lock = lock
        self._forget: list[Callable[[], None]] = []
        self._drain: list[Callable[[Unit], None]] = []
        self._before_commit: list[Callable[[Unit], None]] = []
        self._after_commit: list[Callable[[], None]] = []

    def bind(
        self,
        *,
        drain: Callable[[Unit], None] | None = None,
        before_commit: Callable[[Unit], None] | None = None,
        after_commit: Callable[[], None] | None = None,
        forget: Callable[[], None] | None = None,
    ) -> None:
        """Keep a caller's memory in step with the vault: `drain` carries out the queued steps of a
        unit (`Unit.follow`), `before_commit` writes the caller's changes with the unit,
        `after_commit` hears that they are durable, `forget` that they are not."""
        if drain is not None:
            self._drain.append(drain)
        if before_commit is not None:
            self._before_commit.append(before_commit)
        if after_commit is not None:
            self._after_commit.append(after_commit)
        if forget is not None:
            self._forget.append(forget)

    def memory(self) -> Memory[K, V]:
        """A dict beside the vault, in which a failed unit leaves no changes."""
        made: Memory[K, V] = Memory()
        self.bind(after_commit=made.settle, forget=made.undo)
        return made

    @contextlib.contextmanager
    def unit(self, *, now: int) -> Iterator[Unit]:
        """One unit of work, at the time `now` in Unix milliseconds. Everything inside is durable
        when it ends, or nothing is.

        Raises DiskFull if nothing can be written; the state is then the one before.
        """
        unit = Unit(self._db, now=now)
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield unit
            for drain in self._drain:
                drain(unit)
            for write in self._before_commit:
                write(unit)
            self._db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlcipher3.Error):
                self._db.execute("ROLLBACK")
            for forget in self._forget:
                forget()
            with naming_faults(self.directory):
                raise
        finally:
            unit.end()
            self.read.forget()
        for told in self._after_commit:
            told()

    def get(self, key: str) -> bytes:
        """The value of a key of `meta`. Raises KeyError if there is none."""
        row = self.read.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise KeyError(key)
        return bytes(row[0])

    def scrub(self) -> bool:
        """Empty the write-ahead log, which holds pages from before a deletion; returns whether it
        is empty now. While somebody reads an earlier moment (`snapshot`) it is not, and nobody
        waits for them. Call it outside a unit."""
        (patience,) = self._db.execute("PRAGMA busy_timeout").fetchone()
        self._db.execute("PRAGMA busy_timeout = 0")
        try:
            (is_busy, _, _) = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlcipher3.OperationalError:
            return False
        finally:
            self._db.execute(f"PRAGMA busy_timeout = {patience}")
        return not is_busy

    def change_unlock(self, change: Change) -> None:
        """Encrypt everything under another key, in place. Call it outside a unit.

        The unlock file names both keys before the database changes, in one transaction, from the
        one to the other. A process that dies at any moment therefore leaves a vault that exactly
        one of them opens. Raises WrongPassphrase if the vault has got another key meanwhile, or an
        error of `naming_faults`, and then changes nothing.
        """
        path = self.directory / unlock_file.UNLOCK_FILE
        with naming_faults(self.directory):
            before, settings = path.read_bytes(), unlock_file.read_settings(self.directory)
            if settings["check"] != unlock_file.check(change.old):
                raise WrongPassphrase
            failure: Exception | None = None
            try:
                both = settings | {unlock_file.NEXT: change.settings}
                unlock_file.write_settings(self.directory, both)
            except OSError as error:
                failure = error
            failure = failure or self._rekey(change)
            if failure is not None:
                with contextlib.suppress(OSError):  # otherwise the next opening does it
                    unlock_file.write_durably(path, before)
                unlock_file.forget_entry(change.settings)
                raise failure
        with contextlib.suppress(OSError):  # it is done, and the next opening finds that out too
            unlock_file.settle(self.directory, settings, change.settings)
        self.scrub()

    def _rekey(self, change: Change) -> Exception | None:
        """Change the database's key; returns the error if it has the old one after all. Raises any
        error that leaves open which of the two it has."""
        failure: Exception | None = None
        try:
            self._db.execute(f"PRAGMA rekey = \"x'{change.key.hex()}'\"")
        except sqlcipher3.Error as error:
            failure = error
        # SQLCipher says that all is well even where the disk is full, so another connection finds
        # out which key the database has.
        found = _try_key(self.directory, change.key, self._driver)
        if found is not None and failure is None:
            found[0].close()
            self._key = change.key
            return None
        # This connection would now write with one key and read with the other.
        self._db.close()
        is_new = found is not None
        found = found or _try_key(self.directory, change.old, self._driver)
        failure = failure or _refusal(self.directory, DiskFailed)(str(self.directory))
        if found is None:
            raise failure
        self._db, _, self._key = found
        self.read.turn_to(self._db)
        return None if is_new else failure

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Reader]:
        """The vault as it is now, whatever is written meanwhile, on a connection of its own: for
        long reading in another thread. Raises the errors of `naming_faults`."""
        with naming_faults(self.directory):
            db = _connect(self.directory / _DATABASE, self._key, sqlcipher3.Connection)
            try:
                db.execute("PRAGMA query_only = ON")
                db.execute("BEGIN")
                db.execute("SELECT 1 FROM meta").fetchone()  # a moment is chosen by reading
                yield Reader(db)
            finally:
                db.close()

    @property
    def key(self) -> bytes:
        """The key of the database, for another process of ours that reads it (`beside`)."""
        return self._key

    @property
    def place(self) -> bytes:
        """The place of the database's file on this machine, which differs from that of any copy."""
        found = (self.directory / _DATABASE).stat()
        return f"{found.st_dev} {found.st_ino}".encode()

    def damage(self) -> str:
        """The damage in the database's pages, in SQLite's words; empty if there is none."""
        self.scrub()  # SQLCipher reads the file alone, whose pages may have a key from before
        try:
            found = [str(row[0]) for row in self._db.execute("PRAGMA cipher_integrity_check")]
            found += [str(r[0]) for r in self._db.execute("PRAGMA integrity_check") if r[0] != "ok"]
        except sqlcipher3.DatabaseError as error:
            found = [str(error)]
        return "; ".join(found)

    def close(self) -> None:
        """Close the database and let other processes in."""
        with contextlib.suppress(sqlcipher3.Error):
            self.scrub()  # keys were deleted since the last time
        self.let_go()

    def let_go(self) -> None:
        """Let other processes in, and write nothing."""
        self._db.close()
        os.close(self._lock)


@contextlib.contextmanager
def naming_faults(directory: Path, *, is_opening: bool = False) -> Iterator[None]:
    """Raises VaultDamaged if the database of `directory` turns out to be broken, and a named error
    for any other fault of the machine that prevents reading or writing.

    An error that only a mistake of ours can cause passes unchanged. While a vault `is_opening` it
    cannot be our mistake, so it means that the database is not one of ours.
    """
    try:
        yield
    except sqlcipher3.DatabaseError as error:
        named = _named(error, directory)
        if named is None and is_opening:
            named = VaultDamaged(f"{directory}: {error}")
        if named is None:
            raise
        raise named from None
    except OSError as error:
        kind = BY_ERRNO.get(error.errno or 0)
        if kind is None:
            raise
        raise kind(f"{error.filename or directory}: {error.strerror}") from None


def _named(error: sqlite3.DatabaseError, directory: Path) -> AmanatError | None:
    """The error for SQLite's primary result code about the database of `directory`; None if it can
    only be a mistake of ours."""
    name = getattr(error, "sqlite_errorname", "")  # an error of the module itself has none
    found = f"{directory}: {name}"
    match getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF:
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return VaultDamaged(f"{directory}: {error}")
        case sqlite3.SQLITE_FULL:
            return DiskFull(found)
        case sqlite3.SQLITE_IOERR:
            return _refusal(directory, DiskFailed)(found)
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return _refusal(directory, NotPermitted)(found)
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED | sqlite3.SQLITE_PROTOCOL:
            return ProfileInUse(found)
        case sqlite3.SQLITE_NOMEM:
            return NoMemory(found)
    return None


def _refusal(directory: Path, otherwise: type[AmanatError]) -> type[AmanatError]:
    """The reason why SQLite could not write into a directory, found by trying to write there.
    SQLite's result codes do not always distinguish a full disk, a limit and a broken disk."""
    try:
        largest = max(path.stat().st_size for path in directory.iterdir())
        with tempfile.TemporaryFile(dir=directory) as file:
            os.truncate(file.fileno(), largest + _PROBE_BYTES)
            os.pwrite(file.fileno(), bytes(_PROBE_BYTES), largest)
            os.fsync(file.fileno())
    except OSError as error:
        return BY_ERRNO.get(error.errno or 0, otherwise)
    except ValueError:  # the directory is empty
        return otherwise
    return otherwise


def create(
    directory: Path,
    unlock: Unlock,
    fill: Callable[[Unit, Vault], None],
    *,
    now: int,
    driver: Driver = sqlcipher3.Connection,
) -> None:
    """Make a new profile in `directory`; `fill` writes its first rows, in one unit of work.

    The database is built beside its place and renamed, so a profile is whole or not there. Raises
    ProfileExists, or the errors of `naming_faults`.
    """
    with naming_faults(directory, is_opening=True):
        _create(directory, unlock, fill, driver, now=now)


def _create(
    directory: Path,
    unlock: Unlock,
    fill: Callable[[Unit, Vault], None],
    driver: Driver,
    *,
    now: int,
) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    _make_private(directory)
    lock = take_lock(directory)
    try:
        if (directory / _DATABASE).exists():
            raise ProfileExists(str(directory))
        key, settings = unlock_file.new_key(unlock)
        draft = directory / (_DATABASE + ".new")
        for leftover in directory.glob(_DATABASE + ".new*"):
            leftover.unlink()
        db = _connect(draft, key, driver)
        db.execute(f"PRAGMA cache_size = -{_FILLING_KIB}")
        vault = Vault(db, -1, directory)
        try:
            with vault.unit(now=now) as unit:
                _upgrade(db, 0)
                again = folding.put_off(db)
                fill(unit, vault)
                for statement in again:
                    db.execute(statement)
                folding.renew(db)
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            db.close()
        unlock_file.write_settings(directory, settings)
        draft.rename(directory / _DATABASE)
        unlock_file.sync_directory(directory)
    finally:
        os.close(lock)


def open_vault(directory: Path, unlock: Unlock, driver: Driver = sqlcipher3.Connection) -> Vault:
    """The vault of the profile in `directory`.

    Raises NoProfile, ProfileInUse, WrongPassphrase, VaultTooNew, VaultTooOld, VaultDamaged, or
    another error of `naming_faults`; nothing is changed then.
    """
    if not (directory / _DATABASE).exists():
        raise NoProfile(str(directory))
    with naming_faults(directory, is_opening=True), contextlib.ExitStack() as opened:
        _make_private(directory)
        lock = take_lock(directory)
        opened.callback(os.close, lock)
        db, version, key = _unlocked(directory, unlock, driver)
        opened.callback(db.close)
        if version > schema.VERSION:
            raise VaultTooNew(f"version {version}; this program knows {schema.VERSION}")
        if version < schema.BASE:
            raise VaultTooOld(f"version {version}; this program knows {schema.BASE} and later")
        if schema.has_old_credential(db):
            raise VaultTooOld("its credential has no generation")
        if version < schema.VERSION:
            db.execute("BEGIN IMMEDIATE")  # undone by closing, if it fails
            _upgrade(db, version)
            db.execute("COMMIT")
        folding.renew(db)
        opened.pop_all()
    return Vault(db, lock, directory, driver, key)


@contextlib.contextmanager
def beside(directory: Path, key: bytes) -> Iterator[Vault]:
    """A vault that another process of ours has open and locked, to be read alone. Raises the
    errors of `naming_faults`."""
    with naming_faults(directory):
        db = _connect(directory / _DATABASE, key, sqlcipher3.Connection)
        try:
            db.execute("PRAGMA query_only = ON")
            yield Vault(db, -1, directory, key=key)
        finally:
            db.close()


@contextlib.contextmanager
def scratch(*, now: int) -> Iterator[Unit]:
    """A unit of work in a new vault that rests in memory alone. Nobody keeps it, so it needs no
    journal, and nobody searches it, so the words of its texts are not indexed."""
    db: sqlite3.Connection = sqlcipher3.connect(":memory:", isolation_level=None)
    try:
        db.execute("PRAGMA journal_mode = OFF")
        folding.register(db)
        _upgrade(db, 0)
        folding.put_off(db)
        db.execute("BEGIN")
        unit = Unit(db, now=now)
        yield unit
        unit.end()
    finally:
        db.close()


def _unlocked(
    directory: Path, unlock: Unlock, driver: Driver
) -> tuple[sqlite3.Connection, int, bytes]:
    """The opened database, its version and its key. If the process died while it changed the key,
    one of two keys opens it, and the unlock file is mended."""
    settings = unlock_file.read_settings(directory)
    if unlock_file.NEXT not in settings:
        return _open_with(directory, unlock_file.known_key(directory, settings, unlock), driver)
    refused: AmanatError = WrongPassphrase()
    for one, other in unlock_file.choices(settings):
        try:
            found = _try_key(directory, unlock_file.known_key(directory, one, unlock), driver)
        except (WrongPassphrase, BadArgument) as error:
            refused = error
            continue
        if found is not None:
            with contextlib.suppress(OSError):  # otherwise the next opening does it
                unlock_file.settle(directory, other, one)
            return found
    raise refused


def _try_key(
    directory: Path, key: bytes, driver: Driver
) -> tuple[sqlite3.Connection, int, bytes] | None:
    """The opened database, its version and its key; None if it has another key."""
    try:
        return _open_with(directory, key, driver)
    except sqlcipher3.DatabaseError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_NOTADB:
            raise
    return None


def _open_with(
    directory: Path, key: bytes, driver: Driver
) -> tuple[sqlite3.Connection, int, bytes]:
    db = _connect(directory / _DATABASE, key, driver)
    try:
        return db, _read_version(db, directory), key
    except BaseException:
        db.close()
        raise


def opens_with(directory: Path) -> str:
    """The secret that opens the profile in `directory`: "passphrase", "keyring" or "key"; empty if
    there is no profile. Raises VaultDamaged or VaultTooNew."""
    if not (directory / _DATABASE).exists():
        return ""
    return unlock_file.opens_with(directory)


def _read_version(db: sqlite3.Connection, directory: Path) -> int:
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version == 0:
        raise VaultDamaged(str(directory))
    return version


def _upgrade(db: sqlite3.Connection, version: int) -> None:
    """Bring the schema from a version to ours, inside a transaction."""
    for statement in schema.steps_from(version):
        db.execute(statement)
    folding.renew(db)
    db.execute(f"PRAGMA user_version = {schema.VERSION}")


def _make_private(directory: Path) -> None:
    """Make a profile's directory private to its owner (threat model, T10.3), however it was made.

    Raises BadArgument for a directory that is open to others and holds more than a profile, because
    we do not know whose that is.
    """
    if not directory.stat().st_mode & 0o077:
        return
    for path in directory.iterdir():
        if path.name not in (_LOCK, "run.sock") and not path.name.startswith("vault."):
            raise BadArgument(
                f"{directory} is open to others and holds {path.name}, which is no profile's:"
                " give a directory of its own, or take others' rights to it away"
            )
    directory.chmod(0o700)


def take_lock(directory: Path, name: str = _LOCK) -> int:
    """Keep other processes out of a profile, or with another `name` out of what that lock stands
    for, until the descriptor returned is closed. Raises ProfileInUse."""
    handle = os.open(directory / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise ProfileInUse(str(directory)) from None
    return handle


def _connect(path: Path, key: bytes, driver: Driver) -> sqlite3.Connection:
    db: sqlite3.Connection = sqlcipher3.connect(str(path), isolation_level=None, factory=driver)
    try:
        path.chmod(0o600)
        db.execute("PRAGMA cipher_log_level = NONE")  # the errors have names of ours
        # A raw key: Argon2id has done its work, so SQLCipher's own PBKDF2 is left out.
        db.execute(f"PRAGMA key = \"x'{key.hex()}'\"")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA secure_delete = ON")
        db.execute("PRAGMA temp_store = MEMORY")
        folding.register(db)
    except BaseException:
        db.close()
        raise
    return db


@functools.lru_cache(maxsize=4096)  # pure, and every list names the same conversations and people
def fingerprint(data: bytes) -> str:
    """A short name for an id that a person may have to type: 8 hex digits."""
    return hashlib.sha256(data).hexdigest()[:8]
