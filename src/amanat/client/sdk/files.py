"""Files, for programs: sending, fetching, opening and saving them."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import secrets
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Protocol, Self, TypeAlias

from amanat.client.events import TransferChanged
from amanat.client.rules.sharing import Draft
from amanat.client.transfers import Phase
from amanat.client.vault import naming_faults
from amanat.errors import (
    BY_CODE,
    BadArgument,
    BlobDamaged,
    FileCovered,
    FileIncomplete,
    FileOverLimit,
)
from amanat.media import Picture
from amanat.media.voice import TYPE, VoiceNote
from amanat.protocol.days import date_of
from amanat.protocol.files import CHUNK_BYTES, INLINE_BYTES, Known, Sum, outline_hash, shape_of
from amanat.protocol.messages import ALBUM_BYTES, MAX_FILE_BYTES, FileKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future

    from amanat.client.blobs import Blob, BlobName
    from amanat.client.rules.sharing import Shared
    from amanat.client.shell.runtime import Runtime
    from amanat.client.transfers import Transfer
    from amanat.client.unit import Unit
    from amanat.protocol.messages import File

MAX_NAME_CHARS = 100
"""Longest name of a file, in characters."""
_MOST_OPEN_S = 0.02
"""How long writing a file into a blob may keep the loop busy at a time, in seconds."""
_CHUNKS = 8
"""Chunks that are written into a blob at once: half a MiB."""
_UNNAMED = "file"


class ByteStream(Protocol):
    """Bytes that come in their own time, such as from a socket."""

    async def read(self, size: int, /) -> bytes:
        """Up to `size` bytes, once there are any; none at the end."""
        ...


Source: TypeAlias = Path | BinaryIO | ByteStream | Picture | VoiceNote
"""A content to send: a file by its path, a stream of bytes, or a picture or a voice note that was
made anew."""


class Progress(NamedTuple):
    """How far a file on its way has got, in bytes. `error` is the code of the error that it failed
    with."""

    id: int
    gid: bytes
    message: str
    """The id of its message; empty if it is said once it is at the relay."""
    is_up: bool
    kind: str
    """As in a FileView."""
    name: str
    size: int
    done: int
    phase: Phase
    error: str
    tries: int
    """How often it was put off because the relay lacks cells."""
    is_outline: bool
    """Whether the client fetches only its outline, unasked. `done` does not count an outline."""

    def as_json(self) -> dict[str, object]:
        """The fields that commands print."""
        return {
            "transfer": self.id,
            "message": self.message,
            "up": self.is_up,
            "kind": self.kind,
            "name": self.name,
            "size": self.size,
            "done": self.done,
            "phase": self.phase,
            "error": self.error,
            "outline": self.is_outline,
        }


class FileView(NamedTuple):
    """The file of a message, as its sender says it is. `kind` is "file", "picture", "voice" or
    "video"; `seconds` is a playing time; `sides` are width and height in pixels; `hint` is a
    ThumbHash or a waveform; files with the same `album` belong together. It rests at `relay`, in
    `region`, until the end of the UTC day `until` (0: nowhere but here). `is_here` says that all of
    it is in the vault, `has_outline` that its outline is, with its preview, `is_near` that it rests
    at a relay of its sender's, and `is_played` that the person has played it, which is of voice
    notes."""

    gid: bytes
    message: str
    name: str
    media_type: str
    kind: str
    size: int
    sides: tuple[int, int] | None
    seconds: int
    hint: bytes
    album: str
    relay: bytes
    region: str
    until: int
    is_here: bool
    has_outline: bool
    is_near: bool
    is_played: bool
    files: Files
    """The object that carries out the methods below."""

    @property
    def waveform(self) -> str:
        """The waveform of a voice note: 64 hexadecimal digits, each a level from 0 to 15, in the
        order in which they are heard. Empty if its sender gave none."""
        return self.hint.hex() if self.kind == "voice" else ""

    async def fetch(self, *, relay: bytes | None = None) -> None:
        """Fetch it, and wait until all of it is here. Raises like `Files.fetch`, and the error with
        which it fails."""
        number = self.files.fetch(self.gid, self.message, relay=relay)
        if number is not None:
            await self.files.ended(number)

    def open(self) -> OpenFile:
        """Its content, to be read from any place. Raises FileIncomplete unless it is here, or
        BlobDamaged."""
        return self.files.open(self.gid, self.message)

    def preview(self) -> bytes:
        """Its preview, as its sender made it; empty if it has none. Raises FileIncomplete unless
        its outline is here, or BlobDamaged."""
        return self.files.preview(self.gid, self.message)

    async def read(self, at: int, size: int, *, relay: bytes | None = None) -> bytes:
        """Up to `size` bytes from a place in it, which come before the rest of it if not all of it
        is here. Fewer come at its end, and at the end of a chunk. Raises like `fetch`."""
        return await self.files.read(self.gid, self.message, at, size, relay=relay)

    async def save(self, path: Path, *, relay: bytes | None = None) -> Path:
        """Fetch it and write it into a new file, or into a directory under a safe name; returns the
        path. Raises like `fetch`, and BadArgument if something is there already."""
        await self.fetch(relay=relay)
        return await self.files.save(self.gid, self.message, path)

    def played(self) -> None:
        """Record that the person has played it; nobody is told."""
        self.files.played(self.gid, self.message)

    def ask_again(self) -> None:
        """Ask its sender to put it up again. Raises like `Chat.send`."""
        self.files.ask_again(self.gid, self.message)

    def as_json(self) -> dict[str, object]:
        """The fields that commands print."""
        return {
            "name": self.name,
            "type": self.media_type,
            "kind": self.kind,
            "size": self.size,
            "sides": self.sides,
            "seconds": self.seconds,
            "waveform": self.waveform,
            "album": self.album,
            "region": self.region,
            "until": date_of(self.until) if self.until else None,
            "here": self.is_here,
            "outline": self.has_outline,
            "near": self.is_near,
            "played": self.is_played,
        }


class OpenFile:
    """The content of a file that is here. Use as a context manager."""

    def __init__(self, blob: Blob, file: File) -> None:
        self._blob, self._size = blob, file.size
        known = Known(file)
        known.take(0, blob.read(0))
        self._inline = known.outline.data if known.outline and not known.shape.chunks else None
        self.preview_type = known.outline.preview_type if known.outline else ""
        """The media type of its preview; empty if it has none."""
        self.preview = known.outline.preview if known.outline else b""

    @property
    def size(self) -> int:
        """Its bytes."""
        return self._size

    def read(self, at: int, size: int) -> bytes:
        """Up to `size` bytes from a place in it, counted from 0; fewer at its end, and at the end
        of a chunk. Raises BlobDamaged."""
        if self._inline is not None:
            return self._inline[at : at + size]
        if at >= self._size:
            return b""
        chunk, rest = divmod(at, CHUNK_BYTES)
        return self._blob.read(1 + chunk)[rest : rest + size]

    def cell(self, at: int) -> int:
        """The cell of the file that holds this place."""
        return 0 if self._inline is not None else 1 + at // CHUNK_BYTES

    def chunks(self) -> Iterator[bytes]:
        """All of it, in pieces. Raises BlobDamaged."""
        at = 0
        while piece := self.read(at, CHUNK_BYTES):
            at += len(piece)
            yield piece
        if at != self._size:
            raise BlobDamaged

    def close(self) -> None:
        """Close it."""
        self._blob.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Files:
    """The files of one vault."""

    def __init__(self, run: Runtime) -> None:
        self._run = run
        self._unit = run.unit
        self._profile = run.parts.vault.directory
        self._sharing = run.parts.conversations.sharing
        self._transfers = run.parts.conversations.sharing.transfers
        self._blobs = run.parts.conversations.blobs
        self.is_covered: Callable[[], bool] = lambda: False
        """Whether requests are covered, so that no file can be sent or fetched."""
        self.has: Callable[[int, int], bool] = lambda _number, _cell: False
        """Whether a cell of a download is here; otherwise it comes before the others."""

    # Sending

    async def send_album(
        self, gid: bytes, sources: Sequence[Source], *, text: str = "", reply_to: str = ""
    ) -> list[int]:
        """Begin to send several files and pictures that belong together, all of them or none.
        `text` stands beside the first, which answers the message with the id `reply_to`. Returns
        the ids of their transfers, 0 in our notes. Raises like `Chat.send_file`."""
        album = secrets.token_bytes(ALBUM_BYTES) if len(sources) > 1 else b""
        answered = bytes.fromhex(reply_to) if reply_to else None
        return await self.send(gid, sources, text=text, reply_to=answered, album=album)

    async def send(
        self,
        gid: bytes,
        sources: Sequence[Source],
        *,
        text: str,
        reply_to: bytes | None,
        name: str | None = None,
        media_type: str = "",
        album: bytes = b"",
    ) -> list[int]:
        """Begin to send files, all of them or none; the words go with the first.
        Returns the ids of their transfers, 0 in our notes. Raises like `Chat.send_file`."""
        if self.is_covered():
            raise FileCovered
        drafts: list[Draft] = []
        blobs: list[BlobName] = []
        try:
            for source in sources:
                blobs.append(self._blobs.new())
                draft = await self._draft(blobs[-1], source, name, media_type)
                drafts.append(draft._replace(album=album))
            drafts[:1] = [one._replace(text=text, reply_to=reply_to) for one in drafts[:1]]
            with self._unit() as unit:
                return [
                    self._sharing.begin(unit, gid, draft, blob)
                    for draft, blob in zip(drafts, blobs, strict=True)
                ]
        except BaseException:
            for blob in blobs:
                self._blobs.discard(blob)
            raise

    async def _draft(
        self, blob: BlobName, source: Source, name: str | None, media_type: str
    ) -> Draft:
        """Write a content into a blob. The name of a picture or a voice note would tell its
        time and stays here."""
        with contextlib.ExitStack() as opened:
            if isinstance(source, Picture):
                outline, size = await self._store(blob, io.BytesIO(source.data), source)
                return Draft(
                    outline=outline,
                    size=size,
                    media_type=source.type,
                    kind=FileKind.PICTURE,
                    sides=(source.width, source.height),
                    hint=source.hint,
                    preview=len(source.preview),
                )
            if isinstance(source, VoiceNote):
                outline, size = await self._store(blob, io.BytesIO(source.data), None)
                return Draft(
                    outline=outline,
                    size=size,
                    media_type=TYPE,
                    kind=FileKind.VOICE,
                    seconds=source.seconds,
                    hint=source.waveform,
                )
            if isinstance(source, Path):
                name = source.name if name is None else name
                source = opened.enter_context(_opened(source))
            outline, size = await self._store(blob, source, None)
            return Draft(outline, size, name=safe_name(name or ""), media_type=media_type)

    async def _store(
        self, name: BlobName, source: BinaryIO | ByteStream, picture: Picture | None
    ) -> tuple[bytes, int]:
        """Write a content into a blob; returns the hash of its outline, and its size."""
        loop, found, size = asyncio.get_running_loop(), Sum(), 0
        kind, preview = (picture.preview_type, picture.preview) if picture else ("", b"")
        room = INLINE_BYTES - len(preview)
        chunks: list[bytes] = []
        summing: Future[None] | None = None
        with (
            self._blobs.create(name) as blob,
            naming_faults(self._profile),
            ThreadPoolExecutor(1, thread_name_prefix="hashes") as thread,
        ):
            first = await _read(source, room + 1)
            if len(first) <= room:
                outline = found.outline(preview_type=kind, preview=preview, data=first)
                size = len(first)
            else:
                rest, number, began = first, 0, loop.time()
                while chunk := rest + await _read(source, CHUNK_BYTES - len(rest)):
                    rest, number, size = b"", number + 1, size + len(chunk)
                    if size > MAX_FILE_BYTES:
                        raise FileOverLimit
                    chunks.append(chunk)
                    if len(chunks) == _CHUNKS:
                        # The thread and this loop take about as long, without the interpreter.
                        if summing is not None:
                            summing.result()
                        summing = thread.submit(found.add, *chunks)
                        blob.write(number + 1 - len(chunks), *chunks)
                        chunks.clear()
                    if loop.time() - began > _MOST_OPEN_S:
                        await asyncio.sleep(0)
                        began = loop.time()
                if summing is not None:
                    summing.result()
                found.add(*chunks)
                in_hand = len(chunks)
                chunks += found.tables()
                if chunks:
                    blob.write(number + 1 - in_hand, *chunks)
                outline = found.outline(preview_type=kind, preview=preview)
            blob.write(0, outline)
            blob.sync()
            self._blobs.sync(name)
        return outline_hash(outline), size

    def forward(self, gid: bytes, message: bytes, to: bytes) -> int:
        """Begin to send the file of a message into another conversation. Returns the id of its
        transfer, 0 in our notes. Raises like `Chat.forward_file`."""
        if self.is_covered():
            raise FileCovered
        with self._unit() as unit:
            return self._sharing.forward(unit, gid, message, to)

    # Fetching

    def fetch(self, gid: bytes, message: str, *, relay: bytes | None = None) -> int | None:
        """Begin to fetch the file of a message; returns the id of the transfer, or None if all of
        it is here. Raises UnknownMessage, NoFile, FileCovered, or FileElsewhere if it rests at a
        relay that is not its sender's and is not the one that the person has named."""
        with self._unit() as unit:
            number = self._sharing.fetch(unit, gid, bytes.fromhex(message), relay=relay)
            if number is not None and self.is_covered():
                raise FileCovered
        return number

    async def ended(self, number: int) -> None:
        """Wait until a transfer has ended. Raises the error with which it fails, or FileIncomplete
        if cells are missing at the relay for now."""
        while (one := self._transfers.get(number)) is not None:
            _raise_failure(one)
            await self._run.changed()

    async def read(
        self, gid: bytes, message: str, at: int, size: int, *, relay: bytes | None = None
    ) -> bytes:
        """Up to `size` bytes from a place in the file of a message, which come before the rest of
        it if not all of it is here. Raises like `fetch`, and the error with which that fails."""
        while (number := self.fetch(gid, message, relay=relay)) is not None:
            piece = self._read_part(number, at, size)
            if piece is not None:
                return piece
            await self._run.changed()
            if (one := self._transfers.get(number)) is not None:
                _raise_failure(one)
        with self.open(gid, message) as content:
            return content.read(at, size)

    def _read_part(self, number: int, at: int, size: int) -> bytes | None:
        """The same of a file that is being fetched; None if that part has not come yet."""
        one = self._transfers.get(number)
        name = self._blobs.name(one.blob) if one else None
        if one is None or name is None or not self.has(number, 0):
            return None
        with OpenFile(self._blobs.open(name), one.file) as content:
            if at < one.file.size and not self.has(number, content.cell(at)):
                return None
            return content.read(at, size)

    def played(self, gid: bytes, message: str) -> None:
        """Record that the person has played the file of a message; nobody is told. Raises
        UnknownMessage or NoFile."""
        with self._unit() as unit:
            self._sharing.played(unit, gid, bytes.fromhex(message))

    def ask_again(self, gid: bytes, message: str) -> None:
        """Ask the sender of a file to put it up again."""
        with self._unit() as unit:
            self._sharing.ask_again(unit, gid, bytes.fromhex(message))

    # Reading

    def open(self, gid: bytes, message: str) -> OpenFile:
        """The content of the file of a message. Raises FileIncomplete unless it is here, or
        BlobDamaged."""
        shared = self._sharing.file(gid, bytes.fromhex(message))
        return self._open(shared, shared.blob)

    def preview(self, gid: bytes, message: str) -> bytes:
        """The preview of the file of a message; empty if it has none. Raises FileIncomplete unless
        its outline is here, or BlobDamaged."""
        shared = self._sharing.file(gid, bytes.fromhex(message))
        with self._open(shared, shared.blob or shared.outline) as outlined:
            return outlined.preview

    def _open(self, shared: Shared, held: bytes | None) -> OpenFile:
        """A file as a blob has it. Raises FileIncomplete if there is none, or BlobDamaged."""
        name = self._blobs.name(held) if held else None
        if name is None:
            raise FileIncomplete
        with self._unit() as unit:
            self._blobs.used(unit, name.id)
        blob = self._blobs.open(name)
        try:
            return OpenFile(blob, shared.file)
        except BaseException:
            blob.close()
            raise

    async def save(self, gid: bytes, message: str, path: Path) -> Path:
        """Write the file of a message, which is here, into a new file or into a directory. Raises
        BadArgument, FileIncomplete, BlobDamaged, or the errors of `naming_faults`."""
        with self.open(gid, message) as content:
            name = self._sharing.file(gid, bytes.fromhex(message)).file.name
            to, handle = _create(path, safe_name(name) or _UNNAMED)
            try:
                with naming_faults(to.parent), os.fdopen(handle, "wb") as file:
                    for piece in content.chunks():
                        file.write(piece)
                        await asyncio.sleep(0)
            except BaseException:
                os.unlink(to)  # noqa: PTH108  # Path's would count as waiting here
                raise
        return to

    def view(self, gid: bytes, message: bytes, shared: Shared) -> FileView:
        """The file of a message as programs see it."""
        file = shared.file
        return FileView(
            gid=gid,
            message=message.hex(),
            name=file.name,
            media_type=file.media_type,
            kind=file.kind.name.lower(),
            size=file.size,
            sides=file.sides,
            seconds=file.seconds,
            hint=file.hint,
            album=file.album.hex(),
            relay=file.relay,
            region=file.region,
            until=file.until,
            is_here=shared.blob is not None,
            has_outline=shared.blob is not None or shared.outline is not None,
            is_near=shared.is_near,
            is_played=shared.is_played,
            files=self,
        )

    # Settings

    @property
    def auto_bytes(self) -> int:
        """The longest file of a contact that is fetched by itself, in bytes; -1 if none is. In a
        group of more than 64 people none is."""
        return self._sharing.auto_bytes

    @property
    def room_bytes(self) -> int:
        """The bytes of fetched files that are kept. Those not used for longest go first, and can be
        fetched again as long as they rest; our own stay."""
        return self._sharing.room_bytes

    def set_auto_bytes(self, size: int) -> None:
        """Fetch files of at most so many bytes by themselves from now on; with -1, none. Raises
        BadArgument."""
        if not -1 <= size <= MAX_FILE_BYTES:
            raise BadArgument(f"give -1 to {MAX_FILE_BYTES} bytes")
        with self._unit() as unit:
            self._sharing.set_auto(unit, size)

    def set_room_bytes(self, size: int) -> None:
        """Keep so many bytes of fetched files from now on. Raises BadArgument."""
        if size < 0:
            raise BadArgument("room cannot be less than nothing")
        with self._unit() as unit:
            self._sharing.set_room(unit, size)

    # Transfers

    def transfers(self, gid: bytes | None = None) -> list[Progress]:
        """The files on their way, of one conversation or of all, in the order in which they
        began."""
        return [_progress(one) for one in self._transfers.all(gid)]

    def transfer(self, number: int) -> Progress | None:
        """A file on its way; None if it has come or was given up."""
        one = self._transfers.get(number)
        return _progress(one) if one else None

    def pause(self, number: int) -> None:
        """Pause a transfer."""
        with self._changing(number) as unit:
            self._transfers.pause(unit, number)

    def resume(self, number: int) -> None:
        """Go on with a transfer that was paused or has failed."""
        with self._changing(number) as unit:
            self._transfers.resume(unit, number)

    def cancel(self, number: int) -> None:
        """Give a transfer up. Cells that are at the relay end by their date."""
        with self._changing(number) as unit:
            self._transfers.end(unit, number)

    @contextlib.contextmanager
    def _changing(self, number: int) -> Iterator[Unit]:
        """A unit of work that changes a transfer, and tells of it."""
        one = self._transfers.get(number)
        with self._unit() as unit:
            yield unit
            if one is not None:
                unit.events.append(TransferChanged(one.gid, number))


