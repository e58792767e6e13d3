"""Finding out who fetches a file that somebody has sent.

Method: an observer sees how much each line sends and gets, and when. The next line to get as much
as somebody has sent, as far as padding shows it, fetches that file; the sooner, the likelier.
Source: Bahramali et al., "Practical Traffic Analysis Attacks on Secure Messaging Applications"
(NDSS 2020); padding from Nikitin et al., "Reducing Metadata Leakage from Encrypted Files" (PETS
2019).
Metric: average precision over all pairs of a sent file and a line, beside the share of pairs that
are true; and how often the first guess is right. The control sends files without padding or cells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from amanat.drill.scores import rank

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from amanat.drill.sent_files import SentFiles

NAME = "files-line"


class Named(NamedTuple):
    """Average precision, its base rate, and the share of files whose best line is a fetcher's."""

    average_precision: float
    base: float
    first: float


def measure(
    files: SentFiles, seen: NDArray[np.int64], people: int, rng: np.random.Generator
) -> Named:
    """How well lines are named, where a file shows the size `seen`."""
    score = np.full((len(files.at), people), -np.inf)
    truth = np.zeros((len(files.at), people), dtype=bool)
    truth[files.fetched, files.fetcher] = True
    size = seen[files.fetched]
    for number, at in enumerate(files.at.tolist()):
        alike = (size == seen[number]) & (files.fetched_at >= at)
        delay = files.fetched_at[alike] - at
        np.maximum.at(score[number], files.fetcher[alike], -delay)
    # A sender knows their own line, and a file that nobody fetched has no right line.
    asked = np.isin(np.arange(len(files.at)), files.fetched)
    others = np.ones_like(truth)
    others[np.arange(len(files.at)), files.sender] = False
    chosen = others & asked[:, np.newaxis]
    found = rank(score[chosen], truth[chosen], rng)
    score[~others] = -np.inf
    best = score[asked].argmax(axis=1)
    first = truth[np.flatnonzero(asked), best].mean()
    return Named(found.average_precision, found.base, float(first))
