"""How requests get to a relay: over a link to it, or sealed and through a hop.

*Direct*, the relay sees the network address. *Hopped*, another relay of ours hands the request
over: it sees who asks and not what, the relay sees what and not who. Which of the two is decided
here and nowhere else, and never by a hop: what one refuses or breaks waits, and does not go direct.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple, Protocol

from amanat.errors import (
    BrokenSeal,
    HopAway,
    HopRefused,
    PeerError,
    RelayUnreachable,
    Unavailable,
)
from amanat.link import RETRY_S, Link, R, connect, expect, unless_failed
from amanat.protocol import wire
from amanat.protocol.descriptor import open_descriptor, parse_address
from amanat.protocol.drops import next_digest
from amanat.protocol.sealing import open_answer, seal_request

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from amanat.client.profile import Home
    from amanat.protocol.descriptor import Descriptor

AUTO, OFF = "auto", "off"
"""What a person can have besides a hop of their choice: one of their own two relays, or none."""
TRANSPORTS = {
    "direct": "your relay sees your network address, when you are online, and into which buckets"
    " (of about 32 people each) you put cells; not what they say, nor for whom of the bucket",
    "hopped": "your relay sees that somebody asks, and not who: another relay hands it over, which"
    " sees your network address and not what is asked; only both together could tell",
}
"""What each transport means, in words a person understands."""
HOP_AWAY_S = 20
"""How long no hop may be there before the fallback relay, which is one itself, is asked directly:
else one dead relay of two would be as bad as two."""
CURSOR_STEP = 256
"""Of a drop that was not followed for a while only multiples of this are asked for, in cells: where
exactly a reader left off would tell the relay when it was last there, and so which one it is."""
REFUSED_S = 30.0
"""How long a relay that the hop does not go to is not asked for again, in seconds."""


class Way(Protocol):
    """How to ask a relay. Each raises RelayUnreachable, and the error that the relay names."""

    async def request(self, request: wire.Request, answer: type[R]) -> R:
        """The relay's answer, of the kind it must have. Raises UnexpectedReply too."""

    async def ask(self, request: wire.Request) -> wire.Reply:
        """The relay's answer."""

    def follow(
        self, drop_id: bytes, read_token: bytes, after: int
    ) -> AsyncGenerator[wire.Cells, None]:
        """The cells of a drop as they come. Ends where another way may be better from now on."""


class Transport(NamedTuple):
    """What is in force for a relay, and why.

    `kind` is "direct" or "hopped", `hop` the address of the hop, `reason` why it is direct;
    `is_away` says that no hop could be reached just now.
    """

    kind: str
    hop: str
    reason: str
    is_away: bool = False


class _Asked:
    """A way on which every request stands alone."""

    wait_s = wire.MAX_WAIT_S
    """How long a followed drop is waited at."""

    def __init__(self, is_good: Callable[[], bool]) -> None:
        self._is_good = is_good

    async def request(self, request: wire.Request, answer: type[R]) -> R:
        return expect(await self.ask(request), answer)

    async def ask(self, request: wire.Request) -> wire.Reply:
        raise NotImplementedError

    async def follow(
        self, drop_id: bytes, read_token: bytes, after: int
    ) -> AsyncGenerator[wire.Cells, None]:
        start, wait = after - after % CURSOR_STEP, 0
        while self._is_good():
            read = wire.Read(0, drop_id, read_token, start, wire.MAX_CELLS, wait)
            cells = await self.request(read, wire.Cells)
            end = cells.first + len(cells.cells) - 1
            if end >= after or not cells.cells:
                yield _behind(cells, after)
                after = max(after, end)
            start = max(start, end)
            wait = self.wait_s if start >= cells.head else 0


def _behind(cells: wire.Cells, after: int) -> wire.Cells:
    """Without the cells up to `after`, which were read before."""
    many = max(0, after + 1 - cells.first) if cells.cells else 0
    before = cells.before
    for cell in cells.cells[:many]:
        before = next_digest(before, cell)
    return wire.Cells(cells.id, cells.first + many, before, cells.cells[many:], cells.head)


