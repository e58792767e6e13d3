"""Files: a drop for each file, with a secret that we tell the people who may read it."""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING

from amanat.client.rules.outbox import Purpose
from amanat.protocol import wire
from amanat.protocol.cells import MAX_PAYLOAD, OneTime, one_time, seal
from amanat.protocol.drops import (
    MESSAGE_RETENTION_DAYS,
    Drop,
    derive_drop,
    expand,
)
from amanat.protocol.messages import (
    FileRef,
)

if TYPE_CHECKING:
    from amanat.client.rules.base import Base
    from amanat.client.rules.epochs import Epochs
    from amanat.client.unit import Unit


class Files:
    """The files of one vault."""

    def __init__(self, base: Base, *, epochs: Epochs) -> None:
        self._outbox = base.outbox
        self._me = base.me
        self._epochs = epochs

    def put_file(self, unit: Unit, data: bytes) -> FileRef:
        """Let our home relay keep a file for the people whom we tell of it."""
        home = self._me.home
        ref = FileRef(
            relay=home.address,
            region=home.region,
            secret=secrets.token_bytes(32),
            size=len(data),
            digest=hashlib.sha256(data).digest(),
        )
        # The people whom we tell of the file can read it, and nobody but us can put anything there.
        drop = file_drop(ref)._replace(append_token=secrets.token_bytes(32))
        about = drop.drop_id
        self._epochs.queue_create(unit, home.address, drop, MESSAGE_RETENTION_DAYS, about=about)
        for index, once in enumerate(file_keys(ref)):
            piece = data[index * MAX_PAYLOAD : (index + 1) * MAX_PAYLOAD]
            cell = seal(once, piece, region=ref.region, drop_id=drop.drop_id)
            request = wire.Append(0, drop.drop_id, drop.append_token, cell)
            self._outbox.queue(
                unit, home.address, request, purpose=Purpose.FILE, about=about, due_at=unit.now
            )
        return ref


def file_drop(ref: FileRef) -> Drop:
    """The drop in which a file rests."""
    return derive_drop(ref.secret, purpose=b"amanat file drop", region=ref.region)


def file_keys(ref: FileRef) -> list[OneTime]:
    """The label and key of each chunk of a file, in order."""
    drop = file_drop(ref)
    return [
        one_time(
            expand(ref.secret, b"amanat file chunk", index.to_bytes(4, "big")),
            region=ref.region,
            drop_id=drop.drop_id,
        )
        for index in range(-(-ref.size // MAX_PAYLOAD))
    ]
