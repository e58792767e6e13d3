"""A relay as a hop: it hands sealed requests to other relays, and their answers back.

All clients of a hop share one connection to each destination, so a destination sees one peer and
not the people behind it. A hop cannot read the requests that it carries. A client names a relay by
its key; the hop finds the address in its operator's list and in the signed word of the relay with
that key. It goes to listed relays only, or, if it is open, to any relay that proves to have the
key, at an address of the public internet.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, NamedTuple

from amanat.errors import (
    BadSetting,
    BrokenAddress,
    HopRefused,
    NotPublic,
    PeerError,
    RelayBusy,
    RelayUnreachable,
    TrustError,
    Unavailable,
)
from amanat.link import Link, find
from amanat.protocol import wire
from amanat.protocol.descriptor import open_descriptor, parse_address
from amanat.protocol.introduction import introduce, is_introduced
from amanat.protocol.rounds import hand_on_at

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from amanat.config import HopConfig
    from amanat.protocol.descriptor import NamedAddress, RelayAddress
    from amanat.protocol.places import Place
    from amanat.relay.known import Known

NEW_DESTINATIONS = (16, 60.0)
"""The number of new destinations that a client may name, and in how many seconds."""
NEW_ADDRESSES = (64, 60.0)
"""The number of new relay addresses that a client may bring, and in how many seconds: no client can
crowd out the others' addresses."""
PAUSE_S = 5.0
"""Seconds for which the hop does not try an unreachable destination again."""
DAY_S = 86_400
DESCRIPTOR_S = 600.0
"""Seconds for which the hop hands out a destination's descriptor before it asks for it again."""


