"""Of the processes that write to a drop, one appends for all: its lead."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import cast

import pytest

from amanat.errors import MalformedFrame
from amanat.protocol import wire
from amanat.protocol.cells import MESSAGE_CELL
from amanat.protocol.descriptor import NamedAddress
from amanat.protocol.drops import DROP_ID_BYTES
from amanat.relay import server
from amanat.relay.asking import Asking, Queue, Writing
from amanat.relay.cluster import ClusterStore, leads, open_cluster
from amanat.relay.cluster.leads import LEAD_S, Leads
from amanat.relay.cluster.processes import FRESH_S, Processes
from amanat.relay.connection import Asker, Deputy
from amanat.relay.passing import MOST_APPENDS, Passing
from clusters import Cluster
from relays import Peer, RelayProcess, append, in_loop, read_all, run_in_loop

A, B, C = (bytes([number]) * 8 for number in range(3))
DROPS = [random.Random(number).randbytes(DROP_ID_BYTES) for number in range(400)]


def in_each_others_way(*processes: bytes) -> dict[bytes, Leads]:
    """Processes that have refused and heard each other in all drops."""
    known = {one: Leads(one) for one in processes}
    for one, its in known.items():
        for drop_id in DROPS:
            for other in processes:
                if other != one:
                    its.heard(drop_id, other)
        its.refused(DROPS, now=0.0)
    return known


def test_of_two_processes_in_each_others_way_one_leads_and_each_leads_half() -> None:
    known = in_each_others_way(A, B)
    led = [(known[A].of(drop_id), known[B].of(drop_id)) for drop_id in DROPS]
    assert set(led) == {(B, None), (None, A)}
    assert 140 < led.count((None, A)) < 260


def test_a_process_that_nobody_is_in_the_way_of_has_no_lead() -> None:
    one = Leads(A)
    one.refused(DROPS, now=0.0)  # by somebody of whom it has not heard yet
    assert not any(map(one.of, DROPS))
    for drop_id in DROPS:
        one.heard(drop_id, B)
    assert not any(map(one.of, DROPS))


def test_a_lead_stays_while_an_append_is_on_its_way_and_then_until_its_time_is_over() -> None:
    one = in_each_others_way(A, B)[A]
    led = [drop_id for drop_id in DROPS if one.of(drop_id)]
    for drop_id in DROPS:
        one.heard(drop_id, C)
    one.refused(DROPS, now=1.0)
    assert {one.of(drop_id) for drop_id in led} == {B}
    one.rested(C, now=10 * LEAD_S)
    one.rested(B, now=LEAD_S - 1)
    assert {one.of(drop_id) for drop_id in led} == {B}
    one.rested(B, now=LEAD_S)
    assert {one.of(drop_id) for drop_id in led} == {None}


def test_a_process_that_does_not_answer_leads_nothing() -> None:
    one = in_each_others_way(A, B)[A]
    one.gone(C)
    assert any(map(one.of, DROPS))
    one.gone(B)
    assert not any(map(one.of, DROPS))


def test_what_a_process_remembers_of_drops_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leads, "MOST_DROPS", 100)
    one = in_each_others_way(A, B)[A]
    assert sum(one.of(drop_id) is not None for drop_id in DROPS) <= 100
    one.gone(B)
    one.refused(DROPS[:300], now=0.0)  # the drops that it heard of last are others
    assert not any(map(one.of, DROPS))


# What waits for a lead


class Others:
    """The other processes, as a test has them: they answer when it says so."""

    def __init__(self) -> None:
        self.leads: dict[bytes, bytes] = {}
        self.asked: list[tuple[list[bytes], Callable[[list[bytes] | None], object]]] = []
        self.ended: list[tuple[str, bytes]] = []

    def lead(self, drop_id: bytes) -> bytes | None:
        return self.leads.get(drop_id)

    def pass_on(
        self, lead: bytes, appends: Sequence[bytes], answer: Callable[[list[bytes] | None], object]
    ) -> None:
        assert lead == B
        self.asked.append((list(appends), answer))

    def gone(self, lead: bytes) -> None:
        self.ended.append(("gone", lead))
        self.leads.clear()

    def rested(self, lead: bytes) -> None:
        self.ended.append(("rested", lead))

    def take_over(self, hear: object) -> None:
        raise NotImplementedError


class Client:
    """Somebody whose writes wait."""

    is_deputy = False

    def __init__(self) -> None:
        self.writes = Queue()
        self.answers: list[tuple[int, wire.Reply]] = []

    def answer(self, asking: Asking, reply: wire.Reply) -> None:
        self.answers.append((asking.number, reply))


def write(client: Client, number: int) -> Writing:
    request = wire.Append(number, DROPS[0], bytes(32), bytes(MESSAGE_CELL))
    writing = Writing(cast("Asker", client), request, number, None)
    writing.size = MESSAGE_CELL
    return writing


def appended(number: int) -> wire.Appended:
    return wire.Appended(number, number, bytes(32))


def replies_to(frames: list[bytes]) -> list[bytes]:
    return [wire.encode(appended(wire.decode_request(frame).id)) for frame in frames]


async def turn() -> None:
    """Let the loop do what is due."""
    for _ in range(3):
        await asyncio.sleep(0)


@in_loop
async def test_appends_go_to_the_lead_in_their_order_one_batch_after_the_other() -> None:
    others, client = Others(), Client()
    passing = Passing(others, lambda writings: pytest.fail(f"{writings}") if writings else None)
    assert not passing.take(write(client, 1))  # nobody leads the drop
    others.leads[DROPS[0]] = B
    many = MOST_APPENDS + 5
    for number in range(1, many):
        assert passing.take(write(client, number))
    await turn()
    assert passing
    ((first, answer),) = others.asked
    assert [wire.decode_request(frame).id for frame in first] == [*range(1, MOST_APPENDS + 1)]
    assert passing.take(write(client, many))
    await turn()
    assert len(others.asked) == 1  # the next batch waits for the answer to the first
    answer(replies_to(first))
    await turn()
    second, answer = others.asked[1]
    assert [wire.decode_request(frame).id for frame in second] == [
        *range(MOST_APPENDS + 1, many + 1)
    ]
    answer(replies_to(second))
    await turn()
    assert client.answers == [(number, appended(number)) for number in range(1, many + 1)]
    assert others.ended == [("rested", B)]
    assert not passing


@pytest.mark.parametrize("broken", [None, [], [b"x"] * 3], ids=["silent", "none", "malformed"])
@in_loop
async def test_appends_that_a_lead_does_not_make_come_back_in_their_order(
    broken: list[bytes] | None,
) -> None:
    others, client, back = Others(), Client(), list[Writing]()
    others.leads[DROPS[0]] = B
    passing = Passing(others, back.extend)
    for number in range(3):
        passing.take(write(client, number))
    await turn()
    for number in range(3, 6):
        passing.take(write(client, number))
    others.asked[0][1](broken)
    await turn()
    assert [writing.number for writing in back] == [*range(6)]
    assert all(writing.place is None for writing in back)
    assert others.ended == [("gone", B)]
    assert not client.answers
    assert not passing


@in_loop
async def test_what_another_process_passed_on_is_never_passed_on_again() -> None:
    others, client = Others(), Client()
    others.leads[DROPS[0]] = B
    client.is_deputy = True
    assert not Passing(others, lambda _: None).take(write(client, 1))


def test_a_process_makes_nothing_but_appends_for_another() -> None:
    class House:
        rooms = None

    create = wire.Create(1, DROPS[0], bytes(32), bytes(32), bytes(32), 30)
    for frame in (wire.encode(create), b"", wire.encode(appended(1))):
        with pytest.raises(MalformedFrame):
            Deputy(cast("server.Relay", House()), [frame], print)


# Real processes


def asked(processes: Processes, lead: bytes, frames: list[bytes]) -> list[bytes] | None:
    answer: Future[list[bytes] | None] = Future()
    processes.pass_on(lead, frames, answer.set_result)
    return answer.result(30)


@pytest.mark.e2e
def test_only_a_process_of_the_relay_is_heard_and_only_at_once(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.closing(cluster.store(tmp_path)) as store:
        engine, region = store._engine, "DE"
        one, other = (Processes(engine, region, key=bytes(32)) for _ in range(2))
        stranger = Processes(engine, region, key=bytes(31) + b"x")
        heard: list[list[bytes]] = []

        def hear(frames: list[bytes], send: Callable[[list[bytes]], None]) -> None:
            heard.append(frames)
            send([frame[::-1] for frame in frames])

        other.take_over(hear)
        assert asked(one, other.own, [b"first", b"second"]) == [b"tsrif", b"dnoces"]
        assert asked(one, b"nobody..", [b"first"]) is None
        assert asked(stranger, other.own, [b"false"]) is None
        subject = f"{region}.lead.{other.own.hex()}"
        sealed = one._sealed([b"late"], bound=subject.encode())
        assert engine.ask_one(subject, sealed).result(30) != b""
        assert engine.ask_one(subject, b"noise").result(30) == b""
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + FRESH_S + 2)
        assert engine.ask_one(subject, sealed).result(30) == b""
        assert heard == [[b"first", b"second"], [b"late"]]


class Passed(ClusterStore):
    """A store whose process takes every other one for the lead."""

    batches: int

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batches = 0
        own, pass_on = self.processes.own, self.processes.pass_on
        monkeypatch.setattr(leads, "_rank", lambda _, process: bytes([process == own]))

        def counted(*words: object) -> None:
            self.batches += 1
            pass_on(*words)  # type: ignore[arg-type]

        monkeypatch.setattr(self.processes, "pass_on", counted)


@pytest.mark.e2e
@pytest.mark.long
def test_a_lead_appends_for_all_and_when_it_dies_each_does_so_itself(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = RelayProcess(tmp_path / "first", buckets=1, **cluster.settings(tmp_path))
    with first, first.twin(tmp_path / "second") as second:
        second.kill()  # it lives on in this process
        with contextlib.closing(open_cluster(second.directory, Passed)) as store:
            assert isinstance(store, Passed)
            store.watch(monkeypatch)
            run_in_loop(led(first, second, store))


async def led(first: RelayProcess, second: RelayProcess, store: Passed) -> None:
    bucket = first.bucket()
    relay = server.Relay(second.directory, store)
    ready: asyncio.Future[NamedAddress] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(relay.serve(ready.set_result))
    here, there = await Peer.connect(await ready), await Peer.connect(first.address)
    sent: dict[Peer, list[bytes]] = {here: [], there: []}
    again = set[bytes]()
    """Cells that were sent once more, which may have lost their place in the order."""

    async def both_append() -> None:
        told = {peer: len(cells) for peer, cells in sent.items()}
        for number in range(100):
            for peer, cells in sent.items():
                data = os.urandom(MESSAGE_CELL)
                cells.append(data)
                peer.send(append(bucket, data, told[peer] + number + 1))
        for peer, cells in sent.items():
            for number in range(told[peer], len(cells)):
                reply = await peer.reply(number + 1)
                while isinstance(reply, wire.Failed):
                    assert reply.code == "relay-busy"  # both were in the way several times
                    again.add(cells[number])
                    reply = await peer.ask(append(bucket, cells[number], number + 1))
                assert isinstance(reply, wire.Appended), reply

    while store.batches < 3:  # at first each is in the other's way
        await both_append()
    await asyncio.to_thread(first.kill)
    del sent[there]
    batches = store.batches
    await both_append()
    assert store.batches == batches + 1  # which nobody answered
    found = await read_all(here, bucket, least=len(sent[here]))
    assert len(found) == len(set(found))
    assert set(sent[here]) <= set(found)
    steady = [data for data in sent[here] if data not in again]
    assert [data for data in found if data in set(steady)] == steady
    os.kill(os.getpid(), signal.SIGTERM)
    await serving
