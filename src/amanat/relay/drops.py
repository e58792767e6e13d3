"""The rules of a relay: which cells enter a drop, in which order, who reads them, when they expire.

The rules are synchronous and clockless: callers pass `now`, in Unix seconds. Writes come in
batches. `write` stages a batch in the store and returns the answers, which are true, and may be
sent, once the store has committed. If the commit fails, nothing of the batch has happened: every
client retries the same bytes and gets its place then. Reads see only committed state.

The store keeps times as whole UTC days, because finer ones would tell who was awake when. The day
of a cell is never earlier than that of a kept cell before it, so a drop expires from its beginning
even if the clock was set back.
"""

from __future__ import annotations

import functools
import hmac
import itertools
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, assert_never

from amanat.errors import (
    AmanatError,
    BadCell,
    CellTooLarge,
    DropConflict,
    DropFull,
    DropMoved,
    LabelTaken,
    MalformedFrame,
    NoAccess,
    NoSuchDrop,
    RelayBusy,
    WrongRegion,
)
from amanat.protocol import wire
from amanat.protocol.cells import CELL_SIZES, LABEL_BYTES, LARGE_CELL, MESSAGE_CELL
from amanat.protocol.drops import (
    MESSAGE_RETENTION_DAYS,
    RETENTION_DAYS,
    derive_bucket,
    first_digest,
    in_region,
    next_digest,
    token_hash,
)
from amanat.protocol.ledger import Created, drop_hash, hour_of
from amanat.protocol.moving import ARRIVING, GONE, HERE, open_order
from amanat.relay.rates import Creations, Served
from amanat.relay.records import ALL_MADE, MOST_SEQ, DropRecord, MoveRecord, Run, StoredCell

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from amanat.config import RelayLimits
    from amanat.relay.rates import Creator
    from amanat.relay.records import Store, Unmade

DAY_S = 86_400
"""Seconds in a day."""
DROP_LIFE_DAYS = 180
"""Days for which the relay keeps a drop after its last cell or its creation; buckets never end.
They are far more than any retention. The head of an empty drop tells somebody who comes back that
they have missed cells. If the drop of an epoch ended with them and began again, those who had read
it before would say that the relay lies."""
EXPIRY_SLICE = 1000
"""Cells erased in one step of an expiry, which takes turns with appends."""
OPEN_TRIES = 8
"""Times in a row that buckets are created in vain, because other processes change the store."""
BUSY_RETRY_S = 5.0
"""Seconds after which a client may ask again when the relay has reached a limit that comes and
goes with load."""
LANDING_RETRY_S = 1.0
"""Seconds after which a client may ask again for a drop that is arriving: it takes less than one,
unless the mover has ended in between."""
DROPS_RETRY_S = 3600.0
"""Seconds after which a client may ask again for a new drop when there are too many: drops end by
the day."""

SMALL_CELLS = 8
"""Large cells of a drop that is served although the day's bytes of files are used up: the drop of
an epoch must be, and a long Commit with 256 ciphertexts of its suite fills five. A voice note and a
small picture are served, too."""

MOST_TRIES = 8
"""Times that a batch is carried out on drops that other processes change meanwhile."""
CONTENDED_RETRY_S = 1.0
"""Seconds after which a client may ask again when other processes were always first."""

ANY_HEAD = 2**62
"""More than any head: a look for it asks the replica that knows most."""


class Written(NamedTuple):
    """The results of a batch of writes, true once it is committed."""

    replies: list[wire.Reply]
    """The answer to each request, in order."""
    landed: dict[bytes, wire.Cells]
    """By drop id, the new cells, as a frame with id 0."""
    created: dict[bytes, Creator | None]
    """The new drops, and the client that creates each."""


