"""The drill's attacks on files: with real clients in the simulated world, and on a model of what
people send."""

from __future__ import annotations

import asyncio
import io
import os
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from msgspec import structs

from amanat.drill.attacks import (
    announcements,
    contacts,
    files_ledger,
    files_line,
    lure,
    plaintext,
    sizes,
)
from amanat.drill.figures import BOUNDS, Result, judge_ours, once
from amanat.drill.integrity import in_a_world
from amanat.drill.sample import draw
from amanat.drill.scores import interval, rank
from amanat.drill.sent_files import OURS, PADDINGS, draw_files, seen_sizes
from amanat.drill.shelves import Relay
from amanat.protocol import codec, wire
from amanat.protocol.cells import LARGE_CELL
from amanat.protocol.messages import FileAgain, Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from amanat.drill.figures import Settings
    from amanat.drill.person import Person
    from amanat.drill.traces import Said
    from amanat.drill.world import World
    from amanat.protocol.messages import File

SEEDS = 5
"""Seeds of the model of what people send."""


# Lures


class Bait(Relay):
    """A relay that notes whether anybody calls it, or asks a hop to."""

    is_called = False

    def answer(self, request: wire.Request, who: str = "") -> wire.Reply:
        """Note the call, and answer."""
        self.is_called = True
        return super().answer(request, who)

    def descriptor(self) -> bytes:
        """Note that it is asked for, and return it."""
        self.is_called = True
        return super().descriptor()


class Lured(NamedTuple):
    """The relays that files named, how many of them a client called by itself, and how many once
    its person had named them."""

    lures: int
    called: int
    named: int


def lure_people(mode: str, seed: int, each: int) -> Lured:
    """The outcome in a mode where a contact lures somebody's real client with so many files of each
    kind."""

    async def work(world: World) -> Lured:
        first, second = world.two_operators()
        fallback = second if mode == "hopped" else None
        alice, bob = [
            await world.person(name, relay=first, fallback=fallback) for name in ("alice", "bob")
        ]
        await world.meet(alice, bob)
        gid, group = alice.gid("bob"), await world.group("group", alice, bob)
        file = await _honest_file(world, alice, bob)
        baits: list[Bait] = []
        for how in lure.HOW:
            for _ in range(each):
                bait = Bait("IR", port=100 + len(baits))
                bait.shelves = world.relay.shelves  # whoever calls finds the file
                world.network.relays[bait.address] = bait
                baits.append(bait)
                if how == "known":
                    _learn(bob, bait)
                await _announce(world, alice, group if how == "group" else gid, file, bait, how)
        await world.pass_time(lure.WAIT_S)
        for bait in baits:
            _learn(bob, bait)
        await world.pass_time(lure.WAIT_S)
        called = _called(world, baits)  # though the client knows by now where each of them is
        for where in (gid, group):
            for message in bob.client.chat(where).messages():
                if message.file is not None and not message.file.is_near:
                    with bob.acting():
                        bob.client.files.fetch(where, message.id, relay=message.file.relay)
        await world.pass_time(lure.WAIT_S)
        return Lured(len(baits), called, _called(world, baits))

    return in_a_world(work, seed)


async def _honest_file(world: World, alice: Person, bob: Person) -> File:
    """A file that Alice has sent and Bob's client has fetched by itself."""
    chat = alice.client.chat(alice.gid("bob"))
    await chat.send_file(io.BytesIO(os.urandom(lure.EACH)), name="honest")
    await world.settle()
    await world.pass_time(30)
    (message,) = [one for one in bob.messages("alice") if one.file is not None]
    if message.file is None or not message.file.is_here:
        raise AssertionError("nothing is fetched by itself here")
    (own,) = [one for one in alice.messages("bob") if one.file is not None]
    sharing = alice.rules.conversations.sharing
    return sharing.file(alice.gid("bob"), bytes.fromhex(own.id)).file


