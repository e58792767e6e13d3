"""The rules of a relay's ledger: how the relay signs it, which part it shows, and how it must agree
with the store.

The code that makes a change writes its entry in the same commit (drops.py and the store).
Everything else is derived from entries and may be derived again: the hashes of full tiles, kept so
that nothing is computed twice, and the *checkpoint*, in which the relay's key signs the number of
entries and the root over them. The relay does not show entries that no checkpoint covers, so nobody
can watch entries come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, assert_never

import msgspec

from amanat.errors import AmanatError, NotInLedger, StoreDamaged
from amanat.protocol import tlog
from amanat.protocol.ledger import (
    Created,
    Entry,
    Erased,
    Expired,
    MovedIn,
    MovedOut,
    decode_entry,
    origin,
)
from amanat.protocol.tlog import CHECKPOINT, TILE_HEIGHT, TILE_WIDTH, Checkpoint, Node
from amanat.relay.records import DropRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

TILES_PER_STEP = 16
"""Full tiles hashed in one step of `seal`: some milliseconds, in turns with appends."""


class Pages(Protocol):
    """The written ledger, to read. Any method may raise DiskFull or StoreDamaged."""

    def size(self) -> int:
        """The number of entries."""

    def entries(self, first: int, most: int) -> list[bytes]:
        """At most `most` entries, from index `first` on."""

    def full(self, level: int) -> int:
        """The number of hashes kept of a level; levels begin at 1."""

    def hashes(self, level: int, first: int, most: int) -> list[bytes]:
        """At most `most` hashes over full tiles of the level below, from index `first` on."""

    def checkpoint(self) -> bytes:
        """The note that the relay signed last, empty if it signed none."""


class LedgerStore(Protocol):
    """The storage of the ledger, in one commit with the drops."""

    @property
    def pages(self) -> Pages:
        """The readers' view: committed only."""

    @property
    def staged_pages(self) -> Pages:
        """The writer's view: committed and staged."""

    def records(self) -> Iterator[DropRecord]:
        """Every drop, in the writer's view."""

    def note(self, *entries: Entry) -> None:
        """Stage entries."""

    def keep_hash(self, level: int, index: int, value: bytes) -> None:
        """Stage the hash over a full tile of the level below."""

    def keep_checkpoint(self, note: bytes) -> None:
        """Stage a signed note, in place of the one before."""

    def commit(self) -> object:
        """Make everything staged durable."""

    def rollback(self) -> None:
        """Forget everything staged."""


