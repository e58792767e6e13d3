"""Steps that follow in a unit of work: a rule queues them, and `Hearing` carries them out
(`rules/hearing.py`), in order and before the unit ends."""

from __future__ import annotations

from typing import NamedTuple


class HearEarly(NamedTuple):
    """We are in another epoch: hear the messages that were sent in it before we were."""

    gid: bytes


class WelcomeJoiners(NamedTuple):
    """Our Commit has let people in: announce their Welcome to them."""

    gid: bytes
    welcome: bytes
    tree: bytes
    joiners: list[bytes]
    """Their identities."""


class WentOn(NamedTuple):
    """A group is in its next epoch: tell the person, and commit the remaining intents."""

    gid: bytes


Follow = HearEarly | WelcomeJoiners | WentOn
"""Any of these steps."""
