"""The speed of MLS, and its bytes on the wire and in the vault.

    python bench/mls.py [--large] [--repeat N] [--json FILE]

Every figure is the median of the repeats. `process` and `encrypt` include taking the delta into a
dict, as a vault would; the disk is left out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import defaultdict
from pathlib import Path

from machine import table

from amanat import mls

GID = b"a group"
SUITES = {"hybrid": mls.HYBRID_SUITE, "classical": mls.CLASSICAL_SUITE}
SIZES = (2, 64, 256)
LARGE = 1000
"""Members. Clients begin no hybrid group beyond 256; it is measured to show what that spares."""
TEXT = bytes(200)
CREDENTIAL = bytes(180)
"""About the size of a signed binding of an identity key to a device key."""
LEAF = bytes(100)
BATCH = 100
"""Messages for each repeat: one alone is shorter than the clock's grain."""
SENDERS = 16
"""Members who speak in each epoch, at most: every one of them adds ratchets to be stored."""


class Client:
    """A vault that is a dict, and an engine over it."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.engine = mls.Engine(self.rows.get)
        self.signer = self.engine.new_signer()
        self.save()

    def save(self) -> int:
        """Commit the delta; how many bytes it had."""
        delta = self.engine.take_delta()
        for key, value in delta:
            if value is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = value
        self.engine.committed()
        return sum(len(key) + len(value or b"") for key, value in delta)

    def key_package(self, suite: int) -> bytes:
        """A new KeyPackage."""
        made = self.engine.new_key_package(
            suite, self.signer, CREDENTIAL, LEAF, now=1, lifetime_s=1
        )
        return made.bytes

    def follow(self, commit: bytes) -> None:
        """Accept another member's Commit."""
        staged = self.engine.process(GID, commit)
        assert isinstance(staged, mls.StagedCommit)
        self.engine.accept(staged.handle)


Figures = defaultdict[str, list[float]]


def timed(figures: Figures, name: str, start: float) -> None:
    figures[name].append((time.perf_counter() - start) * 1000)


def measure(suite: int, size: int) -> Figures:
    """One group of `size`, from its creation to its first removal."""
    figures: Figures = defaultdict(list)
    alice, members = Client(), [Client() for _ in range(min(SENDERS, size - 1))]
    strangers = size - 1 - len(members)
    packages = [member.key_package(suite) for member in members]
    figures["KeyPackage B"].append(len(packages[0]))
    packages += [Client().key_package(suite) for _ in range(strangers)]
    alice.engine.create_group(GID, suite, alice.signer, CREDENTIAL, LEAF, b"policy")

    start = time.perf_counter()
    bundle = alice.engine.commit(GID, adds=packages)
    timed(figures, "create with all ms", start)
    assert bundle.welcome is not None
    assert bundle.tree is not None
    figures["first Commit B"].append(len(bundle.commit))
    figures["first Welcome B"].append(len(bundle.welcome))
    figures["tree B"].append(len(bundle.tree))
    alice.engine.merge_pending(GID, bundle.sha256)
    alice.save()
    for member in members:
        start = time.perf_counter()
        member.engine.join(bundle.welcome, bundle.tree)
        timed(figures, "join ms", start)
        member.save()

    everyone = [alice, *members]
    for member in everyone[:3]:  # three past epochs are kept: fill them
        begin_epoch(figures, "update", member, everyone, update=True)
    say(figures, alice, members)
    newcomer = Client()
    added = begin_epoch(figures, "add one", alice, everyone, adds=[newcomer.key_package(suite)])
    assert added.welcome is not None
    figures["add one Welcome B"].append(len(added.welcome))
    start = time.perf_counter()
    mls.Engine(alice.rows.get).group(GID)
    timed(figures, "load ms", start)
    begin_epoch(figures, "remove one", alice, everyone, removes=[size])
    return figures


def begin_epoch(
    figures: Figures,
    name: str,
    by: Client,
    everyone: list[Client],
    *,
    update: bool = False,
    adds: list[bytes] | None = None,
    removes: list[int] | None = None,
) -> mls.CommitBundle:
    start = time.perf_counter()
    bundle = by.engine.commit(GID, update=update, adds=adds or [], removes=removes or [])
    timed(figures, f"{name} ms", start)
    figures[f"{name} Commit B"].append(len(bundle.commit))
    by.engine.merge_pending(GID, bundle.sha256)
    figures[f"{name} delta B"].append(by.save())
    for member in everyone:
        if member is not by:
            start = time.perf_counter()
            member.follow(bundle.commit)
            timed(figures, f"{name}: follow ms", start)
            member.save()
    return bundle


def say(figures: Figures, alice: Client, members: list[Client]) -> None:
    """Everyone who speaks says something; Alice writes and reads the most."""
    for member in members:
        message = member.engine.encrypt(GID, TEXT)
        alice.engine.process(GID, message)
    alice.save()
    start = time.perf_counter()
    for _ in range(BATCH):
        message = alice.engine.encrypt(GID, TEXT)
        figures["encrypt delta B"].append(alice.save())
    figures["encrypt /s"].append(BATCH / (time.perf_counter() - start))
    figures["message B"].append(len(message))
    messages = [members[0].engine.encrypt(GID, TEXT) for _ in range(BATCH)]
    start = time.perf_counter()
    for message in messages:
        alice.engine.process(GID, message)
        figures["process delta B"].append(alice.save())
    figures["process /s"].append(BATCH / (time.perf_counter() - start))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true", help=f"also {LARGE} members")
    parser.add_argument("--json", type=Path, metavar="FILE", help="least, median, most")
    parser.add_argument("--repeat", type=int, default=5, help="groups for each figure (5)")
    options = parser.parse_args()
    sizes = (*SIZES, LARGE) if options.large else SIZES
    runs = [(name, size) for name in SUITES for size in sizes]
    results: dict[str, dict[str, list[float]]] = {}
    for name, size in runs:
        merged: Figures = defaultdict(list)
        for _ in range(options.repeat):
            for figure, values in measure(SUITES[name], size).items():
                merged[figure] += values
        results[f"{name} {size}"] = {
            figure: [min(values), statistics.median(values), max(values)]
            for figure, values in merged.items()
        }
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))
    names = dict.fromkeys(figure for figures in results.values() for figure in figures)
    rows = []
    for name in names:
        digits = 2 if name.endswith(" ms") else 0
        medians = (figures.get(name) for figures in results.values())
        rows.append([name, *(f"{m[1]:,.{digits}f}" if m else "" for m in medians)])
    print(table(("medians", *results), rows))


if __name__ == "__main__":
    main()
