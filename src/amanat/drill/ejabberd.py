"""A real ejabberd, loaded through XMPP, and the contents of its database afterwards.

It is set up as Debian does it, with the message archive in SQLite and on for everybody. Everyone is
online while it is loaded and talks as OMEMO clients do: messages are ciphertext in an `encrypted`
element, and groups are rooms for members only. Connections have no TLS, as none leaves this
machine.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

import uvloop

from amanat.drill import process, xmpp
from amanat.drill.told import Stored, Told

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

    from amanat.drill.told import Load
    from amanat.drill.xmpp import Line

NAME = "ejabberd"
PACKAGES = ("ejabberd", "erlang-p1-sqlite3")
"""Debian's names of the packages."""
SCHEMA = Path("/usr/share/ejabberd/sql/lite.sql")
_SQLITE = Path("/usr/lib/erlang/lib")
ROOMS = f"conference.{xmpp.HOST}"
OMEMO = "eu.siacs.conversations.axolotl"
PAGE = 250
"""Most entries of an archive fetched at once, which is the most that ejabberd gives."""
PASSWORD = "nobody's"  # noqa: S105  # of people who do not exist
_HEAD = re.compile(r"<message ([^>]*)>")
_ATTRIBUTE = re.compile(r"([\w:]+)='([^']*)'")
_MEMBER = re.compile(r"\{\{<<\"([^\"]*)\">>,<<\"[^\"]*\">>,<<>>\},\s*\{?(?:owner|admin|member)\b")
_ACCEPTED = re.compile(r"Accepted c2s \S+ authentication for (\S+?)@\S+ .*? from (?:::ffff:)?(\S+)")
_ID = re.compile(rb"<forwarded.*?<message [^>]*?\bid='(m\d+)'", re.DOTALL)
_FIN = re.compile(rb"<fin [^>]*>.*?</fin>|<iq [^>]*type='error'.*?</iq>", re.DOTALL)
_LAST = re.compile(rb"<last>([^<]*)</last>")


def is_installed() -> bool:
    """Whether Debian's packages are installed."""
    return bool(shutil.which("erl")) and SCHEMA.exists() and any(_SQLITE.glob("p1_sqlite3-*"))


class Ejabberd:
    """An ejabberd in a directory."""

    name = NAME
    hears: tuple[str, ...] = ("names", "rooms", "devices", "addresses")

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        self.directory = directory
        self._port = process.free_port()
        self._database = directory / "ejabberd.sqlite"
        with contextlib.closing(sqlite3.connect(self._database)) as db:
            db.executescript(SCHEMA.read_text())

    def running(self) -> AbstractContextManager[int]:  # noqa: D102
        command, environment = xmpp.prepare(
            self.directory,
            self._port,
            tls=False,
            modules={name: {} for name in xmpp.DEBIAN}
            | {
                "mam": {"default": "always", "assume_mam_usage": True},
                "muc": {"default_room_options": {"mam": True}},
                "pubsub": {
                    "plugins": ["flat", "pep"],
                    "force_node_config": {f"{OMEMO}.*": {"access_model": "open"}},
                },
            },
            more={
                "loglevel": "info",
                "auth_method": ["sql"],
                "auth_password_format": "scram",
                "default_db": "sql",
                "sql_type": "sqlite",
                "sql_database": str(self._database),
            },
        )
        output = self.directory / "output"
        return process.running(command, self._port, output, environment)

    def load(self, load: Load, step: Callable[[], None]) -> list[str]:  # noqa: D102
        return uvloop.run(_load(self._port, load, step))

    def told(self) -> Told:  # noqa: D102
        with contextlib.closing(sqlite3.connect(self._database)) as db:
            return read(db, (self.directory / "ejabberd.log").read_text(errors="replace"))

    def delete(self, messages: Iterable[str]) -> None:  # noqa: D102
        gone = set(messages)
        with contextlib.closing(sqlite3.connect(self._database)) as db, db:
            rows = [
                (key,)
                for key, xml in db.execute("SELECT id, xml FROM archive")
                if _attributes(xml).get("id") in gone
            ]
            db.executemany("DELETE FROM archive WHERE id = ?", rows)

    def read(self, load: Load, talks: Iterable[int]) -> tuple[set[str], int]:  # noqa: D102
        return uvloop.run(_read_again(self._port, load, list(talks)))


