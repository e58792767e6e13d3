"""What is decided for each kind of message, walked kind by kind: none is left to a default."""

from __future__ import annotations

import pytest

from amanat.client.waiting import is_said_again
from amanat.protocol.kinds import KINDS, Blocked, Retention, Right, Scope, complete, known
from amanat.protocol.messages import Kind

HELD = {"TEXT", "EDIT", "REACTION", "DELETE", "TIMER", "REPAIR"}
QUIET = {"RECEIPT", "HEARTBEAT"}
SAID_ONCE_MORE = {"TEXT", "EDIT", "REACTION", "DELETE", "TIMER", "WELCOME", "DECLINED"}
NO_ANSWER = {"KEY_PACKAGES_WANTED", "WELCOME", "TIMER"}
NOT_KEPT = {"TEXT", "EDIT", "REACTION"}
OF_TWO = {"KEY_PACKAGES", "KEY_PACKAGES_WANTED", "WELCOME", "DECLINED"}
OF_MANY = {"WANTED", "REPAIR"}
BY_THE_AUTHOR = {"EDIT", "DELETE"}
BY_WHO_MAY_RENAME = {"TIMER"}


@pytest.mark.parametrize("kind", list(Kind))
def test_each_kind_is_treated_as_the_protocol_says(kind: Kind) -> None:
    row = KINDS[kind]
    assert row.is_held == (kind.name in HELD)
    assert row.is_confirmed == (kind.name != "RECEIPT")
    assert (row.retention is Retention.QUIET) == (kind.name in QUIET)
    assert is_said_again(kind) == (kind.name in SAID_ONCE_MORE)
    assert (row.blocked is Blocked.NO_ANSWER) == (kind.name in NO_ANSWER)
    assert (row.blocked is Blocked.NOT_KEPT) == (kind.name in NOT_KEPT)
    assert (row.scope is Scope.DIRECT) == (kind.name in OF_TWO)
    assert (row.scope is Scope.LARGE) == (kind.name in OF_MANY)
    assert (row.right is Right.AUTHOR) == (kind.name in BY_THE_AUTHOR)
    assert (row.right is Right.RENAME) == (kind.name in BY_WHO_MAY_RENAME)
    assert (row.record is None) == (kind.name in QUIET)


@pytest.mark.parametrize("kind", list(Kind))
def test_a_kind_without_a_row_is_refused(kind: Kind) -> None:
    rows = {other: row for other, row in KINDS.items() if other is not kind}
    with pytest.raises(TypeError, match=kind.name):
        complete(rows)


def test_a_kind_of_a_later_version_is_unknown() -> None:
    assert known(max(Kind)) is max(Kind)
    assert known(max(Kind) + 1) is None
    assert not is_said_again(max(Kind) + 1)
