"""What programs get of a person's conversations, contacts and relays, as records.

`as_json` is what commands print.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from amanat.client.state import State
from amanat.protocol.days import date_of

if TYPE_CHECKING:
    from amanat.client.holding import By, Outbound
    from amanat.client.routes import Means
    from amanat.client.sdk.writing import Writing
    from amanat.client.transcript import Position, Progress


class Quote(NamedTuple):
    """What a text answers. `sender` and `text` are empty where it is not here, or not yet; `text`
    alone where it was deleted."""

    id: str
    sender: str
    text: str


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A text of a conversation. Times are Unix milliseconds, by the sender's clock and by ours.

    `id` is the same for everybody: 32 hex digits. `state` of one of ours: `waiting` (it is said
    once the conversation is in step again), `queued`, `sent` (a relay has it), `delivered`
    (everyone has it) or `undelivered` (not everyone has it, and it is no longer said). `text` is
    empty once its author has deleted it. `reactions` are by name. `expires_at` is None for a text
    that stays; of an unread one it is the latest. `position` is where it stands in its
    conversation.
    """

    # A Struct, and no dataclass: a list of all conversations makes one for each, and making a
    # frozen dataclass takes three times as long.
    row: int
    gid: bytes
    id: str
    sender: str
    is_own: bool
    text: str
    reply_to: Quote | None
    is_edited: bool
    is_deleted: bool
    reactions: dict[str, str]
    sent_at: int
    kept_at: int
    expires_at: int | None
    state: Progress
    position: Position
    writing: Writing
    """What carries out what is done with it."""

    def reply(self, text: str) -> int:
        """Answer it in its conversation; the row of the answer. Raises like `Chat.send`."""
        return self.writing.send(self.gid, text, reply_to=self.id)

    def react(self, emoji: str) -> None:
        """React to it, instead of how we did before; an empty `emoji` takes that back. Raises
        BadArgument, and like `Chat.send`."""
        self.writing.react(self.gid, self.id, emoji)

    def edit(self, text: str) -> None:
        """Give it other words, if it is ours. Raises like `Chat.send`, and NotYours."""
        self.writing.edit(self.gid, self.id, text)

    def delete(self, *, for_everyone: bool = True) -> None:
        """Delete it for everyone, if it is ours, or from this vault alone. Raises like
        `Chat.send`, and NotYours."""
        self.writing.delete(self.gid, [self.id], for_everyone=for_everyone)

    def seen(self) -> None:
        """It, and what came before it to its conversation, was shown to the person."""
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
            "deleted": self.is_deleted,
            "reactions": self.reactions,
            "sent_at": self.sent_at,
            "kept_at": self.kept_at,
            "expires_at": self.expires_at,
            "state": self.state,
        }


class Stretch(NamedTuple):
    """Messages that stand beside each other in a conversation, in its order; how many stand before
    the first of them, and how many there are."""

    messages: list[Message]
    before: int
    total: int

    def as_json(self) -> dict[str, object]:
        """The same for a page."""
        messages = [message.as_json() for message in self.messages]
        return {"messages": messages, "before": self.before, "total": self.total}


