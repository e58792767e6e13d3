"""The drill's attacks on running programs: its own relays, and other people's programs."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from amanat.drill import live, logged, real, recorded
from amanat.drill.attacks import (
    content,
    device,
    identifiers,
    metadata,
    plaintext,
    unsealed,
)
from amanat.drill.designs import buckets_of
from amanat.drill.figures import Result, Settings, found_in, judge_ours, once
from amanat.drill.sample import draw

if TYPE_CHECKING:
    from collections.abc import Callable

    from amanat.drill.traces import Said

REAL = "real servers"
"""The phase of progress in which other people's programs are attacked."""
PLAINTEXT_SIGMA = 3.3
"""Standard errors (of half the texts) by which an attacker who tells two texts apart may seem to
beat a coin: one honest drill in two thousand fails by chance."""
BITS_ROUNDING = 0.05
"""Bits by which an estimate from so many rows may exceed those of the bucket."""


def _content(settings: Settings, said: list[Said]) -> list[Result]:  # noqa: ARG001  # as all of them
    return [
        once(design, content.NAME, "canaries found", (many, many, many), random=0, most=0)
        for design, many in live.find_content().items()
    ]


def _plaintext(settings: Settings, said: list[Said]) -> list[Result]:  # noqa: ARG001  # same
    most = 0.5 + PLAINTEXT_SIGMA / np.sqrt(6 * plaintext.SENT / 4)
    return [
        once(design, plaintext.NAME, "AUC", found, random=0.5, most=most)
        for design, found in live.tell_apart(np.random.default_rng(0)).items()
    ]


_LOGGED = ("append", "come", "read", "look")
"""Kinds of requests at the home relay whose logged fields are measured."""
_LINKED = (("read", "append"), ("append", "append"), ("come", "append"))
"""Pairs of kinds: a request of the second soon after one of the first may be the same person's."""


def _recorded(settings: Settings, said: list[Said]) -> list[Result]:
    """The results from real relays' logs of real people, if there is a recorder."""
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
        once(design, identifiers.NAME, f"bits of {field}", (bits, bits, bits), random=0, most=most)
        for design, (field, bits) in live.name_people(sample, np.random.default_rng(0)).items()
    ] + _recorded(settings, said)


def _unsealed(settings: Settings, said: list[Said]) -> list[Result]:  # noqa: ARG001  # same
    read, sealed = live.hear_unsealed()
    return [
        judge_ours(unsealed.NAME, "cells that a hop read", read, is_held=not read and sealed > 0),
        judge_ours(unsealed.NAME, "cells that came sealed", sealed, is_held=None),
    ]


def _device(settings: Settings, said: list[Said]) -> list[Result]:  # noqa: ARG001  # same
    left, guess_s = live.search_device()
    return [
        once("amanat", device.NAME, "texts that had disappeared", (left,) * 3, random=0, most=0),
        judge_ours(device.NAME, "seconds a guess", guess_s, is_held=None),
    ]


def _metadata(settings: Settings, said: list[Said]) -> list[Result]:  # noqa: ARG001  # same
    left, told = live.search_pictures()
    many = metadata.PICTURES
    is_held = not left and told == many  # else the search finds nothing anywhere
    return [
        judge_ours(metadata.NAME, f"pictures that tell, of {many}", left, is_held=is_held),
        judge_ours(metadata.NAME, f"the same, sent as files, of {many}", told, is_held=None),
    ]


# On real servers of others, once


def attack_real(
    settings: Settings, said: list[Said], work: Path, progress: Callable[[str, int, int], None]
) -> list[Result]:
    """The results from their disks; each server's figures rest in `work` once they are known."""
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
        found = found_in(work / f"real-{design}.json", list[real.Found], measure)
        done = number * load.steps
        for one in found:
            figures = (one.value, one.value, one.value, one.base, one.random)
            results.append(Result(design, None, one.attack, one.metric, *figures, "shown"))
    progress(REAL, total, total)
    return results


ON_RELAYS: dict[str, Callable[[Settings, list[Said]], list[Result]]] = {
    content.NAME: _content,
    plaintext.NAME: _plaintext,
    identifiers.NAME: _identifiers,
    device.NAME: _device,
    unsealed.NAME: _unsealed,
    metadata.NAME: _metadata,
}
"""Attacks on a real relay that the drill starts for itself, measured once."""
