"""A member who breaks the rules harms nobody else, and others are told of it.

A member of a conversation can send messages that our own client never would. The others keep what
they have, go on, and keep no more of the junk than is allowed.
"""

from __future__ import annotations

import os

import pytest

from amanat.client.rules import astray, cursors, gaps, joining, repair
from amanat.drill.person import Person
from amanat.drill.world import World
from amanat.errors import BadArgument, BrokenChain, HeardOtherwise, InvalidKeyPackage, MessageLost
from amanat.protocol import codec
from amanat.protocol.messages import (
    CellKind,
    Envelope,
    FileRef,
    KeyPackages,
    Kind,
    Policy,
    Text,
    Wanted,
    WelcomeRef,
    envelope_hash,
)


def say(person: Person, gid: bytes, kind: Kind, body: bytes) -> None:
    """Say something in a conversation without any check of whether it makes sense."""
    with person.client._unit() as unit:
        person.rules.conversations.saying.say(unit, gid, kind, body)


def post(person: Person, gid: bytes, to: Person, kind: CellKind, payload: bytes) -> None:
    """Send a cell of any kind to one member."""
    talk = person.rules.conversations
    peer = next(
        p for p in talk.roster.others(talk.roster.group(gid)) if p.identity == to.rules.me.identity
    )
    with person.client._unit() as unit:
        talk.saying.post(unit, gid, peer, kind, payload)


def envelope(text: str, *, seq: int, previous: bytes) -> bytes:
    body = codec.encode(Text(text, None, 0))
    return codec.encode(Envelope(os.urandom(16), seq, previous, seq, 0, Kind.TEXT, body, [], {}))


async def test_envelopes_that_do_not_hang_together_are_told(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    bob.say("alice", "one")
    await world.settle()
    with bob.vault.unit(now=0) as unit:
        unit.db.execute("UPDATE conversation SET sent_hash = zeroblob(32)")
    bob.say("alice", "two")
    await world.settle()
    assert alice.texts("bob") == ["one", "two"]
    assert alice.warnings() == [BrokenChain.code]


@pytest.mark.long
async def test_members_who_heard_two_things_under_one_number_are_told(world: World) -> None:
    people = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", *people)
    alice, bob, carol = people
    bob.say("family", "hello")
    await world.settle()
    seq, previous = bob.db.execute(
        "SELECT sent_seq, sent_hash FROM conversation WHERE gid = ?", (gid,)
    ).fetchone()
    for person in (alice, carol):
        said = envelope(f"I am with {person.name}", seq=seq + 1, previous=previous)
        with bob.client._unit():
            sealed = bob.rules.engine.encrypt(gid, said)
        post(bob, gid, person, CellKind.MLS, sealed)
    with bob.vault.unit(now=0) as unit:  # as if he had said it
        unit.db.execute(
            "UPDATE conversation SET sent_seq = ?, sent_hash = ? WHERE gid = ?",
            (seq + 1, envelope_hash(said), gid),
        )
    await world.settle()
    assert alice.texts("family") == ["hello", "I am with alice"]
    assert carol.texts("family") == ["hello", "I am with carol"]
    assert not alice.warnings()
    assert not carol.warnings()
    for person in (alice, carol):
        person.say("family", "what did bob say?")
        await world.settle()
    for person in (alice, carol):  # the name of the claimant is told, and nobody is accused
        assert set(person.warnings()) == {HeardOtherwise.code}


async def test_gap_that_grows_too_long_is_told_as_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gaps, "MAX_AHEAD", 5)
    alice, bob = await world.friends("alice", "bob")
    world.relay.forgets = lambda _, who: who == "bob"
    bob.say("alice", "lost")
    await world.settle()
    world.relay.forgets = lambda *_: False
    for number in range(8):
        bob.say("alice", f"text {number}")
        await world.pass_time(0.1)  # one after the other
    await world.settle()
    assert alice.one("SELECT count(*) FROM ahead") == 0
    assert alice.texts("bob") == [f"text {number}" for number in range(8)]
    assert MessageLost.code in alice.warnings()


@pytest.mark.long
async def test_asking_for_more_gets_no_more_than_is_allowed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repair, "MAX_REPAIRS", 3)
    alice, bob = await world.friends("alice", "bob")
    for number in range(4):
        alice.say("bob", f"text {number}")
    await world.settle()
    for seconds, given in ((0, 3), (repair.REPAIR_SPAN_MS / 1000, 3)):
        await world.pass_time(seconds)
        await world.settle()
        for _ in range(3):
            body = codec.encode(Wanted(alice.rules.me.signer, [1, 2, 3, 4]))
            post(bob, bob.gid("alice"), alice, CellKind.WANTED, body)
        before = world.network.appends
        await world.settle()
        assert world.network.appends == before + 3 + given
    assert len(bob.texts("alice")) == 4


