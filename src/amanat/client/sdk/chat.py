"""A chat: one conversation, for programs to read, to write in and to change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amanat.client import vault
from amanat.client.events import SummaryChanged
from amanat.client.sdk.views import UnprovenView

if TYPE_CHECKING:
    from collections.abc import Sequence

    from amanat.client.sdk.reading import Reading
    from amanat.client.sdk.views import Contact, ConversationView, Message, Stretch, Summary
    from amanat.client.shell.runtime import Runtime
    from amanat.client.transcript import Scroll


class Chat:
    """A conversation of two, or a group."""

    def __init__(self, run: Runtime, reading: Reading, gid: bytes) -> None:
        self.gid = gid
        self._unit = run.unit
        self._read = run.parts.vault.read
        self._conversations = run.parts.conversations
        self._comebacks = run.parts.conversations.comebacks
        self._begin_due = run.begin_due
        self._history = run.parts.conversations.history
        self._reading = reading
        self._desk = reading.desk
        self._transcript = reading.transcript
        self._writing = reading.writing

    @property
    def is_direct(self) -> bool:
        """Whether it is a conversation of two. Raises UnknownConversation."""
        return bool(self._conversations.roster.group(self.gid).policy.direct)

    # What is said

    def send(self, text: str, *, reply_to: str = "") -> int:
        """Say a text in a conversation; its row. It leaves as soon as a relay can be reached.

        `reply_to` is the id of what it answers; as everywhere, its first digits are enough where no
        other begins with them. Raises NotAMember, MessageTooLarge, Blocked, IdentityChanged,
        UnknownMessage or AmbiguousName.
        """
        return self._writing.send(self.gid, text, reply_to=reply_to)

    def edit(self, message: str, text: str) -> None:
        """Give a text of ours other words. Raises like `send`, and NotYours."""
        self._writing.edit(self.gid, message, text)

    def react(self, message: str, emoji: str) -> None:
        """React to a text, instead of how we did before; an empty `emoji` takes that back.

        Raises BadArgument, and like `send`.
        """
        self._writing.react(self.gid, message, emoji)

    def delete(self, messages: Sequence[str], *, for_everyone: bool = True) -> None:
        """Delete own texts for everyone, or any from this vault alone.

        Others may have read and copied them. Raises like `send`, and NotYours; nothing is deleted
        then.
        """
        self._writing.delete(self.gid, messages, for_everyone=for_everyone)

    def set_timer(self, seconds: int) -> None:
        """Have what is said from now on disappear: this long after it was sent or read, at the
        latest UNREAD_MS later. 0: it stays.

        Raises NotAMember, NotAdmin, Blocked, IdentityChanged or BadArgument.
        """
        with self._unit() as unit:
            self._conversations.saying.set_timer(unit, self.gid, seconds)

    # What it holds

    def message(self, message: str) -> Message:
        """The message of an id, or of its first digits. Raises UnknownMessage or AmbiguousName."""
        row = self._transcript.row(self.gid, self._transcript.find(self.gid, message))
        return self._reading.shown(self.gid, self._transcript.entries(self.gid, [row]))[0]

    def message_at(self, row: int) -> Message | None:
        """The message that an event tells of; None if it is gone."""
        entry = self._transcript.at(self.gid, row)
        return self._reading.shown(self.gid, [entry])[0] if entry else None

    def count(self) -> int:
        """How many texts a conversation holds."""
        return self._transcript.total(self.gid)

    def rejoinable(self) -> list[UnprovenView]:
        """The states of a group that is out of step to which contacts help us, where nobody could
        show us how it came there: the person decides. Raises UnknownConversation."""
        known = self._reading.names(self.gid)

        def names(people: dict[bytes, str]) -> list[str]:
            # Nobody has checked what strangers call themselves: their ids stand beside it.
            return [known.get(i, f"{n} ({vault.fingerprint(i)})") for i, n in people.items()]

        return [
            UnprovenView(
                known.get(one.helper, vault.fingerprint(one.helper)),
                known.get(one.signer, vault.fingerprint(one.signer)),
                names(one.changes.came),
                names(one.changes.went),
                names(one.changes.admins),
                names(one.changes.no_admins),
                one.changes.name,
            )
            for one in self._comebacks.unproven(self.gid)
        ]

    def wished(self) -> list[bytes]:
        """The identities asked into a group that no Commit has let in yet."""
        rows = self._read.execute(
            "SELECT data FROM intent WHERE gid = ? AND kind = 'add'", (self.gid,)
        )
        return [bytes(row[0]) for row in rows]

    def is_joining(self) -> bool:
        """Whether a Welcome into a group is still to be fetched."""
        return self.gid in {one.gid for one in self._conversations.joining.awaited()}

    # How it is shown, in this vault alone

    def seen(self, row: int) -> None:
        """What came to a conversation up to this row was shown to the person, and is read."""
        self._writing.seen(self.gid, row)

    def set_draft(self, text: str, *, reply_to: str = "") -> None:
        """Keep what the person is writing, in this vault alone; an empty text forgets it.
        `reply_to` is the id of what it answers.

        Raises UnknownConversation, UnknownMessage or AmbiguousName.
        """
        with self._unit() as unit:
            answered = self._transcript.find(self.gid, reply_to) if reply_to else None
            self._desk.draft(unit, self.gid, text, answered)
            self._history.will_scrub()  # what was there before is nobody's business any more
            unit.events.append(SummaryChanged(self.gid))

    def set_pinned(self, *, is_pinned: bool = True) -> None:
        """Keep a conversation at the top of the list, in this vault alone. Raises
        UnknownConversation."""
        with self._unit() as unit:
            self._desk.pin(unit, self.gid, is_pinned=is_pinned)
            unit.events.append(SummaryChanged(self.gid))

    def set_muted(self, until: int | None) -> None:
        """Have programs announce nothing of a conversation until then, in Unix milliseconds; None:
        announce it again. Raises UnknownConversation."""
        with self._unit() as unit:
            self._desk.mute(unit, self.gid, until)
            unit.events.append(SummaryChanged(self.gid))

    def set_archived(self, *, is_archived: bool = True) -> None:
        """Put a conversation away from the list, in this vault alone. Raises
        UnknownConversation."""
        with self._unit() as unit:
            self._desk.archive(unit, self.gid, is_archived=is_archived)
            unit.events.append(SummaryChanged(self.gid))

    # Its people

    def add(self, people: Sequence[str]) -> None:
        """Ask contacts into a group. Raises NotAMember, NotAdmin, UnknownContact, GroupTooLarge."""
        identities = [self._reading.contact(person).identity for person in people]
        with self._unit() as unit:
            self._conversations.wishes.add(unit, self.gid, identities)

    def remove(self, person: str) -> None:
        """Put a member out of a group. Raises NotAMember, NotAdmin, UnknownContact."""
        identity = self._reading.member(self.gid, person)
        with self._unit() as unit:
            self._conversations.wishes.remove(unit, self.gid, identity)

    def rename(self, name: str) -> None:
        """Give a group another name. Raises NotAMember, NotAdmin or BadArgument."""
        with self._unit() as unit:
            self._conversations.wishes.rename(unit, self.gid, name)

    def set_admin(self, person: str, *, is_admin: bool = True) -> None:
        """Give or take a member's admin rights. Raises NotAMember, NotAdmin or BadArgument."""
        identity = self._reading.member(self.gid, person)
        with self._unit() as unit:
            self._conversations.wishes.set_admin(unit, self.gid, identity, is_admin=is_admin)

    def set_roles(self, roles: dict[str, str]) -> None:
        """Say who may add, remove and rename in a group: `may_add`, `may_remove`, `may_rename`,
        each "admins" or "members". Raises NotAMember, NotAdmin or BadArgument."""
        with self._unit() as unit:
            self._conversations.wishes.set_roles(unit, self.gid, roles)

    def leave_and_block(self) -> Contact:
        """Leave a group, and hear nothing more of whoever has added us to it: them. Raises
        NotAMember, OutOfStep, or BadArgument if nobody has."""
        with self._unit() as unit:
            by = self._conversations.wishes.leave_and_block(unit, self.gid)
        return next(one for one in self._reading.contacts() if one.identity == by)

    def leave(self) -> None:
        """Leave a conversation. Raises NotAMember."""
        with self._unit() as unit:
            self._conversations.wishes.leave(unit, self.gid)

    def rejoin(self, helper: str) -> None:
        """Join a group again as a contact helps us to: by the person's own decision, who has looked
        at what differs (`rejoinable`). Raises UnknownHelp or UnknownContact."""
        identity = self._reading.member(self.gid, helper)
        with self._unit() as unit:
            self._comebacks.accept(unit, self.gid, identity)
        self._begin_due()

    def messages(self, *, after: int = 0) -> list[Message]:
        """The texts of the conversation in its order; only rows above `after`."""
        return self._reading.messages(self.gid, after=after)

    def history(self, where: Scroll, *, many: int = 30) -> Stretch:
        """A part of the conversation, at most `many` messages (transcript.MAX_STRETCH).

        Raises UnknownConversation, UnknownMessage, AmbiguousName or BadArgument.
        """
        return self._reading.history(self.gid, where, many=many)

    def view(self) -> ConversationView:
        """The conversation as a person sees it. Raises UnknownConversation."""
        return self._reading.view(self.gid)

    def summary(self) -> Summary:
        """Its line in the list of conversations. Raises UnknownConversation."""
        return self._reading.summary(self.gid)

    def mark_read(self) -> None:
        """Everything kept so far is read."""
        with self._unit() as unit:
            self._history.mark_read(unit, self.gid)
