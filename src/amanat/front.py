"""The front: the process of a command that has its work done by a background.

The background listens on a Unix socket in the profile's directory. A front says the words of its
command and what was given to it, shows what it is told to show, and ends with the exit status it
is told. Both sides have the frames from here: a frame is a length and a strictly decoded record,
and bounded.

A front loads nothing of a client and no event loop: its command is done within milliseconds.
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
"""Of this program, as it was when the process began: words of a command mean the same to both sides
only if they are of one version."""
MAX_COMMAND_BYTES = 2 * 1024 * 1024
"""The longest frame a background reads, in bytes: the most a command reads from outside (1 MiB),
and as much again for its words."""
MAX_WORDS = 4096
"""Most words of a command: what takes them apart grows faster than they do."""
PIECE_CHARS = 64 * 1024
"""Most characters of one Said, so that what a front reads at a time is bounded; a text that is
longer comes in pieces."""
MAX_ANSWER_BYTES = 4 * PIECE_CHARS + 64
"""The longest frame a front reads, in bytes: a piece in UTF-8 and what is around it."""
MAX_SHOWN_BYTES = 4
"""The length of a Shown, in bytes: a front says nothing longer after its command."""
PATIENCE_S = 30.0
"""Seconds for which the other side may take to say its first word: a check of a large vault keeps
a background from listening for some."""

RESULT, NOTE, CODE = 1, 2, 3
"""Where a text goes: the results, the notes to the person, or a picture drawn of it (QR)."""

SOCKET = "run.sock"
LENGTH = struct.Struct(">I")
_CREDENTIALS = struct.Struct("3i")
"""Linux' `struct ucred`: process, user, group."""


class Greeting(codec.Record, frozen=True, tag=1):
    """A background's first word. It stays as it is in every version."""

    version: str


class Refused(codec.Record, frozen=True, tag=2):
    """An error by its code; nothing more is said. It stays as it is in every version."""

    code: str


class Command(codec.Record, frozen=True, tag=3):
    """A command line without the program's name, and what was read for it, in order."""

    words: Annotated[tuple[str, ...], msgspec.Meta(max_length=MAX_WORDS)]
    given: tuple[str, ...]


class Said(codec.Record, frozen=True, tag=4):
    """Something to be shown."""

    where: Annotated[int, msgspec.Meta(ge=RESULT, le=CODE)]
    text: Annotated[str, msgspec.Meta(max_length=PIECE_CHARS)]


class Check(codec.Record, frozen=True, tag=5):
    """Asks for a Shown once everything before it was shown."""


class Shown(codec.Record, frozen=True, tag=6):
    """Whether the person's terminal, file or pipe has all results, and all notes, said before the
    Check."""

    results: bool
    notes: bool


class End(codec.Record, frozen=True, tag=7):
    """The command's exit status."""

    status: Annotated[int, msgspec.Meta(ge=0, le=255)]


_Answer: TypeAlias = Greeting | Refused | Said | Check | End

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
    """A record as it is sent."""
    data = codec.encode(record)
    return LENGTH.pack(len(data)) + data


@contextlib.contextmanager
def socket_in(directory: Path) -> Iterator[Path]:
    """A path to the socket of a profile that is short enough for a socket's address (108 bytes),
    however deep the directory lies."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield Path(f"/proc/self/fd/{handle}/{SOCKET}")
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
        """Hang up: what was asked for and is not done yet is broken off."""
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
    ) -> int:
        """Have a command done; its exit status. `say` shows what it says, `shown` tells of results
        and of notes whether all were shown.

        Raises BackgroundGone, and what the background refuses it with.
        """
        try:
            data = frame(Command(tuple(words), tuple(given)))
        except UnicodeEncodeError:
            raise BadArgument("what was given is not UTF-8 text") from None
        if len(data) > MAX_COMMAND_BYTES or len(words) > MAX_WORDS:
            raise BadArgument(f"more than {MAX_COMMAND_BYTES} bytes or {MAX_WORDS} words")
        self._send(data)
        while True:
            answer = self._receive()
            match answer:
                case Said(where, text):
                    say(where, text)
                case Check():
                    self._send(frame(shown()))
                case End(status):
                    return status
                case _:
                    raise MalformedFrame

    def _send(self, data: bytes) -> None:
        # Who is refused is told why: that comes before what their own frame met.
        with contextlib.suppress(ConnectionError):
            self._socket.sendall(data)

    def _receive(self) -> _Answer:
        """The background's next word. Raises BackgroundGone, or what it refuses us with."""
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


def reach(directory: Path) -> Line | None:
    """A connection to the background of a profile, to be closed; None if there is none.

    Raises ProfileInUse if it is another user's, OtherVersion, BackgroundBusy or BackgroundGone.
    """
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with socket_in(directory) as path:
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
