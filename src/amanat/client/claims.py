"""Claims: whether another copy of this vault is in use. Only bytes that no one else could have made
tell us.

A relay or a member who says that we have sent more than we know of, or that a label of ours is
taken, may be lying. Two things cannot be made by others, because both need our delivery key, and
others never see either before we have made it:

- a *claim*, a cell in our own bucket under a label that only this device derives. Each claim has a
  number and fresh random bytes. A claim that opens and holds bytes other than ours, or that we have
  not made at all, was made by another copy of this vault;
- a *mark*, which goes with each of our envelopes and comes back with every receipt for it. A valid
  mark for an envelope that we have not sent shows that another copy has sent it.

A relay's or a member's word therefore only makes us ask: we claim again and read our bucket
(docs/decisions/0020).
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from amanat.client.rules.chains import CLAIMED_BEFORE, CLAIMS_AHEAD
from amanat.client.rules.outbox import Purpose
from amanat.protocol.drops import expand
from amanat.protocol.messages import MARK_BYTES

if TYPE_CHECKING:
    from amanat.client.profile import Me
    from amanat.client.rules.chains import Chains
    from amanat.client.unit import Unit
    from amanat.client.vault import Vault

CLAIM_EVERY_MS = 86_400_000
"""How often a vault that stays in its place claims, in milliseconds (a day). An older copy notices
the claims made after it."""
QUESTION_EVERY_MS = 3_600_000
"""How often somebody's word may make us claim, in milliseconds (an hour)."""
SUSPENSE_MS = 10_000
"""The longest that our envelopes wait for such a claim to come back, in milliseconds. A liar can
thus silence us for at most 10 seconds of an hour. An old copy that did not wait would use keys a
second time."""
_CLAIM_BYTES = 32
_READ_IN = "claim read in"
"""The key in `meta` for the drop in which a claim of ours was read last."""


class Claims:
    """The claims and marks of one vault."""

    def __init__(self, vault: Vault, chains: Chains, me: Me) -> None:
        self._vault = vault
        self._read = vault.read
        self._chains = chains
        self._me = me

    # Claims

    def begin(self, unit: Unit) -> None:
        """Claim if the vault has moved to another place, or a day has passed. Our envelopes wait
        until a relay has answered."""
        try:
            place, at = self._vault.get("place"), self._at("claimed")
        except KeyError:  # a new vault, which nobody can have copied yet
            place, at = self._vault.place, unit.now
            unit.put("place", place)
            self._put(unit, "claimed", unit.now)
        if place != self._vault.place or not 0 <= unit.now - at < CLAIM_EVERY_MS:
            unit.put("place", self._vault.place)
            self._claim(unit, Purpose.CLAIM)

    def renew(self, unit: Unit) -> None:
        """Claim again if that is due, without waiting for the answer."""
        if not 0 <= unit.now - self._at("claimed") < CLAIM_EVERY_MS:
            self._claim(unit, Purpose.QUESTION)

    def question(self, unit: Unit) -> bool:
        """Ask by a claim, but not too often, because somebody's word would mean that another copy
        of this vault is in use; returns whether we ask."""
        if 0 <= unit.now - self._at("asked") < QUESTION_EVERY_MS:
            return False
        self._put(unit, "asked", unit.now)
        self._claim(unit, Purpose.QUESTION)
        return True

    def _claim(self, unit: Unit, purpose: Purpose) -> None:
        number = self._chains.claimed() + 1
        unit.put("claims", number.to_bytes(8, "big"))
        self._put(unit, "claimed", unit.now)
        unit.db.execute("DELETE FROM known_claim WHERE number <= ?", (number - CLAIMS_AHEAD,))
        content = secrets.token_bytes(_CLAIM_BYTES)
        unit.db.execute("INSERT INTO known_claim VALUES (?, ?, 0)", (number, content))
        self._chains.claim(unit, number, content, purpose=purpose, due_at=unit.now)

    def refused(self, unit: Unit) -> None:
        """Hear from a relay that the label of a claim is taken. If so, we shall read the cell that
        took it; if not, we claim the next in an hour."""
        self._put(unit, "claimed", unit.now - CLAIM_EVERY_MS + QUESTION_EVERY_MS)

    def is_answered(self) -> bool:
        """Whether our last claim came back to us, so that we have read everything before it."""
        row = self._read.execute(
            "SELECT is_read FROM known_claim WHERE number = ?", (self._chains.claimed(),)
        ).fetchone()
        return row is None or row[0] == 1

    def read_of_before(self, unit: Unit, number: int, drop_id: bytes) -> bool:
        """Take a claim of the device before this one, read in a bucket of ours; returns whether it
        shows that the device still runs: it was put there after a claim of ours."""
        if number <= self._chains.claimed_before():
            return False  # read again
        unit.put(CLAIMED_BEFORE, number.to_bytes(8, "big"))
        self._chains.expect_claims()
        try:
            return self._vault.get(_READ_IN) == drop_id
        except KeyError:
            return False

    def read(self, unit: Unit, number: int, content: bytes, drop_id: bytes) -> bool:
        """Take a claim of this generation read in a bucket of ours, where nobody else can put one;
        returns whether it newly shows that another copy of this vault made it."""
        unit.put(_READ_IN, drop_id)
        row = unit.db.execute(
            "SELECT content FROM known_claim WHERE number = ?", (number,)
        ).fetchone()
        if row is not None and row[0] == content:
            unit.db.execute("UPDATE known_claim SET is_read = 1 WHERE number = ?", (number,))
            return False
        if row is None and number <= self._chains.claimed():
            return False  # of long ago: we have forgotten its content
        unit.db.execute("INSERT OR REPLACE INTO known_claim VALUES (?, ?, 1)", (number, content))
        if row is None:
            unit.put("claims", number.to_bytes(8, "big"))
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
        """The mark that goes with an envelope of ours and comes back with a receipt for it.
        `digest` is the beginning of the envelope's hash that a receipt names."""
        said = self._me.signer + gid + seq.to_bytes(8, "big") + digest
        return expand(self._me.delivery_key, b"amanat mark", said)[:MARK_BYTES]
