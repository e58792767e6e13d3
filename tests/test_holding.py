"""Holding: words rest at their sender's home only, arrive all the same, and nothing is lost."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

import pytest

from amanat.client.holding import DEPOSIT, HOLD, PATIENCE_MS
from amanat.client.rules import roster
from amanat.client.rules.commits import CUT_OFF_MS
from amanat.client.rules.sent import BEATS_MS
from amanat.client.shell import fetches
from amanat.client.unit import Unit
from amanat.drill.network import STORM
from amanat.drill.person import Person
from amanat.drill.shelves import Relay
from amanat.drill.world import World
from amanat.errors import BadArgument, InvalidMessage, RelayBusy
from amanat.protocol import codec
from amanat.protocol.cells import MESSAGE_CELL
from amanat.protocol.descriptor import Descriptor
from amanat.protocol.messages import CellKind, Epoch, Held
from figures import rounds
from relays import RelayProcess, run_in_loop
from test_exit import assert_one_cell_each_period, days, of_three_operators
from test_moved_people import meet, person, say, shows, texts, until
from test_world import History

if TYPE_CHECKING:
    from pathlib import Path

    from amanat.client.rules.chains import Peer

LONG = "a word that takes a large cell " * 100
"""A text whose cell shows by its size where it rests; a notice is a small cell."""
HUGE = 15 * LONG
"""A text larger than anything that is sent when people meet."""
AT = Epoch(0, bytes(8))


class Town:
    """People of three regions who know each other, all in one group; cells that rested before
    anybody spoke do not count."""

    def __init__(self, world: World, relays: list[Relay], people: list[Person]) -> None:
        self.world = world
        self.relays = relays
        self.people = people
        self.before = {relay.region: large_cells(relay) for relay in relays}

    def rests(self) -> dict[str, int]:
        """Large cells at the relays since then, by region."""
        return {
            relay.region: large_cells(relay) - self.before[relay.region]
            for relay in self.relays
            if large_cells(relay) - self.before[relay.region]
        }


def large_cells(relay: Relay) -> int:
    return sum(len(cell) > MESSAGE_CELL for s in relay.shelves.values() for cell in s.cells)


async def town(world: World) -> tuple[Town, Person, Person, Person, Person]:
    """Alice and dave at home in IR, bob in DE, carol in FR."""
    german, french = world.add_relay("DE"), world.add_relay("FR")
    alice, dave = await world.person("alice"), await world.person("dave")
    bob = await world.person("bob", relay=german)
    carol = await world.person("carol", relay=french)
    people = [alice, bob, carol, dave]
    for number, one in enumerate(people):
        await world.meet(one, *people[number + 1 :])
    await world.group("all", *people)
    return Town(world, [world.relay, german, french], people), alice, bob, carol, dave


async def hold_for_who_sleeps(world: World, alice: Person, bob: Person) -> None:
    """Have alice say a first word, which bob gets, and a long one while he sleeps."""
    alice.client.home.set_outbound(HOLD)
    alice.say("bob", "first")
    await world.settle()
    await bob.sleep()
    alice.say("bob", LONG)
    await world.settle()


@pytest.mark.long
async def test_a_word_of_a_person_who_holds_rests_at_their_home_only(world: World) -> None:
    place, alice, bob, _, _ = await town(world)
    alice.client.home.set_outbound(HOLD)
    alice.say("bob", LONG)
    await world.settle()
    assert bob.texts("alice") == [LONG]
    assert place.rests() == {"IR": 1}
    bob.say("alice", LONG)
    await world.settle()
    assert alice.texts("bob") == [LONG, LONG]
    assert place.rests() == {"IR": 2}, "bob deposits: it rests with alice"
    view = alice.client.chat(alice.gid("bob")).view()
    assert (view.outbound, view.outbound_regions, view.held_by) == (HOLD, ["IR"], [])
    assert "you hold" in view.outbound_why
    view = bob.client.chat(bob.gid("alice")).view()
    assert (view.outbound, view.outbound_regions, view.held_by) == (DEPOSIT, ["IR"], ["alice"])
    assert not any(person.warnings() for person in (alice, bob))


@pytest.mark.long
async def test_all_that_is_done_with_words_is_held(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, alice, bob, _, _ = await town(world)
    alice.client.home.set_outbound(HOLD)
    bob.say("alice", "first")
    await world.settle()
    alice.say("bob", "second")
    await world.settle()
    first, second = (one.id for one in alice.client.chat(alice.gid("bob")).messages())
    posted: list[CellKind] = []
    post = alice.rules.conversations.posting.post

    def record(
        unit: Unit, gid: bytes, to: Peer, kind: CellKind, payload: bytes, **rest: object
    ) -> bool:
        posted.append(kind)
        return post(unit, gid, to, kind, payload, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(alice.rules.conversations.posting, "post", record)
    gid = alice.gid("bob")
    alice.client.chat(gid).react(first, "👍")
    alice.client.chat(gid).edit(second, "other words")
    alice.client.chat(gid).set_timer(3600)
    alice.client.chat(gid).delete([second])
    assert posted == [CellKind.HELD] * 4
    await world.settle()
    (message, gone) = bob.client.chat(bob.gid("alice")).messages()
    assert message.reactions == {"alice": "👍"}
    assert gone.is_deleted
    assert bob.client.chat(bob.gid("alice")).view().timer == 3600


@pytest.mark.long
async def test_two_who_are_strict_both_hold(world: World) -> None:
    place, alice, bob, _, _ = await town(world)
    for one in (alice, bob):
        one.client.home.set_outbound(HOLD)
    alice.say("bob", LONG)
    await world.settle()
    assert place.rests() == {"IR": 1}
    bob.say("alice", LONG)
    await world.settle()
    assert place.rests() == {"IR": 1, "DE": 1}
    assert alice.texts("bob") == bob.texts("alice") == [LONG, LONG]
    for one, other in ((alice, "bob"), (bob, "alice")):
        view = one.client.chat(one.gid(other)).view()
        assert (view.outbound, view.held_by) == (HOLD, [other])


@pytest.mark.long
async def test_in_a_group_of_three_regions_one_copy_at_home_serves_all(world: World) -> None:
    place, alice, bob, carol, dave = await town(world)
    alice.client.home.set_outbound(HOLD)
    alice.say("all", LONG)
    await world.settle()
    # One for bob and carol to fetch, and one in the bucket of dave, who is at home there, too.
    assert place.rests() == {"IR": 2}
    carol.say("all", LONG)
    await world.settle()
    assert place.rests() == {"IR": 4, "DE": 1}
    assert all(person.texts("all") == [LONG, LONG] for person in place.people)
    assert alice.client.chat(alice.gid("all")).view().outbound_regions == ["IR"]
    assert carol.client.chat(carol.gid("all")).view().outbound_regions == ["DE", "IR"]
    view = alice.client.chat(alice.gid("dave")).view()
    assert (view.outbound, view.outbound_regions) == (DEPOSIT, ["IR"])
    assert "nothing has to be held" in view.outbound_why
    assert not any(person.warnings() for person in place.people)
    assert dave.client.chat(dave.gid("all")).view().held_by == ["alice"]
    alice.client.home.set_outbound(DEPOSIT)
    alice.say("all", LONG)
    await world.settle()
    assert place.rests() == {"IR": 5, "DE": 2, "FR": 1}
    assert bob.client.chat(bob.gid("all")).view().held_by == []


@pytest.mark.long
async def test_in_a_large_group_the_epoch_drop_holds_notices_only(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roster, "LARGE_GROUP", 3)
    place, alice, bob, carol, dave = await town(world)
    carol.client.home.set_outbound(HOLD)
    carol.say("all", LONG)
    await world.settle()
    assert place.rests() == {"FR": 1}
    assert carol.client.chat(carol.gid("all")).view().outbound_regions == ["FR"]
    alice.say("all", LONG)
    await world.settle()
    assert place.rests() == {"FR": 1, "IR": 1}
    assert all(person.texts("all") == [LONG, LONG] for person in place.people)
    assert [person.warnings() for person in (alice, bob, carol, dave)] == [[]] * 4


@pytest.mark.long
async def test_a_relay_can_have_its_people_hold(world: World) -> None:
    world.relay.outbound = HOLD
    place, alice, bob, _, _ = await town(world)
    assert (alice.client.status().outbound, alice.client.status().outbound_by) == (HOLD, "relay")
    alice.client.home.set_outbound(DEPOSIT)  # a person may be stricter than their relay, not laxer
    alice.say("bob", LONG)
    await world.settle()
    assert place.rests() == {"IR": 1}
    assert "your relay holds" in alice.client.chat(alice.gid("bob")).view().outbound_why
    world.relay.outbound = DEPOSIT
    await alice.client.watch.check_ledgers()
    assert (alice.client.status().outbound, alice.client.status().outbound_by) == (DEPOSIT, "")
    await alice.sleep()
    alice.wake()
    assert alice.client.status().outbound == DEPOSIT
    alice.say("bob", LONG)
    await world.settle()
    assert place.rests() == {"IR": 1, "DE": 1}
    assert bob.texts("alice") == [LONG, LONG]


@pytest.mark.long
async def test_a_fallback_elsewhere_is_elsewhere(world: World) -> None:
    first, second = world.two_operators()
    alice = await world.person("alice", relay=first)
    bob = await world.person("bob", relay=first, fallback=second)
    await world.meet(alice, bob)
    alice.client.home.set_outbound(HOLD)
    before = large_cells(second)
    world.network.cut(first.address)
    alice.say("bob", LONG)
    await world.pass_time(120)  # cells for the fallback have gone there
    world.network.away.clear()
    await world.pass_time(60)
    await world.settle()
    assert bob.texts("alice") == [LONG]
    assert large_cells(second) == before
    assert alice.client.chat(alice.gid("bob")).view().outbound == HOLD


@pytest.mark.long
async def test_a_word_kept_from_its_reader_is_held_when_it_is_said_again(world: World) -> None:
    place, alice, bob, _, _ = await town(world)
    alice.client.home.set_outbound(HOLD)
    place.relays[1].forgets = lambda request, _: request.drop_id == bob.bucket
    alice.say("bob", LONG)
    await world.pass_time(2)
    place.relays[1].forgets = lambda *_: False
    await world.pass_time(BEATS_MS[0] / 1000 + 60)
    await world.settle()
    assert bob.texts("alice") == [LONG]
    assert place.rests() == {"IR": 2}


@pytest.mark.long
async def test_a_word_waits_while_the_home_it_rests_at_is_away(world: World) -> None:
    place, alice, bob, _, _ = await town(world)
    await hold_for_who_sleeps(world, alice, bob)
    world.network.cut(world.relay.address)
    bob.wake()
    await world.pass_time(PATIENCE_MS / 1000 - 120)
    assert bob.texts("alice") == ["first"]
    world.network.away.clear()
    await world.pass_time(60)
    await world.settle()
    assert bob.texts("alice") == ["first", LONG]
    assert place.rests() == {"IR": 1}, "nobody asked for it again"
    assert not any(person.warnings() for person in (alice, bob))


@pytest.mark.long
async def test_words_that_were_read_before_their_notices_came_are_found(world: World) -> None:
    place, alice, bob, _, _ = await town(world)
    alice.client.home.set_outbound(HOLD)
    alice.say("bob", "the first makes the drop")
    await world.settle()
    await bob.sleep()
    alice.say("bob", "before")
    await world.pass_time(2)
    place.relays[1].refuses = RelayBusy(retry_after=10.0)
    alice.say("bob", "late")  # it rests at home already, and its notice waits
    await world.pass_time(2)
    bob.wake()
    await world.pass_time(5)
    assert bob.texts("alice")[1:] == ["before"]
    assert bob.one("SELECT count(*) FROM held_early") == 1
    place.relays[1].refuses = None
    await world.settle()
    assert bob.texts("alice")[1:] == ["before", "late"]
    assert bob.one("SELECT count(*) FROM held_early") == 0
    assert not any(person.warnings() for person in (alice, bob))


@pytest.mark.long
async def test_nothing_is_fetched_from_a_blocked_contact(world: World) -> None:
    _, alice, bob, _, _ = await town(world)
    alice.client.home.set_outbound(HOLD)
    alice.say("bob", "first")
    await world.settle()
    bob.client.contact("alice").block()
    world.network.seen.clear()
    alice.say("bob", "do you see this?")
    await world.pass_time(300)
    assert bob.texts("alice") == ["first"]
    assert bob.one("SELECT count(*) FROM held") == 0
    bob.client.contact("alice").unblock()
    alice.say("bob", "second")
    await world.settle()
    assert "second" in bob.texts("alice")


@pytest.mark.long
async def test_a_contact_who_names_many_drops_is_not_read_at_once(world: World) -> None:
    _, alice, bob, _, _ = await town(world)
    gid, relay = alice.gid("bob"), world.relay.address.key
    theirs = alice.rules.conversations
    (peer,) = theirs.roster.others(theirs.roster.group(gid))
    for number in range(fetches.MAX_FETCHES * 3):
        held = Held(relay, "IR", number.to_bytes(32, "big"), bytes(32), CellKind.MLS)
        with alice.client._unit() as unit:
            theirs.saying.post(unit, gid, peer, CellKind.HELD, codec.encode(held))
    await world.pass_time(2)
    assert (
        sum(isinstance(key, fetches.HeldFetch) for key in bob.client._run.tasks)
        <= fetches.MAX_FETCHES
    )
    await world.pass_time(60)
    assert len(bob.client._fetches._held_due) == fetches.MAX_FETCHES * 3  # each had its turn
    alice.client.home.set_outbound(HOLD)
    alice.say("bob", "and this one is there")
    await world.pass_time(60)
    assert bob.texts("alice") == ["and this one is there"]


@pytest.mark.long
async def test_a_client_that_has_caught_up_has_fetched_all_it_can(world: World) -> None:
    _, alice, bob, _, _ = await town(world)
    alice.client.home.set_outbound(HOLD)
    await bob.sleep()
    alice.say("bob", "fetch me")
    await world.settle()
    bob.wake()
    await bob.client.caught_up()
    assert bob.texts("alice") == ["fetch me"]
    await bob.sleep()
    alice.say("bob", "and me")
    await world.settle()
    world.network.cut(world.relay.address)
    bob.wake()
    await world.pass_time(30)
    assert bob.texts("alice") == ["fetch me"]
    assert bob.rules.conversations.holding.places()
    assert not set(bob.rules.conversations.holding.places()) - bob.client._fetches._put_off
    world.network.away.clear()
    await world.pass_time(60)
    await world.settle()
    assert bob.texts("alice") == ["fetch me", "and me"]


@pytest.mark.long
async def test_words_that_a_dead_home_held_are_held_by_the_next(world: World) -> None:
    place, alice, bob, carol, _ = await town(world)
    await hold_for_who_sleeps(world, alice, bob)
    world.network.cut(world.relay.address)
    alice.say("all", "is anybody there?")
    new = world.add_relay("TR")
    await alice.client.home.exit(str(new.address))
    bob.wake()
    await world.pass_time(PATIENCE_MS / 1000 + CUT_OFF_MS / 1000 + 2 * BEATS_MS[0] / 1000)
    assert bob.texts("alice") == ["first", LONG]
    assert bob.texts("all") == carol.texts("all") == ["is anybody there?"]
    assert place.rests() == {"IR": 1}
    assert large_cells(new) == 1
    assert bob.client.status().missing == []


@pytest.mark.long
async def test_nobody_is_sent_to_a_relay_that_is_not_their_contacts(world: World) -> None:
    _, alice, bob, _, _ = await town(world)
    lure = world.add_relay("US")
    gid = alice.gid("bob")
    held = Held(lure.address.key, "US", bytes(32), bytes(32), CellKind.MLS)
    conversations = alice.rules.conversations
    with alice.client._unit() as unit:
        group = conversations.roster.group(gid)
        (peer,) = conversations.roster.others(group)
        conversations.saying.post(unit, gid, peer, CellKind.HELD, codec.encode(held))
    await world.settle()
    assert (bob.name, lure.address) not in world.network.seen
    assert InvalidMessage.code in bob.warnings()
    alice.say("bob", "and on")
    await world.settle()
    assert bob.texts("alice") == ["and on"]


@pytest.mark.long
async def test_a_notice_of_anything_else_is_refused(world: World) -> None:
    _, _, bob, _, _ = await town(world)
    holding, gid = bob.rules.conversations.holding, bob.gid("alice")
    relay = world.relay.address.key
    for notice in (
        b"",
        b"\xc0",
        codec.encode(Held(relay, "IR", bytes(32), bytes(32), CellKind.HELD)),
        codec.encode(Held(relay, "IR", bytes(32), bytes(32), CellKind.WANTED)),
    ):
        with bob.client._unit() as unit, pytest.raises(InvalidMessage):
            holding.expect(unit, gid, b"signer", notice, {relay}, AT, is_past=False)
    assert holding.places() == []


async def test_a_person_who_holds_sends_no_greeting_since_it_would_rest_with_the_inviter(
    world: World,
) -> None:
    german = world.add_relay("DE")
    alice, bob = await world.person("alice"), await world.person("bob", relay=german)
    alice.client.home.set_outbound(HOLD)
    with pytest.raises(BadArgument, match="greeting"):
        alice.client.accept(bob.client.invite(), "salaam")
    alice.client.accept(bob.client.invite())
    await world.settle()
    alice.say("bob", "salaam")
    await world.settle()
    assert bob.texts("alice") == ["salaam"]
    with pytest.raises(BadArgument):
        alice.client.home.set_outbound("keep")


@pytest.mark.long
async def test_a_drop_of_held_words_is_another_each_day_and_ends(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, alice, bob, _, _ = await town(world)
    alice.client.home.set_outbound(HOLD)
    drops = set()
    for _ in range(3):
        before = set(world.relay.shelves)
        alice.say("bob", "today")
        await world.settle()
        drops |= set(world.relay.shelves) - before
        alice.say("bob", "again")
        await world.settle()
        await days(world, monkeypatch, 1)
    assert len(drops) == 3
    assert len(bob.texts("alice")) == 6
    assert bob.one("SELECT count(*) FROM held") == 0
    assert bob.one("SELECT count(*) FROM held_read") == 3


@pytest.mark.long
@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(rounds(1, 30)))
async def test_held_words_in_bad_weather_between_deaths(world: World, seed: int) -> None:
    world.rng.seed(seed)
    place, *people = await town(world)
    history = History(world, people)
    for _ in range(3):
        for one in people:
            if world.rng.random() < 0.6 and not one.is_doomed:
                one.client.home.set_outbound(world.rng.choice((HOLD, DEPOSIT)))
        world.network.weather = STORM
        await history.round(20)
    await world.pass_time(BEATS_MS[0] / 1000)
    await world.settle()
    assert all(person.client.status().missing == [] for person in people)
    assert place.people == people


@pytest.mark.long
async def test_covered_a_held_word_takes_two_places_of_the_grid(world: World) -> None:
    alice, bob = await of_three_operators(world)
    alice.client.home.set_outbound(HOLD)
    alice.say("bob", "today's drop is made when first something is held")
    await world.settle()
    with alice.acting():
        await alice.client.hopping.set_cover(30)
    await world.pass_time(60)
    world.network.lines.clear()
    begin = world.network.clock()
    alice.say("bob", "held")
    await world.pass_time(600)
    assert "held" in bob.texts("alice")
    assert_one_cell_each_period(world, "alice", begin)


def test_a_descriptor_of_before_deposits() -> None:
    assert Descriptor.__struct_defaults__[-1] == DEPOSIT


@pytest.mark.e2e
def test_on_real_relays_the_others_disk_gets_no_word(tmp_path: Path) -> None:
    run_in_loop(hold_on_real_relays(tmp_path), patience_s=60)


async def hold_on_real_relays(tmp_path: Path) -> None:
    with (
        RelayProcess(tmp_path / "one", region="IR", outbound=HOLD) as one,
        RelayProcess(tmp_path / "another", region="DE") as another,
    ):
        alice = await person(tmp_path, "alice", one, another)
        bob = await person(tmp_path, "bob", another, one)
        await meet(alice, bob)
        assert alice.status().outbound_by == "relay"
        assert alice.conversation("bob").outbound_regions == ["IR"]
        for number in range(5):
            say(alice, "bob", f"{number} {HUGE}")
        await shows(bob, "alice", [f"{number} {HUGE}" for number in range(5)])
        assert (huge_cells(another), huge_cells(one)) == (0, 5)
        say(bob, "alice", HUGE)
        await until(alice, lambda: HUGE in texts(alice, "bob"))
        assert (huge_cells(another), huge_cells(one)) == (0, 6)
        assert bob.conversation("alice").held_by == ["alice"]
        assert not [*alice.status().warnings, *bob.status().warnings]
        for client in (alice, bob):
            await client.close()


def huge_cells(relay: RelayProcess) -> int:
    with contextlib.closing(sqlite3.connect(relay.directory.path / "drops.sqlite")) as store:
        (many,) = store.execute(
            "SELECT count(*) FROM cell WHERE length(wrapped) > ?", (len(HUGE),)
        ).fetchone()
        return int(many)
