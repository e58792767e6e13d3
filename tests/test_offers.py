"""Being added to groups, at once or after a yes; leaving again, and blocking the contact."""

from __future__ import annotations

import os

import pytest

from amanat.client import offers
from amanat.client.offers import ASK, JOIN
from amanat.client.rules import joining
from amanat.drill.person import Person
from amanat.drill.world import World
from amanat.errors import BadArgument, Blocked, NotAMember, UnknownConversation
from amanat.protocol import codec, wire
from amanat.protocol.identity import leave_text
from amanat.protocol.messages import Declined, FileRef, Kind, Leave, WelcomeRef


def groups(person: Person) -> list[str]:
    return [view.name for view in person.client.conversations() if not view.is_direct]


def watch(
    world: World, monkeypatch: pytest.MonkeyPatch, whom: str, *, own: set[bytes]
) -> list[wire.Request]:
    """A person's requests to relays from now on, for drops other than these."""
    asked: list[wire.Request] = []
    note = world.network.note

    def noted(request: wire.Request, who: str) -> None:
        if who == whom and getattr(request, "drop_id", None) not in {None, *own}:
            asked.append(request)
        note(request, who)

    monkeypatch.setattr(world.network, "note", noted)
    return asked


@pytest.mark.long
async def test_a_person_who_is_asked_is_in_no_group_and_answers_nothing_before_they_say_yes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob, carol = await world.friends("alice", "bob", "carol")
    carol.client.offers.set_adds(ASK)
    known = {drop.drop_id for view in carol.client.conversations()
             for _, drop in carol.rules.conversations.epochs.epoch_drops(view.gid)}  # fmt: skip
    await carol.sleep()
    carol.wake()  # that is kept
    assert carol.client.offers.adds == ASK
    await world.settle()
    asked = watch(world, monkeypatch, "carol", own={carol.bucket, alice.bucket} | known)
    gid = await world.group("book club", alice, bob, carol)
    alice.client.chat(gid).send("welcome, all")
    await world.settle()
    await world.pass_time(120)
    assert groups(carol) == []
    assert asked == []  # only receipts for alice's words go out, to alice's bucket
    (offer,) = carol.client.offers.all()
    assert (offer.name, offer.by_name) == ("book club", "alice")
    assert not carol.one("SELECT count(*) FROM joining")
    carol.client.offers.accept("book club")
    await world.settle()
    assert carol.client.offers.all() == []
    view = carol.client.chat(gid).view()
    assert (view.people, view.added_by) == (["alice", "bob", "carol"], "alice")
    assert [m.text for m in carol.client.chat(gid).messages()] == ["welcome, all"]
    carol.client.chat(gid).send("thank you")
    await world.settle()
    assert "thank you" in [m.text for m in bob.client.chat(gid).messages()]
    assert not carol.warnings()


@pytest.mark.long
async def test_a_person_who_says_no_is_taken_out_and_has_joined_nothing(world: World) -> None:
    alice, bob, carol = await world.friends("alice", "bob", "carol")
    carol.client.offers.set_adds(ASK)
    gid = await world.group("book club", alice, bob, carol)
    assert alice.client.chat(gid).view().people == ["alice", "bob", "carol"]
    (offer,) = carol.client.offers.all()
    carol.client.offers.decline(offer.id)
    await world.settle()
    for person in (alice, bob):
        assert person.client.chat(gid).view().people == ["alice", "bob"]
        assert not person.warnings()
    assert groups(carol) == []
    assert carol.client.offers.all() == []
    with pytest.raises(UnknownConversation):
        carol.client.offers.accept(offer.id)
    # The contact may ask again, and be told yes.
    alice.client.chat(gid).add(["carol"])
    await world.settle()
    carol.client.offers.accept(carol.client.offers.all()[0].id)
    await world.settle()
    assert alice.client.chat(gid).view().people == ["alice", "bob", "carol"]


