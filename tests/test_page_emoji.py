"""Emoji by their names: which ones there are, and in the box of the page in a browser."""

from __future__ import annotations

import re
from importlib import resources
from typing import TYPE_CHECKING

import pytest

from amanat.page import emoji
from pages import in_a_loop, relay
from talks import talking

if TYPE_CHECKING:
    from pathlib import Path

    from relays import RelayProcess

__all__ = ["relay"]  # a fixture


def test_the_names_are_those_of_unicode_and_few_enough_for_one_answer() -> None:
    names = dict(emoji.names())
    assert names["🦊"] == "fox face"
    assert names["❤"] == "heavy black heart"
    assert 1000 < len(names) < 3000
    assert not [one for one in names if one.isalnum() or one.isascii()]


def test_both_languages_call_the_same_emoji_by_names_of_their_own() -> None:
    english, persian = (
        dict(re.findall('^  "(.+?)": "(.+)",$', text.partition("const emoji")[2], re.MULTILINE))
        for text in (
            (resources.files("amanat.page") / "web" / name).read_text()
            for name in ("words-en.js", "words-fa.js")
        )
    )
    assert list(english) == list(persian)
    assert all(value.isascii() for value in english.values())
    assert not [value for value in persian.values() if re.search("[a-z]", value)]


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("language", "typed", "name", "written"),
    [
        ("en", "so :fox", "fox face", "so 🦊"),
        ("en", ":hea", "heart", "❤️"),
        ("en", ":water_bu", "water buffalo", "🐃"),
        ("fa", "این :هندو", "هندوانه", "این 🍉"),
        ("fa", ":fox", "fox face", "🦊"),
    ],
)
@in_a_loop
async def test_a_colon_completes_the_name_of_an_emoji(
    tmp_path: Path, relay: RelayProcess, language: str, typed: str, name: str, written: str
) -> None:
    async with talking(tmp_path, relay, language) as talk:
        tab, box = talk.tab, talk.tab.locator("textarea")
        await box.type(typed)
        offered = tab.get_by_role("option")
        await offered.filter(has_text=name).first.wait_for()
        assert 1 <= await offered.count() <= 8
        await box.press("Enter")
        assert await box.input_value() == written
        assert talk.chat.count() == 0
        await box.fill("at 10:30, or http://x :")
        await offered.first.wait_for(state="detached")
        await box.fill("a:hea")
        await box.press("Enter")
        await talk.bubble("a:hea").wait_for()
