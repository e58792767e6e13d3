"""Commands about groups: their members, their names, and offers to join one."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from amanat.cli import session, telling
from amanat.display import shown
from amanat.errors import BadArgument, UnknownHelp

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from amanat.client.sdk.client import Client
    from amanat.client.sdk.views import ConversationView, UnprovenView
    from amanat.display import Out


def _group(
    args: argparse.Namespace,
    out: Out,
    change: Callable[[Client, ConversationView], None],
    asked: list[str] | None = None,
) -> None:
    """Change a group, bring the change to the relay, and show the group."""

    async def work(client: Client) -> None:
        await session.catch_up(args, out, client)
        view = client.group(args.name)
        change(client, view)
        await session.flush(args, out, client)
        _show_group(client.chat(view.gid).view(), out)
        _note_absent(client, view.gid, asked or [], out)

    session.with_client(args, work)


def _note_absent(client: Client, gid: bytes, people: list[str], out: Out) -> None:
    """Note the people who are asked into a group and are not in it yet."""
    waiting = set(client.chat(gid).wished())
    for person in people:
        if client.contact(person).identity in waiting:
            out.note(f"{shown(person)} will be in the group once they have been online")


def create_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `group create`."""
    parser.add_argument("name", metavar="GROUP")
    parser.add_argument("people", metavar="NAME", nargs="*")


def create(args: argparse.Namespace, out: Out) -> None:
    """Start a group."""

    async def work(client: Client) -> None:
        await session.catch_up(args, out, client)
        view = client.create_group(args.name, args.people)
        await session.flush(args, out, client)
        _show_group(client.chat(view.gid).view(), out)
        _note_absent(client, view.gid, args.people, out)

    session.with_client(args, work)


def add_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `group add`."""
    parser.add_argument("name", metavar="GROUP")
    parser.add_argument("people", metavar="NAME", nargs="+")


def add(args: argparse.Namespace, out: Out) -> None:
    """Ask contacts into a group."""
    _group(args, out, lambda client, view: client.chat(view.gid).add(args.people), args.people)


def remove_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `group remove`."""
    parser.add_argument("name", metavar="GROUP")
    parser.add_argument("people", metavar="NAME", nargs="+")


def remove(args: argparse.Namespace, out: Out) -> None:
    """Remove people from a group."""

    def change(client: Client, view: ConversationView) -> None:
        for person in args.people:
            client.chat(view.gid).remove(person)

    _group(args, out, change)


def leave_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `group leave`."""
    parser.add_argument("name", metavar="GROUP")
    parser.add_argument("--block", action="store_true", help="also block the person who added you")


def leave(args: argparse.Namespace, out: Out) -> None:
    """Leave a group."""

    def change(client: Client, view: ConversationView) -> None:
        if args.block:
            out.note(f"{shown(client.chat(view.gid).leave_and_block().name)} is blocked")
        else:
            client.chat(view.gid).leave()

    _group(args, out, change)


def adds_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `group adds`."""
    from amanat.client.offers import ASK, JOIN

    parser.add_argument("adds", metavar="join|ask", nargs="?", choices=(JOIN, ASK))


def adds(args: argparse.Namespace, out: Out) -> None:
    """Show or set what happens when a contact adds us to a group."""
    from amanat.client.offers import ASK, JOIN

    async def work(client: Client) -> None:
        if args.adds is not None:
            client.offers.set_adds(args.adds)
        means: dict[str, str] = {
            JOIN: "when a contact adds you to a group, you are in it",
            ASK: "when a contact adds you to a group, you are asked: see `amanat group offers`",
        }
        out.result({"adds": client.offers.adds}, means[client.offers.adds])

    session.with_client(args, work, is_online=False)


def offers(args: argparse.Namespace, out: Out) -> None:
    """List the groups that contacts offer us."""

    async def work(client: Client) -> None:
        await session.catch_up(args, out, client)
        offers = client.offers.all()
        out.result([one.as_json() for one in offers], "\n".join(map(telling.offer_text, offers)))

    session.with_client(args, work)


def accept_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `group accept`."""
    parser.add_argument("offer", metavar="ID", help="as `group offers` shows it, or its name")


def accept(args: argparse.Namespace, out: Out) -> None:
    """Join a group that a contact offers us."""
    import asyncio

    async def work(client: Client) -> None:
        await session.catch_up(args, out, client)
        offer = client.offers.accept(args.offer)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(args.wait):
                while client.chat(offer.gid).is_joining():
                    await client.changed()
        await telling.warn(client, out)
        if client.chat(offer.gid).is_joining():
            out.note("you will be in it once its Welcome can be fetched")
        out.result(offer.as_json(), "")

    session.with_client(args, work)


def decline_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `group decline`."""
    parser.add_argument("offer", metavar="ID", help="as `group offers` shows it, or its name")
    parser.add_argument("--block", action="store_true", help="also block the person who asks")


