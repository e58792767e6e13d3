"""Things that people look for in a messenger, and that were missed in another one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pages import faults, holds, in_a_loop, relay, until
from talks import hide, is_seen, talking

if TYPE_CHECKING:
    from pathlib import Path

    from relays import RelayProcess

__all__ = ["relay"]  # a fixture
pytestmark = pytest.mark.e2e


@in_a_loop
async def test_the_divider_stays_where_it_was_when_the_conversation_was_opened(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay, texts=3) as talk:
        tab, divider = talk.tab, talk.tab.locator(".entry", has=talk.tab.locator(".divider"))
        await hide(tab, is_hidden=True)
        await talk.hear("first", "second")
        await tab.reload()
        await tab.locator("chat-list a").click()
        await divider.get_by_text("first").wait_for()
        await until(talk.alice, lambda: talk.chat.summary().unread == 0)
        await talk.hear("third")
        await is_seen(talk.bubble("third"))
        await until(talk.alice, lambda: talk.chat.summary().unread == 0)
        assert await divider.locator("p").all_inner_texts() == ["first"]


@in_a_loop
async def test_a_tick_says_in_words_how_far_a_text_has_come(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay) as talk:
        row = talk.chat.send("on its way")
        with talk.alice._run.unit() as unit:
            unit.db.execute("UPDATE message SET is_delivered = 1 WHERE row = ?", (row,))
        await talk.tab.reload()
        await talk.tab.locator("chat-list a").click()
        mark = talk.bubble("on its way").locator(".mark")
        await mark.get_by_text("✓✓").wait_for()
        assert await mark.get_attribute("title") == "Everybody has it"
        relay.process.kill()
        talk.chat.send("not yet")
        mark = talk.bubble("not yet").locator(".mark")
        assert await mark.inner_text() == "◷"
        assert await mark.get_attribute("title") == "Waits for the relay"


@in_a_loop
async def test_the_day_of_what_is_on_the_screen_floats_above_it_and_leads_to_others(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay, texts=100) as talk:
        tab = talk.tab
        await is_seen(talk.bubble("line 99"))
        pill = tab.locator(".day.floating.is-shown span", has_text="Today")
        box = await tab.locator("chat-history").bounding_box()
        assert box is not None
        at = box["x"] + box["width"] / 2, box["y"] + 12
        await tab.mouse.move(*at)
        await tab.mouse.wheel(0, -1500)
        await pill.wait_for()
        await tab.mouse.click(*at)
        await tab.get_by_role("dialog").get_by_role("grid").wait_for()


@in_a_loop
async def test_words_that_are_deleted_or_expire_leave_the_list_at_once(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay) as talk:
        line = talk.tab.locator("chat-list p")
        await talk.hear("a secret")
        await line.get_by_text("a secret").wait_for()
        [said] = talk.maryam.chat("alice").messages()
        said.delete(for_everyone=True)
        await line.get_by_text("This message was deleted.").wait_for()
        talk.chat.set_timer(1)
        talk.chat.send("gone in a moment")
        await line.get_by_text("gone in a moment").wait_for()
        await line.get_by_text("gone in a moment").wait_for(state="detached")
        await talk.bubble("gone in a moment").wait_for(state="detached")


@in_a_loop
async def test_keys_go_back_to_a_later_message_to_answer(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay) as talk:
        await talk.hear("first", "second")
        await talk.bubble("second").wait_for()
        bar = talk.tab.locator(".answers-to")
        for key, text in (("Up", "second"), ("Up", "first"), ("Down", "second")):
            await talk.tab.keyboard.press(f"Control+Arrow{key}")
            await bar.get_by_text(text).wait_for()
        await talk.tab.keyboard.press("Control+ArrowDown")
        await bar.wait_for(state="hidden")


@in_a_loop
async def test_a_narrow_window_shows_one_pane_and_a_zoomed_one_cuts_nothing_off(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay, texts=3) as talk:
        tab = talk.tab
        assert await tab.locator(".rest").inner_text() == "rests in Germany"
        # Twice as large, a window of 1,280 pixels is one of 640.
        for width in (640, 320):
            await tab.set_viewport_size({"width": width, "height": 512})
            await tab.locator("nav").wait_for(state="hidden")
            await is_seen(talk.bubble("line 2"))
            await tab.locator("main textarea").fill("a word")
            assert await faults(tab) == []
            assert await tab.evaluate("document.documentElement.scrollWidth") == width
            await tab.get_by_role("button", name="Back to the conversations").click()
            await tab.locator("chat-list a").wait_for()
            assert await tab.locator("main").is_hidden()
            assert await tab.evaluate("document.documentElement.scrollWidth") == width
            await tab.locator("chat-list a").click()


@in_a_loop
async def test_nothing_moves_for_whoever_wants_it_still_and_forced_colours_are_kept(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay, texts=3) as talk:
        tab = talk.tab
        await tab.emulate_media(reduced_motion="reduce", forced_colors="active")
        # A movement that began earlier may end.
        await holds(tab, "document.getAnimations().length === 0")
        await talk.bubble("line 1").click(modifiers=["Control"])
        assert await tab.evaluate("document.getAnimations().length") == 0
        chosen = tab.locator(".chosen article")
        look = "(one) => getComputedStyle(one).outlineStyle"
        assert await chosen.evaluate(look) == "solid"
        border = "(one) => getComputedStyle(one).borderInlineStartStyle"
        assert await talk.bubble("line 2").evaluate(border) == "solid"
        assert await faults(tab) == []
        await holds(tab, "matchMedia('(forced-colors: active)').matches")
