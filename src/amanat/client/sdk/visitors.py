"""Visitors: the people who have knocked on our invites and wait, and our answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amanat.client.invite import decode_knock
from amanat.client.sdk.reading import pick, typed
from amanat.client.sdk.views import VisitorView
from amanat.errors import UnknownVisitor

if TYPE_CHECKING:
    from amanat.client.shell.runtime import Runtime


class Visitors:
    """The visitors of one person."""

    def __init__(self, run: Runtime) -> None:
        self._unit = run.unit
        self._now = run.now
        self._invites = run.parts.invites
        self._naming = run.parts.conversations.naming
        self._history = run.parts.conversations.history
        self._begin_due = run.begin_due

    @property
    def knocks(self) -> str:
        """The client's behaviour when somebody knocks on an invite of ours: it lets them in
        ("let-in"), or asks the person first ("ask")."""
        return self._invites.visitors.knocks

    def set_knocks(self, knocks: str) -> None:
        """Set this behaviour, for all knocks that come from now on, on any invite. Raises
        BadArgument."""
        with self._unit() as unit:
            self._invites.visitors.choose(unit, knocks)

    def all(self) -> list[VisitorView]:
        """The people who wait for our answer, the first to come first."""
        found = []
        for one in self._invites.visitors.all(now=self._now()):
            knock = decode_knock(one.knock)
            found.append(
                VisitorView(
                    one.id,
                    one.identity,
                    self._naming.called_once_met(one.identity, knock.name),
                    knock.greeting,
                    self._history.is_blocked(one.identity),
                    one.knocked_at,
                    one.until,
                )
            )
        return found

    def _visitor(self, name: str) -> VisitorView:
        """The visitor with an id, or with a name that is no id."""
        visitors, wanted = self.all(), typed(name)
        found = [one for one in visitors if one.id == wanted]
        named = [one for one in visitors if typed(one.name) == wanted]
        return pick(found or named, name, UnknownVisitor)

    def let_in(self, visitor: str) -> VisitorView:
        """Let the visitor with this id or name in: they are a contact from now on. Raises
        UnknownVisitor or AmbiguousName."""
        found = self._visitor(visitor)
        with self._unit() as unit:
            self._invites.let_in(unit, found.identity)
        self._begin_due()
        return found

    def turn_away(self, visitor: str) -> VisitorView:
        """Turn the visitor with this id or name away. They are told nothing. Raises UnknownVisitor
        or AmbiguousName."""
        found = self._visitor(visitor)
        with self._unit() as unit:
            self._invites.turn_away(unit, found.identity)
        return found
