"""Finds and opens the file of an export, in its folder, by itself or in a ZIP archive.

Nothing outside the named folder is opened: no symbolic link in it is followed, and a member of an
archive is read without being written anywhere.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import stat
import zipfile
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO, NamedTuple

from amanat.errors import BrokenExport, ExportUnfinished, NotAnExport
from amanat.importing import telegram, whatsapp
from amanat.importing.records import App

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import tzinfo

    from amanat.importing.records import Record

CHUNK_BYTES = 256 * 1024
"""How much is read at once: few calls, and little memory."""
MAX_MEMBERS = 1_000_000
"""The most members of an archive, which are all listed in memory; an export has one a picture."""
MAX_RATIO = 100
"""How many times its packed size a member may have: chats shrink to a fifth, and only a trap
unpacks to more."""
_ZIP_FAULTS = (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, OSError)
"""The errors of `zipfile` for an archive that is broken, encrypted or packed in an unknown way."""
_RESULT = "result.json"
_CHAT = "_chat.txt"
MAX_ENTRIES = 1000
"""The most entries of a folder that are looked at for exports: somebody waits."""
MAX_FOUND = 20
"""The most exports that are offered to a person."""
_EXPORT = re.compile(r"(?:WhatsApp Chat.*\.(?:zip|txt)|(?:Chat|Data)Export.*\.zip)", re.IGNORECASE)
"""The names of files that are exports by themselves."""


class Export:
    """The open file of an export. `done` and `size` are bytes of it."""

    def __init__(
        self, path: Path, name: str, file: IO[bytes], size: int, on_disk: BinaryIO
    ) -> None:
        self.path = str(path)
        """The file on the disk: it, or the archive that it is in."""
        self.app = _app(name)
        self.name = _title(name, path.stem if path.suffix.lower() == ".zip" else path.parent.name)
        """The title of a WhatsApp chat, which stands in the file's name alone."""
        self.size = size
        self.done = 0
        self._file = file
        self._on_disk = on_disk
        self._before = self.version()

    def version(self) -> str:
        """A mark that tells this version of the file from a later one."""
        found = os.fstat(self._on_disk.fileno())
        return f"{found.st_dev} {found.st_ino} {found.st_size} {found.st_mtime_ns}"

    def records(self, zone: tzinfo | None, *, day_first: bool | None = None) -> Iterator[Record]:
        """The records of the export, as its reader gives them.

        Raises NotAnExport, NewerExport, BrokenExport or OpenDates, or ExportUnfinished if the file
        has changed meanwhile.
        """
        if self.app is App.TELEGRAM:
            yield from telegram.read(self._chunks(), zone)
        else:
            yield from whatsapp.read(self._chunks, self.name, zone, day_first=day_first)
        if self.version() != self._before:
            raise ExportUnfinished

    def _chunks(self) -> Iterator[bytes]:
        self.done = 0
        try:
            self._file.seek(0)
            while chunk := self._file.read(CHUNK_BYTES):
                self.done += len(chunk)
                if self.done > self.size:
                    raise ExportUnfinished
                yield chunk
        except (*_ZIP_FAULTS, EOFError, zlib.error) as error:
            raise BrokenExport(str(error)) from None


class Found(NamedTuple):
    """An export that lies in a folder."""

    path: str
    name: str
    at: int
    """When it was written, in Unix milliseconds."""


def nearby(folders: Iterable[Path]) -> list[Found]:
    """The exports that lie in some folders, the newest first: by their names alone."""
    found = [
        Found(one.path, one.name, one.stat(follow_symlinks=False).st_mtime_ns // 1_000_000)
        for folder in folders
        for one in _listed(folder)
        if (
            one.is_dir(follow_symlinks=False)
            and any(name in _names(one.path) for name in (_RESULT, _CHAT))
        )
        or (one.is_file(follow_symlinks=False) and _EXPORT.fullmatch(one.name))
    ]
    return sorted(found, key=lambda one: -one.at)[:MAX_FOUND]


def _listed(folder: Path | str) -> list[os.DirEntry[str]]:
    """The first entries of a folder; none if it cannot be read."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return list(itertools.islice(entries, MAX_ENTRIES))
    return []


def _names(folder: str) -> set[str]:
    return {one.name for one in _listed(folder)}


@contextlib.contextmanager
def open_export(path: Path) -> Iterator[Export]:
    """The export at a path: its folder, its file, or a ZIP archive of either.

    Raises NotAnExport or BrokenExport.
    """
    with contextlib.ExitStack() as opened:
        try:
            place = path.resolve(strict=True)  # the person may name a link; the export may not
            if place.is_dir():
                place = place / _chosen([one.name for one in place.iterdir()])
            file = opened.enter_context(_open(place))
        except OSError as error:
            raise NotAnExport(f"{path}: {error.strerror}") from None
        size = os.fstat(file.fileno()).st_size
        if place.suffix.lower() != ".zip":
            yield Export(place, place.name, file, size, file)
            return
        try:
            archive = opened.enter_context(zipfile.ZipFile(file))
            member = _member(archive)
            content = opened.enter_context(archive.open(member))
        except _ZIP_FAULTS as error:
            raise BrokenExport(str(error)) from None
        name = member.filename.rpartition("/")[2]
        # The archive's own reader ends at the size that the member is said to have.
        yield Export(place, name, content, member.file_size, file)


def _open(place: Path) -> BinaryIO:
    """A regular file; nothing that a link leads to, and no device that would block."""
    descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotAnExport(f"{place}: it is no file")
    return os.fdopen(descriptor, "rb")


def _chosen(names: list[str]) -> str:
    """The file of an export among the files of its folder. Raises NotAnExport."""
    if _RESULT in names:
        return _RESULT
    texts = [name for name in names if name == _CHAT or _is_whatsapp(name)]
    if len(texts) == 1:
        return texts[0]
    if texts:
        raise NotAnExport("several chats are in this folder: give the file of one")
    if "messages.html" in names:
        raise NotAnExport("it is HTML: in Telegram, choose the format JSON")
    raise NotAnExport(f"neither {_RESULT} nor a chat of WhatsApp is in it")


def _member(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    """The file of an export in an archive. Raises NotAnExport or BrokenExport."""
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise BrokenExport(f"it has more than {MAX_MEMBERS} members")
    plain = {
        one.filename.rpartition("/")[2]: one for one in members if one.filename.count("/") <= 1
    }
    member = plain[_chosen(list(plain))]
    if member.file_size > MAX_RATIO * max(member.compress_size, 1):
        raise BrokenExport(f"a member of it is packed more than {MAX_RATIO} times")
    return member


def _is_whatsapp(name: str) -> bool:
    return name.lower().endswith(".txt") and "whatsapp" in name.lower()


def _app(name: str) -> App:
    """The program that wrote a file. Raises NotAnExport."""
    match name.lower().rpartition(".")[2]:
        case "json":
            return App.TELEGRAM
        case "txt":
            return App.WHATSAPP
        case "html":
            raise NotAnExport("it is HTML: in Telegram, choose the format JSON")
    raise NotAnExport(f"{name}: neither .json nor .txt nor .zip")


def _title(name: str, around: str) -> str:
    """The title of a WhatsApp chat, from the name of its file or of what is around it."""
    stem = (around if name == _CHAT else name).removesuffix(".txt")
    for words in ("WhatsApp Chat with ", "WhatsApp Chat - "):
        stem = stem.removeprefix(words)
    return stem
