"""Bots: programs that answer what people write to them.

    from amanat.bots import Bot, text

    bot = Bot("echo")

    @bot.on(text)
    async def echo(message):
        message.reply(message.text)

    bot.main()

A bot is an ordinary person's client. A handler's answers and the mark that its message is read are
one unit of work: a bot that dies before this unit answers the message when it starts again, and one
that dies after it does not answer twice. A handler's other effects (it asks a server, it writes a
file) can happen again; `Incoming.key` is the same each time.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from amanat.client.events import TextArrived
from amanat.errors import BadArgument, DiskFull, Overrun

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from amanat.client.sdk.chat import Chat
    from amanat.client.sdk.client import Client
    from amanat.client.sdk.together import Together
    from amanat.client.sdk.views import Message

PROFILES = Path.home() / ".local" / "share" / "amanat-bots"
"""The directory of the bots' profiles, each in a directory with the bot's name."""
AT_ONCE = 16
"""Conversations whose handlers run at the same time: a slow one keeps few others waiting."""
TRIES = 3
"""How often a handler is tried before its message counts as failed."""
HANDLER_S = 60.0
"""How long a handler may take, in seconds."""
DISK_FULL_S = 5.0
"""Seconds after which a bot looks again for room on its disk."""
MOST_A_MINUTE = 20
"""Messages of one person that a bot handles in a minute; the others wait. Without this limit two
bots would answer each other all the time."""
MAX_WAITING = 1_000
"""Messages of one conversation that wait in memory; the others wait in the vault, unread."""
MINUTE_MS = 60_000
MAX_FAILED = 1_000
"""Most failures that a bot remembers."""
MAX_STATE_BYTES = 65_536
"""Most bytes of state that a job may keep, as JSON."""

_logger = logging.getLogger(__name__)


class Incoming:
    """A message to a bot. The client sends the answers once the handler has ended."""

    def __init__(self, message: Message, chat: Chat, together: Together) -> None:
        self.message = message
        self.chat = chat
        """The conversation in which the message came."""
        self._together = together

    @property
    def text(self) -> str:
        """The words of the message."""
        return self.message.text

    @property
    def sender(self) -> str:
        """Our name for the person who wrote it."""
        return self.message.sender

    @property
    def key(self) -> str:
        """A key that this message alone has, the same each time it is handled: 32 hex digits."""
        return self.message.id

    def reply(self, text: str) -> None:
        """Answer it."""
        self._together.send(self.message.gid, text, reply_to=self.message.id)

    def react(self, emoji: str) -> None:
        """React to it."""
        self._together.react(self.message.gid, self.message.id, emoji)

    def send(self, to: str, text: str) -> None:
        """Say something in another conversation, to a contact or in a group, by name or id. Raises
        UnknownConversation or AmbiguousName."""
        self._together.send(self._together.gid(to), text)


class Run(NamedTuple):
    """One run of a job. Once the job has ended, its messages and its `state` are committed as one
    unit of work; `state` holds only values that JSON can express."""

    state: dict[str, object]
    together: Together

    def send(self, to: str, text: str) -> None:
        """Say something to a contact or in a group, by name or id. Raises UnknownConversation or
        AmbiguousName."""
        self.together.send(self.together.gid(to), text)

    def send_to_all(self, text: str) -> None:
        """Say something in every conversation that we are in."""
        for gid in self.together.live():
            self.together.send(gid, text)


class Filter:
    """The choice of messages for a handler. Filters combine with `&`, `|` and `~`."""

    def __init__(self, holds: Callable[[Incoming], bool]) -> None:
        self._holds = holds

    def __call__(self, message: Incoming) -> bool:
        """Whether it wants a message."""
        return self._holds(message)

    def __and__(self, other: Filter) -> Filter:
        return Filter(lambda message: self(message) and other(message))

    def __or__(self, other: Filter) -> Filter:
        return Filter(lambda message: self(message) or other(message))

    def __invert__(self) -> Filter:
        return Filter(lambda message: not self(message))


text = Filter(lambda message: bool(message.text.strip()))
"""Any text."""
direct = Filter(lambda message: message.chat.is_direct)
"""A message to the bot alone."""
group = ~direct
"""A message in a group."""


def command(name: str) -> Filter:
    """A text that begins with `/name`, as a word of its own."""
    return regex(rf"/{re.escape(name)}(\s|\Z)")


def regex(pattern: str) -> Filter:
    """A text whose beginning matches a regular expression."""
    compiled = re.compile(pattern)
    return Filter(lambda message: compiled.match(message.text) is not None)


def from_(name: str) -> Filter:
    """A message of the person with this name."""
    return Filter(lambda message: message.sender == name)


class Failure(NamedTuple):
    """A message for which every try failed: its key, and the kind of error of the last try."""

    key: str
    error: str


class _Job(NamedTuple):
    name: str
    every_s: float
    work: Callable[[Run], Awaitable[None]]


class Bot:
    """A bot: its handlers, its jobs, and its command line."""

    def __init__(
        self, name: str, *, profile: Path | None = None, most_a_minute: int | None = MOST_A_MINUTE
    ) -> None:
        self.name = name
        self.profile = profile or PROFILES / name
        self.failed: deque[Failure] = deque(maxlen=MAX_FAILED)
        self.most_a_minute = most_a_minute
        """Messages of one person that the bot handles in a minute; None: all."""
        self._handlers: list[tuple[Filter, Callable[[Incoming], Awaitable[None]]]] = []
        self._jobs: list[_Job] = []

    def on(
        self, wanted: Filter
    ) -> Callable[[Callable[[Incoming], Awaitable[None]]], Callable[[Incoming], Awaitable[None]]]:
        """Decorate a function to handle the messages that a filter wants and that no handler
        before it has taken."""

        def add(
            handler: Callable[[Incoming], Awaitable[None]],
        ) -> Callable[[Incoming], Awaitable[None]]:
            self._handlers.append((wanted, handler))
            return handler

        return add

    def every(
        self, seconds: float
    ) -> Callable[[Callable[[Run], Awaitable[None]]], Callable[[Run], Awaitable[None]]]:
        """Decorate a function to run at this interval. If it came due while the bot was not
        running, it runs once at the start. The function's name is the name of the job, under which
        the bot keeps its state."""

        def add(work: Callable[[Run], Awaitable[None]]) -> Callable[[Run], Awaitable[None]]:
            self._jobs.append(_Job(work.__name__, seconds, work))
            return work

        return add

    def main(self, arguments: list[str] | None = None) -> NoReturn:
        """Run the command line of this bot: every command of `amanat`, such as `init`, `invite` and
        `status`, with the bot's profile. Its `run` also answers messages."""
        from amanat import cli  # noqa: PLC0415  # a bot under test has no command line

        words = sys.argv[1:] if arguments is None else arguments
        cli.main(["--profile", str(self.profile), *words], stay=self.serve)

    async def serve(self, client: Client) -> None:
        """Answer what people write, until the client is closed. Raises the error that stopped
        it."""
        async with asyncio.TaskGroup() as tasks:
            desk = _Desk(self, client, tasks)
            jobs = [tasks.create_task(desk.repeat(job)) for job in self._jobs]
            try:
                await desk.follow()
            finally:
                for task in (*jobs, *desk.workers.values()):
                    task.cancel()

    def handler_of(self, message: Incoming) -> Callable[[Incoming], Awaitable[None]] | None:
        """The first handler that wants a message."""
        return next((handler for wanted, handler in self._handlers if wanted(message)), None)


