"""A member who lies with valid keys: what her lies are made of, and how they are counted."""

from __future__ import annotations

from amanat.drill import insider
from amanat.protocol.messages import CellKind, Kind


def test_every_kind_is_attacked_with_its_own_record() -> None:
    """A kind whose record has another name would be attacked with other kinds' records only."""
    bare = {"RECEIPT", "HEARTBEAT", "MLS", "NOTICE"}
    for kind in (*Kind, *CellKind):
        assert (insider._record_of(kind) is None) == (kind.name in bare), kind


def test_each_history_is_told_with_what_it_broke() -> None:
    found = insider.histories(4, 2)
    assert 1 <= found.histories <= 2
    assert bool(found.broken) == bool(found.first)
