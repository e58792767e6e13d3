"""Imports: chats that a person brings along from other messengers, for programs."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

from amanat.client import folding, search
from amanat.client.imported import MAX_STRETCH, Imported
from amanat.errors import BadArgument
from amanat.importing.records import Chat, CutOff, Joint, Me, Said, Skipped
from amanat.importing.source import open_export
from amanat.importing.survey import Survey, Surveyor

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from datetime import tzinfo
    from pathlib import Path

    from amanat.client.imported import ChatRow, MessageRow
    from amanat.client.shell.runtime import Runtime
    from amanat.client.unit import Unit
    from amanat.importing.records import Record
    from amanat.importing.source import Export

BATCH = 500
"""The messages of one unit of work: a fraction of a second, for which nothing else is done."""


class ImportedChat(NamedTuple):
    """An imported chat. Nobody has signed it: its names and words are as the export says.

    `app` is "telegram" or "whatsapp", and `kind` the kind of chat as that program calls it.
    `me` is the name of the author who is the person, if it is known. Times are in Unix
    milliseconds. `goes_on_from` is the id of the chat that became this one, 0 if there is none.
    """

    id: int
    app: str
    title: str
    kind: str
    me: str
    messages: int
    people: list[str]
    first_at: int
    last_at: int
    imported_at: int
    goes_on_from: int

    def as_json(self) -> dict[str, object]:
        """The fields that commands print."""
        return self._asdict() | {"verified": False}


class ImportedMessage(NamedTuple):
    """A message of an imported chat. `sender` is the name that most messages of its author show,
    `name` the one beside this message; `kind` is one of records.Kind, and `extra` has lines about
    the things beside the text. `number` is its number in the chat, which `reply_to` and `topic`
    name, too; `file` the path of its file in the export, which stayed there. `marks` are the parts
    of the text with a meaning: begin, length, type and value."""

    row: int
    chat: int
    title: str
    app: str
    sender: str
    name: str
    is_own: bool
    at: int
    edited_at: int | None
    text: str
    marks: list[list[object]]
    kind: str
    extra: str
    number: int
    reply_to: int | None
    forwarded_from: str
    topic: int | None
    file: str

    def as_json(self) -> dict[str, object]:
        """The fields that commands print."""
        fields = self._asdict()
        return {"imported": fields.pop("app"), "verified": False, **fields}


class ImportedFound(NamedTuple):
    """An imported message that holds the words searched for, and their places in its text."""

    message: ImportedMessage
    marks: list[tuple[int, int]]


class Result(NamedTuple):
    """The outcome of an import: the messages read, and those not taken, by the reason."""

    messages: int
    skipped: dict[str, int]
    cut_off: str
    """The title of the chat in which the file ends in the middle; empty if it is whole."""
    is_cut: bool
    left_out: list[str]
    """The titles of the chats that were left out."""
    unknown: list[str]
    """The chats to leave out of which there is none in the export."""

    def as_json(self) -> dict[str, object]:
        """The fields that commands print."""
        return self._asdict()


class _Counted(NamedTuple):
    """The names of a chat's authors, the number of its messages, and their first and last time."""

    names: dict[str, str]
    many: int
    first_at: int
    last_at: int


