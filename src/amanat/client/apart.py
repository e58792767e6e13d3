"""A backup made apart: by a child (`amanat.client.maker`), while the client goes on.

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
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from amanat import child as children
from amanat.client import backing
from amanat.errors import BY_CODE, NoMemory

if TYPE_CHECKING:
    from amanat.client.backing import Made
    from amanat.client.folders import Folder
    from amanat.client.vault import Vault

CHILD = children.command("amanat.client.maker")
LENGTH = struct.Struct(">I")
"""The length of an ask or an answer, which stands before it."""


class Ask(msgspec.Struct, frozen=True):
    """A backup to make. Paths are as the system has them."""

    profile: bytes
    vault_key: bytes
    place: bytes
    key: bytes
    forget_days: int
    now: int


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


class Failed(msgspec.Struct, frozen=True, tag=True):
    """It could not be made, by an error of ours."""

    code: str
    detail: str


Answer: TypeAlias = Told | MadeApart | Failed

encode = msgspec.json.Encoder().encode
asks = msgspec.json.Decoder(Ask)
_answers: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)


async def make_apart(
    opened: Vault, folder: Folder, key: bytes, *, now: int, told: backing.Told = backing.quiet
) -> Made:
    """Make a backup in a child. Raises like `backing.make`, or NoMemory if the system has ended the
    child. If the caller is cancelled, the child ends, and the backups from before stay."""
    ask = Ask(
        profile=os.fsencode(opened.directory.absolute()),
        vault_key=opened.key,
        place=os.fsencode(folder.place),
        key=key,
        forget_days=folder.forget_days,
        now=now,
    )
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
                case MadeApart(path, size, found, new_blobs, damaged):
                    return backing.Made(Path(os.fsdecode(path)), size, found, new_blobs, damaged)
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
