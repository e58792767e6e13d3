"""Pair chains begin again with new keys at their ends. Nobody goes deaf by it, and a thief who has
copied a vault does not read on."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from amanat.client import branches
from amanat.client.rules import chains as rules
from amanat.client.rules import roster
from amanat.drill import copied
from amanat.drill.copied import refresh
from amanat.drill.network import CALM, STORM
from amanat.drill.person import Person
from amanat.drill.shelves import Shelf
from amanat.drill.world import World
from amanat.errors import RelayDoubted
from amanat.protocol import codec, wire
from amanat.protocol.cells import one_time
from amanat.protocol.kinds import CELL_KINDS
from amanat.protocol.labels import Lane, step
from amanat.protocol.messages import CellKind, Envelope, Kind, Repair, Text
from test_world import History

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def agree_on_chains(people: Iterable[Person]) -> None:
    """Assert that every chain a sender would use next is one that its recipient looks for."""
    for one, other in itertools.permutations(people, 2):
        rows = one.db.execute(
            "SELECT gid, lane, chain FROM chain_out WHERE identity = ?",
            (other.rules.me.identity,),
        ).fetchall()
        home = other.rules.me.home
        for gid, lane, chain in rows:
            if not other.rules.conversations.roster.is_active(gid):
                continue
            secret, _ = step(chain)
            label = one_time(secret, region=home.region, drop_id=home.bucket.drop_id).label
            found = other.rules.chains._known().get(label)
            assert found is not None, (one.name, other.name, Lane(lane))
            assert found.chain is not None
            assert (found.chain.gid, found.chain.lane) == (gid, lane)
            assert found.chain not in other.rules.chains._past


def chains(person: Person, gid: bytes, lane: Lane = Lane.WORDS) -> dict[bytes, bytes]:
    """The chains to others in a lane."""
    rows = person.db.execute(
        "SELECT identity, chain FROM chain_out WHERE gid = ? AND lane = ?", (gid, lane)
    )
    return dict(rows.fetchall())


def past(person: Person, gid: bytes) -> int:
    """How many chains to a person have ended although the client still looks for their labels."""
    query = "SELECT count(*) FROM chain_in WHERE gid = ? AND ended_at IS NOT NULL"
    return int(person.one(query, gid))


# Both ends


class Refreshes(History):
    """Histories in which keys are renewed all the time, and members come back."""

    async def happen(self, person: Person) -> None:
        rng, client = self.world.rng, person.client
        gids = [view.gid for view in client.conversations() if view.state == "active"]
        gids = [gid for gid in gids if len(client.chat(gid).view().people) > 1]
        if gids and not person.is_doomed and rng.random() < 0.2:
            refresh(person, rng.choice(gids))
            await self.world.pass_time(0)
        else:
            await super().happen(person)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
async def test_every_word_arrives_no_matter_who_renews_their_keys_and_when(
    world: World, seed: int
) -> None:
    world.rng.seed(seed)
    people = await world.friends("alice", "bob", "carol", "dave")
    await world.group("all", *people)
    await world.group("some", *people[:2])
    history = Refreshes(world, people)
    for _ in range(3):
        await history.round(25)
        agree_on_chains(people)


@pytest.mark.long
async def test_people_who_come_back_and_people_who_stay_hear_each_other_at_once(
    world: World,
) -> None:
    people = await world.friends("alice", "bob", "carol")
    alice, bob, carol = people
    gid = await world.group("family", *people)
    for number, why in enumerate(("copied-vault", "relay-lied", "copied-vault")):
        world.network.weather = STORM
        refresh(carol, gid)
        with alice.client._unit() as unit:
            alice.rules.conversations.astray.go_astray(
                unit, gid, why, is_restart=why == "copied-vault"
            )
        refresh(bob, gid)
        await world.settle()
        world.network.weather = CALM
        for person in people:
            person.client.chat(gid).send(f"{number} of {person.name}")
        await world.settle()
        agree_on_chains(people)
        last = {f"{number} of {person.name}" for person in people}
        for person in people:
            assert {m.text for m in person.client.chat(gid).messages()[-3:]} == last


@pytest.mark.long
async def test_chain_begins_anew_when_either_end_renews_its_keys_and_else_goes_on(
    world: World,
) -> None:
    people = await world.friends("alice", "bob", "carol", "dave")
    alice, bob, carol, dave = people
    gid = await world.group("family", alice, bob, carol)
    of_bob, calls = chains(bob, gid), chains(bob, gid, Lane.CALLS)
    refresh(alice, gid)
    await world.settle()
    now = chains(bob, gid)
    assert now[alice.rules.me.identity] != of_bob[alice.rules.me.identity]
    assert now[carol.rules.me.identity] == of_bob[carol.rules.me.identity]
    assert chains(bob, gid, Lane.CALLS) == calls  # chains of calls outlive the refresh
    alice.client.chat(gid).add(["dave"])  # by a Commit without a path
    await world.settle()
    added = chains(bob, gid)
    assert {**now, dave.rules.me.identity: added[dave.rules.me.identity]} == added
    refresh(bob, gid)
    await world.settle()
    assert not set(chains(bob, gid).values()) & set(added.values())
    agree_on_chains(people)


# Cells that come before their reader knows


@pytest.mark.parametrize("is_restarted", [False, True])
async def test_a_cell_that_comes_before_its_reader_has_read_the_commit_is_found(
    world: World, monkeypatch: pytest.MonkeyPatch, is_restarted: bool
) -> None:
    alice, bob = people = await world.friends("alice", "bob")
    gid = alice.gid("bob")
    await world.pass_time(100)  # receipts are sent
    lost: list[wire.Append] = []

    def forgets_the_call(append: wire.Append, who: str) -> bool:
        is_call = who == "alice" and append.drop_id == bob.bucket and not lost
        if is_call:
            lost.append(append)
        return is_call

    world.relay.forgets = forgets_the_call
    refresh(alice, gid)
    await world.pass_time(5)
    assert lost
    for number in range(5):
        alice.client.chat(gid).send(f"after my Commit {number}")
    await world.pass_time(2)
    assert not bob.client.chat(gid).messages()
    if is_restarted:
        await bob.sleep()
    seen, reads, cells = bob.rules.cursors.read_so_far(), [], world.relay.cells

    def counted(
        request: wire.Read | wire.Follow | wire.Page, after: int, limit: int, who: str = ""
    ) -> wire.Cells:
        if who == "bob" and request.drop_id == bob.bucket:
            reads.append(after)
        return cells(request, after, limit, who)

    monkeypatch.setattr(world.relay, "cells", counted)
    if is_restarted:
        bob.wake()
    else:
        with bob.client._unit() as unit:
            bob.rules.conversations.roster.look_soon(unit, gid, at=world.now())
    await world.settle()
    assert len(bob.client.chat(gid).messages()) == 5
    assert (min(reads, default=seen) < seen) == is_restarted  # else nothing is read again
    agree_on_chains(people)


@pytest.mark.long
async def test_a_cell_that_comes_to_the_fallback_before_its_reader_knows_is_found(
    world: World,
) -> None:
    second = world.add_relay("IR")
    alice = await world.person("alice")
    bob = await world.person("bob", fallback=second)
    third = world.add_relay("IR")  # it has the epoch drops, and answers late
    founder = await world.person("founder", relay=third)
    for one, other in ((alice, bob), (founder, alice), (founder, bob)):
        await world.meet(one, other)
    gid = await world.group("family", founder, alice, bob)
    drop_id = bob.epoch_place(gid).drop.drop_id
    shelf = third.epoch_shelf(bob.epoch_place(gid).drop)
    blind = Shelf(shelf.append_hash, shelf.read_hash, shelf.retention_days, [shelf.digests[0]])
    third.faces["bob", drop_id] = blind
    refresh(alice, gid)
    await world.pass_time(2)
    world.network.cut(world.relay.address)
    alice.client.chat(gid).send("by the other way")
    await world.pass_time(60)
    world.network.away.clear()
    del third.faces["bob", drop_id]
    with bob.client._unit() as unit:
        bob.rules.conversations.roster.look_soon(unit, gid, at=world.now())
    await world.settle()
    assert [m.text for m in bob.client.chat(gid).messages()] == ["by the other way"]


# Chains that have ended


@pytest.mark.long
async def test_cells_under_way_when_a_chain_ends_are_read_for_two_weeks(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = await world.friends("alice", "bob")
    gid = alice.gid("bob")
    secrets = set(chains(alice, gid).values())
    await alice.sleep()
    for number in range(20):
        alice.client.chat(gid).send(f"written on the way {number}")  # it leaves when she is back
    secrets |= set(chains(alice, gid).values())
    refresh(bob, gid)
    await world.settle()
    assert past(bob, gid) == 1
    alice.wake()
    await world.pass_time(10)
    await world.settle()
    assert [m.text for m in bob.client.chat(gid).messages()] == [
        f"written on the way {number}" for number in range(20)
    ]
    assert not secrets & set(chains(alice, gid).values())  # her own chains are not kept
    monkeypatch.setattr(world, "tick_s", 3_600.0)
    monkeypatch.setattr(roster, "LOOK_EVERY_MS", 86_400_000)
    await world.pass_time(15 * 86_400)
    await world.settle()
    assert past(bob, gid) + past(alice, gid) <= 2 * 2  # from refreshes since then
    ended = bob.one("SELECT min(ended_at) FROM chain_in WHERE ended_at IS NOT NULL")
    assert ended is None or ended > world.now() - rules.PAST_MS - 2 * 3_600_000
    agree_on_chains([alice, bob])


@pytest.mark.long
async def test_chains_that_have_ended_are_few(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    gid = alice.gid("bob")
    for _ in range(rules.KEPT_PAST + 3):
        refresh(alice, gid)
        await world.settle()
    assert past(bob, gid) == past(alice, gid) == rules.KEPT_PAST
    known = bob.rules.chains._known()
    looked_for = {expected.chain for expected in known.values() if expected.chain}
    assert len([chain for chain in looked_for if chain.gid == gid]) == rules.KEPT_PAST + 2
    alice.client.chat(gid).send("still here")
    await world.settle()
    assert [m.text for m in bob.client.chat(gid).messages()] == ["still here"]


@pytest.mark.parametrize("is_call", [False, True])
async def test_nothing_that_rests_on_a_chain_from_before_is_believed(
    world: World, monkeypatch: pytest.MonkeyPatch, is_call: bool
) -> None:
    alice, bob = await world.friends("alice", "bob")
    gid = alice.gid("bob")
    with copied.stolen(world, alice, await copied.copy_of(alice)) as thief:
        refresh(alice, gid)
        await world.settle()
        talk = thief._client._conversations
        upto, last = bob.db.execute("SELECT upto, hash FROM heard WHERE gid = ?", (gid,)).fetchone()
        body = codec.encode(Text("not hers", None, 0))
        forged = Envelope(
            bytes(16), upto + 1, last, 9, world.now(), Kind.TEXT, body, acks=[], more={}
        )
        again = Repair(
            alice.rules.me.signer, upto + 1, codec.encode(forged), is_before=False, place=None
        )
        (peer,) = talk.roster.others(talk.roster.group(gid))
        with thief._client._unit() as unit:
            # By the chain of words that has ended, or by that of calls, which goes on; alice has
            # used some of its labels herself since.
            lane = Lane.CALLS if is_call else Lane.WORDS
            row = CELL_KINDS[CellKind.REPAIR]._replace(lane=lane)
            monkeypatch.setitem(CELL_KINDS, CellKind.REPAIR, row)
            for _ in range(5):
                talk.saying.post(unit, gid, peer, CellKind.REPAIR, codec.encode(again))
            monkeypatch.undo()
            rows = thief._client._vault._db.execute(
                "SELECT request FROM outbox WHERE purpose = 'cell'"
            ).fetchall()
        for (request,) in rows:
            append = wire.decode_request(request)
            assert isinstance(append, wire.Append)
            world.relay.shelves[append.drop_id].add(append.cell)
        bob.client.chat(gid).send("what do you say?")
        await world.pass_time(60)
        await world.settle()
        assert [m.text for m in bob.client.chat(gid).messages()] == ["what do you say?"]
        alice.client.chat(gid).send("hers")
        await world.settle()
        assert bob.client.chat(gid).messages()[-1].text == "hers"
        assert not bob.warnings()


# Shown different Commits

HEARD_S = 600.0
"""How soon after the hour of waiting for votes two people whom a relay has split have heard each
other, in seconds: docs/protocol.md, section 9, "How long"."""


async def split(world: World, *, many_lost: int = 0) -> tuple[Person, Person, list[wire.Append]]:
    """Two people to whom a relay shows different Commits, each their own. Of the cells that it
    takes after these it loses so many, which are kept in a list."""
    alice, bob = people = await world.friends("alice", "bob")
    gid = alice.gid("bob")
    await world.pass_time(100)
    drop = bob.epoch_place(gid).drop
    for person in people:
        await person.sleep()
        refresh(person, gid)
    lost: list[wire.Append] = []
    shelf = world.relay.epoch_shelf(drop)
    other = Shelf(shelf.append_hash, shelf.read_hash, shelf.retention_days, [shelf.digests[0]])

    def shows_bob_his_own_first(append: wire.Append, who: str) -> bool:
        if append.drop_id == drop.drop_id:
            if who == "bob":
                for cell in (append.cell, *shelf.cells):
                    other.add(cell)
            return False
        if len(lost) == many_lost:
            return False
        lost.append(append)
        return True

    world.relay.forgets = shows_bob_his_own_first
    world.relay.faces["bob", drop.drop_id] = other
    alice.wake()
    await world.pass_time(5)
    bob.wake()
    await world.pass_time(5)
    # Both of them have renewed their keys, so neither knows the other's chain of words.
    assert len(lost) == many_lost
    return alice, bob, lost


def plan_refresh(person: Person, gid: bytes, *, after_s: float) -> None:
    """Have a person's keys refreshed again, so long from now."""
    due_at = person.client.now() + int(after_s * 1000)
    with person.client._unit() as unit:
        unit.db.execute("UPDATE conversation SET refresh_due_at = ? WHERE gid = ?", (due_at, gid))


