"""Commands about messages: sending, reading and changing them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, assert_never

from amanat.cli import carrying, session, telling, terminal
from amanat.cli.words import UNITS_S, life
from amanat.display import block, shown
from amanat.errors import BadArgument, UnknownMessage

SHOWN_DIGITS = 8
"""Digits of a message's id to show: few conversations hold two ids that begin alike."""
QUOTED_CHARS = 60
"""Characters to show of the text that a text answers."""

T = TypeVar("T")

if TYPE_CHECKING:
    import argparse
    from collections.abc import Awaitable, Callable

    from amanat.client.events import Event
    from amanat.client.sdk.client import Client
    from amanat.client.sdk.files import Source
    from amanat.client.sdk.views import ConversationView, Message
    from amanat.display import Out
    from amanat.media import Traces


def _conversation_words(
    parser: argparse._ActionsContainer,
    help_: str = "a contact, a group, or an id",
    *,
    metavar: str = "NAME",
) -> None:
    """The arguments that name a conversation."""
    parser.add_argument("to", metavar=metavar, nargs="?", help=help_)
    parser.add_argument(
        "--notes", action="store_true", help=f"your notes to yourself, not {metavar}"
    )


def _conversation(args: argparse.Namespace, client: Client) -> ConversationView:
    """The conversation that the arguments name. Raises BadArgument unless they name one."""
    if args.notes == (args.to is not None):
        raise BadArgument("give a NAME, or --notes for your notes to yourself")
    return client.notes().view() if args.notes else client.conversation(args.to)


def _only(args: argparse.Namespace, client: Client) -> bytes | None:
    """The gid of the conversation that the arguments name; None if they name none, for all."""
    return _conversation(args, client).gid if args.to or args.notes else None


async def _act(
    args: argparse.Namespace, out: Out, client: Client, act: Callable[[Client, bytes], T]
) -> tuple[ConversationView, T]:
    """Act in the conversation that the arguments name, and bring what came of it to the relay;
    nothing of our notes goes there. Returns the conversation, and what `act` returned."""
    if not args.notes:
        await session.catch_up(args, out, client)
    conversation = _conversation(args, client)
    found = act(client, conversation.gid)
    if not args.notes:
        await session.flush(args, out, client)
    return conversation, found


