"""A conversation in a browser, for tests: Alice's page, open at what she and مریم say."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NamedTuple

from pages import opened, shown_to, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from playwright.async_api import Locator, Page

    from amanat import Client
    from amanat.client.sdk.chat import Chat
    from amanat.page.server import Server
    from relays import RelayProcess


class Talk(NamedTuple):
    """Alice's page with her conversation with مریم, and both clients."""

    tab: Page
    alice: Client
    maryam: Client
    server: Server

    @property
    def chat(self) -> Chat:
        return self.alice.chat("مریم")

    def bubble(self, text: str) -> Locator:
        return self.tab.locator("article", has=self.tab.locator("p", has_text=text))

    async def hear(self, *texts: str) -> None:
        """مریم says these, and Alice's page has them."""
        for text in texts:
            self.maryam.contact("alice").send(text)
        await until(self.alice, lambda: texts[-1] in [one.text for one in self.chat.messages()])
        await self.bubble(texts[-1]).wait_for(state="attached")

    async def choose(self, text: str, item: str) -> None:
        """Press an item of a message's menu."""
        await self.bubble(text).click(button="right")
        await self.tab.get_by_role("menuitem", name=item, exact=True).click()


@contextlib.asynccontextmanager
async def talking(
    root: Path, relay: RelayProcess, language: str = "en", *, texts: int = 0
) -> AsyncIterator[Talk]:
    """Alice has opened her conversation with مریم, in which she has said some texts."""
    async with shown_to(root, relay, language) as (alice, maryam, server, context):
        for number in range(texts):
            alice.chat("مریم").send(f"line {number}")
        await context.grant_permissions(["clipboard-read", "clipboard-write"])
        tab, console = await opened(context, server)
        await tab.locator("chat-list a").click()
        await tab.locator("textarea").and_(tab.locator(":focus")).wait_for()
        yield Talk(tab, alice, maryam, server)
        assert console == []


async def is_seen(one: Locator) -> None:
    """Wait until something is on the screen, within the history. We look for it each time, because
    the page may draw it anew meanwhile."""
    async with asyncio.timeout(30):
        while not await one.evaluate(_IS_SEEN):  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.05)


_IS_SEEN = """one => {
    const a = one.getBoundingClientRect();
    const b = document.querySelector('chat-history').getBoundingClientRect();
    return a.height > 0 && a.top >= b.top && a.bottom <= b.bottom;
}"""


@contextlib.asynccontextmanager
async def flashes(tab: Page, text: str = "") -> AsyncIterator[None]:
    """A message flashes once this is done. The mark is short, so we wait for it from before."""
    waiting = asyncio.create_task(tab.locator(".entry.flash", has_text=text).wait_for())
    await asyncio.sleep(0)
    try:
        yield
        await waiting
    finally:
        waiting.cancel()


async def looked_at(tab: Page) -> tuple[str, int]:
    """The first message on the screen, and where it is."""
    text, top = await tab.evaluate(
        "() => { const one = document.querySelector('chat-history');"
        " const b = one.getBoundingClientRect();"
        " return [...one.querySelectorAll('article')]"
        ".map((a) => [a.querySelector('p').textContent, a.getBoundingClientRect().top])"
        ".find(([, top]) => top > b.top); }"
    )
    return text, round(top)


async def settled_at(tab: Page) -> tuple[str, int]:
    """The same, once it stays: on a busy machine a page takes its time after a wheel turn."""
    before = None
    async with asyncio.timeout(30):
        while (now := await looked_at(tab)) != before:
            before = now
            await asyncio.sleep(0.3)
    return now


async def hide(tab: Page, *, is_hidden: bool) -> None:
    """Let the tab be hidden, or not, as far as the page can tell."""
    state = "hidden" if is_hidden else "visible"
    await tab.evaluate(
        "state => { Object.defineProperty(document, 'visibilityState',"
        " { configurable: true, get: () => state });"
        " document.dispatchEvent(new Event('visibilitychange')); }",
        state,
    )


def backdate(client: Client, row: int, ms: int) -> None:
    """Let a message have been sent earlier."""
    with client._run.unit() as unit:
        unit.db.execute("UPDATE message SET sent_at = sent_at - ? WHERE row = ?", (ms, row))