def decline(args: argparse.Namespace, out: Out) -> None:
    """Decline a group that a contact offers us."""

    async def work(client: Client) -> None:
        await session.catch_up(args, out, client)
        offer = client.offers.decline(args.offer, is_blocked=args.block)
        await session.flush(args, out, client)
        out.result(offer.as_json(), "")

    session.with_client(args, work)


def rename_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `group rename`."""
    parser.add_argument("name", metavar="GROUP")
    parser.add_argument("new", metavar="NEW")


def rename(args: argparse.Namespace, out: Out) -> None:
    """Give a group another name."""
    _group(args, out, lambda client, view: client.chat(view.gid).rename(args.new))


def admin_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `group admin`."""
    parser.add_argument("name", metavar="GROUP")
    parser.add_argument("person", metavar="NAME")
    parser.add_argument("--withdraw", action="store_true")


def admin(args: argparse.Namespace, out: Out) -> None:
    """Give or withdraw admin rights."""
    _group(
        args,
        out,
        lambda client, view: client.chat(view.gid).set_admin(
            args.person, is_admin=not args.withdraw
        ),
    )


def roles_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `group roles`."""
    parser.add_argument("name", metavar="GROUP")
    for deed in ("add", "remove", "rename"):
        parser.add_argument(f"--{deed}", choices=("admins", "members"), help=f"who may {deed}")


def roles(args: argparse.Namespace, out: Out) -> None:
    """Set who may add, remove and rename."""
    given = {f"may_{deed}": getattr(args, deed) for deed in ("add", "remove", "rename")}
    roles = {role: who for role, who in given.items() if who is not None}
    if not roles:
        raise BadArgument("say who may: --add, --remove or --rename, for admins or members")
    _group(args, out, lambda client, view: client.chat(view.gid).set_roles(roles))


def rejoin_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `group rejoin`."""
    parser.add_argument("name", metavar="GROUP")
    parser.add_argument("--of", metavar="NAME", help="the helper, if several people help")
    parser.add_argument("--yes", action="store_true", help="join the group as it is shown")


def rejoin(args: argparse.Namespace, out: Out) -> None:
    """Show how contacts help with a group, or join it with their help."""

    async def work(client: Client) -> None:
        await session.catch_up(args, out, client)
        view = client.group(args.name)
        helps = [h for h in client.chat(view.gid).rejoinable() if args.of in (None, h.helper)]
        if args.yes:
            if not helps:
                raise UnknownHelp
            if len(helps) > 1:
                raise BadArgument("several people help: say whose help, with --of")
            client.chat(view.gid).rejoin(helps[0].helper)
            await session.flush(args, out, client)
        out.result([one.as_json() for one in helps], "\n".join(map(_unproven_text, helps)))
        if not helps:
            out.note("nobody has helped with a state of this group to join")

    session.with_client(args, work)


def _unproven_text(one: UnprovenView) -> str:
    parts = [
        f"{what}: {', '.join(map(shown, names))}"
        for what, names in (
            ("came", one.came),
            ("went", one.went),
            ("admins now", one.admins),
            ("no longer admins", one.no_admins),
            ("its name", [one.name] if one.name is not None else []),
        )
        if names
    ]
    told = "; ".join(parts) or "the same people and admins"
    return f"{shown(one.helper)} helps, signed by {shown(one.signer)}: {told}"


def list_groups(args: argparse.Namespace, out: Out) -> None:
    """List groups."""

    async def work(client: Client) -> None:
        await session.catch_up(args, out, client)
        groups = [
            view for view in client.conversations() if not view.is_direct and not view.is_notes
        ]
        out.result([view.as_json() for view in groups], "\n".join(map(_group_text, groups)))

    session.with_client(args, work)


def _show_group(view: ConversationView, out: Out) -> None:
    out.result(view.as_json(), _group_text(view))


def _group_text(view: ConversationView) -> str:
    state = "" if view.state == "active" else f"  ({view.state})"
    people = ", ".join(map(shown, view.people))
    return f"{shown(view.name)}  {view.id}{state}  {telling.place(view)}: {people}"
