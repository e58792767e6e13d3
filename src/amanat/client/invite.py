"""First contact: an invite, the knock on it, and the Welcome that answers (docs/protocol.md,
section 10).

An invite is made without asking any server and is good for one person. It holds a one-time
secret: the knock is a cell of the inviter's bucket under that secret, so nobody without the invite
can tell or open it, now or with a quantum computer later. Inside, the knock is sealed to the
invite's HPKE key (RFC 9180), so that a leaked invite does not open a knock already made.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING, Annotated

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from amanat import mls
from amanat.errors import (
    BadArgument,
    BrokenInvite,
    IdentityChanged,
    InvalidCredential,
    InvalidKeyPackage,
    InvalidMessage,
    InvalidWelcome,
    InviteUsed,
    OwnInvite,
)
from amanat.protocol import codec
from amanat.protocol.descriptor import b64, unb64
from amanat.protocol.identity import MAX_NAME_CHARS, Addresses, Key, Name
from amanat.protocol.messages import Knock, KnockReply

if TYPE_CHECKING:
    from amanat.client.conversation import Conversations
    from amanat.client.delivery import Delivery
    from amanat.client.profile import Me
    from amanat.client.vault import Vault

PREFIX = "amanat-invite:"
MAX_LINK_CHARS = 2_000
"""Longest invite link read, in characters: two addresses with the longest names fit."""
CHECK_BYTES = 4
"""Bytes of checksum, so that a link cut short in copying is told from a wrong one."""
MAX_GREETING_CHARS = 2_000

_SUITE = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)
_INFO = b"amanat knock 1"


class Invite(codec.Record, frozen=True):
    """What a link holds."""

    version: Annotated[int, msgspec.Meta(ge=1, le=1)]
    identity: Key
    name: Name
    public: Key
    """X25519 public key for HPKE."""
    secret: Key
    """One-time secret of the knock's cell."""
    addresses: Addresses


_invites = codec.decoder_of(Invite)
_knocks = codec.decoder_of(Knock)
_replies = codec.decoder_of(KnockReply)


def to_link(invite: Invite) -> str:
    """The link of an invite: plain ASCII, so that it survives right-to-left text around it."""
    body = codec.encode(invite)
    return PREFIX + b64(body + hashlib.sha256(body).digest()[:CHECK_BYTES])


def from_link(text: str) -> Invite:
    """The invite of a link. Raises BrokenInvite."""
    text = "".join(text.split())  # mail programs break long lines
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


