"""State: our own part in a conversation, and its consequences."""

from __future__ import annotations

from enum import StrEnum, unique
from typing import assert_never


@unique
class State(StrEnum):
    """Our part in a conversation. The vault keeps these values, and commands print them."""

    ACTIVE = "active"
    """A member who means to stay."""
    LEAVING = "leaving"
    """A member who has said that they leave, until somebody has committed it."""
    LEFT = "left"
    REMOVED = "removed"
    """Somebody else has removed us."""
    REPLACED = "replaced"
    """Our profile was restored elsewhere, and the restored one has taken our place."""
    ASTRAY = "astray"
    """Out of step: our state may not be the group's, and we say nothing until they agree."""
    NOTES = "notes"
    """Our notes to ourselves: nobody else is in it, and nothing of it goes to any relay."""

    @property
    def is_member(self) -> bool:
        """Whether we are a member whose state is the group's, even one who is leaving."""
        match self:
            case State.ACTIVE | State.LEAVING:
                return True
            case State.LEFT | State.REMOVED | State.REPLACED | State.ASTRAY | State.NOTES:
                return False
            case _:
                assert_never(self)

    @property
    def reads_drops(self) -> bool:
        """Whether we read the epoch drops."""
        match self:
            case State.ACTIVE | State.LEAVING | State.ASTRAY:
                return True
            case State.LEFT | State.REMOVED | State.REPLACED | State.NOTES:
                return False
            case _:
                assert_never(self)
