"""The surroundings of a client: the clock, the network, the driver of its database and the maker of
its backups.

A client takes the time, its tick, a connection, a database or a backup from nowhere else. A
simulated world gives it others, without patching anything.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import sqlcipher3

from amanat.client.apart import Apart
from amanat.link import INTERNET

if TYPE_CHECKING:
    from collections.abc import Callable

    from amanat.client.backing import Maker
    from amanat.client.vault import Driver
    from amanat.link import Network

TICK_S = 1.0
"""How often the client looks for work that is due (receipts, looks, retries), in seconds."""


def unix_ms() -> int:
    """The time of this machine, in Unix milliseconds."""
    return time.time_ns() // 1_000_000


def tick_s() -> float:
    """How often a client on this machine looks for work that is due, in seconds."""
    return TICK_S


class Surroundings(NamedTuple):
    """The surroundings that a client is given."""

    now: Callable[[], int] = unix_ms
    """Tells Unix milliseconds."""
    network: Network = INTERNET
    """Carries the client to relays."""
    driver: Driver = sqlcipher3.Connection
    """Makes the connection to the vault's database."""
    tick_s: Callable[[], float] = tick_s
    """Tells how often the client looks for work that is due, in seconds."""
    maker: Maker = Apart()
    """Makes a backup while the client goes on."""


MACHINE = Surroundings()
"""The surroundings on this machine: its clock, its network and SQLCipher."""
