"""The page in a browser, for tests: two people who have met, and a tab whose console is read."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec

import pytest
from playwright.async_api import async_playwright

from amanat import Client, Unlock, page
from relays import RelayProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    from playwright.async_api import BrowserContext, Page

    from amanat.page.server import Server

UNLOCK = Unlock(key=bytes(32))
P = ParamSpec("P")


def in_a_loop(test: Callable[P, Coroutine[None, None, None]]) -> Callable[P, None]:
    """A coroutine as a test: it runs in a loop of its own."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[RelayProcess]:
    with RelayProcess(tmp_path / "relay") as running:
        yield running


@contextlib.asynccontextmanager
async def two_friends(root: Path, relay: RelayProcess) -> AsyncIterator[tuple[Client, Client]]:
    """Alice, and مریم whom she has met."""
    address = str(relay.address)
    async with (
        await Client.create(root / "alice", UNLOCK, name="alice", relay=address) as alice,
        await Client.create(root / "maryam", UNLOCK, name="مریم", relay=address) as maryam,
    ):
        maryam.accept(alice.invite())
        async with asyncio.timeout(30):
            while not (alice.contacts() and maryam.contacts()):
                await alice.changed()
        yield alice, maryam


@contextlib.asynccontextmanager
async def page_of(client: Client) -> AsyncIterator[Server]:
    house = page.House(Path("/nowhere"))
    async with page.serving(house, port=0) as server:
        await house._stay.enter_async_context(house.hosting(client))
        yield server
        await house.close()


@contextlib.asynccontextmanager
async def browser(language: str) -> AsyncIterator[BrowserContext]:
    async with async_playwright() as driver:
        chromium = await driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=SWITCHES
        )
        yield await chromium.new_context(locale=language)
        await chromium.close()


async def opened(context: BrowserContext, server: Server) -> tuple[Page, list[str]]:
    """The page in a tab, and the list of all that its console says from now on."""
    tab, said = await context.new_page(), list[str]()
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    await tab.goto(server.link())
    await tab.wait_for_selector("[data-usable]")
    return tab, said


async def holds(tab: Page, expression: str) -> None:
    """Wait until an expression is true; `wait_for_function` needs what the policy forbids."""
    async with asyncio.timeout(30):
        while not await tab.evaluate(expression):  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.05)
