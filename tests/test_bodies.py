"""Bodies: the files of large cells hold what the rows say, whenever the process or the power ends,
and nothing after their day."""

from __future__ import annotations

import contextlib
import functools
import os
import random
import resource
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amanat.config import RelayLimits
from amanat.errors import DiskFull, StoreDamaged
from amanat.protocol import wire
from amanat.protocol.cells import CELL_SIZES, LARGE_CELL, MESSAGE_CELL
from amanat.protocol.drops import Drop, derive_drop, token_hash
from amanat.relay.drops import DAY_S, Drops
from amanat.relay.records import DropRecord
from amanat.relay.store import SqliteStore
from amanat.relay.store.bodies import (
    CELL_BYTES,
    DIRECTORY,
    LEAST_CELLS,
    Bodies,
    Body,
    body_named,
    pointers,
)
from amanat.relay.store.reader import SqliteReader

KEY = bytes(range(32))
FILES = [derive_drop(bytes([number]) * 32, purpose=b"file", region="DE") for number in range(3)]
NOW = 20_000 * DAY_S
MANY = LEAST_CELLS + 2


def drops_in(store: SqliteStore) -> Drops:
    drops = Drops(store, region="DE", bucket_key=KEY, limits=RelayLimits())
    drops.open_buckets(1, now=NOW)
    return drops


def write(drops: Drops, drop: Drop, cells: list[bytes], now: float = NOW, days: int = 14) -> None:
    hashes = (
        token_hash(drop.drop_id, drop.append_token),
        token_hash(drop.drop_id, drop.read_token),
    )
    create = wire.Create(0, KEY, drop.drop_id, *hashes, days)
    appends = [wire.Append(0, drop.drop_id, drop.append_token, cell) for cell in cells]
    replies = drops.write([create, *appends], now=now).replies
    assert not [reply for reply in replies if isinstance(reply, wire.Failed)]
    drops.commit()


def read(drops: Drops, drop: Drop, now: float = NOW) -> list[bytes]:
    found: list[bytes] = []
    after = 0
    while True:
        request = wire.Read(0, drop.drop_id, drop.read_token, after, 900, 0)
        answer = drops.read(request, after=after, now=now)
        if not answer.cells:
            return found
        found += answer.cells
        after = answer.first + len(answer.cells) - 1


def expire(drops: Drops, now: float) -> None:
    for _ in drops.expire(now=now):
        pass


def large(many: int = MANY) -> list[bytes]:
    return [os.urandom(LARGE_CELL) for _ in range(many)]


def bodies_of(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob(f"{DIRECTORY}/*"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = SqliteStore(tmp_path)
    yield opened
    opened.close()


# Contents


def test_large_cells_that_come_at_once_rest_in_a_body_and_others_do_not(
    tmp_path: Path, store: SqliteStore
) -> None:
    drops = drops_in(store)
    write(drops, FILES[0], few := large(LEAST_CELLS - 1))
    write(drops, FILES[0], small := [os.urandom(MESSAGE_CELL) for _ in range(MANY)])
    assert bodies_of(tmp_path) == []
    write(drops, FILES[0], many := large(LEAST_CELLS))
    (name,) = bodies_of(tmp_path)
    assert (tmp_path / DIRECTORY / name).stat().st_size == LEAST_CELLS * CELL_BYTES
    assert read(drops, FILES[0]) == few + small + many
    assert store.stored_bytes() == sum(map(len, few + small + many))
    body = (tmp_path / DIRECTORY / name).read_bytes()
    assert not any(cell[-64:] in body for cell in many)  # it is wrapped
    for path in (tmp_path / DIRECTORY, tmp_path / DIRECTORY / name):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    # A cell that comes again gets its answer from there.
    append = wire.Append(7, FILES[0].drop_id, FILES[0].append_token, many[3])
    (reply,) = drops.write([append], now=NOW).replies
    assert isinstance(reply, wire.Appended)
    assert reply.seq == len(few) + len(small) + 4


batches = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from([0, 2, 2, 2]), st.integers(1, LEAST_CELLS + 1)),
    min_size=1,
    max_size=4,
)


