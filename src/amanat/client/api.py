"""The SDK: a person's client, as programs use it.

    async with Client.open(directory, Unlock(passphrase="...")) as client:
        print(client.invite())
        async for event in client.events():
            ...

The shell around the rules: it owns the clock, the tasks and the links. Every change is one unit of
work of the vault (`_unit`); what a unit put into the outbox leaves only after it has committed.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import unicodedata
import weakref
from typing import TYPE_CHECKING, NamedTuple, Self, TypeVar, assert_never

from msgspec import structs

from amanat import mls
from amanat.client import profile, rights, search, vault
from amanat.client.claims import SUSPENSE_MS
from amanat.client.cover import delay_s
from amanat.client.desk import Desk
from amanat.client.events import Event, PersonChanged, StateChanged, StatusChanged, SummaryChanged
from amanat.client.feed import Feed
from amanat.client.fetching import Fetch
from amanat.client.holding import DEPOSIT, HOLD
from amanat.client.invite import ASIDE_MS, LIFE_S, from_link, to_link
from amanat.client.pace import Pace
from amanat.client.parts import Parts, assemble, store_delta
from amanat.client.people import Known, Names, People
from amanat.client.places import Places
from amanat.client.routes import AUTO, OFF, TRANSPORTS, Proposed, Routes, inquire, meet
from amanat.client.rules import joining, roster
from amanat.client.rules.asking import ASK_MS
from amanat.client.rules.chains import (
    FromClaim,
    FromHelper,
    FromInvite,
    FromKnock,
    FromLost,
)
from amanat.client.rules.joining import AnnouncedWelcome
from amanat.client.rules.posting import MAX_SKIPPED
from amanat.client.rules.rejoining import Try
from amanat.client.surroundings import MACHINE, Surroundings
from amanat.client.transcript import Transcript
from amanat.client.views import Found, Message, Quote, Stretch, Summary
from amanat.errors import (
    AmbiguousName,
    BadArgument,
    DiskFull,
    HopRefused,
    InviteUsed,
    LabelTaken,
    LedgerRewritten,
    MoveAnnounced,
    MovedAway,
    NoAccess,
    NoHop,
    NoSuchDrop,
    NotAMember,
    NotInLedger,
    PeerError,
    RegionNotAllowed,
    RegionsDiffer,
    RelayKeyChanged,
    RelayLied,
    RelayUnreachable,
    TrustError,
    Unavailable,
    UnexpectedReply,
    UnknownContact,
    UnknownConversation,
    UsageError,
)
from amanat.link import AT_ONCE, RETRY_S, connect
from amanat.protocol import wire
from amanat.protocol.descriptor import open_descriptor, parse_address
from amanat.protocol.drops import check_region, derive_bucket
from amanat.protocol.identity import check_name, safety_number
from amanat.protocol.messages import FileRef
from amanat.protocol.moving import open_order
from amanat.protocol.rounds import PERIODS_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Sequence
    from pathlib import Path

    from amanat.client.desk import Line
    from amanat.client.holding import HeldDrop
    from amanat.client.profile import Home
    from amanat.client.routes import Where
    from amanat.client.rules.outbox import Purpose
    from amanat.client.transcript import Entry, Scroll
    from amanat.client.unit import Unit
    from amanat.client.vault import Unlock, Vault
    from amanat.link import Link
    from amanat.protocol.descriptor import NamedAddress, RelayAddress
    from amanat.protocol.drops import Drop
    from amanat.protocol.places import Place

CELLS_PER_UNIT = 64
"""Cells of a drop taken in one unit of work: one fsync for many, and no long stop of the loop."""
TICK_S = 1.0
"""How often what is due at a time (receipts, looks, retries) is looked for, in seconds."""
LEDGER_S = (60, 3600)
"""When the ledgers of our relays are looked at: so long after the start, then as often as they are
signed, in seconds."""
RETRY_MS = (1_000, 300_000)
"""First and longest pause before an outbox row that was refused goes out again, in milliseconds."""
LARGE_WAIT_S = 20
"""How long a member of a large group waits at its epoch drop at a time, in seconds; between two
waits it looks whether something else is due."""
FAIL_OVER_MS = 20_000
"""How long a relay may be away before what waits for it goes to the recipients' other addresses."""
WRITE_EVERY_MS = 5_000
"""How often it is written how far other people's cells were read: what is not is read again."""
EXPIRE_EVERY_MS = 3_600_000
"""How often what was kept long enough is looked for."""
PATIENCE_S = 5.0
"""Longest `caught_up` waits for a Welcome whose file is not there, in seconds: a contact can
announce one that never comes."""
FORMER_WAIT_S = 3.0
"""Longest `caught_up` waits for the relay of a home that was left, in seconds: it may never answer
again."""

FETCH_MS = (1_000, 30_000)
"""After what pause a drop is read again in which a held word did not come, at first and at most:
well within the time in which it is not asked for again (holding.PATIENCE_MS)."""
MAX_FETCHES = 16
"""Drops of held words that are read at once: a contact can name as many as they like."""
ENDED_TRIES = 3
"""After so many tries an epoch drop that we had made is taken to have ended, and made again: a
relay forgets those that nobody has used for long."""
_MAY_GO = (
    "(row.purpose IN ('claim', 'question') OR NOT (?2 OR EXISTS (SELECT 1 FROM outbox AS claim"
    " WHERE claim.purpose = 'claim' AND claim.tries = 0)))"
    " AND NOT (row.purpose = 'cell' AND EXISTS (SELECT 1 FROM outbox AS reply"
    " WHERE reply.purpose = 'reply' AND reply.about = row.about))"
    " AND NOT (row.purpose = 'file' AND EXISTS (SELECT 1 FROM outbox AS made"
    " WHERE made.purpose = 'create' AND made.about = row.about))"
)
"""Nothing is said in a 1:1 conversation before the relay has the Welcome into it: who joins finds
all of it behind the Welcome in their bucket. And nothing is said at all before it is clear
whether another copy of this vault has said something else under the same keys, if that can be
known; or, with `?2`, while we wait to know it."""

T = TypeVar("T")


class Contact(NamedTuple):
    """A person we can write to. `id` is 8 hex digits for where a name is ambiguous."""

    id: str
    name: str
    identity: bytes
    conversation: bytes
    is_verified: bool
    is_blocked: bool


class OpenInvite(NamedTuple):
    """An invite that can still be used. `id` is 8 hex digits; times are Unix milliseconds. On one
    that `is_lost` nobody can knock: all relays it names are gone."""

    id: str
    made_at: int
    expires_at: int
    is_lost: bool


class UnprovenView(NamedTuple):
    """A state of a group that a contact helps with, and what differs from the last one we know.

    `helper` helps with it and `signer` has signed it. All else is names of people, and the group's,
    if it is another.
    """

    helper: str
    signer: str
    came: list[str]
    went: list[str]
    admins: list[str]
    no_admins: list[str]
    name: str | None


class ConversationView(NamedTuple):
    """A conversation as a person sees it. `people` are names.

    What is said to us rests in `inbound_region`, what we say in `outbound_regions`, and who is in
    it is decided in `region`, at `relay`. `outbound` is "hold" where something of what we say rests
    at our own home and is fetched, else "deposit": it rests where the others are at home;
    `outbound_why` says why. `held_by` are those who hold what they say: that rests at their home.
    """

    id: str
    gid: bytes
    name: str
    is_direct: bool
    state: str
    people: list[str]
    admins: list[str]
    roles: dict[str, str]
    region: str
    inbound_region: str
    outbound_regions: list[str]
    outbound: str
    outbound_why: str
    held_by: list[str]
    relay: str
    epoch: int
    suite: int
    timer: int
    """The life of new texts, in seconds; 0: for ever."""
    hidden: int
    """How many texts of people we have blocked were not kept."""
    added_by: str
    """Who has added us to a group; empty if nobody has."""

    @property
    def is_live(self) -> bool:
        """Whether we are a member, and mean to stay."""
        return self.state == "active"


class GroupOffer(NamedTuple):
    """A group that a contact asks us into. `name` is what they call it, `by_name` what we call
    them, `id` 8 hex digits; times are Unix milliseconds."""

    id: str
    gid: bytes
    by: bytes
    name: str
    by_name: str
    asked_at: int
    expires_at: int


class Missing(NamedTuple):
    """Messages of somebody that exist and have not arrived; they were or will be asked for."""

    conversation: str
    sender: str
    many: int


class Former(NamedTuple):
    """A home that was left and is still read, for those who do not know yet. `left_at` is in Unix
    milliseconds."""

    relay: str
    region: str
    left_at: int
    is_away: bool


class Announced(NamedTuple):
    """A move that a relay of ours has announced. Days are UTC days since 1970; who has left by
    `decide_by` has nothing left there when it begins on day `on`."""

    relay: str
    to: str
    region: str
    on: int
    decide_by: int
    reason: str
    is_allowed: bool


class WarningView(NamedTuple):
    """Something the person has to know of, and how many times it was so since they have seen it,
    the last time `at` (Unix milliseconds).

    `conversation` is its name, `whom` what the person or the relay is called whom it is about;
    both are empty where there is none.
    """

    at: int
    code: str
    detail: str
    conversation: str
    whom: str
    many: int


class Status(NamedTuple):
    """Where things stand. `away` are the relays that cannot be reached just now; `place` and
    `fallback_place` where ours are reached, nothing where they are not, or by way of a hop only.

    `operator` is who runs a relay, as it says: the law it is under is that of its region.
    `allowed_regions` is None where any will do. `outbound` is "hold" where what we say to people of
    other regions rests at our home and is fetched there, else "deposit"; `outbound_by` says who
    wants it held, "person" or "relay", else nothing. `unaware` are people who were told where we
    are and have not been seen to know; `left_behind` the conversations whose changes of members are
    decided at a relay we have left. `lost_invites` tells when the open invites were made on which
    nobody can knock, for all relays they name are gone; `lost_knocks` whose answer to our knock
    cannot reach us.

    `transport` is "direct", "hopped" or "covered", for the home relay; `means` says what that is,
    `hop` is the hop, `why` the reason if there is none; while `is_hop_away` requests wait. `period`
    is how often a cell leaves, in seconds, 0 where they leave at once. `exposed` are the own relays
    that see the network address just now all the same.
    """

    name: str
    identity: str
    relay: str
    place: str
    region: str
    operator: str
    fallback: str
    fallback_place: str
    fallback_region: str
    fallback_operator: str
    allowed_regions: list[str] | None
    outbound: str
    outbound_by: str
    moves: list[Announced]
    is_strict: bool
    former: list[Former]
    unaware: list[str]
    left_behind: list[str]
    lost_invites: list[int]
    lost_knocks: list[str]
    away: list[str]
    transport: str
    means: str
    hop: str
    is_hop_away: bool
    why: str
    period: int
    exposed: list[str]
    missing: list[Missing]
    outbox: int
    contacts: int
    conversations: int
    warnings: list[WarningView]


class CoverCost(NamedTuple):
    """What being covered takes: bytes of frames in a day, and seconds until a word is read."""

    up_bytes: int
    down_bytes: int
    usual_s: float
    longest_s: float


class _Row(NamedTuple):
    """A row of the outbox."""

    id: int
    relay: bytes
    request: bytes
    purpose: Purpose
    tries: int
    about: bytes
    recipient: bytes | None


class _Lane(NamedTuple):
    """What is sent to a relay in its order: files by themselves, so that nothing else waits behind
    them."""

    relay: bytes
    is_file: bool


class _Held(NamedTuple):
    """The task that reads a drop of held words."""

    drop_id: bytes


class _Later(NamedTuple):
    """When something is done again, and after what pause; in Unix milliseconds, milliseconds."""

    due_at: int
    pause_ms: int


