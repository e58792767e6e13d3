"""Requests that are under way: the table in which each one rests, and the only way to answer it.

Code that answers a request holds the request itself. An answer therefore goes out under the
request's own number and, if the request came sealed, under its own seal. No code looks up a request
by a number that the other side chose.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from amanat.errors import RelayBusy
from amanat.protocol import wire
from amanat.protocol.sealing import seal_answer
from amanat.relay.drops import BUSY_RETRY_S, refusal
from amanat.relay.shares import Room

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Collection, Iterator

    from amanat.config import RelayLimits
    from amanat.errors import AmanatError
    from amanat.relay.connection import Asker, Connection

BYTES_SHARE = 8
"""One connection fills at most this part of the room for bytes that wait: half of that is 64 large
cells, as many as a client sends at once."""


class Place(Protocol):
    """A table of requests under way."""

    def __len__(self) -> int: ...

    def __setitem__(self, asking: Any, _: None) -> None: ...  # noqa: ANN401  # of one kind each

    def __delitem__(self, asking: Any) -> None: ...  # noqa: ANN401  # same


class Seal(NamedTuple):
    """How the answer to a sealed request is sealed."""

    key: bytes
    least: int = 1
    """The answer is padded to at least this many message cells."""


class Rooms:
    """The rooms for requests under way, divided among the clients."""

    MANY = 5

    def __init__(self, limits: RelayLimits, askers: Collection[Asker]) -> None:
        """`askers` are all askers that may hold a part, as they come and go."""

        def room(number: int, most: int, each: int) -> Room[Asker]:
            return Room(
                number,
                most,
                each,
                holders=askers,
                relieve=lambda asker: _relieve(asker, number),
                retry_s=BUSY_RETRY_S,
            )

        self.requests = room(0, limits.requests_in_flight_total, limits.requests_in_flight)
        self.waits = room(1, limits.waits_total, limits.waits)
        """For requests that wait because the client wants that, or allows it."""
        most = limits.bytes_in_flight_total
        self.write_bytes = room(2, most, most // BYTES_SHARE)
        """For bytes that wait for the disk."""
        self.step_bytes = room(3, most, most)
        """For bytes of steps of moves that wait for the disk: few may take them, and each is
        large."""
        self.wait_bytes = room(4, most, most // BYTES_SHARE)
        """For bytes that wait for the end of a round, or for another relay."""
        self.all = (self.requests, self.waits, self.write_bytes, self.step_bytes, self.wait_bytes)

    def enter(self, asking: Asking) -> None:
        """Start a request. Raises RelayBusy if there is no room for it."""
        asker = asking.asker
        self.requests.take(asker, 1)
        try:
            if asking.waits:
                self.waits.take(asker, 1)
            try:
                if asking.room is not None:
                    asking.room.take(asker, asking.size)
            except RelayBusy:
                if asking.waits:
                    self.waits.give_back(asker, 1)
                raise
        except RelayBusy:
            self.requests.give_back(asker, 1)
            raise
        asker.asked[asking.number] = asking

    def leave(self, asking: Asking) -> None:
        """End a request, and give back its room."""
        asker = asking.asker
        del asker.asked[asking.number]
        self.requests.give_back(asker, 1)
        if asking.waits:
            self.waits.give_back(asker, 1)
        if asking.room is not None:
            asking.room.give_back(asker, asking.size)

    def pass_on(self, asking: Asking, to: Asker, number: int) -> None:
        """Hand a request to another asker, under a number of that asker."""
        asker = asking.asker
        del asker.asked[asking.number]
        self.requests.pass_on(asker, to, 1)
        if asking.waits:
            self.waits.pass_on(asker, to, 1)
        if asking.room is not None:
            asking.room.pass_on(asker, to, asking.size)
        asking.asker, asking.number = to, number
        to.asked[number] = asking


def _relieve(asker: Asker, room: int) -> bool:
    """End a request that holds a part of a room. Returns False if none can be ended."""
    # The oldest request is nearest to its end. A write in a commit cannot be ended.
    for asking in reversed(asker.asked.values()):
        if asking.place is not None and room in asking.rooms():
            asker.answer(asking, asking.refusal(RelayBusy(retry_after=BUSY_RETRY_S)))
            return True
    return False


class Asking:
    """A request that is not answered yet. It rests in at most one table, and leaves it as it ends.

    Its replies carry the id 0 inside a seal, and otherwise `number`, by which the client knows it.
    """

    __slots__ = ("asker", "number", "place", "request", "room", "seal", "size", "verdict", "waits")

    request: wire.Request

    def __init__(self, asker: Asker, request: wire.Request, number: int, seal: Seal | None) -> None:
        self.asker = asker
        self.request = request
        self.number = number
        self.seal = seal
        self.waits = False
        """Whether it takes a place among the waiting requests."""
        self.room: Room[Asker] | None = None
        """The room that its bytes take."""
        self.size = 0
        """How many bytes it takes."""
        self.verdict: wire.Reply | None = None
        """The answer, if it is known before the request's turn comes."""
        self.place: Place | None = None
        """The table in which it rests."""

    def rooms(self) -> Iterator[int]:
        """The numbers of the rooms of which it takes a part."""
        yield 0
        if self.waits:
            yield 1
        if self.room is not None:
            yield self.room.number

    def rest(self, place: Place | None) -> None:
        """Rest in this table and in no other."""
        if self.place is not None:
            del self.place[self]
        self.place = place
        if place is not None:
            place[self] = None

    def stop(self) -> None:
        """Stop what the request waits for."""

    def refusal(self, error: AmanatError) -> wire.Failed | wire.Moved:
        """The reply that names an error."""
        return refusal(self.number if self.seal is None else 0, error)

    def frame(self, reply: wire.Reply) -> bytes:
        """The frame that answers it with a reply."""
        frame = wire.encode(reply)
        if self.seal is None:
            return frame
        sealed = seal_answer(frame, self.seal.key, least=self.seal.least)
        return wire.encode(wire.Answer(self.number, sealed))


