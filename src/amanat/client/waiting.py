"""Words of ours that wait until they can be said.

A person's words are never deleted together with keys. What was said while we were out of step with
a conversation, and what not everybody had confirmed when our count in it began anew, waits here and
is said once we are in step. It keeps its envelope's id, clock and time: so whom it had reached
before takes it for the same, and it stands for everybody where its author wrote it
(docs/protocol.md, section 8, "Said again").
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
"""Most words of one conversation that are said again at once, the last ones: each is a cell to
every member. Those before them are shown as not delivered."""


class Word(NamedTuple):
    """An envelope of ours, but for its place in our count."""

    id: bytes
    kind: int
    body: bytes
    clock: int
    sent_at: int


def is_said_again(kind: int) -> bool:
    """Whether our envelopes of a kind are said again. Everything else is made anew where it is
    needed, or only told how far we had counted."""
    ours = known(kind)
    return ours is not None and KINDS[ours].retention is Retention.AGAIN


class Waiting:
    """The waiting words of one vault."""

    def __init__(self, vault: Vault) -> None:
        self._read = vault.read

    def keep(self, unit: Unit, gid: bytes, words: Iterable[Word]) -> None:
        """Have these said once we are in step."""
        for word in words:
            unit.db.execute(
                "INSERT OR IGNORE INTO waiting (gid, envelope, kind, body, clock, sent_at)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (gid, *word),
            )

    def all(self, gid: bytes) -> list[Word]:
        """What waits, in the order in which it was written."""
        rows = self._read.execute(
            "SELECT envelope, kind, body, clock, sent_at FROM waiting WHERE gid = ?"
            " ORDER BY clock, id",
            (gid,),
        ).fetchall()
        return [Word(*row) for row in rows]

    def take(self, unit: Unit, gid: bytes) -> list[Word]:
        """The same: it waits no longer."""
        words = self.all(gid)
        self.forget(unit, gid)
        return words

    def drop(self, unit: Unit, gid: bytes, word: Word) -> None:
        """It will not be said."""
        unit.db.execute("DELETE FROM waiting WHERE gid = ? AND envelope = ?", (gid, word.id))

    def texts(self, gid: bytes) -> set[bytes]:
        """The ids of the envelopes of the texts that wait."""
        rows = self._read.execute(
            "SELECT envelope FROM waiting WHERE gid = ? AND kind = ?", (gid, Kind.TEXT)
        ).fetchall()
        return {row[0] for row in rows}

    def forget(self, unit: Unit, gid: bytes) -> None:
        """None of it will be said."""
        unit.db.execute("DELETE FROM waiting WHERE gid = ?", (gid,))
