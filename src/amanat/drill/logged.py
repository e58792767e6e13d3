"""What recorded logs tell of people: each field by itself, requests by pairs, lines by times.

A log is what one adversary has: the home relay, the hop, or the ISP. Whose a request was is known
to nobody of them when requests are hopped; here both logs together say it, to judge by.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from amanat.drill.attackers import LEAVES, TREES
from amanat.drill.attacks.identifiers import information
from amanat.drill.records import Carried, Frame, Opened
from amanat.drill.scores import rank

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from amanat.drill.records import Field

NEAR_S = 2.0
"""Requests further apart than this are not taken for one person's, in seconds: half of those that
belong together come within a tenth of it."""
LEAST_ROWS = 200
"""Fewer rows than this say nothing of how much a field tells."""
PAIRS = 100_000
"""Most pairs that are learnt from, chosen by, or judged."""
US = 1_000_000
TOKENS = ("append_token", "read_token")
"""Fields that say again what another says: a drop has one of each."""


class Logs(NamedTuple):
    """Everything that was written down of one run, and whose lines are whose."""

    home: list[Frame]
    """At the relay that is home to everybody."""
    hop: list[Frame]
    """At the other, which is everybody's hop to it, and their fallback."""
    opened: list[Opened]
    """Connections at the home relay."""
    carried: list[Carried]
    """At the ISP."""
    lines: list[str]
    """Of each person, by number."""
    talking_at: int
    """When everybody had met and talk began, in Unix microseconds."""


class Row(NamedTuple):
    """A request, and who made it."""

    frame: Frame
    who: int
    kind: str
    """A "read" or "append" of a bucket, "come" (a first read of one), "look" (a read of any other
    drop), or else its verb."""


def asked_at_home(logs: Logs) -> list[Row]:
    """The requests that people made of their home relay, whichever way, in order."""
    number = {line: who for who, line in enumerate(logs.lines)}
    makers = {
        one.fields["sealed digest"]: number[one.peer]
        for one in logs.hop
        if one.peer in number and "sealed digest" in one.fields
    }
    asked = [
        (one, makers[seal] if one.is_sealed else number[one.peer])
        for one in logs.home
        if one.direction == "in"
        and "to" not in one.fields
        and ((seal := one.fields.get("sealed digest")) in makers or one.peer in number)
    ]
    buckets = _buckets(logs)
    return [Row(one, who, _kind(one, buckets)) for one, who in asked]


def _buckets(logs: Logs) -> set[Field]:
    """The operator derives them; here they are the drops that many people read."""
    readers = Counter(one.fields.get("drop_id") for one in logs.home if "read_token" in one.fields)
    most = max(readers.values(), default=0)
    return {drop for drop, many in readers.items() if many > most / 10}


def _kind(frame: Frame, buckets: set[Field]) -> str:
    is_bucket = frame.fields.get("drop_id") in buckets
    if "read_token" in frame.fields:
        is_first = frame.fields.get("wait", 1) == 0
        return "look" if not is_bucket else "come" if is_first else "read"
    return "append" if is_bucket and "append_token" in frame.fields else frame.verb


def asked_at_hop(logs: Logs) -> list[Row]:
    """The requests that people made of their hop, in order."""
    number = {line: who for who, line in enumerate(logs.lines)}
    return [
        Row(one, number[one.peer], one.verb)
        for one in logs.hop
        if one.direction == "in" and one.peer in number
    ]


