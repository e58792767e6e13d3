"""Writes of all connections, which become durable together.

The writer stages all waiting writes as one batch, commits it in a thread while the loop goes on
reading sockets, and only then answers. Covered writes wait for the end of their round first, and
writes to a frozen drop wait until it is thawed.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import secrets
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, assert_never

from amanat.errors import AmanatError
from amanat.protocol import wire
from amanat.protocol.moving import (
    Abandon,
    Begin,
    Carry,
    End,
    Erase,
    Freeze,
    Land,
    Release,
    State,
    Step,
    Survey,
    Thaw,
)
from amanat.protocol.rounds import publish_at
from amanat.relay.asking import Asking, Queue, Writing
from amanat.relay.passing import Passing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from amanat.relay.connection import Asker
    from amanat.relay.drops import Drops, Written
    from amanat.relay.metrics import Metrics
    from amanat.relay.moving import Moves
    from amanat.relay.reading import Readers
    from amanat.relay.records import Processes
    from amanat.relay.shares import Room

BATCH_CELLS = 768
"""Most writes in one commit: staging them stops the loop for some milliseconds. As many message
cells that land in one drop go to its readers in one frame, and to a cluster in one message."""
BATCH_BYTES = 2 * 1024 * 1024
"""Bytes of frames after which a commit is full: staging 32 large cells stops the loop for some
milliseconds. A commit takes the disk about as long whatever is in it, so with less in each, files
wait for the disk most of the time."""
TURN_WRITES = 100
"""Writes of one connection in a commit before the next connection has its turn. Cells that land in
one drop at once are one frame and lie together on the disk, so turns of 32 cost a seventh of the
rate."""
CARRY_BYTES = 4 * 1024 * 1024
"""Bytes after which a commit of steps that bring cells, which nobody reads yet, is full. Writers to
other drops wait for about a tenth of a second meanwhile; with smaller commits a move takes
longer."""
FREEZE_S = 2.0
"""Longest that writers wait for frozen drops, in seconds: the mover may have ended."""

logger = logging.getLogger("amanat.relay")


class Writer:
    """All writes of one relay."""

    def __init__(
        self,
        drops: Drops,
        moves: Moves,
        readers: Readers,
        metrics: Metrics,
        wait_bytes: Room[Asker],
        processes: Processes | None,
        *,
        now: Callable[[], float],
    ) -> None:
        """`wait_bytes` is the room for writes that wait for the end of a round, `processes` those
        that write to the same store. `now` tells Unix seconds."""
        self._drops = drops
        self._moves = moves
        self._readers = readers
        self._metrics = metrics
        self._wait_bytes = wait_bytes
        self._now = now
        self.is_ending = False
        """Whether the relay drains."""
        self._queues: OrderedDict[Queue, None] = OrderedDict()
        """Queues with waiting writes, in turn."""
        self._round: dict[Asking, None] = {}
        """Writes that wait for the end of the round."""
        self._due = Queue()
        """Writes of rounds that are over."""
        # Steps of moves wait apart, so that no other write waits behind the cells of a move.
        self._steps = Queue()
        self._held: dict[Writing, None] = {}
        """Writes that wait for frozen drops."""
        self._freeze: asyncio.TimerHandle | None = None
        self._passing = Passing(processes, self._take_back) if processes else None
        self._work = asyncio.Event()
        # Held while anything is staged: commits and expiry take turns.
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")

    def end(self) -> None:
        """Have all waiting writes written, and then end."""
        self.is_ending = True
        self.end_round()

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    def leave(self, asking: Asking) -> None:
        """Take a request that is not a reader out of its table, and end its wait."""
        asking.stop()
        place = asking.place
        asking.rest(None)
        if isinstance(place, Queue) and not place:
            self._queues.pop(place, None)

    def put(self, asking: Asking, queue: Queue) -> None:
        """Have a write wait at the end of a queue."""
        asking.rest(queue)
        self._queues[queue] = None

    def check_step(self, request: wire.Move) -> None:
        """Check that the client may take this step. Raises BrokenMove or MoveRefused."""
        self._moves.check(request)

    def write(self, writing: Writing) -> None:
        """Queue a write until its turn comes."""
        queue = writing.asker.writes
        if isinstance(writing.request, wire.Move):
            queue = self._steps
        elif not queue.writes:
            self._queues[queue] = None
        if not queue.writes:
            self._work.set()
        queue.writes.append(writing)
        writing.place = queue

    def publish(self, writing: Writing) -> None:
        """Queue an append until the round ends. The refusal of a wrong drop or token is known at
        once, but the client, too, learns it at the end of the round. Its cell need not be kept."""
        if not self._round:
            now = self._now()
            asyncio.get_running_loop().call_later(publish_at(now) - now, self.end_round)
        writing.rest(self._round)
        request = writing.request
        # A cluster is not asked before the end of the round: no loop waits for it.
        if isinstance(request, wire.Append) and not self._drops.waits:
            writing.verdict = self._drops.judge(request)
        if writing.verdict is not None:
            writing.request = wire.Append(request.id, b"", b"", b"")
            self._wait_bytes.give_back(writing.asker, writing.size)
            writing.room, writing.size = None, 0

    def end_round(self) -> None:
        """Queue all writes that wait for the end of the round."""
        writes = list(self._round)
        secrets.SystemRandom().shuffle(writes)  # their order would also show when each client came
        for writing in writes:
            writing.rest(self._due)
        if writes:
            self._queues[self._due] = None
        self._work.set()

    async def run(self) -> None:
        """Write batches until the relay drains and no write waits."""
        while self._queues or self._steps or self._passing or not self.is_ending:
            await self._work.wait()
            self._work.clear()
            while self._queues or self._steps:
                for next_batch in (self._next_writes, self._next_steps):
                    async with self._turn:
                        if batch := next_batch():
                            await self._commit(batch)

    def _next_writes(self) -> list[Writing]:
        batch: list[Writing] = []
        taken, queues, frozen = 0, self._queues, self._drops.frozen
        while queues and len(batch) < BATCH_CELLS and taken < BATCH_BYTES:
            queue, _ = queues.popitem(last=False)
            for _ in range(min(TURN_WRITES, len(queue.writes))):
                writing = queue.writes.popleft()
                writing.place = None
                request = writing.request
                if frozen and isinstance(request, wire.Append) and request.drop_id in frozen:
                    writing.rest(self._held)
                    continue
                if self._passing is not None and self._passing.take(writing):
                    continue
                batch.append(writing)
                taken += writing.size
                if taken >= BATCH_BYTES:
                    break
            if queue.writes:
                queues[queue] = None
        return batch

    def _next_steps(self) -> list[Writing]:
        """The next step, or all next steps that only bring cells."""
        batch: list[Writing] = []
        taken, are_carries = 0, True
        while self._steps and are_carries and len(batch) < BATCH_CELLS and taken < CARRY_BYTES:
            first = self._steps.writes[0].request
            are_carries = isinstance(first, wire.Move) and isinstance(first.step, Carry)
            if batch and not are_carries:
                break
            writing = self._steps.writes.popleft()
            writing.place = None
            batch.append(writing)
            taken += writing.size
        return batch

    async def _commit(self, batch: Sequence[Writing]) -> None:
        started, loop = time.perf_counter(), asyncio.get_running_loop()
        requests = [writing.request for writing in batch if writing.verdict is None]
        steps = [request for request in requests if isinstance(request, wire.Move)]
        replies: list[wire.Reply] = []
        landed: dict[bytes, wire.Cells] = {}
        try:
            if steps:
                if isinstance(steps[0].step, Begin | Erase):
                    self._thaw()  # their mover has ended, and nobody can read them now
                # In the thread: opening the cells of a move, or reading the ledger, takes longer
                # than the loop may stand still.
                take = functools.partial(self._moves.take, steps, now=self._now())
                replies = await loop.run_in_executor(self._thread, take)
                if isinstance(steps[0].step, Begin | Release | Abandon):
                    self._drops.know_moves()
            else:
                writes = [request for request in requests if not isinstance(request, wire.Move)]
                clients = [writing.asker for writing in batch if writing.verdict is None]
                replies, landed, created = await self._carry_out(writes, clients)
                self._metrics.created.inc(len(created))
                answers = iter(replies)
                replies = [writing.verdict or next(answers) for writing in batch]
        except AmanatError as error:
            logger.error("commit failed: %s", error.code)  # noqa: TRY400  # a trace says no more
            replies, landed = [writing.refusal(error) for writing in batch], {}
            if self._drops.waits:
                # A cluster that stops answering may have made a part of the batch before.
                for drop_id in {one.drop_id for one in requests if isinstance(one, wire.Append)}:
                    for reader in self._readers.live(drop_id):
                        self._readers.catch_up(reader)
        for step in steps:
            self._after(step.step)
        # Answer later: the thread can begin with the next batch.
        loop.call_soon(self._tell, batch, replies, landed)
        self._metrics.waiting_writes.set(sum(map(len, self._queues)) + len(self._steps))
        self._metrics.commit_seconds.observe(time.perf_counter() - started)

    def _tell(
        self,
        batch: Sequence[Writing],
        replies: Sequence[wire.Reply],
        landed: Mapping[bytes, wire.Cells],
    ) -> None:
        """Answer a batch that is on disk, and hand its cells to their readers."""
        for writing, reply in zip(batch, replies, strict=True):
            writing.asker.answer(writing, reply)
        for drop_id, cells in landed.items():
            self._readers.publish(drop_id, cells)

    async def _carry_out(
        self, writes: Sequence[wire.Create | wire.Append], clients: Sequence[Asker]
    ) -> Written:
        loop, now = asyncio.get_running_loop(), self._now()
        if self._drops.waits:
            carry_out = functools.partial(self._drops.carry_out, writes, now=now, clients=clients)
            return await loop.run_in_executor(self._thread, carry_out)
        written = self._drops.write(writes, now=now, clients=clients)
        await loop.run_in_executor(self._thread, self._drops.commit)
        return written

    def _after(self, step: Step) -> None:
        """After a Freeze, let writers wait, but not for long; after a Thaw, let them go on."""
        match step:
            case Freeze():
                if self._freeze is not None:
                    self._freeze.cancel()
                self._freeze = asyncio.get_running_loop().call_later(FREEZE_S, self._thaw)
            case Thaw():
                self._thaw()
            case (
                Begin() | Survey() | Carry() | Release() | Land() | State() | Erase() | Abandon()
                | End()
            ):  # fmt: skip
                pass  # writers do not notice
            case _:
                assert_never(step)

    def _thaw(self) -> None:
        thawed = tuple(self._drops.frozen)
        self._drops.frozen.clear()
        self._take_back(tuple(self._held))
        for drop_id in thawed:
            for reader in self._readers.live(drop_id):
                self._readers.catch_up(reader)  # if the drop has gone, this tells the reader where

    def _take_back(self, writings: Sequence[Writing]) -> None:
        """Have writes written, each of which came before everything in its queue."""
        for writing in reversed(writings):
            queue = writing.asker.writes
            writing.rest(None)
            queue.writes.appendleft(writing)
            writing.place = queue
            self._queues[queue] = None
        self._work.set()

    async def in_turns(self, steps: Iterator[bool], what: str) -> None:
        """Take the steps of a long task, in turns with commits. The relay tries a failed task again
        in the next hour."""
        loop = asyncio.get_running_loop()
        try:
            more = True
            while more:
                async with self._turn:
                    more = await loop.run_in_executor(self._thread, next, steps, False)
        except AmanatError as error:
            logger.error("%s failed: %s", what, error.code)  # noqa: TRY400  # a trace says no more
