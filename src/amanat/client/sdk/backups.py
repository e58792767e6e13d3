"""Backups, for programs: having them made, checking them, and the recovery phrase.

A backup opens with the recovery phrase alone. It holds everything said, and no key with which the
person could speak as before: see docs/decisions/0047.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from amanat.client import backing
from amanat.client.backups import ASKED_WORDS, MAX_FORGET_DAYS, Backups, ask_for
from amanat.client.events import StatusChanged
from amanat.client.folders import Folder, folder_of
from amanat.client.shares import key_of as key_of_shares
from amanat.client.shares import number_of, split
from amanat.client.surroundings import MACHINE
from amanat.errors import BadArgument, FolderAway, NoBackup, OtherWord, WrongPhrase
from amanat.protocol import phrase as phrases

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from amanat.client.backing import Found, Told
    from amanat.client.shell.daily import Daily
    from amanat.client.shell.runtime import Runtime
    from amanat.client.surroundings import Surroundings
    from amanat.client.unit import Unit
    from amanat.client.vault import Unlock, Vault


class Word(NamedTuple):
    """A word of the phrase or of a share of it, and its number in the list, for other scripts."""

    word: str
    number: int


class BackupStatus(NamedTuple):
    """How things stand with backups. Times are in Unix milliseconds, 0 if there is none.

    `file` is the last backup, which was read back from the disk and restored for a trial; `error`
    is the code of the error that the newest attempt failed with, and `is_late` says that the last
    backup is more than three days old. `is_noted` says whether the person
    has given back the words of the phrase that they were asked for, and `is_asked` that they are to
    be asked for some now: they never were, or a week ago. Backups are forgotten once they are
    `forget_days` days older than the newest; 0: by their rotation alone.
    """

    folder: str
    is_noted: bool
    is_asked: bool
    is_late: bool
    forget_days: int
    last_at: int
    file: str
    bytes: int
    messages: int
    due_at: int
    error: str

    def as_json(self) -> dict[str, object]:
        """The fields that commands print."""
        return self._asdict()


class Backup(NamedTuple):
    """A backup that is whole: it was restored for a trial, and nobody keeps that. `unknown` counts
    its records of kinds that only a newer version of Amanat knows, and `without_file` the files
    whose content on this machine was damaged."""

    file: str
    name: str
    made_at: int
    messages: int
    imported: int
    files: int
    unknown: int
    without_file: int

    def as_json(self) -> dict[str, object]:
        """The fields that commands print."""
        return self._asdict()


class BackupsOf:
    """The backups of one person."""

    def __init__(self, run: Runtime, daily: Daily) -> None:
        self._run = run
        self._unit = run.unit
        self._rules = daily.rules
        self._daily = daily

    def begin(
        self, folder: Path, *, new_phrase: bool = False, forget_days: int | None = None
    ) -> list[Word]:
        """Have a backup made in a folder every day from now on, while the client is open. Returns
        the words of the recovery phrase if it is new. They are shown to the person this once, and
        nothing gives them out again.

        With `new_phrase`, later backups open with a new phrase, and earlier ones with the old one
        alone. With `forget_days`, each later backup removes those that are so many days
        older, 0: none; None leaves this as it is. Raises FolderAway unless the folder is there, or
        BadArgument above MAX_FORGET_DAYS.
        """
        if not 0 <= (forget_days or 0) <= MAX_FORGET_DAYS:
            raise BadArgument(f"backups are kept for 1 to {MAX_FORGET_DAYS} days")
        if not folder.is_dir():
            raise FolderAway(str(folder))
        with self._unit() as unit:
            key = self._rules.begin(
                unit, str(folder.absolute()), renew=new_phrase, forget_days=forget_days
            )
            unit.events.append(StatusChanged())
        return _words(key) if key else []

    def stop(self) -> None:
        """Stop making backups. The existing ones stay in their folder."""
        with self._unit() as unit:
            self._rules.stop(unit)
            unit.events.append(StatusChanged())

    def status(self) -> BackupStatus:
        """How things stand."""
        last, now = self._rules.last, self._run.now()
        return BackupStatus(
            folder=self._rules.folder,
            is_noted=self._rules.is_noted,
            is_asked=self._rules.is_asked(now),
            is_late=self._rules.is_late(now),
            forget_days=self._rules.forget_days,
            last_at=last.at if last else 0,
            file=last.name if last else "",
            bytes=last.size if last else 0,
            messages=last.messages if last else 0,
            due_at=self._rules.due_at or 0,
            error=self._rules.error,
        )

    async def make(self, told: Told = backing.quiet) -> Backup:
        """Make a backup now, while the client goes on, and restore it for a trial. `told` hears
        how far it has got, perhaps in another thread.

        Raises NoBackup if there is no folder, ProfileReplaced on a device whose profile was
        restored elsewhere, FolderAway, DiskFull or another error of
        `vault.naming_faults`, or BrokenArchive if the disk does not give back what was written.
        Earlier backups are as they were then.
        """
        made = await self._daily.make(told)
        return _backup(made.path, made.found, made.damaged)

    async def check(self, file: Path, told: Told = backing.quiet) -> Backup:
        """Read a backup of this person from the disk, and restore it for a trial. Raises
        BrokenArchive, WrongPhrase if it was made under another phrase, NewerArchive, or NoBackup or
        FolderAway if there is none. Of a folder, the newest is checked."""
        path, folder = find(file, self._rules.key)
        return _backup(path, await self._daily.check(path, folder, told), 0)

    def asked(self) -> list[int]:
        """The places, from 1 on, of the words of the phrase to ask the person for."""
        return ask_for(ASKED_WORDS, phrases.WORDS)

    def confirm(self, words: Mapping[int, str]) -> None:
        """Take the words that the person has given for these places, or their numbers. Raises
        OtherWord if one is wrong, UnknownWord, or NoBackup if there is no phrase."""
        right = phrases.words_of(self._rules.key)
        for place, said in words.items():
            if not 1 <= place <= phrases.WORDS or phrases.word_of(said, place) != right[place - 1]:
                raise OtherWord(f"word {place}")
        if len(words) < ASKED_WORDS:
            raise BadArgument(f"{ASKED_WORDS} words are asked for")
        with self._unit() as unit:
            self._rules.was_noted(unit)
            unit.events.append(StatusChanged())

    def shares(self, phrase: str) -> list[list[Word]]:
        """Five new shares of the recovery phrase, each of 33 words: any three of them restore as
        the phrase does, and two open nothing. `phrase` are its words, because nothing gives them
        out again. Raises WrongPhrase if it is not that of the backups, or NoBackup."""
        if phrases.key_of(phrase) != self._rules.key:
            raise WrongPhrase("it is not the phrase of these backups")
        return [[Word(word, number_of(word)) for word in share] for share in split(self._rules.key)]


async def restore(
    directory: Path,
    unlock: Unlock,
    *,
    backup: Path,
    phrase: str = "",
    shares: Sequence[str] = (),
    told: Told = backing.quiet,
    around: Surroundings = MACHINE,
) -> Backup:
    """Make a profile in `directory` from a backup. Everything said up to the backup is there at
    once. Once the profile is opened and online, its conversations wait for somebody in them to let
    this device in. The device that the backup was made on is out then: do not use both.

    `backup` is an archive, or a folder with some, of which the newest is taken; `phrase` are the
    words of the recovery phrase, or their numbers. In its place, `shares` has three of its shares
    or more. Backups go on in the same folder. Raises WrongPhrase, WrongShares, NoBackup,
    FolderAway, BrokenArchive, NewerArchive, ProfileExists, or an error of `vault.naming_faults`,
    and then leaves no profile behind.
    """
    key = key_of_shares(shares) if shares else phrases.key_of(phrase)
    path, folder = find(backup, key)

    def finish(unit: Unit, new: Vault) -> None:
        Backups(new).begin(unit, str(folder.place), key=key)

    found = await asyncio.to_thread(
        backing.restore,
        *(path, folder, key, directory, unlock),
        now=around.now(),
        driver=around.driver,
        told=told,
        finish=finish,
    )
    return _backup(path, found, 0)


def find(place: Path, key: bytes) -> tuple[Path, Folder]:
    """The archive to restore from: `place` itself, or the newest in that folder. Raises NoBackup,
    FolderAway or WrongPhrase."""
    place = place.absolute()  # a child has another working directory
    if place.is_file():
        return place, Folder(place.parent.parent, key)
    folder = folder_of(place, key)
    archives = folder.archives()
    if not archives:
        raise NoBackup(str(place))
    return archives[0].path, folder


def _words(key: bytes) -> list[Word]:
    return [Word(word, phrases.number_of(word)) for word in phrases.words_of(key)]


def _backup(file: Path, found: Found, damaged: int) -> Backup:
    return Backup(
        file=str(file),
        name=found.name,
        made_at=found.made_at,
        messages=found.messages,
        imported=found.imported,
        files=len(found.blobs),
        unknown=found.unknown,
        without_file=damaged,
    )
