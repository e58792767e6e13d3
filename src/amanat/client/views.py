"""What programs get of a person's conversations, as records; `as_json` is what commands print."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from amanat.client.transcript import Position


class Quote(NamedTuple):
    """What a text answers. `sender` and `text` are empty where it is not here, or not yet; `text`
    alone where it was deleted."""

    id: str
    sender: str
    text: str


class Message(NamedTuple):
    """A text of a conversation. Times are Unix milliseconds, by the sender's clock and by ours.

    `id` is the same for everybody: 32 hex digits. `state` of an own message: `waiting` (it is said
    once the conversation is in step again), `queued`, `sent` (a relay has it), `delivered`
    (everyone has it) or `undelivered` (not everyone has it, and it is said no more). `text` is
    empty once its author has deleted it. `reactions` are by name. `expires_at` is None for a text
    that stays; of an unread one it is the latest. `position` is where it stands in its
    conversation.
    """

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
    state: str
    position: Position

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
    state: str
    is_verified: bool
    is_blocked: bool
    last: Message | None
    unread: int
    draft: str
    draft_reply_to: str
    pinned_at: int | None
    muted_until: int | None
    is_archived: bool


class Found(NamedTuple):
    """A message that holds the words searched for, and where: from which character on up to before
    which one, of its text."""

    message: Message
    marks: list[tuple[int, int]]
