"""A relay: making one and running it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from amanat.display import Out


def init_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `relay init`."""
    parser.add_argument("directory", type=Path, help="the directory for the relay's data")
    parser.add_argument("--region", required=True, help="where the data rests: IR, DE, EU, ...")
    parser.add_argument("--operator", required=True, help="the operator's name, as people read it")
    parser.add_argument(
        "--host", default="127.0.0.1", help="the host name or IP address that clients use"
    )
    parser.add_argument("--port", type=int, default=8443)
    parser.add_argument("--buckets", type=int, default=1, help="one for each 32 people")
    parser.add_argument("--access", choices=("open", "code"), default="open")
    parser.add_argument(
        "--hop",
        choices=("off", "listed", "open"),
        default="off",
        help="the relays to which it forwards",
    )
    parser.add_argument(
        "--hop-to", action="append", default=[], metavar="ADDRESS", help="a listed relay"
    )


def init(args: argparse.Namespace, out: Out) -> None:
    """Make a relay."""
    from amanat.config import HopConfig, RelayConfig
    from amanat.protocol.descriptor import b64
    from amanat.relay.directory import RelayDirectory

    made = RelayDirectory.create(
        args.directory,
        RelayConfig(
            region=args.region,
            operator=args.operator,
            host=args.host,
            port=args.port,
            buckets=args.buckets,
            access=args.access,
            hop=HopConfig(serve=args.hop, relays=tuple(args.hop_to)),
        ),
    )
    value = {"address": str(made.address(args.port))}
    if args.access == "code":
        value["access_code"] = b64(made.access_code)
    out.result(value, "\n".join(value.values()))
    out.note(f"settings are in {args.directory / 'relay.toml'}")


def run_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `relay run`."""
    parser.add_argument("directory", type=Path)
    parser.add_argument(
        "--until-eof", action="store_true", help="stop also when standard input ends"
    )


def run(args: argparse.Namespace, out: Out) -> None:
    """Run a relay."""
    from amanat.relay import server

    server.run(
        args.directory,
        ready=lambda address: out.result({"address": str(address)}, str(address)),
        until_eof=sys.stdin.fileno() if args.until_eof and sys.stdin is not None else None,
    )
