"""Read marks: whether the others learn what we have read, and we what they have."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from amanat.client.shell.runtime import Runtime


class ReadMarks:
    """The read marks of one person."""

    def __init__(self, run: Runtime) -> None:
        self._unit = run.unit
        self._reads = run.parts.conversations.reads

    @property
    def are_told(self) -> bool:
        """Whether the others learn which of their texts we have read, and we which of ours they
        have."""
        return self._reads.are_told

    def tell(self, *, are_told: bool = True) -> None:
        """Set this, from now on. With False, we also forget what the others have told."""
        with self._unit() as unit:
            self._reads.tell(unit, are_told=are_told)
