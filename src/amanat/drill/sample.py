"""People and their messages, drawn from a trace: the ground truth of one seed of the drill.

Every seed takes other people from among the busiest, another window of the trace, and other groups.
A trace of edges has no groups, so some are founded: every sixth person makes one with the people
they write to most, and a third of the messages between its people goes to the group. In a trace of
IRC, people are put into groups at random, and a line to nobody goes to its speaker's group.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from amanat.errors import BadArgument

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from amanat.drill.traces import Said

DAY_S = 86_400
SPARE = 1.2
"""Size of the pool of busiest people to draw from, as a multiple of the people needed."""
FOUNDERS = 6
"""One in so many people founds a group."""
GROUP_SIZES = (4, 25)
"""Least and most members of a group."""
TO_GROUP = 1 / 3
"""The share of members' messages to each other that goes to their group."""
SESSION = (120.0, 600.0)
"""Seconds a client is open before its person's first message of a session and after the last."""
APART_S = 900.0
"""Messages further apart than this, in seconds, belong to two sessions."""
CHECKS_A_DAY = 4
CHECK_S = 300.0
"""How often, and for how long, a client is open while its person says nothing, in seconds."""


class Sample(NamedTuple):
    """One seed's world. People and conversations are counted from 0; times are seconds from 0."""

    people: int
    seconds: float
    talks: list[tuple[int, ...]]
    """The members of each conversation; two of them in a 1:1 one."""
    at: NDArray[np.float64]
    sender: NDArray[np.int64]
    talk: NDArray[np.int64]
    """The conversation of each message, in the order of their times."""
    sessions: list[NDArray[np.float64]]
    """For each person rows (start, end), apart and in order: when their client is open."""

    @property
    def contacts(self) -> NDArray[np.bool_]:
        """Pairs of which one has written to the other 1:1: people x people."""
        return self._pairs(direct=True)

    @property
    def comembers(self) -> NDArray[np.bool_]:
        """Pairs that share a group in which something was said: people x people."""
        return self._pairs(direct=False)

    def _pairs(self, *, direct: bool) -> NDArray[np.bool_]:
        found = np.zeros((self.people, self.people), dtype=bool)
        for number in np.unique(self.talk):
            members = self.talks[number]
            if (len(members) == 2) == direct:  # noqa: PLR2004  # a 1:1 conversation
                found[np.ix_(members, members)] = True
        np.fill_diagonal(found, val=False)
        return found

    def opened(self, person: int, at: float) -> float:
        """When a person's client is next open at or after a time; after the end if never."""
        rows = self.sessions[person]
        index = int(np.searchsorted(rows[:, 1], at))
        return max(at, rows[index, 0]) if index < len(rows) else self.seconds + 1


def draw(said: Sequence[Said], *, people: int, days: int, seed: int) -> Sample:
    """The sample of a seed. Raises BadArgument if the trace has too few people for it."""
    rng = np.random.default_rng(seed)
    has_edges = all(one.to for one in said)
    begin, end = said[0].at, said[-1].at
    span = days * DAY_S
    if has_edges and end - begin > span:
        start = _busiest(said, span) + int(rng.integers(-2, 3)) * DAY_S
        said = [one for one in said if start <= one.at < start + span]
        begin = start
    else:
        span = end - begin + 60
    busy = Counter(name for one in said for name in (one.sender, one.to) if name)
    pool = [name for name, _ in busy.most_common(int(people * SPARE))]
    if len(pool) < min(people, 8):
        raise BadArgument(f"the trace holds {len(pool)} people in this window; {people} are needed")
    chosen = rng.permutation(len(pool))[:people]
    number = {pool[index]: rank for rank, index in enumerate(sorted(chosen))}
    kept = [one for one in said if one.sender in number and (not one.to or one.to in number)]
    if not kept:
        raise BadArgument("nobody of these people writes to another")
    at = np.array([one.at for one in kept], dtype=np.float64) - begin
    at += rng.uniform(0, 60 if not has_edges else 1, len(at))  # the trace rounds times
    sender = np.array([number[one.sender] for one in kept])
    to = np.array([number[one.to] if one.to else -1 for one in kept])
    order = np.argsort(at, kind="stable")
    at, sender, to = at[order], sender[order], to[order]
    make = _found_groups if has_edges else _deal_groups
    talks, talk = make(sender, to, len(number), rng)
    sessions = [_sessions(at[sender == who], float(span), rng) for who in range(len(number))]
    return Sample(len(number), float(span), talks, at, sender, talk, sessions)


