"""A client that creates drops without end keeps nobody from creating a few; days end."""

from __future__ import annotations

import gc
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amanat.config import RelayLimits
from amanat.errors import RelayBusy
from amanat.relay.rates import FIRST, FIRST_SHARE, MINUTE_S, Creations, Served

NOW = 1_800_000_000.0 // MINUTE_S * MINUTE_S


class Client:
    def __init__(self, speaks_for: int = 1) -> None:
        self.speaks_for = speaks_for


def create(creations: Creations, who: Client, times: int, *, now: float = NOW) -> int:
    """How many of so many creations are not refused."""
    taken = 0
    for _ in range(times):
        try:
            creations.take(who, now=now)
        except RelayBusy:
            continue
        taken += 1
    return taken


def test_one_client_creates_as_many_as_it_may_and_then_waits_for_the_next_minute() -> None:
    creations, who = Creations(5, 100), Client()
    assert create(creations, who, 9, now=NOW + 12) == 5
    with pytest.raises(RelayBusy) as refused:
        creations.take(who, now=NOW + 12)
    assert refused.value.retry_after == MINUTE_S - 12
    assert create(creations, who, 9, now=NOW + MINUTE_S) == 5
    assert create(creations, who, 9, now=NOW - 86_400) == 5  # the clock was set back


def test_a_hop_may_create_for_as_many_as_it_speaks_for() -> None:
    creations = Creations(5, 1000)
    assert create(creations, Client(speaks_for=16), 200) == 80


def test_a_drop_that_was_not_created_after_all_does_not_count() -> None:
    creations, who = Creations(2, 2), Client()
    creations.take(who, now=NOW)
    creations.take(who, now=NOW)
    creations.give_back(who)
    assert create(creations, who, 3) == 1
    creations.take(who, now=NOW + MINUTE_S)
    creations.give_back(Client())  # its minute is over
    assert create(creations, who, 3, now=NOW + MINUTE_S) == 1


@pytest.mark.long
def test_a_client_that_has_gone_is_forgotten_and_what_it_created_counts() -> None:
    creations = Creations(10, 12)
    for _ in range(6):
        assert create(creations, Client(), 2) == 2
    gc.collect()
    assert len(creations._own) == 0
    assert create(creations, Client(), 1) == 0


@given(
    each=st.integers(1, 40),
    most=st.integers(1, 100),
    shares=st.lists(st.sampled_from([1, 1, 1, 16]), min_size=1, max_size=8),
    acts=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 150)), max_size=300),
)
def test_no_history_takes_the_first_creations_of_others(
    each: int, most: int, shares: list[int], acts: list[tuple[int, int]]
) -> None:
    clients = [Client(share) for share in shares]
    creations, made = Creations(each, most), Counter[tuple[int, int]]()
    for who, seconds in sorted(acts, key=lambda act: act[1]):
        client, now = clients[who % len(clients)], NOW + seconds
        minute = int(now // MINUTE_S)
        own = made[minute, who % len(clients)]
        before = sum(count for (when, _), count in made.items() if when == minute)
        others = sum(shares) - client.speaks_for
        if create(creations, client, 1, now=now):
            made[minute, who % len(clients)] += 1
            assert own < each * client.speaks_for
            assert before < most
        elif own < min(FIRST, each):
            assert FIRST * others + own >= most // FIRST_SHARE


def test_by_default_strangers_need_many_connections_to_keep_others_from_creating() -> None:
    limits = RelayLimits()
    creations = Creations(limits.drop_creations_per_minute, limits.drop_creations_per_minute_total)
    strangers = [Client() for _ in range(149)]
    for stranger in strangers:
        create(creations, stranger, 200)
    assert create(creations, Client(), FIRST) == FIRST


def test_a_day_is_over_once_its_bytes_are_served_and_the_next_begins_anew() -> None:
    served = Served(10)
    served.add(9, day=5)
    assert not served.is_over(5)
    served.add(1, day=5)
    assert served.is_over(5)
    assert not served.is_over(6)
    served.add(9, day=6)
    assert not served.is_over(6)
    served.add(1, day=4)  # the clock was set back
    assert not served.is_over(4)


def test_without_a_limit_no_day_is_over() -> None:
    served = Served(0)
    served.add(2**60, day=5)
    assert not served.is_over(5)
