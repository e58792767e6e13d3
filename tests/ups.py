"""`amanat up` in a process of its own, as a person starts it, and the page that it serves."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from typing import TYPE_CHECKING, NamedTuple, Self

from amanat import Client, Unlock
from amanat.drill.process import free_port
from pages import browser, opened, until
from relays import RelayProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from playwright.async_api import BrowserContext, Locator, Page

    from amanat.page.server import Server

SECRET = "nobody would guess this"  # noqa: S105  # of nobody
RETURN_MS = 60_000
"""Longest that a relay which was away may go unnoticed, in milliseconds: a client's pause before it
tries again has grown meanwhile."""
NO_LINE = "WebSocket connection to "
"""How a browser begins to say, by itself, that a page's client is away."""


class Up:
    """`async with Up(profile) as up:` the process that serves the page of a profile, opened."""

    def __init__(self, profile: Path) -> None:
        self._words = (sys.executable, "-m", "amanat", "--profile", str(profile), "--json")

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            await self.kill()

    async def start(self) -> None:
        """Start it, until it has given a link."""
        read, write = os.pipe()
        os.write(write, SECRET.encode())
        os.close(write)
        self.process = await asyncio.create_subprocess_exec(
            *(*self._words, "--passphrase-fd", str(read), "up", "--no-open"),
            stdout=asyncio.subprocess.PIPE,
            pass_fds=[read],
        )
        os.close(read)
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            self._first = str(json.loads(await self.process.stdout.readline())["page"])

    async def link(self) -> str:
        """A link that works: the first, and then others."""
        if self._first:
            first, self._first = self._first, ""
            return first
        asking = await asyncio.create_subprocess_exec(
            *(*self._words, "up", "--no-open"), stdout=asyncio.subprocess.PIPE
        )
        said, _ = await asking.communicate()
        return str(json.loads(said)["page"])

    async def stop(self) -> None:
        """End it as a person does."""
        self.process.terminate()
        assert await self.process.wait() == 0

    async def kill(self) -> None:
        """End it as a crash does."""
        self.process.kill()
        await self.process.wait()


async def met(root: Path, relay: str) -> tuple[Up, Up]:
    """Alice and Babak, who have met; neither process is started."""
    unlock = Unlock(passphrase=SECRET)
    async with (
        await Client.create(root / "alice", unlock, name="Alice", relay=relay) as alice,
        await Client.create(root / "babak", unlock, name="Babak", relay=relay) as babak,
    ):
        babak.accept(alice.invite())
        await until(alice, lambda: bool(alice.contacts() and babak.contacts()))
    return Up(root / "alice"), Up(root / "babak")


class Window(NamedTuple):
    """A page in a tab, in any language, and all that its console has said."""

    tab: Page
    console: list[str]

    @classmethod
    async def of(cls, context: BrowserContext, served: Server | Up) -> Self:
        """The page of a server, or of a process."""
        return cls(
            *await opened(context, await served.link() if isinstance(served, Up) else served)
        )

    def row(self, text: str) -> Locator:
        """The line of a conversation in the list."""
        return self.tab.locator("chat-list .row", has_text=text)

    def bubble(self, text: str) -> Locator:
        return self.tab.locator("article", has=self.tab.locator("p", has_text=text))

    async def word(self, key: str) -> str:
        """A word of the page in its language, by its key."""
        said: str = await self.tab.evaluate(
            "async (key) => (await import(new URL('words.js', location.href))).words[key]"
            " ?? (await import(new URL('more.js', location.href))).more[key]",
            key,
        )
        return said

    async def number(self, number: int) -> str:
        """A number in the digits of the page."""
        said: str = await self.tab.evaluate(
            "(n) => import(new URL('words.js', location.href)).then((m) => m.number.format(n))",
            number,
        )
        return said

    async def fault(self, code: str, detail: str = "") -> str:
        """The sentence with which the page explains an error."""
        said: str = await self.tab.evaluate(
            "async ([code, cause]) => { await import(new URL('more.js', location.href));"
            " const { fault } = await import(new URL('faults.js', location.href));"
            " return fault(new Error(code, { cause })); }",
            [code, detail],
        )
        return said

    async def press(self, *keys: str) -> None:
        """Press one after the other, by the keys of their words."""
        for key in keys:
            name = await self.word(key)
            button = self.tab.get_by_role("button", name=name, exact=True)
            await button.or_(self.tab.get_by_role("menuitem", name=name, exact=True)).last.click()

    async def open(self, name: str) -> None:
        await self.row(name).locator("a").click()
        await self.tab.locator("main h1", has_text=name).wait_for()

    async def say(self, text: str) -> None:
        """Send a text; it is shown, and so it is in the vault."""
        await self.tab.locator("main textarea").fill(text)
        await self.tab.locator("main textarea").press("Enter")
        await self.bubble(text).wait_for()

    async def marked(self, text: str, mark: str) -> None:
        """Wait until a text of one's own has come so far."""
        await self.bubble(text).locator(".mark").get_by_text(mark, exact=True).wait_for()

    async def closes(self) -> list[str]:
        """Close the tab; all that its console said besides that the client was away."""
        await self.tab.close()
        return [one for one in self.console if not one.startswith(NO_LINE)]


class Two(NamedTuple):
    """Two people with a process each, who have met; their relay, and the browser of both."""

    alice: Up
    babak: Up
    relay: RelayProcess
    context: BrowserContext

    async def windows(self) -> tuple[Window, Window]:
        """The pages of both, with the conversation open."""
        pages = await Window.of(self.context, self.alice), await Window.of(self.context, self.babak)
        for page, name in zip(pages, ("Babak", "Alice"), strict=True):
            await page.open(name)
        return pages


@contextlib.asynccontextmanager
async def two(root: Path, language: str = "en") -> AsyncIterator[Two]:
    """Two people who have met, and a browser of this language; their relay has a port that it has
    again when it comes back."""
    with RelayProcess(root / "relay", port=free_port()) as relay:
        alice, babak = await met(root, str(relay.address))
        async with alice, babak, browser(language) as context:
            yield Two(alice, babak, relay, context)
