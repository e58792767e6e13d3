"""Pair chains: the one-time secrets that only a sender's device and one recipient derive
(docs/protocol.md, section 4).

For every conversation and every (sender device, recipient person) there are two hash chains, one
for each lane. The sender steps a chain once for each cell. The recipient keeps a window of the
labels that may come next, and looks up each label of the bucket in it. Chains do not depend on the
epoch, so the recipient recognises and keeps a cell of an epoch that they have not reached yet.
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
"""The window in the lane of calls: calls are few, and their sender makes them again."""
MAX_GAP = 1024
"""How many positions may stay open below the highest seen. The recipient gives up older ones, which
bounds memory against a sender who skips."""


class Lane(IntEnum):
    """The purpose of a chain."""

    WORDS = 1
    """Carries people's words and everything that serves to exchange them. It restarts with every
    change of a leaf at either end, so that somebody who has copied a vault, or was in a leaf
    before, cannot read on."""
    CALLS = 2
    """Says that there is something to fetch, and which epoch the sender is in. It outlives
    refreshes: two people who were shown different Commits find each other by it."""


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
    """(one-time secret, next chain key), 32 bytes each. They do not reveal the old key."""
    return expand(chain, b"amanat chain cell"), expand(chain, b"amanat chain next")


@dataclass
class Window:
    """The recipient's end of one chain: the one-time secrets that may come next.

    `base` is the lowest position not received, `chain` the chain key there, `highest` the first
    position above everything received, `open` the secrets from `base` up to `highest + reach`
    that were not received. Only `(base, chain, highest, received)` need be stored.
    """

    base: int
    chain: bytes
    highest: int = 0
    received: set[int] = field(default_factory=set)
    """Positions above `base` that were received."""
    open: dict[int, bytes] = field(default_factory=dict)
    reach: int = WINDOW
    """Positions beyond the highest seen that stay open: more than WINDOW to find a chain again
    after the loss of many cells in a row."""
    _top: int = 0
    _top_chain: bytes = b""

    def __post_init__(self) -> None:
        self.highest = max(self.highest, self.base)
        self._top, self._top_chain = self.base, self.chain
        self.fill()

    def fill(self) -> dict[int, bytes]:
        """Extend the window to its size; returns the new (position, secret) pairs."""
        added: dict[int, bytes] = {}
        while self._top < self.highest + self.reach:
            secret, self._top_chain = step(self._top_chain)
            if self._top not in self.received:
                added[self._top] = secret
            self._top += 1
        self.open.update(added)
        return added

    def take(self, position: int) -> list[int]:
        """Mark a position as received; returns the positions whose secrets are now of no use.

        Call `fill` afterwards. Raises KeyError if the position is not open.
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
