"""Transfers: files on their way to a relay or from one.

Rules: the vault has one row for each transfer, and not for each cell. It notes which cells are done
only now and then: a cell is a function of the file and its secret, so a process that died sends
some cells again, and the relay answers as before. An `Upload` or a `Download` chooses the next
cells and judges the answers, and asks for no more bytes at once than the caller allows. The client
checks each cell before it uses it.
"""

from __future__ import annotations

import secrets
from collections import deque
from enum import StrEnum, unique
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from amanat.errors import (
    DropFull,
    FileGone,
    FileIncomplete,
    InvalidCell,
    InvalidFile,
    LabelTaken,
    NoSuchDrop,
    PeerError,
    TrustError,
    Unavailable,
)
from amanat.protocol import codec, wire
from amanat.protocol.cells import LABEL_BYTES, LARGE_CELL
from amanat.protocol.drops import HANDSHAKE_RETENTION_DAYS, MESSAGE_RETENTION_DAYS
from amanat.protocol.files import FileDrop, Known, decode_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from amanat.client.unit import Unit
    from amanat.client.vault import Vault
    from amanat.protocol.messages import File

DAY_MS = 86_400_000
LONG_CELLS = 256
"""The most cells of a file (16 MiB) for which a relay is asked to keep it 30 days. That is how long
a sender repairs messages, and one that was repaired must not point at nothing. Longer files rest
for 14 days, because they take more of the relay."""
LEAST_DAYS = 7
"""The fewest days for which a file must still rest when it is announced: many people are away for a
week. A file that took longer to send is put up anew."""
MAX_ANEW = 3
"""How often a file is put up anew by itself because a relay has lost it, or has refused a label."""
PAGE_CELLS = wire.READ_BYTES // LARGE_CELL
"""The most large cells in an answer of a relay."""
MAX_JUNK = 64
"""The most cells of others that we pass over in the drop of a file: 4 MiB."""
OUTLINE_MS = 60_000
"""An outline that comes by itself is fetched at a random time in so many milliseconds, so that the
clients of a large group do not all ask one relay at once."""
OUTLINE_PLACES = PAGE_CELLS
"""In how many places of its drop an outline is looked for that comes by itself. It is in the first
one unless its sender had to send it twice."""
RETRY_MS = (30_000, 6 * 3_600_000)
"""The first and the longest pause before a file of which cells are missing is asked for again, in
milliseconds."""


@unique
class Phase(StrEnum):
    """How a transfer stands. The vault keeps these values."""

    UNDER_WAY = "under-way"
    PAUSED = "paused"
    """The person has paused it."""
    FAILED = "failed"
    """It has ended with an error, and goes on only if the person wants it."""


class Lane(NamedTuple):
    """The transfers to a relay, or from it, which go one after the other."""

    relay: bytes
    is_up: bool


class Transfer(NamedTuple):
    """A file on its way. `message` is the message of the file; None if it is said once it is at the
    relay. With `is_outline`, the client fetches only its outline."""

    id: int
    gid: bytes
    message: bytes | None
    is_up: bool
    file: File
    owner: bytes
    blob: bytes
    done: bytes
    relay: bytes
    phase: Phase
    error: str
    began_at: int | None
    tries: int
    due_at: int
    is_outline: bool

    @property
    def lane(self) -> Lane:
        """The lane in which it goes."""
        return Lane(self.relay, self.is_up)

    @property
    def cells_done(self) -> int:
        """The number of cells that are done."""
        return int.from_bytes(self.done, "big").bit_count()


_COLUMNS = (
    "id, gid, message, is_up, body, owner, blob, done, relay, phase, error, began_at, tries,"
    " due_at, is_outline"
)


