"""The rules of drops, over every store there is: one by one, and over random histories in which the
process dies at any statement and the clock goes both ways."""

from __future__ import annotations

import contextlib
import copy
import itertools
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from amanat.config import RelayLimits
from amanat.errors import AmanatError, RelayBusy
from amanat.protocol import wire
from amanat.protocol.cells import HANDSHAKE_CELL, LABEL_BYTES, LARGE_CELL, MESSAGE_CELL
from amanat.protocol.drops import (
    Drop,
    derive_bucket,
    derive_drop,
    first_digest,
    next_digest,
    token_hash,
)
from amanat.protocol.ledger import Created, decode_entry, drop_hash, origin
from amanat.protocol.tlog import (
    CHECKPOINT,
    Checkpoint,
    consistency_proof,
    is_consistent,
    nodes_from,
    open_checkpoint,
)
from amanat.relay import drops as rules
from amanat.relay.cluster import ClusterStore
from amanat.relay.cluster.messages import MAX_ENTRIES
from amanat.relay.drops import DAY_S, DROP_LIFE_DAYS, Drops
from amanat.relay.ledger import Ledger, agree, every_entry, replay
from amanat.relay.records import Store, StoredCell
from amanat.relay.store import SqliteStore
from clusters import Cluster

REGION = "DE"
BUCKET_KEY = bytes(range(32))
BUCKET = derive_bucket(BUCKET_KEY, 0, region=REGION)
EPOCH = derive_drop(bytes(32), purpose=b"epoch", region=REGION)
NOW = 20_000 * DAY_S
LIMITS = RelayLimits()

STORES = ["sqlite", "cluster"]


def cell(label: int, body: int = 0, size: int = MESSAGE_CELL) -> bytes:
    return label.to_bytes(LABEL_BYTES, "big") + bytes([body]) * (size - LABEL_BYTES)


def create(drop: Drop, *, days: int = 14, access: bytes = BUCKET_KEY) -> wire.Create:
    return wire.Create(
        7,
        access,
        drop.drop_id,
        token_hash(drop.drop_id, drop.append_token),
        token_hash(drop.drop_id, drop.read_token),
        days,
    )


def append(drop: Drop, data: bytes, number: int = 0) -> wire.Append:
    return wire.Append(number, drop.drop_id, drop.append_token, data)


class Relay:
    """Rules over a store, with one request at a time."""

    def __init__(self, store: Store, limits: RelayLimits = LIMITS) -> None:
        self.store = store
        self.drops = Drops(store, region=REGION, bucket_key=BUCKET_KEY, limits=limits)
        self.drops.open_buckets(1, now=NOW)

    def write(self, *requests: wire.Create | wire.Append, now: float = NOW) -> list[wire.Reply]:
        written = self.drops.write(requests, now=now)
        self.drops.commit()
        return written.replies

    def read(self, drop: Drop, after: int = 0, limit: int = 900, now: float = NOW) -> wire.Cells:
        request = wire.Read(0, drop.drop_id, drop.read_token, after, limit, 0)
        return self.drops.read(request, after=after, now=now)

    def expire(self, now: float) -> None:
        for _ in self.drops.expire(now=now):
            pass


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "sqlite":
        with contextlib.closing(SqliteStore(tmp_path)) as opened:
            yield opened
        return
    cluster: Cluster = request.getfixturevalue("cluster")
    with contextlib.closing(cluster.store(tmp_path)) as shared:
        yield shared


@pytest.fixture
def relay(store: Store) -> Relay:
    return Relay(store)


def code(reply: wire.Reply) -> str:
    assert isinstance(reply, wire.Failed)
    return reply.code


# A batch, and its requests one by one

FOREIGN = Drop(BUCKET.drop_id, EPOCH.append_token, BUCKET.read_token)
"""The bucket, with a token that is not its own."""


@st.composite
def runs(draw: st.DrawFn) -> list[wire.Append | wire.Create]:
    """Requests of one connection: a run of appends to one drop, or a create."""
    drop = draw(st.sampled_from([BUCKET, BUCKET, BUCKET, EPOCH, FOREIGN, None]))
    if drop is None:
        return [create(EPOCH)]
    sizes = st.sampled_from([MESSAGE_CELL] * 8 + [HANDSHAKE_CELL, MESSAGE_CELL + 1])
    cells = st.builds(cell, st.integers(0, 30), st.sampled_from([0, 0, 0, 1]), sizes)
    found = draw(st.lists(cells, min_size=1, max_size=6))
    return [append(drop, one, number) for number, one in enumerate(found)]


BATCHES = st.lists(runs(), min_size=1, max_size=6).map(lambda some: list(itertools.chain(*some)))


@settings(max_examples=40)
@given(
    st.lists(BATCHES, min_size=1, max_size=3),
    st.integers(4, 20),
    st.integers(8 * MESSAGE_CELL, 3 * HANDSHAKE_CELL),
)
def test_a_batch_does_what_its_requests_do_one_by_one(
    batches: list[list[wire.Append | wire.Create]], most_cells: int, most_bytes: int
) -> None:
    limits = RelayLimits(cells_per_drop=most_cells, bytes_per_drop=most_bytes)
    with (
        tempfile.TemporaryDirectory() as one,
        tempfile.TemporaryDirectory() as other,
        contextlib.closing(SqliteStore(Path(one))) as store,
        contextlib.closing(SqliteStore(Path(other))) as second,
    ):
        whole, single = Relay(store, limits), Relay(second, limits)
        for batch in batches:
            landed: dict[bytes, list[bytes]] = {}
            replies: list[wire.Reply] = []
            for request in batch:
                written = single.drops.write([request], now=NOW)
                single.drops.commit()
                replies += written.replies
                for drop_id, cells in written.landed.items():
                    landed.setdefault(drop_id, []).extend(cells.cells)
            head = {drop_id: store.look(drop_id) for drop_id in landed}
            written = whole.drops.write(batch, now=NOW)
            whole.drops.commit()
            assert written.replies == replies
            assert {one: cells.cells for one, cells in written.landed.items()} == landed
            for drop_id, cells in written.landed.items():
                before = head[drop_id]
                assert cells.first == before.head + 1
                assert cells.before == (before.digest or first_digest(drop_id))
                assert cells.head == store.look(drop_id).head
        for drop in (BUCKET, EPOCH):
            assert store.look(drop.drop_id) == second.look(drop.drop_id)
            if store.look(drop.drop_id).drop_id:
                assert whole.read(drop) == single.read(drop)
        assert store.stored_bytes() == second.stored_bytes()
        assert store.bucket_bytes() == second.bucket_bytes()


