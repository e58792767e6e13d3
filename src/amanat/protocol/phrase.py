"""The recovery phrase: 24 words that are a key of 256 bits (BIP-39, with its English list).

The list is English alone. Each word also has a number from 1 to 2048, by which a person can write
down and read aloud a phrase in any script.
"""

from __future__ import annotations

import functools
import unicodedata
from typing import TYPE_CHECKING

from mnemonic import Mnemonic

from amanat.errors import PhraseSlip, UnknownWord, WordCount

if TYPE_CHECKING:
    from collections.abc import Sequence

KEY_BYTES = 32
WORDS = 24
"""The number of words: 256 bits of key and 8 bits that find a slip of the pen."""


@functools.cache
def _list() -> Mnemonic:
    return Mnemonic("english")


def words_of(key: bytes) -> list[str]:
    """The phrase of a key."""
    return _list().to_mnemonic(key).split(" ")


def number_of(word: str) -> int:
    """The number of a word of the list, from 1 on."""
    return _list().wordlist.index(word) + 1


def word_of(said: str, place: int) -> str:
    """The word that somebody means at a place of the phrase, from 1 on. Raises UnknownWord."""
    word = listed(said, _list().wordlist)
    if word is None:
        raise UnknownWord(f"word {place}")
    return word


def listed(said: str, known: Sequence[str]) -> str | None:
    """The word of a list that somebody means: the word itself, its first four letters, which no
    other word has, or its number in the digits of any script. None if there is none."""
    said = unicodedata.normalize("NFKC", said).strip().lower()
    if said.isdecimal() and len(said) <= 4:  # noqa: PLR2004  # 2048 has four digits
        number = int(said)
        return known[number - 1] if 1 <= number <= len(known) else None
    found = [word for word in known if word == said or word[:4] == said]
    return found[0] if said and found else None


def key_of(text: str) -> bytes:
    """The key of a phrase: its words, or their numbers, with white space between. Raises
    WordCount, UnknownWord or PhraseSlip."""
    said: Sequence[str] = text.split()
    if len(said) != WORDS:
        raise WordCount(f"these are {len(said)}")
    meant = [word_of(one, place) for place, one in enumerate(said, 1)]
    try:
        return bytes(_list().to_entropy(meant))
    except ValueError:
        raise PhraseSlip from None
