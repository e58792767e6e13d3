"""The decisions for each kind of message and of pair cell: one row for a kind, and no defaults.

A kind without a row stops the import of this module. docs/protocol.md, section 8, describes each
kind, and docs/adding.md tells how to add another one.
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
    """The conversations in which a kind counts; clients ignore it in any other."""

    EVERYWHERE = auto()
    DIRECT = auto()
    """In 1:1 conversations."""
    LARGE = auto()
    """In groups without pair chains; elsewhere a pair cell carries the same."""


class Right(Enum):
    """The right that a sender needs for a kind to count."""

    NONE = auto()
    """Nothing but membership."""
    AUTHOR = auto()
    """The sender wrote the text that it is about; the history judges that once it has the text."""
    RENAME = auto()
    """The right to rename the group; nothing in a 1:1 conversation."""


class Blocked(Enum):
    """The treatment of a kind from somebody whom we have blocked."""

    COUNTS = auto()
    """It counts as from anybody else."""
    NOT_KEPT = auto()
    """We keep nothing of it, not even in groups."""
    NO_ANSWER = auto()
    """We ignore it in our 1:1 conversation, so that nothing answers it."""


class Retention(Enum):
    """The purpose for which a sender keeps an envelope."""

    QUIET = auto()
    """To repair it only: no heartbeat goes out because somebody lacks it."""
    REPAIR = auto()
    """To repair it; heartbeats go out while somebody lacks it."""
    AGAIN = auto()
    """The same, and to say it again when our count restarts. A person's words are of such a kind;
    the client makes everything else again when it is needed."""


class Row(NamedTuple):
    """The decisions for one kind."""

    record: type[codec.Record] | None
    """The record of its body; None if the body is empty."""
    is_held: bool
    """Whether it has words of people, and so rests at its sender's home if they hold theirs."""
    is_confirmed: bool
    """Whether its reader owes a receipt for it."""
    retention: Retention
    scope: Scope
    right: Right
    blocked: Blocked


class CellRow(NamedTuple):
    """The decisions for one kind of pair cell."""

    record: type[codec.Record] | None
    """The record that it carries; None for an MLS message or an empty payload."""
    lane: Lane
    """The lane by which it goes; a cell that comes by the other lane is not of this kind."""
    may_be_held: bool
    """Whether a notice (Held) may stand for it while it rests at its sender's home."""
    counts_late: bool
    """Whether it counts if it came by a chain that has ended. If only the chain vouches for it,
    anyone who copied a vault before that end can have made it."""


_K = TypeVar("_K", Kind, CellKind)
_R = TypeVar("_R")


def known(kind: int) -> Kind | None:
    """The kind with this number; None if only a later version knows it."""
    try:
        return Kind(kind)
    except ValueError:
        return None


def known_cell(kind: int) -> CellKind | None:
    """The kind of pair cell with this number; None if only a later version knows it."""
    try:
        return CellKind(kind)
    except ValueError:
        return None


def lane_of(kind: int) -> Lane:
    """The lane by which cells of a kind go; the lane of words for kinds of a later version."""
    ours = known_cell(kind)
    return Lane.WORDS if ours is None else CELL_KINDS[ours].lane


def complete(kinds: type[_K], rows: Mapping[_K, _R]) -> Mapping[_K, _R]:
    """The rows, unchanged.

    Raises TypeError if a kind has none.
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
        Kind.NAME: Row(
            record=messages.NewName,
            is_held=True,
            is_confirmed=True,
            retention=Retention.REPAIR,
            scope=Scope.EVERYWHERE,
            right=Right.NONE,
            blocked=Blocked.NOT_KEPT,
        ),
        Kind.FILE: Row(
            record=messages.File,
            is_held=True,
            is_confirmed=True,
            retention=Retention.AGAIN,
            scope=Scope.EVERYWHERE,
            right=Right.NONE,
            blocked=Blocked.NOT_KEPT,
        ),
        Kind.FILE_WANTED: Row(
            record=messages.FileWanted,
            is_held=False,
            is_confirmed=True,
            retention=Retention.REPAIR,
            scope=Scope.EVERYWHERE,
            right=Right.NONE,
            blocked=Blocked.NO_ANSWER,
        ),
        Kind.FILE_AGAIN: Row(
            record=messages.FileAgain,
            is_held=False,
            is_confirmed=True,
            retention=Retention.REPAIR,
            scope=Scope.EVERYWHERE,
            right=Right.AUTHOR,
            blocked=Blocked.NOT_KEPT,
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
"""The row of each kind of pair cell. Cells in the lane of calls contain none of people's words,
because anyone who has ever copied a vault can read and write in that lane."""
