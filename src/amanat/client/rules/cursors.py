"""Cursors: how far we have read each drop, and the digests of the cells that we read there.

If no cell was for us, a cursor moves in memory and is written with the next unit, so that other
people's cells do not cost a write each. Other cursors move with the unit under way.
"""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from amanat.client.rules.outbox import DIGEST_BYTES
from amanat.errors import RelayLied
from amanat.protocol.drops import first_digest, next_digest
from amanat.protocol.messages import Seen

if TYPE_CHECKING:
    from collections.abc import Iterable

    from amanat.client.profile import Home, Me
    from amanat.client.unit import Unit
    from amanat.client.vault import Vault
    from amanat.protocol import wire

KEPT_DIGESTS = 16_384
"""The number of cells of a drop whose digests are kept, to compare them with hearsay: 128 KiB."""
_DIGESTS_PER_ROW = 256
RECENT_BYTES = 4 * 1024 * 1024
"""The bytes of cells of each bucket of ours that are kept in memory. When a chain begins, we look
through them again without asking the relay, which learns nothing of it."""
MAX_HEARSAY = 64
"""The most digests of one drop kept for cells that others have told us of and we have not read
yet."""


class Cursor(NamedTuple):
    """How far a drop was read. The `digests` of the cells from `first` on have not been written
    yet."""

    seq: int
    digest: bytes
    first: int
    digests: bytes


@dataclass
class _Recent:
    """The recently read cells of a bucket of ours: all after `since`, including those of others."""

    since: int
    cells: deque[bytes] = field(default_factory=deque)
    size: int = 0

    @property
    def end(self) -> int:
        """The seq of the last of them."""
        return self.since + len(self.cells)

    def add(self, first: int, cells: Iterable[bytes]) -> None:
        """Add cells that were read, the first of which has the seq `first`."""
        if first > self.end + 1:  # the cells between have expired
            self.since, self.size = first - 1, 0
            self.cells.clear()
        for cell in itertools.islice(cells, self.end + 1 - first, None):
            self.cells.append(cell)
            self.size += len(cell)
        while self.size > RECENT_BYTES:
            self.since += 1
            self.size -= len(self.cells.popleft())