class Client:
    """An open profile. Use as an async context manager, or call `start` and `close`."""

    def __init__(self, parts: Parts, around: Surroundings = MACHINE) -> None:
        self._vault = parts.vault
        self._read = parts.vault.read
        self._now = around.now
        self._around = around
        self._engine = parts.engine
        self._me = parts.me
        self._places = parts.places
        self._outbox = parts.outbox
        self._cursors = parts.cursors
        self._chains = parts.chains
        self._conversations = parts.conversations
        self._history = self._conversations.history
        self._transcript = Transcript(parts.vault, self._me.identity)
        self._search = search.Search(parts.vault)
        self._desk = Desk(parts.vault, self._me.identity)
        self._people = People(parts.vault, self._me.identity, self._me.name)
        self._ledgers = parts.ledgers
        self._invites = parts.invites
        self._comebacks = parts.conversations.comebacks
        self._asking = parts.conversations.asking
        self._helping = parts.conversations.helping
        self._rejoining = parts.conversations.rejoining
        self._routes = Routes(
            self._me.homes,
            profile.read_hop(parts.vault),
            _Where(self),
            period_s=profile.read_period(parts.vault),
            somebody=self._conversations.roster.relay_of_somebody,
            clock=lambda: self._now() / 1000,
            allows=self._allows,
            learn=self._learn_move,
        )
        self._moves = parts.moves
        self._routes.moved |= self._moves.destinations(now=self._now())
        self._tasks: dict[object, asyncio.Task[None]] = {}
        # Who no longer holds what `events` gave them is not told any more.
        self._subscribers: weakref.WeakSet[Feed[Event]] = weakref.WeakSet()
        self._failure: BaseException | None = None
        self._changed = asyncio.Event()
        self._outbox_changed: dict[_Lane, asyncio.Event] = {}
        self._home_read = asyncio.Event()
        self._looking: set[bytes] = set()
        self._put_off: set[bytes] = set()
        self._held_due: dict[bytes, _Later] = {}
        """When drops in which held words did not come are read again."""
        self._latest = 0
        self._expire_at = 0
        self._write_at = 0
        self._suspense_until = 0
        """Until then what we say waits for a claim to come back to us; in Unix milliseconds."""
        self._down_since: dict[bytes, int] = {}
        self._buckets: dict[bytes, str] = {}
        self._strangers: set[tuple[bytes, Place]] = set()
        """Where other keys than a relay's answer, as the person was told."""

    # Life

    @classmethod
    async def create(
        cls,
        directory: Path,
        unlock: Unlock,
        *,
        name: str,
        relay: str,
        access: bytes = b"",
        fallback: str = "",
        fallback_access: bytes = b"",
        around: Surroundings = MACHINE,
    ) -> Self:
        """Make a new person in `directory`, at home on a relay, and open the profile.

        `relay` is an address such as `amanat://HOST:PORT/#KEY`, `access` the relay's access code if
        it has one; `fallback` is another relay, where they can be reached while the first is away.
        Raises BadArgument, BrokenAddress, ProfileExists, RelayUnreachable, RelayKeyChanged,
        BrokenDescriptor or NoAccess; nothing is left behind then.
        """
        name = check_name(name)
        first = parse_address(relay)
        other = parse_address(fallback) if fallback else None
        homes = await _move_into(first, access, other, fallback_access, around)
        home, second = homes[0], homes[1] if fallback else None

        def fill(unit: Unit, new: Vault) -> None:
            engine = mls.Engine(lambda _key: None)
            places = Places(new)
            home.begin(unit, places)
            profile.write(unit, engine, name=name, home=home.home)
            if second is not None:
                second.begin(unit, places)
                profile.write_home(unit, "fallback", second.home)
            store_delta(unit, engine)

        vault.create(directory, unlock, fill, now=around.now(), driver=around.driver)
        return cls.open(directory, unlock, around)

    @classmethod
    def open(cls, directory: Path, unlock: Unlock, around: Surroundings = MACHINE) -> Self:
        """Open a profile; nothing is sent or read before `start`.

        Raises NoProfile, ProfileInUse, WrongPassphrase, VaultTooNew, VaultTooOld or VaultDamaged.
        """
        opened = vault.open_vault(directory, unlock, around.driver)
        try:
            with vault.naming_faults(directory):
                return cls(assemble(opened), around)
        except BaseException:
            opened.close()
            raise

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def start(self) -> None:
        """Begin to send and to read, in the background."""
        self._begin_clock(self._now())
        with self._unit() as unit:
            self._conversations.claims.begin(unit)
        self._read_buckets()
        self._spawn("ticks", self._tick())
        self._spawn("survey", self._survey_once())
        self._spawn("ledgers", self._watch_ledgers())
        self._begin_cover()
        self._begin_following()

    def _read_buckets(self) -> None:
        for home in self._me.buckets:
            if ("bucket", home.bucket.drop_id) not in self._tasks:
                self._spawn(("bucket", home.bucket.drop_id), self._read_bucket(home))

    async def stop(self) -> None:
        """Do nothing more: what is under way is broken off, and nothing is written or sent."""
        self._routes.close()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        """Stop, and let other processes have the profile. What was not sent stays to be sent."""
        await self.stop()
        if self._failure is None and self._cursors.has_passed:
            with self._vault.unit(now=self._now()):
                pass  # writes how far other people's cells were read
        self._vault.close()
        for feed in self._subscribers:
            feed.end()

    def events(self) -> AsyncIterator[Event]:
        """What happens from this call on. Ends when the client is closed.

        Whoever does not take what happens loses it: after feed.MAX_EVENTS that nobody took, it
        raises Overrun, and the program reads anew what it shows. Raises what stopped the client, if
        anything did.
        """
        feed: Feed[Event] = Feed()
        self._subscribers.add(feed)
        return self._drain(feed)

    async def _drain(self, feed: Feed[Event]) -> AsyncIterator[Event]:
        while (event := await feed.get()) is not None:
            yield event
        self._raise_failure()

    async def flushed(self) -> None:
        """Wait until every relay has taken or refused what is due, and no Commit is undecided.

        What a relay has refused for now stays to be sent; `status().outbox` counts it.
        """
        while self._is_waiting():
            await self.changed()

    def _is_waiting(self) -> bool:
        """Whether something is on its way, but to a relay that we have left and that is away."""
        away = {home.relay for home in self._me.former if self._is_away(home)}
        gone = self._relays_left() & (away | set(self._down_since))
        rows = self._read.execute("SELECT DISTINCT relay FROM outbox WHERE tries = 0").fetchall()
        tried = self._read.execute("SELECT gid FROM attempt").fetchall()
        relays = {row[0] for row in rows}
        relays |= {self._conversations.roster.group(gid).policy.relay.key for (gid,) in tried}
        return bool(relays - gone)

    @property
    def is_caught_up(self) -> bool:
        """Whether the own bucket has been read to its end since the client was started."""
        return self._home_read.is_set()

    async def caught_up(self) -> None:
        """Wait until the own bucket, and what it points to, has been read to its end once; where
        requests are covered, what it points to takes its time."""
        await self._home_read.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FORMER_WAIT_S):
                await self.heard_of_former()
        if self._routes.period_s:
            return
        while (
            self._looking
            or self._read.execute(
                "SELECT 1 FROM conversation WHERE look_due_at <= ?"
                " AND state IN ('active', 'leaving')"
                " UNION ALL SELECT 1 FROM meta WHERE key = 'again'",
                (self._now(),),
            ).fetchone()
            or {
                *(one.file.digest for one in self._conversations.joining.awaited()),
                *self._conversations.holding.places(),
            }
            - self._put_off
        ):
            await self.changed()

    async def heard_of_former(self) -> None:
        """Wait until of every home that was left the bucket is read, or its relay known to be
        away."""
        while any(home.bucket.drop_id not in self._buckets for home in self._me.former):
            await self.changed()

    # People

    def invite(self, life_s: int = LIFE_S) -> str:
        """The link of a new invite, good for one person and for so many seconds; no server is
        asked. Raises BadArgument."""
        with self._unit() as unit:
            return to_link(self._invites.make(unit, life_s))

    def invites(self) -> list[OpenInvite]:
        """The invites that can still be used, the oldest first."""
        known = self._conversations.whereabouts
        lost = set(known.lost_invites(self._reached()))
        return [
            OpenInvite(one.id, one.made_at, one.expires_at, is_lost=one.secret in lost)
            for one in self._invites.open(now=self._now())
        ]

    def withdraw_invite(self, invite: str) -> None:
        """Let nobody use an invite any more, by its id. Raises UnknownInvite or AmbiguousName."""
        with self._unit() as unit:
            self._invites.withdraw(unit, invite)

    def accept(self, link: str, greeting: str = "") -> str:
        """Knock on an invite; the name of the inviter. The contact exists once they answered.

        Raises BrokenInvite, OwnInvite, InviteExpired, InviteUsed (by ourselves, earlier) or
        BadArgument.
        """
        invite = from_link(link)
        with self._unit() as unit:
            self._invites.knock(unit, invite, greeting)
        return invite.name

    def contacts(self) -> list[Contact]:
        """Everyone we can write to, by name."""
        rows = self._read.execute(
            "SELECT name, identity, conversation, verified, blocked FROM contact ORDER BY name"
        ).fetchall()
        return [
            Contact(vault.fingerprint(identity), name, identity, gid, bool(verified), bool(blocked))
            for name, identity, gid, verified, blocked in rows
        ]

    def contact(self, name: str) -> Contact:
        """The contact of an id, or of a name that is no id. Raises UnknownContact or
        AmbiguousName."""
        contacts, wanted = self.contacts(), _typed(name)
        found = [c for c in contacts if c.id == wanted]
        return _pick(
            found or [c for c in contacts if _typed(c.name) == wanted], name, UnknownContact
        )

    def safety_number(self, name: str) -> str:
        """The number to compare with a contact. Raises UnknownContact or AmbiguousName."""
        return safety_number(self._me.identity, self.contact(name).identity)

    def set_verified(self, name: str, *, is_verified: bool = True) -> None:
        """Keep that the safety number was compared. Raises UnknownContact or AmbiguousName."""
        identity = self.contact(name).identity
        with self._unit() as unit:
            unit.db.execute(
                "UPDATE contact SET verified = ? WHERE identity = ?", (is_verified, identity)
            )
            unit.events.append(PersonChanged(identity))

    def block(self, name: str) -> None:
        """Keep and show nothing more of what a contact says, in groups neither, and tell them
        nothing: no receipts, no way into a group. Raises UnknownContact or AmbiguousName."""
        self._set_blocked(name, is_blocked=True)

    def unblock(self, name: str) -> None:
        """Hear a contact again from now on. Raises UnknownContact or AmbiguousName."""
        self._set_blocked(name, is_blocked=False)

    def _set_blocked(self, name: str, *, is_blocked: bool) -> None:
        identity = self.contact(name).identity
        with self._unit() as unit:
            if is_blocked:
                self._conversations.wishes.block(unit, identity)
            else:
                self._history.set_blocked(unit, identity, is_blocked=False)
                self._conversations.addresses.tell_unblocked(unit, identity)
            unit.events.append(PersonChanged(identity))

    async def set_fallback(
        self, relay: str, access: bytes = b"", *, is_strict: bool | None = None
    ) -> None:
        """Be reached at a second relay while the first is away; at none, with an empty `relay`.

        Everybody we talk with is told; until they know, they use the address they have, and the
        bucket they know is read. Raises BadArgument, BrokenAddress, RelayUnreachable,
        RelayKeyChanged, BrokenDescriptor, NoAccess, RegionNotAllowed or RegionsDiffer.
        """
        await self._set_fallback(
            parse_address(relay) if relay else None, access, is_named=True, is_strict=is_strict
        )

    async def _set_fallback(
        self,
        relay: RelayAddress | None,
        access: bytes,
        *,
        is_named: bool,
        is_strict: bool | None = None,
    ) -> None:
        home, new = self._me.home, None
        is_hop = home.is_hop
        if relay is not None:
            _check_fallback(home.relay, relay.key)
            where = Proposed(relay, is_named=is_named, behind=_Where(self))
            new, is_hop = await _draw(where, relay.key, access, home.relay)
        await self._move({"fallback": new}, {home.relay: is_hop}, is_strict=is_strict)

    async def exit(
        self,
        relay: str,
        access: bytes = b"",
        *,
        fallback: str | None = None,
        fallback_access: bytes = b"",
        is_strict: bool | None = None,
    ) -> None:
        """Be at home at another relay; the one that is left is not asked for anything.

        `fallback` is where else we are reached then: None for the fallback we have (if it is
        another relay than the new home), empty for none, or the address of a relay. Everybody we
        talk with is told, and the buckets they know are read until they have been seen to know
        (`status().unaware`), and 14 days at least.

        Raises BadArgument, BrokenAddress, RelayUnreachable, RelayKeyChanged, BrokenDescriptor,
        NoAccess, RegionNotAllowed or RegionsDiffer; everything is as before then.
        """
        await self._exit(
            parse_address(relay),
            access,
            fallback=fallback,
            fallback_access=fallback_access,
            is_named=True,
            is_strict=is_strict,
        )

    async def _exit(
        self,
        relay: RelayAddress,
        access: bytes,
        *,
        fallback: str | None = None,
        fallback_access: bytes = b"",
        is_named: bool,
        is_strict: bool | None = None,
    ) -> None:
        if relay.key == self._me.home.relay:
            raise BadArgument(
                "this is the home relay already; say where it is now with `amanat home ADDRESS`"
            )
        stays = [home for home in self._me.homes[1:] if home.relay != relay.key]
        where = Proposed(relay, is_named=is_named, behind=_Where(self))
        beside = b"".join(home.relay for home in stays)
        if fallback is not None:
            stays, beside = [], b""
        if fallback:
            other = parse_address(fallback)
            beside, where = other.key, Proposed(other, is_named=True, behind=where)
        if beside:
            _check_fallback(relay.key, beside)
        try:
            home, is_hop = await _draw(where, relay.key, access, beside, self._routes.setting)
            second = None
            if beside and not stays:
                second, _ = await _draw(where, beside, fallback_access, relay.key)
        except RelayUnreachable as error:
            if not beside:
                raise
            detail = f"{error.detail}; it, or the fallback, which can be another or none"
            raise type(error)(detail, retry_after=error.retry_after) from None
        new: dict[str, _NewHome | None] = {"home": home}
        if not stays:
            new["fallback"] = second
        await self._move(new, {stay.relay: is_hop for stay in stays}, is_strict=is_strict)

    def is_home(self, relay: str) -> bool:
        """Whether an address is of our home relay, wherever it says that this is. Raises
        BrokenAddress."""
        return parse_address(relay).key == self._me.home.relay

    async def set_place(self, relay: str) -> bool:
        """Say where a relay is, one of ours or of somebody else: it is looked for there first from
        now on, on a private network, too. Whether it was found.

        It is asked at once for its own word on where it is, by the way it is asked for everything.
        What it says is passed on to everybody we talk with if it is a relay of ours. Raises
        BrokenAddress, or BrokenDescriptor or RelayKeyChanged if another relay answers; nothing is
        kept then.
        """
        address, is_found = parse_address(relay), False
        if self._routes.may_be_met(address.key):
            with contextlib.suppress(Unavailable):
                link = await connect(address, self._around.network)
                link.close()
        with self._unit() as unit:
            self._places.name(unit, address)
        self._routes.look_again(address.key)
        with contextlib.suppress(Unavailable):
            is_found = await self._routes.ask_where(address.key)
        self._tell_news(self._now(), is_asked=True)
        return is_found

    async def _move(
        self,
        new: dict[str, _NewHome | None],
        hops: dict[bytes, bool],
        *,
        is_strict: bool | None,
    ) -> None:
        """Have other homes from now on, and tell everybody. `hops` says of those that stay whether
        they hand requests to the other."""
        is_strict = self.is_strict if is_strict is None else is_strict
        self._check_regions(new, is_strict=is_strict)
        with self._unit() as unit:
            profile.set_strict(unit, is_strict=is_strict)
            self._change_homes(unit, new, hops)
        if "home" in new:
            self._home_read.clear()
        if self._routes.period_s:
            await self._go_another_way()
        if "ticks" in self._tasks:
            self._read_buckets()

    def _change_homes(
        self, unit: Unit, new: dict[str, _NewHome | None], hops: dict[bytes, bool]
    ) -> None:
        """What an exit does at once."""
        known = self._conversations.whereabouts
        before = self._me.homes[:]
        known.promised(unit, before)
        if "fallback" in new:
            profile.forget_fallback(unit)
        for what, home in new.items():
            if home is not None:
                home.begin(unit, self._places)
                profile.write_home(unit, what, home.home)
        for stays in before:
            if stays.relay in hops:
                profile.set_hop(unit, stays.relay, stays.operator, is_hop=hops[stays.relay])
        self._me.homes[:] = profile.read_homes(self._vault)
        drops = {home.bucket.drop_id for home in self._me.homes}
        known_drops = {home.bucket.drop_id for home in before}
        left = [home for home in before if home.bucket.drop_id not in drops]
        fresh = [home for home in self._me.homes if home.bucket.drop_id not in known_drops]
        known.move(unit, left, fresh)
        self._me.former[:] = profile.read_former(self._vault)
        self._chains.new_homes()
        if "home" in new:
            self._conversations.addresses.at_home(unit)
            # Whether another copy of this vault has spoken can be asked of the relay we have left
            # only: who exits does not wait for it.
            unit.db.execute(
                "DELETE FROM outbox WHERE purpose IN ('claim', 'question') AND relay = ?",
                (before[0].relay,),
            )
        self._conversations.addresses.tell_addresses(unit)
        self._conversations.wishes.bring_along(unit, self._relays_left())

    @property
    def allowed_regions(self) -> frozenset[str] | None:
        """The regions this person's data may rest in; None: any. Unless they have said: where they
        are at home now."""
        try:
            return profile.read_allowed(self._vault)
        except KeyError:
            return frozenset(home.region for home in self._me.homes)

    def set_allowed_regions(self, regions: Iterable[str] | None) -> None:
        """Say where own data may rest; None: anywhere. Raises BadArgument."""
        allowed = None if regions is None else frozenset(map(check_region, regions))
        if allowed is not None and not allowed:
            raise BadArgument("allow one region at least")
        with self._unit() as unit:
            profile.write_allowed(unit, allowed)
        self._begin_following()

    @property
    def is_strict(self) -> bool:
        """Whether home and fallback are to be in one region."""
        return profile.is_strict(self._vault)

    def set_strict(self, *, is_strict: bool) -> None:
        """Say whether home and fallback are to be in one region. Raises RegionsDiffer."""
        self._check_regions({}, is_strict=is_strict)
        with self._unit() as unit:
            profile.set_strict(unit, is_strict=is_strict)

    def _check_regions(self, new: dict[str, _NewHome | None], *, is_strict: bool) -> None:
        """Raises RegionNotAllowed or RegionsDiffer."""
        regions = dict(zip(("home", "fallback"), (h.region for h in self._me.homes), strict=False))
        for what, home in new.items():
            regions.pop(what, None)
            if home is None:
                continue
            region = regions[what] = home.home.region
            with contextlib.suppress(KeyError):
                allowed = profile.read_allowed(self._vault)
                if allowed is not None and region not in allowed:
                    raise RegionNotAllowed(region)
        if is_strict and len(set(regions.values())) > 1:
            raise RegionsDiffer(f"{regions['home']} and {regions['fallback']}")

    async def set_hop(self, hop: str) -> None:
        """How relays are asked: through an own relay where that helps ("auto"), directly ("off"),
        or through the relay with this address.

        Raises BrokenAddress, RelayUnreachable, RelayKeyChanged, BrokenDescriptor, or HopRefused if
        it does not go to the home relay.
        """
        setting, named = hop.encode(), None
        if setting == AUTO:
            await self._survey()
        elif setting != OFF:
            named = parse_address(hop)
            setting = named.key
            where = Proposed(named, is_named=True, behind=_Where(self))
            if not await _goes(where, named.key, self._me.home.relay):
                raise HopRefused(hop)
        with self._unit() as unit:
            if named is not None:
                self._places.name(unit, named)
            unit.put("hop", setting)
        self._routes.setting = setting
        await self._go_another_way()

    async def set_cover(self, period_s: int) -> None:
        """Have one cell leave in each period of 60 or 30 seconds, whatever is said; 0: when it is
        said.

        Raises BadArgument, or NoHop if the home relay is not reached through another.
        """
        if period_s not in (0, *PERIODS_S):
            raise BadArgument(f"a period is {' or '.join(map(str, PERIODS_S))} seconds")
        transport = self._routes.transport(self._me.home.relay)
        if period_s and not transport.hop:
            raise NoHop(transport.reason)
        with self._unit() as unit:
            unit.put("period", period_s.to_bytes(2, "big"))
        self._routes.period_s = period_s
        await self._go_another_way()

    def cover_cost(self) -> CoverCost:
        """What the cover in force takes; zeros where there is none."""
        period_s = self._routes.period_s
        delays = delay_s(period_s) if period_s else (0.0, 0.0)
        return CoverCost(*self._routes.cover_bytes(), *delays)

    def seconds_to_leave(self) -> float:
        """How long what waits now takes to leave at most, where it leaves in its turn; else 0."""
        period_s = self._routes.period_s
        (waiting,) = self._read.execute("SELECT count(*) FROM outbox").fetchone()
        return delay_s(period_s)[1] + period_s * (waiting - 1) if period_s and waiting else 0.0

    def set_outbound(self, policy: str) -> None:
        """Let what we say to people of other regions rest with them ("deposit"), or at our home
        only ("hold"), from where they fetch it; from now on. Raises BadArgument."""
        with self._unit() as unit:
            self._conversations.holding.choose(unit, policy)

    async def _go_another_way(self) -> None:
        """Whoever asks a relay begins again."""
        self._routes.close()
        cover = self._tasks.get("cover")
        if cover is not None:
            cover.cancel()
            await asyncio.gather(cover, return_exceptions=True)
        if "ticks" in self._tasks:
            self._begin_cover()

    def _begin_cover(self) -> None:
        if self._routes.period_s:
            self._spawn("cover", self._routes.keep_cover())

    async def _survey(self) -> None:
        """See whether our relays now serve as hops to each other. That one no longer does is not
        taken from it: then requests wait, until the person decides."""
        homes = self._me.homes
        if len(homes) == 1 or all(home.is_hop and home.operator for home in homes):
            return
        found = {}
        for home, other in zip(homes, reversed(homes), strict=True):
            where = _Where(self)
            link = await meet(where, home.relay)
            try:
                descriptor = await link.describe(home.relay)
                goes = home.is_hop or await _goes_over(where, link, other.relay)
            finally:
                link.close()
            found[home.relay] = descriptor.operator, goes
        with self._unit() as unit:
            for relay, (operator, is_hop) in found.items():
                profile.set_hop(unit, relay, operator, is_hop=is_hop)
            self._me.homes[:] = profile.read_homes(self._vault)
        await self._go_another_way()

    async def _survey_once(self) -> None:
        if profile.read_hop(self._vault) == AUTO:
            with contextlib.suppress(Unavailable, PeerError, TrustError):  # the next start tries
                await self._survey()

    async def check_ledgers(self) -> None:
        """See whether our relays' ledgers go on from how they stood when we last looked; it is a
        warning if one does not. Relays that cannot be asked now are left out, and all of them where
        requests are covered: nothing may leave then out of its turn."""
        for home in () if self._routes.period_s else tuple(self._me.homes):
            with contextlib.suppress(Unavailable, PeerError, TrustError):
                await self._check_ledger(home.relay)

    def _learn_outbound(self, unit: Unit, relay: bytes, policy: str) -> None:
        """What the operator of an own relay wants of words."""
        for number, home in enumerate(self._me.homes):
            if home.relay == relay and home.holds != (policy == HOLD):
                profile.set_holds(unit, relay, holds=policy == HOLD)
                self._me.homes[number] = home._replace(holds=policy == HOLD)

    async def _check_ledger(self, relay: bytes) -> None:
        way = await self._routes.to(relay)
        described = await way.request(wire.Describe(0, b""), wire.Described)
        descriptor = open_descriptor(described.descriptor, relay)
        note = descriptor.checkpoint
        tiles = {}
        for tile in self._ledgers.wanted(relay, note):
            with contextlib.suppress(NotInLedger):
                consulted = await way.request(wire.Consult(0, tile.path), wire.Consulted)
                tiles[tile] = consulted.part
        with self._unit() as unit:
            self._places.learn(unit, descriptor.address)
            self._learn_outbound(unit, relay, descriptor.outbound)
            if not self._ledgers.take(unit, relay, note, tiles):
                self._warn_of(unit, relay, LedgerRewritten.code)
            if descriptor.notice is not None:
                self._places.learn(unit, descriptor.notice.to)
            if self._moves.hear(unit, relay, descriptor.notice):
                self._warn_of(unit, relay, MoveAnnounced.code)

    # Moves of our relays

    def _allows(self, relay: bytes, region: str) -> bool:
        """Whether what rests at a relay may rest in a region: of what is ours we decide, of others'
        they do."""
        allowed = self.allowed_regions
        ours = {home.relay for home in self._me.homes}
        return relay not in ours or allowed is None or region in allowed

    def _learn_move(self, relay: bytes, order: bytes) -> None:
        with self._unit() as unit:
            self._moves.learn(unit, relay, order)
            to = open_order(order)
            self._places.learn(unit, to.to)
            if not self._allows(relay, to.region):
                self._warn_of(unit, relay, MovedAway.code, to.region)
        self._begin_following()

    # Where relays are

    def _found(self, relay: bytes, link: Link) -> None:
        now = self._now()
        fresh = {(relay, place) for place in link.strangers} - self._strangers
        is_news = self._places.is_news(relay, link.place, now=now)
        with contextlib.suppress(DiskFull):  # the next link tells it again
            if fresh or is_news or link.missed:
                with self._unit() as unit:
                    self._places.found(unit, relay, link.place, link.missed)
                    for _, place in fresh:
                        self._warn_of(unit, relay, RelayKeyChanged.code, place.name)
            self._strangers |= fresh

    def _learn_place(self, address: RelayAddress) -> None:
        with contextlib.suppress(DiskFull):  # the next contact tells it again
            if self._places.is_newer(address):
                with self._unit() as unit:
                    self._places.learn(unit, address)

    def _begin_following(self) -> None:
        if "ticks" in self._tasks and "moving home" not in self._tasks:
            self._spawn("moving home", self._follow_homes())

    async def _follow_homes(self) -> None:
        """Be at home where our relays' drops have moved, if we allow it: what is there is read all
        along, and everybody is told of a bucket that is the new relay's own."""
        for home in tuple(self._me.homes):
            to = self._routes.moved.get(home.relay)
            if to is None or not self._allows(home.relay, to.region):
                continue
            (key,) = self._read.execute(
                "SELECT bucket_key FROM relay WHERE relay = ?", (home.relay,)
            ).fetchone()
            others = [one.relay for one in self._me.homes if one != home]
            with contextlib.suppress(Unavailable, PeerError, TrustError, UsageError):
                if home == self._me.home:
                    await self._exit(to.relay, key, is_named=False)
                elif to.relay.key not in others:
                    await self._set_fallback(to.relay, key, is_named=False)
                else:
                    await self.set_fallback("")

    async def _watch_ledgers(self) -> None:
        await asyncio.sleep(LEDGER_S[0])
        while True:
            with contextlib.suppress(DiskFull):
                await self.check_ledgers()
                self._routes.moved |= self._moves.destinations(now=self._now())
                await self._follow_homes()
            await asyncio.sleep(LEDGER_S[1])

    # Conversations

    def conversations(self) -> list[ConversationView]:
        """All conversations, groups and 1:1, in the order they began."""
        rows = self._read.execute("SELECT gid, state FROM conversation ORDER BY rowid").fetchall()
        return [self._view(gid, state) for gid, state in rows]

    def conversation(self, name: str) -> ConversationView:
        """The conversation of an id, its own or a contact's, else of a contact's name, else of a
        group's name: no group catches what is meant for a person, whatever it is called.

        Raises UnknownConversation or AmbiguousName.
        """
        views, wanted = self.conversations(), _typed(name)
        people = {c.conversation for c in self.contacts() if c.id == wanted}
        return _first(
            name,
            [c for c in views if c.gid in people],
            [c for c in views if c.id == wanted],
            [c for c in views if c.is_direct and _typed(c.name) == wanted],
            [c for c in views if not c.is_direct and _typed(c.name) == wanted],
        )

    def group(self, name: str) -> ConversationView:
        """The group of an id, or of a name that is no id.

        Raises UnknownConversation, AmbiguousName, or NotAMember for a conversation of two.
        """
        views, wanted = self.conversations(), _typed(name)
        groups = [c for c in views if not c.is_direct]
        ranks = (
            [c for c in groups if c.id == wanted],
            [c for c in groups if _typed(c.name) == wanted],
        )
        if not any(ranks) and self.conversation(name).is_direct:
            raise NotAMember("this is a conversation of two, not a group")
        return _first(name, *ranks)

    def _view(self, gid: bytes, state: str) -> ConversationView:
        group = self._conversations.roster.group(gid)
        names = self._names(gid)
        policy = group.policy
        direct = [identity for identity in policy.direct if identity != self._me.identity]
        outbound_regions = self._conversations.roster.outbound_regions(gid)
        is_held = self._conversations.roster.is_held(gid)
        return ConversationView(
            id=vault.fingerprint(gid),
            gid=gid,
            name=self._title(gid, names),
            is_direct=bool(direct),
            state=state,
            people=sorted(names[identity] for identity in group.identities),
            admins=sorted(names[i] for i in rights.admins(policy, group.people)),
            roles={
                "may_add": policy.may_add,
                "may_remove": policy.may_remove,
                "may_rename": policy.may_rename,
            },
            region=policy.region,
            inbound_region=policy.region if group.is_large else self._me.home.region,
            outbound_regions=outbound_regions,
            outbound=HOLD if is_held else DEPOSIT,
            outbound_why=self._why_outbound(outbound_regions, is_held=is_held),
            held_by=sorted(
                names[who] for who in self._conversations.holding.holders(gid) if who in names
            ),
            relay=self._text(policy.relay.key),
            epoch=group.view.epoch,
            suite=group.view.suite,
            timer=self._history.timer(gid),
            hidden=self._history.hidden(gid),
            added_by=names[by] if (by := self._conversations.roster.added_by(gid)) else "",
        )

    def _why_outbound(self, outbound_regions: list[str], *, is_held: bool) -> str:
        """Where what we say in a conversation rests, and why, in words."""
        by = self._conversations.holding.outbound().by
        regions = ", ".join(outbound_regions) or self._me.home.region
        why = {
            "": f"what you say rests with the others, in {regions}",
            "person": f"you hold what you say: it rests in {regions} only, and is fetched there",
            "relay": f"your relay holds what you say: it rests in {regions} only, and is fetched",
        }[by]
        if by and not is_held:
            why = f"nothing has to be held: all of it rests in {regions} anyway"
        return why

    def _names(self, gid: bytes, known: Known | None = None) -> Names:
        """What to call the people of a conversation, present and past."""
        return self._people.of(gid, self._conversations.roster.group(gid).people, known)

    def send(self, gid: bytes, text: str, *, reply_to: str = "") -> int:
        """Say a text in a conversation; its row. It leaves as soon as a relay can be reached.

        `reply_to` is the id of what it answers; as everywhere, its first digits are enough where no
        other begins with them. Raises NotAMember, MessageTooLarge, Blocked, IdentityChanged,
        UnknownMessage or AmbiguousName.
        """
        with self._unit() as unit:
            answered = self._transcript.find(gid, reply_to) if reply_to else None
            return self._conversations.saying.send_text(unit, gid, text, reply_to=answered)

    def edit(self, gid: bytes, message: str, text: str) -> None:
        """Give an own text other words. Raises like `send`, and NotYours."""
        with self._unit() as unit:
            target = self._transcript.find(gid, message)
            self._conversations.saying.edit(unit, gid, target, text)

    def react(self, gid: bytes, message: str, emoji: str) -> None:
        """React to a text, instead of how we did before; an empty `emoji` takes that back.

        Raises BadArgument, and like `send`.
        """
        with self._unit() as unit:
            target = self._transcript.find(gid, message)
            self._conversations.saying.react(unit, gid, target, emoji)

    def delete(self, gid: bytes, messages: Sequence[str], *, for_everyone: bool = True) -> None:
        """Delete own texts for everyone, or any from this vault alone.

        Others may have read and copied them. Raises like `send`, and NotYours; nothing is deleted
        then.
        """
        with self._unit() as unit:
            targets = [self._transcript.find(gid, one) for one in messages]
            if for_everyone:
                self._conversations.saying.delete(unit, gid, targets)
            else:
                for target in targets:
                    self._history.forget(unit, gid, target)
                unit.events.append(SummaryChanged(gid))

    def set_timer(self, gid: bytes, seconds: int) -> None:
        """Have what is said from now on disappear: this long after it was sent or read, at the
        latest UNREAD_MS later. 0: it stays.

        Raises NotAMember, NotAdmin, Blocked, IdentityChanged or BadArgument.
        """
        with self._unit() as unit:
            self._conversations.saying.set_timer(unit, gid, seconds)

    def message(self, gid: bytes, message: str) -> Message:
        """The message of an id, or of its first digits. Raises UnknownMessage or AmbiguousName."""
        row = self._transcript.row(gid, self._transcript.find(gid, message))
        return self._messages(gid, self._transcript.entries(gid, [row]))[0]

    def message_at(self, gid: bytes, row: int) -> Message | None:
        """The message that an event tells of; None if it is gone."""
        entry = self._transcript.at(gid, row)
        return self._messages(gid, [entry])[0] if entry else None

    def messages(self, gid: bytes, *, after: int = 0) -> list[Message]:
        """The texts of a conversation in its order; only rows above `after`."""
        return self._messages(gid, self._transcript.everything(gid, after=after))

    def history(self, gid: bytes, where: Scroll, *, many: int = 30) -> Stretch:
        """A part of a conversation, at most `many` messages (transcript.MAX_STRETCH).

        Raises UnknownConversation, UnknownMessage, AmbiguousName or BadArgument.
        """
        part = self._transcript.part(gid, where, many=many)
        return Stretch(self._messages(gid, part.entries), part.before, part.total)

    def search(
        self, words: str, *, gid: bytes | None = None, before: int | None = None, many: int = 50
    ) -> list[Found]:
        """The messages that hold all of these words, or words that begin with the last of them,
        the last to arrive first; of one conversation or of all. With `before`, only rows below it;
        at most `many` (search.MAX_FOUND).

        Raises BadArgument where there is no word.
        """
        rows = self._search.find(words, gid=gid, before=before, many=many)
        known, saying = self._people.known(), self._conversations.sent.saying()
        found = self._transcript.entries(None, [row for _, row in rows])
        found.sort(key=lambda entry: -entry.row)
        return [
            Found(
                self._message(one, self._names(one.gid, known), is_saying=one.gid in saying),
                search.marks(one.text or "", words),
            )
            for one in found
        ]

    def _messages(self, gid: bytes, entries: Iterable[Entry]) -> list[Message]:
        names, is_saying = self._names(gid), self._conversations.sent.is_saying(gid)
        return [self._message(entry, names, is_saying=is_saying) for entry in entries]

    def _message(self, entry: Entry, names: Names, *, is_saying: bool) -> Message:
        is_own = entry.identity == self._me.identity
        quote = entry.quote
        return Message(
            row=entry.row,
            gid=entry.gid,
            id=entry.id.hex(),
            sender=names[entry.identity],
            is_own=is_own,
            text=entry.text or "",
            reply_to=quote
            and Quote(
                id=quote.id.hex(),
                sender=names[quote.identity] if quote.identity else "",
                text=quote.text or "",
            ),
            is_edited=entry.is_edited,
            is_deleted=entry.text is None,
            reactions={names[identity]: emoji for identity, emoji in entry.reactions.items()},
            sent_at=entry.sent_at,
            kept_at=entry.kept_at,
            expires_at=entry.expires_at,
            state=entry.state(is_saying=is_saying) if is_own else "",
            position=entry.position,
        )

    # The list of conversations

    def summaries(self) -> list[Summary]:
        """The lines of all conversations, in the order they began."""
        return self._summaries(self._desk.lines())

    def summary(self, gid: bytes) -> Summary:
        """The line of a conversation. Raises UnknownConversation."""
        return self._summaries([self._desk.line(gid)])[0]

    def _summaries(self, lines: Sequence[Line]) -> list[Summary]:
        known, saying = self._people.known(), self._conversations.sent.saying()
        rows = [line.last for line in lines if line.last is not None]
        last = {entry.gid: entry for entry in self._transcript.entries(None, rows)}
        found = []
        for line in lines:
            names, entry = self._names(line.gid, known), last.get(line.gid)
            found.append(
                Summary(
                    gid=line.gid,
                    id=vault.fingerprint(line.gid),
                    name=self._title(line.gid, names),
                    is_direct=bool(self._conversations.roster.group(line.gid).policy.direct),
                    state=line.state,
                    is_verified=line.is_verified,
                    is_blocked=line.is_blocked,
                    last=entry and self._message(entry, names, is_saying=line.gid in saying),
                    unread=line.unread,
                    draft=line.draft,
                    draft_reply_to=line.reply_to.hex() if line.reply_to else "",
                    pinned_at=line.pinned_at,
                    muted_until=line.muted_until,
                    is_archived=line.is_archived,
                )
            )
        return found

    def _title(self, gid: bytes, names: Names) -> str:
        """What a conversation is called: a group by its name, one of two by the other's."""
        policy = self._conversations.roster.group(gid).policy
        others = [identity for identity in policy.direct if identity != self._me.identity]
        return names[others[0]] if others else policy.name

    def seen(self, gid: bytes, row: int) -> None:
        """What came to a conversation up to this row was shown to the person, and is read."""
        with self._unit() as unit:
            self._history.mark_read(unit, gid, row)

    def set_draft(self, gid: bytes, text: str, *, reply_to: str = "") -> None:
        """Keep what the person is writing, in this vault alone; an empty text forgets it.
        `reply_to` is the id of what it answers.

        Raises UnknownConversation, UnknownMessage or AmbiguousName.
        """
        with self._unit() as unit:
            answered = self._transcript.find(gid, reply_to) if reply_to else None
            self._desk.draft(unit, gid, text, answered)
            self._history.will_scrub()  # what was there before is nobody's business any more
            unit.events.append(SummaryChanged(gid))

    def set_pinned(self, gid: bytes, *, is_pinned: bool = True) -> None:
        """Keep a conversation at the top of the list, in this vault alone. Raises
        UnknownConversation."""
        with self._unit() as unit:
            self._desk.pin(unit, gid, is_pinned=is_pinned)
            unit.events.append(SummaryChanged(gid))

    def set_muted(self, gid: bytes, until: int | None) -> None:
        """Have programs announce nothing of a conversation until then, in Unix milliseconds; None:
        announce it again. Raises UnknownConversation."""
        with self._unit() as unit:
            self._desk.mute(unit, gid, until)
            unit.events.append(SummaryChanged(gid))

    def set_archived(self, gid: bytes, *, is_archived: bool = True) -> None:
        """Put a conversation away from the list, in this vault alone. Raises
        UnknownConversation."""
        with self._unit() as unit:
            self._desk.archive(unit, gid, is_archived=is_archived)
            unit.events.append(SummaryChanged(gid))

    def view(self, gid: bytes) -> ConversationView:
        """A conversation by its gid. Raises UnknownConversation."""
        row = self._read.execute("SELECT state FROM conversation WHERE gid = ?", (gid,)).fetchone()
        if row is None:
            raise UnknownConversation
        return self._view(gid, row[0])

    def unread(
        self, gid: bytes | None = None, *, everything: bool = False
    ) -> list[tuple[Message, ConversationView]]:
        """What was not marked as read, of one conversation or of all; own texts are left out.

        With `everything`, all texts. Each conversation in its order.
        """
        found: list[tuple[Message, ConversationView]] = []
        for line in self._desk.lines(gid):
            if not (everything or line.unread):
                continue
            view = self._view(line.gid, line.state)
            if everything:
                messages = self.messages(line.gid)
            else:
                rows = self._transcript.unread_rows(line.gid)
                messages = self._messages(line.gid, self._transcript.entries(line.gid, rows))
            found += [(message, view) for message in messages]
        return found

    def mark_read(self, gid: bytes | None = None) -> None:
        """Everything kept so far, of one conversation or of all, is read."""
        with self._unit() as unit:
            self._history.mark_read(unit, gid)

    def check_vault(self) -> str:
        """What is damaged in the vault's pages, in SQLite's words; empty if nothing is."""
        return self._vault.damage()

    def count(self, gid: bytes) -> int:
        """How many texts a conversation holds."""
        return self._transcript.total(gid)

    def traffic(self) -> tuple[int, int]:
        """(bytes sent, bytes received) since the client was opened: WebSocket payload."""
        return self._routes.sent_bytes, self._routes.received_bytes

    def create_group(self, name: str, people: Sequence[str] = ()) -> ConversationView:
        """Start a group with contacts, ourselves its admin.

        Raises BadArgument, UnknownContact, AmbiguousName or GroupTooLarge.
        """
        contacts = [self.contact(person) for person in people]
        with self._unit() as unit:
            gid = self._conversations.entering.create_group(unit, name, people=len(contacts) + 1)
            self._conversations.wishes.add(unit, gid, [c.identity for c in contacts])
        return self._view(gid, "active")

    def add(self, gid: bytes, people: Sequence[str]) -> None:
        """Ask contacts into a group. Raises NotAMember, NotAdmin, UnknownContact, GroupTooLarge."""
        identities = [self.contact(person).identity for person in people]
        with self._unit() as unit:
            self._conversations.wishes.add(unit, gid, identities)

    def wished(self, gid: bytes) -> list[bytes]:
        """The identities asked into a group that no Commit has let in yet."""
        rows = self._read.execute("SELECT data FROM intent WHERE gid = ? AND kind = 'add'", (gid,))
        return [bytes(row[0]) for row in rows]

    def remove(self, gid: bytes, person: str) -> None:
        """Put a member out of a group. Raises NotAMember, NotAdmin, UnknownContact."""
        identity = self._member(gid, person)
        with self._unit() as unit:
            self._conversations.wishes.remove(unit, gid, identity)

    def rename(self, gid: bytes, name: str) -> None:
        """Give a group another name. Raises NotAMember, NotAdmin or BadArgument."""
        with self._unit() as unit:
            self._conversations.wishes.rename(unit, gid, name)

    def set_admin(self, gid: bytes, person: str, *, is_admin: bool = True) -> None:
        """Give or take a member's admin rights. Raises NotAMember, NotAdmin or BadArgument."""
        identity = self._member(gid, person)
        with self._unit() as unit:
            self._conversations.wishes.set_admin(unit, gid, identity, is_admin=is_admin)

    def set_roles(self, gid: bytes, roles: dict[str, str]) -> None:
        """Say who may add, remove and rename in a group: `may_add`, `may_remove`, `may_rename`,
        each "admins" or "members". Raises NotAMember, NotAdmin or BadArgument."""
        with self._unit() as unit:
            self._conversations.wishes.set_roles(unit, gid, roles)

    @property
    def adds(self) -> str:
        """What happens when a contact adds us to a group: "join" it, or "ask" first."""
        return self._conversations.offers.adds

    def set_adds(self, adds: str) -> None:
        """Say it, for all adds from now on. Raises BadArgument."""
        with self._unit() as unit:
            self._conversations.offers.choose(unit, adds)

    def offers(self) -> list[GroupOffer]:
        """The groups that contacts ask us into, the oldest first."""
        names = {contact.identity: contact.name for contact in self.contacts()}
        return [
            GroupOffer(
                vault.fingerprint(one.gid + one.by),
                one.gid,
                one.by,
                one.name,
                names.get(one.by, vault.fingerprint(one.by)),
                one.told_at,
                one.told_at + joining.WELCOME_LIFE_MS,
            )
            for one in self._conversations.offers.all()
        ]

    def _offer(self, name: str) -> GroupOffer:
        """The offer of an id, or of a group's name that is no id."""
        offers, wanted = self.offers(), _typed(name)
        found = [one for one in offers if one.id == wanted]
        named = [one for one in offers if _typed(one.name) == wanted]
        return _pick(found or named, name, UnknownConversation)

    def accept_offer(self, offer: str) -> GroupOffer:
        """Join a group that a contact asks us into, by the offer's id or the group's name. We are
        in it once its Welcome was fetched. Raises UnknownConversation or AmbiguousName."""
        found = self._offer(offer)
        with self._unit() as unit:
            self._conversations.joining.accept_offer(unit, found.gid, found.by)
        self._begin_due()
        return found

    def is_joining(self, gid: bytes) -> bool:
        """Whether a Welcome into a group is still to be fetched."""
        return gid in {one.gid for one in self._conversations.joining.awaited()}

    def decline_offer(self, offer: str, *, is_blocked: bool = False) -> GroupOffer:
        """Stay out of it, and let whoever asks take us out; or, if they are to be blocked, hear
        nothing more of them and tell them nothing. Raises like `accept_offer`."""
        found = self._offer(offer)
        with self._unit() as unit:
            if is_blocked:
                self._conversations.wishes.block(unit, found.by)
            else:
                self._conversations.joining.decline_offer(unit, found.gid, found.by)
        return found

    def leave_and_block(self, gid: bytes) -> Contact:
        """Leave a group, and hear nothing more of whoever has added us to it: them. Raises
        NotAMember, OutOfStep, or BadArgument if nobody has."""
        with self._unit() as unit:
            by = self._conversations.wishes.leave_and_block(unit, gid)
        return next(one for one in self.contacts() if one.identity == by)

    def leave(self, gid: bytes) -> None:
        """Leave a conversation. Raises NotAMember."""
        with self._unit() as unit:
            self._conversations.wishes.leave(unit, gid)

    def rejoinable(self, gid: bytes) -> list[UnprovenView]:
        """The states of a group that is out of step to which contacts help us, where nobody could
        show us how it came there: the person decides. Raises UnknownConversation."""
        known = self._names(gid)

        def names(people: dict[bytes, str]) -> list[str]:
            # Nobody has checked what strangers call themselves: their ids stand beside it.
            return [known.get(i, f"{n} ({vault.fingerprint(i)})") for i, n in people.items()]

        return [
            UnprovenView(
                known.get(one.helper, vault.fingerprint(one.helper)),
                known.get(one.signer, vault.fingerprint(one.signer)),
                names(one.changes.came),
                names(one.changes.went),
                names(one.changes.admins),
                names(one.changes.no_admins),
                one.changes.name,
            )
            for one in self._comebacks.unproven(gid)
        ]

    def rejoin(self, gid: bytes, helper: str) -> None:
        """Join a group again as a contact helps us to: by the person's own decision, who has looked
        at what differs (`rejoinable`). Raises UnknownHelp or UnknownContact."""
        identity = self._member(gid, helper)
        with self._unit() as unit:
            self._comebacks.accept(unit, gid, identity)
        self._begin_due()

    def _member(self, gid: bytes, person: str) -> bytes:
        """The identity of a member by the name the person sees, contact or not."""
        identities = self._conversations.roster.group(gid).identities
        names, wanted = self._names(gid), _typed(person)
        found = [i for i in identities if vault.fingerprint(i) == wanted]
        return _pick(
            found or [i for i in identities if _typed(names[i]) == wanted], person, UnknownContact
        )

    def status(self) -> Status:
        """Where things stand."""
        counts = [
            self._read.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608
            for table in ("outbox", "contact", "conversation")
        ]
        transport = self._routes.transport(self._me.home.relay)
        known, allowed = self._conversations.whereabouts, self.allowed_regions
        outbound = self._conversations.holding.outbound()
        reached = self._reached()
        return Status(
            name=self._me.name,
            identity=vault.fingerprint(self._me.identity),
            relay=self._text(self._me.home.relay),
            place=self._place(self._me.home.relay),
            region=self._me.home.region,
            operator=self._me.home.operator,
            fallback="".join(self._text(home.relay) for home in self._me.homes[1:]),
            fallback_place="".join(self._place(home.relay) for home in self._me.homes[1:]),
            fallback_region="".join(home.region for home in self._me.homes[1:]),
            fallback_operator="".join(home.operator for home in self._me.homes[1:]),
            allowed_regions=None if allowed is None else sorted(allowed),
            outbound=outbound.policy,
            outbound_by=outbound.by,
            is_strict=self.is_strict,
            former=[
                Former(
                    *(self._text(home.relay), home.region, known.left_at(home)),
                    self._is_away(home),
                )
                for home in self._me.former
            ],
            moves=[
                Announced(
                    *(self._text(relay), str(one.to), one.region, one.on, one.decide_by),
                    one.reason,
                    is_allowed=self._allows(relay, one.region),
                )
                for relay, one in self._moves.notices().items()
                if relay in {home.relay for home in self._me.homes}
            ],
            unaware=self._names_of(known.unaware()),
            left_behind=self._left_behind(),
            lost_invites=[one.made_at for one in self.invites() if one.is_lost],
            lost_knocks=known.lost_knocks(reached),
            away=sorted(
                map(
                    self._text,
                    {*self._down_since, *(h.relay for h in self._me.homes if self._is_away(h))},
                )
            ),
            transport=transport.kind,
            means=TRANSPORTS[transport.kind],
            hop=self._text(transport.hop) if transport.hop else "",
            is_hop_away=transport.is_away,
            why=transport.reason,
            period=self._routes.period_s,
            exposed=[
                self._text(home.relay)
                for home in self._me.homes
                if transport.kind != "direct"
                and self._routes.transport(home.relay).kind == "direct"
            ],
            missing=[
                Missing(self.view(gid).name, self._names(gid)[identity], count)
                for (gid, identity), count in self._conversations.gaps.missing().items()
            ],
            outbox=counts[0],
            contacts=counts[1],
            conversations=counts[2],
            warnings=self._warnings(),
        )

    def _warnings(self) -> list[WarningView]:
        rows = self._read.execute(
            "SELECT at, code, detail, gid, whom, many FROM warning ORDER BY id"
        ).fetchall()
        if not rows:
            return []
        views = {view.gid: view.name for view in self.conversations()}
        names: dict[bytes, str] = {}
        for gid in views:
            names |= self._names(gid)

        def called(whom: bytes) -> str:
            if not whom or whom in names:
                return names.get(whom, "")
            is_relay = bool(self._places.where(whom, now=self._now()))
            return self._text(whom) if is_relay else vault.fingerprint(whom)

        return [
            WarningView(at, code, detail, views.get(gid, ""), called(whom), many)
            for at, code, detail, gid, whom, many in rows
        ]

    def _names_of(self, identities: Iterable[bytes]) -> list[str]:
        """What to call people of any of our conversations."""
        wanted, names = set(identities), dict[bytes, str]()
        for view in self.conversations() if wanted else ():
            names |= self._names(view.gid)
        return sorted(names.get(one, vault.fingerprint(one)) for one in wanted)

    def _text(self, relay: bytes) -> str:
        """The address of a relay, as people read it."""
        return str(self._places.address(relay, now=self._now()))

    def _place(self, relay: bytes) -> str:
        """Where a relay is reached just now; nothing where it is not, or by a hop only."""
        place = self._routes.place(relay)
        return place.name if place else ""

    def _relays_left(self) -> set[bytes]:
        """Where we have been at home, and are no more, by key."""
        rows = self._read.execute("SELECT relay FROM relay").fetchall()
        return {row[0] for row in rows} - {home.relay for home in self._me.homes}

    def _left_behind(self) -> list[str]:
        """The conversations whose epoch drops are at a relay we have left."""
        left = self._relays_left()
        views = self.conversations() if left else []
        return sorted(
            view.name
            for view in views
            if view.is_live and self._conversations.roster.group(view.gid).policy.relay.key in left
        )

    def _reached(self) -> list[Home]:
        """The homes, present and former, at which somebody can still reach us."""
        return [*self._me.homes, *(one for one in self._me.former if not self._is_away(one))]

    def _is_away(self, home: Home) -> bool:
        """Whether the relay of a bucket of ours could not be reached when it was last asked."""
        return self._buckets.get(home.bucket.drop_id) == "away"

    def clear_warnings(self) -> None:
        """Forget the warnings the person has seen."""
        with self._unit() as unit:
            unit.db.execute("DELETE FROM warning")

    # Units of work

    @contextlib.contextmanager
    def _unit(self) -> Iterator[Unit]:
        self._raise_failure()
        now = self._now()
        self._latest = max(self._latest, now)
        with self._vault.unit(now=now) as unit:
            yield unit
        # Each once; events of different kinds about the same are equal as tuples.
        for _, event in dict.fromkeys((type(event), event) for event in unit.events):
            self._tell(event)
        self._wake()

    def _tell(self, event: Event) -> None:
        for feed in self._subscribers:
            feed.put(event)

    def _wake(self) -> None:
        """Let whoever waits look again, and see that every relay with something to send has its
        sender."""
        self._changed.set()
        self._changed = asyncio.Event()
        if "ticks" not in self._tasks:
            return  # not started
        rows = self._read.execute("SELECT DISTINCT relay, purpose = 'file' FROM outbox").fetchall()
        for relay, is_file in rows:
            lane = _Lane(relay, bool(is_file))
            self._outbox_changed.setdefault(lane, asyncio.Event()).set()
            if lane not in self._tasks:
                self._spawn(lane, self._send_to(lane))

    async def changed(self) -> None:
        """Wait until something may have changed, at most TICK_S seconds."""
        self._raise_failure()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TICK_S):
                await self._changed.wait()

    # Tasks

    def _spawn(self, key: object, work: Coroutine[None, None, None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except asyncio.CancelledError:
                raise
            except BaseException as error:  # noqa: BLE001  # handed to whoever uses the client
                self._failure = error
                self._changed.set()
                for feed in self._subscribers:
                    feed.end()
            finally:
                self._tasks.pop(key, None)

        self._tasks[key] = task = asyncio.create_task(guarded())
        # If it is cancelled before it has begun, nobody else ends the work.
        task.add_done_callback(lambda _: work.close())

    @property
    def failure(self) -> BaseException | None:
        """What has stopped the client, if anything has."""
        return self._failure

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def _read_bucket(self, home: Home) -> None:
        """Follow an own bucket, for ever."""
        bucket = home.bucket
        while True:
            try:
                link = await self._routes.to(home.relay)
                after = self._cursors.read_from(bucket.drop_id)
                async with contextlib.aclosing(
                    link.follow(bucket.drop_id, bucket.read_token, after)
                ) as replies:
                    async for cells in replies:
                        await self._take_bucket(home, cells)
            except (Unavailable, PeerError, TrustError) as error:
                if isinstance(error, RelayUnreachable):
                    self._heard_of(home, "away")
                await self._rest_after(error, home.relay, bucket.drop_id)

    def _heard_of(self, home: Home, state: str) -> None:
        """An own bucket is read to its end, or its relay is away: caught up is who has read one,
        and the others only if they can be."""
        drop_id = home.bucket.drop_id
        is_news = self._buckets.get(drop_id) != state
        self._buckets[drop_id] = state
        if is_news:
            self._tell(StatusChanged())
        states = [self._buckets.get(each.bucket.drop_id) for each in self._me.homes]
        if not self._home_read.is_set() and "read" in states and None not in states:
            self._home_read.set()
            is_news = True
        if is_news:
            self._wake()

    async def _take_bucket(self, home: Home, cells: wire.Cells) -> None:
        bucket = home.bucket
        while True:
            # What came before a chain was known comes first: the engine reads a sender's messages
            # in their order, give or take a few.
            while self._cursors.again() is not None:
                await self.changed()
            if not self._chains.pass_over(bucket.drop_id, cells):
                with self._unit() as unit:
                    fresh = self._cursors.advance(unit, bucket.drop_id, cells, CELLS_PER_UNIT)
                    self._take(unit, fresh, home)
            read = self._cursors.read_from(bucket.drop_id)
            if read >= cells.head:
                self._heard_of(home, "read")
            if read >= cells.first + len(cells.cells) - 1:
                break
            await asyncio.sleep(0)
        self._begin_due()

    def _take(self, unit: Unit, cells: Sequence[bytes], home: Home) -> None:
        for arrival in self._chains.recognise(unit, cells, home):
            if isinstance(arrival, FromInvite):
                self._invites.answer(unit, arrival.secret, arrival.payload)
            elif isinstance(arrival, FromKnock):
                self._invites.welcome(unit, arrival.secret, arrival.payload)
            elif isinstance(arrival, FromLost):
                self._helping.help(unit, arrival.identity, arrival.payload)
            elif isinstance(arrival, FromHelper):
                self._asking.answered(unit, arrival.gid, arrival.identity, arrival.payload)
            elif isinstance(arrival, FromClaim):
                if self._conversations.claims.read(unit, arrival.number, arrival.payload):
                    self._conversations.astray.all_astray(unit)
            else:
                gid, signer = arrival.gid, arrival.signer
                self._conversations.addresses.arrived_at(unit, gid, signer, home.bucket.drop_id)
                self._conversations.hearing.take(
                    unit, gid, signer, arrival.cell, is_past=arrival.is_past
                )
        if self._cursors.broken_claims(unit, home.bucket.drop_id):
            self._conversations.warnings.doubt_relay(unit, None, None)

    async def _read_again(self) -> None:
        """Look once more at what the own bucket held before a chain was known."""
        while (after := self._cursors.again()) is not None:
            with self._unit() as unit:
                recent = self._cursors.recall(unit, after)
                for home, kept in recent or ():
                    self._take(unit, kept, home)
            if recent is not None:
                continue
            home = self._me.home
            drop_id, _, token = home.bucket
            request = wire.Read(0, drop_id, token, after, CELLS_PER_UNIT, 0)
            try:
                link = await self._routes.to(home.relay)
                cells = await link.catch_up(request)
            except (Unavailable, PeerError, TrustError) as error:
                await self._rest_after(error, home.relay, b"")
                continue
            if home != self._me.home:
                continue  # we have left it meanwhile
            with self._unit() as unit:
                self._cursors.took_again(unit, cells.first + len(cells.cells) - 1)
                self._take(unit, cells.cells, home)
        self._begin_due()

    async def _rest_after(
        self, error: Unavailable | PeerError | TrustError, relay: bytes, drop_id: bytes
    ) -> None:
        """Wait before a relay is asked again about a drop, and note it if it misbehaved."""
        if isinstance(error, Unavailable):
            await asyncio.sleep(error.retry_after or TICK_S)
        else:
            self._note(error, relay, drop_id)
            await asyncio.sleep(RETRY_MS[0] / 1000)

    def _warn_of(self, unit: Unit, relay: bytes, code: str, detail: str = "") -> None:
        """Keep a warning about a relay."""
        self._conversations.warnings.warn(unit, None, code, detail, whom=relay)

    def _note(self, error: PeerError | TrustError, relay: bytes, drop_id: bytes) -> None:
        """Keep a relay's misbehaviour for the person, and read the drop anew."""
        with self._unit() as unit:
            self._warn_of(unit, relay, error.code, error.detail)
            if isinstance(error, RelayLied):
                self._conversations.epochs.start_over(unit, drop_id)

    async def _send_to(self, lane: _Lane) -> None:
        """Bring what is in the outbox for one lane of a relay to it, for ever: wave by wave, each
        of no more bytes than the line takes in a second."""
        relay, changed, pace = lane.relay, self._outbox_changed[lane], Pace()
        while True:
            changed.clear()
            found = self._read.execute(
                f"SELECT id, relay, request, purpose, tries, about, recipient"  # noqa: S608
                f" FROM outbox AS row"
                f" WHERE relay = ?1 AND due_at <= ?3 AND (purpose = 'file') = ?4 AND {_MAY_GO}"
                f" ORDER BY id LIMIT ?5",
                (relay, self._is_in_suspense(), self._now(), lane.is_file, AT_ONCE),
            ).fetchall()
            rows = [_Row(*one) for one in found]
            if not rows:
                await self._until_due(lane, changed)
                continue
            try:
                link = await self._routes.to(relay)
            except (Unavailable, PeerError, TrustError) as error:
                self._fail_over(relay)
                await self._rest_after(error, relay, b"")
                continue
            if self._down_since.pop(relay, None) is not None:
                self._tell(StatusChanged())
            # What follows a `create` may need it: it goes alone.
            cut = next((i for i, row in enumerate(rows) if row.purpose == "create"), len(rows))
            at_once = AT_ONCE if lane.is_file else link.at_once
            wave = rows[: min(max(cut, 1), at_once)]
            wave = wave[: pace.fits([len(row.request) for row in wave])]
            requests = [wire.decode_request(row.request) for row in wave]
            began = asyncio.get_running_loop().time()
            answers = await asyncio.gather(
                *(link.ask(request) for request in requests), return_exceptions=True
            )
            pace.took(
                sum(len(row.request) for row in wave), asyncio.get_running_loop().time() - began
            )
            try:
                self._settle(wave, answers)
            except DiskFull:  # the rows stay; the relay knows its answers when they are asked again
                await asyncio.sleep(TICK_S)
            if any(isinstance(answer, RelayUnreachable) for answer in answers):
                await asyncio.sleep(RETRY_S[0])

    def _fail_over(self, relay: bytes) -> None:
        """A relay cannot be reached: after a while use the recipients' other addresses, unless
        these cannot be reached either."""
        if relay not in self._down_since:
            self._down_since[relay] = self._now()
            self._tell(StatusChanged())
        down = [each for each in self._down_since if self._is_down(each)]
        if relay in down:
            with self._unit() as unit:
                self._outbox.fail_over(unit, relay, but_not_to=down)

    def _is_down(self, relay: bytes) -> bool:
        since = self._down_since.get(relay)
        return since is not None and not 0 <= self._now() - since < FAIL_OVER_MS

    async def _until_due(self, lane: _Lane, changed: asyncio.Event) -> None:
        is_in_suspense = self._is_in_suspense()
        (due_at,) = self._read.execute(
            f"SELECT min(due_at) FROM outbox AS row"  # noqa: S608
            f" WHERE relay = ?1 AND (purpose = 'file') = ?3 AND {_MAY_GO}",
            (lane.relay, is_in_suspense, lane.is_file),
        ).fetchone()
        if is_in_suspense:
            due_at = min(due_at or self._suspense_until, self._suspense_until)
        delay = None if due_at is None else max(due_at - self._now(), 0) / 1000
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await changed.wait()

    def _is_in_suspense(self) -> bool:
        """Whether it is about to be known if another copy of this vault is in use. Never for longer
        than SUSPENSE_MS, wherever the clock goes."""
        left = self._suspense_until - self._now()
        return 0 < left <= SUSPENSE_MS and not self._conversations.claims.is_answered()

    def _settle(self, wave: list[_Row], answers: Sequence[object]) -> None:
        """Take the answers to a wave of outbox rows: done, again later, or never."""
        with self._unit() as unit:
            for row, answer in zip(wave, answers, strict=True):
                if isinstance(answer, RelayUnreachable):
                    continue  # not answered: it goes out again over the next link
                if not self._awaits(unit, row):
                    continue  # it was given up meanwhile, and its number may be another row's
                if isinstance(answer, LabelTaken) and self._is_made_anew(unit, row):
                    continue
                if isinstance(answer, Unavailable | NoSuchDrop | UnexpectedReply):
                    # An epoch drop that another member has still to make looks like a wrong token;
                    # a relay in trouble (a damaged store) gives no answer that is one.
                    self._send_later(unit, row, answer.retry_after)
                    if isinstance(answer, NoSuchDrop) and row.tries >= ENDED_TRIES:
                        self._conversations.epochs.drop_ended(unit, row.about, row.request)
                    continue
                if isinstance(answer, BaseException) and not isinstance(answer, PeerError):
                    raise answer
                self._done(unit, row, answer)
            for gid in {row.about for row in wave if row.purpose in ("cell", "held")}:
                if not self._conversations.sent.is_saying(gid):
                    unit.events.append(StateChanged(gid))
        self._begin_due()

    @staticmethod
    def _awaits(unit: Unit, row: _Row) -> bool:
        """Whether the outbox still holds the request that was answered, for the relay that answered
        or for the recipient's other one."""
        (found,) = unit.db.execute(
            "SELECT count(*) FROM outbox WHERE id = ?1 AND ?2 IN (request, other_request)",
            (row.id, row.request),
        ).fetchone()
        return bool(found)

    def _send_later(self, unit: Unit, row: _Row, retry_after: float | None) -> None:
        """A relay does not take a request now: again later, or by way of another address."""
        pause = min(RETRY_MS[0] << min(row.tries, 16), RETRY_MS[1])
        wait = max(pause, int(1000 * (retry_after or 0)))
        unit.db.execute(
            "UPDATE outbox SET due_at = ?, tries = tries + 1 WHERE id = ?",
            (unit.now + wait, row.id),
        )
        if wait >= FAIL_OVER_MS:
            self._outbox.fail_over(unit, row.relay, row=row.id)

    def _is_made_anew(self, unit: Unit, row: _Row) -> bool:
        """A relay says that a label is taken. Whether that is seen to: else `_done` knows what it
        means. Whatever it was for leaves under another label, from here or from whoever needs it;
        no cell leaves under the same one again and again without the person being told.
        """
        talk = self._conversations
        match row.purpose:
            case "cell" | "commit" | "handed":
                if row.recipient is not None:
                    # Nobody but we can have taken it: ask whether a copy of this vault has.
                    if talk.claims.question(unit):
                        self._suspense_until = unit.now + SUSPENSE_MS
                    if talk.saying.seal_again(unit, row.id, row.about, row.recipient):
                        return True
                elif not self._is_labelled_again(unit, row):
                    unit.db.execute("DELETE FROM outbox WHERE id = ?", (row.id,))
                    return True  # of an epoch that nobody reads any more
                if row.tries == MAX_SKIPPED:
                    self._warn_of(
                        unit, row.relay, LabelTaken.code, f"of each label of a {row.purpose}"
                    )
                self._send_later(unit, row, None)
                return True
            case "held":
                # Its notice names the label. Those who miss it ask, and it is held anew for them.
                unit.db.execute("DELETE FROM outbox WHERE id = ?", (row.id,))
                self._warn_of(
                    unit, row.relay, LabelTaken.code, "of a held word, which is held anew"
                )
                return True
            case "file":
                # A Welcome's is appended again when `repeats` says so; help is asked for anew.
                unit.db.execute("DELETE FROM outbox WHERE id = ?", (row.id,))
                self._warn_of(
                    unit, row.relay, LabelTaken.code, "of a file, which is sent again later"
                )
                return True
            case "ask":
                return row.recipient is not None and self._asking.ask_again(
                    unit, row.id, row.about, row.recipient
                )
            case "claim" | "question" | "help" | "knock" | "reply" | "create":
                return False
            case _:
                assert_never(row.purpose)

    def _is_labelled_again(self, unit: Unit, row: _Row) -> bool:
        """Seal a cell of an epoch drop under another label, drawn at random; False if the drop is
        read no more."""
        request = wire.decode_request(row.request)
        if not isinstance(request, wire.Append):
            return False
        places = [one.place for one in self._rejoining.tries() if one.gid == row.about]
        places += self._conversations.epochs.epoch_places(row.about)
        place = next((one for one in places if one.drop.drop_id == request.drop_id), None)
        if place is None:
            return False
        again = structs.replace(request, cell=place.seal(place.open(request.cell)))
        unit.db.execute("UPDATE outbox SET request = ? WHERE id = ?", (wire.encode(again), row.id))
        return True

    def _done(self, unit: Unit, row: _Row, answer: object) -> None:
        """A relay has taken a request or refused it for good."""
        unit.db.execute("DELETE FROM outbox WHERE id = ?", (row.id,))
        if row.purpose == "claim" and isinstance(answer, wire.Appended | LabelTaken):
            self._suspense_until = unit.now + SUSPENSE_MS  # until we have read what is there
        if isinstance(answer, LabelTaken) and row.purpose in ("claim", "question"):
            self._conversations.claims.refused(unit)
        elif isinstance(answer, LabelTaken) and row.purpose in ("ask", "help"):
            pass  # as many of our askings rest there as there are labels; or it is answered already
        elif isinstance(answer, LabelTaken) and row.purpose == "knock":
            self._conversations.warnings.warn(unit, None, InviteUsed.code, "")
            self._invites.withdraw_knock(unit, row.about)
        elif isinstance(answer, PeerError):
            self._conversations.warnings.warn(
                unit, None, answer.code, f"a {row.purpose} was refused"
            )
            if row.purpose == "commit":
                self._conversations.commits.give_up_attempt(unit, row.about)
            elif row.purpose in ("knock", "reply", "file"):
                self._conversations.repeats.end(unit, row.about)  # it would be refused again
        elif isinstance(answer, wire.Created) and row.about is not None:
            self._conversations.repeats.made(unit, row.about, answer.head)
        elif row.purpose == "commit":
            self._conversations.roster.look_soon(unit, row.about, at=unit.now)
        elif isinstance(answer, wire.Appended) and row.recipient is not None:
            request = wire.decode_request(row.request)
            if isinstance(request, wire.Append):
                self._outbox.saw(unit, row.recipient, request.drop_id, answer.seq, answer.digest)

    async def _tick(self) -> None:
        """Do what is due at a time, for ever."""
        while True:
            now = self._now()
            with contextlib.suppress(DiskFull):  # it is due again with the next tick
                if now < self._latest:
                    self._begin_clock(now)
                self._do_due(now)
            self._begin_due()
            await asyncio.sleep(TICK_S)

    def _begin_clock(self, now: int) -> None:
        """Whatever was put off is due now: at start, for we were away; and when the clock was set
        back, for else it would wait for the old time to come again."""
        with self._unit() as unit:
            unit.db.execute("UPDATE conversation SET look_due_at = ?", (now,))
            unit.db.execute("UPDATE conversation SET ack_due_at = min(ack_due_at, ?)", (now,))
            unit.db.execute("UPDATE outbox SET due_at = min(due_at, ?)", (now,))
            unit.db.execute("UPDATE intent SET due_at = min(due_at, ?)", (now,))
            unit.db.execute("UPDATE invite SET answer_at = min(answer_at, ?)", (now + ASIDE_MS,))
            unit.db.execute(
                "UPDATE comeback SET ask_due_at = min(ask_due_at, ?)", (now + ASK_MS[1],)
            )
            self._history.begin_clock(unit)
            self._chains.begin_clock(unit)
            self._conversations.wishes.begin_clock(unit)
            unit.events += self._history.expire(unit)
        self._latest = now
        self._expire_at = self._write_at = 0

    def _tell_news(self, now: int, *, is_asked: bool = False) -> None:
        """Tell everybody where our relays are, if they are elsewhere: at once if the person asks
        for it."""
        rules = self._conversations
        if not self._places.has_news:
            return
        rules.addresses.see_places()
        if is_asked or rules.whereabouts.may_say_anew(now=now):
            with self._unit() as unit:
                rules.addresses.tell_places(unit)
            self._routes.bring_news()

    def _do_due(self, now: int) -> None:
        rules = self._conversations
        if self._history.is_due(now):
            with self._unit() as unit:
                unit.events += self._history.expire(unit)
        self._tell_news(now)
        # Covered, a receipt takes the place of a word; it rides along with the next one.
        is_silent = bool(self._routes.period_s and self._outbox_holds_any())
        receipts_due = "SELECT gid FROM conversation WHERE ack_due_at <= ?"
        for gid in [] if is_silent else self._due(receipts_due, now):
            with self._unit() as unit:
                rules.saying.send_receipt(unit, gid)
        for gid in self._due(
            "SELECT DISTINCT gid FROM intent WHERE due_at <= ? AND kind IN ('let-go', 'outrun')",
            now,
        ):
            with self._unit() as unit:
                rules.commits.attempt(unit, gid)
        for gid in self._due("SELECT gid FROM conversation WHERE refresh_due_at <= ?", now):
            with self._unit() as unit:
                rules.wishes.refresh(unit, gid)
        if self._due("SELECT secret FROM invite WHERE answer_at <= ?", now):
            with self._unit() as unit:
                self._invites.answer_late(unit)
        for gid in rules.astray.behind(now):
            with self._unit() as unit:
                rules.astray.ask_on(unit, gid)
        if self._comebacks.is_due(now):
            with self._unit() as unit:
                self._comebacks.act(unit)
        if self.is_caught_up and self._cursors.again() is None:
            # Until then what seems to be missing may simply not have been read yet.
            self._ask_and_say_again(now)
        if now >= self._expire_at:
            self._expire_at = now + EXPIRE_EVERY_MS
            with self._unit() as unit:
                rules.claims.renew(unit)
                rules.sent.expire(unit)
                rules.holding.expire(unit)
                self._chains.expire(unit)
                self._invites.expire(unit)
                rules.joining.forget_welcomes(unit)
            self._forget_former(now)
        if self._cursors.has_passed and now >= self._write_at:
            self._write_at = now + WRITE_EVERY_MS
            with self._unit() as unit:
                for home in self._me.buckets:
                    if self._cursors.broken_claims(unit, home.bucket.drop_id):
                        rules.warnings.doubt_relay(unit, None, None)

    def _ask_and_say_again(self, now: int) -> None:
        """Ask for what has not come, and say again what others may lack."""
        rules = self._conversations
        for gap in rules.gaps.due(now):
            with self._unit() as unit:
                rules.repair.ask(unit, gap)
        for gid in rules.sent.beats_due(now):
            with self._unit() as unit:
                rules.repair.beat(unit, gid)
        if rules.repeats.is_due(now=now):
            with self._unit() as unit:
                rules.joining.repeat(unit)
                self._invites.repeat(unit)

    def _forget_former(self, now: int) -> None:
        """Read no more what need not be read: the buckets of homes left long ago."""
        known = self._conversations.whereabouts
        for home in known.unneeded(now=now):
            with self._unit() as unit:
                known.forget(unit, home)
                self._cursors.drop_cursor(unit, home.bucket.drop_id)
                self._me.former[:] = profile.read_former(self._vault)
                self._chains.new_homes()
            task = self._tasks.get(("bucket", home.bucket.drop_id))
            if task is not None:
                task.cancel()

    def _outbox_holds_any(self) -> bool:
        return self._read.execute("SELECT 1 FROM outbox").fetchone() is not None

    def _due(self, query: str, now: int) -> list[bytes]:
        return [row[0] for row in self._read.execute(query, (now,)).fetchall()]

    def _begin_due(self) -> None:
        """See that every due look, fetch and large group has its task."""
        if "ticks" not in self._tasks:
            return
        due = self._read.execute(
            "SELECT gid FROM conversation WHERE look_due_at <= ?"
            " AND state IN ('active', 'leaving', 'astray')",
            (self._now(),),
        ).fetchall()
        for (gid,) in due:
            if ("look", gid) not in self._tasks:
                self._spawn(("look", gid), self._look(gid))
        if self._cursors.again() is not None and "again" not in self._tasks:
            self._spawn("again", self._read_again())
        for attempt in self._rejoining.tries():
            if ("back", attempt.gid) not in self._tasks:
                self._spawn(("back", attempt.gid), self._come_back(attempt))
        room = MAX_FETCHES - sum(isinstance(key, _Held) for key in self._tasks)
        for drop_id in self._conversations.holding.places():
            later = self._held_due.get(drop_id)
            is_due = later is None or later.due_at <= self._now()
            if room > 0 and is_due and _Held(drop_id) not in self._tasks:
                room -= 1
                self._spawn(_Held(drop_id), self._fetch_held(drop_id))
        for one in self._conversations.joining.awaited():
            if ("fetch", one) not in self._tasks:
                self._spawn(("fetch", one), self._fetch_welcome(one))
        for gid, ref in self._asking.awaited():
            if ("help", gid) not in self._tasks:
                self._spawn(("help", gid), self._fetch_help(gid, ref))

    async def _look(self, gid: bytes) -> None:
        """Read the epoch drops of a conversation to their ends; of a large group, stay there."""
        self._looking.add(gid)
        try:
            while self._conversations.roster.reads_drops(gid):
                drops = self._conversations.epochs.epoch_drops(gid)
                now = self._now()
                if self._is_look_due(gid, now=now):
                    with self._unit() as unit:
                        self._conversations.roster.look_soon(
                            unit, gid, at=now + roster.LOOK_EVERY_MS
                        )
                    for epoch, drop in drops:
                        await self._look_into(gid, epoch, drop, wait=0)
                self._looking.discard(gid)
                self._wake()
                if not self._conversations.roster.reads_drops(gid):
                    break
                if self._conversations.epochs.epoch_drops(gid) != drops:
                    with (
                        self._unit() as unit
                    ):  # a Commit was found: the next epoch may have ended too
                        self._conversations.roster.look_soon(unit, gid, at=now)
                elif self._conversations.roster.group(gid).is_large:
                    epoch, drop = drops[-1]
                    await self._look_into(gid, epoch, drop, wait=LARGE_WAIT_S)
                else:
                    break
        finally:
            self._looking.discard(gid)

    def _is_look_due(self, gid: bytes, *, now: int) -> bool:
        row = self._read.execute(
            "SELECT look_due_at <= ? FROM conversation WHERE gid = ?", (now, gid)
        ).fetchone()
        return bool(row[0])

    async def _look_into(self, gid: bytes, epoch: int, drop: Drop, *, wait: int) -> None:
        """Read an epoch drop to its end; wait for a new cell if there is none."""
        sure = self._cursors.read_so_far()
        taken = self._conversations.commits.taken(gid, epoch)
        try:
            try:
                while await self._read_page(gid, epoch, drop, wait=wait):
                    wait = 0
            except NoSuchDrop:  # nobody has made it yet: nobody has spoken yet
                if wait:
                    await asyncio.sleep(TICK_S)
            with self._unit() as unit:
                self._conversations.entering.mark_sure(unit, gid, epoch, sure)
                self._conversations.commits.append_again(unit, gid, taken)
                self._conversations.commits.has_looked(unit, gid, epoch)
        except (Unavailable, PeerError, TrustError) as error:
            relay = self._conversations.epochs.epoch_relay(gid, epoch)
            if isinstance(error, Unavailable):
                if relay != self._conversations.roster.group(gid).policy.relay.key:
                    return  # nothing that has to be had: the group's Commits rest elsewhere now
                with self._unit() as unit:
                    self._conversations.roster.look_soon(unit, gid, at=unit.now)
                    if isinstance(error, RelayUnreachable):
                        self._conversations.commits.cut_off(unit, gid)
            await self._rest_after(error, relay, drop.drop_id)

    async def _read_page(self, gid: bytes, epoch: int, drop: Drop, *, wait: int) -> bool:
        """Take one reply of an epoch drop; whether there is more."""
        link = await self._routes.to(self._conversations.epochs.epoch_relay(gid, epoch))
        after = self._cursors.read_from(drop.drop_id)
        request = wire.Read(0, drop.drop_id, drop.read_token, after, wire.MAX_CELLS, wait)
        cells = await link.request(request, wire.Cells)
        last = cells.first + len(cells.cells) - 1
        while self._conversations.roster.reads_drops(gid) and epoch in dict(
            self._conversations.epochs.epoch_drops(gid)
        ):
            with self._unit() as unit:
                self._conversations.hearing.read_epoch(unit, gid, epoch, cells, take=CELLS_PER_UNIT)
            if self._cursors.read_from(drop.drop_id) >= last:
                return last < cells.head
            await asyncio.sleep(0)
        return False

    async def _come_back(self, attempt: Try) -> None:
        """Read the epoch drop from its first cell until it holds a whole Commit, ours or not, or
        has forgotten ours."""
        drop, after = attempt.place.drop, 0
        with self._unit() as unit:
            self._rejoining.begin(unit, attempt)
        while True:
            is_taken = self._rejoining.is_taken(attempt)
            request = wire.Read(
                0, drop.drop_id, drop.read_token, after, wire.MAX_CELLS, wire.MAX_WAIT_S
            )
            try:
                link = await self._routes.to(attempt.relay)
                cells = await link.request(request, wire.Cells)
            except NoSuchDrop:
                if is_taken:
                    with self._unit() as unit:
                        self._rejoining.forgotten(unit, attempt)
                    break
                await asyncio.sleep(TICK_S)  # who helped has still to have it made
                continue
            except (Unavailable, PeerError, TrustError) as error:
                await self._rest_after(error, attempt.relay, b"")
                continue
            with self._unit() as unit:
                if self._rejoining.judge(unit, attempt, cells):
                    break
                after = cells.first + len(cells.cells) - 1
                if is_taken and after >= cells.head:
                    self._rejoining.forgotten(unit, attempt)
                    break

    async def _fetch_welcome(self, one: AnnouncedWelcome) -> None:
        """Fetch a Welcome that was announced, and join by it."""
        pause = TICK_S
        while True:
            try:
                data = await self._fetch_file(one.file)
            except (Unavailable, NoSuchDrop) as error:  # its sender may still be sending
                await asyncio.sleep(error.retry_after or pause)
                pause = min(2 * pause, RETRY_MS[1] / 1000)
                if pause > PATIENCE_S:
                    self._put_off.add(one.file.digest)
                with self._unit() as unit:
                    self._conversations.joining.forget_welcomes(unit)
                if one not in self._conversations.joining.awaited():
                    return
                continue
            except (PeerError, TrustError):
                data = None
            break
        with self._unit() as unit:
            self._conversations.joining.join_from_file(unit, one, data)
        self._begin_due()

    async def _fetch_help(self, gid: bytes, ref: FileRef) -> None:
        """Fetch what a contact has answered, and see what follows from it."""
        while (gid, ref) in self._asking.awaited():
            try:
                data = await self._fetch_file(ref)
            except (Unavailable, NoSuchDrop) as error:  # its sender may still be sending
                await asyncio.sleep(error.retry_after or TICK_S)
                continue
            except (PeerError, TrustError):
                data = None
            with self._unit() as unit:
                self._comebacks.take(unit, gid, data)
        self._begin_due()

    async def _fetch_held(self, drop_id: bytes) -> None:
        """Read a drop in which others hold words for us, until none is waited for or what is does
        not come: then again later."""
        while place := self._conversations.holding.place(drop_id):
            request = wire.Read(
                0, drop_id, place.drop.read_token, place.read, wire.MAX_CELLS, int(PATIENCE_S)
            )
            try:
                link = await self._routes.to(place.relay)
                cells = await link.request(request, wire.Cells)
                with self._unit() as unit:
                    self._conversations.hearing.take_fetched(unit, place, cells)
            except (Unavailable, NoSuchDrop, PeerError, TrustError) as error:
                self._fetch_later(place, error)
                return
            if place.read >= cells.head and self._conversations.holding.place(drop_id):
                self._fetch_later(place, NoSuchDrop())
                return
        self._put_off.discard(drop_id)
        self._held_due.pop(drop_id, None)

    def _fetch_later(self, place: HeldDrop, error: Unavailable | PeerError | TrustError) -> None:
        """What is held in a drop could not be had: its sender may still be sending, or its relay is
        away, and nobody knows for how long."""
        drop_id = place.drop.drop_id
        before = self._held_due.get(drop_id)
        pause = min(2 * before.pause_ms, FETCH_MS[1]) if before else FETCH_MS[0]
        wait = max(pause, int(1000 * (error.retry_after or 0)))
        self._held_due[drop_id] = _Later(self._now() + wait, pause)
        if not isinstance(error, NoSuchDrop) or pause > 1000 * PATIENCE_S:
            self._put_off.add(drop_id)
        if not isinstance(error, Unavailable | NoSuchDrop):
            self._note(error, place.relay, b"")
        self._wake()

    async def _fetch_file(self, ref: FileRef) -> bytes:
        """The content of a file. Raises FileIncomplete or InvalidFile, or what its relay says."""
        fetch, pace = Fetch(ref), Pace()
        with self._unit() as unit:
            self._places.learn(unit, ref.relay)
        link = await self._routes.to(ref.relay.key)
        while not fetch.is_whole:
            reads = fetch.reads(pace.window)
            began = asyncio.get_running_loop().time()
            answers = await asyncio.gather(
                *(link.catch_up(read) for read in reads), return_exceptions=True
            )
            for read, answer in zip(reads, answers, strict=True):
                if isinstance(answer, BaseException):
                    raise answer
                fetch.take(read, answer)
            if not reads[0].wait:
                came = sum(len(c) for a in answers if isinstance(a, wire.Cells) for c in a.cells)
                pace.took(came, asyncio.get_running_loop().time() - began)
        return fetch.data()


class _Where:
    """What a client knows of where relays are: what it learns it keeps, each in a unit of work."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._places = client._places  # noqa: SLF001  # a part of it
        self.around = client._around  # noqa: SLF001

    def where(self, relay: bytes) -> Sequence[Place]:
        """Where to look for a relay, in turn."""
        return self._places.where(relay, now=self._client._now())  # noqa: SLF001

    def is_named(self, relay: bytes) -> bool:
        """Whether the person has named a place of it."""
        return self._places.is_named(relay)

    def signed(self, relay: bytes) -> RelayAddress | None:
        """What it has signed of its places last."""
        return self._places.signed(relay)

    def found(self, relay: bytes, link: Link) -> None:
        """Keep where it was found, and tell the person where another key answers."""
        self._client._found(relay, link)  # noqa: SLF001

    def learn(self, address: RelayAddress) -> None:
        """Keep what it has signed."""
        self._client._learn_place(address)  # noqa: SLF001


class _NewHome(NamedTuple):
    """A bucket that was drawn, and where it ends; where its relay is, by its own word and, if they
    have named it, by the person's."""

    home: profile.NewHome
    bucket: Drop
    end: wire.Cells
    address: RelayAddress
    named: NamedAddress | None

    def begin(self, unit: Unit, places: Places) -> None:
        """Read it from its end on: what rests there already is for others."""
        places.learn(unit, self.address)
        if self.named is not None:
            places.name(unit, self.named)
        unit.db.execute(
            "INSERT OR IGNORE INTO cursor VALUES (?, ?, ?)",
            (self.bucket.drop_id, self.end.head, self.end.before),
        )


async def _move_into(
    relay: NamedAddress,
    access: bytes,
    fallback: NamedAddress | None,
    fallback_access: bytes,
    around: Surroundings,
) -> list[_NewHome]:
    """Draw a bucket of each relay, by way of the other one where it serves as a hop: then neither
    sees who draws which."""
    where = Proposed(relay, is_named=True, around=around)
    if fallback is None:
        return [await _move_in(where, relay.key, access)]
    _check_fallback(relay.key, fallback.key)
    where = Proposed(fallback, is_named=True, behind=where)
    home, _ = await _draw(where, relay.key, access, fallback.key)
    second, _ = await _draw(where, fallback.key, fallback_access, relay.key)
    return [home, second]


async def _draw(
    where: Proposed, relay: bytes, access: bytes, beside: bytes, setting: bytes = AUTO
) -> tuple[_NewHome, bool]:
    """Draw a bucket of a relay, by way of the person's other relay `beside`, if there is one and it
    serves as a hop; and whether it does. Without one, by way of the hop they have chosen."""
    if not beside:
        is_chosen = setting not in (AUTO, OFF, relay)
        return await _move_in(where, relay, access, via=setting if is_chosen else OFF), False
    goes, is_hop = await _goes(where, beside, relay), await _goes(where, relay, beside)
    drawn = await _move_in(where, relay, access, via=beside if goes else OFF, is_hop=is_hop)
    return drawn, goes


def _check_fallback(relay: bytes, fallback: bytes) -> None:
    if relay == fallback:
        raise BadArgument("the fallback is another relay than the home")


async def _move_in(
    where: Proposed, relay: bytes, access: bytes, *, via: bytes = OFF, is_hop: bool = False
) -> _NewHome:
    """Draw a bucket of a relay, through a hop if one is given."""
    routes = Routes((), via, where, clock=lambda: where.around.now() / 1000)
    try:
        way = await routes.to(relay)
        described = await way.request(wire.Describe(0, access), wire.Described)
        descriptor = open_descriptor(described.descriptor, relay)
        if not described.bucket_key:
            raise NoAccess
        # The person draws, not the relay: one that assigned buckets could surround a target.
        number = secrets.randbelow(descriptor.buckets)
        bucket = derive_bucket(described.bucket_key, number, region=descriptor.region)
        end = await way.request(
            wire.Read(0, bucket.drop_id, bucket.read_token, 2**53 - 1, 1, 0), wire.Cells
        )
    finally:
        routes.close()
    home = profile.NewHome(
        relay,
        descriptor.region,
        described.bucket_key,
        number,
        descriptor.operator,
        is_hop,
        descriptor.outbound == HOLD,
    )
    return _NewHome(home, bucket, end, descriptor.address, where.named(relay))


async def _goes(where: Where, hop: bytes, relay: bytes) -> bool:
    """Whether a relay serves as a hop to another. Raises RelayUnreachable, RelayKeyChanged or
    BrokenDescriptor."""
    link = await meet(where, hop)
    try:
        return await _goes_over(where, link, relay)
    finally:
        link.close()


async def _goes_over(where: Where, link: Link, relay: bytes) -> bool:
    try:
        await link.request(wire.Locate(0, relay, where.signed(relay)), wire.Located)
        return bool((await inquire(link, relay, where.where(relay))).sealing)
    except HopRefused:
        return False


def _typed(name: str) -> str:
    """A name however it was typed, or copied from where it was shown: in one form (NFC), without
    the marks of isolation that no name holds."""
    return unicodedata.normalize("NFC", name.replace("\u2068", "").replace("\u2069", "").strip())


def _first(name: str, *ranks: list[ConversationView]) -> ConversationView:
    """The conversation in the first of these that holds any: one that we are in, if there is one.

    Raises UnknownConversation or AmbiguousName.
    """
    found = next((rank for rank in ranks if rank), [])
    return _pick([c for c in found if c.is_live] or found, name, UnknownConversation)


def _pick(found: list[T], name: str, missing: type[UnknownContact | UnknownConversation]) -> T:
    if not found:
        raise missing(name)
    if len(found) > 1:
        raise AmbiguousName(name)
    return found[0]
