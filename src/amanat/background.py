"""The background: one process has a profile open and does the work of other commands.

It listens on a Unix socket in the profile's directory. A *front* (the process of a command, see
front.py) sends the words of its command and its input; the background carries out the command with
its own open client, sends the texts to show, and ends with the exit status. Only the command line
knows what a command means.

Rules: the background listens to nobody but the same user. A front that dies, lies, or takes nothing
ends its own command and nothing else. A text counts as shown only once the front has confirmed it:
the background asks (`Front.shown`) before it forgets anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from amanat.errors import (
    AmanatError,
    BackgroundBusy,
    BadArgument,
    FrameTooLarge,
    MalformedFrame,
)
from amanat.front import (
    LENGTH,
    MAX_COMMAND_BYTES,
    MAX_SHOWN_BYTES,
    OPEN,
    PATIENCE_S,
    PIECE_CHARS,
    VERSION,
    Bar,
    Check,
    Command,
    End,
    Greeting,
    Refused,
    Said,
    Shown,
    decode_command,
    decode_shown,
    frame,
    is_of_this_user,
    socket_in,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

MAX_FRONTS = 64
"""Most commands at once: far more than one person has terminals, and few enough that memory holds
everything that they may say."""
STALLED_S = 3600.0
"""Seconds after which the background gives up a front that takes nothing. A stopped terminal or a
pager may rest for some minutes, but not for ever, because its texts wait in memory meanwhile."""


class Front:
    """The front that has asked for a command, as the command sees it."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._is_shown = asyncio.Event()
        self._is_shown.set()
        self._what = Shown(results=True, notes=True)

    def say(self, where: int, text: str) -> None:
        """Have a text shown."""
        for start in range(0, len(text), PIECE_CHARS):
            self.send(Said(where, text[start : start + PIECE_CHARS]))

    def bar(self, one: Bar) -> None:
        """Have a bar drawn."""
        self.send(one)

    async def shown(self) -> Shown:
        """Wait until the front has shown everything said so far; returns whether it could."""
        self._is_shown.clear()
        self.send(Check())
        # Aborting the connection cancels the command, because nobody is left to do it for.
        stalled = asyncio.get_running_loop().call_later(STALLED_S, self._writer.transport.abort)
        try:
            await self._is_shown.wait()
        finally:
            stalled.cancel()
        return self._what

    def send(self, record: msgspec.Struct) -> None:
        """Send a frame, unless the connection is closing."""
        if not self._writer.is_closing():
            self._writer.write(frame(record))

    async def hear(self, reader: asyncio.StreamReader) -> None:
        """Read the front's answers until it hangs up. Raises PeerError for an answer that no
        `shown` asked for."""
        with contextlib.suppress(EOFError, ConnectionError):
            while True:
                what = decode_shown(await _receive(reader, MAX_SHOWN_BYTES))
                if self._is_shown.is_set():
                    raise MalformedFrame
                self._what = what
                self._is_shown.set()


async def _receive(reader: asyncio.StreamReader, most: int) -> bytes:
    """The bytes of the next frame. Raises FrameTooLarge, or EOFError at the end."""
    (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
    if length > most:
        raise FrameTooLarge
    return await reader.readexactly(length)


class _Background:
    """Serves fronts."""

    def __init__(self, perform: Callable[[Command, Front], Awaitable[int]]) -> None:
        self._perform = perform
        self.fronts: set[asyncio.Task[Any]] = set()

    def attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Begin to serve a front."""
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
            # This comes into play if the front does not take the rest.
            asyncio.get_running_loop().call_later(PATIENCE_S, writer.transport.abort)

    async def _do_one(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, front: Front
    ) -> None:
        if not is_of_this_user(writer.get_extra_info("socket")):
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
        """Break off every command under way."""
        for front in self.fronts:
            front.cancel()
        await asyncio.gather(*self.fronts, return_exceptions=True)


@contextlib.asynccontextmanager
async def listening(
    directory: Path, perform: Callable[[Command, Front], Awaitable[int]], name: str = OPEN
) -> AsyncIterator[None]:
    """Serve fronts at a socket of a profile, whose lock (for this socket) this process holds.
    `perform` does a command for a front, and returns its exit status."""
    background = _Background(perform)
    with socket_in(directory, name) as path:
        path.unlink(missing_ok=True)  # left by one that died
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


# Running it from a desktop, or with systemd

_UNIT = """\
# Put this into ~/.config/systemd/user/{name}.service, then:
#   systemctl --user enable --now {name}
[Unit]
Description=Amanat, the {what} of this profile

[Service]
Type=exec
ExecStart=:{executable} --profile {directory} {command}
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
_ENTRY = """\
[Desktop Entry]
Type=Application
Name=Amanat
Name[fa]=امانت
Comment=A messenger whose relay may be put anywhere
Comment[fa]=پیام‌رسانی که رله‌اش را هر جا می‌توان گذاشت
Exec={executable} --profile {directory} up
Icon=amanat
Terminal=false
Categories=Network;InstantMessaging;
"""


def unit(executable: Path, directory: Path, *, is_page: bool = False) -> str:
    """A systemd user unit that keeps the background of a profile running, or the process that
    serves its page.

    Raises BadArgument if a path cannot be written into one.
    """
    if set("\"'\\") & set(str(executable)):
        raise BadArgument(
            f"systemd runs nothing whose path has quotes or backslashes: {executable}"
        )
    return _UNIT.format(
        name="amanat-page" if is_page else "amanat",
        what="page" if is_page else "client",
        command="up --no-open" if is_page else "run",
        executable=_quoted(executable),
        directory=_quoted(directory),
    )


def desktop_entry(executable: Path, directory: Path) -> str:
    """An entry for the menu of a desktop that opens the page of a profile.

    Raises BadArgument if a path cannot be written into one.
    """
    paths = {"executable": executable, "directory": directory}
    return _ENTRY.format(**{name: _quoted_entry(path) for name, path in paths.items()})


def _quoted_entry(path: Path) -> str:
    """A path as the Desktop Entry Specification reads an argument of `Exec`: quoted, with percent
    signs doubled, and with the backslashes doubled again that every value of type string has."""
    text = _printable(path).replace("%", "%%")
    escaped = "".join(f"\\{c}" if c in '"`$\\' else c for c in text)
    return '"{}"'.format(escaped.replace("\\", "\\\\"))


def _quoted(path: Path) -> str:
    """A path as systemd.service(5) reads it in a command line that begins with a colon: dollars
    have no special meaning there."""
    escaped = _printable(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def _printable(path: Path) -> str:
    text = str(path)
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in text):
        raise BadArgument(f"{text!r} has characters that such a file cannot hold")
    return text
