"""Finding the network address of a message's author.

Method: read it off the log of a hostile relay.
Source: any web server's log.
Metric: the share of deposits whose entry names the address of their author.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from amanat.drill.designs import Evidence

NAME = "ip"


def measure(evidence: Evidence) -> float:
    """The share of deposits whose entry names their author's address."""
    return float((evidence.source == evidence.author).mean())
