"""Readers of drops, and how cells reach them.

A *reader* is a Read or a Page, which wants one answer, or a Follow, which wants all cells. A reader
that has got every committed cell is *live*: new cells reach it from memory, encoded once for all
readers of the drop. Otherwise it is *behind*: the relay serves it from the store, a slice at a
time, when its connection has its turn and room for more. A Follow without credit is *spent*, and
gets nothing until the client grants it more. Cells for a slow reader therefore wait in the store,
not in memory.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from amanat.errors import AmanatError
from amanat.protocol import wire
from amanat.relay.asking import Reader
from amanat.relay.frames import SharedFrame

if TYPE_CHECKING:
    from collections.abc import Callable

    from amanat.relay.drops import Drops
    from amanat.relay.metrics import Metrics


class Readers:
    """All readers of one relay."""

    def __init__(self, drops: Drops, metrics: Metrics, *, now: Callable[[], float]) -> None:
        """`now` tells Unix seconds."""
        self._drops = drops
        self._metrics = metrics
        self._now = now
        self._live: dict[bytes, dict[Reader, None]] = {}
        """The live readers, by drop id."""

    def leave(self, reader: Reader) -> None:
        """Take a reader out of its table and stop its timer."""
        reader.stop()
        place = reader.place
        reader.rest(None)
        if place is not None and not place and self._live.get(reader.request.drop_id) is place:
            del self._live[reader.request.drop_id]

    def live(self, drop_id: bytes) -> tuple[Reader, ...]:
        """The live readers of a drop."""
        return tuple(self._live.get(drop_id, ()))

    def catch_up(self, reader: Reader) -> None:
        """Let a reader be served from the store when its connection has its turn, and room."""
        self.leave(reader)
        if reader.credit <= 0:
            reader.rest(reader.asker.spent)  # until the client grants it more
            return
        reader.rest(reader.asker.behind)
        reader.asker.go_on()

    def serve(self, reader: Reader) -> None:
        """Send a reader, which is in no table just now, the next cells that it has not got."""
        connection, request = reader.asker, reader.request
        try:
            cells = self._drops.read(request, after=reader.after, now=self._now())
        except AmanatError as error:
            connection.answer(reader, reader.refusal(error))
            return
        self._metrics.delivered.inc(len(cells.cells))
        caught_up = cells.first + len(cells.cells) > cells.head
        if isinstance(request, wire.Read | wire.Page):
            if cells.cells or reader.patience <= 0 or reader.after > cells.head:
                connection.answer(reader, cells)
                return
        elif cells.cells or not reader.served:
            reader.credit -= connection.tell(reader, cells)
        reader.served = True
        reader.after = max(reader.after, cells.first + len(cells.cells) - 1)
        if caught_up:
            self._stay_live(reader)
        else:
            self.catch_up(reader)

    def _stay_live(self, reader: Reader) -> None:
        reader.rest(self._live.setdefault(reader.request.drop_id, {}))
        if isinstance(reader.request, wire.Read):
            reader.timer = asyncio.get_running_loop().call_later(
                reader.patience, self._out_of_patience, reader
            )

    def _out_of_patience(self, reader: Reader) -> None:
        reader.patience = 0
        self.catch_up(reader)

    def publish(self, drop_id: bytes, cells: wire.Cells) -> None:
        """Send live readers the cells that have landed in a drop."""
        self._metrics.appended.inc(len(cells.cells))
        self._metrics.appended_bytes.inc(sum(map(len, cells.cells)))
        if drop_id not in self._live:
            return
        frame, told = SharedFrame(cells), 0
        for reader in tuple(self._live[drop_id]):
            if reader.after >= cells.head:
                continue  # it has got them from the store a moment ago
            if (
                reader.after + 1 == cells.first
                and reader.credit > 0
                and reader.asker.has_room()
                and len(cells.cells) <= reader.limit
            ):
                reader.after = cells.head
                told += 1
                reader.credit -= reader.asker.share(frame, reader)
            else:
                self.catch_up(reader)
        self._metrics.delivered.inc(told * len(cells.cells))
