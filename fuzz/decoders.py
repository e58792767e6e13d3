"""Fuzz targets, one for each decoder of bytes from strangers: python fuzz/decoders.py NAME [...].

Needs atheris, which takes the further arguments. tests/test_fuzz.py runs every target for a moment.
"""
# ruff: noqa: INP001  # a directory of scripts

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from amanat import front
from amanat.errors import (
    BrokenAddress,
    BrokenCertificate,
    BrokenDescriptor,
    BrokenLedger,
    BrokenMove,
    BrokenSeal,
    InvalidCell,
    MalformedFrame,
    NotInLedger,
    StoreDamaged,
)
from amanat.page import protocol as page
from amanat.protocol import cells, codec, ledger, moving, sealing, tlog, wire
from amanat.protocol.descriptor import (
    Descriptor,
    Limits,
    Stay,
    decode_address,
    open_descriptor,
    parse_address,
    sign_address,
    sign_descriptor,
)
from amanat.protocol.places import Place
from amanat.proxy import Proxy, decode_proxy
from amanat.relay import directory
from amanat.relay.cluster import messages
from amanat.relay.cluster.ledger import Taken, decode_taken
from amanat.relay.cluster.moves import KeptMove, decode_move
from amanat.relay.cluster.processes import Frames, decode_frames
from amanat.relay.cluster.roots import Root, decode_root

sys.path.append(str(Path(__file__).parent.parent / "tests"))
from client_decoders import DECODERS, try_one

_KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
_PUBLIC = _KEY.public_key().public_bytes_raw()
_ONCE = cells.OneTime(bytes(16), bytes(32))
_SEALING = bytes(range(96))
_SIGNED = sign_address([Stay(Place("relay.example", 8443), 0, 20_000)], _KEY, issued=3600)
_ADDRESS = str(_SIGNED)
_DESCRIPTOR = Descriptor(
    *(_PUBLIC, "DE", "Example", 3, 32, "open", 3600, Limits(1, 2, 3, 4), _SIGNED)
)


_OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
_ORDER = moving.Order(
    move=bytes(16),
    source=_PUBLIC,
    to=sign_address([Stay(Place("two.example", 8443))], _OTHER, issued=3600),
    region="FR",
    regions=["DE", "IR"],
    token_hash=bytes(32),
    began=500_000,
)
_MOVE = moving.sign_order(_ORDER, _KEY)
_STANDING = moving.Standing(bytes(24), moving.HERE, 1, bytes(32), 1, 1024)
_PART = moving.Part(
    drop_id=bytes(24),
    append_hash=bytes(32),
    read_hash=bytes(32),
    retention_days=14,
    bucket=True,
    bound=7,
    last_day=20_000,
    is_first=True,
    before=0,
    digest=bytes(32),
    keys=[moving.ShredKey(20_000, 20_014, bytes(32))],
    cells=[moving.WrappedCell(20_000, bytes(40))],
)
_STEPS = (
    moving.Begin(_MOVE, bytes(32)),
    moving.Survey(bytes(24)),
    moving.Carry([_PART], settles=True),
    moving.Freeze([bytes(24)]),
    moving.Release([moving.Standing(bytes(24), 0, 1, bytes(32), 1, 1024)]),
    moving.Land([_STANDING]),
    moving.Thaw(),
    moving.State(),
    moving.Erase(),
    moving.Abandon(),
    moving.End([bytes(24)]),
)
_STATEMENT, _SIGNATURE = moving.sign_statement(moving.state_of(_MOVE, []), _OTHER)


class Target(NamedTuple):
    """A function that is called with data, and data that it accepts."""

    decode: Callable[[bytes], object]
    seeds: list[bytes]


def _frame(decode: Callable[[bytes], msgspec.Struct], data: bytes) -> None:
    """Invariant: MalformedFrame, or encoding what it gives is the input again."""
    try:
        value = decode(data)
    except MalformedFrame:
        return
    if codec.encode(value) != data:
        raise AssertionError(data)


def _proxy(data: bytes) -> None:
    """Invariant: MalformedFrame, no proxy for no bytes, or one whose only encoding they are."""
    try:
        proxy = decode_proxy(data, MalformedFrame)
    except MalformedFrame:
        return
    if (codec.encode(proxy) if proxy else b"") != data:
        raise AssertionError(data)


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
    again = parse_address(str(address))
    if again != address or again.places != address.places:
        raise AssertionError(data)


