"""The examples in `deploy` are right: real nodes start with them, and a check finds no fault."""

from __future__ import annotations

import configparser
import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import yaml

from amanat import config
from amanat.config import RelayConfig
from amanat.errors import BadSetting
from amanat.relay.cluster import open_cluster
from amanat.relay.cluster.checking import Finding, Verdict, examine
from amanat.relay.cluster.nodes import free_ports
from amanat.relay.directory import RelayDirectory
from amanat.relay.metrics import Metrics
from certificates import Authority

DEPLOY = Path(__file__).parent.parent / "deploy"
NODES = sorted((DEPLOY / "three-nodes").glob("node-*.conf"))
SERVER = Path(sys.executable).parent / "nats-server"
SECRETS = {
    "NODE_KEY": "k" + "0" * 43,
    "RELAY_PASSWORD": "one-password",
    "SYSTEM_PASSWORD": "another-one",
}


class Example:
    """The example's nodes and relay, moved to this machine's loopback and to a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = Authority(directory)
        self.processes: list[subprocess.Popen[bytes]] = []
        ports = iter(free_ports(3 * len(NODES)))
        self.places = {
            f"192.0.2.{number + 1}:{port}": f"127.0.0.1:{next(ports)}"
            for number in range(len(NODES))
            for port in (4222, 6222)
        }
        self.monitors = [next(ports) for _ in NODES]

    def move(self, text: str, name: str) -> str:
        """A text with our places and our paths."""
        store = re.search(r"^store = .*$", text, re.MULTILINE)
        if store is not None:
            full = store[0].replace("nats://", "").replace('"', "").removeprefix("store = ")
            moved = ",".join(self.places[place] for place in full.split(","))
            text = text.replace(store[0], f'store = "nats://{moved}"')
        for old, new in self.places.items():
            text = text.replace(old, new)
        home = self.directory / name
        return (
            text.replace("/etc/amanat-node", str(home))
            .replace("/etc/amanat-relay", str(home))
            .replace("/var/lib/amanat-node", str(home / "store"))
        )

    def node(self, path: Path, index: int) -> list[str | Path]:
        """The command that runs a node."""
        home = self.directory / path.stem
        home.mkdir(exist_ok=True)
        certificate, key = self.authority.issue(path.stem, "127.0.0.1")
        shutil.copy(certificate, home / "node.pem")
        shutil.copy(key, home / "node.key")
        shutil.copy(self.authority.file, home / "authority.pem")
        text = self.move(path.read_text(), path.stem)
        file = home / "node.conf"
        file.write_text(text.replace("127.0.0.1:8222", f"127.0.0.1:{self.monitors[index]}"))
        return [SERVER, "--config", file, "--log", home / "log"]

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        environment = os.environ | SECRETS
        try:
            for index, path in enumerate(NODES):
                self.processes.append(subprocess.Popen(self.node(path, index), env=environment))
            yield
        finally:
            for process in self.processes:
                process.terminate()
            for process in self.processes:
                process.wait()

    def relay(self) -> RelayDirectory:
        home = self.directory / "relay"
        home.mkdir()
        certificate, key = self.authority.issue("relay")
        shutil.copy(certificate, home / "relay.pem")
        shutil.copy(key, home / "relay.key")
        shutil.copy(self.authority.file, home / "authority.pem")
        (home / "cluster.login").write_text(f"relay\n{SECRETS['RELAY_PASSWORD']}\n")
        text = self.move((DEPLOY / "three-nodes" / "relay.toml").read_text(), "relay")
        settings = config.parse(text, RelayConfig)
        few = msgspec.structs.replace(settings.cluster, shards=2)
        return RelayDirectory.create(home / "relay", msgspec.structs.replace(settings, cluster=few))


def faults(findings: list[Finding]) -> list[Finding]:
    return [one for one in findings if one.verdict in (Verdict.FAULT, Verdict.WARNING)]


@pytest.mark.e2e
@pytest.mark.parametrize("path", NODES, ids=lambda path: path.name)
def test_the_settings_of_each_node_are_taken(tmp_path: Path, path: Path) -> None:
    command = Example(tmp_path).node(path, 0)
    ran = subprocess.run(
        [*command, "-t"], env=os.environ | SECRETS, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr


@pytest.mark.e2e
def test_a_relay_runs_on_the_example_and_a_check_finds_no_fault(tmp_path: Path) -> None:
    example = Example(tmp_path)
    login = tmp_path / "system.login"
    login.write_text(f"system\n{SECRETS['SYSTEM_PASSWORD']}\n")
    with example.running():
        made = example.relay()
        for _ in range(20):  # each takes seconds while the nodes choose their leader
            try:
                store = open_cluster(made)
                break
            except BadSetting as error:
                refused = error
                time.sleep(0.5)
        else:
            raise refused
        with contextlib.closing(store):
            found = examine(made, login, time.time)
        assert faults(found) == []
        assert {one.check for one in found} >= {"sync", "zones", "links", "tls", "replicas"}
        # Neither a certificate alone nor a login alone is enough.
        certificate = msgspec.structs.replace(made.config.cluster, login="")
        alone = msgspec.structs.replace(made.config, cluster=certificate)
        with pytest.raises(BadSetting):
            open_cluster(msgspec.structs.replace(made, config=alone))
        password = msgspec.structs.replace(made.config.cluster, certificate="", private_key="")
        alone = msgspec.structs.replace(made.config, cluster=password)
        with pytest.raises(BadSetting):
            open_cluster(msgspec.structs.replace(made, config=alone))


def test_the_nodes_differ_in_their_places_alone() -> None:
    texts = []
    for number, path in enumerate(NODES, 1):
        lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
        text = "\n".join(lines).replace(f"az:{number}", "az:N").replace(f"node-{number}", "node-N")
        texts.append(re.sub(r"192\.0\.2\.\d", "PLACE", text))
    assert len(set(texts)) == 1


def test_the_settings_of_the_relay_are_settings() -> None:
    text = (DEPLOY / "three-nodes" / "relay.toml").read_text()
    assert config.parse(text, RelayConfig).cluster.keepers == 2
    assert tomllib.loads(text)["store"].count(":4222") == len(NODES)


@pytest.mark.parametrize(
    "path", sorted((DEPLOY / "systemd").glob("*.service")), ids=lambda path: path.name
)
def test_units_are_what_systemd_reads(path: Path, tmp_path: Path) -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(path.read_text())
    assert unit["Service"]["ExecStart"]
    if shutil.which("systemd-analyze") is None:
        return
    here = tmp_path / path.name.replace("@", "@1")
    here.write_text(
        re.sub(r"ExecStart=\S+", "ExecStart=/bin/true", path.read_text()).replace("%i", "1")
    )
    ran = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", here],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Unknown" not in ran.stderr
    assert "Failed to parse" not in ran.stderr


def test_alerts_are_about_figures_that_a_relay_gives() -> None:
    rules = yaml.safe_load((DEPLOY / "alerts.yml").read_text())
    metrics = Metrics()
    metrics.failed.labels("disk-full")
    given = {sample.name for family in metrics.registry.collect() for sample in family.samples}
    used = set()
    for rule in rules["groups"][0]["rules"]:
        used |= set(re.findall(r"amanat_\w+", rule["expr"]))
        assert rule["annotations"]["summary"]
    assert used
    assert used <= given
