"""Conversations: MLS groups (RFC 9420) over drops.

How a group changes. A Commit is appended to the epoch drop of the epoch it ends; the first valid
Commit in that drop's order wins, judged alike by every member (rights.py). A committer merges its
own Commit only after reading it back as the winner; until then it is an *attempt*, and the person's
*intents* stay until some Commit has made them true. So a lost race, a crash or a lying relay
costs a retry, never a fork.

Nothing here touches a socket: what has to reach a relay is put into the outbox, and what a person
should see into the events of the unit.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import TYPE_CHECKING, NamedTuple

from msgspec import structs

from amanat import mls
from amanat.client import rights
from amanat.client.branches import Branches
from amanat.client.claims import Claims
from amanat.client.delivery import Peer
from amanat.client.events import (
    GroupChanged,
    Joined,
    MessageChanged,
    Offered,
    Removed,
    SummaryChanged,
    TextArrived,
    Warned,
)
from amanat.client.gaps import Gaps
from amanat.client.history import History, greeting_id
from amanat.client.holding import HOLD, Fetched, HeldDrop, Holding
from amanat.client.lineage import Lineages, is_rightful
from amanat.client.offers import ASK, MAX_OFFERS, Offer, Offers
from amanat.client.pieces import (
    EpochDrop,
    Pieces,
    epoch_drop,
    pack_signers,
    unpack_signers,
    without,
)
from amanat.client.profile import read_homes
from amanat.client.repeats import Awaited, Repeats
from amanat.client.vault import fingerprint
from amanat.client.waiting import MAX_SAID_AGAIN, SAID_AGAIN, Word
from amanat.client.whereabouts import Whereabouts
from amanat.errors import (
    BY_CODE,
    BadArgument,
    Blocked,
    BrokenChain,
    CopiedVault,
    FutureEpoch,
    GroupTooLarge,
    HeardOtherwise,
    IdentityChanged,
    InvalidCell,
    InvalidCommit,
    InvalidCredential,
    InvalidKeyPackage,
    InvalidMessage,
    InvalidWelcome,
    MessageLost,
    MessageTooLarge,
    NotAdmin,
    NotAMember,
    OutOfStep,
    OwnMessage,
    PeerError,
    RelayDoubted,
    RelayLied,
    ReusedSecret,
    TooOld,
    TrustError,
    UnknownConversation,
    WrongEpoch,
)
from amanat.protocol import codec, wire
from amanat.protocol.cells import MAX_PAYLOAD, OneTime, one_time, seal
from amanat.protocol.descriptor import RelayAddress, decode_address
from amanat.protocol.drops import (
    HANDSHAKE_RETENTION_DAYS,
    MESSAGE_RETENTION_DAYS,
    Drop,
    derive_drop,
    expand,
    token_hash,
)
from amanat.protocol.identity import (
    check_credential,
    check_name,
    check_signature,
    decode_leaf,
    leave_text,
)
from amanat.protocol.messages import (
    BEFORE,
    COMMIT_FRAGMENT,
    HELD_FRAGMENT,
    HOLDS,
    MARK_BYTES,
    MAX_DELETED,
    MAX_KEY_PACKAGES,
    MAX_LIFE_S,
    MAX_REACTION_CHARS,
    MAX_TEXT_BYTES,
    MAX_VOTES,
    MESSAGE_FRAGMENT,
    NO_MARK,
    Ack,
    Befores,
    CellKind,
    CommitInfo,
    Declined,
    Delete,
    Edit,
    Envelope,
    Epoch,
    FileRef,
    KeyPackages,
    KeyPackagesWanted,
    Kind,
    Leave,
    NewAddresses,
    PairCell,
    Place,
    Policy,
    Reaction,
    Repair,
    Text,
    Timer,
    Votes,
    Wanted,
    WelcomeFile,
    WelcomeRef,
    decode_commit_info,
    decode_envelope,
    decode_policy,
    envelope_hash,
)

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence
    from collections.abc import Set as AbstractSet

    from amanat.client.delivery import Delivery, Purpose
    from amanat.client.gaps import Gap
    from amanat.client.places import Places
    from amanat.client.profile import Me
    from amanat.client.unit import Memory, Unit
    from amanat.client.vault import Vault
    from amanat.protocol.identity import Address
    from amanat.protocol.messages import Fragment, Vote

LARGE_GROUP = 64
"""Above this many people a message goes once into the epoch drop instead of once to every bucket
(design: cheaper, and the relay sees that a busy drop exists)."""
RECEIPT_GROUP = 20
"""Above this many people no receipts are sent: each would cost a cell to everyone."""
RECEIPT_DELAY_MS = (5_000, 60_000)
"""A receipt that finds no message to travel with leaves after a random time in this range, so that
it does not tell when the cell was read."""
LOOK_EVERY_MS = 10 * 60_000
"""How often an epoch drop is looked into without a notice, in case the notice was withheld."""
LEAVE_TURN_MS = 15_000
"""Each further member waits this much longer before committing what all of them would, so that
usually one Commit is made and not all at once."""
CUT_OFF_MS = 600_000
"""How long messages of a later epoch may wait while the relay that holds the Commit before them is
away, in milliseconds (10 minutes): then the group has gone on elsewhere."""
BEHIND_MS = 60_000
"""How long messages of a later epoch may wait before contacts are asked for the Commits that led
there, in milliseconds."""
EARLY_LIFE_MS = 14 * 86_400_000
"""How long messages of a later epoch are kept, in milliseconds: as long as a cell may rest."""
COMMIT_LIFE_MS = HANDSHAKE_RETENTION_DAYS * 86_400_000
"""How long a Commit rests in its epoch's drop, in milliseconds."""
LOOK_FIRST_MS = 60_000
"""How long who is out of step waits for the drop to be read before they ask, in milliseconds."""
LATE_MS = 3_000
"""How long after a Commit the drops before it are looked into for late messages, in ms."""
KEPT_EPOCHS = 3
"""Epoch drops that are still read, the current one among them: the engine keeps as many epochs'
keys (research: messages arrive up to two epochs late)."""
MAX_EARLY = 1_000
"""Most messages kept that are of an epoch not reached yet, for each conversation."""
MAX_ACKS = 13
"""Most devices that one message confirms: 400 bytes, so that a short text stays in a small cell."""
MAX_ACKS_LARGE = 4
"""The same where no receipts are sent: how far a few others have counted."""
MAX_REPAIRS = 512
"""Most envelopes sent again to one member in REPAIR_SPAN_MS: more cannot be had by asking more."""
REPAIR_SPAN_MS = 3_600_000
FORGOTTEN_MS = 30_000
"""How long after a relay has forgotten our Commit it is appended once more, in milliseconds."""
CALLED = 2
"""With how many heartbeats after the last word those are told where we are who have not confirmed
it."""
HELPED_MS = 3_000
"""How soon after helping a member back their Commit is looked for, in milliseconds."""
CLAIM_REST_MS = (300_000, 6 * 3_600_000)
"""How often one member can make us ask where the group is, in milliseconds: after 5 minutes, then
after twice as long each time, up to 6 hours, until the group goes on."""
MAX_ASKS = 8
"""Most contacts who are asked because of one such claim."""
SILENT_BEATS = (3, 4, 8, 16, 32)
"""After how many heartbeats without an answer whoever is silent is asked where they are."""
VOTE_EVERY_MS = 600_000
"""How often we say in one group what we have read, in milliseconds (10 minutes): each time is a
cell for everybody."""
OUTRUN_MS = 3_600_000
"""How often a Commit that looks right, and that we cannot apply, makes us commit something
ourselves, in milliseconds."""
KEPT_STATES = 256
"""Epochs of a group whose states are kept to compare with what others say."""
LIE_EVERY_MS = 3_600_000
"""How often the same lie of a relay is told to the person, in milliseconds."""
REFRESH_MS = (3_600_000, 7 * 86_400_000)
"""When a member refreshes the keys of their leaf: about an hour after they came, then every week in
which somebody spoke, each a random half earlier or later (post-compromise security, RFC 9750,
section 8.2.2)."""
REFRESH_PEOPLE = 50
"""In a group of more, everyone's turn comes as much more rarely: each refresh is a Commit."""
MAX_CLOCK_STEP = 2**20
"""Most by which one message moves our Lamport clock: a member who claims the end of time cannot use
it up."""
MAX_WARNINGS = 1_000
"""Most warnings kept for the person that are not of the Trust family; the oldest go first."""
MAX_OWN_KEY_PACKAGES = 16
"""Most unused KeyPackages of ours that one contact holds; the oldest go first."""
KEY_PACKAGES_GIVEN = 2
"""KeyPackages each contact holds of us: one in use, one in reserve."""
KEY_PACKAGE_LIFETIME_S = 84 * 86_400
"""How long a KeyPackage may be used, in seconds (12 weeks, as is usual in the field)."""
WELCOME_LIFE_MS = 14 * 86_400_000
"""How long an announced Welcome is looked for: no file rests longer (MESSAGE_RETENTION_DAYS)."""
_WANTED_OF_US = frozenset({Kind.KEY_PACKAGES_WANTED, Kind.WELCOME, Kind.TIMER})
"""What somebody we have blocked gets no answer to in our 1:1 conversation."""
_NO_HASH = bytes(32)
REFUSED_MS = 300_000
"""How long a wish rests after a relay has refused its Commit for good, in milliseconds."""


class AnnouncedWelcome(NamedTuple):
    """A Welcome that somebody has announced to us: into which group, by whom, where it rests."""

    gid: bytes
    by: bytes
    file: FileRef


class GivenUp(NamedTuple):
    """A 1:1 conversation that was given up for another with the same person, and what we had said
    there that did not come."""

    gid: bytes
    words: list[Word]


class Group(NamedTuple):
    """A group as of its current epoch."""

    view: mls.GroupView
    policy: Policy
    people: list[rights.Person]

    @property
    def identities(self) -> set[bytes]:
        """Everyone in the group."""
        return {person.identity for person in self.people}

    @property
    def is_large(self) -> bool:
        """Whether messages go through the epoch drop."""
        return len(self.identities) > LARGE_GROUP