class Transfers:
    """The transfers of one vault."""

    def __init__(self, vault: Vault) -> None:
        self._read = vault.read

    def begin(
        self,
        unit: Unit,
        gid: bytes,
        file: File,
        blob: bytes,
        *,
        message: bytes | None,
        owner: bytes = b"",
    ) -> int:
        """Begin a transfer, to a relay if there is an `owner`; returns its id."""
        (number,) = unit.db.execute(
            "INSERT INTO transfer (gid, message, is_up, body, owner, blob, done, relay, phase,"
            " due_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
            (
                *(gid, message, bool(owner), codec.encode(file), owner, blob),
                *(no_bits(file.cells), file.relay, Phase.UNDER_WAY, unit.now),
            ),
        ).fetchone()
        return int(number)

    def begin_outline(
        self, unit: Unit, gid: bytes, file: File, blob: bytes, *, message: bytes
    ) -> int:
        """Begin to fetch the outline of a file, at a random time in OUTLINE_MS; returns the id."""
        number = self.begin(unit, gid, file, blob, message=message)
        unit.db.execute(
            "UPDATE transfer SET is_outline = 1, due_at = ? WHERE id = ?",
            (unit.now + secrets.randbelow(OUTLINE_MS), number),
        )
        return number

    def get(self, number: int) -> Transfer | None:
        """A transfer by its id; None if it has ended."""
        found = self._find("id = ?", number)
        return found[0] if found else None

    def all(self, gid: bytes | None = None) -> list[Transfer]:
        """The transfers of a conversation, or all, in the order in which they began."""
        return self._find("?1 IS NULL OR gid = ?1", gid)

    def of(self, gid: bytes, message: bytes, *, is_up: bool) -> Transfer | None:
        """The transfer of a message's file, if there is one."""
        found = self._find("gid = ? AND message = ? AND is_up = ?", gid, message, is_up)
        return found[0] if found else None

    def lanes(self, *, now: int) -> list[Lane]:
        """The lanes in which a transfer may go on."""
        first = f"SELECT min(due_at) FROM transfer WHERE phase = '{Phase.UNDER_WAY}'"  # noqa: S608
        if not self._read.is_due(first, now):
            return []
        rows = self._read.execute(
            "SELECT DISTINCT relay, is_up FROM transfer WHERE phase = ? AND due_at <= ?",
            (Phase.UNDER_WAY, now),
        ).fetchall()
        return [Lane(relay, bool(is_up)) for relay, is_up in rows]

    def next(self, lane: Lane, *, now: int) -> Transfer | None:
        """The transfer of a lane that goes on now. Outlines go first, because each is one cell."""
        found = self._find(
            "relay = ? AND is_up = ? AND phase = ? AND due_at <= ?",
            *(lane.relay, lane.is_up, Phase.UNDER_WAY, now),
            rest="ORDER BY is_outline DESC, id LIMIT 1",
        )
        return found[0] if found else None

    def is_outline_due(self, relay: bytes, *, now: int) -> bool:
        """Whether an outline is to be fetched from a relay now."""
        first = (
            "SELECT relay, min(due_at) FROM transfer"  # noqa: S608  # our word
            f" WHERE is_outline AND phase = '{Phase.UNDER_WAY}' GROUP BY relay"
        )
        return any(where == relay and at <= now for where, at in self._read.all(first))

    def is_under_way(self, number: int) -> bool:
        """Whether a transfer has neither ended nor been paused."""
        # Each cell asks for this, and the vault is slow to read.
        going = f"SELECT id FROM transfer WHERE phase = '{Phase.UNDER_WAY}'"  # noqa: S608
        return (number,) in self._read.all(going)

    def note(self, unit: Unit, number: int, done: bytes) -> None:
        """Record which cells are done."""
        unit.db.execute(
            "UPDATE transfer SET done = ?, began_at = coalesce(began_at, ?) WHERE id = ?",
            (done, unit.now, number),
        )

    def anew(self, unit: Unit, transfer: Transfer, file: File, owner: bytes) -> None:
        """Begin an upload from its first cell, to a drop of its own."""
        unit.db.execute(
            "UPDATE transfer SET body = ?, owner = ?, relay = ?, done = ?, began_at = NULL,"
            " tries = tries + 1 WHERE id = ?",
            (codec.encode(file), owner, file.relay, no_bits(file.cells), transfer.id),
        )

    def turn(self, unit: Unit, number: int, file: File) -> None:
        """Go on with a download at another relay, or in another drop, at once."""
        unit.db.execute(
            "UPDATE transfer SET body = ?, relay = ? WHERE id = ?",
            (codec.encode(file), file.relay, number),
        )
        self._go_on(unit, number)

    def later(self, unit: Unit, number: int) -> None:
        """Go on with a transfer after a pause, which grows each time."""
        (tries,) = unit.db.execute(
            "SELECT tries FROM transfer WHERE id = ?", (number,)
        ).fetchone() or (0,)
        pause = min(RETRY_MS[0] << min(tries, 16), RETRY_MS[1])
        unit.db.execute(
            "UPDATE transfer SET due_at = ?, tries = tries + 1 WHERE id = ?",
            (unit.now + pause, number),
        )

    def fail(self, unit: Unit, number: int, code: str) -> None:
        """End a transfer with the error of this code, until the person wants it again."""
        unit.db.execute(
            "UPDATE transfer SET phase = ?, error = ? WHERE id = ?", (Phase.FAILED, code, number)
        )

    def pause(self, unit: Unit, number: int) -> None:
        """Pause a transfer that is under way."""
        unit.db.execute(
            "UPDATE transfer SET phase = ? WHERE id = ? AND phase = ?",
            (Phase.PAUSED, number, Phase.UNDER_WAY),
        )

    def resume(self, unit: Unit, number: int) -> None:
        """Go on with a transfer, at once. One of an outline brings the whole file from now on."""
        unit.db.execute("UPDATE transfer SET is_outline = 0 WHERE id = ?", (number,))
        self._go_on(unit, number)

    @staticmethod
    def _go_on(unit: Unit, number: int) -> None:
        unit.db.execute(
            "UPDATE transfer SET phase = ?, error = '', tries = 0, due_at = ? WHERE id = ?",
            (Phase.UNDER_WAY, unit.now, number),
        )

    def end(self, unit: Unit, number: int) -> None:
        """End a transfer, and its blob if no message has it."""
        unit.db.execute("DELETE FROM transfer WHERE id = ?", (number,))

    def begin_clock(self, unit: Unit) -> None:
        """Make all postponed transfers due now, and outlines no later than any is due."""
        unit.db.execute(
            "UPDATE transfer SET due_at = min(due_at, ? + ? * is_outline)", (unit.now, OUTLINE_MS)
        )

    def _find(self, which: str, *values: object, rest: str = "ORDER BY id") -> list[Transfer]:
        rows = self._read.execute(
            f"SELECT {_COLUMNS} FROM transfer WHERE {which} {rest}",  # noqa: S608  # our words
            values,
        ).fetchall()
        return [_transfer(*row) for row in rows]


