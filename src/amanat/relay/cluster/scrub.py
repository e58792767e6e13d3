"""The comparison of all replicas, because the engine does not notice a changed bit.

Each replica of each stream is read whole, through a reader on its own node. A message of a drop or
a journal is good if the relay's proof is; of the others, the version is good that two nodes have. A
replica that lacks a good message, or has another, is bad. It is rebuilt from the others: its node
stops, `forget` deletes what the node has of the stream, and the engine fetches it anew.
"""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from amanat.errors import RelayBusy, StoreDamaged
from amanat.relay.cluster.engine import RETRY_S, EngineRefused

if TYPE_CHECKING:
    from pathlib import Path

    from amanat.relay.cluster.engine import Engine, Message
    from amanat.relay.cluster.layout import Layout
    from amanat.relay.cluster.messages import Sealer


class BadReplica(NamedTuple):
    """A replica that does not have what the others have."""

    stream: str
    node: str
    group: str
    """The engine's name for the replicas of the stream."""
    missing: list[int]
    """The places of messages that it lacks."""
    changed: list[int]
    """The places of messages that it has otherwise."""


def scrub(engine: Engine, layout: Layout, sealer: Sealer) -> list[BadReplica]:
    """Compare all replicas. Returns the bad ones. Raises RelayBusy if one cannot be read, and
    StoreDamaged if of some message no replica is good."""
    return [bad for stream in layout.streams() for bad in _compare(engine, layout, sealer, stream)]


def _compare(engine: Engine, layout: Layout, sealer: Sealer, stream: str) -> list[BadReplica]:
    try:
        info = engine.api(f"STREAM.INFO.{stream}")
    except EngineRefused as refused:
        raise StoreDamaged(f"stream {stream}: {refused}") from None
    cluster = info["cluster"]
    if "leader" not in cluster:
        raise RelayBusy(f"stream {stream} has no leader", retry_after=RETRY_S)
    nodes = [cluster["leader"], *(peer["name"] for peer in cluster.get("replicas", []))]
    newest = info["state"]["last_seq"]
    """Messages that came later are compared the next time."""
    proven = stream not in (layout.ledger, layout.state)
    had: dict[str, dict[int, bytes]] = {node: {} for node in nodes}
    good: dict[int, bytes] = {}
    for node in nodes:

        def hear(message: Message, mine: dict[int, bytes] = had[node]) -> None:
            if message.place <= newest:
                mine[message.place] = digest = _digest(message)
                if proven and sealer.proves(message):
                    good[message.place] = digest

        engine.read_replica(stream, node, hear)
    places = set().union(*had.values())
    for place in places - set(good):
        versions = Counter(had[node][place] for node in nodes if place in had[node])
        digest, count = versions.most_common(1)[0]
        if proven or 2 * count <= len(nodes):
            if engine.at(stream, place) is None:
                continue  # it was purged meanwhile
            raise StoreDamaged(f"stream {stream}: no replica has message {place} as it was")
        good[place] = digest
    found = []
    for node in nodes:
        missing = sorted(place for place in good if place not in had[node])
        if missing:
            missing = [place for place in missing if engine.at(stream, place) is not None]
        changed = sorted(
            place for place, digest in good.items() if had[node].get(place, digest) != digest
        )
        if missing or changed:
            found.append(BadReplica(stream, node, cluster["raft_group"], missing, changed))
    return found


def forget(home: Path, bad: BadReplica) -> None:
    """Delete what a node has of a stream. `home` is the node's directory of streams. The node must
    be stopped, and the other replicas must be good."""
    for path in (home / "jetstream").glob(f"*/streams/{bad.stream}"):
        shutil.rmtree(path)
    for path in (home / "jetstream").glob(f"*/_js_/{bad.group}"):
        shutil.rmtree(path)


def _digest(message: Message) -> bytes:
    words = hashlib.sha256(f"{message.subject} {message.before}".encode())
    for name in sorted(message.headers):
        if name.startswith("Amanat-"):
            words.update(f"\n{name} {message.headers[name]}".encode())
    words.update(b"\n\n" + message.body)
    return words.digest()
