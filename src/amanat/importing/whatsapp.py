"""Reads the text that WhatsApp exports: one chat, a line for each message.

    [31/12/2022, 11:40:26] Name: text        from iOS
    31/12/22, 11:40 PM - Name: text          from Android

The phone's language decides the order and the digits of dates, the half of the day, and the words
for attached files. A line that does not begin so goes on with the message before it. Messages have
no numbers: a message is known by its time, its author and its words.
"""

from __future__ import annotations

import codecs
import hashlib
import re
from collections import Counter
from datetime import date, datetime
from typing import TYPE_CHECKING, NamedTuple

from amanat.errors import BrokenExport, NotAnExport, OpenDates
from amanat.importing.records import Chat, Kind, Record, Said, Skipped, Why, inside, named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import tzinfo

MAX_TEXT_CHARS = 1 << 18
"""The longest message, in characters: WhatsApp allows 65,536."""
MAX_LINE_CHARS = 1 << 20
"""The longest line, in characters, which bounds the memory."""
MAX_LEAD_LINES = 20
"""The lines before the first message. A text without any by then is something else."""

_MARK = "[\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069]{0,4}"
"""Marks of direction: few, because a line of them alone would take for ever to match."""
_HEAD = re.compile(
    rf"\ufeff?{_MARK}(?P<open>\[?){_MARK}"
    rf"(?P<a>\d{{1,4}}){_MARK}(?:[./-]|\.\s){_MARK}(?P<b>\d\d?){_MARK}(?:[./-]|\.\s){_MARK}(?P<c>\d{{1,4}})"
    rf"\.?{_MARK}[,\u060c\u066b]?{_MARK}\s{_MARK}(?P<before>[^\d\s:\]]{{1,12}}{_MARK}\s?)??{_MARK}"
    rf"(?P<hour>\d\d?){_MARK}[:.]{_MARK}(?P<minute>\d\d){_MARK}(?:[:.]{_MARK}(?P<second>\d\d))?{_MARK}"
    rf"(?:\s?{_MARK}(?P<after>[^\d\s:\]-][^\d:\]-]{{0,11}}?))?{_MARK}(?P<close>\]\s?|\s[-\u2013]\s){_MARK}"
)
"""The beginning of a message."""
_SAID = re.compile(r"(?P<name>[^\n]{1,200}?):(?:\s|$)")
_IOS_FILE = re.compile(
    rf"{_MARK}<[^<>:\n]{{2,40}}:\s{_MARK}(?P<file>[^<>\n]{{1,200}}\.\w{{1,5}})>{_MARK}"
)
_ANDROID_FILE = re.compile(
    rf"{_MARK}(?P<file>[^\n()/\\]{{1,200}}\.\w{{1,5}})\s\([^()\n]{{3,60}}\){_MARK}(?=\n|$)"
)
_STRANGER = re.compile(rf"{_MARK}~?\s*{_MARK}")
"""Stands before the name of somebody who is not among the phone's contacts."""
_PM = frozenset(("pm", "p", "م", "بظ", "بعدازظهر", "عصر", "오후", "下午", "午後", "μμ", "nachm"))
_AM = frozenset(("am", "a", "ص", "قظ", "قبلازظهر", "صبح", "오전", "上午", "午前", "πμ", "vorm"))
"""Words for the halves of the day, by their letters."""
_KINDS = {
    **dict.fromkeys(("jpg", "jpeg", "png", "heic"), Kind.PHOTO),
    **dict.fromkeys(("opus", "ogg", "m4a", "aac"), Kind.VOICE),
    **dict.fromkeys(("mp4", "mov", "3gp"), Kind.VIDEO),
    "webp": Kind.STICKER, "gif": Kind.ANIMATION, "mp3": Kind.AUDIO, "vcf": Kind.CONTACT,
}  # fmt: skip
_NOON = 12
_MONTHS = 12
_FIRST_GREGORIAN = 1900
"""Years before are of the Persian calendar (Solar Hijri)."""
_PERSIAN_EPOCH = 226_894
"""The day before 1 Farvardin of the year 1, counted as `date.toordinal` counts."""


class _Line(NamedTuple):
    """The fields of a date as they stand in a line."""

    a: int
    b: int
    c: int
    hour: int
    minute: int
    second: int
    has_year_first: bool


