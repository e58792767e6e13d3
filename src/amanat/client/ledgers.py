"""Ledgers: where our relays' ledgers stood when we last looked, and whether they go on from there.

A relay signs checkpoints of its ledger (docs/protocol.md, section 17). Each checkpoint that we see
must be that of a longer ledger that begins with the whole of the one before; tiles show this. We
keep a contradicting checkpoint beside the first one. The two, both signed, prove that the relay has
rewritten its ledger or was put back to an older disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from amanat.errors import BrokenLedger
from amanat.protocol.ledger import origin
from amanat.protocol.tlog import Checkpoint, Tile, goes_on, open_checkpoint, wanted_tiles

if TYPE_CHECKING:
    from collections.abc import Mapping

    from amanat.client.unit import Unit
    from amanat.client.vault import Vault


class _Kept(NamedTuple):
    checkpoint: bytes
    contradiction: bytes | None


class Ledgers:
    """The newest checkpoint of each relay that we use."""

    def __init__(self, vault: Vault) -> None:
        self._read = vault.read

    def wanted(self, relay: bytes, note: bytes) -> list[Tile]:
        """The tiles by which `take` judges the checkpoint that a relay, named by its key, has
        signed now."""
        kept = self._kept(relay)
        if kept is None or not note:
            return []
        try:
            return wanted_tiles(_open(relay, kept.checkpoint), _open(relay, note))
        except BrokenLedger:
            return []

    def take(self, unit: Unit, relay: bytes, note: bytes, tiles: Mapping[Tile, bytes]) -> bool:
        """Keep the checkpoint that a relay has signed now. Returns False if it contradicts the one
        before, for the first time.

        `note` is empty if the relay shows none; a relay that never did keeps no ledger. `tiles` are
        the wanted tiles; one that the relay did not give shows nothing.
        """
        kept = self._kept(relay)
        if kept is None and not note:
            return True
        if _goes_on(relay, kept, note, tiles):
            unit.db.execute(
                "INSERT INTO ledger (relay, checkpoint) VALUES (?1, ?2)"
                " ON CONFLICT (relay) DO UPDATE SET checkpoint = ?2",
                (relay, note),
            )
            return True
        if kept is not None and kept.contradiction is not None:
            return True
        unit.db.execute(
            "INSERT INTO ledger (relay, checkpoint, contradiction) VALUES (?1, x'', ?2)"
            " ON CONFLICT (relay) DO UPDATE SET contradiction = ?2",
            (relay, note),
        )
        return False

    def _kept(self, relay: bytes) -> _Kept | None:
        row = self._read.execute(
            "SELECT checkpoint, contradiction FROM ledger WHERE relay = ?", (relay,)
        ).fetchone()
        return _Kept(*row) if row else None


def _open(relay: bytes, note: bytes) -> Checkpoint:
    return open_checkpoint(note, origin(relay), relay)


def _goes_on(relay: bytes, kept: _Kept | None, note: bytes, tiles: Mapping[Tile, bytes]) -> bool:
    try:
        new = _open(relay, note)
        if kept is None or not kept.checkpoint:
            return True
        return goes_on(_open(relay, kept.checkpoint), new, tiles)
    except BrokenLedger:
        return False
