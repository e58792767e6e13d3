"""Files over real sockets: what dies or is slow on the way loses and delays nothing."""

from __future__ import annotations

import asyncio
import contextlib
import io
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from amanat.client.sdk.client import Client
from amanat.client.sdk.views import Message
from amanat.client.vault import Unlock
from amanat.drill.process import free_port
from amanat.protocol.descriptor import NamedAddress
from amanat.protocol.places import Place
from relays import RelayProcess, in_loop
from test_moved_people import meet, person, until
from test_moving import Two

pytestmark = [pytest.mark.e2e, pytest.mark.long]

KEY = Unlock(key=bytes(32))


@contextlib.asynccontextmanager
async def slow_line(relay: RelayProcess, bytes_s: int) -> AsyncIterator[NamedAddress]:
    """A line to a relay that takes so many bytes a second on the way there."""
    (place,) = relay.address.places

    async def carry(
        here: asyncio.StreamReader, there: asyncio.StreamWriter, pause_s: float
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await here.read(4096):
                await asyncio.sleep(pause_s * len(data))
                there.write(data)
                await there.drain()
        there.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, outer = await asyncio.open_connection(place.host, place.port)
        await asyncio.gather(carry(reader, outer, 1 / bytes_s), carry(inner, writer, 0))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=8192)
    port = server.sockets[0].getsockname()[1]
    try:
        yield NamedAddress.of(relay.address.key, Place("127.0.0.1", port, place.tls))
    finally:
        server.close()


async def people(
    root: Path, relay: RelayProcess, line: NamedAddress | None = None
) -> tuple[Client, Client]:
    """Alice and bob, who have met, and are online; alice by a line of her own, if there is one."""
    made: list[Client] = []
    for name in ("alice", "bob"):
        address = line if line and not made else relay.address
        client = await Client.create(root / name, KEY, name=name, relay=str(address))
        client.start()
        made.append(client)
    alice, bob = made
    bob.accept(alice.invite())
    while not (alice.contacts() and bob.contacts()):
        await bob.changed()
    bob.files.set_auto_bytes(-1)
    return alice, bob


async def next_file(client: Client, where: str) -> Message:
    while True:
        found = [one for one in client.chat(where).messages() if one.file is not None]
        if found:
            return found[-1]
        await client.changed()


@in_loop
async def test_a_relay_that_dies_again_and_again_loses_nothing_of_a_file(tmp_path: Path) -> None:
    data = random.Random(0).randbytes(8 * 2**20)
    with RelayProcess(tmp_path / "relay", port=free_port()) as relay:
        alice, bob = await people(tmp_path, relay)
        source = tmp_path / "source"
        source.write_bytes(data)
        number = await alice.chat("bob").send_file(source)
        source.unlink()  # the vault has it

        async def kill() -> None:
            relay.kill()
            await asyncio.sleep(0.1)
            relay.start()

        for _ in range(3):
            before = alice.files.transfer(number)
            while (one := alice.files.transfer(number)) and before and one.done == before.done:
                await alice.changed()
            if one is None:
                break
            await kill()
        message = await next_file(bob, "alice")
        fetching = bob.files.fetch(message.gid, message.id)
        assert fetching is not None
        await asyncio.sleep(0.3)
        await kill()
        assert message.file is not None
        path = await message.file.save(tmp_path / "saved")
        assert path.read_bytes() == data
        await alice.close()
        await bob.close()


@in_loop
async def test_a_text_overtakes_a_file_on_a_slow_line_and_nothing_is_sent_twice(
    tmp_path: Path,
) -> None:
    size = 768 * 1024
    with RelayProcess(tmp_path / "relay", port=free_port()) as relay:
        async with slow_line(relay, 128 * 1024) as line:
            alice, bob = await people(tmp_path, relay, line)
            before, _ = alice.traffic()
            number = await alice.chat("bob").send_file(io.BytesIO(bytes(size)), name="large")
            for text in ("one", "two"):
                while (one := alice.files.transfer(number)) and one.done < size // 4:
                    await alice.changed()
                alice.contact("bob").send(text)
                while text not in [each.text for each in bob.chat("alice").messages()]:
                    await bob.changed()
                assert alice.files.transfer(number) is not None  # the file is still on its way
            await next_file(bob, "alice")
            sent, _ = alice.traffic()
            assert sent - before < 1.2 * 16 * 65_536  # 13 cells, padded to 16, and the texts
            assert not alice.status().away
            await alice.close()
            await bob.close()


@in_loop
async def test_files_are_followed_when_their_relay_moves_and_one_on_its_way_arrives(
    tmp_path: Path,
) -> None:
    data = random.Random(1).randbytes(4 * 2**20)
    with Two(tmp_path) as two:
        alice = await person(tmp_path, "alice", two.source, two.destination)
        bob = await person(tmp_path, "bob", two.source, two.destination)
        await meet(alice, bob)
        for client in (alice, bob):
            client.home.set_allowed_regions(None)
            client.files.set_auto_bytes(-1)
        chat = alice.chat("bob")
        await chat.send_file(io.BytesIO(data), name="before")
        await next_file(bob, "alice")
        await chat.send_file(io.BytesIO(data), name="during")
        await two.move()

        def names() -> list[str]:
            return [one.file.name for one in bob.chat("alice").messages() if one.file]

        await until(bob, lambda: names() == ["before", "during"])
        for message in bob.chat("alice").messages():
            assert message.file is not None
            path = await message.file.save(tmp_path)
            assert path.read_bytes() == data
        assert not alice.files.transfers()
        await alice.close()
        await bob.close()
