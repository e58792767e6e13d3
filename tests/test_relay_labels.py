"""An append that comes again is recognised wherever the label of its cell is: in memory, in the
table of cells or in the index."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from amanat.config import RelayLimits
from amanat.errors import DiskFull
from amanat.protocol import wire
from amanat.protocol.cells import LABEL_BYTES, MESSAGE_CELL
from amanat.protocol.drops import Drop, derive_bucket, next_digest
from amanat.protocol.moving import ShredKey, WrappedCell
from amanat.relay.arrivals import Arrived
from amanat.relay.drops import DAY_S, Drops
from amanat.relay.store import SqliteStore
from amanat.relay.store import labels as table
from amanat.relay.store.wrapping import KEY_BYTES, nonces, wrap_all

KEY = bytes(range(32))
BUCKETS = [derive_bucket(KEY, index, region="DE") for index in range(3)]
NOW = 20_000 * DAY_S
RETENTION_DAYS = 14
FEW = st.integers(0, 60)
"""Numbers of labels, of which many come twice."""


def cell(number: int, rest: int = 0) -> bytes:
    return number.to_bytes(LABEL_BYTES, "big") + bytes([rest]) * (MESSAGE_CELL - LABEL_BYTES)


def append(drop: Drop, number: int, rest: int = 0) -> wire.Append:
    return wire.Append(0, drop.drop_id, drop.append_token, cell(number, rest))


class Relay:
    """A relay whose index takes few labels at once."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.now = NOW
        self.open()

    def open(self) -> None:
        self.store = SqliteStore(self.directory)
        self.drops = Drops(self.store, region="DE", bucket_key=KEY, limits=RelayLimits())
        self.drops.open_buckets(len(BUCKETS), now=NOW)

    def write(self, *requests: wire.Append) -> list[int | str]:
        """The seq or the error of each."""
        replies = self.drops.write(requests, now=self.now).replies
        return [one.seq if isinstance(one, wire.Appended) else code(one) for one in replies]

    def append(self, *requests: wire.Append) -> list[int | str]:
        told = self.write(*requests)
        self.drops.commit()
        return told

    def expire(self) -> None:
        for _ in self.drops.expire(now=self.now):
            pass

    def indexed(self) -> int:
        """Labels in the index."""
        (count,) = self.store._writer.execute("SELECT count(*) FROM label").fetchone()
        return int(count)


def code(reply: wire.Reply) -> str:
    assert isinstance(reply, wire.Failed)
    return reply.code


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "INDEX_LABELS", 10)
    monkeypatch.setattr(table, "MOST_LABELS", 15)
    monkeypatch.setattr(table, "MOST_DROPS", 2)
    monkeypatch.setattr(table, "FEW_LABELS", 3)


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    made = Relay(tmp_path)
    yield made
    made.store.close()


NO_LABELS: st.SearchStrategy[list[int]] = st.just([])
RUN = st.tuples(st.just("append"), st.integers(0, 2), st.lists(FEW, min_size=1, max_size=12))
LOST = st.tuples(st.just("lose"), st.integers(0, 2), st.lists(FEW, min_size=1, max_size=12))
LATER = st.tuples(st.just("later"), st.integers(1, 9), NO_LABELS)
OPEN = st.tuples(st.just("open"), st.just(0), NO_LABELS)


@given(acts=st.lists(st.one_of(RUN, RUN, LOST, LATER, OPEN), max_size=40))
def test_a_drop_takes_each_label_once_while_its_cell_rests(
    tmp_path_factory: pytest.TempPathFactory, acts: list[tuple[str, int, list[int]]]
) -> None:
    relay = Relay(tmp_path_factory.mktemp("relay"))
    resting: list[dict[int, tuple[int, float]]] = [{} for _ in BUCKETS]
    heads = [0 for _ in BUCKETS]
    for act, number, labels in acts:
        if act == "later":
            relay.now += number * DAY_S
            relay.expire()
            ended = relay.now - (RETENTION_DAYS + 1) * DAY_S
            resting = [
                {label: found for label, found in one.items() if found[1] > ended}
                for one in resting
            ]
        elif act == "open":
            relay.store.close()
            relay.open()
        elif act == "lose":
            relay.write(*(append(BUCKETS[number], label) for label in labels))
            relay.store.rollback()
        else:
            expected = []
            for label in labels:
                if label not in resting[number]:
                    heads[number] += 1
                    resting[number][label] = (heads[number], relay.now)
                expected.append(resting[number][label][0])
            assert relay.append(*(append(BUCKETS[number], one) for one in labels)) == expected
        for bucket, held in zip(BUCKETS, resting, strict=True):
            record = relay.store.find(bucket.drop_id)
            for label in range(61):
                found = relay.store.labelled(record, cell(label)[:LABEL_BYTES])
                assert (found.seq if found else None) == held.get(label, (None,))[0]
                if found:
                    assert found.cell == cell(label)
                assert relay.store.holds(record, [cell(label)[:LABEL_BYTES]]) == (label in held)
        assert relay.store._held == sum(map(len, (one.labels for one in _recent(relay))))
    relay.store.close()


