"""A thief, who copied a vault once and has everything that the relays received since.

Their program is their own. It reads everything that the copy's keys open, goes on where the
person's client would stop, and sends nothing, so that nobody is warned.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from amanat.client.conversation import Conversations
from amanat.client.parts import assemble
from amanat.client.rules.astray import Astray
from amanat.client.rules.commits import Wish
from amanat.client.sdk.client import Client
from amanat.client.vault import Unlock, open_vault
from amanat.drill.attacks import copied_vault
from amanat.drill.integrity import Noticed, in_a_world
from amanat.protocol import wire
from amanat.protocol.drops import Drop, first_digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from amanat.client.unit import Unit
    from amanat.drill.person import Person
    from amanat.drill.world import World

HOURS = 2
"""Hours after which everybody who has met has new keys, and after which every lost message has been
repaired."""
WORDS = 10
"""Words that each person says in each conversation."""
LOST = 0.3
"""The share of cells that a relay loses: their words are said again, under a chain alone."""


class _ReadsOn(Astray):
    """The rule for being out of step in a thief's program, which never doubts its state."""

    def go_astray(self, unit: Unit, gid: bytes, why: str, *, is_restart: bool) -> None:
        """Read on, as if its state were the group's."""


class _GoesOn(Conversations):
    """The rules of conversations in a thief's program, which never stops."""

    astray_rule = _ReadsOn


class Thief:
    """A copy of a person's vault, and the relays' logs."""

    def __init__(self, world: World, person: Person, directory: Path) -> None:
        self._world = world
        self._rules = assemble(open_vault(directory, Unlock(key=person.key)), talk=_GoesOn)
        self._client = Client(self._rules, world.around())

    def close(self) -> None:
        """Put the copy away."""
        self._rules.vault.close()

    def read_all(self) -> set[str]:
        """Every text that the copy opens: those it held, and those in all cells that ever came to a
        relay."""
        before = (-1, -1)
        while (now := self._come_on()) != before:
            before = now
        views = self._client.conversations()
        return {text.text for view in views for text in self._client.chat(view.gid).messages()}

    def _come_on(self) -> tuple[int, int]:
        """Look through all logs once; (texts that the copy then has, the sum of its epochs)."""
        client, talk = self._client, self._rules.conversations
        views = client.conversations()
        with client._unit() as unit:
            for home in self._rules.me.buckets:
                client._buckets._take(unit, self._log(home.bucket).cells, home)
        for view in views:
            for epoch, drop in talk.epochs.epoch_drops(view.gid):
                log = self._log(drop)
                with client._unit() as unit:
                    talk.hearing.read_epoch(unit, view.gid, epoch, log, take=len(log.cells))
        for drop_id in talk.holding.places():
            place = talk.holding.place(drop_id)
            if place is not None:
                with client._unit() as unit:
                    talk.hearing.take_fetched(unit, place, self._log(place.drop))
        texts = sum(client.chat(view.gid).count() for view in views)
        return texts, sum(talk.roster.group(view.gid).view.epoch for view in views)

    def _log(self, drop: Drop) -> wire.Cells:
        for relay in self._world.network.relays.values():
            if drop.drop_id in relay.shelves:
                shelf = relay.shelves[drop.drop_id]
                return wire.Cells(0, 1, shelf.digests[0], list(shelf.cells), len(shelf.cells))
        return wire.Cells(0, 1, first_digest(drop.drop_id), [], 0)


@contextmanager
def stolen(world: World, person: Person, directory: Path) -> Iterator[Thief]:
    """A thief with this copy."""
    thief = Thief(world, person, directory)
    try:
        yield thief
    finally:
        thief.close()


async def copy_of(person: Person) -> Path:
    """A copy of somebody's vault, made while their program was closed."""
    await person.sleep()
    directory = person.copy()
    person.wake()
    return directory


async def talk_with_losses(world: World, places: Sequence[tuple[Person, bytes]]) -> set[str]:
    """The words that people say in conversations while relays lose cells; every word arrives in the
    end. Raises AssertionError if none was lost."""
    said: set[str] = set()
    lost = 0

    def forgets(_append: wire.Append, _who: str) -> bool:
        nonlocal lost
        is_lost = world.rng.random() < LOST
        lost += is_lost
        return is_lost

    world.relay.forgets = forgets
    for _ in range(WORDS):
        for person, gid in places:
            said.add(text := f"{person.name} says no. {len(said)}")
            person.client.chat(gid).send(text)
        await world.pass_time(20)
    world.relay.forgets = lambda *_: False
    await world.pass_time(HOURS * 3_600)
    await world.settle()
    if not lost:
        raise AssertionError("nothing had to be said again")
    return said


def refresh(person: Person, gid: bytes) -> None:
    """Have somebody renew the keys of their leaf now."""
    with person.client._unit() as unit:
        person.rules.conversations.commits.wish(unit, gid, Wish.REFRESH, b"", due_at=unit.now)
        person.rules.conversations.commits.attempt(unit, gid)


def words_read(how: str, seed: int) -> Noticed:
    """How many of the words said after the copy was made a thief reads."""

    async def work(world: World) -> Noticed:
        bob, alice, carol = await world.friends("bob", "alice", "carol")
        gid = await world.group("family", bob, alice, carol)
        await world.pass_time(HOURS * 3_600)
        await world.settle()
        direct = [(bob, bob.gid("alice")), (carol, carol.gid("alice"))]
        places = [(bob, gid), (carol, gid)]
        with stolen(world, alice, await copy_of(alice)) as thief:
            if how == copied_vault.REMOVED:
                bob.client.chat(gid).remove("alice")
            else:
                places += direct
            for where in {where for _, where in places} if how == copied_vault.AFTER else ():
                refresh(alice, where)
            await world.settle()
            said = await talk_with_losses(world, places)
            return Noticed(len(said), [], len(said & thief.read_all()))

    return in_a_world(work, seed)
