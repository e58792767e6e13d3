"""How good a ranking is: average precision, area under the curve, precision at k, and how sure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

RESAMPLES = 2_000
"""Bootstrap resamples of the seeds' figures."""
CONFIDENCE = (2.5, 97.5)
"""Percentiles of an interval that holds the mean in 95 of 100 cases."""


class Ranking(NamedTuple):
    """Figures of one ranking, each from 0 to 1, and the base rate: the share of true items."""

    average_precision: float
    auc: float
    precision_at_k: float
    """The share of true items among the first k, where k is the number of true items."""
    base: float


def rank(score: NDArray[np.float64], truth: NDArray[np.bool_], rng: np.random.Generator) -> Ranking:
    """The figures of scores for items of which some are true. Ties are broken at random."""
    order = np.lexsort((rng.random(len(score)), -score))
    hits = truth[order]
    many, total = int(hits.sum()), len(hits)
    if many in (0, total):
        raise ValueError("all or none are true")
    places = np.flatnonzero(hits) + 1
    precision = np.arange(1, many + 1) / places
    # Mann-Whitney: how many false items stand behind each true one.
    behind = (total - places) - (many - np.arange(1, many + 1))
    return Ranking(
        average_precision=float(precision.mean()),
        auc=float(behind.sum() / (many * (total - many))),
        precision_at_k=float(hits[:many].mean()),
        base=many / total,
    )


def interval(values: Sequence[float], seed: int = 0) -> tuple[float, float, float]:
    """(mean, low, high): the mean over seeds and its 95 % bootstrap interval."""
    found = np.array(values, dtype=np.float64)
    rng = np.random.default_rng(seed)
    means = found[rng.integers(0, len(found), (RESAMPLES, len(found)))].mean(axis=1)
    low, high = np.percentile(means, CONFIDENCE)
    return float(found.mean()), float(low), float(high)
