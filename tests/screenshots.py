"""Pictures of every screen of the page: in both directions, themes and widths.

    python tests/screenshots.py [DIRECTORY] [--only WORD]

Those of the guides (docs/guide.md and docs/guide.fa.md) are among them; `--guide` writes these
alone, to where the guides look for them. `--only` takes the screens with this word in their names.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.async_api import async_playwright

import screens
from pages import CAMERA, SWITCHES, page_of
from relays import RelayProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser, Page

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs" / "guide"
SIZES = {"wide": (1200, 800), "narrow": (390, 844)}
LANGUAGES, THEMES = ("en", "fa"), ("light", "dark")
IN_GUIDE = ("start", "conversation", "invite", "accept", "details", "home", "settings")
"""The screens that the guides show, in the light and wide."""
SETTLES_S = 0.2
"""How long a screen takes at most until nothing on it moves any more."""
FURTHER = """() => {
  const body = document.querySelector("dialog[open] .body");
  if (!body || body.scrollTop + body.clientHeight >= body.scrollHeight - 1) return false;
  body.scrollTop += body.clientHeight - 40;
  return true;
}"""
"""Scrolls a sheet on; whether there was more of it."""


async def take(tab: Page, into: Path, name: str, look: str, *, is_whole: bool) -> None:
    """Take the picture of a screen; of a long sheet, one of each part if it `is_whole`."""
    part, more = 1, True
    while more:
        await asyncio.sleep(SETTLES_S)
        numbered = name if part == 1 else f"{name}-{part}"
        await tab.screenshot(path=into / f"{numbered}-{look}.png")
        part += 1
        more = is_whole and await tab.evaluate(FURTHER)


async def looks(
    driver: Browser, root: Path, language: str, *, is_guide: bool
) -> AsyncIterator[tuple[str, screens.Stage]]:
    """The page in each theme and width of a language."""
    with RelayProcess(root / f"relay-{language}") as relay:
        async with (
            screens.people(root, str(relay.address), language) as alice,
            page_of(alice) as server,
        ):
            for theme in ("light",) if is_guide else THEMES:
                for size in ("wide",) if is_guide else SIZES:
                    width, height = SIZES[size]
                    context = await driver.new_context(
                        locale=language,
                        viewport={"width": width, "height": height},
                        color_scheme="dark" if theme == "dark" else "light",
                        reduced_motion="reduce",
                        is_mobile=size == "narrow",
                        has_touch=size == "narrow",
                    )
                    async with screens.staged(context, server, alice, language) as stage:
                        yield language if is_guide else f"{language}-{theme}-{size}", stage
                    await context.close()


def main() -> None:
    """Take all pictures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("into", type=Path, nargs="?", default=ROOT / ".build" / "screenshots")
    parser.add_argument("--guide", action="store_true")
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    into: Path = GUIDE if args.guide else args.into
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    asyncio.run(take_all(args, into))
    print(f"{len(list(into.iterdir()))} pictures are in {into}")  # noqa: T201


async def take_all(args: argparse.Namespace, into: Path) -> None:
    """Take those that are wanted."""
    wanted = [
        one
        for one in screens.SCREENS
        if args.only in one.name and (not args.guide or one.name in IN_GUIDE)
    ]
    with tempfile.TemporaryDirectory() as directory:
        async with async_playwright() as playwright:
            driver = await playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=[*SWITCHES, *CAMERA]
            )
            for language in LANGUAGES:
                async for look, stage in looks(
                    driver, Path(directory), language, is_guide=args.guide
                ):
                    async for name in screens.shown(stage, wanted):
                        await take(stage.tab, into, name, look, is_whole=not args.guide)
            await driver.close()


if __name__ == "__main__":
    main()
