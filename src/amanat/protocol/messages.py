"""The messages of members inside MLS, and the payloads of cells (docs/protocol.md, section 8).

No relay ever sees any of this.
"""

from __future__ import annotations

import hashlib
from enum import IntEnum, StrEnum, unique
from typing import Annotated

import msgspec

from amanat.errors import InvalidCommit, InvalidMessage
from amanat.protocol import codec
from amanat.protocol.descriptor import RelayAddress  # msgspec reads it
from amanat.protocol.identity import (
    MAX_NAME_CHARS,
    NAME_PATTERN,
    Addresses,
    Key,
    Name,
    Region,
    Signature,
)

MAX_TEXT_BYTES = 60_000
"""Longest text, in bytes of UTF-8: with all overhead it still fits one large cell."""
MAX_ADMINS = 64
"""Most admins of a group: the policy is part of every Commit's transcript."""
MAX_FRAGMENTS = 72
"""Most cells of one Commit in an epoch drop: 4.4 MiB, above the largest Commit that the engine
takes (rules.rs, MAX_MESSAGE)."""
MAX_BLOB_BYTES = 16 * 1024 * 1024
"""Largest Welcome and tree, in bytes."""
MAX_LEAVES_PER_COMMIT = 16
"""Most wishes to leave that one Commit grants."""
MAX_KEY_PACKAGES = 8
"""Most KeyPackages in one message, and most that a client keeps of one contact for each suite."""

MAX_SEEN = 4
"""Most digests gossiped in one cell: of the recipient's buckets and of an epoch drop or two."""
MAX_BEFORE = 2
"""Most epochs for which one envelope tells how far its sender had counted when they began: some 30
bytes."""
MAX_VOTES = 256
"""Most votes in one message or file."""
MAX_WANTED = 64
"""Most envelopes for which one message asks."""
MAX_REACTION_CHARS = 32
"""Longest reaction, in characters: the longest emoji in use have about a dozen."""
MAX_DELETED = 64
"""Most messages deleted by one message."""
MAX_LIFE_S = 366 * 86_400
"""Longest life of a text that does not stay for ever, in seconds (a year)."""

MAX_FILE_BYTES = 1_000_000_000
"""Longest file, in bytes: a gigabyte. With its hashes it takes 15,273 cells, and a relay's drop
holds 16,384 large ones by default; 2^30 bytes would take 16,399."""
MAX_CELLS = 16_384
"""Most cells of a file."""
MAX_PREVIEW_BYTES = 40_000
"""Longest preview of a file, in bytes: a picture of 320 pixels."""
ALBUM_BYTES = 8
"""The random bytes that files of one album share: nobody meets the same ones twice."""
MAX_HINT_BYTES = 32
"""Longest hint of a file, in bytes: a ThumbHash, or a waveform."""
WAVEFORM_BYTES = 32
"""Length of a waveform, in bytes: 64 levels from 0 to 15, two in each byte, the earlier one above.
A voice note has one, or none."""
MAX_SECONDS = 86_400
"""Longest playing time of a file, in seconds: a day."""

MARK_BYTES = 8
"""Length of a mark, in bytes; it is the authenticated data of an application message."""
NO_MARK = bytes(MARK_BYTES)
"""Stands for an unknown mark."""

Count = Annotated[int, msgspec.Meta(ge=1, lt=2**53)]
Id = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
Hash = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Mark = Annotated[bytes, msgspec.Meta(min_length=MARK_BYTES, max_length=MARK_BYTES)]
Words = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT_BYTES)]
Life = Annotated[int, msgspec.Meta(ge=0, le=MAX_LIFE_S)]


class CellKind(IntEnum):
    """The kind of payload in a pair cell."""

    MLS = 1
    """An MLS PrivateMessage."""
    NOTICE = 2
    """An empty payload: look into the epoch drop."""
    WANTED = 3
    """Envelopes of the recipient that did not arrive (Wanted)."""
    REPAIR = 4
    """Such an envelope again (Repair)."""
    HELD = 6
    """The place from which to fetch the content that this cell would otherwise carry (Held)."""