def send_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `send`."""
    _conversation_words(parser.add_mutually_exclusive_group(required=True))
    parser.add_argument("--reply-to", metavar="ID", default="", help="the message that it answers")
    parser.add_argument(
        "--file",
        metavar="PATH",
        type=Path,
        action="append",
        default=[],
        help="send this file, and no text; several make an album",
    )
    parser.add_argument(
        "--caption",
        action="store_true",
        help="with --file: the words beside it, from standard input",
    )
    parser.add_argument(
        "--as-file",
        action="store_true",
        help="with --file: send a picture as it is, with all that it tells",
    )
    parser.add_argument(
        "--voice",
        action="store_true",
        help="with --file: send a recording of Opus, in WebM or Ogg, as a voice note",
    )


def send(args: argparse.Namespace, out: Out) -> None:
    """Send a text, or a file."""
    if args.caption and not args.file:
        raise BadArgument("--caption needs --file")
    if args.as_file and not args.file:
        raise BadArgument("--as-file needs --file")
    if args.voice and not args.file:
        raise BadArgument("--voice needs --file")
    if args.file:
        _send_files(args, out)
        return
    text = terminal.text(args, None, "message: ").rstrip("\n")
    _say(args, out, lambda client, gid: client.chat(gid).send(text, reply_to=args.reply_to))


def _send_files(args: argparse.Namespace, out: Out) -> None:
    """Send files, and wait until they were said. Recordings become voice notes if the person wants
    it. A picture is made anew, unless they want it sent as it is: then they are told what stays in
    it."""
    from amanat import media
    from amanat.media import voice

    files = [terminal.absolute(args, one) for one in args.file]
    text = terminal.text(args, None, "caption: ").rstrip("\n") if args.caption else ""

    async def send(client: Client, gid: bytes) -> list[int]:
        pictures = [one for one in files if media.is_picture(_head(one))]
        made: dict[Path, Source] = {}
        if args.voice:
            pictures = []
            made = {one: voice.voice_note(_recording(one)) for one in files}
        elif not args.as_file:
            made = {one: await media.picture(one) for one in pictures}
        sources = [made.get(one, one) for one in files]
        answered = client.chat(gid).message(args.reply_to).id if args.reply_to else ""
        sent = await client.files.send_album(gid, sources, text=text, reply_to=answered)
        if args.as_file:
            for one in pictures:
                out.note(_told_by(await media.traces(one)))
        return sent

    async def work(client: Client) -> None:
        await _put(args, out, client, send)

    session.with_client(args, work, is_online=not args.notes)


def _head(file: Path) -> bytes:
    """How a file begins; nothing if it cannot be read, which sending it names."""
    try:
        with file.open("rb") as opened:
            return opened.read(16)
    except OSError:
        return b""


def _recording(file: Path) -> bytes:
    """A recording. Of a file that is too long it reads only as much as shows that. Raises
    BadArgument."""
    from amanat.media.voice import MAX_RECORDING_BYTES

    if not file.is_file():
        raise BadArgument(f"{file} is no file")
    with file.open("rb") as opened:
        return opened.read(MAX_RECORDING_BYTES + 1)


def _told_by(traces: Traces) -> str:
    """A line about what a picture tells that was sent as it is."""
    names = {"place": "where it was taken", "time": "when", "camera": "with which camera"}
    found = [said for name, said in names.items() if getattr(traces, name)]
    line = f"the file tells {', '.join(found)}" if found else "no place, time or camera was found"
    return line if traces.read else f"{line}; not all of it could be read, so it may tell more"


async def _put(
    args: argparse.Namespace,
    out: Out,
    client: Client,
    send: Callable[[Client, bytes], Awaitable[list[int]]],
) -> None:
    """Have files sent in the conversation that the arguments name, and wait until they were
    said."""
    if not args.notes:
        await session.catch_up(args, out, client)
    conversation = _conversation(args, client)
    numbers = await send(client, conversation.gid)
    for number in numbers:
        await carrying.wait(client, number, out, args.wait)
    if not args.notes:
        await session.flush(args, out, client)
    messages = client.chat(conversation.gid).messages()
    said = [one for one in messages if one.is_own and one.file][-len(numbers) :]
    results = [{"to": conversation.name, "id": one.id, "state": one.state} for one in said]
    out.result(results if len(results) > 1 else results[0], "")
    _note_waiting(client, conversation.gid, out)


def forward_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `forward`."""
    parser.add_argument("of", metavar="NAME", help="the conversation of the message")
    parser.add_argument("id", metavar="ID", help="the message, as `read` shows it")
    group = parser.add_mutually_exclusive_group(required=True)
    _conversation_words(group, "where to say it: a contact, a group, or an id", metavar="TO")


def forward(args: argparse.Namespace, out: Out) -> None:
    """Say a text again in another conversation."""

    def say(client: Client, gid: bytes) -> int:
        return client.chat(client.conversation(args.of).gid).forward(args.id, gid)

    async def send(client: Client, gid: bytes) -> list[int]:
        return [client.chat(client.conversation(args.of).gid).forward_file(args.id, gid)]

    def is_file(client: Client) -> bool:
        return client.chat(client.conversation(args.of).gid).message(args.id).file is not None

    async def work(client: Client) -> None:
        if is_file(client):
            await _put(args, out, client, send)
        else:
            await _put_text(args, out, client, say)

    session.with_client(args, work, is_online=not args.notes)


def _say(args: argparse.Namespace, out: Out, say: Callable[[Client, bytes], int]) -> None:
    """Say a text in the conversation that the arguments name, and bring it to the relay."""

    async def work(client: Client) -> None:
        await _put_text(args, out, client, say)

    session.with_client(args, work, is_online=not args.notes)


