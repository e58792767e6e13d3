"""A transparency log, as pure rules: the Merkle tree over its entries, the tiles that serve it, and
the notes that sign its state.

The tree and its proofs are those of RFC 9162, section 2.1 (the same as of RFC 6962), over SHA-256.
Tiles and bundles are those of C2SP tlog-tiles, notes of C2SP signed-note, checkpoints of C2SP
tlog-checkpoint, cosignatures of C2SP tlog-cosignature (Ed25519, `cosignature/v1`). Nothing here
knows what the entries say.

Everything is computed from *nodes*: the hash of node (level, index) is over the entries from
`index * 2**level` up to `(index + 1) * 2**level`, all of which exist. The caller decides where
nodes come from (a store, or tiles).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from amanat.errors import BrokenLedger, NotInLedger

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256().digest()
"""The root of a tree without entries."""
TILE_HEIGHT = 8
"""Levels of the tree in one tile."""
TILE_WIDTH = 1 << TILE_HEIGHT
"""Hashes in a full tile, and entries in a full bundle."""
MAX_ENTRY_BYTES = 2**16 - 1
"""Longest entry: a bundle gives its length in two bytes."""
MAX_SIZE = 2**53 - 1
"""Most entries of a log: sizes fit into any number format."""
MAX_PROOF_HASHES = 63
"""Most hashes of a proof (C2SP tlog-witness); MAX_SIZE needs no more than 54."""
MAX_PATH_CHARS = 64
"""Longest path; those of MAX_SIZE have 47 characters."""
MAX_NOTE_BYTES = 64 * 1024
"""Longest note that we read. It must hold 16 signatures, of which some may be post-quantum."""
MAX_SIGNATURES = 16
"""Most signatures of a note. Each one from a known key costs a verification."""

CHECKPOINT = "checkpoint"
"""The path of the signed checkpoint."""

Node: TypeAlias = Callable[[int, int], bytes]
"""The hash of node (level, index)."""

# The tree


def leaf_hash(entry: bytes) -> bytes:
    """The hash that stands for an entry in the tree."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash that stands for two halves of the tree."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def fold(hashes: Sequence[bytes]) -> bytes:
    """The hash over a power of two of neighbouring nodes of one level."""
    row = list(hashes)
    while len(row) > 1:
        row = [node_hash(row[i], row[i + 1]) for i in range(0, len(row), 2)]
    return row[0]


def root(size: int, node: Node) -> bytes:
    """The hash of the whole tree of `size` entries."""
    return _over(0, size, node)


class Growing:
    """A tree that takes its entries one by one and keeps only a few hashes of them."""

    def __init__(self) -> None:
        self._whole: list[tuple[int, bytes]] = []

    def add(self, entry: bytes) -> None:
        """Append the next entry."""
        level, found = 0, leaf_hash(entry)
        while self._whole and self._whole[-1][0] == level:
            level, found = level + 1, node_hash(self._whole.pop()[1], found)
        self._whole.append((level, found))

    def root(self) -> bytes:
        """The hash of the whole tree so far."""
        if not self._whole:
            return EMPTY_ROOT
        found = self._whole[-1][1]
        for _, left in reversed(self._whole[:-1]):
            found = node_hash(left, found)
        return found


def root_of(entries: Iterable[bytes]) -> bytes:
    """The hash of the whole tree with these entries, in their order."""
    growing = Growing()
    for entry in entries:
        growing.add(entry)
    return growing.root()


def inclusion_proof(index: int, size: int, node: Node) -> list[bytes]:
    """The hashes that, with entry `index`, give the root at `size` (section 2.1.3)."""
    start, end = 0, size
    proof = []
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            proof.append(_over(middle, end, node))
            end = middle
        else:
            proof.append(_over(start, middle, node))
            start = middle
    return proof[::-1]


def consistency_proof(old: int, new: int, node: Node) -> list[bytes]:
    """The hashes that give both the root at `old` and the root at `new` (section 2.1.4).

    The proof is empty if `old` is 0, or if there is nothing new.
    """
    start, end = 0, new
    proof = []
    if not old or old == new:
        return []
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            proof.append(_over(middle, end, node))
            end = middle
        else:
            proof.append(_over(start, middle, node))
            start = middle
    if start:
        proof.append(_over(start, end, node))
    return proof[::-1]


