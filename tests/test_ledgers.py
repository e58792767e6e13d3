"""A client notices when a relay's ledger does not extend the checkpoint that the relay signed."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from amanat.client.ledgers import Ledgers
from amanat.client.sdk.client import Client
from amanat.client.vault import Unlock, Vault, create, open_vault
from amanat.errors import LedgerRewritten
from amanat.protocol import tlog, wire
from amanat.protocol.drops import derive_drop
from amanat.protocol.ledger import origin
from relays import REGION, Peer, RelayProcess, in_loop

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
RELAY = KEY.public_key().public_bytes_raw()
UNLOCK = Unlock(key=bytes(32))


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    create(tmp_path / "vault", UNLOCK, lambda _, __: None, now=0)
    opened = open_vault(tmp_path / "vault", UNLOCK)
    yield opened
    opened.close()


class Log:
    """A relay's ledger, as a list."""

    def __init__(self, entries: list[bytes]) -> None:
        self.entries = entries

    def tile(self, tile: tlog.Tile) -> bytes:
        assert tile.level == 0
        first = tile.number * 256
        return b"".join(map(tlog.leaf_hash, self.entries[first : first + tile.width]))

    @property
    def note(self) -> bytes:
        root = tlog.root_of(self.entries)
        return tlog.sign_checkpoint(tlog.Checkpoint(origin(RELAY), len(self.entries), root), KEY)


def take(vault: Vault, note: bytes) -> bool:
    with vault.unit(now=0) as unit:
        return Ledgers(vault).take(unit, RELAY, note, {})


def look(vault: Vault, log: Log, change: Callable[[bytes], bytes] = bytes) -> bool:
    ledgers = Ledgers(vault)
    tiles = {tile: change(log.tile(tile)) for tile in ledgers.wanted(RELAY, log.note)}
    with vault.unit(now=0) as unit:
        return ledgers.take(unit, RELAY, log.note, tiles)


def entries(count: int) -> list[bytes]:
    return [n.to_bytes(4, "big") for n in range(count)]


def kept(vault: Vault) -> tuple[bytes, bytes | None]:
    row: tuple[bytes, bytes | None] = vault._db.execute(
        "SELECT checkpoint, contradiction FROM ledger"
    ).fetchone()
    return row


def test_a_ledger_that_grows_is_right_and_its_newest_checkpoint_kept(vault: Vault) -> None:
    for size in (0, 0, 1, 2, 3, 7, 7, 100, 200):
        log = Log(entries(size))
        assert look(vault, log)
        assert kept(vault) == (log.note, None)


def test_tiles_are_asked_for_only_where_something_is_new(vault: Vault) -> None:
    assert Ledgers(vault).wanted(RELAY, Log(entries(200)).note) == []
    look(vault, Log(entries(200)))
    assert Ledgers(vault).wanted(RELAY, Log(entries(200)).note) == []
    assert Ledgers(vault).wanted(RELAY, Log(entries(199)).note) == []
    assert Ledgers(vault).wanted(RELAY, Log(entries(201)).note) == [tlog.Tile(0, 0, 201)]


@pytest.mark.parametrize(
    "other",
    [
        entries(99),
        [*entries(99), b"edited"],
        [b"edited", *entries(100)[1:], b"more"],
        [*entries(100)[1:], b"more", b"more"],
        [*entries(100)[:50], *entries(100)[51:], b"more", b"more"],
        [*entries(100)[1::-1], *entries(100)[2:], b"more"],
        [],
    ],
)
def test_another_ledger_is_told_once_and_both_checkpoints_are_kept(
    vault: Vault, other: list[bytes]
) -> None:
    first = Log(entries(100))
    assert look(vault, first)
    assert not look(vault, Log(other))
    assert kept(vault) == (first.note, Log(other).note)
    assert look(vault, Log(other))  # the person knows
    right = Log(entries(130))
    assert look(vault, right)
    assert kept(vault) == (right.note, Log(other).note)


def test_a_relay_that_gives_no_tiles_or_wrong_ones_or_no_checkpoint_is_not_believed(
    vault: Vault,
) -> None:
    log = Log(entries(100))
    with vault.unit(now=0) as unit:
        assert Ledgers(vault).take(unit, RELAY, b"", {})  # a relay without a ledger
    look(vault, log)
    new = Log(entries(120))
    refusals: list[Callable[[], bool]] = [
        lambda: look(vault, new, lambda _: b""),
        lambda: look(vault, new, lambda tile: tile[:-32]),
        lambda: look(vault, new, lambda tile: bytes(len(tile))),
        lambda: take(vault, new.note),
        lambda: take(vault, b""),
        lambda: take(vault, new.note[:-9]),
    ]
    for refusal in refusals:
        assert not refusal()
        assert kept(vault)[0] == log.note
        vault._db.execute("UPDATE ledger SET contradiction = NULL")
    assert look(vault, new)


async def enter(relay: RelayProcess, *secrets: int) -> None:
    """Have the relay enter some drops, and sign."""
    peer = await Peer.connect(relay.address)
    for number in secrets:
        drop = derive_drop(bytes([number]) * 32, purpose=b"x", region=REGION)
        request = wire.Create(1, relay.directory.bucket_key, drop.drop_id, bytes(32), bytes(32), 14)
        assert await peer.ask(request) == wire.Created(1, 0)
    relay.drain()
    relay.start()


@pytest.mark.e2e
@in_loop
async def test_a_client_is_told_when_its_relay_is_put_back_to_an_older_disk(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with RelayProcess(tmp_path / "relay", port=port) as relay:
        relay.drain()
        directory = tmp_path / "relay"
        shutil.copytree(directory, tmp_path / "copy")
        relay.start()
        client = await Client.create(
            tmp_path / "alice", UNLOCK, name="alice", relay=str(relay.address)
        )

        async def warnings() -> list[str]:
            await client.watch.check_ledgers()
            return [one.code for one in client.status().warnings]

        assert await warnings() == []
        await enter(relay, 1, 2)
        assert await warnings() == []
        await enter(relay, 3)
        assert await warnings() == []
        relay.drain()
        for name in ("drops.sqlite", "keys.sqlite"):
            shutil.copy(tmp_path / "copy" / name, directory / name)
        relay.start()
        await enter(relay, 4, 5, 6, 7)
        assert await warnings() == [LedgerRewritten.code]
        assert await warnings() == [LedgerRewritten.code]
        await client.close()
