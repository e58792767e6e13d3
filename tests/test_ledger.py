"""The ledger of a relay: its entries, its signatures, the part that is shown, and proof that no
change stays unnoticed."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from amanat.config import RelayLimits
from amanat.errors import BrokenLedger, DiskFull, NotInLedger, StoreDamaged
from amanat.protocol import tlog, wire
from amanat.protocol.drops import derive_bucket, derive_drop
from amanat.protocol.ledger import (
    MAX_ENTRY_BYTES,
    Created,
    Entry,
    Erased,
    Expired,
    MovedIn,
    MovedOut,
    decode_entry,
    drop_hash,
    encode_entry,
    origin,
)
from amanat.protocol.tlog import CHECKPOINT, Checkpoint, Tile
from amanat.relay import ledger as rules
from amanat.relay.drops import DAY_S, DROP_LIFE_DAYS, Drops
from amanat.relay.ledger import Account, Contradiction, Ledger, agree, replay
from amanat.relay.store import SqliteStore

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
ORIGIN = origin(PUBLIC)
BUCKET_KEY = bytes(range(32))
BUCKET = derive_bucket(BUCKET_KEY, 0, region="DE")
EPOCH = derive_drop(BUCKET_KEY, purpose=b"epoch", region="DE")
NOW = 20_000 * DAY_S + 3 * 3600 + 59 * 60 + 59.9
HOUR = 20_000 * 24 + 3
MOST: list[Entry] = [
    Created(bytes(32), 2**32 - 1),
    MovedIn(bytes(32), 2**32 - 1, PUBLIC, 2**53 - 1, bytes(32), 2**53 - 1, 2**53 - 1),
    MovedOut(bytes(32), 2**32 - 1, PUBLIC, 2**53 - 1, bytes(32), 2**53 - 1, 2**53 - 1),
    Expired(bytes(32), 2**32 - 1, 2**53 - 1, 2**53 - 1),
    Erased(bytes(32), 2**32 - 1, 2**53 - 1, 2**53 - 1),
]


class Relay:
    """Drops and their ledger over one store."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(exist_ok=True)
        self.store = SqliteStore(directory)
        limits = RelayLimits()
        self.drops = Drops(self.store, region="DE", bucket_key=BUCKET_KEY, limits=limits)
        self.ledger = Ledger(self.store, KEY)

    def start(self, now: float = NOW) -> None:
        self.drops.open_buckets(1, now=now)

    def create(self, *secrets: int, now: float = NOW) -> None:
        made = [derive_drop(bytes([n]) * 32, purpose=b"x", region="DE") for n in secrets]
        requests = [
            wire.Create(0, BUCKET_KEY, one.drop_id, bytes(32), bytes(32), 30) for one in made
        ]
        assert not any(
            isinstance(one, wire.Failed) for one in self.drops.write(requests, now=now).replies
        )
        self.drops.commit()

    def append(self, *cells: bytes, now: float = NOW) -> None:
        requests = [wire.Append(0, BUCKET.drop_id, BUCKET.append_token, cell) for cell in cells]
        self.drops.write(requests, now=now)
        self.drops.commit()

    def expire(self, now: float) -> None:
        for _ in self.drops.expire(now=now):
            pass

    def enter(self, count: int, hour: int = HOUR) -> None:
        """Add some meaningless entries."""
        first = self.store.pages.size()
        for number in range(first, first + count):
            self.store.note(Created(number.to_bytes(32, "big"), hour))
        self.store.commit()

    def seal(self) -> Checkpoint:
        for _ in self.ledger.seal():
            pass
        return self.shown()

    def shown(self) -> Checkpoint:
        return tlog.open_checkpoint(self.ledger.part(CHECKPOINT), ORIGIN, PUBLIC)

    def entries(self) -> list[Entry]:
        pages = self.store.pages
        return [decode_entry(one) for one in rules.every_entry(pages, pages.size())]

    def proof(self, old: int, new: int) -> list[bytes]:
        """A proof made only from the tiles that the relay shows."""
        node = tlog.nodes_from(new, lambda tile: self.ledger.part(tile.path))
        return tlog.consistency_proof(old, new, node)


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    made = Relay(tmp_path / "relay")
    yield made
    made.store.close()


