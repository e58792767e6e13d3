"""Files over long lines: bench/distance.py [--runs N] [--json FILE].

Two relay processes with TLS, each the hop of the other, and real clients with real vaults. All
connections of the clients go through a line on loopback that brings every byte half a round trip
later, each way, and carries as much as comes: so only our own windows and waits limit the speed.
TCP's slow start and its losses are not in it. In each run a file of 16 MiB of random bytes is put
up and fetched, direct and hopped, over lines of 200 and 400 ms and without a line, by turns. Up is
from `send_file` until the relay has all of it and the message is said; down is until all of it is
checked and in the vault.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop
from files import MIB, Figures, files_of
from hop import people, two_relays
from machine import Noise, spread, table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from amanat.client.sdk.client import Client

SIZE = 16 * MIB
ROUND_TRIPS_MS = (0, 200, 400)
GOALS = {
    (0, "direct", "up"): 20.0,
    (0, "hopped", "up"): 18.0,
    (0, "direct", "down"): 90.0,
    (0, "hopped", "down"): 30.0,
    (200, "direct", "down"): 5.0,
    (400, "hopped", "down"): 2.5,
}
"""The MiB a second that should be reached, by round trip in milliseconds."""
TAKEN_BYTES = 16 * MIB
"""Bytes that the line takes in ahead of those that it has delivered."""


class LongLine:
    """Stands between a client and a relay, and brings every byte later."""

    def __init__(self, port: int, one_way_s: float) -> None:
        self._port, self._one_way_s = port, one_way_s
        self._carrying: set[asyncio.Task[object]] = set()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        if (task := asyncio.current_task()) is not None:
            self._carrying.add(task)
        with contextlib.suppress(asyncio.CancelledError, OSError):
            there = await asyncio.open_connection("127.0.0.1", self._port, limit=TAKEN_BYTES)
            await asyncio.gather(self._bring(reader, there[1]), self._bring(there[0], writer))

    async def _bring(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while data := await reader.read(256 * 1024):
            loop.call_later(self._one_way_s, writer.write, data)
        loop.call_later(self._one_way_s, writer.close)

    async def end(self) -> None:
        """Stop carrying bytes."""
        for task in self._carrying:
            task.cancel()
        await asyncio.gather(*self._carrying)


@contextlib.asynccontextmanager
async def long_line(relay: str, round_trip_ms: int) -> AsyncIterator[str]:
    """The address of a relay at the other end of a long line, or its own if it has no length."""
    if not round_trip_ms:
        yield relay
        return
    port = relay.partition("127.0.0.1:")[2].partition("/")[0]
    line = LongLine(int(port), round_trip_ms / 2000)
    server = await asyncio.start_server(line.carry, "127.0.0.1", 0, limit=TAKEN_BYTES)
    try:
        yield relay.replace(f":{port}/", f":{server.sockets[0].getsockname()[1]}/")
    finally:
        server.close()
        await line.end()


async def one_file(figures: Figures, name: str, pair: list[Client], source: Path) -> None:
    """Send a file to somebody, who then fetches it."""
    alice, bob = pair
    gid = alice.contacts()[0].conversation
    before = len(files_of(bob, gid))
    began = time.perf_counter()
    await alice.files.ended(await alice.chat(gid).send_file(source))
    figures[f"{name}, up"].append(SIZE / MIB / (time.perf_counter() - began))
    while len(files_of(bob, gid)) == before:
        await bob.changed()
    message = files_of(bob, gid)[-1]
    if message.file is None:
        raise AssertionError(message)
    began = time.perf_counter()
    await message.file.fetch()
    figures[f"{name}, down"].append(SIZE / MIB / (time.perf_counter() - began))


async def measure(root: Path, relays: list[str], runs: int, noise: Noise) -> Figures:
    """MiB a second, of each run."""
    figures: Figures = defaultdict(list)
    source = root / "source"
    async with contextlib.AsyncExitStack() as lines:
        pairs = {}
        for ms in ROUND_TRIPS_MS:
            far = [await lines.enter_async_context(long_line(one, ms)) for one in relays]
            for how in ("direct", "hopped"):
                name = f"{ms} ms, {how}"
                pairs[name] = await people(root / name, how, far, 2)
                pairs[name][1].files.set_auto_bytes(-1)
        for _ in range(runs):
            source.write_bytes(os.urandom(SIZE))
            noise.sample()
            for name, pair in pairs.items():
                await one_file(figures, name, pair, source)
        noise.sample()
        for pair in pairs.values():
            for client in pair:
                await client.close()
    return figures


def rows(figures: Figures) -> list[list[str]]:
    """Rows of the table."""
    found = []
    for name, values in figures.items():
        ms, how, way = name.split(", ")
        low, middle, high = spread(values)
        goal = GOALS.get((int(ms.removesuffix(" ms")), how, way))
        reached = "" if goal is None else "yes" if middle >= goal else "**no**"
        speed = f"{middle:.1f} ({low:.1f} to {high:.1f})"
        found.append([ms, how, way, speed, "" if goal is None else f"{goal:g}", reached])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    noise = Noise()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        root = Path(name)
        with two_relays(root) as relays:
            addresses = [relay.address for relay in relays]
            figures = uvloop.run(measure(root, addresses, options.runs, noise))
    print(f"{noise}\n")
    heads = ("round trip", "how", "way", "MiB a second", "goal", "reached")
    print(table(heads, rows(figures)))
    if options.json:
        options.json.write_text(json.dumps({"machine": noise.summary(), "figures": figures}))


if __name__ == "__main__":
    main()
