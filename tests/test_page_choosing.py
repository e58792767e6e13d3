"""Messages of a conversation chosen together, on the page in a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pages import in_a_loop, relay
from talks import is_seen, talking

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.async_api import Locator

    from relays import RelayProcess

__all__ = ["relay"]  # a fixture
pytestmark = pytest.mark.e2e


@in_a_loop
async def test_clicks_with_ctrl_and_shift_choose_messages_and_the_key_deletes_them(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay, texts=6) as talk:
        tab, bar = talk.tab, talk.tab.get_by_role("toolbar")
        await talk.bubble("line 1").click(modifiers=["Control"])
        await bar.get_by_text("1 message selected").wait_for()
        await talk.bubble("line 3").click(modifiers=["Shift"])
        await bar.get_by_text("3 messages selected").wait_for()
        assert await tab.evaluate("getSelection().toString()") == ""
        await talk.bubble("line 2").click(modifiers=["Control"])
        await bar.get_by_text("2 messages selected").wait_for()
        await talk.bubble("line 3").focus()
        await tab.keyboard.press("Delete")
        dialog = tab.get_by_role("dialog")
        await dialog.get_by_text("Delete 2 messages?").wait_for()
        await dialog.get_by_role("button", name="Delete for me").click()
        await talk.bubble("line 1").wait_for(state="detached")
        assert [one.text for one in talk.chat.messages()] == [
            "line 0",
            "line 2",
            "line 4",
            "line 5",
        ]


async def beside(bubble: Locator) -> tuple[float, float]:
    """A place in the margin beside a message."""
    box = await bubble.bounding_box()
    assert box is not None
    return box["x"] - 100, box["y"] + box["height"] / 2


@in_a_loop
async def test_the_mouse_drawn_along_the_margin_chooses_what_it_passes(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay, texts=60) as talk:
        tab, bar, mouse = talk.tab, talk.tab.get_by_role("toolbar"), talk.tab.mouse
        await is_seen(talk.bubble("line 59"))
        chosen = tab.locator(".entry.chosen")
        await mouse.move(*await beside(talk.bubble("line 57")))
        await mouse.down()
        await mouse.move(*await beside(talk.bubble("line 54")), steps=4)
        await bar.get_by_text("4 messages selected").wait_for()
        await mouse.move(*await beside(talk.bubble("line 55")))
        await bar.get_by_text("3 messages selected").wait_for()
        await mouse.up()
        await bar.get_by_text("3 messages selected").wait_for()
        texts = await chosen.locator("p").all_inner_texts()
        assert texts == ["line 55", "line 56", "line 57"]
        # Others join them, and at the edge the history comes along.
        x, y = await beside(talk.bubble("line 53"))
        await mouse.move(x, y)
        await mouse.down()
        top = await tab.locator("chat-history").bounding_box()
        assert top is not None
        await mouse.move(x, top["y"] + 4, steps=3)
        await is_seen(talk.bubble("line 20"))
        await mouse.up()
        assert await chosen.locator("p", has_text="line 30").count() == 1
        assert await chosen.locator("p", has_text="line 57").count() == 1
        assert await chosen.locator("p", has_text="line 54").count() == 0
        await tab.keyboard.press("Escape")
        assert await chosen.count() == 0
        await mouse.click(x, y)
        assert await bar.is_hidden()
