"""The data that other people's programs are loaded with, and the traces of it on their disks."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from amanat.drill.designs import HIDDEN, Evidence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from numpy.typing import NDArray

    from amanat.drill.sample import Sample


class Load(NamedTuple):
    """A sample, and the other things that its people tell a server.

    Each list has one item for each person, in their order. `rooms` has one for each conversation,
    "" where it has two people, and `payloads` one for each message: ciphertext without a key.
    """

    sample: Sample
    accounts: list[str]
    names: list[str]
    devices: list[str]
    programs: list[str]
    addresses: list[str]
    rooms: list[str]
    payloads: list[str]

    @property
    def steps(self) -> int:
        """The number of steps of loading: people, conversations and messages."""
        return self.sample.people + len(self.used) + len(self.payloads)

    @property
    def used(self) -> list[int]:
        """The conversations in which something is said."""
        return [int(one) for one in np.unique(self.sample.talk)]

    @property
    def recipients(self) -> NDArray[np.int64]:
        """The recipient of each message: in a group, the first of the others."""
        members = self.sample.talks
        return np.array(
            [
                next(one for one in members[talk] if one != who)
                for talk, who in zip(
                    self.sample.talk.tolist(), self.sample.sender.tolist(), strict=True
                )
            ]
        )


class Stored(NamedTuple):
    """A message as a server's disk has it. `at` is the server's clock, in its own unit."""

    message: str
    at: int
    sender: str
    room: str
    size: int


class Told(NamedTuple):
    """The contents of a server's disk."""

    messages: list[Stored]
    rooms: dict[str, frozenset[str]]
    """The accounts in each room."""
    addresses: dict[str, str]
    """The network address beside each account."""
    fields: dict[str, list[tuple[str, object]]]
    """Each column of each table with a row for each message: (message, value)."""


class Server(Protocol):
    """A real server in a directory of its own."""

    name: str
    directory: Path
    """The directory of everything that the server writes."""
    hears: tuple[str, ...]
    """The parts of a load besides messages that the server is told: names of its fields."""

    def running(self) -> AbstractContextManager[int]:
        """The id of the server's process, which runs as long as the context lasts."""

    def load(self, load: Load, step: Callable[[], None]) -> list[str]:
        """Carry the messages, in order, each when the one before is stored; their ids."""

    def told(self) -> Told:
        """The contents of the disk, while the server does not run."""

    def delete(self, messages: Iterable[str]) -> None:
        """Take these messages out of the disk, while the server does not run."""

    def read(self, load: Load, talks: Iterable[int]) -> tuple[set[str], int]:
        """(the messages that clients find when they read these conversations again, how often they
        were told of errors and gaps)."""


def evidence(told: Told, load: Load, ids: list[str]) -> Evidence:
    """The contents of the disk, in the form that attackers on logs take.

    The server stamped its own clock while it was loaded; here each message has the time of the
    trace that has the same rank.
    """
    number = {message: index for index, message in enumerate(ids)}
    person = {account: index for index, account in enumerate(load.accounts)}
    owner = {address: index for index, address in enumerate(load.addresses)}
    rows = sorted((one for one in told.messages if one.message in number), key=lambda one: one.at)
    names = sorted(told.rooms)
    room = {name: index for index, name in enumerate(names)}
    members = [
        tuple(sorted(person[one] for one in told.rooms[name] if one in person)) for name in names
    ]
    said = [number[one.message] for one in rows]
    return Evidence(
        at=load.sample.at[: len(rows)],
        source=np.array(
            [owner.get(told.addresses.get(one.sender, ""), HIDDEN) for one in rows], dtype=np.int64
        ),
        place=np.array([room[one.room] for one in rows], dtype=np.int64),
        size=np.array([one.size for one in rows], dtype=np.int64),
        author=load.sample.sender[said],
        recipient=load.recipients[said],
        owners=members,
        rooms=members,
    )
