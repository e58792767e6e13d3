"""Repair: asking for missing envelopes, and sending again those that others lack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amanat.client.rules.roster import one_each
from amanat.errors import (
    InvalidMessage,
    MessageLost,
)
from amanat.protocol import codec
from amanat.protocol.messages import (
    NO_MARK,
    CellKind,
    Kind,
    Repair,
    Wanted,
    envelope_hash,
)

if TYPE_CHECKING:
    from amanat.client.rules.addresses import Addresses
    from amanat.client.rules.astray import Astray
    from amanat.client.rules.base import Base
    from amanat.client.rules.gaps import Gap
    from amanat.client.rules.roster import Roster
    from amanat.client.rules.saying import Saying
    from amanat.client.rules.warnings import Warnings
    from amanat.client.unit import Memory, Unit

MAX_REPAIRS = 512
"""The most envelopes sent again to one member in REPAIR_SPAN_MS, however often they ask."""
REPAIR_SPAN_MS = 3_600_000
CALLED = 2
"""The number of heartbeats after the last word with which we also send a notice to the people who
have not confirmed it."""
SILENT_BEATS = (3, 4, 8, 16, 32)
"""The numbers of heartbeats without an answer after which we ask a silent member where they are."""


class Repairs:
    """The repairs of envelopes that relays have lost."""

    def __init__(
        self,
        base: Base,
        *,
        warnings: Warnings,
        roster: Roster,
        saying: Saying,
        addresses: Addresses,
        astray: Astray,
    ) -> None:
        self._me = base.me
        self._claims = base.claims
        self._gaps = base.gaps
        self._sent = base.sent
        self._history = base.history
        self._holding = base.holding
        self._whereabouts = base.whereabouts
        self._warnings = warnings
        self._roster = roster
        self._saying = saying
        self._addresses = addresses
        self._astray = astray
        self._repaired: Memory[tuple[bytes, bytes], tuple[int, int]] = base.vault.memory()
        """By (gid, device): since when we count, and how many envelopes we have sent again
        since."""

    def ask(self, unit: Unit, gap: Gap) -> None:
        """Ask the sender of missing envelopes for them."""
        if not gap.seqs:
            self._gaps.watch(unit, gap.gid, gap.signer)
            return
        if not self._roster.is_followed(gap.gid) or self._history.is_shut(gap.gid):
            return
        if self._holding.is_awaited(gap.gid, gap.signer, now=unit.now):
            self._gaps.put_off(unit, gap)
            return
        if not self._gaps.asked(unit, gap):
            if self._gaps.give_up_beginning(unit, gap.gid, gap.signer):
                self._warnings.warn(unit, gap.gid, MessageLost.code, "", whom=gap.identity)
                self._gaps.watch(unit, gap.gid, gap.signer)
                return
            for seq in gap.seqs:
                if not self._gaps.is_known(gap.gid, gap.signer, seq):
                    continue  # only others say that it exists
                self.give_up(unit, gap.gid, gap.signer, gap.identity, seq)
            return
        body = codec.encode(Wanted(gap.signer, gap.seqs))
        group = self._roster.group(gap.gid)
        peer = next((p for p in self._roster.others(group) if p.signer == gap.signer), None)
        if group.is_large:
            self._saying.say(unit, gap.gid, Kind.WANTED, body)
        elif peer is not None:
            self._saying.post(unit, gap.gid, peer, CellKind.WANTED, body)

    def repair(self, unit: Unit, gid: bytes, signer: bytes, body: bytes) -> None:
        """Send again the envelopes that a member lacks. Raises InvalidMessage."""
        wanted = codec.decode(_wanted, body, InvalidMessage)
        came = unit.db.execute(
            "SELECT sent_seq FROM since WHERE gid = ? AND signer = ?", (gid, signer)
        ).fetchone()
        if wanted.device != self._me.signer or came is None or not self._roster.is_active(gid):
            return
        if self._history.is_shut(gid):
            return  # an answer would be a sign of life
        begun, count = self._repaired.get((gid, signer), (unit.now, 0))
        if not begun <= unit.now < begun + REPAIR_SPAN_MS:
            begun, count = unit.now, 0
        group = self._roster.group(gid)
        peer = next(p for p in self._roster.others(group) if p.signer == signer)
        (sent_seq,) = unit.db.execute(
            "SELECT sent_seq FROM conversation WHERE gid = ?", (gid,)
        ).fetchone()
        answers = [self._again(gid, seq) for seq in wanted.seqs if came[0] < seq <= sent_seq]
        if wanted.seqs[0] <= came[0]:  # envelopes from before they came are not theirs
            before = Repair(self._me.signer, came[0], b"", is_before=True, place=None)
            answers.insert(0, before)
        for answer in answers[: MAX_REPAIRS - count]:
            count += 1
            again = codec.encode(answer)
            if group.is_large:
                self._saying.say(unit, gid, Kind.REPAIR, again)
            elif answer.envelope and self._holding.is_kept_from(a.region for a in peer.addresses):
                notice = self._saying.hold(unit, gid, group, CellKind.REPAIR, again)
                self._saying.post(unit, gid, peer, CellKind.HELD, notice)
            else:
                self._saying.post(unit, gid, peer, CellKind.REPAIR, again)
        self._repaired[gid, signer] = (begun, count)

    def _again(self, gid: bytes, seq: int) -> Repair:
        """The repair of an envelope of ours, or of what is left of it."""
        said, place = self._sent.said(gid, seq)
        digest = place.hash if place is not None else envelope_hash(said)
        is_there = place is not None or bool(said)
        mark = self._claims.mark(gid, seq, digest[:8]) if is_there else NO_MARK
        return Repair(
            self._me.signer,
            seq,
            said,
            is_before=False,
            place=place,
            mark=mark,
            deleted=None if said else self._history.deleted(gid, seq),
        )

    def give_up(self, unit: Unit, gid: bytes, signer: bytes, identity: bytes, seq: int) -> None:
        """Give up an envelope that will not come any more, and tell the person."""
        if self._gaps.give_up(unit, gid, signer, seq):
            self._warnings.warn(unit, gid, MessageLost.code, "", whom=identity)
        self._gaps.watch(unit, gid, signer)

    def beat(self, unit: Unit, gid: bytes) -> None:
        """Send a heartbeat, if somebody may lack our last words."""
        if not self._roster.is_active(gid) or self._history.is_shut(gid):
            unit.db.execute("UPDATE conversation SET beat_due_at = NULL WHERE gid = ?", (gid,))
            return
        is_telling = self._whereabouts.is_telling(gid)
        has_receipts = self._roster.has_receipts(gid)
        if self._sent.beat(unit, gid, has_receipts=has_receipts, is_telling=is_telling):
            if is_telling:
                self._addresses.tell(unit, gid, is_again=True)
            else:
                self._saying.say(unit, gid, Kind.HEARTBEAT, b"")
            if has_receipts:
                self._call_silent(unit, gid)

    def _call_silent(self, unit: Unit, gid: bytes) -> None:
        """With the first heartbeats after our last words, tell the people who have not confirmed
        them where we are; with a few later ones, ask the person who has confirmed least where they
        are. If they were shown another Commit than we, they may be able to read nothing else of
        ours."""
        (beats,) = unit.db.execute(
            "SELECT beats FROM conversation WHERE gid = ?", (gid,)
        ).fetchone()
        group, devices = self._roster.group(gid), self._roster.devices(gid)
        come = dict(zip(devices, self._sent.has_come(gid, devices), strict=True))
        last = self._sent.last_word(gid)
        silent = [who for who, upto in come.items() if upto < last]
        for peer in one_each(self._roster.others(group)) if beats <= CALLED else ():
            if peer.identity in silent:
                self._saying.post(unit, gid, peer, CellKind.NOTICE, b"")
        if beats in SILENT_BEATS and silent:
            self._astray.doubt(unit, gid, min(silent, key=come.__getitem__), asks=1)


_wanted = codec.decoder_of(Wanted)
