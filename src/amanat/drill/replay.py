"""Replaying a trace: real clients with real vaults talk through a real relay.

The relay is a process of its own; the people are spread over worker processes, each running its
clients in one event loop. Time is compressed and order kept: a person says their next line of a
conversation when they have seen every line before it. Afterwards every transcript is compared with
the trace, and the relay's data directory and everything it printed are searched for every text.

The conductor (this process) and the workers talk over pipes, in phases: make the people; exchange
invites (what happens out of band between real people); make groups; talk; report.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import multiprocessing
import multiprocessing.connection
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import uvloop

from amanat.client.api import Client
from amanat.client.vault import Unlock
from amanat.drill.process import free_port
from amanat.drill.search import Hit, find_texts
from amanat.errors import BadArgument, RelayUnreachable, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

    from amanat.drill.traces import Line, Script

PEOPLE_PER_BUCKET = 32
"""People sharing a bucket, as the design asks."""
STALL_S = 120
"""A replay in which nothing arrives for this many seconds has lost something, and ends."""
RELAY_START_S = 30
RELAY_STOP_S = 30
GROUP_NAME = "replay"
_RELAY = [sys.executable, "-m", "amanat", "--json", "relay"]
POLL_S = 0.05
"""How often a wait for another process looks again, in seconds."""
EXIT_PAUSES_S = (1, 5, 20)
"""How long who wants to leave waits before they try again, in seconds."""
SHOWN_HITS = 100
"""Texts found at the relay whose places are told: one is too many already."""
COUNT_S = 0.5
"""How often a worker tells how far it is, in seconds."""


class Report(NamedTuple):
    """What a replay found; field names are the JSON keys.

    A message is delivered when everyone it was for shows it, so `delivered + lost = messages_in`.
    Times are from the sender's `send` to the recipient's transcript; bytes are WebSocket payload
    while people talk, over all clients. `texts_too_short` counts texts that were not searched for,
    because so few bytes turn up in random data by chance; `plaintext_hits` says where the first of
    the hits stand. `founding_seconds` is the part of `setup_seconds` from when the first group is
    made until everybody is in theirs.
    """

    people: int
    messages_in: int
    delivered: int
    lost: int
    duplicated: int
    reordered: int
    transcripts_equal: bool
    relay_plaintext_hits: int
    plaintext_hits: list[Hit]
    texts_too_short: int
    seconds: float
    messages_per_s: float
    p50_ms: float
    p99_ms: float
    longest_ms: float
    bytes_up_per_message: int
    bytes_down_per_message: int
    relay_disk_bytes: int
    setup_seconds: float
    founding_seconds: float

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost, duplicated or found."""
        return not (self.lost or self.duplicated or self.relay_plaintext_hits)


class Transcript(NamedTuple):
    """What one person's client shows of one conversation."""

    conversation: tuple[str, ...]
    shown: list[tuple[str, str]]
    """(sender, text) in the client's order."""
    waits_ms: list[int]
    """From send to transcript, for each message of others."""


def replay(
    script: Script,
    *,
    processes: int,
    progress: Callable[[str, int, int], None],
    kills: int = 0,
    keep: Path | None = None,
) -> Report:
    """Replay a script and report. `progress(phase, done, total)` is called as it goes on.

    While people talk, the relay and the workers are in turn ended by SIGKILL and started again,
    `kills` times at random moments. Everything rests in a temporary directory, or in `keep`, which
    is then left behind. Raises BadArgument or RelayUnreachable.
    """
    if not 1 <= processes <= len(script.people):
        raise BadArgument("--processes must be from 1 to the number of people")
    root = Path(tempfile.mkdtemp(prefix="amanat-replay-")) if keep is None else keep
    root.mkdir(parents=True, exist_ok=True)
    unused = RelayProcess(root / "unused", people=len(script.people))
    relay = RelayProcess(root / "relay", people=len(script.people))
    conductor = Conductor(script, relay, root, processes=processes)
    try:
        unused.run()
        unused.stop()
        relay.run()
        began = time.monotonic()
        progress("people", 0, len(script.people))
        conductor.start()
        progress("people", len(script.people), len(script.people))
        talking = time.monotonic()
        conductor.talk(progress, kills=kills)
        seconds = time.monotonic() - talking
        results = conductor.report()
        relay.stop()  # its write-ahead log is now in the database, as on a seized disk
        hits, short = find_texts(
            {line.text for line in script.lines}, relay.written, unused=unused.written
        )
        return _report(
            script,
            results,
            hits=hits,
            short=short,
            seconds=seconds,
            setup=talking - began,
            founding=conductor.founding_s,
            disk=relay.disk_bytes(),
        )
    finally:
        conductor.close()
        unused.kill()
        relay.kill()
        if keep is None:
            shutil.rmtree(root, ignore_errors=True)


