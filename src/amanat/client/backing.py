"""Making a backup, checking one, and restoring from one.

A backup counts as made only once it was read back from the disk and restored as a whole, into a
vault that nobody keeps. All of this uses a connection of its own to the vault, so that the client
goes on meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version
from typing import TYPE_CHECKING, NamedTuple, Protocol

from amanat.client import vault as vaults
from amanat.client.blobs import FRAME_BYTES, KEY_BYTES, Blob, BlobName, Blobs
from amanat.client.folders import open_new, pieces, write_all
from amanat.client.gathering import gather
from amanat.client.restoring import Restoring
from amanat.errors import BlobDamaged, BrokenArchive, FolderAway
from amanat.protocol import archive, codec
from amanat.protocol.archive import Opener, Sealer
from amanat.protocol.backup import PURPOSE, Entry
from amanat.protocol.ledger import hour_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import TypeAlias

    from amanat.client.folders import Folder
    from amanat.client.unit import Unit
    from amanat.client.vault import Driver, Unlock, Vault
    from amanat.protocol.backup import Blob as BlobRecord

    Told: TypeAlias = Callable[[str, int, int], None]
    """Hears how far a backup or a restore has got: the phase, and how much of how much is done."""


class Found(NamedTuple):
    """The content of a whole archive."""

    name: str
    """The name of its person."""
    made_at: int
    """When it was made, in Unix milliseconds."""
    messages: int
    imported: int
    blobs: dict[bytes, int]
    """The blobs that it names, and the number of frames of each."""
    unknown: int
    """The records of kinds that this program does not know."""


class Made(NamedTuple):
    """A backup that was made, and restored for a trial."""

    path: Path
    size: int
    found: Found
    new_blobs: int
    """The contents of files that were written for it."""
    damaged: int
    """The files whose content here is damaged, and which are therefore without it."""


class Maker(Protocol):
    """Makes and checks backups while the client goes on."""

    async def make(
        self, opened: Vault, folder: Folder, key: bytes, *, now: int, told: Told = ...
    ) -> Made:
        """Make a backup, and raise, as `make` does."""
        ...

    async def check(
        self, path: Path, folder: Folder, key: bytes, *, now: int, told: Told = ...
    ) -> Found:
        """Check an archive, and raise, as `check` does."""
        ...


def quiet(_phase: str, _done: int, _whole: int) -> None:
    """Tell nobody."""


def make(vault: Vault, folder: Folder, key: bytes, *, now: int, told: Told = quiet) -> Made:
    """Make a backup of a vault in a folder; `now` is in Unix milliseconds.

    Raises FolderAway, BrokenArchive if what was written does not come back from the disk, or the
    errors of `naming_faults`, such as DiskFull. The backups from before are as they were then.
    """
    try:
        return _make(vault, folder, key, now, told)
    except FileNotFoundError:  # the disk was pulled out meanwhile
        raise FolderAway(str(folder.place)) from None


class InThread:
    """Makes and checks backups in a thread of this process."""

    async def make(
        self, opened: Vault, folder: Folder, key: bytes, *, now: int, told: Told = quiet
    ) -> Made:
        """Make a backup, and raise, as `make` does."""
        return await asyncio.to_thread(make, opened, folder, key, now=now, told=told)

    async def check(
        self, path: Path, folder: Folder, key: bytes, *, now: int, told: Told = quiet
    ) -> Found:
        """Check an archive, and raise, as `check` does."""
        return await asyncio.to_thread(check, path, folder, key, now=now, told=told)


def _make(vault: Vault, folder: Folder, key: bytes, now: int, told: Told) -> Made:
    folder.open()
    with vaults.naming_faults(folder.place), vault.snapshot() as read:
        names = [
            BlobName(*row)
            for row in read.execute(
                "SELECT id, key FROM blob WHERE id IN (SELECT blob FROM file) ORDER BY id"
            )
        ]
        frames, new_blobs, damaged = _save_blobs(Blobs(vault), names, folder, told)
        (many,) = read.execute(
            "SELECT (SELECT count(*) FROM message) + (SELECT count(*) FROM imported_message)"
        ).fetchone()
        draft = folder.draft(now // 1000)
        sealer = Sealer(
            key,
            purpose=PURPOSE,
            hour=hour_of(now // 1000),
            salt=secrets.token_bytes(archive.SALT_BYTES),
            program=version("amanat"),
        )
        with open_new(draft) as handle:
            write_all(handle, sealer.head)
            count = 0
            for entry, records in gather(read, frames, now=now):
                write_all(handle, sealer.add(entry, *map(codec.encode, records)))
                if entry in (Entry.MESSAGE, Entry.IMPORTED_MESSAGE):
                    count += len(records)
                    told("write", count, many)
            write_all(handle, sealer.end())
            os.fsync(handle)
    found = check(draft, folder, key, now=now, told=told)
    with vaults.naming_faults(folder.place):
        size = draft.stat().st_size
        path = folder.keep(draft, found.blobs)
        folder.tidy()
    return Made(path, size, found, new_blobs, damaged)


def check(path: Path, folder: Folder, key: bytes, *, now: int, told: Told = quiet) -> Found:
    """Read an archive from the disk and restore all of it, into a vault that nobody keeps; and look
    whether each file that it names lies beside it. Raises BrokenArchive, WrongPhrase, NewerArchive
    or the errors of `naming_faults`."""
    with vaults.naming_faults(folder.place), vaults.scratch(now=now) as unit:
        found = _take(path, key, Restoring(unit), told)
        (messages,) = unit.db.execute("SELECT count(*) FROM message").fetchone()
        if messages != found.messages:
            raise BrokenArchive("not every message could be restored")
        for blob, frames in found.blobs.items():
            there = folder.blob_path(blob)
            if not there.is_file() or there.stat().st_size != frames * FRAME_BYTES:
                raise BrokenArchive("the content of a file is not beside it")
    return found


def restore(
    path: Path,
    folder: Folder,
    key: bytes,
    directory: Path,
    unlock: Unlock,
    *,
    now: int,
    driver: Driver,
    told: Told = quiet,
    finish: Callable[[Unit, Vault], None],
) -> Found:
    """Make a profile in `directory` from an archive; `finish` writes what else belongs to it. `now`
    is in Unix milliseconds.

    A process that dies leaves no profile, and the next restore begins again. Raises ProfileExists,
    BrokenArchive, WrongPhrase, NewerArchive, or the errors of `naming_faults`.
    """
    found: list[Found] = []

    def fill(unit: Unit, new: Vault) -> None:
        blobs, coming = Blobs(new), dict[bytes, Future[bool]]()

        def bring(one: BlobRecord) -> bytes:
            name = BlobName(one.blob, secrets.token_bytes(KEY_BYTES))
            coming[one.blob] = carrying.submit(_bring_blob, blobs, name, one.frames, folder)
            return name.key

        # The contents of files come in a thread of their own, while the texts are written.
        with _giving_up(ThreadPoolExecutor(1)) as carrying:
            restoring = Restoring(unit, bring)
            found.append(_take(path, key, restoring, told, phase="restore"))
            for number, (blob, has_come) in enumerate(coming.items()):
                told("files", number, len(coming))
                if not has_come.result():
                    restoring.lose(blob)
        finish(unit, new)

    vaults.create(directory, unlock, fill, now=now, driver=driver)
    return found[0]


@contextlib.contextmanager
def _giving_up(pool: ThreadPoolExecutor) -> Iterator[ThreadPoolExecutor]:
    """A pool that begins nothing more once it is left."""
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _take(
    path: Path, key: bytes, restoring: Restoring, told: Told, *, phase: str = "check"
) -> Found:
    """Hand all records of an archive to a restore."""

    def take(runs: Iterator[archive.Run]) -> None:
        for run in runs:
            restoring.take(run.kind, run.bodies)

    parts = pieces(path, from_disk=True)
    first = next(parts, b"")
    header, length = archive.read_header(first)
    if header.purpose != PURPOSE:
        raise BrokenArchive("it is an archive of another purpose")
    opener = Opener(key, first[:length])
    take(opener.feed(first[length:]))
    done, whole = len(first), path.stat().st_size
    for data in parts:
        take(opener.feed(data))
        done += len(data)
        told(phase, done, whole)
    take(opener.end())
    restoring.end()
    return Found(
        name=restoring.name,
        made_at=restoring.made_at,
        messages=opener.counts[Entry.MESSAGE],
        imported=opener.counts[Entry.IMPORTED_MESSAGE],
        blobs=restoring.blobs,
        unknown=restoring.unknown,
    )


def _save_blobs(
    blobs: Blobs, names: list[BlobName], folder: Folder, told: Told
) -> tuple[dict[bytes, int], int, int]:
    """Write the contents that the folder does not have yet. Returns the number of frames of each
    content that is there, how many are new, and how many are damaged here."""
    frames: dict[bytes, int] = {}
    new = damaged = 0
    for count, name in enumerate(names):
        told("files", count, len(names))
        there = folder.blob_path(name.id)
        if there.is_file():
            frames[name.id] = there.stat().st_size // FRAME_BYTES
            continue
        try:
            with blobs.open(name) as source:
                frames[name.id] = _copy(source, folder.blob_draft(name.id), folder, name.id)
        except BlobDamaged:
            damaged += 1
            with contextlib.suppress(OSError):
                folder.blob_draft(name.id).unlink(missing_ok=True)
            continue
        folder.keep_blob(name.id)
        new += 1
    return frames, new, damaged


def _copy(source: Blob, draft: Path, folder: Folder, blob: bytes) -> int:
    """Write a content under the key of the folder, and read it back from the disk. Returns the
    number of its frames. Raises BlobDamaged if the source is, or BrokenArchive if the copy is."""
    many = source.frames()
    with (
        open_new(draft) as handle,
        Blob(os.dup(handle), folder.blob_key(blob), folder.place) as copy,
    ):
        for number in range(many):
            copy.write(number, source.read(number))
        copy.sync()
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        try:
            for number in range(many):
                copy.read(number)
        except BlobDamaged:
            raise BrokenArchive("the disk does not give back what was written") from None
    return many


def _bring_blob(blobs: Blobs, name: BlobName, frames: int, folder: Folder) -> bool:
    """Write a content of a backup into a profile; returns whether it came: False if it does not
    open. Raises the errors of `naming_faults`."""
    try:
        handle = os.open(folder.blob_path(name.id), os.O_RDONLY | os.O_CLOEXEC)
        with (
            Blob(handle, folder.blob_key(name.id), folder.place) as source,
            blobs.create(name) as copy,
        ):
            for number in range(frames):
                copy.write(number, source.read(number))
            copy.sync()
        blobs.sync(name)
    except (BlobDamaged, FileNotFoundError):
        return False
    return True
