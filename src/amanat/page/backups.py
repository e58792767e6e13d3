"""The asks about backups: having them made, the recovery phrase, and restoring a profile."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from amanat.page.forms import Form, PathText, Secret
from amanat.protocol.phrase import WORDS

PhraseText = Annotated[str, msgspec.Meta(max_length=1000)]
"""A recovery phrase as a person types it: 24 words of 8 letters at most, and white space."""
Days = Annotated[int, msgspec.Meta(ge=0, le=1000)]
"""Days after which a backup is forgotten; the SDK knows how many may be set."""
Place = Annotated[int, msgspec.Meta(ge=1, le=WORDS)]
"""The place of a word in the phrase."""
Word = Annotated[str, msgspec.Meta(max_length=40)]
"""A word of the phrase, or its number."""


class BeginBackups(Form, frozen=True, tag="begin backups"):
    """Have a backup made in a folder of this machine every day; forget those that are older by so
    many days, 0: none, None: as before. The answer has the words of the
    recovery phrase if it is new, this once."""

    folder: PathText
    new_phrase: bool = False
    forget_days: Days | None = None


class BackUp(Form, frozen=True, tag="back up"):
    """Make a backup now. It is answered once that was restored for a trial."""


class CheckBackup(Form, frozen=True, tag="check backup"):
    """Restore a backup for a trial, or the newest one in a folder."""

    backup: PathText


class AskedWords(Form, frozen=True, tag="asked words"):
    """The places of the words to ask the person for."""


class GiveWords(Form, frozen=True, tag="give words"):
    """The words that the person has given for these places."""

    given: Annotated[dict[Place, Word], msgspec.Meta(max_length=WORDS)]


class StopBackups(Form, frozen=True, tag="stop backups"):
    """Stop making backups. The existing ones stay."""


class Restore(Form, frozen=True, tag="restore"):
    """Make the profile from a backup, or from the newest one in a folder, and open it. The new
    profile opens with the passphrase, or without one with the system keyring."""

    backup: PathText
    phrase: PhraseText
    passphrase: Secret | None


BackupAsk: TypeAlias = BeginBackups | BackUp | CheckBackup | AskedWords | GiveWords | StopBackups
"""An ask that only an open profile answers."""
