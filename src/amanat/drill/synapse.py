"""A real Matrix Synapse, loaded through its client API, and its database's contents afterwards.

It has the settings that it makes for itself, SQLite among them, but talks to no other server and
limits no rates. Messages are ciphertext in `m.room.encrypted` events; two people talk in a direct
room, groups in rooms with names.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import yaml

from amanat.drill import process
from amanat.drill.told import Stored, Told

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

    from amanat.drill.told import Load

NAME = "synapse"
HOST = "localhost"
_PLACE = Path(__file__).parents[3] / ".build" / "synapse" / "bin"
"""The directory into which `make real` installs it."""
_API = "/_matrix/client/v3"
ENCRYPTED = "m.room.encrypted"
TIMEOUT_S = 60.0
"""Longest time that it may take to answer, in seconds."""
PAGE = 100
"""Events fetched at once."""
UNLIMITED = {"per_second": 1_000_000, "burst_count": 1_000_000}
BCRYPT_ROUNDS = 4
"""Few rounds, because these are passwords of people who do not exist."""
PASSWORD_BYTES = 16
COMMON = 0.5
"""A table has a row for each message if it has one for more than this share of them."""


def program() -> str | None:
    """The path of Synapse's program; None if it is not installed."""
    return shutil.which("synapse_homeserver", path=f"{_PLACE}{os.pathsep}{os.environ['PATH']}")


def is_installed() -> bool:
    """Whether Synapse is installed."""
    return program() is not None


