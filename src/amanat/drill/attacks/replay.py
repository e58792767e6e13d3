"""Repeated and moved cells.

Method: in turns, what waits for somebody is stored again behind itself, and put in another order,
with digests that fit.
Source: the replays and reorderings of RFC 9750, section 8.
Metric: how many of the tries have something shown twice, or in another order.
"""

from __future__ import annotations

NAME = "replay"
KINDS = ("repeated", "moved")
WORLDS = 4
TRIES = 250
