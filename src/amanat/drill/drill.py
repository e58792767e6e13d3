"""The drill: every attack on every design, on seeds nobody has tuned on.

Training seeds come first; what was learnt, and the figures of every finished seed, rest in the
report's directory, so that a drill that was interrupted goes on where it was. Nothing here can be
pointed at a relay: attacks on logs read logs that `designs` makes, the others run against a relay
that the drill has started itself, or in the simulated world.
"""

from __future__ import annotations

import functools
import multiprocessing
import pickle
import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec
import numpy as np
from threadpoolctl import threadpool_limits

from amanat.drill import copied, integrity, intrusion, lines, live, logged, real, recorded
from amanat.drill import insider as insiders
from amanat.drill.attackers import Attacker, Lesson, judge, learn, train
from amanat.drill.attacks import (
    contacts,
    content,
    copied_vault,
    deletion,
    device,
    groups,
    identifiers,
    infiltrator,
    insider,
    ip,
    plaintext,
    presence,
    puppets,
    replay,
    rollback,
    sizes,
    substitution,
    unsealed,
)
from amanat.drill.designs import DESIGNS, MODES, buckets_of, hide, observe, stored_size
from amanat.drill.linking import without_source
from amanat.drill.report import page
from amanat.drill.sample import draw
from amanat.drill.scores import interval
from amanat.drill.traces import read_said
from amanat.errors import BadArgument, BrokenControl, ReportExists

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from amanat.drill.designs import Evidence
    from amanat.drill.linking import Features
    from amanat.drill.sample import Sample
    from amanat.drill.traces import Said

GRAPH = {contacts.NAME: contacts, groups.NAME: groups}
ON_LOGS = (*GRAPH, presence.NAME, ip.NAME, infiltrator.NAME, sizes.NAME, puppets.NAME)
"""Attacks on what a server logs, measured on every seed."""
PHASES = ("training", "seeds", "lies", "insider", "lines", "relays")
REAL = "real servers"
"""What progress is told of; the last only where there are any."""
LEAST_SEEDS = 20
"""Fewer seeds than these are few: intervals mean little then."""
TRAINING = 4
TRAINING_SEED = 1_000_000
"""How many training seeds there are, and where they begin: far from those that are judged."""
LEAST_PEOPLE = 64
"""Two buckets: with fewer nothing is hidden from anybody."""
CONTROL = 0.95
"""Average precision that attacks on the graph must reach where the server is told the graph."""
CONTROLLED = "federated"
PLAINTEXT_SIGMA = 3.3
"""Standard errors (of half the texts) by which telling two texts apart may look better than a coin:
one honest drill in two thousand fails by chance."""
BITS_ROUNDING = 0.05
"""Bits by which an estimate from so many rows may be above the bucket's."""
BOUNDS = {
    contacts.NAME: ("base", 1.3),
    groups.NAME: ("base", 1.3),
    puppets.NAME: ("base", 1.3),
    infiltrator.NAME: ("random", 5.0),
    presence.NAME: ("random", 2.0),
    sizes.NAME: ("random", 2.0),
    ip.NAME: ("random", 1.0),
}
"""What an attack on us may reach: so many times the base rate, or what a guess would give."""


_REAL_LINES = f"top-1 of {infiltrator.LINES} real lines, {infiltrator.POSTS} posts"


class Settings(msgspec.Struct, frozen=True):
    """What a drill is asked for."""

    trace: str | None
    form: str
    people: int
    days: int
    seeds: int
    attacks: tuple[str, ...]
    designs: tuple[str, ...]
    real: int = 0
    """Messages that real servers of others are loaded with; none by default."""


