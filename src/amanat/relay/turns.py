"""The order in which connections have turns, and the flush at the end of each turn of the loop."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from amanat.relay.connection import Connection

SLICE_S = 0.004
"""Seconds for which connections have turns before the loop looks at sockets again."""
SPARE = 512
"""Writes that the relay handles as they arrive in one turn of the loop, before connections take
turns."""


class Turns:
    """The connections that have work to do or frames to send."""

    def __init__(self) -> None:
        self._line: deque[Connection] = deque()
        """Connections with work to do, in turn."""
        self._is_serving = False
        self.spare = SPARE
        """How many more requests may be handled as they arrive, in this turn of the loop."""
        self._outgoing: list[Connection] = []
        """Connections with frames to send."""

    def line_up(self, connection: Connection) -> None:
        """Give a connection its turn, after those that wait already."""
        connection.is_in_line = True
        self._line.append(connection)
        self._serve_soon()

    def spend(self, many: int) -> None:
        """Count requests that were handled as they arrived."""
        self.spare -= many
        self._serve_soon()

    def _serve_soon(self) -> None:
        if not self._is_serving:
            self._is_serving = True
            asyncio.get_running_loop().call_soon(self._serve)

    def _serve(self) -> None:
        line, until = self._line, time.perf_counter() + SLICE_S
        while line:
            connection = line.popleft()
            if connection.take_turn():
                line.append(connection)
            else:
                connection.is_in_line = False
            if time.perf_counter() > until:
                break
        self.spare = SPARE
        self._is_serving = bool(line)
        if line:
            asyncio.get_running_loop().call_soon(self._serve)
        self._flush()

    def flush_soon(self, connection: Connection) -> None:
        """Flush a connection at the end of this turn of the loop, as one write."""
        if not self._outgoing and not self._is_serving:
            asyncio.get_running_loop().call_soon(self._flush)
        self._outgoing.append(connection)

    def _flush(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        for connection in outgoing:
            connection.flush()