class _Desk:
    """A bot at work with one client."""

    def __init__(self, bot: Bot, client: Client, tasks: asyncio.TaskGroup) -> None:
        self.workers: dict[bytes, asyncio.Task[None]] = {}
        """The task for each conversation that handles its messages in order."""
        self._bot = bot
        self._client = client
        self._tasks = tasks
        self._waiting: dict[bytes, deque[Message]] = {}
        self._taken: dict[bytes, int] = {}
        """The last row of each conversation that was taken."""
        self._more: set[bytes] = set()
        """Conversations with more unread messages than wait here."""
        self._room = asyncio.Semaphore(AT_ONCE)
        self._recent: dict[tuple[bytes, str], deque[int]] = {}

    async def follow(self) -> None:
        """Take the unread messages, and then the new ones as they come."""
        while True:
            events = self._client.events()
            self._take_unread(None)
            try:
                async for event in events:
                    if isinstance(event, TextArrived):
                        arrived = self._client.chat(event.gid).message_at(event.row)
                        if arrived is not None:
                            self._take(arrived)
            except Overrun:
                continue  # the vault has everything
            return

    def _take_unread(self, gid: bytes | None) -> None:
        for message in self._client.arrivals(gid):
            self._take(message)

    def _take(self, message: Message) -> None:
        gid = message.gid
        if message.is_own or message.row <= self._taken.get(gid, 0) or gid in self._more:
            return
        waiting = self._waiting.setdefault(gid, deque())
        if len(waiting) >= MAX_WAITING:
            self._more.add(gid)
            return
        self._taken[gid] = message.row
        waiting.append(message)
        if gid not in self.workers:
            self.workers[gid] = self._tasks.create_task(self._work(gid))

    async def _work(self, gid: bytes) -> None:
        waiting = self._waiting[gid]
        while waiting:
            message = waiting.popleft()
            await self._turn_of(message)
            async with self._room:
                await self._handle(message)
            if not waiting and gid in self._more:
                self._more.discard(gid)
                self._take_unread(gid)
        del self._waiting[gid], self.workers[gid]

    async def _handle(self, message: Message) -> None:
        """Answer a message and mark it as read, as one."""
        error = ""
        for _ in range(TRIES):
            together = self._client.together()
            try:
                if not message.is_deleted:
                    await self._answer(message, together)
                await self._carry_out(together, message)
            except Exception as found:  # noqa: BLE001  # the handler's
                error = type(found).__name__
            else:
                return
        _logger.warning("a handler failed %d times: %s", TRIES, error)
        self._bot.failed.append(Failure(message.id, error))
        await self._carry_out(self._client.together(), message)

    async def _answer(self, message: Message, together: Together) -> None:
        incoming = Incoming(message, self._client.chat(message.gid), together)
        handler = self._bot.handler_of(incoming)
        if handler is not None:
            async with asyncio.timeout(HANDLER_S):
                await handler(incoming)

    async def _carry_out(self, together: Together, message: Message) -> None:
        together.seen(message.gid, message.row)
        while True:
            try:
                together.carry_out()
            except DiskFull:
                await asyncio.sleep(DISK_FULL_S)
            else:
                return

    async def _turn_of(self, message: Message) -> None:
        """Wait while this person has already had as many answers as they get in a minute."""
        most = self._bot.most_a_minute
        if most is None:
            return
        recent = self._recent.setdefault((message.gid, message.sender), deque(maxlen=most))
        if len(recent) == most:
            # A clock that was set back makes nobody wait for longer than a minute.
            wait_ms = min(recent[0] + MINUTE_MS - self._client.now(), MINUTE_MS)
            await asyncio.sleep(max(wait_ms, 0) / 1000)
        recent.append(self._client.now())

    async def repeat(self, job: _Job) -> None:
        """Run a job at its interval, for ever."""
        key = f"job {job.name}"
        while True:
            kept = json.loads(self._client.together().kept(key) or b'{"due_at": 0, "state": {}}')
            # A clock that was set back puts a job off for one pause at most.
            wait_s = min((kept["due_at"] - self._client.now()) / 1000, job.every_s)
            if wait_s > 0:
                await asyncio.sleep(wait_s)
                continue
            together = self._client.together()
            run = Run(kept["state"], together)
            try:
                async with asyncio.timeout(HANDLER_S):
                    await job.work(run)
                value = {
                    "due_at": self._client.now() + int(1000 * job.every_s),
                    "state": run.state,
                }
                data = json.dumps(value).encode()
                if len(data) > MAX_STATE_BYTES:
                    raise BadArgument(f"a job may keep {MAX_STATE_BYTES} bytes")
                together.keep(key, data)
                together.carry_out()
            except Exception as error:  # noqa: BLE001  # the job's
                _logger.warning("the job %s failed: %s", job.name, type(error).__name__)
                await asyncio.sleep(job.every_s)


__all__ = [
    "Bot",
    "Failure",
    "Filter",
    "Incoming",
    "Run",
    "command",
    "direct",
    "from_",
    "group",
    "regex",
    "text",
]
