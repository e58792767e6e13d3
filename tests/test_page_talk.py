"""A conversation on the page, in a browser."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import pytest

from amanat.client.events import StatusChanged
from amanat.protocol import codec
from amanat.protocol.messages import Envelope, Kind, Text
from pages import faults_in_both_themes, holds, in_a_loop, relay, until
from talks import Talk, backdate, flashes, hide, is_seen, settled_at, talking

if TYPE_CHECKING:
    from pathlib import Path

    from relays import RelayProcess

__all__ = ["relay"]  # a fixture
pytestmark = pytest.mark.e2e
DAY_MS = 86_400_000
HELD = 2**50
"""A time after which nothing is asked for, in Unix milliseconds."""
REPAIR_MS = 120_000
"""Longest that a resend may take, in milliseconds: cells overtake each other, so the client waits
before it asks, and longer before it asks again."""


@pytest.mark.parametrize(
    ("language", "days"), [("en", ["Yesterday", "Today"]), ("fa", ["دیروز", "امروز"])]
)
@in_a_loop
async def test_messages_of_one_person_are_a_group_and_each_day_begins_with_its_name(
    tmp_path: Path, relay: RelayProcess, language: str, days: list[str]
) -> None:
    async with talking(tmp_path, relay, language) as talk:
        chat = talk.chat
        rows = [chat.send(text) for text in ("long ago", "yesterday", "now", "and now")]
        for row, ago in zip(rows, (400, 1, 0, 0), strict=True):
            backdate(talk.alice, row, ago * DAY_MS)
        await talk.tab.reload()
        await talk.tab.locator("chat-list a").click()
        await talk.bubble("and now").wait_for()
        first, *others = await talk.tab.locator(".entry .day").all_inner_texts()
        assert others == days
        # The year stands at the end, and Persian has a calendar and digits of its own.
        wanted = {"en": r"\w+, \w+ \d+, \d{4}", "fa": r"\D+ \d+ \D+ \d{4}"}[language]
        assert re.fullmatch(wanted, first)
        assert first.isascii() == (language == "en")
        follows = talk.tab.locator(".entry.follows")
        assert await follows.locator("p").all_inner_texts() == ["and now"]
        assert await faults_in_both_themes(talk.tab) == []


@in_a_loop
async def test_when_the_line_was_gone_everything_stays_as_it_was(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay, texts=150) as talk:
        tab = talk.tab
        await tab.locator("textarea").fill("half a text")
        await tab.evaluate("document.querySelector('chat-history').scrollBy(0, -3000)")
        there = await settled_at(tab)
        await tab.evaluate("document.documentElement.dataset.usable = ''")
        talk.server.hang_up()
        talk.chat.send("meanwhile")
        await tab.locator("[data-usable='1']").wait_for()
        assert await settled_at(tab) == there
        assert await tab.input_value("textarea") == "half a text"


@in_a_loop
async def test_a_quote_leads_to_its_message_and_the_button_returns(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay, texts=150) as talk:
        tab, chat = talk.tab, talk.chat
        first = chat.messages()[0]
        chat.send("that one", reply_to=first.id)
        for number in range(30):
            chat.send(f"after {number}")
        answer = talk.bubble("that one")
        await answer.wait_for()
        assert await answer.locator(".quote > *").all_inner_texts() == ["You", "line 0"]
        await answer.scroll_into_view_if_needed()
        assert await faults_in_both_themes(tab) == []
        async with flashes(tab, "line 0"):
            await answer.locator(".quote").click()
        await is_seen(talk.bubble("line 0").first)
        async with flashes(tab, "that one"):
            await tab.locator("button.down").click()
        await is_seen(answer)
        await tab.locator("button.down").click()
        await tab.locator("button.down").wait_for(state="hidden")


@in_a_loop
async def test_one_answers_from_the_menu_and_by_keys_and_a_draft_keeps_the_answer(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay) as talk:
        tab, chat = talk.tab, talk.chat
        await talk.hear("first", "second")
        await talk.bubble("second").wait_for()
        bar = tab.locator(".answers-to")
        await talk.choose("first", "Reply")
        assert await bar.locator(".quote > *").all_inner_texts() == ["Reply to مریم", "first"]
        await tab.keyboard.press("Escape")
        await bar.wait_for(state="hidden")
        await tab.keyboard.press("Control+ArrowUp")
        await bar.get_by_text("second").wait_for()
        await tab.keyboard.press("Control+ArrowUp")
        await bar.get_by_text("first").wait_for()
        await tab.fill("textarea", "half")
        await until(talk.alice, lambda: chat.summary().draft == "half")
        await tab.reload()
        await tab.locator("chat-list a").click()
        await bar.get_by_text("first").wait_for()
        await tab.keyboard.press("End")
        await tab.keyboard.type(" an answer")
        await tab.keyboard.press("Enter")
        await talk.bubble("half an answer").locator(".quote", has_text="first").wait_for()
        assert await bar.is_hidden()
        await until(talk.alice, lambda: chat.summary().draft == "")
        [answer] = [one for one in chat.messages() if one.is_own]
        assert answer.reply_to is not None
        assert answer.reply_to.text == "first"


@in_a_loop
async def test_the_menu_opens_by_pointer_button_touch_and_key_and_gives_the_focus_back(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay, texts=3) as talk:
        tab, menu = talk.tab, talk.tab.get_by_role("menu")
        bubble = talk.bubble("line 1")
        await bubble.click(button="right")
        names = await menu.get_by_role("menuitem").all_inner_texts()
        assert names[1:] == [
            *("Reply", "Forward…", "Copy", "Edit", "Select", "Details"),
            *("Delete for me", "Delete for everyone"),
        ]
        assert await menu.get_by_role("menuitemcheckbox").count() == 8
        await tab.keyboard.press("Escape")
        await menu.wait_for(state="hidden")
        await bubble.and_(tab.locator(":focus")).wait_for()
        await bubble.hover()
        await tab.locator("button.dots").click()
        await menu.wait_for()
        await tab.keyboard.press("Escape")
        touch = {"pointerType": "touch", "bubbles": True, "clientX": 900, "clientY": 200}
        await bubble.dispatch_event("pointerdown", touch)
        await menu.wait_for()
        await tab.keyboard.press("Escape")
        await bubble.and_(tab.locator(":focus")).wait_for()
        await tab.keyboard.press("ArrowDown")
        await tab.keyboard.press("Enter")
        await menu.wait_for()
        await tab.keyboard.press("ArrowRight")
        await tab.keyboard.press("ArrowDown")
        await menu.get_by_role("menuitem", name="Reply").and_(tab.locator(":focus")).wait_for()
        await tab.keyboard.press("ArrowDown")
        await tab.keyboard.press("ArrowDown")
        await tab.keyboard.press("Enter")
        await holds(tab, "navigator.clipboard.readText().then((text) => text === 'line 2')")
        await talk.choose("line 1", "Details")
        details = await tab.get_by_role("dialog").inner_text()
        assert "From\nYou" in details.replace("\n\n", "\n")
        assert "Today" in details


@in_a_loop
async def test_an_edit_is_begun_by_a_key_and_costs_no_draft(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay) as talk:
        tab, box = talk.tab, talk.tab.locator("textarea")
        talk.chat.send("wrogn")
        await talk.bubble("wrogn").wait_for()
        await box.press("ArrowUp")
        assert await box.input_value() == "wrogn"
        await box.fill("right")
        await box.press("Enter")
        await talk.bubble("right").get_by_text("edited").wait_for()
        assert await box.input_value() == ""
        await box.fill("a draft")
        await talk.choose("right", "Edit")
        await box.fill("not so")
        await box.press("Escape")
        assert await box.input_value() == "a draft"
        await until(talk.alice, lambda: talk.chat.summary().draft == "a draft")
        assert [one.text for one in talk.chat.messages()] == ["right"]
        assert await tab.locator(".answers-to").is_hidden()


@in_a_loop
async def test_reactions_are_chips_that_give_and_take_back_ones_own(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay) as talk:
        tab, chat = talk.tab, talk.chat
        await talk.hear("good news")
        await talk.bubble("good news").click(button="right")
        await tab.get_by_role("menuitemcheckbox", name="👍").click()
        chip = talk.bubble("good news").locator(".chip")
        await chip.and_(tab.locator("[aria-pressed=true]")).wait_for()
        assert await faults_in_both_themes(tab) == []
        assert await chip.get_attribute("title") == "\u2068You\u2069"
        [heard] = talk.maryam.chat("alice").messages()
        heard.react("👍")
        await chip.get_by_text("2").wait_for()
        assert await chip.get_attribute("title") == "\u2068You\u2069, \u2068مریم\u2069"
        await chip.click()
        await chip.and_(tab.locator("[aria-pressed=false]")).wait_for()
        assert chat.messages()[0].reactions == {"مریم": "👍"}
        await talk.bubble("good news").click(button="right")
        await tab.get_by_role("menuitem", name="React with something else").click()
        await tab.keyboard.type("🦊")
        await tab.keyboard.press("Enter")
        await talk.bubble("good news").locator(".chip", has_text="🦊").wait_for()


@in_a_loop
async def test_a_text_is_deleted_here_or_for_everyone_after_a_question(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay, texts=3) as talk:
        tab, chat, dialog = talk.tab, talk.chat, talk.tab.get_by_role("dialog")
        await talk.choose("line 0", "Delete for me")
        await dialog.get_by_role("button", name="Cancel").and_(tab.locator(":focus")).wait_for()
        await tab.keyboard.press("Escape")
        await dialog.wait_for(state="detached")
        assert chat.count() == 3
        await talk.choose("line 0", "Delete for me")
        await dialog.get_by_role("button", name="Delete for me").click()
        await talk.bubble("line 0").wait_for(state="detached")
        assert chat.count() == 2
        await talk.choose("line 1", "Delete for everyone")
        await dialog.get_by_role("button", name="Delete for everyone").click()
        await tab.locator("article.deleted").get_by_text("This message was deleted.").wait_for()
        assert chat.messages()[0].is_deleted
        await tab.locator("article.deleted").click(button="right")
        names = await tab.get_by_role("menuitem").all_inner_texts()
        assert names == ["Select", "Details", "Delete for me"]


@in_a_loop
async def test_several_messages_are_chosen_copied_and_deleted(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay, texts=6) as talk:
        tab = talk.tab
        await talk.choose("line 1", "Select")
        await talk.bubble("line 4").click(modifiers=["Shift"])
        bar = tab.get_by_role("toolbar")
        await bar.get_by_text("4 messages selected").wait_for()
        await talk.bubble("line 2").click()
        await bar.get_by_text("3 messages selected").wait_for()
        await bar.get_by_role("button", name="Copy").click()
        copied = await tab.evaluate("navigator.clipboard.readText()")
        assert copied.count("alice") == 3
        assert copied.endswith("line 4")
        assert await bar.is_hidden()
        await talk.choose("line 1", "Select")
        await tab.keyboard.press("Escape")
        assert await bar.is_hidden()
        await talk.choose("line 1", "Select")
        await talk.bubble("line 3").click()
        await bar.get_by_role("button", name="Delete").click()
        await tab.get_by_role("dialog").get_by_role("button", name="Delete for me").click()
        await talk.bubble("line 3").wait_for(state="detached")
        assert [one.text for one in talk.chat.messages()] == [
            "line 0",
            "line 2",
            "line 4",
            "line 5",
        ]
        assert await bar.is_hidden()


@in_a_loop
async def test_a_link_opens_only_after_its_true_address_was_shown(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay) as talk:
        tab, dialog = talk.tab, talk.tab.get_by_role("dialog")
        asked = list[str]()
        tab.context.on("request", lambda request: asked.append(request.url))
        talk.chat.send("see https://example.com/a?b=c. javascript:alert(1) or http://x\u202ey.com")
        talk.chat.send("https://\u0435\u0445ample.com/ and http://bank.example@192.0.2.1/")
        await talk.bubble("\u0435\u0445ample").wait_for()
        links = tab.locator("a.url")
        assert await links.all_inner_texts() == [
            *("https://example.com/a?b=c", "http://x"),
            *("https://\u0435\u0445ample.com/", "http://bank.example@192.0.2.1/"),
        ]
        assert await tab.locator("chat-history [href]").count() == 0
        await links.nth(0).click()
        await dialog.get_by_text("https://example.com/a?b=c", exact=True).wait_for()
        assert await dialog.locator(".caution").count() == 0
        await dialog.get_by_role("button", name="Copy").click()
        address = "https://example.com/a?b=c"
        await holds(tab, f"navigator.clipboard.readText().then((text) => text === '{address}')")
        await links.nth(2).click()
        await dialog.get_by_text("https://xn--").wait_for()
        await dialog.get_by_text("mixes letters").wait_for()
        await tab.keyboard.press("Escape")
        await links.nth(3).click()
        await dialog.get_by_text("begins with a name").wait_for()
        assert not [one for one in asked if "127.0.0.1" not in one]
        await tab.context.route("**/*", lambda route: route.abort())
        async with tab.context.expect_page() as opening:
            await dialog.get_by_role("button", name="Open").click()
        assert await (await opening.value).evaluate("window.opener") is None


@in_a_loop
async def test_a_text_that_disappears_says_how_long_it_lasts(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay) as talk:
        talk.maryam.chat("alice").set_timer(3600)
        await talk.hear("hers")
        await until(talk.alice, lambda: talk.chat.view().timer == 3600)
        talk.chat.send("mine")
        assert await talk.bubble("mine").locator(".timer").inner_text() == "◔ 59 min"
        timer = talk.bubble("hers").locator(".timer")
        # It lasts from when it was read, and it is read once it was on the screen.
        await timer.get_by_text("min").wait_for()
        title = await timer.get_attribute("title")
        assert title is not None
        assert title.startswith("Disappears in 59 min")


@in_a_loop
async def test_a_gap_is_said_in_its_place_until_it_is_closed(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay) as talk:
        await talk.hear("one", "two")
        talk.chat.send("meanwhile")
        hers = talk.maryam.chat("alice")
        await until(talk.maryam, lambda: hers.messages()[-1].text == "meanwhile")
        with talk.alice._run.unit() as unit:  # as if "two" had not arrived
            unit.db.execute("DELETE FROM message WHERE text = 'two'")
            unit.db.execute("UPDATE heard SET upto = upto - 1, hash = x'', ask_due_at = ?", (HELD,))
        await talk.hear("three")
        with talk.alice._run.unit() as unit:
            unit.db.execute("UPDATE heard SET ask_due_at = ?", (HELD,))
            unit.events.append(StatusChanged())
        note = talk.tab.get_by_role("note")
        await note.wait_for()
        text = "message of مریم is missing. They are asked to send it again."
        assert (await note.inner_text()).endswith(text)
        await talk.tab.reload()
        await talk.tab.locator("chat-list a").click()
        gap = talk.tab.locator(".entry", has_text="three").get_by_role("note")
        await gap.wait_for()
        assert await talk.tab.locator("[role=note]").count() == 1
        with talk.alice._run.unit() as unit:
            unit.db.execute("UPDATE heard SET ask_due_at = NULL")
            unit.events.append(StatusChanged())
        await note.wait_for(state="detached")
        said = await talk.tab.locator("article p").all_inner_texts()
        assert said == ["one", "meanwhile", "three"]


@pytest.mark.long
@in_a_loop
async def test_a_gap_is_closed_by_what_the_relay_brings_when_it_is_sent_again(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay) as talk:
        await talk.hear("one")
        talk.maryam.contact("alice").send("two")
        with talk.maryam._run.unit() as unit:  # as if the relay had taken it and lost it
            lost = unit.db.execute("DELETE FROM outbox WHERE purpose = 'cell'").rowcount
        assert lost >= 1
        await talk.hear("three")
        note = talk.tab.locator(".entry", has_text="three").get_by_role("note")
        await note.wait_for()
        said = talk.tab.locator("article p")
        assert await said.all_inner_texts() == ["one", "three"]
        await note.wait_for(state="detached", timeout=REPAIR_MS)
        await talk.bubble("two").wait_for()
        assert await said.all_inner_texts() == ["one", "two", "three"]
        assert talk.alice.status().missing == []


@in_a_loop
async def test_what_nobody_has_said_anything_after_is_missing_at_the_end(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay) as talk:
        await talk.hear("one")
        with talk.alice._run.unit() as unit:
            unit.db.execute("UPDATE heard SET told = upto + 4, ask_due_at = ?", (2**50,))
            unit.events.append(StatusChanged())
        await talk.tab.locator("chat-history > .after").get_by_role("note").wait_for()


@in_a_loop
async def test_it_opens_at_the_first_unread_text_and_marks_only_what_was_on_the_screen(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay, texts=60) as talk:
        tab, chat = talk.tab, talk.chat
        await hide(tab, is_hidden=True)
        await talk.hear(*(f"hers {number}" for number in range(40)))
        await talk.bubble("hers 39").wait_for()
        await asyncio.sleep(0.5)
        assert chat.summary().unread == 40
        await tab.reload()
        await tab.locator("chat-list a").click()
        await is_seen(tab.locator(".divider"))
        await is_seen(talk.bubble("hers 0"))
        await until(talk.alice, lambda: chat.summary().unread < 40)
        await asyncio.sleep(0.5)
        assert chat.summary().unread > 20
        await tab.locator("button.down").click()
        await is_seen(talk.bubble("hers 39"))
        await asyncio.sleep(0.5)
        # Those between were not on the screen, and they arrived before these.
        assert chat.summary().unread > 15
        for _ in range(30):
            await tab.locator("chat-history").hover()
            await tab.mouse.wheel(0, -150)
            await asyncio.sleep(0.05)
        await until(talk.alice, lambda: chat.summary().unread == 0)


@in_a_loop
async def test_nothing_moves_when_something_comes_and_a_repaired_text_is_announced(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay, texts=100) as talk:
        tab, chat = talk.tab, talk.chat
        await talk.hear("hers")
        await is_seen(talk.bubble("hers"))
        await tab.evaluate("document.querySelector('chat-history').scrollBy(0, -1500)")
        await asyncio.sleep(0.3)
        looked_at = talk.bubble("line 80")
        before = await looked_at.bounding_box()
        await talk.hear("new one", "new two")
        await tab.locator("button.down .count").get_by_text("2").wait_for()
        arrive_late(talk, "repaired")
        chip = tab.get_by_role("button", name="1 earlier message arrived")
        await chip.wait_for()
        assert await looked_at.bounding_box() == before
        assert chat.summary().unread == 3
        await chip.click()
        await is_seen(talk.bubble("repaired"))
        assert await chip.is_hidden()
        await asyncio.sleep(0.4)
        assert chat.summary().unread == 3  # others arrived before it, and nobody saw them
        await tab.locator("button.down").click()
        await is_seen(talk.bubble("new two"))
        await tab.locator("button.down").wait_for(state="hidden")
        await until(talk.alice, lambda: chat.summary().unread == 0)


@in_a_loop
async def test_one_returns_to_where_one_was_and_home_and_end_are_the_true_ends(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay, texts=200) as talk:
        tab = talk.tab
        talk.alice.create_group("notes", ["مریم"])
        await tab.locator("chat-list a", has_text="notes").wait_for()
        history = tab.locator("chat-history")
        await history.focus()
        await tab.keyboard.press("Home")
        await is_seen(talk.bubble("line 0").first)
        await tab.keyboard.press("End")
        await is_seen(talk.bubble("line 199"))
        await history.evaluate("one => one.scrollTop = one.scrollHeight / 2")
        there = await settled_at(tab)
        await tab.locator("chat-list a", has_text="notes").click()
        await tab.locator("h1", has_text="notes").wait_for()
        await tab.locator("chat-list a", has_text="مریم").click()
        await is_seen(talk.bubble(there[0]).last)
        assert await settled_at(tab) == there


@in_a_loop
async def test_the_box_sends_breaks_lines_grows_and_keeps_every_character(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay, "fa") as talk:
        chat, box = talk.chat, talk.tab.locator("textarea")
        small = await box.bounding_box()
        await box.type("می\u200cشوم")
        await box.press("Shift+Enter")
        await box.type("<b>not bold</b>\u200c")
        large = await box.bounding_box()
        assert small is not None
        assert large is not None
        assert large["height"] > small["height"]
        await box.dispatch_event(
            "keydown", {"key": "Enter", "isComposing": True, "bubbles": True, "cancelable": True}
        )
        await asyncio.sleep(0.2)
        assert chat.count() == 0
        await box.press("Enter")
        await talk.bubble("not bold").wait_for()
        assert chat.messages()[0].text == "می\u200cشوم\n<b>not bold</b>\u200c"
        assert await box.input_value() == ""
        await box.fill("   ")
        await box.press("Enter")
        await box.fill("one")
        await box.press("Enter")
        await box.fill("two")
        await box.press("Enter")
        await talk.bubble("two").wait_for()
        await until(talk.alice, lambda: chat.summary().draft == "")
        assert [one.text for one in chat.messages()][1:] == ["one", "two"]


@in_a_loop
async def test_a_refused_text_comes_back_with_a_sentence_and_a_draft_stays_in_its_box(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay) as talk:
        tab, chat, box = talk.tab, talk.chat, talk.tab.locator("textarea")
        for text in ("a word" * 10_001, "یک واژه" * 5_000):
            await box.fill(text)
            await box.press("Enter")
            await tab.get_by_role("alert").get_by_text("too long").wait_for()
            assert await box.input_value() == text
        talk.alice.contact("مریم").block()
        await box.fill("hello")
        assert await tab.get_by_role("alert").is_hidden()
        await box.press("Enter")
        await tab.get_by_role("alert").get_by_text("You have blocked this person.").wait_for()
        assert await box.input_value() == "hello"
        talk.alice.create_group("notes", ["مریم"])
        await tab.locator("chat-list a", has_text="notes").click()
        await tab.locator("h1", has_text="notes").wait_for()
        assert await box.input_value() == ""
        await until(talk.alice, lambda: chat.summary().draft == "hello")
        await tab.locator("chat-list a", has_text="مریم").click()
        await tab.wait_for_function("document.querySelector('textarea').value === 'hello'")
        await box.fill("hello again")
        await tab.locator("chat-list a", has_text="مریم").click()
        assert await box.input_value() == "hello again"


@in_a_loop
async def test_an_at_sign_completes_the_name_of_a_member(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay) as talk:
        tab, box = talk.tab, talk.tab.locator("textarea")
        talk.alice.create_group("us", ["مریم"])
        await tab.locator("chat-list a", has_text="us").click()
        await until(talk.alice, lambda: "مریم" in talk.alice.chat("us").view().people)
        await box.type("hello @مر")
        await tab.get_by_role("option", name="مریم").wait_for()
        await box.press("Enter")
        assert await box.input_value() == "hello @مریم "
        assert talk.alice.chat("us").count() == 0


@in_a_loop
async def test_a_screen_reader_hears_a_message_in_order_and_only_what_comes_at_the_end(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay, texts=100) as talk:
        tab = talk.tab
        voice = tab.locator(".stream [aria-live=polite]")
        history = tab.get_by_role("log")
        assert await history.get_attribute("aria-live") == "off"
        await history.evaluate("one => one.scrollTop = 0")
        await talk.bubble("line 5").first.wait_for()
        assert await voice.inner_text() == ""
        talk.maryam.contact("alice").send("hello")
        await voice.get_by_text("hello").wait_for()
        await tab.locator("button.down").click()
        bubble = talk.bubble("hello")
        words = await bubble.evaluate("one => one.innerText.split('\\n')")
        assert words[0:3:2] == ["مریم", "hello"] or words[:2] == ["مریم", "hello"]
        await history.focus()
        await tab.keyboard.press("ArrowUp")
        await bubble.and_(tab.locator(":focus")).wait_for()
        label = await bubble.get_attribute("aria-label")
        assert label is not None
        await bubble.press("x")
        assert await tab.input_value("textarea") == "x"
        order = [label.index(part) for part in ("مریم", "hello", "Today")]
        assert order == sorted(order)
        assert await tab.locator("article[tabindex='0']").count() == 1
        assert await faults_in_both_themes(tab) == []


@in_a_loop
async def test_a_finger_that_rests_on_a_message_opens_its_menu_and_the_box_pushes_nothing_away(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay, texts=40) as talk:
        tab, last = talk.tab, talk.bubble("line 39")
        box = await last.bounding_box()
        assert box is not None
        finger = await tab.context.new_cdp_session(tab)
        at = {"x": box["x"] + 20, "y": box["y"] + 10}
        await finger.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [at]})
        await tab.get_by_role("menu").wait_for()
        await finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        await asyncio.sleep(0.3)
        assert await tab.get_by_role("menu").count() == 1
        await tab.get_by_role("menuitem", name="Reply").click()
        assert await tab.get_by_role("menu").count() == 0
        await tab.locator("textarea").fill("one\ntwo\nthree\nfour")
        await is_seen(last)


def arrive_late(talk: Talk, text: str) -> None:
    """A text of مریم comes that she said at the very beginning."""
    [maryam] = talk.alice.contacts()
    said = Envelope(
        *(b"r" * 16, 999, bytes(32), 0, 1_700_000_000_000, Kind.TEXT),
        codec.encode(Text(text, None, 0)),
        *([], {}),
    )
    history = talk.alice._run.parts.conversations.history
    with talk.alice._run.unit() as unit:
        gid = talk.chat.gid
        unit.events += history.take(unit, gid, maryam.identity, maryam.identity, said)


@in_a_loop
async def test_a_mark_says_that_a_text_was_read(tmp_path: Path, relay: RelayProcess) -> None:
    async with talking(tmp_path, relay) as talk:
        talk.chat.send("خواندی؟")
        theirs = talk.maryam.chat("alice")
        await until(talk.maryam, lambda: theirs.count() > 0)
        assert await talk.tab.locator("article .mark.read").count() == 0
        theirs.mark_read()
        theirs.send("بله")  # which carries it
        mark = talk.bubble("خواندی؟").locator(".mark.read")
        await mark.wait_for()
        assert await mark.get_attribute("title") == "Everybody has read it"
        assert await faults_in_both_themes(talk.tab) == []
