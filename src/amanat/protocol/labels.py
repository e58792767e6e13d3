"""Pair chains: the one-time secrets that only a sender's device and one recipient derive
(docs/protocol.md, section 4).

For every conversation and every (sender device, recipient person) there are two hash chains, one
for each lane. The sender steps one once a cell; the recipient keeps a window of what may come next
and looks each label of the bucket up in it. Chains do not depend on the epoch, so a cell of an
epoch the recipient has not reached yet is recognised and kept, not taken for somebody else's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from amanat.errors import InvalidCredential
from amanat.protocol.drops import expand

WINDOW = 128
"""How many positions beyond the highest seen a recipient recognises: a sender's cells may overtake
each other by this many, and this many in a row may be lost before the chain waits for repair."""
CALL_WINDOW = 16
"""The same in the lane of calls: they are few, and are made once more."""
MAX_GAP = 1024
"""How many positions may stay open below the highest seen; older ones are given up, which bounds
memory against a sender who skips."""


class Lane(IntEnum):
    """What a chain is for."""

    WORDS = 1
    """All that is said, and what serves to say it. It begins anew with every change of a leaf at
    either end, so that who has copied a vault, or was in a leaf before, does not read on."""
    CALLS = 2
    """That there is something to look at, and where the sender stands. It outlives refreshes: two
    who were shown different Commits find each other by it."""


def pair_secret(own_private: bytes, their_public: bytes) -> bytes:
    """The 32-byte X25519 (RFC 7748) secret of two people's delivery keys.

    Raises InvalidCredential for a key that gives the all-zero secret (RFC 7748, section 6.1).
    """
    try:
        return X25519PrivateKey.from_private_bytes(own_private).exchange(
            X25519PublicKey.from_public_bytes(their_public)
        )
    except ValueError:
        raise InvalidCredential("a delivery key is not a usable X25519 key") from None


def chain_root(
    pair: bytes, epoch_secret: bytes, lane: Lane, *, group: bytes, signer: bytes, to: bytes
) -> bytes:
    """The 32-byte start of a chain from the device `signer` to the person `to` in a group.

    `epoch_secret` is exported from the epoch in which the chain begins (RFC 9420, section 8.5), so
    the chain is as post-quantum as the group; `pair` keeps the other members out. `signer` and `to`
    are 32-byte Ed25519 keys.
    """
    salt = expand(epoch_secret, b"amanat chain salt", pair)
    return expand(salt, _PURPOSES[lane], group + signer + to)


def step(chain: bytes) -> tuple[bytes, bytes]:
    """(one-time secret, next chain key), 32 bytes each. The old key cannot be computed back."""
    return expand(chain, b"amanat chain cell"), expand(chain, b"amanat chain next")


@dataclass
class Window:
    """The recipient's end of one chain: which one-time secrets may come next.

    `base` is the lowest position not received, `chain` the chain key there, `highest` the first
    position above everything received, `open` the secrets from `base` up to `highest + reach`
    that were not received. `(base, chain, highest, received)` is all that has to be kept.
    """

    base: int
    chain: bytes
    highest: int = 0
    received: set[int] = field(default_factory=set)
    """Positions above `base` that were received."""
    open: dict[int, bytes] = field(default_factory=dict)
    reach: int = WINDOW
    """Positions beyond the highest seen that are kept open: more than WINDOW to find a chain again
    of which many cells in a row are lost."""
    _top: int = 0
    _top_chain: bytes = b""

    def __post_init__(self) -> None:
        self.highest = max(self.highest, self.base)
        self._top, self._top_chain = self.base, self.chain
        self.fill()

    def fill(self) -> dict[int, bytes]:
        """Extend the window to its size; the (position, secret) pairs that are new."""
        added: dict[int, bytes] = {}
        while self._top < self.highest + self.reach:
            secret, self._top_chain = step(self._top_chain)
            if self._top not in self.received:
                added[self._top] = secret
            self._top += 1
        self.open.update(added)
        return added

    def take(self, position: int) -> list[int]:
        """Mark a position as received; the positions whose secrets are now of no use.

        Call `fill` afterwards. KeyError if the position is not open.
        """
        del self.open[position]
        gone = [position]
        self.received.add(position)
        self.highest = max(self.highest, position + 1)
        while self.base in self.received or self.base < self.highest - MAX_GAP:
            if self.base in self.received:
                self.received.remove(self.base)
            else:
                del self.open[self.base]
                gone.append(self.base)
            _, self.chain = step(self.chain)
            self.base += 1
        return gone


_PURPOSES = {Lane.WORDS: b"amanat chain", Lane.CALLS: b"amanat call chain"}
