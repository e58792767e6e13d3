"""The streams of a relay in its cluster: their names, their settings, and the checks that they are
what they must be.

A stream is created by nothing but `prepare`, and what the engine made of it is read again. A stream
that lies elsewhere, has too few replicas, or belongs to another relay stops the start.
"""

from __future__ import annotations

import hashlib
import time
from base64 import b32encode
from typing import TYPE_CHECKING, Any, NamedTuple

from amanat.errors import BadSetting, RelayBusy, StoreTooNew, StoreTooOld
from amanat.protocol.descriptor import b64
from amanat.relay.cluster.engine import EngineRefused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from amanat.relay.cluster.engine import Engine

_NOT_SETTLED = (10005, 10008)
"""The engine's codes for too few nodes, and for being busy."""
_NO_STREAM = (404, 10059)
FORMAT = 2
"""The version of the streams' contents. A change of what a message holds counts it up."""
SETTLE_TRIES, SETTLE_S = 100, 0.2
"""Looks at a cluster that settles, and the seconds between: one that has just started chooses its
leaders, and refuses placements until it knows its own nodes."""
MOST_SHARDS = 256
"""Shards are numbered by one byte."""


class Layout(NamedTuple):
    """Where a relay's messages lie."""

    region: str
    relay: bytes
    """The relay's key."""
    shards: int
    replicas: int

    @property
    def tag(self) -> str:
        """The tag that each server of the region carries."""
        return f"region:{self.region}"

    @property
    def ledger(self) -> str:
        """The stream of the ledger."""
        return f"{self.region}-ledger"

    @property
    def state(self) -> str:
        """The stream of everything that is neither a drop's nor the ledger's."""
        return f"{self.region}-state"

    def shard(self, drop_id: bytes) -> int:
        """The shard in which a drop lies."""
        return hashlib.sha256(b"amanat cluster shard" + drop_id).digest()[0] % self.shards

    def stream(self, shard: int) -> str:
        """The stream of a shard."""
        return f"{self.region}-drops-{shard:02x}"

    def subject(self, drop_id: bytes) -> str:
        """The subject of a drop."""
        name = b32encode(drop_id).decode().rstrip("=")
        return f"{self.region}.drop.{self.shard(drop_id):02x}.{name}"

    def drops(self, shard: int) -> str:
        """The subjects of all drops in a shard."""
        return f"{self.region}.drop.{shard:02x}.*"

    def journal(self, shard: int) -> str:
        """The subject of a shard's journal: the messages with the entries for the ledger."""
        return f"{self.region}.journal.{shard:02x}"

    def fence(self, shard: int) -> str:
        """The subject of the messages that ask whether a shard's leader still is its leader."""
        return f"{self.region}.fence.{shard:02x}"

    def streams(self) -> dict[str, list[str]]:
        """The subjects of each stream."""
        return {
            self.ledger: [f"{self.region}.ledger.>"],
            self.state: [f"{self.region}.state.>"],
        } | {
            self.stream(shard): [self.drops(shard), self.journal(shard), self.fence(shard)]
            for shard in range(self.shards)
        }

    def settings(self, name: str) -> dict[str, Any]:
        """The settings of a stream. Nothing in it ends by a node's clock."""
        return {
            "name": name,
            "subjects": self.streams()[name],
            "retention": "limits",
            "discard": "new",
            "storage": "file",
            "num_replicas": self.replicas,
            "placement": {"cluster": self.region, "tags": [self.tag]},
            "allow_direct": True,
            "allow_atomic": True,
            "max_age": 0,
            "max_msgs": -1,
            "max_bytes": -1,
            "max_msgs_per_subject": -1,
            "max_consumers": -1,
            "deny_delete": False,
            "deny_purge": False,
            "duplicate_window": 1_000_000_000,
            "metadata": self.metadata(),
        }

    def metadata(self) -> dict[str, str]:
        """The words by which a stream says whose it is."""
        return {
            "amanat_format": str(FORMAT),
            "amanat_relay": b64(self.relay),
            "amanat_region": self.region,
            "amanat_shards": str(self.shards),
        }


def prepare(engine: Engine, layout: Layout) -> None:
    """Create the streams that do not exist yet, and check all of them. Raises BadSetting, which
    names what is wrong, StoreTooNew, StoreTooOld or RelayBusy."""
    _check_account(engine, layout)
    for name in layout.streams():
        check(layout, name, _info(engine, layout, name))


