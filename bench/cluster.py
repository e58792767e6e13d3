"""How much of a cluster's rate a relay passes on: bench/cluster.py [--seconds S] [--runs N].

Three nodes, a relay and everybody else are processes of one machine. `bare`: a lean client appends
1 KiB messages to one stream of three replicas, as many at once as a relay has under way, and waits
for the engine's acknowledgements. `relay`: the same cells as appends to one bucket, or to ten, by
way of a relay process. Both acknowledge after two nodes have synced. `two processes`: appends to a
hundred buckets that nobody reads, by way of one process, of two to which appends for each bucket
come by turns, and of two that have half of the buckets each; a *core* is a second of the processor
time of these processes together.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import nats
import uvloop
from machine import Noise, spread, table
from relay import REGION, SENDERS, WINDOW, measured

from amanat.config import ClusterConfig, RelayConfig, RelayLimits
from amanat.errors import AmanatError
from amanat.protocol.cells import MESSAGE_CELL
from amanat.relay.cluster.engine import Engine
from amanat.relay.cluster.nodes import LocalCluster
from amanat.relay.directory import RelayDirectory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nats.aio.msg import Msg

SHARED = "a hundred buckets"
"""The load that two processes share, too."""
SCENARIOS = {"one bucket": (1, 1), "ten buckets": (10, 1), SHARED: (100, 0)}
"""Buckets, and the readers of each."""
TWO = {f"{SHARED}, two processes": False, f"{SHARED}, half at each of two processes": True}
"""Whether the buckets are divided between the two."""
START_TRIES = 100


@contextlib.contextmanager
def cluster(region: str = REGION) -> Iterator[LocalCluster]:
    """A fresh cluster of a region."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
        nodes = LocalCluster(Path(directory), region=region)
        nodes.start()
        try:
            for _ in range(START_TRIES):
                with contextlib.suppress(AmanatError, OSError), contextlib.closing(engine(nodes)):
                    break
                time.sleep(0.1)
            yield nodes
        finally:
            nodes.stop()


class Rest(TypedDict):
    """The settings by which a relay's drops rest on a cluster."""

    store: str
    cluster: ClusterConfig


def rest_on(nodes: LocalCluster, login: Path) -> Rest:
    """Settings for a relay on a cluster; writes the file with its login."""
    login.write_text(f"relay\n{nodes.password}\n")
    places = ",".join(one.removeprefix("nats://") for one in nodes.servers)
    return {"store": f"nats://{places}", "cluster": ClusterConfig(login=str(login))}


def engine(nodes: LocalCluster) -> Engine:
    """A connection to a cluster."""
    opened = Engine(nodes.servers, nodes.region, user="relay", password=nodes.password)
    opened.api("INFO")
    return opened


async def bare(nodes: LocalCluster, seconds: float) -> float:
    """Messages a second of a client that does nothing else."""
    client = await nats.connect(nodes.servers, user="relay", password=nodes.password)
    stream = {
        "name": "bare",
        "subjects": ["bare.>"],
        "storage": "file",
        "num_replicas": 3,
        "discard": "new",
        "allow_direct": True,
    }
    for _ in range(START_TRIES):
        answer = await client.request(
            f"$JS.{REGION}.API.STREAM.CREATE.bare", json.dumps(stream).encode(), timeout=5
        )
        if b'"error"' not in answer.data:
            break
        await asyncio.sleep(0.1)
    inbox, body, until = client.new_inbox(), os.urandom(MESSAGE_CELL), 0.0
    answered, under_way, drained = 0, 0, asyncio.Event()

    async def hear(message: Msg) -> None:
        nonlocal answered, under_way
        assert b'"error"' not in message.data
        answered += 1
        under_way -= 1
        if time.perf_counter() < until:
            await client.publish("bare.x", body, reply=inbox)
            under_way += 1
        elif not under_way:
            drained.set()

    await client.subscribe(inbox, cb=hear, pending_msgs_limit=-1, pending_bytes_limit=-1)
    began = time.perf_counter()
    until = began + seconds
    under_way = SENDERS * WINDOW
    for _ in range(under_way):
        await client.publish("bare.x", body, reply=inbox)
    await drained.wait()
    rate = answered / (time.perf_counter() - began)
    await client.close()
    return rate


def relayed(
    nodes: LocalCluster,
    scenario: str,
    seconds: float,
    *,
    processes: int = 1,
    is_divided: bool = False,
) -> tuple[float, float]:
    """(appends a second by way of a relay, seconds of processor time of its processes for each)."""
    buckets, readers = SCENARIOS[scenario]
    made = RelayDirectory.create(
        nodes.directory / "relay",
        RelayConfig(
            region=REGION,
            operator="bench",
            host="127.0.0.1",
            port=0,
            tls="off",
            buckets=buckets,
            **rest_on(nodes, nodes.directory / "login"),
            limits=RelayLimits(cells_per_drop=10_000_000, bytes_per_drop=2**40),
        ),
    )
    twins = [nodes.directory / f"relay {number}" for number in range(1, processes)]
    for twin in twins:
        shutil.copytree(made.path, twin, ignore=shutil.ignore_patterns("roots.sqlite*", "lock"))
    return measured(
        made,
        *map(RelayDirectory.open, twins),
        readers=readers,
        seconds=seconds,
        is_divided=is_divided,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=4.0, help="of one run")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    noise = Noise()
    rates: defaultdict[str, list[float]] = defaultdict(list)
    costs: defaultdict[str, list[float]] = defaultdict(list)
    for _ in range(args.runs):
        noise.sample()
        with cluster() as nodes, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            rates["bare"].append(runner.run(bare(nodes, args.seconds)))
        for name in SCENARIOS:
            with cluster() as nodes:
                rate, cost = relayed(nodes, name, args.seconds)
            rates[name].append(rate)
            costs[name].append(1e6 * cost)
        for name, is_divided in TWO.items():
            with cluster() as nodes:
                rate, cost = relayed(
                    nodes, SHARED, args.seconds, processes=2, is_divided=is_divided
                )
            rates[name].append(rate)
            costs[name].append(1e6 * cost)
    print(f"{noise}\n")
    rows = [(name, *(f"{rate:,.0f}" for rate in spread(found))) for name, found in rates.items()]
    for name in costs:
        ratios = [b / a for a, b in zip(rates["bare"], rates[name], strict=True)]
        rows.append((f"{name} / bare", *(f"{ratio:.2f}" for ratio in spread(ratios))))
        rows.append((f"{name}, µs of the relay", *(f"{one:.0f}" for one in spread(costs[name]))))
    for name in TWO:
        cores = [one / two for one, two in zip(costs[SHARED], costs[name], strict=True)]
        rows.append((f"appends a core, {name} / one", *(f"{ratio:.2f}" for ratio in spread(cores))))
    print(table(("durable appends a second", "min", "median", "max"), rows))
    if args.json:
        args.json.write_text(json.dumps({"machine": noise.summary(), "appends_per_s": rates}))


if __name__ == "__main__":
    main()
