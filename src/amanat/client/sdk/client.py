"""The client: a person's side of Amanat, as programs use it.

    async with Client.open(directory, Unlock(passphrase="...")) as client:
        print(client.invite())
        async for event in client.events():
            ...

This module assembles the parts of the shell. Each part owns its tasks, and the rules own the
rest."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self

from amanat import mls
from amanat.client import profile, vault
from amanat.client.events import SummaryChanged, TextArrived
from amanat.client.invite import LIFE_S, from_link, to_link
from amanat.client.parts import Parts, assemble, store_delta
from amanat.client.places import Places
from amanat.client.routes import Routes
from amanat.client.sdk.backups import BackupsOf
from amanat.client.sdk.chat import Chat
from amanat.client.sdk.imports import Imports
from amanat.client.sdk.offers import Offers
from amanat.client.sdk.read_marks import ReadMarks
from amanat.client.sdk.reading import Reading
from amanat.client.sdk.standing import Standing
from amanat.client.sdk.together import Together
from amanat.client.sdk.unlocking import Unlocking
from amanat.client.sdk.visitors import Visitors
from amanat.client.shell.agenda import Agenda
from amanat.client.shell.buckets import Buckets
from amanat.client.shell.carrier import Carrier
from amanat.client.shell.daily import Daily
from amanat.client.shell.drawing import draw_first
from amanat.client.shell.exits import Exits
from amanat.client.shell.fetches import Fetches
from amanat.client.shell.hopping import Hopping
from amanat.client.shell.kept_places import KeptPlaces
from amanat.client.shell.looks import Looks
from amanat.client.shell.pausing import Pausing
from amanat.client.shell.runtime import Runtime
from amanat.client.shell.sender import Sender
from amanat.client.shell.watch import Watch
from amanat.client.surroundings import MACHINE, Surroundings
from amanat.errors import Overrun
from amanat.protocol import codec
from amanat.protocol.descriptor import parse_address
from amanat.protocol.identity import check_name
from amanat.proxy import Proxied, parse_proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from amanat.client.events import Event
    from amanat.client.feed import Feed
    from amanat.client.sdk.views import (
        Contact,
        ConversationView,
        Found,
        Message,
        OpenInvite,
        Status,
        Summary,
    )
    from amanat.client.unit import Unit
    from amanat.client.vault import Unlock, Vault


FORMER_WAIT_S = 3.0
"""The longest that `caught_up` waits for the relay of a former home, in seconds. Such a relay may
never answer again."""


class _Events:
    """The events from now on. Cancelling a wait for the next event, by a time limit for instance,
    loses no event and does not end the iteration; with a generator it would."""

    def __init__(self, run: Runtime) -> None:
        self._run = run
        self._feed: Feed[Event] = run.feed()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        event = await self._feed.get()
        if event is None:
            self._run.raise_failure()
            raise StopAsyncIteration
        return event


class Client:
    """An open profile. Use as an async context manager, or call `start` and `close`."""

    def __init__(self, parts: Parts, around: Surroundings = MACHINE) -> None:
        run = self._run = Runtime(parts, around)
        self._vault = parts.vault
        self._me = parts.me
        self._conversations = parts.conversations
        self._invites = parts.invites
        self._unit = run.unit
        kept = KeptPlaces(run)

        def learn(relay: bytes, order: bytes) -> None:
            self.watch.learn_move(relay, order)  # the watch stands on these routes

        routes = self._routes = Routes(
            parts.me.homes,
            profile.read_hop(parts.vault),
            kept,
            period_s=profile.read_period(parts.vault),
            somebody=parts.conversations.roster.relay_of_somebody,
            clock=lambda: run.now() / 1000,
            allows=parts.homes.allows,
            learn=learn,
        )
        routes.moved |= parts.moves.destinations(now=run.now())
        pausing = Pausing(run)
        Sender(run, routes, pausing)
        carrier = Carrier(run, routes, pausing)
        self._looks = Looks(run, routes, pausing)
        self._buckets = Buckets(run, routes, pausing)
        self._fetches = Fetches(run, routes, pausing)
        self._agenda = Agenda(run, routes, self._buckets)
        self.hopping = Hopping(run, routes, kept)
        """The way in which requests reach relays."""
        self.home = Exits(run, routes, kept, self.hopping, self._agenda, self._buckets)
        """The homes of this person."""
        self.watch = Watch(run, routes, self.home)
        """The ledgers and the move notices of our relays."""
        self._reading = Reading(run)
        self.files = self._reading.files
        """The files that are on their way."""
        self.files.is_covered = lambda: bool(routes.period_s)
        self.files.has = carrier.has
        self._standing = Standing(run, routes, self._buckets, self._reading)
        self.offers = Offers(run, self._reading)
        """The groups that contacts ask us to join."""
        self.imports = Imports(run)
        """The chats that the person brought along from other messengers."""
        self.visitors = Visitors(run)
        """The people who have knocked on our invites and wait for our answer."""
        self.read_marks = ReadMarks(run)
        """Whether the others learn what we have read."""
        self.backups = BackupsOf(run, Daily(run))
        """The backups of this person, and the recovery phrase that opens them."""
        self.unlocking = Unlocking(run)
        """The passphrase, keyring entry or key that opens the profile."""

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
        proxy: str = "",
        proxy_login: str = "",
        around: Surroundings = MACHINE,
    ) -> Self:
        """Make a new person in `directory`, at home on a relay, and open the profile.

        `relay` is an address such as `amanat://HOST:PORT/#KEY`, `access` the relay's access code if
        it has one; `fallback` is another relay, where the person can be reached while the first is
        away. With a `proxy`, everything goes through it from the first connection on, as after
        `hopping.set_proxy`. Raises BadArgument, BrokenAddress, ProfileExists, RelayUnreachable,
        ProxyAway, RelayKeyChanged, BrokenDescriptor or NoAccess, and then leaves nothing behind.
        """
        name = check_name(name)
        first = parse_address(relay)
        other = parse_address(fallback) if fallback else None
        through = parse_proxy(proxy, proxy_login) if proxy else None
        network = Proxied(around.network, through)
        behind = around._replace(network=network)
        try:
            homes = await draw_first(first, access, other, fallback_access, behind)
        finally:
            await network.end()
        home, second = homes[0], homes[1] if fallback else None

        def fill(unit: Unit, new: Vault) -> None:
            engine = mls.Engine(lambda _key: None)
            places = Places(new)
            home.begin(unit, places)
            profile.write(unit, engine, name=name, home=home.home)
            if second is not None:
                second.begin(unit, places)
                profile.write_home(unit, "fallback", second.home)
            if through is not None:
                profile.set_proxy(unit, codec.encode(through))
            store_delta(unit, engine)

        vault.create(directory, unlock, fill, now=around.now(), driver=around.driver)
        return cls.open(directory, unlock, around)

    @classmethod
    def open(cls, directory: Path, unlock: Unlock, around: Surroundings = MACHINE) -> Self:
        """Open a profile. The client sends and reads nothing before `start`.

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
        self._conversations.blobs.sweep()
        self._agenda.begin_clock(self._run.now())
        with self._unit() as unit:
            self._conversations.claims.begin(unit)
        self._buckets.begin()
        self._agenda.begin()
        self.hopping.begin()
        self.watch.begin()
        self.home.begin_following()

    async def stop(self) -> None:
        """Stop all work: break off everything under way, and write and send nothing more."""
        self._routes.close()
        await self._run.stop()

    async def close(self) -> None:
        """Stop, and let other processes open the profile. Unsent requests stay in the outbox."""
        await self.stop()
        if self._run.failure is None and self._run.parts.cursors.has_passed:
            with self._vault.unit(now=self._run.now()):
                pass  # writes how far other people's cells were read
        self._vault.close()
        self._run.end_feeds()

    def events(self) -> AsyncIterator[Event]:
        """The events from this call on. The iteration ends when the client is closed.

        A program that does not take its events loses them: after feed.MAX_EVENTS untaken events the
        iteration raises Overrun, and the program has to read again everything that it shows. It
        also raises the error that stopped the client, if there was one.
        """
        return _Events(self._run)

    async def flushed(self) -> None:
        """Wait until every relay has accepted or refused the requests that are due, and no Commit
        is undecided.

        Requests that a relay has refused for now stay in the outbox; `status().outbox` counts them.
        """
        while self._standing.is_waiting():
            await self._run.changed()

    @property
    def is_caught_up(self) -> bool:
        """Whether our bucket has been read to its end since the client was started."""
        return self._buckets.is_read.is_set()

    async def heard_of_former(self) -> None:
        """Wait until, for each former home, its bucket has been read or its relay is known to be
        away."""
        await self._buckets.heard_of_former()

    async def caught_up(self) -> None:
        """Wait until our bucket, and everything that it points to, has been read to its end once. A
        covered client does not wait for the latter, which takes its time."""
        await self._buckets.is_read.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FORMER_WAIT_S):
                await self._buckets.heard_of_former()
        if self._routes.period_s:
            return
        while (
            self._looks.looking
            or self._vault.read.execute(
                "SELECT 1 FROM conversation WHERE look_due_at <= ?"
                " AND state IN ('active', 'leaving')"
                " UNION ALL SELECT 1 FROM meta WHERE key = 'again'",
                (self._run.now(),),
            ).fetchone()
            or self._fetches.awaited()
        ):
            await self._run.changed()

    # People

    def invite(self, life_s: int = LIFE_S) -> str:
        """The link of a new invite, valid for one person and for `life_s` seconds. No relay is
        involved. Raises BadArgument."""
        with self._unit() as unit:
            return to_link(self._invites.make(unit, life_s))

    def withdraw_invite(self, invite: str) -> None:
        """Withdraw the invite with this id, so that nobody can use it any more. Raises
        UnknownInvite or AmbiguousName."""
        with self._unit() as unit:
            self._invites.withdraw(unit, invite)

    def accept(self, link: str, greeting: str = "") -> str:
        """Knock on an invite; returns the inviter's name. The contact exists once they have
        answered.

        Raises BrokenInvite, OwnInvite, InviteExpired, InviteUsed (by ourselves, earlier) or
        BadArgument.
        """
        invite = from_link(link)
        with self._unit() as unit:
            self._invites.knock(unit, invite, greeting)
        return invite.name

    def rename(self, name: str) -> None:
        """Take another name. Contacts, and the members of our groups, are told, and shown that it
        has changed; open invites keep the earlier name. Raises BadArgument for a text that is no
        name."""
        with self._unit() as unit:
            self._conversations.naming.rename(unit, name)

    # Conversations

    def create_group(self, name: str, people: Sequence[str] = ()) -> ConversationView:
        """Start a group with contacts, with ourselves as its admin.

        Raises BadArgument, UnknownContact, AmbiguousName or GroupTooLarge.
        """
        contacts = [self._reading.contact(person) for person in people]
        with self._unit() as unit:
            gid = self._conversations.entering.create_group(unit, name, people=len(contacts) + 1)
            self._conversations.wishes.add(unit, gid, [c.identity for c in contacts])
            unit.events.append(SummaryChanged(gid))
        return self._reading.view(gid)

    def mark_read(self, gid: bytes | None = None) -> None:
        """Mark everything kept so far as read, in one conversation or in all."""
        with self._unit() as unit:
            self._conversations.saying.mark_read(unit, gid)

    # This program

    def check_vault(self) -> str:
        """The damage in the vault's pages, in SQLite's words; empty if there is none."""
        return self._vault.damage()

    def traffic(self) -> tuple[int, int]:
        """(bytes sent, bytes received) of WebSocket payload since the client was opened."""
        return self._routes.sent_bytes, self._routes.received_bytes

    def clear_warnings(self) -> None:
        """Forget the warnings that the person has seen."""
        with self._unit() as unit:
            unit.db.execute("DELETE FROM warning")

    def invites(self) -> list[OpenInvite]:
        """The invites that can still be used, the oldest first."""
        return self._standing.invites()

    def contacts(self) -> list[Contact]:
        """Everyone we can write to, by name."""
        return self._reading.contacts()

    def contact(self, name: str) -> Contact:
        """The contact with an id, or with a name that is no id. Raises UnknownContact or
        AmbiguousName."""
        return self._reading.contact(name)

    def chat(self, which: bytes | str) -> Chat:
        """A conversation by its gid, or by a name or an id as `conversation` finds it. Raises
        UnknownConversation or AmbiguousName."""
        gid = which if isinstance(which, bytes) else self._reading.conversation(which).gid
        return Chat(self._run, self._reading, gid)

    def notes(self) -> Chat:
        """Our notes to ourselves, which begin with the first call. Nothing of them goes to any
        relay; otherwise they are a conversation like any other, with our own name."""
        with self._unit() as unit:
            gid = self._conversations.entering.notes(unit)
        return Chat(self._run, self._reading, gid)

    def together(self) -> Together:
        """A list of things to do as one: either all of them become durable, or none."""
        return Together(self._run, self._reading)

    def now(self) -> int:
        """The time of this client, in Unix milliseconds."""
        return self._run.now()

    def conversations(self) -> list[ConversationView]:
        """All conversations, groups and 1:1, in the order in which they began, without those that
        we have left and cleared."""
        return self._reading.conversations()

    def conversation(self, name: str) -> ConversationView:
        """The conversation with this id or with the contact of this id, else the one with a contact
        of this name, else the group of this name. Raises UnknownConversation or AmbiguousName."""
        return self._reading.conversation(name)

    def group(self, name: str) -> ConversationView:
        """The group with an id, or with a name that is no id. Raises UnknownConversation,
        AmbiguousName, or NotAMember for a conversation of two."""
        return self._reading.group(name)

    def summaries(self) -> list[Summary]:
        """The lines of all conversations, in the order in which they began."""
        return self._reading.summaries()

    def search(
        self, words: str, *, gid: bytes | None = None, before: int | None = None, many: int = 50
    ) -> list[Found]:
        """The messages that hold all of these words, of one conversation or of all, the last to
        arrive first. The last word also matches words that begin with it. With `before`, only rows
        below it; at most `many` (search.MAX_FOUND). Raises BadArgument if there is no word."""
        return self._reading.search(words, gid=gid, before=before, many=many)

    def unread(
        self, gid: bytes | None = None, *, everything: bool = False
    ) -> list[tuple[Message, ConversationView]]:
        """The texts that are not marked as read, of one conversation or of all, without our own.

        With `everything`, all texts. Those of each conversation come in its order.
        """
        return self._reading.unread(gid, everything=everything)

    def arrivals(self, gid: bytes | None = None) -> list[Message]:
        """The unread texts of others, of one conversation or of all, in the order in which they
        arrived."""
        return self._reading.arrivals(gid)

    async def messages(self) -> AsyncIterator[Message]:
        """The unread texts of others, and then each new one, in the order in which they arrived.
        Each is marked as read when the body of the loop has ended.

        If the program ends in between, nothing is left out: the next run gets the unfinished text
        again. The iteration ends when the client is closed. It raises the error that stopped the
        client, if there was one.
        """
        feed, gid = self._run.feed(), None
        while True:
            for message in self.arrivals(gid):
                if not message.is_deleted:
                    yield message
                message.seen()
            try:
                event = await feed.get()
                while event is not None and not isinstance(event, TextArrived):
                    event = await feed.get()
            except Overrun:  # the vault has everything
                feed, gid = self._run.feed(), None
                continue
            if event is None:
                self._run.raise_failure()
                return
            gid = event.gid

    def status(self) -> Status:
        """An overview of the client, its relays and its people."""
        return self._standing.status()

    async def changed(self) -> None:
        """Wait until something may have changed, for one tick at most."""
        await self._run.changed()

    @property
    def failure(self) -> BaseException | None:
        """The error that has stopped the client, if there is one."""
        return self._run.failure
