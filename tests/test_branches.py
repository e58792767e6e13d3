"""Votes of members decide which of two Commits that end one epoch is the group's."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import pytest

from amanat.client.branches import (
    LATE_MS,
    MAX_SIBLINGS,
    MAX_VOTES_EACH,
    Branches,
    Sibling,
    name_of,
)
from amanat.client.rules.astray import BEHIND_MS
from amanat.protocol.identity import vote_text
from amanat.protocol.messages import Vote
from test_lineage import NO_LEAVES

if TYPE_CHECKING:
    from amanat.drill.person import Person
    from amanat.drill.world import World


class Split(NamedTuple):
    """A group in which two of the members have ended one epoch, as the first of them sees it."""

    gid: bytes
    epoch: int
    people: list[Person]
    commits: dict[str, bytes]
    """The Commits by the names of their committers."""
    now: int

    @property
    def branches(self) -> Branches:
        return self.people[0].rules.conversations.branches

    def vote(self, who: str, whose: str) -> Vote:
        """A member's vote that this committer's Commit was the first."""
        person = next(each for each in self.people if each.name == who)
        engine, signer = person.rules.engine, person.rules.me.signer
        name = name_of(self.commits[whose])
        text = vote_text(self.gid, self.epoch, name)
        return Vote(self.epoch, signer, name, engine.sign(signer, text))

    def take_all(self, *votes: Vote) -> None:
        """Take in these votes, the first member's own among them."""
        with self.people[0].client._unit() as unit:
            for vote in votes:
                self.branches._keep(unit, self.gid, vote)

    def take(self, *votes: Vote) -> None:
        """Take in these votes of others."""
        with self.people[0].client._unit() as unit:
            self.branches.take(unit, self.gid, votes)

    def is_lost(self, whose: str, *, later_ms: int = 0) -> bool | None:
        """Whether the first member, who went on by their own Commit, has lost to another's; None
        while that is open."""
        sibling = Sibling(self.gid, self.epoch, self.commits[whose])
        return self.branches.is_lost(sibling, now=self.now + later_ms)

    def forget_votes(self) -> None:
        with self.people[0].client._unit():
            self.people[0].db.execute("DELETE FROM vote")

    def go_over(self) -> None:
        """Have the first member go on by bob's Commit."""
        first = self.people[0].rules.conversations
        with self.people[0].client._unit() as unit:
            alice, bob = self.commits["alice"], self.commits["bob"]
            first.branches.swap(unit, self.gid, self.epoch, alice, bob)
            first.lineages.goes_on(unit, self.gid, self.epoch, bob, is_read=False)


async def split(
    world: World, *names: str, removes: dict[str, str] | None = None, ours: str = ""
) -> Split:
    """A group in which the members in `removes`, or the first two, have each made a Commit; the
    first member followed their own, or that of `ours`."""
    people = await world.friends(*names)
    gid = await world.group("g", *people)
    for person in people[1:]:
        people[0].client.chat(gid).set_admin(person.name)
        await world.settle()
    for person in people:
        await person.sleep()
    removes = removes or dict.fromkeys(names[:2], "")
    commits = {}
    for person in people:
        if person.name in removes:
            talk = person.rules.conversations
            gone = [p for p in talk.roster.group(gid).people if p.leaf.name == removes[person.name]]
            with person.client._unit():
                made = person.rules.engine.commit(
                    gid, removes=[p.leaf_index for p in gone], update=True, aad=NO_LEAVES
                )
                person.rules.engine.clear_pending(gid)
            commits[person.name] = made.commit
    first = people[0].client
    epoch = first.chat(gid).view().epoch
    own = commits[ours or names[0]]
    with first._unit() as unit:
        first._conversations.lineages.goes_on(unit, gid, epoch, own, is_read=True)
        for name, commit in commits.items():
            if name != (ours or names[0]):
                first._conversations.branches.note(unit, gid, epoch, commit)
        first._conversations.branches.vote(unit, gid, epoch)
    return Split(gid, epoch, people, commits, world.now())


