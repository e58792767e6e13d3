"""Commands about where a person's data rests, and by which way requests go there."""

from __future__ import annotations

import argparse
import contextlib
from typing import TYPE_CHECKING

from amanat.cli import session, telling, terminal
from amanat.errors import BadArgument, RelayUnreachable

NO_RELAY = "none"
"""The word that stands for no fallback."""

if TYPE_CHECKING:
    from amanat.client.sdk.client import Client
    from amanat.display import Out


def home_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `home`."""
    from amanat.client.holding import DEPOSIT, HOLD

    parser.add_argument(
        "relay",
        metavar="RELAY",
        nargs="?",
        default="",
        help="the home relay's present address; or another relay's, as for `exit --to`",
    )
    parser.set_defaults(is_exit=False)
    parser.add_argument(
        "--allow-regions", metavar="XX,YY|any", help="where your data may rest, if it is moved"
    )
    parser.add_argument(
        "--strict",
        action=argparse.BooleanOptionalAction,
        help="require home and fallback to be in one region",
    )
    parser.add_argument(
        "--outbound",
        choices=(DEPOSIT, HOLD),
        help="where your texts to people of other regions rest: with them, or at your home only",
    )
    _relay_words(parser)


def leave_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `exit`."""
    parser.add_argument("--to", dest="relay", required=True, metavar="RELAY", help="the new home")
    parser.set_defaults(allow_regions=None, strict=None, outbound=None, is_exit=True)
    _relay_words(parser)


def _relay_words(parser: argparse.ArgumentParser) -> None:
    """The arguments for a new home."""
    parser.add_argument("--access-fd", type=int, metavar="N", help="read its access code")
    parser.add_argument(
        "--fallback",
        metavar="RELAY|none",
        help="the relay for your messages while the home is away",
    )
    parser.add_argument("--fallback-access-fd", type=int, metavar="N", help="its access code")


def leave(args: argparse.Namespace, out: Out) -> None:
    """Leave for a new home at another relay."""
    home(args, out)


def home(args: argparse.Namespace, out: Out) -> None:
    """Show or choose where the person's data rests."""
    from amanat.client.profile import ANY_REGION

    given = (args.relay, args.fallback, args.allow_regions, args.outbound)
    args.is_question = not any(given) and args.strict is None

    async def work(client: Client) -> None:
        to = args.relay
        if to and not args.is_exit and client.home.is_home(to):
            await _find(client, out, to)
            to = ""
        await session.catch_up(args, out, client)
        if args.allow_regions is not None:
            is_any = args.allow_regions == ANY_REGION
            client.home.set_allowed_regions(None if is_any else args.allow_regions.split(","))
        if args.outbound is not None:
            client.home.set_outbound(args.outbound)
        if to:
            await client.home.exit(
                to,
                access,
                fallback=fallback,
                fallback_access=fallback_access,
                is_strict=args.strict,
            )
        elif fallback is not None:
            await client.home.set_fallback(fallback, fallback_access, is_strict=args.strict)
        elif args.strict is not None:
            client.home.set_strict(is_strict=args.strict)
        if args.relay or fallback is not None:
            await session.catch_up(args, out, client)
            try:
                await session.flush(args, out, client)
            except RelayUnreachable:
                out.note("not everybody could be told yet; that goes on whenever you are online")
        await session.look_back(args, client)
        status = client.status()
        out.result(status.rest_as_json(), telling.rest_text(status).rstrip())

    fallback = "" if args.fallback == NO_RELAY else args.fallback
    access = terminal.access(args, args.access_fd)
    fallback_access = terminal.access(args, args.fallback_access_fd)
    session.with_client(args, work)


def place_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `place`."""
    parser.add_argument("relay", metavar="RELAY", help="its present address")


def place(args: argparse.Namespace, out: Out) -> None:
    """Tell the client where a relay is now."""

    async def work(client: Client) -> None:
        found = await _find(client, out, args.relay)
        with contextlib.suppress(RelayUnreachable):
            await session.flush(args, out, client)
        out.result(
            {"relay": args.relay, "found": found}, "the relay was found" if found else "kept"
        )

    session.with_client(args, work)


async def _find(client: Client, out: Out, relay: str) -> bool:
    found = await client.home.set_place(relay)
    if not found:
        out.note("the relay does not answer there yet; the client looks for it there from now on")
    return found


def hop_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `hop`."""
    parser.add_argument("hop", metavar="auto|off|ADDRESS", nargs="?", default="")


def hop(args: argparse.Namespace, out: Out) -> None:
    """Show or set the hop by which requests go."""
    args.is_question = not args.hop

    async def work(client: Client) -> None:
        if args.hop:
            await client.hopping.set_hop(args.hop)
        _show_transport(client, out)

    session.with_client(args, work)


def cover_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `cover`."""
    parser.add_argument("period", metavar="off|60|30", nargs="?", choices=("off", "60", "30"))


def cover(args: argparse.Namespace, out: Out) -> None:
    """Show or set cover, which hides when the person writes."""
    args.is_question = not args.period

    async def work(client: Client) -> None:
        if args.period:
            await client.hopping.set_cover(0 if args.period == "off" else int(args.period))
        _show_transport(client, out)

    session.with_client(args, work)


def proxy_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `proxy`."""
    one = parser.add_mutually_exclusive_group()
    one.add_argument("address", metavar="ADDRESS", nargs="?", default="", help="HOST:PORT (SOCKS5)")
    one.add_argument("--off", action="store_true", help="reach relays without a proxy")
    parser.add_argument(
        "--login-fd", type=int, metavar="N", help="read its USER:PASSWORD, if it asks for one"
    )


def proxy(args: argparse.Namespace, out: Out) -> None:
    """Show or set the proxy through which relays are reached."""
    if args.login_fd is not None and not args.address:
        raise BadArgument("--login-fd is the login for the proxy at an ADDRESS")
    args.is_question = not (args.address or args.off)
    login = terminal.login(args, args.login_fd)

    async def work(client: Client) -> None:
        if not args.is_question:
            await client.hopping.set_proxy(args.address, login)
        out.result(
            {"proxy": client.hopping.proxy, "has_login": client.hopping.has_login},
            telling.proxy(client.hopping.proxy) or "no proxy",
        )

    session.with_client(args, work, is_online=False)  # nobody is called before it is set


def _show_transport(client: Client, out: Out) -> None:
    status, cost = client.status(), client.hopping.cover_cost()
    lines = f"{status.transport}: {status.means}\n{telling.ways(status)}"
    if status.period:
        lines += (
            f"a cell every {status.period} s: {cost.up_bytes / 1e6:.1f} MB a day up and"
            f" {cost.down_bytes / 1e6:.1f} down; a word is read after {cost.usual_s:.0f} s usually,"
            f" {cost.longest_s:.0f} at most, one word to one person after the other"
        )
    out.result({**status.ways_as_json(), **cost.as_json()}, lines.rstrip())