def _cell(data: bytes) -> None:
    """Invariant: InvalidCell, or sealing what it carries gives the same cell."""
    try:
        payload = cells.open_cell(_ONCE, data, region="DE", drop_id=bytes(24))
    except InvalidCell:
        return
    if cells.seal(_ONCE, payload, region="DE", drop_id=bytes(24)) != data:
        raise AssertionError(data)


def _sealed_request(data: bytes) -> None:
    """Invariant: BrokenSeal, or the very bytes that were sealed."""
    try:
        frame, _ = sealing.open_request(data, [sealing.read_private(_SEALING)], relay=_PUBLIC)
    except BrokenSeal:
        return
    if frame != b"frame":
        raise AssertionError(data)


def _sealed_answer(data: bytes) -> None:
    """Invariant: BrokenSeal, or the very bytes that were sealed."""
    try:
        frame = sealing.open_answer(data, bytes(32))
    except BrokenSeal:
        return
    if frame != b"frame":
        raise AssertionError(data)


def _ask(data: bytes) -> None:
    """Invariant: MalformedFrame, or an ask that says the same when it is written again."""
    try:
        ask = page.decode_ask(data)
    except MalformedFrame:
        return
    if page.decode_ask(msgspec.json.encode(ask)) != ask:
        raise AssertionError(data)


def _sealing_keys(data: bytes) -> None:
    """Invariant: StoreDamaged, or keys that can be used."""
    try:
        keys = directory._read_keys(data)  # noqa: SLF001  # it reads a file that only it has
    except StoreDamaged:
        return
    for key in keys.values():
        sealing.public_key(key)


def _entry(data: bytes) -> None:
    """Invariant: BrokenLedger, or encoding what it gives is the input again."""
    try:
        entry = ledger.decode_entry(data)
    except BrokenLedger:
        return
    if ledger.encode_entry(entry) != data:
        raise AssertionError(data)


def _stored(decode: Callable[[bytes], msgspec.Struct], data: bytes) -> None:
    """Invariant: StoreDamaged, or encoding what it gives is the input again."""
    try:
        value = decode(data)
    except StoreDamaged:
        return
    if codec.encode(value) != data:
        raise AssertionError(data)


def _note(data: bytes) -> None:
    """Invariant: BrokenLedger, or formatting what it gives is the input again."""
    try:
        note = tlog.parse_note(data)
    except BrokenLedger:
        return
    if tlog.format_note(note) != data:
        raise AssertionError(data)


def _checkpoint(data: bytes) -> None:
    """Invariant: BrokenLedger, or formatting what it gives is how the input begins."""
    text = data.decode(errors="replace")
    try:
        checkpoint = tlog.parse_checkpoint(text)
    except BrokenLedger:
        return
    if not text.startswith(tlog.format_checkpoint(checkpoint)):
        raise AssertionError(data)


def _tile(data: bytes) -> None:
    """Invariant: NotInLedger, or the path of what it gives is the input again."""
    path = data.decode(errors="replace")
    try:
        tile = tlog.parse_tile(path)
    except NotInLedger:
        return
    if tile.path != path:
        raise AssertionError(data)


def _bundle(data: bytes) -> None:
    """Invariant: BrokenLedger, or joining what it gives is the input again."""
    try:
        entries = tlog.split_bundle(data, 2)
    except BrokenLedger:
        return
    if tlog.join_bundle(entries) != data:
        raise AssertionError(data)


_CHECKPOINT = tlog.Checkpoint(ledger.origin(_PUBLIC), 7, bytes(32))
_ENTRIES: list[ledger.Entry] = [
    ledger.Created(bytes(32), 500_000),
    ledger.MovedIn(bytes(32), 500_000, _PUBLIC, 7, bytes(32), 3, 3072),
    ledger.MovedOut(bytes(32), 500_000, _PUBLIC, 7, bytes(32), 3, 3072),
    ledger.Expired(bytes(32), 500_000, 3, 3072),
    ledger.Erased(bytes(32), 500_000, 0, 0),
]

