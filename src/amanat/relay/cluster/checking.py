"""The check of a cluster, before a relay serves from it and while it does.

It only reads. The relay's own login does not see the settings of nodes: the check reads them with a
system login, if the operator gives one, and otherwise reports them as unchecked.
"""

from __future__ import annotations

import contextlib
from enum import StrEnum, unique
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import nats.errors

from amanat.errors import AmanatError, BadSetting, RelayBusy, UsageError
from amanat.relay.cluster import census
from amanat.relay.cluster.engine import Engine, EngineRefused
from amanat.relay.cluster.greeting import (
    LEAST_PAYLOAD,
    LEAST_VERSION,
    Greeting,
    Refusal,
    greet,
    version_of,
)
from amanat.relay.cluster.layout import check, nodes_of
from amanat.relay.cluster.store import Access, layout_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from amanat.relay.cluster.census import Described
    from amanat.relay.cluster.layout import Layout
    from amanat.relay.directory import RelayDirectory

SKEW_S = 5.0
"""Difference between two clocks that is reported, in seconds. Machines that use NTP differ by far
less; the engine notes the time of each message by the clock of a node."""
MOST_LAG = 1000
"""Messages by which a replica may be behind while it is written to."""
PROBE_S = 1.0
"""Seconds for which we wait for an answer that must not come."""
_LEAST = ".".join(map(str, LEAST_VERSION))


@unique
class Verdict(StrEnum):
    """The outcome of one thing that was checked."""

    FINE = "fine"
    WARNING = "warning"
    FAULT = "fault"
    UNCHECKED = "unchecked"


class Finding(NamedTuple):
    """One thing that was checked."""

    check: str
    verdict: Verdict
    text: str
    advice: str = ""
    """The operator's remedy."""


def examine(
    directory: RelayDirectory, system_login: Path | None, clock: Callable[[], float]
) -> list[Finding]:
    """Check the cluster of a relay. Raises BadSetting if its settings name none, or name it
    wrongly."""
    config = directory.config
    if not config.store:
        raise BadSetting("store is empty: this relay's drops rest in its own directory")
    access = Access.of(config)
    layout = layout_of(directory)
    found = greet(access.servers, **access.options)
    greetings = [one for one in found if isinstance(one, Greeting)]
    findings = [
        *_doors([one for one in found if isinstance(one, Refusal)], bool(greetings)),
        *_first_words(greetings, layout),
        _tls(access),
    ]
    holders: dict[str, set[str]] = {}
    if greetings:
        findings += _strangers(access)
        findings += _streams(access, layout, holders)
    findings += _settings(access, layout, holders, system_login, clock)
    return list(dict.fromkeys(findings))  # a node says some things to both logins


def _doors(refusals: Sequence[Refusal], is_let_in: bool) -> Iterator[Finding]:
    for one in refusals:
        advice = "start it, or mend the network between it and this machine"
        if one.is_login:
            advice = "compare cluster.login with the accounts in the node's settings"
        elif "TLS" in one.why or "certificate" in one.why:
            advice = "compare cluster.authority and the tls block in the node's settings"
        yield Finding("login", Verdict.FAULT, f"{one.server}: {one.why}", advice)
    if is_let_in and not refusals:
        yield Finding("login", Verdict.FINE, "every node that the settings name lets the relay in")


def _first_words(greetings: Sequence[Greeting], layout: Layout) -> Iterator[Finding]:
    """Version, region and limits: these a node tells everybody whom it lets in."""
    for one in greetings:
        yield _version(one.node, one.version)
        yield _region(one.node, one.cluster, one.domain, layout.region)
        yield _payload(one.node, one.max_payload)


def _version(node: str, version: str) -> Finding:
    if version_of(version) < LEAST_VERSION:
        return Finding(
            "version",
            Verdict.FAULT,
            f"node {node} runs nats-server {version}, which is too old",
            f"install {_LEAST} or later",
        )
    return Finding("version", Verdict.FINE, f"node {node} runs nats-server {version}")


