"""How requests get to a relay: over a link to it, or sealed and through a hop.

*Direct*, the relay sees the network address. *Hopped*, another relay of ours hands the request
over: it sees who asks and not what, the relay sees what and not who. *Covered*, it does so in
rounds (client/cover.py), and nobody sees whether anything was said. Which of them is decided here
and nowhere else, and never by a hop: what one refuses or breaks waits, and goes no other way.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NamedTuple, Protocol

from amanat.client.cover import Cover, day_bytes, empty_cell, empty_page
from amanat.client.moves import Destination
from amanat.errors import (
    BrokenMove,
    BrokenSeal,
    CellTooLarge,
    DropMoved,
    HopAway,
    HopRefused,
    MovedAway,
    NoHop,
    PeerError,
    RelayUnreachable,
    Unavailable,
)
from amanat.link import AT_ONCE, RETRY_S, Link, R, anywhere, connect, expect, unless_failed
from amanat.protocol import wire
from amanat.protocol.cells import MESSAGE_CELL
from amanat.protocol.descriptor import open_descriptor, parse_address
from amanat.protocol.drops import next_digest
from amanat.protocol.moving import open_order
from amanat.protocol.sealing import open_answer, seal_request

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from amanat.client.profile import Home
    from amanat.protocol.descriptor import Descriptor

AUTO, OFF = "auto", "off"
"""What a person can have besides a hop of their choice: one of their own two relays, or none."""
TRANSPORTS = {
    "direct": "your relay sees your network address, when you are online, and into which buckets"
    " (of about 32 people each) you put cells; not what they say, nor for whom of the bucket",
    "hopped": "your relay sees that somebody asks, and not who: another relay hands it over, which"
    " sees your network address and not what is asked; only both together could tell",
    "covered": "as hopped, and once in a period one cell leaves, yours or an empty one: who sees"
    " your line, or is the hop, sees when Amanat runs, and not whether you say anything. Only what"
    " is larger than a cell (long texts, joining, changes of a group) leaves when it is said",
}
"""What each transport means, in words a person understands."""
HOP_AWAY_S = 20
"""How long no hop may be there before the fallback relay, which is one itself, is asked directly:
else one dead relay of two would be as bad as two."""
CURSOR_STEP = 256
"""Of a drop that was not followed for a while only multiples of this are asked for, in cells: where
exactly a reader left off would tell the relay when it was last there, and so which one it is."""
MAX_MOVES = 4
"""How often what rests at a relay may have moved on: it is asked for at each of them."""
AWAY_RETRY_S = 10.0
"""How long what has moved to a region that is not allowed is not asked for again, in seconds: the
person may allow it meanwhile."""
REFUSED_S = 30.0
"""How long a relay that the hop does not go to is not asked for again, in seconds."""


class Way(Protocol):
    """How to ask a relay. Each raises RelayUnreachable, and the error that the relay names."""

    at_once: int
    """Requests that should be under way at once."""

    async def request(self, request: wire.Request, answer: type[R]) -> R:
        """The relay's answer, of the kind it must have. Raises UnexpectedReply too."""

    async def ask(self, request: wire.Request) -> wire.Reply:
        """The relay's answer."""

    async def catch_up(self, read: wire.Read) -> wire.Cells:
        """What came meanwhile, for whoever has just come, or joined: covered, it is not waited for,
        since everybody sees that they have."""

    def follow(
        self, drop_id: bytes, read_token: bytes, after: int
    ) -> AsyncGenerator[wire.Cells, None]:
        """The cells of a drop as they come. Ends where another way may be better from now on."""


class Transport(NamedTuple):
    """What is in force for a relay, and why.

    `kind` is "direct", "hopped" or "covered", `hop` the address of the hop, `reason` why there is
    none; `is_away` says that no hop could be reached just now.
    """

    kind: str
    hop: str
    reason: str
    is_away: bool = False


