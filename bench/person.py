"""Person to person on one machine: bench/person.py [--runs N] [--parts PARTS] [--json FILE].

There are real clients with real vaults and a real relay process with TLS. First comes one message
at a time, from `send` until the other client has it in its transcript. Then, with the two people in
a process each, come as many as one sender can get through, and a fixed rate for some time. Then a
person who was away reads the messages that came meanwhile. Last come a person's downloads and
uploads, counted between client and relay. Lags count from when a message was due to be sent.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import multiprocessing
import statistics
import tempfile
import time
from collections import defaultdict
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop
from machine import Noise, spread, table

from amanat.client.events import TextArrived
from amanat.client.sdk.client import Client
from amanat.client.vault import Unlock
from amanat.drill.relays import RelayProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from multiprocessing.connection import Connection

SINGLE = 200
"""Messages sent one at a time, in each run."""
BURST = 2000
"""Messages sent as fast as they go, in each run."""
RATE = 500
"""Messages a second of the fixed rate."""
QUEUED = 5000
"""Messages that wait for the person who was away."""
NEIGHBOURS = 6
"""People whose traffic is counted; all have the same bucket."""
PEOPLE = 32
"""People of one bucket, and ..."""
MESSAGES = 60
"""... messages that each sends a day."""
RECEIPTS_S = 65.0
"""Seconds after which every receipt has been sent: they wait for up to a minute."""
UNLOCK = Unlock(key=bytes(32))

Figures = defaultdict[str, list[float]]


async def meet(root: Path, relay: str, people: int = 2, fallback: str = "") -> list[Client]:
    """People who all know each other."""
    clients = [
        await Client.create(
            root / str(n), UNLOCK, name=f"person {n}", relay=relay, fallback=fallback
        )
        for n in range(people)
    ]
    for client in clients:
        client.start()
    for a, b in itertools.combinations(clients, 2):
        b.accept(a.invite())
    for client in clients:
        while len(client.contacts()) < people - 1:
            await client.changed()
    return clients


def arrivals(client: Client) -> AsyncIterator[TextArrived]:
    """The texts that reach a client from now on."""
    events = client.events()
    return (event async for event in events if isinstance(event, TextArrived))


async def one_at_a_time(alice: Client, bob: Client) -> tuple[float, float]:
    """(p50, p99) in milliseconds, from `send` to the other's transcript; both are closed then."""
    gid = alice.contacts()[0].conversation
    texts = arrivals(bob)
    waits = []
    for number in range(SINGLE):
        began = time.perf_counter()
        alice.chat(gid).send(f"message number {number}")
        await anext(texts)
        waits.append(1000 * (time.perf_counter() - began))
    await alice.close()
    await bob.close()
    waits.sort()
    return statistics.median(waits), waits[int(0.99 * len(waits))]


async def talk(figures: Figures, root: Path, relay: str) -> None:
    """One message at a time."""
    alice, bob = await meet(root, relay)
    p50, p99 = await one_at_a_time(alice, bob)
    figures["one message, p50, ms"].append(p50)
    figures["one message, p99, ms"].append(p99)


def listen(directory: Path, pipe: Connection) -> None:
    """The process of a reader: it gets the number of texts to expect, and says when each came."""

    async def read() -> None:
        async with Client.open(directory, UNLOCK) as client:
            await client.caught_up()
            texts = arrivals(client)
            pipe.send(None)
            loop = asyncio.get_running_loop()
            while count := await loop.run_in_executor(None, pipe.recv):
                pipe.send([(await anext(texts)) and time.perf_counter() for _ in range(count)])

    uvloop.run(read())


async def send_fast(figures: Figures, root: Path, relay: str, seconds: float) -> None:
    """A burst, then a fixed rate; the two people are two processes, as in life."""
    alice, bob = await meet(root, relay)
    gid = alice.contacts()[0].conversation
    await bob.close()
    pipe, theirs = multiprocessing.Pipe()
    listener = multiprocessing.get_context("spawn").Process(
        target=listen, args=(root / "1", theirs)
    )
    listener.start()
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, pipe.recv)

    pipe.send(BURST)
    began = time.perf_counter()
    for number in range(BURST):
        alice.chat(gid).send(f"burst number {number}")
        await asyncio.sleep(0)
    came = await loop.run_in_executor(None, pipe.recv)
    figures["burst of one sender, messages/s"].append(BURST / (came[-1] - began))

    total = int(RATE * seconds)
    pipe.send(total)
    began = time.perf_counter()
    for number in range(total):
        await asyncio.sleep(max(0, began + number / RATE - time.perf_counter()))
        alice.chat(gid).send(f"message number {number}")
    sent = time.perf_counter()
    came = await loop.run_in_executor(None, pipe.recv)
    lags = [1000 * (at - began - number / RATE) for number, at in enumerate(came)]
    figures[f"{RATE}/s offered: sent/s"].append(total / (sent - began))
    figures[f"{RATE}/s offered: arrived/s"].append(total / (came[-1] - began))
    figures[f"{RATE}/s offered: lag of the last, ms"].append(lags[-1])
    lags.sort()
    figures[f"{RATE}/s offered: lag p50, ms"].append(statistics.median(lags))
    figures[f"{RATE}/s offered: lag p99, ms"].append(lags[int(0.99 * len(lags))])
    pipe.send(0)
    await loop.run_in_executor(None, listener.join)
    await alice.close()


