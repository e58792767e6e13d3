"""The relay's ledger in the cluster: entries taken over from the drops' messages, in one order.

An entry comes into being in the message of the drop that it tells of. `take_over` appends those
that are new to the ledger's stream, together with the *reach*: how far each journal is taken over.
The engine takes that message only if it follows the one whose reach was read, so two processes
that take over at once append nothing twice.
"""

# ruff: noqa: D102  # ledger.Pages and ledger.LedgerStore say what each method is

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Annotated

import msgspec

from amanat.errors import RelayBusy, StoreDamaged
from amanat.protocol import codec
from amanat.protocol.ledger import MAX_ENTRY_BYTES
from amanat.protocol.tlog import TILE_WIDTH, parse_checkpoint, parse_note
from amanat.relay.cluster.engine import RETRY_S, Engine, Publish
from amanat.relay.cluster.layout import MOST_SHARDS, Layout
from amanat.relay.cluster.messages import Count

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from amanat.relay.cluster.engine import Message
    from amanat.relay.cluster.messages import Journal, Sealer
    from amanat.relay.cluster.roots import Roots

MOST_TRIES = 20
"""Times that a process tries to take entries over while others do so."""
TAKE_MESSAGES = 2000
"""Messages with entries that are read in one step."""


class Taken(codec.Record, frozen=True):
    """Entries in the ledger, and how far each shard is taken over with them."""

    first: Count
    """The index of the first."""
    entries: Annotated[
        list[Annotated[bytes, msgspec.Meta(max_length=MAX_ENTRY_BYTES)]],
        msgspec.Meta(min_length=1, max_length=TILE_WIDTH),
    ]
    reach: Annotated[list[Count], msgspec.Meta(min_length=1, max_length=MOST_SHARDS)]
    """The place of the last message that is taken over, for each shard."""


_decoder = codec.decoder_of(Taken)


class ClusterPages:
    """A `ledger.Pages`."""

    def __init__(self, engine: Engine, layout: Layout, roots: Roots | None = None) -> None:
        """Only with `roots` checkpoints can be read and kept."""
        self._engine = engine
        self._layout = layout
        self._roots = roots
        self._seen = roots.seen() if roots else b""
        """The newest checkpoint that a process of this directory has seen."""
        self._lock = threading.Lock()
        self._name = f"{layout.region}.ledger"
        self._tiles: dict[int, list[bytes]] = {}
        """Full tiles."""
        self._hashes: dict[tuple[int, int], bytes] = {}

    def size(self) -> int:
        taken, _ = self.newest()
        return taken.first + len(taken.entries) if taken else 0

    def newest(self) -> tuple[Taken | None, int]:
        """The last message of the ledger, and its place."""
        message = self._engine.last(self._layout.ledger, f"{self._name}.entry.*", by_leader=True)
        return (None, 0) if message is None else (decode_taken(message.body), message.place)

    def entries(self, first: int, most: int) -> list[bytes]:
        found: list[bytes] = []
        while len(found) < most:
            tile, index = divmod(first + len(found), TILE_WIDTH)
            some = self._tile(tile, index + most - len(found))[index:][: most - len(found)]
            if not some:
                break
            found += some
        return found

    def _tile(self, tile: int, most: int) -> list[bytes]:
        """The entries of a tile, at least `most` of them if there are so many."""
        kept = self._tiles.get(tile)
        if kept is not None:
            return kept
        start = tile * TILE_WIDTH
        found: list[bytes] = []
        with contextlib.suppress(StoreDamaged):  # a replica may lag, or have lost a message
            found = _joined(start, self._by_replica(tile))
        if len(found) < min(most, TILE_WIDTH) and len(found) < self.size() - start:
            found = _joined(start, self._by_leader(tile))
        if len(found) == TILE_WIDTH:
            self._tiles[tile] = found
        return found

    def _by_replica(self, tile: int) -> Iterator[Message]:
        """The messages that may have entries of a tile. The last one of the tile before may hold
        its first ones."""
        for one in (tile - 1, tile):
            subject = f"{self._name}.entry.{one}"
            yield from self._engine.walk(self._layout.ledger, subject, after=0)

    def _by_leader(self, tile: int) -> Iterator[Message]:
        for one in (tile - 1, tile):
            subject, after = f"{self._name}.entry.{one}", 0
            while message := self._engine.next_by_leader(self._layout.ledger, subject, after):
                yield message
                after = message.place

    def append(self, taken: Taken, before: int) -> int:
        """Append to the ledger after the message at `before`. Returns the new message's place, 0 if
        that one is not the last."""
        subject = f"{self._name}.entry.{taken.first // TILE_WIDTH}"
        message = Publish(subject, before, {}, codec.encode(taken), f"{self._name}.entry.*")
        (outcome,) = self._engine.publish([[message]])
        return outcome if isinstance(outcome, int) else 0

    def full(self, level: int) -> int:
        message = self._engine.last(
            self._layout.ledger, f"{self._name}.hash.{level}.*", by_leader=True
        )
        return int(message.subject.rsplit(".", 1)[1]) + 1 if message else 0

    def hashes(self, level: int, first: int, most: int) -> list[bytes]:
        wanted = [(level, index) for index in range(first, first + most)]
        missing = [place for place in wanted if place not in self._hashes]
        subjects = [f"{self._name}.hash.{level}.{index}" for _, index in missing]
        found = self._engine.last_of([(self._layout.ledger, one) for one in subjects])
        for place, message in zip(missing, found, strict=True):
            if message is not None:
                self._hashes[place] = message.body
        return [self._hashes[place] for place in wanted if place in self._hashes]

    def keep_hash(self, level: int, index: int, value: bytes) -> None:
        """Keep a hash, which every process computes alike."""
        subject = f"{self._name}.hash.{level}.{index}"
        (outcome,) = self._engine.publish([[Publish(subject, 0, {}, value)]])
        if outcome == "unknown":
            raise RelayBusy("the cluster does not answer", retry_after=RETRY_S)

    def checkpoint(self) -> bytes:
        """The note that some process signed last. It was the newest at some moment after the call.
        Raises StoreDamaged if it is older than one that this directory has seen."""
        seen = self._seen  # now: another thread may see a newer one meanwhile
        for _ in range(MOST_TRIES):
            message = self._checkpoint()
            if self._engine.is_last(
                self._layout.ledger,
                f"{self._name}.checkpoint",
                message.place if message else 0,
                fence=f"{self._name}.fence",
            ):
                note = message.body if message else b""
                self._see(note, seen)
                return note
        raise RelayBusy("the cluster does not answer", retry_after=RETRY_S)

    def _see(self, note: bytes, before: bytes) -> None:
        """Remember a checkpoint that was read after another one had been seen."""
        if note == before or self._roots is None:
            return
        if before and (not note or _size(note) <= _size(before)):
            raise StoreDamaged(
                "the cluster shows an older checkpoint than this relay has seen: its nodes were put"
                " back"
            )
        with self._lock:
            if not self._seen or _size(note) > _size(self._seen):
                self._roots.see(note)
                self._seen = note

    def _checkpoint(self) -> Message | None:
        subject = f"{self._name}.checkpoint"
        return self._engine.last(self._layout.ledger, subject, by_leader=True)

    def keep_checkpoint(self, note: bytes) -> None:
        """Keep a checkpoint in place of the one before. Raises RelayBusy if another process has
        signed more, or signs at the same time."""
        subject = f"{self._name}.checkpoint"
        message = self._checkpoint()
        before = message.place if message else 0
        if message and _size(message.body) > _size(note):
            raise RelayBusy("another process has signed more", retry_after=RETRY_S)
        (outcome,) = self._engine.publish([[Publish(subject, before, {}, note)]])
        if not isinstance(outcome, int):
            raise RelayBusy("another process signs the ledger", retry_after=RETRY_S)