class Ledger:
    """The ledger of one relay."""

    def __init__(self, store: LedgerStore, key: Ed25519PrivateKey) -> None:
        """Raises StoreDamaged if the last checkpoint is not one of this key."""
        self._store = store
        self._key = key
        self._relay = key.public_key().public_bytes_raw()
        self._origin = origin(self._relay)
        self._signed = self._load()

    @property
    def checkpoint(self) -> bytes:
        """The note that the relay signed last, empty if it signed none."""
        return self._signed[0]

    def _load(self) -> tuple[bytes, Checkpoint]:
        note = self._store.pages.checkpoint()
        if not note:
            return b"", Checkpoint(self._origin, 0, tlog.EMPTY_ROOT)
        try:
            return note, tlog.open_checkpoint(note, self._origin, self._relay)
        except AmanatError:
            raise StoreDamaged("the ledger's checkpoint is not signed by this relay") from None

    def refresh(self) -> None:
        """Know the newest checkpoint of a store that several processes share, so that nobody who
        has seen one is shown an older one. Waits for the store. Raises StoreDamaged if it is older
        than the one that this process knows: the store was put back."""
        signed = self._load()
        if signed[1].size < self._signed[1].size:
            raise StoreDamaged("the ledger's checkpoint is older than before")
        self._signed = signed

    @property
    def size(self) -> int:
        """The number of entries, including staged ones."""
        return self._store.staged_pages.size()

    def since(self, place: int) -> Iterator[Entry]:
        """The entries from an index on, including staged ones."""
        pages = self._store.staged_pages
        while found := pages.entries(place, TILE_WIDTH):
            yield from map(decode_entry, found)
            place += len(found)

    def seal(self) -> Iterator[bool]:
        """Sign a checkpoint, in steps that take turns with appends. Yields True after each but the
        last.

        Raises StoreDamaged, and signs nothing, if the ledger does not continue the one that was
        signed last. (If both are from an older disk, the relay cannot notice it; anyone who knows
        the newer checkpoint can.)
        """
        pages = self._store.staged_pages
        size = pages.size()
        try:
            while self._keep_hashes(pages, size):
                self._store.commit()
                yield True
            before = self._signed[1]
            node = _nodes(pages)
            if size < before.size or tlog.root(before.size, node) != before.root:
                raise StoreDamaged("the ledger differs from the signed one")
            if size == before.size and self.checkpoint:
                return
            checkpoint = Checkpoint(self._origin, size, tlog.root(size, node))
            note = tlog.sign_checkpoint(checkpoint, self._key)
            self._store.keep_checkpoint(note)
            self._store.commit()
        except AmanatError:
            self._store.rollback()
            raise
        self._signed = note, checkpoint

    def _keep_hashes(self, pages: Pages, size: int) -> bool:
        """Stage hashes over the next full tiles. Returns whether there were any."""
        room, level, below = TILES_PER_STEP, 1, size
        while room and below >= TILE_WIDTH:
            kept = pages.full(level)
            for index in range(kept, min(below // TILE_WIDTH, kept + room)):
                tile = _hashes(pages, level - 1, index * TILE_WIDTH, TILE_WIDTH)
                self._store.keep_hash(level, index, tlog.fold(tile))
                room -= 1
            below, level = pages.full(level), level + 1
        return room < TILES_PER_STEP

    def check(self) -> None:
        """Raise StoreDamaged unless all signed entries, from the first on, give the signed root.
        Reads all of them."""
        before = self._signed[1]
        if tlog.root_of(every_entry(self._store.pages, before.size)) != before.root:
            raise StoreDamaged("the ledger differs from the signed one")

    def part(self, path: str) -> bytes:
        """The resource at a path of C2SP tlog-tiles: the checkpoint, a tile or a bundle of entries.

        Raises NotInLedger for a path that the checkpoint does not cover.
        """
        note, checkpoint = self._signed
        if path == CHECKPOINT and note:
            return note
        tile = tlog.parse_tile(path)
        # Show a partial tile even if it is full by now, as somebody has the older checkpoint.
        if tile.width > tlog.tile_at(tile.level, tile.number, checkpoint.size).width:
            raise NotInLedger
        first = tile.number * TILE_WIDTH
        if tile.level is None:
            return tlog.join_bundle(self._store.pages.entries(first, tile.width))
        return b"".join(_hashes(self._store.pages, tile.level, first, tile.width))


def every_entry(pages: Pages, size: int) -> Iterator[bytes]:
    """The first `size` entries, a few at a time."""
    for first in range(0, size, TILE_WIDTH):
        yield from pages.entries(first, min(TILE_WIDTH, size - first))


def _hashes(pages: Pages, level: int, first: int, count: int) -> list[bytes]:
    """The hashes in a part of a tile."""
    if level:
        found = pages.hashes(level, first, count)
    else:
        found = [tlog.leaf_hash(entry) for entry in pages.entries(first, count)]
    if len(found) != count:
        raise StoreDamaged("the ledger has a gap")
    return found


def _nodes(pages: Pages) -> Node:
    def node(level: int, index: int) -> bytes:
        high, low = divmod(level, TILE_HEIGHT)
        return tlog.fold(_hashes(pages, high, index << low, 1 << low))

    return node


# The agreement of ledger and store


class Account(msgspec.Struct):
    """The state of one drop according to the ledger."""

    is_here: bool = False
    ended: int = 0
    """How many of the cells up to its head are no longer here: they expired here or elsewhere."""
    ended_bytes: int = 0
    """Bytes of the cells that have expired here."""


class Contradiction(NamedTuple):
    """An entry that cannot follow those before it."""

    place: int
    entry: Entry


def replay(entries: Iterable[Entry]) -> tuple[dict[bytes, Account], list[Contradiction]]:
    """The accounts of all drops by their hashes, and the entries that contradict others."""
    accounts: dict[bytes, Account] = {}
    wrong = []
    for place, entry in enumerate(entries):
        if not replay_onto(accounts, entry):
            wrong.append(Contradiction(place, entry))
    return accounts, wrong


def replay_onto(accounts: dict[bytes, Account], entry: Entry) -> bool:
    """Apply one more entry to the accounts. Returns whether it can follow those before it."""
    account = accounts.setdefault(entry.drop, Account())
    follows = account.is_here != isinstance(entry, Created | MovedIn)
    if isinstance(entry, Created):
        account.is_here, account.ended = True, 0
    elif isinstance(entry, MovedIn):
        account.is_here, account.ended = True, entry.head - entry.cells
    elif isinstance(entry, Expired):
        account.ended += entry.cells
        account.ended_bytes += entry.bytes
    elif isinstance(entry, Erased):
        account.is_here = False
        account.ended_bytes += entry.bytes
    elif isinstance(entry, MovedOut):
        account.is_here = False
    else:
        assert_never(entry)
    return follows


def agree(account: Account | None, drop: DropRecord) -> bool:
    """Whether the ledger agrees with the record of a drop: that the drop is here, and that every
    cell up to its head is either kept or has expired."""
    told = account is not None and account.is_here
    return told and account.ended + drop.ended_cells == drop.head - drop.cells  # type: ignore[union-attr]
