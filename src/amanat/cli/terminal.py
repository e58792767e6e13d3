"""The inputs of a command from outside: secrets, texts and files; and bars of long work.

Secrets (passphrase, access code, login, invites, texts) come by prompt, standard input or a
descriptor."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from amanat.errors import BadArgument, MalformedFrame
from amanat.process import hold_standard_descriptors

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from rich.progress import Progress, TaskID

    from amanat.client.vault import Unlock
    from amanat.front import Bar
    from amanat.region.mover import Done

MAX_INPUT_BYTES = 1024 * 1024
"""Most bytes that a command reads from standard input or a file: more than any text that can be
sent."""
MAX_SECRET_BYTES = 4096
"""Most bytes that a command reads of a passphrase or an access code: nobody types as many."""


class Given:
    """The inputs of a command from outside: read by the command itself, or by its front."""

    def __init__(self, handed: Sequence[str] | None = None) -> None:
        self.texts: list[str] = []
        self._handed = None if handed is None else iter(handed)

    def read(self, read: Callable[[], str]) -> str:
        """The next text; `read` reads it, unless the front has. Raises MalformedFrame if the front
        gave too few."""
        if self._handed is None:
            self.texts.append(read())
            return self.texts[-1]
        text = next(self._handed, None)
        if text is None:
            raise MalformedFrame
        return text


def passphrase(args: argparse.Namespace, *, is_new: bool) -> str:
    """The passphrase, from its descriptor or as typed. Raises BadArgument."""
    if args.passphrase_fd is not None:
        return from_descriptor(args.passphrase_fd)
    _need_terminal("--passphrase-fd")
    return _typed_twice("passphrase: ") if is_new else _typed("passphrase: ")


def absolute(args: argparse.Namespace, path: Path) -> Path:
    """A path that a command was given: the background may be in another directory."""
    return Path(args.given.read(lambda: str(path.absolute())))


def phrase(descriptor: int | None) -> str:
    """A recovery phrase, from a descriptor or as typed: words or numbers, in one line or several.
    They are shown while they are typed. Raises BadArgument."""
    if descriptor is not None:
        return from_descriptor(descriptor)
    from amanat.protocol.phrase import WORDS

    _need_terminal("--phrase-fd")
    said = _ask("the 24 words of the recovery phrase, or their numbers: ").split()
    while len(said) < WORDS and (more := _ask(f"and on, from word {len(said) + 1}: ")):
        said += more.split()
    return " ".join(said)


def shares(descriptor: int | None, many: int, words: int) -> list[str]:
    """So many shares of a recovery phrase, each of so many words or numbers: as typed, or all words
    in one line of a descriptor, which may hold more shares. Raises BadArgument."""
    if descriptor is not None:
        said = from_descriptor(descriptor).split()
        return [" ".join(said[at : at + words]) for at in range(0, len(said), words)]
    _need_terminal("--phrase-fd")
    found = []
    for number in range(1, many + 1):
        said = _ask(f"share {number}, its {words} words or their numbers: ").split()
        while len(said) < words and (more := _ask(f"and on, from word {len(said) + 1}: ")):
            said += more.split()
        found.append(" ".join(said))
    return found


def words(descriptor: int | None, places: Sequence[int]) -> str:
    """Some words of a recovery phrase, by their places, in two lines: the places and the words.
    From a descriptor, or as typed. Raises BadArgument."""
    if descriptor is not None:
        said = from_descriptor(descriptor).split()
    else:
        _need_terminal("--phrase-fd")
        said = [_ask(f"word {place}, or its number: ").strip() or "-" for place in places]
    return " ".join(map(str, places)) + "\n" + " ".join(said)


def next_passphrase(descriptor: int | None) -> str:
    """The passphrase from now on, from a descriptor or as typed twice. Raises BadArgument."""
    if descriptor is not None:
        return from_descriptor(descriptor)
    _need_terminal("--new-fd")
    return _typed_twice("new passphrase: ")


def _need_terminal(option: str) -> None:
    """Raise BadArgument if there is no terminal to ask for a passphrase."""
    try:
        # The terminal itself, which is there even if standard input is a text to send.
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        raise BadArgument(f"there is no terminal to ask for the passphrase; use {option}") from None


def _typed_twice(prompt: str) -> str:
    """A secret that the person types, and types again. Raises BadArgument."""
    passphrase = _typed(prompt)
    if _typed("again: ") != passphrase:
        raise BadArgument("the two passphrases differ")
    return passphrase


def _typed(prompt: str) -> str:
    """A secret that the person types. Raises BadArgument."""
    import getpass

    try:
        return getpass.getpass(prompt)
    except EOFError:
        raise BadArgument("no passphrase was given") from None
    except UnicodeDecodeError:
        raise BadArgument("the typed text is not in this terminal's encoding") from None


def from_descriptor(number: int) -> str:
    """The first line from a descriptor, which is then closed. Raises BadArgument."""
    try:
        with os.fdopen(number, "rb") as file:
            line = file.readline(MAX_SECRET_BYTES + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it cannot be read"
        raise BadArgument(f"descriptor {number}: {why}") from None
    hold_standard_descriptors()  # if it was one of them
    if len(line) > MAX_SECRET_BYTES:
        raise BadArgument(f"descriptor {number}: more than {MAX_SECRET_BYTES} bytes in a line")
    try:
        text = line.decode("utf-8-sig")  # editors of some systems put a mark before a text
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise BadArgument(f"descriptor {number}: its content is not UTF-8 text")
    return text.rstrip("\r\n")


def unlock(args: argparse.Namespace) -> Unlock:
    """The secret that opens the profile; the person types it, if it is a passphrase."""
    from amanat.client import unlock_file
    from amanat.client.vault import Unlock

    if unlock_file.needs_passphrase(args.profile):
        return Unlock(passphrase=passphrase(args, is_new=False))
    return Unlock(keyring=True)


def read_file(file: Path) -> bytes:
    """The content of a file, cut one byte beyond MAX_INPUT_BYTES. Raises BadArgument."""
    return read_whole(file, MAX_INPUT_BYTES)


def read_whole(file: Path, most: int) -> bytes:
    """At most `most` bytes of a file, and one more if there are more. Raises BadArgument."""
    try:
        with file.open("rb") as opened:
            return opened.read(most + 1)
    except OSError as error:
        raise BadArgument(f"{file}: {error.strerror}") from None


def text(args: argparse.Namespace, file: Path | None, prompt: str) -> str:
    """The text of a command: from a file or standard input, or as typed. Raises BadArgument."""
    if file is None and args.passphrase_fd == 0:
        raise BadArgument("standard input cannot hold both the passphrase and the text")
    found: str = args.given.read(lambda: _read_input(file, prompt))
    return found


def _read_input(file: Path | None, prompt: str) -> str:
    if file is None and sys.stdin is None:
        raise BadArgument("standard input is closed")
    if file is None and sys.stdin.isatty():
        return _ask(prompt)
    data = sys.stdin.buffer.read(MAX_INPUT_BYTES + 1) if file is None else read_file(file)
    if len(data) > MAX_INPUT_BYTES:
        raise BadArgument(f"more than {MAX_INPUT_BYTES} bytes were given")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadArgument("the input is not UTF-8 text") from None


def _ask(prompt: str) -> str:
    """A line that the person types. Raises BadArgument."""
    if sys.stderr is not None:
        print(prompt, end="", file=sys.stderr, flush=True)  # noqa: T201  # not part of the result
    try:
        line = sys.stdin.readline()
        line.encode()
    except UnicodeError:
        raise BadArgument("the typed text is not in this terminal's encoding") from None
    return line


def access(args: argparse.Namespace, descriptor: int | None) -> bytes:
    """An access code, from its descriptor; empty without one. Raises BadArgument."""
    from amanat.protocol.descriptor import unb64

    if descriptor is None:
        return b""
    try:
        return unb64(args.given.read(lambda: from_descriptor(descriptor)))
    except ValueError:
        raise BadArgument("the access code is not whole") from None


def login(args: argparse.Namespace, descriptor: int | None) -> str:
    """The login for a proxy, from its descriptor; empty without one. Raises BadArgument."""
    if descriptor is None:
        return ""
    found: str = args.given.read(lambda: from_descriptor(descriptor))
    return found


class Bars:
    """Bars of the files on their way, on a terminal."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._tasks: dict[int, TaskID] = {}

    def draw(self, bar: Bar) -> bool:
        """Draw how far a file has got, once anything has gone; whether there is a terminal for
        it."""
        if sys.stderr is None or not sys.stderr.isatty():
            return False
        if self._progress is None:
            if not 0 < bar.done < bar.whole:
                return True
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self._progress = Progress(
                TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn(),
                console=Console(stderr=True), transient=True,
                redirect_stdout=False, redirect_stderr=False,
            )  # fmt: skip
            self._progress.start()
        task = self._tasks.get(bar.number)
        if task is None:
            task = self._tasks[bar.number] = self._progress.add_task("")
        self._progress.update(task, description=bar.text, completed=bar.done, total=bar.whole)
        return True

    def clear(self) -> None:
        """Take all bars away."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
            self._tasks.clear()


@contextlib.contextmanager
def bars(phases: Iterable[str]) -> Iterator[Callable[[str, int, int], None]]:
    """Bars for the phases of long work, on a terminal; gives a function that takes (phase, done,
    total)."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=console, disable=not console.is_terminal,
    ) as bar:  # fmt: skip
        tasks = {name: bar.add_task(name, total=None) for name in phases}
        yield lambda phase, done, total: bar.update(tasks[phase], completed=done, total=total)


@contextlib.contextmanager
def move_bar() -> Iterator[Callable[[Done], None]]:
    """A bar of a move's bytes, drops and time left, on a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn(),
        console=console, disable=not console.is_terminal,
    ) as bar:  # fmt: skip
        task = bar.add_task("copy", total=None)
        yield lambda done: bar.update(
            task,
            description=f"{done.phase} ({done.drops} of {done.drops_total} drops have moved)",
            completed=done.bytes,
            total=done.bytes_total,
        )


def draw(link: str, file: Path | None) -> None:
    """Draw a QR code into a file, or on the terminal if there is one."""
    import segno

    code = segno.make(link, error="l", micro=False)
    if file is not None:
        try:
            code.save(str(file), scale=4)
        except OSError as error:
            raise BadArgument(f"{file}: {error.strerror}") from None
    elif sys.stderr is not None and sys.stderr.isatty():
        code.terminal(out=sys.stderr, compact=True)
