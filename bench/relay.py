"""How many appends a second a relay makes durable: bench/relay.py [--seconds S] [--runs N].

Two processes on one machine: a relay, and everybody else. Each append is a 1 KiB cell, answered
after fsync. `one reader`: one drop, one follower. `buckets of 32`: ten buckets, each followed over
32 connections of its own. A run ends when every follower has been handed every cell.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import ssl
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import picows
import uvloop
from machine import Noise, cpu_s, spread, table

from amanat.config import RelayConfig, RelayLimits
from amanat.protocol import wire
from amanat.protocol.cells import LABEL_BYTES, MESSAGE_CELL
from amanat.protocol.drops import Drop, derive_bucket
from amanat.relay import server
from amanat.relay.directory import RelayDirectory

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from amanat.protocol.descriptor import RelayAddress

REGION = "DE"
SENDERS = 10
"""Connections that append, spread over the buckets."""
WINDOW = 200
"""Appends that each of them has in flight."""
SCENARIOS = {"one reader": (1, 1), "buckets of 32": (10, 32)}
"""Number of buckets, and of followers of each."""
READ_BUFFER_BYTES = 256 * 1024
"""Bytes that a client reads at once; large, so that the figure is the relay's, not the load's."""


class Sender(picows.WSListener):
    """Appends to a bucket as fast as answers come."""

    def __init__(self, bucket: Drop) -> None:
        self.bucket = bucket
        self.answered = self.sent = 0
        self.running = True
        self.drained = asyncio.Event()
        self._rest = os.urandom(MESSAGE_CELL - LABEL_BYTES)

    def on_ws_frame(  # noqa: D102
        self, transport: picows.WSTransport, frame: picows.WSFrame
    ) -> None:
        reply = frame.get_payload_as_bytes()
        assert reply[1] == 3, reply
        self.answered += 1
        if self.running:
            self.send(transport)
        elif self.answered == self.sent:
            self.drained.set()

    def send(self, transport: picows.WSTransport) -> None:
        """Append one more cell."""
        cell = os.urandom(LABEL_BYTES) + self._rest
        request = wire.Append(self.sent, self.bucket.drop_id, self.bucket.append_token, cell)
        transport.send(picows.WSMsgType.BINARY, wire.encode(request))
        self.sent += 1


class Follower(picows.WSListener):
    """Counts the bytes of the cells that it gets."""

    def __init__(self) -> None:
        self.bytes = 0

    def on_ws_frame(self, _: picows.WSTransport, frame: picows.WSFrame) -> None:  # noqa: D102
        self.bytes += frame.payload_size


async def connect(
    listener: picows.WSListener, url: str, tls: ssl.SSLContext | None
) -> picows.WSTransport:
    """A connection that calls the listener."""
    transport, _ = await picows.ws_connect(
        lambda: listener, url, ssl_context=tls, read_buffer_init_size=READ_BUFFER_BYTES
    )
    return transport


async def load(address: RelayAddress, buckets: list[Drop], readers: int, seconds: float) -> float:
    """Appends a second."""
    place = address.places[0]
    tls = ssl.create_default_context() if place.tls != "off" else None
    if tls is not None:
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    url = f"{'wss' if tls else 'ws'}://{place.name}{wire.PATH}"
    followers = [Follower() for _ in buckets for _ in range(readers)]
    for number, follower in enumerate(followers):
        bucket = buckets[number % len(buckets)]
        transport = await connect(follower, url, tls)
        follow = wire.Follow(0, bucket.drop_id, bucket.read_token, 0, 2**53 - 1)
        transport.send(picows.WSMsgType.BINARY, wire.encode(follow))
    senders = []
    for number in range(SENDERS):
        sender = Sender(buckets[number % len(buckets)])
        senders.append((await connect(sender, url, tls), sender))
    started = time.perf_counter()
    for transport, sender in senders:
        for _ in range(WINDOW):
            sender.send(transport)
    await asyncio.sleep(seconds)
    for _, sender in senders:
        sender.running = False
    for _, sender in senders:
        await sender.drained.wait()
    appended = sum(sender.answered for _, sender in senders)
    while sum(follower.bytes for follower in followers) < appended * readers * MESSAGE_CELL:  # noqa: ASYNC110
        await asyncio.sleep(0.005)  # an Event would be felt on every frame
    return appended / (time.perf_counter() - started)


def run(scenario: str, *, tls: str, seconds: float) -> float:
    """Appends a second of one run with a fresh relay."""
    buckets, readers = SCENARIOS[scenario]
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
        made = RelayDirectory.create(
            Path(directory) / "relay",
            RelayConfig(
                region=REGION,
                operator="bench",
                host="127.0.0.1",
                port=0,
                tls=tls,
                buckets=buckets,
                limits=RelayLimits(cells_per_drop=10_000_000, bytes_per_drop=2**40),
            ),
        )
        return measured(made, readers=readers, seconds=seconds)[0]


def measured(
    *made: RelayDirectory, readers: int, seconds: float, is_divided: bool = False
) -> tuple[float, float]:
    """(appends a second to all buckets of a relay, each of whose processes has the same load, to
    all of them or to its share; seconds of their processor time for each)."""
    buckets = made[0].config.buckets
    drops = [derive_bucket(made[0].bucket_key, index, region=REGION) for index in range(buckets)]
    relays, addresses = [], []
    try:
        for one in made:
            ours, theirs = multiprocessing.Pipe()
            relay = multiprocessing.get_context("spawn").Process(
                target=_relay, args=(one.path, theirs)
            )
            relay.start()
            relays.append(relay)
            addresses.append(ours.recv())
        pids = [relay.pid for relay in relays if relay.pid is not None]
        before = sum(map(cpu_s, pids))

        async def load_all() -> list[float]:
            step = len(made) if is_divided else 1
            return await asyncio.gather(
                *(
                    load(address, drops[number % step :: step], readers, seconds)
                    for number, address in enumerate(addresses)
                )
            )

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            rate = sum(runner.run(load_all()))
        spent = sum(map(cpu_s, pids)) - before
        return rate, spent / (rate * seconds)
    finally:
        for relay in relays:
            relay.terminate()
            relay.join()


def _relay(directory: Path, ready: Connection) -> None:
    server.run(directory, ready=ready.send)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=4.0, help="of one run")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    noise = Noise()
    rates: defaultdict[str, list[float]] = defaultdict(list)
    for _ in range(args.runs):
        noise.sample()
        for tls in ("off", "pinned"):
            for scenario in SCENARIOS:
                rates[f"{scenario}, TLS {tls}"].append(run(scenario, tls=tls, seconds=args.seconds))
    print(f"{noise}\n")
    rows = [(name, *(f"{rate:,.0f}" for rate in spread(found))) for name, found in rates.items()]
    for tls in ("off", "pinned"):
        one, many = (rates[f"{scenario}, TLS {tls}"] for scenario in SCENARIOS)
        ratios = [b / a for a, b in zip(one, many, strict=True)]
        rows.append((f"the second / the first, TLS {tls}", *(f"{r:.2f}" for r in spread(ratios))))
    print(table(("durable appends a second", "min", "median", "max"), rows))
    if args.json:
        args.json.write_text(json.dumps({"machine": noise.summary(), "appends_per_s": rates}))


if __name__ == "__main__":
    main()
