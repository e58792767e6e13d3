"""How long a command takes to start: bench/start.py [--runs N].

Alice has a background (`amanat run`) and a contact, at a relay on this machine. Each run times, one
after the other, a Python that does nothing, `amanat --help`, and `amanat send`, whose work the
background does: it reads new cells, keeps the text, and has the relay keep it durably.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from machine import Noise, spread, table

AMANAT = (sys.executable, "-m", "amanat")
PASSPHRASE = "of nobody"  # noqa: S105  # nor does it protect anything
TARGETS_MS = {"amanat --help": 150.0, "amanat send": 250.0}
"""The target for each command: its median takes less, in milliseconds."""


def do(profile: Path, *words: str, given: str = "", unlocks: bool = False) -> Any:  # noqa: ANN401  # JSON
    """The JSON result of a command."""
    ours, theirs = os.pipe()
    os.write(theirs, f"{PASSPHRASE}\n".encode())
    os.close(theirs)
    options = ["--json", "--profile", str(profile)]
    options += ["--passphrase-fd", str(ours)] if unlocks else []
    done = subprocess.run(
        [*AMANAT, *options, *words],
        input=given, stdout=subprocess.PIPE, text=True, check=True, pass_fds=[ours],
    )  # fmt: skip
    os.close(ours)
    return json.loads(done.stdout)


@contextlib.contextmanager
def staying(*words: str, passphrase: str = "") -> Iterator[Any]:
    """The first value that a process prints, which runs as long as the context lasts."""
    process = subprocess.Popen(
        [*AMANAT, "--json", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(f"{passphrase}\n")
        process.stdin.close()
        yield json.loads(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


class Took(NamedTuple):
    """The time of a process, in milliseconds."""

    wall_ms: float
    """From start to exit: on an idle machine, a person waits this long."""
    processor_ms: float
    """Processor time of this process alone, which other work on the machine hardly changes."""


def took(command: list[str], given: str = "") -> Took:
    """Run a command; the time that it took."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, input=given, stdout=subprocess.DEVNULL, text=True, check=True)
    wall_s, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Took(1000 * wall_s, 1000 * processor_s)


def main() -> None:
    """Start commands again and again, and print how long they take."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=25)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    noise = Noise()
    times: dict[str, list[Took]] = {"python -c pass": [], "amanat --help": [], "amanat send": []}
    with tempfile.TemporaryDirectory(prefix="amanat-start-") as name, contextlib.ExitStack() as up:
        root = Path(name)
        alice, bob, relay = root / "alice", root / "bob", str(root / "relay")
        subprocess.run(
            [*AMANAT, "relay", "init", relay, "--region", "IR", "--operator", "me", "--port", "0"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True,
        )  # fmt: skip
        address = up.enter_context(staying("relay", "run", relay))["address"]
        for profile in (alice, bob):
            do(profile, "init", "--name", profile.name, "--relay", address, unlocks=True)
        invite = do(alice, "invite", unlocks=True)["invite"]
        background = ("--profile", str(alice), "--passphrase-fd", "0", "run")
        up.enter_context(staying(*background, passphrase=PASSPHRASE))
        assert do(bob, "accept", given=invite, unlocks=True)["met"]
        send = [*AMANAT, "--profile", str(alice), "send", "bob"]
        for _ in range(args.runs):
            noise.sample()
            times["python -c pass"].append(took([sys.executable, "-c", "pass"]))
            times["amanat --help"].append(took([*AMANAT, "--help"]))
            times["amanat send"].append(took(send, "a text"))
    walls = {what: spread(one.wall_ms for one in found) for what, found in times.items()}
    processor = {
        what: statistics.median(one.processor_ms for one in found) for what, found in times.items()
    }
    if args.json:
        found = {"wall_ms": walls, "processor_ms": processor, "machine": noise.summary()}
        print(json.dumps(found))
        return
    rows = []
    for what, (low, median, high) in walls.items():
        target = f"{TARGETS_MS[what]:.0f}" if what in TARGETS_MS else ""
        figures = f"{low:.0f} / **{median:.0f}** / {high:.0f}"
        rows.append((what, figures, f"{processor[what]:.0f}", target))
    heads = ("", "whole process, ms (min / median / max)", "its processor time, ms", "target, ms")
    print(table(heads, rows))
    print(noise)


if __name__ == "__main__":
    main()
