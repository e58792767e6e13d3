"""The background: one process has the profile open and does the commands of others."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import os
import shutil
import signal
import sysconfig
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amanat import background, front
from amanat.cli import session, terminal
from amanat.cli.commands import Needs
from amanat.cli.ending import Ending, ending
from amanat.cli.words import parser
from amanat.display import Out
from amanat.errors import BadArgument, EngineFailed, MalformedFrame, ProfileInUse, VaultDamaged

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Coroutine, Iterator

    from amanat.client.sdk.client import Client


def run_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `run`."""
    parser.add_argument("--unit", action="store_true", help="print a systemd user unit for it")


def run(args: argparse.Namespace, out: Out) -> None:
    """Run the background of a profile."""
    if args.unit:
        text = _unit(args.profile)
        out.result({"unit": text}, text.rstrip("\n"))
        return

    async def stay(client: Client) -> None:
        profile = str(args.profile.absolute())
        out.result({"running": True, "profile": profile}, f"running for {profile}")
        await (args.stay or _stay)(client)

    _be_background(args, stay)


def up_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `up`."""
    parser.add_argument(
        "--no-open", action="store_true", help="only print the link to the page: it works once"
    )
    parser.add_argument(
        "--port", type=int, default=0, help="the port of the page on this machine; 0: any"
    )


def up(args: argparse.Namespace, out: Out) -> None:
    """Run the background of a profile, and serve its page."""
    from amanat import page
    from amanat.page.attendant import Attendant

    async def stay(client: Client) -> None:
        async with page.serving(client, Attendant(client), port=args.port) as server:
            link = server.link()
            out.result({"page": link}, f"the page, within a minute: {link}")
            if args.no_open:
                await _stay(client)
            else:
                with _opened(args.profile, link):
                    await _stay(client)

    _be_background(args, stay)


def _be_background(
    args: argparse.Namespace, stay: Callable[[Client], Coroutine[Any, Any, None]]
) -> None:
    """Have the profile open and do the commands of others, as long as `stay` lasts."""
    import uvloop

    from amanat.client.sdk.client import Client
    from amanat.client.vault import naming_faults

    line = front.reach(args.profile)
    if line is not None:
        line.close()
        raise ProfileInUse(str(args.profile))  # rather than ask for a passphrase first
    unlock = terminal.unlock(args)

    async def be() -> None:
        async with Client.open(args.profile, unlock) as client:
            loop = asyncio.get_running_loop()
            over: asyncio.Future[None] = loop.create_future()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, over.cancel)
            do = functools.partial(perform, client, over)
            async with background.listening(args.profile, do):
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.gather(stay(client), over)

    with naming_faults(args.profile):
        uvloop.run(be())


@contextlib.contextmanager
def _opened(directory: Path, link: str) -> Iterator[None]:
    """Have the person's browser open a link. The link itself is no argument of a program, which
    every user of the machine could read, but stands in a file that only this user can."""
    file = directory / "open.html"
    file.unlink(missing_ok=True)
    handle = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        out.write(f'<!doctype html><meta http-equiv="refresh" content="0; url={link}">')
    try:
        webbrowser.open(file.absolute().as_uri())
        yield
    finally:
        file.unlink(missing_ok=True)


async def _stay(client: Client) -> None:
    """Wait until the client stops; raises the error that stops it."""
    async for _ in client.events():
        pass


async def perform(
    client: Client,
    over: asyncio.Future[None],
    command: front.Command,
    asker: background.Front,
) -> int:
    """Do a front's command with the open client; returns its exit status. After an error that
    leaves only a new process trustworthy, `over` gets that error."""
    from amanat.client.vault import naming_faults

    try:  # our own fronts have parsed these words already, so they always parse
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            args = parser().parse_args(command.words)
    except SystemExit:
        raise MalformedFrame from None
    if args.command.needs is not Needs.CLIENT:
        raise MalformedFrame
    works: list[session.Work] = []
    args.given, args.hand_over = terminal.Given(command.given), works.append
    out = Out(is_json=args.json, say=asker.say, shown=asker.shown)
    came_to = Ending()
    with ending(args, out, came_to), naming_faults(args.profile):
        args.run(args, out)
        for work in works:
            came_to.status = await work(client) or 0
    if isinstance(came_to.error, EngineFailed | VaultDamaged) and not over.done():
        over.set_exception(came_to.error)
    return came_to.status


def _unit(directory: Path) -> str:
    """A systemd user unit for a profile. Raises NoProfile, or BadArgument if the profile cannot be
    opened without a person."""
    from amanat.client import unlock_file

    if unlock_file.needs_passphrase(directory):
        raise BadArgument(
            "this profile opens with a passphrase, which systemd would have to keep beside it:"
            " start `amanat run` by hand, or make the profile with --keyring"
        )
    places = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    executable = shutil.which("amanat", path=places)
    if executable is None:
        raise BadArgument("the command `amanat` is not installed, which a unit has to name")
    return background.unit(Path(executable).absolute(), directory.absolute())
