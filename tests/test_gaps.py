"""A relay that forgets: lost messages are noticed, shown to the person, and sent again."""

from __future__ import annotations

import pytest
from msgspec import structs

from amanat.client import claims
from amanat.client.rules import commits, entering, repair, roster
from amanat.client.rules.sent import KEPT_MS, MAX_BEATS
from amanat.client.transcript import Progress
from amanat.drill.person import Person
from amanat.drill.world import World
from amanat.errors import InvalidMessage, MessageLost, RelayDoubted, RelayLied
from amanat.protocol import codec, wire
from amanat.protocol.labels import WINDOW
from amanat.protocol.messages import CellKind, Place, Repair, Wanted

SOON_S = 200
"""Seconds for a heartbeat to come, and for the message that it reveals to be repaired."""


async def after_a_while(world: World, seconds: float = SOON_S) -> None:
    await world.pass_time(seconds)
    await world.settle()


def to(person: Person) -> bytes:
    return person.rules.me.home.bucket.drop_id


def missing(person: Person) -> int:
    return sum(person.rules.conversations.gaps.missing().values())


async def test_last_message_that_is_lost_is_noticed_by_a_heartbeat_and_repaired(
    world: World,
) -> None:
    alice, bob = await world.friends("alice", "bob")
    world.relay.forgets = lambda _, who: who == "alice"
    alice.say("bob", "the last word")
    await world.settle()
    world.relay.forgets = lambda *_: False
    assert bob.texts("alice") == []
    assert alice.messages("bob")[-1].state == "sent"
    await after_a_while(world)
    assert bob.texts("alice") == ["the last word"]
    assert missing(bob) == 0
    await after_a_while(world)
    assert alice.messages("bob")[-1].state == "delivered"


