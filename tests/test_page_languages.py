"""A further language of the page is two more files: its words, in a browser."""

from __future__ import annotations

import shutil
from importlib import resources
from pathlib import Path

import pytest

from amanat import page
from pages import browser, in_a_loop, opened

pytestmark = pytest.mark.e2e
RUSSIAN = """
import * as English from "./words-en.js";

export const { emoji, faults, warnings } = English;
/** @type {import("./words.js").Words} */
export const words = {
  ...English.words,
  locale: "ru",
  outside: "Эта ссылка больше не ведёт внутрь.",
  welcome: "Добро пожаловать",
  peopleOne: "{n} человек",
  peopleFew: "{n} человека",
  peopleMany: "{n} человек",
};
"""
COUNTED = """(n) => import(new URL('phrase.js', location.href))
    .then(({ many }) => many('people', n))"""


@pytest.mark.long
@in_a_loop
async def test_a_third_language_is_two_files_beside_the_others(tmp_path: Path) -> None:
    with resources.as_file(resources.files("amanat.page") / "web") as web:
        shutil.copytree(web, tmp_path / "web")
    (tmp_path / "web" / "words-ru.js").write_text(RUSSIAN)
    (tmp_path / "web" / "more-ru.js").write_text('export * from "./more-en.js";')
    house = page.House(tmp_path / "alice")
    async with page.serving(house, port=0, web=tmp_path / "web") as server:
        async with browser("de-DE") as context:  # which nobody has written
            tab, console = await opened(context, server)
            tongues = tab.locator(".tongues button")
            assert await tongues.all_inner_texts() == ["English", "فارسی", "Русский"]
            await tongues.filter(has_text="Русский").click()
            await tab.locator("html[lang=ru]").wait_for()
            await tab.get_by_role("heading", name="Добро пожаловать").wait_for()
            told = [await tab.evaluate(COUNTED, n) for n in (1, 3, 5, 21)]
            assert told == ["1 человек", "3 человека", "5 человек", "21 человек"]
            await tongues.filter(has_text="فارسی").click()
            await tab.locator("html[lang=fa]").wait_for()
            assert console == []
        async with browser("ru-RU") as context:
            tab, console = await opened(context, server)
            assert await tab.locator("html").get_attribute("lang") == "ru"
            assert console == []
            # A link that no longer leads in says so in every language, this one among them.
            await tab.goto(server.link().partition("?")[0])
            said = tab.get_by_text("Эта ссылка больше не ведёт внутрь.")
            assert await said.get_attribute("lang") == "ru"
            assert await tab.locator("p[lang]").count() == 3
        await house.close()
