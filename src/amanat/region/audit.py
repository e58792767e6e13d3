"""The audit of a relay: it compares the contents of its directory with its ledger and its region.

It only reads, takes no lock, and may run while the relay does. It looks at every drop in its own
moment, and again at every suspicious one at the end, with the ledger as it stands then. Its report
also says what it cannot see.
"""

from __future__ import annotations

import hmac
import secrets
from contextlib import closing, suppress
from enum import StrEnum, unique
from typing import TYPE_CHECKING, Annotated, Protocol

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from amanat.errors import AmanatError, BrokenCertificate, BrokenReport, StoreDamaged
from amanat.protocol import tlog
from amanat.protocol.descriptor import b64, unb64
from amanat.protocol.drops import in_region, next_digest
from amanat.protocol.ledger import drop_hash, encode_entry, hour_of, origin
from amanat.protocol.moving import ARRIVING, GONE, HERE, Order, open_certificate, open_order
from amanat.relay.directory import ROOTS, RelayDirectory
from amanat.relay.ledger import Account, agree, replay_onto
from amanat.relay.store.bodies import DIRECTORY as BODIES
from amanat.relay.store.bodies import Bodies, body_named
from amanat.relay.store.reader import SqliteReader
from amanat.relay.store.wrapping import unwrap_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from amanat.protocol.ledger import Entry
    from amanat.protocol.moving import ShredKey, WrappedCell
    from amanat.relay.records import DropRecord, MoveRecord
    from amanat.relay.store.reader import Counted

OPENED = 20_000
"""Most cells that an audit opens to compute their digest again, which takes some seconds. They are
the last cell of each drop, and others in random choice."""
EXAMPLES = 5
"""Most examples in a report for each kind of finding."""
LOOKS = 3
"""Times that the audit looks again at a drop before it reports it."""
RECORDS = 500
"""Drops that the audit reads in one transaction: it keeps the relay from emptying its log for some
milliseconds only."""
GRACE_S = 2 * 3600
"""Seconds for which expired cells may still rest: an expiry is due each hour, and takes time."""
DAY_S = 86_400
MAX_REPORT_BYTES = 16 * 1024 * 1024
_CONTEXT = b"amanat audit report 1\x00"
_FILES = {
    "relay.toml": "settings",
    "identity.pem": "key",
    "certificate.pem": "key",
    "address.signed": "address",
    "sealing.keys": "key",
    "bucket.key": "key",
    "access.code": "key",
    "notice.json": "notice",
    "lock": "lock",
    "drops.sqlite": "store",
    "drops.sqlite-wal": "store",
    "drops.sqlite-shm": "store",
    "keys.sqlite": "store",
    "keys.sqlite-wal": "store",
    "keys.sqlite-shm": "store",
    BODIES: "store",
}
_CLUSTER_FILES = {
    **{name: kind for name, kind in _FILES.items() if kind != "store"},
    ROOTS: "store",
    f"{ROOTS}-journal": "store",
}
"""The files that may be in the directory of a relay, or of one on a cluster, besides move
certificates."""


@unique
class Fault(StrEnum):
    """The faults that an audit can find."""

    FOREIGN_DROP = "foreign-drop"
    LEFTOVER = "leftover"
    KEY_LEFT = "key-left"
    NOT_IN_LEDGER = "not-in-ledger"
    MISSING_DROP = "missing-drop"
    WRONG_COUNT = "wrong-count"
    WRONG_DIGEST = "wrong-digest"
    DOES_NOT_OPEN = "does-not-open"
    CELL_WITHOUT_DROP = "cell-without-drop"
    CELL_WITHOUT_KEY = "cell-without-key"
    KEY_WITHOUT_DROP = "key-without-drop"
    WRONG_LABELS = "wrong-labels"
    OVERDUE = "overdue"
    LEDGER = "ledger"
    BROKEN_ORDER = "broken-order"
    BROKEN_CERTIFICATE = "broken-certificate"
    UNKNOWN_FILE = "unknown-file"
    REMAINS = "remains"
    MISPLACED = "misplaced"
    BAD_REPLICA = "bad-replica"
    UNREAD_REPLICA = "unread-replica"
    LOST_MESSAGE = "lost-message"
    ROOT_LEFT = "root-left"


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file that rests in the directory."""

    name: str
    bytes: int
    kind: str


class Finding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A kind of fault, how often it was found, and some examples. A report of a later version may
    have kinds that are no Fault."""

    kind: str
    count: int
    examples: list[str]


