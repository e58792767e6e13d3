"""Whom a stored field names.

Method: for every column of every table, what its value tells of the person a message is for, and of
the person it is from: learnt from half of the rows and measured on the other, so that a value that
never comes again tells nothing.
Source: Shannon (1948); information as the gain of a prediction on unseen rows.
Metric: bits of the most telling field, of log2 N that would name a person among N.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

NAME = "identifiers"
PRIOR = 0.5
"""How many rows what was known before weighs: little, since fields that tell tell quickly."""


def measure(
    fields: Mapping[str, Sequence[object]],
    people: Mapping[str, NDArray[np.int64]],
    rng: np.random.Generator,
) -> tuple[str, float]:
    """(the most telling field, its bits); `people` are whom each row is for and from."""
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
    """What a value tells of a person, in bits, on rows that were not learnt from."""
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
