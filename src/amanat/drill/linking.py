"""Which requests follow which: the features that attacks on the graph count.

Every score is for pairs of people. A place stands for each of its owners alike, since nothing more
is known of a bucket. Counts are compared with those an hour and three hours later, where no
conversation would put them, so that the difference does not come from the time of day.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import sparse

from amanat.drill.designs import HIDDEN

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from amanat.drill.designs import Evidence

WINDOWS_S = (2.0, 10.0, 60.0, 300.0)
"""How soon an answer or a receipt may follow, in seconds; an attacker picks on other seeds."""
TOGETHER_S = (0.05, 0.5, 2.0)
"""How close the copies of a group's message lie, in seconds."""
PERIODS = (0, 1, 2, 5, 10)
"""Replaces both of these where cells are seen at the end of rounds; in periods."""
SHIFTS_S = (3_600.0, 10_800.0)
"""How much later chance is measured, in seconds."""
DENSE = 1_024
"""Most places for which all pairs are counted in one table: many times faster than a sparse one."""
CHUNK = 4_000_000
"""Pairs of requests held at once: bounds the memory."""


class Features(NamedTuple):
    """Named scores for pairs of people; each people x people."""

    names: list[str]
    values: list[NDArray[np.float64]]


def contact_features(evidence: Evidence, people: int) -> Features:
    """Features that suggest that two people write to each other."""
    names, values = [], []
    if evidence.rooms:
        names.append("rooms of two")
        values.append(_in_rooms(evidence, people, is_direct=True))
        return Features(names, values)
    for window in _windows(evidence, WINDOWS_S):
        names.append(f"answers within {window:g} s")
        values.append(_both_ways(_lift_follow(evidence, people, window)))
    names.append("busy places")
    values.append(_busy(evidence, people))
    if (evidence.source != HIDDEN).any():
        flow = _flow(evidence, people)
        names += ["flow both ways", "flow one way"]
        values += [np.minimum(flow, flow.T), flow + flow.T]
        for window in WINDOWS_S:
            names.append(f"turns within {window:g} s")
            values.append(_both_ways(_turns(evidence, people, window)))
    return Features(names, values)


def group_features(evidence: Evidence, people: int) -> Features:
    """Features that suggest that two people are in one group."""
    names, values = [], []
    if evidence.rooms:
        names.append("rooms of many")
        values.append(_in_rooms(evidence, people, is_direct=False))
        return Features(names, values)
    for window in _windows(evidence, TOGETHER_S):
        names.append(f"together within {window:g} s")
        values.append(_both_ways(_lift_follow(evidence, people, window)))
    names.append("busy places")
    values.append(_busy(evidence, people))
    if (evidence.source != HIDDEN).any():
        flow = _flow(evidence, people)
        names.append("flow one way")
        values.append(flow + flow.T)
        for window in TOGETHER_S:
            names.append(f"one source within {window:g} s")
            values.append(_both_ways(_lift_follow(evidence, people, window, one_source=True)))
            names.append(f"burst to many within {window:g} s")
            values.append(_both_ways(_bursts(evidence, people, window)))
    return Features(names, values)


def without_source(features: Features) -> Features:
    """Features of the same evidence with its sources hidden: those that need no source."""
    kept = [
        (name, value)
        for name, value in zip(*features, strict=True)
        if name.startswith(("answers", "together", "busy"))
    ]
    return Features([name for name, _ in kept], [value for _, value in kept])


def _windows(evidence: Evidence, usual: tuple[float, ...]) -> tuple[float, ...]:
    if not evidence.period_s:
        return usual
    return tuple((many + 0.5) * evidence.period_s for many in PERIODS)


def _both_ways(score: NDArray[np.float64]) -> NDArray[np.float64]:
    return score + score.T


def _in_rooms(evidence: Evidence, people: int, *, is_direct: bool) -> NDArray[np.float64]:
    score = np.zeros((people, people))
    rooms, counts = np.unique(evidence.place, return_counts=True)
    for room, count in zip(rooms.tolist(), counts.tolist(), strict=True):
        members = evidence.rooms[room]
        if (len(members) == 2) == is_direct:  # noqa: PLR2004  # a conversation of two
            score[np.ix_(members, members)] += count
    return score


def owners_matrix(evidence: Evidence, people: int) -> sparse.csr_matrix:
    """Places x people: the weight with which a place belongs to a person."""
    rows = [place for place, owners in enumerate(evidence.owners) for _ in owners]
    columns = [who for owners in evidence.owners for who in owners]
    weights = [1 / len(owners) for owners in evidence.owners for _ in owners]
    return sparse.csr_matrix((weights, (rows, columns)), shape=(len(evidence.owners), people))


