"""Delivery by a relay that reorders, repeats, forgets and lies, and by members who send junk."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from amanat.client.rules import roster
from amanat.drill.person import Person
from amanat.drill.shelves import Shelf
from amanat.drill.world import World
from amanat.errors import BadArgument
from amanat.protocol import codec
from amanat.protocol.cells import (
    CELL_SIZES,
    LABEL_BYTES,
    MAX_PAYLOAD,
    MESSAGE_CELL,
)
from amanat.protocol.identity import leave_text
from amanat.protocol.kinds import KINDS, Scope
from amanat.protocol.labels import WINDOW
from amanat.protocol.messages import (
    MESSAGE_FRAGMENT,
    KeyPackages,
    Kind,
    Leave,
    Policy,
    piece_hash,
)


def bucket(world: World, person: Person) -> tuple[bytes, Shelf]:
    """The bucket a person reads."""
    drop_id = person.rules.me.home.bucket.drop_id
    return drop_id, world.relay.shelves[drop_id]


async def written_while_away(world: World, count: int) -> tuple[Person, Person, list[bytes]]:
    """Two people, and the cells that one wrote while the other was away."""
    alice, bob = await world.friends("alice", "bob")
    await bob.sleep()
    _, shelf = bucket(world, bob)
    before = len(shelf.cells)
    for number in range(count):
        alice.say("bob", f"text {number}")
        await world.pass_time(0.05)  # so that the cells rest in order
    await world.settle()
    return alice, bob, shelf.cells[before:]


def present(world: World, bob: Person, cells: list[bytes], *, instead_of: int) -> None:
    """Have the relay show these cells instead of the last ones of a bucket."""
    drop_id, shelf = bucket(world, bob)
    world.relay.forge(drop_id, shelf.cells[: len(shelf.cells) - instead_of] + cells)


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(60, id="few"),
        pytest.param(WINDOW, id="many"),
    ],
)
@pytest.mark.long
async def test_cells_in_any_order_within_the_window_arrive_in_the_senders_order(
    world: World, count: int
) -> None:
    _, bob, cells = await written_while_away(world, count)
    shuffled = world.rng.sample(cells, len(cells))
    present(world, bob, shuffled, instead_of=len(cells))
    bob.wake()
    await world.settle()
    assert bob.texts("alice") == [f"text {number}" for number in range(count)]


@pytest.mark.long
async def test_windows_live_on_in_the_vault(world: World) -> None:
    _, bob, cells = await written_while_away(world, 60)
    for part in (cells[1::3], cells[2::3], cells[::3]):
        drop_id, _ = bucket(world, bob)
        read = bob.rules.cursors.read_from(drop_id)
        world.relay.forge(drop_id, world.relay.shelves[drop_id].cells[:read] + part)
        bob.wake()
        await world.settle()
        await bob.sleep()
    assert bob.texts("alice") == [f"text {number}" for number in range(60)]


@pytest.mark.long
async def test_as_many_as_the_window_may_be_lost_in_a_row(world: World) -> None:
    alice, bob, cells = await written_while_away(world, WINDOW + 1)
    kept = cells[WINDOW - 1 :]
    present(world, bob, kept, instead_of=len(cells))
    bob.wake()
    await world.settle()
    assert bob.texts("alice") == [f"text {number}" for number in range(WINDOW - 1, WINDOW + 1)]
    alice.say("bob", "goes on")
    await world.settle()
    assert bob.texts("alice")[-1] == "goes on"


@pytest.mark.long
async def test_beyond_the_window_a_chain_waits_and_takes_nothing_wrong(world: World) -> None:
    _, bob, cells = await written_while_away(world, WINDOW + 2)
    assert len(cells) == WINDOW + 2
    present(world, bob, cells[WINDOW + 1 :], instead_of=len(cells))
    bob.wake()
    await world.settle()
    assert bob.texts("alice") == []
    drop_id, shelf = bucket(world, bob)
    world.relay.forge(drop_id, shelf.cells + cells)
    await bob.sleep()
    bob.wake()
    await world.settle()
    assert bob.texts("alice") == [f"text {number}" for number in range(WINDOW + 2)]


async def test_cell_shown_twice_is_taken_once(world: World) -> None:
    _, bob, cells = await written_while_away(world, 3)
    present(world, bob, cells + cells, instead_of=3)
    bob.wake()
    await world.settle()
    assert bob.texts("alice") == ["text 0", "text 1", "text 2"]
    assert not bob.warnings()


@pytest.mark.long
async def test_cell_shown_again_after_a_restart_is_passed_over(world: World) -> None:
    _, bob, cells = await written_while_away(world, 6)
    present(world, bob, cells[1:], instead_of=6)
    bob.wake()
    await world.settle()
    await bob.sleep()
    drop_id, shelf = bucket(world, bob)
    world.relay.forge(drop_id, shelf.cells + cells)
    bob.wake()
    assert not bob.rules.chains._known().keys() & {cell[:LABEL_BYTES] for cell in cells[1:]}
    await world.settle()
    assert bob.texts("alice") == [f"text {number}" for number in range(6)]
    assert set(bob.warnings()) == {"relay-doubted"}  # by what alice was told


@pytest.mark.long
async def test_other_peoples_cells_and_junk_are_passed_over(world: World) -> None:
    _, bob, cells = await written_while_away(world, 3)
    junk = [os.urandom(size) for size in CELL_SIZES]
    imitated = [cell[:LABEL_BYTES] + os.urandom(MESSAGE_CELL - LABEL_BYTES) for cell in cells]
    present(world, bob, [*junk, *imitated, *cells, *junk], instead_of=3)
    bob.wake()
    await world.settle()
    assert bob.texts("alice") == ["text 0", "text 1", "text 2"]
    assert set(bob.warnings()) <= {"relay-doubted"}  # by what alice was told


@pytest.mark.long
async def test_buckets_of_many_cells_are_read_page_by_page(world: World) -> None:
    world.relay.page = 7
    _, bob, cells = await written_while_away(world, 50)
    assert len(cells) == 50
    bob.wake()
    await world.settle()
    assert len(bob.texts("alice")) == 50


LIES: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "ends earlier": lambda cells: cells[:-2],
    "lost a cell in the middle": lambda cells: [*cells[:1], *cells[2:], os.urandom(MESSAGE_CELL)],
    "changed a cell": lambda cells: [os.urandom(MESSAGE_CELL), *cells[1:], os.urandom(1024)],
    "changed the order": lambda cells: [*cells[::-1], os.urandom(MESSAGE_CELL)],
    "holds nothing": lambda _: [],
}


@pytest.mark.long
@pytest.mark.parametrize("lie", LIES)
async def test_a_lie_about_cells_that_were_read_is_told_and_costs_nothing(
    world: World, lie: str
) -> None:
    alice, bob = await world.friends("alice", "bob")
    for number in range(3):
        alice.say("bob", f"text {number}")
    await world.settle()
    await bob.sleep()
    drop_id, shelf = bucket(world, bob)
    world.relay.forge(drop_id, LIES[lie](shelf.cells))
    bob.wake()
    await world.pass_time(2)
    assert bob.warnings() == ["relay-lied"]
    bob.client.clear_warnings()
    alice.say("bob", "goes on")
    bob.say("alice", "for both")
    await world.settle()
    assert sorted(bob.texts("alice")[3:]) == sorted(alice.texts("bob")[3:]) == [
        "for both", "goes on",
    ]  # fmt: skip
    assert bob.texts("alice")[:3] == ["text 0", "text 1", "text 2"]
    assert set(bob.warnings()) <= {"relay-doubted"}  # again, by what alice was told


async def test_cells_that_have_expired_stop_nothing(world: World) -> None:
    alice, bob, _ = await written_while_away(world, 5)
    _, shelf = bucket(world, bob)
    shelf.gone = len(shelf.cells) - 2
    bob.wake()
    await world.settle()
    assert bob.texts("alice") == ["text 3", "text 4"]
    shelf.gone = len(shelf.cells)
    alice.say("bob", "goes on")
    await world.settle()
    assert bob.texts("alice")[-1] == "goes on"
    assert not bob.warnings()


async def test_two_readers_of_one_bucket_can_be_told_two_stories_that_their_digests_tell_apart(
    world: World,
) -> None:
    alice, bob = await world.friends("alice", "bob")
    drop_id, shelf = bucket(world, bob)
    assert bucket(world, alice)[0] == drop_id
    one, other = os.urandom(MESSAGE_CELL), os.urandom(MESSAGE_CELL)
    honest = list(shelf.cells)
    digests = set()
    for person, order in ((alice, [one, other]), (bob, [other, one])):
        (quiet,) = (p for p in (alice, bob) if p is not person)
        await quiet.sleep()
        world.relay.forge(drop_id, honest + order)
        await person.sleep()
        person.wake()
        await world.settle()
        digests.add(person.one("SELECT digest FROM cursor WHERE drop_id = ?", drop_id))
        assert not person.warnings()
        await person.sleep()
        world.relay.forge(drop_id, honest)
    assert len(digests) == 2


@pytest.mark.long
async def test_notice_that_never_comes_is_made_up_for_by_looking(world: World) -> None:
    people = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", *people)
    alice, bob, _ = people
    drop_id, shelf = bucket(world, bob)
    blind = Shelf(shelf.append_hash, shelf.read_hash, shelf.retention_days, shelf.digests[:])
    blind.cells = shelf.cells[:]
    world.relay.shelves[drop_id] = blind
    alice.client.chat(gid).rename("friends")
    await world.settle()
    assert len(blind.cells) > len(shelf.cells)
    world.relay.shelves[drop_id] = shelf  # as if nothing had come since
    for person in (alice, bob):
        await person.sleep()
    assert alice.client.chat(gid).view().name == "friends"


@pytest.mark.long
async def test_chains_end_with_a_membership_and_begin_anew_with_the_next(world: World) -> None:
    people = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", *people)
    alice, bob, carol = people
    old = {p.one("SELECT chain FROM chain_in WHERE gid = ? LIMIT 1", gid) for p in people}
    alice.client.chat(gid).remove("carol")
    await world.settle()
    for person, count in ((alice, 2), (bob, 2), (carol, 0)):
        for table, which in (("chain_in", "ended_at IS NULL"), ("chain_out", "TRUE")):
            query = f"SELECT count(*) FROM {table} WHERE gid = ? AND {which}"  # noqa: S608
            assert person.one(query, gid) == count  # a lane of words, and one of calls
    alice.client.chat(gid).add(["carol"])
    await world.settle()
    for person in people:
        person.client.chat(gid).send(f"from {person.name}")
    await world.settle()
    assert all(person.client.chat(gid).count() == 3 for person in people)
    new = {c for (c,) in carol.db.execute("SELECT chain FROM chain_in WHERE gid = ?", (gid,))}
    assert not old & new


# Junk by those who know the drop


@pytest.mark.long
async def test_junk_in_an_epoch_drop_is_passed_over_alike(world: World) -> None:
    people = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", *people)
    alice, bob, carol = people
    alice.client.chat(gid).rename("makes the drop")
    await world.settle()
    carol.client.chat(gid).send("hello")
    await world.settle()
    own = carol.rules.conversations

    def refused_commit() -> bytes:
        # Right by MLS, wrong by the rights: a member who is no admin gives the group a name.
        policy = own.roster.group(gid).policy
        mine = Policy([], "carol's", policy.admins, policy.relay, policy.region)
        with pytest.raises(BadArgument), carol.client._unit():  # noqa: PT012  # and forgets it
            bundle = carol.rules.engine.commit(gid, policy=codec.encode(mine))
            raise BadArgument
        return bundle.commit

    commit = refused_commit()
    half = [piece_hash(commit[:100]), piece_hash(commit[100:])]
    application = carol.rules.engine.encrypt(gid, b"not an envelope")
    carol.rules.engine.abort()
    junk = [
        b"",
        os.urandom(MAX_PAYLOAD),
        carol.piece(gid, os.urandom(100)),
        carol.piece(gid, commit),
        carol.piece(gid, application),
        carol.piece(gid, commit, kind=MESSAGE_FRAGMENT),
        carol.piece(gid, commit[:100], of=half),
        carol.piece(gid, commit[100:], of=half, index=1),
        carol.piece(gid, commit[100:], of=half[::-1]),
    ]
    with alice.client._unit() as unit:  # so that its drop is there
        alice.rules.conversations.epochs.make_epoch_drop(unit, gid, own.roster.group(gid))
    await world.settle()
    for payload in junk:
        drop_id, cell = carol.seal_for_epoch(gid, payload)
        world.relay.shelves[drop_id].add(cell)
    world.relay.shelves[drop_id].add(os.urandom(MESSAGE_CELL))
    alice.client.chat(gid).rename("goes on")
    await world.settle()
    await world.pass_time(roster.LOOK_EVERY_MS / 1000 + 10)
    assert [p.client.chat(gid).view().name for p in people] == ["goes on"] * 3
    assert len({p.client.chat(gid).view().epoch for p in people}) == 1
    bob.client.chat(gid).send("still here")
    await world.settle()
    assert [m.text for m in carol.client.chat(gid).messages()] == ["hello", "still here"]


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        (Kind.TEXT, b"\xc1", ["invalid-message"]),
        (Kind.KEY_PACKAGES, codec.encode(KeyPackages([b"junk"])), ["invalid-key-package"]),
        (Kind.KEY_PACKAGES_WANTED, b"", ["invalid-message"]),
        (Kind.WELCOME, b"\x92", ["invalid-message"]),
        (Kind.LEAVE, b"junk" * 10, ["invalid-message"]),
        (999, b"of a later version", []),
    ],
)
async def test_malformed_message_is_reported_and_the_next_is_read(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    kind: Kind,
    body: bytes,
    expected: list[str],
) -> None:
    monkeypatch.setitem(KINDS, kind, KINDS.get(kind, KINDS[Kind.TEXT]))  # alice may be newer
    alice, bob = await world.friends("alice", "bob")
    with alice.client._unit() as unit:
        alice.rules.conversations.saying.say(unit, alice.gid("bob"), kind, body)
    alice.say("bob", "and this")
    await world.settle()
    assert bob.warnings() == expected
    assert bob.texts("alice") == ["and this"]


@pytest.mark.long
async def test_a_kind_is_ignored_in_conversations_where_it_is_not_heard(world: World) -> None:
    alice, bob, carol = people = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", *people)
    with alice.client._unit() as unit:
        for kind, row in KINDS.items():
            where = {Scope.DIRECT: gid, Scope.LARGE: alice.gid("bob")}
            if row.scope is not Scope.EVERYWHERE:
                alice.rules.conversations.saying.say(unit, where[row.scope], kind, b"junk")
    alice.client.chat(gid).send("and this")
    await world.settle()
    for person in (bob, carol):
        assert person.warnings() == []
        assert person.client.chat(gid).messages()[-1].text == "and this"


@pytest.mark.long
async def test_leave_statement_for_another_moves_nobody(world: World) -> None:
    people = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", *people)
    alice, bob, carol = people
    rights = carol.rules.conversations
    nonce = next(
        p.leaf.nonce for p in rights.roster.group(gid).people if p.identity == bob.rules.me.identity
    )
    forged = Leave(
        bob.rules.me.identity,
        nonce,
        carol.rules.me.identity_key.sign(leave_text(gid, nonce)),
    )
    with carol.client._unit() as unit:
        rights.saying.say(unit, gid, Kind.LEAVE, codec.encode(forged))
    await world.settle()
    await world.pass_time(120)
    assert alice.client.chat(gid).view().people == ["alice", "bob", "carol"]
    assert alice.warnings() == bob.warnings() == ["invalid-credential"]


# Large groups


@pytest.mark.long
async def test_group_grows_large_and_small_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roster, "LARGE_GROUP", 3)
    people = await world.friends("alice", "bob", "carol", "dave", "erin")
    alice, bob, carol, dave, erin = people
    gid = await world.group("club", alice, bob, carol)
    said: list[str] = []

    async def everybody_speaks(speakers: list[Person]) -> None:
        for person in speakers:
            said.append(f"{len(said)} from {person.name}")
            person.client.chat(gid).send(said[-1])
        await world.settle()
        for person in (alice, bob, carol):
            assert sorted(m.text for m in person.client.chat(gid).messages()) == sorted(said)
        assert not any(person.warnings() for person in people)

    await everybody_speaks([alice, bob, carol])
    alice.client.chat(gid).add(["dave", "erin"])
    await world.settle()
    assert alice.one("SELECT count(*) FROM chain_out WHERE gid = ?", gid) == 0
    await everybody_speaks(people)
    await carol.sleep()
    for person in (alice, dave):
        said.append(f"{len(said)} while carol is away")
        person.client.chat(gid).send(said[-1])
    alice.client.chat(gid).remove("dave")
    await world.settle()
    alice.client.chat(gid).remove("erin")
    await world.settle()
    carol.wake()
    await world.settle()
    assert alice.one("SELECT count(*) FROM chain_out WHERE gid = ?", gid) == 2 * 2
    await everybody_speaks([alice, bob, carol])
    assert dave.client.chat(gid).view().state == erin.client.chat(gid).view().state == "removed"


@pytest.mark.long
async def test_seventy_people_speak_through_the_epoch_drop(world: World) -> None:
    count = 70
    relay = world.add_relay(buckets=count)  # each cell of a bucket costs each reader
    people = [await world.person(f"p{number:02d}", relay=relay) for number in range(count)]
    founder = people[0]
    for person in people[1:]:
        person.client.accept(founder.client.invite())
    await world.settle()
    gid = await world.group("assembly", *people)
    assert founder.one("SELECT count(*) FROM chain_out WHERE gid = ?", gid) == 0
    appends = world.network.appends
    for person in (people[1], people[40], founder):
        person.client.chat(gid).send(f"from {person.name}")
        await world.settle()
    assert world.network.appends - appends == 3  # one cell a message, not one a member
    for person in people:
        assert [m.text for m in person.client.chat(gid).messages()] == [
            "from p01",
            "from p40",
            "from p00",
        ]
        assert not person.warnings()
