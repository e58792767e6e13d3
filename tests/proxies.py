"""A SOCKS5 proxy (RFC 1928, RFC 1929) for tests, which writes down what it is asked.

    python proxies.py HOST PORT NAME=HOST...

runs one until it is killed, and prints each place that it is asked for as a line.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Self

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
GRANTED, NOT_ALLOWED, HOST_UNREACHABLE, REFUSED = 0, 2, 4, 5


class Socks:
    """`async with Socks({"relay.example": "127.0.0.1"}) as proxy:` a proxy on loopback."""

    def __init__(
        self,
        hosts: dict[str, str],
        login: tuple[bytes, bytes] | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.hosts = hosts
        """The IP address of each name that it resolves."""
        self.asked: list[tuple[str, int]] = []
        """The hosts and ports that it was asked for, as they were said."""
        self.logins: list[tuple[bytes, bytes]] = []
        self._login, self._host, self._port = login, host, port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.told: Callable[[str], None] = lambda _: None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, self._host, self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        """End, with every connection."""
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    @property
    def address(self) -> str:
        return f"{self._host}:{self._port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._writers.add(writer)
        with contextlib.suppress(OSError, EOFError):
            await self._do(reader, writer)
        self._writers.discard(writer)
        writer.close()

    async def _do(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, many = await reader.readexactly(2)
        methods = await reader.readexactly(many)
        method = 0 if self._login is None else 2
        if method not in methods:
            writer.write(b"\5\xff")
            return
        writer.write(bytes((5, method)))
        if self._login is not None:
            found = await _read_login(reader)
            self.logins.append(found)
            writer.write(bytes((1, found != self._login)))
            if found != self._login:
                return
        host, port = await read_request(reader)
        self.asked.append((host, port))
        self.told(f"{host}:{port}")
        code, there = await self._connected(host, port)
        writer.write(bytes((5, code, 0, 1)) + bytes(6))
        if there is None:
            return
        theirs, ours = there
        self._writers.add(ours)
        try:
            ways = [
                asyncio.ensure_future(_pass_on(reader, ours)),
                asyncio.ensure_future(_pass_on(theirs, writer)),
            ]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        finally:
            self._writers.discard(ours)
            ours.transport.abort()

    async def _connected(
        self, host: str, port: int
    ) -> tuple[int, tuple[asyncio.StreamReader, asyncio.StreamWriter] | None]:
        try:
            ip = str(ipaddress.ip_address(host))
        except ValueError:
            if host not in self.hosts:
                return HOST_UNREACHABLE, None
            ip = self.hosts[host]
        try:
            return GRANTED, await asyncio.open_connection(ip, port)
        except OSError:
            return REFUSED, None


async def _read_login(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    _, many = await reader.readexactly(2)
    user = await reader.readexactly(many)
    (many,) = await reader.readexactly(1)
    return user, await reader.readexactly(many)


async def read_request(reader: asyncio.StreamReader) -> tuple[str, int]:
    """The host and the port that a client asks for."""
    _, _, _, kind = await reader.readexactly(4)
    many = {1: 4, 4: 16}.get(kind) or (await reader.readexactly(1))[0]
    raw = await reader.readexactly(many)
    host = raw.decode() if kind == 3 else str(ipaddress.ip_address(raw))
    return host, int.from_bytes(await reader.readexactly(2), "big")


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()


@contextlib.asynccontextmanager
async def answering(answer: Answer) -> AsyncIterator[str]:
    """A server on loopback that answers each connection in this way; its address."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(OSError, EOFError, asyncio.CancelledError):
            await answer(reader, writer)
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _main(host: str, port: str, *names: str) -> None:
    proxy = Socks(dict(one.split("=") for one in names), host=host, port=int(port))

    def tell(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    proxy.told = tell
    async with proxy:
        tell("ready")
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
