"""Campaigns that a client survives, in the simulated world.

Short here, and longer in `make soak`: see `figures.py`. docs/reliability.md says what each one
checks.
"""

from __future__ import annotations

import contextlib
import functools
import random
import statistics
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from amanat.client.rules import roster
from amanat.client.sdk.client import Client
from amanat.client.sdk.views import Message
from amanat.client.vault import Unlock
from amanat.drill.death import Died
from amanat.drill.network import CALM, STORM
from amanat.drill.person import Person
from amanat.drill.shelves import Shelf
from amanat.drill.world import World
from amanat.errors import (
    AmanatError,
    BadArgument,
    InviteUsed,
    NotAdmin,
    RelayDoubted,
    RelayLied,
    VaultDamaged,
)
from amanat.protocol import codec, wire
from amanat.protocol.cells import LABEL_BYTES, MAX_PAYLOAD, MESSAGE_CELL
from amanat.protocol.drops import HANDSHAKE_RETENTION_DAYS, token_hash
from amanat.protocol.messages import Policy, piece_hash
from damage import changed_at
from figures import SOAK, report, rounds

pytestmark = [
    pytest.mark.long,
    pytest.mark.campaign,
    pytest.mark.timeout(100 * max(1.0, SOAK) + 20),
]

HOUR_S, DAY_S = 3_600, 86_400


def agree(people: list[Person], gid: bytes) -> None:
    """Assert that all are in one epoch of one group, and see the same."""
    groups = [person.rules.conversations.roster.group(gid) for person in people]
    assert len({group.view.epoch_authenticator for group in groups}) == 1
    assert len({group.view.policy for group in groups}) == 1
    shown = [[seen_by_all(m) for m in person.client.chat(gid).messages()] for person in people]
    assert all(one == shown[0] for one in shown)
    assert len({one[0] for one in shown[0]}) == len(shown[0])


def seen_by_all(message: Message) -> tuple[object, ...]:
    """The fields of a message that every member must see alike."""
    reactions = sorted(message.reactions.items())
    return message.id, message.sender, message.text, message.is_edited, reactions


def missing(people: list[Person]) -> int:
    return sum(sum(p.rules.conversations.gaps.missing().values()) for p in people)


# Killed at random


@dataclass
class Words:
    """A text that somebody has written."""

    author: str
    may_be: set[str]
    """The words that it may have now: several if a process died while changing it."""
    is_sure: bool
    """Whether its author was told that it was sent."""


class Life:
    """Four people who talk, change the group and die, and the results that must follow."""

    CHANGES = 2
    """Changes of the group in one round: a message may come late by that many epochs."""

    def __init__(self, world: World, people: list[Person], gid: bytes) -> None:
        self.world = world
        self.people = people
        self.gid = gid
        self.words: dict[str, Words] = {}
        """Each text by its first words."""
        self.ids: dict[str, str] = {}
        """The first words, by the id of the message."""
        self.count: Counter[str] = Counter()

    def say(self, person: Person) -> None:
        self.count["texts"] += 1
        text = f"text {self.count['texts']} of {person.name}"
        words = self.words[text] = Words(person.name, {text}, is_sure=True)
        try:
            person.client.chat(self.gid).send(text)
        except Died:
            words.is_sure = False

    def alter(self, person: Person) -> None:
        """Have a person edit or delete a text of theirs, or react to anybody's."""
        shown = [m for m in person.client.chat(self.gid).messages() if m.text]
        for message in shown:
            if message.text in self.words:
                self.ids.setdefault(message.id, message.text)
        own = [m for m in shown if m.is_own and m.id in self.ids]
        if not own:
            return
        message = self.world.rng.choice(own)
        words = self.words[self.ids[message.id]]
        match self.world.rng.choice(("edit", "edit", "delete", "react", "react")):
            case "edit":
                self.count["edits"] += 1
                text = f"edit {self.count['edits']} of {person.name}"
                act = functools.partial(person.client.chat(self.gid).edit, message.id, text)
            case "delete":
                self.count["deletions"] += 1
                text = ""
                act = functools.partial(person.client.chat(self.gid).delete, [message.id])
            case _:
                self.count["reactions"] += 1
                target = self.world.rng.choice(shown)
                with contextlib.suppress(Died):
                    person.client.chat(self.gid).react(target.id, self.world.rng.choice("+-"))
                return
        try:
            act()
        except Died:
            words.may_be.add(text)
        else:
            words.may_be = {text}

    def change(self, person: Person) -> None:
        other = self.world.rng.choice(self.people)
        self.count["changes"] += 1
        try:
            match self.world.rng.choice(("rename", "admin", "no admin", "roles")):
                case "rename":
                    person.client.chat(self.gid).rename(f"name {self.count['changes']}")
                case "admin":
                    person.client.chat(self.gid).set_admin(other.name)
                case "no admin":
                    person.client.chat(self.gid).set_admin(other.name, is_admin=False)
                case _:
                    may = self.world.rng.choice(("admins", "members"))
                    person.client.chat(self.gid).set_roles({"rename": may})
        except (BadArgument, NotAdmin, Died):
            self.count["changes"] -= 1

    async def round(self, things: int) -> None:
        """Do many things in a storm, then wait for calm; then every promise holds."""
        rng, changes = self.world.rng, self.count["changes"]
        self.world.network.weather = STORM
        for _ in range(things):
            person = rng.choice(self.people)
            what = rng.choices(
                ("say", "alter", "change", "die", "sleep", "wait"), (8, 5, 2, 6, 1, 5)
            )
            match what[0]:
                case "say":
                    self.say(person)
                case "alter":
                    self.alter(person)
                case "change" if self.count["changes"] < changes + self.CHANGES:
                    self.change(person)
                case "die":
                    person.die_after(rng.randrange(1, 40))
                case "sleep" if person.is_awake and not person.is_doomed:
                    await person.sleep()
                case _:
                    await self.world.pass_time(rng.uniform(0, 2))
            await self.world.pass_time(0)
        self.world.network.weather = CALM
        for person in self.people:
            person.fuse.left = None
            if not person.is_awake:
                person.wake()
        await self.world.settle()
        assert not any(person.warnings() for person in self.people)
        agree(self.people, self.gid)
        self.check()

    def check(self) -> None:
        shown = self.people[0].client.chat(self.gid).messages()
        told = {m.id: m.text for m in shown}
        assert len(told) == len(shown)
        first = {m.text: m.id for m in shown} | {text: mid for mid, text in self.ids.items()}
        for text, words in self.words.items():
            if text in first:
                assert told[first[text]] in words.may_be
            else:
                assert not words.is_sure  # the process died while it was being sent


