"""Moves: the moves that our relays have announced, and the orders by which drops of relays have
moved."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from amanat.protocol.descriptor import MoveNotice, RelayAddress
from amanat.protocol.moving import open_order

if TYPE_CHECKING:
    from amanat.client.unit import Unit
    from amanat.client.vault import Vault

DAY_MS = 86_400_000


class Destination(NamedTuple):
    """The relay and region to which the drops of a relay have moved, or may have."""

    relay: RelayAddress
    region: str


class Moves:
    """The moves of relays that the owner of a vault has heard of."""

    def __init__(self, vault: Vault) -> None:
        self._read = vault.read

    def learn(self, unit: Unit, relay: bytes, order: bytes) -> None:
        """Keep the signed order by which drops of a relay have moved."""
        unit.db.execute(
            "INSERT INTO relay_move (relay, signed) VALUES (?, ?)"
            " ON CONFLICT DO UPDATE SET signed = excluded.signed",
            (relay, order),
        )

    def hear(self, unit: Unit, relay: bytes, notice: MoveNotice | None) -> bool:
        """Take the move notice of a relay of ours, or that it has none; returns whether a move is
        news."""
        told = None if notice is None else msgspec.json.encode(notice)
        changed = unit.db.execute(
            "INSERT INTO relay_move (relay, notice) VALUES (?, ?) ON CONFLICT DO UPDATE SET"
            " notice = excluded.notice WHERE notice IS NOT excluded.notice RETURNING 1",
            (relay, told),
        ).fetchone()
        return notice is not None and changed is not None

    def notices(self) -> dict[bytes, MoveNotice]:
        """The move notices, by relay."""
        rows = self._read.execute(
            "SELECT relay, notice FROM relay_move WHERE notice IS NOT NULL ORDER BY relay"
        ).fetchall()
        return {relay: msgspec.json.decode(notice, type=MoveNotice) for relay, notice in rows}

    def destinations(self, *, now: int) -> dict[bytes, Destination]:
        """By relay key: the destination to ask if the relay cannot be asked any more, from the
        order that it has shown or from a notice whose day has come."""
        found = {
            relay: Destination(notice.to, notice.region)
            for relay, notice in self.notices().items()
            if now >= notice.on * DAY_MS
        }
        rows = self._read.execute(
            "SELECT relay, signed FROM relay_move WHERE signed IS NOT NULL"
        ).fetchall()
        for relay, signed in rows:
            order = open_order(signed)
            found[relay] = Destination(order.to, order.region)
        return found
