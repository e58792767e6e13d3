"""Coming back: how a device whose state of a conversation is not the group's joins it again, and
how whoever hears that the group is elsewhere finds out (docs/protocol.md, section 9, "Coming
back").

Contacts who are in the group are asked, over a way that needs nothing but two people's lasting
keys. What they answer is a claim. It comes with every Commit since an epoch in which both were, and
these are judged one by one as everybody judges them, up to the state that is offered. Then

- a member who is merely behind puts the Commits into the drop and goes on as everybody does;
- a member of another branch looks at the votes (branches.py);
- whoever has lost there, or whose keys another copy of the vault has used, puts themselves in
  their own place by an external Commit (RFC 9420, section 12.4.3.2), which like every Commit has to
  be the first in the epoch drop.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec

from amanat import mls
from amanat.client import lineage as lineages
from amanat.client import rights
from amanat.client.branches import Sibling
from amanat.client.events import GroupChanged
from amanat.client.lineage import is_rightful, judge
from amanat.client.pieces import EpochDrop, epoch_drop, pack_signers, unpack_signers, without
from amanat.client.rules.astray import MAX_ASKS
from amanat.client.rules.chains import WAYS_BACK
from amanat.client.rules.joining import decode_file_ref
from amanat.client.vault import fingerprint
from amanat.errors import (
    GroupVouched,
    InvalidCell,
    InvalidMessage,
    NotAMember,
    PeerError,
    UnknownHelp,
)
from amanat.protocol import codec
from amanat.protocol.identity import Key, check_credential
from amanat.protocol.messages import (
    COMMIT_FRAGMENT,
    MAX_BLOB_BYTES,
    MAX_VOTES,
    CommitInfo,
    Count,
    Epoch,
    FileRef,
    Id,
    Vote,
    decode_policy,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from amanat.client.conversation import Conversations
    from amanat.client.profile import Me
    from amanat.client.rules.chains import Peer
    from amanat.client.unit import Memory, Unit
    from amanat.client.vault import Vault
    from amanat.protocol import wire
    from amanat.protocol.messages import Fragment

ASK_MS = (20_000, 3_600_000)
"""First and longest pause before all contacts are asked once more, in milliseconds."""
NEXT_ASK_MS = 20_000
"""Pause before the next contact is asked, in milliseconds."""
UNDECIDED_MS = 30_000
"""How long votes are waited for before the other branch is asked again, in milliseconds."""
CHECK_MS = 60_000
"""How long after coming back others than the helper are asked where they are, in milliseconds: they
were not asked before, and one helper may have led us aside."""
CHECKS = 3
"""Most contacts who are asked then."""
ANSWER_EVERY_MS = 10_000
"""How often one contact is answered, in milliseconds: an answer may be a file."""
ANSWERS = 12
"""Most answers to one contact in ANSWERS_MS."""
ANSWERS_MS = 3_600_000
ASKED_LIFE_MS = 30 * 86_400_000
"""How long it is kept what was answered: longer than any cell that asks rests in a bucket."""
NAMED_EPOCHS = 16
"""Latest epochs that who asks names; of those before, ever fewer, so that all fit a small cell."""
MAX_EPOCHS = 64
"""Most epochs in an asking."""
MAX_COMMITS = 256
"""Most Commits in an answer."""
ASKED_VOTES = 64
"""Most votes in an asking: a cell of 16 KiB holds them."""
REF_LIFE_MS = 600_000
"""How long a file of help is looked for, in milliseconds."""
MAX_UNPROVEN = 4
"""Most helps kept of one conversation that do not show how the group came there."""
UNPROVEN_LIFE_MS = 14 * 86_400_000
"""How long such help is kept, in milliseconds: what it tells of grows old."""


class Ask(codec.Record, frozen=True):
    """Please tell me where this group is and how it came there."""

    group: Id
    nonce: Id
    """Names the answer."""
    epochs: Annotated[list[Epoch], msgspec.Meta(max_length=MAX_EPOCHS)]
    """Of those the asker was in, the latest first."""
    is_lost: bool
    """Whether the asker has to join again, wherever the group is."""
    votes: Annotated[list[Vote], msgspec.Meta(max_length=ASKED_VOTES)]


class Answer(codec.Record, frozen=True):
    """Where the helper is."""

    at: Epoch
    file: FileRef | None
    """Help; without it, there is nothing that the asker does not know."""


class Help(codec.Record, frozen=True):
    """How the group came to where it is, and what is needed to join it; the content of a file."""

    since: Epoch | None
    """The epoch that the first of the Commits has ended, which the asker has named; none where the
    helper knows of none of these."""
    commits: Annotated[list[bytes], msgspec.Meta(max_length=MAX_COMMITS)]
    group_info: Annotated[bytes, msgspec.Meta(max_length=MAX_BLOB_BYTES)]
    tree: Annotated[bytes, msgspec.Meta(max_length=MAX_BLOB_BYTES)]
    secret: Key
    """Of the epoch drop that a Commit goes to."""
    clock: Count
    """So that what is said next stands behind what was said meanwhile."""
    judged: Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
    """Up to this seq the epoch drop holds no valid Commit."""
    votes: Annotated[list[Vote], msgspec.Meta(max_length=MAX_VOTES)]


class Try(NamedTuple):
    """An external Commit of ours, and where it has to be the first."""

    gid: bytes
    digest: bytes
    relay: bytes
    judged: int
    """No Commit that is whole by this seq of the drop counts."""
    place: EpochDrop
    """Where it is."""

    @property
    def kept_under(self) -> bytes:
        """Pieces are kept apart from those that were read of the same drop before."""
        return self.gid + self.place.drop.drop_id


class Way(NamedTuple):
    """A way from where we were to where somebody is, every step of it judged."""

    end: mls.LineageView
    signer: bytes
    """The identity that has signed what is at its end."""
    states: list[Epoch]
    """The epochs it passes, with that at its end."""
    sibling: Sibling | None
    """Where it leaves ours."""


class Changes(NamedTuple):
    """What differs between the last state of a group that we know and another: who has come and
    gone and who came to be an admin and who ceased, by what they call themselves; and the name, if
    it is another."""

    came: dict[bytes, str]
    went: dict[bytes, str]
    admins: dict[bytes, str]
    no_admins: dict[bytes, str]
    name: str | None


class Unproven(NamedTuple):
    """A state of a group that somebody helps with, and nothing shows how the group came there."""

    helper: bytes
    signer: bytes
    """Who has signed it."""
    changes: Changes


_LOOK = bytes(16)
"""The nonce of who asks for nothing more: our Commit is in the drop."""

_asks = codec.decoder_of(Ask)
_answers = codec.decoder_of(Answer)
_helps = codec.decoder_of(Help)


class Comebacks:
    """Asking, helping, and joining again."""

    def __init__(
        self,
        vault: Vault,
        engine: mls.Engine,
        conversations: Conversations,
        me: Me,
    ) -> None:
        self._vault = vault
        self._read = vault.read
        self._engine = engine
        self._cursors = conversations.cursors
        self._chains = conversations.chains
        self._conversations = conversations
        self._lineages = conversations.lineages
        self._branches = conversations.branches
        self._me = me
        self._asked_again: Memory[bytes, int] = vault.memory()
        """How often the last asking, by its nonce, went out under another label."""

    # Asking

    def is_due(self, now: int) -> bool:
        """Whether somebody is to be asked, or a branch to be decided on."""
        row = self._read.execute(
            "SELECT 1 FROM comeback WHERE digest IS NULL AND ask_due_at <= ?", (now,)
        ).fetchone()
        return row is not None or bool(self._branches.due(now))

    def act(self, unit: Unit) -> None:
        """Ask whoever is to be asked, and decide what there is to decide."""
        for gid in self._branches.due(unit.now):
            if self._branches.lost_to(unit, gid) is not None:
                self._conversations.astray.doubt(unit, gid, None)  # the way there is asked for
        unit.db.execute(
            "UPDATE comeback SET ref = NULL WHERE told_at < ?", (unit.now - REF_LIFE_MS,)
        )
        rows = unit.db.execute(
            "SELECT gid FROM comeback WHERE digest IS NULL AND ask_due_at <= ?", (unit.now,)
        ).fetchall()
        for (gid,) in rows:
            self._ask(unit, gid)

    def _ask(self, unit: Unit, gid: bytes) -> None:
        is_lost, whom, number, state, asks_left, tries, asked = unit.db.execute(
            "SELECT is_lost, whom, number, state, asks_left, tries, asked FROM comeback"
            " WHERE gid = ?",
            (gid,),
        ).fetchone()
        if not is_lost and (not asks_left or self._is_known(gid, number, state)):
            self._settled(unit, gid)
            return
        contacts = self._chains.ways_back()
        group = self._conversations.roster.group(gid)
        helpers = [p for p in self._conversations.roster.others(group) if p.identity in contacts]
        rest = [p for p in helpers if p.identity not in _identities(asked)]
        if not rest and not is_lost:
            self._settled(unit, gid)
            return
        if not rest and self._take_vouched(unit, gid):
            return
        is_last = len(rest) <= 1  # of a round, in which everybody is asked once
        pause = NEXT_ASK_MS
        if is_lost and is_last:
            pause = min(ASK_MS[0] << min(tries, 10), ASK_MS[1])
        in_charge = rights.admins(group.policy, group.people)
        # Whoever made us ask comes first, then admins, who can vouch for what nobody else can show.
        helper = min(
            rest or helpers,
            key=lambda peer: (peer.identity != whom, peer.identity not in in_charge),
            default=None,
        )
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
            self._send_ask(unit, gid, helper, nonce, is_lost=bool(is_lost))
            self._chains.expect_help(gid, helper.identity, nonce)

    def ask_again(self, unit: Unit, gid: bytes) -> None:
        """The label of our last asking is taken, by one of ours before it: ask under another,
        some times."""
        row = unit.db.execute(
            "SELECT helper, nonce, is_lost FROM comeback WHERE gid = ? AND digest IS NULL", (gid,)
        ).fetchone()
        if row is None or row[1] is None or self._asked_again.get(row[1], 0) >= WAYS_BACK:
            return
        identity, nonce, is_lost = row
        count = self._asked_again.get(nonce, 0) + 1
        self._asked_again.clear()
        self._asked_again[nonce] = count
        others = self._conversations.roster.others(self._conversations.roster.group(gid))
        helper = next((peer for peer in others if peer.identity == identity), None)
        if helper is not None:
            self._send_ask(unit, gid, helper, nonce, is_lost=bool(is_lost))

    def _is_known(self, gid: bytes, number: int | None, state: bytes | None) -> bool:
        """Whether we have been where somebody says that they are."""
        if number is None:
            return False
        if state is None:
            return self._conversations.roster.group(gid).view.epoch >= number
        return self._conversations.roster.state_of(gid, number) == state

    def _send_ask(
        self, unit: Unit, gid: bytes, helper: Peer, nonce: bytes, *, is_lost: bool = False
    ) -> None:
        votes = self._votes(gid)[:ASKED_VOTES]
        epochs = _some(self._conversations.roster.states(gid))
        asked = Ask(gid, nonce, epochs, is_lost, votes)
        self._chains.ask(unit, gid, helper, codec.encode(asked))

    def _votes(self, gid: bytes) -> list[Vote]:
        """The votes about every epoch in which the group may have parted."""
        parted = {sibling.epoch for sibling in self._branches.siblings(gid)}
        return [vote for epoch in sorted(parted) for vote in self._branches.votes(gid, epoch)]

    def _settled(self, unit: Unit, gid: bytes) -> None:
        """Nothing came of what somebody has claimed."""
        unit.db.execute("DELETE FROM comeback WHERE gid = ? AND NOT is_lost", (gid,))

    def answered(self, unit: Unit, gid: bytes, helper: bytes, payload: bytes) -> None:
        """Take the answer of a contact."""
        row = unit.db.execute("SELECT is_lost, whom FROM comeback WHERE gid = ?", (gid,)).fetchone()
        if row is None:
            return
        try:
            answer = codec.decode(_answers, payload, InvalidMessage)
        except InvalidMessage as error:
            self._conversations.warnings.warn(unit, gid, error.code, "help could not be read")
            return
        if answer.file is not None:
            unit.db.execute(
                "UPDATE comeback SET ref = ?, told_at = ?, helper = ? WHERE gid = ?",
                (codec.encode(answer.file), unit.now, helper, gid),
            )
        elif row[1] == helper:
            self._settled(unit, gid)  # they know of nothing that we do not

    def awaited(self) -> list[tuple[bytes, FileRef]]:
        """The (gid, file) pairs of help that is to be fetched."""
        rows = self._read.execute("SELECT gid, ref FROM comeback WHERE ref IS NOT NULL").fetchall()
        return [(gid, decode_file_ref(ref)) for gid, ref in rows]

    # Helping

    def help(self, unit: Unit, identity: bytes, payload: bytes) -> None:
        """Answer a contact who asks, if they are in the group."""
        try:
            asked = codec.decode(_asks, payload, InvalidMessage)
        except InvalidMessage:
            return
        gid, talk = asked.group, self._conversations
        if not talk.roster.is_followed(gid) or talk.history.is_shut(gid):
            return
        peer = next(
            (p for p in talk.roster.others(talk.roster.group(gid)) if p.identity == identity), None
        )
        if peer is None:
            return
        self._branches.take(unit, gid, asked.votes)
        if asked.nonce == _LOOK:
            talk.roster.look_soon(unit, gid, at=unit.now)
        elif self._may_answer(unit, identity, asked.nonce):
            self._answer(unit, gid, peer, asked)
        newest = max(asked.epochs, key=lambda epoch: epoch.number, default=None)
        if newest is not None and talk.roster.state_of(gid, newest.number) != newest.state:
            talk.roster.look_soon(unit, gid, at=unit.now)
            if not asked.is_lost:  # they are where we have not been
                talk.astray.doubt(
                    unit,
                    gid,
                    identity,
                    number=newest.number,
                    state=newest.state,
                    after_ms=NEXT_ASK_MS,
                )

    def _answer(self, unit: Unit, gid: bytes, peer: Peer, asked: Ask) -> None:
        talk = self._conversations
        view = talk.roster.group(gid).view
        here = Epoch(view.epoch, view.state[:8])
        since, commits = self._common(gid, asked.epochs, here)
        file = None
        if asked.is_lost or commits:
            # Once more, should the relay have forgotten it: making it again changes nothing.
            unit.db.execute("UPDATE epoch_drop SET made = 0 WHERE gid = ?", (gid,))
            secret = talk.epochs.epoch_secret(unit, gid)
            drop = epoch_drop(secret, talk.roster.group(gid).policy.region)
            help_ = Help(
                since,
                commits,
                self._engine.group_info(gid),
                self._engine.export_tree(gid),
                secret,
                talk.roster.clock(gid) + 1,
                self._cursors.read_from(drop.drop_id),
                self._votes_since(unit, gid, since)[:MAX_VOTES],
            )
            data = codec.encode(help_)
            if len(data) > MAX_BLOB_BYTES:
                return
            file = talk.files.put_file(unit, data)
        self._chains.answer(unit, peer, asked.nonce, codec.encode(Answer(here, file)))
        if asked.is_lost:
            talk.astray.expect_comeback(unit, gid)

    def _common(
        self, gid: bytes, epochs: Sequence[Epoch], here: Epoch
    ) -> tuple[Epoch | None, list[bytes]]:
        """The latest epoch in which both were, and the Commits since, if they are kept."""
        for epoch in sorted(epochs, key=lambda one: one.number, reverse=True):
            if self._conversations.roster.state_of(gid, epoch.number) == epoch.state:
                commits = self._lineages.since(gid, epoch.number, upto=here.number)
                if commits is None or len(commits) > MAX_COMMITS:
                    break
                return epoch, commits
        return None, []

    def _votes_since(self, unit: Unit, gid: bytes, since: Epoch | None) -> list[Vote]:
        """What is known of who has read what, and what we have read where the asker may have read
        something else."""
        if since is None:
            return []
        own = self._branches.vote(unit, gid, since.number)
        known = self._branches.votes(gid, since.number) if own is not None else []
        return known + [vote for vote in self._votes(gid) if vote not in known]

    def _may_answer(self, unit: Unit, identity: bytes, nonce: bytes) -> bool:
        """Whether this was not answered yet, nor another asking just now, nor too many."""
        unit.db.execute("DELETE FROM helped WHERE at < ?", (unit.now - ASKED_LIFE_MS,))
        if unit.db.execute(
            "SELECT 1 FROM helped WHERE nonce = ?1 OR (identity = ?2 AND at > ?3 AND at <= ?4)"
            " UNION SELECT 1 FROM helped WHERE identity = ?2 AND at > ?5 AND at <= ?4"
            " GROUP BY identity HAVING count(*) >= ?6",
            (nonce, identity, unit.now - ANSWER_EVERY_MS, unit.now, unit.now - ANSWERS_MS, ANSWERS),
        ).fetchone():
            return False
        unit.db.execute("INSERT INTO helped VALUES (?, ?, ?)", (nonce, identity, unit.now))
        return True

    # Being helped

    def is_asking(self, gid: bytes) -> bool:
        """Whether contacts are asked about a conversation."""
        row = self._read.execute("SELECT 1 FROM comeback WHERE gid = ?", (gid,)).fetchone()
        return row is not None

    def take(self, unit: Unit, gid: bytes, file: bytes | None) -> None:
        """Judge fetched help, and do what follows from it.

        `file` is None when what rests there is not what was announced. Help that does not hold
        changes nothing: the next contact is asked.
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
            help_ = codec.decode(_helps, file, InvalidMessage)
            way = self._judge_way(gid, help_)
            if way is None:
                self._take_unproven(unit, gid, helper, help_, file, is_lost=bool(is_lost))
            else:
                self._go(unit, gid, help_, way, is_lost=bool(is_lost))
        except (PeerError, NotAMember) as error:
            self._did_not_fit(unit, gid, helper, error)

    def _judge_way(self, gid: bytes, help_: Help) -> Way | None:
        """The way that help shows; None if it shows none.

        Raises InvalidCommit, InvalidMessage or InvalidWelcome unless every Commit of it is
        rightful and it ends where the help says.
        """
        end, signer = _end_of(gid, help_)
        if help_.since is None:
            return None
        number = help_.since.number
        if self._conversations.roster.state_of(gid, number) != help_.since.state:
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

    def _go(self, unit: Unit, gid: bytes, help_: Help, way: Way, *, is_lost: bool) -> None:
        talk = self._conversations
        epoch = talk.roster.group(gid).view.epoch
        if way.sibling is not None:
            talk.gossip.is_parted(unit, gid, way.sibling.epoch, way.sibling.commit)
        self._branches.take(unit, gid, help_.votes)
        if way.sibling is not None:
            verdict = self._branches.is_lost(way.sibling, now=unit.now)
            if verdict:
                self._rejoin(unit, gid, help_, way.end)
            elif verdict is None and not is_lost:  # who has not said what they read may say it soon
                unit.db.execute(
                    "UPDATE comeback SET asked = x'', ask_due_at = ? WHERE gid = ?",
                    (unit.now + UNDECIDED_MS, gid),
                )
            elif not is_lost:
                self._settled(unit, gid)
        elif is_lost:
            if way.end.epoch >= epoch:
                self._rejoin(unit, gid, help_, way.end)
        else:
            self._settled(unit, gid)
            if way.end.epoch > epoch and help_.since is not None:
                talk.astray.hand(unit, gid, epoch, help_.commits[epoch - help_.since.number :])

    def _take_unproven(
        self, unit: Unit, gid: bytes, helper: bytes, help_: Help, file: bytes, *, is_lost: bool
    ) -> None:
        """Keep help that does not show how the group came there: everybody is asked before anything
        is believed (_take_vouched), and else the person decides."""
        if not is_lost:
            self._settled(unit, gid)
            return
        end, _ = _end_of(gid, help_)
        if end.epoch <= self._conversations.roster.group(gid).view.epoch:
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
        """Join what an admin of the last state that we know vouches for, in a 1:1 conversation the
        other. Whether there is such help.

        It counts only where no honest lineage would reach. Nearer than that everybody has one to
        show, and who shows none may have been put down since.
        """
        group = self._conversations.roster.group(gid)
        vouching = rights.admins(group.policy, group.people) | set(group.policy.direct)
        for helper, help_ in self._unproven(gid):
            end, signer = _end_of(gid, help_)
            is_far = end.epoch - group.view.epoch >= lineages.KEPT_COMMITS
            if not is_far or signer not in vouching - {self._me.identity}:
                continue
            unit.db.execute("DELETE FROM unproven WHERE gid = ? AND helper = ?", (gid, helper))
            try:
                self._rejoin(unit, gid, help_, end)
            except (PeerError, NotAMember) as error:
                self._did_not_fit(unit, gid, helper, error)
                continue
            return True
        return False

    def _did_not_fit(
        self, unit: Unit, gid: bytes, helper: bytes, error: PeerError | NotAMember
    ) -> None:
        told = f"help of {fingerprint(helper)} did not fit"
        self._conversations.warnings.warn(unit, gid, error.code, told)

    def unproven(self, gid: bytes) -> list[Unproven]:
        """What the person may join by their own decision."""
        found = []
        for helper, help_ in self._unproven(gid):
            end, signer = _end_of(gid, help_)
            found.append(Unproven(helper, signer, self._changes(gid, end)))
        return found

    def _unproven(self, gid: bytes) -> list[tuple[bytes, Help]]:
        """(helper, help) of all help that shows no way, the latest first."""
        rows = self._read.execute(
            "SELECT helper, help FROM unproven WHERE gid = ? ORDER BY at DESC", (gid,)
        ).fetchall()
        return [(helper, codec.decode(_helps, file, InvalidMessage)) for helper, file in rows]

    def accept(self, unit: Unit, gid: bytes, helper: bytes) -> None:
        """Join what somebody helps with: the person has looked at it.

        Raises UnknownHelp, or NotAMember where we are not in it.
        """
        row = unit.db.execute(
            "DELETE FROM unproven WHERE gid = ? AND helper = ? RETURNING help", (gid, helper)
        ).fetchone()
        if row is None or not self.is_asking(gid) or any(t.gid == gid for t in self.tries()):
            raise UnknownHelp
        help_ = codec.decode(_helps, row[0], InvalidMessage)
        self._rejoin(unit, gid, help_, _end_of(gid, help_)[0])

    # Joining again

    def _rejoin(self, unit: Unit, gid: bytes, help_: Help, end: mls.LineageView) -> None:
        """Make our external Commit. Raises InvalidWelcome, or NotAMember where we are not in the
        group any more."""
        talk = self._conversations
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
        talk.astray.say_nothing(unit, gid)
        policy = decode_policy(end.policy)
        signers = {member.leaf_index: member.signer for member in end.members}
        place = EpochDrop(gid, end.epoch, help_.secret, policy.region, signers)
        own = next(leaf for leaf, key in place.signers.items() if key == self._me.signer)
        whole, missing = talk.epochs.append_to(
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
        talk.roster.move_clock(unit, gid, help_.clock)

    def tries(self) -> list[Try]:
        """The external Commits of ours whose fate is open."""
        rows = self._read.execute(
            "SELECT gid, digest, relay, judged, epoch, secret, region, signers FROM comeback"
            " WHERE digest IS NOT NULL"
        ).fetchall()
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
        """The epoch drop is read from its first cell now."""
        self._conversations.pieces.forget(unit, attempt.kept_under)

    def judge(self, unit: Unit, attempt: Try, cells: wire.Cells) -> bool:
        """Look for the first Commit among the cells of the epoch drop, from its first one. Whether
        it was found: ours is merged, after another's all begins anew.

        Of another's Commit we can check all but what members of the epoch alone can, so what a
        member makes to keep us out after we were helped costs us a turn, and no more.
        """
        for seq, cell in enumerate(cells.cells, cells.first):
            try:
                piece = attempt.place.open(cell)
            except InvalidCell:
                continue
            self._was_shown(unit, attempt, piece)
            commit = self._conversations.pieces.take(unit, attempt.kept_under, piece)
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
        """The state that our external Commit goes on from."""
        (file,) = self._read.execute("SELECT help FROM comeback WHERE gid = ?", (gid,)).fetchone()
        help_ = codec.decode(_helps, file, InvalidMessage)
        return mls.Lineage.begin(help_.group_info, help_.tree)[0]

    def _was_shown(self, unit: Unit, attempt: Try, piece: Fragment) -> None:
        row = unit.db.execute(
            "SELECT missing FROM comeback WHERE gid = ? AND whole = ?", (attempt.gid, piece.whole)
        ).fetchone()
        if row is not None:
            missing = without(row[0], piece.index)
            unit.db.execute("UPDATE comeback SET missing = ? WHERE gid = ?", (missing, attempt.gid))

    def is_taken(self, attempt: Try) -> bool:
        """Whether the relay says that it has all of our Commit."""
        row = self._read.execute(
            "SELECT 1 FROM outbox WHERE about = ? AND purpose = 'commit'", (attempt.gid,)
        ).fetchone()
        return row is None

    def forgotten(self, unit: Unit, attempt: Try) -> None:
        """The epoch drop was read to its end and our Commit, which the relay had taken before,
        was not there: all begins anew."""
        (missing,) = unit.db.execute(
            "SELECT missing FROM comeback WHERE gid = ?", (attempt.gid,)
        ).fetchone()
        if missing:  # else all of it was there, and something of ours has taken its room
            self._conversations.warnings.report_lie(
                unit, attempt.gid, how="a Commit that it had taken is not there"
            )
        self._lose(unit, attempt)

    def _lose(self, unit: Unit, attempt: Try) -> None:
        gid = attempt.gid
        self._conversations.pieces.forget(unit, attempt.kept_under)
        self._engine.clear_pending(gid)
        (is_lost,) = unit.db.execute(
            "UPDATE comeback SET digest = NULL, commit_data = NULL, help = NULL, ask_due_at = ?,"
            " tries = 0, asks_left = ?, asked = x'' WHERE gid = ? RETURNING is_lost",
            (unit.now + secrets.randbelow(ASK_MS[0]), MAX_ASKS, gid),
        ).fetchone()
        if not is_lost:  # our branch is where we are still
            self._conversations.astray.stay(unit, gid)

    def _won(self, unit: Unit, attempt: Try) -> None:
        gid, talk = attempt.gid, self._conversations
        talk.pieces.forget(unit, attempt.kept_under)
        is_restart, helper, commit, file = unit.db.execute(
            "DELETE FROM comeback WHERE gid = ? RETURNING is_restart, helper, commit_data, help",
            (gid,),
        ).fetchone()
        help_ = codec.decode(_helps, file, InvalidMessage)
        way = self._judge_way(gid, help_)
        epoch = attempt.place.epoch
        if way is None or help_.since is None:
            self._lineages.forget(unit, gid)
            self._branches.forget(unit, gid)
            self._lineages.begin(unit, gid, epoch, help_.group_info, help_.tree)
            end, signer = _end_of(gid, help_)
            states = [Epoch(epoch, end.state[:8])]
            told = f"{fingerprint(signer)} says: {_told(self._changes(gid, end))}"
            talk.warnings.warn(unit, gid, GroupVouched.code, told)
        else:
            states = way.states
            self._go_along(unit, gid, help_.since.number, help_.commits, way.sibling)
        self._engine.merge_pending(gid, attempt.digest)
        self._lineages.goes_on(unit, gid, epoch, commit, is_read=True)
        talk.commits.come_back(unit, gid, is_restart=bool(is_restart), between=states)
        unit.events.append(GroupChanged(gid))
        for peer in talk.roster.others(talk.roster.group(gid)):
            if peer.identity == helper:  # who helped tells the others
                self._send_ask(unit, gid, peer, _LOOK)
        if len(talk.roster.group(gid).identities) > 2:  # noqa: PLR2004  # somebody beside the helper
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
        """Our lineage is the way we have come, from an epoch on."""
        if sibling is not None:
            step = self._lineages.step(gid, sibling.epoch)
            if step is not None:
                self._branches.swap(unit, gid, sibling.epoch, step.commit, sibling.commit)
        for epoch, commit in enumerate(commits, number):
            step = self._lineages.step(gid, epoch)
            if step is None or step.commit != commit:
                self._lineages.goes_on(unit, gid, epoch, commit, is_read=False)

    def _changes(self, gid: bytes, end: mls.LineageView) -> Changes:
        before, policy = self._conversations.roster.group(gid), decode_policy(end.policy)
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
    """The same as a sentence for the person."""
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


def _identities(packed: bytes) -> set[bytes]:
    return {packed[at : at + 32] for at in range(0, len(packed), 32)}


def _some(epochs: Sequence[Epoch]) -> list[Epoch]:
    """Of the epochs we were in, the latest first, the last few and ever fewer of those before."""
    kept, distance = list(epochs[:NAMED_EPOCHS]), NAMED_EPOCHS
    while distance < len(epochs) and len(kept) < MAX_EPOCHS:
        kept.append(epochs[distance])
        distance += max(1, distance // 4)
    return kept


def _end_of(gid: bytes, help_: Help) -> tuple[mls.LineageView, bytes]:
    """The state that help offers, and the identity that has signed it. Raises InvalidWelcome or
    InvalidMessage."""
    lineage, leaf = mls.Lineage.begin(help_.group_info, help_.tree)
    view = lineage.view()
    member = next((m for m in view.members if m.leaf_index == leaf), None)
    if view.gid != gid or member is None:
        raise InvalidMessage
    return view, check_credential(member.credential, signer=member.signer).identity
