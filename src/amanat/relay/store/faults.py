"""The translation of SQLite's errors into our own."""

from __future__ import annotations

import sqlite3

from amanat.errors import DiskFull, StoreDamaged

DISK_RETRY_S = 30.0
"""Seconds after which a client may try again when the disk was full: a person must make room."""


class _Errors:
    """Turns SQLite's errors into our own. It is a class because a generator would slow appends."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        if isinstance(error, sqlite3.DatabaseError):
            name = error.sqlite_errorname
            if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
                raise DiskFull(name, retry_after=DISK_RETRY_S) from None
            raise StoreDamaged(name) from None


sqlite_errors = _Errors()
"""Every statement runs inside this context."""
