"""Swapped keys, changed and invented cells, and members nobody let in.

Method: in turns, bits of what waits for somebody are changed, and cells are invented there and in
all other drops, epoch drops among them, with digests that fit: what cannot be opened must not be
believed. A member without rights makes Commits that add a stranger, remove another and take the
rights, and puts them into the epoch drop. Whoever swaps an invite on its way is in the middle: the
two then see different safety numbers.
Source: Albrecht et al., "Practically-exploitable Vulnerabilities in Matrix" (S&P 2023) and "Formal
Analysis of Multi-Device Group Messaging in WhatsApp" (2025).
Metric: how many of the tries change what is shown or who is a member; how many pairs see one number
with somebody in the middle.
"""

from __future__ import annotations

NAME = "substitution"
KINDS = ("changed", "inventions")
WORLDS = 4
TRIES = 250
HOW = ("", "members", "keys")
"""Cells, Commits, and keys in an invite."""
