"""Conversations under bad timing: people join, go or come back while others talk."""

from __future__ import annotations

import pytest

from amanat.drill.network import Weather
from amanat.drill.world import World
from amanat.errors import NotAdmin, RelayBusy
from amanat.protocol import wire


@pytest.mark.long
async def test_member_put_out_and_asked_back_while_away_is_in(world: World) -> None:
    alice, _, carol = people = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", *people)
    await carol.sleep()
    alice.client.chat(gid).remove("carol")
    await world.settle()
    alice.client.chat(gid).add(["carol"])
    await world.settle()
    carol.wake()
    await world.settle()
    assert carol.client.chat(gid).view().people == ["alice", "bob", "carol"]
    assert not carol.warnings()


async def test_knocker_away_when_let_in_misses_nothing(world: World) -> None:
    alice, bob = await world.person("alice"), await world.person("bob")
    bob.client.accept(alice.client.invite())
    while bob.one("SELECT count(*) FROM outbox"):
        await world.pass_time(0.0001)
    await bob.sleep()
    await world.settle()
    alice.say("bob", "welcome")
    await world.settle()
    bob.wake()
    await world.settle()
    assert bob.texts("alice") == ["welcome"]


async def test_nothing_goes_ahead_of_a_welcome_that_a_relay_puts_off(world: World) -> None:
    alice, bob = await world.person("alice"), await world.person("bob")
    bob.client.accept(alice.client.invite())
    while bob.one("SELECT count(*) FROM outbox"):
        await world.pass_time(0.0001)
    first: list[wire.Append] = []

    def puts_off(append: wire.Append, who: str) -> bool:
        if who == "alice":
            first.append(append)
            if len(first) == 1:
                raise RelayBusy(retry_after=3.0)
        return False

    world.relay.forgets = puts_off
    await world.settle()
    assert first[0].cell == first[1].cell
    assert alice.one("SELECT count(*) FROM their_key_package") == 2
    assert bob.one("SELECT count(*) FROM their_key_package") == 2


@pytest.mark.long
async def test_new_member_misses_nothing_said_since_the_commit(world: World) -> None:
    alice, bob, carol = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", alice, bob)
    await carol.sleep()
    alice.client.chat(gid).add(["carol"])
    await world.settle()
    bob.say("family", "hello carol")
    await world.settle()
    carol.wake()
    await world.settle()
    assert carol.texts("family") == ["hello carol"]


@pytest.mark.long
async def test_member_away_misses_nothing_a_new_member_says(world: World) -> None:
    alice, bob, carol = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", alice, bob)
    await bob.sleep()
    alice.client.chat(gid).add(["carol"])
    await world.settle()
    carol.say("family", "hello bob")
    await world.settle()
    bob.wake()
    await world.settle()
    assert bob.texts("family") == ["hello bob"]


@pytest.mark.long
async def test_new_member_who_joins_while_others_talk_misses_nothing(world: World) -> None:
    alice, bob, carol = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", alice, bob)
    await carol.sleep()
    alice.client.chat(gid).add(["carol"])
    await world.settle()
    world.relay.page = 10
    world.network.weather = Weather(delay_s=0.3)
    for number in range(150):
        bob.client.chat(gid).send(f"text {number}")
        await world.pass_time(0.03)
        if number == 100:
            carol.wake()
    await world.settle()
    assert carol.texts("family") == [f"text {number}" for number in range(150)]
    assert not carol.warnings()


@pytest.mark.long
async def test_text_written_many_epochs_ago_arrives(world: World) -> None:
    alice, bob, carol = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", alice, bob, carol)
    await carol.sleep()
    carol.say("family", "written on the way")
    for number in range(4):
        alice.client.chat(gid).rename(f"name {number}")
        await world.settle()
    carol.wake()
    await world.settle()
    assert [
        m.text for m in bob.client.chat(gid).messages()
    ] == []  # nobody has that epoch's keys any longer
    await world.pass_time(200)
    await world.settle()
    assert [m.text for m in bob.client.chat(gid).messages()] == ["written on the way"]


@pytest.mark.long
async def test_members_may_do_what_admins_let_them(world: World) -> None:
    alice, bob, carol = people = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", alice, bob)
    with pytest.raises(NotAdmin):
        bob.client.chat(gid).add(["carol"])
    alice.client.chat(gid).set_roles({"may_add": "members", "may_rename": "members"})
    await world.settle()
    bob.client.chat(gid).add(["carol"])
    await world.settle()
    carol.client.chat(gid).rename("all of us")
    await world.settle()
    assert {p.client.chat(gid).view().name for p in people} == {"all of us"}
    assert carol.client.chat(gid).view().people == ["alice", "bob", "carol"]
    with pytest.raises(NotAdmin):
        carol.client.chat(gid).remove("bob")
    with pytest.raises(NotAdmin):
        carol.client.chat(gid).set_roles({"may_remove": "members"})
    alice.client.chat(gid).set_roles({"may_rename": "admins"})
    await world.settle()
    with pytest.raises(NotAdmin):
        carol.client.chat(gid).rename("mine")


@pytest.mark.long
async def test_keys_of_a_leaf_are_refreshed_after_joining_and_weekly_while_people_speak(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world, "tick_s", 900.0)
    alice, bob = await world.friends("alice", "bob")
    gid = alice.gid("bob")
    first = alice.client.chat(gid).view().epoch
    await world.pass_time(2 * 3600)
    await world.settle()
    assert (
        alice.client.chat(gid).view().epoch == bob.client.chat(gid).view().epoch == first + 1
    )  # bob's
    await world.pass_time(12 * 86_400)
    quiet = alice.client.chat(gid).view().epoch
    assert quiet <= first + 2  # alice's own, and nothing more: nobody spoke
    alice.say("bob", "hello")
    bob.say("alice", "hello")
    await world.pass_time(12 * 86_400)
    await world.settle()
    assert alice.client.chat(gid).view().epoch == bob.client.chat(gid).view().epoch
    assert quiet + 2 <= alice.client.chat(gid).view().epoch <= quiet + 4
    assert not alice.warnings()
    assert not bob.warnings()
