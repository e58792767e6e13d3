"""The capacity model agrees with measurements, and the documents with the model."""

from __future__ import annotations

import contextlib
import importlib
import json
import re
import shlex
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest

from amanat import front
from amanat.capacity import model
from amanat.capacity.inputs import Inputs, Origin, about, figures_in, inputs_of
from amanat.cli import words
from amanat.client.cover import day_bytes
from amanat.client.rules.entering import REFRESH_MS
from amanat.config import HopConfig, RelayLimits
from amanat.display import Out
from amanat.drill.replay import replay
from amanat.drill.traces import read_trace
from amanat.drill.world import World
from amanat.errors import BadSetting, UsageError
from amanat.protocol import wire
from amanat.protocol.cells import LABEL_BYTES, MESSAGE_CELL
from amanat.protocol.drops import Drop, derive_bucket
from amanat.protocol.rounds import PERIODS_S
from amanat.relay.cluster.known import MOST_LABELS
from amanat.relay.drops import Drops
from amanat.relay.store import SqliteStore
from clusters import Cluster

ROOT = Path(__file__).parent.parent
SCALE = ROOT / "docs" / "scale.md"
BENCHMARKS = ROOT / "docs" / "benchmarks.md"
NOW = 1_800_000_000.0
USUAL = Inputs()
BUCKET = derive_bucket(bytes(32), 0, region="DE")


async def nothing() -> front.Shown:
    return front.Shown(results=True, notes=True)


def ran(*line: str) -> str:
    """The output of a command line of ours."""
    told: list[str] = []
    args = words.parser().parse_args(line)
    out = Out(
        is_json=args.json, say=lambda _, text: told.append(text), draw=lambda _: None, shown=nothing
    )
    args.run(args, out)
    return "".join(told)


def append(number: int, drop: Drop) -> wire.Append:
    cell = number.to_bytes(LABEL_BYTES, "big") + bytes(MESSAGE_CELL - LABEL_BYTES)
    return wire.Append(number, drop.drop_id, drop.append_token, cell)


# Inputs


def named(source: str) -> object:
    """The value that a source names in the program."""
    module, _, name = source.rpartition(".")
    return getattr(importlib.import_module(f"amanat.{module}"), name)


def test_limits_of_the_program_are_those_of_the_program() -> None:
    limits, hop = RelayLimits(), HopConfig()
    (most_drops,) = (
        field.type.__metadata__[0].le
        for field in msgspec.structs.fields(RelayLimits)
        if field.name == "drops"
    )
    special = {
        "refresh_days": REFRESH_MS[1] / 86_400_000,
        "drops_per_relay": most_drops,
        "cells_per_drop": limits.cells_per_drop,
        "period_s": PERIODS_S[0],
        "hop_waits": limits.waits * hop.shares,
        "labels_per_process": MOST_LABELS,
    }
    for name in Inputs.__struct_fields__:
        origin, _, source = about(name)
        if origin is Origin.PROGRAM:
            value = special.get(name) or named(source)
            assert getattr(USUAL, name) == value, name


def test_every_input_says_where_it_comes_from() -> None:
    text = BENCHMARKS.read_text(encoding="utf-8")
    for name in Inputs.__struct_fields__:
        origin, meaning, source = about(name)
        assert meaning, name
        if origin is Origin.MEASURED:
            (file,) = re.findall(r"^bench/\w+\.py", source)
            assert (ROOT / file).exists(), source
            assert f"python {file}" in text, source
        assert (origin is Origin.ASKED) == (not source), name


def test_a_value_that_is_none_is_refused_by_name() -> None:
    for wrong in ({"mesages": 3}, {"people": -1}, {"mode": "open"}, {"peak": "much"}):
        with pytest.raises(BadSetting):
            inputs_of(wrong)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.toml", "[capacity]\nlabel_bytes = 80\n"),
        ("a.json", '{"figures": {"x": [1]}, "capacity": {"label_bytes": 80}}'),
        ("b.json", '{"label_bytes": 80}'),
    ],
)
def test_figures_come_from_a_file(tmp_path: Path, name: str, text: str) -> None:
    file = tmp_path / name
    file.write_text(text)
    assert inputs_of(figures_in(file)).label_bytes == 80


@pytest.mark.parametrize("text", ["{", "[]", '{"capacity": 3}'])
def test_a_file_that_holds_no_figures_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "a.json"
    file.write_text(text)
    with pytest.raises(BadSetting):
        figures_in(file)
    with pytest.raises(BadSetting):
        figures_in(tmp_path / "none.toml")


# The model


def given(**values: object) -> model.Plan:
    return model.plan(inputs_of(values))


