"""The inputs of the capacity model: each has its unit, and the place that its value comes from.

There are four kinds (`Origin`). *Asked*: the operator decides it. *Assumed*: a habit of people or a
price. We assumed these in 2026, and no vendor offers the prices. *Measured*: a figure of a bench,
which docs/benchmarks.md lists. *Program*: a limit or a size that the program sets; a test compares
the two.
"""

from __future__ import annotations

import enum
import tomllib
import typing
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from amanat.errors import BadSetting

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FIGURES = "capacity"
"""The table of a file that holds figures for the model. A bench writes others beside it."""


class Origin(enum.Enum):
    """The place that the value of an input comes from."""

    ASKED = "asked"
    ASSUMED = "assumed"
    MEASURED = "measured"
    PROGRAM = "program"


def _asked(text: str, *, most: float = 1e12) -> Meta:
    return Meta(gt=0, le=most, description=text, extra={"origin": Origin.ASKED, "source": ""})


def _assumed(text: str, *, least: float = 0, most: float = 1e6) -> Meta:
    return Meta(
        ge=least,
        le=most,
        description=text,
        extra={"origin": Origin.ASSUMED, "source": "our assumption of 2026"},
    )


def _measured(text: str, source: str) -> Meta:
    return Meta(
        gt=0, le=1e12, description=text, extra={"origin": Origin.MEASURED, "source": source}
    )


def _program(text: str, source: str) -> Meta:
    return Meta(gt=0, le=1e15, description=text, extra={"origin": Origin.PROGRAM, "source": source})


