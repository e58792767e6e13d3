"""The demo of residency: a region's data moves while its people talk.

Real clients talk through a relay of one region, as in a replay. Meanwhile some people leave for
another relay of their own region. Then everything that rests at the first relay moves to a relay of
another region, which the others have allowed. At the end the demo compares every transcript with
the trace, searches the source's disk, and checks the move certificate and the stores.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from amanat.drill.relays import RelayProcess
from amanat.drill.replay import Conductor
from amanat.drill.search import count_bytes, find_texts
from amanat.drill.talkers import Order
from amanat.drill.transcripts import Transcript, compare_all
from amanat.errors import BadArgument, BrokenCertificate, RelayUnreachable
from amanat.protocol.descriptor import parse_address
from amanat.protocol.moving import open_certificate
from amanat.region.audit import Audit
from amanat.region.notice import DAY_S, LEAST_DAYS, announce
from amanat.relay.directory import write_notice
from amanat.relay.store.reader import SqliteReader

if TYPE_CHECKING:
    from collections.abc import Callable

    from amanat.drill.traces import Script

SOURCE_REGION, REGION = "IR", "DE"
ALLOW_AT, LEAVE_AT, MOVE_AT = 0.05, 0.2, 0.35
"""The shares of the talk at which most people allow the other region, some leave, and everything
moves."""
LINES_PER_S = 80
"""How fast people talk: the programs of 32 people, all on this machine, read each line."""
NEEDLE = slice(40, 72)
"""The bytes of a stored cell for which the demo searches: random, and in no other cell."""


class Residency(NamedTuple):
    """The findings of the demo; field names are the JSON keys."""

    people: int
    messages: int
    moved_drops: int
    moved_cells: int
    lost: int
    doubled: int
    left: int
    longest_pause_ms: float
    source_bytes_found: int
    certificate_valid: bool
    audit_ok: bool
    certificate: dict[str, object]

    @property
    def is_clean(self) -> bool:
        """Whether the demo found no fault."""
        lacks = self.lost or self.doubled or self.source_bytes_found
        return not lacks and self.certificate_valid and self.audit_ok


def residency(
    script: Script, *, leavers: int, processes: int, progress: Callable[[str, int, int], None]
) -> Residency:
    """Have the people of a script talk, leave and be moved. Raises BadArgument or
    RelayUnreachable."""
    if not 0 <= leavers < len(script.people):
        raise BadArgument("fewer people must leave than there are")
    root = Path(tempfile.mkdtemp(prefix="amanat-residency-"))
    people = len(script.people)
    source = RelayProcess(root / "source", people=people, region=SOURCE_REGION)
    relays = [
        source,
        RelayProcess(root / "destination", people=people, region=REGION, sources=[source.address]),
        RelayProcess(root / "other", people=leavers or 1, region=SOURCE_REGION),
    ]
    unused = RelayProcess(root / "unused", people=people, region=SOURCE_REGION)
    conductor = Conductor(
        *(script, source, root),
        processes=processes,
        lines_per_s=LINES_PER_S,
        others=[relay.address for relay in relays[1:]],
    )
    move = _Move(relays, conductor, script.people, leavers)
    try:
        unused.run()
        unused.stop()
        for relay in relays:
            relay.run()
        progress("people", 0, people)
        conductor.start()
        progress("people", people, people)
        conductor.talk(progress, meanwhile=move.go_on)
        results = conductor.report()
        for relay in relays:
            relay.stop()
        return _judge(script, move, unused, results)
    finally:
        conductor.close()
        move.end()
        for relay in [*relays, unused]:
            relay.kill()
        shutil.rmtree(root, ignore_errors=True)


class _Move:
    """The events that happen while people talk: some leave, and the relay moves."""

    def __init__(
        self, relays: list[RelayProcess], conductor: Conductor, people: list[str], leavers: int
    ) -> None:
        self.relays = relays
        self.source, self.destination, self.other = relays
        self.report: dict[str, object] = {}
        self._conductor = conductor
        # A script lists people by how much they say: some of all kinds leave.
        leaving = people[:: len(people) // leavers][:leavers] if leavers else []
        rest = [person for person in people if person not in leaving]
        self._due = [
            (ALLOW_AT, Order(rest, regions=(SOURCE_REGION, REGION))),
            (LEAVE_AT, Order(leaving, exit_to=self.other.address)),
        ]
        self._mover: subprocess.Popen[bytes] | None = None

    def go_on(self, share: float) -> bool:
        """Do what is due once this share of all lines has been shown; returns whether everything
        is done."""
        if self._due and share >= self._due[0][0]:
            self._conductor.tell(self._due.pop(0)[1])
        if share >= MOVE_AT and self._mover is None:
            self._mover = self._begin()
        if self._mover is None or self._mover.poll() is None:
            return False
        if not self.report:
            out, err = self._mover.communicate()
            if self._mover.returncode:
                raise RelayUnreachable(err.decode()[-500:])
            self.report = json.loads(out)
        return True

    def _begin(self) -> subprocess.Popen[bytes]:
        # The notice looks as if made long ago, so that the demo need not wait for its day.
        today = int(time.time() // DAY_S)
        now, to = time.time(), parse_address(self.destination.address)
        notice = asyncio.run(
            announce(self.source.directory, to, on=today + LEAST_DAYS, reason="the demo", now=now)
        )
        write_notice(self.source.directory, msgspec.structs.replace(notice, on=today))
        command = [sys.executable, "-m", "amanat", "--json", "region", "move"]
        command += [str(self.source.directory), "--to", self.destination.address]
        return subprocess.Popen(  # noqa: S603  # our own program
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def end(self) -> None:
        """Stop the mover, if it still runs."""
        if self._mover is not None and self._mover.poll() is None:
            self._mover.kill()
            self._mover.communicate()


def _is_in_order(relay: RelayProcess) -> bool:
    return not Audit(relay.directory, now=time.time()).run().findings


def _judge(
    script: Script, move: _Move, unused: RelayProcess, results: list[dict[str, Any]]
) -> Residency:
    transcripts = [Transcript(*t) for result in results for t in result["transcripts"]]
    found = compare_all(script, transcripts)
    with contextlib.closing(SqliteReader(move.destination.directory)) as store:
        needles = [
            cell.wrapped[NEEDLE]
            for record in store.records(after=0, most=2**31)
            for cell in store.wrapped(record, after=0, max_cells=2**31, max_bytes=2**62)[2]
        ]
    texts = {line.text for line in script.lines}
    places = move.source.written
    hits = count_bytes(needles, places) + len(find_texts(texts, places, unused=unused.written)[0])
    try:
        data = Path(str(move.report["certificate"])).read_bytes()
        order, statement, certificate = open_certificate(data)
        is_valid = (statement.drops, statement.cells) == (
            move.report["drops"],
            move.report["cells"],
        )
    except BrokenCertificate:
        is_valid = False
    homes = [home for result in results for home in result["homes"].values()]
    return Residency(
        people=len(script.people),
        messages=len(script.lines),
        moved_drops=statement.drops,
        moved_cells=statement.cells,
        lost=found.lost,
        doubled=found.duplicated,
        left=homes.count(move.other.address),
        longest_pause_ms=float(str(move.report["longest_pause_ms"])),
        source_bytes_found=hits,
        certificate_valid=is_valid,
        audit_ok=all(_is_in_order(relay) for relay in move.relays),
        certificate={
            "to": str(order.to),
            "root": statement.root.hex(),
            "erased": certificate.erased,
        },
    )
