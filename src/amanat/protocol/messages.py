"""What members say to each other inside MLS, and what a cell carries (docs/protocol.md, section 8).

Nothing here is ever seen by a relay.
"""

from __future__ import annotations

import hashlib
from enum import IntEnum
from typing import Annotated, Literal, TypeAlias

import msgspec

from amanat.errors import InvalidCommit, InvalidMessage
from amanat.protocol import codec
from amanat.protocol.descriptor import MAX_ADDRESS_CHARS
from amanat.protocol.identity import (
    MAX_NAME_CHARS,
    Addresses,
    Key,
    Name,
    Region,
    Signature,
    check_relay,
)

MAX_TEXT_BYTES = 60_000
"""Longest text, in bytes of UTF-8: with all overhead it still fits one large cell."""
MAX_ADMINS = 64
"""Most admins of a group: the policy is part of every Commit's transcript."""
MAX_FRAGMENTS = 256
"""Most cells of one Commit in an epoch drop: 16 MiB, above any Commit of 1,000 members."""
MAX_BLOB_BYTES = 16 * 1024 * 1024
"""Largest Welcome and tree, in bytes."""
MAX_LEAVES_PER_COMMIT = 16
"""Most wishes to leave that one Commit grants."""
MAX_KEY_PACKAGES = 8
"""Most KeyPackages in one message, and most that are kept of one contact for each suite."""

Count = Annotated[int, msgspec.Meta(ge=1, lt=2**53)]
Id = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]


class CellKind(IntEnum):
    """The first byte of a payload in a bucket, after the pair chain has opened it."""

    MLS = 1
    """An MLS PrivateMessage."""
    NOTICE = 2
    """Nothing more: look into the epoch drop."""


class Kind(IntEnum):
    """What an envelope's body is. Unknown kinds are counted and otherwise ignored."""

    TEXT = 1
    RECEIPT = 2
    """No body; the envelope's acks are the message."""
    KEY_PACKAGES = 3
    KEY_PACKAGES_WANTED = 4
    WELCOME = 5
    LEAVE = 6


class Ack(codec.Record, frozen=True):
    """A cumulative receipt: everything of this device up to `seq` has arrived."""

    device: Annotated[bytes, msgspec.Meta(min_length=8, max_length=8)]
    """The first 8 bytes of the device's MLS signature key."""
    seq: Count


class Envelope(codec.Record, frozen=True):
    """The plaintext of every MLS application message."""

    id: Id
    """Random; what replies and edits will refer to."""
    seq: Count
    """The sender device's own count in this conversation, from 1, without gaps."""
    previous: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
    """SHA-256 of the sender device's previous envelope; zeros before the first."""
    clock: Count
    """A Lamport clock: one more than the highest the sender has seen. Sorting by (clock, identity,
    seq) puts every answer after what it answers."""
    sent_at: Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
    """Unix milliseconds by the sender's clock; shown, never trusted."""
    kind: Annotated[int, msgspec.Meta(ge=0, le=65535)]
    body: bytes
    acks: Annotated[list[Ack], msgspec.Meta(max_length=1024)]
    more: dict[str, bytes]
    """Room for later versions: unknown keys are ignored."""


class Text(codec.Record, frozen=True):
    """A text of a person."""

    text: str


class KeyPackages(codec.Record, frozen=True):
    """KeyPackages of the sender, each for one use by the recipient."""

    key_packages: Annotated[list[bytes], msgspec.Meta(min_length=1, max_length=MAX_KEY_PACKAGES)]


class KeyPackagesWanted(codec.Record, frozen=True):
    """Please send this many KeyPackages of this suite."""

    suite: int
    count: Annotated[int, msgspec.Meta(ge=1, le=MAX_KEY_PACKAGES)]


class FileRef(codec.Record, frozen=True):
    """Where an encrypted file rests and how to open it."""

    relay: Annotated[str, msgspec.Meta(max_length=MAX_ADDRESS_CHARS)]
    region: Region
    secret: Key
    """Derives the file drop and the key of every chunk."""
    size: Annotated[int, msgspec.Meta(ge=1, le=MAX_BLOB_BYTES)]
    digest: Key
    """SHA-256 of the whole content."""

    def __post_init__(self) -> None:
        check_relay(self.relay)


class WelcomeRef(codec.Record, frozen=True):
    """An invitation into a group: its Welcome and tree are one file."""

    group: Id
    file: FileRef