class _Asked:
    """A way on which every request stands alone."""

    at_once = AT_ONCE
    wait_s = wire.MAX_WAIT_S
    """How long a followed drop is waited at."""

    def __init__(self, is_good: Callable[[], bool]) -> None:
        self.is_good = is_good

    async def request(self, request: wire.Request, answer: type[R]) -> R:
        return expect(await self.ask(request), answer)

    async def ask(self, request: wire.Request) -> wire.Reply:
        raise NotImplementedError

    async def catch_up(self, read: wire.Read) -> wire.Cells:
        return await self.request(read, wire.Cells)

    async def follow(
        self, drop_id: bytes, read_token: bytes, after: int
    ) -> AsyncGenerator[wire.Cells, None]:
        start, wait = after - after % CURSOR_STEP, 0
        while self.is_good():
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
        # What is to be published with others must come with them, too.
        hand_on = wire.Cover if isinstance(request, wire.Publish) else wire.Forward
        forward = hand_on(0, self._to, sealed)
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


class _Covered(_Asked):
    """As hopped, in the rounds of a cover.

    Cells of the smallest size and pages have their places there. What is larger, and what comes
    first after an absence that everybody sees anyway, is hopped.
    """

    at_once = 1

    def __init__(self, hopped: _Hopped, cover: Cover) -> None:
        super().__init__(hopped.is_good)
        self._hopped = hopped
        self._cover = cover

    async def ask(self, request: wire.Request) -> wire.Reply:
        if isinstance(request, wire.Append) and len(request.cell) == MESSAGE_CELL:
            publish = wire.Publish(0, request.drop_id, request.append_token, request.cell)
            return await self._cover.cell(lambda: self._hopped.ask(publish))
        if isinstance(request, wire.Read):
            return await self._page(request, is_bucket=False)
        return await self._hopped.ask(request)

    async def catch_up(self, read: wire.Read) -> wire.Cells:
        return await self._hopped.catch_up(read)

    async def _page(self, read: wire.Read, *, is_bucket: bool) -> wire.Reply:
        page = wire.Page(0, read.drop_id, read.read_token, read.after)
        try:
            return await self._cover.page(lambda: self._hopped.ask(page), is_bucket=is_bucket)
        except CellTooLarge:
            return await self._hopped.ask(read)

    async def follow(
        self, drop_id: bytes, read_token: bytes, after: int
    ) -> AsyncGenerator[wire.Cells, None]:
        async with contextlib.aclosing(
            self._hopped.follow(drop_id, read_token, after)
        ) as catching_up:
            async for cells in catching_up:
                yield cells
                after = max(after, cells.first + len(cells.cells) - 1)
                if after >= cells.head:
                    break
        while self.is_good():
            read = wire.Read(0, drop_id, read_token, after, wire.MAX_CELLS, 0)
            cells = expect(await self._page(read, is_bucket=True), wire.Cells)
            yield cells
            after = max(after, cells.first + len(cells.cells) - 1)


class _Detour(_Asked):
    """Over a link, for a while: a hop may be there again."""

    wait_s = HOP_AWAY_S

    def __init__(self, link: Link, is_good: Callable[[], bool]) -> None:
        super().__init__(is_good)
        self._link = link

    async def ask(self, request: wire.Request) -> wire.Reply:
        return await self._link.ask(request)


class _Following:
    """A way to a relay, and on to another one for drops that have moved there."""

    def __init__(self, way: Way, onward: Callable[[DropMoved], Awaitable[Way]]) -> None:
        self._way = way
        self._onward = onward
        self.at_once = way.at_once

    async def request(self, request: wire.Request, answer: type[R]) -> R:
        return expect(await self.ask(request), answer)

    async def ask(self, request: wire.Request) -> wire.Reply:
        try:
            return await self._way.ask(request)
        except DropMoved as moved:
            return await (await self._onward(moved)).ask(request)

    async def catch_up(self, read: wire.Read) -> wire.Cells:
        try:
            return await self._way.catch_up(read)
        except DropMoved as moved:
            return await (await self._onward(moved)).catch_up(read)

    async def follow(
        self, drop_id: bytes, read_token: bytes, after: int
    ) -> AsyncGenerator[wire.Cells, None]:
        way = self._way
        while True:
            try:
                async with contextlib.aclosing(way.follow(drop_id, read_token, after)) as coming:
                    async for cells in coming:
                        yield cells
                        after = max(after, cells.first + len(cells.cells) - 1)
            except DropMoved as moved:
                way = await self._onward(moved)
            else:
                return