def _pairs(
    at: NDArray[np.float64], begin: float, end: float
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Chunks of all (i, j) with `begin < at[j] - at[i] <= end`, i before j; `at` is sorted."""
    first = np.searchsorted(at, at + begin, side="right")
    last = np.searchsorted(at, at + end, side="right")
    first = np.maximum(first, np.arange(1, len(at) + 1))
    counts = np.maximum(last - first, 0)
    chunks, start, total = [], 0, np.cumsum(counts)
    while start < len(at):
        base = total[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(total, base + CHUNK, side="right")))
        many = counts[start:stop]
        i = np.repeat(np.arange(start, stop), many)
        offset = np.arange(len(i)) - np.repeat(np.cumsum(many) - many, many)
        chunks.append((i, np.repeat(first[start:stop], many) + offset))
        start = stop
    return chunks


def _counted(
    evidence: Evidence, begin: float, end: float, *, one_source: bool
) -> sparse.csr_matrix:
    """Places x places: how often a deposit in the second follows one in the first in time."""
    many = len(evidence.owners)
    found = sparse.csr_matrix((many, many))
    if evidence.period_s:
        rounds = (evidence.at // evidence.period_s).astype(np.int64)
        shape = (int(rounds.max()) + 1, many)
        each = sparse.coo_matrix((np.ones(len(rounds)), (rounds, evidence.place)), shape).tocsr()
        for apart in range(int(begin // evidence.period_s), int(end // evidence.period_s) + 1):
            found = found + each[: shape[0] - apart].T @ each[apart:]
        if begin < evidence.period_s:  # no deposit follows itself
            found = found - sparse.diags(np.asarray(each.sum(0)).ravel())
        return sparse.csr_matrix(found)
    flat = np.zeros(many * many if many <= DENSE else 0)
    for i, j in _pairs(evidence.at, begin, end):
        a, b = evidence.place[i], evidence.place[j]
        if one_source:
            kept = evidence.source[i] == evidence.source[j]
            a, b = a[kept], b[kept]
        if many <= DENSE:
            flat += np.bincount(a * many + b, minlength=many * many)
        else:
            ones = np.ones(len(a))
            found = found + sparse.coo_matrix((ones, (a, b)), shape=(many, many)).tocsr()
    return sparse.csr_matrix(flat.reshape(many, many)) if many <= DENSE else found


def _lift_follow(
    evidence: Evidence, people: int, window: float, *, one_source: bool = False
) -> NDArray[np.float64]:
    """How much more often than by chance a deposit for one person soon follows one for another.

    Of several queues' scores the largest counts for their owners, since the server knows the owner
    of many queues by their reads; for buckets the sum counts.
    """
    seen = _counted(evidence, 0, window, one_source=one_source)
    chance = sum(
        (_counted(evidence, shift, shift + window, one_source=False) for shift in SHIFTS_S),
        start=sparse.csr_matrix(seen.shape),
    ) / len(SHIFTS_S)
    score = (seen - chance).tocoo()
    expected = np.asarray(chance[score.row, score.col]).ravel() if score.nnz else np.zeros(0)
    score.data = score.data / np.sqrt(expected + 1)
    lift = owners_matrix(evidence, people)
    if len(evidence.owners) <= people:
        return np.asarray((lift.T @ score.tocsr() @ lift).todense())
    owner = np.array([owners[0] for owners in evidence.owners])
    found = np.zeros((people, people))
    np.maximum.at(found, (owner[score.row], owner[score.col]), score.data)
    return found


def _busy(evidence: Evidence, people: int) -> NDArray[np.float64]:
    """How much arrives at the homes of the two: people who get much talk with many, and are in busy
    groups."""
    many = np.bincount(evidence.place, minlength=len(evidence.owners))
    each = np.asarray(owners_matrix(evidence, people).T @ many)
    return np.outer(each, each)


def _flow(evidence: Evidence, people: int) -> NDArray[np.float64]:
    """How much each address deposits for each person, beyond its deposits for anybody."""
    flow = sparse.coo_matrix(
        (np.ones(len(evidence.at)), (evidence.source, evidence.place)),
        shape=(people, len(evidence.owners)),
    ).tocsr()
    return _beyond_chance(np.asarray(flow.todense()), evidence)


def _turns(evidence: Evidence, people: int, window: float) -> NDArray[np.float64]:
    """How often one person's address deposits at the other's home, and that person soon answers."""
    at_home = np.asarray(owners_matrix(evidence, people).todense()) > 0
    score = np.zeros(people * people)
    for shift, weight in ((0.0, 1.0), *((shift, -1 / len(SHIFTS_S)) for shift in SHIFTS_S)):
        for i, j in _pairs(evidence.at, shift, shift + window):
            a, b = evidence.source[i], evidence.source[j]
            fits = at_home[evidence.place[i], b] & at_home[evidence.place[j], a] & (a != b)
            keys = a[fits] * people + b[fits]
            score += weight * np.bincount(keys, minlength=people * people)
    return score.reshape(people, people)


def _bursts(evidence: Evidence, people: int, window: float) -> NDArray[np.float64]:
    """How often an address deposits in several places at once, one of them the other's home."""
    score = np.zeros((people, len(evidence.owners)))
    for i, j in _pairs(evidence.at, 0, window):
        same = (evidence.source[i] == evidence.source[j]) & (evidence.place[i] != evidence.place[j])
        for one in (i[same], j[same]):
            np.add.at(score, (evidence.source[one], evidence.place[one]), 1)
    return _beyond_chance(score, evidence)


def _beyond_chance(counts: NDArray[np.float64], evidence: Evidence) -> NDArray[np.float64]:
    """People x people, from counts people x places: the part that the totals do not explain."""
    expected = counts.sum(1, keepdims=True) * counts.sum(0, keepdims=True) / max(1, counts.sum())
    lift = owners_matrix(evidence, len(counts))
    return np.asarray(((counts - expected) / np.sqrt(expected + 1)) @ lift)
