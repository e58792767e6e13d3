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
import shutil
import socket
import sys
from typing import TYPE_CHECKING

from amanat import Client, Unlock, opens_with, wipe
from amanat.errors import BY_CODE, RelayUnreachable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from amanat.client.surroundings import Surroundings

START_S = 30.0
"""Longest that the relay may take to start, in seconds."""
OPERATOR = "this machine"
FRIEND = "Echo"
GREETING = "Hello! I repeat whatever you write.\nسلام! هر چه بنویسید تکرار می‌کنم."  # noqa: RUF001
_MADE = "relay.toml"
"""The file that makes a directory a relay's."""
_RELAY = (sys.executable, "-m", "amanat", "--json", "relay")


class Local:
    """The relay and the friend beside one profile."""

    def __init__(self, profile: Path) -> None:
        beside = profile.absolute().with_name(f"{profile.absolute().name}-local")
        self._relay, self._friend, self._key = beside / "relay", beside / "echo", beside / "key"

    @property
    def is_there(self) -> bool:
        """Whether a relay was made for the profile."""
        return (self._relay / _MADE).exists()

    def wipe(self) -> None:
        """Destroy the relay and the friend, who knows what the person told it. Raises ProfileInUse
        while they run."""
        if opens_with(self._friend):
            wipe(self._friend)
        shutil.rmtree(self._relay.parent, ignore_errors=True)

    async def make(self, region: str) -> None:
        """Make the relay, if it is not there yet. Raises the errors of a relay."""
        if self.is_there:
            return
        shutil.rmtree(self._relay, ignore_errors=True)  # half made, by a process that died
        self._relay.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        making = await asyncio.create_subprocess_exec(
            *(*_RELAY, "init", str(self._relay), "--region", region),
            *("--operator", OPERATOR, "--port", str(_free_port())),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        await _first_line(making)
        await making.wait()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Have the relay run; gives its address. Raises RelayUnreachable if it does not start, or
        the error that it names."""
        # It reads our end of its standard input until that closes, as it does when we die.
        process = await asyncio.create_subprocess_exec(
            *(*_RELAY, "run", str(self._relay), "--until-eof"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            yield (await _first_line(process))["address"]
        finally:
            if process.stdin is not None:
                process.stdin.close()
            await process.wait()

    @contextlib.asynccontextmanager
    async def friend_of(self, person: Client, relay: str) -> AsyncIterator[None]:
        """Have a friend of this person, at home on `relay`, answer while this lasts."""
        friend = await self._friend_at_home(relay, person.hopping.around)
        if not friend.conversations():  # until the person's client has answered the knock
            friend.accept(person.invite(), GREETING)
        async with friend:
            echoing = asyncio.ensure_future(_echo(friend))
            try:
                yield
            finally:
                echoing.cancel()
                await asyncio.gather(echoing, return_exceptions=True)

    async def _friend_at_home(self, relay: str, around: Surroundings) -> Client:
        """The friend, who goes by the person's proxy: their words lead to the person's relays."""
        if opens_with(self._friend):
            return Client.open(self._friend, Unlock(key=self._key.read_bytes()), around)
        key = secrets.token_bytes(32)
        handle = os.open(self._key, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(key)
        return await Client.create(
            self._friend, Unlock(key=key), name=FRIEND, relay=relay, around=around
        )


async def _echo(friend: Client) -> None:
    """Say every text back."""
    async for message in friend.messages():
        message.reply(message.text)


async def _first_line(process: asyncio.subprocess.Process) -> dict[str, str]:
    """The first line of a relay's process. Raises the error that it names, or RelayUnreachable."""
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
