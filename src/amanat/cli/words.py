"""The words of a command line: general options, commands, and the arguments of one command."""

from __future__ import annotations

import argparse
import importlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amanat.cli.commands import COMMANDS, GROUPS

if TYPE_CHECKING:
    from amanat.cli.commands import Command

DEFAULT_PROFILE = Path.home() / ".local" / "share" / "amanat"
WAIT_S = 10.0
"""Seconds for which a command waits for relays before it says that they do not answer."""
UNITS_S = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
"""The units of time that `timer` and `invite` take, in seconds."""

UNITS_BYTES = {"G": 1024**3, "M": 1024**2, "K": 1024}
"""The units in which a length of files is given."""


class Parser(argparse.ArgumentParser):
    """The parser of one command. It gets the command's arguments when it first parses."""

    command: Command | None = None

    def fill(self) -> None:
        """Add the command's arguments, from the module of its topic."""
        command, self.command = self.command, None
        if command is None:
            return
        topic = importlib.import_module(f"amanat.cli.{command.topic}")
        _general(self, is_before=False)
        self.set_defaults(
            run=getattr(topic, command.run), command=command, is_question=command.is_question
        )
        words = getattr(topic, f"{command.run}_words", None)
        if words is not None:
            words(self)

    def parse_known_args(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # argparse's
        """Fill the parser first: argparse calls this for the command in the words, and no other."""
        self.fill()
        return super().parse_known_args(*args, **kwargs)


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    top = argparse.ArgumentParser(
        prog="amanat", description="A messenger whose relay may be put anywhere."
    )
    _general(top, is_before=True)
    below: dict[str, Any] = {
        "": top.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    }
    for command in COMMANDS:
        group, _, last = command.words.rpartition(" ")
        _open_groups(below, group)
        own: Parser = below[group].add_parser(last, help=command.help, description=command.help)
        own.command = command
    return top


def _open_groups(below: dict[str, Any], group: str) -> None:
    """Add the groups of commands that lead to one, unless they are there. `below` has the actions
    that take their next word."""
    if group not in below:
        above, _, last = group.rpartition(" ")
        _open_groups(below, above)
        text, called = GROUPS[group]
        parser = below[above].add_parser(last, help=text)
        below[group] = parser.add_subparsers(required=True, metavar=called, parser_class=Parser)


def _general(parser: argparse.ArgumentParser, *, is_before: bool) -> None:
    """Add the options of all commands, before a command or after it. An option that is missing
    after the command keeps its value from before it."""

    def add(name: str, default: object, text: str, **rest: Any) -> None:  # noqa: ANN401  # argparse's
        parser.add_argument(
            name,
            default=default if is_before else argparse.SUPPRESS,
            help=text if is_before else argparse.SUPPRESS,
            **rest,
        )

    add("--json", False, "print the result as JSON", action="store_true")
    add("--profile", DEFAULT_PROFILE, "the directory of your vault", type=Path, metavar="DIR")
    add("--passphrase-fd", None, "read the passphrase from descriptor N", type=int, metavar="N")
    add("--wait", WAIT_S, "how long to wait for relays", type=float, metavar="SECONDS")


def life(text: str) -> int:
    """A span of time in seconds. Raises ArgumentTypeError, which argparse shows to the person."""
    if text == "off":
        return 0
    match = re.fullmatch("([0-9]{1,9})([wdhms])", text, flags=re.ASCII)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is neither off nor such as 30s, 5m, 8h, 1d, 4w")
    return int(match[1]) * UNITS_S[match[2]]


def size(text: str) -> int:
    """A number of bytes. Raises ArgumentTypeError, which argparse shows to the person."""
    match = re.fullmatch("([0-9]{1,9})([KMG]?)", text, flags=re.ASCII)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 500K, 10M, 5G")
    return int(match[1]) * UNITS_BYTES.get(match[2], 1)
