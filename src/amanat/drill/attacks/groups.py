"""Who is in a group with whom.

Method: the copies of a group's message are deposited within a moment; places that receive together
oftener than by chance belong to members, and where the address is seen, so does what it reaches in
one burst. A single count, its window chosen on training seeds, and boosted trees over all of them.
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
    """What speaks for each pair."""
    return group_features(evidence, people)


def truth(sample: Sample) -> NDArray[np.bool_]:
    """Which pairs it is true of."""
    return sample.comembers
