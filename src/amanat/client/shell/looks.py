"""The reader of epoch drops: it looks for Commits, stays at the drop of a large group, and reads
the drop of a group to which we are coming back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from amanat.client.rules import roster
from amanat.client.shell.buckets import CELLS_PER_UNIT
from amanat.errors import NoSuchDrop, PeerError, RelayUnreachable, TrustError, Unavailable
from amanat.protocol import wire

if TYPE_CHECKING:
    from amanat.client.routes import Routes
    from amanat.client.rules.rejoining import Try
    from amanat.client.shell.pausing import Pausing
    from amanat.client.shell.runtime import Runtime
    from amanat.protocol.drops import Drop


LARGE_WAIT_S = 20
"""How long a member of a large group waits at its epoch drop at a time, in seconds. Between two
waits it checks whether anything else is due."""
_FOLLOWED = (
    "(SELECT gid, look_due_at FROM conversation WHERE state IN ('active', 'leaving', 'astray'))"
)
"""The conversations whose epoch drops we read."""


class Looks:
    """Reads the epoch drops of one client."""

    def __init__(self, run: Runtime, routes: Routes, pausing: Pausing) -> None:
        self._now = run.now
        self._read = run.parts.vault.read
        self._unit = run.unit
        self._spawn = run.spawn
        self._tasks = run.tasks
        self._wake = run.wake
        self._cursors = run.parts.cursors
        self._conversations = run.parts.conversations
        self._rejoining = run.parts.conversations.rejoining
        self._routes = routes
        self._tick_s = run.around.tick_s
        self._rest_after = pausing.rest_after
        self.looking: set[bytes] = set()
        """The conversations whose epoch drops are being read to their ends."""
        run.at_due(self._begin)

    def _begin(self) -> None:
        for gid in self._read.due(_FOLLOWED, "look_due_at", self._now()):
            if ("look", gid) not in self._tasks:
                self._spawn(("look", gid), self._look(gid))
        for attempt in self._rejoining.tries():
            if ("back", attempt.gid) not in self._tasks:
                self._spawn(("back", attempt.gid), self._come_back(attempt))

    async def _look(self, gid: bytes) -> None:
        """Read the epoch drops of a conversation to their ends, and stay there if it is a large
        group."""
        self.looking.add(gid)
        try:
            while self._conversations.roster.reads_drops(gid):
                drops = self._conversations.epochs.epoch_drops(gid)
                now = self._now()
                if self._is_look_due(gid, now=now):
                    with self._unit() as unit:
                        self._conversations.roster.look_soon(
                            unit, gid, at=now + roster.LOOK_EVERY_MS
                        )
                    for epoch, drop in drops:
                        await self._look_into(gid, epoch, drop, wait=0)
                self.looking.discard(gid)
                self._wake()
                if not self._conversations.roster.reads_drops(gid):
                    break
                if self._conversations.epochs.epoch_drops(gid) != drops:
                    with (
                        self._unit() as unit
                    ):  # a Commit was found: the next epoch may have ended too
                        self._conversations.roster.look_soon(unit, gid, at=now)
                elif drops and self._conversations.roster.group(gid).is_large:
                    epoch, drop = drops[-1]
                    await self._look_into(gid, epoch, drop, wait=LARGE_WAIT_S)
                else:
                    break
        finally:
            self.looking.discard(gid)

    def _is_look_due(self, gid: bytes, *, now: int) -> bool:
        row = self._read.execute(
            "SELECT look_due_at <= ? FROM conversation WHERE gid = ?", (now, gid)
        ).fetchone()
        return bool(row[0])

    async def _look_into(self, gid: bytes, epoch: int, drop: Drop, *, wait: int) -> None:
        """Read an epoch drop to its end; wait for a new cell if there is none."""
        sure = self._cursors.read_so_far()
        taken = self._conversations.commits.taken(gid, epoch)
        try:
            try:
                while await self._read_page(gid, epoch, drop, wait=wait):
                    wait = 0
            except NoSuchDrop:  # nobody has made it yet, so nobody has spoken yet
                if wait:
                    await asyncio.sleep(self._tick_s())
            if taken or self._is_in(gid, epoch):
                with self._unit() as unit:
                    self._conversations.entering.mark_sure(unit, gid, epoch, sure)
                    self._conversations.commits.append_again(unit, gid, taken)
                    self._conversations.commits.has_looked(unit, gid, epoch)
        except (Unavailable, PeerError, TrustError) as error:
            relay = self._conversations.epochs.epoch_relay(gid, epoch)
            if isinstance(error, Unavailable):
                if relay != self._conversations.roster.group(gid).policy.relay.key:
                    return  # not needed, because the group's Commits rest elsewhere now
                with self._unit() as unit:
                    self._conversations.roster.look_soon(unit, gid, at=unit.now)
                    if isinstance(error, RelayUnreachable):
                        self._conversations.commits.cut_off(unit, gid)
            await self._rest_after(error, relay, drop.drop_id)

    def _is_in(self, gid: bytes, epoch: int) -> bool:
        roster = self._conversations.roster
        return roster.reads_drops(gid) and roster.group(gid).view.epoch == epoch

    async def _read_page(self, gid: bytes, epoch: int, drop: Drop, *, wait: int) -> bool:
        """Take one reply of an epoch drop; returns whether there is more."""
        link = await self._routes.to(self._conversations.epochs.epoch_relay(gid, epoch))
        after = self._cursors.read_from(drop.drop_id)
        request = wire.Read(0, drop.drop_id, drop.read_token, after, wire.MAX_CELLS, wait)
        cells = await link.request(request, wire.Cells)
        if self._cursors.is_at_end(drop.drop_id, cells):
            return False
        last = cells.first + len(cells.cells) - 1
        while self._conversations.roster.reads_drops(gid) and epoch in dict(
            self._conversations.epochs.epoch_drops(gid)
        ):
            with self._unit() as unit:
                self._conversations.hearing.read_epoch(unit, gid, epoch, cells, take=CELLS_PER_UNIT)
            if self._cursors.read_from(drop.drop_id) >= last:
                return last < cells.head
            await asyncio.sleep(0)
        return False

    async def _come_back(self, attempt: Try) -> None:
        """Read the epoch drop from its first cell until it holds a whole Commit, ours or another,
        or the relay has forgotten ours."""
        drop, after = attempt.place.drop, 0
        with self._unit() as unit:
            self._rejoining.begin(unit, attempt)
        while True:
            is_taken = self._rejoining.is_taken(attempt)
            request = wire.Read(
                0, drop.drop_id, drop.read_token, after, wire.MAX_CELLS, wire.MAX_WAIT_S
            )
            try:
                link = await self._routes.to(attempt.relay)
                cells = await link.request(request, wire.Cells)
            except NoSuchDrop:
                if is_taken:
                    with self._unit() as unit:
                        self._rejoining.forgotten(unit, attempt)
                    break
                await asyncio.sleep(self._tick_s())  # the helper has not had it made yet
                continue
            except (Unavailable, PeerError, TrustError) as error:
                await self._rest_after(error, attempt.relay, b"")
                continue
            with self._unit() as unit:
                if self._rejoining.judge(unit, attempt, cells):
                    break
                after = cells.first + len(cells.cells) - 1
                if is_taken and after >= cells.head:
                    self._rejoining.forgotten(unit, attempt)
                    break
