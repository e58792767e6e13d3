"""Which of the times somebody was there are the same person's.

Method: each time a client opens it reads what came meanwhile. Where it shows who it is, or asks for
a mailbox that is one person's, all its times are linked. In a bucket, asked through a hop, what is
left is where it begins to read: which tells roughly when it had stopped.
Source: the trace of polls in Trail of Bits' review of SimpleX (2024); Gegenhuber et al., "Careless
Whisper" (2024).
Metric: how often the time before is named first, of all that ended before in that place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from amanat.client.routes import CURSOR_STEP
from amanat.drill.designs import HIDDEN

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from amanat.drill.designs import Evidence
    from amanat.drill.sample import Sample

NAME = "presence"
RETURNS = 2_000
"""Returns attacked in each seed."""


def measure(sample: Sample, evidence: Evidence, rng: np.random.Generator) -> tuple[float, float]:
    """(the share of returns whose time before is named, what guessing would give)."""
    is_shared = any(len(owners) > 1 for owners in evidence.owners) and not evidence.rooms
    if not is_shared or (evidence.source != HIDDEN).any():
        return 1.0, 1 / max(2, sum(map(len, sample.sessions)) // sample.people)
    named, guessed, total = 0.0, 0.0, 0
    for place, owners in enumerate(evidence.owners):
        cells = evidence.at[evidence.place == place]
        ends, who = _ends(sample, owners)
        for person in owners:
            own = sample.sessions[person]
            for before, after in zip(own[:-1, 1], own[1:, 0], strict=True):
                # What the relay is asked for, and which ends would have asked for the same.
                asked = _cursor(cells, np.array([before]))[0]
                earlier = (ends <= after) & (_cursor(cells, ends) == asked)
                if total < RETURNS or rng.random() < RETURNS / total:
                    latest = np.flatnonzero(earlier)
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
