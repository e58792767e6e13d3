"""A person's name is their own to say, and nobody hears it change in silence."""

from __future__ import annotations

import contextlib
import itertools
import random

import pytest

from amanat.client.rules import roster
from amanat.drill.death import Died
from amanat.drill.network import CALM, STORM
from amanat.drill.person import Person
from amanat.drill.world import World
from amanat.errors import BadArgument, NameChanged, UnknownContact
from amanat.protocol import codec
from amanat.protocol.messages import Kind, NewName

RENAMED = NameChanged.code


def names(person: Person) -> list[str]:
    """The names of somebody's contacts, as they see them."""
    return [contact.name for contact in person.client.contacts()]


def told(person: Person) -> list[tuple[str, str, str, int]]:
    """The warnings of somebody: (code, person, detail, how many)."""
    found = person.client.status().warnings
    return [(one.code, one.whom, one.detail, one.many) for one in found]


def says(person: Person, gid: bytes, body: bytes) -> None:
    """Somebody's own program says a name in a conversation, whatever it is."""
    with person.client._unit() as unit:
        person.rules.conversations.saying.say(unit, gid, Kind.NAME, body)
    person.client._run.wake()


def hears(person: Person, gid: bytes, who: bytes, *said: NewName) -> None:
    """Somebody hears names, each in a unit of its own."""
    for one in said:
        with person.client._unit() as unit:
            person.rules.conversations.naming.take_name(unit, gid, who, codec.encode(one))


@pytest.mark.long
async def test_contacts_and_members_learn_a_new_name_and_are_told(world: World) -> None:
    alice, bob, carol = await world.friends("alice", "babak", "carol")
    gid = await world.group("garden", alice, bob, carol)
    alice.client.contact("babak").set_verified()
    bob.client.chat(gid).send("before")
    await world.settle()
    bob.client.rename("  Babak R ")
    assert bob.client.status().name == "Babak R"
    await world.settle()
    for one in (alice, carol):
        assert "Babak R" in names(one)
        assert one.client.conversation("Babak R").is_direct
        assert "Babak R" in one.client.chat(gid).view().people
        assert [m.sender for m in one.client.chat(gid).messages()] == ["Babak R"]
        assert told(one) == [(RENAMED, "Babak R", "babak", 1)]
        with pytest.raises(UnknownContact):
            one.client.contact("babak")
    assert alice.client.contact("Babak R").is_verified
    assert bob.client.chat(gid).view().people == ["Babak R", "alice", "carol"]
    assert not bob.warnings()


async def test_a_text_that_is_no_name_is_refused_and_the_same_name_says_nothing(
    world: World,
) -> None:
    alice, bob = await world.friends("alice", "babak")
    before = alice.one("SELECT sent_seq FROM conversation")
    for bad in ("", "two\nlines", "\u202ekabab", "x" * 101):
        with pytest.raises(BadArgument):
            alice.client.rename(bad)
    alice.client.rename("alice")
    assert alice.one("SELECT sent_seq FROM conversation") == before
    await world.settle()
    assert not bob.warnings()


async def test_the_newest_name_counts_in_whatever_order_names_come(world: World) -> None:
    alice, bob = await world.friends("alice", "babak")
    gid, who = alice.gid("babak"), bob.rules.me.identity
    said = [NewName(1, "one"), NewName(2, "two"), NewName(2, "zwei"), NewName(3, "three")]
    for order in itertools.permutations(said):
        with alice.client._unit() as unit:
            unit.db.execute("DELETE FROM new_name")
            unit.db.execute("UPDATE contact SET name = 'babak'")
        hears(alice, gid, who, *order)
        assert names(alice) == ["three"]
        hears(alice, gid, who, NewName(1, "babak"))
        assert names(alice) == ["three"]


@pytest.mark.long
async def test_a_thousand_changes_of_name_are_one_warning(world: World) -> None:
    alice, bob = await world.friends("alice", "babak")
    gid, who = alice.gid("babak"), bob.rules.me.identity
    hears(alice, gid, who, *(NewName(n, f"name {n}") for n in range(1, 1_001)))
    assert told(alice) == [(RENAMED, "name 1000", "babak", 1_000)]
    assert alice.one("SELECT count(*) FROM new_name") == 1
    alice.client.clear_warnings()
    hears(alice, gid, who, NewName(1_001, "babak"))
    assert told(alice) == [(RENAMED, "babak", "name 1000", 1)]


