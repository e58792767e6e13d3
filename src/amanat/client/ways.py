"""The ways to a relay: over a link to it, or sealed and through a hop, in rounds or at once.

`routes.py` decides between them.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Protocol

from amanat.client.cover import Cover
from amanat.errors import (
    CellTooLarge,
    DropMoved,
    PeerError,
    RelayUnreachable,
)
from amanat.link import AT_ONCE, Link, R, expect, unless_failed
from amanat.protocol import wire
from amanat.protocol.cells import MESSAGE_CELL
from amanat.protocol.drops import next_digest
from amanat.protocol.sealing import open_answer, seal_request

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable


HOP_AWAY_S = 20
"""How long every hop may be away before we ask the fallback relay, which is a hop itself, directly,
in seconds. Otherwise one dead relay of two would be as bad as two."""
CURSOR_STEP = 256
"""Reading a drop that we have not followed for a while begins at a multiple of this, in cells. The
exact place at which a reader left off would tell the relay when it was last there, and so which
reader it is."""


class Way(Protocol):
    """A way to make requests to a relay. Every method raises RelayUnreachable, and the error that
    the relay names."""

    at_once: int
    """The number of requests that should be under way at once."""

    @property
    def line(self) -> Link:
        """The connection that carries the requests."""

    async def request(self, request: wire.Request, answer: type[R]) -> R:
        """The relay's answer, of the kind that it must have. Also raises UnexpectedReply."""

    async def ask(self, request: wire.Request) -> wire.Reply:
        """The relay's answer."""

    async def catch_up(self, read: wire.Read) -> wire.Cells:
        """The cells that came meanwhile, for a client that has just come online or joined a group.
        A covered client does not wait its turn for them, because everybody sees that it has
        come."""

    def follow(
        self, drop_id: bytes, read_token: bytes, after: int
    ) -> AsyncGenerator[wire.Cells, None]:
        """The cells of a drop as they arrive. Ends when another way may be better from now on."""


class _Asked:
    """A way on which every request is separate."""

    at_once = AT_ONCE
    wait_s = wire.MAX_WAIT_S
    """How long we wait at a followed drop, in seconds."""

    def __init__(self, line: Link, is_good: Callable[[], bool]) -> None:
        self.line = line
        self.is_good = is_good

    async def request(self, request: wire.Request, answer: type[R]) -> R:
        """See `Way.request`."""
        return expect(await self.ask(request), answer)

    async def ask(self, request: wire.Request) -> wire.Reply:
        """See `Way.ask`."""
        raise NotImplementedError

    async def catch_up(self, read: wire.Read) -> wire.Cells:
        """See `Way.catch_up`."""
        return await self.request(read, wire.Cells)

    async def follow(
        self, drop_id: bytes, read_token: bytes, after: int
    ) -> AsyncGenerator[wire.Cells, None]:
        """See `Way.follow`."""
        start, wait = after - after % CURSOR_STEP, 0
        while self.is_good():
            read = wire.Read(0, drop_id, read_token, start, wire.MAX_CELLS, wait)
            cells = await self.request(read, wire.Cells)
            end = cells.first + len(cells.cells) - 1
            if end >= after or not cells.cells:
                yield rest_after(cells, after)
                after = max(after, end)
            start = max(start, end)
            wait = self.wait_s if start >= cells.head else 0


def rest_after(cells: wire.Cells, after: int) -> wire.Cells:
    """A reply without the cells up to `after`, which we have read before."""
    many = max(0, after + 1 - cells.first) if cells.cells else 0
    before = cells.before
    for cell in cells.cells[:many]:
        before = next_digest(before, cell)
    return wire.Cells(cells.id, cells.first + many, before, cells.cells[many:], cells.head)


class Hopped(_Asked):
    """The way for sealed requests through a hop."""

    def __init__(self, link: Link, to: bytes, sealing: bytes, forget: Callable[[], None]) -> None:
        super().__init__(link, lambda: link.is_open)
        self._to = to
        self._sealing = sealing
        self._forget = forget

    async def ask(self, request: wire.Request) -> wire.Reply:
        """See `Way.ask`."""
        sealed, key = seal_request(
            wire.encode(wire.with_id(request, 0)), to=self._sealing, relay=self._to
        )
        # A request to be published with others must also arrive with them.
        hand_on = wire.Cover if isinstance(request, wire.Publish) else wire.Forward
        forward = hand_on(0, self._to, sealed)
        try:
            answer = await self.line.request(forward, wire.Answer)
            reply = wire.decode_reply(open_answer(answer.sealed, key))
        except RelayUnreachable:
            self._forget()
            raise
        except PeerError as error:
            # This comes from the hop, or from a relay that cannot open the seal. Neither may refuse
            # a request: only a sealed answer is the relay's own word.
            self._forget()
            raise RelayUnreachable(f"through the hop: {error.code}") from None
        return unless_failed(reply)


class Covered(_Asked):
    """The way through a hop in the rounds of a cover.

    Cells of the smallest size and pages take their turn there. Larger cells are only hopped, and so
    is the catching up after an absence that everybody sees anyway.
    """

    at_once = 1

    def __init__(self, hopped: Hopped, cover: Cover) -> None:
        super().__init__(hopped.line, hopped.is_good)
        self._hopped = hopped
        self._cover = cover

    async def ask(self, request: wire.Request) -> wire.Reply:
        """See `Way.ask`."""
        if isinstance(request, wire.Append) and len(request.cell) == MESSAGE_CELL:
            publish = wire.Publish(0, request.drop_id, request.append_token, request.cell)
            return await self._cover.cell(lambda: self._hopped.ask(publish))
        if isinstance(request, wire.Read):
            return await self._page(request, is_bucket=False)
        return await self._hopped.ask(request)

    async def catch_up(self, read: wire.Read) -> wire.Cells:
        """See `Way.catch_up`."""
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
        """See `Way.follow`."""
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


class Detour(_Asked):
    """The way over a link, for a while only, because a hop may be there again soon."""

    wait_s = HOP_AWAY_S

    async def ask(self, request: wire.Request) -> wire.Reply:
        """See `Way.ask`."""
        return await self.line.ask(request)


class Following:
    """A way to a relay, and on to another one for drops that have moved there."""

    def __init__(self, way: Way, onward: Callable[[DropMoved], Awaitable[Way]]) -> None:
        self._way = way
        self._onward = onward
        self.at_once = way.at_once
        self.line = way.line

    async def request(self, request: wire.Request, answer: type[R]) -> R:
        """See `Way.request`."""
        return expect(await self.ask(request), answer)

    async def ask(self, request: wire.Request) -> wire.Reply:
        """See `Way.ask`."""
        try:
            return await self._way.ask(request)
        except DropMoved as moved:
            return await (await self._onward(moved)).ask(request)

    async def catch_up(self, read: wire.Read) -> wire.Cells:
        """See `Way.catch_up`."""
        try:
            return await self._way.catch_up(read)
        except DropMoved as moved:
            return await (await self._onward(moved)).catch_up(read)

    async def follow(
        self, drop_id: bytes, read_token: bytes, after: int
    ) -> AsyncGenerator[wire.Cells, None]:
        """See `Way.follow`."""
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
