"""Restoring: the records of a backup, written into a new vault.

All of it is one unit of work, so a restored vault is whole or not there. Everything said up to the
backup is in it at once. Each conversation that the person was in is *astray*: the device says
nothing there before it has joined again (rules/comebacks.py), by an external Commit in its old
place, with new chains and a new count. Its credential is of the next generation, so the device that
the backup was made on is locked out there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from amanat import mls
from amanat.client.blobs import KEY_BYTES
from amanat.client.gathering import CLAIMS
from amanat.client.recalled import Recalled
from amanat.client.rules.chains import CLAIMED_BEFORE
from amanat.client.state import State
from amanat.errors import BrokenArchive, InvalidCredential
from amanat.protocol import backup, codec
from amanat.protocol.backup import RECORDS, Entry
from amanat.protocol.identity import next_credential

if TYPE_CHECKING:
    from collections.abc import Callable

    from amanat.client.unit import Unit

_ELSEWHERE = b"restored"
"""The place of a vault that was never opened. It differs from that of any file, so a restored vault
claims at its first start, and the old device notices."""


_MESSAGE = (
    "INSERT INTO message (gid, id, envelope, identity, signer, seq, clock, sent_at, kept_at, text,"
    " reply_to, life_s, expires_at, is_forwarded, is_delivered)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_FILE = (
    "INSERT INTO file (gid, id, body, is_near, is_played, blob) VALUES (?, ?, ?, ?, ?,"
    " (SELECT id FROM blob WHERE id = ?))"
)
_CHANGE = (
    "INSERT INTO change (gid, target, identity, kind, clock, seq, id, value, is_pending)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


_COUNTING = "message_came"
"""The trigger that counts the messages of a conversation one by one."""
_COUNT = (
    "UPDATE tally SET held = (SELECT count(*) FROM message AS m WHERE m.gid = tally.gid), unread ="
    " (SELECT count(*) FROM conversation AS c JOIN message AS m ON m.gid = c.gid"
    " AND m.row > c.read_row WHERE c.gid = tally.gid"
    " AND m.identity != (SELECT identity FROM me))"
)
"""Counts those of all conversations at once, as the triggers would have."""


def _by(statement: str) -> Callable[[Restoring, list[Any]], None]:
    """Writes each record by a statement whose values are the record's fields."""

    def write(self: Restoring, records: list[Any]) -> None:
        self._db.executemany(statement, map(msgspec.structs.astuple, records))

    return write


def _into(table: str, entry: Entry) -> Callable[[Restoring, list[Any]], None]:
    """Writes each record into a table whose columns are the record's fields."""
    places = ", ".join("?" * len(RECORDS[entry].__struct_fields__))
    return _by(f"INSERT OR REPLACE INTO {table} VALUES ({places})")  # noqa: S608


def _each(write: Callable[[Restoring, Any], None]) -> Callable[[Restoring, list[Any]], None]:
    """Writes the records one by one."""

    def write_all(self: Restoring, records: list[Any]) -> None:
        for record in records:
            write(self, record)

    return write_all


def _bring_nothing(_blob: backup.Blob) -> bytes:
    """A key of a blob whose content nobody needs."""
    return bytes(KEY_BYTES)


