"""What is decided for each kind of message and of pair cell: a row for a kind, and nothing by
default.

A kind without a row stops the import of this module. docs/protocol.md, section 8, says what
each kind is, and docs/adding.md how another one is added.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from amanat.protocol import messages
from amanat.protocol.labels import Lane
from amanat.protocol.messages import CellKind, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from amanat.protocol import codec


class Scope(Enum):
    """The conversations in which a kind is heard; in any other it is ignored."""

    EVERYWHERE = auto()
    DIRECT = auto()
    """In 1:1 conversations."""
    LARGE = auto()
    """In groups without pair chains: elsewhere a pair cell carries the same."""


class Right(Enum):
    """What a sender needs for a kind to count."""

    NONE = auto()
    """Nothing but membership."""
    AUTHOR = auto()
    """They wrote the text that it is about: the history judges that, once it has the text."""
    RENAME = auto()
    """In a group the right to rename it; in a 1:1 conversation nothing."""


class Blocked(Enum):
    """What becomes of a kind that comes from somebody whom we have blocked."""

    COUNTS = auto()
    """The same as from anybody else."""
    NOT_KEPT = auto()
    """The history keeps nothing of it, in groups neither."""
    NO_ANSWER = auto()
    """It is ignored in our 1:1 conversation, so that nothing answers it."""


class Retention(Enum):
    """What its sender keeps an envelope for."""

    QUIET = auto()
    """To repair it alone: that somebody has not got it causes no heartbeat."""
    REPAIR = auto()
    """To repair it, and heartbeats tell of it."""
    AGAIN = auto()
    """The same, and it is said again when our count begins anew. What a person said is such a
    kind; everything else is made anew where it is needed."""


class Row(NamedTuple):
    """What is decided for one kind."""

    record: type[codec.Record] | None
    """What its body is; None where the body is empty."""
    is_held: bool
    """Whether it has words of people, and so rests at its sender's home where they hold theirs."""
    is_confirmed: bool
    """Whether a receipt is owed for it."""
    retention: Retention
    scope: Scope
    right: Right
    blocked: Blocked


class CellRow(NamedTuple):
    """What is decided for one kind of pair cell."""

    record: type[codec.Record] | None
    """What it carries; None for an MLS message, and for nothing."""
    lane: Lane
    """By which of two chains it goes; what comes by the other is none of this kind."""
    may_be_held: bool
    """Whether a notice (Held) may stand for it: it rests at its sender's home then."""
    counts_late: bool
    """Whether it counts where it came by a chain that has ended: whoever has copied a vault before
    then can have made it, if nothing but the chain vouches for it."""


_K = TypeVar("_K", Kind, CellKind)
_R = TypeVar("_R")


def known(kind: int) -> Kind | None:
    """The kind of that number; None where only a later version knows it."""
    try:
        return Kind(kind)
    except ValueError:
        return None


def known_cell(kind: int) -> CellKind | None:
    """The kind of pair cell of that number; None where only a later version knows it."""
    try:
        return CellKind(kind)
    except ValueError:
        return None


def lane_of(kind: int) -> Lane:
    """The lane by which cells of a kind go. Those of a later version go by that of words."""
    ours = known_cell(kind)
    return Lane.WORDS if ours is None else CELL_KINDS[ours].lane


def complete(kinds: type[_K], rows: Mapping[_K, _R]) -> Mapping[_K, _R]:
    """The rows as they are.

    Raises TypeError where a kind has none.
    """
    missing = ", ".join(kind.name for kind in kinds if kind not in rows)
    if missing:
        raise TypeError(f"there is no row for {kinds.__name__} {missing}")
    return rows


