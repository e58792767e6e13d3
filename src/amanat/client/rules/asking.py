"""Asking: our requests to contacts for help, and the answers that they announce.

The requests go over a way that needs nothing but two people's lasting keys (`chains.py`). The
answer is a claim, and names a file of help.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from amanat.client.rules.answers import ASKED_VOTES, Ask, decode_answer, some
from amanat.client.rules.joining import decode_file_ref
from amanat.errors import InvalidMessage
from amanat.protocol import codec

if TYPE_CHECKING:
    from amanat.client.rules.base import Base
    from amanat.client.rules.chains import Peer
    from amanat.client.rules.roster import Roster
    from amanat.client.rules.warnings import Warnings
    from amanat.client.unit import Unit
    from amanat.protocol.messages import FileRef

ASK_MS = (20_000, 3_600_000)
"""The first and the longest pause before we ask all contacts again, in milliseconds."""
NEXT_ASK_MS = 20_000
"""The pause before we ask the next contact, in milliseconds."""


class Asking:
    """The requests of one vault for help."""

    def __init__(self, base: Base, *, warnings: Warnings, roster: Roster) -> None:
        self._read = base.read
        self._chains = base.chains
        self._branches = base.branches
        self._warnings = warnings
        self._roster = roster

    def is_asking(self, gid: bytes) -> bool:
        """Whether we are asking contacts about a conversation."""
        row = self._read.execute("SELECT 1 FROM comeback WHERE gid = ?", (gid,)).fetchone()
        return row is not None

    def send(
        self, unit: Unit, gid: bytes, helper: Peer, nonce: bytes, *, is_lost: bool = False
    ) -> None:
        """Ask a contact where a group is. We shall recognise the answer by the nonce."""
        votes = self._branches.all_votes(gid)[:ASKED_VOTES]
        epochs = some(self._roster.states(gid))
        asked = Ask(gid, nonce, epochs, is_lost, votes)
        self._chains.ask(unit, gid, helper, codec.encode(asked))

    def ask_again(self, unit: Unit, row: int, gid: bytes, identity: bytes) -> bool:
        """Seal a request for help under another label, because its label is taken. Returns False if
        that cannot help."""
        if self._roster.state(gid) is None:
            return False
        others = self._roster.others(self._roster.group(gid))
        helper = next((peer for peer in others if peer.identity == identity), None)
        return helper is not None and self._chains.ask_again(unit, row, helper)

    def is_known(self, gid: bytes, number: int | None, state: bytes | None) -> bool:
        """Whether we have been in the epoch and state in which somebody says that they are."""
        if number is None:
            return False
        if state is None:
            return self._roster.group(gid).view.epoch >= number
        return self._roster.state_of(gid, number) == state

    def settle(self, unit: Unit, gid: bytes) -> None:
        """End the asking, because nothing came of somebody's claim. If the group has parted, it
        goes on until the open questions are decided and a member who has lost has gone over."""
        if self._branches.has_lost(gid, now=unit.now) is False:
            unit.db.execute("DELETE FROM comeback WHERE gid = ? AND NOT is_lost", (gid,))

    def answered(self, unit: Unit, gid: bytes, helper: bytes, payload: bytes) -> None:
        """Take the answer of a contact."""
        row = unit.db.execute("SELECT is_lost, whom FROM comeback WHERE gid = ?", (gid,)).fetchone()
        if row is None:
            return
        try:
            answer = decode_answer(payload)
        except InvalidMessage as error:
            self._warnings.warn(unit, gid, error.code, "help could not be read")
            return
        if answer.file is not None:
            unit.db.execute(
                "UPDATE comeback SET ref = ?, told_at = ?, helper = ? WHERE gid = ?",
                (codec.encode(answer.file), unit.now, helper, gid),
            )
        elif row[1] == helper:
            self.settle(unit, gid)  # they know nothing that we do not

    def awaited(self) -> list[tuple[bytes, FileRef]]:
        """The (gid, file) pairs of the help that we are to fetch."""
        rows = self._read.all("SELECT gid, ref FROM comeback WHERE ref IS NOT NULL")
        return [(gid, decode_file_ref(ref)) for gid, ref in rows]
