"""Files in drops: their cells, their padding, and how a reader knows that it has the right ones
(docs/protocol.md, section 11).

A file is an *outline* and its chunks, one large cell each, and empty cells up to one of a few
numbers. The outline holds the hashes of the chunks, a preview, and the whole content if that is
short. The announcement of a file names the hash of its outline, so that nobody who may read the
file can change it for the others. A reader checks each cell before it uses it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec

from amanat.errors import InvalidFile, InvalidMessage
from amanat.protocol import codec
from amanat.protocol.cells import LARGE_CELL, MAX_PAYLOAD, label_of, one_time, open_cell, seal
from amanat.protocol.drops import derive_drop, expand
from amanat.protocol.identity import Key
from amanat.protocol.messages import (
    MAX_CELLS,
    MAX_FILE_BYTES,
    MAX_PREVIEW_BYTES,
    WAVEFORM_BYTES,
    File,
    FileAgain,
    FileKind,
)

if TYPE_CHECKING:
    from amanat.protocol.cells import OneTime
    from amanat.protocol.drops import Drop

CHUNK_BYTES = MAX_PAYLOAD
"""Bytes of content in a chunk; the last chunk of a file has what is left."""
INLINE_BYTES = 60_000
"""Most bytes of preview and content together that stand in the outline, so that a voice note of 20
seconds is one cell."""
HASH_BYTES = 16
"""Length of the hash of a chunk, in bytes: 128 bits, as for the pieces of a Commit. Only the author
of a file chooses its chunks, and two chunks with one hash would harm nobody but their readers'
belief that they got the same file."""
OUTLINE_HASHES = 1_500
"""Most hashes in the outline itself, which has room for them beside the largest preview."""
TABLE_HASHES = MAX_PAYLOAD // HASH_BYTES
"""Most hashes in a table, which is a cell of further hashes."""
MAX_TABLES = -(-(-(-MAX_FILE_BYTES // CHUNK_BYTES) - OUTLINE_HASHES) // TABLE_HASHES)
"""Most tables of a file."""


class Outline(codec.Record, frozen=True):
    """The payload of a file's first cell."""

    hashes: Annotated[bytes, msgspec.Meta(max_length=OUTLINE_HASHES * HASH_BYTES)]
    """The hash of each chunk, in order, as far as they fit."""
    tables: Annotated[list[Key], msgspec.Meta(max_length=MAX_TABLES)]
    """SHA-256 of each table, in order."""
    preview_type: Annotated[str, msgspec.Meta(max_length=20)]
    """The media type of the preview; empty if there is none."""
    preview: Annotated[bytes, msgspec.Meta(max_length=MAX_PREVIEW_BYTES)]
    data: Annotated[bytes, msgspec.Meta(max_length=INLINE_BYTES)]
    """The content, if it stands here and there are no chunks."""


class Shape(NamedTuple):
    """The cells of a file: an outline, then so many chunks, then so many tables, then padding."""

    chunks: int
    tables: int

    @property
    def filled(self) -> int:
        """The number of cells that hold anything."""
        return 1 + self.chunks + self.tables

    @property
    def cells(self) -> int:
        """The number of cells that the drop gets."""
        return padded(self.filled)


