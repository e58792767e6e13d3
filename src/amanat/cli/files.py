"""Commands about files: listing, fetching and saving them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from amanat.cli import carrying, session, telling, terminal
from amanat.cli.words import size
from amanat.errors import BadArgument, FileElsewhere, NoFile
from amanat.protocol.descriptor import b64, unb64

if TYPE_CHECKING:
    from amanat.client.sdk.client import Client
    from amanat.client.sdk.views import ConversationView, Message
    from amanat.display import Out


def _conversation(args: argparse.Namespace, client: Client) -> ConversationView:
    return client.notes().view() if args.notes else client.conversation(args.to)


def list_files_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `files`."""
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("to", metavar="NAME", nargs="?", help="a contact, a group, or an id")
    group.add_argument("--notes", action="store_true", help="your notes to yourself, not NAME")
    change = parser.add_mutually_exclusive_group()
    for what in ("pause", "resume", "cancel"):
        change.add_argument(
            f"--{what}", metavar="N", type=int, help=f"{what} the transfer with this number"
        )
    change.add_argument("--again", metavar="ID", help="ask the sender of a file to put it up again")


def list_files(args: argparse.Namespace, out: Out) -> None:
    """Show the files of a conversation, and change those on their way."""
    changes = {"pause": args.pause, "resume": args.resume, "cancel": args.cancel}
    args.is_question = args.again is None and set(changes.values()) == {None}

    # Nothing may get on while a transfer is stopped.
    is_online = not args.notes and args.pause is None and args.cancel is None

    async def work(client: Client) -> None:
        if is_online:
            await session.catch_up(args, out, client)
        chat = client.chat(_conversation(args, client).gid)
        if args.again is not None:
            if (file := chat.message(args.again).file) is None:
                raise NoFile
            file.ask_again()
            await session.flush(args, out, client)
        under_way = {one.id: one for one in client.files.transfers(chat.gid)}
        for what, number in changes.items():
            if number is None:
                continue
            if number not in under_way:
                raise BadArgument(f"no file with the number {number} is on its way here")
            getattr(client.files, what)(number)
            if what == "resume":
                await carrying.wait(client, number, out, args.wait)
                await session.flush(args, out, client)
        files: list[Message] = []
        while more := chat.files(before=files[-1].position if files else None):
            files += more
        for message in reversed(files):
            assert message.file is not None  # noqa: S101  # for the type checker
            out.result(message.as_json(), telling.file_line(message, message.file))
        for one in client.files.transfers(chat.gid):
            out.result(one.as_json(), f"{one.id}  {carrying.line(one)}")

    session.with_client(args, work, is_online=is_online)


def save_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `save`."""
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("to", metavar="NAME", nargs="?", help="a contact, a group, or an id")
    group.add_argument("--notes", action="store_true", help="your notes to yourself, not NAME")
    parser.add_argument("id", metavar="ID", help="the message, as `read` shows it")
    parser.add_argument("path", metavar="PATH", type=Path, help="a new file, or a directory")
    parser.add_argument(
        "--relay", metavar="KEY", type=_relay, help="fetch it from this relay, if it rests there"
    )


def _relay(text: str) -> bytes:
    """The key of a relay. Raises ArgumentTypeError, which argparse shows to the person."""
    try:
        return unb64(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no key of a relay") from None


def save(args: argparse.Namespace, out: Out) -> None:
    """Fetch the file of a message and write it to a path."""
    path = terminal.absolute(args, args.path)

    async def work(client: Client) -> None:
        if not args.notes:
            await session.catch_up(args, out, client)
        view = _conversation(args, client)
        message = client.chat(view.gid).message(args.id)
        if message.file is None:
            raise NoFile
        try:
            number = client.files.fetch(view.gid, message.id, relay=args.relay)
        except FileElsewhere:
            key, region = b64(message.file.relay), message.file.region
            raise FileElsewhere(f"in {region}; to fetch it there, add --relay={key}") from None
        if number is not None:
            await carrying.wait(client, number, out, args.wait)
        saved = await client.files.save(view.gid, message.id, path)
        out.result({"id": message.id, "file": str(saved), "size": message.file.size}, f"{saved}")

    session.with_client(args, work)


def fetch_rules_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `fetch-rules`."""
    parser.add_argument(
        "--auto",
        metavar="SIZE",
        type=lambda text: -1 if text == "none" else size(text),
        help="fetch files of contacts by themselves up to this size; or none",
    )
    parser.add_argument("--room", metavar="SIZE", type=size, help="keep so much of them at most")


def fetch_rules(args: argparse.Namespace, out: Out) -> None:
    """Show or set which files are fetched by themselves, and how much of them is kept."""

    async def work(client: Client) -> None:
        files = client.files
        if args.auto is not None:
            files.set_auto_bytes(args.auto)
        if args.room is not None:
            files.set_room_bytes(args.room)
        auto = "none" if files.auto_bytes < 0 else f"up to {carrying.size(files.auto_bytes)}"
        out.result(
            {"auto_bytes": files.auto_bytes, "room_bytes": files.room_bytes},
            f"fetched by themselves: files of contacts, {auto}\n"
            f"kept of what was fetched: at most {carrying.size(files.room_bytes)}",
        )

    session.with_client(args, work, is_online=False)
