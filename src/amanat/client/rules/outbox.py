"""The outbox: the requests that wait for relays, and the digests of drops that we pass on to
people."""

from __future__ import annotations

import json
from enum import StrEnum, unique
from typing import TYPE_CHECKING

from amanat.protocol import wire
from amanat.protocol.cells import one_time, seal
from amanat.protocol.messages import Seen

if TYPE_CHECKING:
    from collections.abc import Iterable

    from amanat.client.places import Places
    from amanat.client.unit import Unit
    from amanat.protocol.descriptor import RelayAddress
    from amanat.protocol.identity import Address

TOLD = 2
"""How often we tell a person the digest that a relay gave when it took a cell for them. The relay
may also leave out the cell that tells."""
KEPT_SEEN = 8
"""The most such digests kept for one person until they are told."""
DIGEST_BYTES = 8
"""The first bytes of a drop's digest, which people tell each other (messages.Seen)."""


@unique
class Purpose(StrEnum):
    """The purpose of a request in the outbox. The vault keeps these values. Each has its own answer
    to a label that is taken, and the type checker makes sure of it."""

    CELL = "cell"
    COMMIT = "commit"
    HANDED = "handed"
    """A Commit that somebody has handed us."""
    CREATE = "create"
    """The creation of a drop."""
    HELD = "held"
    FILE = "file"
    KNOCK = "knock"
    REPLY = "reply"
    """The answer to a knock."""
    ASK = "ask"
    """A request to a contact for help back into a conversation."""
    HELP = "help"
    CLAIM = "claim"
    QUESTION = "question"
    """A claim to find out whether a copy of this vault has said something else."""


class Outbox:
    """The requests of one vault that wait for relays."""

    def __init__(self, places: Places) -> None:
        self._places = places

    def queue(
        self,
        unit: Unit,
        relay: RelayAddress,
        request: wire.Request,
        *,
        purpose: Purpose,
        about: bytes | None,
        due_at: int,
    ) -> None:
        """Put a request into the outbox. Rows of one relay leave in order."""
        self._places.learn(unit, relay)
        unit.db.execute(
            "INSERT INTO outbox (relay, request, about, purpose, due_at) VALUES (?, ?, ?, ?, ?)",
            (relay.key, wire.encode(request), about, purpose, due_at),
        )

    def deposit(
        self,
        unit: Unit,
        addresses: list[Address],
        secret: bytes,
        payload: bytes,
        *,
        purpose: Purpose,
        about: bytes | None,
        due_at: int,
        recipient: bytes | None = None,
    ) -> None:
        """Seal a payload under a one-time secret for the first of somebody's buckets and queue it.

        The payload, sealed for the second bucket, waits beside it in case the first cannot be
        reached. The keys differ with the drop, and a recipient who finds both cells takes one.
        """
        is_kept = recipient is not None
        for address in addresses:
            self._places.learn(unit, address.relay)
        unit.db.execute(
            "INSERT INTO outbox (relay, request, other_relay, other_request, about, purpose,"
            " recipient, due_at, secret, payload) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *sealed_for(addresses, secret, payload),
                about,
                purpose,
                recipient,
                due_at,
                secret if is_kept else None,
                payload if is_kept else None,
            ),
        )

    def send_after(self, unit: Unit, recipient: bytes, addresses: list[Address]) -> None:
        """Send the requests that wait for somebody to their new addresses.

        The one-time secret stays the same: whichever bucket a cell is found in, its position in the
        chain is taken once.
        """
        db = unit.db
        rows = db.execute(
            "SELECT id, secret, payload FROM outbox WHERE recipient = ? AND secret IS NOT NULL",
            (recipient,),
        ).fetchall()
        for row, secret, payload in rows:
            db.execute(
                "UPDATE outbox SET relay = ?, request = ?, other_relay = ?, other_request = ?,"
                " due_at = 0, tries = 0 WHERE id = ?",
                (*sealed_for(addresses, secret, payload), row),
            )

    def fail_over(
        self, unit: Unit, relay: bytes, *, but_not_to: Iterable[bytes] = (), row: int | None = None
    ) -> None:
        """Send the requests that wait for a relay, or one row of them, to the recipients' other
        addresses, if they have one."""
        unit.db.execute(
            "UPDATE outbox SET relay = other_relay, request = other_request, other_relay = relay,"
            " other_request = request, due_at = 0, tries = 0"
            " WHERE relay = ?1 AND other_relay IS NOT NULL AND (?2 IS NULL OR id = ?2)"
            " AND hex(other_relay) NOT IN (SELECT value FROM json_each(?3))",
            (relay, row, json.dumps([one.hex().upper() for one in but_not_to])),
        )

    def saw(self, unit: Unit, recipient: bytes, drop_id: bytes, seq: int, digest: bytes) -> None:
        """Record that a relay has taken a cell of ours for somebody. We shall tell them the digest,
        to compare it with theirs."""
        db = unit.db
        db.execute(
            "INSERT OR IGNORE INTO seen (identity, drop_id, seq, digest) VALUES (?, ?, ?, ?)",
            (recipient, drop_id, seq, digest[:DIGEST_BYTES]),
        )
        db.execute(
            "DELETE FROM seen WHERE identity = ?1 AND (drop_id, seq, digest) IN (SELECT drop_id,"
            " seq, digest FROM seen WHERE identity = ?1 ORDER BY seq DESC LIMIT -1 OFFSET ?2)",
            (recipient, KEPT_SEEN),
        )

    def tell(self, unit: Unit, recipient: bytes, room: int) -> list[Seen]:
        """The digests to tell somebody next, the least told first."""
        db = unit.db
        rows = db.execute(
            "SELECT drop_id, seq, digest FROM seen WHERE identity = ? ORDER BY told, seq LIMIT ?",
            (recipient, room),
        ).fetchall()
        for row in rows:
            db.execute(
                "UPDATE seen SET told = told + 1"
                " WHERE identity = ? AND drop_id = ? AND seq = ? AND digest = ?",
                (recipient, *row),
            )
        db.execute("DELETE FROM seen WHERE identity = ? AND told >= ?", (recipient, TOLD))
        return [Seen(drop_id[:4], seq, digest) for drop_id, seq, digest in rows]


def sealed_for(
    addresses: list[Address], secret: bytes, payload: bytes
) -> tuple[bytes, bytes, bytes | None, bytes | None]:
    """A payload sealed for each of somebody's buckets: (relay, request, other relay, other
    request), with the relays by their keys."""
    found: list[tuple[bytes, bytes]] = []
    for address in addresses:
        once = one_time(secret, region=address.region, drop_id=address.drop_id)
        cell = seal(once, payload, region=address.region, drop_id=address.drop_id)
        request = wire.Append(0, address.drop_id, address.append_token, cell)
        found.append((address.relay.key, wire.encode(request)))
    first, second = found[0], found[1] if len(found) > 1 else (None, None)
    return (*first, *second)
