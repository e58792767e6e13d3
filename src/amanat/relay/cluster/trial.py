"""A whole cluster on this machine: three nodes, and two processes of one relay.

Everything rests in one directory, which keeps its ports and logins, so that a later trial goes on
where the last one ended. A trial ends only the processes that it has started. Each of them ends by
itself if the trial dies: a relay process when its standard input ends, a node by a signal of the
system.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from amanat.config import ClusterConfig, RelayConfig
from amanat.errors import BadArgument, BadSetting
from amanat.relay.cluster.nodes import LocalCluster, free_ports
from amanat.relay.directory import ROOTS, RelayDirectory, locked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


PROCESSES = 2
"""Relay processes: enough to see that one takes over from another."""
SHARDS = 4
"""Streams of a trial: a real relay has more, which take seconds to create."""
BUCKETS = 4
ANYWHERE = "ZZ"
"""The region of a new trial, unless its operator names one: ISO 3166-1 gives it to no country."""
PAUSE_S = 3.0
"""Seconds for which a process that has ended stays away, so that a person sees the others serve."""
END_S = 20.0
"""Longest that a relay process may take to drain, in seconds."""
LOOK_S = 0.2
"""Seconds between two looks at the processes."""


class Shown(NamedTuple):
    """The processes of a trial, and the address of its relay."""

    address: str
    """The relay's address, at which all its processes listen."""
    relays: dict[str, int]
    """The process of each directory of the relay, under the directory's path."""
    nodes: dict[str, int]
    """The process of each node."""
    system_login: str
    """The file with a login that sees the settings of all nodes."""


class Trial:
    """A cluster and a relay of a directory."""

    def __init__(
        self, directory: Path, *, region: str, note: Callable[[str], None] = lambda _: None
    ) -> None:
        """Make the directory's contents, or take those of an earlier trial. `note` gets a sentence
        about each process that has ended, and about each that starts again.

        Raises BadArgument, NotInstalled, BadSetting or StoreDamaged.
        """
        self._note = note
        self.cluster = LocalCluster(directory, region=region or ANYWHERE, ends_with_us=True)
        if region and self.cluster.region != region:
            raise BadArgument(f"the cluster in {directory} is of region {self.cluster.region}")
        self.system_login = directory / "system.login"
        self._write_login(directory / "relay.login", "relay")
        self._write_login(self.system_login, "system")
        self.directories = [directory / f"relay-{number + 1}" for number in range(PROCESSES)]
        self._make_relay(directory / "relay.login")
        self._relays: dict[Path, subprocess.Popen[bytes]] = {}
        self._away: dict[str, float] = {}
        """The times at which a process that has ended starts again."""
        self.address = ""

    def _write_login(self, file: Path, user: str) -> None:
        file.touch(mode=0o600)
        file.write_text(f"{user}\n{self.cluster.password}\n")

    def _make_relay(self, login: Path) -> None:
        first, *others = self.directories
        if not first.exists():
            (port,) = free_ports(1)
            places = ",".join(one.removeprefix("nats://") for one in self.cluster.servers)
            settings = RelayConfig(
                region=self.cluster.region,
                operator="a trial of a cluster",
                host="127.0.0.1",
                port=port,
                buckets=BUCKETS,
                store=f"nats://{places}",
                cluster=ClusterConfig(
                    login=str(login.absolute()), shards=SHARDS, keepers=PROCESSES
                ),
            )
            RelayDirectory.create(first, settings)
        for other in others:
            if not other.exists():
                # Everything of a relay but its roots, which each process has for itself.
                shutil.copytree(first, other, ignore=shutil.ignore_patterns(f"{ROOTS}*"))

    @contextlib.contextmanager
    def running(self) -> Iterator[Shown]:
        """Run everything. Raises BadSetting if a process does not start."""
        with locked(self.cluster.directory):
            try:
                self.cluster.start()
                self.cluster.wait()
                for directory in self.directories:
                    self._start_relay(directory)
                self.address, *_ = [self._wait(one) for one in self.directories]
                yield self.shown()
            finally:
                self._end_relays()
                self.cluster.stop()

    def shown(self) -> Shown:
        """The processes as they are now."""
        return Shown(
            self.address,
            {str(path): process.pid for path, process in self._relays.items()},
            {name: process.pid for name, process in self.cluster.processes.items()},
            str(self.system_login),
        )

    def _start_relay(self, directory: Path) -> None:
        with (directory.parent / f"{directory.name}.log").open("ab") as log:
            self._relays[directory] = subprocess.Popen(  # noqa: S603  # our own arguments
                [
                    sys.executable,
                    "-m",
                    "amanat",
                    "--json",
                    "relay",
                    "run",
                    "--until-eof",
                    directory,
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                process_group=0,  # a Ctrl-C in a terminal is for the trial, which drains them
            )

    def _wait(self, directory: Path) -> str:
        """The address at which a relay process listens. Raises BadSetting."""
        told = self._told(directory)
        if "address" not in told:
            raise BadSetting(
                f"no relay runs in {directory}: {told.get('detail') or told.get('error')}"
            )
        return str(told["address"])

    def _told(self, directory: Path) -> dict[str, Any]:
        output = self._relays[directory].stdout
        line = b"" if output is None else output.readline()
        try:
            told = msgspec.json.decode(line)
        except msgspec.DecodeError:
            told = None
        return told if isinstance(told, dict) else {"error": f"see {directory}.log"}

    def look(self) -> None:
        """Start the processes again that have ended some seconds ago."""
        for name, again in list(self._ended()):
            now = time.monotonic()
            if name not in self._away:
                self._away[name] = now + PAUSE_S
                self._note(f"{name} has ended; it starts again in {PAUSE_S:.0f} seconds")
            elif self._away[name] <= now:
                del self._away[name]
                self._note(f"{name} starts again")
                again()

    def _ended(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """The processes that have ended: the name of each, and the call that starts it again."""
        for node in self.cluster.nodes:
            if self.cluster.processes[node.name].poll() is not None:
                yield f"node {node.name}", functools.partial(self.cluster.start, node)
        for directory, process in self._relays.items():
            if process.poll() is not None:
                _close(process)
                again = functools.partial(self._start_relay, directory)
                yield f"relay process {directory.name}", again

    def _end_relays(self) -> None:
        for process in self._relays.values():
            if process.stdin is not None:
                process.stdin.close()
        for process in self._relays.values():
            self._end(process)
        self._relays = {}

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _close(process)


def _close(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
