"""Unlocking: what opens the profile, and its change."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from amanat.client import unlock_file, vault
from amanat.client.events import StatusChanged

if TYPE_CHECKING:
    from amanat.client.shell.runtime import Runtime
    from amanat.client.vault import Unlock


class Unlocking:
    """The way in which one profile is unlocked."""

    def __init__(self, run: Runtime) -> None:
        self._run = run
        self._vault = run.parts.vault

    async def change(self, old: Unlock, new: Unlock) -> None:
        """Let `new` open the profile from now on, and `old` no longer: a passphrase, the system
        keyring or a key. Everything in the vault is encrypted anew, so an older copy of the profile
        still opens with `old`, and with nothing else.

        A process that dies at any moment leaves a profile that exactly one of the two opens. Raises
        WrongPassphrase if `old` does not open the profile; BadArgument if `new` is empty, is not
        exactly one of the three, or if the system keyring does not work; DiskFull or another error
        of `vault.naming_faults`. Nothing is changed then.
        """
        with vault.naming_faults(self._vault.directory):
            change = await asyncio.to_thread(
                unlock_file.prepare_change, self._vault.directory, old, new
            )
        self._run.raise_failure()
        self._vault.change_unlock(change)
        self._run.tell(StatusChanged())
