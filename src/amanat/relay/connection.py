"""One client's WebSocket. While the relay is busy, requests wait for their connection's turn.

Connections take turns, a piece of work each. A client that asks for much therefore keeps only
itself waiting.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, TypeAlias, assert_never

import picows

from amanat.errors import (
    AmanatError,
    Draining,
    IdInUse,
    MalformedFrame,
    PeerError,
    RelayBusy,
)
from amanat.protocol import wire
from amanat.relay.asking import Asking, Errand, Question, Queue, Reader, Rooms, Seal, Writing
from amanat.relay.drops import BUSY_RETRY_S
from amanat.relay.frames import SharedFrame, websocket_head
from amanat.relay.hop import Guest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from amanat.relay.server import Relay

HIGH_WATER_BYTES = 256 * 1024
"""Bytes that may wait for one connection's socket before it gets no further cells and the relay
stops reading its requests."""
INBOX_FRAMES = 256
"""Requests that may wait for a connection's turn before the relay stops reading it: several times
as many as a client has under way at once."""
COSTLY = 32
"""The cost of any other request in writes, which are only queued: it takes at least as long as this
many."""
TURN_FRAMES = 16
"""Writes that a connection takes in one turn: they are only queued for the commit."""
DRAINING_RETRY_S = 10.0
"""Seconds after which a client may try again when the relay shuts down: a restart takes less."""

_BINARY, _CLOSE, _PONG = (
    picows.WSMsgType.BINARY,
    picows.WSMsgType.CLOSE,
    picows.WSMsgType.PONG,
)

INSTRUCTIONS = (wire.Unfollow, wire.Grant, wire.Introduce)
TELLINGS = (wire.Describe, wire.Consult, wire.Locate)
WRITINGS = (wire.Append, wire.Create, wire.Move)
READINGS = (wire.Read, wire.Follow, wire.Page)
ERRANDS = (wire.Forward, wire.Inquire, wire.Cover)
ENDABLE = (*READINGS, wire.Forward)
"""Requests that the client itself can end."""
CARRIED_OUT = (*WRITINGS, wire.Cover)
"""Requests that the relay carries out even if the client has gone. The client will ask again; and
somebody who cuts its line must not learn its request from a gap at the end of a round."""
SEALABLE = (
    *(wire.Describe, wire.Consult, wire.Append, wire.Create, wire.Publish, wire.Read, wire.Page),
)
"""Requests that may be sealed: they have one answer and then end."""

Beginning: TypeAlias = (
    wire.Describe
    | wire.Consult
    | wire.Locate
    | wire.Read
    | wire.Follow
    | wire.Page
    | wire.Publish
    | wire.Forward
    | wire.Inquire
    | wire.Cover
)
"""A request that is neither an instruction, nor sealed, nor queued for the next commit."""


class Asker:
    """A holder of requests under way. An instance of this class itself stands for all clients that
    have gone, because the relay still carries out some of their requests."""

    speaks_for = 1
    """The number of clients for which it counts when room is scarce."""
    is_deputy = False
    """Whether it stands for another process of the relay."""

    def __init__(self, relay: Relay) -> None:
        self.asked: dict[int, Asking] = {}
        """Its requests by their numbers."""
        self.held = [0] * Rooms.MANY
        """How much it holds of each room."""
        self.writes = Queue()
        self._relay = relay
        self._rooms = relay.rooms

    def answer(self, asking: Asking, reply: wire.Reply) -> None:  # noqa: ARG002  # nobody hears it
        """End a request. Nobody hears the answer."""
        self.end(asking)

    def end(self, asking: Asking) -> None:
        """End a request: it no longer takes room and is no longer in a table."""
        self._rooms.leave(asking)
        if asking.place is not None:
            self._relay.leave(asking)


class Deputy(Asker):
    """Stands for another process of the relay, whose appends this one makes. Their clients have
    room for them at that process."""

    is_deputy = True

    def __init__(
        self, relay: Relay, appends: Sequence[bytes], send: Callable[[list[bytes]], object]
    ) -> None:
        """`send` gets the replies, once all are known. Raises MalformedFrame or FrameTooLarge."""
        super().__init__(relay)
        self._send = send
        self.writings: list[Writing] = []
        """The appends."""
        self._replies: dict[Asking, bytes] = {}
        """The frames that answer them."""
        for frame in appends:
            request = wire.decode_request(frame)
            if not isinstance(request, wire.Append):
                raise MalformedFrame
            writing = Writing(self, request, request.id, None)
            writing.size = len(frame)
            self.writings.append(writing)

    def answer(self, asking: Asking, reply: wire.Reply) -> None:
        """End an append, and send all replies after the last one."""
        self._replies[asking] = wire.encode(reply)
        if len(self._replies) == len(self.writings):
            self._send([self._replies[writing] for writing in self.writings])


class Connection(picows.WSListener, Asker):
    """One client's WebSocket."""

    def __init__(self, relay: Relay) -> None:
        Asker.__init__(self, relay)
        self._writer, self._readers, self._turns = relay.writer, relay.readers, relay.turns
        self.behind: OrderedDict[Reader, None] = OrderedDict()
        """Readers that wait to be served from the store."""
        self.spent: dict[Reader, None] = {}
        """Readers without credit."""
        self.is_in_line = False
        self._inbox: deque[bytes] = deque()
        """Frames that wait for the connection's turn."""
        self._made_room = asyncio.Event()
        """Set when the client has taken some of what waits for it."""
        self._is_full = self._is_deaf = False
        """The reasons not to read its requests: too many wait here; the client reads no answers."""
        self._websocket: picows.WSTransport | None = None
        self._guest = Guest()
        self._out: list[bytes] = []
        self._out_bytes = 0

    # picows calls these

    def on_ws_connected(self, transport: picows.WSTransport) -> None:  # noqa: D102
        self._websocket = transport
        transport.underlying_transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        self._relay.connections.add(self)
        self._relay.askers.add(self)
        self._relay.metrics.connections.inc()

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:  # noqa: ARG002, D102
        self._websocket = None
        self._relay.connections.remove(self)
        self._relay.metrics.connections.dec()
        self._inbox.clear()
        self._out.clear()
        for asking in tuple(self.asked.values()):
            if isinstance(asking.request, CARRIED_OUT):
                self._relay.bequeath(asking)
            else:
                self.end(asking)
        self._relay.askers.remove(self)

    def on_ws_frame(  # noqa: D102
        self, transport: picows.WSTransport, frame: picows.WSFrame
    ) -> None:
        kind = frame.msg_type
        if kind == _PONG or transport.is_close_frame_sent:
            return
        if kind == _CLOSE:
            self.close(picows.WSCloseCode.OK, "")
            return
        is_whole = kind == _BINARY and frame.fin
        data = frame.get_payload_as_bytes() if is_whole else b""  # which is no request
        turns = self._turns
        if turns.spare > 0 and not (self._inbox or self._is_deaf):
            # None of its frames waits, and this turn of the loop has been short so far.
            turns.spend(1 if self._take(data) else COSTLY)
            return
        self._inbox.append(data)
        if len(self._inbox) == INBOX_FRAMES:
            self._is_full = True
            transport.underlying_transport.pause_reading()
        if not self.is_in_line:
            turns.line_up(self)

    def pause_writing(self) -> None:
        """Stop reading requests from a client that does not read its answers."""
        self._is_deaf = True
        if self._websocket is not None:
            self._websocket.underlying_transport.pause_reading()

    def resume_writing(self) -> None:
        """Read requests again, and take turns."""
        self._is_deaf = False
        self._made_room.set()
        self._listen()
        self.go_on()

    def _listen(self) -> None:
        if self._websocket is not None and not (self._is_full or self._is_deaf):
            self._websocket.underlying_transport.resume_reading()

    # Its turns

    def take_turn(self) -> bool:
        """Serve one reader, and take a request or some writes. Returns whether more is to be done
        now."""
        if self._is_deaf or self._out_bytes > HIGH_WATER_BYTES:
            return False
        if self.behind and self.has_room():
            reader, _ = self.behind.popitem(last=False)
            reader.place = None
            self._readers.serve(reader)
        inbox = self._inbox
        for _ in range(TURN_FRAMES):
            if not inbox or not self._take(inbox.popleft()):
                break
        if self._is_full and len(inbox) < INBOX_FRAMES // 2:
            self._is_full = False
            self._listen()
        return bool(inbox) or (bool(self.behind) and self.has_room())

    def go_on(self) -> None:
        """Take turns, if there is something to do."""
        if not self.is_in_line and (self._inbox or self.behind):
            self._turns.line_up(self)

    # Requests

    def _take(self, frame: bytes) -> bool:
        """Take a request. Returns whether it was only queued, so that the turn is not over."""
        try:
            request = wire.decode_request(frame)
            number = request.id
            if isinstance(request, INSTRUCTIONS):
                self._instruct(request)
                return True
            if number in self.asked:
                raise IdInUse
        except PeerError as error:
            # The request has no id under which to answer.
            self._relay.metrics.failed.labels(error.code).inc()
            self.close(picows.WSCloseCode.POLICY_VIOLATION, error.code)
            return False
        try:
            if self._relay.draining:
                if self._relay.waits:
                    return False  # it is closed in a moment, and the client asks another process
                raise Draining(retry_after=DRAINING_RETRY_S)
            if isinstance(request, WRITINGS):
                self._write(request, number, None, len(frame))
                return True
            if isinstance(request, wire.Sealed):
                self._unseal(request, len(frame))
            else:
                self._begin(request, number, None, len(frame))
        except AmanatError as error:
            self.refuse(request, number, None, error)
        return False

    def _instruct(self, word: wire.Unfollow | wire.Grant | wire.Introduce) -> None:
        """End a request that waits, or give a Follow credit, unless it has ended; or note for how
        many clients a hop speaks."""
        if isinstance(word, wire.Introduce):
            self.speaks_for = max(self.speaks_for, self._relay.hop.shares(word))
            return
        asking = self.asked.get(word.id)
        if isinstance(word, wire.Unfollow):
            if asking is not None and isinstance(asking.request, ENDABLE):
                self.end(asking)
        elif isinstance(word, wire.Grant):
            if isinstance(asking, Reader):
                asking.credit += word.credit
                if asking.place is self.spent and asking.credit > 0:
                    self._readers.catch_up(asking)
        else:
            assert_never(word)

    def _unseal(self, request: wire.Sealed, size: int) -> None:
        """Begin the request in a sealed one. Once the seal is open, every answer is sealed.

        Raises RelayBusy or BrokenSeal if the seal stays closed.
        """
        self._rooms.requests.check(self)
        frame, key = self._relay.description.open(request)
        seal = Seal(key)
        try:
            inner = wire.decode_request(frame)
            # A request that goes on, or has several answers, cannot be sealed.
            if inner.id or not isinstance(inner, SEALABLE):
                raise MalformedFrame
            if isinstance(inner, wire.Page):
                seal = Seal(key, least=wire.PAGE_CELLS)
            if isinstance(inner, WRITINGS):
                self._write(inner, request.id, seal, size)
            else:
                self._begin(inner, request.id, seal, size)
        except AmanatError as error:
            self.refuse(request, request.id, seal, error)

    def _write(
        self,
        request: wire.Append | wire.Create | wire.Move,
        number: int,
        seal: Seal | None,
        size: int,
    ) -> None:
        writing = Writing(self, request, number, seal)
        writing.room, writing.size = self._rooms.write_bytes, size
        if isinstance(request, wire.Move):
            self._writer.check_step(request)
            writing.room = self._rooms.step_bytes
        self._rooms.enter(writing)
        self._writer.write(writing)

    def _begin(self, request: Beginning, number: int, seal: Seal | None, size: int) -> None:
        relay, rooms = self._relay, self._rooms
        if isinstance(request, READINGS):
            reader = Reader(self, request, number, seal)
            rooms.enter(reader)
            self._readers.catch_up(reader)
        elif isinstance(request, wire.Publish):
            append = wire.Append(request.id, request.drop_id, request.append_token, request.cell)
            writing = Writing(self, append, number, seal)
            writing.room, writing.size, writing.waits = rooms.wait_bytes, size, True
            rooms.enter(writing)
            self._writer.publish(writing)
        elif isinstance(request, ERRANDS):
            errand = Errand(self, request, number, seal)
            errand.room, errand.size, errand.waits = rooms.wait_bytes, size, True
            rooms.enter(errand)
            errand.task = asyncio.ensure_future(self._ask_elsewhere(errand))
            errand.rest(relay.errands)
        elif isinstance(request, wire.Describe | wire.Consult) and relay.waits:
            question = Question(self, request, number, seal)
            rooms.enter(question)
            question.task = asyncio.ensure_future(self._ask_store(question))
            question.rest(relay.errands)
        elif isinstance(request, TELLINGS):
            self.tell(Asking(self, request, number, seal), relay.tell(request, self._guest))
        else:
            assert_never(request)

    async def _ask_elsewhere(self, errand: Errand) -> None:
        """Ask another relay on behalf of a client."""
        hop, request = self._relay.hop, errand.request
        try:
            if isinstance(request, wire.Inquire):
                descriptor = await hop.inquire(request.to, self._guest, request.at)
                reply: wire.Reply = wire.Described(request.id, descriptor, b"")
            elif isinstance(request, wire.Forward | wire.Cover):
                is_covered = isinstance(request, wire.Cover)
                sealed = await hop.forward(
                    request.to, request.sealed, self._guest, is_covered=is_covered
                )
                await self._room()
                reply = wire.Answer(request.id, sealed)
            else:
                assert_never(request)
        except AmanatError as error:
            reply = errand.refusal(error)
        errand.asker.answer(errand, reply)

    async def _room(self) -> None:
        """Wait until the client has room for an answer. Raises RelayBusy, and the client asks
        again: nothing may pile up here for one that does not read."""
        try:
            async with asyncio.timeout(BUSY_RETRY_S):
                while not self.has_room():
                    self._made_room.clear()
                    await self._made_room.wait()
        except TimeoutError:
            raise RelayBusy(retry_after=BUSY_RETRY_S) from None

    async def _ask_store(self, question: Question) -> None:
        """Answer a question about a relay whose store other processes share."""
        try:
            reply: wire.Reply = await self._relay.tell_later(question.request, self._guest)
        except AmanatError as error:
            reply = question.refusal(error)
        question.asker.answer(question, reply)

    # Replies

    def answer(self, asking: Asking, reply: wire.Reply) -> None:
        """End a request with its last answer."""
        self.end(asking)
        self.tell(asking, reply)

    def refuse(
        self, request: wire.Request, number: int, seal: Seal | None, error: AmanatError
    ) -> None:
        """Answer a request that did not get under way with an error."""
        asking = Asking(self, request, number, seal)
        self.tell(asking, asking.refusal(error))

    def tell(self, asking: Asking, reply: wire.Reply) -> int:
        """Send an answer. Returns the bytes of its frame."""
        if isinstance(reply, wire.Failed):
            self._relay.metrics.failed.labels(reply.code).inc()
        frame = wire.encode(reply) if asking.seal is None else asking.frame(reply)
        self.send(websocket_head(len(frame)) + frame)
        return len(frame)

    def share(self, shared: SharedFrame, reader: Reader) -> int:
        """Send cells that other readers also get. Returns the bytes of their frame."""
        if isinstance(reader.request, wire.Read):
            self.end(reader)
        if reader.seal is not None:
            return self.tell(reader, shared.cells)
        message, size = shared.message(reader.number)
        self.send(message)
        return size

    def send(self, message: bytes) -> None:
        """Send one WebSocket message."""
        if not self._out:
            self._turns.flush_soon(self)
        self._out.append(message)
        self._out_bytes += len(message)

    def has_room(self) -> bool:
        """Whether the client keeps up, so that another frame can be sent."""
        if self._websocket is None:
            return True  # nothing is kept for it
        waiting: int = self._websocket.underlying_transport.get_write_buffer_size()
        waiting += self._out_bytes
        return waiting <= HIGH_WATER_BYTES

    def flush(self) -> None:
        """Write all frames that wait."""
        out, self._out, self._out_bytes = self._out, [], 0
        if out and self._websocket is not None and not self._websocket.is_close_frame_sent:
            # Not `writelines`: under TLS it makes one record or more for each of its lines.
            message = out[0] if len(out) == 1 else b"".join(out)
            self._websocket.underlying_transport.write(message)
        self._made_room.set()
        self.go_on()

    def close(self, code: picows.WSCloseCode, reason: str) -> None:
        """Send all frames that wait, then close."""
        self._inbox.clear()
        self.flush()
        if self._websocket is not None:
            self._websocket.send_close(code, reason.encode())
            self._websocket.disconnect()

    async def closed(self) -> None:
        """Wait until the client has taken everything, or is gone."""
        if self._websocket is not None:
            await self._websocket.wait_disconnected()

    def abort(self) -> None:
        """Close at once."""
        if self._websocket is not None:
            self._websocket.disconnect(graceful=False)
