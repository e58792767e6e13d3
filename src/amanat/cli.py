"""The command line, and the one place where everything is put together.

Rules: results go to stdout, everything else to stderr; `--json` makes the result one JSON value
(of `read`, one a line); the exit status is the error's family (errors.py); secrets (passphrase,
access code, invites, texts) come by prompt, standard input or a file descriptor, never by argument
or environment, where other users of the machine could read them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import getpass
import io
import json
import os
import re
import shutil
import signal
import sys
import sysconfig
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import msgspec
import segno
import uvloop
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from amanat import background
from amanat.client import vault
from amanat.client.api import (
    Announced,
    Client,
    ConversationView,
    GroupOffer,
    Message,
    Status,
    UnprovenView,
    WarningView,
)
from amanat.client.events import (
    Event,
    Joined,
    MessageChanged,
    Offered,
    Removed,
    TextArrived,
    Warned,
)
from amanat.client.holding import DEPOSIT, HOLD
from amanat.client.invite import LIFE_S
from amanat.client.offers import ASK, JOIN
from amanat.client.profile import ANY_REGION
from amanat.client.vault import Unlock
from amanat.display import Out, Screen, block, escaped, shown, told
from amanat.errors import (
    BY_CODE,
    EXIT_BUG,
    AmanatError,
    BadArgument,
    EngineFailed,
    HopAway,
    IdentityChanged,
    MalformedFrame,
    ProfileInUse,
    RelayUnreachable,
    ReportExists,
    UnknownHelp,
    VaultDamaged,
)
from amanat.process import EXIT_INTERRUPTED, hold_standard_descriptors
from amanat.protocol.descriptor import b64, parse_address, unb64

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence

    from amanat.region.audit import Report
    from amanat.region.mover import Done

    Work: TypeAlias = Callable[[Client], Coroutine[Any, Any, int | None]]
    """What a command does with an open client; its exit status, if that is not 0."""

DEFAULT_PROFILE = Path.home() / ".local" / "share" / "amanat"
WAIT_S = 10.0
"""How long a command waits for relays before it says that they do not answer, in seconds."""
MAX_INPUT_BYTES = 1024 * 1024
"""Most that is read from standard input or a file, in bytes: above any text that can be sent."""
MAX_SECRET_BYTES = 4096
"""Most that is read of a passphrase or an access code, in bytes: nobody types as much."""
SHOWN_DIGITS = 8
"""How much of a message's id is shown: few conversations hold two that begin alike."""
QUOTED_CHARS = 60
"""How much is shown of what a text answers."""
NO_RELAY = "none"
"""What stands for no fallback."""


class Given:
    """What is read for a command from outside: by itself, or by the front whose work this is."""

    def __init__(self, handed: Sequence[str] | None = None) -> None:
        self.texts: list[str] = []
        self._handed = None if handed is None else iter(handed)

    def read(self, read: Callable[[], str]) -> str:
        """The next text; `read` reads it, if nobody has."""
        if self._handed is None:
            self.texts.append(read())
            return self.texts[-1]
        text = next(self._handed, None)
        if text is None:
            raise MalformedFrame
        return text


class Ending:
    """What a command has come to: its exit status, and the error if it is one's."""

    status = 0
    error: Exception | None = None


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a command and exit with its status."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        args = _parser().parse_args(words)
        drawn = getattr(args, "qr", None)
        screen = Screen(is_json=args.json, draw=functools.partial(_draw, file=drawn))
        sys.exit(_call(args, words, screen))
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


def _call(args: argparse.Namespace, words: list[str], screen: Screen) -> int:
    """Run a command of this process; its exit status."""
    args.words, args.given, args.hand_over, args.screen = words, Given(), None, screen

    async def is_shown() -> background.Shown:
        return screen.shown()

    out = Out(is_json=args.json, say=screen.say, shown=is_shown)
    ending = Ending()
    try:
        with _ending(args, out, ending):
            _check_words(words)
            args.run(args, out)
    except SystemExit as ended:
        ending.status = int(ended.code or 0)
    return screen.close(ending.status, is_question=args.is_question)


def _check_words(words: list[str]) -> None:
    """Raises BadArgument for what nothing that is said or kept could hold."""
    try:
        "".join(words).encode()
    except UnicodeEncodeError:
        raise BadArgument("a word of the command is not UTF-8 text") from None


@contextlib.contextmanager
def _ending(args: argparse.Namespace, out: Out, ending: Ending) -> Iterator[None]:
    """Tell what goes wrong, and keep the status that it has."""
    try:
        with vault.naming_faults(args.profile):
            yield
    except AmanatError as error:
        out.note(told(error))
        if error.hint:
            out.note(f"hint: {error.hint}")
        if out.is_json:
            out.result({"error": error.code, "detail": error.detail}, "")
        ending.status, ending.error = error.exit_status, error
    except Exception as error:  # noqa: BLE001  # the last place that can say anything
        out.note(f"a bug: {type(error).__name__}: {escaped(str(error))}")
        ending.status, ending.error = EXIT_BUG, error


# Arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="amanat", description="A messenger whose relay may be put anywhere."
    )
    _general(parser, is_before=True)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    init = _command(commands, "init", _init, "become a person, at home on a relay")
    init.add_argument("--name", required=True, help="what others see")
    init.add_argument("--relay", required=True, metavar="ADDRESS", help="amanat://HOST:PORT/#KEY")
    init.add_argument("--keyring", action="store_true", help="keep the key in the system keyring")
    init.add_argument("--access-fd", type=int, metavar="N", help="read the relay's access code")
    init.add_argument("--fallback", default="", metavar="ADDRESS", help="where you are reached too")
    init.add_argument("--fallback-access-fd", type=int, metavar="N", help="its access code")

    invite = _command(
        commands,
        "invite",
        _invite,
        "make an invite for one person, or withdraw one",
        is_question=True,
    )
    invite.add_argument("--qr", type=Path, metavar="FILE", help="write a QR code (.png or .svg)")
    invite.add_argument(
        "--life", type=_life, metavar="LIFE", default=LIFE_S, help="such as 1h, 3d; default 2w"
    )
    invite.add_argument("--withdraw", metavar="ID", help="let nobody use this one any more")
    _command(
        commands,
        "invites",
        _invites,
        "list the invites that can still be used",
        is_question=True,
    )

    accept = _command(commands, "accept", _accept, "knock on an invite, read from standard input")
    accept.add_argument("--file", type=Path, help="read the invite from a file instead")
    accept.add_argument("--greeting", default="", help="a first word to the inviter")

    _command(commands, "contacts", _contacts, "list the people you can write to", is_question=True)

    send = _command(commands, "send", _send, "say what standard input holds")
    send.add_argument("to", metavar="NAME", help="a contact, a group, or an id")
    send.add_argument("--reply-to", metavar="ID", default="", help="the message it answers")

    read = _command(commands, "read", _read, "fetch and show what is new", is_question=True)
    read.add_argument("of", metavar="NAME", nargs="?", help="only this conversation")
    read.add_argument("--all", action="store_true", help="show what was shown before, too")
    read.add_argument("--follow", action="store_true", help="stay and show what comes")

    _change_parser(commands)
    _group_parser(commands)

    verify = _command(commands, "verify", _verify, "compare safety numbers with a contact")
    verify.add_argument("name", metavar="NAME")
    verify.add_argument("--confirm", action="store_true", help="the numbers are the same")
    verify.add_argument("--withdraw", action="store_true", help="no longer hold it as compared")

    _home_parser(commands)
    hop = _command(commands, "hop", _hop, "say or decide whether relays see your network address")
    hop.add_argument("hop", metavar="auto|off|ADDRESS", nargs="?", default="")

    cover = _command(commands, "cover", _cover, "say or decide whether it shows when you write")
    cover.add_argument("period", metavar="off|60|30", nargs="?", choices=("off", "60", "30"))

    run = _command(commands, "run", _run, "stay online, and do the work of other commands")
    run.add_argument("--unit", action="store_true", help="print a systemd user unit for it")
    _command(commands, "status", _status, "show where things stand", is_question=True)
    _command(
        commands, "doctor", _doctor, "check this installation, profile and relay", is_question=True
    )
    _relay_parser(commands)
    _region_parser(commands)
    _drill_parser(commands)
    _replay_parser(commands)
    _demo_parser(commands)
    return parser


