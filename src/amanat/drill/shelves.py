"""A relay of the simulated world: drops in dictionaries, by the rules of docs/protocol.md."""

from __future__ import annotations

import copy
import itertools
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from amanat.errors import (
    AmanatError,
    BadCell,
    CellTooLarge,
    DropConflict,
    LabelTaken,
    NoAccess,
    NoSuchDrop,
    WrongRegion,
)
from amanat.protocol import sealing, wire
from amanat.protocol.cells import CELL_SIZES, LABEL_BYTES
from amanat.protocol.descriptor import (
    Descriptor,
    Limits,
    RelayAddress,
    Stay,
    sign_address,
    sign_descriptor,
)
from amanat.protocol.drops import (
    HANDSHAKE_RETENTION_DAYS,
    derive_bucket,
    first_digest,
    in_region,
    next_digest,
    token_hash,
)
from amanat.protocol.places import Place

if TYPE_CHECKING:
    from collections.abc import Callable

    from amanat.protocol.drops import Drop

REPLY_BYTES = 256 * 1024
"""Most bytes of cells in one answer."""


@dataclass
class Shelf:
    """One drop as a relay keeps it. `Relay.forge` may tamper with `cells`."""

    append_hash: bytes
    read_hash: bytes
    retention_days: int
    digests: list[bytes]
    cells: list[bytes] = field(default_factory=list)
    gone: int = 0
    """How many cells, counted from the beginning, have expired."""

    def add(self, cell: bytes) -> None:
        self.cells.append(cell)
        self.digests.append(next_digest(self.digests[-1], cell))


