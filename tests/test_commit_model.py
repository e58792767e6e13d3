"""The faults that the model of Commit ordering and coming back finds in the former rules, and their
absence in the present ones."""

from __future__ import annotations

from typing import Literal

import pytest

from commit_model import Setting, explore

pytestmark = pytest.mark.long


def test_in_the_old_rules_a_member_takes_over_people_who_come_back() -> None:
    broken = explore(Setting("old", lies=2, commits=0, copies=1)).broken
    assert broken["takeover"] == [
        "alice's vault is an old copy",
        "mallory seize alone",
        "mallory helps alice",
    ]


def test_in_the_old_rules_one_message_brings_about_the_takeover() -> None:
    broken = explore(Setting("old", lies=2, commits=0, copies=0)).broken
    assert "mallory acks more than alice has said" in broken["takeover"]


def test_in_the_old_rules_a_named_branch_strands_a_member() -> None:
    broken = explore(Setting("old", lies=1, commits=0, copies=0)).broken
    assert broken["stranded"] == ["mallory names a branch to alice"]


@pytest.mark.parametrize("founder", ["alice", "mallory"])
@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize("two_faces", [False, True])
def test_in_the_new_rules_nothing_is_found(
    founder: Literal["alice", "mallory"], is_late: bool, two_faces: bool
) -> None:
    found = explore(Setting("new", 2, 1, 1, founder, is_late, two_faces))
    assert found.broken == {}
    assert found.states > 10_000


def test_nor_where_more_is_committed() -> None:
    found = explore(Setting("new", lies=2, commits=2, copies=0, founder="mallory", is_late=True))
    assert found.broken == {}
    assert found.states > 30_000
