"""Writing: the changes that programs make to messages and contacts, for the objects of `views`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amanat.client.events import MessageChanged, PersonChanged, SummaryChanged
from amanat.client.state import State
from amanat.protocol import identity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from amanat.client.desk import Desk
    from amanat.client.shell.runtime import Runtime
    from amanat.client.transcript import Transcript
    from amanat.client.unit import Unit


class Writing:
    """Writes into one vault."""

    def __init__(self, run: Runtime, transcript: Transcript, desk: Desk) -> None:
        self._unit = run.unit
        self._me = run.parts.me
        self._conversations = run.parts.conversations
        self._history = run.parts.conversations.history
        self._invites = run.parts.invites
        self._transcript = transcript
        self._desk = desk

    def send(self, gid: bytes, text: str, *, reply_to: str = "") -> int:
        """Say a text; returns its row. Raises like `Chat.send`."""
        with self._unit() as unit:
            return self.send_in(unit, gid, text, reply_to=reply_to)

    def send_in(self, unit: Unit, gid: bytes, text: str, *, reply_to: str = "") -> int:
        """The same as a part of a unit of work."""
        answered = self._transcript.find(gid, reply_to) if reply_to else None
        return self._conversations.saying.send_text(unit, gid, text, reply_to=answered)

    def forward(self, gid: bytes, message: str, to: bytes) -> int:
        """Say the words of a text in another conversation. Raises like `Chat.forward`."""
        with self._unit() as unit:
            target = self._transcript.find(gid, message)
            return self._conversations.saying.forward(unit, gid, target, to)

    def edit(self, gid: bytes, message: str, text: str) -> None:
        """Replace the words of a text of ours. Raises like `Chat.edit`."""
        with self._unit() as unit:
            target = self._transcript.find(gid, message)
            self._conversations.saying.edit(unit, gid, target, text)

    def react(self, gid: bytes, message: str, emoji: str) -> None:
        """React to a text. Raises like `Chat.react`."""
        with self._unit() as unit:
            self.react_in(unit, gid, message, emoji)

    def react_in(self, unit: Unit, gid: bytes, message: str, emoji: str) -> None:
        """The same as a part of a unit of work."""
        target = self._transcript.find(gid, message)
        self._conversations.saying.react(unit, gid, target, emoji)

    def delete(self, gid: bytes, messages: Sequence[str], *, for_everyone: bool) -> None:
        """Delete texts. Raises like `Chat.delete`."""
        with self._unit() as unit:
            targets = [self._transcript.find(gid, one) for one in messages]
            if for_everyone:
                self._conversations.saying.delete(unit, gid, targets)
            else:
                for target in targets:
                    unit.events.append(MessageChanged(gid, self._transcript.row(gid, target)))
                    self._history.forget(unit, gid, target)
                unit.events.append(SummaryChanged(gid))

    def clear(self, gid: bytes) -> None:
        """Delete all texts of a conversation from this vault. Raises UnknownConversation."""
        with self._unit() as unit:
            state = self._conversations.roster.state(gid)
            is_over = state in (State.LEFT, State.REMOVED, State.REPLACED)
            self._clear(unit, gid, is_over=is_over)

    def _clear(self, unit: Unit, gid: bytes, *, is_over: bool) -> None:
        """Delete all texts of a conversation and its draft, and show it no longer if it
        `is_over`."""
        self._desk.draft(unit, gid, "", None)
        if is_over:
            self._desk.hide(unit, gid)
        unit.events += self._history.clear(unit, gid, is_over=is_over)
        unit.events.append(SummaryChanged(gid))

    def seen(self, gid: bytes, row: int) -> None:
        """Mark everything that arrived in a conversation up to this row as read."""
        with self._unit() as unit:
            self.seen_in(unit, gid, row)

    def seen_in(self, unit: Unit, gid: bytes, row: int) -> None:
        """The same as a part of a unit of work."""
        self._conversations.saying.mark_read(unit, gid, row)

    def safety_number(self, person: bytes) -> str:
        """The safety number to compare with a person, by their identity."""
        return identity.safety_number(self._me.identity, person)

    def set_verified(self, person: bytes, *, is_verified: bool) -> None:
        """Record whether the safety number was compared."""
        with self._unit() as unit:
            unit.db.execute(
                "UPDATE contact SET verified = ? WHERE identity = ?", (is_verified, person)
            )
            unit.events.append(PersonChanged(person))

    def set_blocked(self, person: bytes, *, is_blocked: bool) -> None:
        """Block a contact, or unblock them and hear them again from now on."""
        with self._unit() as unit:
            if is_blocked:
                self._conversations.wishes.block(unit, person)
            else:
                self._history.set_blocked(unit, person, is_blocked=False)
                self._conversations.naming.tell(
                    unit, self._conversations.roster.direct_with(person)
                )
                self._conversations.addresses.tell_unblocked(unit, person)
            unit.events.append(PersonChanged(person))

    def remove_contact(self, person: bytes) -> None:
        """Part with a contact, and delete what was said with them. Raises UnknownConversation."""
        with self._unit() as unit:
            gid = self._conversations.wishes.part(unit, person)
            self._invites.forget_knocks(unit, person)
            self._clear(unit, gid, is_over=True)
            unit.events.append(PersonChanged(person))
