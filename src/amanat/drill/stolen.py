"""The attacks on backups: by somebody who has stolen one, by disks that spoil one, and by a device
whose profile was restored elsewhere."""

from __future__ import annotations

import contextlib
import os
import secrets
from typing import TYPE_CHECKING, NamedTuple

from amanat.client import backing
from amanat.client.folders import Folder
from amanat.client.vault import Unlock
from amanat.drill.attacks import backup_truth, stolen_backup, two_live
from amanat.drill.copied import HOURS, stolen, talk_with_losses
from amanat.drill.figures import judge_ours
from amanat.drill.integrity import in_a_world
from amanat.drill.person import Person
from amanat.errors import AmanatError, NotAMember, OldDevice, OutOfStep, ProfileReplaced
from amanat.protocol.archive import SEALED_BYTES, read_header

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from amanat.drill.figures import Result, Settings
    from amanat.drill.traces import Said
    from amanat.drill.world import World

EARLIER = 20
"""Words that are said before the backup."""
FILE_BYTES = 3 * SEALED_BYTES
"""The bytes of the notes that the person has, so that a backup has several frames."""


ROUNDS, ROUND_S = 30, 20.0
"""How often a person writes on both of two devices, and the seconds between."""


class Read(NamedTuple):
    """How many words were said before a backup and after it, and how many of them were read: with
    the phrase, those before and after; without it, those before."""

    before: int
    after: int
    read_before: int
    read_after: int
    read_without: int


def _back_up(person: Person, key: bytes, *, now: int) -> Path:
    place = person.directory.with_name("stick")
    place.mkdir(exist_ok=True)
    return backing.make(person.vault, Folder(place, key), key, now=now).path


def _restore(
    world: World, file: Path, folder: Folder, key: bytes, directory: Path, unlock: Unlock
) -> None:
    backing.restore(
        *(file, folder, key, directory, unlock),
        now=world.now(),
        driver=world.around().driver,
        finish=lambda *_: None,
    )


def words_read(seed: int) -> Read:
    """The words that a thief of a backup reads, in one world."""

    async def work(world: World) -> Read:
        bob, alice, carol = await world.friends("bob", "alice", "carol")
        gid = await world.group("family", bob, alice, carol)
        places = [(bob, gid), (carol, gid), (bob, bob.gid("alice")), (carol, carol.gid("alice"))]
        before = set()
        for number in range(EARLIER):
            person, where = places[number % len(places)]
            before.add(text := f"{person.name} said before the backup {number}")
            person.client.chat(where).send(text)
        await world.settle()
        key = secrets.token_bytes(32)
        file = _back_up(alice, key, now=world.now())
        sealed = file.read_bytes()
        without = sum(text.encode() in sealed for text in before)
        after = await talk_with_losses(world, places)
        directory = alice.directory.with_name("thief")
        folder = Folder(alice.directory.with_name("stick"), key)
        unlock = Unlock(key=alice.key)
        _restore(world, file, folder, key, directory, unlock)
        with stolen(world, alice, directory) as thief:
            found = thief.read_all()
        return Read(len(before), len(after), len(before & found), len(after & found), without)

    return in_a_world(work, seed)


class Lived(NamedTuple):
    """How two devices of one person lived beside each other."""

    sent: int
    """Cells that the restored device sent."""
    used: int
    """Those of them under a label that the other device used."""
    said: int
    """Texts that contacts have of the restored device."""
    conversations: int
    told: int
    """Conversations in which the other device was told that it is out."""
    heard: int
    """Whether the restored device was told that the other one is in use: 1 or 0."""


def both_live(seed: int, *, is_twice: bool = False) -> Lived:
    """A device goes on while its profile is restored elsewhere; or, `is_twice`, the backup is
    restored on two devices."""

    async def work(world: World) -> Lived:
        bob, alice, carol = await world.friends("bob", "alice", "carol")
        gid = await world.group("family", bob, alice, carol)
        alice.say("bob", "said before the backup")
        await world.settle()
        key = secrets.token_bytes(32)
        file = _back_up(alice, key, now=world.now())
        folder = Folder(alice.directory.with_name("stick"), key)
        alice.say("bob", "said after the backup")
        await world.settle()

        def restored_as(name: str) -> Person:
            directory = alice.directory.with_name(name)
            made = Person(name, directory, alice.key, world.around(), world.network)
            unlock = Unlock(key=alice.key)
            _restore(world, file, folder, key, directory, unlock)
            made.open()
            made.wake()
            world.people[name] = made
            return made

        old = alice
        if is_twice:
            await alice.sleep()
            world.network.copied |= {"one", "other"}
            old = restored_as("one")
        new = restored_as("other")
        places = [alice.gid("bob"), alice.gid("carol"), gid]
        for number in range(ROUNDS):
            for device in (old, new):
                for place in places:
                    with contextlib.suppress(ProfileReplaced, NotAMember, OutOfStep):
                        device.client.chat(place).send(f"{device.name} says {number}")
            bob.client.chat(gid).send(f"bob says {number}")
            await world.pass_time(ROUND_S)
        await world.pass_time(HOURS * 3_600)
        senders = world.network.senders.values()
        return Lived(
            sent=sum(new.name in who for who in senders),
            used=sum({old.name, new.name} <= who for who in senders),
            said=sum(text.startswith(new.name) for text in bob.texts("alice")),
            conversations=len(places),
            told=old.warnings().count(ProfileReplaced.code),
            heard=new.warnings().count(OldDevice.code),
        )

    return in_a_world(work, seed)


