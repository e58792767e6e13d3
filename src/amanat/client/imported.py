"""Imported history: the chats that a person brought along from other messengers.

This module alone handles the tables of imported chats. Their messages are no messages of ours: they
have no signer, no count and no place in any conversation, and nothing sends them. A message is
known by its chat and its number, so importing an export again adds nothing twice. An import that
was broken off goes on where its last unit of work ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from amanat.client.search import MAX_FOUND, query_of
from amanat.errors import UnknownImport

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from amanat.client.unit import Unit
    from amanat.client.vault import Vault
    from amanat.importing.records import App, Chat, Joint, Said

MAX_STRETCH = 200
"""The most messages read at once."""
_FIELDS = (
    "m.row, m.chat, m.author, m.name, m.at, m.edited_at, m.text, m.marks, m.kind, m.extra,"
    " m.number, m.reply_to, m.forwarded_from, m.topic, m.file, m.place"
)


class ChatRow(NamedTuple):
    """An imported chat."""

    id: int
    app: str
    title: str
    kind: str
    me: str
    is_over: int
    before: str
    imported_at: int


class MessageRow(NamedTuple):
    """An imported message (records.Said)."""

    row: int
    chat: int
    author: str
    name: str
    at: int
    edited_at: int | None
    text: str
    marks: str
    kind: str
    extra: str
    number: int
    reply_to: int | None
    forwarded_from: str
    topic: int | None
    file: str
    place: int


class Imported:
    """The imported chats of one vault."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._read = vault.read

    # Taking

    def done(self, file: str, version: str) -> int:
        """How many records of this version of a file were taken by an import that has not ended."""
        row = self._read.execute(
            "SELECT done FROM import_run WHERE file = ? AND version = ?", (file, version)
        ).fetchone()
        return int(row[0]) if row else 0

    def keep_done(self, unit: Unit, file: str, version: str, done: int) -> None:
        """Note how many records are taken."""
        unit.db.execute("INSERT OR REPLACE INTO import_run VALUES (?, ?, ?)", (file, version, done))

    def end(self, unit: Unit, file: str) -> None:
        """Forget an import, all of which is taken."""
        unit.db.execute("DELETE FROM import_run WHERE file = ?", (file,))

    def open_chat(self, unit: Unit, app: App, chat: Chat) -> int:
        """The id of a chat, new or known. Its title is the one that came last."""
        (found,) = unit.db.execute(
            "INSERT INTO imported_chat (app, key, title, kind, imported_at) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (app, key) DO UPDATE SET title = excluded.title, kind = excluded.kind"
            " RETURNING id",
            (app, chat.key, chat.title, chat.kind, unit.now),
        ).fetchone()
        return int(found)

    def take(self, unit: Unit, chat: int, messages: Sequence[Said]) -> None:
        """Keep the messages of a chat that are not here yet."""
        unit.db.executemany(
            "INSERT INTO imported_message (chat, number, place, author, name, at, edited_at, text,"
            " marks, kind, extra, reply_to, forwarded_from, topic, file)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            [
                (
                    *(chat, one.number, one.place, one.author, one.name, one.at, one.edited_at),
                    *(one.text, one.marks, one.kind, one.extra, one.reply_to, one.forwarded_from),
                    *(one.topic, one.file),
                )
                for one in messages
            ],
        )

    def join(self, unit: Unit, chat: int, joint: Joint) -> None:
        """Note that a chat became another one, or goes on from one."""
        if joint.title:
            unit.db.execute("UPDATE imported_chat SET before = ? WHERE id = ?", (joint.title, chat))
        else:
            unit.db.execute("UPDATE imported_chat SET is_over = 1 WHERE id = ?", (chat,))

    def set_me(self, unit: Unit, chat: int, author: str) -> None:
        """Note which author of a chat is the person."""
        unit.db.execute("UPDATE imported_chat SET me = ? WHERE id = ?", (author, chat))

    def delete(self, unit: Unit, chat: int) -> None:
        """Delete a chat and its messages. The caller scrubs the vault once this is durable."""
        unit.db.execute("DELETE FROM imported_message WHERE chat = ?", (chat,))
        unit.db.execute("DELETE FROM imported_chat WHERE id = ?", (chat,))
        # An import under way would otherwise go on behind the messages that are gone.
        unit.db.execute("DELETE FROM import_run")

    # Reading

    def chats(self) -> list[ChatRow]:
        """All imported chats, the first to be imported first."""
        rows = self._read.execute(
            "SELECT id, app, title, kind, me, is_over, before, imported_at FROM imported_chat"
            " ORDER BY id"
        )
        return [ChatRow(*row) for row in rows]

    def chat(self, chat: int) -> ChatRow:
        """A chat. Raises UnknownImport."""
        found = next((one for one in self.chats() if one.id == chat), None)
        if found is None:
            raise UnknownImport(str(chat))
        return found

    def extent(self, chat: int) -> tuple[int, int, int]:
        """The number of a chat's messages, and when the first and the last were said; zeros if
        there are none."""
        row = self._read.execute(
            "SELECT count(*), coalesce(min(at), 0), coalesce(max(at), 0) FROM imported_message"
            " WHERE chat = ?",
            (chat,),
        ).fetchone()
        many, first, last = row
        return many, first, last

    def names(self, chat: int) -> dict[str, str]:
        """The authors of a chat, each with the name that most of their messages show."""
        rows = self._read.execute(
            "SELECT author, name FROM imported_message WHERE chat = ? AND author != ''"
            " GROUP BY author, name ORDER BY count(*)",
            (chat,),
        )
        return dict(rows.fetchall())

    def stretch(self, chat: int, *, after: int | None, many: int) -> list[MessageRow]:
        """Messages of a chat in its order, from behind the one with this row (None: from the
        first)."""
        rows = self._read.execute(
            f"SELECT {_FIELDS} FROM imported_message AS m WHERE m.chat = ?1 AND (?2 IS NULL OR"  # noqa: S608
            " (m.place, m.row) > ((SELECT place FROM imported_message WHERE row = ?2), ?2))"
            " ORDER BY m.place, m.row LIMIT ?3",
            (chat, after, min(many, MAX_STRETCH)),
        )
        return _messages(rows)

    def last(self, chat: int, *, before: int | None, many: int) -> list[MessageRow]:
        """The last messages of a chat before the one with this row (None: of all), in its order."""
        rows = self._read.execute(
            f"SELECT {_FIELDS} FROM imported_message AS m WHERE m.chat = ?1 AND (?2 IS NULL OR"  # noqa: S608
            " (m.place, m.row) < ((SELECT place FROM imported_message WHERE row = ?2), ?2))"
            " ORDER BY m.place DESC, m.row DESC LIMIT ?3",
            (chat, before, min(many, MAX_STRETCH)),
        )
        return _messages(rows)[::-1]

    def numbered(self, chat: int, numbers: Sequence[int]) -> list[MessageRow]:
        """The messages of a chat that have these numbers, at most MAX_STRETCH."""
        asked = numbers[:MAX_STRETCH]
        holes = ", ".join("?" * len(asked))
        rows = self._read.execute(
            f"SELECT {_FIELDS} FROM imported_message AS m"  # noqa: S608  # holes alone
            f" WHERE m.chat = ? AND m.number IN ({holes})",
            (chat, *asked),
        )
        return _messages(rows)

    def find(
        self, words: str, *, chat: int | None, before: int | None, many: int
    ) -> list[MessageRow]:
        """The messages that hold all of these words, of one chat or of all, the last to be imported
        first; with rows below `before`. The last word may be the beginning of one.

        Raises BadArgument if there is no word.
        """
        rows = self._read.execute(
            f"SELECT {_FIELDS} FROM imported_said JOIN imported_message AS m"  # noqa: S608
            " ON m.row = imported_said.rowid WHERE imported_said MATCH ?1"
            " AND (?2 IS NULL OR m.chat = ?2) AND (?3 IS NULL OR imported_said.rowid < ?3)"
            " ORDER BY imported_said.rowid DESC LIMIT ?4",
            (query_of(words), chat, before, max(1, min(many, MAX_FOUND))),
        )
        return _messages(rows)


def _messages(rows: sqlite3.Cursor) -> list[MessageRow]:
    return [MessageRow(*row) for row in rows]
