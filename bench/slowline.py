"""A text while a file is sent over a slow line: bench/slowline.py [--rate BYTES] [--size BYTES].

Alice and Bob reach a real relay, with TLS, each over a line that a throttle on loopback limits to
so many bytes a second each way. First Alice uploads a file of so many bytes while she sends texts;
then Bob fetches it while she sends texts. The table shows the waits from `send` to the other's
transcript, how long the file took, and how often a line broke and was opened again.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import os
import random
import statistics
import tempfile
import time
from pathlib import Path

import uvloop
from machine import Noise, table

from amanat.client.events import TextArrived
from amanat.client.sdk.client import Client
from amanat.client.vault import Unlock
from amanat.drill.relays import RelayProcess

UNLOCK = Unlock(key=bytes(32))
LINE_BYTES = 16 * 1024
"""Bytes that the throttle takes in ahead of those that it has carried."""
EVERY_S = (0.2, 1.8)
"""Shortest and longest of the random pauses between Alice's texts, in seconds."""


class SlowLine:
    """Stands between a client and a relay, and carries so many bytes a second each way."""

    def __init__(self, port: int, rate: int) -> None:
        self.opened = 0
        self._port, self._rate = port, rate
        self._carrying: set[asyncio.Task[object]] = set()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        if (task := asyncio.current_task()) is not None:
            self._carrying.add(task)
        self.opened += 1
        there = await asyncio.open_connection("127.0.0.1", self._port, limit=LINE_BYTES)
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await asyncio.gather(self._slowly(reader, there[1]), self._slowly(there[0], writer))

    async def _slowly(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        due = time.monotonic()
        while data := await reader.read(4096):
            due = max(due, time.monotonic()) + len(data) / self._rate
            await asyncio.sleep(due - time.monotonic())
            writer.write(data)
            await writer.drain()
        writer.close()

    def end(self) -> None:
        """Stop carrying bytes."""
        for task in self._carrying:
            task.cancel()


async def speak(alice: Client, bob: Client, file: asyncio.Task[None]) -> list[float]:
    """The seconds that each of Alice's texts took, until the file has been sent or fetched."""
    gid = alice.contacts()[0].conversation
    texts = (event async for event in bob.events() if isinstance(event, TextArrived))
    waits = []
    while not file.done():
        began = time.perf_counter()
        text = f"said at {began}"
        alice.chat(gid).send(text)
        async for event in texts:  # the file is announced among them
            if bob.chat(gid).messages(after=event.row - 1)[0].text == text:
                break
        waits.append(time.perf_counter() - began)
        await asyncio.sleep(random.uniform(*EVERY_S))  # when somebody speaks
    return sorted(waits)


async def measure(root: Path, relay: str, rate: int, size: int) -> list[list[str]]:
    """A row of the table for each direction."""
    port = int(relay.partition("127.0.0.1:")[2].partition("/")[0])
    line = SlowLine(port, rate)
    server = await asyncio.start_server(line.carry, "127.0.0.1", 0, limit=LINE_BYTES)
    slow = relay.replace(f":{port}/", f":{server.sockets[0].getsockname()[1]}/")
    alice, bob = [
        await Client.create(root / name, UNLOCK, name=name, relay=slow) for name in ("alice", "bob")
    ]
    alice.start()
    bob.start()
    bob.accept(alice.invite())
    while not (alice.contacts() and bob.contacts()):
        await alice.changed()
    await alice.flushed()
    bob.files.set_auto_bytes(-1)
    gid = alice.contacts()[0].conversation

    async def send() -> None:
        number = await alice.chat(gid).send_file(io.BytesIO(os.urandom(size)), name="file")
        await alice.files.ended(number)

    async def fetch() -> None:
        while not (found := [m.file for m in bob.chat(gid).messages() if m.file is not None]):
            await bob.changed()
        await found[-1].fetch()

    rows = []
    for way, work in (("sent", send), ("fetched", fetch)):
        opened, began = line.opened, time.perf_counter()
        task = asyncio.create_task(work())
        waits = await speak(alice, bob, task)
        await task
        took = time.perf_counter() - began
        rows.append(
            [
                way,
                f"{took:.0f} s, {size / rate:.0f} s at best",
                f"{statistics.median(waits):.2f} s",
                f"{waits[min(int(0.99 * len(waits)), len(waits) - 1)]:.2f} s",
                f"{len(waits)}",
                f"{line.opened - opened}",
            ]
        )
    await alice.close()
    await bob.close()
    line.end()
    server.close()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=int, default=64 * 1024, help="bytes a second, each way")
    parser.add_argument("--size", type=int, default=4 * 1024 * 1024, help="of the file, in bytes")
    options = parser.parse_args()
    noise = Noise()
    noise.sample()
    with tempfile.TemporaryDirectory() as directory:
        relay = RelayProcess(Path(directory) / "relay", people=2)
        relay.run()
        try:
            rows = uvloop.run(measure(Path(directory), relay.address, options.rate, options.size))
        finally:
            relay.kill()
    noise.sample()
    print(f"{options.rate / 1024:g} KiB a second each way, a file of {options.size:,} bytes.")
    print(f"{noise}\n")
    heads = ("the file is", "in", "a text, p50", "p99", "texts", "links lost")
    print(table(heads, rows))


if __name__ == "__main__":
    main()
