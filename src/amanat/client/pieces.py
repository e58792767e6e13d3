"""Pieces: the contents of an epoch drop, and the rules for which of them count.

A Commit or a message is cut into pieces that fit a cell, and the leaf that it comes from signs each
piece (docs/protocol.md, section 9). We pass over pieces that no member of the epoch has signed,
before we keep anything. Pieces that a member has begun and not finished count against that member's
own room, so nobody can prevent another member's Commit from becoming whole. All members read the
same cells in the same order, so the same Commits become whole for all of them.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from msgspec import structs

from amanat.errors import InvalidCell, InvalidCredential
from amanat.protocol import codec
from amanat.protocol.cells import LABEL_BYTES, MAX_PAYLOAD, OneTime, open_cell, seal
from amanat.protocol.drops import Drop, derive_drop, expand
from amanat.protocol.identity import check_signature
from amanat.protocol.messages import MAX_FRAGMENTS, Fragment, piece_hash, piece_text, whole_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from amanat.client.unit import Unit
    from amanat.client.vault import Vault
    from amanat.protocol.messages import FragmentKind

FRAGMENT_BYTES = MAX_PAYLOAD - 128 - 18 * MAX_FRAGMENTS
"""Bytes of a Commit in one cell, leaving room for the fragment's own fields."""
MAX_OPEN = 2 * MAX_FRAGMENTS
"""The most pieces kept from one author's unfinished Commits and messages: the largest Commit, and
as much again that came in between."""
MAX_OPEN_ALL = 1_024
"""The most pieces kept from the unfinished Commits and messages of all authors of an epoch: 64
MiB."""
_LEAF_BYTES = 4
_KEY_BYTES = 32


class Cut(NamedTuple):
    """The cells into which a Commit or a message was cut."""

    cells: list[bytes]
    whole: bytes
    """The id under which its pieces belong together."""


@dataclass(frozen=True)
class EpochDrop:
    """The drop of one epoch of one group, as its members know it."""

    gid: bytes
    epoch: int
    secret: bytes
    region: str
    signers: dict[int, bytes]
    """The signature key of each leaf."""

    @cached_property
    def drop(self) -> Drop:
        """The drop's id and tokens."""
        return epoch_drop(self.secret, self.region)

    def cut(
        self, kind: FragmentKind, data: bytes, *, leaf: int, sign: Callable[[bytes], bytes]
    ) -> Cut:
        """The cells of a Commit or a message by this leaf; `sign` signs with its signature key."""
        pieces = [data[i : i + FRAGMENT_BYTES] for i in range(0, len(data), FRAGMENT_BYTES)]
        hashes = [piece_hash(piece) for piece in pieces]
        cells = [
            self.seal(self.signed(Fragment(kind, leaf, hashes, index, piece, bytes(64)), sign))
            for index, piece in enumerate(pieces)
        ]
        return Cut(cells, whole_name(kind, leaf, hashes))

    def signed(self, piece: Fragment, sign: Callable[[bytes], bytes]) -> Fragment:
        """A piece with its author's signature."""
        return structs.replace(piece, signature=sign(self._text(piece)))

    def seal(self, piece: Fragment) -> bytes:
        """The cell of a piece, under a random label."""
        once = epoch_key(self.secret, secrets.token_bytes(LABEL_BYTES))
        payload = codec.encode(piece)
        return seal(once, payload, region=self.region, drop_id=self.drop.drop_id)

    def open(self, cell: bytes) -> Fragment:
        """The piece in a cell. Raises InvalidCell if it is not by a member of this epoch."""
        once = epoch_key(self.secret, cell[:LABEL_BYTES])
        payload = open_cell(once, cell, region=self.region, drop_id=self.drop.drop_id)
        piece = codec.decode(_fragments, payload, InvalidCell)
        try:
            check_signature(self.signers[piece.leaf], piece.signature, self._text(piece))
        except (KeyError, InvalidCredential):
            raise InvalidCell from None
        return piece

    def _text(self, piece: Fragment) -> bytes:
        return piece_text(piece, group=self.gid, epoch=self.epoch, drop_id=self.drop.drop_id)