def _general(parser: argparse.ArgumentParser, *, is_before: bool) -> None:
    """The options of all commands, before a command or behind it: there, where they are not given,
    what stands before counts."""

    def add(name: str, default: object, text: str, **rest: Any) -> None:  # noqa: ANN401  # argparse's
        parser.add_argument(
            name,
            default=default if is_before else argparse.SUPPRESS,
            help=text if is_before else argparse.SUPPRESS,
            **rest,
        )

    add("--json", False, "print the result as JSON", action="store_true")
    add("--profile", DEFAULT_PROFILE, "where you are kept", type=Path, metavar="DIR")
    add("--passphrase-fd", None, "read the passphrase from descriptor N", type=int, metavar="N")
    add("--wait", WAIT_S, "how long to wait for relays", type=float, metavar="SECONDS")


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: Callable[[argparse.Namespace, Out], None],
    text: str,
    *,
    is_question: bool = False,
) -> argparse.ArgumentParser:
    """A command. One that `is_question` has failed if its answer cannot be shown, and is asked
    again without harm."""
    parser = commands.add_parser(name, help=text, description=text)
    _general(parser, is_before=False)
    parser.set_defaults(run=run, is_question=is_question)
    return parser


def _home_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    home = _command(commands, "home", _home, "show or choose where your data rests")
    home.add_argument(
        "relay",
        metavar="RELAY",
        nargs="?",
        default="",
        help="of the home relay: where it is now; of another: as `exit --to`",
    )
    home.set_defaults(is_exit=False)
    home.add_argument(
        "--allow-regions", metavar="XX,YY|any", help="where your data may rest, if it is moved"
    )
    home.add_argument(
        "--strict",
        action=argparse.BooleanOptionalAction,
        help="have home and fallback in one region",
    )
    home.add_argument(
        "--outbound",
        choices=(DEPOSIT, HOLD),
        help="where what you say to people of other regions rests: with them, or at your home only",
    )
    leave = _command(commands, "exit", _home, "be at home at another relay, and tell everybody")
    leave.add_argument("--to", dest="relay", required=True, metavar="RELAY", help="the new home")
    leave.set_defaults(allow_regions=None, strict=None, outbound=None, is_exit=True)
    place = _command(commands, "place", _say_place, "say where a relay is now, yours or another's")
    place.add_argument("relay", metavar="RELAY", help="its address, as it is now")
    for parser in (home, leave):
        parser.add_argument("--access-fd", type=int, metavar="N", help="read its access code")
        parser.add_argument(
            "--fallback", metavar="RELAY|none", help="where you are reached while the home is away"
        )
        parser.add_argument("--fallback-access-fd", type=int, metavar="N", help="its access code")


def _change_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    edit = _command(commands, "edit", _edit, "give an own text other words, from standard input")
    react = _command(commands, "react", _react, "react to a text with what standard input holds")
    delete = _command(commands, "delete", _delete, "delete own texts for everyone")
    for parser in (edit, react, delete):
        parser.add_argument("to", metavar="NAME", help="the conversation")
    for parser in (edit, react):
        parser.add_argument("id", metavar="ID", help="the message, as `read` shows it")
    react.add_argument("--withdraw", action="store_true", help="take the reaction back")
    delete.add_argument("ids", metavar="ID", nargs="+", help="the messages")
    delete.add_argument("--only-here", action="store_true", help="any texts, from this vault alone")
    timer = _command(commands, "timer", _timer, "show or set how long new texts are kept")
    timer.add_argument("to", metavar="NAME", help="the conversation")
    timer.add_argument(
        "life", metavar="LIFE", nargs="?", type=_life, help="off, or 30s, 5m, 8h, 1d, 4w"
    )
    for name, run, text in (
        ("block", _block, "hear nothing more of a contact"),
        ("unblock", _unblock, "hear a contact again"),
    ):
        _command(commands, name, run, text).add_argument("name", metavar="NAME")


def _life(text: str) -> int:
    """Seconds. Raises ArgumentTypeError, which argparse tells the person."""
    if text == "off":
        return 0
    match = re.fullmatch("([0-9]{1,9})([wdhms])", text, flags=re.ASCII)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is neither off nor such as 30s, 5m, 8h, 1d, 4w")
    return int(match[1]) * UNITS_S[match[2]]


def _group_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    group = commands.add_parser("group", help="make and change groups").add_subparsers(
        required=True, metavar="ACTION"
    )
    create = _command(group, "create", _group_create, "start a group")
    create.add_argument("name", metavar="GROUP")
    create.add_argument("people", metavar="NAME", nargs="*")
    for name, run, text in (
        ("add", _group_add, "ask contacts into a group"),
        ("remove", _group_remove, "put people out of a group"),
    ):
        parser = _command(group, name, run, text)
        parser.add_argument("name", metavar="GROUP")
        parser.add_argument("people", metavar="NAME", nargs="+")
    leave = _command(group, "leave", _group_leave, "leave a group")
    leave.add_argument("name", metavar="GROUP")
    leave.add_argument("--block", action="store_true", help="and block whoever added you to it")
    adds = _command(group, "adds", _group_adds, "say or decide what happens when you are added")
    adds.add_argument("adds", metavar="join|ask", nargs="?", choices=(JOIN, ASK))
    _command(group, "offers", _group_offers, "list the groups that you are asked into")
    accept = _command(group, "accept", _group_accept, "join a group that you are asked into")
    decline = _command(group, "decline", _group_decline, "stay out of one")
    for parser in (accept, decline):
        parser.add_argument("offer", metavar="ID", help="as `group offers` shows it, or its name")
    decline.add_argument("--block", action="store_true", help="and block whoever asks")
    rename = _command(group, "rename", _group_rename, "give a group another name")
    rename.add_argument("name", metavar="GROUP")
    rename.add_argument("new", metavar="NEW")
    admin = _command(group, "admin", _group_admin, "give or take admin rights")
    admin.add_argument("name", metavar="GROUP")
    admin.add_argument("person", metavar="NAME")
    admin.add_argument("--withdraw", action="store_true")
    roles = _command(group, "roles", _group_roles, "say who may add, remove and rename")
    roles.add_argument("name", metavar="GROUP")
    for deed in ("add", "remove", "rename"):
        roles.add_argument(f"--{deed}", choices=("admins", "members"), help=f"who may {deed}")
    rejoin = _command(
        group, "rejoin", _group_rejoin, "show how contacts help with a group that is out of step"
    )
    rejoin.add_argument("name", metavar="GROUP")
    rejoin.add_argument("--of", metavar="NAME", help="whose help, if several people help")
    rejoin.add_argument("--yes", action="store_true", help="join it as it is shown")
    _command(group, "list", _group_list, "list groups", is_question=True)


# Running a client


def _passphrase(args: argparse.Namespace, *, is_new: bool) -> str:
    if args.passphrase_fd is not None:
        return _from_descriptor(args.passphrase_fd)
    try:
        # The terminal itself, which is there even when standard input is a text to send.
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        raise BadArgument(
            "there is no terminal to ask for the passphrase; use --passphrase-fd"
        ) from None
    passphrase = _typed("passphrase: ")
    if is_new and _typed("again: ") != passphrase:
        raise BadArgument("the two passphrases differ")
    return passphrase


def _typed(prompt: str) -> str:
    """A secret that the person types. Raises BadArgument."""
    try:
        return getpass.getpass(prompt)
    except EOFError:
        raise BadArgument("no passphrase was given") from None
    except UnicodeDecodeError:
        raise BadArgument("what was typed is not text of this terminal's encoding") from None


