"""Every decoder of other clients' data, with a sample of its input.

The invariant: for any bytes a decoder returns a value whose only encoding they are, or raises its
one refusal, and does nothing else. (fuzz/decoders.py looks for inputs that break it, and has the
decoders of relays' and networks' data.)
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from addresses import relay_at
from amanat.client import history, holding, invite, pieces, recalled, restoring
from amanat.client.rules import answers, commits, hearing, joining, naming, repair, roster, sharing
from amanat.errors import (
    AmanatError,
    BrokenArchive,
    BrokenInvite,
    InvalidCell,
    InvalidCommit,
    InvalidCredential,
    InvalidFile,
    InvalidMessage,
    InvalidWelcome,
    VaultDamaged,
)
from amanat.protocol import archive, backup, codec, files
from amanat.protocol.drops import derive_bucket
from amanat.protocol.files import Outline
from amanat.protocol.identity import (
    Address,
    Leaf,
    check_credential,
    decode_leaf,
    issue_credential,
)
from amanat.protocol.messages import (
    Ack,
    Before,
    Befores,
    CellKind,
    CommitInfo,
    Declined,
    Delete,
    Edit,
    Envelope,
    Epoch,
    File,
    FileAgain,
    FileKind,
    FileRef,
    FileWanted,
    Fragment,
    FragmentKind,
    Held,
    KeyPackages,
    KeyPackagesWanted,
    Knock,
    KnockReply,
    NewAddresses,
    NewName,
    PairCell,
    Policy,
    Reaction,
    Repair,
    Seen,
    Text,
    Timer,
    Vote,
    Votes,
    Wanted,
    WelcomeFile,
    WelcomeRef,
    decode_commit_info,
    decode_envelope,
    decode_pair_cell,
    decode_policy,
    piece_hash,
)
from amanat.protocol.messages import Leave as Wish

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
SIGNER = bytes(range(32))
DELIVERY = bytes.fromhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
"""Bob's public key of RFC 7748, section 6.1."""
RELAY = relay_at()
BUCKET = derive_bucket(bytes(32), 0, region="IR")
ADDRESS = Address(RELAY, "IR", BUCKET.drop_id, BUCKET.append_token)
IDENTITY = KEY.public_key().public_bytes_raw()
INVITE = invite.Invite(1, IDENTITY, "علی", DELIVERY, bytes(32), [ADDRESS], 1_600_000_000)


class Decoder(NamedTuple):
    """A decoder, the error with which it refuses, and bytes that it reads."""

    decode: Callable[[bytes], Any]
    refusal: type[AmanatError]
    sample: bytes
    encode: Callable[[Any], bytes] = codec.encode
    normal: Callable[[bytes], bytes] = bytes
    """Removes differences that are allowed: only a link may carry traces of copying."""


def _record(
    decoder: Any,  # noqa: ANN401  # a msgspec decoder of any record
    refusal: type[AmanatError],
    sample: codec.Record,
) -> Decoder:
    return Decoder(lambda data: codec.decode(decoder, data, refusal), refusal, codec.encode(sample))


def _from_link(data: bytes) -> invite.Invite:
    return invite.from_link(data.decode("latin-1"))


def _example(kind: msgspec.inspect.Type) -> Any:  # noqa: ANN401  # a value of this type
    """A value of a field of a record."""
    match kind:
        case msgspec.inspect.IntType():
            return max(kind.ge or 0, 1)
        case msgspec.inspect.StrType():
            return "سلام"
        case msgspec.inspect.BytesType():
            return bytes(kind.min_length or 1)
        case msgspec.inspect.BoolType():
            return True
        case msgspec.inspect.UnionType():
            return next(_example(one) for one in kind.types if one != msgspec.inspect.NoneType())
        case msgspec.inspect.ListType():
            return [_example(kind.item_type)]
        case msgspec.inspect.TupleType():
            return tuple(_example(one) for one in kind.item_types)
        case msgspec.inspect.StructType():
            return kind.cls(*(_example(field.type) for field in kind.fields))
        case _:
            raise AssertionError(kind)


def _records() -> dict[str, Decoder]:
    """The records of a backup, each with an example."""
    return {
        f"record {entry.name} of a backup": _record(
            restoring._DECODERS[entry], BrokenArchive, _example(msgspec.inspect.type_info(record))
        )
        for entry, record in backup.RECORDS.items()
    }


_SHARED = File(
    RELAY.key, "IR", bytes(32), bytes(32), 70_000, 3, FileKind.PICTURE, "", "image/jpeg",
    None, 18_600, 0, bytes(25), bytes(8), "سلام", None, 60,
)  # fmt: skip
_FILE = FileRef(RELAY, "IR", bytes(32), 70_000, bytes(32))
_WISH = Wish(IDENTITY, bytes(16), bytes(64))
_EPOCH = Epoch(7, bytes(8))
_VOTE = Vote(3, SIGNER, bytes(32), bytes(64))

