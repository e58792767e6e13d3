"""How much recorded logs reveal: each field by itself, requests in pairs, and lines by times.

Each adversary (the home relay, the hop, or the ISP) has one log. When requests are hopped, no log
alone tells whose a request was; here both logs together do, and give the truth to judge by.
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
"""Requests further apart than this, in seconds, are not taken for one person's: half of those that
belong together come within a tenth of it."""
LEAST_ROWS = 200
"""With fewer rows than this nothing can be said of a field."""
PAIRS = 100_000
"""Most pairs used for learning, for choosing, or for judging."""
US = 1_000_000
TOKENS = ("append_token", "read_token")
"""Fields that repeat another one: a drop has one of each."""


class Logs(NamedTuple):
    """Everything that was recorded of one run, and the owner of each line."""

    home: list[Frame]
    """Frames at the relay that is home to everybody."""
    hop: list[Frame]
    """Frames at the other relay, which is everybody's hop to their home, and their fallback."""
    opened: list[Opened]
    """Connections at the home relay."""
    carried: list[Carried]
    """Bytes seen at the ISP."""
    lines: list[str]
    """The network address of each person, by number."""
    talking_at: int
    """When everybody had met and talk began, in Unix microseconds."""


class Row(NamedTuple):
    """A request, and the person who made it."""

    frame: Frame
    who: int
    kind: str
    """A "read" or "append" of a bucket, "come" (a first read of one), "look" (a read of any other
    drop), or else its verb."""


def asked_at_home(logs: Logs) -> list[Row]:
    """The requests that people made to their home relay, whichever way they took, in order."""
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
    """The drop ids of the buckets. An operator derives them; here they are the drops that many
    people read."""
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
    """The requests that people made to their hop, in order."""
    number = {line: who for who, line in enumerate(logs.lines)}
    return [
        Row(one, number[one.peer], one.verb)
        for one in logs.hop
        if one.direction == "in" and one.peer in number
    ]


def bits(rows: Sequence[Row], rng: np.random.Generator) -> dict[str, float]:
    """How many bits each field of these requests tells about the people who made them; nothing if
    there are too few requests."""
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
    """How many bits each field of an ISP's log tells about the person whose bytes they were."""
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
    """How well pairs of requests are recognised as one person's."""

    auc: float
    average_precision: float
    base: float


def link(logs: Logs, first: str, then: str, rng: np.random.Generator) -> Linked | None:
    """How well an attacker recognises that a request of one kind, and one of another soon after it,
    are the same person's, from all logged fields of both; None if there are too few pairs.

    Only the first later request of each person is a candidate; otherwise their number would tell
    people apart. After a read, time counts from its answer. The attacker learns in the first third
    of the time, decides in the second whether trees or nearness alone speak, and is judged in the
    last.
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
    """The time of the first answer to each request, by its connection and id."""
    found: dict[tuple[int, int], int] = {}
    for one in logs.home:
        if one.direction == "out":
            found.setdefault((one.connection, one.id), one.at)
    return found


def _features(one: Frame, other: Frame, begin: int) -> list[float]:
    """All logged fields of two requests, without those that name a drop for good."""
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
    """(the share of returns whose person is named, the share of a guess): a home relay that is also
    a hop sees who connects to it just before somebody begins to read a bucket."""
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