def _from_descriptor(number: int) -> str:
    """The first line that a descriptor gives, which is closed then. Raises BadArgument."""
    try:
        with os.fdopen(number, "rb") as file:
            line = file.readline(MAX_SECRET_BYTES + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it cannot be read"
        raise BadArgument(f"descriptor {number}: {why}") from None
    hold_standard_descriptors()  # if it was one of them
    if len(line) > MAX_SECRET_BYTES:
        raise BadArgument(f"descriptor {number}: more than {MAX_SECRET_BYTES} bytes in a line")
    try:
        text = line.decode("utf-8-sig")  # editors of some systems put a mark before a text
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise BadArgument(f"descriptor {number}: what it gives is not UTF-8 text")
    return text.rstrip("\r\n")


def _unlock(args: argparse.Namespace) -> Unlock:
    if vault.needs_passphrase(args.profile):
        return Unlock(passphrase=_passphrase(args, is_new=False))
    return Unlock(keyring=True)


def _with_client(args: argparse.Namespace, work: Work, *, is_online: bool = True) -> None:
    """Have the work of a command done, as the last thing it does: by the background, if there is
    one, or with the profile opened here (and online, if it is to be)."""
    if args.hand_over is not None:  # this is the background, and it awaits it
        args.hand_over(work)
        return
    line = background.reach(args.profile)
    if line is not None:
        with contextlib.closing(line):
            screen = args.screen
            status = line.ask(args.words, args.given.texts, screen.say, screen.shown)
    else:
        status = uvloop.run(_work_here(args, work, _unlock(args), is_online=is_online)) or 0
    if status:
        sys.exit(status)


async def _work_here(
    args: argparse.Namespace, work: Work, unlock: Unlock, *, is_online: bool
) -> int | None:
    client = Client.open(args.profile, unlock)
    try:
        if is_online:
            client.start()
        status = await work(client)
        if is_online and client.is_caught_up:  # what came may have to be answered, with receipts
            with contextlib.suppress(RelayUnreachable):
                await _within(args, client, client.flushed(), client.seconds_to_leave())
        return status
    finally:
        await client.close()


async def _within(
    args: argparse.Namespace, client: Client, work: Awaitable[None], more_s: float = 0
) -> None:
    """Wait for the relays; RelayUnreachable, or HopAway, when it takes too long."""
    wait = args.wait + more_s
    try:
        async with asyncio.timeout(wait):
            await work
    except TimeoutError:
        raise _unreachable(client)(f"waited {wait:g} s") from None


def _unreachable(client: Client) -> type[RelayUnreachable]:
    return HopAway if client.status().is_hop_away else RelayUnreachable


async def _caught_up(args: argparse.Namespace, client: Client) -> None:
    """Have what is new; RelayUnreachable if no relay of ours answers, or no longer does."""
    await _within(args, client, client.caught_up())
    status = client.status()
    if {status.relay, status.fallback} - {""} <= set(status.away):
        raise _unreachable(client)


async def _catch_up(args: argparse.Namespace, out: Out, client: Client) -> None:
    """Have what is new, or say that it could not be had."""
    try:
        await _caught_up(args, client)
    except RelayUnreachable as error:
        out.note(f"{error}; this is what was known before")


async def _flush(args: argparse.Namespace, out: Out, client: Client) -> None:
    """Have what was queued reach its relays; RelayUnreachable when they do not answer.

    Covered, it leaves in its turn: who has a client in the background need not wait for that.
    """
    if not client.is_caught_up:
        raise _unreachable(client)  # we have waited for it already
    turns_s = client.seconds_to_leave()
    if turns_s:
        out.note(f"it leaves in its turn, within {turns_s:.0f} s")
        if args.hand_over is not None:
            return
    await _within(args, client, client.flushed(), turns_s)


def _read_file(file: Path) -> bytes:
    """What is in a file, or a byte more than is read of one. Raises BadArgument."""
    return _read_whole(file, MAX_INPUT_BYTES)


def _read_whole(file: Path, most: int) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(most + 1)
    except OSError as error:
        raise BadArgument(f"{file}: {error.strerror}") from None


def _input(args: argparse.Namespace, file: Path | None, prompt: str) -> str:
    if file is None and args.passphrase_fd == 0:
        raise BadArgument("standard input cannot hold the passphrase and what is given as well")
    text: str = args.given.read(lambda: _read_input(file, prompt))
    return text


def _read_input(file: Path | None, prompt: str) -> str:
    if file is None and sys.stdin is None:
        raise BadArgument("standard input is closed")
    if file is None and sys.stdin.isatty():
        return _ask(prompt)
    data = sys.stdin.buffer.read(MAX_INPUT_BYTES + 1) if file is None else _read_file(file)
    if len(data) > MAX_INPUT_BYTES:
        raise BadArgument(f"more than {MAX_INPUT_BYTES} bytes were given")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadArgument("what was given is not UTF-8 text") from None


def _ask(prompt: str) -> str:
    """A line that the person types. Raises BadArgument."""
    if sys.stderr is not None:
        print(prompt, end="", file=sys.stderr, flush=True)  # noqa: T201  # not part of the result
    try:
        line = sys.stdin.readline()
        line.encode()
    except UnicodeError:
        raise BadArgument("what was typed is not text of this terminal's encoding") from None
    return line


# People


def _init(args: argparse.Namespace, out: Out) -> None:
    if args.keyring:
        unlock = Unlock(keyring=True)
    else:
        unlock = Unlock(passphrase=_passphrase(args, is_new=True))

    async def run() -> None:
        client = await Client.create(
            args.profile,
            unlock,
            name=args.name,
            relay=args.relay,
            access=_access(args, args.access_fd),
            fallback=args.fallback,
            fallback_access=_access(args, args.fallback_access_fd),
        )
        status = client.status()
        await client.close()
        out.result(
            {"name": status.name, "id": status.identity, "region": status.region},
            f"you are {status.name}; what others send you rests in {status.region}",
        )

    uvloop.run(run())


def _access(args: argparse.Namespace, descriptor: int | None) -> bytes:
    if descriptor is None:
        return b""
    try:
        return unb64(args.given.read(lambda: _from_descriptor(descriptor)))
    except ValueError:
        raise BadArgument("the access code is not whole") from None


def _home(args: argparse.Namespace, out: Out) -> None:
    given = (args.relay, args.fallback, args.allow_regions, args.outbound)
    args.is_question = not any(given) and args.strict is None

    async def work(client: Client) -> None:
        to = args.relay
        if to and not args.is_exit and client.is_home(to):
            await _find(client, out, to)
            to = ""
        await _catch_up(args, out, client)
        if args.allow_regions is not None:
            is_any = args.allow_regions == ANY_REGION
            client.set_allowed_regions(None if is_any else args.allow_regions.split(","))
        if args.outbound is not None:
            client.set_outbound(args.outbound)
        if to:
            await client.exit(
                to,
                access,
                fallback=fallback,
                fallback_access=fallback_access,
                is_strict=args.strict,
            )
        elif fallback is not None:
            await client.set_fallback(fallback, fallback_access, is_strict=args.strict)
        elif args.strict is not None:
            client.set_strict(is_strict=args.strict)
        if args.relay or fallback is not None:
            await _catch_up(args, out, client)
            try:
                await _flush(args, out, client)
            except RelayUnreachable:
                out.note("not everybody could be told yet; that goes on whenever you are online")
        await _look_back(args, client)
        status = client.status()
        out.result(_rest_value(status), _rest_text(status).rstrip())

    fallback = "" if args.fallback == NO_RELAY else args.fallback
    access = _access(args, args.access_fd)
    fallback_access = _access(args, args.fallback_access_fd)
    _with_client(args, work)


def _say_place(args: argparse.Namespace, out: Out) -> None:
    async def work(client: Client) -> None:
        found = await _find(client, out, args.relay)
        with contextlib.suppress(RelayUnreachable):
            await _flush(args, out, client)
        out.result(
            {"relay": args.relay, "found": found}, "the relay was found" if found else "kept"
        )

    _with_client(args, work)


async def _find(client: Client, out: Out, relay: str) -> bool:
    found = await client.set_place(relay)
    if not found:
        out.note("the relay does not answer there yet; it is looked for there from now on")
    return found


async def _look_back(args: argparse.Namespace, client: Client) -> None:
    """See whether the relays are there that were left: what depends on them is told."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(args.wait):
            await client.heard_of_former()


def _rest_value(status: Status) -> dict[str, object]:
    """Where the data of a person rests, as JSON."""
    named = (
        "relay",
        "place",
        "region",
        "operator",
        "fallback",
        "fallback_place",
        "fallback_region",
        "fallback_operator",
        "allowed_regions",
        "is_strict",
        "outbound",
        "outbound_by",
        "unaware",
        "left_behind",
        "lost_invites",
        "lost_knocks",
    )
    value = {key: getattr(status, key) for key in named}
    moves = [
        {**one._asdict(), "on": _date(one.on), "decide_by": _date(one.decide_by)}
        for one in status.moves
    ]
    return {**value, "former": [one._asdict() for one in status.former], "moves": moves}


_OUTBOUND = {
    "": "what you say rests with those you say it to",
    "person": "what you say to people of other regions is held in {region}, and fetched there",
    "relay": "your relay holds what you say to people of other regions in {region}",
}


def _rest_text(status: Status) -> str:
    allowed = status.allowed_regions
    lines = [
        f"home: {status.relay}{_reached(status.place)}",
        _law("what others send you rests", status.region, status.operator),
    ]
    if status.fallback:
        lines += [
            f"fallback: {status.fallback}{_reached(status.fallback_place)}",
            _law("while the home is away", status.fallback_region, status.fallback_operator),
        ]
    lines += [f"allowed regions: {'any' if allowed is None else ', '.join(allowed)}"]
    lines += ["home and fallback are to be in one region"] if status.is_strict else []
    lines += [_OUTBOUND[status.outbound_by].format(region=status.region)]
    lines += [_move_text(one) for one in status.moves]
    for former in status.former:
        state = "and cannot be reached" if former.is_away else "and is still read"
        lines.append(f"left on {_day(former.left_at)} {state}: {former.relay} in {former.region}")
    lines += [f"may not know yet where you are: {shown(name)}" for name in status.unaware]
    lines += [
        f"who is in {shown(name)} is still decided at a relay you have left"
        for name in status.left_behind
    ]
    lines += [
        f"nobody can answer the invite of {_day(made_at)} any more: make another"
        for made_at in status.lost_invites
    ]
    lines += [
        f"the answer of {shown(name)} to your knock cannot reach you: ask for another invite"
        for name in status.lost_knocks
    ]
    return "".join(f"{line}\n" for line in lines)


def _move_text(one: Announced) -> str:
    follows = (
        "your program follows, since you allow that region"
        if one.is_allowed
        else "you do not allow that region: your words will be held; leave with `amanat exit`, or"
        " allow it with `amanat home --allow-regions`"
    )
    reason = f" ({shown(one.reason)})" if one.reason else ""
    return (
        f"MOVES on {_date(one.on)}{reason}: everything at {one.relay} goes to {one.region};"
        f" {follows}. Who leaves by {_date(one.decide_by)} has nothing left there then"
    )


def _reached(place: str) -> str:
    return f" (found at {place})" if place else ""


def _law(what: str, region: str, operator: str) -> str:
    who = f", with {shown(operator)}" if operator else ""
    return f"{what} in {region}, under the law there{who}"


def _day(unix_ms: int) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(unix_ms / 1000))


def _hop(args: argparse.Namespace, out: Out) -> None:
    args.is_question = not args.hop

    async def work(client: Client) -> None:
        if args.hop:
            await client.set_hop(args.hop)
        _show_transport(client, out)

    _with_client(args, work)


def _cover(args: argparse.Namespace, out: Out) -> None:
    args.is_question = not args.period

    async def work(client: Client) -> None:
        if args.period:
            await client.set_cover(0 if args.period == "off" else int(args.period))
        _show_transport(client, out)

    _with_client(args, work)


def _show_transport(client: Client, out: Out) -> None:
    status, cost = client.status(), client.cover_cost()
    lines = f"{status.transport}: {status.means}\n{_ways(status)}"
    if status.period:
        lines += (
            f"a cell every {status.period} s: {cost.up_bytes / 1e6:.1f} MB a day up and"
            f" {cost.down_bytes / 1e6:.1f} down; a word is read after {cost.usual_s:.0f} s usually,"
            f" {cost.longest_s:.0f} at most, one word to one person after the other"
        )
    named = ("transport", "means", "hop", "is_hop_away", "why", "exposed", "period")
    value = {key: getattr(status, key) for key in named}
    out.result({**value, **cost._asdict()}, lines.rstrip())


def _invite(args: argparse.Namespace, out: Out) -> None:
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
            f" {_clock(made.expires_at)}; its id is {made.id}"
        )

    if args.qr is not None and args.qr.suffix not in (".png", ".svg"):
        raise BadArgument("--qr takes a .png or .svg file")
    _with_client(args, work, is_online=False)


def _invites(args: argparse.Namespace, out: Out) -> None:
    async def work(client: Client) -> None:
        invites = client.invites()
        out.result(
            [one._asdict() for one in invites],
            "\n".join(
                f"{one.id}  made {_clock(one.made_at)}, expires {_clock(one.expires_at)}"
                f"{'  nobody can use it: its relay is gone' if one.is_lost else ''}"
                for one in invites
            ),
        )

    _with_client(args, work, is_online=False)


def _draw(link: str, file: Path | None) -> None:
    """Draw a QR code into a file, or on the terminal if there is one."""
    code = segno.make(link, error="l", micro=False)
    if file is not None:
        try:
            code.save(str(file), scale=4)
        except OSError as error:
            raise BadArgument(f"{file}: {error.strerror}") from None
    elif sys.stderr is not None and sys.stderr.isatty():
        code.terminal(out=sys.stderr, compact=True)


def _accept(args: argparse.Namespace, out: Out) -> None:
    link = _input(args, args.file, "invite: ")

    async def work(client: Client) -> None:
        await _catch_up(args, out, client)
        known = len(client.contacts())
        name = client.accept(link, args.greeting)
        await _flush(args, out, client)
        met = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(args.wait):
                while not (met := len(client.contacts()) > known) and not client.status().warnings:
                    await client.changed()
        await _warn(client, out)
        out.result(
            {"inviter": name, "met": met},
            f"{shown(name)} has let you in"
            if met
            else f"you knocked; {shown(name)} has yet to come online",
        )

    _with_client(args, work)


def _contacts(args: argparse.Namespace, out: Out) -> None:
    async def work(client: Client) -> None:
        await _catch_up(args, out, client)
        contacts = [(one, client.view(one.conversation)) for one in client.contacts()]
        out.result(
            [
                {
                    "name": c.name,
                    "id": c.id,
                    "verified": c.is_verified,
                    "blocked": c.is_blocked,
                    **_places(view),
                }
                for c, view in contacts
            ],
            "\n".join(
                f"{shown(c.name)}  {c.id}{'  verified' if c.is_verified else ''}"
                f"{'  blocked' if c.is_blocked else ''}  {_place(view)}"
                for c, view in contacts
            ),
        )

    _with_client(args, work)


def _verify(args: argparse.Namespace, out: Out) -> None:
    args.is_question = not (args.confirm or args.withdraw)

    async def work(client: Client) -> None:
        number = client.safety_number(args.name)
        if args.confirm or args.withdraw:
            client.set_verified(args.name, is_verified=args.confirm)
        contact = client.contact(args.name)
        state = "verified" if contact.is_verified else "not verified"
        out.result(
            {"name": contact.name, "safety_number": number, "verified": contact.is_verified},
            f"{number}\n{shown(contact.name)}: {state}",
        )
        if not contact.is_verified:
            out.note(f"if {shown(contact.name)} sees the same number, say so with --confirm")

    _with_client(args, work, is_online=False)


# Messages


def _send(args: argparse.Namespace, out: Out) -> None:
    text = _input(args, None, "message: ").rstrip("\n")

    async def work(client: Client) -> None:
        await _catch_up(args, out, client)
        conversation = client.conversation(args.to)
        row = client.send(conversation.gid, text, reply_to=args.reply_to)
        await _flush(args, out, client)
        message = next(m for m in client.messages(conversation.gid) if m.row == row)
        out.result({"to": conversation.name, "id": message.id, "state": message.state}, "")
        if message.state == "queued" and not client.status().period:
            out.note("a relay has no room now; what you wrote is kept and goes out later")
        _note_waiting(client, conversation.gid, out)

    _with_client(args, work)


def _change(
    args: argparse.Namespace, out: Out, change: Callable[[Client, bytes], dict[str, object]]
) -> None:
    """Do something with messages of a conversation and bring it to the relay."""

    async def work(client: Client) -> None:
        await _catch_up(args, out, client)
        conversation = client.conversation(args.to)
        value = change(client, conversation.gid)
        await _flush(args, out, client)
        out.result({"to": conversation.name, **value}, "")
        _note_waiting(client, conversation.gid, out)

    _with_client(args, work)


def _note_waiting(client: Client, gid: bytes, out: Out) -> None:
    if client.view(gid).state == "astray":
        out.note(
            "this conversation is being joined again; what you say in it is kept, and goes out by"
            " itself once that is done"
        )


def _edit(args: argparse.Namespace, out: Out) -> None:
    text = _input(args, None, "message: ").rstrip("\n")

    def change(client: Client, gid: bytes) -> dict[str, object]:
        client.edit(gid, args.id, text)
        return {"id": client.message(gid, args.id).id}

    _change(args, out, change)


def _react(args: argparse.Namespace, out: Out) -> None:
    emoji = "" if args.withdraw else _input(args, None, "reaction: ").strip()
    if not emoji and not args.withdraw:
        raise BadArgument("to take a reaction back, use --withdraw")

    def change(client: Client, gid: bytes) -> dict[str, object]:
        client.react(gid, args.id, emoji)
        message = client.message(gid, args.id)
        return {"id": message.id, "reactions": message.reactions}

    _change(args, out, change)


def _delete(args: argparse.Namespace, out: Out) -> None:
    def change(client: Client, gid: bytes) -> dict[str, object]:
        ids = [client.message(gid, one).id for one in args.ids]
        client.delete(gid, ids, for_everyone=not args.only_here)
        return {"ids": ids}

    _change(args, out, change)


def _timer(args: argparse.Namespace, out: Out) -> None:
    args.is_question = args.life is None

    async def work(client: Client) -> None:
        await _catch_up(args, out, client)
        view = client.conversation(args.to)
        if args.life is not None:
            client.set_timer(view.gid, args.life)
            await _flush(args, out, client)
        life_s = client.view(view.gid).timer
        out.result(
            {"name": view.name, "timer": life_s},
            f"{shown(view.name)}: new texts "
            + (f"disappear after {_span(life_s)}" if life_s else "stay"),
        )

    _with_client(args, work)


UNITS_S = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
"""Spans of time as `timer` takes them, in seconds."""


def _span(seconds: int) -> str:
    unit = next(unit for unit, length in UNITS_S.items() if seconds % length == 0)
    return f"{seconds // UNITS_S[unit]}{unit}"


def _block(args: argparse.Namespace, out: Out) -> None:
    _set_blocked(args, out, is_blocked=True)


def _unblock(args: argparse.Namespace, out: Out) -> None:
    _set_blocked(args, out, is_blocked=False)


def _set_blocked(args: argparse.Namespace, out: Out, *, is_blocked: bool) -> None:
    async def work(client: Client) -> None:
        (client.block if is_blocked else client.unblock)(args.name)
        contact = client.contact(args.name)
        out.result({"name": contact.name, "blocked": contact.is_blocked}, "")

    _with_client(args, work, is_online=False)


def _read(args: argparse.Namespace, out: Out) -> None:
    async def work(client: Client) -> None:
        events = client.events()
        await _catch_up(args, out, client)
        only = client.conversation(args.of).gid if args.of else None
        await _warn(client, out)
        for offer in client.offers():
            out.note(f"{_offer_text(offer)}: see `amanat group accept` and `amanat group decline`")
        newest = await _show_unread(client, only, out, everything=args.all)
        for view in client.conversations():
            if view.hidden and (only == view.gid or args.all):
                name, count = shown(view.name), view.hidden
                out.note(f"{name}: texts of blocked people that were not kept: {count}")
        if args.follow:
            async for event in events:
                if not isinstance(event, TextArrived) or event.row > newest:
                    await _show_event(client, event, only, out)

    _with_client(args, work)


async def _show_unread(client: Client, only: bytes | None, out: Out, *, everything: bool) -> int:
    """Show what is new, of one conversation or of all, and keep that it is read; its last row."""
    seen: set[int] = set()
    while new := [
        (message, view)
        for message, view in client.unread(only, everything=everything)
        if message.row not in seen
    ]:
        for message, view in new:
            _show(message, view, out)
            await out.need_shown()
            seen.add(message.row)
        everything = False  # what has come meanwhile
    client.mark_read(only)
    return max(seen, default=0)


def _show(message: Message, view: ConversationView, out: Out) -> None:
    where = "" if view.is_direct else f" in {shown(view.name)}"
    reply = message.reply_to
    lines = [
        f"{_clock(message.sent_at)}  {message.id[:SHOWN_DIGITS]}  {shown(message.sender)}{where}: "
        + ("(deleted)" if message.is_deleted else block(message.text))
        + ("  (edited)" if message.is_edited else "")
    ]
    if reply is not None:
        quoted = shown(reply.text.split("\n")[0][:QUOTED_CHARS]) if reply.text else "(deleted)"
        who = f"{shown(reply.sender)}: {quoted}" if reply.sender else "something that is not here"
        lines.append(f"    in answer to {reply.id[:SHOWN_DIGITS]}  {who}")
    if message.reactions:
        each = (f"{shown(e)} {shown(name)}" for name, e in sorted(message.reactions.items()))
        lines.append(f"    {', '.join(each)}")
    if message.expires_at is not None:
        lines.append(f"    disappears {_clock(message.expires_at)} at the latest")
    out.result(
        {
            "conversation": view.name,
            "conversation_id": view.id,
            "id": message.id,
            "sender": message.sender,
            "own": message.is_own,
            "text": message.text,
            "reply_to": None if reply is None else reply.id,
            "edited": message.is_edited,
            "deleted": message.is_deleted,
            "reactions": message.reactions,
            "sent_at": message.sent_at,
            "kept_at": message.kept_at,
            "expires_at": message.expires_at,
            "state": message.state,
        },
        "\n".join(lines),
    )


def _clock(unix_ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(unix_ms / 1000))


async def _show_event(client: Client, event: Event, only: bytes | None, out: Out) -> None:
    match event:
        case TextArrived(gid, row) | MessageChanged(gid, row) if only in (None, gid):
            view = client.view(gid)
            for message in client.messages(gid, after=row - 1):
                if message.row == row and not (isinstance(event, TextArrived) and message.is_own):
                    _show(message, view, out)
            await out.need_shown()
            # What has come meanwhile has its own event, and is not read before that.
            if all(other.row <= row for other, _ in client.unread(gid)):
                client.mark_read(gid)
        case Joined(gid):
            out.note(
                f"you are in a conversation with {', '.join(map(shown, client.view(gid).people))}"
            )
        case Offered(gid, by):
            for offer in client.offers():
                if (offer.gid, offer.by) == (gid, by):
                    out.note(_offer_text(offer))
        case Removed(gid):
            out.note(f"you are no longer in {shown(client.view(gid).name)}")
        case Warned():
            await _warn(client, out)


def _warning_text(one: WarningView) -> str:
    about = [shown(each) for each in (one.whom, one.detail) if each]
    if one.code == IdentityChanged.code:
        about = [f"{shown(one.whom)} is not the {shown(one.detail)} you know"]
    elif one.conversation:
        about.append(f"in {shown(one.conversation)}")
    about += [f"{one.many} times"] if one.many > 1 else []
    return BY_CODE[one.code].text + (f" ({', '.join(about)})" if about else "")


async def _warn(client: Client, out: Out) -> None:
    """Show warnings, once."""
    warnings = client.status().warnings
    for one in warnings:
        out.note(f"warning: {one.code}: {_warning_text(one)}")
    whole = await out.shown()
    if whole.notes and warnings == client.status().warnings:
        client.clear_warnings()


# Groups


def _group(
    args: argparse.Namespace,
    out: Out,
    change: Callable[[Client, ConversationView], None],
    asked: list[str] | None = None,
) -> None:
    """Change a group, bring the change to the relay, and show the group."""

    async def work(client: Client) -> None:
        await _catch_up(args, out, client)
        view = client.group(args.name)
        change(client, view)
        await _flush(args, out, client)
        _show_group(client.view(view.gid), out)
        _note_absent(client, view.gid, asked or [], out)

    _with_client(args, work)


def _note_absent(client: Client, gid: bytes, people: list[str], out: Out) -> None:
    """Say who is asked into a group and not in it yet."""
    waiting = set(client.wished(gid))
    for person in people:
        if client.contact(person).identity in waiting:
            out.note(f"{shown(person)} will be in the group once they have been online")


def _group_create(args: argparse.Namespace, out: Out) -> None:
    async def work(client: Client) -> None:
        await _catch_up(args, out, client)
        view = client.create_group(args.name, args.people)
        await _flush(args, out, client)
        _show_group(client.view(view.gid), out)
        _note_absent(client, view.gid, args.people, out)

    _with_client(args, work)


def _group_add(args: argparse.Namespace, out: Out) -> None:
    _group(args, out, lambda client, view: client.add(view.gid, args.people), args.people)


def _group_remove(args: argparse.Namespace, out: Out) -> None:
    def change(client: Client, view: ConversationView) -> None:
        for person in args.people:
            client.remove(view.gid, person)

    _group(args, out, change)


def _group_leave(args: argparse.Namespace, out: Out) -> None:
    def change(client: Client, view: ConversationView) -> None:
        if args.block:
            out.note(f"{shown(client.leave_and_block(view.gid).name)} is blocked")
        else:
            client.leave(view.gid)

    _group(args, out, change)


def _group_adds(args: argparse.Namespace, out: Out) -> None:
    async def work(client: Client) -> None:
        if args.adds is not None:
            client.set_adds(args.adds)
        means = {
            JOIN: "when a contact adds you to a group, you are in it",
            ASK: "when a contact adds you to a group, you are asked: see `amanat group offers`",
        }
        out.result({"adds": client.adds}, means[client.adds])

    _with_client(args, work, is_online=False)


def _group_offers(args: argparse.Namespace, out: Out) -> None:
    async def work(client: Client) -> None:
        await _catch_up(args, out, client)
        offers = client.offers()
        out.result([_offer_value(one) for one in offers], "\n".join(map(_offer_text, offers)))

    _with_client(args, work)


def _offer_value(one: GroupOffer) -> dict[str, object]:
    return {
        "id": one.id,
        "name": one.name,
        "by": one.by_name,
        "asked_at": one.asked_at,
        "expires_at": one.expires_at,
    }


def _offer_text(one: GroupOffer) -> str:
    return (
        f"{one.id}  {shown(one.by_name)} asks you into what they call {shown(one.name)};"
        f" until {_clock(one.expires_at)}"
    )


def _group_accept(args: argparse.Namespace, out: Out) -> None:
    async def work(client: Client) -> None:
        await _catch_up(args, out, client)
        offer = client.accept_offer(args.offer)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(args.wait):
                while client.is_joining(offer.gid):
                    await client.changed()
        await _warn(client, out)
        if client.is_joining(offer.gid):
            out.note("you will be in it once its Welcome can be had")
        out.result(_offer_value(offer), "")

    _with_client(args, work)


def _group_decline(args: argparse.Namespace, out: Out) -> None:
    async def work(client: Client) -> None:
        await _catch_up(args, out, client)
        offer = client.decline_offer(args.offer, is_blocked=args.block)
        await _flush(args, out, client)
        out.result(_offer_value(offer), "")

    _with_client(args, work)


def _group_rename(args: argparse.Namespace, out: Out) -> None:
    _group(args, out, lambda client, view: client.rename(view.gid, args.new))


def _group_admin(args: argparse.Namespace, out: Out) -> None:
    _group(
        args,
        out,
        lambda client, view: client.set_admin(view.gid, args.person, is_admin=not args.withdraw),
    )


def _group_roles(args: argparse.Namespace, out: Out) -> None:
    given = {f"may_{deed}": getattr(args, deed) for deed in ("add", "remove", "rename")}
    roles = {role: who for role, who in given.items() if who is not None}
    if not roles:
        raise BadArgument("say who may: --add, --remove or --rename, for admins or members")
    _group(args, out, lambda client, view: client.set_roles(view.gid, roles))


def _group_rejoin(args: argparse.Namespace, out: Out) -> None:
    async def work(client: Client) -> None:
        await _catch_up(args, out, client)
        view = client.group(args.name)
        helps = [h for h in client.rejoinable(view.gid) if args.of in (None, h.helper)]
        if args.yes:
            if not helps:
                raise UnknownHelp
            if len(helps) > 1:
                raise BadArgument("several people help: say whose help, with --of")
            client.rejoin(view.gid, helps[0].helper)
            await _flush(args, out, client)
        out.result([one._asdict() for one in helps], "\n".join(map(_unproven_text, helps)))
        if not helps:
            out.note("nobody has helped with a state of this group to join")

    _with_client(args, work)


def _unproven_text(one: UnprovenView) -> str:
    parts = [
        f"{what}: {', '.join(map(shown, names))}"
        for what, names in (
            ("came", one.came),
            ("went", one.went),
            ("admins now", one.admins),
            ("no admins any more", one.no_admins),
            ("its name", [one.name] if one.name is not None else []),
        )
        if names
    ]
    told = "; ".join(parts) or "the same people and admins"
    return f"{shown(one.helper)} helps, signed by {shown(one.signer)}: {told}"


def _group_list(args: argparse.Namespace, out: Out) -> None:
    async def work(client: Client) -> None:
        await _catch_up(args, out, client)
        groups = [view for view in client.conversations() if not view.is_direct]
        out.result([_group_value(view) for view in groups], "\n".join(map(_group_text, groups)))

    _with_client(args, work)


def _show_group(view: ConversationView, out: Out) -> None:
    out.result(_group_value(view), _group_text(view))


def _group_value(view: ConversationView) -> dict[str, object]:
    return {
        "name": view.name,
        "id": view.id,
        "state": view.state,
        "people": view.people,
        "admins": view.admins,
        "roles": view.roles,
        **_places(view),
        "epoch": view.epoch,
        "timer": view.timer,
        "hidden": view.hidden,
        "added_by": view.added_by,
    }


def _group_text(view: ConversationView) -> str:
    state = "" if view.state == "active" else f"  ({view.state})"
    people = ", ".join(map(shown, view.people))
    return f"{shown(view.name)}  {view.id}{state}  {_place(view)}: {people}"


def _places(view: ConversationView) -> dict[str, object]:
    return {
        "region": view.region,
        "inbound_region": view.inbound_region,
        "outbound_regions": view.outbound_regions,
        "outbound": view.outbound,
        "outbound_why": view.outbound_why,
        "held_by": view.held_by,
    }


def _place(view: ConversationView) -> str:
    """Where a conversation's data rests, and so under whose law."""
    held = f", but for the words of {', '.join(map(shown, view.held_by))}, held at their home"
    return (
        f"{view.outbound_why}; what is said to you in {view.inbound_region}"
        f"{held if view.held_by else ''}; who is in it in {view.region}"
    )


# Standing


def _status(args: argparse.Namespace, out: Out) -> None:
    async def work(client: Client) -> None:
        await _catch_up(args, out, client)
        with contextlib.suppress(RelayUnreachable):
            await _flush(args, out, client)
        await _look_back(args, client)
        status = client.status()
        out.result(
            {
                **status._asdict(),
                **_rest_value(status),
                "missing": [one._asdict() for one in status.missing],
                "warnings": [one._asdict() for one in status.warnings],
            },
            f"{status.name}  {status.identity}\n"
            f"{_rest_text(status)}"
            f"{_troubles(status)}"
            f"transport: {status.transport}: {status.means}\n"
            f"{_ways(status)}"
            f"contacts: {status.contacts}, conversations: {status.conversations},"
            f" requests waiting to leave: {status.outbox}",
        )
        await _warn(client, out)

    _with_client(args, work)


def _ways(status: Status) -> str:
    lines = [f"hop: {status.hop}"] if status.hop else [f"no hop: {status.why}"]
    lines += [f"{HopAway.text}: {HopAway.hint}"] if status.is_hop_away else []
    lines += [f"sees your network address now: {relay}" for relay in status.exposed]
    return "".join(f"{line}\n" for line in lines)


def _troubles(status: Status) -> str:
    lines = [f"cannot be reached now: {relay}" for relay in status.away]
    lines += [
        f"missing: {one.many} of {shown(one.sender)} in {shown(one.conversation)};"
        " they are asked to send it again"
        for one in status.missing
    ]
    return "".join(f"{line}\n" for line in lines)


def _doctor(args: argparse.Namespace, out: Out) -> None:
    checks: list[tuple[str, bool, str]] = []

    async def look(client: Client) -> int:
        checks.append(("profile", True, str(args.profile)))
        damage = client.check_vault()
        checks.append(("vault", not damage, damage or "every page is whole"))
        if args.hand_over is None:  # a damaged vault is not to be written to before
            client.start()
        try:
            await _caught_up(args, client)
            checks.append(("relay", True, client.status().relay))
        except AmanatError as error:
            checks.append(("relay", False, str(error)))
        return _tell_checks(checks, out)

    try:
        _with_client(args, look, is_online=False)
    except AmanatError as error:
        checks.append(("profile", False, f"{error}"))
        sys.exit(_tell_checks(checks, out))


def _tell_checks(checks: list[tuple[str, bool, str]], out: Out) -> int:
    """Tell what was found; the exit status."""
    out.result(
        [{"check": name, "ok": good, "detail": detail} for name, good, detail in checks],
        "\n".join(
            f"{'ok  ' if good else 'FAIL'} {name}: {detail}" for name, good, detail in checks
        ),
    )
    return 0 if all(good for _, good, _ in checks) else 1


# The background


def _run(args: argparse.Namespace, out: Out) -> None:
    if args.unit:
        text = _unit(args.profile)
        out.result({"unit": text}, text.rstrip("\n"))
        return
    line = background.reach(args.profile)
    if line is not None:
        line.close()
        raise ProfileInUse(str(args.profile))  # rather than ask for a passphrase first
    unlock = _unlock(args)

    async def run() -> None:
        async with Client.open(args.profile, unlock) as client:
            loop = asyncio.get_running_loop()
            over: asyncio.Future[None] = loop.create_future()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, over.cancel)
            perform = functools.partial(_perform, client, over)
            async with background.listening(args.profile, perform):
                profile = str(args.profile.absolute())
                out.result({"running": True, "profile": profile}, f"running for {profile}")
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.gather(_stay(client), over)

    uvloop.run(run())


