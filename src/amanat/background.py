"""The background: one process has a profile open, and commands have their work done by it.

It listens on a Unix socket in the profile's directory. A *front* (the process of a command) says
the words of its command and what was given to it; the background does the command with its own
open client, says what is to be shown, and ends with the exit status. What a command is, only the
command line knows.

Rules: nobody but the same user is listened to; a frame is a length and a strictly decoded record,
and bounded; a front that dies, lies, or takes nothing ends its own command and nothing else. What
the person has not been shown counts as not shown: the background asks (`Front.shown`) before it
forgets anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import os
import socket
import struct
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import msgspec

from amanat.errors import (
    BY_CODE,
    AmanatError,
    BackgroundBusy,
    BackgroundGone,
    BadArgument,
    FrameTooLarge,
    MalformedFrame,
    OtherVersion,
    ProfileInUse,
)
from amanat.protocol import codec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

VERSION = importlib.metadata.version("amanat")
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
MAX_FRONTS = 64
"""Most commands at once: far more than one person has terminals, few enough to be held in memory
with all that they may say."""
PATIENCE_S = 30.0
"""Seconds for which the other side may take to say its first word: a check of a large vault keeps
a background from listening for some."""
STALLED_S = 3600.0
"""Seconds after which a front that takes nothing is given up: a stopped terminal or a pager may
well rest for some minutes, but not for ever, for what comes meanwhile waits in memory."""

RESULT, NOTE, CODE = 1, 2, 3
"""Where a text goes: the results, the notes to the person, or a picture drawn of it (QR)."""

_SOCKET = "run.sock"
_LENGTH = struct.Struct(">I")
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


def _frame(record: msgspec.Struct) -> bytes:
    data = codec.encode(record)
    return _LENGTH.pack(len(data)) + data


@contextlib.contextmanager
def _socket_in(directory: Path) -> Iterator[Path]:
    """A path to the socket of a profile that is short enough for a socket's address (108 bytes),
    however deep the directory lies."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield Path(f"/proc/self/fd/{handle}/{_SOCKET}")
    finally:
        os.close(handle)


def _is_of_this_user(peer: socket.socket) -> bool:
    size = _CREDENTIALS.size
    found = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    return bool(_CREDENTIALS.unpack(found)[1] == os.getuid())


# The front


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
            data = _frame(Command(tuple(words), tuple(given)))
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
                    self._send(_frame(shown()))
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
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size))
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
        with _socket_in(directory) as path:
            connected.connect(str(path))
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        connected.close()
        return None
    line = Line(connected)
    try:
        if not _is_of_this_user(connected):
            raise ProfileInUse(f"{directory}: by another user")
        line.greet()
    except BaseException:
        line.close()
        raise
    return line


# The background