def _region(node: str, cluster: str, domain: str, region: str) -> Finding:
    if (cluster, domain) != (region, region):
        return Finding(
            "region",
            Verdict.FAULT,
            f"node {node} is of cluster {cluster!r} and JetStream domain {domain!r},"
            f" and the relay is of region {region!r}",
            "name a cluster of the relay's region in `store`, or set cluster.name and"
            " jetstream.domain in the node's settings to the region",
        )
    return Finding("region", Verdict.FINE, f"node {node} is of cluster and domain {region}")


def _payload(node: str, most: int) -> Finding:
    if most < LEAST_PAYLOAD:
        return Finding(
            "payload",
            Verdict.FAULT,
            f"node {node} takes messages of {most} bytes at most",
            f"set max_payload to {LEAST_PAYLOAD} in its settings",
        )
    return Finding("payload", Verdict.FINE, f"node {node} takes messages of {most} bytes")


def _tls(access: Access) -> Finding:
    if "tls" in access.options:
        return Finding("tls", Verdict.FINE, "the relay speaks TLS 1.3, first of all, to every node")
    return Finding(
        "tls", Verdict.FINE, "the relay speaks without TLS, to nodes on this machine alone"
    )


def _strangers(access: Access) -> Iterator[Finding]:
    """Whether nodes let in somebody without a login."""
    alone = access.with_login(None)
    if "user" not in access.options:  # then the certificate is the login
        yield Finding(
            "accounts",
            Verdict.UNCHECKED,
            "whether nodes let in anybody without a certificate",
            "set `verify_and_map: true` in the tls block of each node",
        )
        return
    open_to_all = [
        one for one in greet(alone.servers, **alone.options) if isinstance(one, Greeting)
    ]
    for one in open_to_all:
        yield Finding(
            "accounts",
            Verdict.FAULT,
            f"node {one.node} lets in anybody without a login",
            "remove no_auth_user from its settings, and give each account its users",
        )
    if not open_to_all:
        yield Finding("accounts", Verdict.FINE, "nodes let in nobody without a login")


def _streams(access: Access, layout: Layout, holders: dict[str, set[str]]) -> list[Finding]:
    """The findings of the relay's own login. `holders` gets the nodes of each stream."""
    try:
        with contextlib.closing(Engine(access.servers, layout.region, **access.options)) as engine:
            return [*_sees_system(engine), *_each_stream(engine, layout, holders)]
    except (nats.errors.Error, AmanatError, EngineRefused, OSError) as error:
        return [
            Finding(
                "streams",
                Verdict.FAULT,
                f"JetStream of domain {layout.region} does not answer: {error}",
                "start more nodes: more than half of them must run and reach each other",
            )
        ]


def _sees_system(engine: Engine) -> Iterator[Finding]:
    if engine.consult("$SYS.REQ.SERVER.PING.IDZ", b"", wait_s=PROBE_S, enough=1):
        yield Finding(
            "accounts",
            Verdict.FAULT,
            "the relay's login sees the system account",
            "give the relay a user of an account of its own, and name another as system_account",
        )


def _each_stream(engine: Engine, layout: Layout, holders: dict[str, set[str]]) -> Iterator[Finding]:
    engine.api("INFO")
    names = set(engine.api("STREAM.NAMES").get("streams") or [])
    ours = layout.streams()
    good = 0
    for name in ours:
        if name not in names:
            continue
        info = engine.api(f"STREAM.INFO.{name}")
        holders[name] = nodes_of(info)
        try:
            check(layout, name, info)
        except UsageError as error:  # another relay's, of another version, or set otherwise
            yield Finding(
                "streams",
                Verdict.FAULT,
                error.detail,
                "no relay runs on such a stream: use another account, or mend the stream",
            )
            continue
        late = list(_late(name, info))
        yield from late
        good += not late
    missing = len(ours) - len(names & set(ours))
    if good:
        yield Finding(
            "replicas",
            Verdict.FINE,
            f"{good} streams are whole on {layout.replicas} nodes each, and all replicas current",
        )
    if missing:
        yield Finding(
            "streams",
            Verdict.UNCHECKED,
            f"{missing} of {len(ours)} streams do not exist yet",
            "`amanat relay run` creates them; then check again",
        )
    for name in sorted(names - set(ours)):
        yield Finding(
            "streams",
            Verdict.FAULT,
            f"stream {name} in the relay's account is none of this relay",
            "give each relay, and each other program, an account of its own",
        )