async def _stay(client: Client) -> None:
    """Last until the client is stopped; raises what stops it."""
    async for _ in client.events():
        pass


async def _perform(
    client: Client,
    over: asyncio.Future[None],
    command: background.Command,
    front: background.Front,
) -> int:
    """Do a front's command with the client that is open; its exit status. With an error after which
    only a new process can be trusted, `over` ends."""
    try:  # the front has parsed these words: whoever says others is none of ours
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            args = _parser().parse_args(command.words)
    except SystemExit:
        raise MalformedFrame from None
    if args.run in (_init, _run, _relay_init, _relay_run, _drill, _replay):
        raise MalformedFrame  # these are nothing for a client
    works: list[Work] = []
    args.given, args.hand_over = Given(command.given), works.append
    out = Out(is_json=args.json, say=front.say, shown=front.shown)
    ending = Ending()
    with _ending(args, out, ending):
        args.run(args, out)
        for work in works:
            ending.status = await work(client) or 0
    if isinstance(ending.error, EngineFailed | VaultDamaged) and not over.done():
        over.set_exception(ending.error)
    return ending.status


def _unit(directory: Path) -> str:
    """A systemd user unit for a profile. Raises NoProfile, or BadArgument if it cannot start by
    itself."""
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


# The relay


def _relay_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    relay = commands.add_parser("relay", help="run a relay").add_subparsers(
        required=True, metavar="ACTION"
    )
    init = _command(relay, "init", _relay_init, "make a relay")
    init.add_argument("directory", type=Path, help="where it keeps its data")
    init.add_argument("--region", required=True, help="where the data rests: IR, DE, EU, ...")
    init.add_argument("--operator", required=True, help="who runs it, as people read it")
    init.add_argument("--host", default="127.0.0.1", help="the name or address people reach it by")
    init.add_argument("--port", type=int, default=8443)
    init.add_argument("--buckets", type=int, default=1, help="one for each 32 people")
    init.add_argument("--access", choices=("open", "code"), default="open")
    init.add_argument(
        "--hop", choices=("off", "listed", "open"), default="off", help="to which relays it goes"
    )
    init.add_argument(
        "--hop-to", action="append", default=[], metavar="ADDRESS", help="one of those listed"
    )
    run = _command(relay, "run", _relay_run, "run a relay until it is told to stop")
    run.add_argument("directory", type=Path)