async def _put_text(
    args: argparse.Namespace, out: Out, client: Client, say: Callable[[Client, bytes], int]
) -> None:
    conversation, row = await _act(args, out, client, say)
    message = client.chat(conversation.gid).message_at(row)
    if message is None:  # its life has ended
        raise UnknownMessage
    out.result({"to": conversation.name, "id": message.id, "state": message.state}, "")
    if message.state == "queued" and not client.status().period:
        out.note("a relay has no room now; the client keeps your text and sends it later")
    _note_waiting(client, conversation.gid, out)


def _change(
    args: argparse.Namespace, out: Out, change: Callable[[Client, bytes], dict[str, object]]
) -> None:
    """Change messages of a conversation, and bring the change to the relay."""

    async def work(client: Client) -> None:
        conversation, value = await _act(args, out, client, change)
        out.result({"to": conversation.name, **value}, "")
        _note_waiting(client, conversation.gid, out)

    session.with_client(args, work, is_online=not args.notes)


def _note_waiting(client: Client, gid: bytes, out: Out) -> None:
    if client.chat(gid).view().state == "astray":
        out.note(
            "the client is joining this conversation again; it keeps your texts, and each goes out"
            " by itself once that is done"
        )


def edit_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `edit`."""
    _conversation_words(parser.add_mutually_exclusive_group(required=True))
    parser.add_argument("id", metavar="ID", help="the message, as `read` shows it")


def edit(args: argparse.Namespace, out: Out) -> None:
    """Edit one of the person's own texts."""
    text = terminal.text(args, None, "message: ").rstrip("\n")

    def change(client: Client, gid: bytes) -> dict[str, object]:
        client.chat(gid).edit(args.id, text)
        return {"id": client.chat(gid).message(args.id).id}

    _change(args, out, change)


def react_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `react`."""
    _conversation_words(parser.add_mutually_exclusive_group(required=True))
    parser.add_argument("id", metavar="ID", help="the message, as `read` shows it")
    parser.add_argument("--withdraw", action="store_true", help="withdraw your reaction")


def react(args: argparse.Namespace, out: Out) -> None:
    """React to a text."""
    emoji = "" if args.withdraw else terminal.text(args, None, "reaction: ").strip()
    if not emoji and not args.withdraw:
        raise BadArgument("to take a reaction back, use --withdraw")

    def change(client: Client, gid: bytes) -> dict[str, object]:
        client.chat(gid).react(args.id, emoji)
        message = client.chat(gid).message(args.id)
        return {"id": message.id, "reactions": message.reactions}

    _change(args, out, change)


def export_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `export`."""
    _conversation_words(parser.add_mutually_exclusive_group(required=True))
    parser.add_argument("file", metavar="FILE", type=Path, help="a new .html or .json file")


def export(args: argparse.Namespace, out: Out) -> None:
    """Write a conversation into a file that anybody can read who has it."""
    # The background may be in another directory.
    file = Path(args.given.read(lambda: str(args.file.absolute())))

    async def work(client: Client) -> None:
        from amanat.export import export

        chat = client.chat(_conversation(args, client).gid)
        many = export(chat, file)
        out.result({"file": str(file), "messages": many}, f"{many} messages are in {file}")
        out.note("it is not encrypted: whoever has the file can read it")

    session.with_client(args, work, is_online=False)


def delete_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `delete`."""
    _conversation_words(parser)
    parser.add_argument("ids", metavar="ID", nargs="*", help="the messages")
    parser.add_argument(
        "--only-here", action="store_true", help="delete any texts, only in this vault"
    )
    parser.add_argument(
        "--everything", action="store_true", help="with --only-here: all texts of the conversation"
    )


def delete(args: argparse.Namespace, out: Out) -> None:
    """Delete texts."""
    ids_given = args.ids
    if args.notes and args.to is not None:  # the first word after --notes is no NAME
        ids_given, args.to = [args.to, *args.ids], None
    if args.everything and not args.only_here:
        raise BadArgument("--everything needs --only-here: others' texts are not yours to delete")
    if args.everything == bool(ids_given):
        raise BadArgument("give the ids of messages, or --everything")

    async def clear(client: Client) -> None:
        conversation = _conversation(args, client)
        client.chat(conversation.gid).clear()
        out.result({"to": conversation.name, "everything": True}, "")

    if args.everything:
        session.with_client(args, clear, is_online=False)
        return

    def change(client: Client, gid: bytes) -> dict[str, object]:
        ids = [client.chat(gid).message(one).id for one in ids_given]
        client.chat(gid).delete(ids, for_everyone=not args.only_here)
        return {"ids": ids}

    _change(args, out, change)


def timer_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `timer`."""
    parser.add_argument("to", metavar="NAME", help="the conversation")
    parser.add_argument(
        "life", metavar="LIFE", nargs="?", type=life, help="off, or 30s, 5m, 8h, 1d, 4w"
    )


