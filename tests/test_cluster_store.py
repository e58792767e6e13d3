"""Several stores on one cluster: whatever they do in whatever order, there is one history."""

from __future__ import annotations

import contextlib
import random
import time
from pathlib import Path

import pytest

from amanat.config import RelayLimits
from amanat.errors import RelayBusy
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
from amanat.relay.cluster.messages import MAX_ENTRIES
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


class History:
    """Random acts of several processes, beside a model of what they may not contradict."""

    def __init__(self, cluster: Cluster, directory: Path, seed: int) -> None:
        self.cluster = cluster
        self.chance = random.Random(seed)
        self.directories = [directory / str(index) for index in range(3)]
        for one in self.directories:
            one.mkdir()
        self.processes = [self.start(index) for index in range(3)]
        self.now = NOW
        self.processes[0].drops.open_buckets(2, now=self.now)
        self.kept: dict[bytes, dict[int, tuple[bytes, int]]] = {
            one.drop_id: {} for one in DROPS[:2]
        }
        """The acknowledged cells and their days, by their seqs, of each drop that there is."""
        self.heads = dict.fromkeys(self.kept, 0)
        self.digests = {one: first_digest(one) for one in self.kept}
        self.checkpoints: list[bytes] = []

    def start(self, index: int) -> Process:
        return Process(self.cluster.store(self.directories[index], keepers=2))

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
            token_hash(drop.drop_id, drop.append_token),
            token_hash(drop.drop_id, drop.read_token),
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
        resting = {
            seq: data
            for seq, (data, day) in self.kept[drop.drop_id].items()
            if seq > after and day + 14 >= self.day
        }
        assert told.head == self.heads[drop.drop_id]
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
        for _ in process.drops.expire(now=self.now):
            pass
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
