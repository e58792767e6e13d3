"""Figures of a drill: its settings, its results, and how they are judged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec
import numpy as np

from amanat.drill.attacks import (
    contacts,
    groups,
    infiltrator,
    ip,
    presence,
    puppets,
    sizes,
)
from amanat.drill.scores import interval
from amanat.errors import BrokenControl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


GRAPH = {contacts.NAME: contacts, groups.NAME: groups}
CONTROL = 0.95
"""Average precision that attacks on the graph must reach on a server that is told the graph."""
CONTROLLED = "federated"
BOUNDS = {
    contacts.NAME: ("base", 1.3),
    groups.NAME: ("base", 1.3),
    puppets.NAME: ("base", 1.3),
    infiltrator.NAME: ("random", 5.0),
    presence.NAME: ("random", 2.0),
    sizes.NAME: ("random", 2.0),
    ip.NAME: ("random", 1.0),
}
"""Bounds for attacks on our design, as multiples of the base rate or of a guess's figure."""


class Settings(msgspec.Struct, frozen=True):
    """The settings of a drill."""

    trace: str | None
    form: str
    people: int
    days: int
    seeds: int
    attacks: tuple[str, ...]
    designs: tuple[str, ...]
    real: int = 0
    """Messages that other people's real servers are loaded with; none by default."""
    people_per_bucket: int = 0
    """People of a bucket in the logs of our design; 0 for as many as operators are told to have."""


class Result(msgspec.Struct, frozen=True):
    """One figure. `low` and `high` are its 95 % interval, `base` the base rate, `random` the figure
    of a guess. `verdict`: "control" (the server is told the truth), "shown" (another design's),
    "holds" or "fails" (ours, by BOUNDS)."""

    design: str
    mode: str | None
    attack: str
    metric: str
    value: float
    low: float
    high: float
    base: float | None
    random: float | None
    verdict: str


class Report(msgspec.Struct, frozen=True):
    """The findings of a drill. `positive_control` is the least average precision of the attacks on
    the graph against the control; None if none ran."""

    settings: Settings
    positive_control: float | None
    results: list[Result]


class Figure(msgspec.Struct, frozen=True):
    """The figure of one seed for one design, mode, attack and metric."""

    design: str
    mode: str | None
    attack: str
    metric: str
    value: float
    base: float | None = None
    random: float | None = None


T = TypeVar("T")


def write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    new = path.with_name(path.name + ".new")
    new.write_bytes(data)
    new.replace(path)


def found_in(file: Path, of: type[T], find: Callable[[], T]) -> T:
    """The result of `find`, kept in a file so that a drill that was interrupted does not look
    again."""
    if not file.exists():
        write_whole(file, msgspec.json.encode(find()))
    return msgspec.json.decode(file.read_bytes(), type=of)


# Together


def by_kind(figures: Iterable[Figure]) -> list[tuple[Figure, list[Figure]]]:
    """The figures of all seeds for each design, mode, attack and metric, with the first of them."""
    found: dict[tuple[object, ...], list[Figure]] = {}
    for one in figures:
        found.setdefault((one.design, one.mode, one.attack, one.metric), []).append(one)
    return [(each[0], each) for each in found.values()]


def result(kind: Figure, figures: list[Figure]) -> Result:
    """The figures of all seeds as one, judged."""
    value, low, high = interval([one.value for one in figures])
    base, random = (
        None if first is None else float(np.mean([getattr(one, name) for one in figures]))
        for name, first in (("base", kind.base), ("random", kind.random))
    )
    verdict = "shown"
    if kind.design == CONTROLLED:
        verdict = "control"
    elif kind.design == "amanat":
        verdict = _judged(kind, value, base, random)
    return Result(
        kind.design, kind.mode, kind.attack, kind.metric, value, low, high, base, random, verdict
    )


def _judged(kind: Figure, value: float, base: float | None, random: float | None) -> str:
    if kind.attack in GRAPH and kind.metric != "average precision":
        return "shown"
    measure, times = BOUNDS[kind.attack]
    against = base if measure == "base" else random
    return "shown" if against is None else "holds" if value <= times * against else "fails"


def control_of(results: list[Result]) -> float | None:
    """The positive control. Raises BrokenControl: an attack that does not find a graph that the
    server is told proves nothing about designs that hide it."""
    found = {
        one.attack: one.value
        for one in results
        if one.design == CONTROLLED and one.metric == "average precision"
    }
    if not found:
        return None
    worst = min(found, key=found.__getitem__)
    if found[worst] < CONTROL:
        raise BrokenControl(f"{worst}: {found[worst]:.3f}, where {CONTROL} is due")
    return found[worst]


def judge_ours(attack: str, metric: str, value: float, *, is_held: bool | None) -> Result:
    """A figure of our design that holds, fails, or (None) is only shown."""
    verdict = "shown" if is_held is None else "holds" if is_held else "fails"
    return Result("amanat", None, attack, metric, value, value, value, None, None, verdict)


# On real relays, once


def once(
    design: str,
    attack: str,
    metric: str,
    value: tuple[float, float, float],
    *,
    random: float | None,
    most: float,
) -> Result:
    """A figure that was measured once and not over seeds; ours holds up to `most`."""
    verdict = "control" if design == CONTROLLED else "shown"
    if design == "amanat":
        verdict = "holds" if value[0] <= most else "fails"
    return Result(design, None, attack, metric, *value, None, random, verdict)
