"""The figures of the campaigns: how long they are, where their figures go, and a table of them.

python tests/figures.py FILE     # the table of the figures that campaigns have written to FILE
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console

SOAK = float(os.environ.get("AMANAT_SOAK", "1"))
"""How long campaigns are: 1 in an ordinary run of the tests, and FULL in `make soak`."""
FULL = 10

soak_alone = pytest.mark.skipif(SOAK <= 1, reason="only `make soak` has the time")
"""Marks a test of which an ordinary run has a smaller sibling."""


def rounds(short: int, soak: int | None = None) -> int:
    """The number of rounds of a campaign that has `short` rounds in an ordinary run, and `soak` in
    `make soak`: FULL times `short` if nothing else is said."""
    if SOAK <= 1 or soak is None:
        return max(1, round(short * SOAK))
    return max(short, round(soak * SOAK / FULL))


def every(short: int) -> int:
    """The stride of a campaign that takes every one of its steps in a soak, and every `short`-th in
    an ordinary run."""
    return 1 if SOAK > 1 else short


def report(campaign: str, **figures: float) -> None:
    """Add a campaign's figures to the file of AMANAT_FIGURES, if there is one."""
    if path := os.environ.get("AMANAT_FIGURES"):
        with Path(path).open("a") as file:
            file.write(json.dumps({"campaign": campaign, **figures}) + "\n")


def table(lines: str) -> str:
    """The lines of figures as a Markdown table; those of one campaign are added up."""
    campaigns: dict[str, Counter[str]] = {}
    for line in lines.splitlines():
        figures = json.loads(line)
        campaigns.setdefault(figures.pop("campaign"), Counter()).update(figures)
    rows = ["| campaign | figures |", "|---|---|"]
    for name, figures in campaigns.items():
        shown = ", ".join(f"{word.replace('_', ' ')} {value:,}" for word, value in figures.items())
        rows.append(f"| {name} | {shown} |")
    return "\n".join(rows)


if __name__ == "__main__":
    Console(soft_wrap=True).print(table(Path(sys.argv[1]).read_text()), markup=False)
