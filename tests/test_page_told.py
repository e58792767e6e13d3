"""The page follows what others do, and what one does in another tab, in a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pages import (
    holds,
    in_a_loop,
    opened,
    page_of_alice,
    relay,
    show_sheet,
    shown_to,
    until,
)

if TYPE_CHECKING:
    from pathlib import Path

    from relays import RelayProcess

__all__ = ["relay"]  # a fixture
pytestmark = pytest.mark.e2e
DARK = "getComputedStyle(document.body).backgroundColor === 'rgb(22, 28, 32)'"


@in_a_loop
async def test_another_name_of_somebody_stands_everywhere_at_once(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with page_of_alice(tmp_path, relay) as (alice, maryam, tab):
        group = alice.create_group("Bakers", ["مریم"])
        await until(maryam, lambda: len(maryam.conversations()) > 1)
        maryam.chat("Bakers").send("bread is ready")
        chat = alice.chat(group.gid)
        await until(alice, lambda: chat.count() == 1)
        chat.send("coming", reply_to=chat.messages()[0].id)
        maryam.chat("Bakers").messages()[0].react("🔥")
        await until(alice, lambda: bool(chat.messages()[0].reactions))
        await tab.locator("chat-list a", has_text="Bakers").click()
        hers = tab.locator("article", has=tab.locator("p", has_text="bread is ready"))
        await hers.get_by_text("مریم", exact=True).wait_for()
        await hers.click(button="right")
        await tab.get_by_role("menuitem", name="Reply").click()
        bar = tab.locator(".answers-to")
        await bar.get_by_text("مریم").wait_for()
        maryam.rename("Mary")
        await hers.get_by_text("Mary", exact=True).wait_for()
        await tab.locator("article .quote", has_text="Mary").wait_for()
        await bar.get_by_text("Mary").wait_for()
        await tab.locator("chat-list a b", has_text="Mary").wait_for()
        assert await hers.locator(".chip").get_attribute("title") == "\u2068Mary\u2069"
        await tab.locator("textarea").type("@Ma")
        await tab.get_by_role("option", name="Mary").wait_for()
        await tab.keyboard.press("Escape")
        await tab.locator("textarea").fill("")
        maryam.chat("Bakers").send("last word")
        await tab.locator("chat-list a", has_text="Mary: last word").wait_for()
        maryam.rename("Maria")
        await tab.locator("chat-list a", has_text="Maria: last word").wait_for()


@in_a_loop
async def test_what_is_set_in_one_tab_is_so_in_the_others(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with shown_to(tmp_path, relay) as (_, _, server, context):
        one, said_one = await opened(context, server)
        other, said_other = await opened(context, server)
        await show_sheet(one, "settings.showSettings()")
        await show_sheet(other, "settings.showSettings()")
        await one.get_by_label("Theme").select_option("dark")
        await holds(other, DARK)
        assert await other.get_by_label("Theme").input_value() == "dark"
        await one.get_by_label("When a contact adds me").select_option("ask")
        await holds(
            other,
            "[...document.querySelectorAll('select')].some((one) => one.value === 'ask')",
        )
        await one.get_by_label("Read marks").select_option("")
        await holds(
            other, "document.querySelector('select[data-key=\"Read marks\"]')?.value === ''"
        )
        await show_sheet(one, "home.showHome()")
        await show_sheet(other, "home.showHome()")
        both = "Both must be in one region"
        await one.get_by_label(both).check()
        await other.get_by_label(both).and_(other.locator(":checked")).wait_for()
        await one.get_by_role("button", name="Close").click()
        await show_sheet(one, "settings.showSettings()")
        language = one.get_by_role("combobox", name="Language", exact=True)
        await language.select_option("fa")
        for tab in (one, other):
            await tab.wait_for_selector("html[lang=fa][dir=rtl][data-usable]")
        assert said_one + said_other == []


@in_a_loop
async def test_a_gap_is_said_in_its_own_conversation_and_in_no_other_of_that_name(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with page_of_alice(tmp_path, relay) as (alice, maryam, tab):
        whole = maryam.create_group("us", ["alice"])
        torn = maryam.create_group("us", ["alice"])
        for group in (whole, torn):
            maryam.chat(group.gid).send("first")
        await until(alice, lambda: sum(not one.is_direct for one in alice.conversations()) == 2)
        await until(alice, lambda: all(alice.chat(one.gid).count() for one in (whole, torn)))
        with alice._run.unit() as unit:
            unit.db.execute(
                "UPDATE heard SET told = upto + 4, ask_due_at = ? WHERE gid = ?",
                (2**50, torn.gid),
            )
        maryam.chat(torn.gid).send("second")
        await until(alice, lambda: alice.chat(torn.gid).count() == 2)
        note = tab.get_by_role("note")
        await tab.locator(f'chat-list a[href="#{torn.gid.hex()}"]').click()
        await note.get_by_text("of مریم are missing").wait_for()
        await tab.locator(f'chat-list a[href="#{whole.gid.hex()}"]').click()
        await note.wait_for(state="detached")
        await tab.locator("article", has_text="first").wait_for()
        assert await note.count() == 0
