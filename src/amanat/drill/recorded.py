"""Real people through relays that write everything down, and what those records reveal.

There are two relays of two operators, each the hop of the other, an ISP before them, and people who
each have a line (a network address of their own on this machine). The recorder is in `hostile/` of
a clone. The installed package alone has no recorder, and the drill then says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import uvloop

import amanat
from amanat.client.sdk.client import Client
from amanat.client.surroundings import Surroundings
from amanat.client.vault import Unlock
from amanat.drill import records
from amanat.drill.logged import Logs
from amanat.drill.process import free_port
from amanat.drill.relays import RelayProcess
from amanat.errors import RelayUnreachable
from amanat.link import Internet
from amanat.protocol.descriptor import parse_address

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from amanat.drill.sample import Sample

CLONE = Path(amanat.__file__).parents[2]
"""The directory that holds the recorder, if this is a clone."""
PEOPLE = 64
"""Two buckets of people."""
MESSAGES, PAIRS, SECONDS = 400, 80, 20.0
"""How many messages they send, in how many conversations, and for how many seconds."""
OPERATORS = ("one", "another")
START_S = 30
"""Longest time until a recorded relay, or the ISP, is ready, in seconds."""
STALL_S = 60
"""A run in which no message arrives for so many seconds has lost something."""
POLL_S = 0.02
HANG_UP_S = 1.0
"""Time for the last TLS connections to close, in seconds."""
APART_S = 0.25
"""Seconds between two people who come back after the talk: ten times as long as connecting takes.
Among 300 people somebody comes back every minute or so."""


def is_at_hand() -> bool:
    """Whether there is a recorder: in a clone, not in an installed package."""
    return (CLONE / "hostile" / "__main__.py").exists()


class RecordedRelay(RelayProcess):
    """A relay process that the recorder runs."""

    def __init__(self, directory: Path, *, people: int, log: Path) -> None:
        super().__init__(directory, people=people)
        self.records = log

    def program(self) -> tuple[list[str], dict[str, str]]:
        """Its command and environment."""
        words = [sys.executable, "-m", "hostile", "relay", str(self.directory), str(self.records)]
        return words, _environment()


def _environment() -> dict[str, str]:
    paths = (str(CLONE), str(CLONE / "src"), os.environ.get("PYTHONPATH", ""))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(one for one in paths if one)}


class Network(NamedTuple):
    """Two recorded relays and the ISP, all running."""

    relays: list[RecordedRelay]
    addresses: list[str]
    """The addresses under which people reach the relays: they lead to the ISP."""
    lines: Path


@contextlib.contextmanager
def network(root: Path, people: int) -> Iterator[Network]:
    """Two relays of two operators, each the hop of the other, recorded in full; they end with the
    context. Raises RelayUnreachable."""
    relays = [
        RecordedRelay(root / name, people=people, log=root / f"{name}.records")
        for name in OPERATORS
    ]
    for relay, other in zip(relays, reversed(relays), strict=True):
        relay.hop_to(other)
    ports = {free_port(): parse_address(relay.address).places[0].port for relay in relays}
    addresses = [
        relay.address.replace(f":{old}/", f":{new}/")
        for relay, (new, old) in zip(relays, ports.items(), strict=True)
    ]
    log, isp = root / "lines.records", None
    try:
        for relay in relays:
            relay.run()
        isp = subprocess.Popen(  # noqa: S603  # our own program
            [sys.executable, "-m", "hostile", "lines", str(log)]
            + [f"{new}:{old}" for new, old in ports.items()],
            env=_environment(),
            stdout=subprocess.PIPE,
        )
        if isp.stdout is None or isp.stdout.readline() != b"ready\n":
            raise RelayUnreachable("the lines were not laid")
        yield Network(relays, addresses, log)
    finally:
        if isp is not None:
            isp.terminate()
            isp.wait(START_S)
            if isp.stdout is not None:
                isp.stdout.close()
        for relay in relays:
            relay.stop()
            relay.kill()


def line_of(number: int) -> str:
    """The network address of a person."""
    return f"127.1.{number // 250}.{number % 250 + 1}"


class Talk(NamedTuple):
    """The messages of a run: people by number, times in seconds."""

    people: int
    pairs: list[tuple[int, int]]
    """The pairs of people who know each other."""
    said: list[tuple[float, int, int]]
    """(time, author, recipient) of each message, in order."""
    seconds: float


def slice_of(
    sample: Sample, *, messages: int = MESSAGES, pairs: int = PAIRS, seconds: float = SECONDS
) -> Talk:
    """The beginning of a sample's 1:1 conversations, in compressed time."""
    known: set[tuple[int, int]] = set()
    said: list[tuple[float, int, int]] = []
    for at, who, talk in zip(
        sample.at.tolist(), sample.sender.tolist(), sample.talk.tolist(), strict=True
    ):
        members = sample.talks[talk]
        if len(members) != 2 or (members not in known and len(known) == pairs):  # noqa: PLR2004
            continue
        known.add((members[0], members[1]))
        said.append((at, who, members[0] if who == members[1] else members[1]))
        if len(said) == messages:
            break
    first, last = said[0][0], said[-1][0] + 1
    scale = seconds / (last - first)
    return Talk(
        sample.people,
        sorted(known),
        [((at - first) * scale, who, other) for at, who, other in said],
        seconds,
    )


