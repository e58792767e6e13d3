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
import hashlib
import secrets
import time
from typing import TYPE_CHECKING, NamedTuple, Self, TypeVar

from amanat import mls
from amanat.client import conversation as rules
from amanat.client import profile, rights, vault
from amanat.client.conversation import Conversations, Event
from amanat.client.delivery import Delivery, FromInvite, FromKnock
from amanat.client.invite import Invites, from_link, to_link
from amanat.client.link import RETRY_S, Links, connect
from amanat.errors import (
    AmbiguousName,
    BadArgument,
    DiskFull,
    InvalidCell,
    InviteUsed,
    LabelTaken,
    NoAccess,
    NoSuchDrop,
    PeerError,
    RelayLied,
    RelayUnreachable,
    TrustError,
    Unavailable,
    UnexpectedReply,
    UnknownContact,
    UnknownConversation,
)
from amanat.protocol import wire
from amanat.protocol.cells import LABEL_BYTES, open_cell
from amanat.protocol.descriptor import open_descriptor, parse_address
from amanat.protocol.drops import derive_bucket
from amanat.protocol.identity import MAX_NAME_CHARS, safety_number
from amanat.protocol.messages import CellKind, FileRef

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
    from pathlib import Path

    from amanat.client.vault import Unlock, Vault
    from amanat.protocol.drops import Drop

CELLS_PER_UNIT = 64
"""Cells of a drop taken in one unit of work: one fsync for many, and no long stop of the loop."""
SENDS_PER_WAVE = 64
"""Outbox rows of one relay on the wire at once: pipelined, well below a relay's limits."""
TICK_S = 1.0
"""How often what is due at a time (receipts, looks, retries) is looked for, in seconds."""
RETRY_MS = (1_000, 300_000)
"""First and longest pause before an outbox row that was refused goes out again, in milliseconds."""
LARGE_WAIT_S = 20
"""How long a member of a large group waits at its epoch drop at a time, in seconds; between two
waits it looks whether something else is due."""
PATIENCE_S = 5.0
"""Longest `caught_up` waits for a Welcome whose file is not there, in seconds: a contact can
announce one that never comes."""
FILE_PAGE = 12
"""Large cells asked for at once: below wire.MAX_REPLY_BYTES."""

_MAY_GO = (
    "NOT (row.purpose = 'cell' AND EXISTS (SELECT 1 FROM outbox AS reply"
    " WHERE reply.purpose = 'reply' AND reply.about = row.about))"
)
"""Nothing is said in a 1:1 conversation before the relay has the Welcome into it: who joins finds
all of it behind the Welcome in their bucket."""

T = TypeVar("T")


class Contact(NamedTuple):
    """A person we can write to. `id` is 8 hex digits for where a name is ambiguous."""

    id: str
    name: str
    identity: bytes
    conversation: bytes
    is_verified: bool


class ConversationView(NamedTuple):
    """A conversation as a person sees it. `people` are names; `region` is where it rests."""

    id: str
    gid: bytes
    name: str
    is_direct: bool
    state: str
    people: list[str]
    admins: list[str]
    region: str
    relay: str
    epoch: int
    suite: int


class Message(NamedTuple):
    """A text of a conversation. Times are Unix milliseconds, by the sender's clock and by ours.

    `state` of an own message: `queued`, `sent` (a relay has it) or `delivered` (everyone has it).
    """

    row: int
    gid: bytes
    sender: str
    is_own: bool
    text: str
    sent_at: int
    kept_at: int
    state: str


class Status(NamedTuple):
    """Where things stand. `transport` says what the relay and the network can see."""

    name: str
    identity: str
    relay: str
    region: str
    transport: str
    outbox: int
    contacts: int
    conversations: int
    warnings: list[tuple[int, str, str]]


