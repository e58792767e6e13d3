"""The simulated world: people with real clients and real vaults, a relay in memory, and a clock
that moves only while everybody waits.

Three things are not real. The *clock* jumps to the next moment anything is due. The *network*
carries whole frames and has weather: it delays, repeats and cuts connections, so that what one
client does overtakes what another did; its relay can be made to lie. *Death* comes by a fuse, which
ends a process at a chosen statement of a unit of work; what is revived is the image its files had
then. All else is the program itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import copy
import itertools
import os
import random
import selectors
import shutil
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast

import picows
import sqlcipher3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from amanat.client.api import Client
from amanat.client.conversation import Conversations
from amanat.client.parts import Parts, assemble
from amanat.client.pieces import epoch_key
from amanat.client.surroundings import Surroundings
from amanat.client.vault import Unlock, open_vault
from amanat.errors import (
    AmanatError,
    BadCell,
    CellTooLarge,
    DropConflict,
    HopRefused,
    LabelTaken,
    NoAccess,
    NoSuchDrop,
    RelayKeyChanged,
    RelayUnreachable,
    WrongRegion,
)
from amanat.link import Link
from amanat.protocol import codec, sealing, wire
from amanat.protocol.cells import CELL_SIZES, LABEL_BYTES, seal
from amanat.protocol.descriptor import (
    Descriptor,
    Limits,
    RelayAddress,
    Stay,
    sign_address,
    sign_descriptor,
)
from amanat.protocol.drops import (
    HANDSHAKE_RETENTION_DAYS,
    derive_bucket,
    first_digest,
    in_region,
    next_digest,
    token_hash,
)
from amanat.protocol.messages import COMMIT_FRAGMENT, Fragment, Seen, piece_hash
from amanat.protocol.places import Place
from amanat.protocol.rounds import hand_on_at, publish_at

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

    from amanat.client.pieces import EpochDrop
    from amanat.client.vault import Vault
    from amanat.client.views import Message
    from amanat.protocol.drops import Drop

EPOCH_MS = 1_600_000_000_000
"""When the world begins, in Unix milliseconds: long ago, so that whoever reads the real clock where
the world's is meant stumbles over it."""
REPLY_BYTES = 256 * 1024
"""Most bytes of cells in one answer."""
WHO: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="")
"""Whose client is running."""
PATIENCE_S = 1800
"""Seconds of the world's time after which people who are not done never will be."""


class Loop(asyncio.SelectorEventLoop):
    """An event loop in which nobody ever waits: the clock jumps instead."""

    def __init__(self) -> None:
        self._jumps = _Jumps()
        super().__init__(self._jumps)

    def time(self) -> float:
        return self._jumps.seconds


class _Jumps(selectors.SelectSelector):
    seconds = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("everybody waits for ever")
        self.seconds += max(timeout, 0)
        return super().select(0)


# Death


class Died(BaseException):
    """The process died here; nothing of it runs any more."""


class Fuse:
    """Burns down one step at each statement of a unit, and once more after each COMMIT.

    A coarse one burns at COMMITs only. Nothing can be told from it that a fine one would not show:
    a unit ends with its COMMIT or never was, and outside units nothing is written.
    """

    def __init__(self) -> None:
        self.left: int | None = None
        self.is_coarse = False
        self.is_burnt = False

    def step(self) -> None:
        if self.left is not None:
            self.left -= 1
            self.is_burnt = self.left == 0
        self.check()

    def check(self) -> None:
        if self.is_burnt:
            raise Died


