"""The transcript: the messages of a conversation, read from any place in it, in both directions.

A conversation has one order for everybody, by `Position`, and a second one in this vault, by `row`,
the order of arrival. A page reads a stretch of the first order; the read mark belongs to the
second. A repaired message can therefore be unread and stand far above messages that were read.

We read a stretch by its position and never count from the beginning, so a conversation of 100,000
messages opens as fast as one of ten. We count the messages before a stretch once, and then know the
count for the stretches beside it, until a message comes or goes.
"""

from __future__ import annotations

import itertools
from enum import StrEnum, unique
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple, Self, assert_never

import msgspec

from amanat.errors import AmbiguousName, BadArgument, UnknownMessage
from amanat.protocol.files import decode_file
from amanat.protocol.messages import FileKind, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from amanat.client.vault import Vault

MIN_PREFIX = 4
"""The fewest hex digits that may stand for a whole id."""
MAX_STRETCH = 1_000
"""The most messages read at once. Reading more takes several stretches."""
_ID_DIGITS = 32
_MAX_KNOWN = 256
"""The most positions of one conversation whose counts are remembered. Beyond that we forget them
and count again."""


class Quote(NamedTuple):
    """The text that another text answers. `text` is None if it was deleted or is not here."""

    id: bytes
    identity: bytes | None
    """None if the text is not here, or not yet."""
    text: str | None


class Position(NamedTuple):
    """The place of a message in its conversation. Positions sort in the order in which messages are
    shown."""

    clock: int
    identity: bytes
    seq: int
    id: bytes

    def __str__(self) -> str:
        return f"{self.clock}.{self.identity.hex()}.{self.seq}.{self.id.hex()}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The position that a string stands for. Raises BadArgument."""
        try:
            clock, identity, seq, mid = text.split(".")
            return cls(int(clock), bytes.fromhex(identity), int(seq), bytes.fromhex(mid))
        except ValueError:
            raise BadArgument("this is no position of a message") from None


