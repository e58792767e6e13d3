"""A vault that was copied once.

Method: a thief copies a person's vault, unlocked, and has everything that the relays received
since. Two contacts go on writing to the person, in a group and each alone, while three in ten of
all cells are lost, so that words are repaired. The thief's program opens everything that the copy's
keys open: it follows Commits, chains and held words, goes on where an honest client would stop, and
sends nothing. Before that the person's keys are refreshed, or are not; or the person is removed
from the group.
Source: Cohn-Gordon et al., "On Post-Compromise Security" (CSF 2016); Alwen et al., "Security
Analysis and Improvements for the IETF MLS Standard for Group Messaging" (CRYPTO 2020).
Metric: how many of the words said after that the thief reads.
"""

from __future__ import annotations

NAME = "copied-vault"
UNTIL, AFTER, REMOVED = HOW = ("before a refresh", "after a refresh", "after a removal")
WORLDS = 4
