"""Joining a group again, by an external Commit in our own place (RFC 9420, section 12.4.3.2).

Like every Commit it has to be the first in the epoch drop. Until we read it there, it is a *try*.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING, NamedTuple

from amanat import mls
from amanat.client import rights
from amanat.client.branches import Sibling
from amanat.client.events import GroupChanged
from amanat.client.lineage import is_rightful, judge
from amanat.client.pieces import EpochDrop, pack_signers, unpack_signers, without
from amanat.client.rules.answers import LOOK, Help, decode_help, end_of
from amanat.client.rules.asking import ASK_MS
from amanat.client.rules.astray import MAX_ASKS
from amanat.client.vault import fingerprint
from amanat.errors import GroupVouched, InvalidCell, InvalidMessage
from amanat.protocol import codec
from amanat.protocol.messages import COMMIT_FRAGMENT, CommitInfo, Epoch, decode_policy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from amanat.client.rules.asking import Asking
    from amanat.client.rules.astray import Astray
    from amanat.client.rules.base import Base
    from amanat.client.rules.commits import Commits
    from amanat.client.rules.entering import Entering
    from amanat.client.rules.epochs import Epochs
    from amanat.client.rules.roster import Roster
    from amanat.client.rules.warnings import Warnings
    from amanat.client.unit import Unit
    from amanat.protocol import wire
    from amanat.protocol.messages import Fragment

CHECK_MS = 60_000
"""How long after coming back we ask contacts other than the helper where they are, in milliseconds.
We have not asked them before, and one helper may have led us aside."""
CHECKS = 3
"""The most contacts whom we ask then."""


class Try(NamedTuple):
    """An external Commit of ours, and the drop in which it has to be the first."""

    gid: bytes
    digest: bytes
    relay: bytes
    judged: int
    """No Commit that is whole at this seq of the drop or before counts."""
    place: EpochDrop
    """The epoch drop that it is in."""

    @property
    def kept_under(self) -> bytes:
        """The name under which its pieces are kept, apart from those read from the same drop
        before."""
        return self.gid + self.place.drop.drop_id


class Way(NamedTuple):
    """A way from our epoch to somebody else's, each step of which was judged."""

    end: mls.LineageView
    signer: bytes
    """The identity that has signed the state at its end."""
    states: list[Epoch]
    """The epochs that it passes, including that at its end."""
    sibling: Sibling | None
    """The Commit at which it parts from our way."""


class Changes(NamedTuple):
    """The differences between the last state of a group that we know and another: the people who
    have come, gone, become admins and ceased to be admins, with their own names for themselves; and
    the group's name, if it is different."""

    came: dict[bytes, str]
    went: dict[bytes, str]
    admins: dict[bytes, str]
    no_admins: dict[bytes, str]
    name: str | None