def is_included(leaf: bytes, index: int, size: int, root_hash: bytes, proof: list[bytes]) -> bool:
    """Whether a proof shows that the entry with hash `leaf` has this index (section 2.1.3.2)."""
    if not 0 <= index < size or not _is_proof(proof):
        return False
    position, last, found = index, size - 1, leaf
    for one in proof:
        if not last:
            return False
        if position & 1 or position == last:
            found = node_hash(one, found)
            while position and not position & 1:
                position, last = position >> 1, last >> 1
        else:
            found = node_hash(found, one)
        position, last = position >> 1, last >> 1
    return not last and found == root_hash


def is_consistent(old: int, old_root: bytes, new: int, new_root: bytes, proof: list[bytes]) -> bool:
    """Whether a proof shows that the tree at `new` begins with the whole tree at `old`
    (section 2.1.4.2)."""
    if not 0 <= old <= new or not _is_proof(proof):
        return False
    if not old:
        return not proof and old_root == EMPTY_ROOT
    if old == new:
        return not proof and old_root == new_root
    path = [old_root, *proof] if not old & (old - 1) else proof
    if not path:
        return False
    position, last = old - 1, new - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    before = after = path[0]
    for one in path[1:]:
        if not last:
            return False
        if position & 1 or position == last:
            before, after = node_hash(one, before), node_hash(one, after)
            while position and not position & 1:
                position, last = position >> 1, last >> 1
        else:
            after = node_hash(after, one)
        position, last = position >> 1, last >> 1
    return not last and before == old_root and after == new_root


def _is_proof(proof: list[bytes]) -> bool:
    return len(proof) <= MAX_PROOF_HASHES and all(len(one) == HASH_BYTES for one in proof)


def _split(size: int) -> int:
    """The index at which a tree of this size is cut: the largest power of two below it."""
    return 1 << ((size - 1).bit_length() - 1)


def _over(start: int, end: int, node: Node) -> bytes:
    """The hash over a range of entries, taken as their own tree."""
    size = end - start
    if not size:
        return EMPTY_ROOT
    level = size.bit_length() - 1
    if size == 1 << level:
        return node(level, start >> level)
    middle = start + _split(size)
    return node_hash(_over(start, middle, node), _over(middle, end, node))


# Tiles


class Tile(NamedTuple):
    """A run of hashes, or of entries: the nodes of level `8 * level` from `256 * number` on."""

    level: int | None
    """The level in tiles; None for a bundle of entries."""
    number: int
    width: int
    """The number of hashes or entries, 1 to 256."""

    @property
    def path(self) -> str:
        """The path at which a relay serves it."""
        digits = f"{self.number:03}"
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        parts = [digits[i : i + 3] for i in range(0, len(digits), 3)]
        kind = "entries" if self.level is None else str(self.level)
        name = "/".join(["tile", kind, *(f"x{part}" for part in parts[:-1]), parts[-1]])
        return name if self.width == TILE_WIDTH else f"{name}.p/{self.width}"


_PATH = re.compile(
    r"tile/(?P<kind>entries|0|[1-9][0-9]?)/(?P<number>(?:x[0-9]{3}/)*[0-9]{3})"
    r"(?:\.p/(?P<width>[1-9][0-9]{0,2}))?",
    re.ASCII,
)


def parse_tile(path: str) -> Tile:
    """The tile at a path. Raises NotInLedger for a path that is not the one path of a tile."""
    match = _PATH.fullmatch(path) if len(path) <= MAX_PATH_CHARS else None
    if match is None:
        raise NotInLedger
    tile = Tile(
        level=None if match["kind"] == "entries" else int(match["kind"]),
        number=int(match["number"].replace("/", "").replace("x", "")),
        width=int(match["width"] or TILE_WIDTH),
    )
    if tile.path != path or (tile.level or 0) > 63 or tile.number > MAX_SIZE:  # noqa: PLR2004  # C2SP
        raise NotInLedger
    return tile


def tile_at(level: int | None, number: int, size: int) -> Tile:
    """A tile of a tree of `size` entries: full, partial, or of width 0 if there is none."""
    nodes = size >> TILE_HEIGHT * (level or 0)
    return Tile(level, number, max(0, min(TILE_WIDTH, nodes - number * TILE_WIDTH)))


def nodes_from(size: int, fetch: Callable[[Tile], bytes]) -> Node:
    """The nodes of a tree of `size` entries, with tiles from `fetch`.

    Raises BrokenLedger for a tile of a wrong length. Only the roots computed from the hashes show
    whether these are right.
    """

    def node(level: int, index: int) -> bytes:
        high, low = divmod(level, TILE_HEIGHT)
        number, first = divmod(index << low, TILE_WIDTH)
        tile = tile_at(high, number, size)
        hashes = fetch(tile)
        if len(hashes) != tile.width * HASH_BYTES:
            raise BrokenLedger
        return fold(split_tile(hashes)[first : first + (1 << low)])

    return node


