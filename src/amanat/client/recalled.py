"""Recalled groups: groups of a restored profile as they were last known.

A backup holds no MLS state (docs/decisions/0047). Until a restored profile has joined a group
again, it knows of it what every member knows without a secret: the members, the policy, and the
epoch. A group that the person had left stays recalled for good.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from amanat import mls
from amanat.errors import VaultDamaged
from amanat.protocol import backup, codec

if TYPE_CHECKING:
    from amanat.client.unit import Reader, Unit

_NO_LEAF = 2**32 - 1
"""The leaf of somebody who is no member."""


class Leaves(codec.Record, frozen=True):
    """The leaves of a group."""

    leaves: backup.Leaves


class Known(NamedTuple):
    """A group as it was last known."""

    view: mls.GroupView
    members: tuple[mls.Member, ...]


class Recalled:
    """The recalled groups of one vault."""

    def __init__(self, read: Reader, signer: bytes) -> None:
        self._read = read
        self._signer = signer

    def has(self, gid: bytes) -> bool:
        """Whether a group is only recalled."""
        row = self._read.execute("SELECT 1 FROM recalled WHERE gid = ?", (gid,)).fetchone()
        return row is not None

    def group(self, gid: bytes) -> Known | None:
        """A group as it was last known; None if the engine has it."""
        row = self._read.execute(
            "SELECT suite, epoch, state, policy, members FROM recalled WHERE gid = ?", (gid,)
        ).fetchone()
        if row is None:
            return None
        suite, epoch, state, policy, packed = row
        leaves = codec.decode(_leaves, packed, VaultDamaged).leaves
        members = tuple(mls.Member(*leaf) for leaf in leaves)
        own = next((one.leaf_index for one in members if one.signer == self._signer), _NO_LEAF)
        view = mls.GroupView(epoch, suite, own, policy, b"", None, False, state)
        return Known(view, members)

    @staticmethod
    def keep(unit: Unit, one: backup.Conversation) -> None:
        """Keep the group of a conversation, which the engine does not have."""
        leaves = codec.encode(Leaves(one.members))
        unit.db.execute(
            "INSERT OR REPLACE INTO recalled VALUES (?, ?, ?, ?, ?, ?)",
            (one.group, one.suite, one.epoch, one.group_state, one.policy, leaves),
        )

    @staticmethod
    def forget(unit: Unit, gid: bytes) -> None:
        """Forget a group, which the engine has from now on."""
        unit.db.execute("DELETE FROM recalled WHERE gid = ?", (gid,))


_leaves = codec.decoder_of(Leaves)
