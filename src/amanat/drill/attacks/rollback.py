"""Yesterday's store, and two faces.

Method: in turns, a relay sets its store back to its state some texts before, or shows one of two
people a drop without its last cell, with digests that fit.
Source: Mazieres and Shasha, "Building Secure File Systems out of Byzantine Storage" (PODC 2002).
Metric: how many of the tries nobody is warned of within six hours in which both speak.
"""

from __future__ import annotations

NAME = "rollback"
WORLDS = 8
TRIES = 125
"""Tries in each world."""
