"""Fetching a file: which cells of its drop the client reads next, and when it gives the file up.

A relay can put junk into the file's drop, so the client reads at most MAX_JUNK cells more than the
file has. A relay that answers again and again without progress cannot make a client ask
without end either.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from amanat.client.rules.files import file_drop, file_keys
from amanat.errors import FileIncomplete, InvalidCell, InvalidFile
from amanat.protocol import wire
from amanat.protocol.cells import LABEL_BYTES, LARGE_CELL, open_cell

if TYPE_CHECKING:
    from amanat.protocol.messages import FileRef

PAGE_CELLS = wire.READ_BYTES // LARGE_CELL
"""The most large cells in an answer of a relay. A client that asks for more gets these."""
MAX_JUNK = 64
"""The most cells of others that we pass over in the drop of a file: 4 MiB."""
WAIT_S = 60
"""How long we wait for the next cell of a file, in seconds. Its sender may still be sending."""


class Fetch:
    """A file that is being fetched."""

    def __init__(self, ref: FileRef) -> None:
        self._ref = ref
        self._drop = file_drop(ref)
        self._keys = file_keys(ref)
        self._index = {once.label: number for number, once in enumerate(self._keys)}
        self._pieces: dict[int, bytes] = {}
        self._most = len(self._keys) + MAX_JUNK
        self._end = len(self._keys)
        """The seq at which we take the drop to end."""
        self._asked = 0
        """The seq up to which we have asked for cells."""
        self._left = 2 * self._most
        """The number of answers that may still come. An honest relay makes progress with nearly
        each of them."""
        self._again: list[tuple[int, int]] = []
        """The (after, to) of cells that we asked for and that did not fit into the answer."""

    @property
    def is_whole(self) -> bool:
        """Whether every chunk is here."""
        return len(self._pieces) == len(self._keys)

    def reads(self, window: int) -> list[wire.Read]:
        """The requests to make next, all at once: for at most `window` bytes, but at least one
        cell. If we have read everything there, this is one Read that waits. Raises InvalidFile if
        we have read as much as we may."""
        reads: list[wire.Read] = []
        room = max(window // LARGE_CELL, 1)
        while room > 0:
            after, to = self._again.pop() if self._again else (self._asked, self._end)
            count = min(to - after, room, PAGE_CELLS)
            if count <= 0:
                break
            if after + count < to and after != self._asked:
                self._again.append((after + count, to))
            self._asked = max(self._asked, after + count)
            room -= count
            reads.append(self._read(after, count, 0))
        if not reads and self._asked >= self._most:
            raise InvalidFile("its drop is full of other things")
        return reads or [self._read(self._asked, PAGE_CELLS, WAIT_S)]

    def _read(self, after: int, limit: int, wait: int) -> wire.Read:
        return wire.Read(0, self._drop.drop_id, self._drop.read_token, after, limit, wait)

    def take(self, read: wire.Read, cells: wire.Cells) -> None:
        """Take an answer. Raises InvalidFile if a chunk does not open or the relay makes no
        progress, and FileIncomplete if nothing came although we waited."""
        if read.wait and not cells.cells:
            raise FileIncomplete
        self._left -= 1
        if not self._left:
            raise InvalidFile("its relay does not get on")
        for cell in cells.cells:
            number = self._index.get(cell[:LABEL_BYTES])
            if number is None:
                continue
            try:
                self._pieces[number] = open_cell(
                    self._keys[number], cell, region=self._ref.region, drop_id=self._drop.drop_id
                )
            except InvalidCell:
                raise InvalidFile(f"chunk {number} does not open") from None
        last = cells.first + len(cells.cells) - 1
        wanted = min(read.after + read.limit, cells.head)
        if last < wanted:
            self._again.append((last, wanted))
        self._asked = min(max(self._asked, last), max(cells.head, read.after))
        self._end = min(max(cells.head, self._asked), self._most)

    def data(self) -> bytes:
        """The content of a whole file. Raises InvalidFile if it is not the announced one."""
        data = b"".join(self._pieces[number] for number in range(len(self._keys)))
        if hashlib.sha256(data).digest() != self._ref.digest:
            raise InvalidFile("its digest is another")
        return data