_REQUESTS: list[wire.Request] = [
    wire.Describe(0, bytes(32)),
    wire.Create(1, bytes(32), bytes(24), bytes(32), bytes(32), 14),
    wire.Append(2, bytes(24), bytes(32), bytes(cells.MESSAGE_CELL)),
    wire.Read(3, bytes(24), bytes(32), 2**40, 900, 60),
    wire.Follow(4, bytes(24), bytes(32), 0, 2**19),
    wire.Grant(4, 2**18),
    wire.Unfollow(5),
    wire.Sealed(6, bytes(2416)),
    wire.Forward(7, _PUBLIC, bytes(2416)),
    wire.Cover(9, _PUBLIC, bytes(2416)),
    wire.Publish(10, bytes(24), bytes(32), bytes(cells.MESSAGE_CELL)),
    wire.Page(11, bytes(24), bytes(32), 2**40),
    wire.Inquire(8, _PUBLIC, ()),
    wire.Inquire(8, _PUBLIC, _SIGNED.places),
    wire.Locate(15, _PUBLIC, _SIGNED),
    wire.Locate(15, _PUBLIC, None),
    wire.Introduce(0, _PUBLIC, bytes(64)),
    wire.Consult(13, "tile/0/000.p/7"),
    *(wire.Move(14, bytes(16), bytes(32), one) for one in _STEPS),
]
_REPLIES: list[wire.Reply] = [
    wire.Described(0, b"signed", bytes(32)),
    wire.Created(1, 7),
    wire.Located(10, _SIGNED),
    wire.Located(10, None),
    wire.Appended(2, 7, bytes(32)),
    wire.Cells(3, 1, bytes(32), [bytes(cells.MESSAGE_CELL)], 1),
    wire.Failed(4, "relay-busy", 5.0),
    wire.Answer(5, bytes(1328)),
    wire.Consulted(7, bytes(32)),
    wire.Moving(8, [_STANDING], b"statement", b"signature"),
    wire.Moved(9, _MOVE),
]

_ANSWERS: list[msgspec.Struct] = [
    front.Greeting("0.1.0"),
    front.Refused("background-busy"),
    front.Said(front.NOTE, "amanat: سلام\n"),
    front.Check(),
    front.End(4),
]


def _order(data: bytes) -> None:
    """Invariant: BrokenMove, or an order of whoever signed it, in its one encoding."""
    try:
        order = moving.open_order(data)
    except BrokenMove:
        return
    assert data[64:] == codec.encode(order)  # noqa: S101  # what the target is for


def _statement(data: bytes) -> None:
    """Invariant: BrokenMove, or the statement that was signed."""
    try:
        moving.open_statement(data, _SIGNATURE, _ORDER)
    except BrokenMove:
        return
    assert data == _STATEMENT  # noqa: S101  # what the target is for


def _certificate(data: bytes) -> None:
    """Invariant: BrokenCertificate, or one that both relays signed, in its one encoding."""
    try:
        certificate = moving.open_certificate(data)[2]
    except BrokenCertificate:
        return
    assert data == codec.encode(certificate)  # noqa: S101  # what the target is for


_KEPT = messages.Kept(
    drop_id=bytes(24),
    append_hash=bytes(32),
    read_hash=bytes(32),
    retention_days=14,
    bucket=True,
    head=2,
    digest=bytes(32),
    cells=1,
    bytes=1024,
    last_day=20_000,
    oldest_day=20_000,
    state=0,
    move=0,
    bound=7,
    generation=bytes(16),
    is_ended=False,
)
_CHANGE = messages.Change(
    [messages.WrappedKey(20_000, 20_014, bytes(16), bytes(60))],
    [messages.Resting(20_000, bytes(16), bytes(32), bytes(1024 + 28))],
)

