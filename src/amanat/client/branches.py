"""Branches: which of several Commits that end one epoch is the group's (docs/protocol.md, section
9, "Branches").

The drop's order decides, as each member reads it. If we see a rightful Commit other than the one we
have read, either a relay shows its drops differently to different people, or a member lies about
the order. Nothing can tell the two apart. Members therefore sign statements of the Commit that they
have read, and the greater number is believed. No bytes that a committer can choose decide between
two committers.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from amanat.client import rights
from amanat.client.lineage import judge
from amanat.errors import InvalidCredential, PeerError
from amanat.protocol.identity import check_signature, vote_text
from amanat.protocol.messages import Vote

if TYPE_CHECKING:
    from collections.abc import Iterable

    from amanat import mls
    from amanat.client.lineage import Lineages
    from amanat.client.profile import Me
    from amanat.client.unit import Unit
    from amanat.client.vault import Vault

LATE_MS = 3_600_000
"""How long we wait for a majority, in milliseconds (an hour). By then every member who looks into
the drop now and then has voted, and until then a liar among few voters moves nobody."""
MAX_SIBLINGS = 4
"""The most siblings of one Commit that are kept; more would change nothing."""
MAX_VOTES_EACH = 2
"""The most votes kept from one member about one epoch. A member with two different votes counts for
neither."""


class Sibling(NamedTuple):
    """Another rightful Commit that ends the same epoch as the one that we followed."""

    gid: bytes
    epoch: int
    commit: bytes


class Branches:
    """Siblings of Commits, and the votes about them, of one vault."""

    def __init__(self, vault: Vault, engine: mls.Engine, lineages: Lineages, me: Me) -> None:
        self._read = vault.read
        self._engine = engine
        self._lineages = lineages
        self._me = me

    # Siblings

    def note(self, unit: Unit, gid: bytes, epoch: int, commit: bytes) -> bool:
        """Keep a rightful Commit of an epoch other than the one that we followed; returns whether
        it is new."""
        row = unit.db.execute(
            "INSERT INTO sibling SELECT ?1, ?2, ?3, ?4, ?5, ?5 WHERE (SELECT count(*) FROM sibling"
            " WHERE gid = ?1 AND epoch = ?2) < ?6 ON CONFLICT DO NOTHING RETURNING 1",
            (gid, epoch, name_of(commit), commit, unit.now, MAX_SIBLINGS),
        ).fetchone()
        return row is not None

    def swap(self, unit: Unit, gid: bytes, epoch: int, ours: bytes, theirs: bytes) -> None:
        """Go over to the branch of a sibling, which makes our former Commit a sibling."""
        unit.db.execute(
            "DELETE FROM sibling WHERE gid = ? AND (epoch > ? OR (epoch = ? AND name = ?))",
            (gid, epoch, epoch, name_of(theirs)),
        )
        self.note(unit, gid, epoch, ours)

    def siblings(self, gid: bytes) -> list[Sibling]:
        """All kept siblings of a group, those of the earliest epoch first."""
        rows = self._read.execute(
            "SELECT gid, epoch, data FROM sibling WHERE gid = ? ORDER BY epoch, name", (gid,)
        ).fetchall()
        return [Sibling(*row) for row in rows]

    def forget(self, unit: Unit, gid: bytes, *, before: int = 2**62) -> None:
        """Forget the siblings and votes of epochs before this one."""
        for table in ("sibling", "vote"):
            unit.db.execute(
                f"DELETE FROM {table} WHERE gid = ? AND epoch < ?",  # noqa: S608
                (gid, before),
            )

    # Votes

    def vote(self, unit: Unit, gid: bytes, epoch: int, read: bytes | None = None) -> Vote | None:
        """Our vote for the first rightful Commit that we have read in the drop of an epoch. If we
        have gone on by another Commit, it is given as `read`.

        We vote once. If we have gone over to another branch since, our vote stays as it was.
        """
        for vote in self.votes(gid, epoch):
            if vote.signer == self._me.signer:
                return vote
        step = self._lineages.step(gid, epoch)
        if read is None and step is not None and step.is_read:
            read = step.commit
        if read is None:
            return None
        name = name_of(read)
        signature = self._engine.sign(self._me.signer, vote_text(gid, epoch, name))
        vote = Vote(epoch, self._me.signer, name, signature)
        self._keep(unit, gid, vote)
        return vote

    def votes(self, gid: bytes, epoch: int) -> list[Vote]:
        """The votes that we know about an epoch."""
        rows = self._read.execute(
            "SELECT epoch, signer, name, signature FROM vote WHERE gid = ? AND epoch = ?"
            " ORDER BY signer, name",
            (gid, epoch),
        ).fetchall()
        return [Vote(*row) for row in rows]

    def all_votes(self, gid: bytes) -> list[Vote]:
        """The votes about every epoch in which the group may have parted."""
        parted = {sibling.epoch for sibling in self.siblings(gid)}
        return [vote for epoch in sorted(parted) for vote in self.votes(gid, epoch)]

    def take(self, unit: Unit, gid: bytes, votes: Iterable[Vote]) -> None:
        """Keep the valid ones of these votes."""
        leaves: dict[int, set[bytes]] = {}
        for vote in votes:
            if vote in self.votes(gid, vote.epoch):
                continue
            if vote.epoch not in leaves:
                lineage = self._lineages.at(gid, vote.epoch)
                members = lineage.view().members if lineage else ()
                leaves[vote.epoch] = {member.signer for member in members}
            if vote.signer not in leaves[vote.epoch] or vote.signer == self._me.signer:
                continue
            try:
                text = vote_text(gid, vote.epoch, vote.commit)
                check_signature(vote.signer, vote.signature, text)
            except InvalidCredential:
                continue
            self._keep(unit, gid, vote)
            unit.db.execute(
                "UPDATE sibling SET due_at = ? WHERE gid = ? AND epoch = ?",
                (unit.now, gid, vote.epoch),
            )

    def _keep(self, unit: Unit, gid: bytes, vote: Vote) -> None:
        unit.db.execute(
            "INSERT INTO vote SELECT ?1, ?2, ?3, ?4, ?5 WHERE (SELECT count(*) FROM vote"
            " WHERE gid = ?1 AND epoch = ?2 AND signer = ?3) < ?6 ON CONFLICT DO NOTHING",
            (gid, vote.epoch, vote.signer, vote.commit, vote.signature, MAX_VOTES_EACH),
        )

    # The verdict

    def due(self, now: int) -> list[bytes]:
        """The groups in which a decision is due."""
        return self._read.due("sibling", "due_at", now)

    def lost_to(self, unit: Unit, gid: bytes) -> Sibling | None:
        """The earliest sibling that the group followed. Also schedules the next look, for when
        LATE_MS have passed."""
        unit.db.execute(
            "UPDATE sibling SET due_at = CASE WHEN ?1 < known_at + ?2 THEN known_at + ?2 END"
            " WHERE gid = ?3",
            (unit.now, LATE_MS, gid),
        )
        return next((one for one in self.siblings(gid) if self.is_lost(one, now=unit.now)), None)

    def has_lost(self, gid: bytes, *, now: int) -> bool | None:
        """Whether the group followed any sibling and not our Commit; None while that is open."""
        verdicts = [self.is_lost(one, now=now) for one in self.siblings(gid)]
        return True if True in verdicts else None if None in verdicts else False

    def awaits_votes(self, gid: bytes, *, now: int) -> bool:
        """Whether a vote that we have not heard yet may decide anything."""
        return any(
            self.is_lost(one, now=now) is None and self._lacks_votes(one)
            for one in self.siblings(gid)
        )

    def decided_at(self, gid: bytes, *, now: int) -> int:
        """The time at which the next open question is decided, however many have voted by then."""
        (known_at,) = self._read.execute(
            "SELECT coalesce(min(known_at), ?1) FROM sibling WHERE gid = ?2 AND known_at > ?1",
            (now - LATE_MS, gid),
        ).fetchone()
        return int(known_at) + LATE_MS

    def is_lost(self, sibling: Sibling, *, now: int) -> bool | None:
        """Whether the group followed a sibling and not the Commit that we followed; None while it
        is not decided.

        Only people who are in the group on both sides count, each once. More than half of them
        decide. Without such a majority nothing is decided before LATE_MS. Then the Commit with more
        votes wins, not counting the votes of the two committers. In a tie, the committer at the
        lower leaf wins, but one who is out of the group on either side comes last.
        """
        gid, epoch, theirs = sibling
        step = self._lineages.step(gid, epoch)
        lineage = self._lineages.at(gid, epoch)
        if step is None or lineage is None or step.commit == theirs:
            return False
        try:
            sides = [_Side.of(lineage, commit) for commit in (step.commit, theirs)]
        except PeerError:
            return False
        ours, other = sides
        ballots = self._ballots(gid, epoch, lineage, ours, other)

        def count(side: _Side, *, neutral: bool = False) -> int:
            return sum(
                names == {side.name}
                for who, names in ballots.items()
                if not (neutral and who in (ours.author, other.author))
            )

        if 2 * max(count(ours), count(other)) > len(ballots):
            return count(other) > count(ours)
        (known_at,) = self._read.execute(
            "SELECT known_at FROM sibling WHERE gid = ? AND epoch = ? AND name = ?",
            (gid, epoch, other.name),
        ).fetchone()
        if now < known_at + LATE_MS:
            return None
        jury = [count(side, neutral=True) for side in sides]
        if jury[0] != jury[1]:
            return jury[1] > jury[0]
        ranks = [(side.author not in ballots, side.leaf, side.name) for side in sides]
        return ranks[1] < ranks[0]

    def _ballots(
        self, gid: bytes, epoch: int, lineage: mls.Lineage, ours: _Side, other: _Side
    ) -> dict[bytes, set[bytes]]:
        """The Commits for which each person who counts has voted, by identity."""
        people = rights.read_members(lineage.view().members)
        said: dict[bytes, set[bytes]] = {}
        for vote in self.votes(gid, epoch):
            said.setdefault(vote.signer, set()).add(vote.commit)
        return {
            person.identity: said.get(person.signer, set())
            for person in people
            if person.identity not in ours.gone | other.gone
        }

    def _lacks_votes(self, sibling: Sibling) -> bool:
        """Whether somebody else who counts has no vote that we know."""
        gid, epoch, theirs = sibling
        step, lineage = self._lineages.step(gid, epoch), self._lineages.at(gid, epoch)
        if step is None or lineage is None:
            return False
        ours, other = (_Side.of(lineage, commit) for commit in (step.commit, theirs))
        ballots = self._ballots(gid, epoch, lineage, ours, other)
        return any(not names for who, names in ballots.items() if who != self._me.identity)

    def begin_clock(self, unit: Unit) -> None:
        """Let no sibling have become known in the future, because the clock may have been set
        back."""
        unit.db.execute("UPDATE sibling SET known_at = min(known_at, ?1), due_at = ?1", (unit.now,))


class _Side(NamedTuple):
    """One of two Commits that end the same epoch."""

    name: bytes
    author: bytes
    """The committer's identity."""
    leaf: int
    """The committer's leaf before it."""
    gone: set[bytes]
    """The identities that it removes."""

    @classmethod
    def of(cls, lineage: mls.Lineage, commit: bytes) -> _Side:
        read = judge(lineage, commit)
        people = rights.read_members(lineage.view().members)
        leaf = read.removes[0] if read.external else read.committer.leaf_index
        author = next(person.identity for person in people if person.leaf_index == leaf)
        gone = {person.identity for person in people if person.leaf_index in read.removes}
        return cls(name_of(commit), author, leaf, gone - {author} if read.external else gone)


def name_of(commit: bytes) -> bytes:
    """The name by which votes refer to a Commit."""
    return hashlib.sha256(commit).digest()
