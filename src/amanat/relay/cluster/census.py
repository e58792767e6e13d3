"""The nodes of a cluster as they describe themselves to a system login, which sees their settings.

A relay has no such login. An operator gives one to `relay cluster check` alone.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from amanat.relay.cluster.engine import Engine

LISTEN_S = 2.0
"""Seconds for which we listen to nodes of which we do not know how many there are."""
MANY = 1024
"""More nodes than any cluster has."""


class Described(NamedTuple):
    """A node as it describes itself."""

    name: str
    version: str
    cluster: str
    domain: str
    tags: frozenset[str]
    """In small letters, as the engine compares them."""
    syncs_always: bool
    unique_tag: str
    max_payload: int
    meets_others: tuple[str, ...]
    """The ways by which it is connected to nodes that are not of its cluster."""
    asks_tls: bool
    routes_use_tls: bool
    is_local: bool
    """Whether it listens on loopback alone, for relays and for other nodes."""
    skew_s: float
    """By how many seconds its clock is surely ahead of ours, or behind it (below 0)."""
    peers: int
    """How many nodes it knows, itself included."""
    accounts: dict[str, dict[str, dict[str, str]]]
    """The metadata of each stream that it holds, for each account."""

    def zone(self) -> str:
        """Where it stands, as its tags say; empty: they do not."""
        return next((tag for tag in sorted(self.tags) if tag.startswith("az:")), "")


def take(engine: Engine, clock: Callable[[], float]) -> list[Described]:
    """All nodes that answer, in the order of their names. `engine` has the system login."""
    count = len(_ask(engine, "IDZ", enough=MANY))
    began = clock()
    general = _ask(engine, "VARZ", enough=count)
    ended = clock()
    wanted = {"accounts": True, "streams": True, "config": True, "limit": MANY}
    held = {
        one["server"]["name"]: one.get("data", {})
        for one in _ask(engine, "JSZ", wanted, enough=count)
        if "server" in one
    }
    return sorted(
        _described(one, held.get(one["server"]["name"], {}), began, ended)
        for one in general
        if "server" in one and "data" in one
    )


def _ask(
    engine: Engine, what: str, request: dict[str, Any] | None = None, *, enough: int
) -> list[dict[str, Any]]:
    body = msgspec.json.encode(request or {})
    answers = engine.consult(
        f"$SYS.REQ.SERVER.PING.{what}", body, wait_s=LISTEN_S, enough=max(enough, 1)
    )
    decoded = (msgspec.json.decode(answer) for answer in answers if answer)
    return [one for one in decoded if isinstance(one, dict)]


def _described(said: dict[str, Any], held: dict[str, Any], began: float, ended: float) -> Described:
    server, data = said["server"], said["data"]
    stream = data.get("jetstream", {})
    config, meta = stream.get("config", {}), stream.get("meta", {})
    cluster = data.get("cluster", {})
    ways = []
    if data.get("gateway", {}).get("name"):
        ways.append(f"gateway {data['gateway']['name']}")
    leaf = data.get("leaf", {})
    if leaf.get("port") or leaf.get("remotes") or data.get("leafnodes"):
        ways.append("leaf nodes")
    return Described(
        name=str(server.get("name", "")),
        version=str(data.get("version", "")),
        cluster=str(cluster.get("name", "")),
        domain=str(config.get("domain", "")),
        tags=frozenset(tag.lower() for tag in data.get("tags") or []),
        syncs_always=bool(config.get("sync_always")),
        unique_tag=str(config.get("unique_tag", "")),
        max_payload=int(data.get("max_payload", 0)),
        meets_others=tuple(ways),
        asks_tls=bool(data.get("tls_required")),
        routes_use_tls=bool(cluster.get("tls_required")),
        is_local=_is_loopback(data.get("host", "")) and _is_loopback(cluster.get("addr", "")),
        skew_s=_skew(str(data.get("now", "")), began, ended),
        peers=int(meta.get("cluster_size", 0)),
        accounts={
            account["name"]: {
                one["name"]: one.get("config", {}).get("metadata") or {}
                for one in account.get("stream_detail") or []
            }
            for account in held.get("account_details") or []
        },
    )


def _is_loopback(host: str) -> bool:
    return host in ("127.0.0.1", "::1", "localhost")


def _skew(text: str, began: float, ended: float) -> float:
    """How far a clock that showed `text` at some time between two moments is off at least."""
    try:
        # Python reads six digits of a second, and the engine writes up to nine.
        whole, _, rest = text.rstrip("Z").partition(".")
        moment = datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp()
        shown = moment + float(f"0.{rest or 0}")
    except ValueError:
        return 0.0
    if shown > ended:
        return shown - ended
    return min(shown - began, 0.0)
