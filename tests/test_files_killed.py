"""Files between processes that are killed every two seconds: none is lost, doubled or altered."""

from __future__ import annotations

import asyncio
import hashlib
import io
import itertools
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from amanat.client.sdk.client import Client
from amanat.client.vault import Unlock
from amanat.drill.process import free_port
from amanat.protocol.messages import MAX_FILE_BYTES
from figures import report, rounds
from relays import PROCESSES, RelayProcess, run_in_loop

if TYPE_CHECKING:
    from amanat.client.sdk.files import FileView

pytestmark = [pytest.mark.e2e, pytest.mark.campaign, pytest.mark.timeout(3600)]

KEY = Unlock(key=bytes(32))
FILES = rounds(20, 200)
KILL_EVERY_S = 2.0
AT_ONCE = 3
"""Files that are on their way to the relay at a time."""
PATIENCE_S = 3000


def content(number: int) -> bytes:
    """Half of the files are as long as voice notes, and half up to 6 MiB."""
    chance = random.Random(number)
    return chance.randbytes(chance.randrange(70_000 if number % 2 else 6 * 2**20))


def files_of(client: Client, who: str) -> list[FileView]:
    return [one.file for one in client.chat(who).messages() if one.file is not None]


async def send(client: Client, _: Path) -> None:
    """Send all files that were not begun yet, some at a time."""
    while True:
        under_way = [one.name for one in client.files.transfers()]
        begun = {*under_way, *(one.name for one in files_of(client, "bob"))}
        left = [number for number in range(FILES) if str(number) not in begun]
        for number in left[: AT_ONCE - len(under_way)]:
            await client.chat("bob").send_file(io.BytesIO(content(number)), name=str(number))
        await client.changed()


async def fetch(client: Client, count: Path) -> None:
    """Write down how many files are here: a byte for each."""
    with count.open("wb", buffering=0) as file:  # it waits for nothing
        while True:
            here = sum(one.is_here for one in files_of(client, "alice"))
            file.truncate(here)
            await client.changed()


class Person:
    """A client in a process of its own."""

    def __init__(
        self, profile: Path, work: Callable[[Client, Path], Coroutine[None, None, None]]
    ) -> None:
        self.profile, self._work = profile, work
        self.count = profile.with_suffix(".count")
        self.count.touch()

    def start(self) -> None:
        self.process = PROCESSES.Process(
            target=_live, args=(self.profile, self.count, self._work), daemon=True
        )
        self.process.start()

    def kill(self) -> None:
        self.process.kill()
        self.process.join()


def _live(
    profile: Path, count: Path, work: Callable[[Client, Path], Coroutine[None, None, None]]
) -> None:
    async def life() -> None:
        client = Client.open(profile, KEY)
        client.start()
        await work(client, count)

    asyncio.run(life())


async def meet(root: Path, relay: RelayProcess) -> None:
    alice, bob = [
        await Client.create(root / name, KEY, name=name, relay=str(relay.address))
        for name in ("alice", "bob")
    ]
    alice.start()
    bob.start()
    bob.accept(alice.invite())
    while not (alice.contacts() and bob.contacts()):
        await bob.changed()
    bob.files.set_auto_bytes(MAX_FILE_BYTES)
    for one in (alice, bob):
        await one.flushed()
        await one.close()


def test_files_arrive_whole_and_once_whoever_is_killed(tmp_path: Path) -> None:
    async def campaign() -> None:
        with RelayProcess(tmp_path / "relay", port=free_port()) as relay:
            await meet(tmp_path, relay)
            sender, reader = Person(tmp_path / "alice", send), Person(tmp_path / "bob", fetch)
            kills: Counter[str] = Counter()
            sender.start()
            reader.start()
            try:
                victims: Sequence[RelayProcess | Person] = (relay, sender, reader)
                for victim in itertools.cycle(victims):
                    await asyncio.sleep(KILL_EVERY_S)
                    if reader.count.stat().st_size == FILES:
                        break
                    assert victim.process.is_alive()
                    victim.kill()
                    victim.start()
                    kills[type(victim).__name__] += 1
            finally:
                sender.kill()
                reader.kill()
            alice, bob = [Client.open(tmp_path / name, KEY) for name in ("alice", "bob")]
            assert not alice.files.transfers()
            assert not bob.files.transfers()
            for client, who in ((alice, "bob"), (bob, "alice")):
                found = {}
                for view in files_of(client, who):
                    assert view.name not in found
                    with client.files.open(view.gid, view.message) as opened:
                        found[view.name] = hashlib.sha256(b"".join(opened.chunks())).digest()
                assert found == {
                    str(number): hashlib.sha256(content(number)).digest() for number in range(FILES)
                }
                await client.close()
        size = sum(len(content(number)) for number in range(FILES))
        relays, people = kills["RelayProcess"], kills["Person"]
        report("files, all killed", files=FILES, bytes=size, relay=relays, people=people)

    run_in_loop(campaign(), PATIENCE_S)
