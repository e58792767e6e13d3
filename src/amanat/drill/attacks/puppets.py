"""Finding out who writes to whom after the operator has filled the buckets with people of its own.

Method: as `contacts`, hopped, with 50 % and 97 % of every bucket the operator's puppets: a cell
that is not for a puppet is for one of the few others.
Source: the Sybil attack on anonymity sets; Danezis and Serjantov (IH 2004).
Metric: average precision, as of `contacts`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from amanat.drill.designs import with_puppets
from amanat.drill.linking import contact_features
from amanat.drill.scores import rank

if TYPE_CHECKING:
    from amanat.drill.designs import Evidence
    from amanat.drill.sample import Sample

NAME = "puppets"
SHARES = (0.5, 0.97)


def measure(evidence: Evidence, sample: Sample, rng: np.random.Generator) -> dict[float, float]:
    """The average precision of the best count for each share, which favours the attacker."""
    above = np.triu_indices(sample.people, 1)
    truth = sample.contacts[above]
    found = {}
    for share in SHARES:
        seen = with_puppets(evidence, sample.people, share, rng)
        scores = contact_features(seen, sample.people)
        found[share] = max(rank(one[above], truth, rng).average_precision for one in scores.values)
    return found