@pytest.mark.long
@given(history=st.lists(st.tuples(batches, st.integers(0, 2), st.booleans()), max_size=4))
def test_whatever_comes_together_is_read_as_it_came(
    history: list[tuple[list[tuple[int, int, int]], int, bool]],
) -> None:
    with tempfile.TemporaryDirectory() as name:
        store = SqliteStore(Path(name))
        drops, day = drops_in(store), 0
        model: dict[int, list[bytes]] = {0: [], 1: [], 2: []}
        for index in model:
            write(drops, FILES[index], [])
        for runs, days, is_new in history:
            day += days
            requests = []
            for index, size, many in runs:
                cells = [random.randbytes(CELL_SIZES[size]) for _ in range(many)]
                drop = FILES[index]
                requests += [wire.Append(0, drop.drop_id, drop.append_token, c) for c in cells]
                model[index] += cells
            drops.write(requests, now=NOW + day * DAY_S)
            drops.commit()
            if is_new:
                store.close()
                store = SqliteStore(Path(name))
                drops = drops_in(store)
            for index, held in model.items():
                assert read(drops, FILES[index], NOW + day * DAY_S) == held
        with contextlib.closing(SqliteReader(Path(name))) as reader:
            assert list(reader.strays()) == []
            for record, counted in reader.counted(after=0, most=99):
                assert (counted.cells, counted.bytes) == (record.cells, record.bytes)
        store.close()


def test_no_file_stays_open(store: SqliteStore) -> None:
    drops = drops_in(store)
    for day in range(2):
        write(drops, FILES[0], large(), now=NOW + day * DAY_S)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        assert len(read(drops, FILES[0])) == 2 * MANY
        write(drops, FILES[1], large())
    assert len(list(Path("/proc/self/fd").iterdir())) == before


# The end of cells


def test_a_body_ends_with_its_day_and_not_before(tmp_path: Path, store: SqliteStore) -> None:
    drops = drops_in(store)
    write(drops, FILES[0], first := large())
    write(drops, FILES[1], other := large(), days=30)
    write(drops, FILES[0], second := large(), now=NOW + DAY_S)
    assert len(bodies_of(tmp_path)) == 3
    expire(drops, NOW + 14 * DAY_S)
    assert read(drops, FILES[0], NOW + 14 * DAY_S) == first + second
    expire(drops, NOW + 15 * DAY_S)
    assert len(bodies_of(tmp_path)) == 2
    assert read(drops, FILES[0], NOW + 15 * DAY_S) == second
    expire(drops, NOW + 16 * DAY_S)
    assert len(bodies_of(tmp_path)) == 1
    assert read(drops, FILES[1], NOW + 16 * DAY_S) == other
    expire(drops, NOW + 31 * DAY_S)
    assert bodies_of(tmp_path) == []
    assert store.stored_bytes() == 0


