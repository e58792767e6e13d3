"""A conversation of 100,000 messages on the page, in a browser."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

import pytest

from pages import browser, holds, in_a_loop, page_of, relay, two_friends, until
from ups import Window

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.async_api import Page

    from amanat import Chat, Client
    from relays import RelayProcess

__all__ = ["relay"]  # a fixture
pytestmark = [pytest.mark.e2e, pytest.mark.long]
MANY = 100_000
BEGAN_AT_MS = 1_700_000_000_000
MINUTE_MS = 60_000
ANCHOR = """() => {
    const view = document.querySelector("chat-history").getBoundingClientRect();
    const all = [...document.querySelectorAll("chat-history article")];
    const seen = all.find((one) => one.getBoundingClientRect().bottom > view.top + 100);
    return [seen.querySelector("p").textContent, seen.getBoundingClientRect().top];
}"""
"""A message on the screen, and where it is."""
IS_FULL = """[...document.querySelectorAll("chat-history article")].some((one) => {
    const view = document.querySelector("chat-history").getBoundingClientRect();
    const box = one.getBoundingClientRect();
    return box.top <= view.top + 100 && box.bottom > view.top;
})"""
"""Whether there is a message at the upper end of the screen."""
SHOWN = "Number(/\\d+/.exec(document.querySelector('article p').textContent)[0])"
"""The number of the first message in the page."""


def line(number: int) -> str:
    """Lines of various heights."""
    return f"line {number}" + " and more of it" * (number % 9)


def fill(client: Client, gid: bytes) -> None:
    """Let others have said very much; the vault is as if it had arrived, and it was read."""
    authors = [secrets.token_bytes(32) for _ in range(5)]
    with client._run.unit() as unit:
        unit.db.executemany(
            "INSERT INTO message (gid, id, envelope, identity, signer, seq, clock, sent_at,"
            " kept_at, text) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    *(gid, secrets.token_bytes(16), secrets.token_bytes(16)),
                    *(authors[number % 5], bytes(32), number, number),
                    *[BEGAN_AT_MS + number * MINUTE_MS] * 2,
                    line(number),
                )
                for number in range(MANY)
            ),
        )
        unit.db.execute("UPDATE conversation SET clock = ? WHERE gid = ?", (MANY, gid))
    client.chat(gid).mark_read()


async def shows(tab: Page, text: str) -> None:
    """Wait until a message is on the screen."""
    await holds(
        tab,
        "[...document.querySelectorAll('article p')].some((one) => {"
        f" const box = one.getBoundingClientRect(); return one.textContent === '{text}'"
        " && box.bottom > 0 && box.top < innerHeight; })",
    )


async def at_rest(tab: Page) -> object:
    """The message on the screen and its place, once the screen is full and nothing moves there."""
    await holds(tab, IS_FULL)
    before = None
    while (now := await tab.evaluate(ANCHOR)) != before:
        before = now
        await asyncio.sleep(0.3)
    return before


@in_a_loop
async def test_a_conversation_of_100_000_messages_is_walked_searched_and_stays_put(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with two_friends(tmp_path, relay) as (alice, maryam), page_of(alice) as server:
        group = maryam.create_group("Very long", ["alice"])
        await until(alice, lambda: len(alice.conversations()) == 2)
        chat = alice.chat(group.gid)
        fill(alice, chat.gid)
        for language in ("en", "fa"):  # one vault for both: to fill it takes longest
            async with browser(language) as context:
                window = await Window.of(context, server)
                await walk(window, chat, maryam, language)
                assert window.console == []


async def walk(window: Window, chat: Chat, maryam: Client, language: str) -> None:
    """Go through the conversation in a language while somebody writes."""
    tab, theirs, last = window.tab, maryam.chat(chat.gid), f"the last before {language}"
    chat.mark_read()
    chat.send(last)
    await until(maryam, lambda: theirs.count() > 0 and theirs.messages()[-1].text == last)
    # Her next texts come after all that is there.
    await tab.locator("chat-list a", has_text=last).click()
    await shows(tab, last)
    history = tab.locator("chat-history")
    await history.focus()
    await tab.keyboard.press("Home")
    await shows(tab, "line 0")
    assert await history.evaluate("(one) => one.scrollTop") == 0
    await tab.keyboard.press("End")
    await shows(tab, last)

    for share in (0.25, 0.5, 0.75):
        await history.evaluate("(one, share) => one.scrollTop = share * one.scrollHeight", share)
        await holds(tab, f"Math.abs({SHOWN} / {MANY} - {share}) < 0.02")
    before = await at_rest(tab)
    for number in range(10):
        theirs.send(f"news {number} for {language}")
    counted = await window.number(10)
    await tab.locator("button.down .count", has_text=counted).wait_for()
    assert await tab.evaluate(ANCHOR) == before
    assert await tab.locator("chat-history article").count() <= 120
    assert chat.summary().unread == 10

    await tab.fill("input[type=search]", "line 12345")
    await tab.locator("room-find a", has_text="line 12345").first.click()
    await shows(tab, line(12345))
    await history.focus()
    await tab.keyboard.press("End")
    await shows(tab, f"news 9 for {language}")
    many = chat.count()
    await tab.fill("main textarea", f"so much in {language}")
    await tab.keyboard.press("Enter")
    await shows(tab, f"so much in {language}")
    assert chat.count() == many + 1
