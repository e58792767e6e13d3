"""Two people part: one removes the other from their contacts, and they may meet again."""

from __future__ import annotations

import pytest

from amanat.drill.attacks.device import pages
from amanat.drill.person import Person
from amanat.drill.world import World
from amanat.errors import NotAMember, UnknownContact, UnknownConversation


def holds(person: Person, word: str) -> bool:
    """Whether a word stands in a person's files."""
    return word.encode() in b"\n".join(pages(person.directory, person.key))


def names(person: Person) -> list[str]:
    """The conversations that a person is shown."""
    listed = [line.name for line in person.client.summaries()]
    assert listed == [view.name for view in person.client.conversations()]
    assert person.client.status().conversations == len(listed)
    return listed


@pytest.mark.long
async def test_a_removed_contact_and_the_conversation_leave_the_list(world: World) -> None:
    alice, bob, carol = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", alice, bob, carol)
    alice.say("bob", "said by alice")
    await world.settle()
    bob.say("alice", "said by bob")
    await world.settle()
    bobs = alice.client.contact("bob")
    alice.client.chat(bobs.conversation).set_draft("unfinished")
    bobs.remove()
    assert [one.name for one in alice.client.contacts()] == ["carol"]
    assert names(alice) == ["carol", "family"]
    assert not any(holds(alice, word) for word in ("said by alice", "said by bob", "unfinished"))
    for wrong in (lambda: alice.client.contact("bob"), lambda: alice.client.chat(gid).add(["bob"])):
        with pytest.raises(UnknownContact):
            wrong()
    with pytest.raises(UnknownConversation):
        bobs.remove()
    with pytest.raises(NotAMember):
        bobs.send("too late")
    await world.settle()
    assert alice.client.chat(bobs.conversation).view().state == "left"
    assert names(alice) == ["carol", "family"]
    assert bob.client.chat(bob.gid("alice")).view().people == ["bob"]
    assert bob.texts("alice") == ["said by alice", "said by bob"]
    with pytest.raises(NotAMember):
        bob.say("alice", "are you there?")
    for person, text in ((alice, "still here"), (bob, "so am I")):
        person.say("family", text)
        await world.settle()
    assert alice.client.chat(gid).view().people == ["alice", "bob", "carol"]
    assert [(m.sender, m.text) for m in alice.messages("family")] == [
        ("alice", "still here"), ("bob", "so am I"),
    ]  # fmt: skip
    await alice.sleep()
    alice.wake()
    await world.settle()
    assert names(alice) == ["carol", "family"]
    assert not alice.warnings()
    assert not bob.warnings()


@pytest.mark.long
async def test_nothing_that_a_removed_contact_still_says_is_kept(world: World) -> None:
    alice, bob, carol = await world.friends("alice", "bob", "carol")
    await bob.sleep()
    alice.client.contact("bob").remove()
    await world.settle()
    with bob.acting() as client:
        client.contact("alice").send("said without knowing")
        client.create_group("a trap", ["alice", "carol"])
    await alice.sleep()
    await bob.sleep()
    bob.wake()
    await world.settle()
    alice.wake()
    await world.settle()
    assert names(alice) == ["carol"]
    assert alice.client.unread() == []
    assert alice.client.search("said") == []
    assert not holds(alice, "said without knowing")
    assert alice.client.status().missing == []
    assert set(names(carol)) == {"alice", "bob", "a trap"}


@pytest.mark.long
@pytest.mark.parametrize("inviter", ["alice", "bob"])
async def test_they_meet_again_by_a_new_invite(world: World, inviter: str) -> None:
    alice, bob = await world.friends("alice", "bob")
    alice.say("bob", "before")
    await world.settle()
    old = alice.gid("bob")
    alice.client.contact("bob").set_verified()
    alice.client.contact("bob").remove()
    await world.settle()
    one, other = (alice, bob) if inviter == "alice" else (bob, alice)
    other.client.accept(one.client.invite(), "shall we?")
    await world.settle()
    assert names(alice) == ["bob"]
    contact = alice.client.contact("bob")
    assert not contact.is_verified
    assert contact.conversation != old
    assert contact.conversation == bob.client.contact("alice").conversation
    # Bob still has the earlier one, which alice has left.
    assert names(bob) == ["alice", "alice"]
    assert bob.client.conversation("alice").gid == contact.conversation
    bob.client.chat(old).leave()
    bob.client.chat(old).clear()
    assert names(bob) == ["alice"]
    alice.say("bob", "again")
    await world.settle()
    bob.client.contact("alice").send("and again")
    await world.settle()
    assert alice.texts("bob") == ["shall we?", "again", "and again"]
    gid = await world.group("family", alice, bob)
    bob.client.chat(gid).send("in a group")
    await world.settle()
    assert alice.texts("family") == ["in a group"]
    assert not alice.warnings()
    assert not bob.warnings()


@pytest.mark.long
async def test_a_knock_that_comes_together_with_the_leaving_is_answered(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    alice.say("bob", "before")
    await world.settle()
    link = bob.client.invite()
    await bob.sleep()
    alice.client.contact("bob").remove()
    await world.settle()
    alice.client.accept(link)
    await world.settle()
    bob.wake()
    await world.settle()
    assert names(alice) == ["bob"]
    bob.client.contact("alice").send("welcome back")
    await world.settle()
    assert alice.texts("bob") == ["welcome back"]


@pytest.mark.long
async def test_a_blocked_contact_stays_blocked_in_groups_until_we_meet_again(world: World) -> None:
    alice, bob, carol = await world.friends("alice", "bob", "carol")
    await world.group("family", carol, alice, bob)
    alice.client.contact("bob").block()
    alice.client.contact("bob").remove()
    await world.settle()
    bob.say("family", "not for alice")
    await world.settle()
    assert alice.texts("family") == []
    assert carol.texts("family") == ["not for alice"]
    bob.client.accept(alice.client.invite())
    await world.settle()
    bob.say("family", "for all")
    await world.settle()
    assert alice.texts("family") == ["for all"]


async def test_a_contact_who_has_left_can_be_removed(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    bob.say("alice", "a last word")
    await world.settle()
    bob.client.chat(bob.gid("alice")).leave()
    await world.settle()
    alice.client.contact("bob").remove()
    await world.settle()
    assert names(alice) == []
    assert not holds(alice, "a last word")


@pytest.mark.long
async def test_a_contact_whom_we_are_adding_to_a_group_can_be_removed(world: World) -> None:
    alice, _, carol = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", alice, carol)
    alice.client.chat(gid).add(["bob"])  # the Commit is on its way
    alice.client.contact("bob").remove()
    await world.settle()
    alice.say("family", "we go on")
    await world.settle()
    assert carol.texts("family") == ["we go on"]
    assert alice.client.failure is None
    assert not alice.warnings()