KINDS: Mapping[Kind, Row] = complete(
    Kind,
    {
        Kind.TEXT: Row(
            record=messages.Text,
            is_held=True,
            is_confirmed=True,
            retention=Retention.AGAIN,
            scope=Scope.EVERYWHERE,
            right=Right.NONE,
            blocked=Blocked.NOT_KEPT,
        ),
        Kind.RECEIPT: Row(
            record=None,
            is_held=False,
            is_confirmed=False,
            retention=Retention.QUIET,
            scope=Scope.EVERYWHERE,
            right=Right.NONE,
            blocked=Blocked.COUNTS,
        ),
        Kind.KEY_PACKAGES: Row(
            record=messages.KeyPackages,
            is_held=False,
            is_confirmed=True,
            retention=Retention.REPAIR,
            scope=Scope.DIRECT,
            right=Right.NONE,
            blocked=Blocked.COUNTS,
        ),
        Kind.KEY_PACKAGES_WANTED: Row(
            record=messages.KeyPackagesWanted,
            is_held=False,
            is_confirmed=True,
            retention=Retention.REPAIR,
            scope=Scope.DIRECT,
            right=Right.NONE,
            blocked=Blocked.NO_ANSWER,
        ),
        Kind.WELCOME: Row(
            record=messages.WelcomeRef,
            is_held=False,
            is_confirmed=True,
            retention=Retention.AGAIN,
            scope=Scope.DIRECT,
            right=Right.NONE,
            blocked=Blocked.NO_ANSWER,
        ),
        Kind.LEAVE: Row(
            record=messages.Leave,
            is_held=False,
            is_confirmed=True,
            retention=Retention.REPAIR,
            scope=Scope.EVERYWHERE,
            right=Right.NONE,
            blocked=Blocked.COUNTS,
        ),
        Kind.EDIT: Row(
            record=messages.Edit,
            is_held=True,
            is_confirmed=True,
            retention=Retention.AGAIN,
            scope=Scope.EVERYWHERE,
            right=Right.AUTHOR,
            blocked=Blocked.NOT_KEPT,
        ),
        Kind.REACTION: Row(
            record=messages.Reaction,
            is_held=True,
            is_confirmed=True,
            retention=Retention.AGAIN,
            scope=Scope.EVERYWHERE,
            right=Right.NONE,
            blocked=Blocked.NOT_KEPT,
        ),
        Kind.DELETE: Row(
            record=messages.Delete,
            is_held=True,
            is_confirmed=True,
            retention=Retention.AGAIN,
            scope=Scope.EVERYWHERE,
            right=Right.AUTHOR,
            blocked=Blocked.COUNTS,
        ),
        Kind.TIMER: Row(
            record=messages.Timer,
            is_held=True,
            is_confirmed=True,
            retention=Retention.AGAIN,
            scope=Scope.EVERYWHERE,
            right=Right.RENAME,
            blocked=Blocked.NO_ANSWER,
        ),
        Kind.HEARTBEAT: Row(
            record=None,
            is_held=False,
            is_confirmed=True,
            retention=Retention.QUIET,
            scope=Scope.EVERYWHERE,
            right=Right.NONE,
            blocked=Blocked.COUNTS,
        ),
        Kind.WANTED: Row(
            record=messages.Wanted,
            is_held=False,
            is_confirmed=True,
            retention=Retention.REPAIR,
            scope=Scope.LARGE,
            right=Right.NONE,
            blocked=Blocked.COUNTS,
        ),
        Kind.REPAIR: Row(
            record=messages.Repair,
            is_held=True,
            is_confirmed=True,
            retention=Retention.REPAIR,
            scope=Scope.LARGE,
            right=Right.NONE,
            blocked=Blocked.COUNTS,
        ),
        Kind.ADDRESSES: Row(
            record=messages.NewAddresses,
            is_held=False,
            is_confirmed=True,
            retention=Retention.REPAIR,
            scope=Scope.EVERYWHERE,
            right=Right.NONE,
            blocked=Blocked.COUNTS,
        ),
        Kind.DECLINED: Row(
            record=messages.Declined,
            is_held=False,
            is_confirmed=True,
            retention=Retention.AGAIN,
            scope=Scope.DIRECT,
            right=Right.NONE,
            blocked=Blocked.COUNTS,
        ),
        Kind.VOTES: Row(
            record=messages.Votes,
            is_held=False,
            is_confirmed=True,
            retention=Retention.REPAIR,
            scope=Scope.EVERYWHERE,
            right=Right.NONE,
            blocked=Blocked.COUNTS,
        ),
    },
)
"""The row of each kind."""

CELL_KINDS: Mapping[CellKind, CellRow] = complete(
    CellKind,
    {
        CellKind.MLS: CellRow(record=None, lane=Lane.WORDS, may_be_held=True, counts_late=True),
        CellKind.NOTICE: CellRow(record=None, lane=Lane.CALLS, may_be_held=False, counts_late=True),
        CellKind.WANTED: CellRow(
            record=messages.Wanted, lane=Lane.WORDS, may_be_held=False, counts_late=True
        ),
        CellKind.REPAIR: CellRow(
            record=messages.Repair, lane=Lane.WORDS, may_be_held=True, counts_late=False
        ),
        CellKind.HELD: CellRow(
            record=messages.Held, lane=Lane.WORDS, may_be_held=False, counts_late=True
        ),
    },
)
"""The row of each kind of pair cell. There is nothing of what is said in those that go by the lane
of calls: whoever has ever copied a vault can read it, and write in it."""
