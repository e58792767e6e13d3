"""Every decision about every kind of message is explicit: none is left to a default."""

from __future__ import annotations

import re
from enum import IntEnum
from pathlib import Path

import pytest

from amanat.client.waiting import is_said_again
from amanat.protocol.kinds import (
    CELL_KINDS,
    KINDS,
    Blocked,
    Retention,
    Right,
    Scope,
    complete,
    known,
    known_cell,
    lane_of,
)
from amanat.protocol.labels import Lane
from amanat.protocol.messages import CellKind, Kind
from client_decoders import DECODERS

PROTOCOL = (Path(__file__).parent.parent / "docs" / "protocol.md").read_text(encoding="utf-8")

HELD = {"TEXT", "EDIT", "REACTION", "DELETE", "TIMER", "REPAIR", "NAME", "FILE"}
QUIET = {"RECEIPT", "HEARTBEAT"}
SAID_ONCE_MORE = {"TEXT", "EDIT", "REACTION", "DELETE", "TIMER", "WELCOME", "DECLINED", "FILE"}
NO_ANSWER = {"KEY_PACKAGES_WANTED", "WELCOME", "TIMER", "FILE_WANTED"}
NOT_KEPT = {"TEXT", "EDIT", "REACTION", "NAME", "FILE", "FILE_AGAIN"}
OF_TWO = {"KEY_PACKAGES", "KEY_PACKAGES_WANTED", "WELCOME", "DECLINED"}
OF_MANY = {"WANTED", "REPAIR"}
BY_THE_AUTHOR = {"EDIT", "DELETE", "FILE_AGAIN"}
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


def test_each_record_of_a_kind_is_among_the_samples_of_decoders() -> None:
    sampled = {type(one.decode(one.sample)) for one in DECODERS.values()}
    carried = {row.record for row in KINDS.values()} | {row.record for row in CELL_KINDS.values()}
    assert carried - {None} <= sampled


@pytest.mark.parametrize(
    ("head", "kinds"),
    [("| kind | body | meaning |", Kind), ("| kind | payload | meaning |", CellKind)],
    ids=["messages", "cells"],
)
def test_each_kind_is_in_the_protocol_and_the_reverse(head: str, kinds: type[IntEnum]) -> None:
    table = PROTOCOL.split(head, 1)[1].split("\n\n", 1)[0]
    firsts = [line.split(" | ")[0] for line in table.splitlines()]
    numbers = [int(number) for first in firsts for number in re.findall(r"\d+", first)]
    assert numbers == sorted(kinds)


@pytest.mark.parametrize("kind", list(Kind))
def test_a_kind_without_a_row_is_refused(kind: Kind) -> None:
    rows = {other: row for other, row in KINDS.items() if other is not kind}
    with pytest.raises(TypeError, match=kind.name):
        complete(Kind, rows)


def test_a_kind_of_a_later_version_is_unknown() -> None:
    assert known(max(Kind)) is max(Kind)
    assert known(max(Kind) + 1) is None
    assert not is_said_again(max(Kind) + 1)


@pytest.mark.parametrize("kind", list(CellKind))
def test_each_kind_of_cell_is_treated_as_the_protocol_says(kind: CellKind) -> None:
    row = CELL_KINDS[kind]
    assert (row.lane is Lane.CALLS) == (kind.name == "NOTICE")
    assert row.may_be_held == (kind.name in {"MLS", "REPAIR"})
    assert row.counts_late == (kind.name != "REPAIR")
    assert (row.record is None) == (kind.name in {"MLS", "NOTICE"})
    assert lane_of(kind) is row.lane


@pytest.mark.parametrize("kind", list(CellKind))
def test_a_kind_of_cell_without_a_row_is_refused(kind: CellKind) -> None:
    rows = {other: row for other, row in CELL_KINDS.items() if other is not kind}
    with pytest.raises(TypeError, match=kind.name):
        complete(CellKind, rows)


def test_a_cell_of_a_later_version_goes_by_the_lane_of_words() -> None:
    assert known_cell(max(CellKind) + 1) is None
    assert lane_of(max(CellKind) + 1) is Lane.WORDS
