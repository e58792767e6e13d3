"""The front: the process of a command that leaves its work to a background.

The background listens on a Unix socket in the profile's directory. A front sends the words of its
command and its input, shows the texts it gets, and ends with the exit status it gets. This module
defines the frames for both sides: a frame is a length and a strictly decoded record, and bounded.

A front loads no client and no event loop: its command is done within milliseconds.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import msgspec

import amanat
from amanat.errors import (
    BY_CODE,
    BackgroundGone,
    BadArgument,
    FrameTooLarge,
    MalformedFrame,
    OtherVersion,
    ProfileInUse,
)
from amanat.protocol import codec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VERSION = amanat.__version__
"""The version of this program when the process began. The words of a command mean the same to both
sides only if both have one version."""
MAX_COMMAND_BYTES = 2 * 1024 * 1024
"""The longest frame that a background reads, in bytes: the most that a command reads from outside
(1 MiB), and as much again for its words."""
MAX_WORDS = 4096
"""Most words of a command: the time to parse them grows faster than their number."""
PIECE_CHARS = 64 * 1024
"""Most characters of one Said, which bounds what a front reads at a time; a longer text comes in
pieces."""
MAX_ANSWER_BYTES = 4 * PIECE_CHARS + 64
"""The longest frame that a front reads, in bytes: a piece in UTF-8 and its framing."""
MAX_SHOWN_BYTES = 4
"""The length of a Shown, in bytes: a front sends nothing longer after its command."""
PATIENCE_S = 30.0
"""Seconds that the other side may take until its first word: a check of a large vault keeps a
background from listening for some."""

RESULT, NOTE, CODE = 1, 2, 3
"""The destination of a text: the results, the notes to the person, or a picture of it (QR)."""

OPEN, PAGE = "run.sock", "page.sock"
"""The sockets in a profile's directory: of the process that has it open, and of the one that serves
its page, which may be locked."""
LENGTH = struct.Struct(">I")
_CREDENTIALS = struct.Struct("3i")
"""Linux' `struct ucred`: process, user, group."""


class Greeting(codec.Record, frozen=True, tag=1):
    """A background's first word. Its form is the same in every version."""

    version: str


class Refused(codec.Record, frozen=True, tag=2):
    """An error by its code; nothing follows it. Its form is the same in every version."""

    code: str


class Command(codec.Record, frozen=True, tag=3):
    """A command line without the program's name, and the inputs read for it, in order."""

    words: Annotated[tuple[str, ...], msgspec.Meta(max_length=MAX_WORDS)]
    given: tuple[str, ...]


class Said(codec.Record, frozen=True, tag=4):
    """A text to show."""

    where: Annotated[int, msgspec.Meta(ge=RESULT, le=CODE)]
    text: Annotated[str, msgspec.Meta(max_length=PIECE_CHARS)]


class Check(codec.Record, frozen=True, tag=5):
    """A question that the front answers with a Shown once it has shown everything before it."""


class Shown(codec.Record, frozen=True, tag=6):
    """The answer to a Check: whether the person's terminal, file or pipe has all results, and all
    notes, sent before it."""

    results: bool
    notes: bool


class End(codec.Record, frozen=True, tag=7):
    """The command's exit status."""

    status: Annotated[int, msgspec.Meta(ge=0, le=255)]


class Bar(codec.Record, frozen=True, tag=8):
    """How far a piece of long work has got, by its number; `text` says so in a line."""

    number: Annotated[int, msgspec.Meta(ge=0)]
    text: Annotated[str, msgspec.Meta(max_length=PIECE_CHARS)]
    done: Annotated[int, msgspec.Meta(ge=0)]
    whole: Annotated[int, msgspec.Meta(ge=1)]


_Answer: TypeAlias = Greeting | Refused | Said | Bar | Check | End

_commands = codec.decoder_of(Command)
_shown = codec.decoder_of(Shown)
_answers: msgspec.msgpack.Decoder[_Answer] = msgspec.msgpack.Decoder(_Answer)


def decode_command(data: bytes) -> Command:
    """A front's first word. Raises MalformedFrame."""
    return codec.decode(_commands, data, MalformedFrame)


