"""The examples as people run them: as processes of their own, which are killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from amanat import Client, Unlock
from amanat.client.events import TextArrived
from amanat.drill.process import free_port
from figures import report, rounds
from relays import RelayProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]

ROOT = Path(__file__).parent.parent
PASSPHRASE = "of a bot that does not exist"  # noqa: S105  # and of nobody else
KILL_EVERY_S = 2.0
MESSAGES = rounds(150, 10_000)
"""Messages to the echo bot that is killed."""
AT_ONCE = 20
"""Messages that wait for their answers at a time."""
PATIENCE_S = 60


class Process:
    """A bot as a process, with a profile of its own."""

    def __init__(self, example: Path, profile: Path, **settings: str) -> None:
        self._example, self._profile, self._settings = example, profile, settings

    def start(self, *words: str) -> subprocess.Popen[str]:
        read, write = os.pipe()
        os.write(write, PASSPHRASE.encode())
        os.close(write)
        line = ["--profile", str(self._profile), "--passphrase-fd", str(read), *words]
        process = subprocess.Popen(
            [sys.executable, str(self._example), "--json", *line],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            pass_fds=[read],
            env={**os.environ, **self._settings},
        )
        os.close(read)
        return process

    def ask(self, *words: str) -> dict[str, object]:
        with self.start(*words) as process:
            said, _ = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, words
        answer: dict[str, object] = json.loads(said)
        return answer

    @contextlib.contextmanager
    def running(self) -> Iterator[subprocess.Popen[str]]:
        with self.start("run") as process:
            try:
                assert process.stdout is not None
                assert json.loads(process.stdout.readline())["running"]
                yield process
            finally:
                process.kill()


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[RelayProcess]:
    with RelayProcess(tmp_path / "relay", port=free_port()) as running:
        yield running


async def person(relay: RelayProcess, directory: Path, invite: str) -> Client:
    """A person who has used a bot's invite, online."""
    unlock = Unlock(key=bytes(32))
    client = await Client.create(directory, unlock, name="alice", relay=str(relay.address))
    client.start()
    client.accept(invite)
    async with asyncio.timeout(PATIENCE_S):
        while not client.contacts():
            await client.changed()
    return client


@pytest.mark.campaign
def test_an_echo_bot_that_is_killed_answers_each_message_once(
    relay: RelayProcess, tmp_path: Path
) -> None:
    asyncio.run(talk_to_a_bot_that_is_killed(relay, tmp_path))


async def talk_to_a_bot_that_is_killed(relay: RelayProcess, tmp_path: Path) -> None:
    example = (ROOT / "examples" / "echo.py").read_text(encoding="utf-8")
    unlimited = tmp_path / "unlimited.py"
    unlimited.write_text(example.replace('Bot("echo")', 'Bot("echo", most_a_minute=None)'), "utf-8")
    bot = Process(unlimited, tmp_path / "echo")
    bot.ask("init", "--name", "echo", "--relay", str(relay.address))
    invite = str(bot.ask("invite")["invite"])
    kills, said = 0, 0
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as lives:
        process = lives.enter_context(bot.running())
        alice = await person(relay, tmp_path / "alice", invite)
        chat, due = alice.chat("echo"), loop.time() + KILL_EVERY_S
        answers = 0
        events = alice.events()
        while answers < MESSAGES:
            while said < MESSAGES and said - answers < AT_ONCE:
                chat.send(f"text {said}")
                said += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(due - loop.time(), 0.01)):
                    event = await anext(events)
                    if isinstance(event, TextArrived):
                        message = chat.message_at(event.row)
                        answers += message is not None and not message.is_own
            if loop.time() >= due and answers < MESSAGES:
                process.send_signal(signal.SIGKILL)
                kills += 1
                process = lives.enter_context(bot.running())
                due = loop.time() + KILL_EVERY_S
        await asyncio.sleep(KILL_EVERY_S)  # a second answer would come now
        shown = [one.text for one in chat.messages() if not one.is_own]
        await alice.close()
    assert sorted(shown) == sorted(f"text {number}" for number in range(MESSAGES))
    report("bots that are killed", messages=MESSAGES, kills=kills, answers=len(shown))


def test_a_news_bot_passes_on_each_item_once(relay: RelayProcess, tmp_path: Path) -> None:
    asyncio.run(read_the_news(relay, tmp_path))


async def read_the_news(relay: RelayProcess, tmp_path: Path) -> None:
    feed = tmp_path / "feed.json"
    items = [{"id": "1", "title": "First", "url": "https://example.org/1"}]
    feed.write_text(json.dumps({"items": items}), encoding="utf-8")
    bot = Process(ROOT / "examples" / "news.py", tmp_path / "news", FEED=str(feed), EVERY_S="2")
    bot.ask("init", "--name", "news", "--relay", str(relay.address))
    invite = str(bot.ask("invite")["invite"])
    with bot.running():  # it has no subscriber yet, so nobody gets the first item
        alice = await person(relay, tmp_path / "alice", invite)
    items.insert(0, {"id": "2", "title": "Second", "url": "https://example.org/2"})
    feed.write_text(json.dumps({"items": items}), encoding="utf-8")
    for _ in range(2):
        with bot.running():
            async with asyncio.timeout(2 * PATIENCE_S):
                while not alice.chat("news").messages():
                    await alice.changed()
            await asyncio.sleep(1)
    texts = [one.text for one in alice.chat("news").messages()]
    await alice.close()
    assert texts == ["Second\nhttps://example.org/2"]
