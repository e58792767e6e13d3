"""The transport of requests to relays: direct, hopped or covered."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NamedTuple

from amanat.client import profile
from amanat.client.cover import delay_s
from amanat.client.routes import AUTO, OFF, Proposed, meet
from amanat.client.shell.drawing import serves, serves_over
from amanat.errors import BadArgument, HopRefused, NoHop, PeerError, TrustError, Unavailable
from amanat.protocol import codec
from amanat.protocol.descriptor import parse_address
from amanat.protocol.rounds import PERIODS_S
from amanat.proxy import parse_proxy

if TYPE_CHECKING:
    from amanat.client.routes import Routes
    from amanat.client.shell.kept_places import KeptPlaces
    from amanat.client.shell.runtime import Runtime
    from amanat.client.surroundings import Surroundings


class CoverCost(NamedTuple):
    """The cost of being covered: bytes of frames in a day, and seconds until a word is read."""

    up_bytes: int
    down_bytes: int
    usual_s: float
    longest_s: float

    def as_json(self) -> dict[str, object]:
        """The fields that commands print: all of them."""
        return self._asdict()


class Hopping:
    """The transport of one client's requests."""

    def __init__(self, run: Runtime, routes: Routes, kept: KeptPlaces) -> None:
        self._run = run
        self._vault = run.parts.vault
        self._read = run.parts.vault.read
        self._unit = run.unit
        self._spawn = run.spawn
        self._tasks = run.tasks
        self._me = run.parts.me
        self._places = run.parts.places
        self._routes = routes
        self._kept = kept

    def begin(self) -> None:
        """Begin to cover requests if the person wants that, and check once whether our relays serve
        as hops."""
        self._spawn("survey", self._survey_once())
        self._begin_cover()

    async def set_hop(self, hop: str) -> None:
        """Set how requests reach relays: through our other relay where that helps ("auto"),
        directly ("off"), or through the relay with this address.

        Raises BrokenAddress, RelayUnreachable, RelayKeyChanged, BrokenDescriptor, or HopRefused if
        it does not go to the home relay.
        """
        setting, named = hop.encode(), None
        if setting == AUTO:
            await self._survey()
        elif setting != OFF:
            named = parse_address(hop)
            setting = named.key
            where = Proposed(named, is_named=True, behind=self._kept)
            if not await serves(where, named.key, self._me.home.relay):
                raise HopRefused(hop)
        with self._unit() as unit:
            if named is not None:
                self._places.name(unit, named)
            unit.put("hop", setting)
        self._routes.setting = setting
        await self.go_another_way()

    async def set_cover(self, period_s: int) -> None:
        """Let one cell leave in each period of 60 or 30 seconds, whether or not the person says
        anything; with 0, cells leave at once.

        Raises BadArgument, or NoHop if the home relay is not reached through another.
        """
        if period_s not in (0, *PERIODS_S):
            raise BadArgument(f"a period is {' or '.join(map(str, PERIODS_S))} seconds")
        transport = self._routes.transport(self._me.home.relay)
        if period_s and not transport.hop:
            raise NoHop(transport.reason)
        with self._unit() as unit:
            unit.put("period", period_s.to_bytes(2, "big"))
        self._routes.period_s = period_s
        await self.go_another_way()

    async def set_proxy(self, address: str, login: str = "") -> None:
        """Reach all relays through the SOCKS5 proxy at HOST:PORT from now on, with a login such as
        "USER:PASSWORD" if it asks for one; without a proxy, if the address is empty.

        The proxy is not asked whether it works. While it does not, nothing goes around it: requests
        wait, and `status().is_proxy_away` says so. Raises BadArgument.
        """
        proxy = parse_proxy(address, login) if address else None
        with self._unit() as unit:
            profile.set_proxy(unit, codec.encode(proxy) if proxy else b"")
        self._run.network.go_through(proxy)
        for home in self._me.buckets:
            self._routes.look_again(home.relay)
        await self.go_another_way()

    @property
    def proxy(self) -> str:
        """The address of the proxy that is set; empty if there is none."""
        proxy = self._run.network.proxy
        return proxy.name if proxy else ""

    @property
    def has_login(self) -> bool:
        """Whether the proxy is given a user name and a password."""
        proxy = self._run.network.proxy
        return proxy is not None and bool(proxy.user)

    @property
    def around(self) -> Surroundings:
        """The surroundings of this client, for another one that is to go by the same proxy."""
        return self._run.around

    def cover_cost(self) -> CoverCost:
        """The cost of the cover in force; zeros if there is none."""
        period_s = self._routes.period_s
        delays = delay_s(period_s) if period_s else (0.0, 0.0)
        return CoverCost(*self._routes.cover_bytes(), *delays)

    def seconds_to_leave(self) -> float:
        """The longest that the waiting requests take to leave when they leave in their turn; else
        0."""
        period_s = self._routes.period_s
        (waiting,) = self._read.execute("SELECT count(*) FROM outbox").fetchone()
        return delay_s(period_s)[1] + period_s * (waiting - 1) if period_s and waiting else 0.0

    async def go_another_way(self) -> None:
        """Close all links, so that every task that uses one begins again on the new way."""
        self._routes.close()
        cover = self._tasks.get("cover")
        if cover is not None:
            cover.cancel()
            await asyncio.gather(cover, return_exceptions=True)
        if self._run.is_started:
            self._begin_cover()

    def _begin_cover(self) -> None:
        if self._routes.period_s:
            self._spawn("cover", self._routes.keep_cover())

    async def _survey(self) -> None:
        """Check whether our relays serve as hops to each other by now. A relay that no longer does
        stays a hop; requests wait then, until the person decides."""
        homes = self._me.homes
        if len(homes) == 1 or all(home.is_hop and home.operator for home in homes):
            return
        found = {}
        for home, other in zip(homes, reversed(homes), strict=True):
            link = await meet(self._kept, home.relay)
            try:
                descriptor = await link.describe(home.relay)
                goes = home.is_hop or await serves_over(self._kept, link, other.relay)
            finally:
                link.close()
            found[home.relay] = descriptor.operator, goes
        with self._unit() as unit:
            for relay, (operator, is_hop) in found.items():
                profile.set_hop(unit, relay, operator, is_hop=is_hop)
            self._me.homes[:] = profile.read_homes(self._vault)
        await self.go_another_way()

    async def _survey_once(self) -> None:
        if profile.read_hop(self._vault) == AUTO:
            with contextlib.suppress(Unavailable, PeerError, TrustError):  # the next start tries
                await self._survey()
