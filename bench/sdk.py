"""The SDK beside a full vault: bench/sdk.py [--runs N] [--json FILE].

The vault has 500 conversations, one of which holds 100,000 messages and the others 40 each. Every
figure is the median of many calls of one function of the SDK, as a page or a bot makes them; the
functions take turns within a run, so that other work of the machine affects all alike. Nothing is
sent: the relay process is there only to make the person and the groups.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import secrets
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from machine import Noise, spread, table

from amanat.client.sdk.client import Client
from amanat.client.transcript import After, Around, Before, Newest, Share
from amanat.client.vault import Unlock
from amanat.drill.relays import RelayProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CONVERSATIONS = 500
MANY = 100_000
"""Messages of the large conversation, and ..."""
FEW = 40
"""... of each of the others."""
AUTHORS = 20
"""People who say them, besides ourselves."""
OWN = 0.3
"""The share of our own texts."""
WORDS_OF_A_TEXT = 9
"""The mean number of words."""
BEGAN_AT = 1_700_000_000_000
MINUTE_MS = 60_000
PAGE = 30
UNREAD = 10
"""In the second part, one conversation of this many has unread messages; in the first, all have."""
SLOW_S = 0.05
"""A call that takes longer than this is made three times a run, any other TURNS times."""
TURNS = 30
UNLOCK = Unlock(key=bytes(32))
_WORDS = [
    *("سلام", "چطوری", "امروز", "هوا", "خیلی", "خوب", "است", "فردا", "کوه", "پیام", "کتاب"),
    *("خانه", "دوست", "زندگی", "آب", "نان", "ماه", "hello", "there", "how", "are", "you", "today"),
    *("the", "weather", "is", "nice", "we", "go", "tomorrow", "message", "book", "house", "friend"),
]


def text(chance: random.Random) -> str:
    """Something that a person may say."""
    many = max(1, round(chance.expovariate(1 / WORDS_OF_A_TEXT)))
    return " ".join(chance.choice(_WORDS) for _ in range(many))


async def fill(directory: Path, relay: str) -> bytes:
    """Make the vault; the gid of the large conversation."""
    client = await Client.create(directory, UNLOCK, name="person", relay=relay)
    gids = [client.create_group(f"group {n}").gid for n in range(CONVERSATIONS)]
    chance = random.Random(1)
    authors = [secrets.token_bytes(32) for _ in range(AUTHORS)]
    me = client._me.identity  # noqa: SLF001  # what others said cannot be made otherwise
    counts = [(gids[0], MANY), *((gid, FEW) for gid in gids[1:])]
    rows = [
        (
            *(gid, secrets.token_bytes(16), secrets.token_bytes(16)),
            me if chance.random() < OWN else chance.choice(authors),
            *(bytes(32), number, number, *[BEGAN_AT + number * MINUTE_MS] * 2, text(chance)),
        )
        for gid, many in counts
        for number in range(many)
    ]
    with client._unit() as unit:  # noqa: SLF001
        unit.db.executemany(
            "INSERT INTO message (gid, id, envelope, identity, signer, seq, clock, sent_at,"
            " kept_at, text) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )
    await client.close()
    return gids[0]


def calls(client: Client, gid: bytes) -> dict[str, Callable[[], object]]:
    """The calls to measure: first those that read a whole conversation, then those that read a part
    of it."""
    everything = client.chat(gid).messages()
    middle, last = everything[MANY // 2], everything[-1]
    return {
        "a whole conversation": lambda: client.chat(gid).messages(),
        "a page: the newest": lambda: client.chat(gid).history(Newest(), many=PAGE),
        "a page: before the middle": lambda: client.chat(gid).history(
            Before(middle.position), many=PAGE
        ),
        "a page: after the middle": lambda: client.chat(gid).history(
            After(middle.position), many=PAGE
        ),
        "a page: around a message": lambda: client.chat(gid).history(Around(middle.id), many=PAGE),
        "a page: at half of the scroll bar": lambda: client.chat(gid).history(
            Share(0.5), many=PAGE
        ),
        "one message by event": lambda: client.chat(gid).message_at(last.row),
        "one message by id": lambda: client.chat(gid).message(middle.id),
        "all conversations": client.conversations,
        "one conversation": lambda: client.chat(gid).view(),
        "all summaries, all of them unread": client.summaries,
        "one summary": lambda: client.chat(gid).summary(),
        "all that is unread": client.unread,
    }


def measure(
    calls: Mapping[str, Callable[[], object]], runs: int, noise: Noise
) -> dict[str, list[float]]:
    """Milliseconds of each call, in every run the median of its turns."""
    figures = defaultdict[str, list[float]](list)
    for _ in range(runs):
        noise.sample()
        for what, call in calls.items():
            took: list[float] = []
            for turn in itertools.count(1):
                began = time.perf_counter()
                call()
                took.append(time.perf_counter() - began)
                if turn >= (3 if took[0] > SLOW_S else TURNS):
                    break
            figures[what].append(1000 * spread(took)[1])
    return figures


async def main() -> None:
    """Fill a vault and measure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    noise = Noise()
    with tempfile.TemporaryDirectory() as root:
        relay = RelayProcess(Path(root) / "relay", people=1)
        relay.run()
        try:
            gid = await fill(Path(root) / "person", relay.address)
        finally:
            relay.stop()
        client = Client.open(Path(root) / "person", UNLOCK)
        size = (Path(root) / "person" / "vault.db").stat().st_size
        figures = measure(calls(client, gid), args.runs, noise)
        for number, line in enumerate(client.summaries()):
            if number % UNREAD:
                client.chat(line.gid).mark_read()
        read = {"all summaries, most of them read": client.summaries}
        figures |= measure(read, args.runs, noise)
        await client.close()
    if args.json:
        args.json.write_text(json.dumps({"noise": noise.summary(), "ms": figures}, indent=2))
    print(f"{noise}\nThe vault: {size >> 20} MiB.\n")
    heads = ["call", "ms, median (least to most)"]
    rows = []
    for what, values in figures.items():
        least, median, most = spread(values)
        rows.append([what, f"{median:.2f} ({least:.2f} to {most:.2f})"])
    print(table(heads, rows))


if __name__ == "__main__":
    asyncio.run(main())
