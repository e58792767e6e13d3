"""Real nodes with faults: a relay does not start on them, and `relay cluster check` names each."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from amanat.config import ClusterConfig, RelayConfig
from amanat.errors import AmanatError, BadSetting, StoreTooNew, StoreTooOld
from amanat.relay.cluster import layout as layouts
from amanat.relay.cluster import open_cluster
from amanat.relay.cluster.census import Described
from amanat.relay.cluster.checking import Finding, Verdict, examine, of_all, of_node
from amanat.relay.cluster.layout import Layout
from amanat.relay.cluster.nodes import free_ports
from amanat.relay.directory import RelayDirectory
from certificates import Authority
from clusters import SHARDS, Cluster

pytestmark = pytest.mark.e2e

BAD = (Verdict.FAULT, Verdict.WARNING)
PATIENCE_S = 60.0


def relay(
    directory: Path,
    cluster: Cluster,
    *,
    region: str = "DE",
    store: str = "",
    **changed: Any,  # noqa: ANN401  # whatever the settings of a cluster are
) -> RelayDirectory:
    """A relay whose drops are to rest in a cluster."""
    directory.mkdir(exist_ok=True)
    settings = cluster.settings(directory)
    parts = {"login": settings["cluster"].login, "shards": SHARDS, **changed}
    return RelayDirectory.create(
        directory / "relay",
        RelayConfig(
            region=region,
            operator="test",
            host="127.0.0.1",
            port=0,
            store=store or settings["store"],
            cluster=ClusterConfig(**parts),
        ),
    )


def refusal(made: RelayDirectory) -> str:
    """The sentence with which a relay does not start."""
    with pytest.raises(BadSetting) as caught:
        open_cluster(made).close()
    return caught.value.detail


@contextlib.contextmanager
def in_between(node: int, old: bytes, new: bytes) -> Iterator[int]:
    """The port of a middleman who changes the first words of a node."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    taken, _ = listener.accept()
                    ours = socket.create_connection(("127.0.0.1", node))
                    first = ours.recv(65_536)
                    assert old in first
                    taken.sendall(first.replace(old, new))
                    for one, other in ((ours, taken), (taken, ours)):
                        threading.Thread(target=pump, args=(one, other), daemon=True).start()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def pump(one: socket.socket, other: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := one.recv(65_536):
            other.sendall(data)
    one.close()
    other.close()


# At start


def test_a_relay_does_not_start_on_a_cluster_of_another_region(
    tmp_path: Path, cluster: Cluster
) -> None:
    told = refusal(relay(tmp_path, cluster, region="IR"))
    assert "is of cluster 'DE', and the relay of region 'IR'" in told


def test_a_relay_does_not_start_on_too_few_nodes(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layouts, "SETTLE_TRIES", 2)
    assert "on 5 nodes of region:DE" in refusal(relay(tmp_path, cluster, replicas=5))
    cluster.wipe()


def test_a_relay_does_not_start_on_another_relays_streams(tmp_path: Path, cluster: Cluster) -> None:
    with contextlib.closing(cluster.store(tmp_path)):
        told = refusal(relay(tmp_path / "other", cluster))
    assert "is of another relay" in told
    assert "an account of its own" in told
    cluster.wipe()


@pytest.mark.parametrize(
    ("written", "error"), [(layouts.FORMAT + 1, StoreTooNew), (layouts.FORMAT - 1, StoreTooOld)]
)
def test_a_relay_does_not_start_on_streams_of_another_format(
    tmp_path: Path,
    cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    written: int,
    error: type[AmanatError],
) -> None:
    made = relay(tmp_path, cluster)
    with monkeypatch.context() as earlier:
        earlier.setattr(layouts, "FORMAT", written)
        open_cluster(made).close()
    with pytest.raises(error, match=f"has format '{written}', and this version reads"):
        open_cluster(made)
    told = [one for one in examine(made, None, time.time) if one.verdict is Verdict.FAULT]
    assert {one.check for one in told} == {"streams"}
    assert "has format" in told[0].text


def test_a_relay_does_not_start_with_a_wrong_password_and_does_not_wait(
    tmp_path: Path, cluster: Cluster
) -> None:
    made = relay(tmp_path, cluster)
    Path(made.config.cluster.login).write_text("relay\nwrong\n")
    assert "refuses the relay's login" in refusal(made)


def test_a_relay_does_not_start_where_no_node_is(tmp_path: Path, cluster: Cluster) -> None:
    (port,) = free_ports(1)
    assert "nobody listens there" in refusal(
        relay(tmp_path, cluster, store=f"nats://127.0.0.1:{port}")
    )


def test_a_relay_does_not_start_on_a_version_that_is_too_old(
    tmp_path: Path, cluster: Cluster
) -> None:
    # Versions before 2.12 take the messages of a batch one by one, and say that all is well.
    with in_between(cluster.nodes[0].port, b'"version":"2.15.1"', b'"version":"2.11.9"') as port:
        told = refusal(relay(tmp_path, cluster, store=f"nats://127.0.0.1:{port}"))
    assert "runs version 2.11.9" in told
    assert "too old" in told


def test_a_relay_does_not_start_beyond_its_machine_without_tls(
    tmp_path: Path, cluster: Cluster
) -> None:
    told = refusal(relay(tmp_path, cluster, store="nats://node.example:4222"))
    assert "without TLS" in told


def test_a_relay_tells_its_password_to_nobody_who_does_not_ask_for_tls(
    tmp_path: Path, cluster: Cluster
) -> None:
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def listen() -> None:
            taken, _ = listener.accept()
            with taken, contextlib.suppress(OSError):
                taken.settimeout(5)
                taken.sendall(b'INFO {"server_name":"x","version":"2.15.1","headers":true}\r\n')
                while data := taken.recv(65_536):
                    heard.append(data)

        thread = threading.Thread(target=listen)
        thread.start()
        authority = Authority(tmp_path).file
        port = listener.getsockname()[1]
        made = relay(tmp_path, cluster, store=f"nats://127.0.0.1:{port}", authority=str(authority))
        assert "does not begin with TLS" in refusal(made)
        thread.join()
    assert heard
    assert b"CONNECT" not in b"".join(heard)
    assert cluster.password.encode() not in b"".join(heard)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("allow_atomic", False),
        ("max_age", 3600 * 10**9),
        ("republish", {"src": ">", "dest": "x.>"}),
    ],
)
def test_a_relay_does_not_start_on_a_stream_that_keeps_less_or_tells_more(
    tmp_path: Path, cluster: Cluster, key: str, value: object
) -> None:
    made = relay(tmp_path, cluster)
    public = made.identity.public_key().public_bytes_raw()
    layout = Layout("DE", public, SHARDS, 3)
    with contextlib.closing(cluster.engine()) as engine:
        settings = layout.settings(layout.ledger) | {key: value}
        engine.api(f"STREAM.CREATE.{layout.ledger}", settings)
    try:
        assert key in refusal(made)
    finally:
        cluster.wipe()


