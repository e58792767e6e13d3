"""Outlines: in a large group a file's preview comes by itself, and the rest once it is wanted."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from amanat import front
from amanat.cli import carrying
from amanat.client import transfers
from amanat.client.rules import roster
from amanat.client.sdk.files import FileView, Progress
from amanat.client.transfers import (
    OUTLINE_MS,
    OUTLINE_PLACES,
    Bits,
    Download,
    Phase,
    Transfers,
    no_bits,
)
from amanat.client.vault import Unlock, Vault, create, open_vault
from amanat.display import Out
from amanat.drill.death import Died
from amanat.drill.network import Weather
from amanat.drill.person import Person
from amanat.drill.world import World
from amanat.errors import FileElsewhere, FileIncomplete, InvalidFile
from amanat.media import Picture
from amanat.protocol import codec, wire
from amanat.protocol.files import FileDrop, Known
from amanat.protocol.messages import File, Kind
from damage import changed_at
from figures import every
from test_file_format import answer, make
from test_files import blobs, content, files, give, saved

LARGE = 2
"""How many people a group may have here that is not large."""
LATE_MS = 10**12
"""The time in which outlines are due here: so long that none is before a test has it be due."""
PREVIEW = b"RIFF....WEBP, a small slope"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster, "LARGE_GROUP", LARGE)
    monkeypatch.setattr(transfers, "OUTLINE_MS", LATE_MS)


def picture(size: int = 300_000) -> Picture:
    """A picture, as far as a client looks into it."""
    return Picture(content(size), "image/jpeg", 2000, 1000, PREVIEW, "image/webp", b"hint")


class Group:
    """Alice, bob and carol in a large group, in which alice says files; what bob reads of these."""

    def __init__(self, world: World, people: list[Person]) -> None:
        self.world = world
        self.alice, self.bob, self.carol = people
        self._read: list[tuple[bytes, int, int]] = []
        world.network.ignores = self._note

    def _note(self, request: wire.Request) -> bool:
        if isinstance(request, wire.Read):
            self._read.append((request.drop_id, request.after + 1, request.limit))
        return False

    def drop(self, message: int = 0) -> bytes:
        """The drop of a file that alice has said."""
        one = files(self.alice, "all")[message]
        shared = self.alice.rules.conversations.sharing.file(one.gid, bytes.fromhex(one.id))
        return FileDrop(shared.file.secret, shared.file.region).drop.drop_id

    def read(self, message: int = 0) -> list[int]:
        """The cells of a file that anybody has asked its relay for, in order, from 0."""
        drop = self.drop(message)
        return [
            first - 1 + more for at, first, many in self._read if at == drop for more in range(many)
        ]

    async def said(self, what: Picture | bytes | None = None) -> FileView:
        """Alice says a file, and everybody has heard of it; bob's view of it."""
        if isinstance(what, bytes):
            await give(self.alice, "all", what)
        else:
            await self.alice.client.chat(self.alice.gid("all")).send_file(what or picture())
        await self.world.settle()
        return self.bobs()

    def bobs(self, message: int = -1) -> FileView:
        """The file of a message, as bob has it."""
        file = files(self.bob, "all")[message].file
        assert file is not None
        return file

    def due_in(self, ms: int) -> None:
        """Have bob's outlines be due in so many milliseconds."""
        with self.bob.client._run.unit() as unit:
            unit.db.execute("UPDATE transfer SET due_at = ?", (unit.now + ms,))

    async def wait(self) -> None:
        """Let bob's outlines come, as far as they do."""
        self.due_in(1_000)
        await self.world.pass_time(20)

    def transfers(self) -> list[Progress]:
        return self.bob.client.files.transfers()


async def large(world: World) -> Group:
    """A large group."""
    people = [await world.person(name) for name in ("alice", "bob", "carol")]
    await world.meet(people[0], *people[1:])
    await world.group("all", *people)
    made = Group(world, people)
    made.carol.client.files.set_auto_bytes(-1)  # one reader, so that each read is his
    return made


