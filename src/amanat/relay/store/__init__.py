"""Drops in SQLite: `drops.sqlite` with the cells and the ledger, and apart from it `keys.sqlite`
with what opens the cells.

A cell rests under AES-256-GCM, with a key of its drop and UTC day. To destroy a day of a drop is to
destroy 32 bytes. What a crash leaves:

- A key is durable before the first cell under it is, so there is never a cell without its key...
- ... except while an expiry runs: keys go first. Such a cell has ended, and no read asks for it.
- A staged batch is one transaction: after a crash all of it is there, or nothing.
- So is an entry of the ledger with what it tells of. Only of a drop that is in the middle of its
  expiry has the ledger not heard yet; the drop's row has kept count.

Four connections: the writer of each file, one reader of both, and the *emptier*, which in a thread
of its own brings what was committed from SQLite's log (the WAL) to its place in `drops.sqlite`.
SQLite lets the reader go on while the writer commits in another thread, and both while the log is
emptied.
"""

from __future__ import annotations

from amanat.relay.store.drops import DropTable
from amanat.relay.store.expiry import Expiry
from amanat.relay.store.moves import MoveTable


class SqliteStore(Expiry, MoveTable, DropTable):
    """A `drops.Store` in one directory, for one process; also where moves and the ledger rest."""
