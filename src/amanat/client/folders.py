"""Folders of backups: where archives and the contents of files lie, and which of them are kept.

A backup lies in a folder of its own below the one that the person has named, called after its key,
so that backups of several people and phrases can lie in one place and none removes another's. Every
file is written under another name, flushed, and renamed: a process that dies at any moment leaves
the backups of before whole. The content of a file lies beside the archives once, however many of
them name it; it goes when no archive that is kept names it.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import re
from typing import TYPE_CHECKING, NamedTuple

from amanat.client.unlock_file import sync_directory
from amanat.client.vault import naming_faults
from amanat.errors import BrokenArchive, FolderAway, WrongPhrase
from amanat.protocol import archive
from amanat.protocol.drops import expand

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

KEPT_DAYS = 7
"""The last days of which an archive is kept."""
KEPT_WEEKS = 4
"""The last weeks of which an archive is kept."""
KEPT_MONTHS = 12
"""The last months of which an archive is kept."""
DAY_S = 86_400
READ_BYTES = archive.SEALED_BYTES
"""The bytes that are read of a file at once."""
BLOB_NAME_BYTES = 16
_PREFIX = "amanat-"
_ARCHIVE = ".archive"
_LIST = ".blobs"
_PART = ".part"
_BLOBS = "blobs"
_STAMP = "%Y%m%dT%H%M%SZ"
_NAME = re.compile(r"\d{8}T\d{6}Z\.archive\Z")


class Kept(NamedTuple):
    """An archive in a folder."""

    path: Path
    at: int
    """When it was made, in Unix seconds."""
    size: int


class Folder:
    """The folder of the backups under one key."""

    def __init__(self, place: Path, key: bytes, *, forget_days: int = 0) -> None:
        self.forget_days = forget_days
        """After how many days an archive is forgotten in any case; 0: never."""
        self.place = place
        """The folder that the person has named."""
        self.own = place / (_PREFIX + expand(key, b"amanat backup folder")[:4].hex())
        """The folder of these backups in it."""
        self._key = key

    def open(self) -> None:
        """Make the folder, and remove what a process that died has left. Raises FolderAway if the
        folder that the person has named is not there, or the errors of `naming_faults`."""
        if not self.place.is_dir():
            raise FolderAway(str(self.place))
        with naming_faults(self.place):
            self.own.mkdir(mode=0o700, exist_ok=True)
            (self.own / _BLOBS).mkdir(mode=0o700, exist_ok=True)
            for path in [*self.own.glob("*" + _PART), *self.own.glob(f"{_BLOBS}/*/*{_PART}")]:
                path.unlink(missing_ok=True)

    def archives(self) -> list[Kept]:
        """The archives, the newest first."""
        found = []
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), naming_faults(self.place):
            for path in self.own.iterdir():
                at = _time_of(path) if _NAME.fullmatch(path.name) else None
                if at is not None:
                    found.append(Kept(path, at, path.stat().st_size))
        return sorted(found, key=lambda one: one.at, reverse=True)

    # Writing

    def draft(self, now: int) -> Path:
        """The path of a new archive until it is good; `now` is in Unix seconds."""
        stamp = dt.datetime.fromtimestamp(now, dt.UTC).strftime(_STAMP)
        return self.own / (stamp + _ARCHIVE + _PART)

    def keep(self, draft: Path, blobs: Iterable[bytes]) -> Path:
        """Keep an archive that is good, and the list of the blobs that it names."""
        with naming_faults(self.place):
            path = draft.with_suffix("")
            names = "".join(f"{self._name(blob)}\n" for blob in blobs)
            listed = path.with_suffix(_LIST + _PART)
            with open_new(listed) as handle:
                write_all(handle, names.encode())
                os.fsync(handle)
            listed.rename(path.with_suffix(_LIST))
            draft.rename(path)
            sync_directory(self.own)
        return path

    def tidy(self) -> list[Path]:
        """Remove the archives that need not be kept, and the contents that none of the others
        names; returns the archives removed."""
        with naming_faults(self.place):
            there = self.archives()
            kept = set(keeping([one.at for one in there], forget_days=self.forget_days))
            gone = [one.path for one in there if one.at not in kept]
            for path in gone:
                path.unlink()
                path.with_suffix(_LIST).unlink(missing_ok=True)
            if gone:
                sync_directory(self.own)
                self._tidy_blobs()
        return gone

    def _tidy_blobs(self) -> None:
        named: set[str] = set()
        for one in self.archives():
            try:
                named |= set(one.path.with_suffix(_LIST).read_text().split())
            except FileNotFoundError:  # somebody has removed it, so we do not know what is needed
                return
        for path in self.own.glob(f"{_BLOBS}/*/*"):
            if path.name not in named:
                path.unlink(missing_ok=True)

    # The contents of files

    def _name(self, blob: bytes) -> str:
        return expand(self._key, b"amanat backup blob", blob)[:BLOB_NAME_BYTES].hex()

    def blob_path(self, blob: bytes) -> Path:
        """Where the content of a blob lies."""
        name = self._name(blob)
        return self.own / _BLOBS / name[:2] / name

    def blob_key(self, blob: bytes) -> bytes:
        """The key under which it lies there. A blob never changes, so the key never seals two
        contents."""
        return expand(self._key, b"amanat backup blob key", blob)

    def blob_draft(self, blob: bytes) -> Path:
        """Where the content of a blob lies until it is whole."""
        path = self.blob_path(blob)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        return path.with_name(path.name + _PART)

    def keep_blob(self, blob: bytes) -> None:
        """Keep the content of a blob, which is whole."""
        path = self.blob_path(blob)
        path.with_name(path.name + _PART).rename(path)
        sync_directory(path.parent)


def folder_of(place: Path, key: bytes) -> Folder:
    """The folder with the backups of a key: below the place that the person names, or that place.

    Raises FolderAway if it is not there, or WrongPhrase if there are backups and none of this key.
    """
    if not place.is_dir():
        raise FolderAway(str(place))
    for folder in (Folder(place, key), Folder(place.parent, key)):
        if place in (folder.place, folder.own) and folder.archives():
            return folder
    if any(place.glob(f"{_PREFIX}*/*{_ARCHIVE}")) or any(place.glob("*" + _ARCHIVE)):
        raise WrongPhrase
    return Folder(place, key)


def keeping(times: list[int], *, forget_days: int = 0) -> list[int]:
    """Which of these times, in Unix seconds, are kept: the newest of each of the last days, weeks
    and months that have any (ISO 8601, in UTC). With `forget_days`, none that is so many days older
    than the newest: a clock that is wrong, or no backup for a year, forgets nothing."""
    kept: set[int] = set()
    for many, name in ((KEPT_DAYS, "%Y-%j"), (KEPT_WEEKS, "%G-%V"), (KEPT_MONTHS, "%Y-%m")):
        newest: dict[str, int] = {}
        for at in sorted(times, reverse=True):
            span = dt.datetime.fromtimestamp(at, dt.UTC).strftime(name)
            if span not in newest and len(newest) < many:
                newest[span] = at
        kept |= set(newest.values())
    if forget_days:
        oldest = max(times, default=0) - forget_days * DAY_S
        kept = {at for at in kept if at > oldest}
    return sorted(kept)


def pieces(path: Path, *, from_disk: bool = False) -> Iterator[bytes]:
    """The bytes of a file. With `from_disk`, not those that memory still has of it. Raises
    BrokenArchive if it is not there."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise BrokenArchive(f"{path} is not there") from None
    try:
        if from_disk:
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        while data := os.read(handle, READ_BYTES):
            yield data
    finally:
        os.close(handle)


@contextlib.contextmanager
def open_new(path: Path) -> Iterator[int]:
    """The descriptor of a new file, or of an old one that is empty now, for its owner alone."""
    flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    handle = os.open(path, flags, 0o600)
    try:
        yield handle
    finally:
        os.close(handle)


def write_all(handle: int, data: bytes) -> None:
    """Write all of these bytes."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]


def _time_of(path: Path) -> int | None:
    """When an archive was made, by its name; None for a date that there is not."""
    try:
        made = dt.datetime.strptime(path.stem, _STAMP).replace(tzinfo=dt.UTC)
    except ValueError:
        return None
    return int(made.timestamp())
