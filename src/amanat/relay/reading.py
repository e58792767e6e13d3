"""Readers of drops, and how cells reach them.

A *reader* is a Read or a Page, which wants one answer, or a Follow, which wants all cells. A reader
that has got every committed cell is *live*: new cells reach it from memory, encoded once for all
readers of the drop. Otherwise it is *behind*: the relay serves it from the store, a slice at a
time, when its connection has its turn and room for more. A Follow without credit is *spent*, and
gets nothing until the client grants it more. Cells for a slow reader therefore wait in the store,
not in memory.

If the store is a cluster, it is read in threads, once for all Follows that want the same just then,
and other processes tell of cells that have landed. Cells that land while the store is being read
are noticed, so no reader waits for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import msgspec

from amanat.errors import AmanatError
from amanat.protocol import wire
from amanat.relay.asking import Reader
from amanat.relay.frames import SharedFrame

if TYPE_CHECKING:
    from collections.abc import Callable

    from amanat.relay.drops import Drops
    from amanat.relay.metrics import Metrics


LOOK_S = 20.0
"""Seconds in which each drop with live readers is looked at, beside the notices of other
processes."""
LIVE_BYTES = 768 * 1024
"""Most bytes of cells that live readers get in one frame, which stays well below
wire.MAX_REPLY_BYTES. The message cells of one commit fit into it. If more bytes land in a drop at
once, its readers read them from the store."""
READING_THREADS = 16
"""Reads of a cluster that are under way at once: each waits for about a millisecond."""


class Readers:
    """All readers of one relay."""

    def __init__(self, drops: Drops, metrics: Metrics, *, now: Callable[[], float]) -> None:
        """`now` tells Unix seconds."""
        self._drops = drops
        self._metrics = metrics
        self._now = now
        self._live: dict[bytes, dict[Reader, None]] = {}
        """The live readers, by drop id."""
        self._threads = ThreadPoolExecutor(READING_THREADS, "read") if drops.waits else None
        self._being_read: dict[Reader, None] = {}
        """Readers for which a thread reads the store."""
        self._shared: dict[tuple[bytes, bytes, int, int], list[Reader]] = {}
        """Reads under way, each of a drop with a token after a seq, told of a head, and the Follows
        that share it.
        A Read shares none: it wants all cells that had landed when it came."""
        self._noticed: dict[bytes, int] = {}
        """The heads of drops in which cells have landed while the store is read."""

    def close(self) -> None:
        """End the threads."""
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)

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
        if self._threads is None:
            self._give(reader, functools.partial(self._read, reader.request, reader.after, 0))
            return
        reader.rest(self._being_read)
        request, readers = reader.request, [reader]
        if isinstance(request, wire.Follow):
            wanted = request.drop_id, request.read_token, reader.after, reader.told
            if wanted in self._shared:
                self._shared[wanted].append(reader)
                return
            self._shared[wanted] = readers
        asyncio.get_running_loop().run_in_executor(
            self._threads, self._read, request, reader.after, reader.told
        ).add_done_callback(functools.partial(self._has_read, readers, reader.told))

    def _read(
        self, request: wire.Read | wire.Follow | wire.Page, after: int, told: int
    ) -> wire.Cells:
        return self._drops.read(request, after=after, told=told, now=self._now())

    def _has_read(self, readers: list[Reader], told: int, read: asyncio.Future[wire.Cells]) -> None:
        request = readers[0].request
        if isinstance(request, wire.Follow):
            del self._shared[request.drop_id, request.read_token, readers[0].after, told]
        if read.cancelled():
            return
        read.exception()  # all readers may have ended meanwhile

        def cells_for(reader: Reader) -> wire.Cells:
            return msgspec.structs.replace(read.result(), id=reader.request.id)

        for reader in readers:
            if reader.place is self._being_read:
                reader.rest(None)
                self._give(reader, functools.partial(cells_for, reader))
        if not self._being_read:
            self._noticed.clear()

    def _give(self, reader: Reader, read: Callable[[], wire.Cells]) -> None:
        """Give a reader what was read."""
        connection, request = reader.asker, reader.request
        try:
            cells = read()
        except AmanatError as error:
            connection.answer(reader, reader.refusal(error))
            return
        self._metrics.delivered.inc(len(cells.cells))
        self._count_files(self._drops.file_bytes(request.drop_id, cells.cells))
        last = max(cells.head, self._noticed.get(request.drop_id, 0))
        caught_up = cells.first + len(cells.cells) > last
        reader.told = max(reader.told, last)
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

    def _count_files(self, file_bytes: int) -> None:
        if file_bytes:
            self._metrics.delivered_file_bytes.inc(file_bytes)
            self._drops.count_out(file_bytes, now=self._now())

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
        size = sum(map(len, cells.cells))
        self._metrics.appended_bytes.inc(size)
        if self._being_read:
            self._noticed[drop_id] = max(cells.head, self._noticed.get(drop_id, 0))
        if drop_id not in self._live:
            return
        if size > LIVE_BYTES:
            for reader in self.live(drop_id):
                self.catch_up(reader)
            return
        frame, told = SharedFrame(cells), 0
        file_bytes = self._drops.file_bytes(drop_id, cells.cells)
        may_have = not file_bytes or self._drops.may_serve_files(now=self._now())
        for reader in tuple(self._live[drop_id]):
            if reader.after >= cells.head:
                continue  # it has got them from the store a moment ago
            if (
                may_have
                and reader.after + 1 == cells.first
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
        self._count_files(told * file_bytes)

    def wake(self, drop_id: bytes, head: int) -> None:
        """Let the readers of a drop in which another process has put cells catch up."""
        if self._being_read:
            self._noticed[drop_id] = max(head, self._noticed.get(drop_id, 0))
        for reader in self.live(drop_id):
            if reader.after < head:
                reader.told = head  # else a replica that lags could still hide the cells
                self.catch_up(reader)

    async def look_again(self) -> None:
        """Look now and then whether other processes have put cells in drops with live readers: the
        notice of that may have been lost."""
        loop = asyncio.get_running_loop()
        while True:
            drops = tuple(self._live)
            for drop_id in drops:
                await asyncio.sleep(LOOK_S / len(drops))
                with contextlib.suppress(AmanatError):
                    head = await loop.run_in_executor(self._threads, self._drops.head, drop_id)
                    self.wake(drop_id, head)
            if not drops:
                await asyncio.sleep(LOOK_S)
