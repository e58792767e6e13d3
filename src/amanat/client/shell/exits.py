"""The homes of a person: exits, the fallback, and following a relay whose drops have moved."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from amanat.client import profile
from amanat.client.routes import Proposed
from amanat.client.shell.drawing import check_fallback, draw
from amanat.errors import (
    BadArgument,
    PeerError,
    RelayUnreachable,
    TrustError,
    Unavailable,
    UsageError,
)
from amanat.link import connect
from amanat.protocol.descriptor import parse_address

if TYPE_CHECKING:
    from collections.abc import Iterable

    from amanat.client.routes import Routes
    from amanat.client.rules.homes import NewHome
    from amanat.client.shell.agenda import Agenda
    from amanat.client.shell.buckets import Buckets
    from amanat.client.shell.hopping import Hopping
    from amanat.client.shell.kept_places import KeptPlaces
    from amanat.client.shell.runtime import Runtime
    from amanat.protocol.descriptor import RelayAddress


class Exits:
    """The exits of one client."""

    def __init__(
        self,
        run: Runtime,
        routes: Routes,
        kept: KeptPlaces,
        hopping: Hopping,
        agenda: Agenda,
        buckets: Buckets,
    ) -> None:
        self._run = run
        self._vault = run.parts.vault
        self._read = run.parts.vault.read
        self._now = run.now
        self._unit = run.unit
        self._spawn = run.spawn
        self._tasks = run.tasks
        self._me = run.parts.me
        self._places = run.parts.places
        self._homes = run.parts.homes
        self._conversations = run.parts.conversations
        self._around = run.around
        self._routes = routes
        self._kept = kept
        self._hopping = hopping
        self._agenda = agenda
        self._buckets = buckets

    async def set_fallback(
        self, relay: str, access: bytes = b"", *, is_strict: bool | None = None
    ) -> None:
        """Let people reach us at a second relay while the first is away; at none, with an empty
        `relay`.

        The client tells everybody we talk with. Until they know, they use the address that they
        have, and the client reads the bucket that they know. Raises BadArgument, BrokenAddress,
        RelayUnreachable, RelayKeyChanged, BrokenDescriptor, NoAccess, RegionNotAllowed or
        RegionsDiffer.
        """
        await self._set_fallback(
            parse_address(relay) if relay else None, access, is_named=True, is_strict=is_strict
        )

    async def _set_fallback(
        self,
        relay: RelayAddress | None,
        access: bytes,
        *,
        is_named: bool,
        is_strict: bool | None = None,
    ) -> None:
        home, new = self._me.home, None
        is_hop = home.is_hop
        if relay is not None:
            check_fallback(home.relay, relay.key)
            where = Proposed(relay, is_named=is_named, behind=self._kept)
            new, is_hop = await draw(where, relay.key, access, home.relay)
        await self._settle({"fallback": new}, {home.relay: is_hop}, is_strict=is_strict)

    async def exit(
        self,
        relay: str,
        access: bytes = b"",
        *,
        fallback: str | None = None,
        fallback_access: bytes = b"",
        is_strict: bool | None = None,
    ) -> None:
        """Make another relay the home, without any help from the one that we leave.

        `fallback` is the fallback from then on: None for the one that we have (unless it is the new
        home), empty for none, or the address of a relay. The client tells everybody we talk with,
        and reads the buckets that they know until they have shown that they know
        (`status().unaware`), and for 14 days at least.

        Raises BadArgument, BrokenAddress, RelayUnreachable, RelayKeyChanged, BrokenDescriptor,
        NoAccess, RegionNotAllowed or RegionsDiffer; everything is as before then.
        """
        await self._exit(
            parse_address(relay),
            access,
            fallback=fallback,
            fallback_access=fallback_access,
            is_named=True,
            is_strict=is_strict,
        )

    async def _exit(
        self,
        relay: RelayAddress,
        access: bytes,
        *,
        fallback: str | None = None,
        fallback_access: bytes = b"",
        is_named: bool,
        is_strict: bool | None = None,
    ) -> None:
        if relay.key == self._me.home.relay:
            raise BadArgument(
                "this is the home relay already; say where it is now with `amanat home ADDRESS`"
            )
        stays = [home for home in self._me.homes[1:] if home.relay != relay.key]
        where = Proposed(relay, is_named=is_named, behind=self._kept)
        beside = b"".join(home.relay for home in stays)
        if fallback is not None:
            stays, beside = [], b""
        if fallback:
            other = parse_address(fallback)
            beside, where = other.key, Proposed(other, is_named=True, behind=where)
        if beside:
            check_fallback(relay.key, beside)
        try:
            home, is_hop = await draw(where, relay.key, access, beside, self._routes.setting)
            second = None
            if beside and not stays:
                second, _ = await draw(where, beside, fallback_access, relay.key)
        except RelayUnreachable as error:
            if not beside:
                raise
            detail = f"{error.detail}; it, or the fallback, which can be another or none"
            raise type(error)(detail, retry_after=error.retry_after) from None
        new: dict[str, NewHome | None] = {"home": home}
        if not stays:
            new["fallback"] = second
        await self._settle(new, {stay.relay: is_hop for stay in stays}, is_strict=is_strict)

    def is_home(self, relay: str) -> bool:
        """Whether an address is that of our home relay, whatever places it names. Raises
        BrokenAddress."""
        return parse_address(relay).key == self._me.home.relay

    @property
    def allowed_regions(self) -> frozenset[str] | None:
        """The regions in which this person's data may rest; None for any. A person who has not said
        allows the regions of their present homes."""
        return self._homes.allowed_regions

    def set_allowed_regions(self, regions: Iterable[str] | None) -> None:
        """Set the regions in which our data may rest; None for any. Raises BadArgument."""
        with self._unit() as unit:
            self._homes.set_allowed_regions(unit, regions)
        self.begin_following()

    @property
    def is_strict(self) -> bool:
        """Whether home and fallback must be in one region."""
        return self._homes.is_strict

    def set_strict(self, *, is_strict: bool) -> None:
        """Set whether home and fallback must be in one region. Raises RegionsDiffer."""
        with self._unit() as unit:
            self._homes.set_strict(unit, is_strict=is_strict)

    def set_outbound(self, policy: str) -> None:
        """Set where our words for people of other regions rest from now on: at their homes
        ("deposit"), or only at our home, from where they fetch them ("hold"). Raises
        BadArgument."""
        with self._unit() as unit:
            self._conversations.holding.choose(unit, policy)

    async def set_place(self, relay: str) -> bool:
        """Name a place of a relay, ours or another; returns whether the relay was found. From now
        on the client looks for it there first, even on a private network.

        The client asks the relay at once for its signed address, by the same way as for everything
        else. If it is a relay of ours, the client passes that address on to everybody we talk with.
        Raises BrokenAddress, or BrokenDescriptor or RelayKeyChanged if another relay answers;
        nothing is kept then.
        """
        address, is_found = parse_address(relay), False
        if self._routes.may_be_met(address.key):
            with contextlib.suppress(Unavailable):
                link = await connect(address, self._around.network)
                link.close()
        with self._unit() as unit:
            self._places.name(unit, address)
        self._routes.look_again(address.key)
        with contextlib.suppress(Unavailable):
            is_found = await self._routes.ask_where(address.key)
        self._agenda.tell_news(self._now(), is_asked=True)
        return is_found

    async def _settle(
        self,
        new: dict[str, NewHome | None],
        hops: dict[bytes, bool],
        *,
        is_strict: bool | None,
    ) -> None:
        """Change our homes, and tell everybody. `hops` says for each home that stays whether it
        hands requests to the other."""
        is_strict = self._homes.is_strict if is_strict is None else is_strict
        self._homes.check(new, is_strict=is_strict)
        with self._unit() as unit:
            profile.set_strict(unit, is_strict=is_strict)
            self._homes.change(unit, new, hops)
        if "home" in new:
            self._buckets.is_read.clear()
        if self._routes.period_s:
            await self._hopping.go_another_way()
        if self._run.is_started:
            self._buckets.begin()

    def begin_following(self) -> None:
        """Start to follow our relays to where their drops have moved."""
        if self._run.is_started and "moving home" not in self._tasks:
            self._spawn("moving home", self.follow_homes())

    async def follow_homes(self) -> None:
        """Follow our relays' drops: make our homes at the relays to which they have moved, if we
        allow the regions. We read the moved drops all along, and tell everybody of a bucket that is
        the new relay's own."""
        for home in tuple(self._me.homes):
            to = self._routes.moved.get(home.relay)
            if to is None or not self._homes.allows(home.relay, to.region):
                continue
            (key,) = self._read.execute(
                "SELECT bucket_key FROM relay WHERE relay = ?", (home.relay,)
            ).fetchone()
            others = [one.relay for one in self._me.homes if one != home]
            with contextlib.suppress(Unavailable, PeerError, TrustError, UsageError):
                if home == self._me.home:
                    await self._exit(to.relay, key, is_named=False)
                elif to.relay.key not in others:
                    await self._set_fallback(to.relay, key, is_named=False)
                else:
                    await self.set_fallback("")
