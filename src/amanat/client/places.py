"""The places of relays: from their signed addresses, from the person, and from our last contact
with them.

A relay is its key. Its newest signed address counts, whoever passed it on; the word of others does
not. The person may name places, and only they can name one on a private network: a relay of which
they have named one place may be on theirs. A place at which the relay was found is kept for as long
as it is found there, whatever it has signed since.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from amanat.errors import VaultDamaged
from amanat.protocol import codec
from amanat.protocol.descriptor import NamedAddress, RelayAddress, decode_address
from amanat.protocol.places import MAX_PLACES, Place, is_private

if TYPE_CHECKING:
    from collections.abc import Iterable

    from amanat.client.unit import Unit
    from amanat.client.vault import Vault

DAY_MS = 86_400_000
MAX_RELAYS = 4096
"""The most relays whose addresses are kept, which suffices for all people one meets. Not counted
are those that the person has named or been at home at, and those for which requests wait. A member
who names relays without end drives out only addresses that any leaf can give us again."""
FOUND_EVERY_MS = DAY_MS
"""How often we record that a relay is still found where it was."""

_NEWS = "elsewhere"


class _Kept(NamedTuple):
    """A place of a relay. Times are Unix milliseconds, None for never."""

    place: Place
    named_at: int | None
    found_at: int | None


class Places:
    """The places of relays that the owner of a vault knows."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._read = vault.read
        self._newest: dict[bytes, int] = {}
        """By relay: when the newest address that the vault holds was signed."""
        vault.bind(forget=self._newest.clear)

    def is_newer(self, address: RelayAddress) -> bool:
        """Whether a relay has signed this address after the last one that we know."""
        before = self.signed(address.key)
        return before is None or before.issued < address.issued

    def learn(self, unit: Unit, address: RelayAddress) -> bool:
        """Keep an address that a relay has signed; returns whether its places differ from those
        that we knew."""
        if address.issued <= self._newest.get(address.key, -1):
            return False
        before = self.signed(address.key)
        if before is None or before.issued < address.issued:
            unit.db.execute(
                "INSERT INTO relay_at VALUES (?1, ?2, ?3)"
                " ON CONFLICT DO UPDATE SET signed = ?2, noted_at = ?3",
                (address.key, codec.encode(address), unit.now),
            )
            self._forget_some(unit, but=address.key)
        self._newest[address.key] = max(address.issued, before.issued if before else 0)
        if before and (before.issued >= address.issued or address.says_as(before)):
            return False
        if address.key in self._own():
            unit.put(_NEWS, b"")
        return True

    def _own(self) -> list[bytes]:
        rows = self._read.execute("SELECT value FROM meta WHERE key IN ('home', 'fallback')")
        return [bytes(row[0]) for row in rows]

    @property
    def has_news(self) -> bool:
        """Whether a relay of the owner has new places of which we have yet to tell people."""
        return bool(self._read.all(f"SELECT 1 FROM meta WHERE key = '{_NEWS}'"))  # noqa: S608

    def end_news(self, unit: Unit) -> None:
        """Record that we have told people."""
        unit.db.execute("DELETE FROM meta WHERE key = ?", (_NEWS,))

    def _forget_some(self, unit: Unit, *, but: bytes) -> None:
        gone = unit.db.execute(
            "DELETE FROM relay_at WHERE relay IN (SELECT relay FROM relay_at"
            " WHERE relay <> ? AND relay NOT IN"
            " (SELECT relay FROM place WHERE named_at IS NOT NULL UNION SELECT relay FROM relay"
            " UNION SELECT relay FROM outbox UNION SELECT ifnull(other_relay, x'') FROM outbox)"
            " ORDER BY noted_at DESC LIMIT -1 OFFSET ?) RETURNING 1",
            (but, MAX_RELAYS - 1),
        ).fetchall()
        if gone:
            self._newest.clear()
            unit.db.execute(
                "DELETE FROM place WHERE named_at IS NULL"
                " AND relay NOT IN (SELECT relay FROM relay_at)"
            )

    def signed(self, relay: bytes) -> RelayAddress | None:
        """The newest address that a relay has signed, as far as we know."""
        row = self._read.execute("SELECT signed FROM relay_at WHERE relay = ?", (relay,)).fetchone()
        return decode_address(row[0], VaultDamaged) if row else None

    def name(self, unit: Unit, address: NamedAddress) -> None:
        """Keep the places that the person names for a relay. Those named last count first."""
        for number, place in enumerate(reversed(address.places)):
            unit.db.execute(
                "INSERT INTO place (relay, host, port, tls, named_at) VALUES (?1, ?2, ?3, ?4, ?5)"
                " ON CONFLICT DO UPDATE SET named_at = ?5",
                (address.key, place.host, place.port, place.tls, unit.now + number),
            )
        unit.db.execute(
            "DELETE FROM place WHERE relay = ?1 AND named_at IS NOT NULL AND (host, port, tls) IN"
            " (SELECT host, port, tls FROM place WHERE relay = ?1 AND named_at IS NOT NULL"
            " ORDER BY named_at DESC LIMIT -1 OFFSET ?2)",
            (address.key, MAX_PLACES),
        )

    def is_named(self, relay: bytes) -> bool:
        """Whether the person has named a place of a relay themselves."""
        return any(one.named_at is not None for one in self._kept(relay))

    def may_be_called(self, address: RelayAddress) -> bool:
        """Whether we may look anywhere for a relay that somebody else names, as far as we can tell
        without resolving its host name."""
        places = [place for place in address.places if not is_private(place.host)]
        return bool(places) or self.is_named(address.key)

    def where(self, relay: bytes, *, now: int) -> list[Place]:
        """The places at which to look for a relay, in turn: the one found or named last, the others
        that the person has named, those that the relay has signed for today, and all others that we
        know."""
        signed = self.signed(relay)
        stays = sorted(signed.stays, key=lambda one: one.rank(now // DAY_MS)) if signed else []
        kept = self._kept(relay)
        named = [one for one in kept if one.named_at is not None]
        first = max(kept, key=lambda one: max(one.named_at or 0, one.found_at or 0), default=None)
        last = sorted(kept, key=lambda one: -(one.found_at or 0))
        places = [first.place] if first else []
        places += [one.place for one in sorted(named, key=lambda one: -(one.named_at or 0))]
        places += [*(one.place for one in stays), *(one.place for one in last)]
        return list(dict.fromkeys(places))

    def _kept(self, relay: bytes) -> list[_Kept]:
        rows = self._read.execute(
            "SELECT host, port, tls, named_at, found_at FROM place WHERE relay = ?", (relay,)
        ).fetchall()
        return [_Kept(Place(*row[:3]), *row[3:]) for row in rows]

    def address(self, relay: bytes, *, now: int) -> NamedAddress:
        """The address of a relay to show the person: the first places at which to look for it."""
        found: list[Place] = []
        for place in self.where(relay, now=now):
            try:
                NamedAddress.of(relay, *found, place)
            except ValueError:
                break
            found.append(place)
        return NamedAddress.of(relay, *found)

    def found(self, unit: Unit, relay: bytes, place: Place, missed: Iterable[Place]) -> None:
        """Record that a relay was found at a place, and not at others where we looked before. We
        keep those only if the person or the relay names them."""
        for gone in missed:
            unit.db.execute(
                "UPDATE place SET found_at = NULL"
                " WHERE relay = ? AND host = ? AND port = ? AND tls = ?",
                (relay, *_row(gone)),
            )
        unit.db.execute(
            "DELETE FROM place WHERE relay = ? AND named_at IS NULL AND found_at IS NULL", (relay,)
        )
        unit.db.execute(
            "INSERT INTO place (relay, host, port, tls, found_at) VALUES (?1, ?2, ?3, ?4, ?5)"
            " ON CONFLICT DO UPDATE SET found_at = ?5",
            (relay, *_row(place), unit.now),
        )

    def is_news(self, relay: bytes, place: Place, *, now: int) -> bool:
        """Whether it is worth recording that a relay was found at a place."""
        last = self._found_last(relay)
        return last is None or last.place != place or now - (last.found_at or 0) >= FOUND_EVERY_MS

    def found_at(self, relay: bytes) -> Place | None:
        """The place at which a relay was found last."""
        last = self._found_last(relay)
        return last.place if last else None

    def _found_last(self, relay: bytes) -> _Kept | None:
        found = [one for one in self._kept(relay) if one.found_at is not None]
        return max(found, key=lambda one: one.found_at or 0, default=None)


def _row(place: Place) -> tuple[str, int, str]:
    return place.host, place.port, place.tls
