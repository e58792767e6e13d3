"""Backups of a large vault: how long one takes, what it does to a text meanwhile, and how soon a
restored profile can be read and is let in.

python bench/backup.py [--messages N] [--mib N] [--people N] [--backups N]

A relay process, and clients with real vaults in this process. The vault gets so many messages of
Persian text, and files of 16 MiB with so many MiB together. A text's time is from its sending until
its reader has it; first without a backup and then beside one. The first backup copies the contents
of all files; so many daily ones follow it, beside a client that says a text a second, and then
beside one that says the next text as soon as the last has come, which no person does.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop

from amanat.client import profile
from amanat.client.events import TextArrived
from amanat.client.sdk.backups import restore
from amanat.client.sdk.client import Client
from amanat.client.vault import Unlock, open_vault
from amanat.drill.relays import RelayProcess

KEY = Unlock(key=bytes(32))
WORDS = "سلام خوبی امروز کتاب‌ها را می‌خوانم فردا برمی‌گردیم چای می‌نوشیم"  # noqa: RUF001  # Persian
MIB = 2**20
FILE_BYTES = 16 * MIB
BATCH = 2_000
PACES = {"a text a second": 1.0, "texts without a pause": 0.0}
"""How the client talks: the seconds from one text to the next."""
ALONE_S = 20
"""For how long it talks while no backup is made, in seconds."""


def fill(directory: Path, many: int) -> None:
    """Put messages into the first conversation of a profile, as if both had said them."""
    chance, words = random.Random(1), WORDS.split()
    vault = open_vault(directory, KEY)
    me = profile.read(vault)
    other, gid = vault.read.execute("SELECT identity, conversation FROM contact").fetchone()
    for first in range(0, many, BATCH):
        with vault.unit(now=0) as unit:
            unit.db.executemany(
                "INSERT INTO message (gid, id, envelope, identity, signer, seq, clock, sent_at,"
                " kept_at, text) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        *(gid, os.urandom(16), os.urandom(16), (me.identity, other)[number % 2]),
                        *(me.signer, number + 1, number + 1, number, number),
                        " ".join(chance.choices(words, k=chance.randint(3, 19))),
                    )
                    for number in range(first, min(many, first + BATCH))
                ],
            )
    vault.close()


async def text_s(one: Client, other: Client, number: int) -> float:
    """The seconds until a text of one has come to the other, who gets no others."""
    events = other.events()
    begun = time.monotonic()
    one.chat(one.contacts()[0].conversation).send(f"text {number}")
    while not isinstance(await anext(events), TextArrived):
        pass
    return time.monotonic() - begun


async def talk(one: Client, other: Client, pace_s: float, over: asyncio.Future[Any]) -> str:
    """The times of texts that are said until something is over."""
    times: list[float] = []
    while not over.done():
        times.append(await text_s(one, other, len(times)))
        await asyncio.wait([over], timeout=max(pace_s - times[-1], 0.0) if pace_s else 0)
    cuts = statistics.quantiles(times, n=100) if len(times) > 1 else times * 99
    return f"p50 {1000 * cuts[49]:.0f} ms, p99 {1000 * cuts[98]:.0f} ms over {len(times)} texts"


async def beside(one: Client, other: Client, pace_s: float, many: int) -> None:
    """Make backups while the client talks."""

    async def make() -> list[float]:
        took = []
        for _ in range(many):
            begun = time.monotonic()
            await one.backups.make()
            took.append(time.monotonic() - begun)
        return took

    making = asyncio.ensure_future(make())
    texts = await talk(one, other, pace_s, making)
    took = await making
    size = one.backups.status().bytes / 1e6
    print(
        f"  {many} backups of {size:.0f} MB: {statistics.median(took):.1f} s"
        f" ({min(took):.1f} to {max(took):.1f}); texts beside them: {texts}"
    )


async def work(place: Path, messages: int, mib: int, people: int, backups: int) -> None:
    relay = RelayProcess(place / "relay", people=people + 1)
    relay.run()
    names = ["ali", *(f"person {number}" for number in range(people))]
    clients = [
        await Client.create(place / name, KEY, name=name, relay=relay.address) for name in names
    ]
    ali, others = clients[0], clients[1:]
    try:
        for one in clients:
            one.start()
        for one in others:
            one.accept(ali.invite())
            while not one.contacts():
                await one.changed()
        while len(ali.contacts()) < people or not others[0].is_caught_up:
            await ali.changed()
        await ali.flushed()
        await ali.close()
        fill(place / "ali", messages)
        ali = Client.open(place / "ali", KEY)
        ali.start()
        await ali.caught_up()
        for number in range(mib * MIB // FILE_BYTES):
            (place / "file.bin").write_bytes(os.urandom(FILE_BYTES))
            await ali.notes().send_file(place / "file.bin", name=f"{number}.bin")
        (place / "stick").mkdir()
        words = " ".join(word.word for word in ali.backups.begin(place / "stick"))
        print("the first:")
        await beside(ali, others[0], 0.0, 1)
        for what, pace_s in PACES.items():
            alone = await talk(
                ali, others[0], pace_s, asyncio.ensure_future(asyncio.sleep(ALONE_S))
            )
            print(f"{what}; alone: {alone}")
            await beside(ali, others[0], pace_s, backups)
        await ali.close()
        begun = time.monotonic()
        await restore(place / "new", KEY, backup=place / "stick", phrase=words)
        new = Client.open(place / "new", KEY)
        assert new.summaries()[0].last is not None
        print(f"restore: old texts can be read after {time.monotonic() - begun:.1f} s")
        new.start()
        while any(one.state == "astray" for one in new.conversations()):
            await new.changed()
        print(f"  all {people} conversations are back after {time.monotonic() - begun:.1f} s")
        await new.close()
    finally:
        for one in others:
            await one.close()
        relay.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--mib", type=int, default=2_048)
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--backups", type=int, default=5)
    asked = parser.parse_args()
    print(f"{asked.messages:,} messages, {asked.mib:,} MiB of files; load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as root:
        uvloop.run(work(Path(root), asked.messages, asked.mib, asked.people, asked.backups))


if __name__ == "__main__":
    main()
