"""A unit of work as a value: only code that has one can write into the vault.

A function that writes takes the `Unit` to which it belongs, so it cannot be called outside one. It
also reads from the unit, and so sees everything that the unit has written.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from amanat.client.events import Event
    from amanat.client.follow import Follow

K = TypeVar("K")
V = TypeVar("V")


class Reader:
    """A read-only view of a vault.

    It remembers the answers to the questions of each tick until a unit ends, because nothing else
    changes the vault: a client in which nothing happens reads nothing.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._remembered: dict[str, list[Any]] = {}

    def execute(self, query: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        """The rows that a SELECT finds. Raises TypeError for any other statement."""
        if not query.startswith("SELECT"):
            raise TypeError(f"only a unit of work may do this: {query}")
        return self._db.execute(query, values)

    def all(self, query: str) -> list[Any]:
        """All rows that a SELECT finds, remembered until the next unit ends. Within a unit, the
        rows include the unit's own changes. Raises TypeError for any other statement."""
        if self._db.in_transaction:
            return self.execute(query).fetchall()
        rows = self._remembered.get(query)
        if rows is None:
            rows = self._remembered[query] = self.execute(query).fetchall()
        return rows

    def is_due(self, first: str, now: int) -> bool:
        """Whether a time has come: the first of some, which `first` selects in Unix milliseconds,
        or NULL if there is none."""
        ((at,),) = self.all(first)
        return at is not None and at <= now

    def due(self, source: str, at: str, now: int) -> list[bytes]:
        """The conversations in which the time in the column `at` of a table or subquery, in Unix
        milliseconds, has come."""
        if not self.is_due(f"SELECT min({at}) FROM {source}", now):  # noqa: S608
            return []
        rows = self.execute(f"SELECT DISTINCT gid FROM {source} WHERE {at} <= ?", (now,))  # noqa: S608
        return [gid for (gid,) in rows]

    def forget(self) -> None:
        """Remember nothing, because a unit has ended."""
        self._remembered.clear()

    def turn_to(self, db: sqlite3.Connection) -> None:
        """Read from another connection to the same vault from now on."""
        self._db = db
        self.forget()


class Unit:
    """One unit of work. Its changes are durable as a whole when it ends, or are never made.

    `vault.Vault.unit` makes them, and ends them.
    """

    def __init__(self, db: sqlite3.Connection, *, now: int) -> None:
        self._db: sqlite3.Connection | None = db
        self.now = now
        """The time of the unit, in Unix milliseconds: one moment for all of it."""
        self.events: list[Event] = []
        """The events that the person gets once the unit is durable."""
        self.following: deque[Follow] = deque()
        """The steps that are still to follow in it, the next first."""

    @property
    def db(self) -> sqlite3.Connection:
        """The database. Raises RuntimeError once the unit has ended."""
        if self._db is None:
            raise RuntimeError("this unit of work has ended")
        return self._db

    def put(self, key: str, value: bytes) -> None:
        """Set a key of `meta`."""
        self.db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def follow(self, what: Follow) -> None:
        """Queue a step to be done before the unit ends, after those queued before."""
        self.following.append(what)

    def end(self) -> None:
        """End the unit, so that it can write nothing more."""
        self._db = None


class Memory(MutableMapping[K, V], Generic[K, V]):
    """A dict beside the vault, kept in no file. If a unit of work fails, its changes here are
    undone (`vault.Vault.memory`)."""

    def __init__(self) -> None:
        self._now: dict[K, V] = {}
        self._before: dict[K, tuple[V] | None] = {}
        """The values that the unit under way has changed, as they were before."""

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
        """Keep the changes of the unit, which is durable now."""
        self._before.clear()

    def undo(self) -> None:
        """Undo the changes of the unit, which has failed."""
        for key, before in self._before.items():
            if before is None:
                self._now.pop(key, None)
            else:
                self._now[key] = before[0]
        self._before.clear()