@pytest.mark.long
async def test_more_than_half_of_those_on_both_sides_decide(world: World) -> None:
    parted = await split(world, "alice", "bob", "carol", "dave")
    assert parted.is_lost("bob") is None
    parted.take(parted.vote("bob", "bob"), parted.vote("carol", "bob"))
    assert parted.is_lost("bob") is None  # two of four are no majority
    parted.take(parted.vote("dave", "bob"))
    assert parted.is_lost("bob")


@pytest.mark.long
async def test_a_member_who_says_two_things_has_said_nothing(world: World) -> None:
    parted = await split(world, "alice", "bob", "carol", "dave")
    parted.take(*(parted.vote(name, "bob") for name in ("bob", "carol", "dave")))
    assert parted.is_lost("bob")
    parted.take(parted.vote("carol", "alice"), parted.vote("dave", "alice"))
    assert parted.is_lost("bob") is None  # as if neither had
    assert parted.is_lost("bob", later_ms=LATE_MS) is False  # alice's leaf is the lower one


@pytest.mark.long
async def test_nobody_votes_for_another_and_nobody_who_was_not_there(world: World) -> None:
    parted = await split(world, "alice", "bob", "carol")
    right = parted.vote("carol", "bob")
    stranger = await world.person("eve")
    signer = stranger.rules.me.signer
    text = vote_text(parted.gid, parted.epoch, right.commit)
    for wrong in (
        Vote(right.epoch, parted.people[1].rules.me.signer, right.commit, right.signature),
        Vote(right.epoch, right.signer, bytes(32), right.signature),
        Vote(right.epoch, signer, right.commit, stranger.rules.engine.sign(signer, text)),
        Vote(right.epoch + 7, right.signer, right.commit, right.signature),
    ):
        parted.take(wrong)
    assert [v.signer for v in parted.branches.votes(parted.gid, parted.epoch)] == [
        parted.people[0].rules.me.signer
    ]


@pytest.mark.long
async def test_where_nobody_else_says_anything_the_lower_leaf_has_it_after_an_hour(
    world: World,
) -> None:
    parted = await split(world, "alice", "bob", "carol")
    parted.take(parted.vote("bob", "bob"))
    assert parted.is_lost("bob", later_ms=LATE_MS - 1) is None
    assert parted.is_lost("bob", later_ms=LATE_MS) is False  # alice's leaf is lower
    other = await split(world, "dora", "emil", "fritz", ours="emil")
    other.take(other.vote("dora", "dora"))
    assert other.is_lost("dora", later_ms=LATE_MS - 1) is None
    assert other.is_lost("dora", later_ms=LATE_MS) is True


async def test_two_who_have_read_different_things_wait_an_hour_and_draw_one_conclusion(
    world: World,
) -> None:
    parted = await split(world, "alice", "bob")
    parted.take(parted.vote("bob", "bob"))
    assert parted.is_lost("bob", later_ms=LATE_MS - 1) is None
    assert parted.is_lost("bob", later_ms=LATE_MS) is False
    parted.go_over()
    assert parted.is_lost("alice", later_ms=LATE_MS - 1) is None
    assert parted.is_lost("alice", later_ms=LATE_MS) is True


@pytest.mark.long
async def test_a_vote_is_for_what_one_has_read_and_is_said_once(world: World) -> None:
    parted = await split(world, "alice", "bob", "carol")
    with parted.people[0].client._unit() as unit:
        own = parted.branches.vote(unit, parted.gid, parted.epoch)
    assert own is not None
    assert own.commit == name_of(parted.commits["alice"])
    parted.go_over()
    with parted.people[0].client._unit() as unit:
        assert parted.branches.vote(unit, parted.gid, parted.epoch) == own
        assert parted.branches.vote(unit, parted.gid, parted.epoch, parted.commits["bob"]) == own
    parted.forget_votes()  # as a member who had never read it, and came to bob's by help
    with parted.people[0].client._unit() as unit:
        assert parted.branches.vote(unit, parted.gid, parted.epoch) is None