def test_of_cells_that_come_together_those_land_for_which_there_is_room(store: Store) -> None:
    relay = Relay(store, RelayLimits(cells_per_drop=3, bytes_per_drop=2 * HANDSHAKE_CELL))
    replies = relay.write(*(append(BUCKET, cell(number), number) for number in range(5)))
    assert [isinstance(reply, wire.Appended) for reply in replies] == [True] * 3 + [False] * 2
    assert {code(reply) for reply in replies[3:]} == {"drop-full"}
    assert relay.read(BUCKET).cells == [cell(number) for number in range(3)]


# The promises of a store


def test_a_store_shows_what_is_staged_to_the_writer_only(store: Store) -> None:
    relay = Relay(store)
    relay.drops.write([append(BUCKET, cell(1))], now=NOW)
    assert store.find(BUCKET.drop_id).head == 1
    assert store.look(BUCKET.drop_id).head == 0
    store.rollback()
    assert store.find(BUCKET.drop_id).head == 0
    assert store.labelled(store.find(BUCKET.drop_id), cell(1)[:LABEL_BYTES]) is None
    assert relay.write(append(BUCKET, cell(1)))
    assert store.look(BUCKET.drop_id).head == 1


def test_a_store_finds_a_cell_by_drop_and_label(store: Store) -> None:
    relay = Relay(store)
    relay.write(create(EPOCH), append(EPOCH, cell(1, 2)), append(BUCKET, cell(1, 3)))
    record = store.find(EPOCH.drop_id)
    held = StoredCell(1, first_digest(EPOCH.drop_id), cell(1, 2))
    assert store.labelled(record, cell(1)[:LABEL_BYTES]) == held
    assert store.labelled(record, cell(2)[:LABEL_BYTES]) is None
    one, two = cell(1, 4)[:LABEL_BYTES], cell(2)[:LABEL_BYTES]
    assert store.holds(record, [one])
    assert store.holds(record, [two, one])
    assert not store.holds(record, [two])
    assert not store.holds(store.find(BUCKET.drop_id), [two])


def test_a_store_finds_staged_cells_and_forgets_them_with_the_batch(store: Store) -> None:
    relay = Relay(store)
    drops = relay.drops
    drops.write([append(BUCKET, cell(1)), append(BUCKET, cell(2, 5))], now=NOW)
    record = store.find(BUCKET.drop_id)
    after_one = next_digest(first_digest(BUCKET.drop_id), cell(1))
    assert store.holds(record, [cell(3)[:LABEL_BYTES], cell(2)[:LABEL_BYTES]])
    assert store.labelled(record, cell(2)[:LABEL_BYTES]) == StoredCell(2, after_one, cell(2, 5))
    store.rollback()
    record = store.find(BUCKET.drop_id)
    assert not store.holds(record, [cell(1)[:LABEL_BYTES], cell(2)[:LABEL_BYTES]])
    assert relay.write(append(BUCKET, cell(2))) == [
        wire.Appended(0, 1, next_digest(first_digest(BUCKET.drop_id), cell(2)))
    ]
    assert relay.read(BUCKET).cells == [cell(2)]