def decode_shown(data: bytes) -> Shown:
    """Any further word of a front. Raises MalformedFrame."""
    return codec.decode(_shown, data, MalformedFrame)


def decode_answer(data: bytes) -> _Answer:
    """A word of the background. Raises MalformedFrame."""
    return codec.decode(_answers, data, MalformedFrame)


def frame(record: msgspec.Struct) -> bytes:
    """A record as the bytes of its frame."""
    data = codec.encode(record)
    return LENGTH.pack(len(data)) + data


@contextlib.contextmanager
def socket_in(directory: Path, name: str = OPEN) -> Iterator[Path]:
    """A path to a socket of a profile that is short enough for a socket's address (108 bytes),
    however deep the directory lies."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield Path(f"/proc/self/fd/{handle}/{name}")
    finally:
        os.close(handle)


def is_of_this_user(peer: socket.socket) -> bool:
    """Whether the process at the other end runs as this user."""
    size = _CREDENTIALS.size
    found = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    return bool(_CREDENTIALS.unpack(found)[1] == os.getuid())


class Line:
    """A front's connection to a background."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._file = connected.makefile("rb")

    def close(self) -> None:
        """Hang up. The background breaks off an unfinished command."""
        self._file.close()
        self._socket.close()

    def greet(self) -> None:
        """Wait for its first word. Raises OtherVersion, BackgroundGone or BackgroundBusy."""
        self._socket.settimeout(PATIENCE_S)
        if self._receive() != Greeting(VERSION):
            raise OtherVersion
        self._socket.settimeout(None)

    def ask(
        self,
        words: list[str],
        given: list[str],
        say: Callable[[int, str], None],
        shown: Callable[[], Shown],
        draw: Callable[[Bar], None],
    ) -> int:
        """Have the background do a command; returns its exit status. `say` shows its texts, `draw`
        its bars, and `shown` tells whether all results, and all notes, were shown.

        Raises BackgroundGone, BadArgument, or the error with which the background refuses it.
        """
        try:
            data = frame(Command(tuple(words), tuple(given)))
        except UnicodeEncodeError:
            raise BadArgument("the input is not UTF-8 text") from None
        if len(data) > MAX_COMMAND_BYTES or len(words) > MAX_WORDS:
            raise BadArgument(f"more than {MAX_COMMAND_BYTES} bytes or {MAX_WORDS} words")
        self._send(data)
        while True:
            answer = self._receive()
            match answer:
                case Said(where, text):
                    say(where, text)
                case Bar():
                    draw(answer)
                case Check():
                    self._send(frame(shown()))
                case End(status):
                    return status
                case _:
                    raise MalformedFrame

    def _send(self, data: bytes) -> None:
        # A refused front learns why: the refusal matters more than a failure to send this frame.
        with contextlib.suppress(ConnectionError):
            self._socket.sendall(data)

    def _receive(self) -> _Answer:
        """The background's next word. Raises BackgroundGone, or the error with which it refuses
        us."""
        (length,) = LENGTH.unpack(self._read(LENGTH.size))
        if length > MAX_ANSWER_BYTES:
            raise FrameTooLarge
        answer = decode_answer(self._read(length))
        if isinstance(answer, Refused):
            raise BY_CODE.get(answer.code, MalformedFrame)
        return answer

    def _read(self, size: int) -> bytes:
        try:
            data = self._file.read(size)
        except TimeoutError:
            raise BackgroundGone(f"not a word in {PATIENCE_S:g} s") from None
        except ConnectionError:
            data = b""
        if len(data) < size:
            raise BackgroundGone
        return data


def reach(directory: Path, name: str = OPEN) -> Line | None:
    """A connection to the background of a profile, or to the process that serves its page, which
    the caller closes; None if none runs.

    Raises ProfileInUse if it is another user's, OtherVersion, BackgroundBusy or BackgroundGone.
    """
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with socket_in(directory, name) as path:
            connected.connect(str(path))
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        connected.close()
        return None
    line = Line(connected)
    try:
        if not is_of_this_user(connected):
            raise ProfileInUse(f"{directory}: by another user")
        line.greet()
    except BaseException:
        line.close()
        raise
    return line
