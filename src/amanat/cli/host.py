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
from pathlib import Path
from typing import TYPE_CHECKING

from amanat import background, front
from amanat.cli import session, terminal
from amanat.cli.commands import Needs
from amanat.cli.ending import Ending, ending
from amanat.cli.words import parser
from amanat.display import Out
from amanat.errors import BadArgument, EngineFailed, MalformedFrame, ProfileInUse, VaultDamaged

if TYPE_CHECKING:
    import argparse

    from amanat.client.sdk.client import Client


def run_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `run`."""
    parser.add_argument("--unit", action="store_true", help="print a systemd user unit for it")


def run(args: argparse.Namespace, out: Out) -> None:
    """Run the background of a profile."""
    import uvloop

    from amanat.client.sdk.client import Client
    from amanat.client.vault import naming_faults

    if args.unit:
        text = _unit(args.profile)
        out.result({"unit": text}, text.rstrip("\n"))
        return
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
                profile = str(args.profile.absolute())
                out.result({"running": True, "profile": profile}, f"running for {profile}")
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.gather((args.stay or _stay)(client), over)

    with naming_faults(args.profile):
        uvloop.run(be())


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
    from amanat.client import vault

    if vault.needs_passphrase(directory):
        raise BadArgument(
            "this profile opens with a passphrase, which systemd would have to keep beside it:"
            " start `amanat run` by hand, or make the profile with --keyring"
        )
    places = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    executable = shutil.which("amanat", path=places)
    if executable is None:
        raise BadArgument("the command `amanat` is not installed, which a unit has to name")
    return background.unit(Path(executable).absolute(), directory.absolute())