async def _announce(
    world: World, alice: Person, gid: bytes, file: File, bait: Bait, how: str
) -> None:
    """Have Alice's program say that a file rests at a relay of hers."""
    there = structs.replace(file, relay=bait.address.key)
    if how == "again":  # it is fetched, in vain, when Alice says where it is said to rest now
        there = structs.replace(file, secret=os.urandom(32))
    saying = alice.rules.conversations.saying
    with alice.acting(), alice.client._run.unit() as unit:
        saying.do(unit, gid, Kind.FILE, codec.encode(there))
    await world.pass_time(20)
    if how == "again":
        target = bytes.fromhex(alice.client.chat(gid).messages()[-1].id)
        again = FileAgain(target, bait.address.key, file.region, file.secret, file.until)
        with alice.acting(), alice.client._run.unit() as unit:
            saying.say(unit, gid, Kind.FILE_AGAIN, codec.encode(again))
        await world.pass_time(20)


def _learn(person: Person, relay: Relay) -> None:
    with person.client._run.unit() as unit:
        person.rules.places.learn(unit, relay.address)


def _called(world: World, baits: list[Bait]) -> int:
    dialled = {socket.relay.address for socket in world.network.sockets}
    return sum(bait.is_called or bait.address in dialled for bait in baits)


def _lure(settings: Settings, said: list[Said]) -> list[Result]:  # noqa: ARG001  # as all of them
    results = []
    for seed, mode in enumerate(lure.MODES):
        lures, called, named = lure_people(mode, seed, lure.EACH)
        is_held = not called and named == lures
        metric = f"relays called, {mode}, of {lures}"
        results += [
            judge_ours(lure.NAME, metric, called, is_held=is_held),
            judge_ours(lure.NAME, f"the same, named by the person, {mode}", named, is_held=None),
        ]
    return results


# Announcements


class Noting(Relay):
    """A relay that notes when it gets which cell."""

    def __init__(self, region: str, port: int) -> None:
        super().__init__(region, port)
        self.got: list[tuple[float, bytes, bytes]] = []
        """(time in seconds, drop id, cell) of each append."""

    def answer(self, request: wire.Request, who: str = "") -> wire.Reply:
        """Note the cell, and answer."""
        reply = super().answer(request, who)
        if isinstance(request, wire.Append) and who == "alice":
            self.got.append((asyncio.get_running_loop().time(), request.drop_id, request.cell))
        return reply


class Announced(NamedTuple):
    """For each sending: its cell in the bucket, the body sealed in it, the seconds since the relay
    last got a cell of a file, and whether it announces a file."""

    cells: list[bytes]
    bodies: list[bytes]
    since_s: NDArray[np.float64]
    is_file: NDArray[np.bool_]


def announce(seed: int, sent: int) -> Announced:
    """The traces at a relay of texts and files that one real client sends to another by lot."""

    async def work(world: World) -> Announced:
        relay = Noting("IR", port=99)
        world.network.relays[relay.address] = relay
        alice, bob = [await world.person(name, relay=relay) for name in ("alice", "bob")]
        await world.meet(alice, bob)
        bob.client.files.set_auto_bytes(-1)
        rng = np.random.default_rng(seed)
        is_file = rng.random(sent) < 0.5  # noqa: PLR2004  # a coin
        gid, chat = alice.gid("bob"), alice.client.chat(alice.gid("bob"))
        cells, bodies, since = [], [], []
        for is_one in is_file.tolist():
            before = len(relay.got)
            words = "x" * int(np.exp(rng.normal(np.log(80), 0.5)))
            if is_one:
                content = io.BytesIO(os.urandom(announcements.CONTENT_BYTES))
                name = str(rng.choice(announcements.NAMES))
                await chat.send_file(content, name=name, text=words[: rng.integers(0, 60)])
            else:
                chat.send(words)
            await world.pass_time(float(rng.uniform(*announcements.APART_S)))
            new = [one for one in relay.got[before:] if one[1] == bob.bucket]
            while not new:
                await world.pass_time(1)
                new = [one for one in relay.got[before:] if one[1] == bob.bucket]
            at, _, cell = new[0]
            uploads = [when for when, _, one in relay.got if len(one) == LARGE_CELL and when <= at]
            cells.append(cell)
            since.append(at - uploads[-1] if uploads else at)
            bodies.append(_body(alice, gid, words, is_file=is_one))
        return Announced(cells, bodies, np.array(since), is_file)

    return in_a_world(work, seed)