def _region_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    region = commands.add_parser("region", help="see where data rests").add_subparsers(
        required=True, metavar="ACTION"
    )
    witness = _command(
        region, "witness", _region_witness, "sign how a relay's ledger stands", is_question=True
    )
    witness.add_argument("directory", type=Path, help="where the witness keeps what it has signed")
    witness.add_argument("relay", metavar="ADDRESS")
    witness.add_argument("--name", default="", help="of a new witness, such as example.org/witness")
    notice = _command(region, "notice", _region_notice, "tell people that a relay is to move")
    notice.add_argument("directory", type=Path, help="of the relay")
    notice.add_argument("--to", metavar="ADDRESS", help="the relay where everything is to rest")
    notice.add_argument("--on", metavar="YYYY-MM-DD", help="the first day on which anything moves")
    notice.add_argument("--reason", default="", help="as people read it")
    notice.add_argument("--withdraw", action="store_true", help="announce no move any more")
    move = _command(region, "move", _region_move, "move everything to another relay, live")
    move.add_argument("directory", type=Path, help="of the relay, which is running")
    move.add_argument("--to", metavar="ADDRESS", help="the relay of the notice")
    move.add_argument(
        "--rate", type=int, default=0, metavar="BYTES", help="at most so many a second"
    )
    move.add_argument("--resume", action="store_true", help="go on with the move under way")
    move.add_argument("--abandon", action="store_true", help="undo it, if nothing has gone yet")
    audit = _command(
        region, "audit", _region_audit, "see what rests at a relay, and report", is_question=True
    )
    audit.add_argument("directory", type=Path, nargs="?", help="of the relay, running or not")
    audit.add_argument("--out", type=Path, metavar="DIR", help="write report.json and index.html")
    audit.add_argument("--checkpoint", type=Path, metavar="FILE", help="one of its ledger's, kept")
    audit.add_argument("--verify", type=Path, metavar="FILE", help="check a report instead")
    audit.add_argument("--relay", metavar="ADDRESS", help="with --verify: whose report it must be")
    verify = _command(
        region, "verify", _region_verify, "check a move certificate", is_question=True
    )
    verify.add_argument("file", type=Path)


