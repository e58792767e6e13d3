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
import multiprocessing.context
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import uvloop

from amanat.client.api import Client
from amanat.client.vault import Unlock
from amanat.drill.search import count_hits
from amanat.errors import BadArgument, RelayUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from multiprocessing.connection import Connection

    from amanat.drill.traces import Line, Script

PEOPLE_PER_BUCKET = 32
"""People sharing a bucket, as the design asks."""
STALL_S = 120
"""A replay in which nothing arrives for this many seconds has lost something, and ends."""
RELAY_START_S = 30
RELAY_STOP_S = 30
GROUP_NAME = "replay"
POLL_S = 0.05
"""How often a wait for another process looks again, in seconds."""
COUNT_S = 0.5
"""How often a worker tells how far it is, in seconds."""


class Report(NamedTuple):
    """What a replay found; field names are the JSON keys.

    A message is delivered when everyone it was for shows it, so `delivered + lost = messages_in`.
    Times are from the sender's `send` to the recipient's transcript; bytes are WebSocket payload
    while people talk, over all clients. `texts_too_short` counts texts that were not searched for,
    because so few bytes turn up in random data by chance.
    """

    people: int
    messages_in: int
    delivered: int
    lost: int
    duplicated: int
    reordered: int
    transcripts_equal: bool
    relay_plaintext_hits: int
    texts_too_short: int
    seconds: float
    messages_per_s: float
    p50_ms: float
    p99_ms: float
    bytes_up_per_message: int
    bytes_down_per_message: int
    relay_disk_bytes: int
    setup_seconds: float

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
    keep: Path | None = None,
) -> Report:
    """Replay a script and report. `progress(phase, done, total)` is called as it goes on.

    Everything rests in a temporary directory, or in `keep`, which is then left behind. Raises
    BadArgument or RelayUnreachable.
    """
    if not 1 <= processes <= len(script.people):
        raise BadArgument("--processes must be from 1 to the number of people")
    root = Path(tempfile.mkdtemp(prefix="amanat-replay-")) if keep is None else keep
    root.mkdir(parents=True, exist_ok=True)
    try:
        relay = _Relay(root / "relay", people=len(script.people))
        try:
            return _conduct(script, relay, root, processes=processes, progress=progress)
        finally:
            relay.kill()
    finally:
        if keep is None:
            shutil.rmtree(root, ignore_errors=True)


