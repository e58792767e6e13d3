"""A relay that lies, in the simulated world: real clients and vaults, a clock that jumps.

Each try is one lie: cells left out, the store set back, two people shown two things, cells
repeated, moved or invented. The result says whether somebody noticed it, and whether anybody
believed anything false.
"""

from __future__ import annotations

import os
import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from amanat.drill.person import Person
from amanat.drill.shelves import Relay, Shelf
from amanat.drill.world import World
from amanat.errors import RelayDoubted, RelayLied
from amanat.protocol.cells import CELL_SIZES, LABEL_BYTES
from amanat.protocol.drops import HANDSHAKE_RETENTION_DAYS, first_digest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from amanat.protocol import wire

TICK_S = 20.0
"""How often a client here looks for what is due, in seconds: seldom, so that days pass fast."""
QUIET_TICK_S = 300.0
"""The same while days pass in which nobody says anything."""
DAY_S = 86_400.0
A_DAY = 5
"""Messages that each of two people sends in a day."""
DAYS = 3
SHARE = 0.1
"""The share of all cells that are left out where the relay chooses them at random."""
TEXTS, FORGED = 12, 10
"""Texts that wait for somebody who is away, and how many of their cells are forged at once."""
LOOK_S = 60.0
"""How often the drill checks whether somebody noticed, in seconds: delays are exact to this."""

DOUBTS = frozenset({RelayLied.code, RelayDoubted.code})
"""Warnings of a found lie: a relay contradicts itself, or contradicts somebody else."""

T = TypeVar("T")


class Noticed(NamedTuple):
    """The number of lies, the delay in seconds of each that was noticed, and how often somebody was
    warned of a lie where there was none, or believed one."""

    lies: int
    delays_s: list[float]
    wrong: int = 0


def in_a_world(work: Callable[[World], Awaitable[T]], seed: int) -> T:
    """The result of work in a world of its own, in this process."""
    with tempfile.TemporaryDirectory(prefix="amanat-drill-") as name:
        world = World(Path(name), seed=seed, tick_s=TICK_S)
        try:
            return world.loop.run_until_complete(work(world))
        finally:
            world.close()


# Deletion