class Rejoining:
    """The external Commits by which one vault joins groups again."""

    def __init__(
        self,
        base: Base,
        *,
        warnings: Warnings,
        roster: Roster,
        epochs: Epochs,
        astray: Astray,
        entering: Entering,
        commits: Commits,
        asking: Asking,
    ) -> None:
        self._read = base.read
        self._engine = base.engine
        self._me = base.me
        self._lineages = base.lineages
        self._branches = base.branches
        self._pieces = base.pieces
        self._warnings = warnings
        self._roster = roster
        self._epochs = epochs
        self._astray = astray
        self._entering = entering
        self._commits = commits
        self._asking = asking

    def judge_way(self, gid: bytes, help_: Help) -> Way | None:
        """The way that help shows; None if it shows none.

        Raises InvalidCommit, InvalidMessage or InvalidWelcome unless every Commit on the way is
        rightful and it ends at the state that the help offers.
        """
        end, signer = end_of(gid, help_)
        if help_.since is None:
            return None
        number = help_.since.number
        if self._roster.state_of(gid, number) != help_.since.state:
            raise InvalidMessage
        lineage = self._lineages.at(gid, number)
        if lineage is None:
            return None
        sibling = None
        states = []
        for epoch, commit in enumerate(help_.commits, number):
            step = self._lineages.step(gid, epoch) if sibling is None else None
            if step is not None and step.commit != commit:
                sibling = Sibling(gid, epoch, commit)
            judge(lineage, commit)
            lineage.accept()
            states.append(Epoch(epoch + 1, lineage.view().state[:8]))
        if lineage.view().state != end.state:
            raise InvalidMessage
        return Way(end, signer, states, sibling)

    def gives_way(self, unit: Unit, gid: bytes, help_: Help) -> bool:
        """Give way if a restored profile of ours is in the state that help offers; returns whether
        it is. Only our identity key can have signed its credential, so this is true whoever says
        it. Raises InvalidWelcome, InvalidMessage or InvalidCredential."""
        people = rights.read_members(end_of(gid, help_)[0].members)
        if rights.highest_generation(people, self._me.identity) <= self._me.generation:
            return False
        self._roster.note_generations(unit, people)
        self._entering.give_way(unit, gid)
        return True

    def rejoin(self, unit: Unit, gid: bytes, help_: Help, end: mls.LineageView) -> None:
        """Make our external Commit. Raises InvalidWelcome, or NotAMember if we are no longer in the
        group."""
        (is_restart,) = unit.db.execute(
            "SELECT is_restart FROM comeback WHERE gid = ?", (gid,)
        ).fetchone()
        bundle = self._engine.join_external(
            help_.group_info,
            help_.tree,
            self._me.signer,
            self._me.credential,
            self._me.new_leaf(),
            codec.encode(CommitInfo(leaves=[], is_restart=bool(is_restart))),
        )
        self._astray.say_nothing(unit, gid)
        policy = decode_policy(end.policy)
        signers = {member.leaf_index: member.signer for member in end.members}
        place = EpochDrop(gid, end.epoch, help_.secret, policy.region, signers)
        own = next(leaf for leaf, key in place.signers.items() if key == self._me.signer)
        whole, missing = self._epochs.append_to(
            unit, place, policy.relay, COMMIT_FRAGMENT, bundle.commit, leaf=own
        )
        unit.db.execute(
            "UPDATE comeback SET digest = ?, commit_data = ?, help = ?, epoch = ?, secret = ?,"
            " relay = ?, region = ?, judged = ?, signers = ?, whole = ?, missing = ?"
            " WHERE gid = ?",
            (
                bundle.sha256,
                bundle.commit,
                codec.encode(help_),
                place.epoch,
                place.secret,
                policy.relay.key,
                policy.region,
                help_.judged,
                pack_signers(place.signers.items()),
                whole,
                missing,
                gid,
            ),
        )
        self._roster.move_clock(unit, gid, help_.clock)

    def tries(self) -> list[Try]:
        """Our external Commits whose fate is open."""
        rows = self._read.all(
            "SELECT gid, digest, relay, judged, epoch, secret, region, signers FROM comeback"
            " WHERE digest IS NOT NULL"
        )
        return [
            Try(
                gid,
                digest,
                relay,
                judged,
                EpochDrop(gid, epoch, secret, region, unpack_signers(signers)),
            )
            for gid, digest, relay, judged, epoch, secret, region, signers in rows
        ]

    def begin(self, unit: Unit, attempt: Try) -> None:
        """Begin to read the epoch drop from its first cell."""
        self._pieces.forget(unit, attempt.kept_under)

    def judge(self, unit: Unit, attempt: Try, cells: wire.Cells) -> bool:
        """Look for the first Commit among the cells of the epoch drop, from its first one; returns
        whether it was found. If it is ours, we merge it; if it is another's, we begin again.

        We can check everything about another's Commit except what only members of the epoch can. A
        Commit by which a member keeps us out after we were helped therefore costs us one turn and
        nothing else.
        """
        for seq, cell in enumerate(cells.cells, cells.first):
            try:
                piece = attempt.place.open(cell)
            except InvalidCell:
                continue
            self._was_shown(unit, attempt, piece)
            commit = self._pieces.take(unit, attempt.kept_under, piece)
            is_commit = commit is not None and piece.kind == COMMIT_FRAGMENT
            if commit is None or not is_commit or seq <= attempt.judged:
                continue
            if hashlib.sha256(commit).digest() == attempt.digest:
                self._won(unit, attempt)
            elif is_rightful(self._from(attempt.gid), commit):
                self._lose(unit, attempt)
            else:
                continue
            return True
        return False

    def _from(self, gid: bytes) -> mls.Lineage:
        """The state from which our external Commit goes on."""
        (file,) = self._read.execute("SELECT help FROM comeback WHERE gid = ?", (gid,)).fetchone()
        help_ = decode_help(file)
        return mls.Lineage.begin(help_.group_info, help_.tree)[0]

    def _was_shown(self, unit: Unit, attempt: Try, piece: Fragment) -> None:
        row = unit.db.execute(
            "SELECT missing FROM comeback WHERE gid = ? AND whole = ?", (attempt.gid, piece.whole)
        ).fetchone()
        if row is not None:
            missing = without(row[0], piece.index)
            unit.db.execute("UPDATE comeback SET missing = ? WHERE gid = ?", (missing, attempt.gid))

    def is_taken(self, attempt: Try) -> bool:
        """Whether the relay says that it has all pieces of our Commit."""
        row = self._read.execute(
            "SELECT 1 FROM outbox WHERE about = ? AND purpose = 'commit'", (attempt.gid,)
        ).fetchone()
        return row is None

    def forgotten(self, unit: Unit, attempt: Try) -> None:
        """Begin again, because the relay had taken our Commit and yet it was not there when we read
        the epoch drop to its end."""
        (missing,) = unit.db.execute(
            "SELECT missing FROM comeback WHERE gid = ?", (attempt.gid,)
        ).fetchone()
        if missing:  # else all of it was there, and something of ours has taken its room
            self._warnings.report_lie(
                unit, attempt.gid, how="a Commit that it had taken is not there"
            )
        self._lose(unit, attempt)

    def _lose(self, unit: Unit, attempt: Try) -> None:
        gid = attempt.gid
        self._pieces.forget(unit, attempt.kept_under)
        self._engine.clear_pending(gid)
        (is_lost,) = unit.db.execute(
            "UPDATE comeback SET digest = NULL, commit_data = NULL, help = NULL, ask_due_at = ?,"
            " tries = 0, asks_left = ?, asked = x'' WHERE gid = ? RETURNING is_lost",
            (unit.now + secrets.randbelow(ASK_MS[0]), MAX_ASKS, gid),
        ).fetchone()
        if not is_lost:  # we are still on our own branch
            self._astray.stay(unit, gid)

    def _won(self, unit: Unit, attempt: Try) -> None:
        gid = attempt.gid
        self._pieces.forget(unit, attempt.kept_under)
        is_restart, helper, commit, file = unit.db.execute(
            "DELETE FROM comeback WHERE gid = ? RETURNING is_restart, helper, commit_data, help",
            (gid,),
        ).fetchone()
        help_ = decode_help(file)
        way = self.judge_way(gid, help_)
        epoch = attempt.place.epoch
        if way is None or help_.since is None:
            self._lineages.forget(unit, gid)
            self._branches.forget(unit, gid)
            self._lineages.begin(unit, gid, epoch, help_.group_info, help_.tree)
            end, signer = end_of(gid, help_)
            states = [Epoch(epoch, end.state[:8])]
            told = f"{fingerprint(signer)} says: {_told(self.changes(gid, end))}"
            self._warnings.warn(unit, gid, GroupVouched.code, told)
        else:
            states = way.states
            self._go_along(unit, gid, help_.since.number, help_.commits, way.sibling)
        self._engine.merge_pending(gid, attempt.digest)
        self._lineages.goes_on(unit, gid, epoch, commit, is_read=True)
        self._commits.come_back(unit, gid, is_restart=bool(is_restart), between=states)
        unit.events.append(GroupChanged(gid))
        for peer in self._roster.others(self._roster.group(gid)):
            if peer.identity == helper:  # the helper tells the others
                self._asking.send(unit, gid, peer, LOOK)
        if len(self._roster.group(gid).identities) > 2:  # noqa: PLR2004  # somebody beside the helper
            unit.db.execute(
                "INSERT INTO comeback (gid, is_lost, is_restart, asks_left, ask_due_at, asked)"
                " VALUES (?, 0, 0, ?, ?, ?)",
                (gid, CHECKS, unit.now + CHECK_MS, helper),
            )

    def _go_along(
        self,
        unit: Unit,
        gid: bytes,
        number: int,
        commits: Sequence[bytes],
        sibling: Sibling | None,
    ) -> None:
        """Make the way that we have come our lineage, from an epoch on."""
        if sibling is not None:
            step = self._lineages.step(gid, sibling.epoch)
            if step is not None:
                self._branches.swap(unit, gid, sibling.epoch, step.commit, sibling.commit)
        for epoch, commit in enumerate(commits, number):
            step = self._lineages.step(gid, epoch)
            if step is None or step.commit != commit:
                self._lineages.goes_on(unit, gid, epoch, commit, is_read=False)

    def changes(self, gid: bytes, end: mls.LineageView) -> Changes:
        """The differences between our last state of a group and this one."""
        before, policy = self._roster.group(gid), decode_policy(end.policy)
        people = rights.read_members(end.members)
        names = {person.identity: person.leaf.name for person in (*people, *before.people)}
        there = {person.identity for person in people}
        ruled, ruling = (rights.admins(*one) for one in (before[1:], (policy, people)))

        def called(identities: set[bytes]) -> dict[bytes, str]:
            return {identity: names[identity] for identity in sorted(identities)}

        return Changes(
            called(there - before.identities),
            called(before.identities - there),
            called(ruling - ruled),
            called((ruled - ruling) & there),
            policy.name if policy.name != before.policy.name else None,
        )


def _told(changes: Changes) -> str:
    """The differences as a sentence for the person."""
    parts = [
        f"{name} ({fingerprint(who)}) {what}"
        for which, what in (
            (changes.came, "has come"),
            (changes.went, "has gone"),
            (changes.admins, "is an admin now"),
            (changes.no_admins, "is no admin any more"),
        )
        for who, name in which.items()
    ]
    if changes.name is not None:
        parts.append(f"its name is {changes.name}")
    return "; ".join(parts) or "nobody has come or gone"
