"""A witness signs a ledger that goes on, and nothing else."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from amanat.errors import BadArgument, LedgerRewritten, StoreDamaged
from amanat.protocol import tlog, wire
from amanat.protocol.descriptor import b64
from amanat.protocol.drops import derive_drop
from amanat.protocol.ledger import origin
from amanat.region.witness import Witness
from relays import REGION, Peer, RelayProcess, run_in_loop

NAME = "example.org/witness"


def test_a_witness_is_made_once_and_keeps_its_key(tmp_path: Path) -> None:
    for name in ("", "two words", "a+b", "x" * 101):
        with pytest.raises(BadArgument):
            Witness.open(tmp_path / "witness", name)
    made = Witness.open(tmp_path / "witness", NAME)
    assert Witness.open(tmp_path / "witness").verifier == made.verifier
    assert Witness.open(tmp_path / "witness", NAME).verifier == made.verifier
    with pytest.raises(BadArgument):
        Witness.open(tmp_path / "witness", "another")
    name, key_id, encoded = made.verifier.split("+", 2)
    public = made.key.public_key().public_bytes_raw()
    assert (name, base64.b64decode(encoded)) == (NAME, b"\x04" + public)
    assert tlog.cosign("a\n", NAME, made.key, now=0).key_id.hex() == key_id
    (tmp_path / "witness" / "witness.pem").write_bytes(b"")
    with pytest.raises(StoreDamaged):
        Witness.open(tmp_path / "witness")


async def enter(relay: RelayProcess, *secrets: int) -> None:
    """Have the relay enter some drops, and sign."""
    if not secrets:
        return
    peer = await Peer.connect(relay.address)
    for number in secrets:
        drop = derive_drop(bytes([number]) * 32, purpose=b"x", region=REGION)
        request = wire.Create(1, relay.directory.bucket_key, drop.drop_id, bytes(32), bytes(32), 14)
        assert await peer.ask(request) == wire.Created(1, 0)
    relay.drain()
    relay.start()


@pytest.mark.e2e
def test_a_witness_signs_what_goes_on_and_refuses_what_does_not(tmp_path: Path) -> None:
    run_in_loop(look_again_and_again(tmp_path), patience_s=100)


async def look_again_and_again(tmp_path: Path) -> None:
    witness = Witness.open(tmp_path / "witness", NAME)
    public = witness.key.public_key().public_bytes_raw()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with RelayProcess(tmp_path / "relay", port=port, tls="pinned") as relay:
        relay.drain()
        shutil.copytree(tmp_path / "relay", tmp_path / "copy")
        relay.start()
        key = relay.address.key
        seen = []
        for hour, secrets in enumerate([(), (1, 2), (), (3,)]):
            await enter(relay, *secrets)
            signed = await witness.look(relay.address, now=1000 * hour + 0.7)
            note = tlog.parse_note(signed.note)
            assert tlog.verify_cosignature(note, NAME, public) == 1000 * hour
            assert tlog.open_checkpoint(signed.note, origin(key), key) == signed.checkpoint
            assert (tmp_path / "witness" / f"{b64(key)}.note").read_bytes() == signed.note
            seen.append(signed.checkpoint.size)
        assert seen == [1, 3, 3, 4]
        relay.drain()
        for name in ("drops.sqlite", "keys.sqlite"):
            shutil.copy(tmp_path / "copy" / name, tmp_path / "relay" / name)
        relay.start()
        for secrets in ((), (4, 5, 6, 7)):  # shorter, then longer
            await enter(relay, *secrets)
            with pytest.raises(LedgerRewritten):
                await witness.look(relay.address, now=9000)
        assert (tmp_path / "witness" / f"{b64(key)}.note").read_bytes() == signed.note
        refused = (tmp_path / "witness" / f"{b64(key)}.refused").read_bytes()
        assert tlog.open_checkpoint(refused, origin(key), key).size == 5
        (tmp_path / "witness" / f"{b64(key)}.note").write_bytes(refused)
        with pytest.raises(StoreDamaged):
            await witness.look(relay.address, now=9000)


@pytest.mark.e2e
def test_the_command_prints_what_it_has_signed(tmp_path: Path) -> None:
    with RelayProcess(tmp_path / "relay") as relay:
        command = [sys.executable, "-m", "amanat", "--json", "region", "witness"]
        place = [str(tmp_path / "witness"), str(relay.address)]
        first = subprocess.run([*command, *place], capture_output=True, text=True, check=False)
        assert json.loads(first.stdout)["error"] == "bad-argument"
        named = [*command, *place, "--name", NAME]
        ran = subprocess.run(named, capture_output=True, text=True, check=True)
    value = json.loads(ran.stdout)
    assert value["witness"] == Witness.open(tmp_path / "witness").verifier
    assert value["entries"] == 1
    note = tlog.parse_note(value["note"].encode())
    assert tlog.parse_checkpoint(note.text).root.hex() == value["root"]