def test_half_the_people_in_a_bucket_download_half() -> None:
    for mode, silence in (("direct", 0.13), ("hopped", 1.34)):
        downs = [
            given(mode=mode, people_per_bucket=many).person.down_mib - silence for many in (64, 32)
        ]
        assert downs[0] == pytest.approx(2 * downs[1])
    covered = [given(mode="covered", people_per_bucket=many).person.down_mib for many in (64, 32)]
    assert covered[0] == covered[1]


def test_what_goes_through_a_hop_is_counted_twice() -> None:
    plan = given(mode="hopped", peak=1)
    once = 20e6 * 2**20 * 8 / 86_400 / 1e9
    up, down = plan.person.up_mib, plan.person.down_mib
    assert plan.country.in_gbit_s == pytest.approx(once * (2 * up + down))
    assert plan.country.out_gbit_s == pytest.approx(once * (2 * down + up))
    direct = given(mode="direct", peak=1)
    assert direct.country.out_gbit_s == pytest.approx(once * direct.person.down_mib)


@pytest.mark.parametrize("mode", ["direct", "hopped", "covered"])
@pytest.mark.parametrize("store", ["cluster", "embedded"])
def test_limits_are_in_order_and_are_reached_where_they_say(mode: str, store: str) -> None:
    plan = given(mode=mode, store=store)
    shares = [one.share for one in plan.limits]
    assert shares == sorted(shares, reverse=True)
    for one in plan.limits:
        if one.name.startswith("people who wait"):
            continue  # more people have more processes, which have more connections
        assert one.breaks_at is not None
        there = given(mode=mode, store=store, **{f"people_per_{one.of}": one.breaks_at})
        (same,) = (other for other in there.limits if other.name == one.name)
        assert same.share == pytest.approx(1, rel=0.01), one.name


def test_a_process_reads_a_cell_once_for_all_its_readers() -> None:
    plan = given(mode="direct")
    busiest = 100_000 * plan.person.cells / 86_400 * 3
    processes = plan.relay.processes
    # How many other processes have one of 64 readers, who choose theirs by lot.
    others = sum(1 - (1 - 1 / processes) ** 64 for _ in range(int(processes) - 1))
    spent = 64 * USUAL.deliver_us + others * USUAL.read_us
    assert plan.relay.deliver_cores == pytest.approx(busiest * spent / 1e6, rel=0.02)
    assert others < 64
    alone = given(mode="direct", store="embedded").relay
    assert alone.processes == 1
    assert alone.deliver_cores == pytest.approx(busiest * 64 * USUAL.deliver_us / 1e6)


def test_what_nobody_needs_is_never_reached() -> None:
    plan = given(store="embedded", mode="direct", online=0)
    (connections,) = (one for one in plan.limits if one.name == "connections")
    assert (connections.share, connections.breaks_at) == (0, None)


def test_money_is_of_everything_that_is_paid() -> None:
    free = {f"{what}_price": 0 for what in ("core", "memory", "disk", "traffic")}
    assert given(**free).country.eur_a_month == 0
    whole = given().country.eur_a_month
    parts = [
        given(**free | {name: getattr(USUAL, name)}).country.eur_a_month for name in sorted(free)
    ]
    assert sum(parts) == pytest.approx(whole)


def test_a_cluster_keeps_each_cell_on_three_disks() -> None:
    disks = [given(replicas=many).relay.disk_tb for many in (1, 3)]
    assert disks[1] == pytest.approx(3 * disks[0])


# Measurements