class Summary(NamedTuple):
    """A conversation in a list of all. Times are Unix milliseconds.

    `last` is the message that stands last. `unread` counts what others have said since the read
    mark, up to desk.MAX_UNREAD. `draft`, `pinned_at`, `muted_until` and `is_archived` are of this
    vault alone; `draft_reply_to` is the id of what the draft answers, or empty. `is_verified` and
    `is_blocked` are about the contact of a conversation of two.
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

    def as_json(self) -> dict[str, object]:
        """The same for a page: without the gid, and with the message as it prints itself."""
        value = self._asdict() | {"last": None if self.last is None else self.last.as_json()}
        del value["gid"]
        return value


class Found(NamedTuple):
    """A message that holds the words searched for, and where: from which character on up to before
    which one, of its text."""

    message: Message
    marks: list[tuple[int, int]]

    def as_json(self) -> dict[str, object]:
        """The fields of the message, and the marks."""
        return self.message.as_json() | {"marks": self.marks}


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """A person we can write to. `id` is 8 hex digits for where a name is ambiguous, `conversation`
    the gid of our conversation of two."""

    id: str
    name: str
    identity: bytes
    conversation: bytes
    is_verified: bool
    is_blocked: bool
    writing: Writing
    """What carries out what is done with them."""

    def send(self, text: str) -> int:
        """Say a text to them alone; its row. Raises like `Chat.send`."""
        return self.writing.send(self.conversation, text)

    @property
    def safety_number(self) -> str:
        """The number to compare with them."""
        return self.writing.safety_number(self.identity)

    def set_verified(self, *, is_verified: bool = True) -> None:
        """Keep that the safety number was compared."""
        self.writing.set_verified(self.identity, is_verified=is_verified)

    def block(self) -> None:
        """Keep and show nothing more of what they say, in groups neither, and tell them nothing:
        no receipts, no way into a group."""
        self.writing.set_blocked(self.identity, is_blocked=True)

    def unblock(self) -> None:
        """Hear them again from now on."""
        self.writing.set_blocked(self.identity, is_blocked=False)

    def as_json(self) -> dict[str, object]:
        """The fields that commands print."""
        return {
            "name": self.name,
            "id": self.id,
            "verified": self.is_verified,
            "blocked": self.is_blocked,
        }


class OpenInvite(NamedTuple):
    """An invite that can still be used. `id` is 8 hex digits; times are Unix milliseconds. On one
    that `is_lost` nobody can knock: all relays it names are gone."""

    id: str
    made_at: int
    expires_at: int
    is_lost: bool

    def as_json(self) -> dict[str, object]:
        """The fields that commands print: all of them."""
        return self._asdict()


class UnprovenView(NamedTuple):
    """A state of a group that a contact helps with, and what differs from the last one we know.

    `helper` helps with it and `signer` has signed it. All else is names of people, and the group's,
    if it is another.
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

    What is said to us rests in `inbound_region`, what we say in `outbound_regions`, and who is in
    it is decided in `region`, at `relay`. `outbound` is "hold" where something of what we say rests
    at our own home and is fetched, else "deposit": it rests where the others are at home;
    `outbound_why` says why. `held_by` are those who hold what they say: that rests at their home.
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
    """The life of new texts, in seconds; 0: for ever."""
    hidden: int
    """How many texts of people we have blocked were not kept."""
    added_by: str
    """Who has added us to a group; empty if nobody has."""

    def rest_as_json(self) -> dict[str, object]:
        """Where its data rests, as commands print it."""
        return {
            "region": self.region,
            "inbound_region": self.inbound_region,
            "outbound_regions": self.outbound_regions,
            "outbound": self.outbound,
            "outbound_why": self.outbound_why,
            "held_by": self.held_by,
        }

    def as_json(self) -> dict[str, object]:
        """The fields that commands print of a group."""
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
    def is_live(self) -> bool:
        """Whether we are a member, and mean to stay."""
        return self.state is State.ACTIVE


class GroupOffer(NamedTuple):
    """A group that a contact asks us into. `name` is what they call it, `by_name` what we call
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


class Missing(NamedTuple):
    """Messages of somebody that exist and have not arrived; they were or will be asked for."""

    conversation: str
    sender: str
    many: int

    def as_json(self) -> dict[str, object]:
        """The fields that commands print: all of them."""
        return self._asdict()


class Former(NamedTuple):
    """A home that was left and is still read, for those who do not know yet. `left_at` is in Unix
    milliseconds."""

    relay: str
    region: str
    left_at: int
    is_away: bool

    def as_json(self) -> dict[str, object]:
        """The fields that commands print: all of them."""
        return self._asdict()


class Announced(NamedTuple):
    """A move that a relay of ours has announced. Days are UTC days since 1970; who has left by
    `decide_by` has nothing left there when it begins on day `on`."""

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
    """Something the person has to know of, and how many times it was so since they have seen it,
    the last time `at` (Unix milliseconds).

    `conversation` is its name, `whom` what the person or the relay is called whom it is about;
    both are empty where there is none.
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
    "left_behind",
    "lost_invites",
    "lost_knocks",
    "former",
    "moves",
)
"""The fields of a status that say where data rests."""
WAYS = ("transport", "means", "hop", "is_hop_away", "why", "exposed", "period")
"""Those that say by which ways requests go."""


class Status(NamedTuple):
    """Where things stand. `away` are the relays that cannot be reached just now; `place` and
    `fallback_place` where ours are reached, nothing where they are not, or by way of a hop only.

    `operator` is who runs a relay, as it says: the law it is under is that of its region.
    `allowed_regions` is None where any will do. `outbound` is "hold" where what we say to people of
    other regions rests at our home and is fetched there, else "deposit"; `outbound_by` says who
    wants it held, "person" or "relay", else nothing. `unaware` are people who were told where we
    are and have not been seen to know; `left_behind` the conversations whose changes of members are
    decided at a relay we have left. `lost_invites` tells when the open invites were made on which
    nobody can knock, for all relays they name are gone; `lost_knocks` whose answer to our knock
    cannot reach us.

    `transport` is "direct", "hopped" or "covered", for the home relay; `means` says what that is,
    `hop` is the hop, `why` the reason if there is none; while `is_hop_away` requests wait. `period`
    is how often a cell leaves, in seconds, 0 where they leave at once. `exposed` are our relays
    that see the network address just now all the same.
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
    missing: list[Missing]
    outbox: int
    contacts: int
    conversations: int
    warnings: list[WarningView]

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
        """Where the data of a person rests, as commands print it."""
        value = self.as_json()
        return {key: value[key] for key in REST}

    def ways_as_json(self) -> dict[str, object]:
        """By which ways requests go, as commands print it."""
        value = self.as_json()
        return {key: value[key] for key in WAYS}
