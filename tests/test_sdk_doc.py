"""docs/sdk.md names everything that programs can use, and shows the bot of examples/."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import amanat
from amanat import bots
from amanat.client.sdk.chat import Chat
from amanat.client.sdk.client import Client
from amanat.client.sdk.imports import Imports
from amanat.client.sdk.offers import Offers
from amanat.client.sdk.together import Together
from amanat.client.sdk.unlocking import Unlocking
from amanat.client.sdk.views import Contact, Message
from amanat.client.shell.exits import Exits
from amanat.client.shell.hopping import Hopping
from amanat.client.shell.watch import Watch

ROOT = Path(__file__).parent.parent
DOC = (ROOT / "docs" / "sdk.md").read_text(encoding="utf-8")
INNER = {"begin", "begin_following", "follow_homes", "go_another_way", "learn_move"}
"""Methods that parts of the shell call on each other."""
PARTS = [
    Client, Chat, Message, Contact, Imports, Offers, Exits, Hopping, Watch, Together, Unlocking,
    bots.Bot, bots.Incoming, bots.Run,
]  # fmt: skip


def calls(part: type) -> set[str]:
    """The public methods and properties of a class."""
    return {
        name
        for name, member in vars(part).items()
        if not name.startswith("_")
        and (callable(member) or isinstance(member, (property, classmethod)))
    } - INNER


@pytest.mark.parametrize("part", PARTS, ids=[one.__name__ for one in PARTS])
def test_every_call_is_in_the_document(part: type) -> None:
    named = {word.rpartition(".")[2] for word in re.findall(r"`([\w.]+)`", DOC)}
    assert calls(part) <= named


def test_every_name_of_the_face_is_in_the_document_and_can_be_had() -> None:
    stub = ast.parse((Path(amanat.__file__).parent / "__init__.pyi").read_text(encoding="utf-8"))
    named = {
        name.asname for node in stub.body if isinstance(node, ast.ImportFrom) for name in node.names
    }
    assert named == set(amanat.__all__)
    for name in (*amanat.__all__, *bots.__all__):
        assert getattr(amanat if name in amanat.__all__ else bots, name)
        assert re.search(rf"\b{name}\b", DOC, flags=re.IGNORECASE), name


def test_every_name_in_a_table_exists() -> None:
    known = set().union(*(calls(part) for part in PARTS)) | set(amanat.__all__) | set(bots.__all__)
    known |= {"failed", "most_a_minute", "state", "message", "chat"}
    for row in re.findall(r"^\| (`.*?) \|", DOC, flags=re.MULTILINE):
        for word in re.findall(r"`(?:\w+\.)?(\w+)`", row):
            assert word in known, word


def test_the_bot_that_is_shown_is_the_example() -> None:
    shown = re.findall(r"```python\n(.*?)```", DOC, flags=re.DOTALL)
    for code in shown:
        compile(code, "docs/sdk.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    example = (ROOT / "examples" / "echo.py").read_text(encoding="utf-8")
    assert shown[-1] in example.replace('"""\n\nfrom', '"""\n\nfrom', 1)
