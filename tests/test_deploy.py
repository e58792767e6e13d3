"""The examples in `deploy` are right: real nodes start with them, and a check finds no fault."""

from __future__ import annotations

import configparser
import contextlib
import json
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
from amanat.errors import BadSetting, RelayBusy
from amanat.relay.cluster import ClusterStore, open_cluster
from amanat.relay.cluster.checking import Finding, Verdict, examine
from amanat.relay.cluster.nodes import free_ports
from amanat.relay.directory import RelayDirectory
from amanat.relay.metrics import Metrics
from certificates import Authority

DEPLOY = Path(__file__).parent.parent / "deploy"
THREE, DE, IR = (DEPLOY / name for name in ("three-nodes", "two-regions/de", "two-regions/ir"))
NODES = sorted(THREE.glob("node-*.conf"))
SERVER = Path(sys.executable).parent / "nats-server"
TRIES = 20
"""How often a check is made, a second apart, until no replica is behind."""
SECRETS = {
    "NODE_KEY": "k" + "0" * 43,
    "RELAY_PASSWORD": "one-password",
    "SYSTEM_PASSWORD": "another-one",
}


class Example:
    """An example's nodes and relay, moved to this machine's loopback and to a directory."""

    def __init__(self, directory: Path, source: Path = THREE) -> None:
        directory.mkdir(exist_ok=True)
        self.directory, self.source = directory, source
        self.nodes = sorted(source.glob("node-*.conf"))
        self.authority = Authority(directory)
        self.processes: list[subprocess.Popen[bytes]] = []
        ports = iter(free_ports(3 * len(self.nodes)))
        self.places = {
            place: f"127.0.0.1:{next(ports)}"
            for path in self.nodes
            for place in re.findall(r"^ *listen: (\S+)$", path.read_text(), re.MULTILINE)
        }
        self.monitors = [next(ports) for _ in self.nodes]

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
        for one in (path, *self.source.glob("r*.conf")):
            text = self.move(one.read_text(), path.stem)
            text = text.replace("127.0.0.1:8222", f"127.0.0.1:{self.monitors[index]}")
            (home / ("node.conf" if one == path else one.name)).write_text(text)
        file = home / "node.conf"
        return [SERVER, "--config", file, "--log", home / "log"]

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        environment = os.environ | SECRETS
        try:
            for index, path in enumerate(self.nodes):
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
        text = self.move((self.source / "relay.toml").read_text(), "relay")
        settings = config.parse(text, RelayConfig)
        few = msgspec.structs.replace(settings.cluster, shards=2)
        return RelayDirectory.create(home / "relay", msgspec.structs.replace(settings, cluster=few))

    @property
    def system_login(self) -> Path:
        login = self.directory / "system.login"
        login.write_text(f"system\n{SECRETS['SYSTEM_PASSWORD']}\n")
        return login


@contextlib.contextmanager
def served(made: RelayDirectory) -> Iterator[ClusterStore]:
    """The store of a relay on an example whose nodes have just started."""
    for _ in range(20):  # each takes seconds while the nodes choose their leader
        try:
            store = open_cluster(made)
            break
        except (BadSetting, RelayBusy) as error:
            refused = error
            time.sleep(0.5)
    else:
        raise refused
    with contextlib.closing(store):
        yield store


def faults(findings: list[Finding]) -> list[Finding]:
    return [one for one in findings if one.verdict in (Verdict.FAULT, Verdict.WARNING)]


def settled(example: Example, made: RelayDirectory) -> list[Finding]:
    """The findings, once no replica is behind: any may be by a message, for a moment."""
    for _ in range(TRIES):
        found = examine(made, example.system_login, time.time)
        if not any(one.check == "replicas" for one in faults(found)):
            break
        time.sleep(1)
    return found