@pytest.mark.long
async def test_commit_that_comes_by_a_bucket_changes_nothing(world: World) -> None:
    people = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", *people)
    alice, bob, _ = people
    policy = alice.rules.conversations.roster.group(gid).policy
    mine = Policy([], "alice's", policy.admins, policy.relay, policy.region)
    with pytest.raises(BadArgument), alice.client._unit():  # noqa: PT012  # and forgets it
        commit = alice.rules.engine.commit(gid, policy=codec.encode(mine)).commit
        raise BadArgument
    post(alice, gid, bob, CellKind.MLS, commit)
    await world.settle()
    assert bob.rules.engine.group(gid).epoch == alice.rules.engine.group(gid).epoch
    assert bob.client.chat(gid).view().name == "family"
    alice.client.chat(gid).rename("friends")
    await world.settle()
    assert bob.client.chat(gid).view().name == "friends"


async def test_member_who_claims_the_end_of_time_does_not_bring_it(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    gid = alice.gid("bob")
    before = alice.one("SELECT clock FROM conversation WHERE gid = ?", gid)
    with bob.vault.unit(now=0) as unit:
        unit.db.execute("UPDATE conversation SET clock = ?", (2**53 - 2,))
    bob.say("alice", "it is late")
    await world.settle()
    after = alice.one("SELECT clock FROM conversation WHERE gid = ?", gid)
    assert after <= before + 2**20
    alice.say("bob", "is it?")
    await world.settle()
    assert bob.texts("alice")[0] == "is it?"
    assert alice.texts("bob") == ["it is late", "is it?"]


async def test_welcomes_that_never_come_are_bounded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "MAX_OFFERS", 3)
    alice, bob = await world.friends("alice", "bob")
    for _ in range(5):
        file = FileRef(world.relay.address, "IR", os.urandom(32), 100, bytes(32))
        body = codec.encode(WelcomeRef(os.urandom(16), file, "none", bytes(32)))
        say(bob, bob.gid("alice"), Kind.WELCOME, body)
    await world.pass_time(5)
    assert alice.one("SELECT count(*) FROM joining") == 3
    bob.say("alice", "nothing came of it")
    await world.pass_time(2)
    assert alice.texts("bob") == ["nothing came of it"]


@pytest.mark.long
async def test_messages_of_epochs_that_never_come_are_bounded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(astray, "MAX_EARLY", 3)
    alice, bob, carol = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", alice, bob, carol)
    await bob.sleep()
    alice.client.chat(gid).rename("friends")
    await world.settle()
    for number in range(6):
        carol.client.chat(gid).send(f"text {number}")
    await world.settle()
    hidden = world.network.relays.pop(world.relay.address)  # the Commit is not to be had
    drops = bob.rules.conversations.epochs.epoch_drops(gid)
    shelf = hidden.shelves.pop(drops[-1][1].drop_id)
    world.network.relays[world.relay.address] = hidden
    bob.wake()
    await world.pass_time(5)
    assert bob.one("SELECT count(*) FROM early") == 3
    hidden.shelves[drops[-1][1].drop_id] = shelf
    for _ in range(3):
        await world.pass_time(300)
        await world.settle()
    assert [m.text for m in bob.client.chat(gid).messages()] == [
        f"text {number}" for number in range(6)
    ]


@pytest.mark.long
async def test_key_package_of_another_is_not_taken_for_the_senders(world: World) -> None:
    alice, bob, carol = await world.friends("alice", "bob", "carol")
    with bob.client._unit() as unit:
        stolen = bob.rules.conversations.key_packages.new_key_package(
            unit, 78, carol.rules.me.identity
        )
    say(carol, carol.gid("alice"), Kind.KEY_PACKAGES, codec.encode(KeyPackages([stolen])))
    await world.settle()
    assert alice.warnings() == [InvalidKeyPackage.code]
    gid = alice.client.create_group("two", ["carol"]).gid
    await world.settle()
    assert alice.client.chat(gid).view().people == ["alice", "carol"]
    assert bob.client.conversations() != []
    assert gid not in [view.gid for view in bob.client.conversations()]


async def test_claims_of_others_about_our_drops_are_kept_in_bounds(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cursors, "MAX_HEARSAY", 3)
    alice, bob = await world.friends("alice", "bob")
    drop_id = alice.rules.me.home.bucket.drop_id
    for number in range(6):
        with bob.vault.unit(now=0) as unit:
            bob.rules.outbox.saw(
                unit, alice.rules.me.identity, drop_id, 10**6 + number, os.urandom(32)
            )
        bob.say("alice", f"text {number}")
        await world.settle()
    assert alice.one("SELECT count(*) FROM hearsay") == 3
    assert not alice.warnings()
    assert len(alice.texts("bob")) == 6


async def test_epoch_drop_that_a_relay_has_ended_is_made_again(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    gid = await world.group("all", alice, bob)
    with alice.client._unit() as unit:
        alice.rules.conversations.epochs.epoch_secret(unit, gid)
    await world.settle()
    (*_, (_, drop)) = alice.rules.conversations.epochs.epoch_drops(gid)
    del world.relay.shelves[drop.drop_id]  # nobody has used it for 180 days
    alice.client.chat(gid).rename("all of us")
    await world.settle()
    assert bob.client.chat(gid).view().name == "all of us"
    assert not any(person.warnings() for person in (alice, bob))
