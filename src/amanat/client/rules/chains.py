"""Chains: the labels under which the next cells for us come.

We look up the label of every cell in our own bucket among those that may come next. Cells with
other labels are other people's, and we forget them. A cell can come before we know of its chain,
because we have yet to join or to read a Commit. When a chain begins, we therefore read the bucket
again from the point of its first possible use. `posting.py` seals the cells that leave by a chain.

Memory (`_labels`, `_windows`) mirrors the vault and is dropped when a unit of work fails.
"""

from __future__ import annotations

import itertools
import json
import secrets
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple, assert_never

from amanat.client.rules.outbox import Purpose, sealed_for
from amanat.client.rules.pairs import Pairs, open_asking, seal_asking
from amanat.errors import InvalidCell, InvalidMessage
from amanat.protocol.cells import LABEL_BYTES, label_of, one_time, open_cell
from amanat.protocol.drops import expand
from amanat.protocol.identity import FIRST_GENERATION
from amanat.protocol.kinds import lane_of
from amanat.protocol.labels import (
    CALL_WINDOW,
    WINDOW,
    Lane,
    Window,
    chain_root,
)
from amanat.protocol.messages import PairCell, decode_pair_cell

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from collections.abc import Set as AbstractSet

    from amanat.client.profile import Home, Me
    from amanat.client.rules.cursors import Cursors
    from amanat.client.rules.outbox import Outbox
    from amanat.client.unit import Unit
    from amanat.client.vault import Vault
    from amanat.protocol import wire
    from amanat.protocol.identity import Address

PAST_MS = 14 * 86_400_000
"""How long we recognise cells of a chain that has ended, in milliseconds: as long as cells rest in
a bucket (MESSAGE_RETENTION_DAYS)."""
KEPT_PAST = 8
"""The most ended chains from one device that we keep. We ask for envelopes that came by an older
one."""
SETTLED_MS = 86_400_000
"""How long after the end of a chain we look for its whole window, in milliseconds (a day)."""
SETTLED_WINDOW = 8
"""The positions beyond the highest seen for which we look afterwards. They suffice for the cells of
a sender who was away all that time."""
WAYS_BACK = 16
"""The number of labels by which a contact can ask for help, each once within the retention of a
bucket. For a hundred contacts and two buckets these are 3,200 of the expected labels."""
SEARCH_LABELS = 200_000
"""The number of labels, over all chains, for which we look when a bucket has lost cells: some
seconds of work. A chain that lost more than WINDOW cells in a row is found again within its share
of them."""
MAX_REACH = 8_192
"""The most labels for which we look in one chain."""
CLAIMS_AHEAD = 256
"""The number of claims beyond our own for which we look, and of our own whose content we keep:
eight months' worth for a vault that claims once a day."""
CLAIMED_BEFORE = "claims before"
"""The key in a restored vault's `meta` for the highest number that the device before it claimed."""


class FromPair(NamedTuple):
    """A cell of a conversation from the device `signer`."""

    gid: bytes
    signer: bytes
    cell: PairCell
    is_past: bool
    """Whether it came by a chain that has ended. Anyone who copied a vault before then can have
    made it."""


class FromInvite(NamedTuple):
    """A knock on an invite of ours (`secret`), still sealed to the invite's HPKE key."""

    secret: bytes
    payload: bytes


class FromKnock(NamedTuple):
    """The answer to a knock of ours, identified by the knock's reply secret."""

    secret: bytes
    payload: bytes


class FromLost(NamedTuple):
    """A contact's request for help back into a conversation."""

    identity: bytes
    payload: bytes


class FromHelper(NamedTuple):
    """The answer of a contact to our request for help."""

    gid: bytes
    identity: bytes
    payload: bytes


class FromClaim(NamedTuple):
    """A claim of this vault or of a copy of it; or of the device that it was restored from."""

    number: int
    payload: bytes
    generation: int


Arrival = FromPair | FromInvite | FromKnock | FromLost | FromHelper | FromClaim


class Peer(NamedTuple):
    """A member with everything that deliveries to them need."""

    identity: bytes
    delivery: bytes
    signer: bytes
    addresses: list[Address]


class Begun(NamedTuple):
    """The chains that a change has begun."""

    is_any: bool
    """Whether any chain to us has begun. We have yet to find the cells that came by it before we
    knew of it."""
    is_first: bool
    """Whether somebody who had no chain to us has one now."""