@pytest.mark.long
async def test_of_a_file_in_a_large_group_one_cell_comes_within_a_minute_and_the_rest_if_wanted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfers, "OUTLINE_MS", OUTLINE_MS)
    group = await large(world)
    await group.said()
    await group.world.pass_time(OUTLINE_MS / 1000 + 1)
    file = group.bobs()
    assert (file.is_here, file.has_outline) == (False, True)
    assert file.preview() == PREVIEW
    assert group.read() == [0]
    assert not group.transfers()
    with pytest.raises(FileIncomplete):
        file.open()
    await group.world.pass_time(300)
    assert group.read() == [0]
    await file.fetch()
    (own,) = files(group.alice, "all")
    assert saved(group.bob, files(group.bob, "all")[0]) == saved(group.alice, own)
    assert sorted(group.read()) == list(range(len(group.read())))  # none of them twice
    assert group.bobs().preview() == PREVIEW
    await group.world.pass_time(5)
    assert len(blobs(group.bob)) == 1
    assert not group.carol.one("SELECT count(*) FROM transfer")


@pytest.mark.long
async def test_what_stands_in_its_outline_is_here_with_it(world: World) -> None:
    group = await large(world)
    data = content(30_000)
    await group.said(data)
    await group.wait()
    assert saved(group.bob, files(group.bob, "all")[0]) == data
    assert group.read() == [0]


@pytest.mark.long
async def test_a_client_that_starts_again_fetches_an_outline_no_later(world: World) -> None:
    group = await large(world)
    await group.said()
    (one,) = group.transfers()
    assert (one.is_outline, one.done, one.phase) == (True, 0, Phase.UNDER_WAY)
    group.due_in(50_000)
    for _ in range(3):
        await group.bob.sleep()
        group.bob.wake()
        await group.world.pass_time(1)
    await group.bob.sleep()
    await group.world.pass_time(100)
    assert not group.bobs().has_outline
    group.bob.wake()
    await group.world.pass_time(2)
    assert group.bobs().has_outline
    assert group.read() == [0]


@pytest.mark.long
async def test_the_reader_dies_at_any_step_and_gets_the_outline_and_the_file(world: World) -> None:
    group = await large(world)
    await group.said()
    group.due_in(0)
    restore = await world.save()
    step, deaths = 0, 0
    while True:
        step += every(2)
        await restore()
        group.alice, group.bob, group.carol = (
            world.people[name] for name in ("alice", "bob", "carol")
        )
        group.bob.die_after(step, is_coarse=True)
        await world.pass_time(3)
        file = group.bobs()
        with contextlib.suppress(Died):
            group.bob.client.files.fetch(file.gid, file.message)
        await world.pass_time(20)
        has_lived = group.bob.fuse.left is not None and group.bob.fuse.left > 0
        group.bob.fuse.left = None
        await group.bobs().fetch()
        await world.settle()
        await world.pass_time(3)
        assert group.bobs().is_here
        assert group.bobs().preview() == PREVIEW
        assert len(blobs(group.bob)) == 1
        if has_lived:
            break
        deaths += 1
    assert deaths > 3


@pytest.mark.long
async def test_nothing_comes_by_itself_that_the_person_does_not_want(world: World) -> None:
    group = await large(world)
    group.bob.client.files.set_auto_bytes(50_000)
    await group.said()  # its outline may be longer
    assert not group.transfers()
    group.bob.client.files.set_auto_bytes(-1)
    await group.said()
    assert not group.transfers()
    group.bob.client.files.set_auto_bytes(65_500)
    await give(group.carol, "all", content(100_000))  # bob has not met her
    await group.world.settle()
    assert not group.transfers()
    group.bob.client.files.set_auto_bytes(10_000_000)
    await group.said()
    assert len(group.transfers()) == 1
    group.bob.client.files.set_auto_bytes(-1)  # before it is due
    await group.wait()
    assert not group.transfers()
    assert [group.read(number) for number in (0, 1, 3)] == [[], [], []]


