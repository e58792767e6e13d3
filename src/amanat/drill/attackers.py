"""Attackers that tune themselves on training seeds only and are judged on others.

Each design faces two: the single count that did best in training, and gradient-boosted trees over
all counts at once. Training also decides which of the two speaks for the design.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from amanat.drill.scores import Ranking, rank

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from amanat.drill.linking import Features

TRAINING_PAIRS = 60_000
"""Most pairs of one seed from which trees learn: bounds memory and time."""
TREES = 120
LEAVES = 15
"""Number of trees, and of leaves of each: more would fit the training seeds and nothing else."""


class Lesson(NamedTuple):
    """The lesson of one training seed: a row of counts for each pair, and whether it is true."""

    names: list[str]
    rows: NDArray[np.float32]
    truth: NDArray[np.bool_]
    precision: list[float]
    """Average precision of each count alone."""


class Attacker(NamedTuple):
    """A trained attacker. `speaks` is "count" or "trees"."""

    best: int
    """Index of the single count that did best."""
    trees: HistGradientBoostingClassifier
    speaks: str


def _each_pair(
    features: Features, truth: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(a row of counts, whether it is true) for each pair of people, once."""
    pairs = np.triu_indices(len(truth), 1)
    rows = np.stack([score[pairs] for score in features.values], axis=1).astype(np.float32)
    return rows, truth[pairs]


def learn(features: Features, truth: NDArray[np.bool_], rng: np.random.Generator) -> Lesson:
    """The lesson of one training seed."""
    rows, is_true = _each_pair(features, truth)
    precision = [rank(one, is_true, rng).average_precision for one in rows.T]
    chosen = rng.permutation(len(rows))[:TRAINING_PAIRS]
    return Lesson(features.names, rows[chosen], is_true[chosen], precision)


def train(lessons: list[Lesson], seed: int) -> Attacker:
    """The attacker that training seeds make. The last of them decides who speaks."""
    best = int(np.argmax(np.mean([lesson.precision for lesson in lessons], axis=0)))
    *early, last = lessons
    rng = np.random.default_rng(seed)
    held = rank(_grow(early, seed).predict_proba(last.rows)[:, 1], last.truth, rng)
    alone = rank(last.rows[:, best].astype(np.float64), last.truth, rng)
    speaks = "trees" if held.average_precision > alone.average_precision else "count"
    return Attacker(best, _grow(lessons, seed), speaks)


def _grow(lessons: list[Lesson], seed: int) -> HistGradientBoostingClassifier:
    trees = HistGradientBoostingClassifier(
        max_iter=TREES, max_leaf_nodes=LEAVES, early_stopping=False, random_state=seed
    )
    return trees.fit(
        np.concatenate([lesson.rows for lesson in lessons]),
        np.concatenate([lesson.truth for lesson in lessons]),
    )


def judge(
    attacker: Attacker, features: Features, truth: NDArray[np.bool_], rng: np.random.Generator
) -> dict[str, Ranking]:
    """The results of both on a seed that they have not seen, as "count" and "trees"."""
    rows, is_true = _each_pair(features, truth)
    return {
        "count": rank(rows[:, attacker.best].astype(np.float64), is_true, rng),
        "trees": rank(attacker.trees.predict_proba(rows)[:, 1], is_true, rng),
    }