async def test_killed_at_random(world: World) -> None:
    people = await world.friends("alice", "bob", "carol", "dave")
    gid = await world.group("all", *people)
    life = Life(world, people, gid)
    turns = 0
    while sum(person.deaths for person in people) < rounds(20, 400):
        world.rng.seed(turns)
        await life.round(60)
        turns += 1
    deaths = sum(person.deaths for person in people)
    report(
        "client killed at random",
        rounds=turns,
        deaths=deaths,
        **life.count,
        epochs=people[0].client.chat(gid).view().epoch,
    )


# Commits at once, with junk in between


class Junk:
    """Junk that a member without any right puts into the epoch drops of a group. (That member's own
    client sees a Commit of its leaf that it never made, and says so.)"""

    def __init__(self, world: World, member: Person, gid: bytes) -> None:
        self.world = world
        self.member = member
        self.gid = gid
        self.old: list[bytes] = []
        """Payloads of earlier epochs, Commits among them."""
        self.raw: list[bytes] = []
        """Cells of earlier epochs."""
        self.thrown = 0
        """Cells of junk since the beginning of the last race."""
        self._commit = b""

    def begin(self) -> None:
        """Prepare the next race: make sure that its drop exists, and make a Commit that the rights
        forbid."""
        self.thrown = 0
        member = self.member.client
        policy = member._conversations.roster.group(self.gid).policy
        mine = Policy([], "mine", [member._me.identity], policy.relay, policy.region)
        with contextlib.suppress(BadArgument), member._unit():
            bundle = member._run.parts.engine.commit(self.gid, policy=codec.encode(mine))
            raise BadArgument
        self._commit = bundle.commit
        _, drop = member._conversations.epochs.epoch_drops(self.gid)[-1]
        made = wire.Create(
            0,
            self.world.relay.bucket_key,
            drop.drop_id,
            token_hash(drop.drop_id, drop.append_token),
            token_hash(drop.drop_id, drop.read_token),
            HANDSHAKE_RETENTION_DAYS,
        )
        assert isinstance(self.world.relay.answer(made), wire.Created)

    def throw(self) -> None:
        """Put one cell of junk into the drop of the member's epoch."""
        rng = self.world.rng
        half = rng.randbytes(200)
        payload = rng.choice(
            [
                rng.randbytes(rng.randrange(MAX_PAYLOAD)),
                self.member.piece(self.gid, rng.randbytes(rng.randrange(1, 3_000))),
                self.member.piece(self.gid, self._commit),
                self.member.piece(self.gid, self._commit[:-1]),
                self.member.piece(self.gid, half, of=[piece_hash(half), bytes(16)]),
                *self.old[-8:],
            ]
        )
        drop_id, cell = self.member.seal_for_epoch(self.gid, payload)
        cells = [cell, rng.randbytes(MESSAGE_CELL), *self.raw[-8:]]
        self.put(drop_id, rng.choice(cells))

    def put(self, drop_id: bytes, cell: bytes) -> None:
        shelf = self.world.relay.shelves.get(drop_id)
        if shelf is not None and all(
            other[:LABEL_BYTES] != cell[:LABEL_BYTES] for other in shelf.cells
        ):
            shelf.add(cell)
            self.thrown += 1

    def keep(self) -> None:
        """Keep the contents of the last race's drops, to repeat them in the next."""
        talk = self.member.rules.conversations
        for epoch, drop in talk.epochs.epoch_drops(self.gid):
            place = talk.epochs.epoch_place(self.gid, epoch)
            for cell in self.world.relay.shelves.get(drop.drop_id, EMPTY).cells:
                with contextlib.suppress(AmanatError):
                    self.old.append(codec.encode(place.open(cell)))
                    self.raw.append(cell)


