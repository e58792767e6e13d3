"""Finding out who is in a group with whom.

Method: clients deposit the copies of a group's message within a moment, so places that receive
together more often than by chance belong to members. Where the address is seen, so do the places
that it reaches in one burst. The attackers are a single count, its window chosen on training seeds,
and boosted trees over all counts.
Source: Brigham and Hopper, "No Safety in Numbers" (arXiv 2305.09799).
Metric: average precision over all pairs of people, beside the share of pairs that share a group.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from amanat.drill.linking import Features, group_features

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from amanat.drill.designs import Evidence
    from amanat.drill.sample import Sample

NAME = "groups"


def features(evidence: Evidence, people: int) -> Features:
    """The features of each pair."""
    return group_features(evidence, people)


def truth(sample: Sample) -> NDArray[np.bool_]:
    """The pairs that share a group."""
    return sample.comembers
