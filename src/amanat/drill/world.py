"""The simulated world: people with real clients and real vaults, a relay in memory, and a clock
that moves only while everybody waits.

Three things are not real. The *clock* jumps to the next moment at which anything is due. The
*network* carries whole frames and has weather: it delays, repeats and cuts connections, so that one
client's requests overtake another's; its relay can be made to lie. *Death* comes by a fuse, which
ends a process at a chosen statement of a unit of work; the process starts again from the image that
its files had then. Everything else is the program itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import os
import random
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from amanat.client.backing import InThread
from amanat.client.sdk.client import Client
from amanat.client.surroundings import TICK_S, Surroundings
from amanat.client.vault import Unlock
from amanat.drill.clock import EPOCH_MS, Loop
from amanat.drill.death import Connection, Died
from amanat.drill.network import Network
from amanat.drill.person import Person
from amanat.drill.shelves import Relay
from amanat.protocol.messages import Seen

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


PATIENCE_S = 1800
"""Seconds of the world's time after which people who still have work to do never will finish it."""


class World:
    """Everybody and everything. Inside a test its `loop` runs the test itself."""

    def __init__(self, root: Path, *, seed: int = 0, tick_s: float = TICK_S) -> None:
        self.loop = Loop()
        self.tick_s = tick_s
        """How often clients look for what is due, in seconds."""
        self.rng = random.Random(seed)
        self.network = Network(self.rng)
        self.people: dict[str, Person] = {}
        self._root = root
        self._mishaps: list[BaseException] = []
        self.loop.set_exception_handler(
            lambda _, context: self._mishaps.append(
                context.get("exception", AssertionError(context["message"]))
            )
        )
        self.relay = self.add_relay()

    def now(self) -> int:
        """Unix milliseconds."""
        return EPOCH_MS + int(self.loop.time() * 1000)

    def around(self) -> Surroundings:
        """The surroundings of a client in this world."""
        return Surroundings(self.now, self.network, Connection, lambda: self.tick_s, InThread())

    def add_relay(self, region: str = "IR", buckets: int = 1) -> Relay:
        relay = Relay(region, port=len(self.network.relays) + 1, buckets=buckets)
        self.network.relays[relay.address] = relay
        return relay

    def two_operators(self) -> tuple[Relay, Relay]:
        """Two relays whose operators have nothing to do with each other; both serve as hops."""
        self.relay.operator, self.relay.is_hop = "one", True
        second = self.add_relay("DE")
        second.operator, second.is_hop = "another", True
        return self.relay, second

    async def person(
        self, name: str, *, relay: Relay | None = None, fallback: Relay | None = None
    ) -> Person:
        """A new person, online."""
        key = os.urandom(32)
        directory = self._root / os.urandom(4).hex() / "profile"
        person = Person(name, directory, key, self.around(), self.network)
        address = str((relay or self.relay).address)
        made = await Client.create(
            person.directory,
            Unlock(key=key),
            name=name,
            relay=address,
            fallback=str(fallback.address) if fallback else "",
            around=person.around,
        )
        await made.close()
        person.open()
        person.wake()
        self.people[name] = person
        return person

    async def meet(self, one: Person, *others: Person) -> None:
        """Have `one` invite the others, who accept."""
        for other in others:
            other.client.accept(one.client.invite())
        await self.settle()

    async def friends(self, *names: str) -> list[Person]:
        """New people who all know each other."""
        people = [await self.person(name) for name in names]
        for index, one in enumerate(people):
            for other in people[index + 1 :]:
                other.client.accept(one.client.invite())
        await self.settle()
        return people

    async def group(self, name: str, founder: Person, *others: Person) -> bytes:
        """The gid of a new group that everybody has joined."""
        view = founder.client.create_group(name, [other.name for other in others])
        await self.settle()
        return view.gid

    async def pass_time(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._look_after_people()

    async def settle(self) -> None:
        """Let time pass until nobody who is awake has anything to do; the dead are revived."""
        step, waited, left = 0.01, 0.0, ""
        while waited < PATIENCE_S:
            await self.pass_time(step)
            waited += step
            step = min(step * 1.5, 1.0)
            left = next(filter(None, (p.what_is_left() for p in self.awake())), "")
            if not left:
                return
        raise AssertionError(f"after {waited:.0f} s {left}")

    @staticmethod
    def told(one: Person, other: str) -> list[Seen]:
        """The digests of another person's buckets, as relays gave them, that somebody will pass on
        to that person."""
        identity = one.client.contact(other).identity
        rows = one.db.execute(
            "SELECT drop_id, seq, digest FROM seen WHERE identity = ? ORDER BY seq", (identity,)
        ).fetchall()
        return [Seen(drop_id[:4], seq, digest) for drop_id, seq, digest in rows]

    async def save(self, name: str = "saved") -> Callable[[], Awaitable[None]]:
        """A function that restores this moment, for everybody who is here now."""
        people = dict(self.people)
        for person in people.values():
            if person.is_awake:
                await person.client.close()
            else:
                await person.bury()
            shutil.copytree(person.directory, person.directory.with_name(name))
            await person.live_on(person.directory)
        shelves = [(relay, copy.deepcopy(relay.shelves)) for relay in self.network.relays.values()]
        sent = dict(self.network.sent)

        async def restore() -> None:
            for person in self.people.values():
                await person.bury()
            self.people = dict(people)
            for relay, kept in shelves:
                relay.shelves = copy.deepcopy(kept)
            self.network.sent = dict(sent)
            for person in people.values():
                shutil.rmtree(person.directory)
                saved = person.directory.with_name(name)
                await person.live_on(shutil.copytree(saved, person.directory))

        return restore

    def awake(self) -> list[Person]:
        return [person for person in self.people.values() if person.is_awake]

    async def _look_after_people(self) -> None:
        for person in self.people.values():
            if person.fuse.is_burnt:
                await person.revive()
            elif person.client.failure is not None:
                raise person.client.failure
        assert not [label for _, label in self.network.changed if label not in Connection.askings]
        mishaps = [error for error in self._mishaps if not isinstance(error, Died)]
        assert not mishaps, mishaps

    def close(self) -> None:
        async def end() -> None:
            for person in self.people.values():
                with contextlib.suppress(Died):
                    await person.bury()

        self.loop.run_until_complete(end())
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()
