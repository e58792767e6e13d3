"""The records that a reader gives, whatever program wrote the export."""

from __future__ import annotations

import enum
import functools
import unicodedata
from typing import NamedTuple, TypeAlias

MAX_NAME_CHARS = 256
"""Characters of a name or a title that are kept: more than any of these programs allows."""
_STEERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")
"""Marks of direction. In a name they could only reorder the words around it."""


class App(enum.StrEnum):
    """The program that wrote an export."""

    TELEGRAM = "telegram"
    WHATSAPP = "whatsapp"


class Kind(enum.StrEnum):
    """The kinds of imported messages: a text, an event of the chat, or a text beside something that
    stays behind."""

    TEXT = "text"
    SERVICE = "service"
    PHOTO = "photo"
    STICKER = "sticker"
    VOICE = "voice"
    VIDEO = "video"
    ANIMATION = "animation"
    AUDIO = "audio"
    FILE = "file"
    POLL = "poll"
    PLACE = "place"
    CONTACT = "contact"
    OTHER = "other"


class Why(enum.StrEnum):
    """Why a message of an export is not taken."""

    BROKEN = "broken"
    UNKNOWN = "unknown"
    UNSUPPORTED = "unsupported"


class Chat(NamedTuple):
    """A chat begins; the records until the next one belong to it."""

    key: str
    """The name of the chat that is the same in every export."""
    title: str
    kind: str
    """As the program calls it, such as `private_group`."""


class Me(NamedTuple):
    """The person who made the export, by their author's key."""

    author: str


class Said(NamedTuple):
    """A message. Times are in Unix milliseconds."""

    number: int
    """Its number, which no other message of its chat has."""
    place: int
    """Its place in the order of its chat."""
    author: str
    """The key of its author, or empty if it has none."""
    name: str
    """Its author's name, as it was shown beside this message."""
    at: int
    text: str
    kind: Kind = Kind.TEXT
    edited_at: int | None = None
    marks: str = ""
    """Parts of the text with a meaning, as JSON: [begin, length, type, value], in characters."""
    reply_to: int | None = None
    forwarded_from: str = ""
    extra: str = ""
    """Lines about the things beside the text: an event, a sticker's emoji, a poll, reactions."""
    topic: int | None = None
    """In a forum, the message with which its topic began."""
    file: str = ""
    """The path of its file in the export's folder; empty if it is not there, or would be outside
    the folder."""
    is_zoned: bool = True
    """Whether the export says in which time zone its time is."""


class Skipped(NamedTuple):
    """A message that is not taken."""

    why: Why


class Joint(NamedTuple):
    """The chat became another one (`title` is empty), or goes on from the chat with this title."""

    title: str


class CutOff(NamedTuple):
    """The file ends in the middle."""


Record: TypeAlias = Chat | Me | Said | Skipped | Joint | CutOff


def named(text: object) -> str:
    """A name as it is kept: in one form (NFC), on one line, and without marks of direction."""
    return _named(text) if isinstance(text, str) else ""


@functools.lru_cache(maxsize=8192)  # the same few names stand beside all messages
def _named(text: str) -> str:
    plain = "".join(
        " " if unicodedata.category(one) in ("Cc", "Zl", "Zp") else one
        for one in text[: 4 * MAX_NAME_CHARS]
        if one not in _STEERING
    )
    return unicodedata.normalize("NFC", plain).strip()[:MAX_NAME_CHARS]


def inside(path: object) -> str:
    """A path of an export, if it is one that stays in the export's folder; otherwise empty.

    Telegram writes a sentence in brackets for a file that it did not export.
    """
    if not isinstance(path, str) or not path or path[0] in "(/\\" or "\0" in path:
        return ""
    parts = path.replace("\\", "/").split("/")
    return "" if ".." in parts or ":" in parts[0] else path
