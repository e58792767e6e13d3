"""Standing: an overview of a client, its relays and its people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amanat.client import vault
from amanat.client.routes import TRANSPORTS, Means
from amanat.client.sdk.views import (
    Announced,
    Former,
    OpenInvite,
    Status,
    WarningView,
)

if TYPE_CHECKING:
    from amanat.client.routes import Routes
    from amanat.client.sdk.reading import Reading
    from amanat.client.shell.buckets import Buckets
    from amanat.client.shell.runtime import Runtime


class Standing:
    """The overview of one client."""

    def __init__(self, run: Runtime, routes: Routes, buckets: Buckets, reading: Reading) -> None:
        self._now = run.now
        self._read = run.parts.vault.read
        self._me = run.parts.me
        self._conversations = run.parts.conversations
        self._places = run.parts.places
        self._invites = run.parts.invites
        self._moves = run.parts.moves
        self._homes = run.parts.homes
        self._sending = run.parts.sending
        self._network = run.network
        self._routes = routes
        self._buckets = buckets
        self._reading = reading

    def status(self) -> Status:
        """An overview of the client, its relays and its people."""
        counts = [
            self._read.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608
            for table in (
                "outbox",
                "contact",
                "conversation WHERE gid NOT IN (SELECT gid FROM desk WHERE is_hidden)",
            )
        ]
        transport = self._routes.transport(self._me.home.relay)
        known, allowed = self._conversations.whereabouts, self._homes.allowed_regions
        outbound = self._conversations.holding.outbound()
        reached = self._buckets.reached()
        return Status(
            name=self._me.name,
            identity=vault.fingerprint(self._me.identity),
            relay=self._reading.address(self._me.home.relay),
            place=self._place(self._me.home.relay),
            region=self._me.home.region,
            operator=self._me.home.operator,
            fallback="".join(self._reading.address(home.relay) for home in self._me.homes[1:]),
            fallback_place="".join(self._place(home.relay) for home in self._me.homes[1:]),
            fallback_region="".join(home.region for home in self._me.homes[1:]),
            fallback_operator="".join(home.operator for home in self._me.homes[1:]),
            allowed_regions=None if allowed is None else sorted(allowed),
            outbound=outbound.policy,
            outbound_by=outbound.by,
            is_strict=self._homes.is_strict,
            former=[
                Former(
                    *(self._reading.address(home.relay), home.region, known.left_at(home)),
                    self._buckets.is_away(home),
                )
                for home in self._me.former
            ],
            moves=[
                Announced(
                    *(self._reading.address(relay), str(one.to), one.region, one.on, one.decide_by),
                    one.reason,
                    is_allowed=self._homes.allows(relay, one.region),
                )
                for relay, one in self._moves.notices().items()
                if relay in {home.relay for home in self._me.homes}
            ],
            unaware=self._reading.names_of(known.unaware()),
            to_tell=known.to_tell(),
            left_behind=self._left_behind(),
            lost_invites=[one.made_at for one in self.invites() if one.is_lost],
            lost_knocks=known.lost_knocks(reached),
            away=sorted(
                map(
                    self._reading.address,
                    {
                        *self._sending.away,
                        *(h.relay for h in self._me.homes if self._buckets.is_away(h)),
                    },
                )
            ),
            transport=transport.kind,
            means=TRANSPORTS[transport.kind],
            hop=self._reading.address(transport.hop) if transport.hop else "",
            is_hop_away=transport.is_away,
            why=transport.reason,
            period=self._routes.period_s,
            exposed=[
                self._reading.address(home.relay)
                for home in self._me.homes
                if transport.kind is not Means.DIRECT
                and self._routes.transport(home.relay).kind is Means.DIRECT
            ],
            proxy=self._network.proxy.name if self._network.proxy else "",
            is_proxy_away=self._network.is_away,
            is_replaced=self._conversations.roster.is_replaced(),
            missing=self._reading.missing(),
            outbox=counts[0],
            contacts=counts[1],
            conversations=counts[2],
            warnings=self._warnings(),
        )

    def is_waiting(self) -> bool:
        """Whether anything is on its way, except to relays that we have left and that are away."""
        away = {home.relay for home in self._me.former if self._buckets.is_away(home)}
        gone = self._homes.relays_left() & (away | self._sending.away)
        rows = self._read.execute("SELECT DISTINCT relay FROM outbox WHERE tries = 0").fetchall()
        tried = self._read.execute("SELECT gid FROM attempt").fetchall()
        relays = {row[0] for row in rows}
        relays |= {self._conversations.roster.group(gid).policy.relay.key for (gid,) in tried}
        return bool(relays - gone)

    def invites(self) -> list[OpenInvite]:
        """The invites that can still be used, the oldest first."""
        known = self._conversations.whereabouts
        lost = set(known.lost_invites(self._buckets.reached()))
        return [
            OpenInvite(one.id, one.made_at, one.expires_at, is_lost=one.secret in lost)
            for one in self._invites.open(now=self._now())
        ]

    def _warnings(self) -> list[WarningView]:
        rows = self._read.execute(
            "SELECT at, code, detail, gid, whom, many FROM warning ORDER BY id"
        ).fetchall()
        if not rows:
            return []
        views = {view.gid: view.name for view in self._reading.conversations()}
        names: dict[bytes, str] = {}
        for gid in views:
            names |= self._reading.names(gid)

        def called(whom: bytes) -> str:
            if not whom or whom in names:
                return names.get(whom, "")
            is_relay = bool(self._places.where(whom, now=self._now()))
            return self._reading.address(whom) if is_relay else vault.fingerprint(whom)

        return [
            WarningView(at, code, detail, views.get(gid, ""), called(whom), many)
            for at, code, detail, gid, whom, many in rows
        ]

    def _left_behind(self) -> list[str]:
        """The conversations whose epoch drops are at a relay that we have left."""
        left = self._homes.relays_left()
        views = self._reading.conversations() if left else []
        return sorted(
            view.name
            for view in views
            if view.is_live and self._conversations.roster.group(view.gid).policy.relay.key in left
        )

    def _place(self, relay: bytes) -> str:
        """The place where we reach a relay just now; empty if we do not, or reach it only through a
        hop."""
        place = self._routes.place(relay)
        return place.name if place else ""
