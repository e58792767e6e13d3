"""A witness: an independent party that looks at the ledgers of relays, and cosigns the checkpoint
of each as long as it continues the one before (docs/protocol.md, section 17).

witness.pem      its Ed25519 key, for this purpose alone
name             its name, as it stands in its signatures
KEY.note         the last checkpoint that it cosigned of the relay with this key
KEY.refused      a checkpoint signed by that relay that does not continue that one

A signed checkpoint is on the witness's disk before anybody sees it, so the witness never signs two
ledgers of one relay, even after a crash.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple, Self

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from amanat.errors import BadArgument, BrokenLedger, LedgerRewritten, NotInLedger, StoreDamaged
from amanat.link import connect
from amanat.protocol import tlog, wire
from amanat.protocol.descriptor import NamedAddress, b64
from amanat.protocol.ledger import origin
from amanat.protocol.tlog import Checkpoint, Note, Tile
from amanat.relay.directory import locked

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

MAX_NAME_CHARS = 100


class Cosigned(NamedTuple):
    """A checkpoint that a witness has signed."""

    note: bytes
    checkpoint: Checkpoint


class Witness(NamedTuple):
    """A witness, with its directory."""

    directory: Path
    name: str
    key: Ed25519PrivateKey

    @classmethod
    def open(cls, directory: Path, name: str = "") -> Self:
        """The witness in a directory; a new one if there is none and a name is given.

        Raises BadArgument or StoreDamaged.
        """
        pem, label = directory / "witness.pem", directory / "name"
        if not label.exists():
            if not tlog.is_name(name) or len(name) > MAX_NAME_CHARS:
                raise BadArgument(
                    "a witness has a name without spaces, such as example.org/witness"
                )
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(
                pem,
                Ed25519PrivateKey.generate().private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                ),
            )
            _write(label, name.encode())
        try:
            key = serialization.load_pem_private_key(pem.read_bytes(), None)
            found = label.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise StoreDamaged(f"{pem}: {type(error).__name__}") from None
        if not isinstance(key, Ed25519PrivateKey) or not tlog.is_name(found):
            raise StoreDamaged(str(directory))
        if name not in ("", found):
            raise BadArgument(f"this witness is {found}")
        return cls(directory, found, key)

    @property
    def verifier(self) -> str:
        """The name, key id and key with which others check its signatures."""
        return tlog.cosigner(self.name, self.key.public_key().public_bytes_raw())

    async def look(self, address: NamedAddress, *, now: float) -> Cosigned:
        """Look at a relay's ledger, and cosign its checkpoint.

        Raises RelayUnreachable, RelayKeyChanged, BrokenLedger, or LedgerRewritten if it does not
        continue the last signed one; nothing is signed then.
        """
        with locked(self.directory):
            link = await connect(address)

            async def ask(path: str) -> bytes:
                return (await link.request(wire.Consult(0, path), wire.Consulted)).part

            try:
                return await self._judge(address.key, ask, now=now)
            finally:
                await link.closed()

    async def _judge(
        self, relay: bytes, ask: Callable[[str], Awaitable[bytes]], *, now: float
    ) -> Cosigned:
        data = await ask(tlog.CHECKPOINT)
        new = tlog.open_checkpoint(data, origin(relay), relay)
        old = self._last(relay)
        tiles: dict[Tile, bytes] = {}
        for tile in tlog.wanted_tiles(old, new):
            try:
                tiles[tile] = await ask(tile.path)
            except NotInLedger:
                break
        if not tlog.goes_on(old, new, tiles):
            _write(self._file(relay, "refused"), data)
            raise LedgerRewritten
        note = tlog.parse_note(data)
        mine = tlog.cosign(note.text, self.name, self.key, now=now)
        signed = tlog.format_note(Note(note.text, [*note.signatures, mine]))
        _write(self._file(relay, "note"), signed)
        return Cosigned(signed, new)

    def _last(self, relay: bytes) -> Checkpoint:
        """The last checkpoint of a relay that this witness signed; an empty one if none."""
        try:
            data = self._file(relay, "note").read_bytes()
        except FileNotFoundError:
            return Checkpoint(origin(relay), 0, tlog.EMPTY_ROOT)
        try:
            tlog.verify_cosignature(
                tlog.parse_note(data), self.name, self.key.public_key().public_bytes_raw()
            )
            return tlog.open_checkpoint(data, origin(relay), relay)
        except BrokenLedger:
            raise StoreDamaged(str(self._file(relay, "note"))) from None

    def _file(self, relay: bytes, kind: str) -> Path:
        return self.directory / f"{b64(relay)}.{kind}"


def _write(path: Path, data: bytes) -> None:
    """Replace a file as a whole, durably."""
    temporary = path.with_name(f"{path.name}.new")
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(handle)
    temporary.rename(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
