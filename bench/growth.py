"""How a relay's figures grow with what it carries: bench/growth.py [--parts PARTS] [--json FILE].

Each part has one relay, and measures the same at several sizes of one thing:

- `drops`: appends and reads of random drops while a relay holds 10^4, 10^5, 10^6 drops (10^7 with
  `--most`, which takes 16 GB of disk and up to an hour or more), each with one cell;
- `cluster`: the same, for a relay on a cluster of three nodes on this machine (`--most-cluster`);
- `looks`: appends to random drops while a process on a cluster looks for what is due in an hour, in
  turns with the appends, as its writer does;
- `labels`: what a process on a cluster keeps of a bucket in memory, and how long it takes to read
  the bucket before its first append there, by the cells in it;
- `buckets`: appends to as many buckets, in turn;
- `readers`: processor time of a relay for one cell, by the people who follow its bucket;
- `processes`: the same on a cluster, if those people are at another process of the relay than the
  writer;
- `hop`: the same for both relays if those people ask through a hop: real clients, all requests
  sealed;
- `connections`: memory of idle connections with TLS that follow a bucket;
- `expiry`: cells erased in a second.

A ratio compares a size with the least one of the same run. `--json` also writes, as `capacity`, the
figures that `amanat capacity --figures FILE` takes.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import math
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import hop
import load
import servers
import uvloop
from machine import Noise, cpu_s, resident_kib, spread, table
from person import RECEIPTS_S
from rigs import Rig, answers, rig, rules_of

from amanat.capacity.inputs import inputs_of
from amanat.drill import process
from amanat.protocol import wire
from amanat.protocol.cells import LABEL_BYTES, MESSAGE_CELL
from amanat.protocol.drops import (
    HANDSHAKE_RETENTION_DAYS,
    Drop,
    derive_bucket,
    derive_drop,
    token_hash,
)
from amanat.relay.directory import RelayDirectory
from amanat.relay.drops import DAY_S

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from amanat.drill.relays import RelayProcess
    from amanat.relay.drops import Drops

PARTS = (
    "drops", "cluster", "looks", "labels", "buckets", "readers", "processes", "hop", "connections",
    "expiry",
)  # fmt: skip
LEAST_DROPS = 10_000
BATCH = 500
"""Drops of one commit while a relay is filled."""
SORTED = 1_000_000
"""Drops that are made in the order of their ids, as a page of the index of ids would else be
written for each of them. Loads draw drops by lot, so they do not notice."""
SAMPLE = 20_000
"""Drops, drawn by lot, to which a load appends, and others that it reads."""
WARM_S = 0.5
"""Seconds in which readers begin to follow."""
BUCKETS = (10, 100, 1_000, 10_000)
LABELLED = (100, 1_000, 5_000)
"""Cells in a bucket of the part `labels`, each in a message of its own, as they come in life."""
LABELLED_BUCKETS = 20
LOOK_BATCHES = 4
"""Batches of appends before each expiry, to compare those during it with."""
READERS = (1, 8, 32, 64, 128)
READERS_RATE, READERS_S = 50, 6.0
"""Cells a second, far below what a relay can do, so that no two leave together; and for how many
seconds."""
HOPPED = (2, 8)
HOPPED_TEXTS, HOPPED_PAUSE_S = 60, 0.25
IDLE = (1_000, 4_000, 10_000)
SETTLE_S = 3.0
"""Seconds after which memory is read."""
EXPIRING = {"embedded": 200_000, "cluster": 20_000}
EXPIRING_DROPS = 40
APPENDED, CELLS = 3, 4
"""Tags of the answers to an append and to a read."""
_REST = os.urandom(MESSAGE_CELL - LABEL_BYTES)

Figures = defaultdict[str, list[float]]


def apart(work: Callable[..., None], *args: object) -> None:
    """Do work in a process of its own, which gives its memory back."""
    worker = multiprocessing.get_context("spawn").Process(target=work, args=args)
    worker.start()
    worker.join()
    assert worker.exitcode == 0


def drop_at(number: int) -> Drop:
    """One of many drops."""
    return derive_drop(number.to_bytes(32, "big"), purpose=b"bench growth", region=servers.REGION)


def cell() -> bytes:
    """A new cell."""
    return os.urandom(LABEL_BYTES) + _REST


def append(number: int, drop: Drop) -> wire.Append:
    """A request to append a new cell."""
    return wire.Append(number, drop.drop_id, drop.append_token, cell())


def read(number: int, drop: Drop) -> wire.Read:
    """A request for everything in a drop."""
    return wire.Read(number, drop.drop_id, drop.read_token, 0, wire.MAX_CELLS, 0)


def fill(path: Path, first: int, last: int) -> None:
    """Make the drops from one number to another at a relay, with a cell each."""
    made = RelayDirectory.open(path)
    with rules_of(made) as drops:
        for begin in range(first, last, SORTED):
            some = range(begin, min(begin + SORTED, last))
            numbers = sorted(some, key=lambda number: drop_at(number).drop_id)
            for start in range(0, len(numbers), BATCH):
                batch: list[wire.Create | wire.Append] = []
                for number in numbers[start : start + BATCH]:
                    drop = drop_at(number)
                    create = wire.Create(
                        number,
                        made.bucket_key,
                        drop.drop_id,
                        token_hash(drop.drop_id, drop.append_token),
                        token_hash(drop.drop_id, drop.read_token),
                        HANDSHAKE_RETENTION_DAYS,
                    )
                    batch += [create, append(number, drop)]
                carry_out(drops, batch)


def carry_out(drops: Drops, batch: list[wire.Create | wire.Append]) -> None:
    """Make a batch durable, and see that nothing of it is refused."""
    replies = drops.carry_out(batch, now=time.time()).replies
    assert not any(isinstance(reply, wire.Failed | wire.Moved) for reply in replies), replies


# Parts


def grow_drops(figures: Figures, noise: Noise, store: str, most: int, options: Options) -> None:
    """Appends and reads while drops grow."""
    with rig(store) as relay:
        held, size = 0, LEAST_DROPS
        while size <= most:
            began = time.perf_counter()
            apart(fill, relay.made.path, held, size)
            took = time.perf_counter() - began
            print(f"{store}: {size:,} drops after {took:.0f} s", file=sys.stderr)
            figures[f"{store}, {size:,} drops: drops made/s"].append((size - held) / took)
            held = size
            os.sync()  # else the system would write the filled pages during the measurement
            figures[f"{store}, {size:,} drops: disk, bytes a drop"].append(
                relay.disk_bytes() / size
            )
            measure_drops(figures, noise, relay, size, options)
            size *= 10


def measure_drops(figures: Figures, noise: Noise, relay: Rig, size: int, options: Options) -> None:
    """Start the relay with so many drops, and load it."""
    of = f"{relay.kind}, {size:,} drops"
    with relay.running() as (server, start_s):
        figures[f"{of}: start, s"].append(start_s)
        figures[f"{of}: memory of the relay at start, MiB"].append(server.resident_kib() / 1024)
        if relay.nodes:
            figures[f"{of}: memory of a node, MiB"].append(relay.node_kib() / 1024)
        for number in range(options.runs):
            noise.sample()
            lots = random.Random(number)
            some = [drop_at(lots.randrange(size)) for _ in range(SAMPLE)]
            others = [drop_at(lots.randrange(size)) for _ in range(SAMPLE)]
            for what, drops, ask, tag in (
                ("appends", some, append, APPENDED),
                ("reads", others, read, CELLS),
            ):
                found = uvloop.run(answers(server, drops, ask, tag, options.seconds))
                figures[f"{of}: {what}/s"].append(found.rate)
                figures[f"{of}: µs of the relay for one of the {what}"].append(1e6 * found.cpu_s)
        figures[f"{of}: memory of the relay, MiB"].append(server.resident_kib() / 1024)
    if relay.nodes:
        relay.nodes.stop()
        relay.nodes.start()
        relay.nodes.wait()
        time.sleep(SETTLE_S)
        figures[f"{of}: memory of a node that has started again, MiB"].append(
            relay.node_kib() / 1024
        )


def grow_looks(figures: Figures, noise: Noise, options: Options) -> None:
    """Appends while the relay's process looks for what is due."""
    with rig("cluster") as relay:
        held, size = 0, LEAST_DROPS
        while size <= options.most_cluster:
            apart(fill, relay.made.path, held, size)
            held = size
            noise.sample()
            ours, theirs = multiprocessing.Pipe()
            apart(look, relay.made.path, size, options.runs, theirs)
            for name, value in ours.recv():
                figures[f"cluster, {size:,} drops: {name}"].append(value)
            size *= 10


