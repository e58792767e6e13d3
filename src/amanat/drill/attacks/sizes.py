"""Finding the recipients of a text that the adversary knows.

Method: a leaflet of known length is sent to some people; the attacker takes the day's entries of
that length for it.
Source: Nikitin et al., "Reducing Metadata Leakage from Encrypted Files" (PETS 2019).
Metric: the share of those entries that are the leaflet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from amanat.drill.designs import Evidence

NAME = "sizes"
LEAFLET_BYTES = 4_000
READERS = 10
"""People who get the leaflet."""
DAY_S = 86_400.0


def measure(evidence: Evidence, leaflet_size: int, rng: np.random.Generator) -> tuple[float, float]:
    """(the share, the share among all entries of the day); at rest the leaflet takes
    `leaflet_size` bytes."""
    day = float(rng.uniform(0, max(1.0, evidence.at[-1] - DAY_S)))
    sizes = evidence.size[(evidence.at >= day) & (evidence.at < day + DAY_S)]
    alike = int((sizes == leaflet_size).sum())
    return READERS / (READERS + alike), READERS / (READERS + len(sizes))
