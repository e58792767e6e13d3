"""Commands about people: creating a person, invites, contacts, safety numbers, blocking."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from amanat import front
from amanat.cli import session, telling, terminal
from amanat.cli.words import life
from amanat.display import shown
from amanat.errors import BadArgument, ProfileInUse

if TYPE_CHECKING:
    import argparse

    from amanat.client.sdk.client import Client
    from amanat.display import Out


def init_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `init`."""
    parser.add_argument("--name", required=True, help="the name that others see")
    parser.add_argument("--relay", required=True, metavar="ADDRESS", help="amanat://HOST:PORT/#KEY")
    parser.add_argument("--keyring", action="store_true", help="keep the key in the system keyring")
    parser.add_argument("--access-fd", type=int, metavar="N", help="read the relay's access code")
    parser.add_argument(
        "--fallback", default="", metavar="ADDRESS", help="a second relay that receives for you"
    )
    parser.add_argument("--fallback-access-fd", type=int, metavar="N", help="its access code")
    parser.add_argument(
        "--proxy", default="", metavar="HOST:PORT", help="reach relays through a SOCKS5 proxy"
    )
    parser.add_argument("--proxy-login-fd", type=int, metavar="N", help="its USER:PASSWORD")


def init(args: argparse.Namespace, out: Out) -> None:
    """Create a person, with a profile."""
    import uvloop

    from amanat.client.sdk.client import Client
    from amanat.client.vault import Unlock, naming_faults

    if args.proxy_login_fd is not None and not args.proxy:
        raise BadArgument("--proxy-login-fd is the login for the proxy at --proxy")
    if args.keyring:
        unlock = Unlock(keyring=True)
    else:
        unlock = Unlock(passphrase=terminal.passphrase(args, is_new=True))

    async def run() -> None:
        client = await Client.create(
            args.profile,
            unlock,
            name=args.name,
            relay=args.relay,
            access=terminal.access(args, args.access_fd),
            fallback=args.fallback,
            fallback_access=terminal.access(args, args.fallback_access_fd),
            proxy=args.proxy,
            proxy_login=terminal.login(args, args.proxy_login_fd),
        )
        status = client.status()
        await client.close()
        out.result(
            {"name": status.name, "id": status.identity, "region": status.region},
            f"you are {status.name}; messages to you rest in {status.region}",
        )

    with naming_faults(args.profile):
        uvloop.run(run())


def wipe_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `wipe`."""
    parser.add_argument("--yes", action="store_true", help="do not ask")


def wipe(args: argparse.Namespace, out: Out) -> None:
    """Destroy a profile."""
    from amanat.client import wiping
    from amanat.client.vault import naming_faults
    from amanat.page.local import Local

    profile = args.profile.absolute()
    with naming_faults(profile):
        wiping.check_there(profile)
    line = front.reach(profile)
    if line is not None:
        line.close()
        raise ProfileInUse(str(profile))
    if not args.yes:
        asked = f"type {shown(profile.name)} to destroy everything in {shown(str(profile))}: "
        if terminal.text(args, None, asked).rstrip("\r\n") != profile.name:
            raise BadArgument("that is not the name of the profile's directory")
    is_forgotten = wiping.wipe(profile)
    Local(profile).wipe()
    out.result(
        {"wiped": str(profile), "keyring_cleared": is_forgotten}, f"{shown(str(profile))} is gone"
    )
    out.note(
        "flash disks, snapshots and backups may keep older copies of the files, which what opened"
        " the profile then still opens; the texts that others have stay with them"
    )
    out.note(
        "backups that were made of it stay in their folder, and open with the recovery phrase or"
        " three of its shares: if they are to go, too, remove them there"
    )
    if not is_forgotten:
        out.note("the system keyring does not answer: it still has the key of this profile")


def passphrase_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `passphrase`."""
    parser.add_argument("--new-fd", type=int, metavar="N", help="read the new passphrase")
    parser.add_argument(
        "--keyring", action="store_true", help="keep the key in the system keyring instead"
    )


