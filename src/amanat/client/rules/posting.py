"""Posting: sealing a payload for one person, under the next label of the pair chain to them.

The label is used once: a payload is sealed once for each recipient, and put into the outbox.
`chains.py` begins and ends the chains themselves.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from amanat.client.rules.outbox import Purpose, sealed_for
from amanat.protocol import codec
from amanat.protocol.kinds import lane_of
from amanat.protocol.labels import Lane, step
from amanat.protocol.messages import MAX_SEEN, PairCell, decode_pair_cell

if TYPE_CHECKING:
    from collections.abc import Iterable

    from amanat.client.rules.chains import Peer
    from amanat.client.rules.outbox import Outbox
    from amanat.client.unit import Unit
    from amanat.protocol.identity import Address
    from amanat.protocol.messages import CellKind, Epoch, Seen

JITTER_MS = 20
"""Copies of one message leave at random times within this many milliseconds, so that they do not
arrive as one burst. This hides little (the hop and the bucket hide the rest) and costs little."""
MAX_SKIPPED = 16
"""The most labels of one chain that we pass over because a relay says that they are taken, until it
takes a cell. This is far below WINDOW, so a liar cannot push the chain out of its recipient's
sight."""
MAX_SKIPPED_CALLS = 4
"""The same in the lane of calls, whose window is smaller."""
_MOST_SKIPPED = {Lane.WORDS: MAX_SKIPPED, Lane.CALLS: MAX_SKIPPED_CALLS}


class Posting:
    """The cells that leave by the chains of one vault."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def post(
        self,
        unit: Unit,
        gid: bytes,
        to: Peer,
        kind: CellKind,
        payload: bytes,
        *,
        epoch: Epoch,
        seen: Iterable[Seen] = (),
    ) -> bool:
        """Step the pair chain to a person and deposit a payload with them.

        Returns False if there is no chain to them (messages of a large group go into its epoch
        drop).
        """
        row = unit.db.execute(
            "SELECT chain FROM chain_out WHERE gid = ? AND identity = ? AND lane = ?",
            (gid, to.identity, lane_of(kind)),
        ).fetchone()
        if row is None:
            return False
        secret, after = step(row[0])
        unit.db.execute(
            "UPDATE chain_out SET chain = ? WHERE gid = ? AND identity = ? AND lane = ?",
            (after, gid, to.identity, lane_of(kind)),
        )
        read = list(seen)[:MAX_SEEN]
        told = self._outbox.tell(unit, to.identity, MAX_SEEN - len(read))
        cell = PairCell(kind, payload, [*told, *read], epoch)
        self._outbox.deposit(
            unit,
            to.addresses,
            secret,
            codec.encode(cell),
            purpose=Purpose.CELL,
            about=gid,
            due_at=unit.now + secrets.randbelow(JITTER_MS),
            recipient=to.identity,
        )
        return True

    def seal_again(self, unit: Unit, row: int, addresses: list[Address]) -> bool:
        """Seal a cell in the outbox under the chain's next label, because a relay says that its
        label is taken. Returns False if we have done so often enough, or cannot."""
        db = unit.db
        gid, identity, payload = db.execute(
            "SELECT about, recipient, payload FROM outbox WHERE id = ?", (row,)
        ).fetchone()
        lane = lane_of(decode_pair_cell(payload).kind)
        passed_over = db.execute(
            "SELECT payload, skipped FROM outbox WHERE about = ? AND recipient = ? AND skipped > 0"
            " AND purpose = 'cell'",
            (gid, identity),
        ).fetchall()
        skipped = sum(
            many for one, many in passed_over if lane_of(decode_pair_cell(one).kind) == lane
        )
        chain = db.execute(
            "SELECT chain FROM chain_out WHERE gid = ? AND identity = ? AND lane = ?",
            (gid, identity, lane),
        ).fetchone()
        if chain is None or skipped >= _MOST_SKIPPED[lane]:
            return False
        secret, after = step(chain[0])
        db.execute(
            "UPDATE chain_out SET chain = ? WHERE gid = ? AND identity = ? AND lane = ?",
            (after, gid, identity, lane),
        )
        db.execute(
            "UPDATE outbox SET relay = ?, request = ?, other_relay = ?, other_request = ?,"
            " secret = ?, skipped = skipped + 1 WHERE id = ?",
            (*sealed_for(addresses, secret, payload), secret, row),
        )
        return True