@pytest.mark.long
async def test_a_person_who_is_out_on_one_side_does_not_count(world: World) -> None:
    parted = await split(world, "alice", "bob", "carol", removes={"alice": "bob", "bob": "alice"})
    assert parted.is_lost("bob") is None
    parted.take(parted.vote("carol", "bob"))
    assert parted.is_lost("bob")  # carol alone is on both sides


@pytest.mark.long
async def test_an_admin_who_puts_out_the_person_who_put_them_down_wins_nobody(world: World) -> None:
    # Mallory's leaf is the lowest, and her Commit is in no drop; bob has read alice's.
    parted = await split(
        world,
        "mallory",
        "alice",
        "bob",
        removes={"alice": "", "mallory": "alice"},
        ours="alice",
    )
    parted.forget_votes()
    parted.take_all(parted.vote("bob", "alice"), parted.vote("mallory", "mallory"))
    assert not parted.is_lost("mallory")
    assert parted.is_lost("mallory", later_ms=LATE_MS) is False


@pytest.mark.long
async def test_memory_of_one_epoch_has_a_bound(world: World) -> None:
    parted = await split(world, "alice", "bob", "carol")
    with parted.people[0].client._unit() as unit:
        for number in range(3 * MAX_SIBLINGS):
            parted.branches.note(unit, parted.gid, parted.epoch, b"%d" % number)
    assert len(parted.branches.siblings(parted.gid)) == MAX_SIBLINGS
    carol = parted.people[2]
    for number in range(3 * MAX_VOTES_EACH):
        name = bytes([number] * 32)
        text = vote_text(parted.gid, parted.epoch, name)
        signer = carol.rules.me.signer
        signature = carol.rules.engine.sign(signer, text)
        parted.take(Vote(parted.epoch, signer, name, signature))
    assert len(parted.branches.votes(parted.gid, parted.epoch)) == 1 + MAX_VOTES_EACH


@pytest.mark.long
async def test_whatever_is_said_both_sides_draw_one_conclusion(world: World) -> None:
    parted = await split(world, "alice", "bob", "carol", "dave", "emil")
    sides = {"a": "alice", "b": "bob"}
    verdicts: dict[str, set[bool]] = {}
    for theirs in ("bob", "alice"):
        for votes in itertools.product("ab-", repeat=3):
            parted.forget_votes()
            said = zip(("carol", "dave", "emil", "alice", "bob"), (*votes, "a", "b"), strict=True)
            parted.take_all(*(parted.vote(who, sides[what]) for who, what in said if what != "-"))
            is_lost = parted.is_lost(theirs, later_ms=LATE_MS)
            verdicts.setdefault("".join(votes), set()).add(is_lost is (theirs == "bob"))
        parted.go_over()
    for said_by_others, is_bob in verdicts.items():
        assert is_bob == {said_by_others.count("b") > said_by_others.count("a")}


@pytest.mark.long
async def test_an_hour_is_an_hour_though_the_clock_was_set_back(world: World) -> None:
    parted = await split(world, "alice", "bob", "carol")
    talk, db = parted.people[0].rules.conversations, parted.people[0].db
    years = 10 * 365 * 86_400_000
    with parted.people[0].client._unit() as unit:
        db.execute("UPDATE sibling SET known_at = known_at + ?", (years,))
        db.execute(
            "INSERT INTO early (gid, data, kept_at) VALUES (?, x'', ?)",
            (parted.gid, unit.now + years),
        )
    assert parted.is_lost("bob", later_ms=LATE_MS) is None
    assert talk.astray.behind(parted.now + BEHIND_MS) == []
    with parted.people[0].client._unit() as unit:
        talk.wishes.begin_clock(unit)
    assert parted.is_lost("bob", later_ms=LATE_MS) is False
    assert talk.astray.behind(parted.now + BEHIND_MS) == [parted.gid]
