"""Gathering: everything in a vault that a backup keeps, as records (protocol/backup.py).

It reads one moment of the vault, on a connection of its own. Of the MLS engine it takes what every
member knows, and the signature key of the device's leaf. Texts with a life of less than a day are
left out: a backup would outlive them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from amanat import mls
from amanat.client.recalled import Recalled
from amanat.protocol import backup
from amanat.protocol.backup import Entry
from amanat.protocol.messages import Kind

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Container, Iterator, Mapping, Sequence

    from amanat.client.unit import Reader
    from amanat.protocol import codec

    Entries: TypeAlias = Iterator[tuple[Entry, Sequence[codec.Record]]]
    """Records of one kind at a time, in the order of a backup."""

R = TypeVar("R")

CLAIMS = "claims"
"""How many claims the device has made, by which a restored profile knows later ones."""
SHORT_S = 86_400
"""Texts with a shorter life, in seconds, are in no backup (a day)."""
SETTINGS = (
    "allowed regions",
    "strict",
    "hop",
    "period",
    "proxy",
    "adds",
    "knocks",
    "outbound",
    "keeps reading",
    "fetch files",
    "room for files",
    "name version",
    CLAIMS,
)
"""The settings that a backup keeps, by their keys in `meta`. Everything else there belongs to this
vault alone: cursors, the backups themselves."""
OF_PROGRAMS = "program "
"""How the keys begin under which programs keep values of their own (sdk/together.py)."""
BATCH = 1_000
"""The most records of one kind that are gathered at once: enough that the work for each batch does
not count, and a few megabytes of texts."""
_IS_SHORT = "m.life_s > 0 AND m.life_s < ?1"


def gather(read: Reader, frames: Mapping[bytes, int], *, now: int) -> Entries:
    """All records of a backup. `frames` has the blobs whose content lies beside the archive, and
    how long each is."""
    yield Entry.PERSON, [_person(read, now)]
    yield from _relays(read)
    yield from _settings(read)
    yield from _people(read)
    yield from _conversations(read)
    yield from _lineages(read)
    rows = read.execute("SELECT id, size, is_own FROM blob ORDER BY id")
    for blob, size, is_own in rows:
        if blob in frames:
            yield Entry.BLOB, [backup.Blob(blob, size, bool(is_own), frames[blob])]
    yield from _messages(read, frames, now)
    yield from _imported(read)


def _batches(entry: Entry, rows: sqlite3.Cursor, record: Callable[..., codec.Record]) -> Entries:
    """The records of these rows, each made of the values that stand in its row."""
    while some := rows.fetchmany(BATCH):
        yield entry, [record(*row) for row in some]


def _of(record: Callable[..., R], *values: object) -> R:
    """A record of values that stand in a row."""
    return record(*values)


def _fetch(read: Reader, key: bytes) -> bytes | None:
    row = read.execute("SELECT value FROM mls WHERE key = ?", (key,)).fetchone()
    return bytes(row[0]) if row else None


def _get(read: Reader, key: str) -> bytes | None:
    row = read.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return bytes(row[0]) if row else None


def _need(read: Reader, key: str) -> bytes:
    found = _get(read, key)
    if found is None:
        raise KeyError(key)
    return found


def _home(read: Reader, relay: str, bucket: str) -> backup.Home | None:
    key = _get(read, relay)
    return backup.Home(key, int.from_bytes(_need(read, bucket), "big")) if key else None


def _person(read: Reader, now: int) -> backup.Person:
    home = _home(read, "home", "bucket")
    if home is None:
        raise KeyError("home")
    return backup.Person(
        name=_need(read, "name").decode(),
        identity=_need(read, "identity"),
        delivery=_need(read, "delivery"),
        device=mls.signer_private(lambda key: _fetch(read, key), _need(read, "signer")),
        credential=_need(read, "credential"),
        home=home,
        fallback=_home(read, "fallback", "fallback bucket"),
        made_at=now,
    )


def _relays(read: Reader) -> Entries:
    signed = dict(read.execute("SELECT relay, signed FROM relay_at").fetchall())
    rows = read.execute(
        "SELECT relay, region, bucket_key, operator, is_hop, holds FROM relay ORDER BY relay"
    )
    for relay, region, key, operator, is_hop, holds in rows:
        address = signed.get(relay, b"")
        one = backup.Relay(relay, region, key, operator, bool(is_hop), bool(holds), address)
        yield Entry.RELAY, [one]
    rows = read.execute(
        "SELECT relay, host, port, tls, named_at FROM place WHERE named_at IS NOT NULL"
    )
    yield from _batches(Entry.PLACE, rows, backup.Place)
    rows = read.execute(
        "SELECT drop_id, append_token, read_token, region, left_at, relay FROM former"
    )
    yield from _batches(Entry.FORMER, rows, backup.Former)


def _settings(read: Reader) -> Entries:
    for key, value in read.execute("SELECT key, value FROM meta ORDER BY key"):
        if key in SETTINGS or key.startswith(OF_PROGRAMS):
            yield Entry.SETTING, [backup.Setting(key, value)]


def _people(read: Reader) -> Entries:
    rows = read.execute(
        "SELECT identity, name, conversation, verified, added_at, blocked FROM contact"
        " ORDER BY added_at, identity"
    )
    for identity, name, gid, verified, added_at, blocked in rows:
        one = backup.Contact(identity, name, gid, bool(verified), added_at, bool(blocked))
        yield Entry.CONTACT, [one]
    rows = read.execute("SELECT identity, delivery FROM way_back")
    yield from _batches(Entry.WAY_BACK, rows, backup.WayBack)
    rows = read.execute("SELECT identity, version, addresses FROM new_address")
    yield from _batches(Entry.ADDRESS, rows, backup.NewAddress)
    rows = read.execute("SELECT identity, version, name FROM new_name")
    yield from _batches(Entry.NAME, rows, backup.NewName)
    rows = read.execute("SELECT identity, generation FROM newest")
    yield from _batches(Entry.GENERATION, rows, backup.NewestGeneration)
    rows = read.execute("SELECT identity FROM shut_out")
    yield from _batches(Entry.SHUT_OUT, rows, backup.ShutOut)


def _conversations(read: Reader) -> Entries:
    engine = mls.Engine(lambda key: _fetch(read, key))
    recalled = Recalled(read, _need(read, "signer"))
    rows = read.execute(
        "SELECT gid, state, sent_seq, clock, hidden, added_by FROM conversation ORDER BY rowid"
    ).fetchall()
    for gid, *row in rows:
        view, members = recalled.group(gid) or (engine.group(gid), engine.members(gid))
        leaves = [(one.leaf_index, one.credential, one.signer, one.leaf) for one in members]
        known = (view.suite, view.epoch, view.state, view.policy, leaves)
        yield Entry.CONVERSATION, [_of(backup.Conversation, gid, *row, *known)]
    rows = read.execute(
        "SELECT gid, draft, reply_to, pinned_at, muted_until, is_archived, is_hidden FROM desk"
    ).fetchall()
    for *row, is_archived, is_hidden in rows:
        yield Entry.DESK, [_of(backup.Desk, *row, bool(is_archived), bool(is_hidden))]


def _lineages(read: Reader) -> Entries:
    rows = read.execute("SELECT gid, number, state, entered_at FROM epoch")
    yield from _batches(Entry.EPOCH, rows, backup.PastEpoch)
    for row in read.execute("SELECT gid, epoch, info, tree FROM base"):
        yield Entry.BASE, [backup.Base(*row)]
    for *row, is_read in read.execute("SELECT gid, epoch, data, is_read FROM step"):
        yield Entry.STEP, [_of(backup.Step, *row, bool(is_read))]
    rows = read.execute("SELECT gid, signer, identity, upto, base, hash FROM heard")
    yield from _batches(Entry.HEARD, rows, backup.Heard)


def _messages(read: Reader, blobs: Container[bytes], now: int) -> Entries:
    rows = read.execute(
        "SELECT m.gid, id, envelope, identity, signer, seq, m.clock, sent_at, kept_at, text,"  # noqa: S608
        " reply_to, life_s, expires_at, is_forwarded, is_delivered, m.row <= c.read_row"
        f" FROM message AS m JOIN conversation AS c USING (gid) WHERE NOT ({_IS_SHORT})"
        " AND (expires_at IS NULL OR expires_at > ?2) ORDER BY m.row",
        (SHORT_S, now),
    )
    yield from _batches(Entry.MESSAGE, rows, _message)
    rows = read.execute(
        "SELECT gid, id, body, is_near, is_played, blob FROM file"  # noqa: S608
        " JOIN message AS m USING (gid, id)"
        f" WHERE NOT ({_IS_SHORT}) AND (expires_at IS NULL OR expires_at > ?2)",
        (SHORT_S, now),
    )
    for gid, mid, body, is_near, is_played, blob in rows:
        kept = blob if blob in blobs else None
        yield Entry.FILE, [backup.FileOf(gid, mid, body, bool(is_near), bool(is_played), kept)]
    # New words for a text that is not here may be of a short life.
    rows = read.execute(
        "SELECT c.gid, target, c.identity, kind, c.clock, c.seq, c.id, value, is_pending"  # noqa: S608
        " FROM change AS c WHERE NOT (is_pending AND kind = ?3) AND NOT EXISTS (SELECT 1 FROM"
        f" message AS m WHERE m.gid = c.gid AND m.id = c.target AND ({_IS_SHORT}"
        " OR m.expires_at <= ?2)) ORDER BY c.row",
        (SHORT_S, now, Kind.EDIT),
    )
    yield from _batches(Entry.CHANGE, rows, _change)
    yield from _batches(Entry.GONE, read.execute("SELECT gid, id FROM gone"), backup.Gone)


def _message(*row: Any) -> backup.Message:  # noqa: ANN401  # a row may hold anything
    return _of(backup.Message, *row[:-3], row[-3] == 1, row[-2] == 1, row[-1] == 1)


def _change(*row: Any) -> backup.Change:  # noqa: ANN401  # a row may hold anything
    return _of(backup.Change, *row[:-1], bool(row[-1]))


def _imported(read: Reader) -> Entries:
    rows = read.execute(
        "SELECT id, app, key, title, kind, me, is_over, before, imported_at FROM imported_chat"
        " ORDER BY id"
    )
    for *row, is_over, before, at in rows:
        yield Entry.IMPORTED_CHAT, [_of(backup.ImportedChat, *row, bool(is_over), before, at)]
    rows = read.execute(
        "SELECT chat, number, place, author, name, at, edited_at, text, marks, kind, extra,"
        " reply_to, forwarded_from, topic, file FROM imported_message ORDER BY row"
    )
    yield from _batches(Entry.IMPORTED_MESSAGE, rows, backup.ImportedMessage)