class _Hopped(_Asked):
    """Sealed, through a hop."""

    def __init__(self, link: Link, to: str, sealing: bytes, forget: Callable[[], None]) -> None:
        super().__init__(lambda: link.is_open)
        self._link = link
        self._to, self._key = to, parse_address(to).key
        self._sealing = sealing
        self._forget = forget

    async def ask(self, request: wire.Request) -> wire.Reply:
        sealed, key = seal_request(
            wire.encode(wire.with_id(request, 0)), to=self._sealing, relay=self._key
        )
        forward = wire.Forward(0, self._to, sealed)
        try:
            answer = await self._link.request(forward, wire.Answer)
            reply = wire.decode_reply(open_answer(answer.sealed, key))
        except RelayUnreachable:
            self._forget()
            raise
        except PeerError as error:
            # Said by the hop, or by the relay of a seal that it cannot open. Neither may decide
            # that a request is refused: only what comes sealed is the relay's own word.
            self._forget()
            raise RelayUnreachable(f"through the hop: {error.code}") from None
        return unless_failed(reply)


class _Detour(_Asked):
    """Over a link, for a while: a hop may be there again."""

    wait_s = HOP_AWAY_S

    def __init__(self, link: Link, is_good: Callable[[], bool]) -> None:
        super().__init__(is_good)
        self._link = link

    async def ask(self, request: wire.Request) -> wire.Reply:
        return await self._link.ask(request)


class _Sealing(NamedTuple):
    """Where requests to a relay are sealed to."""

    hop: str
    key: bytes