def _recent(relay: Relay) -> list[table.Recent]:
    return list(relay.store._recent.values())


def test_the_index_takes_the_labels_of_a_drop_that_has_many(relay: Relay) -> None:
    for first in range(0, 40, 4):
        relay.append(*(append(BUCKETS[0], first + number) for number in range(4)))
    assert relay.indexed() == 36
    assert relay.append(append(BUCKETS[0], 0), append(BUCKETS[0], 39)) == [1, 40]
    assert relay.append(append(BUCKETS[0], 0, 1), append(BUCKETS[0], 39, 1)) == ["label-taken"] * 2


def test_the_index_takes_more_at_once_of_a_drop_that_has_more(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "MOST_LABELS", 1000)
    indexed = []
    for first in range(0, 400, 4):
        relay.append(*(append(BUCKETS[0], first + number) for number in range(4)))
        indexed.append(relay.indexed())
    taken = [after - before for before, after in itertools.pairwise(sorted(set(indexed)))]
    assert taken == sorted(taken)
    assert taken[0] == 12
    assert taken[-1] > 300 // table.INDEX_SHARE


def test_no_more_labels_are_kept_than_there_is_room_for(relay: Relay) -> None:
    for first, bucket in itertools.product(range(0, 9, 3), BUCKETS):
        relay.append(*(append(bucket, first + number) for number in range(3)))
        assert len(relay.store._recent) <= 2
        assert relay.store._held <= 15
    assert relay.indexed() > 0
    for bucket in BUCKETS:
        assert relay.append(*(append(bucket, number) for number in range(9))) == list(range(1, 10))


def test_labels_end_with_their_cells(relay: Relay) -> None:
    """In every file, as the cells do."""
    marked = [int.from_bytes(b"a label like n%02d" % number, "big") for number in range(8)]
    for _ in range(2):
        relay.append(*(append(BUCKETS[0], one) for one in marked))
        relay.append(*(append(BUCKETS[0], number) for number in range(20)))
        assert relay.indexed() == 28
        relay.now += (RETENTION_DAYS + 1) * DAY_S
        relay.expire()
        assert relay.indexed() == 0
        relay.store.close()
        for path in relay.directory.iterdir():
            assert b"a label like n" not in path.read_bytes(), path
        relay.open()


@pytest.mark.parametrize("count", [3, 9])
def test_a_commit_that_fails_leaves_no_label(
    relay: Relay, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Neither in memory nor, if it would have been the index's turn, there."""
    relay.append(*(append(BUCKETS[0], number) for number in range(count)))

    def full() -> None:
        raise DiskFull

    with monkeypatch.context() as patch:
        patch.setattr(relay.store, "_save_total", full)
        relay.write(append(BUCKETS[0], 10), append(BUCKETS[0], 11))
        with pytest.raises(DiskFull):
            relay.drops.commit()
    assert relay.indexed() == 0
    assert relay.append(append(BUCKETS[0], 11), append(BUCKETS[0], 0)) == [count + 1, 1]


def test_a_start_reads_recent_labels_alone(relay: Relay) -> None:
    relay.append(*(append(BUCKETS[0], number) for number in range(25)))
    relay.append(append(BUCKETS[0], 25))
    relay.store.close()
    relay.open()
    assert relay.append(append(BUCKETS[0], 3), append(BUCKETS[0], 25)) == [4, 26]
    assert relay.store._held == 1


@pytest.mark.parametrize("count", [6, 12])
def test_a_source_that_moves_two_cells_with_one_label_harms_nobody(
    relay: Relay, count: int
) -> None:
    relay.append(append(BUCKETS[1], 1))
    record, key = relay.store.find(BUCKETS[0].drop_id), bytes(KEY_BYTES)
    assert not relay.store.holds(record, [cell(1)[:LABEL_BYTES]])
    cells = [cell(number % (count - 1)) for number in range(count)]
    wrapped = wrap_all(AESGCM(key), nonces(), cells, record.bound, first=1)
    befores = list(itertools.accumulate(cells, next_digest, initial=record.digest))
    record.head, record.cells, record.digest = count, count, befores.pop()
    record.last_day = record.oldest_day = NOW // DAY_S
    relay.store.save(record)
    labels = [one[:LABEL_BYTES] for one in cells]
    keys = [ShredKey(record.last_day, record.last_day + RETENTION_DAYS, key)]
    rest = [WrappedCell(record.last_day, one) for one in wrapped]
    relay.store.put([Arrived(record, 0, labels, befores, rest, keys)])
    relay.store.commit()
    assert relay.append(*(append(BUCKETS[0], number) for number in range(count))) == [
        count,
        *range(2, count),
        count + 1,
    ]
    relay.append(*(append(BUCKETS[0], 100 + number) for number in range(20)))
    assert relay.append(append(BUCKETS[0], 0), append(BUCKETS[1], 1)) == [count, 1]
    relay.now += (RETENTION_DAYS + 1) * DAY_S
    relay.expire()
    assert relay.indexed() == 0
