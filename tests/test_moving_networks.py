"""A move between two networks whose line is cut, by the program's own commands.

Each relay runs in a network namespace that the test makes and removes; one cable leads from one to
the other, and nowhere else.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from amanat.config import RelayLimits
from amanat.protocol import wire
from amanat.protocol.cells import LABEL_BYTES, MESSAGE_CELL
from amanat.protocol.drops import derive_drop, token_hash
from amanat.protocol.moving import GONE, HERE
from amanat.region.notice import DAY_S, LEAST_DAYS
from amanat.relay.directory import RelayDirectory, read_notice, write_notice
from amanat.relay.drops import Drops
from amanat.relay.records import DropRecord
from amanat.relay.store import SqliteStore
from amanat.relay.store.reader import SqliteReader
from hosts import ip
from relays import PATIENCE_S

PORT = 8443
DROPS, CELLS = 300, 12_000
RATE = 4_000_000
"""Bytes a second, so that the move takes three seconds and the line is cut in the middle of it."""
AMANAT = [sys.executable, "-m", "amanat", "--json"]


class Network:
    """A network of its own, with one address."""

    def __init__(self, name: str, address: str) -> None:
        self.name, self.address = name, address
        self.cable = f"{name}c"

    def run(self, *command: str | Path, **settings: Any) -> subprocess.Popen[bytes]:  # noqa: ANN401
        words = ["ip", "netns", "exec", self.name, *AMANAT, *map(str, command)]
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **settings)

    def told(self, *command: str | Path) -> Any:  # noqa: ANN401
        """The JSON result of a command."""
        process = self.run(*command)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        return json.loads(out)

    @contextlib.contextmanager
    def relay(self, directory: Path) -> Iterator[None]:
        """Run a relay in this network."""
        with self.run("relay", "run", directory) as process:
            try:
                assert process.stdout is not None
                assert b"address" in process.stdout.readline()
                yield
            finally:
                process.terminate()
                process.wait(PATIENCE_S)

    def set_line(self, state: str) -> None:
        """Cut the line, or restore it."""
        ip("-n", self.name, "link", "set", self.cable, state)


@contextlib.contextmanager
def two_networks(
    one_address: str = "10.79.0.1", other_address: str = "10.79.0.2"
) -> Iterator[tuple[Network, Network]]:
    stem = f"am{os.getpid() % 100_000}"
    networks = Network(f"{stem}a", one_address), Network(f"{stem}b", other_address)
    made = []
    try:
        for one in networks:
            ip("netns", "add", one.name)
            made.append(one)
        ends = [word for one in networks for word in (one.cable, "netns", one.name)]
        ip("link", "add", *ends[:3], "type", "veth", "peer", "name", *ends[3:])
        for one in networks:
            ip("-n", one.name, "address", "add", f"{one.address}/30", "dev", one.cable)
            for device in ("lo", one.cable):
                ip("-n", one.name, "link", "set", device, "up")
        yield networks
    finally:
        for one in made:
            ip("netns", "delete", one.name)


def fill(directory: Path) -> dict[bytes, DropRecord]:
    """Fill a relay with drops and cells; their records."""
    home = RelayDirectory.open(directory)
    with contextlib.closing(SqliteStore(directory)) as store:
        drops = Drops(
            store, region=home.config.region, bucket_key=home.bucket_key, limits=RelayLimits()
        )
        made = [
            derive_drop(number.to_bytes(32, "big"), purpose=b"test", region=home.config.region)
            for number in range(DROPS)
        ]
        requests: list[wire.Create | wire.Append] = [
            wire.Create(
                0,
                home.bucket_key,
                drop.drop_id,
                token_hash(drop.drop_id, drop.append_token),
                token_hash(drop.drop_id, drop.read_token),
                14,
            )
            for drop in made
        ]
        rest = os.urandom(MESSAGE_CELL - LABEL_BYTES)
        for number in range(CELLS):
            drop = made[number % DROPS]
            cell = os.urandom(LABEL_BYTES) + rest
            requests.append(wire.Append(0, drop.drop_id, drop.append_token, cell))
        drops.write(requests, now=time.time())
        drops.commit()
        return {drop.drop_id: store.look(drop.drop_id) for drop in made}


def wait_until_under_way(source: Path) -> None:
    """Wait until the relay has recorded that its drops move."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        with contextlib.closing(SqliteReader(source)) as store:
            if store.moves():
                return
        time.sleep(0.1)
    raise AssertionError("the move never began")


@pytest.mark.e2e
@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes networks")
def test_a_move_outlives_cut_lines_and_a_killed_mover(tmp_path: Path) -> None:
    source, destination = tmp_path / "source", tmp_path / "destination"
    with two_networks() as (here, there):
        address = here.told(
            *("relay", "init", source, "--region", "IR", "--operator", "one"),
            *("--host", here.address),
        )["address"]
        to = there.told(
            *("relay", "init", destination, "--region", "DE", "--operator", "two"),
            *("--host", there.address),
        )["address"]
        settings = destination / "relay.toml"
        settings.write_text(
            settings.read_text().replace("# sources = []", f'sources = ["{address}"]')
        )
        held = fill(source)
        with here.relay(source), there.relay(destination):
            told = here.told(
                *("region", "notice", source, "--to", to, "--reason", "the law"),
                *("--on", time.strftime("%Y-%m-%d", time.gmtime(time.time() + 40 * DAY_S))),
            )
            assert (told["to"], told["region"]) == (to, "DE")
            early = here.run("region", "move", source, "--to", to)
            assert early.communicate()[0].count(b"notice-runs") + early.returncode >= 2
            announced = read_notice(source)
            assert announced is not None
            assert announced.on - int(time.time() // DAY_S) >= LEAST_DAYS
            today = int(time.time() // DAY_S)
            # As if the notice's day had come.
            write_notice(source, msgspec.structs.replace(announced, on=today))
            mover = here.run("region", "move", source, "--to", to, "--rate", str(RATE))
            wait_until_under_way(source)
            time.sleep(0.5)
            here.set_line("down")
            time.sleep(1)
            here.set_line("up")
            time.sleep(1)
            os.kill(mover.pid, signal.SIGKILL)
            mover.communicate()
            mover = here.run("region", "move", source, "--resume", "--rate", str(RATE))
            for _ in range(2):
                time.sleep(0.7)
                there.set_line("down")
                time.sleep(0.7)
                there.set_line("up")
            out, err = mover.communicate(timeout=90)
            assert mover.returncode == 0, err
            report = json.loads(out)
            assert (report["drops"], report["cells"]) == (DROPS + 1, CELLS)
            certificate = here.told("region", "verify", report["certificate"])
            assert (certificate["to"], certificate["cells"]) == (to, CELLS)
        with (
            contextlib.closing(SqliteReader(destination)) as arrived,
            contextlib.closing(SqliteReader(source)) as left,
        ):
            for drop_id, before in held.items():
                after = arrived.look(drop_id)
                assert (after.head, after.digest, after.cells, after.state) == (
                    *(before.head, before.digest, before.cells, HERE),
                )
            assert left.total(state=HERE) == (0, 0, 0)
            assert left.total(state=GONE) == (DROPS + 1, 0, 0)
