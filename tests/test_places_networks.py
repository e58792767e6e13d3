"""A relay that moves to another address without notice, in a network of its own.

The relays run in one network namespace and the people in another; a cable leads from one to the
other, and nowhere else. So the addresses on it may be public ones, which nobody has to name.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from amanat.client import routes
from amanat.client.sdk.client import Client
from amanat.client.vault import Unlock
from hosts import enter, ip
from relays import PATIENCE_S
from test_moving_networks import Network, two_networks

PEOPLE = {"alice": "both", "bob": "moving", "carol": "staying", "dave": "both"}
"""Each person's home: the relay that moves, the one that stays, or one with the other as fallback.
Bob gets the new address; Alice and Carol hear it from him. Dave does not know Bob: he gets it from
the relay that stays, to which Alice has brought it."""
FRIENDS = [("alice", "bob"), ("bob", "carol"), ("alice", "carol"), ("carol", "dave")]


def said(one: str, other: str, when: str) -> str:
    return f"{one} to {other} {when}"


async def until(clients: dict[str, Client], when: list[str]) -> None:
    """Wait until everybody has the others' words, in this order of time, and nothing twice."""
    async with asyncio.timeout(4 * PATIENCE_S):
        for one, other in [*FRIENDS, *(pair[::-1] for pair in FRIENDS)]:
            client = clients[one]
            while True:
                names = {contact.name for contact in client.contacts()}
                if other in names:
                    gid = client.conversation(other).gid
                    found = [m.text for m in client.chat(gid).messages() if not m.is_own]
                    if len(found) >= len(when):
                        assert found == [said(other, one, each) for each in when]
                        break
                await client.changed()


def say(clients: dict[str, Client], when: str) -> None:
    for one, other in [*FRIENDS, *(pair[::-1] for pair in FRIENDS)]:
        gid = clients[one].conversation(other).gid
        clients[one].chat(gid).send(said(one, other, when))


async def live(root: Path, moving: str, staying: str, pipe: Connection) -> None:
    """Run the people's clients; the test reports events through the pipe."""
    clients = {}
    for name, where in PEOPLE.items():
        home = staying if where == "staying" else moving
        clients[name] = await Client.create(
            root / name,
            Unlock(key=bytes(32)),
            name=name,
            relay=home,
            fallback=staying if where == "both" else "",
        )
        clients[name].start()
    for one, other in FRIENDS:
        clients[other].accept(clients[one].invite())
    await until(clients, [])
    say(clients, "before")
    await until(clients, ["before"])
    pipe.send("met")
    new = await asyncio.to_thread(pipe.recv)  # the relay is elsewhere
    say(clients, "meanwhile")
    await asyncio.sleep(1)
    assert await clients["bob"].home.set_place(new)
    await until(clients, ["before", "meanwhile"])
    say(clients, "after")
    await until(clients, ["before", "meanwhile", "after"])
    place = new.removeprefix("amanat://").split("/")[0]
    for name, where in PEOPLE.items():
        status = clients[name].status()
        assert not status.away
        assert not status.missing
        assert not status.warnings
        if where != "staying":
            assert status.place == place
        await clients[name].close()
    pipe.send("all are back")


def people_in(network: str, *arguments: Any) -> None:  # noqa: ANN401  # of `live`
    """Enter a network and run the people there."""
    vars(routes).update(ASK_S=1, RETRY_S=(0.2, 1.0))  # nobody waits for a minute here
    enter(network)
    asyncio.run(live(*arguments))


def make(network: Network, directory: Path, host: str, port: str) -> str:
    made = network.told(
        *("relay", "init", directory, "--region", "IR", "--operator", "one"),
        *("--host", host, "--port", port),
    )
    return str(made["address"])


@pytest.mark.e2e
@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes networks")
def test_a_relay_that_moves_without_notice_is_found_again(tmp_path: Path) -> None:
    moving, staying = tmp_path / "moving", tmp_path / "staying"
    with two_networks("9.9.9.1", "9.9.9.2") as (relays, people):
        for one in ("9.9.8.1", "9.9.7.1"):
            ip("-n", relays.name, "address", "add", f"{one}/32", "dev", relays.cable)
        for net in ("9.9.8.0/24", "9.9.7.0/24", "9.9.6.0/24"):
            ip("-n", people.name, "route", "add", net, "dev", people.cable)
        old = make(relays, moving, "9.9.8.1", "8443")
        second = make(relays, staying, "9.9.7.1", "8444")
        with relays.relay(staying):
            ours, theirs = multiprocessing.Pipe()
            process = multiprocessing.get_context("spawn").Process(
                target=people_in, args=(people.name, tmp_path, old, second, theirs)
            )
            with relays.relay(moving):
                process.start()
                theirs.close()
                assert ours.recv() == "met"
            # A line that is dead without a word would only take longer.
            ip("-n", people.name, "route", "replace", "unreachable", "9.9.8.0/24")
            ip("-n", relays.name, "address", "delete", "9.9.8.1/32", "dev", relays.cable)
            ip("-n", relays.name, "address", "add", "9.9.6.1/32", "dev", relays.cable)
            settings = moving / "relay.toml"
            settings.write_text(settings.read_text().replace("9.9.8.1", "9.9.6.1"))
            with relays.relay(moving):
                ours.send(old.replace("9.9.8.1", "9.9.6.1"))
                assert ours.recv() == "all are back"
            process.join(PATIENCE_S)
            assert process.exitcode == 0
