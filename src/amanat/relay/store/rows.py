"""The conversion between rows and records. No other module knows the positions in a row."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

from msgspec import structs

from amanat.relay.records import NOBODYS, DropRecord, MoveRecord
from amanat.relay.store.faults import sqlite_errors

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

# The columns of a drop have the names of the record's fields.
DROP_COLUMNS = ", ".join(DropRecord.__struct_fields__)
ADD_DROP = (
    f'INSERT INTO "drop" ({DROP_COLUMNS})'  # noqa: S608  # constants
    f" VALUES ({','.join('?' * len(DropRecord.__struct_fields__))})"
)
"""Takes the values of `row_of`."""
_CHANGING = ("head", "digest", "cells", "bytes", "last_day", "oldest_day")
SAVE_DROP = f'UPDATE "drop" SET {" = ?, ".join(_CHANGING)} = ? WHERE number = ?'  # noqa: S608  # constants
"""Takes the values of `changes_of`: the fields that change as cells come and end."""
MOVE_COLUMNS = "move, signed, is_source, access, first_entry, is_closed, number"
"""The columns in the order of the fields of a MoveRecord."""

row_of = structs.astuple
changes_of = attrgetter(*_CHANGING, "number")
_NOBODYS_ROW = row_of(NOBODYS)


def drop_of(row: Sequence[Any]) -> DropRecord:
    """The record in a drop's row."""
    drop = DropRecord(*row)
    drop.bucket = bool(drop.bucket)
    drop.bound = drop.bound or drop.number
    return drop


def move_of(row: Sequence[Any]) -> MoveRecord:
    """The record in a move's row."""
    record = MoveRecord(*row)
    record.is_source, record.is_closed = bool(record.is_source), bool(record.is_closed)
    return record


def find_drop(connection: sqlite3.Connection, drop_id: bytes) -> DropRecord:
    """The drop with an id, or a copy of NOBODYS at the same cost."""
    with sqlite_errors:
        row = connection.execute(
            f'SELECT {DROP_COLUMNS} FROM main."drop" WHERE drop_id = ?',  # noqa: S608  # constant
            (drop_id,),
        ).fetchone()
    return drop_of(row or _NOBODYS_ROW)


def every_move(connection: sqlite3.Connection) -> list[MoveRecord]:
    """All moves, in order."""
    with sqlite_errors:
        rows = connection.execute(
            f"SELECT {MOVE_COLUMNS} FROM main.move ORDER BY number"  # noqa: S608  # constant
        ).fetchall()
    return [move_of(row) for row in rows]
