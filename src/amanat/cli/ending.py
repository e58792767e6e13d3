"""The end of a command: the messages about an error, and the exit status."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from amanat.display import escaped, told
from amanat.errors import BY_ERRNO, EXIT_BUG, AmanatError, BadArgument

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from amanat.display import Out


class Ending:
    """The outcome of a command: its exit status, and its error if it failed."""

    status = 0
    error: Exception | None = None


def check_words(words: list[str]) -> None:
    """Raise BadArgument for words that are not UTF-8 text, which nothing could store or send."""
    try:
        "".join(words).encode()
    except UnicodeEncodeError:
        raise BadArgument("a word of the command is not UTF-8 text") from None


@contextlib.contextmanager
def ending(args: argparse.Namespace, out: Out, came_to: Ending) -> Iterator[None]:
    """Report an error of the body, and note its exit status in `came_to`."""
    try:
        yield
    except AmanatError as error:
        _tell(error, out, came_to)
    except OSError as error:
        kind = BY_ERRNO.get(error.errno or 0)
        if kind is None:
            _tell_bug(error, out, came_to)
        else:
            named = kind(f"{error.filename or args.profile}: {error.strerror}")
            _tell(named, out, came_to)
    except Exception as error:  # noqa: BLE001  # the last place that can say anything
        _tell_bug(error, out, came_to)


def _tell(error: AmanatError, out: Out, came_to: Ending) -> None:
    out.note(told(error))
    if error.hint:
        out.note(f"hint: {error.hint}")
    if out.is_json:
        out.result({"error": error.code, "detail": error.detail}, "")
    came_to.status, came_to.error = error.exit_status, error


def _tell_bug(error: Exception, out: Out, came_to: Ending) -> None:
    out.note(f"a bug: {type(error).__name__}: {escaped(str(error))}")
    came_to.status, came_to.error = EXIT_BUG, error