class Result(msgspec.Struct, frozen=True):
    """One figure. `low` and `high` are its 95 % interval, `base` the base rate, `random` what a
    guess would give. `verdict`: "control" (where the server is told), "shown" (another design's),
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
    """What a drill found. `positive_control` is the least average precision of the attacks on the
    graph against the control; None if none ran."""

    settings: Settings
    positive_control: float | None
    results: list[Result]


class Figure(msgspec.Struct, frozen=True):
    """What one seed gives for one design, mode, attack and metric."""

    design: str
    mode: str | None
    attack: str
    metric: str
    value: float
    base: float | None = None
    random: float | None = None


T = TypeVar("T")


class _Key(NamedTuple):
    design: str
    mode: str | None
    attack: str


def run(
    settings: Settings,
    directory: Path,
    *,
    processes: int,
    progress: Callable[[str, int, int], None],
) -> Report:
    """Run a drill and write `report.json` and `index.html` into the directory.

    Goes on with one of the same settings that was interrupted there. Raises BadArgument for
    settings or a trace that cannot be used, ReportExists, or BrokenControl.
    """
    _check(settings)
    work = _begin(settings, directory)
    said = read_said(_path(settings), settings.form)
    with ProcessPoolExecutor(
        processes,
        multiprocessing.get_context("spawn"),
        initializer=_prepare,
        initargs=(settings,),
    ) as pool:
        seeds = [TRAINING_SEED + number for number in range(TRAINING)]
        lessons = pool.map(functools.partial(_lessons, work), seeds)
        _count(lessons, "training", len(seeds), progress)
        attackers = _train(work, seeds)
        found = pool.map(functools.partial(_attack, work, attackers), range(settings.seeds))
        figures = [one for seed in _count(found, "seeds", settings.seeds, progress) for one in seed]
        lies = _lies(settings)
        noticed = pool.map(functools.partial(_lie, work), lies)
        lied = _believed(lies, _count(noticed, "lies", len(lies), progress))
        towns = _insides(settings)
        lived = pool.map(functools.partial(_inside, work), towns)
        kept = _kept(_count(lived, "insider", len(towns), progress))
        worlds = _watches(settings)
        watched = pool.map(functools.partial(_watch, work), worlds)
        seen = _named(worlds, _count(watched, "lines", len(worlds), progress))
    results = [_result(*each) for each in _by_kind(figures)]
    control = _control(results)
    results += lied + kept + seen
    asked = [attack for attack in settings.attacks if attack in ON_RELAYS]
    for number, attack in enumerate(asked):
        progress("relays", number, len(asked))
        results += [
            one for one in ON_RELAYS[attack](settings, said) if one.design in settings.designs
        ]
    progress("relays", len(asked), len(asked))
    if settings.real:
        results += _real(settings, said, work, progress)
    report = Report(settings, control, results)
    _write(directory / "index.html", page(report).encode())
    _write(directory / "report.json", msgspec.json.format(msgspec.json.encode(report), indent=1))
    shutil.rmtree(work)
    return report


def _check(settings: Settings) -> None:
    for option, asked, known in (
        ("--attacks", settings.attacks, ATTACKS),
        ("--designs", settings.designs, DESIGNS),
    ):
        if unknown := sorted(set(asked) - set(known)):
            raise BadArgument(f"{option} {','.join(unknown)}: there are {','.join(known)}")
    if settings.people < LEAST_PEOPLE or settings.days < 1 or settings.seeds < 1:
        raise BadArgument(f"a drill takes at least {LEAST_PEOPLE} people, one day and one seed")
    if settings.real:
        real.check(settings.real, settings.people)


def _begin(settings: Settings, directory: Path) -> Path:
    """Where work in progress rests. Raises ReportExists if anything else is there."""
    work, wanted = directory / "unfinished", msgspec.json.encode(settings)
    if directory.exists() and any(directory.iterdir()):
        kept = work / "settings.json"
        if not kept.exists() or kept.read_bytes() != wanted:
            raise ReportExists(str(directory))
        return work
    work.mkdir(parents=True)
    _write(work / "settings.json", wanted)
    return work


def _path(settings: Settings) -> Path | None:
    return None if settings.trace is None else Path(settings.trace)


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all."""
    new = path.with_name(path.name + ".new")
    new.write_bytes(data)
    new.replace(path)


def _found_in(file: Path, of: type[T], find: Callable[[], T]) -> T:
    """What is found. It is kept in a file: a drill that was interrupted does not look again."""
    if not file.exists():
        _write(file, msgspec.json.encode(find()))
    return msgspec.json.decode(file.read_bytes(), type=of)


def _count(
    parts: Iterable[T],
    phase: str,
    total: int,
    progress: Callable[[str, int, int], None],
) -> list[T]:
    progress(phase, 0, total)
    found = []
    for part in parts:
        found.append(part)
        progress(phase, len(found), total)
    return found


# In the worker processes


class _Prepared(NamedTuple):
    settings: Settings
    said: list[Said]


