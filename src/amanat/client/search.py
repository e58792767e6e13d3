"""Search: the messages that hold some words, however they were typed.

The vault has an index (FTS5) of the words of all texts, folded (`folding`). It holds words and no
texts (it is contentless), and triggers of the schema keep it in step with `message`. No word of a
deleted text may stay in any file, so the index deletes by rewriting (`secure-delete`). The marks
that it keeps otherwise would still hold the word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from amanat.client import folding
from amanat.errors import BadArgument

if TYPE_CHECKING:
    from amanat.client.vault import Vault

MAX_FOUND = 200
"""The most messages found at once. Further ones are found with `before` the last of them."""


class Search:
    """The words of one vault's messages."""

    def __init__(self, vault: Vault) -> None:
        self._read = vault.read

    def find(
        self, words: str, *, gid: bytes | None, before: int | None, many: int
    ) -> list[tuple[bytes, int]]:
        """The conversations and rows of the messages that hold all of these words, the last to
        arrive first: of one conversation or of all, with rows below `before`. The last word may be
        the beginning of one.

        Raises BadArgument if there is no word.
        """
        query = query_of(words)
        rows = self._read.execute(
            "SELECT m.gid, m.row FROM said JOIN message AS m ON m.row = said.rowid"
            " WHERE said MATCH ?1 AND (?2 IS NULL OR m.gid = ?2)"
            " AND (?3 IS NULL OR said.rowid < ?3) ORDER BY said.rowid DESC LIMIT ?4",
            (query, gid, before, max(1, min(many, MAX_FOUND))),
        ).fetchall()
        return [(bytes(where), int(row)) for where, row in rows]


def query_of(words: str) -> str:
    """The query of an index for all of these words. Raises BadArgument if there is none."""
    asked = folding.words(words)
    if not asked:
        raise BadArgument("search for a word at least")
    return " ".join(f'"{word}"' for word in asked) + " *"


def marks(text: str, words: str) -> list[tuple[int, int]]:
    """The positions in a text of the words searched for."""
    asked = folding.words(words)
    return [
        (begin, end)
        for begin, end, word in folding.places(text)
        if word in asked or word.startswith(asked[-1])
    ]
