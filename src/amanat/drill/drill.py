"""The drill: every attack on every design, on seeds that no attacker was tuned on.

Training seeds come first. The lessons from them, and the figures of every finished seed, rest in
the report's directory, so that an interrupted drill goes on where it stopped. Nothing here can be
pointed at a relay: attacks on logs read logs that `designs` makes, and the others run against a
relay that the drill has started itself, or in the simulated world.
"""

from __future__ import annotations

import functools
import multiprocessing
import pickle
import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
from threadpoolctl import threadpool_limits

from amanat.drill import real
from amanat.drill.attackers import Attacker, Lesson, judge, learn, train
from amanat.drill.attacks import (
    infiltrator,
    ip,
    presence,
    puppets,
    sizes,
)
from amanat.drill.designs import DESIGNS, MODES, hide, observe, stored_size
from amanat.drill.figures import (
    GRAPH,
    Figure,
    Report,
    Settings,
    T,
    by_kind,
    control_of,
    result,
    write_whole,
)
from amanat.drill.files import ON_FILES
from amanat.drill.linking import without_source
from amanat.drill.report import page
from amanat.drill.sample import draw
from amanat.drill.stolen import ON_BACKUPS
from amanat.drill.targets import ON_RELAYS, attack_real
from amanat.drill.traces import read_said
from amanat.drill.worlds import (
    LIES,
    be_lied_to,
    believed,
    lies_to_tell,
    lines_named,
    live_with_liar,
    promises,
    see_lines,
    towns_with_liars,
    watches,
)
from amanat.errors import BadArgument, ReportExists

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from amanat.drill.designs import Evidence
    from amanat.drill.linking import Features
    from amanat.drill.sample import Sample
    from amanat.drill.traces import Said

ON_LOGS = (*GRAPH, presence.NAME, ip.NAME, infiltrator.NAME, sizes.NAME, puppets.NAME)
"""Attacks on a server's log, measured on every seed."""
ONCE = {**ON_RELAYS, **ON_FILES, **ON_BACKUPS}
"""Attacks measured once, on running programs, on files and on backups."""
PHASES = ("training", "seeds", "lies", "insider", "lines", "relays")
"""The phases of which progress is reported."""
LEAST_SEEDS = 20
"""With fewer seeds than this, intervals mean little."""
TRAINING = 4
TRAINING_SEED = 1_000_000
"""Number of training seeds, and the first of them: far from the seeds that are judged."""
LEAST_PEOPLE = 64
"""Two buckets of people: with fewer, nothing is hidden from anybody."""


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

    Goes on with an interrupted drill of the same settings in that directory. Raises BadArgument for
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
        lies = lies_to_tell(settings)
        noticed = pool.map(functools.partial(be_lied_to, work), lies)
        lied = believed(lies, _count(noticed, "lies", len(lies), progress))
        towns = towns_with_liars(settings)
        lived = pool.map(functools.partial(live_with_liar, work), towns)
        kept = promises(_count(lived, "insider", len(towns), progress))
        worlds = watches(settings)
        watched = pool.map(functools.partial(see_lines, work), worlds)
        seen = lines_named(worlds, _count(watched, "lines", len(worlds), progress))
    results = [result(*each) for each in by_kind(figures)]
    control = control_of(results)
    results += lied + kept + seen
    asked = [attack for attack in settings.attacks if attack in ONCE]
    for number, attack in enumerate(asked):
        progress("relays", number, len(asked))
        results += [one for one in ONCE[attack](settings, said) if one.design in settings.designs]
    progress("relays", len(asked), len(asked))
    if settings.real:
        results += attack_real(settings, said, work, progress)
    report = Report(settings, control, results)
    write_whole(directory / "index.html", page(report).encode())
    write_whole(
        directory / "report.json", msgspec.json.format(msgspec.json.encode(report), indent=1)
    )
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
    if settings.people_per_bucket and 2 * settings.people_per_bucket > settings.people:
        raise BadArgument(f"--people-per-bucket {settings.people_per_bucket}: fewer than 2 buckets")
    if settings.real:
        real.check(settings.real, settings.people)


def _begin(settings: Settings, directory: Path) -> Path:
    """The directory for work in progress. Raises ReportExists if anything else is there."""
    work, wanted = directory / "unfinished", msgspec.json.encode(settings)
    if directory.exists() and any(directory.iterdir()):
        kept = work / "settings.json"
        if not kept.exists() or kept.read_bytes() != wanted:
            raise ReportExists(str(directory))
        return work
    work.mkdir(parents=True)
    write_whole(work / "settings.json", wanted)
    return work


def _path(settings: Settings) -> Path | None:
    return None if settings.trace is None else Path(settings.trace)


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
    threadpool_limits(1)  # the settings say how many processes there are
    _prepared[:] = [_Prepared(settings, read_said(_path(settings), settings.form))]


def _drawn(seed: int) -> tuple[Settings, Sample, Iterator[tuple[_Key, Evidence]]]:
    """The settings, the sample of a seed, and the evidence of each design's server about it."""
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
                    seen = observe(sample, design, mode, rng, per_bucket=settings.people_per_bucket)
                    direct.append(seen)
                yield _Key(design, mode, ""), seen

    return settings, sample, evidence()


class _Counted:
    """Features of pairs, from the evidence of one seed. Hopped is direct without its sources, so
    features that need no source are not counted again."""

    def __init__(self) -> None:
        self._direct: dict[str, Features] = {}

    def of(self, key: _Key, attack: str, evidence: Evidence, people: int) -> Features:
        """The features of pairs for an attack; evidence of the direct mode must come first."""
        if key.mode == "hopped":
            return without_source(self._direct.pop(attack))
        found: Features = GRAPH[attack].features(evidence, people)
        if key.mode == "direct":
            self._direct[attack] = found
        return found


def _lessons(work: Path, seed: int) -> None:
    """Write the lessons of a training seed."""
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
        write_whole(file, pickle.dumps(found))


def _train(work: Path, seeds: list[int]) -> dict[_Key, Attacker]:
    file = work / "attackers"
    if not file.exists():
        # We wrote these files a moment ago, in a directory to which nobody else writes.
        lessons: list[dict[_Key, Lesson]] = [
            pickle.loads((work / f"lesson-{seed}").read_bytes())  # noqa: S301
            for seed in seeds
        ]
        known = set.intersection(*(set(each) for each in lessons))
        made = {
            key: train([each[key] for each in lessons], seed=0) for key in sorted(known, key=str)
        }
        write_whole(file, pickle.dumps(made))
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
        write_whole(file, msgspec.json.encode(found))
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


ATTACKS = (*ON_LOGS, *LIES, *ONCE)
