"""Lineage: the proof of how a group came to its present state (docs/protocol.md, section 9,
"Lineage").

For each group a member keeps a *base*, the GroupInfo and tree of some epoch, and every Commit
since. From these the client can rebuild the group's public state in any recent epoch in memory. We
can thus show a member who comes back each Commit that they have missed, and a member who hears of
another branch can judge it from the point where the two parted. All Commits are judged by the one
set of rules (rights.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from amanat import mls
from amanat.client import rights
from amanat.errors import PeerError
from amanat.protocol.messages import decode_policy

if TYPE_CHECKING:
    from amanat.client.recalled import Recalled
    from amanat.client.unit import Unit
    from amanat.client.vault import Vault

KEPT_COMMITS = 64
"""The number of Commits after which we keep a new base. We keep two bases, so a lineage reaches
back 64 to 128 Commits: a month in a group of 20 who refresh their keys every week."""
KEPT_BYTES = 2 * 1024 * 1024
"""The bytes of Commits after which we keep a new base. A Commit of a large group has 300 KB."""
KEPT_BASES = 2


class Step(NamedTuple):
    """The Commit that ended an epoch."""

    commit: bytes
    is_read: bool
    """Whether we have read it in the epoch's drop as the first rightful one. If not, somebody has
    handed it to us."""


class Lineages:
    """The lineages of the groups of one vault."""

    def __init__(self, vault: Vault, engine: mls.Engine, recalled: Recalled) -> None:
        self._read = vault.read
        self._engine = engine
        self._recalled = recalled

    # Keeping

    def goes_on(self, unit: Unit, gid: bytes, epoch: int, commit: bytes, *, is_read: bool) -> None:
        """Keep the Commit that ends an epoch, in place of any that we had, and forget everything
        later."""
        self._forget_from(unit, gid, epoch)
        unit.db.execute("INSERT INTO step VALUES (?, ?, ?, ?)", (gid, epoch, commit, is_read))

    def _forget_from(self, unit: Unit, gid: bytes, epoch: int) -> None:
        unit.db.execute("DELETE FROM step WHERE gid = ? AND epoch >= ?", (gid, epoch))
        unit.db.execute("DELETE FROM base WHERE gid = ? AND epoch > ?", (gid, epoch))

    def was_read(self, unit: Unit, gid: bytes, epoch: int) -> None:
        """Record that the Commit that ended an epoch was the first rightful one in its drop."""
        unit.db.execute("UPDATE step SET is_read = 1 WHERE gid = ? AND epoch = ?", (gid, epoch))

    def entered(self, unit: Unit, gid: bytes) -> None:
        """Note that we have entered a new epoch as a member, and keep a base now and then."""
        (base,) = unit.db.execute("SELECT max(epoch) FROM base WHERE gid = ?", (gid,)).fetchone()
        count, size = unit.db.execute(
            "SELECT count(*), coalesce(sum(length(data)), 0) FROM step"
            " WHERE gid = ? AND epoch >= ?",
            (gid, base or 0),
        ).fetchone()
        if base is None or count >= KEPT_COMMITS or size >= KEPT_BYTES:
            epoch = self._engine.group(gid).epoch
            self.begin(
                unit, gid, epoch, self._engine.group_info(gid), self._engine.export_tree(gid)
            )

    def begin(self, unit: Unit, gid: bytes, epoch: int, group_info: bytes, tree: bytes) -> None:
        """Keep a base, and forget everything before the previous one."""
        unit.db.execute(
            "INSERT OR REPLACE INTO base VALUES (?, ?, ?, ?)", (gid, epoch, group_info, tree)
        )
        oldest = unit.db.execute(
            "SELECT epoch FROM base WHERE gid = ? ORDER BY epoch DESC LIMIT 1 OFFSET ?",
            (gid, KEPT_BASES - 1),
        ).fetchone()
        if oldest is not None:
            for table in ("base", "step"):
                unit.db.execute(
                    f"DELETE FROM {table} WHERE gid = ? AND epoch < ?",  # noqa: S608
                    (gid, oldest[0]),
                )

    def forget(self, unit: Unit, gid: bytes) -> None:
        """Forget the whole lineage of a group."""
        for table in ("base", "step"):
            unit.db.execute(f"DELETE FROM {table} WHERE gid = ?", (gid,))  # noqa: S608

    # Looking

    def oldest(self, gid: bytes) -> int:
        """The earliest epoch that we can rebuild."""
        (epoch,) = self._read.execute(
            "SELECT min(epoch) FROM base WHERE gid = ?", (gid,)
        ).fetchone()
        return epoch or 0

    def step(self, gid: bytes, epoch: int) -> Step | None:
        """The Commit that ended an epoch, if we keep it."""
        row = self._read.execute(
            "SELECT data, is_read FROM step WHERE gid = ? AND epoch = ?", (gid, epoch)
        ).fetchone()
        return Step(row[0], bool(row[1])) if row else None

    def since(self, gid: bytes, epoch: int, *, upto: int) -> list[bytes] | None:
        """The Commits from the one that ended `epoch` to the one that began `upto`, if we keep all
        of them."""
        rows = self._read.execute(
            "SELECT data FROM step WHERE gid = ? AND epoch >= ? AND epoch < ? ORDER BY epoch",
            (gid, epoch, upto),
        ).fetchall()
        return [row[0] for row in rows] if len(rows) == upto - epoch else None

    def at(self, gid: bytes, epoch: int) -> mls.Lineage | None:
        """The group as it was in an epoch that we were in, if we can still rebuild it."""
        if not self._recalled.has(gid) and self._engine.group(gid).epoch == epoch:
            return self._engine.lineage(gid)
        base = self._read.execute(
            "SELECT epoch, info, tree FROM base WHERE gid = ? AND epoch <= ?"
            " ORDER BY epoch DESC LIMIT 1",
            (gid, epoch),
        ).fetchone()
        commits = self.since(gid, base[0], upto=epoch) if base else None
        if commits is None:
            return None
        lineage, _ = mls.Lineage.begin(base[1], base[2])
        for commit in commits:
            lineage.read(commit)
            lineage.accept()
        return lineage


def judge(lineage: mls.Lineage, commit: bytes) -> mls.ReadCommit:
    """The effects of a Commit that goes on from here, if its committer may make it. Changes nothing
    itself.

    Raises InvalidCommit or InvalidMessage.
    """
    view = lineage.view()
    read = lineage.read(commit)
    rights.judge(
        decode_policy(view.policy),
        rights.read_members(view.members),
        read,
        group=view.gid,
        most=rights.most_leaves(view.suite),
    )
    return read


def is_rightful(lineage: mls.Lineage, commit: bytes) -> bool:
    """Whether a Commit goes on from here and its committer may make it."""
    try:
        judge(lineage, commit)
    except PeerError:
        return False
    return True
