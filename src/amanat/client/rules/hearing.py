"""Hearing: hands each incoming cell to the rule that it concerns, and then carries out what
follows."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Literal, assert_never

from msgspec import structs

from amanat import mls
from amanat.client.follow import Follow, HearEarly, WelcomeJoiners, WentOn
from amanat.client.history import decode_repair
from amanat.client.holding import Fetched, HeldDrop
from amanat.client.rules.key_packages import KEY_PACKAGES_GIVEN
from amanat.client.rules.roster import MAX_CLOCK_STEP
from amanat.client.state import State
from amanat.client.vault import fingerprint
from amanat.errors import (
    BrokenChain,
    FutureEpoch,
    HeardOtherwise,
    InvalidCell,
    InvalidCredential,
    InvalidKeyPackage,
    InvalidMessage,
    MessageLost,
    NotAdmin,
    OwnMessage,
    PeerError,
    ReusedSecret,
    TooOld,
)
from amanat.protocol import codec, wire
from amanat.protocol.identity import (
    check_credential,
)
from amanat.protocol.kinds import CELL_KINDS, KINDS, Blocked, known, known_cell
from amanat.protocol.messages import (
    BEFORE,
    HOLDS,
    MARK_BYTES,
    MAX_KEY_PACKAGES,
    NO_MARK,
    Ack,
    Befores,
    CellKind,
    Declined,
    Envelope,
    Epoch,
    FragmentKind,
    KeyPackages,
    KeyPackagesWanted,
    Kind,
    PairCell,
    Place,
    Repair,
    Votes,
    WelcomeRef,
    decode_envelope,
    envelope_hash,
)

if TYPE_CHECKING:
    from amanat.client.rules.addresses import Addresses
    from amanat.client.rules.astray import Astray
    from amanat.client.rules.base import Base
    from amanat.client.rules.commits import Commits
    from amanat.client.rules.epochs import Epochs
    from amanat.client.rules.gossip import Gossip
    from amanat.client.rules.joining import Joining
    from amanat.client.rules.key_packages import Packages
    from amanat.client.rules.naming import Naming
    from amanat.client.rules.repair import Repairs
    from amanat.client.rules.roster import Roster
    from amanat.client.rules.saying import Saying
    from amanat.client.rules.sharing import Sharing
    from amanat.client.rules.warnings import Warnings
    from amanat.client.rules.wishes import Wishes
    from amanat.client.unit import Unit


class Hearing:
    """The incoming cells of one vault."""

    def __init__(
        self,
        base: Base,
        *,
        warnings: Warnings,
        roster: Roster,
        epochs: Epochs,
        saying: Saying,
        addresses: Addresses,
        naming: Naming,
        key_packages: Packages,
        astray: Astray,
        gossip: Gossip,
        repair: Repairs,
        commits: Commits,
        wishes: Wishes,
        joining: Joining,
        sharing: Sharing,
    ) -> None:
        self._cursors = base.cursors
        self._engine = base.engine
        self._me = base.me
        self._places = base.places
        self._claims = base.claims
        self._gaps = base.gaps
        self._sent = base.sent
        self._reads = base.reads
        self._history = base.history
        self._holding = base.holding
        self._pieces = base.pieces
        self._repeats = base.repeats
        self._whereabouts = base.whereabouts
        self._warnings = warnings
        self._roster = roster
        self._epochs = epochs
        self._saying = saying
        self._addresses = addresses
        self._naming = naming
        self._key_packages = key_packages
        self._astray = astray
        self._gossip = gossip
        self._repair = repair
        self._commits = commits
        self._wishes = wishes
        self._joining = joining
        self._sharing = sharing

    def read_epoch(
        self, unit: Unit, gid: bytes, epoch: int, cells: wire.Cells, *, take: int
    ) -> None:
        """Take the first `take` cells of an epoch drop's reply.

        Raises RelayLied if they do not continue the cells read before.
        """
        try:
            place = self._epochs.epoch_place(gid, epoch)
        except KeyError:
            return  # the group has moved on since the request
        if cells.first > self._cursors.read_from(place.drop.drop_id) + 1:
            self._epochs.has_hole(gid, epoch)
        for cell in self._cursors.advance(unit, place.drop.drop_id, cells, take):
            try:
                piece = place.open(cell)
            except InvalidCell:
                continue  # junk of somebody who knows the drop; every member skips it alike
            if piece.kind is FragmentKind.COMMIT:
                self._epochs.was_shown(unit, gid, piece)
            data = self._pieces.take(unit, place.drop.drop_id, piece)
            if data is None:
                continue
            match piece.kind:
                case FragmentKind.COMMIT:
                    self._commits.take_commit(unit, gid, epoch, data)
                case FragmentKind.HELD:
                    self._expect_held(unit, gid, b"", data, Epoch(0, bytes(8)))
                case FragmentKind.MESSAGE:
                    self.receive(unit, gid, data)
                case _:
                    assert_never(piece.kind)
            self.drain(unit)

    def receive(self, unit: Unit, gid: bytes, message: bytes) -> None:
        """Take an MLS message that came by a pair chain or an epoch drop."""
        if not self._roster.is_followed(gid):
            return
        try:
            received = self._engine.process(gid, message)
        except FutureEpoch:
            self._astray.keep_early(unit, gid, message)
            return
        except (OwnMessage, ReusedSecret):
            return  # anyone who knows an epoch drop can show its cells again
        except TooOld:
            return  # if it is news, we miss it, and its author sends it again
        except PeerError as error:
            self._warnings.warn(unit, gid, error.code, "a message could not be read")
            return
        if isinstance(received, mls.StagedCommit):
            self._engine.reject(received.handle)  # Commits count in the epoch drop only
            return
        try:
            sender = check_sender(received)
            envelope = decode_envelope(received.plaintext)
        except PeerError as error:
            self._warnings.warn(unit, gid, error.code, "a message could not be read")
            return
        digest = envelope_hash(received.plaintext)
        mark = received.aad if len(received.aad) == MARK_BYTES else NO_MARK
        self._hear(unit, gid, sender, received.signer, envelope, digest, mark=mark)

    def take(
        self, unit: Unit, gid: bytes, signer: bytes, cell: PairCell, *, is_past: bool = False
    ) -> None:
        """Take a cell that came by a pair chain, or by one that has ended (`is_past`)."""
        self._gossip.check_gossip(unit, gid, signer, cell)
        kind = known_cell(cell.kind)
        if is_past and kind is not None and not CELL_KINDS[kind].counts_late:
            # Only that chain vouches for it, and a copy of a vault may still have the chain.
            self._gaps.ask_now(unit, gid, signer)
            self.drain(unit)
            return
        match kind:
            case CellKind.MLS:
                self.receive(unit, gid, cell.payload)
            case CellKind.NOTICE:
                self._astray.called(unit, gid, cell.epoch)
            case CellKind.HELD:
                self._expect_held(unit, gid, signer, cell.payload, cell.epoch, is_past=is_past)
            case CellKind.WANTED | CellKind.REPAIR:
                self._take_repair(unit, gid, signer, kind, cell.payload)
            case None:
                pass  # of a later version
            case _:
                assert_never(kind)
        self.drain(unit)

    def _take_repair(
        self,
        unit: Unit,
        gid: bytes,
        signer: bytes,
        kind: Literal[CellKind.WANTED, CellKind.REPAIR],
        payload: bytes,
    ) -> None:
        """Take a member's request for envelopes that they miss, or their repair of one that we
        miss."""
        if not self._roster.is_followed(gid):
            return
        people = {p.signer: p.identity for p in self._roster.group(gid).people}
        if signer not in people:
            return
        try:
            match kind:
                case CellKind.WANTED:
                    self._repair.repair(unit, gid, signer, payload)
                case CellKind.REPAIR:
                    self._mend(unit, gid, people[signer], signer, payload)
                case _:
                    assert_never(kind)
        except PeerError as error:
            self._warnings.warn(
                unit, gid, error.code, "a repair could not be read", whom=people[signer]
            )

    def _expect_held(
        self,
        unit: Unit,
        gid: bytes,
        signer: bytes,
        notice: bytes,
        at: Epoch,
        *,
        is_past: bool = False,
    ) -> None:
        """Take the notice that a word waits at its sender's home, or at that of some member of a
        large group (`signer` is empty)."""
        if not self._roster.is_followed(gid) or self._history.is_shut(gid):
            return  # we keep nothing of blocked people, and fetching it would be a sign of life
        peers = [
            p for p in self._roster.others(self._roster.group(gid)) if signer in (b"", p.signer)
        ]
        named = [address.relay for peer in peers for address in peer.addresses]
        for address in named:
            self._places.learn(unit, address)
        relays = {address.key for address in named}
        if not signer:  # we also read our own words
            relays |= {home.relay for home in self._me.homes}
        try:
            if not self._holding.expect(unit, gid, signer, notice, relays, at, is_past=is_past):
                self._gaps.ask_now(unit, gid, signer)
        except InvalidMessage as error:
            self._warnings.warn(unit, gid, error.code, "a notice of a held word could not be read")

    def take_fetched(self, unit: Unit, place: HeldDrop, cells: wire.Cells) -> None:
        """Take the awaited words among the cells of a drop."""
        for one in self._holding.find(unit, place, cells.cells, cells.first):
            self.take_one(unit, one)

    def take_one(self, unit: Unit, one: Fetched) -> None:
        """Take a held word that was fetched."""
        if not one.signer:
            self.receive(unit, one.gid, one.payload)
            self.drain(unit)
        else:
            cell = PairCell(one.kind, one.payload, [], one.at)
            self.take(unit, one.gid, one.signer, cell)

    def _hear_early(self, unit: Unit, gid: bytes) -> None:
        rows = unit.db.execute(
            "DELETE FROM early WHERE gid = ? RETURNING id, data, kept_at", (gid,)
        ).fetchall()
        for _, message, _ in sorted(rows):
            if message:
                self.receive(unit, gid, message)
                self.drain(unit)
        since = min((kept_at for _, _, kept_at in rows), default=unit.now)
        unit.db.execute("UPDATE early SET kept_at = min(kept_at, ?) WHERE gid = ?", (since, gid))

    def _hear(
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
                self._gaps.learn(unit, gid, signer, said.epochs)
        except InvalidMessage as error:
            self._warnings.warn(
                unit, gid, error.code, "a message was malformed inside", whom=sender
            )
        if not self._count(unit, gid, sender, signer, envelope.seq, place, mark=mark):
            return
        latest = self._roster.clock(gid) + MAX_CLOCK_STEP
        envelope = structs.replace(envelope, clock=min(envelope.clock, latest))
        self._roster.move_clock(unit, gid, envelope.clock)
        self._holding.note(unit, gid, sender, holds=HOLDS in envelope.more)
        self._take_acks(unit, gid, sender, envelope.acks)
        if self._roster.has_receipts(gid) and self._sent.is_unheard(
            unit, gid, signer, sender, envelope.sent_at
        ):
            self._warnings.doubt_relay(unit, gid, sender, how="what we say does not reach them")
        kind = known(envelope.kind)
        if kind is None or KINDS[kind].is_confirmed:
            self._saying.owe_receipt(unit, gid)
        if kind is None:
            return  # of a later version
        try:
            self._obey(unit, gid, sender, signer, kind, envelope)
        except (InvalidMessage, InvalidKeyPackage, InvalidCredential) as error:
            self._warnings.warn(
                unit, gid, error.code, "a message was malformed inside", whom=sender
            )

    def _count(
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
        """Count an envelope of a device; returns whether it is new."""
        heard = self._gaps.hear(unit, gid, signer, sender, seq, place, mark=mark)
        self._gaps.watch(unit, gid, signer)
        if not heard.is_whole:
            self._warnings.warn(unit, gid, BrokenChain.code, "", whom=sender)
        if heard.is_lost:
            self._warnings.warn(unit, gid, MessageLost.code, "", whom=sender)
        return heard.is_new

    def _take_acks(self, unit: Unit, gid: bytes, sender: bytes, acks: list[Ack]) -> None:
        (counted,) = unit.db.execute(
            "SELECT counted FROM conversation WHERE gid = ?", (gid,)
        ).fetchone()
        for ack in acks:
            if ack.device != self._me.signer[:8]:
                about = self._gaps.tell(unit, gid, ack.device, ack.seq, ack.hash)
                if about is not None:
                    how = f"{fingerprint(sender)}, of what {fingerprint(about)} said"
                    self._warnings.warn(unit, gid, HeardOtherwise.code, how, whom=sender)
                continue
            ours = self._sent.what_we_said(gid, ack.seq)
            if ack.seq <= counted:
                continue  # of a count that is over
            if ours is None:  # of long ago: everybody has it, but they may have read it since
                self._reads.hear(unit, gid, sender, min(ack.read, ack.seq))
                continue
            if ours[:8] != ack.hash:
                # This is a claim. It is true if it carries the mark that only we can have made.
                if ack.mark == self._claims.mark(gid, ack.seq, ack.hash):
                    self._astray.all_astray(unit)
                    if self._roster.state(gid) is State.ASTRAY:
                        self._sent.was_used(unit, gid, ack.seq)
                    return
                continue
            self._whereabouts.confirmed(unit, gid, sender, ack.seq)
            if self._sent.confirm(unit, gid, sender, ack.seq):
                self._saying.see_delivered(unit, gid)
            self._reads.hear(unit, gid, sender, min(ack.read, ack.seq))
        if acks:
            self._gaps.watch(unit, gid, None)

    def _obey(
        self,
        unit: Unit,
        gid: bytes,
        sender: bytes,
        signer: bytes,
        kind: Kind,
        envelope: Envelope,
    ) -> None:
        if KINDS[kind].blocked is Blocked.NO_ANSWER and self._history.is_shut(gid):
            return
        if not self._roster.is_heard(gid, kind):
            return
        if not self._roster.may_say(gid, sender, kind):
            how = f"they set a {kind.name.lower()}"
            self._warnings.warn(unit, gid, NotAdmin.code, how, whom=sender)
            return
        self._take_body(unit, gid, sender, signer, kind, envelope)

    def _take_body(
        self,
        unit: Unit,
        gid: bytes,
        sender: bytes,
        signer: bytes,
        kind: Kind,
        envelope: Envelope,
    ) -> None:
        body = envelope.body
        match kind:
            case Kind.TEXT | Kind.EDIT | Kind.REACTION | Kind.DELETE | Kind.TIMER:
                unit.events += self._history.take(unit, gid, sender, signer, envelope)
            case Kind.FILE | Kind.FILE_WANTED | Kind.FILE_AGAIN:
                self._sharing.take(unit, gid, sender, signer, kind, envelope)
            case Kind.RECEIPT | Kind.HEARTBEAT:
                pass  # they hold nothing but their acks and their place
            case Kind.KEY_PACKAGES:
                self._take_key_packages(unit, sender, body)
            case Kind.KEY_PACKAGES_WANTED:
                self._give_key_packages(unit, gid, body)
            case Kind.WELCOME:
                self._take_welcome(unit, sender, body)
            case Kind.LEAVE:
                self._wishes.take_leave(unit, gid, sender, body)
            case Kind.WANTED:
                self._repair.repair(unit, gid, signer, body)
            case Kind.REPAIR:
                self._mend(unit, gid, sender, signer, body)
            case Kind.ADDRESSES:
                self._addresses.take_addresses(unit, sender, body)
            case Kind.DECLINED:
                self._wishes.take_no(unit, sender, codec.decode(_declined, body, InvalidMessage))
            case Kind.NAME:
                self._naming.take_name(unit, gid, sender, body)
            case Kind.VOTES:
                self._gossip.take_votes(unit, gid, codec.decode(_votes, body, InvalidMessage))
            case _:
                assert_never(kind)

    def _give_key_packages(self, unit: Unit, gid: bytes, body: bytes) -> None:
        wanted = codec.decode(_wanteds, body, InvalidMessage)
        if wanted.suite in (mls.HYBRID_SUITE, mls.CLASSICAL_SUITE):
            count = min(wanted.count, KEY_PACKAGES_GIVEN)
            self._key_packages.give_key_packages(unit, gid, wanted.suite, count)

    def _take_welcome(self, unit: Unit, sender: bytes, body: bytes) -> None:
        ref = codec.decode(_welcomes, body, InvalidMessage)
        # The Welcome by which we came may arrive again, from a member with a new count. Another one
        # counts even if we do not know yet that we were removed meanwhile.
        if self._joining.came_by(ref.group) != ref.file.digest:
            self._joining.take_welcome(unit, sender, ref)

    def _mend(self, unit: Unit, gid: bytes, sender: bytes, signer: bytes, body: bytes) -> None:
        """Take an envelope that its sender has sent again.

        Raises InvalidMessage.
        """
        again = decode_repair(body)
        if again.device != signer:
            raise InvalidMessage
        if again.is_before:
            self._gaps.was_before(unit, gid, signer, again.seq)
            self._gaps.watch(unit, gid, signer)
            return
        if again.place is not None:  # its words are nowhere any more, so nothing is lost
            if not self._gaps.follows(gid, signer, again.seq, again.place):
                raise InvalidMessage
            if self._count(unit, gid, sender, signer, again.seq, again.place, mark=again.mark):
                self._saying.owe_receipt(unit, gid)
                self._take_deleted(unit, gid, sender, again)
            return
        if again.deleted is not None:  # so long ago that its author has also forgotten its place
            if self._gaps.give_up(unit, gid, signer, again.seq):
                self._take_deleted(unit, gid, sender, again)
            self._gaps.watch(unit, gid, signer)
            return
        if not again.envelope:
            self._repair.give_up(unit, gid, signer, sender, again.seq)
            return
        envelope = decode_envelope(again.envelope)
        digest = envelope_hash(again.envelope)
        place = Place(envelope.previous, digest)
        if envelope.seq != again.seq or not self._gaps.follows(gid, signer, envelope.seq, place):
            raise InvalidMessage
        self._hear(unit, gid, sender, signer, envelope, digest, mark=again.mark)

    def _take_deleted(self, unit: Unit, gid: bytes, sender: bytes, again: Repair) -> None:
        """Show that a text was deleted before it arrived."""
        if again.deleted is not None:
            latest = self._roster.clock(gid) + MAX_CLOCK_STEP
            said = structs.replace(again.deleted, clock=min(again.deleted.clock, latest))
            self._roster.move_clock(unit, gid, said.clock)
            unit.events += self._history.keep_deleted(
                unit, gid, sender, again.device, again.seq, said
            )

    def _take_key_packages(self, unit: Unit, sender: bytes, body: bytes) -> None:
        given = codec.decode(_key_packages, body, InvalidMessage)
        if given.joined is not None:
            self._repeats.has_come(unit, given.joined, sender)
        for data in given.key_packages:
            view = mls.check_key_package(data, now=unit.now // 1000)
            if self._roster.person_of(data, now=unit.now).identity != sender:
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
            self._commits.attempt(unit, gid)

    def drain(self, unit: Unit) -> None:
        """Carry out the steps queued in a unit. The steps that follow from one come before those
        queued after it."""
        while unit.following:
            what = unit.following.popleft()
            rest, unit.following = unit.following, deque()
            self._do(unit, what)
            self.drain(unit)
            unit.following = rest

    def _do(self, unit: Unit, what: Follow) -> None:
        match what:
            case HearEarly(gid):
                self._hear_early(unit, gid)
            case WelcomeJoiners(gid, welcome, tree, joiners):
                self._commits.welcome_joiners(unit, gid, welcome, tree, joiners)
            case WentOn(gid):
                self._commits.went_on(unit, gid)
            case _:
                assert_never(what)


_key_packages = codec.decoder_of(KeyPackages)
_wanteds = codec.decoder_of(KeyPackagesWanted)
_welcomes = codec.decoder_of(WelcomeRef)
_declined = codec.decoder_of(Declined)
_votes = codec.decoder_of(Votes)
_befores = codec.decoder_of(Befores)


def check_sender(message: mls.Application) -> bytes:
    """The identity that sent a message, by its credential as of the message's epoch and never by
    the leaf index alone, because a leaf may have a new owner. Raises InvalidCredential."""
    return check_credential(message.credential, signer=message.signer).identity