def _size(note: bytes) -> int:
    """The number of entries that a signed checkpoint covers. Raises BrokenLedger."""
    return parse_checkpoint(parse_note(note).text).size


class TakingOver:
    """Takes entries over into the ledger."""

    def __init__(self, engine: Engine, layout: Layout, sealer: Sealer) -> None:
        self._engine = engine
        self._layout = layout
        self._sealer = sealer
        self._pages = ClusterPages(engine, layout)

    def reach(self) -> list[int]:
        """The place of the last message taken over, for each shard."""
        taken, _ = self._pages.newest()
        return taken.reach if taken else [0] * self._layout.shards

    def take_over(self) -> None:
        """Append all entries that are not in the ledger yet. Raises RelayBusy."""
        for _ in range(MOST_TRIES):
            taken, place = self._pages.newest()
            reach = list(taken.reach) if taken else [0] * self._layout.shards
            size = taken.first + len(taken.entries) if taken else 0
            if self._append_all(reach, size, place):
                return
        raise RelayBusy("other processes take the ledger's entries over", retry_after=RETRY_S)

    def _append_all(self, reach: list[int], size: int, place: int) -> bool:
        """Append everything new. Returns False if another process did so meanwhile."""
        entries: list[bytes] = []
        for shard in range(self._layout.shards):
            for told, at in self._new(shard, reach[shard]):
                if len(entries) + len(told.entries) > TILE_WIDTH:
                    place = self._pages.append(Taken(size, entries, list(reach)), place)
                    if not place:
                        return False
                    size, entries = size + len(entries), []
                entries += told.entries
                reach[shard] = at
        return not entries or bool(self._pages.append(Taken(size, entries, list(reach)), place))

    def _new(self, shard: int, reached: int) -> Iterator[tuple[Journal, int]]:
        """The messages of a shard's journal after the one that was reached, with their places. Each
        names the one before, so none is passed over."""
        stream, subject = self._layout.stream(shard), self._layout.journal(shard)
        while True:
            messages = self._engine.walk(stream, subject, after=reached, most=TAKE_MESSAGES)
            for message in messages:
                while message.place > reached:
                    following: Message | None = message
                    if message.before != reached:  # a replica has lost one
                        following = self._engine.next_by_leader(stream, subject, reached)
                    if following is None or following.before != reached:
                        raise StoreDamaged("a message of a journal is missing")
                    yield self._sealer.open_journal(following), following.place
                    reached = following.place
            if len(messages) < TAKE_MESSAGES:
                return


def decode_taken(data: bytes) -> Taken:
    """A message of the ledger. Raises StoreDamaged."""
    return codec.decode(_decoder, data, StoreDamaged)


def _joined(start: int, messages: Iterable[Message]) -> list[bytes]:
    """The entries of the tile that begins at `start`. Raises StoreDamaged if one is missing between
    others."""
    found: list[bytes] = []
    size: int | None = None
    for message in messages:
        taken = decode_taken(message.body)
        if size is not None and taken.first != size:
            raise StoreDamaged("the ledger has a gap")
        size = taken.first + len(taken.entries)
        found += taken.entries[max(0, start - taken.first) :]
    if size is not None and len(found) != max(0, size - start):
        raise StoreDamaged("the ledger has a gap")
    return found[:TILE_WIDTH]