_prepared: list[_Prepared] = []


def _prepare(settings: Settings) -> None:
    threadpool_limits(1)  # there are as many processes as are wanted
    _prepared[:] = [_Prepared(settings, read_said(_path(settings), settings.form))]


def _drawn(seed: int) -> tuple[Settings, Sample, Iterator[tuple[_Key, Evidence]]]:
    """The settings, the sample of a seed, and what each design's server sees of it."""
    ((settings, said),) = _prepared
    sample = draw(said, people=settings.people, days=settings.days, seed=seed)

    def evidence() -> Iterator[tuple[_Key, Evidence]]:
        for design in settings.designs:
            direct: list[Evidence] = []
            for mode in MODES.get(design, (None,)):
                if mode == "hopped":
                    seen = hide(direct[0])
                else:
                    # The same chances for all modes of a design.
                    rng = np.random.default_rng([seed, DESIGNS.index(design)])
                    seen = observe(sample, design, mode, rng)
                    direct.append(seen)
                yield _Key(design, mode, ""), seen

    return settings, sample, evidence()


class _Counted:
    """What speaks for pairs, by the evidence of one seed: hopped is direct without its sources, so
    what needs none of them is not counted again."""

    def __init__(self) -> None:
        self._direct: dict[str, Features] = {}

    def of(self, key: _Key, attack: str, evidence: Evidence, people: int) -> Features:
        """What speaks for pairs in an attack; evidence comes direct first."""
        if key.mode == "hopped":
            return without_source(self._direct.pop(attack))
        found: Features = GRAPH[attack].features(evidence, people)
        if key.mode == "direct":
            self._direct[attack] = found
        return found


def _lessons(work: Path, seed: int) -> None:
    """Write what a training seed shows."""
    file = work / f"lesson-{seed}"
    if not file.exists():
        settings, sample, evidence = _drawn(seed)
        rng = np.random.default_rng(seed)
        found: dict[_Key, Lesson] = {}
        counted = _Counted()
        for key, seen in evidence:
            for attack in [name for name in GRAPH if name in settings.attacks]:
                truth = GRAPH[attack].truth(sample)
                if truth.any():
                    features = counted.of(key, attack, seen, sample.people)
                    found[key._replace(attack=attack)] = learn(features, truth, rng)
        _write(file, pickle.dumps(found))


def _train(work: Path, seeds: list[int]) -> dict[_Key, Attacker]:
    file = work / "attackers"
    if not file.exists():
        # Our own files of a moment ago, in a directory nobody else writes to.
        lessons: list[dict[_Key, Lesson]] = [
            pickle.loads((work / f"lesson-{seed}").read_bytes())  # noqa: S301
            for seed in seeds
        ]
        known = set.intersection(*(set(each) for each in lessons))
        made = {
            key: train([each[key] for each in lessons], seed=0) for key in sorted(known, key=str)
        }
        _write(file, pickle.dumps(made))
    found: dict[_Key, Attacker] = pickle.loads(file.read_bytes())  # noqa: S301  # same
    return found


def _attack(work: Path, attackers: dict[_Key, Attacker], seed: int) -> list[Figure]:
    """The figures of one seed."""
    file = work / f"seed-{seed}.json"
    if not file.exists():
        settings, sample, evidence = _drawn(seed)
        rng = np.random.default_rng([seed, 1])
        found: list[Figure] = []
        counted = _Counted()
        for key, seen in evidence:
            found += _graph(key, attackers, sample, seen, rng, counted=counted)
            found += _others(key, settings.attacks, sample, seen, rng)
        _write(file, msgspec.json.encode(found))
    return msgspec.json.decode(file.read_bytes(), type=list[Figure])


def _graph(
    key: _Key,
    attackers: dict[_Key, Attacker],
    sample: Sample,
    evidence: Evidence,
    rng: np.random.Generator,
    *,
    counted: _Counted,
) -> Iterator[Figure]:
    for name, attack in GRAPH.items():
        attacker = attackers.get(key._replace(attack=name))
        if attacker is None:
            continue
        features = counted.of(key, name, evidence, sample.people)
        both = judge(attacker, features, attack.truth(sample), rng)
        speaks = both[attacker.speaks]
        for metric, value, chance in (
            ("average precision", speaks.average_precision, speaks.base),
            ("AUC", speaks.auc, 0.5),
            ("precision at k", speaks.precision_at_k, speaks.base),
            ("average precision, one count", both["count"].average_precision, speaks.base),
            ("average precision, trees", both["trees"].average_precision, speaks.base),
        ):
            yield Figure(key.design, key.mode, name, metric, value, speaks.base, chance)


