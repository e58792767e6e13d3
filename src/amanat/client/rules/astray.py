"""Astray: being out of step, when our state of a conversation may not be the group's
(comebacks.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from amanat.client.events import (
    GroupChanged,
)
from amanat.errors import (
    CopiedVault,
)
from amanat.protocol.messages import (
    Epoch,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from amanat.client.rules.base import Base
    from amanat.client.rules.epochs import Epochs
    from amanat.client.rules.roster import Roster
    from amanat.client.rules.saying import Saying
    from amanat.client.rules.warnings import Warnings
    from amanat.client.unit import Memory, Unit

BEHIND_MS = 60_000
"""How long messages of a later epoch may wait before we ask contacts for the Commits that led
there, in milliseconds."""
EARLY_LIFE_MS = 14 * 86_400_000
"""How long messages of a later epoch are kept, in milliseconds: as long as a cell may rest."""
LOOK_FIRST_MS = 60_000
"""How long a member who is out of step waits for the drop to be read before they ask, in
milliseconds."""
MAX_EARLY = 1_000
"""The most messages of epochs that we have not reached yet, kept for each conversation."""
HELPED_MS = 3_000
"""How soon after helping a member back we look for their Commit, in milliseconds."""
CLAIM_REST_MS = (300_000, 6 * 3_600_000)
"""How often one member can make us ask where the group is, in milliseconds: after 5 minutes, then
after twice as long each time, up to 6 hours, until the group goes on."""
MAX_ASKS = 8
"""The most contacts whom we ask because of one such claim."""


class Handed(NamedTuple):
    """A Commit that we were handed, to end an epoch."""

    epoch: int
    commit: bytes
    missing: bytes
    """The indexes of its pieces that the drop has not shown since we put it there."""


class Astray:
    """The conversations in which one vault is, or may be, out of step."""

    def __init__(
        self, base: Base, *, warnings: Warnings, roster: Roster, epochs: Epochs, saying: Saying
    ) -> None:
        self._read = base.read
        self._sent = base.sent
        self._history = base.history
        self._warnings = warnings
        self._roster = roster
        self._epochs = epochs
        self._saying = saying
        self._helping: Memory[bytes, bool] = base.vault.memory()
        """The groups into which we have helped a member back, until their Commit is read."""
        self._doubted: Memory[tuple[bytes, bytes | None], tuple[int, int]] = base.vault.memory()
        """How often and when somebody last made us ask where a group is, in this epoch."""

    def go_astray(self, unit: Unit, gid: bytes, why: str, *, is_restart: bool) -> None:
        """Go astray, because our state of a conversation is not the group's: say nothing more, and
        join again."""
        if not self._roster.is_active(gid):
            return
        self._warnings.warn(unit, gid, why, "it is being joined again")
        self.say_nothing(unit, gid)
        # Cells sealed under keys that another copy may have used must not leave.
        unit.db.execute(
            "DELETE FROM outbox WHERE about = ? AND purpose IN ('cell', 'held', 'commit')", (gid,)
        )
        for table in ("attempt", "early"):
            unit.db.execute(f"DELETE FROM {table} WHERE gid = ?", (gid,))  # noqa: S608
        # We look into the drop before we ask anybody.
        unit.db.execute(
            "INSERT INTO comeback (gid, is_lost, is_restart, ask_due_at) VALUES (?1, 1, ?2, ?3)"
            " ON CONFLICT DO UPDATE SET is_lost = 1, is_restart = ?2, ask_due_at = ?3, tries = 0",
            (gid, is_restart, unit.now + LOOK_FIRST_MS),
        )
        self._roster.look_soon(unit, gid, at=unit.now)
        unit.events.append(GroupChanged(gid))

    def say_nothing(self, unit: Unit, gid: bytes) -> None:
        """Mark a conversation as out of step, so that the person's words wait."""
        unit.db.execute("UPDATE conversation SET state = 'astray' WHERE gid = ?", (gid,))

    def stay(self, unit: Unit, gid: bytes) -> None:
        """Come back into step in our old epoch. We read the drop again from the start, because we
        applied no Commit from it meanwhile."""
        self.resume(unit, gid)
        _, drop = self._epochs.epoch_drops(gid)[-1]
        self._epochs.start_over(unit, drop.drop_id)
        self._roster.look_soon(unit, gid, at=unit.now)

    def doubt(
        self,
        unit: Unit,
        gid: bytes,
        who: bytes | None,
        *,
        number: int | None = None,
        state: bytes | None = None,
        asks: int = MAX_ASKS,
        after_ms: int = 0,
    ) -> None:
        """Ask up to `asks` contacts where the group is, because `who` says that it is not where we
        are. We ask `who` first, and nothing else comes of their word. We ask nobody any more once
        we were in the epoch `number`, and in this state if one is named."""
        if not self.may_doubt(gid, who, now=unit.now):
            return
        count, _ = self._doubted.get((gid, who), (0, 0))
        self._doubted[gid, who] = (count + 1, unit.now)
        unit.db.execute(
            "INSERT INTO comeback (gid, is_lost, is_restart, whom, number, state, asks_left,"
            " ask_due_at) VALUES (?, 0, 0, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (gid, who, number, state, asks, unit.now + after_ms),
        )

    def end_doubts(self, gid: bytes) -> None:
        """Forget all doubts, because the group has gone on. A new doubt makes us ask again."""
        for key in [one for one in self._doubted if one[0] == gid]:
            del self._doubted[key]

    def may_doubt(self, gid: bytes, who: bytes | None, *, now: int) -> bool:
        """Whether somebody's word that the group is elsewhere may make us ask again."""
        count, before = self._doubted.get((gid, who), (0, 0))
        rest = min(CLAIM_REST_MS[0] << count, CLAIM_REST_MS[1])
        is_rested = not (count and 0 <= now - before < rest)
        # A request to somebody whom we have blocked would be a sign of life.
        return is_rested and self._roster.is_active(gid) and not self._history.is_shut(gid)

    def hand(self, unit: Unit, gid: bytes, epoch: int, commits: Sequence[bytes]) -> None:
        """Keep the Commits by which somebody has gone on from our epoch.

        We put each into its epoch's drop, if it is not there, and it counts when we read it there.
        We apply it without that only if we cannot read the drop, or the relay does not show a
        Commit that it has taken.
        """
        for number, commit in enumerate(commits, epoch):
            unit.db.execute(
                "INSERT OR REPLACE INTO handed (gid, epoch, data) VALUES (?, ?, ?)",
                (gid, number, commit),
            )
        self._roster.look_soon(unit, gid, at=unit.now)

    def handed(self, gid: bytes) -> Handed | None:
        """The Commit that we were handed for our present epoch."""
        row = self._read.execute(
            "SELECT epoch, data, missing FROM handed WHERE gid = ? AND epoch = ?",
            (gid, self._roster.group(gid).view.epoch),
        ).fetchone()
        return Handed(*row) if row else None

    def all_astray(self, unit: Unit) -> None:
        """Go astray in every group, because another copy of this vault was used after this one."""
        rows = unit.db.execute("SELECT gid FROM conversation WHERE state = 'active'").fetchall()
        for (gid,) in rows:
            if len(self._roster.group(gid).people) > 1:
                self.go_astray(unit, gid, CopiedVault.code, is_restart=True)

    def ends_helping(self, gid: bytes) -> bool:
        """Stop waiting for a member whom we have helped back; returns whether we were waiting."""
        return bool(self._helping.pop(gid, False))

    def expect_comeback(self, unit: Unit, gid: bytes) -> None:
        """Expect a member whom we have helped to join again: look for their Commit, and tell the
        others."""
        self._helping[gid] = True
        self._roster.look_soon(unit, gid, at=unit.now + HELPED_MS)

    def resume(self, unit: Unit, gid: bytes) -> None:
        """Go on in our epoch, because nobody is in another after all."""
        unit.db.execute("UPDATE conversation SET state = 'active' WHERE gid = ?", (gid,))
        unit.events.append(GroupChanged(gid))
        self._sent.resume(unit, gid)
        self._saying.say_waiting(unit, gid)

    def behind(self, now: int) -> list[bytes]:
        """The groups of which messages, but not the drop, have long said that they have gone on."""
        early = self._read.due("early", "kept_at", now - BEHIND_MS)
        return [gid for gid in early if self.may_doubt(gid, None, now=now)]

    def ask_on(self, unit: Unit, gid: bytes) -> None:
        """Ask contacts how the group went on from here."""
        unit.db.execute("DELETE FROM early WHERE kept_at < ?", (unit.now - EARLY_LIFE_MS,))
        self.doubt(unit, gid, None, number=self._roster.group(gid).view.epoch + 1)

    def keep_early(self, unit: Unit, gid: bytes, message: bytes) -> None:
        """Keep a message of a later epoch until we are in that one, and look into the drops."""
        (count,) = unit.db.execute("SELECT count(*) FROM early WHERE gid = ?", (gid,)).fetchone()
        if count < MAX_EARLY:
            unit.db.execute(
                "INSERT INTO early (gid, data, kept_at) VALUES (?, ?, ?)", (gid, message, unit.now)
            )
        self._roster.look_soon(unit, gid, at=unit.now)

    def called(self, unit: Unit, gid: bytes, at: Epoch) -> None:
        """Take a call, by which a member says that there is something to fetch. If they are in a
        later epoch, keep that fact like a message of it."""
        if self._roster.is_followed(gid) and at.number > self._roster.group(gid).view.epoch:
            self.keep_early(unit, gid, b"")
        else:
            self._roster.look_soon(unit, gid, at=unit.now)