class _Relay:
    """A relay process with a data directory and files for all it prints."""

    def __init__(self, directory: Path, *, people: int) -> None:
        self.directory = directory
        self.log = directory.with_name("relay-output")
        command = [sys.executable, "-m", "amanat", "--json", "relay"]
        buckets = -(-people // PEOPLE_PER_BUCKET)
        subprocess.run(  # noqa: S603  # our own program
            [*command, "init", str(directory), "--region", "IR", "--operator", "replay",
             "--port", "0", "--buckets", str(buckets), "--host", "127.0.0.1"],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603
                [*command, "run", str(directory)], stdout=log, stderr=log
            )
        self.address = self._wait()

    def _wait(self) -> str:
        deadline = time.monotonic() + RELAY_START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            for line in self.log.read_text(errors="replace").splitlines():
                if line.startswith("{") and line.endswith("}"):
                    return str(json.loads(line)["address"])
            time.sleep(POLL_S)
        self.kill()
        raise RelayUnreachable(f"the replay's relay did not start: {self.log.read_text()[-500:]}")

    def stop(self) -> None:
        """End the relay as an operator would."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(RELAY_STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the relay, if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def disk_bytes(self) -> int:
        """The size of everything in the data directory, in bytes."""
        return sum(f.stat().st_size for f in self.directory.rglob("*") if f.is_file())


def _conduct(
    script: Script,
    relay: _Relay,
    root: Path,
    *,
    processes: int,
    progress: Callable[[str, int, int], None],
) -> Report:
    began = time.monotonic()
    context = multiprocessing.get_context("spawn")
    shares = [script.people[i::processes] for i in range(processes)]
    workers: list[tuple[Connection, multiprocessing.context.SpawnProcess]] = []
    try:
        for share in shares:
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_work, args=(theirs, script, share, relay.address, root), daemon=True
            )
            process.start()
            theirs.close()
            workers.append((ours, process))
        pipes = [pipe for pipe, _ in workers]
        links: dict[tuple[str, str], str] = {}
        for pipe in pipes:
            links |= _receive(pipe, "links")
            progress("people", len(links), len(links))
        for pipe in pipes:
            pipe.send(links)
        for pipe in pipes:
            _receive(pipe, "ready")
        setup = time.monotonic() - began
        talk = time.monotonic()
        for pipe in pipes:
            pipe.send("talk")
        _watch(pipes, script, progress)
        seconds = time.monotonic() - talk
        for pipe in pipes:
            pipe.send("report")
        results = [_receive(pipe, "report") for pipe in pipes]
        relay.stop()  # its write-ahead log is now in the database, as on a seized disk
    finally:
        for pipe, process in workers:
            pipe.close()
            process.join(RELAY_STOP_S)
            if process.is_alive():
                process.kill()
                process.join()
    transcripts = [Transcript(*t) for result in results for t in result["transcripts"]]
    hits, short = count_hits({line.text for line in script.lines}, [relay.directory, relay.log])
    return _report(
        script,
        transcripts,
        hits=hits,
        short=short,
        seconds=seconds,
        setup=setup,
        sent=sum(result["sent"] for result in results),
        received=sum(result["received"] for result in results),
        disk=relay.disk_bytes(),
    )


def _receive(pipe: Connection, kind: str) -> dict:  # type: ignore[type-arg]  # what workers send
    got, value = pipe.recv()
    if got == "failed":
        raise RuntimeError(f"a worker failed: {value}")
    if got != kind:
        raise RuntimeError(f"a worker sent {got}, not {kind}")
    return value  # type: ignore[no-any-return]


def _watch(
    pipes: list[Connection], script: Script, progress: Callable[[str, int, int], None]
) -> None:
    """Collect how far the workers are until everyone has everything, or nothing moves."""
    total = sum(len(line.conversation) for line in script.lines)
    counts = dict.fromkeys(pipes, 0)
    moved = time.monotonic()
    while sum(counts.values()) < total and time.monotonic() - moved < STALL_S:
        for pipe in multiprocessing.connection.wait(pipes, timeout=1.0):
            assert isinstance(pipe, multiprocessing.connection.Connection)  # noqa: S101
            count = _receive(pipe, "count")["shown"]
            if count > counts[pipe]:
                moved = time.monotonic()
            counts[pipe] = count
        progress("messages", sum(counts.values()), total)


def _report(
    script: Script,
    transcripts: list[Transcript],
    *,
    hits: int,
    short: int,
    seconds: float,
    setup: float,
    sent: int,
    received: int,
    disk: int,
) -> Report:
    conversations = script.conversations
    lost = duplicated = reordered = 0
    equal = True
    for conversation, lines in conversations.items():
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
    waits = sorted(wait for transcript in transcripts for wait in transcript.waits_ms)
    count = len(script.lines)
    return Report(
        people=len(script.people),
        messages_in=count,
        delivered=count - lost,
        lost=lost,
        duplicated=duplicated,
        reordered=reordered,
        transcripts_equal=equal and not lost,
        relay_plaintext_hits=hits,
        texts_too_short=short,
        seconds=round(seconds, 2),
        messages_per_s=round(count / seconds, 1),
        p50_ms=_quantile(waits, 0.5),
        p99_ms=_quantile(waits, 0.99),
        bytes_up_per_message=sent // count,
        bytes_down_per_message=received // count,
        relay_disk_bytes=disk,
        setup_seconds=round(setup, 2),
    )


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


def _work(pipe: Connection, script: Script, share: list[str], relay: str, root: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the conductor ends us
    try:
        uvloop.run(_Worker(pipe, script, share, relay, root).run())
    except Exception as error:  # noqa: BLE001  # told to the conductor, whose error it becomes
        pipe.send(("failed", f"{type(error).__name__}: {error}"))


class _Worker:
    """Some of the people, in one event loop."""

    def __init__(
        self, pipe: Connection, script: Script, share: list[str], relay: str, root: Path
    ) -> None:
        self._pipe = pipe
        self._script = script
        self._share = share
        self._relay = relay
        self._root = root
        self._clients: dict[str, Client] = {}
        self._shown = 0

    async def run(self) -> None:
        """Go through the phases with the conductor."""
        for person in self._share:
            self._clients[person] = await Client.create(
                self._root / "people" / person.encode().hex(),
                Unlock(key=os.urandom(32)),
                name=person,
                relay=self._relay,
            )
        for client in self._clients.values():
            client.start()
        pairs = _pairs(self._script)
        mine = [pair for pair in pairs if pair[0] in self._clients]
        self._pipe.send(("links", {pair: self._clients[pair[0]].invite() for pair in mine}))
        links = await self._next()
        for pair in pairs:
            if pair[1] in self._clients:
                self._clients[pair[1]].accept(links[pair])
        await self._meet(pairs)
        await self._gather()
        self._pipe.send(("ready", {}))
        await self._next()
        before = [client.traffic() for client in self._clients.values()]
        tasks = [
            asyncio.create_task(self._talk(person, conversation, lines))
            for conversation, lines in self._script.conversations.items()
            for person in conversation
            if person in self._clients
        ]
        ticker = asyncio.create_task(self._tell())
        await self._next()
        ticker.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, ticker, return_exceptions=True)
        after = [client.traffic() for client in self._clients.values()]
        transcripts = [
            self._transcript(person, conversation)
            for conversation in self._script.conversations
            for person in conversation
            if person in self._clients
        ]
        for client in self._clients.values():
            await client.close()
        self._pipe.send(
            (
                "report",
                {
                    "transcripts": transcripts,
                    "sent": sum(a[0] - b[0] for a, b in zip(after, before, strict=True)),
                    "received": sum(a[1] - b[1] for a, b in zip(after, before, strict=True)),
                },
            )
        )

    async def _next(self) -> dict:  # type: ignore[type-arg]  # what the conductor sends
        return await asyncio.get_running_loop().run_in_executor(None, self._pipe.recv)

    async def _meet(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Wait until everyone who should know each other does."""
        wanted: dict[str, set[str]] = {person: set() for person in self._clients}
        for one, other in pairs:
            for person, contact in ((one, other), (other, one)):
                if person in wanted:
                    wanted[person].add(contact)
        for person, contacts in wanted.items():
            client = self._clients[person]
            while not contacts <= {c.name for c in client.contacts()}:
                await client.changed()

    async def _gather(self) -> None:
        """Make the groups and wait until their members are in."""
        for conversation in self._script.conversations:
            if len(conversation) > 2 and conversation[0] in self._clients:  # noqa: PLR2004
                self._clients[conversation[0]].create_group(GROUP_NAME, conversation[1:])
        for conversation in self._script.conversations:
            for person in conversation:
                if person in self._clients:
                    await self._find(person, conversation)

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
                client.send(gid, lines[told].text)
            else:
                await client.changed()

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


def _pairs(script: Script) -> list[tuple[str, str]]:
    """Who has to meet whom, the inviter first: in a group, its maker and everyone else."""
    found: dict[tuple[str, str], None] = {}
    for conversation in script.conversations:
        for other in conversation[1:]:
            found[conversation[0], other] = None
    return list(found)
