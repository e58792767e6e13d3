"""The command line, and the one place where everything is put together.

Rules: results go to stdout, everything else to stderr. `--json` makes the result one JSON value
(for `read`, one a line). The exit status is the error's family (errors.py). Secrets (passphrase,
access code, invites, texts) come by prompt, standard input or a file descriptor, never by argument
or environment, where other users of the machine could read them.

A command is a row of `commands.COMMANDS` and a function in the module of its topic. A topic imports
the client, the relay or the lab inside its functions. A command therefore loads its own topic
alone, and one whose work the background does loads no client.
"""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, NoReturn

from amanat.cli.words import parser
from amanat.process import EXIT_INTERRUPTED

if TYPE_CHECKING:
    import argparse
    from collections.abc import Awaitable, Callable
    from typing import TypeAlias

    from amanat.client.sdk.client import Client
    from amanat.display import Screen
    from amanat.front import Shown

    Stay: TypeAlias = Callable[[Client], Awaitable[None]]


def main(arguments: list[str] | None = None, *, stay: Stay | None = None) -> NoReturn:
    """Run a command and exit with its status. The command `run` awaits `stay` for as long as it
    lasts; a bot passes a function that answers messages."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        args = parser().parse_args(words)
        args.stay = stay
        # A person who only asks for help need not wait for these imports.
        from amanat.cli import terminal
        from amanat.display import Screen

        drawn = getattr(args, "qr", None)
        bars = terminal.Bars()
        screen = Screen(
            is_json=args.json,
            draw=functools.partial(terminal.draw, file=drawn),
            bars=bars,
        )
        try:
            sys.exit(_call(args, words, screen))
        finally:
            bars.clear()  # also of a command that is interrupted
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


def _call(args: argparse.Namespace, words: list[str], screen: Screen) -> int:
    """Run a command in this process; returns its exit status."""
    from amanat.cli import terminal
    from amanat.cli.ending import Ending, check_words, ending
    from amanat.display import Out

    args.words, args.given, args.hand_over, args.screen = words, terminal.Given(), None, screen

    async def is_shown() -> Shown:
        return screen.shown()

    out = Out(is_json=args.json, say=screen.say, draw=screen.bar, shown=is_shown)
    came_to = Ending()
    try:
        with ending(args, out, came_to):
            check_words(words)
            args.run(args, out)
    except SystemExit as ended:
        came_to.status = int(ended.code or 0)
    return screen.close(came_to.status, is_question=args.is_question)
