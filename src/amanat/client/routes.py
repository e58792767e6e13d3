"""Routes: how requests get to a relay, over a link to it or sealed and through a hop.

*Direct*, the relay sees the network address. *Hopped*, another relay of ours hands the request
over: the hop sees the person and not the request, the relay sees the request and not the person.
*Covered*, the hop does so in rounds (client/cover.py), and nobody sees whether anything was said.
Only this module decides between them, and never a hop: a request that a hop refuses or breaks
waits, and goes no other way.
"""

from __future__ import annotations

import asyncio
import contextlib
from enum import StrEnum, unique
from typing import TYPE_CHECKING, NamedTuple, Protocol

from amanat.client.cover import Cover, day_bytes, empty_cell, empty_page
from amanat.client.moves import Destination
from amanat.client.surroundings import MACHINE
from amanat.client.ways import HOP_AWAY_S, Covered, Detour, Following, Hopped, Way
from amanat.errors import (
    BrokenDescriptor,
    BrokenMove,
    DropMoved,
    HopAway,
    HopRefused,
    MovedAway,
    NoHop,
    PeerError,
    RelayKeyChanged,
    RelayUnreachable,
    TrustError,
    Unavailable,
)
from amanat.link import RETRY_S, Link, find
from amanat.protocol import wire
from amanat.protocol.descriptor import NamedAddress, open_descriptor
from amanat.protocol.moving import open_order
from amanat.protocol.places import MAX_PLACES, is_private

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from amanat.client.profile import Home
    from amanat.client.surroundings import Surroundings
    from amanat.protocol.descriptor import Descriptor, RelayAddress
    from amanat.protocol.places import Place

AUTO, OFF = b"auto", b"off"
"""The settings other than a hop of the person's choice: one of their own two relays, or none."""


@unique
class Means(StrEnum):
    """The ways in which requests get to a relay."""

    DIRECT = "direct"
    HOPPED = "hopped"
    COVERED = "covered"


TRANSPORTS = {
    Means.DIRECT: "your relay sees your network address, when you are online, and into which"
    " buckets (of about 32 people each) you put cells; not what they say, nor for whom of the"
    " bucket",
    Means.HOPPED: "your relay sees that somebody asks, and not who: another relay hands it over,"
    " which sees your network address and not what is asked; only both together could tell",
    Means.COVERED: "as hopped, and once in a period one cell leaves, yours or an empty one: who"
    " sees your line, or is the hop, sees when Amanat runs, and not whether you say anything. Only"
    " what is larger than a cell (long texts, joining, changes of a group) leaves when it is said",
}
"""The meaning of each transport, in words that a person understands."""
MAX_MOVES = 4
"""The most moves that a request follows, from one relay to the next."""
AWAY_RETRY_S = 10.0
"""How long we do not ask again for drops that have moved to a region that is not allowed, in
seconds. The person may allow it meanwhile."""
ASK_S = 60
"""How often we ask our other relays for the place of a relay that we cannot find, in seconds."""
REFUSED_S = 30.0
"""How long we do not try again to reach a relay to which the hop does not go, in seconds."""


class Transport(NamedTuple):
    """The transport in force for a relay.

    `hop` is the key of the hop, `reason` says why there is none; `is_away` says that no hop could
    be reached just now.
    """

    kind: Means
    hop: bytes
    reason: str
    is_away: bool = False


class _Sealing(NamedTuple):
    """The key to which requests to a relay are sealed, and the hop that told us."""

    hop: bytes
    key: bytes


class Where(Protocol):
    """The known places of relays, by their keys, and the surroundings of the client. Nothing calls
    these methods inside a unit."""

    around: Surroundings

    def where(self, relay: bytes) -> Sequence[Place]:
        """The places at which to look for a relay, in turn."""

    def is_named(self, relay: bytes) -> bool:
        """Whether the person has named a place of a relay, which may then be on a private
        network."""

    def signed(self, relay: bytes) -> RelayAddress | None:
        """The newest relay address that a relay has signed."""

    def found(self, relay: bytes, link: Link) -> None:
        """Hear that a relay was found."""

    def learn(self, address: RelayAddress) -> None:
        """Hear that a relay has signed this address."""


