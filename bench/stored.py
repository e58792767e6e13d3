"""How long an append takes when a relay already holds much: bench/stored.py [--most CELLS].

There is one relay's directory for each power of ten, filled through the relay's own rules and
store, its cells spread over the buckets of a relay of 1,280 people. The real relay then runs in
each in turn: *alone*, one append at a time; *loaded*, 20 connections with 100 appends under way.
Every append goes to another bucket than the one before, and is answered when it is on disk. The
largest directory takes 1.3 KB a cell: 13 GB for ten million.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import defaultdict, deque
from pathlib import Path

import load
import servers
import uvloop
from machine import Noise, spread, table

from amanat.config import RelayConfig, RelayLimits
from amanat.drill import process
from amanat.drill.xmpp import Line
from amanat.protocol import wire
from amanat.protocol.cells import LABEL_BYTES, MESSAGE_CELL
from amanat.protocol.drops import Drop, derive_bucket
from amanat.relay.directory import RelayDirectory
from amanat.relay.drops import Drops
from amanat.relay.store import SqliteStore

BUCKETS = 40
LEAST = 1000
BATCH = 5000
"""Cells of one commit while a directory is filled."""
CONNECTIONS = 20
WINDOW = 100
WARM_S = 0.5
"""Seconds of appends that do not count."""
ROOM = 1.4
"""Disk that must be free, as a multiple of the bytes that the cells are expected to take."""
CELL_ON_DISK = 1300
"""Bytes of a cell in the relay's files, index and all."""
_REST = os.urandom(MESSAGE_CELL - LABEL_BYTES)

Figures = defaultdict[str, list[float]]


def fill(directory: Path, cells: int) -> None:
    """A relay that holds so many cells."""
    limits = RelayLimits(cells_per_drop=10_000_000, bytes_per_drop=2**40)
    settings = RelayConfig(
        region=servers.REGION,
        operator="bench",
        host="127.0.0.1",
        port=process.free_port(),
        tls="off",
        buckets=BUCKETS,
        limits=limits,
    )
    directory.mkdir()
    made = RelayDirectory.create(directory / "relay", settings)
    with contextlib.closing(SqliteStore(made.path)) as store:
        drops = Drops(
            store, region=settings.region, bucket_key=made.bucket_key, limits=settings.limits
        )
        now = time.time()
        drops.open_buckets(BUCKETS, now=now)
        for index in range(BUCKETS):
            bucket = derive_bucket(made.bucket_key, index, region=settings.region)
            share = cells // BUCKETS
            for first in range(0, share, BATCH):
                batch = [
                    append(number, bucket) for number in range(first, min(first + BATCH, share))
                ]
                drops.write(batch, now=now)
                drops.commit()


def append(number: int, drop: Drop) -> wire.Append:
    """A request to append a new cell."""
    return wire.Append(number, drop.drop_id, drop.append_token, os.urandom(LABEL_BYTES) + _REST)


class Appender:
    """A connection that appends, and notes how long each append took."""

    def __init__(self, line: Line, drops: list[Drop], *, offset: int, window: int) -> None:
        self.waits_ms: list[float] = []
        self.running = True
        self.done = asyncio.Event()
        self._line = line
        self._drops = itertools.islice(itertools.cycle(drops), offset, None)
        self._began: deque[float] = deque()
        self._rest = b""
        self._sent = 0
        line.give_to(self._answer)
        self._send(window)

    def _send(self, count: int) -> None:
        self._began.extend([time.perf_counter()] * count)
        requests = [append(self._sent + n, next(self._drops)) for n in range(count)]
        self._sent += count
        self._line.transport.write(
            b"".join([load.websocket_frame(wire.encode(request)) for request in requests])
        )

    def _answer(self, data: bytes) -> None:
        payloads, self._rest = load.split_frames(self._rest + data, self._line)
        now = time.perf_counter()
        for payload in payloads:
            assert payload[1] == 3, payload
            self.waits_ms.append(1000 * (now - self._began.popleft()))
        if self.running and payloads:
            self._send(len(payloads))
        elif not self._began:
            self.done.set()


