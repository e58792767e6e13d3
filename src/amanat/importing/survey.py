"""A survey of an export: what an import would take, and what it would leave."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from amanat.importing.records import Chat, CutOff, Joint, Me, Said, Skipped

if TYPE_CHECKING:
    from amanat.importing.records import Record

MAX_PEOPLE = 100_000
"""The most people of a chat that are counted."""


class ChatSurvey(NamedTuple):
    """A chat of an export. Times are in Unix milliseconds, and 0 if it has no messages."""

    key: str
    """The name of the chat that is the same in every export, by which it can be left out."""
    title: str
    kind: str
    messages: int
    people: int
    first_at: int
    last_at: int
    files: int
    """The files that the export has, and which stay behind."""

    def as_json(self) -> dict[str, object]:
        """The fields that commands print."""
        return self._asdict()


class Survey(NamedTuple):
    """An export as a whole."""

    app: str
    chats: list[ChatSurvey]
    skipped: dict[str, int]
    """The numbers of messages that are not taken, by the reason (records.Why)."""
    me: str
    """The key of the person who made the export; empty if the export does not say."""
    maybe_me: str
    """The person's key, perhaps: in a chat of two, that of the one after whom it is not named."""
    cut_off: str
    """The title of the chat in which the file ends in the middle; empty if it is whole."""
    is_cut: bool
    is_zoned: bool
    """Whether the export says in which time zone its times are."""

    def as_json(self) -> dict[str, object]:
        """The fields that commands print."""
        return self._asdict() | {"chats": [one.as_json() for one in self.chats]}


class _Counting:
    """The chat that is being counted."""

    def __init__(self, chat: Chat) -> None:
        self.chat = chat
        self.messages = self.files = 0
        self.people: dict[str, str] = {}
        self.first_at = self.last_at = 0

    def take(self, said: Said) -> None:
        """Count a message."""
        self.messages += 1
        self.files += bool(said.file)
        self.first_at = min(self.first_at or said.at, said.at)
        self.last_at = max(self.last_at, said.at)
        if said.author and len(self.people) < MAX_PEOPLE:
            self.people.setdefault(said.author, said.name)

    def ended(self) -> ChatSurvey:
        """The chat, all of which is counted."""
        chat = self.chat
        return ChatSurvey(
            *(chat.key, chat.title, chat.kind, self.messages, len(self.people)),
            *(self.first_at, self.last_at, self.files),
        )


class Surveyor:
    """Makes a survey of an export's records as they come."""

    def __init__(self, app: str) -> None:
        self._app = app
        self._chats: list[ChatSurvey] = []
        self._counting: _Counting | None = None
        self._skipped: Counter[str] = Counter()
        self._me = ""
        self._is_cut, self._is_zoned = False, True

    def take(self, record: Record) -> None:
        """Count a record."""
        match record:
            case Chat():
                self._chats += [self._counting.ended()] if self._counting else []
                self._counting = _Counting(record)
            case Said():
                assert self._counting is not None  # noqa: S101  # a reader begins with the chat
                self._counting.take(record)
                self._is_zoned &= record.is_zoned
            case Me(author):
                self._me = author
            case Skipped(why):
                self._skipped[why] += 1
            case CutOff():
                self._is_cut = True
            case Joint():
                pass

    def survey(self) -> Survey:
        """The survey of all records so far."""
        chats, counting = self._chats, self._counting
        maybe_me = cut_off = ""
        if counting is not None:
            chats = [*chats, counting.ended()]
            others = [who for who in counting.people if who != counting.chat.key]
            is_of_two = len(chats) == 1 and len(counting.people) == 2  # noqa: PLR2004
            maybe_me = others[0] if is_of_two and len(others) == 1 and not self._me else ""
            cut_off = counting.chat.title if self._is_cut else ""
        return Survey(
            self._app,
            chats,
            dict(self._skipped),
            self._me,
            maybe_me,
            cut_off,
            self._is_cut,
            self._is_zoned,
        )