class Routes:
    """The ways to relays, and one link to each that is asked or goes between, made when it is
    needed and made again when it ended."""

    def __init__(self, homes: Sequence[Home], setting: str) -> None:
        self.homes = homes
        """The relays of the person, which may serve as hops; read each time."""
        self.setting = setting
        """AUTO, OFF, or the address of the hop to use."""
        self._links: dict[str, Link] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._pause: dict[str, tuple[float, float]] = {}
        self._sealings: dict[str, _Sealing] = {}
        self._refused: dict[str, float] = {}
        self._away_since: dict[str, float] = {}
        self._ended = (0, 0)

    @property
    def sent_bytes(self) -> int:
        """WebSocket payload sent over all links, in bytes."""
        return self._ended[0] + sum(link.sent_bytes for link in self._links.values())

    @property
    def received_bytes(self) -> int:
        """WebSocket payload received over all links, in bytes."""
        return self._ended[1] + sum(link.received_bytes for link in self._links.values())

    def transport(self, relay: str) -> Transport:
        """What is in force for a relay."""
        hops, reason = self._hops(relay)
        if not hops:
            return Transport("direct", "", reason)
        if self._is_exposed(relay, hops):
            return Transport("direct", "", "the hop to it cannot be reached")
        is_away = all(hop in self._away_since for hop in hops)
        return Transport("hopped", hops[0], "", is_away)

    async def to(self, relay: str) -> Way:
        """A way to a relay.

        Raises RelayUnreachable, at once while a recent attempt has failed, RelayKeyChanged,
        UnsupportedVersion or BrokenDescriptor.
        """
        hops, _ = self._hops(relay)
        if not hops:
            return await self._link(relay)
        failure: RelayUnreachable = HopAway()
        for hop in hops:
            try:
                link = await self._link(hop)
            except RelayUnreachable as error:
                self._away_since.setdefault(hop, _now())
                failure = HopAway(hop, retry_after=error.retry_after)
                continue
            self._away_since.pop(hop, None)
            try:
                return await self._through(link, hop, relay)
            except RelayUnreachable as error:
                failure = error
        if self._is_exposed(relay, hops):
            end = _now() + HOP_AWAY_S
            return _Detour(await self._link(relay), lambda: _now() < end)
        raise failure

    def close(self) -> None:
        """End every connection."""
        for link in self._links.values():
            link.close()
        self._links.clear()

    def _hops(self, relay: str) -> tuple[list[str], str]:
        """The hops to a relay, the better first, or why there are none."""
        if self.setting == OFF:
            return [], "hops are switched off"
        key = parse_address(relay).key
        if self.setting != AUTO:
            is_other = parse_address(self.setting).key != key
            return ([self.setting], "") if is_other else ([], "it is the hop itself")
        if len(self.homes) == 1:
            return [], "a hop needs a second relay, of another operator"
        if len({home.operator for home in self.homes} - {""}) < len(self.homes):
            return [], "both relays have the same operator, or do not name one"
        others = [home for home in reversed(self.homes) if parse_address(home.relay).key != key]
        hops = [home.relay for home in others if home.is_hop]
        return hops, "" if hops else "the other relay does not pass requests on"

    def _is_exposed(self, relay: str, hops: list[str]) -> bool:
        """Whether the fallback has to be asked directly, since every hop to it is away."""
        if self.setting != AUTO or relay not in [home.relay for home in self.homes[1:]]:
            return False
        now = _now()
        return all(now - self._away_since.get(hop, now) >= HOP_AWAY_S for hop in hops)

    async def _through(self, link: Link, hop: str, relay: str) -> _Hopped:
        async with self._locks.setdefault(f"to {relay}", asyncio.Lock()):
            sealing = self._sealings.get(relay)
            if sealing is None or sealing.hop != hop:
                if _now() < self._refused.get(relay, 0.0):
                    raise RelayUnreachable(HopRefused.text, retry_after=REFUSED_S)
                descriptor = await self._inquire(link, relay)
                sealing = self._sealings[relay] = _Sealing(hop, descriptor.sealing)
        return _Hopped(link, relay, sealing.key, lambda: self._forget(relay))

    def _forget(self, relay: str) -> None:
        self._sealings.pop(relay, None)

    async def _inquire(self, link: Link, relay: str) -> Descriptor:
        try:
            descriptor = await inquire(link, relay)
        except (HopRefused, BrokenSeal) as error:
            self._refused[relay] = _now() + REFUSED_S
            raise RelayUnreachable(str(error), retry_after=REFUSED_S) from None
        if not descriptor.sealing:
            raise RelayUnreachable("it takes no sealed requests", retry_after=REFUSED_S)
        return descriptor

    async def _link(self, address: str) -> Link:
        async with self._locks.setdefault(address, asyncio.Lock()):
            link = self._links.get(address)
            if link is not None and link.is_open:
                return link
            until, pause = self._pause.get(address, (0.0, RETRY_S[0]))
            if _now() < until:
                raise RelayUnreachable(retry_after=until - _now())
            try:
                link = await connect(parse_address(address))
            except RelayUnreachable as error:
                self._pause[address] = (_now() + pause, min(2 * pause, RETRY_S[1]))
                raise RelayUnreachable(error.detail, retry_after=pause) from None
            self._pause.pop(address, None)
            if address in self._links:
                ended = self._links[address]
                self._ended = (
                    self._ended[0] + ended.sent_bytes,
                    self._ended[1] + ended.received_bytes,
                )
            self._links[address] = link
            return link


async def inquire(link: Link, relay: str) -> Descriptor:
    """What a relay says of itself, by way of a hop.

    Raises HopRefused, RelayUnreachable, or BrokenDescriptor if the relay has not signed it.
    """
    try:
        described = await link.request(wire.Inquire(0, relay), wire.Described)
    except Unavailable as error:
        raise RelayUnreachable("it or the hop", retry_after=error.retry_after) from None
    return open_descriptor(described.descriptor, parse_address(relay).key)


def _now() -> float:
    return asyncio.get_running_loop().time()