def shape_of(size: int, preview: int = 0) -> Shape:
    """The shape of a file with this many bytes of content and of preview."""
    if size + preview <= INLINE_BYTES:
        return Shape(0, 0)
    chunks = -(-size // CHUNK_BYTES)
    return Shape(chunks, -(-max(chunks - OUTLINE_HASHES, 0) // TABLE_HASHES))


def padded(cells: int) -> int:
    """The number to which so many cells are padded: 1, 2, 3, 4, 6, 8, 12, 16, 24 and so on."""
    power = 1 << max(cells - 1, 0).bit_length()
    return power if cells > power * 3 // 4 or power < 4 else power * 3 // 4  # noqa: PLR2004  # 3 is 3/4 of 4


def chunk_hash(chunk: bytes) -> bytes:
    """The 16-byte hash of a chunk."""
    return hashlib.sha256(chunk).digest()[:HASH_BYTES]


def outline_hash(payload: bytes) -> bytes:
    """The 32-byte hash of an outline, as it is encoded, by which an announcement names a file."""
    return hashlib.sha256(b"amanat file outline" + payload).digest()


class Sum:
    """Takes the chunks of a file in order, and gives its outline and its tables."""

    def __init__(self) -> None:
        self._hashes = bytearray()

    def add(self, *chunks: bytes) -> None:
        """Take the next chunks."""
        for chunk in chunks:
            self._hashes += chunk_hash(chunk)

    def tables(self) -> list[bytes]:
        """The payloads of the tables, in order."""
        rest = bytes(self._hashes[OUTLINE_HASHES * HASH_BYTES :])
        size = TABLE_HASHES * HASH_BYTES
        return [rest[at : at + size] for at in range(0, len(rest), size)]

    def outline(self, *, preview_type: str = "", preview: bytes = b"", data: bytes = b"") -> bytes:
        """The payload of the outline."""
        return codec.encode(
            Outline(
                bytes(self._hashes[: OUTLINE_HASHES * HASH_BYTES]),
                [hashlib.sha256(one).digest() for one in self.tables()],
                preview_type,
                preview,
                data,
            )
        )


class Known:
    """The cells of a file, as far as a reader knows which payload each must have."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._tables: dict[int, bytes] = {}
        self.outline: Outline | None = None
        """The outline, once it has come."""
        self.shape = Shape(0, 0)
        """The shape of the file, once the outline has come."""

    def needs(self, number: int) -> int | None:
        """The cell that must come before this one can be checked; None if it can be."""
        if number == 0:
            return None
        if self.outline is None:
            return 0
        beyond = number - 1 - OUTLINE_HASHES
        if number > self.shape.chunks or beyond < 0:
            return None
        table = beyond // TABLE_HASHES
        return None if table in self._tables else 1 + self.shape.chunks + table

    def take(self, number: int, payload: bytes) -> None:
        """Take a cell that can be checked. Raises InvalidFile if it is not the file's."""
        if number == 0:
            self._take_outline(payload)
        elif number <= self.shape.chunks:
            fits = len(payload) == self.length(number)
            if not fits or chunk_hash(payload) != self._hash(number - 1):
                raise InvalidFile(f"chunk {number - 1} is another")
        else:
            table = number - 1 - self.shape.chunks
            if self.outline is None or table >= len(self.outline.tables):
                raise InvalidFile(f"cell {number} should be empty")
            if hashlib.sha256(payload).digest() != self.outline.tables[table]:
                raise InvalidFile(f"table {table} is another")
            self._tables[table] = payload

    def length(self, number: int) -> int:
        """The bytes of content in a cell that is a chunk."""
        return min(CHUNK_BYTES, self._file.size - (number - 1) * CHUNK_BYTES)

    def _hash(self, chunk: int) -> bytes:
        hashes, at = self.outline.hashes if self.outline else b"", chunk
        if chunk >= OUTLINE_HASHES:
            table, at = divmod(chunk - OUTLINE_HASHES, TABLE_HASHES)
            hashes = self._tables[table]
        return hashes[at * HASH_BYTES : (at + 1) * HASH_BYTES]

    def _take_outline(self, payload: bytes) -> None:
        if outline_hash(payload) != self._file.outline:
            raise InvalidFile("its outline is another")
        outline = codec.decode(_outlines, payload, InvalidFile)
        shape = shape_of(self._file.size, len(outline.preview))
        hashes = min(shape.chunks, OUTLINE_HASHES) * HASH_BYTES
        if shape.cells != self._file.cells or len(outline.hashes) != hashes:
            raise InvalidFile("its outline is of a file of another size")
        if len(outline.tables) != shape.tables:
            raise InvalidFile("its outline is of a file of another size")
        if len(outline.data) != (0 if shape.chunks else self._file.size):
            raise InvalidFile("its outline is of a file of another size")
        self.outline, self.shape = outline, shape


class FileDrop:
    """The drop in which a file rests, and the cells there, by their numbers from 0."""

    def __init__(self, secret: bytes, region: str, owner: bytes = b"") -> None:
        """`secret` opens the file; `owner` is 32 bytes that only its author has, without which
        nothing can be appended."""
        self._secret, self._region = secret, region
        self.drop: Drop = derive_drop(secret, purpose=b"amanat file drop", region=region)
        if owner:
            self.drop = self.drop._replace(append_token=expand(owner, b"amanat file drop append"))

    def _once(self, number: int) -> bytes:
        return expand(self._secret, b"amanat file chunk", number.to_bytes(4, "big"))

    def key(self, number: int) -> OneTime:
        """The label and the key of a cell."""
        return one_time(self._once(number), region=self._region, drop_id=self.drop.drop_id)

    def label(self, number: int) -> bytes:
        """The label of a cell."""
        return label_of(self._once(number), region=self._region, drop_id=self.drop.drop_id)

    def seal(self, number: int, payload: bytes) -> bytes:
        """A cell: of the largest size, whatever it holds, and the same each time."""
        return seal(
            self.key(number),
            payload,
            region=self._region,
            drop_id=self.drop.drop_id,
            least=LARGE_CELL,
        )

    def open(self, number: int, cell: bytes) -> bytes:
        """The payload of a cell. Raises InvalidCell."""
        return open_cell(self.key(number), cell, region=self._region, drop_id=self.drop.drop_id)


def is_possible(file: File) -> bool:
    """Whether a file of this size can have this many cells, as far as one knows without its
    outline: a preview moves content of up to INLINE_BYTES out of the outline."""
    least, most = shape_of(file.size), shape_of(file.size, INLINE_BYTES + 1)
    return file.cells in (least.cells, most.cells) and file.cells <= MAX_CELLS


def _is_shown(file: File) -> bool:
    """Whether a file of its kind can be shown as it is announced."""
    return file.kind is not FileKind.VOICE or len(file.hint) in {0, WAVEFORM_BYTES}


def decode_file(body: bytes) -> File:
    """Decode the announcement of a file. Raises InvalidMessage."""
    file = codec.decode(_files, body, InvalidMessage)
    if not is_possible(file) or not _is_shown(file):
        raise InvalidMessage
    return file


def decode_again(body: bytes) -> FileAgain:
    """Decode the place where a file rests anew. Raises InvalidMessage."""
    return codec.decode(_agains, body, InvalidMessage)


_outlines = codec.decoder_of(Outline)
_files = codec.decoder_of(File)
_agains = codec.decoder_of(FileAgain)