def _settling() -> Iterator[bool]:
    """A turn for each look at a cluster that settles: whether it is the last."""
    for left in range(SETTLE_TRIES - 1, -1, -1):
        yield not left
        time.sleep(SETTLE_S)


def _info(engine: Engine, layout: Layout, name: str) -> dict[str, Any]:
    """A stream as its leader describes it, once it has one. Creates the stream if need be."""
    for is_last in _settling():
        try:
            info = engine.api(f"STREAM.INFO.{name}")
        except EngineRefused as refused:
            if refused.code in _NO_STREAM:
                info = _create(engine, layout, name)
            elif is_last or refused.code not in _NOT_SETTLED:
                raise BadSetting(f"the cluster refuses stream {name}: {refused}") from None
            else:
                continue
        except RelayBusy:
            if is_last:
                raise
            continue
        if info.get("cluster", {}).get("leader"):
            return info
    raise RelayBusy(f"stream {name} has no leader", retry_after=SETTLE_S)


def _check_account(engine: Engine, layout: Layout) -> None:
    account = _account(engine, layout)
    domain = account.get("domain", "")
    if domain != layout.region:
        raise BadSetting(f"the cluster is of domain {domain!r} and not of {layout.region!r}")


def _account(engine: Engine, layout: Layout) -> dict[str, Any]:
    for is_last in _settling():
        try:
            return engine.api("INFO")
        except EngineRefused as refused:
            if is_last or refused.code not in _NOT_SETTLED:
                raise BadSetting(f"the cluster refuses JetStream: {refused}") from None
        except RelayBusy:
            if is_last:
                raise BadSetting(
                    f"no node serves JetStream of domain {layout.region!r} for this login"
                ) from None
    raise AssertionError


def _create(engine: Engine, layout: Layout, name: str) -> dict[str, Any]:
    for is_last in _settling():
        try:
            return engine.api(f"STREAM.CREATE.{name}", layout.settings(name))
        except EngineRefused as refused:
            if is_last or refused.code not in _NOT_SETTLED:
                raise BadSetting(
                    f"the cluster cannot place stream {name} on {layout.replicas} nodes of"
                    f" {layout.tag}: {refused}"
                ) from None
    raise AssertionError


_COPIES = ("mirror", "sources", "republish", "subject_transform")
"""Settings by which a stream copies messages from or to others."""


def check(layout: Layout, name: str, info: dict[str, Any]) -> None:
    """Check what the engine says of a stream. Raises BadSetting, StoreTooNew or StoreTooOld."""
    config = info["config"]
    _check_owner(layout, name, config.get("metadata", {}))
    for key, value in layout.settings(name).items():
        found = config.get(key)
        if found is None:  # the engine leaves out what is off
            found = type(value)()
        if key != "metadata" and found != value:
            raise BadSetting(f"stream {name}: {key} is {found!r} and not {value!r}")
    for key in (*_COPIES, "sealed"):
        if config.get(key):
            raise BadSetting(f"stream {name}: {key} is set")
    cluster = info.get("cluster", {})
    if cluster.get("name") != layout.region:
        raise BadSetting(f"stream {name} lies in cluster {cluster.get('name')!r}")
    if (count := len(nodes_of(info))) != layout.replicas:
        raise BadSetting(f"stream {name} is on {count} nodes and not on {layout.replicas}")


def _check_owner(layout: Layout, name: str, metadata: dict[str, str]) -> None:
    wanted = layout.metadata()
    owner = metadata.get("amanat_relay")
    if owner != wanted["amanat_relay"]:
        whose = f"of another relay, whose key is {owner}" if owner else "of no relay"
        raise BadSetting(f"stream {name} is {whose}: give each relay an account of its own")
    written = metadata.get("amanat_format", "")
    if written != wanted["amanat_format"]:
        is_newer = written.isdecimal() and int(written) > FORMAT
        told = f"stream {name} has format {written!r}, and this version reads {FORMAT}"
        raise StoreTooNew(told) if is_newer else StoreTooOld(told)
    for key, value in wanted.items():
        if metadata.get(key) != value:
            raise BadSetting(f"stream {name}: {key} is {metadata.get(key)!r} and not {value!r}")


def nodes_of(info: dict[str, Any]) -> set[str]:
    """The names of the nodes that hold a stream."""
    cluster = info.get("cluster", {})
    return {peer["name"] for peer in cluster.get("replicas", [])} | {cluster.get("leader", "")}
