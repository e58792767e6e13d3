"""When the cells of covered people can be seen: one cell of each person in a period, words first.

This carries out the rules of `client/cover.py` and `rules/sending.py` for a month of a sample. A
word to many people waits for as many periods; a receipt leaves when nothing else waits, or rides
along with a word; a word larger than a cell of the smallest size leaves at once. Everybody's
program runs all the time, in the background.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from amanat.client.rules.roster import RECEIPT_GROUP
from amanat.client.rules.saying import RECEIPT_DELAY_MS
from amanat.protocol.rounds import PERIODS_S, READ, ROUND_S, send_at

if TYPE_CHECKING:
    import numpy as np

    from amanat.drill.sample import Sample

PERIOD_S = PERIODS_S[0]
"""Everybody's period, in seconds."""


class Seen(NamedTuple):
    """A cell that a relay got, and the time at which the relay carried out the request."""

    at: float
    author: int
    recipient: int
    talk: int
    size: int
    """Bytes of the text; 0 for a receipt."""


class _Event(NamedTuple):
    at: float
    kind: str
    who: int
    talk: int
    size: int


def carry(
    sample: Sample, sizes: list[int], rng: np.random.Generator, *, is_large: list[bool]
) -> list[Seen]:
    """The cells of all messages of a sample, whose texts have these sizes; large ones leave at
    once. The order in a round is random."""
    return _Month(sample, rng).carry(sizes, is_large)


class _Month:
    def __init__(self, sample: Sample, rng: np.random.Generator) -> None:
        self._sample, self._rng = sample, rng
        self._events: list[tuple[float, int, _Event]] = []
        self._queues: list[deque[_Event]] = [deque() for _ in range(sample.people)]
        """Each person's waiting cells: events of their conversations, `who` being the recipient."""
        self._period = [-1] * sample.people
        """Each person's last period in which a cell left."""
        self._due: dict[tuple[int, int], float] = {}
        """When a receipt is due, by person and conversation."""
        self._seen: list[Seen] = []

    def _plan(self, event: _Event) -> None:
        heapq.heappush(self._events, (event.at, len(self._events), event))

    def carry(self, sizes: list[int], is_large: list[bool]) -> list[Seen]:
        sample = self._sample
        said = zip(
            sample.at.tolist(),
            sample.sender.tolist(),
            sample.talk.tolist(),
            sizes,
            is_large,
            strict=True,
        )
        for at, who, talk, size, at_once in said:
            self._plan(_Event(at, "large" if at_once else "say", who, talk, size))
        while self._events and self._events[0][0] < sample.seconds:
            event = heapq.heappop(self._events)[2]
            match event.kind:
                case "say":
                    self._say(event)
                case "large":
                    for other in self._others(event):
                        self._take(event.at, event.who, event._replace(who=other))
                case "place":
                    self._leave(event)
                case _:
                    self._confirm(event)
        return [self._seen[index] for index in self._rng.permutation(len(self._seen)).tolist()]

    def _others(self, event: _Event) -> list[int]:
        return [one for one in self._sample.talks[event.talk] if one != event.who]

    def _say(self, event: _Event) -> None:
        """Queue an event's cells, one for each of the other people."""
        self._due.pop((event.who, event.talk), None)  # the receipt rides along
        queue = self._queues[event.who]
        if not queue:
            self._plan_place(event.who, event.at)
        queue.extend(event._replace(who=other) for other in self._others(event))

    def _plan_place(self, who: int, now: float) -> None:
        period = max(int(now // PERIOD_S), self._period[who] + 1)
        at = send_at(period, PERIOD_S, float(self._rng.random()))
        if at <= now:
            period += 1
            at = send_at(period, PERIOD_S, float(self._rng.random()))
        self._period[who] = period
        self._plan(_Event(at, "place", who, -1, 0))

    def _leave(self, event: _Event) -> None:
        who = event.who
        copy = self._queues[who].popleft()
        self._take((self._period[who] + 1.0) * PERIOD_S, who, copy)
        if self._queues[who]:
            self._plan_place(who, event.at)

    def _take(self, at: float, author: int, copy: _Event) -> None:
        """Have a relay carry out a cell's request; its recipient reads it, and owes a receipt for a
        text."""
        self._seen.append(Seen(at, author, copy.who, copy.talk, copy.size))
        key = (copy.who, copy.talk)
        if copy.size and key not in self._due:
            if len(self._sample.talks[copy.talk]) > RECEIPT_GROUP:
                return
            read = at + ROUND_S * float(self._rng.uniform(*READ))
            low, high = RECEIPT_DELAY_MS
            self._due[key] = read + float(self._rng.uniform(low, high)) / 1000
            self._plan(_Event(self._due[key], "receipt", *key, 0))

    def _confirm(self, event: _Event) -> None:
        due = self._due.get((event.who, event.talk))
        if due is None or due > event.at:
            return  # the receipt rode along
        if self._queues[event.who]:
            self._due[event.who, event.talk] = event.at + PERIOD_S
            self._plan(event._replace(at=event.at + PERIOD_S))
            return
        self._say(event)
