"""Helping: the answers to contacts who ask where a group is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amanat.client.pieces import epoch_drop
from amanat.client.rules.answers import LOOK, MAX_COMMITS, Answer, Help, decode_ask
from amanat.client.rules.asking import NEXT_ASK_MS
from amanat.errors import InvalidMessage
from amanat.protocol import codec
from amanat.protocol.messages import MAX_BLOB_BYTES, MAX_VOTES, Epoch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from amanat.client.rules.answers import Ask
    from amanat.client.rules.astray import Astray
    from amanat.client.rules.base import Base
    from amanat.client.rules.chains import Peer
    from amanat.client.rules.epochs import Epochs
    from amanat.client.rules.files import Files
    from amanat.client.rules.roster import Roster
    from amanat.client.unit import Unit
    from amanat.protocol.messages import Vote

ANSWER_EVERY_MS = 10_000
"""How often we answer one contact, in milliseconds. An answer may be a file."""
ANSWERS = 12
"""The most answers to one contact in ANSWERS_MS."""
ANSWERS_MS = 3_600_000
ASKED_LIFE_MS = 30 * 86_400_000
"""How long we remember which requests we have answered, in milliseconds: longer than a request
rests in a bucket."""


class Helping:
    """The help that one vault gives contacts."""

    def __init__(
        self, base: Base, *, roster: Roster, epochs: Epochs, files: Files, astray: Astray
    ) -> None:
        self._engine = base.engine
        self._chains = base.chains
        self._cursors = base.cursors
        self._lineages = base.lineages
        self._branches = base.branches
        self._history = base.history
        self._roster = roster
        self._epochs = epochs
        self._files = files
        self._astray = astray

    def help(self, unit: Unit, identity: bytes, payload: bytes) -> None:
        """Answer a contact who asks, if they are in the group."""
        try:
            asked = decode_ask(payload)
        except InvalidMessage:
            return
        gid = asked.group
        if not self._roster.is_followed(gid) or self._history.is_shut(gid):
            return
        peer = next(
            (p for p in self._roster.others(self._roster.group(gid)) if p.identity == identity),
            None,
        )
        if peer is None:
            return
        self._branches.take(unit, gid, asked.votes)
        if asked.nonce == LOOK:
            self._roster.look_soon(unit, gid, at=unit.now)
        elif self._may_answer(unit, identity, asked.nonce):
            self._answer(unit, gid, peer, asked)
        newest = max(asked.epochs, key=lambda epoch: epoch.number, default=None)
        if newest is not None and self._roster.state_of(gid, newest.number) != newest.state:
            self._roster.look_soon(unit, gid, at=unit.now)
            if not asked.is_lost:  # they are in an epoch in which we were not
                self._astray.doubt(
                    unit,
                    gid,
                    identity,
                    number=newest.number,
                    state=newest.state,
                    after_ms=NEXT_ASK_MS,
                )

    def _answer(self, unit: Unit, gid: bytes, peer: Peer, asked: Ask) -> None:
        view = self._roster.group(gid).view
        here = Epoch(view.epoch, view.state[:8])
        since, commits = self._common(gid, asked.epochs, here)
        file = None
        if asked.is_lost or commits:
            # Make the drop again in case the relay has forgotten it. If not, this changes nothing.
            unit.db.execute("UPDATE epoch_drop SET made = 0 WHERE gid = ?", (gid,))
            secret = self._epochs.epoch_secret(unit, gid)
            drop = epoch_drop(secret, self._roster.group(gid).policy.region)
            help_ = Help(
                since,
                commits,
                self._engine.group_info(gid),
                self._engine.export_tree(gid),
                secret,
                self._roster.clock(gid) + 1,
                self._cursors.read_from(drop.drop_id),
                self._votes_since(unit, gid, since)[:MAX_VOTES],
            )
            data = codec.encode(help_)
            if len(data) > MAX_BLOB_BYTES:
                return
            file = self._files.put_file(unit, data)
        self._chains.answer(unit, peer, asked.nonce, codec.encode(Answer(here, file)))
        if asked.is_lost:
            self._astray.expect_comeback(unit, gid)

    def _common(
        self, gid: bytes, epochs: Sequence[Epoch], here: Epoch
    ) -> tuple[Epoch | None, list[bytes]]:
        """The latest epoch in which both of us were, and the Commits since, if we keep them."""
        for epoch in sorted(epochs, key=lambda one: one.number, reverse=True):
            if self._roster.state_of(gid, epoch.number) == epoch.state:
                commits = self._lineages.since(gid, epoch.number, upto=here.number)
                if commits is None or len(commits) > MAX_COMMITS:
                    break
                return epoch, commits
        return None, []

    def _votes_since(self, unit: Unit, gid: bytes, since: Epoch | None) -> list[Vote]:
        """The votes that we know, and our own about the epoch at which the asker may have read
        another Commit."""
        if since is None:
            return []
        own = self._branches.vote(unit, gid, since.number)
        known = self._branches.votes(gid, since.number) if own is not None else []
        return known + [vote for vote in self._branches.all_votes(gid) if vote not in known]

    def _may_answer(self, unit: Unit, identity: bytes, nonce: bytes) -> bool:
        """Whether we may answer: not this request before, not another one just now, and not too
        many."""
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
