"""The other processes of a relay, and the appends that they pass to each other.

A lead answers within engine.ANSWER_S, or the appends come back: it may wait for a mover in between
(writing.FREEZE_S).
"""

# ruff: noqa: D102  # the protocol in records.py says what each method is

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Annotated

import msgspec

from amanat.errors import StoreDamaged
from amanat.protocol import codec, wire
from amanat.relay.cluster.leads import PROCESS_BYTES, Leads
from amanat.relay.cluster.secrecy import Secrecy
from amanat.relay.store.wrapping import NONCE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from concurrent.futures import Future

    from amanat.relay.cluster.engine import Engine

FRESH_S = 60
"""Seconds after which passed appends are no longer made. Somebody between two processes could send
them a second time, when the cells have ended. The clocks of processes may differ by a few."""
MAX_FRAMES = 1024
"""Most frames that are passed at once."""


class Frames(codec.Record, frozen=True):
    """Appends that are passed on, or the replies to them in the same order, as frames."""

    at: Annotated[int, msgspec.Meta(ge=0, lt=2**40)]
    """When they were sent, in Unix seconds."""
    frames: Annotated[
        list[Annotated[bytes, msgspec.Meta(max_length=wire.MAX_REQUEST_BYTES)]],
        msgspec.Meta(max_length=MAX_FRAMES),
    ]


_frames = codec.decoder_of(Frames)


def decode_frames(data: bytes) -> Frames:
    """The frames in some bytes. Raises StoreDamaged."""
    return codec.decode(_frames, data, StoreDamaged)


class Processes:
    """The other processes of a relay, to which this one passes appends: a `records.Processes`."""

    def __init__(self, engine: Engine, region: str, *, key: bytes) -> None:
        """`key` is known to the relay's processes alone."""
        self.own = os.urandom(PROCESS_BYTES)
        self._leads = Leads(self.own)
        self._engine = engine
        self._region = region
        self._secrecy = Secrecy(key, b"amanat cluster leads")

    def heard(self, drop_id: bytes, process: bytes) -> None:
        """Another process has told that it wrote to a drop."""
        self._leads.heard(drop_id, process)

    def refused(self, drop_ids: Iterable[bytes]) -> None:
        """Changes that we made of these drops were refused."""
        self._leads.refused(drop_ids, now=time.monotonic())

    def lead(self, drop_id: bytes) -> bytes | None:
        return self._leads.of(drop_id)

    def gone(self, lead: bytes) -> None:
        self._leads.gone(lead)

    def rested(self, lead: bytes) -> None:
        self._leads.rested(lead, now=time.monotonic())

    def pass_on(
        self, lead: bytes, appends: Sequence[bytes], answer: Callable[[list[bytes] | None], object]
    ) -> None:
        subject = self._subject(lead)
        sealed = self._sealed(appends, bound=subject.encode())

        def hear(asked: Future[bytes | None]) -> None:
            body = asked.result() if asked.exception() is None else None
            replies = self._opened(body or b"", bound=_answers(sealed))
            answer(replies)

        self._engine.ask_one(subject, sealed).add_done_callback(hear)

    def take_over(
        self, hear: Callable[[list[bytes], Callable[[list[bytes]], None]], object]
    ) -> None:
        subject = self._subject(self.own)

        def heard(sealed: bytes, send: Callable[[bytes], None]) -> None:
            appends = self._opened(sealed, bound=subject.encode())
            if appends is None:
                send(b"")
                return
            hear(appends, lambda replies: send(self._sealed(replies, bound=_answers(sealed))))

        self._engine.serve(subject, heard)

    def _subject(self, process: bytes) -> str:
        return f"{self._region}.lead.{process.hex()}"

    def _sealed(self, frames: Sequence[bytes], *, bound: bytes) -> bytes:
        plain = codec.encode(Frames(int(time.time()), list(frames)))
        return self._secrecy.seal(plain, bound=bound)

    def _opened(self, sealed: bytes, *, bound: bytes) -> list[bytes] | None:
        """The frames that another process has sealed a moment ago; None if it has not."""
        plain = self._secrecy.open(sealed, bound=bound)
        if plain is None:
            return None
        told = decode_frames(plain)
        return told.frames if abs(time.time() - told.at) <= FRESH_S else None


def _answers(sealed: bytes) -> bytes:
    """The bytes that bind an answer to its question."""
    return b"answer" + sealed[:NONCE_BYTES]
