"""Bits that change on a node's disk are found, and healed from the other nodes."""

from __future__ import annotations

import contextlib
import random
import time
from pathlib import Path

import pytest

from amanat.config import RelayLimits
from amanat.errors import RelayBusy
from amanat.protocol import wire
from amanat.protocol.cells import LABEL_BYTES, MESSAGE_CELL
from amanat.protocol.drops import derive_bucket
from amanat.relay.cluster import ClusterStore
from amanat.relay.cluster.scrub import BadReplica, forget
from amanat.relay.drops import DAY_S, Drops
from clusters import Cluster
from figures import report, rounds

pytestmark = pytest.mark.e2e

BUCKET_KEY = bytes(range(32))
BUCKET = derive_bucket(BUCKET_KEY, 0, region="DE")
NOW = 20_000 * DAY_S
MESSAGES = 60
"""Messages with one cell each."""
FLIPS = 25
"""Bits that change at once, each in another message."""
HEAL_S, HEAL_TRIES = 10.0, 3
"""Longest that a node may take to fetch a stream, in seconds, and how often it may start."""


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(rounds(2, 40)))
def test_changed_bits_are_found_and_healed_from_the_other_nodes(
    cluster: Cluster, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    with contextlib.closing(cluster.store(tmp_path, shards=1)) as store:
        drops = Drops(store, region="DE", bucket_key=BUCKET_KEY, limits=RelayLimits())
        drops.open_buckets(1, now=NOW)
        cells = [chance.randbytes(MESSAGE_CELL) for _ in range(MESSAGES)]
        for cell in cells:
            request = wire.Append(0, BUCKET.drop_id, BUCKET.append_token, cell)
            assert isinstance(drops.carry_out([request], now=NOW).replies[0], wire.Appended)
        assert store.scrub_replicas() == []

        bad = chance.choice(cluster.nodes)
        cluster.stop(bad)
        flipped = flip(chance, cluster.home(bad), [cell[:LABEL_BYTES] for cell in cells])
        cluster.start(bad)
        found = scrubbed(store, healed=False)
        assert {one.node for one in found} == {bad.name}
        assert flipped <= sum(len(one.missing) + len(one.changed) for one in found)
        # Whatever replica is asked, the reader gets what was sent.
        read = wire.Read(0, BUCKET.drop_id, BUCKET.read_token, 0, 900, 0)
        for _ in range(5):
            assert drops.read(read, after=0, now=NOW).cells == cells

        # The engine itself loses a message now and then as a node starts: that heals, too.
        for _ in range(HEAL_TRIES):
            cluster.stop(bad)
            for one in found:
                forget(cluster.home(bad), one)
            cluster.start(bad)
            found = scrubbed(store, healed=True)
            assert {one.node for one in found} <= {bad.name}
            if not found:
                break
        assert not found
        report("bits flipped in a replica", flipped=flipped, found=flipped, healed=flipped)


def flip(chance: random.Random, home: Path, labels: list[bytes]) -> int:
    """Change a bit in each of some messages on a node's disk. Returns how many."""
    (path,) = home.glob("jetstream/*/streams/DE-drops-00/msgs/*.blk")
    data = bytearray(path.read_bytes())
    for label in chance.sample(labels, FLIPS):
        at = data.index(label) + chance.randrange(MESSAGE_CELL)
        data[at] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    return FLIPS


def scrubbed(store: ClusterStore, *, healed: bool) -> list[BadReplica]:
    """The bad replicas, once all of them can be read; if they heal, once none is left."""
    until = time.monotonic() + HEAL_S
    while True:
        try:
            found = store.scrub_replicas()
            if not (healed and found) or time.monotonic() > until:
                return found
        except RelayBusy:
            if time.monotonic() > until:
                raise
        time.sleep(0.2)
