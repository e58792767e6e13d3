"""Does what the page asks about chats of other messengers.

The person names an export by its place on this machine, as for the command: the client reads it
there, so an export of any size is never copied, and its files lie beside it. Only the person can
ask (doors); of a file that is no export they are told no word that is in it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, assert_never

from amanat.client.sdk.imports import zone_of
from amanat.errors import NotAnExport
from amanat.export import downloads, export_imported_to_downloads
from amanat.importing.source import nearby
from amanat.page import histories, telling
from amanat.page.typed import path_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from amanat.client.sdk.client import Client
    from amanat.client.sdk.imports import ImportedMessage

PLACES = ("", "Telegram Desktop")
"""The folders of the downloads in which Telegram Desktop and browsers leave exports."""
QUOTE_CHARS = 200
"""The most characters of an answered message that are shown, on one line."""


class _Stopped(Exception):  # noqa: N818  # what happened
    """The person has stopped it."""


class Importing:
    """Previews and imports, one at a time, and the imported chats."""

    def __init__(self, client: Client, tell: Callable[[list[bytes]], None]) -> None:
        self._imports = client.imports
        self._tell = tell
        self._turn = asyncio.Lock()
        self._under_way: dict[str, object] | None = None
        self._is_stopped = False

    async def attend(self, ask: histories.HistoryAsk) -> object:
        """Do it; the answer. Raises the errors of `client.imports`."""
        match ask:
            case histories.Preview() | histories.Import():
                async with self._turn:
                    return await self._read(ask)
            case histories.StopImport():
                self._is_stopped = True
            case histories.Exports():
                places = [downloads() / one for one in PLACES]
                return [found._asdict() for found in nearby(places)]
            case histories.Imported():
                chats = [one.as_json() for one in self._imports.all()]
                return {"chats": chats, "under_way": self._under_way}
            case histories.ImportedMessages():
                return self._messages(ask)
            case histories.SearchImported():
                hits = self._imports.search(
                    ask.words, chat=ask.chat, before=ask.before, many=ask.many
                )
                return [one.message.as_json() | {"marks": one.marks} for one in hits]
            case histories.ExportImported():
                file = export_imported_to_downloads(self._imports, ask.chat, ask.form)
                return {"file": str(file)}
            case histories.DeleteImported():
                if ask.chat is None:
                    self._imports.delete_all()
                else:
                    self._imports.delete(ask.chat)
            case _:
                assert_never(ask)
        return None

    async def _read(self, ask: histories.Preview | histories.Import) -> object:
        """Preview or import an export; None if it was stopped."""
        path, zone = path_of(ask.path, NotAnExport), zone_of(ask.zone)
        self._is_stopped = False
        try:
            if isinstance(ask, histories.Preview):
                found = await self._imports.preview(
                    path, zone=zone, day_first=ask.day_first, told=self._show
                )
                return found.as_json()
            done = await self._imports.take(
                path,
                me=ask.me,
                without=ask.without,
                zone=zone,
                day_first=ask.day_first,
                told=self._show,
            )
            return done.as_json()
        except _Stopped:
            return None
        finally:
            self._under_way = None
            self._tell([telling.told("import", under_way=None)])

    def _show(self, done: int, whole: int) -> None:
        """Tell how far it has got. Raises _Stopped if the person has stopped it."""
        if self._is_stopped:
            raise _Stopped
        before, percent = self._under_way, 100 * done // max(whole, 1)
        self._under_way = {"percent": percent}
        if before != self._under_way:
            self._tell([telling.told("import", under_way=self._under_way)])

    def _messages(self, ask: histories.ImportedMessages) -> object:
        if ask.after is None:
            part = self._imports.last(ask.chat, many=ask.many, before=ask.before)
        else:
            part = self._imports.after(ask.chat, ask.after, many=ask.many)
        answered = self._imports.answered(part)
        return [
            one.as_json()
            | {"quote": None if one.reply_to is None else _quote(answered.get(one.reply_to))}
            for one in part
        ]


def _quote(one: ImportedMessage | None) -> dict[str, str] | None:
    """The sender and the first words of a message that was answered."""
    if one is None:
        return None
    return {"sender": one.sender, "kind": one.kind, "text": one.text[:QUOTE_CHARS]}