class Drops:
    """The drops of one relay."""

    def __init__(
        self, store: Store, *, region: str, bucket_key: bytes, limits: RelayLimits
    ) -> None:
        self._store = store
        self._region = region
        self._bucket_key = bucket_key
        self._limits = limits
        self._creations = Creations(
            limits.drop_creations_per_minute, limits.drop_creations_per_minute_total
        )
        self._served = Served(limits.bytes_out_per_day)
        self._buckets: set[bytes] = set()
        """Ids of the buckets that have been read: what they hold does not count as files."""
        self._reserve = limits.reserve
        self._open_room = limits.bytes_total - limits.reserve
        """Bytes that all drops may fill together: up to there nobody asks how much buckets hold."""
        self.frozen: set[bytes] = set()
        """Ids of drops whose writers wait, and which can be read whether or not they have gone."""
        self.moves: dict[int, MoveRecord] = {}
        """The moves by their numbers."""
        self._guests: dict[bytes, list[str]] = {}
        """For each bucket key of a relay that moved here, the regions in which it may create
        drops."""
        self._order = b""
        """The order by which drops go from here, once one has gone."""
        self.know_moves()

    def know_moves(self) -> None:
        """Act on the moves in the store from now on."""
        self.moves = {record.number: record for record in self._store.moves()}
        self._guests, self._order = {}, b""
        for record in self.moves.values():
            order = open_order(record.order)
            if not record.is_source:
                self._guests[record.access] = order.regions
                if self._order and open_order(self._order).to.key == order.source:
                    self._order = b""  # everything has come back
            elif record.is_closed:
                self._order = record.order

    def _hear_of_moves(self) -> None:
        if self._store.has_new_moves():
            self.know_moves()

    def admits(self, access: bytes) -> bool:
        """Whether this is the bucket key of a relay whose people have come here."""
        self._hear_of_moves()
        return any(hmac.compare_digest(access, key) for key in self._guests)

    def open_buckets(self, count: int, *, now: float) -> None:
        """Create the relay's buckets that do not exist yet, and commit. Raises RelayBusy if the
        store does not make them all."""
        of = functools.partial(derive_bucket, self._bucket_key, region=self._region)
        buckets, idle = [of(index) for index in range(count)], 0
        while idle < OPEN_TRIES:
            left = [one for one in buckets if not self._store.find(one.drop_id).drop_id]
            for bucket in left:
                self._add(
                    _new_drop(
                        bucket.drop_id,
                        append_hash=token_hash(bucket.drop_id, bucket.append_token),
                        read_hash=token_hash(bucket.drop_id, bucket.read_token),
                        retention_days=MESSAGE_RETENTION_DAYS,
                        bucket=True,
                        today=_day(now),
                    ),
                    now=now,
                )
            if self._store.commit() == ALL_MADE:
                return
            idle = idle + 1 if len(left) == len(buckets) else 0
            buckets = left
        raise RelayBusy("the store does not make the buckets", retry_after=BUSY_RETRY_S)

    def _add(self, drop: DropRecord, *, now: float) -> None:
        self._store.add(drop)
        self._store.note(Created(drop_hash(drop.drop_id), hour_of(now)))

    def write(
        self,
        requests: Sequence[wire.Create | wire.Append],
        *,
        now: float,
        clients: Sequence[Creator] = (),
    ) -> Written:
        """Stage a batch, in order. Each request succeeds or fails by itself. `clients` are those
        who make the requests; without them, creations are not counted.

        Raises the store's errors; nothing is staged then.
        """
        self._hear_of_moves()
        batch = _Batch(self._store)
        replies: list[wire.Reply] = []
        with self._whole():
            self._store.prepare(request.drop_id for request in requests)
            for _, same in itertools.groupby(requests, _appends_to):
                run = list(same)
                taken = self._append_all(batch, run, now=now)
                if taken is not None:
                    replies += taken
                    continue
                for request in run:
                    client = clients[len(replies)] if clients else None
                    replies.append(self._write_one(batch, request, client, now=now))
            self._store.save(*batch.changed.values())
        landed = {drop_id: _frame(runs) for drop_id, runs in batch.landed.items()}
        return Written(replies, landed, batch.created)

    def _write_one(
        self,
        batch: _Batch,
        request: wire.Create | wire.Append,
        client: Creator | None,
        *,
        now: float,
    ) -> wire.Reply:
        try:
            if isinstance(request, wire.Append):
                return self._append(batch, request, now=now)
            if isinstance(request, wire.Create):
                return self._create(batch, request, client, now=now)
            assert_never(request)
        except _REFUSALS as error:
            return refusal(request.id, error)

    @property
    def waits(self) -> bool:
        """Whether `read` and `carry_out` may wait for other machines, and no loop calls them."""
        return self._store.waits

    def carry_out(
        self,
        requests: Sequence[wire.Create | wire.Append],
        *,
        now: float,
        clients: Sequence[Creator] = (),
    ) -> Written:
        """Stage a batch and commit it, and again the part of it that other processes prevented.

        Raises the store's errors. Then clients ask again, whatever has been done of the batch.
        """
        replies: dict[int, wire.Reply] = {}
        landed: dict[bytes, wire.Cells] = {}
        created: dict[bytes, Creator | None] = {}
        left = list(enumerate(requests))
        busy = RelayBusy(retry_after=CONTENDED_RETRY_S)
        for _ in range(MOST_TRIES):
            written = self.write(
                [request for _, request in left],
                now=now,
                clients=[clients[index] for index, _ in left] if clients else (),
            )
            unmade = self.commit()
            if unmade == ALL_MADE and len(left) == len(requests):
                return written
            not_made = unmade.refused | unmade.unknown
            for drop_id, client in written.created.items():
                if drop_id not in not_made:
                    created[drop_id] = client
                elif client is not None:
                    self._creations.give_back(client)
            landed |= {one: cells for one, cells in written.landed.items() if one not in not_made}
            for (index, request), reply in zip(left, written.replies, strict=True):
                is_made = request.drop_id not in not_made
                replies[index] = reply if is_made else refusal(request.id, busy)
            left = [one for one in left if one[1].drop_id in unmade.refused]
            if not left:
                break
            self.know_moves()  # another process may have begun one
        return Written([replies[index] for index in range(len(requests))], landed, created)

    def commit(self) -> Unmade:
        """Make what was staged durable; may be called in another thread. Returns the drops for
        which that failed.

        Raises the store's errors; nothing is staged then.
        """
        with self._whole():
            return self._store.commit()

    @contextmanager
    def _whole(self) -> Iterator[None]:
        try:
            yield
        except AmanatError:
            self._store.rollback()
            raise

    def _create(
        self, batch: _Batch, request: wire.Create, client: Creator | None, *, now: float
    ) -> wire.Created:
        regions = [self._region]
        if not hmac.compare_digest(request.access, self._bucket_key):
            if not self.admits(request.access):
                raise NoAccess
            regions += self._guests[request.access]
        if not any(in_region(request.drop_id, region) for region in regions):
            raise WrongRegion
        if request.retention_days not in RETENTION_DAYS:
            raise MalformedFrame
        drop = batch.find(request.drop_id)
        self._must_be_here(drop)
        if not drop.drop_id:
            if self._order:
                raise DropMoved(order=self._order)
            if self._store.count() >= self._limits.drops:
                raise RelayBusy(retry_after=DROPS_RETRY_S)
            if client is not None:
                self._creations.take(client, now=now)
            drop = _new_drop(
                request.drop_id,
                append_hash=request.append_hash,
                read_hash=request.read_hash,
                retention_days=request.retention_days,
                bucket=False,
                today=_day(now),
            )
            self._add(drop, now=now)
            batch.created[drop.drop_id] = client
        elif (drop.append_hash, drop.read_hash, drop.retention_days, drop.bucket) != (
            request.append_hash,
            request.read_hash,
            request.retention_days,
            False,
        ):
            raise DropConflict
        return wire.Created(id=request.id, head=drop.head)

    def _append(self, batch: _Batch, request: wire.Append, *, now: float) -> wire.Appended:
        cell = request.cell
        try:
            drop = batch.appendable(request.drop_id, request.append_token)
        except NoSuchDrop:
            raise self._absent() from None
        self._must_be_here(drop)
        if len(cell) not in CELL_SIZES:
            raise BadCell
        full = self._full(drop, 1, len(cell), now=now)
        if full is not None or self._store.holds(drop, [cell[:LABEL_BYTES]]):
            return self._again(drop, request, full)
        [reply] = self._land(batch, drop, [request], now=now)
        return reply

    def _append_all(
        self, batch: _Batch, run: Sequence[wire.Create | wire.Append], *, now: float
    ) -> list[wire.Appended] | None:
        """The answers to several appends to one drop with one token, if it takes them all; None,
        and nothing is staged, if one of them needs a closer look."""
        requests = [request for request in run if isinstance(request, wire.Append)]
        if len(requests) < 2:  # noqa: PLR2004  # one gets its closer look for the same price
            return None
        try:
            drop = batch.appendable(requests[0].drop_id, requests[0].append_token)
        except NoSuchDrop:
            return None
        sizes = [len(request.cell) for request in requests]
        labels = [request.cell[:LABEL_BYTES] for request in requests]
        if (
            drop.state != HERE
            or not set(CELL_SIZES).issuperset(sizes)
            or len(set(labels)) < len(labels)
            or self._full(drop, len(sizes), sum(sizes), now=now) is not None
            or self._store.holds(drop, labels)
        ):
            return None
        return self._land(batch, drop, requests, now=now)

    def _land(
        self, batch: _Batch, drop: DropRecord, requests: Sequence[wire.Append], *, now: float
    ) -> list[wire.Appended]:
        """Stage the cells of appends that a drop takes; the answers."""
        day = max(drop.last_day, _day(now)) if drop.cells else _day(now)
        cells = [request.cell for request in requests]
        *befores, digest = digests = list(
            itertools.accumulate(cells, next_digest, initial=drop.digest)
        )
        run = Run(drop.head + 1, befores, cells)
        self._store.append(drop, run, day=day)
        if not drop.cells:
            drop.oldest_day = day
        drop.last_day = day
        drop.head += len(cells)
        drop.digest = digest
        drop.cells += len(cells)
        drop.bytes += sum(map(len, cells))
        batch.land(drop, run)
        return [
            wire.Appended(request.id, seq, after)
            for seq, request, after in zip(
                itertools.count(run.first), requests, digests[1:], strict=False
            )
        ]

    def judge(self, request: wire.Append) -> wire.Failed | wire.Moved | None:
        """The refusal of an append whose drop is not here or whose token is wrong; None for any
        other. It looks at committed drops and stages nothing."""
        drop = self._store.look(request.drop_id)
        if _matches(request.drop_id, request.append_token, drop.append_hash):
            return None
        return refusal(request.id, self._absent())

    def _absent(self) -> NoSuchDrop | DropMoved:
        """The error for a drop that is not here and for a wrong token: nobody may learn which. Once
        drops have gone, the destination creates new ones."""
        return DropMoved(order=self._order) if self._order else NoSuchDrop()

    def _must_be_here(self, drop: DropRecord) -> None:
        if drop.state == GONE:
            if drop.move not in self.moves:
                self.know_moves()  # the notice of it comes later than the drop
            raise DropMoved(order=self.moves[drop.move].order)
        if drop.state == ARRIVING:
            raise RelayBusy(retry_after=LANDING_RETRY_S)

    def _again(
        self, drop: DropRecord, request: wire.Append, full: DropFull | RelayBusy | None
    ) -> wire.Appended:
        """The answer that the first append of this cell got."""
        stored = self._store.labelled(drop, request.cell[:LABEL_BYTES])
        if stored is None and full is not None:
            raise full
        if stored is None or stored.cell != request.cell:
            raise LabelTaken
        return wire.Appended(request.id, stored.seq, next_digest(stored.before, stored.cell))

    def _full(
        self, drop: DropRecord, cells: int, size: int, *, now: float
    ) -> DropFull | RelayBusy | None:
        """The reason why there is no room for some more cells of a size together; None if there is
        room."""
        limits = self._limits
        # Room comes when cells expire, which they do at midnight.
        if (
            drop.cells + cells > limits.cells_per_drop
            or drop.bytes + size > limits.bytes_per_drop
            or drop.head + cells > MOST_SEQ
        ):
            return DropFull(retry_after=DAY_S - now % DAY_S)
        stored = self._store.stored_bytes() + size
        if stored > self._open_room:
            # Messages go on when files have taken all the room that they may.
            kept = 0
            if not drop.bucket:
                kept = max(0, self._reserve - self._store.bucket_bytes())
            if stored > limits.bytes_total - kept:
                return RelayBusy(retry_after=DAY_S - now % DAY_S)
        return None

    def read(
        self, request: wire.Read | wire.Follow | wire.Page, *, after: int, now: float, told: int = 0
    ) -> wire.Cells:
        """The answer to a read that has come as far as `after`; without cells if there are none.
        `told` is a head of which another process has told. Raises NoSuchDrop, DropMoved, RelayBusy
        if the drop is arriving, or CellTooLarge if the next cell has no room in a page."""
        self._hear_of_moves()
        drop = self._store.look(request.drop_id, at_least=max(after, told))
        if not _matches(request.drop_id, request.read_token, drop.read_hash):
            # A replica that has lost the drop must not decide that there is none.
            drop = self._store.look(request.drop_id, at_least=ANY_HEAD)
            if not _matches(request.drop_id, request.read_token, drop.read_hash):
                raise self._absent()
        if drop.head < after:  # no write for anybody but its readers
            drop = self._store.look(request.drop_id, at_least=after, is_sure=True)
        if drop.drop_id not in self.frozen:
            self._must_be_here(drop)
        if drop.bucket:
            self._buckets.add(drop.drop_id)
        stored = self._store.cells(
            drop,
            after=after,
            since_day=_day(now) - drop.retention_days,
            max_cells=request.limit if isinstance(request, wire.Read) else wire.MAX_CELLS,
            max_bytes=wire.PAGE_BYTES if isinstance(request, wire.Page) else wire.READ_BYTES,
        )
        if not stored:
            return wire.Cells(request.id, drop.head + 1, drop.digest, [], drop.head)
        if isinstance(request, wire.Page) and len(stored[0].cell) > wire.PAGE_BYTES:
            raise CellTooLarge
        if not drop.bucket and self._served.is_over(_day(now)):
            stored = _without_files(drop, stored, now=now)
        return wire.Cells(
            request.id, stored[0].seq, stored[0].before, [one.cell for one in stored], drop.head
        )

    def file_bytes(self, drop_id: bytes, cells: Sequence[bytes]) -> int:
        """How many bytes of a drop's cells count as those of files: its large cells, unless it is a
        bucket. Ask only for a drop that was read."""
        if drop_id in self._buckets:
            return 0
        return LARGE_CELL * [len(cell) for cell in cells].count(LARGE_CELL)

    def count_out(self, file_bytes: int, *, now: float) -> None:
        """Count bytes of files that readers were handed."""
        self._served.add(file_bytes, day=_day(now))

    def may_serve_files(self, *, now: float) -> bool:
        """Whether today's bytes of files are not used up."""
        return not self._served.is_over(_day(now))

    def head(self, drop_id: bytes) -> int:
        """The seq of the last cell of a drop, 0 if there is none or no such drop."""
        return self._store.look(drop_id).head

    def expire(self, *, now: float) -> Iterator[bool]:
        """Erase everything that has expired, in steps short enough to take turns with appends.
        Yields True after each but the last.

        A cell of day `d` expires with day `d + retention_days`: it rests for at least the retention
        and at most a day longer. Its key goes first, so that a crash in between leaves nothing that
        can be unwrapped.
        """
        today = _day(now)
        with self._whole():
            self._store.shred(today)
            yield True
            for _ in self._store.find_due(today, hour=hour_of(now)):
                yield True
            while self._store.erase(today, EXPIRY_SLICE, hour=hour_of(now)):
                yield True
            self._store.end_drops(today - DROP_LIFE_DAYS, hour=hour_of(now))
            # Even if nothing expired today, a crash may have come between an earlier erasure and
            # this.
            self._store.scrub()


