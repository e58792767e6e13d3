"""Every command is one row of a table, which states the needs of the command."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, cast

import pytest

from amanat import background, front
from amanat.cli import host, words
from amanat.cli.commands import COMMANDS, Command, Needs
from amanat.errors import EXIT_BUG, LabMissing, MalformedFrame

BY_WORDS = {command.words: command for command in COMMANDS}


class Nobody:
    """A front that drops everything that it is told."""

    def say(self, _where: int, _text: str) -> None:
        return

    def bar(self, _one: front.Bar) -> None:
        return

    async def shown(self) -> front.Shown:
        return front.Shown(results=True, notes=True)


def parser_of(command: Command) -> argparse.ArgumentParser:
    found: argparse.ArgumentParser = words.parser()
    for word in command.words.split():
        (nested,) = (a for a in found._actions if isinstance(a, argparse._SubParsersAction))
        found = nested.choices[word]
    assert isinstance(found, words.Parser)
    found.fill()
    return found


def shortest(command: Command) -> Iterator[str]:
    """The fewest words that make the command."""
    yield from command.words.split()
    parser = parser_of(command)
    groups = [one for one in parser._mutually_exclusive_groups if one.required]
    firsts = [group._group_actions[0] for group in groups]
    for action in parser._actions:
        if action.required or action in firsts:
            yield from action.option_strings[:1]
            yield "x"


@pytest.mark.parametrize("name", BY_WORDS)
def test_a_background_does_what_needs_a_client_and_nothing_else(name: str) -> None:
    command = BY_WORDS[name]
    asked = front.Command(tuple(shortest(command)), ("a text",) * 3)

    async def ask() -> int:
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # There is no client, so code that reaches for it is a bug.
        return await host.perform(
            cast("Any", None), over, asked, cast("background.Front", Nobody())
        )

    if command.needs is Needs.CLIENT:
        assert asyncio.run(ask()) in (2, EXIT_BUG)
    else:
        with pytest.raises(MalformedFrame):
            asyncio.run(ask())


@pytest.mark.parametrize("topic", sorted({command.topic for command in COMMANDS}))
def test_arguments_of_a_topic_belong_to_its_commands(topic: str) -> None:
    module = importlib.import_module(f"amanat.cli.{topic}")
    runs = {command.run for command in COMMANDS if command.topic == topic}
    functions = dict(inspect.getmembers(module, inspect.isfunction))
    assert runs <= set(functions)
    declared = {name for name in functions if name.endswith("_words") and name[0] != "_"}
    assert declared <= {f"{run}_words" for run in runs}


LOADS = """
import sys
from amanat.cli import words
words.parser().parse_args(sys.argv[1:])
from amanat.cli import ending, session, terminal
print(*sys.modules)
"""
"""Prints the modules that a command has loaded when it has parsed its words, and a front until it
asks its background."""
CLIENTS = {"amanat.client.sdk.client", "amanat.client.vault", "amanat.mls", "sqlcipher3", "keyring"}
RELAYS = {"amanat.relay", "prometheus_client"}
LABS = {"amanat.drill", "numpy", "scipy", "sklearn", "yaml", "networkx_temporal"}
LOOPS = {"asyncio", "uvloop"}


def loaded(script: str, *arguments: str) -> set[str]:
    ran = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True
    )
    return set(ran.stdout.split())


@pytest.mark.parametrize(
    "line",
    ["send x", "read", "contacts", "status", "group list", "relay run x", "capacity", "replay"],
)
def test_a_command_loads_its_own_topic_and_a_front_no_client(line: str) -> None:
    found = loaded(LOADS, *line.split())
    (command,) = (one for one in COMMANDS if line.startswith(one.words))
    topics = {f"amanat.cli.{one.topic}" for one in COMMANDS}
    assert topics & found == {f"amanat.cli.{command.topic}"}
    assert not (CLIENTS | RELAYS | LABS | LOOPS) & found


@pytest.mark.long
def test_a_relay_loads_neither_mls_nor_sqlcipher() -> None:
    script = "import sys; import amanat.relay.server, amanat.region.mover, amanat.region.audit"
    found = loaded(f"{script}; print(*sys.modules)")
    assert "amanat.relay.server" in found
    assert not (CLIENTS | LABS | {"amanat._mls"}) & found


WITHOUT = """
import sys
class Lacking:
    def find_spec(self, name, path=None, target=None):
        if name in ("numpy", "scipy", "sklearn", "yaml", "networkx_temporal"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Lacking())
from amanat import cli
cli.main(sys.argv[1:])
"""
"""The program where the lab is not installed."""


@pytest.mark.parametrize("line", ["replay", "drill", "demo residency"])
def test_the_lab_says_how_it_is_installed(line: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT, *line.split()], capture_output=True, text=True, check=False
    )
    assert ran.returncode == LabMissing.exit_status
    assert LabMissing.text in ran.stderr
    assert "pip install 'amanat[lab]'" in ran.stderr
