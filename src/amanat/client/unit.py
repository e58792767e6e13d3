"""A unit of work as a value: whoever has one may write into the vault, and nobody else can.

A function that writes takes the `Unit` it belongs to, so what may happen only inside one cannot be
called outside. What it reads, it reads from the unit as well, and so sees what the unit has
written.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from amanat.client.events import Event
    from amanat.client.follow import Follow

K = TypeVar("K")
V = TypeVar("V")


class Reader:
    """The face of a vault that can only be read."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def execute(self, query: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        """What a SELECT finds. TypeError for any other statement."""
        if not query.startswith("SELECT"):
            raise TypeError(f"only a unit of work may do this: {query}")
        return self._db.execute(query, values)


class Unit:
    """One unit of work: what is done in it is durable as a whole when it ends, or was never done.

    `vault.Vault.unit` makes them, and ends them.
    """

    def __init__(self, db: sqlite3.Connection, *, now: int) -> None:
        self._db: sqlite3.Connection | None = db
        self.now = now
        """When it happens, in Unix milliseconds: one moment for all of it."""
        self.events: list[Event] = []
        """What the person is told once it is durable."""
        self.following: deque[Follow] = deque()
        """What is still to be done in it, the next first."""

    @property
    def db(self) -> sqlite3.Connection:
        """The database. RuntimeError once the unit has ended."""
        if self._db is None:
            raise RuntimeError("this unit of work has ended")
        return self._db

    def put(self, key: str, value: bytes) -> None:
        """Set a key of `meta`."""
        self.db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def follow(self, what: Follow) -> None:
        """Have something done before the unit ends, after what was to follow before."""
        self.following.append(what)

    def end(self) -> None:
        """Let nothing more be written by it."""
        self._db = None


class Memory(MutableMapping[K, V], Generic[K, V]):
    """What is remembered beside the vault and in no file. What a unit of work changes in it is
    undone if the unit fails (`vault.Vault.memory`)."""

    def __init__(self) -> None:
        self._now: dict[K, V] = {}
        self._before: dict[K, tuple[V] | None] = {}
        """What the unit under way has changed, as it was."""

    def __getitem__(self, key: K) -> V:
        return self._now[key]

    def __setitem__(self, key: K, value: V) -> None:
        self._note(key)
        self._now[key] = value

    def __delitem__(self, key: K) -> None:
        self._note(key)
        del self._now[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._now)

    def __len__(self) -> int:
        return len(self._now)

    def _note(self, key: K) -> None:
        if key not in self._before:
            self._before[key] = (self._now[key],) if key in self._now else None

    def settle(self) -> None:
        """The unit is durable, and so are its changes here."""
        self._before.clear()

    def undo(self) -> None:
        """The unit has failed: everything is as it was before."""
        for key, before in self._before.items():
            if before is None:
                self._now.pop(key, None)
            else:
                self._now[key] = before[0]
        self._before.clear()