def _region_witness(args: argparse.Namespace, out: Out) -> None:
    from amanat.region.witness import Witness  # noqa: PLC0415  # a client never loads the relay

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


def _region_notice(args: argparse.Namespace, out: Out) -> None:
    from amanat.region import notice  # noqa: PLC0415  # a client never loads the relay
    from amanat.relay.home import Home, write_notice  # noqa: PLC0415

    if args.withdraw:
        Home.open(args.directory)
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
        "on": _date(made.on),
        "decide_by": _date(made.decide_by),
        "reason": made.reason,
    }
    out.result(
        value,
        f"people are told that everything moves to {made.region} on {value['on']}; who leaves by"
        f" {value['decide_by']} has nothing left here then",
    )


def _utc_day(text: str) -> int:
    """The UTC day, from 1970 on, of a date. Raises BadArgument."""
    try:
        return (date.fromisoformat(text) - date(1970, 1, 1)).days
    except ValueError:
        raise BadArgument(f"{text!r} is not a date such as 2027-01-31") from None


def _date(day: int) -> str:
    return (date(1970, 1, 1) + timedelta(days=day)).isoformat()


def _region_move(args: argparse.Namespace, out: Out) -> None:
    from amanat.region.mover import Mover  # noqa: PLC0415  # a client never loads the relay

    to = None if args.to is None else parse_address(args.to)
    with (
        _move_bar() as progress,
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


@contextlib.contextmanager
def _move_bar() -> Iterator[Callable[[Done], None]]:
    """A bar of the bytes and drops of a move and the time left, on a terminal."""
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn(),
        console=console, disable=not console.is_terminal,
    ) as bar:  # fmt: skip
        task = bar.add_task("copy", total=None)
        yield lambda done: bar.update(
            task,
            description=f"{done.phase} ({done.drops} of {done.drops_total} drops have moved)",
            completed=done.bytes,
            total=done.bytes_total,
        )