def test_a_store_reads_a_bounded_slice(store: Store) -> None:
    relay = Relay(store)
    relay.write(*(append(BUCKET, cell(n)) for n in range(1, 6)))
    record = store.look(BUCKET.drop_id)

    def seqs(**bounds: int) -> list[int]:
        asked = {"after": 0, "since_day": 0, "max_cells": 9, "max_bytes": 10**6} | bounds
        return [held.seq for held in store.cells(record, **asked)]

    assert seqs() == [1, 2, 3, 4, 5]
    assert seqs(after=2) == [3, 4, 5]
    assert seqs(after=2**53 - 1) == []
    assert seqs(max_cells=2) == [1, 2]
    assert seqs(max_bytes=2 * MESSAGE_CELL) == [1, 2]
    assert seqs(max_bytes=0) == [1]
    assert seqs(since_day=NOW // DAY_S) == [1, 2, 3, 4, 5]
    assert seqs(since_day=NOW // DAY_S + 1) == []


def test_a_store_does_not_mix_drops(store: Store) -> None:
    relay = Relay(store)
    relay.write(create(EPOCH), append(BUCKET, cell(1)), append(EPOCH, cell(2)))
    assert relay.read(BUCKET).cells == [cell(1)]
    assert relay.read(EPOCH).cells == [cell(2)]


# Append


def test_cells_get_consecutive_seqs_and_a_rolling_digest(relay: Relay) -> None:
    digest = first_digest(BUCKET.drop_id)
    for seq, size in enumerate((MESSAGE_CELL, HANDSHAKE_CELL, LARGE_CELL), start=1):
        data = cell(seq, size=size)
        digest = next_digest(digest, data)
        assert relay.write(append(BUCKET, data, seq)) == [wire.Appended(seq, seq, digest)]
    assert relay.read(BUCKET).head == 3


def test_the_same_cell_again_gets_the_same_answer(relay: Relay) -> None:
    first = relay.write(append(BUCKET, cell(1)))
    relay.write(append(BUCKET, cell(2)))
    assert relay.write(append(BUCKET, cell(1))) == first
    assert relay.read(BUCKET).head == 2


def test_the_same_cell_again_in_one_batch_gets_the_same_answer(relay: Relay) -> None:
    one, other = relay.write(append(BUCKET, cell(1)), append(BUCKET, cell(1)))
    assert one == other
    assert relay.read(BUCKET).head == 1


def test_another_cell_under_a_label_is_refused(relay: Relay) -> None:
    relay.write(append(BUCKET, cell(1, 1)))
    assert code(relay.write(append(BUCKET, cell(1, 2)))[0]) == "label-taken"
    assert code(relay.write(append(BUCKET, cell(1, 1, HANDSHAKE_CELL)))[0]) == "label-taken"


def test_the_same_label_in_another_drop_is_another_label(relay: Relay) -> None:
    replies = relay.write(create(EPOCH), append(BUCKET, cell(1, 1)), append(EPOCH, cell(1, 2)))
    assert isinstance(replies[2], wire.Appended)


def test_a_refused_request_does_not_harm_the_others_of_its_batch(relay: Relay) -> None:
    replies = relay.write(
        append(BUCKET, cell(1), 1),
        append(BUCKET, cell(2) + b"x", 2),
        append(EPOCH, cell(3), 3),
        append(BUCKET, cell(4), 4),
    )
    assert [reply.id for reply in replies] == [1, 2, 3, 4]
    assert [code(replies[1]), code(replies[2])] == ["bad-cell", "no-such-drop"]
    assert relay.read(BUCKET).cells == [cell(1), cell(4)]


@pytest.mark.parametrize("size", [MESSAGE_CELL + 1, 2048, HANDSHAKE_CELL - 1, LARGE_CELL - 1])
def test_another_size_is_refused(relay: Relay, size: int) -> None:
    assert code(relay.write(append(BUCKET, cell(1, size=size)))[0]) == "bad-cell"


def test_a_batch_says_what_landed_where(store: Store) -> None:
    relay = Relay(store)
    relay.write(append(BUCKET, cell(1)))
    before = relay.read(BUCKET, after=1).before
    landed = relay.drops.write(
        [append(BUCKET, cell(2)), append(BUCKET, cell(1)), append(BUCKET, cell(3))], now=NOW
    ).landed
    relay.drops.commit()
    assert landed == {BUCKET.drop_id: wire.Cells(0, 2, before, [cell(2), cell(3)], 3)}


def test_a_full_drop_refuses_new_cells_until_midnight_but_knows_the_old_ones(store: Store) -> None:
    for limits in (RelayLimits(cells_per_drop=1), RelayLimits(bytes_per_drop=1500)):
        relay = Relay(store, limits)
        first = relay.write(append(BUCKET, cell(1)))
        (full,) = relay.write(append(BUCKET, cell(2)), now=NOW + DAY_S - 60)
        assert full == wire.Failed(0, "drop-full", 60.0)
        assert relay.write(append(BUCKET, cell(1))) == first
        assert code(relay.write(append(BUCKET, cell(1, 9)))[0]) == "label-taken"


def test_a_full_drop_takes_cells_again_when_old_ones_have_ended(store: Store) -> None:
    relay = Relay(store, RelayLimits(cells_per_drop=1))
    relay.write(append(BUCKET, cell(1)))
    later = NOW + 15 * DAY_S
    relay.expire(later)
    assert isinstance(relay.write(append(BUCKET, cell(2)), now=later)[0], wire.Appended)


# Files of a day


def used_up(store: Store) -> Relay:
    """A relay that has served today's bytes of files."""
    relay = Relay(store, RelayLimits(bytes_out_per_day=2**20))
    relay.drops.count_out(2**20, now=NOW)
    return relay


def large(first: int, last: int, drop: Drop) -> list[wire.Append]:
    return [append(drop, cell(number, size=LARGE_CELL)) for number in range(first, last)]


def test_when_the_bytes_of_a_day_are_served_files_wait_for_the_next(store: Store) -> None:
    relay, late = used_up(store), NOW + DAY_S / 4
    relay.write(create(EPOCH, days=30), *large(0, 9, EPOCH))
    assert not relay.drops.may_serve_files(now=late)
    with pytest.raises(RelayBusy) as refused:
        relay.read(EPOCH, now=late)
    assert refused.value.retry_after == 0.75 * DAY_S
    assert relay.read(EPOCH, after=9, now=late).cells == []  # a reader who has it all may wait
    assert len(relay.read(EPOCH, now=NOW + DAY_S).cells) == 4
    assert relay.drops.may_serve_files(now=NOW + DAY_S)


def test_messages_and_small_drops_are_served_whatever_files_took(store: Store) -> None:
    relay = used_up(store)
    small = derive_drop(b"s" * 32, purpose=b"epoch", region=REGION)
    knocks = large(100, 120, BUCKET)
    relay.write(create(EPOCH), create(small), *knocks, *large(0, 8, small))
    mixed = [append(EPOCH, cell(n, size=MESSAGE_CELL)) for n in range(600)]
    mixed += [append(EPOCH, cell(n, size=HANDSHAKE_CELL)) for n in range(600, 620)]
    relay.write(*mixed, *large(700, 703, EPOCH))
    for drop, count in ((BUCKET, 20), (small, 8), (EPOCH, 623)):
        after = 0
        while after < count:
            after += len(relay.read(drop, after=after).cells)
        assert after == count


def test_before_a_file_that_waits_the_messages_of_its_drop_are_served(store: Store) -> None:
    relay = used_up(store)
    relay.write(create(EPOCH), append(EPOCH, cell(50)), append(EPOCH, cell(51)))
    relay.write(*large(0, 20, EPOCH), append(EPOCH, cell(52)))
    assert relay.read(EPOCH).cells == [cell(50), cell(51)]
    with pytest.raises(RelayBusy):
        relay.read(EPOCH, after=2)
    assert relay.read(EPOCH, after=22).cells == [cell(52)]


def test_only_large_cells_of_drops_that_are_no_buckets_count_as_files(store: Store) -> None:
    relay = Relay(store)
    relay.write(create(EPOCH))
    assert relay.read(BUCKET).cells == relay.read(EPOCH).cells == []
    cells = [cell(1), cell(2, size=HANDSHAKE_CELL), cell(3, size=LARGE_CELL)]
    assert relay.drops.file_bytes(BUCKET.drop_id, cells) == 0
    assert relay.drops.file_bytes(EPOCH.drop_id, cells) == LARGE_CELL


# Create


def test_the_whole_relay_holds_a_bounded_number_of_bytes(store: Store) -> None:
    relay = Relay(store, RelayLimits(bytes_total=2**20))
    relay.write(create(EPOCH, days=30))
    kept = [append(EPOCH, cell(n, size=LARGE_CELL)) for n in range(12)]
    kept += [append(BUCKET, cell(n)) for n in range(256)]
    assert all(isinstance(reply, wire.Appended) for reply in relay.write(*kept))
    assert store.stored_bytes() == 2**20
    late = NOW + DAY_S / 4
    (full,) = relay.write(append(BUCKET, cell(256)), now=late)
    assert full == wire.Failed(0, "relay-busy", 0.75 * DAY_S)
    assert relay.write(kept[17], now=late)[0] == wire.Appended(0, 6, relay.read(BUCKET, 6).before)
    relay.expire(NOW + 15 * DAY_S)
    assert (store.stored_bytes(), store.bucket_bytes()) == (12 * LARGE_CELL, 0)
    (reply,) = relay.write(append(BUCKET, cell(256)), now=NOW + 15 * DAY_S)
    assert isinstance(reply, wire.Appended)


def test_a_quarter_of_the_room_is_for_buckets_alone(store: Store) -> None:
    relay = Relay(store, RelayLimits(bytes_total=2**20))
    relay.write(create(EPOCH, days=30))
    files = [append(EPOCH, cell(n, size=LARGE_CELL)) for n in range(13)]
    *taken, refused = relay.write(*files)
    assert all(isinstance(reply, wire.Appended) for reply in taken)
    assert refused == wire.Failed(0, "relay-busy", DAY_S - NOW % DAY_S)
    # Messages go on, and the room that buckets have used of their quarter is nobody else's.
    assert all(
        isinstance(reply, wire.Appended)
        for reply in relay.write(*(append(BUCKET, cell(n)) for n in range(128)))
    )
    assert code(relay.write(files[12])[0]) == "relay-busy"
    relay.write(*(append(BUCKET, cell(n)) for n in range(128, 256)))
    assert (store.stored_bytes(), store.bucket_bytes()) == (2**20, 2**18)


@pytest.mark.parametrize("reserve", [1, 2**16, 2**19, 2**20 - LARGE_CELL])
def test_the_operator_says_how_much_room_is_for_buckets_alone(store: Store, reserve: int) -> None:
    relay = Relay(store, RelayLimits(bytes_total=2**20, bytes_buckets_reserved=reserve))
    relay.write(create(EPOCH, days=30))
    files = [append(EPOCH, cell(n, size=LARGE_CELL)) for n in range(17)]
    kinds = [type(reply) for reply in relay.write(*files)]
    fitting = (2**20 - reserve) // LARGE_CELL
    assert kinds == [wire.Appended] * fitting + [wire.Failed] * (17 - fitting)
    messages = [append(BUCKET, cell(n)) for n in range(1025)]
    kinds = [type(reply) for reply in relay.write(*messages)]
    left = (2**20 - fitting * LARGE_CELL) // MESSAGE_CELL
    assert kinds == [wire.Appended] * left + [wire.Failed] * (1025 - left)
    assert relay.write(*files[:fitting]) == relay.write(*files[:fitting])  # a retry needs no room


@pytest.mark.long
@pytest.mark.parametrize("kind", STORES)
def test_a_relay_that_starts_knows_the_room_of_buckets(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    limits = RelayLimits(bytes_total=2**20, bytes_buckets_reserved=2**19)

    def opened() -> contextlib.AbstractContextManager[SqliteStore | ClusterStore]:
        if kind == "sqlite":
            return contextlib.closing(SqliteStore(tmp_path))
        cluster: Cluster = request.getfixturevalue("cluster")
        return contextlib.closing(cluster.store(tmp_path))

    with opened() as store:
        relay = Relay(store, limits)
        relay.write(create(EPOCH), *(append(BUCKET, cell(n)) for n in range(300)))
        relay.write(*(append(EPOCH, cell(n, size=LARGE_CELL)) for n in range(8)))
    with opened() as store:
        relay = Relay(store, limits)
        assert (store.stored_bytes(), store.bucket_bytes()) == (2**19 + 300 * 1024, 300 * 1024)
        (refused,) = relay.write(append(EPOCH, cell(8, size=LARGE_CELL)))
        assert code(refused) == "relay-busy"
        kinds = [type(one) for one in relay.write(*(append(BUCKET, cell(n)) for n in range(513)))]
        assert kinds == [wire.Appended] * 512 + [wire.Failed]


def test_buckets_may_use_what_files_do_not(store: Store) -> None:
    relay = Relay(store, RelayLimits(bytes_total=2**20))
    relay.write(create(EPOCH, days=30))
    messages = [append(BUCKET, cell(n, size=LARGE_CELL)) for n in range(12)]
    assert all(isinstance(reply, wire.Appended) for reply in relay.write(*messages))
    files = [append(EPOCH, cell(n, size=LARGE_CELL)) for n in range(5)]
    kinds = [type(reply) for reply in relay.write(*files)]
    assert kinds == [wire.Appended] * 4 + [wire.Failed]


def test_creating_a_drop_again_is_no_harm(relay: Relay) -> None:
    assert relay.write(create(EPOCH), append(EPOCH, cell(1)), create(EPOCH)) == [
        wire.Created(7, 0),
        wire.Appended(0, 1, next_digest(first_digest(EPOCH.drop_id), cell(1))),
        wire.Created(7, 1),
    ]


def test_a_drop_with_other_tokens_or_retention_is_another_drop(relay: Relay) -> None:
    relay.write(create(EPOCH))
    other = EPOCH._replace(append_token=bytes(32))
    for request in (create(EPOCH, days=30), create(other), create(BUCKET)):
        assert code(relay.write(request)[0]) == "drop-conflict"


def test_only_people_with_access_create_drops(relay: Relay) -> None:
    assert code(relay.write(create(EPOCH, access=bytes(32)))[0]) == "no-access"


class Stranger:
    """A client that creates drops."""

    speaks_for = 1


def made(relay: Relay, requests: list[wire.Create], who: Stranger, now: float = NOW) -> list[str]:
    """The answers to creations that a client asks for: a code or `created`."""
    written = relay.drops.carry_out(requests, now=now, clients=[who] * len(requests))
    return [getattr(reply, "code", "created") for reply in written.replies]


def some_drops(first: int, last: int) -> list[wire.Create]:
    return [
        create(derive_drop(number.to_bytes(32, "big"), purpose=b"epoch", region=REGION))
        for number in range(first, last)
    ]


def test_a_client_creates_some_drops_in_a_minute_and_then_waits(store: Store) -> None:
    relay = Relay(store, RelayLimits(drop_creations_per_minute=3))
    who, drops = Stranger(), some_drops(0, 5)
    assert made(relay, drops, who) == ["created"] * 3 + ["relay-busy"] * 2
    (busy,) = relay.drops.carry_out(drops[3:4], now=NOW + 47, clients=[who]).replies
    assert busy == wire.Failed(7, "relay-busy", 13.0)
    # Others create, and existing drops are created again and used.
    assert made(relay, some_drops(9, 12), Stranger()) == ["created"] * 3
    assert made(relay, drops[:3], who) == ["created"] * 3
    assert isinstance(relay.write(append(BUCKET, cell(1)))[0], wire.Appended)
    assert made(relay, drops, who, NOW + 60) == ["created"] * 5
    assert store.count() == 9


def test_creations_that_are_refused_for_another_reason_do_not_count(store: Store) -> None:
    relay, who = Relay(store, RelayLimits(drop_creations_per_minute_total=2)), Stranger()
    (drop, *others) = some_drops(0, 3)
    stray = derive_drop(bytes(32), purpose=b"epoch", region="FR")
    wrong = [create(EPOCH, access=bytes(32)), create(stray), create(EPOCH, days=15)]
    refused = ["no-access", "wrong-region", "malformed-frame"]
    assert made(relay, [*wrong, drop, drop, create(BUCKET)], who) == [
        *refused,
        "created",
        "created",
        "drop-conflict",
    ]
    assert made(relay, others, who) == ["created", "relay-busy"]


@pytest.mark.e2e
def test_a_creation_that_other_processes_prevent_counts_once(
    cluster: Cluster, tmp_path: Path
) -> None:
    """A message of a journal holds only so many entries, so the rest is staged again."""
    many = 2 * MAX_ENTRIES + 1
    limits = RelayLimits(drop_creations_per_minute=many, drop_creations_per_minute_total=2 * many)
    with contextlib.closing(cluster.store(tmp_path, shards=1)) as store:
        relay, who = Relay(store, limits), Stranger()
        assert made(relay, some_drops(0, many + 1), who) == ["created"] * many + ["relay-busy"]


def test_a_drop_of_another_region_is_refused(relay: Relay) -> None:
    stray = derive_drop(bytes(32), purpose=b"epoch", region="FR")
    assert code(relay.write(create(stray))[0]) == "wrong-region"


@pytest.mark.parametrize("days", [1, 13, 15, 366])
def test_another_retention_is_refused(relay: Relay, days: int) -> None:
    assert code(relay.write(create(EPOCH, days=days))[0]) == "malformed-frame"


def test_there_are_not_more_drops_than_allowed(store: Store) -> None:
    relay = Relay(store, RelayLimits(drops=2))
    third = derive_drop(bytes(32), purpose=b"third", region=REGION)
    first, second = relay.write(create(EPOCH), create(third))
    assert first == wire.Created(7, 0)
    assert second == wire.Failed(7, "relay-busy", rules.DROPS_RETRY_S)
    assert relay.write(create(EPOCH)) == [wire.Created(7, 0)]


# Read


def test_a_read_continues_where_the_last_one_ended(relay: Relay) -> None:
    relay.write(*(append(BUCKET, cell(n)) for n in range(1, 6)))
    digest, after, got = first_digest(BUCKET.drop_id), 0, []
    while cells := relay.read(BUCKET, after, limit=2).cells:
        frame = relay.read(BUCKET, after, limit=2)
        assert (frame.first, frame.before, frame.head) == (after + 1, digest, 5)
        for data in cells:
            digest = next_digest(digest, data)
        after += len(cells)
        got += cells
    assert got == [cell(n) for n in range(1, 6)]
    assert relay.read(BUCKET, 5) == wire.Cells(0, 6, digest, [], 5)


def test_a_reader_ahead_of_the_relay_is_told_the_head(relay: Relay) -> None:
    relay.write(append(BUCKET, cell(1)))
    assert relay.read(BUCKET, 2**53 - 1).head == 1


def test_one_answer_holds_a_bounded_number_of_bytes(relay: Relay) -> None:
    relay.write(*(append(BUCKET, cell(n, size=LARGE_CELL)) for n in range(9)))
    assert len(relay.read(BUCKET).cells) == wire.READ_BYTES // LARGE_CELL


# A drop that does not exist and a wrong token


@dataclass
class Counting:
    """A store that notes which of its methods are called, and how often tokens are hashed."""

    store: Store
    steps: list[str] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # whatever the store has
        self.steps.append(name)
        return getattr(self.store, name)


@pytest.mark.parametrize("earlier", [[], [append(BUCKET, cell(1))], [append(EPOCH, cell(1))]])
def test_no_such_drop_and_a_wrong_token_are_one_answer_for_the_same_work(
    store: Store, monkeypatch: pytest.MonkeyPatch, earlier: list[wire.Append]
) -> None:
    Relay(store).write(create(EPOCH), append(EPOCH, cell(9)))
    counting = Counting(store)
    drops = Drops(counting, region=REGION, bucket_key=BUCKET_KEY, limits=LIMITS)
    matches = rules._matches

    def counted(*args: bytes) -> bool:
        counting.steps.append("matches")
        return matches(*args)

    monkeypatch.setattr(rules, "_matches", counted)
    seen = set()
    for drop_id in (EPOCH.drop_id, bytes(24), derive_drop(b"", purpose=b"", region="FR").drop_id):
        for request in (
            wire.Append(5, drop_id, bytes(32), cell(2)),
            wire.Append(5, drop_id, EPOCH.read_token, cell(2)),
        ):
            drops.write(earlier, now=NOW)
            counting.steps.clear()
            answer = drops.write([*earlier, request], now=NOW).replies[-1]
            store.rollback()
            seen.add((repr(answer), *counting.steps))
        counting.steps.clear()
        with pytest.raises(AmanatError) as raised:
            drops.read(wire.Read(5, drop_id, EPOCH.append_token, 0, 1, 0), after=0, now=NOW)
        seen.add((repr(raised.value), *counting.steps))
    assert len(seen) == 2  # one for append, one for read
    assert all("NoSuchDrop" in answer or "no-such-drop" in answer for answer, *_ in seen)


def test_looking_for_no_drop_takes_the_same_statements(store: Store) -> None:
    if not isinstance(store, SqliteStore):
        pytest.skip("of SQLite")
    Relay(store)
    statements: list[str] = []
    store._reader.set_trace_callback(statements.append)
    store._writer.set_trace_callback(statements.append)
    seen = set()
    for drop_id in (BUCKET.drop_id, bytes(24)):
        statements.clear()
        store.find(drop_id)
        store.look(drop_id)
        seen.add(tuple(one.split("x'")[0] for one in statements))
    assert len(seen) == 1


# Expiry


def test_a_cell_rests_for_its_retention_and_no_more_than_a_day_longer(relay: Relay) -> None:
    late = NOW + DAY_S - 1  # the last second of its day
    relay.write(create(EPOCH, days=30), append(EPOCH, cell(1)), append(BUCKET, cell(1)), now=late)
    for drop, days in ((BUCKET, 14), (EPOCH, 30)):
        kept = late + days * DAY_S
        relay.expire(kept)
        assert relay.read(drop, now=kept).cells == [cell(1)]
        assert relay.read(drop, now=kept + 1).cells == []
        relay.expire(kept + 1)
        assert relay.read(drop, now=kept).cells == []


@pytest.mark.parametrize("days", [14, 30])
def test_a_drop_of_large_cells_may_have_either_retention(store: Store, days: int) -> None:
    relay, late = Relay(store), NOW + DAY_S - 1
    relay.write(create(EPOCH, days=days), *large(0, 6, EPOCH), now=late)
    relay.write(*large(6, 9, EPOCH), now=late + DAY_S)
    kept = late + days * DAY_S
    relay.expire(kept)
    assert store.stored_bytes() == 9 * LARGE_CELL
    assert relay.read(EPOCH, now=kept).cells == [cell(n, size=LARGE_CELL) for n in range(4)]
    relay.expire(kept + 1)
    assert (store.stored_bytes(), store.bucket_bytes()) == (3 * LARGE_CELL, 0)
    shown = relay.read(EPOCH, now=kept + 1)
    assert (shown.first, shown.cells) == (7, [cell(n, size=LARGE_CELL) for n in range(6, 9)])
    relay.expire(kept + 1 + DAY_S)
    assert store.stored_bytes() == 0


def test_seqs_and_digests_go_on_after_all_has_ended(relay: Relay) -> None:
    digest = next_digest(first_digest(BUCKET.drop_id), cell(1))
    relay.write(append(BUCKET, cell(1)))
    later = NOW + 20 * DAY_S
    relay.expire(later)
    assert relay.read(BUCKET, now=later) == wire.Cells(0, 2, digest, [], 1)
    assert relay.write(append(BUCKET, cell(1)), now=later) == [
        wire.Appended(0, 2, next_digest(digest, cell(1)))
    ]
    assert relay.read(BUCKET, now=later) == wire.Cells(0, 2, digest, [cell(1)], 2)


def test_a_drop_expires_from_its_beginning_even_if_the_clock_was_set_back(relay: Relay) -> None:
    relay.write(append(BUCKET, cell(1)), now=NOW)
    relay.write(append(BUCKET, cell(2)), now=NOW - 10 * DAY_S)
    later = NOW + 10 * DAY_S
    relay.expire(later)
    assert relay.read(BUCKET, now=later).cells == [cell(1), cell(2)]
    relay.expire(later + 5 * DAY_S)
    assert relay.read(BUCKET, now=later).cells == []


def test_a_cell_that_is_shredded_but_not_yet_erased_is_not_read(relay: Relay) -> None:
    relay.write(*(append(BUCKET, cell(n)) for n in (1, 2)))
    today = NOW + 10 * DAY_S
    relay.write(append(BUCKET, cell(3)), now=today)
    next(relay.drops.expire(now=NOW + 15 * DAY_S))
    # This holds even if the clock goes back now, which would make them due again.
    assert relay.read(BUCKET, now=NOW).cells == [cell(3)]
    assert relay.read(BUCKET, now=NOW).first == 3
    assert code(relay.write(append(BUCKET, cell(1)), now=today)[0]) == "label-taken"


def test_a_drop_ends_half_a_year_after_its_last_cell_and_a_bucket_never(relay: Relay) -> None:
    relay.write(create(EPOCH))
    relay.write(append(EPOCH, cell(1)), now=NOW + 100 * DAY_S)
    last = NOW + (100 + DROP_LIFE_DAYS) * DAY_S
    relay.expire(last)
    assert relay.read(EPOCH, now=last).head == 1
    relay.expire(last + DAY_S)
    with pytest.raises(AmanatError, match="no such drop"):
        relay.read(EPOCH, now=last)
    assert relay.read(BUCKET, now=last).head == 0
    assert relay.write(create(EPOCH), now=last) == [wire.Created(7, 0)]


# Random histories


SIGNER = Ed25519PrivateKey.from_private_bytes(bytes(32))
SIGNER_KEY = SIGNER.public_key().public_bytes_raw()
LEDGER = origin(SIGNER_KEY)


class Died(BaseException):
    """The process is dead."""


class Fused(sqlite3.Connection):
    """A connection whose process dies at the n-th statement from now, before or after it."""

    fuse: int | None = None
    is_after = False

    def execute(self, *args: Any) -> sqlite3.Cursor:  # noqa: ANN401  # as sqlite3 has it
        if Fused.fuse is None:
            return super().execute(*args)
        Fused.fuse -= 1
        if Fused.fuse < 0 and not Fused.is_after:
            raise Died
        cursor = super().execute(*args)
        if Fused.fuse < 0:
            raise Died
        return cursor


@dataclass
class Model:
    """A drop, as a list."""

    days: int
    cells: list[tuple[int, int, bytes, bytes]] = field(default_factory=list)
    """Seq, day, digest before, cell."""
    head: int = 0
    digest: bytes = b""
    last_day: int = 0


CROWD = [BUCKET, *(derive_drop(bytes([n]) * 32, purpose=b"x", region=REGION) for n in range(2))]
TIGHT = RelayLimits(cells_per_drop=5)
whose = st.integers(0, len(CROWD) - 1)
valid = st.sampled_from([True] * 9 + [False])
bodies = st.sampled_from([0] * 9 + [1])
batches = st.lists(st.tuples(whose, valid, st.integers(0, 9), bodies), min_size=1, max_size=6)


class History(RuleBasedStateMachine):
    """Whatever happens, the relay gives the answers and holds the cells that lists would."""

    @initialize()
    def begin(self) -> None:
        memory = Path("/dev/shm")  # noqa: S108  # fsync is not what is tested here
        self.root = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
        self.lives = 0
        self.day = 20_000
        self.model: dict[bytes, Model] = {}
        self.connect = sqlite3.connect
        sqlite3.connect = lambda *args, **kwargs: self.connect(*args, factory=Fused, **kwargs)  # type: ignore[assignment]
        rules.EXPIRY_SLICE = 2
        self.ended_bytes = 0
        self.signed: list[Checkpoint] = []
        self.open()
        self.model[BUCKET.drop_id] = Model(14, digest=first_digest(BUCKET.drop_id), last_day=20_000)
        self.do([create(CROWD[1], days=30)])

    def open(self) -> None:
        Fused.fuse = None
        directory = self.root / str(self.lives)
        directory.mkdir(exist_ok=True)
        self.store = SqliteStore(directory)
        self.drops = Drops(self.store, region=REGION, bucket_key=BUCKET_KEY, limits=TIGHT)
        self.ledger = Ledger(self.store, SIGNER)
        self.drops.open_buckets(1, now=self.now)

    def revive(self) -> None:
        """Open the files as they were at the moment of death, and expire, as a relay does."""
        before, self.lives = self.root / str(self.lives), self.lives + 1
        after = self.root / str(self.lives)
        after.mkdir()
        for name in before.iterdir():
            if not name.name.endswith("-shm"):
                shutil.copy(name, after)
        Fused.fuse = None
        self.store.close()
        shutil.rmtree(before)
        self.open()

    def teardown(self) -> None:
        if hasattr(self, "store"):
            Fused.fuse = None
            sqlite3.connect = self.connect
            rules.EXPIRY_SLICE = 1000
            self.store.close()
            shutil.rmtree(self.root)

    @property
    def now(self) -> float:
        return self.day * DAY_S + 5.0

    # The model's answers

    def expected(self, model: dict[bytes, Model], request: wire.Create | wire.Append) -> wire.Reply:
        drop = model.get(request.drop_id)
        if isinstance(request, wire.Create):
            if drop is None:
                drop = model[request.drop_id] = Model(request.retention_days)
                drop.digest, drop.last_day = first_digest(request.drop_id), self.day
            elif request.drop_id == BUCKET.drop_id or drop.days != request.retention_days:
                return wire.Failed(request.id, "drop-conflict")
            return wire.Created(request.id, drop.head)
        if drop is None or request.append_token == bytes(32):
            return wire.Failed(request.id, "no-such-drop")
        for seq, _, before, held in drop.cells:
            if held[:LABEL_BYTES] == request.cell[:LABEL_BYTES]:
                if held != request.cell:
                    return wire.Failed(request.id, "label-taken")
                return wire.Appended(request.id, seq, next_digest(before, held))
        if len(drop.cells) >= TIGHT.cells_per_drop:
            return wire.Failed(request.id, "drop-full", DAY_S - 5.0)
        day = max([self.day, *(day for _, day, _, _ in drop.cells)])
        drop.head += 1
        drop.last_day = day
        drop.cells.append((drop.head, day, drop.digest, request.cell))
        drop.digest = next_digest(drop.digest, request.cell)
        return wire.Appended(request.id, drop.head, drop.digest)

    def shows(self, model: dict[bytes, Model]) -> bool:
        """Whether the relay holds exactly the model's drops and cells."""
        for drop in CROWD:
            request = wire.Read(0, drop.drop_id, drop.read_token, 0, 900, 0)
            try:
                shown = self.drops.read(request, after=0, now=self.now)
            except AmanatError:
                if drop.drop_id in model:
                    return False
                continue
            if drop.drop_id not in model:
                return False
            held = model[drop.drop_id]
            due = [one for one in held.cells if one[1] >= self.day - held.days]
            first, before = (due[0][0], due[0][2]) if due else (held.head + 1, held.digest)
            if shown != wire.Cells(0, first, before, [one[3] for one in due], held.head):
                return False
        return True

    def expire_model(self) -> None:
        for drop_id, drop in list(self.model.items()):
            ended = [held for _, day, _, held in drop.cells if day + drop.days < self.day]
            self.ended_bytes += sum(map(len, ended))
            drop.cells = [one for one in drop.cells if one[1] + drop.days >= self.day]
            if (
                not drop.cells
                and drop_id != BUCKET.drop_id
                and drop.last_day < self.day - DROP_LIFE_DAYS
            ):
                del self.model[drop_id]

    # Events

    @rule(who=whose, label=st.integers(0, 9))
    def write_one(self, who: int, label: int) -> None:
        self.do([append(CROWD[who], cell(label))])

    @rule(batch=batches)
    def write(self, batch: list[tuple[int, bool, int, int]]) -> None:
        requests: list[wire.Create | wire.Append] = []
        for number, (who, is_valid, label, body) in enumerate(batch):
            request = append(CROWD[who], cell(label, body), number)
            if not is_valid:
                request = wire.Append(number, request.drop_id, bytes(32), request.cell)
            requests.append(request)
        self.do(requests)

    @rule(who=whose, days=st.sampled_from([14, 30]))
    def create(self, who: int, days: int) -> None:
        self.do([create(CROWD[who], days=days)])

    def do(self, requests: list[wire.Create | wire.Append]) -> None:
        after = copy.deepcopy(self.model)
        expected = [self.expected(after, request) for request in requests]
        try:
            replies = self.drops.write(requests, now=self.now).replies
            self.drops.commit()
        except Died:
            self.revive()
            assert self.ledger_agrees()
            assert self.shows(self.model) or self.shows(after)
            if not self.shows(after):
                return
        else:
            assert replies == expected
        self.model = after

    @rule()
    def expire(self) -> None:
        try:
            for _ in self.drops.expire(now=self.now):
                assert self.shows(self.model)
                fuse, Fused.fuse = Fused.fuse, None
                assert self.ledger_agrees()
                Fused.fuse = fuse
        except Died:
            self.revive()
            assert self.ledger_agrees()
            before = copy.deepcopy(self.model)
            self.expire_model()  # drops end near the end: it may have died on either side of that
            assert self.shows(before) or self.shows(self.model)
            for _ in self.drops.expire(now=self.now):
                pass
        self.expire_model()

    @rule()
    def seal(self) -> None:
        try:
            for _ in self.ledger.seal():
                pass
        except Died:
            self.revive()
            for _ in self.ledger.seal():
                pass
        fuse, Fused.fuse = Fused.fuse, None
        new = open_checkpoint(self.ledger.part(CHECKPOINT), LEDGER, SIGNER_KEY)
        assert new.size == self.store.pages.size()
        node = nodes_from(new.size, lambda tile: self.ledger.part(tile.path))
        for old in self.signed:
            proof = consistency_proof(old.size, new.size, node)
            assert is_consistent(old.size, old.root, new.size, new.root, proof)
        self.signed.append(new)
        Fused.fuse = fuse

    def ledger_agrees(self) -> bool:
        """Whether ledger and store agree on drops and cells, apart from the model."""
        pages = self.store.pages
        accounts, wrong = replay(map(decode_entry, every_entry(pages, pages.size())))
        records = {drop_hash(one.drop_id): one for one in self.store.records()}
        told = sum(account.ended_bytes for account in accounts.values())
        # The entry of a drop in the middle of its expiry is yet to come.
        self.told_bytes = told + sum(record.ended_bytes for record in records.values())
        return (
            not wrong
            and {name for name, account in accounts.items() if account.is_here} == set(records)
            and all(agree(accounts[name], record) for name, record in records.items())
        )

    @rule(days=st.sampled_from([1, 1, 1, 2, 7, 13, 14, 15, 16, 31, 200, -1, -3, -40]))
    def wait(self, days: int) -> None:
        self.day += days

    @precondition(lambda _: Fused.fuse is None)
    @rule(moments=st.integers(0, 30), is_after=st.booleans())
    def light_the_fuse(self, moments: int, is_after: bool) -> None:
        Fused.fuse, Fused.is_after = moments, is_after

    @rule()
    def restart(self) -> None:
        Fused.fuse = None
        self.store.close()
        self.open()

    @invariant()
    def nothing_is_lost_or_made_up(self) -> None:
        if hasattr(self, "store"):
            fuse, Fused.fuse = Fused.fuse, None
            assert self.shows(self.model)
            assert self.store.count() == len(self.model)
            cells = [held for drop in self.model.values() for *_, held in drop.cells]
            assert self.store.stored_bytes() == sum(map(len, cells))
            of_bucket = [held for *_, held in self.model[BUCKET.drop_id].cells]
            assert self.store.bucket_bytes() == sum(map(len, of_bucket))
            assert self.ledger_agrees()
            assert self.told_bytes == self.ended_bytes
            Fused.fuse = fuse


TestHistory = pytest.mark.long(History.TestCase)
TestHistory.settings = settings(max_examples=150, stateful_step_count=50)


@pytest.fixture
def history() -> Iterator[History]:
    made = History()
    made.begin()
    yield made
    made.teardown()


@pytest.mark.parametrize("is_after", [False, True])
def test_dying_at_any_statement_of_a_batch_loses_and_doubles_nothing(
    history: History, is_after: bool
) -> None:
    for moments in range(100):
        history.day += 31
        history.expire()
        batch = [append(drop, cell(moments)) for drop in CROWD[:2]]
        history.light_the_fuse(moments, is_after)
        history.do([create(CROWD[2]), *batch, append(BUCKET, cell(moments, 1))])
        survived = Fused.fuse is not None
        Fused.fuse = None
        history.do([*batch, append(BUCKET, cell(1000 + moments))])
        history.nothing_is_lost_or_made_up()
        if survived:
            assert moments > 5
            return
    raise AssertionError("it never ends")


@pytest.mark.long
@pytest.mark.parametrize("is_after", [False, True])
def test_dying_at_any_statement_of_an_expiry_loses_nothing_and_ends_what_has_ended(
    history: History, is_after: bool
) -> None:
    for moments in range(100):
        history.do([append(BUCKET, cell(label)) for label in range(3)])
        history.day += 10
        history.do([append(BUCKET, cell(label)) for label in range(3, 5)])
        history.day += 5
        history.light_the_fuse(moments, is_after)
        history.expire()
        survived = Fused.fuse is not None
        Fused.fuse = None
        history.nothing_is_lost_or_made_up()
        history.day -= 5
        history.nothing_is_lost_or_made_up()
        history.day += 30
        history.expire()
        if survived:
            assert moments > 5
            return
    raise AssertionError("it never ends")


@pytest.mark.parametrize("is_after", [False, True])
def test_dying_at_any_statement_of_an_end_agrees_with_the_ledger(
    history: History, is_after: bool
) -> None:
    for moments in range(100):
        history.do([create(CROWD[2])])
        history.day += DROP_LIFE_DAYS + 1
        history.light_the_fuse(moments, is_after)
        history.expire()
        survived = Fused.fuse is not None
        Fused.fuse = None
        history.nothing_is_lost_or_made_up()
        if survived:
            assert moments > 5
            return
    raise AssertionError("it never ends")


@pytest.mark.parametrize("is_after", [False, True])
@pytest.mark.long
def test_dying_at_any_statement_of_a_sealing_signs_nothing_that_contradicts(
    history: History, is_after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amanat.relay.ledger.TILES_PER_STEP", 1)
    for moments in range(100):
        before = history.store.pages.size()
        for number in range(before, before + 600):
            history.store.note(Created(number.to_bytes(32, "big"), 0))
        history.store.commit()
        history.light_the_fuse(moments, is_after)
        history.seal()
        survived = Fused.fuse is not None
        Fused.fuse = None
        if survived:
            assert moments > 10
            return
    raise AssertionError("it never ends")
