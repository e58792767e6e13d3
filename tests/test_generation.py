"""A restored profile takes its place in each conversation, and the device before it is locked out
and told: judged from the tree alone, so by everybody alike."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from amanat.cli import standing
from amanat.client.vault import Unlock, open_vault
from amanat.drill.person import Person
from amanat.drill.world import World
from amanat.errors import CopiedVault, OldDevice, OldGeneration, ProfileReplaced
from amanat.protocol import codec, wire
from amanat.protocol.identity import next_credential
from amanat.protocol.messages import COMMIT_FRAGMENT, CommitInfo
from test_comeback import agree, all_hear_all


def restored(world: World, person: Person, copy: Path, name: str = "restored") -> Person:
    """A person who goes on from a copy of a profile as a restore does: of the next generation, and
    coming back into every conversation."""
    made = Person(name, copy, person.key, world.around(), world.network)
    vault = open_vault(copy, Unlock(key=person.key), made.around.driver)
    with vault.unit(now=world.now()) as unit:
        key = Ed25519PrivateKey.from_private_bytes(vault.get("identity"))
        before, signer = vault.get("credential"), vault.get("signer")
        unit.put("credential", next_credential(key, before, signer=signer))
    vault.close()
    world.people[name] = made
    made.open()
    with made.client._unit() as unit:
        made.rules.conversations.astray.all_astray(unit)
    made.client.clear_warnings()
    made.wake()
    return made


def generations(person: Person, gid: bytes) -> dict[bytes, int]:
    """The generation of each member, as one of them sees it."""
    people = person.rules.conversations.roster.group(gid).people
    return {one.identity: one.credential.generation for one in people}


async def backed_up(world: World) -> tuple[list[Person], bytes, Path]:
    """Friends in a group, its gid, and a copy of alice's profile, after which she has said more."""
    people = await world.friends("alice", "bob", "carol")
    alice = people[0]
    gid = await world.group("family", *people)
    await alice.sleep()
    copy = alice.copy()
    alice.wake()
    alice.client.chat(gid).send("said after the backup")
    alice.say("bob", "said after the backup")
    await world.settle()
    return people, gid, copy


@pytest.mark.long
async def test_restored_profile_locks_the_old_device_out_and_tells_it(
    world: World,
) -> None:
    (alice, bob, carol), gid, copy = await backed_up(world)
    again = restored(world, alice, copy)
    await world.settle()
    for where in (gid, alice.gid("bob"), alice.gid("carol")):
        assert alice.client.chat(where).view().state == "replaced"
        with pytest.raises(ProfileReplaced):
            alice.client.chat(where).send("from the old device")
    assert set(alice.warnings()) == {ProfileReplaced.code}
    assert alice.client.status().is_replaced
    assert ProfileReplaced.text in standing._troubles(alice.client.status())
    assert not alice.one("SELECT count(*) FROM comeback")
    agree([again, bob, carol], gid)
    agree([again, bob], again.gid("bob"))
    await all_hear_all(world, [again, bob, carol], gid)
    await all_hear_all(world, [again, bob], again.gid("bob"))
    assert generations(bob, gid) == {
        again.rules.me.identity: 2, bob.rules.me.identity: 1, carol.rules.me.identity: 1
    }  # fmt: skip
    # The keys by which people know each other stay.
    assert bob.client.contact("alice").safety_number == again.client.contact("bob").safety_number
    assert set(again.warnings()) == {OldDevice.code}
    assert not {*bob.warnings(), *carol.warnings()}
    assert not again.client.status().is_replaced
    for person in (alice, again, alice):  # neither takes the claims of the other for a copy's
        with person.client._unit() as unit:
            assert person.rules.conversations.claims.question(unit) or person.warnings()
        await world.settle()
    assert set(again.warnings()) == {OldDevice.code}
    assert set(alice.warnings()) == {ProfileReplaced.code}


@pytest.mark.long
async def test_old_device_that_was_asleep_is_told_by_those_whom_it_asks(world: World) -> None:
    (alice, bob, carol), gid, copy = await backed_up(world)
    await alice.sleep()
    again = restored(world, alice, copy)
    await world.settle()
    with alice.client._unit() as unit:  # it does not read the drop first
        talk = alice.rules.conversations
        talk.astray.go_astray(unit, gid, CopiedVault.code, is_restart=True)
        unit.db.execute("DELETE FROM epoch_drop WHERE gid = ?", (gid,))
    epoch = bob.rules.conversations.roster.group(gid).view.epoch
    alice.client.clear_warnings()
    alice.wake()
    await world.settle()
    assert alice.client.chat(gid).view().state == "replaced"
    assert ProfileReplaced.code in alice.warnings()
    agree([again, bob, carol], gid)
    assert bob.rules.conversations.roster.group(gid).view.epoch == epoch
    assert not bob.warnings()