class _Sealing(NamedTuple):
    """Where requests to a relay are sealed to."""

    hop: str
    key: bytes


class Routes:
    """The ways to relays, and one link to each that is asked or goes between, made when it is
    needed and made again when it ended."""

    def __init__(
        self,
        homes: Sequence[Home],
        setting: str,
        *,
        clock: Callable[[], float],
        period_s: int = 0,
        somebody: Callable[[], str] = str,
        allows: Callable[[str, str], bool] = lambda _relay, _region: True,
        learn: Callable[[str, bytes], None] = lambda _relay, _order: None,
    ) -> None:
        """`clock` tells Unix seconds; `allows` says whether what rests at a relay may rest in
        a region; `learn` is told, once, by what signed order drops of a relay have moved."""
        self.homes = homes
        """The relays of the person, which may serve as hops; read each time."""
        self.setting = setting
        """AUTO, OFF, or the address of the hop to use."""
        self.period_s = period_s
        """How often a cell leaves where requests are covered, in seconds; 0 where they are not."""
        self._somebody = somebody
        """The relay of somebody we may write to, drawn by lot; empty if there is nobody."""
        self._clock = clock
        self.moved: dict[str, Destination] = {}
        """Where to ask for what rested at a relay if that cannot be asked any more."""
        self._shown: set[str] = set()
        """Relays that have shown an order since we began."""
        self._allows = allows
        self._learn = learn
        self._covers: dict[str, Cover] = {}
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
        if self.period_s:
            is_away = all(hop in self._away_since for hop in hops)
            return Transport("covered", "".join(hops[:1]), reason, is_away)
        if not hops:
            return Transport("direct", "", reason)
        if self._is_exposed(relay, hops):
            return Transport("direct", "", "the hop to it cannot be reached")
        is_away = all(hop in self._away_since for hop in hops)
        return Transport("hopped", hops[0], "", is_away)

    async def to(self, relay: str) -> Way:
        """A way to a relay, and on to where its drops have moved.

        Raises RelayUnreachable, at once while a recent attempt has failed, RelayKeyChanged,
        UnsupportedVersion, BrokenDescriptor, or MovedAway if what was there is in a region that is
        not allowed. The way raises MovedAway too, of drops that are.
        """
        return await self._follow(relay, MAX_MOVES)

    async def _follow(self, relay: str, most: int) -> Way:
        async def onward(moved: DropMoved) -> Way:
            to = self._destination(relay, moved.order)
            if not most:
                raise RelayUnreachable("it has moved again and again")
            return await self._follow(to, most - 1)

        try:
            return _Following(await self._way(relay), onward)
        except RelayUnreachable:
            if relay not in self.moved or not most:
                raise
        return await self._follow(self._onward(relay, self.moved[relay]), most - 1)

    def _destination(self, relay: str, signed: bytes) -> str:
        """Where the drops of a relay have moved by its signed order. Raises RelayUnreachable, for
        an order that is none is no word of the relay, or MovedAway."""
        try:
            order = open_order(signed)
        except BrokenMove:
            raise RelayUnreachable("it says that it has moved, and not where") from None
        if order.source != parse_address(relay).key:
            raise RelayUnreachable("it shows another relay's order")
        if relay not in self._shown:
            self._shown.add(relay)
            self.moved[relay] = Destination(order.to, order.region)
            self._learn(relay, signed)
        return self._onward(relay, self.moved[relay])

    def _onward(self, relay: str, to: Destination) -> str:
        if not self._allows(relay, to.region):
            raise MovedAway(to.region, retry_after=AWAY_RETRY_S)
        return to.relay

    async def _way(self, relay: str) -> Way:
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
                failure = HopAway(hop, retry_after=error.retry_after)
                continue
            self._away_since.pop(hop, None)
            try:
                hopped = await self._through(link, hop, relay)
            except RelayUnreachable as error:
                failure = error
                continue
            if not self.period_s:
                return hopped
            return _Covered(hopped, self._cover(hop))
        if self._is_exposed(relay, hops):
            end = _now() + HOP_AWAY_S
            return _Detour(await self._link(relay), lambda: _now() < end)
        raise failure

    def close(self) -> None:
        """End every connection."""
        for link in self._links.values():
            link.close()
        self._links.clear()
        for cover in self._covers.values():
            cover.close()
        self._covers.clear()

    async def keep_cover(self) -> None:
        """Send and ask in every round, whether there is anything to be said or not; for ever."""
        async with asyncio.TaskGroup() as tasks:
            for hop in self._behind():
                tasks.create_task(self._cover(hop).run())

    def cover_bytes(self) -> tuple[int, int]:
        """(bytes up, bytes down) that cover takes in a day, in frames; nothing where there is
        none."""
        if not self.period_s:
            return 0, 0
        each = [
            day_bytes(self.period_s, relay, is_first=relay == self.homes[0].relay)
            for relay in self._behind().values()
        ]
        return sum(up for up, _ in each), sum(down for _, down in each)

    def _behind(self) -> dict[str, str]:
        """Each hop that is used, and the first relay it leads to."""
        chosen = [self.setting] if self.setting not in (AUTO, OFF) else []
        found: dict[str, str] = {}
        for relay in [home.relay for home in self.homes] + chosen:
            for hop in self._hops(relay)[0][:1]:
                found.setdefault(hop, relay)
        return found

    def _cover(self, hop: str) -> Cover:
        if hop not in self._covers:
            self._covers[hop] = Cover(
                self.period_s,
                is_first=self._behind().get(hop) == self.homes[0].relay,
                empty_cell=lambda: self._empty(hop, empty_cell()),
                empty_page=lambda: self._empty(hop, empty_page()),
                clock=self._clock,
            )
        return self._covers[hop]

    async def _empty(self, hop: str, request: wire.Request) -> wire.Reply:
        """Ask for nothing by way of a hop, which sees where that goes: where a word, or a page,
        would go."""
        relay = self._somebody() if isinstance(request, wire.Publish) else ""
        if not relay or hop not in self._hops(relay)[0][:1]:
            relay = self._behind()[hop]
        hopped = await self._through(await self._link(hop), hop, relay)
        return await hopped.ask(request)

    def _hops(self, relay: str) -> tuple[list[str], str]:
        """The hops to a relay, the better first, or why there are none."""
        if self.setting == OFF:
            return [], "hops are switched off"
        key = parse_address(relay).key
        if self.setting != AUTO:
            if parse_address(self.setting).key != key:
                return [self.setting], ""
            if not self.period_s:
                return [], "it is the hop itself"
        if len(self.homes) == 1:
            return [], "a hop needs a second relay, of another operator"
        if len({home.operator for home in self.homes} - {""}) < len(self.homes):
            return [], "both relays have the same operator, or do not name one"
        others = [home for home in reversed(self.homes) if parse_address(home.relay).key != key]
        hops = [home.relay for home in others if home.is_hop]
        return hops, "" if hops else "the other relay does not pass requests on"

    def _is_exposed(self, relay: str, hops: list[str]) -> bool:
        """Whether the fallback has to be asked directly, since every hop to it is away."""
        if self.setting != AUTO or self.period_s:
            return False
        if relay not in [home.relay for home in self.homes[1:]]:
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
                link = await connect(parse_address(address), may_be_private=anywhere)
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
