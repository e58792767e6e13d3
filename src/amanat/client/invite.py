"""First contact: an invite, the knock on it, and the Welcome that answers (docs/protocol.md,
section 10).

A client makes an invite without contacting a relay, and it is valid for one person. It holds a
one-time secret: the knock is a cell in the inviter's bucket under that secret, so nobody without
the invite can recognise or open it, now or with a quantum computer later. Inside, the knock is
sealed to the invite's HPKE key (RFC 9180), so that a leaked invite does not open a knock already
made.

An invite ends when it is used, withdrawn or expires, and its keys end with it. Nobody can read
later knocks on it.

The person may want to be asked before anybody is let in. A knock is then checked as always, and
waits for the answer (client/visitors.py). Nobody is asked about contacts, or about people on whom
we have knocked: we wanted to meet them.
"""

from __future__ import annotations

import hashlib
import secrets
import unicodedata
from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from amanat import mls
from amanat.client.events import PersonChanged
from amanat.client.repeats import Awaited
from amanat.client.rules.outbox import Purpose
from amanat.client.vault import fingerprint
from amanat.client.visitors import ASK, MAX_VISITORS, Visitor, Visitors
from amanat.errors import (
    AmbiguousName,
    BadArgument,
    BrokenInvite,
    InvalidCredential,
    InvalidKeyPackage,
    InvalidMessage,
    InvalidWelcome,
    InviteExpired,
    InviteUsed,
    NotPublic,
    OwnInvite,
    UnknownInvite,
)
from amanat.protocol import codec
from amanat.protocol.descriptor import b64, unb64
from amanat.protocol.identity import Addresses, Key, Name
from amanat.protocol.messages import Knock, KnockReply

if TYPE_CHECKING:
    from amanat.client.conversation import Conversations
    from amanat.client.places import Places
    from amanat.client.profile import Me
    from amanat.client.rights import Person
    from amanat.client.unit import Unit
    from amanat.client.vault import Vault

PREFIX = "amanat-invite:"
MAX_LINK_CHARS = 2_100
"""The longest invite link that we read, in characters: two addresses with the longest names fit."""
CHECK_BYTES = 4
"""Bytes of checksum, which distinguish a link cut short in copying from a wrong one."""
MAX_GREETING_CHARS = 2_000
LIFE_S = 14 * 86_400
"""The default life of an invite, in seconds: as long as a knock rests with a relay."""
MAX_LIFE_S = 90 * 86_400
"""The longest life of an invite, in seconds (90 days). We read a former home no longer than
this."""
MAX_OPEN = 256
"""The most invites open at a time. For each we look for two or four more labels."""
REPLY_MS = 14 * 86_400_000
"""How long after an invite has expired we still expect the answer to a knock on it, in milliseconds
(14 days). The answer may have been made at the last moment, and rests no longer than this."""
IDLE_MS = 86_400_000
"""How long we keep a second knock on somebody whom we have met by the first, in milliseconds (a
day)."""
ASIDE_MS = 600_000
"""If both have knocked, how long the one with the higher identity key waits for the other's answer,
in milliseconds (10 minutes). A person who knocks is online, and answers at once if they can."""

_SUITE = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)
_INFO = b"amanat knock 1"


class Invite(codec.Record, frozen=True):
    """The content of a link."""

    version: Annotated[int, msgspec.Meta(ge=1, le=1)]
    identity: Key
    name: Name
    public: Key
    """X25519 public key for HPKE."""
    secret: Key
    """One-time secret of the knock's cell."""
    addresses: Addresses
    expires: Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
    """Unix seconds, by the inviter's clock. The inviter does not answer a knock that they read
    later."""


class Open(NamedTuple):
    """An invite that can still be used. Times are Unix milliseconds."""

    id: str
    """8 hex digits."""
    secret: bytes
    made_at: int
    expires_at: int


_invites = codec.decoder_of(Invite)
_knocks = codec.decoder_of(Knock)
_replies = codec.decoder_of(KnockReply)


def to_link(invite: Invite) -> str:
    """The link of an invite: plain ASCII, so that it survives right-to-left text around it."""
    body = codec.encode(invite)
    return PREFIX + b64(body + hashlib.sha256(body).digest()[:CHECK_BYTES])


def from_link(text: str) -> Invite:
    """The invite of a link, however it was copied. Raises BrokenInvite."""
    text = bare_link(text)
    if len(text) > MAX_LINK_CHARS or not text.startswith(PREFIX):
        raise BrokenInvite
    try:
        data = unb64(text.removeprefix(PREFIX))
    except ValueError:
        raise BrokenInvite from None
    body, check = data[:-CHECK_BYTES], data[-CHECK_BYTES:]
    if hashlib.sha256(body).digest()[:CHECK_BYTES] != check:
        raise BrokenInvite
    return codec.decode(_invites, body, BrokenInvite)


