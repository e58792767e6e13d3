"""Repeats: what is appended again, for a relay may have forgotten it.

Whoever has not met us cannot tell that something is missing, and so cannot ask for it: a knock, the
answer to one, a piece of a file with a Welcome. So their sender has them appended again from time
to time, until those they are for have evidently come. It is always the same bytes: a label is used
once, and a relay that has the cell answers as it did before.

A file is many cells, and its drop tells how many it has held: its pieces leave again only if one is
missing, or when those there must have expired.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from amanat.client.rules.outbox import Purpose
from amanat.protocol.drops import MESSAGE_RETENTION_DAYS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from amanat.client.unit import Unit
    from amanat.client.vault import Vault

PAUSE_MS = (600_000, 86_400_000)
"""First and longest pause before something is appended again, in milliseconds (10 minutes, a day).
It doubles: who is online has answered long before the first, who is not costs a cell a day."""
LIFE_MS = 30 * 86_400_000
"""How long anything is appended again, in milliseconds (30 days): as long as what we have said is
kept to be said again (sent.KEPT_MS)."""
MAX_TRIES = 40
"""How often at most, whatever the clock says: as often as the pauses have room in LIFE_MS."""
REST_MS = MESSAGE_RETENTION_DAYS * 86_400_000
"""How long a cell of a file rests, in milliseconds."""
MAX_BYTES = 64 * 1024 * 1024
"""Most bytes of requests kept; the oldest go first."""


Kind: TypeAlias = Literal[Purpose.KNOCK, Purpose.REPLY, Purpose.FILE]
"""What is appended again: a file by what makes its drop and by its pieces."""


class Awaited(NamedTuple):
    """Somebody who has not come yet, and the conversation that they are to come into."""

    gid: bytes
    identity: bytes


class Repeats:
    """What of one vault is appended again until it has evidently come.

    `about` names it as in the outbox: a knock its reply secret, the answer to one its conversation,
    a file with a Welcome its drop.
    """

    def __init__(self, vault: Vault) -> None:
        self._read = vault.read

    def keep(
        self,
        unit: Unit,
        kind: Kind,
        about: bytes,
        purposes: Iterable[Purpose],
        *,
        people: Iterable[Awaited] = (),
    ) -> None:
        """Append again, until `end`, what was just queued about something for these purposes.
        `people` are those it is for."""
        db = unit.db
        db.execute(
            "INSERT INTO repeat (about, kind, kept_at, appended_at, due_at)"
            " VALUES (?1, ?2, ?3, ?3, ?4)",
            (about, kind, unit.now, unit.now + PAUSE_MS[0]),
        )
        for purpose in purposes:
            db.execute(
                "INSERT INTO repeat_request (about, purpose, relay, request, other_relay,"
                " other_request) SELECT about, purpose, relay, request, other_relay, other_request"
                " FROM outbox WHERE purpose = ? AND about = ? ORDER BY id",
                (purpose, about),
            )
        for gid, identity in people:
            db.execute("INSERT OR IGNORE INTO awaited VALUES (?, ?, ?)", (about, gid, identity))
        for (old,) in db.execute(
            "SELECT DISTINCT about FROM (SELECT about, sum(length(request)) OVER"
            " (ORDER BY id DESC) AS bytes FROM repeat_request) WHERE bytes > ?",
            (MAX_BYTES,),
        ).fetchall():
            self.end(unit, old)

    def end(self, unit: Unit, about: bytes) -> None:
        """It has come, or nobody needs it any more."""
        for table in ("repeat", "repeat_request", "awaited"):
            unit.db.execute(f"DELETE FROM {table} WHERE about = ?", (about,))  # noqa: S608

    def has_come(self, unit: Unit, gid: bytes, identity: bytes) -> None:
        """Somebody has come into a conversation."""
        unit.db.execute("DELETE FROM awaited WHERE gid = ? AND identity = ?", (gid, identity))

    def people(self, about: bytes) -> list[Awaited]:
        """Those it is for who have not come yet."""
        rows = self._read.execute("SELECT gid, identity FROM awaited WHERE about = ?", (about,))
        return [Awaited(*row) for row in rows.fetchall()]

    def is_due(self, *, now: int) -> bool:
        """Whether anything is to be appended again, or to be ended."""
        row = self._read.execute("SELECT 1 FROM repeat WHERE due_at <= ?", (now,)).fetchone()
        return row is not None

    def due(self, kind: Kind, *, now: int) -> list[bytes]:
        """What of a kind is to be appended again, or to be ended."""
        rows = self._read.execute(
            "SELECT about FROM repeat WHERE kind = ? AND due_at <= ?", (kind, now)
        ).fetchall()
        return [row[0] for row in rows]

    def go_on(self, unit: Unit, about: bytes, *, is_awaited: bool) -> None:
        """Append something that is due again, if it is awaited still."""
        db = unit.db
        kind, kept_at, tries = db.execute(
            "SELECT kind, kept_at, tries FROM repeat WHERE about = ?", (about,)
        ).fetchone()
        if not is_awaited or tries >= MAX_TRIES or unit.now >= kept_at + LIFE_MS:
            self.end(unit, about)
            return
        waits = "about = ?1 AND purpose IN (SELECT purpose FROM repeat_request WHERE about = ?1)"
        if db.execute(f"SELECT 1 FROM outbox WHERE {waits} AND tries = 0", (about,)).fetchone():  # noqa: S608
            # It has not left yet: its relay is away.
            db.execute(
                "UPDATE repeat SET due_at = ? WHERE about = ?", (unit.now + PAUSE_MS[0], about)
            )
            return
        db.execute(f"DELETE FROM outbox WHERE {waits}", (about,))  # noqa: S608  # refused for now
        db.execute(
            "UPDATE repeat SET tries = tries + 1, due_at = ? WHERE about = ?",
            (unit.now + min(PAUSE_MS[0] << min(tries + 1, 16), PAUSE_MS[1]), about),
        )
        # To each of somebody's buckets in turn: one of their relays may forget everything.
        db.execute(
            "UPDATE repeat_request SET relay = other_relay, request = other_request,"
            " other_relay = relay, other_request = request"
            " WHERE about = ? AND other_relay IS NOT NULL",
            (about,),
        )
        # What a relay answers when it is to make the drop of a file says whether the rest is there.
        self._queue(unit, about, Purpose.CREATE if kind == Purpose.FILE else Purpose(kind))

    def made(self, unit: Unit, about: bytes, head: int) -> None:
        """A relay has a drop in which there were so many cells. If it is that of a file and a
        piece is missing, all are appended again."""
        row = unit.db.execute(
            "SELECT appended_at, (SELECT count(*) FROM repeat_request AS piece"
            " WHERE piece.about = repeat.about AND purpose = 'file')"
            " FROM repeat WHERE about = ? AND kind = 'file' AND tries > 0",
            (about,),
        ).fetchone()
        if row is None or (head >= row[1] and 0 <= unit.now - row[0] < REST_MS):
            return
        unit.db.execute("UPDATE repeat SET appended_at = ? WHERE about = ?", (unit.now, about))
        self._queue(unit, about, Purpose.FILE)

    def _queue(self, unit: Unit, about: bytes, purpose: Purpose) -> None:
        unit.db.execute(
            "INSERT INTO outbox (relay, request, other_relay, other_request, about, purpose,"
            " due_at) SELECT relay, request, other_relay, other_request, about, purpose, ?"
            " FROM repeat_request WHERE about = ? AND purpose = ? ORDER BY id",
            (unit.now, about, purpose),
        )

    def begin_clock(self, unit: Unit) -> None:
        """Nothing is put off longer than if the longest pause had begun now."""
        unit.db.execute("UPDATE repeat SET due_at = min(due_at, ?)", (unit.now + PAUSE_MS[1],))
