"""Reading: the contents of the vault, as programs see them."""

from __future__ import annotations

import functools
import unicodedata
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from amanat.client import rights, search, vault
from amanat.client.desk import Desk
from amanat.client.holding import DEPOSIT, HOLD, By
from amanat.client.people import Known, Names, People
from amanat.client.rules.sent import first_of
from amanat.client.rules.sharing import Shared
from amanat.client.sdk.files import Files
from amanat.client.sdk.views import (
    Contact,
    ConversationView,
    Found,
    Message,
    Missing,
    Quote,
    Stretch,
    Summary,
)
from amanat.client.sdk.writing import Writing
from amanat.client.state import State
from amanat.client.transcript import Progress, Transcript
from amanat.errors import (
    AmbiguousName,
    NotAMember,
    UnknownContact,
    UnknownConversation,
    UsageError,
)
from amanat.protocol.files import decode_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from amanat.client.desk import Line
    from amanat.client.sdk.files import FileView
    from amanat.client.shell.runtime import Runtime
    from amanat.client.transcript import Entry, Scroll
    from amanat.protocol.messages import Policy

T = TypeVar("T")

_A_FILE = "\U0001f4ce"
"""Stands for a file without words where a text answers it: a paper clip."""
_ONLY_HERE = "these are your notes: they stay in this vault, and nothing of them goes to any relay"


