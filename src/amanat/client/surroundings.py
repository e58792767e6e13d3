"""What a client stands in: the clock, the network and the driver of its database.

A client takes the time, a connection or a database from nowhere else. Whoever gives it other
surroundings, as a simulated world does, replaces all three and patches nothing.
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


def unix_ms() -> int:
    """The time of this machine, in Unix milliseconds."""
    return time.time_ns() // 1_000_000


class Surroundings(NamedTuple):
    """What a client is given to stand in."""

    now: Callable[[], int] = unix_ms
    """Tells Unix milliseconds."""
    network: Network = INTERNET
    """Carries the client to relays."""
    driver: Driver = sqlcipher3.Connection
    """Makes the connection to the vault's database."""


MACHINE = Surroundings()
"""What this machine gives: its clock, its network and SQLCipher."""