class _Taking:
    """An import under way."""

    def __init__(self, rules: Imported, export: Export, me: str, without: Collection[str]) -> None:
        self._rules = rules
        self._file = export.path
        self._export = export
        self._without = {one: _folded(one) for one in without if one}
        self._unknown = list(self._without)
        """Those of them that no chat has had yet."""
        # An import that leaves other chats out does not go on where this one ends.
        self._version = json.dumps([export.version(), *sorted(self._without)])
        self._is_left_out = False
        self._left_out: list[str] = []
        self._me = ""
        """The key of the person's own author, once it is known."""
        self._name = _folded(me)
        self._batch: list[Chat | Me | Said | Joint] = []
        self._chat: Chat | None = None
        self._read = self._messages = 0
        self._skipped: Counter[str] = Counter()
        self._title = ""
        self._is_cut = False

    def batches(self, records: Iterable[Record]) -> Iterator[bool]:
        """Read on; comes back every few records, and says whether a batch is to be written."""
        done = self._rules.done(self._file, self._version)
        for record in records:
            if self._read % BATCH == 0 or len(self._batch) >= BATCH:
                yield len(self._batch) >= BATCH
            self._read += 1
            if isinstance(record, Chat):
                self._begin(record)
            if self._is_left_out and isinstance(record, Chat | Said | Skipped | Joint):
                continue
            match record:
                case Said():
                    self._messages += 1
                    if self._read > done:
                        self._batch.append(record)
                case Skipped(why):
                    self._skipped[why] += 1
                case CutOff():
                    self._is_cut = True
                case _:
                    self._batch.append(record)
        yield True

    def _begin(self, chat: Chat) -> None:
        """A chat begins, to be taken or left out."""
        self._title = chat.title
        folded = _folded(chat.title)  # empty, if the title is signs alone
        found = {
            name
            for name, words in self._without.items()
            if name in (chat.key, chat.title) or words == folded != ""
        }
        self._unknown = [one for one in self._unknown if one not in found]
        self._is_left_out = bool(found)
        self._left_out += [chat.title] if found else []

    def write(self, unit: Unit) -> None:
        """Keep a batch."""
        messages: list[Said] = []
        for one in self._batch:
            match one:
                case Said():
                    messages.append(one)
                case Me(author):
                    self._me = author
                case Chat():
                    self._keep(unit, messages)
                    self._chat, messages = one, []
                case Joint():
                    self._rules.join(unit, self._keep(unit, messages), one)
                    messages = []
        if self._chat is not None:
            self._keep(unit, messages)
        self._rules.keep_done(unit, self._file, self._version, self._read)
        self._batch = []

    def _keep(self, unit: Unit, messages: list[Said]) -> int:
        """Keep messages of the present chat; returns its id. The person may have deleted the chat
        meanwhile, so it is opened each time."""
        if self._chat is None:
            return 0
        chat = self._rules.open_chat(unit, self._export.app, self._chat)
        self._rules.take(unit, chat, messages)
        mine = self._me or next((one.author for one in messages if self._is_me(one)), "")
        if mine:
            self._rules.set_me(unit, chat, mine)
        return chat

    def _is_me(self, said: Said) -> bool:
        return bool(self._name) and _folded(said.name) == self._name

    def end(self, unit: Unit) -> None:
        """Everything is taken."""
        self._rules.end(unit, self._file)

    def result(self) -> Result:
        """The outcome."""
        cut_off = self._title if self._is_cut else ""
        return Result(
            *(self._messages, dict(self._skipped), cut_off, self._is_cut),
            *(self._left_out, self._unknown),
        )