class Connection(sqlcipher3.Connection):  # type: ignore[misc]  # it has no types
    """A vault's connection with a fuse; it refuses changes outside a unit."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # the driver's
        self.fuse = Fuse()
        super().__init__(*args, **kwargs)

    askings: ClassVar[set[bytes]] = set()
    """Labels that anybody has asked for help by: few, and used again (`Chains.ask`)."""

    def execute(self, sql: str, parameters: Iterable[object] = ()) -> Any:  # noqa: ANN401  # a cursor
        self.fuse.check()
        if self.in_transaction or sql.startswith("BEGIN"):
            if sql == "COMMIT" or not self.fuse.is_coarse:
                self.fuse.step()
        elif sql.startswith(("INSERT", "UPDATE", "DELETE", "REPLACE")):
            raise AssertionError(f"outside a unit: {sql}")
        if sql == "PRAGMA synchronous = FULL":
            sql = "PRAGMA synchronous = OFF"  # the power never fails here, and waiting is slow
        if sql.startswith("INSERT INTO outbox"):
            self._note_asking(tuple(parameters))
        result = super().execute(sql, parameters)
        if sql == "COMMIT":
            self.fuse.step()
        return result

    def _note_asking(self, row: tuple[object, ...]) -> None:
        """What is sent under a label of an asking may be something else each time: it is sealed
        once more inside."""
        if "ask" in row:
            requests = [wire.decode_request(one) for one in row[1:4:2] if isinstance(one, bytes)]
            self.askings.update(
                one.cell[:LABEL_BYTES] for one in requests if isinstance(one, wire.Append)
            )


# The relay


@dataclass
class Shelf:
    """What a relay keeps of one drop. `cells` may be tampered with by `Relay.forge`."""

    append_hash: bytes
    read_hash: bytes
    retention_days: int
    digests: list[bytes]
    cells: list[bytes] = field(default_factory=list)
    gone: int = 0
    """How many cells from the beginning have expired."""

    def add(self, cell: bytes) -> None:
        self.cells.append(cell)
        self.digests.append(next_digest(self.digests[-1], cell))


class Relay:
    """Drops in dictionaries, by the rules of docs/protocol.md; it never waits and never forgets."""

    def __init__(self, region: str = "IR", port: int = 1, buckets: int = 1) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.bucket_key = os.urandom(32)
        self.region = region
        self.buckets = buckets
        self.address: RelayAddress
        self.is_at(Place(f"relay{port}.example", 443), issued=1)
        self.known: dict[bytes, RelayAddress] = {}
        """Where other relays are, as it was told."""
        self.page = wire.MAX_CELLS
        """Most cells in one answer."""
        self.refuses: AmanatError | None = None
        """What every append is refused with."""
        self.gives_access = True
        self.operator = "the world"
        self.is_hop = False
        """Whether it hands sealed requests to other relays."""
        self.outbound = "deposit"
        self.sealing = sealing.new_key()
        self.forgets: Callable[[wire.Append, str], bool] = lambda *_: False
        """Which cells, of whom, are acknowledged and not kept."""
        self.faces: dict[tuple[str, bytes], Shelf] = {}
        """What somebody is shown of a drop instead of what is there."""
        self.shelves: dict[bytes, Shelf] = {}
        for index in range(buckets):
            bucket = derive_bucket(self.bucket_key, index, region=region)
            append, read = (token_hash(bucket.drop_id, token) for token in bucket[1:])
            self.shelves[bucket.drop_id] = Shelf(append, read, 14, [first_digest(bucket.drop_id)])

    def is_at(self, *places: Place | Stay, issued: int) -> None:
        """Be here from now on, and say so."""
        stays = [one if isinstance(one, Stay) else Stay(one) for one in places]
        self.address = sign_address(stays, self.key, issued=issued)
        self.here = {stay.place for stay in stays}
        """Where it answers."""

    def answer(self, request: wire.Request, who: str = "") -> wire.Reply:
        try:
            match request:
                case wire.Describe(id=number):
                    key = self.bucket_key if self.gives_access else b""
                    return wire.Described(number, self.descriptor(), key)
                case wire.Locate(id=number, relay=relay, known=known):
                    before = self.known.get(relay)
                    if known is not None and (before is None or before.issued < known.issued):
                        self.known[relay] = known
                    return wire.Located(number, self.known.get(relay))
                case wire.Create(id=number):
                    return wire.Created(number, self._create(request))
                case wire.Append(id=number):
                    return wire.Appended(number, *self._append(request, who))
                case wire.Read(id=number):
                    limit = min(request.limit, self.page)
                    return self.cells(request, request.after, limit, who)
                case wire.Follow(id=number):
                    return self.cells(request, request.after, self.page, who)
                case wire.Page(id=number):
                    return self.cells(request, request.after, wire.PAGE_CELLS, who)
        except AmanatError as error:
            return wire.Failed(request.id, error.code, error.retry_after)
        raise AssertionError(f"{request} is not answered")

    def cells(
        self, request: wire.Read | wire.Follow | wire.Page, after: int, limit: int, who: str = ""
    ) -> wire.Cells:
        shelf = self.faces.get((who, request.drop_id)) or self._shelf(request.drop_id)
        if shelf.read_hash != token_hash(request.drop_id, request.read_token):
            raise NoSuchDrop
        after = min(max(after, shelf.gone), len(shelf.cells))
        most = wire.PAGE_BYTES if isinstance(request, wire.Page) else REPLY_BYTES
        room = itertools.accumulate(map(len, shelf.cells[after : after + limit]))
        count = sum(1 for number, size in enumerate(room) if size <= most or number == 0)
        found = shelf.cells[after : after + count]
        if isinstance(request, wire.Page) and found and len(found[0]) > most:
            raise CellTooLarge
        return wire.Cells(request.id, after + 1, shelf.digests[after], found, len(shelf.cells))

    def epoch_shelf(self, drop: Drop) -> Shelf:
        """Where an epoch drop is, made if nobody has."""
        append, read = (token_hash(drop.drop_id, token) for token in drop[1:])
        empty = Shelf(append, read, HANDSHAKE_RETENTION_DAYS, [first_digest(drop.drop_id)])
        return self.shelves.setdefault(drop.drop_id, empty)

    def image(self) -> Callable[[], None]:
        """How to bring back what rests here now."""
        kept = copy.deepcopy(self.shelves)

        def restore() -> None:
            self.shelves = copy.deepcopy(kept)

        return restore

    def forge(self, drop_id: bytes, cells: list[bytes]) -> None:
        """Pretend that a drop has held these cells all along."""
        shelf = self.shelves[drop_id]
        shelf.cells, shelf.digests = [], [first_digest(drop_id)]
        for cell in cells:
            shelf.add(cell)

    def _shelf(self, drop_id: bytes) -> Shelf:
        if drop_id not in self.shelves:
            raise NoSuchDrop
        return self.shelves[drop_id]

    def descriptor(self) -> bytes:
        descriptor = Descriptor(
            key=self.address.key,
            region=self.region,
            operator=self.operator,
            buckets=self.buckets,
            people_per_bucket=32,
            access="open",
            issued_at=0,
            limits=Limits(2**20, 2**30, 2**10, 2**10),
            address=self.address,
            sealing=sealing.public_key(self.sealing),
            is_hop=self.is_hop,
            outbound=self.outbound,
        )
        return sign_descriptor(descriptor, self.key)

    def _create(self, request: wire.Create) -> int:
        if request.access != self.bucket_key:
            raise NoAccess
        if not in_region(request.drop_id, self.region):
            raise WrongRegion
        wanted = (request.append_hash, request.read_hash, request.retention_days)
        shelf = self.shelves.setdefault(
            request.drop_id, Shelf(*wanted, [first_digest(request.drop_id)])
        )
        if wanted != (shelf.append_hash, shelf.read_hash, shelf.retention_days):
            raise DropConflict
        return len(shelf.cells)

    def _append(self, request: wire.Append, who: str) -> tuple[int, bytes]:
        if self.refuses is not None:
            raise self.refuses
        shelf = self._shelf(request.drop_id)
        if shelf.append_hash != token_hash(request.drop_id, request.append_token):
            raise NoSuchDrop
        if len(request.cell) not in CELL_SIZES:
            raise BadCell
        label = request.cell[:LABEL_BYTES]
        for seq, cell in enumerate(shelf.cells, 1):
            if cell[:LABEL_BYTES] == label:
                if cell != request.cell:
                    raise LabelTaken
                return seq, shelf.digests[seq]
        if self.forgets(request, who):
            return len(shelf.cells) + 1, next_digest(shelf.digests[-1], request.cell)
        shelf.add(request.cell)
        return len(shelf.cells), shelf.digests[-1]


# The network


class Weather(NamedTuple):
    """What may happen to a frame: shares from 0 to 1, and the longest way in seconds."""

    delay_s: float = 0.002
    cut: float = 0.0
    """The connection ends; of what is under way some still arrives, and no answer comes back."""
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
        """What relays take and never answer."""
        self.relays: dict[RelayAddress, Relay] = {}
        self.sent: dict[tuple[bytes, bytes], bytes] = {}
        self.sockets: list[Socket] = []
        self.appends = 0
        """Appends carried, retries among them."""
        self.changed: list[tuple[bytes, bytes]] = []
        """Labels under which other bytes were sent than before: two texts under one key."""
        self.handed_on = 0
        """Requests that went through a hop."""
        self.lines: list[tuple[float, str, str, int]] = []
        """When a hop was sent a sealed request, by whom, by which verb, and how many bytes."""
        self.seen: list[tuple[str, RelayAddress]] = []
        """Who has asked which relay for something that rests there, itself."""
        self.copied: set[str] = set()
        """Whose vault was copied: an old copy cannot know what the newer one has sent."""
        self._readers: dict[bytes, list[_Reader]] = {}

    async def resolve(self, place: Place) -> list[str]:
        """Every name is one of the public internet, but those of a private one (`.internal`)."""
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

    def _at_place(self, place: Place) -> Relay | None:
        return next((one for one in self.relays.values() if place in one.here), None)

    def cut(self, address: RelayAddress) -> None:
        """A relay is away from now on."""
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
            if self.sent.setdefault(key, request.cell) != request.cell and who not in self.copied:
                self.changed.append(key)

    def arrive(self, socket: Socket, request: wire.Request) -> None:
        """A request reaches a relay, which may have hung up on its sender already."""
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
        """A hop hands a request to another relay."""
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
            privates, key = [there.sealing], there.address.key
            frame, answer_key = sealing.open_request(request.sealed, privates, relay=key)
            self.handed_on += 1
            inner = wire.decode_request(frame)
            least = wire.PAGE_CELLS if isinstance(inner, wire.Page) else 1
            self._reach(Via(socket, there, request.id, answer_key, least=least), inner)

    def _at(self, at: float, do: Callable[..., None], *what: object) -> None:
        """Do something at the end of a round, with all others in an order drawn by lot."""
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
        # Whoever gives up what a hop was to hand on says so to the hop, and asks it for nothing.
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
        except NoSuchDrop as error:  # it has gone meanwhile
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
        """A Read that waited long enough is answered without cells."""
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
        """Nobody is asked whether they are there."""

    def send(self, _kind: picows.WSMsgType, data: bytes) -> None:
        network, loop = self._network, asyncio.get_running_loop()
        request = wire.decode_request(data)
        # What goes on is never handed over by a hop, and so never twice.
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
    """What a relay sees of a request that a hop has handed to it."""

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


# The people


class Person:
    """Somebody with a profile. `client` is another object after every death or sleep."""

    def __init__(self, world: World, name: str, directory: Path, key: bytes) -> None:
        self.name = name
        self.directory = directory
        self.fuse = Fuse()
        self.client: Client
        self.vault: Vault
        self.db: Connection
        self.rules: Parts
        """Those of the client, which it was given."""
        self.is_awake = False
        self.deaths = 0
        self.ahead_ms = 0
        """By how much this person's clock is ahead of the world's, in milliseconds."""
        self._world = world
        self.key = key

    @property
    def around(self) -> Surroundings:
        """What this person's client stands in."""
        return Surroundings(
            lambda: self._world.now() + self.ahead_ms, self._world.network, self._connect
        )

    def _connect(self, *args: Any, **kwargs: Any) -> Connection:  # noqa: ANN401  # the driver's
        self.db = Connection(*args, **kwargs)
        self.fuse = self.db.fuse
        return self.db

    def open(self, *, talk: type[Conversations] = Conversations) -> None:
        """Begin a process, whose program's conversations are of this class."""
        self.vault = open_vault(self.directory, Unlock(key=self.key), self.around.driver)
        self.rules = assemble(self.vault, talk=talk)
        self.client = Client(self.rules, self.around)

    def wake(self) -> None:
        """Go online."""
        with self.acting():
            self.client.start()
        self.is_awake = True

    @contextlib.contextmanager
    def acting(self) -> Iterator[Client]:
        """What is done meanwhile is done by this person: tasks that the client begins remember it,
        and so do the connections these make."""
        before = WHO.set(self.name)
        try:
            yield self.client
        finally:
            WHO.reset(before)

    def wake_to_die(self) -> None:
        """Go online, which may be the death of it."""
        self.is_awake = True
        with contextlib.suppress(Died):
            self.wake()

    async def sleep(self) -> None:
        """End the process as a person would, and open the profile again without going online."""
        await self.client.close()
        self.is_awake = False
        self.open()

    @property
    def is_doomed(self) -> bool:
        """Whether a death was arranged."""
        return self.fuse.left is not None

    def die_after(self, steps: int, *, is_coarse: bool = False) -> None:
        """Die at this statement of a unit from now, counted from 1; or at this side of a COMMIT."""
        self.fuse.left, self.fuse.is_coarse = steps, is_coarse

    async def revive(self) -> None:
        """Start again from what the files held when the process died."""
        self.deaths += 1
        image = shutil.copytree(self.directory, self.directory.with_name(f"life-{self.deaths}"))
        await self.bury()
        shutil.rmtree(self.directory)
        await self.live_on(image)

    def copy(self) -> Path:
        """A copy of the profile as it is now, as a backup would make it; nobody may be online."""
        return Path(shutil.copytree(self.directory, self.directory.with_name(os.urandom(4).hex())))

    async def live_as(self, directory: Path) -> None:
        """Go on from a copy of the profile, as if nothing had happened since it was made."""
        await self.client.close()
        self.is_awake = False
        self.directory = directory
        self.open()
        self.wake()

    async def live_on(self, directory: Path) -> None:
        """Open the profile from a directory, and go online if the last process was."""
        self.directory = directory
        self.open()
        if self.is_awake:
            self.wake()

    async def bury(self) -> None:
        """Take away what a dead process holds, without a word to disk or relay."""
        self.fuse.is_burnt = True
        await self.client.stop()
        self.vault.let_go()

    @property
    def bucket(self) -> bytes:
        """The drop id of the bucket at home."""
        return self.rules.me.home.bucket.drop_id

    def gid(self, where: str) -> bytes:
        return self.client.conversation(where).gid

    def seal_for_epoch(self, gid: bytes, payload: bytes) -> tuple[bytes, bytes]:
        """A cell of the current epoch's drop, as whoever knows that drop can make it: (drop id,
        cell)."""
        place = self.epoch_place(gid)
        once = epoch_key(place.secret, os.urandom(LABEL_BYTES))
        drop_id = place.drop.drop_id
        return drop_id, seal(once, payload, region=place.region, drop_id=drop_id)

    def epoch_place(self, gid: bytes) -> EpochDrop:
        """The current epoch's drop."""
        talk = self.rules.conversations
        return talk.epochs.epoch_place(gid, talk.roster.group(gid).view.epoch)

    def piece(
        self,
        gid: bytes,
        data: bytes,
        *,
        kind: int = COMMIT_FRAGMENT,
        of: Sequence[bytes] = (),
        index: int = 0,
        leaf: int | None = None,
    ) -> bytes:
        """The payload of such a cell: a piece that this person has signed, of a whole whose pieces
        are `of`, or of one piece. `leaf` is their own unless they lie."""
        own = self.rules.conversations.roster.group(gid).view.own_leaf
        leaf = own if leaf is None else leaf
        pieces = list(of) or [piece_hash(data)]
        unsigned = Fragment(kind, leaf, pieces, index, data, bytes(64))
        engine, signer = self.rules.engine, self.rules.me.signer
        signed = self.epoch_place(gid).signed(unsigned, lambda text: engine.sign(signer, text))
        return codec.encode(signed)

    def say(self, where: str, text: str) -> None:
        self.client.send(self.gid(where), text)

    def messages(self, where: str) -> list[Message]:
        return self.client.messages(self.gid(where))

    def texts(self, where: str) -> list[str]:
        return [message.text for message in self.messages(where)]

    def one(self, sql: str, *parameters: object) -> Any:  # noqa: ANN401  # any column
        """The single value a query finds."""
        return self.db.execute(sql, parameters).fetchone()[0]

    def warnings(self) -> list[str]:
        return [one.code for one in self.client.status().warnings]

    def what_is_left(self) -> str:
        """What this person still has to do; empty if nothing."""
        for table in ("outbox", "attempt", "intent", "early", "comeback", "handed"):
            if count := self.one(f"SELECT count(*) FROM {table}"):  # noqa: S608  # our own names
                return f"{self.name}: {count} rows in {table}"
        rules, cursors = self.rules.conversations, self.rules.cursors
        if rules.joining.awaited():
            return f"{self.name}: a Welcome is to be fetched"
        drops = [("bucket", h.relay, h.bucket.drop_id) for h in self.rules.me.buckets]
        if cursors.again() is not None:
            return f"{self.name}: the bucket is to be read again"
        for drop_id in rules.holding.places():
            held = rules.holding.place(drop_id)
            if held and self._world.relay_with(held.relay).address not in self._world.network.away:
                return f"{self.name}: a held word is to be fetched"
        for gid, look_due_at in self.db.execute(
            "SELECT gid, look_due_at FROM conversation WHERE state IN ('active', 'leaving')"
        ).fetchall():
            policy = rules.roster.group(gid).policy
            if look_due_at <= self._world.now():
                return f"{self.name}: a look into {policy.name} is due"
            # What late losers of a race put into older drops may wait for the next look.
            epoch, drop = rules.epochs.epoch_drops(gid)[-1]
            drops.append((f"epoch {epoch} of {policy.name}", policy.relay.key, drop.drop_id))
        for what, relay, drop_id in drops:
            if self._world.relay_with(relay).address in self._world.network.away:
                continue
            shelf = self._world.relay_with(relay).shelves.get(drop_id)
            if shelf is not None and cursors.read_from(drop_id) != len(shelf.cells):
                return f"{self.name}: {what} is not read to its end"
        return ""


