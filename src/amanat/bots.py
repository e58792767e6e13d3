"""Bots: programs that answer what people write to them.

    from amanat.bots import Bot, text

    bot = Bot("echo")

    @bot.on(text)
    async def echo(message):
        message.reply(message.text)

    bot.main()

A bot is an ordinary person's client. What a handler answers and the mark that its message is read
are one unit of work: a bot that dies before it answers the message when it starts again, and one
that dies after it does not answer twice. What a handler does elsewhere (it asks a server, it writes
a file) can happen again; `Incoming.key` is the same each time.
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
"""Where the profiles of bots are, each in a directory of its name."""
AT_ONCE = 16
"""Conversations whose handlers run at the same time: a slow one keeps few others waiting."""
TRIES = 3
"""How often a handler is tried before its message counts as failed."""
HANDLER_S = 60.0
"""How long a handler may take, in seconds."""
DISK_FULL_S = 5.0
"""After how long a bot looks again for room on its disk, in seconds."""
MOST_A_MINUTE = 20
"""Messages of one person that are handled in a minute, the others after that: two bots would
answer each other all the time."""
MAX_WAITING = 1_000
"""Messages of one conversation that wait in memory; the others wait in the vault, unread."""
MINUTE_MS = 60_000
MAX_FAILED = 1_000
"""Failures that are remembered."""
MAX_STATE_BYTES = 65_536
"""What a job may keep, as JSON."""

_logger = logging.getLogger(__name__)


class Incoming:
    """A message to a bot. Whatever is answered is said once the handler has ended."""

    def __init__(self, message: Message, chat: Chat, together: Together) -> None:
        self.message = message
        self.chat = chat
        """The conversation it came to, to look into."""
        self._together = together

    @property
    def text(self) -> str:
        """What was written."""
        return self.message.text

    @property
    def sender(self) -> str:
        """What we call the person who wrote it."""
        return self.message.sender

    @property
    def key(self) -> str:
        """The same whenever this message is handled, and of no other message: 32 hex digits."""
        return self.message.id

    def reply(self, text: str) -> None:
        """Answer it."""
        self._together.send(self.message.gid, text, reply_to=self.message.id)

    def react(self, emoji: str) -> None:
        """React to it."""
        self._together.react(self.message.gid, self.message.id, emoji)

    def send(self, to: str, text: str) -> None:
        """Say something elsewhere: to a contact or in a group, by name or id. Raises
        UnknownConversation or AmbiguousName."""
        self._together.send(self._together.gid(to), text)


class Run(NamedTuple):
    """One run of a job. What is said and what is kept in `state` are done as one, once the job has
    ended; `state` holds what JSON can."""

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
    """Which messages a handler is for. Filters combine with `&`, `|` and `~`."""

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
    """A text that begins with what matches a regular expression."""
    compiled = re.compile(pattern)
    return Filter(lambda message: compiled.match(message.text) is not None)


def from_(name: str) -> Filter:
    """A message of the person we call so."""
    return Filter(lambda message: message.sender == name)


class Failure(NamedTuple):
    """A message that no try has answered: its key, and what kind of error came of the last."""

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
        """Messages of one person that are handled in a minute; None: all."""
        self._handlers: list[tuple[Filter, Callable[[Incoming], Awaitable[None]]]] = []
        self._jobs: list[_Job] = []

    def on(
        self, wanted: Filter
    ) -> Callable[[Callable[[Incoming], Awaitable[None]]], Callable[[Incoming], Awaitable[None]]]:
        """Have a function handle the messages that a filter wants and that no handler before it
        has taken."""

        def add(
            handler: Callable[[Incoming], Awaitable[None]],
        ) -> Callable[[Incoming], Awaitable[None]]:
            self._handlers.append((wanted, handler))
            return handler

        return add

    def every(
        self, seconds: float
    ) -> Callable[[Callable[[Run], Awaitable[None]]], Callable[[Run], Awaitable[None]]]:
        """Have a function run this often; if the bot was not running, once when it starts. The
        name of the function is the name of the job, under which its state is kept."""

        def add(work: Callable[[Run], Awaitable[None]]) -> Callable[[Run], Awaitable[None]]:
            self._jobs.append(_Job(work.__name__, seconds, work))
            return work

        return add

    def main(self, arguments: list[str] | None = None) -> NoReturn:
        """The command line of this bot: that of `amanat` with the bot's profile, where `run` also
        answers. So `init`, `invite`, `status` and all other commands are here too."""
        from amanat import cli  # noqa: PLC0415  # a bot under test has no command line

        words = sys.argv[1:] if arguments is None else arguments
        cli.main(["--profile", str(self.profile), *words], stay=self.serve)

    async def serve(self, client: Client) -> None:
        """Answer what people write, until the client is closed. Raises what stopped it."""
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
        """Who handles what came to a conversation, in its order."""
        self._bot = bot
        self._client = client
        self._tasks = tasks
        self._waiting: dict[bytes, deque[Message]] = {}
        self._taken: dict[bytes, int] = {}
        """The last row of each conversation that was taken."""
        self._more: set[bytes] = set()
        """Conversations of which more is unread than waits here."""
        self._room = asyncio.Semaphore(AT_ONCE)
        self._recent: dict[tuple[bytes, str], deque[int]] = {}

    async def follow(self) -> None:
        """Take what was not read, and then what comes."""
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
                continue  # the vault has it all
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
        """Wait as long as this person has been answered as often as they are in a minute."""
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
        """Run a job as often as it is to be, for ever."""
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
