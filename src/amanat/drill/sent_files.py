"""A model of the files that people send and fetch, and of the sizes that paddings leave to see.

Some of the messages of a trace are files; their recipients' clients fetch them as soon as they are
open, since most files are short enough to be fetched by themselves. The lengths are those of
photos that our client has made smaller, of voice notes, and of photos and documents sent as they
are. Observers are given the best of it: a line carries nothing else, and tells cells exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from amanat.drill.designs import WAY_S
from amanat.protocol.files import shape_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from amanat.drill.sample import Sample

SHARE = 0.05
"""The share of messages that are files."""
KINDS = ((0.55, 420_000, 0.5), (0.25, 60_000, 0.9), (0.2, 2_600_000, 0.6))
"""Photos made smaller, voice notes of 24 kb/s, and files as they are: the share of each, the median
length in bytes, and the spread of its logarithm."""
OURS = "half steps"


class SentFiles(NamedTuple):
    """Files in the order in which they were sent; `fetched`, `fetched_at` and `fetcher` have an
    item for each time that somebody fetched one: the file's number, the time and the person."""

    at: NDArray[np.float64]
    sender: NDArray[np.int64]
    size: NDArray[np.int64]
    """In bytes."""
    fetched: NDArray[np.int64]
    fetched_at: NDArray[np.float64]
    fetcher: NDArray[np.int64]


def draw_files(sample: Sample, rng: np.random.Generator) -> SentFiles:
    """The files that the people of a sample send and fetch."""
    chosen = np.flatnonzero(rng.random(len(sample.at)) < SHARE)
    at, sender = sample.at[chosen], sample.sender[chosen]
    fetches: list[tuple[int, float, int]] = []
    for number, talk in enumerate(sample.talk[chosen].tolist()):
        for person in sample.talks[talk]:
            came = sample.opened(person, float(at[number] + rng.uniform(*WAY_S)))
            if person != sender[number] and came < sample.seconds:
                fetches.append((number, came + float(rng.uniform(*WAY_S)), person))
    fetched, fetched_at, fetcher = zip(*fetches, strict=True)
    shares, medians, spreads = (np.array(column) for column in zip(*KINDS, strict=True))
    kind = rng.choice(len(KINDS), len(at), p=shares)
    size = np.exp(rng.normal(np.log(medians[kind]), spreads[kind])).astype(np.int64) + 1
    return SentFiles(at, sender, size, np.array(fetched), np.array(fetched_at), np.array(fetcher))


def _cells(size: int) -> int:
    return shape_of(size).filled


def _halves(size: int) -> int:
    return shape_of(size).cells


def _powers(size: int) -> int:
    return 1 << (_cells(size) - 1).bit_length()


PADDINGS: dict[str, Callable[[int], int]] = {
    "no padding": int,
    "cells": _cells,
    OURS: _halves,
    "powers of two": _powers,
}
"""The size that an observer sees of a file of so many bytes, by padding. The first is the control;
our files are padded to OURS."""


def seen_sizes(files: SentFiles, padding: str) -> NDArray[np.int64]:
    """The size that an observer sees of each file."""
    return np.array([PADDINGS[padding](size) for size in files.size.tolist()], dtype=np.int64)
