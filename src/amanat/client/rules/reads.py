"""Reading: how far others say they have read our texts, and whether we tell them the same.

We tell it in our acks (messages.Ack), with what we send anyway, unless the person keeps it to
themselves. A person who keeps it does not see it of others either. A statement about one's own
reading is a claim: we show it, and nothing depends on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from amanat.client.events import StateChanged

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from amanat.client.profile import Me
    from amanat.client.unit import Unit
    from amanat.client.vault import Vault

_KEEPS = "keeps reading"
"""The key in a vault's `meta` that stands there if the person keeps it to themselves."""
MAX_UNREAD = 1_000
"""The most unread texts of a conversation that are looked at to tell what was read. While there are
more, nothing new is told: to look at all of them would make everything that we say slow."""


class Unread(NamedTuple):
    """The texts of a conversation that our person has not read."""

    first: Mapping[bytes, int]
    """Of each device the lowest number of such a text, among the MAX_UNREAD that arrived first."""
    is_whole: bool
    """True: these are all of them."""
    shut_out: AbstractSet[bytes]
    """The people that our person has blocked. Their texts are not shown, and they learn nothing."""

    def upto(self, signer: bytes, identity: bytes, heard: int, told: int) -> int:
        """The number up to which our person has read the texts of a device. `heard` is the number
        up to which we have everything, and `told` what we have said before."""
        if identity in self.shut_out:
            return 0
        if not self.is_whole:  # a text that was repaired late may be among the others
            return told
        if signer in self.first:
            return max(told, min(heard, self.first[signer] - 1))
        return heard


class Reads:
    """The read marks of one vault's conversations."""

    def __init__(self, vault: Vault, me: Me) -> None:
        self._read = vault.read
        self._me = me

    @property
    def are_told(self) -> bool:
        """Whether we tell others what we have read, and see what they have."""
        row = self._read.execute("SELECT 1 FROM meta WHERE key = ?", (_KEEPS,)).fetchone()
        return row is None

    def tell(self, unit: Unit, *, are_told: bool) -> None:
        """Set this, from now on. If we keep ours, we forget the read marks of others."""
        if are_told:
            unit.db.execute("DELETE FROM meta WHERE key = ?", (_KEEPS,))
            return
        unit.put(_KEEPS, b"")
        rows = unit.db.execute("DELETE FROM read_by RETURNING gid").fetchall()
        unit.events += [StateChanged(gid) for gid in sorted({gid for (gid,) in rows})]

    def unread_up_to(self, gid: bytes | None, row: int | None) -> list[bytes]:
        """The conversations, this one or all, in which our person has not read some text of
        somebody else up to this row, or at all."""
        rows = self._read.execute(
            "SELECT gid FROM conversation AS c WHERE (?1 IS NULL OR gid = ?1) AND EXISTS (SELECT 1"
            " FROM message WHERE gid = c.gid AND row > c.read_row AND (?2 IS NULL OR row <= ?2)"
            " AND identity != ?3)",
            (gid, row, self._me.identity),
        ).fetchall()
        return [one for (one,) in rows]

    def unread(self, gid: bytes) -> Unread:
        """The texts of a conversation that our person has not read."""
        rows = self._read.execute(
            "SELECT m.signer, m.seq FROM conversation AS c JOIN message AS m ON m.gid = c.gid"
            " AND m.row > c.read_row WHERE c.gid = ? ORDER BY m.row LIMIT ?",
            (gid, MAX_UNREAD),
        ).fetchall()
        first: dict[bytes, int] = {}
        for signer, seq in rows:
            first[signer] = min(seq, first.get(signer, seq))
        blocked = self._read.execute(
            "SELECT identity FROM contact WHERE blocked UNION SELECT identity FROM shut_out"
        ).fetchall()
        return Unread(first, len(rows) < MAX_UNREAD, {identity for (identity,) in blocked})

    def hear(self, unit: Unit, gid: bytes, identity: bytes, seq: int) -> None:
        """Record that somebody says they have read our texts up to this number."""
        before = self.upto(gid).get(gid, {}).get(identity, 0)
        if seq <= before or not self.are_told:
            return
        row = unit.db.execute(
            "INSERT INTO read_by SELECT ?1, ?2, min(?3, sent_seq) FROM conversation WHERE gid = ?1"
            " ON CONFLICT DO UPDATE SET seq = excluded.seq WHERE seq < excluded.seq RETURNING 1",
            (gid, identity, seq),
        ).fetchone()
        last = unit.db.execute(
            "SELECT seq FROM message WHERE gid = ? AND identity = ? ORDER BY row DESC LIMIT 1",
            (gid, self._me.identity),
        ).fetchone()
        if row and last and last[0] > before:  # and not only receipts and the like
            unit.events.append(StateChanged(gid))

    def upto(self, gid: bytes | None = None) -> dict[bytes, dict[bytes, int]]:
        """The number up to which each person says they have read our texts, in one conversation or
        in each."""
        found: dict[bytes, dict[bytes, int]] = {}
        for where, identity, seq in self._read.execute(
            "SELECT gid, identity, seq FROM read_by"  # noqa: S608
            + (" WHERE gid = ?" if gid else ""),
            (gid,) if gid else (),
        ).fetchall():
            found.setdefault(where, {})[identity] = seq
        return found
