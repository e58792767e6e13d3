"""The workers of a replay: each runs the clients of some of the people, in one event loop."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import uvloop

from amanat.client.sdk.client import Client
from amanat.client.vault import Unlock
from amanat.drill.transcripts import Transcript
from amanat.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from multiprocessing.connection import Connection

    from amanat.drill.traces import Line, Script

GROUP_NAME = "replay"
EXIT_PAUSES_S = (1, 5, 20)
"""How long a person who wants to leave waits before each further try, in seconds."""
COUNT_S = 0.5
"""How often a worker reports its progress, in seconds."""


class Order(NamedTuple):
    """Something that some people are to do: leave for another relay, or allow regions."""

    people: list[str]
    exit_to: str = ""
    regions: tuple[str, ...] = ()


class Task(NamedTuple):
    """A worker's instructions, which it gets when it starts."""

    script: Script
    share: list[str]
    relay: str
    root: Path
    key: bytes
    is_new: bool
    """Whether the worker has to make its people; otherwise a killed worker has left their
    profiles."""
    lines_per_s: float
    """Most lines that its people say in a second; 0: as many as they can."""
    others: tuple[str, ...]
    """Addresses of further relays whose places its people name."""


def work(pipe: Connection, task: Task) -> None:
    """Be a worker: go through the phases, and end when the conductor says so."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the conductor ends us
    try:
        uvloop.run(_Worker(pipe, task).run())
    except Exception as error:  # noqa: BLE001  # told to the conductor, whose error it becomes
        pipe.send(("failed", f"{type(error).__name__}: {error}"))


class _Worker:
    """Some of the people, in one event loop."""

    def __init__(self, pipe: Connection, task: Task) -> None:
        self._pipe = pipe
        self._task = task
        self._script = task.script
        self._clients: dict[str, Client] = {}
        self._shown = 0
        self._made_at: list[float] = []
        """The time at which each group was made, in Unix seconds; other processes know when
        everybody had joined."""
        self._next_turn = 0.0

    async def run(self) -> None:
        """Go through the phases with the conductor."""
        for person in self._task.share:
            self._clients[person] = await self._client(person)
        for client in self._clients.values():
            client.start()
        if self._task.is_new:
            await self._meet()
        self._pipe.send(("ready", {"made_at": self._made_at, "ready_at": time.time()}))
        await self._next()
        before = [client.traffic() for client in self._clients.values()]
        talks = [
            asyncio.create_task(self._talk(person, conversation, lines))
            for conversation, lines in self._script.conversations.items()
            for person in self._mine(conversation)
        ]
        ticker = asyncio.create_task(self._tell())
        asked = asyncio.create_task(self._obey())
        await asyncio.wait([asked, _failure(talks)], return_when=asyncio.FIRST_COMPLETED)
        if asked.done():
            asked.result()
        for task in (*talks, ticker):
            task.cancel()
        for outcome in await asyncio.gather(*talks, ticker, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome
        after = [client.traffic() for client in self._clients.values()]
        transcripts = [
            self._transcript(person, conversation)
            for conversation in self._script.conversations
            for person in self._mine(conversation)
        ]
        homes = {person: client.status().relay for person, client in self._clients.items()}
        for client in self._clients.values():
            await client.close()
        self._pipe.send(
            (
                "report",
                {
                    "transcripts": transcripts,
                    "homes": homes,
                    "sent": sum(a[0] - b[0] for a, b in zip(after, before, strict=True)),
                    "received": sum(a[1] - b[1] for a, b in zip(after, before, strict=True)),
                },
            )
        )

    def _mine(self, people: Iterable[str]) -> list[str]:
        return [person for person in people if person in self._clients]

    async def _client(self, person: str) -> Client:
        directory = self._task.root / "people" / person.encode().hex()
        unlock = Unlock(key=self._task.key)
        if not self._task.is_new:
            return Client.open(directory, unlock)
        client = await Client.create(directory, unlock, name=person, relay=self._task.relay)
        for relay in self._task.others:
            await client.home.set_place(relay)
        return client

    async def _next(self) -> Any:  # noqa: ANN401  # what the conductor sends
        return await asyncio.get_running_loop().run_in_executor(None, self._pipe.recv)

    async def _obey(self) -> None:
        """Carry out the conductor's orders until it asks for the report."""
        while isinstance(order := await self._next(), Order):
            for person in self._mine(order.people):
                client = self._clients[person]
                if order.exit_to:
                    await self._exit(client, order.exit_to)
                else:
                    client.home.set_allowed_regions(order.regions)

    @staticmethod
    async def _exit(client: Client, relay: str) -> None:
        for pause in (*EXIT_PAUSES_S, None):
            try:
                await client.home.exit(relay)
            except Unavailable:  # everybody is online at once, which is rare in life
                if pause is None:
                    raise
                await asyncio.sleep(pause)
            else:
                return

    async def _meet(self) -> None:
        """Exchange invites through the conductor, as people do out of band, and make the groups."""
        pairs = _pairs(self._script)
        mine = [pair for pair in pairs if pair[0] in self._clients]
        self._pipe.send(("links", {pair: self._clients[pair[0]].invite() for pair in mine}))
        links = await self._next()
        for pair in pairs:
            if pair[1] in self._clients:
                self._clients[pair[1]].accept(links[pair])
        for one, other in pairs:
            for person, contact in ((one, other), (other, one)):
                if person in self._clients:
                    await self._know(self._clients[person], contact)
        for conversation in self._script.conversations:
            if len(conversation) > 2 and conversation[0] in self._clients:  # noqa: PLR2004
                self._made_at.append(time.time())
                self._clients[conversation[0]].create_group(GROUP_NAME, conversation[1:])
        for conversation in self._script.conversations:
            for person in self._mine(conversation):
                await self._find(person, conversation)

    @staticmethod
    async def _know(client: Client, name: str) -> None:
        while name not in {contact.name for contact in client.contacts()}:
            await client.changed()

    async def _find(self, person: str, conversation: tuple[str, ...]) -> bytes:
        """The gid of a conversation at one of its people, once everybody has joined."""
        client = self._clients[person]
        name = _name_for(person, conversation)
        while True:
            for view in client.conversations():
                if view.name == name and len(view.people) == len(conversation):
                    return view.gid
            await client.changed()

    async def _talk(self, person: str, conversation: tuple[str, ...], lines: list[Line]) -> None:
        """Say this person's lines, each once all lines before it are shown."""
        client = self._clients[person]
        gid = await self._find(person, conversation)
        told = 0
        while told < len(lines):
            shown = client.chat(gid).count()
            self._shown += shown - told
            told = shown
            if told < len(lines) and lines[told].sender == person:
                await self._wait_for_turn()
                client.chat(gid).send(lines[told].text)
            else:
                await client.changed()

    async def _wait_for_turn(self) -> None:
        """Wait, if people are to say at most so many lines a second."""
        if self._task.lines_per_s:
            now = time.monotonic()
            self._next_turn = max(self._next_turn, now) + 1 / self._task.lines_per_s
            await asyncio.sleep(self._next_turn - now)

    async def _tell(self) -> None:
        while True:
            self._pipe.send(("count", {"shown": self._shown}))
            await asyncio.sleep(COUNT_S)

    def _transcript(self, person: str, conversation: tuple[str, ...]) -> Transcript:
        client = self._clients[person]
        gid = client.conversation(_name_for(person, conversation)).gid
        messages = client.chat(gid).messages()
        return Transcript(
            conversation,
            shown=[(message.sender, message.text) for message in messages],
            waits_ms=[m.kept_at - m.sent_at for m in messages if not m.is_own],
        )


def _name_for(person: str, conversation: tuple[str, ...]) -> str:
    """The name of a conversation at a person's client."""
    if len(conversation) > 2:  # noqa: PLR2004  # a group
        return GROUP_NAME
    return conversation[0] if person == conversation[1] else conversation[1]


def _failure(tasks: list[asyncio.Task[None]]) -> asyncio.Future[None]:
    """A future that is done as soon as one of the tasks has failed."""
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def look(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None and not failed.done():
            failed.set_result(None)

    for task in tasks:
        task.add_done_callback(look)
    return failed


def _pairs(script: Script) -> list[tuple[str, str]]:
    """The pairs of people who have to meet, the inviter first: in a group, its maker and each other
    member."""
    found: dict[tuple[str, str], None] = {}
    for conversation in script.conversations:
        for other in conversation[1:]:
            found[conversation[0], other] = None
    return list(found)
