"""Read marks: others learn what was read, never more than that, and only if the person tells."""

from __future__ import annotations

import random

import pytest
from msgspec import structs

from amanat.client.rules import reads, roster
from amanat.client.unit import Unit
from amanat.drill.person import Person
from amanat.drill.world import World
from amanat.protocol.messages import Ack
from figures import rounds

SOON_S = 90
"""Seconds within which a receipt leaves on its own."""
QUIET_S = 7_200
"""Longer than the 90 minutes within which people who have met renew their keys."""


def readers(person: Person, where: str) -> list[tuple[list[str], int]]:
    """Of each text of a person's own: those who say that they have read it, and of how many."""
    return [(sorted(m.read_by), m.read_of) for m in person.messages(where) if m.is_own]


def cells(world: World) -> int:
    return sum(len(shelf.cells) for shelf in world.relay.shelves.values())


async def quiet(world: World) -> int:
    """Let time pass until QUIET_S have brought nothing. Returns how many cells there were then."""
    count = -1
    while count != cells(world):
        count = cells(world)
        await world.pass_time(QUIET_S)
    return count


async def soon(world: World) -> None:
    await world.pass_time(SOON_S)
    await world.settle()


async def test_a_text_is_told_as_read_once_it_was_and_not_before(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    for text in ("one", "two"):  # apart, so that they arrive in this order
        alice.say("bob", text)
        await soon(world)
    assert [m.state for m in alice.messages("bob")] == ["delivered"] * 2
    assert readers(alice, "bob") == [([], 1), ([], 1)]
    chat = bob.client.chat(bob.gid("alice"))
    chat.seen(chat.messages()[0].row)
    await soon(world)
    assert readers(alice, "bob") == [(["bob"], 1), ([], 1)]
    chat.mark_read()
    await soon(world)
    assert readers(alice, "bob") == [(["bob"], 1)] * 2
    assert readers(bob, "alice") == []


@pytest.mark.long
async def test_a_group_tells_who_has_read_and_of_how_many(world: World) -> None:
    alice, bob, carol = people = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", *people)
    alice.say("family", "for two")
    await soon(world)
    bob.client.mark_read()
    await soon(world)
    assert readers(alice, "family") == [(["bob"], 2)]
    dave = await world.person("dave")
    await world.meet(alice, dave)
    alice.client.chat(gid).add(["dave"])
    await soon(world)
    alice.say("family", "for three")
    await soon(world)
    for person in (carol, dave):
        person.client.mark_read()
    await soon(world)
    assert readers(alice, "family") == [(["bob", "carol"], 2), (["carol", "dave"], 3)]


@pytest.mark.long
async def test_reading_costs_a_cell_only_if_it_is_told_and_new(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    alice.say("bob", "one")
    before = await quiet(world)
    alice.client.mark_read()  # nothing but her own text
    await soon(world)
    assert cells(world) == before
    bob.client.mark_read()
    bob.say("alice", "which carries it")
    await soon(world)
    carried = cells(world)
    assert readers(alice, "bob") == [(["bob"], 1)]
    bob.client.mark_read()
    await soon(world)
    assert cells(world) == carried


@pytest.mark.long
async def test_somebody_who_keeps_it_tells_nothing_and_sees_nothing(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    alice.say("bob", "one")
    bob.say("alice", "two")
    await soon(world)
    alice.client.mark_read()
    await soon(world)
    assert readers(bob, "alice") == [(["alice"], 1)]
    bob.client.read_marks.tell(are_told=False)
    assert not bob.client.read_marks.are_told
    assert readers(bob, "alice") == [([], 0)]
    before = await quiet(world)
    bob.client.mark_read()
    await soon(world)
    assert cells(world) == before
    bob.say("alice", "three")
    await soon(world)
    alice.client.mark_read()
    await soon(world)
    assert readers(alice, "bob") == [([], 1)]
    assert readers(bob, "alice") == [([], 0)] * 2
    assert bob.one("SELECT count(*) FROM read_by") == 0
    bob.client.read_marks.tell()
    bob.say("alice", "four")
    await soon(world)
    alice.client.mark_read()
    await soon(world)
    assert readers(alice, "bob") == [(["bob"], 1)]
    assert readers(bob, "alice") == [(["alice"], 1)] * 3


@pytest.mark.long
async def test_somebody_blocked_does_not_learn_what_was_read(world: World) -> None:
    alice, bob, carol = people = await world.friends("alice", "bob", "carol")
    await world.group("family", *people)
    alice.client.contact("bob").block()
    for person in (bob, carol):
        person.say("family", "here I am")
    await soon(world)
    alice.client.mark_read()
    await soon(world)
    assert readers(bob, "family") == [([], 2)]
    assert readers(carol, "family") == [(["alice"], 2)]


@pytest.mark.long
async def test_a_large_group_tells_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster, "RECEIPT_GROUP", 2)
    alice, bob, carol = people = await world.friends("alice", "bob", "carol")
    await world.group("family", *people)
    alice.say("family", "to all")
    await soon(world)
    for person in (bob, carol):
        person.client.mark_read()
        assert person.one("SELECT count(*) FROM conversation WHERE ack_due_at IS NOT NULL") == 0
        person.say("family", "read")
    await soon(world)
    assert readers(alice, "family") == [([], 0)]


@pytest.mark.long
async def test_it_is_learned_long_after_everybody_has_the_text(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    for text in ("one", "two"):
        alice.say("bob", text)
        await soon(world)
    assert alice.one("SELECT count(*) FROM sent WHERE NOT is_quiet") == 0
    await world.pass_time(3_600)
    bob.client.mark_read()
    await soon(world)
    assert readers(alice, "bob") == [(["bob"], 1)] * 2


@pytest.mark.long
async def test_a_liar_can_lie_about_their_own_reading_alone(world: World) -> None:
    alice, bob, carol = people = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", *people)
    alice.say("family", "one")
    await soon(world)
    own = carol.rules.conversations.saying._acks

    def lying(unit: Unit, gid: bytes) -> list[Ack]:
        return [structs.replace(ack, read=2**52) for ack in own(unit, gid)]

    carol.rules.conversations.saying._acks = lying  # type: ignore[method-assign]
    carol.say("family", "all of it, and more")
    await soon(world)
    assert readers(alice, "family") == [(["carol"], 2)]
    alice.say("family", "two")
    assert readers(alice, "family") == [(["carol"], 2), ([], 2)]
    assert alice.one("SELECT max(seq) FROM read_by WHERE gid = ?", gid) <= alice.one(
        "SELECT sent_seq FROM conversation WHERE gid = ?", gid
    )
    assert alice.warnings() == bob.warnings() == []


@pytest.mark.long
@pytest.mark.campaign
@pytest.mark.parametrize("most", [reads.MAX_UNREAD, 2])
@pytest.mark.parametrize("seed", range(rounds(1, 10)))
async def test_never_more_is_told_than_was_read_whatever_gets_lost(
    world: World, monkeypatch: pytest.MonkeyPatch, seed: int, most: int
) -> None:
    monkeypatch.setattr(reads, "MAX_UNREAD", most)
    chance = random.Random(seed)
    people = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", *people)
    world.relay.forgets = lambda *_: chance.random() < 0.2
    for number in range(20):
        chance.choice(people).say("family", f"text {number}")
        reader = chance.choice(people)
        rows = [message.row for message in reader.messages("family")]
        if rows and chance.random() < 0.7:
            reader.client.chat(gid).seen(chance.choice(rows))
        await world.pass_time(chance.choice([1, 30, 120]))
        said = {m.id for one in people for m in one.messages("family") if m.is_own}
        read = {
            one.name: {m.id for m in one.messages("family")}
            - {m.id for m in one.client.arrivals(gid)}
            for one in people
        }
        assert all(read[one.name] <= said for one in people)
        for one in people:
            for message in one.messages("family"):
                assert all(message.id in read[name] for name in message.read_by)
    world.relay.forgets = lambda *_: False
    for _ in range(3):
        await world.pass_time(1_200)
        await world.settle()
        for person in people:
            person.client.mark_read()
    await soon(world)
    for person in people:
        others = sorted(one.name for one in people if one is not person)
        assert readers(person, "family") == [(others, 2)] * len(readers(person, "family"))