class Imports:
    """The imported chats of one person."""

    def __init__(self, run: Runtime) -> None:
        self._unit = run.unit
        self._vault = run.parts.vault
        self._rules = Imported(run.parts.vault)
        self._counted: dict[int, _Counted] = {}
        """Chats that were counted, as long as nothing has changed."""

    async def preview(
        self,
        path: Path,
        *,
        zone: tzinfo | None = None,
        day_first: bool | None = None,
        told: Callable[[int, int], None] = lambda _done, _size: None,
    ) -> Survey:
        """A survey of what an import of an export would take. It changes nothing. `told` hears how
        many bytes of how many are done.

        Times without a zone are of `zone` (None: this machine's); `day_first` says how the dates of
        a WhatsApp chat are written, if it does not show it. Raises NotAnExport, NewerExport,
        BrokenExport, OpenDates or ExportUnfinished.
        """
        with open_export(path) as export:
            surveyor = Surveyor(export.app)
            for number, record in enumerate(export.records(zone, day_first=day_first)):
                surveyor.take(record)
                if number % BATCH == 0:
                    told(export.done, export.size)
                    await asyncio.sleep(0)
            return surveyor.survey()

    async def take(
        self,
        path: Path,
        *,
        me: str = "",
        without: Collection[str] = (),
        zone: tzinfo | None = None,
        day_first: bool | None = None,
        told: Callable[[int, int], None] = lambda _done, _size: None,
    ) -> Result:
        """Import an export. `me` is the person's own name in it, if it does not say who made it;
        `without` are the titles or the keys of chats to leave out; `told` hears how many bytes of
        how many are done.

        If it is broken off, by an error or a death, importing again goes on where it was. Raises
        like `preview`.
        """
        with open_export(path) as export:
            taking = _Taking(self._rules, export, me, without)
            for is_due in taking.batches(export.records(zone, day_first=day_first)):
                if is_due:
                    self._counted.clear()
                    with self._unit() as unit:
                        taking.write(unit)
                told(export.done, export.size)
                await asyncio.sleep(0)
            with self._unit() as unit:
                taking.end(unit)
        return taking.result()

    def all(self) -> list[ImportedChat]:
        """All imported chats, the first to be imported first."""
        rows = self._rules.chats()
        return [self._chat(one, rows) for one in rows]

    def chat(self, chat: int) -> ImportedChat:
        """An imported chat. Raises UnknownImport."""
        return self._chat(self._rules.chat(chat), self._rules.chats())

    def _chat(self, row: ChatRow, rows: list[ChatRow]) -> ImportedChat:
        names, many, first_at, last_at = self._count(row.id)
        before = [
            one.id
            for one in rows
            if row.before and one.is_over and (one.app, one.title) == (row.app, row.before)
        ]
        return ImportedChat(
            id=row.id,
            app=row.app,
            title=row.title,
            kind=row.kind,
            me=names.get(row.me, ""),
            messages=many,
            people=sorted(names.values()),
            first_at=first_at,
            last_at=last_at,
            imported_at=row.imported_at,
            goes_on_from=before[0] if len(before) == 1 else 0,
        )

    def messages(self, chat: int) -> Iterator[ImportedMessage]:
        """All messages of a chat in its order, read a stretch at a time. Raises UnknownImport."""
        row, names = self._rules.chat(chat), self._names(chat)
        after: int | None = None
        while part := self._rules.stretch(chat, after=after, many=MAX_STRETCH):
            yield from (_message(one, row, names) for one in part)
            after = part[-1].row

    def last(
        self, chat: int, *, many: int = 30, before: int | None = None
    ) -> list[ImportedMessage]:
        """The last messages of a chat, or the last before a row, at most imported.MAX_STRETCH.
        Raises UnknownImport."""
        row, names = self._rules.chat(chat), self._names(chat)
        found = self._rules.last(chat, before=before, many=many)
        return [_message(one, row, names) for one in found]

    def after(self, chat: int, row: int, *, many: int = 30) -> list[ImportedMessage]:
        """The messages of a chat behind a row, likewise."""
        head, names = self._rules.chat(chat), self._names(chat)
        found = self._rules.stretch(chat, after=row, many=many)
        return [_message(one, head, names) for one in found]

    def answered(self, messages: Sequence[ImportedMessage]) -> dict[int, ImportedMessage]:
        """The messages that some messages of one chat answer, by their numbers."""
        numbers = {one.reply_to for one in messages if one.reply_to is not None}
        if not numbers:
            return {}
        chat = messages[0].chat
        row, names = self._rules.chat(chat), self._names(chat)
        found = self._rules.numbered(chat, sorted(numbers))
        return {one.number: _message(one, row, names) for one in found}

    def _names(self, chat: int) -> dict[str, str]:
        return self._count(chat).names

    def _count(self, chat: int) -> _Counted:
        """A chat, counted once: for this the vault goes through all of its messages."""
        if chat not in self._counted:
            self._counted[chat] = _Counted(self._rules.names(chat), *self._rules.extent(chat))
        return self._counted[chat]

    def search(
        self, words: str, *, chat: int | None = None, before: int | None = None, many: int = 50
    ) -> list[ImportedFound]:
        """The imported messages that hold all of these words, of one chat or of all, the last to be
        imported first; with `before`, only rows below it.

        Raises BadArgument if there is no word.
        """
        chats = {one.id: one for one in self._rules.chats()}
        found = self._rules.find(words, chat=chat, before=before, many=many)
        names = {one: self._names(one) for one in {row.chat for row in found}}
        return [
            ImportedFound(
                _message(one, chats[one.chat], names[one.chat]), search.marks(one.text, words)
            )
            for one in found
        ]

    def delete(self, chat: int) -> None:
        """Delete an imported chat; no word of it stays in any file. Raises UnknownImport."""
        self._rules.chat(chat)
        self._counted.pop(chat, None)
        with self._unit() as unit:
            self._rules.delete(unit, chat)
        self._vault.scrub()

    def delete_all(self) -> None:
        """Delete everything that was imported."""
        self._counted.clear()
        with self._unit() as unit:
            for one in self._rules.chats():
                self._rules.delete(unit, one.id)
        self._vault.scrub()


def zone_of(name: str) -> tzinfo | None:
    """A time zone by its name; None, which is this machine's, for an empty one. Raises
    BadArgument."""
    if not name:
        return None
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        raise BadArgument(f"there is no time zone {name}") from None


def _folded(name: str) -> str:
    """A name as it is compared, whatever keyboard it was typed on."""
    return " ".join(folding.words(name))


def _message(row: MessageRow, chat: ChatRow, names: dict[str, str]) -> ImportedMessage:
    return ImportedMessage(
        row=row.row,
        chat=row.chat,
        title=chat.title,
        app=chat.app,
        sender=names.get(row.author, row.name),
        name=row.name,
        is_own=row.author == chat.me != "",
        at=row.at,
        edited_at=row.edited_at,
        text=row.text,
        marks=json.loads(row.marks or "[]"),
        kind=row.kind,
        extra=row.extra,
        number=row.number,
        reply_to=row.reply_to,
        forwarded_from=row.forwarded_from,
        topic=row.topic,
        file=row.file,
    )