class Cursors:
    """The cursors of one vault: how far each drop was read."""

    def __init__(self, vault: Vault, me: Me) -> None:
        self._vault = vault
        self._me = me
        self._passed: dict[bytes, Cursor] = {}
        """Cursors that moved only over other people's cells. They stay true even if a unit
        fails."""
        self._taken: dict[bytes, Cursor] = {}
        """Cursors that move with the unit under way."""
        self._recent: dict[bytes, _Recent] = {}
        vault.bind(
            before_commit=self._write_cursors, after_commit=self._wrote, forget=self._taken.clear
        )

    def _wrote(self) -> None:
        self._taken.clear()
        self._passed.clear()

    def read_from(self, drop_id: bytes) -> int:
        """The seq up to which a drop was read."""
        return self._cursor(drop_id).seq

    def _cursor(self, drop_id: bytes) -> Cursor:
        cursor = self._taken.get(drop_id) or self._passed.get(drop_id)
        if cursor is None:
            row = self._vault.read.execute(
                "SELECT seq, digest FROM cursor WHERE drop_id = ?", (drop_id,)
            ).fetchone()
            seq, digest = row or (0, first_digest(drop_id))
            cursor = Cursor(seq, digest, seq + 1, b"")
        return cursor

    def advance(
        self,
        unit: Unit,  # noqa: ARG002  # the cursor is written with it
        drop_id: bytes,
        cells: wire.Cells,
        take: int,
    ) -> list[bytes]:
        """Those of the first `take` cells of a reply that are new; the cursor moves past them.

        Raises RelayLied if the reply does not continue the cells that we have read.
        """
        self._taken[drop_id], fresh = self.continued(drop_id, cells, take)
        return fresh

    def is_at_end(self, drop_id: bytes, cells: wire.Cells) -> bool:
        """Whether a reply only says that we have read all of a drop. Raises like `advance`."""
        return not cells.cells and self.continued(drop_id, cells, 0)[0] == self._cursor(drop_id)

    def passed_over(self, drop_id: bytes, cursor: Cursor) -> None:
        """Move to this cursor, because no cell up to it is for us (`continued`)."""
        self._passed[drop_id] = cursor

    @property
    def has_passed(self) -> bool:
        """Whether some cursors have moved but are not written yet."""
        return bool(self._passed)

    def continued(self, drop_id: bytes, cells: wire.Cells, take: int) -> tuple[Cursor, list[bytes]]:
        """The cursor to which a reply moves that of a drop, and those of its first `take` cells
        that are new. Raises like `advance`."""
        seq, digest, first, digests = self._cursor(drop_id)
        if cells.head < seq or cells.first + len(cells.cells) > cells.head + 1:
            raise RelayLied(f"the drop was read up to {seq} and now ends at {cells.head}")
        if not cells.cells and cells.first != cells.head + 1:
            raise RelayLied(f"the drop ends at {cells.head} and its cells are held back")
        if cells.first > seq + 1:  # the cells between have expired
            seq, digest, first, digests = cells.first - 1, cells.before, cells.first, b""
        elif cells.first == seq + 1 and cells.before != digest:
            raise RelayLied(f"the digest at {seq} is not the one we computed")
        skip = seq + 1 - cells.first
        fresh = cells.cells[skip : skip + take]
        found = bytearray(digests)
        for cell in fresh:
            digest = next_digest(digest, cell)
            found += digest[:DIGEST_BYTES]
        if any(drop_id == home.bucket.drop_id for home in self._me.buckets):
            self._recent.setdefault(drop_id, _Recent(seq)).add(seq + 1, fresh)
        return Cursor(seq + len(fresh), digest, first, bytes(found)), fresh

    def _write_cursors(self, unit: Unit) -> None:
        db = unit.db
        for drop_id, cursor in (self._passed | self._taken).items():
            db.execute(
                "INSERT OR REPLACE INTO cursor VALUES (?, ?, ?)",
                (drop_id, cursor.seq, cursor.digest),
            )
            if cursor.digests:
                self._keep_digests(unit, drop_id, cursor.first, cursor.digests)

    def _keep_digests(self, unit: Unit, drop_id: bytes, first: int, digests: bytes) -> None:
        db = unit.db
        row = db.execute(
            "SELECT first, data FROM digests WHERE drop_id = ? ORDER BY first DESC LIMIT 1",
            (drop_id,),
        ).fetchone()
        if row and row[0] + len(row[1]) // DIGEST_BYTES == first:
            first, digests = row[0], row[1] + digests
        size = _DIGESTS_PER_ROW * DIGEST_BYTES
        for start in range(0, len(digests), size):
            db.execute(
                "INSERT OR REPLACE INTO digests VALUES (?, ?, ?)",
                (drop_id, first + start // DIGEST_BYTES, digests[start : start + size]),
            )
        end = first + len(digests) // DIGEST_BYTES
        db.execute(
            "DELETE FROM digests WHERE drop_id = ? AND first < ?",
            (drop_id, end - KEPT_DIGESTS - _DIGESTS_PER_ROW),
        )

    def seen_in(self, drop_id: bytes) -> Seen | None:
        """How far we have read a drop, to tell somebody who also reads it."""
        cursor = self._cursor(drop_id)
        return Seen(drop_id[:4], cursor.seq, cursor.digest[:DIGEST_BYTES]) if cursor.seq else None

    def contradicts(self, unit: Unit, drop_id: bytes, seen: Seen) -> bool:
        """Whether the digest of a drop that somebody was told differs from ours.

        If it is of a cell that we have not read yet, we compare it when we have (`refute_hearsay`).
        """
        if seen.seq > self.read_from(drop_id):
            unit.db.execute(
                "INSERT OR IGNORE INTO hearsay SELECT ?1, ?2, ?3 WHERE"
                " (SELECT count(*) FROM hearsay WHERE drop_id = ?1) < ?4",
                (drop_id, seen.seq, seen.digest, MAX_HEARSAY),
            )
            return False
        ours = self._digest_at(drop_id, seen.seq)
        return ours is not None and ours != seen.digest

    def refute_hearsay(self, unit: Unit, drop_id: bytes) -> bool:
        """Whether the cells that we have read since contradict hearsay. Forgets every digest that
        could be compared."""
        reached = unit.db.execute(
            "DELETE FROM hearsay WHERE drop_id = ? AND seq <= ? RETURNING seq, digest",
            (drop_id, self.read_from(drop_id)),
        ).fetchall()
        return any(self._digest_at(drop_id, seq) not in (None, digest) for seq, digest in reached)

    def _digest_at(self, drop_id: bytes, seq: int) -> bytes | None:
        for cursor in (self._taken.get(drop_id), self._passed.get(drop_id)):
            if cursor is not None and cursor.first <= seq <= cursor.seq:
                start = (seq - cursor.first) * DIGEST_BYTES
                return cursor.digests[start : start + DIGEST_BYTES]
        row = self._vault.read.execute(
            "SELECT first, data FROM digests WHERE drop_id = ? AND first <= ?"
            " ORDER BY first DESC LIMIT 1",
            (drop_id, seq),
        ).fetchone()
        start = (seq - row[0]) * DIGEST_BYTES if row else 0
        return row[1][start : start + DIGEST_BYTES] or None if row else None

    def start_over(self, unit: Unit, drop_id: bytes) -> None:
        """Read a drop from its first cell again. We take no cell twice, because its label is no
        longer expected (`Chains.start_over`)."""
        self._passed.pop(drop_id, None)
        self._recent.pop(drop_id, None)
        self._taken[drop_id] = Cursor(0, first_digest(drop_id), 1, b"")
        for table in ("digests", "hearsay"):
            unit.db.execute(f"DELETE FROM {table} WHERE drop_id = ?", (drop_id,))  # noqa: S608

    def drop_cursor(self, unit: Unit, drop_id: bytes) -> None:
        """Forget a drop that we no longer read."""
        self._passed.pop(drop_id, None)
        self._recent.pop(drop_id, None)
        self._taken.pop(drop_id, None)
        for table in ("cursor", "digests", "hearsay"):
            unit.db.execute(f"DELETE FROM {table} WHERE drop_id = ?", (drop_id,))  # noqa: S608

    def read_so_far(self) -> int:
        """The seq up to which the home bucket was read."""
        return self.read_from(self._me.home.bucket.drop_id)

    def again(self) -> int | None:
        """The seq after which we have to read our own bucket again; None if we do not have to."""
        rows = self._vault.read.all("SELECT value FROM meta WHERE key = 'again'")
        return int.from_bytes(rows[0][0], "big") if rows else None

    def read_again(self, unit: Unit, after: int) -> None:
        """Mark our own bucket to be read again from after a seq. We take no cell twice."""
        known = self.again()
        if after < self.read_so_far() and (known is None or after < known):
            unit.put("again", after.to_bytes(8, "big"))

    def took_again(self, unit: Unit, upto: int) -> None:
        """Record, before `recognise`, that our own bucket is being read again up to here."""
        unit.db.execute("DELETE FROM meta WHERE key = 'again'")
        self.read_again(unit, upto)

    def recall(self, unit: Unit, after: int) -> list[tuple[Home, list[bytes]]] | None:
        """The recent cells of our own buckets, if they include all of the home bucket's after a
        seq; None if we have to ask the relay for them. Also records, before `recognise`, that our
        own bucket is being read again."""
        home = self._me.home
        recent = self._recent.get(home.bucket.drop_id)
        if recent is None or after < recent.since:
            return None
        self.took_again(unit, recent.end)
        kept = {each: self._recent.get(each.bucket.drop_id) for each in self._me.buckets}
        return [(each, list(recent.cells)) for each, recent in kept.items() if recent is not None]

    def forget_again(self, unit: Unit) -> None:
        """Do not read the old home bucket again, because we have a new one. We ask for the
        envelopes that we would have found there."""
        unit.db.execute("DELETE FROM meta WHERE key = 'again'")
