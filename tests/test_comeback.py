"""Old copies of vaults, and groups that a relay has parted: noticed, told, and joined again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from amanat.client.rules.commits import Wish
from amanat.drill.person import Person
from amanat.drill.shelves import Shelf
from amanat.drill.world import World
from amanat.errors import CopiedVault, OutOfStep, RelayDoubted, RelayLied
from amanat.protocol.messages import COMMIT_FRAGMENT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from amanat.protocol import wire


def agree(people: Sequence[Person], gid: bytes) -> None:
    groups = [person.rules.conversations.roster.group(gid) for person in people]
    assert [person.client.chat(gid).view().state for person in people] == ["active"] * len(people)
    assert len({group.view.epoch_authenticator for group in groups}) == 1


async def all_hear_all(world: World, people: Sequence[Person], gid: bytes) -> None:
    for person in people:
        person.client.chat(gid).send(f"said by {person.name} in the end")
    await world.settle()
    for person in people:
        last = {message.text for message in person.client.chat(gid).messages()[-len(people) :]}
        assert last == {f"said by {each.name} in the end" for each in people}


@pytest.mark.long
async def test_old_copy_of_a_vault_says_nothing_and_comes_back(world: World) -> None:
    people = await world.friends("alice", "bob", "carol")
    alice, bob, _ = people
    gid = await world.group("family", *people)
    await alice.sleep()
    old = alice.copy()
    alice.wake()
    for number in range(3):
        alice.client.chat(gid).send(f"text {number}")
        alice.say("bob", f"text {number}")
    alice.client.chat(gid).rename("our family")
    await world.settle()
    await alice.sleep()
    newer = alice.copy()
    alice.wake()
    await world.settle()
    await alice.live_as(newer)  # elsewhere, but up to date: nothing is amiss
    await world.settle()
    assert not alice.warnings()
    world.network.copied.add("alice")
    await alice.live_as(old)
    await world.pass_time(0.5)
    with pytest.raises(OutOfStep):
        alice.client.chat(gid).rename("not yet")
    alice.client.chat(gid).send("later")
    assert alice.client.chat(gid).messages()[-1].state == "waiting"
    await world.settle()
    assert set(alice.warnings()) == {CopiedVault.code}
    agree(people, gid)
    agree([alice, bob], alice.gid("bob"))
    await all_hear_all(world, people, gid)
    await all_hear_all(world, [alice, bob], alice.gid("bob"))
    assert alice.client.chat(gid).view().name == "our family"
    assert not bob.warnings()
    view = alice.client.create_group("new", ["bob", "carol"])
    await world.settle()
    agree(people, view.gid)
    second = bob.client.create_group("newer", ["alice"])
    await world.settle()
    agree([alice, bob], second.gid)


@pytest.mark.long
async def test_old_copy_is_noticed_by_what_others_confirm_where_the_relay_has_forgotten(
    world: World,
) -> None:
    people = await world.friends("alice", "bob")
    alice, bob = people
    await alice.sleep()
    old = alice.copy()
    alice.wake()
    alice.say("bob", "one")
    await world.settle()
    await alice.sleep()  # the copy is put in the place of the newest, and all claims have expired
    world.network.copied.add("alice")
    await alice.live_as(old)
    with alice.client._unit() as unit:
        unit.put("place", alice.vault.place)
        alice.db.execute("DELETE FROM outbox WHERE purpose = 'claim'")
    bob.say("alice", "what did you mean by one?")
    await world.settle()
    assert CopiedVault.code in alice.warnings()
    agree(people, alice.gid("bob"))
    await all_hear_all(world, people, alice.gid("bob"))


@pytest.mark.parametrize("mine", [0, 1])
@pytest.mark.long
async def test_members_shown_different_orders_find_together(world: World, mine: int) -> None:
    people = await world.friends("alice", "bob", "carol")
    alice, bob, carol = people
    gid = await world.group("family", *people)
    alice.client.chat(gid).set_admin("bob")
    await world.settle()
    for person in people:
        await person.sleep()
    alice.client.chat(gid).rename("alice's")
    bob.client.chat(gid).rename("bob's")
    _, drop = carol.rules.conversations.epochs.epoch_drops(gid)[-1]
    # Each is shown their own Commit first.
    alice.wake()
    while drop.drop_id not in world.relay.shelves or not world.relay.shelves[drop.drop_id].cells:
        await world.pass_time(0.01)
    await world.pass_time(5)
    shelf = world.relay.shelves[drop.drop_id]
    other = Shelf(shelf.append_hash, shelf.read_hash, shelf.retention_days, [shelf.digests[0]])
    world.relay.faces["bob", drop.drop_id] = other
    if mine:
        world.relay.faces["carol", drop.drop_id] = other
    first = list(shelf.cells)

    def shows_bob_his_own_first(append: wire.Append, who: str) -> bool:
        if append.drop_id == drop.drop_id and who == "bob" and not other.cells:
            for cell in (append.cell, *first):
                other.add(cell)
        return False

    world.relay.forgets = shows_bob_his_own_first
    bob.wake()
    while len(shelf.cells) == len(first):
        await world.pass_time(0.01)
    carol.wake()
    names = {"alice's", "bob's"}
    while {person.client.chat(gid).view().name for person in people} != names:
        await world.pass_time(0.01)
    for person in people:
        person.client.chat(gid).send(f"parted {person.name}")
    await world.settle()
    agree(people, gid)
    assert len({person.client.chat(gid).view().name for person in people}) == 1
    # Nobody can know whether the relay or one of them lies, so nobody is accused.
    codes = {code for person in people for code in person.warnings()}
    assert RelayDoubted.code in codes
    assert RelayLied.code not in codes
    for _ in range(5):
        await world.pass_time(300)
        await world.settle()
    agree(people, gid)
    await all_hear_all(world, people, gid)
    for person in people:
        texts = {message.text for message in person.client.chat(gid).messages()}
        assert {f"parted {each.name}" for each in people} <= texts


@pytest.mark.long
async def test_wishes_are_carried_out_after_coming_back(world: World) -> None:
    people = await world.friends("alice", "bob", "carol")
    alice = people[0]
    gid = await world.group("family", *people)
    with alice.client._unit() as unit:
        talk = alice.rules.conversations
        talk.commits.wish(unit, gid, Wish.RENAME, b"our family", due_at=world.now())
        talk.astray.go_astray(unit, gid, CopiedVault.code, is_restart=True)
    await world.settle()
    agree(people, gid)
    assert [person.client.chat(gid).view().name for person in people] == ["our family"] * 3


@pytest.mark.long
async def test_junk_in_the_epoch_drop_keeps_nobody_out(world: World) -> None:
    people = await world.friends("alice", "bob", "carol")
    alice, bob, carol = people
    gid = await world.group("family", *people)
    talk = carol.rules.conversations
    epoch = talk.roster.group(gid).view.epoch
    with (
        carol.client._unit() as unit
    ):  # whole Commits of a member, which nobody in the group accepts
        for number in range(3):
            junk = b"not a Commit %d" % number
            talk.epochs.append_to_epoch(unit, gid, talk.roster.group(gid), COMMIT_FRAGMENT, junk)
    await world.settle()
    for person in (alice, bob):
        with person.client._unit() as unit:
            person.rules.conversations.roster.look_soon(unit, gid, at=world.now())
    await world.settle()
    with alice.client._unit() as unit:
        alice.rules.conversations.astray.go_astray(unit, gid, CopiedVault.code, is_restart=True)
    await world.settle()
    agree(people, gid)
    assert (
        talk.roster.group(gid).view.epoch == epoch + 1
    )  # at the first try: the next drop has no junk
    await all_hear_all(world, people, gid)


@pytest.mark.long
@pytest.mark.parametrize("what", ["the Commit", "the drop"])
async def test_external_commit_that_a_relay_has_forgotten_is_made_again(
    world: World, what: str
) -> None:
    people = await world.friends("alice", "bob")
    alice, bob = people
    gid = await world.group("family", *people)
    _, drop = bob.rules.conversations.epochs.epoch_drops(gid)[-1]
    lost: list[wire.Append] = []

    def forgets(request: wire.Append, who: str) -> bool:
        if lost or who != "alice" or request.drop_id != drop.drop_id:
            return False
        lost.append(request)
        if what == "the drop":
            del world.relay.shelves[drop.drop_id]
        return True

    world.relay.forgets = forgets
    with alice.client._unit() as unit:
        alice.rules.conversations.astray.go_astray(unit, gid, CopiedVault.code, is_restart=True)
    await world.settle()
    assert lost
    assert RelayLied.code in alice.warnings()
    agree(people, gid)
    await all_hear_all(world, people, gid)
