"""Finds and opens the file of an export, in its folder, by itself or in a ZIP archive.

Nothing outside the named folder is opened: no symbolic link in it is followed, and a member of an
archive is read without being written anywhere.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import re
import stat
import zipfile
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO, NamedTuple

from amanat.errors import BrokenExport, ExportUnfinished, NotAnExport
from amanat.importing import telegram, telegram_html, whatsapp
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
_PAGE = "messages.html"
_ACCOUNT = "export_results.html"
_PAGES = re.compile(r"messages(\d{0,6})\.html", re.ASCII)
_CHAT_FOLDER = re.compile(r"chat_(\d{1,9})", re.ASCII)
MAX_ENTRIES = 1000
"""The most entries of a folder that are looked at for exports: somebody waits."""
MAX_FOUND = 20
"""The most exports that are offered to a person."""
_EXPORT = re.compile(r"(?:WhatsApp Chat.*\.(?:zip|txt)|(?:Chat|Data)Export.*\.zip)", re.IGNORECASE)
"""The names of files that are exports by themselves."""


class Export:
    """An open export. `done` and `size` are bytes of it."""

    app = App.TELEGRAM

    def __init__(self, path: Path, size: int) -> None:
        self.path = str(path)
        """Its file or its folder on the disk, or the archive that it is in."""
        self.size = size
        self.done = 0
        self._before = self.version()

    def version(self) -> str:
        """A mark that tells this version of the export from a later one."""
        raise NotImplementedError

    def records(self, zone: tzinfo | None, *, day_first: bool | None = None) -> Iterator[Record]:
        """The records of the export, as its reader gives them.

        Raises NotAnExport, NewerExport, BrokenExport or OpenDates, or ExportUnfinished if a file
        has changed meanwhile.
        """
        self.done = 0
        yield from self._read(zone, day_first=day_first)
        if self.version() != self._before:
            raise ExportUnfinished

    def _read(self, zone: tzinfo | None, *, day_first: bool | None) -> Iterator[Record]:
        raise NotImplementedError

    def _chunks(self, file: IO[bytes]) -> Iterator[bytes]:
        try:
            file.seek(0)
            while chunk := file.read(CHUNK_BYTES):
                self.done += len(chunk)
                if self.done > self.size:
                    raise ExportUnfinished
                yield chunk
        except (*_ZIP_FAULTS, EOFError, zlib.error) as error:
            raise BrokenExport(str(error)) from None


class _OneFile(Export):
    """An export that is one file, perhaps in an archive."""

    def __init__(
        self, path: Path, name: str, file: IO[bytes], size: int, on_disk: BinaryIO
    ) -> None:
        self.app = _app(name)
        self._title = _title(name, path.stem if path.suffix.lower() == ".zip" else path.parent.name)
        """The title of a WhatsApp chat, which stands in the file's name alone."""
        self._file = file
        self._on_disk = on_disk
        super().__init__(path, size)

    def version(self) -> str:
        return _version(os.fstat(self._on_disk.fileno()))

    def _read(self, zone: tzinfo | None, *, day_first: bool | None) -> Iterator[Record]:
        if self.app is App.TELEGRAM:
            yield from telegram.read(self._chunks(self._file), zone)
        else:
            yield from whatsapp.read(self._again, self._title, zone, day_first=day_first)

    def _again(self) -> Iterator[bytes]:
        self.done = 0
        yield from self._chunks(self._file)


class _Pages(Export):
    """An export of pages: of one chat, or of an account with a folder for each chat."""

    def __init__(self, path: Path, folders: dict[str, list[str]]) -> None:
        """`folders` has the names of the pages of each chat, by the path of its folder."""
        self._folders = folders
        self._root = path
        super().__init__(path, sum(found.st_size for found in self._stats()))

    def version(self) -> str:
        try:
            versions = "\n".join(map(_version, self._stats()))
        except OSError:
            raise ExportUnfinished from None
        return hashlib.blake2b(versions.encode(), digest_size=16).hexdigest()

    def _stats(self) -> Iterator[os.stat_result]:
        for place, names in self._folders.items():
            for name in names:
                yield (self._root / place / name).stat(follow_symlinks=False)

    def _read(self, zone: tzinfo | None, *, day_first: bool | None) -> Iterator[Record]:  # noqa: ARG002  # its dates are of one form
        yield from telegram_html.read(
            [
                telegram_html.Folder(place, self._pages(place, names))
                for place, names in self._folders.items()
            ],
            zone,
        )

    def _pages(self, place: str, names: list[str]) -> Iterator[Iterator[bytes]]:
        for name in names:
            try:
                file = _in_folder(self._root, place, name)
            except OSError:  # it was there a moment ago
                raise ExportUnfinished from None
            with file:
                yield self._chunks(file)


