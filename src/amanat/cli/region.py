"""Commands for the people who answer for where data rests: witnesses, notices, moves, audits."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from amanat.cli import terminal
from amanat.display import shown
from amanat.errors import BadArgument, ReportExists
from amanat.protocol.days import date_of, day_of
from amanat.protocol.descriptor import b64, parse_address

if TYPE_CHECKING:
    import argparse

    from amanat.display import Out
    from amanat.region.audit import Report


def witness_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `region witness`."""
    parser.add_argument(
        "directory", type=Path, help="where the witness keeps its signed checkpoints"
    )
    parser.add_argument("relay", metavar="ADDRESS")
    parser.add_argument(
        "--name", default="", help="a new witness's name, such as example.org/witness"
    )


def witness(args: argparse.Namespace, out: Out) -> None:
    """Cosign the checkpoint of a relay's ledger."""
    import asyncio

    import uvloop

    from amanat.region.witness import Witness

    address = parse_address(args.relay)
    witness = Witness.open(args.directory, args.name)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        signed = runner.run(witness.look(address, now=time.time()))
    value = {
        "witness": witness.verifier,
        "origin": signed.checkpoint.origin,
        "entries": signed.checkpoint.size,
        "root": signed.checkpoint.root.hex(),
        "note": signed.note.decode(),
    }
    out.result(value, signed.note.decode().rstrip("\n"))
    out.note(f"others check it with {witness.verifier}")


def announce_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `region notice`."""
    parser.add_argument("directory", type=Path, help="the relay's directory")
    parser.add_argument("--to", metavar="ADDRESS", help="the relay to move everything to")
    parser.add_argument("--on", metavar="YYYY-MM-DD", help="the first day on which anything moves")
    parser.add_argument("--reason", default="", help="the reason that people read")
    parser.add_argument("--withdraw", action="store_true", help="take the notice back")


def announce(args: argparse.Namespace, out: Out) -> None:
    """Announce a move, or withdraw its notice."""
    import asyncio

    import uvloop

    from amanat.region import notice
    from amanat.relay.directory import RelayDirectory, write_notice

    if args.withdraw:
        RelayDirectory.open(args.directory)
        write_notice(args.directory, None)
        out.result({"notice": None}, "no move is announced")
        return
    if args.to is None or args.on is None:
        raise BadArgument("a notice needs --to and --on, or --withdraw")
    on, to = _utc_day(args.on), parse_address(args.to)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        made = runner.run(
            notice.announce(args.directory, to, on=on, reason=args.reason, now=time.time())
        )
    value = {
        "to": str(made.to),
        "region": made.region,
        "on": date_of(made.on),
        "decide_by": date_of(made.decide_by),
        "reason": made.reason,
    }
    out.result(
        value,
        f"the relay tells people that everything moves to {made.region} on {value['on']}; anyone"
        f" who leaves by {value['decide_by']} has nothing left here then",
    )


def _utc_day(text: str) -> int:
    """The UTC day, from 1970 on, of a date. Raises BadArgument."""
    try:
        return day_of(text)
    except ValueError:
        raise BadArgument(f"{text!r} is not a date such as 2027-01-31") from None


def move_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `region move`."""
    parser.add_argument("directory", type=Path, help="the directory of the running relay")
    parser.add_argument("--to", metavar="ADDRESS", help="the relay of the notice")
    parser.add_argument(
        "--rate", type=int, default=0, metavar="BYTES", help="at most this many a second"
    )
    parser.add_argument("--resume", action="store_true", help="continue the move under way")
    parser.add_argument(
        "--abandon", action="store_true", help="undo the move, if no drop has gone yet"
    )


def move(args: argparse.Namespace, out: Out) -> None:
    """Move everything to another relay."""
    import asyncio

    import uvloop

    from amanat.region.mover import Mover

    to = None if args.to is None else parse_address(args.to)
    with (
        terminal.move_bar() as progress,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        contextlib.closing(
            Mover(args.directory, clock=time.time, rate=args.rate, progress=progress)
        ) as mover,
    ):
        if args.abandon:
            runner.run(mover.abandon())
            out.result({"abandoned": True}, "the move is undone; everything rests where it was")
            return
        report = runner.run(mover.move(to, is_resumed=args.resume))
    out.result(
        report._asdict(),
        f"{report.drops} drops with {report.cells} cells ({report.bytes} bytes) have moved in"
        f" {report.seconds:.0f} s; nobody waited for more than {report.longest_pause_ms:.0f} ms\n"
        f"{report.certificate}",
    )


