"""Commits: made from people's intents, judged in the order of the epoch drop, and won or lost."""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum, unique
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, assert_never

from msgspec import structs

from amanat import mls
from amanat.client import rights
from amanat.client.events import (
    GroupChanged,
)
from amanat.client.follow import WelcomeJoiners, WentOn
from amanat.client.lineage import is_rightful
from amanat.client.repeats import Awaited
from amanat.client.rights import Deed
from amanat.client.rules.astray import Handed
from amanat.client.rules.entering import REFRESH_MS
from amanat.client.rules.files import file_drop
from amanat.client.rules.key_packages import KEY_PACKAGES_GIVEN
from amanat.client.rules.outbox import Purpose
from amanat.client.rules.roster import Group, one_each
from amanat.client.state import State
from amanat.errors import (
    CopiedVault,
    FutureEpoch,
    InvalidCommit,
    InvalidMessage,
    OldGeneration,
    OwnMessage,
    PeerError,
    RelayLied,
    WrongEpoch,
)
from amanat.protocol import codec
from amanat.protocol.descriptor import decode_address
from amanat.protocol.identity import (
    check_credential,
)
from amanat.protocol.messages import (
    COMMIT_FRAGMENT,
    CellKind,
    CommitInfo,
    Epoch,
    Kind,
    Leave,
    Policy,
    Timer,
    WelcomeFile,
    WelcomeRef,
    decode_commit_info,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from amanat.client.rules.addresses import Addresses
    from amanat.client.rules.astray import Astray
    from amanat.client.rules.base import Base
    from amanat.client.rules.entering import Entering
    from amanat.client.rules.epochs import Epochs
    from amanat.client.rules.files import Files
    from amanat.client.rules.gossip import Gossip
    from amanat.client.rules.key_packages import Packages
    from amanat.client.rules.naming import Naming
    from amanat.client.rules.roster import Roster
    from amanat.client.rules.saying import Saying
    from amanat.client.rules.warnings import Warnings
    from amanat.client.unit import Memory, Unit
    from amanat.protocol.identity import Leaf

LEAVE_TURN_MS = 15_000
"""Each further member waits this much longer before committing a change that all of them would
commit, so that there is usually one Commit and not one of each."""
CUT_OFF_MS = 600_000
"""How long messages of a later epoch may wait while the relay that holds the Commit before them is
away, in milliseconds (10 minutes). After that, the group has gone on elsewhere."""
FORGOTTEN_MS = 30_000
"""How long after a relay has forgotten our Commit we append it again, in milliseconds."""
OUTRUN_MS = 3_600_000
"""How often a Commit that looks right but that we cannot apply makes us commit something ourselves,
in milliseconds."""
REFUSED_MS = 300_000
"""How long an intent rests after a relay has refused its Commit for good, in milliseconds."""


@unique
class Wish(StrEnum):
    """The kinds of change that a person wants in a group. The vault keeps these values."""

    ADD = "add"
    REMOVE = "remove"
    RENAME = "rename"
    ADMIN = "admin"
    """To make somebody an admin."""
    NO_ADMIN = "no-admin"
    ROLES = "roles"
    """To change the people who may add, remove or rename."""
    PLACE = "place"
    """To let its Commits rest at another relay."""
    REFRESH = "refresh"
    """To put new keys into our leaf."""
    LET_GO = "let-go"
    """To commit the leaving of somebody who has asked to leave."""
    OUTRUN = "outrun"
    """To be faster with a Commit than one that looks right but that we cannot apply."""

    @property
    def deed(self) -> Deed | None:
        """The deed to which its maker must have the right; None if no right is needed."""
        match self:
            case Wish.ADD:
                return Deed.ADD
            case Wish.REMOVE:
                return Deed.REMOVE
            case Wish.RENAME:
                return Deed.RENAME
            case Wish.ADMIN | Wish.NO_ADMIN | Wish.ROLES:
                return Deed.ADMINISTER
            case Wish.PLACE:
                return Deed.PLACE
            case Wish.REFRESH | Wish.LET_GO | Wish.OUTRUN:
                return None
            case _:
                assert_never(self)


class _Plan(NamedTuple):
    adds: dict[bytes, bytes]
    """KeyPackages by identity."""
    removes: list[int]
    leaves: list[Leave]
    policy: bytes | None
    leaf: Leaf | None
    """Our leaf, if it needs new addresses."""
    is_refresh: bool


class Commits:
    """The Commits of one vault."""

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
        files: Files,
        key_packages: Packages,
        astray: Astray,
        gossip: Gossip,
        entering: Entering,
    ) -> None:
        self._chains = base.chains
        self._engine = base.engine
        self._me = base.me
        self._read = base.read
        self._gaps = base.gaps
        self._sent = base.sent
        self._history = base.history
        self._lineages = base.lineages
        self._repeats = base.repeats
        self._waiting = base.waiting
        self._whereabouts = base.whereabouts
        self._warnings = warnings
        self._roster = roster
        self._epochs = epochs
        self._saying = saying
        self._addresses = addresses
        self._naming = naming
        self._files = files
        self._key_packages = key_packages
        self._astray = astray
        self._gossip = gossip
        self._entering = entering
        self._outrun: Memory[bytes, int] = base.vault.memory()
        """The time at which we last outran a Commit in a group."""

    def wish(self, unit: Unit, gid: bytes, kind: Wish, data: bytes, *, due_at: int) -> None:
        """Keep an intent until a Commit has made it so."""
        unit.db.execute(
            "INSERT INTO intent (gid, kind, data, due_at) VALUES (?, ?, ?, ?)",
            (gid, kind, data, due_at),
        )

    def attempt(self, unit: Unit, gid: bytes) -> None:
        """Make a Commit of the due intents, unless one is on its way.

        A member who is leaving still lets others go, because all may leave at once.
        """
        if not self._roster.is_followed(gid):
            return
        if unit.db.execute("SELECT 1 FROM attempt WHERE gid = ?", (gid,)).fetchone():
            return
        group = self._roster.group(gid)
        plan = self._plan(unit, gid, group)
        if plan is None:
            return
        bundle = self._engine.commit(
            gid,
            adds=list(plan.adds.values()),
            removes=plan.removes,
            policy=plan.policy,
            update=plan.is_refresh or bool(plan.removes),
            leaf=codec.encode(plan.leaf) if plan.leaf else None,
            aad=codec.encode(CommitInfo(leaves=plan.leaves)),
        )
        unit.db.execute(
            "INSERT INTO attempt (gid, epoch, digest, welcome, tree, joiners, is_refresh, data)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                gid,
                group.view.epoch,
                bundle.sha256,
                bundle.welcome,
                bundle.tree,
                json.dumps([identity.hex() for identity in plan.adds]),
                plan.is_refresh,
                bundle.commit,
            ),
        )
        if len(group.people) == 1:
            self._won(unit, gid)  # we are alone in this epoch
        else:
            self._epochs.append_to_epoch(unit, gid, group, COMMIT_FRAGMENT, bundle.commit)

    def _plan(self, unit: Unit, gid: bytes, group: Group) -> _Plan | None:
        """The contents of a Commit of the due intents. Forgets intents that are true already."""
        adds: dict[bytes, bytes] = {}
        removes: list[int] = []
        leaves: list[Leave] = []
        policy = group.policy
        rows = unit.db.execute(
            "SELECT id, kind, data FROM intent WHERE gid = ? AND due_at <= ? ORDER BY id",
            (gid, unit.now),
        ).fetchall()
        is_refresh = False

        for row, word, data in rows:
            kind = Wish(word)
            gone = [p for p in group.people if p.identity == data]
            moot = kind.deed is not None and not (
                self._roster.is_active(gid)
                and rights.may(group.policy, group.people, self._me.identity, kind.deed, data)
            )
            match kind:
                case Wish.ADD:
                    moot = moot or bool(gone)
                    if not moot and data not in adds:
                        package = self._key_packages.their_key_package(unit, data, group.view.suite)
                        if package is not None:
                            adds[data] = package
                case Wish.REMOVE:
                    moot = moot or not gone
                    removes += [] if moot else [p.leaf_index for p in gone]
                case Wish.LET_GO:
                    leave = decode_leave(data)
                    leaving = [p for p in group.people if rights.is_leaving(p, [leave], group=gid)]
                    moot = not leaving
                    if leaving:
                        leaves.append(leave)
                        removes += [p.leaf_index for p in leaving]
                case Wish.REFRESH | Wish.OUTRUN:
                    is_refresh = True
                case Wish.ADMIN | Wish.NO_ADMIN | Wish.RENAME | Wish.ROLES | Wish.PLACE:
                    is_stranger = kind in (Wish.ADMIN, Wish.NO_ADMIN) and not gone
                    changed = _with(policy, kind, data)
                    moot = moot or changed == policy or is_stranger
                    policy = policy if moot else changed
                case _:
                    assert_never(kind)
            if moot:
                unit.db.execute("DELETE FROM intent WHERE id = ?", (row,))
        ruling = rights.admins(group.policy, group.people)
        if self._me.identity not in ruling and any(
            p.leaf_index in removes and p.identity in ruling for p in group.people
        ):
            adds = {}  # in the next epoch: a joiner could take the freed leaf and its rights
        if not (adds or removes or is_refresh or policy != group.policy):
            return None
        leaf = self._addresses.new_leaf(group)
        joiners = [self._roster.person_of(one, now=unit.now) for one in adds.values()]
        policy = _along(policy, group, leaf, removes, joiners)
        return _Plan(
            adds,
            sorted(set(removes)),
            leaves,
            codec.encode(policy) if policy != group.policy else None,
            leaf,
            is_refresh,
        )

    def _judge(self, unit: Unit, gid: bytes, commit: bytes, *, is_read: bool) -> None:
        """Apply a Commit if it is valid. It is the first one read from the epoch drop, or one that
        we were handed while we cannot read the drop."""
        if self._roster.state(gid) is State.ASTRAY:
            self._note_first(unit, gid, commit)
            return
        digest = hashlib.sha256(commit).digest()
        row = unit.db.execute("SELECT digest FROM attempt WHERE gid = ?", (gid,)).fetchone()
        if row is not None and digest == row[0]:
            self._won(unit, gid)
            return
        try:
            staged = self._engine.process(gid, commit)
        except OwnMessage:
            self._is_ours(unit, gid, commit)
            return
        except (WrongEpoch, FutureEpoch):
            return  # of another epoch
        except PeerError:
            self._outrun_if_rightful(unit, gid, commit)
            return  # junk that we cannot apply
        if not isinstance(staged, mls.StagedCommit):
            return
        if not self._is_right(unit, gid, staged):
            self._engine.reject(staged.handle)
            return
        self._engine.accept(staged.handle)
        unit.db.execute("DELETE FROM attempt WHERE gid = ?", (gid,))  # ours lost the race
        if staged.self_removed:
            self._entering.put_out(unit, gid, back=_committer(staged) if staged.external else None)
            return
        self._lineages.goes_on(unit, gid, staged.epoch_before, commit, is_read=is_read)
        if staged.external:
            self._let_back(unit, gid, staged)
            self._entering.enter_epoch(unit, gid)
        else:
            self._entering.enter_epoch(unit, gid, renewed=_renewed(staged.updates))
        unit.follow(WentOn(gid))

    def _is_right(self, unit: Unit, gid: bytes, staged: mls.StagedCommit) -> bool:
        """Whether the committer may do everything that a Commit does."""
        group = self._roster.group(gid)
        most = rights.most_leaves(group.view.suite)
        try:
            rights.judge(group.policy, group.people, staged, group=gid, most=most)
        except OldGeneration as error:
            self._warnings.warn(unit, gid, error.code, "", whom=_committer(staged).identity)
            return False
        except InvalidCommit:
            return False
        return True

    def _note_first(self, unit: Unit, gid: bytes, commit: bytes) -> None:
        """While we cannot apply Commits, keep the first rightful one of our epoch's drop, because a
        helper must have gone on by it."""
        epoch = self._roster.group(gid).view.epoch
        if self._lineages.step(gid, epoch) is None and is_rightful(
            self._engine.lineage(gid), commit
        ):
            self._lineages.goes_on(unit, gid, epoch, commit, is_read=True)

    def _is_ours(self, unit: Unit, gid: bytes, commit: bytes) -> None:
        """Go astray because of a Commit that our key has signed and that we do not have."""
        self._note_first(unit, gid, commit)
        digest = hashlib.sha256(commit).digest()
        if unit.db.execute(
            "SELECT 1 FROM refused WHERE gid = ? AND digest = ?", (gid, digest)
        ).fetchone():
            self._warnings.report_lie(unit, gid, how="a Commit that it had refused is there")
            self._astray.go_astray(unit, gid, RelayLied.code, is_restart=False)
        else:  # another copy of this vault has made it
            self._astray.go_astray(unit, gid, CopiedVault.code, is_restart=True)

    def _outrun_if_rightful(self, unit: Unit, gid: bytes, commit: bytes) -> None:
        """Outrun a Commit that looks right to all but that only its committer, or only some
        members, can apply. The others make another Commit in turn, so that everybody else can go on
        by it."""
        is_rested = not 0 <= unit.now - self._outrun.get(gid, -OUTRUN_MS) < OUTRUN_MS
        if (
            is_rested
            and self._roster.is_active(gid)
            and is_rightful(self._engine.lineage(gid), commit)
        ):
            self._outrun[gid] = unit.now
            leaves = sorted(person.leaf_index for person in self._roster.group(gid).people)
            turn = leaves.index(self._roster.group(gid).view.own_leaf)
            self.wish(unit, gid, Wish.OUTRUN, b"", due_at=unit.now + turn * LEAVE_TURN_MS)
            self.attempt(unit, gid)

    def _let_back(self, unit: Unit, gid: bytes, commit: mls.StagedCommit) -> None:
        """Let a member in again. If they have lost count, their count begins again."""
        signer, identity = commit.committer.signer, _committer(commit).identity
        if self._astray.ends_helping(gid):
            for peer in one_each(self._roster.others(self._roster.group(gid))):
                self._saying.post(unit, gid, peer, CellKind.NOTICE, b"")
        self._chains.forget_chains(unit, gid, identity, signer)
        if decode_commit_info(commit.aad).is_restart:
            self._gaps.begin(unit, gid, signer, identity)
            unit.db.execute("DELETE FROM their_key_package WHERE identity = ?", (identity,))

    def _won(self, unit: Unit, gid: bytes) -> None:
        """Merge our Commit, which is the first valid one; tell the members and let the joiners
        in."""
        digest, welcome, tree, joiners, refreshed, commit = unit.db.execute(
            "SELECT digest, welcome, tree, joiners, is_refresh, data FROM attempt WHERE gid = ?",
            (gid,),
        ).fetchone()
        before = self._roster.group(gid)
        view = self._engine.merge_pending(gid, digest)
        is_read = not self._epochs.is_holed(gid, before.view.epoch)
        self._lineages.goes_on(unit, gid, before.view.epoch, commit, is_read=is_read)
        self._roster.forget_group(gid)  # a notice says where we are now
        unit.db.execute("DELETE FROM attempt WHERE gid = ?", (gid,))
        if refreshed:
            unit.db.execute("DELETE FROM intent WHERE gid = ? AND kind = 'refresh'", (gid,))
            unit.db.execute(
                "UPDATE conversation SET refreshed_at = ? WHERE gid = ?", (unit.now, gid)
            )
        for peer in one_each(self._roster.others(before)):
            # A large group has no chains and needs none, because members follow its epoch drop.
            self._saying.post(unit, gid, peer, CellKind.NOTICE, b"")
        self._entering.enter_epoch(unit, gid, renewed=_renewed(view.updates))
        if welcome is not None:
            people = [bytes.fromhex(one) for one in json.loads(joiners)]
            unit.follow(WelcomeJoiners(gid, welcome, tree, people))
        unit.follow(WentOn(gid))

    def went_on(self, unit: Unit, gid: bytes) -> None:
        """Go on with the remaining intents, after the group has entered its next epoch and we have
        heard the messages that had come early."""
        if not self._roster.is_active(gid) and self._roster.group(gid).identities == {
            self._me.identity
        }:
            self._entering.go(unit, gid)  # we are the last one out
            return
        unit.events.append(GroupChanged(gid))
        self.attempt(unit, gid)

    def give_up_attempt(self, unit: Unit, gid: bytes) -> None:
        """Give up our Commit, which a relay has refused for good.

        It can never be whole in the drop, so it cannot win, and nobody can have merged it.
        """
        row = unit.db.execute(
            "DELETE FROM attempt WHERE gid = ? RETURNING digest", (gid,)
        ).fetchone()
        if row is not None:
            again_at = unit.now + REFUSED_MS
            unit.db.execute(
                "INSERT OR REPLACE INTO refused VALUES (?, ?, ?)", (gid, row[0], again_at)
            )
            self._engine.clear_pending(gid)
            unit.db.execute("DELETE FROM outbox WHERE about = ? AND purpose = 'commit'", (gid,))
            unit.db.execute("UPDATE intent SET due_at = ? WHERE gid = ?", (again_at, gid))

    def refused(self, now: int) -> list[bytes]:
        """The groups in which a relay has refused our Commit and it is time to make another."""
        return self._read.due("refused", "again_at", now)

    def try_again(self, unit: Unit, gid: bytes) -> None:
        """Make another Commit in place of the one that a relay has refused."""
        unit.db.execute("UPDATE refused SET again_at = NULL WHERE gid = ?", (gid,))
        self.attempt(unit, gid)

    def taken(self, gid: bytes, epoch: int) -> bytes:
        """The digest of the Commit that we have put into the drop of an epoch to end it, if the
        relay says that it has all its pieces; empty otherwise."""
        if self._read.execute(
            "SELECT 1 FROM outbox WHERE about = ? AND purpose IN ('create', 'commit', 'handed')",
            (gid,),
        ).fetchone():
            return b""
        row = self._read.execute(
            "SELECT digest FROM attempt WHERE gid = ? AND epoch = ? AND data != x''", (gid, epoch)
        ).fetchone()
        if row is not None:
            return bytes(row[0])
        row = self._read.execute(
            "SELECT data FROM handed WHERE gid = ? AND epoch = ? AND is_out", (gid, epoch)
        ).fetchone()
        return hashlib.sha256(row[0]).digest() if row else b""

    def append_again(self, unit: Unit, gid: bytes, digest: bytes) -> None:
        """Append our Commit again, because the relay had taken it and yet it was not there when we
        read the epoch drop to its end."""
        row = unit.db.execute(
            "SELECT data, epoch, missing FROM attempt WHERE gid = ? AND digest = ?", (gid, digest)
        ).fetchone()
        if row is None:
            self._is_not_shown(unit, gid, digest)
            return  # it was there, or another one was
        data, epoch, missing = row
        if missing:  # else all of it was there, and something of ours has taken its room
            self._warnings.report_lie(unit, gid, how="a Commit that it had taken is not there")
        unit.db.execute("UPDATE epoch_drop SET made = 0 WHERE gid = ? AND epoch = ?", (gid, epoch))
        self._epochs.append_to_epoch(
            unit, gid, self._roster.group(gid), COMMIT_FRAGMENT, data, after_ms=FORGOTTEN_MS
        )

    def _is_not_shown(self, unit: Unit, gid: bytes, digest: bytes) -> None:
        """Go on by a Commit that we were handed if it is not in the drop, though the relay has
        taken it."""
        handed = self._astray.handed(gid)
        if handed is None or hashlib.sha256(handed.commit).digest() != digest:
            return
        if handed.missing:
            self._warnings.report_lie(unit, gid, how="a Commit that it had taken is not there")
        self._take_handed(unit, gid, handed)

    def _take_handed(self, unit: Unit, gid: bytes, handed: Handed) -> None:
        unit.db.execute("DELETE FROM handed WHERE gid = ? AND epoch = ?", (gid, handed.epoch))
        self._judge(unit, gid, handed.commit, is_read=False)

    def welcome_joiners(
        self, unit: Unit, gid: bytes, welcome: bytes, tree: bytes, joiners: list[bytes]
    ) -> None:
        """Let our home keep the Welcome of the people whom a Commit has let in, and tell each of
        them."""
        suite = self._roster.group(gid).view.suite
        file = self._files.put_file(
            unit, codec.encode(WelcomeFile(welcome, tree, self._roster.clock(gid)))
        )
        self._repeats.keep(
            unit,
            Purpose.FILE,
            file_drop(file).drop_id,
            [Purpose.CREATE, Purpose.FILE],
            people=[Awaited(gid, identity) for identity in joiners],
        )
        name = self._roster.group(gid).policy.name
        for identity in filter(self._roster.is_contact, joiners):  # no longer, perhaps
            (used,) = unit.db.execute(
                "DELETE FROM their_key_package WHERE ref = (SELECT ref FROM their_key_package"
                " WHERE identity = ? AND suite = ? ORDER BY rowid LIMIT 1) RETURNING ref",
                (identity, suite),
            ).fetchone() or (bytes(32),)
            body = codec.encode(WelcomeRef(group=gid, file=file, name=name, key_package=used))
            self._saying.say(unit, self._roster.direct_with(identity), Kind.WELCOME, body)
        life_s = self._history.timer(gid)
        if (
            life_s
            and self._roster.is_active(gid)
            and self._roster.may_say(gid, self._me.identity, Kind.TIMER)
        ):
            self._saying.do(unit, gid, Kind.TIMER, codec.encode(Timer(life_s)))

    def _put_into_drop(self, unit: Unit, gid: bytes) -> None:
        group = self._roster.group(gid)
        if not self._roster.is_followed(gid):
            return
        row = unit.db.execute(
            "UPDATE handed SET is_out = 1 WHERE gid = ? AND epoch = ? AND is_out = 0"
            " RETURNING data",
            (gid, group.view.epoch),
        ).fetchone()
        if row is not None:
            self._epochs.append_to_epoch(unit, gid, group, COMMIT_FRAGMENT, row[0], of="handed")

    def cut_off(self, unit: Unit, gid: bytes) -> None:
        """While the relay of our epoch's drop cannot be reached, go on by the Commit that we were
        handed, if others have long gone on without us."""
        handed = self._astray.handed(gid)
        is_long = unit.db.execute(
            "SELECT 1 FROM early WHERE gid = ? AND kept_at <= ?", (gid, unit.now - CUT_OFF_MS)
        ).fetchone()
        if handed is not None and is_long and self._roster.is_active(gid):
            self._take_handed(unit, gid, handed)

    def come_back(
        self, unit: Unit, gid: bytes, *, is_restart: bool, between: Iterable[Epoch]
    ) -> None:
        """Come back after our external Commit has won and is merged. `between` are the epochs that
        led to it.

        After a restart we begin a new count, and say again every text that not everybody had
        confirmed, so that no word is lost together with the keys under which it was sealed.
        """
        known = {self._me.identity, *self._gaps.people(gid)}
        self._epochs.drop_epochs(unit, gid, before=2**62)
        self._chains.end_chains(unit, gid)
        unit.db.execute(
            "DELETE FROM outbox WHERE about = ? AND purpose IN ('commit', 'handed')", (gid,)
        )
        for table in ("attempt", "early", "handed", "unproven"):
            unit.db.execute(f"DELETE FROM {table} WHERE gid = ?", (gid,))  # noqa: S608
        for epoch in between:
            unit.db.execute(
                "INSERT OR REPLACE INTO epoch VALUES (?, ?, ?, ?)",
                (gid, epoch.number, epoch.state, unit.now),
            )
        unit.db.execute(
            "DELETE FROM epoch WHERE gid = ? AND number > ?", (gid, self._engine.group(gid).epoch)
        )
        unit.db.execute("UPDATE conversation SET state = 'active' WHERE gid = ?", (gid,))
        if is_restart:
            self._waiting.keep(unit, gid, self._saying.not_come(gid))
            self._sent.count_anew(unit, gid)
            self._whereabouts.forget_told(unit, gid)
        self._sent.resume(unit, gid)
        self._entering.enter_epoch(unit, gid)
        self._entering.plan_refresh(unit, gid, REFRESH_MS[1])
        if is_restart and self._roster.group(gid).policy.direct:
            self._key_packages.give_key_packages(unit, gid, mls.HYBRID_SUITE, KEY_PACKAGES_GIVEN)
        # In case we moved, or took another name, while we could say nothing here.
        self._addresses.tell(unit, gid)
        self._naming.tell(unit, gid)
        if self._roster.group(gid).identities <= known:
            self._saying.say_waiting(unit, gid)
        else:  # texts written before somebody came are not for them
            self._waiting.forget(unit, gid)
        self.attempt(unit, gid)

    def take_commit(self, unit: Unit, gid: bytes, epoch: int, commit: bytes) -> None:
        """Take bytes that may be a Commit from the drop of an epoch. The author of its pieces does
        not matter: a Commit is signed itself, and members who were handed it put it there."""
        if not self._roster.reads_drops(gid):
            return
        step = self._lineages.step(gid, epoch)
        if epoch == self._roster.group(gid).view.epoch:
            self._judge(unit, gid, commit, is_read=not self._epochs.is_holed(gid, epoch))
        elif step is not None and not step.is_read:
            # We went on by a Commit that we could not read here at the time.
            self._gossip.compare(unit, gid, epoch, commit, step.commit)

    def has_looked(self, unit: Unit, gid: bytes, epoch: int) -> None:
        """Note that the drop of an epoch was read to its end."""
        if not self._roster.reads_drops(gid) or epoch != self._roster.group(gid).view.epoch:
            return
        unit.db.execute(
            "UPDATE comeback SET ask_due_at = ? WHERE gid = ? AND is_lost AND tries = 0"
            " AND ask_due_at > ?",
            (unit.now, gid, unit.now),
        )
        self._put_into_drop(unit, gid)


