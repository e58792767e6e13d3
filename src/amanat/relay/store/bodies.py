"""Large cells in files of their own, beside the table of cells.

SQLite writes each page twice, into its log and later into its place. Large cells that come many at
once, as those of files do, are therefore written once, into a *body*: a file of one drop and one
UTC day, which ends as one and under one key. The rows of these cells say where they lie in it.

A body is on the disk before the rows that point into it are, and it is removed after they have
gone. So no row points to nothing, whenever the process dies. Bytes behind those to which rows point
were left by a process that died in a commit, at most one batch: nobody reads them, and no key opens
them once their day has ended. A body without any row is removed at start.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from typing import TYPE_CHECKING, NamedTuple, Self

from amanat.errors import DiskFull, StoreDamaged
from amanat.protocol.cells import LARGE_CELL
from amanat.relay.store.faults import DISK_RETRY_S, sqlite_errors
from amanat.relay.store.schema import SEQ_BITS, SEQ_MASK
from amanat.relay.store.wrapping import WRAP_BYTES

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence
    from pathlib import Path

DIRECTORY = "bodies"
"""The directory of the bodies, in that of the relay. It is made with the first of them."""
LEAST_CELLS = 8
"""Large cells of one drop and day in one commit from which on they go into a body. A body costs a
file, which the disk makes durable by itself; half a MiB that is written once saves more."""
CELL_BYTES = LARGE_CELL + WRAP_BYTES
"""Length of a wrapped cell in a body, in bytes: there are no others in it."""
POINTER_BYTES = 8
"""Length of what a row has in place of a wrapped cell, in bytes: the cell's place in its body. No
wrapped cell is so short."""
REAL_SIZE = f"CASE length(wrapped) WHEN {POINTER_BYTES} THEN {CELL_BYTES} ELSE length(wrapped) END"
"""The length of a row's wrapped cell, in SQL, wherever the cell lies."""
_PIECES = 512
"""Cells that one call writes: the system takes at most 1,024."""
_NAME = re.compile(r"([0-9]{1,10})-(-?[0-9]{1,8})")


class Body(NamedTuple):
    """A body by its drop's number and its UTC day."""

    number: int
    day: int

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"{self.number}-{self.day}"


def body_named(name: str) -> Body | None:
    """The body that a file of this name is; None if it is none."""
    found = _NAME.fullmatch(name)
    body = Body(int(found[1]), int(found[2])) if found else None
    return body if body is not None and body.name == name else None


def has_ended(connection: sqlite3.Connection, body: Body) -> bool:
    """Whether no row points into a body. The days of a drop's cells never go back, and its cells
    end from the first on, so its first row tells."""
    first = body.number << SEQ_BITS
    with sqlite_errors:
        row = connection.execute(
            "SELECT day FROM main.cell WHERE place BETWEEN ? AND ? ORDER BY place LIMIT 1",
            (first, first | SEQ_MASK),
        ).fetchone()
    return row is None or row[0] > body.day


class Bodies:
    """The bodies of one store."""

    def __init__(self, directory: Path) -> None:
        """`directory` is the relay's."""
        self._path = directory / DIRECTORY

    def __iter__(self) -> Iterator[Body]:
        """All bodies, in no order."""
        with contextlib.suppress(FileNotFoundError), os.scandir(self._path) as files:
            yield from filter(None, (body_named(file.name) for file in files))

    def add(self, body: Body, cells: Sequence[bytes]) -> int:
        """Write wrapped cells behind all others of a body. They are on the disk when this returns
        where the first of them lies. Raises DiskFull; the body is then as it was."""
        try:
            return self._add(body, cells)
        except OSError as error:
            raise DiskFull(str(error.strerror), retry_after=DISK_RETRY_S) from None

    def _add(self, body: Body, cells: Sequence[bytes]) -> int:
        if not self._path.is_dir():
            self._path.mkdir(mode=0o700)
            _sync(self._path.parent)
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        file = os.open(self._path / body.name, flags, 0o600)
        try:
            first = os.fstat(file).st_size
            try:
                _write(file, first, cells)
                os.fdatasync(file)
                if first == 0:
                    _sync(self._path)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(file, first)
                raise
        finally:
            os.close(file)
        return first

    def size(self) -> int:
        """The bytes of all bodies together."""
        found = 0
        for body in self:
            with contextlib.suppress(FileNotFoundError):  # it has ended meanwhile
                found += (self._path / body.name).stat().st_size
        return found

    def is_before(self, body: Body, other: Path) -> bool:
        """Whether a body is there and was last written to before another file was."""
        try:
            written = (self._path / body.name).stat().st_mtime_ns
            return written < other.stat().st_mtime_ns
        except FileNotFoundError:
            return False

    def cut(self, body: Body, size: int) -> None:
        """Forget what a body has behind so many bytes, if there is such a body."""
        with contextlib.suppress(OSError):  # nobody reads it
            os.truncate(self._path / body.name, size)

    def end(self, body: Body) -> None:
        """Remove a body to which no row points."""
        with contextlib.suppress(OSError):  # the next start removes it
            (self._path / body.name).unlink()

    def reading(self, number: int) -> Reading:
        """Reads the cells of a drop; to be closed."""
        return Reading(self._path, number)


class Reading:
    """Reads cells of one drop, one day after the other. It has one file open at most."""

    def __init__(self, directory: Path, number: int) -> None:
        self._directory, self._number = directory, number
        self._day: int | None = None
        self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def whole(self, day: int, wrapped: bytes) -> bytes:
        """The wrapped cell of a row, wherever it lies. Raises StoreDamaged if its body has no such
        cell, or DiskFull if the disk does not give it."""
        if len(wrapped) != POINTER_BYTES:
            return wrapped
        try:
            if day != self._day:
                self._close()
                flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
                self._file = os.open(self._directory / Body(self._number, day).name, flags)
                self._day = day
            # Larger places than a file can have are damage, too.
            at = min(int.from_bytes(wrapped, "big"), 2**62)
            cell = os.pread(self._file, CELL_BYTES, at)
        except FileNotFoundError:
            raise StoreDamaged("a body is missing") from None
        except OSError as error:
            raise DiskFull(str(error.strerror), retry_after=DISK_RETRY_S) from None
        if len(cell) != CELL_BYTES:
            raise StoreDamaged("a body is too short")
        return cell

    def _close(self) -> None:
        if self._day is not None:
            os.close(self._file)
            self._day = None


def pointers(first: int, many: int) -> list[bytes]:
    """The pointers to so many cells that follow each other in a body, from a place on."""
    places = itertools.islice(itertools.count(first, CELL_BYTES), many)
    return [place.to_bytes(POINTER_BYTES, "big") for place in places]


def _write(file: int, at: int, cells: Sequence[bytes]) -> None:
    for start in range(0, len(cells), _PIECES):
        some = cells[start : start + _PIECES]
        left = sum(map(len, some))
        done = os.pwritev(file, some, at)
        at += done
        if done < left:  # a signal, or a disk that is nearly full: the rest says which
            rest = memoryview(b"".join(some))[done:]
            while rest:
                done = os.pwrite(file, rest, at)
                at, rest = at + done, rest[done:]


def _sync(directory: Path) -> None:
    """Make the names in a directory durable."""
    file = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
