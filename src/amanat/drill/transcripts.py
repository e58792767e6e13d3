"""Compares what people's clients show with what was said."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from amanat.drill.traces import Script


class Transcript(NamedTuple):
    """One conversation as one person's client shows it."""

    conversation: tuple[str, ...]
    shown: list[tuple[str, str]]
    """(sender, text) in the client's order."""
    waits_ms: list[int]
    """Milliseconds from send to transcript, for each message of others."""


class Compared(NamedTuple):
    """How transcripts differ from a script: lines that somebody lacks, lines shown too often, lines
    shown out of place, and whether every transcript is right."""

    lost: int
    duplicated: int
    reordered: int
    equal: bool


def compare_all(script: Script, transcripts: list[Transcript]) -> Compared:
    """The lines that are lost, doubled or out of place, over all conversations."""
    lost = duplicated = reordered = 0
    equal = True
    for conversation, lines in script.conversations.items():
        expected = [(line.sender, line.text) for line in lines]
        missing: set[int] = set()
        seen = [t.shown for t in transcripts if t.conversation == conversation]
        for shown in seen:
            gone, extra, moved = compare(expected, shown)
            missing.update(gone)
            duplicated += extra
            reordered += moved
            equal = equal and shown == expected
        if len(seen) != len(conversation):
            missing.update(range(len(expected)))
        lost += len(missing)
    return Compared(lost, duplicated, reordered, equal)


def compare(
    expected: list[tuple[str, str]], shown: list[tuple[str, str]]
) -> tuple[list[int], int, int]:
    """(indexes of expected lines not shown, lines shown too often, lines shown out of place)."""
    places: dict[tuple[str, str], list[int]] = {}
    for index, line in enumerate(expected):
        places.setdefault(line, []).append(index)
    extra = 0
    order: list[int] = []
    for line in shown:
        if places.get(line):
            order.append(places[line].pop(0))
        else:
            extra += 1
    missing = sorted(index for left in places.values() for index in left)
    moved = sum(1 for before, after in itertools.pairwise(order) if after < before)
    return missing, extra, moved
