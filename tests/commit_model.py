"""A model of Commit ordering and of coming back, with one member who lies. It tries every history
of a few deeds.

The members are two honest people and Mallory, who may refresh her keys and nothing else. Commits
stand in epoch drops; an epoch is named by the Commits that led to it, its *branch*. The model
checks every reachable state. Each honest member is in an epoch to which only rightful Commits lead
(else *takeover*), and under an honest relay in the one to which the drops' order leads (else
*moved*). Once Mallory is silent, honest deeds alone bring all honest members to one branch again
(else *stranded*).

We do not use spin, because half of this model is values that Promela lacks (branches that grow,
sets of votes), and the search is short. It has a hundred lines, runs in seconds wherever the tests
do, and a counterexample is a list of deeds that a test of the program can repeat.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Iterator
from typing import Literal, NamedTuple

HONEST = ("alice", "bob")
Rules = Literal["old", "new"]


class Commit(NamedTuple):
    author: str
    deed: Literal["refresh", "seize", "expel"]
    """Seize: its author alone is an admin from then on. Expel: Mallory is out."""


Branch = tuple[Commit, ...]


class Member(NamedTuple):
    branch: Branch = ()
    trouble: Literal["", "lost", "fork"] = ""
    fork: Branch = ()
    """The branch that somebody has named, to which a helper must belong."""
    seen: frozenset[Branch] = frozenset()
    """Epochs whose Commit this member has read in a drop as the first rightful one."""


class World(NamedTuple):
    people: tuple[Member, ...] = (Member(), Member())
    drops: tuple[tuple[Branch, tuple[Commit, ...]], ...] = ()
    secret: frozenset[Branch] = frozenset()
    """Branches that only Mallory is in."""
    votes: frozenset[Branch] = frozenset()
    """The Commits that Mallory says she has read."""
    lies: int = 0
    commits: int = 0
    copies: int = 0

    def drop(self, branch: Branch) -> tuple[Commit, ...]:
        return dict(self.drops).get(branch, ())

    def put(self, branch: Branch, commit: Commit) -> World:
        drops = dict(self.drops)
        drops[branch] = (*drops.get(branch, ()), commit)
        return self._replace(drops=tuple(sorted(drops.items())))

    def set(self, who: int, member: Member) -> World:
        people = list(self.people)
        people[who] = member
        return self._replace(people=tuple(people))


class Setting(NamedTuple):
    """The limits of a search: numbers of lies, of honest members' Commits and of copied vaults."""

    rules: Rules
    lies: int = 2
    commits: int = 2
    copies: int = 1
    founder: Literal["alice", "mallory"] = "alice"
    """The member with the first leaf. Alice is the admin in any case."""
    is_late: bool = False
    """Whether members no longer wait for those who have not voted."""
    two_faces: bool = False
    """The relay shows Bob the Commits of every drop from the last to the first."""


def is_rightful(branch: Branch, commit: Commit) -> bool:
    if commit.author == "mallory" and any(c.deed == "expel" for c in branch):
        return False
    seized = [c.author for c in branch if c.deed == "seize"]
    admin = seized[-1] if seized else "alice"
    return commit.deed == "refresh" or commit.author == admin


def lineage_is_rightful(branch: Branch) -> bool:
    return all(is_rightful(branch[:n], commit) for n, commit in enumerate(branch))


def first(world: World, setting: Setting, who: int, branch: Branch) -> Commit | None:
    """The Commit that ends an epoch, as a member reads the drop."""
    cells = world.drop(branch)
    if setting.two_faces and who == 1:
        cells = cells[::-1]
    return next((c for c in cells if is_rightful(branch, c)), None)


