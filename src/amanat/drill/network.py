"""The network of the simulated world: it carries whole frames, and has weather.

It delays, repeats and cuts connections, so that one client's requests overtake another's.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, cast

import picows

from amanat.drill.clock import EPOCH_MS
from amanat.drill.shelves import Relay
from amanat.errors import (
    HopRefused,
    NoSuchDrop,
    RelayKeyChanged,
    RelayUnreachable,
)
from amanat.link import Link
from amanat.protocol import sealing, wire
from amanat.protocol.cells import LABEL_BYTES
from amanat.protocol.descriptor import (
    RelayAddress,
)
from amanat.protocol.places import Place
from amanat.protocol.rounds import hand_on_at, publish_at

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


WHO: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="")
"""The person whose client is running."""


class Weather(NamedTuple):
    """The weather for frames: shares from 0 to 1, and the longest way in seconds."""

    delay_s: float = 0.002
    cut: float = 0.0
    """The connection ends; some of the frames under way still arrive, and no answer comes back."""
    repeat: float = 0.0
    """The request arrives twice."""


CALM = Weather()
STORM = Weather(delay_s=0.5, cut=0.03, repeat=0.1)


class Network:
    """Carries frames between clients and relays, and remembers every cell ever sent."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.weather = CALM
        self.is_up = True
        self.away: set[RelayAddress] = set()
        """Relays that cannot be reached."""
        self.ignores: Callable[[wire.Request], bool] = lambda _: False
        """The requests that relays take and never answer."""
        self.relays: dict[RelayAddress, Relay] = {}
        self.sent: dict[tuple[bytes, bytes], bytes] = {}
        self.senders: dict[tuple[bytes, bytes], set[str]] = {}
        """The people who have sent a cell into a drop under a label."""
        self.sockets: list[Socket] = []
        self.appends = 0
        """Appends carried, retries among them."""
        self.changed: list[tuple[bytes, bytes]] = []
        """Labels under which other bytes were sent than before: two texts under one key."""
        self.handed_on = 0
        """Requests that went through a hop."""
        self.lines: list[tuple[float, str, str, int]] = []
        """Sealed requests sent to a hop: (time in seconds, sender, verb, bytes)."""
        self.seen: list[tuple[str, RelayAddress]] = []
        """(person, relay) for each time a client itself asked a relay for something resting
        there."""
        self.copied: set[str] = set()
        """People whose vault was copied: an old copy cannot know which cells the newer one sent."""
        self._readers: dict[bytes, list[_Reader]] = {}

    async def resolve(self, place: Place) -> list[str]:
        """A public address for every name, except for names that end in `.internal`."""
        return ["10.0.0.1" if place.host.endswith(".internal") else "9.9.9.9"]

    async def dial(self, key: bytes, place: Place, _ips: Sequence[str]) -> Link:
        await asyncio.sleep(self.way())
        there = self._at_place(place)
        if not self.is_up or there is None or there.address in self.away:
            raise RelayUnreachable("down")
        if there.address.key != key:
            raise RelayKeyChanged(place.name)
        link = Link()
        socket = Socket(self, there, link, WHO.get())
        self.sockets.append(socket)
        link.on_ws_connected(cast("picows.WSTransport", socket))
        return link

    def relay_with(self, key: bytes) -> Relay:
        return next(one for one in self.relays.values() if one.address.key == key)

    def _at_place(self, place: Place) -> Relay | None:
        return next((one for one in self.relays.values() if place in one.here), None)

    def cut(self, address: RelayAddress) -> None:
        """Make a relay unreachable from now on."""
        self.away.add(address)
        for socket in self.sockets:
            if socket.relay is self.relays[address]:
                socket.disconnect()

    def way(self) -> float:
        return self.rng.uniform(0, self.weather.delay_s)

    def note(self, request: wire.Request, who: str) -> None:
        if isinstance(request, wire.Append):
            self.appends += 1
            key = (request.drop_id, request.cell[:LABEL_BYTES])
            self.senders.setdefault(key, set()).add(who)
            if self.sent.setdefault(key, request.cell) != request.cell and who not in self.copied:
                self.changed.append(key)

    def arrive(self, socket: Socket, request: wire.Request) -> None:
        """Bring a request to a relay, which may already have hung up on its sender."""
        if isinstance(request, wire.Forward | wire.Cover):
            size = len(wire.encode(wire.with_id(request, 0)))
            self.lines.append((self.clock(), socket.who, type(request).__name__, size))
        if isinstance(request, wire.Forward | wire.Inquire):
            self._hand_on(socket, request)
        elif isinstance(request, wire.Cover):
            forward = wire.Forward(request.id, request.to, request.sealed)
            self._at(hand_on_at(self.clock()), self._hand_on, socket, forward)
        else:
            self._reach(socket, request)

    def _hand_on(self, socket: Socket, request: wire.Forward | wire.Inquire) -> None:
        """Hand a request from a hop to another relay."""
        hop = socket.relay
        known = hop.known.get(request.to)
        places = known.places if known else ()
        if isinstance(request, wire.Inquire):
            places += request.at
        found = map(self._at_place, places)
        there = next((one for one in found if one and one.address.key == request.to), None)
        if not hop.is_hop or request.to == hop.address.key:
            socket.deliver(wire.Failed(request.id, HopRefused.code))
        elif there is None or there.address in self.away:
            socket.deliver(wire.Failed(request.id, RelayUnreachable.code, 1.0))
        elif isinstance(request, wire.Inquire):
            hop.known[request.to] = there.address
            socket.deliver(wire.Described(request.id, there.descriptor(), b""))
        else:
            privates, key = [sealing.read_private(there.sealing)], there.address.key
            frame, answer_key = sealing.open_request(request.sealed, privates, relay=key)
            self.handed_on += 1
            inner = wire.decode_request(frame)
            least = wire.PAGE_CELLS if isinstance(inner, wire.Page) else 1
            self._reach(Via(socket, there, request.id, answer_key, least=least), inner)

    def _at(self, at: float, do: Callable[..., None], *what: object) -> None:
        """Do something at the end of a round, in random order with everything else then due."""
        lot = self.rng.uniform(0, 0.001)
        asyncio.get_running_loop().call_later(at - self.clock() + lot, do, *what)

    @staticmethod
    def clock() -> float:
        """Unix seconds."""
        return EPOCH_MS / 1000 + asyncio.get_running_loop().time()

    def _reach(self, socket: Socket | Via, request: wire.Request) -> None:
        if isinstance(request, wire.Publish):
            append = wire.Append(request.id, request.drop_id, request.append_token, request.cell)
            self._at(publish_at(self.clock()), self._reach, socket, append)
            return
        if self.ignores(request):
            return
        self.note(request, socket.who)
        # A client that gives up a request that a hop was to hand on tells the hop so, and asks it
        # for nothing else.
        is_told = isinstance(request, wire.Describe | wire.Locate | wire.Unfollow)
        if isinstance(socket, Socket) and not is_told:
            self._see(socket)
        if isinstance(request, wire.Unfollow | wire.Grant):
            self._instruct(socket, request)
            return
        reply = socket.relay.answer(request, socket.who)
        if isinstance(reply, wire.Cells) and isinstance(request, wire.Read | wire.Follow):
            credit = request.credit if isinstance(request, wire.Follow) else 0
            reader = _Reader(socket, request, request.after, credit)
            if isinstance(request, wire.Follow) or (request.wait and not reply.cells):
                self._stay(reader, reply)
                return
        socket.deliver(reply)
        if isinstance(request, wire.Append) and isinstance(reply, wire.Appended):
            for waiting in self._readers.pop(request.drop_id, []):
                self._serve(waiting)

    def _instruct(self, socket: Socket | Via, word: wire.Unfollow | wire.Grant) -> None:
        """End a reader, or give it credit."""
        for reader in [one for waiting in self._readers.values() for one in waiting]:
            if reader.socket is not socket or reader.request.id != word.id:
                continue
            if isinstance(word, wire.Unfollow):
                self._readers[reader.request.drop_id].remove(reader)
                continue
            reader.credit += word.credit
            if reader.is_behind:
                self._go_on(reader)

    def _see(self, socket: Socket) -> None:
        if (socket.who, socket.relay.address) not in self.seen:
            self.seen.append((socket.who, socket.relay.address))

    def _stay(self, reader: _Reader, reply: wire.Cells) -> None:
        self._readers.setdefault(reader.request.drop_id, []).append(reader)
        if isinstance(reader.request, wire.Read):
            asyncio.get_running_loop().call_later(
                reader.request.wait, reader.give_up, self._readers
            )
            return
        reader.socket.deliver(reply)
        reader.credit -= len(wire.encode(reply))
        reader.after = reply.first + len(reply.cells) - 1
        reader.is_behind = reader.after < reply.head
        if reader.is_behind:
            self._go_on(reader)

    def _go_on(self, reader: _Reader) -> None:
        self._readers[reader.request.drop_id].remove(reader)
        self._serve(reader)

    def _serve(self, reader: _Reader) -> None:
        if not reader.socket.is_open:
            return
        if isinstance(reader.request, wire.Follow) and reader.credit <= 0:
            reader.is_behind = True
            self._readers.setdefault(reader.request.drop_id, []).append(reader)
            return
        relay = reader.socket.relay
        try:
            cells = relay.cells(reader.request, reader.after, relay.page, reader.socket.who)
        except NoSuchDrop as error:  # the drop has gone in the meantime
            reader.socket.deliver(wire.Failed(reader.request.id, error.code))
            return
        if isinstance(reader.request, wire.Read):
            reader.socket.deliver(cells)
        else:
            self._stay(reader, cells)


