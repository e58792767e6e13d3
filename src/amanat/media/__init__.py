"""Pictures as they leave: made anew from their points alone, by a child that knows no key.

A picture file holds more than a picture: where it was taken, when, by which camera, sometimes what
was cut away. `picture` makes it anew, so that nothing but the points leaves, and `traces` says what
stays in a file that is sent as it is. The child that reads the file is confined
(`amanat.confinement`), reads one file, and ends. Whatever it answers is checked here: bytes that
are no plain picture (`amanat.media.bare`) are refused. A program asks for one picture after the
other, because a child may use a gigabyte.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from amanat import child as children
from amanat.errors import BrokenPicture, MovingPicture, PictureTooLarge, PictureUnread
from amanat.media import bare, frames

MAX_FILE_BYTES = frames.MAX_FILE_BYTES
"""Largest picture file that is read, in bytes."""
READ_S = 40.0
"""Longest that a child may take for a file, in seconds: its processor time, and as much again for a
machine that is busy with something else."""
_CHILD = children.command("amanat.media.worker")
_ERRORS = {
    frames.BROKEN: BrokenPicture,
    frames.TOO_LARGE: PictureTooLarge,
    frames.MOVING: MovingPicture,
    frames.TOO_HARD: PictureUnread,
}


class Picture(NamedTuple):
    """A still picture as it leaves: upright, in sRGB, with nothing in it but its points."""

    data: bytes
    type: str
    """Media type of `data`: image/jpeg, or image/webp if parts of the picture are transparent."""
    width: int
    height: int
    """Sides in points, at most `frames.MAX_SIDE` each."""
    preview: bytes
    """The picture as a WebP of at most 320 points a side and 40,000 bytes."""
    preview_type: str
    hint: bytes
    """A ThumbHash, at most 25 bytes: the blurred stand-in that is shown first."""


class Traces(NamedTuple):
    """The things that a picture file tells beside its picture."""

    place: bool
    time: bool
    camera: bool
    read: bool
    """Whether we know and could read every block of the file. If not, it may hold more than the
    other fields say."""


NOT_READ = Traces(place=False, time=False, camera=False, read=False)
"""Of a file that is no picture of a kind that we read, such as a video."""


def is_picture(head: bytes) -> bool:
    """Whether a file that begins so is of a kind of picture that can be made anew; its first 12
    bytes say it."""
    return head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a")) or (
        head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    )


async def picture(source: bytes | Path) -> Picture:
    """A picture file, or its bytes, made anew for sending.

    Raises BrokenPicture, PictureTooLarge, MovingPicture (it is animated), PictureUnread (it took
    more time or memory than it may), or OSError if the file cannot be opened.
    """
    data = await _bytes_of(source)
    async with Worker() as worker:
        return await worker.picture(data)


async def traces(source: bytes | Path) -> Traces:
    """The traces in a picture file that is sent as it is.

    Of a file that we cannot read, this is NOT_READ. Raises OSError if the file cannot be opened.
    """
    with contextlib.suppress(BrokenPicture, PictureTooLarge, PictureUnread):
        data = await _bytes_of(source)
        async with Worker() as worker:
            return await worker.traces(data)
    return NOT_READ


async def _bytes_of(source: bytes | Path) -> bytes:
    """The bytes of a picture file. Raises PictureTooLarge before it has read more than it may."""
    data = source if isinstance(source, bytes) else await asyncio.to_thread(_read, source)
    if len(data) > MAX_FILE_BYTES:
        raise PictureTooLarge
    return data


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_FILE_BYTES + 1)


class Worker:
    """A child that reads picture files, from `async with` on until its end. A program gives each
    child one file: then a file that takes a child over sees no other."""

    def __init__(self) -> None:
        self._child: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._child = await children.start(_CHILD)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._child is not None:
            await children.end(self._child)

    async def picture(self, data: bytes) -> Picture:
        """The same as `picture`."""
        async with _in_time():
            head = await self._ask(frames.REMAKE, data, frames.REMADE.size)
            width, height, kind, *sizes = frames.REMADE.unpack(head)
            most = (frames.MAX_REMADE_BYTES, frames.MAX_PREVIEW_BYTES, frames.MAX_HINT_BYTES)
            fits = all(0 < size <= limit for size, limit in zip(sizes, most, strict=True))
            is_small = 0 < width <= frames.MAX_SIDE and 0 < height <= frames.MAX_SIDE
            if kind not in frames.TYPES or not fits or not is_small:
                raise PictureUnread
            remade, preview, hint = [await self._take(size) for size in sizes]
        made = Picture(
            remade, frames.TYPES[kind], width, height, preview, frames.PREVIEW_TYPE, hint
        )
        small = bare.sides(preview, made.preview_type)
        if bare.sides(remade, made.type) != (width, height) or not small:
            raise PictureUnread
        if not 0 < max(small) <= frames.PREVIEW_SIDE:
            raise PictureUnread
        return made

    async def traces(self, data: bytes) -> Traces:
        """The same as `traces`, of a file that can be read. Raises as `picture` does."""
        async with _in_time():
            answer = await self._ask(frames.FIND, data, frames.FOUND.size)
        (bits,) = frames.FOUND.unpack(answer)
        return Traces(*(bool(bits >> at & 1) for at in range(len(Traces._fields))))

    async def _ask(self, verb: int, data: bytes, size: int) -> bytes:
        """The fixed part of an answer, of so many bytes. Raises what the child says."""
        if len(data) > MAX_FILE_BYTES:
            raise PictureTooLarge
        if self._child is None or self._child.stdin is None:
            raise PictureUnread
        self._child.stdin.write(frames.ASK.pack(verb, len(data)))
        self._child.stdin.write(data)
        await self._child.stdin.drain()
        (status,) = await self._take(frames.STATUS.size)
        if status != frames.DONE:
            raise _ERRORS.get(status, PictureUnread)
        return await self._take(size)

    async def _take(self, size: int) -> bytes:
        """So many bytes of the child's output. Raises EOFError if there are fewer."""
        if self._child is None or self._child.stdout is None:
            raise PictureUnread
        return await self._child.stdout.readexactly(size)


@contextlib.asynccontextmanager
async def _in_time() -> AsyncIterator[None]:
    """A time in which a child has to answer. Raises PictureUnread after it, or if the child ends
    before it has answered."""
    try:
        async with asyncio.timeout(READ_S):
            yield
    except (TimeoutError, EOFError, ConnectionError):
        raise PictureUnread from None
