"""Reads the pages that Telegram Desktop exports as HTML: `messages.html`, `messages2.html`, ...

The pages are made for reading, and hold less than the JSON. People have no ids, so two of one name
are one author. A chat has none either, and is known by its title. A message that follows another of
the same author has no name of its own. A message of the program has no time: it gets that of the
message, or of the day, before it. The words come as text with marks; no tag is ever shown.
"""

from __future__ import annotations

import codecs
import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone
from html.parser import HTMLParser
from typing import TYPE_CHECKING, NamedTuple

from amanat.errors import BrokenExport, NotAnExport
from amanat.importing.records import Chat, CutOff, Kind, Record, Said, Skipped, Why, inside, named

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import tzinfo

MAX_TAG_CHARS = 1 << 16
"""The longest tag, in characters: a tag has some hundreds."""
MAX_DEPTH = 100
"""The most elements in each other: a page has twenty."""
MAX_MESSAGE_CHARS = 1 << 18
"""The longest message, in characters, with everything beside its words."""
_STEP_BYTES = 1 << 14
"""How much the parser gets at once: it goes through an unfinished tag again with each piece."""
_VOID = frozenset(("br", "hr", "img", "input", "link", "meta", "source"))
_ID = re.compile(r"message(-?\d{1,18})")
_REPLY = re.compile(r"(?:messages\d{0,6}\.html)?#go_to_message(\d{1,18})")
_DATE = re.compile(
    r"(\d\d)\.(\d\d)\.(\d{4}) (\d\d):(\d\d):(\d\d)(?: UTC([+-])(\d\d):(\d\d))?", re.ASCII
)
_DAY = re.compile(r"(\d{1,2}) ([A-Z][a-z]+) (\d{4})", re.ASCII)
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
"""Telegram writes its pages in English, whatever the language of its windows."""
_WRAPS = {
    "photo_wrap": Kind.PHOTO,
    "video_file_wrap": Kind.VIDEO,
    "animated_wrap": Kind.ANIMATION,
    "sticker_wrap": Kind.STICKER,
    "media_photo": Kind.PHOTO,
    "media_video": Kind.VIDEO,
    "media_voice_message": Kind.VOICE,
    "media_audio_file": Kind.AUDIO,
    "media_file": Kind.FILE,
    "media_contact": Kind.CONTACT,
    "media_location": Kind.PLACE,
    "media_live_location": Kind.PLACE,
    "media_venue": Kind.PLACE,
    "media_poll": Kind.POLL,
    "media_game": Kind.OTHER,
    "media_invoice": Kind.OTHER,
    "media_call": Kind.OTHER,
}
_NAMELESS = frozenset((Kind.PHOTO, Kind.VIDEO, Kind.ANIMATION, Kind.STICKER, Kind.VOICE))
"""Kinds whose title says nothing but the kind."""
_MARKS = {
    "strong": "bold",
    "em": "italic",
    "u": "underline",
    "s": "strikethrough",
    "code": "code",
    "pre": "pre",
    "a": "text_link",
    "blockquote": "blockquote",
}
_ROLES = {
    "from_name": "name",
    "text": "text",
    "reply_to": "reply",
    "title": "title",
    "description": "aside",
    "question": "line",
    "answer": "line",
    "emoji": "emoji",
    "count": "count",
    "details": "aside",
    "userpic": "aside",
    "initials": "aside",
    "total": "aside",
    "fill": "aside",
}
"""The meaning of what stands in an element, by its class."""


class Folder(NamedTuple):
    """The pages of a chat, in their order."""

    place: str
    """The path of their folder in the export, which ends with a slash unless it is empty."""
    pages: Iterable[Iterable[bytes]]


def read(chats: Iterable[Folder], zone: tzinfo | None) -> Iterator[Record]:
    """The records of an export, in its order. `zone` is that of times without one; None: this
    machine's.

    Raises NotAnExport or BrokenExport.
    """
    titles = Counter[str]()
    is_any = is_cut = False
    for place, pages in chats:
        chat = _Chat(place, zone, titles)
        for page in pages:
            reader = _Page(chat)
            try:
                for piece in _pieces(page):
                    reader.feed(piece)
                    if len(reader.rawdata) > MAX_TAG_CHARS:
                        raise BrokenExport("a tag in it has no end")
                    is_any |= bool(chat.found)
                    yield from chat.taken()
            except BrokenExport:
                if not is_any:
                    raise
            is_cut |= not reader.is_whole
    if not is_any:
        raise NotAnExport("it is HTML, but not of Telegram")
    if is_cut:
        yield CutOff()


def _pieces(chunks: Iterable[bytes]) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for chunk in chunks:
        for at in range(0, len(chunk), _STEP_BYTES):
            yield decoder.decode(chunk[at : at + _STEP_BYTES])