_leaves = codec.decoder_of(Leave)


def decode_leave(data: bytes) -> Leave:
    """Decode a member's signed request to leave. Raises InvalidMessage."""
    return codec.decode(_leaves, data, InvalidMessage)


def _committer(commit: mls.StagedCommit) -> rights.Person:
    """The member who has made a Commit."""
    (person,) = rights.read_members([commit.committer])
    return person


def _renewed(updates: Iterable[mls.Member]) -> set[bytes]:
    """The identities whose leaves a Commit renews."""
    return {check_credential(one.credential, signer=one.signer).identity for one in updates}


def _along(
    policy: Policy,
    group: Group,
    own: Leaf | None,
    removes: Iterable[int],
    joiners: Iterable[rights.Person],
) -> Policy:
    """The policy with which a Commit of ours leaves a group: it takes the group along if it has to.
    `own` is our leaf if the Commit renews it."""
    leaves = {person.leaf_index: person.leaf for person in group.people}
    home = leaves[group.view.own_leaf] = own or leaves[group.view.own_leaf]
    for index in set(removes):
        del leaves[index]
    come = [person.leaf for person in joiners]
    return rights.taken_along(policy, [*leaves.values(), *come], home.addresses[0])


_Setting: TypeAlias = Literal[Wish.ADMIN, Wish.NO_ADMIN, Wish.RENAME, Wish.ROLES, Wish.PLACE]
"""The wishes that change the policy."""


def _with(policy: Policy, kind: _Setting, data: bytes) -> Policy:
    """The policy after the change that somebody wishes."""
    match kind:
        case Wish.RENAME:
            return structs.replace(policy, name=data.decode())
        case Wish.ROLES:
            return structs.replace(policy, **json.loads(data))
        case Wish.PLACE:
            relay, region = json.loads(data)
            address = decode_address(bytes.fromhex(relay), InvalidCommit)
            return structs.replace(policy, relay=address, region=region)
        case Wish.ADMIN:
            return structs.replace(policy, admins=sorted({*policy.admins, data}))
        case Wish.NO_ADMIN:
            return structs.replace(policy, admins=[a for a in policy.admins if a != data])
        case _:
            assert_never(kind)