class Writing(Asking):
    """A Create, an Append or a step of a move that is not committed."""

    __slots__ = ()

    request: wire.Create | wire.Append | wire.Move


class Reader(Asking):
    """A Read, Page or Follow under way, and how far it has come."""

    __slots__ = ("after", "credit", "limit", "patience", "served", "timer", "told")

    asker: Connection
    request: wire.Read | wire.Follow | wire.Page

    def __init__(
        self,
        asker: Connection,
        request: wire.Read | wire.Follow | wire.Page,
        number: int,
        seal: Seal | None,
    ) -> None:
        super().__init__(asker, request, number, seal)
        self.after = request.after
        """The seq of the last cell that it has got."""
        self.told = 0
        """The head of which a notice has told: the store has as many cells."""
        self.limit, self.patience = wire.MAX_CELLS, 0
        """Most cells in one answer; seconds it waits if there are none."""
        if isinstance(request, wire.Read):
            self.limit, self.patience = request.limit, request.wait
        self.credit: float = request.credit if isinstance(request, wire.Follow) else inf
        """Bytes of frames that it may still get; the last frame may go beyond."""
        self.waits = bool(self.patience) or isinstance(request, wire.Follow)
        self.served = False
        """Whether it has had an answer."""
        self.timer: asyncio.TimerHandle | None = None

    def stop(self) -> None:
        """Stop waiting for cells."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class Errand(Asking):
    """A request that this relay carries to another. Nobody here sees how long it waits there."""

    __slots__ = ("task",)

    request: wire.Forward | wire.Inquire | wire.Cover
    task: asyncio.Task[None]

    def stop(self) -> None:
        """Stop waiting for the other relay."""
        self.task.cancel()


class Question(Asking):
    """A question about this relay for which it asks a store that other processes share."""

    __slots__ = ("task",)

    request: wire.Describe | wire.Consult
    task: asyncio.Task[None]

    def stop(self) -> None:
        """Stop waiting for the store."""
        self.task.cancel()


class Queue:
    """Writes that wait for their turn, in order."""

    __slots__ = ("writes",)

    def __init__(self) -> None:
        self.writes: deque[Writing] = deque()

    def __len__(self) -> int:
        return len(self.writes)

    def __setitem__(self, writing: Writing, _: None) -> None:
        self.writes.append(writing)

    def __delitem__(self, writing: Writing) -> None:
        # Either all of them leave, beginning with the first, or only the newest does.
        if self.writes[-1] is writing:
            self.writes.pop()
        else:
            self.writes.remove(writing)