class _Chain(NamedTuple):
    """A chain to us: its conversation, the device at its beginning, and the epoch in which it
    began."""

    gid: bytes
    signer: bytes
    lane: int
    epoch: int


class _Source(Enum):
    """The reason for which a label is expected."""

    PAIR = auto()
    INVITE = auto()
    KNOCK = auto()
    LOST = auto()
    """A contact who asks for help."""
    HELP = auto()
    CLAIM = auto()


_ONCE = {_Source.HELP, _Source.INVITE, _Source.KNOCK}
"""The sources whose secrets bring one cell only. After it we expect none of their labels."""


class _Expected(NamedTuple):
    source: _Source
    key: bytes
    """The gid of a pair; the secret of an invite or a knock."""
    signer: bytes
    position: int
    chain: _Chain | None = None
    """The chain, for a cell of a pair."""
    whom: bytes = b""
    """The identity of the helper whose answer is expected."""
    generation: int = 0
    """The generation of the device that claims."""


class Chains:
    """The chains and labels of one vault."""

    def __init__(self, vault: Vault, me: Me, *, outbox: Outbox, cursors: Cursors) -> None:
        self._vault = vault
        self._me = me
        self._outbox = outbox
        self._cursors = cursors
        self._labels: dict[bytes, _Expected] | None = None
        self._windows: dict[_Chain, Window] = {}
        self._past: set[_Chain] = set()  # the chains that have ended
        self._pairs = Pairs(me)
        self._claims: set[tuple[int, int]] = set()
        """The claims whose labels are expected: their numbers and generations."""
        vault.bind(forget=self._forget)

    def _forget(self) -> None:
        self._labels = None
        self._windows.clear()

    # Between our own device and a copy of it

    def claim(
        self, unit: Unit, number: int, content: bytes, *, purpose: Purpose, due_at: int
    ) -> None:
        """Claim a number for this device, by taking its label in our own bucket."""
        self._outbox.deposit(
            unit,
            self._me.addresses,
            self._pairs.claim(number, generation=self._me.generation),
            content,
            purpose=purpose,
            about=None,
            due_at=due_at,
        )
        self.expect_claims()

    def claimed(self) -> int:
        """The highest number that this vault has claimed, or knows that a copy of it has."""
        return self._count("claims")

    def claimed_before(self) -> int:
        """The highest number that the device before this one is known to have claimed."""
        return self._count(CLAIMED_BEFORE)

    def _count(self, key: str) -> int:
        try:
            return int.from_bytes(self._vault.get(key), "big")
        except KeyError:
            return 0

    def expect_claims(self) -> None:
        """Recognise the claims whose content is known, those that a copy may make next, and those
        that the device before this one may make next."""
        if self._labels is None:
            return  # read from the vault when they are needed
        ours, first = self._me.generation, self.claimed() + 1
        known = [row[0] for row in self._vault.read.execute("SELECT number FROM known_claim")]
        expected = [(number, ours) for number in (*known, *range(first, first + CLAIMS_AHEAD))]
        if ours > FIRST_GENERATION:
            first = self.claimed_before() + 1
            expected += [(number, ours - 1) for number in range(first, first + CLAIMS_AHEAD)]
        for number, generation in expected:
            if (number, generation) not in self._claims:
                self._claims.add((number, generation))
                secret = self._pairs.claim(number, generation=generation)
                self._expect(
                    secret, _Expected(_Source.CLAIM, secret, b"", number, generation=generation)
                )

    # Ways back: between two people's lasting keys

    def keep_way_back(self, unit: Unit, identity: bytes, delivery: bytes) -> None:
        """Let a contact ask us for help from now on."""
        fresh = unit.db.execute(
            "INSERT OR IGNORE INTO way_back VALUES (?, ?) RETURNING 1", (identity, delivery)
        ).fetchone()
        if fresh and self._labels is not None:
            self._expect_asking(identity, delivery)

    def ways_back(self) -> set[bytes]:
        """The identities of the contacts whom we can ask."""
        return {row[0] for row in self._vault.read.execute("SELECT identity FROM way_back")}

    def ask(self, unit: Unit, gid: bytes, helper: Peer, payload: bytes) -> None:
        """Ask a contact for help with a conversation."""
        secret = self._pairs.asking(
            helper.delivery, asker=self._me.identity, helper=helper.identity
        )
        self._outbox.deposit(
            unit,
            helper.addresses,
            _asked(secret, secrets.randbelow(WAYS_BACK)),
            seal_asking(secret, payload),
            purpose=Purpose.ASK,
            about=gid,
            due_at=unit.now,
            recipient=helper.identity,
        )

    def ask_again(self, unit: Unit, row: int, helper: Peer) -> bool:
        """Seal a request for help in the outbox under the next label, because a relay says that an
        earlier one of ours has taken its label. Returns False if all are taken."""
        db = unit.db
        secret, payload, skipped = db.execute(
            "SELECT secret, payload, skipped FROM outbox WHERE id = ?", (row,)
        ).fetchone()
        if skipped + 1 >= WAYS_BACK:
            return False
        way = self._pairs.asking(helper.delivery, asker=self._me.identity, helper=helper.identity)
        before = next((n for n in range(WAYS_BACK) if _asked(way, n) == secret), 0)
        secret = _asked(way, (before + 1) % WAYS_BACK)
        db.execute(
            "UPDATE outbox SET relay = ?, request = ?, other_relay = ?, other_request = ?,"
            " secret = ?, skipped = skipped + 1 WHERE id = ? AND purpose = 'ask'",
            (*sealed_for(helper.addresses, secret, payload), secret, row),
        )
        return True

    def expect_help(self, gid: bytes, helper: bytes, nonce: bytes) -> None:
        """Recognise the answer to our request for help from now on."""
        (delivery,) = self._vault.read.execute(
            "SELECT delivery FROM way_back WHERE identity = ?", (helper,)
        ).fetchone()
        secret = self._pairs.asking(delivery, asker=self._me.identity, helper=helper)
        answer = expand(secret, b"amanat help", nonce)
        self._expect(answer, _Expected(_Source.HELP, answer, gid, 0, whom=helper))

    def answer(self, unit: Unit, to: Peer, nonce: bytes, payload: bytes) -> None:
        """Answer somebody who asked for help."""
        secret = self._pairs.asking(to.delivery, asker=to.identity, helper=self._me.identity)
        self._outbox.deposit(
            unit,
            to.addresses,
            expand(secret, b"amanat help", nonce),
            payload,
            purpose=Purpose.HELP,
            about=None,
            due_at=unit.now,
        )

    def _expect_asking(self, identity: bytes, delivery: bytes) -> None:
        secret = self._pairs.asking(delivery, asker=identity, helper=self._me.identity)
        for number in range(WAYS_BACK):
            asked = _asked(secret, number)
            self._expect(asked, _Expected(_Source.LOST, asked, identity, number))

    def _open_asking(self, identity: bytes, payload: bytes) -> bytes:
        (delivery,) = self._vault.read.execute(
            "SELECT delivery FROM way_back WHERE identity = ?", (identity,)
        ).fetchone()
        secret = self._pairs.asking(delivery, asker=identity, helper=self._me.identity)
        return open_asking(secret, payload)

    # Chains

    def forget_chains(self, unit: Unit, gid: bytes, identity: bytes, signer: bytes) -> None:
        """End the chains to and from one member, who is joining again."""
        db = unit.db
        db.execute("DELETE FROM chain_out WHERE gid = ? AND identity = ?", (gid, identity))
        db.execute("DELETE FROM chain_in WHERE gid = ? AND signer = ?", (gid, signer))
        if self._labels is not None:
            self._reload_windows(gid)

    def keep_chains(
        self,
        unit: Unit,
        gid: bytes,
        peers: Iterable[Peer],
        epoch_secret: bytes,
        *,
        epoch: int,
        renewed: AbstractSet[bytes] = frozenset(),
    ) -> Begun:
        """Make the chains of a conversation those of exactly these members.

        Chains of others end. Members without a chain start one from this epoch's secret. In the
        lane of words, so do pairs in which either end has renewed its keys (`renewed` are their
        identities). Every member does the same on entering the same epoch, so both ends agree. We
        recognise later cells of a chain that ended in this way for PAST_MS.
        """
        db = unit.db
        peers = list(peers)
        people = {peer.signer: peer.identity for peer in peers if peer.signer != self._me.signer}
        identities = {peer.identity for peer in peers}
        known = {r[0] for r in db.execute("SELECT signer FROM chain_in WHERE gid = ?", (gid,))}
        for signer in known - set(people):
            db.execute("DELETE FROM chain_in WHERE gid = ? AND signer = ?", (gid, signer))
        told = {r[0] for r in db.execute("SELECT identity FROM chain_out WHERE gid = ?", (gid,))}
        for identity in told - identities:
            db.execute("DELETE FROM chain_out WHERE gid = ? AND identity = ?", (gid, identity))
        for identity in identities if self._me.identity in renewed else identities & renewed:
            db.execute(
                "DELETE FROM chain_out WHERE gid = ? AND identity = ? AND lane = ?",
                (gid, identity, Lane.WORDS),
            )
            for signer in [one for one, whose in people.items() if whose == identity]:
                self._end_words(unit, gid, signer)
        is_any = self._begin_chains(unit, gid, peers, epoch_secret, epoch=epoch)
        if self._labels is not None:  # otherwise they are read from the vault when needed
            self._reload_windows(gid)
        return Begun(is_any, bool(set(people) - known))

    def _begin_chains(
        self, unit: Unit, gid: bytes, peers: Iterable[Peer], epoch_secret: bytes, *, epoch: int
    ) -> bool:
        """Begin the chains that do not exist yet; returns whether any of them is one to us."""
        db = unit.db
        out = db.execute("SELECT identity, lane FROM chain_out WHERE gid = ?", (gid,))
        into = db.execute(
            "SELECT signer, lane FROM chain_in WHERE gid = ? AND ended_at IS NULL", (gid,)
        )
        told, heard, is_any = {*out.fetchall()}, {*into.fetchall()}, False
        for peer, lane in itertools.product(peers, Lane):
            if (peer.identity, lane) not in told:
                told.add((peer.identity, lane))
                root = self._root(gid, peer, epoch_secret, lane, to_them=True)
                db.execute(
                    "INSERT INTO chain_out VALUES (?, ?, ?, ?)", (gid, peer.identity, lane, root)
                )
            if peer.signer != self._me.signer and (peer.signer, lane) not in heard:
                is_any = True
                root = self._root(gid, peer, epoch_secret, lane, to_them=False)
                db.execute(
                    "INSERT INTO chain_in (gid, signer, lane, epoch, base, chain, highest,"
                    " received, reach) VALUES (?, ?, ?, ?, 0, ?, 0, '[]', ?)",
                    (gid, peer.signer, lane, epoch, root, _REACH[lane]),
                )
        return is_any

    def _end_words(self, unit: Unit, gid: bytes, signer: bytes) -> None:
        db = unit.db
        db.execute(
            "UPDATE chain_in SET ended_at = ? WHERE gid = ? AND signer = ? AND lane = ?"
            " AND ended_at IS NULL",
            (unit.now, gid, signer, Lane.WORDS),
        )
        db.execute(
            "DELETE FROM chain_in WHERE gid = ?1 AND signer = ?2 AND ended_at IS NOT NULL"
            " AND epoch NOT IN (SELECT epoch FROM chain_in WHERE gid = ?1 AND signer = ?2"
            " AND ended_at IS NOT NULL ORDER BY epoch DESC LIMIT ?3)",
            (gid, signer, KEPT_PAST),
        )

    def end_chains(self, unit: Unit, gid: bytes) -> None:
        """End every chain of a conversation."""
        for table in ("chain_out", "chain_in"):
            unit.db.execute(f"DELETE FROM {table} WHERE gid = ?", (gid,))  # noqa: S608
        if self._labels is not None:
            self._reload_windows(gid)

    def expire(self, unit: Unit) -> None:
        """Forget chains that ended long ago, and look for fewer cells of those that ended a while
        ago."""
        db = unit.db
        gone = db.execute(
            "DELETE FROM chain_in WHERE ended_at < ? RETURNING gid", (unit.now - PAST_MS,)
        ).fetchall()
        db.execute(
            "UPDATE chain_in SET reach = ? WHERE ended_at < ? AND reach > ?",
            (SETTLED_WINDOW, unit.now - SETTLED_MS, SETTLED_WINDOW),
        )
        for (gid,) in {*gone} if self._labels is not None else ():
            self._reload_windows(gid)

    def begin_clock(self, unit: Unit) -> None:
        """Let no chain have ended in the future, because the clock may have been set back."""
        unit.db.execute("UPDATE chain_in SET ended_at = min(ended_at, ?)", (unit.now,))

    def _root(
        self, gid: bytes, peer: Peer, epoch_secret: bytes, lane: Lane, *, to_them: bool
    ) -> bytes:
        ours, theirs = (self._me.signer, peer.identity), (peer.signer, self._me.identity)
        signer, to = ours if to_them else theirs
        pair = self._pairs.secret(peer.delivery)
        return chain_root(pair, epoch_secret, lane, group=gid, signer=signer, to=to)

    # Incoming

    def expect_knock(self, secret: bytes) -> None:
        """Recognise the knock on an invite from now on."""
        self._expect(secret, _Expected(_Source.INVITE, secret, b"", 0))

    def expect_no_more(self, secret: bytes) -> None:
        """Treat cells under a one-time secret as somebody else's from now on."""
        for label in self._labels_of(secret):
            self._known().pop(label, None)

    def expect_reply(self, secret: bytes) -> None:
        """Recognise the answer to a knock from now on."""
        self._expect(secret, _Expected(_Source.KNOCK, secret, b"", 0))

    def start_over(self, unit: Unit, drop_id: bytes) -> None:
        """Read a drop from its first cell again. For a bucket of ours look for far more labels,
        because many cells in a row may be lost."""
        self._cursors.start_over(unit, drop_id)
        if drop_id in [home.bucket.drop_id for home in self._me.buckets]:
            unit.put("search", b"")
            self._labels = None
            self._windows.clear()

    def pass_over(self, drop_id: bytes, cells: wire.Cells) -> bool:
        """Move the cursor of a bucket of ours past a reply that holds nothing for us, if it does.

        This needs no unit, because the cursor is written with the next one. Raises like
        `Cursors.advance`.
        """
        cursor, fresh = self._cursors.continued(drop_id, cells, len(cells.cells))
        labels = self._known()
        if any(cell[:LABEL_BYTES] in labels for cell in fresh):
            return False
        self._cursors.passed_over(drop_id, cursor)
        return True

    def recognise(self, unit: Unit, cells: Iterable[bytes], home: Home) -> Iterator[Arrival]:
        """The arrivals for us among these cells of a bucket of ours.

        Handle each arrival before asking for the next, because it may start the chain of the next.

        A cell with a label of ours that does not open is dropped. Anyone who knows our address can
        append junk, but not under a label that only a pair can derive.
        """
        labels = self._known()
        for cell in cells:
            expected = labels.get(cell[:LABEL_BYTES])
            if expected is None:
                continue
            window = self._windows[expected.chain] if expected.chain else None
            secret = window.open[expected.position] if window else expected.key
            once = one_time(secret, region=home.region, drop_id=home.bucket.drop_id)
            try:
                payload = open_cell(once, cell, region=home.region, drop_id=home.bucket.drop_id)
                pair_cell = decode_pair_cell(payload) if window else None
                if expected.source is _Source.LOST:
                    payload = self._open_asking(expected.signer, payload)
            except (InvalidCell, InvalidMessage):
                continue
            if expected.source in _ONCE:
                for label in self._labels_of(secret):
                    labels.pop(label, None)
            arrival = self._arrival(unit, expected, payload, pair_cell)
            if arrival is not None:
                yield arrival

    def _arrival(
        self, unit: Unit, expected: _Expected, payload: bytes, pair_cell: PairCell | None
    ) -> Arrival | None:
        """The arrival that an expected cell is; None for a cell that came by the wrong lane."""
        match expected.source:
            case _Source.LOST:  # its label may come again
                return FromLost(expected.signer, payload)
            case _Source.CLAIM:  # it may be shown again, and then means the same
                return FromClaim(expected.position, payload, expected.generation)
            case _Source.HELP:
                return FromHelper(expected.signer, expected.whom, payload)
            case _Source.INVITE:
                return FromInvite(expected.key, payload)
            case _Source.KNOCK:
                return FromKnock(expected.key, payload)
            case _Source.PAIR:
                chain = expected.chain
                if chain is None or pair_cell is None:
                    return None
                is_past = chain in self._past
                self._took(unit, expected, chain, self._windows[chain])
                if chain.lane != lane_of(pair_cell.kind):
                    return None
                return FromPair(expected.key, expected.signer, pair_cell, is_past)
            case _:
                assert_never(expected.source)

    def _took(self, unit: Unit, expected: _Expected, chain: _Chain, window: Window) -> None:
        labels = self._known()
        secrets_gone = dict(window.open)
        for position in window.take(expected.position):
            for label in self._labels_of(secrets_gone[position]):
                labels.pop(label, None)
        for position, secret in window.fill().items():
            self._expect(secret, expected._replace(position=position))
        unit.db.execute(
            "UPDATE chain_in SET base = ?, chain = ?, highest = ?, received = ?"
            " WHERE gid = ? AND signer = ? AND lane = ? AND epoch = ?",
            (
                window.base,
                window.chain,
                window.highest,
                json.dumps(sorted(window.received)),
                *chain,
            ),
        )

    def _expect(self, secret: bytes, expected: _Expected) -> None:
        labels = self._known()
        for label in self._labels_of(secret):
            labels[label] = expected

    def _labels_of(self, secret: bytes) -> list[bytes]:
        """The label of a one-time secret in each of our own buckets."""
        return [
            label_of(secret, region=home.region, drop_id=home.bucket.drop_id)
            for home in self._me.buckets
        ]

    def new_homes(self) -> None:
        """Forget the labels in memory, because our buckets, or the labels expected in them, have
        changed."""
        self._labels = None
        self._windows.clear()

    def _known(self) -> dict[bytes, _Expected]:
        """Every label that may come next, read from the vault when memory does not hold them."""
        if self._labels is None:
            self._labels = {}
            self._claims.clear()
            self.expect_claims()
            db = self._vault.read
            for (secret,) in db.execute("SELECT secret FROM invite WHERE sealed = x''"):
                self.expect_knock(secret)
            for (secret,) in db.execute("SELECT reply_secret FROM knock"):
                self.expect_reply(secret)
            for (gid,) in db.execute("SELECT DISTINCT gid FROM chain_in").fetchall():
                self._reload_windows(gid)
            for identity, delivery in db.execute("SELECT * FROM way_back").fetchall():
                self._expect_asking(identity, delivery)
            for gid, helper, nonce in db.execute(
                "SELECT gid, helper, nonce FROM comeback WHERE nonce IS NOT NULL"
            ).fetchall():
                self.expect_help(gid, helper, nonce)
        return self._labels

    def _reach(self) -> int:
        """The least number of positions beyond the highest seen for which we look in each chain."""
        db = self._vault.read
        if not db.execute("SELECT 1 FROM meta WHERE key = 'search'").fetchone():
            return 0
        (chains,) = db.execute("SELECT count(*) FROM chain_in").fetchone()
        return min(MAX_REACH, SEARCH_LABELS // max(int(chains), 1))

    def _reload_windows(self, gid: bytes) -> None:
        labels = self._known()
        rows = self._vault.read.execute(
            "SELECT signer, lane, epoch, ended_at, reach, base, chain, highest, received"
            " FROM chain_in WHERE gid = ?",
            (gid,),
        ).fetchall()
        chains = {_Chain(gid, *row[:3]): row[3:] for row in rows}
        self._past = {chain for chain in self._past if chain.gid != gid}
        for chain in [one for one in self._windows if one.gid == gid and one not in chains]:
            for secret in self._windows.pop(chain).open.values():
                for label in self._labels_of(secret):
                    labels.pop(label, None)
        least = self._reach() if rows else 0
        for chain, (ended_at, reach, base, key, highest, received) in chains.items():
            if ended_at is not None:
                self._past.add(chain)
            if chain in self._windows:
                continue
            window = Window(base, key, highest, set(json.loads(received)), reach=max(reach, least))
            self._windows[chain] = window
            for position, secret in window.open.items():
                self._expect(secret, _Expected(_Source.PAIR, gid, chain.signer, position, chain))


_REACH = {Lane.WORDS: WINDOW, Lane.CALLS: CALL_WINDOW}


def _asked(way: bytes, number: int) -> bytes:
    """One of the WAYS_BACK one-time secrets for requests for help between two people."""
    return expand(way, b"amanat asking", bytes([number]))
