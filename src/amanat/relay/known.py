"""Where other relays are, by their own word, for whoever asks.

A hop takes the places of a relay from here and never from a client's word alone. Any relay keeps
what it is brought, so that people who lose one of theirs find it by way of the other. All of it is
signed by the relay that it is about: nobody else can say anything here, and what is lost is
brought again.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from amanat.protocol.descriptor import RelayAddress

MAX_KNOWN = 4096
"""Relays of which an address is kept: some megabytes, and far more than people of one relay use."""


class Known:
    """The newest address that each of some relays has signed, of those used last."""

    def __init__(self) -> None:
        self._addresses: OrderedDict[bytes, RelayAddress] = OrderedDict()

    def get(self, relay: bytes) -> RelayAddress | None:
        """The newest address of the relay with this key."""
        if relay in self._addresses:
            self._addresses.move_to_end(relay)
        return self._addresses.get(relay)

    def take(self, address: RelayAddress) -> bool:
        """Keep an address, if it is newer than what is known. Whether it was."""
        before = self.get(address.key)
        if before is not None and before.issued >= address.issued:
            return False
        self._addresses[address.key] = address
        if len(self._addresses) > MAX_KNOWN:
            self._addresses.popitem(last=False)
        return True
