"""What follows from what was done in a unit of work: a rule says it, and `Hearing` does it
(`rules/hearing.py`), in order and before the unit ends."""

from __future__ import annotations

from typing import NamedTuple


class HearEarly(NamedTuple):
    """We are in another epoch: hear what was said in it before we were."""

    gid: bytes


class WelcomeJoiners(NamedTuple):
    """A Commit of ours has let people in: announce their Welcome to them."""

    gid: bytes
    welcome: bytes
    tree: bytes
    joiners: list[bytes]
    """Their identities."""


class WentOn(NamedTuple):
    """A group is in its next epoch: the person is told, and what is still wished is committed."""

    gid: bytes


Follow = HearEarly | WelcomeJoiners | WentOn
"""Anything of it."""