class Kind(IntEnum):
    """The kind of an envelope's body. Clients count unknown kinds and otherwise ignore them."""

    TEXT = 1
    RECEIPT = 2
    """No body; the envelope's acks are the message."""
    KEY_PACKAGES = 3
    KEY_PACKAGES_WANTED = 4
    WELCOME = 5
    LEAVE = 6
    EDIT = 7
    REACTION = 8
    DELETE = 9
    TIMER = 10
    HEARTBEAT = 11
    """No body; it tells how far its sender has counted."""
    WANTED = 12
    """Wanted in a large group, which has no pair chains."""
    REPAIR = 13
    """Repair in a large group."""
    ADDRESSES = 14
    DECLINED = 15
    VOTES = 16
    """The Commits that members have read in the drop of an epoch (Votes)."""
    NAME = 17
    """The sender's own name from now on (NewName)."""
    FILE = 18
    """A file that the sender's relay keeps, and words beside it (File)."""
    FILE_WANTED = 19
    """A request to put a file up again (FileWanted)."""
    FILE_AGAIN = 20
    """The place where the same file rests anew (FileAgain)."""


class Ack(codec.Record, frozen=True):
    """A cumulative receipt: every envelope of this device up to `seq` has arrived. It also tells
    the others how far that device has counted."""

    device: Annotated[bytes, msgspec.Meta(min_length=8, max_length=8)]
    """The first 8 bytes of the device's MLS signature key."""
    seq: Count
    hash: Annotated[bytes, msgspec.Meta(min_length=8, max_length=8)]
    """The first 8 bytes of the hash of that envelope."""
    mark: Mark = NO_MARK
    """The mark that came with the envelope. Only the device can make one, so a mark proves to it
    that it, or a copy of its vault, has sent that envelope."""
    read: Annotated[int, msgspec.Meta(ge=0, lt=2**53)] = 0
    """The person has read every text of the device up to this number; 0 if they have read none, or
    keep it to themselves."""


class Seen(codec.Record, frozen=True):
    """The digest of a drop at a seq, as the relay told it to the sender. A reader who was told
    another one knows that the relay has lied to one of them."""

    drop: Annotated[bytes, msgspec.Meta(min_length=4, max_length=4)]
    """The first 4 bytes of the drop's id."""
    seq: Count
    digest: Annotated[bytes, msgspec.Meta(min_length=8, max_length=8)]
    """The first 8 bytes of the digest."""


Number = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]


class Epoch(codec.Record, frozen=True):
    """An epoch of a group and its state: a member in another state under the same number is in
    another branch."""

    number: Number
    state: Annotated[bytes, msgspec.Meta(min_length=8, max_length=8)]
    """The first 8 bytes of SHA-256 over the epoch's GroupContext and confirmation tag, as RFC 9420
    encodes them."""


class Vote(codec.Record, frozen=True):
    """A member's signed statement of the first rightful Commit that they have read in the drop of
    an epoch."""

    epoch: Number
    signer: Key
    """The signature key of the member's leaf in that epoch."""
    commit: Key
    """SHA-256 of the Commit."""
    signature: Signature
    """The signature of that key over vote_text."""


class Votes(codec.Record, frozen=True):
    """The votes in an epoch that the sender knows; the recipient answers with their own vote."""

    epoch: Number
    votes: Annotated[list[Vote], msgspec.Meta(max_length=MAX_VOTES)]


class Held(codec.Record, frozen=True):
    """The place where a held word rests, which its sender keeps at home, and how to open it."""

    relay: Key
    """The key of the sender's home: a relay that their addresses name."""
    region: Region
    drop: Key
    """The secret from which the drop is derived."""
    key: Key
    """The one-time secret of the cell in it."""
    kind: Annotated[int, msgspec.Meta(ge=1, le=255)]
    """The CellKind of the cell's content: MLS or REPAIR."""


class PairCell(codec.Record, frozen=True):
    """The payload of a cell under a pair chain. The recipient checks the fields besides `payload`
    even if the two are in different epochs and cannot read each other's messages."""

    kind: Annotated[int, msgspec.Meta(ge=1, le=255)]
    """A CellKind; clients ignore unknown ones."""
    payload: bytes
    seen: Annotated[list[Seen], msgspec.Meta(max_length=MAX_SEEN)]
    epoch: Epoch


class Envelope(codec.Record, frozen=True):
    """The plaintext of every MLS application message."""

    id: Id
    """Random; replies and edits refer to the message_id made from it."""
    seq: Count
    """The sender device's own count in this conversation, without gaps; it uses no number twice."""
    previous: Hash
    """SHA-256 of the sender device's previous envelope; zeros in the first of a count."""
    clock: Count
    """A Lamport clock: one more than the highest that the sender has seen. Sorting by (clock,
    identity, seq) puts every answer after the message that it answers."""
    sent_at: Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
    """Unix milliseconds by the sender's clock; shown, never trusted."""
    kind: Annotated[int, msgspec.Meta(ge=0, le=65535)]
    body: bytes
    acks: Annotated[list[Ack], msgspec.Meta(max_length=1024)]
    more: dict[str, bytes]
    """HOLDS, with an empty value, if the sender's words are held; BEFORE, with Befores, if somebody
    has joined. Otherwise it is room for later versions: clients ignore unknown keys."""


