"""How long others wait for a read while strangers flood a relay.

    python bench/flood.py [--seconds S] [--tls off|pinned] [--json FILE]

One person reads a bucket of ten cells again and again, 20 ms apart, over a connection of their own.
Meanwhile strangers, in a process of their own, send as fast as the relay takes it, with no access:

- *taken back*: over one connection, pairs of a Read of a drop that does not exist and its Unfollow;
- *sealed*: the same, the Read sealed to the relay;
- *publishes*: over 33 connections, Publishes of junk with wrong tokens, which wait for the round;
- *waiting*: over 17 connections, Reads of an idle bucket that wait for 180 s;
- *appends*: over 33 connections, Appends of junk with wrong tokens.

The floods follow each other at one relay, whose memory is measured before and after.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import itertools
import json
import multiprocessing
import os
import socket
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import uvloop
from load import websocket_frame
from machine import Noise, spread, table

from amanat.config import RelayConfig
from amanat.link import Link, connect
from amanat.protocol import wire
from amanat.protocol.cells import MESSAGE_CELL
from amanat.protocol.descriptor import NamedAddress, open_descriptor
from amanat.protocol.drops import Drop, derive_bucket
from amanat.protocol.sealing import seal_request
from amanat.relay import server
from amanat.relay.directory import RelayDirectory

REGION = "DE"
PAUSE_S = 0.02
"""Pause between two reads, in seconds."""
GIVEN_UP_S = 20.0
"""Longest wait for the answer to a read, in seconds."""
PIECE = 200
"""Requests that a stranger writes at once."""
Asked = Callable[[Iterator[int]], list[wire.Request]]
FLOODS = {"taken back": 1, "sealed": 1, "publishes": 33, "waiting": 17, "appends": 33}
"""The number of connections of each flood."""


def asked(flood: str, idle: Drop, sealed: bytes) -> Asked:
    """A stranger's frames, piece by piece; ids come from the iterator."""

    def taken_back(numbers: Iterator[int]) -> list[wire.Request]:
        number = next(numbers)
        return [wire.Read(number, os.urandom(24), bytes(32), 0, 1, 0), wire.Unfollow(number)]

    def sealed_ones(numbers: Iterator[int]) -> list[wire.Request]:
        number = next(numbers)
        return [wire.Sealed(number, sealed), wire.Unfollow(number)]

    def publishes(numbers: Iterator[int]) -> list[wire.Request]:
        junk = (os.urandom(24), os.urandom(32), bytes(MESSAGE_CELL))
        return [wire.Publish(next(numbers), *junk)]

    def waiting(numbers: Iterator[int]) -> list[wire.Request]:
        return [wire.Read(next(numbers), idle.drop_id, idle.read_token, 0, 1, 180)]

    def appends(numbers: Iterator[int]) -> list[wire.Request]:
        junk = (os.urandom(24), os.urandom(32), bytes(MESSAGE_CELL))
        return [wire.Append(next(numbers), *junk)]

    return {
        "taken back": taken_back,
        "sealed": sealed_ones,
        "publishes": publishes,
        "waiting": waiting,
        "appends": appends,
    }[flood]


def dial(address: NamedAddress) -> socket.socket:
    """An open WebSocket."""
    place = address.places[0]
    line = socket.create_connection((place.host, place.port))
    if place.tls != "off":
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        line = context.wrap_socket(line)
    key = base64.b64encode(os.urandom(16)).decode()
    line.sendall(
        f"GET {wire.PATH} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    line.recv(4096)
    return line


class Stranger:
    """One connection that floods."""

    def __init__(self, address: NamedAddress) -> None:
        self.line = dial(address)
        self.line.setblocking(False)
        self.numbers = itertools.count(1)
        self.rest = bytearray()


def strange(
    address: NamedAddress, flood: str, make: tuple[Drop, bytes], seconds: float, sent: Connection
) -> None:
    """The strangers' process: sends, reads everything that comes, and counts its requests."""
    requests = asked(flood, *make)
    strangers = [Stranger(address) for _ in range(FLOODS[flood])]
    until, many = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        is_stuck = True
        for one in strangers:
            if not one.rest:  # no id twice: the relay would hang up
                frames = (each for _ in range(PIECE) for each in requests(one.numbers))
                one.rest += b"".join(websocket_frame(wire.encode(each)) for each in frames)
                many += PIECE
            with contextlib.suppress(BlockingIOError, ssl.SSLWantWriteError):
                del one.rest[: one.line.send(one.rest)]
                is_stuck = False
            with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError):
                if not one.line.recv(1 << 20):
                    raise ConnectionError("the relay has hung up")
        if is_stuck:
            time.sleep(0.0005)
    sent.send(many)


