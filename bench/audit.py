"""The time and the memory that an audit takes: bench/audit.py [--cells N].

A relay's directory is filled through its own rules, with cells of the last fortnight. Then the
program's own command audits it, cold: the system has dropped the files from its memory, if it lets
us. It takes 1.3 KB of disk for each cell: 13 GB for ten million.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import move
from machine import Noise, table


def main() -> None:
    """Fill, audit, and print how it went."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--drops", type=int, default=10_000)
    parser.add_argument("--cells", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    noise = Noise()
    noise.sample()
    with tempfile.TemporaryDirectory(prefix="tmp-audit-", dir=Path(__file__).parent) as name:
        directory = Path(name) / "relay"
        move.set_up(directory, move.REGION, args.drops, args.cells, ())
        subprocess.run(["sync"], check=True)
        for path in directory.iterdir():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        began = time.monotonic()
        told = subprocess.run(
            [sys.executable, "-m", "amanat", "--json", "region", "audit", str(directory)],
            stdout=subprocess.PIPE,
            check=False,
        )
        seconds = time.monotonic() - began
    noise.sample()
    report = json.loads(told.stdout)
    found = {
        "cells": report["cells"],
        "drops": report["drops"],
        "opened": report["opened"],
        "findings": len(report["findings"]),
        "seconds": seconds,
        "peak_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1000,
    }
    if args.json:
        print(json.dumps(found | {"machine": noise.summary()}))
        return
    rows = [
        (key, f"{value:.1f}" if isinstance(value, float) else f"{value:,}")
        for key, value in found.items()
    ]
    print(table(["", ""], rows))
    print(noise)


if __name__ == "__main__":
    main()
