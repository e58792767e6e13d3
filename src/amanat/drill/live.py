"""The attacks on a real relay and a real vault, which the drill makes for itself and takes away."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import uvloop

from amanat.client.api import Client
from amanat.client.vault import Unlock
from amanat.drill import seized
from amanat.drill.attacks import content, device, identifiers, plaintext
from amanat.drill.designs import DESIGNS, buckets_of, deposit
from amanat.drill.replay import RelayProcess
from amanat.drill.search import found
from amanat.errors import RelayUnreachable, WrongPassphrase
from amanat.link import connect
from amanat.protocol import wire
from amanat.protocol.cells import one_time, seal
from amanat.protocol.descriptor import parse_address
from amanat.protocol.drops import Drop, derive_bucket

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from amanat.drill.sample import Sample

OTHERS = tuple(design for design in DESIGNS if design != "amanat")
CELLS = 20_000
"""Most deposits of a sample put on a real relay's disk."""
IN_FLIGHT = 256
LIFE_S = 2
"""How long the texts live that must not be found, in seconds."""
EXPIRED = 200
GUESSES = 3


@contextlib.contextmanager
def relay_of_our_own(people: int) -> Iterator[tuple[RelayProcess, Path]]:
    """A relay process and a directory, both gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="amanat-drill-") as name:
        relay = RelayProcess(Path(name) / "relay", people=people)
        try:
            relay.run()
            yield relay, Path(name)
        finally:
            relay.kill()


def find_content() -> dict[str, int]:
    """How many canaries are found, for each design."""
    canaries = content.canaries()
    with relay_of_our_own(2) as (relay, root):
        uvloop.run(_say(relay, root, canaries))
        seized.seize(relay, root / "amanat")
        for design in OTHERS:
            messages = [
                seized.Message(float(number), number % 2, 1 - number % 2, text)
                for number, text in enumerate(canaries)
            ]
            seized.other_disk(design, messages, root / design)
        return {design: len(found(canaries, [root / design])) for design in DESIGNS}


async def _meet(relay: RelayProcess, root: Path, keys: dict[str, bytes]) -> list[Client]:
    """Two real people who know each other, by their names; both are online."""
    people = [
        await Client.create(root / name, Unlock(key=key), name=name, relay=relay.address)
        for name, key in keys.items()
    ]
    for person in people:
        person.start()
    people[1].accept(people[0].invite())
    while not all(person.contacts() for person in people):
        await asyncio.gather(*(person.changed() for person in people))
    return people


async def _say(relay: RelayProcess, root: Path, texts: Sequence[str]) -> None:
    """Have two real people say texts to each other in turn."""
    people = await _meet(relay, root, {"alice": os.urandom(32), "bob": os.urandom(32)})
    gid = people[0].contacts()[0].conversation
    for number, text in enumerate(texts):
        people[number % 2].send(gid, text)
        if number % IN_FLIGHT == 0:
            await people[number % 2].flushed()
    for person in people:
        await person.flushed()
        await person.close()


async def _bucket(relay: RelayProcess) -> list[bytes]:
    """All cells of the relay's only bucket."""
    link = await connect(parse_address(relay.address))
    drop = (await _buckets(relay, 1))[0]
    cells: list[bytes] = []
    while True:
        read = wire.Read(0, drop.drop_id, drop.read_token, len(cells), wire.MAX_CELLS, 0)
        page = await link.request(read, wire.Cells)
        cells += page.cells
        if len(cells) >= page.head:
            await link.closed()
            return cells


async def _buckets(relay: RelayProcess, many: int) -> list[Drop]:
    link = await connect(parse_address(relay.address))
    described = await link.request(wire.Describe(0, b""), wire.Described)
    await link.closed()
    return [derive_bucket(described.bucket_key, number, region="IR") for number in range(many)]


def tell_apart(rng: np.random.Generator) -> dict[str, tuple[float, float, float]]:
    """(area under the curve, low, high) for each design: which of two texts was sent."""
    which = rng.random(plaintext.SENT) < 0.5  # noqa: PLR2004  # a coin
    texts = [plaintext.TEXTS[int(one)] for one in which]
    found = {}
    for design in OTHERS:
        stored = [seized.encrypted(design, text) for text in texts]
        found[design] = plaintext.measure(stored, which, rng)
    with relay_of_our_own(2) as (relay, root):
        # Only one speaks, so that the cells of the bucket are in the order of the texts.
        cells = uvloop.run(_tell(relay, root, texts))
    found["amanat"] = plaintext.measure(cells, which, rng)
    return found


async def _tell(relay: RelayProcess, root: Path, texts: Sequence[str]) -> list[bytes]:
    """Have one of two real people say texts; their cells in the bucket."""
    alice, bob = await _meet(relay, root, {"alice": os.urandom(32), "bob": os.urandom(32)})
    await bob.flushed()
    await bob.close()
    before = len(await _bucket(relay))
    gid = alice.contacts()[0].conversation
    for text in texts:
        alice.send(gid, text)
    await alice.flushed()
    cells = await _bucket(relay)
    await alice.close()
    return cells[before : before + len(texts)]


