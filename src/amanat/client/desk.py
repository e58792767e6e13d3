"""The desk: the person's arrangement of their conversations, and the line of each in a list.

Drafts and pinned, muted and archived conversations are known to this vault alone. A line holds
everything that a list shows of a conversation. One statement reads all lines, and it counts no
messages: the vault keeps the number of unread ones as they come, go and are read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from amanat.client.state import State
from amanat.errors import UnknownConversation

if TYPE_CHECKING:
    from amanat.client.unit import Unit
    from amanat.client.vault import Vault

MAX_UNREAD = 1_000
"""The number up to which a line tells how many messages are unread. No list shows more digits."""


class Line(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """The line of a conversation in a list of all. Times are Unix milliseconds."""

    # Its fields have the order of the statement's columns (transcript.Entry says why).
    gid: bytes
    state: State
    last: int | None
    """The row of the last message in order."""
    unread: int
    """The number of texts of others since the read mark, at most MAX_UNREAD."""
    draft: str
    reply_to: bytes | None
    """The id of the text that the draft answers."""
    pinned_at: int | None
    muted_until: int | None
    is_archived: bool
    is_verified: bool
    """For a conversation of two: whether the safety number was compared."""
    is_blocked: bool


_LINES = (
    "SELECT c.gid, c.state,"
    " (SELECT row FROM message WHERE gid = c.gid"
    "  ORDER BY clock DESC, identity DESC, seq DESC, id DESC LIMIT 1),"
    " min(tally.unread, ?1),"
    " coalesce(desk.draft, ''), desk.reply_to, desk.pinned_at, desk.muted_until,"
    " coalesce(desk.is_archived, 0), coalesce(contact.verified, 0), coalesce(contact.blocked, 0)"
    " FROM conversation AS c JOIN tally ON tally.gid = c.gid"
    " LEFT JOIN desk ON desk.gid = c.gid"
    " LEFT JOIN contact ON contact.conversation = c.gid"
)


class Desk:
    """The arrangement of the conversations of one vault."""

    def __init__(self, vault: Vault) -> None:
        self._read = vault.read

    def lines(self, gid: bytes | None = None) -> list[Line]:
        """The lines of all conversations that are not hidden, in the order in which they began; or
        that of one, if it is there."""
        rows = self._read.execute(
            f"{_LINES} WHERE (?2 IS NULL OR c.gid = ?2) AND desk.is_hidden IS NOT 1"
            " ORDER BY c.rowid",
            (MAX_UNREAD, gid),
        ).fetchall()
        return msgspec.convert(rows, list[Line], strict=False)  # SQLite's 0 and 1 are bools

    def line(self, gid: bytes) -> Line:
        """The line of a conversation. Raises UnknownConversation."""
        found = self.lines(gid)
        if not found:
            raise UnknownConversation
        return found[0]

    def draft(self, unit: Unit, gid: bytes, text: str, reply_to: bytes | None) -> None:
        """Keep a draft; an empty text forgets it."""
        self._open(unit, gid)
        unit.db.execute(
            "UPDATE desk SET draft = ?, reply_to = ? WHERE gid = ?",
            (text, reply_to if text else None, gid),
        )

    def pin(self, unit: Unit, gid: bytes, *, is_pinned: bool) -> None:
        """Keep a conversation at the top of the list; the one pinned first stays first."""
        self._open(unit, gid)
        unit.db.execute(
            "UPDATE desk SET pinned_at = iif(?, coalesce(pinned_at, ?), NULL) WHERE gid = ?",
            (is_pinned, unit.now, gid),
        )

    def mute(self, unit: Unit, gid: bytes, until: int | None) -> None:
        """Let nothing of a conversation be announced until then, in Unix milliseconds; None ends
        this."""
        self._open(unit, gid)
        unit.db.execute("UPDATE desk SET muted_until = ? WHERE gid = ?", (until, gid))

    def archive(self, unit: Unit, gid: bytes, *, is_archived: bool) -> None:
        """Take a conversation out of the list, or put it back."""
        self._open(unit, gid)
        unit.db.execute("UPDATE desk SET is_archived = ? WHERE gid = ?", (is_archived, gid))

    def hide(self, unit: Unit, gid: bytes) -> None:
        """Show a conversation no longer, nor anything about it, until we are let in again."""
        self._open(unit, gid)
        unit.db.execute("UPDATE desk SET is_hidden = 1, pinned_at = NULL WHERE gid = ?", (gid,))

    def is_hidden(self, gid: bytes) -> bool:
        """Whether a conversation is hidden."""
        row = self._read.execute("SELECT is_hidden FROM desk WHERE gid = ?", (gid,)).fetchone()
        return row is not None and row[0] == 1

    @staticmethod
    def _open(unit: Unit, gid: bytes) -> None:
        if not unit.db.execute("SELECT 1 FROM conversation WHERE gid = ?", (gid,)).fetchone():
            raise UnknownConversation
        unit.db.execute("INSERT OR IGNORE INTO desk (gid) VALUES (?)", (gid,))
