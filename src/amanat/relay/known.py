"""The signed addresses of other relays, for everyone who asks.

A hop takes the places of a relay from here and never from a client's word alone. Any relay keeps
the addresses that clients bring, so that people who lose one of their relays find it by way of the
other. Each address is signed by the relay that it is about: nobody else can say anything here, and
clients bring a lost address again.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from amanat.protocol.descriptor import RelayAddress

MAX_KNOWN = 4096
"""Most addresses that a relay keeps: some megabytes, and far more than its people use."""


class Known:
    """The newest signed address of each of the relays used last."""

    def __init__(self) -> None:
        self._addresses: OrderedDict[bytes, RelayAddress] = OrderedDict()

    def get(self, relay: bytes) -> RelayAddress | None:
        """The newest address of the relay with this key."""
        if relay in self._addresses:
            self._addresses.move_to_end(relay)
        return self._addresses.get(relay)

    def take(self, address: RelayAddress) -> bool:
        """Keep an address, if it is newer than the known one. Returns whether it was."""
        before = self.get(address.key)
        if before is not None and before.issued >= address.issued:
            return False
        self._addresses[address.key] = address
        if len(self._addresses) > MAX_KNOWN:
            self._addresses.popitem(last=False)
        return True
