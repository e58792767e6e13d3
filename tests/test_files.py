"""Files: said once a relay has them, fetched, checked, and gone with their messages."""

from __future__ import annotations

import contextlib
import errno
import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from amanat.client.blobs import DIRECTORY, FRAME_BYTES, KEY_BYTES, SYNC_FRAMES, Blob
from amanat.client.pace import LEAST_BYTES, Pace
from amanat.client.rules import roster, sharing
from amanat.client.sdk.files import safe_name
from amanat.client.sdk.views import Message
from amanat.client.shell import carrier
from amanat.client.transfers import Phase
from amanat.client.vault import naming_faults
from amanat.client.wiping import wipe
from amanat.drill.death import Died
from amanat.drill.network import STORM, Weather
from amanat.drill.person import Person
from amanat.drill.world import World
from amanat.errors import (
    BadArgument,
    BlobDamaged,
    Blocked,
    DropFull,
    FileCovered,
    FileElsewhere,
    FileGone,
    FileIncomplete,
    InvalidFile,
    InvalidMessage,
    NotAMember,
    RelayBusy,
    Unavailable,
)
from amanat.protocol import codec, wire
from amanat.protocol.cells import LARGE_CELL, MESSAGE_CELL
from amanat.protocol.messages import Kind
from damage import changed_at
from figures import every

pytestmark = pytest.mark.long


def content(size: int) -> bytes:
    """Bytes that are nowhere alike."""
    return os.urandom(size)


@pytest.fixture(autouse=True)
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is fetched by itself, unless a test wants it."""
    monkeypatch.setattr(sharing, "AUTO_BYTES", -1)


async def give(
    one: Person, where: str, data: bytes, *, text: str = "", name: str = "a file.bin"
) -> int:
    """Send a file; returns the id of its transfer."""
    chat = one.client.chat(one.gid(where))
    return await chat.send_file(io.BytesIO(data), name=name, text=text)


def files(one: Person, where: str) -> list[Message]:
    return [message for message in one.messages(where) if message.file is not None]


@pytest.mark.parametrize("size", [0, 1, 60_000, 60_001, 65_500, 65_501, 400_000])
async def test_a_file_of_any_size_arrives_as_it_was(
    world: World, tmp_path: Path, size: int
) -> None:
    alice, bob = await world.friends("alice", "bob")
    data = content(size)
    await give(alice, "bob", data, text="look")
    await world.settle()
    await world.pass_time(5)
    (message,) = files(bob, "alice")
    assert message.file is not None
    assert (message.text, message.file.size, message.file.is_here) == ("look", size, False)
    path = await message.file.save(tmp_path)
    assert path.name == "a file.bin"
    assert path.read_bytes() == data
    assert not bob.warnings()


async def sent(world: World, size: int = 200_000) -> tuple[Person, Person, bytes]:
    """Alice has sent bob a file, and both are online."""
    alice, bob = await world.friends("alice", "bob")
    data = content(size)
    await give(alice, "bob", data)
    await world.settle()
    return alice, bob, data


def saved(one: Person, message: Message) -> bytes:
    """The content of a file that is here."""
    assert message.file is not None
    with message.file.open() as opened:
        return b"".join(opened.chunks())


def blobs(one: Person) -> list[Path]:
    """The files of blobs on somebody's disk."""
    return [path for path in (one.directory / DIRECTORY).glob("*/*") if path.is_file()]


