"""Real clusters of three nodes for tests."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from amanat.config import ClusterConfig
from amanat.errors import RelayBusy
from amanat.relay.cluster import ClusterStore
from amanat.relay.cluster.engine import EngineRefused
from amanat.relay.cluster.nodes import START_S, LocalCluster, Node

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SHARDS = 2


class Cluster(LocalCluster):
    """A cluster whose streams last for one test."""

    def store(self, path: Path, *, shards: int = SHARDS, keepers: int = 1) -> ClusterStore:
        return ClusterStore(
            path,
            self.servers,
            identity=KEY,
            region=self.region,
            shards=shards,
            replicas=3,
            keepers=keepers,
            user="relay",
            password=self.password,
        )

    def change(self, node: Node, old: str, new: str) -> None:
        """Change the settings of a node that has not started."""
        file = self.directory / f"{node.name}.conf"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))

    def start_all(self) -> None:
        """Start the nodes that a test has left dead."""
        if dead := [node for node in self.nodes if node.name not in self.processes]:
            self.start(*dead)

    def settings(self, directory: Path, *, keepers: int = 1) -> dict[str, Any]:
        """The settings of a relay on this cluster."""
        login = directory / "cluster.login"
        login.write_text(f"relay\n{self.password}\n")
        places = ",".join(server.removeprefix("nats://") for server in self.servers)
        return {
            "store": f"nats://{places}",
            "cluster": ClusterConfig(login=str(login), shards=SHARDS, keepers=keepers),
        }

    def wipe(self) -> None:
        """Delete all streams, as soon as the cluster does so: nodes may have died a moment ago."""
        until = time.monotonic() + START_S
        while True:
            try:
                with contextlib.closing(self.engine()) as engine:
                    for name in engine.api("STREAM.NAMES").get("streams") or []:
                        engine.api(f"STREAM.DELETE.{name}")
                    return
            except (EngineRefused, RelayBusy, OSError):
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)
