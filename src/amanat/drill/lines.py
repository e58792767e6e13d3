"""Real clients' lines, as they look to an observer who works with the recipient.

In the simulated world some people, whose clients use hops, write to an infiltrator who works with
an observer of their lines. The infiltrator notes when each person's words arrive, and the observer
when each line sends something; they do not know which line is whose. The clients are the program
itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from amanat.drill.attacks import infiltrator
from amanat.drill.integrity import in_a_world
from amanat.protocol.rounds import PERIODS_S

if TYPE_CHECKING:
    from amanat.drill.person import Person
    from amanat.drill.world import World

PERIOD_S = PERIODS_S[0]
APART_S = (20.0, 60.0)
"""How long after somebody's word the next person writes, in seconds."""


class Watched(NamedTuple):
    """When the words of each person arrived, and when each line sent something, in seconds."""

    words: dict[str, list[float]]
    lines: dict[str, list[float]]


def watch(mode: str, seed: int) -> Watched:
    """Everything seen of people whose transport is "hopped" or "covered"."""

    async def work(world: World) -> Watched:
        first, second = world.two_operators()
        spy = await world.person("spy", relay=first, fallback=second)
        people: list[Person] = []
        for number in range(infiltrator.LINES):
            person = await world.person(f"person {number}", relay=first, fallback=second)
            await world.meet(spy, person)
            people.append(person)
        for person in people if mode == "covered" else ():
            await person.client.hopping.set_cover(PERIOD_S)
            await person.sleep()
            person.wake()
        await world.pass_time(3 * PERIOD_S)
        world.network.lines.clear()
        rng = np.random.default_rng(seed)
        turns = rng.permutation(np.repeat(np.arange(len(people)), infiltrator.POSTS)).tolist()
        for number in turns:
            people[number].say("spy", "somebody has said this")
            await world.pass_time(float(rng.uniform(*APART_S)))
        await world.pass_time(3 * PERIOD_S)
        begin = world.network.clock() - world.loop.time()
        words = {
            person.name: [one.kept_at / 1000 - begin for one in spy.messages(person.name)]
            for person in people
        }
        lines: dict[str, list[float]] = {person.name: [] for person in people}
        for at, who, _, _ in world.network.lines:
            if who in lines:
                lines[who].append(at - begin)
        return Watched(words, lines)

    return in_a_world(work, seed)


def named(watched: Watched, before_s: float) -> float:
    """The share of people whose line is named by its sending in the `before_s` seconds before their
    words arrived."""
    total = 0.0
    for person, arrivals in watched.words.items():
        best = infiltrator.fit_best(arrivals, watched.lines, before_s)
        total += (person in best) / len(best)
    return total / len(watched.words)


def tune(watched: Watched) -> float:
    """The window, in seconds, that names most lines of a world that is not judged."""
    return max(infiltrator.WINDOWS_S, key=lambda before_s: named(watched, before_s))
