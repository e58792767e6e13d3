"""A statement of others about us, about third persons or about the group is a claim: it may make us
ask, and changes nothing by itself. Whatever happens to keys, no word of a person is lost with them.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from amanat.client import claims
from amanat.client.claims import SUSPENSE_MS
from amanat.client.rules import roster, saying
from amanat.client.rules.posting import MAX_SKIPPED
from amanat.client.unit import Unit
from amanat.errors import CopiedVault, HeardOtherwise, LabelTaken
from amanat.protocol import codec
from amanat.protocol.messages import Ack, Wanted

if TYPE_CHECKING:
    from amanat.drill.person import Person
    from amanat.drill.shelves import Relay
    from amanat.drill.world import World
    from amanat.protocol import wire


def go_astray(world: World, person: Person, gid: bytes, *, is_restart: bool = True) -> None:
    with person.client._unit() as unit:
        person.rules.conversations.astray.go_astray(
            unit, gid, CopiedVault.code, is_restart=is_restart
        )


def shown(person: Person, gid: bytes) -> list[str]:
    return [message.text for message in person.client.chat(gid).messages()]


def states(person: Person, gid: bytes) -> list[str]:
    return [message.state for message in person.client.chat(gid).messages() if message.is_own]


def acks(person: Person, gid: bytes, *claimed: Ack) -> None:
    """Say something with these acks, no matter what this person has heard."""
    talk = person.rules.conversations
    own = talk.saying._acks
    talk.saying._acks = lambda *_: list(claimed)  # type: ignore[method-assign]
    person.client.chat(gid).send("I have heard")
    talk.saying._acks = own  # type: ignore[method-assign]


@pytest.mark.long
async def test_words_that_were_not_confirmed_are_said_again_after_a_restart(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    other = world.add_relay("DE")
    carol = await world.person("carol", relay=other)
    await world.meet(carol, alice, bob)
    people = [alice, bob, carol]
    gid = await world.group("family", *people)
    alice.client.chat(gid).send("all have this")
    await world.settle()
    bob.client.chat(gid).send("a word of bob's")
    await world.pass_time(120)
    await world.settle()
    other.forgets = lambda append, _: append.drop_id == carol.bucket
    alice.client.chat(gid).send("bob alone has this")
    alice.client.chat(gid).send("to be deleted")
    await world.settle()
    world.relay.forgets = lambda _, who: who == "alice"
    alice.client.chat(gid).send("nobody has this")
    first, _, second, third, fourth = alice.client.chat(gid).messages()
    alice.client.chat(gid).edit(second.id, "bob alone has this, otherwise")
    alice.client.chat(gid).react(first.id, "🎈")
    alice.client.chat(gid).delete([third.id])
    await world.settle()
    world.relay.forgets = other.forgets = lambda *_: False
    go_astray(world, alice, gid)
    assert states(alice, gid) == ["delivered", *["queued"] * 3]
    await world.settle()
    expected = [
        "all have this",
        "a word of bob's",
        "bob alone has this, otherwise",
        "",
        "nobody has this",
    ]
    ids = [message.id for message in (first, second, third, fourth)]
    for person in people:
        messages = person.client.chat(gid).messages()
        said = [(m.id, m.text) for m in messages]
        if person is carol:  # to whom it never came
            said.insert(3, (third.id, ""))
        assert (person.name, [text for _, text in said]) == (person.name, expected)
        assert [mid for mid, text in said if "bob's" not in text] == ids
        assert messages[0].reactions == {"alice": "🎈"}
    await world.pass_time(120)
    await world.settle()
    kept = [m.state for m in alice.client.chat(gid).messages() if m.is_own and not m.is_deleted]
    assert set(kept) == {"delivered"}
    assert not {*bob.warnings(), *carol.warnings()} - {"relay-doubted"}


@pytest.mark.long
async def test_texts_said_while_out_of_step_wait_and_are_said_then(world: World) -> None:
    people = await world.friends("alice", "bob", "carol")
    alice, bob = people[:2]
    gid = await world.group("family", *people)
    go_astray(world, alice, gid)
    world.network.is_up = False
    for socket in world.network.sockets:
        socket.disconnect()
    alice.client.chat(gid).send("said meanwhile")
    alice.client.chat(gid).send("not to be said")
    one, other = alice.client.chat(gid).messages()
    alice.client.chat(gid).edit(one.id, "said meanwhile, and corrected")
    alice.client.chat(gid).delete([other.id], for_everyone=False)
    assert states(alice, gid) == ["waiting"]
    await alice.sleep()
    alice.wake()
    world.network.is_up = True
    await world.settle()
    await world.pass_time(120)
    await world.settle()
    for person in people:
        assert shown(person, gid) == ["said meanwhile, and corrected"]
    assert [m.id for m in bob.client.chat(gid).messages()] == [one.id]
    assert states(alice, gid) == ["delivered"]


@pytest.mark.long
async def test_a_text_from_before_somebody_came_is_not_said_again_to_them(world: World) -> None:
    alice, bob, carol = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", alice, bob)
    alice.client.chat(gid).set_admin("bob")
    await world.settle()
    world.relay.forgets = lambda _, who: who == "alice"
    alice.client.chat(gid).send("not for carol")
    await world.settle()
    world.relay.forgets = lambda *_: False
    await alice.sleep()
    bob.client.chat(gid).add(["carol"])
    await world.settle()
    go_astray(world, alice, gid)
    alice.client.chat(gid).send("not for carol either")
    alice.wake()
    await world.settle()
    alice.client.chat(gid).send("for all")
    await world.pass_time(200)
    await world.settle()
    assert shown(carol, gid) == ["for all"]
    assert states(alice, gid) == ["undelivered", "undelivered", "delivered"]


@pytest.mark.long
async def test_a_text_that_is_not_said_again_is_never_shown_as_delivered(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saying, "MAX_SAID_AGAIN", 1)
    alice, bob = await world.friends("alice", "bob")
    gid = alice.gid("bob")
    world.relay.forgets = lambda _, who: who == "alice"
    alice.say("bob", "one")
    alice.say("bob", "two")
    await world.settle()
    world.relay.forgets = lambda *_: False
    go_astray(world, alice, gid)
    await world.settle()
    for number in range(10):
        alice.say("bob", f"and {number}")
        await world.pass_time(1)
    await world.pass_time(200)
    await world.settle()
    assert bob.texts("alice")[0] == "two"
    assert states(alice, gid) == ["undelivered", *["delivered"] * 11]


@pytest.mark.parametrize("is_restart", [False, True])
@pytest.mark.long
async def test_words_that_were_on_their_way_come_after_a_long_time_out_of_step(
    world: World, is_restart: bool
) -> None:
    alice, bob = await world.friends("alice", "bob")
    gid = alice.gid("bob")
    await world.pass_time(200)
    world.network.cut(world.relay.address)
    alice.say("bob", "on its way")
    go_astray(world, alice, gid, is_restart=is_restart)
    await world.pass_time(1_000)
    world.network.away.clear()
    await world.settle()
    await world.pass_time(200)
    await world.settle()
    assert bob.texts("alice") == ["on its way"]
    assert states(alice, gid) == ["delivered"]


async def test_only_a_peer_who_names_an_envelope_by_its_hash_has_it(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    gid = alice.gid("bob")
    await world.pass_time(200)
    world.relay.forgets = lambda _, who: who == "alice"
    alice.say("bob", "lost")
    await world.settle()
    seq = alice.one("SELECT sent_seq FROM conversation WHERE gid = ?", gid)
    acks(bob, gid, Ack(alice.rules.me.signer[:8], seq, bytes(8)))
    await world.settle()
    assert states(alice, gid) == ["sent"]
    world.relay.forgets = lambda *_: False
    await world.pass_time(400)
    await world.settle()
    assert "lost" in bob.texts("alice")
    assert states(alice, gid) == ["delivered"]


@pytest.mark.long
async def test_receipts_of_a_count_that_is_over_say_nothing(world: World) -> None:
    people = await world.friends("alice", "bob", "carol")
    alice, bob = people[:2]
    gid = await world.group("family", *people)
    for number in range(5):
        alice.client.chat(gid).send(f"before {number}")
    await world.settle()
    late = [
        Ack(s[:8], seq, (h or bytes(8))[:8])
        for s, seq, h in bob.db.execute(
            "SELECT signer, upto, hash FROM heard WHERE gid = ? AND upto > 0", (gid,)
        ).fetchall()
    ]
    go_astray(world, alice, gid)
    await world.settle()
    alice.client.clear_warnings()
    world.relay.forgets = lambda _, who: who == "alice"
    alice.client.chat(gid).send("after")
    await world.settle()
    acks(bob, gid, *late)
    await world.settle()
    assert states(alice, gid)[-1] == "sent"
    assert alice.client.chat(gid).view().state == "active"
    assert not alice.warnings()
    world.relay.forgets = lambda *_: False
    await world.pass_time(400)
    await world.settle()
    assert set(states(alice, gid)) == {"delivered"}


@pytest.mark.long
async def test_a_person_who_missed_that_a_member_counts_anew_still_hears_them(world: World) -> None:
    people = await world.friends("alice", "bob", "carol")
    alice, _, carol = people
    gid = await world.group("family", *people)
    for number in range(5):
        alice.client.chat(gid).send(f"before {number}")
    await world.settle()
    go_astray(world, carol, gid, is_restart=False)
    await carol.sleep()
    go_astray(world, alice, gid)
    await world.settle()
    world.relay.forgets = lambda _, who: who == "alice"
    alice.client.chat(gid).send("the first of the new count, lost")
    await world.settle()
    world.relay.forgets = lambda *_: False
    carol.wake()
    await world.settle()
    alice.client.chat(gid).send("the second")
    await world.pass_time(400)
    await world.settle()
    expected = [
        *(f"before {n}" for n in range(5)),
        "the first of the new count, lost",
        "the second",
    ]
    for person in people:
        assert shown(person, gid) == expected
        assert not person.client.status().missing
        assert "message-lost" not in person.warnings()


@pytest.mark.long
async def test_a_member_let_in_again_uses_no_number_twice(world: World) -> None:
    people = await world.friends("alice", "bob", "carol")
    alice, _, carol = people
    gid = await world.group("family", *people)
    carol.client.chat(gid).send("one")
    await world.settle()
    alice.client.chat(gid).remove("carol")
    await world.settle()
    alice.client.chat(gid).add(["carol"])
    await world.settle()
    world.relay.forgets = lambda _, who: who == "carol"
    carol.client.chat(gid).send("two")
    await world.settle()
    assert states(carol, gid)[-1] == "sent"
    world.relay.forgets = lambda *_: False
    carol.client.chat(gid).send("three")
    await world.pass_time(400)
    await world.settle()
    for person in people:
        assert shown(person, gid) == ["one", "two", "three"]
        assert not person.client.status().missing
        assert "broken-chain" not in person.warnings()
    numbers = [m for (m,) in carol.db.execute("SELECT seq FROM message WHERE gid = ?", (gid,))]
    assert len(set(numbers)) == 3


# Whether another copy of our vault is in use


def lie(person: Person, where: bytes) -> None:
    """Have a member claim in every envelope to have heard more of all others than they said."""
    talk = person.rules.conversations
    signers = [p.signer for p in talk.roster.others(talk.roster.group(where))]
    own = talk.saying._acks

    def claimed(unit: Unit, gid: bytes) -> list[Ack]:
        lies = [Ack(signer[:8], 2**40, bytes(8)) for signer in signers]
        return lies if gid == where else own(unit, gid)

    talk.saying._acks = claimed  # type: ignore[method-assign]


@pytest.mark.long
async def test_nobody_is_silenced_by_receipts_for_what_they_have_not_said(world: World) -> None:
    people = await world.friends("alice", "bob", "carol", "mallory")
    alice, bob, carol, mallory = people
    gid = await world.group("family", *people)
    lie(mallory, gid)
    for minute in range(20):
        mallory.client.chat(gid).send(f"mallory {minute}")
        for person in (alice, bob, carol):
            await world.pass_time(15)
            person.client.chat(gid).send(f"{person.name} {minute}")
    await world.pass_time(200)
    await world.settle()
    for person in (alice, bob, carol):
        assert person.client.chat(gid).view().state == "active"
        assert len(shown(person, gid)) == 80
        assert not person.warnings()
    assert set(states(alice, gid)) <= {"sent", "delivered"}


@pytest.mark.long
async def test_true_marks_prove_nothing_of_other_envelopes_and_conversations(world: World) -> None:
    people = await world.friends("alice", "bob", "mallory")
    alice, bob, mallory = people
    gid = await world.group("family", *people)
    for number in range(5):
        alice.client.chat(gid).send(str(number))
        alice.say("mallory", str(number))
    await world.settle()
    others = mallory.gid("alice")
    with mallory.client._unit() as unit:
        heard = {
            where: next(
                ack
                for ack in mallory.rules.conversations.gaps.acks(unit, where, 20)
                if ack.device == alice.rules.me.signer[:8]
            )
            for where in (gid, others)
        }
    true, elsewhere = heard[gid], heard[others]
    assert true.mark != bytes(8)
    for claimed in (
        Ack(true.device, true.seq + 1, true.hash, true.mark),
        Ack(true.device, true.seq, bytes(8), true.mark),
        Ack(true.device, elsewhere.seq + 50, elsewhere.hash, elsewhere.mark),
        elsewhere,
    ):
        acks(mallory, gid, claimed)
    await world.settle()
    assert not alice.warnings()
    # Also late, when alice has begun a new count.
    go_astray(world, alice, gid)
    await world.settle()
    alice.client.clear_warnings()
    alice.client.chat(gid).send("anew")
    acks(mallory, gid, true)
    await world.settle()
    for person in (alice, bob):
        assert person.client.chat(gid).view().state == "active"
        assert CopiedVault.code not in person.warnings()


async def test_label_that_a_relay_says_is_taken_costs_another_label_and_no_word(
    world: World,
) -> None:
    alice, bob = await world.friends("alice", "bob")
    gid = await world.group("family", alice, bob)
    await world.pass_time(200)
    lies = taken_by(world.relay, bob.bucket, "alice", most=1)
    alice.client.chat(gid).send("hello")
    await world.pass_time(3)
    assert lies == [1]
    assert alice.client.chat(gid).view().state == "active"
    await world.pass_time(SUSPENSE_MS / 1000)
    await world.settle()
    assert shown(bob, gid) == ["hello"]
    await world.pass_time(200)
    await world.settle()
    assert states(alice, gid) == ["delivered"]
    assert not {*alice.warnings(), *bob.warnings()}


@pytest.mark.long
async def test_relay_that_says_so_of_every_label_is_one_that_is_away(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    gid = alice.gid("bob")
    await world.pass_time(200)
    real = world.relay._append
    lies = taken_by(world.relay, bob.bucket, "alice", most=10**6)
    for number in range(40):
        alice.say("bob", f"text {number}")
        await world.pass_time(60)
    assert lies[0] > 100
    assert set(states(alice, gid)) == {"queued"}
    assert alice.client.chat(gid).view().state == "active"
    assert alice.one("SELECT sum(skipped) FROM outbox") == MAX_SKIPPED
    questions = alice.one("SELECT count(*) FROM known_claim")
    assert questions <= 2  # in 40 minutes
    world.relay._append = real  # type: ignore[method-assign]
    await world.pass_time(600)
    await world.settle()
    assert bob.texts("alice") == [f"text {number}" for number in range(40)]
    assert not {*alice.warnings(), *bob.warnings()}


@pytest.mark.long
async def test_our_texts_wait_for_a_claim_for_seconds_of_an_hour_at_most(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    second = world.add_relay("DE")
    carol = await world.person("carol", relay=second)
    await world.meet(carol, alice)
    await world.pass_time(200)
    taken_by(world.relay, bob.bucket, "alice", most=10**6)
    silent = 0.0
    for _ in range(120):
        alice.say("bob", "?")
        for _ in range(6):
            await world.pass_time(5)
            silent += 5 * alice.rules.sending.is_in_suspense(world.now())
    assert 0 < silent <= 2 * SUSPENSE_MS / 1000
    alice.say("carol", "hello")
    await world.pass_time(3)
    assert carol.texts("alice") == ["hello"]


@pytest.mark.long
async def test_relay_that_says_that_claims_are_taken_stops_nothing(world: World) -> None:
    second = world.add_relay("DE")
    alice, bob = await world.person("alice", relay=second), await world.person("bob")
    await world.meet(alice, bob)
    await alice.sleep()
    away = alice.copy()
    real = second._append
    taken_by(second, alice.bucket, "alice", most=10**6)
    await alice.live_as(away)
    alice.say("bob", "hello")
    await world.pass_time(SUSPENSE_MS / 1000 + 5)
    assert bob.texts("alice") == ["hello"]
    assert not alice.warnings()
    assert alice.client.chat(alice.gid("bob")).view().state == "active"
    second._append = real  # type: ignore[method-assign]
    await world.pass_time(2 * 3600)
    assert alice.one("SELECT max(is_read) FROM known_claim") == 1  # it has a claim there now
    assert not alice.warnings()


@pytest.mark.long
async def test_old_copy_knows_itself_by_claims_that_came_after_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world, "tick_s", 300.0)
    monkeypatch.setattr(claims, "CLAIM_EVERY_MS", 3_600_000)  # an hour is a day here
    monkeypatch.setattr(roster, "LOOK_EVERY_MS", 86_400_000)
    alice, bob = await world.friends("alice", "bob")
    await alice.sleep()
    old = alice.copy()
    alice.wake()
    await world.pass_time(40 * 3_600)  # the newer one is never restarted, and claims every day
    alice.say("bob", "one")
    await world.settle()
    assert 30 < alice.one("SELECT max(number) FROM known_claim") < 50
    shelf = world.relay.shelves[alice.bucket]
    await alice.sleep()
    world.network.copied.add("alice")
    # The oldest have expired: the label of the copy's own claim is free.
    shelf.gone = len(shelf.cells) - 30
    shelf.cells[: shelf.gone] = [b""] * shelf.gone
    await alice.live_as(old)
    alice.say("bob", "said by the old copy")
    await world.settle()
    await world.pass_time(200)
    await world.settle()
    assert set(alice.warnings()) == {CopiedVault.code}
    assert sorted(bob.texts("alice")) == ["one", "said by the old copy"]
    assert alice.client.chat(alice.gid("bob")).view().state == "active"


async def test_claims_of_two_devices_of_a_person_do_not_meet(world: World) -> None:
    (alice,) = await world.friends("alice")
    pairs = alice.rules.chains._pairs
    one = pairs.claim(1, generation=1)
    pairs._me = pairs._me._replace(signer=bytes(32))
    assert pairs.claim(1, generation=1) != one


def taken_by(relay: Relay, drop_id: bytes, whom: str, *, most: int) -> list[int]:
    """Have a relay say that the labels of a person's next cells for a drop are taken."""
    real, lies = relay._append, [0]

    def append(request: wire.Append, who: str) -> tuple[int, bytes]:
        if who == whom and request.drop_id == drop_id and lies[0] < most:
            lies[0] += 1
            raise LabelTaken
        return real(request, who)

    relay._append = append  # type: ignore[method-assign]
    return lies