class Inputs(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that the model knows."""

    # Asked

    mode: typing.Literal["direct", "hopped", "covered"] = "hopped"
    store: typing.Literal["cluster", "embedded"] = "cluster"
    people: Annotated[float, _asked("people in all")] = 20e6
    messages: Annotated[float, _asked("texts that a person says in a day", most=1e5)] = 60
    people_per_bucket: Annotated[float, _asked("people of a bucket", most=1e6)] = 64
    people_per_relay: Annotated[float, _asked("people of a relay")] = 100_000

    # Assumed

    online: Annotated[
        float, _assumed("share of people who are connected at the busiest time", most=1)
    ] = 0.3
    copies: Annotated[float, _assumed("people for whom a text is, besides its author", least=1)] = 1
    confirmed_alone: Annotated[
        float, _assumed("share of texts that a cell of its own confirms", most=1)
    ] = 1
    conversations: Annotated[
        float, _assumed("conversations of two in which a person speaks in a week")
    ] = 10
    peak: Annotated[float, _assumed("traffic at the busiest time / the mean", least=1)] = 3
    utilisation: Annotated[
        float,
        _assumed(
            "share of a core, a disk or a line that is planned to be used", least=0.01, most=1
        ),
    ] = 0.6
    replicas: Annotated[float, _assumed("nodes that hold each cell of a cluster", least=1)] = 3
    disk_tb: Annotated[float, _assumed("size of a disk, TB", least=0.001)] = 3.84
    core_price: Annotated[
        float, _assumed("EUR for a core and a month, its share of a machine included")
    ] = 4.0
    memory_price: Annotated[float, _assumed("EUR for a GiB of memory and a month")] = 0.5
    disk_price: Annotated[float, _assumed("EUR for a TB of flash disk and a month")] = 12.0
    traffic_price: Annotated[
        float, _assumed("EUR for a TB that leaves a relay for people or another relay")
    ] = 1.0

    # Measured: bytes on people's lines

    direct_down_bytes: Annotated[
        float,
        _measured("bytes down for a cell of the bucket, direct", "bench/hop.py: 2,205 for two"),
    ] = 1_102
    direct_up_bytes: Annotated[
        float,
        _measured(
            "bytes up for a cell that a person deposits, direct", "bench/person.py: 2,242 for two"
        ),
    ] = 1_121
    direct_silence_mib: Annotated[
        float, _measured("MiB down a day in silence, direct", "bench/hop.py")
    ] = 0.13
    hopped_down_bytes: Annotated[
        float,
        _measured("bytes down for a cell of the bucket, hopped", "bench/hop.py: 3,084 for two"),
    ] = 1_542
    hopped_up_bytes: Annotated[
        float,
        _measured(
            "bytes up for a cell of the bucket, hopped", "bench/hop.py: 4.36 MiB for 3,840 cells"
        ),
    ] = 1_190
    hopped_silence_mib: Annotated[
        float, _measured("MiB down a day in silence, hopped", "bench/hop.py")
    ] = 1.34
    covered_up_mib: Annotated[
        float, _measured("MiB up a day, covered, period 60 s", "bench/hop.py --covered")
    ] = 11.8
    covered_down_mib: Annotated[
        float, _measured("MiB down a day, covered, period 60 s", "bench/hop.py --covered")
    ] = 41.7

    # Measured: processor time

    append_us: Annotated[
        float,
        _measured("microseconds of an embedded relay for an append", "bench/growth.py, buckets"),
    ] = 94
    cluster_append_us: Annotated[
        float,
        _measured("microseconds of a relay on a cluster for an append", "bench/growth.py, buckets"),
    ] = 291
    node_append_us: Annotated[
        float,
        _measured(
            "microseconds of all nodes of a cluster for an append", "bench/growth.py, buckets"
        ),
    ] = 422
    deliver_us: Annotated[
        float,
        _measured(
            "microseconds of a relay for handing a cell to one reader", "bench/growth.py, readers"
        ),
    ] = 11.2
    read_us: Annotated[
        float,
        _measured(
            "microseconds of a process to read a cell that came to another, for all its readers",
            "bench/growth.py, readers and processes",
        ),
    ] = 700
    home_us: Annotated[
        float,
        _measured(
            "microseconds of the home for a cell and a hopped reader", "bench/growth.py, hop"
        ),
    ] = 306
    hop_us: Annotated[
        float, _measured("microseconds of the hop for the same", "bench/growth.py, hop")
    ] = 97

    # Measured: memory, disk, rates

    connection_kib: Annotated[
        float, _measured("KiB of a relay for an idle connection", "bench/growth.py, connections")
    ] = 53.6
    process_mib: Annotated[
        float, _measured("MiB of a relay that has nothing to do", "bench/growth.py, drops")
    ] = 51
    label_bytes: Annotated[
        float,
        _measured(
            "bytes that a process on a cluster remembers of a cell", "bench/growth.py, labels"
        ),
    ] = 141
    node_mib: Annotated[
        float, _measured("MiB of memory of a node without drops", "bench/growth.py, cluster")
    ] = 70
    node_drop_bytes: Annotated[
        float, _measured("bytes of memory of a node for a drop", "bench/growth.py, cluster")
    ] = 2_121
    cell_disk_bytes: Annotated[
        float, _measured("bytes of disk for a cell, embedded", "bench/stored.py")
    ] = 1_300
    cluster_cell_disk_bytes: Annotated[
        float, _measured("bytes of disk of a node for a cell", "bench/growth.py, labels")
    ] = 1_705
    drop_disk_bytes: Annotated[
        float, _measured("bytes of disk for a drop without cells", "bench/growth.py, drops")
    ] = 282
    appends_per_s: Annotated[
        float,
        _measured("appends a second of an embedded relay, ten million cells", "bench/stored.py"),
    ] = 10_742
    cluster_appends_per_s: Annotated[
        float,
        _measured(
            "appends a second of a cluster, 10,000 buckets in turn", "bench/growth.py, buckets"
        ),
    ] = 811
    erased_per_s: Annotated[
        float, _measured("cells erased in a second, embedded", "bench/growth.py, expiry")
    ] = 34_911
    cluster_erased_per_s: Annotated[
        float, _measured("cells erased in a second, on a cluster", "bench/growth.py, expiry")
    ] = 4_903
    learn_us: Annotated[
        float,
        _measured(
            "microseconds to read a cell of a bucket before a process first appends there",
            "bench/growth.py, labels",
        ),
    ] = 67
    scan_us: Annotated[
        float,
        _measured(
            "microseconds to look at a drop, at a start and once a day", "bench/growth.py, cluster"
        ),
    ] = 145
    connections_per_process: Annotated[
        float, _measured("connections that one process has carried", "bench/growth.py, connections")
    ] = 10_000

    # Program

    cell_bytes: Annotated[
        float, _program("bytes of a message cell", "protocol.cells.MESSAGE_CELL")
    ] = 1_024
    handshake_bytes: Annotated[
        float, _program("bytes of the cell of a Commit", "protocol.cells.HANDSHAKE_CELL")
    ] = 16_384
    retention_days: Annotated[
        float,
        _program("days for which a message cell rests", "protocol.drops.MESSAGE_RETENTION_DAYS"),
    ] = 14
    handshake_retention_days: Annotated[
        float, _program("days for which a Commit rests", "protocol.drops.HANDSHAKE_RETENTION_DAYS")
    ] = 30
    drop_life_days: Annotated[
        float,
        _program("days for which a drop stays after its last cell", "relay.drops.DROP_LIFE_DAYS"),
    ] = 180
    refresh_days: Annotated[
        float, _program("days between two Commits of a member", "client.rules.entering.REFRESH_MS")
    ] = 7
    labels_per_process: Annotated[
        float,
        _program("cells that a process on a cluster remembers", "relay.cluster.known.MOST_LABELS"),
    ] = 16_000_000
    drops_per_relay: Annotated[
        float, _program("drops of a relay at most", "config.RelayLimits.drops")
    ] = 2**24
    cells_per_drop: Annotated[
        float, _program("cells of a drop", "config.RelayLimits.cells_per_drop")
    ] = 250_000
    page_cells: Annotated[
        float, _program("cells of a covered page", "protocol.wire.PAGE_CELLS")
    ] = 20
    period_s: Annotated[
        float,
        _program("seconds between two pages of a covered client", "protocol.rounds.PERIODS_S"),
    ] = 60
    hop_waits: Annotated[
        float,
        _program(
            "people behind one connection of a hop who can wait",
            "config.RelayLimits.waits times config.HopConfig.shares",
        ),
    ] = 2_048

    # Goals

    download_goal_mib: Annotated[
        float, _assumed("MiB that a person downloads in a day at most", least=0.01)
    ] = 8
    learning_goal_s: Annotated[
        float, _assumed("seconds for which a first append to a bucket may wait", least=0.1)
    ] = 10


def about(name: str) -> tuple[Origin, str, str]:
    """(origin, description, source) of an input."""
    found = typing.get_type_hints(Inputs, include_extras=True)[name]
    if typing.get_origin(found) is not Annotated:
        return Origin.ASKED, f"one of {', '.join(typing.get_args(found))}", ""
    (meta,) = found.__metadata__
    return meta.extra["origin"], meta.description, meta.extra["source"]


def inputs_of(values: Mapping[str, Any]) -> Inputs:
    """Inputs with these values, by name, instead of the usual ones. Raises BadSetting."""
    try:
        return msgspec.convert(dict(values), Inputs, strict=False)
    except msgspec.ValidationError as error:
        raise BadSetting(f"{error}: `amanat capacity --inputs` lists them") from None


def figures_in(path: Path) -> dict[str, Any]:
    """The values in a TOML or JSON file: those of its table `capacity`, or all if it has none.
    Raises BadSetting."""
    try:
        data = path.read_bytes()
        found = (
            tomllib.loads(data.decode())
            if path.suffix == ".toml"
            else msgspec.json.decode(data, type=dict[str, Any])
        )
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.DecodeError) as error:
        raise BadSetting(f"{path}: {error}") from None
    values = found.get(FIGURES, found)
    if not isinstance(values, dict):
        raise BadSetting(f"{path}: {FIGURES} is no table")
    return values
