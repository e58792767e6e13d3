"""History: everything that people have said, and what they have done with it since.

This module alone handles the `message` table. Members get the same envelopes in different orders,
because a lost envelope comes later, by repair. These rules give all members one history, whatever
the order:

- the author and the envelope's id name a text (messages.message_id), and it is kept once;
- of the edits of a text, and of one person's reactions to it, the last by (clock, seq, id) counts;
- a change to a text that is not here yet waits for it (`change.is_pending`);
- a deletion is final: later changes to a deleted text are dropped;
- a file is kept like a text, with the words beside it as its text.

Only its author edits or deletes a text for everyone. Nobody, not even an admin, can take away the
words of somebody else. A text that has expired, or was deleted here only, is `gone`: only its name
stays, so that we recognise it if it comes again.

Deleted bytes do not stay in the file. The vault overwrites them (secure_delete), and empties its
write-ahead log after every unit that has taken words away.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, assert_never

from amanat.client.events import MessageChanged, StateChanged, SummaryChanged, TextArrived
from amanat.client.waiting import Waiting
from amanat.errors import (
    InvalidMessage,
    NotYours,
    UnknownMessage,
)
from amanat.protocol import codec
from amanat.protocol.files import decode_again, decode_file
from amanat.protocol.kinds import KINDS, Blocked, Right, known
from amanat.protocol.messages import (
    Delete,
    Deleted,
    Edit,
    Envelope,
    File,
    Kind,
    Reaction,
    Repair,
    Text,
    Timer,
    decode_envelope,
    message_id,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from amanat.client.profile import Me
    from amanat.client.unit import Unit
    from amanat.client.vault import Vault
    from amanat.client.waiting import Word

UNREAD_MS = 14 * 86_400_000
"""The life of an unread text begins this long after it arrived, in milliseconds. No cell rests
longer at a relay either."""
MAX_PENDING = 256
"""The most changes of missing texts kept from one person in one conversation; the oldest go first.
A person who floods us pushes out only their own."""


_Deed: TypeAlias = Literal[Kind.EDIT, Kind.REACTION, Kind.DELETE, Kind.TIMER]
"""The kinds that change a text, or all future texts (Timer)."""


class _Change(NamedTuple):
    """The change that an envelope makes to a text. A timer's target is the conversation."""

    gid: bytes
    target: bytes
    identity: bytes
    kind: _Deed
    clock: int
    seq: int
    id: bytes
    value: str