class Client:
    """An open profile. Use as an async context manager, or call `start` and `close`."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._db = vault.db
        self._engine = mls.Engine(self._fetch)
        vault.bind(
            before_commit=self._write_delta,
            after_commit=self._engine.committed,
            forget=self._engine.abort,
        )
        self._me = profile.read(vault)
        self._delivery = Delivery(vault, self._me)
        self._conversations = Conversations(vault, self._engine, self._delivery, self._me)
        self._invites = Invites(vault, self._delivery, self._conversations, self._me)
        self._links = Links()
        self._tasks: dict[object, asyncio.Task[None]] = {}
        self._subscribers: set[asyncio.Queue[Event | None]] = set()
        self._failure: BaseException | None = None
        self._changed = asyncio.Event()
        self._outbox_changed: dict[str, asyncio.Event] = {}
        self._home_read = asyncio.Event()
        self._looking: set[bytes] = set()
        self._put_off: set[bytes] = set()

    # Life

    @classmethod
    async def create(
        cls, directory: Path, unlock: Unlock, *, name: str, relay: str, access: bytes = b""
    ) -> Self:
        """Make a new person in `directory`, at home on a relay, and open the profile.

        `relay` is an address such as `amanat://HOST:PORT/#KEY`, `access` the relay's access code if
        it has one. Raises BadArgument, BrokenAddress, ProfileExists, RelayUnreachable,
        RelayKeyChanged, BrokenDescriptor or NoAccess; nothing is left behind then.
        """
        if not 0 < len(name.strip()) <= MAX_NAME_CHARS:
            raise BadArgument(f"a name has 1 to {MAX_NAME_CHARS} characters")
        address = parse_address(relay)
        link = await connect(address)
        try:
            described = await link.request(wire.Describe(0, access), wire.Described)
            descriptor = open_descriptor(described.descriptor, address.key)
            if not described.bucket_key:
                raise NoAccess

            # The person draws, not the relay: one that assigned buckets could surround a target.
            number = secrets.randbelow(descriptor.buckets)
            bucket = derive_bucket(described.bucket_key, number, region=descriptor.region)
            end = await link.request(
                wire.Read(0, bucket.drop_id, bucket.read_token, 2**53 - 1, 1, 0), wire.Cells
            )

            def fill(new: Vault) -> None:
                engine = mls.Engine(lambda _key: None)
                home = profile.NewHome(
                    str(address), descriptor.region, described.bucket_key, number
                )
                profile.write(new, engine, name=name.strip(), home=home)
                # What rests in the bucket already is for others: reading starts at its end.
                new.db.execute(
                    "INSERT INTO cursor VALUES (?, ?, ?)", (bucket.drop_id, end.head, end.before)
                )
                _store_delta(new, engine)

            vault.create(directory, unlock, fill)
        finally:
            link.close()
        return cls.open(directory, unlock)

    @classmethod
    def open(cls, directory: Path, unlock: Unlock) -> Self:
        """Open a profile; nothing is sent or read before `start`.

        Raises NoProfile, ProfileInUse, WrongPassphrase, VaultTooNew or VaultDamaged.
        """
        opened = vault.open_vault(directory, unlock)
        try:
            with vault.naming_damage(directory):
                return cls(opened)
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
        self._spawn("home", self._read_home())
        self._spawn("ticks", self._tick())

    async def close(self) -> None:
        """Stop, and let other processes have the profile. What was not sent stays to be sent."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._links.close()
        self._vault.close()
        for queue in self._subscribers:
            queue.put_nowait(None)

    def events(self) -> AsyncIterator[Event]:
        """What happens from this call on. Ends when the client is closed.

        Raises what stopped the client, if anything did.
        """
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self._subscribers.add(queue)
        return self._drain(queue)

    async def _drain(self, queue: asyncio.Queue[Event | None]) -> AsyncIterator[Event]:
        try:
            while (event := await queue.get()) is not None:
                yield event
            self._raise_failure()
        finally:
            self._subscribers.discard(queue)

    async def flushed(self) -> None:
        """Wait until every relay has taken or refused what is due, and no Commit is undecided.

        What a relay has refused for now stays to be sent; `status().outbox` counts it.
        """
        while self._db.execute(
            "SELECT 1 FROM outbox WHERE tries = 0 UNION ALL SELECT 1 FROM attempt"
        ).fetchone():
            await self.changed()

    @property
    def is_caught_up(self) -> bool:
        """Whether the own bucket has been read to its end since the client was started."""
        return self._home_read.is_set()

    async def caught_up(self) -> None:
        """Wait until the own bucket, and what it points to, has been read to its end once."""
        await self._home_read.wait()
        while (
            self._looking
            or self._db.execute(
                "SELECT 1 FROM conversation WHERE look_due_at <= ?"
                " AND state IN ('active', 'leaving')"
                " UNION ALL SELECT 1 FROM meta WHERE key = 'again'",
                (self._now(),),
            ).fetchone()
            or set(dict(self._conversations.awaited())) - self._put_off
        ):
            await self.changed()

    # People

    def invite(self) -> str:
        """The link of a new invite, good for one person; no server is asked."""
        with self._unit():
            return to_link(self._invites.make(now=self._now()))

    def accept(self, link: str, greeting: str = "") -> str:
        """Knock on an invite; the name of the inviter. The contact exists once they answered.

        Raises BrokenInvite, OwnInvite, InviteUsed (by ourselves, earlier) or BadArgument.
        """
        invite = from_link(link)
        with self._unit():
            self._invites.knock(invite, greeting, now=self._now())
        return invite.name

    def contacts(self) -> list[Contact]:
        """Everyone we can write to, by name."""
        rows = self._db.execute(
            "SELECT name, identity, conversation, verified FROM contact ORDER BY name"
        ).fetchall()
        return [
            Contact(vault.fingerprint(identity), name, identity, gid, bool(verified))
            for name, identity, gid, verified in rows
        ]

    def contact(self, name: str) -> Contact:
        """The contact of a name or id. Raises UnknownContact or AmbiguousName."""
        return _pick([c for c in self.contacts() if name in (c.name, c.id)], name, UnknownContact)

    def safety_number(self, name: str) -> str:
        """The number to compare with a contact. Raises UnknownContact or AmbiguousName."""
        return safety_number(self._me.identity, self.contact(name).identity)

    def set_verified(self, name: str, *, is_verified: bool = True) -> None:
        """Keep that the safety number was compared. Raises UnknownContact or AmbiguousName."""
        identity = self.contact(name).identity
        with self._unit():
            self._db.execute(
                "UPDATE contact SET verified = ? WHERE identity = ?", (is_verified, identity)
            )

    # Conversations

    def conversations(self) -> list[ConversationView]:
        """All conversations, groups and 1:1, in the order they began."""
        rows = self._db.execute("SELECT gid, state FROM conversation ORDER BY rowid").fetchall()
        return [self._view(gid, state) for gid, state in rows]

    def conversation(self, name: str) -> ConversationView:
        """The conversation of a group name, a contact's name, or an id.

        Raises UnknownConversation or AmbiguousName.
        """
        found = [c for c in self.conversations() if name in (c.name, c.id)]
        live = [c for c in found if c.state == "active"]
        return _pick(live or found, name, UnknownConversation)

    def _view(self, gid: bytes, state: str) -> ConversationView:
        group = self._conversations.group(gid)
        names = self._names(gid)
        policy = group.policy
        direct = [identity for identity in policy.direct if identity != self._me.identity]
        return ConversationView(
            id=vault.fingerprint(gid),
            gid=gid,
            name=names[direct[0]] if direct else policy.name,
            is_direct=bool(direct),
            state=state,
            people=sorted(names[identity] for identity in group.identities),
            admins=sorted(names[i] for i in rights.admins(policy, group.people)),
            region=policy.region,
            relay=policy.relay,
            epoch=group.view.epoch,
            suite=group.view.suite,
        )

    def _names(self, gid: bytes) -> dict[bytes, str]:
        """What to call the people of a conversation, present and past.

        A contact has the name they are known by. Anyone else has the name they give themselves,
        with an id where that name is known as somebody else's.
        """
        names: dict[bytes, str] = dict(
            self._db.execute("SELECT identity, name FROM contact").fetchall()
        )
        names[self._me.identity] = self._me.name
        taken = set(names.values())
        people = self._conversations.group(gid).people
        said = {person.identity: person.leaf.name for person in people}
        past = self._db.execute("SELECT DISTINCT identity FROM message WHERE gid = ?", (gid,))
        for identity in {*said, *(row[0] for row in past)} - set(names):
            name, short = said.get(identity, ""), vault.fingerprint(identity)
            is_free = name and name not in taken and list(said.values()).count(name) == 1
            names[identity] = name if is_free else f"{name} ({short})".strip()
        return names

    def send(self, gid: bytes, text: str) -> int:
        """Say a text in a conversation; its row. It leaves as soon as a relay can be reached.

        Raises NotAMember, MessageTooLarge or IdentityChanged.
        """
        with self._unit():
            return self._conversations.send_text(gid, text, now=self._now())

    def messages(self, gid: bytes, *, after: int = 0) -> list[Message]:
        """The texts of a conversation in its order; only rows above `after`."""
        names = self._names(gid)
        queued = self._db.execute(
            "SELECT 1 FROM outbox WHERE about = ? AND purpose = 'cell'", (gid,)
        ).fetchone()
        others = self._conversations.group(gid).identities - {self._me.identity}
        confirmed: dict[bytes, int] = dict(
            self._db.execute("SELECT identity, seq FROM receipt WHERE gid = ?", (gid,)).fetchall()
        )
        everyone_has = min((confirmed.get(identity, 0) for identity in others), default=0)
        rows = self._db.execute(
            "SELECT row, identity, seq, text, sent_at, kept_at FROM message"
            " WHERE gid = ? AND row > ? ORDER BY clock, identity, seq",
            (gid, after),
        ).fetchall()
        waiting = "queued" if queued else "sent"
        return [
            Message(
                row=row,
                gid=gid,
                sender=names[identity],
                is_own=identity == self._me.identity,
                text=text,
                sent_at=sent_at,
                kept_at=kept_at,
                state=""
                if identity != self._me.identity
                else "delivered"
                if seq <= everyone_has
                else waiting,
            )
            for row, identity, seq, text, sent_at, kept_at in rows
        ]

    def view(self, gid: bytes) -> ConversationView:
        """A conversation by its gid. Raises UnknownConversation."""
        row = self._db.execute("SELECT state FROM conversation WHERE gid = ?", (gid,)).fetchone()
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
        for view in self.conversations():
            if gid in (None, view.gid):
                after = 0 if everything else self._read_mark(view.gid)
                messages = self.messages(view.gid, after=after)
                found += [(m, view) for m in messages if everything or not m.is_own]
        return found

    def mark_read(self, gid: bytes | None = None) -> None:
        """Everything kept so far, of one conversation or of all, is read."""
        with self._unit():
            self._db.execute(
                "UPDATE conversation SET read_row = (SELECT coalesce(max(row), 0) FROM message"
                " WHERE message.gid = conversation.gid) WHERE ? IS NULL OR gid = ?",
                (gid, gid),
            )

    def _read_mark(self, gid: bytes) -> int:
        row = self._db.execute("SELECT read_row FROM conversation WHERE gid = ?", (gid,)).fetchone()
        return int(row[0])

    def check_vault(self) -> str:
        """What is damaged in the vault's pages, in SQLite's words; empty if nothing is."""
        return self._vault.damage()

    def count(self, gid: bytes) -> int:
        """How many texts a conversation holds."""
        row = self._db.execute("SELECT count(*) FROM message WHERE gid = ?", (gid,)).fetchone()
        return int(row[0])

    def traffic(self) -> tuple[int, int]:
        """(bytes sent, bytes received) since the client was opened: WebSocket payload."""
        return self._links.sent_bytes, self._links.received_bytes

    def create_group(self, name: str, people: Sequence[str] = ()) -> ConversationView:
        """Start a group with contacts, ourselves its admin.

        Raises BadArgument, UnknownContact, AmbiguousName or GroupTooLarge.
        """
        contacts = [self.contact(person) for person in people]
        with self._unit():
            now = self._now()
            gid = self._conversations.create_group(name, people=len(contacts) + 1, now=now)
            self._conversations.add(gid, [c.identity for c in contacts], now=now)
        return self._view(gid, "active")

    def add(self, gid: bytes, people: Sequence[str]) -> None:
        """Ask contacts into a group. Raises NotAMember, NotAdmin, UnknownContact, GroupTooLarge."""
        identities = [self.contact(person).identity for person in people]
        with self._unit():
            self._conversations.add(gid, identities, now=self._now())

    def wished(self, gid: bytes) -> list[bytes]:
        """The identities asked into a group that no Commit has let in yet."""
        rows = self._db.execute("SELECT data FROM intent WHERE gid = ? AND kind = 'add'", (gid,))
        return [bytes(row[0]) for row in rows]

    def remove(self, gid: bytes, person: str) -> None:
        """Put a member out of a group. Raises NotAMember, NotAdmin, UnknownContact."""
        identity = self._member(gid, person)
        with self._unit():
            self._conversations.remove(gid, identity, now=self._now())

    def rename(self, gid: bytes, name: str) -> None:
        """Give a group another name. Raises NotAMember, NotAdmin or BadArgument."""
        with self._unit():
            self._conversations.rename(gid, name, now=self._now())

    def set_admin(self, gid: bytes, person: str, *, is_admin: bool = True) -> None:
        """Give or take a member's admin rights. Raises NotAMember, NotAdmin or BadArgument."""
        identity = self._member(gid, person)
        with self._unit():
            self._conversations.set_admin(gid, identity, is_admin=is_admin, now=self._now())

    def leave(self, gid: bytes) -> None:
        """Leave a conversation. Raises NotAMember."""
        with self._unit():
            self._conversations.leave(gid, now=self._now())

    def _member(self, gid: bytes, person: str) -> bytes:
        """The identity of a member by the name the person sees, contact or not."""
        identities = self._conversations.group(gid).identities
        names = self._names(gid)
        found = [i for i in identities if person in (names[i], vault.fingerprint(i))]
        return _pick(found, person, UnknownContact)

    def status(self) -> Status:
        """Where things stand."""
        counts = [
            self._db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608
            for table in ("outbox", "contact", "conversation")
        ]
        return Status(
            name=self._me.name,
            identity=vault.fingerprint(self._me.identity),
            relay=self._me.home.relay,
            region=self._me.home.region,
            transport="direct",
            outbox=counts[0],
            contacts=counts[1],
            conversations=counts[2],
            warnings=self._db.execute(
                "SELECT at, code, detail FROM warning ORDER BY id"
            ).fetchall(),
        )

    def clear_warnings(self) -> None:
        """Forget the warnings the person has seen."""
        with self._unit():
            self._db.execute("DELETE FROM warning")

    # Units of work

    def _fetch(self, key: bytes) -> bytes | None:
        row = self._db.execute("SELECT value FROM mls WHERE key = ?", (key,)).fetchone()
        return bytes(row[0]) if row else None

    def _write_delta(self) -> None:
        _store_delta(self._vault, self._engine)

    @staticmethod
    def _now() -> int:
        return time.time_ns() // 1_000_000

    @contextlib.contextmanager
    def _unit(self) -> Iterator[None]:
        self._raise_failure()
        with self._vault.unit():
            yield
        events, self._conversations.events[:] = self._conversations.events[:], []
        for event in events:
            for queue in self._subscribers:
                queue.put_nowait(event)
        self._wake()

    def _wake(self) -> None:
        """Let whoever waits look again, and see that every relay with something to send has its
        sender."""
        self._changed.set()
        self._changed = asyncio.Event()
        if "ticks" not in self._tasks:
            return  # not started
        rows = self._db.execute("SELECT DISTINCT relay FROM outbox").fetchall()
        for (relay,) in rows:
            self._outbox_changed.setdefault(relay, asyncio.Event()).set()
            if ("send", relay) not in self._tasks:
                self._spawn(("send", relay), self._send_to(relay))

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
                for queue in self._subscribers:
                    queue.put_nowait(None)
            finally:
                self._tasks.pop(key, None)

        self._tasks[key] = asyncio.create_task(guarded())

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def _read_home(self) -> None:
        """Follow the own bucket, for ever."""
        bucket = self._me.home.bucket
        while True:
            try:
                link = await self._links.to(self._me.home.relay)
                after = self._delivery.read_from(bucket.drop_id)
                async with contextlib.aclosing(
                    link.follow(bucket.drop_id, bucket.read_token, after)
                ) as replies:
                    async for cells in replies:
                        await self._take_home(cells)
            except (Unavailable, PeerError, TrustError) as error:
                await self._rest_after(error, bucket.drop_id)

    async def _take_home(self, cells: wire.Cells) -> None:
        bucket = self._me.home.bucket
        while True:
            # What came before a chain was known comes first: the engine reads a sender's messages
            # in their order, give or take a few.
            while self._delivery.again() is not None:
                await self.changed()
            with self._unit():
                fresh = self._delivery.advance(bucket.drop_id, cells, CELLS_PER_UNIT)
                self._take(fresh, now=self._now())
            read = self._delivery.read_from(bucket.drop_id)
            if read >= cells.head:
                self._home_read.set()
                self._wake()
            if read >= cells.first + len(cells.cells) - 1:
                break
            await asyncio.sleep(0)
        self._begin_due()

    def _take(self, cells: Sequence[bytes], *, now: int) -> None:
        for arrival in self._delivery.recognise(cells):
            if isinstance(arrival, FromInvite):
                self._invites.answer(arrival.secret, arrival.payload, now=now)
            elif isinstance(arrival, FromKnock):
                self._invites.welcome(arrival.secret, arrival.payload, now=now)
            elif arrival.kind == CellKind.MLS:
                self._conversations.receive(arrival.gid, arrival.payload, now=now)
            elif arrival.kind == CellKind.NOTICE:
                self._conversations.notice(arrival.gid, now=now)

    async def _read_again(self) -> None:
        """Look once more at what the own bucket held before a chain was known."""
        bucket = self._me.home.bucket
        while (after := self._delivery.again()) is not None:
            request = wire.Read(0, bucket.drop_id, bucket.read_token, after, CELLS_PER_UNIT, 0)
            try:
                link = await self._links.to(self._me.home.relay)
                cells = await link.request(request, wire.Cells)
            except (Unavailable, PeerError, TrustError) as error:
                await self._rest_after(error, b"")
                continue
            with self._unit():
                self._delivery.took_again(cells.first + len(cells.cells) - 1)
                self._take(cells.cells, now=self._now())
        self._begin_due()

    async def _rest_after(
        self, error: Unavailable | PeerError | TrustError, drop_id: bytes
    ) -> None:
        """Wait before a relay is asked again about a drop, and note it if it misbehaved."""
        if isinstance(error, Unavailable):
            await asyncio.sleep(error.retry_after or TICK_S)
        else:
            self._note(error, drop_id)
            await asyncio.sleep(RETRY_MS[0] / 1000)

    def _note(self, error: PeerError | TrustError, drop_id: bytes) -> None:
        """Keep a relay's misbehaviour for the person, and read the drop anew."""
        with self._unit():
            self._conversations.warn(None, error.code, error.detail, now=self._now())
            if isinstance(error, RelayLied):
                self._delivery.start_over(drop_id)

    async def _send_to(self, relay: str) -> None:
        """Bring the outbox of one relay to it, for ever."""
        changed = self._outbox_changed[relay]
        while True:
            changed.clear()
            rows = self._db.execute(
                f"SELECT id, request, purpose, tries, about FROM outbox AS row"  # noqa: S608
                f" WHERE relay = ? AND due_at <= ? AND {_MAY_GO} ORDER BY id LIMIT ?",
                (relay, self._now(), SENDS_PER_WAVE),
            ).fetchall()
            if not rows:
                await self._until_due(relay, changed)
                continue
            try:
                link = await self._links.to(relay)
            except (Unavailable, PeerError, TrustError) as error:
                await self._rest_after(error, b"")
                continue
            # What follows a `create` may need it: it goes alone.
            cut = next((i for i, row in enumerate(rows) if row[2] == "create"), len(rows))
            wave = rows[: max(cut, 1)]
            requests = [wire.decode_request(row[1]) for row in wave]
            answers = await asyncio.gather(
                *(link.ask(request) for request in requests), return_exceptions=True
            )
            try:
                self._settle(wave, answers)
            except DiskFull:  # the rows stay; the relay knows its answers when they are asked again
                await asyncio.sleep(TICK_S)
            if any(isinstance(answer, RelayUnreachable) for answer in answers):
                await asyncio.sleep(RETRY_S[0])

    async def _until_due(self, relay: str, changed: asyncio.Event) -> None:
        (due_at,) = self._db.execute(
            f"SELECT min(due_at) FROM outbox AS row WHERE relay = ? AND {_MAY_GO}",  # noqa: S608
            (relay,),
        ).fetchone()
        delay = None if due_at is None else max(due_at - self._now(), 0) / 1000
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await changed.wait()

    def _settle(
        self, wave: list[tuple[int, bytes, str, int, bytes]], answers: Sequence[object]
    ) -> None:
        """Take the answers to a wave of outbox rows: done, again later, or never."""
        now = self._now()
        with self._unit():
            for (row, _, purpose, tries, about), answer in zip(wave, answers, strict=True):
                if isinstance(answer, RelayUnreachable):
                    continue  # not answered: it goes out again over the next link
                if isinstance(answer, Unavailable | NoSuchDrop | UnexpectedReply):
                    # An epoch drop that another member has still to make looks like a wrong token;
                    # a relay in trouble (a damaged store) gives no answer that is one.
                    pause = min(RETRY_MS[0] << min(tries, 16), RETRY_MS[1])
                    wait = max(pause, int(1000 * (answer.retry_after or 0)))
                    self._db.execute(
                        "UPDATE outbox SET due_at = ?, tries = tries + 1 WHERE id = ?",
                        (now + wait, row),
                    )
                    continue
                if isinstance(answer, BaseException) and not isinstance(answer, PeerError):
                    raise answer
                self._db.execute("DELETE FROM outbox WHERE id = ?", (row,))
                if isinstance(answer, LabelTaken) and purpose == "knock":
                    self._conversations.warn(None, InviteUsed.code, InviteUsed.text, now=now)
                    self._invites.withdraw_knock(about)
                elif isinstance(answer, PeerError):
                    self._conversations.warn(None, answer.code, f"a {purpose} was refused", now=now)
                    if purpose == "commit":
                        self._conversations.refused(about, now=now)
                elif purpose == "commit":
                    self._conversations.notice(about, now=now)
        self._begin_due()

    async def _tick(self) -> None:
        """Do what is due at a time, for ever."""
        last = self._now()
        while True:
            now = self._now()
            with contextlib.suppress(DiskFull):  # it is due again with the next tick
                if now < last:
                    self._begin_clock(now)
                self._do_due(now)
            last = now
            self._begin_due()
            await asyncio.sleep(TICK_S)

    def _begin_clock(self, now: int) -> None:
        """Whatever was put off is due now: at start, for we were away; and when the clock was set
        back, for else it would wait for the old time to come again."""
        with self._unit():
            self._db.execute("UPDATE conversation SET look_due_at = ?", (now,))
            self._db.execute("UPDATE conversation SET ack_due_at = min(ack_due_at, ?)", (now,))
            self._db.execute("UPDATE outbox SET due_at = min(due_at, ?)", (now,))
            self._db.execute("UPDATE intent SET due_at = min(due_at, ?)", (now,))

    def _do_due(self, now: int) -> None:
        receipts = self._db.execute(
            "SELECT gid FROM conversation WHERE ack_due_at <= ?", (now,)
        ).fetchall()
        intents = self._db.execute(
            "SELECT DISTINCT gid FROM intent WHERE due_at <= ? AND kind = 'let-go'", (now,)
        ).fetchall()
        for (gid,) in receipts:
            with self._unit():
                self._conversations.send_receipt(gid, now=now)
        for (gid,) in intents:
            with self._unit():
                self._conversations.attempt(gid, now=now)

    def _begin_due(self) -> None:
        """See that every due look, fetch and large group has its task."""
        if "ticks" not in self._tasks:
            return
        due = self._db.execute(
            "SELECT gid FROM conversation WHERE look_due_at <= ?"
            " AND state IN ('active', 'leaving')",
            (self._now(),),
        ).fetchall()
        for (gid,) in due:
            if ("look", gid) not in self._tasks:
                self._spawn(("look", gid), self._look(gid))
        if self._delivery.again() is not None and "again" not in self._tasks:
            self._spawn("again", self._read_again())
        for gid, ref in self._conversations.awaited():
            if ("fetch", gid) not in self._tasks:
                self._spawn(("fetch", gid), self._fetch_welcome(gid, ref))

    async def _look(self, gid: bytes) -> None:
        """Read the epoch drops of a conversation to their ends; of a large group, stay there."""
        self._looking.add(gid)
        try:
            while self._conversations.is_followed(gid):
                drops = self._conversations.epoch_drops(gid)
                now = self._now()
                if self._is_look_due(gid, now=now):
                    with self._unit():
                        self._conversations.notice(gid, now=now + rules.LOOK_EVERY_MS)
                    for epoch, drop in drops:
                        await self._look_into(gid, epoch, drop, wait=0)
                self._looking.discard(gid)
                self._wake()
                if not self._conversations.is_followed(gid):
                    break
                if self._conversations.epoch_drops(gid) != drops:
                    with self._unit():  # a Commit was found: the next epoch may have ended too
                        self._conversations.notice(gid, now=now)
                elif self._conversations.group(gid).is_large:
                    epoch, drop = drops[-1]
                    await self._look_into(gid, epoch, drop, wait=LARGE_WAIT_S)
                else:
                    break
        finally:
            self._looking.discard(gid)

    def _is_look_due(self, gid: bytes, *, now: int) -> bool:
        row = self._db.execute(
            "SELECT look_due_at <= ? FROM conversation WHERE gid = ?", (now, gid)
        ).fetchone()
        return bool(row[0])

    async def _look_into(self, gid: bytes, epoch: int, drop: Drop, *, wait: int) -> None:
        """Read an epoch drop to its end; wait for a new cell if there is none."""
        sure = self._delivery.read_so_far()
        try:
            try:
                while await self._read_page(gid, epoch, drop, wait=wait):
                    wait = 0
            except NoSuchDrop:  # nobody has made it yet: nobody has spoken yet
                if wait:
                    await asyncio.sleep(TICK_S)
            with self._unit():
                self._conversations.is_sure(gid, epoch, sure)
        except (Unavailable, PeerError, TrustError) as error:
            if isinstance(error, Unavailable):
                with self._unit():
                    self._conversations.notice(gid, now=self._now())
            await self._rest_after(error, drop.drop_id)

    async def _read_page(self, gid: bytes, epoch: int, drop: Drop, *, wait: int) -> bool:
        """Take one reply of an epoch drop; whether there is more."""
        link = await self._links.to(self._conversations.group(gid).policy.relay)
        after = self._delivery.read_from(drop.drop_id)
        request = wire.Read(0, drop.drop_id, drop.read_token, after, wire.MAX_CELLS, wait)
        cells = await link.request(request, wire.Cells)
        last = cells.first + len(cells.cells) - 1
        while self._conversations.is_followed(gid) and epoch in dict(
            self._conversations.epoch_drops(gid)
        ):
            with self._unit():
                self._conversations.read_epoch(
                    gid, epoch, cells, take=CELLS_PER_UNIT, now=self._now()
                )
            if self._delivery.read_from(drop.drop_id) >= last:
                return last < cells.head
            await asyncio.sleep(0)
        return False

    async def _fetch_welcome(self, gid: bytes, ref: FileRef) -> None:
        """Fetch a Welcome that was announced, and join by it."""
        pause = TICK_S
        while True:
            try:
                data = await self._fetch_file(ref)
            except (Unavailable, NoSuchDrop) as error:  # its sender may still be sending
                await asyncio.sleep(error.retry_after or pause)
                pause = min(2 * pause, RETRY_MS[1] / 1000)
                if pause > PATIENCE_S:
                    self._put_off.add(gid)
                with self._unit():
                    self._conversations.forget_welcomes(now=self._now())
                if gid not in dict(self._conversations.awaited()):
                    return
                continue
            except (PeerError, TrustError):
                data = None
            break
        with self._unit():
            self._conversations.let_in(gid, data, now=self._now())
        self._begin_due()

    async def _fetch_file(self, ref: FileRef) -> bytes | None:
        """The content of a file; None if it is not the one announced."""
        drop = rules.file_drop(ref)
        keys = rules.file_keys(ref)
        index = {once.label: number for number, once in enumerate(keys)}
        pieces: dict[int, bytes] = {}
        link = await self._links.to(ref.relay)
        after = 0
        while len(pieces) < len(keys):
            cells = await link.request(
                wire.Read(0, drop.drop_id, drop.read_token, after, FILE_PAGE, wire.MAX_WAIT_S),
                wire.Cells,
            )
            for cell in cells.cells:
                number = index.get(cell[:LABEL_BYTES])
                if number is not None:
                    with contextlib.suppress(InvalidCell):
                        pieces[number] = open_cell(
                            keys[number], cell, region=ref.region, drop_id=drop.drop_id
                        )
            after = cells.first + len(cells.cells) - 1
        data = b"".join(pieces[number] for number in range(len(keys)))
        return data if hashlib.sha256(data).digest() == ref.digest else None


def _store_delta(into: Vault, engine: mls.Engine) -> None:
    for key, value in engine.take_delta():
        if value is None:
            into.db.execute("DELETE FROM mls WHERE key = ?", (key,))
        else:
            into.db.execute("INSERT OR REPLACE INTO mls VALUES (?, ?)", (key, value))


def _pick(found: list[T], name: str, missing: type[UnknownContact | UnknownConversation]) -> T:
    if not found:
        raise missing(name)
    if len(found) > 1:
        raise AmbiguousName(name)
    return found[0]