@pytest.mark.e2e
@pytest.mark.parametrize("source", [THREE, DE, IR], ids=lambda path: path.name)
def test_the_settings_of_each_node_are_taken(tmp_path: Path, source: Path) -> None:
    example = Example(tmp_path, source)
    assert len(example.nodes) == 3
    for index, path in enumerate(example.nodes):
        command = [*example.node(path, index), "-t"]
        ran = subprocess.run(
            command, env=os.environ | SECRETS, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stderr


@pytest.mark.e2e
def test_a_relay_runs_on_the_example_and_a_check_finds_no_fault(tmp_path: Path) -> None:
    example = Example(tmp_path)
    with example.running():
        made = example.relay()
        with served(made):
            found = settled(example, made)
        assert faults(found) == []
        assert {one.check for one in found} >= {"sync", "zones", "links", "tls", "replicas"}
        # Neither a certificate alone nor a login alone is enough.
        for alone in ({"login": ""}, {"certificate": "", "private_key": ""}):
            with pytest.raises(BadSetting):
                open_cluster(changed(made, **alone))


def changed(made: RelayDirectory, **settings: str) -> RelayDirectory:
    cluster = msgspec.structs.replace(made.config.cluster, **settings)
    return msgspec.structs.replace(
        made, config=msgspec.structs.replace(made.config, cluster=cluster)
    )


@pytest.mark.e2e
def test_two_regions_run_side_by_side_and_let_in_nobody_of_the_other(tmp_path: Path) -> None:
    de, ir = Example(tmp_path / "de", DE), Example(tmp_path / "ir", IR)
    with de.running(), ir.running():
        relays = {de: de.relay(), ir: ir.relay()}
        for example, made in relays.items():
            with served(made):
                assert faults(settled(example, made)) == []
        # The passwords are the same in this test: the authorities alone keep them apart.
        ours, theirs = relays[de], relays[ir]
        lost = msgspec.structs.replace(ours.config, store=theirs.config.store)
        with pytest.raises(BadSetting, match="certificate is not right"):
            open_cluster(msgspec.structs.replace(ours, config=lost))
        trusting = changed(
            msgspec.structs.replace(ours, config=lost), authority=theirs.config.cluster.authority
        )
        with pytest.raises(BadSetting):
            open_cluster(trusting)


def test_no_setting_of_a_region_names_the_other() -> None:
    for source, net, others in ((DE, "192.0.2.", "198.51.100."), (IR, "198.51.100.", "192.0.2.")):
        text = "".join(path.read_text() for path in source.iterdir())
        assert net in text
        assert others not in text
        words = [line.split("#")[0] for line in text.splitlines()]
        assert not any("gateway" in line or "leafnodes" in line for line in words)


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


@pytest.mark.parametrize("path", sorted((DEPLOY / "systemd").iterdir()), ids=lambda path: path.name)
def test_units_are_what_systemd_reads(path: Path, tmp_path: Path) -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(path.read_text())
    if path.suffix == ".timer":
        assert unit["Timer"]["OnCalendar"]
        assert path.with_suffix(".service").exists()
    else:
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


def figures() -> set[str]:
    """The names of all figures that a relay gives."""
    metrics = Metrics()
    metrics.failed.labels("disk-full")
    return {sample.name for family in metrics.registry.collect() for sample in family.samples}


def test_alerts_are_about_figures_that_a_relay_gives() -> None:
    rules = yaml.safe_load((DEPLOY / "alerts.yml").read_text())
    used = set()
    for rule in rules["groups"][0]["rules"]:
        used |= set(re.findall(r"amanat_\w+", rule["expr"]))
        assert rule["annotations"]["summary"]
    assert used
    assert used <= figures()


def test_the_board_shows_each_figure_that_a_relay_gives_and_no_other() -> None:
    board = json.loads((DEPLOY / "grafana.json").read_text())
    used = set()
    for panel in board["panels"]:
        assert panel["title"]
        assert panel["description"]
        for target in panel["targets"]:
            used |= set(re.findall(r"amanat_\w+", target["expr"]))
            assert target["expr"].count("(") == target["expr"].count(")")
    assert used <= figures()
    families = {family.name for family in Metrics().registry.collect()}
    assert {re.sub("_(total|bucket)$", "", name) for name in used} == families
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
