"""The other end of a socket on this machine: whose process it is, and the texts it sends."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import picows

from amanat.errors import MalformedFrame


def is_of_this_user(transport: picows.WSTransport) -> bool:
    """Whether the process at the other end of a loopback connection is this user's, by the
    kernel's tables. A program may reach 127.0.0.1 through an IPv6 socket, which is in the second
    of them. True where there are no such tables (no Linux): the other doors hold."""
    line = transport.underlying_transport
    peer, own = line.get_extra_info("peername"), line.get_extra_info("sockname")
    is_asked = False
    for table, prefix in (("tcp", ""), ("tcp6", "0000000000000000FFFF0000")):
        wanted = [f"{prefix}0100007F:{port:04X}" for port in (peer[1], own[1])]
        with contextlib.suppress(FileNotFoundError), Path("/proc/net", table).open() as rows:
            is_asked = True
            for row in map(str.split, rows):
                if row[1:3] == wanted:
                    return int(row[7]) == os.getuid()
    return not is_asked


class Text:
    """A text whose frames come one by one: browsers send a long one in several (RFC 6455, section
    5.4)."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._begun: bytes | None = None
        """The frames so far of a text that has begun."""

    def take(self, frame: picows.WSFrame) -> bytes | None:
        """The whole text, if the frame is its last one. Raises MalformedFrame if the frame is of no
        text, or the text is too long."""
        begun, self._begun = self._begun, None
        data = (begun or b"") + frame.get_payload_as_bytes()
        expected = picows.WSMsgType.TEXT if begun is None else picows.WSMsgType.CONTINUATION
        if frame.msg_type != expected or len(data) > self._most_bytes:
            raise MalformedFrame
        if frame.fin:
            return data
        self._begun = data
        return None
