"""Saying: an envelope for everybody in a conversation, put into the outbox."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from amanat.client.events import (
    MessageChanged,
    SummaryChanged,
    TextArrived,
)
from amanat.client.holding import HOLD
from amanat.client.rules.chains import Peer
from amanat.client.rules.outbox import Purpose
from amanat.client.rules.roster import Group, one_each
from amanat.client.state import State
from amanat.client.waiting import MAX_SAID_AGAIN, Word, is_said_again
from amanat.errors import (
    BadArgument,
    Blocked,
    IdentityChanged,
    MessageTooLarge,
    NotAdmin,
    NotAMember,
)
from amanat.protocol import codec, wire
from amanat.protocol.drops import (
    MESSAGE_RETENTION_DAYS,
)
from amanat.protocol.kinds import KINDS, Retention
from amanat.protocol.messages import (
    BEFORE,
    HELD_FRAGMENT,
    HOLDS,
    MAX_DELETED,
    MAX_LIFE_S,
    MAX_REACTION_CHARS,
    MAX_TEXT_BYTES,
    MESSAGE_FRAGMENT,
    Ack,
    Befores,
    CellKind,
    Delete,
    Edit,
    Envelope,
    Epoch,
    Kind,
    Reaction,
    Text,
    Timer,
    envelope_hash,
)

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from amanat.client.rules.base import Base
    from amanat.client.rules.epochs import Epochs
    from amanat.client.rules.roster import Roster
    from amanat.client.unit import Unit

RECEIPT_DELAY_MS = (5_000, 60_000)
"""A receipt that finds no message to travel with leaves after a random time in this range, so that
it does not tell when the cell was read."""
MAX_ACKS = 13
"""The most devices that one message confirms: 400 bytes, so that a short text stays in a small
cell."""
MAX_ACKS_LARGE = 4
"""The same in a group that sends no receipts: how far a few others have counted."""
NO_HASH = bytes(32)


class Saying:
    """The envelopes that the owner of a vault sends."""

    def __init__(self, base: Base, *, roster: Roster, epochs: Epochs) -> None:
        self._outbox = base.outbox
        self._cursors = base.cursors
        self._posting = base.posting
        self._engine = base.engine
        self._me = base.me
        self._read = base.read
        self._claims = base.claims
        self._gaps = base.gaps
        self._sent = base.sent
        self._reads = base.reads
        self._history = base.history
        self._holding = base.holding
        self._waiting = base.waiting
        self._roster = roster
        self._epochs = epochs

    def send_text(self, unit: Unit, gid: bytes, text: str, *, reply_to: bytes | None = None) -> int:
        """Say a text in a conversation; returns the row in which it is kept.

        Raises NotAMember, MessageTooLarge, Blocked, IdentityChanged or UnknownMessage, and then
        sends nothing.
        """
        self._check_text(text)
        if reply_to is not None:
            self._history.check_there(gid, [reply_to], own=False)
        body = codec.encode(Text(text, reply_to, self._history.timer(gid)))
        (kept,) = self.do(unit, gid, Kind.TEXT, body)
        return kept.row

    def forward(self, unit: Unit, gid: bytes, target: bytes, to: bytes) -> int:
        """Say the words of a text in another conversation, marked as forwarded; returns the row in
        which they are kept.

        The new text gets the life of texts there, and names neither the author nor the conversation
        from which it comes. Raises like send_text.
        """
        words = self._history.words(gid, target)
        row = self._read.execute("SELECT 1 FROM file WHERE gid = ? AND id = ?", (gid, target))
        if row.fetchone() is not None:
            raise BadArgument("this message is a file, which is sent again with all of its bytes")
        text = Text(words, None, self._history.timer(to), is_forwarded=True)
        (kept,) = self.do(unit, to, Kind.TEXT, codec.encode(text))
        return kept.row

    def edit(self, unit: Unit, gid: bytes, target: bytes, text: str) -> None:
        """Replace the words of a text of ours.

        Raises like send_text, and UnknownMessage or NotYours.
        """
        self._check_text(text)
        self._history.check_there(gid, [target], own=True)
        self.do(unit, gid, Kind.EDIT, codec.encode(Edit(target, text)))

    def react(self, unit: Unit, gid: bytes, target: bytes, emoji: str) -> None:
        """React to a text, or take the reaction back with an empty one.

        Raises NotAMember, Blocked, IdentityChanged, UnknownMessage or BadArgument.
        """
        if len(emoji) > MAX_REACTION_CHARS:
            raise BadArgument(f"a reaction has at most {MAX_REACTION_CHARS} characters")
        self._history.check_there(gid, [target], own=False)
        self.do(unit, gid, Kind.REACTION, codec.encode(Reaction(target, emoji)))

    def delete(self, unit: Unit, gid: bytes, targets: Sequence[bytes]) -> None:
        """Delete texts of ours for everyone.

        Raises NotAMember, Blocked, IdentityChanged, UnknownMessage or NotYours, and then deletes
        nothing.
        """
        self._history.check_there(gid, targets, own=True)
        for first in range(0, len(targets), MAX_DELETED):
            body = codec.encode(Delete(list(targets[first : first + MAX_DELETED])))
            self.do(unit, gid, Kind.DELETE, body)

    def set_timer(self, unit: Unit, gid: bytes, life_s: int) -> None:
        """Set the life of texts of a conversation from now on, in seconds; 0 means for ever.

        Raises NotAMember, NotAdmin, Blocked, IdentityChanged or BadArgument.
        """
        if not 0 <= life_s <= MAX_LIFE_S:
            raise BadArgument(f"a timer has at most {MAX_LIFE_S} seconds")
        if self._roster.is_active(gid) and not self._roster.may_say(
            gid, self._me.identity, Kind.TIMER
        ):
            raise NotAdmin
        self.do(unit, gid, Kind.TIMER, codec.encode(Timer(life_s)))

    @staticmethod
    def _check_text(text: str) -> None:
        if not text or len(text.encode()) > MAX_TEXT_BYTES:
            raise MessageTooLarge(f"{len(text.encode())} bytes; 1 to {MAX_TEXT_BYTES} can be sent")

    def check_may_say(self, gid: bytes) -> None:
        """Raise NotAMember or Blocked if nothing can be said in a conversation."""
        if self._roster.state(gid) not in (State.ASTRAY, State.NOTES):
            self._roster.require_active(gid)
        group = self._roster.group(gid)
        if group.policy.direct and len(group.identities) == 1:
            raise NotAMember("the other has left this conversation")
        if self._history.is_shut(gid):
            raise Blocked

    def do(
        self, unit: Unit, gid: bytes, kind: Kind, body: bytes
    ) -> list[TextArrived | MessageChanged]:
        """Send an envelope that changes the history, and apply it here as everybody will. While we
        are out of step, it waits. In our notes there is nobody to send it to."""
        self.check_may_say(gid)
        state = self._roster.state(gid)
        if state is State.ACTIVE:
            envelope = self.say(unit, gid, kind, body)
        elif state is State.NOTES:
            envelope = _shown_as(self._word(unit, gid, kind, body))
        else:
            envelope = self.keep_waiting(unit, gid, kind, body)
        unit.events.append(SummaryChanged(gid))
        happened = self._history.take(unit, gid, self._me.identity, self._me.signer, envelope)
        unit.events += happened
        return happened

    def keep_waiting(self, unit: Unit, gid: bytes, kind: Kind, body: bytes) -> Envelope:
        """Keep a word to be said once we are in step; returns the envelope as which we show it
        until then."""
        word = self._word(unit, gid, kind, body)
        self._waiting.keep(unit, gid, [word])
        return _shown_as(word)

    def _word(self, unit: Unit, gid: bytes, kind: Kind, body: bytes) -> Word:
        """A new word of ours, without a number in our count."""
        clock = self._roster.clock(gid) + 1
        self._roster.move_clock(unit, gid, clock)
        return Word(secrets.token_bytes(16), kind, body, clock, unit.now)

    def say(
        self,
        unit: Unit,
        gid: bytes,
        kind: Kind,
        body: bytes,
        *,
        is_again: bool = False,
        word: Word | None = None,
        rather_not_at: Container[bytes] = (),
    ) -> Envelope:
        """Seal an envelope for everybody, put it into the outbox and return it. `rather_not_at` are
        relays, by their keys, that we use only for people who have no other."""
        group = self._roster.group(gid)
        if group.policy.direct and group.identities - set(group.policy.direct):
            raise IdentityChanged
        seq, previous, clock = unit.db.execute(
            "SELECT sent_seq, sent_hash, clock FROM conversation WHERE gid = ?", (gid,)
        ).fetchone()
        word = word or Word(secrets.token_bytes(16), kind, body, clock + 1, unit.now)
        envelope = Envelope(
            id=word.id,
            seq=seq + 1,
            previous=previous,
            clock=word.clock,
            sent_at=word.sent_at,
            kind=kind,
            body=body,
            # The announcement of a file is longer than most texts, and shall look like one.
            acks=self._few_acks(unit, gid) if kind is Kind.FILE else self._acks(unit, gid),
            more=self._more(unit, gid),
        )
        data = codec.encode(envelope)
        mark = self._claims.mark(gid, envelope.seq, envelope_hash(data)[:8])
        sealed = self._engine.encrypt(gid, data, mark)
        unit.db.execute(
            "UPDATE conversation SET sent_seq = ?, sent_hash = ?, clock = max(clock, ?),"
            " ack_due_at = NULL WHERE gid = ?",
            (envelope.seq, envelope_hash(data), envelope.clock, gid),
        )
        is_quiet = is_again or KINDS[kind].retention is Retention.QUIET
        self._sent.keep(unit, gid, envelope.seq, data, envelope.id, is_quiet=is_quiet)
        is_word = KINDS[kind].is_held
        self._send(unit, gid, group, sealed, is_word=is_word, rather_not_at=rather_not_at)
        return envelope

    def _more(self, unit: Unit, gid: bytes) -> dict[str, bytes]:
        """The fields that go with every envelope of ours."""
        more = {HOLDS: b""} if self._holding.outbound().policy is HOLD else {}
        before = self._sent.before(unit, gid, has_receipts=self._roster.has_receipts(gid))
        return more | ({BEFORE: codec.encode(Befores(before))} if before else {})

    def _send(
        self,
        unit: Unit,
        gid: bytes,
        group: Group,
        sealed: bytes,
        *,
        is_word: bool,
        rather_not_at: Container[bytes] = (),
    ) -> None:
        """Send an MLS message to everybody, or the notice of a word that we hold to the people who
        may fetch it."""
        if group.is_large:
            if is_word and self._holding.is_kept_from([group.policy.region]):
                notice = self.hold(unit, gid, group, CellKind.MLS, sealed)
                self._epochs.append_to_epoch(unit, gid, group, HELD_FRAGMENT, notice)
            else:
                self._epochs.append_to_epoch(unit, gid, group, MESSAGE_FRAGMENT, sealed)
            return
        notice = b""
        for peer in one_each(self._roster.others(group)):
            if is_word and self._holding.is_kept_from(a.region for a in peer.addresses):
                # One copy at our home serves everybody.
                notice = notice or self.hold(unit, gid, group, CellKind.MLS, sealed)
                self.post(unit, gid, peer, CellKind.HELD, notice)
            else:
                there = sorted(peer.addresses, key=lambda one: one.relay.key in rather_not_at)
                self.post(unit, gid, peer._replace(addresses=there), CellKind.MLS, sealed)

    def hold(self, unit: Unit, gid: bytes, group: Group, kind: CellKind, payload: bytes) -> bytes:
        """Let our home relay hold a word; returns the notice for the people who may fetch it."""
        stored = self._holding.store(unit, gid, group.view.epoch, kind, payload)
        relay, drop = self._me.home.address, stored.drop
        if stored.is_new:
            self._epochs.queue_create(unit, relay, drop, MESSAGE_RETENTION_DAYS, about=gid)
        append = wire.Append(0, drop.drop_id, drop.append_token, stored.cell)
        self._outbox.queue(unit, relay, append, purpose=Purpose.HELD, about=gid, due_at=unit.now)
        return codec.encode(stored.held)

    def post(self, unit: Unit, gid: bytes, to: Peer, kind: CellKind, payload: bytes) -> bool:
        """Put a cell for one member into the outbox. Returns False if there is no chain to them."""
        view = self._roster.group(gid).view
        seen = [
            self._cursors.seen_in(drop.drop_id) for _, drop in self._epochs.epoch_drops(gid)[-2:]
        ]
        return self._posting.post(
            unit,
            gid,
            to,
            kind,
            payload,
            epoch=Epoch(view.epoch, view.state[:8]),
            seen=[one for one in seen if one is not None],
        )

    def _acks(self, unit: Unit, gid: bytes) -> list[Ack]:
        # In a larger group a few at random suffice for all to know soon how far each has counted.
        is_small = self._roster.has_receipts(gid)
        unread = self._reads.unread(gid) if is_small and self._reads.are_told else None
        return self._gaps.acks(unit, gid, MAX_ACKS if is_small else MAX_ACKS_LARGE, unread=unread)

    def _few_acks(self, unit: Unit, gid: bytes) -> list[Ack]:
        unread = None
        if self._roster.has_receipts(gid) and self._reads.are_told:
            unread = self._reads.unread(gid)
        return self._gaps.acks(unit, gid, MAX_ACKS_LARGE, unread=unread)

    def say_waiting(self, unit: Unit, gid: bytes) -> None:
        """Say the words that waited until we were in step."""
        group = self._roster.group(gid)
        is_strange = bool(group.policy.direct and group.identities - set(group.policy.direct))
        if not self._roster.is_active(gid) or self._history.is_shut(gid) or is_strange:
            return
        for word in self._waiting.take(unit, gid):
            envelope = self.say(unit, gid, Kind(word.kind), word.body, word=word)
            self._history.was_said(unit, gid, envelope)

    def send_receipt(self, unit: Unit, gid: bytes) -> None:
        """Send the receipt that we owe, on its own."""
        if self._roster.is_active(gid) and not self._history.is_shut(gid):
            self.say(unit, gid, Kind.RECEIPT, b"")
        else:
            unit.db.execute("UPDATE conversation SET ack_due_at = NULL WHERE gid = ?", (gid,))

    def owe_receipt(self, unit: Unit, gid: bytes) -> None:
        """Send a receipt a little later, unless another envelope of ours carries it."""
        if self._roster.has_receipts(gid):
            low, high = RECEIPT_DELAY_MS
            due = unit.now + low + secrets.randbelow(high - low)
            unit.db.execute(
                "UPDATE conversation SET ack_due_at = coalesce(ack_due_at, ?) WHERE gid = ?",
                (due, gid),
            )

    def mark_read(self, unit: Unit, gid: bytes | None, upto: int | None = None) -> None:
        """Mark everything kept so far, in one conversation or in all, as read, and tell it a little
        later, unless the person keeps it. With `upto`, only the messages up to this row."""
        news = self._reads.unread_up_to(gid, upto) if self._reads.are_told else []
        self._history.mark_read(unit, gid, upto)
        for one in news:
            if self._roster.is_active(one) and not self._history.is_shut(one):
                self.owe_receipt(unit, one)

    def not_come(self, gid: bytes) -> list[Word]:
        """The words of ours that not everybody has, or, in a group without receipts, that nobody is
        known to have."""
        come = self._sent.has_come(gid, self._roster.devices(gid))
        after = min(come, default=0) if self._roster.has_receipts(gid) else max(come, default=0)
        words = [
            Word(said.id, said.kind, said.body, said.clock, said.sent_at)
            for said in self._sent.not_come(gid, after)
            if is_said_again(said.kind)
        ]
        return words[-MAX_SAID_AGAIN:]

    def see_delivered(self, unit: Unit, gid: bytes) -> None:
        """Find out which of our envelopes everybody has, and record it."""
        upto = min(self._sent.has_come(gid, self._roster.devices(gid)), default=0)
        self._sent.forget_said(unit, gid, upto)
        self._history.was_delivered(unit, gid, upto)

    def seal_again(self, unit: Unit, row: int, gid: bytes, recipient: bytes) -> bool:
        """Seal a cell of ours under another label, because a relay says that its label is taken.
        Returns False if that cannot help."""
        if self._roster.state(gid) is None:
            return False
        peers = self._roster.others(self._roster.group(gid))
        peer = next((p for p in peers if p.identity == recipient), None)
        return peer is not None and self._posting.seal_again(unit, row, peer.addresses)


def _shown_as(word: Word) -> Envelope:
    """The envelope as which we show a word that has no number in our count."""
    return Envelope(word.id, 0, NO_HASH, word.clock, word.sent_at, word.kind, word.body, [], {})
