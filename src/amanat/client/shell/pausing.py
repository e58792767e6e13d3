"""The pauses of a client when a relay fails it: it waits, and keeps any misbehaviour for the
person."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from amanat.client.rules.sending import RETRY_MS
from amanat.errors import PeerError, RelayLied, TrustError, Unavailable

if TYPE_CHECKING:
    from amanat.client.shell.runtime import Runtime


class Pausing:
    """Pauses for one client."""

    def __init__(self, run: Runtime) -> None:
        self._unit = run.unit
        self._conversations = run.parts.conversations
        self._tick_s = run.around.tick_s

    async def rest_after(
        self, error: Unavailable | PeerError | TrustError, relay: bytes, drop_id: bytes
    ) -> None:
        """Wait before we ask a relay again about a drop, and record its misbehaviour if there was
        any."""
        if isinstance(error, Unavailable):
            await asyncio.sleep(error.retry_after or self._tick_s())
        else:
            self.note(error, relay, drop_id)
            await asyncio.sleep(RETRY_MS[0] / 1000)

    def note(self, error: PeerError | TrustError, relay: bytes, drop_id: bytes) -> None:
        """Keep a relay's misbehaviour for the person. After a lie, read the drop from the start."""
        with self._unit() as unit:
            self._conversations.warnings.warn_of(unit, relay, error.code, error.detail)
            if isinstance(error, RelayLied):
                self._conversations.epochs.start_over(unit, drop_id)
