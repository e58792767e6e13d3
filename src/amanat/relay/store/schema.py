"""The tables of both files, and how to create and open a file."""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING

from amanat.errors import AmanatError, RelayBusy, StoreDamaged, StoreTooNew, StoreTooOld
from amanat.relay.records import MOST_SEQ
from amanat.relay.store.faults import sqlite_errors

if TYPE_CHECKING:
    from pathlib import Path

BASE = 6
"""The version of both files that the tables below make, as 0.1.0 does; we refuse an older one."""
VERSION = BASE
"""The version of today's files, in `PRAGMA user_version`; we refuse a newer one."""
PAGE_BYTES = 8192
"""Seven wrapped message cells fill a page of this size to 95 %; three fill 4096 bytes to 80 %."""
CACHE_KIB = 64 * 1024
"""Memory for the pages of each connection, in KiB."""
BUSY_TIMEOUT_MS = 5000
"""How long emptying the WAL waits for a read to finish, in milliseconds; a read takes a few."""
SEQ_BITS: int = MOST_SEQ.bit_length()
"""A cell's `place` is its drop's number and its seq in one integer, which makes it the row's
position in the table: a drop's cells lie together and in order."""
SEQ_MASK = (1 << SEQ_BITS) - 1
"""The bits of a place that are its seq."""
MOST_NUMBER = (1 << 63 - SEQ_BITS) - 1
"""Drops of a store in its life, two thousand million, because an integer of SQLite has 63 bits. If
people make as many as a relay lets them by default, 1,200 a minute, it gets there after 3 years."""

DROPS = """
CREATE TABLE "drop" (
    number INTEGER PRIMARY KEY AUTOINCREMENT,  -- never given twice
    drop_id BLOB NOT NULL UNIQUE,
    append_hash BLOB NOT NULL,
    read_hash BLOB NOT NULL,
    retention_days INTEGER NOT NULL,
    bucket INTEGER NOT NULL,                   -- 1: the relay's own, never ends
    head INTEGER NOT NULL,
    digest BLOB NOT NULL,
    cells INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    last_day INTEGER NOT NULL,                 -- UTC days since 1970
    oldest_day INTEGER,                        -- NULL: no cell is kept
    ended_cells INTEGER NOT NULL DEFAULT 0,    -- erased, and not in the ledger yet
    ended_bytes INTEGER NOT NULL DEFAULT 0,
    state INTEGER NOT NULL DEFAULT 0,          -- 0: here, 1: arriving, 2: gone
    move INTEGER NOT NULL DEFAULT 0,           -- number of the last move it took part in
    bound INTEGER NOT NULL DEFAULT 0,          -- number its cells are bound to; 0: its own
    indexed INTEGER NOT NULL DEFAULT 0         -- seq up to which `label` has those of its cells
) STRICT;
CREATE INDEX drop_due ON "drop" (oldest_day + retention_days) WHERE oldest_day IS NOT NULL;
CREATE TABLE cell (
    place INTEGER PRIMARY KEY,                 -- drop number << SEQ_BITS | seq
    label BLOB NOT NULL,
    before BLOB NOT NULL,                      -- digest before the cell
    day INTEGER NOT NULL,
    wrapped BLOB NOT NULL                      -- nonce || AES-256-GCM(cell), or where that lies
) STRICT;
CREATE TABLE label (                           -- of cells that are not recent
    number INTEGER NOT NULL,                   -- of the drop
    label BLOB NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (number, label)
) STRICT, WITHOUT ROWID;
CREATE TABLE total (                           -- of all drops: to count them takes minutes
    number INTEGER PRIMARY KEY CHECK (number = 0),
    drops INTEGER NOT NULL,
    bytes INTEGER NOT NULL,                    -- of cells
    bucket_bytes INTEGER NOT NULL              -- of those in buckets
) STRICT;
INSERT INTO total VALUES (0, 0, 0, 0);
"""

