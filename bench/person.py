"""Person to person on one machine.

    python bench/person.py [--json]

Two real clients with real vaults and a real relay process with TLS. First one message at a time,
from `send` until the other client has it in its transcript; then as many as one sender can get
through.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from amanat.client.api import Client
from amanat.client.history import TextArrived
from amanat.client.vault import Unlock
from amanat.drill.replay import RelayProcess

SINGLE = 200
"""Messages sent one at a time, in each run."""
BURST = 2000
"""Messages sent as fast as they go, in each run."""
RUNS = 5


async def meet(root: Path, relay: str) -> tuple[Client, Client]:
    """Two people who know each other."""
    unlock = Unlock(key=os.urandom(32))
    alice = await Client.create(root / "alice", unlock, name="alice", relay=relay)
    bob = await Client.create(root / "bob", unlock, name="bob", relay=relay)
    alice.start()
    bob.start()
    bob.accept(alice.invite())
    while not (alice.contacts() and bob.contacts()):
        await bob.changed()
    return alice, bob


async def run(root: Path, relay: str) -> dict[str, float]:
    """One run with two new people."""
    alice, bob = await meet(root, relay)
    gid = alice.contacts()[0].conversation
    arrivals = (e async for e in bob.events() if isinstance(e, TextArrived))
    waits = []
    for number in range(SINGLE):
        began = time.perf_counter()
        alice.send(gid, f"message number {number}")
        await anext(arrivals)
        waits.append(1000 * (time.perf_counter() - began))
    began = time.perf_counter()
    for number in range(BURST):
        alice.send(gid, f"burst number {number}")
        await asyncio.sleep(0)
    for _ in range(BURST):
        await anext(arrivals)
    rate = BURST / (time.perf_counter() - began)
    await alice.close()
    await bob.close()
    waits.sort()
    return {
        "p50_ms": statistics.median(waits),
        "p99_ms": waits[int(0.99 * len(waits))],
        "burst_per_s": rate,
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        relay = RelayProcess(root / "relay", people=2)
        try:
            relay.run()
            runs = [uvloop.run(run(root / str(n), relay.address)) for n in range(RUNS)]
        finally:
            relay.kill()
    rows = {
        key: {
            "min": round(min(r[key] for r in runs), 2),
            "median": round(statistics.median(r[key] for r in runs), 2),
            "max": round(max(r[key] for r in runs), 2),
        }
        for key in runs[0]
    }
    if "--json" in sys.argv:
        print(json.dumps(rows))
        return
    print(f"person to person, {RUNS} runs of {SINGLE} single messages and a burst of {BURST}")
    for key, row in rows.items():
        print(f"{key:12} min {row['min']:9} median {row['median']:9} max {row['max']:9}")


if __name__ == "__main__":
    main()
