"""The ordinary relay, and a log of everything that its operator can see of its clients."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from typing import TYPE_CHECKING, BinaryIO

import picows
import uvloop

from amanat.drill import records
from amanat.errors import AmanatError, BadSetting, PeerError
from amanat.protocol import wire
from amanat.protocol.places import is_loopback
from amanat.protocol.sealing import open_answer
from amanat.relay import connection, server
from amanat.relay.directory import RelayDirectory, interface, locked
from amanat.relay.store import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from amanat.protocol.descriptor import RelayAddress
    from amanat.relay.asking import Asking, Seal


def run(path: Path, log: Path, *, ready: Callable[[RelayAddress], None]) -> None:
    """Run the relay in a directory until SIGTERM or SIGINT, and log everything.

    Raises like the relay, and BadSetting if it does not listen on loopback: a drill's people are on
    this machine, and nobody else may be recorded.
    """
    directory = RelayDirectory.open(path)
    if not is_loopback(interface(directory.config)):
        raise BadSetting("only a relay that listens on loopback is recorded")
    with (
        log.open("ab") as out,
        locked(path),
        contextlib.closing(SqliteStore(path)) as store,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(Relay(directory, store, out).serve(ready))


class Relay(server.Relay):
    """A relay that logs all its connections."""

    def __init__(self, directory: RelayDirectory, store: SqliteStore, log: BinaryIO) -> None:
        super().__init__(directory, store)
        self.log = log
        self.numbers = itertools.count(1)

    def _welcome(
        self, request: picows.WSUpgradeRequest
    ) -> picows.WSListener | picows.WSUpgradeResponseWithListener | None:
        welcome = super()._welcome(request)
        return Connection(self) if isinstance(welcome, connection.Connection) else welcome

    def note(self, record: records.Record) -> None:
        """Write a record to the log."""
        self.log.write(records.encode(record))


class Connection(connection.Connection):
    """One client's connection, which logs its frames."""

    def __init__(self, relay: Relay) -> None:
        super().__init__(relay)
        self._recorder = relay
        self._number = next(relay.numbers)
        self._peer, self._port = "", 0
        self._seal: Seal | None = None
        """The seal of the answer being sent: the operator opens requests, and so has its key."""

    def on_ws_connected(self, transport: picows.WSTransport) -> None:  # picows calls it
        peer = transport.underlying_transport.get_extra_info("peername")
        self._peer, self._port = str(peer[0]), int(peer[1])
        self._recorder.note(records.Opened(_now(), self._number, self._peer, self._port))
        super().on_ws_connected(transport)

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:  # same
        self._recorder.note(records.Closed(_now(), self._number))
        super().on_ws_disconnected(transport)

    def on_ws_frame(  # same
        self, transport: picows.WSTransport, frame: picows.WSFrame
    ) -> None:
        if frame.msg_type == picows.WSMsgType.BINARY:
            with contextlib.suppress(PeerError):  # the relay, too, hangs up on it
                self._came(frame.get_payload_as_bytes())
        super().on_ws_frame(transport, frame)

    def tell(self, asking: Asking, reply: wire.Reply) -> int:
        self._seal = asking.seal
        size = super().tell(asking, reply)
        self._seal = None
        return size

    def send(self, message: bytes) -> None:  # everything goes out this way
        self._goes(_without_head(message))
        super().send(message)

    def _came(self, data: bytes) -> None:
        request = wire.decode_request(data)
        fields: dict[str, records.Field] = {}
        is_sealed = False
        if isinstance(request, wire.Sealed):
            fields = records.fields(request)
            with contextlib.suppress(AmanatError):
                inner, _ = self._recorder.description.open(request)
                request = wire.with_id(wire.decode_request(inner), request.id)
                is_sealed = True
        self._note("in", request, len(data), fields, is_sealed=is_sealed)

    def _goes(self, data: bytes) -> None:
        reply = wire.decode_reply(data)
        fields: dict[str, records.Field] = {}
        number = reply.id
        if isinstance(reply, wire.Answer) and self._seal is not None:
            fields = records.fields(reply)
            reply = wire.decode_reply(open_answer(reply.sealed, self._seal.key))
        self._note("out", reply, len(data), fields, is_sealed=bool(fields), number=number)

    def _note(
        self,
        direction: str,
        frame: wire.Request | wire.Reply,
        size: int,
        fields: dict[str, records.Field],
        *,
        is_sealed: bool,
        number: int | None = None,
    ) -> None:
        self._recorder.note(
            records.Frame(
                at=_now(),
                connection=self._number,
                peer=self._peer,
                port=self._port,
                direction="in" if direction == "in" else "out",
                verb=type(frame).__name__.lower(),
                id=frame.id if number is None else number,
                size=size,
                is_sealed=is_sealed,
                fields=fields | records.fields(frame),
            )
        )


def _without_head(message: bytes) -> bytes:
    """The frame in a whole WebSocket message of a server (RFC 6455, section 5.2)."""
    return message[{126: 4, 127: 10}.get(message[1], 2) :]


def _now() -> int:
    return time.time_ns() // 1000