def _others(
    key: _Key,
    asked: tuple[str, ...],
    sample: Sample,
    evidence: Evidence,
    rng: np.random.Generator,
) -> Iterator[Figure]:
    design, mode = key.design, key.mode
    chance = 1 / sample.people
    if presence.NAME in asked:
        linked, guess = presence.measure(sample, evidence, rng)
        yield Figure(design, mode, presence.NAME, "times linked", linked, None, guess)
    if ip.NAME in asked:
        share = ip.measure(evidence)
        yield Figure(design, mode, ip.NAME, "addresses known", share, None, chance)
        if mode == "covered":
            for (habit, many), left in presence.intersect(sample.people, rng).items():
                metric = f"of {sample.people} left after {many} posts, {habit}"
                yield Figure(design, mode, presence.NAME, metric, left)
    if infiltrator.NAME in asked:
        named = infiltrator.measure(evidence, sample.people, rng)
        if named is not None:
            yield Figure(design, mode, infiltrator.NAME, "top-1 of 10 posts", named, chance, chance)
    if sizes.NAME in asked:
        size = int(stored_size(np.array([sizes.LEAFLET_BYTES]), design)[0])
        precision, guess = sizes.measure(evidence, size, rng)
        yield Figure(design, mode, sizes.NAME, "precision", precision, guess, guess)
    if puppets.NAME in asked and mode == "hopped":
        base = float(sample.contacts.mean() * sample.people / (sample.people - 1))
        for part, value in puppets.measure(evidence, sample, rng).items():
            metric = f"average precision, {part:.0%} puppets"
            yield Figure(design, mode, puppets.NAME, metric, value, base, base)


# Together


def _by_kind(figures: Iterable[Figure]) -> list[tuple[Figure, list[Figure]]]:
    """The figures of all seeds for each design, mode, attack and metric, with the first of them."""
    found: dict[tuple[object, ...], list[Figure]] = {}
    for one in figures:
        found.setdefault((one.design, one.mode, one.attack, one.metric), []).append(one)
    return [(each[0], each) for each in found.values()]


def _result(kind: Figure, figures: list[Figure]) -> Result:
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


def _control(results: list[Result]) -> float | None:
    """The positive control. Raises BrokenControl: an attack that cannot find what it is told finds
    nothing, and says nothing of what hides."""
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


# Lies, in the simulated world


class _Lie(NamedTuple):
    """One world to be lied to in."""

    attack: str
    how: str
    seed: int


def _lies(settings: Settings) -> list[_Lie]:
    """Every world there is to be, for our design."""
    if "amanat" not in settings.designs:
        return []
    found = [
        _Lie(deletion.NAME, how, seed) for how in deletion.HOW for seed in range(deletion.SEEDS)
    ]
    found += [_Lie(deletion.NAME, "expiry", seed) for seed in range(deletion.EXPIRIES)]
    for attack, kinds in (
        (rollback, ("",)),
        (substitution, substitution.HOW),
        (replay, ("",)),
        (copied_vault, copied_vault.HOW),
    ):
        found += [_Lie(attack.NAME, how, seed) for how in kinds for seed in range(attack.WORLDS)]
    return [one for one in found if one.attack in settings.attacks]


def _lie(work: Path, lie: _Lie) -> integrity.Noticed:
    """What was noticed in one world."""
    file = work / f"lie-{lie.attack}-{lie.how}-{lie.seed}.json"
    return _found_in(file, integrity.Noticed, lambda: _noticed(lie))


def _noticed(lie: _Lie) -> integrity.Noticed:
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


