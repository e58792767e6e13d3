"""The two files, the batch staged in them, and how it becomes durable."""

# ruff: noqa: D102  # the protocols in records.py and beside it say what each method is

from __future__ import annotations

import contextlib
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from amanat.errors import DiskFull, StoreDamaged
from amanat.relay.records import ALL_MADE, Unmade
from amanat.relay.store.faults import DISK_RETRY_S, sqlite_errors
from amanat.relay.store.pages import SqlitePages
from amanat.relay.store.schema import DROPS, KEYS, LEDGER, MOVES, make, open_to_write
from amanat.relay.store.wrapping import NONCE_BYTES, nonces_from

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from amanat.relay.records import DropRecord

EMPTY_ROWS = 500
"""Changed rows after which the emptier empties the log: 8 MB, if each was committed alone."""
LOG_PAGES = 8000
"""Pages in the log at which the writer itself empties it and waits, so that SQLite starts it again
from the beginning. They are 64 MB, and the writer seldom has to wait."""


class Files:
    """Both files, open for one process. The staged batch is one transaction in each."""

    waits = False

    def __init__(self, directory: Path) -> None:
        """Open the store, or make it. Raises StoreTooNew, StoreTooOld, StoreDamaged or DiskFull."""
        drops, keys = directory / "drops.sqlite", directory / "keys.sqlite"
        if drops.exists() and not keys.exists():
            raise StoreDamaged(f"{keys} is missing")
        with sqlite_errors:
            # Keys first: cells without a place for their keys would look like damage.
            for path, schema in ((keys, KEYS), (drops, DROPS + MOVES + LEDGER)):
                if not path.exists():
                    make(path, schema)
            self._keys = open_to_write(keys)
            self._writer = open_to_write(drops)
            self._writer.execute("PRAGMA wal_autocheckpoint = 0")  # but the emptier
            self._emptier = open_to_write(drops)
            self._reader = open_to_write(drops)
            self._reader.execute("ATTACH ? AS keys", (str(keys),))
            self._drops, self._bytes, self._bucket_bytes = self._total()
            self.pages = SqlitePages(self._reader)
            self.staged_pages = SqlitePages(self._writer)
            self._entries = self.pages.size()
        self._staged_drops = self._staged_entries = 0
        self._staged_bytes = self._staged_bucket_bytes = 0
        # The nonce counts from a random number. It is not the seq, because the store gives the seq
        # of a batch that was rolled back again.
        self._nonces = nonces_from(int.from_bytes(os.urandom(NONCE_BYTES), "big"))
        # The keys that the staged batch uses, by drop number and day.
        self._wraps: dict[tuple[int, int], AESGCM] = {}
        self._log = drops.with_name(f"{drops.name}-wal")
        self._committed_rows = self._writer.total_changes
        self._emptied_rows = self._log_pages = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="emptier")
        self._emptying = self._thread.submit(self._empty)
        self._is_deferred = self._is_unsettled = False
        # A commit writes keys first. A crash, or a full disk, before the drops are committed leaves
        # keys under numbers that the store gives again; these keys do not belong to the new drops.
        self._are_keys_ahead = True

    def close(self) -> None:
        """Close the files. The staged batch is lost."""
        self._thread.shutdown()
        for connection in (self._emptier, self._reader, self._writer, self._keys):
            connection.close()

    def count(self) -> int:
        return self._drops + self._staged_drops

    def stored_bytes(self) -> int:
        return self._bytes + self._staged_bytes

    def bucket_bytes(self) -> int:
        return self._bucket_bytes + self._staged_bucket_bytes

    def defer(self) -> None:
        with sqlite_errors:
            self._writer.execute("PRAGMA synchronous = NORMAL")
        self._is_deferred = True

    def commit(self) -> Unmade:
        with sqlite_errors:
            self._save_total()
            # SQLite does not write a transaction that changed nothing, and so does not wait for it.
            is_written = self._writer.total_changes != self._committed_rows
            for connection in (self._keys, self._writer):
                if connection.in_transaction:
                    connection.execute("COMMIT")
        self._committed_rows = self._writer.total_changes
        if self._is_deferred:
            self._end_deferring()
            self._is_unsettled = self._is_unsettled or is_written
        else:
            if self._is_unsettled and not is_written:
                self._settle()
            self._is_unsettled = False
        self._empty_in_time()
        self._wraps.clear()
        self._drops += self._staged_drops
        self._bytes += self._staged_bytes
        self._bucket_bytes += self._staged_bucket_bytes
        self._entries += self._staged_entries
        self._staged_drops = self._staged_entries = 0
        self._staged_bytes = self._staged_bucket_bytes = 0
        return ALL_MADE

    def rollback(self) -> None:
        self._wraps.clear()
        self._staged_drops = self._staged_entries = 0
        self._staged_bytes = self._staged_bucket_bytes = 0
        with sqlite_errors:
            for connection in (self._writer, self._keys):
                # SQLite has rolled back by itself after some errors.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        self._committed_rows = self._writer.total_changes
        self._are_keys_ahead = True
        self._end_deferring()

    def _end_deferring(self) -> None:
        if self._is_deferred:
            with sqlite_errors:
                self._writer.execute("PRAGMA synchronous = FULL")
            self._is_deferred = False

    def _settle(self) -> None:
        log = os.open(self._log, os.O_RDONLY)
        try:
            os.fsync(log)
        except OSError as error:
            raise DiskFull(str(error.strerror), retry_after=DISK_RETRY_S) from None
        finally:
            os.close(log)

    def _empty_in_time(self) -> None:
        """Start emptying the log once it is long; wait until it is empty once it is too long."""
        rows = self._writer.total_changes
        if rows - self._emptied_rows < EMPTY_ROWS or not self._emptying.done():
            return
        self._emptied_rows = rows
        if self._log_pages < LOG_PAGES:
            self._emptying = self._thread.submit(self._empty)
        else:
            self._empty()
            self._log_pages = 0

    def _empty(self) -> None:
        with contextlib.suppress(sqlite3.DatabaseError):  # the next one tries again
            _, self._log_pages, _ = self._emptier.execute(
                "PRAGMA wal_checkpoint(PASSIVE)"
            ).fetchone()

    def _stage_bytes(self, drop: DropRecord, more: int) -> None:
        self._staged_bytes += more
        if drop.bucket:
            self._staged_bucket_bytes += more

    def _total(self) -> tuple[int, int, int]:
        """The drops, the bytes of their cells, and those of buckets."""
        drops, held, of_buckets = self._writer.execute(
            "SELECT drops, bytes, bucket_bytes FROM total"
        ).fetchone()
        return drops, held, of_buckets

    def _save_total(self) -> None:
        total = self.count(), self.stored_bytes(), self.bucket_bytes()
        if total != (self._drops, self._bytes, self._bucket_bytes):
            self._begin(self._writer)
            self._writer.execute("UPDATE total SET drops = ?, bytes = ?, bucket_bytes = ?", total)

    def _begin(self, connection: sqlite3.Connection) -> None:
        if not connection.in_transaction:
            connection.execute("BEGIN IMMEDIATE")
