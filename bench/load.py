"""The load of `peers`: one kind of generator for XMPP and for Amanat.

A generator is one process with some of the pairs of a sender and a reader. A sender keeps a window
of messages under way: for each message that it learns to have arrived (or to be stored), it writes
a new one. Each message carries its number, and every reader must see all, in order.
"""

from __future__ import annotations

import asyncio
import base64
import multiprocessing
import os
import re
import resource
import time
import traceback
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec
import uvloop

from amanat.drill import xmpp
from amanat.drill.xmpp import Line, connect
from amanat.protocol import wire
from amanat.protocol.cells import LABEL_BYTES, MESSAGE_CELL

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from amanat.protocol.drops import Drop

PAYLOAD_BYTES = 1024
"""Size of a message: a whole cell with Amanat, the text of the body with XMPP."""
WINDOW = 100
"""Messages of one sender under way."""
STORE_WINDOW = 40
"""The same where messages are stored for later, which is slow and whose end the run awaits."""
PING_EVERY = 10
"""Messages after which a sender to an absent reader asks whether the server has stored them."""
LOGINS = 20
"""Connections that are opened at once."""
LAST_S = 120.0
"""Longest time for the messages under way at the end, in seconds."""
PASSWORD = "bench"  # noqa: S105  # of nobody
UPGRADED = re.compile(rb"101 [^\0]*?\r\n\r\n")
FRAME = re.compile(rb"\x82", re.DOTALL)
PING, PONG = 0x89, 0x8A
MARK = re.compile(rb"#(\d{9})#")
MARK_BYTES = 11


class Plan(NamedTuple):
    """The instructions of one generator."""

    kind: str
    """online; offline; absent, whose readers come and count; durable, which is Amanat; idle."""
    port: int
    tls: bool
    pairs: list[int]
    drops: list[Drop]
    """The drops of the pairs, with Amanat."""
    seconds: float = 0
    window: int = WINDOW
    expected: list[int] = []  # noqa: RUF012  # a NamedTuple's default; never changed
    """With `absent`: how many messages each pair's reader must find."""


class Outcome(NamedTuple):
    """The results of one generator."""

    messages: list[int]
    """Number of messages of each pair."""
    began: float
    ended: float
    cpu_s: float
    """Processor time of the generator itself."""


async def log_in(plan: Plan, user: str, *, present: bool) -> Line:
    """An XMPP stream of a user, who is registered if necessary."""
    line = await connect(plan.port, tls=plan.tls)
    await xmpp.log_in(line, user, PASSWORD, resource="bench", present=present)
    return line


async def open_websocket(plan: Plan) -> Line:
    """A WebSocket to a relay of Amanat."""
    line = await connect(plan.port, tls=plan.tls)
    await line.ask(
        f"GET {wire.PATH} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n\r\n",
        UPGRADED,
    )
    return line


def websocket_frame(payload: bytes) -> bytes:
    """A client's frame. Its mask is zero, which costs the server as much as any other."""
    size = len(payload)
    head = bytes((0x82, 0x80 | size)) if size < 126 else b"\x82\xfe" + size.to_bytes(2, "big")
    return head + bytes(4) + payload


def pong(payload: bytes) -> bytes:
    """A client's answer to a ping, whose payload is short."""
    return bytes((PONG, 0x80 | len(payload))) + bytes(4) + payload


def split_frames(data: bytes, line: Line | None = None) -> tuple[list[bytes], bytes]:
    """The payloads of a server's whole frames, and the rest. Pings that came on a line are
    answered there, and are not among them."""
    payloads, at = [], 0
    while len(data) - at >= 2:
        size, start = data[at + 1], at + 2
        if size >= 126:
            start += 2 if size == 126 else 8
            if len(data) < start:
                break
            size = int.from_bytes(data[at + 2 : start], "big")
        if len(data) < start + size:
            break
        payload = data[start : start + size]
        if line is not None and data[at] == PING:
            line.transport.write(pong(payload))
        else:
            payloads.append(payload)
        at = start + size
    return payloads, data[at:]


class Pair(Protocol):
    """A sender and a reader."""

    sent: int
    running: bool
    done: asyncio.Event

    async def open(self) -> None:
        """Be ready to begin."""

    def begin(self) -> None:
        """Fill the window."""