async def appends(plan: load.Plan, connections: int, window: int, seconds: float) -> list[float]:
    """Milliseconds of each append."""
    lines = [await load.open_websocket(plan) for _ in range(connections)]
    appenders = [
        Appender(line, plan.drops, offset=number, window=window)
        for number, line in enumerate(lines)
    ]
    await asyncio.sleep(WARM_S)
    for appender in appenders:
        appender.waits_ms.clear()
    await asyncio.sleep(seconds)
    waits_ms = [wait for appender in appenders for wait in appender.waits_ms]
    for appender in appenders:
        appender.running = False
    for appender in appenders:
        await appender.done.wait()
    return sorted(waits_ms)


def measure(figures: Figures, directory: Path, cells: int, seconds: float) -> None:
    """Run the relay of a directory once."""
    with servers.running("amanat", directory, tls=False, buckets=BUCKETS) as server:
        plan = load.Plan("stored", server.port, tls=False, pairs=[], drops=server.drops)
        alone = uvloop.run(appends(plan, 1, 1, seconds))
        cpu_s = server.cpu_s()
        loaded = uvloop.run(appends(plan, CONNECTIONS, WINDOW, seconds))
        figures[f"{cells} cores"].append((server.cpu_s() - cpu_s) / (seconds + WARM_S))
    figures[f"{cells} alone p50"].append(alone[len(alone) // 2])
    figures[f"{cells} alone p99"].append(alone[int(0.99 * len(alone))])
    figures[f"{cells} loaded p50"].append(loaded[len(loaded) // 2])
    figures[f"{cells} loaded p99"].append(loaded[int(0.99 * len(loaded))])
    figures[f"{cells} appends/s"].append(len(loaded) / seconds)


def report(figures: Figures, decades: list[int], noise: Noise) -> None:
    """Print a table in Markdown."""
    print(f"{noise}\n")
    columns = ("alone p50", "alone p99", "loaded p50", "loaded p99", "appends/s")
    rows = []
    for cells in decades:
        row = [f"{cells:,}"]
        for column in columns:
            low, median, high = spread(figures[f"{cells} {column}"])
            digits = 0 if column == "appends/s" else 2
            row.append(f"{median:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})")
        rows.append(row)
    flat = ["most / least"]
    for column in columns:
        medians = [spread(figures[f"{cells} {column}"])[1] for cells in decades]
        flat.append(f"{max(medians) / min(medians):.2f}")
    print(table(("cells held", *(f"{c}, ms" for c in columns[:-1]), columns[-1]), [*rows, flat]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--most", type=int, default=10_000_000, help="cells (10,000,000)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each load")
    parser.add_argument("--quick", action="store_true", help="a million cells, one round")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    if options.quick:
        options.most, options.rounds = 1_000_000, 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # so that the relay ends too
    noise = Noise()
    decades: list[int] = []
    cells = LEAST
    while cells <= options.most:
        if sum(decades, cells) * CELL_ON_DISK * ROOM > shutil.disk_usage(Path.cwd()).free:
            print(f"no room for {cells:,} cells: fewer are measured", file=sys.stderr)
            break
        decades.append(cells)
        cells *= 10
    figures: Figures = defaultdict(list)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        for cells in decades:
            began = time.monotonic()
            # Filling runs in a process of its own, which gives its memory back.
            filling = multiprocessing.get_context("spawn").Process(
                target=fill, args=(Path(name) / str(cells), cells)
            )
            filling.start()
            filling.join()
            assert filling.exitcode == 0
            took = time.monotonic() - began
            print(f"{cells:,} cells stored in {took:.0f} s", file=sys.stderr)
        os.sync()  # else the system would write the filled pages during the measurement
        for _ in range(options.rounds):
            noise.sample()
            for cells in decades:
                measure(figures, Path(name) / str(cells), cells, options.seconds)
    report(figures, decades, noise)
    if options.json:
        options.json.write_text(json.dumps({"machine": noise.summary(), "figures": figures}))


if __name__ == "__main__":
    main()
