"""Does what the page asks about backups, and tells how far a backup or a restore has got.

The person names a folder by its path on this machine: the client writes there, and no browser gets
a backup. The page is given the recovery phrase once, when it is made.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, assert_never

from amanat import restore as restored
from amanat.errors import FolderAway
from amanat.page import backups, telling
from amanat.page.typed import path_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from amanat import Unlock
    from amanat.client.backing import Told
    from amanat.client.sdk.client import Client


class UnderWay:
    """How far the one backup or restore has got that is under way."""

    def __init__(self, tell: Callable[[list[bytes]], None]) -> None:
        self._tell = tell
        self.is_at: dict[str, object] | None = None
        """Its phase, and how much of that is done in percent; None if there is none."""

    @contextlib.contextmanager
    def begun(self) -> Iterator[Told]:
        """Tell every page of one, which says in a thread of its own how far it has got."""
        loop = asyncio.get_running_loop()

        def told(phase: str, done: int, whole: int) -> None:
            loop.call_soon_threadsafe(self._show, phase, 100 * done // max(whole, 1))

        self._set({"phase": "write", "percent": 0})
        try:
            yield told
        finally:
            self._set(None)

    def _show(self, phase: str, percent: int) -> None:
        if self.is_at is not None:  # nobody waits for one that goes on in its thread
            self._set({"phase": phase, "percent": percent})

    def _set(self, is_at: dict[str, object] | None) -> None:
        if is_at != self.is_at:
            self.is_at = is_at
            self._tell([telling.told("backup", under_way=is_at)])


class Backing:
    """The backups of one open client."""

    def __init__(self, client: Client, tell: Callable[[list[bytes]], None]) -> None:
        self._backups = client.backups
        self._turn = asyncio.Lock()
        self.under_way = UnderWay(tell)

    async def attend(self, ask: backups.BackupAsk) -> object:
        """Do it; the answer. Raises the errors of `client.backups`."""
        match ask:
            case backups.BeginBackups():
                folder = path_of(ask.folder, FolderAway)
                words = self._backups.begin(
                    folder, new_phrase=ask.new_phrase, forget_days=ask.forget_days
                )
                return {"words": [one._asdict() for one in words]}
            case backups.BackUp():
                async with self._turn:
                    with self.under_way.begun() as told:
                        return (await self._backups.make(told)).as_json()
            case backups.CheckBackup():
                place = path_of(ask.backup, FolderAway)
                async with self._turn:
                    with self.under_way.begun() as told:
                        return (await self._backups.check(place, told)).as_json()
            case backups.AskedWords():
                return {"places": self._backups.asked()}
            case backups.GiveWords():
                self._backups.confirm(ask.given)
            case backups.StopBackups():
                self._backups.stop()
            case _:
                assert_never(ask)
        return None


async def restore(
    directory: Path,
    unlock: Unlock,
    ask: backups.Restore,
    tell: Callable[[list[bytes]], None],
) -> None:
    """Make a profile from a backup. Raises the errors of `amanat.restore`."""
    place = path_of(ask.backup, FolderAway)
    with UnderWay(tell).begun() as told:
        await restored(directory, unlock, backup=place, phrase=ask.phrase, told=told)