class Proposed:
    """The known places of a relay that the person, or the order of a move, proposes as a home or a
    hop, before a vault keeps any of them. For all other relays, `behind` knows the places."""

    def __init__(
        self,
        address: RelayAddress,
        *,
        is_named: bool,
        behind: Where | None = None,
        around: Surroundings = MACHINE,
    ) -> None:
        self._address = address
        self._is_named = is_named
        self._behind = behind
        self._signed: dict[bytes, RelayAddress] = {}
        self.around = behind.around if behind else around

    def where(self, relay: bytes) -> Sequence[Place]:
        """The places at which to look for a relay, in turn."""
        proposed = self._address.places if relay == self._address.key else ()
        known = self._behind.where(relay) if self._behind else ()
        return list(dict.fromkeys([*proposed, *known]))

    def is_named(self, relay: bytes) -> bool:
        """Whether the person has named a place of a relay."""
        is_proposed = self._is_named and relay == self._address.key
        return is_proposed or (self._behind is not None and self._behind.is_named(relay))

    def named(self, relay: bytes) -> NamedAddress | None:
        """The address of a relay as the person has proposed it."""
        if relay == self._address.key and self._is_named:
            return NamedAddress.of(relay, *self._address.places)
        return self._behind.named(relay) if isinstance(self._behind, Proposed) else None

    def signed(self, relay: bytes) -> RelayAddress | None:
        """The newest relay address that a relay has signed."""
        return self._signed.get(relay) or (self._behind.signed(relay) if self._behind else None)

    def found(self, relay: bytes, link: Link) -> None:
        """Keep nothing."""

    def learn(self, address: RelayAddress) -> None:
        """Keep an address that a relay has signed."""
        self._signed[address.key] = address


async def meet(where: Where, relay: bytes) -> Link:
    """A link to a relay, at the first of its places where it answers. Raises like `find`."""
    is_named, network = where.is_named(relay), where.around.network
    places = where.where(relay)
    return await find(relay, places, network=network, may_be_private=lambda _place: is_named)


