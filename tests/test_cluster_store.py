"""Several stores on one cluster: whatever they do in whatever order, there is one history."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from amanat.config import RelayLimits
from amanat.errors import NoSuchDrop, RelayBusy
from amanat.protocol import wire
from amanat.protocol.cells import LABEL_BYTES, MESSAGE_CELL
from amanat.protocol.drops import (
    Drop,
    derive_bucket,
    derive_drop,
    first_digest,
    next_digest,
    token_hash,
)
from amanat.protocol.ledger import decode_entry, drop_hash, origin
from amanat.protocol.tlog import Checkpoint, open_checkpoint, root_of, sign_checkpoint
from amanat.relay.cluster import ClusterStore
from amanat.relay.cluster.engine import Engine, Message
from amanat.relay.cluster.messages import MAX_ENTRIES, Kept, record_in
from amanat.relay.cluster.staging import NOTICE_BYTES
from amanat.relay.drops import DAY_S, DROP_LIFE_DAYS, Drops
from amanat.relay.ledger import Ledger, agree, every_entry, replay
from clusters import KEY, Cluster
from figures import report, rounds

pytestmark = pytest.mark.e2e

REGION = "DE"
BUCKET_KEY = bytes(range(32))
NOW = 20_000 * DAY_S
ACTS = 60
LAG_S = 0.1
HEARD_S = 10.0
"""Seconds in which a notice comes, or never."""
DROPS = [derive_bucket(BUCKET_KEY, index, region=REGION) for index in range(2)]
DROPS += [derive_drop(bytes([index]) * 32, purpose=b"epoch", region=REGION) for index in range(3)]


class Process:
    """A relay process, without its sockets."""

    def __init__(self, store: ClusterStore) -> None:
        self.store = store
        self.drops = Drops(store, region=REGION, bucket_key=BUCKET_KEY, limits=RelayLimits())
        self.ledger = Ledger(store, KEY)

    def seal(self) -> None:
        for _ in self.ledger.seal():
            pass

    def expire(self, now: float) -> None:
        """As each process does when it starts, and in every hour."""
        for _ in self.drops.expire(now=now):
            pass


class History:
    """Random acts of several processes, beside a model of what they may not contradict."""

    def __init__(self, cluster: Cluster, directory: Path, seed: int) -> None:
        self.cluster = cluster
        self.chance = random.Random(seed)
        self.directories = [directory / str(index) for index in range(3)]
        for one in self.directories:
            one.mkdir()
        self.now = NOW
        self.processes = [self.start(index) for index in range(3)]
        self.processes[0].drops.open_buckets(2, now=self.now)
        self.kept: dict[bytes, dict[int, tuple[bytes, int]]] = {
            one.drop_id: {} for one in DROPS[:2]
        }
        """The acknowledged cells and their days, by their seqs, of each drop that there is."""
        self.heads = dict.fromkeys(self.kept, 0)
        self.digests = {one: first_digest(one) for one in self.kept}
        self.checkpoints: list[bytes] = []

    def start(self, index: int) -> Process:
        process = Process(self.cluster.store(self.directories[index], keepers=2))
        process.expire(self.now)
        return process

    def close(self) -> None:
        for process in self.processes:
            process.store.close()

    @property
    def day(self) -> int:
        return int(self.now // DAY_S)

    def step(self) -> None:
        act = self.chance.choices(
            [self.append, self.repeat, self.create, self.read, self.dawn, self.seal, self.restart],
            [8, 3, 2, 4, 1, 1, 1],
        )[0]
        act(self.chance.choice(self.processes))

    def append(self, process: Process) -> None:
        drops = self.chance.choices(DROPS, k=self.chance.randint(1, 6))
        cells = [self.chance.randbytes(MESSAGE_CELL) for _ in drops]
        self.put(process, list(zip(drops, cells, strict=True)))

    def repeat(self, process: Process) -> None:
        """Send cells that were acknowledged, or the labels of some with other cells."""
        for drop in DROPS:
            kept = self.kept.get(drop.drop_id, {})
            fresh = [seq for seq, (_, day) in kept.items() if day + 13 >= self.day]
            if not fresh:
                continue
            seq = self.chance.choice(fresh)
            data = kept[seq][0]
            (again,) = self.carry_out(process, [append(drop, data)])
            assert isinstance(again, wire.Appended)
            assert again.seq == seq
            other = data[:LABEL_BYTES] + self.chance.randbytes(MESSAGE_CELL - LABEL_BYTES)
            (refused,) = self.carry_out(process, [append(drop, other)])
            assert isinstance(refused, wire.Failed)
            assert refused.code == "label-taken"

    def put(self, process: Process, cells: list[tuple[Drop, bytes]]) -> None:
        replies = self.carry_out(process, [append(drop, data) for drop, data in cells])
        for (drop, data), reply in zip(cells, replies, strict=True):
            if drop.drop_id not in self.kept:
                assert isinstance(reply, wire.Failed)
                assert reply.code == "no-such-drop"
                continue
            assert isinstance(reply, wire.Appended)
            self.heads[drop.drop_id] += 1
            self.digests[drop.drop_id] = next_digest(self.digests[drop.drop_id], data)
            assert reply.seq == self.heads[drop.drop_id]
            assert reply.digest == self.digests[drop.drop_id]
            self.kept[drop.drop_id][reply.seq] = data, self.day

    def create(self, process: Process) -> None:
        drop = self.chance.choice(DROPS[2:])
        create = wire.Create(
            0,
            BUCKET_KEY,
            drop.drop_id,
            *hashes(drop),
            14,
        )
        (reply,) = self.carry_out(process, [create])
        assert reply == wire.Created(0, self.heads.get(drop.drop_id, 0))
        self.kept.setdefault(drop.drop_id, {})
        self.heads.setdefault(drop.drop_id, 0)
        self.digests.setdefault(drop.drop_id, first_digest(drop.drop_id))

    def carry_out(
        self, process: Process, requests: list[wire.Append | wire.Create]
    ) -> list[wire.Reply]:
        return process.drops.carry_out(requests, now=self.now).replies

    def read(self, process: Process) -> None:
        for drop in DROPS:
            if drop.drop_id in self.kept:
                head = self.heads[drop.drop_id]
                after = self.chance.randint(0, head)
                self.check_read(process, drop, after)

    def check_read(self, process: Process, drop: Drop, after: int) -> None:
        request = wire.Read(0, drop.drop_id, drop.read_token, after, 900, 0)
        told = process.drops.read(request, after=after, now=self.now)
        assert after <= told.head <= self.heads[drop.drop_id]  # a replica may lag
        resting = {
            seq: data
            for seq, (data, day) in self.kept[drop.drop_id].items()
            if after < seq <= told.head and day + 14 >= self.day
        }
        assert told.cells == list(resting.values())
        assert not resting or told.first == min(resting)

    def dawn(self, process: Process) -> None:
        """Let some days pass, and one process expire what has ended."""
        # The replica that a scan reads may lag, and here months pass in a moment.
        time.sleep(LAG_S)
        days = self.chance.choice([0, 1, 5, 20, DROP_LIFE_DAYS + 2])
        self.now += days * DAY_S
        for other in self.processes:
            other.store.shred(self.day)
        process.expire(self.now)
        for drop in DROPS:
            kept = self.kept.get(drop.drop_id)
            if kept is None:
                continue
            for seq in [seq for seq, (_, day) in kept.items() if day + 14 < self.day]:
                del kept[seq]
            if days > DROP_LIFE_DAYS and drop in DROPS[2:]:
                for of in (self.kept, self.heads, self.digests):
                    del of[drop.drop_id]

    def seal(self, process: Process) -> None:
        process.seal()
        self.checkpoints.append(process.ledger.checkpoint)

    def restart(self, process: Process) -> None:
        """End a process as a crash would, and start it again."""
        index = self.processes.index(process)
        process.store.close()
        self.processes[index] = self.start(index)

    def check(self) -> None:
        """Whether all processes agree with the model, and the ledger with the drops."""
        for process in self.processes:
            for drop in DROPS:
                if drop.drop_id in self.kept:
                    # Now the process knows all of it.
                    self.check_read(process, drop, self.heads[drop.drop_id])
                    self.check_read(process, drop, 0)
        pages = self.processes[0].store.staged_pages
        entries = list(every_entry(pages, pages.size()))
        accounts, wrong = replay(map(decode_entry, entries))
        assert not wrong
        records = {drop_hash(one.drop_id): one for one in self.processes[1].store.records()}
        assert {one for one, account in accounts.items() if account.is_here} == set(records)
        assert all(agree(accounts[one], record) for one, record in records.items())
        relay = KEY.public_key().public_bytes_raw()
        for note in self.checkpoints:
            signed = open_checkpoint(note, origin(relay), relay)
            assert signed.root == root_of(entries[: signed.size])
        again = self.cluster.store(self.directories[0], keepers=2)
        assert again.count() == len(self.kept)
        assert again.stored_bytes() == MESSAGE_CELL * sum(map(len, self.kept.values()))
        again.close()


def hashes(drop: Drop) -> tuple[bytes, bytes]:
    """Those of the drop's tokens."""
    return token_hash(drop.drop_id, drop.append_token), token_hash(drop.drop_id, drop.read_token)


