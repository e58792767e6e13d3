"""Help: what a member who is out of step asks of contacts, and what they answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from amanat import mls
from amanat.errors import InvalidMessage
from amanat.protocol import codec
from amanat.protocol.identity import Key, check_credential
from amanat.protocol.messages import (
    MAX_BLOB_BYTES,
    MAX_VOTES,
    Count,
    Epoch,
    FileRef,
    Id,
    Vote,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

NAMED_EPOCHS = 16
"""Latest epochs that who asks names; of those before, ever fewer, so that all fit a small cell."""
MAX_EPOCHS = 64
"""Most epochs in an asking."""
MAX_COMMITS = 256
"""Most Commits in an answer."""
ASKED_VOTES = 64
"""Most votes in an asking: a cell of 16 KiB holds them."""


class Ask(codec.Record, frozen=True):
    """Please tell me where this group is and how it came there."""

    group: Id
    nonce: Id
    """Names the answer."""
    epochs: Annotated[list[Epoch], msgspec.Meta(max_length=MAX_EPOCHS)]
    """Of those the asker was in, the latest first."""
    is_lost: bool
    """Whether the asker has to join again, wherever the group is."""
    votes: Annotated[list[Vote], msgspec.Meta(max_length=ASKED_VOTES)]


class Answer(codec.Record, frozen=True):
    """Where the helper is."""

    at: Epoch
    file: FileRef | None
    """Help; without it, there is nothing that the asker does not know."""


class Help(codec.Record, frozen=True):
    """How the group came to where it is, and what is needed to join it; the content of a file."""

    since: Epoch | None
    """The epoch that the first of the Commits has ended, which the asker has named; none where the
    helper knows of none of these."""
    commits: Annotated[list[bytes], msgspec.Meta(max_length=MAX_COMMITS)]
    group_info: Annotated[bytes, msgspec.Meta(max_length=MAX_BLOB_BYTES)]
    tree: Annotated[bytes, msgspec.Meta(max_length=MAX_BLOB_BYTES)]
    secret: Key
    """Of the epoch drop that a Commit goes to."""
    clock: Count
    """So that what is said next stands behind what was said meanwhile."""
    judged: Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
    """Up to this seq the epoch drop holds no valid Commit."""
    votes: Annotated[list[Vote], msgspec.Meta(max_length=MAX_VOTES)]


LOOK = bytes(16)
"""The nonce of who asks for nothing more: our Commit is in the drop."""

_asks = codec.decoder_of(Ask)
_answers = codec.decoder_of(Answer)
_helps = codec.decoder_of(Help)


def decode_ask(data: bytes) -> Ask:
    """What a contact asks of us. Raises InvalidMessage."""
    return codec.decode(_asks, data, InvalidMessage)


def decode_answer(data: bytes) -> Answer:
    """What a contact answers. Raises InvalidMessage."""
    return codec.decode(_answers, data, InvalidMessage)


def decode_help(data: bytes) -> Help:
    """The content of a file of help. Raises InvalidMessage."""
    return codec.decode(_helps, data, InvalidMessage)


def some(epochs: Sequence[Epoch]) -> list[Epoch]:
    """Of the epochs we were in, the latest first, the last few and ever fewer of those before."""
    kept, distance = list(epochs[:NAMED_EPOCHS]), NAMED_EPOCHS
    while distance < len(epochs) and len(kept) < MAX_EPOCHS:
        kept.append(epochs[distance])
        distance += max(1, distance // 4)
    return kept


def end_of(gid: bytes, help_: Help) -> tuple[mls.LineageView, bytes]:
    """The state that help offers, and the identity that has signed it. Raises InvalidWelcome or
    InvalidMessage."""
    lineage, leaf = mls.Lineage.begin(help_.group_info, help_.tree)
    view = lineage.view()
    member = next((m for m in view.members if m.leaf_index == leaf), None)
    if view.gid != gid or member is None:
        raise InvalidMessage
    return view, check_credential(member.credential, signer=member.signer).identity
