"""The search finds every text, wherever and however it is stored, and nothing else."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from amanat.drill import search
from amanat.drill.search import SHORTEST_BYTES, Hit, find_texts

TEXT = "سلام، به خانه برگرد"

CODINGS: dict[str, Callable[[str], bytes]] = {
    "plain": str.encode,
    "UTF-16": lambda text: text.encode("utf-16-le"),
    "hex": lambda text: text.encode().hex().encode(),
    "base64": lambda text: base64.b64encode(text.encode()),
    "base64 inside": lambda text: base64.b64encode(b"x" + text.encode() + b"yz"),
    "base64 deep inside": lambda text: base64.b64encode(b"xy" + text.encode() + b"z"),
}


@pytest.mark.parametrize("coding", CODINGS)
def test_text_is_found_in_every_coding(tmp_path: Path, coding: str) -> None:
    rng = random.Random(coding)
    place = tmp_path / "file"
    for size in (0, 1, 7, 8, 1000):
        place.write_bytes(rng.randbytes(size) + CODINGS[coding](TEXT) + rng.randbytes(size))
        assert find_texts([TEXT], [place])[0]


@pytest.mark.parametrize("coding", CODINGS)
def test_text_across_a_border_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, coding: str
) -> None:
    monkeypatch.setattr(search, "_BLOCK", 64)
    planted = CODINGS[coding](TEXT)
    for before in range(65):
        (tmp_path / "file").write_bytes(bytes(before) + planted + bytes(70))
        assert find_texts([TEXT], [tmp_path])[0]


@settings(max_examples=100)
@given(
    st.text(max_size=30).filter(lambda text: len(text.encode()) >= SHORTEST_BYTES),
    st.integers(0, 200),
    st.sampled_from(sorted(CODINGS)),
    st.integers(0, 3),
)
def test_any_text_is_found_anywhere(
    tmp_path_factory: pytest.TempPathFactory, text: str, before: int, coding: str, after: int
) -> None:
    assume(len(CODINGS[coding](text)) >= SHORTEST_BYTES)  # two letters may be 4 bytes of UTF-16
    place = tmp_path_factory.mktemp("place") / "file"
    place.write_bytes(bytes(before) + CODINGS[coding](text) + bytes(after))
    assert find_texts([text, "another text"], [place])[0]


def test_every_place_counts(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "one").write_bytes(TEXT.encode() + b"----" + TEXT.encode())
    (tmp_path / "two").write_bytes(TEXT.encode())
    assert len(find_texts([TEXT], [tmp_path])[0]) == 3
    assert find_texts([TEXT], [tmp_path / "two"]) == ([Hit(TEXT, "output", 0)], 0)


def test_random_data_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "noise").write_bytes(random.Random(1).randbytes(4_000_000))
    texts = [f"a text number {number}" for number in range(1000)]
    assert find_texts(texts, [tmp_path]) == ([], 0)


def test_texts_too_short_are_counted_and_not_looked_for(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"hello hi")
    assert find_texts(["hello", "hi", "hello hi"], [tmp_path]) == ([Hit("hello hi", "file", 0)], 2)
    assert find_texts(["hi"], [tmp_path]) == ([], 1)


def test_empty_files_and_places_hold_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "tiny").write_bytes(b"abc")
    assert find_texts([TEXT], [tmp_path, tmp_path / "nowhere"]) == ([], 0)
    assert find_texts([], [tmp_path]) == ([], 0)


def test_links_out_of_a_place_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(TEXT.encode())
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / "link").symlink_to(tmp_path / "elsewhere")
    assert find_texts([TEXT], [tmp_path / "place"]) == ([], 0)


def test_text_at_the_very_end_is_found(tmp_path: Path) -> None:
    for size in range(20):
        (tmp_path / "file").write_bytes(bytes(size) + b"secret")
        assert find_texts(["secret"], [tmp_path]) == ([Hit("secret", "file", size)], 0)


def test_what_an_unused_relay_writes_into_the_same_file_is_no_hit(tmp_path: Path) -> None:
    used, unused = tmp_path / "used", tmp_path / "unused"
    for place in (used, unused):
        place.mkdir()
        (place / "settings").write_text("# sources = []")
        (place.with_suffix(".log")).write_text("draining")
    (unused / "notes").write_text("nobody will ever say this")
    texts = ["sources", "draining", "nobody will ever say this"]
    logs = {place: place.with_suffix(".log") for place in (used, unused)}
    places = [used, logs[used]]
    assert find_texts(texts, places, unused=[unused, logs[unused]]) == ([], 0)
    # In any other file of the relay it is a hit, and the search says where.
    (used / "database").write_bytes(bytes(1000) + b"sources")
    hit = Hit("sources", "database", 1000)
    assert find_texts(texts, places, unused=[unused, logs[unused]]) == ([hit], 0)