async def come_back(figures: Figures, root: Path, relay: str, queued: int) -> None:
    """Messages a second for somebody who was away, from the start of the client."""
    alice, bob = await meet(root, relay)
    gid = alice.contacts()[0].conversation
    await bob.close()
    for number in range(queued):
        alice.chat(gid).send(f"message number {number}")
        await asyncio.sleep(0)
    await alice.flushed()
    await alice.close()
    began = time.perf_counter()
    bob = Client.open(root / "1", UNLOCK)
    texts = arrivals(bob)
    bob.start()
    for _ in range(queued):
        await anext(texts)
    figures["catching up, messages/s"].append(queued / (time.perf_counter() - began))
    await bob.close()


class Meter:
    """Stands between clients and relay, and counts the bytes that pass."""

    def __init__(self, port: int) -> None:
        self.up = self.down = 0
        self.carrying: set[asyncio.Task[object]] = set()
        self._port = port

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        if (task := asyncio.current_task()) is not None:
            self.carrying.add(task)
        from_relay, to_relay = await asyncio.open_connection("127.0.0.1", self._port)

        async def up() -> None:
            while data := await reader.read(65_536):
                self.up += len(data)
                to_relay.write(data)
            to_relay.close()

        async def down() -> None:
            while data := await from_relay.read(65_536):
                self.down += len(data)
                writer.write(data)
            writer.close()

        await asyncio.gather(up(), down())


@asynccontextmanager
async def metered(relay: str) -> AsyncIterator[tuple[Meter, str]]:
    """A meter and the relay's address behind it."""
    port = relay.partition("127.0.0.1:")[2].partition("/")[0]
    meter = Meter(int(port))
    server = await asyncio.start_server(meter.carry, "127.0.0.1", 0)
    try:
        yield meter, relay.replace(f":{port}/", f":{server.sockets[0].getsockname()[1]}/")
    finally:
        server.close()
        await asyncio.gather(*meter.carrying)


async def count_bytes(figures: Figures, root: Path, relay: str) -> None:
    """The daily traffic of a person's line, estimated from a few people and a few messages.

    Each person downloads all cells of the bucket, so a message costs all its people the same.
    *Answered*: people answer each other at once, and receipts ride along. *Alone*: nobody answers,
    and a separate cell confirms each message.
    """
    async with metered(relay) as (meter, address):
        people = await meet(root, address, NEIGHBOURS)
        await asyncio.sleep(RECEIPTS_S)
        a, b = people[0], people[1]
        gid = a.contact("person 1").conversation
        texts = itertools.cycle((arrivals(b), arrivals(a)))
        up, down = meter.up, meter.down
        for number in range(MESSAGES):
            (b if number % 2 else a).chat(gid).send(
                "What a person says to another, of usual length."
            )
            await anext(next(texts))
        note_day(figures, "answered", meter.up - up, meter.down - down, MESSAGES)
        await asyncio.sleep(RECEIPTS_S)
        up, down, sent = meter.up, meter.down, 0
        for number, sender in enumerate(people):
            for other in range(number + 1, NEIGHBOURS):
                gid = sender.contact(f"person {other}").conversation
                sender.chat(gid).send("What a person says to another, of usual length.")
                sent += 1
        await asyncio.sleep(RECEIPTS_S)
        note_day(figures, "alone", meter.up - up, meter.down - down, sent)
        for client in people:
            await client.close()


def note_day(figures: Figures, how: str, up: int, down: int, messages: int) -> None:
    each = down / NEIGHBOURS / messages
    figures[f"{how}: bytes down for a message of the bucket"].append(each)
    figures[f"{how}: bytes up for a message"].append(up / messages)
    day = PEOPLE * MESSAGES * each + MESSAGES * up / messages
    figures[f"{how}: MB a person a day"].append(day / 1e6)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0, help="of the fixed rate")
    parser.add_argument("--queued", type=int, default=QUEUED, help="messages while away")
    parser.add_argument("--quick", action="store_true", help="one short run")
    parser.add_argument(
        "--parts", default="talk,rate,away,bytes", help="those of talk,rate,away,bytes to measure"
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    if options.quick:
        options.runs, options.seconds, options.queued = 1, 5.0, 1000
    figures: Figures = defaultdict(list)
    noise = Noise()
    # On the disk of this directory: a temporary one may be in memory.
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        root = Path(name)
        relay = RelayProcess(root / "relay", people=2)
        try:
            relay.run()
            address = relay.address

            def run(measure: Coroutine[None, None, None]) -> None:
                noise.sample()
                uvloop.run(measure)

            for number in range(options.runs):
                if "talk" in options.parts:
                    run(talk(figures, root / f"talk {number}", address))
                if "rate" in options.parts:
                    run(send_fast(figures, root / f"rate {number}", address, options.seconds))
                if "away" in options.parts:
                    run(come_back(figures, root / f"away {number}", address, options.queued))
            if "bytes" in options.parts:
                run(count_bytes(figures, root / "bytes", address))
        finally:
            relay.kill()
    print(f"{noise}\n")
    rows = [(name, *(f"{v:,.2f}" for v in spread(values))) for name, values in figures.items()]
    print(table(("person to person", "min", "median", "max"), rows))
    if options.json:
        options.json.write_text(json.dumps({"machine": noise.summary(), "figures": figures}))


if __name__ == "__main__":
    main()
