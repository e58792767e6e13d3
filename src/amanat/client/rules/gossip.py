"""Gossip: members' statements about drops and the order of Commits in them, compared with ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amanat.client.lineage import is_rightful
from amanat.protocol import codec
from amanat.protocol.drops import (
    HANDSHAKE_RETENTION_DAYS,
)
from amanat.protocol.messages import (
    MAX_VOTES,
    Kind,
    PairCell,
    Votes,
)

if TYPE_CHECKING:
    from amanat.client.rules.astray import Astray
    from amanat.client.rules.base import Base
    from amanat.client.rules.epochs import Epochs
    from amanat.client.rules.roster import Roster
    from amanat.client.rules.saying import Saying
    from amanat.client.rules.warnings import Warnings
    from amanat.client.unit import Memory, Unit
    from amanat.protocol.messages import Vote

COMMIT_LIFE_MS = HANDSHAKE_RETENTION_DAYS * 86_400_000
"""How long a Commit rests in its epoch's drop, in milliseconds."""
VOTE_EVERY_MS = 600_000
"""How often we vote in one group, in milliseconds (10 minutes). Each time costs a cell for
everybody."""


class Gossip:
    """The comparison of our reading with that of others."""

    def __init__(
        self,
        base: Base,
        *,
        warnings: Warnings,
        roster: Roster,
        epochs: Epochs,
        saying: Saying,
        astray: Astray,
    ) -> None:
        self._cursors = base.cursors
        self._me = base.me
        self._read = base.read
        self._branches = base.branches
        self._history = base.history
        self._lineages = base.lineages
        self._warnings = warnings
        self._roster = roster
        self._epochs = epochs
        self._saying = saying
        self._astray = astray
        self._voted: Memory[tuple[bytes, int], int] = base.vault.memory()
        """By (gid, epoch): when we voted."""

    def check_gossip(self, unit: Unit, gid: bytes, signer: bytes, cell: PairCell) -> None:
        """Compare the digests that a member was told of our drops, and the epoch that they are in,
        with ours."""
        if not self._roster.is_followed(gid):
            return
        who = next((p.identity for p in self._roster.group(gid).people if p.signer == signer), None)
        ours = [home.bucket.drop_id for home in self._me.buckets]
        drops = {d[:4]: d for d in (*ours, *(e.drop_id for _, e in self._epochs.epoch_drops(gid)))}
        for seen in cell.seen:
            drop_id = drops.get(seen.drop)
            if drop_id is not None and self._cursors.contradicts(unit, drop_id, seen):
                self._warnings.doubt_relay(unit, gid, who)
        if self._roster.state_of(gid, cell.epoch.number) not in (None, cell.epoch.state):
            self._astray.doubt(unit, gid, who)

    def is_parted(self, unit: Unit, gid: bytes, epoch: int, sibling: bytes) -> None:
        """Keep a rightful Commit other than ours that ends an epoch, and vote, so that the other
        members vote, too."""
        if self._branches.note(unit, gid, epoch, sibling):
            self._branches.vote(unit, gid, epoch)
            if not self._may_have_expired(gid, epoch, now=unit.now):
                self._warnings.doubt_relay(
                    unit, gid, None, how="members were shown different Commits"
                )
            self._say_votes(unit, gid, epoch, self._branches.votes(gid, epoch))

    def _may_have_expired(self, gid: bytes, epoch: int, *, now: int) -> bool:
        """Whether a member who came late to an epoch's drop may have missed its first Commit
        without anybody's lie, because the Commit had rested there for as long as was promised."""
        (ended_at,) = self._read.execute(
            "SELECT coalesce(max(entered_at), 0) FROM epoch WHERE gid = ? AND number = ?",
            (gid, epoch + 1),
        ).fetchone()
        return self._epochs.is_holed(gid, epoch) or now - ended_at > COMMIT_LIFE_MS

    def _say_votes(self, unit: Unit, gid: bytes, epoch: int, votes: list[Vote]) -> None:
        said = {number: at for (one, number), at in self._voted.items() if one == gid}
        is_rested = all(not 0 <= unit.now - at < VOTE_EVERY_MS for at in said.values())
        if (
            self._roster.is_active(gid)
            and not self._history.is_shut(gid)
            and epoch not in said
            and is_rested
        ):
            self._voted[gid, epoch] = unit.now
            self._saying.say(unit, gid, Kind.VOTES, codec.encode(Votes(epoch, votes[:MAX_VOTES])))

    def take_votes(self, unit: Unit, gid: bytes, votes: Votes) -> None:
        """Keep the votes that a member passes on, and send our own."""
        self._branches.take(unit, gid, [vote for vote in votes.votes if vote.epoch == votes.epoch])
        own = self._branches.vote(unit, gid, votes.epoch)
        if own is not None:
            self._say_votes(unit, gid, votes.epoch, [own])

    def compare(self, unit: Unit, gid: bytes, epoch: int, read: bytes, ours: bytes) -> None:
        """Compare the first Commit in an epoch's drop with the one by which we went on before we
        could read the drop."""
        if any(vote.signer == self._me.signer for vote in self._branches.votes(gid, epoch)):
            return  # only the first one counts
        if read == ours:
            self._lineages.was_read(unit, gid, epoch)
        lineage = self._lineages.at(gid, epoch)
        if read != ours and lineage is not None and is_rightful(lineage, read):
            self._branches.vote(unit, gid, epoch, read)
            self.is_parted(unit, gid, epoch, read)
