"""A running relay shows its ledger to anyone, signs it, and continues it after any kind of end."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
import sqlite3
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from amanat.config import RelayLimits
from amanat.protocol import sealing, tlog, wire
from amanat.protocol.cells import MESSAGE_CELL
from amanat.protocol.descriptor import open_descriptor
from amanat.protocol.drops import Drop, derive_drop
from amanat.protocol.ledger import Created, decode_entry, drop_hash, origin
from amanat.protocol.tlog import CHECKPOINT, Checkpoint, Tile
from amanat.relay.drops import DAY_S, Drops
from amanat.relay.store import SqliteStore
from relays import REGION, Peer, RelayProcess, append, in_loop

pytestmark = pytest.mark.e2e

numbers = itertools.count(1)


async def part(peer: Peer, path: str) -> bytes:
    reply = await peer.ask(wire.Consult(next(numbers), path))
    assert isinstance(reply, wire.Consulted), reply
    return reply.part


async def create(peer: Peer, relay: RelayProcess, count: int) -> list[Drop]:
    secrets = [next(numbers).to_bytes(32, "big") for _ in range(count)]
    made = [derive_drop(secret, purpose=b"x", region=REGION) for secret in secrets]
    for drop in made:
        number = next(numbers)
        request = wire.Create(
            number, relay.directory.bucket_key, drop.drop_id, bytes(32), bytes(32), 14
        )
        assert await peer.ask(request) == wire.Created(number, 0)
    return made


async def described(peer: Peer, relay: RelayProcess) -> tuple[bytes, Checkpoint]:
    """The checkpoint in the relay's descriptor, as it is and opened."""
    reply = await peer.ask(wire.Describe(next(numbers), b""))
    assert isinstance(reply, wire.Described)
    note = open_descriptor(reply.descriptor, relay.address.key).checkpoint
    return note, tlog.open_checkpoint(note, origin(relay.address.key), relay.address.key)


async def tiles(ask: Callable[[str], Awaitable[bytes]], size: int) -> Callable[[Tile], bytes]:
    """All tiles of a small ledger, fetched."""
    found = {}
    for level in range(3):
        for index in range(size // 256 + 1):
            tile = tlog.tile_at(level, index, size)
            if tile.width:
                found[tile] = await ask(tile.path)
    return found.__getitem__


async def is_continued(peer: Peer, old: Checkpoint, new: Checkpoint) -> bool:
    fetch = await tiles(lambda path: part(peer, path), new.size)
    node = tlog.nodes_from(new.size, fetch)
    assert tlog.root(new.size, node) == new.root
    proof = tlog.consistency_proof(old.size, new.size, node)
    return tlog.is_consistent(old.size, old.root, new.size, new.root, proof)


@in_loop
async def test_anyone_is_shown_what_is_signed_and_no_more(tmp_path: Path) -> None:
    begun = time.time() // 3600
    with RelayProcess(tmp_path / "relay") as relay:
        peer = await Peer.connect(relay.address)
        note, checkpoint = await described(peer, relay)
        assert await part(peer, CHECKPOINT) == note
        bundle = await part(peer, "tile/entries/000.p/1")
        (entry,) = tlog.split_bundle(bundle, checkpoint.size)
        assert isinstance(decode_entry(entry), Created)
        assert decode_entry(entry).drop == drop_hash(relay.bucket().drop_id)
        await create(peer, relay, 1)
        for path in ("tile/entries/000.p/2", "tile/0/000.p/2", "", "x", "../keys.sqlite"):
            assert await peer.ask_code(wire.Consult(next(numbers), path)) == "not-in-ledger"
        is_same = (await described(peer, relay))[1] == checkpoint
        assert is_same or time.time() // 3600 > begun  # the next checkpoint is signed on the hour


@in_loop
async def test_the_end_of_cells_while_a_relay_was_away_is_signed_on_the_hour(
    tmp_path: Path,
) -> None:
    relay = RelayProcess(tmp_path / "relay")
    with contextlib.closing(SqliteStore(tmp_path / "relay")) as store:
        then = time.time() - 60 * DAY_S
        drops = Drops(
            store, region=REGION, bucket_key=relay.directory.bucket_key, limits=RelayLimits()
        )
        drops.open_buckets(1, now=then)
        drops.write([append(relay.bucket(), bytes(MESSAGE_CELL))], now=then)
        drops.commit()
        begun = time.time() // 3600
        with relay:
            peer = await Peer.connect(relay.address)
            checkpoint = (await described(peer, relay))[1]
            while store.pages.size() < 2:  # noqa: ASYNC110  # until another process has entered it
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.5)
            is_same = (await described(peer, relay))[1] == checkpoint
            assert is_same or time.time() // 3600 > begun


