"""Whereabouts: where we are reached, who knows it, and which buckets are read until all do.

An exit needs nothing of the relay that is left: everybody is told inside the conversations, by way
of their own relays (docs/protocol.md, section 8, "Another address"). Until somebody has been seen
to know, by a receipt or by a cell of theirs in a bucket that only the new address names, the old
buckets are read for them, and they are told again with each heartbeat.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from amanat.protocol import codec
from amanat.protocol.drops import DROP_ID_BYTES, MESSAGE_RETENTION_DAYS
from amanat.protocol.messages import NewAddresses

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from amanat.client.profile import Home, Me
    from amanat.client.unit import Unit
    from amanat.client.vault import Vault

DAY_MS = 86_400_000
FORMER_MS = (MESSAGE_RETENTION_DAYS * DAY_MS, 90 * DAY_MS)
"""How long the bucket of a home that was left is read, in milliseconds: at least as long as a cell
rests in it, and at most 90 days, however many have not been heard of since (whoever was away for so
long holds no KeyPackage and no epoch of ours that is still good)."""

TELL_EVERY_MS = 3_600_000
"""How often everybody is told that a relay of ours is elsewhere, in milliseconds: one that says so
all the time is not to have us write to everybody all the time."""

_NEVER = 2**53
"""No envelope has this number."""


class Whereabouts:
    """Where the owner of a vault is reached, and who knows."""

    def __init__(self, vault: Vault, me: Me) -> None:
        self._vault = vault
        self._read = vault.read
        self._me = me

    # Telling

    def move(self, unit: Unit, left: Sequence[Home], fresh: Iterable[Home]) -> None:
        """We are reached elsewhere from now on. `left` are the homes that are none any more,
        `fresh` those that only the new address names."""
        for home in left:
            unit.db.execute(
                "INSERT OR REPLACE INTO former"
                " (drop_id, append_token, read_token, relay, region, left_at)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (*home.bucket, home.relay, home.region, unit.now),
            )
        for home in self._me.homes:
            unit.db.execute("DELETE FROM former WHERE drop_id = ?", (home.bucket.drop_id,))
        self.say_anew(unit)
        unit.put("fresh", b"".join(home.bucket.drop_id for home in fresh))

    def say_anew(self, unit: Unit) -> None:
        """What is told says something else from now on, be it only where our relays are."""
        # Above any that an older copy of this vault can have told, if the clock is right.
        version = max(self._number("addresses version") + 1, unit.now)
        unit.put("addresses version", version.to_bytes(8, "big"))

    def may_say_anew(self, *, now: int) -> bool:
        """Whether it is long enough ago, or ahead of the clock, that everybody was told."""
        return not 0 <= now - self._number("addresses version") < TELL_EVERY_MS

    def promised(self, unit: Unit, homes: Iterable[Home]) -> None:
        """Open invites and knocks name these homes of ours, before they change."""
        drops = b"".join(home.bucket.drop_id for home in homes)
        unit.db.execute("UPDATE invite SET drops = ? WHERE drops = x''", (drops,))
        unit.db.execute("UPDATE knock SET drops = ? WHERE drops = x''", (drops,))

    def word(self) -> bytes | None:
        """What is told: the body of an envelope; None if we have never moved."""
        version = self._number("addresses version")
        return codec.encode(NewAddresses(version, self._me.addresses)) if version else None

    def _number(self, key: str) -> int:
        try:
            return int.from_bytes(self._vault.get(key), "big")
        except KeyError:
            return 0

    def told(self, unit: Unit, gid: bytes, identities: Iterable[bytes], seq: int) -> None:
        """An envelope of ours tells these people."""
        for identity in identities:
            unit.db.execute("INSERT OR REPLACE INTO telling VALUES (?, ?, ?)", (gid, identity, seq))

    def forget_told(self, unit: Unit, gid: bytes) -> None:
        """Our count in a conversation begins anew: nobody can confirm what told them before.
        They are told again."""
        unit.db.execute("UPDATE telling SET seq = ? WHERE gid = ?", (_NEVER, gid))

    def is_telling(self, gid: bytes) -> bool:
        """Whether somebody in a conversation may not know yet."""
        row = self._read.execute("SELECT 1 FROM telling WHERE gid = ?", (gid,)).fetchone()
        return row is not None

    def keep(self, unit: Unit, gid: bytes, identities: Iterable[bytes]) -> None:
        """Only these people are in a conversation now."""
        here = set(identities)
        for (identity,) in unit.db.execute(
            "SELECT identity FROM telling WHERE gid = ?", (gid,)
        ).fetchall():
            if identity not in here:
                unit.db.execute(
                    "DELETE FROM telling WHERE gid = ? AND identity = ?", (gid, identity)
                )

    # Knowing

    def confirmed(self, unit: Unit, gid: bytes, identity: bytes, seq: int) -> None:
        """Somebody has everything of ours in a conversation up to `seq`."""
        if unit.db.execute(
            "SELECT 1 FROM telling WHERE gid = ? AND identity = ? AND seq <= ?",
            (gid, identity, seq),
        ).fetchone():
            self._knows(unit, identity)

    def came(self, unit: Unit, gid: bytes, identity: bytes, drop_id: bytes) -> None:
        """A cell of somebody came into one of our buckets."""
        if not unit.db.execute("SELECT 1 FROM telling WHERE identity = ?", (identity,)).fetchone():
            return
        try:
            fresh = self._vault.get("fresh")
        except KeyError:
            return
        if drop_id in _split(fresh):
            self._knows(unit, identity)
        else:  # they may have been told too long ago for it to rest anywhere still
            unit.db.execute(
                "UPDATE conversation SET beats = 0, beat_due_at = ?"
                " WHERE gid = ? AND beat_due_at IS NULL",
                (unit.now, gid),
            )

    def _knows(self, unit: Unit, identity: bytes) -> None:
        """Where somebody reaches us counts for all conversations."""
        unit.db.execute("DELETE FROM telling WHERE identity = ?", (identity,))

    def unaware(self) -> set[bytes]:
        """The identities of those who have not been seen to know where we are."""
        return {row[0] for row in self._read.execute("SELECT DISTINCT identity FROM telling")}

    # Former homes

    def left_at(self, home: Home) -> int:
        """When a former home was left."""
        (at,) = self._read.execute(
            "SELECT left_at FROM former WHERE drop_id = ?", (home.bucket.drop_id,)
        ).fetchone()
        return int(at)

    def unneeded(self, *, now: int) -> list[Home]:
        """The former homes that need not be read any more."""
        least, most = FORMER_MS
        is_open = bool(self.unaware())
        promises = [*self._promises("invite"), *self._promises("knock")]
        wanted = set().union(*(drops for _, _, drops in promises))
        return [
            home
            for home in self._me.former
            for age in [now - self.left_at(home)]
            if age >= most or (age >= least and not is_open and home.bucket.drop_id not in wanted)
        ]

    def forget(self, unit: Unit, home: Home) -> None:
        """A former home is no longer read; invites and knocks that name nothing else are over."""
        unit.db.execute("DELETE FROM former WHERE drop_id = ?", (home.bucket.drop_id,))
        others = [one for one in self._me.buckets if one != home]
        for _, secret in self._lost("invite", others):
            unit.db.execute("DELETE FROM invite WHERE secret = ?", (secret,))
        for _, secret in self._lost("knock", others):
            unit.db.execute("DELETE FROM knock WHERE reply_secret = ?", (secret,))

    def lost_invites(self, reached: Iterable[Home]) -> list[bytes]:
        """The secrets of the open invites on which nobody can knock any more: all they name is none
        of these buckets."""
        return [secret for _, secret in self._lost("invite", reached)]

    def lost_knocks(self, reached: Iterable[Home]) -> list[str]:
        """Whose answer to a knock of ours can no longer reach us, by the names in their invites."""
        return [name for name, _ in self._lost("knock", reached)]

    def _lost(self, what: str, reached: Iterable[Home]) -> list[tuple[Any, bytes]]:
        there = {home.bucket.drop_id for home in reached}
        return [
            (name, secret)
            for name, secret, drops in self._promises(what)
            if drops and not drops & there
        ]

    def _promises(self, what: str) -> list[tuple[Any, bytes, set[bytes]]]:
        """What stands open that names buckets of ours: (what to call it, its secret, drop ids)."""
        rows = self._read.execute(_OPEN[what]).fetchall()
        return [(name, secret, set(_split(drops))) for name, secret, drops in rows]


_OPEN = {
    "invite": "SELECT made_at, secret, drops FROM invite ORDER BY made_at",
    "knock": "SELECT name, reply_secret, drops FROM knock ORDER BY made_at",
}


def _split(drops: bytes) -> list[bytes]:
    return [drops[at : at + DROP_ID_BYTES] for at in range(0, len(drops), DROP_ID_BYTES)]
