"""Holding: our words rest only at our own home, and people of other regions fetch them.

If a person or their relay wants it, a word for somebody with a home or a fallback in another region
goes into a drop of our home relay. The recipient's bucket gets a notice that names the drop and the
key. It is a cell like any other, and contains nothing of the word (docs/protocol.md, section 8,
"Held words"). A new drop begins each day and with each epoch, so that no drop shows for long how
much two people have to say to each other.
"""

from __future__ import annotations

import secrets
from enum import StrEnum, unique
from typing import TYPE_CHECKING, NamedTuple

from amanat.errors import BadArgument, InvalidCell, InvalidMessage
from amanat.protocol import codec
from amanat.protocol.cells import LABEL_BYTES, OneTime, one_time, open_cell, seal
from amanat.protocol.drops import MESSAGE_RETENTION_DAYS, Drop, derive_drop
from amanat.protocol.kinds import CELL_KINDS, known_cell
from amanat.protocol.messages import CellKind, Epoch, Held

if TYPE_CHECKING:
    from collections.abc import Iterable

    from amanat.client.profile import Me
    from amanat.client.unit import Unit
    from amanat.client.vault import Vault

PATIENCE_MS = 10 * 60_000
"""How long we do not ask again for a word that waits to be fetched. Its sender's relay may be away,
and a second copy would rest there as well."""
MAX_AWAITED = 1_024
"""The most words of one device that may wait to be fetched: 14 days of a busy device whose relay is
away."""
_DAY_MS = 86_400_000


@unique
class Outbound(StrEnum):
    """The place where our words for people of other regions rest. The vault, a relay's settings and
    its descriptor use the same values."""

    DEPOSIT = "deposit"
    """At their homes."""
    HOLD = "hold"
    """At our home."""


DEPOSIT, HOLD = Outbound


@unique
class By(StrEnum):
    """The party that wants words held."""

    PERSON = "person"
    RELAY = "relay"
    NOBODY = ""


class InForce(NamedTuple):
    """The policy in force for our words for people of other regions, and the party that chose
    it."""

    policy: Outbound
    by: By


class Stored(NamedTuple):
    """A word for a drop of our home relay, and the notice for the people who are to fetch it.
    `is_new` says that the drop does not exist yet."""

    held: Held
    drop: Drop
    cell: bytes
    is_new: bool


class HeldDrop(NamedTuple):
    """A drop in which words wait to be fetched, at the relay with this key, and the seq up to which
    we have read it."""

    relay: bytes
    drop: Drop
    read: int


class Fetched(NamedTuple):
    """A word that was fetched. `signer` is empty if its notice was for all members of a large
    group."""

    gid: bytes
    signer: bytes
    kind: CellKind
    payload: bytes
    at: Epoch