def _believed(lies: list[_Lie], noticed: list[integrity.Noticed]) -> list[Result]:
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
            results.append(_ours(attack, "false alarms on expiry", wrong, is_held=not wrong))
        elif attack == deletion.NAME:
            share = len(delays) / total if total else 1.0
            name = f"noticed, {how} of {total}"
            results.append(_ours(attack, name, share, is_held=share == 1))
            if delays:
                middle = delays[len(delays) // 2]
                results.append(_ours(attack, f"median delay, {how}, s", middle, is_held=None))
        elif attack == copied_vault.NAME:
            is_held = None if how == copied_vault.UNTIL else not wrong
            results.append(_ours(attack, f"words read {how}, of {total}", wrong, is_held=is_held))
        elif attack == rollback.NAME:
            missed = total - len(delays)
            results.append(_ours(attack, f"unnoticed of {total}", missed, is_held=not missed))
        else:
            name = f"{how or 'cells'} believed of {total}"
            results.append(_ours(attack, name, wrong, is_held=not wrong))
    return results


# A member who lies, in the simulated world


def _insides(settings: Settings) -> list[int]:
    """The seeds of every world to be with a lying member in it."""
    if "amanat" not in settings.designs or insider.NAME not in settings.attacks:
        return []
    return list(range(insider.WORLDS))


def _inside(work: Path, seed: int) -> insiders.Found:
    file = work / f"insider-{seed}.json"
    return _found_in(file, insiders.Found, lambda: insiders.histories(seed, insider.HISTORIES))


def _kept(found: list[insiders.Found]) -> list[Result]:
    """How often each promise to honest members was broken, in all worlds together."""
    total = sum(one.histories for one in found)
    results = []
    for promise in insider.PROMISES if found else ():
        wrong = sum(one.broken.get(promise, 0) for one in found)
        results.append(
            _ours(insider.NAME, f"{promise}, of {total} histories", wrong, is_held=not wrong)
        )
    return results


# Lines, in the simulated world


class _Watch(NamedTuple):
    """A world in which lines are seen; the first of a mode is the one that is tuned on."""

    mode: str
    seed: int


def _watches(settings: Settings) -> list[_Watch]:
    if "amanat" not in settings.designs or infiltrator.NAME not in settings.attacks:
        return []
    return [
        _Watch(mode, seed)
        for mode in ("hopped", "covered")
        for seed in range(infiltrator.WORLDS + 1)
    ]


def _watch(work: Path, world: _Watch) -> lines.Watched:
    file = work / f"lines-{world.mode}-{world.seed}.json"
    return _found_in(file, lines.Watched, lambda: lines.watch(world.mode, world.seed))


def _named(worlds: list[_Watch], watched: list[lines.Watched]) -> list[Result]:
    """How many lines of real clients are named, by mode."""
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
        results.append(_result(figures[0], figures))
    return results


def _ours(attack: str, metric: str, value: float, *, is_held: bool | None) -> Result:
    verdict = "shown" if is_held is None else "holds" if is_held else "fails"
    return Result("amanat", None, attack, metric, value, value, value, None, None, verdict)


# On real relays, once


def _once(
    design: str,
    attack: str,
    metric: str,
    value: tuple[float, float, float],
    *,
    random: float | None,
    most: float,
) -> Result:
    """A figure that is not of seeds; ours holds up to `most`."""
    verdict = "control" if design == CONTROLLED else "shown"
    if design == "amanat":
        verdict = "holds" if value[0] <= most else "fails"
    return Result(design, None, attack, metric, *value, None, random, verdict)


def _content(settings: Settings, said: list[Said]) -> list[Result]:  # noqa: ARG001  # as all of them
    return [
        _once(design, content.NAME, "canaries found", (many, many, many), random=0, most=0)
        for design, many in live.find_content().items()
    ]


def _plaintext(settings: Settings, said: list[Said]) -> list[Result]:  # noqa: ARG001  # same
    most = 0.5 + PLAINTEXT_SIGMA / np.sqrt(6 * plaintext.SENT / 4)
    return [
        _once(design, plaintext.NAME, "AUC", found, random=0.5, most=most)
        for design, found in live.tell_apart(np.random.default_rng(0)).items()
    ]


_LOGGED = ("append", "come", "read", "look")
"""Kinds of requests whose logged fields are looked at, at the home relay."""
_LINKED = (("read", "append"), ("append", "append"), ("come", "append"))
"""Requests of one kind, and those of another soon after, that may be one person's."""


def _recorded(settings: Settings, said: list[Said]) -> list[Result]:
    """What real relays' logs tell of real people, where there is a recorder."""
    if not recorded.is_at_hand() or "amanat" not in settings.designs:
        return []
    sample = draw(said, people=recorded.PEOPLE, days=settings.days, seed=0)
    talk = recorded.slice_of(sample)
    buckets = buckets_of(recorded.PEOPLE)
    results: list[Result] = []

    def tell(mode: str, metric: str, value: float, guess: float | None, most: float | None) -> None:
        verdict = "shown" if most is None else "holds" if value <= most else "fails"
        results.append(
            Result("amanat", mode, identifiers.NAME, metric, *(value,) * 3, None, guess, verdict)
        )

    def weigh(mode: str, of: str, rows: list[logged.Row], most: float | None) -> None:
        found = logged.bits(rows, rng)
        if found:
            field = max(found, key=found.__getitem__)
            tell(mode, f"bits of {of.format(field)}", found[field], 0, most)

    for mode in ("direct", "hopped"):
        rng = np.random.default_rng(0)
        with recorded.scratch() as root:
            logs = recorded.record(talk, Path(root), mode=mode, rng=rng)
        asked = logged.asked_at_home(logs)
        most = np.log2(buckets) + BITS_ROUNDING
        for kind in _LOGGED:
            rows = [row for row in asked if row.kind == kind]
            weigh(mode, f"{kind}: {{}}, in the home's log", rows, most)
        weigh(mode, "{}, in the hop's log", logged.asked_at_hop(logs), None)
        for first, then in _LINKED:
            linked = logged.link(logs, first, then, rng)
            if linked is not None:
                tell(mode, f"AUC, {first} and {then} of one person", linked.auc, 0.5, None)
        if mode == "hopped":
            named, guess = logged.named_by_connections(logs)
            tell(mode, "comings named by a home that is a hop", named, guess, 2 * guess)
    return results


def _identifiers(settings: Settings, said: list[Said]) -> list[Result]:
    sample = draw(said, people=settings.people, days=settings.days, seed=0)
    most = np.log2(buckets_of(sample.people)) + BITS_ROUNDING
    return [
        _once(design, identifiers.NAME, f"bits of {field}", (bits, bits, bits), random=0, most=most)
        for design, (field, bits) in live.name_people(sample, np.random.default_rng(0)).items()
    ] + _recorded(settings, said)


def _unsealed(settings: Settings, said: list[Said]) -> list[Result]:  # noqa: ARG001  # same
    read, sealed = live.hear_unsealed()
    return [
        _ours(unsealed.NAME, "cells that a hop read", read, is_held=not read and sealed > 0),
        _ours(unsealed.NAME, "cells that came sealed", sealed, is_held=None),
    ]


def _device(settings: Settings, said: list[Said]) -> list[Result]:  # noqa: ARG001  # same
    left, guess_s = live.search_device()
    return [
        _once("amanat", device.NAME, "texts that had disappeared", (left,) * 3, random=0, most=0),
        _ours(device.NAME, "seconds a guess", guess_s, is_held=None),
    ]


# On real servers of others, once


def _real(
    settings: Settings, said: list[Said], work: Path, progress: Callable[[str, int, int], None]
) -> list[Result]:
    """What is read off their disks; the figures of each rest in `work` once they are there."""
    load, texts = real.first_messages(
        said, people=settings.people, days=settings.days, messages=settings.real
    )
    results: list[Result] = []
    total, done = load.steps * len(real.SERVERS), 0

    def step() -> None:
        nonlocal done
        done += 1
        progress(REAL, done, total)

    for number, design in enumerate(real.SERVERS, 1):
        measure = functools.partial(real.measure, design, load, texts, settings.attacks, step)
        found = _found_in(work / f"real-{design}.json", list[real.Found], measure)
        done = number * load.steps
        for one in found:
            figures = (one.value, one.value, one.value, one.base, one.random)
            results.append(Result(design, None, one.attack, one.metric, *figures, "shown"))
    progress(REAL, total, total)
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
ON_RELAYS: dict[str, Callable[[Settings, list[Said]], list[Result]]] = {
    content.NAME: _content,
    plaintext.NAME: _plaintext,
    identifiers.NAME: _identifiers,
    device.NAME: _device,
    unsealed.NAME: _unsealed,
}
"""Attacks on a real relay that the drill starts for itself, measured once."""
ATTACKS = (*ON_LOGS, *LIES, *ON_RELAYS)