class Before(codec.Record, frozen=True):
    """How far the sender had counted when an epoch began: later envelopes are also for the people
    who joined in it."""

    epoch: Annotated[int, msgspec.Meta(ge=1, lt=2**53)]
    seq: Count


class Befores(codec.Record, frozen=True):
    """A Before for each of a few epochs, in an envelope's BEFORE."""

    epochs: Annotated[list[Before], msgspec.Meta(min_length=1, max_length=MAX_BEFORE)]


class Text(codec.Record, frozen=True):
    """A text of a person."""

    text: Words
    reply_to: Id | None
    """The message it answers (message_id)."""
    life_s: Life
    """How long clients may keep it, in seconds: its author's from the time it was sent, others'
    from the time they read it. 0: for ever."""
    is_forwarded: bool = False
    """Whether the sender says that the words are somebody's whom they do not name."""


@unique
class FileKind(IntEnum):
    """The way in which a file is to be shown."""

    FILE = 1
    PICTURE = 2
    VOICE = 3
    """A recording that its sender has spoken."""
    VIDEO = 4


Side = Annotated[int, msgspec.Meta(ge=1, le=65_535)]
Day = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]


class File(codec.Record, frozen=True):
    """A file, said like a text. Every cell of it was at the relay before this was said."""

    relay: Key
    """The key of the relay at which it rests: the sender's home."""
    region: Region
    secret: Key
    """The secret from which its drop and the keys of its cells are derived."""
    outline: Key
    """The hash of its outline (protocol/files.py), which commits to its content."""
    size: Annotated[int, msgspec.Meta(ge=0, le=MAX_FILE_BYTES)]
    """Bytes of its content."""
    cells: Annotated[int, msgspec.Meta(ge=1, le=MAX_CELLS)]
    kind: FileKind
    name: Annotated[str, msgspec.Meta(max_length=100)]
    """The name of the sender's file; empty for pictures and voice notes, whose names tell times."""
    media_type: Annotated[str, msgspec.Meta(max_length=60)]
    sides: tuple[Side, Side] | None
    """Width and height of a picture or video, in pixels."""
    until: Day
    """The last UTC day, counted from 1970, on which all of it rests at the relay."""
    seconds: Annotated[int, msgspec.Meta(ge=0, le=MAX_SECONDS)]
    """The playing time."""
    hint: Annotated[bytes, msgspec.Meta(max_length=MAX_HINT_BYTES)]
    """A ThumbHash of a picture or video, or the waveform of a voice note."""
    album: Annotated[bytes, msgspec.Meta(max_length=ALBUM_BYTES)]
    """The same random bytes for files that belong together; empty for a file alone. It stands here
    and not in the envelope's `more`, because a word that is said again keeps its body alone."""
    text: Annotated[str, msgspec.Meta(max_length=MAX_TEXT_BYTES)]
    """The words beside it; may be empty."""
    reply_to: Id | None
    life_s: Life
    is_forwarded: bool = False


class FileWanted(codec.Record, frozen=True):
    """A request that the author put the file of a message up again."""

    target: Id


class FileAgain(codec.Record, frozen=True):
    """The place where the author has put the file of a message of theirs up again."""

    target: Id
    relay: Key
    region: Region
    secret: Key
    until: Day


class Edit(codec.Record, frozen=True):
    """The sender's new words for a text of theirs."""

    target: Id
    text: Words


class Reaction(codec.Record, frozen=True):
    """The sender's feeling about a text; the last one counts, and an empty one takes it back."""

    target: Id
    emoji: Annotated[str, msgspec.Meta(max_length=MAX_REACTION_CHARS)]


class Delete(codec.Record, frozen=True):
    """The sender's request that nobody keep these texts of theirs."""

    targets: Annotated[list[Id], msgspec.Meta(min_length=1, max_length=MAX_DELETED)]


class Timer(codec.Record, frozen=True):
    """The life of texts of this conversation from now on; each text carries its own."""

    life_s: Life


class Wanted(codec.Record, frozen=True):
    """A request that the recipient send these envelopes again."""

    device: Key
    """The MLS signature key of the device that made them."""
    seqs: Annotated[list[Count], msgspec.Meta(min_length=1, max_length=MAX_WANTED)]


class Place(codec.Record, frozen=True):
    """The position of an envelope in its device's count, without its content."""

    previous: Hash
    hash: Hash


