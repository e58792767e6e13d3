"""Pieces of Commits: no flood of junk keeps a group from going on, and nobody is accused of it."""

from __future__ import annotations

import itertools
import os
import random
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from amanat.client import pieces as rules
from amanat.client.pieces import MAX_OPEN, MAX_OPEN_ALL, EpochDrop
from amanat.client.rules.roster import LOOK_EVERY_MS
from amanat.client.vault import Unlock, create, open_vault
from amanat.drill.world import World
from amanat.errors import CopiedVault, InvalidCell
from amanat.protocol.messages import (
    COMMIT_FRAGMENT,
    MAX_FRAGMENTS,
    MESSAGE_FRAGMENT,
    Fragment,
    piece_hash,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from amanat.client.vault import Vault
    from amanat.drill.person import Person
    from amanat.protocol import wire

GID = bytes(16)
FLOOD = MAX_OPEN_ALL + 6
MOST, ROOM = 12, 170
"""Pieces of the largest Commit, and pieces kept of all authors, where room is small."""


class Author:
    """Somebody with a leaf and its signature key."""

    def __init__(self, leaf: int) -> None:
        self.leaf = leaf
        self._key = Ed25519PrivateKey.generate()
        self.signer = self._key.public_key().public_bytes_raw()

    def piece(
        self, place: EpochDrop, data: bytes, of: list[bytes] | None = None, index: int = 0
    ) -> Fragment:
        pieces = of or [piece_hash(data)]
        unsigned = Fragment(COMMIT_FRAGMENT, self.leaf, pieces, index, data, bytes(64))
        return place.signed(unsigned, self._key.sign)

    def whole(self, place: EpochDrop, count: int, name: bytes = b"") -> list[Fragment]:
        data = [name + b"%d of %d" % (index, count) for index in range(count)]
        hashes = [piece_hash(each) for each in data]
        return [self.piece(place, each, hashes, index) for index, each in enumerate(data)]

    def junk(self, place: EpochDrop) -> Iterator[Fragment]:
        """Pieces of wholes that never become whole."""
        while True:
            data = os.urandom(8)
            yield self.piece(place, data, [piece_hash(data), os.urandom(16)])


AUTHORS = [Author(leaf) for leaf in range(10)]


def place_of(authors: Iterable[Author], *, gid: bytes = GID, epoch: int = 5) -> EpochDrop:
    return EpochDrop(gid, epoch, bytes(32), "IR", {each.leaf: each.signer for each in authors})


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vault]:
    directory: Path = tmp_path_factory.mktemp("pieces")
    create(directory / "profile", Unlock(key=bytes(32)), lambda _, __: None, now=0)
    opened = open_vault(directory / "profile", Unlock(key=bytes(32)))
    yield opened
    opened.close()


