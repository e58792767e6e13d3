"""A member who lies with valid keys, and the promises to honest members that hold all the same."""

from __future__ import annotations

from collections import Counter

import pytest

from amanat.drill import insider
from amanat.protocol.messages import CellKind, Kind
from figures import SOAK, report, rounds

HISTORIES = 25
"""Histories in one world."""
PARTS = rounds(2, 4)
"""The campaign is divided into this many tests, so that none lasts long."""
WORLDS = rounds(1, 100)
"""Worlds of each part: 50 histories in an ordinary run, and 10,000 in `make soak`."""

pytestmark = [pytest.mark.long, pytest.mark.timeout(120 * max(1.0, SOAK) + 60)]


@pytest.mark.campaign
@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_an_insider_says_every_promise_is_kept(part: int) -> None:
    told, broken, first = 0, Counter[str](), ""
    for seed in range(WORLDS):
        found = insider.histories(1_000 * part + seed, HISTORIES)
        told += found.histories
        broken.update(found.broken)
        first = first or found.first
    report("insider", histories=told, broken=broken.total())
    assert not broken, first
    assert told == HISTORIES * WORLDS


def test_every_kind_is_attacked_with_its_own_record() -> None:
    """A kind without a record of its name carries none. A new kind with a record of another name
    would only be attacked with other kinds' records."""
    bare = {"RECEIPT", "HEARTBEAT", "MLS", "NOTICE"}
    for kind in (*Kind, *CellKind):
        assert (insider._record_of(kind) is None) == (kind.name in bare), kind
