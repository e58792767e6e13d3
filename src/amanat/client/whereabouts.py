"""Whereabouts: where others reach us, who knows it, and which buckets we read until all do.

An exit needs nothing from the relay that is left. We tell everybody inside the conversations,
through their own relays (docs/protocol.md, section 8, "Another address"). A receipt from somebody,
or a cell of theirs in a bucket that only the new address names, shows that they know. Until then we
read the old buckets for them, and tell them again with each heartbeat.
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
"""How long we read the bucket of a former home, in milliseconds: at least as long as a cell rests
in it, and at most 90 days, however many people we have not heard from since. (A person who was away
for so long holds no KeyPackage and no epoch of ours that is still valid.)"""

TELL_EVERY_MS = 3_600_000
"""How often we tell everybody at most that a relay of ours is elsewhere, in milliseconds. A relay
that keeps saying so must not make us write to everybody all the time."""

_NEVER = 2**53
"""No envelope has this number."""


class Whereabouts:
    """The addresses of the owner of a vault, and the people who know them."""

    def __init__(self, vault: Vault, me: Me) -> None:
        self._vault = vault
        self._read = vault.read
        self._me = me

    # Telling

    def move(self, unit: Unit, left: Sequence[Home], fresh: Iterable[Home]) -> None:
        """Record that we are reached elsewhere from now on. `left` are the homes that we have left,
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
        """Begin a new version of what we tell people, even if only the places of our relays have
        changed."""
        # Above any version that an older copy of this vault can have told, if the clock is right.
        version = max(self._number("addresses version") + 1, unit.now)
        unit.put("addresses version", version.to_bytes(8, "big"))

    def may_say_anew(self, *, now: int) -> bool:
        """Whether we last told everybody long enough ago, or at a time ahead of the clock."""
        return not 0 <= now - self._number("addresses version") < TELL_EVERY_MS

    def promised(self, unit: Unit, homes: Iterable[Home]) -> None:
        """Record, before our homes change, that open invites and knocks name these ones."""
        drops = b"".join(home.bucket.drop_id for home in homes)
        unit.db.execute("UPDATE invite SET drops = ? WHERE drops = x''", (drops,))
        unit.db.execute("UPDATE knock SET drops = ? WHERE drops = x''", (drops,))

    def word(self) -> bytes | None:
        """The body of the envelope that tells people; None if we have never moved."""
        version = self._number("addresses version")
        return codec.encode(NewAddresses(version, self._me.addresses)) if version else None

    def _number(self, key: str) -> int:
        try:
            return int.from_bytes(self._vault.get(key), "big")
        except KeyError:
            return 0

    def told(self, unit: Unit, gid: bytes, identities: Iterable[bytes], seq: int) -> None:
        """Record that an envelope of ours tells these people."""
        for identity in identities:
            unit.db.execute("INSERT OR REPLACE INTO telling VALUES (?, ?, ?)", (gid, identity, seq))

    def told_all(self, unit: Unit) -> None:
        """Record that everybody has been told, and so how many people are to learn it."""
        (many,) = unit.db.execute("SELECT count(DISTINCT identity) FROM telling").fetchone()
        unit.put("people to tell", many.to_bytes(8, "big"))

    def forget_told(self, unit: Unit, gid: bytes) -> None:
        """Tell the people in a conversation again, because our count there begins again and nobody
        can confirm the envelopes that told them before."""
        unit.db.execute("UPDATE telling SET seq = ? WHERE gid = ?", (_NEVER, gid))

    def is_telling(self, gid: bytes) -> bool:
        """Whether somebody in a conversation may not know yet where we are."""
        row = self._read.execute("SELECT 1 FROM telling WHERE gid = ?", (gid,)).fetchone()
        return row is not None

    def keep(self, unit: Unit, gid: bytes, identities: Iterable[bytes]) -> None:
        """Forget everybody in a conversation except these people."""
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
        """Record that somebody has all our envelopes in a conversation up to `seq`."""
        if unit.db.execute(
            "SELECT 1 FROM telling WHERE gid = ? AND identity = ? AND seq <= ?",
            (gid, identity, seq),
        ).fetchone():
            self._knows(unit, identity)

    def came(self, unit: Unit, gid: bytes, identity: bytes, drop_id: bytes) -> None:
        """Record that a cell of somebody arrived in one of our buckets."""
        if not unit.db.execute("SELECT 1 FROM telling WHERE identity = ?", (identity,)).fetchone():
            return
        try:
            fresh = self._vault.get("fresh")
        except KeyError:
            return
        if drop_id in _split(fresh):
            self._knows(unit, identity)
        else:  # we may have told them so long ago that the envelope rests nowhere any more
            unit.db.execute(
                "UPDATE conversation SET beats = 0, beat_due_at = ?"
                " WHERE gid = ? AND beat_due_at IS NULL",
                (unit.now, gid),
            )

    def _knows(self, unit: Unit, identity: bytes) -> None:
        """Record, for all conversations, that somebody knows where we are."""
        unit.db.execute("DELETE FROM telling WHERE identity = ?", (identity,))

    def unaware(self) -> set[bytes]:
        """The identities of the people who have not shown that they know where we are."""
        return {row[0] for row in self._read.execute("SELECT DISTINCT identity FROM telling")}

    def to_tell(self) -> int:
        """How many people there are to tell where we are now: those who know and those who do not.
        People whom we have met since then count while they do not know."""
        return max(self._number("people to tell"), len(self.unaware()))

    # Former homes

    def left_at(self, home: Home) -> int:
        """The time at which we left a former home."""
        (at,) = self._read.execute(
            "SELECT left_at FROM former WHERE drop_id = ?", (home.bucket.drop_id,)
        ).fetchone()
        return int(at)

    def unneeded(self, *, now: int) -> list[Home]:
        """The former homes that we no longer need to read."""
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
        """Stop reading a former home. Invites and knocks that name no other home are over."""
        unit.db.execute("DELETE FROM former WHERE drop_id = ?", (home.bucket.drop_id,))
        others = [one for one in self._me.buckets if one != home]
        for _, secret in self._lost("invite", others):
            unit.db.execute("DELETE FROM invite WHERE secret = ?", (secret,))
        for _, secret in self._lost("knock", others):
            unit.db.execute("DELETE FROM knock WHERE reply_secret = ?", (secret,))

    def lost_invites(self, reached: Iterable[Home]) -> list[bytes]:
        """The secrets of the open invites on which nobody can knock any more, because they name
        none of these buckets."""
        return [secret for _, secret in self._lost("invite", reached)]

    def lost_knocks(self, reached: Iterable[Home]) -> list[str]:
        """The people whose answer to a knock of ours can no longer reach us, by the names in their
        invites."""
        return [name for name, _ in self._lost("knock", reached)]

    def _lost(self, what: str, reached: Iterable[Home]) -> list[tuple[Any, bytes]]:
        there = {home.bucket.drop_id for home in reached}
        return [
            (name, secret)
            for name, secret, drops in self._promises(what)
            if drops and not drops & there
        ]

    def _promises(self, what: str) -> list[tuple[Any, bytes, set[bytes]]]:
        """The open invites or knocks that name buckets of ours: (when it was made or its name, its
        secret, drop ids)."""
        rows = self._read.execute(_OPEN[what]).fetchall()
        return [(name, secret, set(_split(drops))) for name, secret, drops in rows]


_OPEN = {
    "invite": "SELECT made_at, secret, drops FROM invite ORDER BY made_at",
    "knock": "SELECT name, reply_secret, drops FROM knock ORDER BY made_at",
}


def _split(drops: bytes) -> list[bytes]:
    return [drops[at : at + DROP_ID_BYTES] for at in range(0, len(drops), DROP_ID_BYTES)]