@pytest.fixture
def small_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits like the real ones, but quickly filled."""
    monkeypatch.setattr(rules, "MAX_OPEN", 2 * MOST)
    monkeypatch.setattr(rules, "MAX_OPEN_ALL", ROOM)


# Pieces that count


def test_piece_counts_in_its_drop_and_under_its_author_s_leaf_alone() -> None:
    one, other = AUTHORS[:2]
    place = place_of([one, other])
    piece = one.piece(place, b"a Commit")
    assert place.open(place.seal(piece)) == piece
    hashes = [piece_hash(b"another")]
    for wrong in (
        structs.replace(piece, leaf=1),
        structs.replace(piece, leaf=9),  # nobody's
        structs.replace(piece, kind=2),
        structs.replace(piece, data=b"another", pieces=hashes),
        structs.replace(piece, pieces=[*piece.pieces, *hashes]),
        structs.replace(piece, signature=bytes(64)),
    ):
        with pytest.raises(InvalidCell):
            place.open(place.seal(wrong))
    twice = one.whole(place, 2)
    with pytest.raises(InvalidCell):
        place.open(place.seal(structs.replace(twice[0], signature=twice[1].signature)))
    for elsewhere in (
        place_of([one, other], gid=bytes([1]) * 16),
        place_of([one, other], epoch=6),
        EpochDrop(GID, 5, bytes([1]) * 32, "IR", place.signers),
        place_of([other]),
    ):
        with pytest.raises(InvalidCell):
            elsewhere.open(elsewhere.seal(piece))


@pytest.mark.long
@settings(
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.randoms(use_true_random=False), st.integers(0, 3), st.integers(2, MOST))
def test_whatever_others_begin_a_commit_becomes_whole(
    vault: Vault, small_room: None, rng: random.Random, floods: int, count: int
) -> None:
    honest, *others = AUTHORS[: 1 + floods]
    place = place_of(AUTHORS)
    mine = honest.whole(place, count)
    begun = [honest.junk(place), *(other.junk(place) for other in others)]
    found: list[bytes | None] = []
    kept = rules.Pieces(vault)
    with vault.unit(now=0) as unit:
        for piece in mine:
            for junk in begun[1:]:
                for _ in range(rng.randrange(3 * MOST)):
                    kept.take(unit, b"here", next(junk))
            if rng.randrange(2):
                kept.take(unit, b"here", next(begun[0]))  # a whole that it began in vain
            found.append(kept.take(unit, b"here", piece))
            rows = unit.db.execute("SELECT count(*) FROM fragment GROUP BY leaf").fetchall()
            assert max((n for (n,) in rows), default=0) <= 2 * MOST
        kept.forget(unit, b"here")
    assert found == [None] * (count - 1) + [b"".join(piece.data for piece in mine)]


@pytest.mark.usefixtures("small_room")
def test_all_flooders_together_leave_room_for_an_author_who_has_begun_less(vault: Vault) -> None:
    honest, *others = AUTHORS
    place = place_of(AUTHORS)
    kept = rules.Pieces(vault)
    floods = [other.junk(place) for other in others]
    with vault.unit(now=0) as unit:
        for piece in honest.whole(place, MOST):
            for junk in itertools.islice(itertools.cycle(floods), 100):
                kept.take(unit, b"here", next(junk))
            whole = kept.take(unit, b"here", piece)
            assert unit.db.execute("SELECT count(*) FROM fragment").fetchone()[0] <= ROOM
        kept.forget(unit, b"here")
    assert whole is not None


def test_of_an_author_who_begins_too_much_the_newest_becomes_whole(vault: Vault) -> None:
    author = AUTHORS[0]
    place = place_of([author])
    kept = rules.Pieces(vault)
    wholes = [author.whole(place, MAX_FRAGMENTS, b"whole %d, " % n) for n in range(4)]
    with vault.unit(now=0) as unit:
        for whole in wholes:
            assert not any(kept.take(unit, b"here", piece) for piece in whole[:-1])
        ends = [kept.take(unit, b"here", whole[-1]) is not None for whole in wholes]
        kept.forget(unit, b"here")
    assert ends == [False, False, True, True]


# In a group


def flood(world: World, person: Person, gid: bytes, size: int = FLOOD) -> None:
    """Have a member begin more pieces than all members together may."""
    shelf = world.relay.epoch_shelf(person.epoch_place(gid).drop)
    for _ in range(size):
        data = os.urandom(8)
        half = person.piece(gid, data, of=[piece_hash(data), os.urandom(16)])
        shelf.add(person.seal_for_epoch(gid, half)[1])


async def look(world: World) -> None:
    await world.pass_time(LOOK_EVERY_MS / 1000 + 10)
    await world.settle()


def kept_of(person: Person) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = person.db.execute(
        "SELECT place, whole, leaf, idx, data FROM fragment ORDER BY id"
    ).fetchall()
    return rows


@pytest.mark.long
async def test_member_who_floods_the_drop_is_removed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "FRAGMENT_BYTES", 1_000)
    alice, bob, carol, mallory = people = await world.friends("alice", "bob", "carol", "mallory")
    gid = await world.group("family", *people)
    await world.pass_time(100)
    await carol.sleep()  # she reads it all at once, later
    flood(world, mallory, gid)
    await bob.sleep()
    bob.wake()
    await look(world)
    assert 0 < len(kept_of(alice)) <= MAX_OPEN
    assert kept_of(alice) == kept_of(bob)
    drop_id = alice.epoch_place(gid).drop.drop_id
    alice.client.chat(gid).remove("mallory")
    await world.settle()
    carol.wake()
    await world.settle()
    assert len(world.relay.shelves[drop_id].cells) > FLOOD + 2  # the Commit had several pieces
    for person in (alice, bob, carol):
        assert person.client.chat(gid).view().people == ["alice", "bob", "carol"]
        assert not person.warnings()
    assert mallory.client.chat(gid).view().state == "removed"


@pytest.mark.long
async def test_nothing_that_a_member_says_stops_others_from_reading_on(world: World) -> None:
    """The junk is a Commit of a past epoch, sent as a message: it once stuck all members for
    good."""
    alice, bob, carol, mallory = people = await world.friends("alice", "bob", "carol", "mallory")
    gid = await world.group("family", *people)
    await world.pass_time(100)
    before = mallory.epoch_place(gid)
    alice.client.chat(gid).rename("garden")
    await world.settle()
    old = [before.open(cell) for cell in world.relay.shelves[before.drop.drop_id].cells]
    [commit] = [piece.data for piece in old if piece.kind == COMMIT_FRAGMENT]
    shelf = world.relay.epoch_shelf(mallory.epoch_place(gid).drop)
    for data in (commit, commit[:-1], commit + b"x", b"x"):
        piece = mallory.piece(gid, data, kind=MESSAGE_FRAGMENT)
        shelf.add(mallory.seal_for_epoch(gid, piece)[1])
    alice.client.chat(gid).rename("harbour")
    await look(world)
    for person in (alice, bob, carol):
        assert person.client.chat(gid).view().name == "harbour"


@pytest.mark.parametrize("who", ["stranger", "in another's name", "of the epoch before"])
@pytest.mark.long
async def test_nothing_is_kept_of_a_writer_who_knows_the_drop_and_is_not_in_the_epoch(
    world: World, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    monkeypatch.setattr(rules, "FRAGMENT_BYTES", 1_000)
    alice, bob, mallory = people = await world.friends("alice", "bob", "mallory")
    gid = await world.group("family", *people)
    before = mallory.epoch_place(gid)
    own = next(leaf for leaf, key in before.signers.items() if key == mallory.rules.me.signer)
    alice.client.chat(gid).remove("mallory")
    await world.settle()
    place = alice.epoch_place(gid)  # as if mallory had learnt the secret somehow
    leaf = {
        "stranger": 77,
        "in another's name": bob.rules.conversations.roster.group(gid).view.own_leaf,
    }
    engine, signer = mallory.rules.engine, mallory.rules.me.signer
    shelf = world.relay.epoch_shelf(place.drop)
    for _ in range(FLOOD):
        data = os.urandom(8)
        hashes = [piece_hash(data), os.urandom(16)]
        half = Fragment(COMMIT_FRAGMENT, leaf.get(who, own), hashes, 0, data, bytes(64))
        shelf.add(place.seal(place.signed(half, lambda text: engine.sign(signer, text))))
    await look(world)
    for person in (alice, bob):
        assert not kept_of(person)
        assert person.rules.cursors.read_from(place.drop.drop_id) == FLOOD
    alice.client.chat(gid).rename("goes on")
    await world.settle()
    assert bob.client.chat(gid).view().name == "goes on"
    assert not alice.warnings() + bob.warnings()


@pytest.mark.usefixtures("small_room")
@pytest.mark.long
async def test_a_member_comes_back_through_a_flood(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "FRAGMENT_BYTES", 1_000)
    alice, bob, mallory = people = await world.friends("alice", "bob", "mallory")
    gid = await world.group("family", *people)
    flood(world, mallory, gid, 4 * MOST)
    await look(world)

    def after_each(append: wire.Append, who: str) -> bool:
        # Between the pieces of hers, too.
        if who == "alice" and append.drop_id == mallory.epoch_place(gid).drop.drop_id:
            flood(world, mallory, gid, 4 * MOST)
        return False

    world.relay.forgets = after_each
    with alice.client._unit() as unit:
        alice.rules.conversations.astray.go_astray(unit, gid, CopiedVault.code, is_restart=True)
    await world.settle()
    assert alice.client.chat(gid).view().state == "active"
    assert alice.warnings() == [CopiedVault.code]  # the warning of going astray, and no other
    assert not bob.warnings()
    alice.client.chat(gid).send("I am back")
    await world.settle()
    assert [m.text for m in bob.client.chat(gid).messages()] == ["I am back"]


@pytest.mark.long
async def test_a_commit_counts_no_matter_who_has_put_it_into_the_drop(world: World) -> None:
    alice, bob, carol = people = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", *people)
    place = carol.epoch_place(gid)
    stolen: list[bytes] = []

    def keeps_it_for_carol(append: wire.Append, who: str) -> bool:
        if stolen or who != "alice" or append.drop_id != place.drop.drop_id:
            return False
        stolen.append(place.open(append.cell).data)
        drop_id, cell = carol.seal_for_epoch(gid, carol.piece(gid, stolen[0]))
        world.relay.shelves[drop_id].add(cell)
        return True

    world.relay.forgets = keeps_it_for_carol
    alice.client.chat(gid).rename("ours")
    await world.pass_time(10)
    for person in (bob, carol):
        with person.client._unit() as unit:
            person.rules.conversations.roster.look_soon(unit, gid, at=world.now())
    await world.pass_time(10)
    assert stolen
    assert {person.client.chat(gid).view().name for person in people} == {"ours"}
    assert not any(person.warnings() for person in people)


@pytest.mark.long
async def test_relay_is_not_accused_where_a_copy_of_our_keys_has_taken_our_room(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "FRAGMENT_BYTES", 1_000)
    alice, bob = await world.friends("alice", "bob")
    gid = await world.group("family", alice, bob)
    drop_id = alice.epoch_place(gid).drop.drop_id
    begun: list[wire.Append] = []

    def after_the_first(append: wire.Append, who: str) -> bool:
        if append.drop_id != drop_id or begun:
            return False
        begun.append(append)
        world.relay.shelves[drop_id].add(append.cell)
        flood(world, alice, gid)
        return True  # it is there already

    world.relay.forgets = after_the_first
    alice.client.chat(gid).rename("ours")
    await world.settle()
    await world.pass_time(120)
    await world.settle()
    assert begun
    assert bob.client.chat(gid).view().name == "ours"
    assert not alice.warnings() + bob.warnings()
