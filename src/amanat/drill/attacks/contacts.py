"""Who writes to whom.

Method: statistical disclosure. Answers and receipts come back soon, so deposits for one person
that follow deposits for another oftener than by chance betray the two; where the address is seen,
what it deposits for whom and how turns are taken. A single count, its window chosen on training
seeds, and boosted trees over all of them.
Source: Danezis, "Statistical Disclosure Attacks" (SEC 2003); Martiny et al., "Improving Signal's
Sealed Sender" (NDSS 2021).
Metric: average precision over all pairs of people, beside the share of pairs that are contacts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from amanat.drill.linking import Features, contact_features

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from amanat.drill.designs import Evidence
    from amanat.drill.sample import Sample

NAME = "contacts"


def features(evidence: Evidence, people: int) -> Features:
    """What speaks for each pair."""
    return contact_features(evidence, people)


def truth(sample: Sample) -> NDArray[np.bool_]:
    """Which pairs it is true of."""
    return sample.contacts
