"""A relay that refuses a request for good, and a sender who never comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from amanat.client.rules import commits, gaps
from amanat.errors import CellTooLarge, MessageLost, RelayLied
from amanat.protocol import wire

if TYPE_CHECKING:
    from amanat.drill.person import Person
    from amanat.drill.world import World


def buckets(*people: Person) -> set[bytes]:
    """The drop ids of people's buckets."""
    return {person.rules.me.home.bucket.drop_id for person in people}


def refuse(world: World, drops: set[bytes]) -> list[wire.Append]:
    """Have the relay refuse for good every append to a drop that is not one of these; returns the
    list that collects them."""
    append, refused = world.relay._append, list[wire.Append]()

    def refusing(request: wire.Append, who: str) -> tuple[int, bytes]:
        if request.drop_id in drops:
            return append(request, who)
        refused.append(request)
        raise CellTooLarge

    world.relay._append = refusing  # type: ignore[method-assign]
    return refused


async def rename_refused(world: World) -> tuple[list[Person], bytes, list[wire.Append]]:
    """Two people, their group, which alice has renamed, and the appends that the relay refused."""
    people = await world.friends("alice", "bob")
    gid = await world.group("family", *people)
    for person in people:  # a refresh of keys would carry out the wish too
        with person.client._unit() as unit:
            unit.db.execute("UPDATE conversation SET refresh_due_at = NULL")
    refused = refuse(world, buckets(*people))
    people[0].client.chat(gid).rename("our family")
    await world.pass_time(60)
    return people, gid, refused


async def test_a_commit_that_is_refused_for_good_is_made_again_later(world: World) -> None:
    people, gid, refused = await rename_refused(world)
    alice, bob = people
    assert refused
    assert CellTooLarge.code in alice.warnings()
    assert alice.one("SELECT count(*) FROM attempt") == 0
    alice.client.chat(gid).send("we are still here")
    await world.pass_time(60)
    assert bob.texts("family") == ["we are still here"]
    del world.relay._append
    await world.pass_time(2 * commits.REFUSED_MS / 1000)
    await world.settle()
    assert [person.client.chat(gid).view().name for person in people] == ["our family"] * 2


@pytest.mark.long
async def test_relay_that_shows_a_commit_it_has_refused_is_told_and_everybody_goes_on(
    world: World,
) -> None:
    people, gid, refused = await rename_refused(world)
    alice, bob = people
    del world.relay._append
    for request in dict.fromkeys(refused):
        world.relay.shelves[request.drop_id].add(request.cell)
    await world.pass_time(2 * commits.REFUSED_MS / 1000)
    await world.settle()
    assert RelayLied.code in alice.warnings()
    alice.client.chat(gid).send("one")
    bob.client.chat(gid).send("two")
    await world.pass_time(600)
    await world.settle()
    for person in people:
        assert person.client.chat(gid).view().name == "our family"
        assert sorted(person.texts("our family")) == ["one", "two"]


@pytest.mark.long
async def test_messages_of_a_sender_who_never_comes_back_are_told_as_lost_in_the_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gaps, "MAX_ASKS", 4)
    alice, bob = await world.friends("alice", "bob")
    world.relay.forgets = lambda _, who: who == "alice"
    alice.say("bob", "one")
    await world.settle()
    world.relay.forgets = lambda *_: False
    alice.say("bob", "two")
    while bob.texts("alice") != ["two"]:
        await world.pass_time(0.01)
    await alice.sleep()
    assert sum(bob.rules.conversations.gaps.missing().values()) == 1
    assert MessageLost.code not in bob.warnings()
    await world.pass_time(3600)
    assert sum(bob.rules.conversations.gaps.missing().values()) == 0
    assert MessageLost.code in bob.warnings()
    assert bob.texts("alice") == ["two"]


@pytest.mark.long
async def test_a_member_whose_commit_is_refused_for_good_comes_back_later(world: World) -> None:
    people = await world.friends("alice", "bob")
    gid = await world.group("family", *people)
    alice, bob = people
    refused = refuse(world, buckets(*people))
    with alice.client._unit() as unit:
        alice.rules.conversations.astray.go_astray(unit, gid, "copied-vault", is_restart=True)
    await world.pass_time(600)
    assert refused
    assert alice.client.chat(gid).view().state == "astray"
    del world.relay._append
    alice.client.chat(gid).send("one")
    await world.pass_time(7200)
    await world.settle()
    assert alice.client.chat(gid).view().state == "active"
    assert bob.texts("family") == ["one"]
