"""The memory of a drop's cells says the same as plain lists and dictionaries do."""

from __future__ import annotations

import itertools
import os
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from amanat.protocol.cells import LABEL_BYTES
from amanat.relay.cluster.packed import Piece, Pieces
from amanat.relay.labels import Labels

FEW = st.integers(0, 30).map(lambda number: number.to_bytes(LABEL_BYTES, "big"))
"""Labels of which many come twice."""


@given(st.integers(1, 2**40), st.lists(st.one_of(FEW, st.integers(0, 20)), max_size=200))
def test_labels_are_those_of_the_cells_that_are_left(begun: int, acts: list[bytes | int]) -> None:
    labels, plain, first, following = Labels(), dict[bytes, int](), begun, begun
    labels.begin(begun)
    for act in acts:
        if isinstance(act, bytes):
            labels.add(act)
            plain[act] = following
            following += 1
        else:
            first = min(first + act, following)
            labels.end(first)
            plain = {label: seq for label, seq in plain.items() if seq >= first}
        assert (len(labels), labels.next) == (following - first, following)
    for number in range(31):
        label = number.to_bytes(LABEL_BYTES, "big")
        assert labels.get(label) == plain.get(label)
        assert labels.isdisjoint([label]) == (label not in plain)


def test_many_labels_are_found_and_take_little_room() -> None:
    labels = Labels()
    added = [os.urandom(LABEL_BYTES) for _ in range(10_000)]
    for label in added:
        labels.add(label)
    assert [labels.get(label) for label in added] == list(range(1, 10_001))
    assert labels.isdisjoint([os.urandom(LABEL_BYTES) for _ in range(1_000)])
    # Expiry ends the cells of a day at once, and comes every day.
    for day in range(1, 100):
        labels.end(100 * day + 1)
        for label in added[:100]:
            labels.add(label)
    assert len(labels) == 10_000
    assert len(labels._bytes) <= 2 * LABEL_BYTES * len(labels)
    assert len(labels._slots) <= 2 * 2 * 1.5 * len(labels)


def test_a_cell_that_came_alone_takes_80_bytes_at_most() -> None:
    tracemalloc.start()
    try:
        labels, pieces, count = Labels(), Pieces(), 20_000
        for number in range(1, count + 1):
            labels.add(os.urandom(LABEL_BYTES))
            pieces.add(Piece(10**9 + number, number, number, 20_000))
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken / count <= 80


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(0, 2), st.booleans()), max_size=30),
    st.integers(0, 100),
    st.integers(0, 100),
    st.integers(0, 40),
    st.integers(0, 100),
)
def test_pieces_are_found_by_seq_and_day(
    made: list[tuple[int, int, bool]], first: int, last: int, day: int, ended: int
) -> None:
    pieces, plain, seq, today = Pieces(), list[Piece](), 0, 0
    for place, (cells, days, is_missing) in enumerate(made):
        today += days
        if is_missing:  # the gap is noticed, and nothing else goes wrong
            seq += 1
        plain.append(Piece(3 * place, seq + 1, seq + cells, today))
        pieces.add(plain[-1])
        seq += cells
    pieces.end(ended)
    plain = [piece for piece in plain if piece.last >= ended]
    assert [pieces[index] for index in range(len(pieces))] == plain
    gaps = [one.last + 1 != two.first for one, two in itertools.pairwise(plain)]
    assert pieces.has_gap == any(gaps)
    wanted = [
        piece.place
        for piece in plain
        if piece.last >= first and piece.first <= last and piece.last_day >= day
    ]
    assert list(pieces.places(first, last, since_day=day)) == wanted
    for piece in plain:
        assert pieces.at(piece.first) == pieces.at(piece.last) == piece
