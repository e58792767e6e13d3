"""The asks about chats of other messengers: previews, imports, and the imported chats."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from amanat.page.forms import Form, Line, Many, Name, Number, PathText

Zone = Annotated[str, msgspec.Meta(max_length=64)]
"""A time zone such as Asia/Tehran; empty: this machine's."""
MAX_WITHOUT = 2000
"""Most chats of an export that are left out: their keys are far shorter than an ask may be."""


class Exports(Form, frozen=True, tag="exports"):
    """The exports that lie in the person's downloads."""


class Preview(Form, frozen=True, tag="preview"):
    """Say what an import of an export would take. It changes nothing."""

    path: PathText
    zone: Zone = ""
    day_first: bool | None = None


class Import(Form, frozen=True, tag="import"):
    """Import an export, in which the person is called `me`, without the chats of these keys. It is
    answered once the import has ended."""

    path: PathText
    me: Line = ""
    without: Annotated[list[Name], msgspec.Meta(max_length=MAX_WITHOUT)] = msgspec.field(
        default_factory=list
    )
    zone: Zone = ""
    day_first: bool | None = None


class StopImport(Form, frozen=True, tag="stop import"):
    """Stop the preview or the import that is under way. An import goes on from there later."""


class Imported(Form, frozen=True, tag="imported"):
    """The imported chats, and the import that is under way."""


class ImportedMessages(Form, frozen=True, tag="imported messages"):
    """Messages of an imported chat: those before a row, those after one, or else the last."""

    chat: Number
    before: Number | None = None
    after: Number | None = None
    many: Many = 50


class SearchImported(Form, frozen=True, tag="search imported"):
    """The imported messages that hold some words, of one chat or of all; with `before`, only rows
    below it."""

    words: Line
    chat: Number | None = None
    before: Number | None = None
    many: Many = 50


class ExportImported(Form, frozen=True, tag="export imported"):
    """Write an imported chat into a new file in the person's downloads."""

    chat: Number
    form: Literal["html", "json"]


class DeleteImported(Form, frozen=True, tag="delete imported"):
    """Delete an imported chat, or with None all of them."""

    chat: Number | None


HistoryAsk: TypeAlias = (
    Exports
    | Preview
    | Import
    | StopImport
    | Imported
    | ImportedMessages
    | SearchImported
    | ExportImported
    | DeleteImported
)
