"""Joining: coming into a group by a Welcome, which somebody announces and a relay keeps."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from amanat import mls
from amanat.client import rights
from amanat.client.events import (
    Joined,
    Offered,
)
from amanat.client.history import greeting_id
from amanat.client.offers import ASK, MAX_OFFERS, Offer
from amanat.client.rules.entering import REFRESH_MS, Past
from amanat.client.rules.key_packages import KEY_PACKAGES_GIVEN
from amanat.client.rules.outbox import Purpose
from amanat.client.state import State
from amanat.errors import (
    InvalidCommit,
    InvalidCredential,
    InvalidMessage,
    InvalidWelcome,
)
from amanat.protocol import codec
from amanat.protocol.messages import (
    Declined,
    Envelope,
    FileRef,
    Kind,
    Text,
    WelcomeFile,
    WelcomeRef,
    decode_policy,
)

if TYPE_CHECKING:
    from amanat.client.rules.base import Base
    from amanat.client.rules.entering import Entering
    from amanat.client.rules.key_packages import Packages
    from amanat.client.rules.naming import Naming
    from amanat.client.rules.roster import Roster
    from amanat.client.rules.saying import Saying
    from amanat.client.rules.warnings import Warnings
    from amanat.client.rules.wishes import Wishes
    from amanat.client.unit import Unit

WELCOME_LIFE_MS = 14 * 86_400_000
"""How long we look for an announced Welcome, in milliseconds. No file rests longer
(MESSAGE_RETENTION_DAYS)."""
_WELCOME = "welcome "
"""The prefix of the keys under which the vault keeps the Welcome by which we came into a group."""


class AnnouncedWelcome(NamedTuple):
    """A Welcome that somebody has announced to us: the group, the person, and the file in which it
    rests."""

    gid: bytes
    by: bytes
    file: FileRef


class Joining:
    """The Welcomes of one vault."""

    def __init__(
        self,
        base: Base,
        *,
        warnings: Warnings,
        roster: Roster,
        saying: Saying,
        naming: Naming,
        key_packages: Packages,
        entering: Entering,
        wishes: Wishes,
    ) -> None:
        self._cursors = base.cursors
        self._engine = base.engine
        self._recalled = base.recalled
        self._me = base.me
        self._read = base.read
        self._vault = base.vault
        self._gaps = base.gaps
        self._sent = base.sent
        self._history = base.history
        self._offers = base.offers
        self._repeats = base.repeats
        self._warnings = warnings
        self._roster = roster
        self._saying = saying
        self._naming = naming
        self._key_packages = key_packages
        self._entering = entering
        self._wishes = wishes

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
        """Join by a Welcome that the person `by` made; returns the gid. `clock` is that person's.

        Raises InvalidWelcome if it is not the announced one, and then consumes nothing.
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
        past = Past()
        if self._roster.state(view.gid) is not None:
            if self._roster.is_active(view.gid):
                raise InvalidWelcome
            self._entering.end(unit, view.gid)  # we were removed earlier and are added again
            if not self._recalled.has(view.gid):
                self._engine.delete_group(view.gid)
            past = Past(
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
        # In a group, somebody may have spoken to us since we made the KeyPackage. In a 1:1
        # conversation nobody has, because the Welcome goes ahead of everything else
        # (rules/sending.py).
        if direct:
            sure = self._cursors.read_so_far()
        self._entering.insert(unit, view.gid, past, sure=sure)
        self._roster.move_clock(unit, view.gid, clock)
        self._entering.plan_refresh(unit, view.gid, REFRESH_MS[0])
        for person in rights.read_members(view.members):
            if person.signer != self._me.signer:
                unit.db.execute(
                    "INSERT INTO since (gid, signer, sent_seq) VALUES (?, ?, 0)",
                    (view.gid, person.signer),
                )
                came = 0 if direct else view.epoch
                self._gaps.come_in(unit, view.gid, person.signer, person.identity, came)
        if past.sent_seq:
            self._sent.count_from(unit, view.gid, past.sent_seq + 1)
        self._entering.enter_epoch(unit, view.gid)
        if self._roster.group(view.gid).is_large:  # elsewhere we have told the members by now
            self._naming.tell(unit, view.gid)
        unit.events.append(Joined(view.gid))
        return view.gid

    def repeat(self, unit: Unit) -> None:
        """Append again the cells that let people in, where that is due and they have not come,
        because a relay may have forgotten them."""
        for gid in self._repeats.due(Purpose.REPLY, now=unit.now):
            is_awaited = self._roster.is_active(gid) and not any(
                self._roster.has_heard_in(*one) for one in self._repeats.people(gid)
            )
            self._repeats.go_on(unit, gid, is_awaited=is_awaited)
        for drop_id in self._repeats.due(Purpose.FILE, now=unit.now):
            is_awaited = any(
                self._roster.state(one.gid) is not None
                and one.identity in self._roster.group(one.gid).identities
                for one in self._repeats.people(drop_id)
            )
            self._repeats.go_on(unit, drop_id, is_awaited=is_awaited)

    def awaited(self) -> list[AnnouncedWelcome]:
        """The announced Welcomes that we are to fetch. One into a conversation that we are in waits
        until we are not: we may have been removed without knowing it yet, or be in somebody else's
        group of that id."""
        rows = self._read.all(
            "SELECT gid, inviter, ref FROM joining WHERE NOT EXISTS (SELECT 1 FROM conversation"
            " WHERE conversation.gid = joining.gid AND state IN ('active', 'leaving'))"
        )
        return [AnnouncedWelcome(gid, by, decode_file_ref(ref)) for gid, by, ref in rows]

    def forget_welcomes(self, unit: Unit) -> None:
        """Give up the Welcomes whose file has ended before we could fetch it."""
        gone: list[tuple[bytes, bytes]] = unit.db.execute(
            "DELETE FROM joining WHERE told_at < ? RETURNING gid, inviter",
            (unit.now - WELCOME_LIFE_MS,),
        ).fetchall()
        gone += [
            (one.gid, one.by)
            for one in self._offers.expire(unit, told_before=unit.now - WELCOME_LIFE_MS)
        ]
        for gid, by in gone:
            if not (
                self._roster.is_active(gid) and self._roster.added_by(gid) == by
            ):  # else they have let us in
                self._warnings.warn(unit, None, InvalidWelcome.code, "a Welcome came too late")

    def join_from_file(self, unit: Unit, one: AnnouncedWelcome, file: bytes | None) -> None:
        """Join by a fetched Welcome, unless it is no longer awaited.

        `file` is None if the file there is not the announced one.
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
            self._warnings.warn(
                unit, self._roster.direct_with(by), error.code, "a Welcome into a group", whom=by
            )
            return
        unit.put(_WELCOME + gid.hex(), hashlib.sha256(file).digest())
        unit.db.execute("UPDATE conversation SET added_by = ? WHERE gid = ?", (by, gid))
        self._key_packages.give_key_packages(
            unit, self._roster.direct_with(by), mls.HYBRID_SUITE, 1, joined=gid
        )
        for (other,) in unit.db.execute(
            "SELECT inviter FROM joining WHERE gid = ?", (gid,)
        ).fetchall():
            self._tell_of_another(unit, gid, other)

    def _tell_of_another(self, unit: Unit, gid: bytes, by: bytes) -> None:
        """Warn the person that somebody adds us to a group with the id of one that somebody else
        has added us to. Only the person can say which of the two they want to be in."""
        if self._roster.is_active(gid) and self._roster.added_by(gid) != by:
            how = "into a group that you are in by somebody else; it waits until you have left that"
            self._warnings.warn(
                unit, self._roster.direct_with(by), InvalidWelcome.code, how, whom=by
            )

    def came_by(self, gid: bytes) -> bytes:
        """The digest of the Welcome by which we came into a group; empty if we did not."""
        try:
            return self._vault.get(_WELCOME + gid.hex())
        except KeyError:
            return b""

    def start_talking(
        self, unit: Unit, gid: bytes, identity: bytes, signer: bytes, greeting: str
    ) -> None:
        """Begin a new 1:1 conversation, as both sides do: show the greeting of `identity`, and give
        the other KeyPackages for later groups."""
        if greeting:
            envelope = Envelope(
                id=greeting_id(gid),
                seq=1,  # outside the device's own count, because the greeting came by the knock
                previous=bytes(32),
                clock=1,
                sent_at=unit.now,
                kind=Kind.TEXT,
                body=b"",
                acks=[],
                more={},
            )
            said = Text(greeting, None, 0)
            unit.events += self._history.keep(unit, gid, identity, signer, envelope, said)
            unit.db.execute("UPDATE conversation SET clock = 1 WHERE gid = ?", (gid,))
        self._key_packages.give_key_packages(unit, gid, mls.HYBRID_SUITE, KEY_PACKAGES_GIVEN)

    def take_welcome(self, unit: Unit, sender: bytes, ref: WelcomeRef) -> None:
        """Join a group to which somebody has added us, or ask the person."""
        offer = Offer(
            ref.group, sender, ref.name, codec.encode(ref.file), ref.key_package, told_at=unit.now
        )
        if self._offers.adds is ASK:
            if self._offers.keep(unit, offer):
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
        """Join a group that somebody has asked us to join. Raises UnknownConversation."""
        self._begin_joining(unit, self._offers.take(unit, gid, by))

    def decline_offer(self, unit: Unit, gid: bytes, by: bytes) -> None:
        """Stay out of a group that somebody has asked us to join, and tell them, so that they can
        take us out of it. Raises UnknownConversation."""
        offer = self._offers.take(unit, gid, by)
        row = unit.db.execute(
            "SELECT nonce FROM key_package WHERE ref = ? AND identity = ? AND nonce != x''",
            (offer.key_package, by),
        ).fetchone()
        direct = self._roster.direct_with(by)
        if row is None or self._history.is_blocked(by):
            return
        self._engine.delete_key_package(offer.key_package)
        unit.db.execute("DELETE FROM key_package WHERE ref = ?", (offer.key_package,))
        no = codec.encode(Declined(gid, self._wishes.wish_to_leave(gid, row[0])))
        if self._roster.is_active(direct):
            self._saying.say(unit, direct, Kind.DECLINED, no)
        elif self._roster.state(direct) is State.ASTRAY:
            self._saying.keep_waiting(unit, direct, Kind.DECLINED, no)


_welcome_files = codec.decoder_of(WelcomeFile)
_files = codec.decoder_of(FileRef)


def decode_file_ref(data: bytes) -> FileRef:
    """Decode the reference to a file: its place and its keys. Raises InvalidMessage."""
    return codec.decode(_files, data, InvalidMessage)
