"""Real servers: the readers of their disks find exactly what is there, and the attacks see it."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from amanat.drill import ejabberd, real, synapse
from amanat.drill.designs import HIDDEN
from amanat.drill.figures import Report, Result, Settings
from amanat.drill.report import page
from amanat.drill.sample import Sample
from amanat.drill.search import found
from amanat.drill.synapse import Synapse
from amanat.drill.told import Load, Stored, Told, evidence
from amanat.drill.traces import read_said
from amanat.errors import BadArgument, NotInstalled

INSTALLED = {
    ejabberd.NAME: ejabberd.is_installed(),
    synapse.NAME: synapse.is_installed(),
}


def is_there(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not INSTALLED[name], reason=f"{name} is not installed: `make real`")


@pytest.fixture
def load() -> Load:
    """A load of four people: 0 and 1 talk, and all have a group."""
    sample = Sample(
        4,
        100.0,
        [(0, 1), (0, 1, 2, 3)],
        np.array([1.0, 5.0, 50.0]),
        np.array([0, 2, 1]),
        np.array([0, 1, 0]),
        [np.array([[0.0, 100.0]])] * 4,
    )
    names = [f"n{number}" for number in range(4)]
    addresses = [f"127.1.100.10{number}" for number in range(4)]
    return Load(sample, names, names, names, names, addresses, ["", "garden"], ["x"] * 3)


# Reading


def stanza(sender: str, to: str, kind: str, message: str) -> str:
    return (
        f"<message xml:lang='en' to='{to}' from='{sender}@localhost/phone' type='{kind}'"
        f" id='{message}' xmlns='jabber:client'><encrypted xmlns='{ejabberd.OMEMO}'/></message>"
    )


def test_database_of_ejabberd_is_read_as_it_stands() -> None:
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        db.executescript(
            "CREATE TABLE archive (username text, timestamp BIGINT, peer text, bare_peer text,"
            " xml text, txt text, id INTEGER PRIMARY KEY AUTOINCREMENT, kind text, nick text);"
            "CREATE TABLE muc_room (name text, host text, opts text);"
        )
        options = (
            '[{title,<<"garden">>},{affiliations,[{{<<"n0">>,<<"localhost">>,<<>>},{owner,<<>>}},'
            '{{<<"n1">>,<<"localhost">>,<<>>},{member,<<>>}},'
            '{{<<"n2">>,<<"localhost">>,<<>>},{outcast,<<>>}}]},{roles,[]}]'
        )
        room = "talk1@conference.localhost"
        db.execute("INSERT INTO muc_room VALUES ('talk1', 'conference.localhost', ?)", (options,))
        rows = [
            ("n0", 20, "n1@localhost", stanza("n0", "n1@localhost", "chat", "m0"), "chat"),
            ("n1", 21, "n0@localhost", stanza("n0", "n1@localhost", "chat", "m0"), "chat"),
            (room, 10, "n1@localhost/phone", stanza("n1", room, "groupchat", "m1"), "groupchat"),
        ]
        for username, at, peer, xml, kind in rows:
            db.execute(
                "INSERT INTO archive (username, timestamp, peer, bare_peer, xml, kind)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (username, at, peer, peer.partition("/")[0], xml, kind),
            )
        log = (
            "[info] <0.5.0>@ejabberd_c2s:process_auth_result/3:272 (tcp|<0.5.0>) Accepted c2s PLAIN"
            " authentication for n1@localhost by sql backend from 127.1.100.101\n"
        )
        told = ejabberd.read(db, log)
    assert [(one.message, one.at, one.sender) for one in told.messages] == [
        ("m1", 10, "n1"),
        ("m0", 20, "n0"),
    ]
    assert told.rooms == {room: frozenset({"n0", "n1"}), "n0 and n1": frozenset({"n0", "n1"})}
    assert told.addresses == {"n1": "127.1.100.101"}
    assert told.fields["archive.username"] == [("m1", room), ("m0", "n0"), ("m0", "n1")]
    assert told.fields["archive.xml to"][1] == ("m0", "n1@localhost")


def test_database_of_synapse_is_read_as_it_stands() -> None:
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        db.executescript(
            "CREATE TABLE events (event_id TEXT, type TEXT, room_id TEXT, sender TEXT,"
            " origin_server_ts BIGINT);"
            "CREATE TABLE event_json (event_id TEXT, room_id TEXT, json TEXT);"
            "CREATE TABLE current_state_events (event_id TEXT, room_id TEXT, type TEXT,"
            " state_key TEXT, membership TEXT);"
            "CREATE TABLE user_ips (user_id TEXT, ip TEXT, last_seen BIGINT);"
        )
        for who, membership in (("n0", "join"), ("n1", "join"), ("n2", "leave")):
            db.execute(
                "INSERT INTO current_state_events VALUES (?, '!r', 'm.room.member', ?, ?)",
                (f"$s{who}", f"@{who}:localhost", membership),
            )
        event = {
            "sender": "@n0:localhost",
            "depth": 7,
            "auth_events": [],
            "content": {"session_id": "s", "ciphertext": "c"},
        }
        db.execute("INSERT INTO events VALUES ('$a', 'm.room.encrypted', '!r', '@n0:localhost', 5)")
        db.execute("INSERT INTO event_json VALUES ('$a', '!r', ?)", (json.dumps(event),))
        db.execute("INSERT INTO events VALUES ('$b', 'm.room.create', '!r', '@n0:localhost', 1)")
        db.execute("INSERT INTO event_json VALUES ('$b', '!r', '{}')")
        for ip, at in (("127.1.100.199", 2), ("127.1.100.100", 3), ("127.1.100.198", 1)):
            db.execute("INSERT INTO user_ips VALUES ('@n0:localhost', ?, ?)", (ip, at))
        told = synapse.read(db)
    assert told.messages == [Stored("$a", 5, "n0", "!r", len(json.dumps(event)))]
    assert told.rooms == {"!r": frozenset({"n0", "n1"})}
    assert told.addresses == {"n0": "127.1.100.100"}
    assert told.fields["events.sender"] == [("$a", "@n0:localhost")]
    assert told.fields["event_json.json content.session_id"] == [("$a", "s")]
    assert "event_json.json auth_events" not in told.fields
    assert not any(name.startswith("current_state_events") for name in told.fields)


def test_times_are_the_trace_s_by_the_order_of_the_server_s_clock(load: Load) -> None:
    told = Told(
        [
            Stored("c", 900, "n1", "two", 30),
            Stored("a", 100, "n0", "two", 10),
            Stored("not ours", 200, "n0", "two", 10),
            Stored("b", 300, "n2", "all", 20),
        ],
        {"two": frozenset({"n0", "n1"}), "all": frozenset({"n0", "n1", "n2", "n3", "admin"})},
        {"n0": "127.1.100.100", "n2": "10.0.0.1"},
        {},
    )
    seen = evidence(told, load, ["a", "b", "c"])
    assert seen.at.tolist() == [1, 5, 50]
    assert seen.size.tolist() == [10, 20, 30]
    assert [seen.rooms[place] for place in seen.place] == [(0, 1), (0, 1, 2, 3), (0, 1)]
    assert seen.source.tolist() == [0, HIDDEN, HIDDEN]
    assert seen.author.tolist() == [0, 2, 1]
    assert seen.recipient.tolist() == [1, 0, 0]


# Loading


@pytest.mark.long
def test_load_is_cut_to_the_first_messages_and_says_nothing_in_plain() -> None:
    load, texts = real.first_messages(read_said(None, "edges"), people=64, days=30, messages=1_200)
    assert len(load.payloads) == len(load.sample.at) == len(texts) == 1_200
    assert len(set(texts)) == 1_000
    assert load.steps == 64 + len(np.unique(load.sample.talk)) + 1_200
    assert len(set(load.addresses)) == len(set(load.names)) == 64
    assert not any(
        one in other for one in load.addresses for other in load.addresses if one != other
    )
    for talk, name in enumerate(load.rooms):
        assert bool(name) == (len(load.sample.talks[talk]) > 2)


@pytest.mark.parametrize(("messages", "people"), [(-1, 64), (50_001, 64), (10, 1_001)])
def test_load_that_no_server_takes_is_named(messages: int, people: int) -> None:
    with pytest.raises(BadArgument):
        real.check(messages, people)


def test_server_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(synapse, "_PLACE", tmp_path)
    with pytest.raises(NotInstalled) as caught:
        real.check(10, 64)
    assert caught.value.detail == "ejabberd, synapse"


# Deletion


class Watched:
    """A server whose clients are told of every message that is missing."""

    name = "watched"
    hears: tuple[str, ...] = ()

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.kept = {"a", "b", "c"}

    @contextlib.contextmanager
    def running(self) -> Iterator[int]:
        yield 0

    def load(self, _load: Load, _step: Callable[[], None]) -> list[str]:
        return ["a", "b", "c"]

    def told(self) -> Told:
        return Told([], {}, {}, {})

    def delete(self, messages: Iterable[str]) -> None:
        self.kept -= set(messages)

    def read(self, _load: Load, _talks: Iterable[int]) -> tuple[set[str], int]:
        return self.kept, 3 - len(self.kept)


def test_deletion_that_clients_are_told_of_is_counted_as_noticed(
    load: Load, tmp_path: Path
) -> None:
    figures = real._deletion(Watched(tmp_path), load, ["a", "b", "c"], np.random.default_rng(0))
    # Of the three messages only the first is not the last of its conversation.
    assert [(one.metric, one.value) for one in figures] == [
        ("gone when read again, of 1", 1.0),
        ("noticed, rows of 1", 1.0),
    ]


# Telling


def test_page_shows_real_servers_beside_the_modelled_ones() -> None:
    def shown(design: str, value: float) -> Result:
        metric = "average precision"
        return Result(design, None, "contacts", metric, value, value, value, 0.125, 0.125, "shown")

    settings = Settings(None, "edges", 64, 7, 2, ("contacts",), ("federated",), real=777)
    results = [shown("federated", 1.0), shown("ejabberd", 0.99), shown("synapse", 0.98)]
    text = page(Report(settings, 1.0, results))
    for said in ("Matrix Synapse, real", "Matrix Synapse واقعی", "ejabberd واقعی", "0.98"):
        assert said in text
    assert text.count(">777<") == 2
    without = msgspec.structs.replace(settings, real=0)
    assert ">777<" not in page(Report(without, 1.0, results[:1]))


# The real ones


@pytest.mark.e2e
@pytest.mark.timeout(400)  # ejabberd writes each message to the disk, and again
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=is_there(name)) for name in real.SERVERS]
)
def test_disk_of_a_real_server_names_who_talks_with_whom(name: str) -> None:
    load, texts = real.first_messages(read_said(None, "edges"), people=24, days=30, messages=80)
    steps: list[None] = []
    figures = real.measure(name, load, texts, real.ATTACKS, lambda: steps.append(None))
    value = {
        (one.attack, re.sub(r" of (\d+|\S+\..*)$", "", one.metric)): one.value for one in figures
    }
    assert len(steps) == load.steps
    for attack in ("contacts", "groups"):
        assert value[attack, "average precision"] >= 0.95
    assert value["ip", "addresses known"] == 1
    assert value["identifiers", "bits"] > 3
    assert value["content", "canaries found"] == 0
    assert value["content", "names of people found"] == 24
    assert value["content", "names of devices found"] == 24
    assert value["content", "network addresses found"] == 24
    assert value["content", "names of rooms found"] > 0
    assert value["deletion", "gone when read again,"] == 1
    assert value["deletion", "noticed, rows"] == 0


@pytest.mark.e2e
@is_there(synapse.NAME)
def test_disk_of_synapse_holds_what_lets_anybody_in_and_a_list_of_who_knows_whom(
    tmp_path: Path,
) -> None:
    load, _ = real.first_messages(read_said(None, "edges"), people=12, days=30, messages=20)
    server = Synapse(tmp_path / "synapse")
    with server.running():
        server.load(load, lambda: None)
    assert len(found(server._tokens, [server.directory / "homeserver.db"])) == 12
    with contextlib.closing(sqlite3.connect(server.directory / "homeserver.db")) as db:
        listed = {
            frozenset(int(user.removeprefix("@person").partition(":")[0]) for user in pair)
            for pair in db.execute(
                "SELECT user_id, other_user_id FROM users_who_share_private_rooms"
            )
        }
    known = load.sample.contacts | load.sample.comembers
    assert listed == {frozenset((int(a), int(b))) for a, b in zip(*np.nonzero(known), strict=True)}
