"""Reads the JSON that Telegram Desktop exports (`result.json`): one chat, or a whole account.

The format has no description and no version. It is that of tdesktop's `export_output_json.cpp`,
of all years, with the faults that it has had:

- control characters stand as in Python, and some paths without quotes: such a message is mended;
- a key may stand twice in a message, and the first `text` that is not empty counts;
- a file may end in the middle;
- people are known by their ids: their names differ from message to message.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from amanat.errors import BrokenExport, NewerExport, NotAnExport
from amanat.importing.cutting import Ended, Item, Lost, Opened, cut
from amanat.importing.records import (
    Chat,
    CutOff,
    Joint,
    Kind,
    Me,
    Record,
    Said,
    Skipped,
    Why,
    inside,
    named,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import tzinfo

    from amanat.importing.cutting import Path, Piece

MAX_TOPIC_MESSAGES = 500_000
"""The messages of a forum whose topics are remembered, which bounds the memory. Later ones count as
"General"."""
_CHATS: frozenset[Path] = frozenset({(), ("chats", "list"), ("left_chats", "list")})
_MESSAGES = frozenset((*path, "messages") for path in _CHATS)
_ME = ("personal_information", "user_id")
_GROUPS = {
    "private_group": "chat",
    "private_supergroup": "channel",
    "public_supergroup": "channel",
    "private_channel": "channel",
    "public_channel": "channel",
    "personal_chat": "user",
    "bot_chat": "user",
    "saved_messages": "user",
}
"""The things that a chat's number counts, by its type: different things may have one number."""
_MEDIA = {
    "sticker": Kind.STICKER,
    "voice_message": Kind.VOICE,
    "video_message": Kind.VIDEO,
    "video_file": Kind.VIDEO,
    "animation": Kind.ANIMATION,
    "audio_file": Kind.AUDIO,
}
_OTHERS = ("game_title", "invoice_information", "giveaway_information")
_LAST_S = 253_402_300_799
"""The last second of the year 9999."""
_CONTROL = re.compile(rb"(?<!\\)((?:\\\\)*)\\x([0-9a-fA-F]{2})")
_UNQUOTED = re.compile(rb'("document_id"\s*:\s*)([^"\s0-9{\[][^\r\n]*?)(,?[ \t]*\r?\n)')


def read(chunks: Iterable[bytes], zone: tzinfo | None) -> Iterator[Record]:
    """The records of an export, in its order. `zone` is that of times without one; None: this
    machine's.

    Raises NotAnExport, NewerExport or BrokenExport.
    """
    reader = _Reader(zone)
    for piece in _followed(cut(chunks, _MESSAGES)):
        yield from reader.take(piece)


class _Reader:
    """An export that is being read."""

    def __init__(self, zone: tzinfo | None) -> None:
        self._zone = zone
        self._head: dict[str, Any] = {}
        self._chat: _Chat | None = None
        self._is_account = self._is_any = False
        self._taken = self._unknown = 0

    def take(self, piece: Piece) -> Iterator[Record]:
        """The records that a piece gives. Raises like `read`."""
        match piece:
            case Opened(path):
                if path in _CHATS:
                    self._head, self._chat = {}, None
                self._is_account |= path in (("chats",), ("left_chats",))
            case Item() | Lost():
                yield from self._message(piece)
            case Ended(is_whole):
                yield from self._end(is_whole=is_whole)
            case _:
                path, value = piece
                if path == _ME:
                    yield Me(f"user{value.decode('ascii', 'replace')}")
                elif path and path[:-1] in _CHATS and path[-1] in ("name", "type", "id"):
                    self._head[path[-1]] = _value(value)

    def _message(self, piece: Item | Lost) -> Iterator[Record]:
        if self._chat is None:
            self._chat, self._is_any = _Chat(self._head), True
            yield self._chat.record
        found: list[Record] = [Skipped(Why.BROKEN)]
        if isinstance(piece, Item):
            found = self._chat.read(piece.json, self._zone)
        self._taken += isinstance(found[0], Said)
        self._unknown += found[0] == Skipped(Why.UNKNOWN)
        yield from found

    def _end(self, *, is_whole: bool) -> Iterator[Record]:
        if not (self._is_any or self._is_account or "type" in self._head):
            raise NotAnExport("it is JSON, but not of Telegram")
        if self._unknown and not self._taken:
            raise NewerExport
        if not is_whole and not self._is_any:
            raise BrokenExport("it ends before its first message")
        if not is_whole:
            yield CutOff()


