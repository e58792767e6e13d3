"""Cells that a relay leaves out.

Method: a relay acknowledges cells and does not keep them: some of all, at random; one; or, from a
moment on, all cells of one of two people. Real clients talk for some days in the simulated world.
For comparison, cells expire as they should while somebody is away.
Source: SimpleX's threat model, which grants the last; the hash chains of `client/rules/gaps.py`.
Metric: the share of lies of which somebody is warned, and after how long; false alarms.
"""

from __future__ import annotations

NAME = "deletion"
HOW = ("some", "one", "tail")
SEEDS = 8
"""Worlds for each kind: three days of two people take some seconds each."""
EXPIRIES = 4
