"""A cluster's drops move back to a relay on one machine, live and with a certificate."""

from __future__ import annotations

import os
import random
import sqlite3
import time
from pathlib import Path

import pytest

from amanat.config import MovingConfig
from amanat.drill.process import free_port
from amanat.protocol import wire
from amanat.protocol.cells import HANDSHAKE_CELL, MESSAGE_CELL
from amanat.protocol.drops import Drop, derive_drop, token_hash
from amanat.protocol.moving import open_certificate
from amanat.region import notice
from amanat.region.mover import Mover, Report
from amanat.region.notice import DAY_S
from amanat.relay.cluster.roots import own_generation
from clusters import Cluster
from relays import Peer, RelayProcess, append, in_loop, read, read_all

pytestmark = [pytest.mark.e2e, pytest.mark.long]


def make(number: int) -> Drop:
    return derive_drop(number.to_bytes(32, "big"), purpose=b"test", region="DE")


def creation(relay: RelayProcess, drop: Drop) -> wire.Create:
    return wire.Create(
        1,
        relay.directory.bucket_key,
        drop.drop_id,
        token_hash(drop.drop_id, drop.append_token),
        token_hash(drop.drop_id, drop.read_token),
        14,
    )


@in_loop
async def test_the_drops_of_a_cluster_move_to_one_machine_and_no_process_can_open_them(
    cluster: Cluster, tmp_path: Path
) -> None:
    rng = random.Random(1)
    source = RelayProcess(
        tmp_path / "source",
        tls="pinned",
        port=free_port(),
        buckets=2,
        **cluster.settings(tmp_path, keepers=2),
    )
    address = source.directory.address(source.directory.config.port)
    destination = RelayProcess(
        tmp_path / "destination",
        tls="pinned",
        port=free_port(),
        region="NL",
        moving=MovingConfig(sources=(str(address),)),
    )
    with source, destination:
        # The twin has a port of its own, which its settings name.
        twin = source.twin(tmp_path / "twin")
        settings = twin.directory.path / "relay.toml"
        port = source.directory.config.port
        settings.write_text(settings.read_text().replace(str(port), str(free_port())))
        with twin:
            peers = [await Peer.connect(one.address) for one in (source, twin)]
            held: dict[Drop, list[bytes]] = {source.bucket(): []}
            for number in range(10):
                assert await peers[number % 2].ask(creation(source, make(number))) == wire.Created(
                    1, 0
                )
                held[make(number)] = []
            for number in range(200):
                drop = rng.choice(list(held))
                data = rng.randbytes(rng.choice([MESSAGE_CELL, MESSAGE_CELL, HANDSHAKE_CELL]))
                reply = await peers[number % 2].ask(append(drop, data, 1))
                assert isinstance(reply, wire.Appended), reply
                held[drop].append(data)
            today = int(time.time() // DAY_S)
            await notice.announce(
                source.directory.path,
                destination.address,
                on=today,
                reason="the law",
                now=(today - notice.LEAST_DAYS) * DAY_S,
            )
            mover = Mover(source.directory.path, clock=time.time, patience_s=60)
            report = await mover.move(destination.address, is_resumed=False)
            mover.close()
            assert (report.drops, report.cells) == (12, 200)
            _, statement, _ = open_certificate(certificate(report))
            assert statement.cells == 200
            there = await Peer.connect(destination.address)
            for drop, cells in held.items():
                assert await read_all(there, drop, least=len(cells)) == cells
                for peer in peers:  # both processes know
                    assert isinstance(await peer.ask(read(drop, number=3)), wire.Moved)
                    again = await peer.ask(append(drop, os.urandom(MESSAGE_CELL), 4))
                    assert isinstance(again, wire.Moved)
                    new = await peer.ask(creation(source, make(1000 + len(cells))))
                    assert isinstance(new, wire.Moved)
    for relay in (source, twin):
        assert own_generation(0) not in roots(relay.directory.path)


def certificate(report: Report) -> bytes:
    return Path(report.certificate).read_bytes()


def roots(directory: Path) -> list[bytes]:
    """The generations of the roots that a directory has."""
    connection = sqlite3.connect(directory / "roots.sqlite")
    try:
        rows = connection.execute("SELECT generation FROM root").fetchall()
    finally:
        connection.close()
    return [row[0] for row in rows]
