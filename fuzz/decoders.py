"""Fuzz targets, one for each decoder of bytes from strangers: python fuzz/decoders.py NAME [...].

Needs atheris, which takes the further arguments. tests/test_fuzz.py runs every target for a moment.
"""
# ruff: noqa: INP001  # a directory of scripts

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from amanat.client import invite
from amanat.errors import (
    BrokenAddress,
    BrokenDescriptor,
    BrokenInvite,
    InvalidCell,
    InvalidMessage,
    MalformedFrame,
)
from amanat.protocol import cells, codec, identity, messages, wire
from amanat.protocol.descriptor import (
    Descriptor,
    Limits,
    RelayAddress,
    open_descriptor,
    parse_address,
    sign_descriptor,
)
from amanat.protocol.drops import derive_bucket

_KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
_PUBLIC = _KEY.public_key().public_bytes_raw()
_ONCE = cells.OneTime(bytes(16), bytes(32))
_ADDRESS = str(RelayAddress(host="relay.example", port=8443, key=_PUBLIC))
_DESCRIPTOR = Descriptor(_PUBLIC, "DE", "Example", 3, 32, "open", 3600, Limits(1, 2, 3, 4))


class Target(NamedTuple):
    """What is called with data, and data that is accepted."""

    decode: Callable[[bytes], object]
    seeds: list[bytes]


def _strict(
    decode: Callable[[bytes], msgspec.Struct], refusal: type[Exception]
) -> Callable[[bytes], None]:
    """Invariant: it refuses with this error, or encoding what it gives is the input again."""

    def check(data: bytes) -> None:
        try:
            value = decode(data)
        except refusal:
            return
        if codec.encode(value) != data:
            raise AssertionError(data)

    return check


def _descriptor(signed: bytes) -> None:
    """Invariant: BrokenDescriptor, or the key signed it."""
    try:
        open_descriptor(signed, _PUBLIC)
    except BrokenDescriptor:
        return
    _KEY.public_key().verify(signed[:64], b"amanat relay descriptor 1\x00" + signed[64:])


def _signed_body(body: bytes) -> None:
    """Invariant: even what is signed is well formed, or BrokenDescriptor."""
    signature = _KEY.sign(b"amanat relay descriptor 1\x00" + body)
    try:
        opened = open_descriptor(signature + body, _PUBLIC)
    except BrokenDescriptor:
        return
    if open_descriptor(sign_descriptor(opened, _KEY), _PUBLIC) != opened:
        raise AssertionError(body)


def _address(data: bytes) -> None:
    """Invariant: BrokenAddress, or what it says of itself is read as the same address."""
    try:
        address = parse_address(data.decode(errors="replace"))
    except BrokenAddress:
        return
    if parse_address(str(address)) != address:
        raise AssertionError(data)


def _cell(data: bytes) -> None:
    """Invariant: InvalidCell, or sealing what it carries gives the same cell."""
    try:
        payload = cells.open_cell(_ONCE, data, region="DE", drop_id=bytes(24))
    except InvalidCell:
        return
    if cells.seal(_ONCE, payload, region="DE", drop_id=bytes(24)) != data:
        raise AssertionError(data)


def _invite(data: bytes) -> None:
    """Invariant: BrokenInvite, or its link is read as the same invite."""
    try:
        read = invite.from_link(data.decode(errors="replace"))
    except BrokenInvite:
        return
    if invite.from_link(invite.to_link(read)) != read:
        raise AssertionError(data)


def _record(sample: codec.Record) -> Target:
    """The target of one kind of record, inside an encrypted message."""
    decoder = codec.decoder_of(type(sample))
    return Target(
        _strict(lambda data: codec.decode(decoder, data, InvalidMessage), InvalidMessage),
        [codec.encode(sample)],
    )


_REQUESTS: list[wire.Request] = [
    wire.Describe(0, bytes(32)),
    wire.Create(1, bytes(32), bytes(24), bytes(32), bytes(32), 14),
    wire.Append(2, bytes(24), bytes(32), bytes(cells.MESSAGE_CELL)),
    wire.Read(3, bytes(24), bytes(32), 2**40, 900, 60),
    wire.Follow(4, bytes(24), bytes(32), 0),
    wire.Unfollow(5),
]
_REPLIES: list[wire.Reply] = [
    wire.Described(0, b"signed", bytes(32)),
    wire.Created(1, 7),
    wire.Appended(2, 7, bytes(32)),
    wire.Cells(3, 1, bytes(32), [bytes(cells.MESSAGE_CELL)], 1),
    wire.Failed(4, "relay-busy", 5.0),
]
_BUCKET = derive_bucket(bytes(32), 0, region="DE")
_AT = identity.Address(_ADDRESS, "DE", _BUCKET.drop_id, _BUCKET.append_token)
_FILE = messages.FileRef(_ADDRESS, "DE", bytes(32), 70_000, bytes(32))
_RECORDS = [
    identity.Credential(1, _PUBLIC, bytes(32), bytes(64)),
    identity.Leaf(bytes(16), "Ali", [_AT]),
    messages.Envelope(
        bytes(16), 1, bytes(32), 1, 0, 1, b"", [messages.Ack(bytes(8), 1, bytes(8))], {"new": b""}
    ),
    messages.Text("سلام", bytes(16), 60),
    messages.Edit(bytes(16), "سلام"),
    messages.Reaction(bytes(16), "❤️"),
    messages.Delete([bytes(16)]),
    messages.Timer(60),
    messages.KeyPackages([b"key package"]),
    messages.WelcomeRef(bytes(16), _FILE),
    messages.CommitInfo([messages.Leave(bytes(32), bytes(16), bytes(64))]),
    messages.Policy([], "group", [bytes(32)], _ADDRESS, "DE"),
    messages.Fragment(1, [messages.piece_hash(b"piece")], 0, b"piece"),
    messages.Knock(b"key package", "Ali", "hello", [_AT], bytes(32)),
]
_INVITE = invite.Invite(1, _PUBLIC, "Ali", bytes(32), bytes(32), [_AT])

TARGETS = {
    "request": Target(
        _strict(wire.decode_request, MalformedFrame), [wire.encode(one) for one in _REQUESTS]
    ),
    "reply": Target(
        _strict(wire.decode_reply, MalformedFrame), [wire.encode(one) for one in _REPLIES]
    ),
    "descriptor": Target(_descriptor, [sign_descriptor(_DESCRIPTOR, _KEY)]),
    "descriptor-body": Target(_signed_body, [msgspec.msgpack.encode(_DESCRIPTOR)]),
    "address": Target(_address, [_ADDRESS.encode(), b"amanat://[::1]:1/?tls=off#" + b"A" * 43]),
    "cell": Target(_cell, [cells.seal(_ONCE, b"text", region="DE", drop_id=bytes(24))]),
    "invite": Target(_invite, [invite.to_link(_INVITE).encode()]),
    **{type(sample).__name__.lower(): _record(sample) for sample in _RECORDS},
}

if __name__ == "__main__":
    import atheris  # type: ignore[import-untyped]

    atheris.Setup(sys.argv[1:], TARGETS[sys.argv[1]].decode)
    atheris.Fuzz()
