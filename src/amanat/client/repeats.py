"""Repeats: cells that we append again, because a relay may have forgotten them.

A person who has not met us cannot tell that a cell is missing, and so cannot ask for it: a knock,
the answer to one, a piece of a file with a Welcome. Their sender therefore appends these again from
time to time, until their recipients have evidently come. The bytes are always the same: a label is
used once, and a relay that has the cell answers as it did before.

A file is many cells, and its drop tells how many it has held. Its pieces leave again only if one is
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
"""The first and the longest pause before we append a cell again, in milliseconds (10 minutes, a
day). It doubles each time. A person who is online has answered long before the first repeat; one
who is not costs a cell a day."""
LIFE_MS = 30 * 86_400_000
"""How long we append a cell again, in milliseconds (30 days): as long as we keep our envelopes for
repairs (sent.KEPT_MS)."""
MAX_TRIES = 40
"""The most repeats, whatever the clock says: as many as the pauses leave room for in LIFE_MS."""
REST_MS = MESSAGE_RETENTION_DAYS * 86_400_000
"""How long a cell of a file rests, in milliseconds."""
MAX_BYTES = 64 * 1024 * 1024
"""The most bytes of requests kept; the oldest go first."""


Kind: TypeAlias = Literal[Purpose.KNOCK, Purpose.REPLY, Purpose.FILE]
"""The kinds of request that are repeated. For a file, these are the creation of its drop and its
pieces."""


class Awaited(NamedTuple):
    """Somebody who has not come yet, and the conversation into which they are to come."""

    gid: bytes
    identity: bytes


class Repeats:
    """The requests of one vault that are repeated until they have evidently arrived.

    `about` names a repeat as in the outbox: a knock by its reply secret, the answer to one by its
    conversation, a file with a Welcome by its drop.
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
        """Repeat, until `end`, the requests just queued about something for these purposes.
        `people` are its recipients."""
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
        """End a repeat that has arrived, or that nobody needs any more."""
        for table in ("repeat", "repeat_request", "awaited"):
            unit.db.execute(f"DELETE FROM {table} WHERE about = ?", (about,))  # noqa: S608

    def has_come(self, unit: Unit, gid: bytes, identity: bytes) -> None:
        """Record that somebody has come into a conversation."""
        unit.db.execute("DELETE FROM awaited WHERE gid = ? AND identity = ?", (gid, identity))

    def people(self, about: bytes) -> list[Awaited]:
        """The recipients of a repeat who have not come yet."""
        rows = self._read.execute("SELECT gid, identity FROM awaited WHERE about = ?", (about,))
        return [Awaited(*row) for row in rows.fetchall()]

    def is_due(self, *, now: int) -> bool:
        """Whether any repeat is due, or has to end."""
        return self._read.is_due("SELECT min(due_at) FROM repeat", now)

    def due(self, kind: Kind, *, now: int) -> list[bytes]:
        """The repeats of a kind that are due, or have to end."""
        rows = self._read.execute(
            "SELECT about FROM repeat WHERE kind = ? AND due_at <= ?", (kind, now)
        ).fetchall()
        return [row[0] for row in rows]

    def go_on(self, unit: Unit, about: bytes, *, is_awaited: bool) -> None:
        """Carry out a repeat that is due, if it is still awaited."""
        db = unit.db
        kind, kept_at, tries = db.execute(
            "SELECT kind, kept_at, tries FROM repeat WHERE about = ?", (about,)
        ).fetchone()
        if not is_awaited or tries >= MAX_TRIES or unit.now >= kept_at + LIFE_MS:
            self.end(unit, about)
            return
        waits = "about = ?1 AND purpose IN (SELECT purpose FROM repeat_request WHERE about = ?1)"
        if db.execute(f"SELECT 1 FROM outbox WHERE {waits} AND tries = 0", (about,)).fetchone():  # noqa: S608
            # It has not left yet, because its relay is away.
            db.execute(
                "UPDATE repeat SET due_at = ? WHERE about = ?", (unit.now + PAUSE_MS[0], about)
            )
            return
        db.execute(f"DELETE FROM outbox WHERE {waits}", (about,))  # noqa: S608  # refused for now
        db.execute(
            "UPDATE repeat SET tries = tries + 1, due_at = ? WHERE about = ?",
            (unit.now + min(PAUSE_MS[0] << min(tries + 1, 16), PAUSE_MS[1]), about),
        )
        # We use each of somebody's buckets in turn, because one of their relays may forget
        # everything.
        db.execute(
            "UPDATE repeat_request SET relay = other_relay, request = other_request,"
            " other_relay = relay, other_request = request"
            " WHERE about = ? AND other_relay IS NOT NULL",
            (about,),
        )
        # The relay's answer to the creation of a file's drop says whether the pieces are there.
        self._queue(unit, about, Purpose.CREATE if kind == Purpose.FILE else Purpose(kind))

    def made(self, unit: Unit, about: bytes, head: int) -> None:
        """Hear that a relay has a drop that has held so many cells. If it is a file's and a piece
        is missing, append all pieces again."""
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
        """Postpone no repeat longer than if the longest pause had begun now."""
        unit.db.execute("UPDATE repeat SET due_at = min(due_at, ?)", (unit.now + PAUSE_MS[1],))
