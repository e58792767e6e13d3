"""People who have knocked and wait: asked about, let in, turned away, and nothing said before."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

from amanat.client import invite as rules
from amanat.client.events import Event, Knocked
from amanat.client.invite import MAX_GREETING_CHARS, REPLY_MS, from_link
from amanat.client.rules.key_packages import KEY_PACKAGE_LIFETIME_S
from amanat.client.rules.outbox import Purpose
from amanat.client.shell import agenda
from amanat.client.visitors import ASK, LET_IN
from amanat.drill.death import Died
from amanat.drill.person import Person
from amanat.drill.world import World
from amanat.errors import (
    AmbiguousName,
    BadArgument,
    InviteExpired,
    InviteUsed,
    UnknownVisitor,
)
from amanat.protocol import codec, wire
from amanat.protocol.messages import Knock
from figures import every


async def asked(world: World, *names: str) -> list[Person]:
    """New people, of whom the first wants to be asked."""
    people = [await world.person(name) for name in names]
    people[0].client.visitors.set_knocks(ASK)
    return people


def appended(
    world: World, monkeypatch: pytest.MonkeyPatch, whom: str
) -> list[wire.Create | wire.Append]:
    """The cells and drops that a person brings to relays from now on."""
    brought: list[wire.Create | wire.Append] = []
    note = world.network.note

    def noted(request: wire.Request, who: str) -> None:
        if who == whom and isinstance(request, wire.Create | wire.Append):
            brought.append(request)
        note(request, who)

    monkeypatch.setattr(world.network, "note", noted)
    return brought


async def knocks_in(events: AsyncIterator[Event]) -> list[Knocked]:
    """The events about visitors that have come."""
    found: list[Knocked] = []
    while True:
        try:
            async with asyncio.timeout(1):
                event = await anext(events)
        except TimeoutError:
            return found
        if isinstance(event, Knocked):
            found.append(event)


async def test_visitor_is_told_nothing_until_they_are_let_in_and_then_they_talk(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = await asked(world, "alice", "bob")
    events = alice.client.events()
    link = alice.client.invite()
    (made,) = alice.client.invites()
    brought = appended(world, monkeypatch, "alice")
    bob.client.accept(link, "سلام")
    await world.settle()
    await world.pass_time(600)
    assert brought == []
    assert alice.client.contacts() == []
    assert bob.client.contacts() == []
    assert alice.client.conversations() == []
    assert alice.client.invites() == []
    assert alice.one("SELECT count(*) FROM invite") == 0  # its keys are gone
    (visitor,) = alice.client.visitors.all()
    assert (visitor.id, visitor.name, visitor.greeting) == (made.id, "bob", "سلام")
    assert visitor.identity == bob.rules.me.identity
    assert visitor.expires_at == made.expires_at + REPLY_MS
    assert made.made_at <= visitor.knocked_at <= world.now()
    assert await knocks_in(events) == [Knocked(made.id)]
    assert alice.client.visitors.let_in("bob") == visitor
    await world.settle()
    assert alice.client.visitors.all() == []
    assert await knocks_in(events) == [Knocked(made.id)]
    alice.say("bob", "hello")
    await world.settle()
    assert alice.texts("bob") == bob.texts("alice") == ["سلام", "hello"]
    assert not alice.warnings()
    assert not bob.warnings()
    with pytest.raises(UnknownVisitor):
        alice.client.visitors.let_in(made.id)


@pytest.mark.long
async def test_visitor_who_is_turned_away_is_told_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = await asked(world, "alice", "bob")
    link = alice.client.invite(3_600)
    brought = appended(world, monkeypatch, "alice")
    bob.client.accept(link, "let me in")
    await world.settle()
    (visitor,) = alice.client.visitors.all()
    events = alice.client.events()
    assert alice.client.visitors.turn_away(visitor.id) == visitor
    assert await knocks_in(events) == [Knocked(visitor.id)]
    assert alice.client.visitors.all() == []
    with pytest.raises(UnknownVisitor):
        alice.client.visitors.turn_away(visitor.id)
    monkeypatch.setattr(world, "tick_s", 60.0)
    await world.pass_time(2 * agenda.EXPIRE_EVERY_MS / 1000 + 120)  # bob knocks again meanwhile
    assert brought == []
    assert alice.client.visitors.all() == []
    assert alice.client.contacts() == []
    assert bob.warnings() == [InviteExpired.code]
    assert not alice.warnings()


async def test_everybody_is_let_in_unless_the_person_wants_to_be_asked(world: World) -> None:
    alice, bob, carol = [await world.person(name) for name in ("alice", "bob", "carol")]
    assert alice.client.visitors.knocks == LET_IN
    with pytest.raises(BadArgument):
        alice.client.visitors.set_knocks("never")
    first, second = alice.client.invite(), alice.client.invite()
    bob.client.accept(first)
    await world.settle()
    assert [one.name for one in alice.client.contacts()] == ["bob"]
    alice.client.visitors.set_knocks(ASK)  # which counts for invites that were made before
    await alice.sleep()
    alice.wake()
    assert alice.client.visitors.knocks == ASK
    carol.client.accept(second)
    await world.settle()
    assert [one.name for one in alice.client.contacts()] == ["bob"]
    assert [one.name for one in alice.client.visitors.all()] == ["carol"]
    alice.client.visitors.set_knocks(LET_IN)
    await world.settle()
    assert [one.name for one in alice.client.visitors.all()] == ["carol"]  # still the person's word


async def test_visitor_waits_though_the_process_ends(world: World) -> None:
    alice, bob = await asked(world, "alice", "bob")
    await alice.sleep()
    link = alice.client.invite()
    bob.client.accept(link, "hello")
    await world.settle()
    alice.wake()
    await world.settle()
    await alice.sleep()
    alice.wake()
    await world.settle()
    (visitor,) = alice.client.visitors.all()
    await alice.sleep()
    alice.client.visitors.let_in(visitor.id)
    assert alice.client.visitors.all() == []
    alice.wake()
    await world.settle()
    assert bob.texts("alice") == alice.texts("bob") == ["hello"]


@pytest.mark.long
async def test_dying_at_any_step_of_letting_in_it_was_done_or_was_not(world: World) -> None:
    alice, bob = await asked(world, "alice", "bob")
    bob.client.accept(alice.client.invite(), "hello")
    await world.settle()
    restore = await world.save()
    step = 0
    ends: list[str] = []
    while not ends or ends[-1] != "lived":
        step += 3 * every(3)
        await restore()
        alice.die_after(step)
        try:
            alice.client.visitors.let_in("bob")
            ends.append("lived")
        except Died:
            ends.append("died")
        alice.fuse.left = None
        await world.pass_time(1)
        if alice.client.visitors.all():
            assert alice.client.contacts() == []
            alice.client.visitors.let_in("bob")
        await world.settle()
        assert alice.texts("bob") == bob.texts("alice") == ["hello"]
        assert not alice.warnings()
    assert ends.count("died") > 3


# Who is asked about


async def low_and_high(world: World) -> tuple[Person, Person]:
    """Two people who want to be asked, in the order of their identities."""
    people = [await world.person("alice"), await world.person("bob")]
    for person in people:
        person.client.visitors.set_knocks(ASK)
    low, high = sorted(people, key=lambda person: person.rules.me.identity)
    return low, high


@pytest.mark.parametrize("is_invite_good", [True, False])
async def test_nobody_is_asked_about_those_on_whom_they_have_knocked(
    world: World, *, is_invite_good: bool
) -> None:
    low, high = await low_and_high(world)
    links = low.client.invite(), high.client.invite()
    if not is_invite_good:  # the lower knocks on what has ended, so the higher answers late
        high.client.withdraw_invite(high.client.invites()[0].id)
    await low.sleep()
    await high.sleep()
    low.client.accept(links[1], "from the lower")
    high.client.accept(links[0], "from the higher")
    low.wake()
    high.wake()
    await world.settle()
    await world.pass_time(rules.ASIDE_MS / 1000 + 2)
    await world.settle()
    for person in (low, high):
        assert person.client.visitors.all() == []
        assert len(person.client.contacts()) == 1
    low.say(high.name, "hello")
    await world.settle()
    assert "hello" in high.texts(low.name)


@pytest.mark.parametrize("who_waits", ["the lower", "the higher"])
async def test_to_knock_on_a_visitor_is_to_meet_them(world: World, who_waits: str) -> None:
    low, high = await low_and_high(world)
    visitor, host = (low, high) if who_waits == "the lower" else (high, low)
    link = visitor.client.invite()
    visitor.client.accept(host.client.invite(), "may I?")
    await world.settle()
    assert [one.name for one in host.client.visitors.all()] == [visitor.name]
    host.client.accept(link, "please do")
    await world.settle()
    await world.pass_time(rules.ASIDE_MS / 1000 + 2)
    await world.settle()
    for person, other in ((host, visitor), (visitor, host)):
        assert person.client.visitors.all() == []
        assert [one.name for one in person.client.contacts()] == [other.name]
        assert len([one for one in person.client.conversations() if one.is_live]) == 1
        assert not person.warnings()
    host.say(visitor.name, "hello")
    await world.settle()
    assert visitor.texts(host.name) == host.texts(visitor.name)


async def test_nobody_is_asked_about_a_contact(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    alice.client.visitors.set_knocks(ASK)
    bob.client.contact("alice").remove()
    await world.settle()
    bob.client.accept(alice.client.invite(), "me again")
    await world.settle()
    assert alice.client.visitors.all() == []
    assert [one.name for one in bob.client.contacts()] == ["alice"]
    assert "me again" in alice.texts("bob")


async def test_person_is_told_that_a_visitor_is_one_whom_they_had_blocked(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    alice.client.visitors.set_knocks(ASK)
    alice.client.contact("bob").block()
    alice.client.contact("bob").remove()
    await world.settle()
    bob.client.rename("carol")
    bob.client.accept(alice.client.invite(), "I am new here")
    await world.settle()
    (visitor,) = alice.client.visitors.all()
    assert (visitor.name, visitor.is_blocked) == ("carol", True)
    assert visitor.as_json()["blocked"] is True


# What visitors cannot do


@pytest.mark.long
async def test_name_and_greeting_of_a_visitor_pretend_nothing(world: World) -> None:
    alice, bob, *others = await asked(world, "alice", "bob", "bob", "аlice", "alice")
    world.people = {str(number): one for number, one in enumerate([alice, bob, *others])}
    bob.client.accept(alice.client.invite())
    await world.settle()
    alice.client.visitors.let_in("bob")
    for other in others:
        other.client.accept(alice.client.invite(), "\x1b[2J" + "ی" * (MAX_GREETING_CHARS - 4))
    await world.settle()
    found = alice.client.visitors.all()
    assert {one.name for one in found} == {"bob (2)", "аlice (2)", "alice (2)"}
    assert {len(one.greeting) for one in found} == {MAX_GREETING_CHARS}
    assert not alice.warnings()
    for one in found:
        alice.client.visitors.let_in(one.id)
    await world.settle()
    names = [one.name for one in alice.client.contacts()]
    assert {"bob", "bob (2)"} < set(names)
    assert len(set(names)) == 4


async def test_visitors_of_one_name_are_told_apart_by_their_ids(world: World) -> None:
    alice, bob, twin = await asked(world, "alice", "bob", "bob")
    world.people = {str(number): one for number, one in enumerate([alice, bob, twin])}
    for one in (bob, twin):
        one.client.accept(alice.client.invite())
        await world.settle()
    with pytest.raises(AmbiguousName):
        alice.client.visitors.let_in("bob")
    alice.client.visitors.let_in(alice.client.visitors.all()[1].id)
    await world.settle()
    assert [one.identity for one in alice.client.contacts()] == [twin.rules.me.identity]
    assert [one.name for one in alice.client.visitors.all()] == ["bob (2)"]


async def test_a_person_who_knocks_often_is_one_visitor_and_is_met_once(world: World) -> None:
    alice, bob = await asked(world, "alice", "bob")
    for number in range(4):
        bob.client.accept(alice.client.invite(), f"knock {number}")
        await world.settle()
    (visitor,) = alice.client.visitors.all()
    assert visitor.greeting == "knock 3"
    alice.client.visitors.let_in("bob")
    await world.settle()
    bob.say("alice", "hello")
    await world.settle()
    assert alice.texts("bob") == bob.texts("alice") == ["knock 3", "hello"]
    assert bob.one("SELECT count(*) FROM knock") == 0


async def test_junk_makes_no_visitor_and_is_reported(world: World) -> None:
    alice, bob = await asked(world, "alice", "bob")
    made = from_link(alice.client.invite())
    key = X25519PublicKey.from_public_bytes(made.public)
    with bob.client._unit() as unit:
        bob.rules.outbox.deposit(
            unit,
            made.addresses,
            made.secret,
            rules._SUITE.encrypt(os.urandom(99), key, info=rules._INFO),
            purpose=Purpose.KNOCK,
            about=made.identity,
            due_at=0,
        )
    await world.settle()
    assert alice.warnings() == ["invalid-message"]
    assert alice.client.visitors.all() == []


async def test_own_knock_makes_no_visitor(world: World) -> None:
    (alice,) = await asked(world, "alice")
    made = from_link(alice.client.invite())
    me = alice.rules.me
    key = X25519PublicKey.from_public_bytes(made.public)
    with alice.client._unit() as unit:
        package = alice.rules.conversations.key_packages.new_key_package(unit, 78, me.identity)
        knock = codec.encode(Knock(package, "alice", "", me.addresses, bytes(32)))
        sealed = rules._SUITE.encrypt(knock, key, info=rules._INFO)
        alice.rules.invites.answer(unit, made.secret, sealed)
    assert alice.client.visitors.all() == []
    assert alice.client.contacts() == []


async def test_invite_with_a_visitor_is_used_up(world: World) -> None:
    alice, bob, carol = await asked(world, "alice", "bob", "carol")
    link = alice.client.invite()
    bob.client.accept(link)
    await world.settle()
    world.network.sent.clear()  # the test puts two people's two texts under one label
    carol.client.accept(link)
    await world.settle()
    assert [one.name for one in alice.client.visitors.all()] == ["bob"]
    assert carol.warnings() == [InviteUsed.code]


async def test_no_invite_is_made_while_too_many_wait(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "MAX_VISITORS", 2)
    alice, bob, carol = await asked(world, "alice", "bob", "carol")
    for one in (bob, carol):
        one.client.accept(alice.client.invite())
        await world.settle()
    with pytest.raises(BadArgument, match="wait for your answer"):
        alice.client.invite()
    alice.client.visitors.turn_away("carol")
    alice.client.invite()


# Until when they wait


@pytest.mark.long
async def test_visitor_who_is_not_answered_goes_and_nothing_is_said(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob, carol = await asked(world, "alice", "bob", "carol")
    for one, life_s in ((bob, 3_600), (carol, 86_400)):
        one.client.accept(alice.client.invite(life_s), "hello?")
    await world.settle()
    monkeypatch.setattr(world, "tick_s", 3_600.0)
    await world.pass_time(7_200)
    assert [one.name for one in alice.client.visitors.all()] == ["bob", "carol"]
    first = alice.client.visitors.all()[0]
    await world.pass_time((first.expires_at - world.now()) / 1000 - 3_700)
    assert [one.name for one in alice.client.visitors.all()] == ["bob", "carol"]
    await alice.sleep()  # so nothing clears the row away
    await world.pass_time(3_710)
    assert alice.one("SELECT count(*) FROM visitor") == 2
    assert [one.name for one in alice.client.visitors.all()] == ["carol"]
    with pytest.raises(UnknownVisitor):
        alice.client.visitors.let_in(first.id)
    events = alice.client.events()
    alice.wake()
    await world.pass_time(7_200)
    assert Knocked(first.id) in await knocks_in(events)
    assert alice.one("SELECT count(*) FROM visitor") == 1
    assert not alice.warnings()
    # The other one's invite has expired too, but not their patience.
    alice.client.visitors.let_in("carol")
    await world.settle()
    assert carol.texts("alice") == ["hello?"]


async def test_nobody_waits_longer_than_their_key_package_is_good(world: World) -> None:
    alice, bob = await asked(world, "alice", "bob")
    link = alice.client.invite(rules.MAX_LIFE_S)
    knocked_at = world.now()
    bob.client.accept(link)
    await world.settle()
    (visitor,) = alice.client.visitors.all()
    assert visitor.expires_at == knocked_at // 1000 * 1000 + KEY_PACKAGE_LIFETIME_S * 1000
    assert visitor.expires_at < 1000 * from_link(link).expires + REPLY_MS


async def test_visitor_is_let_in_though_the_clock_was_set_back(world: World) -> None:
    alice, bob = await asked(world, "alice", "bob")
    alice.ahead_ms = bob.ahead_ms = 30 * 86_400_000
    bob.client.accept(alice.client.invite(), "hello")
    await world.settle()
    alice.ahead_ms = 0
    await world.pass_time(2)
    alice.client.visitors.let_in("bob")
    await world.settle()
    assert bob.texts("alice") == ["hello"]


@pytest.mark.long
async def test_visitor_waits_though_we_have_left_the_home_that_the_invite_names(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = world.add_relay("DE")
    alice, bob = await asked(world, "alice", "bob")
    bob.client.accept(alice.client.invite(rules.MAX_LIFE_S), "hello")
    await world.settle()
    alice.client.home.set_allowed_regions(None)
    await alice.client.home.exit(str(new.address))
    monkeypatch.setattr(world, "tick_s", 3_600.0)
    await world.pass_time(20 * 86_400)
    assert not alice.client.status().former  # no invite of hers wants it
    assert [one.id for one in alice.client.visitors.all()] != []
    alice.client.visitors.let_in("bob")
    await world.settle()
    assert bob.texts("alice") == ["hello"]
