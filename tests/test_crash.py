"""A process that dies at any moment of any step, and is started again, loses and doubles nothing.

Each test goes through one step of one person again and again; every time the process lives a little
longer, until it lives through all of it: by one moment in `make soak`, and by three in an ordinary
run. No label is ever sent with different bytes (`World` checks
this), and in the end all agree.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from amanat.client.rules import commits, wishes
from amanat.client.sdk.views import Message
from amanat.drill.death import Died
from amanat.drill.person import Person
from amanat.drill.world import World
from figures import every

pytestmark = [pytest.mark.long, pytest.mark.campaign]

MOMENTS = every(5)
"""Moments by which a process lives longer each time: an odd number, because a fuse burns down once
before each COMMIT and once after it."""


async def live_ever_longer(
    world: World,
    mortal: Person,
    step: Callable[[int], Awaitable[None]],
    *,
    is_coarse: bool = True,
    restore: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Go through `step` dying ever later, until `mortal` lives through it. The step gets the number
    of the try, from 1 on."""
    for number in range(1, 1000):
        before = mortal.deaths
        mortal.die_after(moment_of(number), is_coarse=is_coarse)
        await step(number)
        mortal.fuse.left = None
        if mortal.deaths == before:
            assert number > 1
            return
        if restore is not None:
            await restore()
    raise AssertionError("it never ends")


def moment_of(number: int) -> int:
    """The moment at which the process dies in the try with this number."""
    return 1 + (number - 1) * MOMENTS


async def do(world: World, act: Callable[[], object], *, is_done: Callable[[], bool]) -> None:
    """Act, and act again if death came before the act counted."""
    try:
        act()
    except Died:
        await world.settle()
        if not is_done():
            act()
    await world.settle()


def agree(people: list[Person], gid: bytes) -> None:
    """All see the same group and the same texts, and nothing is amiss."""
    groups = [person.rules.conversations.roster.group(gid) for person in people]
    assert len({group.view.epoch_authenticator for group in groups}) == 1
    assert len({group.view.policy for group in groups}) == 1
    texts = [[m.text for m in person.client.chat(gid).messages()] for person in people]
    assert all(shown == texts[0] for shown in texts)
    assert len(set(texts[0])) == len(texts[0])
    assert not any(person.warnings() for person in people)


@pytest.mark.parametrize("where", ["bob", "family"])
async def test_dying_while_sending(world: World, where: str) -> None:
    people = await world.friends("alice", "bob", "carol")
    await world.group("family", *people)
    alice, bob, _ = people
    gid = alice.gid(where)

    async def step(number: int) -> None:
        await do(
            world,
            lambda: alice.client.chat(gid).send(f"text {number}"),
            is_done=lambda: alice.client.chat(gid).count() == number,
        )
        assert [m.text for m in bob.client.chat(gid).messages()][-1] == f"text {number}"

    await live_ever_longer(world, alice, step, is_coarse=False)
    agree([alice, bob], gid)


async def test_dying_while_receiving(world: World) -> None:
    people = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", *people)
    alice, bob, carol = people

    async def step(number: int) -> None:
        for sender in (alice, carol):
            sender.client.chat(gid).send(f"text {number} of {sender.name}")
        await world.settle()
        assert bob.client.chat(gid).count() == 2 * number

    await live_ever_longer(world, bob, step, is_coarse=False)
    agree(people, gid)


@pytest.mark.parametrize("mortal", ["alice", "bob"])
async def test_dying_while_a_text_is_edited_and_another_deleted(world: World, mortal: str) -> None:
    alice, bob = await world.friends("alice", "bob")
    gid = alice.gid("bob")

    async def step(number: int) -> None:
        await do(
            world,
            lambda: alice.client.chat(gid).send(f"text {number}"),
            is_done=lambda: alice.client.chat(gid).count() == number,
        )

        def last() -> Message:
            return alice.client.chat(gid).messages()[-1]

        await do(
            world,
            lambda: alice.client.chat(gid).edit(last().id, f"edited {number}"),
            is_done=lambda: last().is_edited,
        )
        if number % 2:
            await do(
                world,
                lambda: alice.client.chat(gid).delete([last().id]),
                is_done=lambda: last().is_deleted,
            )
        seen = [
            [(m.id, m.text, m.is_edited, m.is_deleted) for m in person.client.chat(gid).messages()]
            for person in (alice, bob)
        ]
        assert seen[0] == seen[1]
        assert len(seen[0]) == number
        assert seen[0][-1][1] == ("" if number % 2 else f"edited {number}")

    await live_ever_longer(world, world.people[mortal], step, is_coarse=False)
    assert not alice.warnings()
    assert not bob.warnings()