def passphrase(args: argparse.Namespace, out: Out) -> None:
    """Change what opens the profile."""
    from amanat.client import unlock_file
    from amanat.client.vault import Unlock, naming_faults

    if args.keyring and args.new_fd is not None:
        raise BadArgument("--new-fd gives a passphrase, and with --keyring there is none")
    with naming_faults(args.profile):
        had = unlock_file.needs_passphrase(args.profile)
    old = new = Unlock(keyring=True)
    if had:
        given = args.given.read(lambda: terminal.passphrase(args, is_new=False))
        old = Unlock(passphrase=given)
    if not args.keyring:
        given = args.given.read(lambda: terminal.next_passphrase(args.new_fd))
        new = Unlock(passphrase=given)

    async def work(client: Client) -> None:
        await client.unlocking.change(old, new)
        out.result({"unlock": "keyring" if args.keyring else "passphrase"}, "")
        out.note("done; a copy of this profile made earlier still opens as it did then")

    session.with_client(args, work, is_online=False, unlock=old)


def invite_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `invite`."""
    parser.add_argument("--qr", type=Path, metavar="FILE", help="write a QR code (.png or .svg)")
    parser.add_argument(
        "--life", type=life, metavar="LIFE", default=life("2w"), help="such as 1h, 3d; default 2w"
    )
    parser.add_argument("--withdraw", metavar="ID", help="make this invite useless")


def invite(args: argparse.Namespace, out: Out) -> None:
    """Make an invite, or withdraw one."""
    args.is_question = not args.withdraw

    async def work(client: Client) -> None:
        if args.withdraw is not None:
            client.withdraw_invite(args.withdraw)
            out.result({"withdrawn": args.withdraw}, "")
            return
        link = client.invite(args.life)
        made = client.invites()[-1]
        out.code(link)
        out.result({"invite": link, "id": made.id, "expires_at": made.expires_at}, link)
        out.note(
            f"give it to one person, by a way others do not read; it works once, until"
            f" {telling.clock(made.expires_at)}; its id is {made.id}"
        )

    if args.qr is not None and args.qr.suffix not in (".png", ".svg"):
        raise BadArgument("--qr takes a .png or .svg file")
    session.with_client(args, work, is_online=False)


def invites(args: argparse.Namespace, out: Out) -> None:
    """List the open invites."""

    async def work(client: Client) -> None:
        invites = client.invites()
        out.result(
            [one.as_json() for one in invites],
            "\n".join(
                f"{one.id}  made {telling.clock(one.made_at)},"
                f" expires {telling.clock(one.expires_at)}"
                f"{'  nobody can use it: its relay is gone' if one.is_lost else ''}"
                for one in invites
            ),
        )

    session.with_client(args, work, is_online=False)


def accept_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `accept`."""
    parser.add_argument("--file", type=Path, help="read the invite from a file instead")
    parser.add_argument("--greeting", default="", help="a first word to the inviter")


def accept(args: argparse.Namespace, out: Out) -> None:
    """Knock on an invite."""
    import asyncio

    link = terminal.text(args, args.file, "invite: ")

    async def work(client: Client) -> None:
        await session.catch_up(args, out, client)
        known = len(client.contacts())
        name = client.accept(link, args.greeting)
        await session.flush(args, out, client)
        met = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(args.wait):
                while not (met := len(client.contacts()) > known) and not client.status().warnings:
                    await client.changed()
        await telling.warn(client, out)
        out.result(
            {"inviter": name, "met": met},
            f"{shown(name)} has let you in"
            if met
            else f"you knocked; {shown(name)} has yet to let you in",
        )

    session.with_client(args, work)


def knocks_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `knocks`."""
    from amanat.client.visitors import ASK, LET_IN

    parser.add_argument("knocks", metavar="let-in|ask", nargs="?", choices=(LET_IN, ASK))


def knocks(args: argparse.Namespace, out: Out) -> None:
    """Show or set what happens when somebody knocks on an invite."""
    from amanat.client.visitors import ASK, LET_IN

    async def work(client: Client) -> None:
        if args.knocks is not None:
            client.visitors.set_knocks(args.knocks)
        means: dict[str, str] = {
            LET_IN: "your client lets in everybody who knocks on an invite of yours",
            ASK: "when somebody knocks on an invite of yours, you are asked: see `amanat visitors`",
        }
        out.result({"knocks": client.visitors.knocks}, means[client.visitors.knocks])

    session.with_client(args, work, is_online=False)


def visitors_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `visitors`."""
    answer = parser.add_mutually_exclusive_group()
    answer.add_argument("--let-in", metavar="ID", help="let this visitor in")
    answer.add_argument(
        "--turn-away", metavar="ID", help="turn this visitor away; they are not told"
    )