class Entry(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """A message in its present form. Times are Unix milliseconds, by its author's clock and by
    ours."""

    # Its fields have the order of the statement's columns, so that msgspec makes all entries of an
    # answer in one call. In Python, one entry took seven times as long. The garbage collector need
    # not look at entries, because nothing that they hold leads back to them.
    row: int
    gid: bytes
    id: bytes
    """The message id, the same for everybody."""
    identity: bytes
    """The author's identity."""
    seq: int
    """Its number in its author's count."""
    clock: int
    text: str | None
    """None once it was deleted by its author."""
    reply_to: bytes | None
    quoted: bytes | None
    quoted_text: str | None
    is_edited: bool
    sent_at: int
    kept_at: int
    expires_at: int | None
    envelope: bytes
    """The id of the envelope that brought it."""
    is_delivered: bool
    """For a text of ours: whether everybody has it."""
    is_waiting: bool
    """For a text of ours: whether it waits until we are in step again."""
    is_counted: bool
    """Whether it has a number in the present count of its conversation."""
    is_note: bool
    """Whether it is one of our notes to ourselves."""
    is_forwarded: bool
    """Whether its author says that they forward somebody's words."""
    file: bytes | None
    """The announcement of its file (messages.File), if it is one."""
    is_near: bool
    """Whether the file rests at a relay at which its author is reached."""
    blob: bytes | None
    """The blob that holds the file, if all of it is here."""
    outline: bytes | None
    """The blob that holds the file's outline, if that alone is here."""
    is_played: bool
    """Whether the person has played the file."""
    reactions: dict[bytes, str] = {}
    """The reactions, by identity. They come from a statement of their own."""

    @property
    def position(self) -> Position:
        """Its place in its conversation."""
        return Position(self.clock, self.identity, self.seq, self.id)

    @property
    def quote(self) -> Quote | None:
        """The text that it answers, if it answers one."""
        return Quote(self.reply_to, self.quoted, self.quoted_text) if self.reply_to else None

    def state(self, *, is_saying: bool) -> Progress:
        """How far a text of ours has got.

        `is_saying` says whether some of our envelopes in its conversation are still on their way to
        a relay.
        """
        if self.is_note:
            return Progress.KEPT
        if self.is_delivered:
            return Progress.DELIVERED
        if self.is_waiting:
            return Progress.WAITING
        if not self.is_counted:
            return Progress.UNDELIVERED
        return Progress.QUEUED if is_saying else Progress.SENT


@unique
class Progress(StrEnum):
    """How far a text of ours has got."""

    WAITING = "waiting"
    """It leaves once the conversation is in step again."""
    QUEUED = "queued"
    SENT = "sent"
    """A relay has it."""
    DELIVERED = "delivered"
    """Everybody has it."""
    UNDELIVERED = "undelivered"
    """Not everybody has it, and the client no longer sends it."""
    KEPT = "kept"
    """It is a note to ourselves, and stays in this vault."""
    NOT_OURS = ""
    """For texts of others."""


class Newest(NamedTuple):
    """The end of a conversation."""


class Before(NamedTuple):
    """The messages directly before a position."""

    position: Position


class After(NamedTuple):
    """The messages directly after a position."""

    position: Position


class Around(NamedTuple):
    """A message, by its id or its first digits, in the middle of the messages around it."""

    id: str


class Unread(NamedTuple):
    """The first unread message and those around it; the end if there is none."""


class Share(NamedTuple):
    """The messages from a share of the whole on, from 0 to 1, as when a scroll bar is dragged
    there."""

    of: float


class Day(NamedTuple):
    """The messages from the first one sent at this time or later, in Unix milliseconds."""

    at: int


Scroll = Newest | Before | After | Around | Unread | Share | Day
"""The place in a conversation at which to read."""


class Part(NamedTuple):
    """Consecutive messages, the number of messages before them, and the number of all."""

    entries: list[Entry]
    before: int
    total: int


_ORDER = "m.clock, m.identity, m.seq, m.id"
_BACK = "m.clock DESC, m.identity DESC, m.seq DESC, m.id DESC"
_AT = "(m.clock, m.identity, m.seq, m.id)"


class Transcript:
    """The messages of all conversations of one vault."""

    def __init__(self, vault: Vault, identity: bytes) -> None:
        """`identity` is our own."""
        self._read = vault.read
        self._identity = identity
        self._known: dict[bytes, tuple[tuple[int, int], dict[Position, int]]] = {}
        """By conversation: the number of its messages and the newest row, and the counts made
        then."""
        vault.bind(forget=self._known.clear)

    def part(self, gid: bytes, where: Scroll, *, many: int) -> Part:
        """A part of a conversation, at most `many` messages.

        Raises UnknownMessage, AmbiguousName or BadArgument.
        """
        many = max(1, min(many, MAX_STRETCH))
        total = self.total(gid)
        match where:
            case Newest():
                rows = self._rows(gid, "TRUE", (), many=many, is_back=True)
            case Before(position):
                rows = self._rows(gid, f"{_AT} < (?, ?, ?, ?)", position, many=many, is_back=True)
            case After(position):
                rows = self._rows(gid, f"{_AT} > (?, ?, ?, ?)", position, many=many)
            case Around(prefix):
                rows = self._around(gid, self.position(gid, self.find(gid, prefix)), many)
            case Unread():
                first = self.first_unread(gid)
                if first is None:
                    return self.part(gid, Newest(), many=many)
                rows = self._around(gid, first, many)
            case Share(of):
                if not 0 <= of <= 1:
                    raise BadArgument("a share is a number from 0 to 1")
                rows = self._from(gid, min(int(of * total), max(total - many, 0)), many)
            case Day(at):
                rows = self._day(gid, at, many)
            case _:
                assert_never(where)
        entries = self.entries(gid, rows)
        return Part(entries, self._before(gid, where, entries, total), total)

    def total(self, gid: bytes) -> int:
        """The number of messages in a conversation."""
        row = self._read.execute("SELECT held FROM tally WHERE gid = ?", (gid,)).fetchone()
        return int(row[0]) if row else 0

    def everything(self, gid: bytes, *, after: int = 0) -> list[Entry]:
        """The messages of a conversation in its order, from rows above `after` only."""
        rows = self._read.execute(
            "SELECT row FROM message WHERE gid = ? AND row > ?", (gid, after)
        ).fetchall()
        return self.entries(gid, [row[0] for row in rows])

    def at(self, gid: bytes, row: int) -> Entry | None:
        """The message in a row, if it is here."""
        return next(iter(self.entries(gid, [row])), None)

    def files(
        self,
        gid: bytes,
        *,
        before: Position | None,
        after: Position | None,
        many: int,
        pictures: bool = False,
    ) -> list[Entry]:
        """The messages that are files, the newest first: the last of those before a position, or
        the first of those after one; at most `many`. With `pictures`, only pictures that are
        here."""
        many = max(1, min(many, MAX_STRETCH))
        place, is_back = before or after, after is None or before is not None
        which = "TRUE" if place is None else f"{_AT} {'<' if is_back else '>'} (?, ?, ?, ?)"
        which += " AND f.blob IS NOT NULL" if pictures else ""
        # There are far fewer files than messages, so the statement begins with them.
        rows = self._read.execute(
            "SELECT m.row, f.body FROM file AS f"  # noqa: S608
            " CROSS JOIN message AS m ON m.gid = f.gid AND m.id = f.id"
            f" WHERE f.gid = ? AND {which} ORDER BY {_BACK if is_back else _ORDER} LIMIT ?",
            (gid, *(place or ()), -1 if pictures else many),
        )
        found = (row for row, body in rows if not pictures or _is_picture(body))
        return self.entries(gid, list(itertools.islice(found, many)))[::-1]

    def links(self, gid: bytes, *, before: Position | None, many: int) -> list[Entry]:
        """The messages whose words hold `://`, as links do, the newest first: the last of those
        before a position; at most `many`."""
        which = "instr(m.text, '://') > 0"  # as the index has it
        which += "" if before is None else f" AND {_AT} < (?, ?, ?, ?)"
        many = max(1, min(many, MAX_STRETCH))
        return self.entries(gid, self._rows(gid, which, before or (), many=many, is_back=True))[
            ::-1
        ]

    def entries(self, gid: bytes | None, rows: Sequence[int]) -> list[Entry]:
        """The messages in these rows: of one conversation, in its order, or of any, in none."""
        # One statement for each thousand rows, because SQLite limits the number of parameters.
        found: list[Entry] = []
        for begin in range(0, len(rows), MAX_STRETCH):
            found += self._entries(gid, rows[begin : begin + MAX_STRETCH])
        if gid is not None:
            found.sort(key=attrgetter("position"))
        return found

    def _entries(self, gid: bytes | None, rows: Sequence[int]) -> list[Entry]:
        marks = ", ".join("?" * len(rows))
        reactions: dict[tuple[bytes, bytes], dict[bytes, str]] = {}
        for where, mid, identity, emoji in self._read.execute(
            "SELECT m.gid, m.id, change.identity, value FROM message AS m JOIN change"  # noqa: S608
            " ON change.gid = m.gid AND target = m.id"
            f" WHERE m.row IN ({marks}) AND kind = ? AND value != ''",
            (*rows, Kind.REACTION),
        ).fetchall():
            reactions.setdefault((where, mid), {})[identity] = emoji
        found = self._read.execute(
            "SELECT m.row, m.gid, m.id, m.identity, m.seq, m.clock, m.text, m.reply_to,"  # noqa: S608
            " q.identity, q.text,"
            " EXISTS (SELECT 1 FROM change WHERE gid = m.gid AND target = m.id"
            " AND identity = m.identity AND kind = ?),"
            " m.sent_at, m.kept_at, m.expires_at, m.envelope, m.is_delivered,"
            " m.identity = ? AND EXISTS (SELECT 1 FROM waiting WHERE gid = m.gid"
            " AND envelope = m.envelope AND kind IN (?, ?)),"
            " m.seq > c.counted, c.state = 'notes', m.is_forwarded,"
            " f.body, coalesce(f.is_near, 0), f.blob, f.outline,"
            " coalesce(f.is_played, 0)"
            " FROM message AS m JOIN conversation AS c ON c.gid = m.gid"
            " LEFT JOIN file AS f ON f.gid = m.gid AND f.id = m.id"
            " LEFT JOIN message AS q ON q.gid = m.gid AND q.id = m.reply_to"
            f" WHERE m.row IN ({marks}) AND (? IS NULL OR m.gid = ?)",
            (Kind.EDIT, self._identity, Kind.TEXT, Kind.FILE, *rows, gid, gid),
        ).fetchall()
        entries = msgspec.convert(found, list[Entry], strict=False)  # SQLite's 0 and 1 are bools
        if not reactions:
            return entries
        return [
            msgspec.structs.replace(entry, reactions=reactions.get((entry.gid, entry.id), {}))
            for entry in entries
        ]

    def find(self, gid: bytes, prefix: str) -> bytes:
        """The id of a message by its first hex digits.

        Raises UnknownMessage, AmbiguousName, or BadArgument if `prefix` cannot be such digits.
        """
        digits = prefix.lower()
        if not MIN_PREFIX <= len(digits) <= _ID_DIGITS or set(digits) - set("0123456789abcdef"):
            raise BadArgument(f"the id of a message has {MIN_PREFIX} to {_ID_DIGITS} hex digits")
        low, high = (bytes.fromhex(digits.ljust(_ID_DIGITS, end)) for end in "0f")
        found = self._read.execute(
            "SELECT id FROM message WHERE gid = ? AND id BETWEEN ? AND ? LIMIT 2", (gid, low, high)
        ).fetchall()
        if not found:
            raise UnknownMessage(prefix)
        if len(found) > 1:
            raise AmbiguousName(prefix)
        return bytes(found[0][0])

    def row(self, gid: bytes, mid: bytes) -> int:
        """The row of a message. Raises UnknownMessage."""
        found = self._read.execute(
            "SELECT row FROM message WHERE gid = ? AND id = ?", (gid, mid)
        ).fetchone()
        if found is None:
            raise UnknownMessage(mid.hex())
        return int(found[0])

    def position(self, gid: bytes, mid: bytes) -> Position:
        """The position of a message. Raises UnknownMessage."""
        found = self._read.execute(
            "SELECT clock, identity, seq, id FROM message WHERE gid = ? AND id = ?", (gid, mid)
        ).fetchone()
        if found is None:
            raise UnknownMessage(mid.hex())
        return Position(*found)

    def unread_rows(self, gid: bytes, *, many: int = -1) -> list[int]:
        """The rows of the texts of others since the read mark, in the order in which they arrived:
        the first `many` of them, or all if `many` is negative."""
        rows = self._read.execute(
            "SELECT m.row FROM conversation AS c JOIN message AS m ON m.gid = c.gid"
            " AND m.row > c.read_row WHERE c.gid = ? AND m.identity != ? ORDER BY m.row LIMIT ?",
            (gid, self._identity, many),
        ).fetchall()
        return [row[0] for row in rows]

    def newest_row(self, gid: bytes) -> int:
        """The row of the message that arrived last; 0 if there is none."""
        (newest,) = self._read.execute(
            "SELECT coalesce(max(row), 0) FROM message WHERE gid = ?", (gid,)
        ).fetchone()
        return int(newest)

    def _rows(
        self,
        gid: bytes,
        which: str,
        values: Iterable[object],
        *,
        many: int,
        is_back: bool = False,
    ) -> list[int]:
        rows = self._read.execute(
            f"SELECT m.row FROM message AS m WHERE m.gid = ? AND {which}"  # noqa: S608
            f" ORDER BY {_BACK if is_back else _ORDER} LIMIT ?",
            (gid, *values, many),
        ).fetchall()
        return [row[0] for row in rows]

    def _around(self, gid: bytes, middle: Position, many: int) -> list[int]:
        """The rows around a position: half of them before it, and more if fewer follow it."""
        behind = self._rows(gid, f"{_AT} >= (?, ?, ?, ?)", middle, many=many - many // 2)
        ahead = self._rows(
            gid, f"{_AT} < (?, ?, ?, ?)", middle, many=many - len(behind), is_back=True
        )
        return ahead + behind

    def first_unread(self, gid: bytes) -> Position | None:
        """The position of the first text of somebody else that the person has not read."""
        found = self._read.execute(
            "SELECT m.clock, m.identity, m.seq, m.id FROM message AS m WHERE m.gid = ?1"  # noqa: S608
            " AND m.row > (SELECT read_row FROM conversation WHERE gid = ?1) AND m.identity != ?2"
            f" ORDER BY {_ORDER} LIMIT 1",
            (gid, self._identity),
        ).fetchone()
        return Position(*found) if found else None

    def _from(self, gid: bytes, number: int, many: int) -> list[int]:
        """The rows from the message before which `number` messages stand."""
        rows = self._read.execute(
            f"SELECT m.row FROM message AS m WHERE m.gid = ? ORDER BY {_ORDER} LIMIT ? OFFSET ?",  # noqa: S608
            (gid, many, number),
        ).fetchall()
        return [row[0] for row in rows]

    def _day(self, gid: bytes, at: int, many: int) -> list[int]:
        """The rows from the first message sent at a time or later. The first in order counts,
        because the clocks of authors differ."""
        found = self._read.execute(
            "SELECT m.clock, m.identity, m.seq, m.id FROM message AS m"  # noqa: S608
            f" WHERE m.gid = ? AND m.sent_at >= ? ORDER BY {_ORDER} LIMIT 1",
            (gid, at),
        ).fetchone()
        if found is None:
            return self._rows(gid, "TRUE", (), many=many, is_back=True)
        return self._rows(gid, f"{_AT} >= (?, ?, ?, ?)", Position(*found), many=many)

    def _before(self, gid: bytes, where: Scroll, entries: list[Entry], total: int) -> int:
        """The number of messages before these."""
        if not entries:
            return 0 if isinstance(where, Before) else total
        if isinstance(where, Newest):
            before = total - len(entries)
        else:
            known_before = self._known_before(gid, where, entries, total)
            before = self._count(gid, entries[0]) if known_before is None else known_before
        known = self._places(gid, total)
        if len(known) >= _MAX_KNOWN:
            known.clear()
        known[entries[0].position] = before
        known[entries[-1].position] = before + len(entries) - 1
        return before

    def _count(self, gid: bytes, first: Entry) -> int:
        row = self._read.execute(
            f"SELECT count(*) FROM message AS m WHERE m.gid = ? AND {_AT} < (?, ?, ?, ?)",  # noqa: S608
            (gid, *first.position),
        ).fetchone()
        return int(row[0])

    def _known_before(
        self, gid: bytes, where: Scroll, entries: list[Entry], total: int
    ) -> int | None:
        known = self._places(gid, total)
        if isinstance(where, Before) and where.position in known:
            return known[where.position] - len(entries)
        if isinstance(where, After) and where.position in known:
            return known[where.position] + 1
        return known.get(entries[0].position)

    def _places(self, gid: bytes, total: int) -> dict[Position, int]:
        """The known numbers of messages before certain positions, as long as no message has come or
        gone. No row is ever used again, so the number of messages or the newest row shows every
        change."""
        newest = self.newest_row(gid)
        state, known = self._known.get(gid, ((0, 0), dict[Position, int]()))
        if state != (total, newest):
            known = {}
            self._known[gid] = (total, newest), known
        return known


def _is_picture(body: bytes) -> bool:
    """Whether the announcement of a file is that of a picture."""
    return decode_file(body).kind is FileKind.PICTURE