MOVES = """
CREATE INDEX drop_move ON "drop" (move, state) WHERE move > 0;
CREATE TABLE move (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    move BLOB NOT NULL UNIQUE,
    signed BLOB NOT NULL,                      -- the order, by the source
    is_source INTEGER NOT NULL,
    access BLOB NOT NULL,
    first_entry INTEGER NOT NULL,
    is_closed INTEGER NOT NULL DEFAULT 0
) STRICT;
"""

LEDGER = """
CREATE TABLE entry (
    place INTEGER PRIMARY KEY,                 -- from 0, without gaps
    entry BLOB NOT NULL
) STRICT;
CREATE TABLE tile_hash (
    level INTEGER NOT NULL,                    -- of 256^level entries, from 1
    place INTEGER NOT NULL,
    hash BLOB NOT NULL,
    PRIMARY KEY (level, place)
) STRICT, WITHOUT ROWID;
CREATE TABLE checkpoint (
    number INTEGER PRIMARY KEY CHECK (number = 0),
    note BLOB NOT NULL
) STRICT;
"""

KEYS = """
CREATE TABLE shred_key (
    number INTEGER NOT NULL,                   -- of the drop
    day INTEGER NOT NULL,
    last_day INTEGER NOT NULL,                 -- on which the cells under it are still kept
    key BLOB NOT NULL,
    PRIMARY KEY (number, day)
) STRICT, WITHOUT ROWID;
"""

STEPS: dict[str, tuple[str, ...]] = {"drops.sqlite": (), "keys.sqlite": ()}
"""Statements that bring each file from version `BASE` to the next, and so on. A new file also takes
all steps, so the tables above do not change."""


def make(path: Path, schema: str) -> None:
    """Create a database whole or not at all."""
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    connection = sqlite3.connect(temporary, isolation_level=None)
    try:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA synchronous = FULL")
        made = schema + "".join(STEPS[path.name])
        connection.executescript(f"BEGIN; {made} PRAGMA user_version = {VERSION}; COMMIT")
    finally:
        connection.close()
    temporary.rename(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def open_to_write(path: Path) -> sqlite3.Connection:
    """A connection that may write to a file, which it brings to this version.

    Raises StoreTooNew, StoreTooOld or StoreDamaged.
    """
    # The committing thread gets the writers and gives them back; no two threads use one at once.
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_MS / 1000
    )
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    try:
        _check(path, version)
    except AmanatError:
        connection.close()
        raise
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "secure_delete = ON",
        "temp_store = MEMORY",  # no cell in a temporary file
        f"cache_size = -{CACHE_KIB}",
    ):
        connection.execute(f"PRAGMA {pragma}")
    if version < VERSION:
        upgrade = "".join(STEPS[path.name][version - BASE :])
        connection.executescript(
            f"BEGIN IMMEDIATE; {upgrade} PRAGMA user_version = {VERSION}; COMMIT"
        )
    return connection


def open_to_read(path: Path) -> sqlite3.Connection:
    """A connection that only reads. Raises StoreTooNew, StoreTooOld or StoreDamaged."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    try:
        _check(path, version)
        if version < VERSION:
            raise StoreDamaged(
                f"{path} has version {version}; its relay has not been started since"
            )
    except AmanatError:
        connection.close()
        raise
    return connection


def _check(path: Path, version: int) -> None:
    """Raise StoreTooNew, StoreTooOld or StoreDamaged if no step leads from a version to ours."""
    if version < 1:
        raise StoreDamaged(f"{path} is not a store")
    if version < BASE:
        raise StoreTooOld(f"{path} has version {version}; this program knows {BASE} and later")
    if version > VERSION:
        raise StoreTooNew(f"{path} has version {version}; this is {VERSION}")


def empty_log(connection: sqlite3.Connection) -> None:
    """Bring everything from a file's log to its place, and leave the log empty.

    Raises RelayBusy while another program reads, DiskFull or StoreDamaged.
    """
    with sqlite_errors:
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise RelayBusy("another program reads the store and keeps deleted bytes in its log")
