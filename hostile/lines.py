"""The ISP between people and relays: it carries bytes, and logs when and how many.

A person's line is their network address; a relay also sees that address, because the carried bytes
leave from it. TLS stays intact: addresses pin the relay's key, whichever way the bytes go.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
import time
from typing import TYPE_CHECKING, BinaryIO, Literal

import uvloop

from amanat.drill import records

if TYPE_CHECKING:
    from pathlib import Path

LOOPBACK = "127.0.0.1"
READ_BYTES = 65_536
"""Most bytes carried at once."""


def run(log: Path, ports: dict[int, int]) -> None:
    """Carry the bytes that come to each port to the relay at another, until SIGTERM; both ports are
    on loopback."""
    with log.open("ab") as out:
        uvloop.run(_serve(out, ports))


async def _serve(log: BinaryIO, ports: dict[int, int]) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with contextlib.AsyncExitStack() as servers:
        for port, relay_port in ports.items():
            carry = functools.partial(_carry, log, relay_port)
            await servers.enter_async_context(await asyncio.start_server(carry, LOOPBACK, port))
        print("ready", flush=True)
        await stop.wait()


async def _carry(
    log: BinaryIO, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Carry one connection."""
    line = writer.get_extra_info("peername")[0]
    try:
        from_relay, to_relay = await asyncio.open_connection(LOOPBACK, port, local_addr=(line, 0))
    except OSError:
        writer.close()
        return

    async def pump(
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        direction: Literal["up", "down"],
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(READ_BYTES):
                record = records.Carried(time.time_ns() // 1000, line, port, direction, len(data))
                log.write(records.encode(record))
                sink.write(data)
                await sink.drain()
        sink.close()

    with contextlib.suppress(asyncio.CancelledError):  # the ISP goes away, and all lines with it
        await asyncio.gather(pump(reader, to_relay, "up"), pump(from_relay, writer, "down"))
