"""Searching a relay's files for people's words."""

from __future__ import annotations

import base64
import mmap
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

SHORTEST_BYTES = 6
"""Least bytes of a text that is searched for: 5 given bytes turn up in 1 GB of random data once in
a thousand searches, and a replay makes tens of thousands."""
_BLOCK = 8 * 1024 * 1024


def encodings(text: str) -> list[bytes]:
    """The encodings in which a text could be stored and still be read back easily."""
    plain = text.encode()
    found = {plain, text.encode("utf-16-le"), plain.hex().encode()}
    for shift in range(3):
        # Base64 of the text inside a longer one: the characters that depend on neighbours are cut.
        coded = base64.b64encode(bytes(shift) + plain)
        found.add(coded[-(-shift * 8 // 6) :][: len(plain) * 8 // 6 - 1])
    return [code for code in found if len(code) >= SHORTEST_BYTES]


class Hit(NamedTuple):
    """A text that was found: its file, as a path below the place that was searched, and its offset
    there in bytes."""

    text: str
    file: str
    offset: int


def find_texts(
    texts: Iterable[str], places: Sequence[Path], *, unused: Sequence[Path] = ()
) -> tuple[list[Hit], int]:
    """(where any of the texts stands, how many texts were too short to search for).

    Every file at or below each place is searched whole. `unused` are the same places of a relay
    that nobody has used. A text that is also in the same file there is no hit: it is a word of the
    program or of its settings, which somebody happens to have said.
    """
    texts = set(texts)
    short = {text for text in texts if len(text.encode()) < SHORTEST_BYTES}
    of = {code: text for text in sorted(texts - short) for code in encodings(text)}
    if not of:
        return [], len(short)
    index = _Index(sorted(of))
    own_words = {hit[:2] for place in unused for hit in _hits(index, of, place)}
    hits = [hit for place in places for hit in _hits(index, of, place)]
    return [hit for hit in hits if hit[:2] not in own_words], len(short)


def _hits(index: _Index, of: dict[bytes, str], place: Path) -> Iterator[Hit]:
    for file in _files(place):
        name = str(file.relative_to(place)) if file != place else "output"
        for offset, code in index.matches(file):
            yield Hit(of[code], name, offset)


def count_bytes(needles: Iterable[bytes], places: Iterable[Path]) -> int:
    """How often these strings, of at least SHORTEST_BYTES each, stand at or below the places."""
    index = _Index(sorted(set(needles)))
    return sum(1 for place in places for file in _files(place) for _ in index.matches(file))


def found(texts: Iterable[str], places: Iterable[Path]) -> set[str]:
    """The texts that stand anywhere at or below the places, in any of their encodings."""
    of = {code: text for text in texts for code in encodings(text)}
    index = _Index(sorted(of))
    return {
        of[code] for place in places for file in _files(place) for _, code in index.matches(file)
    }


def _files(place: Path) -> Iterator[Path]:
    if place.is_file():
        yield place
    for path in sorted(place.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield path


class _Index:
    """Finds any of many patterns in one pass: it looks up every 6-byte window among the patterns'
    beginnings, first by two of its bytes and then whole, and compares the rest byte by byte."""

    def __init__(self, patterns: list[bytes]) -> None:
        self._by_start: dict[int, list[bytes]] = {}
        for pattern in patterns:
            start = int.from_bytes(pattern[:SHORTEST_BYTES], "little")
            self._by_start.setdefault(start, []).append(pattern)
        self._starts = np.array(sorted(self._by_start), dtype=np.uint64)
        self._likely = np.zeros(65536, dtype=bool)
        self._likely[(self._starts & 0xFFFF).astype(np.int64)] = True
        self._longest = max(map(len, patterns))

    def matches(self, path: Path) -> Iterator[tuple[int, bytes]]:
        """(offset, pattern) of each occurrence of a pattern in a file."""
        size = path.stat().st_size
        if size < SHORTEST_BYTES:
            return
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for begin in range(0, size, _BLOCK):
                # Windows begin in this block and may end after it; padding ends the last ones.
                block = data[begin : begin + _BLOCK + 7].ljust(min(_BLOCK, size - begin) + 7, b"\0")
                for at in self._candidates(block):
                    start = int.from_bytes(block[at : at + SHORTEST_BYTES], "little")
                    for pattern in self._by_start[start]:
                        if (
                            data[begin + at :][: len(pattern)] == pattern
                            if begin + at + len(pattern) > begin + len(block)
                            else block.startswith(pattern, at)
                        ):
                            yield begin + at, pattern

    def _candidates(self, block: bytes) -> list[int]:
        found: list[int] = []
        mask = np.uint64(2 ** (8 * SHORTEST_BYTES) - 1)
        for shift in range(8):
            count = (len(block) - shift) // 8
            windows = np.frombuffer(block, dtype="<u8", count=count, offset=shift) & mask
            likely = np.flatnonzero(self._likely[(windows & np.uint64(0xFFFF)).astype(np.int64)])
            chosen = windows[likely]
            at = np.minimum(np.searchsorted(self._starts, chosen), len(self._starts) - 1)
            real = likely[self._starts[at] == chosen]
            found += (real * 8 + shift).tolist()
        return [at for at in found if at < len(block) - 7]
