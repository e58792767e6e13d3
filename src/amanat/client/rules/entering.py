"""Entering: the beginning of a conversation, its next epoch, and the end of our part in it."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, NamedTuple

from amanat import mls
from amanat.client import rights
from amanat.client.events import Removed, SummaryChanged
from amanat.client.follow import HearEarly
from amanat.client.pieces import (
    pack_signers,
)
from amanat.client.rules.roster import Group
from amanat.client.rules.saying import NO_HASH
from amanat.client.state import State
from amanat.client.waiting import Word
from amanat.errors import (
    CopiedVault,
    GroupTooLarge,
    ProfileReplaced,
)
from amanat.protocol import codec
from amanat.protocol.identity import (
    check_name,
)
from amanat.protocol.messages import (
    Policy,
)

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from amanat.client.rules.addresses import Addresses
    from amanat.client.rules.astray import Astray
    from amanat.client.rules.base import Base
    from amanat.client.rules.epochs import Epochs
    from amanat.client.rules.naming import Naming
    from amanat.client.rules.roster import Roster
    from amanat.client.rules.saying import Saying
    from amanat.client.rules.warnings import Warnings
    from amanat.client.unit import Unit

LATE_MS = 3_000
"""How long after a Commit we look into the drops before it for late messages, in ms."""
KEPT_EPOCHS = 3
"""The number of epoch drops that we still read, including the current one. The engine keeps the
keys of as many epochs, because messages arrive up to two epochs late."""
KEPT_STATES = 256
"""The number of epochs of a group whose states are kept, to compare them with those that others
name."""
REFRESH_MS = (3_600_000, 7 * 86_400_000)
"""When a member refreshes the keys of their leaf: about an hour after they came, and then every
week in which somebody spoke, each up to half earlier or later at random (post-compromise security,
RFC 9750, section 8.2.2)."""
REFRESH_PEOPLE = 50
"""In a group of more people, each member refreshes proportionally less often, because each refresh
is a Commit."""


_NOTES = "notes"
"""The name of the group of our notes, because a policy needs one. Nobody sees it."""


class GivenUp(NamedTuple):
    """A 1:1 conversation that was given up for another with the same person, and the words that we
    had said there and that did not arrive."""

    gid: bytes
    words: list[Word]


class Past(NamedTuple):
    """The part of a conversation that, like its messages, outlives our membership. Everything else
    begins again when we are let in again."""

    clock: int = 0
    """The Lamport clock, so that earlier texts stand before later ones."""
    read_row: int = 0
    hidden: int = 0
    sent_seq: int = 0
    """The last number in our count, so that we use no number twice."""


class Entering:
    """The epochs that one vault enters."""

    def __init__(
        self,
        base: Base,
        *,
        warnings: Warnings,
        roster: Roster,
        epochs: Epochs,
        saying: Saying,
        addresses: Addresses,
        naming: Naming,
        astray: Astray,
    ) -> None:
        self._claims = base.claims
        self._cursors = base.cursors
        self._chains = base.chains
        self._engine = base.engine
        self._me = base.me
        self._places = base.places
        self._branches = base.branches
        self._gaps = base.gaps
        self._sent = base.sent
        self._history = base.history
        self._holding = base.holding
        self._lineages = base.lineages
        self._recalled = base.recalled
        self._waiting = base.waiting
        self._whereabouts = base.whereabouts
        self._warnings = warnings
        self._roster = roster
        self._epochs = epochs
        self._saying = saying
        self._addresses = addresses
        self._naming = naming
        self._astray = astray

    def start_direct(
        self, unit: Unit, identity: bytes, key_package: bytes
    ) -> tuple[bytes, bytes, bytes]:
        """Start the 1:1 conversation with somebody, by a KeyPackage of theirs that the caller has
        checked: (gid, Welcome, tree)."""
        gid = secrets.token_bytes(16)
        self._create(
            unit,
            gid,
            mls.HYBRID_SUITE,
            direct=sorted([self._me.identity, identity]),
            name="",
            admins=[],
        )
        bundle = self._engine.commit(gid, adds=[key_package])
        # Nobody else is in epoch 0, so no other Commit can win: merge at once.
        self._engine.merge_pending(gid, bundle.sha256)
        self.enter_epoch(unit, gid)
        self.plan_refresh(unit, gid, REFRESH_MS[1])
        return gid, bundle.welcome or b"", bundle.tree or b""

    def create_group(self, unit: Unit, name: str, *, people: int) -> bytes:
        """Start a group with ourselves as its admin; returns its gid. Raises BadArgument or
        GroupTooLarge.

        `people` is how many are expected: beyond MAX_HYBRID_LEAVES the classical suite is used.
        """
        name = check_name(name)
        if people > rights.MAX_CLASSICAL_LEAVES:
            raise GroupTooLarge(f"at most {rights.MAX_CLASSICAL_LEAVES}")
        suite = mls.HYBRID_SUITE if people <= rights.MAX_HYBRID_LEAVES else mls.CLASSICAL_SUITE
        gid = secrets.token_bytes(16)
        self._create(unit, gid, suite, direct=[], name=name, admins=[self._me.identity])
        self.enter_epoch(unit, gid)
        self.plan_refresh(unit, gid, REFRESH_MS[1])
        return gid

    def notes(self, unit: Unit) -> bytes:
        """The gid of our notes to ourselves, which begin when they are first asked for.

        They are a group that nobody else ever enters. We enter no epoch of it, so it has no drop,
        and its state keeps every rule that speaks to relays away from it.
        """
        row = unit.db.execute("SELECT gid FROM conversation WHERE state = 'notes'").fetchone()
        if row is not None:
            return bytes(row[0])
        gid = secrets.token_bytes(16)
        self._create(
            unit, gid, mls.HYBRID_SUITE, direct=[], name=_NOTES, admins=[self._me.identity]
        )
        unit.db.execute(
            "UPDATE conversation SET state = 'notes', look_due_at = NULL WHERE gid = ?", (gid,)
        )
        unit.events.append(SummaryChanged(gid))
        return gid

    def _create(
        self,
        unit: Unit,
        gid: bytes,
        suite: int,
        *,
        direct: list[bytes],
        name: str,
        admins: list[bytes],
    ) -> None:
        home = self._me.home
        policy = Policy(
            direct=direct, name=name, admins=admins, relay=home.address, region=home.region
        )
        self._engine.create_group(
            gid,
            suite,
            self._me.signer,
            self._me.credential,
            self._me.new_leaf(),
            codec.encode(policy),
        )
        self.insert(unit, gid, Past(), sure=self._cursors.read_so_far())

    def insert(self, unit: Unit, gid: bytes, past: Past, *, sure: int) -> None:
        """Keep a conversation that we are in from now on. `sure` is the seq of the home bucket
        after which its members may have spoken."""
        unit.db.execute(
            "INSERT INTO conversation (gid, state, sent_hash, look_due_at, sure_seq, clock,"
            " read_row, hidden, sent_seq) VALUES (?, 'active', ?, ?, ?, ?, ?, ?, ?)",
            (gid, NO_HASH, unit.now, sure, *past),
        )
        unit.db.execute("UPDATE desk SET is_hidden = 0 WHERE gid = ?", (gid,))
        self._recalled.forget(unit, gid)

    def enter_epoch(
        self, unit: Unit, gid: bytes, *, renewed: AbstractSet[bytes] = frozenset()
    ) -> None:
        """Carry out everything that a new epoch needs. `renewed` are the people whose keys are new
        in it."""
        self._recalled.forget(unit, gid)
        self._roster.forget_group(gid)
        group = self._roster.group(gid)
        epoch = group.view.epoch
        secret = self._engine.export_secret(gid, "amanat epoch drop", b"", 32)
        unit.db.execute(
            "INSERT INTO epoch_drop (gid, epoch, secret, relay, region, signers)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (
                gid,
                epoch,
                secret,
                group.policy.relay.key,
                group.policy.region,
                pack_signers((p.leaf_index, p.signer) for p in group.people),
            ),
        )
        self._epochs.drop_epochs(unit, gid, before=epoch - KEPT_EPOCHS + 1)
        unit.db.execute(
            "INSERT OR REPLACE INTO epoch VALUES (?, ?, ?, ?)",
            (gid, epoch, group.view.state[:8], unit.now),
        )
        unit.db.execute(
            "DELETE FROM epoch WHERE gid = ? AND number <= ?", (gid, epoch - KEPT_STATES)
        )
        self._lineages.entered(unit, gid)
        self._branches.forget(unit, gid, before=self._lineages.oldest(gid))
        self._astray.end_doubts(gid)
        unit.db.execute("DELETE FROM handed WHERE gid = ? AND epoch < ?", (gid, epoch))
        unit.db.execute("DELETE FROM intent WHERE gid = ? AND kind = 'outrun'", (gid,))
        has_newcomers = self._meet(unit, gid, group)
        self._saying.see_delivered(unit, gid)  # people who have gone need not confirm any more
        self._places.learn(unit, group.policy.relay)
        self._roster.note_generations(unit, group.people)
        self._whereabouts.keep(unit, gid, group.identities)
        if group.policy.direct:
            for peer in self._roster.others(group):
                self._chains.keep_way_back(unit, peer.identity, peer.delivery)
        if group.is_large:
            self._chains.end_chains(unit, gid)
            # Members who did not know of the Commit yet spoke into the drop that we have just left.
            self._roster.look_soon(unit, gid, at=unit.now + LATE_MS)
            if has_newcomers:
                self._naming.tell(unit, gid)
        else:
            peers = self._roster.others(group)
            chains = self._engine.export_secret(gid, "amanat chains", b"", 32)
            begun = self._chains.keep_chains(unit, gid, peers, chains, epoch=epoch, renewed=renewed)
            if begun.is_any:
                (sure,) = unit.db.execute(
                    "SELECT sure_seq FROM conversation WHERE gid = ?", (gid,)
                ).fetchone()
                self._cursors.read_again(unit, sure)
            if begun.is_first and self._addresses.has_new_addresses_since(group):
                self._addresses.tell(unit, gid)  # newcomers see our old address
            if begun.is_first:
                self._naming.tell(unit, gid)  # and perhaps our old name
        self._epochs.make_for_others(unit, gid, group)
        unit.follow(HearEarly(gid))

    def _meet(self, unit: Unit, gid: bytes, group: Group) -> bool:
        """Begin to count the envelopes of new members, and forget the counts of those who have
        gone. Returns whether there are new ones."""
        there = {p.signer: p.identity for p in group.people if p.signer != self._me.signer}
        known = {r[0] for r in unit.db.execute("SELECT signer FROM since WHERE gid = ?", (gid,))}
        for signer in known - set(there):
            unit.db.execute("DELETE FROM since WHERE gid = ? AND signer = ?", (gid, signer))
            self._gaps.forget(unit, gid, signer)
        for signer in set(there) - known:
            unit.db.execute(
                "INSERT INTO since (gid, signer, sent_seq, epoch)"
                " SELECT gid, ?, sent_seq, ? FROM conversation WHERE gid = ?",
                (signer, group.view.epoch, gid),
            )
            self._gaps.begin(unit, gid, signer, there[signer])
        return bool(set(there) - known)

    def mark_sure(self, unit: Unit, gid: bytes, epoch: int, seq: int) -> None:
        """Record that no Commit had ended this epoch when we had read our bucket up to `seq`.
        Members who come later speak after it."""
        if self._roster.is_followed(gid) and self._roster.group(gid).view.epoch == epoch:
            unit.db.execute("UPDATE conversation SET sure_seq = ? WHERE gid = ?", (seq, gid))

    def end(self, unit: Unit, gid: bytes) -> None:
        """Forget everything that is needed only while we are a member. The messages stay."""
        self._chains.end_chains(unit, gid)
        self._gaps.end(unit, gid)
        self._sent.end(unit, gid)
        self._holding.end(unit, gid)
        self._waiting.forget(unit, gid)
        self._whereabouts.keep(unit, gid, ())
        self._epochs.drop_epochs(unit, gid, before=2**62)
        self._lineages.forget(unit, gid)
        self._branches.forget(unit, gid)
        for table in (
            "since",
            "epoch",
            "intent",
            "attempt",
            "early",
            "handed",
            "refused",
            "comeback",
            "unproven",
        ):
            unit.db.execute(f"DELETE FROM {table} WHERE gid = ?", (gid,))  # noqa: S608
        self._roster.forget_group(gid)

    def go(self, unit: Unit, gid: bytes) -> None:
        """Forget our part in a conversation, which we have left."""
        self.end(unit, gid)
        unit.db.execute("UPDATE conversation SET state = 'left' WHERE gid = ?", (gid,))

    def put_out(self, unit: Unit, gid: bytes, *, back: rights.Person | None) -> None:
        """End our part in a conversation, because a Commit has removed our leaf. `back` is the new
        leaf of our identity if that has come back in our place."""
        if back is not None and back.credential.generation > self._me.generation:
            self._roster.note_generations(unit, [back])
            self.give_way(unit, gid)
            return
        if back is not None:
            self._warnings.warn(unit, gid, CopiedVault.code, "the other copy is in it now")
        was_leaving = self._roster.state(gid) is State.LEAVING
        self.end(unit, gid)
        unit.db.execute(
            "UPDATE conversation SET state = ? WHERE gid = ?",
            (State.LEFT if was_leaving else State.REMOVED, gid),
        )
        if not was_leaving:
            unit.events.append(Removed(gid))

    def give_way(self, unit: Unit, gid: bytes) -> None:
        """End our part in a conversation for good: our profile was restored elsewhere, and the
        restored one has taken our place. We neither speak nor ask to come back, because all members
        would refuse us."""
        unit.db.execute("DELETE FROM outbox WHERE about = ?", (gid,))
        self.end(unit, gid)
        unit.db.execute("UPDATE conversation SET state = 'replaced' WHERE gid = ?", (gid,))
        self._warnings.warn(unit, gid, ProfileReplaced.code, "")
        self._claims.question(unit)  # which tells the restored profile that this device still runs
        unit.events.append(Removed(gid))

    def abandon(self, unit: Unit, identity: bytes) -> GivenUp:
        """Leave the 1:1 conversation with somebody who is not in it. Its messages belong in the one
        that stays (`go_on_from`)."""
        gid = self._roster.direct_with(identity)
        words = [*self._saying.not_come(gid), *self._waiting.all(gid)]
        unit.db.execute("DELETE FROM outbox WHERE about = ?", (gid,))
        self.go(unit, gid)
        return GivenUp(gid, words)

    def go_on_from(self, unit: Unit, gone: GivenUp, gid: bytes) -> None:
        """Show in a 1:1 conversation the messages of one that was given up for it, and say again
        those that did not arrive there."""
        self._roster.move_clock(unit, gid, self._roster.clock(gone.gid))
        self._history.move(unit, gone.gid, gid)
        self._waiting.keep(unit, gid, gone.words)
        self._saying.say_waiting(unit, gid)

    def plan_refresh(self, unit: Unit, gid: bytes, pause: int) -> None:
        """Plan the next refresh of our keys, after about this pause in milliseconds."""
        people = len(self._roster.group(gid).people)
        pause *= max(1, people // REFRESH_PEOPLE)
        due_at = unit.now + pause // 2 + secrets.randbelow(pause)
        unit.db.execute("UPDATE conversation SET refresh_due_at = ? WHERE gid = ?", (due_at, gid))
