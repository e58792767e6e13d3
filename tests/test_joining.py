"""Coming into a group: what somebody says of it is theirs alone, and takes nobody else's place."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

from amanat.protocol import codec
from amanat.protocol.messages import FileRef, Kind, WelcomeRef

if TYPE_CHECKING:
    import pytest

    from amanat.drill.world import Person, World


def announce(world: World, who: Person, whom: str, gid: bytes) -> None:
    """Announce a Welcome into a group to a contact; nothing rests where it is said to rest."""
    file = FileRef(str(world.relay.address), "IR", os.urandom(32), 100, os.urandom(32))
    ref = WelcomeRef(gid, file, "family", bytes(32))
    with who.client._unit():
        who.client._conversations._say(
            who.gid(whom), Kind.WELCOME, codec.encode(ref), now=world.now()
        )


async def test_welcome_that_leads_nowhere_takes_nobody_elses_place(world: World) -> None:
    bob, carol, mallory = await world.friends("bob", "carol", "mallory")
    gid = await world.group("family", bob)
    announce(world, mallory, "carol", gid)
    await world.pass_time(5)
    await carol.sleep()
    bob.client.add(gid, ["carol"])
    await world.settle()
    announce(world, mallory, "carol", gid)
    await world.settle()
    carol.wake()
    await world.pass_time(60)
    assert carol.client.view(gid).people == ["bob", "carol"]
    assert carol.client.view(gid).added_by == "bob"
    announce(world, mallory, "carol", gid)
    bob.client.send(gid, "welcome")
    await world.pass_time(60)
    assert [m.text for m in carol.client.messages(gid)] == ["welcome"]


async def test_welcome_is_looked_for_where_its_sender_has_said_last(world: World) -> None:
    bob, carol = await world.friends("bob", "carol")
    gid = await world.group("family", bob)
    announce(world, bob, "carol", gid)
    await world.pass_time(120)
    bob.client.add(gid, ["carol"])
    await world.settle()
    assert carol.client.view(gid).people == ["bob", "carol"]
    assert not carol.warnings()


async def test_rightful_group_is_joined_once_one_of_the_same_id_was_left(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob, carol, mallory = await world.friends("bob", "carol", "mallory")
    gid = await world.group("family", bob)
    with monkeypatch.context() as changed:  # an id is whatever a group's founder says
        changed.setattr(secrets, "token_bytes", lambda _: gid)
        view = mallory.client.create_group("family", [])
    assert view.gid == gid
    mallory.client.add(gid, ["carol"])
    await world.settle()
    assert carol.client.view(gid).people == ["carol", "mallory"]
    bob.client.add(gid, ["carol"])
    await world.pass_time(60)
    assert carol.client.view(gid).people == ["carol", "mallory"]
    assert carol.warnings() == ["invalid-welcome"]
    assert carol.client.view(gid).added_by == "mallory"
    carol.client.leave(gid)
    await world.pass_time(120)
    assert carol.client.view(gid).people == ["bob", "carol"]
    bob.client.send(gid, "welcome")
    await world.settle()
    assert "welcome" in [m.text for m in carol.client.messages(gid)]
    assert carol.warnings() == ["invalid-welcome"]


async def test_welcome_of_whoever_was_blocked_meanwhile_is_not_looked_for(world: World) -> None:
    carol, mallory = await world.friends("carol", "mallory")
    announce(world, mallory, "carol", os.urandom(16))
    await world.pass_time(60)
    assert carol.one("SELECT count(*) FROM joining") == 1
    carol.client.block("mallory")
    assert carol.one("SELECT count(*) FROM joining") == 0