@pytest.mark.long
@pytest.mark.parametrize("deed", ["blocks", "deletes", "ends"])
async def test_an_outline_does_not_come_once_its_sender_or_message_is_gone(
    world: World, deed: str
) -> None:
    group = await large(world)
    file = await group.said()
    if deed == "blocks":
        group.bob.client.contact("alice").block()
    elif deed == "deletes":
        files(group.bob, "all")[0].delete(for_everyone=False)
    else:  # its relay keeps it no longer
        body = codec.encode(structs.replace(file_of(group.bob, file), until=0))
        with group.bob.client._run.unit() as unit:
            unit.db.execute("UPDATE transfer SET body = ?", (body,))
    await group.wait()
    assert group.read() == []
    assert not group.transfers()
    assert not blobs(group.bob)


def file_of(one: Person, file: FileView) -> File:
    """A file as its announcement has it."""
    return one.rules.conversations.sharing.file(file.gid, bytes.fromhex(file.message)).file


async def said_as(group: Group, **lies: object) -> None:
    """Alice says her last file once more, with other fields."""
    (*_, own) = files(group.alice, "all")
    assert own.file is not None
    with group.alice.client._run.unit() as unit:
        body = codec.encode(structs.replace(file_of(group.alice, own.file), **lies))
        group.alice.rules.conversations.saying.do(unit, own.gid, Kind.FILE, body)
    await group.world.settle()


@pytest.mark.long
async def test_no_outline_makes_a_client_connect_to_a_relay_that_is_not_its_senders(
    world: World,
) -> None:
    group = await large(world)
    lure = group.world.add_relay("IR")
    lure.shelves = group.world.relay.shelves
    await group.said()
    await said_as(group, relay=lure.address.key)
    await group.wait()
    assert [one.file.has_outline for one in files(group.bob, "all") if one.file] == [True, False]
    assert lure.address not in {relay for _, relay in group.world.network.seen}
    with pytest.raises(FileElsewhere):
        await group.bobs().fetch()


@pytest.mark.long
async def test_a_file_that_had_ended_when_it_was_said_has_no_outline_fetched(world: World) -> None:
    group = await large(world)
    await group.said()
    today = group.world.now() // 86_400_000
    await said_as(group, until=today - 1)
    await said_as(group, until=today)
    assert [one.message for one in group.transfers()] == [
        files(group.bob, "all")[number].id for number in (0, 2)
    ]


@pytest.mark.long
async def test_an_outline_that_lies_is_told_by_name_as_a_whole_file_is(world: World) -> None:
    group = await large(world)
    await group.said()
    shelf = group.world.relay.shelves[group.drop()]
    honest = shelf.cells[0]
    shelf.cells[0] = changed_at(honest)
    await said_as(group, outline=bytes(32))
    await said_as(group, size=300_001)
    await group.wait()
    found = group.transfers()
    assert [(one.phase, one.error, one.is_outline) for one in found] == [
        (Phase.FAILED, InvalidFile.code, True)
    ] * 3
    shelf.cells[0] = honest
    for number in (1, 2):
        with pytest.raises(InvalidFile):
            await group.bobs(number).fetch()
    await group.bobs(0).fetch()
    assert group.bobs(0).is_here


@pytest.mark.long
async def test_an_outline_that_is_not_there_is_given_up_and_a_press_fetches_the_file(
    world: World,
) -> None:
    group = await large(world)
    await group.said()
    shelf = group.world.relay.shelves[group.drop()]
    kept, shelf.cells[:] = list(shelf.cells), shelf.cells[1:]
    await group.wait()
    assert len(group.read()) <= OUTLINE_PLACES
    assert not group.transfers()
    assert not group.bobs().has_outline
    shelf.cells[:] = kept
    await group.bobs().fetch()
    assert group.bobs().is_here