def look(path: Path, size: int, runs: int, pipe: Connection) -> None:
    """Append by turns with the steps of each of some hours' expiries, the first of which comes
    right after the start. Tells figures by their names."""
    lots = random.Random(0)
    told = []
    with rules_of(RelayDirectory.open(path)) as drops:

        def append_some() -> float:
            began = time.perf_counter()
            carry_out(drops, [append(0, drop_at(lots.randrange(size))) for _ in range(BATCH)])
            return time.perf_counter() - began

        append_some()
        for hour in range(runs):
            alone = sum(append_some() for _ in range(LOOK_BATCHES))
            told.append(("appends/s", LOOK_BATCHES * BATCH / alone))
            began = last = time.perf_counter()
            batches, longest = 0, 0.0
            for _ in drops.expire(now=time.time() + 3600 * hour):
                longest = max(longest, time.perf_counter() - last)
                append_some()
                batches, last = batches + 1, time.perf_counter()
            longest = max(longest, time.perf_counter() - last)
            took = time.perf_counter() - began
            told += [
                ("appends/s during an expiry", batches * BATCH / took),
                ("longest step of an expiry, s", longest),
            ]
        pipe.send(told)


def grow_labels(figures: Figures, noise: Noise) -> None:
    """Memory and time that a process on a cluster takes for buckets."""
    with rig("cluster", buckets=LABELLED_BUCKETS) as relay:
        labelled = LABELLED_BUCKETS
        apart(fill_buckets, relay.made.path, 0)
        empty = relay.disk_bytes()
        for size in LABELLED:
            apart(fill_buckets, relay.made.path, size)
            noise.sample()
            ours, theirs = multiprocessing.Pipe()
            apart(load_buckets, relay.made.path, theirs)
            seconds, kib, labels = ours.recv()
            of = f"cluster, buckets of {size:,} cells"
            figures[f"{of}: seconds until the first append there"].append(seconds / (labelled - 1))
            figures[f"{of}: µs to read a cell"].append(1e6 * seconds / labels)
            figures[f"{of}: bytes of memory for a cell"].append(1024 * kib / labels)
            os.sync()
            figures[f"{of}: disk of a node, bytes a cell"].append(
                (relay.disk_bytes() - empty) / (labels * labelled / (labelled - 1))
            )


