"""The records of drops and moves, and the promises of a store that keeps them.

Both stores, in SQLite and in a cluster, keep these records and these promises; the rules read and
change nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

from amanat.protocol.drops import HASH_BYTES
from amanat.protocol.moving import HERE, Standing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from amanat.protocol.ledger import Entry

_NO_HASH = bytes(HASH_BYTES)
MOST_SEQ = 2**32 - 1
"""Cells of a drop in its life. A bucket that is always as full as a relay lets it be by default,
250,000 cells in 14 days, gets there after 650 years."""


class DropRecord(msgspec.Struct):
    """A relay's record of a drop."""

    drop_id: bytes
    append_hash: bytes
    read_hash: bytes
    retention_days: int
    bucket: bool
    """Whether it is one of the relay's buckets, which never end."""
    head: int
    """The seq of the last cell, 0 if there never was one. It never goes back."""
    digest: bytes
    """The digest at the head."""
    cells: int
    """Cells kept."""
    bytes: int
    """Bytes of the cells kept."""
    last_day: int
    """UTC day of the last cell, or of the creation."""
    oldest_day: int | None
    """UTC day of the oldest cell kept."""
    number: int = 0
    """The store's own key for it."""
    ended_cells: int = 0
    """Cells that an expiry under way has erased: it enters them in the ledger when it has finished
    with the drop."""
    ended_bytes: int = 0
    state: int = HERE
    """Whether it is here, is arriving or has gone (protocol/moving.py)."""
    move: int = 0
    """The number of the last move in which it took part, 0 if in none."""
    bound: int = 0
    """The number to which its cells are bound: its own number at the relay that created it."""

    def standing(self) -> Standing:
        """How the drop stands here."""
        return Standing(self.drop_id, self.state, self.head, self.digest, self.cells, self.bytes)


class MoveRecord(msgspec.Struct):
    """A relay's record of a move."""

    move: bytes
    order: bytes
    """Signed by the source."""
    is_source: bool
    access: bytes
    """At the destination, the source's bucket key."""
    first_entry: int
    """The index of the first entry in the ledger that may tell of it."""
    is_closed: bool = False
    """At the source: whether a drop has gone, so that the destination creates new ones."""
    number: int = 0
    """The store's own key for it."""


NOBODYS = DropRecord(
    drop_id=b"",
    append_hash=_NO_HASH,
    read_hash=_NO_HASH,
    retention_days=0,
    bucket=False,
    head=0,
    digest=b"",
    cells=0,
    bytes=0,
    last_day=0,
    oldest_day=None,
)
"""Stands for a drop that does not exist, so that a search for one costs the same. No token hashes
to zeros."""


class StoredCell(NamedTuple):
    """A cell in the store: its place and the drop's digest before it."""

    seq: int
    before: bytes
    cell: bytes


class Run(NamedTuple):
    """Cells that follow each other in a drop."""

    first: int
    """The seq of the first."""
    befores: list[bytes]
    """The drop's digest before each."""
    cells: list[bytes]


class Unmade(NamedTuple):
    """The drops whose changes a commit did not make. Only a store that several processes share has
    any."""

    refused: frozenset[bytes] = frozenset()
    """Another process had changed them: the caller stages the same requests again."""
    unknown: frozenset[bytes] = frozenset()
    """Nobody knows whether they were changed: clients ask again, and then it shows."""


ALL_MADE = Unmade()


class Processes(Protocol):
    """The other processes that share a store. One of those that write to a drop is its lead, which
    appends for all of them; nothing rests on that."""

    def lead(self, drop_id: bytes) -> bytes | None:
        """The process that leads a drop, if it is another one."""

    def pass_on(
        self, lead: bytes, appends: Sequence[bytes], answer: Callable[[list[bytes] | None], object]
    ) -> None:
        """Have a lead make appends. `answer` is called once, in any thread, with the replies, in
        order, or with None if the lead does not answer: then nobody knows what it has made."""

    def gone(self, lead: bytes) -> None:
        """A lead does not answer, so it leads nothing any longer."""

    def rested(self, lead: bytes) -> None:
        """No append is on its way to a lead."""

    def take_over(
        self, hear: Callable[[list[bytes], Callable[[list[bytes]], None]], object]
    ) -> None:
        """Have `hear` called, in any thread, with appends that another process passes on, and with
        a function that sends it the replies; no replies at all mean that it shall make them
        itself."""


