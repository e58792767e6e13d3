"""Statements name a state, a wish or a purpose only by a word that exists."""

from __future__ import annotations

import ast
import re
from enum import StrEnum
from pathlib import Path

import pytest

from amanat.client.rules.commits import Wish
from amanat.client.rules.outbox import Purpose
from amanat.client.schema import SCHEMA
from amanat.client.state import State

ROOT = Path(__file__).parent.parent / "src" / "amanat"
SOURCES = sorted(path for path in ROOT.rglob("*.py") if path.name != "schema.py")


def statements() -> list[str]:
    """Every string of the program, with adjacent parts joined."""
    found = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                parts = [one.value for one in node.values if isinstance(one, ast.Constant)]
                found.append(" ".join(map(str, parts)))
    return found


def compared(column: str, *, table: str = "") -> list[tuple[str, ...]]:
    """The words with which statements about a table compare a column, or to which they set it."""
    either = re.compile(rf"\b{column} (?:(?:=|!=|<>) ('[a-z-]+')|(?:NOT )?IN \(('[^)]+)\))")
    return [
        tuple(re.findall(r"'([a-z-]+)'", one or some))
        for text in statements()
        if table in text
        for one, some in either.findall(text)
    ]


@pytest.mark.long
def test_statements_know_only_states_that_exist() -> None:
    found = compared("state")
    assert {word for words in found for word in words} <= set(State)
    assert len(found) > 10


@pytest.mark.long
def test_statements_that_name_several_states_mean_what_the_states_say() -> None:
    members = {state for state in State if state.is_member}
    readers = {state for state in State if state.reads_drops}
    for words in compared("state"):
        assert len(words) == 1 or set(words) in (members, readers)


@pytest.mark.long
def test_statements_know_only_wishes_that_exist() -> None:
    found = compared("kind", table="intent")
    assert {word for words in found for word in words} <= set(Wish)
    assert len(found) > 4


@pytest.mark.long
def test_statements_know_only_purposes_that_exist() -> None:
    found = [*compared("purpose"), *compared("kind", table="repeat")]
    assert {word for words in found for word in words} <= set(Purpose)
    assert len(found) > 20


@pytest.mark.parametrize(
    ("line", "words"),
    [("state      TEXT NOT NULL", State), ("purpose TEXT NOT NULL", Purpose)],
    ids=["states", "purposes"],
)
def test_the_schema_lists_every_word(line: str, words: type[StrEnum]) -> None:
    rest = SCHEMA.split(line, 1)[1]
    comment = re.match(r"(?:,\s*--[^\n]*\n)(?:\s*--[^\n]*\n)*", rest)
    assert comment is not None
    assert set(re.findall(r"'([a-z-]+)'", comment[0])) == set(words)