def deletion(how: str, seed: int) -> Noticed:
    """Leave out cells: "some" of all, "one", or the "tail" of one person's words.

    Half a day after "some" were left out both people say one more word, because nobody can notice
    the loss of a receipt that nothing follows.
    """

    async def work(world: World) -> Noticed:
        alice, bob = pair = await world.friends("alice", "bob")
        await world.pass_time(600)
        rng = random.Random(seed)  # noqa: S311  # the liar's lots
        lost: set[bytes] = set()
        times = sorted(rng.uniform(0, DAYS * DAY_S) for _ in range(2 * A_DAY * DAYS))
        begin = world.loop.time()
        target = rng.randrange(len(times) // 3, 2 * len(times) // 3)
        noticed: list[float] = []
        open_since: list[float] = []
        is_tail = False

        def forgets(request: wire.Append, who: str) -> bool:
            if world.loop.time() > begin + times[-1]:
                return False  # nobody says anything any longer
            is_lost = (is_tail and who == "alice") or (how == "some" and rng.random() < SHARE)
            if is_lost and request.cell[:LABEL_BYTES] not in lost:
                lost.add(request.cell[:LABEL_BYTES])
                open_since.append(world.loop.time())
            return is_lost

        world.relay.forgets = forgets
        seen = [0, 0]
        last = [DAYS * DAY_S + DAY_S / 2] * 2
        for number, at in enumerate([*times, *last, DAYS * DAY_S + DAY_S]):
            while world.loop.time() < begin + at:
                await world.pass_time(min(LOOK_S, begin + at - world.loop.time() + 0.01))
                lacks = [sum(gap.many for gap in one.client.status().missing) for one in pair]
                is_told = any(one.warnings() for one in pair) or any(
                    now > before for now, before in zip(lacks, seen, strict=True)
                )
                if is_told:
                    noticed += [world.loop.time() - since for since in open_since]
                    open_since.clear()
                # After somebody has read a warning, the client warns again, but not of the same
                # within the hour.
                _forget_warnings(*pair)
                seen = lacks
            if number == target and how == "tail":
                is_tail = True
            if number < len(times) + len(last):
                one, other = (alice, "bob") if number % 2 else (bob, "alice")
                if number == target and how == "one":
                    one = alice
                    is_tail = True
                    alice.say("bob", f"text {number}")
                    await world.pass_time(1)
                    is_tail = False
                    continue
                one.say(other, f"text {number}")
        if how == "tail":  # one lie that goes on
            return Noticed(1, noticed[:1])
        return Noticed(len(lost), noticed)

    return in_a_world(work, seed)


def expiry(seed: int) -> Noticed:
    """Leave out nothing: cells expire as promised while somebody is away."""

    async def work(world: World) -> Noticed:
        alice, bob = await world.friends("alice", "bob")
        await world.pass_time(600)
        await bob.sleep()
        for number in range(5):
            alice.say("bob", f"text {number}")
        await world.settle()
        # Keys are refreshed ten and a half days after the last word at most (entering.REFRESH_MS),
        # and that Commit rests as long as all of them.
        world.tick_s = QUIET_TICK_S
        await world.pass_time((HANDSHAKE_RETENTION_DAYS + 11) * DAY_S)
        world.tick_s = TICK_S
        for shelf in world.relay.shelves.values():
            shelf.gone = len(shelf.cells)
        bob.wake()
        await world.pass_time(3_600)
        alarms = [code for one in (alice, bob) for code in one.warnings()]
        return Noticed(0, [], sum(code in DOUBTS for code in alarms))

    return in_a_world(work, seed)


# Rollback and two faces


def rollback(seed: int, tries: int) -> Noticed:
    """Set the store back, or show one of two people another drop, each time after a few texts."""

    async def work(world: World) -> Noticed:
        alice, bob = await world.friends("alice", "bob")
        rng = random.Random(seed)  # noqa: S311  # the liar's lots
        delays: list[float] = []
        for number in range(tries):
            before = world.relay.image()
            for turn in range(rng.randint(1, 3)):
                alice.say("bob", f"{number} {turn}")
            await world.settle()
            _forget_warnings(alice, bob)
            began = world.loop.time()
            if number % 2:
                before()
            else:
                _two_faces(world.relay, bob)
            bob.say("alice", "after")
            alice.say("bob", "after")
            while not DOUBTS & {*alice.warnings(), *bob.warnings()}:
                await world.pass_time(5)
                if world.loop.time() - began > DAY_S / 4:
                    break
            else:
                delays.append(world.loop.time() - began)
            world.relay.faces.clear()
            await world.pass_time(120)
            _forget_warnings(alice, bob)
        return Noticed(tries, delays)

    return in_a_world(work, seed)


def _forget_warnings(*people: Person) -> None:
    for person in people:
        person.client.clear_warnings()


def _two_faces(relay: Relay, person: Person) -> None:
    """Show somebody their bucket without its last cell, and go on from there."""
    drop_id = person.bucket
    shelf = relay.shelves[drop_id]
    face = Shelf(shelf.append_hash, shelf.read_hash, shelf.retention_days, [first_digest(drop_id)])
    for cell in shelf.cells[:-1]:
        face.add(cell)
    relay.faces[person.name, drop_id] = face


# Forgeries


def forgeries(kinds: tuple[str, str], seed: int, tries: int) -> Noticed:
    """Forge cells that wait for somebody who is away: they are "repeated", "moved", "changed" or
    joined by "inventions" there and in all other drops, always with digests that fit."""

    async def work(world: World) -> Noticed:
        alice, bob, carol = await world.friends("alice", "bob", "carol")
        gid = await world.group("family", alice, bob, carol)
        rng = random.Random(seed)  # noqa: S311  # the liar's lots
        said: list[str] = []
        believed = lies = number = 0
        while lies < tries:
            await bob.sleep()
            texts = [f"{number} {turn}" for turn in range(TEXTS)]
            drop_id = bob.bucket
            before = len(world.relay.shelves[drop_id].cells)
            for text in texts:
                alice.client.chat(gid).send(text)
            await world.settle()
            said += texts
            kind = kinds[number % 2]
            lies += _forge(world.relay, drop_id, before, kind, rng)
            for other, shelf in world.relay.shelves.items():
                if other != drop_id and kind == "inventions":
                    shelf.add(os.urandom(CELL_SIZES[number % 3]))
            bob.wake()
            await world.pass_time(900)
            shown = [one.text for one in bob.client.chat(gid).messages()]
            members = bob.client.chat(gid).view().people
            believed += shown != said or members != ["alice", "bob", "carol"]
            said = shown
            number += 1
        return Noticed(lies, [], believed)

    return in_a_world(work, seed)


def _forge(relay: Relay, drop_id: bytes, after: int, kind: str, rng: random.Random) -> int:
    """Tamper with the cells of a drop from a seq on; the number of places changed."""
    shelf = relay.shelves[drop_id]
    true = shelf.cells[after:]
    cells, lies = list(true), FORGED
    match kind:
        case "repeated":
            cells += rng.choices(true, k=FORGED)
        case "moved":
            rng.shuffle(cells)
            lies = sum(a != b for a, b in zip(true, cells, strict=True))
        case "changed":
            for at in rng.sample(range(len(cells)), FORGED):
                changed = bytearray(cells[at])
                changed[rng.randrange(16, len(changed))] ^= 1 << rng.randrange(8)
                cells[at] = bytes(changed)
        case _:
            for _ in range(FORGED):
                cells.insert(rng.randrange(len(cells) + 1), os.urandom(rng.choice(CELL_SIZES)))
    del shelf.cells[after:], shelf.digests[after + 1 :]
    for cell in cells:
        shelf.add(cell)
    return lies
