"""Finding the line of a pseudonym, by an adversary who is in the group and sees the lines.

Method: an infiltrator notes when posts of a pseudonym arrive, and an ISP when each line uploads;
the attack keeps the lines that uploaded just before each of n posts. Covered, a post arrives at the
end of a round, and the attack keeps the lines that uploaded in its period. It runs on models of 300
people, and on real clients in the simulated world, whose lines are logged (`lines.py`): there the
window is tuned on a world of its own.
Source: Bahramali et al., "Practical Traffic Analysis Attacks on Secure Messaging Applications"
(NDSS 2020).
Metric: how often the right line is named first among all, after 10 posts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from amanat.protocol.rounds import send_at

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from amanat.drill.designs import Evidence

NAME = "infiltrator"
POSTS = 10
"""Posts that the attacker sees."""
TARGETS = 50
"""Pseudonyms attacked in each seed."""
BEFORE_S = 0.5
"""How long before its arrival a post may have been uploaded, in seconds."""
WINDOWS_S = (0.5, 2.0, 10.0, 40.0, 70.0)
"""Candidates for the same on real clients: the best on another world is used."""
TIE = 1e-6
LINES = 16
"""People whose lines are observed there."""
WORLDS = 4
"""Judged worlds of each mode."""


def measure(evidence: Evidence, people: int, rng: np.random.Generator) -> float | None:
    """The share of pseudonyms whose line is named; None if nobody posts so often."""
    lines = [evidence.at[evidence.author == who] for who in range(people)]
    before_s = evidence.period_s or BEFORE_S
    able = [who for who, at in enumerate(lines) if len(at) >= POSTS]
    if not able:
        return None
    targets = rng.permutation(able)[:TARGETS]
    named = 0
    for target in targets.tolist():
        posts = rng.choice(lines[target], POSTS, replace=False)
        posts = posts + (0 if evidence.period_s else rng.uniform(0.02, 0.3, POSTS))
        uploads = _uploads(posts, people, evidence.period_s, rng) if evidence.period_s else lines
        fits = np.array(
            [
                (np.searchsorted(at, posts) > np.searchsorted(at, posts - before_s)).sum()
                for at in uploads
            ]
        )
        best = np.flatnonzero(fits == fits.max())
        named += int(rng.choice(best) == target)
    return named / len(targets)


def _uploads(
    posts: NDArray[np.float64], people: int, period_s: int, rng: np.random.Generator
) -> list[NDArray[np.float64]]:
    """The times at which each line uploads around some posts, all people being covered and
    online."""
    periods = (posts // period_s).astype(np.int64) - 1
    return [
        np.array(
            [send_at(period, period_s, rng.random()) for period in np.unique(periods).tolist()]
        )
        for _ in range(people)
    ]


def fit_best(posts: list[float], lines: dict[str, list[float]], before_s: float) -> list[str]:
    """The lines that fit best: they sent more in the moment before each post than they usually
    do."""
    begin, end = min(posts), max(posts)
    moments = np.array(posts)
    score = {}
    for name, times in lines.items():
        at = np.sort(np.array(times))
        many = np.searchsorted(at, moments, "right") - np.searchsorted(at, moments - before_s)
        usual = ((at >= begin) & (at <= end)).sum() / max(1.0, end - begin) * before_s
        score[name] = float((many - usual).sum())
    best = max(score.values())
    return [name for name, found in score.items() if found >= best - TIE]