@pytest.mark.long
async def test_a_no_is_the_word_of_nobody_else(world: World) -> None:
    alice, bob, carol = await world.friends("alice", "bob", "carol")
    gid = await world.group("book club", alice, bob, carol)
    talk = bob.rules.conversations
    people = {person.identity: person for person in talk.roster.group(gid).people}
    nonce = people[carol.rules.me.identity].leaf.nonce
    mine = bob.rules.me.identity_key.sign(leave_text(gid, nonce))
    for who in (carol, bob):
        no = Declined(gid, Leave(who.rules.me.identity, nonce, mine))
        with bob.client._unit() as unit:
            direct = talk.roster.direct_with(alice.rules.me.identity)
            talk.saying.say(unit, direct, Kind.DECLINED, codec.encode(no))
        await world.settle()
    assert alice.client.chat(gid).view().people == ["alice", "bob", "carol"]


@pytest.mark.long
async def test_one_step_leaves_a_group_and_blocks_the_person_who_added_us(world: World) -> None:
    alice, bob, carol = await world.friends("alice", "bob", "carol")
    gid = await world.group("nonsense", alice, bob, carol)
    assert carol.client.chat(gid).view().added_by == "alice"
    await carol.sleep()
    carol.wake()
    assert carol.client.chat(gid).leave_and_block().name == "alice"
    await world.settle()
    assert alice.client.chat(gid).view().people == ["alice", "bob"]
    assert not carol.client.chat(gid).view().is_live
    with pytest.raises(Blocked):
        carol.say("alice", "never again")
    before = groups(carol)
    await world.group("more nonsense", alice, carol)
    assert groups(carol) == before
    assert carol.client.offers.all() == []
    with pytest.raises(BadArgument):  # nobody has added its founder
        alice.client.chat(gid).leave_and_block()
    with pytest.raises(NotAMember):
        carol.client.chat(gid).leave_and_block()
    assert alice.client.chat(gid).view().is_live


async def test_a_contact_who_is_declined_and_blocked_is_told_nothing_and_asks_in_vain(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, carol = await world.friends("alice", "carol")
    carol.client.offers.set_adds(ASK)
    await world.group("nonsense", alice, carol)
    await world.group("more of it", alice, carol)
    assert len(carol.client.offers.all()) == 2
    await world.pass_time(120)  # receipts
    asked = watch(world, monkeypatch, "carol", own=set())
    carol.client.offers.decline("nonsense", is_blocked=True)
    await world.pass_time(300)
    assert [one for one in asked if isinstance(one, wire.Append)] == []
    assert carol.client.offers.all() == []
    assert carol.client.contact("alice").is_blocked


@pytest.mark.long
async def test_offers_of_one_contact_are_bounded_and_take_nobody_elses_place(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offers, "MAX_OFFERS", 3)
    alice, bob, carol = await world.friends("alice", "bob", "carol")
    carol.client.offers.set_adds(ASK)
    gid = await world.group("book club", bob, carol)
    for number in range(5):
        file = FileRef(world.relay.address, "IR", os.urandom(32), 100, bytes(32))
        group = gid if number == 0 else os.urandom(16)
        ref = WelcomeRef(group, file, f"nonsense {number}", bytes(32))
        with alice.client._unit() as unit:
            direct = alice.gid("carol")
            alice.rules.conversations.saying.say(unit, direct, Kind.WELCOME, codec.encode(ref))
    await world.settle()
    names = [(one.by_name, one.name) for one in carol.client.offers.all()]
    assert ("bob", "book club") in names
    assert len(names) == 4
    carol.client.offers.accept("book club")
    await world.settle()
    assert groups(carol) == ["book club"]


@pytest.mark.long
async def test_offer_that_is_not_answered_ends(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, carol = await world.friends("alice", "carol")
    carol.client.offers.set_adds(ASK)
    await world.group("book club", alice, carol)
    monkeypatch.setattr(joining, "WELCOME_LIFE_MS", 3_600_000)
    monkeypatch.setattr(world, "tick_s", 300.0)
    await world.pass_time(7_300)
    assert carol.client.offers.all() == []
    assert carol.warnings() == ["invalid-welcome"]


async def test_adds_are_at_once_or_asked(world: World) -> None:
    alice = await world.person("alice")
    assert alice.client.offers.adds == JOIN
    with pytest.raises(BadArgument):
        alice.client.offers.set_adds("never")
    alice.client.offers.set_adds(ASK)
    alice.client.offers.set_adds(JOIN)
    assert alice.client.offers.adds == JOIN