class Routes:
    """The ways to relays, and one link to each relay that we ask or that serves as a hop. A link is
    made when it is needed, and again after it has ended. Relays go by their keys."""

    def __init__(
        self,
        homes: Sequence[Home],
        setting: bytes,
        where: Where,
        *,
        clock: Callable[[], float],
        period_s: int = 0,
        somebody: Callable[[], bytes] = bytes,
        allows: Callable[[bytes, str], bool] = lambda _relay, _region: True,
        learn: Callable[[bytes, bytes], None] = lambda _relay, _order: None,
    ) -> None:
        """`clock` tells Unix seconds; `allows` says whether the data at a relay may rest in a
        region; `learn` gets, once, the signed order by which drops of a relay have moved."""
        self.homes = homes
        """The relays of the person, which may serve as hops; read each time."""
        self.setting = setting
        """AUTO, OFF, or the key of the hop to use."""
        self.period_s = period_s
        """How often a cell leaves if requests are covered, in seconds; 0 if they are not."""
        self._where = where
        self._somebody = somebody
        """The relay of a random person to whom we may write; empty if there is nobody."""
        self._clock = clock
        self.moved: dict[bytes, Destination] = {}
        """By relay: the destination to ask for its drops, if the relay itself cannot be asked any
        more."""
        self._shown: set[bytes] = set()
        """Relays that have shown an order since we began."""
        self._allows = allows
        self._learn = learn
        self._covers: dict[bytes, Cover] = {}
        self._links: dict[bytes, Link] = {}
        self._locks: dict[tuple[str, bytes], asyncio.Lock] = {}
        self._pause: dict[bytes, tuple[float, float, list[Place]]] = {}
        """By relay: until when we do not look for it again at the places where we missed it, how
        long the next pause is, and those places."""
        self._sealings: dict[bytes, _Sealing] = {}
        self._refused: dict[bytes, float] = {}
        self._away_since: dict[bytes, float] = {}
        self._asked_at: dict[bytes, float] = {}
        """By relay: when we last asked others where it is."""
        self._contacts: set[asyncio.Task[None]] = set()
        """The running exchanges of news with relays that we have just met."""
        self._ended = (0, 0)

    @property
    def sent_bytes(self) -> int:
        """WebSocket payload sent over all links, in bytes."""
        return self._ended[0] + sum(link.sent_bytes for link in self._links.values())

    @property
    def received_bytes(self) -> int:
        """WebSocket payload received over all links, in bytes."""
        return self._ended[1] + sum(link.received_bytes for link in self._links.values())

    def transport(self, relay: bytes) -> Transport:
        """The transport in force for a relay."""
        hops, reason = self._hops(relay)
        if self.period_s:
            is_away = all(hop in self._away_since for hop in hops)
            return Transport(Means.COVERED, b"".join(hops[:1]), reason, is_away)
        if not hops:
            return Transport(Means.DIRECT, b"", reason)
        if self._is_exposed(relay, hops):
            return Transport(Means.DIRECT, b"", "the hop to it cannot be reached")
        is_away = all(hop in self._away_since for hop in hops)
        return Transport(Means.HOPPED, hops[0], "", is_away)

    async def to(self, relay: bytes) -> Way:
        """A way to a relay, and on to where its drops have moved.

        Raises RelayUnreachable (at once if an attempt has failed lately), RelayKeyChanged,
        UnsupportedVersion, BrokenDescriptor, or MovedAway if the relay's drops are in a region that
        is not allowed. The way also raises MovedAway, for drops that have moved there.
        """
        return await self._follow(relay, MAX_MOVES)

    async def _follow(self, relay: bytes, most: int) -> Way:
        async def onward(moved: DropMoved) -> Way:
            to = self._destination(relay, moved.order)
            if not most:
                raise RelayUnreachable("it has moved again and again")
            return await self._follow(to, most - 1)

        try:
            return Following(await self._way(relay), onward)
        except (RelayUnreachable, RelayKeyChanged):
            if relay not in self.moved or not most:
                raise
        return await self._follow(self._onward(relay, self.moved[relay]), most - 1)

    def _destination(self, relay: bytes, signed: bytes) -> bytes:
        """The key of the relay to which a signed order has moved the drops of a relay. Raises
        MovedAway, or RelayUnreachable for an invalid order, which is no word of the relay."""
        try:
            order = open_order(signed)
        except BrokenMove:
            raise RelayUnreachable("it says that it has moved, and not where") from None
        if order.source != relay:
            raise RelayUnreachable("it shows another relay's order")
        if relay not in self._shown:
            self._shown.add(relay)
            self.moved[relay] = Destination(order.to, order.region)
            self._learn(relay, signed)
        return self._onward(relay, self.moved[relay])

    def _onward(self, relay: bytes, to: Destination) -> bytes:
        if not self._allows(relay, to.region):
            raise MovedAway(to.region, retry_after=AWAY_RETRY_S)
        return to.relay.key

    async def _way(self, relay: bytes) -> Way:
        hops, reason = self._hops(relay)
        if not hops:
            if self.period_s:
                raise NoHop(reason, retry_after=REFUSED_S)
            return await self._link(relay)
        failure: RelayUnreachable = HopAway()
        for hop in hops:
            try:
                link = await self._link(hop)
            except RelayUnreachable as error:
                self._away_since.setdefault(hop, _now())
                failure = HopAway(error.detail, retry_after=error.retry_after)
                continue
            if link.is_around:
                self._away_since.setdefault(hop, _now())
                failure = HopAway("a hop on this machine would go around the proxy")
                continue
            self._away_since.pop(hop, None)
            try:
                hopped = await self._through(link, hop, relay)
            except RelayUnreachable as error:
                failure = error
                continue
            if not self.period_s:
                return hopped
            return Covered(hopped, self._cover(hop))
        if self._is_exposed(relay, hops):
            end = _now() + HOP_AWAY_S
            return Detour(await self._link(relay), lambda: _now() < end)
        raise failure

    def close(self) -> None:
        """End every connection."""
        for link in self._links.values():
            link.close()
        self._links.clear()
        for cover in self._covers.values():
            cover.close()
        self._covers.clear()
        for contact in self._contacts:
            contact.cancel()

    async def keep_cover(self) -> None:
        """Send a cell and ask for a page in every round, whether or not there is anything to say,
        for ever."""
        async with asyncio.TaskGroup() as tasks:
            for hop in self._behind():
                tasks.create_task(self._cover(hop).run())

    def cover_bytes(self) -> tuple[int, int]:
        """(bytes up, bytes down) that cover takes in a day, in frames; zeros if requests are not
        covered."""
        if not self.period_s:
            return 0, 0
        each = [
            day_bytes(self.period_s, is_first=relay == self.homes[0].relay)
            for relay in self._behind().values()
        ]
        return sum(up for up, _ in each), sum(down for _, down in each)

    def _behind(self) -> dict[bytes, bytes]:
        """Each hop that we use, and the first relay to which it leads."""
        chosen = [self.setting] if self.setting not in (AUTO, OFF) else []
        found: dict[bytes, bytes] = {}
        for relay in [home.relay for home in self.homes] + chosen:
            for hop in self._hops(relay)[0][:1]:
                found.setdefault(hop, relay)
        return found

    def _cover(self, hop: bytes) -> Cover:
        if hop not in self._covers:
            self._covers[hop] = Cover(
                self.period_s,
                is_first=self._behind().get(hop) == self.homes[0].relay,
                empty_cell=lambda: self._empty(hop, empty_cell()),
                empty_page=lambda: self._empty(hop, empty_page()),
                clock=self._clock,
            )
        return self._covers[hop]

    async def _empty(self, hop: bytes, request: wire.Request) -> wire.Reply:
        """Make an empty request through a hop. The hop sees its destination, so it goes where a
        word, or a request for a page, would go."""
        relay = self._somebody() if isinstance(request, wire.Publish) else b""
        if not relay or hop not in self._hops(relay)[0][:1]:
            relay = self._behind()[hop]
        hopped = await self._through(await self._link(hop), hop, relay)
        return await hopped.ask(request)

    def _hops(self, relay: bytes) -> tuple[list[bytes], str]:
        """The hops to a relay, the better one first, and the reason if there are none."""
        if self.setting == OFF:
            return [], "hops are switched off"
        if self.setting != AUTO:
            if self.setting != relay:
                return [self.setting], ""
            if not self.period_s:
                return [], "it is the hop itself"
        if len(self.homes) == 1:
            return [], "a hop needs a second relay, of another operator"
        if len({home.operator for home in self.homes} - {""}) < len(self.homes):
            return [], "both relays have the same operator, or do not name one"
        others = [home for home in reversed(self.homes) if home.relay != relay]
        hops = [home.relay for home in others if home.is_hop]
        return hops, "" if hops else "the other relay does not pass requests on"

    def _is_exposed(self, relay: bytes, hops: list[bytes]) -> bool:
        """Whether we have to ask the fallback directly, because every hop to it is away."""
        if self.setting != AUTO or self.period_s:
            return False
        if relay not in [home.relay for home in self.homes[1:]]:
            return False
        now = _now()
        return all(now - self._away_since.get(hop, now) >= HOP_AWAY_S for hop in hops)

    async def _through(self, link: Link, hop: bytes, relay: bytes) -> Hopped:
        async with self._locks.setdefault(("to", relay), asyncio.Lock()):
            sealing = self._sealings.get(relay)
            if sealing is None or sealing.hop != hop:
                if _now() < self._refused.get(relay, 0.0):
                    raise RelayUnreachable(HopRefused.text, retry_after=REFUSED_S)
                descriptor = await self._inquire(link, relay)
                sealing = self._sealings[relay] = _Sealing(hop, descriptor.sealing)
        return Hopped(link, relay, sealing.key, lambda: self._forget(relay))

    def _forget(self, relay: bytes) -> None:
        self._sealings.pop(relay, None)

    async def _inquire(self, link: Link, relay: bytes) -> Descriptor:
        try:
            await self._compare(link, relay)
            descriptor = await inquire(link, relay, self._where.where(relay))
        except (PeerError, BrokenDescriptor) as error:
            # All of this is the hop's word, so the relay is not to blame for it.
            self._refused[relay] = _now() + REFUSED_S
            raise RelayUnreachable(f"through the hop: {error}", retry_after=REFUSED_S) from None
        if not descriptor.sealing:
            raise RelayUnreachable("it takes no sealed requests", retry_after=REFUSED_S)
        self._where.learn(descriptor.address)
        return descriptor

    async def _compare(self, link: Link, relay: bytes) -> bool:
        """Exchange with a relay the newest known address of another relay; returns whether its copy
        was newer than ours. Raises like a link."""
        known = self._where.signed(relay)
        located = await link.request(wire.Locate(0, relay, known), wire.Located)
        found = located.address
        if found is None or found.key != relay or (known and found.issued <= known.issued):
            return False
        self._where.learn(found)
        return True

    async def _link(self, relay: bytes) -> Link:
        try:
            return await self._connected(relay)
        except (RelayUnreachable, RelayKeyChanged):
            is_news, link = await self._ask_around(relay), self._links.get(relay)
            if link is not None and link.is_open:
                return link  # another task has found it meanwhile
            if not is_news:
                raise
        self.look_again(relay)
        return await self._connected(relay)

    def look_again(self, relay: bytes) -> None:
        """Look for a relay again without a pause, because it may be elsewhere now."""
        self._pause.pop(relay, None)
        self._refused.pop(relay, None)
        self._forget(relay)

    async def ask_where(self, relay: bytes) -> bool:
        """Ask a relay for its signed address, by the same way as for everything else; returns
        whether it has told us. Raises like `to`."""
        if not self.may_be_met(relay):
            self._forget(relay)
            return isinstance(await self._way(relay), Hopped | Covered)
        link = await self._link(relay)
        self._where.learn((await link.describe(relay)).address)
        return True

    async def _connected(self, relay: bytes) -> Link:
        async with self._locks.setdefault(("at", relay), asyncio.Lock()):
            link = self._links.get(relay)
            if link is not None and link.is_open:
                return link
            until, pause, missed = self._pause.get(relay, (0.0, RETRY_S[0], []))
            places = list(self._where.where(relay))
            if _now() < until and places == missed:
                raise RelayUnreachable(retry_after=until - _now())
            try:
                link = await meet(self._where, relay)
            except RelayUnreachable as error:
                self._pause[relay] = (_now() + pause, min(2 * pause, RETRY_S[1]), places)
                raise type(error)(error.detail, retry_after=pause) from None
            self._pause.pop(relay, None)
            if relay in self._links:
                ended = self._links[relay]
                self._ended = (
                    self._ended[0] + ended.sent_bytes,
                    self._ended[1] + ended.received_bytes,
                )
            self._links[relay] = link
        self._where.found(relay, link)
        self._begin_contact(link, relay)
        return link

    def bring_news(self) -> None:
        """Tell those of our relays to which we are connected where the others are now."""
        for relay in self._own():
            link = self._links.get(relay)
            if link is not None and link.is_open:
                self._begin_contact(link, relay)

    def _begin_contact(self, link: Link, relay: bytes) -> None:
        contact = asyncio.ensure_future(self._make_contact(link, relay))
        self._contacts.add(contact)
        contact.add_done_callback(self._contacts.discard)

    async def _make_contact(self, link: Link, relay: bytes) -> None:
        """Learn the present and future places of a relay. Tell a relay of ours those of the others,
        so that people who lose one of them can ask it."""
        with contextlib.suppress(Unavailable, PeerError, TrustError):  # the next contact tries
            self._where.learn((await link.describe(relay)).address)
            if relay in self._own():
                for other in self._own():
                    if other != relay:
                        await self._compare(link, other)

    async def _ask_around(self, relay: bytes) -> bool:
        """Ask our other relays where one of ours is; returns whether one of them knows more than we
        do."""
        if relay not in self._own() or _now() < self._asked_at.get(relay, -ASK_S) + ASK_S:
            return False
        self._asked_at[relay] = _now()
        for other in self._own():
            if other != relay and self.may_be_met(other):
                with contextlib.suppress(Unavailable, PeerError, TrustError):
                    if await self._compare(await self._connected(other), relay):
                        return True
        return False

    def may_be_met(self, relay: bytes) -> bool:
        """Whether a relay sees our network address anyway, because it is a hop or we ask it
        directly."""
        hops, _ = self._hops(relay)
        return relay in self._behind() or not (hops or self.period_s)

    def _own(self) -> list[bytes]:
        return [home.relay for home in self.homes]

    def place(self, relay: bytes) -> Place | None:
        """The place where we reach a relay just now, if we ask it directly or it is a hop."""
        link = self._links.get(relay)
        return link.place if link is not None and link.is_open else None


async def inquire(link: Link, relay: bytes, places: Iterable[Place]) -> Descriptor:
    """The descriptor of the relay with this key, fetched through a hop. If the hop does not know
    where the relay is, it may try these places.

    Raises HopRefused, RelayUnreachable, or BrokenDescriptor if the relay has not signed it.
    """
    at = [one for one in places if one.tls == "pinned" and not is_private(one.host)]
    try:
        inquiry = wire.Inquire(0, relay, tuple(at[:MAX_PLACES]))
        described = await link.request(inquiry, wire.Described)
    except Unavailable as error:
        raise RelayUnreachable("it or the hop", retry_after=error.retry_after) from None
    return open_descriptor(described.descriptor, relay)


def _now() -> float:
    return asyncio.get_running_loop().time()