EMPTY = Shelf(b"", b"", 0, [])


@pytest.mark.parametrize("count", [2, 5])
async def test_commits_at_once_with_junk_in_between(world: World, count: int) -> None:
    people = await world.friends(*"abcdef")
    gid = await world.group("g", *people)
    for person in people[1:count]:
        people[0].client.chat(gid).set_admin(person.name)
        await world.settle()
    restore = await world.save()
    races, raced, thrown = rounds(2, 50), 0, 0
    for seed in range(races):
        world.rng.seed(seed)
        # The client that throws junk takes its vault for a copy and comes back, which it can do a
        # few times in two weeks. So now and then everything begins again.
        if seed % RACES == 0:
            await restore()
            junk = Junk(world, people[-1], gid)
        raced += await race(world, people[:count], junk, seed)
        for person in people:
            person.client.chat(gid).send(f"{person.name} says {seed}")
        await world.settle()
        agree(people, gid)
        assert people[0].client.chat(gid).count() == len(people) * (seed % RACES + 1)
        assert [person.warnings() for person in people[:-1]] == [[]] * (len(people) - 1)
        thrown += junk.thrown
        junk.keep()
    report(
        f"{count} Commits at once with junk in between",
        rounds=races,
        commits=count * races,
        raced=raced,
        junk=thrown,
    )


RACES = 3


async def race(world: World, committers: list[Person], junk: Junk, seed: int) -> int:
    """Have all rename a group at once while junk rains; the number of Commits after the first."""
    gid = junk.gid
    junk.begin()
    before = committers[0].client.chat(gid).view().epoch
    for person in committers:
        await person.sleep()
        person.client.chat(gid).rename(f"{person.name} {seed}")
    world.network.weather = STORM
    for person in world.rng.sample(committers, len(committers)):
        junk.throw()
        person.wake()
    for _ in range(12):
        await world.pass_time(world.rng.uniform(0, 0.2))
        junk.throw()
    world.network.weather = CALM
    await world.settle()
    await world.pass_time(roster.LOOK_EVERY_MS / 1000 + 10)
    await world.settle()
    for person in committers:
        assert not person.one("SELECT count(*) FROM intent")
        assert person.client.chat(gid).view().name in {f"{p.name} {seed}" for p in committers}
    return committers[0].client.chat(gid).view().epoch - before - 1


# A relay that forgets


class Forgetful:
    """Measures how long it takes until nothing is missing any longer."""

    def __init__(self, world: World, people: list[Person], gid: bytes) -> None:
        self.world = world
        self.people = people
        self.gid = gid
        self.said = 0
        self.name = "family"
        self.count: Counter[str] = Counter()
        self.seconds: list[float] = []

    def say(self, person: Person) -> None:
        person.client.chat(self.gid).send(f"text {self.said}")
        self.said += 1

    def rename(self) -> None:
        self.count["commits"] += 1
        self.name = f"name {self.count['commits']}"
        self.people[0].client.chat(self.gid).rename(self.name)

    def is_whole(self) -> bool:
        counts = {person.client.chat(self.gid).count() for person in self.people}
        names = {person.client.chat(self.gid).view().name for person in self.people}
        return (counts, names) == ({self.said}, {self.name}) and not missing(self.people)

    async def mend(self, since: float, *, step: float = 1.0) -> None:
        """Wait until everybody has every message."""
        noticed = False
        while not self.is_whole():
            noticed = noticed or missing(self.people) > 0 or self.lies() > 0
            await self.world.pass_time(step)
            assert self.world.loop.time() < since + 2 * DAY_S
        self.count["noticed"] += noticed
        self.seconds.append(self.world.loop.time() - since)

    def lies(self) -> int:
        told = [code for person in self.people for code in person.warnings()]
        return told.count(RelayLied.code) + told.count(RelayDoubted.code)

    def clear(self) -> None:
        for person in self.people:
            assert set(person.warnings()) <= {RelayLied.code, RelayDoubted.code}
            person.client.clear_warnings()

    def report(self, campaign: str, **more: int) -> None:
        agree(self.people, self.gid)
        took = [min(self.seconds), statistics.median(self.seconds), max(self.seconds)]
        words = ("seconds min", "seconds median", "seconds max")
        report(
            campaign,
            rounds=len(self.seconds),
            **self.count,
            **more,
            **{word: round(value, 1) for word, value in zip(words, took, strict=True)},
        )


