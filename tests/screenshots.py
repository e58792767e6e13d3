"""Pictures of every screen of the page: in both directions, themes and widths.

    python tests/screenshots.py [DIRECTORY]

Those of the guides (docs/guide.md and docs/guide.fa.md) are among them; `--guide` writes these
alone, to where the guides look for them. The people and their words are made up.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.async_api import async_playwright

from amanat import Client, page
from pages import SHEETS, SWITCHES, UNLOCK, show_sheet, until
from relays import RelayProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser, Page

    from amanat.page.server import Server

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs" / "guide"
SIZES = {"wide": (1200, 800), "narrow": (390, 844)}
LANGUAGES, THEMES = ("en", "fa"), ("light", "dark")
IN_GUIDE = ("start", "conversation", "invite", "accept", "details", "home", "settings")
"""The screens that the guides show, in the light and wide."""
NAMES = {"en": ("Alice", "Maryam", "Babak"), "fa": ("آلیس", "مریم", "بابک")}
TALK = {
    "en": (
        "Good morning! Did the books arrive?",
        "They did, all four. Thank you.",
        "The one about bridges is for you alone.",
        "I will read it on the train. When do you come back?",
        "On Thursday, I think.",
    ),
    "fa": (
        "صبح به‌خیر! کتاب‌ها رسیدند؟",
        "رسیدند، هر چهارتا. سپاس.",
        "آن که دربارهٔ پل‌هاست تنها برای توست.",
        "در قطار می‌خوانمش. کی برمی‌گردی؟",
        "گمانم پنج‌شنبه.",
    ),
}
FIND = {"en": "book", "fa": "کتاب"}
EMOJI = {"en": ":hea", "fa": ":گل"}
GROUP = {"en": "Mountain on Friday", "fa": "جمعه، کوه"}


async def people(root: Path, relay: RelayProcess, language: str) -> list[Client]:
    """Three people who have met, and have talked."""
    made = [
        await Client.create(
            root / f"{language}{number}", UNLOCK, name=name, relay=str(relay.address)
        )
        for number, name in enumerate(NAMES[language])
    ]
    for client in made:
        client.start()
    alice, *others = made
    for other in others:
        other.accept(alice.invite())
        await until(alice, lambda: bool(other.contacts()))  # noqa: B023  # awaited here
    maryam = others[0]
    hers, ours = maryam.chat(NAMES[language][0]), alice.chat(NAMES[language][1])
    for number, text in enumerate(TALK[language]):
        speaker, listener = (hers, ours) if number % 2 == 0 else (ours, hers)
        answered = listener.messages()[-1].id if number == 3 else ""
        speaker.send(text, reply_to=answered and speaker.messages()[-1].id)
        await until(alice, lambda: ours.count() > number)  # noqa: B023
        await until(maryam, lambda: hers.count() > number)  # noqa: B023
    ours.messages()[0].react("❤️")
    group = alice.create_group(GROUP[language], NAMES[language][1:])
    await until(others[1], lambda: any(not c.is_direct for c in others[1].conversations()))
    others[1].chat(GROUP[language]).send("⛰️")
    await until(alice, lambda: alice.chat(group.gid).count() > 0)
    return made


async def screens(tab: Page, alice: Client, language: str) -> AsyncIterator[str]:
    """Show one screen after the other; gives their names."""
    await tab.wait_for_selector("chat-list a")
    yield "list"
    chat = alice.chat(NAMES[language][1]).gid.hex()
    await tab.locator(f'chat-list a[href="#{chat}"]').click()
    await tab.locator("article").last.wait_for()
    yield "conversation"
    await tab.locator("article").first.click(button="right")
    await tab.locator("[role=menu]").wait_for()
    yield "menu"
    await tab.keyboard.press("Escape")
    await tab.keyboard.press("Control+f")
    await tab.keyboard.type(FIND[language])
    await tab.locator(".entry.flash").wait_for()
    yield "seek"
    await tab.keyboard.press("Escape")
    await tab.locator(".entry .day button").last.click()
    await tab.locator("[role=grid]").wait_for()
    yield "days"
    await tab.keyboard.press("Escape")
    await tab.fill("main textarea", "")
    await tab.locator("main textarea").type(EMOJI[language])
    await tab.locator("[role=option]").first.wait_for()
    yield "emoji"
    await tab.fill("main textarea", "")
    await tab.locator("article:not(.own)").last.hover()
    yield "quick"
    for name in SHEETS:
        await show_sheet(tab, name, chat)
        if name == "invite":
            await tab.locator("dialog[open] .body button").first.click()
            await tab.locator("dialog[open] .code path").first.wait_for()
        yield name
        await tab.locator("dialog[open] .head button").last.click()


async def take(
    driver: Browser, server: Server, look: tuple[str, str, str], *, alice: Client | None
) -> AsyncIterator[tuple[str, Page]]:
    """A tab for a language, a theme and a width, at each of its screens."""
    language, theme, size = look
    width, height = SIZES[size]
    context = await driver.new_context(
        locale=language,
        viewport={"width": width, "height": height},
        color_scheme="dark" if theme == "dark" else "light",
        reduced_motion="reduce",
    )
    tab = await context.new_page()
    await tab.goto(server.link())
    await tab.wait_for_selector("[data-usable]")
    if alice is None:
        yield "start", tab
    else:
        async for name in screens(tab, alice, language):
            await asyncio.sleep(0.3)
            yield name, tab
    await context.close()


async def main() -> None:
    """Take all pictures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("into", type=Path, nargs="?", default=ROOT / ".build" / "screenshots")
    parser.add_argument("--guide", action="store_true")
    args = parser.parse_args()
    into = GUIDE if args.guide else args.into
    looks = [
        (language, theme, size)
        for language in LANGUAGES
        for theme in (("light",) if args.guide else THEMES)
        for size in (("wide",) if args.guide else SIZES)
    ]
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    with (
        tempfile.TemporaryDirectory() as directory,
        RelayProcess(Path(directory) / "relay") as relay,
    ):
        root = Path(directory)
        async with async_playwright() as playwright:
            driver = await playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=SWITCHES
            )
            for language in LANGUAGES:
                made = await people(root, relay, language)
                for alice in (None, made[0]):
                    house = page.House(root / f"new-{language}")
                    async with page.serving(house, port=0) as server:
                        if alice is not None:
                            await house._stay.enter_async_context(house.hosting(alice))
                        for look in (one for one in looks if one[0] == language):
                            async for name, tab in take(driver, server, look, alice=alice):
                                if args.guide and name not in IN_GUIDE:
                                    continue
                                file = f"{name}-{'-'.join(look)}.png"
                                if args.guide:
                                    file = f"{name}-{language}.png"
                                await tab.screenshot(path=into / file)
                        await house.close()
                for client in made:
                    await client.close()
            await driver.close()
    print(f"{len(list(into.iterdir()))} pictures are in {into}")  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main())
