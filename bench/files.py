"""Files beside plain HTTPS: bench/files.py [--runs N] [--memory] [--json FILE].

Two relay processes with TLS, each the hop of the other, and real clients with real vaults; beside
them a plain HTTPS server, a process with asyncio and ssl, which writes what is put up to its disk
before it answers, as a relay does. In each run files of 1 and 16 MiB of random bytes are put up and
fetched by HTTPS, direct and hopped, by turns. Up is from `send_file` until the relay has all of it
and the message is said, with the reading, sealing and keeping of the file; down is until all of it
is checked and in the vault. HTTPS reads its file from the disk and writes it there. The table shows
MiB a second of content, and how that is to HTTPS in the same run.

With --memory, one file of the longest kind goes up and down, direct, and the table shows by how
much the memory of the clients' process grew at most meanwhile; nothing else is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop
from hop import people, two_relays
from machine import Noise, clear_peak, peak_kib, resident_kib, table
from servers import write_certificate

from amanat.drill.process import free_port
from amanat.drill.xmpp import client_tls
from amanat.protocol.messages import MAX_FILE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from amanat.client.sdk.client import Client
    from amanat.client.sdk.views import Message

MIB = 2**20
SIZES = (MIB, 16 * MIB)
PIECE_BYTES = 256 * 1024
GOALS = {"up": 0.3, "down": 0.5}
"""The shares of the speed of HTTPS that ours should reach."""

MEMORY_MIB = 64.0
"""By how much a client may grow while it sends or fetches the longest file, in MiB."""

Figures = defaultdict[str, list[float]]


# Plain HTTPS


async def serve(root: Path, port: int) -> None:
    """A server that takes one file and gives it back."""
    stored = root / "stored"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                if head.startswith(b"PUT"):
                    await take(reader, stored, length_of(head))
                    writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
                else:
                    size = stored.stat().st_size
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
                    await give(writer, stored)
                await writer.drain()
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(root / "certificate.pem")
    server = await asyncio.start_server(answer, "127.0.0.1", port, ssl=context, limit=MIB)
    await server.serve_forever()


def length_of(head: bytes) -> int:
    return int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])


async def take(reader: asyncio.StreamReader, to: Path, size: int) -> None:
    """Write a body to the disk."""
    with to.open("wb") as file:
        while size:
            piece = await reader.read(min(size, PIECE_BYTES))
            if not piece:
                raise EOFError
            size -= len(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())


async def give(writer: asyncio.StreamWriter, source: Path) -> None:
    with source.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            writer.write(piece)
            await writer.drain()


@contextlib.contextmanager
def https(root: Path) -> Iterator[int]:
    """The port of such a server, which runs as long as the context lasts."""
    write_certificate(root / "certificate.pem")
    port = free_port()
    server = subprocess.Popen([sys.executable, __file__, "--serve", str(root), str(port)])
    try:
        yield port
    finally:
        server.kill()
        server.wait()


async def by_https(figures: Figures, root: Path, port: int, source: Path, data: bytes) -> None:
    """Put a file up and fetch it, over one connection that is already there."""
    for _ in range(100):
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=client_tls(), limit=MIB
            )
            break
        await asyncio.sleep(0.1)
    size = len(data)
    began = time.perf_counter()
    writer.write(b"PUT /file HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % size)
    await give(writer, source)
    await reader.readuntil(b"\r\n\r\n")
    note(figures, "https", "up", size, began)
    began = time.perf_counter()
    writer.write(b"GET /file HTTP/1.1\r\nHost: localhost\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    await take(reader, root / "fetched", length_of(head))
    note(figures, "https", "down", size, began)
    writer.close()
    if (root / "fetched").read_bytes() != data:
        raise AssertionError("another file came")


# Our own way


async def by_amanat(
    figures: Figures, how: str, pair: list[Client], source: Path, data: bytes
) -> None:
    """Send a file to somebody, who then fetches it."""
    alice, bob = pair
    gid, size = alice.contacts()[0].conversation, len(data)
    before = len(files_of(bob, gid))
    began = time.perf_counter()
    await alice.files.ended(await alice.chat(gid).send_file(source))
    note(figures, how, "up", size, began)
    while len(files_of(bob, gid)) == before:
        await bob.changed()
    message = files_of(bob, gid)[-1]
    if message.file is None:
        raise AssertionError(message)
    began = time.perf_counter()
    await message.file.fetch()
    note(figures, how, "down", size, began)
    with bob.files.open(gid, message.id) as content:
        if b"".join(content.chunks()) != data:
            raise AssertionError("another file came")


def files_of(client: Client, gid: bytes) -> list[Message]:
    return [one for one in client.chat(gid).messages() if one.file is not None]


def note(figures: Figures, how: str, way: str, size: int, began: float) -> None:
    figures[f"{size // MIB} MiB, {way}, {how}"].append(size / MIB / (time.perf_counter() - began))


async def measure(root: Path, addresses: list[str], port: int, runs: int, noise: Noise) -> Figures:
    """MiB a second, of each run."""
    figures: Figures = defaultdict(list)
    pairs = {how: await people(root / how, how, addresses, 2) for how in ("direct", "hopped")}
    for _, bob in pairs.values():
        bob.files.set_auto_bytes(-1)
    for _ in range(runs):
        for size in SIZES:
            source = root / "source"
            data = os.urandom(size)
            source.write_bytes(data)
            noise.sample()
            await by_https(figures, root, port, source, data)
            for how, pair in pairs.items():
                await by_amanat(figures, how, pair, source, data)
    noise.sample()
    for client in (*pairs["direct"], *pairs["hopped"]):
        await client.close()
    return figures


async def memory(root: Path, addresses: list[str]) -> list[list[str]]:
    """A row of the table for each way of the longest file."""
    pair = await people(root / "direct", "direct", addresses, 2)
    pair[1].files.set_auto_bytes(-1)
    source = root / "source"
    with source.open("wb") as file:
        for at in range(0, MAX_FILE_BYTES, MIB):
            file.write(os.urandom(min(MIB, MAX_FILE_BYTES - at)))
    alice, bob = pair
    gid, found = alice.contacts()[0].conversation, []

    async def up() -> None:
        await alice.files.ended(await alice.chat(gid).send_file(source))

    async def down() -> None:
        while not (files := files_of(bob, gid)):
            await bob.changed()
        if (view := files[-1].file) is None:
            raise AssertionError(files)
        await view.fetch()

    for way, work in (("up", up), ("down", down)):
        clear_peak(os.getpid())
        before, began = resident_kib(os.getpid()), time.perf_counter()
        await work()
        took = time.perf_counter() - began
        more = (peak_kib(os.getpid()) - before) / 1024
        reached = "yes" if more <= MEMORY_MIB else "**no**"
        found.append([way, f"{took:.0f} s", f"{before / 1024:.0f}", f"{more:.0f}", reached])
    for client in pair:
        await client.close()
    return found


def rows(figures: Figures) -> list[list[str]]:
    """Rows of the table: the median of the runs, and the median of their ratios."""
    found = []
    for name, values in figures.items():
        what, way, how = name.split(", ")
        plain = figures[f"{what}, {way}, https"]
        ratios = [ours / theirs for ours, theirs in zip(values, plain, strict=True)]
        middle = statistics.median(ratios)
        reached = "" if how == "https" else "yes" if middle >= GOALS[way] else "**no**"
        found.append(
            [
                what,
                way,
                how,
                f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})",
                f"{middle:.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
                reached,
            ]
        )
    return sorted(found)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--memory", action="store_true", help="of the longest file, only")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--serve", nargs=2, metavar=("DIR", "PORT"), help="be the HTTPS server")
    options = parser.parse_args()
    if options.serve:
        uvloop.run(serve(Path(options.serve[0]), int(options.serve[1])))
    noise = Noise()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        root = Path(name)
        with two_relays(root) as relays:
            addresses = [relay.address for relay in relays]
            if options.memory:
                found = uvloop.run(memory(root, addresses))
                print(f"A file of {MAX_FILE_BYTES:,} bytes, direct.\n")
                heads = ("way", "in", "MiB before", "MiB more at most", "at most 64 more")
                print(table(heads, found))
                return
            with https(root) as port:
                figures = uvloop.run(measure(root, addresses, port, options.runs, noise))
    print(f"{noise}\n")
    speeds = ("content", "way", "how", "MiB a second", "of HTTPS", "goal reached")
    print(table(speeds, rows(figures)))
    if options.json:
        options.json.write_text(json.dumps({"machine": noise.summary(), "figures": figures}))


if __name__ == "__main__":
    main()
