"""Finding out who writes to whom.

Method: statistical disclosure. Answers and receipts come back soon, so deposits for one person
that follow deposits for another more often than by chance betray the two. Where the address is
seen, its deposits for each person and the turns of two people betray them. The attackers are a
single count, its window chosen on training seeds, and boosted trees over all counts.
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
    """The features of each pair."""
    return contact_features(evidence, people)


def truth(sample: Sample) -> NDArray[np.bool_]:
    """The pairs that are contacts."""
    return sample.contacts
