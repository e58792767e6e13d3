"""What a client stands in: the clock, the network and the driver of its database.

A client takes the time, its tick, a connection or a database from nowhere else. A simulated world
gives it others, and patches nothing.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import sqlcipher3

from amanat.link import INTERNET

if TYPE_CHECKING:
    from collections.abc import Callable

    from amanat.client.vault import Driver
    from amanat.link import Network

TICK_S = 1.0
"""How often what is due at a time (receipts, looks, retries) is looked for, in seconds."""


def unix_ms() -> int:
    """The time of this machine, in Unix milliseconds."""
    return time.time_ns() // 1_000_000


def tick_s() -> float:
    """How often a client on this machine looks for what is due, in seconds."""
    return TICK_S


class Surroundings(NamedTuple):
    """What a client is given to stand in."""

    now: Callable[[], int] = unix_ms
    """Tells Unix milliseconds."""
    network: Network = INTERNET
    """Carries the client to relays."""
    driver: Driver = sqlcipher3.Connection
    """Makes the connection to the vault's database."""
    tick_s: Callable[[], float] = tick_s
    """Tells how often what is due at a time is looked for, in seconds."""


MACHINE = Surroundings()
"""What this machine gives: its clock, its network and SQLCipher."""
