"""Our own relay as a process, against which replays and attacks run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from amanat.drill.process import free_port
from amanat.errors import RelayUnreachable

if TYPE_CHECKING:
    from collections.abc import Sequence


PEOPLE_PER_BUCKET = 32
"""People who share a bucket, as the design asks."""
RELAY_START_S = 30
RELAY_STOP_S = 30
_RELAY = [sys.executable, "-m", "amanat", "--json", "relay"]
POLL_S = 0.05
"""How often a wait for another process looks again, in seconds."""


class RelayProcess:
    """A relay process with a data directory and a file for its output."""

    def __init__(
        self, directory: Path, *, people: int, region: str = "IR", sources: Sequence[str] = ()
    ) -> None:
        """`sources` are the addresses of relays whose drops may move here."""
        self.directory = directory
        self.log = directory.with_name(f"{directory.name}-output")
        self._process: subprocess.Popen[bytes] | None = None
        made = subprocess.run(  # noqa: S603  # our own program
            [*_RELAY, "init", str(directory), "--region", region, "--operator", "replay",
             "--port", str(free_port()), "--buckets", str(-(-people // PEOPLE_PER_BUCKET))],
            check=True, stdout=subprocess.PIPE,
        )  # fmt: skip
        self.address = str(json.loads(made.stdout)["address"])
        if sources:
            settings = self.directory / "relay.toml"
            listed = f"sources = {json.dumps(list(sources))}"
            text = settings.read_text(encoding="utf-8").replace("# sources = []", listed)
            settings.write_text(text, encoding="utf-8")

    def hop_to(self, other: RelayProcess) -> None:
        """Make the relay a hop to another relay, under an operator of its own, from the next start
        on."""
        file = self.directory / "relay.toml"
        text = file.read_text(encoding="utf-8")
        text = text.replace('operator = "replay"', f'operator = "{self.directory.name}"')
        text = text.replace('# serve = "off"', 'serve = "listed"')
        text = text.replace("# relays = []", f'relays = ["{other.address}"]')
        file.write_text(text, encoding="utf-8")

    def program(self) -> tuple[list[str], dict[str, str]]:
        """The command that runs the relay, and its environment."""
        return [*_RELAY, "run", str(self.directory)], dict(os.environ)

    @property
    def written(self) -> list[Path]:
        """Everything that the relay writes: its data directory and its output."""
        return [self.directory, self.log]

    @property
    def pid(self) -> int:
        """The id of the running process."""
        if self._process is None:
            raise RelayUnreachable("it was not started")
        return self._process.pid

    def run(self) -> None:
        """Start the relay and wait until it listens. Raises RelayUnreachable."""
        with self.log.open("ab") as log:
            begin = log.tell()
            command, environment = self.program()
            self._process = subprocess.Popen(  # noqa: S603
                command, stdout=log, stderr=log, env=environment
            )
        deadline = time.monotonic() + RELAY_START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            if self.address.encode() in self.log.read_bytes()[begin:]:
                return
            time.sleep(POLL_S)
        self.kill()
        raise RelayUnreachable(f"the replay's relay did not start: {self.log.read_text()[-500:]}")

    def stop(self) -> None:
        """End the relay as an operator would."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(RELAY_STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Kill the relay, if it still runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def disk_bytes(self) -> int:
        """The size of everything in the data directory, in bytes."""
        return sum(f.stat().st_size for f in self.directory.rglob("*") if f.is_file())
