"""Swapped keys, changed and invented cells, and members that nobody let in.

Method: in turns, the relay changes bits of cells that wait for somebody, and invents cells there
and in all other drops, epoch drops among them, with digests that fit: no client may believe a cell
that it cannot open. A member without rights makes Commits that add a stranger, remove another
member and take the rights, and puts them into the epoch drop. A person who swaps an invite on its
way is in the middle: the two people then see different safety numbers.
Source: Albrecht et al., "Practically-exploitable Vulnerabilities in Matrix" (S&P 2023) and "Formal
Analysis of Multi-Device Group Messaging in WhatsApp" (2025).
Metric: how many of the tries change the shown texts or the members; how many pairs see one number
with somebody in the middle.
"""

from __future__ import annotations

NAME = "substitution"
KINDS = ("changed", "inventions")
WORLDS = 4
TRIES = 250
HOW = ("", "members", "keys")
"""Kinds of substitution: of cells (""), Commits, and keys in an invite."""
