"""The command that computes the machines and the money that many people take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from amanat.errors import BadArgument, BadSetting

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from amanat.capacity.inputs import Inputs
    from amanat.capacity.model import Limit, Plan
    from amanat.display import Out

OPTIONS = ("people", "messages", "people_per_bucket", "people_per_relay")
"""The inputs that are numbers and have an option of their own."""
WHOLE = 100
"""Figures from here on are shown without decimals."""
FIRST = 3
"""Limits that are shown with what to do about them."""


def compute_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `capacity`."""
    parser.add_argument("--people", type=float, metavar="N", help="people in all (20e6)")
    parser.add_argument("--messages", type=float, metavar="N", help="texts of each in a day (60)")
    parser.add_argument("--mode", choices=("direct", "hopped", "covered"), help="default: hopped")
    parser.add_argument("--store", choices=("cluster", "embedded"), help="default: cluster")
    parser.add_argument("--people-per-bucket", type=float, metavar="N", help="default: 64")
    parser.add_argument("--people-per-relay", type=float, metavar="N", help="default: 100,000")
    parser.add_argument(
        "--figures",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="take inputs from a TOML or JSON file, such as bench/growth.py writes",
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="set any input"
    )
    parser.add_argument("--inputs", action="store_true", help="show the inputs instead")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the limits as SVG")


def compute(args: argparse.Namespace, out: Out) -> None:
    """Compute what many people take."""
    from amanat.capacity import model, plot
    from amanat.capacity.inputs import figures_in, inputs_of

    values: dict[str, Any] = {}
    for file in args.figures:
        values |= figures_in(file)
    for name in (*OPTIONS, "mode", "store"):
        if (value := getattr(args, name)) is not None:
            values[name] = value
    for one in args.set:
        name, equals, value = one.partition("=")
        if not equals:
            raise BadArgument(f"--set {one}: not NAME=VALUE")
        values[name] = value
    inputs = inputs_of(values)
    if args.inputs:
        rows = list(_inputs(inputs))
        out.result(rows, _columns([tuple(map(_told, row.values())) for row in rows]))
        return
    plan = model.plan(inputs)
    title = (
        f"{inputs.people:,.0f} people, {inputs.messages:g} texts a day, {inputs.mode},"
        f" {inputs.people_per_bucket:g} in a bucket, {plan.relay.people:,.0f} at a relay,"
        f" {inputs.store}"
    )
    if args.plot:
        try:
            args.plot.write_text(plot.picture(plan.limits, title), encoding="utf-8")
        except OSError as error:
            raise BadSetting(f"{args.plot}: {error}") from None
    out.result(
        {
            "inputs": list(_inputs(inputs)),
            "person": plan.person._asdict(),
            "relay": plan.relay._asdict(),
            "country": plan.country._asdict(),
            "limits": [one._asdict() | {"share": one.share} for one in plan.limits],
        },
        "\n".join([title, "", _table(plan), "", *_limits(plan.limits)]),
    )


def _inputs(inputs: Inputs) -> Iterator[dict[str, object]]:
    """Each input as a record."""
    from amanat.capacity.inputs import about

    for name in inputs.__struct_fields__:
        origin, text, source = about(name)
        yield {
            "input": name,
            "value": getattr(inputs, name),
            "origin": origin.value,
            "means": text,
            "source": source,
        }


def _table(plan: Plan) -> str:
    person, relay, country = plan.person, plan.relay, plan.country
    return _columns(
        [
            ("a person and day", "", ""),
            ("  downloads", _told(person.down_mib), "MiB"),
            ("  uploads", _told(person.up_mib), "MiB"),
            ("  cells that come, that rest", _both(person.cells, person.resting_cells), ""),
            ("  drops that relays keep", _told(person.drops), ""),
            ("a relay", "", ""),
            ("  processes, nodes", _both(relay.processes, relay.nodes), ""),
            ("  cores: appending, handing out", _both(relay.append_cores, relay.deliver_cores), ""),
            ("  cores: sealing, expiring", _both(relay.seal_cores, relay.expire_cores), ""),
            ("  cores of all nodes", _told(relay.node_cores), ""),
            (
                "  memory of processes, of a node",
                _both(relay.memory_gib, relay.node_memory_gib),
                "GiB",
            ),
            ("  disk of all its machines", _told(relay.disk_tb), "TB"),
            ("all", "", ""),
            (
                "  relays, processes, nodes",
                f"{country.relays:,.0f}, {_both(country.processes, country.nodes)}",
                "",
            ),
            ("  cores", _told(country.cores), ""),
            ("  memory", _told(country.memory_gib), "GiB"),
            ("  disks, together", _both(country.disks, country.disk_tb), "TB"),
            ("  network in, out, busiest", _both(country.in_gbit_s, country.out_gbit_s), "Gbit/s"),
            ("  network between nodes", _told(country.between_nodes_gbit_s), "Gbit/s"),
            ("  out in a month", _told(country.out_tb_a_month), "TB"),
            ("  money a month", _told(country.eur_a_month), "EUR"),
            ("  money a person and month", f"{country.eur_a_person:.4f}", "EUR"),
        ]
    )


def _limits(limits: list[Limit]) -> Iterator[str]:
    passed = sum(one.share > 1 for one in limits)
    yield f"limits: {passed} of {len(limits)} are passed; the first {FIRST}:"
    for number, one in enumerate(limits[:FIRST], 1):
        reached = "never reached"
        if one.breaks_at is not None:
            reached = f"reached at {_told(one.breaks_at)} people of a {one.of}"
        yield (
            f"{number}. {one.name}: needs {_told(one.need)} of {_told(one.room)} {one.unit};"
            f" {reached}"
        )
        yield f"   {one.advice}"
    yield from (f"   {one.name}: {one.share:,.3g} of the room" for one in limits[FIRST:])


def _columns(rows: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _both(one: float, another: float) -> str:
    return f"{_told(one)}, {_told(another)}"


def _told(value: object) -> str:
    """A figure with three digits at least, or a text."""
    if not isinstance(value, float | int):
        return str(value)
    return f"{value:,.0f}" if value >= WHOLE else f"{value:.3g}"