@pytest.mark.long
async def test_a_contact_cannot_slip_into_the_name_of_another(world: World) -> None:
    alice, bob, _ = await world.friends("alice", "babak", "maryam")
    bob.client.rename("M\u0430ryam")
    await world.settle()
    assert names(alice) == ["M\u0430ryam (2)", "maryam"]
    assert told(alice) == [
        ("identity-changed", "M\u0430ryam (2)", "maryam", 1),
        (RENAMED, "M\u0430ryam (2)", "babak", 1),
    ]
    alice.client.clear_warnings()
    bob.client.rename("Alice")
    await world.settle()
    assert names(alice) == ["Alice (2)", "maryam"]
    assert told(alice) == [(RENAMED, "Alice (2)", "M\u0430ryam (2)", 1)]


async def test_a_new_contact_does_not_look_like_ourselves(world: World) -> None:
    alice, twin = await world.person("alice"), await world.person("\u0430lice")
    await world.meet(alice, twin)
    assert names(alice) == ["\u0430lice (2)"]
    assert not alice.warnings()


@pytest.mark.parametrize(
    "name", ["", "x" * 101, "\u202ekabab", "two\nlines", "\u200b"], ids=range(5)
)
async def test_a_liar_cannot_say_what_is_no_name(world: World, name: str) -> None:
    alice, bob = await world.friends("alice", "babak")
    says(bob, bob.gid("alice"), codec.encode(NewName(7, name)))
    await world.settle()
    assert names(alice) == ["babak"]
    assert alice.warnings() == ["invalid-message"]


@pytest.mark.long
async def test_a_liar_names_nobody_but_themselves(world: World) -> None:
    alice, bob, carol = await world.friends("alice", "babak", "carol")
    gid = await world.group("garden", alice, bob, carol)
    says(bob, gid, codec.encode(NewName(2**53 - 1, "carol")))
    await world.settle()
    assert names(alice) == ["carol", "carol (2)"]
    assert alice.client.contact("carol").identity == carol.rules.me.identity
    carol.client.rename("Caroline")
    await world.settle()
    assert names(alice) == ["Caroline", "carol (2)"]


@pytest.mark.long
async def test_a_newcomer_hears_present_names_and_no_old_news(world: World) -> None:
    alice, bob = await world.friends("alice", "babak")
    carol = await world.person("carol")
    await world.meet(alice, carol)
    gid = await world.group("garden", alice, bob)
    bob.client.rename("Babak R")
    await world.settle()
    carol.client.rename("Caroline")  # her KeyPackages still name her otherwise
    await world.settle()
    alice.client.chat(gid).add(["Caroline"])
    await world.settle()
    assert carol.client.chat(gid).view().people == ["Babak R", "Caroline", "alice"]
    assert bob.client.chat(gid).view().people == ["Babak R", "Caroline", "alice"]
    assert not carol.warnings()
    assert not bob.warnings()
    bob.client.chat(gid).send("welcome")
    await world.settle()
    bob.client.rename("B")
    await world.settle()
    assert told(carol) == [(RENAMED, "B", "Babak R", 1)]
    assert [m.sender for m in carol.client.chat(gid).messages()] == ["B"]


@pytest.mark.long
async def test_a_name_is_heard_in_a_large_group(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roster, "LARGE_GROUP", 2)
    alice, bob = await world.friends("alice", "babak")
    carol = await world.person("carol")
    await world.meet(alice, carol)
    bob.client.rename("Babak R")
    carol.client.rename("Caroline")
    await world.settle()
    gid = alice.client.create_group("garden", ["Babak R", "Caroline"]).gid
    await world.settle()
    dave = await world.person("dave")
    await world.meet(alice, dave)
    assert carol.client.chat(gid).view().people == ["Babak R", "Caroline", "alice"]
    alice.client.rename("Al")
    bob.client.rename("Bo")
    await world.settle()
    alice.client.chat(gid).add(["dave"])
    await world.settle()
    for one in (alice, bob, carol, dave):
        assert one.client.chat(gid).view().people == ["Al", "Bo", "Caroline", "dave"]


@pytest.mark.long
async def test_two_strangers_of_one_name_are_told_apart_after_a_change(world: World) -> None:
    people = [await world.person(name) for name in ("alice", "babak", "carol", "dave")]
    alice, bob, carol, dave = people
    await world.meet(dave, alice, bob, carol)
    gid = await world.group("garden", dave, alice, bob, carol)
    bob.client.rename("carol")
    await world.settle()
    seen = alice.client.chat(gid).view().people
    assert len(set(seen)) == 4
    assert "carol" not in seen


