"""Delivery: what goes into whose bucket, and which cells of the own bucket are ours.

Outgoing, a payload is sealed once for each recipient under the next one-time secret of the pair
chain and put into the outbox. Incoming, every label of the own bucket is looked up among those
that may come next; what is not found is other people's and is forgotten. A cell can come before we
know of its chain, because we are still to join or to read a Commit: when a chain begins, the bucket
is read again from where it may have been used first.

Memory (`_labels`, `_windows`) mirrors the vault and is dropped when a unit of work fails.
"""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, NamedTuple

from amanat.errors import InvalidCell, RelayLied
from amanat.protocol import wire
from amanat.protocol.cells import LABEL_BYTES, one_time, open_cell, seal
from amanat.protocol.drops import first_digest, next_digest
from amanat.protocol.labels import Window, chain_root, pair_secret, step

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from amanat.client.profile import Me
    from amanat.client.vault import Vault
    from amanat.protocol.identity import Address
    from amanat.protocol.messages import CellKind

JITTER_MS = 20
"""Copies of one message leave at random times within this many milliseconds, so that they do not
arrive as one burst. It hides little (the hop and the bucket do the hiding) and costs little."""


class FromPair(NamedTuple):
    """A cell of a conversation: `kind` and `payload` from the device `signer`."""

    gid: bytes
    signer: bytes
    kind: int
    payload: bytes


class FromInvite(NamedTuple):
    """A knock on an invite of ours (`secret`), still sealed to the invite's HPKE key."""

    secret: bytes
    payload: bytes


class FromKnock(NamedTuple):
    """The answer to a knock of ours, known by its reply secret."""

    secret: bytes
    payload: bytes


Arrival = FromPair | FromInvite | FromKnock


class Peer(NamedTuple):
    """A member as delivery sees them."""

    identity: bytes
    delivery: bytes
    signer: bytes
    addresses: list[Address]


class _Expected(NamedTuple):
    source: str
    key: bytes
    """gid of a pair; secret of an invite or a knock."""
    signer: bytes
    position: int


