"""What is decided for each kind of message, walked kind by kind: none is left to a default."""

from __future__ import annotations

from amanat.client.rules import hearing, saying
from amanat.client.waiting import SAID_AGAIN
from amanat.protocol.messages import Kind

HELD = {"TEXT", "EDIT", "REACTION", "DELETE", "TIMER", "REPAIR"}
SAID_ONCE_MORE = {"TEXT", "EDIT", "REACTION", "DELETE", "TIMER", "WELCOME", "DECLINED"}
NO_ANSWER = {"KEY_PACKAGES_WANTED", "WELCOME", "TIMER"}
OF_TWO = {"KEY_PACKAGES", "KEY_PACKAGES_WANTED", "WELCOME", "DECLINED"}


def test_each_kind_is_treated_as_the_protocol_says() -> None:
    for kind in Kind:
        assert (kind in saying._WORDS) == (kind.name in HELD), kind
        assert (kind in SAID_AGAIN) == (kind.name in SAID_ONCE_MORE), kind
        assert (kind in hearing._WANTED_OF_US) == (kind.name in NO_ANSWER), kind
        assert (kind in hearing._TO_CONTACTS) == (kind.name in OF_TWO), kind
