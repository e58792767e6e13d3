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
import time
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
    from amanat.client.vault import Unlock


_SHOWN = front.Shown(results=True, notes=True)
PAGE_LOCK = "page.lock"
"""The lock of the one process that serves the page of a profile, open or not."""
OPENED_S = 10.0
"""How long a browser may take to read the file with the link, in seconds."""


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
    parser.add_argument(
        "--install", action="store_true", help="put it into the menu of your desktop"
    )


def up(args: argparse.Namespace, out: Out) -> None:
    """Serve the page of a profile, and be its background while the profile is open; or let the
    process that serves it open the page once more."""
    import uvloop

    from amanat.client import vault

    if args.install:
        install(args, out)
        return
    link = _link_of_another(args.profile)
    if link is not None:
        with _shown(args, out, link):
            time.sleep(0 if args.no_open else OPENED_S)
        return
    with vault.naming_faults(args.profile):
        args.profile.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = vault.take_lock(args.profile, PAGE_LOCK)
        try:
            uvloop.run(_serve(args, out, _known_unlock(args)))
        finally:
            os.close(lock)


def _link_of_another(directory: Path) -> str | None:
    """A link of the process that serves the page of a profile already; None if there is none."""
    line = front.reach(directory, front.PAGE)
    if line is None:
        return None
    said: list[str] = []
    with contextlib.closing(line):
        line.ask([], [], lambda _, text: said.append(text), lambda: _SHOWN, lambda _: None)
    return "".join(said)


@contextlib.contextmanager
def _shown(args: argparse.Namespace, out: Out, link: str) -> Iterator[None]:
    """Print a link, and have the browser open it if the person wants that."""
    out.result({"page": link}, f"the page, within a minute: {link}")
    with contextlib.nullcontext() if args.no_open else _opened(args.profile, link):
        yield


def _known_unlock(args: argparse.Namespace) -> Unlock | None:
    """The secret that opens the profile, if there is a profile and the page need not ask for its
    passphrase."""
    from amanat.client.vault import Unlock, opens_with

    match opens_with(args.profile):
        case "passphrase" if args.passphrase_fd is not None:
            return Unlock(passphrase=terminal.passphrase(args, is_new=False))
        case "keyring":
            return Unlock(keyring=True)
        case _:
            return None


async def _serve(args: argparse.Namespace, out: Out, unlock: Unlock | None) -> None:
    from amanat import page

    over = _until_signals()

    async def give_link(_: front.Command, asker: background.Front) -> int:
        asker.say(front.RESULT, server.link())
        return 0

    def beside(client: Client) -> contextlib.AbstractAsyncContextManager[None]:
        return background.listening(args.profile, functools.partial(perform, client, over))

    house = page.House(args.profile, beside)
    async with (
        page.serving(house, port=args.port) as server,
        background.listening(args.profile, give_link, front.PAGE),
    ):
        try:
            if unlock is not None:
                await house.open(unlock)
            with _shown(args, out, server.link()):
                ends = (asyncio.ensure_future(house.over()), over)
                done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                for one in done - {over}:
                    one.result()
        finally:
            await house.close()


def _until_signals() -> asyncio.Future[None]:
    """A future that the signals SIGTERM and SIGINT cancel."""
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.cancel)
    return over


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
            over = _until_signals()
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
    out = Out(is_json=args.json, say=asker.say, draw=asker.bar, shown=asker.shown)
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
    return background.unit(_executable(), directory.absolute())


def install(args: argparse.Namespace, out: Out) -> None:
    """Put the page into the menu of the person's desktop, and let systemd serve it from their login
    on. Raises BadArgument."""
    from importlib import resources

    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    settings = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    icon = resources.files("amanat.page").joinpath("web", "icon.svg").read_text(encoding="utf-8")
    executable, directory = _executable(), args.profile.absolute()
    written = {
        data / "icons" / "hicolor" / "scalable" / "apps" / "amanat.svg": icon,
        data / "applications" / "amanat.desktop": background.desktop_entry(executable, directory),
        settings / "systemd" / "user" / "amanat-page.service": background.unit(
            executable, directory, is_page=True
        ),
    }
    for file, text in written.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    out.result({"installed": [str(file) for file in written]}, "\n".join(map(str, written)))
    out.note("it is in your menu; `systemctl --user enable --now amanat-page` starts it at login")


def _executable() -> Path:
    """The program itself. Raises BadArgument."""
    places = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    executable = shutil.which("amanat", path=places)
    if executable is None:
        raise BadArgument("the command `amanat` is not installed, which has to be named")
    return Path(executable).absolute()