def read(
    again: Callable[[], Iterable[bytes]], title: str, zone: tzinfo | None, *, day_first: bool | None
) -> Iterator[Record]:
    """The records of a chat. `again` gives its bytes from the beginning; `zone` is that of its
    times (None: this machine's); `day_first` says how dates are written, if the person knows.

    Raises NotAnExport, BrokenExport, or OpenDates if the chat does not show how its dates are
    written and the person has not said it.
    """
    title = named(title)
    is_day_first = _is_day_first(_lines(again())) if day_first is None else day_first
    yield Chat(title, title, "chat")
    last_at = place = 0
    seen: Counter[tuple[str, str]] = Counter()
    for head, text in _messages(_lines(again())):
        at = _moment(head, zone, is_day_first=is_day_first)
        if at is None or text is None:
            yield Skipped(Why.BROKEN)
            continue
        said = _said(text, at)
        if at != last_at:
            seen.clear()
        last_at, place = at, max(place, at)
        same = (said.name, text)
        seen[same] += 1
        name = f"{at}\n{seen[same]}\n{said.name}\n{text}".encode("utf-8", "replace")
        number = int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big") >> 2
        yield said._replace(number=number, place=place)


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """The lines of a text. Raises BrokenExport for one without an end."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    rest = ""
    for chunk in chunks:
        *lines, rest = (rest + decoder.decode(chunk)).split("\n")
        if len(rest) > MAX_LINE_CHARS:
            raise BrokenExport("a line in it has no end")
        yield from (line.removesuffix("\r") for line in lines)
    rest += decoder.decode(b"", final=True)
    if rest:
        yield rest.removesuffix("\r")


def _messages(lines: Iterable[str]) -> Iterator[tuple[_Line, str | None]]:
    """Each message: its date, and its name and words; None for words that are too long."""
    head: _Line | None = None
    text: list[str] = []
    size = 0
    for number, line in enumerate(lines):
        found = _head(line)
        if found is None:
            if head is None and number >= MAX_LEAD_LINES:
                break
            text.append(line)
            size += len(line) + 1
            if size > MAX_TEXT_CHARS:
                text = []
            continue
        if head is not None:
            yield head, "\n".join(text) if size <= MAX_TEXT_CHARS else None
        head, rest = found
        text, size = [rest], len(rest)
    if head is None:
        raise NotAnExport("no line in it begins like a message of WhatsApp")
    yield head, "\n".join(text) if size <= MAX_TEXT_CHARS else None


def _head(line: str) -> tuple[_Line, str] | None:
    """The date with which a line begins, and what comes after it."""
    found = _HEAD.match(line)
    if found is None or bool(found["open"]) != found["close"].startswith("]"):
        return None
    hour, minute, second = (int(found[one] or 0) for one in ("hour", "minute", "second"))
    half = {_plain(found[one]) for one in ("before", "after") if found[one]}
    if half & _PM and hour < _NOON:
        hour += _NOON
    elif half & _AM and hour == _NOON:
        hour = 0
    a, b, c = (int(found[one]) for one in "abc")
    has_year_first = len(found["a"]) > 2  # noqa: PLR2004  # digits
    return _Line(a, b, c, hour, minute, second, has_year_first), line[found.end() :]


def _plain(half: str) -> str:
    """The letters of a word for a half of the day."""
    return "".join(one for one in half.casefold() if one.isalpha())


def _is_day_first(lines: Iterable[str]) -> bool:
    """Whether dates are written with the day before the month: a field above twelve is no month,
    and a chat does not go back in time. Raises OpenDates if neither tells."""
    wrong = {True: 0, False: 0}
    before = {True: (0, 0, 0), False: (0, 0, 0)}
    is_open = False
    for head, _ in _messages(lines):
        if head.has_year_first:
            continue
        is_open = True
        for way, day, month in ((True, head.a, head.b), (False, head.b, head.a)):
            if month > _MONTHS:
                wrong[way] += 1
                continue
            now = (head.c, month, day)
            wrong[way] += now < before[way]
            before[way] = now
    if is_open and wrong[True] == wrong[False]:
        raise OpenDates
    return wrong[True] < wrong[False]


def _moment(head: _Line, zone: tzinfo | None, *, is_day_first: bool) -> int | None:
    """A date and a time in Unix milliseconds; None if there is no such day."""
    if head.has_year_first:
        year, month, day = head.a, head.b, head.c
    elif is_day_first:
        day, month, year = head.a, head.b, head.c
    else:
        month, day, year = head.a, head.b, head.c
    year += 2000 if year < 100 else 0  # noqa: PLR2004  # two digits
    try:
        when = _persian(year, month, day) if year < _FIRST_GREGORIAN else date(year, month, day)
        at = datetime(
            *(when.year, when.month, when.day, head.hour, head.minute, head.second), tzinfo=zone
        ).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
    return 1000 * int(at) if at >= 0 else None


def _persian(year: int, month: int, day: int) -> date:
    """A day of the Persian calendar, whose leap years come round in 33 years. Raises ValueError."""
    if not (1 <= month <= _MONTHS and 1 <= day <= 31):  # noqa: PLR2004  # days
        raise ValueError
    before = 31 * (month - 1) if month <= 7 else 186 + 30 * (month - 7)  # noqa: PLR2004  # 6 of 31
    return date.fromordinal(
        _PERSIAN_EPOCH + 365 * (year - 1) + (8 * year + 21) // 33 + before + day
    )


def _said(text: str, at: int) -> Said:
    """A message, from its name and words."""
    found = _SAID.match(text)
    if found is None:
        return Said(0, 0, "", "", at, "", Kind.SERVICE, extra=text.strip(), is_zoned=False)
    name = named(_STRANGER.sub("", found["name"], count=1))
    text = text[found.end() :]
    said = Said(0, 0, name, name, at, text, is_zoned=False)
    file = _IOS_FILE.search(text) or _ANDROID_FILE.match(text)
    if file is None:
        return said
    path = file["file"].strip()
    kind = _KINDS.get(path.rpartition(".")[2].lower(), Kind.FILE)
    rest = (text[: file.start()] + text[file.end() :]).strip()
    return said._replace(text=rest, kind=kind, extra=named(path), file=inside(path))
