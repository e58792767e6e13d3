"""Coming into a group: nobody's word about it takes the place of another person's word."""

from __future__ import annotations

import os
import secrets
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from amanat.client.rules import key_packages, roster
from amanat.client.rules.sent import TOLD_BEFORE
from amanat.client.unit import Unit
from amanat.protocol import codec
from amanat.protocol.messages import CellKind, FileRef, Kind, WelcomeRef

if TYPE_CHECKING:
    from amanat.client.rules.chains import Peer
    from amanat.drill.person import Person
    from amanat.drill.world import World
    from amanat.protocol import wire
    from amanat.protocol.messages import Before


def announce(world: World, who: Person, whom: str, gid: bytes) -> None:
    """Announce a Welcome into a group to a contact; nothing rests at the announced place."""
    file = FileRef(world.relay.address, "IR", os.urandom(32), 100, os.urandom(32))
    ref = WelcomeRef(gid, file, "family", bytes(32))
    with who.client._unit() as unit:
        who.rules.conversations.saying.say(unit, who.gid(whom), Kind.WELCOME, codec.encode(ref))


@pytest.mark.long
async def test_welcome_that_leads_nowhere_takes_nobody_elses_place(world: World) -> None:
    bob, carol, mallory = await world.friends("bob", "carol", "mallory")
    gid = await world.group("family", bob)
    announce(world, mallory, "carol", gid)
    await world.pass_time(5)
    await carol.sleep()
    bob.client.chat(gid).add(["carol"])
    await world.settle()
    announce(world, mallory, "carol", gid)
    await world.settle()
    carol.wake()
    await world.pass_time(60)
    assert carol.client.chat(gid).view().people == ["bob", "carol"]
    assert carol.client.chat(gid).view().added_by == "bob"
    announce(world, mallory, "carol", gid)
    bob.client.chat(gid).send("welcome")
    await world.pass_time(60)
    assert [m.text for m in carol.client.chat(gid).messages()] == ["welcome"]


async def test_welcome_is_looked_for_where_its_sender_has_said_last(world: World) -> None:
    bob, carol = await world.friends("bob", "carol")
    gid = await world.group("family", bob)
    announce(world, bob, "carol", gid)
    await world.pass_time(120)
    bob.client.chat(gid).add(["carol"])
    await world.settle()
    assert carol.client.chat(gid).view().people == ["bob", "carol"]
    assert not carol.warnings()