class Synapse:
    """A Synapse in a directory."""

    name = NAME
    hears: tuple[str, ...] = ("names", "rooms", "devices", "programs", "addresses")

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        self.directory = directory
        self._port = process.free_port()
        self._database = directory / "homeserver.db"
        self._settings = directory / "homeserver.yaml"
        self._tokens: list[str] = []
        self._rooms: dict[int, str] = {}
        subprocess.run(  # noqa: S603  # the program that was asked for
            [
                str(program()), "--generate-config", "--report-stats=no",
                "--server-name", HOST, "--config-path", str(self._settings),
                "--data-directory", str(directory),
            ],
            check=True,
            cwd=directory,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        settings = yaml.safe_load(self._settings.read_text()) | self._changed()
        self._settings.write_text(yaml.safe_dump(settings))

    def _changed(self) -> dict[str, object]:
        """Settings that differ from those it makes."""
        return {
            "listeners": [
                {
                    "port": self._port,
                    "bind_addresses": ["127.0.0.1"],
                    "type": "http",
                    "resources": [{"names": ["client"]}],
                }
            ],
            "trusted_key_servers": [],
            "federation_domain_whitelist": [],
            "enable_registration": True,
            "enable_registration_without_verification": True,
            "bcrypt_config": {"rounds": BCRYPT_ROUNDS},
            "bcrypt_rounds": BCRYPT_ROUNDS,
            "rc_message": UNLIMITED,
            "rc_registration": UNLIMITED,
            "rc_login": dict.fromkeys(("address", "account", "failed_attempts"), UNLIMITED),
            "rc_joins": dict.fromkeys(("local", "remote"), UNLIMITED),
            "rc_joins_per_room": UNLIMITED,
            "rc_invites": dict.fromkeys(("per_room", "per_user", "per_issuer"), UNLIMITED),
            "rc_room_creation": UNLIMITED,
        }

    def running(self) -> AbstractContextManager[int]:  # noqa: D102
        command = [str(program()), "--config-path", str(self._settings)]
        output = self.directory / "output"
        return process.running(command, self._port, output, os.environ)

    def load(self, load: Load, step: Callable[[], None]) -> list[str]:  # noqa: D102
        people = [_Person(self._port, load, number) for number in range(load.sample.people)]
        for person in people:
            person.register()
            step()
        self._tokens = [person.token for person in people]
        for talk in load.used:
            founder, *others = load.sample.talks[talk]
            room = people[founder].found(load.rooms[talk], [load.accounts[one] for one in others])
            for one in others:
                people[one].ask("POST", f"/join/{quote(room)}", {})
            self._rooms[talk] = room
            step()
        ids = []
        sample = load.sample
        for number, (who, talk) in enumerate(
            zip(sample.sender.tolist(), sample.talk.tolist(), strict=True)
        ):
            ids.append(people[who].say(self._rooms[talk], number, load.payloads[number]))
            step()
        return ids

    def told(self) -> Told:  # noqa: D102
        with contextlib.closing(sqlite3.connect(self._database)) as db:
            return read(db)

    def delete(self, messages: Iterable[str]) -> None:  # noqa: D102
        rows = [(message,) for message in messages]
        with contextlib.closing(sqlite3.connect(self._database)) as db, db:
            for table in _tables_of_events(db):
                db.executemany(f"DELETE FROM {table} WHERE event_id = ?", rows)  # noqa: S608  # its own names

    def read(self, load: Load, talks: Iterable[int]) -> tuple[set[str], int]:  # noqa: D102
        seen: set[str] = set()
        complaints = 0
        for talk in talks:
            reader = _Person(self._port, load, load.sample.talks[talk][-1])
            reader.token = self._tokens[load.sample.talks[talk][-1]]
            after = ""
            while True:
                query = urlencode({"dir": "b", "limit": PAGE} | ({"from": after} if after else {}))
                status, page = reader.try_to(
                    "GET", f"/rooms/{quote(self._rooms[talk])}/messages?{query}"
                )
                complaints += status != http.HTTPStatus.OK
                events = page.get("chunk", [])
                seen |= {one["event_id"] for one in events if one["type"] == ENCRYPTED}
                after = page.get("end", "")
                if not events or not after:
                    break
        return seen, complaints


# Its database


def read(db: sqlite3.Connection) -> Told:
    """The contents of the tables."""
    members: dict[str, set[str]] = {}
    for room, who in db.execute(
        "SELECT room_id, state_key FROM current_state_events WHERE type = 'm.room.member'"
        " AND membership = 'join'"
    ):
        members.setdefault(room, set()).add(_account(who))
    messages = [
        Stored(event, at, _account(sender), room, size)
        for event, at, sender, room, size in db.execute(
            "SELECT event_id, origin_server_ts, sender, room_id, length(json) FROM events"
            " JOIN event_json USING (event_id, room_id) WHERE type = ?",
            (ENCRYPTED,),
        )
    ]
    addresses = {
        _account(who): address
        for who, address in db.execute("SELECT user_id, ip FROM user_ips ORDER BY last_seen")
    }
    rooms = {room: frozenset(who) for room, who in members.items()}
    return Told(messages, rooms, addresses, _fields(db, {one.message for one in messages}))


def _fields(db: sqlite3.Connection, messages: set[str]) -> dict[str, list[tuple[str, object]]]:
    """Every column, and every plain value inside an event, of tables with a row for a message."""
    found: dict[str, list[tuple[str, object]]] = {}
    for table in _tables_of_events(db):
        rows = db.execute(f"SELECT * FROM {table}")  # noqa: S608  # its own names
        columns = [one[0] for one in rows.description]
        key = columns.index("event_id")
        kept = [row for row in rows if row[key] in messages]
        if len({row[key] for row in kept}) <= COMMON * len(messages):
            continue
        for number, column in enumerate(columns):
            found[f"{table}.{column}"] = [(row[key], row[number]) for row in kept]
        if table == "event_json":
            text = columns.index("json")
            for row in kept:
                for name, value in _plain(json.loads(row[text])):
                    found.setdefault(f"event_json.json {name}", []).append((row[key], value))
    return found


def _tables_of_events(db: sqlite3.Connection) -> list[str]:
    tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return [
        table
        for table in sorted(tables)
        if any(row[1] == "event_id" for row in db.execute(f"PRAGMA table_info({table})"))
    ]


def _plain(event: dict[str, Any]) -> list[tuple[str, object]]:
    values = [*event.items(), *((f"content.{key}", one) for key, one in event["content"].items())]
    return [(name, one) for name, one in values if isinstance(one, str | int)]


def _account(user: str) -> str:
    return user.removeprefix("@").partition(":")[0]


# Its clients


class _Person:
    """A client of one person, at an address of loopback of their own."""

    def __init__(self, port: int, load: Load, number: int) -> None:
        self.token = ""
        self._load = load
        self._number = number
        self._line = http.client.HTTPConnection(
            "127.0.0.1", port, TIMEOUT_S, source_address=(load.addresses[number], 0)
        )

    def try_to(
        self, method: str, path: str, body: dict[str, object] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """(status, answer)."""
        headers = {"User-Agent": self._load.programs[self._number]}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        data = None if body is None else json.dumps(body).encode()
        self._line.request(method, _API + path, data, headers)
        response = self._line.getresponse()
        return response.status, json.loads(response.read())

    def ask(self, method: str, path: str, body: dict[str, object] | None = None) -> dict[str, Any]:
        """The answer to a request. Raises RuntimeError if the server refuses it."""
        status, answer = self.try_to(method, path, body)
        if status != http.HTTPStatus.OK:
            raise RuntimeError(f"{method} {path}: {status} {answer}")
        return answer

    def register(self) -> None:
        account = self._load.accounts[self._number]
        answer = self.ask(
            "POST",
            "/register",
            {
                "username": account,
                "password": secrets.token_hex(PASSWORD_BYTES),
                "initial_device_display_name": self._load.devices[self._number],
                "auth": {"type": "m.login.dummy"},
            },
        )
        self.token = answer["access_token"]
        name: dict[str, object] = {"displayname": self._load.names[self._number]}
        self.ask("PUT", f"/profile/{quote(answer['user_id'])}/displayname", name)

    def found(self, name: str, accounts: list[str]) -> str:
        """Found an encrypted room with these accounts, a direct one if it has no name; its id."""
        kind = {"name": name} if name else {"is_direct": True}
        encryption = {
            "type": "m.room.encryption",
            "state_key": "",
            "content": {"algorithm": "m.megolm.v1.aes-sha2"},
        }
        answer = self.ask(
            "POST",
            "/createRoom",
            {
                "preset": "private_chat",
                "invite": [f"@{one}:{HOST}" for one in accounts],
                "initial_state": [encryption],
                **kind,
            },
        )
        return str(answer["room_id"])

    def say(self, room: str, number: int, ciphertext: str) -> str:
        """Send a message; its id."""
        body: dict[str, object] = {
            "algorithm": "m.megolm.v1.aes-sha2",
            "ciphertext": ciphertext,
            "session_id": secrets.token_urlsafe(32),
        }
        path = f"/rooms/{quote(room)}/send/{ENCRYPTED}/{number}"
        return str(self.ask("PUT", path, body)["event_id"])