async def test_a_file_is_said_once_the_relay_has_its_last_cell(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    shelves = world.relay.shelves

    def is_said() -> bool:
        return bool(files(alice, "bob"))

    original = world.relay._append

    def append(request: wire.Append, who: str) -> tuple[int, bytes]:
        if len(request.cell) == LARGE_CELL:
            assert not is_said()
        return original(request, who)

    world.relay._append = append  # type: ignore[method-assign]  # a relay that looks on
    number = await give(alice, "bob", content(500_000))
    progress = alice.client.files.transfer(number)
    assert progress is not None
    assert not is_said()
    await world.settle()
    (message,) = files(bob, "alice")
    assert message.file is not None
    drops = [shelf for shelf in shelves.values() if len(shelf.cells) == 12]
    assert len(drops) == 1
    assert drops[0].retention_days == 30
    assert {len(cell) for cell in drops[0].cells} == {LARGE_CELL}
    assert message.file.until == world.now() // 86_400_000 + 30


async def test_a_file_is_refused_where_nothing_can_be_said(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    alice.client.contact("bob").block()
    with pytest.raises(Blocked):
        await give(alice, "bob", b"x")
    alice.client.contact("bob").unblock()
    bob.client.chat("alice").leave()
    await world.settle()
    with pytest.raises(NotAMember):
        await give(alice, "bob", b"x")
    assert not blobs(alice)


async def test_notes_keep_files_and_no_relay_gets_them(world: World) -> None:
    alice = await world.person("alice")
    notes = alice.client.notes()
    appends, data = world.network.appends, content(100_000)
    assert await notes.send_file(io.BytesIO(data), name="a") == 0
    await world.settle()
    (message,) = notes.messages()
    assert message.file is not None
    assert message.file.until == 0
    assert saved(alice, message) == data
    assert world.network.appends == appends


async def test_the_sender_dies_at_any_step_and_the_file_is_said_once(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    data = content(300_000)
    restore = await world.save()
    step, deaths = 0, 0
    while True:
        step += 9 * every(3)
        await restore()
        alice.die_after(step)
        try:
            await give(alice, "bob", data)
            begun = True
        except Died:
            begun = False
        await world.pass_time(60)
        has_lived = alice.fuse.left is not None and not alice.fuse.is_burnt and alice.fuse.left > 0
        alice.fuse.left = None
        await world.settle()
        found = files(bob, "alice")
        if begun and not found:  # the unit that began it may have died with the process
            assert not alice.client.files.transfers()
        assert len(found) == len(files(alice, "bob")) <= 1
        for message in found:
            assert message.file is not None
            await message.file.fetch()
        assert [saved(bob, one) for one in files(bob, "alice")] in ([], [data])
        assert len(blobs(alice)) == len(found)
        if has_lived:
            break
        deaths += 1
    assert deaths > 3


async def test_the_reader_dies_at_any_step_and_gets_the_file(world: World) -> None:
    alice, bob, data = await sent(world, 700_000)
    restore = await world.save()
    step, deaths = 0, 0
    while True:
        step += 3 * every(3)
        await restore()
        bob.die_after(step)
        with contextlib.suppress(Died):
            (message,) = files(bob, "alice")
            bob.client.files.fetch(message.gid, message.id)
        await world.pass_time(20)
        has_lived = alice.fuse.left is None and bob.fuse.left is not None and bob.fuse.left > 0
        bob.fuse.left = None
        (message,) = files(bob, "alice")
        assert message.file is not None
        await message.file.fetch()
        (message,) = files(bob, "alice")
        assert saved(bob, message) == data
        assert len(blobs(bob)) == 1
        await world.settle()
        if has_lived:
            break
        deaths += 1
    assert deaths > 3


async def test_a_relay_that_forgets_everything_gets_the_file_anew(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    data = content(2_000_000)
    known = set(world.relay.shelves)
    await give(alice, "bob", data)
    while not any(len(s.cells) > 4 for k, s in world.relay.shelves.items() if k not in known):
        await world.pass_time(0.001)
    for drop_id in set(world.relay.shelves) - known:
        del world.relay.shelves[drop_id]
    await world.settle()
    (message,) = files(bob, "alice")
    assert message.file is not None
    await message.file.fetch()
    assert saved(bob, files(bob, "alice")[0]) == data


async def test_a_busy_relay_delays_a_file_and_loses_nothing(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    data = content(1_000_000)
    world.relay.refuses = RelayBusy(retry_after=3.0)
    await give(alice, "bob", data)
    await world.pass_time(30)
    assert not files(alice, "bob")
    world.relay.refuses = None
    await world.settle()
    (message,) = files(bob, "alice")
    assert message.file is not None
    await message.file.fetch()
    assert saved(bob, files(bob, "alice")[0]) == data
    assert not alice.warnings() + bob.warnings()


async def test_a_file_goes_on_at_the_pace_of_the_last_one_for_a_minute_on_one_connection(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Pace] = []

    class Seen(Pace):
        def __init__(self, most: int) -> None:
            super().__init__(most)
            made.append(self)

    monkeypatch.setattr(carrier, "Pace", Seen)
    alice, _ = await world.friends("alice", "bob")

    async def paces() -> int:
        """How many there were once another file has gone."""
        await give(alice, "bob", content(300_000))
        await world.settle()
        return len(made)

    assert await paces() == 1
    assert made[0].window > LEAST_BYTES
    assert await paces() == 1
    await world.pass_time(carrier.PACE_S + 1)
    assert await paces() == 2
    world.network.cut(world.relay.address)
    world.network.away.clear()
    assert await paces() == 3


async def test_a_relay_without_room_for_it_ends_a_file_by_name(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    world.relay.refuses = DropFull()
    number = await give(alice, "bob", content(100_000))
    await world.pass_time(5)
    with pytest.raises(DropFull):
        await alice.client.files.ended(number)
    world.relay.refuses = None
    alice.client.files.resume(number)
    await world.settle()
    assert len(files(bob, "alice")) == 1


async def test_a_file_arrives_through_any_weather(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    world.network.weather = STORM
    data = content(1_500_000)
    await give(alice, "bob", data)
    await world.settle()
    (message,) = files(bob, "alice")
    assert message.file is not None
    for _ in range(50):
        with contextlib.suppress(Unavailable):
            await message.file.fetch()
            break
    assert saved(bob, files(bob, "alice")[0]) == data


async def test_cells_that_are_not_there_are_asked_for_again_later(world: World) -> None:
    _alice, bob, data = await sent(world, 500_000)
    shelf = next(shelf for shelf in world.relay.shelves.values() if len(shelf.cells) == 12)
    kept = list(shelf.cells)
    del shelf.cells[3]
    (message,) = files(bob, "alice")
    assert message.file is not None
    with pytest.raises(FileIncomplete):
        await message.file.fetch()
    shelf.cells[:] = kept
    await world.pass_time(200)
    assert saved(bob, files(bob, "alice")[0]) == data


async def test_a_relay_that_changes_a_cell_is_told_by_name(world: World) -> None:
    _alice, bob, data = await sent(world, 500_000)
    shelf = next(shelf for shelf in world.relay.shelves.values() if len(shelf.cells) == 12)
    kept = shelf.cells[5]
    shelf.cells[5] = changed_at(kept)
    (message,) = files(bob, "alice")
    assert message.file is not None
    with pytest.raises(InvalidFile):
        await message.file.fetch()
    (one,) = bob.client.files.transfers()
    assert (one.phase, one.error) == (Phase.FAILED, "invalid-file")
    shelf.cells[5] = kept
    await message.file.fetch()  # once more, because the person wants it
    assert saved(bob, files(bob, "alice")[0]) == data


async def test_a_file_that_has_ended_is_put_up_again_by_its_author(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _alice, bob, data = await sent(world, 200_000)
    drops = [key for key, shelf in world.relay.shelves.items() if len(shelf.cells) == 6]
    for drop_id in drops:
        del world.relay.shelves[drop_id]
    with monkeypatch.context() as rarely:
        rarely.setattr(world, "tick_s", 900.0)
        rarely.setattr(roster, "LOOK_EVERY_MS", 86_400_000)
        await world.pass_time(31 * 86_400)
    (message,) = files(bob, "alice")
    assert message.file is not None
    with pytest.raises(FileGone):
        await message.file.fetch()
    for one in bob.client.files.transfers():
        bob.client.files.cancel(one.id)
    message.file.ask_again()
    await world.settle()
    (message,) = files(bob, "alice")
    assert message.file is not None
    assert saved(bob, message) == data  # fetched as soon as it was there
    for _ in range(5):
        message.file.ask_again()
    await world.settle()
    assert len([one for one in world.relay.shelves.values() if len(one.cells) == 6]) == 1


async def test_a_deleted_file_leaves_nothing_at_anybody(world: World) -> None:
    alice, bob, _ = await sent(world)
    (message,) = files(bob, "alice")
    assert message.file is not None
    await message.file.fetch()
    assert len(blobs(alice)) == len(blobs(bob)) == 1
    (own,) = files(alice, "bob")
    own.delete()
    await world.settle()
    await world.pass_time(3)
    assert not blobs(alice) + blobs(bob)
    for one, other in ((alice, "bob"), (bob, "alice")):
        assert [m.is_deleted for m in one.messages(other)] == [True]
        for table in ("blob", "file", "transfer", "blob_gone"):
            assert one.one(f"SELECT count(*) FROM {table}") == 0  # noqa: S608  # our own names


async def test_a_file_goes_with_its_message_when_its_life_ends_on_the_way_too(
    world: World,
) -> None:
    alice, bob = await world.friends("alice", "bob")
    alice.client.chat("bob").set_timer(60)
    await world.settle()
    await give(alice, "bob", content(900_000))
    await world.settle()
    (message,) = files(bob, "alice")
    bob.client.chat("alice").mark_read()
    bob.client.files.fetch(message.gid, message.id)
    world.network.away.add(world.relay.address)
    await world.pass_time(90)
    world.network.away.clear()
    await world.settle()
    assert not files(bob, "alice") + files(alice, "bob")
    await world.pass_time(3)
    assert not blobs(alice) + blobs(bob)
    assert not bob.client.files.transfers()


async def test_a_file_without_a_row_is_removed_at_start(world: World) -> None:
    alice, _bob, _ = await sent(world)
    (kept,) = blobs(alice)
    stray = kept.with_name("00" * 16)
    stray.write_bytes(b"left by a process that died")
    await alice.sleep()
    alice.wake()
    assert blobs(alice) == [kept]


async def test_a_file_whose_blob_is_damaged_or_lost_is_told_and_fetched_again(
    world: World,
) -> None:
    _alice, bob, data = await sent(world)
    (message,) = files(bob, "alice")
    assert message.file is not None
    await message.file.fetch()
    (path,) = blobs(bob)
    good = path.read_bytes()
    path.write_bytes(changed_at(good))
    with pytest.raises(BlobDamaged):
        saved(bob, message)
    path.unlink()
    with pytest.raises(BlobDamaged):
        saved(bob, message)
    await message.file.fetch()
    assert saved(bob, message) == data


async def test_a_file_is_forwarded_under_a_secret_of_its_own(world: World) -> None:
    alice, bob, carol = await world.friends("alice", "bob", "carol")
    data = content(150_000)
    await give(alice, "bob", data, text="look")
    await world.settle()
    (message,) = files(bob, "alice")
    assert message.file is not None
    chat = bob.client.chat("alice")
    with pytest.raises(FileIncomplete):
        chat.forward_file(message.id, bob.gid("carol"))
    await message.file.fetch()
    chat.forward_file(message.id, bob.gid("carol"))
    await world.settle()
    (other,) = files(carol, "bob")
    assert other.file is not None
    assert (other.text, other.is_forwarded) == ("look", True)
    await other.file.fetch()
    assert saved(carol, files(carol, "bob")[0]) == data
    message.delete(for_everyone=False)  # the blob is still another message's
    await world.settle()
    (own,) = files(bob, "carol")
    assert saved(bob, own) == data


async def test_no_message_makes_a_client_connect_to_a_relay_that_is_not_its_senders(
    world: World,
) -> None:
    alice, bob, _data = await sent(world)
    lure = world.add_relay("IR")
    lure.shelves = world.relay.shelves
    rules = alice.rules.conversations.sharing
    (own,) = files(alice, "bob")
    file = rules.file(own.gid, bytes.fromhex(own.id)).file
    with alice.client._run.unit() as unit:
        body = codec.encode(structs.replace(file, relay=lure.address.key))
        alice.rules.conversations.saying.do(unit, own.gid, Kind.FILE, body)
    await world.settle()
    message = files(bob, "alice")[-1]
    assert message.file is not None
    assert not message.file.is_near
    with pytest.raises(FileElsewhere):
        await message.file.fetch()
    await world.pass_time(300)
    assert lure.address not in {relay for _, relay in world.network.seen}
    with bob.client._run.unit() as unit:
        bob.rules.places.learn(unit, lure.address)
    await message.file.fetch(relay=lure.address.key)
    assert lure.address in {relay for _, relay in world.network.seen}


async def test_short_files_of_contacts_are_fetched_by_themselves(world: World) -> None:
    alice, bob, carol = [await world.person(name) for name in ("alice", "bob", "carol")]
    await world.meet(alice, bob, carol)
    await world.group("all", alice, bob, carol)
    bob.client.files.set_auto_bytes(100_000)
    await give(alice, "bob", content(100_000))
    await give(alice, "bob", content(100_001))
    await give(alice, "all", content(10))
    await world.settle()
    await give(carol, "all", content(10))  # bob has not met her
    await world.settle()
    await world.pass_time(5)
    for where, here in (("alice", [True, False]), ("all", [True, False])):
        assert [one.file.is_here for one in files(bob, where) if one.file] == here
    bob.client.contact("alice").block()
    with pytest.raises(BadArgument):
        bob.client.files.set_auto_bytes(-2)


async def test_fetched_files_take_no_more_room_than_the_person_gives_them(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    bob.client.files.set_auto_bytes(1_000_000)
    bob.client.files.set_room_bytes(250_000)
    for _ in range(3):
        await give(alice, "bob", content(100_000))
        await world.settle()
        await world.pass_time(5)
    await world.settle()
    assert [one.file.is_here for one in files(bob, "alice") if one.file] == [False, True, True]
    first, second, third = files(bob, "alice")
    saved(bob, second)
    await world.pass_time(5)
    assert third.file is not None
    assert first.file is not None
    await first.file.fetch()
    assert [one.file.is_here for one in files(bob, "alice") if one.file] == [True, True, False]
    await world.pass_time(3)
    assert len(blobs(bob)) == 2
    assert len(blobs(alice)) == 3  # one's own stay


async def test_a_transfer_is_paused_resumed_and_cancelled(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    first = await give(alice, "bob", content(3_000_000))
    alice.client.files.pause(first)
    await world.pass_time(20)
    (one,) = alice.client.files.transfers()
    assert one.phase is Phase.PAUSED
    assert one.done < one.size
    second = await give(alice, "bob", content(100_000), name="other")
    await world.settle()
    assert [m.file.name for m in files(bob, "alice") if m.file] == ["other"]
    assert alice.client.files.transfer(second) is None
    alice.client.files.resume(first)
    await world.settle()
    assert len(files(bob, "alice")) == 2
    third = await give(alice, "bob", content(3_000_000))
    alice.client.files.cancel(third)
    await world.settle()
    await world.pass_time(3)
    assert len(files(bob, "alice")) == len(blobs(alice)) == 2


async def test_a_transfer_that_is_paused_on_its_way_sends_no_more(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    landed, original = 0, world.relay._append

    def append(request: wire.Append, who: str) -> tuple[int, bytes]:
        nonlocal landed
        landed += len(request.cell) == LARGE_CELL
        if landed == 20:
            (one,) = alice.client.files.transfers()
            alice.client.files.pause(one.id)
        return original(request, who)

    world.relay._append = append  # type: ignore[method-assign]  # a relay that looks on
    number = await give(alice, "bob", content(12_000_000))
    await world.settle()
    assert 20 <= landed < 20 + carrier.MOST_BYTES // LARGE_CELL  # of 192
    assert not files(bob, "alice")
    alice.client.files.resume(number)
    await world.settle()
    assert len(files(bob, "alice")) == 1


async def test_covered_refuses_files_by_name(world: World) -> None:
    first, second = world.two_operators()
    alice = await world.person("alice", relay=first, fallback=second)
    bob = await world.person("bob")
    await world.meet(alice, bob)
    await alice.client.hopping.set_cover(60)
    with pytest.raises(FileCovered):
        await give(alice, "bob", b"x")
    assert not blobs(alice)


async def test_hopped_a_file_goes_through_the_hop_and_never_around_it(world: World) -> None:
    first, second = world.two_operators()
    alice = await world.person("alice", relay=first, fallback=second)
    bob = await world.person("bob", relay=first, fallback=second)
    await world.meet(alice, bob)
    assert alice.client.status().transport == "hopped"
    world.network.seen.clear()
    data = content(1_000_000)
    await give(alice, "bob", data)
    await world.settle()
    (message,) = files(bob, "alice")
    assert message.file is not None
    await message.file.fetch()
    assert saved(bob, files(bob, "alice")[0]) == data
    assert not world.network.seen


async def test_a_full_disk_stops_the_file_and_nothing_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob, data = await sent(world, 2_000_000)
    (message,) = files(bob, "alice")
    assert message.file is not None
    write = Blob.write

    def full(self: Blob, first: int, *payloads: bytes) -> None:
        if first + len(payloads) > 10:
            raise OSError(errno.ENOSPC, "no room")
        write(self, first, *payloads)

    def named(self: Blob, first: int, *payloads: bytes) -> None:
        with naming_faults(bob.directory):
            full(self, first, *payloads)

    monkeypatch.setattr(Blob, "write", named)
    bob.client.files.fetch(message.gid, message.id)
    await world.pass_time(5)
    alice.say("bob", "are you there?")
    await world.pass_time(5)
    assert "are you there?" in bob.texts("alice")
    assert bob.client.failure is None
    monkeypatch.undo()
    await world.pass_time(100)
    assert saved(bob, files(bob, "alice")[0]) == data


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("../../etc/passwd", "passwd"),
        ("..", ""),
        (".bashrc", "bashrc"),
        ("a\u202egnp.exe", "agnp.exe"),
        ("line\nbreak\x00.txt", "linebreak.txt"),
        ("C:\\temp\\x.doc", "x.doc"),
        ("می\u200cروم.txt", "می\u200cروم.txt"),
        ("x" * 200 + ".jpeg", "x" * 95 + ".jpeg"),
        ("a" * 300, "a" * 100),
        ('<>:"|?*', ""),
    ],
)
def test_a_name_is_made_safe(name: str, safe: str) -> None:
    assert safe_name(name) == safe


async def test_the_announcement_of_a_file_is_a_cell_like_that_of_a_text(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    before = len(world.relay.shelves[bob.bucket].cells)
    await give(alice, "bob", content(70_000), name="م" * 40, text="س" * 150)
    await world.settle()
    cells = world.relay.shelves[bob.bucket].cells[before:]
    assert {len(cell) for cell in cells} == {MESSAGE_CELL}
    assert files(bob, "alice")[0].text == "س" * 150


@pytest.mark.parametrize(
    "lie",
    [
        {"outline": bytes(32)},
        {"size": 199_999},
        {"size": 1_000, "cells": 1},
        {"cells": 4},
        {"secret": bytes(32)},
    ],
    ids=["another outline", "another size", "a short file", "too few cells", "another secret"],
)
async def test_a_member_who_lies_about_a_file_is_told_by_name_and_harms_nothing(
    world: World, lie: dict[str, bytes | int]
) -> None:
    alice, bob, data = await sent(world, 200_000)
    (own,) = files(alice, "bob")
    rules = alice.rules.conversations
    file = rules.sharing.file(own.gid, bytes.fromhex(own.id)).file
    with alice.client._run.unit() as unit:
        body = codec.encode(structs.replace(file, **lie))
        with contextlib.suppress(InvalidMessage):  # her own program does not show it
            rules.saying.do(unit, own.gid, Kind.FILE, body)
    await world.settle()
    found = files(bob, "alice")
    if "cells" in lie and lie["cells"] == 4:
        assert bob.warnings() == ["invalid-message"] or len(found) == 1
    for message in found[1:]:
        assert message.file is not None
        with pytest.raises((InvalidFile, FileIncomplete)):
            await message.file.fetch()
    assert found[0].file is not None
    await found[0].file.fetch()
    assert saved(bob, files(bob, "alice")[0]) == data
    alice.say("bob", "still here")
    await world.settle()
    assert "still here" in bob.texts("alice")


async def test_a_wiped_profile_leaves_no_file(world: World) -> None:
    alice = await world.person("alice")
    await alice.client.notes().send_file(io.BytesIO(content(100_000)), name="a")
    assert blobs(alice)
    await alice.client.close()
    assert wipe(alice.directory)
    assert not alice.directory.exists()
    del world.people["alice"]


async def test_any_part_of_a_file_is_read_while_it_comes(world: World) -> None:
    _alice, bob, data = await sent(world, 6_000_000)
    world.network.weather = Weather(delay_s=0.2)
    (message,) = files(bob, "alice")
    assert message.file is not None
    for at in (5_999_990, 3_000_000, 0):
        piece = await message.file.read(at, 10)
        assert piece == data[at : at + 10]
        assert bob.client.files.transfers()  # not all of it has come
    assert await message.file.read(6_000_000, 10) == b""
    await message.file.fetch()
    assert await message.file.read(70_000, 10) == data[70_000:70_010]
    assert saved(bob, files(bob, "alice")[0]) == data


@pytest.mark.parametrize("number", [0, 31])
async def test_a_part_that_a_disk_has_lost_is_fetched_again(world: World, number: int) -> None:
    _alice, bob, data = await sent(world, 3_000_000)
    (message,) = files(bob, "alice")
    assert message.file is not None
    world.network.weather = Weather(delay_s=0.2)
    await message.file.read(2_000_000, 1)
    (one,) = bob.client.files.transfers()
    bob.client.files.pause(one.id)
    await world.pass_time(5)
    await bob.sleep()
    (path,) = blobs(bob)
    whole = bytearray(path.read_bytes())
    whole[number * FRAME_BYTES + 5] ^= 1
    path.write_bytes(bytes(whole))
    bob.wake()
    bob.is_awake = True
    assert bob.client.files.transfer(one.id) is not None  # not all of it had come
    await message.file._replace(files=bob.client.files).fetch()
    assert saved(bob, files(bob, "alice")[0]) == data


async def test_what_has_come_of_a_file_is_looked_at_once_in_a_process(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carrier, "PACE_S", -1.0)  # so that it does not end before it is broken off
    _alice, bob, data = await sent(world, 3_000_000)
    (message,) = files(bob, "alice")
    assert message.file is not None
    world.network.weather = Weather(delay_s=0.2)
    await message.file.read(2_000_000, 1)
    (one,) = bob.client.files.transfers()
    seen: list[int] = []
    read = Blob.read

    def reading(blob: Blob, number: int) -> bytes:
        seen.append(number)
        return read(blob, number)

    monkeypatch.setattr(Blob, "read", reading)

    async def break_off() -> set[int]:
        """Break the fetch off and go on with it; the cells that were read, each once."""
        bob.client.files.pause(one.id)
        await world.pass_time(5)
        seen.clear()
        bob.client.files.resume(one.id)
        await world.pass_time(0.1)
        assert len(seen) == len(set(seen))
        return set(seen)

    for _ in range(3):
        assert await break_off() == {0}
    bob.client.files.pause(one.id)
    await world.pass_time(5)
    await bob.sleep()
    bob.wake()
    bob.is_awake = True
    assert len(await break_off()) > 5  # another process does not know what the disk has kept
    assert await break_off() == {0}
    await message.file._replace(files=bob.client.files).fetch()
    assert saved(bob, files(bob, "alice")[0]) == data


@given(st.lists(st.lists(st.binary(max_size=100), min_size=1, max_size=20), max_size=10))
def test_frames_that_are_written_together_are_read_one_by_one(
    tmp_path_factory: pytest.TempPathFactory, runs: list[list[bytes]]
) -> None:
    place = tmp_path_factory.mktemp("blob")
    with Blob(os.open(place / "one", os.O_RDWR | os.O_CREAT), bytes(KEY_BYTES), place) as blob:
        for number, payloads in enumerate(runs):
            blob.write(sum(map(len, runs[:number])), *payloads)
        blob.sync()
        written = [payload for payloads in runs for payload in payloads]
        assert [blob.read(number) for number in range(blob.frames())] == written


def test_a_disk_that_fails_while_more_is_written_is_noticed(tmp_path: Path) -> None:
    # This device takes what is written, and cannot say that it has kept it.
    def write() -> None:
        for number in range(100 * SYNC_FRAMES):
            blob.write(number, b"")

    with (
        Blob(os.open("/dev/null", os.O_RDWR), bytes(KEY_BYTES), tmp_path) as blob,
        pytest.raises(OSError, match="Invalid argument"),
    ):
        write()
