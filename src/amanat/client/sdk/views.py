"""Records of a person's conversations, contacts and relays, as programs get them.

`as_json` is what commands print.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from amanat.client.state import State
from amanat.protocol.days import date_of

if TYPE_CHECKING:
    from amanat.client.holding import By, Outbound
    from amanat.client.routes import Means
    from amanat.client.sdk.files import FileView
    from amanat.client.sdk.writing import Writing
    from amanat.client.transcript import Position, Progress


class Quote(NamedTuple):
    """The text that another text answers. `sender` and `text` are empty while it is not here;
    `text` alone is empty once it was deleted."""

    id: str
    sender: str
    text: str


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A text of a conversation. Times are Unix milliseconds, by the sender's clock and by ours.

    `id` is the same for everybody: 32 hex digits. `state` of a text of ours: `waiting` (it leaves
    once the conversation is in step again), `queued`, `sent` (a relay has it), `delivered`
    (everyone has it), `undelivered` (not everyone has it, and the client no longer sends it) or
    `kept` (a note to ourselves, which stays in this vault).
    `text` is empty once its author has deleted it. `reactions` are by name. `expires_at` is None
    for a text that stays, and the latest possible time for an unread one. `position` is its place
    in its conversation. Of a text that `is_forwarded` the sender says that the words are somebody
    else's; nobody vouches for that. `read_by` are the names of those who say that they have read a
    text of ours, and `read_of` is the number of people it was for; empty and 0 where nobody is told
    such things. `file` is None unless the message is a file; its `text` are the words beside it.
    """

    # A Struct, as Summary is: a list of all conversations makes one of each for each of them.
    # Making a frozen dataclass takes three times as long, a NamedTuple with names five times.
    row: int
    gid: bytes
    id: str
    sender: str
    is_own: bool
    text: str
    reply_to: Quote | None
    is_edited: bool
    is_forwarded: bool
    is_deleted: bool
    reactions: dict[str, str]
    sent_at: int
    kept_at: int
    expires_at: int | None
    state: Progress
    read_by: list[str]
    read_of: int
    position: Position
    file: FileView | None
    writing: Writing
    """The object that carries out the methods below."""

    def reply(self, text: str) -> int:
        """Answer it in its conversation; returns the row of the answer. Raises like `Chat.send`."""
        return self.writing.send(self.gid, text, reply_to=self.id)

    def react(self, emoji: str) -> None:
        """React to it, in place of our earlier reaction; an empty `emoji` takes that back. Raises
        BadArgument, and like `Chat.send`."""
        self.writing.react(self.gid, self.id, emoji)

    def edit(self, text: str) -> None:
        """Replace its words, if it is ours. Raises like `Chat.send`, and NotYours."""
        self.writing.edit(self.gid, self.id, text)

    def delete(self, *, for_everyone: bool = True) -> None:
        """Delete it for everyone, if it is ours, or from this vault alone. Raises like
        `Chat.send`, and NotYours."""
        self.writing.delete(self.gid, [self.id], for_everyone=for_everyone)

    def forward(self, to: bytes) -> int:
        """Say its words in the conversation with the gid `to`; returns the row there. Raises like
        `Chat.forward`."""
        return self.writing.forward(self.gid, self.id, to)

    def seen(self) -> None:
        """Mark it, and everything before it in its conversation, as shown to the person."""
        self.writing.seen(self.gid, self.row)

    def as_json(self) -> dict[str, object]:
        """The fields that commands print."""
        return {
            "id": self.id,
            "sender": self.sender,
            "own": self.is_own,
            "text": self.text,
            "reply_to": None if self.reply_to is None else self.reply_to.id,
            "edited": self.is_edited,
            "forwarded": self.is_forwarded,
            "deleted": self.is_deleted,
            "reactions": self.reactions,
            "sent_at": self.sent_at,
            "kept_at": self.kept_at,
            "expires_at": self.expires_at,
            "state": self.state,
            "read_by": self.read_by,
            "read_of": self.read_of,
            "file": None if self.file is None else self.file.as_json(),
        }