# Entries


def test_an_entry_is_small_and_has_one_encoding() -> None:
    for entry in MOST:
        data = encode_entry(entry)
        assert decode_entry(data) == entry
        assert len(data) <= MAX_ENTRY_BYTES
        for other in (data[:-1], data + b"\x00", b"\x9f" + data[1:], b""):
            with pytest.raises(BrokenLedger):
                decode_entry(other)
    with pytest.raises(BrokenLedger):
        decode_entry(b"\xc4" * (MAX_ENTRY_BYTES + 1))


def test_a_drop_s_life_is_entered_by_the_hour(relay: Relay) -> None:
    relay.start()
    relay.create(1)
    relay.append(*(bytes([n]) * 1024 for n in range(3)), b"x" * 16384)
    end = NOW + (DROP_LIFE_DAYS + 1) * DAY_S
    relay.expire(NOW + 15 * DAY_S)
    relay.expire(end)
    bucket, made = (
        drop_hash(one)
        for one in (
            BUCKET.drop_id,
            derive_drop(bytes([1]) * 32, purpose=b"x", region="DE").drop_id,
        )
    )
    assert relay.entries() == [
        Created(bucket, HOUR),
        Created(made, HOUR),
        Expired(bucket, HOUR + 15 * 24, 4, 3 * 1024 + 16384),
        Erased(made, HOUR + (DROP_LIFE_DAYS + 1) * 24, 0, 0),
    ]


def test_a_bucket_and_another_drop_are_entered_alike(relay: Relay) -> None:
    relay.start()
    relay.create(1)
    first, second = (encode_entry(one) for one in relay.entries())
    assert len(first) == len(second)
    assert first.replace(drop_hash(BUCKET.drop_id), b"") == (
        second.replace(
            drop_hash(derive_drop(bytes([1]) * 32, purpose=b"x", region="DE").drop_id), b""
        )
    )


def test_no_drop_id_token_or_cell_is_in_the_ledger(relay: Relay) -> None:
    relay.start()
    relay.append(b"q" * 1024)
    relay.expire(NOW + 15 * DAY_S)
    text = b"".join(encode_entry(one) for one in relay.entries())
    record = relay.store.look(BUCKET.drop_id)
    for secret in (
        BUCKET.drop_id,
        BUCKET.drop_id[:16],
        BUCKET.append_token,
        record.append_hash,
        record.read_hash,
        b"q" * 16,
    ):
        assert secret not in text


