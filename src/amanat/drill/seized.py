"""A relay that is seized while it runs: its disk, all it printed, and its memory.

For comparison, the module also writes the disk of another design for the same messages: a database
with the columns that its server needs for its work, with ciphertext where it has ciphertext.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from typing import TYPE_CHECKING, NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from amanat.drill.designs import ENVELOPE_BYTES, PADDING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from amanat.drill.relays import RelayProcess

REGION_BYTES = 64 * 1024 * 1024
"""Memory copied at once, in bytes."""


class Message(NamedTuple):
    """A message from one person to another: people by number."""

    at: float
    sender: int
    recipient: int
    text: str


def seize(relay: RelayProcess, to: Path) -> None:
    """Copy everything of a running relay: its directory with write-ahead logs, its output, its
    memory.

    Raises PermissionError where the system does not let a parent read its child's memory.
    """
    to.mkdir()
    shutil.copytree(relay.directory, to / "disk")
    shutil.copy(relay.log, to / "output")
    with (to / "memory").open("wb") as out:
        for begin, end in _mapped(relay.pid):
            _copy_memory(relay.pid, begin, end, out.fileno())


def _mapped(pid: int) -> Iterable[tuple[int, int]]:
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps:  # noqa: PTH123  # not a file on disk
        for line in maps:
            place, rights, *_ = line.split()
            if rights.startswith("rw"):
                begin, end = (int(one, 16) for one in place.split("-"))
                yield begin, end


def _copy_memory(pid: int, begin: int, end: int, out: int) -> None:
    memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    try:
        while begin < end:
            try:
                data = os.pread(memory, min(REGION_BYTES, end - begin), begin)
            except OSError:  # a page that is mapped and not there
                return
            if not data:
                return
            os.write(out, data)
            begin += len(data)
    finally:
        os.close(memory)


def other_disk(design: str, messages: list[Message], to: Path) -> None:
    """Write the database that the server of another design would have of these messages."""
    to.mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(to / "server.sqlite")) as db, db:
        columns = {
            "cloud": "at REAL, sender INTEGER, room TEXT, body TEXT",
            "federated": "at REAL, sender INTEGER, room TEXT, body BLOB",
            "sealed": "at REAL, mailbox INTEGER, body BLOB",
            "perqueue": "at REAL, queue BLOB, body BLOB",
        }[design]
        db.execute(f"CREATE TABLE message ({columns})")
        marks = ", ".join("?" * (columns.count(",") + 1))
        queues: dict[tuple[int, int], bytes] = {}
        for one in messages:
            room = f"{min(one.sender, one.recipient)}-{max(one.sender, one.recipient)}"
            queue = queues.setdefault((one.sender, one.recipient), os.urandom(24))
            row = {
                "cloud": (one.at, one.sender, room, one.text),
                "federated": (one.at, one.sender, room, encrypted(design, one.text)),
                "sealed": (one.at, one.recipient, encrypted(design, one.text)),
                "perqueue": (one.at, queue, encrypted(design, one.text)),
            }[design]
            db.execute(f"INSERT INTO message VALUES ({marks})", row)  # noqa: S608  # our own names


def encrypted(design: str, text: str) -> bytes:
    """A text in the form in which a design's clients deposit it."""
    data = text.encode()
    if design == "cloud":
        return data
    whole, step = len(data) + ENVELOPE_BYTES[design], PADDING[design]
    padded = data.ljust(-(-whole // step) * step - 28, b"\0")
    return os.urandom(12) + ChaCha20Poly1305(os.urandom(32)).encrypt(bytes(12), padded, None)