class Deleted(codec.Record, frozen=True):
    """The remains of a text that its author has deleted: the fact that it was said, and when."""

    id: Id
    """The id of the envelope that said it."""
    clock: Count
    sent_at: Annotated[int, msgspec.Meta(ge=0, lt=2**53)]


class Repair(codec.Record, frozen=True):
    """An envelope again, byte for byte; empty if its sender no longer has it."""

    device: Key
    seq: Count
    envelope: bytes
    is_before: bool
    """Whether everything up to `seq` was said before the recipient joined: they have no right to
    ask for it."""
    place: Place | None
    """The position of an envelope that no longer has words: its text was deleted or has expired."""
    mark: Mark = NO_MARK
    """The mark of the envelope."""
    deleted: Deleted | None = None
    """The envelope's text, if its author has deleted it for everyone."""


class NewAddresses(codec.Record, frozen=True):
    """The sender's addresses from now on, in every conversation."""

    version: Count
    """A number that grows with every change; only the addresses with the highest count."""
    addresses: Addresses


class NewName(codec.Record, frozen=True):
    """The sender's own name from now on, in every conversation. Nobody can name anybody else."""

    version: Count
    """A number that grows with every change; only the name with the highest counts."""
    name: Name


class KeyPackages(codec.Record, frozen=True):
    """KeyPackages of the sender, each for one use by the recipient."""

    key_packages: Annotated[list[bytes], msgspec.Meta(min_length=1, max_length=MAX_KEY_PACKAGES)]
    joined: Id | None = None
    """The group that the sender has just joined by the recipient's Welcome."""


class KeyPackagesWanted(codec.Record, frozen=True):
    """A request that the recipient send this many KeyPackages of this suite."""

    suite: int
    count: Annotated[int, msgspec.Meta(ge=1, le=MAX_KEY_PACKAGES)]


class FileRef(codec.Record, frozen=True):
    """The relay where an encrypted file rests, and how to open it."""

    relay: RelayAddress
    region: Region
    secret: Key
    """The secret from which the file drop and the key of every chunk are derived."""
    size: Annotated[int, msgspec.Meta(ge=1, le=MAX_BLOB_BYTES)]
    digest: Key
    """SHA-256 of the whole content."""


class WelcomeRef(codec.Record, frozen=True):
    """An invitation into a group: its Welcome and tree are one file."""

    group: Id
    file: FileRef
    name: Annotated[str, msgspec.Meta(max_length=MAX_NAME_CHARS)]
    """The sender's name for the group, for a recipient whose client asks before joining."""
    key_package: Annotated[bytes, msgspec.Meta(min_length=1, max_length=64)]
    """The reference (RFC 9420, section 5.2) of the recipient's KeyPackage that the sender used."""


class WelcomeFile(codec.Record, frozen=True):
    """The content of that file: one Welcome for all joiners, and the tree apart from it."""

    welcome: bytes
    tree: bytes
    clock: Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
    """The committer's Lamport clock: it puts a joiner's messages after everything said before."""


class Leave(codec.Record, frozen=True):
    """A person's signed wish to leave; any member may commit it (docs/decisions/0004)."""

    identity: Key
    nonce: Id
    signature: Signature


class CommitInfo(codec.Record, frozen=True):
    """The authenticated data of every Commit."""

    leaves: Annotated[list[Leave], msgspec.Meta(max_length=MAX_LEAVES_PER_COMMIT)]
    is_restart: bool = False
    """Whether an external Commit restarts the count of the committer's device."""


class Declined(codec.Record, frozen=True):
    """The sender does not want to be in a group that the recipient has added them to."""

    group: Id
    leave: Leave


@unique
class Who(StrEnum):
    """The people who may do something in a group; admins always may."""

    ADMINS = "admins"
    MEMBERS = "members"


class Policy(codec.Record, frozen=True):
    """The rights and the place of a group: its GroupContext extension EXT_POLICY, by which every
    member judges every Commit."""

    direct: list[Key]
    """The two identities of a 1:1 conversation; empty in a group."""
    name: Annotated[str, msgspec.Meta(max_length=MAX_NAME_CHARS, pattern=rf"\A\Z|{NAME_PATTERN}")]
    """The name of a group; empty in a 1:1 conversation."""
    admins: Annotated[list[Key], msgspec.Meta(max_length=MAX_ADMINS)]
    relay: RelayAddress
    """The relay of the epoch drops."""
    region: Region
    may_add: Who = Who.ADMINS
    may_remove: Who = Who.ADMINS
    """The people who may remove others; only admins may remove an admin."""
    may_rename: Who = Who.ADMINS


@unique
class FragmentKind(IntEnum):
    """The kind of message to which a piece in an epoch drop belongs."""

    COMMIT = 1
    MESSAGE = 2
    """An application message."""
    HELD = 3
    """A notice of where to fetch an application message (Held)."""