# Claims about a third person


@pytest.mark.long
async def test_nobody_misses_what_only_a_third_person_speaks_of(world: World) -> None:
    people = await world.friends("alice", "bob", "mallory")
    alice, bob, mallory = people
    gid = await world.group("family", *people)
    await world.pass_time(200)
    signer = alice.rules.me.signer
    before = world.network.appends
    for _ in range(30):
        acks(mallory, gid, Ack(signer[:8], 2**53 - 1, bytes(8)))
        await world.pass_time(60)
    assert not bob.client.status().missing
    assert world.network.appends - before < 200
    with bob.client._unit() as unit:  # as after the last asking
        bob.db.execute("UPDATE heard SET asked = 120 WHERE gid = ? AND signer = ?", (gid, signer))
        for gap in bob.rules.conversations.gaps.due(2**52):
            bob.rules.conversations.repair.ask(unit, gap)
    for number in range(5):
        alice.client.chat(gid).send(f"new {number}")
        await world.pass_time(5)
    await world.settle()
    assert [text for text in shown(bob, gid) if text.startswith("new")] == [
        f"new {number}" for number in range(5)
    ]
    assert not {*bob.warnings()} - {HeardOtherwise.code}


async def test_a_message_that_was_given_up_and_comes_after_all_is_shown(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    await world.pass_time(200)
    world.relay.forgets = lambda _, who: who == "alice"
    alice.say("bob", "late")
    await world.settle()
    world.relay.forgets = lambda *_: False
    alice.say("bob", "in time")
    await world.pass_time(2)
    gaps, gid, signer = bob.rules.conversations.gaps, bob.gid("alice"), alice.rules.me.signer
    (seq,) = gaps._missing(gid, signer, 9)
    with bob.client._unit() as unit:
        bob.rules.conversations.repair.give_up(unit, gid, signer, alice.rules.me.identity, seq)
    assert not bob.client.status().missing
    with alice.client._unit() as unit:
        talk = alice.rules.conversations
        body = codec.encode(Wanted(signer, [seq]))
        talk.repair.repair(unit, gid, bob.rules.me.signer, body)
    await world.settle()
    assert sorted(bob.texts("alice")) == ["in time", "late"]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.long
async def test_whatever_a_member_acknowledges_harms_nobody(world: World, seed: int) -> None:
    rng = random.Random(seed)  # the liar's choices
    people = await world.friends("alice", "bob", "mallory")
    alice, bob, mallory = people
    gid = await world.group("family", *people)
    heard: list[Ack] = []

    def claimed() -> Ack:
        true, other = rng.choice(heard), rng.choice(heard)
        return Ack(
            rng.choice((true.device, other.device, mallory.rules.me.signer[:8])),
            rng.choice((true.seq, other.seq, true.seq + 1, rng.randrange(1, 2**53))),
            rng.choice((true.hash, other.hash, rng.randbytes(8))),
            rng.choice((true.mark, other.mark, rng.randbytes(8))),
        )

    for number in range(12):
        rng.choice((alice, bob)).client.chat(gid).send(f"text {number}")
        await world.pass_time(rng.uniform(0, 20))
        with mallory.client._unit() as unit:
            heard += mallory.rules.conversations.gaps.acks(unit, gid, 20)

        if heard:
            acks(mallory, gid, *(claimed() for _ in range(rng.randrange(1, 20))))
    await world.pass_time(400)
    await world.settle()
    texts = {f"text {number}" for number in range(12)}
    for person in (alice, bob):
        assert texts <= set(shown(person, gid))
        assert person.client.chat(gid).view().state == "active"
        assert not person.client.status().missing
        assert set(person.warnings()) <= {HeardOtherwise.code}
