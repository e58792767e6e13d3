"""Commands about chats of other messengers: importing, showing, exporting and deleting them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from amanat.cli import session, telling, terminal
from amanat.display import shown
from amanat.errors import BadArgument

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from amanat.client.sdk.client import Client
    from amanat.client.sdk.imports import ImportedChat
    from amanat.display import Out
    from amanat.importing.survey import Survey

_SKIPPED = {
    "broken": "cannot be read",
    "unknown": "are of a kind that this program does not know",
    "unsupported": "were left out by the program that wrote the export",
}


def take_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `import`."""
    parser.add_argument("path", metavar="PATH", type=Path, help="the folder, the file or the ZIP")
    parser.add_argument(
        "--preview", action="store_true", help="change nothing, and say what is in it"
    )
    parser.add_argument("--me", metavar="NAME", default="", help="your own name in it")
    parser.add_argument(
        "--without", metavar="TITLE", action="append", default=[],
        help="leave a chat out; for several, say it for each",
    )  # fmt: skip
    parser.add_argument(
        "--zone",
        metavar="ZONE",
        default="",
        help="of times without one, such as Asia/Tehran; else this machine's",
    )
    order = parser.add_mutually_exclusive_group()
    order.add_argument(
        "--day-first", action="store_true", default=None, help="3/4 is the third of April"
    )
    order.add_argument(
        "--month-first", dest="day_first", action="store_false", default=None,
        help="3/4 is the fourth of March",
    )  # fmt: skip


def take(args: argparse.Namespace, out: Out) -> None:
    """Import an export, or say what is in it."""
    from amanat.client.sdk.imports import zone_of

    path = terminal.absolute(args, args.path)
    args.is_question = args.preview
    zone = zone_of(args.zone)

    async def preview(client: Client) -> None:
        found = await client.imports.preview(
            path, zone=zone, day_first=args.day_first, told=_teller(out, "is read")
        )
        out.result(found.as_json(), _survey_text(found))

    async def work(client: Client) -> None:
        done = await client.imports.take(
            path,
            me=args.me,
            without=args.without,
            zone=zone,
            day_first=args.day_first,
            told=_teller(out, "is imported"),
        )
        out.result(
            done.as_json(), f"{done.messages:,} messages are here; `amanat imported` lists them"
        )
        for line in _left(done.skipped, done.cut_off, is_cut=done.is_cut):
            out.note(line)
        if done.left_out:
            out.note(f"left out: {', '.join(shown(one) for one in done.left_out)}")
        for one in done.unknown:
            out.note(f"no chat in it is called {shown(one)}: nothing was left out by this title")
        out.note("names and words are as the export says: nobody has verified them")

    session.with_client(args, preview if args.preview else work, is_online=False)


def _teller(out: Out, deed: str) -> Callable[[int, int], None]:
    """Tells how far an import has got."""
    return lambda done, whole: out.bar(
        0, f"{100 * done // max(whole, 1)} % {deed}", done=done, whole=whole
    )


def _survey_text(found: Survey) -> str:
    """Lines about an export."""
    lines = [
        f"{shown(one.title or one.kind)} ({shown(one.kind)}): {one.messages:,} messages"
        f" of {one.people:,} people"
        + (f", {telling.day(one.first_at)} to {telling.day(one.last_at)}" if one.messages else "")
        + (f"; {one.files:,} files stay behind" if one.files else "")
        for one in found.chats
    ]
    lines += [
        f"not taken: {line}" for line in _left(found.skipped, found.cut_off, is_cut=found.is_cut)
    ]
    if not found.is_zoned:
        lines.append("it does not say in which time zone its times are: say it with --zone")
    if not found.me:
        who = f" (perhaps {shown(found.maybe_me)})" if found.maybe_me else ""
        lines.append(f"it does not say who of them you are{who}: say it with --me")
    lines.append("nothing was changed")
    return "\n".join(lines)


def _left(skipped: dict[str, int], cut_off: str, *, is_cut: bool) -> list[str]:
    """Sentences about what an import leaves."""
    lines = [f"{many:,} messages {_SKIPPED[why]}" for why, many in sorted(skipped.items())]
    if is_cut:
        lines.append(f"the file ends in the middle of {shown(cut_off)}")
    return lines


def imported_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `imported`."""
    parser.add_argument("chat", metavar="N", type=int, nargs="?", help="the number of a chat")
    parser.add_argument("--many", metavar="N", type=int, default=30, help="show at most N messages")
    change = parser.add_mutually_exclusive_group()
    change.add_argument("--export", metavar="FILE", type=Path, help="a new .html or .json file")
    change.add_argument("--delete", action="store_true", help="delete the chat from this vault")
    change.add_argument("--everything", action="store_true", help="delete all imported chats")


def imported(args: argparse.Namespace, out: Out) -> None:
    """List imported chats; show, export or delete one."""
    args.is_question = not (args.export or args.delete or args.everything)
    if args.chat is None and (args.export or args.delete):
        raise BadArgument("give the number of a chat")
    if args.chat is not None and args.everything:
        raise BadArgument("--everything deletes all chats: give no number")
    file = args.export and terminal.absolute(args, args.export)

    async def work(client: Client) -> None:
        from amanat.export import export_imported

        imports = client.imports
        if args.everything:
            chats = [one.id for one in imports.all()]
            imports.delete_all()
            out.result({"deleted": chats}, f"{len(chats)} imported chats are deleted")
        elif args.chat is None:
            chats_now = imports.all()
            out.result([one.as_json() for one in chats_now], "\n".join(map(_chat_text, chats_now)))
        elif args.delete:
            imports.delete(args.chat)
            out.result({"deleted": [args.chat]}, "it is deleted")
        elif file:
            many = export_imported(imports, args.chat, file)
            out.result({"file": str(file), "messages": many}, f"{many} messages are in {file}")
            out.note("it is not encrypted: whoever has the file can read it")
        else:
            for one in imports.last(args.chat, many=args.many):
                out.result(one.as_json(), telling.imported_text(one))
                await out.need_shown()

    session.with_client(args, work, is_online=False)


def _chat_text(one: ImportedChat) -> str:
    """A line about an imported chat."""
    when = f", {telling.day(one.first_at)} to {telling.day(one.last_at)}" if one.messages else ""
    after = f"; it goes on from {one.goes_on_from}" if one.goes_on_from else ""
    return (
        f"{one.id}  {shown(one.title or one.kind)} [imported from {one.app}, unverified]:"
        f" {one.messages:,} messages of {len(one.people):,} people{when}{after}"
    )
