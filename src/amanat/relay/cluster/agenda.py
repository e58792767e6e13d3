"""The drops of which something ends by itself, by the day on which it does.

A process looks at every drop when it starts, and later once a day, because other processes change
them, too. Between two looks it touches only those that are due. It misses none: whatever comes to a
drop is due after its retention, which is many days.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from amanat.protocol.drops import DROP_ID_BYTES
from amanat.protocol.moving import GONE, HERE
from amanat.relay.drops import DROP_LIFE_DAYS

if TYPE_CHECKING:
    from amanat.relay.cluster.messages import Kept
    from amanat.relay.records import DropRecord


def due_day(drop: Kept | DropRecord) -> int | None:
    """The first day on which cells of a drop end, or the drop; None if neither ever does."""
    if drop.oldest_day is not None:
        return drop.oldest_day + drop.retention_days + 1 if drop.state == HERE else None
    if drop.state == GONE or (drop.state == HERE and not drop.bucket):
        return drop.last_day + DROP_LIFE_DAYS + 1
    return None


class Agenda:
    """The days on which drops are due. A drop may be noted for several of them: one that is not due
    on the first is looked at in vain."""

    def __init__(self) -> None:
        self._days: dict[int, bytearray] = {}
        """The ids of each day's drops, one after the other: there may be millions."""

    def note(self, drop_id: bytes, day: int) -> None:
        """Note that a drop is due on a day."""
        self._days.setdefault(day, bytearray()).extend(drop_id)

    def take(self, today: int) -> set[bytes]:
        """Take out the drops that are due."""
        ids = b"".join(self._days.pop(day) for day in tuple(self._days) if day <= today)
        return {ids[at : at + DROP_ID_BYTES] for at in range(0, len(ids), DROP_ID_BYTES)}
