"""The page in a browser, for tests: two people who have met, and a tab whose console is read."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, ParamSpec

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import async_playwright

from amanat import Client, Unlock, page
from relays import RelayProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    from playwright.async_api import Browser, BrowserContext, Page, Playwright

    from amanat.page.server import Server

UNLOCK = Unlock(key=bytes(32))
P = ParamSpec("P")
SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SHELL = "chromium-headless-shell"
"""Chromium without the parts of it that show windows: what a page sees is the same, and it takes
half the time of a processor."""
CAMERA = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
"""A camera that somebody allows."""


END_S = 30
"""Seconds in which a browser ends what was opened in it. One test in thousands waited for ever."""


class Loop:
    """The loop of all tests of a process that need a browser, and the Chromium that they share. To
    start another for each of them took a second of the processor."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._chromium: Browser | None = None
        self._driver = self._runner.run(self._start())

    async def _start(self) -> Playwright:
        driver = await async_playwright().start()
        self._own = asyncio.all_tasks() - {asyncio.current_task()}
        return driver

    def run(self, test: Coroutine[None, None, None]) -> None:
        """Run a test, and end the tasks that it has left behind."""
        try:
            self._runner.run(test)
        finally:
            self._runner.run(self._end_of_test())

    async def _end_of_test(self) -> None:
        left = asyncio.all_tasks() - self._own - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    @contextlib.asynccontextmanager
    async def chromium(self, *switches: str) -> AsyncIterator[Browser]:
        """The shared Chromium, which has a camera that somebody allows; or if there are further
        switches, one that ends with the test."""
        if switches:
            async with await self._launch(*switches) as chromium:
                yield chromium
            return
        if self._chromium is None or not self._chromium.is_connected():
            self._chromium = await self._launch()
        yield self._chromium

    async def end(self, context: BrowserContext) -> None:
        """End what was opened in a browser, or leave the browser, if it does not end that."""
        try:
            async with asyncio.timeout(END_S):
                await context.close()
        except TimeoutError:
            self._chromium = None

    async def _launch(self, *switches: str) -> Browser:
        return await self._driver.chromium.launch(
            executable_path=shutil.which(SHELL), args=[*SWITCHES, *CAMERA, *switches]
        )

    def close(self) -> None:
        """End all of it."""
        self._runner.run(self._stop())
        self._runner.close()

    async def _stop(self) -> None:
        if self._chromium is not None:
            await self._chromium.close()
        await self._driver.stop()


@functools.cache
def the_loop() -> Loop:
    """The loop of this process, which ends with it."""
    loop = Loop()
    atexit.register(loop.close)
    return loop


def in_a_loop(test: Callable[P, Coroutine[None, None, None]]) -> Callable[P, None]:
    """A coroutine as a test: it runs in the loop that has a browser."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        the_loop().run(test(*args, **kwargs))

    return run


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
async def browser(language: str, *switches: str) -> AsyncIterator[BrowserContext]:
    """A browser of this language in which nothing was opened yet, as far as a page can tell."""
    async with the_loop().chromium(*switches) as chromium:
        context = await chromium.new_context(locale=language)
        try:
            yield context
        finally:
            await the_loop().end(context)


async def opened(context: BrowserContext, server: Server | str) -> tuple[Page, list[str]]:
    """The page of a server, or of a link, in a tab; and all that its console says from now on."""
    tab, said = await context.new_page(), list[str]()
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    await tab.goto(server if isinstance(server, str) else server.link())
    await tab.wait_for_selector("[data-usable]")
    return tab, said


class Shown(NamedTuple):
    """Alice, whose page is served; مریم, whom she has met; and a browser for the page."""

    alice: Client
    maryam: Client
    server: Server
    context: BrowserContext


@contextlib.asynccontextmanager
async def shown_to(
    root: Path, relay: RelayProcess, language: str = "en", *switches: str
) -> AsyncIterator[Shown]:
    """A browser of this language, in which nothing is opened yet."""
    async with (
        two_friends(root, relay) as (alice, maryam),
        page_of(alice) as server,
        browser(language, *switches) as context,
    ):
        yield Shown(alice, maryam, server, context)


@contextlib.asynccontextmanager
async def page_of_alice(
    root: Path, relay: RelayProcess, language: str = "en"
) -> AsyncIterator[tuple[Client, Client, Page]]:
    """Alice with her page, and مریم whom she has met. The console must say nothing."""
    async with shown_to(root, relay, language) as (alice, maryam, server, context):
        tab, console = await opened(context, server)
        yield alice, maryam, tab
        assert console == []


async def sheet(tab: Page, *ways: str) -> None:
    """Press these buttons or menu items one after the other, on the page or in the sheet."""
    for one in ways:
        await (
            tab.get_by_role("button", name=one, exact=True)
            .or_(tab.get_by_role("menuitem", name=one, exact=True))
            .last.click()
        )


async def until(client: Client, is_so: Callable[[], bool]) -> None:
    """Wait until something is so for a client."""
    async with asyncio.timeout(30):
        while not is_so():
            await client.changed()


async def faults(tab: Page) -> list[str]:
    """The faults that axe finds in what is shown, or in the sheet over it, if there is one. It is
    not sure of a text that has the colour of its background, for that might be meant: we mean none.
    Where the colours are the browser's, it takes the background for white."""
    axe = Axe()
    if not await tab.evaluate("'axe' in window"):  # half a megabyte: once for each page
        await tab.evaluate(axe.axe_script)
    found = await tab.evaluate(
        "axe.run([...document.querySelectorAll('dialog:modal')].at(-1) ?? document,"
        " { resultTypes: ['violations'] })"
    )
    is_ours = await tab.evaluate(
        "document.styleSheets.length > 0 && !matchMedia('(forced-colors: active)').matches"
    )
    return [
        f"{one['id']}: {node['html']}"
        for kind in ("violations", "incomplete")
        for one in found[kind]
        for node in one["nodes"]
        if kind == "violations" or (is_ours and "equalRatio" in json.dumps(node))
    ]


async def faults_in_both_themes(tab: Page) -> list[str]:
    """The same in the dark, and then in the light."""
    found = list[str]()
    for scheme in ("dark", "light"):
        await tab.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        found += [f"{scheme}: {one}" for one in await faults(tab)]
    return found


async def show_sheet(tab: Page, call: str) -> None:
    """Show a sheet by the call of a module's function, such as "home.showHome()"."""
    file, call = call.split(".", 1)
    await tab.evaluate(f"import(new URL('{file}.js', location.href)).then((m) => {{ m.{call}; }})")
    await tab.locator("dialog[open] .body > *").first.wait_for()


async def holds(tab: Page, expression: str) -> None:
    """Wait until an expression is true; `wait_for_function` needs what the policy forbids.

    A property of an element that is not there, or not there at this moment, is not true.
    """
    asked = (
        f"async () => {{ try {{ return !!(await ({expression})); }} catch {{ return false; }} }}"
    )
    async with asyncio.timeout(30):
        while not await tab.evaluate(asked):  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.05)
