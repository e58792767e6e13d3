"""The records of a backup: what an archive of the purpose "backup" holds (docs/protocol.md, section
19).

They have the names of the protocol and not those of a vault's tables, so that the tables can change
and old archives stay good. A kind keeps its fields for ever; new fields come in a new kind, which
older programs pass over. No record holds an MLS state, a chain, a message on its way or a
KeyPackage. A person who restores has therefore no used keys to speak with.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, TypeAlias

import msgspec

from amanat.protocol import codec
from amanat.protocol.identity import Key
from amanat.protocol.messages import Id

PURPOSE = "backup"
"""The purpose that the header of such an archive says."""
MAX_MEMBERS = 1_000
"""The most leaves of a group."""

Whole: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**53), lt=2**53)]
"""A number as another messenger gives it."""
Time: TypeAlias = Whole
"""Unix milliseconds."""
Number: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
Line: TypeAlias = Annotated[str, msgspec.Meta(max_length=1_000)]
DropId: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=24, max_length=24)]
Leaves: TypeAlias = Annotated[
    list[tuple[int, bytes, bytes, bytes]], msgspec.Meta(max_length=MAX_MEMBERS)
]
"""Leaf index, credential, signature key and leaf record of each leaf of a group."""


class Entry(IntEnum):
    """The kinds of records, in the order in which they come: what a record names comes before
    it."""

    PERSON = 1
    RELAY = 2
    PLACE = 3
    FORMER = 4
    SETTING = 5
    CONTACT = 6
    WAY_BACK = 7
    ADDRESS = 8
    NAME = 9
    SHUT_OUT = 10
    CONVERSATION = 11
    DESK = 12
    EPOCH = 13
    BASE = 14
    STEP = 15
    HEARD = 16
    BLOB = 17
    MESSAGE = 18
    FILE = 19
    CHANGE = 20
    GONE = 21
    IMPORTED_CHAT = 22
    IMPORTED_MESSAGE = 23
    GENERATION = 24


class Home(codec.Record, frozen=True):
    """A home: its relay, and the number of the bucket there."""

    relay: Key
    bucket: Annotated[int, msgspec.Meta(ge=0, lt=2**32)]


class Person(codec.Record, frozen=True):
    """The owner, with their lasting private keys."""

    name: Line
    identity: Key
    """Ed25519, private."""
    delivery: Key
    """X25519, private."""
    device: Key
    """The Ed25519 private key of the device's leaf. An external Commit takes the place of the leaf
    that has this key (docs/protocol.md, section 9, "Joining again")."""
    credential: bytes
    home: Home
    fallback: Home | None
    made_at: Time


class Relay(codec.Record, frozen=True):
    """A relay that gave access, and the address that it has signed; empty if it is not known."""

    relay: Key
    region: Line
    bucket_key: bytes
    operator: Line
    is_hop: bool
    holds: bool
    signed: bytes


class Place(codec.Record, frozen=True):
    """A place of a relay that the person has named, or the address that another relay signed."""

    relay: Key
    host: Line
    port: Annotated[int, msgspec.Meta(ge=0, le=65_535)]
    tls: Line
    named_at: Time


class Former(codec.Record, frozen=True):
    """The bucket of a home that was left and is still read."""

    drop_id: DropId
    append_token: Key
    read_token: Key
    region: Line
    left_at: Time
    relay: Key


class Setting(codec.Record, frozen=True):
    """A setting of the person or of a program."""

    key: Line
    value: bytes


class Contact(codec.Record, frozen=True):
    """A contact."""

    identity: Key
    name: Line
    conversation: Id
    is_verified: bool
    added_at: Time
    is_blocked: bool


class WayBack(codec.Record, frozen=True):
    """The delivery key of a contact, by which they can be asked for help."""

    identity: Key
    delivery: Key


class NewAddress(codec.Record, frozen=True):
    """Where somebody has said to reach them since they made their leaf."""

    identity: Key
    version: Number
    addresses: bytes


class NewName(codec.Record, frozen=True):
    """The name that somebody has said since they made their leaf."""

    identity: Key
    version: Number
    name: Line


class ShutOut(codec.Record, frozen=True):
    """A blocked person who is no contact any more."""

    identity: Key


class Conversation(codec.Record, frozen=True):
    """A conversation, with the group as it was last known. All of it is what every member knows of
    a group without any secret of it."""

    group: Id
    state: Line
    sent_seq: Number
    clock: Number
    hidden: Number
    added_by: Annotated[bytes, msgspec.Meta(max_length=32)]
    suite: Number
    epoch: Number
    group_state: bytes
    policy: bytes
    members: Leaves


class Desk(codec.Record, frozen=True):
    """How the person has arranged a conversation."""

    group: Id
    draft: str
    reply_to: bytes | None
    pinned_at: Time | None
    muted_until: Time | None
    is_archived: bool
    is_hidden: bool


class PastEpoch(codec.Record, frozen=True):
    """An epoch in which the device was, by the first 8 bytes of its state."""

    group: Id
    number: Number
    state: Annotated[bytes, msgspec.Meta(min_length=8, max_length=8)]
    entered_at: Time


class Base(codec.Record, frozen=True):
    """A state from which the lineage of a group begins."""

    group: Id
    epoch: Number
    info: bytes
    tree: bytes


class Step(codec.Record, frozen=True):
    """The Commit that ended an epoch, and whether it was read in the drop."""

    group: Id
    epoch: Number
    commit: bytes
    is_read: bool


class Heard(codec.Record, frozen=True):
    """How far another device was heard: an unbroken row of envelopes up to a number."""

    group: Id
    signer: Key
    identity: Key
    upto: Number
    base: Number
    hash: Annotated[bytes, msgspec.Meta(max_length=32)]


class Blob(codec.Record, frozen=True):
    """The content of a file, which lies beside the archive."""

    blob: Id
    size: Number
    is_own: bool
    frames: Number


class Message(codec.Record, frozen=True):
    """A message. They come in the order in which they arrived."""

    group: Id
    id: Id
    envelope: Id
    identity: Key
    signer: Key
    seq: Number
    clock: Number
    sent_at: Time
    kept_at: Time
    text: str | None
    """None if its author has deleted it."""
    reply_to: bytes | None
    life_s: Number
    expires_at: Time | None
    is_forwarded: bool
    is_delivered: bool
    is_read: bool


class FileOf(codec.Record, frozen=True):
    """The file of a message, as it was said last (section 8); the blob is None if its content is
    not here."""

    group: Id
    id: Id
    body: bytes
    is_near: bool
    is_played: bool
    blob: Id | None


class Change(codec.Record, frozen=True):
    """A thing that somebody has done with a message."""

    group: Id
    target: bytes
    identity: Key
    kind: Number
    clock: Number
    seq: Number
    id: bytes
    value: str
    is_pending: bool


class Gone(codec.Record, frozen=True):
    """A message that is not to come again."""

    group: Id
    id: Id


class ImportedChat(codec.Record, frozen=True):
    """A chat of another messenger, and the number by which its messages name it here."""

    chat: Number
    app: Line
    key: str
    title: str
    kind: Line
    me: str
    is_over: bool
    before: str
    imported_at: Time


class ImportedMessage(codec.Record, frozen=True):
    """A message of such a chat."""

    chat: Number
    number: Whole
    place: Whole
    author: str
    name: str
    at: Whole
    edited_at: Whole | None
    text: str
    marks: str
    kind: Line
    extra: str
    reply_to: Whole | None
    forwarded_from: str
    topic: Whole | None
    file: str


class NewestGeneration(codec.Record, frozen=True):
    """The highest generation of a person's devices that was seen, if it is not the first."""

    identity: Key
    generation: Number


RECORDS: dict[Entry, type[codec.Record]] = {
    Entry.PERSON: Person,
    Entry.RELAY: Relay,
    Entry.PLACE: Place,
    Entry.FORMER: Former,
    Entry.SETTING: Setting,
    Entry.CONTACT: Contact,
    Entry.WAY_BACK: WayBack,
    Entry.ADDRESS: NewAddress,
    Entry.NAME: NewName,
    Entry.SHUT_OUT: ShutOut,
    Entry.CONVERSATION: Conversation,
    Entry.DESK: Desk,
    Entry.EPOCH: PastEpoch,
    Entry.BASE: Base,
    Entry.STEP: Step,
    Entry.HEARD: Heard,
    Entry.BLOB: Blob,
    Entry.MESSAGE: Message,
    Entry.FILE: FileOf,
    Entry.CHANGE: Change,
    Entry.GONE: Gone,
    Entry.IMPORTED_CHAT: ImportedChat,
    Entry.IMPORTED_MESSAGE: ImportedMessage,
    Entry.GENERATION: NewestGeneration,
}
"""The record of each kind."""
