"""Only a unit of work writes, and memory beside the vault goes back with one that fails."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from amanat.client.follow import HearEarly, WentOn
from amanat.client.rules import roster
from amanat.client.unit import Memory, Unit
from amanat.client.vault import Unlock, Vault, create, open_vault
from amanat.drill.person import Person
from amanat.drill.world import World

UNLOCK = Unlock(key=bytes(32))


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Vault]:
    create(tmp_path / "profile", UNLOCK, lambda unit, _: unit.put("kept", b"before"), now=0)
    found = open_vault(tmp_path / "profile", UNLOCK)
    yield found
    found.close()


@pytest.mark.parametrize(
    "statement",
    ["DELETE FROM meta", "UPDATE meta SET value = x''", "WITH x AS (SELECT 1) SELECT 1"],
)
def test_a_reader_cannot_write(opened: Vault, statement: str) -> None:
    with pytest.raises(TypeError):
        opened.read.execute(statement)
    with opened.unit(now=0), pytest.raises(TypeError):
        opened.read.execute(statement)
    assert opened.get("kept") == b"before"


def test_a_unit_that_has_ended_writes_nothing(opened: Vault) -> None:
    with opened.unit(now=0) as unit:
        unit.put("kept", b"within")
    with pytest.raises(RuntimeError):
        unit.put("kept", b"after")
    assert opened.get("kept") == b"within"


def failing(vault: Vault, work: Callable[[Unit], None]) -> None:
    """Run a unit that does this work and fails."""
    with pytest.raises(ZeroDivisionError), vault.unit(now=0) as unit:  # noqa: PT012  # at its end
        work(unit)
        raise ZeroDivisionError


def test_memory_is_as_it_was_before_a_unit_that_failed(opened: Vault) -> None:
    memory: Memory[str, int] = opened.memory()
    with opened.unit(now=0):
        memory.update({"stays": 1, "goes": 2, "changes": 3})

    def work(_: Unit) -> None:
        del memory["goes"]
        memory["changes"] = 4
        memory["changes"] = 5
        memory["comes"] = 6
        memory["stays"] = memory.pop("comes")

    failing(opened, work)
    assert dict(memory) == {"stays": 1, "goes": 2, "changes": 3}
    with opened.unit(now=0) as unit:
        work(unit)
    failing(opened, lambda _: memory.clear())
    assert dict(memory) == {"stays": 6, "changes": 5}


CACHES = {
    "Chains._claims",
    "Chains._labels",
    "Chains._past",
    "Chains._windows",
    "Cursors._passed",  # these facts hold for other people's cells, whatever becomes of a unit
    "Cursors._recent",
    "Cursors._taken",
    "Pairs._pairs",  # its contents are a function of two keys
    "Roster._groups",
    "Places._newest",
    "Sending._down_since",  # what links have shown of relays, whatever becomes of a unit
}
"""Caches of the vault's content that rules read again. All other memory of theirs is a
`Memory`."""


def rules_of(person: Person) -> list[object]:
    found = list[object]()
    todo: list[object] = [
        part for part in person.rules if hasattr(part, "__dict__") and is_rule(part)
    ]
    while todo:
        one = todo.pop()
        if one not in found:
            found.append(one)
            todo += [v for v in vars(one).values() if hasattr(v, "__dict__") and is_rule(v)]
    return found


def is_rule(value: object) -> bool:
    module = type(value).__module__
    return (
        module.startswith("amanat.client.")
        and not module.startswith(("amanat.client.shell.", "amanat.client.sdk."))
        and module not in ("amanat.client.unit", "amanat.client.vault")
    )


async def test_what_rules_remember_is_a_memory_or_read_again(world: World) -> None:
    (alice,) = await world.friends("alice")
    found = {
        f"{type(rule).__name__}.{name}"
        for rule in rules_of(alice)
        for name, value in vars(rule).items()
        if isinstance(value, (dict, set, list, deque))
    }
    assert found <= CACHES
    assert len(rules_of(alice)) > 12


async def test_every_cache_is_read_again_after_a_unit_that_failed(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    gid = await world.group("garden", alice, bob)
    talk, chains, client = alice.rules.conversations, alice.rules.chains, alice.client
    cursors = client._run.parts.cursors

    def work(unit: Unit) -> None:
        talk.roster._groups[gid] = talk.roster._groups[gid]._replace(people=[])
        chains._known().clear()
        chains._windows.clear()
        cursors._taken[bytes(16)] = cursors._cursor(bytes(16))
        client._run.parts.places._newest[bytes(32)] = 1
        client._me.homes.clear()
        client._me.former.append(client._me.buckets[0] if client._me.buckets else homes[0])
        unit.put("home", b"nowhere")

    group, labels, homes = talk.roster.group(gid), set(chains._known()), client._me.homes[:]
    failing(alice.vault, work)
    assert talk.roster.group(gid) == group
    assert set(chains._known()) == labels
    assert not cursors._taken
    assert bytes(32) not in client._run.parts.places._newest
    assert (client._me.homes, client._me.former) == (homes, [])


async def test_every_memory_of_the_rules_goes_back_with_a_unit_that_failed(world: World) -> None:
    (alice,) = await world.friends("alice")
    memories = {
        f"{type(rule).__name__}.{name}": value
        for rule in rules_of(alice)
        for name, value in vars(rule).items()
        if isinstance(value, Memory)
    }
    for memory in memories.values():
        before = dict(memory)

        def work(_: Unit, memory: Memory[object, object] = memory) -> None:
            memory[b"key"] = 1

        failing(alice.vault, work)
        assert dict(memory) == before
    assert len(memories) >= 6


async def test_what_follows_is_done_within_the_unit_and_in_the_order_of_calls(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (alice,) = await world.friends("alice")
    talk, done = alice.rules.conversations, list[bytes]()

    def hear_early(unit: Unit, gid: bytes) -> None:
        done.append(gid)
        unit.follow(WentOn(b"of what was heard"))

    monkeypatch.setattr(talk.hearing, "_hear_early", hear_early)
    monkeypatch.setattr(talk.commits, "went_on", lambda _, gid: done.append(gid))
    with alice.client._unit() as unit:
        unit.follow(HearEarly(b"first"))
        unit.follow(WentOn(b"then"))
        assert not done
    assert done == [b"first", b"of what was heard", b"then"]


def test_what_a_reader_remembers_is_forgotten_with_each_unit(opened: Vault) -> None:
    query = "SELECT value FROM meta WHERE key = 'again'"
    assert opened.read.all(query) == []
    with opened.unit(now=0) as unit:
        unit.put("again", b"1")
        assert opened.read.all(query) == [(b"1",)]
    assert opened.read.all(query) == [(b"1",)]

    def fails(unit: Unit) -> None:
        unit.put("again", b"2")
        assert opened.read.all(query) == [(b"2",)]

    failing(opened, fails)
    assert opened.read.all(query) == [(b"1",)]


async def test_a_client_in_which_nothing_happens_reads_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roster, "LOOK_EVERY_MS", 86_400_000)
    monkeypatch.setattr(world, "tick_s", 20.0)
    alice, _ = await world.friends("alice", "bob")
    await world.pass_time(6_000)
    read: list[str] = []
    with alice.acting():
        alice.client._vault._db.set_trace_callback(read.append)
    await world.pass_time(200)
    assert read == []


async def test_a_look_that_finds_nothing_writes_when_it_begins_and_when_it_ends(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world, "tick_s", 20.0)
    alice, _ = await world.friends("alice", "bob")
    await world.pass_time(6_000)  # keys were renewed, so there are several drops to read
    assert len(alice.rules.conversations.epochs.epoch_drops(alice.gid("bob"))) > 1
    written: list[str] = []
    with alice.acting():
        alice.client._vault._db.set_trace_callback(written.append)
    await world.pass_time(roster.LOOK_EVERY_MS / 1000)
    assert written.count("COMMIT") == 2
