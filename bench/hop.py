"""The cost of a hop and of cover: bench/hop.py [--runs N] [--covered] [--json FILE].

There are two relay processes with TLS, each the hop of the other, and real clients. Direct and
hopped take turns in one run: one message at a time, from `send` until the other client has it in
its transcript; then the bytes on a person's line, all counted between the clients and both relays,
and the same for a day of 60 messages in a bucket of 32 people. Cover takes longer: with --covered,
two people for each period write at random times for a quarter of an hour, and nothing else is
measured.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import random
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop
from machine import Noise, spread, table
from person import MESSAGES, NEIGHBOURS, PEOPLE, RECEIPTS_S, arrivals, meet, metered, one_at_a_time

from amanat.drill.relays import RelayProcess
from amanat.protocol.rounds import PERIODS_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from amanat.client.sdk.client import Client

Figures = defaultdict[str, list[float]]
COVERED_S = 900.0
"""How long covered people talk, in seconds: some fifteen words."""
IDLE_S = 370.0
"""Seconds of silence whose bytes are counted: two waits of a chain of Reads."""


@contextlib.contextmanager
def two_relays(root: Path) -> Iterator[list[RelayProcess]]:
    """Two relays of two operators, each the hop of the other, while they run."""
    relays = [RelayProcess(root / name, people=2) for name in ("one", "another")]
    for relay, other in zip(relays, reversed(relays), strict=True):
        relay.hop_to(other)
    try:
        for relay in relays:
            relay.run()
        yield relays
    finally:
        for relay in relays:
            relay.kill()


async def people(root: Path, how: str, addresses: list[str], many: int) -> list[Client]:
    """People at home on the first relay, asking it directly or through the second."""
    found = await meet(root, addresses[0], many, fallback=addresses[1])
    for person in found:
        if how == "direct":
            await person.hopping.set_hop("off")
        if person.status().transport != how:
            raise AssertionError(person.status())
    return found


async def talk(figures: Figures, root: Path, how: str, addresses: list[str]) -> None:
    alice, bob = await people(root, how, addresses, 2)
    p50, p99 = await one_at_a_time(alice, bob)
    figures[f"{how}: one message, p50, ms"].append(p50)
    figures[f"{how}: one message, p99, ms"].append(p99)


async def count_bytes(figures: Figures, root: Path, how: str, addresses: list[str]) -> None:
    async with metered(addresses[0]) as (first, home), metered(addresses[1]) as (second, fallback):
        found = await people(root, how, [home, fallback], NEIGHBOURS)

        def line() -> tuple[int, int]:
            return first.up + second.up, first.down + second.down

        await asyncio.sleep(RECEIPTS_S)
        idle = line()
        await asyncio.sleep(IDLE_S)
        silent = [(b - a) / NEIGHBOURS * 86_400 / IDLE_S for a, b in zip(idle, line(), strict=True)]
        before, sent = line(), 0
        for a, b in itertools.combinations(range(NEIGHBOURS), 2):
            sender = found[a]
            gid = sender.contact(f"person {b}").conversation
            sender.chat(gid).send("What a person says to another, of usual length.")
            sent += 1
            await asyncio.sleep(1.0)
        await asyncio.sleep(RECEIPTS_S)
        seconds = sent + RECEIPTS_S
        moved = [(b - a) / NEIGHBOURS for a, b in zip(before, line(), strict=True)]
        of_talk = [
            all_ - idle_ * seconds / 86_400 for all_, idle_ in zip(moved, silent, strict=True)
        ]
        up, down = of_talk[0] * NEIGHBOURS / sent, of_talk[1] / sent
        figures[f"{how}: silence, MiB down a day"].append(silent[1] / 2**20)
        figures[f"{how}: bytes down for a message of the bucket"].append(down)
        figures[f"{how}: MiB down a person a day"].append(
            (PEOPLE * MESSAGES * down + silent[1]) / 2**20
        )
        figures[f"{how}: MiB up a person a day"].append((MESSAGES * up + silent[0]) / 2**20)
        for client in found:
            await client.close()


async def covered(figures: Figures, root: Path, period_s: int, addresses: list[str]) -> None:
    """Measure words at random times, and the bytes on the lines of two people meanwhile."""
    async with metered(addresses[0]) as (first, home), metered(addresses[1]) as (second, fallback):
        alice, bob = await people(root, "hopped", [home, fallback], 2)
        await asyncio.sleep(RECEIPTS_S)
        for person in (alice, bob):
            await person.hopping.set_cover(period_s)
        await asyncio.sleep(2 * period_s)
        gid, texts = alice.contacts()[0].conversation, arrivals(bob)
        began, up, down = time.monotonic(), first.up + second.up, first.down + second.down
        while time.monotonic() - began < COVERED_S:
            await asyncio.sleep(random.uniform(0, period_s))
            said = time.monotonic()
            alice.chat(gid).send("What a person says to another, of usual length.")
            await anext(texts)
            figures[f"covered, {period_s} s: one word, s"].append(time.monotonic() - said)
        days = 2 * (time.monotonic() - began) / 86_400
        up, down = first.up + second.up - up, first.down + second.down - down
        figures[f"covered, {period_s} s: MiB up a person a day"].append(up / days / 2**20)
        figures[f"covered, {period_s} s: MiB down a person a day"].append(down / days / 2**20)
        cost = alice.hopping.cover_cost()
        figures[f"covered, {period_s} s: MiB up, as `cover` says"].append(cost.up_bytes / 2**20)
        figures[f"covered, {period_s} s: MiB down, as `cover` says"].append(cost.down_bytes / 2**20)
        for person in (alice, bob):
            await person.close()


async def all_covered(figures: Figures, root: Path, addresses: list[str]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for period_s in PERIODS_S:
            tasks.create_task(covered(figures, root / f"covered {period_s}", period_s, addresses))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--no-bytes", action="store_true", help="how long it takes only")
    parser.add_argument("--covered", action="store_true", help="cover, and nothing else")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    figures: Figures = defaultdict(list)
    noise = Noise()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        root = Path(name)
        with two_relays(root) as relays:
            addresses = [relay.address for relay in relays]
            if options.covered:
                noise.sample()
                uvloop.run(all_covered(figures, root, addresses))
            for number in () if options.covered else range(options.runs):
                for how in ("direct", "hopped"):
                    noise.sample()
                    uvloop.run(talk(figures, root / f"{how} {number}", how, addresses))
            for how in () if options.no_bytes or options.covered else ("direct", "hopped"):
                uvloop.run(count_bytes(figures, root / f"{how} bytes", how, addresses))
    if not options.covered:
        figures["a hop adds, p50, ms"] = [
            hopped - direct
            for direct, hopped in zip(
                figures["direct: one message, p50, ms"],
                figures["hopped: one message, p50, ms"],
                strict=True,
            )
        ]
    print(f"{noise}\n")
    rows = [(name, *(f"{v:,.2f}" for v in spread(values))) for name, values in figures.items()]
    print(table(("", "min", "median", "max"), rows))
    if options.json:
        options.json.write_text(json.dumps({"machine": noise.summary(), "figures": figures}))


if __name__ == "__main__":
    main()
