"""Cursors: how far each drop was read, and the digests of what was read there.

A cursor moves in memory where no cell was for us, and is written with the next unit, so that other
people's cells cost no write each. Other cursors move with the unit under way.
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
"""Cells of a drop whose digests are kept to compare with what others were told: 128 KiB."""
_DIGESTS_PER_ROW = 256
RECENT_BYTES = 4 * 1024 * 1024
"""Bytes of cells of each bucket of ours that are kept in memory, to look through them once more
when a chain begins: the relay need not be asked, and learns nothing of it."""
MAX_HEARSAY = 64
"""Most digests of one drop kept that others told us before we have read so far."""


class Cursor(NamedTuple):
    """How far a drop was read; `digests` of the cells from `first` on are still to be written."""

    seq: int
    digest: bytes
    first: int
    digests: bytes


@dataclass
class _Recent:
    """What was read of a bucket of ours lately: all its cells from `since` on, others' too."""

    since: int
    cells: deque[bytes] = field(default_factory=deque)
    size: int = 0

    @property
    def end(self) -> int:
        """The seq of the last of them."""
        return self.since + len(self.cells)

    def add(self, first: int, cells: Iterable[bytes]) -> None:
        """Go on with cells that were read, of which the first has this seq."""
        if first > self.end + 1:  # what lies between has expired
            self.since, self.size = first - 1, 0
            self.cells.clear()
        for cell in itertools.islice(cells, self.end + 1 - first, None):
            self.cells.append(cell)
            self.size += len(cell)
        while self.size > RECENT_BYTES:
            self.since += 1
            self.size -= len(self.cells.popleft())


class Cursors:
    """How far each drop was read, in one vault."""

    def __init__(self, vault: Vault, me: Me) -> None:
        self._vault = vault
        self._me = me
        self._passed: dict[bytes, Cursor] = {}
        """Cursors that moved over other people's cells only: true whatever becomes of a unit."""
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

        Raises RelayLied when the reply does not continue what this drop's cells were.
        """
        self._taken[drop_id], fresh = self.continued(drop_id, cells, take)
        return fresh

    def passed_over(self, drop_id: bytes, cursor: Cursor) -> None:
        """Nothing that was read up to this cursor is for us (`continued`)."""
        self._passed[drop_id] = cursor

    @property
    def has_passed(self) -> bool:
        """Whether cursors have moved that are not written yet."""
        return bool(self._passed)

    def continued(self, drop_id: bytes, cells: wire.Cells, take: int) -> tuple[Cursor, list[bytes]]:
        """Where a reply moves the cursor of a drop, and those of its first `take` cells that are
        new. Raises as `advance`."""
        seq, digest, first, digests = self._cursor(drop_id)
        if cells.head < seq or cells.first + len(cells.cells) > cells.head + 1:
            raise RelayLied(f"the drop was read up to {seq} and now ends at {cells.head}")
        if not cells.cells and cells.first != cells.head + 1:
            raise RelayLied(f"the drop ends at {cells.head} and its cells are held back")
        if cells.first > seq + 1:  # what lies between has expired
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
        """How far we have read a drop, to tell somebody who reads it too."""
        cursor = self._cursor(drop_id)
        return Seen(drop_id[:4], cursor.seq, cursor.digest[:DIGEST_BYTES]) if cursor.seq else None

    def contradicts(self, unit: Unit, drop_id: bytes, seen: Seen) -> bool:
        """Whether somebody was told another digest of a drop than we have computed.

        Told of more than we have read, we compare when we have (`refute_hearsay`).
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
        """Whether what we have read since contradicts what somebody was told. What could be
        compared is forgotten."""
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
        """Read a drop from its first cell again. What was taken is not taken twice: its labels
        are no longer expected (`Chains.start_over`)."""
        self._passed.pop(drop_id, None)
        self._recent.pop(drop_id, None)
        self._taken[drop_id] = Cursor(0, first_digest(drop_id), 1, b"")
        for table in ("digests", "hearsay"):
            unit.db.execute(f"DELETE FROM {table} WHERE drop_id = ?", (drop_id,))  # noqa: S608

    def drop_cursor(self, unit: Unit, drop_id: bytes) -> None:
        """Forget a drop that is not read any more."""
        self._passed.pop(drop_id, None)
        self._recent.pop(drop_id, None)
        self._taken.pop(drop_id, None)
        for table in ("cursor", "digests", "hearsay"):
            unit.db.execute(f"DELETE FROM {table} WHERE drop_id = ?", (drop_id,))  # noqa: S608

    def read_so_far(self) -> int:
        """The seq up to which the home bucket was read."""
        return self.read_from(self._me.home.bucket.drop_id)

    def again(self) -> int | None:
        """After which seq our own bucket has to be read again, if it has to."""
        row = self._vault.read.execute("SELECT value FROM meta WHERE key = 'again'").fetchone()
        return int.from_bytes(row[0], "big") if row else None

    def read_again(self, unit: Unit, after: int) -> None:
        """Have our own bucket read again from after a seq. What was taken is not taken twice."""
        known = self.again()
        if after < self.read_so_far() and (known is None or after < known):
            unit.put("again", after.to_bytes(8, "big"))

    def took_again(self, unit: Unit, upto: int) -> None:
        """Our own bucket is being read again up to here, before `recognise`."""
        unit.db.execute("DELETE FROM meta WHERE key = 'again'")
        self.read_again(unit, upto)

    def recall(self, unit: Unit, after: int) -> list[tuple[Home, list[bytes]]] | None:
        """What our own buckets held lately, if nothing of the home bucket after a seq is lacking;
        None if the relay has to be asked for it. Our own bucket is read again then, before
        `recognise`."""
        home = self._me.home
        recent = self._recent.get(home.bucket.drop_id)
        if recent is None or after < recent.since:
            return None
        self.took_again(unit, recent.end)
        kept = {each: self._recent.get(each.bucket.drop_id) for each in self._me.buckets}
        return [(each, list(recent.cells)) for each, recent in kept.items() if recent is not None]

    def forget_again(self, unit: Unit) -> None:
        """The home bucket is another now. What would have been found in the old one by reading
        it again is asked for."""
        unit.db.execute("DELETE FROM meta WHERE key = 'again'")