@pytest.mark.long
async def test_an_outline_waits_while_its_relay_is_away(world: World) -> None:
    group = await large(world)
    await group.said()
    group.world.network.away.add(group.world.relay.address)
    group.world.network.cut(group.world.relay.address)
    await group.wait()
    assert len(group.transfers()) == 1
    group.world.network.away.clear()
    await group.world.pass_time(120)
    assert group.bobs().has_outline


@pytest.mark.long
@pytest.mark.parametrize("how", ["fetch", "resume", "pause"])
async def test_a_file_that_is_wanted_before_its_outline_is_due_comes_at_once(
    world: World, how: str
) -> None:
    group = await large(world)
    file = await group.said()
    (one,) = group.transfers()
    if how == "pause":
        group.bob.client.files.pause(one.id)
        await group.wait()
        assert group.read() == []
    if how == "resume":
        group.bob.client.files.resume(one.id)
        await group.bob.client.files.ended(one.id)
    else:
        await file.fetch()
    assert group.bobs().is_here
    assert len(group.read()) == len(set(group.read()))


@pytest.mark.long
async def test_a_file_that_is_wanted_while_its_outline_comes_is_not_fetched_twice(
    world: World,
) -> None:
    group = await large(world)
    file = await group.said()
    group.world.network.weather = Weather(delay_s=0.5)
    group.due_in(1_000)
    while not group.read():
        await group.world.pass_time(0.1)
    assert await file.read(299_990, 10)
    await file.fetch()
    assert group.read().count(0) == 1


@pytest.mark.long
async def test_a_long_file_gives_way_to_an_outline_and_goes_on(world: World) -> None:
    group = await large(world)
    data = content(20_000_000)
    await give(group.alice, "bob", data)
    await group.said()
    (outline,) = group.transfers()
    group.due_in(2_000)
    group.world.network.weather = Weather(delay_s=0.5)
    (long,) = files(group.bob, "alice")
    assert long.file is not None
    number = group.bob.client.files.fetch(long.gid, long.id)
    assert number is not None
    while group.bob.client.files.transfer(outline.id) is not None:
        await group.world.pass_time(0.2)
    assert group.bobs().has_outline
    assert group.bob.client.files.transfer(number) is not None  # it is still on its way
    await long.file.fetch()
    assert saved(group.bob, files(group.bob, "alice")[0]) == data


@pytest.mark.long
async def test_outlines_go_with_their_messages_and_when_there_is_no_room(world: World) -> None:
    group = await large(world)
    for _ in range(4):
        await group.said()
        await group.wait()
    assert len(blobs(group.bob)) == 4
    files(group.alice, "all")[3].delete(for_everyone=True)
    await group.world.settle()
    await group.world.pass_time(5)
    assert len(blobs(group.bob)) == 3
    group.bob.client.files.set_room_bytes(2 * 65_500)
    await group.world.pass_time(5)
    assert len(blobs(group.bob)) == 2
    assert [one.file.has_outline for one in files(group.bob, "all") if one.file] == [
        *(False, True, True)
    ]


@pytest.mark.long
async def test_a_file_whose_outline_a_disk_has_lost_is_fetched_whole(world: World) -> None:
    group = await large(world)
    await group.said()
    await group.wait()
    (path,) = blobs(group.bob)
    path.write_bytes(bytes(100))
    await group.bobs().fetch()
    assert group.bobs().is_here
    assert group.read().count(0) == 2


@pytest.mark.long
async def test_who_asks_for_a_file_again_before_its_outline_is_due_gets_all_of_it(
    world: World,
) -> None:
    group = await large(world)
    file = await group.said()
    group.world.relay.shelves.pop(group.drop())
    file.ask_again()
    await group.world.settle()
    await group.world.pass_time(5)
    assert group.bobs().is_here


