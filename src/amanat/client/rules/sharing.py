"""Sharing: the files that people say, from the first cell at a relay to the message, and back.

A file is said once its relay has taken all of it. Nobody but us knows its secret before that, so
nobody else can have used a label. A message that names a file makes no client connect anywhere but
to a relay at which its sender is reached anyway.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Literal, NamedTuple, assert_never

from msgspec import structs

from amanat.client import transfers
from amanat.client.events import MessageChanged, TransferChanged
from amanat.client.state import State
from amanat.client.transfers import DAY_MS, LEAST_DAYS, MAX_ANEW, Transfer
from amanat.errors import (
    FileElsewhere,
    FileGone,
    FileIncomplete,
    InvalidMessage,
    NoFile,
    NotYours,
    UnknownMessage,
)
from amanat.protocol import codec
from amanat.protocol.files import CHUNK_BYTES, FileDrop, decode_again, decode_file, shape_of
from amanat.protocol.messages import File, FileAgain, FileKind, FileWanted, Kind, message_id

if TYPE_CHECKING:
    from amanat.client.blobs import BlobName
    from amanat.client.rules.base import Base
    from amanat.client.rules.epochs import Epochs
    from amanat.client.rules.roster import Roster
    from amanat.client.rules.saying import Saying
    from amanat.client.unit import Unit
    from amanat.protocol import wire
    from amanat.protocol.messages import Envelope

AGAIN_MS = 8 * 3_600_000
"""How often we put up one file again because somebody has asked for it, in milliseconds: three
times a day, so that nobody can keep our line busy for ever."""


MAX_AGAIN = 4
"""The most files put up again at once because somebody has asked for them. Of others the asker can
remind us."""
AUTO_BYTES = 10 * 1024 * 1024
"""The longest file that is fetched by itself unless the person says otherwise, in bytes: most
photos and recordings."""
ROOM_BYTES = 10 * 1024 * 1024 * 1024
"""The bytes of fetched files that are kept unless the person says otherwise."""

_AUTO, _ROOM = "fetch files", "room for files"


class Shared(NamedTuple):
    """The file of a message. `blob` is None unless all of it is here, and `outline` unless its
    outline is here alone; `is_near` says that it rests at a relay at which its sender is reached,
    `is_played` that the person has played it."""

    file: File
    is_near: bool
    blob: bytes | None
    outline: bytes | None
    is_played: bool


class Draft(NamedTuple):
    """A file as a person wants to say it; `outline` is the hash of its outline."""

    outline: bytes
    size: int
    name: str = ""
    media_type: str = ""
    kind: FileKind = FileKind.FILE
    sides: tuple[int, int] | None = None
    seconds: int = 0
    hint: bytes = b""
    preview: int = 0
    """The length of its preview, in bytes."""
    album: bytes = b""
    text: str = ""
    reply_to: bytes | None = None
    is_forwarded: bool = False


class Sharing:
    """The files in the conversations of one vault."""

    def __init__(self, base: Base, *, roster: Roster, epochs: Epochs, saying: Saying) -> None:
        self._read = base.read
        self._me = base.me
        self._blobs = base.blobs
        self.transfers = base.transfers
        self._history = base.history
        self._roster = roster
        self._epochs = epochs
        self._saying = saying

    # Our files

    def begin(self, unit: Unit, gid: bytes, draft: Draft, blob: BlobName) -> int:
        """Begin to send a file whose blob is written; returns the id of its transfer, or 0 if it
        was said at once, in our notes.

        Raises NotAMember, Blocked, IdentityChanged or UnknownMessage.
        """
        self._saying.check_may_say(gid)
        if draft.reply_to is not None:
            self._history.check_there(gid, [draft.reply_to], own=False)
        if self._blobs.name(blob.id) is None:
            self._blobs.keep(unit, blob, draft.size, is_own=True)
        return self._send(unit, gid, self._file(draft), blob.id)

    def _send(self, unit: Unit, gid: bytes, file: File, blob: bytes) -> int:
        if self._roster.state(gid) is State.NOTES:
            self._say(unit, gid, file, blob)
            return 0
        return self._put_up(unit, gid, file, blob, message=None)

    def _put_up(
        self, unit: Unit, gid: bytes, file: File, blob: bytes, *, message: bytes | None
    ) -> int:
        """Begin to bring a file to its relay; returns the id of the transfer."""
        number = self.transfers.begin(unit, gid, file, blob, message=message, owner=_secret())
        unit.events.append(TransferChanged(gid, number))
        return number

    def _at_home(self, file: File) -> File:
        """A file as it rests at our present home, under a secret of its own."""
        home = self._me.home
        return structs.replace(file, relay=home.relay, region=home.region, secret=_secret())

    def _file(self, draft: Draft) -> File:
        return File(
            relay=self._me.home.relay,
            region=self._me.home.region,
            secret=_secret(),
            outline=draft.outline,
            size=draft.size,
            cells=shape_of(draft.size, draft.preview).cells,
            kind=draft.kind,
            name=draft.name,
            media_type=draft.media_type,
            sides=draft.sides,
            until=0,
            seconds=draft.seconds,
            hint=draft.hint,
            album=draft.album,
            text=draft.text,
            reply_to=draft.reply_to,
            life_s=0,
            is_forwarded=draft.is_forwarded,
        )

    def forward(self, unit: Unit, gid: bytes, target: bytes, to: bytes) -> int:
        """Begin to send the file of a message into another conversation, marked as forwarded and
        under a secret of its own; returns the id of the transfer. Raises like `begin`, and
        FileIncomplete unless the file is here."""
        shared = self.file(gid, target)
        name = self._blobs.name(shared.blob) if shared.blob else None
        if name is None:
            raise FileIncomplete
        self._saying.check_may_say(to)
        file = structs.replace(
            self._at_home(shared.file),
            text=self._history.words(gid, target),
            album=b"",
            reply_to=None,
            is_forwarded=True,
            until=0,
        )
        return self._send(unit, to, file, name.id)

    def create(self, transfer: Transfer) -> wire.Create:
        """The request that the relay make the drop of a file."""
        file = transfer.file
        drop = FileDrop(file.secret, file.region, transfer.owner).drop
        return self._epochs.create(transfer.relay, drop, transfers.retention_days(file.cells))

    def is_at_home(self, transfer: Transfer) -> bool:
        """Whether a file goes to a relay at which we are at home."""
        return transfer.relay in {home.relay for home in self._me.homes}

    def anew(self, unit: Unit, transfer: Transfer, code: str) -> None:
        """Put a file up from its beginning, at our present home, or give it up with an error if
        that was done too often."""
        if transfer.tries >= MAX_ANEW:
            self.transfers.fail(unit, transfer.id, code)
        else:
            self.transfers.anew(unit, transfer, self._at_home(transfer.file), _secret())
        unit.events.append(TransferChanged(transfer.gid, transfer.id))

    def is_up(self, unit: Unit, transfer: Transfer) -> None:
        """Say a file that its relay has taken to its last cell. Raises like `begin`."""
        file, began_at = transfer.file, transfer.began_at or unit.now
        until = transfers.until(began_at, file.cells)
        if until - unit.now // DAY_MS < LEAST_DAYS:
            self.anew(unit, transfer, FileIncomplete.code)
            return
        file = structs.replace(file, until=until)
        if transfer.message is None:
            self._say(unit, transfer.gid, file, transfer.blob)
        else:
            self._say_again(unit, transfer.gid, transfer.message, file)
        self.transfers.end(unit, transfer.id)
        unit.events.append(TransferChanged(transfer.gid, transfer.id))

    def _say(self, unit: Unit, gid: bytes, file: File, blob: bytes) -> None:
        file = structs.replace(file, life_s=self._history.timer(gid))
        for event in self._saying.do(unit, gid, Kind.FILE, codec.encode(file)):
            unit.db.execute(
                "UPDATE file SET blob = ?, is_near = 1 WHERE (gid, id) ="
                " (SELECT gid, id FROM message WHERE row = ?)",
                (blob, event.row),
            )

    def _say_again(self, unit: Unit, gid: bytes, message: bytes, file: File) -> None:
        if not self._roster.is_active(gid) or self._history.is_shut(gid):
            return
        self._keep(unit, gid, message, file, is_near=True)
        again = FileAgain(message, file.relay, file.region, file.secret, file.until)
        self._saying.say(unit, gid, Kind.FILE_AGAIN, codec.encode(again))

    # Files of others, and both

    def file(self, gid: bytes, message: bytes) -> Shared:
        """The file of a message. Raises UnknownMessage if it is not here or was deleted, and NoFile
        if it is no file."""
        row = self._read.execute(
            "SELECT body, is_near, blob, outline, is_played FROM file WHERE gid = ? AND id = ?",
            (gid, message),
        ).fetchone()
        if row is None:
            self._history.check_there(gid, [message], own=False)
            raise NoFile
        body, is_near, blob, outline, is_played = row
        return Shared(decode_file(body), bool(is_near), blob, outline, bool(is_played))

    def take(
        self,
        unit: Unit,
        gid: bytes,
        sender: bytes,
        signer: bytes,
        kind: Literal[Kind.FILE, Kind.FILE_WANTED, Kind.FILE_AGAIN],
        envelope: Envelope,
    ) -> None:
        """Take what somebody says about files. Raises InvalidMessage."""
        match kind:
            case Kind.FILE:
                self._take_file(unit, gid, sender, signer, envelope)
            case Kind.FILE_WANTED:
                self._take_wanted(unit, gid, sender, envelope.body)
            case Kind.FILE_AGAIN:
                self._take_again(unit, gid, sender, envelope.body)
            case _:
                assert_never(kind)

    def _take_file(
        self, unit: Unit, gid: bytes, sender: bytes, signer: bytes, envelope: Envelope
    ) -> None:
        happened = self._history.take(unit, gid, sender, signer, envelope)
        unit.events += happened
        near, file = self._relays_of(gid, sender), decode_file(envelope.body)
        is_near = file.relay in near
        for event in happened:
            unit.db.execute(
                "UPDATE file SET is_near = ? WHERE (gid, id) ="
                " (SELECT gid, id FROM message WHERE row = ?)",
                (is_near, event.row),
            )
        mid = message_id(sender, envelope.id)
        if not happened or not is_near:
            return
        if not self._roster.group(gid).is_large:
            if self._is_wanted(gid, mid, file.size):
                self.fetch(unit, gid, mid)
        elif self._is_outline_wanted(gid, mid, file, now=unit.now):
            name = self._blobs.new()
            self._blobs.keep(unit, name, file.size, is_own=False)
            number = self.transfers.begin_outline(unit, gid, file, name.id, message=mid)
            unit.events.append(TransferChanged(gid, number))

    def _is_wanted(self, gid: bytes, message: bytes, size: int) -> bool:
        """Whether the client fetches so many bytes of a message's file unasked. The sender must be
        a contact whom the person has not blocked, the message must not have been deleted, and the
        person must want as many bytes."""
        row = self._read.execute(
            "SELECT 1 FROM file JOIN message AS m USING (gid, id) JOIN contact AS c"
            " ON c.identity = m.identity WHERE gid = ? AND id = ? AND NOT c.blocked",
            (gid, message),
        ).fetchone()
        return row is not None and size <= self.auto_bytes

    def _is_outline_wanted(self, gid: bytes, message: bytes, file: File, *, now: int) -> bool:
        """Whether the client fetches the outline of a file unasked. An outline counts as the bytes
        that it can hold, or as the file if that is shorter. We treat all kinds of files alike:
        otherwise their relay would see which are which."""
        is_over = now // DAY_MS > file.until
        return not is_over and self._is_wanted(gid, message, min(file.size, CHUNK_BYTES))

    def is_wanted_still(self, transfer: Transfer, *, now: int) -> bool:
        """Whether a transfer that is due still brings what the person wants: in the time until an
        outline is due they may have blocked its sender, or want nothing fetched any more."""
        message = transfer.message
        return not transfer.is_outline or (
            message is not None
            and self._is_outline_wanted(transfer.gid, message, transfer.file, now=now)
        )

    @property
    def auto_bytes(self) -> int:
        """The longest file that is fetched by itself, in bytes; -1 if none is."""
        return self._setting(_AUTO, AUTO_BYTES)

    @property
    def room_bytes(self) -> int:
        """The bytes of fetched files that are kept."""
        return self._setting(_ROOM, ROOM_BYTES)

    def _setting(self, key: str, otherwise: int) -> int:
        row = self._read.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return int(row[0]) if row else otherwise

    @staticmethod
    def set_auto(unit: Unit, size: int) -> None:
        """Fetch files of at most so many bytes by themselves; with -1, none."""
        unit.put(_AUTO, b"%d" % size)

    def set_room(self, unit: Unit, size: int) -> None:
        """Keep so many bytes of fetched files from now on."""
        unit.put(_ROOM, b"%d" % size)
        self.make_room(unit)

    def make_room(self, unit: Unit) -> None:
        """Take away the fetched files and outlines that were not used for longest, until the others
        have room. Our own files stay, because others may ask for them."""
        rows = unit.db.execute(
            "SELECT b.id, b.size FROM file CROSS JOIN blob AS b ON b.id IN (file.blob, outline)"
            " WHERE NOT is_own GROUP BY b.id ORDER BY used_at DESC"
        ).fetchall()
        left = self.room_bytes
        for blob, size in rows:
            left -= size
            if left < 0:
                unit.db.execute("UPDATE file SET blob = NULL WHERE blob = ?", (blob,))
                unit.db.execute("UPDATE file SET outline = NULL WHERE outline = ?", (blob,))
                self._blobs.end(unit, blob)

    def _relays_of(self, gid: bytes, person: bytes) -> set[bytes]:
        """The relays at which a person is reached."""
        peers = self._roster.others(self._roster.group(gid))
        return {
            address.relay.key
            for peer in peers
            if peer.identity == person
            for address in peer.addresses
        }

    def fetch(
        self, unit: Unit, gid: bytes, message: bytes, *, relay: bytes | None = None
    ) -> int | None:
        """Fetch the file of a message; returns the id of the transfer, or None if all of it is
        here.

        A file that rests at a relay other than its sender's is fetched only if the person names the
        `relay`: they may be lured there. Raises FileElsewhere, UnknownMessage or NoFile.
        """
        shared = self.file(gid, message)
        name = self._blobs.name(shared.blob) if shared.blob else None
        if name is not None and self._blobs.is_there(name):
            return None
        if name is not None:  # its file is gone, so it is fetched like any other
            unit.db.execute("UPDATE file SET blob = NULL WHERE gid = ? AND id = ?", (gid, message))
            self._blobs.end(unit, name.id)
        if not shared.is_near and relay != shared.file.relay:
            raise FileElsewhere
        before = self.transfers.of(gid, message, is_up=False)
        if before is not None:
            if before.file != shared.file:  # it rests elsewhere by now
                self.transfers.turn(unit, before.id, shared.file)
            is_going = before.phase is transfers.Phase.UNDER_WAY and before.due_at <= unit.now
            if before.is_outline or not is_going:
                self.transfers.resume(unit, before.id)
            number = before.id
        else:
            name = self._blobs.new()
            self._blobs.keep(unit, name, shared.file.size, is_own=False)
            number = self.transfers.begin(unit, gid, shared.file, name.id, message=message)
        unit.events.append(TransferChanged(gid, number))
        return number

    def is_here(self, unit: Unit, transfer: Transfer) -> None:
        """Record that all of a file has come and was checked."""
        if (outline := self.outline(transfer)) is not None:
            self._blobs.end(unit, outline.id)
        self._has_come(unit, transfer, "blob = ?, outline = NULL")

    def outline_is_here(self, unit: Unit, transfer: Transfer) -> None:
        """Record that the outline of a file has come and was checked. Its blob has one frame."""
        self._blobs.resize(unit, transfer.blob, CHUNK_BYTES)
        self._has_come(unit, transfer, "outline = ?")

    def _has_come(self, unit: Unit, transfer: Transfer, change: str) -> None:
        unit.db.execute(
            f"UPDATE file SET {change} WHERE gid = ? AND id = ?",  # noqa: S608  # our words
            (transfer.blob, transfer.gid, transfer.message),
        )
        self.transfers.end(unit, transfer.id)
        self.make_room(unit)
        unit.events.append(TransferChanged(transfer.gid, transfer.id))
        _tell(unit, transfer.gid, transfer.message)

    def outline(self, transfer: Transfer) -> BlobName | None:
        """The blob of the outline of a file that is being fetched, if it is here from before."""
        row = self._read.execute(
            "SELECT outline FROM file WHERE gid = ? AND id = ?", (transfer.gid, transfer.message)
        ).fetchone()
        return self._blobs.name(row[0]) if row and row[0] else None

    def played(self, unit: Unit, gid: bytes, message: bytes) -> None:
        """Record that the person has played the file of a message; nobody is told. Raises
        UnknownMessage or NoFile."""
        if not self.file(gid, message).is_played:
            unit.db.execute(
                "UPDATE file SET is_played = 1 WHERE gid = ? AND id = ?", (gid, message)
            )
            _tell(unit, gid, message)

    # Asking for a file again

    def ask_again(self, unit: Unit, gid: bytes, message: bytes) -> None:
        """Ask the author of a file to put it up again, and fetch it once it is there. Raises
        UnknownMessage or NoFile, and like `Saying.do`."""
        shared = self.file(gid, message)
        before = self.transfers.of(gid, message, is_up=False)
        if shared.is_near and (before is None or before.is_outline):
            number = self.fetch(unit, gid, message)
            if number is not None:  # until the author says where it rests, it rests nowhere
                self.transfers.fail(unit, number, FileGone.code)
        self._saying.check_may_say(gid)
        if self._roster.is_active(gid):
            self._saying.say(unit, gid, Kind.FILE_WANTED, codec.encode(FileWanted(message)))

    def _take_wanted(self, unit: Unit, gid: bytes, sender: bytes, body: bytes) -> None:
        """Put a file of ours up again for somebody who lacks it. Raises InvalidMessage."""
        if self._history.is_blocked(sender):
            return
        target = codec.decode(_wanted, body, InvalidMessage).target
        try:
            self._history.check_there(gid, [target], own=True)
            shared = self.file(gid, target)
        except (UnknownMessage, NoFile, NotYours):
            return
        (again_at,) = unit.db.execute(
            "SELECT again_at FROM file WHERE gid = ? AND id = ?", (gid, target)
        ).fetchone()
        is_soon = 0 <= unit.now - again_at < AGAIN_MS
        is_busy = sum(one.is_up and one.message is not None for one in self.transfers.all())
        is_here = shared.blob is not None and self._blobs.name(shared.blob) is not None
        if not is_here or is_soon or is_busy >= MAX_AGAIN:
            return
        unit.db.execute(
            "UPDATE file SET again_at = ? WHERE gid = ? AND id = ?", (unit.now, gid, target)
        )
        self._put_up(unit, gid, self._at_home(shared.file), shared.blob or b"", message=target)

    def _take_again(self, unit: Unit, gid: bytes, sender: bytes, body: bytes) -> None:
        """Hear from its author where a file rests anew. Raises InvalidMessage."""
        again = decode_again(body)
        row = unit.db.execute(
            "SELECT identity FROM message WHERE gid = ? AND id = ?", (gid, again.target)
        ).fetchone()
        if row is None or row[0] != sender or self._history.is_blocked(sender):
            return
        try:
            shared = self.file(gid, again.target)
        except (UnknownMessage, NoFile):
            return
        if again.until < shared.file.until:
            return  # an earlier one, which was repaired late
        file = structs.replace(
            shared.file,
            relay=again.relay,
            region=again.region,
            secret=again.secret,
            until=again.until,
        )
        is_near = again.relay in self._relays_of(gid, sender)
        self._keep(unit, gid, again.target, file, is_near=is_near)

    def _keep(self, unit: Unit, gid: bytes, message: bytes, file: File, *, is_near: bool) -> None:
        """Keep where a file rests now. A fetch of it goes on there with what has come, since the
        outline is the same."""
        unit.db.execute(
            "UPDATE file SET body = ?, is_near = ? WHERE gid = ? AND id = ?",
            (codec.encode(file), is_near, gid, message),
        )
        fetch = self.transfers.of(gid, message, is_up=False)
        if fetch is not None and is_near:
            self.transfers.turn(unit, fetch.id, file)
            unit.events.append(TransferChanged(gid, fetch.id))


def _tell(unit: Unit, gid: bytes, message: bytes | None) -> None:
    """Tell that a message has changed, if it is here yet."""
    row = unit.db.execute(
        "SELECT row FROM message WHERE gid = ? AND id = ?", (gid, message)
    ).fetchone()
    if row is not None:
        unit.events.append(MessageChanged(gid, row[0]))


def _secret() -> bytes:
    return secrets.token_bytes(32)


_wanted = codec.decoder_of(FileWanted)
