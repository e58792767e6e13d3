"""The attacks on a real relay and a real vault, which the drill makes for itself and removes."""

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
import picows
import uvloop

from amanat import media
from amanat.client.sdk.client import Client
from amanat.client.vault import Unlock
from amanat.drill import cameras, seized
from amanat.drill.attacks import content, device, identifiers, metadata, plaintext, unsealed
from amanat.drill.designs import DESIGNS, buckets_of, deposit
from amanat.drill.relays import RelayProcess
from amanat.drill.search import count_bytes, found
from amanat.drill.xmpp import client_tls
from amanat.errors import RelayUnreachable, WrongPassphrase
from amanat.link import connect
from amanat.protocol import wire
from amanat.protocol.cells import MESSAGE_CELL, one_time, seal
from amanat.protocol.descriptor import parse_address
from amanat.protocol.drops import Drop, derive_bucket
from amanat.protocol.sealing import seal_request

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from amanat.drill.sample import Sample

OTHERS = tuple(design for design in DESIGNS if design != "amanat")
CELLS = 20_000
"""Most deposits of a sample put on a real relay's disk."""
IN_FLIGHT = 256
LIFE_S = 2
"""The life of the texts that must not be found, in seconds."""
EXPIRED = 200
GUESSES = 3
ASKED, FENCE = 1, 2
"""Request ids: the one that a hop uses twice, and that of its last request."""


@contextlib.contextmanager
def relay_of_our_own(people: int) -> Iterator[tuple[RelayProcess, Path]]:
    """A relay process and a directory, both removed afterwards."""
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
    """The clients of two real people with these names, who know each other and are online."""
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
        people[number % 2].chat(gid).send(text)
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
        # Only one person speaks, so that the cells of the bucket are in the order of the texts.
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
        alice.chat(gid).send(text)
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
    """Every column that a relay's disk has for each of the cells at these places."""
    with contextlib.closing(sqlite3.connect(directory / "drops.sqlite")) as db:
        names = [row[1] for row in db.execute("PRAGMA table_info(cell)")]
        rows = {}
        for row in db.execute("SELECT * FROM cell"):
            drop, seq = divmod(row[names.index("place")], 2**32)
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
    alice.chat(gid).set_timer(LIFE_S)
    for text in texts:
        alice.chat(gid).send(text)
    while bob.chat(gid).count() < len(texts):
        await bob.changed()
    bob.mark_read()
    deadline = time.monotonic() + 60
    while bob.chat(gid).count():
        if time.monotonic() > deadline:
            raise RelayUnreachable("the texts did not disappear")
        await bob.changed()
    await alice.close()
    await bob.close()
    return texts


class _Hop(picows.WSListener):
    """A connection whose owner chooses the ids and keeps everything that the relay sends."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.hears_more = asyncio.Event()
        self.is_closed = False

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type == picows.WSMsgType.BINARY:
            self.heard.append(frame.get_payload_as_bytes())
            self.hears_more.set()
        else:
            transport.disconnect()

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:  # noqa: ARG002
        self.is_closed = True
        self.hears_more.set()

    async def hears(self, number: int) -> None:
        """Wait for the answer with this id, or the end."""
        while not self.is_closed and number not in map(_id_of, self.heard):
            self.hears_more.clear()
            await self.hears_more.wait()


def _id_of(frame: bytes) -> int:
    return wire.decode_reply(frame).id


def hear_unsealed() -> tuple[int, int]:
    """(cells that a hop could read, cells that came sealed)."""
    with relay_of_our_own(2) as (relay, _):
        return uvloop.run(_hear(relay))


async def _hear(relay: RelayProcess) -> tuple[int, int]:
    address = parse_address(relay.address)
    link = await connect(address)
    sealing_key = (await link.describe(address.key)).sealing
    [drop] = await _buckets(relay, 1)
    head = read = sealed = 0
    for number in range(unsealed.TRIES):
        cell, other = os.urandom(MESSAGE_CELL), os.urandom(MESSAGE_CELL)
        inner = wire.Read(0, drop.drop_id, drop.read_token, head, wire.MAX_CELLS, LIFE_S)
        request, _ = seal_request(wire.encode(inner), to=sealing_key, relay=address.key)
        asked: list[wire.Request] = [wire.Sealed(ASKED, request)]
        in_the_open = (
            wire.Describe(ASKED, b""),
            wire.Consult(ASKED, "checkpoint"),
            wire.Publish(ASKED, drop.drop_id, drop.append_token, other),
            wire.Sealed(ASKED, other),
        )
        if number % 5:
            asked.insert(number // 5 % 2, in_the_open[number % 5 - 1])
        transport, hop = await picows.ws_connect(
            _Hop, f"wss://{address.places[0].name}{wire.PATH}", ssl_context=client_tls()
        )
        if not isinstance(hop, _Hop):
            raise RelayUnreachable("it hung up")
        for one in (*asked, wire.Describe(FENCE, b"")):
            transport.send(picows.WSMsgType.BINARY, wire.encode(one))
        await hop.hears(FENCE)
        append = wire.Append(0, drop.drop_id, drop.append_token, cell)
        head = (await link.request(append, wire.Appended)).seq
        if not hop.is_closed:
            transport.send(picows.WSMsgType.BINARY, wire.encode(wire.Describe(FENCE + 1, b"")))
            await hop.hears(FENCE + 1)
        read += any(cell in frame for frame in hop.heard)
        sealed += any(isinstance(wire.decode_reply(frame), wire.Answer) for frame in hop.heard)
        transport.disconnect(graceful=False)
    await link.closed()
    return read, sealed


def search_pictures() -> tuple[int, int]:
    """How many pictures still tell something that was planted when they leave, and how many tell it
    when they are sent as files."""
    chances = np.random.default_rng(0)
    taken = [cameras.photograph(number, chances) for number in range(metadata.PICTURES)]
    with tempfile.TemporaryDirectory(prefix="amanat-drill-") as name:
        told = [_tells(one, [one.data], Path(name)) for one in taken]
        left = [_tells(one, _as_it_leaves(one), Path(name)) for one in taken]
    return sum(left), sum(told)


def _as_it_leaves(taken: cameras.Photograph) -> list[bytes]:
    made = uvloop.run(media.picture(taken.data))
    return [made.data, made.preview, made.hint]


def _tells(taken: cameras.Photograph, pieces: Sequence[bytes], root: Path) -> bool:
    """Whether anything that was planted in a file stands in these pieces."""
    place = root / "pieces"
    place.write_bytes(b"".join(pieces))
    return bool(found(taken.canaries, [place])) or count_bytes([taken.place], [place]) > 0
