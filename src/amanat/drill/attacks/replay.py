"""Repeated and moved cells.

Method: in turns, the relay stores the cells that wait for somebody a second time behind themselves,
or puts them in another order, with digests that fit.
Source: the replays and reorderings of RFC 9750, section 8.
Metric: how many of the tries make a client show something twice, or in another order.
"""

from __future__ import annotations

NAME = "replay"
KINDS = ("repeated", "moved")
WORLDS = 4
TRIES = 250
