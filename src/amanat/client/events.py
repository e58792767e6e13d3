"""Events: everything that a person is told when a unit of work has committed."""

from __future__ import annotations

from typing import NamedTuple


class TextArrived(NamedTuple):
    """A text was kept, of somebody else's or of our own."""

    gid: bytes
    row: int


class MessageChanged(NamedTuple):
    """A message was edited or deleted, by us too, got a reaction, or was deleted here alone or has
    expired (its row is gone then)."""

    gid: bytes
    row: int


class Joined(NamedTuple):
    """We are a member of a conversation now."""

    gid: bytes


class Offered(NamedTuple):
    """A contact asks us to join a group, and waits for the person's answer."""

    gid: bytes
    by: bytes


class Knocked(NamedTuple):
    """Somebody has knocked on the invite with this id and waits for the person's answer, or waits
    no longer."""

    invite: str


class GroupChanged(NamedTuple):
    """A Commit changed the members or the policy of a group."""

    gid: bytes


class Removed(NamedTuple):
    """We are no longer a member."""

    gid: bytes


class Warned(NamedTuple):
    """The person has to know about a fault."""

    gid: bytes | None
    code: str
    detail: str


class StateChanged(NamedTuple):
    """Our texts in a conversation have got further: relays have them, or everybody has."""

    gid: bytes


class SummaryChanged(NamedTuple):
    """The person has begun a conversation, has said something in it, has read on, or has arranged
    it in another way (including drafts). This tells other programs that show it."""

    gid: bytes


class PersonChanged(NamedTuple):
    """A contact is new, verified or blocked, or no longer so; or somebody, perhaps ourselves, has
    another name."""

    identity: bytes


class StatusChanged(NamedTuple):
    """A relay is away, or is there again; or something else opens the profile from now on."""


class TransferChanged(NamedTuple):
    """A file on its way has begun, got further, was paused or failed, or has come; this is the id
    of its transfer."""

    gid: bytes
    transfer: int


Event = (
    TextArrived
    | MessageChanged
    | Joined
    | Offered
    | Knocked
    | GroupChanged
    | Removed
    | Warned
    | StateChanged
    | SummaryChanged
    | PersonChanged
    | StatusChanged
    | TransferChanged
)
"""Any of these events."""