def test_a_body_stays_until_its_last_cell_is_erased(
    tmp_path: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amanat.relay.drops.EXPIRY_SLICE", 3)
    drops = drops_in(store)
    write(drops, FILES[0], large())
    steps = drops.expire(now=NOW + 15 * DAY_S)
    left = [len(bodies_of(tmp_path)) for _ in steps]
    assert left == [1, 1, 1, 1, 0]


def record_of(store: SqliteStore, drop: Drop) -> DropRecord:
    return store.find(drop.drop_id)


def test_a_cut_removes_the_body_once_the_commit_has_returned(
    tmp_path: Path, store: SqliteStore
) -> None:
    drops = drops_in(store)
    write(drops, FILES[0], cells := large())
    drop = record_of(store, FILES[0])
    store.cut(drop, 3)
    store.rollback()
    assert read(drops, FILES[0]) == cells
    assert store.cut(drop, 3) == (3, 3 * LARGE_CELL)
    store.commit()
    assert len(bodies_of(tmp_path)) == 1
    store.cut(drop, drop.head)
    assert len(bodies_of(tmp_path)) == 1
    store.commit()
    assert bodies_of(tmp_path) == []


# Faults


def test_a_full_disk_refuses_the_batch_and_loses_nothing(
    tmp_path: Path, store: SqliteStore
) -> None:
    drops = drops_in(store)
    write(drops, FILES[0], kept := large(20))
    (name,) = bodies_of(tmp_path)
    body = tmp_path / DIRECTORY / name
    before, limits = body.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    more = large()
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 3 * CELL_BYTES + 5, limits[1]))
    try:
        with pytest.raises(DiskFull) as raised:
            write(drops, FILES[0], more)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert raised.value.retry_after
    assert body.read_bytes() == before
    assert read(drops, FILES[0]) == kept
    write(drops, FILES[0], more)
    assert read(drops, FILES[0]) == kept + more
    assert body.stat().st_size == (len(kept) + len(more)) * CELL_BYTES


def test_a_batch_that_fails_behind_its_bodies_leaves_nothing_in_them(
    tmp_path: Path, store: SqliteStore
) -> None:
    drops = drops_in(store)
    write(drops, FILES[0], kept := large())
    (pages,) = store._writer.execute("PRAGMA page_count").fetchone()
    store._writer.execute(f"PRAGMA max_page_count = {pages}")
    small = [os.urandom(MESSAGE_CELL) for _ in range(50)]
    with pytest.raises(DiskFull):
        write(drops, FILES[0], [*large(), *small])
    (name,) = bodies_of(tmp_path)
    assert (tmp_path / DIRECTORY / name).stat().st_size == len(kept) * CELL_BYTES
    assert read(drops, FILES[0]) == kept


def gone(body: Path) -> None:
    body.unlink()


def shorter(body: Path) -> None:
    os.truncate(body, 3 * CELL_BYTES + 7)


def changed(body: Path) -> None:
    data = bytearray(body.read_bytes())
    data[5 * CELL_BYTES + 99] ^= 1
    body.write_bytes(data)


