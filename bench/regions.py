"""Whether a region notices what happens to another: bench/regions.py [--seconds S] [--runs N].

Two regions on one machine, each a cluster of three nodes with one relay process. They share the
disk, but each has a core of its own, since real regions share none. Somebody appends to a bucket of
the first region, one cell after the other. Meanwhile the other region rests; or is *cut off*: its
nodes stand still, so nobody answers and nobody refuses; or is *moved*: its drops go to a relay of a
third region.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop
from cluster import Rest, cluster, rest_on
from machine import Noise, spread, table
from move import append, create, make, move, run_relay

from amanat.config import ClusterConfig, MovingConfig, RelayConfig, RelayLimits
from amanat.drill.process import free_port
from amanat.link import connect
from amanat.protocol import wire
from amanat.protocol.drops import derive_bucket
from amanat.relay.cluster import open_cluster
from amanat.relay.directory import RelayDirectory
from amanat.relay.drops import Drops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from amanat.relay.cluster.nodes import LocalCluster

OURS, OTHER, THIRD = "DE", "IR", "NL"
DROPS, CELLS = 2_000, 10
"""The drops that are moved, and the cells of each."""
PAUSE_S = 0.005
"""Seconds between an answer and the next append."""


def relay_of(directory: Path, region: str, nodes: LocalCluster | None, source: str = "") -> str:
    """Make a relay in a directory; returns its address."""
    rest: Rest = {"store": "", "cluster": ClusterConfig()}
    if nodes is not None:
        rest = rest_on(nodes, directory.with_suffix(".login"))
    made = RelayDirectory.create(
        directory,
        RelayConfig(
            region=region,
            operator="bench",
            host="127.0.0.1",
            port=free_port(),
            buckets=1,
            **rest,
            limits=RelayLimits(drops=2**20),
            moving=MovingConfig(sources=(source,) if source else ()),
        ),
    )
    return str(made.address(made.config.port))


def fill(directory: RelayDirectory) -> None:
    """Put drops into a cluster."""
    with contextlib.closing(open_cluster(directory)) as store:
        rules = Drops(
            store, region=OTHER, bucket_key=directory.bucket_key, limits=directory.config.limits
        )
        for first in range(0, DROPS, 100):
            batch: list[wire.Create | wire.Append] = []
            for number in range(first, first + 100):
                drop = make(number, OTHER)
                batch += [create(drop, directory.bucket_key), *(append(drop) for _ in range(CELLS))]
            rules.carry_out(batch, now=time.time())


async def waits_ms(directory: RelayDirectory, until: asyncio.Event) -> list[float]:
    """How long each append to a bucket took."""
    link = await connect(directory.address(directory.config.port))
    bucket, waits = derive_bucket(directory.bucket_key, 0, region=OURS), []
    while not until.is_set():
        began = time.perf_counter()
        await link.request(append(bucket), wire.Appended)
        waits.append(1000 * (time.perf_counter() - began))
        await asyncio.sleep(PAUSE_S)
    link.close()
    return sorted(waits)


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """Have the processes that start now run on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def cut_off(nodes: LocalCluster) -> Iterator[None]:
    """Have all nodes stand still."""
    pids = [process.pid for process in nodes.processes.values()]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _move(root: Path, to: str) -> None:
    """Move the other region's drops, in a process of its own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(move(root, to))


async def measured(
    root: Path, nodes: LocalCluster, to: str, seconds: float
) -> dict[str, list[float]]:
    """The waits while the other region rests, is cut off and is moved."""
    ours, found = RelayDirectory.open(root / "ours"), {}
    for name, meanwhile in (
        ("rests", contextlib.nullcontext()),
        ("is cut off", cut_off(nodes)),
    ):
        over = asyncio.Event()
        asyncio.get_running_loop().call_later(seconds, over.set)
        with meanwhile:
            found[name] = await waits_ms(ours, over)
    await asyncio.sleep(2 * seconds)  # its nodes find each other again
    over = asyncio.Event()
    writing = asyncio.create_task(waits_ms(ours, over))
    with on_core(1):
        moving = multiprocessing.get_context("spawn").Process(target=_move, args=(root, to))
        moving.start()
    await asyncio.to_thread(moving.join)
    assert moving.exitcode == 0
    over.set()
    found["is moved"] = await writing
    return found


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=8.0, help="of one part")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    noise = Noise()
    figures: defaultdict[str, list[float]] = defaultdict(list)
    for _ in range(args.runs):
        noise.sample()
        with (
            tempfile.TemporaryDirectory(prefix="tmp-regions-", dir=Path.cwd()) as name,
            contextlib.ExitStack() as running,
        ):
            with on_core(0):
                near = running.enter_context(cluster(OURS))
            with on_core(1):
                far = running.enter_context(cluster(OTHER))
            root = Path(name)
            relay_of(root / "ours", OURS, near)
            source = relay_of(root / "source", OTHER, far)
            to = relay_of(root / "to", THIRD, None, source)
            fill(RelayDirectory.open(root / "source"))
            for one in ("ours", "source", "to"):
                with on_core(int(one != "ours")):
                    relay = run_relay(root / one)
                running.callback(relay.wait)
                running.callback(relay.terminate)
            with on_core(0), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                found = runner.run(measured(root, far, to, args.seconds))
        for part, waits in found.items():
            figures[f"{part}: appends"].append(len(waits))
            figures[f"{part}: p50, ms"].append(waits[len(waits) // 2])
            figures[f"{part}: p99, ms"].append(waits[int(0.99 * (len(waits) - 1))])
        print(
            {part: f"{figures[f'{part}: p99, ms'][-1]:.1f} ms" for part in found}, file=sys.stderr
        )
    for part in ("is cut off", "is moved"):
        figures[f"p99: {part} / rests"] = [
            one / rest
            for one, rest in zip(
                figures[f"{part}: p99, ms"], figures["rests: p99, ms"], strict=True
            )
        ]
    print(f"{noise}\n")
    rows = [
        (name, *(f"{value:,.2f}" for value in spread(values))) for name, values in figures.items()
    ]
    print(table(("the other region", "min", "median", "max"), rows))
    if args.json:
        args.json.write_text(json.dumps({"machine": noise.summary(), **figures}))


if __name__ == "__main__":
    main()
