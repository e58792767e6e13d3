"""Folding: a text as it is searched, whatever keyboard it was typed on.

Persian and Arabic keyboards write the same word in different characters, and vowel marks, case and
half-spaces are written or left out. `words` makes one of them all. The vault's index holds these
words, and its triggers call `fold`.

The index forgets a text by the very words that it was given: so a vault notes by which version they
were made, and makes its index anew where that is another (`renew`).
"""

from __future__ import annotations

import functools
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

FOLD = 1
"""The version of `words`: another whenever it gives another answer for any text. The tables of
Unicode are a part of it, so `version` names theirs as well."""
_NOTE = "folding"
"""Under what a vault's `meta` names the version."""

_LETTERS = str.maketrans(
    {
        **dict.fromkeys("يىئ", "ی"),
        **dict.fromkeys("ةۀ", "ه"),  # noqa: RUF001
        **dict.fromkeys("أإآ", "ا"),  # noqa: RUF001
        "ك": "ک",
        "ؤ": "و",
        "ـ": None,  # tatweel, which only stretches a word
        "\u200c": " ",  # between a word and its ending
    }
)


def words(text: str) -> list[str]:
    """The words of a text as they are searched.

    Letters that the Persian and Arabic keyboards have in different characters are one, marks that
    stand over or under a letter are left out, digits of all scripts are 0 to 9, and case does not
    count (Unicode, forms NFKD and casefold).
    """
    return "".join(map(_shown, _plain(text))).split()


def places(text: str) -> list[tuple[int, int, str]]:
    """The words of a text, and where each stands in it: from which character to before which."""
    found: list[tuple[int, int, str]] = []
    begin, end, word = 0, 0, ""
    for place, letter in enumerate(text):
        plain = _plain(letter)
        if word and not plain:  # a mark over the letter before it
            end = place + 1
        for one in map(_shown, plain):
            if one == " ":
                found += [(begin, end, word)] if word else []
                word = ""
                continue
            begin = begin if word else place
            end, word = place + 1, word + one
    return [*found, (begin, end, word)] if word else found


def _plain(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.translate(_LETTERS)).translate(_LETTERS)
    return "".join(one for one in decomposed if not unicodedata.combining(one)).casefold()


@functools.lru_cache(maxsize=4096)  # asked of the same letters all the time
def _shown(letter: str) -> str:
    """A letter or a digit as it is searched; anything else parts words."""
    digit = unicodedata.decimal(letter, None)
    if digit is not None:
        return str(digit)
    return letter if unicodedata.category(letter)[0] in "LN" else " "


def register(db: sqlite3.Connection) -> None:
    """Give a connection the function that the schema's triggers call."""
    db.create_function("fold", 1, lambda text: " ".join(words(text)), deterministic=True)


def version() -> bytes:
    """By what an index is made now."""
    return f"{FOLD} {unicodedata.unidata_version}".encode()


def renew(db: sqlite3.Connection) -> None:
    """Make a vault's index anew if it was made by another version; one transaction."""
    noted = db.execute("SELECT value FROM meta WHERE key = ?", (_NOTE,)).fetchone()
    if noted is not None and bytes(noted[0]) == version():
        return
    db.execute("SAVEPOINT renew")  # undone by closing, if it fails
    db.execute("INSERT INTO said (said) VALUES ('delete-all')")
    db.execute(
        "INSERT INTO said (rowid, words) SELECT row, fold(text) FROM message WHERE text IS NOT NULL"
    )
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_NOTE, version()))
    db.execute("RELEASE renew")
