"""All output of the program: how it shows the words of others, and the one place where they go out.

Rules: a name, like anything else that others wrote, is data. `shown` puts it into a line, and
`block` does so for a text that may have several lines: nothing in it can steer a terminal, reverse
the words around it or look like our own line. If a command forgets this, `Screen` does it: nothing
passes it unescaped, not even in JSON.

A finished action stays finished if its result cannot be shown. `Screen` keeps the failure to show
it, and the command's status tells what became of the action (docs/decisions/0028).
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
import unicodedata
from typing import TYPE_CHECKING, Protocol, TextIO

from msgspec import structs

from amanat import front
from amanat.errors import OutputFailed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from amanat.errors import AmanatError

FSI, PDI = "\u2068", "\u2069"
"""First strong isolate and its end (Unicode UAX 9, section 2.4): the text between them has its own
direction and does not change the direction of the text around it."""
FURTHER = "    | "
"""The beginning of every further line of a text: none of our own lines begins so."""
TAB = "    "
_STEPS = 10
"""How many times a person without a terminal is told how far one piece of work has got."""

_CONTROLS = frozenset({"Cc", "Cf", "Zl", "Zp", "Cs", "Co", "Cn"})
"""Unicode's categories of characters without a glyph, or without a known one."""
_VISIBLE = frozenset(
    "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
)
"""Format characters that do have a glyph, such as the Arabic number sign (Unicode property
Prepended_Concatenation_Mark)."""
_LAYOUT = frozenset("\u00ad\u061c\u200e\u200f")
"""Soft hyphen and the marks of direction that open nothing. They are common in texts, have no glyph
and are left out: inside an isolate they would move only the text in it."""
_JOINERS = "\u200c\u200d"
"""ZWNJ, which Persian words need, and ZWJ."""
_VIRAMA = 9
"""Unicode's combining class of the marks after which Indic scripts use joiners (RFC 5892,
appendices A.1 and A.2)."""
_MARKS_BETWEEN = 8
"""Most marks between a letter and its joiner: no word of any script has more."""


def shown(text: str) -> str:
    """A name, or another one-line text by somebody else, as it may stand in our own line."""
    return f"{FSI}{escaped(text)}{PDI}"


def block(text: str) -> str:
    """A text by somebody else that may have several lines; each after the first is marked."""
    first, *further = text.replace("\r\n", "\n").split("\n")
    return "\n".join([shown(first), *(FURTHER + shown(line) for line in further)])


def escaped(text: str, *, keep: str = "") -> str:
    r"""A text without anything that could steer a terminal; `keep` holds marks that we have set.

    Characters without a glyph become Python's escapes (`\x1b`, `\u202e`); joiners stay where a
    script needs them.
    """
    return "".join(
        one if one in keep or _is_plain(one) or _joins(text, at) else _stand_in(one)
        for at, one in enumerate(text)
    )


def as_json(value: object) -> str:
    r"""A value as JSON (RFC 8259) in which every character without a glyph is a \u escape: the
    value is the same, and showing it steers no terminal."""
    text = json.dumps(value, ensure_ascii=False)
    # Outside strings JSON has no such characters.
    return "".join(c if unicodedata.category(c) not in _CONTROLS else _units(c) for c in text)


def told(error: AmanatError) -> str:
    """An error in our own line: its sentence and its detail. People copy a path or an address, so
    the detail is isolated only if something in it is written from right to left."""
    detail = error.detail
    if any(unicodedata.bidirectional(one) in ("R", "AL", "AN") for one in detail):
        return f"{error.text} ({shown(detail)})"
    return f"{error.text} ({escaped(detail)})" if detail else error.text


def _is_plain(one: str) -> bool:
    return unicodedata.category(one) not in _CONTROLS or one in _VISIBLE


def _stand_in(one: str) -> str:
    if one == "\t":
        return TAB
    return "" if one in _LAYOUT else one.encode("unicode_escape").decode()


def _units(one: str) -> str:
    """A character as JSON's escapes: one for each of its UTF-16 units."""
    data = one.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{data[at : at + 2].hex()}" for at in range(0, len(data), 2))


def _joins(text: str, at: int) -> bool:
    """Whether the character at a position is a joiner with a purpose there: between letters that
    join, beside a virama, or in an emoji of several characters."""
    if text[at] not in _JOINERS:
        return False
    after = text[at + 1 : at + 2]
    marks = text[max(0, at - _MARKS_BETWEEN) : at]
    if any(unicodedata.combining(beside) == _VIRAMA for beside in (*marks[-1:], *after)):
        return True
    letter = next((one for one in reversed(marks) if unicodedata.category(one) != "Mn"), "")
    if not letter:
        return False
    if unicodedata.bidirectional(letter) in ("AL", "R") or "\u1800" <= letter <= "\u18af":
        return True  # Arabic and its relatives; Mongolian
    is_emoji = unicodedata.category(letter) in ("So", "Sk") and after != ""
    return is_emoji and text[at] == "\u200d" and unicodedata.category(after) in ("So", "Sm")


def _safe(line: str) -> str:
    """A line as it may go out: escaped, with every open isolate ended."""
    depth, kept = 0, []
    for one in escaped(line, keep=FSI + PDI):
        if one == PDI and not depth:
            kept.append(_stand_in(one))
            continue
        depth += (one == FSI) - (one == PDI)
        kept.append(one)
    return "".join(kept) + PDI * depth


