"""Our sent envelopes: kept until everybody has confirmed them, so that we can send them again.

Our device numbers its envelopes in a conversation (messages.Envelope). A member who lacks one asks
for it. A heartbeat tells members how far we have counted, in case they lack our last envelope
(docs/protocol.md, section 8).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from amanat.client.rules.gaps import START
from amanat.protocol.messages import MAX_BEFORE, Before, Place, decode_envelope, envelope_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from amanat.client.unit import Unit
    from amanat.client.vault import Vault
    from amanat.protocol.messages import Envelope

TOLD_BEFORE = 3
"""The number of envelopes in which we tell people who confirm nothing how far we had counted. The
first may not arrive."""
KEPT_MS = 30 * 86_400_000
"""How long an envelope that not everybody has confirmed is kept, in milliseconds (30 days)."""
BEATS_MS = (90_000, 600_000, 3_600_000, 6 * 3_600_000, 86_400_000)
"""The pauses before each heartbeat after the last word, in milliseconds; the last one repeats. The
first is longer than a receipt may take, so that usually no heartbeat is sent."""
MAX_BEATS = 34
"""The most heartbeats after the last word: 30 days of them."""
MAX_BEATS_LARGE = 3
"""The most heartbeats in a group where nobody sends the receipts that would end them."""
UNHEARD_MS = 900_000
"""The time after which waiting does not help, in milliseconds (15 minutes). If somebody speaks
twice, this far apart, and still lacks an envelope that left us as long before, they will not get
it, because a client that sends also reads."""
FRESH_MS = 300_000
"""The time, in milliseconds, within which an envelope must arrive after it was sent, by its
sender's clock, to show what its sender has received. One that had waited for us, or at their end,
may be older than our own."""


class Sent:
    """The envelopes that one vault has sent, and the people who have them."""

    def __init__(self, vault: Vault) -> None:
        self._read = vault.read

    def keep(
        self, unit: Unit, gid: bytes, seq: int, said: bytes, mid: bytes, *, is_quiet: bool
    ) -> None:
        """Keep an envelope of ours until everybody has confirmed it."""
        unit.db.execute(
            "INSERT INTO sent (gid, seq, id, envelope, said_at, is_quiet, hash)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (gid, seq, mid, said, unit.now, is_quiet, envelope_hash(said)),
        )
        if not is_quiet:
            self._begin_beating(unit, gid)

    def _begin_beating(self, unit: Unit, gid: bytes) -> None:
        unit.db.execute(
            "UPDATE conversation SET beats = 0, beat_due_at = ? WHERE gid = ?",
            (unit.now + BEATS_MS[0], gid),
        )

    def resume(self, unit: Unit, gid: bytes) -> None:
        """Resume heartbeats when we are in step again and requests on their way to a relay were
        thrown away. They tell how far we have counted, so that others ask for the missing
        envelopes."""
        if unit.db.execute("SELECT 1 FROM sent WHERE gid = ? AND NOT is_quiet", (gid,)).fetchone():
            self._begin_beating(unit, gid)

    def said(self, gid: bytes, seq: int) -> tuple[bytes, Place | None]:
        """An envelope of ours, byte for byte, or its place if its words were taken away; empty and
        None if we no longer keep it."""
        row = self._read.execute(
            "SELECT envelope, previous, hash FROM sent WHERE gid = ? AND seq = ?", (gid, seq)
        ).fetchone()
        envelope, previous, digest = row or (b"", None, b"")
        return envelope, None if previous is None else Place(previous, digest)

    def what_we_said(self, gid: bytes, seq: int) -> bytes | None:
        """The hash of our envelope with this number, in our present count; empty if we have not
        used the number yet, None if we no longer know the hash."""
        row = self._read.execute(
            "SELECT hash FROM sent WHERE gid = ?1 AND seq = ?2 UNION ALL SELECT sent_hash"
            " FROM conversation WHERE gid = ?1 AND sent_seq = ?2 AND sent_seq > counted"
            " UNION ALL SELECT x'' FROM conversation WHERE gid = ?1 AND sent_seq < ?2",
            (gid, seq),
        ).fetchone()
        return None if row is None else bytes(row[0])

    def was_used(self, unit: Unit, gid: bytes, seq: int) -> None:
        """Record that another copy of this vault has used this number."""
        unit.db.execute(
            "UPDATE conversation SET sent_seq = max(sent_seq, ?) WHERE gid = ?", (seq, gid)
        )

    def last_word(self, gid: bytes) -> int:
        """The number of the last envelope of ours that we still keep, without receipts and
        heartbeats; 0 if there is none."""
        (last,) = self._read.execute(
            "SELECT coalesce(max(seq), 0) FROM sent WHERE gid = ? AND NOT is_quiet", (gid,)
        ).fetchone()
        return int(last)

    def forget_said(self, unit: Unit, gid: bytes, upto: int) -> None:
        """Forget our envelopes up to this number, because everybody has them."""
        unit.db.execute("DELETE FROM sent WHERE gid = ? AND seq <= ?", (gid, upto))

    def not_come(self, gid: bytes, after: int) -> list[Envelope]:
        """Our envelopes after this number that we still keep, without receipts and heartbeats."""
        rows = self._read.execute(
            "SELECT envelope FROM sent WHERE gid = ? AND seq > ? AND envelope != x''"
            " AND NOT is_quiet ORDER BY seq",
            (gid, after),
        ).fetchall()
        return [decode_envelope(row[0]) for row in rows]

    def expire(self, unit: Unit) -> None:
        """Forget envelopes that were kept long enough."""
        unit.db.execute("DELETE FROM sent WHERE said_at < ?", (unit.now - KEPT_MS,))

    def is_saying(self, gid: bytes) -> bool:
        """Whether some of our envelopes in a conversation are still on their way to a relay, or we
        are astray."""
        row = self._read.execute(
            "SELECT 1 FROM outbox WHERE about = ?1 AND purpose IN ('cell', 'held') UNION ALL"
            " SELECT 1 FROM conversation WHERE gid = ?1 AND state = 'astray'",
            (gid,),
        ).fetchone()
        return row is not None

    def saying(self) -> set[bytes]:
        """The conversations for which `is_saying` is true."""
        rows = self._read.execute(
            "SELECT about FROM outbox WHERE purpose IN ('cell', 'held') UNION"
            " SELECT gid FROM conversation WHERE state = 'astray'"
        ).fetchall()
        return {row[0] for row in rows}

    # Receipts

    def confirm(self, unit: Unit, gid: bytes, identity: bytes, seq: int) -> bool:
        """Record that somebody has our envelopes up to this number; returns whether that is
        news."""
        row = unit.db.execute(
            "INSERT INTO receipt VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET seq = excluded.seq"
            " WHERE seq < excluded.seq RETURNING 1",
            (gid, identity, seq),
        ).fetchone()
        return row is not None

    def has_come(self, gid: bytes, people: Mapping[bytes, Iterable[bytes]]) -> list[int]:
        """The number up to which our envelopes have reached each of these people, by their
        receipts. Envelopes from before they were here were not for them. `people` are identities,
        and their devices."""
        told: dict[bytes, int] = dict(
            self._read.execute("SELECT identity, seq FROM receipt WHERE gid = ?", (gid,)).fetchall()
        )
        came = self.before_they_came(gid).get(gid, {})
        return [
            max(told.get(identity, 0), first_of(devices, came))
            for identity, devices in people.items()
        ]

    def before_they_came(self, gid: bytes | None = None) -> dict[bytes, dict[bytes, int]]:
        """How many envelopes we had sent when each device came, if any, in one conversation or in
        each: those were not for it."""
        found: dict[bytes, dict[bytes, int]] = {}
        for where, signer, seq in self._read.execute(
            "SELECT gid, signer, sent_seq FROM since WHERE sent_seq > 0"  # noqa: S608
            + (" AND gid = ?" if gid else ""),
            (gid,) if gid else (),
        ).fetchall():
            found.setdefault(where, {})[signer] = seq
        return found

    def is_unheard(
        self, unit: Unit, gid: bytes, signer: bytes, identity: bytes, sent_at: int
    ) -> bool:
        """Whether somebody who has just spoken shows for the second time that our envelopes do not
        reach them."""
        if abs(unit.now - sent_at) > FRESH_MS:
            return False
        (missed,) = unit.db.execute(
            "SELECT min(seq) FROM sent WHERE gid = ?1 AND NOT is_quiet AND said_at <= ?4 AND seq >"
            " max((SELECT sent_seq FROM since WHERE gid = ?1 AND signer = ?2),"
            " coalesce((SELECT seq FROM receipt WHERE gid = ?1 AND identity = ?3), 0))"
            " AND NOT EXISTS (SELECT 1 FROM outbox WHERE about = ?1"
            " AND purpose IN ('cell', 'held'))",
            (gid, signer, identity, unit.now - UNHEARD_MS),
        ).fetchone()
        before = unit.db.execute(
            "SELECT seq, sent_at FROM unheard WHERE gid = ? AND identity = ?", (gid, identity)
        ).fetchone()
        if missed is None:
            unit.db.execute("DELETE FROM unheard WHERE gid = ? AND identity = ?", (gid, identity))
            return False
        if before is not None and before[0] == missed:
            return bool(sent_at >= before[1] + UNHEARD_MS)
        unit.db.execute(
            "INSERT OR REPLACE INTO unheard VALUES (?, ?, ?, ?)", (gid, identity, missed, sent_at)
        )
        return False

    # Our own count

    def before(self, unit: Unit, gid: bytes, *, has_receipts: bool) -> list[Before]:
        """How far we had counted when members came, for those who need to hear it now. We tell them
        until they have confirmed a later envelope, or TOLD_BEFORE times if nobody sends
        receipts."""
        rows = unit.db.execute(
            "SELECT epoch, sent_seq FROM since WHERE gid = ?1 AND epoch > 0"
            " AND sent_seq > 0 AND CASE WHEN ?2 THEN NOT EXISTS (SELECT 1 FROM receipt JOIN heard"
            " USING (gid, identity) WHERE receipt.gid = ?1 AND heard.signer = since.signer"
            " AND receipt.seq > since.sent_seq) ELSE told < ?3 END"
            " GROUP BY epoch, sent_seq ORDER BY min(told), epoch DESC LIMIT ?4",
            (gid, has_receipts, TOLD_BEFORE, MAX_BEFORE),
        ).fetchall()
        for epoch, _ in rows:
            unit.db.execute(
                "UPDATE since SET told = told + 1 WHERE gid = ? AND epoch = ?", (gid, epoch)
            )
        return [Before(epoch, seq) for epoch, seq in rows]

    def count_anew(self, unit: Unit, gid: bytes) -> None:
        """Continue our count above every number that we can have used, because another copy of this
        vault may have used the next ones.

        No number is ever used again, so a statement about an older number can never mean a newer
        envelope.
        """
        (sent_seq,) = unit.db.execute(
            "SELECT sent_seq FROM conversation WHERE gid = ?", (gid,)
        ).fetchone()
        self.count_from(unit, gid, max(sent_seq + 1, unit.now))
        unit.db.execute("DELETE FROM sent WHERE gid = ?", (gid,))

    def count_from(self, unit: Unit, gid: bytes, counted: int) -> None:
        """Begin a count after this number. Our next envelope is the first of it."""
        unit.db.execute(
            "UPDATE conversation SET sent_seq = ?1, counted = ?1, sent_hash = ?2 WHERE gid = ?3",
            (counted, START, gid),
        )
        unit.db.execute("UPDATE since SET sent_seq = ? WHERE gid = ?", (counted, gid))

    # Heartbeats

    def beats_due(self, now: int) -> list[bytes]:
        """The conversations in which a heartbeat may be due."""
        return self._read.due("conversation", "beat_due_at", now)

    def beat(self, unit: Unit, gid: bytes, *, has_receipts: bool, is_telling: bool) -> bool:
        """Whether to send a heartbeat now, because not everybody has confirmed our last word, or
        somebody may not know where we are. Also schedules the next one."""
        if self.is_saying(gid):
            unit.db.execute(
                "UPDATE conversation SET beat_due_at = ? WHERE gid = ?",
                (unit.now + BEATS_MS[0], gid),
            )
            return False
        (beats,) = unit.db.execute(
            "SELECT beats FROM conversation WHERE gid = ?", (gid,)
        ).fetchone()
        is_open = (
            is_telling
            or unit.db.execute(
                "SELECT 1 FROM sent WHERE gid = ? AND NOT is_quiet", (gid,)
            ).fetchone()
        )
        most = MAX_BEATS if has_receipts or is_telling else MAX_BEATS_LARGE
        due_at = None
        if is_open and beats + 1 < most:
            due_at = unit.now + BEATS_MS[min(beats + 1, len(BEATS_MS) - 1)]
        unit.db.execute(
            "UPDATE conversation SET beats = beats + 1, beat_due_at = ? WHERE gid = ?",
            (due_at, gid),
        )
        return bool(is_open)

    def begin_clock(self, unit: Unit) -> None:
        """Postpone no heartbeat longer than if its pause had begun now."""
        for beats, pause in enumerate(BEATS_MS):
            unit.db.execute(
                "UPDATE conversation SET beat_due_at = min(beat_due_at, ?1 + ?2)"
                " WHERE beats = ?3 OR (?3 = ?4 AND beats > ?3)",
                (unit.now, pause, beats, len(BEATS_MS) - 1),
            )

    def end(self, unit: Unit, gid: bytes) -> None:
        """Forget a conversation of which we are no longer a member."""
        for table in ("sent", "unheard"):
            unit.db.execute(f"DELETE FROM {table} WHERE gid = ?", (gid,))  # noqa: S608
        unit.db.execute("UPDATE conversation SET beat_due_at = NULL WHERE gid = ?", (gid,))


def first_of(devices: Iterable[bytes], came: Mapping[bytes, int]) -> int:
    """How many envelopes we had sent when the first device of a person came, by those of all
    devices (`Sent.before_they_came`)."""
    return min((came.get(device, 0) for device in devices), default=0)
