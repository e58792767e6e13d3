"""Two addresses: a relay that is away stops nobody."""

from __future__ import annotations

import pytest

from amanat.drill.person import Person
from amanat.drill.world import World
from amanat.errors import BadArgument, RelayBusy


async def pair(world: World, *, fallback: bool = True) -> tuple[Person, Person]:
    """Alice at one relay, bob at a second with a third to fall back to."""
    second = world.add_relay("DE")
    third = world.add_relay("FR")
    alice = await world.person("alice", fallback=third)
    bob = await world.person("bob", relay=second, fallback=third if fallback else None)
    await world.meet(alice, bob)
    return alice, bob


@pytest.mark.long
async def test_messages_go_to_the_fallback_while_the_home_is_away(world: World) -> None:
    alice, bob = await pair(world)
    home = world.network.relay_with(bob.rules.me.home.relay).address
    world.network.cut(home)
    for number in range(30):
        alice.say("bob", f"text {number}")
        await world.pass_time(2)
    await world.pass_time(30)
    assert bob.texts("alice") == [f"text {number}" for number in range(30)]
    assert alice.client.status().away == [str(home)]
    bob.say("alice", "I hear you")
    await world.pass_time(5)
    assert alice.texts("bob")[-1] == "I hear you"
    world.network.away.clear()
    alice.say("bob", "at home again")
    await world.settle()
    assert bob.texts("alice")[-1] == "at home again"
    assert len(bob.texts("alice")) == 32
    assert not alice.client.status().away


async def test_a_home_that_is_away_is_told_even_by_a_client_with_nothing_to_send(
    world: World,
) -> None:
    alice = await world.person("alice")
    home = world.relay.address
    await world.pass_time(5)
    assert alice.client.status().away == []
    world.network.cut(home)
    await world.pass_time(5)
    assert alice.client.status().away == [str(home)]
    world.network.away.clear()
    await world.pass_time(5)
    assert alice.client.status().away == []


async def test_a_person_who_comes_back_with_the_home_away_is_caught_up_from_the_fallback(
    world: World,
) -> None:
    alice, bob = await pair(world)
    await bob.sleep()
    world.network.cut(world.network.relay_with(bob.rules.me.home.relay).address)
    alice.say("bob", "while you were away")
    await world.pass_time(60)
    bob.wake()
    await bob.client.caught_up()
    assert bob.texts("alice") == ["while you were away"]


async def test_cell_that_reached_both_buckets_is_shown_once(world: World) -> None:
    alice, bob = await pair(world)
    relay = world.network.relay_with(bob.rules.me.home.relay)
    alice.say("bob", "once")
    with alice.client._unit():  # the answer of the first relay is lost, and it is gone
        row = alice.db.execute("SELECT * FROM outbox WHERE purpose = 'cell'").fetchone()
    await world.settle()
    marks = ", ".join("?" * len(row))
    with alice.client._unit() as unit:
        alice.db.execute(f"INSERT INTO outbox VALUES ({marks})", row)  # noqa: S608
        alice.rules.outbox.fail_over(unit, relay.address.key)
    await world.settle()
    assert bob.texts("alice") == ["once"]


async def test_new_fallback_is_told_to_everybody_and_used(world: World) -> None:
    alice, bob = await pair(world, fallback=False)
    fourth = world.add_relay("NL")
    await bob.client.home.set_fallback(str(fourth.address))
    await world.settle()
    world.network.cut(world.network.relay_with(bob.rules.me.home.relay).address)
    alice.say("bob", "are you there?")
    await world.pass_time(60)
    assert bob.texts("alice") == ["are you there?"]
    await bob.sleep()
    bob.wake()
    alice.say("bob", "still?")
    await world.pass_time(60)
    assert bob.texts("alice")[-1] == "still?"


async def test_fallback_is_another_relay_than_the_home(world: World) -> None:
    (alice,) = await world.friends("alice")
    with pytest.raises(BadArgument):
        await alice.client.home.set_fallback(str(world.relay.address))


async def test_relay_without_room_is_not_waited_for(world: World) -> None:
    alice, bob = await pair(world)
    relay = world.network.relay_with(bob.rules.me.home.relay)
    relay.refuses = RelayBusy(retry_after=60.0)
    alice.say("bob", "somewhere else then")
    await world.pass_time(30)
    assert bob.texts("alice") == ["somewhere else then"]
