"""Nothing that others have written steers a terminal, and people's honest texts are shown."""

from __future__ import annotations

import json
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amanat import display, front
from amanat.display import FSI, FURTHER, PDI, as_json, block, escaped, shown, told
from amanat.errors import InviteUsed

UNSEEN = {"Cc", "Cf", "Zl", "Zp", "Cs", "Co", "Cn"}
EVERY = [
    one
    for one in map(chr, range(sys.maxunicode + 1))
    if unicodedata.category(one) not in ("Cn", "Co") or ord(one) % 997 == 0
]
"""Every character that has a meaning, and some of the 950,000 others."""


def test_no_character_without_a_glyph_goes_out_by_itself() -> None:
    unseen = {
        one for one in EVERY if unicodedata.category(one) in UNSEEN and one not in display._VISIBLE
    }
    assert len(unseen) > 500
    text = "".join(f"a{one}b" for one in EVERY if one in unseen)
    assert not unseen & set(escaped(text))
    assert not unseen & set(as_json([text]))
    assert not unseen & set(display._safe(text)) - {FSI, PDI}
    assert display._safe(f"a{FSI}b{PDI}c{PDI}{FSI}") == f"a{FSI}b{PDI}c\\u2069{FSI}{PDI}"
    rest = "".join(one for one in EVERY if one not in unseen)
    assert escaped(rest) == rest


@pytest.mark.long
def test_json_of_every_character_is_the_same_value() -> None:
    text = "".join(one for one in EVERY if unicodedata.category(one) != "Cs")
    told = as_json({text: text})
    assert json.loads(told) == {text: text}
    assert json.loads(display.as_ascii(told)) == {text: text}
    assert not {unicodedata.category(one) for one in set(told)} & UNSEEN


@pytest.mark.parametrize(
    "text",
    [
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",  # Persian, with the joiner it needs
        "\u0647\u200d.\u0642",  # and with the other one, at a word's end
        "\u0915\u094d\u200d\u0937 \u0915\u094d\u200c\u0937",  # Hindi: after a virama
        "\u09b0\u200d\u09cd\u09af",  # Bengali: before a virama
        "\U0001f469\u200d\U0001f469\u200d\U0001f467",  # an emoji made of several
        "\U0001f469\U0001f3fd\u200d\U0001f4bb \u2764\ufe0f\u200d\U0001f525",
        "\U0001f642\u200d\u2194\ufe0f",
        "\u06dd \u0600\u0661",  # the end of a verse, and a number sign
        "שלום é ñ 漢字 ไทย",
        "a\\b ~ € …",
    ],
)
def test_what_people_write_is_shown_as_it_is(text: str) -> None:
    assert escaped(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Al\u200cice", "Al\\u200cice"),  # a joiner where nothing joins
        ("\u200dAlice\u200c", "\\u200dAlice\\u200c"),
        ("\u06cc\u200c\u200c\u062e", "\u06cc\u200c\\u200c\u062e"),
        ("\u200b", "\\u200b"),
        ("a\tb", "a    b"),
        ("left\u200e right\u200f soft\u00ad", "left right soft"),
        ("\x1b]0;x\x07\x9b2J\x7f", "\\x1b]0;x\\x07\\x9b2J\\x7f"),
        ("\u202e\u2066\u2068\u2069", "\\u202e\\u2066\\u2068\\u2069"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_what_could_deceive_is_written_out(text: str, expected: str) -> None:
    assert escaped(text) == expected


def test_a_name_is_one_line_and_a_text_has_its_further_lines_marked() -> None:
    assert shown("Mal\nCarol") == f"{FSI}Mal\\nCarol{PDI}"
    assert block("one\ntwo\r\n\nfour").split("\n") == [
        f"{FSI}one{PDI}", f"{FURTHER}{FSI}two{PDI}", f"{FURTHER}{FSI}{PDI}",
        f"{FURTHER}{FSI}four{PDI}",
    ]  # fmt: skip


@pytest.mark.long
@given(st.text(), st.text())
def test_no_line_leaves_an_isolate_open_or_ends_another_s(one: str, other: str) -> None:
    for line in (display._safe(f"{shown(one)}: {shown(other)}"), display._safe(one + FSI + other)):
        depth = 0
        for mark in line:
            depth += (mark == FSI) - (mark == PDI)
            assert depth >= 0
        assert depth == 0


@given(st.text())
def test_what_was_escaped_once_is_not_escaped_again(text: str) -> None:
    once = escaped(text)
    assert display._safe(shown(text)) == f"{FSI}{once}{PDI}"


def test_an_error_is_told_in_one_line_that_can_be_copied() -> None:
    assert told(InviteUsed("/a path/x")).endswith(" (/a path/x)")
    assert told(InviteUsed("a\n\x1b[2J\u202e")).endswith(" (a\\n\\x1b[2J\\u202e)")
    assert told(InviteUsed("علی")).endswith(f" ({FSI}علی{PDI})")
    assert told(InviteUsed()) == InviteUsed.text


class Terminal:
    """Bars of a terminal, if there is one: what is on it, and what was shown before."""

    def __init__(self, *, is_there: bool) -> None:
        self.is_there = is_there
        self.bars: dict[int, front.Bar] = {}
        self.drawn: list[str] = []

    def draw(self, bar: front.Bar) -> bool:
        self.bars[bar.number] = bar
        self.drawn.append(bar.text)
        return self.is_there

    def clear(self) -> None:
        self.bars.clear()


def test_long_work_is_a_bar_on_a_terminal_which_goes_before_anything_else_is_said(
    capfd: pytest.CaptureFixture[str],
) -> None:
    terminal = Terminal(is_there=True)
    screen = display.Screen(is_json=False, draw=lambda _: None, bars=terminal)
    screen.bar(front.Bar(1, "a\x1b[2J: half", 5, 10))
    screen.bar(front.Bar(2, "b", 1, 10))
    assert terminal.drawn == ["a\\x1b[2J: half", "b"]
    assert capfd.readouterr().err == ""
    screen.say(front.NOTE, "amanat: done\n")
    assert not terminal.bars
    screen.bar(front.Bar(1, "a", 9, 10))
    screen.close(0, is_question=False)
    assert not terminal.bars


@pytest.mark.parametrize("is_json", [False, True])
def test_long_work_is_a_note_for_each_tenth_without_a_terminal_and_beside_json(
    capfd: pytest.CaptureFixture[str], *, is_json: bool
) -> None:
    terminal = Terminal(is_there=is_json)
    screen = display.Screen(is_json=is_json, draw=lambda _: None, bars=terminal)
    for done in (0, 1, 2, 9, 10, 19, 20, 30):
        screen.bar(front.Bar(7, f"{done} of 20", done, 20))
    screen.bar(front.Bar(8, "another", 20, 20))
    shown = capfd.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == [
        f"amanat: {one}"
        for one in ("2 of 20", "9 of 20", "10 of 20", "19 of 20", "20 of 20", "another")
    ]


def test_a_line_that_comes_in_pieces_is_one(capfd: pytest.CaptureFixture[str]) -> None:
    screen = display.Screen(is_json=False, draw=lambda _: None, bars=Terminal(is_there=False))
    for piece in (f"{FSI}a", f"b{PDI}\nthe ", "rest"):
        screen.say(front.RESULT, piece)
    assert capfd.readouterr().out == f"{FSI}ab{PDI}\n"
    assert screen.close(0, is_question=True) == 0
    assert capfd.readouterr().out == "the rest"
