"""Exit: a person moves home without any help of the relay they leave, and nothing is lost."""

from __future__ import annotations

import contextlib
from collections import Counter

import pytest

from amanat.client import rights, routes
from amanat.client.rules import roster
from amanat.client.rules.commits import CUT_OFF_MS
from amanat.client.rules.sent import BEATS_MS
from amanat.client.whereabouts import DAY_MS, FORMER_MS
from amanat.drill.copied import refresh
from amanat.drill.death import Died
from amanat.drill.network import STORM
from amanat.drill.person import Person
from amanat.drill.shelves import Relay, Shelf
from amanat.drill.world import World
from amanat.errors import (
    BadArgument,
    InviteUsed,
    MessageLost,
    RegionNotAllowed,
    RegionsDiffer,
    RelayBusy,
    RelayUnreachable,
    UsageError,
)
from amanat.protocol import wire
from amanat.relay.rates import Creations
from figures import every, rounds
from test_world import History

pytestmark = pytest.mark.long

BEAT_S = BEATS_MS[0] / 1000
RARELY_S = 900.0
"""How often clients look for what is due, and call on a relay that is away, while days pass."""


async def apart(world: World) -> tuple[Person, Person, Person, Relay]:
    """Alice at a relay of her own, bob and carol at another, all in a group, and a third relay as a
    new home."""
    theirs = world.add_relay("DE")
    alice = await world.person("alice")
    bob = await world.person("bob", relay=theirs)
    carol = await world.person("carol", relay=theirs)
    await world.meet(alice, bob, carol)
    await world.meet(bob, carol)
    await world.group("all", bob, alice, carol)
    return alice, bob, carol, world.add_relay("FR")


async def days(world: World, monkeypatch: pytest.MonkeyPatch, many: int) -> None:
    """Let days pass, in which clients look more rarely for what is due."""
    with monkeypatch.context() as rarely:
        rarely.setattr(world, "tick_s", RARELY_S)
        rarely.setattr(roster, "LOOK_EVERY_MS", DAY_MS)
        rarely.setattr(routes, "RETRY_S", (RARELY_S, RARELY_S))
        await world.pass_time(many * 86_400)
    await world.pass_time(RARELY_S)


async def test_exit_from_a_relay_that_lives_moves_everybody_over(world: World) -> None:
    alice, bob, carol, new = await apart(world)
    await alice.client.home.exit(str(new.address))
    await world.settle()
    before = len(world.relay.shelves[alice.rules.me.former[0].bucket.drop_id].cells)
    bob.say("alice", "do you hear me?")
    carol.say("all", "and me?")
    await world.settle()
    alice.say("all", "I do")
    await world.settle()
    assert alice.texts("bob") == ["do you hear me?"]
    for person in (alice, bob, carol):
        assert person.texts("all") == ["and me?", "I do"]
    assert len(world.relay.shelves[alice.rules.me.former[0].bucket.drop_id].cells) == before
    await world.pass_time(BEAT_S)
    await world.settle()
    assert alice.client.status().unaware == []
    assert alice.client.status().region == "FR"
    assert [former.region for former in alice.client.status().former] == ["IR"]
    assert not any(person.warnings() for person in (alice, bob, carol))


async def test_exit_from_a_dead_relay_every_contact_is_back_within_a_heartbeat(
    world: World,
) -> None:
    alice, bob, carol, new = await apart(world)
    alice.say("bob", "before")
    await world.settle()
    world.network.cut(world.relay.address)
    for number in range(200):  # more than a window: they must not only be found by luck
        bob.say("alice", f"into the void {number}")
    carol.say("all", "nobody home?")
    await world.pass_time(60)
    assert alice.texts("bob") == ["before"]
    await alice.client.home.exit(str(new.address))
    await world.pass_time(BEAT_S)
    assert alice.texts("bob") == ["before"] + [f"into the void {n}" for n in range(200)]
    assert alice.texts("all") == ["nobody home?"]
    alice.say("all", "here I am")
    await world.pass_time(BEAT_S)
    status = alice.client.status()
    assert status.unaware == []
    assert status.missing == []
    assert status.away == [str(world.relay.address)]  # it decides the Commits of some conversations
    assert [former.is_away for former in status.former] == [True]
    assert all(p.texts("all") == ["nobody home?", "here I am"] for p in (alice, bob, carol))
    assert not any(person.warnings() for person in (alice, bob, carol))


