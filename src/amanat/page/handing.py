"""Files of messages as a browser gets them: by tickets that nobody can guess, in parts.

The client decodes nothing that it was sent, and believes no type and no name that a sender gives.
Whatever a browser makes of such bytes, it makes of them outside the page: they are in a sandbox
that runs nothing and loads nothing.
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from amanat.page.doors import HEADERS, SECRET_BYTES

if TYPE_CHECKING:
    from amanat.client.sdk.files import FileView, OpenFile

MAX_TICKETS = 1000
"""Tickets that work at once; the oldest go first."""
MAX_PART_BYTES = 2 * 1024 * 1024
"""The longest part of a file that one answer has: the browser asks for the next one."""
_RANGE = re.compile(r"bytes=(\d{1,12})-(\d{0,12})")
"""A part of a file (RFC 9110, section 14.1.2): one range, counted from its beginning."""
MAX_SHOWN_BYTES = 32 * 1024 * 1024
"""The longest picture or voice note that one answer has: as long as a picture of ours may be."""
_SHOWN = {
    "picture": (
        (re.compile(rb"\xff\xd8\xff"), "image/jpeg", "jpg"),
        (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png", "png"),
        (re.compile(rb"GIF8[79]a"), "image/gif", "gif"),
        (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp", "webp"),
        (re.compile(rb"....ftypavi[fs]", re.DOTALL), "image/avif", "avif"),
    ),
    "voice": ((re.compile(rb"OggS"), "audio/ogg", "ogg"),),
}
"""How the files begin that a browser shows or plays in the page, by kind; their types, and endings
of names."""
PREVIEW = "preview"
"""The end of a preview's address, behind the ticket of its picture and a slash."""
_HEAD_BYTES = 16
_HEADERS = HEADERS | {
    "Content-Type": "application/octet-stream",
    "Accept-Ranges": "bytes",
}


class Part(NamedTuple):
    """The answer to a browser that wants a file."""

    status: int
    headers: dict[str, str]
    body: bytes


class Tickets:
    """The tickets of one open profile: each stands for the file of a message."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[bytes, str]] = {}

    def give(self, gid: bytes, message: str) -> str:
        """A ticket for the file of a message."""
        while len(self._files) >= MAX_TICKETS:
            del self._files[next(iter(self._files))]
        ticket = secrets.token_urlsafe(SECRET_BYTES)
        self._files[ticket] = gid, message
        return ticket

    def file(self, ticket: str) -> tuple[bytes, str] | None:
        """The conversation and the message that a ticket stands for."""
        return self._files.get(ticket)


def _type_of(file: FileView, content: OpenFile) -> tuple[str, str] | None:
    """The type of a picture or a voice note and the ending of its name, by its first bytes; None if
    the page does not show it."""
    head, forms = content.read(0, _HEAD_BYTES), _SHOWN.get(file.kind, ())
    return next(((kind, end) for form, kind, end in forms if form.match(head)), None)


def name_of(file: FileView) -> str:
    """The name under which a browser saves a file: its own, or if it has none, that of its message
    with the ending that its content wants, as far as that is here. Raises BlobDamaged."""
    found = None
    if file.is_here:
        with file.open() as content:
            found = _type_of(file, content)
    end = f".{found[1]}" if found else ""
    return file.name or f"{file.kind}-{file.message[:8]}{end}"


def part(file: FileView, wanted: str) -> Part:
    """The part of a file that a browser wants, by its Range header, or as much of it as an answer
    has. Raises FileIncomplete or BlobDamaged."""
    name = quote(name_of(file), safe="")
    headers = _HEADERS | {"Content-Disposition": f"attachment; filename*=UTF-8''{name}"}
    found = _RANGE.fullmatch(wanted)
    with file.open() as content:
        size = content.size
        shown = _type_of(file, content)
        if shown is not None:
            headers["Content-Type"] = shown[0]
        if found is None and size <= (MAX_SHOWN_BYTES if shown else MAX_PART_BYTES):
            return Part(200, headers, _read(content, 0, size))
        begin, end = (int(found[1]), int(found[2] or size - 1)) if found else (size, 0)
        end = min(end, size - 1, begin + MAX_PART_BYTES - 1)
        if begin > end:
            return Part(416, headers | {"Content-Range": f"bytes */{size}"}, b"")
        headers["Content-Range"] = f"bytes {begin}-{end}/{size}"
        return Part(206, headers, _read(content, begin, end + 1))


def preview(file: FileView) -> Part:
    """The preview of a picture, or all of one that has none. Raises FileIncomplete or
    BlobDamaged."""
    data = file.preview()
    kind = next((kind for form, kind, _ in _SHOWN["picture"] if form.match(data)), None)
    return part(file, "") if kind is None else Part(200, _HEADERS | {"Content-Type": kind}, data)


def _read(content: OpenFile, begin: int, end: int) -> bytes:
    """The bytes from one place up to another."""
    pieces = []
    while begin < end and (piece := content.read(begin, end - begin)):
        pieces.append(piece)
        begin += len(piece)
    return b"".join(pieces)
