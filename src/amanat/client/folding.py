"""Folding: a text in the form in which it is searched, whatever keyboard it was typed on.

Persian and Arabic keyboards write the same word in different characters, and people write or leave
out vowel marks, case and half-spaces. `words` maps all these forms to one. The vault's index holds
these words, and its triggers call `fold`.

The index forgets a text by the very words that it was given. A vault therefore notes the version
that made them, and rebuilds its index if that is not the present one (`renew`).
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

FOLD = 1
"""The version of `words`, which changes whenever `words` gives another answer for any text. The
Unicode tables are a part of it, so `version` also names theirs."""
_NOTE = "folding"
"""The key in a vault's `meta` that names the version."""
_INDEXES = {
    "said": "SELECT row, fold(text) FROM message WHERE text IS NOT NULL",
    "imported_said": "SELECT row, fold(text || ' ' || extra) FROM imported_message",
}
"""The indexes of a vault, each with the words that it holds."""

MAX_FORMS = 16_384
"""The most characters whose forms are kept in memory: more than people write with, and far fewer
than there are."""
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
    """The words of a text in the form in which they are searched.

    Letters for which Persian and Arabic keyboards have different characters become one, marks over
    or under a letter are left out, digits of all scripts become 0 to 9, and case does not count
    (Unicode, forms NFKD and casefold).
    """
    return _search_form(text).split()


def places(text: str) -> list[tuple[int, int, str]]:
    """The words of a text, each with its place in it: its first character, and the one after its
    last."""
    found: list[tuple[int, int, str]] = []
    begin, end, word = 0, 0, ""
    for place, letter in enumerate(text):
        plain = _search_form(letter)
        if word and not plain:  # a mark over the letter before it
            end = place + 1
        for one in plain:
            if one == " ":
                found += [(begin, end, word)] if word else []
                word = ""
                continue
            begin = begin if word else place
            end, word = place + 1, word + one
    return [*found, (begin, end, word)] if word else found


def _search_form(text: str) -> str:
    """A text in its search form, with spaces between words."""
    # Of all letters above, this one alone would decompose into another than it becomes there.
    return unicodedata.normalize("NFKD", text.replace("\u06c0", "\u0647")).translate(_FORMS)


class _Forms(dict[int, str]):
    """The search form of each character of a decomposed text. Those of the first characters that
    come are kept: an import folds millions of the same few."""

    def __missing__(self, code: int) -> str:
        plain = chr(code).translate(_LETTERS)
        letters = "" if unicodedata.combining(plain or "_") else plain.casefold()
        form = "".join(map(_shown, letters))
        if len(self) < MAX_FORMS:
            self[code] = form
        return form


_FORMS = _Forms()


def _shown(letter: str) -> str:
    """The search form of a letter or a digit. Anything else separates words."""
    digit = unicodedata.decimal(letter, None)
    if digit is not None:
        return str(digit)
    return letter if unicodedata.category(letter)[0] in "LN" else " "


def register(db: sqlite3.Connection) -> None:
    """Give a connection the function that the schema's triggers call."""
    db.create_function("fold", 1, lambda text: " ".join(words(text)), deterministic=True)


def put_off(db: sqlite3.Connection) -> list[str]:
    """Index no words from now on, and return the statements after which a vault does so again.
    `renew` then indexes all texts at once, which takes half the time."""
    rows = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    there = [row for row in rows if any(f"INTO {index} " in row[1] for index in _INDEXES)]
    for name, _ in there:
        db.execute(f"DROP TRIGGER {name}")
    db.execute("DELETE FROM meta WHERE key = ?", (_NOTE,))
    return [sql for _, sql in there]


def version() -> bytes:
    """The version by which an index is made now."""
    return f"{FOLD} {unicodedata.unidata_version}".encode()


def renew(db: sqlite3.Connection) -> None:
    """Rebuild a vault's indexes if another version made it, in one transaction."""
    noted = db.execute("SELECT value FROM meta WHERE key = ?", (_NOTE,)).fetchone()
    if noted is not None and bytes(noted[0]) == version():
        return
    db.execute("SAVEPOINT renew")  # undone by closing, if it fails
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
    for index, words_of_all in _INDEXES.items():
        if index in tables:  # a vault that is being made by older steps lacks the later ones
            db.execute(f"INSERT INTO {index} ({index}) VALUES ('delete-all')")  # noqa: S608
            db.execute(f"INSERT INTO {index} (rowid, words) {words_of_all}")
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_NOTE, version()))
    db.execute("RELEASE renew")
