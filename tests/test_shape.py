"""The shape of the program: modules and classes of readable size, and no import cycle."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import amanat

SOURCE = Path(amanat.__path__[0])
MODULES = sorted(SOURCE.rglob("*.py"))
MAX_MODULE_LINES = 700
MAX_CLASS_LINES = 500
MAX_METHODS = 40
LARGE = {
    "errors.py": "a flat list: each error is its code, its sentence and its hint, and nothing else",
}
"""Larger files, each with the reason."""


def name_of(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_and_a_class_are_as_small_as_one_reads_at_once(path: Path) -> None:
    found = list(too_large(path.read_text(encoding="utf-8")))
    assert bool(found) == (name_of(path) in LARGE), found  # and no exception outlives its reason


def too_large(text: str) -> Iterator[str]:
    lines = len(text.splitlines())
    if lines > MAX_MODULE_LINES:
        yield f"{lines} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            if lines > MAX_CLASS_LINES:
                yield f"class {node.name}: {lines} lines"
            methods = sum(
                isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef) for one in node.body
            )
            if methods > MAX_METHODS:
                yield f"class {node.name}: {methods} methods"


def test_modules_and_classes_that_are_too_large_are_found() -> None:
    methods = "".join(f"    async def m{number}(self): ...\n" for number in range(41))
    assert list(too_large("class A:\n" + methods)) == ["class A: 41 methods"]
    assert list(too_large("class A:\n" + "    x = 1\n" * 500)) == ["class A: 501 lines"]
    assert list(too_large("x = 1\n" * 701)) == ["701 lines"]


def imports_of(path: Path) -> Iterator[str]:
    """The modules of the program that a module imports, including imports for types alone."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            for one in node.names:
                whole = f"{node.module}.{one.name}"
                yield whole if whole in NAMES else node.module or ""


def module_of(path: Path) -> str:
    parts = ("amanat", *path.relative_to(SOURCE).with_suffix("").parts)
    return ".".join(part for part in parts if part != "__init__")


NAMES = {module_of(path) for path in MODULES}


@pytest.mark.long
def test_no_modules_import_each_other() -> None:
    graph = {module_of(path): set(imports_of(path)) & NAMES for path in MODULES}
    assert "amanat.client.rules.outbox" in graph["amanat.client.rules.chains"]
    for above, below in upwards():
        graph[above].remove(below)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(reversed(error.args[1])))


def upwards() -> Iterator[tuple[str, str]]:
    """The imports for types alone that a contract allows."""
    settings = tomllib.loads((SOURCE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    for contract in settings["tool"]["importlinter"]["contracts"]:
        for line in contract.get("ignore_imports", ()):
            importer, imported = line.split(" -> ")
            yield importer, imported