@pytest.mark.long
async def test_an_outline_comes_from_where_a_file_is_put_up_again(world: World) -> None:
    group = await large(world)
    await group.said()
    carols = files(group.carol, "all")[0].file
    assert carols is not None
    carols.ask_again()
    await group.world.settle()
    await group.wait()
    assert group.bobs().preview() == PREVIEW
    assert not group.bobs().is_here


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    unlock = Unlock(key=bytes(32))
    create(tmp_path / "profile", unlock, lambda unit, _: unit.put("kept", b""), now=0)
    found = open_vault(tmp_path / "profile", unlock)
    yield found
    found.close()


def test_an_outline_is_due_at_any_time_in_a_minute_and_never_later(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfers, "OUTLINE_MS", OUTLINE_MS)
    ours = Transfers(vault)
    file, rng = make(bytes(100_000)).file, random.Random(1)
    seen = set()
    for number in range(300):
        now = rng.randrange(2**45)
        with vault.unit(now=now) as unit:
            one = ours.begin_outline(
                unit, b"g", file, number.to_bytes(16, "big"), message=number.to_bytes(16, "big")
            )
        found = ours.get(one)
        assert found is not None
        assert 0 <= found.due_at - now < OUTLINE_MS
        seen.add((found.due_at - now) * 10 // OUTLINE_MS)
        later = now + rng.randrange(-(2**40), 2**40)
        with vault.unit(now=later) as unit:
            ours.begin_clock(unit)
        again = ours.get(one)
        assert again is not None
        assert again.due_at == min(found.due_at, later + OUTLINE_MS)
    assert seen == set(range(10))


@given(
    st.sampled_from([1, 60_001, 500_000]),
    st.integers(0, 2**32),
    st.lists(st.integers(0, 11), max_size=14),
    st.sampled_from(["", "junk", "lies"]),
)
def test_however_a_relay_answers_no_more_than_the_outline_is_taken(
    size: int, seed: int, order: list[int], fault: str
) -> None:
    made = make(random.Random(size).randbytes(size), preview=b"p" * 100)
    rng = random.Random(seed)
    cells = [made.cells[number] for number in order if number < len(made.cells)]
    if fault == "junk":
        cells = [one if rng.random() < 0.5 else rng.randbytes(len(one)) for one in cells]
    if fault == "lies":
        cells = [one if rng.random() < 0.5 else changed_at(one) for one in cells]
    done = Bits(no_bits(made.file.cells))
    download = Download(made.file, done, Known(made.file), is_outline=True)
    found: list[tuple[int, bytes]] = []
    asked_for = 0
    try:
        while (asked := download.next(rng.randrange(2**22))) is not None:
            assert asked.read.limit == 1
            asked_for += 1
            download.took(asked, answer(asked, cells), found.extend)
    except (FileIncomplete, InvalidFile):
        assert made.cells[0] not in cells[:1]
    else:
        assert download.is_over
        assert found == [(0, made.payloads[0])]
        assert download.is_whole == (size == 1)
    assert asked_for <= OUTLINE_PLACES


async def shown() -> front.Shown:
    """Nothing was lost."""
    return front.Shown(results=True, notes=True)


def test_commands_say_what_is_here_of_a_file() -> None:
    one = Progress(7, b"", "", False, "file", "a", 100_000, 0, Phase.UNDER_WAY, "", 0, True)
    assert carrying.line(one) == "\u2068a\u2069: its preview from the relay, within a minute"
    failed = one._replace(phase=Phase.FAILED, error=InvalidFile.code)
    assert "failed" in carrying.line(failed)
    assert one.as_json()["outline"] is True
    drawn: list[front.Bar] = []
    out = Out(is_json=False, say=lambda _where, _text: None, draw=drawn.append, shown=shown)
    carrying.show(one, out)  # nobody waits for it
    assert not drawn
    carrying.show(one._replace(is_outline=False), out)
    assert [bar.number for bar in drawn] == [7]
