"""Death in the simulated world: a fuse ends a process at a chosen statement of a unit of work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import sqlcipher3

from amanat.protocol import wire
from amanat.protocol.cells import LABEL_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable


class Died(BaseException):
    """The process died here; no part of it runs any longer."""


class Fuse:
    """Burns down one step at each statement of a unit, and one more after each COMMIT.

    A coarse fuse burns at COMMITs only. It shows all states that a fine one would show, because a
    unit ends with its COMMIT or never was, and nothing is written outside units.
    """

    def __init__(self) -> None:
        self.left: int | None = None
        self.is_coarse = False
        self.is_burnt = False

    def step(self) -> None:
        if self.left is not None:
            self.left -= 1
            self.is_burnt = self.left == 0
        self.check()

    def check(self) -> None:
        if self.is_burnt:
            raise Died


class Connection(sqlcipher3.Connection):  # type: ignore[misc]  # it has no types
    """A vault's connection with a fuse; it refuses changes outside a unit."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # the driver's
        self.fuse = Fuse()
        super().__init__(*args, **kwargs)

    askings: ClassVar[set[bytes]] = set()
    """Labels of all requests for help: there are few, and they are used again (`Chains.ask`)."""

    def execute(self, sql: str, parameters: Iterable[object] = ()) -> Any:  # noqa: ANN401  # a cursor
        self.fuse.check()
        is_reading = sql.startswith("SELECT")
        if self.in_transaction or sql.startswith("BEGIN"):
            if sql == "COMMIT" or not self.fuse.is_coarse:
                self.fuse.step()
        elif not is_reading and sql.startswith(("INSERT", "UPDATE", "DELETE", "REPLACE")):
            raise AssertionError(f"outside a unit: {sql}")
        if is_reading:
            return super().execute(sql, parameters)
        if sql == "PRAGMA synchronous = FULL":
            sql = "PRAGMA synchronous = OFF"  # the power never fails here, and waiting is slow
        if sql.startswith("INSERT INTO outbox") or "purpose = 'ask'" in sql:
            self._note_asking(sql, tuple(parameters))
        result = super().execute(sql, parameters)
        if sql == "COMMIT":
            self.fuse.step()
        return result

    def _note_asking(self, sql: str, row: tuple[object, ...]) -> None:
        """Note the label of a request for help: it may carry another payload each time, which is
        sealed a second time inside."""
        if "ask" in row or "purpose = 'ask'" in sql:
            requests = [wire.decode_request(one) for one in row[1:4:2] if isinstance(one, bytes)]
            self.askings.update(
                one.cell[:LABEL_BYTES] for one in requests if isinstance(one, wire.Append)
            )