async def one_read(link: Link, bucket: Drop) -> float:
    """Milliseconds until the answer to a read."""
    began = time.perf_counter()
    async with asyncio.timeout(GIVEN_UP_S):
        read = wire.Read(0, bucket.drop_id, bucket.read_token, 0, wire.MAX_CELLS, 0)
        await link.request(read, wire.Cells)
    return 1000 * (time.perf_counter() - began)


def resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


async def measure(
    address: NamedAddress, pid: int, buckets: list[Drop], seconds: float
) -> dict[str, dict[str, float]]:
    link = await connect(address)
    described = await link.request(wire.Describe(0, b""), wire.Described)
    to = open_descriptor(described.descriptor, address.key).sealing
    for _ in range(10):
        cell = os.urandom(MESSAGE_CELL)
        await link.request(
            wire.Append(0, buckets[0].drop_id, buckets[0].append_token, cell), wire.Appended
        )
    inner = wire.encode(wire.Read(0, os.urandom(24), bytes(32), 0, 1, 180))
    sealed, _ = seal_request(inner, to=to, relay=address.key)
    found: dict[str, dict[str, float]] = {}
    for flood in ("nobody", *FLOODS):
        ours, theirs = multiprocessing.Pipe()
        before = resident_mib(pid)
        if flood != "nobody":
            process = multiprocessing.get_context("spawn").Process(
                target=strange, args=(address, flood, (buckets[1], sealed), seconds, theirs)
            )
            process.start()
            await asyncio.sleep(1.5)  # until the flood has begun
        times, until, most = [], time.monotonic() + seconds - 2, before
        while time.monotonic() < until:
            times.append(await one_read(link, buckets[0]))
            most = max(most, resident_mib(pid))
            await asyncio.sleep(PAUSE_S)
        sent = 0
        if flood != "nobody":
            sent = await asyncio.to_thread(ours.recv)
            process.join()
        times.sort()
        found[flood] = {
            "requests": sent,
            "reads": len(times),
            "p50_ms": times[len(times) // 2],
            "p99_ms": times[len(times) * 99 // 100],
            "max_ms": spread(times)[2],
            "grown_mib": most - before,
        }
    await link.closed()
    return found


def _relay(directory: Path, ready: Connection) -> None:
    server.run(directory, ready=ready.send)


def run(tls: str, seconds: float) -> dict[str, dict[str, float]]:
    """All floods at a fresh relay."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
        settings = RelayConfig(REGION, "bench", "127.0.0.1", 0, tls=tls, buckets=2)
        made = RelayDirectory.create(Path(directory) / "relay", settings)
        ours, theirs = multiprocessing.Pipe()
        relay = multiprocessing.get_context("spawn").Process(
            target=_relay, args=(made.path, theirs)
        )
        relay.start()
        address = ours.recv()
        buckets = [derive_bucket(made.bucket_key, index, region=REGION) for index in range(2)]
        assert relay.pid is not None
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(measure(address, relay.pid, buckets, seconds))
        finally:
            relay.terminate()
            relay.join()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="of each flood")
    parser.add_argument("--tls", choices=("off", "pinned"), default="pinned")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    noise = Noise()
    noise.sample()
    found = run(options.tls, options.seconds)
    noise.sample()
    print(f"{noise}\n")
    heads = ("strangers", "requests sent", "p50, ms", "p99, ms", "longest, ms", "memory, MiB")
    rows = [
        (
            flood,
            f"{one['requests']:,.0f}",
            *(f"{one[key]:.1f}" for key in ("p50_ms", "p99_ms", "max_ms")),
            f"{one['grown_mib']:+.1f}",
        )
        for flood, one in found.items()
    ]
    print(table(heads, rows))
    if options.json:
        options.json.write_text(json.dumps({"machine": noise.summary(), "figures": found}))


if __name__ == "__main__":
    main()
