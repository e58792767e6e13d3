"""The grid of rounds: everybody agrees on it, and each thing has its time in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amanat.protocol.rounds import (
    HAND_ON,
    PERIODS_S,
    READ,
    ROUND_S,
    SEND,
    hand_on_at,
    publish_at,
    read_at,
    send_at,
)

times = st.floats(min_value=0, max_value=2**34)
lots = st.floats(min_value=0, max_value=1, exclude_max=True)
periods = st.integers(min_value=0, max_value=2**28)


@pytest.mark.parametrize("period_s", PERIODS_S)
@given(period=periods, lot=lots)
def test_what_is_sent_in_a_period_is_seen_when_it_ends(
    period_s: int, period: int, lot: float
) -> None:
    sent = send_at(period, period_s, lot)
    seen = publish_at(hand_on_at(sent))
    assert period * period_s <= read_at(period, period_s, lot) < sent < seen
    assert seen == (period + 1) * period_s
    # And somebody with the other period, who is seen at the same moment, is not told apart.
    assert seen % ROUND_S == 0


@given(now=times)
def test_hops_and_relays_wait_for_less_than_a_round(now: float) -> None:
    for at in (hand_on_at(now), publish_at(now)):
        assert now < at <= now + ROUND_S + 1e-3
    assert hand_on_at(now) / ROUND_S % 1 == pytest.approx(HAND_ON, abs=1e-3)


def test_clocks_may_differ_by_some_seconds() -> None:
    wrong_s = 2.9
    for lot in (0.0, 1.0):
        sent = send_at(0, 60, lot)
        assert hand_on_at(sent + wrong_s) == hand_on_at(sent - wrong_s) == hand_on_at(sent)
    assert SEND[0] >= READ[1] > READ[0] > 0
    assert HAND_ON * ROUND_S + wrong_s < ROUND_S