class Restoring:
    """A restore under way."""

    def __init__(self, unit: Unit, bring: Callable[[backup.Blob], bytes] = _bring_nothing) -> None:
        """`bring` begins to write the content of a blob into the profile and gives its key there; a
        trial writes none. If the content does not come, `lose` has to hear of it."""
        self._unit = unit
        self._db = unit.db
        self._bring = bring
        self._signer = b""
        self._chats: dict[int, int] = {}
        self._read: dict[bytes, int] = {}
        self._messages_before = 0
        (self._count_again,) = self._db.execute(
            "SELECT sql FROM sqlite_master WHERE name = ?", (_COUNTING,)
        ).fetchone()
        self._db.execute(f"DROP TRIGGER {_COUNTING}")
        self.name = ""
        """The name of the person."""
        self.made_at = 0
        """When the backup was made, in Unix milliseconds."""
        self.blobs: dict[bytes, int] = {}
        """The blobs that it names, and the number of frames of each."""
        self.unknown = 0
        """How many records were of kinds that this program does not know."""

    def take(self, kind: int, bodies: list[bytes]) -> None:
        """Write records of one kind. Raises BrokenArchive."""
        decoder = _DECODERS.get(kind)
        if decoder is None:
            self.unknown += len(bodies)
            return
        records = [codec.decode(decoder, body, BrokenArchive) for body in bodies]
        if not self._signer and kind != Entry.PERSON:
            raise BrokenArchive("it does not begin with its person")
        self._WRITE[kind](self, records)

    def end(self) -> None:
        """Everything is written. Raises BrokenArchive if there was nobody in it."""
        if not self._signer:
            raise BrokenArchive("it holds no person")
        for gid, row in self._read.items():
            self._db.execute("UPDATE conversation SET read_row = ? WHERE gid = ?", (row, gid))
        self._db.execute(_COUNT)
        self._db.execute(self._count_again)

    def _put(self, table: str, *values: object) -> None:
        places = ", ".join("?" * len(values))
        self._db.execute(f"INSERT OR REPLACE INTO {table} VALUES ({places})", values)  # noqa: S608

    # Ourselves

    def _person(self, one: backup.Person) -> None:
        if self._signer:
            raise BrokenArchive("it holds two persons")
        key, row = mls.signer_row(one.device)
        self._put("mls", key, row)
        device = Ed25519PrivateKey.from_private_bytes(one.device)
        self._signer = device.public_key().public_bytes_raw()
        self.name, self.made_at = one.name, one.made_at
        identity = Ed25519PrivateKey.from_private_bytes(one.identity)
        try:
            credential = next_credential(identity, one.credential, signer=self._signer)
        except InvalidCredential:
            raise BrokenArchive("its person has no credential") from None
        homes = {"home": (one.home, "bucket"), "fallback": (one.fallback, "fallback bucket")}
        for what, (home, bucket) in homes.items():
            if home is not None:
                self._unit.put(what, home.relay)
                self._unit.put(bucket, home.bucket.to_bytes(4, "big"))
        for what, value in (
            ("name", one.name.encode()),
            ("identity", one.identity),
            ("delivery", one.delivery),
            ("signer", self._signer),
            ("credential", credential),
            ("place", _ELSEWHERE),
            ("claimed", self._now()),
            # Above every version that the old device can have told, if the clock is right.
            ("addresses version", self._now()),
        ):
            self._unit.put(what, value)

    def _now(self) -> bytes:
        return max(self._unit.now, 0).to_bytes(8, "big")

    def _setting(self, one: backup.Setting) -> None:
        key, value = one.key, one.value
        if key == CLAIMS:
            key = CLAIMED_BEFORE
        elif key == "name version":
            value = self._now()
        self._unit.put(key, value)

    def _relay(self, one: backup.Relay) -> None:
        self._put(
            "relay", one.relay, one.region, one.bucket_key, one.operator, one.is_hop, one.holds
        )
        if one.signed:
            self._put("relay_at", one.relay, one.signed, self._unit.now)

    def _place(self, one: backup.Place) -> None:
        self._put("place", one.relay, one.host, one.port, one.tls, one.named_at, None)

    # Conversations

    def _conversation(self, one: backup.Conversation) -> None:
        try:
            before = State(one.state)
        except ValueError:
            raise BrokenArchive("a conversation has no known state") from None
        # Somebody who had said that they leave has left, as far as they are concerned.
        now = {State.ACTIVE: State.ASTRAY, State.LEAVING: State.LEFT}.get(before, before)
        self._db.execute(
            "INSERT INTO conversation (gid, state, sent_seq, sent_hash, clock, hidden, added_by,"
            " sure_seq, look_due_at) VALUES (?, ?, ?, ?, ?, ?, ?, 0, NULL)",
            (one.group, now, one.sent_seq, bytes(32), one.clock, one.hidden, one.added_by),
        )
        Recalled.keep(self._unit, one)
        if now is State.ASTRAY:
            self._db.execute(
                "INSERT INTO comeback (gid, is_lost, is_restart, ask_due_at) VALUES (?, 1, 1, ?)",
                (one.group, self._unit.now),
            )

    def _heard(self, one: backup.Heard) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO heard (gid, signer, identity, upto, base, hash)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (one.group, one.signer, one.identity, one.upto, one.base, one.hash),
        )
        self._db.execute(
            "INSERT OR REPLACE INTO since (gid, signer, sent_seq, epoch)"
            " SELECT c.gid, ?2, c.sent_seq, r.epoch FROM conversation AS c"
            " JOIN recalled AS r USING (gid) WHERE c.gid = ?1",
            (one.group, one.signer),
        )

    # Messages

    def _blob(self, one: backup.Blob) -> None:
        self.blobs[one.blob] = one.frames
        self._put("blob", one.blob, self._bring(one), one.size, one.is_own, self._unit.now)

    def lose(self, blob: bytes) -> None:
        """Hear that the content of a blob did not come: its message stays, and says that its file
        is not here."""
        self._db.execute("UPDATE file SET blob = NULL WHERE blob = ?", (blob,))
        self._db.execute("DELETE FROM blob WHERE id = ?", (blob,))

    def _messages(self, some: list[backup.Message]) -> None:
        # All fields but the last, which is none of a row's.
        self._db.executemany(_MESSAGE, [msgspec.structs.astuple(one)[:-1] for one in some])
        # The vault is new, so the rows count from 1.
        for row, one in enumerate(some, self._messages_before + 1):
            if one.is_read:
                self._read[one.group] = row
        self._messages_before += len(some)

    # Imported

    def _imported_chat(self, one: backup.ImportedChat) -> None:
        (self._chats[one.chat],) = self._db.execute(
            "INSERT INTO imported_chat (app, key, title, kind, me, is_over, before, imported_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
            (
                *(one.app, one.key, one.title, one.kind, one.me, one.is_over, one.before),
                one.imported_at,
            ),
        ).fetchone()

    def _imported_messages(self, some: list[backup.ImportedMessage]) -> None:
        if any(one.chat not in self._chats for one in some):
            raise BrokenArchive("an imported message is of no chat")
        rows = map(msgspec.structs.astuple, some)
        self._db.executemany(
            "INSERT INTO imported_message (chat, number, place, author, name, at, edited_at, text,"
            " marks, kind, extra, reply_to, forwarded_from, topic, file)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            ((self._chats[chat], *rest) for chat, *rest in rows),
        )

    _WRITE: dict[int, Callable[[Restoring, list[Any]], None]] = {  # noqa: RUF012  # never changed
        Entry.PERSON: _each(_person),
        Entry.RELAY: _each(_relay),
        Entry.PLACE: _each(_place),
        Entry.FORMER: _into("former", Entry.FORMER),
        Entry.SETTING: _each(_setting),
        Entry.CONTACT: _into("contact", Entry.CONTACT),
        Entry.WAY_BACK: _into("way_back", Entry.WAY_BACK),
        Entry.ADDRESS: _into("new_address", Entry.ADDRESS),
        Entry.NAME: _into("new_name", Entry.NAME),
        Entry.SHUT_OUT: _into("shut_out", Entry.SHUT_OUT),
        Entry.CONVERSATION: _each(_conversation),
        Entry.DESK: _into("desk", Entry.DESK),
        Entry.EPOCH: _into("epoch", Entry.EPOCH),
        Entry.BASE: _into("base", Entry.BASE),
        Entry.STEP: _into("step", Entry.STEP),
        Entry.HEARD: _each(_heard),
        Entry.BLOB: _each(_blob),
        Entry.MESSAGE: _messages,
        Entry.FILE: _by(_FILE),
        Entry.CHANGE: _by(_CHANGE),
        Entry.GONE: _into("gone", Entry.GONE),
        Entry.IMPORTED_CHAT: _each(_imported_chat),
        Entry.IMPORTED_MESSAGE: _imported_messages,
        Entry.GENERATION: _into("newest", Entry.GENERATION),
    }


_DECODERS = {int(entry): codec.decoder_of(record) for entry, record in RECORDS.items()}
