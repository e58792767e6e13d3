"""Somebody loses their profile, restores it from a backup, and talks on, by a real relay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from amanat import restore, wipe
from amanat.client.rules import comebacks, helping
from amanat.client.sdk.client import Client
from amanat.client.vault import Unlock
from relays import RelayProcess, in_loop

pytestmark = pytest.mark.e2e
KEY = Unlock(key=bytes(32))


@asynccontextmanager
async def person(place: Path, relay: RelayProcess, name: str) -> AsyncIterator[Client]:
    client = await Client.create(place / name, KEY, name=name, relay=str(relay.address))
    async with client:
        yield client


async def until_all(*clients: Client, texts: set[str]) -> None:
    """Wait until each shows these texts."""
    for client in clients:
        while True:
            chats = [client.chat(view.gid) for view in client.conversations()]
            shown = {message.text for chat in chats for message in chat.messages()}
            if texts <= shown:
                break
            await client.changed()


@in_loop
async def test_a_lost_profile_is_restored_and_all_talk_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (comebacks, helping):  # otherwise this takes ten seconds
        monkeypatch.setattr(module, "ANSWER_EVERY_MS", 0)
    monkeypatch.setattr(comebacks, "SLACK_MS", 0)
    with RelayProcess(tmp_path / "relay") as relay:
        async with person(tmp_path, relay, "bob") as bob:
            alice = await Client.create(
                tmp_path / "alice", KEY, name="alice", relay=str(relay.address)
            )
            alice.start()
            bob.accept(alice.invite())
            while not (alice.contacts() and bob.contacts()):
                await alice.changed()
            group = alice.create_group("family", ["bob"])
            while "family" not in [view.name for view in bob.conversations()]:
                await bob.changed()
            alice.chat("bob").send("hello")
            bob.chat("family").send("to the family")
            await until_all(alice, bob, texts={"hello", "to the family"})
            await asyncio.to_thread((tmp_path / "stick").mkdir)
            words = " ".join(one.word for one in alice.backups.begin(tmp_path / "stick"))
            await alice.backups.make()
            await alice.close()
            wipe(tmp_path / "alice")

            await restore(tmp_path / "new", KEY, backup=tmp_path / "stick", phrase=words)
            async with Client.open(tmp_path / "new", KEY) as again:
                await until_all(again, texts={"hello", "to the family"})
                while any(view.state != "active" for view in again.conversations()):
                    await again.changed()
                again.chat("bob").send("I am back")
                again.chat(group.gid).send("back in the family")
                await until_all(bob, texts={"I am back", "back in the family"})
                bob.chat("alice").send("welcome")
                bob.chat("family").send("welcome to the family")
                await until_all(again, texts={"welcome", "welcome to the family"})
                assert not bob.status().warnings
