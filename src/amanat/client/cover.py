"""Cover: in each period one cell leaves and one page is requested, whether or not the person says
anything.

Requests wait for their turn, one a period. If none waits, an empty one goes, which is sealed and
sized like any other and is for a drop that does not exist. Neither the hop nor anybody who watches
our connection to it therefore learns whether anything was said. The moment in a round at which each
leaves is random and does not depend on its content (protocol/rounds.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from amanat.errors import AmanatError, NoSuchDrop, RelayUnreachable
from amanat.protocol import wire
from amanat.protocol.cells import MESSAGE_CELL
from amanat.protocol.descriptor import KEY_BYTES
from amanat.protocol.drops import DROP_ID_BYTES, TOKEN_BYTES
from amanat.protocol.rounds import READ, ROUND_S, SEND, read_at, send_at
from amanat.protocol.sealing import (
    ANSWER_KEY_BYTES,
    new_key,
    public_key,
    seal_answer,
    seal_request,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SECOND_EVERY = 4
"""The client requests a page of the fallback's bucket, which gets few cells, in one of so many
periods."""


class Cover:
    """The rounds that the client keeps with one hop."""

    def __init__(
        self,
        period_s: int,
        *,
        is_first: bool,
        empty_cell: Callable[[], Awaitable[wire.Reply]],
        empty_page: Callable[[], Awaitable[wire.Reply]],
        clock: Callable[[], float],
    ) -> None:
        """`is_first` says whether the hop leads to the home relay; `clock` tells Unix seconds."""
        self._period_s = period_s
        self._clock = clock
        self._pages_every = 1 if is_first else SECOND_EVERY
        self._cells = _Places(empty_cell)
        self._pages = _Places(empty_page)

    async def cell(self, ask: Callable[[], Awaitable[wire.Reply]]) -> wire.Reply:
        """The answer to `ask`, which is called when a cell may leave. Raises the errors of
        `ask`."""
        return await self._cells.wait(ask)

    async def page(
        self, ask: Callable[[], Awaitable[wire.Reply]], *, is_bucket: bool
    ) -> wire.Reply:
        """The answer to `ask`, which is called when a page may be requested. Raises the errors of
        `ask`.

        The bucket, which is always requested, has every second turn if other requests also wait.
        """
        return await self._pages.wait(ask, is_often=is_bucket)

    async def run(self) -> None:
        """Keep the rounds, for ever."""
        period = int(self._clock() // self._period_s)
        async with asyncio.TaskGroup() as asked:
            while True:
                if period % self._pages_every == 0:
                    await self._until(read_at(period, self._period_s, _lot()))
                    asked.create_task(self._pages.take())
                await self._until(send_at(period, self._period_s, _lot()))
                asked.create_task(self._cells.take())
                # A client that is late, or whose clock was set, leaves rounds out rather than
                # hurry.
                period = max(period + 1, int(self._clock() // self._period_s))

    async def _until(self, at: float) -> None:
        await asyncio.sleep(max(0.0, at - self._clock()))

    def close(self) -> None:
        """End the cover: no waiting request will leave."""
        self._cells.end()
        self._pages.end()


class _Waiting(NamedTuple):
    ask: Callable[[], Awaitable[wire.Reply]]
    answer: asyncio.Future[wire.Reply]


class _Places:
    """The requests that wait for their turn, in order."""

    def __init__(self, empty: Callable[[], Awaitable[wire.Reply]]) -> None:
        self._empty = empty
        self._often: deque[_Waiting] = deque()
        self._seldom: deque[_Waiting] = deque()
        self._was_often = False

    async def wait(
        self, ask: Callable[[], Awaitable[wire.Reply]], *, is_often: bool = False
    ) -> wire.Reply:
        answer: asyncio.Future[wire.Reply] = asyncio.get_running_loop().create_future()
        (self._often if is_often else self._seldom).append(_Waiting(ask, answer))
        return await answer

    async def take(self) -> None:
        """Make the request that has waited longest, or an empty one."""
        waiting = self._next()
        if waiting is None:
            with contextlib.suppress(AmanatError):  # it was for nobody
                await self._empty()
            return
        try:
            reply = await waiting.ask()
        except AmanatError as error:
            if not waiting.answer.done():
                waiting.answer.set_exception(error)
        else:
            if not waiting.answer.done():
                waiting.answer.set_result(reply)

    def _next(self) -> _Waiting | None:
        both = (self._seldom, self._often) if self._was_often else (self._often, self._seldom)
        for queue in both:
            while queue:
                waiting = queue.popleft()
                if not waiting.answer.done():  # else the caller has gone
                    self._was_often = queue is self._often
                    return waiting
        return None

    def end(self) -> None:
        while (waiting := self._next()) is not None:
            waiting.answer.set_exception(RelayUnreachable("the cover ended"))


def empty_cell() -> wire.Publish:
    """A request to append that no relay carries out."""
    return wire.Publish(
        0,
        secrets.token_bytes(DROP_ID_BYTES),
        secrets.token_bytes(TOKEN_BYTES),
        secrets.token_bytes(MESSAGE_CELL),
    )


def empty_page() -> wire.Page:
    """A request for a page of nothing."""
    return wire.Page(0, secrets.token_bytes(DROP_ID_BYTES), secrets.token_bytes(TOKEN_BYTES), 0)


def day_bytes(period_s: int, *, is_first: bool) -> tuple[int, int]:
    """(bytes up, bytes down) that the rounds with one hop take in a day, in frames."""
    key = public_key(new_key())
    sealed = [
        seal_request(wire.encode(one), to=key, relay=bytes(KEY_BYTES))[0]
        for one in (empty_cell(), empty_page())
    ]
    refused = wire.encode(wire.Failed(0, NoSuchDrop.code))
    answers = [
        seal_answer(refused, bytes(ANSWER_KEY_BYTES), least=least) for least in (1, wire.PAGE_CELLS)
    ]
    periods = 86_400 // period_s
    times = (periods, periods // (1 if is_first else SECOND_EVERY))
    up = [len(wire.encode(wire.Cover(1, bytes(KEY_BYTES), one))) for one in sealed]
    down = [len(wire.encode(wire.Answer(1, one))) for one in answers]
    return (
        sum(many * each for many, each in zip(times, up, strict=True)),
        sum(many * each for many, each in zip(times, down, strict=True)),
    )


def delay_s(period_s: int) -> tuple[float, float]:
    """(the usual, the longest) seconds until somebody with the same period reads a word, if nothing
    else waits."""
    low, high = READ
    usual = period_s / 2 + ROUND_S * (1 - sum(SEND) / 2 + (low + high) / 2)
    return usual, period_s + ROUND_S * (1 - SEND[0] + high)


def _lot() -> float:
    return secrets.randbelow(2**32) / 2**32
