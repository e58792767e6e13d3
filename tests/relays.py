"""A relay as a process of its own, and a peer that sends it anything that a test likes."""

from __future__ import annotations

import asyncio
import copy
import functools
import logging
import multiprocessing
import os
import shutil
import signal
import ssl
import threading
from collections import defaultdict
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Self

import picows
import uvloop
from cryptography import x509

from amanat.config import RelayConfig
from amanat.protocol import wire
from amanat.protocol.descriptor import NamedAddress, RelayAddress
from amanat.protocol.drops import Drop, derive_bucket
from amanat.relay import server
from amanat.relay.directory import RelayDirectory

REGION = "DE"
PATIENCE_S = 20.0
"""Seconds after which a test stops waiting."""
PROCESSES = multiprocessing.get_context("forkserver")
"""Makes relays out of a process that has loaded their modules once: each would take half a second
of the processor to load them."""
PROCESSES.set_forkserver_preload(["amanat.relay.server", "uvloop"])


class RelayProcess:
    """`with RelayProcess(directory) as relay:` a relay that listens on loopback."""

    def __init__(
        self,
        directory: Path,
        *,
        tls: str = "off",
        port: int = 0,
        name: str = "test",
        region: str = REGION,
        host: str = "127.0.0.1",
        is_verbose: bool = False,
        **settings: Any,  # noqa: ANN401  # whatever a relay's settings are
    ) -> None:
        self.directory = RelayDirectory.create(
            directory,
            RelayConfig(region=region, operator=name, host=host, port=port, tls=tls, **settings),
        )
        self.log = directory.with_suffix(".log")
        self._is_verbose = is_verbose
        """Whether the log gets everything that any part of the process could ever say. Such a
        process takes several times as long for everything."""

    def twin(self, directory: Path) -> Self:
        """Another process of the same relay, with a directory of its own."""
        # Its roots are its own, and their files come and go while a process runs.
        no_roots = shutil.ignore_patterns("roots.sqlite*")
        shutil.copytree(self.directory.path, directory, ignore=no_roots)
        twin = copy.copy(self)
        twin.directory = RelayDirectory.open(directory)
        twin.log = directory.with_suffix(".log")
        return twin

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        ours, theirs = multiprocessing.Pipe()
        self.process = PROCESSES.Process(
            target=_run, args=(self.directory.path, self.log, theirs, self._is_verbose)
        )
        self.process.start()
        theirs.close()
        self.address: NamedAddress = ours.recv()

    @property
    def signed(self) -> RelayAddress:
        """The relay's signed address, while it runs."""
        return self.directory.signed_address(self.address.places[0].port, now=0)

    def signal(self, number: int) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        self.process.kill()
        self.process.join()

    def drain(self) -> int | None:
        """The exit status after SIGTERM."""
        self.signal(signal.SIGTERM)
        self.process.join(PATIENCE_S)
        return self.process.exitcode

    def bucket(self, index: int = 0) -> Drop:
        return derive_bucket(self.directory.bucket_key, index, region=self.directory.config.region)


def _run(directory: Path, log: Path, ready: Any, is_verbose: bool) -> None:  # noqa: ANN401  # a Pipe
    handle = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    logging.basicConfig(level=logging.DEBUG if is_verbose else logging.INFO)
    if is_verbose:
        os.environ["PYTHONASYNCIODEBUG"] = "1"
    server.run(directory, ready=ready.send)


@functools.cache
def _trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class _Here(threading.local):
    """The connections that a thread has open."""

    def __init__(self) -> None:
        self.peers: list[Peer] = []


_here = _Here()


