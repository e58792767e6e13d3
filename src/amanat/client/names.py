"""Names that look alike, so that nobody slips into a name that the person knows (threat model,
T7.2)."""

from __future__ import annotations

import functools
import unicodedata
from typing import TYPE_CHECKING

from amanat import _mls
from amanat.protocol.identity import MAX_NAME_CHARS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_BRAILLE_BLANK = "\u2800"
"""A character that counts as a symbol and shows nothing."""


@functools.lru_cache(maxsize=16_384)  # pure, and called for the same people at every look
def looks(name: str) -> frozenset[str]:
    """The looks of a name. Two names that have one of these in common look alike.

    They are skeletons (Unicode UTS 39, section 4: characters that are never shown go, and one
    stands for all those that look the same) of the name in form NFKC and lower case. A capital may
    be mistaken for a letter other than its small one, as I for l, so there are two.
    """
    wide = _tidy(unicodedata.normalize("NFKC", name))
    return frozenset(_tidy(_mls.skeleton(one.casefold())) for one in (wide, _mls.skeleton(wide)))


def alike(name: str, others: Iterable[str]) -> str:
    """The first of `others` that looks like a name; empty if none does."""
    seen = looks(name)
    return next((other for other in others if looks(other) & seen), "")


def distinct(name: str, others: Sequence[str]) -> str:
    """The name, with a number if it looks like one of `others`."""
    base, found, number = name[: MAX_NAME_CHARS - 5], name, 2
    while alike(found, others):
        found, number = f"{base} ({number})", number + 1
    return found


def _tidy(name: str) -> str:
    return " ".join(name.replace(_BRAILLE_BLANK, " ").split())