def assert_heard(people: Iterable[Person], gid: bytes) -> None:
    for person in people:
        spoken = {f"{person.name} speaks" for person in people}
        assert {m.text for m in person.client.chat(gid).messages()} == spoken, person.name
        assert person.one("SELECT count(*) FROM early") == 0
        assert person.one("SELECT count(*) FROM comeback") == 0
    agree_on_chains(people)


async def split_and_speaking(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> tuple[Person, Person, list[wire.Append]]:
    """The same two people, each of whom has said something since."""
    monkeypatch.setattr(world, "tick_s", 20.0)
    alice, bob, lost = await split(world)
    for person in (alice, bob):
        person.client.chat(alice.gid("bob")).send(f"{person.name} speaks")
    return alice, bob, lost


@pytest.mark.long
@pytest.mark.parametrize("many_lost", [0, 2])
@pytest.mark.parametrize("renewing", [(), ("alice",), ("bob",), ("alice", "bob")])
async def test_two_who_were_shown_different_commits_hear_each_other_again(
    world: World, monkeypatch: pytest.MonkeyPatch, renewing: Sequence[str], many_lost: int
) -> None:
    monkeypatch.setattr(world, "tick_s", 20.0)
    alice, bob, _ = await split(world, many_lost=many_lost)
    people, gid = (alice, bob), alice.gid("bob")
    for person in people:
        # On both sides the group may go on before the votes decide which side is the group's.
        days = 0 if person.name in renewing else 7
        plan_refresh(person, gid, after_s=days * 86_400 + 1800)
        person.client.chat(gid).send(f"{person.name} speaks")
    begun = {person.name: person.client.chat(gid).view().epoch for person in people}
    await world.pass_time(1900)
    gone_on = {p.name for p in people if p.client.chat(gid).view().epoch > begun[p.name]}
    assert gone_on == set(renewing)
    await world.pass_time(branches.LATE_MS / 1000 + HEARD_S - 1900)
    assert all(RelayDoubted.code in person.warnings() for person in people)
    assert_heard(people, gid)


@pytest.mark.long
async def test_the_loser_of_a_vote_asks_until_they_are_over_whatever_is_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob, lost = await split_and_speaking(world, monkeypatch)
    people, gid = (alice, bob), alice.gid("bob")
    await world.pass_time(branches.LATE_MS / 1000 - 60)
    waiting = [one for one in people if one.one("SELECT count(*) FROM comeback")]
    assert len(waiting) == 2  # both wait for the verdict, and ask nothing that cannot change it
    with bob.client._unit() as unit:  # and however often they have asked because of claims before
        unit.db.execute("UPDATE comeback SET asks_left = 0")

    def loses_three(append: wire.Append, who: str) -> bool:
        if who == "bob" and append.drop_id == alice.bucket and len(lost) < 3:
            lost.append(append)
            return True
        return False

    world.relay.forgets = loses_three
    await world.pass_time(HEARD_S + 60)
    assert len(lost) == 3
    assert_heard(people, gid)


@pytest.mark.long
async def test_while_it_is_open_nobody_is_asked_who_cannot_decide_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob, _ = await split_and_speaking(world, monkeypatch)
    await world.pass_time(branches.LATE_MS / 1000 + HEARD_S)
    for person in (alice, bob):
        # One asking to find out and one to go over, each again if its answer takes longer than a
        # tick: of 16 that fit a fortnight.
        assert 1 <= person.one("SELECT count(*) FROM helped") <= 4
