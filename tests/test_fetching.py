"""A file is fetched whole, or refused with its fault by name; no file is read without end."""

from __future__ import annotations

import hashlib
import os
import random
from collections import deque
from collections.abc import Sequence

import pytest

from addresses import relay_at
from amanat.client.fetching import MAX_JUNK, WAIT_S, Fetch
from amanat.client.pace import AHEAD_S, LEAST_BYTES, MOST_BYTES, Pace
from amanat.client.rules.files import file_drop, file_keys
from amanat.client.shell import carrier
from amanat.errors import FileIncomplete, InvalidFile
from amanat.protocol import wire
from amanat.protocol.cells import LABEL_BYTES, LARGE_CELL, MAX_PAYLOAD, MESSAGE_CELL, seal
from amanat.protocol.drops import first_digest
from amanat.protocol.messages import FileRef

CHUNKS = 9
DATA = random.Random(1).randbytes(CHUNKS * MAX_PAYLOAD - 100)
REF = FileRef(relay_at(), "IR", bytes(32), len(DATA), hashlib.sha256(DATA).digest())


def chunks() -> list[bytes]:
    """The cells of the file."""
    drop = file_drop(REF)
    return [
        seal(
            once,
            DATA[index * MAX_PAYLOAD : (index + 1) * MAX_PAYLOAD],
            region=REF.region,
            drop_id=drop.drop_id,
        )
        for index, once in enumerate(file_keys(REF))
    ]


