"""Restoring: the records of a backup, written into a new vault.

All of it is one unit of work, so a restored vault is whole or not there. Everything said up to the
backup is in it at once. Each conversation that the person was in is *astray*: the device says
nothing there before it has joined again (rules/comebacks.py), by an external Commit in its old
place, with new chains and a new count. Its credential is of the next generation, so the device that
the backup was made on is locked out there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from amanat import mls
from amanat.client.blobs import KEY_BYTES
from amanat.client.recalled import Recalled
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


def _bring_nothing(_blob: backup.Blob) -> bytes:
    """A key of a blob whose content nobody needs."""
    return bytes(KEY_BYTES)


class Restoring:
    """A restore under way."""

    def __init__(
        self, unit: Unit, bring: Callable[[backup.Blob], bytes | None] = _bring_nothing
    ) -> None:
        """`bring` writes the content of a blob into the profile and gives its key there, or None if
        it cannot; a trial writes none."""
        self._unit = unit
        self._db = unit.db
        self._bring = bring
        self._signer = b""
        self._chats: dict[int, int] = {}
        self._read: dict[bytes, int] = {}
        self._row = 0
        self.name = ""
        """The name of the person."""
        self.made_at = 0
        """When the backup was made, in Unix milliseconds."""
        self.blobs: dict[bytes, int] = {}
        """The blobs that it names, and the number of frames of each."""
        self.unknown = 0
        """How many records were of kinds that this program does not know."""

    def take(self, kind: int, body: bytes) -> None:
        """Write a record. Raises BrokenArchive."""
        decoder = _DECODERS.get(kind)
        if decoder is None:
            self.unknown += 1
            return
        record = codec.decode(decoder, body, BrokenArchive)
        if not self._signer and kind != Entry.PERSON:
            raise BrokenArchive("it does not begin with its person")
        self._WRITE[kind](self, record)

    def end(self) -> None:
        """Everything is written. Raises BrokenArchive if there was nobody in it."""
        if not self._signer:
            raise BrokenArchive("it holds no person")
        for gid, row in self._read.items():
            self._db.execute("UPDATE conversation SET read_row = ? WHERE gid = ?", (row, gid))

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
        self._unit.put(one.key, self._now() if one.key == "name version" else one.value)

    def _relay(self, one: backup.Relay) -> None:
        self._put(
            "relay", one.relay, one.region, one.bucket_key, one.operator, one.is_hop, one.holds
        )
        if one.signed:
            self._put("relay_at", one.relay, one.signed, self._unit.now)

    def _place(self, one: backup.Place) -> None:
        self._put("place", one.relay, one.host, one.port, one.tls, one.named_at, None)

    def _former(self, one: backup.Former) -> None:
        self._put(
            "former",
            *(one.drop_id, one.append_token, one.read_token, one.region, one.left_at, one.relay),
        )

    # People

    def _contact(self, one: backup.Contact) -> None:
        self._put(
            "contact",
            *(one.identity, one.name, one.conversation),
            *(one.is_verified, one.added_at, one.is_blocked),
        )

    def _way_back(self, one: backup.WayBack) -> None:
        self._put("way_back", one.identity, one.delivery)

    def _address(self, one: backup.NewAddress) -> None:
        self._put("new_address", one.identity, one.version, one.addresses)

    def _new_name(self, one: backup.NewName) -> None:
        self._put("new_name", one.identity, one.version, one.name)

    def _shut_out(self, one: backup.ShutOut) -> None:
        self._put("shut_out", one.identity)

    def _generation(self, one: backup.NewestGeneration) -> None:
        self._put("newest", one.identity, one.generation)

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

    def _desk(self, one: backup.Desk) -> None:
        self._put(
            "desk",
            *(one.group, one.draft, one.reply_to, one.pinned_at, one.muted_until),
            *(one.is_archived, one.is_hidden),
        )

    def _epoch(self, one: backup.PastEpoch) -> None:
        self._put("epoch", one.group, one.number, one.state, one.entered_at)

    def _base(self, one: backup.Base) -> None:
        self._put("base", one.group, one.epoch, one.info, one.tree)

    def _step(self, one: backup.Step) -> None:
        self._put("step", one.group, one.epoch, one.commit, one.is_read)

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
        key = self._bring(one)
        if key is not None:
            self._put("blob", one.blob, key, one.size, one.is_own, self._unit.now)

    def _message(self, one: backup.Message) -> None:
        self._row += 1
        self._db.execute(
            "INSERT INTO message VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(self._row, one.group, one.id, one.envelope, one.identity, one.signer, one.seq),
                *(one.clock, one.sent_at, one.kept_at, one.text, one.reply_to, one.life_s),
                *(one.expires_at, one.is_forwarded, one.is_delivered),
            ),
        )
        if one.is_read:
            self._read[one.group] = self._row

    def _file(self, one: backup.FileOf) -> None:
        self._db.execute(
            "INSERT INTO file (gid, id, body, is_near, is_played, blob) VALUES (?, ?, ?, ?, ?,"
            " (SELECT id FROM blob WHERE id = ?))",
            (one.group, one.id, one.body, one.is_near, one.is_played, one.blob),
        )

    def _change(self, one: backup.Change) -> None:
        self._db.execute(
            "INSERT INTO change (gid, target, identity, kind, clock, seq, id, value, is_pending)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(one.group, one.target, one.identity, one.kind, one.clock, one.seq, one.id),
                *(one.value, one.is_pending),
            ),
        )

    def _gone(self, one: backup.Gone) -> None:
        self._put("gone", one.group, one.id)

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

    def _imported_message(self, one: backup.ImportedMessage) -> None:
        if one.chat not in self._chats:
            raise BrokenArchive("an imported message is of no chat")
        self._db.execute(
            "INSERT INTO imported_message (chat, number, place, author, name, at, edited_at, text,"
            " marks, kind, extra, reply_to, forwarded_from, topic, file)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(self._chats[one.chat], one.number, one.place, one.author, one.name, one.at),
                *(one.edited_at, one.text, one.marks, one.kind, one.extra, one.reply_to),
                *(one.forwarded_from, one.topic, one.file),
            ),
        )

    _WRITE: dict[int, Callable[..., None]] = {  # noqa: RUF012  # never changed
        Entry.PERSON: _person,
        Entry.RELAY: _relay,
        Entry.PLACE: _place,
        Entry.FORMER: _former,
        Entry.SETTING: _setting,
        Entry.CONTACT: _contact,
        Entry.WAY_BACK: _way_back,
        Entry.ADDRESS: _address,
        Entry.NAME: _new_name,
        Entry.SHUT_OUT: _shut_out,
        Entry.CONVERSATION: _conversation,
        Entry.DESK: _desk,
        Entry.EPOCH: _epoch,
        Entry.BASE: _base,
        Entry.STEP: _step,
        Entry.HEARD: _heard,
        Entry.BLOB: _blob,
        Entry.MESSAGE: _message,
        Entry.FILE: _file,
        Entry.CHANGE: _change,
        Entry.GONE: _gone,
        Entry.IMPORTED_CHAT: _imported_chat,
        Entry.IMPORTED_MESSAGE: _imported_message,
        Entry.GENERATION: _generation,
    }


_DECODERS = {int(entry): codec.decoder_of(record) for entry, record in RECORDS.items()}