def common(one: Branch, other: Branch) -> int:
    return next(
        (n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
        min(len(one), len(other)),
    )


def wins(world: World, setting: Setting, theirs: Branch, ours: Branch, *, is_late: bool) -> bool:
    """Whether the sibling `theirs` of our epoch `ours` is the group's, by the votes."""
    gone = {"mallory"} if {theirs[-1].deed, ours[-1].deed} & {"expel"} else set()
    leaves = ["alice", "bob", "mallory"]
    if setting.founder == "mallory":
        leaves = ["mallory", "alice", "bob"]

    def voters(branch: Branch) -> set[str]:
        honest = {n for n, m in zip(HONEST, world.people, strict=True) if branch in m.seen}
        return honest | ({"mallory"} if branch in world.votes else set())

    both = voters(theirs) & voters(ours)
    for_them = len(voters(theirs) - both - gone)
    for_us = len(voters(ours) - both - gone)
    is_decided = 2 * for_them > len(set(leaves) - gone)
    late = is_late or setting.is_late
    if not late or for_them != for_us:
        return is_decided or (late and for_them > for_us)

    def rank(branch: Branch) -> tuple[int, str]:
        author = branch[-1].author
        return len(leaves) if author in gone else leaves.index(author), branch[-1].deed

    return rank(theirs) < rank(ours)


def hear_branch(
    world: World, setting: Setting, who: int, theirs: Branch, *, is_late: bool = False
) -> World:
    """Show a member another branch with its Commits, which are the proof and the way there."""
    me = world.people[who]
    at = common(me.branch, theirs)
    if at == len(theirs) or not lineage_is_rightful(theirs):
        return world
    if at == len(me.branch):  # it continues our branch: from now on it stands in the drop
        is_there = theirs[at] in world.drop(me.branch)
        return world if is_there else world.put(me.branch, theirs[at])
    if not wins(world, setting, theirs[: at + 1], me.branch[: at + 1], is_late=is_late):
        return world
    return world.set(who, me._replace(branch=theirs))


def help_(
    world: World, setting: Setting, who: int, offered: Branch, *, is_late: bool = False
) -> World:
    """Offer a member in trouble a branch to join."""
    me = world.people[who]
    fits = me.trouble == "lost" or offered[: len(me.fork)] == me.fork
    if setting.rules == "new":
        fits = fits and lineage_is_rightful(offered)
        here = first(world, setting, who, me.branch)
        ours = me.branch if here is None else (*me.branch, here)
        at = common(ours, offered)
        if at < len(ours) and at < len(offered):
            fits = fits and wins(world, setting, offered[: at + 1], ours[: at + 1], is_late=is_late)
        fits = fits and len(offered) >= len(me.branch[: at + 1])
    if not fits:
        return world
    return world.set(who, Member(offered, seen=me.seen))


def honest_steps(
    world: World, setting: Setting, *, is_late: bool = False
) -> Iterator[tuple[str, World]]:
    """The steps that honest members take by themselves."""
    for who, me in enumerate(world.people):
        commit = first(world, setting, who, me.branch)
        if not me.trouble and commit is not None:
            branch = (*me.branch, commit)
            yield (
                f"{HONEST[who]} reads",
                world.set(who, me._replace(branch=branch, seen=me.seen | {branch})),
            )
        other = world.people[1 - who]
        if me.trouble and not other.trouble:
            after = help_(world, setting, who, other.branch, is_late=is_late)
            yield f"{HONEST[1 - who]} helps", after
        has_looked = any(b[:-1] == me.branch for b in me.seen)
        if setting.rules == "new" and me.trouble and commit is not None and not has_looked:
            seen = me.seen | {(*me.branch, commit)}
            yield f"{HONEST[who]} looks", world.set(who, me._replace(seen=seen))
        if setting.rules == "new" and not me.trouble:
            shown = max((other.branch, *other.seen), key=len) if other.trouble else other.branch
            after = hear_branch(world, setting, who, shown, is_late=is_late)
            yield f"{HONEST[who]} hears", after


def steps(world: World, setting: Setting) -> Iterator[tuple[str, World]]:
    """All possible next steps."""
    yield from honest_steps(world, setting)
    if world.commits < setting.commits:
        more = world._replace(commits=world.commits + 1)
        for who, me in enumerate(world.people):
            deeds: list[Literal["refresh", "expel"]] = ["refresh", "expel"]
            for deed in deeds:
                commit = Commit(HONEST[who], deed)
                if not me.trouble and is_rightful(me.branch, commit):
                    yield f"{HONEST[who]} commits {deed}", more.put(me.branch, commit)
    if world.copies < setting.copies:
        more = world._replace(copies=world.copies + 1)
        for who, me in enumerate(world.people):
            if not me.trouble:
                yield (
                    f"{HONEST[who]}'s vault is an old copy",
                    more.set(who, me._replace(trouble="lost")),
                )
    if world.lies < setting.lies:
        yield from lies(world._replace(lies=world.lies + 1), setting)
    for who, me in enumerate(world.people):  # help and proof cost her nothing
        for branch in world.secret:
            if me.trouble:
                yield f"mallory helps {HONEST[who]}", help_(world, setting, who, branch)
            elif setting.rules == "new":
                yield f"mallory shows {HONEST[who]}", hear_branch(world, setting, who, branch)


def lies(world: World, setting: Setting) -> Iterator[tuple[str, World]]:
    """The steps that Mallory can take at the cost of one lie."""
    known = {me.branch for me in world.people} | world.secret
    for branch in known:
        deeds: list[Literal["refresh", "seize"]] = ["refresh", "seize"]
        for deed in deeds:
            commit = Commit("mallory", deed)
            yield f"mallory commits {deed}", world.put(branch, commit)
            yield (
                f"mallory {deed} alone",
                world._replace(secret=world.secret | {(*branch, commit)}),
            )
    if setting.rules == "new":
        for branch in known | {b[:n] for b in known for n in range(1, len(b))}:
            if branch:
                yield "mallory votes", world._replace(votes=world.votes | {branch})
        return
    for who, me in enumerate(world.people):
        if me.trouble:
            continue
        yield (
            f"mallory acks more than {HONEST[who]} has said",
            world.set(who, me._replace(trouble="lost")),
        )
        nobody = (*me.branch, Commit("mallory", "seize"), Commit("mallory", "seize"))
        yield (
            f"mallory names a branch to {HONEST[who]}",
            world.set(who, me._replace(trouble="fork", fork=nobody)),
        )


@functools.cache
def settled(world: World, setting: Setting) -> World:
    """The state to which honest deeds alone lead."""
    for _ in range(100):
        after = next((w for _, w in honest_steps(world, setting, is_late=True) if w != world), None)
        if after is None:
            return world
        world = after
    raise AssertionError("honest members never come to rest")


def wrong(world: World, setting: Setting) -> str:
    """The promise that a state breaks; empty if none."""
    for who, me in enumerate(world.people):
        if not lineage_is_rightful(me.branch):
            return "takeover"
        if setting.two_faces or setting.copies or setting.is_late or setting.rules == "old":
            continue
        for n, commit in enumerate(me.branch):
            if first(world, setting, who, me.branch[:n]) != commit:
                return "moved"
    # Further lies, and branches of Mallory alone, do not change where honest deeds lead.
    rest = settled(world._replace(secret=frozenset(), lies=0, commits=0, copies=0), setting)
    if any(me.trouble for me in rest.people) or len({me.branch for me in rest.people}) > 1:
        return "stranded"
    return ""


class Explored(NamedTuple):
    states: int
    broken: dict[str, list[str]]
    """For each broken promise the shortest history that breaks it."""


def explore(setting: Setting) -> Explored:
    """Every reachable state, the nearest first."""
    begin = World()
    how: dict[World, tuple[World, str] | None] = {begin: None}
    todo = deque([begin])
    broken: dict[str, list[str]] = {}
    while todo:
        world = todo.popleft()
        what = wrong(world, setting)
        if what:
            if what not in broken:
                broken[what] = history(how, world)
            continue
        for deed, after in steps(world, setting):
            if after not in how:
                how[after] = (world, deed)
                todo.append(after)
    return Explored(len(how), broken)


def history(how: dict[World, tuple[World, str] | None], world: World) -> list[str]:
    deeds: list[str] = []
    while (before := how[world]) is not None:
        world = before[0]
        deeds.append(before[1])
    return deeds[::-1]
