"""The batch that is staged: for each drop the change that one message will make.

A message names the last message that the process knew when it staged the change. The engine takes
it only if it still is the last, so the rules that made the change saw the whole drop.
"""

# ruff: noqa: D102  # the protocols in records.py and beside it say what each method is

from __future__ import annotations

import copy
import itertools
import os
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from amanat.protocol import codec
from amanat.protocol.cells import LABEL_BYTES
from amanat.protocol.drops import DROP_ID_BYTES
from amanat.protocol.ledger import drop_hash, encode_entry
from amanat.relay.cluster.agenda import Agenda, due_day
from amanat.relay.cluster.engine import Publish
from amanat.relay.cluster.known import bound_of, kept_of, number_of, record_of
from amanat.relay.cluster.leads import PROCESS_BYTES
from amanat.relay.cluster.messages import (
    MAX_CELLS,
    MAX_ENTRIES,
    Change,
    Journal,
    Resting,
    WrappedKey,
)
from amanat.relay.cluster.reading import Reading
from amanat.relay.cluster.roots import own_generation
from amanat.relay.records import NOBODYS, DropRecord, Run, StoredCell, Unmade
from amanat.relay.store.wrapping import KEY_BYTES, WRAP_BYTES, nonces, wrap_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from amanat.protocol.ledger import Entry
    from amanat.relay.cluster.engine import Outcome
    from amanat.relay.cluster.known import Known
    from amanat.relay.cluster.messages import Kept
    from amanat.relay.cluster.reading import Means

MESSAGE_BYTES = 900 * 1024
"""Most bytes of cells in one message: a server of the engine takes 1 MiB, headers included, if it
is not told otherwise."""
CELL_HEAD_BYTES = 128
"""More than a cell's day, label, digest and lengths take in a message, in bytes."""
HEAD_BYTES = 8
"""Length of a head in a notice, in bytes."""
NOTICE_BYTES = DROP_ID_BYTES + HEAD_BYTES + PROCESS_BYTES


class Staged:
    """The change of one drop."""

    def __init__(
        self, known: Known, record: DropRecord, before: int, old: DropRecord, generation: bytes
    ) -> None:
        self.known = known
        self.before = before
        """The predecessor: the drop's last message when the rules were given its record. Readers
        may have got to know later ones meanwhile."""
        self.old = old
        self.record = record
        self.cells: list[Resting] = []
        self.plain: dict[bytes, tuple[int, bytes, bytes]] = {}
        """The staged cells by their labels, each as a StoredCell has it."""
        self.keys: dict[int, WrappedKey] = {}
        """Keys that come with the change."""
        self.entry = b""
        """The entry that comes with the change. No step of any rule enters two for one drop."""
        self.is_forgotten = False
        self.generation = known.kept.generation if known.is_here and known.kept else generation
        """The roots by which new keys of the drop are wrapped."""


@dataclass(slots=True)
class Totals:
    """The contents of all drops, as this process knows them: others change them, too."""

    drops: int = 0
    bytes: int = 0
    bucket_bytes: int = 0

    def add(self, drop: DropRecord | Kept, sign: int = 1) -> None:
        """Count a drop, or take it out."""
        self.drops += sign
        self.bytes += sign * drop.bytes
        self.bucket_bytes += sign * drop.bytes if drop.bucket else 0

    def correct(self, was: Totals, found: Totals) -> None:
        """Count what was found instead of what was counted in its place."""
        self.drops += found.drops - was.drops
        self.bytes += found.bytes - was.bytes
        self.bucket_bytes += found.bucket_bytes - was.bucket_bytes


class _Part(NamedTuple):
    """A part of a change that fits into one message."""

    kept: Kept
    change: Change
    is_last: bool


class _Group(NamedTuple):
    """Messages that are stored together."""

    changes: list[tuple[Staged, _Part]]
    messages: list[Publish]
    shard: int | None
    """The shard whose journal has the last message, if one has."""
    gate: int

    @property
    def creates(self) -> bool:
        """Whether a drop begins with it."""
        return any(not one.old.drop_id for one, _ in self.changes)


