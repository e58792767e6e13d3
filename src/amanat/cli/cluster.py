"""A relay's drops on several machines: trying a cluster, checking one, and scrubbing one."""

from __future__ import annotations

import shlex
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from amanat.cli import terminal
from amanat.errors import StoreDamaged

if TYPE_CHECKING:
    import argparse

    from amanat.display import Out


def attempt_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `relay cluster try`."""
    parser.add_argument("directory", type=Path, help="where everything rests, and is kept")
    parser.add_argument(
        "--region", default="", metavar="XX", help="the region of a new cluster; default: ZZ"
    )


def attempt(args: argparse.Namespace, out: Out) -> None:
    """Run a cluster and a relay on this machine, until a signal."""
    from amanat.relay.cluster.trial import LOOK_S, Trial

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    trial = Trial(args.directory, region=args.region, note=out.note)
    with trial.running() as shown:
        relays = list(shown.relays)
        text = [
            shown.address,
            f"join: amanat init --name NAME --relay {shown.address}",
            f"check: amanat relay cluster check {relays[0]} --system-login {shown.system_login}",
            *(f"node {name}: process {pid}" for name, pid in shown.nodes.items()),
            *(f"relay in {path}: process {pid}" for path, pid in shown.relays.items()),
            "kill any one of them: the others serve, and it starts again; Ctrl-C ends all",
        ]
        out.result(shown._asdict(), "\n".join(text))
        while not stop.wait(LOOK_S):
            trial.look()


def check_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `relay cluster check`."""
    parser.add_argument("directory", type=Path, help="the relay's directory, running or not")
    parser.add_argument(
        "--system-login",
        type=Path,
        metavar="FILE",
        help="a user and a password of the cluster's system account, on two lines",
    )


def check(args: argparse.Namespace, out: Out) -> None:
    """Check the cluster of a relay."""
    from amanat.relay.cluster.checking import Verdict, examine
    from amanat.relay.directory import RelayDirectory

    findings = examine(RelayDirectory.open(args.directory), args.system_login, time.time)
    lines = []
    for one in findings:
        lines.append(f"{one.verdict:12} {one.check:12} {one.text}")
        lines += [f"{'':25} {one.advice}"] * bool(one.advice)
    out.result([one._asdict() for one in findings], "\n".join(lines))
    if any(one.verdict is Verdict.FAULT for one in findings):
        sys.exit(1)


def scrub_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `relay cluster scrub`."""
    parser.add_argument("directory", type=Path, help="the relay's directory, running or not")
    parser.add_argument(
        "--rebuild",
        default="",
        metavar="PROGRAM",
        help="rebuilds a bad replica; it gets the node, the stream and the group",
    )


def scrub(args: argparse.Namespace, out: Out) -> None:
    """Compare all replicas of a cluster, and have bad ones rebuilt."""
    from amanat.relay.cluster.scrub import Outcome, Scrubber, opened
    from amanat.relay.directory import RelayDirectory

    directory = RelayDirectory.open(args.directory)
    with terminal.bars(["messages"]) as progress, opened(directory) as (engine, layout, sealer):
        scrubber = Scrubber(
            engine, layout, sealer, lambda done, total: progress("messages", done, total)
        )
        findings = scrubber.run(shlex.split(args.rebuild))
    lines = []
    for one in findings:
        lines += [f"{one.outcome:8} {one.text}", f"{'':8} {one.advice}"]
    all_well = "all replicas of all streams are alike, and as the relay wrote them"
    out.result([one._asdict() for one in findings], "\n".join(lines) or all_well)
    if lost := [one for one in findings if one.outcome is Outcome.LOST]:
        raise StoreDamaged(lost[0].text)
    if any(one.outcome is not Outcome.HEALED for one in findings):
        sys.exit(1)
