"""Finding a known file by a relay's public ledger alone.

Method: somebody knows the length of a leaflet, and a day on which it was sent to a group. A ledger
tells everybody how many cells each drop had, and the hour in which it was made; the attacker takes
the files of that day that are as long for the leaflet.
Source: Nikitin et al., "Reducing Metadata Leakage from Encrypted Files" (PETS 2019).
Metric: the share of those files that are the leaflet, as for known texts (`sizes.py`); and how
often no other file of that day is as long, so that the leaflet is known for sure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from amanat.drill.sent_files import SentFiles

NAME = "files-ledger"
LEAFLETS = 2_000
"""Known files in each seed, each as long as some file of those people's."""
DAY_S = 86_400.0


class Known(NamedTuple):
    """The share of files that are the leaflet, that share by a guess, and how often it is alone."""

    precision: float
    guess: float
    alone: float


def measure(files: SentFiles, seen: NDArray[np.int64], rng: np.random.Generator) -> Known:
    """How well a leaflet is known, where a file shows the size `seen`."""
    day = (files.at // DAY_S).astype(np.int64)
    leaflets = rng.integers(0, len(seen), LEAFLETS)
    days = rng.choice(day, LEAFLETS)
    # A day with more files has more leaflets, as it has more of everything else.
    others = np.array([(day == one).sum() for one in days])
    alike = np.array(
        [
            ((day == one) & (seen == size)).sum()
            for one, size in zip(days.tolist(), seen[leaflets].tolist(), strict=True)
        ]
    )
    return Known(
        float((1 / (1 + alike)).mean()),
        float((1 / (1 + others)).mean()),
        float((alike == 0).mean()),
    )