def split_tile(hashes: bytes) -> list[bytes]:
    """The hashes in a tile."""
    return [hashes[i : i + HASH_BYTES] for i in range(0, len(hashes), HASH_BYTES)]


def join_bundle(entries: Sequence[bytes]) -> bytes:
    """A bundle of entries."""
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def split_bundle(bundle: bytes, count: int) -> list[bytes]:
    """The `count` entries of a bundle. Raises BrokenLedger if it has any other number."""
    entries: list[bytes] = []
    at = 0
    while at < len(bundle) and len(entries) < count:
        start = at + 2
        at = start + int.from_bytes(bundle[at:start], "big")
        entries.append(bundle[start:at])
    if at != len(bundle) or len(entries) != count:
        raise BrokenLedger
    return entries


# Notes

_ED25519, _COSIGNATURE = b"\x01", b"\x04"
_KEY_ID_BYTES = 4
_SIGNATURE_BYTES = 64
_TIME_BYTES = 8
_MAX_TIME_S = 2**63 - 1


def is_name(name: str) -> bool:
    """Whether a key may have this name."""
    return bool(name) and not any(char.isspace() or char < " " or char == "+" for char in name)


class Signature(NamedTuple):
    """One line below a note."""

    name: str
    key_id: bytes
    """Four bytes that tell keys of one name apart; they prove nothing."""
    signature: bytes


class Note(NamedTuple):
    """A text and its signatures. Until `verify` has passed, they prove nothing."""

    text: str
    """Ends with a newline."""
    signatures: list[Signature]


def parse_note(data: bytes) -> Note:
    """The note in some bytes. Raises BrokenLedger."""
    try:
        text, separator, below = data.decode().rpartition("\n\n")
    except UnicodeDecodeError:
        raise BrokenLedger from None
    lines = below.split("\n")
    if (
        len(data) > MAX_NOTE_BYTES
        or not separator
        or any(char < " " and char != "\n" for char in text + below)
        or lines.pop()
        or not 0 < len(lines) <= MAX_SIGNATURES
    ):
        raise BrokenLedger
    return Note(text + "\n", [_parse_signature(line) for line in lines])


def format_note(note: Note) -> bytes:
    """The one encoding of a note."""
    lines = [
        f"— {one.name} {base64.b64encode(one.key_id + one.signature).decode()}\n"
        for one in note.signatures
    ]
    return f"{note.text}\n{''.join(lines)}".encode()


def sign(text: str, name: str, key: Ed25519PrivateKey) -> Signature:
    """A signature of a note's text."""
    public = key.public_key().public_bytes_raw()
    return Signature(name, _key_id(name, _ED25519, public), key.sign(text.encode()))


def verify(note: Note, name: str, key: bytes) -> None:
    """Raise BrokenLedger unless the key of this name has signed the note.

    By the rules of signed-note, signatures of other keys do not count, and one wrong signature of
    this key spoils the note.
    """
    found = _signatures(note, name, _key_id(name, _ED25519, key))
    for signature in found:
        _check(key, signature, note.text.encode())
    if not found:
        raise BrokenLedger


def cosign(text: str, name: str, key: Ed25519PrivateKey, *, now: float) -> Signature:
    """A witness's word that at this time the checkpoint with this text was the largest that it had
    seen of its log, and consistent with every earlier one that it had seen."""
    time_s = int(now)
    signature = key.sign(_cosigned(text, time_s))
    public = key.public_key().public_bytes_raw()
    return Signature(
        name,
        _key_id(name, _COSIGNATURE, public),
        time_s.to_bytes(_TIME_BYTES, "big") + signature,
    )


def cosigner(name: str, key: bytes) -> str:
    """A witness's key in the form for others: name, key id, and kind and key in base64."""
    encoded = base64.b64encode(_COSIGNATURE + key).decode()
    return f"{name}+{_key_id(name, _COSIGNATURE, key).hex()}+{encoded}"