class Staging(Reading):
    """The writer's view, and how it becomes durable."""

    def __init__(self, means: Means) -> None:
        super().__init__(means)
        self._wake = f"{means.layout.region}.wake"
        """The subject of notices of cells that landed, those of a batch in one message. Each names
        drop, head and process."""
        self._staged: dict[bytes, Staged] = {}
        self._hashes: dict[bytes, bytes] = {}
        """The ids of staged drops by their hashes in the ledger."""
        self._fresh: dict[bytes, Known] = {}
        """Drops that were read for the batch, whether or not there are such drops."""
        self._handed: dict[bytes, tuple[int, DropRecord]] = {}
        """For each drop whose record the rules were given for this batch, its last message then,
        and that record."""
        self._openers: dict[tuple[bytes, int], AESGCM] = {}
        """The keys that the staged batch uses."""
        self._nonces = nonces()
        self._journals: dict[int, tuple[int, int]] = {}
        """For each shard, the last message of its journal, and its gate."""
        self._known_gate = 0
        """The number of the last move by which drops go that this process knows."""
        self._totals = Totals()
        self._in_shards = [Totals() for _ in range(means.layout.shards)]
        """The same for each shard."""
        self._agendas = [Agenda() for _ in range(means.layout.shards)]
        """The drops of each shard that are due some day."""
        self._more = Totals()
        """By how much the staged batch changes them."""

    # Records

    def count(self) -> int:
        return self._totals.drops + self._more.drops

    def stored_bytes(self) -> int:
        return self._totals.bytes + self._more.bytes

    def bucket_bytes(self) -> int:
        return self._totals.bucket_bytes + self._more.bucket_bytes

    def _stage_bytes(self, drop: DropRecord, more: int) -> None:
        self._more.bytes += more
        self._more.bucket_bytes += more if drop.bucket else 0

    def recall(self, drop_id: bytes) -> DropRecord:
        staged = self._staged.get(drop_id)
        if staged is not None and not staged.is_forgotten:
            return copy.copy(staged.record)
        known = self._memory.get(drop_id)
        return copy.copy(NOBODYS) if staged or known is None else self._hand_out(known)

    def find(self, drop_id: bytes) -> DropRecord:
        staged = self._staged.get(drop_id)
        if staged is not None:
            return copy.copy(NOBODYS if staged.is_forgotten else staged.record)
        known = self._fresh.pop(drop_id, None) or self._recent(drop_id, by_leader=True)
        return self._hand_out(known)

    def _hand_out(self, known: Known) -> DropRecord:
        """The record of a drop for the rules, whose changes will rest on it."""
        with known.lock:
            record, place = known.record(), known.place
        self._handed.setdefault(known.drop_id, (place, copy.copy(record)))
        return record

    def prepare(self, drop_ids: Iterable[bytes]) -> None:
        """Read the drops that this process does not know, all at once."""
        unknown = [one for one in dict.fromkeys(drop_ids) if self._memory.get(one) is None]
        self._fresh |= {known.drop_id: known for known in self._recent_all(unknown)}

    def find_all(self, drop_ids: Sequence[bytes]) -> dict[bytes, DropRecord]:
        found = {drop_id: self.find(drop_id) for drop_id in drop_ids}
        return {drop_id: drop for drop_id, drop in found.items() if drop.drop_id}

    def _stage(self, drop: DropRecord) -> Staged:
        staged = self._staged.get(drop.drop_id)
        if staged is None:
            known = self._at_hand(drop.drop_id)
            before, old = self._handed[drop.drop_id]
            staged = self._staged[drop.drop_id] = Staged(
                known, copy.copy(drop), before, old, own_generation(self._known_gate)
            )
            self._hashes[drop_hash(drop.drop_id)] = drop.drop_id
        return staged

    def add(self, *drops: DropRecord) -> None:
        for drop in drops:
            drop.number = number_of(drop.drop_id)
            drop.bound = drop.bound or bound_of(drop.drop_id)
            staged = self._stage(drop)
            staged.record, staged.is_forgotten = copy.copy(drop), False
            self._more.drops += 1

    def save(self, *drops: DropRecord) -> None:
        for drop in drops:
            self._stage(drop).record = copy.copy(drop)

    def forget(self, drop: DropRecord) -> None:
        self._stage(drop).is_forgotten = True
        self._more.drops -= 1

    def note(self, *entries: Entry) -> None:
        for entry in entries:
            self._staged[self._hashes[entry.drop]].entry = encode_entry(entry)

    # Cells

    def holds(self, drop: DropRecord, labels: Sequence[bytes]) -> bool:
        staged = self._staged.get(drop.drop_id)
        known = staged.known if staged else self._memory.get(drop.drop_id)
        if known is None:
            known = self._recent(drop.drop_id, by_leader=True)
        if known.place:
            self._whole(known)
        if staged and not staged.plain.keys().isdisjoint(labels):
            return True
        return not known.labels.isdisjoint(labels)

    def append(self, drop: DropRecord, run: Run, *, day: int) -> None:
        staged = self._stage(drop)
        opener = self._opener(staged, drop, day)
        wrapped = wrap_all(opener, self._nonces, run.cells, drop.bound, first=run.first)
        labels = [cell[:LABEL_BYTES] for cell in run.cells]
        # Without a step of the interpreter for each cell: a batch has hundreds.
        staged.cells.extend(map(Resting, itertools.repeat(day), labels, run.befores, wrapped))
        plain = zip(itertools.count(run.first), run.befores, run.cells, strict=False)
        staged.plain.update(zip(labels, plain, strict=False))
        self._stage_bytes(drop, sum(map(len, run.cells)))

    def _opener(self, staged: Staged, drop: DropRecord, day: int) -> AESGCM:
        place = drop.drop_id, day
        opener = self._openers.get(place)
        if opener is None:
            known = staged.known
            key = staged.keys.get(day) or known.keys.get(day)
            secret = self._roots.unwrap(known.subject, key) if key else None
            if key is None or secret is None:
                secret = os.urandom(KEY_BYTES)
                last_day = day + drop.retention_days
                key = self._roots.wrap(known.subject, day, last_day, staged.generation, secret)
            staged.keys[day] = key
            opener = self._openers[place] = AESGCM(secret)
        return opener

    def labelled(self, drop: DropRecord, label: bytes) -> StoredCell | None:
        staged = self._staged.get(drop.drop_id)
        if staged is not None and label in staged.plain:
            return StoredCell(*staged.plain[label])
        known = self._at_hand(drop.drop_id)
        return self._labelled(self._whole(known), label)

    def hear_of(self, landed: Callable[[bytes, int], object]) -> None:
        def hear(_: str, body: bytes) -> None:
            if len(body) % NOTICE_BYTES:
                return
            for start in range(0, len(body), NOTICE_BYTES):
                notice = body[start : start + NOTICE_BYTES]
                drop_id, process = notice[:DROP_ID_BYTES], notice[-PROCESS_BYTES:]
                # This process hears its own words, too: its readers get these cells from memory.
                # If the notice came first, they would read them from the cluster.
                if process == self.processes.own:
                    return
                self.processes.heard(drop_id, process)
                landed(drop_id, int.from_bytes(notice[DROP_ID_BYTES:-PROCESS_BYTES], "big"))

        self._engine.listen(self._wake, hear)

    # Commit

    def defer(self) -> None:
        """Every message is durable when the engine has acknowledged it."""

    def rollback(self) -> None:
        self._staged, self._hashes, self._openers, self._fresh = {}, {}, {}, {}
        self._handed = {}
        self._more = Totals()

    def commit(self) -> Unmade:
        """Publish the change of each drop. A change in several messages is made from its beginning
        if at all, and its part is told as refused."""
        staged, refused, unknown = self._staged, set[bytes](), set[bytes]()
        self.rollback()
        landed: list[bytes] = []
        parts = {drop_id: self._parts(one) for drop_id, one in staged.items()}
        while parts:
            turn = {drop_id: next(left, None) for drop_id, left in parts.items()}
            going = {drop_id: part for drop_id, part in turn.items() if part is not None}
            groups = self._groups([(staged[drop_id], part) for drop_id, part in going.items()])
            outcomes = self._store(groups)
            parts = {drop_id: parts[drop_id] for drop_id in going}
            for group, outcome in zip(groups, outcomes, strict=True):
                if isinstance(outcome, int):
                    landed += self._made(group, outcome)
                    continue
                made = {one.record.drop_id for one, _ in group.changes}
                (refused if outcome == "refused" else unknown).update(made)
                parts = {drop_id: left for drop_id, left in parts.items() if drop_id not in made}
                if group.shard is not None:
                    self._journals.pop(group.shard, None)
        if landed:
            # All in one message: a batch has 768 writes, and a message room for 18,000 notices.
            self._engine.tell(self._wake, b"".join(landed))
        if refused:
            self._refresh([staged[drop_id].known for drop_id in refused])
            self.processes.refused(refused)
        return Unmade(frozenset(refused), frozenset(unknown))

    def _store(self, groups: list[_Group]) -> list[Outcome]:
        """Store groups, but none that has no room in its journal, and none that creates a drop if
        drops go by a move that we do not know."""
        outcomes: list[Outcome] = ["refused"] * len(groups)
        going = [
            index
            for index, group in enumerate(groups)
            if group.messages and (group.gate <= self._known_gate or not group.creates)
        ]
        made = self._engine.publish([groups[index].messages for index in going])
        for index, outcome in zip(going, made, strict=True):
            outcomes[index] = outcome
        return outcomes

    def _groups(self, changes: list[tuple[Staged, _Part]]) -> list[_Group]:
        """The messages that are published together: each change alone, but those with entries with
        a message of their shard's journal."""
        groups = []
        entering: dict[int, list[tuple[Staged, _Part]]] = {}
        for one, part in changes:
            if one.entry and part.is_last:
                entering.setdefault(self._layout.shard(one.record.drop_id), []).append((one, part))
            else:
                groups.append(_Group([(one, part)], [self._message(one, part)], None, 0))
        for shard, same in entering.items():
            some, rest = same[:MAX_ENTRIES], same[MAX_ENTRIES:]
            place, gate = self._journal(shard)
            journal = codec.encode(Journal([one.entry for one, _ in some], gate))
            messages = [self._message(one, part) for one, part in some]
            messages.append(self._journal_message(shard, place, journal))
            groups.append(_Group(some, messages, shard, gate))
            if rest:
                # A second message would have to name the first one. The caller stages these again.
                groups.append(_Group(rest, [], shard, gate))
        return groups

    def _journal(self, shard: int) -> tuple[int, int]:
        """(the place of the last message of a shard's journal, its gate)."""
        if shard not in self._journals:
            stream, subject = self._layout.stream(shard), self._layout.journal(shard)
            message = self._engine.last(stream, subject, by_leader=True)
            gate = self._sealer.open_journal(message).gate if message else 0
            self._journals[shard] = (message.place if message else 0, gate)
        return self._journals[shard]

    def _journal_message(self, shard: int, before: int, journal: bytes) -> Publish:
        subject = self._layout.journal(shard)
        return Publish(
            subject, before, self._sealer.headers(subject, before, b"", journal), journal
        )

    def _message(self, one: Staged, part: _Part) -> Publish:
        record, body = codec.encode(part.kept), codec.encode(part.change)
        subject = one.known.subject
        headers = self._sealer.headers(subject, one.before, record, body)
        return Publish(subject, one.before, headers, body)

    def _made(self, group: _Group, last: int) -> list[bytes]:
        """Know what was made, the last message at a place. Returns notices of cells that landed."""
        landed = []
        if group.shard is not None:
            self._journals[group.shard] = last, group.gate
        for place, (one, part) in enumerate(group.changes, last - len(group.messages) + 1):
            self._know(one, part, place)
            if part.change.cells:
                head = part.kept.head.to_bytes(HEAD_BYTES, "big")
                landed.append(one.record.drop_id + head + self.processes.own)
        return landed

    def _parts(self, one: Staged) -> Iterator[_Part]:
        record, keys = one.record, one.keys
        cells = one.cells
        first = record.head - len(cells) + 1
        sizes = [0, *itertools.accumulate(len(cell.wrapped) + CELL_HEAD_BYTES for cell in cells)]
        start = 0
        while True:
            # At least one cell, and the one with which it is full.
            end = bisect_left(sizes, sizes[start] + MESSAGE_BYTES)
            end = min(end, start + MAX_CELLS, len(cells))
            some = cells[start:end]
            is_last = end == len(cells)
            part = copy.copy(record)
            if not is_last:
                rest = cells[end:]
                part.head = first + end - 1
                part.digest = rest[0].before
                part.cells -= len(rest)
                part.bytes -= sum(len(cell.wrapped) - WRAP_BYTES for cell in rest)
                part.last_day = some[-1].day
            days = {cell.day for cell in some}
            yield _Part(
                kept_of(part, generation=one.generation, is_ended=one.is_forgotten),
                Change([key for day, key in keys.items() if day in days or not cells], some),
                is_last,
            )
            if is_last:
                return
            start = end

    def _know(self, one: Staged, part: _Part, place: int) -> None:
        """Know what was made."""
        known, before = one.known, one.before
        with known.lock:
            if known.place == before and (known.is_whole or not before):
                known.advance(place, before, part.kept, part.change)
                known.is_whole = True
            elif known.place < place:
                known.forget()
                known.kept, known.place = part.kept, place
        if known.is_here:
            self._memory.put(known)
        one.before = place
        self._count(one.old, part.kept)
        one.old = copy.copy(NOBODYS) if part.kept.is_ended else record_of(part.kept)

    def _count(self, old: DropRecord, kept: Kept) -> None:
        """Count what a drop has become, and note when it is due."""
        shard = self._layout.shard(kept.drop_id)
        for totals in (self._totals, self._in_shards[shard]):
            if old.drop_id:
                totals.add(old, -1)
            if not kept.is_ended:
                totals.add(kept)
        day = due_day(kept)
        if not kept.is_ended and day is not None and not (old.drop_id and day == due_day(old)):
            self._agendas[shard].note(kept.drop_id, day)