class World:
    """Everybody and everything. Inside a test its `loop` runs the test itself."""

    def __init__(self, root: Path, *, seed: int = 0) -> None:
        self.loop = Loop()
        self.rng = random.Random(seed)
        self.network = Network(self.rng)
        self.people: dict[str, Person] = {}
        self._root = root
        self._mishaps: list[BaseException] = []
        self.loop.set_exception_handler(
            lambda _, context: self._mishaps.append(
                context.get("exception", AssertionError(context["message"]))
            )
        )
        self.relay = self.add_relay()

    def now(self) -> int:
        """Unix milliseconds."""
        return EPOCH_MS + int(self.loop.time() * 1000)

    def around(self) -> Surroundings:
        """What a client in this world stands in."""
        return Surroundings(self.now, self.network, Connection)

    def add_relay(self, region: str = "IR", buckets: int = 1) -> Relay:
        relay = Relay(region, port=len(self.network.relays) + 1, buckets=buckets)
        self.network.relays[relay.address] = relay
        return relay

    def two_operators(self) -> tuple[Relay, Relay]:
        """Two relays whose operators have nothing to do with each other; both serve as hops."""
        self.relay.operator, self.relay.is_hop = "one", True
        second = self.add_relay("DE")
        second.operator, second.is_hop = "another", True
        return self.relay, second

    def relay_with(self, key: bytes) -> Relay:
        return next(one for one in self.network.relays.values() if one.address.key == key)

    async def person(
        self, name: str, *, relay: Relay | None = None, fallback: Relay | None = None
    ) -> Person:
        """Somebody new, online."""
        key = os.urandom(32)
        person = Person(self, name, self._root / os.urandom(4).hex() / "profile", key)
        address = str((relay or self.relay).address)
        made = await Client.create(
            person.directory,
            Unlock(key=key),
            name=name,
            relay=address,
            fallback=str(fallback.address) if fallback else "",
            around=person.around,
        )
        await made.close()
        person.open()
        person.wake()
        self.people[name] = person
        return person

    async def meet(self, one: Person, *others: Person) -> None:
        """`one` invites the others, who accept."""
        for other in others:
            other.client.accept(one.client.invite())
        await self.settle()

    async def friends(self, *names: str) -> list[Person]:
        """New people who all know each other."""
        people = [await self.person(name) for name in names]
        for index, one in enumerate(people):
            for other in people[index + 1 :]:
                other.client.accept(one.client.invite())
        await self.settle()
        return people

    async def group(self, name: str, founder: Person, *others: Person) -> bytes:
        """A group everybody has joined; its gid."""
        view = founder.client.create_group(name, [other.name for other in others])
        await self.settle()
        return view.gid

    async def pass_time(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._look_after_people()

    async def settle(self) -> None:
        """Let time pass until nobody who is awake has anything to do; the dead are revived."""
        step, waited, left = 0.01, 0.0, ""
        while waited < PATIENCE_S:
            await self.pass_time(step)
            waited += step
            step = min(step * 1.5, 1.0)
            left = next(filter(None, (p.what_is_left() for p in self.awake())), "")
            if not left:
                return
        raise AssertionError(f"after {waited:.0f} s {left}")

    @staticmethod
    def told(one: Person, other: str) -> list[Seen]:
        """What somebody will tell another of what relays said of the other's buckets."""
        identity = one.client.contact(other).identity
        rows = one.db.execute(
            "SELECT drop_id, seq, digest FROM seen WHERE identity = ? ORDER BY seq", (identity,)
        ).fetchall()
        return [Seen(drop_id[:4], seq, digest) for drop_id, seq, digest in rows]

    async def save(self, name: str = "saved") -> Callable[[], Awaitable[None]]:
        """How to bring this moment back, for everybody who is here now."""
        people = dict(self.people)
        for person in people.values():
            if person.is_awake:
                await person.client.close()
            else:
                await person.bury()
            shutil.copytree(person.directory, person.directory.with_name(name))
            await person.live_on(person.directory)
        shelves = [(relay, copy.deepcopy(relay.shelves)) for relay in self.network.relays.values()]
        sent = dict(self.network.sent)

        async def restore() -> None:
            for person in self.people.values():
                await person.bury()
            self.people = dict(people)
            for relay, kept in shelves:
                relay.shelves = copy.deepcopy(kept)
            self.network.sent = dict(sent)
            for person in people.values():
                shutil.rmtree(person.directory)
                saved = person.directory.with_name(name)
                await person.live_on(shutil.copytree(saved, person.directory))

        return restore

    def awake(self) -> list[Person]:
        return [person for person in self.people.values() if person.is_awake]

    async def _look_after_people(self) -> None:
        for person in self.people.values():
            if person.fuse.is_burnt:
                await person.revive()
            elif person.client.failure is not None:
                raise person.client.failure
        assert not [label for _, label in self.network.changed if label not in Connection.askings]
        mishaps = [error for error in self._mishaps if not isinstance(error, Died)]
        assert not mishaps, mishaps

    def close(self) -> None:
        async def end() -> None:
            for person in self.people.values():
                with contextlib.suppress(Died):
                    await person.bury()

        self.loop.run_until_complete(end())
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()