def _region_audit(args: argparse.Namespace, out: Out) -> None:
    from amanat.region import audit, page  # noqa: PLC0415  # a client never loads the relay
    from amanat.relay.home import Home  # noqa: PLC0415

    if args.verify is not None:
        key = parse_address(args.relay).key if args.relay else b""
        report = audit.open_report(_read_whole(args.verify, audit.MAX_REPORT_BYTES), key)
        _show_audit(out, report)
        return
    if args.directory is None:
        raise BadArgument("name the relay's directory, or --verify a report")
    if args.out is not None and args.out.exists() and any(args.out.iterdir()):
        raise ReportExists(str(args.out))
    older = b"" if args.checkpoint is None else _read_file(args.checkpoint)
    with _bars(["drops"]) as progress:
        walk = audit.Audit(
            args.directory,
            now=time.time(),
            progress=lambda done, total: progress("drops", done, total),
        )
        report = walk.run(older)
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        signed = audit.sign_report(report, Home.open(args.directory))
        (args.out / "report.json").write_bytes(signed)
        (args.out / "index.html").write_text(page.page(report), encoding="utf-8")
    _show_audit(out, report)


def _show_audit(out: Out, report: Report) -> None:
    lines = [f"{one.kind}: {one.count} ({', '.join(one.examples)})" for one in report.findings]
    rest = f"{report.drops} drops with {report.cells} cells rest in {report.region}"
    kinds = f"{len(report.findings) or 'no'} kinds of findings"
    lines += [f"{rest}, with {shown(report.operator)}; {kinds}"]
    lines += ["no audit shows that nobody has a copy"]
    out.result(json.loads(msgspec.json.encode(report)), "\n".join(lines))
    if report.findings:
        sys.exit(1)


