"""A conversation on the page, in a browser."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NamedTuple

import pytest
from axe_playwright_python.async_playwright import Axe

from pages import browser, in_a_loop, opened, page_of, relay, two_friends

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from playwright.async_api import Locator, Page

    from amanat import Client
    from amanat.client.sdk.chat import Chat
    from relays import RelayProcess

__all__ = ["relay"]  # a fixture
pytestmark = pytest.mark.e2e
DAY_MS = 86_400_000


class Talk(NamedTuple):
    """Alice's page with her conversation with مریم, and both clients."""

    tab: Page
    alice: Client
    maryam: Client

    @property
    def chat(self) -> Chat:
        return self.alice.chat("مریم")

    def bubble(self, text: str) -> Locator:
        return self.tab.locator("article", has=self.tab.locator("p", has_text=text))

    async def hear(self, *texts: str) -> None:
        """مریم says these, and they have arrived."""
        for text in texts:
            self.maryam.contact("alice").send(text)
        await until(self.alice, lambda: texts[-1] in [one.text for one in self.chat.messages()])

    async def choose(self, text: str, item: str) -> None:
        """Press an item of a message's menu."""
        await self.bubble(text).click(button="right")
        await self.tab.get_by_role("menuitem", name=item, exact=True).click()


async def until(client: Client, is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not is_so():
            await client.changed()


@contextlib.asynccontextmanager
async def talking(
    root: Path, relay: RelayProcess, language: str = "en", *, texts: int = 0
) -> AsyncIterator[Talk]:
    """Alice has opened her conversation with مریم, in which she has said some texts."""
    async with (
        two_friends(root, relay) as (alice, maryam),
        page_of(alice) as server,
        browser(language) as context,
    ):
        for number in range(texts):
            alice.chat("مریم").send(f"line {number}")
        await context.grant_permissions(["clipboard-read", "clipboard-write"])
        tab, console = await opened(context, server)
        await tab.locator("chat-list a").click()
        await tab.locator("textarea").and_(tab.locator(":focus")).wait_for()
        yield Talk(tab, alice, maryam)
        assert console == []


def backdate(client: Client, row: int, ms: int) -> None:
    """Let a message have been sent earlier."""
    with client._run.unit() as unit:
        unit.db.execute("UPDATE message SET sent_at = sent_at - ? WHERE row = ?", (ms, row))


@in_a_loop
async def test_messages_of_one_person_are_a_group_and_each_day_begins_with_its_name(
    tmp_path: Path, relay: RelayProcess
) -> None:
    async with talking(tmp_path, relay) as talk:
        chat = talk.chat
        rows = [chat.send(text) for text in ("long ago", "yesterday", "now", "and now")]
        for row, days in zip(rows, (400, 1, 0, 0), strict=True):
            backdate(talk.alice, row, days * DAY_MS)
        await talk.tab.reload()
        await talk.tab.locator("chat-list a").click()
        await talk.bubble("and now").wait_for()
        days = await talk.tab.locator(".entry .day").all_inner_texts()
        assert days[1:] == ["Yesterday", "Today"]
        assert days[0].endswith(("2023", "2024", "2025", "2026", "2027"))
        follows = talk.tab.locator(".entry.follows")
        assert await follows.locator("p").all_inner_texts() == ["and now"]
        assert (await Axe().run(talk.tab)).violations_count == 0