class Peer(picows.WSListener):
    """One connection to a relay."""

    transport: picows.WSTransport

    def __init__(self) -> None:
        self.replies: dict[int, asyncio.Queue[wire.Reply]] = defaultdict(asyncio.Queue)
        self.closed: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()

    @classmethod
    async def connect(
        cls,
        address: RelayAddress,
        path: str = wire.PATH,
        local: tuple[str, int] | None = None,
    ) -> Self:
        place = address.places[0]
        context = None if place.tls == "off" else _trusting()
        scheme = "wss" if context else "ws"
        url = f"{scheme}://{place.name}{path}"
        transport, peer = await picows.ws_connect(cls, url, ssl_context=context, local_addr=local)
        if not isinstance(peer, cls):
            raise picows.WSError("the relay hung up")  # in the middle of the handshake
        peer.transport = transport
        _here.peers.append(peer)
        return peer

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type == picows.WSMsgType.CLOSE:
            reason = (frame.get_close_message() or b"").decode()
            self.closed.set_result((frame.get_close_code().value, reason))
            transport.disconnect()
            return
        reply = wire.decode_reply(frame.get_payload_as_bytes())
        self.replies[reply.id].put_nowait(reply)

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:  # noqa: ARG002
        if not self.closed.done():
            self.closed.set_result((0, ""))

    def send(self, request: wire.Request | bytes) -> None:
        data = request if isinstance(request, bytes) else wire.encode(request)
        self.transport.send(picows.WSMsgType.BINARY, data)

    async def reply(self, number: int) -> wire.Reply:
        return await self.replies[number].get()

    async def reply_or_end(self, number: int) -> wire.Reply | None:
        """The next reply with this number, or None if the connection ends before."""
        reply = asyncio.ensure_future(self.reply(number))
        both: list[asyncio.Future[Any]] = [reply, self.closed]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if reply.done():
            return reply.result()
        reply.cancel()
        return None

    async def ask(self, request: wire.Request) -> wire.Reply:
        self.send(request)
        return await self.reply(request.id)

    async def ask_code(self, request: wire.Request) -> str:
        reply = await self.ask(request)
        assert isinstance(reply, wire.Failed), reply
        return reply.code

    async def hang_up(self) -> None:
        self.transport.disconnect(graceful=False)
        await self.closed

    @property
    def key(self) -> bytes:
        """The key in the relay's certificate."""
        tls = self.transport.underlying_transport.get_extra_info("ssl_object")
        certificate = x509.load_der_x509_certificate(tls.getpeercert(binary_form=True))
        return certificate.public_key().public_bytes_raw()  # type: ignore[union-attr]


def run_in_loop(work: Coroutine[Any, Any, None], patience_s: float = PATIENCE_S) -> None:
    """Run a coroutine in a loop of its own, with a time limit."""

    async def bounded() -> None:
        try:
            async with asyncio.timeout(patience_s):
                await work
        finally:
            while _here.peers:
                await _here.peers.pop().hang_up()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(bounded())


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A coroutine test that runs in a loop of its own, with a time limit."""

    @functools.wraps(test)
    def run(*args: object, **kwargs: object) -> None:
        run_in_loop(test(*args, **kwargs))

    return run


def append(drop: Drop, cell: bytes, number: int = 0) -> wire.Append:
    return wire.Append(number, drop.drop_id, drop.append_token, cell)


def read(
    drop: Drop, after: int = 0, *, number: int = 0, wait: int = 0, limit: int = 900
) -> wire.Read:
    return wire.Read(number, drop.drop_id, drop.read_token, after, limit, wait)


def follow(drop: Drop, after: int = 0, number: int = 0, credit: int = 2**53 - 1) -> wire.Follow:
    return wire.Follow(number, drop.drop_id, drop.read_token, after, credit)


async def read_all(peer: Peer, drop: Drop, *, least: int = 0) -> list[bytes]:
    """Every cell of a drop. A process of a cluster may be behind others for a moment: it is asked
    again until there are `least`."""
    cells: list[bytes] = []
    while True:
        reply = await peer.ask(read(drop, len(cells)))
        assert isinstance(reply, wire.Cells), reply
        cells += reply.cells
        if len(cells) == reply.head:
            if len(cells) >= least:
                return cells
            await asyncio.sleep(0.05)