TARGETS = {
    "request": Target(
        functools.partial(_frame, wire.decode_request), [wire.encode(one) for one in _REQUESTS]
    ),
    "reply": Target(
        functools.partial(_frame, wire.decode_reply), [wire.encode(one) for one in _REPLIES]
    ),
    "background-command": Target(
        functools.partial(_frame, front.decode_command),
        [codec.encode(front.Command(("send", "Bob"), ("سلام",)))],
    ),
    "background-shown": Target(
        functools.partial(_frame, front.decode_shown),
        [codec.encode(front.Shown(results=True, notes=False))],
    ),
    "background-answer": Target(
        functools.partial(_frame, front.decode_answer),
        [codec.encode(one) for one in _ANSWERS],
    ),
    "descriptor": Target(_descriptor, [sign_descriptor(_DESCRIPTOR, _KEY)]),
    "descriptor-body": Target(_signed_body, [msgspec.msgpack.encode(_DESCRIPTOR)]),
    "address": Target(_address, [_ADDRESS.encode(), b"amanat://[::1]:1/?tls=off#" + b"A" * 43]),
    "signed-address": Target(
        functools.partial(_frame, lambda data: decode_address(data, MalformedFrame)),
        [codec.encode(_SIGNED)],
    ),
    "proxy": Target(
        _proxy,
        [codec.encode(Proxy("proxy.example", 1080, "me", "secret"))],
    ),
    "sealed-request": Target(
        _sealed_request,
        [sealing.seal_request(b"frame", to=sealing.public_key(_SEALING), relay=_PUBLIC)[0]],
    ),
    "sealed-answer": Target(_sealed_answer, [sealing.seal_answer(b"frame", bytes(32))]),
    "ask of a page": Target(
        _ask,
        [
            b'{"do":"begin","id":1}',
            b'{"do":"history","id":2,"chat":"00","where":{"at":"share","of":0.5},"many":9}',
            '{"do":"send","id":3,"chat":"00","text":"سلام","reply_to":null}'.encode(),
            b'{"do":"seen","id":4,"chat":"00","row":7}',
            b'{"do":"begin backups","id":6,"folder":"/media/disk","new_phrase":true}',
            b'{"do":"give words","id":7,"given":{"3":"zoo","24":"2048"}}',
            b'{"do":"restore","id":8,"backup":"/a","phrase":"zoo zoo","passphrase":null}',
            b'{"do":"read picture","id":5,"width":1,"height":2,"shades":"AP8="}',
        ],
    ),
    "sealing-keys": Target(
        _sealing_keys,
        [codec.encode(directory._KeyFile([(3, _SEALING), (2, _SEALING)]))],  # noqa: SLF001  # same
    ),
    "entry": Target(_entry, [ledger.encode_entry(one) for one in _ENTRIES]),
    "note": Target(_note, [tlog.sign_checkpoint(_CHECKPOINT, _KEY)]),
    "checkpoint": Target(_checkpoint, [tlog.format_checkpoint(_CHECKPOINT).encode()]),
    "move-order": Target(_order, [_MOVE]),
    "move-statement": Target(_statement, [_STATEMENT]),
    "move-certificate": Target(
        _certificate, [moving.certify(_STATEMENT, _SIGNATURE, erased=500_001, key=_KEY)]
    ),
    "cluster-record": Target(
        functools.partial(_stored, messages.decode_kept), [codec.encode(_KEPT)]
    ),
    "cluster-change": Target(
        functools.partial(_stored, messages.decode_change), [codec.encode(_CHANGE)]
    ),
    "cluster-journal": Target(
        functools.partial(_stored, messages.decode_journal),
        [codec.encode(messages.Journal([ledger.encode_entry(_ENTRIES[0])], 1))],
    ),
    "cluster-frames": Target(
        functools.partial(_stored, decode_frames), [codec.encode(Frames(1_800_000_000, [b"frame"]))]
    ),
    "cluster-ledger": Target(
        functools.partial(_stored, decode_taken),
        [codec.encode(Taken(7, [ledger.encode_entry(_ENTRIES[0])], [1, 0]))],
    ),
    "cluster-move": Target(
        functools.partial(_stored, decode_move),
        [codec.encode(KeptMove(bytes(16), _MOVE, True, bytes(32), 7, False, 1, False))],
    ),
    "cluster-root": Target(
        functools.partial(_stored, decode_root), [codec.encode(Root(bytes(16), 20_000, bytes(32)))]
    ),
    "tile": Target(_tile, [b"tile/0/000", b"tile/2/x001/x234/067.p/9", b"tile/entries/007.p/255"]),
    "bundle": Target(_bundle, [tlog.join_bundle([b"", b"entry"])]),
    "cell": Target(_cell, [cells.seal(_ONCE, b"text", region="DE", drop_id=bytes(24))]),
    **{
        name.replace(" ", "-"): Target(functools.partial(try_one, decoder), [decoder.sample])
        for name, decoder in DECODERS.items()
    },
}

if __name__ == "__main__":
    import atheris  # type: ignore[import-untyped]

    atheris.Setup(sys.argv[1:], TARGETS[sys.argv[1]].decode)
    atheris.Fuzz()