class Stretch(NamedTuple):
    """Consecutive messages of a conversation, in its order, with the number of messages before the
    first of them, the number of all, and the row of the one that arrived last (0 if there is
    none)."""

    messages: list[Message]
    before: int
    total: int
    newest: int

    def as_json(self) -> dict[str, object]:
        """The same for a page, as JSON."""
        messages = [message.as_json() for message in self.messages]
        return {"messages": messages, "before": self.before, "total": self.total}


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation in a list of all. Times are Unix milliseconds.

    `last` is the last message in order. `unread` counts the texts of others since the read mark, up
    to desk.MAX_UNREAD. `draft`, `pinned_at`, `muted_until` and `is_archived` are known to this
    vault alone; `draft_reply_to` is the id of the text that the draft answers, or empty.
    `is_verified` and `is_blocked` are about the contact in a conversation of two.
    """

    gid: bytes
    id: str
    name: str
    is_direct: bool
    state: State
    is_verified: bool
    is_blocked: bool
    last: Message | None
    unread: int
    draft: str
    draft_reply_to: str
    pinned_at: int | None
    muted_until: int | None
    is_archived: bool

    @property
    def is_notes(self) -> bool:
        """Whether these are our notes to ourselves."""
        return self.state is State.NOTES

    def as_json(self) -> dict[str, object]:
        """The same for a page, without the gid and with the message in its own JSON form."""
        value = msgspec.structs.asdict(self)
        value["last"] = None if self.last is None else self.last.as_json()
        del value["gid"]
        return value


class Found(NamedTuple):
    """A message that holds the words searched for, and their positions in its text: the first
    character of each mark, and the one after its last."""

    message: Message
    marks: list[tuple[int, int]]

    def as_json(self) -> dict[str, object]:
        """The fields of the message, and the marks."""
        return self.message.as_json() | {"marks": self.marks}


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """A person we can write to. `id` is 8 hex digits, for use where a name is ambiguous;
    `conversation` is the gid of our conversation of two."""

    id: str
    name: str
    identity: bytes
    conversation: bytes
    is_verified: bool
    is_blocked: bool
    writing: Writing = field(repr=False, compare=False)
    """The object that carries out the methods below."""

    def send(self, text: str) -> int:
        """Say a text to them alone; returns its row. Raises like `Chat.send`."""
        return self.writing.send(self.conversation, text)

    @property
    def safety_number(self) -> str:
        """The safety number to compare with them."""
        return self.writing.safety_number(self.identity)

    def set_verified(self, *, is_verified: bool = True) -> None:
        """Record whether the safety number was compared."""
        self.writing.set_verified(self.identity, is_verified=is_verified)

    def block(self) -> None:
        """Block them: keep and show nothing that they say from now on, in groups either, and tell
        them nothing. They get no receipts and no help back into a group."""
        self.writing.set_blocked(self.identity, is_blocked=True)

    def unblock(self) -> None:
        """Hear them again from now on."""
        self.writing.set_blocked(self.identity, is_blocked=False)

    def remove(self) -> None:
        """Remove them from the contacts: leave our conversation of two, delete all that was said
        there from this vault, and keep and show nothing more of it. Their client learns that we
        have left, and may keep what it has.

        In common groups they stay members, and blocked if they are. They can write to us again only
        after an invite of ours or theirs has been used. Raises UnknownConversation if they are
        removed already.
        """
        self.writing.remove_contact(self.identity)

    def as_json(self) -> dict[str, object]:
        """The fields that commands print."""
        return {
            "name": self.name,
            "id": self.id,
            "verified": self.is_verified,
            "blocked": self.is_blocked,
        }


class OpenInvite(NamedTuple):
    """An invite that can still be used. `id` is 8 hex digits; times are Unix milliseconds. Nobody
    can knock on an invite that `is_lost`, because all relays that it names are gone."""

    id: str
    made_at: int
    expires_at: int
    is_lost: bool

    def as_json(self) -> dict[str, object]:
        """The fields that commands print: all of them."""
        return self._asdict()


class UnprovenView(NamedTuple):
    """A state of a group into which a contact helps us, and its differences from the last one we
    know.

    `helper` is the contact and `signer` has signed the state. The other fields are names of people,
    and the group's name if it has changed.
    """

    helper: str
    signer: str
    came: list[str]
    went: list[str]
    admins: list[str]
    no_admins: list[str]
    name: str | None

    def as_json(self) -> dict[str, object]:
        """The fields that commands print: all of them."""
        return self._asdict()


class ConversationView(NamedTuple):
    """A conversation as a person sees it. `people` are names.

    Words for us rest in `inbound_region`, our own words in `outbound_regions`, and changes of
    members are decided in `region`, at `relay`. `outbound` is "hold" if any of our words rest at
    our own home until others fetch them, else "deposit": they rest at the homes of the others.
    `outbound_why` gives the reason. `held_by` are the people who hold their words, which rest at
    their homes. Our notes to ourselves rest nowhere but in this vault: their regions are empty, and
    their name is our own.
    """

    id: str
    gid: bytes
    name: str
    is_direct: bool
    state: State
    people: list[str]
    admins: list[str]
    roles: dict[str, str]
    region: str
    inbound_region: str
    outbound_regions: list[str]
    outbound: Outbound
    outbound_why: str
    held_by: list[str]
    relay: str
    epoch: int
    suite: int
    timer: int
    """The life of new texts, in seconds; 0 means for ever."""
    hidden: int
    """The number of texts of blocked people that were not kept."""
    added_by: str
    """The name of the person who added us to a group; empty if nobody has."""

    def rest_as_json(self) -> dict[str, object]:
        """The fields about where its data rests, as commands print them."""
        return {
            "region": self.region,
            "inbound_region": self.inbound_region,
            "outbound_regions": self.outbound_regions,
            "outbound": self.outbound,
            "outbound_why": self.outbound_why,
            "held_by": self.held_by,
        }

    def as_json(self) -> dict[str, object]:
        """The fields of a group that commands print."""
        return {
            "name": self.name,
            "id": self.id,
            "state": self.state,
            "people": self.people,
            "admins": self.admins,
            "roles": self.roles,
            **self.rest_as_json(),
            "epoch": self.epoch,
            "timer": self.timer,
            "hidden": self.hidden,
            "added_by": self.added_by,
        }

    @property
    def is_notes(self) -> bool:
        """Whether these are our notes to ourselves, of which nothing goes to any relay."""
        return self.state is State.NOTES

    @property
    def is_live(self) -> bool:
        """Whether we are a member, and mean to stay."""
        return self.state is State.ACTIVE


class GroupOffer(NamedTuple):
    """A group that a contact asks us to join. `name` is their name for it, `by_name` our name for
    them, `id` 8 hex digits; times are Unix milliseconds."""

    id: str
    gid: bytes
    by: bytes
    name: str
    by_name: str
    asked_at: int
    expires_at: int

    def as_json(self) -> dict[str, object]:
        """The fields that commands print."""
        return {
            "id": self.id,
            "name": self.name,
            "by": self.by_name,
            "asked_at": self.asked_at,
            "expires_at": self.expires_at,
        }


class VisitorView(NamedTuple):
    """Somebody who has knocked on an invite of ours and waits for our answer. `id` is that of the
    invite: 8 hex digits; times are Unix milliseconds.

    `name` is the name under which they would be a contact: the one that they give themselves, with
    a number if it looks like another contact's. They are blocked if we have parted with them while
    they were.
    """

    id: str
    identity: bytes
    name: str
    greeting: str
    is_blocked: bool
    knocked_at: int
    expires_at: int

    def as_json(self) -> dict[str, object]:
        """The fields that commands print."""
        return {
            "id": self.id,
            "name": self.name,
            "greeting": self.greeting,
            "blocked": self.is_blocked,
            "knocked_at": self.knocked_at,
            "expires_at": self.expires_at,
        }


class Missing(NamedTuple):
    """Messages of one sender that exist but have not arrived; the client has asked or will ask for
    them. `gid` is the conversation's key; all that `identity` has sent up to number `upto` is here
    or lost."""

    gid: bytes
    conversation: str
    sender: str
    many: int
    identity: bytes
    upto: int

    def as_json(self) -> dict[str, object]:
        """The fields that commands print: all but the keys and the number."""
        return {"conversation": self.conversation, "sender": self.sender, "many": self.many}


class Former(NamedTuple):
    """A home that the person has left and the client still reads, because not everybody knows yet.
    `left_at` is in Unix milliseconds."""

    relay: str
    region: str
    left_at: int
    is_away: bool

    def as_json(self) -> dict[str, object]:
        """The fields that commands print: all of them."""
        return self._asdict()


class Announced(NamedTuple):
    """A move that a relay of ours has announced. Days are UTC days since 1970. A person who leaves
    by `decide_by` has nothing left there when the move begins on day `on`."""

    relay: str
    to: str
    region: str
    on: int
    decide_by: int
    reason: str
    is_allowed: bool

    def as_json(self) -> dict[str, object]:
        """The fields that commands print, days as dates."""
        return self._asdict() | {"on": date_of(self.on), "decide_by": date_of(self.decide_by)}


class WarningView(NamedTuple):
    """A fault that the person has to know about. It occurred `many` times since the person last
    looked, and last `at` (Unix milliseconds).

    `conversation` and `whom` are the names of the conversation and of the person or relay that it
    is about; each is empty if there is none.
    """

    at: int
    code: str
    detail: str
    conversation: str
    whom: str
    many: int

    def as_json(self) -> dict[str, object]:
        """The fields that commands print: all of them."""
        return self._asdict()


REST = (
    "relay",
    "place",
    "region",
    "operator",
    "fallback",
    "fallback_place",
    "fallback_region",
    "fallback_operator",
    "allowed_regions",
    "is_strict",
    "outbound",
    "outbound_by",
    "unaware",
    "to_tell",
    "left_behind",
    "lost_invites",
    "lost_knocks",
    "former",
    "moves",
)
"""The fields of a status that say where data rests."""
WAYS = (
    "transport",
    "means",
    "hop",
    "is_hop_away",
    "why",
    "exposed",
    "period",
    "proxy",
    "is_proxy_away",
    "is_replaced",
)
"""The fields of a status that say by which ways requests go."""


class Status(NamedTuple):
    """An overview of the client, its relays and its people. `away` are the relays that cannot be
    reached just now. `place` and `fallback_place` are the places where we reach our homes; each is
    empty if we do not reach it, or only through a hop.

    `operator` is the name that a relay gives for its operator; the relay is under the law of its
    region. `allowed_regions` is None if any region will do. `outbound` is "hold" if our words for
    people of other regions rest at our home until they are fetched, else "deposit"; `outbound_by`
    says whether the "person" or the "relay" wants them held, and is empty otherwise. `unaware` are
    people whom we have told where we are but who have not shown that they know, and `to_tell` is
    how many people there were to tell; `left_behind` are the conversations whose changes of members
    are decided at a relay we have left. `lost_invites` are the times at which we made the open
    invites on which nobody can knock, because all relays they name are gone; `lost_knocks` are the
    people whose answer to our knock cannot reach us.

    `transport` is "direct", "hopped" or "covered", for the home relay; `means` explains it, `hop`
    is the hop, and `why` the reason if there is none. While `is_hop_away`, requests wait. `period`
    is how often a cell leaves, in seconds, or 0 if cells leave at once. `exposed` are those of our
    relays that see the network address just now all the same. `proxy` is the address of the proxy
    through which all relays are reached, empty if there is none; they see its network address then.
    While `is_proxy_away`, nothing leaves. `is_replaced` says that this profile was restored
    elsewhere and has lost its place to the restored one, at least in one conversation.
    """

    name: str
    identity: str
    relay: str
    place: str
    region: str
    operator: str
    fallback: str
    fallback_place: str
    fallback_region: str
    fallback_operator: str
    allowed_regions: list[str] | None
    outbound: Outbound
    outbound_by: By
    moves: list[Announced]
    is_strict: bool
    former: list[Former]
    unaware: list[str]
    to_tell: int
    left_behind: list[str]
    lost_invites: list[int]
    lost_knocks: list[str]
    away: list[str]
    transport: Means
    means: str
    hop: str
    is_hop_away: bool
    why: str
    period: int
    exposed: list[str]
    proxy: str
    is_proxy_away: bool
    is_replaced: bool
    missing: list[Missing]
    outbox: int
    contacts: int
    conversations: int
    warnings: list[WarningView]

    @property
    def is_homeless(self) -> bool:
        """Whether no home of the person answers."""
        return {self.relay, self.fallback} - {""} <= {*self.away}

    def as_json(self) -> dict[str, object]:
        """The fields that commands print."""
        return {
            **self._asdict(),
            "former": [one.as_json() for one in self.former],
            "moves": [one.as_json() for one in self.moves],
            "missing": [one.as_json() for one in self.missing],
            "warnings": [one.as_json() for one in self.warnings],
        }

    def rest_as_json(self) -> dict[str, object]:
        """The fields about where the data of a person rests, as commands print them."""
        value = self.as_json()
        return {key: value[key] for key in REST}

    def ways_as_json(self) -> dict[str, object]:
        """The fields about the ways of requests, as commands print them."""
        value = self.as_json()
        return {key: value[key] for key in WAYS}