class _Message:
    """A message whose element is open."""

    def __init__(self, number: int, *, is_service: bool) -> None:
        self.number = number
        self.is_service = is_service
        self.is_forwarded = False
        """Whether its forwarded part is open."""
        self.date = ""
        self.name: list[str] = []
        self.forwarded: list[str] = []
        self.text: list[str] = []
        self.length = 0
        """The characters of the text."""
        self.marks: list[tuple[int, int, str, str]] = []
        self.beside: dict[str, list[str]] = {}
        """Texts beside the words, by their roles; those of each element begin a new one."""
        self.kind = Kind.TEXT
        self.file = ""
        self.reply_to: int | None = None
        self.room = MAX_MESSAGE_CHARS

    def add(self, role: str, data: str) -> None:
        """Take a text in an element of a role."""
        self.room -= len(data)
        if self.room < 0:
            return
        if role == "text":
            self.text.append(data)
            self.length += len(data)
        elif role == "name":
            (self.forwarded if self.is_forwarded else self.name).append(data)
        elif role in ("title", "line", "emoji", "event") or (
            role == "count" and "count" in self.beside
        ):
            self.beside.setdefault(role, [""])[-1] += data

    def words(self) -> tuple[str, str]:
        """The text without the space around it, and its marks."""
        whole = "".join(self.text)
        text = whole.strip()
        before = len(whole) - len(whole.lstrip())
        marks = []
        for at, many, kind, value in sorted(self.marks):
            begin, end = max(at - before, 0), min(at + many - before, len(text))
            marks += [(begin, end - begin, kind, value)] if begin < end else []
        return text, json.dumps(marks, ensure_ascii=False) if marks else ""

    def lines(self) -> str:
        """Lines about the things beside the text."""
        named_by = self.kind not in _NAMELESS and self.kind is not Kind.TEXT
        about = [*self.beside.get("title", [])] if named_by else []
        about += self.beside.get("line", [])
        pairs = zip(self.beside.get("emoji", []), self.beside.get("count", []), strict=True)
        reactions = "  ".join(named(f"{emoji.strip()} {many.strip()}") for emoji, many in pairs)
        return "\n".join(line for line in (*map(named, about), reactions) if line)


class _Chat:
    """The chat whose pages are read."""

    def __init__(self, place: str, zone: tzinfo | None, titles: Counter[str]) -> None:
        self._place, self._zone, self._titles = place, zone, titles
        self.title: list[str] = []
        self.found: list[Record] = []
        self._is_begun = False
        self._last_at = 0
        self._name = ""
        """The author of the message before."""

    def taken(self) -> Iterator[Record]:
        """The records since the last call."""
        found, self.found = self.found, []
        yield from found

    def take(self, one: _Message) -> None:
        """A message has ended."""
        if not self._is_begun:
            self._is_begun = True
            title = named("".join(self.title))
            self._titles[title] += 1
            many = self._titles[title]
            self.found.append(Chat(f"html {title}{f' {many}' if many > 1 else ''}", title, "chat"))
        if one.room < 0:
            self.found.append(Skipped(Why.BROKEN))
        elif one.is_service:
            self._take_event(one)
        else:
            self._take_said(one)

    def _take_event(self, one: _Message) -> None:
        words = named("".join(one.beside.get("event", [])))
        if one.number <= 0:  # the name of a day
            self._last_at = max(self._last_at, _day(words, self._zone))
            return
        at, number = self._last_at, one.number
        self.found.append(Said(number, number, "", "", at, "", Kind.SERVICE, extra=words))

    def _take_said(self, one: _Message) -> None:
        name = self._name = named("".join(one.name)) or self._name
        at = _moment(one.date, self._zone)
        if at is None:
            self.found.append(Skipped(Why.BROKEN))
            return
        self._last_at = at
        text, marks = one.words()
        said = Said(one.number, one.number, name, name, at, text, one.kind)
        self.found.append(
            said._replace(
                marks=marks,
                reply_to=one.reply_to,
                forwarded_from=named("".join(one.forwarded)),
                extra=one.lines(),
                file=inside(self._place + one.file) if inside(one.file) else "",
                is_zoned="UTC" in one.date,
            )
        )