class XmppPair:
    """A sender to a reader who is online, or who is absent, so that the server stores messages."""

    def __init__(self, plan: Plan, number: int) -> None:
        self.sent = self.arrived = 0
        self.running = True
        self.done = asyncio.Event()
        self._plan = plan
        self._number = number
        self._absent = plan.kind == "offline"
        self._rest = b""
        reader = f"<message to='reader{number}@localhost' type='chat'><body>"
        self._start = reader.encode()
        text = base64.b64encode(os.urandom(PAYLOAD_BYTES))[: PAYLOAD_BYTES - MARK_BYTES]
        self._end = text + b"</body></message>"

    async def open(self) -> None:  # noqa: D102
        self._sender = await log_in(self._plan, f"sender{self._number}", present=False)
        reader = await log_in(self._plan, f"reader{self._number}", present=not self._absent)
        if self._absent:
            reader.transport.close()
            self._sender.give_to(self._pinged)
        else:
            reader.give_to(self._arrive)

    def begin(self) -> None:  # noqa: D102
        if not self._absent:
            self._send(self._plan.window)
            return
        for _ in range(STORE_WINDOW // PING_EVERY):
            self._send(PING_EVERY)

    def _send(self, count: int) -> None:
        start, end = self._start, self._end
        stanzas = b"".join(
            [b"%b#%09d#%b" % (start, n, end) for n in range(self.sent, self.sent + count)]
        )
        self.sent += count
        if self._absent:
            stanzas += (
                b"<iq type='get' to='localhost' id='#%09d#'><ping xmlns='urn:xmpp:ping'/></iq>"
                % self.sent
            )
        self._sender.transport.write(stanzas)

    def _numbers(self, data: bytes) -> list[int]:
        data = self._rest + data
        numbers, end = [], 0
        for match in MARK.finditer(data):
            numbers.append(int(match[1]))
            end = match.end()
        self._rest = data[max(end, len(data) - MARK_BYTES + 1) :]
        return numbers

    def _arrive(self, data: bytes) -> None:
        numbers = self._numbers(data)
        arrived, self.arrived = self.arrived, self.arrived + len(numbers)
        assert numbers == list(range(arrived, self.arrived)), numbers
        self._go_on(len(numbers))

    def _pinged(self, data: bytes) -> None:
        for number in self._numbers(data):
            self.arrived += PING_EVERY
            assert number == self.arrived, number
            self._go_on(PING_EVERY)

    def _go_on(self, count: int) -> None:
        if count and self.running:
            self._send(count)
        if not self.running and self.arrived == self.sent:
            self.done.set()


class Latecomer:
    """A reader who was absent, and counts the stored messages."""

    def __init__(self, plan: Plan, number: int) -> None:
        self.sent = 0
        self.running = True
        self.done = asyncio.Event()
        self._plan = plan
        self._number = number
        self._expected = plan.expected[plan.pairs.index(number)]

    async def open(self) -> None:  # noqa: D102
        self._reader = await log_in(self._plan, f"reader{self._number}", present=False)
        self._rest = b""

    def begin(self) -> None:  # noqa: D102
        self._reader.give_to(self._arrive)
        self._reader.transport.write(b"<presence/>")

    def _arrive(self, data: bytes) -> None:
        data = self._rest + data
        end = 0
        for match in MARK.finditer(data):
            assert int(match[1]) == self.sent, (match[1], self.sent)
            self.sent += 1
            end = match.end()
        self._rest = data[max(end, len(data) - MARK_BYTES + 1) :]
        if self.sent == self._expected:
            self.done.set()


class AmanatPair:
    """A sender to a bucket and a reader who follows it."""

    def __init__(self, plan: Plan, number: int) -> None:
        self.sent = self.answered = self.arrived = 0
        self.running = True
        self.done = asyncio.Event()
        self._plan = plan
        self._drop = plan.drops[plan.pairs.index(number)]
        self._cell_end = os.urandom(MESSAGE_CELL - LABEL_BYTES)
        self._answers = self._cells = b""

    async def open(self) -> None:  # noqa: D102
        self._sender = await open_websocket(self._plan)
        reader = await open_websocket(self._plan)
        await follow(reader, self._drop)
        self._sender.give_to(self._answer)
        reader.give_to(self._arrive)

    def begin(self) -> None:  # noqa: D102
        self._send(self._plan.window)

    def _send(self, count: int) -> None:
        drop_id, token, _ = self._drop
        frames = []
        for number in range(self.sent, self.sent + count):
            cell = os.urandom(LABEL_BYTES - 8) + number.to_bytes(8, "big") + self._cell_end
            frames.append(websocket_frame(wire.encode(wire.Append(number, drop_id, token, cell))))
        self.sent += count
        self._sender.transport.write(b"".join(frames))

    def _answer(self, data: bytes) -> None:
        payloads, self._answers = split_frames(self._answers + data)
        for payload in payloads:
            self.answered += 1
            reply = _answers.decode(payload)
            assert reply.seq == self.answered, reply
        if payloads and self.running:
            self._send(len(payloads))
        self._look()

    def _arrive(self, data: bytes) -> None:
        payloads, self._cells = split_frames(self._cells + data)
        for payload in payloads:
            for cell in _cells.decode(payload).cells:
                assert int.from_bytes(cell[8:LABEL_BYTES], "big") == self.arrived
                self.arrived += 1
        self._look()

    def _look(self) -> None:
        if not self.running and self.answered == self.arrived == self.sent:
            self.done.set()


_answers = msgspec.msgpack.Decoder(wire.Appended)
_cells = msgspec.msgpack.Decoder(wire.Cells)


UNBOUNDED = 2**53 - 1
"""Credit of a Follow, unbounded because cells are counted and not kept."""


async def follow(line: Line, drop: Drop) -> None:
    """Follow an empty drop."""
    request = wire.Follow(0, drop.drop_id, drop.read_token, 0, UNBOUNDED)
    line.transport.write(websocket_frame(wire.encode(request)))
    await line.expect(FRAME)
    line.kept = b""


def pongs(line: Line) -> Callable[[bytes], None]:
    """The answerer of a relay's pings on a line on which nothing else comes: the relay closes a
    connection that gives no answers."""

    def answer(data: bytes) -> None:
        assert data[0] == PING, data[:80]
        line.transport.write(pong(data[2:]))

    return answer


def make(plan: Plan, number: int) -> Pair:
    """A pair as the plan wants it."""
    kinds: dict[str, Callable[[Plan, int], Pair]] = {
        "durable": AmanatPair,
        "absent": Latecomer,
        "online": XmppPair,
        "offline": XmppPair,
    }
    return kinds[plan.kind](plan, number)


async def load(plan: Plan, pipe: Connection) -> Outcome:
    """Open everything, wait for the signal, and run."""
    pairs = [make(plan, number) for number in plan.pairs]
    for pair in pairs:
        await pair.open()
    pipe.send(None)
    pipe.recv()
    cpu_s, began = time.process_time(), time.perf_counter()
    for pair in pairs:
        pair.begin()
    await asyncio.sleep(plan.seconds)
    for pair in pairs:
        pair.running = False
    async with asyncio.timeout(LAST_S):
        for pair in pairs:
            await pair.done.wait()
    ended = time.perf_counter()
    return Outcome([pair.sent for pair in pairs], began, ended, time.process_time() - cpu_s)


async def idle(plan: Plan, pipe: Connection) -> Outcome:
    """Open connections that then do nothing, and hold them until told to end."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 65_536)), hard))
    turn, lines = asyncio.Semaphore(LOGINS), []

    async def open_one(number: int) -> None:
        async with turn:
            if plan.drops:
                line = await open_websocket(plan)
                await follow(line, plan.drops[number % len(plan.drops)])
                line.give_to(pongs(line))
            else:
                line = await log_in(plan, f"idle{number}", present=True)
            lines.append(line)

    await asyncio.gather(*map(open_one, plan.pairs))
    pipe.send(None)
    await asyncio.get_running_loop().run_in_executor(None, pipe.recv)
    assert not any(line.transport.is_closing() for line in lines)
    return Outcome([], 0, 0, 0)


def give_up(_: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    """End this process, because something unexpected came."""
    error = context.get("exception")
    if isinstance(error, BaseException):
        traceback.print_exception(error)
    os._exit(1)


def generate(plan: Plan, pipe: Connection) -> None:
    """A generator's process."""
    work = idle if plan.kind == "idle" else load
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.get_loop().set_exception_handler(give_up)
        pipe.send(runner.run(work(plan, pipe)))


class Generators:
    """The generators of one run, ready to begin."""

    def __init__(self, plans: list[Plan]) -> None:
        self._pipes = []
        self._processes = []
        context = multiprocessing.get_context("spawn")
        for plan in plans:
            ours, theirs = multiprocessing.Pipe()
            process = context.Process(target=generate, args=(plan, theirs))
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)
        for pipe in self._pipes:
            pipe.recv()

    def run(self) -> list[Outcome]:
        """Start all generators; their results."""
        for pipe in self._pipes:
            pipe.send(None)
        outcomes: list[Outcome] = [pipe.recv() for pipe in self._pipes]
        for process in self._processes:
            process.join()
        return outcomes
