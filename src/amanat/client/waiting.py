"""Waiting: words of ours that wait until they can be said.

A person's words are never deleted together with keys. Words said while we were out of step with a
conversation, and those that not everybody had confirmed when our count in it began again, wait here
and leave once we are in step. A word keeps its envelope's id, clock and time, so that people who
already have it recognise it, and everybody sees it where its author wrote it (docs/protocol.md,
section 8, "Said again").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from amanat.protocol.kinds import KINDS, Retention, known
from amanat.protocol.messages import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from amanat.client.unit import Unit
    from amanat.client.vault import Vault

MAX_SAID_AGAIN = 256
"""The most words of one conversation that are said again at once, the last ones, because each is a
cell to every member. Earlier ones are shown as not delivered."""


class Word(NamedTuple):
    """An envelope of ours without its number in our count."""

    id: bytes
    kind: int
    body: bytes
    clock: int
    sent_at: int


def is_said_again(kind: int) -> bool:
    """Whether our envelopes of a kind are said again. All others are made again if they are needed,
    or only told how far we had counted."""
    ours = known(kind)
    return ours is not None and KINDS[ours].retention is Retention.AGAIN


class Waiting:
    """The waiting words of one vault."""

    def __init__(self, vault: Vault) -> None:
        self._read = vault.read

    def keep(self, unit: Unit, gid: bytes, words: Iterable[Word]) -> None:
        """Keep these words until we are in step."""
        for word in words:
            unit.db.execute(
                "INSERT OR IGNORE INTO waiting (gid, envelope, kind, body, clock, sent_at)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (gid, *word),
            )

    def all(self, gid: bytes) -> list[Word]:
        """The waiting words, in the order in which they were written."""
        rows = self._read.execute(
            "SELECT envelope, kind, body, clock, sent_at FROM waiting WHERE gid = ?"
            " ORDER BY clock, id",
            (gid,),
        ).fetchall()
        return [Word(*row) for row in rows]

    def take(self, unit: Unit, gid: bytes) -> list[Word]:
        """The same words, which then wait no longer."""
        words = self.all(gid)
        self.forget(unit, gid)
        return words

    def drop(self, unit: Unit, gid: bytes, word: Word) -> None:
        """Drop a word, which will not be said."""
        unit.db.execute("DELETE FROM waiting WHERE gid = ? AND envelope = ?", (gid, word.id))

    def texts(self, gid: bytes) -> set[bytes]:
        """The ids of the envelopes of the waiting texts."""
        rows = self._read.execute(
            "SELECT envelope FROM waiting WHERE gid = ? AND kind IN (?, ?)",
            (gid, Kind.TEXT, Kind.FILE),
        ).fetchall()
        return {row[0] for row in rows}

    def forget(self, unit: Unit, gid: bytes) -> None:
        """Drop all words of a conversation, which will not be said."""
        unit.db.execute("DELETE FROM waiting WHERE gid = ?", (gid,))