def _raise_failure(one: Transfer) -> None:
    if one.phase is Phase.FAILED:
        raise BY_CODE[one.error]
    if one.phase is Phase.UNDER_WAY and not one.is_up and one.tries:
        raise FileIncomplete


def _progress(one: Transfer) -> Progress:
    cells = one.file.cells if one.is_up else shape_of(one.file.size).filled
    return Progress(
        id=one.id,
        gid=one.gid,
        message=one.message.hex() if one.message else "",
        is_up=one.is_up,
        kind=one.file.kind.name.lower(),
        name=one.file.name,
        size=one.file.size,
        done=0 if one.is_outline else one.file.size * min(one.cells_done, cells) // cells,
        phase=one.phase,
        error=one.error,
        tries=one.tries,
        is_outline=one.is_outline,
    )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with naming_faults(path), path.open("rb") as file:
            yield file
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise BadArgument(f"{path} is no file") from None


def _create(path: Path, name: str) -> tuple[Path, int]:
    """A new file, with this name if the path is a directory: its path and its descriptor. Raises
    BadArgument."""
    to = path / name if path.is_dir() else path
    try:
        with naming_faults(to.parent):
            return to, os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise BadArgument(f"{to} is there already") from None
    except (FileNotFoundError, NotADirectoryError):
        raise BadArgument(f"there is no directory {to.parent}") from None


async def _read(source: BinaryIO | ByteStream, size: int) -> bytes:
    """Up to `size` bytes; fewer only at the end."""
    parts = []
    while size > 0:
        found = source.read(size)
        part = found if isinstance(found, bytes) else await found
        if not part:
            break
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def safe_name(name: str) -> str:
    """A name of a file that is safe to use and to show: its last part, without controls, marks of
    direction, leading dots or characters that some system does not allow. It may be empty."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    kept = "".join(one for one in unicodedata.normalize("NFC", last) if _is_allowed(one))
    kept = " ".join(kept.split()).strip(". ")
    stem, dot, end = kept.rpartition(".")
    if len(kept) > MAX_NAME_CHARS and dot and len(end) < MAX_NAME_CHARS // 4:
        return f"{stem[: MAX_NAME_CHARS - len(end) - 1]}.{end}"
    return kept[:MAX_NAME_CHARS]


def _is_allowed(one: str) -> bool:
    is_joiner = one in "\u200c\u200d"  # words of some scripts need them
    return is_joiner or (unicodedata.category(one)[0] != "C" and one not in '<>:"/\\|?*')