class Fragment(codec.Record, frozen=True):
    """The payload of a cell in an epoch drop: one piece of a Commit or of a message."""

    kind: FragmentKind
    leaf: Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
    """The author's leaf, in the epoch of the drop."""
    pieces: Annotated[list[Id], msgspec.Meta(min_length=1, max_length=MAX_FRAGMENTS)]
    """The hash of every piece, in order. These name the whole, so nobody can slip a piece of theirs
    into somebody else's Commit."""
    index: Annotated[int, msgspec.Meta(ge=0, lt=MAX_FRAGMENTS)]
    data: bytes
    signature: Signature
    """The signature of that leaf's signature key over `piece_text`."""

    def __post_init__(self) -> None:
        if self.index >= len(self.pieces) or piece_hash(self.data) != self.pieces[self.index]:
            raise ValueError("not one of the pieces")

    @property
    def whole(self) -> bytes:
        """32 bytes that name the whole of this piece, together with its author and kind."""
        return whole_name(self.kind, self.leaf, self.pieces)


class Knock(codec.Record, frozen=True):
    """The answer to an invite: the sender's name and addresses, and a KeyPackage to add them."""

    key_package: bytes
    name: Name
    greeting: Annotated[str, msgspec.Meta(max_length=2000)]
    addresses: Addresses
    reply_secret: Key
    """One-time secret of the cell with the reply."""


class KnockReply(codec.Record, frozen=True):
    """The answer to a knock: the Welcome into the 1:1 conversation."""

    welcome: bytes
    tree: bytes
    name: Name


COMMIT_FRAGMENT, MESSAGE_FRAGMENT, HELD_FRAGMENT = FragmentKind

HOLDS = "holds"
BEFORE = "before"

_envelopes = codec.decoder_of(Envelope)
_pair_cells = codec.decoder_of(PairCell)
_policies = codec.decoder_of(Policy)
_commit_infos = codec.decoder_of(CommitInfo)


def piece_hash(data: bytes) -> bytes:
    """The 16-byte hash that stands for a piece in its fragments."""
    return hashlib.sha256(b"amanat piece" + data).digest()[:16]


def whole_name(kind: FragmentKind, leaf: int, pieces: list[bytes]) -> bytes:
    """The 32 bytes that stand for a whole in the text that the author of its pieces signs."""
    head = bytes([kind]) + leaf.to_bytes(4, "big")
    return hashlib.sha256(b"amanat whole" + head + b"".join(pieces)).digest()


def piece_text(piece: Fragment, *, group: bytes, epoch: int, drop_id: bytes) -> bytes:
    """The text that the author of a piece signs: the piece counts only in this epoch of this group,
    and under this leaf."""
    place = group + epoch.to_bytes(8, "big") + drop_id
    return b"amanat piece 1\x00" + place + piece.whole + bytes([piece.index])


def decode_envelope(data: bytes) -> Envelope:
    """The envelope in an application message. Raises InvalidMessage."""
    return codec.decode(_envelopes, data, InvalidMessage)


def decode_pair_cell(data: bytes) -> PairCell:
    """The payload of a pair cell. Raises InvalidMessage."""
    return codec.decode(_pair_cells, data, InvalidMessage)


def message_id(author: bytes, envelope: bytes) -> bytes:
    """The 16 bytes by which replies, edits, reactions and deletions name a text. They depend on its
    author's identity and its envelope's id, so nobody can name a text like somebody else's."""
    return hashlib.sha256(b"amanat message" + author + envelope).digest()[:16]


def envelope_hash(data: bytes) -> bytes:
    """The 32-byte hash that the sender's next envelope carries as `previous`."""
    return hashlib.sha256(b"amanat envelope" + data).digest()


def decode_policy(data: bytes) -> Policy:
    """The policy of a group. Raises InvalidCommit."""
    policy = codec.decode(_policies, data, InvalidCommit)
    if len(policy.direct) not in (0, 2) or bool(policy.direct) == bool(policy.admins):
        raise InvalidCommit
    if bool(policy.direct) == bool(policy.name):
        raise InvalidCommit  # a group has a name, and two people have their own
    settings = {policy.may_add, policy.may_remove, policy.may_rename}
    if policy.direct and settings != {Who.ADMINS}:
        raise InvalidCommit  # nobody has such rights there, so there is nothing to set
    return policy


def decode_commit_info(data: bytes) -> CommitInfo:
    """The authenticated data of a Commit. Raises InvalidCommit."""
    return codec.decode(_commit_infos, data, InvalidCommit)
