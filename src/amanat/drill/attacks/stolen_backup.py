"""A backup that was stolen.

Method: a thief has a backup of a person, perhaps its recovery phrase too, and everything that the
relays received since. Two contacts go on writing to the person, in a group and each alone, while
three in ten of all cells are lost, so that words are repaired. With the phrase the thief restores
the backup, opens everything in the relays' logs that it opens, and sends nothing. Without it they
search the files of the backup for the words in it. The control is what was said before the backup:
with the phrase all of it has to be read.
Source: backups of other messengers, which hold the keys of sessions.
Metric: how many of the words the thief reads.
"""

from __future__ import annotations

NAME = "stolen-backup"
WORLDS = 3