@dataclass(eq=False)
class _Reader:
    socket: Socket | Via
    request: wire.Read | wire.Follow
    after: int
    credit: int = 0
    """Bytes of frames that a Follow may still be sent."""
    is_behind: bool = False
    """Whether a Follow has not been told everything."""

    def give_up(self, readers: dict[bytes, list[_Reader]]) -> None:
        """Answer a Read that waited long enough without cells."""
        waiting = readers.get(self.request.drop_id, [])
        if self in waiting:
            waiting.remove(self)
            self.socket.deliver(self.socket.relay.answer(self.request, self.socket.who))


class Frame(NamedTuple):
    """A frame as picows hands it over."""

    payload: bytes
    msg_type: picows.WSMsgType = picows.WSMsgType.BINARY
    fin: bool = True

    @property
    def payload_size(self) -> int:
        return len(self.payload)

    def get_payload_as_bytes(self) -> bytes:
        return self.payload


class Socket:
    """A WebSocket of a client whose other end is a relay in memory. Both ways keep their order."""

    def __init__(self, network: Network, relay: Relay, link: Link, who: str) -> None:
        self.relay = relay
        self.who = who
        self.is_open = True
        self._network = network
        self._link = link
        self._requests: deque[wire.Request] = deque()
        self._answers: deque[wire.Reply] = deque()

    def notify_user_specific_pong_received(self) -> None:
        """Do nothing: no end of a connection sends pings here."""

    def send(self, _kind: picows.WSMsgType, data: bytes) -> None:
        network, loop = self._network, asyncio.get_running_loop()
        request = wire.decode_request(data)
        # A hop never hands over a request that goes on, so it never comes twice.
        may_repeat = not isinstance(request, wire.Follow | wire.Unfollow | wire.Grant)
        is_repeated = network.rng.random() < network.weather.repeat
        for _ in range(2 if is_repeated and may_repeat else 1):
            self._requests.append(request)
            loop.call_later(network.way(), self._arrive)
        if network.rng.random() < network.weather.cut:
            loop.call_later(network.way(), self.disconnect)

    def _arrive(self) -> None:
        if self._requests:
            self._network.arrive(self, self._requests.popleft())

    def deliver(self, reply: wire.Reply) -> None:
        if self.is_open:
            self._answers.append(wire.decode_reply(wire.encode(reply)))
            asyncio.get_running_loop().call_later(self._network.way(), self._hand_over)

    def _hand_over(self) -> None:
        if self.is_open:
            frame = Frame(wire.encode(self._answers.popleft()))
            self._link.on_ws_frame(cast("picows.WSTransport", self), cast("picows.WSFrame", frame))

    def disconnect(self, *, graceful: bool = True) -> None:  # noqa: ARG002  # as picows has it
        if self.is_open:
            self.is_open = False
            for _ in range(self._network.rng.randint(0, len(self._requests))):
                self._requests.pop()
            self._link.on_ws_disconnected(cast("picows.WSTransport", self))


class Via:
    """A request that a hop has handed over, as the relay sees it."""

    def __init__(
        self, hop: Socket, relay: Relay, number: int, answer_key: bytes, *, least: int
    ) -> None:
        self.relay, self.who = relay, hop.who
        self._hop, self._number, self._answer_key = hop, number, answer_key
        self._least = least

    @property
    def is_open(self) -> bool:
        return self._hop.is_open

    def deliver(self, reply: wire.Reply) -> None:
        sealed = sealing.seal_answer(wire.encode(reply), self._answer_key, least=self._least)
        self._hop.deliver(wire.Answer(self._number, sealed))
