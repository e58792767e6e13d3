"""How one finds something in a conversation on the page: by words, by keys and by days."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from pages import holds, in_a_loop, relay
from talks import Talk, backdate, is_seen, talking

if TYPE_CHECKING:
    from pathlib import Path

    from relays import RelayProcess

__all__ = ["relay"]  # a fixture
pytestmark = pytest.mark.e2e
DAY_MS = 86_400_000
MARKED = "[...CSS.highlights.get('found') ?? []].map((range) => range.toString())"


@in_a_loop
async def test_words_are_found_in_the_open_conversation_one_after_the_other_with_marks(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay) as talk:
        tab, chat = talk.tab, talk.chat
        chat.send("😀 the oldest bread, see https://bread.example/")
        for number in range(120):
            chat.send(f"line {number}")
        chat.send("fresh bread")
        talk.alice.notes().send("bread elsewhere")
        bar, box = tab.get_by_role("search"), tab.get_by_role("search").get_by_role("searchbox")
        await tab.keyboard.press("Control+f")
        await box.and_(tab.locator(":focus")).wait_for()
        await tab.keyboard.type("bre")
        await bar.get_by_text("1 of 2").wait_for()
        await is_seen(talk.bubble("fresh bread"))
        await holds(tab, f"{MARKED}.join() === 'bread'")
        await tab.keyboard.press("ArrowUp")
        await bar.get_by_text("2 of 2").wait_for()
        await is_seen(talk.bubble("the oldest bread"))
        await holds(tab, f"{MARKED}.join() === 'bread,bread'")
        await tab.keyboard.press("ArrowDown")
        await is_seen(talk.bubble("fresh bread"))
        await bar.get_by_role("button", name="The result before").click()
        await is_seen(talk.bubble("the oldest bread"))
        await box.fill("nowhere")
        await bar.get_by_text("Nothing found.").wait_for()
        await holds(tab, f"{MARKED}.length === 0")
        await box.fill("line 7")
        await bar.get_by_text("1 of 11").wait_for()
        await tab.keyboard.press("Escape")
        assert await bar.is_hidden()
        await tab.locator("main textarea:focus").wait_for()
        await holds(tab, f"{MARKED}.length === 0")
        await tab.get_by_role("button", name="Search in this conversation").click()
        assert await box.input_value() == ""
        await tab.locator("chat-list a", has_text="Notes").click()
        await tab.locator("h1", has_text="Notes").wait_for()
        assert await bar.is_hidden()


@in_a_loop
async def test_a_second_press_of_its_key_is_left_to_the_browser(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay) as talk:
        await talk.tab.evaluate(
            "globalThis.kept = [];"
            "addEventListener('keydown', (event) => kept.push(event.defaultPrevented))"
        )
        await talk.tab.keyboard.press("Control+f")
        await talk.tab.get_by_role("searchbox", name="Search in this").wait_for()
        await talk.tab.keyboard.press("Control+f")
        assert await talk.tab.evaluate("kept.filter((_, place) => place % 2)") == [True, False]


@in_a_loop
async def test_one_key_leads_to_the_end_and_the_last_step_back_is_the_list(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay, texts=150) as talk:
        tab, box, bar = talk.tab, talk.tab.locator("main textarea"), talk.tab.get_by_role("search")
        await talk.tab.evaluate("document.querySelector('chat-history').scrollTop = 0")
        await is_seen(talk.bubble("line 0").first)
        await box.fill("not sent")
        await box.press("Alt+Enter")
        await is_seen(talk.bubble("line 149"))
        assert await box.input_value() == "not sent"
        await tab.keyboard.press("Control+f")
        await bar.wait_for()
        await talk.choose("line 149", "Reply")
        for still_there in (bar, tab.locator("main")):
            await tab.keyboard.press("Escape")
            assert await tab.locator(".answers-to").is_hidden()
            assert await still_there.is_visible()
        assert await bar.is_hidden()
        await tab.keyboard.press("Escape")
        await tab.locator("main").wait_for(state="hidden")
        await tab.locator("chat-list a:focus").wait_for()
        await tab.locator("chat-list .draft").wait_for()
        await tab.keyboard.press("Enter")
        await tab.locator("main textarea:focus").wait_for()
        assert await box.input_value() == "not sent"


class Tongue(NamedTuple):
    """How a language names days, and where its week has its Friday."""

    locale: str
    today: str
    before: str
    comma: str
    friday: str
    place: int


TONGUES = {
    "en": Tongue("en-u-ca-gregory", "Today", "The month before", ", ", "Friday", 5),
    "fa": Tongue("fa-u-ca-persian", "امروز", "ماه پیش", "، ", "جمعه", 6),
}


@pytest.mark.parametrize("language", ["en", "fa"])
@in_a_loop
async def test_the_name_of_a_day_leads_to_any_other_day_in_the_persons_calendar(
    tmp_path: Path, relay: RelayProcess, language: str
) -> None:
    tongue = TONGUES[language]
    async with talking(tmp_path, relay, language) as talk:
        tab, chat, dialog = talk.tab, talk.chat, talk.tab.get_by_role("dialog")
        for number in range(120):  # three a day: forty days, of which the last is today
            backdate(talk.alice, chat.send(f"line {number}"), (119 - number) // 3 * DAY_MS)
        await tab.reload()
        await tab.locator("chat-list a").click()
        await tab.locator(".entry .day button", has_text=tongue.today).click()
        grid = dialog.get_by_role("grid")
        friday = grid.locator("th").nth(tongue.place)
        assert await friday.get_attribute("abbr") == tongue.friday
        number, weekday, name = await tab.evaluate(
            "(locale) => ["
            "{ day: 'numeric' }, { weekday: 'long' }, { day: 'numeric', month: 'long' }"
            "].map((form) => new Intl.DateTimeFormat(locale, form)"
            ".format(Date.now() - 30 * 864e5))",
            tongue.locale,
        )
        day = grid.get_by_role("button", name=f"{weekday}{tongue.comma}{name}", exact=True)
        while not await day.count():
            await dialog.get_by_role("button", name=tongue.before).click()
        assert await day.inner_text() == number
        await day.click()
        await is_seen(talk.bubble("line 27").first)
        assert not await is_visible(talk, "line 26")


async def is_visible(talk: Talk, text: str) -> bool:
    """Whether a message is on the screen, within the history."""
    top = await talk.tab.locator("chat-history").bounding_box()
    box = await talk.bubble(text).first.bounding_box()
    assert top is not None
    return box is not None and box["y"] + box["height"] > top["y"]


@in_a_loop
async def test_keys_lead_through_the_days_and_no_day_lies_before_the_first_message(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay) as talk:
        tab, chat = talk.tab, talk.chat
        backdate(talk.alice, chat.send("long ago"), 800 * DAY_MS)
        backdate(talk.alice, chat.send("last month"), 31 * DAY_MS)
        chat.send("now")
        await tab.reload()
        await tab.locator("chat-list a").click()
        await talk.bubble("now").wait_for()
        await tab.keyboard.press("Control+f")
        await tab.get_by_role("search").get_by_role("button", name="Go to a day").click()
        dialog = tab.get_by_role("dialog")
        chosen = dialog.locator("[aria-selected=true] button")
        await chosen.and_(tab.locator(":focus")).wait_for()
        start = await chosen.get_attribute("aria-label")
        await tab.keyboard.press("ArrowRight")
        assert await chosen.get_attribute("aria-label") == start  # there is no tomorrow
        for key in ("ArrowLeft", "ArrowUp", "ArrowRight", "ArrowDown"):
            await tab.keyboard.press(key)
        assert await chosen.get_attribute("aria-label") == start
        years = dialog.get_by_label("Year")
        await years.select_option(index=0)
        for _ in range(12):
            await tab.locator("[aria-selected=true] button").press("PageUp")
        assert await dialog.get_by_role("button", name="The month before").is_disabled()
        await chosen.press("Enter")
        await is_seen(talk.bubble("long ago"))