class Relay:
    """Drops in dictionaries, by the rules of docs/protocol.md; it never waits and never forgets."""

    def __init__(self, region: str = "IR", port: int = 1, buckets: int = 1) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.bucket_key = os.urandom(32)
        self.region = region
        self.buckets = buckets
        self.address: RelayAddress
        self.is_at(Place(f"relay{port}.example", 443), issued=1)
        self.known: dict[bytes, RelayAddress] = {}
        """The addresses of other relays that clients have brought."""
        self.page = wire.MAX_CELLS
        """Most cells in one answer."""
        self.refuses: AmanatError | None = None
        """The error with which the relay refuses every append, if any."""
        self.gives_access = True
        self.operator = "the world"
        self.is_hop = False
        """Whether the relay hands sealed requests to other relays."""
        self.outbound = "deposit"
        self.sealing = sealing.new_key()
        self.forgets: Callable[[wire.Append, str], bool] = lambda *_: False
        """Whether an append by a person is acknowledged and not kept."""
        self.faces: dict[tuple[str, bytes], Shelf] = {}
        """The shelf that a person is shown of a drop in place of the true one."""
        self.shelves: dict[bytes, Shelf] = {}
        for index in range(buckets):
            bucket = derive_bucket(self.bucket_key, index, region=region)
            append, read = (token_hash(bucket.drop_id, token) for token in bucket[1:])
            self.shelves[bucket.drop_id] = Shelf(append, read, 14, [first_digest(bucket.drop_id)])

    def is_at(self, *places: Place | Stay, issued: int) -> None:
        """Be at these places from now on, and sign an address that says so."""
        stays = [one if isinstance(one, Stay) else Stay(one) for one in places]
        self.address = sign_address(stays, self.key, issued=issued)
        self.here = {stay.place for stay in stays}
        """The places at which the relay answers."""

    def answer(self, request: wire.Request, who: str = "") -> wire.Reply:
        try:
            match request:
                case wire.Describe(id=number):
                    key = self.bucket_key if self.gives_access else b""
                    return wire.Described(number, self.descriptor(), key)
                case wire.Locate(id=number, relay=relay, known=known):
                    before = self.known.get(relay)
                    if known is not None and (before is None or before.issued < known.issued):
                        self.known[relay] = known
                    return wire.Located(number, self.known.get(relay))
                case wire.Create(id=number):
                    return wire.Created(number, self._create(request))
                case wire.Append(id=number):
                    return wire.Appended(number, *self._append(request, who))
                case wire.Read(id=number):
                    limit = min(request.limit, self.page)
                    return self.cells(request, request.after, limit, who)
                case wire.Follow(id=number):
                    return self.cells(request, request.after, self.page, who)
                case wire.Page(id=number):
                    return self.cells(request, request.after, wire.PAGE_CELLS, who)
        except AmanatError as error:
            return wire.Failed(request.id, error.code, error.retry_after)
        raise AssertionError(f"{request} is not answered")

    def cells(
        self, request: wire.Read | wire.Follow | wire.Page, after: int, limit: int, who: str = ""
    ) -> wire.Cells:
        shelf = self.faces.get((who, request.drop_id)) or self._shelf(request.drop_id)
        if shelf.read_hash != token_hash(request.drop_id, request.read_token):
            raise NoSuchDrop
        after = min(max(after, shelf.gone), len(shelf.cells))
        most = wire.PAGE_BYTES if isinstance(request, wire.Page) else REPLY_BYTES
        room = itertools.accumulate(map(len, shelf.cells[after : after + limit]))
        count = sum(1 for number, size in enumerate(room) if size <= most or number == 0)
        found = shelf.cells[after : after + count]
        if isinstance(request, wire.Page) and found and len(found[0]) > most:
            raise CellTooLarge
        return wire.Cells(request.id, after + 1, shelf.digests[after], found, len(shelf.cells))

    def epoch_shelf(self, drop: Drop) -> Shelf:
        """The shelf of an epoch drop, made if it does not exist."""
        append, read = (token_hash(drop.drop_id, token) for token in drop[1:])
        empty = Shelf(append, read, HANDSHAKE_RETENTION_DAYS, [first_digest(drop.drop_id)])
        return self.shelves.setdefault(drop.drop_id, empty)

    def image(self) -> Callable[[], None]:
        """A function that restores the relay's present contents."""
        kept = copy.deepcopy(self.shelves)

        def restore() -> None:
            self.shelves = copy.deepcopy(kept)

        return restore

    def forge(self, drop_id: bytes, cells: list[bytes]) -> None:
        """Pretend that a drop has held these cells all along."""
        shelf = self.shelves[drop_id]
        shelf.cells, shelf.digests = [], [first_digest(drop_id)]
        for cell in cells:
            shelf.add(cell)

    def _shelf(self, drop_id: bytes) -> Shelf:
        if drop_id not in self.shelves:
            raise NoSuchDrop
        return self.shelves[drop_id]

    def descriptor(self) -> bytes:
        descriptor = Descriptor(
            key=self.address.key,
            region=self.region,
            operator=self.operator,
            buckets=self.buckets,
            people_per_bucket=32,
            access="open",
            issued_at=0,
            limits=Limits(2**20, 2**30, 2**10, 2**10),
            address=self.address,
            sealing=sealing.public_key(self.sealing),
            is_hop=self.is_hop,
            outbound=self.outbound,
        )
        return sign_descriptor(descriptor, self.key)

    def _create(self, request: wire.Create) -> int:
        if request.access != self.bucket_key:
            raise NoAccess
        if not in_region(request.drop_id, self.region):
            raise WrongRegion
        wanted = (request.append_hash, request.read_hash, request.retention_days)
        shelf = self.shelves.setdefault(
            request.drop_id, Shelf(*wanted, [first_digest(request.drop_id)])
        )
        if wanted != (shelf.append_hash, shelf.read_hash, shelf.retention_days):
            raise DropConflict
        return len(shelf.cells)

    def _append(self, request: wire.Append, who: str) -> tuple[int, bytes]:
        if self.refuses is not None:
            raise self.refuses
        shelf = self._shelf(request.drop_id)
        if shelf.append_hash != token_hash(request.drop_id, request.append_token):
            raise NoSuchDrop
        if len(request.cell) not in CELL_SIZES:
            raise BadCell
        label = request.cell[:LABEL_BYTES]
        for seq, cell in enumerate(shelf.cells, 1):
            if cell[:LABEL_BYTES] == label:
                if cell != request.cell:
                    raise LabelTaken
                return seq, shelf.digests[seq]
        if self.forgets(request, who):
            return len(shelf.cells) + 1, next_digest(shelf.digests[-1], request.cell)
        shelf.add(request.cell)
        return len(shelf.cells), shelf.digests[-1]
