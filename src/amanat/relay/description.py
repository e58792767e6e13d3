"""The descriptor by which a relay describes itself, and the keys to which requests are sealed."""

from __future__ import annotations

import hmac
import logging
from typing import TYPE_CHECKING, Protocol

from amanat.errors import AmanatError
from amanat.protocol import wire
from amanat.protocol.descriptor import Descriptor, Limits, MoveNotice, sign_descriptor
from amanat.protocol.sealing import open_request, read_private
from amanat.relay.directory import RelayDirectory, read_notice

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives import hpke

    from amanat.protocol.descriptor import RelayAddress
    from amanat.relay.drops import Drops
    from amanat.relay.ledger import Ledger

logger = logging.getLogger("amanat.relay")


class Sealing(Protocol):
    """The keys to which requests may be sealed, newest first."""

    @property
    def privates(self) -> list[bytes]:
        """The private keys that open requests."""

    @property
    def public(self) -> bytes:
        """The key to which clients seal new requests. Raises RelayBusy if there is none yet."""

    def rotate(self, *, now: float) -> None:
        """Make the key of this period if it is missing, and destroy keys older than the last
        period. Raises DiskFull or RelayBusy."""


class Description:
    """The relay's descriptor, which is signed again when it changes."""

    def __init__(
        self,
        directory: RelayDirectory,
        drops: Drops,
        ledger: Ledger,
        sealing: Sealing,
        *,
        is_hop: bool,
        now: Callable[[], float],
    ) -> None:
        """`now` tells Unix seconds."""
        self._directory = directory
        self._drops = drops
        self._ledger = ledger
        self._limits = directory.config.limits
        self._is_hop = is_hop
        self._now = now
        self._sealing = sealing
        self._openers: list[hpke.MLKEM768X25519PrivateKey] = []
        """The private keys that open requests, as they were read after the last rotation."""
        self.rotate()
        self._key = directory.identity.public_key().public_bytes_raw()
        self.address: RelayAddress
        """The relay's signed address, known once it listens."""
        self._described: tuple[int, bytes, MoveNotice | None, bytes] = (0, b"", None, b"")

    def describe(self, request: wire.Describe) -> wire.Described:
        """The signed descriptor, and the bucket key for a client that has access."""
        if not self._sealing.privates:
            self.rotate()
        directory, config, hour = self._directory, self._directory.config, int(self._now()) // 3600
        checkpoint, notice = self._ledger.checkpoint, self._read_notice()
        if self._described[:3] != (hour, checkpoint, notice):
            descriptor = Descriptor(
                key=self._key,
                region=config.region,
                operator=config.operator,
                buckets=config.buckets,
                people_per_bucket=config.people_per_bucket,
                access=config.access,
                issued_at=hour * 3600,
                limits=Limits(
                    cells_per_drop=self._limits.cells_per_drop,
                    bytes_per_drop=self._limits.bytes_per_drop,
                    connections=self._limits.connections,
                    requests_in_flight=self._limits.requests_in_flight,
                ),
                address=self.address,
                sealing=self._sealing.public,
                is_hop=self._is_hop,
                checkpoint=checkpoint,
                notice=notice,
                outbound=config.outbound,
            )
            signed = sign_descriptor(descriptor, directory.identity)
            self._described = (hour, checkpoint, notice, signed)
        invited = hmac.compare_digest(request.access, directory.access_code)
        invited = invited or self._drops.admits(request.access)
        bucket_key = directory.bucket_key if invited or config.access == "open" else b""
        return wire.Described(request.id, self._described[3], bucket_key)

    def _read_notice(self) -> MoveNotice | None:
        try:
            return read_notice(self._directory.path)
        except AmanatError as error:
            logger.error("notice: %s", error.code)  # noqa: TRY400  # a trace says no more
            return None

    def open(self, request: wire.Sealed) -> tuple[bytes, bytes]:
        """(the frame in a sealed request, the key of its answer). Raises BrokenSeal."""
        if not self._openers:
            self._openers = [read_private(one) for one in self._sealing.privates]
        return open_request(request.sealed, self._openers, relay=self._key)

    def rotate(self) -> None:
        """Change to a new sealing key when it is time, and destroy expired ones."""
        self._openers.clear()
        try:
            self._sealing.rotate(now=self._now())
        except (
            AmanatError
        ) as error:  # the old keys stay in use, and the relay tries again in an hour
            logger.error("rotation failed: %s", error.code)  # noqa: TRY400  # a trace says no more
