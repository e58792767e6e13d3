"""Importing a large export of Telegram: seconds, and memory, of a preview and of an import.

python bench/importing.py [--messages N]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from amanat.client.sdk.client import Client
from amanat.client.vault import Unlock
from amanat.drill.relays import RelayProcess

KEY = Unlock(key=bytes(32))
WORDS = "سلام خوبی امروز کتاب‌ها را می‌خوانم فردا برمی‌گردیم چای می‌نوشیم"  # noqa: RUF001  # Persian
MESSAGE = """  {
   "id": %d,
   "type": "message",
   "date": "2024-01-01T00:00:00",
   "date_unixtime": "%d",
   "from": "%s",
   "from_id": "user%d",
   "text": "%s",
   "text_entities": [
    {
     "type": "plain",
     "text": "%s"
    }
   ]
  }"""
NAMES = ("علی رضایی", "Babak", "مریم", "Dara")


def write(file: Path, many: int) -> int:
    """Write an export of so many messages; returns its size in bytes."""
    chance, words = random.Random(1), WORDS.split()
    with file.open("w", encoding="utf-8") as out:
        out.write(
            '{\n "name": "دوستان",\n "type": "private_supergroup",\n "id": 9,\n "messages": [\n'
        )
        for number in range(many):
            who = chance.randrange(len(NAMES))
            text = " ".join(chance.choices(words, k=chance.randint(3, 19)))
            moment = 1_600_000_000 + 60 * number
            out.write(
                ",\n" * bool(number) + MESSAGE % (number, moment, NAMES[who], who, text, text)
            )
        out.write("\n ]\n}\n")
    return file.stat().st_size


def measure(what: str, place: Path) -> None:
    """Do one of both in this process, and print its figures."""

    async def work() -> None:
        client = Client.open(place / "profile", KEY)
        try:
            await getattr(client.imports, what)(place / "result.json")
        finally:
            await client.close()

    begun, cpu = time.monotonic(), time.process_time()
    asyncio.run(work())
    took, used = time.monotonic() - begun, time.process_time() - cpu
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{what}: {took:.1f} s, {used:.1f} s of a core, at most {most:.0f} MiB of memory")


async def make_profile(place: Path) -> None:
    """Make a profile; the relay is there for that alone."""
    relay = RelayProcess(place / "relay", people=1)
    relay.run()
    try:
        client = await Client.create(place / "profile", KEY, name="Ali", relay=relay.address)
        await client.close()
    finally:
        relay.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--messages", type=int, default=300_000)
    parser.add_argument(
        "--only", nargs=2, metavar=("WHAT", "PLACE"), help="one part, in this process"
    )
    asked = parser.parse_args()
    if asked.only:
        measure(asked.only[0], Path(asked.only[1]))
        return
    with tempfile.TemporaryDirectory() as root:
        place = Path(root)
        size = write(place / "result.json", asked.messages)
        print(f"{asked.messages:,} messages, {size / 1e6:.0f} MB; load {os.getloadavg()[0]:.1f}")
        asyncio.run(make_profile(place))
        # Each in a process of its own, whose memory is its own.
        for what in ("preview", "take"):
            subprocess.run([sys.executable, __file__, "--only", what, root], check=True)
        vault = (place / "profile" / "vault.db").stat().st_size
        print(f"the vault has {vault / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