def buckets_of(made: RelayDirectory) -> list[Drop]:
    """All buckets of a relay."""
    return [
        derive_bucket(made.bucket_key, index, region=servers.REGION)
        for index in range(made.config.buckets)
    ]


def fill_buckets(path: Path, size: int) -> None:
    """Fill all buckets up to so many cells: each cell of a bucket in a commit of its own."""
    made = RelayDirectory.open(path)
    buckets = buckets_of(made)
    with rules_of(made) as drops:
        drops.open_buckets(len(buckets), now=time.time())
        for number in range(drops.head(buckets[0].drop_id), size):
            carry_out(drops, [append(number, bucket) for bucket in buckets])


def load_buckets(path: Path, pipe: Connection) -> None:
    """Append to each bucket in a process that knows none of them. Tells the seconds, the KiB of
    memory, and the cells in all but the first: its memory is not counted, because to read a bucket
    takes room that the next one uses again."""
    made = RelayDirectory.open(path)
    first, *buckets = buckets_of(made)
    with rules_of(made) as drops:
        carry_out(drops, [append(0, first)])
        before, began = resident_kib(os.getpid()), time.perf_counter()
        for bucket in buckets:
            carry_out(drops, [append(0, bucket)])
        took = time.perf_counter() - began
        labels = sum(drops.head(bucket.drop_id) for bucket in buckets)
        pipe.send((took, resident_kib(os.getpid()) - before, labels))