def _transfer(  # noqa: PLR0917  # the columns of its row
    number: int,
    gid: bytes,
    message: bytes | None,
    is_up: int,
    body: bytes,
    owner: bytes,
    blob: bytes,
    done: bytes,
    relay: bytes,
    phase: str,
    error: str,
    began_at: int | None,
    tries: int,
    due_at: int,
    is_outline: int,
) -> Transfer:
    return Transfer(
        *(number, gid, message, bool(is_up), decode_file(body), owner, blob, done),
        *(relay, Phase(phase), error, began_at, tries, due_at, bool(is_outline)),
    )


def retention_days(cells: int) -> int:
    """The days for which a relay is asked to keep a file of so many cells."""
    return HANDSHAKE_RETENTION_DAYS if cells <= LONG_CELLS else MESSAGE_RETENTION_DAYS


def until(began_at: int, cells: int) -> int:
    """The last UTC day on which a file rests whole, if its first cell was taken at this time."""
    return began_at // DAY_MS + retention_days(cells)


def no_bits(cells: int) -> bytes:
    """A bit for each cell, none of them set."""
    return bytes(-(-cells // 8))


class Bits:
    """A bit for each cell of a file."""

    def __init__(self, data: bytes) -> None:
        self._data = bytearray(data)

    def __contains__(self, number: int) -> bool:
        return bool(self._data[number >> 3] >> (number & 7) & 1)

    def add(self, number: int) -> None:
        """Set a bit."""
        self._data[number >> 3] |= 1 << (number & 7)

    @property
    def data(self) -> bytes:
        """The bits, as the vault keeps them."""
        return bytes(self._data)


# The way to a relay


class Done(NamedTuple):
    """The cell is at the relay."""


class Later(NamedTuple):
    """The cell goes again, after so many seconds if the relay has said so."""

    retry_after: float | None


class Anew(NamedTuple):
    """The file has to be put up from its beginning, under other labels."""

    code: str


class Failed(NamedTuple):
    """The relay will never take the file."""

    code: str


Outcome: TypeAlias = Done | Later | Anew | Failed
"""The meaning of an answer for an upload."""


class Upload:
    """A file on its way to a relay."""

    def __init__(self, transfer: Transfer) -> None:
        self.done = Bits(transfer.done)
        cells = range(transfer.file.cells)
        self._left = deque(number for number in cells if number not in self.done)
        self._missing = set(self._left)

    @property
    def is_whole(self) -> bool:
        """Whether the relay has taken every cell."""
        return not self._missing

    def next(self) -> int | None:
        """The cell that goes next; None if all have gone."""
        return self._left.popleft() if self._left else None

    def took(self, number: int, answer: object) -> Outcome:
        """Take the relay's answer to a cell."""
        match answer:
            case wire.Appended():
                self.done.add(number)
                self._missing.discard(number)
                return Done()
            case LabelTaken() | NoSuchDrop():
                # Nobody else has the token, so the relay has lost the drop or does not tell the
                # truth about it.
                return Anew(answer.code)
            case DropFull():
                return Failed(answer.code)
            case Unavailable():
                self._left.appendleft(number)
                return Later(answer.retry_after)
            case PeerError() | TrustError():
                return Failed(answer.code)
            case _:
                raise TypeError(f"this is no answer to an Append: {answer!r}")


# The way from a relay


class Asked(NamedTuple):
    """A request for cells, and how many bytes its answer may have."""

    read: wire.Read
    size: int


Keep: TypeAlias = "Callable[[list[tuple[int, bytes]]], None]"
"""Keeps cells, each as its number and its payload."""


class Download:
    """A file on its way from a relay: all of it, or the parts that somebody waits for first, or no
    more than its outline.

    Cell i is at seq i + 1 unless its sender had to send some of them twice. So we look there first,
    and then everywhere else.
    """

    def __init__(self, file: File, done: Bits, known: Known, *, is_outline: bool = False) -> None:
        """`known` has what `done` says is here of the outline and the tables. With `is_outline`,
        no more is fetched than the outline."""
        self._file = file
        self._is_outline = is_outline
        self.done = done
        self.known = known
        self._rests = FileDrop(file.secret, file.region)
        self._labels: dict[bytes, int] = {}
        self._labelled = 0
        """The number of cells whose labels are among them."""
        self._asked: set[int] = set()
        """The seqs that were asked for and have not been answered yet."""
        self._seen: set[int] = set()
        """The seqs that were answered."""
        self._again: deque[int] = deque()
        """Seqs that were asked for in vain."""
        self._early: list[int] = []
        """Seqs of cells that came before they could be checked. They are read again."""
        self._wanted: deque[int] = deque()
        """Cells that somebody waits for."""
        self._table, self._chunk, self._any = 0, 1, 1
        """How far we have looked: for tables, for chunks, and for anything anywhere."""
        self._most = OUTLINE_PLACES if is_outline else file.cells + MAX_JUNK
        """The most seqs that are looked at."""
        self._head = min(file.cells, self._most)
        self._answers = 2 * (file.cells + MAX_JUNK)
        """The answers that may still come: an honest relay makes progress with nearly each."""
        self._missing = 0 if known.outline is None else self._count()

    @property
    def is_whole(self) -> bool:
        """Whether all cells that hold anything are here."""
        return self.known.outline is not None and not self._missing

    @property
    def is_over(self) -> bool:
        """Whether all that it fetches is here."""
        return self.is_whole or (self._is_outline and self.known.outline is not None)

    def _count(self) -> int:
        return sum(number not in self.done for number in range(self.known.shape.filled))

    def want(self, number: int) -> None:
        """Let a cell come before the others."""
        self._wanted.append(number)

    def next(self, room: int) -> Asked | None:
        """The next request, for at most `room` bytes but at least one cell; None if nothing can be
        asked for before an answer has come. Raises FileIncomplete if everything was read and cells
        are missing."""
        first = None if self.is_over else self._first()
        if first is None:
            if not self._asked and not self.is_over:
                raise FileIncomplete
            return None
        most = 1 if self._is_outline else max(min(room // LARGE_CELL, PAGE_CELLS), 1)
        many = 1
        while many < most and self._is_open(first + many):
            many += 1
        self._asked.update(range(first, first + many))
        drop = self._rests.drop
        read = wire.Read(0, drop.drop_id, drop.read_token, first - 1, many, 0)
        return Asked(read, many * LARGE_CELL)

    def _first(self) -> int | None:
        """The seq to read next."""
        while self._wanted:
            number = self._wanted[0]
            needs = self.known.needs(number)
            number = number if needs is None else needs
            if number in self.done or not self._is_open(number + 1):
                self._wanted.popleft()
                continue
            return number + 1
        while self._again:
            seq = self._again.popleft()
            if self._is_open(seq):
                return seq
        if self.known.outline is None:
            return 1 if self._is_open(1) else self._anywhere()
        shape = self.known.shape
        while self._table < shape.tables:
            seq = 2 + shape.chunks + self._table
            if self._is_open(seq) and seq - 1 not in self.done:
                return seq
            self._table += 1
        while self._chunk <= shape.chunks:
            if self._is_open(self._chunk + 1) and self._chunk not in self.done:
                return self._chunk + 1
            self._chunk += 1
        return self._anywhere()

    def _is_open(self, seq: int) -> bool:
        """Whether a seq may be read: nobody has answered for it, and nobody is about to."""
        return seq <= self._head and seq not in self._asked and seq not in self._seen

    def _anywhere(self) -> int | None:
        """A seq that was not read yet, once everything that is missing was looked for in its
        place."""
        if self._asked:
            return None
        while self._any <= self._head:
            if self._is_open(self._any):
                return self._any
            self._any += 1
        return None

    def took(self, asked: Asked, cells: wire.Cells, keep: Keep) -> None:
        """Take an answer; `keep` gets the cells that are new, once they were checked. They count as
        done if `keep` has not failed.

        Raises InvalidFile if a cell is not the file's, or the relay makes no progress.
        """
        self._answers -= 1
        if not self._answers:
            raise InvalidFile("its relay does not get on")
        self._head = min(cells.head, self._most)
        after, first = asked.read.after, max(cells.first, asked.read.after + 1)
        self._seen.update(range(after + 1, min(first, after + 1 + asked.read.limit)))  # expired
        found: dict[int, tuple[int, bytes]] = {}
        for seq, cell in enumerate(cells.cells, first):
            self._seen.add(seq)
            number = self._number(cell[:LABEL_BYTES])
            if number is None or number in self.done:
                continue
            try:
                found[number] = seq, self._rests.open(number, cell)
            except InvalidCell:
                raise InvalidFile(f"cell {number} does not open") from None
        self.failed(asked)
        self._check(found, keep)

    def failed(self, asked: Asked) -> None:
        """Ask again for what a request did not bring."""
        after = asked.read.after
        for seq in range(after + 1, after + 1 + asked.read.limit):
            self._asked.discard(seq)
            if seq not in self._seen:
                self._again.append(seq)

    def _check(self, found: dict[int, tuple[int, bytes]], keep: Keep) -> None:
        """Keep the cells that can be checked: first the outline, then the tables, then chunks."""
        checked: list[tuple[int, bytes]] = []
        if 0 in found:
            checked.append((0, found.pop(0)[1]))
            self.known.take(*checked[0])
            self._missing = self._count()
        shape = self.known.shape
        for number in sorted(found, key=lambda one: (one <= shape.chunks, one)):
            seq, payload = found[number]
            if self.known.outline is not None and number >= shape.filled:
                continue  # padding
            if self.known.needs(number) is None:
                self.known.take(number, payload)
                checked.append((number, payload))
            else:
                self._early.append(seq)
        if not checked:
            return
        keep(checked)
        for number, _ in checked:
            self.done.add(number)
        self._missing -= len(checked)
        if not all(0 < number <= shape.chunks for number, _ in checked):
            self._seen.difference_update(self._early)  # more can be checked now
            self._again.extend(self._early)
            self._early.clear()

    def _number(self, label: bytes) -> int | None:
        """The cell with a label. Labels are derived as they are needed: a file has up to 16,384."""
        while label not in self._labels and self._labelled < self._file.cells:
            self._labels[self._rests.label(self._labelled)] = self._labelled
            self._labelled += 1
        return self._labels.get(label)


def gone(file: File, *, now: int) -> FileIncomplete | FileGone:
    """The error for a file whose drop, or a cell of which, is not there."""
    return FileGone() if now // DAY_MS > file.until else FileIncomplete()
