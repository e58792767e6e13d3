"""`relay cluster try`: a whole cluster with one command, which keeps its directory."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from amanat.protocol import wire
from amanat.protocol.cells import MESSAGE_CELL
from amanat.protocol.descriptor import parse_address
from amanat.protocol.drops import Drop, derive_bucket
from amanat.relay.directory import RelayDirectory
from relays import Peer, append, in_loop, read_all

pytestmark = pytest.mark.e2e

END_S = 100.0


class Trying:
    """The command, while it runs."""

    def __init__(self, directory: Path, *words: str) -> None:
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "amanat",
                "--json",
                "relay",
                "cluster",
                "try",
                directory,
                *words,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.shown: dict[str, Any] = {}

    def wait(self) -> None:
        """Wait until it serves."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()
        self.shown = json.loads(line)
        assert "address" in self.shown, self.shown

    @property
    def children(self) -> list[int]:
        return [*self.shown["nodes"].values(), *self.shown["relays"].values()]

    def next_note(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.readline()

    def end(self) -> int:
        self.process.send_signal(signal.SIGINT)
        self.process.communicate()
        return self.process.returncode


@contextlib.contextmanager
def trying(directory: Path, *words: str) -> Iterator[Trying]:
    trial = Trying(directory, *words)
    try:
        trial.wait()
        yield trial
    finally:
        trial.process.kill()  # the others end by themselves
        trial.process.communicate()


def is_alive(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in ("Z", "X")
    return False


def children_of(pid: int) -> list[int]:
    """The processes that a process has started, and that run."""
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@in_loop
async def fill(shown: dict[str, Any], bucket: Drop, cells: list[bytes]) -> None:
    peer = await Peer.connect(parse_address(shown["address"]))
    for number, data in enumerate(cells):
        assert isinstance(await peer.ask(append(bucket, data, number)), wire.Appended)


@in_loop
async def look(shown: dict[str, Any], bucket: Drop, cells: list[bytes]) -> None:
    peer = await Peer.connect(parse_address(shown["address"]))
    assert await read_all(peer, bucket, least=len(cells)) == cells


def test_a_trial_keeps_its_cells_its_address_and_its_region(tmp_path: Path) -> None:
    cells = [os.urandom(MESSAGE_CELL) for _ in range(3)]
    with trying(tmp_path, "--region", "DE") as trial:
        first = trial.shown
        secret = RelayDirectory.open(Path(next(iter(first["relays"])))).bucket_key
        bucket = derive_bucket(secret, 0, region="DE")
        fill(first, bucket, cells)
        assert trial.end() == 0
        assert not any(is_alive(pid) for pid in trial.children)
    ran = subprocess.run(
        [sys.executable, "-m", "amanat", "relay", "cluster", "try", tmp_path, "--region", "IR"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert "is of region DE" in ran.stderr
    with trying(tmp_path) as trial:
        assert trial.shown["address"] == first["address"]
        look(trial.shown, bucket, cells)


def test_a_process_of_a_trial_starts_again_and_none_outlives_it(tmp_path: Path) -> None:
    with trying(tmp_path) as trial:
        nodes = trial.shown["nodes"]
        os.kill(nodes["ZZ-2"], signal.SIGKILL)
        assert "node ZZ-2 has ended" in trial.next_note()
        assert "node ZZ-2 starts again" in trial.next_note()
        assert all(is_alive(pid) for pid in trial.children if pid != nodes["ZZ-2"])
        until = time.monotonic() + END_S  # it is noted before it is done
        while len(again := children_of(trial.process.pid)) < len(trial.children):
            assert time.monotonic() < until
            time.sleep(0.05)
        watched = [os.pidfd_open(pid) for pid in again]
        assert len(watched) == len(trial.children)
        trial.process.kill()
        for one in watched:
            # A relay process asks nodes that have gone for some answers before it ends.
            assert select.select([one], [], [], END_S)[0]
            os.close(one)