def _body(alice: Person, gid: bytes, words: str, *, is_file: bool) -> bytes:
    """The body of the envelope of Alice's last word."""
    if not is_file:
        return words.encode()
    target = bytes.fromhex(alice.client.chat(gid).messages()[-1].id)
    return codec.encode(alice.rules.conversations.sharing.file(gid, target).file)


def _announcements(settings: Settings, said: list[Said]) -> list[Result]:  # noqa: ARG001  # same
    seen, rng = announce(0, announcements.SENT), np.random.default_rng(0)
    told = plaintext.measure(seen.cells, seen.is_file, rng)
    control = plaintext.measure(seen.bodies, seen.is_file, rng)
    by_time = rank(-seen.since_s, seen.is_file, rng).auc
    most = 0.5 + announcements.SIGMA / np.sqrt(6 * announcements.SENT / 4)
    if control[0] < announcements.CONTROL:
        most = 0.0  # an attack that finds nothing anywhere proves nothing
    return [
        once("amanat", announcements.NAME, "AUC, by the cell", told, random=0.5, most=most),
        judge_ours(announcements.NAME, "AUC, by what is sealed in it", control[0], is_held=None),
        judge_ours(announcements.NAME, "AUC, by the time of the upload", by_time, is_held=None),
    ]


# A model of what people send


def _line(settings: Settings, said: list[Said]) -> list[Result]:
    _, times = BOUNDS[contacts.NAME]
    found: dict[str, list[files_line.Named]] = {padding: [] for padding in PADDINGS}
    for seed in range(SEEDS):
        sample = draw(said, people=settings.people, days=settings.days, seed=seed)
        rng = np.random.default_rng([seed, 2])
        files = draw_files(sample, rng)
        for padding in PADDINGS:
            seen = seen_sizes(files, padding)
            found[padding].append(files_line.measure(files, seen, sample.people, rng))
    results = []
    for padding, each in found.items():
        base = float(np.mean([one.base for one in each]))
        precision, low, high = interval([one.average_precision for one in each])
        first = interval([one.first for one in each])
        verdict = "shown"
        if padding == OURS:
            verdict = "holds" if precision <= times * base else "fails"
        name, metric = files_line.NAME, f"average precision, {padding}"
        results += [
            Result("amanat", None, name, metric, precision, low, high, base, None, verdict),
            Result(
                "amanat", None, name, f"first guess right, {padding}", *first, None, base, "shown"
            ),
        ]
    return results


def _ledger(settings: Settings, said: list[Said]) -> list[Result]:
    _, times = BOUNDS[sizes.NAME]
    found: dict[str, list[files_ledger.Known]] = {padding: [] for padding in PADDINGS}
    for seed in range(SEEDS):
        sample = draw(said, people=settings.people, days=settings.days, seed=seed)
        rng = np.random.default_rng([seed, 3])
        files = draw_files(sample, rng)
        for padding in PADDINGS:
            found[padding].append(files_ledger.measure(files, seen_sizes(files, padding), rng))
    results = []
    for padding, each in found.items():
        guess = float(np.mean([one.guess for one in each]))
        precision = interval([one.precision for one in each])
        alone = interval([one.alone for one in each])
        verdict = "shown"
        if padding == OURS:
            verdict = "holds" if precision[0] <= times * guess else "fails"
        name = files_ledger.NAME
        metric = f"precision, {padding}"
        results += [
            Result("amanat", None, name, metric, *precision, None, guess, verdict),
            Result(
                "amanat", None, name, f"alone in its day, {padding}", *alone, None, None, "shown"
            ),
        ]
    return results


ON_FILES: dict[str, Callable[[Settings, list[Said]], list[Result]]] = {
    lure.NAME: _lure,
    announcements.NAME: _announcements,
    files_line.NAME: _line,
    files_ledger.NAME: _ledger,
}
"""Attacks on files, measured once."""