async def test_texts_that_a_hostile_relay_kept_are_said_again_at_the_new_home(
    world: World,
) -> None:
    alice, bob, carol, new = await apart(world)
    alice.say("bob", "I trust this relay")
    await world.settle()
    world.relay.forgets = lambda request, _: request.drop_id == alice.bucket
    for number in range(20):
        bob.say("alice", f"text {number}")
    carol.say("all", "not for you")
    await world.pass_time(30)
    assert alice.texts("bob") == ["I trust this relay"]
    world.relay.refuses = RelayBusy(retry_after=3600.0)
    bob.say("alice", "refused")
    await world.pass_time(5)
    await alice.client.home.exit(str(new.address))
    await world.pass_time(BEAT_S)
    said = [f"text {number}" for number in range(20)]
    assert alice.texts("bob") == ["I trust this relay", *said, "refused"]
    assert alice.texts("all") == ["not for you"]
    assert alice.client.status().missing == []


async def test_where_a_relay_takes_one_new_drop_a_minute_everything_is_late_and_nothing_lost(
    world: World,
) -> None:
    class Hop:
        """All ask over one connection."""

        speaks_for = 1

    everybody, refused = Hop(), Counter[bytes]()

    def slow_down(relay: Relay) -> None:
        creations, create = Creations(1, 1), relay._create

        def counted(request: wire.Create) -> int:
            if request.drop_id not in relay.shelves:
                try:
                    creations.take(everybody, now=world.network.clock())
                except RelayBusy:
                    refused[relay.address.key] += 1
                    raise
            return create(request)

        relay._create = counted  # type: ignore[method-assign]

    slow_down(world.relay)
    alice, bob, carol = [await world.person(name) for name in ("alice", "bob", "carol")]
    new = world.add_relay("FR")
    slow_down(new)
    await world.meet(alice, bob, carol)
    await world.meet(bob, carol)
    for number in range(4):
        await world.group(f"group {number}", alice, bob, carol)
    for number in range(4):
        bob.say(f"group {number}", "here?")
    await alice.client.home.exit(str(new.address))
    for number in range(4):
        alice.say(f"group {number}", "here")
    alice.say("bob", "and here")
    await world.pass_time(BEAT_S)
    await world.settle()
    for person in (alice, bob, carol):
        for number in range(4):
            assert sorted(person.texts(f"group {number}")) == ["here", "here?"]
        assert not person.warnings()
    assert bob.texts("alice") == ["and here"]
    assert alice.client.status().unaware == []
    assert min(refused[relay.address.key] for relay in (world.relay, new)) > 0


@pytest.mark.parametrize("is_kept", [True, False])
async def test_texts_that_only_the_dead_relay_held_are_said_again_or_named(
    world: World, *, is_kept: bool
) -> None:
    alice, bob, _, new = await apart(world)
    await alice.sleep()
    for number in range(5):
        bob.say("alice", f"text {number}")
    await world.pass_time(30)
    if not is_kept:
        with bob.client._unit():
            bob.db.execute("DELETE FROM sent WHERE gid = ?", (bob.gid("alice"),))
    world.network.cut(world.relay.address)
    alice.wake()
    await alice.client.home.exit(str(new.address))
    await world.pass_time(BEAT_S)
    assert alice.texts("bob") == [f"text {number}" for number in range(5)] * is_kept
    assert alice.client.status().missing == []
    assert set(alice.warnings()) == (set() if is_kept else {MessageLost.code})


async def test_a_contact_who_was_offline_during_an_exit_finds_us_when_they_are_back(
    world: World,
) -> None:
    alice, bob, _, new = await apart(world)
    await bob.sleep()
    bob.say("alice", "written offline")
    world.network.cut(world.relay.address)
    await alice.client.home.exit(str(new.address))
    assert sorted(alice.client.status().unaware) == ["bob", "carol"]
    assert alice.client.status().to_tell == 2
    await world.pass_time(600)
    assert alice.client.status().unaware == ["bob"]
    assert alice.client.status().to_tell == 2
    bob.wake()
    await world.pass_time(BEAT_S)
    assert alice.texts("bob") == ["written offline"]
    assert alice.client.status().unaware == []