class Holding:
    """The words that the owner of a vault holds for others, and those that others hold for the
    owner."""

    def __init__(self, vault: Vault, me: Me) -> None:
        self._vault = vault
        self._read = vault.read
        self._me = me

    # Our words

    def outbound(self) -> InForce:
        """The policy in force."""
        try:
            chosen = Outbound(self._vault.get("outbound").decode())
        except KeyError:
            chosen = DEPOSIT
        if chosen is HOLD:
            return InForce(HOLD, By.PERSON)
        return InForce(HOLD, By.RELAY) if self._me.home.holds else InForce(DEPOSIT, By.NOBODY)

    def choose(self, unit: Unit, policy: str) -> None:
        """Keep the policy that the person wants. Raises BadArgument."""
        if policy not in set(Outbound):
            raise BadArgument(f"what you say goes out as {DEPOSIT} or {HOLD}, not as {policy}")
        unit.put("outbound", policy.encode())

    def is_kept_from(self, regions: Iterable[str]) -> bool:
        """Whether we hold a word that would otherwise rest in these regions."""
        return set(regions) != {self._me.home.region} and self.outbound().policy is HOLD

    def store(self, unit: Unit, gid: bytes, epoch: int, kind: CellKind, payload: bytes) -> Stored:
        """Seal a word for today's drop of a conversation at our home."""
        home, day = self._me.home, unit.now // _DAY_MS
        row = unit.db.execute(
            "SELECT secret FROM holding WHERE gid = ? AND relay = ? AND epoch = ? AND day = ?",
            (gid, home.relay, epoch, day),
        ).fetchone()
        secret = row[0] if row else secrets.token_bytes(32)
        if row is None:
            unit.db.execute(
                "INSERT OR REPLACE INTO holding (gid, relay, epoch, day, secret)"
                " VALUES (?, ?, ?, ?, ?)",
                (gid, home.relay, epoch, day, secret),
            )
        held = Held(home.relay, home.region, secret, secrets.token_bytes(32), kind)
        drop = held_drop(held)
        cell = seal(_key(held, drop.drop_id), payload, region=held.region, drop_id=drop.drop_id)
        return Stored(held, drop, cell, is_new=row is None)

    # Others' words

    def expect(
        self,
        unit: Unit,
        gid: bytes,
        signer: bytes,
        data: bytes,
        relays: set[bytes],
        at: Epoch,
        *,
        is_past: bool,
    ) -> bool:
        """Keep a notice until its word is fetched. If it came by a chain that has ended (`is_past`)
        and is of a kind that does not count then, keep nothing and return False.

        Raises InvalidMessage for an invalid notice, and for one that would send us to a relay other
        than its sender's (`relays`, by their keys), because nobody else may choose the relays we
        contact.
        """
        held = codec.decode(_helds, data, InvalidMessage)
        kind = known_cell(held.kind)
        may_be_held = kind is not None and CELL_KINDS[kind].may_be_held
        if kind is None or not may_be_held or held.relay not in relays:
            raise InvalidMessage
        if is_past and not CELL_KINDS[kind].counts_late:
            return False
        (count,) = unit.db.execute(
            "SELECT count(*) FROM held WHERE gid = ? AND signer = ?", (gid, signer)
        ).fetchone()
        if count >= MAX_AWAITED:
            return True  # we ask its sender for it later, as for anything that did not arrive
        drop_id = held_drop(held).drop_id
        label = _key(held, drop_id).label
        unit.db.execute(
            "INSERT OR IGNORE INTO held (label, drop_id, gid, signer, number, state, ref,"
            " told_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (label, drop_id, gid, signer, at.number, at.state, data, unit.now),
        )
        early = unit.db.execute(
            "DELETE FROM held_early WHERE label = ? RETURNING seq", (label,)
        ).fetchone()
        if early is not None:  # it was read and not known yet: from there on once more
            unit.db.execute(
                "UPDATE held_read SET seq = min(seq, ?) WHERE drop_id = ?", (early[0] - 1, drop_id)
            )
        return True

    def places(self) -> list[bytes]:
        """The ids of the drops in which words wait."""
        return [row[0] for row in self._read.all("SELECT DISTINCT drop_id FROM held")]

    def place(self, drop_id: bytes) -> HeldDrop | None:
        """The drop with an id, if words wait in it."""
        row = self._read.execute(
            "SELECT ref, coalesce(seq, 0) FROM held LEFT JOIN held_read USING (drop_id)"
            " WHERE drop_id = ?",
            (drop_id,),
        ).fetchone()
        if row is None:
            return None
        held = codec.decode(_helds, row[0], InvalidMessage)
        return HeldDrop(held.relay, held_drop(held), row[1])

    def find(self, unit: Unit, place: HeldDrop, cells: list[bytes], first: int) -> list[Fetched]:
        """The awaited words among the cells of a drop from a seq on.

        We pass over a cell that does not open. The notice may have been wrong; we ask its sender
        then.
        """
        drop_id = place.drop.drop_id
        # A notice that arrived meanwhile may have moved our place back to before the first of
        # these.
        unit.db.execute(
            "INSERT INTO held_read VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET read_at = ?3,"
            " seq = CASE WHEN seq < ?4 - 1 THEN seq ELSE ?2 END",
            (drop_id, first + len(cells) - 1, unit.now, first),
        )
        found = []
        for seq, cell in enumerate(cells, first):
            row = unit.db.execute(
                "DELETE FROM held WHERE label = ? AND drop_id = ?"
                " RETURNING gid, signer, number, state, ref",
                (cell[:LABEL_BYTES], drop_id),
            ).fetchone()
            if row is None:
                unit.db.execute(
                    "INSERT OR IGNORE INTO held_early VALUES (?, ?, ?, ?)",
                    (cell[:LABEL_BYTES], drop_id, seq, unit.now),
                )
                continue
            gid, signer, number, state, ref = row
            held = codec.decode(_helds, ref, InvalidMessage)
            once = _key(held, drop_id)
            try:
                payload = open_cell(once, cell, region=held.region, drop_id=drop_id)
            except InvalidCell:
                continue
            at = Epoch(number, state)
            found.append(Fetched(gid, signer, CellKind(held.kind), payload, at))
        return found

    def is_awaited(self, gid: bytes, signer: bytes, *, now: int) -> bool:
        """Whether words of a device wait to be fetched and may still arrive in good time."""
        row = self._read.execute(
            "SELECT 1 FROM held WHERE gid = ? AND signer IN (?, x'') AND told_at > ?",
            (gid, signer, now - PATIENCE_MS),
        ).fetchone()
        return row is not None

    def note(self, unit: Unit, gid: bytes, identity: bytes, *, holds: bool) -> None:
        """Record a person's statement of whether they hold their words."""
        if holds:
            unit.db.execute("INSERT OR IGNORE INTO holder VALUES (?, ?)", (gid, identity))
        else:
            unit.db.execute("DELETE FROM holder WHERE gid = ? AND identity = ?", (gid, identity))

    def holders(self, gid: bytes) -> set[bytes]:
        """The identities of the people in a conversation who hold their words, by their last
        statements."""
        rows = self._read.execute("SELECT identity FROM holder WHERE gid = ?", (gid,)).fetchall()
        return {row[0] for row in rows}

    # Forgetting

    def expire(self, unit: Unit) -> None:
        """Forget words that no relay has any more."""
        before = unit.now - (MESSAGE_RETENTION_DAYS + 1) * _DAY_MS
        unit.db.execute("DELETE FROM held WHERE told_at < ?", (before,))
        for table in ("held_read", "held_early"):
            unit.db.execute(f"DELETE FROM {table} WHERE read_at < ?", (before,))  # noqa: S608

    def end(self, unit: Unit, gid: bytes) -> None:
        """Forget a conversation that we are no longer in."""
        for table in ("held", "holding", "holder"):
            unit.db.execute(f"DELETE FROM {table} WHERE gid = ?", (gid,))  # noqa: S608


_helds = codec.decoder_of(Held)


def held_drop(held: Held) -> Drop:
    """The drop in which a held word rests."""
    return derive_drop(held.drop, purpose=b"amanat held drop", region=held.region)


def _key(held: Held, drop_id: bytes) -> OneTime:
    """The label and key of its cell."""
    return one_time(held.key, region=held.region, drop_id=drop_id)
