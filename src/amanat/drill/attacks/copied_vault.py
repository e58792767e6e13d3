"""A vault that was copied once.

Method: somebody copies a person's vault, unlocked, and has all that the relays got since. Two
contacts go on speaking to the person, in a group and each alone, while three in ten of all cells
are lost, so that words are said again. The thief's program opens whatever the copy's keys open: it
follows Commits, chains and held words, goes on where an honest client would stop, and sends
nothing. The person's keys are refreshed before that, or are not; or the person is put out of the
group.
Source: Cohn-Gordon et al., "On Post-Compromise Security" (CSF 2016); Alwen et al., "Security
Analysis and Improvements for the IETF MLS Standard for Group Messaging" (CRYPTO 2020).
Metric: how many of the words that are said then the thief reads.
"""

from __future__ import annotations

NAME = "copied-vault"
UNTIL, AFTER, REMOVED = HOW = ("before a refresh", "after a refresh", "after a removal")
WORLDS = 4
