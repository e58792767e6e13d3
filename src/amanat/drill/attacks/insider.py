"""A member who lies with valid keys.

Method: a member of the group, alone or with the relay, sends any well-formed record of any kind at
any time, makes Commits of any kind in public and in secret, offers help that is false, floods,
withholds, repeats and reorders. The records are generated from the message types, so a new kind is
attacked from its first day.
Source: Albrecht, Dowling and Jones, "Device-Oriented Group Messaging" (S&P 2024); Alwen, Jost and
Mularczyk, "On the Insider Security of MLS" (CRYPTO 2022).
Metric: in how many histories a promise to honest members is broken.
"""

from __future__ import annotations

NAME = "insider"
WORLDS = 25
HISTORIES = 20
"""Histories in each world: 500 in a drill; `make soak` runs ten thousand."""
PROMISES = (
    "takeover",
    "silencing",
    "stranding",
    "unremovable",
    "lost message",
    "forged word",
    "false accusation",
    "room",
)