def grow_buckets(figures: Figures, noise: Noise, options: Options) -> None:
    """Appends to more and more buckets in turn."""
    for store, many in itertools.product(options.stores, BUCKETS):
        with rig(store, buckets=many) as relay, relay.running() as (server, _):
            for _ in range(options.runs):
                noise.sample()
                before = relay.nodes_cpu_s()
                found = uvloop.run(answers(server, server.drops, append, APPENDED, options.seconds))
                of = f"{store}, {many:,} buckets"
                figures[f"{of}: appends/s"].append(found.rate)
                figures[f"{of}: µs of the relay for an append"].append(1e6 * found.cpu_s)
                if relay.nodes:
                    spent = (relay.nodes_cpu_s() - before) / found.answered
                    figures[f"{of}: µs of all nodes for an append"].append(1e6 * spent)


def grow_readers(figures: Figures, noise: Noise, options: Options) -> None:
    """Processor time for one cell while readers grow."""
    with rig("embedded", tls="pinned") as relay, relay.running() as (server, _):
        for many, _ in itertools.product(READERS, range(options.runs)):
            noise.sample()
            spent = uvloop.run(follow_paced(server, many, server.port))
            figures[f"{many} readers: µs of the relay for a cell"].append(1e6 * spent)


def grow_readers_elsewhere(figures: Figures, noise: Noise, options: Options) -> None:
    """Processor time for one cell that came to another process, while readers grow."""
    with rig("cluster", tls="pinned") as relay, relay.running() as (writers, _):
        root = relay.root / "another"
        shutil.copytree(
            relay.made.path, root / "relay", ignore=shutil.ignore_patterns("roots.sqlite*", "lock")
        )
        settings = root / "relay" / "relay.toml"
        port = process.free_port()
        text = settings.read_text(encoding="utf-8")
        settings.write_text(
            text.replace(f"port = {writers.port}\n", f"port = {port}\n"), encoding="utf-8"
        )
        with servers.running("amanat", root, tls=True) as server:
            for many, _ in itertools.product(READERS[:-1], range(options.runs)):
                noise.sample()
                spent = uvloop.run(follow_paced(server, many, writers.port))
                figures[f"{many} readers elsewhere: µs of the relay for a cell"].append(1e6 * spent)


async def follow_paced(server: servers.Server, many: int, writers_port: int) -> float:
    """Seconds of a relay's processor time for each of some cells that come one by one, by way of a
    port, to so many readers."""
    plan = load.Plan("growth", server.port, tls=True, pairs=[], drops=[])
    [bucket] = server.drops
    got = [0] * many

    def counter(number: int) -> Callable[[bytes], None]:
        def count(data: bytes) -> None:
            got[number] += len(data)

        return count

    head = await head_of(plan, bucket)
    lines = []
    for number in range(many):
        line = await load.open_websocket(plan)
        lines.append(line)
        line.give_to(counter(number))
        request = wire.Follow(0, bucket.drop_id, bucket.read_token, head, load.UNBOUNDED)
        line.transport.write(load.websocket_frame(wire.encode(request)))
    writer = await load.open_websocket(plan._replace(port=writers_port))
    writer.give_to(lambda _: None)
    await asyncio.sleep(WARM_S)
    cells = int(READERS_RATE * READERS_S)
    before = server.cpu_s()
    for number in range(cells):
        writer.transport.write(load.websocket_frame(wire.encode(append(number, bucket))))
        await asyncio.sleep(1 / READERS_RATE)
    await asyncio.sleep(WARM_S)
    spent = server.cpu_s() - before
    assert min(got) >= cells * MESSAGE_CELL, got
    for line in (*lines, writer):
        line.transport.close()
    return spent / cells


async def head_of(plan: load.Plan, bucket: Drop) -> int:
    """The seq of a bucket's last cell."""
    line = await load.open_websocket(plan)
    told: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    line.give_to(told.set_result)
    request = wire.Read(0, bucket.drop_id, bucket.read_token, 2**52, 1, 0)
    line.transport.write(load.websocket_frame(wire.encode(request)))
    [payload], _ = load.split_frames(await told)
    line.transport.close()
    reply = wire.decode_reply(payload)
    assert isinstance(reply, wire.Cells), reply
    return reply.head


def grow_hopped(figures: Figures, noise: Noise) -> None:
    """Processor time of both relays for one text while its readers, all hopped, grow."""
    with (
        tempfile.TemporaryDirectory(dir=Path.cwd()) as name,
        hop.two_relays(Path(name)) as relays,
    ):
        for many in HOPPED:
            noise.sample()
            spent = uvloop.run(talk_hopped(Path(name) / str(many), relays, many))
            for who, seconds in zip(("home", "hop"), spent, strict=True):
                figures[f"{many} readers, hopped: µs of the {who} for a text"].append(1e6 * seconds)


