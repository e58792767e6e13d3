"""Gaps: each device numbers its envelopes without a gap, so we know which of them are missing.

Every envelope of a device carries its number in the device's count and the hash of the envelope
before (messages.Envelope). A member knows that envelopes are missing when a number leaps ahead, or
when somebody tells of higher numbers: the device in a heartbeat, or others in their receipts. The
client asks the sender for missing envelopes (`repair.py`); the sender keeps each one until
everybody has confirmed it (`sent.py`; docs/protocol.md, section 8).
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from amanat.protocol.messages import MAX_WANTED, NO_MARK, Ack, Before, Place

if TYPE_CHECKING:
    from collections.abc import Iterable

    from amanat.client.rules.reads import Unread
    from amanat.client.unit import Unit
    from amanat.client.vault import Vault

MAX_HINT = 64
"""How far beyond the device's own word others can make us ask a device for envelopes: one
*wanted*."""
HINT_MS = (600_000, 3_600_000)
"""How long we ask a device for envelopes that only others tell of, in milliseconds (10 minutes),
and how long nobody can make us ask it again afterwards (an hour)."""
MAX_LOST = 256
"""The most runs of given-up numbers kept for one device, in case one of their envelopes comes after
all."""
MAX_AHEAD = 1_024
"""The most envelopes of one device counted beyond a gap. If more come, we take the gap for lost."""
GRACE_MS = 10_000
"""How long we wait before we ask for a gap, because cells overtake each other."""
ASK_MS = (30_000, 6 * 3_600_000)
"""The first and the longest pause before we ask for a gap again, in milliseconds."""
MAX_ASKS = 120
"""How often we ask for a gap. This takes about 30 days, for which its sender keeps the
envelopes."""
START = bytes(32)
"""The value that the first envelope of a count carries as the hash of the one before."""


class Gap(NamedTuple):
    """Envelopes of a device that exist but have not arrived."""

    gid: bytes
    signer: bytes
    identity: bytes
    seqs: list[int]
    """The first MAX_WANTED of them."""


class Heard(NamedTuple):
    """The relation of an envelope to those that we had heard from its device."""

    is_new: bool
    is_whole: bool = True
    """False: it does not carry the hash of the one before it, so the device has sent two different
    envelopes under one number."""
    is_lost: bool = False
    """True: so many envelopes follow a gap that we take the missing ones for lost."""


class Gaps:
    """The envelopes that one vault has heard from each device."""

    def __init__(self, vault: Vault) -> None:
        self._read = vault.read

    # Hearing

    def begin(self, unit: Unit, gid: bytes, signer: bytes, identity: bytes) -> None:
        """Begin a count: a device has joined and will count from 1."""
        self.forget(unit, gid, signer)
        unit.db.execute(
            "INSERT INTO heard (gid, signer, identity, upto, hash) VALUES (?, ?, ?, 0, ?)",
            (gid, signer, identity, START),
        )

    def come_in(self, unit: Unit, gid: bytes, signer: bytes, identity: bytes, epoch: int) -> None:
        """Begin to listen to a device that was there when we joined in this epoch. Only the device
        itself can say how far it had counted. With epoch 0, nobody had said anything yet."""
        self.begin(unit, gid, signer, identity)
        unit.db.execute(
            "UPDATE heard SET came = ? WHERE gid = ? AND signer = ?", (epoch, gid, signer)
        )

    def learn(self, unit: Unit, gid: bytes, signer: bytes, before: Iterable[Before]) -> None:
        """Take a device's statement of how far it had counted when epochs began."""
        row = unit.db.execute(
            "SELECT came FROM heard WHERE gid = ? AND signer = ?", (gid, signer)
        ).fetchone()
        for one in before:
            if row is not None and one.epoch == row[0]:
                self.was_before(unit, gid, signer, one.seq)

    def was_before(self, unit: Unit, gid: bytes, signer: bytes, seq: int) -> None:
        """Record that the envelopes of a device up to this number were not for us."""
        row = unit.db.execute(
            "UPDATE heard SET came = 0 WHERE gid = ? AND signer = ? RETURNING upto", (gid, signer)
        ).fetchone()
        if row is not None and row[0] < seq:
            unit.db.execute(
                "UPDATE heard SET base = ? WHERE gid = ? AND signer = ?", (seq, gid, signer)
            )
            self._close_up(unit, gid, signer, seq, b"")

    def people(self, gid: bytes) -> set[bytes]:
        """The identities of the others in a conversation as we last knew it."""
        rows = self._read.execute("SELECT identity FROM heard WHERE gid = ?", (gid,)).fetchall()
        return {row[0] for row in rows}

    def forget(self, unit: Unit, gid: bytes, signer: bytes) -> None:
        """Forget a device that has gone."""
        for table in ("heard", "ahead", "lost"):
            unit.db.execute(f"DELETE FROM {table} WHERE gid = ? AND signer = ?", (gid, signer))  # noqa: S608

    def hear(
        self,
        unit: Unit,
        gid: bytes,
        signer: bytes,
        identity: bytes,
        seq: int,
        place: Place,
        *,
        mark: bytes = NO_MARK,
    ) -> Heard:
        """Count an envelope, and say how it relates to the others."""
        previous, digest = place.previous, place.hash
        row = unit.db.execute(
            "SELECT upto, hash, base FROM heard WHERE gid = ? AND signer = ?", (gid, signer)
        ).fetchone()
        if row is None:  # older envelopes are not ours to miss, but they may come late
            row = (seq - 1, previous, seq - 1)
            unit.db.execute(
                "INSERT INTO heard (gid, signer, identity, upto, hash, base)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (gid, signer, identity, *row),
            )
        if seq == 1:  # no envelope is before it
            unit.db.execute("UPDATE heard SET came = 0 WHERE gid = ? AND signer = ?", (gid, signer))
        upto, last, base = row
        if base < seq <= upto:
            return Heard(is_new=self._find(unit, gid, signer, seq))
        if previous == START and seq > upto + 1:  # a new count: the device has lost the old one
            upto, last, base = seq - 1, previous, seq - 1
            unit.db.execute(
                "UPDATE heard SET base = ?, came = 0 WHERE gid = ? AND signer = ?",
                (base, gid, signer),
            )
        fresh = unit.db.execute(
            "INSERT OR IGNORE INTO ahead VALUES (?, ?, ?, ?, ?, ?) RETURNING 1",
            (gid, signer, seq, previous, digest, mark),
        ).fetchone()
        if not fresh:
            return Heard(is_new=False)
        (count,) = unit.db.execute(
            "SELECT count(*) FROM ahead WHERE gid = ? AND signer = ? AND seq > ?",
            (gid, signer, upto),
        ).fetchone()
        is_lost = count > MAX_AHEAD
        if is_lost:
            (lowest,) = unit.db.execute(
                "SELECT min(seq) FROM ahead WHERE gid = ? AND signer = ? AND seq > ?",
                (gid, signer, upto),
            ).fetchone()
            self._lose(unit, gid, signer, upto + 1, lowest - 1)
            upto, last = lowest - 1, b""
        is_whole = self._close_up(unit, gid, signer, upto, last)
        return Heard(is_new=True, is_whole=is_whole, is_lost=is_lost)

    def _close_up(self, unit: Unit, gid: bytes, signer: bytes, upto: int, last: bytes) -> bool:
        """Move `upto` over all envelopes that follow on; returns whether each carried the hash of
        the one before."""
        is_whole, mark = True, NO_MARK
        while found := unit.db.execute(
            "DELETE FROM ahead WHERE gid = ? AND signer = ? AND seq = ?"
            " RETURNING previous, hash, mark",
            (gid, signer, upto + 1),
        ).fetchone():
            is_whole = is_whole and (b"" in (last, found[0]) or last == found[0])
            upto, last, mark = upto + 1, found[1], found[2]
        unit.db.execute(
            "UPDATE heard SET upto = ?1, hash = ?2,"
            " mark = CASE WHEN upto < ?1 THEN ?3 ELSE mark END, told = max(told, ?1)"
            " WHERE gid = ?4 AND signer = ?5",
            (upto, last, mark, gid, signer),
        )
        return is_whole

    def follows(self, gid: bytes, signer: bytes, seq: int, place: Place) -> bool:
        """Whether an envelope that came by repair fits between its neighbours that we have
        heard."""
        before = self._read.execute(
            "SELECT hash FROM heard WHERE gid = ?1 AND signer = ?2 AND upto = ?3"
            " UNION ALL SELECT hash FROM ahead WHERE gid = ?1 AND signer = ?2 AND seq = ?3",
            (gid, signer, seq - 1),
        ).fetchone()
        after = self._read.execute(
            "SELECT previous FROM ahead WHERE gid = ? AND signer = ? AND seq = ?",
            (gid, signer, seq + 1),
        ).fetchone()
        fits_before = before is None or before[0] in (b"", place.previous)
        return fits_before and (after is None or after[0] == place.hash)

    def tell(self, unit: Unit, gid: bytes, device: bytes, seq: int, digest: bytes) -> bytes | None:
        """Take a member's statement that they have heard a device up to `seq`.

        `device` and `digest` are the first 8 bytes of its key and of that envelope's hash. The
        statement is a claim: it makes us ask the device only for a while, and only so far. Returns
        the identity of the device's owner if we have heard another envelope under that number, else
        None.
        """
        row = unit.db.execute(
            "SELECT signer, identity, upto, hash, told, hint_until FROM heard WHERE gid = ?"
            " AND substr(signer, 1, 8) = ? AND came = 0",
            (gid, device),
        ).fetchone()
        if row is None:  # or we do not know which of its envelopes are for us
            return None
        signer, identity, upto, last, told, until = row
        is_rested = not until - HINT_MS[0] <= unit.now < until + HINT_MS[1]
        if seq > told and (is_rested or unit.now < until):
            unit.db.execute(
                "UPDATE heard SET hint = min(?, ?), hint_until = ? WHERE gid = ? AND signer = ?",
                (seq, told + MAX_HINT, unit.now + HINT_MS[0] if is_rested else until, gid, signer),
            )
        return identity if seq == upto and last[:8] not in (b"", digest) else None

    def acks(self, unit: Unit, gid: bytes, most: int, *, unread: Unread | None = None) -> list[Ack]:
        """How far we have heard some of the devices; those that do not know it yet come first.
        With `unread`, also how far we have read them, which needs a look at all of them."""
        rows = unit.db.execute(
            "SELECT signer, identity, upto, hash, mark, told_them >= upto, told_read FROM heard"
            " WHERE gid = ? AND upto > 0 AND hash != x''"
            " ORDER BY told_them >= upto, random() LIMIT ?",
            (gid, -1 if unread else most),
        ).fetchall()
        told: list[tuple[bool, Ack, bytes]] = []
        for signer, identity, upto, digest, mark, knows, told_read in rows:
            read = unread.upto(signer, identity, upto, told_read) if unread else 0
            ack = Ack(signer[:8], upto, digest[:8], mark, read)
            told.append((bool(knows) and read <= told_read, ack, signer))
        told = sorted(told, key=itemgetter(0))[:most]
        for _, ack, signer in told:
            unit.db.execute(
                "UPDATE heard SET told_them = ?, told_read = max(told_read, ?)"
                " WHERE gid = ? AND signer = ?",
                (ack.seq, ack.read, gid, signer),
            )
        return [ack for _, ack, _ in told]

    # Asking

    def watch(self, unit: Unit, gid: bytes, signer: bytes | None, *, grace: int = GRACE_MS) -> None:
        """Schedule the asking for missing envelopes, of one device or of all."""
        unit.db.execute(
            "UPDATE heard SET ask_due_at = CASE"
            " WHEN upto < max(told, CASE WHEN hint_until > ?4 THEN hint ELSE 0 END,"
            "   coalesce((SELECT max(seq) FROM ahead AS a"
            "   WHERE a.gid = heard.gid AND a.signer = heard.signer), 0))"
            " THEN coalesce(ask_due_at, ?1) END, asked = CASE"
            " WHEN ask_due_at IS NULL THEN 0 ELSE asked END"
            " WHERE gid = ?2 AND (?3 IS NULL OR signer = ?3)",
            (unit.now + grace, gid, signer, unit.now),
        )

    def ask_now(self, unit: Unit, gid: bytes, signer: bytes) -> None:
        """Ask for the missing envelopes of a device without waiting."""
        unit.db.execute(
            "UPDATE heard SET ask_due_at = min(ask_due_at, ?) WHERE gid = ? AND signer = ?",
            (unit.now, gid, signer),
        )

    def begin_clock(self, unit: Unit) -> None:
        """Postpone no request for a gap longer than if its pause had begun now."""
        unit.db.execute(
            "UPDATE heard SET hint_until = min(hint_until, ?)", (unit.now + HINT_MS[0],)
        )
        unit.db.execute(
            "UPDATE heard SET ask_due_at = min(ask_due_at, ? + CASE WHEN asked = 0 THEN ?"
            " ELSE min(? << min(asked - 1, 16), ?) END)",
            (unit.now, GRACE_MS, *ASK_MS),
        )

    def due(self, now: int) -> list[Gap]:
        """The gaps for which we are to ask now."""
        if not self._read.is_due("SELECT min(ask_due_at) FROM heard", now):
            return []
        rows = self._read.execute(
            "SELECT gid, signer, identity FROM heard WHERE ask_due_at <= ?", (now,)
        ).fetchall()
        return [
            Gap(gid, signer, identity, self._missing(gid, signer, MAX_WANTED, now=now))
            for gid, signer, identity in rows
        ]

    def _missing(self, gid: bytes, signer: bytes, most: int, *, now: int = 0) -> list[int]:
        """The numbers of the first missing envelopes of a device. With `now`, these include the
        ones of which only others tell at that time."""
        upto, told, hint, until = self._read.execute(
            "SELECT upto, told, hint, hint_until FROM heard WHERE gid = ? AND signer = ?",
            (gid, signer),
        ).fetchone()
        ahead = {
            row[0]
            for row in self._read.execute(
                "SELECT seq FROM ahead WHERE gid = ? AND signer = ?", (gid, signer)
            )
        }
        top = max([told, hint if 0 < now < until else 0, *ahead])
        found: list[int] = []
        for seq in range(upto + 1, min(top, upto + most + len(ahead)) + 1):
            if seq not in ahead and len(found) < most:
                found.append(seq)
        return found

    def asked(self, unit: Unit, gap: Gap) -> bool:
        """Record that we have asked for a gap, or could not; returns False if it was the last
        time."""
        (asked,) = unit.db.execute(
            "UPDATE heard SET asked = asked + 1 WHERE gid = ? AND signer = ? RETURNING asked",
            (gap.gid, gap.signer),
        ).fetchone()
        pause = min(ASK_MS[0] << min(asked - 1, 16), ASK_MS[1])
        self._ask_at(unit, gap, unit.now + pause)
        return bool(asked <= MAX_ASKS)

    def put_off(self, unit: Unit, gap: Gap) -> None:
        """Ask later, because the missing envelopes may be on their way."""
        self._ask_at(unit, gap, unit.now + GRACE_MS)

    def _ask_at(self, unit: Unit, gap: Gap, due_at: int) -> None:
        unit.db.execute(
            "UPDATE heard SET ask_due_at = ? WHERE gid = ? AND signer = ?",
            (due_at, gap.gid, gap.signer),
        )

    def is_known(self, gid: bytes, signer: bytes, seq: int) -> bool:
        """Whether a device has itself shown that it has counted as far as `seq`."""
        row = self._read.execute(
            "SELECT 1 FROM heard WHERE gid = ?1 AND signer = ?2 AND told >= ?3 UNION ALL"
            " SELECT 1 FROM ahead WHERE gid = ?1 AND signer = ?2 AND seq >= ?3",
            (gid, signer, seq),
        ).fetchone()
        return row is not None

    def give_up_beginning(self, unit: Unit, gid: bytes, signer: bytes) -> bool:
        """Give up on a device that will not say how far it had counted when we came. Returns
        whether that was unknown; if so, all numbers before its first envelope that we have are
        given up at once."""
        row = unit.db.execute(
            "SELECT min(seq) FROM ahead JOIN heard USING (gid, signer)"
            " WHERE gid = ? AND signer = ? AND came > 0 AND seq > upto",
            (gid, signer),
        ).fetchone()
        if row[0] is None:
            return False
        self._lose(unit, gid, signer, 1, row[0] - 1)
        self.was_before(unit, gid, signer, row[0] - 1)
        return True

    def give_up(self, unit: Unit, gid: bytes, signer: bytes, seq: int) -> bool:
        """Record that an envelope will never come; returns whether we were missing it."""
        row = unit.db.execute(
            "SELECT upto, hash, told FROM heard WHERE gid = ? AND signer = ?", (gid, signer)
        ).fetchone()
        if row is None or not row[0] < seq <= max(row[2], row[0] + MAX_AHEAD):
            return False
        if not unit.db.execute(
            "INSERT OR IGNORE INTO ahead VALUES (?, ?, ?, x'', x'', ?) RETURNING 1",
            (gid, signer, seq, NO_MARK),
        ).fetchone():
            return False
        self._lose(unit, gid, signer, seq, seq)
        self._close_up(unit, gid, signer, row[0], row[1])
        return True

    def _lose(self, unit: Unit, gid: bytes, signer: bytes, first: int, last: int) -> None:
        """Give up these numbers. If one of their envelopes comes after all, we take it."""
        unit.db.execute(
            "INSERT OR REPLACE INTO lost VALUES (?, ?, ?, ?)", (gid, signer, first, last)
        )
        unit.db.execute(
            "DELETE FROM lost WHERE gid = ?1 AND signer = ?2 AND first IN (SELECT first FROM lost"
            " WHERE gid = ?1 AND signer = ?2 ORDER BY first DESC LIMIT -1 OFFSET ?3)",
            (gid, signer, MAX_LOST),
        )

    def _find(self, unit: Unit, gid: bytes, signer: bytes, seq: int) -> bool:
        """Whether this number was given up, so that its envelope has come after all."""
        row = unit.db.execute(
            "DELETE FROM lost WHERE gid = ?1 AND signer = ?2 AND first <= ?3 AND last >= ?3"
            " RETURNING first, last",
            (gid, signer, seq),
        ).fetchone()
        if row is None:
            return False
        for first, last in ((row[0], seq - 1), (seq + 1, row[1])):
            if first <= last:
                self._lose(unit, gid, signer, first, last)
        return True

    def missing(self, gid: bytes | None = None) -> dict[tuple[bytes, bytes], int]:
        """The number of missing envelopes, by (gid, identity of the sender)."""
        # Of one conversation, by the key of the table: this is asked with each message.
        of, values = ("", ()) if gid is None else (" AND gid = ?", (gid,))
        rows = self._read.execute(
            "SELECT gid, identity, max(told, coalesce((SELECT max(seq) FROM ahead AS a"  # noqa: S608
            " WHERE a.gid = heard.gid AND a.signer = heard.signer), 0)) - upto -"
            " (SELECT count(*) FROM ahead AS b WHERE b.gid = heard.gid"
            " AND b.signer = heard.signer AND b.seq > heard.upto) AS many FROM heard"
            f" WHERE ask_due_at IS NOT NULL{of}",
            values,
        ).fetchall()
        return {(gid, identity): many for gid, identity, many in rows if many > 0}

    def upto(self, gid: bytes, identity: bytes) -> int:
        """The number of the last envelope of a sender before the first that is missing."""
        (upto,) = self._read.execute(
            "SELECT coalesce(max(upto), 0) FROM heard"
            " WHERE gid = ? AND identity = ? AND ask_due_at IS NOT NULL",
            (gid, identity),
        ).fetchone()
        return int(upto)

    def end(self, unit: Unit, gid: bytes) -> None:
        """Forget a conversation of which we are no longer a member."""
        for table in ("heard", "ahead", "lost"):
            unit.db.execute(f"DELETE FROM {table} WHERE gid = ?", (gid,))  # noqa: S608
