"""Backups: where the person has them made, under which key, and when the next one is due.

The key is that of the recovery phrase. It lies in the vault, so that a backup is made every day
without a question. The phrase is shown when it is made, and never again; afterwards the person is
asked for some of its words, and once more after a week, when the paper has its place or is gone.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, NamedTuple

from amanat.errors import NoBackup

if TYPE_CHECKING:
    from amanat.client.unit import Unit
    from amanat.client.vault import Vault

EVERY_MS = 86_400_000
"""How often a backup is made, in milliseconds (a day). One that was missed is made up at once."""
LATE_MS = 3 * EVERY_MS
"""How old the last good backup may become before the person is told, in milliseconds (three days):
a weekend without a computer is no news."""
ASKED_AGAIN_MS = 7 * EVERY_MS
"""How long after the person has given back words they are asked again, in milliseconds (a week)."""
AGAIN_MS = 3_600_000
"""How soon one that failed is made again, in milliseconds (an hour): its disk may be there then."""
ASKED_WORDS = 4
"""How many words of the phrase the person is asked for. Somebody who has noted down nothing guesses
them once in 2**44 times."""
MAX_FORGET_DAYS = 366
"""Longest that backups can be set to be kept, in days: no rotation keeps one for longer."""
_KEY, _FOLDER, _DUE, _MADE, _ERROR, _ASKED, _ASK_AT, _FORGET = (
    f"backup {what}"
    for what in ("key", "folder", "due", "made", "error", "asked", "ask at", "forget days")
)


class Last(NamedTuple):
    """The last backup that was made, and restored for a trial."""

    at: int
    """Unix milliseconds."""
    size: int
    messages: int
    name: str
    """The name of its file."""


class Backups:
    """The settings of one vault for its backups, and how they went."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._read = vault.read

    def begin(
        self,
        unit: Unit,
        folder: str,
        *,
        key: bytes | None = None,
        renew: bool = False,
        forget_days: int | None = None,
    ) -> bytes | None:
        """Have backups made in a folder from now on, every day; the first is due at once. Returns
        a new key, whose phrase is to be shown, unless there is one already and it is not to be
        renewed. A restored profile brings its `key`. Backups are forgotten after `forget_days`, 0:
        by their rotation alone; None leaves this as it is."""
        made = None
        if key is None and (renew or self._get(_KEY) is None):
            key = made = secrets.token_bytes(32)
        if key is not None:
            unit.put(_KEY, key)
            unit.put(_ASKED, b"" if made else b"yes")
            self._forget(unit, _ASK_AT)
        unit.put(_FOLDER, folder.encode())
        if forget_days is not None:
            unit.put(_FORGET, forget_days.to_bytes(2, "big"))
        unit.put(_DUE, unit.now.to_bytes(8, "big"))
        self._forget(unit, _ERROR)
        return made

    def stop(self, unit: Unit) -> None:
        """Stop making backups. The existing ones stay, and open with the phrase."""
        self._forget(unit, _FOLDER, _DUE, _ERROR)

    @staticmethod
    def _forget(unit: Unit, *keys: str) -> None:
        unit.db.executemany("DELETE FROM meta WHERE key = ?", [(key,) for key in keys])

    def _get(self, key: str) -> bytes | None:
        try:
            return self._vault.get(key)
        except KeyError:
            return None

    @property
    def folder(self) -> str:
        """The folder that the person has named; empty if none."""
        return (self._get(_FOLDER) or b"").decode()

    @property
    def forget_days(self) -> int:
        """After how many days a backup is forgotten in any case; 0: never."""
        return int.from_bytes(self._get(_FORGET) or b"", "big")

    @property
    def key(self) -> bytes:
        """The key. Raises NoBackup if there is none yet."""
        key = self._get(_KEY)
        if key is None:
            raise NoBackup
        return key

    @property
    def is_noted(self) -> bool:
        """Whether the person has given back the words that they were asked for."""
        return self._get(_ASKED) == b"yes"

    def was_noted(self, unit: Unit) -> None:
        """Note that they have. The first time, they are asked once more after a week."""
        if not self.is_noted:
            unit.put(_ASKED, b"yes")
            unit.put(_ASK_AT, (unit.now + ASKED_AGAIN_MS).to_bytes(8, "big"))
        elif self.is_asked(unit.now):
            self._forget(unit, _ASK_AT)

    def is_asked(self, now: int) -> bool:
        """Whether the person is to be asked for words: they have not given any back yet, or did so
        a week ago."""
        if not self.folder:
            return False
        ask_at = self._moment(_ASK_AT)
        return not self.is_noted or (ask_at is not None and ask_at <= now)

    @property
    def due_at(self) -> int | None:
        """When the next backup is due, in Unix milliseconds; None if none is made."""
        return self._moment(_DUE)

    def _moment(self, key: str) -> int | None:
        rows = self._read.all(f"SELECT value FROM meta WHERE key = '{key}'")  # noqa: S608
        return int.from_bytes(rows[0][0], "big") if rows else None

    @property
    def error(self) -> str:
        """The code of the error that the last backup failed with; empty if it did not."""
        return (self._get(_ERROR) or b"").decode()

    @property
    def last(self) -> Last | None:
        """The last backup that is good."""
        made = self._get(_MADE)
        if made is None:
            return None
        at, size, messages, name = made.decode().split(" ", 3)
        return Last(int(at), int(size), int(messages), name)

    def is_due(self, now: int) -> bool:
        """Whether a backup is due. A clock that was set back makes one due, too."""
        due_at = self.due_at
        return due_at is not None and (due_at <= now or due_at > now + EVERY_MS)

    def is_late(self, now: int) -> bool:
        """Whether backups are wanted, and the last good one is old."""
        last = self.last
        return bool(self.folder) and last is not None and last.at + LATE_MS <= now

    def was_made(self, unit: Unit, last: Last) -> None:
        """Note a good backup. The person may have wanted no more of them while it was made."""
        unit.put(_MADE, f"{last.at} {last.size} {last.messages} {last.name}".encode())
        self._forget(unit, _ERROR)
        if self.folder:
            unit.put(_DUE, (last.at + EVERY_MS).to_bytes(8, "big"))

    def has_failed(self, unit: Unit, code: str) -> None:
        """Note that no backup could be made, unless the person wants no more of them."""
        if self.folder:
            unit.put(_ERROR, code.encode())
            unit.put(_DUE, (unit.now + AGAIN_MS).to_bytes(8, "big"))


def ask_for(many: int, words: int) -> list[int]:
    """Which words to ask for: so many different places of so many words, from 1 on."""
    places = list(range(1, words + 1))
    return sorted(places.pop(secrets.randbelow(len(places))) for _ in range(many))
