"""The roster: the people who are in a conversation now, their addresses, and our rights there."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, assert_never

from amanat import mls
from amanat.client import rights
from amanat.client.rights import Deed
from amanat.client.rules.chains import Peer
from amanat.client.state import State
from amanat.errors import (
    InvalidKeyPackage,
    InvalidMessage,
    NotAdmin,
    NotAMember,
    OutOfStep,
    ProfileReplaced,
    UnknownConversation,
)
from amanat.protocol import codec
from amanat.protocol.identity import FIRST_GENERATION
from amanat.protocol.kinds import KINDS, Right, Scope
from amanat.protocol.messages import (
    Epoch,
    NewAddresses,
    Policy,
    decode_policy,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from amanat.client.rules.base import Base
    from amanat.client.unit import Unit
    from amanat.protocol.messages import Kind

LARGE_GROUP = 64
"""Above this many people a message goes once into the epoch drop instead of once to every bucket.
This is cheaper, but the relay sees that a busy drop exists."""
RECEIPT_GROUP = 20
"""Above this many people nobody sends receipts, because each would cost everyone a cell."""
LOOK_EVERY_MS = 10 * 60_000
"""How often we look into an epoch drop without a notice, in case the notice was withheld."""
MAX_CLOCK_STEP = 2**20
"""The most by which one message moves our Lamport clock, so that a member who claims the end of
time cannot use it up."""


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


class Roster:
    """The conversations of one vault as they are now."""

    def __init__(self, base: Base) -> None:
        self._engine = base.engine
        self._me = base.me
        self._read = base.read
        self._holding = base.holding
        self._recalled = base.recalled
        self._groups: dict[bytes, Group] = {}
        base.vault.bind(forget=self._groups.clear)

    def group(self, gid: bytes) -> Group:
        """The group as of its current epoch. Raises UnknownConversation."""
        if gid not in self._groups:
            if self.state(gid) is None:
                raise UnknownConversation
            view, members = self._recalled.group(gid) or (
                self._engine.group(gid),
                self._engine.members(gid),
            )
            self._groups[gid] = Group(
                view, decode_policy(view.policy or b""), rights.read_members(members)
            )
        return self._groups[gid]

    def forget_group(self, gid: bytes) -> None:
        """Forget a group that has changed, so that it is read again."""
        self._groups.pop(gid, None)

    def known_group(self, gid: bytes) -> Group | None:
        """The group, if we have looked at it since it last changed."""
        return self._groups.get(gid)

    def state(self, gid: bytes) -> State | None:
        """Our state in a conversation; None if we never were in it."""
        row = self._read.execute("SELECT state FROM conversation WHERE gid = ?", (gid,)).fetchone()
        return State(row[0]) if row else None

    def is_active(self, gid: bytes) -> bool:
        """Whether we are a member and mean to stay."""
        return self.state(gid) is State.ACTIVE

    def require_active(self, gid: bytes) -> None:
        """Raises NotAMember, OutOfStep if we have to join again, or ProfileReplaced."""
        state = self.state(gid)
        if state is State.ASTRAY:
            raise OutOfStep
        if state is State.REPLACED:
            raise ProfileReplaced
        if state is not State.ACTIVE:
            raise NotAMember

    def reads_drops(self, gid: bytes) -> bool:
        """Whether we read the epoch drops of a conversation."""
        state = self.state(gid)
        return state is not None and state.reads_drops

    def is_followed(self, gid: bytes) -> bool:
        """Whether we are a member, even one who is leaving."""
        state = self.state(gid)
        return state is not None and state.is_member

    def others(self, group: Group) -> list[Peer]:
        """The leaves of a group other than this device, with their present addresses."""
        told: dict[bytes, bytes] = dict(
            self._read.execute("SELECT identity, addresses FROM new_address").fetchall()
        )
        return [
            Peer(
                p.identity,
                p.credential.delivery,
                p.signer,
                decode_new_addresses(told[p.identity]).addresses
                if p.identity in told
                else p.leaf.addresses,
            )
            for p in group.people
            if p.signer != self._me.signer
        ]

    def require(self, gid: bytes, deed: Deed, whom: bytes | None = None) -> Group:
        """The group, if we may do this deed in it. Raises NotAdmin, or like `require_active`."""
        self.require_active(gid)
        group = self.group(gid)
        if not rights.may(group.policy, group.people, self._me.identity, deed, whom):
            raise NotAdmin
        return group

    def may_say(self, gid: bytes, identity: bytes, kind: Kind) -> bool:
        """Whether a member has the right that a kind of envelope needs. The history judges the
        rights of authors."""
        match KINDS[kind].right:
            case Right.NONE | Right.AUTHOR:
                return True
            case Right.RENAME:
                group = self.group(gid)
                may_rename = rights.may(group.policy, group.people, identity, Deed.RENAME)
                return bool(group.policy.direct) or may_rename
            case right:
                assert_never(right)

    def is_heard(self, gid: bytes, kind: Kind) -> bool:
        """Whether we listen to a kind of envelope in this conversation; otherwise we ignore it."""
        match KINDS[kind].scope:
            case Scope.EVERYWHERE:
                return True
            case Scope.DIRECT:
                return bool(self.group(gid).policy.direct)
            case Scope.LARGE:
                return self.group(gid).is_large
            case scope:
                assert_never(scope)

    def has_receipts(self, gid: bytes) -> bool:
        """Whether members confirm each other's messages."""
        return len(self.group(gid).identities) <= RECEIPT_GROUP

    def clock(self, gid: bytes) -> int:
        """The Lamport clock of a conversation: the highest value heard or sent."""
        row = self._read.execute("SELECT clock FROM conversation WHERE gid = ?", (gid,)).fetchone()
        return int(row[0])

    def move_clock(self, unit: Unit, gid: bytes, clock: int) -> None:
        """Move the Lamport clock on to an envelope's value, by MAX_CLOCK_STEP at most, so that
        nobody can use it up by claiming the end of time."""
        clock = min(clock, self.clock(gid) + MAX_CLOCK_STEP)
        unit.db.execute("UPDATE conversation SET clock = max(clock, ?) WHERE gid = ?", (clock, gid))

    def note_generations(self, unit: Unit, people: Iterable[rights.Person]) -> None:
        """Keep the highest generation of these people's devices that we have seen."""
        for person in people:
            if person.credential.generation > FIRST_GENERATION:
                unit.db.execute(
                    "INSERT INTO newest VALUES (?1, ?2)"
                    " ON CONFLICT DO UPDATE SET generation = max(generation, ?2)",
                    (person.identity, person.credential.generation),
                )

    def newest_generation(self, identity: bytes) -> int:
        """The highest generation of somebody's devices that we have seen in any conversation."""
        row = self._read.execute(
            "SELECT generation FROM newest WHERE identity = ?", (identity,)
        ).fetchone()
        return int(row[0]) if row else FIRST_GENERATION

    def is_replaced(self) -> bool:
        """Whether this profile was restored elsewhere, and the restored one is in a conversation of
        ours."""
        return self.newest_generation(self._me.identity) > self._me.generation

    def added_by(self, gid: bytes) -> bytes:
        """The identity of the person who added us to a group; empty if nobody has."""
        row = self._read.execute(
            "SELECT added_by FROM conversation WHERE gid = ?", (gid,)
        ).fetchone()
        return bytes(row[0])

    def is_contact(self, identity: bytes) -> bool:
        """Whether somebody is a contact."""
        row = self._read.execute("SELECT 1 FROM contact WHERE identity = ?", (identity,))
        return row.fetchone() is not None

    def is_parting(self, gid: bytes) -> bool:
        """Whether somebody has said that they leave, and no Commit has let them go yet."""
        row = self._read.execute("SELECT 1 FROM intent WHERE gid = ? AND kind = 'let-go'", (gid,))
        return row.fetchone() is not None

    def direct_with(self, identity: bytes) -> bytes:
        """The gid of the 1:1 conversation with a contact. Raises UnknownConversation."""
        row = self._read.execute(
            "SELECT conversation FROM contact WHERE identity = ?", (identity,)
        ).fetchone()
        if row is None:
            raise UnknownConversation
        return bytes(row[0])

    def has_heard(self, identity: bytes) -> bool:
        """Whether a contact has ever sent anything, even a receipt, in our 1:1 conversation."""
        return self.has_heard_in(self.direct_with(identity), identity)

    def has_heard_in(self, gid: bytes, identity: bytes) -> bool:
        """Whether somebody has ever sent anything in a conversation."""
        return any(p.identity == identity for p in self.group(gid).people) and bool(
            self._read.execute(
                "SELECT 1 FROM heard WHERE gid = ?1 AND identity = ?2 AND (upto > 0 OR EXISTS"
                " (SELECT 1 FROM ahead WHERE ahead.gid = ?1 AND ahead.signer = heard.signer))",
                (gid, identity),
            ).fetchone()
        )

    def has_begun(self, identity: bytes) -> bool:
        """Whether we began our 1:1 conversation with a contact."""
        people = self.group(self.direct_with(identity)).people
        return min(people).identity == self._me.identity

    def relay_of_somebody(self) -> bytes:
        """The key of a random contact's relay; empty if there are no contacts."""
        row = self._read.execute(
            "SELECT conversation FROM contact ORDER BY random() LIMIT 1"
        ).fetchone()
        peers = self.others(self.group(row[0])) if row and self.state(row[0]) else []
        return peers[0].addresses[0].relay.key if peers else b""

    def devices(self, gid: bytes) -> dict[bytes, list[bytes]]:
        """The signature keys of the other people in a conversation, by identity."""
        found: dict[bytes, list[bytes]] = {}
        for person in self.group(gid).people:
            if person.identity != self._me.identity:
                found.setdefault(person.identity, []).append(person.signer)
        return found

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
        """The epochs that we were in, the latest first."""
        view = self.group(gid).view
        rows = self._read.execute(
            "SELECT number, state FROM epoch WHERE gid = ? AND number < ? ORDER BY number DESC",
            (gid, view.epoch),
        ).fetchall()
        return [Epoch(view.epoch, view.state[:8]), *(Epoch(*row) for row in rows)]

    def look_soon(self, unit: Unit, gid: bytes, *, at: int) -> None:
        """Schedule a look into the epoch drops at this time, because they hold, or will hold,
        something for us."""
        unit.db.execute("UPDATE conversation SET look_due_at = ? WHERE gid = ?", (at, gid))

    def person_of(self, key_package: bytes, *, now: int) -> rights.Person:
        """The person whose KeyPackage this is. Raises InvalidKeyPackage or InvalidCredential.

        One of an earlier generation than we have seen of them is not valid, because no rule keeps
        its device out of a group in which they have no leaf.
        """
        view = mls.check_key_package(key_package, now=now // 1000)
        person = rights.read_member(0, view.credential, view.signer, view.leaf)
        if person.credential.generation < self.newest_generation(person.identity):
            raise InvalidKeyPackage
        return person

    def _resting(self, group: Group) -> list[set[str]]:
        """The regions in which our words would rest: one set for each peer, or one for all of a
        large group."""
        if group.is_large:
            return [{group.policy.region}]
        return [{address.region for address in peer.addresses} for peer in self.others(group)]

    def outbound_regions(self, gid: bytes) -> list[str]:
        """The regions in which our words in a conversation rest, or may rest: those of the others'
        homes and fallbacks, or of a large group itself. Words that we hold rest in our own."""
        group = self.group(gid)
        found = set()
        for regions in self._resting(group):
            is_held = self._holding.is_kept_from(regions)
            found |= {self._me.home.region} if is_held else regions
        return sorted(found)

    def is_held(self, gid: bytes) -> bool:
        """Whether we hold any of our words in a conversation, so that others fetch them."""
        return any(map(self._holding.is_kept_from, self._resting(self.group(gid))))


_new_addresses = codec.decoder_of(NewAddresses)


def decode_new_addresses(data: bytes) -> NewAddresses:
    """Decode the addresses at which a person says that they are reached. Raises InvalidMessage."""
    return codec.decode(_new_addresses, data, InvalidMessage)


def one_each(peers: Sequence[Peer]) -> list[Peer]:
    """One peer for each person, because all devices of a person read the same bucket."""
    return list({peer.identity: peer for peer in peers}.values())