class Store(Protocol):
    """The storage of drops. It has one writer, whose staged batch `commit` makes durable: of each
    drop, all or none.

    Any method may raise DiskFull or StoreDamaged, or RelayBusy if the store is elsewhere and does
    not answer.
    """

    waits: bool
    """Whether its methods may wait for other machines, so that no loop calls them."""

    @property
    def processes(self) -> Processes | None:
        """The other processes that share it; None if no other can."""

    # The writer's view: committed and staged.

    def prepare(self, drop_ids: Iterable[bytes]) -> None:
        """Have the drops of a batch at hand. It costs the same whether they exist or not."""

    def recall(self, drop_id: bytes) -> DropRecord:
        """The drop if it is at hand, or NOBODYS. It may be old; then the commit refuses the change
        that rests on it."""

    def find(self, drop_id: bytes) -> DropRecord:
        """A fresh copy of the drop, or of NOBODYS at the same cost."""

    def count(self) -> int:
        """The number of drops. Every creation asks for it, so it must not count the drops again."""

    def stored_bytes(self) -> int:
        """Bytes of the cells in all drops. It must not count them again, either."""

    def bucket_bytes(self) -> int:
        """Bytes of the cells in buckets, which are among these. It must not count them again."""

    def labelled(self, drop: DropRecord, label: bytes) -> StoredCell | None:
        """The cell with this label in the drop; without its bytes if its key is destroyed."""

    def add(self, *drops: DropRecord) -> None:
        """Stage new drops; sets their `number`."""

    def holds(self, drop: DropRecord, labels: Sequence[bytes]) -> bool:
        """Whether a cell with one of these labels is in the drop, or staged for it."""

    def append(self, drop: DropRecord, run: Run, *, day: int) -> None:
        """Stage cells behind the drop's head, none of whose labels it holds. The caller saves the
        record separately, with `save`."""

    def save(self, *drops: DropRecord) -> None:
        """Stage changed records."""

    def note(self, *entries: Entry) -> None:
        """Stage entries of the ledger."""

    def moves(self) -> list[MoveRecord]:
        """The moves in which the relay takes or took part, in order."""

    def has_new_moves(self) -> bool:
        """Whether another process has changed them since they were asked for."""

    def defer(self) -> None:
        """Relax the next commit: it need not be on disk until the commit after it returns, even if
        that one stages nothing. Call it with nothing staged."""

    def commit(self) -> Unmade:
        """Make everything staged durable. May be called in another thread while reads go on."""

    def rollback(self) -> None:
        """Forget everything staged."""

    def hear_of(self, landed: Callable[[bytes, int], object]) -> None:
        """Have `landed` called, in any thread, with the id and the head of a drop when another
        process has put cells in it. A call may fail to come."""

    # The readers' view: committed only.

    def look(self, drop_id: bytes, *, at_least: int = 0, is_sure: bool = False) -> DropRecord:
        """Like `find`. If the head is below `at_least`, the replica that should know most is asked;
        with `is_sure`, until it proves by a write that no record with a higher head was ever shown.
        Raises RelayBusy."""

    def cells(
        self, drop: DropRecord, *, after: int, since_day: int, max_cells: int, max_bytes: int
    ) -> list[StoredCell]:
        """The first cells after a seq that are of `since_day` or later and still have their key; at
        least one, if there is any."""

    # Erasure. Nothing may be staged; each call is durable when it returns. An expiry makes them in
    # this order.

    def shred(self, today: int) -> None:
        """Destroy the keys of all cells whose last day is before `today`, and leave no trace of
        them in any file."""

    def find_due(self, today: int, *, hour: int) -> Iterator[None]:
        """Find the drops of which something ends, in short steps, between which others may stage
        and commit."""

    def erase(self, today: int, max_cells: int, *, hour: int) -> int:
        """Delete up to `max_cells` cells whose last day is before `today`. Returns how many, 0 when
        none is left. With the last ones of a drop it enters an `Expired` of all of them."""

    def end_drops(self, before_day: int, *, hour: int) -> None:
        """Delete the empty drops, buckets excepted, whose last day is before `before_day`, and
        enter an `Erased` of each."""

    def scrub(self) -> None:
        """Leave no byte of anything deleted in any file."""