@pytest.mark.long
async def test_a_blocked_person_changes_no_name_here_and_hears_of_ours_once_unblocked(
    world: World,
) -> None:
    alice, bob, carol = await world.friends("alice", "babak", "carol")
    await world.group("garden", alice, bob, carol)
    alice.client.contact("babak").block()
    bob.client.rename("Babak R")
    await world.settle()
    assert "babak" in names(alice)
    assert not alice.warnings()
    alice.client.chat(alice.gid("carol")).send("not for him")
    said = alice.one("SELECT sent_seq FROM conversation WHERE gid = ?", alice.gid("babak"))
    alice.client.rename("Al")
    assert said == alice.one("SELECT sent_seq FROM conversation WHERE gid = ?", alice.gid("babak"))
    alice.client.contact("babak").unblock()
    assert said < alice.one("SELECT sent_seq FROM conversation WHERE gid = ?", alice.gid("babak"))
    bob.client.rename("B")
    await world.settle()
    assert "B" in names(alice)
    assert "Al" in names(bob)


@pytest.mark.long
async def test_somebody_who_was_away_hears_the_newest_name(world: World) -> None:
    alice, bob = await world.friends("alice", "babak")
    await alice.sleep()
    for number in range(5):
        bob.client.rename(f"Babak {number}")
        await world.pass_time(3_600)
    alice.wake()
    await world.settle()
    assert names(alice) == ["Babak 4"]
    assert told(alice) == [(RENAMED, "Babak 4", "babak", 5)]


async def test_a_name_rests_at_home_with_somebody_who_holds(world: World) -> None:
    abroad = world.add_relay("DE")
    alice, bob = await world.person("alice"), await world.person("babak", relay=abroad)
    await world.meet(alice, bob)
    bob.client.home.set_outbound("hold")
    bob.client.rename("Babak R")
    await world.settle()
    assert names(alice) == ["Babak R"]
    assert bob.one("SELECT count(*) FROM holding") == 1


@pytest.mark.long
async def test_a_change_of_name_is_whole_or_was_never_made(world: World) -> None:
    alice, bob = await world.friends("alice", "babak")
    for number, steps in enumerate((1, 2, 3, 5, 8, 13, 21)):
        before = bob.client.status().name
        bob.die_after(steps)
        with contextlib.suppress(Died):
            bob.client.rename(f"Babak {number}")
        await world.pass_time(1)
        bob.fuse.left = None
        await world.settle()
        assert bob.client.status().name in (before, f"Babak {number}")
        assert names(alice) == [bob.client.status().name]


async def test_a_name_changed_while_people_meet_is_known_at_last(world: World) -> None:
    alice, bob = await world.person("alice"), await world.person("babak")
    link = alice.client.invite()
    alice.client.rename("Al")
    await bob.sleep()
    bob.client.accept(link)
    bob.client.rename("Babak R")  # before his knock has left
    bob.wake()
    await world.settle()
    assert names(bob) == ["Al"]
    assert names(alice) == ["Babak R"]


@pytest.mark.long
async def test_an_old_copy_that_comes_back_can_still_be_renamed(world: World) -> None:
    alice, bob = await world.friends("alice", "babak")
    await bob.sleep()
    old = bob.copy()
    bob.wake()
    bob.client.rename("Babak R")
    await world.settle()
    world.network.copied.add("babak")
    await bob.live_as(old)
    bob.say("alice", "I am back")
    await world.pass_time(3_600)
    await world.settle()
    bob.client.rename("B")
    await world.settle()
    assert names(alice) == ["B"]


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
async def test_in_bad_weather_everybody_comes_to_the_same_names(world: World, seed: int) -> None:
    rng = random.Random(seed)
    people = await world.friends("alice", "babak", "carol")
    await world.group("garden", *people)
    for _ in range(3):
        world.network.weather = STORM
        for number in range(6):
            one = rng.choice(people)
            one.client.rename(f"{one.name} {number}")
            await world.pass_time(rng.uniform(0, 5))
        world.network.weather = CALM
        await world.pass_time(600)
        await world.settle()
        now = {one.rules.me.identity: one.client.status().name for one in people}
        for one in people:
            seen = {contact.identity: contact.name for contact in one.client.contacts()}
            assert seen == {who: name for who, name in now.items() if who in seen}
            assert set(one.warnings()) <= {RENAMED}
