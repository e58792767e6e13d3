"""An outsider tries to get in: keys swapped in an invite, and members that no member has added.

The people who try have programs of their own, which make the Commits that ours would not make, and
put them into the epoch drop.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from amanat.drill.integrity import DAY_S, QUIET_TICK_S, TICK_S, Noticed, in_a_world
from amanat.protocol import codec, wire
from amanat.protocol.identity import safety_number
from amanat.protocol.messages import COMMIT_FRAGMENT, CommitInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from amanat.client.unit import Unit
    from amanat.drill.person import Person
    from amanat.drill.world import World

_Make: TypeAlias = "Callable[[Unit, Person, Person, bytes], bytes]"
"""Makes a Commit of the first person that concerns the second."""

AT_ONCE = 10
"""Forged Commits between two looks of the members into the drop."""


class _UndoneError(Exception):
    """Ends a unit so that it leaves nothing in the vault."""


def swapped_keys(tries: int) -> Noticed:
    """Have somebody between two people who meet answer each in the other's place. Counts how often
    the two then see one safety number, which would be false comfort."""
    wrong = 0
    for _ in range(tries):
        alice, bob, to_alice, to_bob = (os.urandom(32) for _ in range(4))
        wrong += safety_number(alice, to_alice) == safety_number(bob, to_bob)
    return Noticed(tries, [], wrong)


def silent_adds(seed: int, tries: int) -> Noticed:
    """Have a member without the right make Commits that add a stranger, remove another member, and
    make the forger an admin. Counts how often anybody believes one."""

    async def work(world: World) -> Noticed:
        alice, bob, mallory = await world.friends("alice", "bob", "mallory")
        eve = await world.person("eve")
        await world.meet(mallory, eve)
        await world.settle()
        gid = await world.group("family", alice, bob, mallory)
        world.tick_s = QUIET_TICK_S
        await world.pass_time(DAY_S)  # everybody has new keys, as after joining
        world.tick_s = TICK_S
        await world.settle()
        await mallory.sleep()  # an honest client would take the forgeries for a copied vault's
        believed = 0
        for number in range(-(-tries // AT_ONCE)):
            make, other = ((_added, eve), (_removed, bob), (_ruled, eve))[(number + seed) % 3]
            for _ in range(min(AT_ONCE, tries - number * AT_ONCE)):
                for cell in _cells(make, mallory, other, gid):
                    world.relay.epoch_shelf(mallory.epoch_place(gid).drop).add(cell)
            for person in (alice, bob):
                with person.client._unit() as unit:
                    person.rules.conversations.roster.look_soon(unit, gid, at=unit.now)
            await world.settle()
            epochs = {one.client.chat(gid).view().epoch for one in (alice, bob, mallory)}
            believed += len(epochs) - 1  # else the next forgeries would be for a past epoch
            for person in (alice, bob):
                view = person.client.chat(gid).view()
                believed += (view.people, view.admins) != (["alice", "bob", "mallory"], ["alice"])
            # They still talk, so none of it has removed anybody.
            alice.client.chat(gid).send(f"after {number}")
            await world.settle()
            said = [one.text for one in bob.client.chat(gid).messages()]
            believed += said[-1:] != [f"after {number}"]
        return Noticed(tries, [], believed)

    return in_a_world(work, seed)


def _added(unit: Unit, mallory: Person, eve: Person, gid: bytes) -> bytes:
    """A Commit by which a member adds a contact of theirs."""
    talk = mallory.rules.conversations
    suite = talk.roster.group(gid).view.suite
    package = talk.key_packages.their_key_package(unit, eve.rules.me.identity, suite)
    if package is None:
        raise AssertionError("there is no KeyPackage to begin with")
    return _commit(mallory, gid, adds=[package])


def _commit(
    mallory: Person,
    gid: bytes,
    *,
    adds: Sequence[bytes] = (),
    removes: Sequence[int] = (),
    policy: bytes | None = None,
) -> bytes:
    aad = codec.encode(CommitInfo(leaves=[]))
    engine = mallory.rules.engine
    return engine.commit(gid, adds=adds, removes=removes, policy=policy, aad=aad).commit


def _removed(_: Unit, mallory: Person, bob: Person, gid: bytes) -> bytes:
    """A Commit by which a member removes another."""
    group, identity = mallory.rules.conversations.roster.group(gid), bob.rules.me.identity
    leaves = [person.leaf_index for person in group.people if person.identity == identity]
    return _commit(mallory, gid, removes=leaves)


def _ruled(_: Unit, mallory: Person, __: Person, gid: bytes) -> bytes:
    """A Commit by which a member becomes an admin."""
    policy = mallory.rules.conversations.roster.group(gid).policy
    admins = [*policy.admins, mallory.rules.me.identity]
    changed = msgspec.structs.replace(policy, admins=sorted(admins))
    return _commit(mallory, gid, policy=codec.encode(changed))


def _cells(make: _Make, mallory: Person, other: Person, gid: bytes) -> list[bytes]:
    """The pieces of a Commit, sealed for the epoch drop as any member can seal them."""
    talk = mallory.rules.conversations
    found: list[bytes] = []
    with contextlib.suppress(_UndoneError), mallory.client._unit() as unit:
        commit = make(unit, mallory, other, gid)
        (before,) = mallory.db.execute("SELECT ifnull(max(id), 0) FROM outbox").fetchone()
        talk.epochs.append_to_epoch(unit, gid, talk.roster.group(gid), COMMIT_FRAGMENT, commit)
        for (data,) in mallory.db.execute("SELECT request FROM outbox WHERE id > ?", (before,)):
            request = wire.decode_request(data)
            if isinstance(request, wire.Append):
                found.append(request.cell)
        raise _UndoneError
    if not found:
        raise AssertionError("there is nothing to be believed")
    return found
