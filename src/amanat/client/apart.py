"""A backup made or checked apart: by a child (`amanat.client.maker`), while the client goes on.

Gathering, sealing and the trial take seconds of one core, and Python runs one thread at a time. In
the client's own process they would make every text wait. So a child does all of it, at the lowest
priority, on a connection of its own to the vault. It gets the secrets by its standard input and by
nothing else, and ends when that ends, so it does not outlive the client.
"""

from __future__ import annotations

import asyncio
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import msgspec
from msgspec import structs

from amanat import child as children
from amanat.client import backing
from amanat.errors import BY_CODE, NoMemory

if TYPE_CHECKING:
    from amanat.client.backing import Found, Made
    from amanat.client.folders import Folder
    from amanat.client.vault import Vault

CHILD = children.command("amanat.client.maker")
LENGTH = struct.Struct(">I")
"""The length of an ask or an answer, which stands before it."""


class Ask(msgspec.Struct, frozen=True):
    """A backup to make of a profile; or one to check, which needs none. Paths are as the system has
    them."""

    profile: bytes
    vault_key: bytes
    place: bytes
    key: bytes
    forget_days: int
    now: int
    checked: bytes = b""
    """The archive to check; empty to make one."""


class Told(msgspec.Struct, frozen=True, tag=True):
    """How far it has got."""

    phase: str
    done: int
    whole: int


class MadeApart(msgspec.Struct, frozen=True, tag=True):
    """It is made."""

    path: bytes
    size: int
    found: backing.Found
    new_blobs: int
    damaged: int


class Checked(msgspec.Struct, frozen=True, tag=True):
    """It is good."""

    found: backing.Found


class Failed(msgspec.Struct, frozen=True, tag=True):
    """It could not be made, or is not good, by an error of ours."""

    code: str
    detail: str


Answer: TypeAlias = Told | MadeApart | Checked | Failed
Done = TypeVar("Done", MadeApart, Checked)

encode = msgspec.json.Encoder().encode
asks = msgspec.json.Decoder(Ask)
_answers: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)


class Apart:
    """Makes and checks backups in a child. If the caller is cancelled, the child ends, and the
    backups from before stay."""

    async def make(
        self,
        opened: Vault,
        folder: Folder,
        key: bytes,
        *,
        now: int,
        told: backing.Told = backing.quiet,
    ) -> Made:
        """Make a backup. Raises like `backing.make`, or NoMemory if the system has ended the
        child."""
        ask = Ask(
            profile=os.fsencode(opened.directory.absolute()),
            vault_key=opened.key,
            place=os.fsencode(folder.place),
            key=key,
            forget_days=folder.forget_days,
            now=now,
        )
        path, size, found, new_blobs, damaged = structs.astuple(await _answer(ask, MadeApart, told))
        return backing.Made(Path(os.fsdecode(path)), size, found, new_blobs, damaged)

    async def check(
        self,
        path: Path,
        folder: Folder,
        key: bytes,
        *,
        now: int,
        told: backing.Told = backing.quiet,
    ) -> Found:
        """Check an archive. Raises like `backing.check`, or NoMemory if the system has ended the
        child."""
        ask = Ask(
            profile=b"",
            vault_key=b"",
            place=os.fsencode(folder.place),
            key=key,
            forget_days=0,
            now=now,
            checked=os.fsencode(path),
        )
        return (await _answer(ask, Checked, told)).found


async def _answer(ask: Ask, kind: type[Done], told: backing.Told) -> Done:
    """The answer of a child to an ask, which has to be of a kind. Raises the error that the child
    names, or NoMemory."""
    child = await children.start(CHILD)
    try:
        if child.stdin is None or child.stdout is None:
            raise RuntimeError("a child has no pipes")
        data = encode(ask)
        child.stdin.write(LENGTH.pack(len(data)) + data)
        while True:
            match await _next(child.stdout):
                case Told(phase, done, whole):
                    told(phase, done, whole)
                case Failed(code, detail):
                    raise BY_CODE[code](detail)
                case answer if isinstance(answer, kind):
                    return answer
                case _:
                    raise RuntimeError("a child has answered something else")
    except EOFError:
        status = await child.wait()
        if status < 0:
            raise NoMemory("the process that made the backup was ended") from None
        raise RuntimeError(f"the process that made the backup has failed ({status})") from None
    finally:
        await children.end(child)


async def _next(output: asyncio.StreamReader) -> Answer:
    """The next answer of a child. Raises EOFError if there is none."""
    (length,) = LENGTH.unpack(await output.readexactly(LENGTH.size))
    return _answers.decode(await output.readexactly(length))
