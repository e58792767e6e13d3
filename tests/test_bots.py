"""Bots: they answer once, and a handler that fails harms nothing else."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from amanat import bots
from amanat.bots import Bot, Incoming, Run, command, direct, from_, group, regex, text
from amanat.drill.death import Died
from amanat.drill.person import Person
from amanat.drill.world import World
from amanat.errors import UnknownMessage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def echo(**options: object) -> Bot:
    bot = Bot("echo", most_a_minute=None, **options)  # type: ignore[arg-type]  # the options of Bot

    @bot.on(text)
    async def back(message: Incoming) -> None:
        message.reply(f"you said {message.text}")

    return bot


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


class Served:
    """A bot at work for a person of the world, started again after every death."""

    def __init__(self, world: World, person: Person, make: Callable[[], Bot]) -> None:
        self._person, self._make = person, make
        self.begin(world)

    async def look_after(self, world: World) -> None:
        """Start the bot again if its process has died and the world has revived it."""
        if self._person.client is self._client:
            return
        self.task.cancel()
        with contextlib.suppress(BaseException):
            await self.task
        self.begin(world)

    def begin(self, world: World) -> None:
        self.bot, self._client = self._make(), self._person.client
        self.task = world.loop.create_task(self.bot.serve(self._client))

    async def end(self) -> None:
        with contextlib.suppress(BaseExceptionGroup):  # from a process that has died
            await ended(self.task)


async def pair(world: World) -> tuple[Person, Person]:
    alice, bot = await world.friends("alice", "bot")
    return alice, bot


async def test_what_was_said_before_a_bot_began_is_answered_and_what_comes_then(
    world: World,
) -> None:
    alice, person = await pair(world)
    alice.say("bot", "early")
    await world.settle()
    served = Served(world, person, echo)
    await world.settle()
    alice.say("bot", "late")
    await world.settle()
    answers = [one for one in alice.messages("bot") if not one.is_own]
    assert [one.text for one in answers] == ["you said early", "you said late"]
    assert [one.reply_to.text for one in answers if one.reply_to] == ["early", "late"]
    assert not person.client.unread()
    await served.end()


async def test_the_first_handler_that_wants_a_message_has_it(world: World) -> None:
    alice, person = await pair(world)
    gid = await world.group("garden", alice, person)
    bot = Bot("b", most_a_minute=None)
    took: list[str] = []

    def handler(name: str) -> Callable[[Incoming], Awaitable[None]]:
        async def take(message: Incoming) -> None:
            took.append(f"{name}: {message.text}")

        return take

    bot.on(command("help"))(handler("help"))
    bot.on(group & ~regex("[0-9]+"))(handler("group"))
    bot.on(direct & from_("alice"))(handler("alice"))
    bot.on(regex("[0-9]+") | from_("nobody"))(handler("number"))
    task = world.loop.create_task(bot.serve(person.client))
    for words in ("/help me", "/helpless", "hello"):
        alice.say("bot", words)
        await world.settle()
    for words in ("all of you", "42"):
        alice.client.chat(gid).send(words)
        await world.settle()
    assert took == [
        "help: /help me",
        "alice: /helpless",
        "alice: hello",
        "group: all of you",
        "number: 42",
    ]
    await ended(task)


async def test_a_handler_that_fails_is_tried_again_and_then_given_up(world: World) -> None:
    alice, person = await pair(world)
    bot = Bot("b", most_a_minute=None)
    tries: list[str] = []

    @bot.on(text)
    async def fail(message: Incoming) -> None:
        tries.append(message.key)
        message.reply("never said")
        if message.text == "bad" or len(tries) < 2:
            raise ValueError(message.text)

    task = world.loop.create_task(bot.serve(person.client))
    alice.say("bot", "good")
    await world.settle()
    assert alice.texts("bot") == ["good", "never said"]
    assert len(tries) == len([key for key in tries if key == tries[0]]) == 2
    alice.say("bot", "bad")
    await world.settle()
    assert alice.texts("bot") == ["good", "never said", "bad"]
    assert [one.error for one in bot.failed] == ["ValueError"]
    assert tries.count(bot.failed[0].key) == bots.TRIES
    assert not person.client.unread()
    await ended(task)


@pytest.mark.parametrize(
    ("step", "is_coarse"),
    [
        *((number, True) for number in range(1, 13)),
        *((number, False) for number in range(3, 99, 8)),
    ],
)
@pytest.mark.long
async def test_a_bot_that_dies_at_any_statement_answers_once(
    world: World, step: int, *, is_coarse: bool
) -> None:
    alice, person = await pair(world)
    served = Served(world, person, echo)
    await world.settle()
    for number in range(4):
        person.die_after(step + number, is_coarse=is_coarse)
        alice.say("bot", f"text {number}")
        for _ in range(24):
            with contextlib.suppress(Died, BaseExceptionGroup):
                await world.pass_time(5)
            await served.look_after(world)
    await world.settle()
    answers = [one.text for one in alice.messages("bot") if not one.is_own]
    assert answers == [f"you said text {number}" for number in range(4)]
    assert person.deaths
    await served.end()


@pytest.mark.long
async def test_a_flood_is_answered_in_its_time_and_in_full(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bots, "MAX_WAITING", 4)
    alice, person = await pair(world)
    bot = Bot("b", most_a_minute=5)

    @bot.on(text)
    async def back(message: Incoming) -> None:
        message.reply(message.text)

    task = world.loop.create_task(bot.serve(person.client))
    for number in range(18):
        alice.say("bot", f"text {number}")
    await world.pass_time(50)
    assert len([one for one in alice.messages("bot") if not one.is_own]) == 5
    await world.pass_time(200)
    answers = [one.text for one in alice.messages("bot") if not one.is_own]
    assert sorted(answers) == sorted(f"text {number}" for number in range(18))
    await ended(task)


@pytest.mark.long
async def test_two_bots_do_not_answer_each_other_for_ever(world: World) -> None:
    alice, person = await pair(world)

    def limited() -> Bot:
        bot = Bot("b", most_a_minute=3)
        bot.on(text)(back)
        return bot

    async def back(message: Incoming) -> None:
        message.reply(f"{message.text}!")

    tasks = [world.loop.create_task(limited().serve(one.client)) for one in (alice, person)]
    alice.say("bot", "hey")
    await world.pass_time(30)
    assert 4 <= len(alice.texts("bot")) <= 1 + 2 * 3
    await world.pass_time(300)
    assert len(alice.texts("bot")) <= 1 + 2 * 3 * 6
    for task in tasks:
        await ended(task)


async def test_what_a_job_keeps_and_says_is_one(world: World) -> None:
    alice, person = await pair(world)
    fed = ["first"]

    def news() -> Bot:
        bot = Bot("news")

        @bot.every(60)
        async def tell(run: Run) -> None:
            told = int(str(run.state.get("told", 0)))
            for item in fed[told:]:
                run.send_to_all(item)
            run.state["told"] = len(fed)

        return bot

    served = Served(world, person, news)
    await world.pass_time(5)
    fed.append("second")
    person.die_after(2)  # at a statement of the unit that says it
    for _ in range(54):
        with contextlib.suppress(Died, BaseExceptionGroup):
            await world.pass_time(5)
        await served.look_after(world)
    fed.append("third")
    await world.pass_time(70)
    assert alice.texts("bot") == ["first", "second", "third"]
    assert person.deaths
    await served.end()


async def test_what_is_done_together_is_done_as_a_whole(world: World) -> None:
    alice, person = await pair(world)
    gid = person.gid("alice")
    both = person.client.together()
    both.keep("mark", b"1")
    both.send(gid, "hello")
    both.react(gid, "0" * 32, "👍")  # there is no such message
    with pytest.raises(UnknownMessage):
        both.carry_out()
    await world.settle()
    assert person.client.together().kept("mark") is None
    assert alice.texts("bot") == []