class Move(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A move in which the relay took part."""

    direction: Annotated[str, msgspec.Meta(pattern="^(in|out)$")]
    other: str
    """The other relay's key, in base64url."""
    regions: list[str]
    """The regions of the drops that moved."""
    region: str
    """The region to which they went."""
    is_certified: bool
    """Whether a move certificate is in the directory."""


class Report(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The findings of an audit. Counts are of this relay's directory alone."""

    relay: str
    """Its key, in base64url."""
    operator: str
    region: str
    hour: int
    """The Unix time, in whole hours, at which the audit began."""
    files: list[File]
    drops: int
    """The drops that are here. Records of drops that have gone hold nothing, and only tell where
    these went."""
    cells: int
    bytes: int
    guests: int
    """Drops of other regions that came by a move."""
    arriving: int
    gone: int
    opened: int
    """Cells that the audit opened to compute their digest again."""
    free_pages: int
    """Unused pages of the files; -1: the audit did not look, because the relay was running."""
    entries: int
    """The number of entries of the ledger, and the root over those under its checkpoint."""
    root: str
    checkpoint: str
    moves: list[Move]
    countries: list[str]
    """The places where data of this relay may rest, as its operator says; its own region first."""
    processors: list[str]
    """The others who may have the data, as its operator says."""
    findings: list[Finding]


class Reader(Protocol):
    """A relay's drops and ledger, and what is beside them. Methods raise StoreDamaged, DiskFull or
    RelayBusy."""

    def close(self) -> None:
        """Close what is open."""

    def moves(self) -> list[MoveRecord]:
        """As `Store.moves`."""

    def entries(self, place: int) -> Iterator[Entry]:
        """The entries of the ledger, from an index on."""

    def checkpoint(self) -> bytes:
        """The signed note of the newest checkpoint, empty if there is none."""

    def total(self, *, state: int) -> tuple[int, int, int]:
        """(drops in a state, their cells, bytes of these)."""

    def moment(self) -> AbstractContextManager[None]:
        """See everything as it is now, if that is possible."""

    def counted(self, *, after: int, most: int) -> list[tuple[DropRecord, Counted]]:
        """The first `most` drops with a number above `after`, each with the cells that it really
        holds."""

    def counted_of(self, drop_id: bytes) -> tuple[DropRecord, Counted]:
        """A drop, or NOBODYS, with the cells that it really holds."""

    def link(self, drop: DropRecord, seq: int) -> tuple[bytes, WrappedCell, bytes] | None:
        """(the digest before a cell, the wrapped cell, the digest after it), all as stored; None if
        the cell is not there."""

    def keys(self, drop: DropRecord) -> list[ShredKey]:
        """The keys that open the cells of a drop."""

    def strays(self) -> Iterator[tuple[str, str]]:
        """Everything else that should not be so: (kind of finding, words)."""


class Audit:
    """One walk through a relay's directory."""

    def __init__(
        self,
        directory: Path,
        *,
        now: float,
        progress: Callable[[int, int], None] = lambda _done, _total: None,
        comparing: Callable[[int, int], None] = lambda _done, _total: None,
        keepers: Sequence[Path] = (),
        system_login: Path | None = None,
    ) -> None:
        """The last three are for a relay on a cluster: `comparing` gets the messages of replicas
        that were compared, `keepers` are the relay's other directories, and a login of the system
        account sees the settings of nodes.

        Raises NoProfile, BadSetting, StoreDamaged, StoreTooNew or StoreTooOld.
        """
        self._directory = RelayDirectory.open(directory)
        self._is_on_cluster = bool(self._directory.config.store)
        self._comparing, self._keepers, self._system_login = comparing, keepers, system_login
        self._replicas: list[File] = []
        self._now = now
        self._progress = progress
        self._key = self._directory.identity.public_key().public_bytes_raw()
        self._found: dict[str, list[str]] = {}
        self._orders: dict[int, Order] = {}
        self._under_way: set[int] = set()
        self._accounts: dict[bytes, Account] = {}
        self._chance = secrets.SystemRandom()

    def run(self, older: bytes = b"") -> Report:
        """Carry out the audit; returns its report. `older` is a checkpoint of the relay that
        somebody kept.

        Raises BrokenLedger if this relay has not signed `older`, StoreDamaged or DiskFull.
        """
        with closing(self._open_reader()) as reader:
            moves = self._moves(reader)
            entries, root, checkpoint = self._ledger(reader, older)
            counts, opened = self._drops(reader, entries)
            self._strays(reader)
        return Report(
            relay=b64(self._key),
            operator=self._directory.config.operator,
            region=self._directory.config.region,
            hour=hour_of(self._now),
            files=self._files(),
            drops=counts["here"],
            cells=counts["cells"],
            bytes=counts["bytes"],
            guests=counts["guests"],
            arriving=counts["arriving"],
            gone=counts["gone"],
            opened=opened,
            free_pages=self._free_pages(),
            entries=entries,
            root=root.hex(),
            checkpoint=checkpoint,
            moves=moves,
            countries=[self._directory.config.region, *self._directory.config.register.countries],
            processors=list(self._directory.config.register.processors),
            findings=[
                Finding(kind, len(examples), examples[:EXAMPLES])
                for kind, examples in sorted(self._found.items())
            ],
        )

    def _open_reader(self) -> Reader:
        if not self._is_on_cluster:
            return SqliteReader(self._directory.path)
        from amanat.relay.cluster.evidence import (  # noqa: PLC0415  # its client loads slowly
            ClusterEvidence,
        )

        reader = ClusterEvidence(
            self._directory,
            ended=int((self._now - GRACE_S) // DAY_S),
            keepers=self._keepers,
            system_login=self._system_login,
            progress=self._comparing,
        )
        self._replicas = [File(name, size, "replica") for name, size in reader.replicas]
        return reader

    def _note(self, kind: Fault, example: str) -> None:
        self._found.setdefault(kind, []).append(example)

    # Moves

    def _moves(self, reader: Reader) -> list[Move]:
        told = []
        for record in reader.moves():
            try:
                order = open_order(record.order)
            except AmanatError:
                self._note(Fault.BROKEN_ORDER, record.move.hex())
                continue
            is_certified = self._is_certified(record.move, record.order)
            if not record.is_source:
                self._orders[record.number] = order
            elif not is_certified:
                self._under_way.add(record.number)
            other = order.to.key if record.is_source else order.source
            direction = "out" if record.is_source else "in"
            told.append(Move(direction, b64(other), order.regions, order.region, is_certified))
        return told

    def _is_certified(self, move: bytes, order: bytes) -> bool:
        file = self._directory.path / f"move-{move.hex()}.certificate"
        if not file.exists():
            return False
        try:
            _, statement, _ = open_certificate(file.read_bytes())
        except BrokenCertificate:
            self._note(Fault.BROKEN_CERTIFICATE, file.name)
            return False
        if statement.order != order:
            self._note(Fault.BROKEN_CERTIFICATE, file.name)
        return statement.order == order

    # The ledger

    def _ledger(self, reader: Reader, older: bytes) -> tuple[int, bytes, str]:
        """(entries, root under the checkpoint, the checkpoint) of the ledger at the beginning."""
        note = reader.checkpoint()
        signed = tlog.Checkpoint(origin(self._key), 0, tlog.EMPTY_ROOT)
        try:
            signed = tlog.open_checkpoint(note, origin(self._key), self._key) if note else signed
        except AmanatError:
            self._note(Fault.LEDGER, "its checkpoint is not signed by this relay")
        kept = tlog.open_checkpoint(older, origin(self._key), self._key) if older else signed
        roots = dict.fromkeys((signed.size, kept.size), b"")
        growing, size = tlog.Growing(), 0
        roots[0] = tlog.EMPTY_ROOT
        try:
            for entry in reader.entries(0):
                if not replay_onto(self._accounts, entry):
                    self._note(Fault.LEDGER, f"entry {size} cannot follow those before it")
                growing.add(encode_entry(entry))
                size += 1
                if size in roots:
                    roots[size] = growing.root()
        except StoreDamaged as error:
            self._note(Fault.LEDGER, error.detail)
        for checkpoint in (signed, kept):
            if roots[checkpoint.size] != checkpoint.root:
                self._note(
                    Fault.LEDGER, f"its first {checkpoint.size} entries differ from the signed ones"
                )
        return size, signed.root, note.decode()

    # Drops and cells

    def _drops(self, reader: Reader, entries: int) -> tuple[dict[str, int], int]:
        """(the counts of drops and cells by their names, how many cells were opened)."""
        counts = dict.fromkeys(("here", "cells", "bytes", "guests", "arriving", "gone"), 0)
        total = sum(reader.total(state=state)[0] for state in (HERE, ARRIVING, GONE))
        after, done, room = 0, 0, OPENED
        suspects: list[bytes] = []
        seen: set[bytes] = set()
        while page := reader.counted(after=after, most=RECORDS):
            for record, counted in page:
                after = record.number
                seen.add(drop_hash(record.drop_id))
                self._count(record, counted, counts)
                if self._wrong(record, counted):
                    suspects.append(record.drop_id)
                share = max(1, room // max(1, total - done))
                room -= self._open(reader, record, min(share, room))
                done += 1
            self._progress(done, max(total, done))
        self._judge(reader, suspects, seen, entries)
        return counts, OPENED - room

    def _later(self, reader: Reader, place: int) -> Iterator[Entry]:
        """The entries from an index on, as far as the ledger can be read: `_ledger` has noted it if
        it cannot."""
        with suppress(StoreDamaged):
            yield from reader.entries(place)

    def _count(self, record: DropRecord, counted: Counted, counts: dict[str, int]) -> None:
        if record.state != HERE:
            counts["gone" if record.state == GONE else "arriving"] += 1
            return
        counts["here"] += 1
        counts["cells"] += counted.cells
        counts["bytes"] += counted.bytes
        counts["guests"] += not in_region(record.drop_id, self._directory.config.region)

    def _judge(self, reader: Reader, suspects: list[bytes], seen: set[bytes], entries: int) -> None:
        """Look again at suspicious drops, at one moment and with the ledger of that moment. A
        cluster has no such moment, so only a drop counts that is wrong several times."""
        missing = [one for one, account in self._accounts.items() if account.is_here]
        wrong: dict[bytes, tuple[DropRecord, list[Fault]]] = {}
        for _ in range(LOOKS):
            with reader.moment():
                for entry in self._later(reader, entries):
                    replay_onto(self._accounts, entry)
                    seen.add(entry.drop)  # it has changed since: it was here, or is
                    entries += 1
                looked = {drop_id: reader.counted_of(drop_id) for drop_id in suspects}
                wrong = {
                    drop_id: (record, self._wrong(record, counted))
                    for drop_id, (record, counted) in looked.items()
                    if record.drop_id
                }
            suspects = [drop_id for drop_id, (_, faults) in wrong.items() if faults]
        for record, faults in wrong.values():
            for kind in faults:
                self._note(kind, _short(record))
        for one in missing:
            if one not in seen:
                self._note(Fault.MISSING_DROP, one.hex()[:16])

    def _wrong(self, record: DropRecord, counted: Counted) -> list[Fault]:
        """The faults of a drop, by ledger and region."""
        account = self._accounts.get(drop_hash(record.drop_id))
        wrong = [] if self._may_rest(record.drop_id) else [Fault.FOREIGN_DROP]
        if record.state == GONE:
            is_left = counted.cells and record.move not in self._under_way
            told = account is not None and not account.is_here
            return wrong + [Fault.LEFTOVER] * bool(is_left) + [Fault.NOT_IN_LEDGER] * (not told)
        if not _adds_up(record, counted):
            wrong.append(Fault.WRONG_COUNT)
        ends_before = (self._now - GRACE_S) // DAY_S - record.retention_days
        is_overdue = counted.oldest_day is not None and counted.oldest_day < ends_before
        if is_overdue:
            wrong.append(Fault.OVERDUE)
        elif counted.keyless:
            wrong.append(Fault.CELL_WITHOUT_KEY)
        if record.state == HERE and account is not None and not account.is_here:
            wrong.append(Fault.LEFTOVER)
        elif record.state == HERE and not agree(account, record):
            wrong.append(Fault.NOT_IN_LEDGER)
        return wrong

    def _may_rest(self, drop_id: bytes) -> bool:
        """Whether a drop is of this relay's region, or of a region whose drops have moved here."""
        here = in_region(drop_id, self._directory.config.region)
        return here or any(order.covers(drop_id) for order in self._orders.values())

    def _open(self, reader: Reader, record: DropRecord, most: int) -> int:
        """Compute again the digests of a drop's last cell and of some random ones. Returns how
        many."""
        if not record.cells or most < 1:
            return 0
        first = record.head - record.cells
        seqs = {record.head} | {
            self._chance.randint(first + 1, record.head) for _ in range(most - 1)
        }
        keys = reader.keys(record)
        for seq in sorted(seqs):
            found = reader.link(record, seq)
            if found is None:
                continue  # it has expired meanwhile, or is missing: the counts say so
            before, cell, after = found
            try:
                (plain,) = unwrap_all([cell], keys, record.bound, after=seq - 1)
            except StoreDamaged:
                self._doubt(Fault.DOES_NOT_OPEN, reader, record, seq)
                continue
            if not hmac.compare_digest(next_digest(before, plain), after):
                self._doubt(Fault.WRONG_DIGEST, reader, record, seq)
        return len(seqs)

    def _doubt(self, kind: Fault, reader: Reader, record: DropRecord, seq: int) -> None:
        """Note a fault of a cell, unless the cell has expired meanwhile."""
        day = (reader.link(record, seq) or (b"", None, b""))[1]
        ends_before = (self._now + DAY_S) // DAY_S - record.retention_days
        if day is not None and day.day > ends_before:
            self._note(kind, f"{_short(record)} {seq}")

    def _strays(self, reader: Reader) -> None:
        """Note whatever else should not be so."""
        for kind, example in reader.strays():
            name, _, move = kind.partition(" ")
            if not move or int(move) not in self._under_way:
                self._note(Fault(name), example)

    # Files and pages

    def _files(self) -> list[File]:
        told, bodies = [], self._directory.path / BODIES
        for path in sorted(self._directory.path.rglob("*")):
            name = str(path.relative_to(self._directory.path))
            if path.parent == bodies and body_named(path.name) and not path.is_dir():
                continue  # they are told as one: their names tell which drops hold much
            kind = (_CLUSTER_FILES if self._is_on_cluster else _FILES).get(name, "")
            if name.startswith("move-") and path.suffix == ".certificate":
                kind = "certificate"
            if not kind:
                self._note(Fault.UNKNOWN_FILE, name)
            size = path.lstat().st_size
            if path == bodies:
                size = Bodies(self._directory.path).size()
            told.append(File(name, size, kind or "unknown"))
        return told + self._replicas

    def _free_pages(self) -> int:
        """The number of unused pages of the files; -1 if a relay is writing just now."""
        count = 0
        places = [self._directory.path / name for name in ("drops.sqlite", "keys.sqlite")]
        if self._is_on_cluster:
            places = [path / ROOTS for path in (self._directory.path, *self._keepers)]
        for path in places:
            log = path.with_name(f"{path.name}-wal")
            if log.exists() and log.stat().st_size:
                return -1
            for number, data in free_pages(path):
                count += 1
                if data.strip(b"\0"):
                    self._note(Fault.REMAINS, f"{path.name}, page {number}")
        return count


def _adds_up(record: DropRecord, counted: Counted) -> bool:
    """Whether a drop holds what its record says: this many cells, the last of them its head,
    without a gap."""
    if (counted.cells, counted.bytes) != (record.cells, record.bytes):
        return False
    is_whole = (counted.first, counted.last) == (record.head - record.cells + 1, record.head)
    return is_whole or not record.cells


def _short(record: DropRecord) -> str:
    """The short form of a drop's hash, by which anyone who knows its id finds it in the ledger."""
    return drop_hash(record.drop_id).hex()[:16]


def free_pages(path: Path) -> Iterator[tuple[int, bytes]]:
    """(number, bytes that should be zeros) of each page that a SQLite file lists as free (its
    format: sqlite.org/fileformat2.html, section 1.5)."""
    with path.open("rb") as file:
        head = file.read(100)
        size = int.from_bytes(head[16:18], "big")
        pages = path.stat().st_size // size
        trunk, left = int.from_bytes(head[32:36], "big"), int.from_bytes(head[36:40], "big")

        def page(number: int) -> bytes:
            file.seek((number - 1) * size)
            return file.read(size)

        while trunk and left > 0:
            data = page(trunk)
            leaves = min(int.from_bytes(data[4:8], "big"), size // 4 - 2)
            # Numbers of pages that it listed before may remain; they tell nothing.
            rest = data[8 + 4 * leaves :]
            words = (rest[at : at + 4] for at in range(0, len(rest), 4))
            yield trunk, b"".join(one for one in words if int.from_bytes(one, "big") > pages)
            for place in range(8, 8 + 4 * leaves, 4):
                number = int.from_bytes(data[place : place + 4], "big")
                yield number, page(number)
            left -= 1 + leaves
            trunk = int.from_bytes(data[:4], "big")


# The report


class _Signed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    report: Report
    signature: str
    """The signature of the relay's key, in base64url."""


def sign_report(report: Report, directory: RelayDirectory) -> bytes:
    """The report as JSON, signed by the relay."""
    signature = directory.identity.sign(_CONTEXT + _canonical(report))
    signed = _Signed(report, b64(signature))
    return msgspec.json.format(msgspec.json.encode(signed)) + b"\n"


def open_report(data: bytes, key: bytes = b"") -> Report:
    """The report in JSON. Raises BrokenReport unless the relay that it names signed it, and that
    relay has this key, if one is given."""
    if len(data) > MAX_REPORT_BYTES:
        raise BrokenReport
    try:
        signed = msgspec.json.decode(data, type=_Signed)
        named = unb64(signed.report.relay)
        Ed25519PublicKey.from_public_bytes(named).verify(
            unb64(signed.signature), _CONTEXT + _canonical(signed.report)
        )
    except (msgspec.DecodeError, ValueError, InvalidSignature):
        raise BrokenReport from None
    if key and key != named:
        raise BrokenReport("it is signed by another relay")
    return signed.report


def _canonical(report: Report) -> bytes:
    return msgspec.json.encode(report, order="deterministic")