class Invites:
    """Making invites, knocking, answering knocks."""

    def __init__(
        self, vault: Vault, delivery: Delivery, conversations: Conversations, me: Me
    ) -> None:
        self._vault = vault
        self._db = vault.db
        self._delivery = delivery
        self._conversations = conversations
        self._me = me

    def make(self, *, now: int) -> Invite:
        """A new invite, good for one person; inside a unit."""
        private = X25519PrivateKey.generate()
        invite = Invite(
            version=1,
            identity=self._me.identity,
            name=self._me.name,
            public=private.public_key().public_bytes_raw(),
            secret=secrets.token_bytes(32),
            addresses=self._me.addresses,
        )
        self._db.execute(
            "INSERT INTO invite (secret, private, made_at) VALUES (?, ?, ?)",
            (invite.secret, private.private_bytes_raw(), now),
        )
        self._delivery.expect_knock(invite.secret)
        return invite

    def knock(self, invite: Invite, greeting: str, *, now: int) -> None:
        """Answer an invite; inside a unit. That of a contact says where they are reached now.

        Raises OwnInvite, BadArgument, BrokenInvite, or InviteUsed when the inviter is a contact
        already or our knock on an invite of theirs is on its way.
        """
        if invite.identity == self._me.identity:
            raise OwnInvite
        if len(greeting) > MAX_GREETING_CHARS:
            raise BadArgument(f"a greeting has at most {MAX_GREETING_CHARS} characters")
        regions = {address.region for address in invite.addresses}
        if greeting and self._conversations.holding.is_kept_from(regions):
            where = ", ".join(sorted(regions))
            raise BadArgument(
                f"you hold what you say, and a greeting rests in {where}: say it later"
            )
        if self._is_known(invite.identity) and self._conversations.found(
            invite.identity, invite.addresses
        ):
            return
        # One from before an exit may have been answered where we are no more.
        if self._db.execute(
            "DELETE FROM knock WHERE identity = ? AND drops != x'' RETURNING 1", (invite.identity,)
        ).fetchone():
            self._delivery.new_homes()  # its answer is no longer expected
        if self._is_known(invite.identity) or self._is_knocked_on(invite.identity):
            raise InviteUsed(f"you have met {invite.name} already, or are about to")
        reply_secret = secrets.token_bytes(32)
        knock = Knock(
            key_package=self._conversations.new_key_package(
                mls.HYBRID_SUITE, invite.identity, now=now
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
        except ValueError:  # a key of low order (RFC 9180, section 7.1.4)
            raise BrokenInvite from None
        self._db.execute(
            "INSERT INTO knock (reply_secret, identity, name, greeting, made_at)"
            " VALUES (?, ?, ?, ?, ?)",
            (reply_secret, invite.identity, invite.name, greeting, now),
        )
        self._delivery.expect_reply(reply_secret)
        self._delivery.deposit(
            invite.addresses,
            invite.secret,
            sealed,
            purpose="knock",
            about=invite.identity,
            due_at=now,
        )

    def withdraw_knock(self, inviter: bytes) -> None:
        """Forget a knock whose invite somebody else has used; inside a unit."""
        self._db.execute("DELETE FROM knock WHERE identity = ?", (inviter,))

    def answer(self, secret: bytes, sealed: bytes, *, now: int) -> None:
        """Take a knock on an invite of ours: let the person in; inside a unit.

        A knock that does not open or is not whole uses the invite up and is reported.
        """
        (private,) = self._db.execute(
            "SELECT private FROM invite WHERE secret = ?", (secret,)
        ).fetchone()
        self._db.execute(
            "UPDATE invite SET used_at = ?, private = x'' WHERE secret = ?", (now, secret)
        )
        try:
            plain = _SUITE.decrypt(sealed, X25519PrivateKey.from_private_bytes(private), info=_INFO)
            knock = codec.decode(_knocks, plain, InvalidMessage)
            them = self._conversations.person_of(knock.key_package, now=now)
        except (InvalidTag, InvalidMessage, InvalidKeyPackage, InvalidCredential):
            self._conversations.warn(None, "invalid-message", "a knock was not whole", now=now)
            return
        if self._is_known(them.identity):
            if self._conversations.has_heard(them.identity):
                return
            self._conversations.abandon(them.identity)  # our answer has not reached them
        if them.identity == self._me.identity:
            return
        if self._is_knocked_on(them.identity):
            # Both knocked at once: the lower identity answers, so that one conversation results.
            if self._me.identity > them.identity:
                return
            self._db.execute("DELETE FROM knock WHERE identity = ?", (them.identity,))
        gid, welcome, tree = self._conversations.start_direct(knock.key_package, now=now)
        self._add_contact(them.identity, knock.name, gid, now=now)
        reply = KnockReply(welcome=welcome, tree=tree, name=self._me.name)
        self._delivery.deposit(
            knock.addresses,
            knock.reply_secret,
            codec.encode(reply),
            purpose="reply",
            about=gid,
            due_at=now,
        )
        self._conversations.start_talking(gid, them.identity, them.signer, knock.greeting, now=now)

    def welcome(self, reply_secret: bytes, payload: bytes, *, now: int) -> None:
        """Take the answer to a knock of ours: join the 1:1 conversation; inside a unit."""
        identity, name, greeting = self._db.execute(
            "SELECT identity, name, greeting FROM knock WHERE reply_secret = ?", (reply_secret,)
        ).fetchone()
        self._db.execute("DELETE FROM knock WHERE reply_secret = ?", (reply_secret,))
        try:
            reply = codec.decode(_replies, payload, InvalidWelcome)
            gid = self._conversations.join(
                reply.welcome, reply.tree, by=identity, gid=None, direct=True, now=now
            )
        except InvalidWelcome as error:
            self._conversations.warn(None, error.code, f"the answer of {name}", now=now)
            return
        self._add_contact(identity, name, gid, now=now)
        self._conversations.start_talking(
            gid, self._me.identity, self._me.signer, greeting, now=now
        )

    def _is_known(self, identity: bytes) -> bool:
        """Whether the person is a contact we can talk with: neither of us has left."""
        row = self._db.execute(
            "SELECT conversation FROM contact WHERE identity = ?", (identity,)
        ).fetchone()
        return (
            row is not None
            and self._conversations.is_active(row[0])
            and identity in self._conversations.group(row[0]).identities
        )

    def _is_knocked_on(self, identity: bytes) -> bool:
        row = self._db.execute("SELECT 1 FROM knock WHERE identity = ?", (identity,)).fetchone()
        return row is not None

    def _add_contact(self, identity: bytes, name: str, gid: bytes, *, now: int) -> None:
        """Another contact of the same name is another person, or the same with another key: the
        name is made different, so that nobody slips into a known name."""
        if self._db.execute(
            "UPDATE contact SET conversation = ? WHERE identity = ? RETURNING 1", (gid, identity)
        ).fetchone():
            return  # met again after one of us had left: the same key, so the same person
        taken = {row[0] for row in self._db.execute("SELECT name FROM contact").fetchall()}
        base, number = name[: MAX_NAME_CHARS - 5], 2
        while name in taken:
            name, number = f"{base} ({number})", number + 1
        if base in taken and name != base:
            self._conversations.warn(
                gid,
                IdentityChanged.code,
                f"{name} has another key than the {base} you know",
                now=now,
            )
        self._db.execute(
            "INSERT INTO contact (identity, name, conversation, added_at) VALUES (?, ?, ?, ?)",
            (identity, name, gid, now),
        )