# The check


def faults(findings: list[Finding]) -> dict[str, str]:
    return {one.check: one.text for one in findings if one.verdict is Verdict.FAULT}


def system_login(directory: Path, cluster: Cluster) -> Path:
    file = directory / "system.login"
    file.write_text(f"system\n{cluster.password}\n")
    return file


def checked(made: RelayDirectory, *more: str | Path) -> tuple[int, list[dict[str, str]]]:
    ran = subprocess.run(
        [sys.executable, "-m", "amanat", "--json", "relay", "cluster", "check", made.path, *more],
        capture_output=True,
        text=True,
        check=False,
    )
    return ran.returncode, json.loads(ran.stdout)


def test_a_good_cluster_has_no_fault_before_and_during_service(
    tmp_path: Path, cluster: Cluster
) -> None:
    made = relay(tmp_path, cluster)
    login = system_login(tmp_path, cluster)
    status, found = checked(made, "--system-login", login)
    assert status == 0, found
    assert {one["check"] for one in found if one["verdict"] == "unchecked"} == {
        "streams",
        "encryption",
    }
    with contextlib.closing(open_cluster(made)):
        status, found = checked(made, "--system-login", login)
        assert status == 0, found
        assert [one["check"] for one in found if one["verdict"] == "unchecked"] == ["encryption"]
        assert {one["check"] for one in found if one["verdict"] == "fine"} >= {
            *("login", "version", "region", "payload", "tls", "accounts", "replicas", "sync"),
            *("links", "clock", "nodes", "zones"),
        }
        # The relay's login does not see all that, and the check says so.
        status, found = checked(made)
        assert status == 0, found
        assert {one["check"] for one in found if one["verdict"] == "unchecked"} == {
            *("sync", "zones", "clock", "links", "accounts", "routes", "encryption"),
        }
        login.write_text("system\nwrong\n")
        status, found = checked(made, "--system-login", login)
        assert "sync" in {one["check"] for one in found if one["verdict"] == "unchecked"}
    cluster.wipe()


def test_a_check_names_a_node_that_is_away(tmp_path: Path, cluster: Cluster) -> None:
    made = relay(tmp_path, cluster)
    with contextlib.closing(open_cluster(made)):
        gone = cluster.nodes[2]
        cluster.kill(gone)
        try:
            found = faults(examine(made, system_login(tmp_path, cluster), time.time))
        finally:
            cluster.start(gone)
        assert "nobody listens there" in found["login"]
        assert found["nodes"] == "2 of 3 nodes answer"
    cluster.wipe()


def test_a_node_that_comes_back_with_an_empty_disk_is_filled_by_the_others(
    tmp_path: Path, cluster: Cluster
) -> None:
    made = relay(tmp_path, cluster)
    login = system_login(tmp_path, cluster)
    with contextlib.closing(open_cluster(made)):
        lost = cluster.nodes[1]
        cluster.kill(lost)
        shutil.rmtree(cluster.home(lost))
        cluster.start(lost)
        until = time.monotonic() + PATIENCE_S
        while bad := [one for one in examine(made, login, time.time) if one.verdict in BAD]:
            assert time.monotonic() < until, bad
        with contextlib.closing(cluster.engine()) as engine:
            info = engine.api("STREAM.INFO.DE-ledger")
        assert layouts.nodes_of(info) == {node.name for node in cluster.nodes}
    cluster.wipe()


