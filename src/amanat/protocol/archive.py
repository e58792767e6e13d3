"""The archive: a file of records that opens with one key, whole or not at all
(docs/protocol.md, section 19).

An archive is a line that names its version, a line of JSON, and frames. The frames are one stream
of bytes, cut at a fixed length and sealed one by one, as in STREAM (Hoang, Reyhanitabar, Rogaway
and Vizar, CRYPTO 2015): the nonce of each frame holds its number and whether it is the last. A
reader therefore notices a frame that is missing, changed, out of place or of another archive, and
an archive that was cut off. The stream is a row of records, each with its kind and length. A reader
passes over kinds that it does not know, and counts them. The last record counts all others.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections import Counter
from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from amanat.errors import BrokenArchive, NewerArchive, WrongPhrase
from amanat.protocol import codec
from amanat.protocol.drops import expand
from amanat.protocol.identity import Key

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSION = 1
"""The version of the archives that we write, and the newest that we read."""
MAX_HEADER_BYTES = 4096
"""The most bytes of the two lines at the beginning of an archive, so that a reader knows where to
stop looking for the frames."""
FRAME_BYTES = 1 << 20
"""Length of the plaintext of a frame, in bytes; the last one may be shorter. A reader holds one
frame in memory before it believes any of it."""
TAG_BYTES = 16
SEALED_BYTES = FRAME_BYTES + TAG_BYTES
MAX_RECORD_BYTES = 24 << 20
"""The most bytes of a record: the GroupInfo and the tree of the largest group have 16 MiB."""
SALT_BYTES = 16

_MAGIC = b"AMANAT-ARCHIVE-"
_COUNTER_BYTES = 11
_HEAD = struct.Struct(">BI")
"""The bytes before a record: its kind and its length."""
_END = 255
"""The kind of the last record."""


class Header(msgspec.Struct, frozen=True):
    """The lines before the frames, as fields. Everybody can read them, and nobody change them."""

    purpose: Annotated[str, msgspec.Meta(max_length=20)]
    hour: Annotated[int, msgspec.Meta(ge=0, lt=2**40)]
    """When it was made, in hours since 1970."""
    salt: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]
    check: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{16}$")]
    """Tells another key from damage. It is no easier to guess against than the frames."""
    program: Annotated[str, msgspec.Meta(max_length=40)]
    """The version of the program that has made it."""


class End(codec.Record, frozen=True):
    """The last record: how many records of each kind came before it, and their hash."""

    counts: Annotated[list[tuple[int, int]], msgspec.Meta(max_length=255)]
    digest: Key


class Run(NamedTuple):
    """Records of one kind that follow each other: the kind, 1 to 254, and the body of each, which
    is MessagePack."""

    kind: int
    bodies: list[bytes]


class Sealer:
    """Makes an archive, piece by piece."""

    def __init__(self, key: bytes, *, purpose: str, hour: int, salt: bytes, program: str) -> None:
        header = Header(purpose, hour, salt.hex(), _check(key, salt), program)
        self.head = b"%s%d\n%s\n" % (_MAGIC, VERSION, msgspec.json.encode(header))
        """The first bytes of the archive."""
        self._seal = _Sealing(key, salt, self.head)
        self._rest = bytearray()
        self._sum = hashlib.sha256()
        self._counts: Counter[int] = Counter()

    def add(self, kind: int, *bodies: bytes) -> bytes:
        """Add records of one kind; returns the bytes of the archive that come next, if any do."""
        self._counts[kind] += len(bodies)
        records = b"".join([_framed(kind, body) for body in bodies])
        self._sum.update(records)
        return self._append(records)

    def _append(self, records: bytes) -> bytes:
        self._rest += records
        sealed = b""
        while len(self._rest) > FRAME_BYTES:
            sealed += self._seal.seal(bytes(self._rest[:FRAME_BYTES]), is_last=False)
            del self._rest[:FRAME_BYTES]
        return sealed

    def end(self) -> bytes:
        """The last bytes of the archive."""
        end = End(sorted(self._counts.items()), self._sum.digest())
        sealed = self._append(_framed(_END, codec.encode(end)))
        return sealed + self._seal.seal(bytes(self._rest), is_last=True)


class Opener:
    """Opens an archive, piece by piece. Nothing of it counts before `end` has returned."""

    def __init__(self, key: bytes, head: bytes) -> None:
        """`head` is the beginning of the archive, up to its frames (`read_header`). Raises
        WrongPhrase if the key is not that of the archive."""
        header, length = read_header(head)
        salt = bytes.fromhex(header.salt)
        if not hmac.compare_digest(_check(key, salt), header.check):
            raise WrongPhrase
        self._seal = _Sealing(key, salt, head[:length])
        self._sealed = bytearray()
        self._rest = b""
        self._sum = hashlib.sha256()
        self.counts: Counter[int] = Counter()
        """How many records of each kind were read so far."""
        self._is_ended = False

    def feed(self, data: bytes) -> Iterator[Run]:
        """The records that the next bytes of the archive make whole. Raises BrokenArchive."""
        self._sealed += data
        # A frame is not the last one if anything comes after it.
        while len(self._sealed) > SEALED_BYTES:
            frame = bytes(self._sealed[:SEALED_BYTES])
            del self._sealed[:SEALED_BYTES]
            yield from self._take(self._seal.open(frame, is_last=False))

    def end(self) -> Iterator[Run]:
        """The last records, once all bytes were fed. Raises BrokenArchive unless the archive is
        whole."""
        yield from self._take(self._seal.open(bytes(self._sealed), is_last=True))
        if not self._is_ended or self._rest:
            raise BrokenArchive("it has no end")

    def _take(self, plain: bytes) -> list[Run]:
        data, at, runs = self._rest + plain, 0, list[Run]()
        while len(data) - at >= _HEAD.size:
            kind, size = _HEAD.unpack_from(data, at)
            if self._is_ended or size > MAX_RECORD_BYTES:
                raise BrokenArchive("a record is too large, or comes after the end")
            begin = at + _HEAD.size
            end = begin + size
            if len(data) < end:
                break
            body = data[begin:end]
            if kind == _END:
                self._count(runs, data[:at])
                self._finish(body)
            elif runs and runs[-1].kind == kind:
                runs[-1].bodies.append(body)
            else:
                runs.append(Run(kind, [body]))
            at = end
        if not self._is_ended:
            self._count(runs, data[:at])
        self._rest = data[at:]
        return runs

    def _count(self, runs: list[Run], data: bytes) -> None:
        """Count the records that these bytes hold, all but the end."""
        self._sum.update(data)
        for kind, bodies in runs:
            self.counts[kind] += len(bodies)

    def _finish(self, body: bytes) -> None:
        end = codec.decode(_ends, body, BrokenArchive)
        if end != End(sorted(self.counts.items()), self._sum.digest()):
            raise BrokenArchive("it does not hold what its end counts")
        self._is_ended = True


class _Sealing:
    """The frames of one archive, in their order."""

    def __init__(self, key: bytes, salt: bytes, head: bytes) -> None:
        self._cipher = ChaCha20Poly1305(expand(key, b"amanat archive", salt))
        self._head = hashlib.sha256(head).digest()
        self._number = 0

    def _nonce(self, *, is_last: bool) -> bytes:
        number, self._number = self._number, self._number + 1
        return number.to_bytes(_COUNTER_BYTES, "big") + bytes([is_last])

    def seal(self, plain: bytes, *, is_last: bool) -> bytes:
        return self._cipher.encrypt(self._nonce(is_last=is_last), plain, self._head)

    def open(self, sealed: bytes, *, is_last: bool) -> bytes:
        try:
            return self._cipher.decrypt(self._nonce(is_last=is_last), sealed, self._head)
        except InvalidTag:
            raise BrokenArchive("a part of it was changed or is missing") from None


def read_header(data: bytes) -> tuple[Header, int]:
    """The header in the first bytes of an archive, and the place of its first frame.

    `data` is at least MAX_HEADER_BYTES of the file, or all of it. Raises BrokenArchive if it is no
    archive, or NewerArchive.
    """
    lines = data[:MAX_HEADER_BYTES].split(b"\n", 2)
    if not lines[0].startswith(_MAGIC) or len(lines) < 3:  # noqa: PLR2004  # two lines and a rest
        raise BrokenArchive("it does not begin like an archive")
    version = lines[0].removeprefix(_MAGIC)
    if version != b"%d" % VERSION:
        if version.isdigit() and len(version) < 10 and int(version) > VERSION:  # noqa: PLR2004
            raise NewerArchive(f"version {int(version)}; this program knows {VERSION}")
        raise BrokenArchive("it does not begin like an archive")
    try:
        header = _headers.decode(lines[1])
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise BrokenArchive("its header cannot be read") from None
    return header, len(lines[0]) + len(lines[1]) + 2


def _framed(kind: int, body: bytes) -> bytes:
    """A record in the stream."""
    if len(body) > MAX_RECORD_BYTES:
        raise ValueError("a record is too large")
    return _HEAD.pack(kind, len(body)) + body


def _check(key: bytes, salt: bytes) -> str:
    return expand(key, b"amanat archive check", salt)[:8].hex()


_headers = msgspec.json.Decoder(Header)
_ends = codec.decoder_of(End)