@in_loop
async def test_a_ledger_goes_on_after_draining_and_after_dying(tmp_path: Path) -> None:
    limits = RelayLimits(drop_creations_per_minute=1000)
    with RelayProcess(tmp_path / "relay", limits=limits) as relay:
        peer = await Peer.connect(relay.address)
        seen = [(await described(peer, relay))[1]]
        made = [relay.bucket()]
        for end, count in (
            (relay.drain, 300),
            (relay.kill, 5),
            (relay.drain, 0),
            (relay.kill, 250),
        ):
            made += await create(peer, relay, count)
            end()
            if end == relay.drain:
                with contextlib.closing(
                    sqlite3.connect(tmp_path / "relay" / "drops.sqlite")
                ) as store:
                    ((note,),) = store.execute("SELECT note FROM checkpoint")
                assert tlog.parse_checkpoint(tlog.parse_note(note).text).size == len(made)
            relay.start()
            peer = await Peer.connect(relay.address)
            new = (await described(peer, relay))[1]
            assert new.size == len(made)
            for old in seen:
                assert await is_continued(peer, old, new)
            seen.append(new)
        entries = []
        for tile in (tlog.tile_at(None, index, len(made)) for index in range(3)):
            entries += tlog.split_bundle(await part(peer, tile.path), tile.width)
        assert [decode_entry(one).drop for one in entries] == [drop_hash(d.drop_id) for d in made]
        assert "failed" not in relay.log.read_text()


@in_loop
async def test_a_relay_that_is_put_back_is_caught_by_people_who_know_an_older_checkpoint(
    tmp_path: Path,
) -> None:
    with RelayProcess(tmp_path / "relay") as relay:
        copy = tmp_path / "copy"
        relay.drain()
        shutil.copytree(tmp_path / "relay", copy)
        relay.start()
        peer = await Peer.connect(relay.address)
        await create(peer, relay, 3)
        relay.drain()
        relay.start()
        peer = await Peer.connect(relay.address)
        known = (await described(peer, relay))[1]
        relay.drain()
        for name in ("drops.sqlite", "keys.sqlite"):
            shutil.copy(copy / name, tmp_path / "relay" / name)
        relay.start()
        peer = await Peer.connect(relay.address)
        assert (await described(peer, relay))[1].size < known.size
        await create(peer, relay, 4)
        relay.drain()
        relay.start()
        peer = await Peer.connect(relay.address)
        new = (await described(peer, relay))[1]
        assert new.size > known.size
        assert not await is_continued(peer, known, new)


@in_loop
async def test_a_ledger_that_was_changed_is_signed_no_more_and_the_relay_goes_on(
    tmp_path: Path,
) -> None:
    with RelayProcess(tmp_path / "relay") as relay:
        peer = await Peer.connect(relay.address)
        note, _ = await described(peer, relay)
        relay.drain()
        with contextlib.closing(
            sqlite3.connect(tmp_path / "relay" / "drops.sqlite", isolation_level=None)
        ) as store:
            store.execute("UPDATE entry SET entry = x'93'")
        relay.start()
        peer = await Peer.connect(relay.address)
        await create(peer, relay, 1)
        assert (await described(peer, relay))[0] == note
        assert "checkpoint failed: store-damaged" in relay.log.read_text()


@in_loop
async def test_a_part_of_the_ledger_can_be_asked_for_sealed(tmp_path: Path) -> None:
    with RelayProcess(tmp_path / "relay") as relay:
        peer = await Peer.connect(relay.address)
        reply = await peer.ask(wire.Describe(0, b""))
        assert isinstance(reply, wire.Described)
        to = open_descriptor(reply.descriptor, relay.address.key).sealing
        for path, kind in ((CHECKPOINT, wire.Consulted), ("x", wire.Failed)):
            frame = wire.encode(wire.Consult(0, path))
            sealed, key = sealing.seal_request(frame, to=to, relay=relay.address.key)
            answer = await peer.ask(wire.Sealed(next(numbers), sealed))
            assert isinstance(answer, wire.Answer)
            assert isinstance(wire.decode_reply(sealing.open_answer(answer.sealed, key)), kind)