def timer(args: argparse.Namespace, out: Out) -> None:
    """Show or set how long new texts are kept."""
    args.is_question = args.life is None

    async def work(client: Client) -> None:
        await session.catch_up(args, out, client)
        view = client.conversation(args.to)
        if args.life is not None:
            client.chat(view.gid).set_timer(args.life)
            await session.flush(args, out, client)
        life_s = client.chat(view.gid).view().timer
        out.result(
            {"name": view.name, "timer": life_s},
            f"{shown(view.name)}: new texts "
            + (f"disappear after {_span(life_s)}" if life_s else "stay"),
        )

    session.with_client(args, work)


def _span(seconds: int) -> str:
    unit = next(unit for unit, length in UNITS_S.items() if seconds % length == 0)
    return f"{seconds // UNITS_S[unit]}{unit}"


def read_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `read`."""
    _conversation_words(parser.add_mutually_exclusive_group(), "only this conversation")
    parser.add_argument("--all", action="store_true", help="also show texts that were shown before")
    parser.add_argument("--follow", action="store_true", help="stay, and show texts as they arrive")


def read(args: argparse.Namespace, out: Out) -> None:
    """Show new texts."""
    from amanat.client.events import TextArrived

    async def work(client: Client) -> None:
        events = client.events()
        await session.catch_up(args, out, client)
        only = _only(args, client)
        await telling.warn(client, out)
        for offer in client.offers.all():
            out.note(
                f"{telling.offer_text(offer)}: see `amanat group accept` and `amanat group decline`"
            )
        for visitor in client.visitors.all():
            out.note(f"{telling.visitor_text(visitor)}\n(answer with `amanat visitors`)")
        everything = args.all or args.notes  # our own words are never unread
        newest = await _show_unread(client, only, out, everything=everything)
        for view in client.conversations():
            if view.hidden and (only == view.gid or args.all):
                name, count = shown(view.name), view.hidden
                out.note(f"{name}: texts of blocked people that were not kept: {count}")
        if args.follow:
            async for event in events:
                if not isinstance(event, TextArrived) or event.row > newest:
                    await _show_event(client, event, only, out)

    session.with_client(args, work)


def search_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `search`."""
    _conversation_words(parser.add_mutually_exclusive_group(), "only this conversation")
    parser.add_argument(
        "--many", type=int, metavar="N", default=50, help="show at most N, the last to arrive"
    )


def search(args: argparse.Namespace, out: Out) -> None:
    """Show the texts that hold some words, then the imported ones."""
    words = terminal.text(args, None, "words: ").strip()

    async def work(client: Client) -> None:
        only = _only(args, client)
        for found in client.search(words, gid=only, many=args.many):
            _show(found.message, client.chat(found.message.gid).view(), out)
            await out.need_shown()
        for one in client.imports.search(words, many=args.many) if only is None else ():
            out.result(one.message.as_json(), telling.imported_text(one.message))
            await out.need_shown()

    session.with_client(args, work, is_online=False)


async def _show_unread(client: Client, only: bytes | None, out: Out, *, everything: bool) -> int:
    """Show the new texts of one conversation or of all, and mark them as read. Returns the last
    row."""
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
        everything = False  # from now on, only texts that have come meanwhile
    client.mark_read(only)
    return max(seen, default=0)