async def talk_hopped(root: Path, relays: list[RelayProcess], many: int) -> list[float]:
    """Seconds of each relay's processor time for one text, among so many people in one bucket."""
    people = await hop.people(root, "hopped", [relay.address for relay in relays], many)
    await asyncio.sleep(RECEIPTS_S)
    speaker = people[0]
    gid = speaker.contact("person 1").conversation
    before = [cpu_s(relay.pid) for relay in relays]
    for number in range(HOPPED_TEXTS):
        speaker.chat(gid).send(f"text number {number}")
        await asyncio.sleep(HOPPED_PAUSE_S)
    await asyncio.sleep(RECEIPTS_S)
    spent = [cpu_s(relay.pid) - cpu for relay, cpu in zip(relays, before, strict=True)]
    for person in people:
        await person.close()
    return [seconds / HOPPED_TEXTS for seconds in spent]


def grow_connections(figures: Figures, noise: Noise) -> None:
    """Memory while idle connections grow."""
    for many in IDLE:
        with rig("embedded", buckets=20, tls="pinned") as relay, relay.running() as (server, _):
            noise.sample()
            time.sleep(SETTLE_S)
            before = server.resident_kib()
            plan = load.Plan("idle", server.port, server.tls, list(range(many)), server.drops)
            generators = load.Generators([plan])
            time.sleep(SETTLE_S)
            figures[f"{many:,} connections: KiB each"].append(
                (server.resident_kib() - before) / many
            )
            generators.run()


def grow_expired(figures: Figures, noise: Noise, options: Options) -> None:
    """Cells erased in a second, in the relay's own steps."""
    for store in options.stores:
        with rig(store) as relay:
            noise.sample()
            ours, theirs = multiprocessing.Pipe()
            apart(expire, relay.made.path, EXPIRING[store], theirs)
            figures[f"{store}: cells erased/s"].append(ours.recv())


