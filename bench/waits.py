"""The longest waits of a group: bench/waits.py TRACE [--people N] [--messages N] [--runs N].

Replays the beginning of an IRC log again and again, each time with new people, new vaults and a new
relay, as `amanat replay` does. It reports for every run the longest time that a message took from
`send` to the last transcript, and the time from founding the group until all were in it. The exit
status is 1 if either was longer than `--limit` seconds in any run.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from machine import Noise, spread, table

from amanat.drill.replay import replay
from amanat.drill.traces import read_trace

if TYPE_CHECKING:
    from amanat.drill.replay import Report

RUNS = 50


def quiet(phase: str, done: int, total: int) -> None:
    """No progress bar."""


def row(what: str, values: list[float], unit: str) -> tuple[str, ...]:
    """A line of the table: least, median, nine of ten, most."""
    low, median, high = spread(values)
    nine = sorted(values)[min(int(0.9 * len(values)), len(values) - 1)]
    return what, *(f"{value:,.2f} {unit}" for value in (low, median, nine, high))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("trace", type=Path, help="an IRC log")
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--messages", type=int, default=5)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--limit", type=float, default=3.0, help="the longest wait, in seconds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all values of all runs")
    options = parser.parse_args()
    script = read_trace(options.trace, "irc", people=options.people, messages=options.messages)
    noise = Noise()
    reports: list[Report] = []
    for number in range(options.runs):
        noise.sample()
        report = replay(script, processes=2, progress=quiet)
        reports.append(report)
        print(
            f"run {number + 1} of {options.runs}: longest wait {report.longest_ms / 1000:.2f} s,"
            f" founding {report.founding_seconds:.2f} s{'' if report.is_clean else ', NOT CLEAN'}",
            file=sys.stderr,
        )
    waits = [report.longest_ms / 1000 for report in reports]
    foundings = [report.founding_seconds for report in reports]
    print(f"{len(script.people)} people, {len(script.lines)} messages, {options.runs} runs.")
    print(f"{noise}\n")
    print(
        table(
            ("of each run", "least", "median", "nine of ten", "most"),
            [
                row("longest wait of a message", waits, "s"),
                row("p50 of its messages", [report.p50_ms / 1000 for report in reports], "s"),
                row("founding the group", foundings, "s"),
            ],
        )
    )
    late = sum(max(both) > options.limit for both in zip(waits, foundings, strict=True))
    lost = sum(not report.is_clean for report in reports)
    print(f"\nruns with a wait over {options.limit:g} s: {late}; not clean: {lost}")
    if options.json:
        found = {"machine": noise.summary(), "runs": [report._asdict() for report in reports]}
        options.json.write_text(json.dumps(found, indent=1))
    if late or lost:
        sys.exit(1)


if __name__ == "__main__":
    main()
