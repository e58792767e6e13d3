"""The daily backup: made when it is due."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from amanat.client import backing
from amanat.client.backups import Backups, Last
from amanat.client.events import StatusChanged
from amanat.client.folders import Folder
from amanat.errors import AmanatError, NoBackup, ProfileReplaced

if TYPE_CHECKING:
    from amanat.client.backing import Found, Made, Told
    from amanat.client.shell.runtime import Runtime


class Daily:
    """The backups of one client."""

    def __init__(self, run: Runtime) -> None:
        self.rules = Backups(run.parts.vault)
        self._run = run
        self._vault = run.parts.vault
        self._roster = run.parts.conversations.roster
        self._now = run.now
        self._maker = run.around.maker
        self._unit = run.unit
        self._one = asyncio.Lock()
        run.at_due(self._begin)

    def _begin(self) -> None:
        if "backup" not in self._run.tasks and self._is_due():
            self._run.spawn("backup", self._make_up())

    def _is_due(self) -> bool:
        # A device that was replaced knows less than the one in its place, whose folder is the same.
        return self.rules.is_due(self._now()) and not self._roster.is_replaced()

    async def _make_up(self) -> None:
        with contextlib.suppress(AmanatError):  # it is noted, and due again in an hour
            async with self._one:
                if self._is_due():  # the person may just have had one made
                    await self._make(backing.quiet)

    async def make(self, told: Told = backing.quiet) -> Made:
        """Make a backup now. Raises NoBackup if the person has named no folder, ProfileReplaced, or
        like `backing.make`."""
        async with self._one:
            return await self._make(told)

    async def check(self, path: Path, folder: Folder, told: Told) -> Found:
        """Check an archive of this person. Raises like `backing.check`."""
        return await self._maker.check(path, folder, self.rules.key, now=self._now(), told=told)

    async def _make(self, told: Told) -> Made:
        if self._roster.is_replaced():
            raise ProfileReplaced
        key, place = self.rules.key, self.rules.folder
        if not place:
            raise NoBackup
        folder = Folder(Path(place), key, forget_days=self.rules.forget_days)
        now = self._now()
        try:
            made = await self._maker.make(self._vault, folder, key, now=now, told=told)
        except AmanatError as error:
            with self._unit() as unit:
                self.rules.has_failed(unit, error.code)
                unit.events.append(StatusChanged())
            raise
        with self._unit() as unit:
            last = Last(now, made.size, made.found.messages, made.path.name)
            self.rules.was_made(unit, last)
            unit.events.append(StatusChanged())
        return made