class WelcomeFile(codec.Record, frozen=True):
    """The content of that file: one Welcome for all joiners, and the tree apart from it."""

    welcome: bytes
    tree: bytes


class Leave(codec.Record, frozen=True):
    """A person's signed wish to leave; any member may commit it (docs/decisions/0004)."""

    identity: Key
    nonce: Id
    signature: Signature


class CommitInfo(codec.Record, frozen=True):
    """The authenticated data of every Commit."""

    leaves: Annotated[list[Leave], msgspec.Meta(max_length=MAX_LEAVES_PER_COMMIT)]


Who: TypeAlias = Literal["admins", "members"]
"""Who may do something in a group; admins always may."""


class Policy(codec.Record, frozen=True):
    """The rights and the place of a group: its group context extension EXT_POLICY, which every
    member judges every Commit by."""

    direct: list[Key]
    """The two identities of a 1:1 conversation; empty in a group."""
    name: Annotated[str, msgspec.Meta(max_length=MAX_NAME_CHARS)]
    admins: Annotated[list[Key], msgspec.Meta(max_length=MAX_ADMINS)]
    relay: Annotated[str, msgspec.Meta(max_length=MAX_ADDRESS_CHARS)]
    """Where the epoch drops are."""
    region: Region
    may_add: Who = "admins"
    may_remove: Who = "admins"
    """Who may put others out; an admin is put out by admins only."""
    may_rename: Who = "admins"

    def __post_init__(self) -> None:
        check_relay(self.relay)


class Fragment(codec.Record, frozen=True):
    """The payload of a cell in an epoch drop: one piece of a Commit or of a message."""

    kind: Annotated[int, msgspec.Meta(ge=1, le=2)]
    """1: Commit, 2: application message."""
    pieces: Annotated[list[Id], msgspec.Meta(min_length=1, max_length=MAX_FRAGMENTS)]
    """The hash of every piece, in order. It names the whole: nobody can slip a piece of theirs into
    somebody else's Commit."""
    index: Annotated[int, msgspec.Meta(ge=0, lt=MAX_FRAGMENTS)]
    data: bytes

    def __post_init__(self) -> None:
        if self.index >= len(self.pieces) or piece_hash(self.data) != self.pieces[self.index]:
            raise ValueError("not one of the pieces")

    @property
    def whole(self) -> bytes:
        """16 bytes that name what this is a piece of."""
        return hashlib.sha256(b"amanat whole" + b"".join(self.pieces)).digest()[:16]


class Knock(codec.Record, frozen=True):
    """The answer to an invite: who I am, and the KeyPackage to let me in by."""

    key_package: bytes
    name: Name
    greeting: Annotated[str, msgspec.Meta(max_length=2000)]
    addresses: Addresses
    reply_secret: Key
    """One-time secret of the cell that answers."""


class KnockReply(codec.Record, frozen=True):
    """The answer to a knock: the Welcome into the 1:1 conversation."""

    welcome: bytes
    tree: bytes
    name: Name


COMMIT_FRAGMENT = 1
MESSAGE_FRAGMENT = 2

_envelopes = codec.decoder_of(Envelope)
_policies = codec.decoder_of(Policy)
_commit_infos = codec.decoder_of(CommitInfo)


def piece_hash(data: bytes) -> bytes:
    """The 16 bytes that stand for a piece in its fragments."""
    return hashlib.sha256(b"amanat piece" + data).digest()[:16]


def decode_envelope(data: bytes) -> Envelope:
    """The envelope in an application message. Raises InvalidMessage."""
    return codec.decode(_envelopes, data, InvalidMessage)


def envelope_hash(data: bytes) -> bytes:
    """What the sender's next envelope carries as `previous`: 32 bytes."""
    return hashlib.sha256(b"amanat envelope" + data).digest()


def decode_policy(data: bytes) -> Policy:
    """The policy of a group. Raises InvalidCommit."""
    policy = codec.decode(_policies, data, InvalidCommit)
    if len(policy.direct) not in (0, 2) or bool(policy.direct) == bool(policy.admins):
        raise InvalidCommit
    settings = {policy.may_add, policy.may_remove, policy.may_rename}
    if policy.direct and settings != {"admins"}:
        raise InvalidCommit  # nobody has such rights there, so there is nothing to set
    return policy


def decode_commit_info(data: bytes) -> CommitInfo:
    """The authenticated data of a Commit. Raises InvalidCommit."""
    return codec.decode(_commit_infos, data, InvalidCommit)