def name_people(sample: Sample, rng: np.random.Generator) -> dict[str, tuple[str, float]]:
    """(the most telling field, its bits) for each design."""
    sent = deposit(sample, rng, receipts="none")
    order = np.argsort(sent.at, kind="stable")[:CELLS]
    author, recipient = sent.author[order], sent.recipient[order]
    people = {"whom it is for": recipient, "whom it is from": author}
    result = {}
    with relay_of_our_own(sample.people) as (relay, root):
        bucket = rng.permutation(np.arange(sample.people) % buckets_of(sample.people))
        places = uvloop.run(_deposit(relay, bucket[recipient]))
        relay.stop()
        fields = _stored(relay.directory, places)
        result["amanat"] = identifiers.measure(fields, people, rng)
        for design in OTHERS:
            messages = [
                seized.Message(float(at), int(a), int(b), "x" * 40)
                for at, a, b in zip(sent.at[order], author, recipient, strict=True)
            ]
            seized.other_disk(design, messages, root / design)
            result[design] = identifiers.measure(_columns(root / design), people, rng)
    return result


async def _deposit(relay: RelayProcess, buckets: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Put a cell into each of these buckets in turn; (bucket, seq) of each."""
    drops = await _buckets(relay, int(buckets.max()) + 1)
    link = await connect(parse_address(relay.address))
    places: list[tuple[int, int]] = []
    for begin in range(0, len(buckets), IN_FLIGHT):
        wave = buckets[begin : begin + IN_FLIGHT].tolist()
        appends = []
        for number in wave:
            drop = drops[number]
            once = one_time(secrets.token_bytes(32), region="IR", drop_id=drop.drop_id)
            cell = seal(once, b"what was said", region="IR", drop_id=drop.drop_id)
            appends.append(wire.Append(0, drop.drop_id, drop.append_token, cell))
        answers = await asyncio.gather(*(link.request(one, wire.Appended) for one in appends))
        places += [(number, one.seq) for number, one in zip(wave, answers, strict=True)]
    await link.closed()
    return places


def _stored(directory: Path, places: list[tuple[int, int]]) -> dict[str, list[object]]:
    """Every column a relay's disk has for each of the cells at these places."""
    with contextlib.closing(sqlite3.connect(directory / "drops.sqlite")) as db:
        names = [row[1] for row in db.execute("PRAGMA table_info(cell)")]
        rows = {}
        for row in db.execute("SELECT * FROM cell"):
            drop, seq = divmod(row[names.index("place")], 2**40)
            rows[drop, seq] = (*row, drop, seq, len(row[names.index("wrapped")]))
    numbers = sorted({drop for drop, _ in rows})
    wanted = [rows[numbers[bucket], seq] for bucket, seq in places]
    columns = [*names, "drop", "seq", "length"]
    return {f"cell.{name}": [row[i] for row in wanted] for i, name in enumerate(columns)}


def _columns(disk: Path) -> dict[str, list[object]]:
    with contextlib.closing(sqlite3.connect(disk / "server.sqlite")) as db:
        names = [row[1] for row in db.execute("PRAGMA table_info(message)")]
        rows = db.execute("SELECT * FROM message ORDER BY rowid").fetchall()
    return {f"message.{name}": [row[i] for row in rows] for i, name in enumerate(names)}


def search_device() -> tuple[int, float]:
    """(texts found that had disappeared, seconds that a guess at a passphrase takes)."""
    key = os.urandom(32)
    with relay_of_our_own(2) as (relay, root):
        texts = uvloop.run(_let_disappear(relay, root, key))
        files = b"\n".join(device.pages(root / "bob", key))
        left = sum(text.encode() in files for text in texts)
        guesses = []

        async def make() -> None:
            made = await Client.create(
                root / "carol",
                Unlock(passphrase=secrets.token_hex(8)),
                name="carol",
                relay=relay.address,
            )
            await made.close()

        uvloop.run(make())
        for number in range(GUESSES):
            began = time.perf_counter()
            with contextlib.suppress(WrongPassphrase):
                Client.open(root / "carol", Unlock(passphrase=f"guess {number}"))
            guesses.append(time.perf_counter() - began)
    return left, sorted(guesses)[len(guesses) // 2]


async def _let_disappear(relay: RelayProcess, root: Path, key: bytes) -> list[str]:
    """Have somebody read texts that then disappear from their vault."""
    alice, bob = await _meet(relay, root, {"alice": os.urandom(32), "bob": key})
    texts = [f"for your eyes only {secrets.token_hex(12)}" for _ in range(EXPIRED)]
    gid = alice.contacts()[0].conversation
    alice.set_timer(gid, LIFE_S)
    for text in texts:
        alice.send(gid, text)
    while bob.count(gid) < len(texts):
        await bob.changed()
    bob.mark_read()
    deadline = time.monotonic() + 60
    while bob.count(gid):
        if time.monotonic() > deadline:
            raise RelayUnreachable("the texts did not disappear")
        await bob.changed()
    await alice.close()
    await bob.close()
    return texts