# Its database


def read(db: sqlite3.Connection, log: str) -> Told:
    """The contents of the tables and of the log."""
    rooms: dict[str, frozenset[str]] = {
        f"{name}@{host}": frozenset(_MEMBER.findall(options))
        for name, host, options in db.execute("SELECT name, host, opts FROM muc_room")
    }
    stored: dict[str, Stored] = {}
    fields: dict[str, list[tuple[str, object]]] = {}
    rows = db.execute("SELECT * FROM archive ORDER BY timestamp, id")
    columns = [one[0] for one in rows.description]
    for row in rows:
        entry = dict(zip(columns, row, strict=True))
        head = _attributes(entry["xml"])
        message = head.get("id", "")
        for name, value in (*entry.items(), *((f"xml {name}", one) for name, one in head.items())):
            fields.setdefault(f"archive.{name}", []).append((message, value))
        sender, to = _account(head.get("from", "")), head.get("to", "")
        if entry["kind"] == "groupchat":
            room = str(entry["username"])
            sender = _account(str(entry["peer"]))
        else:
            room = " and ".join(sorted((sender, _account(to))))
            rooms[room] = frozenset((sender, _account(to)))
        if message not in stored:  # a message between two people is in both archives
            size = len(entry["xml"])
            stored[message] = Stored(message, int(entry["timestamp"]), sender, room, size)
    addresses: dict[str, str] = dict(_ACCEPTED.findall(log))
    return Told(list(stored.values()), rooms, addresses, fields)


def _attributes(xml: str) -> dict[str, str]:
    head = _HEAD.match(xml)
    return dict(_ATTRIBUTE.findall(head[1])) if head else {}


def _account(address: str) -> str:
    return address.partition("@")[0]


# Its clients


async def _load(port: int, load: Load, step: Callable[[], None]) -> list[str]:
    lines: list[Line] = []
    for person, account in enumerate(load.accounts):
        lines.append(await _come(port, load, person))
        name = escape(load.names[person])
        await lines[-1].ask(
            f"<iq type='set' id='card'><vCard xmlns='vcard-temp'><FN>{name}</FN></vCard></iq>",
            xmpp.RESULT,
        )
        devices = f"<list xmlns='{OMEMO}'><device id='{_device(person)}'/></list>"
        await lines[-1].ask(
            f"<iq type='set' id='devices' to='{account}@{xmpp.HOST}'>"
            "<pubsub xmlns='http://jabber.org/protocol/pubsub'>"
            f"<publish node='{OMEMO}.devicelist'><item id='current'>{devices}</item></publish>"
            "</pubsub></iq>",
            xmpp.RESULT,
        )
        step()
    for talk in load.used:
        if load.rooms[talk]:
            await _open_room(load, lines, talk)
        step()
    ids = []
    sample = load.sample
    for number, (person, talk) in enumerate(
        zip(sample.sender.tolist(), sample.talk.tolist(), strict=True)
    ):
        for line in lines:
            line.kept = b""
        members = [one for one in sample.talks[talk] if one != person]
        to, kind, arrives = f"{load.accounts[members[0]]}@{xmpp.HOST}", "chat", lines[members[0]]
        if load.rooms[talk]:
            to, kind, arrives = f"talk{talk}@{ROOMS}", "groupchat", lines[person]
        keys = "".join(f"<key rid='{_device(one)}'>{os.urandom(48).hex()}</key>" for one in members)
        lines[person].transport.write(
            f"<message to='{to}' type='{kind}' id='m{number}'><encrypted xmlns='{OMEMO}'>"
            f"<header sid='{_device(person)}'>{keys}</header>"
            f"<payload>{load.payloads[number]}</payload></encrypted>"
            "<store xmlns='urn:xmpp:hints'/></message>".encode()
        )
        await arrives.expect(re.compile(rb"<message [^>]*id='m%d'" % number))
        ids.append(f"m{number}")
        step()
    for line in lines:
        await _leave(line)
    return ids


