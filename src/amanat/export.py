"""One conversation, or an imported chat, as a file that people and programs can read: HTML or JSON.

The file is plain text: whoever has it can read it. It holds what the vault holds now, so texts that
were deleted or have expired are not in it.
"""

from __future__ import annotations

import contextlib
import html
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from amanat.client.transcript import MAX_STRETCH, After, Newest, Share
from amanat.errors import BY_ERRNO, BadArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from amanat.client.sdk.chat import Chat
    from amanat.client.sdk.imports import ImportedChat, ImportedMessage, Imports
    from amanat.client.sdk.views import Message

FORMS = (".html", ".json")
MAX_NAME_CHARS = 60
"""Characters of a conversation's name in a file's name: file systems hold 255 bytes."""
MAX_FILES = 1_000
"""Files of one name, after which somebody should tidy up."""
_HEAD = """\
<!doctype html>
<html dir="auto">
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{name}</title>
<style>
body {{ max-inline-size: 40rem; margin: 2rem auto; padding-inline: 1rem; font: 1rem/1.6 system-ui, sans-serif; }}
h1, p, q {{ unicode-bidi: plaintext; text-align: start; }}
article {{ margin-block: 1rem; }}
article > :is(b, time) {{ color: #566067; font-size: .85em; }}
p {{ margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }}
q {{ display: block; border-inline-start: 3px solid #1a6653; padding-inline-start: .5rem; color: #566067; quotes: none; }}
</style>
<h1>{name}</h1>
"""  # noqa: E501  # rules of a style sheet


def export(chat: Chat, file: Path) -> int:
    """Write a conversation into a new file, whose ending says in which form; returns the number of
    messages. The file appears whole or not at all.

    Raises BadArgument for another ending or a file that is there, UnknownConversation, or the named
    errors of the disk.
    """
    form = _form(file)
    name = chat.view().name
    write = _write_html if form == ".html" else _write_json
    return _write(file, lambda out: write(out, name, _messages(chat)))


def export_imported(imports: Imports, chat: int, file: Path) -> int:
    """The same for an imported chat. The file says that nobody has verified it. Raises
    UnknownImport instead of UnknownConversation."""
    form = _form(file)
    found = imports.chat(chat)
    write = _write_imported_html if form == ".html" else _write_imported_json
    return _write(file, lambda out: write(out, found, imports.messages(chat)))


def _form(file: Path) -> str:
    """The ending of a new file. Raises BadArgument."""
    if file.suffix not in FORMS:
        raise BadArgument(f"the file's name ends with {' or '.join(FORMS)}")
    if file.exists():
        raise BadArgument(f"{file}: it is there already")
    return file.suffix


def _write(file: Path, write: Callable[[TextIO], int]) -> int:
    """Have a file written, whole or not at all; returns the number of messages in it."""
    draft = file.with_name(f".{file.name}.part")
    try:
        handle = os.open(draft, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            many = write(out)
            out.flush()
            os.fsync(out.fileno())
        draft.rename(file)
    except BaseException as error:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        kind = BY_ERRNO.get(error.errno or 0) if isinstance(error, OSError) else None
        if kind is None:
            raise
        raise kind(f"{file}: {error}") from None
    return many


def export_to_downloads(chat: Chat, form: str) -> Path:
    """The same, into a file named after the conversation in the person's downloads; returns it."""
    file = _free(chat.view().name, form)
    export(chat, file)
    return file


def export_imported_to_downloads(imports: Imports, chat: int, form: str) -> Path:
    """The same for an imported chat."""
    file = _free(imports.chat(chat).title, form)
    export_imported(imports, chat, file)
    return file


def downloads() -> Path:
    """The person's folder for what they download."""
    found = Path.home() / "Downloads"
    return found if found.is_dir() else Path.home()


def _free(name: str, form: str) -> Path:
    """A new file with a name of a conversation in the person's downloads. Raises BadArgument."""
    directory = downloads()
    kept = "".join(c if c.isalnum() or c in " -\u200c" else "_" for c in name)
    stem = kept.strip()[:MAX_NAME_CHARS] or "amanat"
    for number in range(1, MAX_FILES):
        file = directory / f"{stem}{f' {number}' if number > 1 else ''}.{form}"
        if not file.exists():
            return file
    raise BadArgument(f"{directory}: {MAX_FILES} files have this name already")


def _messages(chat: Chat) -> Iterator[Message]:
    """All messages in order, a stretch at a time."""
    part = chat.history(Share(0), many=MAX_STRETCH) if chat.count() else chat.history(Newest())
    while part.messages:
        yield from part.messages
        part = chat.history(After(part.messages[-1].position), many=MAX_STRETCH)


def _write_json(out: TextIO, name: str, messages: Iterator[Message]) -> int:
    out.write(f'{{"conversation": {json.dumps(name)}, "messages": [')
    return _write_list(out, (one.as_json() for one in messages))


def _write_imported_json(
    out: TextIO, chat: ImportedChat, messages: Iterator[ImportedMessage]
) -> int:
    out.write(f'{{"imported": {json.dumps(chat.as_json())}, "messages": [')
    return _write_list(out, (one.as_json() for one in messages))


def _write_list(out: TextIO, messages: Iterator[dict[str, object]]) -> int:
    many = 0
    for one in messages:
        out.write(",\n" if many else "\n")
        json.dump(one, out, ensure_ascii=False)
        many += 1
    out.write("\n]}\n")
    return many


def _write_imported_html(
    out: TextIO, chat: ImportedChat, messages: Iterator[ImportedMessage]
) -> int:
    out.write(_HEAD.format(name=html.escape(chat.title)))
    out.write(f"<p>Imported from {chat.app}; nobody has verified its names and words.</p>\n")
    many = 0
    for one in messages:
        beside = "" if one.kind == "text" else f"[{one.kind}] "
        extra = f"<p>{html.escape(beside + one.extra)}</p>" if beside or one.extra else ""
        text = f"<p>{html.escape(one.text)}</p>" if one.text else ""
        out.write(f"{_opening(one.sender, one.at)}{extra}{text}</article>\n")
        many += 1
    return many


def _opening(sender: str, at: int) -> str:
    """The beginning of a message: who said it, and when."""
    moment = datetime.fromtimestamp(at / 1000, UTC)
    return (
        f"<article><b><bdi>{html.escape(sender)}</bdi></b>"
        f' <time datetime="{moment:%Y-%m-%dT%H:%M:%SZ}">{moment:%Y-%m-%d %H:%M} UTC</time>'
    )


def _write_html(out: TextIO, name: str, messages: Iterator[Message]) -> int:
    out.write(_HEAD.format(name=html.escape(name)))
    many = 0
    for one in messages:
        quoted = f"<q>{html.escape(one.reply_to.text)}</q>" if one.reply_to else ""
        reactions = " ".join(dict.fromkeys(one.reactions.values()))
        out.write(
            f"{_opening(one.sender, one.sent_at)}"
            f"{quoted}{_file(one)}<p>{html.escape(one.text)}</p>"
            f"{f'<p>{html.escape(reactions)}</p>' if reactions else ''}</article>\n"
        )
        many += 1
    return many


def _file(message: Message) -> str:
    """The name and the size of a file, which stays in the vault."""
    file = message.file
    if file is None:
        return ""
    return f"<p><bdi>{html.escape(file.name or file.kind)}</bdi>, {file.size:,} bytes</p>"