@pytest.mark.long
async def test_rightful_group_is_joined_once_one_of_the_same_id_was_left(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob, carol, mallory = await world.friends("bob", "carol", "mallory")
    gid = await world.group("family", bob)
    with monkeypatch.context() as changed:  # a group's founder chooses its id freely
        changed.setattr(secrets, "token_bytes", lambda _: gid)
        view = mallory.client.create_group("family", [])
    assert view.gid == gid
    mallory.client.chat(gid).add(["carol"])
    await world.settle()
    assert carol.client.chat(gid).view().people == ["carol", "mallory"]
    bob.client.chat(gid).add(["carol"])
    await world.pass_time(60)
    assert carol.client.chat(gid).view().people == ["carol", "mallory"]
    assert carol.warnings() == ["invalid-welcome"]
    assert carol.client.chat(gid).view().added_by == "mallory"
    carol.client.chat(gid).leave()
    await world.pass_time(120)
    assert carol.client.chat(gid).view().people == ["bob", "carol"]
    bob.client.chat(gid).send("welcome")
    await world.settle()
    assert "welcome" in [m.text for m in carol.client.chat(gid).messages()]
    assert carol.warnings() == ["invalid-welcome"]


async def test_the_welcome_of_a_contact_blocked_meanwhile_is_not_looked_for(world: World) -> None:
    carol, mallory = await world.friends("carol", "mallory")
    announce(world, mallory, "carol", os.urandom(16))
    await world.pass_time(60)
    assert carol.one("SELECT count(*) FROM joining") == 1
    carol.client.contact("mallory").block()
    assert carol.one("SELECT count(*) FROM joining") == 0


# Where the words of present members begin for a newcomer


class Lossy:
    """A relay that takes the next cells of one person for another and does not keep them."""

    def __init__(self, world: World, who: Person, to: Person, *, times: int) -> None:
        self.left = times

        def forgets(append: wire.Append, name: str) -> bool:
            if not self.left or (name, append.drop_id) != (who.name, to.bucket):
                return False
            self.left -= 1
            return True

        world.relay.forgets = forgets


def count_kinds(person: Person, monkeypatch: pytest.MonkeyPatch) -> Counter[CellKind]:
    """The kinds of pair cells that a person makes from now on."""
    kinds: Counter[CellKind] = Counter()
    posting = person.rules.conversations.posting
    post = posting.post

    def counted(
        unit: Unit, gid: bytes, to: Peer, kind: CellKind, payload: bytes, **rest: object
    ) -> bool:
        kinds[kind] += 1
        return post(unit, gid, to, kind, payload, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(posting, "post", counted)
    return kinds


async def a_newcomer(world: World) -> tuple[bytes, Person, Person, Person]:
    """A group in which bob has said five words, which all have, before mallory adds carol; bob has
    said nothing since."""
    bob, carol, mallory = await world.friends("bob", "carol", "mallory")
    gid = await world.group("family", mallory, bob)
    for number in range(5):
        bob.client.chat(gid).send(f"before {number}")
    await world.settle()
    await world.pass_time(300)
    said = bob.one("SELECT sent_seq FROM conversation WHERE gid = ?", gid)
    mallory.client.chat(gid).add(["carol"])
    await world.settle()
    assert bob.one("SELECT sent_seq FROM conversation WHERE gid = ?", gid) == said
    return gid, bob, carol, mallory


def now_said(person: Person, gid: bytes) -> list[str]:
    return [m.text for m in person.client.chat(gid).messages() if not m.text.startswith("before")]


@pytest.mark.long
@pytest.mark.parametrize("lost", [1, 4])
async def test_first_words_that_are_lost_on_the_way_to_a_newcomer_are_missed(
    world: World, lost: int
) -> None:
    gid, bob, carol, _ = await a_newcomer(world)
    lossy = Lossy(world, bob, carol, times=lost)
    for number in range(5):
        bob.client.chat(gid).send(f"word {number}")
        await world.settle()
    await world.pass_time(600)
    await world.settle()
    assert not lossy.left
    assert now_said(carol, gid) == [f"word {number}" for number in range(5)]
    await world.pass_time(120)
    own = [m.state for m in bob.client.chat(gid).messages() if m.is_own]
    assert own == ["delivered"] * 10
    assert not carol.client.status().missing
    assert {*bob.warnings(), *carol.warnings()} <= {"relay-lied", "relay-doubted"}  # it has


@pytest.mark.long
async def test_newcomer_asks_nobody_for_what_was_said_before_they_came(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob, carol, dave, mallory = await world.friends("bob", "carol", "dave", "mallory")
    gid = await world.group("family", mallory, bob, dave)
    for number in range(5):
        bob.client.chat(gid).send(f"before {number}")
    await world.settle()
    await world.pass_time(120)
    kinds = count_kinds(carol, monkeypatch)
    mallory.client.chat(gid).add(["carol"])
    await world.settle()
    dave.client.chat(gid).send("welcome")  # and confirms bob's words
    await world.pass_time(300)
    carol.client.chat(gid).send("thank you")
    for number in range(5):
        bob.client.chat(gid).send(f"word {number}")
        await world.pass_time(120)
    await world.settle()
    assert kinds[CellKind.MLS] > 0
    assert kinds[CellKind.WANTED] == 0
    assert set(now_said(carol, gid)) == {"welcome", "thank you", *(f"word {n}" for n in range(5))}
    await world.pass_time(120)
    with bob.client._unit() as unit:
        assert bob.rules.conversations.sent.before(unit, gid, has_receipts=True) == []  # carol


@pytest.mark.long
async def test_a_member_who_does_not_say_where_their_words_begin_for_a_newcomer_is_asked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    gid, bob, carol, _ = await a_newcomer(world)
    monkeypatch.setattr(bob.rules.conversations.sent, "before", lambda *_, **__: [])
    kinds = count_kinds(carol, monkeypatch)
    bob.client.chat(gid).send("word")
    await world.pass_time(120)
    await world.settle()
    assert kinds[CellKind.WANTED] == 1
    assert now_said(carol, gid) == ["word"]
    assert not carol.client.status().missing
    assert not {*bob.warnings(), *carol.warnings()}


@pytest.mark.long
async def test_a_message_nobody_answers_for_is_given_up_at_once_and_still_shown_when_it_comes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    gid, bob, carol, _ = await a_newcomer(world)
    with monkeypatch.context() as changed:
        changed.setattr(bob.rules.conversations.sent, "before", lambda *_, **__: [])
        Lossy(world, bob, carol, times=1)
        bob.client.chat(gid).send("first")
        await world.pass_time(1)
        bob.client.chat(gid).send("second")
        await world.pass_time(5)
        await bob.sleep()
    signer = bob.rules.me.signer
    with carol.client._unit() as unit:  # as after the last asking
        carol.db.execute("UPDATE heard SET asked = 120 WHERE gid = ? AND signer = ?", (gid, signer))
        for gap in carol.rules.conversations.gaps.due(2**52):
            carol.rules.conversations.repair.ask(unit, gap)
    assert "message-lost" in carol.warnings()
    assert not carol.client.status().missing
    bob.wake()
    bob.client.chat(gid).send("third")
    await world.pass_time(600)
    await world.settle()
    assert now_said(carol, gid)[-2:] == ["second", "third"]
    assert {*carol.warnings()} <= {
        "message-lost",
        "relay-doubted",
    }  # it took a cell and has lost it


@pytest.mark.long
async def test_in_a_large_group_newcomers_are_told_some_times(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roster, "RECEIPT_GROUP", 1)
    monkeypatch.setattr(roster, "LARGE_GROUP", 2)
    gid, bob, carol, _ = await a_newcomer(world)
    told: list[int] = []
    sent = bob.rules.conversations.sent
    before = sent.before

    def telling(unit: Unit, gid: bytes, *, has_receipts: bool) -> list[Before]:
        told.append(len(found := before(unit, gid, has_receipts=has_receipts)))
        return found

    monkeypatch.setattr(sent, "before", telling)
    for number in range(5):
        bob.client.chat(gid).send(f"word {number}")
        await world.settle()
    assert (told[0], told[-1]) == (1, 0)
    assert sum(told) <= TOLD_BEFORE
    assert now_said(carol, gid) == [f"word {number}" for number in range(5)]
    assert not carol.client.status().missing


@pytest.mark.long
async def test_a_key_package_that_has_expired_lets_nobody_in_and_a_new_one_does(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_packages, "KEY_PACKAGE_LIFETIME_S", 3600)
    alice, bob = await world.friends("alice", "bob")
    bob.say("alice", "here I am")
    await world.settle()
    for number in range(2):  # the second group needs a KeyPackage that bob has given before
        gid = await world.group(f"group {number}", alice, bob)
    kept = "SELECT count(*) FROM their_key_package"
    assert alice.one(kept) > 0
    await bob.sleep()
    await world.pass_time(4 * 3600)
    gid = alice.client.create_group("later", ["bob"]).gid
    await world.pass_time(60)
    assert alice.one(kept) == 0
    assert alice.client.chat(gid).view().people == ["alice"]
    bob.wake()
    await world.settle()
    assert bob.client.chat(gid).view().people == ["alice", "bob"]
    assert alice.client.chat(gid).view().people == ["alice", "bob"]
    assert not {*alice.warnings(), *bob.warnings()}
