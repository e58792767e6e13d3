"""Epoch drops: which we read, where they are, and the pieces that we append to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amanat.client.pieces import (
    EpochDrop,
    epoch_drop,
    unpack_signers,
    without,
)
from amanat.client.rules.outbox import Purpose
from amanat.client.rules.roster import Group
from amanat.protocol import wire
from amanat.protocol.descriptor import RelayAddress
from amanat.protocol.drops import (
    HANDSHAKE_RETENTION_DAYS,
    Drop,
    token_hash,
)
from amanat.protocol.messages import (
    COMMIT_FRAGMENT,
)

if TYPE_CHECKING:
    from amanat.client.rules.base import Base
    from amanat.client.rules.roster import Roster
    from amanat.client.unit import Memory, Unit
    from amanat.protocol.messages import Fragment, FragmentKind


class Epochs:
    """The epoch drops of one vault."""

    def __init__(self, base: Base, *, roster: Roster) -> None:
        self._outbox = base.outbox
        self._cursors = base.cursors
        self._chains = base.chains
        self._engine = base.engine
        self._me = base.me
        self._read = base.read
        self._pieces = base.pieces
        self._roster = roster
        self._holed: Memory[tuple[bytes, int], None] = base.vault.memory()
        """The (gid, epoch) of drops with cells that had expired before we read them. The first
        Commit that we have read there may not have been the first."""

    def drop_epochs(self, unit: Unit, gid: bytes, *, before: int) -> None:
        """Stop reading the drops of the epochs before this one."""
        group = self._roster.known_group(gid)
        rows = unit.db.execute(
            "SELECT secret, region FROM epoch_drop WHERE gid = ? AND epoch < ?", (gid, before)
        ).fetchall()
        for secret, region in rows:
            rests = region or (group.policy.region if group else "")
            drop_id = epoch_drop(secret, rests).drop_id
            self._cursors.drop_cursor(unit, drop_id)
            self._pieces.forget(unit, drop_id)
        unit.db.execute("DELETE FROM epoch_drop WHERE gid = ? AND epoch < ?", (gid, before))

    def epoch_drops(self, gid: bytes) -> list[tuple[int, Drop]]:
        """The (epoch, drop) pairs that we still read, the oldest first."""
        now = self._roster.group(gid).policy.region
        rows = self._read.execute(
            "SELECT epoch, secret, region FROM epoch_drop WHERE gid = ? ORDER BY epoch", (gid,)
        ).fetchall()
        return [(epoch, epoch_drop(secret, region or now)) for epoch, secret, region in rows]

    def epoch_relay(self, gid: bytes, epoch: int) -> bytes:
        """The key of the relay of an epoch's drop. A Commit may have moved later drops to another
        relay."""
        row = self._read.execute(
            "SELECT relay FROM epoch_drop WHERE gid = ? AND epoch = ?", (gid, epoch)
        ).fetchone()
        return (row and row[0]) or self._roster.group(gid).policy.relay.key

    def make_epoch_drop(self, unit: Unit, gid: bytes, group: Group, *, after_ms: int = 0) -> None:
        """Ask the relay to make the current epoch's drop, once, if we have access there."""
        secret, made = unit.db.execute(
            "SELECT secret, made FROM epoch_drop WHERE gid = ? AND epoch = ?",
            (gid, group.view.epoch),
        ).fetchone()
        if made or not self._access(group.policy.relay.key):
            return
        self.queue_create(
            unit,
            group.policy.relay,
            epoch_drop(secret, group.policy.region),
            HANDSHAKE_RETENTION_DAYS,
            about=gid,
            after_ms=after_ms,
        )
        unit.db.execute(
            "UPDATE epoch_drop SET made = 1 WHERE gid = ? AND epoch = ?", (gid, group.view.epoch)
        )

    def make_for_others(self, unit: Unit, gid: bytes, group: Group) -> None:
        """Make the drop that members of other relays may need and cannot make themselves."""
        if any(p.leaf.addresses[0].relay != group.policy.relay for p in group.people):
            self.make_epoch_drop(unit, gid, group)

    def has_access(self, unit: Unit) -> None:
        """Make the epoch drops at a relay to which we now have access, because perhaps nobody else
        can."""
        for (gid,) in unit.db.execute("SELECT gid FROM conversation").fetchall():
            if self._roster.is_followed(gid):
                self.make_for_others(unit, gid, self._roster.group(gid))

    def drop_ended(self, unit: Unit, gid: bytes, append: bytes) -> None:
        """Make the drop of an append again if the relay no longer has it, it is the epoch's, and we
        had made it."""
        request = wire.decode_request(append)
        if not self._roster.is_followed(gid) or not isinstance(request, wire.Append):
            return
        epoch, drop = self.epoch_drops(gid)[-1]
        if drop.drop_id == request.drop_id:
            unit.db.execute(
                "UPDATE epoch_drop SET made = 0 WHERE gid = ? AND epoch = ?", (gid, epoch)
            )
            self.make_epoch_drop(unit, gid, self._roster.group(gid))

    def _access(self, relay: bytes) -> bytes:
        row = self._read.execute(
            "SELECT bucket_key FROM relay WHERE relay = ?", (relay,)
        ).fetchone()
        return row[0] if row else b""

    def create(self, relay: bytes, drop: Drop, days: int) -> wire.Create:
        """The request that a relay make a drop."""
        return wire.Create(
            0,
            self._access(relay),
            drop.drop_id,
            token_hash(drop.drop_id, drop.append_token),
            token_hash(drop.drop_id, drop.read_token),
            days,
        )

    def queue_create(
        self,
        unit: Unit,
        relay: RelayAddress,
        drop: Drop,
        days: int,
        *,
        about: bytes | None,
        after_ms: int = 0,
    ) -> None:
        """Ask a relay to make a drop. `about` is its name in the outbox."""
        request = self.create(relay.key, drop, days)
        self._outbox.queue(
            unit, relay, request, purpose=Purpose.CREATE, about=about, due_at=unit.now + after_ms
        )

    def append_to_epoch(
        self,
        unit: Unit,
        gid: bytes,
        group: Group,
        kind: FragmentKind,
        data: bytes,
        *,
        of: str = "attempt",
        after_ms: int = 0,
    ) -> None:
        """Append a Commit or a message to the drop of our epoch. `of` is the table of the Commit:
        our own attempts, or those that we were handed."""
        self.make_epoch_drop(unit, gid, group, after_ms=after_ms)
        place = self.epoch_place(gid, group.view.epoch)
        whole, missing = self.append_to(
            unit,
            place,
            group.policy.relay,
            kind,
            data,
            leaf=group.view.own_leaf,
            is_handed=of == "handed",
            after_ms=after_ms,
        )
        if kind == COMMIT_FRAGMENT:
            unit.db.execute(
                f"UPDATE {of} SET whole = ?, missing = ? WHERE gid = ? AND epoch = ?",  # noqa: S608
                (whole, missing, gid, place.epoch),
            )

    def append_to(
        self,
        unit: Unit,
        place: EpochDrop,
        relay: RelayAddress,
        kind: FragmentKind,
        data: bytes,
        *,
        leaf: int,
        is_handed: bool = False,
        after_ms: int = 0,
    ) -> tuple[bytes, bytes]:
        """Append a Commit or a message, as the holder of a leaf, to an epoch drop. Returns the id
        that its pieces share, and the indexes of the pieces that the drop has yet to show."""
        purpose: Purpose = Purpose.CELL
        if kind == COMMIT_FRAGMENT:
            purpose = Purpose.HANDED if is_handed else Purpose.COMMIT
        cells, whole = place.cut(
            kind, data, leaf=leaf, sign=lambda text: self._engine.sign(self._me.signer, text)
        )
        for cell in cells:
            self._outbox.queue(
                unit,
                relay,
                wire.Append(0, place.drop.drop_id, place.drop.append_token, cell),
                purpose=purpose,
                about=place.gid,
                due_at=unit.now + after_ms,
            )
        return whole, bytes(range(len(cells)))

    def epoch_place(self, gid: bytes, epoch: int) -> EpochDrop:
        """The drop of an epoch that we still read. Raises KeyError if we no longer do."""
        row = self._read.execute(
            "SELECT secret, region, signers FROM epoch_drop WHERE gid = ? AND epoch = ?",
            (gid, epoch),
        ).fetchone()
        if row is None:
            raise KeyError(epoch)
        secret, region, signers = row
        group = self._roster.group(gid)
        who = (
            {person.leaf_index: person.signer for person in group.people}
            if epoch == group.view.epoch
            else unpack_signers(signers)
        )
        return EpochDrop(gid, epoch, secret, region or group.policy.region, who)

    def epoch_places(self, gid: bytes) -> list[EpochDrop]:
        """The epoch drops of a conversation that we still read; none if we have left it."""
        if self._roster.state(gid) is None:
            return []
        return [self.epoch_place(gid, epoch) for epoch, _ in self.epoch_drops(gid)]

    def was_shown(self, unit: Unit, gid: bytes, piece: Fragment) -> None:
        """Record that the drop has shown a piece, which may belong to a Commit that we have put
        there."""
        for table in ("attempt", "handed"):
            row = unit.db.execute(
                f"SELECT epoch, missing FROM {table} WHERE gid = ? AND whole = ?",  # noqa: S608
                (gid, piece.whole),
            ).fetchone()
            if row is not None:
                unit.db.execute(
                    f"UPDATE {table} SET missing = ? WHERE gid = ? AND epoch = ?",  # noqa: S608
                    (without(row[1], piece.index), gid, row[0]),
                )

    def has_hole(self, gid: bytes, epoch: int) -> None:
        """Record that cells of an epoch's drop had expired before we read them."""
        self._holed[gid, epoch] = None

    def is_holed(self, gid: bytes, epoch: int) -> bool:
        """Whether the first Commit that we have read in an epoch's drop may not have been the
        first."""
        return (gid, epoch) in self._holed

    def start_over(self, unit: Unit, drop_id: bytes) -> None:
        """Read a drop from its first cell again."""
        self._chains.start_over(unit, drop_id)
        self._pieces.forget(unit, drop_id)

    def epoch_secret(self, unit: Unit, gid: bytes) -> bytes:
        """The secret of the current epoch's drop. Also asks the relay to make the drop."""
        group = self._roster.group(gid)
        self.make_epoch_drop(unit, gid, group)
        (secret,) = unit.db.execute(
            "SELECT secret FROM epoch_drop WHERE gid = ? AND epoch = ?", (gid, group.view.epoch)
        ).fetchone()
        return bytes(secret)