async def test_gap_is_shown_until_it_is_repaired(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    await after_a_while(world)
    world.relay.forgets = lambda _, who: who == "alice"
    alice.say("bob", "one")
    await world.settle()
    world.relay.forgets = lambda _, who: who == "bob"
    alice.say("bob", "two")
    await world.settle()
    assert bob.texts("alice") == ["two"]
    assert [gap.many for gap in bob.client.status().missing] == [1]
    await after_a_while(world, 60)
    assert missing(bob) == 1
    world.relay.forgets = lambda *_: False
    await after_a_while(world)
    assert bob.texts("alice") == ["one", "two"]
    assert not bob.client.status().missing


@pytest.mark.long
@pytest.mark.parametrize("share", [0.01, 0.2])
async def test_nothing_stays_lost_where_a_relay_forgets_some_of_all(
    world: World, share: float
) -> None:
    people = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", *people)
    buckets = {to(person) for person in people}
    forgotten = 0

    def forgets(append: wire.Append, _: str) -> bool:
        nonlocal forgotten
        is_lost = append.drop_id in buckets and world.rng.random() < share
        forgotten += is_lost
        return is_lost

    world.relay.forgets = forgets
    said = []
    for number in range(120):
        person = people[number % 3]
        said.append(f"text {number}")
        person.client.chat(gid).send(said[-1])
        await world.pass_time(0.5)
    world.relay.forgets = lambda *_: False
    for _ in range(8):
        await after_a_while(world, 700)
    assert forgotten
    for person in people:
        shown = person.client.chat(gid).messages()
        assert len(shown) == len(said)
        for sender in people:  # a text that nobody had heard may stand beside later ones
            name = sender.name
            numbers = [int(m.text.split()[1]) for m in shown if m.sender == name]
            assert numbers == list(range(people.index(sender), 120, 3))
        assert missing(person) == 0


async def test_forgotten_cell_is_told_as_a_lie_of_the_relay(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    await after_a_while(world)
    world.relay.forgets = lambda _, who: who == "alice"
    alice.say("bob", "one")
    await world.settle()
    world.relay.forgets = lambda *_: False
    alice.say("bob", "two")
    await world.settle()
    assert RelayDoubted.code in bob.warnings()


async def test_lie_is_told_where_the_cell_that_tells_of_it_is_lost_too(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    await after_a_while(world)
    lost: list[bytes] = []

    def forgets(request: wire.Append, who: str) -> bool:
        is_lost = who == "alice" and len(lost) < 2
        lost.extend([request.cell] if is_lost else [])
        return is_lost

    world.relay.forgets = forgets
    alice.say("bob", "one")  # lost, and the next, which would tell what the relay said of it
    await world.pass_time(1)
    alice.say("bob", "two")
    await world.pass_time(1)
    bob.client.clear_warnings()
    told = [seen.seq for seen in world.told(alice, "bob")]
    assert len(told) == 2
    alice.say("bob", "three")
    await world.settle()
    assert bob.warnings().count(RelayDoubted.code) >= 1
    # Hearsay that was passed on twice is not passed on for ever.
    for number in range(3):
        alice.say("bob", f"and {number}")
        await world.pass_time(1)
    assert not set(told) & {seen.seq for seen in world.told(alice, "bob")}


async def test_two_cells_that_leave_at_once_are_both_told_of(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    await after_a_while(world)
    first: list[bytes] = []

    def forgets(request: wire.Append, who: str) -> bool:
        first.extend([request.cell] if not first else [])
        return request.cell in first

    world.relay.forgets = forgets
    alice.say("bob", "one")
    alice.say("bob", "two")
    await world.pass_time(1)
    world.relay.forgets = lambda *_: False
    told = world.told(alice, "bob")  # that two cells have the same place
    assert [seen.seq for seen in told[-2:]] == [told[-1].seq] * 2
    bob.client.clear_warnings()
    alice.say("bob", "three")
    await world.settle()
    assert RelayDoubted.code in bob.warnings()


@pytest.mark.long
@pytest.mark.parametrize("count", [20, 2 * WINDOW])
async def test_yesterdays_disk_is_noticed_and_what_it_lacks_is_said_again(
    world: World, count: int
) -> None:
    alice, bob = await world.friends("alice", "bob")
    alice.say("bob", "yesterday")
    await world.settle()
    restore = world.relay.image()
    for number in range(5):
        alice.say("bob", f"read {number}")
    await world.settle()
    await bob.sleep()
    for number in range(count):
        alice.say("bob", f"not read {number}")
    await world.settle()
    restore()
    bob.wake()
    await world.settle()
    assert RelayLied.code in bob.warnings()
    for _ in range(6):
        await after_a_while(world, 700)
    read = [f"read {number}" for number in range(5)]
    assert bob.texts("alice") == ["yesterday", *read, *(f"not read {n}" for n in range(count))]


@pytest.mark.long
async def test_a_message_that_its_sender_no_longer_has_is_told_as_lost(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    world.relay.forgets = lambda _, who: who == "alice"
    alice.say("bob", "one")
    await world.settle()
    await alice.sleep()
    await bob.sleep()
    await world.pass_time(KEPT_MS / 1000 + 1)
    bob.wake()
    world.relay.forgets = lambda *_: False
    alice.wake()
    await after_a_while(world)
    alice.say("bob", "two")
    await after_a_while(world)
    assert bob.texts("alice") == ["two"]
    assert MessageLost.code in bob.warnings()
    assert missing(bob) == 0


@pytest.mark.long
@pytest.mark.parametrize("is_large", [False, True])
@pytest.mark.parametrize("how", ["deleted", "deleted here only", "expired"])
async def test_a_message_taken_away_before_it_came_is_not_told_as_lost(
    world: World, monkeypatch: pytest.MonkeyPatch, how: str, is_large: bool
) -> None:
    if is_large:
        monkeypatch.setattr(roster, "LARGE_GROUP", 1)
    alice, bob = await world.friends("alice", "bob")
    gid = await world.group("family", alice, bob)
    if how == "expired":
        alice.client.chat(gid).set_timer(30)
    await after_a_while(world)
    world.relay.forgets = lambda _, who: who == "alice"
    alice.client.chat(gid).send("not for long")
    await world.settle()
    if how == "expired":
        await world.pass_time(35)
    else:
        (text,) = alice.client.chat(gid).messages()
        alice.client.chat(gid).delete([text.id], for_everyone=how == "deleted")
        await world.settle()
    world.relay.forgets = lambda *_: False
    alice.client.chat(gid).send("more")
    for _ in range(3):
        await after_a_while(world)
    shown = bob.client.chat(gid).messages()
    assert "more" in [m.text for m in shown]
    assert "not for long" not in [m.text for m in shown]
    # A deletion by its author is shown, and an expired text leaves no trace.
    assert [m.is_deleted for m in shown] == [True, False][how != "deleted" :]
    if how == "deleted":
        assert [m.id for m in shown] == [m.id for m in alice.client.chat(gid).messages()]
        assert shown[0] == structs.replace(
            alice.client.chat(gid).messages()[0],
            row=shown[0].row,
            writing=shown[0].writing,
            kept_at=shown[0].kept_at,
            is_own=False,
            state=Progress.NOT_OURS,
            read_of=0,
        )
    assert missing(bob) == 0
    assert MessageLost.code not in bob.warnings()
    assert alice.one("SELECT count(*) FROM sent WHERE NOT is_quiet") == 0
    alice.client.chat(gid).send("the chain goes on")
    await world.settle()
    assert not {*bob.warnings()} - {RelayDoubted.code}


@pytest.mark.long
async def test_a_deleted_message_is_shown_so_however_late_it_is_asked_for(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    await after_a_while(world)
    await bob.sleep()
    world.relay.forgets = lambda _, who: who == "alice"
    alice.say("bob", "regretted")
    await world.pass_time(2)
    world.relay.forgets = lambda *_: False
    alice.client.chat(alice.gid("bob")).delete([alice.messages("bob")[0].id])
    await world.settle()
    await alice.sleep()
    await world.pass_time(KEPT_MS / 1000 + 1)
    alice.wake()
    await world.settle()
    assert alice.one("SELECT count(*) FROM sent WHERE NOT is_quiet") == 0
    bob.wake()
    for _ in range(2):
        await after_a_while(world)
    assert [(m.text, m.is_deleted) for m in bob.messages("alice")] == [("", True)]
    assert missing(bob) == 0
    assert MessageLost.code not in bob.warnings()


@pytest.mark.long
async def test_no_word_of_a_deleted_text_is_kept_to_be_said_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roster, "LARGE_GROUP", 1)
    alice, bob = await world.friends("alice", "bob")
    gid = await world.group("club", alice, bob)
    await after_a_while(world)
    world.relay.forgets = lambda _, who: who == "alice"
    alice.client.chat(gid).send("regretted")
    await world.settle()
    world.relay.forgets = lambda *_: False
    await bob.sleep()
    alice.client.chat(gid).send("more")
    await world.settle()
    with_words = "SELECT count(*) FROM sent WHERE instr(envelope, CAST('regretted' AS BLOB))"
    bob.wake()
    while alice.one(with_words) < 2:  # the text, and the repair by which it is said again
        await world.pass_time(0.5)
    alice.client.chat(gid).delete([alice.client.chat(gid).messages()[0].id])
    assert alice.one(with_words) == 0


async def test_place_that_does_not_fit_takes_nothing_away(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    await after_a_while(world)
    world.relay.forgets = lambda _, who: who == "alice"
    alice.say("bob", "one")
    await world.settle()
    world.relay.forgets = lambda *_: False
    alice.say("bob", "two")
    await world.settle()
    gid, signer = bob.gid("alice"), alice.rules.me.signer
    (seq,) = bob.rules.conversations.gaps._missing(gid, signer, 9)
    body = codec.encode(
        Repair(signer, seq, b"", is_before=False, place=Place(bytes(32), bytes(32)))
    )
    with bob.client._unit() as unit, pytest.raises(InvalidMessage):
        bob.rules.conversations.hearing._mend(unit, gid, alice.rules.me.identity, signer, body)
    assert missing(bob) == 1
    await after_a_while(world)
    assert bob.texts("alice") == ["one", "two"]


@pytest.mark.long
async def test_a_later_member_is_not_told_the_texts_from_before(world: World) -> None:
    alice, bob, carol = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", alice, bob)
    alice.client.chat(gid).send("not for carol")
    await world.settle()
    alice.client.chat(gid).add(["carol"])
    await world.settle()
    talk = carol.rules.conversations
    with carol.client._unit() as unit:
        peer = next(
            p
            for p in talk.roster.others(talk.roster.group(gid))
            if p.signer == alice.rules.me.signer
        )
        body = codec.encode(Wanted(peer.signer, [1, 2, 3, 4]))
        talk.saying.post(unit, gid, peer, CellKind.WANTED, body)
    before = world.network.appends
    await world.settle()
    assert carol.client.chat(gid).messages() == []
    assert world.network.appends == before + 2  # the question, and that it was before her time


@pytest.mark.long
async def test_heartbeats_end_when_all_have_confirmed_and_never_pile_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world, "tick_s", 300.0)
    monkeypatch.setattr(roster, "LOOK_EVERY_MS", 86_400_000)
    monkeypatch.setattr(claims, "CLAIM_EVERY_MS", 10**12)
    alice, bob = await world.friends("alice", "bob")
    for _ in range(8):  # until both have refreshed their keys
        await after_a_while(world, 700)
    before = world.network.appends
    await after_a_while(world, 30 * 86_400)
    assert world.network.appends - before <= 2
    await bob.sleep()
    alice.say("bob", "are you there?")
    await after_a_while(world, 40 * 86_400)
    calls = repair.CALLED + len(repair.SILENT_BEATS)
    refresh = 5  # keys may be due again: the day is random
    assert world.network.appends - before <= MAX_BEATS + calls + 5 + refresh


@pytest.mark.long
async def test_large_group_repairs_through_its_epoch_drop(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roster, "LARGE_GROUP", 2)
    people = await world.friends("alice", "bob", "carol")
    gid = await world.group("club", *people)
    alice, bob, carol = people
    lost: list[wire.Append] = []

    def forgets(append: wire.Append, _: str) -> bool:
        if lost or append.drop_id in {to(person) for person in people}:
            return False
        lost.append(append)
        return True

    world.relay.forgets = forgets
    alice.client.chat(gid).send("one")
    await world.settle()
    alice.client.chat(gid).send("two")
    await after_a_while(world)
    assert lost
    for person in (bob, carol):
        assert [m.text for m in person.client.chat(gid).messages()] == ["one", "two"]


@pytest.mark.long
@pytest.mark.parametrize("is_whole", [False, True])
async def test_commit_that_a_relay_has_forgotten_is_appended_once_more(
    world: World, is_whole: bool
) -> None:
    people = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", *people)
    alice = people[0]
    buckets = {to(person) for person in people}
    lost: list[wire.Append] = []

    def forgets(append: wire.Append, _: str) -> bool:
        if lost or append.drop_id in buckets:
            return False
        lost.append(append)
        return True

    world.relay.forgets = forgets
    alice.client.chat(gid).rename("our family")
    if is_whole:  # the drop itself is gone, too
        while not lost:
            await world.pass_time(0.001)
        del world.relay.shelves[lost[0].drop_id]
    await world.settle()
    assert lost
    assert [person.client.chat(gid).view().name for person in people] == ["our family"] * 3
    assert alice.warnings() == [RelayLied.code]


@pytest.mark.long
async def test_relay_that_forgets_every_commit_is_not_asked_all_the_time(world: World) -> None:
    people = await world.friends("alice", "bob")
    gid = await world.group("family", *people)
    buckets = {to(person) for person in people}
    world.relay.forgets = lambda append, _: append.drop_id not in buckets
    people[0].client.chat(gid).rename("our family")
    before = world.network.appends
    await world.pass_time(600)
    assert world.network.appends - before < 600_000 / commits.FORGOTTEN_MS + 10
    world.relay.forgets = lambda *_: False
    await world.settle()
    assert people[1].client.chat(gid).view().name == "our family"


@pytest.mark.long
@pytest.mark.parametrize("is_noticed", [False, True])
async def test_clock_set_back_puts_off_no_repair(
    world: World, monkeypatch: pytest.MonkeyPatch, is_noticed: bool
) -> None:
    alice, bob = await world.friends("alice", "bob")
    await after_a_while(world)
    alice.ahead_ms = bob.ahead_ms = 30 * 86_400_000
    world.relay.forgets = lambda append, who: who == "alice" and append.drop_id == to(bob)
    alice.say("bob", "the last word")
    await world.pass_time(2)
    world.relay.forgets = lambda *_: False
    if is_noticed:
        alice.say("bob", "another")
        await world.pass_time(2)
        assert missing(bob) == 1
    alice.ahead_ms = bob.ahead_ms = 0
    await world.pass_time(2)
    await after_a_while(world)
    assert bob.texts("alice")[0] == "the last word"
    assert missing(bob) == 0


async def test_clock_set_back_puts_off_no_new_keys(world: World) -> None:
    alice, _ = await world.friends("alice", "bob")
    gid = alice.gid("bob")
    with alice.client._unit():
        alice.db.execute("UPDATE conversation SET refresh_due_at = ?", (2**52,))
    await alice.sleep()
    alice.wake()
    due_at = alice.one("SELECT refresh_due_at FROM conversation WHERE gid = ?", gid)
    assert due_at <= world.now() + 2 * entering.REFRESH_MS[1]


@pytest.mark.long
async def test_a_peer_who_speaks_and_never_hears_us_is_noticed(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    await after_a_while(world)
    world.relay.forgets = lambda _, who: who == "alice"
    alice.say("bob", "into the void")
    for number in range(3):
        await world.pass_time(1_200)
        bob.say("alice", f"are you there? {number}")
    await world.pass_time(60)
    assert RelayDoubted.code in alice.warnings()
    assert "are you there? 2" in alice.texts("bob")


@pytest.mark.long
async def test_a_peer_who_wrote_while_we_were_away_is_not_taken_for_deaf(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    await after_a_while(world)
    await bob.sleep()
    alice.say("bob", "before anything")
    await world.pass_time(5)
    await alice.sleep()
    world.network.is_up = False  # bob's words wait in his outbox
    bob.wake()
    for number in range(4):
        bob.say("alice", str(number))
        await world.pass_time(1_200)
    world.network.is_up = True
    await world.pass_time(600)
    alice.wake()
    await world.pass_time(7_200)
    bob.say("alice", "now")
    await world.settle()
    assert not {*alice.warnings(), *bob.warnings()} & {RelayDoubted.code, MessageLost.code}


@pytest.mark.long
async def test_a_later_member_is_not_taken_for_deaf_to_earlier_texts(world: World) -> None:
    alice, bob, carol = await world.friends("alice", "bob", "carol")
    await bob.sleep()
    gid = await world.group("family", alice, bob)
    alice.client.chat(gid).send("before carol")
    await world.settle()
    alice.client.chat(gid).add(["carol"])
    await world.settle()
    for number in range(3):
        await world.pass_time(1_200)
        carol.client.chat(gid).send(str(number))
        await world.settle()
    assert RelayDoubted.code not in alice.warnings()


@pytest.mark.long
async def test_text_that_comes_when_its_epoch_is_long_over_is_read_and_nobody_is_warned(
    world: World,
) -> None:
    alice, bob, _ = people = await world.friends("alice", "bob", "carol")
    gid = await world.group("g", *people)
    await bob.sleep()
    bob.say("g", "from long ago")
    for number in range(5):
        alice.client.chat(gid).rename(f"g{number}")
        await world.settle()
    bob.wake()
    await after_a_while(world)
    for person in people:
        assert person.texts("g4") == ["from long ago"]
        assert person.warnings() == []