class _Batch:
    """The drops that one batch touches, as they will be after it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._found: dict[bytes, DropRecord] = {}
        self._shown: set[tuple[bytes, bytes]] = set()
        self.changed: dict[bytes, DropRecord] = {}
        self.landed: dict[bytes, list[Run]] = {}
        self.created: dict[bytes, Creator | None] = {}

    def find(self, drop_id: bytes) -> DropRecord:
        """The drop, or NOBODYS if there is none."""
        drop = self._found.get(drop_id)
        if drop is None:
            drop = self._store.find(drop_id)
            if drop.drop_id:
                self._found[drop_id] = drop
        return drop

    def appendable(self, drop_id: bytes, token: bytes) -> DropRecord:
        """The drop, if this is its append token. Raises NoSuchDrop.

        Every refusal costs one look at this batch, two at the store, and two comparisons, whether
        the drop exists or not, so that its time does not tell. Only a token that was right before
        in this batch skips the comparison.
        """
        if (drop_id, token) in self._shown:
            return self._found[drop_id]
        recalled = self._store.recall(drop_id)
        drop = self._found.get(drop_id, recalled)
        if not _matches(drop_id, token, drop.append_hash):
            drop = self._store.find(drop_id)
            if not _matches(drop_id, token, drop.append_hash):
                raise NoSuchDrop
        self._found[drop_id] = drop
        self._shown.add((drop_id, token))
        return drop

    def land(self, drop: DropRecord, run: Run) -> None:
        """Note cells that were put into a drop."""
        self.changed[drop.drop_id] = drop
        self.landed.setdefault(drop.drop_id, []).append(run)


def refusal(request_id: int, error: AmanatError) -> wire.Failed | wire.Moved:
    """The frame that names an error: its code, never its detail."""
    if isinstance(error, DropMoved):
        return wire.Moved(request_id, error.order)
    return wire.Failed(request_id, error.code, error.retry_after)


_REFUSALS = (
    BadCell,
    DropConflict,
    DropFull,
    DropMoved,
    LabelTaken,
    MalformedFrame,
    NoAccess,
    NoSuchDrop,
    RelayBusy,
    WrongRegion,
)
"""The errors that refuse one request; any other ends the batch."""


def _day(now: float) -> int:
    return int(now // DAY_S)


def _matches(drop_id: bytes, token: bytes, kept: bytes) -> bool:
    return hmac.compare_digest(token_hash(drop_id, token), kept)


def _without_files(drop: DropRecord, stored: list[StoredCell], *, now: float) -> list[StoredCell]:
    """Those of a drop's next cells that are served when the day's bytes of files are used up.
    Raises RelayBusy until the end of the day if there is none."""
    # So many large cells it holds at most: other cells take at least those of messages.
    if drop.bytes - drop.cells * MESSAGE_CELL <= SMALL_CELLS * (LARGE_CELL - MESSAGE_CELL):
        return stored
    served = list(itertools.takewhile(lambda one: len(one.cell) < LARGE_CELL, stored))
    if not served:
        raise RelayBusy(retry_after=DAY_S - now % DAY_S)
    return served


def _new_drop(
    drop_id: bytes,
    *,
    append_hash: bytes,
    read_hash: bytes,
    retention_days: int,
    bucket: bool,
    today: int,
) -> DropRecord:
    return DropRecord(
        drop_id=drop_id,
        append_hash=append_hash,
        read_hash=read_hash,
        retention_days=retention_days,
        bucket=bucket,
        head=0,
        digest=first_digest(drop_id),
        cells=0,
        bytes=0,
        last_day=today,
        oldest_day=None,
    )


def _frame(runs: list[Run]) -> wire.Cells:
    first, cells = runs[0], list(itertools.chain.from_iterable(run.cells for run in runs))
    return wire.Cells(0, first.first, first.befores[0], cells, first.first + len(cells) - 1)


def _appends_to(request: wire.Create | wire.Append) -> tuple[bytes, bytes] | None:
    """The drop and the token of an append."""
    return (request.drop_id, request.append_token) if isinstance(request, wire.Append) else None
