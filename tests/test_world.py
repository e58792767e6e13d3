"""The promises, over random histories in bad weather: everybody agrees, and no text is lost,
doubled, out of order or read by anybody it is not for."""

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
from figures import rounds

CHANGES = 2
"""Changes of one group in one round: a message may come late by that many epochs."""


class Said(NamedTuple):
    """A text, the people who must and who may get it, and the texts that its sender had seen."""

    text: str
    gid: bytes
    sender: str
    must: set[str]
    may: set[str]
    after: set[str]


class History:
    """The events of a history, and the results that must follow."""

    def __init__(self, world: World, people: list[Person]) -> None:
        self.world = world
        self.people = people
        self.said: list[Said] = []
        self.unsteady: set[tuple[bytes, str]] = set()
        """(group, person) for each person who was removed or left in this round."""
        self.changes: dict[bytes, int] = {}
        self._numbers = itertools.count(1)

    def identities(self, person: Person, gid: bytes) -> set[bytes]:
        if not person.rules.conversations.roster.is_active(gid):
            return set()
        return person.rules.conversations.roster.group(gid).identities

    def say(self, person: Person, gid: bytes) -> None:
        text = f"text {next(self._numbers)} of {person.name}"
        seen = {message.text for message in person.client.chat(gid).messages()}
        mine = self.identities(person, gid)
        there = {p.name for p in self.people if p.rules.me.identity in mine}
        words = Said(text, gid, person.name, set(there), there, seen)
        self.said.append(words)
        try:
            person.client.chat(gid).send(text)
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
                    client.chat(gid).rename(f"name {next(self._numbers)}")
                case "add":
                    client.chat(gid).add([other.name])
                case "remove":
                    self.unsteady.add((gid, other.name))
                    client.chat(gid).remove(other.name)
                case "admin":
                    client.chat(gid).set_admin(other.name)
                case "no admin":
                    client.chat(gid).set_admin(other.name, is_admin=False)
                case "leave":
                    self.unsteady.add((gid, person.name))
                    client.chat(gid).leave()
        except (UsageError, Died):
            return

    async def happen(self, person: Person) -> None:
        """Do one random thing."""
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
        """Do many things in a storm, then wait for calm; then every promise holds. `more_s` adds
        time for heartbeats, which reveal losses that nobody knows of."""
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
                    group = person.rules.conversations.roster.group(view.gid)
                    views.setdefault(view.gid, set()).add(
                        (group.view.epoch_authenticator, group.view.policy, group.view.epoch)
                    )
                    members.setdefault(view.gid, set()).add(person.rules.me.identity)
                    assert members[view.gid] <= group.identities
        for person in self.people:
            for gid, there in members.items():
                assert self.identities(person, gid) in (there, set())
        assert all(len(found) == 1 for found in views.values())

    def check_transcripts(self, person: Person) -> None:
        for view in person.client.conversations():
            shown = [message.text for message in person.client.chat(view.gid).messages()]
            assert len(shown) == len(set(shown))
            for words in self.said:
                if words.gid != view.gid:
                    continue
                place = shown.index(words.text) if words.text in shown else None
                if place is None:
                    # The last words of a person who leaves may come after they are gone.
                    steady = not {(view.gid, who) for who in (person.name, words.sender)} & (
                        self.unsteady
                    )
                    assert not (steady and person.name in words.must), (person.name, words)
                else:
                    assert person.name in words.may
                    assert not words.after & set(shown[place:])


@pytest.mark.long
@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(rounds(8, 40)))
async def test_all_agree_and_nothing_is_lost_or_doubled(world: World, seed: int) -> None:
    world.rng.seed(seed)
    people = await world.friends("alice", "bob", "carol", "dave")
    await world.group("all", *people)
    await world.group("some", *people[:2])
    history = History(world, people)
    for _ in range(3):
        await history.round(25)


