"""Whatever happens to the drops of two relays, each knows how many bytes its buckets hold."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from amanat.config import RelayLimits
from amanat.errors import AmanatError
from amanat.protocol import moving, wire
from amanat.protocol.cells import CELL_SIZES
from amanat.protocol.descriptor import Stay, sign_address
from amanat.protocol.drops import Drop, derive_bucket, derive_drop, token_hash
from amanat.protocol.places import Place
from amanat.relay.drops import DAY_S, Drops
from amanat.relay.ledger import Ledger
from amanat.relay.moving import Moves
from amanat.relay.store import SqliteStore
from amanat.relay.store.bodies import REAL_SIZE
from amanat.relay.store.reader import SqliteReader
from amanat.relay.store.wrapping import WRAP_BYTES, unwrap_all

NOW = 20_000 * DAY_S
KEYS = [Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in (1, 2)]
REGIONS = ["IR", "DE"]
ACCESS = [bytes([number]) * 32 for number in (3, 4)]
MOVING = [derive_bucket(ACCESS[0], index, region="IR") for index in range(2)] + [
    derive_drop(bytes([number]) * 32, purpose=b"file", region="IR") for number in range(2)
]
STAYING = [derive_bucket(ACCESS[1], 0, region="DE")]
MOVE = bytes(16)
TOKEN = moving.move_token(KEYS[0].private_bytes_raw(), MOVE)
ORDER = moving.sign_order(
    moving.Order(
        move=MOVE,
        source=KEYS[0].public_key().public_bytes_raw(),
        to=sign_address([Stay(Place("relay.example", 443))], KEYS[1], issued=1),
        region="DE",
        regions=["IR"],
        token_hash=moving.token_hash(TOKEN),
        began=1,
    ),
    KEYS[0],
)


class Side:
    """The rules and the store of a relay."""

    def __init__(self, directory: Path, index: int) -> None:
        self.directory, self._index = directory, index
        directory.mkdir()
        self.open()
        self.drops.open_buckets(2 - index, now=NOW)

    def open(self) -> None:
        self.store, index = SqliteStore(self.directory), self._index
        limits = RelayLimits(bytes_total=2**20)
        self.drops = Drops(
            self.store, region=REGIONS[index], bucket_key=ACCESS[index], limits=limits
        )
        self._moves = Moves(
            self.store,
            self.drops,
            Ledger(self.store, KEYS[index]),
            KEYS[index],
            region=REGIONS[index],
            most_drops=100,
            accepts=[KEYS[0].public_key().public_bytes_raw()],
            unwrap=unwrap_all,
        )

    def take(self, step: moving.Step, *, now: float) -> list[moving.Standing]:
        """Take a step of the move. Raises AmanatError."""
        (reply,) = self._moves.take([wire.Move(0, MOVE, TOKEN, step)], now=now)
        self.drops.know_moves()
        assert isinstance(reply, wire.Moving)
        return reply.drops

    def rests(self) -> tuple[int, int]:
        """(bytes of the cells that lie in the file, those in buckets)."""
        with contextlib.closing(sqlite3.connect(self.directory / "drops.sqlite")) as file:
            rows = file.execute(
                f"SELECT bucket, sum({REAL_SIZE} - ?) FROM cell"  # noqa: S608  # constant
                ' JOIN "drop" ON number = place >> 32 GROUP BY bucket',
                (WRAP_BYTES,),
            )
            of = dict(rows.fetchall())
        return sum(of.values()), of.get(1, 0)


class Room(RuleBasedStateMachine):
    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed: int) -> None:
        self._directory = tempfile.TemporaryDirectory()
        self.sides = [Side(Path(self._directory.name) / str(index), index) for index in range(2)]
        self.now, self.chance = float(NOW), random.Random(seed)

    def teardown(self) -> None:
        if hasattr(self, "sides"):
            for side in self.sides:
                side.store.close()
            self._directory.cleanup()

    def some(self, drop: Drop, count: int) -> list[wire.Create | wire.Append]:
        """A creation of a drop, and some appends to it."""
        appending, reading = (token_hash(drop.drop_id, token) for token in drop[1:])
        days = self.chance.choice([14, 30])
        create = wire.Create(0, ACCESS[0], drop.drop_id, appending, reading, days)
        cells = [self.chance.randbytes(self.chance.choice(CELL_SIZES)) for _ in range(count)]
        return [create, *(wire.Append(0, drop.drop_id, drop.append_token, one) for one in cells)]

    @rule(
        side=st.integers(0, 1),
        drop=st.sampled_from([*MOVING, *STAYING]),
        count=st.integers(1, 9),
        is_made=st.booleans(),
    )
    def append(self, side: int, drop: Drop, count: int, *, is_made: bool) -> None:
        self.sides[side].drops.write(self.some(drop, count), now=self.now)
        if is_made:
            self.sides[side].drops.commit()
        else:
            self.sides[side].store.rollback()

    @rule(days=st.sampled_from([1, 3, 14, 31, -2]), side=st.integers(0, 1), steps=st.integers(1, 9))
    def expire(self, days: int, side: int, steps: int) -> None:
        self.now += days * DAY_S
        for _, _ in zip(self.sides[side].drops.expire(now=self.now), range(steps), strict=False):
            pass  # after the last of these the process dies

    @rule(side=st.integers(0, 1))
    def restart(self, side: int) -> None:
        self.sides[side].store.close()
        self.sides[side].open()

    @rule(sides=st.sampled_from([[0], [1], [0, 1]]))
    def set_out(self, sides: list[int]) -> None:
        for side in sides:
            with contextlib.suppress(AmanatError):
                self.sides[side].take(moving.Begin(ORDER, ACCESS[0]), now=self.now)

    @rule(drop=st.sampled_from(MOVING), most=st.integers(1, 4))
    def carry(self, drop: Drop, most: int) -> None:
        with contextlib.closing(SqliteReader(self.sides[0].directory)) as reader:
            record = reader.look(drop.drop_id)
            there = self.sides[1].store.find(drop.drop_id)
            before, digest, cells, keys = reader.wrapped(
                record, after=there.head, max_cells=most, max_bytes=2**20
            )
        if not record.drop_id:
            return
        part = moving.Part(
            drop_id=record.drop_id,
            append_hash=record.append_hash,
            read_hash=record.read_hash,
            retention_days=record.retention_days,
            bucket=record.bucket,
            bound=record.bound,
            last_day=record.last_day,
            is_first=before > there.head or not there.head,
            before=before,
            digest=digest,
            keys=keys,
            cells=cells,
        )
        with contextlib.suppress(AmanatError):
            self.sides[1].take(moving.Carry([part], settles=True), now=self.now)

    @rule(drop=st.sampled_from(MOVING))
    def switch(self, drop: Drop) -> None:
        """Let a drop go, with all its cells."""
        for _ in range(9):
            self.carry(drop, 9)
        with contextlib.suppress(AmanatError):
            frozen = self.sides[0].take(moving.Freeze([drop.drop_id]), now=self.now)
            there = self.sides[1].store.find(drop.drop_id)
            if [one.head for one in frozen] == [there.head] and there.drop_id:
                self.sides[0].take(moving.Release(frozen), now=self.now)
                self.sides[1].take(moving.Land(frozen), now=self.now)
        self.sides[0].drops.frozen.clear()

    @rule()
    def erase(self) -> None:
        with contextlib.suppress(AmanatError):
            self.sides[0].take(moving.Erase(), now=self.now)

    @rule(side=st.integers(0, 1))
    def abandon(self, side: int) -> None:
        with contextlib.suppress(AmanatError):
            self.sides[side].take(moving.Abandon(), now=self.now)

    @invariant()
    def each_knows_what_rests(self) -> None:
        for side in getattr(self, "sides", []):
            rests = side.rests()
            records = list(side.store.records())
            told = sum(one.bytes for one in records)
            of_buckets = sum(one.bytes for one in records if one.bucket)
            assert (told, of_buckets) == rests
            assert (side.store.stored_bytes(), side.store.bucket_bytes()) == rests
            assert side.store.count() == len(records)


TestRoom = pytest.mark.long(Room.TestCase)
TestRoom.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)


def test_a_bucket_that_moves_takes_its_bytes_along() -> None:
    room = Room()
    room.begin(1)
    try:
        room.append(0, MOVING[0], 5, is_made=True)
        room.append(0, MOVING[2], 5, is_made=True)
        room.set_out([0, 1])
        bytes_before = room.sides[0].rests()
        assert 0 < bytes_before[1] < bytes_before[0]
        for drop in MOVING:
            room.switch(drop)
            room.each_knows_what_rests()
        assert room.sides[1].rests() == bytes_before
        room.erase()
        room.each_knows_what_rests()
        assert room.sides[0].rests() == (0, 0)
    finally:
        room.teardown()
