"""Every screen of the page in a browser: it is accessible, and fits."""

from __future__ import annotations

import re
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal

import pytest

import screens
from pages import browser, faults, in_a_loop, page_of, relay

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.async_api import ViewportSize

    from relays import RelayProcess

__all__ = ["relay"]  # a fixture
LOOKS = [("en", "dark"), ("fa", "light")]
"""A contrast depends on the theme alone, and a name or a direction on the language alone."""
NARROW: ViewportSize = {"width": 320, "height": 640}
"""The least window: one of 1,280 pixels, in which everything is four times as large."""
WIDE: ViewportSize = {"width": 1280, "height": 800}
FOCUS = """() => {
  const top = [...document.querySelectorAll("dialog[open]")].at(-1);
  return !top || top.contains(document.activeElement);
}"""
"""Whether the focus is in what lies above everything else."""
UNSEEN = """() => [document.activeElement]
  .filter((one) => one !== document.body && getComputedStyle(one).outlineStyle === "none")
  .map((one) => one.outerHTML.slice(0, 120))"""
"""The element that has the focus, if nobody sees that it has."""
OUT = """async () => {
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  return [...document.querySelectorAll("body *")]
  .filter((one) => one.checkVisibility() && !one.closest(".spoken, .unseen, .empty, chat-history"))
  .filter((one) => {
    const { left, right, width } = one.getBoundingClientRect();
    return width > 1 && (left < -1 || right > innerWidth + 1);
  })
  .map((one) => one.outerHTML.slice(0, 120));
}"""
"""The elements that stand out of the window at its sides."""


def called_in(taken: dict[str, Any]) -> set[str]:
    """The names of the functions that a browser has called since it was asked last."""
    return {
        function["functionName"]
        for script in taken["result"]
        for function in script["functions"]
        if function["ranges"][0]["count"]
    }


@pytest.mark.e2e
@pytest.mark.long
@pytest.mark.parametrize("area", screens.SHEETS)
@pytest.mark.parametrize(("language", "theme"), LOOKS)
@in_a_loop
async def test_every_screen_is_accessible_and_fits_in_both_themes_and_languages(
    tmp_path: Path, relay: RelayProcess, language: str, theme: Literal["dark", "light"], area: str
) -> None:
    async with (
        screens.people(tmp_path, str(relay.address), language) as alice,
        page_of(alice) as server,
        browser(language) as context,
        screens.staged(context, server, alice, language) as stage,
    ):
        await stage.tab.emulate_media(color_scheme=theme, reduced_motion="reduce")
        line = await context.new_cdp_session(stage.tab)
        await line.send("Profiler.enable")
        await line.send("Profiler.startPreciseCoverage", {"callCount": True, "detailed": False})
        found, called = list[str](), set[str]()
        async for name in screens.shown(stage, screens.of(area)):
            assert await stage.tab.evaluate(FOCUS), name
            found += [f"{name}: {one}" for one in await faults(stage.tab)]
            await stage.tab.set_viewport_size(NARROW)
            found += [f"{name}: {one}" for one in await stage.tab.evaluate(OUT)]
            await stage.tab.set_viewport_size(WIDE)
            await stage.tab.keyboard.press("Tab")
            found += [f"{name}: {one}" for one in await stage.tab.evaluate(UNSEEN)]
            called |= called_in(await line.send("Profiler.takePreciseCoverage"))
        assert found == []
        assert screens.SHEETS[area] - called == set()
        assert stage.window.console == []


def test_every_function_that_shows_something_is_called_on_the_way_to_a_screen() -> None:
    web = resources.files("amanat.page") / "web"
    shown = [
        name
        for file in web.iterdir()
        if file.name.endswith(".js")
        for name in re.findall(r"function (show[A-Z]\w*)", file.read_text())
    ]
    assert len(set(shown)) == len(shown)
    assert set.union(*screens.SHEETS.values()) == set(shown)
    assert {one.area for one in screens.SCREENS} == screens.SHEETS.keys()