def answer(read: wire.Read, cells: list[bytes]) -> wire.Cells:
    """The answer of a relay that holds these cells."""
    found = cells[read.after : read.after + min(read.limit, wire.READ_BYTES // LARGE_CELL)]
    first = read.after + 1 if found else len(cells) + 1
    return wire.Cells(0, first, first_digest(bytes(24)), found, len(cells))


def fetch(
    cells: list[bytes], *, late: Sequence[bytes] = (), window: int = MOST_BYTES
) -> tuple[bytes, int]:
    """(the content, the number of answers); cells in `late` come only to a Read that waits."""
    fetching, asked, cells = Fetch(REF), 0, list(cells)
    coming = list(late)
    while not fetching.is_whole:
        reads = fetching.reads(window)
        assert sum(read.limit for read in reads) <= max(window // LARGE_CELL, 4)
        for read in reads:
            if read.wait and coming:
                cells.append(coming.pop(0))
            asked += 1
            assert asked < 1000
            fetching.take(read, answer(read, cells))
    return fetching.data(), asked


def test_several_pages_are_asked_for_at_once_and_no_more_than_is_needed() -> None:
    assert fetch(chunks()) == (DATA, 3)
    assert len(Fetch(REF).reads(MOST_BYTES)) == 3
    assert [read.limit for read in Fetch(REF).reads(LARGE_CELL)] == [1]
    assert fetch(chunks(), window=1) == (DATA, CHUNKS)


def test_chunks_come_in_any_order_and_among_other_things() -> None:
    cells = [*chunks(), *(os.urandom(MESSAGE_CELL) for _ in range(MAX_JUNK))]
    for seed in range(20):
        random.Random(seed).shuffle(cells)
        assert fetch(cells, window=(seed % 5 + 1) * LARGE_CELL)[0] == DATA


def test_a_file_still_being_sent_is_waited_for() -> None:
    whole = chunks()
    assert fetch([], late=whole)[0] == DATA
    assert fetch(whole[:5], late=whole[5:])[0] == DATA
    waiting = Fetch(REF)
    for read in waiting.reads(MOST_BYTES):
        waiting.take(read, answer(read, []))
    assert [read.wait for read in waiting.reads(MOST_BYTES)] == [WAIT_S]


@pytest.mark.parametrize("missing", [0, 4, CHUNKS - 1])
def test_a_chunk_that_is_missing_is_told(missing: int) -> None:
    cells = chunks()
    del cells[missing]
    with pytest.raises(FileIncomplete):
        fetch(cells)


def test_junk_without_end_is_not_read_without_end() -> None:
    junk = [os.urandom(MESSAGE_CELL) for _ in range(10 * MAX_JUNK)]
    with pytest.raises(InvalidFile):
        fetch(junk)
    with pytest.raises(InvalidFile):
        fetch([], late=junk)
    assert fetch([*chunks(), *junk]) == (DATA, 3)


def test_a_chunk_whose_place_is_taken_and_another_content_are_told() -> None:
    cells = chunks()
    cells[3] = cells[3][:LABEL_BYTES] + bytes(LARGE_CELL - LABEL_BYTES)
    with pytest.raises(InvalidFile):
        fetch(cells)
    other = Fetch(FileRef(REF.relay, REF.region, REF.secret, REF.size, bytes(32)))
    for read in other.reads(MOST_BYTES):
        other.take(read, answer(read, chunks()))
    with pytest.raises(InvalidFile):
        other.data()


def ask_on(answered: wire.Cells) -> None:
    """Fetch from a relay that always gives this answer."""
    fetching = Fetch(REF)
    for _ in range(10_000):
        for read in fetching.reads(MOST_BYTES):
            fetching.take(read, answered)


@pytest.mark.parametrize("head", [1, 5, 100, 2**50])
def test_a_relay_that_does_not_get_on_is_not_asked_without_end(head: int) -> None:
    for cells in ([], [os.urandom(MESSAGE_CELL)]):
        with pytest.raises((InvalidFile, FileIncomplete)):
            ask_on(wire.Cells(0, 1, bytes(32), cells, head))


@pytest.mark.parametrize("rate", [1_000, 8_192, 65_536, 10**6, 10**9])
@pytest.mark.parametrize("way_s", [0.0, 0.05, 0.6])
def test_no_more_is_under_way_than_the_line_takes_in_a_second(rate: int, way_s: float) -> None:
    pace, longest = Pace(), 0.0
    for _ in range(100):
        size = LARGE_CELL * pace.fits([LARGE_CELL] * 64)
        seconds = way_s + size / rate
        longest = seconds
        pace.took(size, seconds)
    assert LEAST_BYTES <= pace.window <= MOST_BYTES
    assert longest <= way_s + max(AHEAD_S, LARGE_CELL / rate) + LARGE_CELL / rate + 0.01
    if rate >= 10**9:  # nothing holds it back
        assert pace.window > MOST_BYTES / 2


@pytest.mark.parametrize("round_trip_s", [0.02, 0.2, 0.4])
def test_a_long_line_is_full_after_a_few_round_trips(round_trip_s: float) -> None:
    pace, now, left, under_way = Pace(carrier.MOST_BYTES), 0.0, 384, 0
    jobs: deque[tuple[float, float, int]] = deque()
    """When each answer comes, when its cell went, and how much was under way with it."""
    while left or jobs:
        while left and (not jobs or under_way + LARGE_CELL <= pace.window):
            under_way += LARGE_CELL
            jobs.append((now + round_trip_s, now, under_way))
            left -= 1
        now, began, size = jobs.popleft()
        under_way -= LARGE_CELL
        pace.took(size, now - began)
    trips = now / round_trip_s  # 6 with 64 cells in each
    assert trips < 11


def test_a_line_that_was_not_asked_for_more_is_not_taken_for_slow() -> None:
    pace = Pace()
    for _ in range(10):
        pace.took(pace.window, 0.001)
    assert pace.window == MOST_BYTES
    pace.took(MESSAGE_CELL, 40.0)  # covered, or one answer that was late
    assert pace.window == MOST_BYTES
    pace.took(MOST_BYTES, 10.0)
    assert pace.window == max(MOST_BYTES // 10, LEAST_BYTES)
    assert pace.fits([]) == 0
    assert pace.fits([10 * MOST_BYTES]) == 1