def test_an_end_in_many_steps_is_one_entry(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amanat.relay.drops.EXPIRY_SLICE", 3)
    relay.start()
    relay.append(*(n.to_bytes(16, "big") + bytes(1008) for n in range(20)))
    relay.append(b"y" * 1024, now=NOW + 5 * DAY_S)
    relay.expire(NOW + 15 * DAY_S)
    hashed = drop_hash(BUCKET.drop_id)
    assert relay.entries()[1:] == [Expired(hashed, HOUR + 15 * 24, 20, 20 * 1024)]
    relay.expire(NOW + 15 * DAY_S)
    assert len(relay.entries()) == 2


def test_a_batch_that_fails_enters_nothing(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    relay.start()

    def full(_: object) -> None:
        raise DiskFull

    with monkeypatch.context() as patch:
        patch.setattr(SqliteStore, "commit", full)
        with pytest.raises(DiskFull):
            relay.create(1, 2)
    assert relay.store.staged_pages.size() == 1
    relay.create(3)
    assert [entry.drop for entry in relay.entries()][1:] == [
        drop_hash(derive_drop(bytes([3]) * 32, purpose=b"x", region="DE").drop_id)
    ]


# Signatures, and the part that is shown


def test_nothing_is_shown_before_it_is_signed(relay: Relay) -> None:
    relay.start()
    for path in (CHECKPOINT, "tile/0/000.p/1", "tile/entries/000.p/1"):
        with pytest.raises(NotInLedger):
            relay.ledger.part(path)
    assert relay.seal().size == 1
    bundle = relay.ledger.part("tile/entries/000.p/1")
    assert [decode_entry(one) for one in tlog.split_bundle(bundle, 1)] == relay.entries()
    relay.create(1)
    for path in ("tile/0/000.p/2", "tile/entries/000.p/2", "tile/entries/000", "tile/1/000.p/1"):
        with pytest.raises(NotInLedger):
            relay.ledger.part(path)
    assert relay.seal().size == 2
    assert relay.ledger.part("tile/entries/000.p/1") == bundle


def test_an_empty_ledger_is_signed_too(relay: Relay) -> None:
    assert relay.seal() == Checkpoint(ORIGIN, 0, tlog.EMPTY_ROOT)
    again = relay.ledger.checkpoint
    relay.seal()
    assert relay.ledger.checkpoint == again


@pytest.mark.long
@pytest.mark.parametrize("per_step", [1, 16])
def test_every_two_checkpoints_are_consistent_by_the_tiles_that_are_shown(
    relay: Relay, monkeypatch: pytest.MonkeyPatch, per_step: int
) -> None:
    monkeypatch.setattr(rules, "TILES_PER_STEP", per_step)
    chance = random.Random(per_step)
    relay.start()
    signed: list[Checkpoint] = []
    for count in (
        0,
        1,
        253,
        1,
        1,
        1,
        300,
        1,
        511,
        5_000,
        *(chance.randint(0, 99) for _ in range(9)),
    ):
        relay.enter(count)
        signed.append(relay.seal())
    entries = [encode_entry(one) for one in relay.entries()]
    for new in signed:
        assert new.root == tlog.root_of(entries[: new.size])
        for old in signed:
            if old.size <= new.size:
                proof = relay.proof(old.size, new.size)
                assert tlog.is_consistent(old.size, old.root, new.size, new.root, proof)
    last = signed[-1]
    node = tlog.nodes_from(last.size, lambda tile: relay.ledger.part(tile.path))
    for index in (0, 255, 256, last.size // 2, last.size - 1):
        bundle = relay.ledger.part(tlog.tile_at(None, index // 256, last.size).path)
        count = tlog.tile_at(None, index // 256, last.size).width
        entry = tlog.split_bundle(bundle, count)[index % 256]
        proof = tlog.inclusion_proof(index, last.size, node)
        leaf = tlog.leaf_hash(entry)
        assert entry == entries[index]
        assert tlog.is_included(leaf, index, last.size, last.root, proof)
    relay.ledger.check()


@pytest.mark.long
def test_a_ledger_of_many_levels_is_signed_and_shown(relay: Relay) -> None:
    relay.enter(65_536 + 300)
    checkpoint = relay.seal()
    node = tlog.nodes_from(checkpoint.size, lambda tile: relay.ledger.part(tile.path))
    assert tlog.root(checkpoint.size, node) == checkpoint.root
    assert len(relay.ledger.part("tile/1/000")) == 8192
    assert len(relay.ledger.part("tile/2/000.p/1")) == 32
    relay.ledger.check()
    largest = relay.ledger.part(Tile(None, 3, 256).path)
    assert len(largest) <= wire.MAX_PART_BYTES


# Changes that nobody can make unnoticed

CHANGES = {
    "edited": "UPDATE entry SET entry = (SELECT entry FROM entry WHERE place = 7) WHERE place = ?1",
    "removed": (
        "DELETE FROM entry WHERE place = ?1;"
        "UPDATE entry SET place = -place WHERE place > ?1;"
        "UPDATE entry SET place = -place - 1 WHERE place < 0"
    ),
    "reordered": (
        "UPDATE entry SET place = -1 WHERE place = ?1;"
        "UPDATE entry SET place = ?1 WHERE place = ?1 - 1;"
        "UPDATE entry SET place = ?1 - 1 WHERE place = -1"
    ),
}


def tamper(directory: Path, change: str, place: int) -> None:
    connection = sqlite3.connect(directory / "drops.sqlite", isolation_level=None)
    for statement in CHANGES[change].split(";"):
        connection.execute(statement, (place,) if "?1" in statement else ())
    connection.close()


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("place", [1, 200, 300, 511, 512, 599])
@pytest.mark.parametrize("is_derived_anew", [False, True])
def test_a_changed_entry_is_found_by_its_relay_and_by_people_who_know_a_checkpoint(
    relay: Relay, tmp_path: Path, change: str, place: int, is_derived_anew: bool
) -> None:
    relay.enter(600)
    known = relay.seal()
    forged = tmp_path / "forged"
    shutil.copytree(relay.directory, forged)
    tamper(forged, change, place)
    if is_derived_anew:
        with sqlite3.connect(forged / "drops.sqlite") as connection:
            connection.execute("DELETE FROM tile_hash")
        connection.close()
    other = Relay(forged)
    with pytest.raises(StoreDamaged):
        other.ledger.check()
    is_noticed_at_once = is_derived_anew or place >= 512 or change == "removed"
    other.enter(1, HOUR + 1)
    if is_noticed_at_once:
        with pytest.raises(StoreDamaged):
            other.seal()
        assert other.ledger.checkpoint == relay.ledger.checkpoint
    # The forger has the key; even so its checkpoint does not extend the one signed before.
    with sqlite3.connect(forged / "drops.sqlite") as connection:
        connection.execute("DELETE FROM tile_hash")
        connection.execute("DELETE FROM checkpoint")
    connection.close()
    other.store.close()
    other = Relay(forged)
    other.enter(700 - other.store.pages.size(), HOUR + 1)
    new = other.seal()
    proof = other.proof(known.size, new.size)
    assert not tlog.is_consistent(known.size, known.root, new.size, new.root, proof)
    other.store.close()


def test_an_older_disk_signs_what_is_no_continuation(relay: Relay, tmp_path: Path) -> None:
    relay.start()
    relay.seal()
    older = tmp_path / "older"
    shutil.copytree(relay.directory, older)
    relay.create(1, 2)
    known = relay.seal()
    other = Relay(older)
    assert other.shown().size < known.size
    other.create(3, 4, 5)
    new = other.seal()
    proof = other.proof(known.size, new.size)
    assert not tlog.is_consistent(known.size, known.root, new.size, new.root, proof)
    other.store.close()


def test_a_checkpoint_of_another_key_is_damage(relay: Relay) -> None:
    relay.start()
    relay.seal()
    with pytest.raises(StoreDamaged):
        Ledger(relay.store, Ed25519PrivateKey.generate())


# Agreement of ledger and store


def test_entries_that_contradict_each_other_are_found() -> None:
    a, b = bytes(32), bytes(range(32))
    moved = (1, PUBLIC, 10, bytes(32), 4, 4096)
    entries: list[Entry] = [
        Created(a, 1),
        Created(a, 1),
        Expired(b, 1, 1, 1024),
        MovedIn(b, *moved),
        Expired(b, 1, 2, 2048),
        MovedOut(b, *moved),
        Erased(b, 1, 0, 0),
        MovedIn(a, *moved),
        Erased(a, 1, 4, 4096),
        Created(a, 2),
    ]
    accounts, wrong = replay(entries)
    assert [place for place, _ in wrong] == [1, 2, 6, 7]
    assert wrong[0] == Contradiction(1, Created(a, 1))
    assert accounts == {a: Account(True, 0, 4096), b: Account(False, 8, 3072)}


def test_a_cell_or_a_drop_that_is_gone_without_an_entry_is_found(relay: Relay) -> None:
    relay.start()
    relay.create(1)
    relay.append(b"a" * 1024, b"b" * 1024)
    hashed = drop_hash(BUCKET.drop_id)

    def is_right() -> bool:
        accounts, wrong = replay(relay.entries())
        records = list(relay.store.records())
        here = {one for one, account in accounts.items() if account.is_here}
        return (
            not wrong
            and here == {drop_hash(record.drop_id) for record in records}
            and all(agree(accounts.get(drop_hash(one.drop_id)), one) for one in records)
        )

    assert is_right()
    record = relay.store.find(BUCKET.drop_id)
    record.cells -= 1
    relay.store.save(record)
    assert not is_right()
    relay.store.rollback()
    assert is_right()
    relay.store._writer.execute('DELETE FROM "drop" WHERE NOT bucket')
    assert not is_right()
    assert not agree(None, record)
    assert not agree(Account(False, 1), record)
    relay.store.note(Erased(hashed, HOUR, 2, 2048))
    assert not is_right()
