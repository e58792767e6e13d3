"""Changed and invented cells.

Method: in turns, a bit of what waits for somebody is changed, and cells are invented there and in
all other drops, epoch drops among them, with digests that fit. What cannot be opened must not be
believed, and nobody must become a member by it.
Source: Albrecht et al., "Practically-exploitable Vulnerabilities in Matrix" (S&P 2023).
Metric: how many of the tries change what is shown or who is a member.
"""

from __future__ import annotations

NAME = "substitution"
KINDS = ("changed", "inventions")
WORLDS = 4
TRIES = 50