@pytest.mark.long
async def test_old_device_stays_out_though_it_lies_and_is_helped(world: World) -> None:
    (alice, bob, carol), gid, copy = await backed_up(world)
    await alice.sleep()
    again = restored(world, alice, copy)
    await world.settle()
    world.network.copied.add("alice")
    alice.rules.conversations.rejoining.gives_way = lambda *_: False  # type: ignore[method-assign]
    with alice.client._unit() as unit:
        alice.rules.conversations.astray.go_astray(unit, gid, CopiedVault.code, is_restart=True)
    alice.wake()
    epoch = bob.rules.conversations.roster.group(gid).view.epoch
    await world.pass_time(300)
    # Its Commit is in the drop, signed with valid keys, and made of a contact's help.
    await all_hear_all(world, [again, bob, carol], gid)
    agree([again, bob, carol], gid)
    assert bob.rules.conversations.roster.group(gid).view.epoch == epoch
    for person in (again, bob, carol):
        assert generations(person, gid)[again.rules.me.identity] == 2
        assert OldGeneration.code in person.warnings()
    carol.client.chat(gid).send("not for the old device")
    await world.settle()
    assert "not for the old device" not in [m.text for m in alice.client.chat(gid).messages()]


class _UndoneError(Exception):
    """Ends a unit so that it leaves nothing in the vault."""


@pytest.mark.long
async def test_old_device_stays_out_though_an_admin_puts_it_in_the_place_of_the_new_one(
    world: World,
) -> None:
    alice, bob, carol = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", bob, alice, carol)
    await alice.sleep()
    copy, me = alice.copy(), alice.rules.me
    (old,) = bob.db.execute(
        "SELECT data FROM their_key_package WHERE identity = ? LIMIT 1", (me.identity,)
    ).fetchone()
    again = restored(world, alice, copy)
    await world.settle()
    talk = bob.rules.conversations
    group = talk.roster.group(gid)
    (leaf,) = [one.leaf_index for one in group.people if one.identity == me.identity]
    with contextlib.suppress(_UndoneError), bob.client._unit() as unit:
        lie = bob.rules.engine.commit(
            gid, adds=[old], removes=[leaf], update=True, aad=codec.encode(CommitInfo(leaves=[]))
        )
        last = bob.one("SELECT max(id) FROM outbox") or 0
        talk.epochs.append_to_epoch(unit, gid, group, COMMIT_FRAGMENT, lie.commit)
        for (request,) in bob.db.execute("SELECT request FROM outbox WHERE id > ?", (last,)):
            world.relay.answer(wire.decode_request(request), "bob")
        raise _UndoneError
    for person in (again, carol):
        with person.client._unit() as unit:
            person.rules.conversations.roster.look_soon(unit, gid, at=world.now())
    await world.settle()
    agree([again, bob, carol], gid)
    for person in (again, carol):
        assert generations(person, gid)[me.identity] == 2
        assert person.warnings() == [OldGeneration.code]
    await all_hear_all(world, [again, bob, carol], gid)


@pytest.mark.long
async def test_second_restore_of_one_backup_takes_the_place_of_the_first_as_a_copy_does(
    world: World,
) -> None:
    (alice, bob, carol), gid, copy = await backed_up(world)
    await alice.sleep()
    other_copy = Path(shutil.copytree(copy, copy.with_name("once more")))
    first = restored(world, alice, copy)
    await world.settle()
    world.network.copied |= {"restored", "restored again"}
    second = restored(world, alice, other_copy, "restored again")
    await world.settle()
    agree([second, bob, carol], gid)
    assert first.client.chat(gid).view().state == "removed"
    assert set(first.warnings()) == {CopiedVault.code}
    assert generations(bob, gid)[second.rules.me.identity] == 2


@pytest.mark.long
async def test_key_packages_of_an_earlier_generation_are_no_longer_used(world: World) -> None:
    (alice, bob, carol), _, copy = await backed_up(world)
    await alice.sleep()
    theirs = "FROM their_key_package WHERE identity = ?"
    identity = alice.rules.me.identity
    old = carol.db.execute(f"SELECT * {theirs}", (identity,)).fetchall()
    assert old
    again = restored(world, alice, copy)
    await world.settle()
    with carol.client._unit() as unit:  # she still has those of the old device, and no others
        unit.db.execute(f"DELETE {theirs}", (identity,))
        for row in old:
            unit.db.execute("INSERT INTO their_key_package VALUES (?, ?, ?, ?)", row)
    view = carol.client.create_group("new", ["alice", "bob"])
    await world.settle()
    agree([again, bob, carol], view.gid)
    assert set(generations(carol, view.gid).values()) == {1, 2}