def swapped(body: Path) -> None:
    data = body.read_bytes()
    body.write_bytes(data[CELL_BYTES : 2 * CELL_BYTES] * (len(data) // CELL_BYTES))


@pytest.mark.parametrize("damage", [gone, shorter, changed, swapped])
def test_damage_to_a_body_is_damage_and_no_other_cell(
    tmp_path: Path, store: SqliteStore, damage: Callable[[Path], None]
) -> None:
    drops = drops_in(store)
    write(drops, FILES[0], large())
    damage(tmp_path / DIRECTORY / bodies_of(tmp_path)[0])
    with pytest.raises(StoreDamaged):
        read(drops, FILES[0])
    with contextlib.closing(SqliteReader(tmp_path)) as reader:
        drop = reader.look(FILES[0].drop_id)
        cells = reader.wrapped(drop, after=0, max_cells=99, max_bytes=10**9)[2]
        assert len(cells) == MANY  # the mover and the audit see it at the cells


def test_a_pointer_beyond_everything_is_damage(tmp_path: Path, store: SqliteStore) -> None:
    drops = drops_in(store)
    write(drops, FILES[0], large())
    for place in (b"\xff" * 8, b"\x7f" + b"\xff" * 7, (2**40).to_bytes(8, "big")):
        store._writer.execute("UPDATE cell SET wrapped = ?", (place,))
        with pytest.raises((StoreDamaged, DiskFull)):
            read(drops, FILES[0])


@pytest.mark.parametrize(
    "name", ["", "1", "1-", "-1", "01-2", "1-02", "1-2x", "x1-2", "1--0", "../1-2"]
)
def test_no_other_file_counts_as_a_body(name: str) -> None:
    assert body_named(name) is None


@given(st.integers(0, 2**31), st.integers(-(10**7), 10**7))
def test_every_body_is_known_by_its_name(number: int, day: int) -> None:
    assert body_named(Body(number, day).name) == Body(number, day)


def test_strays_are_told_and_gone_at_the_next_start(tmp_path: Path, store: SqliteStore) -> None:
    drops = drops_in(store)
    write(drops, FILES[0], cells := large())
    number = record_of(store, FILES[0]).number
    bodies = Bodies(tmp_path)
    assert bodies.add(Body(999, 20_000), [bytes(CELL_BYTES)]) == 0
    assert bodies.add(Body(number, 19_999), [bytes(CELL_BYTES)]) == 0
    with contextlib.closing(SqliteReader(tmp_path)) as reader:
        assert list(reader.strays()) == []  # a commit that is under way may have made them
        for path in (tmp_path / DIRECTORY).iterdir():
            os.utime(path, (0, 0))
        assert sorted(reader.strays()) == sorted(
            [("cell-without-drop", "drop 999"), ("cell-without-drop", f"drop {number}")]
        )
    with contextlib.closing(SqliteStore(tmp_path)) as again:
        assert bodies_of(tmp_path) == [Body(number, 20_000).name]
        assert read(drops_in(again), FILES[0]) == cells


def test_pointers_follow_each_other() -> None:
    assert [int.from_bytes(one, "big") for one in pointers(7, 3)] == [
        7,
        7 + CELL_BYTES,
        7 + 2 * CELL_BYTES,
    ]


# The end of the process, and of the power


class Died(BaseException):
    """The process is dead."""


class World:
    """A machine whose process dies at the n-th step from now, before or after it: a statement of
    SQLite, or a call that changes a body. It knows what of the bodies is on the disk."""

    def __init__(self) -> None:
        self.fuse: int | None = None
        self.is_after = False
        self.disk: dict[str, bytes] = {}
        """The bodies as the disk has them."""
        self.named: set[str] = set()
        """Those of them whose names are on the disk."""

    def step(self, call: Callable[[], Any]) -> Any:  # noqa: ANN401  # whatever it returns
        if self.fuse is None:
            return call()
        self.fuse -= 1
        if self.fuse < 0 and not self.is_after:
            raise Died
        found = call()
        if self.fuse < 0:
            raise Died
        return found

    def dies(self, act: Callable[[], object], moment: int, *, is_after: bool) -> bool:
        """Whether the process dies in an act, in the step that comes after so many others."""
        self.fuse, self.is_after = moment, is_after
        try:
            act()
        except Died:
            return True
        finally:
            self.fuse = None
        return False

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        """See all steps."""
        fdatasync, fsync, connect = os.fdatasync, os.fsync, sqlite3.connect
        step = self.step

        def sync(file: int) -> None:
            fdatasync(file)
            path = Path(f"/proc/self/fd/{file}").readlink()
            self.disk[path.name] = path.read_bytes()

        def sync_names(file: int) -> None:
            fsync(file)
            path = Path(f"/proc/self/fd/{file}").readlink()
            if path.name == DIRECTORY:
                self.named = {one.name for one in path.iterdir()}

        class Connection(sqlite3.Connection):
            def execute(self, *args: Any) -> sqlite3.Cursor:  # noqa: ANN401  # as sqlite3 has it
                found: sqlite3.Cursor = step(lambda: sqlite3.Connection.execute(self, *args))
                return found

        patch.setattr(os, "fdatasync", lambda file: step(lambda: sync(file)))
        patch.setattr(os, "fsync", lambda file: step(lambda: sync_names(file)))
        for name in ("pwritev", "truncate"):
            call = getattr(os, name)
            patch.setattr(os, name, lambda *args, call=call: step(lambda: call(*args)))
        unlink = Path.unlink
        patch.setattr(Path, "unlink", lambda *a, **k: step(lambda: unlink(*a, **k)))
        patch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, factory=Connection, **k))

    def revived(self, before: Path, after: Path, *, is_power_gone: bool) -> None:
        """Copy what the next start finds. Without the power, bodies are as they were last synced,
        and those that were removed may be there again."""
        shutil.copytree(before, after, ignore=shutil.ignore_patterns("*-shm"))
        if is_power_gone:
            shutil.rmtree(after / DIRECTORY, ignore_errors=True)
            (after / DIRECTORY).mkdir()
            for name in self.named & set(self.disk):
                (after / DIRECTORY / name).write_bytes(self.disk[name])


