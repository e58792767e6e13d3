"""A chat: one conversation, for programs to read, to write in and to change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amanat.client import vault
from amanat.client.events import SummaryChanged
from amanat.client.sdk.views import UnprovenView

if TYPE_CHECKING:
    from collections.abc import Sequence

    from amanat.client.sdk.files import Source
    from amanat.client.sdk.reading import Reading
    from amanat.client.sdk.views import (
        Contact,
        ConversationView,
        Message,
        Missing,
        Stretch,
        Summary,
    )
    from amanat.client.shell.runtime import Runtime
    from amanat.client.transcript import Position, Scroll


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

    # Saying

    def send(self, text: str, *, reply_to: str = "") -> int:
        """Say a text in the conversation; returns its row. It leaves as soon as a relay can be
        reached.

        `reply_to` is the id of the text that it answers. As with every id, its first digits suffice
        if no other id begins with them. Raises NotAMember, MessageTooLarge, Blocked,
        IdentityChanged, UnknownMessage or AmbiguousName.
        """
        return self._writing.send(self.gid, text, reply_to=reply_to)

    async def send_file(
        self,
        source: Source,
        *,
        text: str = "",
        name: str | None = None,
        media_type: str = "",
        reply_to: str = "",
        album: bytes = b"",
    ) -> int:
        """Begin to send a file, given by its path or as a stream of bytes, or a picture or a voice
        note that `amanat.media` has made anew, which leave without a name; returns the id of its
        transfer once the vault has all of it, so that `source` may go. The file is said, with
        `text` beside it, once our relay has taken it. In our notes it is said at once: then the id
        is 0.

        It is shown under `name`, or under that of the path, made safe. Files with the same `album`,
        8 random bytes, belong together. Raises BadArgument, FileOverLimit, FileCovered, DiskFull,
        and like `send`.
        """
        answered = self._transcript.find(self.gid, reply_to) if reply_to else None
        (number,) = await self._reading.files.send(
            self.gid,
            [source],
            name=name,
            text=text,
            reply_to=answered,
            media_type=media_type,
            album=album,
        )
        return number

    def forward_file(self, message: str, to: bytes) -> int:
        """Begin to send the file of a message of this conversation into the one with the gid `to`,
        marked as forwarded; returns the id of its transfer, or 0 in our notes. It gets a secret of
        its own, and names neither the author nor this conversation. Raises like `send_file`,
        NoFile, and FileIncomplete unless the file is here."""
        mid = self._transcript.find(self.gid, message)
        return self._reading.files.forward(self.gid, mid, to)

    def files(
        self,
        *,
        before: Position | None = None,
        after: Position | None = None,
        many: int = 30,
        pictures: bool = False,
    ) -> list[Message]:
        """The messages that are files, the newest first: of those before a position the last, or of
        those after one the first, and at most `many` (transcript.MAX_STRETCH). With `pictures`,
        only pictures that are here."""
        entries = self._transcript.files(
            self.gid, before=before, after=after, many=many, pictures=pictures
        )
        return self._reading.shown(self.gid, entries)

    def links(self, *, before: Position | None = None, many: int = 30) -> list[Message]:
        """The messages whose words may hold a link, the newest first: the last of those before a
        position, and at most `many` (transcript.MAX_STRETCH)."""
        entries = self._transcript.links(self.gid, before=before, many=many)
        return self._reading.shown(self.gid, entries)

    def forward(self, message: str, to: bytes) -> int:
        """Say the words of a text of this conversation in the one with the gid `to`, marked as
        forwarded; returns the row there.

        The new text names neither the author nor this conversation. Whom a person talks with is not
        ours to tell, and a name that a program adds would look as if somebody vouched for it; a
        person who wants to name the author types the name. The text lives as long as other new
        texts there, even if the first one is about to disappear. Raises like `send` in that
        conversation, and UnknownMessage if the text was deleted.
        """
        return self._writing.forward(self.gid, message, to)

    def edit(self, message: str, text: str) -> None:
        """Replace the words of a text of ours. Raises like `send`, and NotYours."""
        self._writing.edit(self.gid, message, text)

    def react(self, message: str, emoji: str) -> None:
        """React to a text, in place of our earlier reaction; an empty `emoji` takes that back.

        Raises BadArgument, and like `send`.
        """
        self._writing.react(self.gid, message, emoji)

    def delete(self, messages: Sequence[str], *, for_everyone: bool = True) -> None:
        """Delete our own texts for everyone, or any texts from this vault alone.

        Others may have read and copied them. Raises like `send`, and NotYours, and then deletes
        nothing.
        """
        self._writing.delete(self.gid, messages, for_everyone=for_everyone)

    def clear(self) -> None:
        """Delete all texts of the conversation from this vault alone, with reactions and the draft.
        Others keep theirs, and are not told.

        Texts that a relay has or is about to get still reach the others. If a relay loses one, or
        if it waits until the conversation is in step, nobody gets it any more, as with `delete`.
        The conversation stays in the list, and texts that arrive later are shown; one that we have
        left leaves the list. Raises UnknownConversation.
        """
        self._writing.clear(self.gid)

    def set_timer(self, seconds: int) -> None:
        """Let texts from now on disappear this long after they were sent or read, at the latest
        UNREAD_MS later. With 0 they stay.

        Raises NotAMember, NotAdmin, Blocked, IdentityChanged or BadArgument.
        """
        with self._unit() as unit:
            self._conversations.saying.set_timer(unit, self.gid, seconds)

    # Reading

    def message(self, message: str) -> Message:
        """The message with an id, or with these first digits of one. Raises UnknownMessage or
        AmbiguousName."""
        row = self._transcript.row(self.gid, self._transcript.find(self.gid, message))
        return self._reading.shown(self.gid, self._transcript.entries(self.gid, [row]))[0]

    def message_at(self, row: int) -> Message | None:
        """The message in the row that an event names; None if it is gone."""
        entry = self._transcript.at(self.gid, row)
        return self._reading.shown(self.gid, [entry])[0] if entry else None

    def count(self) -> int:
        """The number of texts in the conversation."""
        return self._transcript.total(self.gid)

    def first_unread(self) -> str:
        """The id of the first text, in the order of the conversation, that the person has not read;
        empty if they have read all of them."""
        position = self._transcript.first_unread(self.gid)
        return position.id.hex() if position else ""

    def unread_rows(self, *, many: int) -> list[int]:
        """The rows of the texts of others that the person has not read, in the order in which they
        arrived: the first `many` of them."""
        return self._transcript.unread_rows(self.gid, many=many)

    def missing(self) -> list[Missing]:
        """The messages of the conversation that exist but have not arrived, by sender."""
        return self._reading.missing(self.gid)

    def rejoinable(self) -> list[UnprovenView]:
        """The states into which contacts can help us when we are out of step with a group, if
        nobody could prove how the group came there. The person decides. Raises
        UnknownConversation."""
        known = self._reading.names(self.gid)

        def names(people: dict[bytes, str]) -> list[str]:
            # Nobody has checked the names of strangers, so their ids stand beside them.
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
        """The identities that we have added but that no Commit has let in yet."""
        rows = self._read.execute(
            "SELECT data FROM intent WHERE gid = ? AND kind = 'add'", (self.gid,)
        )
        return [bytes(row[0]) for row in rows]

    def is_joining(self) -> bool:
        """Whether we have yet to fetch a Welcome into the group."""
        return self.gid in {one.gid for one in self._conversations.joining.awaited()}

    # How it is shown, in this vault alone

    def seen(self, row: int) -> None:
        """Mark everything that arrived up to this row as shown to the person, and read."""
        self._writing.seen(self.gid, row)

    def set_draft(self, text: str, *, reply_to: str = "") -> None:
        """Keep the text that the person is writing, in this vault alone; an empty text forgets it.
        `reply_to` is the id of the text that it answers.

        Raises UnknownConversation, UnknownMessage or AmbiguousName.
        """
        with self._unit() as unit:
            answered = self._transcript.find(self.gid, reply_to) if reply_to else None
            self._desk.draft(unit, self.gid, text, answered)
            self._history.will_scrub()  # the earlier draft is nobody's business any more
            unit.events.append(SummaryChanged(self.gid))

    def set_pinned(self, *, is_pinned: bool = True) -> None:
        """Keep the conversation at the top of the list, in this vault alone. Raises
        UnknownConversation."""
        with self._unit() as unit:
            self._desk.pin(unit, self.gid, is_pinned=is_pinned)
            unit.events.append(SummaryChanged(self.gid))

    def set_muted(self, until: int | None) -> None:
        """Let programs announce nothing of the conversation until then, in Unix milliseconds; with
        None they announce it again. Raises UnknownConversation."""
        with self._unit() as unit:
            self._desk.mute(unit, self.gid, until)
            unit.events.append(SummaryChanged(self.gid))

    def set_archived(self, *, is_archived: bool = True) -> None:
        """Take the conversation out of the list, in this vault alone. Raises
        UnknownConversation."""
        with self._unit() as unit:
            self._desk.archive(unit, self.gid, is_archived=is_archived)
            unit.events.append(SummaryChanged(self.gid))

    # Its people

    def add(self, people: Sequence[str]) -> None:
        """Add contacts to a group. Raises NotAMember, NotAdmin, UnknownContact, GroupTooLarge."""
        identities = [self._reading.contact(person).identity for person in people]
        with self._unit() as unit:
            self._conversations.wishes.add(unit, self.gid, identities)

    def remove(self, person: str) -> None:
        """Remove a member from a group. Raises NotAMember, NotAdmin, UnknownContact."""
        identity = self._reading.member(self.gid, person)
        with self._unit() as unit:
            self._conversations.wishes.remove(unit, self.gid, identity)

    def rename(self, name: str) -> None:
        """Rename a group. Raises NotAMember, NotAdmin or BadArgument."""
        with self._unit() as unit:
            self._conversations.wishes.rename(unit, self.gid, name)

    def set_admin(self, person: str, *, is_admin: bool = True) -> None:
        """Give or take a member's admin rights. Raises NotAMember, NotAdmin or BadArgument."""
        identity = self._reading.member(self.gid, person)
        with self._unit() as unit:
            self._conversations.wishes.set_admin(unit, self.gid, identity, is_admin=is_admin)

    def set_roles(self, roles: dict[str, str]) -> None:
        """Set the people who may add, remove and rename in a group: `may_add`, `may_remove` and
        `may_rename`, each "admins" or "members". Raises NotAMember, NotAdmin or BadArgument."""
        with self._unit() as unit:
            self._conversations.wishes.set_roles(unit, self.gid, roles)

    def leave_and_block(self) -> Contact:
        """Leave a group, and block the person who added us to it; returns that contact. Raises
        NotAMember, OutOfStep, or BadArgument if nobody has added us."""
        with self._unit() as unit:
            by = self._conversations.wishes.leave_and_block(unit, self.gid)
        return next(one for one in self._reading.contacts() if one.identity == by)

    def leave(self) -> None:
        """Leave the conversation. Raises NotAMember."""
        with self._unit() as unit:
            self._conversations.wishes.leave(unit, self.gid)

    def rejoin(self, helper: str) -> None:
        """Join a group again with the help of a contact. The person decides this, after a look at
        the differences (`rejoinable`). Raises UnknownHelp or UnknownContact."""
        identity = self._reading.member(self.gid, helper)
        with self._unit() as unit:
            self._comebacks.accept(unit, self.gid, identity)
        self._begin_due()

    def messages(self, *, after: int = 0) -> list[Message]:
        """The texts of the conversation in its order, from rows above `after` only."""
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
        """The line of the conversation in the list. Raises UnknownConversation, also for one that
        we have left and cleared."""
        return self._reading.summary(self.gid)

    def mark_read(self) -> None:
        """Mark everything kept so far as read."""
        with self._unit() as unit:
            self._conversations.saying.mark_read(unit, self.gid)
