"""Telling which of two known texts was sent.

Method: an infiltrator has one of two texts sent, at random, a thousand times, and learns from half
of the stored entries to tell them apart: by length, by how often each byte occurs, and by whether
the same bytes were stored before.
Source: the game of indistinguishability under chosen plaintext (Goldwasser and Micali, 1984).
Metric: area under the curve on the other half; 0.5 is a guess.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from amanat.drill.scores import rank

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

NAME = "plaintext"
SENT = 1_000
TEXTS = ("Yes.", "No, and do not ask me again, for I have told you all that there is to be told.")
RESAMPLES = 200


def measure(
    stored: Sequence[bytes], which: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[float, float, float]:
    """(area under the curve, its 95 % interval) for the stored entry of each text sent."""
    again = Counter(stored)
    rows = np.array(
        [
            [len(one), again[one], *np.bincount(np.frombuffer(one, np.uint8), minlength=256)]
            for one in stored
        ],
        dtype=np.float64,
    )
    half = len(rows) // 2
    scaled = StandardScaler().fit(rows[:half])
    model = LogisticRegression(max_iter=500, C=0.01).fit(
        scaled.transform(rows[:half]), which[:half]
    )
    score = model.decision_function(scaled.transform(rows[half:]))
    truth = which[half:]
    found = []
    for _ in range(RESAMPLES):
        chosen = rng.integers(0, len(truth), len(truth))
        found.append(rank(score[chosen], truth[chosen], rng).auc)
    low, high = np.percentile(found, (2.5, 97.5))
    return rank(score, truth, rng).auc, float(low), float(high)