@pytest.mark.long
@pytest.mark.parametrize("is_after", [False, True])
@pytest.mark.parametrize("is_power_gone", [False, True])
@pytest.mark.parametrize("is_new", [False, True])
def test_dying_at_any_step_of_a_commit_loses_and_doubles_nothing(
    tmp_path: Path, *, is_after: bool, is_power_gone: bool, is_new: bool
) -> None:
    for moment in range(200):
        first, second = tmp_path / f"{moment}", tmp_path / f"{moment}-revived"
        first.mkdir()
        world, kept, more = World(), large(), large()
        with pytest.MonkeyPatch.context() as patch:
            world.watch(patch)
            store = SqliteStore(first)
            drops = drops_in(store)
            write(drops, FILES[0], kept)
            drop, held = (FILES[1], []) if is_new else (FILES[0], kept)
            has_died = world.dies(
                functools.partial(write, drops, drop, more), moment, is_after=is_after
            )
            world.revived(first, second, is_power_gone=is_power_gone)
            store.close()
        with contextlib.closing(SqliteStore(second)) as again:
            drops = drops_in(again)
            assert read(drops, FILES[0])[:MANY] == kept
            write(drops, drop, [])
            found = read(drops, drop)
            assert found in (held, held + more)
            assert has_died or found == held + more
            write(drops, drop, more)  # as a client does that had no answer
            assert read(drops, drop) == held + more
            with contextlib.closing(SqliteReader(second)) as reader:
                assert list(reader.strays()) == []
            expire(drops, NOW + 20 * DAY_S)
            assert bodies_of(second) == []
        shutil.rmtree(first)
        shutil.rmtree(second)
        if not has_died:
            assert moment > 6
            return
    raise AssertionError("it never ends")


@pytest.mark.long
@pytest.mark.parametrize("is_after", [False, True])
@pytest.mark.parametrize("is_power_gone", [False, True])
def test_dying_at_any_step_of_an_expiry_loses_nothing_and_leaves_nothing(
    tmp_path: Path, *, is_after: bool, is_power_gone: bool
) -> None:
    later = NOW + 15 * DAY_S
    for moment in range(200):
        first, second = tmp_path / f"{moment}", tmp_path / f"{moment}-revived"
        first.mkdir()
        world, kept = World(), large()
        with pytest.MonkeyPatch.context() as patch:
            world.watch(patch)
            store = SqliteStore(first)
            drops = drops_in(store)
            write(drops, FILES[0], large())
            write(drops, FILES[1], large())
            write(drops, FILES[0], kept, now=later)
            has_died = world.dies(
                functools.partial(expire, drops, later), moment, is_after=is_after
            )
            world.revived(first, second, is_power_gone=is_power_gone)
            store.close()
        with contextlib.closing(SqliteStore(second)) as again:
            drops = drops_in(again)
            assert read(drops, FILES[0], later) == kept
            expire(drops, later)
            assert read(drops, FILES[0], later) == kept
            assert len(bodies_of(second)) == 1
            assert again.stored_bytes() == sum(map(len, kept))
        shutil.rmtree(first)
        shutil.rmtree(second)
        if not has_died:
            assert moment > 6
            return
    raise AssertionError("it never ends")