async def test_dying_while_confirming(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    gid = alice.gid("bob")

    async def step(number: int) -> None:
        alice.client.chat(gid).send(f"text {number}")
        await world.settle()
        await world.pass_time(61)
        await world.settle()
        assert alice.client.chat(gid).messages()[-1].state == "delivered"

    await live_ever_longer(world, bob, step, is_coarse=False)
    agree([alice, bob], gid)


@pytest.mark.parametrize("mortal", ["alice", "bob"])
async def test_dying_while_meeting(world: World, mortal: str) -> None:
    alice, bob = await world.person("alice"), await world.person("bob")

    async def step(_: int) -> None:
        links: list[str] = []
        await do(world, lambda: links.append(alice.client.invite()), is_done=lambda: bool(links))
        known = "SELECT (SELECT count(*) FROM knock) + (SELECT count(*) FROM contact)"
        await do(
            world,
            lambda: bob.client.accept(links[-1], "hello"),
            is_done=lambda: bool(bob.one(known)),
        )
        gid = alice.gid("bob")
        for person in (alice, bob):
            await do(
                world,
                lambda person=person: person.client.chat(gid).send(person.name),  # type: ignore[misc]
                is_done=lambda person=person: (
                    person.name  # type: ignore[misc]
                    in [m.text for m in person.client.chat(gid).messages()]
                ),
            )
        assert bob.texts("alice") == ["hello", "alice", "bob"]
        agree([alice, bob], gid)
        for person in (alice, bob):
            assert person.one("SELECT count(*) FROM their_key_package") == 2

    await live_ever_longer(world, world.people[mortal], step, restore=await world.save())


@pytest.mark.parametrize("mortal", ["alice", "bob"])
async def test_dying_while_a_group_is_made(world: World, mortal: str) -> None:
    people = await world.friends("alice", "bob", "carol")
    alice, bob, _ = people

    async def step(_: int) -> None:
        await do(
            world,
            lambda: alice.client.create_group("family", ["bob", "carol"]),
            is_done=lambda: "family" in [view.name for view in alice.client.conversations()],
        )
        gid = alice.gid("family")
        assert bob.client.chat(gid).view().people == ["alice", "bob", "carol"]
        agree(people, gid)

    await live_ever_longer(world, world.people[mortal], step, restore=await world.save())


@pytest.mark.parametrize("mortal", ["alice", "bob"])
async def test_dying_while_a_commit_wins(world: World, mortal: str) -> None:
    people = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", *people)
    alice = people[0]

    async def step(number: int) -> None:
        name = f"name {number}"
        await do(
            world,
            lambda: alice.client.chat(gid).rename(name),
            is_done=lambda: alice.client.chat(gid).view().name == name,
        )
        assert [p.client.chat(gid).view().name for p in people] == [name] * 3
        assert alice.client.chat(gid).view().epoch == number + 1

    await live_ever_longer(world, world.people[mortal], step)
    agree(people, gid)


async def test_dying_while_a_commit_loses(world: World) -> None:
    people = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", *people)
    alice, bob, _ = people
    alice.client.chat(gid).set_admin("bob")
    await world.settle()

    async def step(number: int) -> None:
        alice.fuse.left = None
        await alice.sleep()
        bob.client.chat(gid).rename(f"bob's {number}")
        await world.settle()
        alice.client.chat(gid).rename(f"alice's {number}")
        alice.die_after(moment_of(number), is_coarse=True)
        alice.wake_to_die()
        await world.settle()
        assert [p.client.chat(gid).view().name for p in people] == [f"alice's {number}"] * 3
        assert alice.client.chat(gid).view().epoch == 2 * number + 2

    await live_ever_longer(world, alice, step)
    agree(people, gid)


@pytest.mark.parametrize("mortal", ["bob", "carol"])
async def test_dying_while_somebody_leaves(
    world: World, monkeypatch: pytest.MonkeyPatch, mortal: str
) -> None:
    for module in (commits, wishes):
        monkeypatch.setattr(module, "LEAVE_TURN_MS", 1000)
    people = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", *people)
    alice, bob, carol = people
    await alice.sleep()

    async def step(_: int) -> None:
        await do(
            world,
            lambda: bob.client.chat(gid).leave(),
            is_done=lambda: bob.client.chat(gid).view().state != "active",
        )
        assert bob.client.chat(gid).view().state == "left"
        alice.wake()
        await world.settle()
        assert alice.client.chat(gid).view().people == ["alice", "carol"]
        agree([alice, carol], gid)
        alice.is_awake = False

    await live_ever_longer(world, world.people[mortal], step, restore=await world.save())