def _version(found: os.stat_result) -> str:
    return f"{found.st_dev} {found.st_ino} {found.st_size} {found.st_mtime_ns}"


def _in_folder(root: Path, place: str, name: str) -> BinaryIO:
    """A file of an export's folder. On the way to it no link is followed. Raises NotAnExport or
    OSError."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    with contextlib.ExitStack() as opened:
        at = os.open(root, flags | os.O_DIRECTORY)
        opened.callback(os.close, at)
        for part in place.split("/")[:-1]:
            at = os.open(part, flags | os.O_DIRECTORY, dir_fd=at)
            opened.callback(os.close, at)
        return _regular(os.open(name, flags | os.O_NONBLOCK, dir_fd=at), name)


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
            and any(name in _names(one.path) for name in (_RESULT, _CHAT, _PAGE, _ACCOUNT))
        )
        or (one.is_file(follow_symlinks=False) and _EXPORT.fullmatch(one.name))
    ]
    return sorted(found, key=lambda one: -one.at)[:MAX_FOUND]


def _listed(folder: Path | str, *, most: int = MAX_ENTRIES) -> list[os.DirEntry[str]]:
    """The first entries of a folder; none if it cannot be read."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return list(itertools.islice(entries, most))
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
            pages = _pages_at(place) if place.name in (_PAGE, _ACCOUNT) else None
            file = opened.enter_context(_open(place))
        except OSError as error:
            raise NotAnExport(f"{path}: {error.strerror}") from None
        if pages is not None:
            yield pages
            return
        size = os.fstat(file.fileno()).st_size
        if place.suffix.lower() != ".zip":
            yield _OneFile(place, place.name, file, size, file)
            return
        try:
            archive = opened.enter_context(zipfile.ZipFile(file))
            member = _member(archive)
            content = opened.enter_context(archive.open(member))
        except _ZIP_FAULTS as error:
            raise BrokenExport(str(error)) from None
        name = member.filename.rpartition("/")[2]
        # The archive's own reader ends at the size that the member is said to have.
        yield _OneFile(place, name, content, member.file_size, file)


def _open(place: Path) -> BinaryIO:
    """A regular file; nothing that a link leads to, and no device that would block."""
    descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    return _regular(descriptor, place.name)


def _regular(descriptor: int, name: str) -> BinaryIO:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotAnExport(f"{name}: it is no file")
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
    for page in (_PAGE, _ACCOUNT):
        if page in names:
            return page
    raise NotAnExport(f"neither {_RESULT} nor {_PAGE} nor a chat of WhatsApp is in it")


def _pages_at(place: Path) -> _Pages:
    """The pages of a chat, of which this is the first, or of an account. Raises NotAnExport."""
    root = place.parent
    found = {"": _pages_in(root)}
    if place.name == _ACCOUNT:
        chats = root / "chats"
        entries = [] if chats.is_symlink() else _listed(chats, most=MAX_MEMBERS)
        numbered = [
            (int(number[1]), one)
            for one in entries
            if (number := _CHAT_FOLDER.fullmatch(one.name)) and one.is_dir(follow_symlinks=False)
        ]
        found = {
            f"chats/{one.name}/": _pages_in(one.path)
            for _, one in sorted(numbered, key=lambda pair: pair[0])
        }
    if not any(found.values()):
        raise NotAnExport("no page with messages is in it")
    return _Pages(root, found)


def _pages_in(folder: Path | str) -> list[str]:
    numbered = [
        (int(number[1] or 1), one.name)
        for one in _listed(folder, most=MAX_MEMBERS)
        if (number := _PAGES.fullmatch(one.name)) and one.is_file(follow_symlinks=False)
    ]
    return [name for _, name in sorted(numbered)]


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
            raise NotAnExport(f"{name}: unpack the archive, and give its folder")
    raise NotAnExport(f"{name}: neither .json nor .html nor .txt nor .zip")


def _title(name: str, around: str) -> str:
    """The title of a WhatsApp chat, from the name of its file or of what is around it."""
    stem = (around if name == _CHAT else name).removesuffix(".txt")
    for words in ("WhatsApp Chat with ", "WhatsApp Chat - "):
        stem = stem.removeprefix(words)
    return stem
