"""The format of files: their cells and their padding, and what a reader believes of a relay."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amanat.client.transfers import MAX_JUNK, Asked, Bits, Download, no_bits
from amanat.errors import DiskFull, FileIncomplete, InvalidFile
from amanat.protocol import files, wire
from amanat.protocol.cells import LARGE_CELL
from amanat.protocol.drops import first_digest
from amanat.protocol.files import CHUNK_BYTES, FileDrop, Known, Sum, outline_hash, padded, shape_of
from amanat.protocol.messages import MAX_CELLS, MAX_FILE_BYTES, File, FileKind
from damage import changed_at

CLASSES = sorted({2**n for n in range(15)} | {3 * 2**n for n in range(14)} - {24_576})


class Made(NamedTuple):
    """A file, the payloads of its cells, and the cells."""

    file: File
    payloads: list[bytes]
    cells: list[bytes]


def make(data: bytes, *, preview: bytes = b"", seed: int = 0) -> Made:
    """A file as its sender makes it."""
    found, payloads = Sum(), [b""]
    shape = shape_of(len(data), len(preview))
    for at in range(0, len(data) if shape.chunks else 0, CHUNK_BYTES):
        found.add(data[at : at + CHUNK_BYTES])
        payloads.append(data[at : at + CHUNK_BYTES])
    inline = b"" if shape.chunks else data
    payloads[0] = found.outline(preview_type="image/webp", preview=preview, data=inline)
    payloads += found.tables()
    payloads += [b""] * (shape.cells - len(payloads))
    file = File(
        bytes(32), "DE", random.Random(seed).randbytes(32), outline_hash(payloads[0]), len(data),
        shape.cells, FileKind.FILE, "", "", None, 0, 0, b"", b"", "", None, 0,
    )  # fmt: skip
    drop = FileDrop(file.secret, "DE")
    return Made(file, payloads, [drop.seal(number, one) for number, one in enumerate(payloads)])


def answer(asked: Asked, cells: list[bytes], *, most: int = 4) -> wire.Cells:
    """The answer of a relay whose drop holds these cells."""
    read = asked.read
    found = cells[read.after : read.after + min(read.limit, most)]
    digest = first_digest(read.drop_id)
    return wire.Cells(0, min(read.after, len(cells)) + 1, digest, found, len(cells))


def fetch(
    made: Made, cells: list[bytes], reply: Callable[..., wire.Cells] = answer, room: int = 2**21
) -> list[bytes]:
    """The payloads that a reader believes, in order."""
    download = Download(made.file, Bits(no_bits(made.file.cells)), Known(made.file))
    found: dict[int, bytes] = {}

    def keep(cells: list[tuple[int, bytes]]) -> None:
        assert not found.keys() & dict(cells).keys()
        found.update(cells)

    while (asked := download.next(room)) is not None:
        download.took(asked, reply(asked, cells), keep)
    assert download.is_whole
    return [found[number] for number in range(len(found))]


@given(st.integers(1, MAX_CELLS))
def test_a_file_is_padded_to_the_next_of_a_few_numbers(cells: int) -> None:
    assert padded(cells) == min(one for one in CLASSES if one >= cells)


@given(st.integers(0, MAX_FILE_BYTES), st.integers(0, 40_000))
def test_a_file_of_any_size_fits_into_a_drop(size: int, preview: int) -> None:
    shape = shape_of(size, preview)
    assert shape.filled <= shape.cells <= MAX_CELLS
    assert shape.cells in CLASSES
    assert shape.chunks * CHUNK_BYTES >= size or not shape.chunks


def test_the_largest_outline_fits_into_a_cell_and_the_largest_file_into_a_drop() -> None:
    assert shape_of(MAX_FILE_BYTES).cells == MAX_CELLS
    found = Sum()
    found._hashes += bytes(16 * shape_of(MAX_FILE_BYTES).chunks)
    outline = found.outline(preview_type="x" * 20, preview=bytes(40_000))
    assert len(outline) <= CHUNK_BYTES
    assert len(found.tables()) == files.MAX_TABLES


@pytest.mark.parametrize("size", [0, 1, 60_000, 60_001, 131_000, 131_001, 1_000_000])
@pytest.mark.parametrize("preview", [b"", b"p" * 40_000])
def test_all_cells_of_a_file_have_one_size_and_a_reader_gets_it_back(
    size: int, preview: bytes
) -> None:
    data = random.Random(size).randbytes(size)
    made = make(data, preview=preview)
    assert {len(cell) for cell in made.cells} == {LARGE_CELL}
    assert len(made.cells) == made.file.cells
    assert fetch(made, made.cells) == made.payloads[: shape_of(size, len(preview)).filled]


def test_hashes_that_do_not_fit_into_the_outline_are_in_tables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(files, "OUTLINE_HASHES", 3)
    monkeypatch.setattr(files, "TABLE_HASHES", 4)
    monkeypatch.setattr(files, "MAX_TABLES", 4)
    made = make(random.Random(0).randbytes(10 * CHUNK_BYTES))
    assert shape_of(made.file.size) == (10, 2)
    assert fetch(made, made.cells) == made.payloads[:13]
    for number in (11, 12):  # each of the tables
        forged = list(made.cells)
        table = bytes(len(made.payloads[number]))
        forged[number] = FileDrop(made.file.secret, "DE").seal(number, table)
        with pytest.raises(InvalidFile):
            fetch(made, forged)


@pytest.mark.long
@settings(max_examples=40)
@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(1, 2**21))
def test_cells_in_any_order_among_other_things_are_found(seed: int, most: int, room: int) -> None:
    made, rng = MADE, random.Random(seed)
    junk = [rng.randbytes(LARGE_CELL) for _ in range(rng.randrange(3))]
    cells = [*made.cells, *junk]
    rng.shuffle(cells)

    def reply(asked: Asked, cells: list[bytes]) -> wire.Cells:
        return answer(asked, cells, most=most)

    assert fetch(made, cells, reply, room) == made.payloads[:7]


MADE = make(random.Random(1).randbytes(6 * CHUNK_BYTES - 100))


@pytest.mark.parametrize("number", range(7))
def test_a_cell_that_is_missing_is_told(number: int) -> None:
    with pytest.raises(FileIncomplete):
        fetch(MADE, MADE.cells[:number] + MADE.cells[number + 1 :])


@pytest.mark.parametrize("number", range(7))
def test_another_cell_of_somebody_who_has_the_secret_is_never_believed(number: int) -> None:
    drop = FileDrop(MADE.file.secret, "DE")
    for payload in (b"", b"x", MADE.payloads[number][:-1], MADE.payloads[(number + 1) % 7]):
        forged = list(MADE.cells)
        forged[number] = drop.seal(number, payload)
        with pytest.raises(InvalidFile):
            fetch(MADE, forged)


def test_a_cell_that_a_relay_has_changed_is_told() -> None:
    forged = list(MADE.cells)
    forged[3] = changed_at(forged[3])
    with pytest.raises(InvalidFile):
        fetch(MADE, forged)


@pytest.mark.parametrize("size", [-1, 1, -CHUNK_BYTES, CHUNK_BYTES])
def test_a_file_of_another_size_than_was_announced_is_refused(size: int) -> None:
    file = MADE.file
    fields = {name: getattr(file, name) for name in file.__struct_fields__}
    other = File(**fields | {"size": file.size + size})
    with pytest.raises(InvalidFile):
        fetch(MADE._replace(file=other), MADE.cells)


def test_an_announcement_of_an_impossible_number_of_cells_is_none() -> None:
    fields = {name: getattr(MADE.file, name) for name in MADE.file.__struct_fields__}
    for cells in (1, 6, 7, 12, MAX_CELLS):
        assert not files.is_possible(File(**fields | {"cells": cells}))
    assert files.is_possible(MADE.file)


def test_a_relay_that_does_not_get_on_is_not_asked_without_end() -> None:
    def stall(asked: Asked, _cells: list[bytes]) -> wire.Cells:
        return wire.Cells(0, asked.read.after + 1, bytes(32), [], 8)

    with pytest.raises(InvalidFile):
        fetch(MADE, MADE.cells, stall)


def test_junk_without_end_is_not_read_without_end() -> None:
    rng, asked = random.Random(0), []

    def reply(one: Asked, cells: list[bytes]) -> wire.Cells:
        asked.append(one)
        cells += [rng.randbytes(LARGE_CELL) for _ in range(4)]
        return answer(one, cells)

    with pytest.raises(FileIncomplete):
        fetch(MADE, [rng.randbytes(LARGE_CELL) for _ in range(8)], reply)
    assert max(one.read.after + one.read.limit for one in asked) == MADE.file.cells + MAX_JUNK


def test_a_download_that_was_begun_asks_for_the_rest_alone() -> None:
    known = Known(MADE.file)
    known.take(0, MADE.payloads[0])
    done = Bits(no_bits(8))
    for number in (0, 1, 2, 4):
        done.add(number)
    download = Download(MADE.file, done, known)
    seqs: list[int] = []
    while (asked := download.next(LARGE_CELL)) is not None:
        seqs.append(asked.read.after + 1)
        download.took(asked, answer(asked, MADE.cells), lambda _: None)
    assert seqs == [4, 6, 7]
    assert download.is_whole


def test_a_cell_that_somebody_waits_for_comes_first() -> None:
    download = Download(MADE.file, Bits(no_bits(8)), Known(MADE.file))
    download.want(6)
    seqs: list[int] = []
    while (asked := download.next(LARGE_CELL)) is not None:
        seqs.append(asked.read.after + 1)
        download.took(asked, answer(asked, MADE.cells), lambda _: None)
    assert seqs[:3] == [1, 7, 2]  # the outline says what the cell must be


def test_a_cell_that_could_not_be_kept_is_not_done() -> None:
    def fail(_cells: list[tuple[int, bytes]]) -> None:
        raise DiskFull

    download = Download(MADE.file, Bits(no_bits(8)), Known(MADE.file))
    first = download.next(LARGE_CELL)
    assert first is not None
    download.took(first, answer(first, MADE.cells), lambda _: None)
    second = download.next(2**21)
    assert second is not None
    with pytest.raises(DiskFull):
        download.took(second, answer(second, MADE.cells), fail)
    assert [number for number in range(8) if number in download.done] == [0]


def test_a_whole_other_file_under_the_same_secret_is_never_believed() -> None:
    other = make(random.Random(2).randbytes(MADE.file.size), seed=0)
    assert other.file.secret == MADE.file.secret
    assert fetch(other, other.cells) == other.payloads[:7]
    with pytest.raises(InvalidFile):
        fetch(MADE, other.cells)