@pytest.mark.long
async def test_member_away_for_many_epochs_catches_up(world: World) -> None:
    alice, bob, carol = await world.friends("alice", "bob", "carol")
    gid = await world.group("book club", alice, bob, carol)
    await carol.sleep()
    for number in range(2 * entering.KEPT_EPOCHS):
        alice.client.chat(gid).rename(f"name {number}")
        await world.settle()
        bob.client.chat(gid).send(f"text {number}")
        await world.settle()
    carol.wake()
    await world.settle()
    assert carol.client.chat(gid).view().name == alice.client.chat(gid).view().name
    assert [m.text for m in carol.client.chat(gid).messages()] == [f"text {n}" for n in range(6)]
    assert not carol.warnings()


@pytest.mark.long
async def test_removed_member_reads_nothing_later(world: World) -> None:
    alice, bob, carol = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", alice, bob, carol)
    alice.say("family", "before")
    await world.settle()
    alice.client.chat(gid).remove("carol")
    await world.settle()
    alice.say("family", "after")
    await world.settle()
    assert [m.text for m in bob.client.chat(gid).messages()] == ["before", "after"]
    assert [m.text for m in carol.client.chat(gid).messages()] == ["before"]
    assert carol.client.chat(gid).view().state == "removed"
    assert carol.one("SELECT count(*) FROM chain_in WHERE gid = ?", gid) == 0


@pytest.mark.long
async def test_what_a_newcomer_says_stands_after_what_was_said_before(world: World) -> None:
    alice, bob, carol = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", alice, bob)
    for number in range(5):
        alice.say("family", f"text {number}")
    await world.settle()
    alice.client.chat(gid).add(["carol"])
    await world.settle()
    carol.say("family", "good evening")
    await world.settle()
    for person in (alice, bob):
        assert person.client.chat(gid).messages()[-1].text == "good evening"


@pytest.mark.long
async def test_a_member_asked_in_again_speaks_after_the_texts_they_had_read(world: World) -> None:
    alice, bob, carol = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", alice, bob, carol)
    carol.say("family", "before")
    await world.settle()
    alice.client.chat(gid).remove("carol")
    await world.settle()
    alice.client.chat(gid).add(["carol"])
    await world.settle()
    carol.say("family", "after")
    await world.settle()
    for person in (alice, bob, carol):
        assert [m.text for m in person.client.chat(gid).messages()] == ["before", "after"]


@pytest.mark.long
async def test_leaving_works_with_no_admin_online(world: World) -> None:
    alice, bob, carol = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", alice, bob, carol)
    await alice.sleep()
    carol.client.chat(gid).leave()
    await world.settle()
    assert carol.client.chat(gid).view().state == "left"
    assert bob.client.chat(gid).view().people == ["alice", "bob"]
    alice.wake()
    await world.settle()
    assert alice.client.chat(gid).view().people == ["alice", "bob"]


@pytest.mark.long
async def test_all_may_leave_at_once(world: World) -> None:
    people = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", *people)
    for person in people:
        person.client.chat(gid).leave()
    await world.settle()
    assert [p.client.chat(gid).view().state for p in people] == ["left"] * 3


@pytest.mark.long
@pytest.mark.parametrize("count", [2, 5])
async def test_commits_at_once_all_come_true(world: World, count: int) -> None:
    people = await world.friends(*"abcdef"[: count + 1])
    gid = await world.group("g", *people)
    for person in people[1:]:
        people[0].client.chat(gid).set_admin(person.name)
        await world.settle()
    for person in people[:count]:
        await person.sleep()
    for one, other in itertools.pairwise(people):
        one.client.chat(gid).set_admin(other.name, is_admin=False)
    for person in people[:count]:
        person.wake()
    await world.settle()
    history = History(world, people)
    history.check_agreement()
    # The first Commit in drop order has taken its right from another member, whose wish is moot.
    assert set(people[0].client.chat(gid).view().admins) < {p.name for p in people}
    assert all(not p.one("SELECT count(*) FROM intent") for p in people)


@pytest.mark.long
async def test_names_given_at_once_are_one_name_for_all(world: World) -> None:
    people = await world.friends("alice", "bob", "carol")
    gid = await world.group("g", *people)
    people[0].client.chat(gid).set_admin("bob")
    await world.settle()
    people[0].client.chat(gid).rename("one")
    people[1].client.chat(gid).rename("two")
    await world.settle()
    assert len({p.client.chat(gid).view().name for p in people}) == 1
    assert {p.client.chat(gid).view().epoch for p in people} == {4}