def visitors(args: argparse.Namespace, out: Out) -> None:
    """List the people who knocked and wait, let one in, or turn one away."""
    args.is_question = args.let_in is None and args.turn_away is None

    async def work(client: Client) -> None:
        await session.catch_up(args, out, client)
        if args.let_in is not None:
            visitor = client.visitors.let_in(args.let_in)
            await session.flush(args, out, client)
            out.result(visitor.as_json(), "")
        elif args.turn_away is not None:
            out.result(client.visitors.turn_away(args.turn_away).as_json(), "")
        else:
            found = client.visitors.all()
            out.result(
                [one.as_json() for one in found], "\n".join(map(telling.visitor_text, found))
            )

    session.with_client(args, work)


def name_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `name`."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="the name that others see")


def name(args: argparse.Namespace, out: Out) -> None:
    """Show or change the person's name."""
    args.is_question = args.name is None

    async def work(client: Client) -> None:
        if args.name is not None:
            await session.catch_up(args, out, client)
            client.rename(args.name)
            await session.flush(args, out, client)
        status = client.status()
        out.result({"name": status.name}, shown(status.name))

    session.with_client(args, work, is_online=args.name is not None)


def contacts_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `contacts`."""
    parser.add_argument(
        "--remove", metavar="NAME", help="part with this contact, and delete what was said"
    )


def contacts(args: argparse.Namespace, out: Out) -> None:
    """List contacts, or remove one."""
    args.is_question = args.remove is None

    async def remove(client: Client) -> None:
        await session.catch_up(args, out, client)
        contact = client.contact(args.remove)
        contact.remove()
        await session.flush(args, out, client)
        out.result({"removed": contact.name, "id": contact.id}, "")

    if args.remove is not None:
        session.with_client(args, remove)
        return

    async def work(client: Client) -> None:
        await session.catch_up(args, out, client)
        found = [(one, client.chat(one.conversation).view()) for one in client.contacts()]
        out.result(
            [{**c.as_json(), **view.rest_as_json()} for c, view in found],
            "\n".join(
                f"{shown(c.name)}  {c.id}{'  verified' if c.is_verified else ''}"
                f"{'  blocked' if c.is_blocked else ''}  {telling.place(view)}"
                for c, view in found
            ),
        )

    session.with_client(args, work)


def verify_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `verify`."""
    parser.add_argument("name", metavar="NAME")
    parser.add_argument(
        "--confirm", action="store_true", help="record that the numbers are the same"
    )
    parser.add_argument("--withdraw", action="store_true", help="forget that you compared them")


def verify(args: argparse.Namespace, out: Out) -> None:
    """Compare safety numbers."""
    args.is_question = not (args.confirm or args.withdraw)

    async def work(client: Client) -> None:
        contact = client.contact(args.name)
        number = contact.safety_number
        if args.confirm or args.withdraw:
            contact.set_verified(is_verified=args.confirm)
            contact = client.contact(args.name)
        state = "verified" if contact.is_verified else "not verified"
        out.result(
            {"name": contact.name, "safety_number": number, "verified": contact.is_verified},
            f"{number}\n{shown(contact.name)}: {state}",
        )
        if not contact.is_verified:
            out.note(f"if {shown(contact.name)} sees the same number, say so with --confirm")

    session.with_client(args, work, is_online=False)


def block_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `block`."""
    parser.add_argument("name", metavar="NAME")


def block(args: argparse.Namespace, out: Out) -> None:
    """Ignore a contact from now on."""
    _set_blocked(args, out, is_blocked=True)


def unblock_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `unblock`."""
    parser.add_argument("name", metavar="NAME")


def unblock(args: argparse.Namespace, out: Out) -> None:
    """Stop ignoring a contact."""
    _set_blocked(args, out, is_blocked=False)


def _set_blocked(args: argparse.Namespace, out: Out, *, is_blocked: bool) -> None:
    async def work(client: Client) -> None:
        contact = client.contact(args.name)
        if is_blocked:
            contact.block()
        else:
            contact.unblock()
        contact = client.contact(args.name)
        out.result({"name": contact.name, "blocked": contact.is_blocked}, "")

    session.with_client(args, work, is_online=False)
