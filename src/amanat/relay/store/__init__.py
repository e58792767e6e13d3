"""Drops in SQLite: `drops.sqlite` holds the cells and the ledger, and `keys.sqlite`, apart from it,
the keys that open the cells. Large cells that come many at once lie in `bodies/`, and their rows
point there.

A cell rests under AES-256-GCM, with a key of its drop and UTC day. To destroy a day of a drop is to
destroy 32 bytes. After a crash the following holds:

- A key is durable before the first cell under it is, so no cell is without its key. The exception
  is an expiry that was running: keys go first. Such a cell has expired, and no read asks for it.
- A staged batch is one transaction: all of it is there, or none of it.
- A body is on the disk before a row points into it, and is removed after its last row has gone.
- An entry of the ledger is in the same transaction as the change that it reports. The exception is
  a drop in the middle of its expiry: its row keeps count until the entry is made.

The store has four connections: the writer of each file, one reader of both, and the *emptier*. In
its own thread, the emptier brings committed rows from SQLite's log (the WAL) to their place in
`drops.sqlite`. SQLite lets the reader go on while the writer commits in another thread, and both
while the log is emptied.
"""

from __future__ import annotations

from amanat.relay.store.drops import DropTable
from amanat.relay.store.expiry import Expiry
from amanat.relay.store.moves import MoveTable


class SqliteStore(Expiry, MoveTable, DropTable):
    """A `records.Store` in one directory, for one process; it also stores moves and the ledger."""

    processes = None