def spoiled(kind: str, whole: bytes, other: bytes, below: Callable[[int], int]) -> bytes:
    """A backup, spoiled in one way; `other` is another one of the same person.
    `below` draws a number."""
    _, start = read_header(whole)
    frames = [whole[at : at + SEALED_BYTES] for at in range(start, len(whole), SEALED_BYTES)]
    place = below(len(frames) - 1)
    if kind == "changed":
        at = start + below(len(whole) - start)
        return whole[:at] + bytes([whole[at] ^ (1 + below(255))]) + whole[at + 1 :]
    if kind == "cut":
        return whole[: start + below(len(whole) - start)]
    if kind == "swapped":
        frames[place], frames[place + 1] = frames[place + 1], frames[place]
        return whole[:start] + b"".join(frames)
    _, begun = read_header(other)
    return whole[: start + (place + 1) * SEALED_BYTES] + other[begun + (place + 1) * SEALED_BYTES :]


def restored(seed: int, each: int) -> tuple[int, int]:
    """How many of so many spoiled backups of each kind were restored, and whether the whole one
    was (1 or 0)."""

    async def work(world: World) -> tuple[int, int]:
        alice = await world.person("alice")
        key, below = secrets.token_bytes(32), world.rng.randrange
        for _ in range(FILE_BYTES // 50_000):
            alice.client.notes().send(os.urandom(20_000).hex())
        one = _back_up(alice, key, now=world.now())
        whole = one.read_bytes()
        other = _back_up(alice, key, now=world.now() + 1_000).read_bytes()
        folder = Folder(alice.directory.with_name("stick"), key)

        def passes(data: bytes) -> bool:
            one.write_bytes(data)
            try:
                backing.check(one, folder, key, now=world.now())
            except AmanatError:
                return False
            return True

        wrong = sum(
            passes(spoiled(kind, whole, other, below))
            for kind in backup_truth.KINDS
            for _ in range(each)
        )
        return wrong, int(passes(whole))

    return in_a_world(work, seed)


def _stolen(settings: Settings, said: list[Said]) -> list[Result]:  # noqa: ARG001  # as all of them
    found = [words_read(seed) for seed in range(stolen_backup.WORLDS)]
    before, after, read, later, without = (sum(column) for column in zip(*found, strict=True))
    name = stolen_backup.NAME
    is_held = not later and read == before
    return [
        judge_ours(name, f"later words read, with the phrase, of {after}", later, is_held=is_held),
        judge_ours(name, f"earlier words read, with the phrase, of {before}", read, is_held=None),
        judge_ours(
            name, f"words read, without the phrase, of {before}", without, is_held=not without
        ),
    ]


def _truth(settings: Settings, said: list[Said]) -> list[Result]:  # noqa: ARG001  # as all of them
    wrong, whole = restored(0, backup_truth.EACH)
    many = backup_truth.EACH * len(backup_truth.KINDS)
    is_held = not wrong and bool(whole)
    name = backup_truth.NAME
    return [
        judge_ours(name, f"spoiled backups restored, of {many}", wrong, is_held=is_held),
        judge_ours(name, "the whole one restored, of 1", whole, is_held=None),
    ]


def _two_live(settings: Settings, said: list[Said]) -> list[Result]:  # noqa: ARG001  # same
    found = [both_live(seed) for seed in range(two_live.WORLDS)]
    columns = zip(*found, strict=True)
    sent, used, texts, conversations, told, heard = (sum(column) for column in columns)
    twice = sum(both_live(seed, is_twice=True).used for seed in range(two_live.WORLDS))
    name = two_live.NAME
    is_held = not used and texts == ROUNDS * two_live.WORLDS and twice > 0
    return [
        judge_ours(name, f"cells under used keys, of {sent}", used, is_held=is_held),
        judge_ours(
            name,
            f"conversations where the old device was told, of {conversations}",
            told,
            is_held=told == conversations,
        ),
        judge_ours(
            name,
            f"restored devices that were told of the old one, of {two_live.WORLDS}",
            heard,
            is_held=heard == two_live.WORLDS,
        ),
        judge_ours(name, "cells under used keys, one backup restored twice", twice, is_held=None),
    ]


ON_BACKUPS: dict[str, Callable[[Settings, list[Said]], list[Result]]] = {
    stolen_backup.NAME: _stolen,
    backup_truth.NAME: _truth,
    two_live.NAME: _two_live,
}
"""Attacks on backups, measured once."""
