"""Drops in a JetStream cluster of the relay's region, for many processes at once (decision 0039).

A drop is one subject of one stream, and each change of it is one message, which the engine takes
only if the process that made it knew the message before. `engine` speaks to the cluster, `layout`
says what lies where, `messages` what a message holds, `roots` what opens it, `known` what a process
knows of a drop; `reading`, `staging`, `expiry`, `ledger` and `moves` are the store.
"""

from __future__ import annotations

from amanat.relay.cluster.reader import ClusterReader
from amanat.relay.cluster.store import ClusterStore, SharedSealingKeys, open_cluster

__all__ = ["ClusterReader", "ClusterStore", "SharedSealingKeys", "open_cluster"]
