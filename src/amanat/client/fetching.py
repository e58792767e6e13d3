"""Fetching a file: which cells of its drop the client reads next, and when it gives the file up.

A relay can put into the file's drop whatever it likes. So what is read of it is bounded: never more
than as many cells as the file has, and MAX_JUNK. Nor does a relay that answers again and again
without getting on make a client ask without end.
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
"""Large cells in an answer of a relay: to ask for more is to be given these."""
MAX_JUNK = 64
"""Cells of others that are read over in the drop of a file: 4 MiB."""
WAIT_S = 60
"""How long the next cell of a file is waited for, in seconds: its sender may still be sending."""


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
        """As far as the drop is taken to go."""
        self._asked = 0
        """As far as it was asked for."""
        self._left = 2 * self._most
        """Answers that may still come: an honest relay gets on with nearly each of them."""
        self._again: list[tuple[int, int]] = []
        """(after, to) of what was asked for and did not fit into the answer."""

    @property
    def is_whole(self) -> bool:
        """Whether every chunk is here."""
        return len(self._pieces) == len(self._keys)

    def reads(self, window: int) -> list[wire.Read]:
        """What to ask for next, all at once: at most so many bytes, and one cell at least. Where
        all that is there was read, one Read that waits. Raises InvalidFile if all that may be read
        was."""
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
        """Take an answer. Raises InvalidFile if the place of a chunk holds something else, and
        FileIncomplete if nothing came though it was waited for."""
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
        """The content, once it is whole. Raises InvalidFile if it is not what was announced."""
        data = b"".join(self._pieces[number] for number in range(len(self._keys)))
        if hashlib.sha256(data).digest() != self._ref.digest:
            raise InvalidFile("its digest is another")
        return data
