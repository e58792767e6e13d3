"""Each daily task takes as many steps on the page as docs/page.md says, and no more than in other
messengers."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from amanat import Client
from pages import UNLOCK, in_a_loop, relay, until
from talks import Talk, backdate, flashes, talking

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from playwright.async_api import Locator

    from relays import RelayProcess

__all__ = ["relay"]  # a fixture
pytestmark = pytest.mark.e2e
DOCUMENT = Path(__file__).parents[1] / "docs" / "page.md"
DAY_MS = 86_400_000


class Hand:
    """The steps of a person, counted. A press, a key with its modifiers, a text or a stroke of
    the mouse is one; looking and moving the pointer is none."""

    def __init__(self, talk: Talk, root: Path) -> None:
        self.talk, self.tab, self.root, self.steps = talk, talk.tab, root, 0

    async def press(self, one: Locator, *, is_second_button: bool = False) -> None:
        self.steps += 1
        await one.click(button="right" if is_second_button else "left")

    async def key(self, name: str) -> None:
        self.steps += 1
        await self.tab.keyboard.press(name)

    async def type(self, text: str) -> None:
        self.steps += 1
        await self.tab.keyboard.type(text)

    async def choose(self, name: str) -> None:
        """Press an item of a menu or a button."""
        item = self.tab.get_by_role("menuitem", name=name, exact=True)
        await self.press(item.or_(self.tab.get_by_role("button", name=name, exact=True)).last)

    async def offer(self, one: Locator) -> None:
        """Open the menu of something."""
        await self.press(one, is_second_button=True)

    def line(self, name: str) -> Locator:
        return self.tab.locator("chat-list a", has_text=name)


async def write(hand: Hand) -> None:
    await hand.press(hand.line("مریم"))
    await hand.tab.locator("main textarea:focus").wait_for()
    await hand.type("good morning")
    await hand.key("Enter")
    await hand.talk.bubble("good morning").wait_for()


async def answer(hand: Hand) -> None:
    await hand.talk.bubble("hers").hover()
    await hand.press(hand.tab.locator(".quick .answer"))
    await hand.type("an answer")
    await hand.key("Enter")
    await hand.talk.bubble("an answer").locator(".quote", has_text="hers").wait_for()


async def react(hand: Hand) -> None:
    await hand.talk.bubble("hers").hover()
    await hand.press(hand.tab.locator(".quick .like"))
    await hand.talk.bubble("hers").locator(".chip[aria-pressed=true]", has_text="👍").wait_for()


async def put_right(hand: Hand) -> None:
    await hand.key("ArrowUp")
    await hand.tab.locator(".answers-to .quote").wait_for()
    await hand.type(", I mean")
    await hand.key("Enter")
    await hand.talk.bubble("line 2, I mean").get_by_text("edited").wait_for()


async def delete(hand: Hand) -> None:
    await hand.offer(hand.talk.bubble("line 2"))
    await hand.choose("Delete for everyone")
    await hand.press(hand.tab.get_by_role("dialog").get_by_role("button", name="for everyone"))
    await hand.tab.locator("article.deleted").wait_for()


async def forward(hand: Hand) -> None:
    await hand.offer(hand.talk.bubble("hers"))
    await hand.choose("Forward…")
    await hand.press(hand.tab.get_by_role("dialog").get_by_role("button", name="Bakers"))
    bakers = hand.talk.alice.chat("Bakers")
    await until(hand.talk.alice, lambda: [one.text for one in bakers.messages()] == ["hers"])


async def copy(hand: Hand) -> None:
    mouse, places = hand.tab.mouse, []
    for text in ("line 0", "line 2"):
        box = await hand.talk.bubble(text).bounding_box()
        assert box is not None
        places.append((box["x"] - 100, box["y"] + box["height"] / 2))
    hand.steps += 1  # one stroke along the margin
    await mouse.move(*places[0])
    await mouse.down()
    await mouse.move(*places[1], steps=3)
    await mouse.up()
    await hand.tab.get_by_text("3 messages selected").wait_for()
    await hand.key("Control+c")
    copied = await hand.tab.evaluate("navigator.clipboard.readText()")
    assert [f"line {number}" in copied for number in range(3)] == [True] * 3


async def find_anywhere(hand: Hand) -> None:
    await hand.type("hers")
    await hand.tab.locator("room-find a mark", has_text="hers").wait_for()
    async with flashes(hand.tab, "hers"):
        await hand.key("Enter")


async def find_here(hand: Hand) -> None:
    await hand.key("Control+f")
    async with flashes(hand.tab, "line 1"):
        await hand.type("line 1")
        await hand.tab.get_by_role("search").get_by_text("1 of 1").wait_for()


async def go_to_day(hand: Hand) -> None:
    await hand.press(hand.tab.locator(".entry .day button", has_text="Today"))
    days = hand.tab.get_by_role("grid").locator("button:enabled")
    async with flashes(hand.tab):
        await hand.press(days.first)


async def next_conversation(hand: Hand) -> None:
    await hand.key("Alt+ArrowDown")
    await hand.tab.locator("h1", has_not_text="مریم").wait_for()


async def mute(hand: Hand) -> None:
    await hand.offer(hand.line("مریم"))
    await hand.choose("Mute for 8 hours")
    await hand.line("مریم").get_by_text("Muted").wait_for()


async def pin(hand: Hand) -> None:
    await hand.offer(hand.line("مریم"))
    await hand.choose("Pin to the top")
    await hand.line("مریم").get_by_text("Pinned").wait_for()


async def begin_group(hand: Hand) -> None:
    await hand.choose("Begin something new")
    await hand.choose("New group")
    await hand.tab.get_by_role("dialog").locator("input:focus").wait_for()
    await hand.type("Mountain")
    for name in ("مریم", "Babak"):
        await hand.press(hand.tab.get_by_role("checkbox", name=name))
    await hand.choose("Begin the group")
    await hand.tab.locator("h1", has_text="Mountain").wait_for()


async def meet(hand: Hand) -> None:
    home = hand.talk.alice.status().relay
    async with await Client.create(hand.root / "dana", UNLOCK, name="Dana", relay=home) as dana:
        write = "(text) => navigator.clipboard.writeText(text)"
        await hand.tab.evaluate(write, f"hello! {dana.invite()}")
        await hand.key("Control+v")
        await hand.tab.get_by_text("Use this link").wait_for()
        await hand.key("Enter")
        await hand.tab.get_by_role("dialog").get_by_text("You knocked.").wait_for()


COPY_PICTURE = """() => new Promise((done) => {
    const canvas = document.createElement("canvas");
    canvas.toBlob((blob) => done(
        navigator.clipboard.write([new ClipboardItem({ "image/png": blob })])));
})"""


async def send_picture(hand: Hand) -> None:
    await hand.tab.evaluate(COPY_PICTURE)
    await hand.key("Control+v")
    await hand.tab.get_by_role("dialog").get_by_role("button").first.wait_for()
    await hand.choose("As a picture")
    await hand.tab.locator("article.own .picture img").wait_for()


async def see_pictures(hand: Hand) -> None:
    await hand.press(hand.tab.locator("main > header .info"))
    await hand.tab.get_by_role("dialog").get_by_text("Pictures and files").wait_for()
    await hand.choose("Pictures and files")
    await hand.tab.get_by_role("dialog").get_by_text("There is no picture").wait_for()


IS_OPEN, IS_CLOSED = True, False
TASKS: dict[str, tuple[bool, Callable[[Hand], Awaitable[None]]]] = {
    "write to somebody": (IS_CLOSED, write),
    "answer a message": (IS_OPEN, answer),
    "react with 👍": (IS_OPEN, react),
    "put right what you said last": (IS_OPEN, put_right),
    "delete a message for everyone": (IS_OPEN, delete),
    "forward a message to a group": (IS_OPEN, forward),
    "copy three messages": (IS_OPEN, copy),
    "find a message in any conversation": (IS_CLOSED, find_anywhere),
    "find a message in this conversation": (IS_OPEN, find_here),
    "go to another day of this month": (IS_OPEN, go_to_day),
    "open the next conversation": (IS_OPEN, next_conversation),
    "mute a conversation for some hours": (IS_CLOSED, mute),
    "pin a conversation": (IS_CLOSED, pin),
    "begin a group with two people": (IS_CLOSED, begin_group),
    "meet somebody by the link they sent you": (IS_CLOSED, meet),
    "send a picture that was copied": (IS_OPEN, send_picture),
    "see the pictures of a conversation": (IS_OPEN, see_pictures),
}


def table() -> dict[str, list[int | None]]:
    """The steps of each task in the document: ours, Telegram's and Signal's, if they have it."""
    rows = re.findall(
        r"^\| ([^|]+) \| (\d+) \| (\d+|–) \| (\d+|–) \|$", DOCUMENT.read_text(), re.MULTILINE
    )
    return {name: [int(one) if one.isdigit() else None for one in many] for name, *many in rows}


@contextlib.asynccontextmanager
async def begun(root: Path, relay: RelayProcess, *, is_open: bool) -> AsyncIterator[Hand]:
    """Alice at her main window, with مریم, Babak and a group; the conversation may be open."""
    async with (
        talking(root, relay) as talk,
        await Client.create(
            root / "babak", UNLOCK, name="Babak", relay=str(relay.address)
        ) as babak,
    ):
        babak.accept(talk.alice.invite())
        await until(talk.alice, lambda: len(talk.alice.contacts()) > 1)
        talk.alice.create_group("Bakers", ["مریم"])
        await talk.hear("hers")
        # Of the first day of the month, or else of the day before.
        backdate(talk.alice, talk.chat.messages()[0].row, DAY_MS)
        for number in range(3):
            talk.chat.send(f"line {number}")
        hand = Hand(talk, root)
        await hand.tab.reload()
        await hand.line("Babak").wait_for()
        if is_open:
            await hand.line("line 2").click()
            await hand.talk.bubble("line 2").wait_for()
            await hand.tab.locator("main textarea:focus").wait_for()
        yield hand


@pytest.mark.parametrize("task", TASKS)
@in_a_loop
async def test_a_task_takes_as_many_steps_as_the_document_says(
    tmp_path: Path, relay: RelayProcess, task: str
) -> None:
    is_open, do = TASKS[task]
    async with begun(tmp_path, relay, is_open=is_open) as hand:
        await do(hand)
        assert hand.steps == (table()[task] or [None])[0]


def test_no_task_takes_more_steps_than_elsewhere() -> None:
    assert list(table()) == list(TASKS)
    for task, (ours, *others) in table().items():
        assert ours is not None
        assert all(one is None or ours <= one for one in others), task