class RelayProcess:
    """A relay process with a data directory and a file for all it prints."""

    def __init__(
        self, directory: Path, *, people: int, region: str = "IR", sources: Sequence[str] = ()
    ) -> None:
        """`sources` are the addresses of relays whose drops may move here."""
        self.directory = directory
        self.log = directory.with_name(f"{directory.name}-output")
        self._process: subprocess.Popen[bytes] | None = None
        made = subprocess.run(  # noqa: S603  # our own program
            [*_RELAY, "init", str(directory), "--region", region, "--operator", "replay",
             "--port", str(free_port()), "--buckets", str(-(-people // PEOPLE_PER_BUCKET))],
            check=True, stdout=subprocess.PIPE,
        )  # fmt: skip
        self.address = str(json.loads(made.stdout)["address"])
        if sources:
            settings = self.directory / "relay.toml"
            listed = f"sources = {json.dumps(list(sources))}"
            text = settings.read_text(encoding="utf-8").replace("# sources = []", listed)
            settings.write_text(text, encoding="utf-8")

    def hop_to(self, other: RelayProcess) -> None:
        """Be a hop to another relay, as the relay of an operator of one's own, from the next start
        on."""
        file = self.directory / "relay.toml"
        text = file.read_text(encoding="utf-8")
        text = text.replace('operator = "replay"', f'operator = "{self.directory.name}"')
        text = text.replace('# serve = "off"', 'serve = "listed"')
        text = text.replace("# relays = []", f'relays = ["{other.address}"]')
        file.write_text(text, encoding="utf-8")

    def program(self) -> tuple[list[str], dict[str, str]]:
        """The command that runs the relay, and its environment."""
        return [*_RELAY, "run", str(self.directory)], dict(os.environ)

    @property
    def written(self) -> list[Path]:
        """All that it writes: its data directory and what it prints."""
        return [self.directory, self.log]

    @property
    def pid(self) -> int:
        """Of the process, which runs."""
        if self._process is None:
            raise RelayUnreachable("it was not started")
        return self._process.pid

    def run(self) -> None:
        """Start the relay and wait until it listens. Raises RelayUnreachable."""
        with self.log.open("ab") as log:
            begin = log.tell()
            command, environment = self.program()
            self._process = subprocess.Popen(  # noqa: S603
                command, stdout=log, stderr=log, env=environment
            )
        deadline = time.monotonic() + RELAY_START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            if self.address.encode() in self.log.read_bytes()[begin:]:
                return
            time.sleep(POLL_S)
        self.kill()
        raise RelayUnreachable(f"the replay's relay did not start: {self.log.read_text()[-500:]}")

    def stop(self) -> None:
        """End the relay as an operator would."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(RELAY_STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the relay, if it still runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def disk_bytes(self) -> int:
        """The size of everything in the data directory, in bytes."""
        return sum(f.stat().st_size for f in self.directory.rglob("*") if f.is_file())


class Conductor:
    """Starts the workers, takes them through the phases, and kills and restarts as asked."""

    def __init__(
        self,
        script: Script,
        relay: RelayProcess,
        root: Path,
        *,
        processes: int,
        lines_per_s: float = 0,
        others: Sequence[str] = (),
    ) -> None:
        """`others` are the addresses of further relays on this machine, on which only people who
        have named them call; `lines_per_s` is how many lines are said in a second at most; 0: as
        many as can be."""
        self._lines_per_s = lines_per_s
        self._others = tuple(others)
        self._script = script
        self._relay = relay
        self._root = root
        self._key = os.urandom(32)  # of every vault, so that a killed worker's people come back
        self._context = multiprocessing.get_context("spawn")
        self._shares = [script.people[i::processes] for i in range(processes)]
        self._workers: list[_Handle] = []
        self.founding_s = 0.0
        """From when the first group was made until everybody was in theirs, in seconds."""

    def start(self) -> None:
        """Start the workers and wait until everyone is where they should be."""
        self._workers = [self._spawn(share, is_new=True) for share in self._shares]
        links: dict[tuple[str, str], str] = {}
        for worker in self._workers:
            links |= worker.receive("links")
        for worker in self._workers:
            worker.pipe.send(links)
        ready = [worker.receive("ready") for worker in self._workers]
        made = [made for each in ready for made in each["made_at"]]
        if made:
            self.founding_s = max(each["ready_at"] for each in ready) - min(made)

    def tell(self, order: Order) -> None:
        """Have people do something while they talk."""
        for worker in self._workers:
            worker.pipe.send(order)

    def talk(
        self,
        progress: Callable[[str, int, int], None],
        *,
        kills: int = 0,
        meanwhile: Callable[[float], bool] = lambda _: True,
    ) -> None:
        """Let people talk until everyone has everything, or nothing moves any more.

        `meanwhile` is told again and again which share of all has been shown, and says whether it
        has done what it has to: until then it goes on, too.
        """
        for worker in self._workers:
            worker.pipe.send("talk")
        total = sum(len(line.conversation) for line in self._script.lines)
        kill_at = sorted(random.Random().randrange(total) for _ in range(kills))  # noqa: S311
        counts = [0] * len(self._workers)
        moved = time.monotonic()
        while time.monotonic() - moved < STALL_S:
            is_done = meanwhile(sum(counts) / total)
            if is_done and sum(counts) >= total:
                break
            pipes = {worker.pipe: number for number, worker in enumerate(self._workers)}
            for pipe in multiprocessing.connection.wait(list(pipes), timeout=1.0):
                number = next(n for p, n in pipes.items() if p is pipe)
                count = self._workers[number].receive("count")["shown"]
                if count != counts[number]:
                    moved = time.monotonic()
                counts[number] = count
            progress("messages", sum(counts), total)
            if kill_at and sum(counts) > kill_at[0]:
                del kill_at[0]
                if len(kill_at) % 2:
                    self._relay.kill()
                    self._relay.run()
                else:
                    self._restart(len(kill_at) // 2 % len(self._workers))

    def report(self) -> list[dict[str, Any]]:
        """What each worker found."""
        for worker in self._workers:
            worker.pipe.send("report")
        results = []
        for worker in self._workers:
            while (message := worker.pipe.recv())[0] == "count":
                pass  # told before it was asked to report
            results.append(worker.check(message, "report"))
        return results

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers:
            worker.pipe.close()
            worker.process.join(RELAY_STOP_S)
            if worker.process.is_alive():
                worker.kill()

    def _spawn(self, share: list[str], *, is_new: bool) -> _Handle:
        ours, theirs = self._context.Pipe()
        task = _Task(
            *(self._script, share, self._relay.address, self._root, self._key, is_new),
            lines_per_s=self._lines_per_s / len(self._shares),
            others=self._others,
        )
        process = self._context.Process(target=_work, args=(theirs, task), daemon=True)
        process.start()
        theirs.close()
        return _Handle(ours, process)

    def _restart(self, number: int) -> None:
        self._workers[number].kill()
        self._workers[number] = self._spawn(self._shares[number], is_new=False)
        self._workers[number].receive("ready")
        self._workers[number].pipe.send("talk")


class _Handle(NamedTuple):
    """The conductor's hold of a worker."""

    pipe: Connection
    process: SpawnProcess

    def receive(self, kind: str) -> dict[Any, Any]:
        """The worker's next message, which is of this kind."""
        return self.check(self.pipe.recv(), kind)

    @staticmethod
    def check(message: tuple[str, dict[Any, Any]], kind: str) -> dict[Any, Any]:
        """What a message holds, if it is of this kind."""
        if message[0] != kind:
            raise RuntimeError(f"a worker says {message}")
        return message[1]

    def kill(self) -> None:
        """End the worker without a word."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _report(
    script: Script,
    results: list[dict[str, Any]],
    *,
    hits: list[Hit],
    short: int,
    seconds: float,
    setup: float,
    founding: float,
    disk: int,
) -> Report:
    transcripts = [Transcript(*t) for result in results for t in result["transcripts"]]
    sent = sum(result["sent"] for result in results)
    received = sum(result["received"] for result in results)
    found = compare_all(script, transcripts)
    waits = sorted(wait for transcript in transcripts for wait in transcript.waits_ms)
    count = len(script.lines)
    return Report(
        people=len(script.people),
        messages_in=count,
        delivered=count - found.lost,
        lost=found.lost,
        duplicated=found.duplicated,
        reordered=found.reordered,
        transcripts_equal=found.equal and not found.lost,
        relay_plaintext_hits=len(hits),
        plaintext_hits=hits[:SHOWN_HITS],
        texts_too_short=short,
        seconds=round(seconds, 2),
        messages_per_s=round(count / seconds, 1),
        p50_ms=_quantile(waits, 0.5),
        p99_ms=_quantile(waits, 0.99),
        longest_ms=_quantile(waits, 1.0),
        bytes_up_per_message=sent // count,
        bytes_down_per_message=received // count,
        relay_disk_bytes=disk,
        setup_seconds=round(setup, 2),
        founding_seconds=round(founding, 2),
    )


class Compared(NamedTuple):
    """How transcripts differ from a script: lines that somebody lacks, lines shown too often, lines
    shown out of place, and whether every transcript is as it should be."""

    lost: int
    duplicated: int
    reordered: int
    equal: bool


def compare_all(script: Script, transcripts: list[Transcript]) -> Compared:
    """What is lost, doubled or out of place, over all conversations."""
    lost = duplicated = reordered = 0
    equal = True
    for conversation, lines in script.conversations.items():
        expected = [(line.sender, line.text) for line in lines]
        missing: set[int] = set()
        seen = [t.shown for t in transcripts if t.conversation == conversation]
        for shown in seen:
            gone, extra, moved = compare(expected, shown)
            missing.update(gone)
            duplicated += extra
            reordered += moved
            equal = equal and shown == expected
        if len(seen) != len(conversation):
            missing.update(range(len(expected)))
        lost += len(missing)
    return Compared(lost, duplicated, reordered, equal)


def compare(
    expected: list[tuple[str, str]], shown: list[tuple[str, str]]
) -> tuple[list[int], int, int]:
    """(indexes of expected lines not shown, lines shown too often, lines shown out of place)."""
    places: dict[tuple[str, str], list[int]] = {}
    for index, line in enumerate(expected):
        places.setdefault(line, []).append(index)
    extra = 0
    order: list[int] = []
    for line in shown:
        if places.get(line):
            order.append(places[line].pop(0))
        else:
            extra += 1
    missing = sorted(index for left in places.values() for index in left)
    moved = sum(1 for before, after in itertools.pairwise(order) if after < before)
    return missing, extra, moved


def _quantile(ordered: list[int], share: float) -> float:
    return float(ordered[min(int(len(ordered) * share), len(ordered) - 1)]) if ordered else 0.0


# The worker's side


class Order(NamedTuple):
    """What some people are to do: leave for another relay, or allow regions."""

    people: list[str]
    exit_to: str = ""
    regions: tuple[str, ...] = ()


class _Task(NamedTuple):
    """What a worker is told when it starts."""

    script: Script
    share: list[str]
    relay: str
    root: Path
    key: bytes
    is_new: bool
    """Whether its people have still to be made; otherwise they are where a killed worker left
    them."""
    lines_per_s: float
    """How many lines its people say in a second at most; 0: as many as they can."""
    others: tuple[str, ...]
    """Further relays that its people name."""


def _work(pipe: Connection, task: _Task) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the conductor ends us
    try:
        uvloop.run(_Worker(pipe, task).run())
    except Exception as error:  # noqa: BLE001  # told to the conductor, whose error it becomes
        pipe.send(("failed", f"{type(error).__name__}: {error}"))


class _Worker:
    """Some of the people, in one event loop."""

    def __init__(self, pipe: Connection, task: _Task) -> None:
        self._pipe = pipe
        self._task = task
        self._script = task.script
        self._clients: dict[str, Client] = {}
        self._shown = 0
        self._made_at: list[float] = []
        """When each group was made, in Unix seconds: other processes know when all were in."""
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
            await client.set_place(relay)
        return client

    async def _next(self) -> Any:  # noqa: ANN401  # what the conductor sends
        return await asyncio.get_running_loop().run_in_executor(None, self._pipe.recv)

    async def _obey(self) -> None:
        """Do what the conductor says, until it asks to report."""
        while isinstance(order := await self._next(), Order):
            for person in self._mine(order.people):
                client = self._clients[person]
                if order.exit_to:
                    await self._exit(client, order.exit_to)
                else:
                    client.set_allowed_regions(order.regions)

    @staticmethod
    async def _exit(client: Client, relay: str) -> None:
        for pause in (*EXIT_PAUSES_S, None):
            try:
                await client.exit(relay)
            except Unavailable:  # everybody is on the line at once, as rarely in life
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
        """The gid of a conversation at one of its people, once all are in."""
        client = self._clients[person]
        name = _name_for(person, conversation)
        while True:
            for view in client.conversations():
                if view.name == name and len(view.people) == len(conversation):
                    return view.gid
            await client.changed()

    async def _talk(self, person: str, conversation: tuple[str, ...], lines: list[Line]) -> None:
        """Say this person's lines, each when all before it are shown."""
        client = self._clients[person]
        gid = await self._find(person, conversation)
        told = 0
        while told < len(lines):
            shown = client.count(gid)
            self._shown += shown - told
            told = shown
            if told < len(lines) and lines[told].sender == person:
                await self._wait_for_turn()
                client.send(gid, lines[told].text)
            else:
                await client.changed()

    async def _wait_for_turn(self) -> None:
        """Where people are to talk no faster than so many lines a second, wait."""
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
        messages = client.messages(gid)
        return Transcript(
            conversation,
            shown=[(message.sender, message.text) for message in messages],
            waits_ms=[m.kept_at - m.sent_at for m in messages if not m.is_own],
        )


def _name_for(person: str, conversation: tuple[str, ...]) -> str:
    """What a person's client calls a conversation."""
    if len(conversation) > 2:  # noqa: PLR2004  # a group
        return GROUP_NAME
    return conversation[0] if person == conversation[1] else conversation[1]


def _failure(tasks: list[asyncio.Task[None]]) -> asyncio.Future[None]:
    """Done as soon as one of the tasks has failed."""
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def look(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None and not failed.done():
            failed.set_result(None)

    for task in tasks:
        task.add_done_callback(look)
    return failed


def _pairs(script: Script) -> list[tuple[str, str]]:
    """Who has to meet whom, the inviter first: in a group, its maker and everyone else."""
    found: dict[tuple[str, str], None] = {}
    for conversation in script.conversations:
        for other in conversation[1:]:
            found[conversation[0], other] = None
    return list(found)