async def test_a_contact_who_comes_back_after_everything_expired_is_told_by_a_heartbeat(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob, _, new = await apart(world)
    await bob.sleep()
    world.network.cut(world.relay.address)
    await alice.client.home.exit(str(new.address))
    await world.pass_time(3600)
    shelf = world.network.relay_with(bob.rules.me.home.relay).shelves[bob.bucket]
    rested = len(shelf.cells)
    await days(world, monkeypatch, 8)
    assert len(shelf.cells) > rested
    shelf.gone = rested  # the exit's own messages have expired
    bob.wake()
    await world.pass_time(10)
    assert bob.one("SELECT count(*) FROM new_address") == 1  # said, and not only in her leaf
    bob.say("alice", "where are you?")
    await world.pass_time(BEAT_S)
    assert alice.texts("bob") == ["where are you?"]
    assert alice.client.status().unaware == []


@pytest.mark.campaign
@pytest.mark.parametrize("is_dead", [False, True])
async def test_dying_at_any_step_of_an_exit_it_was_made_or_was_not(
    world: World, *, is_dead: bool
) -> None:
    alice, bob, carol, new = await apart(world)
    if is_dead:
        world.network.cut(world.relay.address)
        await world.pass_time(30)
    restore = await world.save()
    step = 0
    ends: list[str] = []
    while not ends or ends[-1] != "lived":
        step += 7 * every(5)
        await restore()
        alice.die_after(step)
        try:
            await alice.client.home.exit(str(new.address))
            ends.append("lived")
        except Died:
            ends.append("died")
        alice.fuse.left = None
        await world.pass_time(BEAT_S)
        has_moved = alice.client.status().region == "FR"
        assert has_moved is not bool(alice.client.status().region == "IR")
        if not has_moved:
            await alice.client.home.exit(str(new.address))
        bob.say("alice", "once")
        carol.say("all", "once")
        await world.pass_time(BEAT_S)
        assert alice.texts("bob") == ["once"]
        assert alice.texts("all") == ["once"]
        assert alice.client.status().unaware == []
    assert ends.count("died") > 3


async def test_old_bucket_is_read_after_a_restart_until_all_know(world: World) -> None:
    alice, bob, carol, new = await apart(world)
    await carol.sleep()
    await alice.client.home.exit(str(new.address))
    await world.settle()
    await alice.sleep()
    alice.wake()
    # Carol's cells were on their way to the old bucket when she went.
    old = alice.rules.me.former[0]
    carol.say("alice", "to the old bucket")
    (request,) = [
        row[0]
        for row in carol.db.execute(
            "SELECT request FROM outbox WHERE relay = ? AND recipient IS NOT NULL", (old.relay,)
        ).fetchall()
    ]
    world.relay.answer(wire.decode_request(request))
    await world.pass_time(30)
    await alice.sleep()
    alice.wake()
    await world.pass_time(30)
    assert alice.texts("carol") == ["to the old bucket"]
    assert alice.client.status().unaware == ["carol"]
    carol.wake()
    await world.pass_time(BEAT_S)
    assert alice.texts("carol") == ["to the old bucket"]
    assert alice.client.status().unaware == []
    assert bob.texts("alice") == []


async def test_old_bucket_is_forgotten_once_all_know_and_no_cell_can_rest_there(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob, _, new = await apart(world)
    await bob.sleep()
    await alice.client.home.exit(str(new.address))
    await days(world, monkeypatch, FORMER_MS[0] // DAY_MS + 1)
    assert alice.client.status().unaware == ["bob"]
    assert len(alice.client.status().former) == 1
    bob.wake()
    await days(world, monkeypatch, 1)
    assert alice.client.status().unaware == []
    assert alice.client.status().former == []
    read = [
        key[1] for key in alice.client._run.tasks if isinstance(key, tuple) and key[0] == "bucket"
    ]
    assert read == [alice.bucket]
    bob.say("alice", "still there?")
    await world.settle()
    assert alice.texts("bob") == ["still there?"]


async def test_newcomers_of_a_group_are_told_where_we_are_though_our_leaf_is_old(
    world: World,
) -> None:
    alice, bob, _, new = await apart(world)
    dave = await world.person("dave", relay=world.network.relay_with(bob.rules.me.home.relay))
    await world.meet(bob, dave)
    world.network.cut(world.relay.address)
    await alice.client.home.exit(str(new.address))
    await world.pass_time(BEAT_S)
    bob.client.chat(bob.gid("all")).add(["dave"])
    await world.pass_time(BEAT_S)
    dave.say("all", "good evening")
    await world.pass_time(BEAT_S)
    assert alice.texts("all") == ["good evening"]
    assert alice.client.status().unaware == []


async def test_a_person_let_in_by_an_old_key_package_is_reached_where_they_are_now(
    world: World,
) -> None:
    alice, bob, _, new = await apart(world)
    world.network.cut(world.relay.address)
    await alice.client.home.exit(str(new.address))
    await world.pass_time(BEAT_S)
    bob.client.create_group("late", ["alice", "carol"])
    await world.pass_time(BEAT_S)
    bob.say("late", "welcome")
    await world.pass_time(BEAT_S)
    assert alice.texts("late") == ["welcome"]
    assert alice.client.status().unaware == []


async def test_old_bucket_is_kept_while_cells_may_rest_in_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, _, _, new = await apart(world)
    await alice.client.home.exit(str(new.address))
    await days(world, monkeypatch, 1)
    assert alice.client.status().unaware == []
    assert len(alice.client.status().former) == 1


async def test_two_exits_in_a_row_lead_to_the_last_home(world: World) -> None:
    alice, bob, _, new = await apart(world)
    await bob.sleep()
    newest = world.add_relay("NL")
    await alice.client.home.exit(str(new.address))
    await world.settle()
    await alice.client.home.exit(str(newest.address))
    world.network.cut(new.address)
    world.network.cut(world.relay.address)
    bob.say("alice", "where to?")
    bob.wake()
    await world.pass_time(BEAT_S)
    assert alice.texts("bob") == ["where to?"]
    assert alice.client.status().unaware == []
    assert [former.region for former in alice.client.status().former] == ["IR", "FR"]


async def test_going_back_to_a_home_that_was_left_reads_on_where_it_was_read(
    world: World,
) -> None:
    alice, bob, _, new = await apart(world)
    old = alice.rules.me.home
    await alice.client.home.exit(str(new.address))
    await world.settle()
    await alice.client.home.exit(str(world.network.relay_with(old.relay).address))
    await world.settle()
    assert alice.rules.me.home.bucket == old.bucket
    assert [former.region for former in alice.client.status().former] == ["FR"]
    bob.say("alice", "back again?")
    await world.settle()
    assert alice.texts("bob") == ["back again?"]
    assert not alice.warnings()


async def test_exit_keeps_a_fallback_that_is_another_relay_and_its_bucket(world: World) -> None:
    first, second = world.two_operators()
    third = world.add_relay("FR")
    third.operator, third.is_hop = "a third", True
    alice = await world.person("alice", relay=first, fallback=second)
    bob = await world.person("bob", relay=second)
    await world.meet(alice, bob)
    fallback = alice.rules.me.homes[1].bucket
    seen = len(world.network.seen)
    world.network.cut(first.address)
    await alice.client.home.exit(str(third.address))
    assert ("alice", third.address) not in world.network.seen[:seen]
    status = alice.client.status()
    assert (status.region, status.fallback_region) == ("FR", "DE")
    assert (status.transport, status.hop) == ("hopped", str(second.address))
    assert alice.rules.me.homes[1].bucket == fallback
    await world.pass_time(BEAT_S)
    bob.say("alice", "hello")
    await world.pass_time(30)
    assert alice.texts("bob") == ["hello"]


async def test_new_home_is_drawn_by_way_of_the_hop_the_person_has_chosen(world: World) -> None:
    hop, new = world.add_relay("DE"), world.add_relay("FR")
    hop.is_hop = True
    alice = await world.person("alice")
    bob = await world.person("bob", relay=hop)
    await world.meet(alice, bob)
    await alice.client.hopping.set_hop(str(hop.address))
    world.network.cut(world.relay.address)
    await alice.client.home.exit(str(new.address))
    await world.pass_time(30)
    assert ("alice", new.address) not in world.network.seen
    bob.say("alice", "unseen")
    await world.pass_time(30)
    assert alice.texts("bob") == ["unseen"]


async def test_exit_with_home_and_fallback_dead_names_what_to_do(world: World) -> None:
    second, third = world.add_relay("DE"), world.add_relay("FR")
    alice = await world.person("alice", fallback=second)
    bob = await world.person("bob", relay=third)
    await world.meet(alice, bob)
    world.network.cut(world.relay.address)
    world.network.cut(second.address)
    fourth = world.add_relay("NL")
    with pytest.raises(RelayUnreachable, match="another or none"):
        await alice.client.home.exit(str(fourth.address))
    await alice.client.home.exit(str(fourth.address), fallback="")
    await world.pass_time(30)
    bob.say("alice", "hello")
    await world.pass_time(30)
    assert alice.texts("bob") == ["hello"]
    assert alice.client.status().fallback == ""


async def test_invite_from_before_an_exit_is_good_while_the_old_relay_is_there(
    world: World,
) -> None:
    alice, bob, _, new = await apart(world)
    link = alice.client.invite()
    await alice.client.home.exit(str(new.address))
    await world.settle()
    assert alice.client.status().lost_invites == []
    await alice.sleep()
    alice.wake()
    dave = await world.person("dave", relay=world.network.relay_with(bob.rules.me.home.relay))
    dave.client.accept(link)
    await world.settle()
    dave.say("alice", "glad to have found you")
    await world.settle()
    assert alice.texts("dave") == ["glad to have found you"]


async def test_invites_and_knocks_that_died_with_the_relay_are_named(world: World) -> None:
    alice, bob, _, new = await apart(world)
    dave = await world.person("dave", relay=world.network.relay_with(bob.rules.me.home.relay))
    link = alice.client.invite()
    made_at = world.now()
    await dave.sleep()
    alice.client.accept(dave.client.invite())
    await world.settle()
    world.network.cut(world.relay.address)
    await alice.client.home.exit(str(new.address))
    await world.pass_time(10)
    status = alice.client.status()
    assert status.lost_invites == [made_at]
    assert status.lost_knocks == ["dave"]
    erin = await world.person("erin", relay=new)
    erin.client.accept(link)
    await world.pass_time(60)
    assert [c.name for c in erin.client.contacts()] == []
    fresh = alice.client.invite()
    assert alice.client.status().lost_invites == [made_at]
    frank = await world.person("frank", relay=new)
    frank.client.accept(fresh)
    await world.pass_time(60)
    assert [c.name for c in frank.client.contacts()] == ["alice"]


async def test_a_person_answered_at_a_home_they_have_left_knocks_again(world: World) -> None:
    alice, bob, _, new = await apart(world)
    dave = await world.person("dave", relay=world.network.relay_with(bob.rules.me.home.relay))
    await dave.sleep()
    alice.client.accept(dave.client.invite())
    await world.settle()
    world.network.cut(world.relay.address)
    await alice.client.home.exit(str(new.address))
    dave.wake()
    await world.pass_time(60)
    assert [c.name for c in dave.client.contacts()] == ["alice"]  # he thinks
    assert alice.client.status().lost_knocks == ["dave"]
    alice.client.accept(dave.client.invite())
    await world.pass_time(60)
    assert alice.client.status().lost_knocks == []
    alice.say("dave", "at last")
    await world.pass_time(30)
    assert dave.texts("alice") == ["at last"]
    assert [view.state for view in dave.client.conversations()] == ["left", "active"]
    world.network.away.clear()  # the answer to the first knock comes too late to count
    await world.settle()
    assert not alice.warnings()
    # A second knock lets nobody in who has been heard from.
    other = dave.client.invite()
    with pytest.raises(InviteUsed):
        alice.client.accept(other)


async def test_two_whose_relay_died_under_both_find_each_other_by_an_invite(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    one, other = world.add_relay("DE"), world.add_relay("FR")
    world.network.cut(world.relay.address)
    await alice.client.home.exit(str(one.address))
    await bob.client.home.exit(str(other.address))
    alice.say("bob", "can you hear me?")
    await world.pass_time(600)
    assert alice.client.status().unaware == ["bob"]
    link = bob.client.invite()
    alice.client.accept(link)
    await world.pass_time(BEAT_S)
    bob.say("alice", "now I can")
    await world.pass_time(BEAT_S)
    assert alice.texts("bob") == bob.texts("alice") == ["can you hear me?", "now I can"]
    assert alice.client.status().unaware == bob.client.status().unaware == []
    with pytest.raises(InviteUsed):
        alice.client.accept(link)


async def test_a_blocked_contact_is_told_when_they_no_longer_are(world: World) -> None:
    alice, bob, _, new = await apart(world)
    alice.client.contact("bob").block()
    world.network.cut(world.relay.address)
    await alice.client.home.exit(str(new.address))
    await world.pass_time(BEAT_S)
    alice.client.contact("bob").unblock()
    await world.pass_time(BEAT_S)
    bob.say("alice", "friends again?")
    await world.pass_time(BEAT_S)
    assert alice.texts("bob") == ["friends again?"]


# Groups


async def test_a_person_with_the_right_to_do_so_takes_the_commits_along(world: World) -> None:
    alice, bob, carol = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", alice, bob, carol)
    theirs = await world.group("others'", bob, alice, carol)
    new = world.add_relay("FR")
    await alice.client.home.exit(str(new.address))
    await world.settle()
    for person in (alice, bob, carol):
        assert (
            person.client.chat(gid).view().region,
            person.client.chat(theirs).view().region,
        ) == ("FR", "IR")
    assert alice.client.chat(alice.gid("bob")).view().region == "FR"
    assert alice.client.status().left_behind == ["others'"]
    moved = [await world.person(name, relay=new) for name in ("dave",)]
    await world.meet(alice, *moved)
    alice.client.chat(gid).add(["dave"])
    await world.settle()
    moved[0].say("family", "hello")
    await world.settle()
    assert all(p.texts("family") == ["hello"] for p in (alice, bob, carol, *moved))
    assert not any(person.warnings() for person in (alice, bob, carol, *moved))


async def test_a_group_is_taken_along_by_the_commit_that_lets_the_last_person_there_go(
    world: World,
) -> None:
    alice, bob, carol, _ = await apart(world)
    gid = await world.group("family", alice, bob, carol)
    alice.client.chat(gid).leave()
    await world.settle()
    bob.client.chat(gid).rename("friends")  # nobody here could make a drop where the group was
    await world.pass_time(BEAT_S)
    assert bob.client.chat(gid).view().name == carol.client.chat(gid).view().name == "friends"
    assert {person.client.chat(gid).view().region for person in (bob, carol)} == {"DE"}


async def test_a_group_is_taken_along_by_the_last_person_there_who_moves(world: World) -> None:
    alice, bob, _, new = await apart(world)
    dave = await world.person("dave")
    await world.meet(alice, dave)
    await world.meet(dave, bob)
    gid = await world.group("family", alice, dave, bob)
    alice.client.chat(gid).set_admin("bob")
    await world.settle()
    alice.client.chat(gid).leave()
    await world.settle()
    assert dave.client.chat(gid).view().region == "IR"
    await dave.client.home.exit(str(new.address))  # who may not place it anywhere else
    await world.settle()
    assert {person.client.chat(gid).view().region for person in (bob, dave)} == {"FR"}
    bob.client.chat(gid).rename("friends")
    await world.settle()
    assert dave.client.chat(gid).view().name == "friends"


async def test_each_of_two_who_move_away_one_after_the_other_is_known_to_be_gone(
    world: World,
) -> None:
    alice, bob, carol, new = await apart(world)
    gid = await world.group("family", bob, alice, carol)
    await carol.client.home.exit(str(new.address))  # an address in a leaf that may not place it
    await world.settle()
    assert alice.client.chat(gid).view().region == "DE"
    bob.client.chat(gid).leave()
    await world.settle()
    assert alice.client.chat(gid).view().region != "DE"
    alice.client.chat(gid).rename("friends")
    await world.settle()
    assert alice.client.chat(gid).view().name == carol.client.chat(gid).view().name == "friends"


async def test_a_group_left_where_nobody_has_access_goes_on_when_somebody_moves_there(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob, carol, _ = await apart(world)
    gid = await world.group("family", alice, bob, carol)
    with monkeypatch.context() as before:  # a program of before groups were taken along
        before.setattr(rights, "taken_along", lambda policy, *_: policy)
        alice.client.chat(gid).leave()
        await world.settle()
    assert bob.client.chat(gid).view().people == ["bob", "carol"]
    bob.client.chat(gid).rename("friends")  # its drop is at a relay that all have left
    await world.pass_time(BEAT_S)
    assert bob.client.chat(gid).view().name == carol.client.chat(gid).view().name == "family"
    await carol.client.home.exit(str(world.relay.address))
    await world.pass_time(BEAT_S + 600)
    assert bob.client.chat(gid).view().name == carol.client.chat(gid).view().name == "friends"


async def test_group_whose_commits_were_taken_along_outlives_the_old_relay(world: World) -> None:
    new, third = world.add_relay("FR"), world.add_relay("DE")
    alice = await world.person("alice")
    bob = await world.person("bob", relay=third)
    carol = await world.person("carol", relay=third)
    await world.meet(alice, bob, carol)
    gid = await world.group("family", alice, bob, carol)
    await alice.client.home.exit(str(new.address))
    await world.settle()
    world.network.cut(world.relay.address)
    alice.client.chat(gid).rename("friends")
    await world.pass_time(BEAT_S)
    alice.client.chat(gid).remove("carol")
    await world.pass_time(BEAT_S)
    bob.say("friends", "we are two")
    await world.pass_time(BEAT_S)
    assert alice.texts("friends") == ["we are two"]
    assert bob.client.chat(gid).view().people == ["alice", "bob"]
    assert alice.client.status().left_behind == []
    await alice.client.caught_up()


async def test_member_whose_relay_died_with_the_commit_is_helped_back(world: World) -> None:
    new, third = world.add_relay("FR"), world.add_relay("DE")
    alice = await world.person("alice")
    bob = await world.person("bob", relay=third)
    await world.meet(alice, bob)
    gid = await world.group("family", alice, bob)
    await bob.sleep()
    await alice.client.home.exit(str(new.address))
    await world.settle()
    world.network.cut(world.relay.address)
    alice.say("family", "without you")
    bob.wake()
    await world.pass_time(60)
    assert bob.texts("family") == []
    bob.say("family", "I can still speak")
    await world.pass_time(CUT_OFF_MS / 1000 + 300)
    assert bob.texts("family") == alice.texts("family") != []
    assert sorted(bob.texts("family")) == ["I can still speak", "without you"]
    assert bob.client.chat(gid).view().state == "active"
    assert bob.client.chat(gid).view().region == "FR"
    assert bob.client.chat(gid).view().epoch == alice.client.chat(gid).view().epoch
    alice.say("family", "welcome back")
    alice.say("bob", "here too")
    await world.pass_time(BEAT_S)
    assert bob.texts("family")[-1] == "welcome back"
    await world.pass_time(CUT_OFF_MS / 1000 + 300)
    assert bob.texts("alice") == ["here too"]


async def test_of_a_group_on_a_dead_relay_it_is_said_that_it_cannot_change(world: World) -> None:
    alice, bob, carol, new = await apart(world)
    own = await world.group("own", alice, bob)
    world.network.cut(world.relay.address)
    await alice.client.home.exit(str(new.address))
    await world.pass_time(BEAT_S)
    assert alice.client.status().left_behind == ["bob", "carol", "own"]
    alice.client.chat(own).add(["carol"])
    bob.say("own", "we talk on")
    await world.pass_time(BEAT_S)
    assert alice.texts("own") == ["we talk on"]
    assert carol.client.contacts()
    await alice.client.flushed()  # this does not wait for rows for the dead relay
    world.network.away.clear()
    await world.pass_time(BEAT_S)
    await world.settle()
    assert alice.client.status().left_behind == []
    assert bob.client.chat(own).view().people == ["alice", "bob", "carol"]
    assert bob.client.chat(own).view().region == "FR"


async def test_member_who_claims_that_others_went_on_costs_a_question(world: World) -> None:
    new, third = world.add_relay("FR"), world.add_relay("DE")
    alice = await world.person("alice", relay=third)
    bob = await world.person("bob", relay=new)
    await world.meet(alice, bob)
    gid = await world.group("family", alice, bob)
    world.network.cut(third.address)
    epoch = bob.client.chat(gid).view().epoch
    with bob.client._unit() as unit:
        bob.db.execute("INSERT INTO early (gid, data) VALUES (?, x'')", (gid,))
        bob.rules.conversations.roster.look_soon(unit, gid, at=world.now())
    await world.pass_time(60)
    assert bob.client.chat(gid).view().state == "active"
    bob.say("family", "nothing has happened")
    world.network.away.clear()
    await world.pass_time(BEAT_S)
    assert bob.client.chat(gid).view().epoch == epoch
    assert alice.texts("family") == ["nothing has happened"]
    assert bob.one("SELECT count(*) FROM comeback") == 0


# Regions


async def test_strict_person_has_home_and_fallback_in_one_region(world: World) -> None:
    alice = await world.person("alice")
    german, iranian = world.add_relay("DE"), world.add_relay("IR")
    alice.client.home.set_strict(is_strict=True)
    with pytest.raises(RegionsDiffer):
        await alice.client.home.set_fallback(str(german.address))
    assert alice.client.status().fallback == ""
    await alice.client.home.set_fallback(str(iranian.address))
    with pytest.raises(RegionsDiffer):
        await alice.client.home.exit(str(german.address))
    assert alice.client.status().region == "IR"
    await alice.client.home.exit(str(german.address), fallback="")
    assert alice.client.status().region == "DE"


async def test_homes_in_two_regions_are_not_called_strict(world: World) -> None:
    alice = await world.person("alice", fallback=world.add_relay("DE"))
    with pytest.raises(RegionsDiffer):
        alice.client.home.set_strict(is_strict=True)
    assert not alice.client.home.is_strict
    another = world.add_relay("DE")
    await alice.client.home.exit(str(another.address), is_strict=True)
    assert alice.client.home.is_strict


async def test_home_is_only_where_the_person_allows(world: World) -> None:
    alice = await world.person("alice")
    german, french = world.add_relay("DE"), world.add_relay("FR")
    assert alice.client.home.allowed_regions == frozenset({"IR"})
    await alice.client.home.exit(
        str(german.address)
    )  # nothing was said of regions: their own choice
    assert alice.client.home.allowed_regions == frozenset({"DE"})
    alice.client.home.set_allowed_regions(["DE", "IR"])
    with pytest.raises(RegionNotAllowed):
        await alice.client.home.exit(str(french.address))
    with pytest.raises(RegionNotAllowed):
        await alice.client.home.set_fallback(str(french.address))
    await alice.sleep()
    alice.wake()
    assert alice.client.home.allowed_regions == frozenset({"DE", "IR"})
    alice.client.home.set_allowed_regions(None)
    await alice.client.home.exit(str(french.address))
    assert alice.client.home.allowed_regions is None
    for nonsense in ([], ["Germany"], [""]):
        with pytest.raises(BadArgument):
            alice.client.home.set_allowed_regions(nonsense)


async def test_home_relay_is_no_place_to_exit_to(world: World) -> None:
    alice = await world.person("alice")
    with pytest.raises(BadArgument):
        await alice.client.home.exit(str(world.relay.address))
    assert alice.client.status().former == []


async def test_conversation_says_where_its_data_rests(world: World) -> None:
    alice, bob, _, new = await apart(world)
    view = alice.client.chat(alice.gid("all")).view()
    assert (view.region, view.inbound_region, view.outbound_regions) == ("DE", "IR", ["DE"])
    await alice.client.home.exit(str(new.address))
    await world.settle()
    assert alice.client.chat(alice.gid("all")).view().inbound_region == "FR"
    view = bob.client.chat(bob.gid("all")).view()
    assert (view.region, view.inbound_region, view.outbound_regions) == ("DE", "DE", ["DE", "FR"])


# In bad weather


async def test_cells_of_a_chain_that_was_not_known_yet_are_heard_after_an_exit(
    world: World,
) -> None:
    alice, bob, _, new = await apart(world)
    gid, bucket = alice.gid("bob"), alice.bucket
    drop, epoch = alice.epoch_place(gid).drop, alice.client.chat(gid).view().epoch
    shelf = world.relay.epoch_shelf(drop)
    empty = Shelf(shelf.append_hash, shelf.read_hash, shelf.retention_days, shelf.digests[:1])
    # The Commit is not shown to alice yet.
    world.relay.faces["alice", drop.drop_id] = empty
    refresh(bob, gid)
    await world.pass_time(5)
    assert bob.client.chat(gid).view().epoch == epoch + 1
    bob.say("alice", "by the chain that begins with it")
    await world.pass_time(5)
    # The cell was read and not recognised, and no memory of it survives a start.
    await alice.sleep()
    del world.relay.faces["alice", drop.drop_id]
    # Until the exit is done, no answer to a Read of the old bucket comes.
    world.network.ignores = lambda one: isinstance(one, wire.Read) and one.drop_id == bucket
    alice.wake()
    await world.pass_time(5)
    assert alice.client.chat(gid).view().epoch == epoch + 1
    await alice.client.home.exit(str(new.address))
    world.network.ignores = lambda _: False
    assert alice.texts("bob") == []
    await world.pass_time(BEAT_S + 60)
    assert alice.texts("bob") == ["by the chain that begins with it"]
    assert not alice.warnings()


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(rounds(2, 20)))
async def test_exits_between_deaths_in_bad_weather_lose_and_double_nothing(
    world: World, seed: int
) -> None:
    world.rng.seed(seed)
    relays = [world.relay, *(world.add_relay(region) for region in ("DE", "FR", "NL"))]
    people = await world.friends("alice", "bob", "carol", "dave")
    await world.group("all", *people)
    await world.group("some", *people[:2])
    history = History(world, people)
    for _ in range(3):
        world.network.weather = STORM
        for _ in range(2):
            for _ in range(8):
                await history.happen(world.rng.choice(people))
            person = world.rng.choice(people)
            there = world.rng.choice(relays)
            with contextlib.suppress(Died, UsageError, RelayUnreachable):
                await person.client.home.exit(str(there.address))
            await world.pass_time(world.rng.uniform(0, 5))
        # A person who leaves a bucket does not read it again for a chain they did not know yet.
        await history.round(0, more_s=BEAT_S + 60)
    # The others may all have failed.
    await people[0].client.home.exit(str(world.add_relay("SE").address))
    await world.pass_time(BEAT_S)
    await world.settle()
    assert {name for person in people for name in person.client.status().unaware} == set()
    assert [former for person in people for former in person.client.status().former]


# Covered


async def of_three_operators(world: World) -> tuple[Person, Person]:
    """Alice and bob, whose homes and fallbacks are three relays, each of them a hop."""
    first, second = world.two_operators()
    third = world.add_relay("FR")
    third.operator, third.is_hop = "a third", True
    alice = await world.person("alice", relay=first, fallback=second)
    bob = await world.person("bob", relay=second, fallback=third)
    await world.meet(alice, bob)
    return alice, bob


def assert_one_cell_each_period(world: World, name: str, begin: float) -> None:
    """Assert that each of two hops got one cell in each whole period of 30 seconds since then."""
    sent = [at for at, who, verb, _ in world.network.lines if (who, verb) == (name, "Cover")]
    periods = Counter(int(at // 30) for at in sent)
    whole = range(int(begin // 30) + 1, int(world.network.clock() // 30))
    assert [periods[number] for number in whole] == [2] * len(whole)


async def test_covered_person_exits_and_a_cell_leaves_in_each_period_still(world: World) -> None:
    alice, bob = await of_three_operators(world)
    first, third = world.relay, world.network.relay_with(bob.rules.me.homes[1].relay)
    with alice.acting():
        await alice.client.hopping.set_cover(30)
    await world.pass_time(60)
    world.network.cut(first.address)
    with alice.acting():
        await alice.client.home.exit(str(third.address))
    await world.pass_time(60)
    world.network.lines.clear()
    begin = world.network.clock()
    bob.say("alice", "where are you?")
    await world.pass_time(600)
    alice.say("bob", "here")
    await world.pass_time(300)
    assert alice.texts("bob") == bob.texts("alice") == ["where are you?", "here"]
    assert alice.client.status().transport == "covered"
    assert alice.client.status().unaware == []
    assert_one_cell_each_period(world, "alice", begin)
