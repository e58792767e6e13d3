"""People whose relay moves: they are told, follow if they allow it, or hold and leave."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from amanat.client.sdk.client import Client
from amanat.client.vault import Unlock
from relays import RelayProcess, run_in_loop
from test_moving import REGION, SOURCE_REGION, Two

UNLOCK = Unlock(key=bytes(32))
pytestmark = pytest.mark.e2e


async def person(directory: Path, name: str, relay: RelayProcess, *others: RelayProcess) -> Client:
    """A person at home at a relay, who has also named others on this machine."""
    client = await Client.create(directory / name, UNLOCK, name=name, relay=str(relay.address))
    for other in others:
        assert await client.home.set_place(str(other.address))
    client.start()
    return client


async def meet(one: Client, other: Client) -> None:
    other.accept(one.invite())
    names = one.status().name, other.status().name
    for client, name in ((one, names[1]), (other, names[0])):
        await until(client, lambda c=client, n=name: n in {x.name for x in c.contacts()})


async def until(client: Client, holds: object) -> None:
    async with asyncio.timeout(30):
        while not holds():  # type: ignore[operator]
            await client.changed()


def texts(client: Client, name: str) -> list[str]:
    return [one.text for one in client.chat(client.conversation(name).gid).messages()]


async def shows(client: Client, name: str, expected: list[str]) -> None:
    try:
        await until(client, lambda: len(texts(client, name)) >= len(expected))
    finally:
        assert texts(client, name) == expected


def say(client: Client, name: str, text: str) -> None:
    client.chat(client.conversation(name).gid).send(text)


def members(client: Client, name: str) -> list[str]:
    return [who for v in client.conversations() if v.name == name for who in v.people]


def test_people_are_moved_while_they_talk(tmp_path: Path) -> None:
    run_in_loop(talk_and_move(tmp_path), patience_s=90)


async def talk_and_move(tmp_path: Path) -> None:
    with Two(tmp_path) as two:
        alice = await person(tmp_path, "alice", two.source, two.destination)
        bob = await person(tmp_path, "bob", two.source, two.destination)
        carol = await person(tmp_path, "carol", two.source, two.destination)
        everyone = (alice, bob, carol)
        await meet(alice, bob)
        await meet(alice, carol)
        group = alice.create_group("all", ["bob", "carol"]).gid
        for client in everyone:
            await until(client, lambda c=client: members(c, "all") == ["alice", "bob", "carol"])
            client.home.set_allowed_regions(None)
        expected: list[str] = []

        async def talk(count: int) -> None:
            for _ in range(count):
                expected.append(f"word {len(expected)}")
                client = everyone[len(expected) % 3]
                client.chat(group).send(expected[-1])
                for other in everyone:
                    await shows(other, "all", expected)

        await talk(4)
        talking = asyncio.create_task(talk(25))
        report = await two.move()
        await talking
        assert report.cells > 0
        to = str(two.destination.address)
        for client in everyone:
            await until(client, lambda c=client: c.status().relay == to)
            assert client.status().region == REGION
        # Everybody learns where everybody is now; then nothing needs the source any longer.
        await talk(3)
        for client in everyone:
            await until(client, lambda c=client: not c.status().unaware)
        two.source.kill()
        await talk(3)
        alice.chat(group).rename("everyone")
        for client in everyone:
            await until(client, lambda c=client: "everyone" in {v.name for v in c.conversations()})
        for client in everyone:
            assert not [one for one in client.status().warnings if one.code != "move-announced"]
            await client.close()


def test_a_person_who_does_not_allow_it_holds_and_can_leave(tmp_path: Path) -> None:
    run_in_loop(hold_and_leave(tmp_path), patience_s=90)


async def hold_and_leave(tmp_path: Path) -> None:
    other = RelayProcess(tmp_path / "other", region=SOURCE_REGION)
    with Two(tmp_path) as two, other:
        alice = await person(tmp_path, "alice", two.source, two.destination, other)
        bob = await person(tmp_path, "bob", two.source, two.destination, other)
        await meet(alice, bob)
        alice.home.set_allowed_regions(None)
        say(bob, "alice", "before")
        await shows(alice, "bob", ["before"])
        await two.move()
        say(alice, "bob", "are you there?")
        await until(bob, lambda: "moved-away" in {one.code for one in bob.status().warnings})
        say(bob, "alice", "held")
        await asyncio.sleep(1)
        assert texts(alice, "bob") == ["before", "are you there?"]
        assert bob.status().relay == str(two.source.address)
        assert bob.status().outbox
        await bob.home.exit(str(other.address))
        assert bob.status().region == SOURCE_REGION
        # Neither had heard the other, so the two words may have either order.
        for client, name in ((alice, "bob"), (bob, "alice")):
            await until(client, lambda c=client, n=name: len(texts(c, n)) == 3)
            assert sorted(texts(client, name)) == ["are you there?", "before", "held"]
        assert texts(alice, "bob") == texts(bob, "alice")
        say(alice, "bob", "welcome back")
        await until(bob, lambda: "welcome back" in texts(bob, "alice"))
        for client in (alice, bob):
            await client.close()


def test_a_person_who_was_away_while_all_moved_finds_it_without_the_source(tmp_path: Path) -> None:
    run_in_loop(be_away(tmp_path), patience_s=90)


async def be_away(tmp_path: Path) -> None:
    with Two(tmp_path) as two:
        alice = await person(tmp_path, "alice", two.source, two.destination)
        bob = await person(tmp_path, "bob", two.source, two.destination)
        await meet(alice, bob)
        announced = await two.announce(0)
        for client in (alice, bob):
            client.home.set_allowed_regions([SOURCE_REGION, REGION])
            await client.watch.check_ledgers()
            await client.watch.check_ledgers()
            (told,) = client.status().moves
            assert (told.to, told.on, told.region) == (str(announced.to), announced.on, REGION)
            assert (told.is_allowed, told.decide_by) == (True, announced.decide_by)
            warned = [one.code for one in client.status().warnings]
            assert warned == ["move-announced"]
        say(alice, "bob", "while you are away")
        await bob.close()
        await alice.flushed()
        await two.move()
        two.source.kill()
        say(alice, "bob", "and after")
        bob = Client.open(tmp_path / "bob", UNLOCK)
        bob.start()
        await shows(bob, "alice", ["while you are away", "and after"])
        say(bob, "alice", "here")
        await shows(alice, "bob", ["while you are away", "and after", "here"])
        to = str(two.destination.address)
        await until(bob, lambda: bob.status().relay == to)
        for client in (alice, bob):
            await client.close()
