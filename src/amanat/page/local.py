"""A relay on this machine and a friend who lives there, for a person who has no relay yet.

The relay is a process of its own, which ends when ours does, however that ends. The friend repeats
whatever it is told, so that one command is enough to try everything.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import socket
import sys
from typing import TYPE_CHECKING

from amanat import Client, Unlock
from amanat.errors import BY_CODE, RelayUnreachable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

START_S = 30.0
"""Longest that the relay may take to start, in seconds."""
FRIEND = "Echo"
GREETING = "Hello! I repeat whatever you write.\nسلام! هر چه بنویسید تکرار می‌کنم."  # noqa: RUF001
_RELAY = (sys.executable, "-m", "amanat", "--json", "relay")


class Local:
    """What stands beside one profile on this machine."""

    def __init__(self, profile: Path) -> None:
        beside = profile.absolute().with_name(f"{profile.absolute().name}-local")
        self._relay, self._friend, self._key = beside / "relay", beside / "echo", beside / "key"

    @property
    def is_there(self) -> bool:
        """Whether a relay was made for the profile."""
        return self._relay.exists()

    async def make(self, region: str) -> str:
        """Make the relay, if it is not there yet; its address. Raises the errors of a relay."""
        if not self.is_there:
            self._relay.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            made = await _answer(
                *("init", str(self._relay), "--region", region, "--operator", "this machine"),
                *("--port", str(_free_port())),
            )
            self._address.write_text(made["address"])
        return self._address.read_text()

    @property
    def _address(self) -> Path:
        return self._relay.with_name("address")

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Have the relay run. Raises RelayUnreachable if it does not start."""
        # It reads our end of its standard input until that closes, as it does when we die.
        process = await asyncio.create_subprocess_exec(
            *(*_RELAY, "run", str(self._relay), "--until-eof"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await _first_line(process)
            yield
        finally:
            if process.stdin is not None:
                process.stdin.close()
            await process.wait()

    @contextlib.asynccontextmanager
    async def friend_of(self, person: Client) -> AsyncIterator[None]:
        """Have a friend of this person answer. It meets the person the first time."""
        friend = await self._friend_at_home(person)
        async with friend:
            echoing = asyncio.ensure_future(_echo(friend))
            try:
                yield
            finally:
                echoing.cancel()
                await asyncio.gather(echoing, return_exceptions=True)

    async def _friend_at_home(self, person: Client) -> Client:
        if self._friend.exists():
            return Client.open(self._friend, Unlock(key=self._key.read_bytes()))
        key = secrets.token_bytes(32)
        handle = os.open(self._key, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(key)
        friend = await Client.create(
            self._friend, Unlock(key=key), name=FRIEND, relay=self._address.read_text()
        )
        friend.accept(person.invite(), GREETING)
        return friend


async def _echo(friend: Client) -> None:
    """Say every text back."""
    async for message in friend.messages():
        message.reply(message.text)


async def _answer(*words: str) -> dict[str, str]:
    process = await asyncio.create_subprocess_exec(
        *(*_RELAY, *words), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        return await _first_line(process)
    finally:
        await process.wait()


async def _first_line(process: asyncio.subprocess.Process) -> dict[str, str]:
    """What a relay's process says first. Raises the error that it names, or RelayUnreachable."""
    line = b""
    if process.stdout is not None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_S):
                line = await process.stdout.readline()
    said: dict[str, str] = json.loads(line or b"{}")
    if "address" not in said:
        raise BY_CODE.get(said.get("error", ""), RelayUnreachable)(said.get("detail", ""))
    return said


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