async def forgetful(world: World) -> Forgetful:
    people = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", *people)
    await world.pass_time(200)
    await world.settle()
    return Forgetful(world, people, gid)


async def test_relay_that_forgets_some_of_all(world: World) -> None:
    scene = await forgetful(world)
    lost_at: list[float] = []

    def forgets(*_: object) -> bool:
        if world.rng.random() < 0.01:
            lost_at.append(world.loop.time())
            return True
        return False

    lost = 0
    for seed in range(rounds(2, 60)):
        world.rng.seed(seed)
        lost_at.clear()
        while not lost_at:  # it goes on forgetting until all is mended
            world.relay.forgets = forgets
            scene.rename()
            for _ in range(15):
                scene.say(world.rng.choice(scene.people))
                await world.pass_time(world.rng.uniform(0, 1))
        await scene.mend(lost_at[0])
        world.relay.forgets = lambda *_: False
        lost += len(lost_at)
        await world.pass_time(700)
        await world.settle()
        scene.clear()
    scene.report("relay forgets 1 % of the cells", texts=scene.said, cells_forgotten=lost)


def is_by(name: str, _: wire.Append, who: str) -> bool:
    return who == name


async def test_relay_that_forgets_the_last_word(world: World) -> None:
    scene = await forgetful(world)
    for seed in range(rounds(4, 80)):
        world.rng.seed(seed)
        speaker = world.rng.choice(scene.people)
        world.relay.forgets = functools.partial(is_by, speaker.name)
        scene.say(speaker)
        since = world.loop.time()
        await world.settle()
        world.relay.forgets = lambda *_: False
        assert not scene.is_whole()
        await scene.mend(since)
        await world.pass_time(700)
        await world.settle()
        scene.clear()
    scene.report("relay forgets the last word", texts=scene.said)


async def test_relay_that_restores_yesterdays_disk(world: World) -> None:
    scene = await forgetful(world)
    for seed in range(rounds(2, 60)):
        world.rng.seed(seed)
        restore = world.relay.image()
        away = world.rng.choice(scene.people)
        for index in range(12):
            if index == 6:
                await away.sleep()
            scene.say(world.rng.choice([p for p in scene.people if p.is_awake]))
            await world.pass_time(world.rng.uniform(0, 2))
        restore()
        for person in scene.people:
            if person.is_awake:
                await person.sleep()
        since = world.loop.time()
        for person in scene.people:
            person.wake()
        await scene.mend(since)
        assert scene.lies()
        await world.pass_time(700)
        await world.settle()
        scene.clear()
    scene.report("relay restores an older disk", texts=scene.said)


# A clock that jumps