class Delivery:
    """The delivery rules of one vault."""

    def __init__(self, vault: Vault, me: Me) -> None:
        self._vault = vault
        self._me = me
        self._labels: dict[bytes, _Expected] | None = None
        self._windows: dict[tuple[bytes, bytes], Window] = {}
        self._pairs: dict[bytes, bytes] = {}
        vault.bind(forget=self._forget)

    def _forget(self) -> None:
        self._labels = None
        self._windows.clear()

    # Outgoing

    def queue(
        self, relay: str, request: wire.Request, *, purpose: str, about: bytes | None, due_at: int
    ) -> None:
        """Put a request into the outbox; inside a unit. Rows of one relay leave in order."""
        self._vault.db.execute(
            "INSERT INTO outbox (relay, request, about, purpose, due_at) VALUES (?, ?, ?, ?, ?)",
            (relay, wire.encode(request), about, purpose, due_at),
        )

    def deposit(
        self,
        address: Address,
        secret: bytes,
        payload: bytes,
        *,
        purpose: str,
        about: bytes | None,
        due_at: int,
    ) -> None:
        """Seal a payload under a one-time secret for the bucket at `address` and queue it."""
        once = one_time(secret, region=address.region, drop_id=address.drop_id)
        cell = seal(once, payload, region=address.region, drop_id=address.drop_id)
        request = wire.Append(0, address.drop_id, address.append_token, cell)
        self.queue(address.relay, request, purpose=purpose, about=about, due_at=due_at)

    def post(self, gid: bytes, to: Peer, kind: CellKind, payload: bytes, *, now: int) -> bool:
        """Step the pair chain to a person and deposit a payload with them; inside a unit.

        False when there is no chain to them (a large group: its epoch drop is the way).
        """
        row = self._vault.db.execute(
            "SELECT chain FROM chain_out WHERE gid = ? AND identity = ?", (gid, to.identity)
        ).fetchone()
        if row is None:
            return False
        secret, after = step(row[0])
        self._vault.db.execute(
            "UPDATE chain_out SET chain = ? WHERE gid = ? AND identity = ?",
            (after, gid, to.identity),
        )
        self.deposit(
            to.addresses[0],
            secret,
            bytes([kind]) + payload,
            purpose="cell",
            about=gid,
            due_at=now + secrets.randbelow(JITTER_MS),
        )
        return True

    # Chains

    def keep_chains(self, gid: bytes, peers: Iterable[Peer], epoch_secret: bytes) -> bool:
        """Make the chains of a conversation those of exactly these members; inside a unit.

        Members without a chain start one from this epoch's secret; chains of others end. Every
        member does the same on entering the same epoch, so both ends agree. Whether a chain to us
        has begun.
        """
        db = self._vault.db
        peers = list(peers)
        identities = {peer.identity for peer in peers}
        signers = {peer.signer for peer in peers if peer.signer != self._me.signer}
        out = {row[0] for row in db.execute("SELECT identity FROM chain_out WHERE gid = ?", (gid,))}
        into = {row[0] for row in db.execute("SELECT signer FROM chain_in WHERE gid = ?", (gid,))}
        for identity in out - identities:
            db.execute("DELETE FROM chain_out WHERE gid = ? AND identity = ?", (gid, identity))
        for signer in into - signers:
            db.execute("DELETE FROM chain_in WHERE gid = ? AND signer = ?", (gid, signer))
        for peer in peers:
            if peer.identity not in out:
                out.add(peer.identity)
                chain = self._root(gid, peer, epoch_secret, self._me.signer, peer.identity)
                db.execute("INSERT INTO chain_out VALUES (?, ?, ?)", (gid, peer.identity, chain))
            if peer.signer in signers - into:
                chain = self._root(gid, peer, epoch_secret, peer.signer, self._me.identity)
                db.execute(
                    "INSERT INTO chain_in VALUES (?, ?, 0, ?, 0, '[]')", (gid, peer.signer, chain)
                )
        if self._labels is not None:  # otherwise read from the vault when they are needed
            self._reload_windows(gid)
        return bool(signers - into)

    def end_chains(self, gid: bytes) -> None:
        """End every chain of a conversation; inside a unit."""
        self.keep_chains(gid, (), b"")

    def _root(self, gid: bytes, peer: Peer, epoch_secret: bytes, signer: bytes, to: bytes) -> bytes:
        if peer.delivery not in self._pairs:
            self._pairs[peer.delivery] = pair_secret(self._me.delivery_key, peer.delivery)
        return chain_root(self._pairs[peer.delivery], epoch_secret, group=gid, signer=signer, to=to)

    # Incoming

    def expect_knock(self, secret: bytes) -> None:
        """Recognise the knock on an invite from now on."""
        self._known()[self._label(secret)] = _Expected("invite", secret, b"", 0)

    def expect_reply(self, secret: bytes) -> None:
        """Recognise the answer to a knock from now on."""
        self._known()[self._label(secret)] = _Expected("knock", secret, b"", 0)

    def read_from(self, drop_id: bytes) -> int:
        """The seq up to which a drop was read."""
        row = self._vault.db.execute(
            "SELECT seq FROM cursor WHERE drop_id = ?", (drop_id,)
        ).fetchone()
        return row[0] if row else 0

    def advance(self, drop_id: bytes, cells: wire.Cells, take: int) -> list[bytes]:
        """Those of the first `take` cells of a reply that are new; the cursor moves past them.

        Inside a unit.

        Raises RelayLied when the reply does not continue what this drop's cells were.
        """
        row = self._vault.db.execute(
            "SELECT seq, digest FROM cursor WHERE drop_id = ?", (drop_id,)
        ).fetchone()
        seq, digest = row or (0, first_digest(drop_id))
        if cells.head < seq or cells.first + len(cells.cells) > cells.head + 1:
            raise RelayLied(f"the drop was read up to {seq} and now ends at {cells.head}")
        if not cells.cells and cells.first != cells.head + 1:
            raise RelayLied(f"the drop ends at {cells.head} and its cells are held back")
        if cells.first > seq + 1:
            seq, digest = cells.first - 1, cells.before  # what lies between has expired
        elif cells.first == seq + 1 and cells.before != digest:
            raise RelayLied(f"the digest at {seq} is not the one we computed")
        skip = seq + 1 - cells.first
        fresh = cells.cells[skip : skip + take]
        for cell in fresh:
            digest = next_digest(digest, cell)
        self._vault.db.execute(
            "INSERT OR REPLACE INTO cursor VALUES (?, ?, ?)", (drop_id, seq + len(fresh), digest)
        )
        return fresh

    def start_over(self, drop_id: bytes) -> None:
        """Read a drop from its first cell again; inside a unit. What was taken is not taken twice:
        its labels are no longer expected."""
        self._vault.db.execute("DELETE FROM cursor WHERE drop_id = ?", (drop_id,))

    def read_so_far(self) -> int:
        """The seq up to which the own bucket was read."""
        return self.read_from(self._me.home.bucket.drop_id)

    def again(self) -> int | None:
        """After which seq the own bucket has to be read again, if it has to."""
        row = self._vault.db.execute("SELECT value FROM meta WHERE key = 'again'").fetchone()
        return int.from_bytes(row[0], "big") if row else None

    def read_again(self, after: int) -> None:
        """Have the own bucket read again from after a seq; inside a unit. What was taken is not
        taken twice."""
        known = self.again()
        if after < self.read_so_far() and (known is None or after < known):
            self._vault.put("again", after.to_bytes(8, "big"))

    def took_again(self, upto: int) -> None:
        """The own bucket is being read again up to here; inside a unit, before `recognise`."""
        self._vault.db.execute("DELETE FROM meta WHERE key = 'again'")
        self.read_again(upto)

    def recognise(self, cells: Iterable[bytes]) -> Iterator[Arrival]:
        """What of these cells of the own bucket is for us; inside a unit.

        Take each arrival before the next is asked for: it may start the chain that the next is of.

        A cell whose label is ours and that does not open is dropped: whoever knows our address can
        append junk, but not under a label that only a pair derives.
        """
        labels = self._known()
        bucket = self._me.home.bucket
        region = self._me.home.region
        for cell in cells:
            expected = labels.get(cell[:LABEL_BYTES])
            if expected is None:
                continue
            window = self._windows.get((expected.key, expected.signer))
            secret = window.open[expected.position] if window else expected.key
            once = one_time(secret, region=region, drop_id=bucket.drop_id)
            try:
                payload = open_cell(once, cell, region=region, drop_id=bucket.drop_id)
            except InvalidCell:
                continue
            if window is None:
                del labels[once.label]
                kind = FromInvite if expected.source == "invite" else FromKnock
                yield kind(expected.key, payload)
            elif payload:
                self._took(expected, window)
                yield FromPair(expected.key, expected.signer, payload[0], payload[1:])

    def _took(self, expected: _Expected, window: Window) -> None:
        labels = self._known()
        secrets_gone = dict(window.open)
        for position in window.take(expected.position):
            labels.pop(self._label(secrets_gone[position]), None)
        for position, secret in window.fill().items():
            labels[self._label(secret)] = expected._replace(position=position)
        self._vault.db.execute(
            "UPDATE chain_in SET base = ?, chain = ?, highest = ?, received = ?"
            " WHERE gid = ? AND signer = ?",
            (
                window.base,
                window.chain,
                window.highest,
                json.dumps(sorted(window.received)),
                expected.key,
                expected.signer,
            ),
        )

    def _label(self, secret: bytes) -> bytes:
        home = self._me.home
        return one_time(secret, region=home.region, drop_id=home.bucket.drop_id).label

    def _known(self) -> dict[bytes, _Expected]:
        """Every label that may come next, read from the vault when memory does not hold them."""
        if self._labels is None:
            self._labels = {}
            db = self._vault.db
            for (secret,) in db.execute("SELECT secret FROM invite WHERE used_at IS NULL"):
                self.expect_knock(secret)
            for (secret,) in db.execute("SELECT reply_secret FROM knock"):
                self.expect_reply(secret)
            for (gid,) in db.execute("SELECT DISTINCT gid FROM chain_in").fetchall():
                self._reload_windows(gid)
        return self._labels

    def _reload_windows(self, gid: bytes) -> None:
        labels = self._known()
        rows = self._vault.db.execute(
            "SELECT signer, base, chain, highest, received FROM chain_in WHERE gid = ?", (gid,)
        ).fetchall()
        kept = {row[0] for row in rows}
        for key in [k for k in self._windows if k[0] == gid and k[1] not in kept]:
            for secret in self._windows.pop(key).open.values():
                labels.pop(self._label(secret), None)
        for signer, base, chain, highest, received in rows:
            if (gid, signer) in self._windows:
                continue
            window = Window(base, chain, highest, set(json.loads(received)))
            self._windows[gid, signer] = window
            for position, secret in window.open.items():
                labels[self._label(secret)] = _Expected("pair", gid, signer, position)