def test_a_check_finds_each_bad_setting_of_nodes(tmp_path: Path) -> None:
    nodes = Cluster(tmp_path / "nodes", region="DE")
    (leafs,) = free_ports(1)
    one, two, three = nodes.nodes
    nodes.change(one, "sync_interval: always", 'sync_interval: "2m"')
    nodes.change(
        two, "system_account", f"leafnodes {{ listen: 127.0.0.1:{leafs} }}\nsystem_account"
    )
    nodes.change(two, "system_account", "no_auth_user: relay\nsystem_account")
    nodes.change(three, '"az:3"', '"az:1"')
    nodes.change(three, "system_account", "max_payload: 500KB\nsystem_account")
    nodes.start()
    try:
        nodes.wait()
        made = relay(tmp_path, nodes)
        found = examine(made, system_login(tmp_path, nodes), time.time)
        wrong = faults(found)
        assert wrong["sync"].startswith("node DE-1 acknowledges")
        assert "leaf nodes" in wrong["links"]
        assert wrong["links"].startswith("node DE-2")
        assert wrong["accounts"] == "node DE-2 lets in anybody without a login"
        assert wrong["zones"] == "the nodes are in 2 zones, and each stream needs 3"
        assert wrong["payload"].startswith("node DE-3")
        assert set(wrong) == {"sync", "links", "accounts", "zones", "payload"}
        assert all(one.advice for one in found if one.verdict is not Verdict.FINE)
        assert "max_payload" in refusal(made)
    finally:
        nodes.stop()


# The rules about what nodes say

LAYOUT = Layout("DE", Ed25519PrivateKey.generate().public_key().public_bytes_raw(), 2, 3)
GOOD = [
    Described(
        name=f"n{index}",
        version="2.15.1",
        cluster="DE",
        domain="DE",
        tags=frozenset({"region:de", f"az:{index}"}),
        syncs_always=True,
        unique_tag="az:",
        max_payload=2**20,
        meets_others=(),
        asks_tls=True,
        routes_use_tls=True,
        is_local=False,
        skew_s=0.0,
        peers=3,
        accounts={"RELAY": {"DE-ledger": LAYOUT.metadata()}},
    )
    for index in range(3)
]


@pytest.mark.parametrize(
    ("changed", "check", "verdict"),
    [
        ({"version": "2.12.2"}, "version", Verdict.FAULT),
        ({"version": "2.9.25-beta"}, "version", Verdict.FAULT),
        ({"cluster": "IR"}, "region", Verdict.FAULT),
        ({"domain": ""}, "region", Verdict.FAULT),
        ({"tags": frozenset({"az:0"})}, "region", Verdict.FAULT),
        ({"tags": frozenset({"region:de"})}, "zones", Verdict.FAULT),
        ({"syncs_always": False}, "sync", Verdict.FAULT),
        ({"unique_tag": ""}, "zones", Verdict.FAULT),
        ({"max_payload": 2**19}, "payload", Verdict.FAULT),
        ({"meets_others": ("gateway IR",)}, "links", Verdict.FAULT),
        ({"asks_tls": False}, "routes", Verdict.FAULT),
        ({"routes_use_tls": False}, "routes", Verdict.FAULT),
        ({"skew_s": -60.0}, "clock", Verdict.WARNING),
        ({"peers": 4}, "nodes", Verdict.FAULT),
        ({"accounts": {"X": {"IR-a": {"amanat_region": "IR"}}}}, "accounts", Verdict.FAULT),
        ({"accounts": {"X": {"DE-ledger": LAYOUT.metadata()}}}, "accounts", Verdict.FAULT),
    ],
)  # fmt: skip
def test_each_thing_that_is_wrong_with_a_node_is_one_finding(
    changed: dict[str, Any], check: str, verdict: Verdict
) -> None:
    assert findings_of(GOOD) == []
    (found,) = findings_of([GOOD[0]._replace(**changed), *GOOD[1:]])
    assert (found.check, found.verdict) == (check, verdict)
    assert found.advice


def findings_of(nodes: list[Described]) -> list[Finding]:
    holders = {"DE-ledger": {one.name for one in nodes}}
    found = [finding for one in nodes for finding in of_node(one, LAYOUT)]
    found += of_all(nodes, LAYOUT, holders)
    return [one for one in found if one.verdict is not Verdict.FINE]


def test_two_replicas_in_one_zone_are_found() -> None:
    nodes = [*GOOD, GOOD[0]._replace(name="n3")]
    holders = {"DE-ledger": {"n0", "n1", "n3"}}
    found = [one for one in of_all(nodes, LAYOUT, holders) if one.verdict is Verdict.FAULT]
    assert [one.check for one in found] == ["zones"]