def record(talk: Talk, root: Path, *, mode: str, rng: np.random.Generator) -> Logs:
    """Have real people talk, direct or hopped; everything that was recorded of it."""
    with network(root, talk.people) as net:
        talking_at = uvloop.run(_Crowd(talk, net, root / "people", mode, rng).run())
        for relay in net.relays:
            relay.stop()
    seen = [list(records.read(relay.records)) for relay in net.relays]
    home, hop = ([one for one in log if isinstance(one, records.Frame)] for log in seen)
    return Logs(
        home,
        hop,
        [one for one in seen[0] if isinstance(one, records.Opened)],
        [one for one in records.read(net.lines) if isinstance(one, records.Carried)],
        [line_of(number) for number in range(talk.people)],
        talking_at,
    )


class _Crowd:
    """Everybody, each on their own line, in one loop."""

    def __init__(
        self, talk: Talk, net: Network, root: Path, mode: str, rng: np.random.Generator
    ) -> None:
        self._talk = talk
        self._net = net
        self._root = root
        self._mode = mode
        self._rng = rng
        self._unlock = Unlock(key=os.urandom(32))
        self._clients: dict[int, Client] = {}
        self._at_home = [Surroundings(network=Internet(line_of(who))) for who in range(talk.people)]
        """Each person's surroundings, with a network that connects from their own line."""

    async def run(self) -> int:
        """Run until every message has arrived; when everybody had met, in Unix microseconds."""
        people = range(self._talk.people)
        await self._each(self._begin, people)
        for a, b in self._talk.pairs:
            self._clients[b].accept(self._clients[a].invite())
        await self._until(self._have_met)
        talking_at = time.time_ns() // 1000
        began = time.monotonic()
        await self._each(lambda who: self._live(who, began), people)
        await self._until(lambda: self._arrived() == len(self._talk.said))
        for who in self._rng.permutation(self._talk.people).tolist():
            await self._each(self._come_again, [who])
        for client in self._clients.values():
            await client.close()
        await asyncio.sleep(HANG_UP_S)
        return talking_at

    async def _each(self, does: Any, people: Sequence[int]) -> None:  # noqa: ANN401  # a coroutine's
        """Have each of these people do something."""
        tasks = [asyncio.create_task(does(who)) for who in people]
        for task in tasks:
            await task

    async def _begin(self, who: int) -> None:
        home, fallback = self._net.addresses
        client = await Client.create(
            self._root / str(who),
            self._unlock,
            name=str(who),
            relay=home,
            fallback=fallback,
            around=self._at_home[who],
        )
        if self._mode == "direct":
            await client.hopping.set_hop("off")
        client.start()
        if client.status().transport != self._mode:
            raise RelayUnreachable(client.status().why)
        self._clients[who] = client

    async def _live(self, who: int, began: float) -> None:
        """Send a person's messages, each at its time."""
        for number, (at, speaker, other) in enumerate(self._talk.said):
            if speaker == who:
                await asyncio.sleep(max(0.0, began + at - time.monotonic()))
                gid = self._clients[who].contact(str(other)).conversation
                self._clients[who].chat(gid).send(f"{who} says this to {other}, as number {number}")

    async def _come_again(self, who: int) -> None:
        """Have a person leave and come back."""
        await self._clients[who].close()
        await asyncio.sleep(APART_S / 2)
        self._clients[who] = Client.open(self._root / str(who), self._unlock, self._at_home[who])
        self._clients[who].start()
        await asyncio.sleep(APART_S / 2)

    def _have_met(self) -> bool:
        known = {who: {one.name for one in each.contacts()} for who, each in self._clients.items()}
        return all(str(b) in known[a] and str(a) in known[b] for a, b in self._talk.pairs)

    def _arrived(self) -> int:
        """The number of texts that their recipients show."""
        count = 0
        for a, b in self._talk.pairs:
            for who, other in ((a, b), (b, a)):
                gid = self._clients[who].contact(str(other)).conversation
                count += sum(not one.is_own for one in self._clients[who].chat(gid).messages())
        return count

    async def _until(self, is_so: Any) -> None:  # noqa: ANN401  # a function of nothing
        end = time.monotonic() + STALL_S
        while not is_so():
            if time.monotonic() > end:
                raise RelayUnreachable("somebody has not heard what was said")
            await asyncio.sleep(POLL_S * 10)


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A directory of one run."""
    return tempfile.TemporaryDirectory(prefix="amanat-drill-")
