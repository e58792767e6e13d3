"""Appends on their way to other processes of the relay.

Processes that write to one drop get in each other's way, so one of them, its lead, appends for the
others (`records.Processes`). At most one batch is on its way to each lead, and the appends that
come meanwhile form the next one. So a lead gets the appends of each client in their order.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from amanat.errors import MalformedFrame, PeerError
from amanat.protocol import wire
from amanat.relay.asking import Queue

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from amanat.relay.asking import Writing
    from amanat.relay.records import Processes

MOST_APPENDS = 512
"""Most appends in a batch: as many as the lead has in one commit."""
MOST_BYTES = 512 * 1024
"""Bytes of cells after which a batch is full: a node of a cluster takes messages of 1 MiB."""


class _Line:
    """The appends that wait for one lead."""

    def __init__(self) -> None:
        self.waiting = Queue()
        self.going: list[Writing] = []
        """Those that are on their way."""

    def next_batch(self) -> list[Writing]:
        batch: list[Writing] = []
        taken, writes = 0, self.waiting.writes
        while writes and len(batch) < MOST_APPENDS and taken < MOST_BYTES:
            writing = writes.popleft()
            writing.place = None
            taken += writing.size
            batch.append(writing)
        return batch


class Passing:
    """The appends that this process passes on."""

    def __init__(
        self, processes: Processes, take_back: Callable[[Sequence[Writing]], None]
    ) -> None:
        """`take_back` is called with appends that no other process makes, in their order."""
        self._processes = processes
        self._take_back = take_back
        self._lines: dict[bytes, _Line] = {}
        """The appends for each lead."""

    def __bool__(self) -> bool:
        """Whether any append waits for its answer."""
        return bool(self._lines)

    def take(self, writing: Writing) -> bool:
        """Pass on a write if it is an append to a drop that another process leads, and did not come
        from one. Returns whether it is passed on."""
        request = writing.request
        if not isinstance(request, wire.Append) or writing.asker.is_deputy or writing.verdict:
            return False
        lead = self._processes.lead(request.drop_id)
        if lead is None:
            return False
        line = self._lines.get(lead)
        if line is None:
            line = self._lines[lead] = _Line()
            # Soon: the other writes that wait now go with it.
            asyncio.get_running_loop().call_soon(self._send, lead, line)
        writing.rest(line.waiting)
        return True

    def _send(self, lead: bytes, line: _Line) -> None:
        line.going = line.next_batch()
        if not line.going:
            del self._lines[lead]
            self._processes.rested(lead)
            self._take_back([])
            return
        loop = asyncio.get_running_loop()
        appends = [wire.encode(writing.request) for writing in line.going]
        self._processes.pass_on(
            lead,
            appends,
            lambda replies: loop.call_soon_threadsafe(self._hear, lead, line, replies),
        )

    def _hear(self, lead: bytes, line: _Line, frames: list[bytes] | None) -> None:
        try:
            replies = [wire.decode_reply(frame) for frame in frames or ()]
            if len(replies) != len(line.going):
                raise MalformedFrame
        except PeerError:
            self._processes.gone(lead)
            left = [*line.going, *line.waiting.writes]
            line.waiting.writes.clear()
            del self._lines[lead]
            for writing in left:
                writing.place = None
            self._take_back(left)
            return
        for writing, reply in zip(line.going, replies, strict=True):
            writing.asker.answer(writing, reply)
        self._send(lead, line)