class Reading:
    """Reads one vault for its programs, and changes nothing in it."""

    def __init__(self, run: Runtime) -> None:
        parts = run.parts
        self._read = parts.vault.read
        self._me = parts.me
        self._conversations = parts.conversations
        self._history = parts.conversations.history
        self._people = People(parts.vault, self._me)
        self._search = search.Search(parts.vault)
        self._places = parts.places
        self._now = run.now
        self.desk = Desk(parts.vault)
        self.transcript = Transcript(parts.vault, self._me.identity)
        self.writing = Writing(run, self.transcript, self.desk)
        self.files = Files(run)

    def contacts(self) -> list[Contact]:
        """Everyone we can write to, by name."""
        rows = self._read.execute(
            "SELECT name, identity, conversation, verified, blocked FROM contact ORDER BY name"
        ).fetchall()
        return [
            Contact(
                id=vault.fingerprint(identity),
                name=name,
                identity=identity,
                conversation=gid,
                is_verified=bool(verified),
                is_blocked=bool(blocked),
                writing=self.writing,
            )
            for name, identity, gid, verified, blocked in rows
        ]

    def contact(self, name: str) -> Contact:
        """The contact with an id, or with a name that is no id. Raises UnknownContact or
        AmbiguousName."""
        contacts, wanted = self.contacts(), typed(name)
        found = [c for c in contacts if c.id == wanted]
        return pick(found or [c for c in contacts if typed(c.name) == wanted], name, UnknownContact)

    def conversations(self) -> list[ConversationView]:
        """All conversations, groups and 1:1, in the order in which they began, without those that
        were left and deleted."""
        rows = self._read.execute(
            "SELECT c.gid, state FROM conversation AS c LEFT JOIN desk USING (gid)"
            " WHERE is_hidden IS NOT 1 ORDER BY c.rowid"
        ).fetchall()
        return [self._view(gid, State(state)) for gid, state in rows]

    def conversation(self, name: str) -> ConversationView:
        """The conversation with this id or with the contact of this id, else the one with a contact
        of this name, else the group of this name. A group, whatever its name, never catches words
        that are meant for a person, and neither does an earlier conversation with a contact whom we
        have met again. Our notes have no name by which to find them.

        Raises UnknownConversation or AmbiguousName.
        """
        views, wanted = self.conversations(), typed(name)
        contacts = self.contacts()
        people = {c.conversation for c in contacts if c.id == wanted}
        met = {c.conversation for c in contacts if typed(c.name) == wanted}
        named = [c for c in views if not c.is_notes and typed(c.name) == wanted]
        return _first(
            name,
            [c for c in views if c.gid in people],
            [c for c in views if c.id == wanted],
            [c for c in views if c.gid in met],
            named,
        )

    def group(self, name: str) -> ConversationView:
        """The group with an id, or with a name that is no id.

        Raises UnknownConversation, AmbiguousName, or NotAMember for a conversation of two.
        """
        views, wanted = self.conversations(), typed(name)
        groups = [c for c in views if not c.is_direct and not c.is_notes]
        ranks = (
            [c for c in groups if c.id == wanted],
            [c for c in groups if typed(c.name) == wanted],
        )
        if not any(ranks) and self.conversation(name).is_direct:
            raise NotAMember("this is a conversation of two, not a group")
        return _first(name, *ranks)

    def view(self, gid: bytes) -> ConversationView:
        """A conversation by its gid. Raises UnknownConversation."""
        row = self._read.execute("SELECT state FROM conversation WHERE gid = ?", (gid,)).fetchone()
        if row is None:
            raise UnknownConversation
        return self._view(gid, State(row[0]))

    def address(self, relay: bytes) -> str:
        """The address of a relay, as people read it."""
        return str(self._places.address(relay, now=self._now()))

    def _view(self, gid: bytes, state: State) -> ConversationView:
        group = self._conversations.roster.group(gid)
        names = self.names(gid)
        policy = group.policy
        direct = [identity for identity in policy.direct if identity != self._me.identity]
        outbound_regions = self._conversations.roster.outbound_regions(gid)
        is_held = self._conversations.roster.is_held(gid)
        is_notes = state is State.NOTES
        inbound_region = policy.region if group.is_large else self._me.home.region
        return ConversationView(
            id=vault.fingerprint(gid),
            gid=gid,
            name=self.title(policy, names, state),
            is_direct=bool(direct),
            state=state,
            people=sorted(names[identity] for identity in group.identities),
            admins=sorted(names[i] for i in rights.admins(policy, group.people)),
            roles={
                "may_add": policy.may_add,
                "may_remove": policy.may_remove,
                "may_rename": policy.may_rename,
            },
            region="" if is_notes else policy.region,
            inbound_region="" if is_notes else inbound_region,
            outbound_regions=outbound_regions,
            outbound=HOLD if is_held else DEPOSIT,
            outbound_why=_ONLY_HERE
            if is_notes
            else self._why_outbound(outbound_regions, is_held=is_held),
            held_by=sorted(
                names[who] for who in self._conversations.holding.holders(gid) if who in names
            ),
            relay=self.address(policy.relay.key),
            epoch=group.view.epoch,
            suite=group.view.suite,
            timer=self._history.timer(gid),
            hidden=self._history.hidden(gid),
            added_by=names[by] if (by := self._conversations.roster.added_by(gid)) else "",
        )

    def _why_outbound(self, outbound_regions: list[str], *, is_held: bool) -> str:
        """A sentence on where our words in a conversation rest, and why."""
        by = self._conversations.holding.outbound().by
        regions = ", ".join(outbound_regions) or self._me.home.region
        why = {
            By.NOBODY: f"what you say rests with the others, in {regions}",
            By.PERSON: f"you hold what you say: it rests in {regions} only, and is fetched there",
            By.RELAY: f"your relay holds what you say: it rests in {regions} only, and is fetched",
        }[by]
        if by is not By.NOBODY and not is_held:
            why = f"nothing has to be held: all of it rests in {regions} anyway"
        return why

    def names(self, gid: bytes, known: Known | None = None) -> Names:
        """The shown names of a conversation's people, present and past."""
        return self._people.of(gid, self._conversations.roster.group(gid).people, known)

    def title(self, policy: Policy, names: Names, state: State) -> str:
        """The title of a conversation: a group's name, or the other person's name; of our notes our
        own."""
        if state is State.NOTES:
            return names[self._me.identity]
        others = [identity for identity in policy.direct if identity != self._me.identity]
        return names[others[0]] if others else policy.name

    def names_of(self, identities: Iterable[bytes]) -> list[str]:
        """The shown names of people of any of our conversations."""
        wanted, names = set(identities), dict[bytes, str]()
        for view in self.conversations() if wanted else ():
            names |= self.names(view.gid)
        return sorted(names.get(one, vault.fingerprint(one)) for one in wanted)

    def member(self, gid: bytes, person: str) -> bytes:
        """The identity of the member whom the person sees under this name, contact or not."""
        identities = self._conversations.roster.group(gid).identities
        names, wanted = self.names(gid), typed(person)
        found = [i for i in identities if vault.fingerprint(i) == wanted]
        return pick(
            found or [i for i in identities if typed(names[i]) == wanted], person, UnknownContact
        )

    # Messages

    def missing(self, gid: bytes | None = None) -> list[Missing]:
        """The messages that exist but have not arrived, of one conversation or of all."""
        gaps = self._conversations.gaps
        return [
            Missing(
                *(where, self.view(where).name, self.names(where)[identity], count),
                *(identity, gaps.upto(where, identity)),
            )
            for (where, identity), count in gaps.missing(gid).items()
            if not self.desk.is_hidden(where)
        ]

    def shown(self, gid: bytes, entries: Iterable[Entry]) -> list[Message]:
        """Entries of one conversation as a person sees them."""
        names, is_saying = self.names(gid), self._conversations.sent.is_saying(gid)
        readers = self._readers(gid)
        return [self._message(entry, names, readers, is_saying=is_saying) for entry in entries]

    def _readers(self, gid: bytes | None = None) -> Callable[[bytes], Readers]:
        """Gives the others in a conversation, in this one or in any, if its people tell what they
        have read."""
        rules = self._conversations
        are_told = rules.reads.are_told
        came, read = rules.sent.before_they_came(gid), rules.reads.upto(gid)

        @functools.cache
        def of(where: bytes) -> Readers:
            if not are_told or not rules.roster.has_receipts(where):
                return Readers({}, {})
            here = came.get(where, {})
            devices = rules.roster.devices(where).items()
            before = {identity: first_of(theirs, here) for identity, theirs in devices}
            return Readers(before, read.get(where, {}))

        return of

    def _message(
        self,
        entry: Entry,
        names: Names,
        readers: Callable[[bytes], Readers],
        *,
        is_saying: bool,
    ) -> Message:
        is_own = entry.identity == self._me.identity
        read_by, others = readers(entry.gid).of(entry) if is_own else ([], 0)
        quote = entry.quote
        return Message(
            row=entry.row,
            gid=entry.gid,
            id=entry.id.hex(),
            sender=names[entry.identity],
            is_own=is_own,
            text=entry.text or "",
            reply_to=quote
            and Quote(
                id=quote.id.hex(),
                sender=names[quote.identity] if quote.identity else "",
                text=_A_FILE if quote.text == "" else quote.text or "",
            ),
            is_edited=entry.is_edited,
            is_forwarded=entry.is_forwarded,
            is_deleted=entry.text is None,
            reactions={names[identity]: emoji for identity, emoji in entry.reactions.items()},
            sent_at=entry.sent_at,
            kept_at=entry.kept_at,
            expires_at=entry.expires_at,
            state=entry.state(is_saying=is_saying) if is_own else Progress.NOT_OURS,
            read_by=[names[identity] for identity in read_by],
            read_of=others,
            position=entry.position,
            file=self._file(entry),
            writing=self.writing,
        )

    def _file(self, entry: Entry) -> FileView | None:
        if entry.file is None:
            return None
        shared = Shared(
            decode_file(entry.file), entry.is_near, entry.blob, entry.outline, entry.is_played
        )
        return self.files.view(entry.gid, entry.id, shared)

    def messages(self, gid: bytes, *, after: int = 0) -> list[Message]:
        """The texts of a conversation in its order, from rows above `after` only."""
        return self.shown(gid, self.transcript.everything(gid, after=after))

    def history(self, gid: bytes, where: Scroll, *, many: int = 30) -> Stretch:
        """A part of a conversation, at most `many` messages (transcript.MAX_STRETCH).

        Raises UnknownConversation, UnknownMessage, AmbiguousName or BadArgument.
        """
        part = self.transcript.part(gid, where, many=many)
        newest = self.transcript.newest_row(gid)
        return Stretch(self.shown(gid, part.entries), part.before, part.total, newest)

    def search(
        self, words: str, *, gid: bytes | None = None, before: int | None = None, many: int = 50
    ) -> list[Found]:
        """The messages that hold all of these words, of one conversation or of all, the last to
        arrive first. The last word also matches words that begin with it. With `before`, only rows
        below it; at most `many` (search.MAX_FOUND).

        Raises BadArgument if there is no word.
        """
        rows = self._search.find(words, gid=gid, before=before, many=many)
        known, saying = self._people.known(), self._conversations.sent.saying()
        readers = self._readers()
        found = self.transcript.entries(None, [row for _, row in rows])
        found.sort(key=lambda entry: -entry.row)
        return [
            Found(
                self._message(
                    one, self.names(one.gid, known), readers, is_saying=one.gid in saying
                ),
                search.marks(one.text or "", words),
            )
            for one in found
        ]

    def unread(
        self, gid: bytes | None = None, *, everything: bool = False
    ) -> list[tuple[Message, ConversationView]]:
        """The texts that are not marked as read, of one conversation or of all, without our own.

        With `everything`, all texts. Those of each conversation come in its order.
        """
        found: list[tuple[Message, ConversationView]] = []
        for line in self.desk.lines(gid):
            if not (everything or line.unread):
                continue
            view = self._view(line.gid, line.state)
            messages = self.messages(line.gid) if everything else self._unread(line.gid)
            found += [(message, view) for message in messages]
        return found

    def arrivals(self, gid: bytes | None = None) -> list[Message]:
        """The unread texts of others, of one conversation or of all, in the order in which they
        arrived."""
        lines = [line for line in self.desk.lines(gid) if line.unread]
        found = [message for line in lines for message in self._unread(line.gid)]
        return sorted(found, key=lambda message: message.row)

    def _unread(self, gid: bytes) -> list[Message]:
        return self.shown(gid, self.transcript.entries(gid, self.transcript.unread_rows(gid)))

    # The list of conversations

    def summaries(self) -> list[Summary]:
        """The lines of all conversations, in the order in which they began."""
        return self._summaries(self.desk.lines())

    def summary(self, gid: bytes) -> Summary:
        """The line of a conversation. Raises UnknownConversation."""
        return self._summaries([self.desk.line(gid)])[0]

    def _summaries(self, lines: Sequence[Line]) -> list[Summary]:
        known, saying = self._people.known(), self._conversations.sent.saying()
        readers = self._readers()
        rows = [line.last for line in lines if line.last is not None]
        last = {entry.gid: entry for entry in self.transcript.entries(None, rows)}
        found = []
        for line in lines:
            group, entry = self._conversations.roster.group(line.gid), last.get(line.gid)
            names = self._people.of(line.gid, group.people, known)
            found.append(
                Summary(
                    gid=line.gid,
                    id=vault.fingerprint(line.gid),
                    name=self.title(group.policy, names, line.state),
                    is_direct=bool(group.policy.direct),
                    state=line.state,
                    is_verified=line.is_verified,
                    is_blocked=line.is_blocked,
                    last=self._message(entry, names, readers, is_saying=line.gid in saying)
                    if entry
                    else None,
                    unread=line.unread,
                    draft=line.draft,
                    draft_reply_to=line.reply_to.hex() if line.reply_to else "",
                    pinned_at=line.pinned_at,
                    muted_until=line.muted_until,
                    is_archived=line.is_archived,
                )
            )
        return found