def look_over_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `region audit`."""
    parser.add_argument(
        "directory", type=Path, nargs="?", help="the relay's directory, running or not"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="write report.json and index.html")
    parser.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="an earlier checkpoint to compare with"
    )
    parser.add_argument(
        "--keeper",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="another directory of a relay on a cluster, whose keys are looked at, too",
    )
    parser.add_argument(
        "--system-login",
        type=Path,
        metavar="FILE",
        help="a login of the cluster's system account, which sees the settings of nodes",
    )
    parser.add_argument("--verify", type=Path, metavar="FILE", help="check a report instead")
    parser.add_argument(
        "--relay", metavar="ADDRESS", help="with --verify: the relay that must have signed"
    )


def look_over(args: argparse.Namespace, out: Out) -> None:
    """Audit a relay, or check a report."""
    from amanat.region import audit, page
    from amanat.relay.directory import RelayDirectory

    if args.verify is not None:
        key = parse_address(args.relay).key if args.relay else b""
        report = audit.open_report(terminal.read_whole(args.verify, audit.MAX_REPORT_BYTES), key)
        _show_audit(out, report)
        return
    if args.directory is None:
        raise BadArgument("name the relay's directory, or --verify a report")
    if args.out is not None and args.out.exists() and any(args.out.iterdir()):
        raise ReportExists(str(args.out))
    older = b"" if args.checkpoint is None else terminal.read_file(args.checkpoint)
    is_on_cluster = bool(RelayDirectory.open(args.directory).config.store)
    if not is_on_cluster and (args.keeper or args.system_login):
        raise BadArgument("--keeper and --system-login are for a relay on a cluster")
    with terminal.bars(["drops", "replicas"] if is_on_cluster else ["drops"]) as progress:
        walk = audit.Audit(
            args.directory,
            now=time.time(),
            progress=lambda done, total: progress("drops", done, total),
            comparing=lambda done, total: progress("replicas", done, total),
            keepers=args.keeper,
            system_login=args.system_login,
        )
        report = walk.run(older)
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        signed = audit.sign_report(report, RelayDirectory.open(args.directory))
        (args.out / "report.json").write_bytes(signed)
        (args.out / "index.html").write_text(page.page(report), encoding="utf-8")
    _show_audit(out, report)


def _show_audit(out: Out, report: Report) -> None:
    import msgspec

    lines = [f"{one.kind}: {one.count} ({', '.join(one.examples)})" for one in report.findings]
    rest = f"{report.drops} drops with {report.cells} cells rest in {report.region}"
    kinds = f"{len(report.findings) or 'no'} kinds of findings"
    lines += [f"{rest}, with {shown(report.operator)}; {kinds}"]
    lines += ["no audit shows that nobody has a copy"]
    out.result(json.loads(msgspec.json.encode(report)), "\n".join(lines))
    if report.findings:
        sys.exit(1)


def verify_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `region verify`."""
    parser.add_argument("file", type=Path)


def verify(args: argparse.Namespace, out: Out) -> None:
    """Check a move certificate."""
    from amanat.protocol.moving import open_certificate

    order, statement, certificate = open_certificate(terminal.read_file(args.file))
    value = {
        "from": b64(order.source),
        "to": str(order.to),
        "regions": order.regions,
        "region": order.region,
        "drops": statement.drops,
        "cells": statement.cells,
        "bytes": statement.bytes,
        "root": statement.root.hex(),
        "began": _hour(order.began),
        "landed": _hour(statement.landed),
        "erased": _hour(certificate.erased),
    }
    out.result(
        value,
        "\n".join(f"{key:8} {one}" for key, one in value.items())
        + "\nboth relays have signed this",
    )


def _hour(hour: int) -> str:
    return datetime.fromtimestamp(3600 * hour, UTC).isoformat(timespec="minutes")
