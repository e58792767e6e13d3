"""Coming back: how a device whose state of a conversation is not the group's joins it again, and
how a member who hears that the group is elsewhere finds out (docs/protocol.md, section 9, "Coming
back").

The device asks contacts who are in the group, over a way that needs nothing but two people's
lasting keys. Their answer is a claim. It contains every Commit since an epoch in which both were.
The device judges these one by one, as everybody does, up to the state on offer. Then

- a member who is merely behind puts the Commits into the drop and goes on as everybody does;
- a member of another branch looks at the votes (branches.py);
- a member who has lost there, or whose keys another copy of the vault has used, takes their own
  place again by an external Commit (RFC 9420, section 12.4.3.2), which like every Commit has to be
  the first in the epoch drop.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, NamedTuple

from amanat.client import lineage as lineages
from amanat.client import rights
from amanat.client.rules.answers import decode_help, end_of
from amanat.client.rules.asking import ASK_MS, NEXT_ASK_MS
from amanat.client.rules.helping import ANSWER_EVERY_MS
from amanat.client.vault import fingerprint
from amanat.errors import InvalidMessage, NotAMember, PeerError, UnknownHelp

if TYPE_CHECKING:
    from amanat.client.rules.answers import Help
    from amanat.client.rules.asking import Asking
    from amanat.client.rules.astray import Astray
    from amanat.client.rules.base import Base
    from amanat.client.rules.gossip import Gossip
    from amanat.client.rules.rejoining import Changes, Rejoining, Way
    from amanat.client.rules.roster import Roster
    from amanat.client.rules.warnings import Warnings
    from amanat.client.unit import Memory, Unit

UNDECIDED_MS = 30_000
"""How long we wait for votes before we ask somebody for them again, in milliseconds; then twice as
long each time."""
SLACK_MS = 2_000
"""How much longer than ANSWER_EVERY_MS we wait before we ask a contact about another conversation,
in milliseconds, because their clock counts from when the asking came."""
REF_LIFE_MS = 600_000
"""How long we look for a file of help, in milliseconds."""
MAX_UNPROVEN = 4
"""The most unproven help kept for one conversation."""
UNPROVEN_LIFE_MS = 14 * 86_400_000
"""How long such help is kept, in milliseconds, because it grows old."""


class Unproven(NamedTuple):
    """A state of a group into which somebody helps us, without proof of how the group came
    there."""

    helper: bytes
    signer: bytes
    """The identity that has signed it."""
    changes: Changes


class Comebacks:
    """The comebacks of one vault into groups: when it asks contacts, and what it does with their
    help."""

    def __init__(
        self,
        base: Base,
        *,
        warnings: Warnings,
        roster: Roster,
        astray: Astray,
        gossip: Gossip,
        asking: Asking,
        rejoining: Rejoining,
    ) -> None:
        self._read = base.read
        self._me = base.me
        self._chains = base.chains
        self._branches = base.branches
        self._history = base.history
        self._warnings = warnings
        self._roster = roster
        self._astray = astray
        self._gossip = gossip
        self._asking = asking
        self._rejoining = rejoining
        self._asked_at: Memory[bytes, int] = base.vault.memory()
        """When each contact was asked last."""

    def is_due(self, now: int) -> bool:
        """Whether we have to ask somebody, or to decide on a branch."""
        asking = "SELECT min(ask_due_at) FROM comeback WHERE digest IS NULL"
        return self._read.is_due(asking, now) or bool(self._branches.due(now))

    def act(self, unit: Unit) -> None:
        """Ask the contacts whom it is time to ask, and decide on the branches that are due."""
        for gid in self._branches.due(unit.now):
            if self._branches.lost_to(unit, gid) is not None:
                self._ask_over(unit, gid)
        unit.db.execute(
            "UPDATE comeback SET ref = NULL WHERE told_at < ?", (unit.now - REF_LIFE_MS,)
        )
        rows = unit.db.execute(
            "SELECT gid FROM comeback WHERE digest IS NULL AND ask_due_at <= ?", (unit.now,)
        ).fetchall()
        for (gid,) in rows:
            self._ask(unit, gid)

    def _ask_over(self, unit: Unit, gid: bytes) -> None:
        """Ask for the way to the sibling that the group went with, until we are there. This is no
        claim, so earlier requests do not postpone it."""
        if not self._roster.is_active(gid):
            return
        unit.db.execute(
            "INSERT INTO comeback (gid, is_lost, is_restart, ask_due_at) VALUES (?1, 0, 0, ?2)"
            " ON CONFLICT DO UPDATE SET ask_due_at = ?2, tries = 0, asked = x''"
            " WHERE digest IS NULL AND NOT is_lost",
            (gid, unit.now),
        )

    def _ask(self, unit: Unit, gid: bytes) -> None:
        is_lost, whom, number, state, asks_left, tries, asked = unit.db.execute(
            "SELECT is_lost, whom, number, state, asks_left, tries, asked FROM comeback"
            " WHERE gid = ?",
            (gid,),
        ).fetchone()
        has_lost = True if is_lost else self._branches.has_lost(gid, now=unit.now)
        if not is_lost and self._history.is_shut(gid):
            # We ask nothing of somebody whom we have blocked: it would be a sign of life.
            unit.db.execute("DELETE FROM comeback WHERE gid = ?", (gid,))
            return
        if has_lost is False and (not asks_left or self._asking.is_known(gid, number, state)):
            self._asking.settle(unit, gid)
            return
        if has_lost is None and not self._branches.awaits_votes(gid, now=unit.now):
            unit.db.execute(
                "UPDATE comeback SET ask_due_at = ? WHERE gid = ?",
                (self._branches.decided_at(gid, now=unit.now), gid),
            )
            return
        contacts = self._chains.ways_back()
        group = self._roster.group(gid)
        helpers = [p for p in self._roster.others(group) if p.identity in contacts]
        rest = [p for p in helpers if p.identity not in _identities(asked)]
        if not rest and has_lost is False:
            self._asking.settle(unit, gid)
            return
        if not rest and self._take_vouched(unit, gid):
            return
        is_last = len(rest) <= 1  # the last of a turn in which we ask everybody once
        pause = NEXT_ASK_MS
        if has_lost is None:
            is_last, pause = True, UNDECIDED_MS << min(tries, 10)
            pause = min(pause, self._branches.decided_at(gid, now=unit.now) - unit.now)
        elif has_lost and is_last:
            pause = min(ASK_MS[0] << min(tries, 10), ASK_MS[1])
        in_charge = rights.admins(group.policy, group.people)
        # The person who made us ask comes first, then admins, who can vouch for a state that nobody
        # else can prove.
        helper = min(
            rest or helpers,
            key=lambda peer: (peer.identity != whom, peer.identity not in in_charge),
            default=None,
        )
        if helper is not None and self._must_wait(unit, gid, helper.identity):
            return
        nonce = secrets.token_bytes(16) if helper else None
        unit.db.execute(
            "UPDATE comeback SET tries = tries + ?, asks_left = asks_left - 1, ask_due_at = ?,"
            " nonce = ?, helper = ?, asked = ? WHERE gid = ?",
            (
                is_last,
                unit.now + pause,
                nonce,
                helper.identity if helper else None,
                (asked if rest else b"") + (helper.identity if helper else b""),
                gid,
            ),
        )
        if helper is not None and nonce is not None:  # else somebody has to invite us again
            self._asking.send(unit, gid, helper, nonce, is_lost=bool(is_lost))
            self._chains.expect_help(gid, helper.identity, nonce)

    def _must_wait(self, unit: Unit, gid: bytes, helper: bytes) -> bool:
        """Whether a contact was just asked about another conversation, as after a restore, and
        would not answer yet. If so, they are asked once they will."""
        asked_at = self._asked_at.get(helper)
        if asked_at is not None and 0 <= unit.now - asked_at < ANSWER_EVERY_MS + SLACK_MS:
            unit.db.execute(
                "UPDATE comeback SET ask_due_at = ? WHERE gid = ?",
                (asked_at + ANSWER_EVERY_MS + SLACK_MS, gid),
            )
            return True
        self._asked_at[helper] = unit.now
        return False

    def take(self, unit: Unit, gid: bytes, file: bytes | None) -> None:
        """Judge fetched help, and act on it.

        `file` is None if the file is not the announced one. Invalid help changes nothing, and we
        ask the next contact.
        """
        row = unit.db.execute(
            "UPDATE comeback SET ref = NULL WHERE gid = ? AND digest IS NULL"
            " RETURNING is_lost, helper",
            (gid,),
        ).fetchone()
        if row is None:
            return
        is_lost, helper = row
        try:
            if file is None:
                raise InvalidMessage
            help_ = decode_help(file)
            if self._rejoining.gives_way(unit, gid, help_):
                return
            way = self._rejoining.judge_way(gid, help_)
            if way is None:
                self._take_unproven(unit, gid, helper, help_, file, is_lost=bool(is_lost))
            else:
                self._go(unit, gid, help_, way, is_lost=bool(is_lost))
        except (PeerError, NotAMember) as error:
            self._did_not_fit(unit, gid, helper, error)

    def _go(self, unit: Unit, gid: bytes, help_: Help, way: Way, *, is_lost: bool) -> None:
        epoch = self._roster.group(gid).view.epoch
        if way.sibling is not None:
            self._gossip.is_parted(unit, gid, way.sibling.epoch, way.sibling.commit)
        self._branches.take(unit, gid, help_.votes)
        if way.sibling is not None:
            verdict = self._branches.is_lost(way.sibling, now=unit.now)
            if verdict:
                self._rejoining.rejoin(unit, gid, help_, way.end)
            elif not is_lost:  # members who have not voted yet may do so soon
                self._asking.settle(unit, gid)
        elif is_lost:
            if way.end.epoch >= epoch:
                self._rejoining.rejoin(unit, gid, help_, way.end)
        else:
            self._asking.settle(unit, gid)
            if way.end.epoch > epoch and help_.since is not None:
                self._astray.hand(unit, gid, epoch, help_.commits[epoch - help_.since.number :])

    def _take_unproven(
        self, unit: Unit, gid: bytes, helper: bytes, help_: Help, file: bytes, *, is_lost: bool
    ) -> None:
        """Keep unproven help. We ask everybody before we believe any (`_take_vouched`); otherwise
        the person decides."""
        if not is_lost:
            self._asking.settle(unit, gid)
            return
        end, _ = end_of(gid, help_)
        if end.epoch <= self._roster.group(gid).view.epoch:
            raise InvalidMessage
        unit.db.execute(
            "INSERT OR REPLACE INTO unproven VALUES (?, ?, ?, ?)", (gid, helper, file, unit.now)
        )
        unit.db.execute(
            "DELETE FROM unproven WHERE gid = ?1 AND (at < ?2 OR helper NOT IN (SELECT helper FROM"
            " unproven WHERE gid = ?1 ORDER BY at DESC LIMIT ?3))",
            (gid, unit.now - UNPROVEN_LIFE_MS, MAX_UNPROVEN),
        )

    def _take_vouched(self, unit: Unit, gid: bytes) -> bool:
        """Join a state for which an admin of the last state that we know vouches, or in a 1:1
        conversation the other person; returns whether there is such help.

        It counts only if no honest lineage would reach that far. For a nearer state every member
        has one to show, and a member who shows none may have lost their rights since.
        """
        group = self._roster.group(gid)
        vouching = rights.admins(group.policy, group.people) | set(group.policy.direct)
        for helper, help_ in self._unproven(gid):
            end, signer = end_of(gid, help_)
            is_far = end.epoch - group.view.epoch >= lineages.KEPT_COMMITS
            if not is_far or signer not in vouching - {self._me.identity}:
                continue
            unit.db.execute("DELETE FROM unproven WHERE gid = ? AND helper = ?", (gid, helper))
            try:
                self._rejoining.rejoin(unit, gid, help_, end)
            except (PeerError, NotAMember) as error:
                self._did_not_fit(unit, gid, helper, error)
                continue
            return True
        return False

    def _did_not_fit(
        self, unit: Unit, gid: bytes, helper: bytes, error: PeerError | NotAMember
    ) -> None:
        told = f"help of {fingerprint(helper)} did not fit"
        self._warnings.warn(unit, gid, error.code, told)

    def unproven(self, gid: bytes) -> list[Unproven]:
        """The states into which the person may choose to join."""
        found = []
        for helper, help_ in self._unproven(gid):
            end, signer = end_of(gid, help_)
            found.append(Unproven(helper, signer, self._rejoining.changes(gid, end)))
        return found

    def _unproven(self, gid: bytes) -> list[tuple[bytes, Help]]:
        """(helper, help) for all unproven help, the latest first."""
        rows = self._read.execute(
            "SELECT helper, help FROM unproven WHERE gid = ? ORDER BY at DESC", (gid,)
        ).fetchall()
        return [(helper, decode_help(file)) for helper, file in rows]

    def accept(self, unit: Unit, gid: bytes, helper: bytes) -> None:
        """Join a state into which somebody helps us, because the person has looked at it and
        agrees.

        Raises UnknownHelp, or NotAMember if we are not in it.
        """
        row = unit.db.execute(
            "DELETE FROM unproven WHERE gid = ? AND helper = ? RETURNING help", (gid, helper)
        ).fetchone()
        if (
            row is None
            or not self._asking.is_asking(gid)
            or any(t.gid == gid for t in self._rejoining.tries())
        ):
            raise UnknownHelp
        help_ = decode_help(row[0])
        self._rejoining.rejoin(unit, gid, help_, end_of(gid, help_)[0])


def _identities(packed: bytes) -> set[bytes]:
    return {packed[at : at + 32] for at in range(0, len(packed), 32)}