async def test_clocks_that_jump_both_ways(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    people = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", *people)
    said, fleeting, jumps = 0, 0, 0
    for seed in range(rounds(2, 40)):
        world.rng.seed(seed)
        for _ in range(25):
            person = world.rng.choice(people)
            if world.rng.random() < 0.4:
                far = world.rng.choice((HOUR_S, DAY_S, 9 * DAY_S))
                person.ahead_ms = 1000 * world.rng.randint(-far, far)
                jumps += 1
            with person.acting() as client:
                if world.rng.random() < 0.2:
                    pair = person.gid("bob" if person is people[0] else "alice")
                    client.chat(pair).set_timer(60)
                    client.chat(pair).send("brief")
                    fleeting += 1
                else:
                    client.chat(gid).send(f"text {said}")
                    said += 1
            await world.pass_time(world.rng.uniform(0, 30))
        for person in people:
            person.ahead_ms = 0
        await world.pass_time(2)
        await world.settle()
        for person in people:
            shown = person.client.chat(gid).messages()
            assert sorted(m.text for m in shown) == sorted(f"text {n}" for n in range(said))
            assert not person.warnings()
        agree(people, gid)
    # Texts that were to disappear have, however late a clock once put their end.
    # Meanwhile clients look more rarely for what is due, and for Commits that nobody makes.
    monkeypatch.setattr(world, "tick_s", 300.0)
    monkeypatch.setattr(roster, "LOOK_EVERY_MS", 1000 * DAY_S)
    await world.pass_time(14 * DAY_S + 600)
    for person in people:
        assert person.one("SELECT count(*) FROM message WHERE text = 'brief'") == 0
    report("clocks that jump", rounds=rounds(2, 40), jumps=jumps, texts=said, timed=fleeting)


# Files that are damaged


def files(directory: Path) -> dict[str, bytes]:
    """Every file and its contents, except SQLite's record of readers."""
    return {p.name: p.read_bytes() for p in directory.iterdir() if not p.name.endswith("-shm")}


DAMAGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "cut": lambda data, rng: data[: rng.randrange(len(data))],
    "flipped in the first page": lambda data, rng: changed_at(data, rng.randrange(4096)),
    "flipped anywhere": lambda data, rng: changed_at(data, rng.randrange(len(data))),
    "overwritten": lambda data, rng: rng.randbytes(len(data)),
}


async def test_damaged_vault_is_named_and_left_as_it_is(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    for number in range(20):
        bob.say("alice", f"text {number}")
    await world.settle()
    await alice.client.close()
    directory, key = alice.directory, alice.key
    whole = (directory / "vault.db").read_bytes()
    count: Counter[str] = Counter()
    for seed in range(rounds(40)):
        rng = random.Random(seed)
        name = list(DAMAGES)[seed % len(DAMAGES)]
        (directory / "vault.db").write_bytes(DAMAGES[name](whole, rng))
        before = files(directory)
        try:
            opened = Client.open(directory, Unlock(key=key), world.around())
        except VaultDamaged:
            count["refused"] += 1
        else:  # a page that opening does not touch: looking for damage finds it
            count["found by a check"] += 1
            assert opened.check_vault()
            opened._vault.let_go()
        assert files(directory) == before
    (directory / "vault.db").write_bytes(whole)
    alice.open()
    alice.wake()
    bob.say("alice", "still there?")
    await world.settle()
    assert len(alice.texts("bob")) == 21
    report("damaged vaults", rounds=rounds(40), **count)


# Cells that are shown twice


def dump(person: Person) -> list[tuple[object, ...]]:
    """All contents of a vault, except how far drops were read and when to look next."""
    tables = [
        name
        for (name,) in person.db.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%'"
        )
        if name not in ("cursor", "digests", "seen", "hearsay", "conversation", "sqlite_sequence")
    ]
    return sorted(
        (table, *row)
        for table in tables
        for row in person.db.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608
    )


async def test_replayed_cells_and_used_invites_change_nothing(world: World) -> None:
    people = await world.friends("alice", "bob", "carol")
    gid = await world.group("family", *people)
    alice = people[0]
    links = [alice.client.invite() for _ in range(2)]
    count: Counter[str] = Counter()
    newcomers = [await world.person(name) for name in ("dave", "erin")]
    newcomers[0].client.accept(links[0], "hello")
    await world.settle()
    world.network.sent.clear()  # the test puts two people's two texts under one label
    newcomers[1].client.accept(links[0], "me too")
    await world.settle()
    assert newcomers[1].warnings() == [InviteUsed.code]
    newcomers[1].client.clear_warnings()
    for number in range(rounds(5)):
        for person in people:
            person.client.chat(gid).send(f"{person.name} says {number}")
        await world.settle()
        await world.pass_time(100)
        await world.settle()
        shelf = world.relay.shelves[alice.rules.me.home.bucket.drop_id]
        again = world.rng.sample(shelf.cells, min(len(shelf.cells), 60))
        everybody = [*people, *newcomers]
        before = [dump(person) for person in everybody]
        shown = [[m.text for m in person.client.chat(gid).messages()] for person in people]
        appends = world.network.appends
        for cell in again:
            shelf.add(cell)
        for person in everybody:  # two readings: as it comes, and after a restart
            await person.sleep()
            person.wake()
        await world.settle()
        assert [dump(person) for person in everybody] == before
        assert [[m.text for m in person.client.chat(gid).messages()] for person in people] == shown
        assert world.network.appends == appends
        assert not any(person.warnings() for person in everybody)
        with pytest.raises(InviteUsed):
            newcomers[0].client.accept(links[1])
        count["cells replayed"] += len(again)
    report("replayed cells and used invites", rounds=rounds(5), **count)
