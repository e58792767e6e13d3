"""The promises, over random histories in bad weather: everybody agrees, and nothing is lost,
doubled, out of order or read by those it is not for."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import pytest

from amanat.client.rules import entering
from amanat.drill.death import Died
from amanat.drill.network import CALM, STORM
from amanat.drill.person import Person
from amanat.drill.world import World
from amanat.errors import UsageError

CHANGES = 2
"""Changes of one group in one round: a message may come late by that many epochs."""


class Said(NamedTuple):
    """A text, who must get it, who may, and what its sender had seen before."""

    text: str
    gid: bytes
    sender: str
    must: set[str]
    may: set[str]
    after: set[str]


class History:
    """What happened, and what must follow from it."""

    def __init__(self, world: World, people: list[Person]) -> None:
        self.world = world
        self.people = people
        self.said: list[Said] = []
        self.unsteady: set[tuple[bytes, str]] = set()
        """Who was put out of, or went from, which group in this round."""
        self.changes: dict[bytes, int] = {}
        self._numbers = itertools.count(1)

    def identities(self, person: Person, gid: bytes) -> set[bytes]:
        if not person.client._conversations.roster.is_active(gid):
            return set()
        return person.client._conversations.roster.group(gid).identities

    def say(self, person: Person, gid: bytes) -> None:
        text = f"text {next(self._numbers)} of {person.name}"
        seen = {message.text for message in person.client.messages(gid)}
        mine = self.identities(person, gid)
        there = {p.name for p in self.people if p.client._me.identity in mine}
        words = Said(text, gid, person.name, set(there), there, seen)
        self.said.append(words)
        try:
            person.client.send(gid, text)
        except Died:
            words.must.clear()  # nobody was told that it was sent
        except UsageError:
            self.said.remove(words)

    def change(self, person: Person, gid: bytes) -> None:
        rng, client = self.world.rng, person.client
        if self.changes.get(gid, 0) == CHANGES:
            return
        self.changes[gid] = self.changes.get(gid, 0) + 1
        other = rng.choice(self.people)
        try:
            match rng.choice(("rename", "add", "remove", "admin", "no admin", "leave")):
                case "rename":
                    client.rename(gid, f"name {next(self._numbers)}")
                case "add":
                    client.add(gid, [other.name])
                case "remove":
                    self.unsteady.add((gid, other.name))
                    client.remove(gid, other.name)
                case "admin":
                    client.set_admin(gid, other.name)
                case "no admin":
                    client.set_admin(gid, other.name, is_admin=False)
                case "leave":
                    self.unsteady.add((gid, person.name))
                    client.leave(gid)
        except (UsageError, Died):
            return

    async def happen(self, person: Person) -> None:
        """One thing, at random."""
        rng = self.world.rng
        match rng.choices(("say", "change", "die", "sleep", "wait"), (10, 3, 2, 1, 4))[0]:
            case "say":
                self.say(person, rng.choice(person.client.conversations()).gid)
            case "change":
                groups = [c.gid for c in person.client.conversations() if not c.is_direct]
                if groups and not person.is_doomed:
                    self.change(person, rng.choice(groups))
            case "die":
                person.die_after(rng.randrange(1, 60))
            case "sleep" if person.is_awake and not person.is_doomed:
                await person.sleep()
            case _:
                await self.world.pass_time(rng.uniform(0, 2))
        await self.world.pass_time(0)

    async def round(self, things: int, *, more_s: float = 0) -> None:
        """Many things in a storm, then calm, then all is as promised. `more_s` is how long
        afterwards that may be: what nobody knows to be missing is told of by a heartbeat."""
        self.world.network.weather = STORM
        for _ in range(things):
            await self.happen(self.world.rng.choice(self.people))
        self.world.network.weather = CALM
        for person in self.people:
            person.fuse.left = None
            if not person.is_awake:
                person.wake()
        await self.world.pass_time(more_s)
        await self.world.settle()
        for person in self.people:
            assert not person.warnings()
        self.check_agreement()
        for person in self.people:
            self.check_transcripts(person)
        self.said.clear()
        self.unsteady.clear()
        self.changes.clear()

    def check_agreement(self) -> None:
        views: dict[bytes, set[tuple[bytes, bytes, int]]] = {}
        members: dict[bytes, set[bytes]] = {}
        for person in self.people:
            for view in person.client.conversations():
                if view.state == "active":
                    group = person.client._conversations.roster.group(view.gid)
                    views.setdefault(view.gid, set()).add(
                        (group.view.epoch_authenticator, group.view.policy, group.view.epoch)
                    )
                    members.setdefault(view.gid, set()).add(person.client._me.identity)
                    assert members[view.gid] <= group.identities
        for person in self.people:
            for gid, there in members.items():
                assert self.identities(person, gid) in (there, set())
        assert all(len(found) == 1 for found in views.values())

    def check_transcripts(self, person: Person) -> None:
        for view in person.client.conversations():
            shown = [message.text for message in person.client.messages(view.gid)]
            assert len(shown) == len(set(shown))
            for words in self.said:
                if words.gid != view.gid:
                    continue
                place = shown.index(words.text) if words.text in shown else None
                if place is None:
                    # What the one who goes says last may come after they are gone.
                    steady = not {(view.gid, who) for who in (person.name, words.sender)} & (
                        self.unsteady
                    )
                    assert not (steady and person.name in words.must), (person.name, words)
                else:
                    assert person.name in words.may
                    assert not words.after & set(shown[place:])


@pytest.mark.long
@pytest.mark.parametrize("seed", range(8))
async def test_all_agree_and_nothing_is_lost_or_doubled(world: World, seed: int) -> None:
    world.rng.seed(seed)
    people = await world.friends("alice", "bob", "carol", "dave")
    await world.group("all", *people)
    await world.group("some", *people[:2])
    history = History(world, people)
    for _ in range(3):
        await history.round(25)


async def test_member_away_for_many_epochs_catches_up(world: World) -> None:
    alice, bob, carol = await world.friends("alice", "bob", "carol")
    gid = await world.group("book club", alice, bob, carol)
    await carol.sleep()
    for number in range(2 * entering.KEPT_EPOCHS):
        alice.client.rename(gid, f"name {number}")
        await world.settle()
        bob.client.send(gid, f"text {number}")
        await world.settle()
    carol.wake()
    await world.settle()
    assert carol.client.view(gid).name == alice.client.view(gid).name
    assert [m.text for m in carol.client.messages(gid)] == [f"text {n}" for n in range(6)]
    assert not carol.warnings()


async def test_removed_member_reads_nothing_later(world: World) -> None:
    alice, bob, carol = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", alice, bob, carol)
    alice.say("family", "before")
    await world.settle()
    alice.client.remove(gid, "carol")
    await world.settle()
    alice.say("family", "after")
    await world.settle()
    assert [m.text for m in bob.client.messages(gid)] == ["before", "after"]
    assert [m.text for m in carol.client.messages(gid)] == ["before"]
    assert carol.client.view(gid).state == "removed"
    assert carol.one("SELECT count(*) FROM chain_in WHERE gid = ?", gid) == 0


async def test_what_a_newcomer_says_stands_after_what_was_said_before(world: World) -> None:
    alice, bob, carol = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", alice, bob)
    for number in range(5):
        alice.say("family", f"text {number}")
    await world.settle()
    alice.client.add(gid, ["carol"])
    await world.settle()
    carol.say("family", "good evening")
    await world.settle()
    for person in (alice, bob):
        assert person.client.messages(gid)[-1].text == "good evening"


async def test_who_was_asked_in_again_speaks_after_what_they_had_read(world: World) -> None:
    alice, bob, carol = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", alice, bob, carol)
    carol.say("family", "before")
    await world.settle()
    alice.client.remove(gid, "carol")
    await world.settle()
    alice.client.add(gid, ["carol"])
    await world.settle()
    carol.say("family", "after")
    await world.settle()
    for person in (alice, bob, carol):
        assert [m.text for m in person.client.messages(gid)] == ["before", "after"]


async def test_leaving_works_with_no_admin_online(world: World) -> None:
    alice, bob, carol = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", alice, bob, carol)
    await alice.sleep()
    carol.client.leave(gid)
    await world.settle()
    assert carol.client.view(gid).state == "left"
    assert bob.client.view(gid).people == ["alice", "bob"]
    alice.wake()
    await world.settle()
    assert alice.client.view(gid).people == ["alice", "bob"]


async def test_all_may_leave_at_once(world: World) -> None:
    people = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", *people)
    for person in people:
        person.client.leave(gid)
    await world.settle()
    assert [p.client.view(gid).state for p in people] == ["left"] * 3


@pytest.mark.long
@pytest.mark.parametrize("count", [2, 5])
async def test_commits_at_once_all_come_true(world: World, count: int) -> None:
    people = await world.friends(*"abcdef"[: count + 1])
    gid = await world.group("g", *people)
    for person in people[1:]:
        people[0].client.set_admin(gid, person.name)
        await world.settle()
    for person in people[:count]:
        await person.sleep()
    for one, other in itertools.pairwise(people):
        one.client.set_admin(gid, other.name, is_admin=False)
    for person in people[:count]:
        person.wake()
    await world.settle()
    history = History(world, people)
    history.check_agreement()
    # The first in drop order has taken its right from one of the others, whose wish is moot then.
    assert set(people[0].client.view(gid).admins) < {p.name for p in people}
    assert all(not p.one("SELECT count(*) FROM intent") for p in people)


async def test_names_given_at_once_are_one_name_for_all(world: World) -> None:
    people = await world.friends("alice", "bob", "carol")
    gid = await world.group("g", *people)
    people[0].client.set_admin(gid, "bob")
    await world.settle()
    people[0].client.rename(gid, "one")
    people[1].client.rename(gid, "two")
    await world.settle()
    assert len({p.client.view(gid).name for p in people}) == 1
    assert {p.client.view(gid).epoch for p in people} == {4}