class Conversations:
    """All conversations of one vault."""

    def __init__(
        self, vault: Vault, engine: mls.Engine, delivery: Delivery, places: Places, me: Me
    ) -> None:
        self._vault = vault
        self._read = vault.read
        self._engine = engine
        self._delivery = delivery
        self._places = places
        self._me = me
        self.gaps = Gaps(vault)
        self.claims = Claims(vault, delivery, me)
        self.whereabouts = Whereabouts(vault, me)
        self.history = History(vault, me)
        self.holding = Holding(vault, me)
        self.waiting = self.history.waiting
        self.pieces = Pieces(vault)
        self.repeats = Repeats(vault)
        self.offers = Offers(vault)
        self._groups: dict[bytes, Group] = {}
        vault.bind(forget=self._groups.clear)
        self._helping: Memory[bytes, None] = vault.memory()
        """The groups into which we have helped a member back, until their Commit is read."""
        self.lineages = Lineages(vault, engine)
        self.branches = Branches(vault, engine, self.lineages, me)
        self._doubted: Memory[tuple[bytes, bytes | None], tuple[int, int]] = vault.memory()
        """How often and when somebody last made us ask where a group is, in this epoch."""
        self._holed: Memory[tuple[bytes, int], None] = vault.memory()
        """The (gid, epoch) of drops of which cells had expired before we read them: what we have
        read there first may not have been the first."""
        self._voted: Memory[tuple[bytes, int], int] = vault.memory()
        """When we said in a group what we have read in an epoch of it."""
        self._outrun: Memory[bytes, int] = vault.memory()
        """When we last outran a Commit in a group."""
        self._repaired: Memory[tuple[bytes, bytes], tuple[int, int]] = vault.memory()
        """How many envelopes were sent again to whom since when."""

    def warn(
        self, unit: Unit, gid: bytes | None, code: str, detail: str, *, whom: bytes = b""
    ) -> None:
        """Keep a warning for the person. `whom` is the identity, or the key of the relay, that it
        is about.

        Of the same kind about the same in one conversation there is one, which is counted up:
        nobody can fill the table but with what differs, and of that the Trust family stays.
        """
        is_trust = issubclass(BY_CODE[code], TrustError)
        unit.db.execute(
            "INSERT INTO warning (at, code, gid, whom, detail, is_trust) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET at = excluded.at, detail = excluded.detail,"
            " many = many + 1",
            (unit.now, code, gid or b"", whom, detail, is_trust),
        )
        unit.db.execute(
            "DELETE FROM warning WHERE id IN (SELECT id FROM warning WHERE NOT is_trust"
            " ORDER BY at DESC, id DESC LIMIT -1 OFFSET ?)",
            (MAX_WARNINGS,),
        )
        unit.events.append(Warned(gid, code, detail))

    # Looking

    def group(self, gid: bytes) -> Group:
        """The group as of its current epoch. Raises UnknownConversation."""
        if gid not in self._groups:
            if self._state(gid) is None:
                raise UnknownConversation
            view = self._engine.group(gid)
            self._groups[gid] = Group(
                view,
                decode_policy(view.policy or b""),
                rights.read_members(self._engine.members(gid)),
            )
        return self._groups[gid]

    def _state(self, gid: bytes) -> str | None:
        row = self._read.execute("SELECT state FROM conversation WHERE gid = ?", (gid,)).fetchone()
        return row[0] if row else None

    def is_active(self, gid: bytes) -> bool:
        """Whether we are a member and mean to stay."""
        return self._state(gid) == "active"

    def require_active(self, gid: bytes) -> None:
        """Raises NotAMember, or OutOfStep where we are to join again."""
        state = self._state(gid)
        if state == "astray":
            raise OutOfStep
        if state != "active":
            raise NotAMember

    def reads_drops(self, gid: bytes) -> bool:
        """Whether the epoch drops of a conversation are read."""
        return self._state(gid) in ("active", "leaving", "astray")

    def is_followed(self, gid: bytes) -> bool:
        """Whether we are a member, be it one who is leaving."""
        return self._state(gid) in ("active", "leaving")

    def others(self, group: Group) -> list[Peer]:
        """The leaves of a group that are not this device, and where to reach them now."""
        moved: dict[bytes, bytes] = dict(
            self._read.execute("SELECT identity, addresses FROM moved").fetchall()
        )
        return [
            Peer(
                p.identity,
                p.credential.delivery,
                p.signer,
                codec.decode(_new_addresses, moved[p.identity], InvalidMessage).addresses
                if p.identity in moved
                else p.leaf.addresses,
            )
            for p in group.people
            if p.signer != self._me.signer
        ]

    def outbound_regions(self, gid: bytes) -> list[str]:
        """Where what we say in a conversation rests, or may: in the regions of the others' homes
        and fallbacks; of a large group, in its own."""
        group = self.group(gid)
        found = set()
        for regions in self._resting(group):
            is_held = self.holding.is_kept_from(regions)
            found |= {self._me.home.region} if is_held else regions
        return sorted(found)

    def is_held(self, gid: bytes) -> bool:
        """Whether anything of what we say in a conversation is held, and fetched by others."""
        return any(map(self.holding.is_kept_from, self._resting(self.group(gid))))

    def _resting(self, group: Group) -> list[set[str]]:
        """For whoever is told on their own, or for all: in which regions that would rest."""
        if group.is_large:
            return [{group.policy.region}]
        return [{address.region for address in peer.addresses} for peer in self.others(group)]

    # Starting

    def start_direct(self, unit: Unit, key_package: bytes) -> tuple[bytes, bytes, bytes]:
        """Start the 1:1 conversation with the person of a KeyPackage: (gid, Welcome, tree).

        Raises InvalidKeyPackage or InvalidCredential.
        """
        them = self.person_of(key_package, now=unit.now)
        gid = secrets.token_bytes(16)
        self._create(
            unit,
            gid,
            mls.HYBRID_SUITE,
            direct=sorted([self._me.identity, them.identity]),
            name="",
            admins=[],
        )
        bundle = self._engine.commit(gid, adds=[key_package])
        # Nobody else is in epoch 0, so no other Commit can win: merge at once.
        self._engine.merge_pending(gid, bundle.sha256)
        self._enter_epoch(unit, gid)
        self._plan_refresh(unit, gid, REFRESH_MS[1])
        return gid, bundle.welcome or b"", bundle.tree or b""

    def person_of(self, key_package: bytes, *, now: int) -> rights.Person:
        """Whose a KeyPackage is. Raises InvalidKeyPackage or InvalidCredential."""
        view = mls.check_key_package(key_package, now=now // 1000)
        return rights.read_member(0, view.credential, view.signer, view.leaf)

    def create_group(self, unit: Unit, name: str, *, people: int) -> bytes:
        """Start a group with ourselves as its admin; its gid. Raises BadArgument or GroupTooLarge.

        `people` is how many are expected: beyond MAX_HYBRID_LEAVES the classical suite is used.
        """
        name = check_name(name)
        if people > rights.MAX_CLASSICAL_LEAVES:
            raise GroupTooLarge(f"at most {rights.MAX_CLASSICAL_LEAVES}")
        suite = mls.HYBRID_SUITE if people <= rights.MAX_HYBRID_LEAVES else mls.CLASSICAL_SUITE
        gid = secrets.token_bytes(16)
        self._create(unit, gid, suite, direct=[], name=name, admins=[self._me.identity])
        self._enter_epoch(unit, gid)
        self._plan_refresh(unit, gid, REFRESH_MS[1])
        return gid

    def _create(
        self,
        unit: Unit,
        gid: bytes,
        suite: int,
        *,
        direct: list[bytes],
        name: str,
        admins: list[bytes],
    ) -> None:
        home = self._me.home
        policy = Policy(
            direct=direct, name=name, admins=admins, relay=home.address, region=home.region
        )
        self._engine.create_group(
            gid,
            suite,
            self._me.signer,
            self._me.credential,
            self._me.new_leaf(),
            codec.encode(policy),
        )
        self._insert(unit, gid, _Past(), sure=self._delivery.read_so_far())

    def _insert(self, unit: Unit, gid: bytes, past: _Past, *, sure: int) -> None:
        unit.db.execute(
            "INSERT INTO conversation (gid, state, sent_hash, look_due_at, sure_seq, clock,"
            " read_row, hidden, sent_seq) VALUES (?, 'active', ?, ?, ?, ?, ?, ?, ?)",
            (gid, _NO_HASH, unit.now, sure, *past),
        )

    def join(
        self,
        unit: Unit,
        welcome: bytes,
        tree: bytes,
        *,
        by: bytes,
        gid: bytes | None,
        direct: bool,
        clock: int = 0,
    ) -> bytes:
        """Join by a Welcome that the person `by` made; the gid. `clock` is that maker's.

        Raises InvalidWelcome, and nothing is consumed then, when it is not what was announced.
        """
        view = self._engine.inspect_welcome(welcome, tree)
        try:
            policy = decode_policy(view.policy or b"")
            identities = {p.identity for p in rights.read_members(view.members)}
        except (InvalidCommit, InvalidCredential):
            raise InvalidWelcome from None
        pair = sorted([self._me.identity, by])
        announced = gid in (None, view.gid) and len(view.gid) == 16  # noqa: PLR2004  # as Id
        fits = policy.direct == pair and identities == set(pair) if direct else not policy.direct
        if not announced or not fits or by not in identities:
            raise InvalidWelcome
        past = _Past()
        if self._state(view.gid) is not None:
            if self.is_active(view.gid):
                raise InvalidWelcome
            self._end(unit, view.gid)  # removed earlier, asked in again
            self._engine.delete_group(view.gid)
            past = _Past(
                *unit.db.execute(
                    "DELETE FROM conversation WHERE gid = ?"
                    " RETURNING clock, read_row, hidden, sent_seq",
                    (view.gid,),
                ).fetchone()
            )
        self._engine.join(welcome, tree)
        (sure,) = unit.db.execute(
            "DELETE FROM key_package WHERE ref = ? RETURNING bucket_seq", (view.ref,)
        ).fetchone()
        # In a group, somebody may have spoken to us since we made the KeyPackage; in a 1:1
        # conversation nobody has, for the Welcome goes ahead of all else (Client._send_to).
        if direct:
            sure = self._delivery.read_so_far()
        self._insert(unit, view.gid, past, sure=sure)
        self.move_clock(unit, view.gid, clock)
        self._plan_refresh(unit, view.gid, REFRESH_MS[0])
        for person in rights.read_members(view.members):
            if person.signer != self._me.signer:
                unit.db.execute(
                    "INSERT INTO since (gid, signer, sent_seq) VALUES (?, ?, 0)",
                    (view.gid, person.signer),
                )
                came = 0 if direct else view.epoch
                self.gaps.come_in(unit, view.gid, person.signer, person.identity, came)
        if past.sent_seq:
            self.gaps.count_from(unit, view.gid, past.sent_seq + 1)
        self._enter_epoch(unit, view.gid)
        unit.events.append(Joined(view.gid))
        return view.gid

    # Epochs

    def _enter_epoch(
        self, unit: Unit, gid: bytes, *, renewed: AbstractSet[bytes] = frozenset()
    ) -> None:
        """See to what comes with an epoch; `renewed` are the people whose keys are new in it."""
        self._groups.pop(gid, None)
        group = self.group(gid)
        epoch = group.view.epoch
        secret = self._engine.export_secret(gid, "amanat epoch drop", b"", 32)
        unit.db.execute(
            "INSERT INTO epoch_drop (gid, epoch, secret, relay, region, signers)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (
                gid,
                epoch,
                secret,
                group.policy.relay.key,
                group.policy.region,
                pack_signers((p.leaf_index, p.signer) for p in group.people),
            ),
        )
        self._drop_epochs(unit, gid, before=epoch - KEPT_EPOCHS + 1)
        unit.db.execute(
            "INSERT OR REPLACE INTO epoch VALUES (?, ?, ?, ?)",
            (gid, epoch, group.view.state[:8], unit.now),
        )
        unit.db.execute(
            "DELETE FROM epoch WHERE gid = ? AND number <= ?", (gid, epoch - KEPT_STATES)
        )
        self.lineages.entered(unit, gid)
        self.branches.forget(unit, gid, before=self.lineages.oldest(gid))
        for key in [one for one in self._doubted if one[0] == gid]:
            del self._doubted[key]
        unit.db.execute("DELETE FROM handed WHERE gid = ? AND epoch < ?", (gid, epoch))
        unit.db.execute("DELETE FROM intent WHERE gid = ? AND kind = 'outrun'", (gid,))
        self._meet(unit, gid, group)
        self._see_delivered(unit, gid)  # who has gone need not confirm it any more
        self._places.learn(unit, group.policy.relay)
        self.whereabouts.keep(unit, gid, group.identities)
        if group.policy.direct:
            for peer in self.others(group):
                self._delivery.keep_way_back(unit, peer.identity, peer.delivery)
        if group.is_large:
            self._delivery.end_chains(unit, gid)
            # Who spoke before they knew of the Commit spoke into the drop we have just left.
            self.notice(unit, gid, at=unit.now + LATE_MS)
        else:
            peers = self.others(group)
            chains = self._engine.export_secret(gid, "amanat chains", b"", 32)
            begun = self._delivery.keep_chains(
                unit, gid, peers, chains, epoch=epoch, renewed=renewed
            )
            if begun.is_any:
                (sure,) = unit.db.execute(
                    "SELECT sure_seq FROM conversation WHERE gid = ?", (gid,)
                ).fetchone()
                self._delivery.read_again(unit, sure)
            if begun.is_first and self._has_moved_since(group):
                self._tell(unit, gid)  # newcomers see where we were
        if any(p.leaf.addresses[0].relay != group.policy.relay for p in group.people):
            # Members of other relays cannot make the drop they may need: whoever can, does.
            self._make_epoch_drop(unit, gid, group)
        self._hear_early(unit, gid)

    def _meet(self, unit: Unit, gid: bytes, group: Group) -> None:
        """Begin to count what new members say, and end it with those who are gone."""
        there = {p.signer: p.identity for p in group.people if p.signer != self._me.signer}
        known = {r[0] for r in unit.db.execute("SELECT signer FROM since WHERE gid = ?", (gid,))}
        for signer in known - set(there):
            unit.db.execute("DELETE FROM since WHERE gid = ? AND signer = ?", (gid, signer))
            self.gaps.forget(unit, gid, signer)
        for signer in set(there) - known:
            unit.db.execute(
                "INSERT INTO since (gid, signer, sent_seq, epoch)"
                " SELECT gid, ?, sent_seq, ? FROM conversation WHERE gid = ?",
                (signer, group.view.epoch, gid),
            )
            self.gaps.begin(unit, gid, signer, there[signer])

    def is_sure(self, unit: Unit, gid: bytes, epoch: int, seq: int) -> None:
        """No Commit had ended this epoch when the own bucket had been read up to `seq`: members
        who come later speak beyond it."""
        if self.is_followed(gid) and self.group(gid).view.epoch == epoch:
            unit.db.execute("UPDATE conversation SET sure_seq = ? WHERE gid = ?", (seq, gid))

    def _drop_epochs(self, unit: Unit, gid: bytes, *, before: int) -> None:
        policy = self._groups[gid].policy if gid in self._groups else None
        rows = unit.db.execute(
            "SELECT secret, region FROM epoch_drop WHERE gid = ? AND epoch < ?", (gid, before)
        ).fetchall()
        for secret, region in rows:
            rests = region or (policy.region if policy else "")
            drop_id = epoch_drop(secret, rests).drop_id
            self._delivery.drop_cursor(unit, drop_id)
            self.pieces.forget(unit, drop_id)
        unit.db.execute("DELETE FROM epoch_drop WHERE gid = ? AND epoch < ?", (gid, before))

    def epoch_drops(self, gid: bytes) -> list[tuple[int, Drop]]:
        """The (epoch, drop) pairs still read, the oldest first."""
        now = self.group(gid).policy.region
        rows = self._read.execute(
            "SELECT epoch, secret, region FROM epoch_drop WHERE gid = ? ORDER BY epoch", (gid,)
        ).fetchall()
        return [(epoch, epoch_drop(secret, region or now)) for epoch, secret, region in rows]

    def epoch_relay(self, gid: bytes, epoch: int) -> bytes:
        """The key of the relay of an epoch's drop: a Commit may have moved those after it."""
        row = self._read.execute(
            "SELECT relay FROM epoch_drop WHERE gid = ? AND epoch = ?", (gid, epoch)
        ).fetchone()
        return (row and row[0]) or self.group(gid).policy.relay.key

    def _make_epoch_drop(self, unit: Unit, gid: bytes, group: Group, *, after_ms: int = 0) -> None:
        """Ask the relay to make the current epoch's drop, once, if we have access there."""
        secret, made = unit.db.execute(
            "SELECT secret, made FROM epoch_drop WHERE gid = ? AND epoch = ?",
            (gid, group.view.epoch),
        ).fetchone()
        if made or not self._access(group.policy.relay.key):
            return
        self._queue_create(
            unit,
            group.policy.relay,
            epoch_drop(secret, group.policy.region),
            HANDSHAKE_RETENTION_DAYS,
            about=gid,
            after_ms=after_ms,
        )
        unit.db.execute(
            "UPDATE epoch_drop SET made = 1 WHERE gid = ? AND epoch = ?", (gid, group.view.epoch)
        )

    def drop_ended(self, unit: Unit, gid: bytes, append: bytes) -> None:
        """A relay has not, or no longer, the drop of an append: make it again if it is the
        epoch's and we had."""
        request = wire.decode_request(append)
        if not self.is_followed(gid) or not isinstance(request, wire.Append):
            return
        epoch, drop = self.epoch_drops(gid)[-1]
        if drop.drop_id == request.drop_id:
            unit.db.execute(
                "UPDATE epoch_drop SET made = 0 WHERE gid = ? AND epoch = ?", (gid, epoch)
            )
            self._make_epoch_drop(unit, gid, self.group(gid))

    def _access(self, relay: bytes) -> bytes:
        row = self._read.execute(
            "SELECT bucket_key FROM relay WHERE relay = ?", (relay,)
        ).fetchone()
        return row[0] if row else b""

    def _queue_create(
        self,
        unit: Unit,
        relay: RelayAddress,
        drop: Drop,
        days: int,
        *,
        about: bytes | None,
        after_ms: int = 0,
    ) -> None:
        request = wire.Create(
            0,
            self._access(relay.key),
            drop.drop_id,
            token_hash(drop.drop_id, drop.append_token),
            token_hash(drop.drop_id, drop.read_token),
            days,
        )
        self._delivery.queue(
            unit, relay, request, purpose="create", about=about, due_at=unit.now + after_ms
        )

    def _append_to_epoch(
        self,
        unit: Unit,
        gid: bytes,
        group: Group,
        kind: int,
        data: bytes,
        *,
        of: str = "attempt",
        after_ms: int = 0,
    ) -> None:
        """Append a Commit or a message to the drop of our epoch; a Commit is one `of` ours, or of
        those that we were handed."""
        self._make_epoch_drop(unit, gid, group, after_ms=after_ms)
        place = self.epoch_place(gid, group.view.epoch)
        whole, missing = self.append_to(
            unit,
            place,
            group.policy.relay,
            kind,
            data,
            leaf=group.view.own_leaf,
            is_handed=of == "handed",
            after_ms=after_ms,
        )
        if kind == COMMIT_FRAGMENT:
            unit.db.execute(
                f"UPDATE {of} SET whole = ?, missing = ? WHERE gid = ? AND epoch = ?",  # noqa: S608
                (whole, missing, gid, place.epoch),
            )

    def append_to(
        self,
        unit: Unit,
        place: EpochDrop,
        relay: RelayAddress,
        kind: int,
        data: bytes,
        *,
        leaf: int,
        is_handed: bool = False,
        after_ms: int = 0,
    ) -> tuple[bytes, bytes]:
        """Append a Commit or a message, as the holder of a leaf, to an epoch drop. What its
        pieces call it, and the indexes of those that the drop is to show."""
        purpose: Purpose = "cell"
        if kind == COMMIT_FRAGMENT:
            purpose = "handed" if is_handed else "commit"
        cells, whole = place.cut(
            kind, data, leaf=leaf, sign=lambda text: self._engine.sign(self._me.signer, text)
        )
        for cell in cells:
            self._delivery.queue(
                unit,
                relay,
                wire.Append(0, place.drop.drop_id, place.drop.append_token, cell),
                purpose=purpose,
                about=place.gid,
                due_at=unit.now + after_ms,
            )
        return whole, bytes(range(len(cells)))

    def epoch_place(self, gid: bytes, epoch: int) -> EpochDrop:
        """The drop of an epoch that is still read. KeyError if it is not any more."""
        row = self._read.execute(
            "SELECT secret, region, signers FROM epoch_drop WHERE gid = ? AND epoch = ?",
            (gid, epoch),
        ).fetchone()
        if row is None:
            raise KeyError(epoch)
        secret, region, signers = row
        group = self.group(gid)
        who = (
            {person.leaf_index: person.signer for person in group.people}
            if epoch == group.view.epoch
            else unpack_signers(signers)
        )
        return EpochDrop(gid, epoch, secret, region or group.policy.region, who)

    def epoch_places(self, gid: bytes) -> list[EpochDrop]:
        """The epoch drops of a conversation that are still read; none if we have left it."""
        if self._state(gid) is None:
            return []
        return [self.epoch_place(gid, epoch) for epoch, _ in self.epoch_drops(gid)]

    def read_epoch(
        self, unit: Unit, gid: bytes, epoch: int, cells: wire.Cells, *, take: int
    ) -> None:
        """Take the first `take` cells of an epoch drop's reply.

        Raises RelayLied when they do not continue what was read before.
        """
        try:
            place = self.epoch_place(gid, epoch)
        except KeyError:
            return  # the group has moved on since the request
        if cells.first > self._delivery.read_from(place.drop.drop_id) + 1:
            self._holed[gid, epoch] = None
        for cell in self._delivery.advance(unit, place.drop.drop_id, cells, take):
            try:
                piece = place.open(cell)
            except InvalidCell:
                continue  # junk of somebody who knows the drop; skipped alike by every member
            if piece.kind == COMMIT_FRAGMENT:
                self._was_shown(unit, gid, piece)
            data = self.pieces.take(unit, place.drop.drop_id, piece)
            if data is None:
                continue
            if piece.kind == COMMIT_FRAGMENT:
                self._take_commit(unit, gid, epoch, data)
            elif not self.is_followed(gid):
                continue
            elif piece.kind == HELD_FRAGMENT:
                self._expect_held(unit, gid, b"", data, Epoch(0, bytes(8)))
            else:
                self.receive(unit, gid, data)

    def _take_commit(self, unit: Unit, gid: bytes, epoch: int, commit: bytes) -> None:
        """Take what may be a Commit from the drop of an epoch. Whose pieces it came in does not
        matter: it is signed itself, and whoever was handed it puts it there."""
        if not self.reads_drops(gid):
            return
        step = self.lineages.step(gid, epoch)
        if epoch == self.group(gid).view.epoch:
            self._judge(unit, gid, commit, is_read=(gid, epoch) not in self._holed)
        elif step is not None and not step.is_read:
            # We went on by a Commit that we could not read here then.
            self._compare(unit, gid, epoch, commit, step.commit)

    def _compare(self, unit: Unit, gid: bytes, epoch: int, read: bytes, ours: bytes) -> None:
        if any(vote.signer == self._me.signer for vote in self.branches.votes(gid, epoch)):
            return  # only the first one counts
        if read == ours:
            self.lineages.was_read(unit, gid, epoch)
        lineage = self.lineages.at(gid, epoch)
        if read != ours and lineage is not None and is_rightful(lineage, read):
            self.branches.vote(unit, gid, epoch, read)
            self.is_parted(unit, gid, epoch, read)

    def _was_shown(self, unit: Unit, gid: bytes, piece: Fragment) -> None:
        for table in ("attempt", "handed"):
            row = unit.db.execute(
                f"SELECT epoch, missing FROM {table} WHERE gid = ? AND whole = ?",  # noqa: S608
                (gid, piece.whole),
            ).fetchone()
            if row is not None:
                unit.db.execute(
                    f"UPDATE {table} SET missing = ? WHERE gid = ? AND epoch = ?",  # noqa: S608
                    (without(row[1], piece.index), gid, row[0]),
                )

    def start_over(self, unit: Unit, drop_id: bytes) -> None:
        """Read a drop from its first cell again."""
        self._delivery.start_over(unit, drop_id)
        self.pieces.forget(unit, drop_id)

    # Commits

    def wish(self, unit: Unit, gid: bytes, kind: str, data: bytes, *, due_at: int) -> None:
        """Keep what a person wants of a group until a Commit has made it so."""
        unit.db.execute(
            "INSERT INTO intent (gid, kind, data, due_at) VALUES (?, ?, ?, ?)",
            (gid, kind, data, due_at),
        )

    def require(self, gid: bytes, deed: rights.Deed, whom: bytes | None = None) -> Group:
        """The group, if we may do this in it. Raises NotAMember or NotAdmin."""
        self.require_active(gid)
        group = self.group(gid)
        if not rights.may(group.policy, group.people, self._me.identity, deed, whom):
            raise NotAdmin
        return group

    def add(self, unit: Unit, gid: bytes, identities: Sequence[bytes]) -> None:
        """Ask contacts into a group. Raises NotAMember, NotAdmin or GroupTooLarge."""
        group = self.require(gid, "add")
        most = rights.most_leaves(group.view.suite)
        if len(group.identities | set(identities)) > most:
            raise GroupTooLarge(f"at most {most} with this ciphersuite")
        for identity in identities:
            if identity not in group.identities:
                self.wish(unit, gid, "add", identity, due_at=unit.now)
        self.attempt(unit, gid)

    def remove(self, unit: Unit, gid: bytes, identity: bytes) -> None:
        """Put a person out of a group. Raises NotAMember or NotAdmin."""
        group = self.require(gid, "remove", identity)
        if identity not in group.identities:
            raise NotAMember("they are not in this group")
        if identity == self._me.identity:
            raise BadArgument("to go yourself, leave")
        self.wish(unit, gid, "remove", identity, due_at=unit.now)
        self.attempt(unit, gid)

    def rename(self, unit: Unit, gid: bytes, name: str) -> None:
        """Give a group another name. Raises NotAMember, NotAdmin or BadArgument."""
        self.require(gid, "rename")
        self.wish(unit, gid, "rename", check_name(name).encode(), due_at=unit.now)
        self.attempt(unit, gid)

    def set_admin(self, unit: Unit, gid: bytes, identity: bytes, *, is_admin: bool) -> None:
        """Give or take a member's admin rights. Raises NotAMember, NotAdmin or BadArgument."""
        group = self.require(gid, "administer")
        if identity not in group.identities:
            raise NotAMember("they are not in this group")
        if not is_admin and set(group.policy.admins) & group.identities == {identity}:
            raise BadArgument("a group keeps at least one admin")
        self.wish(unit, gid, "admin" if is_admin else "no-admin", identity, due_at=unit.now)
        self.attempt(unit, gid)

    def set_roles(self, unit: Unit, gid: bytes, roles: dict[str, str]) -> None:
        """Say who may add, remove and rename: `may_add`, `may_remove`, `may_rename`, each "admins"
        or "members". Raises NotAMember, NotAdmin or BadArgument."""
        self.require(gid, "administer")
        if set(roles) - {"may_add", "may_remove", "may_rename"} or set(roles.values()) - {
            "admins",
            "members",
        }:
            raise BadArgument("add, remove and rename are for admins or members")
        self.wish(unit, gid, "roles", json.dumps(roles, sort_keys=True).encode(), due_at=unit.now)
        self.attempt(unit, gid)

    def bring_along(self, unit: Unit, left: Iterable[bytes]) -> None:
        """Have Commits rest at our home from now on where they rest at a relay with one of these
        keys and where that is ours to say."""
        home, relays = self._me.home, set(left)
        place = json.dumps([codec.encode(home.address).hex(), home.region]).encode()
        rows = unit.db.execute("SELECT gid FROM conversation WHERE state = 'active'").fetchall()
        for (gid,) in rows:
            group = self.group(gid)
            if group.policy.relay.key in relays and rights.may(
                group.policy, group.people, self._me.identity, "place"
            ):
                unit.db.execute("DELETE FROM intent WHERE gid = ? AND kind = 'place'", (gid,))
                self.wish(unit, gid, "place", place, due_at=unit.now)
                self.attempt(unit, gid)

    def refresh(self, unit: Unit, gid: bytes) -> None:
        """Refresh the keys of our leaf, if somebody spoke since the last time."""
        (before,) = unit.db.execute(
            "SELECT refreshed_at FROM conversation WHERE gid = ?", (gid,)
        ).fetchone()
        spoken = unit.db.execute(
            "SELECT 1 FROM message WHERE gid = ? AND kept_at >= ? LIMIT 1", (gid, before)
        ).fetchone()
        self._plan_refresh(unit, gid, REFRESH_MS[1])
        if self.is_active(gid) and len(self.group(gid).people) > 1 and (spoken or before == 0):
            self.wish(unit, gid, "refresh", b"", due_at=unit.now)
            self.attempt(unit, gid)

    def _plan_refresh(self, unit: Unit, gid: bytes, pause: int) -> None:
        people = len(self.group(gid).people)
        pause *= max(1, people // REFRESH_PEOPLE)
        due_at = unit.now + pause // 2 + secrets.randbelow(pause)
        unit.db.execute("UPDATE conversation SET refresh_due_at = ? WHERE gid = ?", (due_at, gid))

    def begin_clock(self, unit: Unit) -> None:
        """Nothing waits longer than if it had been put off now: the clock may have been set
        back."""
        self.gaps.begin_clock(unit)
        self.repeats.begin_clock(unit)
        unit.db.execute("UPDATE conversation SET refreshed_at = min(refreshed_at, ?)", (unit.now,))
        for gid, due_at in unit.db.execute(
            "SELECT gid, refresh_due_at FROM conversation WHERE state = 'active'"
        ).fetchall():
            longest = 2 * REFRESH_MS[1] * max(1, len(self.group(gid).people) // REFRESH_PEOPLE)
            if due_at is not None and due_at > unit.now + longest:
                self._plan_refresh(unit, gid, REFRESH_MS[1])

    def leave(self, unit: Unit, gid: bytes) -> None:
        """Tell the members that we leave; one of them commits it. Raises NotAMember."""
        self.require_active(gid)
        group = self.group(gid)
        own = next(p for p in group.people if p.signer == self._me.signer)
        if group.identities == {self._me.identity}:
            self._go(unit, gid)
        else:
            wish = self._wish_to_leave(gid, own.leaf.nonce)
            self._say(unit, gid, Kind.LEAVE, codec.encode(wish))
            unit.db.execute("UPDATE conversation SET state = 'leaving' WHERE gid = ?", (gid,))
        unit.events.append(Removed(gid))

    def _wish_to_leave(self, gid: bytes, nonce: bytes) -> Leave:
        signature = self._me.identity_key.sign(leave_text(gid, nonce))
        return Leave(identity=self._me.identity, nonce=nonce, signature=signature)

    def added_by(self, gid: bytes) -> bytes:
        """The identity of whoever has added us to a group; empty if nobody has."""
        row = self._read.execute(
            "SELECT added_by FROM conversation WHERE gid = ?", (gid,)
        ).fetchone()
        return bytes(row[0])

    def leave_and_block(self, unit: Unit, gid: bytes) -> bytes:
        """Leave a group, and hear nothing more of whoever has added us to it; their identity.
        Raises NotAMember or BadArgument."""
        self.require_active(gid)
        by = self.added_by(gid)
        if not by:
            raise BadArgument("nobody has added you to this group")
        self.leave(unit, gid)
        self.block(unit, by)
        return by

    def block(self, unit: Unit, identity: bytes) -> None:
        """Hear nothing more of a contact, and answer nothing of theirs."""
        self.history.set_blocked(unit, identity, is_blocked=True)
        self.offers.forget_of(unit, identity)
        unit.db.execute("DELETE FROM joining WHERE inviter = ?", (identity,))

    def _go(self, unit: Unit, gid: bytes) -> None:
        self._end(unit, gid)
        unit.db.execute("UPDATE conversation SET state = 'left' WHERE gid = ?", (gid,))

    def attempt(self, unit: Unit, gid: bytes) -> None:
        """Make a Commit of what is wished and due, unless one is on its way.

        Who is leaving still lets others go: all may leave at once.
        """
        if not self.is_followed(gid):
            return
        if unit.db.execute("SELECT 1 FROM attempt WHERE gid = ?", (gid,)).fetchone():
            return
        group = self.group(gid)
        plan = self._plan(unit, gid, group)
        if plan is None:
            return
        bundle = self._engine.commit(
            gid,
            adds=list(plan.adds.values()),
            removes=plan.removes,
            policy=plan.policy,
            update=plan.is_refresh or bool(plan.removes),
            aad=codec.encode(CommitInfo(leaves=plan.leaves)),
        )
        unit.db.execute(
            "INSERT INTO attempt (gid, epoch, digest, welcome, tree, joiners, is_refresh, data)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                gid,
                group.view.epoch,
                bundle.sha256,
                bundle.welcome,
                bundle.tree,
                json.dumps([identity.hex() for identity in plan.adds]),
                plan.is_refresh,
                bundle.commit,
            ),
        )
        if len(group.people) == 1:
            self._won(unit, gid)  # nobody else is in this epoch
        else:
            self._append_to_epoch(unit, gid, group, COMMIT_FRAGMENT, bundle.commit)

    def _plan(self, unit: Unit, gid: bytes, group: Group) -> _Plan | None:
        """What a Commit of the due intents holds; intents that are true already are forgotten."""
        adds: dict[bytes, bytes] = {}
        removes: list[int] = []
        leaves: list[Leave] = []
        policy = group.policy
        rows = unit.db.execute(
            "SELECT id, kind, data FROM intent WHERE gid = ? AND due_at <= ? ORDER BY id",
            (gid, unit.now),
        ).fetchall()
        is_refresh = False

        def may(deed: rights.Deed, whom: bytes | None = None) -> bool:
            return self.is_active(gid) and rights.may(
                group.policy, group.people, self._me.identity, deed, whom
            )

        for row, kind, data in rows:
            gone = [p for p in group.people if p.identity == data]
            moot = kind in _DEEDS and not may(_DEEDS[kind], data)
            if kind == "add":
                moot = moot or bool(gone)
                if not moot and data not in adds:
                    package = self._their_key_package(unit, data, group.view.suite)
                    if package is not None:
                        adds[data] = package
            elif kind == "remove":
                moot = moot or not gone
                removes += [] if moot else [p.leaf_index for p in gone]
            elif kind == "let-go":
                wish = codec.decode(_leaves, data, InvalidMessage)
                leaving = [p for p in group.people if rights.is_leaving(p, [wish], group=gid)]
                moot = not leaving
                if leaving:
                    leaves.append(wish)
                    removes += [p.leaf_index for p in leaving]
            elif kind in ("refresh", "outrun"):
                is_refresh = True
            else:
                changed = _with(policy, kind, data)
                moot = moot or changed == policy or (kind in ("admin", "no-admin") and not gone)
                policy = policy if moot else changed
            if moot:
                unit.db.execute("DELETE FROM intent WHERE id = ?", (row,))
        ruling = rights.admins(group.policy, group.people)
        if self._me.identity not in ruling and any(
            p.leaf_index in removes and p.identity in ruling for p in group.people
        ):
            adds = {}  # a joiner could take the freed leaf and its rights: in the next epoch
        if not (adds or removes or is_refresh or policy != group.policy):
            return None
        return _Plan(
            adds,
            sorted(set(removes)),
            leaves,
            codec.encode(policy) if policy != group.policy else None,
            is_refresh,
        )

    def _judge(self, unit: Unit, gid: bytes, commit: bytes, *, is_read: bool) -> None:
        """Apply a Commit if it is valid: the first one read from the epoch drop, or one that we
        were handed where no drop can be read."""
        if self._state(gid) == "astray":
            self._note_first(unit, gid, commit)
            return
        digest = hashlib.sha256(commit).digest()
        row = unit.db.execute("SELECT digest FROM attempt WHERE gid = ?", (gid,)).fetchone()
        if row is not None and digest == row[0]:
            self._won(unit, gid)
            return
        try:
            staged = self._engine.process(gid, commit)
        except OwnMessage:
            self._is_ours(unit, gid, commit)
            return
        except (WrongEpoch, FutureEpoch):
            return  # of another epoch
        except PeerError:
            self._outrun_if_rightful(unit, gid, commit)
            return  # junk: we cannot apply it
        if not isinstance(staged, mls.StagedCommit):
            return
        group = self.group(gid)
        try:
            rights.judge(
                group.policy,
                group.people,
                staged,
                group=gid,
                most=rights.most_leaves(group.view.suite),
            )
        except InvalidCommit:
            self._engine.reject(staged.handle)
            return
        self._engine.accept(staged.handle)
        unit.db.execute("DELETE FROM attempt WHERE gid = ?", (gid,))  # ours lost the race
        if staged.self_removed:
            was_leaving = self._state(gid) == "leaving"
            if staged.external:  # a copy of this vault, older than we, has come back in our place
                self.warn(unit, gid, CopiedVault.code, "the other copy is in it now")
            self._end(unit, gid)
            unit.db.execute(
                "UPDATE conversation SET state = ? WHERE gid = ?",
                ("left" if was_leaving else "removed", gid),
            )
            if not was_leaving:
                unit.events.append(Removed(gid))
            return
        self.lineages.goes_on(unit, gid, staged.epoch_before, commit, is_read=is_read)
        if staged.external:
            self._let_back(unit, gid, staged)
            self._enter_epoch(unit, gid)
        else:
            self._enter_epoch(unit, gid, renewed=_renewed(staged.updates))
        unit.events.append(GroupChanged(gid))
        self.attempt(unit, gid)

    def _note_first(self, unit: Unit, gid: bytes, commit: bytes) -> None:
        """While we cannot apply Commits, keep the first rightful one of our epoch's drop: whoever
        helps us has to have gone on by it."""
        epoch = self.group(gid).view.epoch
        if self.lineages.step(gid, epoch) is None and is_rightful(
            self._engine.lineage(gid), commit
        ):
            self.lineages.goes_on(unit, gid, epoch, commit, is_read=True)

    def _is_ours(self, unit: Unit, gid: bytes, commit: bytes) -> None:
        """Our key has signed a Commit that we do not have."""
        self._note_first(unit, gid, commit)
        digest = hashlib.sha256(commit).digest()
        if unit.db.execute(
            "SELECT 1 FROM refused WHERE gid = ? AND digest = ?", (gid, digest)
        ).fetchone():
            self.lied(unit, gid, how="a Commit that it had refused is there")
            self.go_astray(unit, gid, RelayLied.code, is_restart=False)
        else:  # another copy of this vault has made it
            self.go_astray(unit, gid, CopiedVault.code, is_restart=True)

    def _outrun_if_rightful(self, unit: Unit, gid: bytes, commit: bytes) -> None:
        """A Commit may look right to all and be applied by its committer alone, or by some: those
        who cannot make another, in turn, so that there is one for everybody else to go on by."""
        is_rested = not 0 <= unit.now - self._outrun.get(gid, -OUTRUN_MS) < OUTRUN_MS
        if is_rested and self.is_active(gid) and is_rightful(self._engine.lineage(gid), commit):
            self._outrun[gid] = unit.now
            leaves = sorted(person.leaf_index for person in self.group(gid).people)
            turn = leaves.index(self.group(gid).view.own_leaf)
            self.wish(unit, gid, "outrun", b"", due_at=unit.now + turn * LEAVE_TURN_MS)
            self.attempt(unit, gid)

    def _let_back(self, unit: Unit, gid: bytes, commit: mls.StagedCommit) -> None:
        """A member has come in again: what they say begins anew, as far as they have lost count."""
        signer = commit.committer.signer
        identity = check_credential(commit.committer.credential, signer=signer).identity
        if gid in self._helping:
            del self._helping[gid]
            for peer in _one_each(self.others(self.group(gid))):
                self._post(unit, gid, peer, CellKind.NOTICE, b"")
        self._delivery.forget_chains(unit, gid, identity, signer)
        if decode_commit_info(commit.aad).is_restart:
            self.gaps.begin(unit, gid, signer, identity)
            unit.db.execute("DELETE FROM their_key_package WHERE identity = ?", (identity,))

    # Going astray and coming back (comeback.py)

    def go_astray(self, unit: Unit, gid: bytes, why: str, *, is_restart: bool) -> None:
        """Our state of a conversation is not the group's: say nothing more, and join it again."""
        if not self.is_active(gid):
            return
        self.warn(unit, gid, why, "it is being joined again")
        self.say_nothing(unit, gid)
        # What was sealed for others under keys that another copy may have used must not leave.
        unit.db.execute(
            "DELETE FROM outbox WHERE about = ? AND purpose IN ('cell', 'held', 'commit')", (gid,)
        )
        for table in ("attempt", "early"):
            unit.db.execute(f"DELETE FROM {table} WHERE gid = ?", (gid,))  # noqa: S608
        # What its drop says is looked at before anybody is asked.
        unit.db.execute(
            "INSERT INTO comeback (gid, is_lost, is_restart, ask_due_at) VALUES (?1, 1, ?2, ?3)"
            " ON CONFLICT DO UPDATE SET is_lost = 1, is_restart = ?2, ask_due_at = ?3, tries = 0",
            (gid, is_restart, unit.now + LOOK_FIRST_MS),
        )
        self.notice(unit, gid, at=unit.now)
        unit.events.append(GroupChanged(gid))

    def say_nothing(self, unit: Unit, gid: bytes) -> None:
        """Be out of step with a conversation: what is said waits."""
        unit.db.execute("UPDATE conversation SET state = 'astray' WHERE gid = ?", (gid,))

    def stay(self, unit: Unit, gid: bytes) -> None:
        """Be in step again where we were. What its drop has shown meanwhile, when no Commit was
        applied, is read anew."""
        self.is_in_step(unit, gid)
        _, drop = self.epoch_drops(gid)[-1]
        self.start_over(unit, drop.drop_id)
        self.notice(unit, gid, at=unit.now)

    def has_looked(self, unit: Unit, gid: bytes, epoch: int) -> None:
        """The drop of an epoch was read to its end."""
        if not self.reads_drops(gid) or epoch != self.group(gid).view.epoch:
            return
        unit.db.execute(
            "UPDATE comeback SET ask_due_at = ? WHERE gid = ? AND is_lost AND tries = 0"
            " AND ask_due_at > ?",
            (unit.now, gid, unit.now),
        )
        self._put_into_drop(unit, gid)

    def doubt(
        self,
        unit: Unit,
        gid: bytes,
        who: bytes | None,
        *,
        number: int | None = None,
        state: bytes | None = None,
        asks: int = MAX_ASKS,
        after_ms: int = 0,
    ) -> None:
        """Somebody says that the group is not where we are: so many contacts are asked, them
        first, and nothing else comes of it. Nobody is asked any more once we were in the epoch
        of this number, and in this state, if one is named."""
        if not self.may_doubt(gid, who, now=unit.now):
            return
        count, _ = self._doubted.get((gid, who), (0, 0))
        self._doubted[gid, who] = (count + 1, unit.now)
        unit.db.execute(
            "INSERT INTO comeback (gid, is_lost, is_restart, whom, number, state, asks_left,"
            " ask_due_at) VALUES (?, 0, 0, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (gid, who, number, state, asks, unit.now + after_ms),
        )

    def may_doubt(self, gid: bytes, who: bytes | None, *, now: int) -> bool:
        """Whether somebody's word that the group is elsewhere may make us ask, once more."""
        count, before = self._doubted.get((gid, who), (0, 0))
        rest = min(CLAIM_REST_MS[0] << count, CLAIM_REST_MS[1])
        is_rested = not (count and 0 <= now - before < rest)
        # To ask somebody whom we have blocked would be a sign of life.
        return is_rested and self.is_active(gid) and not self.history.is_shut(gid)

    # Commits that somebody has handed us

    def hand(self, unit: Unit, gid: bytes, epoch: int, commits: Sequence[bytes]) -> None:
        """Somebody has gone on from our epoch by these.

        Each is put into its epoch's drop, if it is not there, and counts when it is read there. It
        is applied without that only where the drop cannot be read, or the relay does not show what
        it has taken.
        """
        for number, commit in enumerate(commits, epoch):
            unit.db.execute(
                "INSERT OR REPLACE INTO handed (gid, epoch, data) VALUES (?, ?, ?)",
                (gid, number, commit),
            )
        self.notice(unit, gid, at=unit.now)

    def _put_into_drop(self, unit: Unit, gid: bytes) -> None:
        group = self.group(gid)
        if not self.is_followed(gid):
            return
        row = unit.db.execute(
            "UPDATE handed SET is_out = 1 WHERE gid = ? AND epoch = ? AND is_out = 0"
            " RETURNING data",
            (gid, group.view.epoch),
        ).fetchone()
        if row is not None:
            self._append_to_epoch(unit, gid, group, COMMIT_FRAGMENT, row[0], of="handed")

    def _handed(self, gid: bytes) -> _Handed | None:
        """The Commit that we were handed for the epoch we are in."""
        row = self._read.execute(
            "SELECT epoch, data, missing FROM handed WHERE gid = ? AND epoch = ?",
            (gid, self.group(gid).view.epoch),
        ).fetchone()
        return _Handed(*row) if row else None

    def all_astray(self, unit: Unit) -> None:
        """Another copy of this vault was used after this one."""
        rows = unit.db.execute("SELECT gid FROM conversation WHERE state = 'active'").fetchall()
        for (gid,) in rows:
            if len(self.group(gid).people) > 1:
                self.go_astray(unit, gid, CopiedVault.code, is_restart=True)

    def seal_again(self, unit: Unit, row: int, gid: bytes, recipient: bytes) -> bool:
        """A relay says that the label of a cell of ours is taken: seal it under another. False
        where that cannot help any more, or never did."""
        if self._state(gid) is None:
            return False
        peers = self.others(self.group(gid))
        peer = next((p for p in peers if p.identity == recipient), None)
        return peer is not None and self._delivery.seal_again(unit, row, peer.addresses)

    def expect_comeback(self, unit: Unit, gid: bytes) -> None:
        """A member was helped and will come in again: look for it, and tell the others."""
        self._helping[gid] = None
        self.notice(unit, gid, at=unit.now + HELPED_MS)

    def epoch_secret(self, unit: Unit, gid: bytes) -> bytes:
        """The secret of the current epoch's drop, which the relay is asked to make."""
        group = self.group(gid)
        self._make_epoch_drop(unit, gid, group)
        (secret,) = unit.db.execute(
            "SELECT secret FROM epoch_drop WHERE gid = ? AND epoch = ?", (gid, group.view.epoch)
        ).fetchone()
        return bytes(secret)

    def come_back(
        self, unit: Unit, gid: bytes, *, is_restart: bool, between: Iterable[Epoch]
    ) -> None:
        """Our external Commit has won and is merged. `between` are the epochs that led to it.

        After a restart we count anew, and what not everybody had confirmed is said again: no word
        is deleted together with the keys it was sealed under.
        """
        known = {self._me.identity, *self.gaps.people(gid)}
        self._drop_epochs(unit, gid, before=2**62)
        self._delivery.end_chains(unit, gid)
        unit.db.execute(
            "DELETE FROM outbox WHERE about = ? AND purpose IN ('commit', 'handed')", (gid,)
        )
        for table in ("attempt", "early", "handed", "unproven"):
            unit.db.execute(f"DELETE FROM {table} WHERE gid = ?", (gid,))  # noqa: S608
        for epoch in between:
            unit.db.execute(
                "INSERT OR REPLACE INTO epoch VALUES (?, ?, ?, ?)",
                (gid, epoch.number, epoch.state, unit.now),
            )
        unit.db.execute(
            "DELETE FROM epoch WHERE gid = ? AND number > ?", (gid, self._engine.group(gid).epoch)
        )
        unit.db.execute("UPDATE conversation SET state = 'active' WHERE gid = ?", (gid,))
        if is_restart:
            self.waiting.keep(unit, gid, self._not_come(gid))
            self.gaps.count_anew(unit, gid)
            self.whereabouts.forget_told(unit, gid)
        self.gaps.resume(unit, gid)
        self._enter_epoch(unit, gid)
        self._plan_refresh(unit, gid, REFRESH_MS[1])
        if is_restart and self.group(gid).policy.direct:
            self.give_key_packages(unit, gid, mls.HYBRID_SUITE, KEY_PACKAGES_GIVEN)
        self._tell(unit, gid)  # if we had moved: nothing could be said here meanwhile
        if self.group(gid).identities <= known:
            self._say_waiting(unit, gid)
        else:  # what was written before somebody came is not for them
            self.waiting.forget(unit, gid)
        self.attempt(unit, gid)

    def _not_come(self, gid: bytes) -> list[Word]:
        """What we have said and not everybody has; where there are no receipts, what nobody is
        known to have."""
        come = self.gaps.has_come(gid, self._devices(gid))
        after = min(come, default=0) if self.has_receipts(gid) else max(come, default=0)
        words = [
            Word(said.id, said.kind, said.body, said.clock, said.sent_at)
            for said in self.gaps.not_come(gid, after)
            if said.kind in SAID_AGAIN
        ]
        return words[-MAX_SAID_AGAIN:]

    def _devices(self, gid: bytes) -> dict[bytes, list[bytes]]:
        """The signature keys of the other people of a conversation."""
        found: dict[bytes, list[bytes]] = {}
        for person in self.group(gid).people:
            if person.identity != self._me.identity:
                found.setdefault(person.identity, []).append(person.signer)
        return found

    def _say_waiting(self, unit: Unit, gid: bytes) -> None:
        """Say what waited until we were in step."""
        group = self.group(gid)
        is_strange = bool(group.policy.direct and group.identities - set(group.policy.direct))
        if not self.is_active(gid) or self.history.is_shut(gid) or is_strange:
            return
        for word in self.waiting.take(unit, gid):
            envelope = self._say(unit, gid, word.kind, word.body, word=word)
            self.history.was_said(unit, gid, envelope)

    def _won(self, unit: Unit, gid: bytes) -> None:
        """Our Commit is the first valid one: merge it, tell the members, let the joiners in."""
        digest, welcome, tree, joiners, refreshed, commit = unit.db.execute(
            "SELECT digest, welcome, tree, joiners, is_refresh, data FROM attempt WHERE gid = ?",
            (gid,),
        ).fetchone()
        before = self.group(gid)
        view = self._engine.merge_pending(gid, digest)
        is_read = (gid, before.view.epoch) not in self._holed
        self.lineages.goes_on(unit, gid, before.view.epoch, commit, is_read=is_read)
        self._groups.pop(gid)  # a notice says where we are now
        unit.db.execute("DELETE FROM attempt WHERE gid = ?", (gid,))
        if refreshed:
            unit.db.execute("DELETE FROM intent WHERE gid = ? AND kind = 'refresh'", (gid,))
            unit.db.execute(
                "UPDATE conversation SET refreshed_at = ? WHERE gid = ?", (unit.now, gid)
            )
        for peer in _one_each(self.others(before)):
            # In a large group there are no chains and none are needed: its epoch drop is followed.
            self._post(unit, gid, peer, CellKind.NOTICE, b"")
        self._enter_epoch(unit, gid, renewed=_renewed(view.updates))
        if welcome is not None:
            self._let_in(unit, gid, welcome, tree, [bytes.fromhex(j) for j in json.loads(joiners)])
        if not self.is_active(gid) and self.group(gid).identities == {self._me.identity}:
            self._go(unit, gid)  # the last one out
            return
        unit.events.append(GroupChanged(gid))
        self.attempt(unit, gid)  # what is still wished; forgets what this Commit made true

    def refused(self, unit: Unit, gid: bytes) -> None:
        """A relay has refused our Commit for good.

        It can never be whole in the drop, so it cannot win, and nobody can have merged it.
        """
        row = unit.db.execute(
            "DELETE FROM attempt WHERE gid = ? RETURNING digest", (gid,)
        ).fetchone()
        if row is not None:
            unit.db.execute("INSERT OR REPLACE INTO refused VALUES (?, ?)", (gid, row[0]))
            self._engine.clear_pending(gid)
            unit.db.execute("DELETE FROM outbox WHERE about = ? AND purpose = 'commit'", (gid,))
            unit.db.execute(
                "UPDATE intent SET due_at = ? WHERE gid = ?", (unit.now + REFUSED_MS, gid)
            )

    def taken(self, gid: bytes, epoch: int) -> bytes:
        """The digest of a Commit that we have put into the drop of an epoch to end it, if the relay
        says that it has all of it; empty otherwise."""
        if self._read.execute(
            "SELECT 1 FROM outbox WHERE about = ? AND purpose IN ('create', 'commit', 'handed')",
            (gid,),
        ).fetchone():
            return b""
        row = self._read.execute(
            "SELECT digest FROM attempt WHERE gid = ? AND epoch = ? AND data != x''", (gid, epoch)
        ).fetchone()
        if row is not None:
            return bytes(row[0])
        row = self._read.execute(
            "SELECT data FROM handed WHERE gid = ? AND epoch = ? AND is_out", (gid, epoch)
        ).fetchone()
        return hashlib.sha256(row[0]).digest() if row else b""

    def forgotten(self, unit: Unit, gid: bytes, digest: bytes) -> None:
        """The epoch drop was read to its end and our Commit, which the relay had taken before,
        was not there: append it once more."""
        row = unit.db.execute(
            "SELECT data, epoch, missing FROM attempt WHERE gid = ? AND digest = ?", (gid, digest)
        ).fetchone()
        if row is None:
            self._is_not_shown(unit, gid, digest)
            return  # it was there, or another was
        data, epoch, missing = row
        if missing:  # else all of it was there, and something of ours has taken its room
            self.lied(unit, gid, how="a Commit that it had taken is not there")
        unit.db.execute("UPDATE epoch_drop SET made = 0 WHERE gid = ? AND epoch = ?", (gid, epoch))
        self._append_to_epoch(
            unit, gid, self.group(gid), COMMIT_FRAGMENT, data, after_ms=FORGOTTEN_MS
        )

    def _is_not_shown(self, unit: Unit, gid: bytes, digest: bytes) -> None:
        """A Commit that we were handed is not in the drop, though the relay has taken it: go on by
        it."""
        handed = self._handed(gid)
        if handed is None or hashlib.sha256(handed.commit).digest() != digest:
            return
        if handed.missing:
            self.lied(unit, gid, how="a Commit that it had taken is not there")
        self._take_handed(unit, gid, handed)

    def _take_handed(self, unit: Unit, gid: bytes, handed: _Handed) -> None:
        unit.db.execute("DELETE FROM handed WHERE gid = ? AND epoch = ?", (gid, handed.epoch))
        self._judge(unit, gid, handed.commit, is_read=False)

    def _let_in(
        self, unit: Unit, gid: bytes, welcome: bytes, tree: bytes, joiners: list[bytes]
    ) -> None:
        suite = self.group(gid).view.suite
        file = self.put_file(unit, codec.encode(WelcomeFile(welcome, tree, self.clock(gid))))
        self.repeats.keep(
            unit,
            "file",
            file_drop(file).drop_id,
            ["create", "file"],
            people=[Awaited(gid, identity) for identity in joiners],
        )
        name = self.group(gid).policy.name
        for identity in joiners:
            (used,) = unit.db.execute(
                "DELETE FROM their_key_package WHERE ref = (SELECT ref FROM their_key_package"
                " WHERE identity = ? AND suite = ? ORDER BY rowid LIMIT 1) RETURNING ref",
                (identity, suite),
            ).fetchone() or (bytes(32),)
            body = codec.encode(WelcomeRef(group=gid, file=file, name=name, key_package=used))
            self._say(unit, self.direct_with(identity), Kind.WELCOME, body)
        life_s = self.history.timer(gid)
        if life_s and self.is_active(gid) and self._may_time(gid, self._me.identity):
            self._do(unit, gid, Kind.TIMER, codec.encode(Timer(life_s)))  # for who has just come

    def direct_with(self, identity: bytes) -> bytes:
        """The gid of the 1:1 conversation with a contact. Raises UnknownConversation."""
        row = self._read.execute(
            "SELECT conversation FROM contact WHERE identity = ?", (identity,)
        ).fetchone()
        if row is None:
            raise UnknownConversation
        return bytes(row[0])

    def has_heard(self, identity: bytes) -> bool:
        """Whether a contact has ever said anything, be it a receipt, in our 1:1 conversation."""
        return self._has_heard(self.direct_with(identity), identity)

    def _has_heard(self, gid: bytes, identity: bytes) -> bool:
        return any(p.identity == identity for p in self.group(gid).people) and bool(
            self._read.execute(
                "SELECT 1 FROM heard WHERE gid = ?1 AND identity = ?2 AND (upto > 0 OR EXISTS"
                " (SELECT 1 FROM ahead WHERE ahead.gid = ?1 AND ahead.signer = heard.signer))",
                (gid, identity),
            ).fetchone()
        )

    def has_begun(self, identity: bytes) -> bool:
        """Whether our 1:1 conversation with a contact was begun by us."""
        people = self.group(self.direct_with(identity)).people
        return min(people).identity == self._me.identity

    def abandon(self, unit: Unit, identity: bytes) -> GivenUp:
        """Leave the 1:1 conversation with somebody who is not in it. What was said there belongs
        into the one that stays (`go_on_from`)."""
        gid = self.direct_with(identity)
        words = [*self._not_come(gid), *self.waiting.all(gid)]
        unit.db.execute("DELETE FROM outbox WHERE about = ?", (gid,))
        self._go(unit, gid)
        return GivenUp(gid, words)

    def go_on_from(self, unit: Unit, gone: GivenUp, gid: bytes) -> None:
        """Show in a 1:1 conversation what was said in one that was given up for it, and say
        again what did not come there."""
        self.move_clock(unit, gid, self.clock(gone.gid))
        self.history.move(unit, gone.gid, gid)
        self.waiting.keep(unit, gid, gone.words)
        self._say_waiting(unit, gid)

    def relay_of_somebody(self) -> bytes:
        """The key of the relay of a contact drawn by lot; empty if there is none."""
        row = self._read.execute(
            "SELECT conversation FROM contact ORDER BY random() LIMIT 1"
        ).fetchone()
        peers = self.others(self.group(row[0])) if row and self._state(row[0]) else []
        return peers[0].addresses[0].relay.key if peers else b""

    # Files

    def put_file(self, unit: Unit, data: bytes) -> FileRef:
        """Have our home relay keep a file for whoever is told of it."""
        home = self._me.home
        ref = FileRef(
            relay=home.address,
            region=home.region,
            secret=secrets.token_bytes(32),
            size=len(data),
            digest=hashlib.sha256(data).digest(),
        )
        # Whoever is told of the file can read it, and nobody else can put anything there.
        drop = file_drop(ref)._replace(append_token=secrets.token_bytes(32))
        about = drop.drop_id
        self._queue_create(unit, home.address, drop, MESSAGE_RETENTION_DAYS, about=about)
        for index, once in enumerate(file_keys(ref)):
            piece = data[index * MAX_PAYLOAD : (index + 1) * MAX_PAYLOAD]
            cell = seal(once, piece, region=ref.region, drop_id=drop.drop_id)
            request = wire.Append(0, drop.drop_id, drop.append_token, cell)
            self._delivery.queue(
                unit, home.address, request, purpose="file", about=about, due_at=unit.now
            )
        return ref

    def repeat(self, unit: Unit) -> None:
        """Append once more what lets people in, where it is due and they have not come: a relay
        may have forgotten it."""
        for gid in self.repeats.due("reply", now=unit.now):
            is_awaited = self.is_active(gid) and not any(
                self._has_heard(*one) for one in self.repeats.people(gid)
            )
            self.repeats.go_on(unit, gid, is_awaited=is_awaited)
        for drop_id in self.repeats.due("file", now=unit.now):
            is_awaited = any(
                self._state(one.gid) is not None and one.identity in self.group(one.gid).identities
                for one in self.repeats.people(drop_id)
            )
            self.repeats.go_on(unit, drop_id, is_awaited=is_awaited)

    def awaited(self) -> list[AnnouncedWelcome]:
        """The Welcomes that were announced and are to be fetched. One into a conversation that we
        are in waits until we are not: we may have been put out of it and not know yet, or be in
        somebody else's of that id."""
        rows = self._read.execute(
            "SELECT gid, inviter, ref FROM joining WHERE NOT EXISTS (SELECT 1 FROM conversation"
            " WHERE conversation.gid = joining.gid AND state IN ('active', 'leaving'))"
        ).fetchall()
        return [
            AnnouncedWelcome(gid, by, codec.decode(_files, ref, InvalidMessage))
            for gid, by, ref in rows
        ]

    def forget_welcomes(self, unit: Unit) -> None:
        """Give up the Welcomes whose file has ended before it could be fetched."""
        gone: list[tuple[bytes, bytes]] = unit.db.execute(
            "DELETE FROM joining WHERE told_at < ? RETURNING gid, inviter",
            (unit.now - WELCOME_LIFE_MS,),
        ).fetchall()
        gone += [
            (one.gid, one.by)
            for one in self.offers.expire(unit, told_before=unit.now - WELCOME_LIFE_MS)
        ]
        for gid, by in gone:
            if not (self.is_active(gid) and self.added_by(gid) == by):  # else we are in it by them
                self.warn(unit, None, InvalidWelcome.code, "a Welcome came too late")

    def let_in(self, unit: Unit, one: AnnouncedWelcome, file: bytes | None) -> None:
        """Join by a fetched Welcome, unless it is awaited no more.

        `file` is None when what rests there is not what was announced.
        """
        if one not in self.awaited():
            return
        gid, by = one.gid, one.by
        unit.db.execute("DELETE FROM joining WHERE gid = ? AND inviter = ?", (gid, by))
        try:
            if file is None:
                raise InvalidWelcome
            content = codec.decode(_welcome_files, file, InvalidWelcome)
            self.join(
                unit,
                content.welcome,
                content.tree,
                by=by,
                gid=gid,
                direct=False,
                clock=content.clock,
            )
        except InvalidWelcome as error:
            self.warn(unit, self.direct_with(by), error.code, "a Welcome into a group", whom=by)
            return
        unit.put(_WELCOME + gid.hex(), hashlib.sha256(file).digest())
        unit.db.execute("UPDATE conversation SET added_by = ? WHERE gid = ?", (by, gid))
        self.give_key_packages(unit, self.direct_with(by), mls.HYBRID_SUITE, 1, joined=gid)
        for (other,) in unit.db.execute(
            "SELECT inviter FROM joining WHERE gid = ?", (gid,)
        ).fetchall():
            self._tell_of_another(unit, gid, other)

    def _tell_of_another(self, unit: Unit, gid: bytes, by: bytes) -> None:
        """Somebody asks us into a group of an id that we are in by somebody else: which of the
        two it is that we want to be in, the person alone can say."""
        if self.is_active(gid) and self.added_by(gid) != by:
            how = "into a group that you are in by somebody else; it waits until you have left that"
            self.warn(unit, self.direct_with(by), InvalidWelcome.code, how, whom=by)

    def _came_by(self, gid: bytes) -> bytes:
        """The digest of the Welcome by which we came into a group; empty if we did not."""
        try:
            return self._vault.get(_WELCOME + gid.hex())
        except KeyError:
            return b""

    # KeyPackages

    def start_talking(
        self, unit: Unit, gid: bytes, identity: bytes, signer: bytes, greeting: str
    ) -> None:
        """What both sides do in a new 1:1 conversation: show the greeting of `identity`, and
        give each other KeyPackages for later groups."""
        if greeting:
            envelope = Envelope(
                id=greeting_id(gid),
                seq=1,  # beside the device's own count: the greeting came by the knock
                previous=bytes(32),
                clock=1,
                sent_at=unit.now,
                kind=Kind.TEXT,
                body=b"",
                acks=[],
                more={},
            )
            said = Text(greeting, None, 0)
            unit.events += self.history.keep(unit, gid, identity, signer, envelope, said)
            unit.db.execute("UPDATE conversation SET clock = 1 WHERE gid = ?", (gid,))
        self.give_key_packages(unit, gid, mls.HYBRID_SUITE, KEY_PACKAGES_GIVEN)

    def give_key_packages(
        self, unit: Unit, gid: bytes, suite: int, count: int, *, joined: bytes | None = None
    ) -> None:
        """Send a contact KeyPackages of ours. `joined` is the group that we have just joined by
        a Welcome of theirs."""
        (them,) = {*self.group(gid).policy.direct} - {self._me.identity}
        made = [self.new_key_package(unit, suite, them) for _ in range(count)]
        self._say(unit, gid, Kind.KEY_PACKAGES, codec.encode(KeyPackages(made, joined)))

    def new_key_package(self, unit: Unit, suite: int, contact: bytes) -> bytes:
        """A KeyPackage of ours for one use by a contact.

        Those that are out of date or too many are forgotten.
        """
        leaf = self._me.new_leaf()
        made = self._engine.new_key_package(
            suite,
            self._me.signer,
            self._me.credential,
            leaf,
            now=unit.now // 1000,
            lifetime_s=KEY_PACKAGE_LIFETIME_S,
        )
        unit.db.execute(
            "INSERT INTO key_package (ref, identity, made_at, bucket_seq, nonce)"
            " VALUES (?, ?, ?, ?, ?)",
            (made.ref, contact, unit.now, self._delivery.read_so_far(), decode_leaf(leaf).nonce),
        )
        unused = unit.db.execute(
            "SELECT ref, made_at FROM key_package WHERE identity = ? ORDER BY rowid DESC",
            (contact,),
        ).fetchall()
        for number, (ref, made_at) in enumerate(unused):
            if number >= MAX_OWN_KEY_PACKAGES or made_at < unit.now - 1000 * KEY_PACKAGE_LIFETIME_S:
                self._engine.delete_key_package(ref)
                unit.db.execute("DELETE FROM key_package WHERE ref = ?", (ref,))
        return made.bytes

    def _their_key_package(self, unit: Unit, identity: bytes, suite: int) -> bytes | None:
        """A KeyPackage of a contact that is still good; None, and one is asked for, if none is."""
        rows = unit.db.execute(
            "SELECT ref, data FROM their_key_package WHERE identity = ? AND suite = ?"
            " ORDER BY rowid",
            (identity, suite),
        ).fetchall()
        for ref, data in rows:
            try:
                self.person_of(data, now=unit.now)
            except (InvalidKeyPackage, InvalidCredential):
                unit.db.execute("DELETE FROM their_key_package WHERE ref = ?", (ref,))
                continue
            return bytes(data)
        body = codec.encode(KeyPackagesWanted(suite, KEY_PACKAGES_GIVEN))
        self._say(unit, self.direct_with(identity), Kind.KEY_PACKAGES_WANTED, body)
        return None

    # Messages

    def send_text(self, unit: Unit, gid: bytes, text: str, *, reply_to: bytes | None = None) -> int:
        """Say a text in a conversation; the row it is kept in.

        Raises NotAMember, MessageTooLarge, Blocked, IdentityChanged or UnknownMessage; nothing is
        sent then.
        """
        self._check_text(text)
        if reply_to is not None:
            self.history.check_there(gid, [reply_to], own=False)
        body = codec.encode(Text(text, reply_to, self.history.timer(gid)))
        (kept,) = self._do(unit, gid, Kind.TEXT, body)
        return kept.row

    def edit(self, unit: Unit, gid: bytes, target: bytes, text: str) -> None:
        """Give a text of ours other words.

        Raises like send_text, and UnknownMessage or NotYours.
        """
        self._check_text(text)
        self.history.check_there(gid, [target], own=True)
        self._do(unit, gid, Kind.EDIT, codec.encode(Edit(target, text)))

    def react(self, unit: Unit, gid: bytes, target: bytes, emoji: str) -> None:
        """React to a text, or take the reaction back with an empty one.

        Raises NotAMember, Blocked, IdentityChanged, UnknownMessage or BadArgument.
        """
        if len(emoji) > MAX_REACTION_CHARS:
            raise BadArgument(f"a reaction has at most {MAX_REACTION_CHARS} characters")
        self.history.check_there(gid, [target], own=False)
        self._do(unit, gid, Kind.REACTION, codec.encode(Reaction(target, emoji)))

    def delete(self, unit: Unit, gid: bytes, targets: Sequence[bytes]) -> None:
        """Delete texts of ours for everyone.

        Raises NotAMember, Blocked, IdentityChanged, UnknownMessage or NotYours; nothing is deleted
        then.
        """
        self.history.check_there(gid, targets, own=True)
        for first in range(0, len(targets), MAX_DELETED):
            body = codec.encode(Delete(list(targets[first : first + MAX_DELETED])))
            self._do(unit, gid, Kind.DELETE, body)

    def set_timer(self, unit: Unit, gid: bytes, life_s: int) -> None:
        """Set the life of texts of a conversation from now on, in seconds; 0: for ever.

        Raises NotAMember, NotAdmin, Blocked, IdentityChanged or BadArgument.
        """
        if not 0 <= life_s <= MAX_LIFE_S:
            raise BadArgument(f"a timer has at most {MAX_LIFE_S} seconds")
        if self.is_active(gid) and not self._may_time(gid, self._me.identity):
            raise NotAdmin
        self._do(unit, gid, Kind.TIMER, codec.encode(Timer(life_s)))

    def _may_time(self, gid: bytes, identity: bytes) -> bool:
        """Whether a member may set the timer: whoever may rename a group, and both of two."""
        group = self.group(gid)
        may_rename = rights.may(group.policy, group.people, identity, "rename")
        return bool(group.policy.direct) or may_rename

    @staticmethod
    def _check_text(text: str) -> None:
        if not text or len(text.encode()) > MAX_TEXT_BYTES:
            raise MessageTooLarge(f"{len(text.encode())} bytes; 1 to {MAX_TEXT_BYTES} can be sent")

    def _do(
        self, unit: Unit, gid: bytes, kind: Kind, body: bytes
    ) -> list[TextArrived | MessageChanged]:
        """Say something of history, and do it here as everybody will. While we are out of step it
        waits, and is said when we are in step."""
        if self._state(gid) != "astray":
            self.require_active(gid)
        group = self.group(gid)
        if group.policy.direct and len(group.identities) == 1:
            raise NotAMember("the other has left this conversation")
        if self.history.is_shut(gid):
            raise Blocked
        if self.is_active(gid):
            envelope = self._say(unit, gid, kind, body)
        else:
            envelope = self._keep_waiting(unit, gid, kind, body)
        unit.events.append(SummaryChanged(gid))
        return self.history.take(unit, gid, self._me.identity, self._me.signer, envelope)

    def _keep_waiting(self, unit: Unit, gid: bytes, kind: Kind, body: bytes) -> Envelope:
        """Have something said once we are in step; as what it is shown until then."""
        clock = self.clock(gid) + 1
        self.move_clock(unit, gid, clock)
        word = Word(secrets.token_bytes(16), kind, body, clock, unit.now)
        self.waiting.keep(unit, gid, [word])
        return Envelope(word.id, 0, _NO_HASH, clock, unit.now, kind, body, [], {})

    def _say(  # what, whether it was said before, and as which word
        self,
        unit: Unit,
        gid: bytes,
        kind: int,
        body: bytes,
        *,
        is_again: bool = False,
        word: Word | None = None,
        rather_not_at: Container[bytes] = (),
    ) -> Envelope:
        """`rather_not_at` are relays, by their keys, where it is put only for people who are
        nowhere else."""
        group = self.group(gid)
        if group.policy.direct and group.identities - set(group.policy.direct):
            raise IdentityChanged
        seq, previous, clock = unit.db.execute(
            "SELECT sent_seq, sent_hash, clock FROM conversation WHERE gid = ?", (gid,)
        ).fetchone()
        word = word or Word(secrets.token_bytes(16), kind, body, clock + 1, unit.now)
        envelope = Envelope(
            id=word.id,
            seq=seq + 1,
            previous=previous,
            clock=word.clock,
            sent_at=word.sent_at,
            kind=kind,
            body=body,
            acks=self._acks(unit, gid, group),
            more=self._more(unit, gid),
        )
        data = codec.encode(envelope)
        mark = self.claims.mark(gid, envelope.seq, envelope_hash(data)[:8])
        sealed = self._engine.encrypt(gid, data, mark)
        unit.db.execute(
            "UPDATE conversation SET sent_seq = ?, sent_hash = ?, clock = max(clock, ?),"
            " ack_due_at = NULL WHERE gid = ?",
            (envelope.seq, envelope_hash(data), envelope.clock, gid),
        )
        is_quiet = is_again or kind in (Kind.RECEIPT, Kind.HEARTBEAT)
        self.gaps.keep(unit, gid, envelope.seq, data, envelope.id, is_quiet=is_quiet)
        is_word = kind in _WORDS
        self._send(unit, gid, group, sealed, is_word=is_word, rather_not_at=rather_not_at)
        return envelope

    def _more(self, unit: Unit, gid: bytes) -> dict[str, bytes]:
        """What goes with whatever we say."""
        more = {HOLDS: b""} if self.holding.outbound().policy == HOLD else {}
        before = self.gaps.before(unit, gid, has_receipts=self.has_receipts(gid))
        return more | ({BEFORE: codec.encode(Befores(before))} if before else {})

    def _send(
        self,
        unit: Unit,
        gid: bytes,
        group: Group,
        sealed: bytes,
        *,
        is_word: bool,
        rather_not_at: Container[bytes] = (),
    ) -> None:
        """Let an MLS message go to everybody; a word that we hold, to whoever may fetch it."""
        if group.is_large:
            if is_word and self.holding.is_kept_from([group.policy.region]):
                notice = self._hold(unit, gid, group, CellKind.MLS, sealed)
                self._append_to_epoch(unit, gid, group, HELD_FRAGMENT, notice)
            else:
                self._append_to_epoch(unit, gid, group, MESSAGE_FRAGMENT, sealed)
            return
        notice = b""
        for peer in _one_each(self.others(group)):
            if is_word and self.holding.is_kept_from(a.region for a in peer.addresses):
                # One copy at our home serves all.
                notice = notice or self._hold(unit, gid, group, CellKind.MLS, sealed)
                self._post(unit, gid, peer, CellKind.HELD, notice)
            else:
                there = sorted(peer.addresses, key=lambda one: one.relay.key in rather_not_at)
                self._post(unit, gid, peer._replace(addresses=there), CellKind.MLS, sealed)

    def _hold(self, unit: Unit, gid: bytes, group: Group, kind: CellKind, payload: bytes) -> bytes:
        """Have our home relay hold a word; what those are told who may fetch it."""
        stored = self.holding.store(unit, gid, group.view.epoch, kind, payload)
        relay, drop = self._me.home.address, stored.drop
        if stored.is_new:
            self._queue_create(unit, relay, drop, MESSAGE_RETENTION_DAYS, about=gid)
        append = wire.Append(0, drop.drop_id, drop.append_token, stored.cell)
        self._delivery.queue(unit, relay, append, purpose="held", about=gid, due_at=unit.now)
        return codec.encode(stored.held)

    def _post(self, unit: Unit, gid: bytes, to: Peer, kind: CellKind, payload: bytes) -> bool:
        view = self.group(gid).view
        seen = [self._delivery.seen_in(drop.drop_id) for _, drop in self.epoch_drops(gid)[-2:]]
        return self._delivery.post(
            unit,
            gid,
            to,
            kind,
            payload,
            epoch=Epoch(view.epoch, view.state[:8]),
            seen=[one for one in seen if one is not None],
        )

    def _acks(self, unit: Unit, gid: bytes, group: Group) -> list[Ack]:
        # In a larger group a few at random: enough that all soon know how far each has counted.
        is_small = len(group.identities) <= RECEIPT_GROUP
        return self.gaps.acks(unit, gid, MAX_ACKS if is_small else MAX_ACKS_LARGE)

    def has_receipts(self, gid: bytes) -> bool:
        """Whether members confirm each other's messages."""
        return len(self.group(gid).identities) <= RECEIPT_GROUP

    def send_receipt(self, unit: Unit, gid: bytes) -> None:
        """Send the receipt that is owed, on its own."""
        if self.is_active(gid) and not self.history.is_shut(gid):
            self._say(unit, gid, Kind.RECEIPT, b"")
        else:
            unit.db.execute("UPDATE conversation SET ack_due_at = NULL WHERE gid = ?", (gid,))

    def beat(self, unit: Unit, gid: bytes) -> None:
        """Send a heartbeat, if somebody may lack our last words."""
        if not self.is_active(gid) or self.history.is_shut(gid):
            unit.db.execute("UPDATE conversation SET beat_due_at = NULL WHERE gid = ?", (gid,))
            return
        is_telling = self.whereabouts.is_telling(gid)
        has_receipts = self.has_receipts(gid)
        if self.gaps.beat(unit, gid, has_receipts=has_receipts, is_telling=is_telling):
            if is_telling:
                self._tell(unit, gid, is_again=True)
            else:
                self._say(unit, gid, Kind.HEARTBEAT, b"")
            if has_receipts:
                self._call_silent(unit, gid)

    def _call_silent(self, unit: Unit, gid: bytes) -> None:
        """Tell those who have not confirmed our last words where we are, with the first
        heartbeats after them, and ask the one who has confirmed least where they are, with a few
        later ones. If they were shown another Commit than we, they may know nothing else that we
        say as ours."""
        (beats,) = unit.db.execute(
            "SELECT beats FROM conversation WHERE gid = ?", (gid,)
        ).fetchone()
        group, devices = self.group(gid), self._devices(gid)
        come = dict(zip(devices, self.gaps.has_come(gid, devices), strict=True))
        last = self.gaps.last_word(gid)
        silent = [who for who, upto in come.items() if upto < last]
        for peer in _one_each(self.others(group)) if beats <= CALLED else ():
            if peer.identity in silent:
                self._post(unit, gid, peer, CellKind.NOTICE, b"")
        if beats in SILENT_BEATS and silent:
            self.doubt(unit, gid, min(silent, key=come.__getitem__), asks=1)

    def ask(self, unit: Unit, gap: Gap) -> None:
        """Ask the sender of what is missing for it."""
        if not gap.seqs:
            self.gaps.watch(unit, gap.gid, gap.signer)
            return
        if not self.is_followed(gap.gid) or self.history.is_shut(gap.gid):
            return
        if self.holding.is_awaited(gap.gid, gap.signer, now=unit.now):
            self.gaps.put_off(unit, gap)
            return
        if not self.gaps.asked(unit, gap):
            if self.gaps.give_up_beginning(unit, gap.gid, gap.signer):
                self.warn(unit, gap.gid, MessageLost.code, "", whom=gap.identity)
                self.gaps.watch(unit, gap.gid, gap.signer)
                return
            for seq in gap.seqs:
                if not self.gaps.is_known(gap.gid, gap.signer, seq):
                    continue  # only others say that there is such a one
                self._give_up(unit, gap.gid, gap.signer, gap.identity, seq)
            return
        body = codec.encode(Wanted(gap.signer, gap.seqs))
        group = self.group(gap.gid)
        peer = next((p for p in self.others(group) if p.signer == gap.signer), None)
        if group.is_large:
            self._say(unit, gap.gid, Kind.WANTED, body)
        elif peer is not None:
            self._post(unit, gap.gid, peer, CellKind.WANTED, body)

    def _repair(self, unit: Unit, gid: bytes, signer: bytes, body: bytes) -> None:
        """Say again what a member did not get. Raises InvalidMessage."""
        wanted = codec.decode(_wanted, body, InvalidMessage)
        came = unit.db.execute(
            "SELECT sent_seq FROM since WHERE gid = ? AND signer = ?", (gid, signer)
        ).fetchone()
        if wanted.device != self._me.signer or came is None or not self.is_active(gid):
            return
        if self.history.is_shut(gid):
            return  # an answer would be a sign of life
        begun, count = self._repaired.get((gid, signer), (unit.now, 0))
        if not begun <= unit.now < begun + REPAIR_SPAN_MS:
            begun, count = unit.now, 0
        group = self.group(gid)
        peer = next(p for p in self.others(group) if p.signer == signer)
        (sent_seq,) = unit.db.execute(
            "SELECT sent_seq FROM conversation WHERE gid = ?", (gid,)
        ).fetchone()
        answers = [self._again(gid, seq) for seq in wanted.seqs if came[0] < seq <= sent_seq]
        if wanted.seqs[0] <= came[0]:  # what was said before they came is not theirs
            before = Repair(self._me.signer, came[0], b"", is_before=True, place=None)
            answers.insert(0, before)
        for answer in answers[: MAX_REPAIRS - count]:
            count += 1
            again = codec.encode(answer)
            if group.is_large:
                self._say(unit, gid, Kind.REPAIR, again)
            elif answer.envelope and self.holding.is_kept_from(a.region for a in peer.addresses):
                notice = self._hold(unit, gid, group, CellKind.REPAIR, again)
                self._post(unit, gid, peer, CellKind.HELD, notice)
            else:
                self._post(unit, gid, peer, CellKind.REPAIR, again)
        self._repaired[gid, signer] = (begun, count)

    def _again(self, gid: bytes, seq: int) -> Repair:
        """An envelope of ours once more, or what is left of it."""
        said, place = self.gaps.said(gid, seq)
        digest = place.hash if place is not None else envelope_hash(said)
        is_there = place is not None or bool(said)
        mark = self.claims.mark(gid, seq, digest[:8]) if is_there else NO_MARK
        return Repair(
            self._me.signer,
            seq,
            said,
            is_before=False,
            place=place,
            mark=mark,
            deleted=None if said else self.history.deleted(gid, seq),
        )

    def _mend(self, unit: Unit, gid: bytes, sender: bytes, signer: bytes, body: bytes) -> None:
        """Take an envelope that its sender has sent again.

        Raises InvalidMessage.
        """
        again = codec.decode(_repairs, body, InvalidMessage)
        if again.device != signer:
            raise InvalidMessage
        if again.is_before:
            self.gaps.was_before(unit, gid, signer, again.seq)
            self.gaps.watch(unit, gid, signer)
            return
        if again.place is not None:  # its words are nowhere any more: nothing is lost
            if not self.gaps.follows(gid, signer, again.seq, again.place):
                raise InvalidMessage
            if self._count(unit, gid, sender, signer, again.seq, again.place, mark=again.mark):
                self._owe_receipt(unit, gid)
                self._take_deleted(unit, gid, sender, again)
            return
        if again.deleted is not None:  # so long ago that its place is forgotten, too
            if self.gaps.give_up(unit, gid, signer, again.seq):
                self._take_deleted(unit, gid, sender, again)
            self.gaps.watch(unit, gid, signer)
            return
        if not again.envelope:
            self._give_up(unit, gid, signer, sender, again.seq)
            return
        envelope = decode_envelope(again.envelope)
        digest = envelope_hash(again.envelope)
        place = Place(envelope.previous, digest)
        if envelope.seq != again.seq or not self.gaps.follows(gid, signer, envelope.seq, place):
            raise InvalidMessage
        self._hear(unit, gid, sender, signer, envelope, digest, mark=again.mark)

    def _take_deleted(self, unit: Unit, gid: bytes, sender: bytes, again: Repair) -> None:
        """Show that a text was deleted before it came."""
        if again.deleted is not None:
            latest = self.clock(gid) + MAX_CLOCK_STEP
            said = structs.replace(again.deleted, clock=min(again.deleted.clock, latest))
            self.move_clock(unit, gid, said.clock)
            unit.events += self.history.keep_deleted(
                unit, gid, sender, again.device, again.seq, said
            )

    def _give_up(self, unit: Unit, gid: bytes, signer: bytes, identity: bytes, seq: int) -> None:
        if self.gaps.give_up(unit, gid, signer, seq):
            self.warn(unit, gid, MessageLost.code, "", whom=identity)
        self.gaps.watch(unit, gid, signer)

    def check_gossip(self, unit: Unit, gid: bytes, signer: bytes, cell: PairCell) -> None:
        """Compare what a member was told of our drops, and where they stand, with what we know."""
        if not self.is_followed(gid):
            return
        who = next((p.identity for p in self.group(gid).people if p.signer == signer), None)
        ours = [home.bucket.drop_id for home in self._me.buckets]
        drops = {d[:4]: d for d in (*ours, *(e.drop_id for _, e in self.epoch_drops(gid)))}
        for seen in cell.seen:
            drop_id = drops.get(seen.drop)
            if drop_id is not None and self._delivery.contradicts(unit, drop_id, seen):
                self.doubt_relay(unit, gid, who)
        if self.state_of(gid, cell.epoch.number) not in (None, cell.epoch.state):
            self.doubt(unit, gid, who)

    def state_of(self, gid: bytes, number: int) -> bytes | None:
        """The first 8 bytes of the state of an epoch that we were in, if they are kept."""
        view = self.group(gid).view
        if number == view.epoch:
            return view.state[:8]
        row = self._read.execute(
            "SELECT state FROM epoch WHERE gid = ? AND number = ?", (gid, number)
        ).fetchone()
        return row[0] if row else None

    def states(self, gid: bytes) -> list[Epoch]:
        """The epochs we were in, the latest first."""
        view = self.group(gid).view
        rows = self._read.execute(
            "SELECT number, state FROM epoch WHERE gid = ? AND number < ? ORDER BY number DESC",
            (gid, view.epoch),
        ).fetchall()
        return [Epoch(view.epoch, view.state[:8]), *(Epoch(*row) for row in rows)]

    # Branches

    def is_parted(self, unit: Unit, gid: bytes, epoch: int, sibling: bytes) -> None:
        """Another rightful Commit ends an epoch than the one we went with: members say what they
        have read."""
        if self.branches.note(unit, gid, epoch, sibling):
            self.branches.vote(unit, gid, epoch)
            if not self._may_have_expired(gid, epoch, now=unit.now):
                self.doubt_relay(unit, gid, None, how="members were shown different Commits")
            self._say_votes(unit, gid, epoch, self.branches.votes(gid, epoch))

    def _may_have_expired(self, gid: bytes, epoch: int, *, now: int) -> bool:
        """Whether who came late to an epoch's drop may not have found there what was the first in
        it, with no lie of anybody's: a Commit that rested there as long as was promised."""
        (ended_at,) = self._read.execute(
            "SELECT coalesce(max(entered_at), 0) FROM epoch WHERE gid = ? AND number = ?",
            (gid, epoch + 1),
        ).fetchone()
        return (gid, epoch) in self._holed or now - ended_at > COMMIT_LIFE_MS

    def _say_votes(self, unit: Unit, gid: bytes, epoch: int, votes: list[Vote]) -> None:
        said = {number: at for (one, number), at in self._voted.items() if one == gid}
        is_rested = all(not 0 <= unit.now - at < VOTE_EVERY_MS for at in said.values())
        if (
            self.is_active(gid)
            and not self.history.is_shut(gid)
            and epoch not in said
            and is_rested
        ):
            self._voted[gid, epoch] = unit.now
            self._say(unit, gid, Kind.VOTES, codec.encode(Votes(epoch, votes[:MAX_VOTES])))

    def _take_votes(self, unit: Unit, gid: bytes, votes: Votes) -> None:
        self.branches.take(unit, gid, [vote for vote in votes.votes if vote.epoch == votes.epoch])
        own = self.branches.vote(unit, gid, votes.epoch)
        if own is not None:
            self._say_votes(unit, gid, votes.epoch, [own])

    def doubt_relay(
        self,
        unit: Unit,
        gid: bytes | None,
        who: bytes | None,
        *,
        how: str = "they were shown other cells than we",
    ) -> None:
        """Somebody says that a relay showed them something else than us: that it lies, or they
        do, is told to the person, not too often."""
        name = f"{fingerprint(who)}: " if who else ""
        self._tell_once(unit, gid, RelayDoubted.code, name + how, whom=who or b"")

    def lied(self, unit: Unit, gid: bytes | None, *, how: str) -> None:
        """A relay does not show us what it has told us itself: tell the person, not too often."""
        self._tell_once(unit, gid, RelayLied.code, how)

    def _tell_once(
        self, unit: Unit, gid: bytes | None, code: str, detail: str, *, whom: bytes = b""
    ) -> None:
        if not unit.db.execute(
            "SELECT 1 FROM warning WHERE code = ? AND gid = ? AND whom = ? AND at > ?",
            (code, gid or b"", whom, unit.now - LIE_EVERY_MS),
        ).fetchone():
            self.warn(unit, gid, code, detail, whom=whom)

    def notice(self, unit: Unit, gid: bytes, *, at: int) -> None:
        """The epoch drops hold, or will hold at this time, something to look at."""
        unit.db.execute("UPDATE conversation SET look_due_at = ? WHERE gid = ?", (at, gid))

    def receive(self, unit: Unit, gid: bytes, message: bytes) -> None:
        """Take an MLS message that came by a pair chain or an epoch drop."""
        if not self.is_followed(gid):
            return
        try:
            received = self._engine.process(gid, message)
        except FutureEpoch:
            self._keep_early(unit, gid, message)
            return
        except (OwnMessage, ReusedSecret):
            return  # whoever knows an epoch drop can show all of it once more
        except TooOld:
            return  # if it is news, it is missed, and its author says it again
        except PeerError as error:
            self.warn(unit, gid, error.code, "a message could not be read")
            return
        if isinstance(received, mls.StagedCommit):
            self._engine.reject(received.handle)  # Commits count in the epoch drop only
            return
        try:
            sender = check_sender(received)
            envelope = decode_envelope(received.plaintext)
        except PeerError as error:
            self.warn(unit, gid, error.code, "a message could not be read")
            return
        digest = envelope_hash(received.plaintext)
        mark = received.aad if len(received.aad) == MARK_BYTES else NO_MARK
        self._hear(unit, gid, sender, received.signer, envelope, digest, mark=mark)

    def take(
        self, unit: Unit, gid: bytes, signer: bytes, cell: PairCell, *, is_past: bool = False
    ) -> None:
        """Take a cell that came by a pair chain, or by one that has ended (`is_past`)."""
        self.check_gossip(unit, gid, signer, cell)
        match cell.kind:
            case CellKind.MLS:
                self.receive(unit, gid, cell.payload)
            case CellKind.NOTICE:
                self._called(unit, gid, cell.epoch)
            case CellKind.HELD:
                self._expect_held(unit, gid, signer, cell.payload, cell.epoch, is_past=is_past)
            case CellKind.REPAIR if is_past:
                # Nothing but that chain vouches for it, and a copy of a vault may still have that.
                self.gaps.ask_now(unit, gid, signer)
            case CellKind.WANTED | CellKind.REPAIR if self.is_followed(gid):
                people = {p.signer: p.identity for p in self.group(gid).people}
                if signer not in people:
                    return
                try:
                    if cell.kind == CellKind.WANTED:
                        self._repair(unit, gid, signer, cell.payload)
                    else:
                        self._mend(unit, gid, people[signer], signer, cell.payload)
                except PeerError as error:
                    self.warn(
                        unit, gid, error.code, "a repair could not be read", whom=people[signer]
                    )
            case _:
                pass  # of a later version

    def _called(self, unit: Unit, gid: bytes, at: Epoch) -> None:
        """A member says that there is something to look at. That they are in a later epoch is
        kept as a message of it would be."""
        if self.is_followed(gid) and at.number > self.group(gid).view.epoch:
            self._keep_early(unit, gid, b"")
        else:
            self.notice(unit, gid, at=unit.now)

    def _expect_held(  # whose, what, and where they are
        self,
        unit: Unit,
        gid: bytes,
        signer: bytes,
        notice: bytes,
        at: Epoch,
        *,
        is_past: bool = False,
    ) -> None:
        """A word waits at its sender's home, or somebody's of a large group (`signer` is empty)."""
        if not self.is_followed(gid) or self.history.is_shut(gid):
            return  # of who is blocked nothing is kept, and fetching it would be a sign of life
        peers = [p for p in self.others(self.group(gid)) if signer in (b"", p.signer)]
        named = [address.relay for peer in peers for address in peer.addresses]
        for address in named:
            self._places.learn(unit, address)
        relays = {address.key for address in named}
        if not signer:  # we read what we have said ourselves, too
            relays |= {home.relay for home in self._me.homes}
        try:
            if not self.holding.expect(unit, gid, signer, notice, relays, at, is_past=is_past):
                self.gaps.ask_now(unit, gid, signer)
        except InvalidMessage as error:
            self.warn(unit, gid, error.code, "a notice of a held word could not be read")

    def fetched(self, unit: Unit, place: HeldDrop, cells: wire.Cells) -> None:
        """Take what was waited for among the cells of a drop."""
        for one in self.holding.find(unit, place, cells.cells, cells.first):
            self._take_fetched(unit, one)

    def _take_fetched(self, unit: Unit, one: Fetched) -> None:
        if not one.signer:
            self.receive(unit, one.gid, one.payload)
        else:
            cell = PairCell(one.kind, one.payload, [], one.at)
            self.take(unit, one.gid, one.signer, cell)

    def _keep_early(self, unit: Unit, gid: bytes, message: bytes) -> None:
        (count,) = unit.db.execute("SELECT count(*) FROM early WHERE gid = ?", (gid,)).fetchone()
        if count < MAX_EARLY:
            unit.db.execute(
                "INSERT INTO early (gid, data, kept_at) VALUES (?, ?, ?)", (gid, message, unit.now)
            )
        self.notice(unit, gid, at=unit.now)

    def behind(self, now: int) -> list[bytes]:
        """Where messages say that the group has gone on, and its drop does not, for long."""
        rows = self._read.execute(
            "SELECT DISTINCT gid FROM early WHERE kept_at <= ?", (now - BEHIND_MS,)
        ).fetchall()
        return [gid for (gid,) in rows if self.may_doubt(gid, None, now=now)]

    def ask_on(self, unit: Unit, gid: bytes) -> None:
        """Ask how the group went on from here."""
        unit.db.execute("DELETE FROM early WHERE kept_at < ?", (unit.now - EARLY_LIFE_MS,))
        self.doubt(unit, gid, None, number=self.group(gid).view.epoch + 1)

    def cut_off(self, unit: Unit, gid: bytes) -> None:
        """The relay of our epoch's drop cannot be reached: if others have long gone on without
        us, go on by the Commit that we were handed."""
        handed = self._handed(gid)
        is_long = unit.db.execute(
            "SELECT 1 FROM early WHERE gid = ? AND kept_at <= ?", (gid, unit.now - CUT_OFF_MS)
        ).fetchone()
        if handed is not None and is_long and self.is_active(gid):
            self._take_handed(unit, gid, handed)

    def is_in_step(self, unit: Unit, gid: bytes) -> None:
        """Nobody is in another epoch after all: go on in ours."""
        unit.db.execute("UPDATE conversation SET state = 'active' WHERE gid = ?", (gid,))
        unit.events.append(GroupChanged(gid))
        self.gaps.resume(unit, gid)
        self._say_waiting(unit, gid)

    def _hear_early(self, unit: Unit, gid: bytes) -> None:
        rows = unit.db.execute(
            "DELETE FROM early WHERE gid = ? RETURNING id, data, kept_at", (gid,)
        ).fetchall()
        for _, message, _ in sorted(rows):
            if message:
                self.receive(unit, gid, message)
        since = min((kept_at for _, _, kept_at in rows), default=unit.now)
        unit.db.execute("UPDATE early SET kept_at = min(kept_at, ?) WHERE gid = ?", (since, gid))

    def _hear(  # whose, what, its hash and mark
        self,
        unit: Unit,
        gid: bytes,
        sender: bytes,
        signer: bytes,
        envelope: Envelope,
        digest: bytes,
        *,
        mark: bytes,
    ) -> None:
        place = Place(envelope.previous, digest)
        try:
            if BEFORE in envelope.more:
                said = codec.decode(_befores, envelope.more[BEFORE], InvalidMessage)
                self.gaps.learn(unit, gid, signer, said.epochs)
        except InvalidMessage as error:
            self.warn(unit, gid, error.code, "a message was malformed inside", whom=sender)
        if not self._count(unit, gid, sender, signer, envelope.seq, place, mark=mark):
            return
        latest = self.clock(gid) + MAX_CLOCK_STEP
        envelope = structs.replace(envelope, clock=min(envelope.clock, latest))
        self.move_clock(unit, gid, envelope.clock)
        self.holding.note(unit, gid, sender, holds=HOLDS in envelope.more)
        self._take_acks(unit, gid, sender, envelope.acks)
        if self.has_receipts(gid) and self.gaps.is_unheard(
            unit, gid, signer, sender, envelope.sent_at
        ):
            self.doubt_relay(unit, gid, sender, how="what we say does not reach them")
        if envelope.kind != Kind.RECEIPT:
            self._owe_receipt(unit, gid)
        try:
            self._obey(unit, gid, sender, signer, envelope)
        except (InvalidMessage, InvalidKeyPackage, InvalidCredential) as error:
            self.warn(unit, gid, error.code, "a message was malformed inside", whom=sender)

    def _count(  # whose, and which
        self,
        unit: Unit,
        gid: bytes,
        sender: bytes,
        signer: bytes,
        seq: int,
        place: Place,
        *,
        mark: bytes,
    ) -> bool:
        """Count an envelope of a device; whether it is new."""
        heard = self.gaps.hear(unit, gid, signer, sender, seq, place, mark=mark)
        self.gaps.watch(unit, gid, signer)
        if not heard.is_whole:
            self.warn(unit, gid, BrokenChain.code, "", whom=sender)
        if heard.is_lost:
            self.warn(unit, gid, MessageLost.code, "", whom=sender)
        return heard.is_new

    def clock(self, gid: bytes) -> int:
        """The Lamport clock of a conversation: the highest heard or said."""
        row = self._read.execute("SELECT clock FROM conversation WHERE gid = ?", (gid,)).fetchone()
        return int(row[0])

    def move_clock(self, unit: Unit, gid: bytes, clock: int) -> None:
        """Somebody has said something at this time of theirs. Nobody can use the clock up by
        claiming the end of time."""
        clock = min(clock, self.clock(gid) + MAX_CLOCK_STEP)
        unit.db.execute("UPDATE conversation SET clock = max(clock, ?) WHERE gid = ?", (clock, gid))

    def _take_acks(self, unit: Unit, gid: bytes, sender: bytes, acks: list[Ack]) -> None:
        (counted,) = unit.db.execute(
            "SELECT counted FROM conversation WHERE gid = ?", (gid,)
        ).fetchone()
        for ack in acks:
            if ack.device != self._me.signer[:8]:
                about = self.gaps.tell(unit, gid, ack.device, ack.seq, ack.hash)
                if about is not None:
                    how = f"{fingerprint(sender)}, of what {fingerprint(about)} said"
                    self.warn(unit, gid, HeardOtherwise.code, how, whom=sender)
                continue
            ours = self.gaps.what_we_said(gid, ack.seq)
            if ours is None or ack.seq <= counted:
                continue  # of long ago, or of a count that is over
            if ours[:8] != ack.hash:
                # A claim. It is true if it carries the mark that only we can have made.
                if ack.mark == self.claims.mark(gid, ack.seq, ack.hash):
                    self.all_astray(unit)
                    if self._state(gid) == "astray":
                        self.gaps.was_used(unit, gid, ack.seq)
                    return
                continue
            self.whereabouts.confirmed(unit, gid, sender, ack.seq)
            if self.gaps.confirm(unit, gid, sender, ack.seq):
                self._see_delivered(unit, gid)
        if acks:
            self.gaps.watch(unit, gid, None)

    def _see_delivered(self, unit: Unit, gid: bytes) -> None:
        """See what everybody has of what we have said."""
        upto = min(self.gaps.has_come(gid, self._devices(gid)), default=0)
        self.gaps.forget_said(unit, gid, upto)
        self.history.was_delivered(unit, gid, upto)

    def _obey(
        self, unit: Unit, gid: bytes, sender: bytes, signer: bytes, envelope: Envelope
    ) -> None:
        body = envelope.body
        if self.history.is_shut(gid) and envelope.kind in _WANTED_OF_US:
            return
        match envelope.kind:
            case Kind.TIMER if not self._may_time(gid, sender):
                self.warn(unit, gid, NotAdmin.code, "they set a timer", whom=sender)
            case Kind.TEXT | Kind.EDIT | Kind.REACTION | Kind.DELETE | Kind.TIMER:
                unit.events += self.history.take(unit, gid, sender, signer, envelope)
            case kind if kind in _TO_CONTACTS and self.group(gid).policy.direct:
                self._obey_contact(unit, gid, sender, kind, body)
            case Kind.LEAVE:
                self._take_leave(unit, gid, sender, body)
            case Kind.WANTED if self.group(gid).is_large:
                self._repair(unit, gid, signer, body)
            case Kind.REPAIR if self.group(gid).is_large:
                self._mend(unit, gid, sender, signer, body)
            case Kind.ADDRESSES:
                self._take_addresses(unit, sender, body)
            case Kind.VOTES:
                self._take_votes(unit, gid, codec.decode(_votes, body, InvalidMessage))
            case _:
                pass  # a receipt, a heartbeat, or a kind of a later version

    def _obey_contact(self, unit: Unit, gid: bytes, sender: bytes, kind: int, body: bytes) -> None:
        """Take what is said in conversations of two only."""
        match kind:
            case Kind.KEY_PACKAGES:
                self._take_key_packages(unit, sender, body)
            case Kind.KEY_PACKAGES_WANTED:
                wanted = codec.decode(_wanteds, body, InvalidMessage)
                if wanted.suite in (mls.HYBRID_SUITE, mls.CLASSICAL_SUITE):
                    count = min(wanted.count, KEY_PACKAGES_GIVEN)
                    self.give_key_packages(unit, gid, wanted.suite, count)
            case Kind.WELCOME:
                ref = codec.decode(_welcomes, body, InvalidMessage)
                # The one we came by may come once more, from a member who counts anew. Another
                # counts even where we do not know yet that we were put out meanwhile.
                if self._came_by(ref.group) != ref.file.digest:
                    self._take_welcome(unit, sender, ref)
            case Kind.DECLINED:
                self._take_no(unit, sender, codec.decode(_declined, body, InvalidMessage))

    def _take_welcome(self, unit: Unit, sender: bytes, ref: WelcomeRef) -> None:
        """Somebody has added us to a group: join it, or ask the person."""
        offer = Offer(
            ref.group, sender, ref.name, codec.encode(ref.file), ref.key_package, told_at=unit.now
        )
        if self.offers.adds == ASK:
            if self.offers.keep(unit, offer):
                unit.events.append(Offered(ref.group, sender))
            return
        (count,) = unit.db.execute(
            "SELECT count(*) FROM joining WHERE inviter = ?", (sender,)
        ).fetchone()
        if count < MAX_OFFERS:
            self._begin_joining(unit, offer)

    def _begin_joining(self, unit: Unit, offer: Offer) -> None:
        unit.db.execute(
            "INSERT OR REPLACE INTO joining VALUES (?, ?, ?, ?)",
            (offer.gid, offer.ref, offer.by, unit.now),
        )
        self._tell_of_another(unit, offer.gid, offer.by)

    def accept_offer(self, unit: Unit, gid: bytes, by: bytes) -> None:
        """Join a group that somebody has asked us into. Raises UnknownConversation."""
        self._begin_joining(unit, self.offers.take(unit, gid, by))

    def decline_offer(self, unit: Unit, gid: bytes, by: bytes) -> None:
        """Stay out of a group that somebody has asked us into, and tell them, who can take us
        out of it. Raises UnknownConversation."""
        offer = self.offers.take(unit, gid, by)
        row = unit.db.execute(
            "SELECT nonce FROM key_package WHERE ref = ? AND identity = ? AND nonce != x''",
            (offer.key_package, by),
        ).fetchone()
        direct = self.direct_with(by)
        if row is None or self.history.is_blocked(by):
            return
        self._engine.delete_key_package(offer.key_package)
        unit.db.execute("DELETE FROM key_package WHERE ref = ?", (offer.key_package,))
        no = codec.encode(Declined(gid, self._wish_to_leave(gid, row[0])))
        if self.is_active(direct):
            self._say(unit, direct, Kind.DECLINED, no)
        elif self._state(direct) == "astray":
            self._keep_waiting(unit, direct, Kind.DECLINED, no)

    def _take_no(self, unit: Unit, sender: bytes, no: Declined) -> None:
        """Somebody does not want to be in a group we have added them to."""
        wish = no.leave
        check_signature(wish.identity, wish.signature, leave_text(no.group, wish.nonce))
        self.repeats.has_come(unit, no.group, sender)
        if wish.identity == sender and self.is_followed(no.group):
            self._schedule_leave(unit, no.group, wish)

    def _take_addresses(self, unit: Unit, sender: bytes, body: bytes) -> None:
        """Reach a person elsewhere from now on; what waits for them goes there too. Where their
        relays are is the relays' own word, and counts for all of their people."""
        new = codec.decode(_new_addresses, body, InvalidMessage)
        for address in new.addresses:
            self._places.learn(unit, address.relay)
        if unit.db.execute(
            "INSERT INTO moved VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET version ="
            " excluded.version, addresses = excluded.addresses WHERE version < excluded.version"
            " RETURNING 1",
            (sender, new.version, body),
        ).fetchone():
            self._delivery.send_after(unit, sender, new.addresses)

    def found(self, unit: Unit, identity: bytes, addresses: list[Address]) -> bool:
        """A contact is reached at these addresses, by an invite of theirs. False if that was
        known. What they say themselves, now or later, counts before it."""
        news = [self._places.learn(unit, address.relay) for address in addresses]
        peers = self.others(self.group(self.direct_with(identity)))
        if any(peer.addresses == addresses for peer in peers if peer.identity == identity):
            return any(news)
        unit.db.execute(
            "INSERT INTO moved VALUES (?, 0, ?) ON CONFLICT DO UPDATE SET addresses ="
            " excluded.addresses",
            (identity, codec.encode(NewAddresses(1, addresses))),
        )
        self._delivery.send_after(unit, identity, addresses)
        return True

    def tell_addresses(self, unit: Unit) -> None:
        """Tell everybody we talk with where we are to be reached from now on."""
        rows = unit.db.execute("SELECT gid FROM conversation WHERE state = 'active'").fetchall()
        for (gid,) in rows:
            self._tell(unit, gid)

    def _tell(self, unit: Unit, gid: bytes, *, is_again: bool = False) -> None:
        """Tell the people of a conversation where we are now, if we have ever moved. Who is blocked
        is told nothing."""
        body = self.whereabouts.word()
        group = self.group(gid)
        others = group.identities - {self._me.identity}
        if body is None or not others or not self.is_active(gid) or self.history.is_shut(gid):
            return
        # Whoever shares a relay with us may look for it where it is no more, too.
        relays = {home.relay for home in self._me.homes}
        envelope = self._say(
            unit, gid, Kind.ADDRESSES, body, is_again=is_again, rather_not_at=relays
        )
        if not is_again and not group.is_large:  # nothing of a large group comes to our buckets
            self.whereabouts.told(unit, gid, others, envelope.seq)

    def tell_unblocked(self, unit: Unit, identity: bytes) -> None:
        """Tell somebody what they were not told while they were blocked."""
        gid = self.direct_with(identity)
        self._tell(unit, gid)
        self._say_waiting(unit, gid)

    def see_places(self) -> None:
        """Relays of ours are elsewhere: whatever we write from now on says so."""
        self._me.homes[:] = read_homes(self._vault)

    def tell_places(self, unit: Unit) -> None:
        """And everybody is told, as of another home."""
        self._places.end_news(unit)
        self.whereabouts.say_anew(unit)
        self.tell_addresses(unit)

    def _has_moved_since(self, group: Group) -> bool:
        """Whether our leaf says another address than ours, or that a relay is elsewhere."""
        own = next(p for p in group.people if p.signer == self._me.signer).leaf.addresses
        ours = self._me.addresses
        return own != ours or not all(
            then.relay.says_as(today.relay) for then, today in zip(own, ours, strict=True)
        )

    def came(self, unit: Unit, gid: bytes, signer: bytes, drop_id: bytes) -> None:
        """A member's cell came into one of our buckets."""
        row = unit.db.execute(
            "SELECT identity FROM heard WHERE gid = ? AND signer = ?", (gid, signer)
        ).fetchone()
        if row is not None:
            self.whereabouts.came(unit, gid, row[0], drop_id)

    def at_home(self, unit: Unit) -> None:
        """The home bucket is another now, and what was counted in the one before counts no more."""
        begin = self._delivery.read_so_far()
        unit.db.execute("UPDATE conversation SET sure_seq = ?", (begin,))
        unit.db.execute("UPDATE key_package SET bucket_seq = ?", (begin,))
        self._delivery.forget_again(unit)
        # What was still to be held at the relay that is left: who was told of it asks for it.
        unit.db.execute(
            "DELETE FROM outbox WHERE purpose = 'held' AND relay <> ?", (self._me.home.relay,)
        )

    def _take_leave(self, unit: Unit, gid: bytes, sender: bytes, body: bytes) -> None:
        wish = codec.decode(_leaves, body, InvalidMessage)
        check_signature(wish.identity, wish.signature, leave_text(gid, wish.nonce))
        if wish.identity == sender:
            self._schedule_leave(unit, gid, wish)

    def _schedule_leave(self, unit: Unit, gid: bytes, wish: Leave) -> None:
        others = [p.signer for p in self.group(gid).people if p.leaf.nonce != wish.nonce]
        if self._me.signer not in others:
            return
        turn = others.index(self._me.signer)
        due_at = unit.now + turn * LEAVE_TURN_MS
        self.wish(unit, gid, "let-go", codec.encode(wish), due_at=due_at)
        self.attempt(unit, gid)

    def _take_key_packages(self, unit: Unit, sender: bytes, body: bytes) -> None:
        given = codec.decode(_key_packages, body, InvalidMessage)
        if given.joined is not None:
            self.repeats.has_come(unit, given.joined, sender)
        for data in given.key_packages:
            view = mls.check_key_package(data, now=unit.now // 1000)
            if self.person_of(data, now=unit.now).identity != sender:
                raise InvalidKeyPackage
            unit.db.execute(
                "INSERT OR IGNORE INTO their_key_package VALUES (?, ?, ?, ?)",
                (view.ref, sender, view.suite, data),
            )
            unit.db.execute(
                "DELETE FROM their_key_package WHERE identity = ?1 AND suite = ?2 AND ref NOT IN"
                " (SELECT ref FROM their_key_package WHERE identity = ?1 AND suite = ?2"
                " ORDER BY rowid DESC LIMIT ?3)",
                (sender, view.suite, MAX_KEY_PACKAGES),
            )
        waiting = unit.db.execute(
            "SELECT DISTINCT gid FROM intent WHERE kind = 'add' AND data = ?", (sender,)
        ).fetchall()
        for (gid,) in waiting:
            self.attempt(unit, gid)

    def _owe_receipt(self, unit: Unit, gid: bytes) -> None:
        if len(self.group(gid).identities) <= RECEIPT_GROUP:
            low, high = RECEIPT_DELAY_MS
            due = unit.now + low + secrets.randbelow(high - low)
            unit.db.execute(
                "UPDATE conversation SET ack_due_at = coalesce(ack_due_at, ?) WHERE gid = ?",
                (due, gid),
            )

    def _end(self, unit: Unit, gid: bytes) -> None:
        """Forget what is needed only while we are a member; the messages stay."""
        self._delivery.end_chains(unit, gid)
        self.gaps.end(unit, gid)
        self.holding.end(unit, gid)
        self.waiting.forget(unit, gid)
        self.whereabouts.keep(unit, gid, ())
        self._drop_epochs(unit, gid, before=2**62)
        self.lineages.forget(unit, gid)
        self.branches.forget(unit, gid)
        for table in (
            "since",
            "epoch",
            "intent",
            "attempt",
            "early",
            "handed",
            "refused",
            "comeback",
            "unproven",
        ):
            unit.db.execute(f"DELETE FROM {table} WHERE gid = ?", (gid,))  # noqa: S608
        self._groups.pop(gid, None)


class _Past(NamedTuple):
    """What of a conversation outlives our membership, as its messages do; all else begins anew when
    we are let in again."""

    clock: int = 0
    """What was said before stands before what is said now."""
    read_row: int = 0
    hidden: int = 0
    sent_seq: int = 0
    """No number of an envelope of ours is used twice."""


class _Handed(NamedTuple):
    epoch: int
    commit: bytes
    missing: bytes
    """The indexes of its pieces that the drop has not shown since we put it there."""


class _Plan(NamedTuple):
    adds: dict[bytes, bytes]
    """KeyPackages by identity."""
    removes: list[int]
    leaves: list[Leave]
    policy: bytes | None
    is_refresh: bool


_DEEDS: dict[str, rights.Deed] = {
    "add": "add",
    "remove": "remove",
    "rename": "rename",
    "admin": "administer",
    "no-admin": "administer",
    "roles": "administer",
    "place": "place",
}
"""The right that each wish takes; the others need none."""

_TO_CONTACTS = {Kind.KEY_PACKAGES, Kind.KEY_PACKAGES_WANTED, Kind.WELCOME, Kind.DECLINED}
"""What is heard in conversations of two only."""

_WORDS = {Kind.TEXT, Kind.EDIT, Kind.REACTION, Kind.DELETE, Kind.TIMER, Kind.REPAIR}
"""What people say and do, which is held where they want it so. All else has nothing of it, or
rests with the group."""

_key_packages = codec.decoder_of(KeyPackages)
_wanteds = codec.decoder_of(KeyPackagesWanted)
_welcomes = codec.decoder_of(WelcomeRef)
_welcome_files = codec.decoder_of(WelcomeFile)
_files = codec.decoder_of(FileRef)
_leaves = codec.decoder_of(Leave)
_declined = codec.decoder_of(Declined)
_votes = codec.decoder_of(Votes)
_wanted = codec.decoder_of(Wanted)
_befores = codec.decoder_of(Befores)
_WELCOME = "welcome "
"""Begins the name under which the vault keeps by which Welcome we came into a group."""

_repairs = codec.decoder_of(Repair)
_new_addresses = codec.decoder_of(NewAddresses)


def _renewed(updates: Iterable[mls.Member]) -> set[bytes]:
    """The identities whose leaves a Commit renews."""
    return {check_credential(one.credential, signer=one.signer).identity for one in updates}


def file_drop(ref: FileRef) -> Drop:
    """The drop a file rests in."""
    return derive_drop(ref.secret, purpose=b"amanat file drop", region=ref.region)


def file_keys(ref: FileRef) -> list[OneTime]:
    """Label and key of each chunk of a file, in order."""
    drop = file_drop(ref)
    return [
        one_time(
            expand(ref.secret, b"amanat file chunk", index.to_bytes(4, "big")),
            region=ref.region,
            drop_id=drop.drop_id,
        )
        for index in range(-(-ref.size // MAX_PAYLOAD))
    ]


def check_sender(message: mls.Application) -> bytes:
    """The identity that sent a message: by its credential as of its own epoch, never by the leaf
    index alone (a leaf may have a new owner). Raises InvalidCredential."""
    return check_credential(message.credential, signer=message.signer).identity


def _one_each(peers: Sequence[Peer]) -> list[Peer]:
    """One peer for each person: all devices of a person read the same bucket."""
    return list({peer.identity: peer for peer in peers}.values())


def _with(policy: Policy, kind: str, data: bytes) -> Policy:
    """The policy as somebody wishes it."""
    match kind:
        case "rename":
            return structs.replace(policy, name=data.decode())
        case "roles":
            return structs.replace(policy, **json.loads(data))
        case "place":
            relay, region = json.loads(data)
            address = decode_address(bytes.fromhex(relay), InvalidCommit)
            return structs.replace(policy, relay=address, region=region)
        case "admin":
            return structs.replace(policy, admins=sorted({*policy.admins, data}))
        case _:
            return structs.replace(policy, admins=[a for a in policy.admins if a != data])
