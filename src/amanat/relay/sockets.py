"""The sockets on which a relay listens, and the files that it may have open."""

from __future__ import annotations

import errno
import resource
import socket

from amanat.errors import BadSetting, PortTaken

BACKLOG = 1024
"""Connections that the system may hold for us while the loop is busy: all clients reconnect at once
after a restart."""


class _Listener(socket.socket):
    """A listening socket that hangs up on callers while too many are connected.

    It counts them itself because a connection exists, and costs, long before its WebSocket does.
    """

    def __init__(self, fileno: int, most: int) -> None:
        super().__init__(fileno=fileno)
        self._most = most
        self._accepted: set[socket.socket] = set()

    def accept(self) -> tuple[socket.socket, object]:
        connection, address = super().accept()
        if len(self._accepted) >= self._most:
            self._accepted = {one for one in self._accepted if one.fileno() >= 0}
            if len(self._accepted) >= self._most:
                connection.close()
                raise ConnectionAbortedError  # tells the event loop to take the next
        self._accepted.add(connection)
        return connection, address


def listen(host: str, port: int, most: int, *, is_shared: bool = False) -> _Listener:
    """A socket that accepts at most `most` connections at a time. If it is shared, other processes
    of this user may listen on the same port, and the system divides the callers among them. Raises
    PortTaken or BadSetting."""
    listener = _Listener(bound(host, port, is_shared=is_shared).detach(), most)
    listener.setblocking(False)
    return listener


def bound(host: str, port: int, *, is_shared: bool = False) -> socket.socket:
    """A socket that listens. Raises PortTaken or BadSetting."""
    family = socket.AF_INET6 if ":" in host or not host else socket.AF_INET
    dual = not host and socket.has_dualstack_ipv6()
    if not host and not dual:
        family = socket.AF_INET
    try:
        return socket.create_server(
            (host, port),
            family=family,
            backlog=BACKLOG,
            dualstack_ipv6=dual,
            reuse_port=is_shared,
        )
    except OSError as error:
        where = f"{host or '*'}:{port}"
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(where) from None
        raise BadSetting(f"cannot listen on {where}: {error.strerror}") from None


def allow_files(count: int) -> None:
    """Raise the process's limit of open files to `count`. Raises BadSetting if the system's limit
    is lower."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise BadSetting(f"limits.connections needs {count} open files; the system allows {hard}")
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