def expire(path: Path, cells: int, pipe: Connection) -> None:
    """Fill some drops and expire them. Tells the cells a second."""
    fill(path, 0, EXPIRING_DROPS)
    some = [drop_at(number) for number in range(EXPIRING_DROPS)]
    with rules_of(RelayDirectory.open(path)) as drops:
        for number in range(cells // len(some)):
            carry_out(drops, [append(number, drop) for drop in some])
        later = time.time() + (HANDSHAKE_RETENTION_DAYS + 2) * DAY_S
        began = time.perf_counter()
        for _ in drops.expire(now=later):
            pass
        pipe.send(cells / (time.perf_counter() - began))


# Report


def report(figures: Figures, noise: Noise) -> None:
    """Print a table in Markdown, with each rate beside that of the least size."""
    print(f"{noise}\n")
    rows = []
    for name, values in figures.items():
        digits = 0 if spread(values)[1] >= 100 else 2
        of, _, what = name.partition(": ")
        first = next(
            (
                other
                for other in figures
                if other.partition(": ")[2] == what
                and other.partition(", ")[0] == name.partition(", ")[0]
                and of.split()[-1] == other.partition(": ")[0].split()[-1]
            ),
            name,
        )
        ratio = spread(values)[1] / spread(figures[first])[1]
        rows.append((name, *(f"{value:,.{digits}f}" for value in spread(values)), f"{ratio:.2f}"))
    print(table(("", "min", "median", "max", "to the least size"), rows))


def capacity(figures: Figures) -> dict[str, float]:
    """Inputs of the capacity model, as far as these figures tell them."""
    found: dict[str, float] = {}

    def middle(name: str) -> float:
        return spread(figures[name])[1] if name in figures else math.nan

    def slope(name: str, low: int, high: int) -> float:
        """The increase of a figure with one more of something, between two sizes."""
        ends = [middle(name.format(f"{size:,}")) for size in (low, high)]
        return (ends[1] - ends[0]) / (high - low)

    most_drops = LEAST_DROPS
    while f"cluster, {10 * most_drops:,} drops: start, s" in figures:
        most_drops *= 10
    buckets = f"{BUCKETS[-1]:,} buckets"
    labelled = f"cluster, buckets of {LABELLED[-1]:,} cells"
    of_node = "cluster, {} drops: memory of a node that has started again, MiB"
    node_drop = (
        2**20 * slope(of_node, LEAST_DROPS, most_drops) if most_drops > LEAST_DROPS else math.nan
    )
    for name, value in {
        "append_us": middle(f"embedded, {buckets}: µs of the relay for an append"),
        "cluster_append_us": middle(f"cluster, {buckets}: µs of the relay for an append"),
        "node_append_us": middle(f"cluster, {buckets}: µs of all nodes for an append"),
        "cluster_appends_per_s": middle(f"cluster, {buckets}: appends/s"),
        "deliver_us": slope("{} readers: µs of the relay for a cell", READERS[0], READERS[-1]),
        # A process reads a cell once, for all who follow its bucket there.
        "read_us": middle("1 readers elsewhere: µs of the relay for a cell")
        - middle("1 readers: µs of the relay for a cell"),
        # A text brings two cells: itself, and its receipt.
        "home_us": slope("{} readers, hopped: µs of the home for a text", *HOPPED) / 2,
        "hop_us": slope("{} readers, hopped: µs of the hop for a text", *HOPPED) / 2,
        "connection_kib": middle(f"{IDLE[-1]:,} connections: KiB each"),
        "connections_per_process": float(IDLE[-1])
        if f"{IDLE[-1]:,} connections: KiB each" in figures
        else math.nan,
        "process_mib": middle(
            f"embedded, {LEAST_DROPS:,} drops: memory of the relay at start, MiB"
        ),
        "label_bytes": middle(f"{labelled}: bytes of memory for a cell"),
        "learn_us": middle(f"{labelled}: µs to read a cell"),
        "cluster_cell_disk_bytes": middle(f"{labelled}: disk of a node, bytes a cell"),
        "node_drop_bytes": node_drop,
        "node_mib": middle(of_node.format(f"{LEAST_DROPS:,}")) - LEAST_DROPS * node_drop / 2**20,
        "scan_us": 1e6 * slope("cluster, {} drops: start, s", LEAST_DROPS, most_drops)
        if most_drops > LEAST_DROPS
        else math.nan,
        "erased_per_s": middle("embedded: cells erased/s"),
        "cluster_erased_per_s": middle("cluster: cells erased/s"),
    }.items():
        if not math.isnan(value):
            found[name] = round(value, 3)
    inputs_of(found)  # the model knows all of them, by these names
    return found


class Options(argparse.Namespace):
    """The options of a run."""

    parts: str
    runs: int
    seconds: float
    most: int
    most_cluster: int
    json: Path | None

    @property
    def stores(self) -> tuple[str, ...]:
        """The stores of parts that measure both."""
        return ("embedded", "cluster") if self.most_cluster else ("embedded",)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", default=",".join(PARTS), help="those to measure")
    parser.add_argument("--runs", type=int, default=3, help="of each load")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each load")
    parser.add_argument("--most", type=int, default=1_000_000, help="drops, embedded")
    parser.add_argument("--most-cluster", type=int, default=100_000, help="drops, on a cluster")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(namespace=Options())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # so that the relay ends too
    figures: Figures = defaultdict(list)
    noise = Noise()
    parts: dict[str, Callable[[], None]] = {
        "drops": lambda: grow_drops(figures, noise, "embedded", options.most, options),
        "cluster": lambda: grow_drops(figures, noise, "cluster", options.most_cluster, options),
        "looks": lambda: grow_looks(figures, noise, options),
        "labels": lambda: grow_labels(figures, noise),
        "buckets": lambda: grow_buckets(figures, noise, options),
        "readers": lambda: grow_readers(figures, noise, options),
        "processes": lambda: grow_readers_elsewhere(figures, noise, options),
        "hop": lambda: grow_hopped(figures, noise),
        "connections": lambda: grow_connections(figures, noise),
        "expiry": lambda: grow_expired(figures, noise, options),
    }
    for part in options.parts.split(","):
        parts[part]()
        if options.json:
            told = {"machine": noise.summary(), "figures": figures, "capacity": capacity(figures)}
            options.json.write_text(json.dumps(told))
    report(figures, noise)


if __name__ == "__main__":
    main()
