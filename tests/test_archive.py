"""An archive opens with its key, whole or not at all; and a phrase is a key."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mnemonic import Mnemonic

from amanat.errors import AmanatError, BrokenArchive, NewerArchive, WrongPhrase
from amanat.protocol import archive, phrase
from amanat.protocol.archive import FRAME_BYTES, SEALED_BYTES, Opener, Run, Sealer, read_header

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
SALT = bytes(range(16))
FIXTURE = Path(__file__).parent / "vectors" / "archive-1.archive"


class Item(NamedTuple):
    """A record."""

    kind: int
    body: bytes


items = st.lists(
    st.tuples(st.integers(1, 254), st.binary(max_size=300)).map(lambda one: Item(*one)),
    max_size=30,
)


def sealed(records: list[Item], *, key: bytes = KEY, salt: bytes = SALT) -> bytes:
    sealer = Sealer(key, purpose="test", hour=7, salt=salt, program="0")
    body = b"".join(sealer.add(*one) for one in records)
    return sealer.head + body + sealer.end()


def opened(data: bytes, *, key: bytes = KEY, step: int = 1 << 30) -> list[Item]:
    _, length = read_header(data)
    opener = Opener(key, data[:length])
    found: list[Run] = []
    for at in range(length, len(data), step):
        found += opener.feed(data[at : at + step])
    found += opener.end()
    return [Item(run.kind, body) for run in found for body in run.bodies]


def large() -> list[Item]:
    """Records of three frames, one of which is longer than a frame."""
    return [Item(1, b"a" * 100), Item(2, b"b" * (FRAME_BYTES + 5)), Item(3, b"c" * FRAME_BYTES)]


def frames(data: bytes) -> tuple[bytes, list[bytes]]:
    _, length = read_header(data)
    rest = data[length:]
    return data[:length], [rest[i : i + SEALED_BYTES] for i in range(0, len(rest), SEALED_BYTES)]


@given(items, st.integers(1, 70))
def test_archive_gives_back_what_was_put_in_however_it_is_read(
    records: list[Item], step: int
) -> None:
    assert opened(sealed(records), step=step) == records


@given(items, st.data())
def test_changed_byte_or_a_cut_is_refused(records: list[Item], data: st.DataObject) -> None:
    whole = sealed(records)
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = bytearray(whole)
    changed[at] ^= data.draw(st.integers(1, 255))
    for broken in (bytes(changed), whole[:at]):
        with pytest.raises((BrokenArchive, WrongPhrase, NewerArchive)):
            opened(broken)


def test_frames_in_another_order_left_out_or_of_another_archive_are_refused() -> None:
    records = large()
    whole = sealed(records)
    assert opened(whole) == records
    head, parts = frames(whole)
    _, others = frames(sealed(records, salt=bytes(16)))
    assert len(parts) == 3
    for wrong in (
        [parts[1], parts[0], parts[2]],
        [parts[0], parts[2]],
        parts[:2],
        [parts[0], parts[0], parts[1], parts[2]],
        [parts[0], others[1], parts[2]],
        [*parts, parts[2]],
        [],
    ):
        with pytest.raises(BrokenArchive):
            opened(head + b"".join(wrong))


def test_an_archive_whose_stream_ends_with_a_frame_is_whole() -> None:
    end = len(sealed([])) - len(frames(sealed([]))[0]) - archive.TAG_BYTES
    for less in (end - 1, end, end + 1, end + 4):
        records = [Item(9, b"x" * (FRAME_BYTES - 5 - less))]
        assert opened(sealed(records)) == records


def test_another_key_and_a_newer_version_are_named() -> None:
    whole = sealed([Item(1, b"a")])
    with pytest.raises(WrongPhrase):
        opened(whole, key=OTHER)
    with pytest.raises(NewerArchive):
        opened(whole.replace(b"ARCHIVE-1", b"ARCHIVE-2", 1))
    for data in (b"", b"SQLite format 3\x00", b"AMANAT-ARCHIVE-1", b"AMANAT-ARCHIVE-1\n{}\nx"):
        with pytest.raises(BrokenArchive):
            opened(data)


@given(st.binary(max_size=200), st.booleans())
def test_junk_is_refused_by_name(junk: bytes, has_magic: bool) -> None:
    with pytest.raises(AmanatError):
        opened(b"AMANAT-ARCHIVE-1\n" * has_magic + junk)


def test_header_does_not_change_unnoticed() -> None:
    whole = sealed([Item(1, b"a")])
    assert b'"hour":7' in whole
    with pytest.raises(BrokenArchive):
        opened(whole.replace(b'"hour":7', b'"hour":8', 1))


def test_archive_of_version_1_opens_for_ever() -> None:
    """The file is never made again: what it holds has to open in every later version."""
    header, _ = read_header(FIXTURE.read_bytes())
    assert (header.purpose, header.hour, header.program) == ("test", 7, "0")
    assert opened(FIXTURE.read_bytes()) == [Item(1, b"first"), Item(200, b""), Item(2, bytes(40))]


# The phrase


@given(st.binary(min_size=32, max_size=32))
def test_phrase_is_the_key_in_words_and_in_numbers_of_any_script(key: bytes) -> None:
    words = phrase.words_of(key)
    numbers = [str(phrase.number_of(word)) for word in words]
    persian = [one.translate(str.maketrans("0123456789", "۰۱۲۳۴۵۶۷۸۹")) for one in numbers]
    assert len(words) == phrase.WORDS
    for said in (words, numbers, persian, [word[:4].upper() for word in words]):
        assert phrase.key_of("  ".join(said) + "\n") == key


def test_phrase_is_that_of_bip_39() -> None:
    """The vectors of BIP-39 for 256 bits: the first, and two others."""
    for key, words in (
        (bytes(32), ["abandon"] * 23 + ["art"]),
        (b"\xff" * 32, ["zoo"] * 23 + ["vote"]),
        (
            b"\x7f" * 32,
            ["legal", "winner", "thank", "year", "wave", "sausage", "worth", "useful"] * 3,
        ),
    ):
        expected = [*words[:23], "title"] if key[0] == 0x7F else words
        assert phrase.words_of(key) == expected
        assert Mnemonic("english").check(" ".join(expected))


@pytest.mark.parametrize(
    "text", ["", "abandon", "abandon " * 24, "abandon " * 23 + "nosuch", "0 " * 24, "2049 " * 24]
)
def test_slip_in_a_phrase_is_found(text: str) -> None:
    with pytest.raises(WrongPhrase):
        phrase.key_of(text)
