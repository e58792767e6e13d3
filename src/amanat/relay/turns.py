"""Whose turn it is in one turn of the loop, and what is sent at its end."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from amanat.relay.connection import Connection

SLICE_S = 0.004
"""How long connections have turns before the loop looks at sockets again, in seconds."""
SPARE = 512
"""Writes that are taken as they come in one turn of the loop, before connections take turns."""


class Turns:
    """The connections that have something to do, or to send."""

    def __init__(self) -> None:
        self._line: deque[Connection] = deque()
        """Connections for which there is something to do, in turn."""
        self._is_serving = False
        self.spare = SPARE
        """How many requests may still be done as they come, in this turn of the loop."""
        self._outgoing: list[Connection] = []
        """Connections that something is to be sent to."""

    def line_up(self, connection: Connection) -> None:
        """There is something to do for a connection, when its turn comes."""
        connection.is_in_line = True
        self._line.append(connection)
        self._serve_soon()

    def spend(self, many: int) -> None:
        """Something was done as it came."""
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
        """There is something to send. All of one turn of the loop is one write."""
        if not self._outgoing and not self._is_serving:
            asyncio.get_running_loop().call_soon(self._flush)
        self._outgoing.append(connection)

    def _flush(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        for connection in outgoing:
            connection.flush()
