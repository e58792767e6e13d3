"""The notice of a move. It tells people the date and destination so early that anyone who leaves
has nothing left there when the move begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amanat.errors import BadArgument, NoticeRuns
from amanat.link import connect
from amanat.protocol.descriptor import MAX_REASON_CHARS, MoveNotice, NamedAddress, RelayAddress
from amanat.protocol.drops import RETENTION_DAYS
from amanat.relay.directory import RelayDirectory, read_notice, write_notice

if TYPE_CHECKING:
    from pathlib import Path

DAY_S = 86_400
LEAST_DAYS = max(RETENTION_DAYS) + 2
"""The least days between the notice and the move: a day to decide, and the longest retention, that
of Commits, which is at most a day longer than it says."""


async def announce(path: Path, to: NamedAddress, *, on: int, reason: str, now: float) -> MoveNotice:
    """Announce that the relay in a directory moves to another relay on a UTC day.

    Raises NoProfile, BadArgument, RelayUnreachable, RelayKeyChanged, BrokenDescriptor or DiskFull.
    """
    directory = RelayDirectory.open(path)
    if on < int(now // DAY_S) + LEAST_DAYS:
        raise BadArgument(
            f"announce it {LEAST_DAYS} days before, so that anyone who leaves has nothing left here"
        )
    if len(reason) > MAX_REASON_CHARS:
        raise BadArgument(f"a reason has at most {MAX_REASON_CHARS} characters")
    if to.key == directory.identity.public_key().public_bytes_raw():
        raise BadArgument("a relay does not move to itself")
    link = await connect(to)
    try:
        described = await link.describe(to.key)
    finally:
        await link.closed()
    notice = MoveNotice(to=described.address, region=described.region, on=on, reason=reason)
    write_notice(path, notice)
    return notice


def check(directory: Path, to: RelayAddress, *, now: float) -> None:
    """Raise NoticeRuns unless a move to this relay was announced, and its day has come."""
    notice = read_notice(directory)
    if notice is None or notice.to.key != to.key or now < notice.on * DAY_S:
        raise NoticeRuns