def bits(rows: Sequence[Row], rng: np.random.Generator) -> dict[str, float]:
    """What each field of these requests tells of who made them; nothing of too few."""
    if len(rows) < LEAST_ROWS:
        return {}
    who = np.array([row.who for row in rows])
    names = {name for row in rows for name in row.frame.fields} - set(TOKENS)
    values: dict[str, list[object]] = {
        name.removesuffix("_id"): [row.frame.fields.get(name) for row in rows]
        for name in sorted(names)
    }
    values |= {
        name: [getattr(row.frame, name) for row in rows]
        for name in ("peer", "port", "connection", "verb", "id", "size")
    }
    values["second"] = [row.frame.at // US for row in rows]
    return {name: information(_codes(each), who, rng) for name, each in values.items()}


def bits_of_lines(logs: Logs, rng: np.random.Generator) -> dict[str, float]:
    """What each field of an ISP's log tells of whose bytes they were."""
    number = {line: who for who, line in enumerate(logs.lines)}
    who = np.array([number[one.line] for one in logs.carried])
    values: dict[str, list[object]] = {
        name: [getattr(one, name) for one in logs.carried]
        for name in ("line", "port", "direction", "size")
    }
    values["second"] = [one.at // US for one in logs.carried]
    return {name: information(_codes(each), who, rng) for name, each in values.items()}


def _codes(values: Sequence[object]) -> NDArray[np.int64]:
    known: dict[object, int] = {}
    return np.array([known.setdefault(one, len(known)) for one in values])


class Linked(NamedTuple):
    """How well pairs of requests are told to be one person's."""

    auc: float
    average_precision: float
    base: float


def link(logs: Logs, first: str, then: str, rng: np.random.Generator) -> Linked | None:
    """Whether a request of one kind, and one of another that came soon after it, are one person's,
    from all that is logged of both; None if there are too few.

    Of each person the first that came after it is a candidate, or they would be told apart by how
    many there are. What comes after a read comes after its answer. Learnt in the first third of the
    time, decided in the second whether trees or nearness alone speak, and judged in the last.
    """
    rows = [row for row in asked_at_home(logs) if row.frame.at >= logs.talking_at]
    answered = _answered(logs)
    seen, truth, at = [], [], []
    later = [row for row in rows if row.kind == then]
    times = np.array([row.frame.at for row in later])
    for one in (row for row in rows if row.kind == first):
        place = (one.frame.connection, one.frame.id)
        begin = answered.get(place, one.frame.at) if first == "read" else one.frame.at
        low, high = np.searchsorted(times, [begin + 1, begin + NEAR_S * US])
        for other in {each.who: each for each in reversed(later[low:high])}.values():
            seen.append(_features(one.frame, other.frame, begin))
            truth.append(one.who == other.who)
            at.append(begin)
    if len(seen) < LEAST_ROWS:
        return None
    x, y = np.array(seen, dtype=np.float32), np.array(truth)
    thirds = np.array_split(np.argsort(at, kind="stable"), 3)
    learnt, chosen, judged = (rng.permutation(one)[:PAIRS] for one in thirds)
    if any(y[one].all() or not y[one].any() for one in (learnt, chosen, judged)):
        return None
    trees = HistGradientBoostingClassifier(
        max_iter=TREES, max_leaf_nodes=LEAVES, early_stopping=False, random_state=0
    ).fit(x[learnt], y[learnt])
    speakers: tuple[Callable[[NDArray[np.float32]], NDArray[np.float64]], ...] = (
        lambda pairs: trees.predict_proba(pairs)[:, 1],
        lambda pairs: -pairs[:, 0].astype(np.float64),
    )
    speaks = max(speakers, key=lambda one: rank(one(x[chosen]), y[chosen], rng).auc)
    found = rank(speaks(x[judged]), y[judged], rng)
    return Linked(found.auc, found.average_precision, found.base)


def _answered(logs: Logs) -> dict[tuple[int, int], int]:
    """When each request was answered first, by its connection and id."""
    found: dict[tuple[int, int], int] = {}
    for one in logs.home:
        if one.direction == "out":
            found.setdefault((one.connection, one.id), one.at)
    return found


def _features(one: Frame, other: Frame, begin: int) -> list[float]:
    """All that is logged of two requests, without what names a drop for good."""
    after = [_number(each.fields.get("after")) for each in (one, other)]
    return [
        (other.at - begin) / US,
        other.id - one.id,
        other.connection == one.connection,
        other.size == one.size,
        other.verb == one.verb,
        other.fields.get("drop_id") == one.fields.get("drop_id"),
        other.fields.get("cell size") == one.fields.get("cell size"),
        after[1] - after[0],
        after[0] == after[1],
        _number(one.fields.get("wait")),
        _number(other.fields.get("wait")),
    ]


def _number(value: Field) -> float:
    return float(value) if isinstance(value, int | float) else -1.0


def named_by_connections(logs: Logs) -> tuple[float, float]:
    """(the share of comings that are named, a guess): a home relay that is a hop, too, sees who
    connects to it just before somebody begins to read a bucket."""
    number = {line: who for who, line in enumerate(logs.lines)}
    opened = [(one.at, number[one.peer]) for one in logs.opened if one.peer in number]
    times = np.array([at for at, _ in opened])
    seen: set[int] = set()
    named = total = 0
    for row in asked_at_home(logs):
        if row.kind != "come" or row.frame.at < logs.talking_at or row.who in seen:
            continue
        seen.add(row.who)
        total += 1
        last = int(np.searchsorted(times, row.frame.at)) - 1
        named += last >= 0 and opened[last][1] == row.who
    return named / max(total, 1), 1 / len(logs.lines)