def _show(message: Message, view: ConversationView, out: Out) -> None:
    where = "" if view.is_direct else f" in {shown(view.name)}"
    where = " in your notes" if view.is_notes else where
    reply = message.reply_to
    lines = [
        f"{telling.clock(message.sent_at)}  {message.id[:SHOWN_DIGITS]}"
        f"  {shown(message.sender)}{where}: "
        + ("(deleted)" if message.is_deleted else "")
        + (telling.file_text(message.file) + " " * bool(message.text) if message.file else "")
        + (block(message.text) if message.text else "")
        + ("  (edited)" if message.is_edited else "")
        + ("  (forwarded)" if message.is_forwarded else "")
    ]
    if reply is not None:
        quoted = shown(reply.text.split("\n")[0][:QUOTED_CHARS]) if reply.text else "(deleted)"
        who = f"{shown(reply.sender)}: {quoted}" if reply.sender else "something that is not here"
        lines.append(f"    in answer to {reply.id[:SHOWN_DIGITS]}  {who}")
    if message.reactions:
        each = (f"{shown(e)} {shown(name)}" for name, e in sorted(message.reactions.items()))
        lines.append(f"    {', '.join(each)}")
    if message.read_by:
        names = ", ".join(shown(name) for name in message.read_by)
        many = "" if view.is_direct else f" ({len(message.read_by)} of {message.read_of})"
        lines.append(f"    read by {names}{many}")
    if message.expires_at is not None:
        lines.append(f"    disappears {telling.clock(message.expires_at)} at the latest")
    out.result(
        {
            "conversation": view.name,
            "conversation_id": view.id,
            **message.as_json(),
        },
        "\n".join(lines),
    )


async def _show_event(client: Client, event: Event, only: bytes | None, out: Out) -> None:
    from amanat.client.events import (
        GroupChanged,
        Joined,
        Knocked,
        MessageChanged,
        Offered,
        PersonChanged,
        Removed,
        StateChanged,
        StatusChanged,
        SummaryChanged,
        TextArrived,
        TransferChanged,
        Warned,
    )

    match event:
        case TextArrived(gid, row) | MessageChanged(gid, row) if only in (None, gid):
            view = client.chat(gid).view()
            message = client.chat(gid).message_at(row)
            if message and not (isinstance(event, TextArrived) and message.is_own):
                _show(message, view, out)
            await out.need_shown()
            client.chat(gid).seen(row)  # texts that have come meanwhile have their own events
        case Joined(gid):
            people = ", ".join(map(shown, client.chat(gid).view().people))
            out.note(f"you are in a conversation with {people}")
        case Offered(gid, by):
            for offer in client.offers.all():
                if (offer.gid, offer.by) == (gid, by):
                    out.note(telling.offer_text(offer))
        case Knocked(invite):
            for visitor in client.visitors.all():
                if visitor.id == invite:
                    out.note(telling.visitor_text(visitor))
        case Removed(gid):
            out.note(f"you are no longer in {shown(client.chat(gid).view().name)}")
        case TransferChanged(gid, number) if only in (None, gid):
            carrying.show(client.files.transfer(number), out)
        case Warned():
            await telling.warn(client, out)
        case (
            TextArrived() | MessageChanged() | GroupChanged() | StateChanged() | SummaryChanged()
            | PersonChanged() | StatusChanged() | TransferChanged()
        ):  # fmt: skip
            pass  # not of the conversation shown here, or shown by other commands
        case _:
            assert_never(event)


def read_marks_words(parser: argparse.ArgumentParser) -> None:
    """The arguments of `read-marks`."""
    parser.add_argument("marks", metavar="tell|keep", nargs="?", choices=("tell", "keep"))


def read_marks(args: argparse.Namespace, out: Out) -> None:
    """Show or set whether others learn what we have read."""

    async def work(client: Client) -> None:
        if args.marks is not None:
            client.read_marks.tell(are_told=args.marks == "tell")
        means = {
            "tell": "the others learn which of their texts you have read, and you which of yours",
            "keep": "nobody learns what you have read, and you do not learn what they have",
        }
        marks = "tell" if client.read_marks.are_told else "keep"
        out.result({"read_marks": marks}, means[marks])

    session.with_client(args, work, is_online=False)
