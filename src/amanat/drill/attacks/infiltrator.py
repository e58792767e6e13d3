"""Which line a pseudonym posts from, for whoever is in the group and sees the lines.

Method: an infiltrator notes when posts of a pseudonym arrive, an ISP when each line uploads; the
lines that uploaded just before each of n posts are kept.
Source: Bahramali et al., "Practical Traffic Analysis Attacks on Secure Messaging Applications"
(NDSS 2020).
Metric: how often the right line of all is named first, after 10 posts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from amanat.drill.designs import Evidence

NAME = "infiltrator"
POSTS = 10
"""Posts that were seen."""
TARGETS = 50
"""Pseudonyms attacked in each seed."""
BEFORE_S = 0.5
"""How long before it is seen a post may have been uploaded, in seconds."""


def measure(evidence: Evidence, people: int, rng: np.random.Generator) -> float | None:
    """The share of pseudonyms whose line is named; None if nobody posts so often."""
    lines = [evidence.at[evidence.author == who] for who in range(people)]
    able = [who for who, at in enumerate(lines) if len(at) >= POSTS]
    if not able:
        return None
    targets = rng.permutation(able)[:TARGETS]
    named = 0
    for target in targets.tolist():
        posts = rng.choice(lines[target], POSTS, replace=False) + rng.uniform(0.02, 0.3, POSTS)
        fits = np.array(
            [
                (np.searchsorted(at, posts) > np.searchsorted(at, posts - BEFORE_S)).sum()
                for at in lines
            ]
        )
        best = np.flatnonzero(fits == fits.max())
        named += int(rng.choice(best) == target)
    return named / len(targets)