class History:
    """All messages of one vault."""

    def __init__(self, vault: Vault, me: Me) -> None:
        self._vault = vault
        self._read = vault.read
        self._me = me
        self.waiting = Waiting(vault)
        # Due at start, because the last process may have died between a deletion and this.
        self._is_scrub_due = True
        vault.bind(after_commit=self._scrub)

    def _scrub(self) -> None:
        if self._is_scrub_due:
            self._is_scrub_due = not self._vault.scrub()

    # Taking

    def take(
        self, unit: Unit, gid: bytes, identity: bytes, signer: bytes, envelope: Envelope
    ) -> list[TextArrived | MessageChanged]:
        """Take a text or a change to one, ours or anybody's; returns the events that follow.

        An envelope that we took before, or that its author had no right to send, changes nothing.
        The caller judges whether the author of a Timer has the right. Raises InvalidMessage.
        """
        body = envelope.body
        kind = Kind(envelope.kind)

        def change(kind: _Deed, target: bytes, value: str = "") -> _Change:
            return _Change(
                gid,
                target,
                identity,
                kind,
                envelope.clock,
                envelope.seq,
                envelope.id,
                value,
            )

        changes: list[_Change] = []
        match kind:
            case Kind.TEXT | Kind.FILE:
                said = decode_file(body) if kind is Kind.FILE else decode_text(body)
                return self.keep(unit, gid, identity, signer, envelope, said)
            case Kind.EDIT:
                edit = codec.decode(_edits, body, InvalidMessage)
                changes = [change(kind, edit.target, edit.text)]
            case Kind.REACTION:
                reaction = codec.decode(_reactions, body, InvalidMessage)
                changes = [change(kind, reaction.target, reaction.emoji)]
            case Kind.DELETE:
                gone = codec.decode(_deletes, body, InvalidMessage)
                changes = [change(kind, target) for target in gone.targets]
            case Kind.TIMER:
                life_s = codec.decode(_timers, body, InvalidMessage).life_s
                changes = [change(kind, gid, str(life_s))]
            case (
                Kind.RECEIPT | Kind.KEY_PACKAGES | Kind.KEY_PACKAGES_WANTED | Kind.WELCOME
                | Kind.LEAVE | Kind.HEARTBEAT | Kind.WANTED | Kind.REPAIR | Kind.ADDRESSES
                | Kind.DECLINED | Kind.VOTES | Kind.NAME | Kind.FILE_WANTED | Kind.FILE_AGAIN
            ):  # fmt: skip
                pass  # no part of history
            case _:
                assert_never(kind)
        if KINDS[kind].blocked is Blocked.NOT_KEPT and self._is_unwanted(gid, identity):
            return []
        rows = [self._apply(unit, one) for one in changes]
        return [MessageChanged(gid, row) for row in rows if row is not None]

    def keep(
        self,
        unit: Unit,
        gid: bytes,
        identity: bytes,
        signer: bytes,
        envelope: Envelope,
        said: Text | File,
    ) -> list[TextArrived | MessageChanged]:
        """Keep a text or a file, and apply the changes that were waiting for it."""
        mid = message_id(identity, envelope.id)
        if self._is_gone(gid, mid):
            return []
        if self._is_unwanted(gid, identity):
            unit.db.execute("INSERT INTO gone VALUES (?, ?)", (gid, mid))
            unit.db.execute("UPDATE conversation SET hidden = hidden + 1 WHERE gid = ?", (gid,))
            return []
        wait = 0 if identity == self._me.identity else UNREAD_MS
        kept = unit.db.execute(
            "INSERT INTO message (gid, id, envelope, identity, signer, seq, clock, sent_at,"
            " kept_at, text, reply_to, life_s, is_forwarded, expires_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING RETURNING row",
            (
                gid,
                mid,
                envelope.id,
                identity,
                signer,
                envelope.seq,
                envelope.clock,
                envelope.sent_at,
                unit.now,
                said.text,
                said.reply_to,
                said.life_s,
                said.is_forwarded,
                unit.now + wait + 1000 * said.life_s if said.life_s else None,
            ),
        ).fetchone()
        if kept is None:
            return []
        (row,) = kept
        if isinstance(said, File):
            unit.db.execute(
                "INSERT INTO file (gid, id, body, is_near) VALUES (?, ?, ?, 0)",
                (gid, mid, envelope.body),
            )
        if self._settle(unit, gid, mid, identity):
            return [TextArrived(gid, row)]
        return [MessageChanged(gid, row)]

    def keep_deleted(
        self, unit: Unit, gid: bytes, identity: bytes, signer: bytes, seq: int, deleted: Deleted
    ) -> list[MessageChanged]:
        """Keep the place of a text that its author had deleted before it arrived here."""
        mid = message_id(identity, deleted.id)
        if self._is_gone(gid, mid) or self._is_unwanted(gid, identity):
            return []
        kept = unit.db.execute(
            "INSERT INTO message (gid, id, envelope, identity, signer, seq, clock, sent_at,"
            " kept_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING row",
            (gid, mid, deleted.id, identity, signer, seq, deleted.clock, deleted.sent_at, unit.now),
        ).fetchone()
        if kept is None:
            return []
        self._erase(unit, gid, mid)  # and the changes that were waiting for it
        return [MessageChanged(gid, kept[0])]

    def deleted(self, gid: bytes, seq: int) -> Deleted | None:
        """Our text with this number, if we have deleted it for everyone."""
        row = self._read.execute(
            "SELECT envelope, clock, sent_at FROM message WHERE gid = ? AND identity = ?"
            " AND signer = ? AND seq = ? AND text IS NULL",
            (gid, self._me.identity, self._me.signer, seq),
        ).fetchone()
        return None if row is None else Deleted(*row)

    def _settle(self, unit: Unit, gid: bytes, mid: bytes, author: bytes) -> bool:
        """Apply the changes that were waiting for a text; returns whether the text is still
        there."""
        rows = unit.db.execute(
            "SELECT gid, target, identity, kind, clock, seq, id, value FROM change"
            " WHERE gid = ? AND target = ? AND is_pending",
            (gid, mid),
        ).fetchall()
        if not rows:
            return True
        unit.db.execute(
            "DELETE FROM change WHERE gid = ? AND target = ? AND kind IN (?, ?)",
            (gid, mid, Kind.EDIT, Kind.DELETE),
        )
        unit.db.execute("UPDATE change SET is_pending = 0 WHERE gid = ? AND target = ?", (gid, mid))
        edit, is_there = None, True
        for change in (_Change(*row) for row in rows):
            if not _may(change, author):
                continue
            match change.kind:
                case Kind.REACTION | Kind.TIMER:
                    pass  # its row stays
                case Kind.EDIT:
                    edit = change
                case Kind.DELETE:
                    is_there = False
                case _:
                    assert_never(change.kind)
        if not is_there:
            self._erase(unit, gid, mid)
        elif edit is not None:
            self._apply(unit, edit)
        return is_there

    def _apply(self, unit: Unit, change: _Change) -> int | None:
        """Apply a change; returns the row of the text that it changed."""
        match change.kind:
            case Kind.EDIT | Kind.REACTION | Kind.DELETE:
                return self._apply_to_text(unit, change)
            case Kind.TIMER:
                self._put(unit, change, is_pending=False)
                return None
            case _:
                assert_never(change.kind)

    def _apply_to_text(self, unit: Unit, change: _Change) -> int | None:
        """Apply a change to a text, now or once it is here; returns the row that it changed."""
        gid, target = change.gid, change.target
        found = unit.db.execute(
            "SELECT row, identity, text IS NULL FROM message WHERE gid = ? AND id = ?",
            (gid, target),
        ).fetchone()
        if found is None:
            if not self._is_gone(gid, target):
                self._put(unit, change, is_pending=True)
            return None
        row, author, is_deleted = found
        if is_deleted:
            return None
        if not _may(change, author):
            return None
        match change.kind:
            case Kind.REACTION:
                is_new = self._put(unit, change, is_pending=False)
            case Kind.DELETE:
                self._erase(unit, gid, target)
                is_new = True
            case Kind.EDIT:
                # The words go into the message; the row of the edit only records which edit they
                # come from.
                is_new = self._put(unit, change._replace(value=""), is_pending=False)
                if is_new:
                    unit.db.execute(
                        "UPDATE message SET text = ? WHERE row = ?", (change.value, row)
                    )
                    self._is_scrub_due = True
            case Kind.TIMER:
                is_new = False  # it changes no text
            case _:
                assert_never(change.kind)
        return int(row) if is_new else None

    def _put(self, unit: Unit, change: _Change, *, is_pending: bool) -> bool:
        """Keep a change if it is the last one of its kind; returns whether it is."""
        key = change[:4]
        before = unit.db.execute(
            "SELECT clock, seq, id FROM change WHERE gid = ? AND target = ? AND identity = ?"
            " AND kind = ?",
            key,
        ).fetchone()
        if before is not None:
            if before >= (change.clock, change.seq, change.id):
                return False
            self._is_scrub_due = True
        unit.db.execute(
            "INSERT INTO change (gid, target, identity, kind, clock, seq, id, value, is_pending)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET clock = excluded.clock,"
            " seq = excluded.seq, id = excluded.id, value = excluded.value",
            (*change, is_pending),
        )
        if is_pending and before is None:
            unit.db.execute(
                "DELETE FROM change WHERE row IN (SELECT row FROM change WHERE gid = ?"
                " AND identity = ? AND is_pending ORDER BY row DESC LIMIT -1 OFFSET ?)",
                (change.gid, change.identity, MAX_PENDING),
            )
        return True

    # Removing

    def _erase(self, unit: Unit, gid: bytes, mid: bytes) -> None:
        """Take away everything of a message, except that it was there."""
        self._strip(unit, gid, mid)
        unit.db.execute(
            "UPDATE message SET text = NULL, reply_to = NULL, is_forwarded = 0"
            " WHERE gid = ? AND id = ?",
            (gid, mid),
        )

    def forget(self, unit: Unit, gid: bytes, mid: bytes) -> None:
        """Take a message out of this vault for good."""
        self._strip(unit, gid, mid)
        unit.db.execute("DELETE FROM message WHERE gid = ? AND id = ?", (gid, mid))
        unit.db.execute("INSERT INTO gone VALUES (?, ?)", (gid, mid))

    def clear(self, unit: Unit, gid: bytes, *, is_over: bool) -> list[MessageChanged]:
        """Take all messages of a conversation out of this vault for good. Changes of texts that are
        not here wait for these, unless the conversation `is_over`."""
        rows = unit.db.execute("SELECT row FROM message WHERE gid = ?", (gid,)).fetchall()
        unit.db.execute(
            "INSERT OR IGNORE INTO gone SELECT gid, id FROM message WHERE gid = ?", (gid,)
        )
        unit.db.execute(
            "DELETE FROM change WHERE gid = ?1 AND target != ?1 AND (?2 OR NOT is_pending)",
            (gid, is_over),
        )
        self._strip_sent(unit, gid, None)
        unit.db.execute("DELETE FROM message WHERE gid = ?", (gid,))
        return [MessageChanged(gid, row) for (row,) in rows]

    def _strip(self, unit: Unit, gid: bytes, mid: bytes) -> None:
        """Take away the changes of a message, and the envelopes kept to send it again."""
        unit.db.execute("DELETE FROM change WHERE gid = ? AND target = ?", (gid, mid))
        self._strip_sent(unit, gid, mid)

    def _strip_sent(self, unit: Unit, gid: bytes, mid: bytes | None) -> None:
        """Take away the envelopes kept to send a message again; with None, those of all. Their
        places stay, so that we can tell the people whom they did not reach that nothing is lost."""
        self._is_scrub_due = True
        for seq, said in unit.db.execute(
            "SELECT seq, envelope FROM sent WHERE gid = ? AND NOT is_quiet", (gid,)
        ).fetchall():
            envelope = decode_envelope(said)
            about = self._about(envelope)
            if about is not None and mid in (None, about):
                unit.db.execute(
                    "UPDATE sent SET id = x'', envelope = x'', is_quiet = 1, previous = ?"
                    " WHERE gid = ? AND seq = ?",
                    (envelope.previous, gid, seq),
                )
        for word in self.waiting.all(gid):
            about = self._about(word)
            if about is not None and mid in (None, about):
                self.waiting.drop(unit, gid, word)

    def _about(self, said: Envelope | Word) -> bytes | None:
        """The message whose words one of our envelopes holds."""
        kind = known(said.kind)
        match kind:
            case Kind.TEXT | Kind.FILE:
                return message_id(self._me.identity, said.id)
            case Kind.FILE_AGAIN:
                return decode_again(said.body).target
            case Kind.EDIT:
                return codec.decode(_edits, said.body, InvalidMessage).target
            case Kind.REACTION:
                return codec.decode(_reactions, said.body, InvalidMessage).target
            case Kind.REPAIR:  # in a large group a repair goes to all
                again = decode_repair(said.body)
                return self._about(decode_envelope(again.envelope)) if again.envelope else None
            case (
                Kind.RECEIPT | Kind.KEY_PACKAGES | Kind.KEY_PACKAGES_WANTED | Kind.WELCOME
                | Kind.LEAVE | Kind.DELETE | Kind.TIMER | Kind.HEARTBEAT | Kind.WANTED
                | Kind.ADDRESSES | Kind.DECLINED | Kind.VOTES | Kind.NAME | Kind.FILE_WANTED | None
            ):  # fmt: skip
                return None  # no words of a message
            case _:
                assert_never(kind)

    def move(self, unit: Unit, old: bytes, gid: bytes) -> None:
        """Move the messages of one conversation to another, except for the greeting that began it,
        because the other has its own."""
        greeting = greeting_id(old)
        unit.db.execute(
            "UPDATE OR IGNORE change SET gid = ?2, target = CASE target WHEN ?1 THEN ?2 ELSE target"
            " END WHERE gid = ?1 AND target NOT IN"
            " (SELECT id FROM message WHERE gid = ?1 AND envelope = ?3)",
            (old, gid, greeting),
        )
        # Our texts have no number in the count of the other. They get one when they are said there.
        unit.db.execute(
            "UPDATE OR IGNORE message SET gid = ?2, seq = CASE identity WHEN ?4 THEN 0 ELSE seq END"
            " WHERE gid = ?1 AND envelope != ?3",
            (old, gid, greeting, self._me.identity),
        )
        unit.db.execute("UPDATE OR IGNORE gone SET gid = ?2 WHERE gid = ?1", (old, gid))
        unit.db.execute(
            "UPDATE conversation SET read_row = max(read_row, (SELECT read_row FROM conversation"
            " WHERE gid = ?1)) WHERE gid = ?2",
            (old, gid),
        )

    # Our own words

    def was_said(self, unit: Unit, gid: bytes, envelope: Envelope) -> None:
        """Record that a waiting word now has its number in our count."""
        unit.db.execute(
            "UPDATE message SET seq = ? WHERE gid = ? AND id = ?",
            (envelope.seq, gid, message_id(self._me.identity, envelope.id)),
        )
        unit.events.append(StateChanged(gid))

    def was_delivered(self, unit: Unit, gid: bytes, upto: int) -> None:
        """Record that everybody has our envelopes up to this number of our present count."""
        delivered = unit.db.execute(
            "UPDATE message SET is_delivered = 1 WHERE gid = ?1 AND identity = ?2 AND seq <= ?3"
            " AND NOT is_delivered"
            " AND seq > (SELECT counted FROM conversation WHERE conversation.gid = ?1)",
            (gid, self._me.identity, upto),
        )
        if delivered.rowcount:
            unit.events.append(StateChanged(gid))

    def _is_gone(self, gid: bytes, mid: bytes) -> bool:
        row = self._read.execute("SELECT 1 FROM gone WHERE gid = ? AND id = ?", (gid, mid))
        return row.fetchone() is not None

    def is_due(self, now: int) -> bool:
        """Whether some text's life has ended."""
        return self._read.is_due(
            "SELECT min(expires_at) FROM message WHERE expires_at IS NOT NULL", now
        )

    def expire(self, unit: Unit) -> list[MessageChanged]:
        """Take away the texts whose life has ended."""
        rows = unit.db.execute(
            "SELECT gid, row, id FROM message WHERE expires_at <= ?", (unit.now,)
        ).fetchall()
        for gid, _, mid in rows:
            self.forget(unit, gid, mid)
        return [MessageChanged(gid, row) for gid, row, _ in rows]

    def mark_read(self, unit: Unit, gid: bytes | None, upto: int | None = None) -> None:
        """Mark everything kept so far, in one conversation or in all, as read, so that its life
        begins. With `upto`, only the messages up to this row."""
        unit.db.execute(
            "UPDATE message SET expires_at = ?1 + 1000 * life_s"
            " WHERE expires_at > ?1 + 1000 * life_s AND (?2 IS NULL OR gid = ?2)"
            " AND (?3 IS NULL OR row <= ?3)",
            (unit.now, gid, upto),
        )
        read = unit.db.execute(
            "UPDATE conversation SET read_row = last FROM (SELECT c.gid AS g, (SELECT max(row)"
            " FROM message WHERE gid = c.gid AND (?2 IS NULL OR row <= ?2)) AS last"
            " FROM conversation AS c WHERE ?1 IS NULL OR c.gid = ?1)"
            " WHERE gid = g AND read_row < last RETURNING gid",
            (gid, upto),
        ).fetchall()
        unit.events += [SummaryChanged(one) for (one,) in read]

    def will_scrub(self) -> None:
        """Note that this unit takes words away, so that the log is emptied once it has
        committed."""
        self._is_scrub_due = True

    def begin_clock(self, unit: Unit) -> None:
        """Let no life go on longer than if it had begun now, because the clock may have been set
        back."""
        unit.db.execute(
            "UPDATE message SET expires_at = min(expires_at, ?1 + 1000 * life_s + CASE"
            " WHEN identity = ?2 OR row <= (SELECT read_row FROM conversation"
            " WHERE conversation.gid = message.gid) THEN 0 ELSE ?3 END)"
            " WHERE expires_at IS NOT NULL",
            (unit.now, self._me.identity, UNREAD_MS),
        )

    # Asking

    def check_there(self, gid: bytes, ids: Sequence[bytes], *, own: bool) -> None:
        """Raise UnknownMessage if one of these is not here or deleted, or NotYours if all must be
        our `own` and one is not."""
        for mid in ids:
            row = self._read.execute(
                "SELECT identity, text IS NULL FROM message WHERE gid = ? AND id = ?", (gid, mid)
            ).fetchone()
            if row is None or row[1]:
                raise UnknownMessage(mid.hex())
            if own and row[0] != self._me.identity:
                raise NotYours(mid.hex())

    def words(self, gid: bytes, mid: bytes) -> str:
        """The present words of a text. Raises UnknownMessage if it is not here or deleted."""
        self.check_there(gid, [mid], own=False)
        (words,) = self._read.execute(
            "SELECT text FROM message WHERE gid = ? AND id = ?", (gid, mid)
        ).fetchone()
        return str(words)

    def timer(self, gid: bytes) -> int:
        """The life that new texts of a conversation get, in seconds; 0 means for ever."""
        row = self._read.execute(
            "SELECT value FROM change WHERE gid = ?1 AND target = ?1 AND kind = ?2"
            " ORDER BY clock DESC, identity DESC, seq DESC, id DESC LIMIT 1",
            (gid, Kind.TIMER),
        ).fetchone()
        return int(row[0]) if row else 0

    # Blocking

    def set_blocked(self, unit: Unit, identity: bytes, *, is_blocked: bool) -> None:
        """Block a contact, so that we keep nothing more that they say, or unblock them."""
        unit.db.execute("UPDATE contact SET blocked = ? WHERE identity = ?", (is_blocked, identity))

    def is_blocked(self, identity: bytes) -> bool:
        """Whether we have blocked a person."""
        row = self._read.execute(
            "SELECT 1 FROM contact WHERE identity = ?1 AND blocked"
            " UNION ALL SELECT 1 FROM shut_out WHERE identity = ?1",
            (identity,),
        )
        return row.fetchone() is not None

    def is_shut(self, gid: bytes) -> bool:
        """Whether this is the 1:1 conversation with somebody we have blocked, or with somebody who
        is no contact any more."""
        row = self._read.execute(
            "SELECT 1 FROM contact WHERE conversation = ?1 AND blocked"
            " UNION ALL SELECT 1 FROM desk WHERE gid = ?1 AND is_hidden",
            (gid,),
        ).fetchone()
        return row is not None

    def _is_unwanted(self, gid: bytes, identity: bytes) -> bool:
        """Whether we keep nothing that somebody says in a conversation."""
        return self.is_blocked(identity) or self.is_shut(gid)

    def hidden(self, gid: bytes) -> int:
        """The number of texts of blocked people that were not kept."""
        row = self._read.execute("SELECT hidden FROM conversation WHERE gid = ?", (gid,)).fetchone()
        return int(row[0])


def _may(change: _Change, author: bytes) -> bool:
    """Whether somebody had the right to do this to a text of an author."""
    return KINDS[change.kind].right is not Right.AUTHOR or change.identity == author


def greeting_id(gid: bytes) -> bytes:
    """The id of the envelope that stands for the greeting of a 1:1 conversation, the same for both
    people."""
    return hashlib.sha256(b"amanat greeting" + gid).digest()[:16]


_texts = codec.decoder_of(Text)
_edits = codec.decoder_of(Edit)
_reactions = codec.decoder_of(Reaction)
_deletes = codec.decoder_of(Delete)
_timers = codec.decoder_of(Timer)
_repairs = codec.decoder_of(Repair)


def decode_text(body: bytes) -> Text:
    """Decode a text. Raises InvalidMessage."""
    return codec.decode(_texts, body, InvalidMessage)


def decode_repair(data: bytes) -> Repair:
    """Decode an envelope that its sender has sent again. Raises InvalidMessage."""
    return codec.decode(_repairs, data, InvalidMessage)
