"""Coming back: how a device whose state of a conversation is not the group's joins it again
(docs/protocol.md, section 11).

That happens when an old copy of a vault is used, which may not speak because the newer one has
spoken under the same keys, and when a relay has shown members different Commits. The device asks a
contact who is in the group, over a way that needs nothing but the two people's lasting keys; the
contact answers with the group's public state; and the device puts itself in its own place by an
external Commit (RFC 9420, section 12.4.3.2), which like every Commit has to be the first in the
epoch drop.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec

from amanat import mls
from amanat.client.conversation import GroupChanged
from amanat.client.pieces import EpochDrop, epoch_drop, pack_signers, unpack_signers, without
from amanat.errors import (
    AmanatError,
    InvalidCell,
    InvalidMessage,
    PendingCommit,
)
from amanat.protocol import codec
from amanat.protocol.identity import Key
from amanat.protocol.messages import (
    COMMIT_FRAGMENT,
    MAX_BLOB_BYTES,
    CommitInfo,
    Count,
    Epoch,
    FileRef,
    Id,
    decode_policy,
)

if TYPE_CHECKING:
    from amanat.client.conversation import Conversations
    from amanat.client.delivery import Delivery
    from amanat.client.profile import Me
    from amanat.client.vault import Vault
    from amanat.protocol import wire
    from amanat.protocol.messages import Fragment

ASK_MS = (20_000, 3_600_000)
"""First and longest pause before help is asked for again, in milliseconds."""
ANSWER_EVERY_MS = 10_000
"""How often one contact is helped, in milliseconds: an answer is a file."""
ASKED_LIFE_MS = 30 * 86_400_000
"""How long it is kept what was answered: longer than any cell that asks rests in a bucket."""
MAX_EPOCHS = 64
"""Epochs an answer names, so that who was shown other Commits sees which side it is of."""


class Ask(codec.Record, frozen=True):
    """Please help me back into this conversation."""

    group: Id
    nonce: Id
    """Names the answer."""


class Help(codec.Record, frozen=True):
    """What is needed to join by an external Commit; the content of a file."""

    group_info: Annotated[bytes, msgspec.Meta(max_length=MAX_BLOB_BYTES)]
    tree: Annotated[bytes, msgspec.Meta(max_length=MAX_BLOB_BYTES)]
    secret: Key
    """Of the epoch drop the Commit goes to."""
    epochs: Annotated[list[Epoch], msgspec.Meta(max_length=MAX_EPOCHS)]
    clock: Count
    """So that what is said next stands behind what was said meanwhile."""
    judged: Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
    """Up to this seq the epoch drop holds no valid Commit: who asks cannot read what is there."""


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


_LOOK = bytes(16)
"""The nonce of who asks for nothing more: our Commit is in the drop."""

_asks = codec.decoder_of(Ask)
_helps = codec.decoder_of(Help)
_files = codec.decoder_of(FileRef)


class Comebacks:
    """Asking for help, helping, and joining again."""

    def __init__(
        self,
        vault: Vault,
        engine: mls.Engine,
        delivery: Delivery,
        conversations: Conversations,
        me: Me,
    ) -> None:
        self._vault = vault
        self._db = vault.db
        self._engine = engine
        self._delivery = delivery
        self._conversations = conversations
        self._me = me

    # Asking

    def ask(self, *, now: int) -> None:
        """Ask for help where it is due; inside a unit."""
        rows = self._db.execute(
            "SELECT gid, tries FROM comeback WHERE digest IS NULL AND ask_due_at <= ?", (now,)
        ).fetchall()
        for gid, tries in rows:
            pause = min(ASK_MS[0] << min(tries, 10), ASK_MS[1])
            self._db.execute(
                "UPDATE comeback SET tries = tries + 1, ask_due_at = ? WHERE gid = ?",
                (now + pause, gid),
            )
            contacts = self._delivery.ways_back()
            helpers = [
                peer
                for peer in self._conversations.others(self._conversations.group(gid))
                if peer.identity in contacts
            ]
            if not helpers:
                continue  # nobody to ask: somebody has to invite us again
            helper = helpers[tries % len(helpers)]
            nonce = secrets.token_bytes(16)
            self._db.execute(
                "UPDATE comeback SET helper = ?, nonce = ? WHERE gid = ?",
                (helper.identity, nonce, gid),
            )
            self._delivery.ask(helper, codec.encode(Ask(gid, nonce)), now=now)
            self._delivery.expect_help(gid, helper.identity, nonce)

    def answered(self, gid: bytes, payload: bytes, *, now: int) -> None:
        """Take the answer of a contact: where their help rests; inside a unit."""
        row = self._db.execute(
            "SELECT helper FROM comeback WHERE gid = ? AND helper IS NOT NULL", (gid,)
        ).fetchone()
        if row is None:
            return
        try:
            codec.decode(_files, payload, InvalidMessage)
        except InvalidMessage as error:
            self._conversations.warn(gid, error.code, "help could not be read", now=now)
            return
        self._db.execute(
            "INSERT OR REPLACE INTO joining VALUES (?, ?, ?, ?)", (gid, payload, row[0], now)
        )

    # Helping

    def help(self, identity: bytes, payload: bytes, *, now: int) -> None:
        """Answer a contact who asks, if they are in the group; inside a unit."""
        try:
            asked = codec.decode(_asks, payload, InvalidMessage)
        except InvalidMessage:
            return
        talk = self._conversations
        if not talk.is_followed(asked.group):
            return
        if asked.nonce == _LOOK:
            talk.notice(asked.group, now=now)
            return
        group = talk.group(asked.group)
        peer = next((p for p in talk.others(group) if p.identity == identity), None)
        if peer is None or not self._may_answer(identity, asked.nonce, now=now):
            return
        epochs = self._db.execute(
            "SELECT number, authenticator FROM epoch WHERE gid = ? ORDER BY number DESC LIMIT ?",
            (asked.group, MAX_EPOCHS),
        ).fetchall()
        # Once more, should the relay have forgotten it: making one that is there changes nothing.
        self._db.execute("UPDATE epoch_drop SET made = 0 WHERE gid = ?", (asked.group,))
        secret = talk.epoch_secret(asked.group, now=now)
        drop = epoch_drop(secret, group.policy.region)
        help_ = Help(
            group_info=self._engine.group_info(asked.group),
            tree=self._engine.export_tree(asked.group),
            secret=secret,
            epochs=[Epoch(*row) for row in epochs],
            clock=talk.clock(asked.group) + 1,
            judged=self._delivery.read_from(drop.drop_id),
        )
        file = talk.put_file(codec.encode(help_), now=now)
        self._delivery.answer(peer, asked.nonce, codec.encode(file), now=now)
        talk.expect_comeback(asked.group, now=now)

    def _may_answer(self, identity: bytes, nonce: bytes, *, now: int) -> bool:
        """Whether this was not answered yet, nor another asking of theirs just now."""
        self._db.execute("DELETE FROM helped WHERE at < ?", (now - ASKED_LIFE_MS,))
        if self._db.execute(
            "SELECT 1 FROM helped WHERE nonce = ?1 OR (identity = ?2 AND at > ?3 AND at <= ?4)",
            (nonce, identity, now - ANSWER_EVERY_MS, now),
        ).fetchone():
            return False
        self._db.execute("INSERT INTO helped VALUES (?, ?, ?)", (nonce, identity, now))
        return True

    # Joining again

    def is_astray(self, gid: bytes) -> bool:
        """Whether we are to join a conversation again."""
        row = self._db.execute("SELECT 1 FROM comeback WHERE gid = ?", (gid,)).fetchone()
        return row is not None

    def take(self, gid: bytes, file: bytes | None, *, now: int) -> None:
        """Make our external Commit from fetched help; inside a unit.

        `file` is None when what rests there is not what was announced. Help that does not fit is
        asked for once more.
        """
        self._db.execute("DELETE FROM joining WHERE gid = ?", (gid,))
        (number, authenticator, is_restart) = self._db.execute(
            "SELECT number, authenticator, is_restart FROM comeback WHERE gid = ?", (gid,)
        ).fetchone()
        try:
            if file is None:
                raise InvalidMessage
            help_ = codec.decode(_helps, file, InvalidMessage)
            view = mls.Lineage.begin(help_.group_info, help_.tree)[0].view()
            policy = decode_policy(view.policy)
            known = {epoch.number: epoch.authenticator for epoch in help_.epochs}
            if view.gid != gid or known.get(number, authenticator) != authenticator:
                raise InvalidMessage
            if view.epoch < number:
                self._stay(gid, known, now=now)
                return
            bundle = self._engine.join_external(
                help_.group_info,
                help_.tree,
                self._me.signer,
                self._me.credential,
                self._me.new_leaf(),
                codec.encode(CommitInfo(leaves=[], is_restart=bool(is_restart))),
            )
        except PendingCommit:
            return
        except AmanatError as error:
            self._conversations.warn(gid, error.code, "help did not fit", now=now)
            return
        signers = {member.leaf_index: member.signer for member in view.members}
        own = next(leaf for leaf, signer in signers.items() if signer == self._me.signer)
        place = EpochDrop(gid, bundle.epoch_before, help_.secret, policy.region, signers)
        whole, missing = self._conversations.append_to(
            place, policy.relay, COMMIT_FRAGMENT, bundle.commit, leaf=own, now=now
        )
        self._db.execute(
            "UPDATE comeback SET digest = ?, epoch = ?, secret = ?, relay = ?, region = ?,"
            " judged = ?, signers = ?, whole = ?, missing = ? WHERE gid = ?",
            (
                bundle.sha256,
                place.epoch,
                place.secret,
                policy.relay.key,
                policy.region,
                help_.judged,
                pack_signers(signers.items()),
                whole,
                missing,
                gid,
            ),
        )
        self._conversations.move_clock(gid, help_.clock)

    def _stay(self, gid: bytes, known: dict[int, bytes], *, now: int) -> None:
        """Who helps is not in the epoch that somebody claims to be in. If they are where we are,
        there was nothing to come back to; inside a unit."""
        view = self._conversations.group(gid).view
        if known.get(view.epoch) == view.epoch_authenticator[:8]:
            self._db.execute("DELETE FROM comeback WHERE gid = ?", (gid,))
            self._db.execute("DELETE FROM early WHERE gid = ?", (gid,))
            self._conversations.is_in_step(gid, now=now)

    def tries(self) -> list[Try]:
        """The external Commits of ours whose fate is open."""
        rows = self._db.execute(
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

    def begin(self, attempt: Try) -> None:
        """The epoch drop is read from its first cell now; inside a unit."""
        self._conversations.pieces.forget(attempt.kept_under)

    def judge(self, attempt: Try, cells: wire.Cells, *, now: int) -> bool:
        """Look for the first Commit among the cells of the epoch drop, from its first one; inside a
        unit. Whether it was found: ours is merged, after another's all begins anew.

        We cannot read another's Commit, so junk that a member puts there after we were helped costs
        us a turn, and no more.
        """
        for seq, cell in enumerate(cells.cells, cells.first):
            try:
                piece = attempt.place.open(cell)
            except InvalidCell:
                continue
            self._was_shown(attempt, piece)
            commit = self._conversations.pieces.take(attempt.kept_under, piece)
            is_commit = commit is not None and piece.kind == COMMIT_FRAGMENT
            if commit is None or not is_commit or seq <= attempt.judged:
                continue
            if hashlib.sha256(commit).digest() != attempt.digest:
                self._lose(attempt, now=now)
            elif attempt.place.signers[piece.leaf] == self._me.signer:
                self._won(attempt, now=now)
            else:
                continue  # ours, in the name of somebody whose it is not
            return True
        return False

    def _was_shown(self, attempt: Try, piece: Fragment) -> None:
        row = self._db.execute(
            "SELECT missing FROM comeback WHERE gid = ? AND whole = ?", (attempt.gid, piece.whole)
        ).fetchone()
        if row is not None:
            missing = without(row[0], piece.index)
            self._db.execute(
                "UPDATE comeback SET missing = ? WHERE gid = ?", (missing, attempt.gid)
            )

    def is_taken(self, attempt: Try) -> bool:
        """Whether the relay says that it has all of our Commit."""
        row = self._db.execute(
            "SELECT 1 FROM outbox WHERE about = ? AND purpose = 'commit'", (attempt.gid,)
        ).fetchone()
        return row is None

    def forgotten(self, attempt: Try, *, now: int) -> None:
        """The epoch drop was read to its end and our Commit, which the relay had taken before, was
        not there: all begins anew; inside a unit."""
        (missing,) = self._db.execute(
            "SELECT missing FROM comeback WHERE gid = ?", (attempt.gid,)
        ).fetchone()
        if missing:  # else all of it was there, and something of ours has taken its room
            self._conversations.lied(
                attempt.gid, now=now, how="a Commit that it had taken is not there"
            )
        self._lose(attempt, now=now)

    def _lose(self, attempt: Try, *, now: int) -> None:
        self._conversations.pieces.forget(attempt.kept_under)
        self._engine.clear_pending(attempt.gid)
        self._db.execute(
            "UPDATE comeback SET digest = NULL, ask_due_at = ? WHERE gid = ?",
            (now + secrets.randbelow(ASK_MS[0]), attempt.gid),
        )

    def _won(self, attempt: Try, *, now: int) -> None:
        gid = attempt.gid
        self._conversations.pieces.forget(attempt.kept_under)
        is_restart, helper = self._db.execute(
            "DELETE FROM comeback WHERE gid = ? RETURNING is_restart, helper", (gid,)
        ).fetchone()
        self._engine.merge_pending(gid, attempt.digest)
        self._conversations.come_back(gid, is_restart=bool(is_restart), now=now)
        self._conversations.events.append(GroupChanged(gid))
        for peer in self._conversations.others(self._conversations.group(gid)):
            if peer.identity == helper:  # who helped tells the others
                self._delivery.ask(peer, codec.encode(Ask(gid, _LOOK)), now=now)