def _followed(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """The pieces as far as they can be followed, if there are items among them: an export that is
    broken behind its first messages ends there. Raises BrokenExport otherwise."""
    is_any = False
    try:
        for piece in pieces:
            is_any |= isinstance(piece, Item)
            yield piece
    except BrokenExport:
        if not is_any:
            raise
        yield Ended(is_whole=False)


def _value(data: bytes) -> object:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


class _Chat:
    """The chat whose messages are read."""

    def __init__(self, head: dict[str, Any]) -> None:
        kind = named(head.get("type")) or "unknown"
        title = named(head.get("name")) or ("Saved messages" if kind == "saved_messages" else "")
        number = _integer(head.get("id")) or 0
        self.record = Chat(f"{_GROUPS.get(kind, kind)}{number}", title, kind)
        self._topics: dict[int, int] = {}
        """The topics of messages in them, by the messages' numbers."""

    def read(self, data: bytes, zone: tzinfo | None) -> list[Record]:
        """The records of a message."""
        message = _decoded(data)
        number = _integer(message.get("id")) if message else None
        if message is None or number is None:
            return [Skipped(Why.BROKEN)]
        match message.get("type"):
            case "message" | "service" as form:
                at = _moment(message, "date", zone)
            case "unsupported":
                return [Skipped(Why.UNSUPPORTED)]
            case _:
                return [Skipped(Why.UNKNOWN)]
        if at is None:
            return [Skipped(Why.BROKEN)]
        said = Said(number, number, "", "", at, "")
        said = _service(message, said) if form == "service" else _message(message, said)
        said = said._replace(
            edited_at=_moment(message, "edited", zone),
            is_zoned="date_unixtime" in message,
            topic=self._topic(message, number),
        )
        match message.get("action"):
            case "migrate_to_supergroup":
                return [said, Joint("")]
            case "migrate_from_group":
                return [said, Joint(named(message.get("title")) or self.record.title)]
        return [said]

    def _topic(self, message: dict[str, Any], number: int) -> int | None:
        """The root of the chain of replies, if a topic begins there."""
        if message.get("action") == "topic_created":
            topic: int | None = number
        else:
            topic = self._topics.get(_integer(message.get("reply_to_message_id")) or 0)
        if topic is not None and len(self._topics) < MAX_TOPIC_MESSAGES:
            self._topics[number] = topic
        return topic


def _decoded(data: bytes) -> dict[str, Any] | None:
    """A message as its fields; None if it cannot be mended."""
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _mended(data)
    if not found.get("text") and data.count(b'"text"') > 1:
        return _mended(data)
    return found if isinstance(found, dict) else None


def _mended(data: bytes) -> dict[str, Any] | None:
    """A message whose JSON has one of Telegram's faults, as its fields; None if it has others."""
    data = _CONTROL.sub(rb"\1\\u00\2", data)
    data = _UNQUOTED.sub(
        lambda m: m[1] + json.dumps(m[2].decode("utf-8", "replace")).encode() + m[3], data
    )
    text = data.decode("utf-8", "replace")
    try:
        found = json.loads(text, strict=False, object_pairs_hook=_first_filled)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _first_filled(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if not found.get(key):
            found[key] = _whole(value)
    return found


def _whole(value: object) -> object:
    """A value without halves of characters, which no file may hold."""
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return [_whole(one) for one in value] if isinstance(value, list) else value


def _integer(value: object) -> int | None:
    """A number that a vault can keep."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 62:
        return value
    return None


def _moment(message: dict[str, Any], key: str, zone: tzinfo | None) -> int | None:
    """A time in Unix milliseconds."""
    unix = message.get(f"{key}_unixtime")
    try:
        if unix is not None:
            seconds = int(unix)
        else:
            seconds = int(datetime.fromisoformat(message[key]).replace(tzinfo=zone).timestamp())
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return None
    return 1000 * seconds if 0 <= seconds <= _LAST_S else None


def _author(message: dict[str, Any], key: str) -> str:
    """The key of an author. Old exports give a person's number alone."""
    found = message.get(key)
    number = _integer(found)
    return f"user{number}" if number is not None else named(found)


def _message(message: dict[str, Any], said: Said) -> Said:
    text, marks = _text(message.get("text") or message.get("text_entities"))
    kind, about, path = _beside(message)
    author = _author(message, "from_id")
    name = named(message.get("from")) or named(message.get("author"))
    forwarded = named(message.get("forwarded_from"))
    if "forwarded_from" in message and not forwarded:
        forwarded = "?"
    return said._replace(
        author=author or name,
        name=name,
        text=text,
        marks=marks,
        kind=kind,
        reply_to=_integer(message.get("reply_to_message_id")),
        forwarded_from=forwarded or named(message.get("saved_from")),
        extra="\n".join(line for line in (about, _reactions(message)) if line),
        file=inside(path),
    )


def _service(message: dict[str, Any], said: Said) -> Said:
    details = [message.get("new_title"), message.get("title"), *_list(message.get("members"))]
    words = [named(message.get("action")), *dict.fromkeys(named(one) for one in details)]
    name = named(message.get("actor"))
    return said._replace(
        author=_author(message, "actor_id") or name,
        name=name,
        kind=Kind.SERVICE,
        extra=" ".join(word for word in words if word),
    )


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> tuple[str, str]:
    """A text, and its parts with a meaning."""
    if isinstance(value, str):
        return value, ""
    parts: list[str] = []
    marks: list[tuple[int, int, str, str]] = []
    at = 0
    for one in _list(value):
        part = one.get("text") if isinstance(one, dict) else one
        if not isinstance(part, str):
            continue
        if isinstance(one, dict) and (mark := named(one.get("type"))) not in ("", "plain"):
            values = (one.get(key) for key in ("href", "user_id", "language", "document_id"))
            found = next((str(each) for each in values if each), "")
            marks.append((at, len(part), mark, found))
        parts.append(part)
        at += len(part)
    return "".join(parts), json.dumps(marks, ensure_ascii=False) if marks else ""


def _beside(message: dict[str, Any]) -> tuple[Kind, str, object]:
    """The thing beside a text: its kind, a line about it, and the path of its file."""
    if "photo" in message:
        return Kind.PHOTO, "", message["photo"]
    if "file" in message or "media_type" in message:
        kind = _MEDIA.get(str(message.get("media_type")), Kind.FILE)
        about = named(message.get("sticker_emoji" if kind is Kind.STICKER else "file_name"))
        titles = filter(None, (named(message.get("performer")), named(message.get("title"))))
        return kind, about or " - ".join(titles), message.get("file")
    if isinstance(contact := message.get("contact_information"), dict):
        names = (named(contact.get(key)) for key in ("first_name", "last_name"))
        return Kind.CONTACT, " ".join(filter(None, names)), None
    if "location_information" in message or "place_name" in message:
        place = message.get("location_information")
        point = (
            [place.get(key) for key in ("latitude", "longitude")] if isinstance(place, dict) else []
        )
        where = [named(message.get(key)) for key in ("place_name", "address")]
        return Kind.PLACE, ", ".join(filter(None, [*where, *map(str, point)])), None
    if isinstance(poll := message.get("poll"), dict):
        answers = [one for one in _list(poll.get("answers")) if isinstance(one, dict)]
        lines = [
            f"- {_text(one.get('text'))[0]}: {_integer(one.get('voters')) or 0}" for one in answers
        ]
        return Kind.POLL, "\n".join([_text(poll.get("question"))[0], *lines]), None
    for key in _OTHERS:
        if key in message:
            return Kind.OTHER, named(message[key]) if key == "game_title" else "", None
    return Kind.TEXT, "", None


def _reactions(message: dict[str, Any]) -> str:
    """A line with the reactions to a message and their numbers."""
    found = [one for one in _list(message.get("reactions")) if isinstance(one, dict)]
    return "  ".join(
        f"{emoji} {_integer(one.get('count')) or 1}"
        for one in found
        if (emoji := named(one.get("emoji")))
    )