class Front:
    """Who has asked for a command, as the command sees them."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._is_shown = asyncio.Event()
        self._is_shown.set()
        self._what = Shown(results=True, notes=True)

    def say(self, where: int, text: str) -> None:
        """Have a text shown."""
        for start in range(0, len(text), PIECE_CHARS):
            self.send(Said(where, text[start : start + PIECE_CHARS]))

    async def shown(self) -> Shown:
        """Wait until everything said so far was shown; whether it could be."""
        self._is_shown.clear()
        self.send(Check())
        # Without the connection there is nobody to do the command for: it is cancelled then.
        stalled = asyncio.get_running_loop().call_later(STALLED_S, self._writer.transport.abort)
        try:
            await self._is_shown.wait()
        finally:
            stalled.cancel()
        return self._what

    def send(self, record: msgspec.Struct) -> None:
        """Send a frame, if there is anybody to take it."""
        if not self._writer.is_closing():
            self._writer.write(_frame(record))

    async def hear(self, reader: asyncio.StreamReader) -> None:
        """Take what the front says until it hangs up. Raises PeerError for what is not asked."""
        with contextlib.suppress(EOFError, ConnectionError):
            while True:
                what = decode_shown(await _receive(reader, MAX_SHOWN_BYTES))
                if self._is_shown.is_set():
                    raise MalformedFrame
                self._what = what
                self._is_shown.set()


async def _receive(reader: asyncio.StreamReader, most: int) -> bytes:
    """The next frame. Raises FrameTooLarge, or EOFError if there is none."""
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if length > most:
        raise FrameTooLarge
    return await reader.readexactly(length)


class _Background:
    """Attends to fronts."""

    def __init__(self, perform: Callable[[Command, Front], Awaitable[int]]) -> None:
        self._perform = perform
        self.fronts: set[asyncio.Task[Any]] = set()

    def attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Begin to attend to a front."""
        task = asyncio.create_task(self._attend(reader, writer))
        self.fronts.add(task)
        task.add_done_callback(self.fronts.discard)

    async def _attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        front = Front(writer)
        try:
            await self._do_one(reader, writer, front)
        except AmanatError as error:
            front.send(Refused(error.code))
        except (EOFError, OSError):  # it has hung up, or said nothing in time
            pass
        finally:
            writer.close()
            # If it does not take the rest.
            asyncio.get_running_loop().call_later(PATIENCE_S, writer.transport.abort)

    async def _do_one(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, front: Front
    ) -> None:
        if not _is_of_this_user(writer.get_extra_info("socket")):
            return
        if len(self.fronts) > MAX_FRONTS:
            raise BackgroundBusy
        front.send(Greeting(VERSION))
        async with asyncio.timeout(PATIENCE_S):
            command = decode_command(await _receive(reader, MAX_COMMAND_BYTES))
        work = asyncio.ensure_future(self._perform(command, front))
        hearing = asyncio.ensure_future(front.hear(reader))
        try:
            await asyncio.wait({work, hearing}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                front.send(End(work.result()))
                await asyncio.wait({hearing}, timeout=STALLED_S)  # it hangs up once it has all
            else:
                hearing.result()
        finally:
            work.cancel()
            hearing.cancel()
            await asyncio.gather(work, hearing, return_exceptions=True)

    async def close(self) -> None:
        """Break off what is being done."""
        for front in self.fronts:
            front.cancel()
        await asyncio.gather(*self.fronts, return_exceptions=True)


@contextlib.asynccontextmanager
async def listening(
    directory: Path, perform: Callable[[Command, Front], Awaitable[int]]
) -> AsyncIterator[None]:
    """Be the background of a profile, which this process has open: `perform` does a command for a
    front, and returns its exit status."""
    background = _Background(perform)
    with _socket_in(directory) as path:
        path.unlink(missing_ok=True)  # of one that died: the profile's lock is ours
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        os.fchmod(listener.fileno(), 0o600)  # before it has a name that others could open
        listener.bind(str(path))
        accepting = await asyncio.start_unix_server(
            background.attend, sock=listener, backlog=MAX_FRONTS
        )
        try:
            yield
        finally:
            accepting.close()
            path.unlink(missing_ok=True)
            await background.close()


# Running it with systemd

_UNIT = """\
# Put this into ~/.config/systemd/user/amanat.service, then:
#   systemctl --user enable --now amanat
[Unit]
Description=Amanat, the client of this profile

[Service]
Type=exec
ExecStart=:{executable} --profile {directory} run
Restart=on-failure
RestartSec=30
UMask=0077
# Keys are in its memory.
LimitCORE=0
NoNewPrivileges=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

[Install]
WantedBy=default.target
"""


def unit(executable: Path, directory: Path) -> str:
    """A systemd user unit that keeps the background of a profile running.

    Raises BadArgument if a path cannot be written into one.
    """
    if set("\"'\\") & set(str(executable)):
        raise BadArgument(
            f"systemd runs nothing whose path has quotes or backslashes: {executable}"
        )
    return _UNIT.format(executable=_quoted(executable), directory=_quoted(directory))


def _quoted(path: Path) -> str:
    """A path as systemd.service(5) reads it in a command line that begins with a colon, so that
    dollars are nothing special."""
    text = str(path)
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in text):
        raise BadArgument(f"{text!r} has characters that a unit cannot hold")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'
