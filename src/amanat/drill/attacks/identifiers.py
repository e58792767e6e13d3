"""Fields at rest that identify people.

Method: for every column of every table, the information in its value about the recipient and about
the author of a message. It is learnt from half of the rows and measured on the other half, so that
a value that never recurs tells nothing.
Source: Shannon (1948); information as the gain of a prediction on unseen rows.
Metric: bits of the most telling field; log2 N bits would identify a person among N.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

NAME = "identifiers"
PRIOR = 0.5
"""Weight of the prior, in rows: little, since a field that tells anything tells it quickly."""


def measure(
    fields: Mapping[str, Sequence[object]],
    people: Mapping[str, NDArray[np.int64]],
    rng: np.random.Generator,
) -> tuple[str, float]:
    """(the most telling field, its bits); `people` are the recipient and the author of each row."""
    best = ("no field", 0.0)
    for name, values in fields.items():
        known: dict[object, int] = {}
        codes = np.array([known.setdefault(one, len(known)) for one in values])
        for whose, who in people.items():
            bits = information(codes, who, rng)
            if bits > best[1]:
                best = (f"{name}, {whose}", bits)
    return best


def information(
    values: NDArray[np.int64], who: NDArray[np.int64], rng: np.random.Generator
) -> float:
    """The information in a value about a person, in bits, on rows that were not learnt from."""
    order = rng.permutation(len(values))
    learnt, unseen = order[: len(order) // 2], order[len(order) // 2 :]
    people = int(who.max()) + 1
    before = (np.bincount(who[learnt], minlength=people) + 1) / (len(learnt) + people)
    of_value = np.bincount(values[learnt], minlength=int(values.max()) + 1)
    keys, counts = np.unique(values[learnt] * people + who[learnt], return_counts=True)
    wanted = values[unseen] * people + who[unseen]
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    both = np.where(keys[at] == wanted, counts[at], 0)
    prior = before[who[unseen]]
    after = (both + PRIOR * prior) / (of_value[values[unseen]] + PRIOR)
    return float(np.log2(after / prior).mean())