class _Page(HTMLParser):
    """One page, as its tags come."""

    def __init__(self, chat: _Chat) -> None:
        super().__init__(convert_charrefs=True)
        self._chat = chat
        self._open: list[tuple[str, str]] = []
        """The elements that are open, each with the role of its text."""
        self._message: _Message | None = None
        self._begun: list[tuple[int, int, str, str]] = []
        """The marks that are open: how many elements were open, where, their type and value."""
        self._depth = self._forwarded = 0
        self.is_whole = False
        """Whether the page has come to its end."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element begins."""
        one = self._message
        if tag in _VOID:
            if tag == "br" and one is not None:
                one.add(self._role(), "\n")
            return
        if len(self._open) >= MAX_DEPTH:
            raise BrokenExport("its elements are nested too deeply")
        given = {key: value or "" for key, value in attrs}
        classes = given.get("class", "").split()
        if tag == "div" and "message" in classes and (number := _ID.fullmatch(given.get("id", ""))):
            self._end_message()
            self._message = _Message(int(number[1]), is_service="service" in classes)
            self._begun, self._depth = [], len(self._open)
            self._open.append((tag, "aside"))
            return
        role = "" if one is None else self._begin(one, tag, classes, given)
        if one is None and "text" in classes and any(role == "head" for _, role in self._open):
            role = "chat"
        elif "page_header" in classes:
            role = "head"
        self._open.append((tag, role))

    def _begin(self, one: _Message, tag: str, classes: list[str], given: dict[str, str]) -> str:
        """An element begins in a message; the role of its text, empty if that is the same as of the
        element around it."""
        if "forwarded" in classes and "body" in classes:
            one.is_forwarded, self._forwarded = True, len(self._open)
            return "aside"
        if "date" in classes:
            if not one.is_forwarded:
                one.date = given.get("title", "") or one.date
            return "aside"
        if one.is_service and "body" in classes:
            return "event"
        kind = next((_WRAPS[name] for name in classes if name in _WRAPS), None)
        if kind is not None:
            one.kind, one.file = kind, given.get("href", "")
            return "aside"
        around = self._role()
        if around == "reply" and (found := _REPLY.fullmatch(given.get("href", ""))):
            one.reply_to = int(found[1])
        if around == "text":
            mark = "spoiler" if "spoiler" in classes else _MARKS.get(tag)
            if mark is not None:
                value = given.get("href", "") if tag == "a" else ""
                self._begun.append((len(self._open), one.length, mark, value))
            return ""
        role = next((_ROLES[name] for name in classes if name in _ROLES), "")
        if role in ("title", "line", "emoji"):
            one.beside.setdefault(role, []).append("")
        if role == "emoji":
            one.beside.setdefault("count", []).append("")  # it may have pictures instead
        return role

    def parse_html_declaration(self, i: int) -> int:
        """A declaration is passed over, whatever it says: the library has no name for some."""
        return self.parse_bogus_comment(i)

    def handle_endtag(self, tag: str) -> None:
        """An element ends, and with it those in it that have no end of their own."""
        self.is_whole |= tag == "html"
        at = next((n for n in range(len(self._open) - 1, -1, -1) if self._open[n][0] == tag), None)
        if at is None:
            return
        del self._open[at:]
        one = self._message
        if one is None:
            return
        while self._begun and self._begun[-1][0] >= at:
            _, begin, mark, value = self._begun.pop()
            one.marks.append((begin, one.length - begin, mark, value))
        if one.is_forwarded and at <= self._forwarded:
            one.is_forwarded = False
        if at <= self._depth:
            self._end_message()

    def handle_data(self, data: str) -> None:
        """A text, or a part of one."""
        role = self._role()
        if self._message is not None:
            self._message.add(role, data)
        elif role == "chat" and sum(map(len, self._chat.title)) < MAX_TAG_CHARS:
            self._chat.title.append(data)

    def _role(self) -> str:
        return next((role for _, role in reversed(self._open) if role), "")

    def _end_message(self) -> None:
        one, self._message = self._message, None
        if one is not None:
            self._chat.take(one)


def _moment(date: str, zone: tzinfo | None) -> int | None:
    """A time in Unix milliseconds."""
    found = _DATE.fullmatch(date)
    if found is None:
        return None
    day, month, year, hour, minute, second = (int(found[n]) for n in range(1, 7))
    try:
        if found[7]:
            ahead = timedelta(hours=int(found[8]), minutes=int(found[9]))
            zone = timezone(ahead if found[7] == "+" else -ahead)
        at = datetime(year, month, day, hour, minute, second, tzinfo=zone).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
    return 1000 * int(at) if at >= 0 else None


def _day(words: str, zone: tzinfo | None) -> int:
    """The beginning of a day by its name, in Unix milliseconds; 0 for another text."""
    found = _DAY.fullmatch(words)
    if found is None or found[2] not in _MONTHS:
        return 0
    try:
        day = datetime(
            int(found[3]), _MONTHS.index(found[2]) + 1, int(found[1]), tzinfo=zone or UTC
        )
        return max(0, 1000 * int(day.timestamp()))
    except (ValueError, OverflowError, OSError):
        return 0