def verify_cosignature(note: Note, name: str, key: bytes) -> int:
    """The Unix time, in seconds, at which the witness of this name has cosigned the note: the last
    one, if there are several. Raises BrokenLedger, as `verify` does."""
    found = _signatures(note, name, _key_id(name, _COSIGNATURE, key))
    times = []
    for stamped in found:
        time_s = int.from_bytes(stamped[:_TIME_BYTES], "big")
        if time_s > _MAX_TIME_S:
            raise BrokenLedger
        _check(key, stamped[_TIME_BYTES:], _cosigned(note.text, time_s))
        times.append(time_s)
    if not times:
        raise BrokenLedger
    return max(times)


def _signatures(note: Note, name: str, key_id: bytes) -> list[bytes]:
    return [one.signature for one in note.signatures if (one.name, one.key_id) == (name, key_id)]


def _check(key: bytes, signature: bytes, message: bytes) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise BrokenLedger from None


def _cosigned(text: str, time_s: int) -> bytes:
    return f"cosignature/v1\ntime {time_s}\n{text}".encode()


def _key_id(name: str, kind: bytes, key: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + kind + key).digest()[:_KEY_ID_BYTES]


def _parse_signature(line: str) -> Signature:
    dash, _, rest = line.partition(" ")
    name, _, encoded = rest.partition(" ")
    data = _unb64(encoded)
    if dash != "—" or not is_name(name) or len(data) <= _KEY_ID_BYTES:
        raise BrokenLedger
    return Signature(name, data[:_KEY_ID_BYTES], data[_KEY_ID_BYTES:])


def _unb64(text: str) -> bytes:
    """The bytes of standard base64, of which there is one encoding."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, ValueError):
        raise BrokenLedger from None
    if base64.b64encode(data).decode() != text:
        raise BrokenLedger
    return data


# Checkpoints


class Checkpoint(NamedTuple):
    """The state of a log: everything in it, in one hash."""

    origin: str
    """The name of the log."""
    size: int
    root: bytes


def format_checkpoint(checkpoint: Checkpoint) -> str:
    """The text of a checkpoint's note."""
    encoded = base64.b64encode(checkpoint.root).decode()
    return f"{checkpoint.origin}\n{checkpoint.size}\n{encoded}\n"


def parse_checkpoint(text: str) -> Checkpoint:
    """The checkpoint in the text of a note. Lines after the third are ignored.

    Raises BrokenLedger.
    """
    *lines, end = text.split("\n")
    if end or len(lines) < 3 or not all(lines):  # noqa: PLR2004  # origin, size, root
        raise BrokenLedger
    origin, digits, encoded = lines[:3]
    root_hash = _unb64(encoded)
    if not re.fullmatch(r"0|[1-9][0-9]{0,15}", digits, re.ASCII) or len(root_hash) != HASH_BYTES:
        raise BrokenLedger
    size = int(digits)
    if size > MAX_SIZE or (not size and root_hash != EMPTY_ROOT):
        raise BrokenLedger
    return Checkpoint(origin, size, root_hash)


def sign_checkpoint(checkpoint: Checkpoint, key: Ed25519PrivateKey) -> bytes:
    """A checkpoint as a note that the log's key has signed, under the origin as its name."""
    text = format_checkpoint(checkpoint)
    return format_note(Note(text, [sign(text, checkpoint.origin, key)]))


def open_checkpoint(data: bytes, origin: str, key: bytes) -> Checkpoint:
    """The checkpoint in a note. Raises BrokenLedger unless it is of this log and `key` has signed
    it."""
    note = parse_note(data)
    verify(note, origin, key)
    checkpoint = parse_checkpoint(note.text)
    if checkpoint.origin != origin:
        raise BrokenLedger
    return checkpoint


def wanted_tiles(old: Checkpoint, new: Checkpoint) -> list[Tile]:
    """The tiles that show whether the tree of `new` begins with the whole tree of `old`."""
    asked: dict[Tile, None] = {}

    def ask(tile: Tile) -> bytes:
        asked[tile] = None
        return bytes(tile.width * HASH_BYTES)

    if old.size < new.size:
        consistency_proof(old.size, new.size, nodes_from(new.size, ask))
    return list(asked)


def goes_on(old: Checkpoint, new: Checkpoint, tiles: Mapping[Tile, bytes]) -> bool:
    """Whether the wanted tiles show that the tree of `new` begins with the whole tree of `old`. A
    missing tile shows nothing."""
    if old.origin != new.origin or new.size < old.size:
        return False
    try:
        node = nodes_from(new.size, lambda tile: tiles.get(tile, b""))
        proof = consistency_proof(old.size, new.size, node)
    except BrokenLedger:
        return False
    return is_consistent(old.size, old.root, new.size, new.root, proof)
