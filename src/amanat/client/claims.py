"""Whether another copy of this vault is in use: told only by what no one else could have made.

Whoever says that we have said more than we know of, or that a label of ours is taken, may be lying.
Two things cannot be made by others, for both need our delivery key, and neither is ever shown to
them before we have made it:

- a *claim*, a cell in our own bucket under a label that only this device derives. Each count is
  claimed with bytes drawn anew. A claim that opens and holds other bytes than we have put into it,
  or that we have not made at all, was made by another copy of this vault;
- a *mark*, which goes with each of our envelopes and comes back with every receipt for it. A mark
  that is right for an envelope we have not said is one of an envelope that another copy has said.

So a relay's or a member's word makes us ask, which is to claim once more and to read our bucket,
and nothing else (docs/decisions/0020).
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from amanat.client.rules.chains import CLAIMS_AHEAD
from amanat.client.rules.outbox import Purpose
from amanat.protocol.drops import expand
from amanat.protocol.messages import MARK_BYTES

if TYPE_CHECKING:
    from amanat.client.profile import Me
    from amanat.client.rules.chains import Chains
    from amanat.client.unit import Unit
    from amanat.client.vault import Vault

CLAIM_EVERY_MS = 86_400_000
"""How often a vault that stays in its place claims, in milliseconds (a day): an older copy is
noticed by the claims that came after it was made."""
QUESTION_EVERY_MS = 3_600_000
"""How often what somebody says may make us claim, in milliseconds (an hour)."""
SUSPENSE_MS = 10_000
"""Longest that what we say waits for such a claim to come back, in milliseconds: so a liar keeps us
silent for 10 seconds of an hour at most. An old copy that went on would use keys a second time."""
_CLAIM_BYTES = 32


class Claims:
    """The claims and marks of one vault."""

    def __init__(self, vault: Vault, chains: Chains, me: Me) -> None:
        self._vault = vault
        self._read = vault.read
        self._chains = chains
        self._me = me

    # Claims

    def begin(self, unit: Unit) -> None:
        """Claim where the vault has come to another place, or a day has passed. What we say
        waits until a relay has answered."""
        try:
            place, at = self._vault.get("place"), self._at("claimed")
        except KeyError:  # new: nobody can have copied it yet
            place, at = self._vault.place, unit.now
            unit.put("place", place)
            self._put(unit, "claimed", unit.now)
        if place != self._vault.place or not 0 <= unit.now - at < CLAIM_EVERY_MS:
            unit.put("place", self._vault.place)
            self._claim(unit, Purpose.CLAIM)

    def renew(self, unit: Unit) -> None:
        """Claim once more if that is due, and wait for nothing."""
        if not 0 <= unit.now - self._at("claimed") < CLAIM_EVERY_MS:
            self._claim(unit, Purpose.QUESTION)

    def question(self, unit: Unit) -> bool:
        """Somebody says what would mean that another copy of this vault is in use: ask, not too
        often. Whether we do."""
        if 0 <= unit.now - self._at("asked") < QUESTION_EVERY_MS:
            return False
        self._put(unit, "asked", unit.now)
        self._claim(unit, Purpose.QUESTION)
        return True

    def _claim(self, unit: Unit, purpose: Purpose) -> None:
        number = self._chains.claimed() + 1
        unit.put("generation", number.to_bytes(8, "big"))
        self._put(unit, "claimed", unit.now)
        unit.db.execute("DELETE FROM known_claim WHERE number <= ?", (number - CLAIMS_AHEAD,))
        content = secrets.token_bytes(_CLAIM_BYTES)
        unit.db.execute("INSERT INTO known_claim VALUES (?, ?, 0)", (number, content))
        self._chains.claim(unit, number, content, purpose=purpose, due_at=unit.now)

    def refused(self, unit: Unit) -> None:
        """A relay says that the label of a claim is taken. If it is, we shall read what took it;
        if not, claim the next in an hour."""
        self._put(unit, "claimed", unit.now - CLAIM_EVERY_MS + QUESTION_EVERY_MS)

    def is_answered(self) -> bool:
        """Whether our last claim came back to us: then all that came before it was read."""
        row = self._read.execute(
            "SELECT is_read FROM known_claim WHERE number = ?", (self._chains.claimed(),)
        ).fetchone()
        return row is None or row[0] == 1

    def read(self, unit: Unit, number: int, content: bytes) -> bool:
        """A claim was read in a bucket of ours, where nobody else can put one. Whether another
        copy of this vault has made it, which was not known."""
        row = unit.db.execute(
            "SELECT content FROM known_claim WHERE number = ?", (number,)
        ).fetchone()
        if row is not None and row[0] == content:
            unit.db.execute("UPDATE known_claim SET is_read = 1 WHERE number = ?", (number,))
            return False
        if row is None and number <= self._chains.claimed():
            return False  # of long ago: what we put into it is forgotten
        unit.db.execute("INSERT OR REPLACE INTO known_claim VALUES (?, ?, 1)", (number, content))
        if row is None:
            unit.put("generation", number.to_bytes(8, "big"))
            self._chains.expect_claims()
        return True

    def _at(self, key: str) -> int:
        try:
            return int.from_bytes(self._vault.get(key), "big")
        except KeyError:
            return 0

    def _put(self, unit: Unit, key: str, at: int) -> None:
        unit.put(key, max(at, 0).to_bytes(8, "big"))

    # Marks

    def mark(self, gid: bytes, seq: int, digest: bytes) -> bytes:
        """What goes with an envelope of ours, and comes back with a receipt for it: `digest` is the
        beginning of the envelope's hash that a receipt names."""
        said = self._me.signer + gid + seq.to_bytes(8, "big") + digest
        return expand(self._me.delivery_key, b"amanat mark", said)[:MARK_BYTES]