class Rate:
    """A limit of `most` events in `seconds`, counted from the first of them."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most, self._seconds = most, seconds
        self._many, self._since = 0, 0.0

    def take(self, *, now: float) -> None:
        """Count one more. Raises RelayBusy if that is too many."""
        if not 0 <= now - self._since < self._seconds:
            self._many, self._since = 0, now
        if self._many >= self._most:
            raise RelayBusy(retry_after=self._seconds - (now - self._since))
        self._many += 1


class Guest:
    """The state that a hop keeps of a client while the client is connected."""

    def __init__(self) -> None:
        self.destinations: set[bytes] = set()
        self.rate = Rate(*NEW_DESTINATIONS)
        self.brought = Rate(*NEW_ADDRESSES)


class _Ready(NamedTuple):
    """A relay that has proved to have the key."""

    link: Link
    descriptor: bytes
    since: float


class _Destination:
    """A relay to which the hop hands requests. The hop connects when it first needs to."""

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.proving: asyncio.Task[_Ready] | None = None
        """The task in which it proves its key: one for all requests that wait for it, even if some
        of them end meanwhile."""
        self.ready: _Ready | None = None
        self.place: Place | None = None
        """The place at which the hop found it last."""
        self.failed_at = -PAUSE_S
        self.failed_for: RelayAddress | None = None
        """The address that it had signed when the hop last failed to reach it."""
        self.used_at = 0.0
        self.waiting = 0
        """Requests that are under way."""

    def close(self) -> None:
        if self.proving is not None:
            self.proving.cancel()
        if self.ready is not None:
            self.ready.link.close()


class Hop:
    """The connections of a hop, and the hops that ask this relay. Raises BadSetting if a list has
    anything other than relay addresses."""

    def __init__(
        self,
        settings: HopConfig,
        identity: Ed25519PrivateKey,
        known: Known,
        *,
        clock: Callable[[], float],
    ) -> None:
        """`clock` tells Unix seconds."""
        listed = _parse("relays", settings.relays)
        self._by = {address.key for address in _parse("by", settings.by)}
        self._settings = settings
        self._identity = identity
        self._own_key = identity.public_key().public_bytes_raw()
        self._known = known
        self._listed = {address.key: address for address in listed}
        self._destinations: dict[bytes, _Destination] = {}
        self._rate = Rate(settings.new_destinations_per_minute, 60.0)
        self._clock = clock
        self._covered: list[asyncio.Future[None]] = []
        """The future of each request that waits for the end of its round."""

    @property
    def is_served(self) -> bool:
        """Whether the hop forwards requests at all."""
        return self._settings.serve == "open" or (
            self._settings.serve == "listed" and bool(self._listed)
        )

    def shares(self, word: wire.Introduce) -> int:
        """The number of clients for which a relay that introduces itself as a hop counts: more than
        one only if the introduction is true and the hop is listed."""
        is_listed = word.hop in self._by
        if is_listed and is_introduced(word.hop, word.signature, to=self._own_key):
            return self._settings.shares
        return 1

    def locate(self, relay: bytes, known: RelayAddress | None, guest: Guest) -> RelayAddress | None:
        """The newest signed address of a relay, after taking the one that a client knows.

        Raises RelayBusy if the client has brought too many.
        """
        before = self._known.get(relay)
        if known is not None and (before is None or before.issued < known.issued):
            guest.brought.take(now=asyncio.get_running_loop().time())
            self._known.take(known)
        return self._known.get(relay)

    async def inquire(self, to: bytes, guest: Guest, at: Sequence[Place] = ()) -> bytes:
        """The signed descriptor of a relay. If the hop does not find the relay at its own places,
        it asks at the places `at`, which are only a client's word: it sends nothing else there, and
        keeps nothing but the relay's own signed answer.

        Raises HopRefused, RelayBusy, RelayUnreachable or RelayKeyChanged.
        """
        destination = self._find(to, guest)
        try:
            return (await self._prove(destination)).descriptor
        except (RelayUnreachable, HopRefused):
            places = [place for place in at if place.tls == "pinned"]
            if not places:
                raise
        now = asyncio.get_running_loop().time()
        guest.rate.take(now=now)
        self._rate.take(now=now)
        return await self._ask_at(destination, places)

    async def _ask_at(self, destination: _Destination, places: Sequence[Place]) -> bytes:
        try:
            link = await find(destination.key, places, may_be_private=lambda _place: False)
        except NotPublic:
            raise HopRefused from None
        try:
            described = await link.request(wire.Describe(0, b""), wire.Described)
        finally:
            link.close()
        opened = open_descriptor(described.descriptor, destination.key)
        self._known.take(opened.address)
        return described.descriptor

    async def forward(
        self, to: bytes, sealed: bytes, guest: Guest, *, is_covered: bool = False
    ) -> bytes:
        """A relay's sealed answer to a sealed request. The hop hands on a covered request with all
        others of its round.

        Raises like `inquire`, and the error with which the relay refuses an unopened request.
        """
        destination = self._find(to, guest)
        destination.waiting += 1
        try:
            if is_covered:
                await self._turn()
            ready = await self._prove(destination)
            return (await ready.link.request(wire.Sealed(0, sealed), wire.Answer)).sealed
        finally:
            destination.waiting -= 1

    async def _turn(self) -> None:
        """Wait until the hop hands on the requests of this round, and then for this one's turn."""
        if not self._covered:
            now = self._clock()
            asyncio.get_running_loop().call_later(hand_on_at(now) - now, self._hand_on)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._covered.append(turn)
        await turn

    def _hand_on(self) -> None:
        turns, self._covered = self._covered, []
        secrets.SystemRandom().shuffle(turns)
        for turn in turns:
            if not turn.done():
                turn.set_result(None)

    def close(self) -> None:
        """End every connection."""
        for destination in self._destinations.values():
            destination.close()
        self._destinations.clear()

    def _find(self, to: bytes, guest: Guest) -> _Destination:
        is_listed = to in self._listed
        if self._settings.serve == "off" or not (is_listed or self._settings.serve == "open"):
            raise HopRefused
        if to == self._own_key:
            raise HopRefused  # one machine would see both the client and its request
        now = asyncio.get_running_loop().time()
        if to not in guest.destinations:
            guest.rate.take(now=now)
            guest.destinations.add(to)
        destination = self._destinations.get(to)
        if destination is None:
            if len(self._destinations) >= self._settings.destinations:
                self._drop_idle()
            destination = self._destinations[to] = _Destination(to)
        destination.used_at = now
        return destination

    def _places(self, destination: _Destination) -> list[Place]:
        """The places at which to look for a relay, in order."""
        listed, signed = self._listed.get(destination.key), self._known.get(destination.key)
        places = list(listed.places) if listed else []
        if signed is not None:
            day = int(self._clock() // DAY_S)
            stays = sorted(signed.stays, key=lambda stay: stay.rank(day))
            # With an ordinary certificate, anybody trusted by an authority may answer.
            places += [one.place for one in stays if listed or one.place.tls == "pinned"]
        places.sort(key=lambda place: place != destination.place)
        return list(dict.fromkeys(places))

    def _drop_idle(self) -> None:
        idle = [
            (one.used_at, key)
            for key, one in self._destinations.items()
            if not one.waiting and one.proving is None
        ]
        if not idle:
            raise RelayBusy(retry_after=PAUSE_S)
        self._destinations.pop(min(idle)[1]).close()

    async def _prove(self, destination: _Destination) -> _Ready:
        """The connection to a destination, once it has shown a descriptor signed by its key."""
        ready, now = destination.ready, asyncio.get_running_loop().time()
        if ready is not None and ready.link.is_open and now - ready.since < DESCRIPTOR_S:
            return ready
        if destination.proving is None:
            is_news = destination.failed_for is not self._known.get(destination.key)
            if now - destination.failed_at < PAUSE_S and not is_news:
                raise RelayUnreachable(retry_after=destination.failed_at + PAUSE_S - now)
            destination.proving = asyncio.ensure_future(self._ask_who(destination))
            destination.proving.add_done_callback(_is_told)
        return await asyncio.shield(destination.proving)

    async def _ask_who(self, destination: _Destination) -> _Ready:
        now = asyncio.get_running_loop().time()
        link = destination.ready.link if destination.ready is not None else None
        try:
            if link is None or not link.is_open:
                self._rate.take(now=now)
                link = await self._connect(destination)
                signature = introduce(self._identity, to=destination.key)
                link.introduce(wire.Introduce(0, self._own_key, signature))
            described = await link.request(wire.Describe(0, b""), wire.Described)
            opened = open_descriptor(described.descriptor, destination.key)
        except (PeerError, TrustError, Unavailable):
            destination.failed_at = now
            destination.failed_for = self._known.get(destination.key)
            destination.ready = None
            if link is not None:
                link.close()
            raise
        else:
            self._known.take(opened.address)
            destination.ready = _Ready(link, described.descriptor, now)
            return destination.ready
        finally:
            destination.proving = None

    async def _connect(self, destination: _Destination) -> Link:
        listed = self._listed.get(destination.key)
        named = listed.places if listed else ()
        try:
            link = await find(
                destination.key, self._places(destination), may_be_private=named.__contains__
            )
        except NotPublic:
            raise HopRefused from None
        destination.place = link.place
        return link


def _parse(name: str, addresses: Sequence[str]) -> list[NamedAddress]:
    try:
        return list(map(parse_address, addresses))
    except BrokenAddress as error:
        raise BadSetting(f"hop.{name}: {error}") from None


def _is_told(proving: asyncio.Task[_Ready]) -> None:
    """Mark the outcome as retrieved: each waiting request gets it, but there may be none left."""
    if not proving.cancelled():
        proving.exception()