def _late(name: str, info: dict[str, Any]) -> Iterator[Finding]:
    """The replicas of a stream that are away or behind."""
    cluster = info.get("cluster", {})
    if not cluster.get("leader"):
        yield Finding(
            "replicas",
            Verdict.FAULT,
            f"stream {name} has no leader",
            "start more of the nodes that hold it",
        )
    for peer in cluster.get("replicas", []):
        if peer.get("offline"):
            yield Finding(
                "replicas",
                Verdict.FAULT,
                f"stream {name}: node {peer['name']} is away",
                "start it, or replace it; until then the end of one more node stops the relay",
            )
        elif not peer.get("current") or peer.get("lag", 0) > MOST_LAG:
            yield Finding(
                "replicas",
                Verdict.WARNING,
                f"stream {name}: node {peer['name']} is behind by {peer.get('lag', 0)} messages",
                "wait, and check again; if it stays behind, look at its disk and its network",
            )


UNSEEN = ("sync", "zones", "clock", "links", "accounts", "routes")
"""The checks that a relay's login is not enough for."""


def _settings(
    access: Access,
    layout: Layout,
    holders: dict[str, set[str]],
    system_login: Path | None,
    clock: Callable[[], float],
) -> Iterator[Finding]:
    why = "the relay's login does not see it"
    nodes: list[Described] = []
    if system_login is not None:
        asked = access.with_login(system_login)
        try:
            if any(isinstance(one, Greeting) for one in greet(asked.servers, **asked.options)):
                with contextlib.closing(
                    Engine(asked.servers, layout.region, **asked.options)
                ) as engine:
                    nodes = census.take(engine, clock)
            why = "no node tells it to the login in the file"
        except (nats.errors.Error, RelayBusy, OSError):
            why = "the connection broke off"
    if not nodes:
        for name in UNSEEN:
            yield Finding(
                name,
                Verdict.UNCHECKED,
                f"the nodes' settings: {why}",
                "give the file of a login of the system account: --system-login FILE",
            )
    else:
        for one in nodes:
            yield from of_node(one, layout)
        yield from of_all(nodes, layout, holders)
    yield Finding(
        "encryption",
        Verdict.UNCHECKED,
        "whether the files of the nodes are encrypted: the engine tells nobody",
        "look for `cipher` and `key` in the jetstream block of each node's settings",
    )


def of_node(one: Described, layout: Layout) -> Iterator[Finding]:
    """The findings about one node."""
    yield _version(one.name, one.version)
    yield _region(one.name, one.cluster, one.domain, layout.region)
    yield _payload(one.name, one.max_payload)
    tags = f"tags {', '.join(sorted(one.tags)) or 'none'}"
    if layout.tag.lower() not in one.tags:
        yield Finding(
            "region",
            Verdict.FAULT,
            f"node {one.name} has {tags}, and not {layout.tag}",
            f'set server_tags: ["{layout.tag}", "az:..."] in its settings',
        )
    if one.syncs_always:
        yield Finding("sync", Verdict.FINE, f"node {one.name} syncs before it acknowledges")
    else:
        yield Finding(
            "sync",
            Verdict.FAULT,
            f"node {one.name} acknowledges cells before they are on its disk: a power cut loses"
            " them",
            "set sync_interval: always in the jetstream block of its settings",
        )
    if one.meets_others:
        yield Finding(
            "links",
            Verdict.FAULT,
            f"node {one.name} is connected to other clusters by {', '.join(one.meets_others)}:"
            " names of streams, or more, leave the region",
            "remove the gateway and leafnodes blocks from its settings",
        )
    else:
        yield Finding("links", Verdict.FINE, f"node {one.name} has no gateway and no leaf nodes")
    if abs(one.skew_s) > SKEW_S:
        side = "ahead" if one.skew_s > 0 else "behind"
        yield Finding(
            "clock",
            Verdict.WARNING,
            f"the clock of node {one.name} is {abs(one.skew_s):.0f} seconds {side} of this"
            " machine's",
            "have both follow NTP",
        )
    else:
        yield Finding("clock", Verdict.FINE, f"the clock of node {one.name} is right")
    if not one.is_local and not (one.asks_tls and one.routes_use_tls):
        yield Finding(
            "routes",
            Verdict.FAULT,
            f"node {one.name} listens beyond its machine without TLS for"
            f" {'other nodes' if one.asks_tls else 'relays'}",
            "give its settings a tls block, and its cluster block another",
        )