class Pieces:
    """The pieces of unfinished Commits and messages, in one vault."""

    def __init__(self, vault: Vault) -> None:
        self._read = vault.read

    def take(self, unit: Unit, place: bytes, piece: Fragment) -> bytes | None:
        """Take a piece; returns the Commit or message that it completes, if it does. `place` is the
        drop, or another name under which its pieces are kept; they come in the drop's order.

        If an author has begun too much, their oldest unfinished item is forgotten. If all authors
        together have, it is that of the author who has begun most, and among equals of the highest
        leaf.
        """
        if len(piece.pieces) == 1:
            return piece.data
        whole = (place, piece.whole)
        unit.db.execute(
            "INSERT OR IGNORE INTO fragment (place, whole, leaf, idx, data) VALUES (?, ?, ?, ?, ?)",
            (*whole, piece.leaf, piece.index, piece.data),
        )
        (count,) = unit.db.execute(
            "SELECT count(*) FROM fragment WHERE place = ? AND whole = ?", whole
        ).fetchone()
        if count < len(piece.pieces):
            self._make_room(unit, place, piece.leaf)
            return None
        rows = unit.db.execute(
            "DELETE FROM fragment WHERE place = ? AND whole = ? RETURNING idx, data", whole
        ).fetchall()
        return b"".join(data for _, data in sorted(rows))

    def _make_room(self, unit: Unit, place: bytes, leaf: int) -> None:
        begun: dict[int, int] = dict(
            unit.db.execute(
                "SELECT leaf, count(*) FROM fragment WHERE place = ? GROUP BY leaf", (place,)
            ).fetchall()
        )
        while begun[leaf] > MAX_OPEN or sum(begun.values()) > MAX_OPEN_ALL:
            most = max(begun, key=lambda each: (begun[each], each))
            whose = leaf if begun[leaf] > MAX_OPEN else most
            gone = unit.db.execute(
                "DELETE FROM fragment WHERE place = ?1 AND whole = (SELECT whole FROM fragment"
                " WHERE place = ?1 AND leaf = ?2 ORDER BY id LIMIT 1) RETURNING 1",
                (place, whose),
            ).fetchall()
            begun[whose] -= len(gone)

    def forget(self, unit: Unit, place: bytes) -> None:
        """Forget the pieces read from a drop that we no longer read, or will read again from the
        start."""
        unit.db.execute("DELETE FROM fragment WHERE place = ?", (place,))


def without(missing: bytes, index: int) -> bytes:
    """The indexes of the pieces that a drop has yet to show, once it has shown this one."""
    return missing.replace(bytes([index]), b"")


def pack_signers(signers: Iterable[tuple[int, bytes]]) -> bytes:
    """The signature keys of an epoch's leaves as the vault keeps them."""
    return b"".join(leaf.to_bytes(_LEAF_BYTES, "big") + key for leaf, key in signers)


def unpack_signers(data: bytes) -> dict[int, bytes]:
    """The signature key of each leaf."""
    size = _LEAF_BYTES + _KEY_BYTES
    rows = [data[i : i + size] for i in range(0, len(data), size)]
    return {int.from_bytes(row[:_LEAF_BYTES], "big"): row[_LEAF_BYTES:] for row in rows}


def epoch_drop(secret: bytes, region: str) -> Drop:
    """The drop of the epoch whose exported secret this is."""
    return derive_drop(secret, purpose=b"amanat epoch drop", region=region)


def epoch_key(secret: bytes, label: bytes) -> OneTime:
    """The key of a cell of an epoch drop, from the random label that its sender chose."""
    return OneTime(label, expand(secret, b"amanat epoch cell", label))


_fragments = codec.decoder_of(Fragment)
