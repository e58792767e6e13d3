"""A warning stays until the person has seen it, whatever else others do."""

from __future__ import annotations

import os

import msgspec
import pytest

from amanat.client.rules import warnings as rules
from amanat.drill.person import Person
from amanat.drill.world import World
from amanat.errors import IdentityChanged, InvalidMessage, RelayLied
from amanat.protocol import wire
from amanat.protocol.messages import Kind


def warn(person: Person, code: str, detail: str = "", *, whom: bytes = b"") -> None:
    with person.client._unit() as unit:
        person.rules.conversations.warnings.warn(unit, None, code, detail, whom=whom)


@pytest.mark.long
async def test_junk_pushes_out_no_warning_of_trust(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "MAX_WARNINGS", 5)
    alice, bob, mallory = people = await world.friends("alice", "bob", "mallory")
    gid = await world.group("g", *people)
    warn(alice, IdentityChanged.code, "Carol")
    for _ in range(4):
        with mallory.client._unit() as unit:
            for _ in range(10):
                mallory.rules.conversations.saying.say(unit, gid, Kind.EDIT, b"junk")
        await world.settle()
    first, junk = alice.client.status().warnings
    assert (first.code, first.detail) == (IdentityChanged.code, "Carol")
    assert (junk.code, junk.whom, junk.conversation) == (InvalidMessage.code, "mallory", "g")
    assert junk.many == 40
    # Even junk in the name of many people pushes none out.
    for number in range(20):
        warn(alice, InvalidMessage.code, whom=number.to_bytes(32, "big"))
    warnings = alice.client.status().warnings
    assert len(warnings) == 1 + 5
    assert warnings[0] == first
    assert [one.many for one in bob.client.status().warnings] == [40]


async def test_a_relay_that_lies_all_the_time_is_told_of_once(world: World) -> None:
    alice, _ = await world.friends("alice", "bob")
    warn(alice, IdentityChanged.code, "Carol")
    real = world.relay.cells

    def lie(request: wire.Read | wire.Follow, *rest: object, **more: object) -> object:
        answer = real(request, *rest, **more)  # type: ignore[arg-type]
        if request.drop_id == alice.bucket and isinstance(answer, wire.Cells):
            return msgspec.structs.replace(answer, before=os.urandom(32))
        return answer

    world.relay.cells = lie  # type: ignore[assignment]
    await alice.client.close()
    alice.open()
    alice.wake()
    await world.pass_time(60)
    told = [one for one in alice.client.status().warnings if one.code == RelayLied.code]
    assert [one.whom for one in told] == [alice.client.status().relay]
    assert told[0].many > 10
    assert IdentityChanged.code in alice.warnings()


async def test_a_warning_that_was_seen_is_given_again(world: World) -> None:
    alice, _ = await world.friends("alice", "bob")
    for _ in range(3):
        warn(alice, InvalidMessage.code)
    assert [one.many for one in alice.client.status().warnings] == [3]
    alice.client.clear_warnings()
    assert alice.warnings() == []
    warn(alice, InvalidMessage.code)
    assert [one.many for one in alice.client.status().warnings] == [1]