def decode_knock(data: bytes) -> Knock:
    """A knock, once its seal is open. Raises InvalidMessage."""
    return codec.decode(_knocks, data, InvalidMessage)


def bare_link(text: str) -> str:
    """A link without the traces of copying: line breaks, invisible marks, brackets or quotes around
    it (RFC 3986, appendix C), a full stop behind it, its scheme in capitals."""
    text = "".join(c for c in text if not c.isspace() and unicodedata.category(c) != "Cf")
    text = text.strip("".join(filter(_is_around, {*text})))
    scheme, link = text[: len(PREFIX)], text[len(PREFIX) :]
    return scheme.lower() + link if scheme.isascii() else text


def _is_around(one: str) -> bool:
    """Whether a character may stand around a link: any quote, bracket or stop, and none that a link
    contains."""
    return one in "<>`" or (unicodedata.category(one).startswith("P") and one not in "-_")


class Invites:
    """The invites of one vault, its knocks, and its answers to knocks."""

    def __init__(
        self,
        vault: Vault,
        conversations: Conversations,
        places: Places,
        me: Me,
    ) -> None:
        self._vault = vault
        self._read = vault.read
        self._outbox = conversations.outbox
        self._chains = conversations.chains
        self._conversations = conversations
        self._repeats = conversations.repeats
        self._places = places
        self._me = me
        self.visitors = Visitors(vault)

    def make(self, unit: Unit, life_s: int = LIFE_S) -> Invite:
        """A new invite, valid for one person and for `life_s` seconds.

        Raises BadArgument.
        """
        if not 0 < life_s <= MAX_LIFE_S:
            raise BadArgument(f"an invite is good for {MAX_LIFE_S // 86_400} days at most")
        if len(self.open(now=unit.now)) >= MAX_OPEN:
            raise BadArgument(f"{MAX_OPEN} invites are open: withdraw one first")
        if self.visitors.count(now=unit.now) >= MAX_VISITORS:
            raise BadArgument(f"{MAX_VISITORS} people wait for your answer: answer one first")
        expires = unit.now // 1000 + life_s
        private = X25519PrivateKey.generate()
        invite = Invite(
            version=1,
            identity=self._me.identity,
            name=self._me.name,
            public=private.public_key().public_bytes_raw(),
            secret=secrets.token_bytes(32),
            addresses=self._me.addresses,
            expires=expires,
        )
        unit.db.execute(
            "INSERT INTO invite (secret, private, made_at, expires_at) VALUES (?, ?, ?, ?)",
            (invite.secret, private.private_bytes_raw(), unit.now, 1000 * expires),
        )
        self._chains.expect_knock(invite.secret)
        return invite

    def open(self, *, now: int) -> list[Open]:
        """The invites that can still be used, the oldest first."""
        rows = self._read.execute(
            "SELECT secret, made_at, expires_at FROM invite WHERE sealed = x'' AND expires_at > ?"
            " ORDER BY rowid",
            (now,),
        ).fetchall()
        return [Open(fingerprint(secret), secret, *times) for secret, *times in rows]

    def withdraw(self, unit: Unit, id_: str) -> None:
        """End an invite before its time. Raises UnknownInvite or AmbiguousName."""
        found = [one.secret for one in self.open(now=unit.now) if one.id == id_]
        if not found:
            raise UnknownInvite(id_)
        if len(found) > 1:
            raise AmbiguousName(id_)
        self._end(unit, found[0])

    def _end(self, unit: Unit, secret: bytes) -> None:
        """End an invite, so that nobody can use it any more."""
        unit.db.execute("DELETE FROM invite WHERE secret = ?", (secret,))
        self._chains.expect_no_more(secret)

    def knock(self, unit: Unit, invite: Invite, greeting: str) -> None:
        """Knock on an invite. An invite of a contact tells us their present addresses.

        Raises OwnInvite, InviteExpired, BadArgument, BrokenInvite; NotPublic if it names only
        relays on a private network of which the person has named none; or InviteUsed if the inviter
        is already a contact or our knock on this invite is on its way. We may knock on another
        invite of theirs, because they may have withdrawn the first.
        """
        if invite.identity == self._me.identity:
            raise OwnInvite
        if 1000 * invite.expires <= unit.now:
            raise InviteExpired
        if len(greeting) > MAX_GREETING_CHARS:
            raise BadArgument(f"a greeting has at most {MAX_GREETING_CHARS} characters")
        regions = {address.region for address in invite.addresses}
        if greeting and self._conversations.holding.is_kept_from(regions):
            where = ", ".join(sorted(regions))
            raise BadArgument(
                f"you hold what you say, and a greeting rests in {where}: say it later"
            )
        if self._is_known(invite.identity) and self._conversations.addresses.learn_address(
            unit, invite.identity, invite.addresses
        ):
            return
        # A knock from before an exit may have been answered at a home that we have left.
        for (reply_secret,) in unit.db.execute(
            "SELECT reply_secret FROM knock WHERE identity = ? AND drops != x''", (invite.identity,)
        ).fetchall():
            self.withdraw_knock(unit, reply_secret)
        if self._is_known(invite.identity) or self._has_used(invite.secret):
            raise InviteUsed(invite.name)
        if not any(self._places.may_be_called(address.relay) for address in invite.addresses):
            raise NotPublic(invite.name)
        reply_secret = secrets.token_bytes(32)
        knock = Knock(
            key_package=self._conversations.key_packages.new_key_package(
                unit, mls.HYBRID_SUITE, invite.identity
            ),
            name=self._me.name,
            greeting=greeting,
            addresses=self._me.addresses,
            reply_secret=reply_secret,
        )
        try:
            sealed = _SUITE.encrypt(
                codec.encode(knock), X25519PublicKey.from_public_bytes(invite.public), info=_INFO
            )
        except ValueError:  # the key is of low order (RFC 9180, section 7.1.4)
            raise BrokenInvite from None
        unit.db.execute(
            "INSERT INTO knock (reply_secret, identity, name, greeting, made_at, invite,"
            " expires_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                reply_secret,
                invite.identity,
                invite.name,
                greeting,
                unit.now,
                invite.secret,
                1000 * invite.expires,
            ),
        )
        self._chains.expect_reply(reply_secret)
        self._outbox.deposit(
            unit,
            invite.addresses,
            invite.secret,
            sealed,
            purpose=Purpose.KNOCK,
            about=reply_secret,
            due_at=unit.now,
        )
        self._repeats.keep(unit, Purpose.KNOCK, reply_secret, [Purpose.KNOCK])
        if self._me.identity < invite.identity and self.visitors.find(
            invite.identity, now=unit.now
        ):
            self.let_in(unit, invite.identity)  # both have knocked, and the lower answers

    def withdraw_knock(self, unit: Unit, reply_secret: bytes) -> None:
        """Forget a knock whose invite somebody else has used."""
        unit.db.execute("DELETE FROM knock WHERE reply_secret = ?", (reply_secret,))
        self._chains.expect_no_more(reply_secret)
        self._repeats.end(unit, reply_secret)

    def expire(self, unit: Unit) -> None:
        """End the invites that have expired, and tell the person of knocks that were not answered
        in time."""
        for (secret,) in unit.db.execute(
            "SELECT secret FROM invite WHERE expires_at <= ? AND sealed = x''", (unit.now,)
        ).fetchall():
            self._end(unit, secret)
        self.visitors.expire(unit)
        for name, identity in unit.db.execute(
            "UPDATE knock SET is_told = 1 WHERE NOT is_told AND expires_at <= ?"
            " RETURNING name, identity",
            (unit.now,),
        ).fetchall():
            if not self._is_known(identity):
                self._conversations.warnings.warn(
                    unit, None, InviteExpired.code, name, whom=identity
                )
        for reply_secret, identity, expires_at in unit.db.execute(
            "SELECT reply_secret, identity, expires_at FROM knock"
            " WHERE expires_at <= ? OR made_at <= ?",
            (unit.now - REPLY_MS, unit.now - IDLE_MS),
        ).fetchall():
            is_met = self._is_known(identity) and self._conversations.roster.has_heard(identity)
            if is_met or expires_at <= unit.now - REPLY_MS:
                self.withdraw_knock(unit, reply_secret)

    def repeat(self, unit: Unit) -> None:
        """Knock again where that is due, because a relay may have forgotten the knock."""
        for reply_secret in self._repeats.due(Purpose.KNOCK, now=unit.now):
            row = unit.db.execute(
                "SELECT identity FROM knock WHERE reply_secret = ? AND expires_at > ?",
                (reply_secret, unit.now),
            ).fetchone()
            is_awaited = row is not None and not self._is_known(row[0])
            self._repeats.go_on(unit, reply_secret, is_awaited=is_awaited)

    def answer_late(self, unit: Unit) -> None:
        """Answer the knocks that were put aside for long enough."""
        rows = unit.db.execute(
            "SELECT secret, sealed FROM invite WHERE answer_at <= ?", (unit.now,)
        ).fetchall()
        for secret, sealed in rows:
            self._answer(unit, secret, sealed, is_late=True)

    def answer(self, unit: Unit, secret: bytes, sealed: bytes) -> None:
        """Take a knock on an invite of ours, and let the person in or let them wait.

        A knock that does not open or is not whole uses up the invite, and we warn the person. We
        ignore a knock on an expired invite.
        """
        self._answer(unit, secret, sealed, is_late=False)

    def _answer(self, unit: Unit, secret: bytes, sealed: bytes, *, is_late: bool) -> None:
        row = unit.db.execute(
            "SELECT private, expires_at FROM invite WHERE secret = ?"
            " AND (expires_at > ? OR sealed != x'')",
            (secret, unit.now),
        ).fetchone()
        if row is None:
            return
        private, expires_at = row
        try:
            key = X25519PrivateKey.from_private_bytes(private)
            knock = decode_knock(_SUITE.decrypt(sealed, key, info=_INFO))
            them = self._conversations.roster.person_of(knock.key_package, now=unit.now)
        except (InvalidTag, InvalidMessage, InvalidKeyPackage, InvalidCredential):
            self._end(unit, secret)
            self._conversations.warnings.warn(
                unit, None, "invalid-message", "a knock was not whole"
            )
            return
        is_higher = self._me.identity > them.identity
        if is_higher and not is_late and self._is_knocked_on(them.identity):
            self._put_aside(unit, secret, sealed)
            return
        self._end(unit, secret)
        if not is_late and self._is_asked_about(them.identity):
            self._let_wait(unit, secret, knock, them, expires_at)
        else:
            self._meet(unit, knock, them)

    def _is_asked_about(self, identity: bytes) -> bool:
        """Whether the person is asked before somebody is let in: if they want to be, and never
        about contacts, people on whom they have knocked, or themselves."""
        return (
            self.visitors.knocks is ASK
            and identity != self._me.identity
            and not self._conversations.roster.is_contact(identity)
            and not self._is_knocked_on(identity)
        )

    def _let_wait(
        self, unit: Unit, secret: bytes, knock: Knock, them: Person, expires_at: int
    ) -> None:
        """Let somebody wait for the person's answer: until they expect none any more, or until we
        could not give it, because their KeyPackage is out of date."""
        until_s = mls.check_key_package(knock.key_package, now=unit.now // 1000).not_after
        until = min(expires_at + REPLY_MS, 1000 * until_s)
        self.visitors.keep(
            unit,
            Visitor(them.identity, fingerprint(secret), codec.encode(knock), unit.now, until),
        )

    def let_in(self, unit: Unit, identity: bytes) -> None:
        """Let a visitor in. Raises UnknownVisitor."""
        visitor = self.visitors.one(identity, now=unit.now)
        knock = decode_knock(visitor.knock)
        # By the clock of that moment, because ours may have been set back since.
        them = self._conversations.roster.person_of(knock.key_package, now=visitor.knocked_at)
        self.visitors.forget(unit, identity)
        self._meet(unit, knock, them)

    def turn_away(self, unit: Unit, identity: bytes) -> None:
        """Turn a visitor away, and tell them nothing. Raises UnknownVisitor."""
        self.visitors.one(identity, now=unit.now)
        self.visitors.forget(unit, identity)

    def _meet(self, unit: Unit, knock: Knock, them: Person) -> None:
        """Let somebody in who has knocked, unless we know them already."""
        gone = None
        if self._is_known(them.identity):
            if self._conversations.roster.has_heard(them.identity):
                return
            gone = self._conversations.entering.abandon(
                unit, them.identity
            )  # our answer has not reached them
        if them.identity == self._me.identity:
            return
        if self._me.identity < them.identity:  # they will have our answer, so we do not need theirs
            self.forget_knocks(unit, them.identity)
        gid, welcome, tree = self._conversations.entering.start_direct(
            unit, them.identity, knock.key_package
        )
        self._add_contact(unit, them.identity, knock.name, gid)
        reply = KnockReply(welcome=welcome, tree=tree, name=self._me.name)
        self._outbox.deposit(
            unit,
            knock.addresses,
            knock.reply_secret,
            codec.encode(reply),
            purpose=Purpose.REPLY,
            about=gid,
            due_at=unit.now,
        )
        people = [Awaited(gid, them.identity)]
        self._repeats.keep(unit, Purpose.REPLY, gid, [Purpose.REPLY], people=people)
        self._conversations.naming.tell(unit, gid)  # the invite may have named us otherwise
        self._conversations.joining.start_talking(
            unit, gid, them.identity, them.signer, knock.greeting
        )
        if gone is not None:
            self._conversations.entering.go_on_from(unit, gone, gid)

    def _put_aside(self, unit: Unit, secret: bytes, sealed: bytes) -> None:
        """Put a knock aside, because both have knocked and the lower identity answers, so that one
        conversation results. If no answer comes, our knock was on an invite that had ended, and we,
        the higher identity, answer after all.
        """
        unit.db.execute(
            "UPDATE invite SET sealed = ?, answer_at = ? WHERE secret = ?",
            (sealed, unit.now + ASIDE_MS, secret),
        )
        self._chains.expect_no_more(secret)

    def welcome(self, unit: Unit, reply_secret: bytes, payload: bytes) -> None:
        """Take the answer to a knock of ours, and join the 1:1 conversation.

        If both have answered, the conversation that the lower identity began stays.
        """
        row = unit.db.execute(
            "SELECT identity, name, greeting, rowid FROM knock WHERE reply_secret = ?",
            (reply_secret,),
        ).fetchone()
        if row is None:
            return
        identity, name, greeting, number = row
        self._withdraw_knocks(unit, identity, upto=number)  # a later one may also be answered
        is_known = self._is_known(identity)
        if (
            is_known
            and self._me.identity < identity
            and self._conversations.roster.has_begun(identity)
        ):
            return
        try:
            reply = codec.decode(_replies, payload, InvalidWelcome)
            gid = self._conversations.joining.join(
                unit, reply.welcome, reply.tree, by=identity, gid=None, direct=True
            )
        except InvalidWelcome as error:
            self._conversations.warnings.warn(unit, None, error.code, name, whom=identity)
            return
        # They are no longer in the earlier one, because they have answered a later knock.
        gone = self._conversations.entering.abandon(unit, identity) if is_known else None
        self._add_contact(unit, identity, name, gid)
        self._conversations.joining.start_talking(
            unit, gid, self._me.identity, self._me.signer, greeting
        )
        if gone is not None:
            self._conversations.entering.go_on_from(unit, gone, gid)

    def forget_knocks(self, unit: Unit, identity: bytes) -> None:
        """Expect no answer of somebody to a knock of ours any more."""
        self._withdraw_knocks(unit, identity, upto=2**62)

    def _withdraw_knocks(self, unit: Unit, identity: bytes, *, upto: int) -> None:
        for (reply_secret,) in unit.db.execute(
            "SELECT reply_secret FROM knock WHERE identity = ? AND rowid <= ?", (identity, upto)
        ).fetchall():
            self.withdraw_knock(unit, reply_secret)

    def _is_known(self, identity: bytes) -> bool:
        """Whether the person is a contact we can talk with: neither of us has left."""
        row = self._read.execute(
            "SELECT conversation FROM contact WHERE identity = ?", (identity,)
        ).fetchone()
        return (
            row is not None
            and self._conversations.roster.is_active(row[0])
            and identity in self._conversations.roster.group(row[0]).identities
            and not self._conversations.roster.is_parting(row[0])
        )

    def _is_knocked_on(self, identity: bytes) -> bool:
        row = self._read.execute("SELECT 1 FROM knock WHERE identity = ?", (identity,)).fetchone()
        return row is not None

    def _has_used(self, secret: bytes) -> bool:
        """Whether a knock of ours on an invite waits for its answer."""
        row = self._read.execute("SELECT 1 FROM knock WHERE invite = ?", (secret,)).fetchone()
        return row is not None

    def _add_contact(self, unit: Unit, identity: bytes, name: str, gid: bytes) -> None:
        """Add a contact under this name, or one made from it if it looks like another contact's.
        They wait for no answer any more."""
        self.visitors.forget(unit, identity)
        if unit.db.execute(
            "UPDATE contact SET conversation = ? WHERE identity = ? RETURNING 1", (gid, identity)
        ).fetchone():
            return  # met again after one of us had left; the same key means the same person
        unit.db.execute(
            "INSERT INTO contact (identity, name, conversation, added_at) VALUES (?, ?, ?, ?)",
            (identity, self._conversations.naming.called(unit, gid, identity, name), gid, unit.now),
        )
        unit.db.execute("DELETE FROM shut_out WHERE identity = ?", (identity,))
        unit.events.append(PersonChanged(identity))
