"""People who come back after so long that no cell of their time is left."""

from __future__ import annotations

import os

import pytest

from amanat.client.rules import roster
from amanat.drill.person import Person
from amanat.drill.shelves import Shelf
from amanat.drill.world import World
from amanat.errors import RelayDoubted, RelayLied
from amanat.protocol.cells import MESSAGE_CELL
from amanat.protocol.drops import RETENTION_DAYS
from amanat.relay.drops import DROP_LIFE_DAYS

DAY_S = 86_400
REFRESHED_DAYS = 12
"""Days after the last word in which members still renew their keys (entering.REFRESH_MS)."""


class Calendar:
    """Days pass at a relay that lets cells and drops end as the protocol says."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._days: list[list[tuple[Shelf, int]]] = []
        """For each day, how many cells its drops had held by its end."""

    async def pass_days(self, count: int) -> None:
        relay = self._world.relay
        buckets = list(relay.shelves)[: relay.buckets]
        for _ in range(count):
            await self._world.pass_time(DAY_S)
            self._days.append([(one, len(one.cells)) for one in relay.shelves.values()])
            for retention in RETENTION_DAYS:
                for shelf, head in self._before(retention):
                    if shelf.retention_days == retention:
                        shelf.gone = head
            idle = [shelf for shelf, head in self._before(DROP_LIFE_DAYS) if shelf.gone == head]
            for drop_id, shelf in list(relay.shelves.items()):
                if drop_id not in buckets and any(shelf is one for one in idle):
                    del relay.shelves[drop_id]

    def _before(self, days: int) -> list[tuple[Shelf, int]]:
        """The drops and their heads at the end of a day before the last ones."""
        return self._days[-2 - days] if len(self._days) >= 2 + days else []


def put_junk(world: World, person: Person, gid: bytes) -> None:
    """Put a cell that nobody can open into the drop of the epoch: the drop has a head then."""
    _, drop = person.rules.conversations.epochs.epoch_drops(gid)[-1]
    world.relay.epoch_shelf(drop).add(os.urandom(MESSAGE_CELL))


async def together(world: World, people: list[Person], gid: bytes) -> None:
    """All of them say and change something, and everybody has it."""
    for person in people:
        person.client.chat(gid).send(f"said by {person.name}")
    await world.settle()
    for person in people:
        person.client.chat(gid).rename(f"named by {person.name}")
        await world.settle()
        await world.pass_time(3600)
    for person in people:
        view = person.client.chat(gid).view()
        assert (view.state, view.name) == ("active", f"named by {people[-1].name}")
        person.client.chat(gid).send(f"said by {person.name} in the end")
    await world.settle()
    for person in people:
        last = {message.text for message in person.client.chat(gid).messages()[-len(people) :]}
        assert last == {f"said by {each.name} in the end" for each in people}
    states = [
        person.rules.conversations.roster.group(gid).view.epoch_authenticator for person in people
    ]
    assert len(set(states)) == 1


@pytest.mark.long
@pytest.mark.parametrize("days", [40, 100])
async def test_nobody_blames_a_relay_after_a_long_silence(
    world: World, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    """All cells have expired. The heads of their drops stay, and so everybody knows that something
    was there: of a drop that had ended and began again, those who read it before would say that the
    relay lies."""
    people = await world.friends("alice", "bob", "carol")
    alice, bob, carol = people
    gid = await world.group("family", *people)
    for name in ("bob", "carol"):
        alice.client.chat(gid).set_admin(name)
    await world.settle()
    put_junk(world, alice, gid)
    await world.settle()
    with monkeypatch.context() as rarely:
        rarely.setattr(world, "tick_s", 7200.0)
        rarely.setattr(roster, "LOOK_EVERY_MS", 3 * DAY_S * 1000)
        calendar = Calendar(world)
        await calendar.pass_days(1)
        await carol.sleep()
        await calendar.pass_days(REFRESHED_DAYS)
        await alice.sleep()
        await bob.sleep()
        await calendar.pass_days(days - REFRESHED_DAYS)
    for person in people:
        person.wake()
    await together(world, people, gid)
    told = {code for person in people for code in person.warnings()}
    assert not told & {RelayLied.code, RelayDoubted.code}
