"""The expiry of cells and drops."""

# ruff: noqa: D102  # the protocols in records.py and beside it say what each method is

from __future__ import annotations

from typing import TYPE_CHECKING

from amanat.protocol.ledger import Erased, Expired, drop_hash
from amanat.protocol.moving import HERE
from amanat.relay.store.bodies import REAL_SIZE
from amanat.relay.store.cells import CellTable
from amanat.relay.store.faults import sqlite_errors
from amanat.relay.store.ledger import LedgerTables
from amanat.relay.store.schema import SEQ_BITS, SEQ_MASK, empty_log
from amanat.relay.store.wrapping import WRAP_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

ERASE_DROPS = 100
"""Most drops whose cells expire in one commit: some milliseconds, in which appends wait."""


class Expiry(CellTable, LedgerTables):
    """Erases cells and drops that have expired, and enters that in the ledger."""

    def find_due(self, today: int, *, hour: int) -> Iterator[None]:  # noqa: ARG002
        """An index of the table finds them."""
        return iter(())

    def erase(self, today: int, max_cells: int, *, hour: int) -> int:
        cells = erased = of_buckets = 0
        with sqlite_errors:
            self._begin(self._writer)
            # Many drops in one commit: most have few cells of a day.
            for _ in range(ERASE_DROPS):
                due = self._writer.execute(
                    'SELECT number, retention_days, bucket FROM "drop"'
                    " WHERE oldest_day + retention_days < ? AND oldest_day IS NOT NULL"
                    " AND state = 0 LIMIT 1",
                    (today,),
                ).fetchone()
                if due is None or cells >= max_cells:
                    break
                number, retention_days, is_bucket = due
                count, size = self._erase_of(
                    number, before=today - retention_days, max_cells=max_cells - cells
                )
                self._enter_expired(number, today, hour=hour)
                cells, erased = cells + count, erased + size
                of_buckets += size if is_bucket else 0
        self._staged_bytes -= erased
        self._staged_bucket_bytes -= of_buckets
        self.commit()
        return cells

    def _erase_of(self, number: int, *, before: int, max_cells: int) -> tuple[int, int]:
        """Delete the first cells of a drop that are of days before `before`: (how many, their
        bytes)."""
        first = number << SEQ_BITS
        places = self._writer.execute(
            f"SELECT day, {REAL_SIZE}, length(wrapped), place FROM cell"  # noqa: S608  # constant
            " WHERE place BETWEEN ? AND ? AND day < ? ORDER BY place LIMIT ?",
            (first, first | SEQ_MASK, before, max_cells),
        ).fetchall()
        last = places[-1][-1] if places else first
        erased = sum(size - WRAP_BYTES for _, size, _, _ in places)
        self._leave_bodies(number, [row[:3] for row in places])
        self._end_labels(number, last & SEQ_MASK)
        self._writer.execute("DELETE FROM cell WHERE place BETWEEN ? AND ?", (first, last))
        self._writer.execute(
            'UPDATE "drop" SET cells = cells - ?1, bytes = bytes - ?2, oldest_day ='
            " (SELECT day FROM cell WHERE place > ?3 AND place <= ?4 ORDER BY place LIMIT 1),"
            " ended_cells = ended_cells + ?1, ended_bytes = ended_bytes + ?2"
            " WHERE number = ?5",
            (len(places), erased, last, first | SEQ_MASK, number),
        )
        return len(places), erased

    def _enter_expired(self, number: int, today: int, *, hour: int) -> None:
        """Enter the expired cells of a drop in the ledger, if no more of them expire now."""
        ended = self._writer.execute(
            'SELECT drop_id, ended_cells, ended_bytes FROM "drop" WHERE number = ?'
            " AND (oldest_day IS NULL OR oldest_day + retention_days >= ?)",
            (number, today),
        ).fetchone()
        if ended is None:
            return
        drop_id, cells, size = ended
        self.note(Expired(drop_hash(drop_id), hour, cells, size))
        self._writer.execute(
            'UPDATE "drop" SET ended_cells = 0, ended_bytes = 0 WHERE number = ?', (number,)
        )

    def end_drops(self, before_day: int, *, hour: int) -> None:
        with sqlite_errors:
            self._begin(self._writer)
            ended = self._writer.execute(
                'DELETE FROM "drop" WHERE (state = 2 OR state = 0 AND NOT bucket)'
                " AND oldest_day IS NULL AND last_day < ? RETURNING drop_id, state",
                (before_day,),
            ).fetchall()
            for drop_id, state in ended:
                if state == HERE:  # the ledger already tells that the others have gone
                    self.note(Erased(drop_hash(drop_id), hour, 0, 0))
        self._staged_drops -= len(ended)
        self.commit()

    def scrub(self) -> None:
        self._emptying.result()
        empty_log(self._writer)
