"""Amanat's relay beside ejabberd and Prosody, on this machine, in one run.

    python bench/peers.py [--rounds N] [--seconds S] [--quick] [--json FILE]

20 senders write to 20 readers: 1 KiB of payload, and a window of messages under way for each
sender. The servers take turns in every round, with one kind of load generator for all, whose
messages must all arrive in order. *Online*: the readers are there, and ejabberd and Prosody keep
nothing. *Offline*: they are absent, and come afterwards to count the stored messages. Amanat's
readers are online, and each cell is on disk before its sender is answered. `bare`: with only the
modules that this needs, in place of those that Debian enables. The last figure is the memory of
each idle connection with TLS.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import debian
import load
import servers
from machine import Noise, spread, table

if TYPE_CHECKING:
    from collections.abc import Iterator

PAIRS = 20
IDLE = 1000
"""Connections for the memory figure."""
SETTLE_S = 3.0
"""Seconds after which memory is read."""
PEERS = ("ejabberd", "ejabberd bare", "prosody", "prosody bare")
GOALS = (
    ("amanat durable", "ejabberd online", 1),
    ("amanat durable", "ejabberd bare online", 1),
    ("amanat durable", "prosody offline", 8),
    ("amanat durable", "prosody bare offline", 8),
)
"""Goals: our load, their load, and how many times their rate ours is to reach."""

Figures = defaultdict[str, list[float]]


def measure(
    figures: Figures,
    server: servers.Server,
    kind: str,
    *,
    seconds: float,
    window: int,
    stored: list[int] | None = None,
) -> list[int]:
    """Run one load; the messages of each pair."""
    plan = load.Plan(
        kind=kind,
        port=server.port,
        tls=server.tls,
        pairs=list(range(PAIRS)),
        drops=server.drops,
        seconds=seconds,
        window=window,
        expected=stored or [],
    )
    generators = load.Generators([plan])
    cpu_s = server.cpu_s()
    [outcome] = generators.run()
    took = outcome.ended - outcome.began
    name = f"{server.name} {kind}, TLS {'on' if server.tls else 'off'}"
    figures[f"{name}: messages/s"].append(sum(outcome.messages) / took)
    figures[f"{name}: server cores"].append((server.cpu_s() - cpu_s) / took)
    figures[f"{name}: generator cores"].append(outcome.cpu_s / took)
    return outcome.messages


def rates(figures: Figures, root: Path, *, tls: bool, seconds: float, window: int) -> None:
    """One round: every server once."""
    for name in PEERS:
        with servers.running(name, root / f"{name} {time.monotonic_ns()}", tls=tls) as server:
            measure(figures, server, "online", seconds=seconds, window=window)
            stored = measure(figures, server, "offline", seconds=seconds, window=window)
            measure(figures, server, "absent", seconds=0, window=window, stored=stored)
    directory = root / f"amanat {time.monotonic_ns()}"
    with servers.running("amanat", directory, tls=tls, buckets=PAIRS) as server:
        measure(figures, server, "durable", seconds=seconds, window=window)


def memory(figures: Figures, root: Path) -> None:
    """KiB for each of many idle connections with TLS."""
    for name in ("amanat", *PEERS):
        directory = root / f"{name} {time.monotonic_ns()}"
        if name != "amanat":
            # Registering uses memory that the connections would otherwise need themselves.
            with servers.running(name, directory, tls=True) as server:
                hold(server)
        with servers.running(name, directory, tls=True, buckets=PAIRS) as server:
            time.sleep(SETTLE_S)
            figures[f"{name} idle: KiB a connection"].append(hold(server))


def hold(server: servers.Server) -> float:
    """Open idle connections and close them; the KiB that each takes."""
    before = server.resident_kib()
    plan = load.Plan("idle", server.port, server.tls, list(range(IDLE)), server.drops)
    generators = load.Generators([plan])
    time.sleep(SETTLE_S)
    each = (server.resident_kib() - before) / IDLE
    generators.run()
    return each


def report(figures: Figures, noise: Noise) -> None:
    """Print tables in Markdown."""
    peers = ", ".join(f"{name} {version}" for name, version in servers.versions().items())
    print(f"{PAIRS} senders to {PAIRS} readers, 1 KiB; {peers}.")
    print(f"{noise}\n")
    columns = ("min", "median", "max")
    heads = ("messages a second", "TLS", *columns, "its cores", "cores of the load")
    print(table(heads, rate_rows(figures)))
    print()
    ratios = [
        (f"{ours} / {theirs}", tls, f"{value:.2f}", str(goal))
        for ours, theirs, tls, value, goal in all_ratios(figures)
    ]
    print(table(("ratio of medians", "TLS", "reached", "goal"), ratios))
    idle = [
        (name.partition(" idle")[0], f"{values[0]:.1f}")
        for name, values in figures.items()
        if name.endswith("KiB a connection")
    ]
    if idle:
        print()
        print(table((f"{IDLE:,} idle connections with TLS", "KiB each"), idle))


def rate_rows(figures: Figures) -> Iterator[tuple[str, ...]]:
    """For each load: its name, TLS, the rates, and how busy both sides were."""
    for name, values in figures.items():
        load_name, _, what = name.partition(": ")
        if what == "messages/s" and " absent" not in load_name:
            what_for, _, tls = load_name.partition(", TLS ")
            cores = (
                f"{spread(figures[f'{load_name}: {side} cores'])[1]:.2f}"
                for side in ("server", "generator")
            )
            yield what_for, tls, *(f"{value:,.0f}" for value in spread(values)), *cores


def all_ratios(figures: Figures) -> Iterator[tuple[str, str, str, float, int]]:
    """Each goal, with TLS off and on: ours, theirs, TLS, the ratio of the medians, the goal."""
    for tls in ("off", "on"):
        for ours, theirs, goal in GOALS:
            ratio = (
                spread(figures[f"{ours}, TLS {tls}: messages/s"])[1]
                / spread(figures[f"{theirs}, TLS {tls}: messages/s"])[1]
            )
            yield ours, theirs, tls, ratio, goal


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each load")
    parser.add_argument("--window", type=int, default=load.WINDOW, help="messages under way")
    parser.add_argument("--quick", action="store_true", help="one round of a second, no memory")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all values of all rounds")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 1, 1.0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # so that the servers end too
    debian.install(list(servers.PACKAGES))
    figures: Figures = defaultdict(list)
    noise = Noise()
    for number in range(options.rounds):
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
        # On the disk of this directory: a temporary one may be in memory.
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
            for tls in (False, True):
                noise.sample()
                rates(
                    figures,
                    Path(directory),
                    tls=tls,
                    seconds=options.seconds,
                    window=options.window,
                )
            if not (number or options.quick):  # it hardly differs between rounds
                memory(figures, Path(directory))
    report(figures, noise)
    if options.json:
        found = {"versions": servers.versions(), "machine": noise.summary(), "figures": figures}
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
