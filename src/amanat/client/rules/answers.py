"""Help: the requests of a member who is out of step, and the answers of contacts."""

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
"""The latest epochs that a request names. Of earlier ones it names ever fewer, so that all fit a
small cell."""
MAX_EPOCHS = 64
"""The most epochs in a request."""
MAX_COMMITS = 256
"""The most Commits in an answer."""
ASKED_VOTES = 64
"""The most votes in a request: a cell of 16 KiB holds them."""


class Ask(codec.Record, frozen=True):
    """A request to say where this group is and how it came there."""

    group: Id
    nonce: Id
    """The name of the answer."""
    epochs: Annotated[list[Epoch], msgspec.Meta(max_length=MAX_EPOCHS)]
    """Some of the epochs that the asker was in, the latest first."""
    is_lost: bool
    """Whether the asker has to join again, wherever the group is."""
    votes: Annotated[list[Vote], msgspec.Meta(max_length=ASKED_VOTES)]


class Answer(codec.Record, frozen=True):
    """An answer that says where the helper is."""

    at: Epoch
    file: FileRef | None
    """The help; None if there is nothing that the asker does not know."""


class Help(codec.Record, frozen=True):
    """The Commits by which the group came to where it is, and everything needed to join it; the
    content of a file."""

    since: Epoch | None
    """The epoch that the first of the Commits has ended, one of those that the asker has named;
    None if the helper knows none of them."""
    commits: Annotated[list[bytes], msgspec.Meta(max_length=MAX_COMMITS)]
    group_info: Annotated[bytes, msgspec.Meta(max_length=MAX_BLOB_BYTES)]
    tree: Annotated[bytes, msgspec.Meta(max_length=MAX_BLOB_BYTES)]
    secret: Key
    """The secret of the epoch drop to which a Commit goes."""
    clock: Count
    """The Lamport clock, so that the next texts stand after those said meanwhile."""
    judged: Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
    """The seq up to which the epoch drop holds no valid Commit."""
    votes: Annotated[list[Vote], msgspec.Meta(max_length=MAX_VOTES)]


LOOK = bytes(16)
"""The nonce of a member who asks for nothing more, because their Commit is in the drop."""

_asks = codec.decoder_of(Ask)
_answers = codec.decoder_of(Answer)
_helps = codec.decoder_of(Help)


def decode_ask(data: bytes) -> Ask:
    """Decode a contact's request for help. Raises InvalidMessage."""
    return codec.decode(_asks, data, InvalidMessage)


def decode_answer(data: bytes) -> Answer:
    """Decode a contact's answer. Raises InvalidMessage."""
    return codec.decode(_answers, data, InvalidMessage)


def decode_help(data: bytes) -> Help:
    """Decode the content of a file of help. Raises InvalidMessage."""
    return codec.decode(_helps, data, InvalidMessage)


def some(epochs: Sequence[Epoch]) -> list[Epoch]:
    """A selection from the epochs that we were in, the latest first: the last few, and ever fewer
    of those before."""
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