DECODERS = {
    "envelope": Decoder(
        decode_envelope,
        InvalidMessage,
        codec.encode(
            Envelope(
                bytes(16), 1, bytes(32), 7, 1_600_000_000_000, 1,
                codec.encode(Text("سلام", None, 0)),
                [Ack(bytes(8), 3, bytes(8))], {"later": b"more"},
            )
        ),
    ),
    "pair cell": Decoder(
        decode_pair_cell,
        InvalidMessage,
        codec.encode(PairCell(1, b"sealed", [Seen(bytes(4), 9, bytes(8))], _EPOCH)),
    ),
    "policy": Decoder(
        decode_policy, InvalidCommit, codec.encode(Policy([], "family", [IDENTITY], RELAY, "IR"))
    ),
    "commit info": Decoder(decode_commit_info, InvalidCommit, codec.encode(CommitInfo([_WISH]))),
    "credential": Decoder(
        lambda data: check_credential(data, signer=SIGNER),
        InvalidCredential,
        issue_credential(KEY, delivery=DELIVERY, signer=SIGNER),
    ),
    "leaf": Decoder(
        decode_leaf, InvalidCredential, codec.encode(Leaf(bytes(16), "علی", [ADDRESS]))
    ),
    "link": Decoder(
        _from_link,
        BrokenInvite,
        invite.to_link(INVITE).encode(),
        lambda value: invite.to_link(value).encode(),
        lambda data: invite.bare_link(data.decode("latin-1")).encode("latin-1"),
    ),
    "knock": _record(
        invite._knocks, InvalidMessage, Knock(b"package", "bob", "hi", [ADDRESS], bytes(32))
    ),
    "knock reply": _record(
        invite._replies, InvalidWelcome, KnockReply(b"welcome", b"tree", "alice")
    ),
    "fragment": _record(
        pieces._fragments,
        InvalidCell,
        Fragment(
            FragmentKind.COMMIT, 7, [piece_hash(b"one"), piece_hash(b"two")], 1, b"two", bytes(64)
        ),
    ),
    "Welcome reference": _record(
        hearing._welcomes, InvalidMessage, WelcomeRef(bytes(16), _FILE, "club", bytes(32))
    ),
    "declined": _record(
        hearing._declined, InvalidMessage, Declined(bytes(16), _WISH)
    ),
    "Welcome file": _record(
        joining._welcome_files,
        InvalidWelcome,
        WelcomeFile(b"welcome", b"tree", 7),
    ),
    "how far somebody had counted": _record(
        hearing._befores, InvalidMessage, Befores([Before(3, 17)])
    ),
    "text": _record(history._texts, InvalidMessage, Text("سلام", None, 60)),
    "edit": _record(history._edits, InvalidMessage, Edit(bytes(16), "سلام")),
    "reaction": _record(history._reactions, InvalidMessage, Reaction(bytes(16), "❤️")),
    "deletion": _record(history._deletes, InvalidMessage, Delete([bytes(16)])),
    "timer": _record(history._timers, InvalidMessage, Timer(60)),
    "repair": _record(
        history._repairs,
        InvalidMessage,
        Repair(SIGNER, 3, b"envelope", is_before=False, place=None),
    ),
    "KeyPackages": _record(hearing._key_packages, InvalidMessage, KeyPackages([b"one"])),
    "KeyPackages wanted": _record(hearing._wanteds, InvalidMessage, KeyPackagesWanted(78, 2)),
    "leave": _record(commits._leaves, InvalidMessage, _WISH),
    "file": _record(joining._files, InvalidMessage, _FILE),
    "file of a message": _record(files._files, InvalidMessage, _SHARED),
    "file wanted": _record(sharing._wanted, InvalidMessage, FileWanted(bytes(16))),
    "file again": _record(
        files._agains, InvalidMessage, FileAgain(bytes(16), RELAY.key, "IR", bytes(32), 18_600)
    ),
    "outline": _record(
        files._outlines, InvalidFile, Outline(bytes(32), [], "image/webp", b"x", b"")
    ),
    "votes": _record(hearing._votes, InvalidMessage, Votes(3, [_VOTE])),
    "wanted": _record(repair._wanted, InvalidMessage, Wanted(SIGNER, [3, 5])),
    "new addresses": _record(
        roster._new_addresses, InvalidMessage, NewAddresses(2, [ADDRESS])
    ),
    "new name": _record(naming._new_names, InvalidMessage, NewName(2, "علی")),
    "asking for help": _record(
        answers._asks,
        InvalidMessage,
        answers.Ask(bytes(16), bytes(16), [_EPOCH], is_lost=True, votes=[_VOTE]),
    ),
    "answer": _record(answers._answers, InvalidMessage, answers.Answer(_EPOCH, None)),
    "help": _record(
        answers._helps,
        InvalidMessage,
        answers.Help(
            None, [b"a Commit"], b"group info", b"tree", bytes(32), 12, 3, [_VOTE]
        ),
    ),
    "held word": _record(
        holding._helds, InvalidMessage, Held(RELAY.key, "IR", bytes(32), bytes(32), CellKind.MLS)
    ),
    "end of an archive": _record(archive._ends, BrokenArchive, archive.End([(1, 1)], bytes(32))),
    "recalled leaves": _record(
        recalled._leaves, VaultDamaged, recalled.Leaves([(0, b"credential", SIGNER, b"leaf")])
    ),
    **_records(),
}  # fmt: skip


def try_one(decoder: Decoder, data: bytes) -> bool:
    """Whether the bytes were read. AssertionError if the invariant does not hold."""
    try:
        value = decoder.decode(data)
    except decoder.refusal:
        return False
    if decoder.encode(value) != decoder.normal(data):
        raise AssertionError(f"another encoding of {value}: {data.hex()}")
    return True


def mutate(sample: bytes, rng: random.Random) -> bytes:
    """The sample with some bytes changed, lost, doubled or moved."""
    data = bytearray(sample)
    for _ in range(rng.randint(1, 4)):
        at, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
        match rng.randrange(5):
            case 0:
                data[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                del data[at : min(end, at + 8)]
            case 2:
                data[at:at] = data[at:end]
            case 3:
                data[at:at] = rng.randbytes(rng.randint(1, 9))
            case _:
                data = data[at:] + data[:at]
    return bytes(data)