class Bars(Protocol):
    """Bars on the person's terminal, if there is one."""

    def draw(self, bar: front.Bar) -> bool:
        """Draw how far a piece of work has got; whether there is a terminal for it."""
        ...

    def clear(self) -> None:
        """Take all bars away: something else is about to be shown."""
        ...


class Screen:
    """Standard output and standard error of the process that a person started."""

    def __init__(self, *, is_json: bool, draw: Callable[[str], None], bars: Bars) -> None:
        self._is_json, self._draw, self._bars = is_json, draw, bars
        self._steps: dict[int, int] = {}
        """How many tenths of each piece of long work the person was told of."""
        self._begun = {front.RESULT: "", front.NOTE: ""}
        self._lost = {front.RESULT: "", front.NOTE: ""}
        self._lacks = ""

    def say(self, where: int, text: str) -> None:
        """Show a text, or a piece of one: an incomplete line waits for the rest."""
        if where == front.CODE:
            with contextlib.suppress(OSError):  # the text of the picture is shown as well
                self._draw(text)
            return
        self._bars.clear()
        *lines, self._begun[where] = (self._begun[where] + text).split("\n")
        if lines:
            self._write(where, "".join(f"{_safe(line)}\n" for line in lines))

    def bar(self, one: front.Bar) -> None:
        """Show how far a piece of long work has got: as a bar on a terminal, otherwise by a note
        for each tenth of it."""
        text = _safe(one.text)
        if not self._is_json and self._bars.draw(structs.replace(one, text=text)):
            return
        step = _STEPS * min(one.done, one.whole) // one.whole
        if step > self._steps.get(one.number, 0):
            self._steps[one.number] = step
            self.say(front.NOTE, f"amanat: {text}\n")

    def shown(self) -> front.Shown:
        """Whether all results, and all notes, could be shown."""
        lost = self._lost
        return front.Shown(not lost[front.RESULT], not lost[front.NOTE])

    def close(self, status: int, *, is_question: bool) -> int:
        """The exit status of the command, which has nothing more to say.

        A finished action stays finished, whether its result could be shown or not. A question whose
        answer could not be shown has failed.
        """
        self._bars.clear()
        for where, rest in self._begun.items():
            if rest:
                self._write(where, _safe(rest))
        lost = self._lost[front.RESULT]
        if self._lacks:
            self.say(
                front.NOTE,
                f"amanat: {self._lacks} cannot show every character: the others stand as \\u...\n",
            )
        if not lost or status:
            return status
        if is_question:
            self.say(front.NOTE, f"amanat: {told(OutputFailed(lost))}\n")
            return OutputFailed.exit_status
        self.say(
            front.NOTE,
            f"amanat: it is done, but could not be shown ({lost}): do not do it again\n",
        )
        return status

    def _write(self, where: int, text: str) -> None:
        stream = sys.stdout if where == front.RESULT else sys.stderr
        if self._lost[where]:
            return
        if stream is None:
            self._lost[where] = os.strerror(errno.EBADF)
            return
        try:
            data = self._encode(text, stream.encoding or "utf-8", where)
            stream.flush()
            stream.buffer.write(data)
            stream.flush()
        except OSError as error:
            self._lost[where] = error.strerror or type(error).__name__
            _give_up(stream)

    def _encode(self, text: str, encoding: str, where: int) -> bytes:
        for each in (text, text.replace(FSI, "").replace(PDI, "")):
            with contextlib.suppress(UnicodeEncodeError):
                return each.encode(encoding)
        if where == front.RESULT and self._is_json:
            return as_ascii(text).encode(encoding)
        self._lacks = f"a terminal of {encoding}"
        return each.encode(encoding, "backslashreplace")


def as_ascii(text: str) -> str:
    """JSON in which every character is one of ASCII; the value is the same."""
    return "".join(one if one.isascii() else _units(one) for one in text)


def _give_up(stream: TextIO) -> None:
    """Discard the bytes that the stream still holds, which the process would otherwise try, and
    fail, to write at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, stream.fileno())
    finally:
        os.close(nowhere)


class Out:
    """The output of a command: `say` has its words shown, `draw` its bars, and `shown` tells
    whether the words were."""

    def __init__(
        self,
        *,
        is_json: bool,
        say: Callable[[int, str], None],
        draw: Callable[[front.Bar], None],
        shown: Callable[[], Awaitable[front.Shown]],
    ) -> None:
        self.is_json = is_json
        self._say, self._draw, self._shown = say, draw, shown

    def result(self, value: object, text: str) -> None:
        """The result: `value` as JSON, or `text` for a person."""
        if self.is_json:
            self._say(front.RESULT, as_json(value) + "\n")
        elif text:
            self._say(front.RESULT, f"{text}\n")

    def note(self, text: str) -> None:
        """A note for the person, which is not the result."""
        self._say(front.NOTE, f"amanat: {text}\n")

    def bar(self, number: int, text: str, *, done: int, whole: int) -> None:
        """How far the piece of long work with this number has got, which `text` says in a line."""
        self._draw(front.Bar(number, text, done, max(whole, 1)))

    def code(self, text: str) -> None:
        """A text as a QR code."""
        self._say(front.CODE, text)

    async def shown(self) -> front.Shown:
        """Wait until the person has been shown everything; returns whether that succeeded."""
        return await self._shown()

    async def need_shown(self) -> None:
        """Wait as `shown` does. Raises OutputFailed if the results could not be shown."""
        if not (await self._shown()).results:
            raise OutputFailed
