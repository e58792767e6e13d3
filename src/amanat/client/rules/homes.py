"""The homes of a person: the changes that an exit makes at once, and where their data may rest."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from amanat.client import profile
from amanat.client.holding import HOLD
from amanat.errors import BadArgument, RegionNotAllowed, RegionsDiffer
from amanat.protocol.drops import check_region

if TYPE_CHECKING:
    from collections.abc import Iterable

    from amanat.client.conversation import Conversations
    from amanat.client.places import Places
    from amanat.client.profile import Me
    from amanat.client.unit import Unit
    from amanat.client.vault import Vault
    from amanat.protocol import wire
    from amanat.protocol.descriptor import NamedAddress, RelayAddress
    from amanat.protocol.drops import Drop


class NewHome(NamedTuple):
    """A bucket that was drawn, and its end; with the address that its relay has signed, and the one
    that the person has named, if they have."""

    home: profile.NewHome
    bucket: Drop
    end: wire.Cells
    address: RelayAddress
    named: NamedAddress | None

    def begin(self, unit: Unit, places: Places) -> None:
        """Begin to read the bucket at its end, because the cells already there are for others."""
        places.learn(unit, self.address)
        if self.named is not None:
            places.name(unit, self.named)
        unit.db.execute(
            "INSERT OR IGNORE INTO cursor VALUES (?, ?, ?)",
            (self.bucket.drop_id, self.end.head, self.end.before),
        )


class Homes:
    """The homes of one person."""

    def __init__(
        self,
        vault: Vault,
        conversations: Conversations,
        places: Places,
        me: Me,
    ) -> None:
        self._vault = vault
        self._read = vault.read
        self._chains = conversations.chains
        self._conversations = conversations
        self._places = places
        self._me = me

    def change(self, unit: Unit, new: dict[str, NewHome | None], hops: dict[bytes, bool]) -> None:
        """Make the changes that an exit makes at once."""
        known = self._conversations.whereabouts
        before = self._me.homes[:]
        known.promised(unit, before)
        if "fallback" in new:
            profile.forget_fallback(unit)
        for what, home in new.items():
            if home is not None:
                home.begin(unit, self._places)
                profile.write_home(unit, what, home.home)
        for stays in before:
            if stays.relay in hops:
                profile.set_hop(unit, stays.relay, stays.operator, is_hop=hops[stays.relay])
        self._me.homes[:] = profile.read_homes(self._vault)
        drops = {home.bucket.drop_id for home in self._me.homes}
        known_drops = {home.bucket.drop_id for home in before}
        left = [home for home in before if home.bucket.drop_id not in drops]
        fresh = [home for home in self._me.homes if home.bucket.drop_id not in known_drops]
        known.move(unit, left, fresh)
        self._me.former[:] = profile.read_former(self._vault)
        self._chains.new_homes()
        if "home" in new:
            self._conversations.addresses.at_home(unit)
            # Only the relay that we have left could say whether another copy of this vault has
            # spoken, and an exit does not wait for it.
            unit.db.execute(
                "DELETE FROM outbox WHERE purpose IN ('claim', 'question') AND relay = ?",
                (before[0].relay,),
            )
        self._conversations.addresses.tell_addresses(unit)
        self._conversations.wishes.bring_along(unit, self.relays_left())
        self._conversations.epochs.has_access(unit)

    @property
    def allowed_regions(self) -> frozenset[str] | None:
        """The regions in which this person's data may rest; None for any. A person who has not said
        allows the regions of their present homes."""
        try:
            return profile.read_allowed(self._vault)
        except KeyError:
            return frozenset(home.region for home in self._me.homes)

    def set_allowed_regions(self, unit: Unit, regions: Iterable[str] | None) -> None:
        """Set the regions in which our data may rest; None for any. Raises BadArgument."""
        allowed = None if regions is None else frozenset(map(check_region, regions))
        if allowed is not None and not allowed:
            raise BadArgument("allow one region at least")
        profile.write_allowed(unit, allowed)

    @property
    def is_strict(self) -> bool:
        """Whether home and fallback must be in one region."""
        return profile.is_strict(self._vault)

    def set_strict(self, unit: Unit, *, is_strict: bool) -> None:
        """Set whether home and fallback must be in one region. Raises RegionsDiffer."""
        self.check({}, is_strict=is_strict)
        profile.set_strict(unit, is_strict=is_strict)

    def check(self, new: dict[str, NewHome | None], *, is_strict: bool) -> None:
        """Raises RegionNotAllowed or RegionsDiffer if we may not have these homes."""
        regions = dict(zip(("home", "fallback"), (h.region for h in self._me.homes), strict=False))
        for what, home in new.items():
            regions.pop(what, None)
            if home is None:
                continue
            region = regions[what] = home.home.region
            with contextlib.suppress(KeyError):
                allowed = profile.read_allowed(self._vault)
                if allowed is not None and region not in allowed:
                    raise RegionNotAllowed(region)
        if is_strict and len(set(regions.values())) > 1:
            raise RegionsDiffer(f"{regions['home']} and {regions['fallback']}")

    def allows(self, relay: bytes, region: str) -> bool:
        """Whether data at a relay may rest in a region. We decide for our relays, others for
        theirs."""
        allowed = self.allowed_regions
        ours = {home.relay for home in self._me.homes}
        return relay not in ours or allowed is None or region in allowed

    def learn_outbound(self, unit: Unit, relay: bytes, policy: str) -> None:
        """Keep whether the operator of a relay of ours wants words held."""
        for number, home in enumerate(self._me.homes):
            if home.relay == relay and home.holds != (policy == HOLD):
                profile.set_holds(unit, relay, holds=policy == HOLD)
                self._me.homes[number] = home._replace(holds=policy == HOLD)

    def relays_left(self) -> set[bytes]:
        """The keys of the relays that we have left."""
        rows = self._read.execute("SELECT relay FROM relay").fetchall()
        return {row[0] for row in rows} - {home.relay for home in self._me.homes}