class Readers(NamedTuple):
    """The others in a conversation who may have read what we say there, by identity."""

    before: Mapping[bytes, int]
    """How many envelopes we had sent when they came."""
    upto: Mapping[bytes, int]
    """The number up to which they say they have read."""

    def of(self, entry: Entry) -> tuple[list[bytes], int]:
        """Those who say that they have read a text of ours, and the number of those it was for."""
        if entry.is_note or not (entry.is_counted or entry.is_delivered):
            return [], 0  # it has no number that anybody has told of
        others = [one for one, before in self.before.items() if before < entry.seq]
        return [one for one in others if self.upto.get(one, 0) >= entry.seq], len(others)


def typed(name: str) -> str:
    """A name in one form (NFC), however it was typed or copied from the screen, and without the
    marks of isolation that no name holds."""
    return unicodedata.normalize("NFC", name.replace("\u2068", "").replace("\u2069", "").strip())


def _first(name: str, *ranks: list[ConversationView]) -> ConversationView:
    """The conversation in the first of `ranks` that holds any; one that we are in, if there is one.

    Raises UnknownConversation or AmbiguousName.
    """
    found = next((rank for rank in ranks if rank), [])
    return pick([c for c in found if c.is_live] or found, name, UnknownConversation)


def pick(found: list[T], name: str, missing: type[UsageError]) -> T:
    """The only item of `found`. Raises `missing` if there is none, AmbiguousName if there are
    several."""
    if not found:
        raise missing(name)
    if len(found) > 1:
        raise AmbiguousName(name)
    return found[0]
