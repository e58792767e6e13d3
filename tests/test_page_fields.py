"""A sentence says what a person types that does not fit, and the client never hangs up."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from amanat import page
from pages import browser, faults, in_a_loop, opened, relay, shown_to, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from playwright.async_api import Page

    from amanat import Client
    from relays import RelayProcess

__all__ = ["relay"]  # a fixture
pytestmark = pytest.mark.e2e
TOO_MUCH = "x" * 9000
UNFIT = "A name is one line that can be seen."


@contextlib.asynccontextmanager
async def typing(root: Path, relay: RelayProcess) -> AsyncIterator[tuple[Client, Page]]:
    """Alice's page, whose line must stay."""
    async with shown_to(root, relay) as (alice, _, server, context):
        tab, console = await opened(context, server)
        lines = list[str]()
        tab.on("websocket", lambda line: lines.append(line.url))
        yield alice, tab
        assert lines == []
        assert console == []


async def press(tab: Page, *names: str) -> None:
    """Press one after the other."""
    for one in names:
        button = tab.get_by_role("button", name=one, exact=True)
        await button.or_(tab.get_by_role("menuitem", name=one, exact=True)).last.click()


async def is_refused(tab: Page, typed: str, sentence: str) -> None:
    """A name is typed, and its field says that it does not fit."""
    box = tab.locator("dialog .field input").first
    await box.fill(typed)
    await box.press("Enter")
    wrong = tab.locator("dialog .field + [role=alert]").first
    await wrong.filter(has_text=sentence).wait_for()
    assert await wrong.get_attribute("id") == await box.get_attribute("aria-describedby")
    await box.and_(tab.locator("[aria-invalid=true]:focus")).wait_for()
    assert await tab.locator("dialog .failed").inner_text() == ""


@in_a_loop
async def test_a_name_that_is_none_is_refused_at_its_field(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with typing(tmp_path, relay) as (alice, tab):
        alice.create_group("Bakers")
        every: tuple[tuple[str, ...], ...] = (
            ("Begin something new", "New group"),
            ("Details", "Rename the group"),
            ("alice", "Change your name"),
        )
        for ways in every:
            if ways[0] == "Details":
                await tab.locator("chat-list a", has_text="Bakers").click()
            await press(tab, *ways)
            await is_refused(tab, "", "Write a name.")
            await is_refused(tab, "  ", "Write a name.")
            await is_refused(tab, "x" * 101, "A name has 100 characters at most.")
            await is_refused(tab, "\u2067\u200b", UNFIT)
            assert await faults(tab) == []
            await tab.locator("dialog input").first.fill("😀" * 100)
            assert await tab.locator("dialog [aria-invalid=true]").count() == 0
            await tab.locator("dialog button.chief").click()
            await tab.locator("dialog .body", has_text="at most").wait_for(state="detached")
            await tab.keyboard.press("Escape")
            await tab.keyboard.press("Escape")
            await tab.locator("dialog[open]").wait_for(state="detached")
        await until(alice, lambda: alice.status().name == "😀" * 100)
        names = sorted(one.name for one in alice.conversations())
        assert names == sorted(["مریم", "😀" * 100, "😀" * 100])


@in_a_loop
async def test_too_long_a_line_is_refused_in_words_wherever_one_can_paste_it(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with typing(tmp_path, relay) as (_, tab):
        for ways, field, end in (
            (("Begin something new", "New contact", "Use somebody’s link"), "Their link", "Knock"),
            (("alice", "Add a second relay"), "Address of the relay", "Use this relay"),
            (("alice", "A relay has moved house"), "Address of the relay", "Set"),
            (("alice", "Use a certain relay in between"), "Address of the relay", "Set"),
        ):
            await press(tab, *ways)
            await tab.get_by_label(field).fill(TOO_MUCH)
            await press(tab, end)
            await tab.get_by_role("alert").filter(has_text="is not allowed here").wait_for()
            await press(tab, "Close")
        await tab.get_by_role("searchbox").fill(TOO_MUCH)
        await tab.get_by_text("Nothing found.").wait_for()
        await press(tab, "alice", "Change the regions")
        await tab.get_by_label("Any region").uncheck()
        letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
        pairs = " ".join(one + other for one in letters for other in letters)
        await tab.get_by_label("Regions by their two letters").fill(pairs)
        await press(tab, "Set")
        await tab.get_by_role("alert").filter(has_text="is not allowed here").wait_for()


@in_a_loop
async def test_a_field_that_does_not_fit_is_shown_where_one_begins(tmp_path: Path) -> None:
    house = page.House(tmp_path / "alice")
    async with page.serving(house, port=0) as server, browser("en") as context:
        tab, console = await opened(context, server)
        for name in ("Your name", "A passphrase", "The same passphrase"):
            await tab.get_by_label(name).fill("nobody would guess this")
        country = tab.get_by_label("Country of this machine")
        await tab.get_by_text("Relay and proxy", exact=True).click()
        await country.fill("1")
        await tab.get_by_text("Relay and proxy", exact=True).click()
        await country.wait_for(state="hidden")
        await tab.get_by_role("button", name="Begin").click()
        await country.wait_for()
        assert console == []


@in_a_loop
async def test_a_link_in_the_search_that_is_none_is_explained_where_it_can_be_mended(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with typing(tmp_path, relay) as (_, tab):
        await tab.get_by_role("searchbox").fill("look: amanat-invite:half")
        await tab.locator("room-find a", has_text="Use this link").wait_for()
        assert await faults(tab) == []
        await tab.keyboard.press("Enter")
        await tab.get_by_role("alert").filter(has_text="not a whole invite").wait_for()
        assert await tab.get_by_label("Their link").input_value() == "amanat-invite:half"
        assert await tab.get_by_role("searchbox").input_value() == ""
