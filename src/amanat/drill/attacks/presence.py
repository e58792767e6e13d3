"""Finding visits that are the same person's.

Method: each time a client opens, it reads the cells that came meanwhile. Where it shows who it is,
or asks for a mailbox that is one person's, all its visits are linked. For a bucket that is asked
through a hop, only the position where it begins to read is left, which tells roughly when it had
stopped. Where a line shows only that a program runs (covered), an adversary who is in the group and
sees all lines keeps those that were online whenever a pseudonym posted: fewer with each post.
Source: the trace of polls in Trail of Bits' review of SimpleX (2024); Gegenhuber et al., "Careless
Whisper" (2024); Danezis and Serjantov, "Statistical Disclosure or Intersection Attacks on Anonymity
Systems" (IH 2004).
Metric: how often the previous visit is named first, among all earlier visits to that place; how
many lines are left after so many posts, by how people use the program.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from amanat.client.ways import CURSOR_STEP
from amanat.drill.designs import HIDDEN

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from amanat.drill.designs import Evidence
    from amanat.drill.sample import Sample

NAME = "presence"
RETURNS = 2_000
"""Returns attacked in each seed."""
MINUTES, DAYS = 1_440, 30
HABITS = {
    "phone": (12, 8),
    "laptop": (2, 180),
    "16 h a day": (1, 960),
    "always": (1, 1_411),
}
"""Habits of being online: times a day, and minutes each time; "always" misses two minutes of a
hundred."""
POSTS = (1, 10, 50)
TARGETS = 40
"""Pseudonyms attacked with each habit, in each seed."""


def measure(sample: Sample, evidence: Evidence, rng: np.random.Generator) -> tuple[float, float]:
    """(the share of returns whose previous visit is named, the share of a guess)."""
    is_shared = any(len(owners) > 1 for owners in evidence.owners) and not evidence.rooms
    if not is_shared or (evidence.source != HIDDEN).any():
        return 1.0, 1 / max(2, sum(map(len, sample.sessions)) // sample.people)
    named, guessed, total = 0.0, 0.0, 0
    for place, owners in enumerate(evidence.owners):
        cells = evidence.at[evidence.place == place]
        ends, who = _ends(sample, owners)
        all_asked = _cursor(cells, ends)
        for person in owners:
            own = sample.sessions[person]
            for before, after in zip(own[:-1, 1], own[1:, 0], strict=True):
                # The position from which the client reads, and the visits whose end fits it.
                if total < RETURNS or rng.random() < RETURNS / total:
                    asked = _cursor(cells, np.array([before]))[0]
                    latest = np.flatnonzero((ends <= after) & (all_asked == asked))
                    named += float(who[rng.choice(latest)] == person) if len(latest) else 0.0
                    guessed += 1 / max(1, int((ends <= after).sum()))
                    total += 1
    return named / max(1, total), guessed / max(1, total)


def _ends(sample: Sample, owners: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    ends = np.concatenate([sample.sessions[one][:, 1] for one in owners])
    who = np.concatenate([np.full(len(sample.sessions[one]), one) for one in owners])
    return ends, who


def _cursor(cells: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.searchsorted(cells, at) // CURSOR_STEP


def intersect(people: int, rng: np.random.Generator) -> dict[tuple[str, int], float]:
    """The number of lines left, by habit and number of posts: the median over pseudonyms."""
    left: dict[tuple[str, int], float] = {}
    for habit, (times, minutes) in HABITS.items():
        is_there = _habit(people, times, minutes, rng)
        found: dict[int, list[int]] = {many: [] for many in POSTS}
        for target in rng.permutation(people)[:TARGETS].tolist():
            posts = rng.choice(np.flatnonzero(is_there[target]), max(POSTS))
            for many in POSTS:
                found[many].append(int(is_there[:, posts[:many]].all(1).sum()))
        left |= {(habit, many): float(np.median(each)) for many, each in found.items()}
    return left


def _habit(people: int, times: int, minutes: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """People x minutes: who is online. A daily session keeps to its hour, give or take one."""
    total = DAYS * MINUTES
    is_there = np.zeros((people, total), dtype=bool)
    usual = rng.integers(0, MINUTES, people)
    for who in range(people):
        for day in range(DAYS):
            begins = rng.integers(0, MINUTES, times)
            if times == 1:
                begins = np.array([usual[who] + rng.integers(-60, 61)])
            for begin in (day * MINUTES + begins).tolist():
                is_there[who, np.arange(begin, begin + minutes) % total] = True
    return is_there