async def _come(port: int, load: Load, person: int) -> Line:
    line = await xmpp.connect(port, tls=False, source=load.addresses[person])
    account = load.accounts[person]
    await xmpp.log_in(line, account, PASSWORD, resource=load.devices[person], present=True)
    return line


async def _leave(line: Line) -> None:
    await line.ask("</stream:stream>", re.compile(rb"</stream:stream>"))
    line.transport.close()


def _device(person: int) -> int:
    """The OMEMO id of a person's device."""
    return 1_000_000 + person


async def _open_room(load: Load, lines: list[Line], talk: int) -> None:
    """Found a room for members only, who can see each other, and have them come in."""
    room = f"talk{talk}@{ROOMS}"
    founder, *others = load.sample.talks[talk]
    await _enter(load, lines, founder, room)
    fields = {
        "muc#roomconfig_roomname": load.rooms[talk],
        "muc#roomconfig_persistentroom": "1",
        "muc#roomconfig_membersonly": "1",
        "muc#roomconfig_whois": "anyone",
        "mam": "1",
    }
    form = "".join(
        f"<field var='{name}'><value>{escape(value)}</value></field>"
        for name, value in fields.items()
    )
    kind = "<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field>"
    await lines[founder].ask(
        f"<iq type='set' id='room' to='{room}'>"
        "<query xmlns='http://jabber.org/protocol/muc#owner'>"
        f"<x xmlns='jabber:x:data' type='submit'>{kind}{form}</x></query></iq>",
        re.compile(rb"<iq [^>]*type='result'[^>]*id='room'|<iq [^>]*id='room'[^>]*type='result'"),
    )
    items = "".join(
        f"<item affiliation='member' jid='{load.accounts[one]}@{xmpp.HOST}'/>" for one in others
    )
    await lines[founder].ask(
        f"<iq type='set' id='members' to='{room}'>"
        f"<query xmlns='http://jabber.org/protocol/muc#admin'>{items}</query></iq>",
        re.compile(
            rb"<iq [^>]*type='result'[^>]*id='members'|<iq [^>]*id='members'[^>]*type='result'"
        ),
    )
    for one in others:
        await _enter(load, lines, one, room)


async def _enter(load: Load, lines: list[Line], person: int, room: str) -> None:
    nick = quoteattr(f"{room}/{load.names[person]}")
    await lines[person].ask(
        f"<presence to={nick}><x xmlns='http://jabber.org/protocol/muc'/></presence>",
        re.compile(rb"<status [^>]*code='110'"),
    )


async def _read_again(port: int, load: Load, talks: list[int]) -> tuple[set[str], int]:
    """Read the archives of these conversations again, each as its first member."""
    seen: set[str] = set()
    complaints = 0
    for talk in talks:
        members = load.sample.talks[talk]
        line = await _come(port, load, members[0])
        to, wanted = "", f"<value>{load.accounts[members[1]]}@{xmpp.HOST}</value>"
        wanted = f"<field var='with'>{wanted}</field>"
        if load.rooms[talk]:
            to, wanted = f" to='talk{talk}@{ROOMS}'", ""
        after = ""
        while True:
            page = await line.ask(
                f"<iq type='set' id='archive'{to}><query xmlns='urn:xmpp:mam:2'>"
                "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>"
                f"<value>urn:xmpp:mam:2</value></field>{wanted}</x>"
                "<set xmlns='http://jabber.org/protocol/rsm'>"
                f"<max>{PAGE}</max>{after}</set></query></iq>",
                _FIN,
            )
            seen |= {one.decode() for one in _ID.findall(page)}
            complaints += b"type='error'" in page
            last = _LAST.search(page)
            if b"complete='true'" in page or last is None:
                break
            after = f"<after>{last[1].decode()}</after>"
        await _leave(line)
    return seen, complaints