def of_all(
    nodes: Sequence[Described], layout: Layout, holders: dict[str, set[str]]
) -> Iterator[Finding]:
    """The findings about the nodes together."""
    known = max(one.peers for one in nodes)
    if len(nodes) < known:
        yield Finding(
            "nodes",
            Verdict.FAULT,
            f"{len(nodes)} of {known} nodes answer",
            "start the others, or take them out of the cluster for good",
        )
    elif len(nodes) < layout.replicas:
        yield Finding(
            "nodes",
            Verdict.FAULT,
            f"there are {len(nodes)} nodes, and cluster.replicas is {layout.replicas}",
            "start more nodes",
        )
    else:
        yield Finding("nodes", Verdict.FINE, f"all {len(nodes)} nodes answer")
    yield from _zones(nodes, layout, holders)
    yield from _others(nodes, layout)


def _zones(
    nodes: Sequence[Described], layout: Layout, holders: dict[str, set[str]]
) -> Iterator[Finding]:
    zones = {one.name: one.zone() for one in nodes}
    bad = [name for name, zone in zones.items() if not zone]
    for name in bad:
        yield Finding(
            "zones",
            Verdict.FAULT,
            f"node {name} does not say where it stands",
            'add a tag such as "az:1" to its server_tags: another for each place that can fail',
        )
    for one in nodes:
        if one.unique_tag != "az:":
            yield Finding(
                "zones",
                Verdict.FAULT,
                f"node {one.name} may put two replicas into one zone",
                'set unique_tag: "az:" in the jetstream block of its settings',
            )
            bad.append(one.name)
    for stream, names in holders.items():
        told = [zones.get(name, "") for name in names]
        if len(set(told)) < len(told) and all(told):
            yield Finding(
                "zones",
                Verdict.FAULT,
                f"two replicas of stream {stream} are in one zone",
                "move one: `nats stream cluster peer-remove` lets the engine choose another node",
            )
            bad.append(stream)
    if not bad and len(set(zones.values())) < layout.replicas:
        yield Finding(
            "zones",
            Verdict.FAULT,
            f"the nodes are in {len(set(zones.values()))} zones, and each stream needs"
            f" {layout.replicas}",
            "start nodes in other zones",
        )
    elif not bad:
        yield Finding("zones", Verdict.FINE, f"the replicas are in {layout.replicas} zones")


def _others(nodes: Sequence[Described], layout: Layout) -> Iterator[Finding]:
    """Streams of other accounts that say that they are a relay's."""
    ours = layout.metadata()
    strange: set[str] = set()
    accounts: dict[str, set[str]] = {}
    for one in nodes:
        for account, streams in one.accounts.items():
            for name, metadata in streams.items():
                region = metadata.get("amanat_region")
                if region is not None and region != layout.region:
                    strange.add(f"stream {name} in account {account} is of region {region}")
                elif metadata.get("amanat_relay") == ours["amanat_relay"]:
                    accounts.setdefault(name, set()).add(account)
    for text in sorted(strange):
        yield Finding("accounts", Verdict.FAULT, text, "each region needs a cluster of its own")
    for name, where in accounts.items():
        if len(where) > 1:
            yield Finding(
                "accounts",
                Verdict.FAULT,
                f"stream {name} is in several accounts: {', '.join(sorted(where))}",
                "find out who made the copy",
            )
    if not strange:
        yield Finding("accounts", Verdict.FINE, "no account holds streams of another region")
