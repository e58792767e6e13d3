"""The grid of covered transport (docs/protocol.md, section 6).

Time, in Unix seconds, is cut into rounds that are the same for everybody. Once in each of its
periods, whether its person says something or not, a client sends one cell and asks for one page. A
hop holds its cells until late in the round and then hands them on together. A relay holds the cells
that come until the round ends, and then shows them together. The time at which a cell leaves or
becomes visible therefore tells nothing but the round.
"""

from __future__ import annotations

import math

ROUND_S = 30
"""Length of a round, in seconds."""
PERIODS_S = (60, 30)
"""The periods at which a client may send, in seconds, the usual one first. Each is a number of
whole rounds; the cell goes with the last round of the period."""
READ = (0.02, 0.2)
"""The part of a round in which clients ask for a page, as shares of it: soon after the cells of the
last round become visible, and not everybody at once."""
SEND = (0.2, 0.8)
"""The part of a round in which clients send a cell: late enough to answer the page, and early
enough to reach the hop in time with a clock that is some seconds wrong."""
HAND_ON = 0.9
"""The time in a round at which hops hand on their cells: early enough for the relay to have them
before the round ends."""


def read_at(period: int, period_s: int, lot: float) -> float:
    """The time, in Unix seconds, at which a client asks for its page in the period of this number
    (from 1970); `lot` is a random number from 0 to 1."""
    return period * period_s + ROUND_S * (READ[0] + lot * (READ[1] - READ[0]))


def send_at(period: int, period_s: int, lot: float) -> float:
    """The time at which a client sends its cell in the period of this number."""
    last_round = (period + 1) * period_s - ROUND_S
    return last_round + ROUND_S * (SEND[0] + lot * (SEND[1] - SEND[0]))


def hand_on_at(now: float) -> float:
    """The time at which a hop hands on a cell that came at `now`."""
    return (math.floor(now / ROUND_S - HAND_ON) + 1 + HAND_ON) * ROUND_S


def publish_at(now: float) -> float:
    """The time at which a relay shows a cell that came at `now`: the end of the round."""
    return (math.floor(now / ROUND_S) + 1.0) * ROUND_S