@pytest.mark.long
async def test_cells_of_a_text_are_those_of_real_clients(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    shelf = world.relay.shelves[alice.bucket]
    for answered, texts in ((False, 10), (True, 10)):
        await world.pass_time(3600)
        before = len(shelf.cells)
        for number in range(texts):
            speaker, other = (bob, alice) if answered and number % 2 else (alice, bob)
            speaker.say(other.name, f"text {number}")
            await world.pass_time(1 if answered else 300)
            await world.settle()
        await world.pass_time(120)
        told = given(messages=texts, confirmed_alone=0 if answered else 1).person.cells
        assert len(shelf.cells) - before == pytest.approx(told, rel=0.3)


@pytest.mark.e2e
@pytest.mark.long
def test_bytes_on_the_line_are_those_of_a_replay() -> None:
    people, texts = 10, 150
    script = read_trace(None, "edges", people=people, messages=texts)
    done = replay(script, processes=2, progress=lambda *_: None)

    def told(confirmed_alone: float) -> tuple[float, float]:
        """Bytes (down, up) for a text, if so many of the receipts go alone."""
        person = given(
            mode="direct",
            people=people,
            people_per_bucket=people,
            messages=done.messages_in / people,
            confirmed_alone=confirmed_alone,
            direct_silence_mib=1e-9,
        ).person
        each = 2**20 * people / done.messages_in
        return person.down_mib * each, person.up_mib * each

    # Receipts ride along with answers that come in time: how many depends on the machine.
    measured = done.bytes_down_per_message, done.bytes_up_per_message
    for least, found, most in zip(told(0), measured, told(1), strict=True):
        assert 0.9 * least < found < 1.1 * most


def test_bytes_of_cover_are_those_of_its_rounds() -> None:
    both = [day_bytes(60, is_first=is_first) for is_first in (True, False)]
    up, down = (sum(one) / 2**20 for one in zip(*both, strict=True))
    assert given(mode="covered").person.up_mib == pytest.approx(up, rel=0.15)
    assert given(mode="covered").person.down_mib == pytest.approx(down, rel=0.15)


def test_a_cell_takes_as_much_of_an_embedded_disk_as_is_said(tmp_path: Path) -> None:
    cells = 4_000
    with contextlib.closing(SqliteStore(tmp_path)) as store:
        drops = Drops(store, region="DE", bucket_key=bytes(32), limits=RelayLimits())
        drops.open_buckets(1, now=NOW)
        drops.carry_out([append(number, BUCKET) for number in range(cells)], now=NOW)
        store.scrub()
    files = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert files / cells == pytest.approx(USUAL.cell_disk_bytes, rel=0.2)


@pytest.mark.e2e
@pytest.mark.long
def test_a_cell_takes_as_much_of_a_stream_as_is_said(tmp_path: Path, cluster: Cluster) -> None:
    cells = 200
    with contextlib.closing(cluster.store(tmp_path)) as store:
        drops = Drops(store, region="DE", bucket_key=bytes(32), limits=RelayLimits())
        drops.open_buckets(1, now=time.time())
        for number in range(cells):
            drops.carry_out([append(number, BUCKET)], now=time.time())
    with contextlib.closing(cluster.engine()) as engine:
        streams = [engine.api(f"STREAM.INFO.DE-drops-{shard:02x}") for shard in range(2)]
    size = sum(one["state"]["bytes"] for one in streams)
    assert size / cells == pytest.approx(USUAL.cluster_cell_disk_bytes, rel=0.25)


# The command


def test_the_command_tells_the_plan_as_json_and_draws_it(tmp_path: Path) -> None:
    plot = tmp_path / "limits.svg"
    told_as_json = ran(
        "--json", "capacity", "--people", "20e6", "--messages", "60", "--mode", "covered",
        "--people-per-bucket", "32", "--set", "online=0.5", "--plot", str(plot),
    )  # fmt: skip
    value = json.loads(told_as_json)
    plan = given(mode="covered", people_per_bucket=32, online=0.5)
    assert value["country"] == plan.country._asdict()
    assert [one["name"] for one in value["limits"]] == [one.name for one in plan.limits]
    told = {one["input"]: one for one in value["inputs"]}
    assert told["online"]["value"] == 0.5
    assert told["label_bytes"]["source"].startswith("bench/growth.py")
    text = "".join(ET.fromstring(plot.read_text()).itertext())  # noqa: S314  # our own
    assert all(one.name in text for one in plan.limits)


@pytest.mark.parametrize(
    "line", [["--set", "online"], ["--set", "onlin=1"], ["--people", "-3"], ["--plot", "/none/x"]]
)
def test_the_command_refuses_what_is_no_plan(line: list[str]) -> None:
    with pytest.raises(UsageError):
        ran("capacity", *line)


def test_the_command_shows_the_source_of_each_input() -> None:
    lines = ran("capacity", "--inputs").splitlines()
    assert [line.split()[0] for line in lines] == list(Inputs.__struct_fields__)


# The document


def shown() -> list[tuple[str, str]]:
    """The (command, output) pairs of the document."""
    return re.findall(
        r"^```sh\n(.*?)\n```\n\n```text\n(.*?)\n```$",
        SCALE.read_text(encoding="utf-8"),
        flags=re.MULTILINE | re.DOTALL,
    )


@pytest.mark.parametrize(("line", "output"), shown())
def test_outputs_in_the_document_are_those_of_the_command(line: str, output: str) -> None:
    assert ran(*shlex.split(line)[1:]).rstrip("\n") == output


def rows() -> list[list[str]]:
    """The rows of the document's tables whose first cell is what the command is given."""
    text = SCALE.read_text(encoding="utf-8")
    return [re.split(r" \| ", line.strip("| ")) for line in text.splitlines() if "| `--" in line]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_figures_in_the_document_are_those_of_the_command(row: list[str]) -> None:
    value = json.loads(ran("--json", "capacity", *shlex.split(row[0].strip("`"))))
    person, country = value["person"], value["country"]
    assert row[1:4] == [
        f"{person['down_mib']:.1f}",
        f"{country['out_gbit_s']:,.0f}",
        f"{country['eur_a_person']:.4f}",
    ]
    if (passed := re.match(r"\d+", row[4])) is not None:
        assert int(passed[0]) == sum(one["share"] > 1 for one in value["limits"])
