"""Together: several things that a program does as one unit of work."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from amanat.client.sdk.reading import Reading
    from amanat.client.shell.runtime import Runtime
    from amanat.client.unit import Unit

_KEPT = "program "
"""The prefix of the keys of `meta` under which programs keep values."""


class Together:
    """A list of things to do. Nothing is done before `carry_out`, which does all of them in one
    unit of work: either all are durable or none."""

    def __init__(self, run: Runtime, reading: Reading) -> None:
        self._unit = run.unit
        self._vault = run.parts.vault
        self._reading = reading
        self._writing = reading.writing
        self._deeds: list[Callable[[Unit], object]] = []

    def send(self, gid: bytes, text: str, *, reply_to: str = "") -> None:
        """Say a text in a conversation."""
        self._deeds.append(lambda unit: self._writing.send_in(unit, gid, text, reply_to=reply_to))

    def react(self, gid: bytes, message: str, emoji: str) -> None:
        """React to a message."""
        self._deeds.append(lambda unit: self._writing.react_in(unit, gid, message, emoji))

    def seen(self, gid: bytes, row: int) -> None:
        """Mark everything that arrived in a conversation up to this row as read."""
        self._deeds.append(lambda unit: self._writing.seen_in(unit, gid, row))

    def keep(self, key: str, value: bytes) -> None:
        """Keep a value of the program's own in the vault, under a key."""
        self._deeds.append(lambda unit: unit.put(_KEPT + key, value))

    def kept(self, key: str) -> bytes | None:
        """The value that was kept last under a key; None if there is none."""
        try:
            return self._vault.get(_KEPT + key)
        except KeyError:
            return None

    def gid(self, name: str) -> bytes:
        """The gid of the conversation with a name or an id. Raises UnknownConversation or
        AmbiguousName."""
        return self._reading.conversation(name).gid

    def live(self) -> list[bytes]:
        """The conversations that we are in and mean to stay in."""
        return [view.gid for view in self._reading.conversations() if view.is_live]

    def carry_out(self) -> None:
        """Do everything on the list. Raises the error of the first thing that fails, or DiskFull.
        Nothing is done then, and the program can try again."""
        with self._unit() as unit:
            for deed in self._deeds:
                deed(unit)
