"""Frames as WebSocket messages, each encoded once."""

from __future__ import annotations

import msgspec

from amanat.protocol import wire


class SharedFrame:
    """A Cells frame for many readers. It is encoded once, and readers whose requests have the same
    id share one message."""

    def __init__(self, cells: wire.Cells) -> None:
        """`cells` has id 0, so that the array's head, the tag and the id are a byte each."""
        self.cells = cells
        encoded = wire.encode(cells)
        self._start, self._rest = encoded[:2], memoryview(encoded)[3:]
        self._messages: dict[int, tuple[bytes, int]] = {}

    def message(self, request_id: int) -> tuple[bytes, int]:
        """(the WebSocket message with this id, how many bytes the frame in it has)."""
        found = self._messages.get(request_id)
        if found is None:
            start = self._start + msgspec.msgpack.encode(request_id)
            size = len(start) + len(self._rest)
            message = b"".join((websocket_head(size), start, self._rest))
            found = self._messages[request_id] = message, size
        return found


def websocket_head(size: int) -> bytes:
    """The head of a whole binary message from a server (RFC 6455, section 5.2).

    We write it ourselves because picows makes one system call for each message.
    """
    if size < 126:  # noqa: PLR2004  # the RFC's
        return bytes((0x82, size))
    if size < 2**16:
        return b"\x82\x7e" + size.to_bytes(2, "big")
    return b"\x82\x7f" + size.to_bytes(8, "big")
