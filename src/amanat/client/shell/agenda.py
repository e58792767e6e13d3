"""The agenda: with each tick it looks for the work that is due, and does it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from amanat.client import profile
from amanat.client.invite import ASIDE_MS
from amanat.client.rules.asking import ASK_MS
from amanat.errors import DiskFull

if TYPE_CHECKING:
    from amanat.client.routes import Routes
    from amanat.client.shell.buckets import Buckets
    from amanat.client.shell.runtime import Runtime


WRITE_EVERY_MS = 5_000
"""How often the client writes how far it has read other people's cells. It reads again those that
it did not write."""

EXPIRE_EVERY_MS = 3_600_000
"""How often the client looks for data that it has kept long enough."""

_LATE_INTENTS = "(SELECT gid, due_at FROM intent WHERE kind IN ('let-go', 'outrun'))"
"""The intents that wait for our turn. All others are tried when they begin."""


class Agenda:
    """The agenda of one client."""

    def __init__(self, run: Runtime, routes: Routes, buckets: Buckets) -> None:
        self._run = run
        self._vault = run.parts.vault
        self._read = run.parts.vault.read
        self._now = run.now
        self._unit = run.unit
        self._spawn = run.spawn
        self._begin_due = run.begin_due
        self._me = run.parts.me
        self._places = run.parts.places
        self._cursors = run.parts.cursors
        self._chains = run.parts.chains
        self._conversations = run.parts.conversations
        self._history = run.parts.conversations.history
        self._invites = run.parts.invites
        self._comebacks = run.parts.conversations.comebacks
        self._sending = run.parts.sending
        self._routes = routes
        self._tick_s = run.around.tick_s
        self._buckets = buckets
        self._expire_at = 0
        self._write_at = 0

    def begin(self) -> None:
        """Begin to tick."""
        self._spawn("ticks", self._tick())

    async def _tick(self) -> None:
        """Do the work that is due, for ever."""
        while True:
            now = self._now()
            with contextlib.suppress(DiskFull):  # the work is due again with the next tick
                if now < self._run.latest:
                    self.begin_clock(now)
                self._do_due(now)
                self._remove_blobs()
            self._begin_due()
            await asyncio.sleep(self._tick_s())

    def begin_clock(self, now: int) -> None:
        """Make all postponed work due now. We need this at start, because we were away, and when
        the clock was set back, because the work would otherwise wait for the old time to come
        again."""
        with self._unit() as unit:
            unit.db.execute("UPDATE conversation SET look_due_at = ?", (now,))
            unit.db.execute("UPDATE conversation SET ack_due_at = min(ack_due_at, ?)", (now,))
            unit.db.execute("UPDATE outbox SET due_at = min(due_at, ?)", (now,))
            unit.db.execute("UPDATE intent SET due_at = min(due_at, ?)", (now,))
            unit.db.execute("UPDATE refused SET again_at = min(again_at, ?)", (now,))
            unit.db.execute("UPDATE invite SET answer_at = min(answer_at, ?)", (now + ASIDE_MS,))
            unit.db.execute(
                "UPDATE comeback SET ask_due_at = min(ask_due_at, ?)", (now + ASK_MS[1],)
            )
            self._history.begin_clock(unit)
            self._chains.begin_clock(unit)
            self._conversations.wishes.begin_clock(unit)
            self._conversations.sharing.transfers.begin_clock(unit)
            unit.events += self._history.expire(unit)
        self._run.latest = now
        self._expire_at = self._write_at = 0

    def tell_news(self, now: int, *, is_asked: bool = False) -> None:
        """Tell everybody the places of our relays if these have changed; at once if the person
        wants it."""
        rules = self._conversations
        if not self._places.has_news:
            return
        rules.addresses.see_places()
        if is_asked or rules.whereabouts.may_say_anew(now=now):
            with self._unit() as unit:
                rules.addresses.tell_places(unit)
            self._routes.bring_news()

    def _do_due(self, now: int) -> None:
        rules = self._conversations
        if self._history.is_due(now):
            with self._unit() as unit:
                unit.events += self._history.expire(unit)
        self.tell_news(now)
        # In a covered client a receipt takes the place of a word, so it goes along with the next
        # one.
        is_silent = bool(self._routes.period_s and self._sending.holds_any())
        for gid in [] if is_silent else self._read.due("conversation", "ack_due_at", now):
            with self._unit() as unit:
                rules.saying.send_receipt(unit, gid)
        for gid in self._read.due(_LATE_INTENTS, "due_at", now):
            with self._unit() as unit:
                rules.commits.attempt(unit, gid)
        for gid in rules.commits.refused(now):
            with self._unit() as unit:
                rules.commits.try_again(unit, gid)
        for gid in self._read.due("conversation", "refresh_due_at", now):
            with self._unit() as unit:
                rules.wishes.refresh(unit, gid)
        if self._read.is_due("SELECT min(answer_at) FROM invite", now):
            with self._unit() as unit:
                self._invites.answer_late(unit)
        for gid in rules.astray.behind(now):
            with self._unit() as unit:
                rules.astray.ask_on(unit, gid)
        if self._comebacks.is_due(now):
            with self._unit() as unit:
                self._comebacks.act(unit)
        if self._buckets.is_read.is_set() and self._cursors.again() is None:
            # Until then, cells that seem to be missing may simply not have been read yet.
            self._ask_and_say_again(now)
        if now >= self._expire_at:
            self._expire_at = now + EXPIRE_EVERY_MS
            with self._unit() as unit:
                rules.claims.renew(unit)
                rules.sent.expire(unit)
                rules.holding.expire(unit)
                self._chains.expire(unit)
                self._invites.expire(unit)
                rules.joining.forget_welcomes(unit)
            self._forget_former(now)
        if self._cursors.has_passed and now >= self._write_at:
            self._write_at = now + WRITE_EVERY_MS
            with self._unit() as unit:
                for home in self._me.buckets:
                    if self._cursors.refute_hearsay(unit, home.bucket.drop_id):
                        rules.warnings.doubt_relay(unit, None, None)

    def _remove_blobs(self) -> None:
        """Remove the files of blobs whose messages have gone."""
        blobs = self._conversations.blobs
        if ended := blobs.gone():
            removed = [one for one in ended if blobs.remove(one)]
            with self._unit() as unit:
                blobs.removed(unit, removed)

    def _ask_and_say_again(self, now: int) -> None:
        """Ask for envelopes that have not arrived, and send again those that others may lack."""
        rules = self._conversations
        for gap in rules.gaps.due(now):
            with self._unit() as unit:
                rules.repair.ask(unit, gap)
        for gid in rules.sent.beats_due(now):
            with self._unit() as unit:
                rules.repair.beat(unit, gid)
        if rules.repeats.is_due(now=now):
            with self._unit() as unit:
                rules.joining.repeat(unit)
                self._invites.repeat(unit)

    def _forget_former(self, now: int) -> None:
        """Stop reading the buckets of former homes that nobody needs any more."""
        known = self._conversations.whereabouts
        for home in known.unneeded(now=now):
            with self._unit() as unit:
                known.forget(unit, home)
                self._cursors.drop_cursor(unit, home.bucket.drop_id)
                self._me.former[:] = profile.read_former(self._vault)
                self._chains.new_homes()
            self._buckets.forget(home)
