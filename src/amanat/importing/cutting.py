"""Cuts a large JSON text into the few parts that matter, in bounded memory.

The objects in certain arrays are *items*: each comes as its own bytes, unread. All other values
come one by one, each with its path. A JSON library would end at the first fault, and Telegram
writes JSON with faults. Here a fault costs one item: cutting goes on where the next item begins.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from amanat.errors import BrokenExport, NotAnExport

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

MAX_PIECE_BYTES = 1 << 20
"""The largest item or string, in bytes: a message of Telegram has some kilobytes."""
MAX_DEPTH = 32
"""The most objects and arrays in each other, and so of spaces before a line: an export has ten."""

Path: TypeAlias = tuple[str, ...]
"""The keys that lead to a value. An array adds none."""

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_TOKEN = re.compile(rb"\s*+(?:([{}\[\]:,])|(" + _STRING + rb')|([^\s{}\[\]:,"]++))', re.DOTALL)
_BRACKET = re.compile(rb'(?:[^"{}\[\]]++|' + _STRING + rb')*+([{}\[\]"])', re.DOTALL)
"""Whatever comes before the next bracket, and the bracket; a quote means that a string is cut."""


class Opened(NamedTuple):
    """An object begins."""

    path: Path


class Value(NamedTuple):
    """A string or another single value, as its JSON."""

    path: Path
    json: bytes


class Item(NamedTuple):
    """An object of an array of items, as its JSON."""

    path: Path
    json: bytes


class Lost(NamedTuple):
    """An item that has no end, or is too large."""

    path: Path


class Ended(NamedTuple):
    """The text has ended: whole, or in the middle."""

    is_whole: bool


Piece: TypeAlias = Opened | Value | Item | Lost | Ended


class _Frame:
    """An object or an array that is open."""

    def __init__(self, path: Path, *, is_array: bool, holds_items: bool) -> None:
        self.path = path
        self.is_array = is_array
        self.holds_items = holds_items
        self.key: str | None = None
        self.string: bytes | None = None
        self.next: re.Pattern[bytes] | None = None
        """The beginning of the next item, or the array's end: a line with the indentation of the
        first item or, for the end, with less."""

    def learn(self, gap: bytes) -> None:
        """Learn the indentation from the bytes before the first item."""
        _, is_line, indent = gap.rpartition(b"\n")
        if self.next is None and is_line:
            many = max(len(indent) - 1, 0)
            self.next = re.compile(rb"\n(?=" + indent + rb"\{|[ \t]{0,%d}\])" % many)

    def resumes(self, data: bytes, start: int, end: int) -> re.Match[bytes] | None:
        """The line in a part of the bytes at which the next item begins, or the array ends."""
        return self.next.search(data, start, end) if self.next else None

    def place(self) -> Path:
        """The path of the value that comes next."""
        return self.path if self.is_array or self.key is None else (*self.path, self.key)


def cut(chunks: Iterable[bytes], items: Collection[Path]) -> Iterator[Piece]:
    """The pieces of a JSON text whose arrays at the paths of `items` hold items.

    Raises NotAnExport if the text is no JSON object, or BrokenExport if it cannot be followed.
    """
    data = b""
    stack: list[_Frame] = []
    is_begun = is_lost = False
    for chunk in _and_end(chunks):
        is_last = chunk is None
        data += chunk or b""
        at = 0
        while True:
            if is_lost:
                found = stack[-1].resumes(data, at, len(data))
                if found is None:
                    at = max(at, len(data) - MAX_DEPTH)
                    break
                at, is_lost = found.end(), False
            if stack and stack[-1].holds_items and (start := _item_begins(data, at)) is not None:
                stack[-1].learn(data[at:start])
                end = _item_ends(data, start)
                resumes = stack[-1].resumes(data, start, end or len(data))
                if (
                    end is not None
                    and end - start <= MAX_PIECE_BYTES
                    and end > start
                    and not resumes
                ):
                    yield Item(stack[-1].path, data[start:end])
                    at = end
                    continue
                if end is not None or len(data) - start > MAX_PIECE_BYTES or (is_last and resumes):
                    yield Lost(stack[-1].path)
                    at, is_lost = start + 1, True
                    continue
                at = start
                break
            token = _TOKEN.match(data, at)
            if token is None or (token[3] is not None and token.end() == len(data) and not is_last):
                break
            if stack and stack[-1].holds_items and (token[1] or b"?") not in b",]":
                yield Lost(stack[-1].path)
                at, is_lost = token.end(), True
                continue
            if not stack and is_begun:
                raise BrokenExport("it goes on after its end")
            if not stack and token[1] != b"{":
                raise NotAnExport("it is not one JSON object")
            is_begun = True
            yield from _take(token, stack, items)
            at = token.end()
        data = data[at:]
        if len(data) > 2 * MAX_PIECE_BYTES:
            raise BrokenExport("a value in it has no end")
    if not is_begun:
        raise NotAnExport("it is empty")
    yield Ended(is_whole=not stack and not is_lost)


def _and_end(chunks: Iterable[bytes]) -> Iterator[bytes | None]:
    yield from chunks
    yield None


def _item_begins(data: bytes, at: int) -> int | None:
    """Where an item begins, if one is next."""
    while at < len(data) and data[at] in b" \t\r\n,":
        at += 1
    return at if data[at : at + 1] == b"{" else None


def _item_ends(data: bytes, start: int) -> int | None:
    """The place after an item; `start` if it is too deep, None if its end is not here."""
    open_brackets, at = b"", start
    while found := _BRACKET.match(data, at):
        at = found.end()
        bracket = found[1]
        if bracket == b'"':
            return None
        if bracket in b"{[":
            open_brackets += bracket
            if len(open_brackets) > MAX_DEPTH:
                return start
            continue
        if open_brackets[-1:] != (b"{" if bracket == b"}" else b"["):
            return start
        open_brackets = open_brackets[:-1]
        if not open_brackets:
            return at
    return None


def _take(token: re.Match[bytes], stack: list[_Frame], items: Collection[Path]) -> Iterator[Piece]:
    """Follow a token outside of items."""
    mark, string, scalar = token.groups()
    top = stack[-1] if stack else None
    if mark in (b"{", b"["):
        path = top.place() if top else ()
        if len(stack) >= MAX_DEPTH:
            raise BrokenExport("it is nested too deeply")
        is_array = mark == b"["
        stack.append(_Frame(path, is_array=is_array, holds_items=is_array and path in items))
        if not is_array:
            yield Opened(path)
    elif top is None:
        raise BrokenExport("it goes on after its end")
    elif mark in (b"}", b"]"):
        if top.is_array != (mark == b"]"):
            raise BrokenExport("its brackets do not match")
        stack.pop()
    elif mark == b":":
        top.key = (top.string or b'""')[1:-1].decode("utf-8", "replace")
    elif mark == b",":
        top.key = top.string = None
    elif top.is_array or top.key is not None:
        yield Value(top.place(), string or scalar)
    else:
        top.string = string
