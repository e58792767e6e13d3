"""docs/adding.md names every place: an example of each recipe is mentioned in no other file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
ADDING = (ROOT / "docs" / "adding.md").read_text(encoding="utf-8")
HERE = {"docs/adding.md", "tests/test_adding.py"}
_PATH = re.compile(r"`((?:src|tests|docs|fuzz)/[\w/.]+\.(?:py|md)|[A-Z]+\.md)`")


class Recipe(NamedTuple):
    """A section of the document, and the words that mention its example."""

    heading: str
    mention: str


RECIPES = [
    Recipe("A message kind", r"\b[Rr]eact(?:ion|ions|s|ed)?\b|REACTION"),
    Recipe("A relay verb", r"\bConsult(?:ed)?\b"),
    Recipe("A command", r"\bdecline\b"),
]
each = pytest.mark.parametrize("recipe", RECIPES, ids=[one.heading for one in RECIPES])


def part(recipe: Recipe) -> str:
    """The section of a recipe."""
    return ADDING.split(f"\n## {recipe.heading}\n", 1)[1].split("\n## ", 1)[0]


def places(recipe: Recipe) -> list[tuple[str, str]]:
    """The files of its table, each with the text that names it."""
    rows = [line.strip("| ").split(" | ") for line in part(recipe).splitlines() if "| `" in line]
    return [(row[0].strip("`"), row[-1]) for row in rows]


def mentions(recipe: Recipe) -> set[str]:
    """The files that mention its example."""
    paths = [
        path
        for suffix in ("src/**/*.py", "tests/*.py", "fuzz/*.py", "docs/*.md", "CHANGELOG.md")
        for path in ROOT.glob(suffix)
    ]
    return {
        str(path.relative_to(ROOT))
        for path in paths
        if re.search(recipe.mention, path.read_text(encoding="utf-8"))
    } - HERE


@each
def test_each_file_that_mentions_the_example_is_named_and_the_reverse(recipe: Recipe) -> None:
    named = _PATH.findall(part(recipe))
    assert len(named) == len(set(named))
    assert set(named) == mentions(recipe)


@each
def test_tests_that_name_a_place_exist(recipe: Recipe) -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").glob("test_*.py"))
    for _, by in places(recipe):
        for test in re.findall(r"`(test_\w+)`", by):
            assert f"def {test}(" in tests, test


@each
def test_mypy_names_a_place_only_where_a_match_is_whole(recipe: Recipe) -> None:
    for path, by in places(recipe):
        if by == "mypy":
            assert "assert_never(" in (ROOT / path).read_text(encoding="utf-8"), path


def test_files_that_the_document_names_exist() -> None:
    for path in re.findall(r"`((?:[\w.]+/)*[\w.]+\.(?:py|md))`", ADDING):
        at = [ROOT / path, ROOT / "src" / "amanat" / path]
        assert any(one.exists() for one in at), path