def _region_verify(args: argparse.Namespace, out: Out) -> None:
    from amanat.protocol.moving import open_certificate  # noqa: PLC0415  # for operators and auditors

    order, statement, certificate = open_certificate(_read_file(args.file))
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


def _relay_init(args: argparse.Namespace, out: Out) -> None:
    from amanat.config import HopConfig, RelayConfig  # noqa: PLC0415  # a client never loads the relay
    from amanat.relay import home  # noqa: PLC0415

    made = home.init(
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


def _relay_run(args: argparse.Namespace, out: Out) -> None:
    from amanat.relay import server  # noqa: PLC0415  # a client never loads the relay

    server.run(
        args.directory,
        ready=lambda address: out.result({"address": str(address)}, str(address)),
    )


# Replay


def _replay_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    replay = _command(commands, "replay", _replay, "replay a trace of real people")
    replay.add_argument("--trace", type=Path, help="default: the packaged CollegeMsg network")
    replay.add_argument("--format", choices=("edges", "irc"), default="edges")
    replay.add_argument("--people", type=int, help="only the busiest N people")
    replay.add_argument("--messages", type=int, help="only the first M messages among them")
    replay.add_argument("--processes", type=int, default=2, help="worker processes")
    replay.add_argument(
        "--kills", type=int, default=0, help="SIGKILL the relay or a worker this many times"
    )
    replay.add_argument("--keep", type=Path, metavar="DIR", help="leave everything in DIR")


def _demo_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    demo = commands.add_parser("demo", help="see it work on this machine").add_subparsers(
        required=True, metavar="WHAT"
    )
    residency = _command(
        demo, "residency", _demo_residency, "a region's data moves while its people talk"
    )
    residency.add_argument("--people", type=int, default=200)
    residency.add_argument("--messages", type=int, default=4000)
    residency.add_argument("--leavers", type=int, default=20, help="how many leave instead")
    residency.add_argument("--processes", type=int, default=2, help="worker processes")


@contextlib.contextmanager
def _bars(phases: Iterable[str]) -> Iterator[Callable[[str, int, int], None]]:
    """Bars for the phases of long work, on a terminal; to be told (phase, done, total)."""
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=console, disable=not console.is_terminal,
    ) as bar:  # fmt: skip
        tasks = {name: bar.add_task(name, total=None) for name in phases}
        yield lambda phase, done, total: bar.update(tasks[phase], completed=done, total=total)


def _drill_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    drill = _command(commands, "drill", _drill, "attack our own and others' servers, and report")
    drill.add_argument("--trace", type=Path, help="default: the packaged CollegeMsg network")
    drill.add_argument("--format", choices=("edges", "irc"), default="edges")
    drill.add_argument("--people", type=int, default=300, help="how many of the busiest")
    drill.add_argument("--days", type=int, default=30, help="how long a window of the trace")
    drill.add_argument("--seeds", type=int, default=20, help="fewer than 20 are said to be few")
    drill.add_argument("--attacks", default="all", metavar="A,B", help="default: all")
    drill.add_argument("--designs", default="all", metavar="A,B", help="default: all")
    drill.add_argument("--processes", type=int, default=2, help="worker processes")
    drill.add_argument("--report", type=Path, default=Path("report"), metavar="DIR")
    drill.add_argument(
        "--real",
        type=int,
        nargs="?",
        const=3000,
        default=0,
        metavar="MESSAGES",
        help="attack real servers too, loaded with so many messages (3000); see `make real`",
    )


def _drill(args: argparse.Namespace, out: Out) -> None:
    from amanat.drill import drill  # noqa: PLC0415  # loads scikit-learn, which others need not
    from amanat.drill.designs import DESIGNS  # noqa: PLC0415

    settings = drill.Settings(
        trace=None if args.trace is None else str(args.trace),
        form=args.format,
        people=args.people,
        days=args.days,
        seeds=args.seeds,
        attacks=drill.ATTACKS if args.attacks == "all" else tuple(args.attacks.split(",")),
        designs=DESIGNS if args.designs == "all" else tuple(args.designs.split(",")),
        real=args.real,
    )
    with _bars((*drill.PHASES, drill.REAL) if args.real else drill.PHASES) as progress:
        report = drill.run(
            settings,
            args.report,
            processes=args.processes,
            progress=progress,
        )
    if args.seeds < drill.LEAST_SEEDS:
        out.note(
            f"{args.seeds} seeds are few: intervals mean something from {drill.LEAST_SEEDS} on"
        )
    told = [one for one in report.results if one.design not in DESIGNS or one.design == "amanat"]
    lines = [
        f"{one.verdict:6} {one.attack:12} {one.mode or one.design:8} {one.metric:36}"
        f" {one.value:10.4g}" + (f"  base {one.base:.4g}" if one.base is not None else "")
        for verdict in ("fails", "holds", "shown")
        for one in told
        if one.verdict == verdict
    ]
    out.result(msgspec.to_builtins(report), "\n".join(lines))
    out.note(f"the report is {args.report / 'index.html'}")


def _replay(args: argparse.Namespace, out: Out) -> None:
    from amanat.drill.replay import replay  # noqa: PLC0415  # loads numpy, which others need not
    from amanat.drill.traces import read_trace  # noqa: PLC0415

    script = read_trace(args.trace, args.format, people=args.people, messages=args.messages)
    with _bars(("people", "messages")) as progress:
        report = replay(
            script,
            processes=args.processes,
            kills=args.kills,
            keep=args.keep,
            progress=progress,
        )
    value = report._asdict() | {"plaintext_hits": [hit._asdict() for hit in report.plaintext_hits]}
    saw = (
        f"What the relay saw: {report.relay_disk_bytes:,} bytes of equal-looking cells. In all that"
        f" it wrote, read as UTF-8, UTF-16, hex and base64, {report.relay_plaintext_hits} texts of"
        f" {report.messages_in} were found."
    )
    out.result(value, "\n".join([*(f"{key:24}{found}" for key, found in value.items()), "", saw]))
    if not report.is_clean:
        sys.exit(1)


def _demo_residency(args: argparse.Namespace, out: Out) -> None:
    from amanat import demo  # noqa: PLC0415  # loads relays, which a client does not
    from amanat.drill.traces import read_trace  # noqa: PLC0415

    script = read_trace(None, "edges", people=args.people, messages=args.messages)
    with _bars(("people", "messages")) as progress:
        report = demo.residency(
            script, leavers=args.leavers, processes=args.processes, progress=progress
        )
    value = report._asdict()
    out.result(value, "\n".join(f"{key:20}{found}" for key, found in value.items()))
    if not report.is_clean:
        sys.exit(1)