def _busiest(said: Sequence[Said], span: int) -> int:
    """When the window of `span` seconds in which people say most begins, in Unix seconds."""
    days = np.bincount([(one.at - said[0].at) // DAY_S for one in said])
    sums = np.convolve(days, np.ones(span // DAY_S, dtype=int), "valid")
    return said[0].at + int(np.argmax(sums)) * DAY_S


def _found_groups(
    sender: NDArray[np.int64], to: NDArray[np.int64], people: int, rng: np.random.Generator
) -> tuple[list[tuple[int, ...]], NDArray[np.int64]]:
    closest: list[Counter[int]] = [Counter() for _ in range(people)]
    for a, b in zip(sender.tolist(), to.tolist(), strict=True):
        closest[a][b] += 1
        closest[b][a] += 1
    low, high = GROUP_SIZES
    groups: list[tuple[int, ...]] = []
    for founder in rng.permutation(people)[: max(1, people // FOUNDERS)].tolist():
        others = [who for who, _ in closest[founder].most_common(int(rng.integers(low, high)))]
        if len(others) >= low - 1:
            groups.append(tuple(sorted({founder, *others})))
    shared: dict[tuple[int, int], list[int]] = {}
    for index, members in enumerate(groups):
        for a in members:
            for b in members:
                shared.setdefault((a, b), []).append(index)
    talks = list(groups)
    number: dict[tuple[int, int], int] = {}
    talk = np.empty(len(sender), dtype=np.int64)
    lots = rng.random(len(sender))
    for index, (a, b) in enumerate(zip(sender.tolist(), to.tolist(), strict=True)):
        common = shared.get((a, b), [])
        if common and lots[index] < TO_GROUP:
            talk[index] = common[index % len(common)]
            continue
        talk[index] = _between(a, b, talks, number)
    return talks, talk


def _deal_groups(
    sender: NDArray[np.int64], to: NDArray[np.int64], people: int, rng: np.random.Generator
) -> tuple[list[tuple[int, ...]], NDArray[np.int64]]:
    low, high = GROUP_SIZES
    left = rng.permutation(people).tolist()
    talks: list[tuple[int, ...]] = []
    while left:
        size = int(rng.integers(low, high + 1))
        if len(left) - size < low:
            size = len(left)
        talks.append(tuple(sorted(left[:size])))
        left = left[size:]
    home = {who: index for index, members in enumerate(talks) for who in members}
    number: dict[tuple[int, int], int] = {}
    talk = np.empty(len(sender), dtype=np.int64)
    for index, (a, b) in enumerate(zip(sender.tolist(), to.tolist(), strict=True)):
        if b < 0:
            talk[index] = home[a]
            continue
        talk[index] = _between(a, b, talks, number)
    return talks, talk


def _between(
    a: int, b: int, talks: list[tuple[int, ...]], number: dict[tuple[int, int], int]
) -> int:
    """The number of the 1:1 conversation of two people, which begins with their first message."""
    pair = (min(a, b), max(a, b))
    if pair not in number:
        number[pair] = len(talks)
        talks.append(pair)
    return number[pair]


def _sessions(
    own: NDArray[np.float64], seconds: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    checks = rng.uniform(0, seconds, max(1, round(CHECKS_A_DAY * seconds / DAY_S)))
    starts = np.concatenate([own - SESSION[0], checks])
    ends = np.concatenate([own + SESSION[1], checks + CHECK_S])
    order = np.argsort(starts)
    rows: list[list[float]] = []
    for start, end in zip(starts[order].tolist(), ends[order].tolist(), strict=True):
        if rows and start <= rows[-1][1] + APART_S - sum(SESSION):
            rows[-1][1] = max(rows[-1][1], end)
        else:
            rows.append([max(start, 0.0), end])
    return np.array(rows)
