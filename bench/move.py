"""How fast a relay's drops move, and for how long each is closed: bench/move.py [--cells N].

There are a source of many drops, a destination, the mover between them, and people. All the while
the people write to drops of the source, and as much to the destination's own: ten times as much,
unless told otherwise, as would fill the source in its 14 days. Afterwards all acknowledged cells
are read from the destination, where each must be once. For comparison, the same run times `cp` of
the source's files and `sqlite3 .backup`, both until the bytes are on disk.

It takes 4 KB of disk for each cell: 20 GB for five million.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import uvloop
from machine import Noise, table

from amanat.config import MovingConfig, RelayConfig, RelayLimits
from amanat.drill import process
from amanat.errors import DropMoved, Unavailable
from amanat.link import Link, connect
from amanat.protocol import wire
from amanat.protocol.cells import LABEL_BYTES, MESSAGE_CELL
from amanat.protocol.descriptor import NamedAddress, parse_address
from amanat.protocol.drops import MESSAGE_RETENTION_DAYS, Drop, derive_drop, token_hash
from amanat.protocol.moving import open_order
from amanat.region import notice
from amanat.region.mover import Done, Mover
from amanat.relay.directory import RelayDirectory
from amanat.relay.drops import Drops
from amanat.relay.store import SqliteStore

SOURCE_REGION, REGION = "IR", "DE"
BATCH = 5000
"""Cells of one commit while the source is filled."""
PEOPLE = 20
"""People who write at each relay."""
LOAD = 10
"""Rate of writes at each relay, as a multiple of the rate that would fill the source in 14 days."""
_REST = os.urandom(MESSAGE_CELL - LABEL_BYTES)


def make(number: int, region: str) -> Drop:
    """A drop of a relay."""
    return derive_drop(number.to_bytes(32, "big"), purpose=b"bench", region=region)


def create(drop: Drop, access: bytes) -> wire.Create:
    """A request to create a drop."""
    return wire.Create(
        0,
        access,
        drop.drop_id,
        token_hash(drop.drop_id, drop.append_token),
        token_hash(drop.drop_id, drop.read_token),
        MESSAGE_RETENTION_DAYS,
    )


def append(drop: Drop) -> wire.Append:
    """A request to append a new cell."""
    return wire.Append(0, drop.drop_id, drop.append_token, os.urandom(LABEL_BYTES) + _REST)


def set_up(directory: Path, region: str, drops: int, cells: int, sources: tuple[str, ...]) -> str:
    """A relay that holds so many drops and cells: its address."""
    limits = RelayLimits(bytes_total=2**40, drops=2**22)
    made = RelayDirectory.create(
        directory,
        RelayConfig(
            region=region,
            operator="bench",
            host="127.0.0.1",
            port=process.free_port(),
            limits=limits,
            moving=MovingConfig(sources=sources),
        ),
    )
    with contextlib.closing(SqliteStore(directory)) as store:
        rules = Drops(store, region=region, bucket_key=made.bucket_key, limits=limits)
        now, rng = time.time(), random.Random(1)
        batch: list[wire.Create | wire.Append] = []
        for number in range(drops):
            drop = make(number, region)
            share = rng.randrange(2 * cells // drops + 1)
            batch += [create(drop, made.bucket_key), *(append(drop) for _ in range(share))]
            if len(batch) >= BATCH or number == drops - 1:
                rules.write(batch, now=now)
                rules.commit()
                batch = []
    return str(made.address(made.config.port))


def copy_s(source: Path, target: Path) -> tuple[float, float]:
    """Seconds that `cp` and `sqlite3 .backup` of the source take, until it is on disk."""
    target.mkdir()
    subprocess.run(["sync"], check=True)
    seconds = []
    for name, commands in (
        ("copy", [["cp", str(source / "drops.sqlite"), str(source / "keys.sqlite"), str(target)]]),
        (
            "backup",
            [
                ["sqlite3", str(source / f"{one}.sqlite"), f".backup {target / one}.backup"]
                for one in ("drops", "keys")
            ],
        ),
    ):
        began = time.monotonic()
        for command in commands:
            subprocess.run(command, check=True)
        subprocess.run(["sync", "-f", str(target)], check=True)
        seconds.append(time.monotonic() - began)
        print(f"{name}: {seconds[-1]:.1f} s", file=sys.stderr)
    shutil.rmtree(target)
    return seconds[0], seconds[1]


class Writer:
    """A person who writes now and then to drops of a relay, wherever these are now."""

    def __init__(self, address: str, drops: list[Drop], every_s: float) -> None:
        self.waits_ms: list[float] = []
        self.told: dict[Drop, list[bytes]] = {}
        self._drops = drops
        self._links: dict[str, Link] = {}
        self._address = address
        self._every_s = every_s
        self._rng = random.Random(drops[0].drop_id)

    async def connect(self, *addresses: str) -> None:
        """Be ready to write there."""
        for address in addresses:
            await self._link(address)

    async def write(self, stop: asyncio.Event) -> None:
        """Until told to stop."""
        while not stop.is_set():
            drop = self._rng.choice(self._drops)
            request = append(drop)
            began = time.perf_counter()
            await self._bring(request)
            self.waits_ms.append(1000 * (time.perf_counter() - began))
            self.told.setdefault(drop, []).append(request.cell)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._rng.uniform(0, 2 * self._every_s))

    async def _bring(self, request: wire.Append) -> None:
        to = self._address
        while True:
            try:
                await (await self._link(to)).request(request, wire.Appended)
            except DropMoved as moved:
                there = open_order(moved.order).to
                to = str(NamedAddress.of(there.key, *there.places))
            except Unavailable:
                await asyncio.sleep(0.02)
            else:
                return

    async def _link(self, address: str) -> Link:
        if address not in self._links or not self._links[address].is_open:
            self._links[address] = await connect(parse_address(address))
        return self._links[address]

    async def check(self, address: str) -> tuple[int, int]:
        """(acknowledged cells that a relay lacks, cells that it has twice)."""
        lost = doubled = 0
        link = await self._link(address)
        for drop, cells in self.told.items():
            found: list[bytes] = []
            head = 1
            while len(found) < head:
                page = await link.request(
                    wire.Read(0, drop.drop_id, drop.read_token, len(found), 900, 0), wire.Cells
                )
                found, head = found + page.cells, page.head
            lost += len(set(cells) - set(found))
            doubled += len(found) - len(set(found))
        for link in self._links.values():
            link.close()
        return lost, doubled


def run_relay(directory: Path) -> subprocess.Popen[str]:
    """A relay's process, when it listens."""
    relay = subprocess.Popen(
        [sys.executable, "-m", "amanat", "--json", "relay", "run", str(directory)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert relay.stdout is not None
    relay.stdout.readline()
    return relay


async def people(pipe: Connection, source: str, to: str, drops: int, rate: float) -> None:
    """Write so many cells a second at each relay until the pipe says anything. Then report the
    times of those at the source and at the destination, and the cells lost and doubled."""
    rng = random.Random(2)
    stop = asyncio.Event()
    writers = [
        Writer(
            address,
            [
                make(rng.randrange(drops if region == SOURCE_REGION else 100), region)
                for _ in range(200)
            ],
            PEOPLE / rate,
        )
        for address, region in ((source, SOURCE_REGION), (to, REGION))
        for _ in range(PEOPLE)
    ]
    for one in writers:
        await one.connect(source, to)
    told = asyncio.get_running_loop().run_in_executor(None, pipe.recv)
    told.add_done_callback(lambda _: stop.set())
    pipe.send("ready")
    await asyncio.gather(*(one.write(stop) for one in writers))
    checks = [await one.check(to) for one in writers]
    pipe.send(
        (
            [
                [wait for one in some for wait in one.waits_ms]
                for some in (writers[:PEOPLE], writers[PEOPLE:])
            ],
            sum(lost for lost, _ in checks),
            sum(doubled for _, doubled in checks),
        )
    )


def write(pipe: Connection, source: str, to: str, drops: int, rate: float) -> None:
    """`people` as a process."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(people(pipe, source, to, drops, rate))


@contextlib.contextmanager
def writing(
    source: str, to: str, drops: int, rate: float
) -> Iterator[Callable[[], dict[str, object]]]:
    """`people` in a process of its own; call what this gives to end it and hear how they fared."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=write, args=(theirs, source, to, drops, rate)
    )
    process.start()
    theirs.close()  # so that ours ends with the process
    ours.recv()

    def ask() -> dict[str, object]:
        ours.send("")
        waits, lost, doubled = ours.recv()
        found: dict[str, object] = {"lost": lost, "doubled": doubled}
        for name, some in zip(("source", "destination"), waits, strict=True):
            sorted_ms = sorted(some) or [0.0]
            found |= {
                f"{name}_writes": len(some),
                f"{name}_p50_ms": sorted_ms[len(sorted_ms) // 2],
                f"{name}_p99_ms": sorted_ms[int(0.99 * (len(sorted_ms) - 1))],
                f"{name}_max_ms": sorted_ms[-1],
            }
        return found

    try:
        yield ask
    finally:
        process.terminate()
        process.join()


async def move(root: Path, to: str) -> dict[str, object]:
    """Move everything."""
    phases: dict[str, float] = {}

    def progress(done: Done) -> None:
        phases.setdefault(done.phase, time.monotonic())

    today = int(time.time() // notice.DAY_S)
    told = (today - notice.LEAST_DAYS) * notice.DAY_S
    await notice.announce(root / "source", parse_address(to), on=today, reason="", now=told)
    mover = Mover(root / "source", clock=time.time, progress=progress)
    began = time.monotonic()
    report = await mover.move(parse_address(to), is_resumed=False)
    ended = time.monotonic()
    mover.close()
    marks = [began, *sorted(phases.values())[1:], ended]
    return {
        **report._asdict(),
        "copy_s": marks[1] - marks[0],
        "switch_s": marks[2] - marks[1],
        "erase_s": marks[-1] - marks[2],
    }


def main() -> None:
    """Move a relay and print how it went."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--drops", type=int, default=20_000)
    parser.add_argument("--cells", type=int, default=1_000_000)
    parser.add_argument("--load", type=float, default=LOAD, help="0: nobody writes meanwhile")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    noise = Noise()
    noise.sample()
    relays: list[subprocess.Popen[str]] = []
    with tempfile.TemporaryDirectory(prefix="tmp-move-", dir=Path(__file__).parent) as name:
        root = Path(name)
        source = set_up(root / "source", SOURCE_REGION, args.drops, args.cells, ())
        to = set_up(root / "destination", REGION, 100, 100, (source,))
        copied, backed_up = copy_s(root / "source", root / "copy")
        try:
            relays += [run_relay(root / "source"), run_relay(root / "destination")]
            rate = args.load * args.cells / (MESSAGE_RETENTION_DAYS * notice.DAY_S)
            with (
                writing(source, to, args.drops, rate) if rate else contextlib.nullcontext(dict)
            ) as ask_people:
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    found = runner.run(move(root, to))
                found |= ask_people()
        finally:
            for relay in relays:
                relay.terminate()
                relay.wait()
    noise.sample()
    found |= {"cp_s": copied, "backup_s": backed_up}
    moving = float(str(found["copy_s"])) + float(str(found["switch_s"]))
    found["rate"] = (copied + backed_up) / moving
    if args.json:
        print(json.dumps(found | {"machine": noise.summary()}))
        return
    print(
        table(
            ["", ""],
            [
                (key, f"{value:.3g}" if isinstance(value, float) else str(value))
                for key, value in found.items()
            ],
        )
    )
    print(noise)


if __name__ == "__main__":
    main()
