"""The drill's attacks in the simulated world: lying relays and members, observed lines."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from amanat.drill import copied, integrity, intrusion, lines
from amanat.drill import insider as insiders
from amanat.drill.attacks import (
    copied_vault,
    deletion,
    infiltrator,
    insider,
    replay,
    rollback,
    substitution,
)
from amanat.drill.figures import Figure, Result, Settings, found_in, judge_ours, result

_REAL_LINES = f"top-1 of {infiltrator.LINES} real lines, {infiltrator.POSTS} posts"


# Lies, in the simulated world


class Lie(NamedTuple):
    """One world in which a relay lies."""

    attack: str
    how: str
    seed: int


def lies_to_tell(settings: Settings) -> list[Lie]:
    """Every world of lies for our design."""
    if "amanat" not in settings.designs:
        return []
    found = [
        Lie(deletion.NAME, how, seed) for how in deletion.HOW for seed in range(deletion.SEEDS)
    ]
    found += [Lie(deletion.NAME, "expiry", seed) for seed in range(deletion.EXPIRIES)]
    for attack, kinds in (
        (rollback, ("",)),
        (substitution, substitution.HOW),
        (replay, ("",)),
        (copied_vault, copied_vault.HOW),
    ):
        found += [Lie(attack.NAME, how, seed) for how in kinds for seed in range(attack.WORLDS)]
    return [one for one in found if one.attack in settings.attacks]


def be_lied_to(work: Path, lie: Lie) -> integrity.Noticed:
    """The lies noticed in one world."""
    file = work / f"lie-{lie.attack}-{lie.how}-{lie.seed}.json"
    return found_in(file, integrity.Noticed, lambda: _noticed(lie))


def _noticed(lie: Lie) -> integrity.Noticed:
    match lie.attack:
        case rollback.NAME:
            return integrity.rollback(lie.seed, rollback.TRIES)
        case substitution.NAME if lie.how == "members":
            return intrusion.silent_adds(lie.seed, substitution.TRIES)
        case substitution.NAME if lie.how == "keys":
            return intrusion.swapped_keys(substitution.TRIES)
        case substitution.NAME:
            return integrity.forgeries(substitution.KINDS, lie.seed, substitution.TRIES)
        case replay.NAME:
            return integrity.forgeries(replay.KINDS, lie.seed, replay.TRIES)
        case copied_vault.NAME:
            return copied.words_read(lie.how, lie.seed)
        case _ if lie.how == "expiry":
            return integrity.expiry(lie.seed)
        case _:
            return integrity.deletion(lie.how, lie.seed)


def believed(lies: list[Lie], noticed: list[integrity.Noticed]) -> list[Result]:
    """The figures of all worlds of a kind together."""
    kinds: dict[tuple[str, str], list[integrity.Noticed]] = {}
    for lie, found in zip(lies, noticed, strict=True):
        kinds.setdefault((lie.attack, lie.how), []).append(found)
    results: list[Result] = []
    for (attack, how), each in kinds.items():
        total = sum(one.lies for one in each)
        delays = sorted(delay for one in each for delay in one.delays_s)
        wrong = sum(one.wrong for one in each)
        if how == "expiry":
            results.append(judge_ours(attack, "false alarms on expiry", wrong, is_held=not wrong))
        elif attack == deletion.NAME:
            share = len(delays) / total if total else 1.0
            name = f"noticed, {how} of {total}"
            results.append(judge_ours(attack, name, share, is_held=share == 1))
            if delays:
                middle = delays[len(delays) // 2]
                results.append(judge_ours(attack, f"median delay, {how}, s", middle, is_held=None))
        elif attack == copied_vault.NAME:
            is_held = None if how == copied_vault.UNTIL else not wrong
            results.append(
                judge_ours(attack, f"words read {how}, of {total}", wrong, is_held=is_held)
            )
        elif attack == rollback.NAME:
            missed = total - len(delays)
            results.append(judge_ours(attack, f"unnoticed of {total}", missed, is_held=not missed))
        else:
            name = f"{how or 'cells'} believed of {total}"
            results.append(judge_ours(attack, name, wrong, is_held=not wrong))
    return results


# A member who lies, in the simulated world


def towns_with_liars(settings: Settings) -> list[int]:
    """The seeds of every world with a lying member."""
    if "amanat" not in settings.designs or insider.NAME not in settings.attacks:
        return []
    return list(range(insider.WORLDS))


def live_with_liar(work: Path, seed: int) -> insiders.Found:
    """The promises that a lying member has broken in one world."""
    file = work / f"insider-{seed}.json"
    return found_in(file, insiders.Found, lambda: insiders.histories(seed, insider.HISTORIES))


def promises(found: list[insiders.Found]) -> list[Result]:
    """How often each promise to honest members was broken, in all worlds together."""
    total = sum(one.histories for one in found)
    results = []
    for promise in insider.PROMISES if found else ():
        wrong = sum(one.broken.get(promise, 0) for one in found)
        results.append(
            judge_ours(insider.NAME, f"{promise}, of {total} histories", wrong, is_held=not wrong)
        )
    return results


# Lines, in the simulated world


class Watch(NamedTuple):
    """A world with an observer of lines; the observer is tuned on the first world of a mode."""

    mode: str
    seed: int


def watches(settings: Settings) -> list[Watch]:
    """Every world with an observer of lines."""
    if "amanat" not in settings.designs or infiltrator.NAME not in settings.attacks:
        return []
    return [
        Watch(mode, seed)
        for mode in ("hopped", "covered")
        for seed in range(infiltrator.WORLDS + 1)
    ]


def see_lines(work: Path, world: Watch) -> lines.Watched:
    """The observations of lines in one world."""
    file = work / f"lines-{world.mode}-{world.seed}.json"
    return found_in(file, lines.Watched, lambda: lines.watch(world.mode, world.seed))


def lines_named(worlds: list[Watch], watched: list[lines.Watched]) -> list[Result]:
    """The share of real clients' lines that are named, by mode."""
    kinds: dict[str, list[lines.Watched]] = {}
    for world, seen in zip(worlds, watched, strict=True):
        kinds.setdefault(world.mode, []).append(seen)
    chance = 1 / infiltrator.LINES
    results = []
    for mode, (tuned_on, *judged) in kinds.items():
        before_s = lines.tune(tuned_on)
        figures = [
            Figure("amanat", mode, infiltrator.NAME, _REAL_LINES, share, chance, chance)
            for share in (lines.named(one, before_s) for one in judged)
        ]
        results.append(result(figures[0], figures))
    return results


LIES = (
    deletion.NAME,
    rollback.NAME,
    substitution.NAME,
    replay.NAME,
    copied_vault.NAME,
    insider.NAME,
)
"""Attacks in the simulated world."""
