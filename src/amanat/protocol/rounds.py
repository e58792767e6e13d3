"""The grid of covered transport (docs/protocol.md, section 6).

Time, in Unix seconds, is cut into rounds that are the same for everybody. Once in each of their
periods, whether they have something to say or not, a client sends one cell and asks for one page.
A hop holds what it is sent until late in the round and hands all of it on together; a relay holds
what comes until the round ends, and shows all of it together. When somebody's cell left, and when
it can be seen, then tells nothing but the round.
"""

from __future__ import annotations

import math

ROUND_S = 30
"""Length of a round, in seconds."""
PERIODS_S = (60, 30)
"""How often a client may send, in seconds, the usual one first. Each is a number of whole rounds;
what is sent goes with the last round of the period."""
READ = (0.02, 0.2)
"""When in a round a page is asked for, as shares of it: soon after what the last one brought can be
seen, and not everybody at once."""
SEND = (0.2, 0.8)
"""When in a round a cell is sent: after what was read can be answered, and early enough to be at
the hop in time with a clock that is some seconds wrong."""
HAND_ON = 0.9
"""When in a round hops hand on what they hold: early enough to be at the relay before it ends."""


def read_at(period: int, period_s: int, lot: float) -> float:
    """When in a client's period of this number (from 1970) its page is asked for; `lot` is a random
    number from 0 to 1."""
    return period * period_s + ROUND_S * (READ[0] + lot * (READ[1] - READ[0]))


def send_at(period: int, period_s: int, lot: float) -> float:
    """When in a client's period of this number its cell is sent."""
    last_round = (period + 1) * period_s - ROUND_S
    return last_round + ROUND_S * (SEND[0] + lot * (SEND[1] - SEND[0]))


def hand_on_at(now: float) -> float:
    """When a hop hands on what it has been sent at `now`."""
    return (math.floor(now / ROUND_S - HAND_ON) + 1 + HAND_ON) * ROUND_S


def publish_at(now: float) -> float:
    """When a relay shows what has come at `now`: at the end of the round."""
    return (math.floor(now / ROUND_S) + 1.0) * ROUND_S
