"""What is left out.

Method: a relay acknowledges cells and does not keep them: some of all, by lot; one; or, from a
moment on, all that one of two people says. Real clients talk for some days in the simulated world.
Besides, cells that expire as they should while somebody is away.
Source: SimpleX's threat model, which grants the last; the hash chains of `client/rules/gaps.py`.
Metric: the share that somebody is told of, and after how long; false alarms.
"""

from __future__ import annotations

NAME = "deletion"
HOW = ("some", "one", "tail")
SEEDS = 8
"""Worlds for each kind: three days of two people take some seconds each."""
EXPIRIES = 4
