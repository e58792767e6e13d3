"""A relay on a cluster as an audit reads it: its drops, its streams and replicas, and its roots.

The audit is a process beside the relay's, and does nothing that any of these would not do: it takes
new entries over into the ledger, and creates no stream. A cluster cannot be stopped for a moment,
so each drop is read by itself.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from typing import TYPE_CHECKING

from amanat.errors import NoProfile, RelayBusy, StoreDamaged
from amanat.protocol.moving import WrappedCell
from amanat.relay.cluster.checking import Verdict, examine
from amanat.relay.cluster.layout import nodes_of
from amanat.relay.cluster.reader import ClusterReader
from amanat.relay.cluster.scrub import Outcome, Scrubber, opened
from amanat.relay.cluster.store import ClusterStore, open_cluster
from amanat.relay.directory import ROOTS
from amanat.relay.store.faults import sqlite_errors
from amanat.relay.store.reader import Counted
from amanat.relay.store.wrapping import WRAP_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from amanat.protocol.moving import ShredKey
    from amanat.relay.directory import RelayDirectory
    from amanat.relay.records import DropRecord

PAGE_BYTES = 2**20
"""Bytes of cells that are read at a time."""
NOTHING = Counted(0, 0, 0, 0, None, 0)
FAULTS = {
    Outcome.BAD: "bad-replica",
    Outcome.UNREAD: "unread-replica",
    Outcome.LOST: "lost-message",
}


class Existing(ClusterStore):
    """A store whose streams are taken as they are: the audit says what is wrong with them."""

    creates = False


class ClusterEvidence(ClusterReader):
    """A relay on a cluster. Methods raise RelayBusy or StoreDamaged."""

    def __init__(
        self,
        directory: RelayDirectory,
        *,
        ended: int,
        keepers: Sequence[Path],
        system_login: Path | None,
        progress: Callable[[int, int], None],
    ) -> None:
        """`keepers` are the relay's other directories, and `ended` is the day before which no root
        may be left. `progress` gets the messages of replicas that were compared.

        Raises BadSetting, NoProfile if the relay has never run, RelayBusy or StoreDamaged.
        """
        with opened(directory) as (engine, layout, _):
            there = set(engine.api("STREAM.NAMES").get("streams") or [])
            missing = sorted(set(layout.streams()) - there)
            if len(missing) == len(layout.streams()):
                raise NoProfile("the relay has never run on this cluster")
            if missing:
                raise StoreDamaged(f"stream {missing[0]} does not exist")
            infos = {name: engine.api(f"STREAM.INFO.{name}") for name in layout.streams()}
        super().__init__(open_cluster(directory, Existing))
        self.replicas = [
            (f"{node}/{name}", info["state"]["bytes"])
            for name, info in infos.items()
            for node in sorted(nodes_of(info))
        ]
        """The name of each replica, and the size of its stream in bytes."""
        self._untold: set[tuple[int, int]] = set()
        """The last days of roots that no directory has, and the moves by which their drops came."""
        self._directory = directory
        self._ended = ended
        self._keepers = keepers
        self._system_login = system_login
        self._progress = progress

    def checkpoint(self) -> bytes:
        """The signed note of the newest checkpoint, empty if there is none."""
        return self._store.pages.checkpoint()

    @contextlib.contextmanager
    def moment(self) -> Iterator[None]:
        """Nothing: the cluster goes on."""
        yield

    # Drops and cells

    def counted(self, *, after: int, most: int) -> list[tuple[DropRecord, Counted]]:
        """The first `most` drops with a number above `after`, each with the cells that it really
        holds."""
        return [(one, self._count(one)) for one in self.records(after=after, most=most)]

    def counted_of(self, drop_id: bytes) -> tuple[DropRecord, Counted]:
        """A drop as the leader has it, or NOBODYS, with the cells that it really holds."""
        record = self.look(drop_id)
        return record, self._count(record)

    def _count(self, record: DropRecord) -> Counted:
        seqs: list[int] = []
        size, keyless, oldest = 0, 0, None
        if not record.cells:
            return NOTHING
        opens: dict[int, bool] = {}
        try:
            for seq, cell, key in self._store.at_rest(record, after=0, max_bytes=PAGE_BYTES):
                seqs.append(seq)
                size += len(cell.wrapped) - WRAP_BYTES
                oldest = cell.day if oldest is None else min(oldest, cell.day)
                if cell.day not in opens:
                    opens[cell.day] = self._opening(record, cell.day, key) is not None
                keyless += not opens[cell.day]
        except StoreDamaged:  # a message is missing, or is not the relay's
            return NOTHING
        if not seqs:
            return NOTHING
        return Counted(len(seqs), size, min(seqs), max(seqs), oldest, keyless)

    def link(self, drop: DropRecord, seq: int) -> tuple[bytes, WrappedCell, bytes] | None:
        """(the digest before a cell, the wrapped cell, the digest after it), all as stored; None if
        the cell is not there."""
        found = []
        with contextlib.suppress(StoreDamaged):
            for number, cell, _ in self._store.at_rest(drop, after=seq - 1, max_bytes=PAGE_BYTES):
                if number > seq + 1:
                    break
                found.append((number, cell))
        if not found or found[0][0] != seq or (len(found) == 1 and seq < drop.head):
            return None
        cell = found[0][1]
        after = found[1][1].before if seq < drop.head else drop.digest
        return cell.before, WrappedCell(cell.day, cell.wrapped), after

    def keys(self, drop: DropRecord) -> list[ShredKey]:
        """The keys that open the cells of a drop, as far as its messages can be read."""
        keys: dict[int, ShredKey] = {}
        with contextlib.suppress(StoreDamaged):
            for _, cell, key in self._store.at_rest(drop, after=0, max_bytes=PAGE_BYTES):
                if cell.day not in keys and (found := self._opening(drop, cell.day, key)):
                    keys[cell.day] = found
        return list(keys.values())

    def _opening(
        self, drop: DropRecord, day: int, key: Callable[[], ShredKey | None]
    ) -> ShredKey | None:
        """The key that a function gives; None if no directory has the root that it needs, or that
        other drops need for the same day and retention: to ask for one takes seconds."""
        root = day + drop.retention_days, drop.move
        if root in self._untold:
            return None
        try:
            return key()
        except RelayBusy:
            self._untold.add(root)
        except StoreDamaged:  # the wrapped key is not what the relay wrote
            pass
        return None

    # Beside them

    def strays(self) -> Iterator[tuple[str, str]]:
        """The faults of nodes, streams, replicas and roots: (kind of finding, words)."""
        for finding in examine(self._directory, self._system_login, time.time):
            if finding.verdict is Verdict.FAULT:
                yield "misplaced", finding.text
        with opened(self._directory) as (engine, layout, sealer):
            for found in Scrubber(engine, layout, sealer, self._progress).run():
                yield FAULTS[found.outcome], found.text
        for path in (self._directory.path, *self._keepers):
            yield from self._roots_left(path)

    def _roots_left(self, path: Path) -> Iterator[tuple[str, str]]:
        """The roots in a directory that should have been destroyed."""
        for generation, last_day in _roots_in(path / ROOTS):
            if last_day < self._ended:
                yield (
                    "root-left",
                    f"{path.name}, of a day that ended {self._ended - last_day} days ago",
                )
            elif generation in self._store.ended_generations():
                yield "root-left", f"{path.name}, of drops that have gone"


def _roots_in(path: Path) -> list[tuple[bytes, int]]:
    """(generation, last day) of each root in a file. Raises StoreDamaged or DiskFull."""
    with (
        sqlite_errors,
        contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as file,
    ):
        return file.execute("SELECT generation, last_day FROM root").fetchall()