def append(drop: Drop, data: bytes) -> wire.Append:
    return wire.Append(0, drop.drop_id, drop.append_token, data)


def test_a_keeper_that_is_away_at_midnight_stops_nobody(cluster: Cluster, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    with contextlib.closing(cluster.store(tmp_path / "a", keepers=2)) as store:
        process = Process(store)
        process.drops.open_buckets(1, now=NOW)
        with contextlib.closing(cluster.store(tmp_path / "b", keepers=2)):
            store.shred(int(NOW // DAY_S))
        request = append(DROPS[0], bytes(MESSAGE_CELL))
        (reply,) = process.drops.carry_out([request], now=NOW + DAY_S).replies
        assert isinstance(reply, wire.Appended)
        # One keeper alone never makes the key of a day: all would end with it.
        later = append(DROPS[0], b"x" * MESSAGE_CELL)
        (reply,) = process.drops.carry_out([later], now=NOW + 5 * DAY_S).replies
        assert isinstance(reply, wire.Failed)
        assert reply.code == "relay-busy"


def test_processes_agree_on_what_the_relay_holds_after_each_expiry(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Else one that stores what another erases would believe the relay to be full, for ever."""
    epoch, later = DROPS[2], NOW + 15 * DAY_S
    create = wire.Create(
        0,
        BUCKET_KEY,
        epoch.drop_id,
        token_hash(epoch.drop_id, epoch.append_token),
        token_hash(epoch.drop_id, epoch.read_token),
        30,
    )
    with contextlib.ExitStack() as opened:
        stores = []
        for name in "abc":
            (tmp_path / name).mkdir()
            store = cluster.store(tmp_path / name, keepers=2)
            stores.append(opened.enter_context(contextlib.closing(store)))
        writing, erasing, idle = (Process(store) for store in stores)
        for process in (writing, erasing, idle):
            process.expire(NOW)
        writing.drops.open_buckets(1, now=NOW)
        cells = [append(DROPS[0], bytes([n]) * MESSAGE_CELL) for n in range(5)]
        writing.drops.carry_out([create, *cells], now=NOW)
        last = [append(DROPS[0], b"l" * MESSAGE_CELL), append(epoch, b"l" * MESSAGE_CELL)]
        erasing.drops.carry_out(last, now=NOW + 7 * DAY_S)
        time.sleep(LAG_S)  # a replica that a process scans may not have the last cells at once
        for process in (erasing, writing, idle):
            process.expire(later)
            time.sleep(LAG_S)
        for store in stores:
            assert (store.count(), store.stored_bytes(), store.bucket_bytes()) == (
                2,
                2 * MESSAGE_CELL,
                MESSAGE_CELL,
            )


def test_a_process_looks_once_a_day_at_a_drop_that_is_not_due(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be millions, and each look takes time that appends need."""
    looked: Counter[bytes] = Counter()

    def counted(message: Message) -> Kept:
        kept = record_in(message)
        looked[kept.drop_id] += 1
        return kept

    drops = [
        derive_drop(number.to_bytes(32, "big"), purpose=b"epoch", region=REGION)
        for number in range(60)
    ]
    creates = [wire.Create(0, BUCKET_KEY, one.drop_id, *hashes(one), 14) for one in drops]
    for name in "ab":
        (tmp_path / name).mkdir()
    with contextlib.closing(cluster.store(tmp_path / "a", keepers=2)) as store:
        Process(store).drops.carry_out(creates, now=NOW)
    monkeypatch.setattr("amanat.relay.cluster.expiry.record_in", counted)
    with (
        contextlib.closing(cluster.store(tmp_path / "a", keepers=2)) as one,
        contextlib.closing(cluster.store(tmp_path / "b", keepers=2)) as other,
    ):
        looking, writing = Process(one), Process(other)
        assert set(looked.values()) == {2}  # as each of the two starts
        looking.expire(NOW)
        looked.clear()
        # The other process writes, and this one has to notice.
        writing.drops.carry_out([append(one, bytes(MESSAGE_CELL)) for one in drops[:3]], now=NOW)
        for hour in range(1, 25):
            looking.expire(NOW + 3600 * hour)
        assert set(looked.values()) == {1}
        assert len(looked) == len(drops)
        assert one.stored_bytes() == 3 * MESSAGE_CELL
        looking.expire(NOW + 14 * DAY_S)
        assert one.stored_bytes() == 3 * MESSAGE_CELL
        looking.expire(NOW + 15 * DAY_S)
        assert one.stored_bytes() == 0


def test_an_expiry_that_fails_is_made_up_for_in_the_next_hour(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.closing(cluster.store(tmp_path)) as store:
        process = Process(store)
        process.drops.open_buckets(2, now=NOW)
        cells = [append(DROPS[index], bytes(MESSAGE_CELL)) for index in range(2)]
        process.drops.carry_out(cells, now=NOW)
        process.expire(NOW)
        with monkeypatch.context() as patched:

            def silent(*_: object) -> None:
                raise RelayBusy(retry_after=1)

            patched.setattr(Engine, "publish", silent)
            with pytest.raises(RelayBusy):
                process.expire(NOW + 15 * DAY_S)
        process.expire(NOW + 15 * DAY_S + 3600)
        assert store.stored_bytes() == 0


def test_no_creation_of_a_large_batch_is_acknowledged_and_forgotten(
    cluster: Cluster, tmp_path: Path
) -> None:
    """A message of a journal holds only so many entries."""
    drops = [
        derive_drop(number.to_bytes(32, "big"), purpose=b"epoch", region=REGION)
        for number in range(2 * MAX_ENTRIES + 1)
    ]
    with contextlib.closing(cluster.store(tmp_path, shards=1)) as store:
        process = Process(store)
        requests = [
            wire.Create(0, BUCKET_KEY, one.drop_id, bytes(32), bytes(32), 14) for one in drops
        ]
        replies = process.drops.carry_out(requests, now=NOW).replies
        assert replies == [wire.Created(0, 0)] * len(drops)
        assert {one.drop_id for one in store.records()} == {one.drop_id for one in drops}
        assert store.staged_pages.size() == store.count() == len(drops)


def test_a_process_that_signs_late_takes_no_newer_checkpoint_back(
    cluster: Cluster, tmp_path: Path
) -> None:
    relay = KEY.public_key().public_bytes_raw()
    notes = [sign_checkpoint(Checkpoint(origin(relay), size, bytes(32)), KEY) for size in (5, 7)]
    with contextlib.closing(cluster.store(tmp_path)) as store:
        store.keep_checkpoint(notes[1])
        with pytest.raises(RelayBusy):
            store.keep_checkpoint(notes[0])
        assert store.pages.checkpoint() == notes[1]


def test_all_answers_of_a_node_that_is_gone_are_given_up(cluster: Cluster) -> None:
    async def lose(engine: Engine) -> list[object]:
        answers = [engine._answer() for _ in range(9)]
        for one in answers[::2]:
            one.set_result("came")  # in the same turn of the loop
        await engine._give_up()
        ends: list[object] = await asyncio.gather(*answers, return_exceptions=True)
        return ends

    with contextlib.closing(cluster.engine()) as engine:
        ends = engine.run(lose(engine))
    assert ends[::2] == ["came"] * 5
    assert all(isinstance(one, RelayBusy) for one in ends[1::2])


def test_a_leader_that_was_replaced_shows_nobody_less_than_they_know(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    last = Engine.last

    def from_before(self: Engine, stream: str, subject: str, **how: bool) -> Message | None:
        """The answer of a replica that lags, and of a leader that was replaced."""
        old.append(how)
        if len(old) <= 4 and self is second.store._engine:
            return before
        return last(self, stream, subject, **how)

    with (
        contextlib.closing(cluster.store(tmp_path / "a", keepers=2)) as one,
        contextlib.closing(cluster.store(tmp_path / "b", keepers=2)) as other,
    ):
        first, second = Process(one), Process(other)
        first.drops.open_buckets(1, now=NOW)
        first.drops.carry_out([append(DROPS[0], bytes(MESSAGE_CELL))], now=NOW)
        layout = one._layout
        place = layout.stream(layout.shard(DROPS[0].drop_id)), layout.subject(DROPS[0].drop_id)
        before = last(other._engine, *place, by_leader=True)
        first.drops.carry_out([append(DROPS[0], b"x" * MESSAGE_CELL)], now=NOW)
        old: list[dict[str, bool]] = []
        monkeypatch.setattr(Engine, "last", from_before)
        request = wire.Read(0, DROPS[0].drop_id, DROPS[0].read_token, 0, 900, 0)
        assert second.drops.read(request, after=2, now=NOW).head == 2
        assert [how["by_leader"] for how in old] == [False, True, False, True, True]
        # Somebody who says that they know more than there is hears the truth.
        assert second.drops.read(request, after=9, now=NOW).head == 2
        # The fence of a stranger would cost a write.
        asked = len(old)
        with pytest.raises(NoSuchDrop):
            second.drops.read(
                msgspec.structs.replace(request, read_token=bytes(32)), after=9, now=NOW
            )
        assert [how["by_leader"] for how in old[asked:]] == [False, True] * 2
        fences = one._engine.scan(place[0], layout.fence(layout.shard(DROPS[0].drop_id)))
        assert len([message for page in fences for message in page]) == 1


def test_another_process_hears_of_all_drops_of_a_batch(cluster: Cluster, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    heard: list[tuple[bytes, int]] = []

    with (
        contextlib.closing(cluster.store(tmp_path / "a", keepers=2)) as one,
        contextlib.closing(cluster.store(tmp_path / "b", keepers=2)) as other,
    ):
        other.hear_of(lambda drop_id, head: heard.append((drop_id, head)))
        drops = Process(one).drops
        drops.open_buckets(2, now=NOW)
        one._engine.tell(one._wake, bytes(NOTICE_BYTES + 1))  # the words of a stranger
        cells = [
            append(drop, bytes([place]) * MESSAGE_CELL) for place in (1, 2) for drop in DROPS[:2]
        ]
        drops.carry_out(cells, now=NOW)
        until = time.monotonic() + HEARD_S
        while len(heard) < 2 and time.monotonic() < until:
            time.sleep(0.01)
        assert sorted(heard) == sorted((drop.drop_id, 2) for drop in DROPS[:2])


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(rounds(3, 100)))
def test_whatever_processes_do_in_whatever_order_there_is_one_history(
    cluster: Cluster, tmp_path: Path, seed: int
) -> None:
    history = History(cluster, tmp_path, seed)
    try:
        for _ in range(ACTS):
            history.step()
        history.check()
        report("processes on a cluster", histories=1, acts=ACTS, cells=sum(history.heads.values()))
    finally:
        history.close()


def test_a_relay_has_all_its_buckets_however_many_they_are(
    tmp_path: Path, cluster: Cluster
) -> None:
    many = 2 * MAX_ENTRIES + 50  # of two shards, so no journal has room for all of a shard at once
    with contextlib.closing(cluster.store(tmp_path)) as store:
        drops = Drops(store, region=REGION, bucket_key=BUCKET_KEY, limits=RelayLimits())
        drops.open_buckets(many, now=NOW)
        buckets = [derive_bucket(BUCKET_KEY, index, region=REGION) for index in range(many)]
        assert all(store.find(bucket.drop_id).drop_id for bucket in buckets)
        assert store.count() == many


@pytest.mark.parametrize("missing", ["last", "first"])
def test_a_replica_that_lags_or_has_lost_entries_is_no_gap_in_the_ledger(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    with contextlib.closing(cluster.store(tmp_path)) as store:
        process = Process(store)
        for count in (1, 2, 3):
            process.drops.open_buckets(count, now=NOW)
            process.seal()
    walk = Engine.walk

    def lacking(self: Engine, stream: str, subject: str, *, after: int) -> list[Message]:
        found = walk(self, stream, subject, after=after)
        return found[:-1] if missing == "last" else found[1:]

    with contextlib.closing(cluster.store(tmp_path)) as store:
        expected = store.pages.entries(0, 10)
    assert len(expected) >= 3
    with contextlib.closing(cluster.store(tmp_path)) as store:
        monkeypatch.setattr(Engine, "walk", lacking)
        assert store.pages.entries(0, len(expected)) == expected
        assert store.pages.entries(0, len(expected) + 9) == expected
        assert store.pages.entries(len(expected), 5) == []
